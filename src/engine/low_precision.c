/* low_precision.c: how matrices of low-precision types lie in memory. Owns the layout of panels and the rounding;
 * refuses nothing: what a file holds is checked by who reads it. */
#include "engine/low_precision.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/kernels.h"

_Static_assert((int)IL_LP_GROUP == (int)IL_GROUP, "a group has one scale");

enum { SCALE_BYTES = IL_LANES * sizeof(float) };

/* Of the integers of n inputs of a group, 16 outputs. */
static size_t integer_bytes(il_weight_type type, size_t n) {
    return type == IL_WEIGHTS_INT4 ? (n + 7) / 8 * 4 * IL_LANES : (n + 1) / 2 * 2 * IL_LANES;
}

static size_t group_bytes(il_weight_type type) { return SCALE_BYTES + integer_bytes(type, IL_GROUP); }

static size_t quantized_panel_bytes(il_weight_type type, size_t in) {
    size_t rest = in % IL_GROUP, bytes = in / IL_GROUP * group_bytes(type);
    if (rest) bytes += SCALE_BYTES + integer_bytes(type, rest);
    return (bytes + 63) / 64 * 64;
}

size_t il_lp_bytes(il_weight_type type, size_t out, size_t in) {
    size_t panels = (out + IL_LANES - 1) / IL_LANES;
    return panels * (type == IL_WEIGHTS_BF16 ? IL_LANES * in * sizeof(uint16_t) : quantized_panel_bytes(type, in));
}

size_t il_lp_row_bytes(il_weight_type type, size_t in) {
    return type == IL_WEIGHTS_BF16 ? in * sizeof(uint16_t) : type == IL_WEIGHTS_INT4 ? (in + 1) / 2 : in;
}

size_t il_lp_row_scales(il_weight_type type, size_t in) {
    return type == IL_WEIGHTS_F32 || type == IL_WEIGHTS_BF16 ? 0 : (in + IL_GROUP - 1) / IL_GROUP;
}

/* ---- bf16 ---- */

/* Element 0 of a row; the next ones follow 16 apart. */
static uint16_t *bf16_row(const il_lp_matrix *m, size_t row) {
    uint16_t *panels = (uint16_t *)(void *)m->panels;
    size_t lane = row % IL_LANES, place = lane < 8 ? 2 * lane : 2 * lane - 15;
    return panels + row / IL_LANES * IL_LANES * (size_t)m->in + place;
}

static void bf16_put(const il_lp_matrix *m, size_t row, int from, int n, const float *x) {
    uint16_t *to = bf16_row(m, row) + from * IL_LANES, half[IL_LP_GROUP];
    il_kernels_portable.f32_to_bf16((size_t)n, x, half);
    for (int i = 0; i < n; i++) to[i * IL_LANES] = half[i];
}

static void bf16_get(const il_lp_matrix *m, size_t row, int from, int n, float *x) {
    const uint16_t *half = bf16_row(m, row) + from * IL_LANES;
    for (int i = 0; i < n; i++) x[i] = il_float_of_bf16(half[i * IL_LANES]);
}

/* ---- int8 and int4 ---- */

/* Where a group of a row lies. */
typedef struct group {
    il_weight_type type;
    float *scale;
    unsigned char *integers; /* of the row's first input */
} group;

static group group_at(const il_lp_matrix *m, size_t row, int from) {
    size_t lane = row % IL_LANES;
    unsigned char *at = m->panels + row / IL_LANES * quantized_panel_bytes(m->type, (size_t)m->in) +
                        (size_t)from / IL_GROUP * group_bytes(m->type);
    return (group){.type = m->type,
                   .scale = (float *)(void *)at + lane,
                   .integers = at + SCALE_BYTES + (m->type == IL_WEIGHTS_INT4 ? sizeof(uint32_t) : 2) * lane};
}

/* The byte of input i. int8: they follow in twos. int4: eight are a word, the even ones in its lower half. */
static unsigned char *byte_of(const group *g, int i) {
    if (g->type == IL_WEIGHTS_INT8) return g->integers + i / 2 * 2 * IL_LANES + i % 2;
    return g->integers + i / 8 * (int)sizeof(uint32_t) * IL_LANES + i % 2 * 2 + i % 8 / 4;
}

static int nibble_shift(int i) { return i % 4 / 2 * 4; }

