/* narrow.c: how matrices of narrow types lie in memory. Owns the layout of panels and the rounding; refuses nothing:
 * what a file holds is checked by who reads it. */
#include "kernels/narrow.h"

#include <string.h>

#include "kernels/kernels.h"

_Static_assert((int)IL_NARROW_CHUNK == (int)IL_GROUP, "a chunk has one scale");

enum { SCALE_BYTES = IL_LANES * sizeof(float), GROUP_BYTES = SCALE_BYTES + IL_GROUP * IL_LANES };

static size_t int8_panel_bytes(size_t in) {
    size_t rest = in % IL_GROUP, bytes = in / IL_GROUP * GROUP_BYTES;
    if (rest) bytes += SCALE_BYTES + (rest + 1) / 2 * 2 * IL_LANES;
    return (bytes + 63) / 64 * 64;
}

size_t il_narrow_bytes(il_weight_type type, size_t out, size_t in) {
    size_t panels = (out + IL_LANES - 1) / IL_LANES;
    return panels * (type == IL_WEIGHTS_BF16 ? IL_LANES * in * sizeof(uint16_t) : int8_panel_bytes(in));
}

size_t il_narrow_row_bytes(il_weight_type type, size_t in) {
    return type == IL_WEIGHTS_BF16 ? in * sizeof(uint16_t) : in;
}

size_t il_narrow_row_scales(il_weight_type type, size_t in) {
    return type == IL_WEIGHTS_F32 || type == IL_WEIGHTS_BF16 ? 0 : (in + IL_GROUP - 1) / IL_GROUP;
}

/* ---- bf16 ---- */

/* Element 0 of a row; the next ones follow 16 apart. */
static uint16_t *bf16_row(const il_narrow *m, size_t row) {
    uint16_t *panels = (uint16_t *)(void *)m->panels;
    size_t lane = row % IL_LANES, place = lane < 8 ? 2 * lane : 2 * lane - 15;
    return panels + row / IL_LANES * IL_LANES * (size_t)m->in + place;
}

static void bf16_put(const il_narrow *m, size_t row, int from, int n, const float *x) {
    uint16_t *to = bf16_row(m, row) + from * IL_LANES, half[IL_NARROW_CHUNK];
    il_kernels_portable.f32_to_bf16((size_t)n, x, half);
    for (int i = 0; i < n; i++) to[i * IL_LANES] = half[i];
}

static void bf16_get(const il_narrow *m, size_t row, int from, int n, float *x) {
    const uint16_t *half = bf16_row(m, row) + from * IL_LANES;
    for (int i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)half[i * IL_LANES] << 16;
        memcpy(x + i, &bits, sizeof bits);
    }
}

/* ---- int8 ---- */

/* A group of a row: its scale and its first integer; the next ones follow in twos, 2*16 apart. */
typedef struct int8_group {
    float *scale;
    int8_t *values;
} int8_group;

static int8_group int8_at(const il_narrow *m, size_t row, int from) {
    size_t lane = row % IL_LANES;
    unsigned char *group =
        m->panels + row / IL_LANES * int8_panel_bytes((size_t)m->in) + (size_t)from / IL_GROUP * GROUP_BYTES;
    return (int8_group){(float *)(void *)group + lane, (int8_t *)(group + SCALE_BYTES + 2 * lane)};
}

static ptrdiff_t int8_place(int i) { return (ptrdiff_t)(i / 2) * 2 * IL_LANES + i % 2; }

/* As rows of inputs are quantized. */
static void int8_put(const il_narrow *m, size_t row, int from, int n, const float *x) {
    int8_group group = int8_at(m, row, from);
    int16_t q[IL_GROUP];
    il_kernels_portable.quantize(1, n, x, n, q, group.scale);
    for (int i = 0; i < n; i++) group.values[int8_place(i)] = (int8_t)q[i];
}

static void int8_get(const il_narrow *m, size_t row, int from, int n, float *x) {
    int8_group group = int8_at(m, row, from);
    for (int i = 0; i < n; i++) x[i] = (float)group.values[int8_place(i)] * *group.scale;
}

float il_narrow_scale(const il_narrow *m, size_t row, int from) { return *int8_at(m, row, from).scale; }

/* ---- either ---- */

void il_narrow_put(const il_narrow *m, size_t row, const float *x) {
    for (int from = 0; from < m->in; from += IL_NARROW_CHUNK) {
        int n = m->in - from < IL_NARROW_CHUNK ? m->in - from : IL_NARROW_CHUNK;
        (m->type == IL_WEIGHTS_BF16 ? bf16_put : int8_put)(m, row, from, n, x + from);
    }
}

void il_narrow_get_part(const il_narrow *m, size_t row, int from, int n, float *x) {
    (m->type == IL_WEIGHTS_BF16 ? bf16_get : int8_get)(m, row, from, n, x);
}

void il_narrow_get(const il_narrow *m, size_t row, float *x) {
    for (int from = 0; from < m->in; from += IL_NARROW_CHUNK)
        il_narrow_get_part(m, row, from, m->in - from < IL_NARROW_CHUNK ? m->in - from : IL_NARROW_CHUNK, x + from);
}

void il_narrow_put_bytes(const il_narrow *m, size_t row, const unsigned char *values, const unsigned char *scales) {
    if (m->type == IL_WEIGHTS_BF16) {
        uint16_t *to = bf16_row(m, row);
        for (int i = 0; i < m->in; i++) memcpy(to + i * IL_LANES, values + 2 * i, sizeof *to);
        return;
    }
    for (int from = 0; from < m->in; from += IL_GROUP) {
        int8_group group = int8_at(m, row, from);
        memcpy(group.scale, scales + (size_t)(from / IL_GROUP) * sizeof(float), sizeof(float));
        for (int i = 0; i < IL_GROUP && from + i < m->in; i++) group.values[int8_place(i)] = (int8_t)values[from + i];
    }
}

void il_narrow_get_bytes(const il_narrow *m, size_t row, unsigned char *values, unsigned char *scales) {
    if (m->type == IL_WEIGHTS_BF16) {
        const uint16_t *from = bf16_row(m, row);
        for (int i = 0; i < m->in; i++) memcpy(values + 2 * i, from + i * IL_LANES, sizeof *from);
        return;
    }
    for (int from = 0; from < m->in; from += IL_GROUP) {
        int8_group group = int8_at(m, row, from);
        memcpy(scales + (size_t)(from / IL_GROUP) * sizeof(float), group.scale, sizeof(float));
        for (int i = 0; i < IL_GROUP && from + i < m->in; i++)
            values[from + i] = (unsigned char)group.values[int8_place(i)];
    }
}
