/* pnm.c: the reader and the writer of PGM and PPM, as numbers (P2, P3) and as bytes (P5, P6), several behind each other
 * too. Samples of other maxima than 255 are scaled to it; more than 8 bits a sample are refused. */
#include "media/reading.h"
#include "media/writing.h"

#include "base/error.h"

#include <ctype.h>
#include <stdio.h>

static il_status bad(const il_pictures *p, const char *why, il_error *error) {
    return il_fail(error, IL_ERR_FORMAT, "%s: picture %llu: %s", p->source.name, (unsigned long long)p->given, why);
}

/* White space and comments. */
static il_status skip(il_pictures *p, il_error *error) {
    for (int byte, comment = 0;;) {
        IL_TRY(il_pictures_byte(p, 0, &byte, error));
        if (byte < 0 || !(comment || isspace(byte) || byte == '#')) return IL_OK;
        comment = byte == '#' || (comment && byte != '\n' && byte != '\r');
        p->source.from++;
    }
}

/* A number of at most 65,535, which something else must follow. */
static il_status number(il_pictures *p, int *value, il_error *error) {
    int digits = 0;
    IL_TRY(skip(p, error));
    for (*value = 0;; digits++) {
        int byte;
        IL_TRY(il_pictures_byte(p, 0, &byte, error));
        if (byte < '0' || byte > '9') break;
        *value = 10 * *value + byte - '0';
        if (*value > 65535) return bad(p, "a number above 65535", error);
        p->source.from++;
    }
    return digits ? IL_OK : bad(p, "no number where one must be", error);
}

static unsigned char scaled(int value, int most) { return (unsigned char)((2 * value * 255 + most) / (2 * most)); }

static il_status samples(il_pictures *p, unsigned char *pixels, size_t n, int most, int plain, il_error *error) {
    int value;
    if (!plain) IL_TRY(il_pictures_take(p, pixels, n, "a picture", error));
    for (size_t i = 0; i < n && (plain || most != 255); i++) {
        value = pixels[i];
        if (plain) IL_TRY(number(p, &value, error));
        if (value > most) return bad(p, "a sample above the maximum that its header says", error);
        pixels[i] = scaled(value, most);
    }
    return IL_OK;
}

static il_status next(il_pictures *p, il_picture *picture, il_error *error) {
    char magic[2];
    int width, height, most, byte;
    if (p->given) IL_TRY(skip(p, error));
    IL_TRY(il_pictures_byte(p, 0, &byte, error));
    if (byte < 0) return IL_ERR_END;
    IL_TRY(il_pictures_take(p, magic, 2, "a picture", error));
    int plain = magic[1] == '2' || magic[1] == '3', colours = magic[1] == '3' || magic[1] == '6';
    if (magic[0] != 'P' || !(plain || colours || magic[1] == '5'))
        return bad(p, "it does not begin as PGM or PPM", error);
    IL_TRY(number(p, &width, error));
    IL_TRY(number(p, &height, error));
    IL_TRY(il_pictures_check_size(p, (uint64_t)width, (uint64_t)height, error));
    IL_TRY(number(p, &most, error));
    if (most < 1 || most > 255)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: picture %llu: a maximum of %d: 1 to 255 are read",
                       p->source.name, (unsigned long long)p->given, most);
    IL_TRY(il_pictures_byte(p, 1, &byte, error));
    if (!isspace(byte)) return bad(p, "no white space behind its header", error);
    IL_TRY(il_pictures_make(p, width, height, colours ? 3 : 1, picture, error));
    picture->begins = 1;
    return samples(p, p->pixels, (size_t)width * (size_t)height * (size_t)picture->channels, most, plain, error);
}

const il_picture_reader il_read_pnm = {"PNM", next, NULL};

/* ---- writing ---- */

static il_status put(il_picture_output *o, const il_picture *picture, il_error *error) {
    char header[64];
    int n = snprintf(header, sizeof header, "P%d\n%d %d\n255\n", picture->channels == 3 ? 6 : 5, picture->width,
                     picture->height);
    IL_TRY(il_writer_write(&o->writer, header, (size_t)n, error));
    return il_writer_write(&o->writer, picture->pixels, il_picture_bytes(picture), error);
}

const il_picture_writer il_write_pnm = {put, NULL, NULL};
