/* fast_head.h: the output head that goes on learning while it reads (docs/ttt.md, "A head that learns too").
 *
 * A token t of mini-batch m is predicted by logits = head h + F_m φ(h), h the final hidden vector of the token before
 * it, φ(h) a fixed projection of h onto size features, of length 1. When the mini-batch is complete,
 *
 *     F_{m+1} = F_m - lr sum_t (softmax(logits_t) - onehot_t) φ(h_t)^T,    F_0 = 0:
 *
 * the inner loss is the very loss of the model. Owns these steps; which rows go through them when is
 * session/outputs.c's. Functions work on columns from .. to of the vocabulary, from a multiple of 16, so that threads
 * can share it; each element is one chain, so the bits do not depend on the cut. */
#ifndef IL_MODEL_FAST_HEAD_H
#define IL_MODEL_FAST_HEAD_H

#include "model/state.h"

/* projection [D, size]: ±1, the same for all models. */
void il_fast_head_projection(int width, int size, float *projection);
/* Floats of F: panels of 16 tokens, [ceil(V/16), size, 16]. */
size_t il_fast_head_floats(const il_config *config);
/* φ [n, size] of hidden [n, D]. */
void il_fast_head_features(const il_model *model, int n, const float *hidden, ptrdiff_t ldh, float *features);
/* logits [n, V], columns from .. to, += F φ (chain) */
void il_fast_head_add(const il_state *state, uint64_t mini_batch, int n, const float *features, int from, int to,
                      float *logits);
/* One row [V] of softmax becomes softmax - onehot; zeros where nothing is to be learned: the target is BOS (as in every
 * loss), or the logits' log-sum-exp is not finite. */
void il_fast_head_error(const il_model *model, int32_t target, int finite, float *row);
/* Rows to learn from: steps [n, size] = -lr φ, errors [n, V]. */
typedef struct il_fast_rows {
    int n;
    const float *steps, *errors;
} il_fast_rows;
/* F of mini_batch + 1 from that of mini_batch, columns from .. to, by the rows of all lists, ascending. */
void il_fast_head_learn(const il_state *state, uint64_t mini_batch, int lists, const il_fast_rows *list, int from,
                        int to);

#endif
