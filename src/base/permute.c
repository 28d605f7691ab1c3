/* permute.c: a Feistel network over the numbers of an even number of bits, its round function Philox. Where it leads
 * out of 0 .. n-1 it is gone through again from there, which must come back, since it is a permutation. */
#include "base/permute.h"

#include "base/philox.h"

enum { ROUNDS = 6, HALF_BITS_MIN = 4 /* few bits would have few orders */ };

uint64_t il_permute(uint64_t seed, uint32_t stream, uint64_t epoch, uint64_t n, uint64_t place) {
    uint32_t r[4];
    il_philox(seed, IL_PURPOSE_ORDER, stream, epoch, r);
    uint64_t key = r[0] | (uint64_t)r[1] << 32;
    int bits = HALF_BITS_MIN;
    while (bits < 32 && (n - 1) >> (2 * bits)) bits++;
    uint32_t mask = (uint32_t)((1ULL << bits) - 1);
    do {
        uint32_t left = (uint32_t)(place >> bits) & mask, right = (uint32_t)place & mask;
        for (uint32_t round = 0; round < ROUNDS; round++) {
            uint32_t before = right;
            il_philox(key, IL_PURPOSE_ORDER, round, right, r);
            right = left ^ (r[0] & mask);
            left = before;
        }
        place = (uint64_t)left << bits | right;
    } while (place >= n);
    return place;
}
