/* pictures.h: any bytes as a file of pictures in one format; for a fuzzer of each. What is accepted has the sizes that
 * it may have and as many pixels as it says, and a picture that is written as PNM is read again as it was. */
#ifndef IL_FUZZ_PICTURES_H
#define IL_FUZZ_PICTURES_H

#include <stdlib.h>

#include "bytes.h"
#include "innerloop.h"

static inline void fuzz_must(int truth) {
    if (!truth) abort();
}

static inline il_engine *fuzz_engine(void) {
    static il_engine *engine;
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    if (!engine) fuzz_must(il_engine_open(&options, &engine, NULL) == IL_OK);
    return engine;
}

static inline void fuzz_picture(const il_picture *p) {
    fuzz_must(p->width >= 1 && p->width <= IL_PICTURE_SIDE_MAX && p->height >= 1 && p->height <= IL_PICTURE_SIDE_MAX);
    fuzz_must((int64_t)p->width * p->height <= IL_PICTURE_PIXELS_MAX && (p->channels == 1 || p->channels == 3));
    fuzz_must(p->ms >= 0);
    unsigned sum = 0; /* so that a sanitizer sees pixels that are not there, or not set */
    for (size_t i = 0; i < (size_t)p->width * (size_t)p->height * (size_t)p->channels; i++) sum += p->pixels[i];
    unsigned char small[3 * 3 * 3];
    fuzz_must(il_picture_resize(p, 3, 2, small, NULL) == IL_OK && (sum || !small[0]));
}

static inline int fuzz_pictures(const uint8_t *data, size_t bytes, const char *format) {
    enum { PICTURES = 20, PIXELS = 1 << 20 };
    fuzz_bytes input = {data, bytes, 0};
    il_pictures *pictures;
    il_picture picture;
    il_error error = {IL_OK, ""};
    il_status status = il_pictures_open(fuzz_engine(), "fuzz", fuzz_bytes_read, &input, &pictures, &error);
    if (status == IL_OK && strcmp(il_pictures_format(pictures), format) != 0) {
        il_pictures_close(pictures);
        return 0;
    }
    for (int i = 0; i < PICTURES && status == IL_OK; i++) {
        status = il_pictures_next(pictures, &picture, &error);
        fuzz_must((status == IL_OK) == (picture.pixels != NULL) && (i > 0 || status != IL_ERR_END));
        if (status != IL_OK) break;
        fuzz_must(i > 0 || picture.begins);
        fuzz_picture(&picture);
        if (picture.width * picture.height > PIXELS) break;
    }
    if (status != IL_OK) fuzz_must(status == error.status && error.message[0]);
    il_pictures_close(pictures);
    return 0;
}

#endif
