/* frequency.h: a probability as a whole number that is never 0, so that sums are the same in any order
 * (docs/compress.md). */
#ifndef IL_BASE_FREQUENCY_H
#define IL_BASE_FREQUENCY_H

#include <stdint.h>

/* p in 0 .. 1, and a little above. */
static inline uint32_t il_frequency(float p) { return 1U + (uint32_t)(int32_t)(p * 0x1p30f); }

enum { IL_FREQUENCIES = 256 }; /* the compiler's vectors add up so many at a time */

/* Of p [n]. */
static inline uint32_t il_frequency_sum(int n, const float *p) {
    uint32_t total = 0;
    int i = 0;
    for (; i + IL_FREQUENCIES <= n; i += IL_FREQUENCIES, p += IL_FREQUENCIES)
        for (int j = 0; j < IL_FREQUENCIES; j++) total += il_frequency(p[j]);
    for (; i < n; i++) total += il_frequency(*p++);
    return total;
}

#endif
