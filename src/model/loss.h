/* loss.h: cross-entropy of the output head and its gradient in one go. */
#ifndef IL_MODEL_LOSS_H
#define IL_MODEL_LOSS_H

#include "model/forward.h"

/* Of hidden [n,D] (final hidden vectors, normed) and targets [n]: nll [n] = -ln softmax(head ·
 * hidden_i)[targets[i]], and of the loss sum_i weight[i] nll[i]: dhidden [n,D] =, and the head's (or tied
 * embedding's) gradient += into grad. Rows of weight 0 leave no trace in any gradient. Through work->logits,
 * never more than IL_LOGIT_ROWS rows at once. */
void il_head_loss(const il_model *model, il_workspace *work, int n, const float *hidden, const int32_t *targets,
                  const float *weight, float *nll, float *dhidden, float *grad);

#endif
