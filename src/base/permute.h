/* permute.h: a shuffled order by arithmetic: which of n things stands at a place, without a table of the n. */
#ifndef IL_BASE_PERMUTE_H
#define IL_BASE_PERMUTE_H

#include <stdint.h>

/* What stands at `place` < n of the order that seed, stream and epoch draw: over all places each of 0 .. n-1 once. */
uint64_t il_permute(uint64_t seed, uint32_t stream, uint64_t epoch, uint64_t n, uint64_t place);

#endif
