/* contexts.h: what followed the same tokens before. Owns a table of contexts, the last 1 to IL_ORDERS tokens and the
 * two before the last, each with the few tokens that followed it most or last; says of a bit how often either value
 * came. Knows nothing of probabilities. */
#ifndef IL_MIX_CONTEXTS_H
#define IL_MIX_CONTEXTS_H

#include "base/memory.h"

enum {
    IL_ORDERS = 6,
    IL_CONTEXTS =
        IL_ORDERS + 1, /* context k < IL_ORDERS: the last k + 1 tokens; the last context: tokens 2 and 3 back */
    IL_FOLLOWERS = 7   /* kept of a context */
};

/* 32 bytes; zeroed: free. */
typedef struct il_context {
    uint32_t check;
    uint32_t followers[IL_FOLLOWERS]; /* leaf in the low 24 bits, how often in the high 8; the last one first */
} il_context;

enum { IL_FOLLOWER_LANES = 8 }; /* IL_FOLLOWERS and nothing */

typedef struct il_contexts {
    il_context *table; /* [1 << bits] */
    int bits;          /* ≥ 1 */
    /* of the token under way */
    il_context *now[IL_CONTEXTS];
    /* followers in their places; 0: none, or does not agree with its bits so far */
    _Alignas(16) uint32_t left[IL_CONTEXTS][IL_FOLLOWER_LANES];
    uint32_t all[IL_CONTEXTS]; /* how often these came */
} il_contexts;

/* How often the next bit was 0 and 1; last: what it was the last time, 2 when either count is 0. */
typedef struct il_counts {
    uint32_t zeros, ones;
    int last;
} il_counts;

/* hash [IL_CONTEXTS]: of the contexts that the next token stands in. il_contexts_fetch: before they are needed. */
void il_contexts_fetch(const il_contexts *contexts, const uint32_t *hash);
void il_contexts_begin(il_contexts *contexts, const uint32_t *hash);
/* What followed a context that is known last time. */
uint32_t il_contexts_last(const il_contexts *contexts, int context);
/* counts [IL_CONTEXTS]: of the bit of the leaf at `shift`. */
void il_contexts_counts(const il_contexts *contexts, int shift, il_counts *counts);
/* That bit was `bit`. */
void il_contexts_go_on(il_contexts *contexts, int shift, int bit);
void il_contexts_end(il_contexts *contexts, uint32_t leaf);

#endif
