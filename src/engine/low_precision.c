/* low_precision.c: how matrices of low-precision types lie in memory. Owns the layout of panels and the rounding;
 * refuses nothing: what a file holds is checked by who reads it. */
#include "engine/low_precision.h"

#include <string.h>

#include "base/bits.h"

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

/* As rows of inputs are quantized. */
static void int8_put(const il_lp_matrix *m, size_t row, int from, int n, const float *x) {
    group g = group_at(m, row, from);
    il_int8_pairs whole;
    il_kernels_portable.quantize(1, n, x, n, &whole, g.scale);
    for (int i = 0; i < n; i++) put_integer(&g, i, whole.q[i]);
}

/* Up to 16 groups of a row, n numbers. */
static void int4_put(const il_kernels *kernels, const il_lp_matrix *m, size_t row, int from, int n, const float *x) {
    float turned[IL_GROUP * IL_LANES] = {0}, scale[IL_LANES];
    int8_t whole[IL_GROUP * IL_LANES];
    for (int i = 0; i < n; i++) turned[i % IL_GROUP * IL_LANES + i / IL_GROUP] = x[i];
    kernels->weights_int4(turned, scale, whole);
    for (int lane = 0; lane * IL_GROUP < n; lane++) {
        group g = group_at(m, row, from + lane * IL_GROUP);
        *g.scale = scale[lane];
        for (int i = 0; i < IL_GROUP && lane * IL_GROUP + i < n; i++) put_integer(&g, i, whole[i * IL_LANES + lane]);
    }
}

static void quantized_get(const il_lp_matrix *m, size_t row, int from, int n, float *x) {
    group g = group_at(m, row, from);
    for (int i = 0; i < n; i++) x[i] = (float)get_integer(&g, i) * *g.scale;
}

float il_lp_scale(const il_lp_matrix *m, size_t row, int from) { return *group_at(m, row, from).scale; }

/* ---- either ---- */

void il_lp_put(const il_kernels *kernels, const il_lp_matrix *m, size_t row, const float *x) {
    const int step = m->type == IL_WEIGHTS_INT4 ? IL_GROUP * IL_LANES : IL_GROUP;
    for (int from = 0; from < m->in; from += step) {
        int n = m->in - from < step ? m->in - from : step;
        if (m->type == IL_WEIGHTS_BF16)
            bf16_put(m, row, from, n, x + from);
        else if (m->type == IL_WEIGHTS_INT8)
            int8_put(m, row, from, n, x + from);
        else
            int4_put(kernels, m, row, from, n, x + from);
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
