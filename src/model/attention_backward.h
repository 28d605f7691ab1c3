/* attention_backward.h: the gradient of attention, which mixer_attention.c gives to its mixers. */
#ifndef IL_MODEL_ATTENTION_BACKWARD_H
#define IL_MODEL_ATTENTION_BACKWARD_H

#include "model/attention.h"

/* il_mixer.backward. */
void il_attention_backward(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad,
                           il_backspace *space);
/* il_mixer.scratch_backward, of any layer. */
size_t il_attention_scratch_backward(const il_model *model);

#endif
