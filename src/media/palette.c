/* palette.c: il_palette: how often each colour is in pictures, and the median cut of that. Boxes are cut where the
 * colours of the one whose cut gains most, by the widest variance of its colours, have as many pixels on either side;
 * each gives the mean of its pixels. All from counts alone, so that the order of pictures does not matter. */
#include "innerloop.h"

#include "base/error.h"
#include "base/memory.h"
#include "engine/engine.h"

#include <stdlib.h>
#include <string.h>

enum { COLOURS = 1 << 24 };

struct il_palette {
    il_allocator memory;
    uint32_t *counts; /* [COLOURS], each at most UINT32_MAX */
};

il_status il_palette_open(il_engine *engine, il_palette **palette, il_error *error) {
    *palette = il_alloc(&engine->memory, 1, sizeof **palette);
    uint32_t *counts = *palette ? il_alloc(&engine->memory, COLOURS, sizeof *counts) : NULL;
    if (!counts) {
        il_free(&engine->memory, *palette);
        *palette = NULL;
        return il_fail(error, IL_ERR_NOMEM, "no memory to count colours");
    }
    **palette = (il_palette){engine->memory, counts};
    return IL_OK;
}

void il_palette_close(il_palette *palette) {
    if (!palette) return;
    il_allocator memory = palette->memory;
    il_free(&memory, palette->counts);
    il_free(&memory, palette);
}

void il_palette_add(il_palette *palette, const il_picture *p) {
    size_t n = (size_t)p->width * (size_t)p->height, channels = (size_t)p->channels;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = p->pixels + i * channels;
        uint32_t *count = &palette->counts[(uint32_t)at[0] << 16 | (uint32_t)at[channels / 2] << 8 | at[channels - 1]];
        *count += *count < UINT32_MAX;
    }
}

/* ---- the cut ---- */

typedef struct colour {
    unsigned char rgb[3];
    uint32_t count;
} colour;

typedef struct box {
    size_t from, to; /* of the colours */
    int axis;        /* of the widest variance */
    double gain;     /* that variance times its pixels; 0: a single colour */
    unsigned char mean[3];
} box;

static void measure(const colour *colours, box *b) {
    b->gain = 0;
    for (int axis = 0; axis < 3; axis++) {
        uint64_t n = 0, sum = 0, squares = 0; /* below 2^24 2^32 2^16 only where memory has no end */
        for (size_t i = b->from; i < b->to; i++) {
            uint64_t value = colours[i].rgb[axis], count = colours[i].count;
            n += count;
            sum += count * value;
            squares += count * value * value;
        }
        double gain = (double)squares - (double)sum * (double)sum / (double)n;
        b->mean[axis] = (unsigned char)((2 * sum + n) / (2 * n));
        if (b->to - b->from > 1 && gain > b->gain) b->gain = gain, b->axis = axis;
    }
}

/* By one axis, then by the others, so that no two are alike. */
static int order(const void *left, const void *right, void *axis) {
    const colour *a = left, *b = right;
    for (int i = 0, at = *(int *)axis; i < 3; i++, at = (at + 1) % 3)
        if (a->rgb[at] != b->rgb[at]) return a->rgb[at] < b->rgb[at] ? -1 : 1;
    return 0;
}

/* Two boxes of one. */
static void split(colour *colours, box *low, box *high) {
    uint64_t all = 0, below = 0;
    size_t at = low->from;
    qsort_r(colours + low->from, low->to - low->from, sizeof *colours, order, &low->axis);
    for (size_t i = low->from; i < low->to; i++) all += colours[i].count;
    while (at + 1 < low->to && (at == low->from || 2 * (below + colours[at].count) <= all))
        below += colours[at++].count;
    *high = (box){.from = at, .to = low->to};
    low->to = at;
    measure(colours, low);
    measure(colours, high);
}

static int brightness(const unsigned char rgb[3]) { return 77 * rgb[0] + 150 * rgb[1] + 29 * rgb[2]; }

static int by_brightness(const void *left, const void *right) {
    const unsigned char *a = left, *b = right;
    int x = brightness(a), y = brightness(b);
    return x != y ? (x < y ? -1 : 1) : memcmp(a, b, 3);
}

static int cut(colour *colours, size_t n, int most, unsigned char (*to)[3]) {
    box boxes[IL_LEVELS_MAX] = {{.to = n}};
    int found = 1;
    measure(colours, &boxes[0]);
    while (found < most) {
        int widest = 0;
        for (int i = 1; i < found; i++)
            if (boxes[i].gain > boxes[widest].gain) widest = i;
        if (!(boxes[widest].gain > 0)) break;
        split(colours, &boxes[widest], &boxes[found++]);
    }
    for (int i = 0; i < found; i++) memcpy(to[i], boxes[i].mean, 3);
    qsort(to, (size_t)found, 3, by_brightness);
    return found;
}

il_status il_palette_cut(const il_palette *palette, int n, unsigned char (*colours)[3], int *found, il_error *error) {
    size_t different = 0, at = 0;
    *found = 0;
    if (n < 2 || n > IL_LEVELS_MAX)
        return il_fail(error, IL_ERR_ARG, "a palette of %d colours: 2 to %d are possible", n, IL_LEVELS_MAX);
    for (size_t i = 0; i < COLOURS; i++) different += palette->counts[i] > 0;
    if (different < 2) return il_fail(error, IL_ERR_ARG, "all pixels of the pictures are of one colour");
    colour *all = il_alloc_raw(&palette->memory, different, sizeof *all);
    if (!all) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu colours", different);
    for (size_t i = 0; i < COLOURS; i++)
        if (palette->counts[i])
            all[at++] =
                (colour){{(unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i}, palette->counts[i]};
    *found = cut(all, different, n, colours);
    il_free(&palette->memory, all);
    return IL_OK;
}
