/* fast_outputs.h: the logits and losses of a pass with a fast head, which learns from them on the way. */
#ifndef IL_SESSION_FAST_OUTPUTS_H
#define IL_SESSION_FAST_OUTPUTS_H

#include "session/outputs.h"

/* As il_outputs_before and il_outputs_after. */
void il_fast_outputs_before(const il_part *parts, int n_parts);
void il_fast_outputs_after(il_model *model, il_workspace *work, const il_part *parts, int n_parts);

#endif
