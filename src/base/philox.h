/* philox.h: counter-based random numbers (Philox4x32-10). No state: key = seed, counter = (purpose, stream, index). */
#ifndef IL_BASE_PHILOX_H
#define IL_BASE_PHILOX_H

#include <stdint.h>

/* What a number is drawn for; different purposes never share numbers. Values are part of every result: never renumber.
 */
typedef enum il_purpose {
    IL_PURPOSE_INIT = 1,      /* stream: tensor index, index: element */
    IL_PURPOSE_SAMPLE = 2,    /* stream: 0, index: position */
    IL_PURPOSE_SHUFFLE = 3,   /* stream: epoch, index: swap */
    IL_PURPOSE_TEST = 4,      /* free for tests and benches */
    IL_PURPOSE_FAST_HEAD = 5, /* stream: input, index: 128 features */
    IL_PURPOSE_ORDER = 6 /* il_permute. seed: the order's, stream and index: its stream and epoch; then seed: what that
                          * gave, stream: round, index: half of a place */
} il_purpose;

void il_philox(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index, uint32_t out[4]);
/* Uniform in [0, 1), 53 bits. */
double il_uniform(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index);
/* Standard normal, the same bits on every machine (own log, sine and cosine in double). */
double il_normal(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index);
/* il_normal of index 2*pair and 2*pair + 1, for the price of one. */
void il_normal_pair(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t pair, double out[2]);
/* Standard normal cut to |x| ≤ limit (limit ≥ 0.5) by rejection over further counters of the same element.
 * index < 2^48. */
double il_normal_truncated(uint64_t seed, il_purpose purpose, uint32_t stream, uint64_t index, double limit);

#endif
