/* loss.h: cross-entropy of the output head and its gradient in one go. */
#ifndef IL_MODEL_LOSS_H
#define IL_MODEL_LOSS_H

#include "model/forward.h"

/* After il_forward, of work->hidden [T,D] and targets [T]: nll [T] = -ln softmax(head · hidden_i)[targets[i]], and of
 * the loss sum_i weight[i] nll[i]: dhidden [T,D] =, and the head's (or tied embedding's) gradient += into grad. Rows of
 * weight 0 leave no trace in any gradient. Never more than IL_LOGIT_ROWS, or pass->bf16->logit_rows, rows of logits at
 * once. */
void il_lm_head_loss(const il_pass *pass, const int32_t *targets, const float *weight, float *nll, float *dhidden,
                     float *grad);

#endif
