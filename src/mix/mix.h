/* mix.h: a second opinion on every token: what followed the same tokens before, mixed with a model's own prediction by
 * weights that are learned on the way, one bit of the token's way through a tree (tree.h) after the other. Repetition
 * becomes cheap, whatever the model knows. All of it is integers and IEEE operations in a fixed order: the same bits on
 * every machine.
 *
 * A mix serves any number of sequences that go on side by side, token t of each before token t + 1 of any; they share
 * all that is learned. For each token: il_mix_begin; for each bit of its way il_mix_bit and il_mix_learn; il_mix_end.
 */
#ifndef IL_MIX_MIX_H
#define IL_MIX_MIX_H

#include "mix/tree.h"

enum { IL_MIX_BITS = 24 }; /* probabilities are in 2^-24 */

typedef struct il_mix il_mix;

/* For about so many bytes of text in all sequences: memory is 2 MiB and 60 to 120 times as much, at most 106 MiB.
 * depth: of the tree; sequences ≥ 1. */
il_status il_mix_open(const il_allocator *memory, int depth, int sequences, uint64_t bytes, il_mix **mix,
                      il_error *error);
void il_mix_close(il_mix *mix); /* NULL allowed */

void il_mix_begin(il_mix *mix, int sequence);
/* The probability that the next bit is 1, 1 .. 2^24 - 1; 0: it is 0, as the model's odds say. */
uint32_t il_mix_bit(il_mix *mix, il_odds model);
void il_mix_go_on(il_mix *mix, int bit);
/* After the last bit of the way to `leaf`. */
void il_mix_end(il_mix *mix, uint32_t leaf);
/* ln p of every token that may come next, by its leaf, in log_p [vocab]; sums: il_tree_sums of the model's
 * distribution. Nothing is learned; any number of times before il_mix_begin. */
void il_mix_all(il_mix *mix, int sequence, const uint32_t *sums, float *log_p);

/* How many bytes il_mix_learned of such a mix has. */
size_t il_mix_learned_bytes(int depth, int sequences, uint64_t bytes);
/* All that it has learned, between two tokens: to be copied into a mix of the same shape, which then goes on alike. */
void *il_mix_learned(il_mix *mix, size_t *bytes);
/* Whether what was copied into it can be gone on from. */
int il_mix_sound(const il_mix *mix);

#endif
