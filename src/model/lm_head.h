/* lm_head.h: the output head: from final hidden vectors to logits and losses, and back; never all [tokens, V] logits at
 * once. */
#ifndef IL_MODEL_LM_HEAD_H
#define IL_MODEL_LM_HEAD_H

#include "model/pass.h"

/* logits [n,V] of hidden [n,D] (final hidden vectors, already normed). */
void il_lm_head_logits(const il_model *model, const il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                       float *logits);
/* nll[i] = -ln softmax(head · hidden_i)[targets[i]], [n]; through work->logits, never more than
 * work->logit_rows rows at once. */
void il_lm_head_nll(const il_model *model, il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                    const int32_t *targets, float *nll);
/* Loss and gradient in one go, after il_forward, of work->hidden [T,D] and targets [T]: nll [T] as above, and of the
 * loss sum_i weight[i] nll[i]: dhidden [T,D] =, and the head's (or tied embedding's) gradient += into grad. Rows of
 * weight 0 leave no trace in any gradient. Never more than work->logit_rows, or pass->bf16->logit_rows, rows of logits
 * at once. */
void il_lm_head_loss(const il_pass *pass, const int32_t *targets, const float *weight, float *nll, float *dhidden,
                     float *grad);

#endif
