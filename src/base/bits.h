/* bits.h: floating-point numbers as their bits, and bfloat16 one number at a time. Kernels have their own: they import
 * nothing. */
#ifndef IL_BASE_BITS_H
#define IL_BASE_BITS_H

#include <stdint.h>
#include <string.h>

static inline uint32_t il_bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float il_float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint64_t il_bits_of_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline double il_double_of_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float il_float_of_bf16(uint16_t half) { return il_float_of_bits((uint32_t)half << 16); }

/* The nearest bfloat16, ties to even. x must not be NaN. */
static inline uint16_t il_bf16_of_float(float x) {
    uint32_t bits = il_bits_of_float(x);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
