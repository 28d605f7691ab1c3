/* fast_head.h: the output head that goes on learning while it reads (docs/ttt.md, "A head that learns too").
 *
 * A token t of mini-batch m is predicted by logits = head h + F_m φ(h), h the final hidden vector of the token before
 * it, φ(h) a fixed projection of h onto size features, of length 1. When the mini-batch is complete,
 *
 *     F_{m+1} = F_m - lr sum_t (softmax(logits_t) - onehot_t) φ(h_t)^T,    F_0 = 0:
 *
 * the inner loss is the very loss of the model. A column of F is a token's: of every token v column v, or, with
 * fast_head_tokens, of the first so many different ones that were read. Of those without a column only the 1 of the
 * target is learned, when the mini-batch that gives it one is complete; of the softmax nothing.
 *
 * Owns these steps; which rows go through them when is session/outputs.c's. Functions work on columns from .. to, from
 * a multiple of 16, so that threads can share them, and leave those alone that no token has; each element is one
 * chain, so the bits do not depend on the cut. */
#ifndef IL_MODEL_FAST_HEAD_H
#define IL_MODEL_FAST_HEAD_H

#include "model/state.h"

/* projection [D, size]: ±1, the same for all models. */
void il_fast_head_projection(int width, int size, float *projection);
/* The columns that F has room for. */
int il_fast_head_columns(const il_config *config);
/* Floats of F: panels of 16 columns, [ceil(columns/16), size, 16]. */
size_t il_fast_head_floats(const il_config *config);
/* The columns of F of a mini-batch that have a token. */
int il_fast_head_owned(const il_state *state, uint64_t mini_batch);
/* φ [n, size] of hidden [n, D]. */
void il_fast_head_features(const il_model *model, int n, const float *hidden, ptrdiff_t ldh, float *features);
/* logits [n, V] of the tokens that have columns from .. to += F φ (chain). learned [n, fast_head_tokens]: the same
 * logits, column by column; untouched where each token has its own. */
void il_fast_head_add(const il_state *state, uint64_t mini_batch, int n, const float *features, int from, int to,
                      float *logits, float *learned);
/* A row of softmax over the columns that mini_batch has becomes the row of errors, softmax - onehot; zeros where
 * nothing is to be learned: the target is BOS (as in every loss), or the logits' log-sum-exp is not finite. With
 * fast_head_tokens the onehot is il_fast_head_answer's, and zeros stand in the columns that may be given away next. */
void il_fast_head_error(const il_state *state, uint64_t mini_batch, int32_t target, int finite, float *row);
/* With fast_head_tokens, once all rows are errors: first F of mini_batch + 1 has the columns of mini_batch; then, row
 * by row in the order of the text, but for those where nothing is to be learned, its target gets a column there unless
 * it has one or none is left, and its onehot. */
void il_fast_head_begin(const il_state *state, uint64_t mini_batch);
void il_fast_head_answer(const il_state *state, uint64_t mini_batch, int32_t target, float *row);
/* Rows to learn from: steps [n, size] = -lr φ, errors [n, columns]. */
typedef struct il_fast_rows {
    int n;
    const float *steps, *errors;
} il_fast_rows;
/* F of mini_batch + 1 from that of mini_batch, columns from .. to, by the rows of all lists, ascending. */
void il_fast_head_learn(const il_state *state, uint64_t mini_batch, int lists, const il_fast_rows *list, int from,
                        int to);

#endif
