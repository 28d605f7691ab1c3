/* picture_tokens.c: pictures as the tokens of a layout, and back. */
#include "innerloop.h"

#include "base/error.h"
#include "text/picture_layout.h"

#include <string.h>

int il_picture_line(const il_picture_layout *l) { return l->by_columns ? l->height : l->width; }

/* Where the pixel of token i stands in the picture, row by row. */
static size_t place(const il_picture_layout *l, size_t i) {
    size_t w = (size_t)l->width, h = (size_t)l->height;
    return l->by_columns ? i % h * w + i / h : i;
}

il_status il_picture_header(const il_picture_layout *l, const char *caption, size_t bytes, int32_t *tokens,
                            il_error *error) {
    size_t n = (size_t)l->header_rows * (size_t)il_picture_line(l), at = 0;
    if (bytes && !l->captions) return il_fail(error, IL_ERR_ARG, "these pictures have no captions");
    if (n < 2 ? bytes > 0 : bytes > n - 2)
        return il_fail(error, IL_ERR_ARG, "a caption of %zu bytes (\"%.*s\"): there is room for %zu", bytes,
                       bytes < 100 ? (int)bytes : 100, caption, n < 2 ? 0 : n - 2);
    tokens[at++] = l->levels + IL_PICTURE_BOS;
    for (size_t i = 0; i < bytes; i++) tokens[at++] = il_picture_layout_bytes(l) + (unsigned char)caption[i];
    while (at < n) tokens[at++] = l->levels + IL_PICTURE_EOC;
    return IL_OK;
}

il_status il_picture_frame(const il_picture_layout *l, int action, int32_t *tokens, il_error *error) {
    if (!l->films) return il_fail(error, IL_ERR_ARG, "frames are of films, and this layout is of pictures");
    if (action < -1 || action >= l->actions)
        return il_fail(error, IL_ERR_ARG, "action %d: there are %d, from 0 on", action, l->actions);
    int token = l->levels + (action < 0 ? IL_PICTURE_FRAME : IL_PICTURE_ACTIONS + action);
    for (int i = 0; i < il_picture_line(l); i++) tokens[i] = token;
    return IL_OK;
}

/* The nearest colour, the first of equals. */
static int nearest(const il_picture_layout *l, const unsigned char rgb[3]) {
    int best = 0, least = 1 << 30;
    for (int i = 0; i < l->levels; i++) {
        int r = rgb[0] - l->colours[i][0], g = rgb[1] - l->colours[i][1], b = rgb[2] - l->colours[i][2];
        int apart = r * r + g * g + b * b;
        if (apart < least) best = i, least = apart;
    }
    return best;
}

il_status il_picture_tokens(const il_picture_layout *l, const il_picture *p, int32_t *tokens, int *exact,
                            il_error *error) {
    size_t n = (size_t)l->width * (size_t)l->height, channels = (size_t)p->channels;
    int same = 1, best = 0;
    unsigned char before[3] = {0};
    if (p->width != l->width || p->height != l->height)
        return il_fail(error, IL_ERR_MISMATCH, "the picture has %d by %d pixels; pictures here have %d by %d", p->width,
                       p->height, l->width, l->height);
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = p->pixels + place(l, i) * channels;
        unsigned char rgb[3] = {at[0], at[channels / 2], at[channels - 1]};
        if (l->palette) {
            if (!i || memcmp(rgb, before, 3) != 0) best = nearest(l, rgb);
            tokens[i] = best;
            memcpy(before, rgb, 3);
        } else {
            int grey = (77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2] + 128) / 256;
            tokens[i] = (grey * (l->levels - 1) + 127) / 255;
        }
        same &= memcmp(rgb, l->colours[tokens[i]], 3) == 0;
    }
    if (exact) *exact = same;
    return IL_OK;
}

il_status il_picture_of_tokens(const il_picture_layout *l, const int32_t *tokens, unsigned char *pixels,
                               il_error *error) {
    size_t n = (size_t)l->width * (size_t)l->height, channels = l->palette ? 3 : 1;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || tokens[i] >= l->levels)
            return il_fail(error, IL_ERR_ARG, "token %d is no pixel: those are 0 to %d", tokens[i], l->levels - 1);
        memcpy(pixels + place(l, i) * channels, l->colours[tokens[i]], channels);
    }
    return IL_OK;
}
