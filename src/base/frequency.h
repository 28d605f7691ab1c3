/* frequency.h: a probability as a whole number that is never 0, so that sums are the same in any order
 * (docs/compress.md). */
#ifndef IL_BASE_FREQUENCY_H
#define IL_BASE_FREQUENCY_H

#include <stdint.h>

/* p in 0 .. 1, and a little above. */
static inline uint32_t il_frequency(float p) { return 1U + (uint32_t)(int32_t)(p * 0x1p30f); }

#endif
