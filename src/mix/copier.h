/* copier.h: the longest match: where did the last tokens stand before, and what came then? Owns the tokens that all
 * sequences have read lately, side by side, so that one sequence copies what another has read; and where short runs of
 * them stand. */
#ifndef IL_MIX_COPIER_H
#define IL_MIX_COPIER_H

#include "base/memory.h"

enum { IL_COPIES = 2 }; /* at once: one found by a long run of tokens, one by a short one */

/* What a sequence copies. */
typedef struct il_copy {
    uint64_t at;     /* the place of the token that comes next, if it goes on; 0: nothing */
    uint32_t length; /* tokens that agreed since the last that did not */
    uint32_t misses; /* tokens that did not, lately */
} il_copy;

/* Where a sequence is. */
typedef struct il_copy_state {
    uint64_t at; /* the place of its next token: token t of sequence s of n is at t n + s */
    il_copy copies[IL_COPIES];
} il_copy_state;

typedef struct il_copier {
    int32_t *ring;               /* [1 << ring_bits]: the token at place p is in ring[p mod 2^ring_bits] */
    uint32_t *places[IL_COPIES]; /* [1 << place_bits]: by a run's hash the place behind it, mod 2^32; 0: none */
    int ring_bits, place_bits;   /* ring_bits ≥ 13 */
    int sequences;
} il_copier;

/* The token k ≥ 1 before the next one, -1 where there is none. */
int32_t il_copier_back(const il_copier *copier, const il_copy_state *reader, int k);
/* Where runs like the last ones are noted, in runs [IL_COPIES]; asks the memory for them. */
void il_copier_runs(const il_copier *copier, const il_copy_state *reader, uint32_t *runs);
/* Begins the next token, runs being those before it: what it may be, or -1, in next [IL_COPIES]. */
void il_copier_begin(il_copier *copier, il_copy_state *reader, const uint32_t *runs, int32_t *next);
void il_copier_end(il_copier *copier, il_copy_state *reader, int32_t leaf);
uint32_t il_mix_hash(uint32_t hash, uint32_t with);

#endif
