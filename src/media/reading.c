/* reading.c: see reading.h. What a file holds is found out by its first bytes; its name says nothing. */
#include "media/reading.h"

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "media/size.h"

#include <string.h>

/* ---- what readers share ---- */

il_status il_pictures_check_size(const il_pictures *p, uint64_t width, uint64_t height, il_error *error) {
    if (il_picture_size_fits(width, height)) return IL_OK;
    return il_fail(error, IL_ERR_FORMAT,
                   "%s: a picture of %llu by %llu pixels: sides of 1 to %d are possible, and %d pixels in all",
                   p->source.name, (unsigned long long)width, (unsigned long long)height, IL_PICTURE_SIDE_MAX,
                   IL_PICTURE_PIXELS_MAX);
}

il_status il_pictures_make(il_pictures *p, int width, int height, int channels, il_picture *picture, il_error *error) {
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    if (!il_grow(&p->memory, &p->pixels, &p->room, 0, bytes, 1))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for a picture of %d by %d pixels", p->source.name, width,
                       height);
    picture->width = width;
    picture->height = height;
    picture->channels = channels;
    picture->pixels = p->pixels;
    return IL_OK;
}

il_status il_pictures_take(il_pictures *p, void *to, size_t n, const char *what, il_error *error) {
    il_source *s = &p->source;
    for (size_t done = 0; done < n;) {
        IL_TRY(il_source_need(s, 1, error));
        size_t here = il_source_bytes(s), m = n - done < here ? n - done : here;
        if (m == 0)
            return il_fail(error, IL_ERR_FORMAT, "%s: it ends inside %s, %zu bytes too early", s->name, what, n - done);
        memcpy((char *)to + done, il_source_data(s), m);
        s->from += m;
        done += m;
    }
    return IL_OK;
}

il_status il_pictures_byte(il_pictures *p, int taken, int *byte, il_error *error) {
    IL_TRY(il_source_need(&p->source, 1, error));
    *byte = il_source_bytes(&p->source) ? *il_source_data(&p->source) : -1;
    if (taken && *byte >= 0) p->source.from++;
    return IL_OK;
}

il_status il_pictures_state(il_pictures *p, size_t bytes, il_error *error) {
    if (p->state) return IL_OK;
    p->state = il_alloc(&p->memory, 1, bytes);
    return p->state ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", p->source.name);
}

/* ---- any of the formats ---- */

static const il_picture_reader *reader_of(const unsigned char *data, size_t bytes) {
    static const struct {
        const char *magic;
        size_t n;
        const il_picture_reader *reader;
    } known[] = {{"\x89PNG", 4, &il_read_png}, {"GIF8", 4, &il_read_gif},    {"YUV4MPEG2", 9, &il_read_y4m},
                 {"P2", 2, &il_read_pnm},      {"P3", 2, &il_read_pnm},      {"P5", 2, &il_read_pnm},
                 {"P6", 2, &il_read_pnm},      {"\0\0\x08", 3, &il_read_idx}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (bytes >= known[i].n && memcmp(data, known[i].magic, known[i].n) == 0) return known[i].reader;
    return NULL;
}

static il_status open(il_pictures *p, const char *path, il_read read, void *user, il_error *error) {
    enum { LOOKED_AT = 9 };
    IL_TRY(il_source_open(&p->memory, path, read, user, 0, &p->source, error));
    IL_TRY(il_source_need(&p->source, LOOKED_AT, error));
    size_t bytes = il_source_bytes(&p->source);
    if (!bytes) return il_fail(error, IL_ERR_FORMAT, "%s: the file is empty", p->source.name);
    p->reader = reader_of(il_source_data(&p->source), bytes);
    if (p->reader) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED,
                   "%s: no picture that can be read: known are PNG, GIF, PGM, PPM, y4m and IDX of bytes",
                   p->source.name);
}

il_status il_pictures_open(il_engine *engine, const char *path, il_read read, void *user, il_pictures **pictures,
                           il_error *error) {
    *pictures = NULL;
    il_pictures *p = il_alloc(&engine->memory, 1, sizeof *p);
    if (!p) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", path);
    p->memory = engine->memory;
    il_status status = open(p, path, read, user, error);
    if (status == IL_OK)
        *pictures = p;
    else
        il_pictures_close(p);
    return status;
}

void il_pictures_close(il_pictures *p) {
    if (!p) return;
    il_allocator memory = p->memory;
    if (p->reader && p->reader->close) p->reader->close(p);
    il_source_close(&p->source);
    il_free(&memory, p->state);
    il_free(&memory, p->pixels);
    il_free(&memory, p);
}

const char *il_pictures_format(const il_pictures *p) { return p->reader->name; }

il_status il_pictures_next(il_pictures *p, il_picture *picture, il_error *error) {
    *picture = (il_picture){0};
    il_status status = p->reader->next(p, picture, error);
    if (status == IL_ERR_END)
        return p->given ? il_fail(error, IL_ERR_END, "%s: no more pictures", p->source.name)
                        : il_fail(error, IL_ERR_FORMAT, "%s: no pictures in it", p->source.name);
    if (status == IL_OK)
        p->given++;
    else
        *picture = (il_picture){0};
    return status;
}
