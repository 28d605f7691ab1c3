/* narrow.c: how matrices of narrow types lie in memory. Owns the layout of panels and the rounding; refuses nothing:
 * what a file holds is checked by who reads it. */
#include "kernels/narrow.h"

#include <string.h>

#include "kernels/kernels.h"

size_t il_narrow_bytes(il_weight_type type, size_t out, size_t in) {
    (void)type;
    return (out + IL_LANES - 1) / IL_LANES * IL_LANES * in * sizeof(uint16_t);
}

size_t il_narrow_row_bytes(il_weight_type type, size_t in) {
    (void)type;
    return in * sizeof(uint16_t);
}

/* Element 0 of a row; the next ones follow 16 apart. */
static uint16_t *bf16_row(const il_narrow *m, size_t row) {
    uint16_t *panels = (uint16_t *)(void *)m->panels;
    size_t lane = row % IL_LANES, place = lane < 8 ? 2 * lane : 2 * lane - 15;
    return panels + row / IL_LANES * IL_LANES * (size_t)m->in + place;
}

void il_narrow_put(const il_narrow *m, size_t row, const float *x) {
    uint16_t *to = bf16_row(m, row), half[IL_NARROW_CHUNK];
    for (int k = 0; k < m->in; k += IL_NARROW_CHUNK) {
        int n = m->in - k < IL_NARROW_CHUNK ? m->in - k : IL_NARROW_CHUNK;
        il_kernels_portable.f32_to_bf16((size_t)n, x + k, half);
        for (int i = 0; i < n; i++) to[(k + i) * IL_LANES] = half[i];
    }
}

void il_narrow_get_part(const il_narrow *m, size_t row, int from, int n, float *x) {
    const uint16_t *half = bf16_row(m, row) + from * IL_LANES;
    for (int k = 0; k < n; k++) {
        uint32_t bits = (uint32_t)half[k * IL_LANES] << 16;
        memcpy(x + k, &bits, sizeof bits);
    }
}

void il_narrow_get(const il_narrow *m, size_t row, float *x) { il_narrow_get_part(m, row, 0, m->in, x); }

void il_narrow_put_bytes(const il_narrow *m, size_t row, const unsigned char *values) {
    uint16_t *to = bf16_row(m, row);
    for (int k = 0; k < m->in; k++) memcpy(to + k * IL_LANES, values + 2 * k, sizeof *to);
}

void il_narrow_get_bytes(const il_narrow *m, size_t row, unsigned char *values) {
    const uint16_t *from = bf16_row(m, row);
    for (int k = 0; k < m->in; k++) memcpy(values + 2 * k, from + k * IL_LANES, sizeof *from);
}