static void put_integer(const group *g, int i, int value) {
    unsigned char *byte = byte_of(g, i);
    if (g->type == IL_WEIGHTS_INT8)
        *byte = (unsigned char)value;
    else
        *byte = (unsigned char)((*byte & ~(15 << nibble_shift(i))) | (value + 8) << nibble_shift(i));
}

static int get_integer(const group *g, int i) {
    const unsigned char *byte = byte_of(g, i);
    return g->type == IL_WEIGHTS_INT8 ? (int8_t)*byte : (*byte >> nibble_shift(i) & 15) - 8;
}

typedef struct int4_group {
    float scale;
    double error; /* sum of squares that the integers leave */
    int16_t q[IL_GROUP];
} int4_group;

/* Rounds to whole numbers of `scale`, -8 .. 7. Whether that leaves a smaller error; then it is the best. */
static int try_int4(int n, const float *x, float scale, int4_group *best) {
    int4_group tried = {.scale = scale};
    float factor = 1 / scale;
    for (int i = 0; i < n; i++) {
        float whole = rintf(x[i] * factor);
        tried.q[i] = (int16_t)(whole > 7 ? 7 : whole < -8 ? -8 : whole);
        double off = (double)x[i] - (double)tried.q[i] * (double)scale;
        tried.error += off * off;
    }
    if (tried.error >= best->error) return 0;
    *best = tried;
    return 1;
}

/* The scale that leaves the smallest square error for integers that are not all zero. */
static float fit_int4(int n, const float *x, const int16_t *q) {
    double products = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        products += (double)x[i] * (double)q[i];
        squares += (double)q[i] * (double)q[i];
    }
    return (float)(products / squares);
}

/* So few integers are worth a search: for the largest magnitude at 7 to 9 steps, then for the scale that suits the
 * integers best and the integers that suit it, as long as the error falls. The sign of a scale is free: the largest
 * magnitude, whatever its own sign, may become -8, which has no counterpart. */
static float quantize_int4(int n, const float *x, int16_t *q) {
    int4_group best = {.scale = 0}; /* zeros */
    float largest = 0;
    for (int i = 0; i < n; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
        best.error += (double)x[i] * (double)x[i];
    }
    if (!isfinite(best.error)) {
        best.scale = NAN;
    } else if (largest >= 0x1p-100f) {
        for (int step = 0; step <= 8; step++) {
            float scale = largest / (7.0f + 0.25f * (float)step);
            try_int4(n, x, scale, &best);
            try_int4(n, x, -scale, &best);
        }
        while (try_int4(n, x, fit_int4(n, x, best.q), &best)) {}
    }
    memcpy(q, best.q, (size_t)n * sizeof *q);
    return best.scale;
}

/* int8 as rows of inputs are quantized. */
static void quantized_put(const il_lp_matrix *m, size_t row, int from, int n, const float *x) {
    group g = group_at(m, row, from);
    il_int8_pairs whole;
    if (m->type == IL_WEIGHTS_INT4)
        *g.scale = quantize_int4(n, x, whole.q);
    else
        il_kernels_portable.quantize(1, n, x, n, &whole, g.scale);
    for (int i = 0; i < n; i++) put_integer(&g, i, whole.q[i]);
}

static void quantized_get(const il_lp_matrix *m, size_t row, int from, int n, float *x) {
    group g = group_at(m, row, from);
    for (int i = 0; i < n; i++) x[i] = (float)get_integer(&g, i) * *g.scale;
}

float il_lp_scale(const il_lp_matrix *m, size_t row, int from) { return *group_at(m, row, from).scale; }

/* ---- either ---- */

void il_lp_put(const il_lp_matrix *m, size_t row, const float *x) {
    for (int from = 0; from < m->in; from += IL_LP_GROUP) {
        int n = m->in - from < IL_LP_GROUP ? m->in - from : IL_LP_GROUP;
        (m->type == IL_WEIGHTS_BF16 ? bf16_put : quantized_put)(m, row, from, n, x + from);
    }
}

void il_lp_get_group(const il_lp_matrix *m, size_t row, int from, int n, float *x) {
    (m->type == IL_WEIGHTS_BF16 ? bf16_get : quantized_get)(m, row, from, n, x);
}

void il_lp_get(const il_lp_matrix *m, size_t row, float *x) {
    for (int from = 0; from < m->in; from += IL_LP_GROUP)
        il_lp_get_group(m, row, from, m->in - from < IL_LP_GROUP ? m->in - from : IL_LP_GROUP, x + from);
}

