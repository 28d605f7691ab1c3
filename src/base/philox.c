/* philox.c: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011)
 * and the uniform and normal numbers made of it. Pure functions of seed and counter. */
#include "base/philox.h"

#include <math.h>

#include "base/maths.h"

void il_philox(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)purpose, c1 = stream, c2 = (uint32_t)index, c3 = (uint32_t)(index >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt 3 - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static uint64_t bits53(uint32_t low, uint32_t high) { return ((uint64_t)high << 32 | low) >> 11; }

double il_uniform(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index) {
    uint32_t r[4];
    il_philox(seed, purpose, stream, index, r);
    return (double)bits53(r[0], r[1]) * 0x1p-53;
}

/* Box and Muller. */
void il_normal_pair(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t pair, double out[2]) {
    uint32_t r[4];
    double sine, cosine;
    il_philox(seed, purpose, stream, pair, r);
    double radius = sqrt(-2.0 * il_log_d((double)(bits53(r[0], r[1]) + 1) * 0x1p-53)); /* of (0, 1] */
    il_sincos_d((double)bits53(r[2], r[3]) * (0x1.921fb54442d18p+2 * 0x1p-53), &sine, &cosine);
    out[0] = radius * cosine;
    out[1] = radius * sine;
}

double il_normal(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index) {
    double pair[2];
    il_normal_pair(seed, purpose, stream, index >> 1, pair);
    return pair[index & 1];
}

/* Attempt t of an element takes the counter with t in its top 16 bits: elements are below 2^48. At limit 0.5
 * an attempt fails with probability 0.62, so the last one is never seen to fail; it would give 0. */
double il_normal_truncated(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index, double limit) {
    for (uint64_t attempt = 0; attempt < 65536; attempt++) {
        double x = il_normal(seed, purpose, stream, index ^ attempt << 48);
        if (x >= -limit && x <= limit) return x;
    }
    return 0.0;
}
