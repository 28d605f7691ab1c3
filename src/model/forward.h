/* forward.h: the whole model, forward: the only forward there is, for prefill, decode and training. */
#ifndef IL_MODEL_FORWARD_H
#define IL_MODEL_FORWARD_H

#include "model/pass.h"

/* tokens [T] -> work->hidden [T,D], the final hidden vectors (with a tape also x_last); moves every state on by its n
 * and keeps the last hidden vectors there. Token ids are the caller's to check; states must have room
 * (il_state_reserve); with a tape every segment starts at a multiple of b. Cannot fail. */
void il_forward(il_pass *pass, const int32_t *tokens);
/* After a forward pass with a tape that recomputes: the layer's activations from its input again, up to acts->x2, and
 * what its mixer keeps in states and pages. */
void il_forward_again(il_pass *pass, int layer);

#endif
