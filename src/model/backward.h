/* backward.h: the whole model, backward. */
#ifndef IL_MODEL_BACKWARD_H
#define IL_MODEL_BACKWARD_H

#include "model/pass.h"

/* After il_forward of the same pass with a tape: from dhidden [T,D] = dL/d(work->hidden), adds the gradients
 * of all tensors but an untied head to grad [table.floats]. Uses up the tape's h1 and h3 and the workspace's
 * mix, tmp and ffn. Of the states it reads position and key blocks; with recomputation it goes through them again and
 * leaves them as they were. Cannot fail. */
void il_backward(il_pass *pass, const int32_t *tokens, const float *dhidden, float *grad, il_backspace *space);

#endif
