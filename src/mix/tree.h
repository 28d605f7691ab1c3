/* tree.h: a token as a way through a binary tree, one bit at each node, and what a model's distribution says of each
 * bit. Tokens that are neighbours in `order` share most of their way. Knows nothing of what else predicts a bit.
 *
 * A node is known by its number: the root is 1, the children of i are 2 i and 2 i + 1. The leaves of the vocab tokens
 * are the first of 2^depth; where a node has no leaf to its right the bit is 0 without being asked. */
#ifndef IL_MIX_TREE_H
#define IL_MIX_TREE_H

#include "base/memory.h"

enum { IL_TREE_DEPTH_MAX = 24 }; /* a leaf's number is kept in 24 bits */

typedef struct il_tree {
    int vocab, depth;     /* 2^depth ≥ vocab ≥ 1; depth ≥ 1 */
    const int32_t *token; /* [vocab]: of a leaf */
    const int32_t *leaf;  /* [vocab]: of a token */
    const il_allocator *memory;
} il_tree;

/* What the model says of a bit: frequencies of all tokens on either side (base/frequency.h). */
typedef struct il_odds {
    uint32_t zeros, ones; /* ones 0: the bit is 0 */
} il_odds;

int il_tree_depth(int vocab);

/* order [vocab]: the tokens from the first leaf to the last, each once; NULL: as they are numbered. Owes
 * il_tree_close, also after a failure. */
il_status il_tree_open(const il_allocator *memory, int vocab, const int32_t *order, il_tree *tree, il_error *error);
void il_tree_close(il_tree *tree);

/* The odds of every bit on the way to a token: odds [depth]. p [vocab]: the model's distribution. */
void il_tree_way(const il_tree *tree, const float *p, int32_t token, il_odds *odds);
/* The odds of every bit there is: sums [2 << depth], that of node i at sums[i]. */
void il_tree_sums(const il_tree *tree, const float *p, uint32_t *sums);

#endif
