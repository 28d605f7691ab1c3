/* resize.c: il_picture_resize. Sums of products of integers, rounded once: the same on every machine. */
#include "innerloop.h"

#include "base/error.h"

/* Which pixels of a side of `from` one pixel of a side of `to` is made of, and how much of each: the first and the last
 * count first_weight and last_weight, those between `to`, all together `total`. */
typedef struct span {
    int first, last;
    int64_t first_weight, last_weight, total;
} span;

static span span_of(int at, int from, int to) {
    if (to >= from) { /* the nearest */
        int nearest = (int)(((int64_t)2 * at + 1) * from / (2 * (int64_t)to));
        return (span){nearest, nearest, 1, 1, 1};
    }
    int64_t begin = (int64_t)at * from, end = begin + from; /* in units of which a pixel has `to` */
    span s = {.first = (int)(begin / to), .last = (int)((end - 1) / to), .total = from};
    s.first_weight = s.first == s.last ? from : (int64_t)(s.first + 1) * to - begin;
    s.last_weight = s.first == s.last ? from : end - (int64_t)s.last * to;
    return s;
}

static int64_t weight(const span *s, int at, int to) {
    return at == s->first ? s->first_weight : at == s->last ? s->last_weight : to;
}

il_status il_picture_resize(const il_picture *p, int width, int height, unsigned char *to, il_error *error) {
    if (width < 1 || height < 1 || width > IL_PICTURE_SIDE_MAX || height > IL_PICTURE_SIDE_MAX)
        return il_fail(error, IL_ERR_ARG, "%d by %d pixels: sides of 1 to %d are possible", width, height,
                       IL_PICTURE_SIDE_MAX);
    size_t channels = (size_t)p->channels;
    for (int y = 0; y < height; y++) {
        span down = span_of(y, p->height, height);
        for (int x = 0; x < width; x++) {
            span across = span_of(x, p->width, width);
            for (size_t c = 0; c < channels; c++) {
                int64_t sum = 0, total = down.total * across.total;
                for (int i = down.first; i <= down.last; i++) {
                    const unsigned char *row = p->pixels + ((size_t)i * (size_t)p->width) * channels + c;
                    int64_t line = 0;
                    for (int k = across.first; k <= across.last; k++)
                        line += weight(&across, k, width) * row[(size_t)k * channels];
                    sum += weight(&down, i, height) * line;
                }
                *to++ = (unsigned char)((2 * sum + total) / (2 * total));
            }
        }
    }
    return IL_OK;
}