/* Eight inputs of int4 in a file, the first in the lowest bits, and as a word of a panel: the even ones in the lower
 * half.
 */
static uint32_t low_nibbles(uint32_t x) {
    x &= 0x0f0f0f0f;
    x = (x | x >> 4) & 0x00ff00ff;
    return (x | x >> 8) & 0xffff;
}
static uint32_t word_of_file(uint32_t x) { return low_nibbles(x) | low_nibbles(x >> 4) << 16; }

static uint32_t spread_nibbles(uint32_t x) {
    x = (x | x << 8) & 0x00ff00ff;
    return (x | x << 4) & 0x0f0f0f0f;
}
static uint32_t file_of_word(uint32_t x) { return spread_nibbles(x & 0xffff) | spread_nibbles(x >> 16) << 4; }

/* A group of n inputs from the bytes of a file, or to them. In panels int4 has words of 8 inputs, int8 pairs of 2. */
static void put_group(const group *g, int n, const unsigned char *values) {
    int whole = g->type == IL_WEIGHTS_INT4 ? n / 8 * 8 : n / 2 * 2;
    if (g->type == IL_WEIGHTS_INT4)
        for (int i = 0; i < whole; i += 8) {
            uint32_t word;
            memcpy(&word, values + i / 2, sizeof word);
            word = word_of_file(word);
            memcpy(g->integers + i / 8 * (int)sizeof word * IL_LANES, &word, sizeof word);
        }
    else
        for (int i = 0; i < whole; i += 2) memcpy(g->integers + i * IL_LANES, values + i, 2);
    for (int i = whole; i < n; i++)
        put_integer(g, i, g->type == IL_WEIGHTS_INT4 ? (values[i / 2] >> i % 2 * 4 & 15) - 8 : (int8_t)values[i]);
}

static void get_group(const group *g, int n, unsigned char *values) {
    int whole = g->type == IL_WEIGHTS_INT4 ? n / 8 * 8 : n / 2 * 2;
    if (g->type == IL_WEIGHTS_INT4)
        for (int i = 0; i < whole; i += 8) {
            uint32_t word;
            memcpy(&word, g->integers + i / 8 * (int)sizeof word * IL_LANES, sizeof word);
            word = file_of_word(word);
            memcpy(values + i / 2, &word, sizeof word);
        }
    else
        for (int i = 0; i < whole; i += 2) memcpy(values + i, g->integers + i * IL_LANES, 2);
    for (int i = whole; i < n; i++) {
        int integer = get_integer(g, i);
        if (g->type == IL_WEIGHTS_INT8)
            values[i] = (unsigned char)integer;
        else if (i % 2)
            values[i / 2] |= (unsigned char)((integer + 8) << 4);
        else
            values[i / 2] = (unsigned char)(integer + 8);
    }
}

void il_lp_put_bytes(const il_lp_matrix *m, size_t row, const unsigned char *values, const unsigned char *scales) {
    if (m->type == IL_WEIGHTS_BF16) {
        uint16_t *to = bf16_row(m, row);
        for (int i = 0; i < m->in; i++) memcpy(to + i * IL_LANES, values + 2 * i, sizeof *to);
        return;
    }
    for (int from = 0; from < m->in; from += IL_GROUP) {
        group g = group_at(m, row, from);
        memcpy(g.scale, scales + (size_t)(from / IL_GROUP) * sizeof(float), sizeof(float));
        put_group(&g, m->in - from < IL_GROUP ? m->in - from : IL_GROUP,
                  values + il_lp_row_bytes(m->type, (size_t)from));
    }
}

void il_lp_get_bytes(const il_lp_matrix *m, size_t row, unsigned char *values, unsigned char *scales) {
    if (m->type == IL_WEIGHTS_BF16) {
        const uint16_t *from = bf16_row(m, row);
        for (int i = 0; i < m->in; i++) memcpy(values + 2 * i, from + i * IL_LANES, sizeof *from);
        return;
    }
    for (int from = 0; from < m->in; from += IL_GROUP) {
        group g = group_at(m, row, from);
        memcpy(scales + (size_t)(from / IL_GROUP) * sizeof(float), g.scale, sizeof(float));
        get_group(&g, m->in - from < IL_GROUP ? m->in - from : IL_GROUP,
                  values + il_lp_row_bytes(m->type, (size_t)from));
    }
}
