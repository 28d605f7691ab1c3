/* idx.c: the reader of IDX files of bytes: numbers, greys, colours, and films of either. */
#include "media/reading.h"

#include "base/error.h"

typedef struct idx {
    int begun, width, height, channels;
    uint64_t frames; /* in a film; 1: pictures */
    uint64_t left;   /* pictures and frames that come */
    uint64_t frame;  /* the next in its film */
} idx;

static uint64_t big_endian(const unsigned char *p) {
    return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | (uint64_t)p[3];
}

static il_status begin(il_pictures *p, idx *x, il_error *error) {
    unsigned char header[4 + 4 * 5];
    uint64_t size[5] = {0, 1, 1, 1, 1};
    IL_TRY(il_pictures_take(p, header, 4, "its header", error));
    int n = header[3];
    if (n != 1 && n != 3 && n != 4 && n != 5)
        return il_fail(
            error, IL_ERR_UNSUPPORTED,
            "%s: IDX of %d dimensions; read are 1, numbers, 3, greys, 4, films or colours, and 5, films in colours",
            p->source.name, n);
    IL_TRY(il_pictures_take(p, header + 4, (size_t)n * 4, "its header", error));
    for (int i = 0; i < n; i++) size[i] = big_endian(header + 4 + 4 * i);
    *x = (idx){.begun = 1, .channels = 1, .frames = 1, .left = size[0]};
    if (n == 5 && size[4] != 3)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: films of %llu bytes a pixel, not 3", p->source.name,
                       (unsigned long long)size[4]);
    if (n == 5 || (n == 4 && size[3] == 3)) x->channels = 3;
    if (n == 5 || (n == 4 && size[3] != 3)) { /* films [n, frames, height, width] */
        x->frames = size[1];
        x->left *= size[1]; /* below 2^64 */
        size[1] = size[2];
        size[2] = size[3];
    }
    IL_TRY(il_pictures_check_size(p, size[2], size[1], error));
    x->height = (int)size[1];
    x->width = (int)size[2];
    return IL_OK;
}

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    int byte;
    IL_TRY(il_pictures_state(p, sizeof(idx), error));
    idx *x = p->state;
    if (!x->begun) IL_TRY(begin(p, x, error));
    if (!x->left) {
        IL_TRY(il_pictures_byte(p, 0, &byte, error));
        if (byte < 0) return IL_ERR_END;
        return il_fail(error, IL_ERR_FORMAT, "%s: more bytes in it than its header says", p->source.name);
    }
    IL_TRY(il_pictures_make(p, x->width, x->height, x->channels, picture, error));
    IL_TRY(
        il_pictures_take(p, p->pixels, (size_t)x->width * (size_t)x->height * (size_t)x->channels, "a picture", error));
    picture->begins = x->frame == 0;
    x->frame = (x->frame + 1) % x->frames;
    x->left--;
    return IL_OK;
}

const il_picture_reader il_read_idx = {"IDX", next, NULL};
