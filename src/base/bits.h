/* bits.h: floating-point numbers as their bits, and 16-bit ones one number at a time. Kernels have their own: they
 * import nothing. */
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

/* IEEE's 16 bits: exponent and mantissa moved into place read as 2^-112 of the value, subnormals included; the product
 * is exact. */
static inline float il_float_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    if (rest >= 0x7c00u << 13) return il_float_of_bits(sign | 0x7f800000u | rest); /* infinity and NaN */
    return il_float_of_bits(sign | il_bits_of_float(il_float_of_bits(rest) * 0x1p112f));
}

/* The nearest bfloat16, ties to even. x must not be NaN. */
static inline uint16_t il_bf16_of_float(float x) {
    uint32_t bits = il_bits_of_float(x);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif
