/* fast_plan.h: which rows of a pass a fast head must compute, and in which order. Plain arithmetic on positions: knows
 * no weights and no memory. fast_outputs.c does what is planned here.
 *
 * Row p is the final hidden vector of position p; it predicts the token at p + 1. Tokens m*b .. m*b+b-1, mini-batch m,
 * are predicted with F_m, which then learns from all of their rows at once. One part over three mini-batches, b = 4:
 * eight tokens, from position 5, inside mini-batch 1, on:
 *
 *     mini-batch           0        |       1       |       2       |     3
 *     token           0   1   2   3 | 4   5   6   7 | 8   9  10  11 |12   13
 *     part                          |    [==========|===============|==]
 *     predicted by        0   1   2 | 3   4   5   6 | 7   8   9  10 |11   12    (row)
 *     group                         | k   k   n   n | n   n   n   n |(n)  (n)
 *     F                  F_0       --->     F_1    --->    F_2     --->  F_3
 *                                                learns          learns
 *
 * The group of mini-batch 1 needs rows 3 to 6. Rows 3 and 4 are of tokens read before this part: the session has kept
 * their softmax (k), or they are computed again from the hidden vectors that the state remembers. The group of
 * mini-batch 2 is all new (n). Mini-batch 3 is not complete: rows 11 and 12 are needed only where somebody asked for
 * their loss or logits; nothing is learned from them yet, but the session may keep them for then. */
#ifndef IL_SESSION_FAST_PLAN_H
#define IL_SESSION_FAST_PLAN_H

#include <stdint.h>

/* What is asked of a part: its tokens start .. start + n - 1. */
typedef struct il_fast_wish {
    uint64_t start, n, b;
    int learns;                  /* 0: frozen, F stays as it is */
    int losses;                  /* of every token of the part */
    int rows;                    /* the logits or the softmax of the row of every token */
    uint64_t kept_from, kept_to; /* rows that the session has kept; from = to: none */
} il_fast_wish;

/* The rows of a part that predict tokens of one mini-batch. */
typedef struct il_fast_group {
    uint64_t mini_batch;
    uint64_t first; /* the first row to be computed */
    int n;          /* how many are */
    int kept;       /* rows before those that were kept */
    int learns;     /* from all these rows, kept ones too, once they have been read */
    int keeps;      /* the n rows, until their mini-batch is complete */
} il_fast_group;

/* The first row that predicts a token of mini-batch m. */
uint64_t il_fast_first_row(uint64_t m, uint64_t b);
/* n and kept are 0 where nothing has to be done. */
il_fast_group il_fast_group_of(const il_fast_wish *wish, uint64_t mini_batch);

#endif
