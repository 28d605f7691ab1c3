/* tape.h: memory of what training keeps of a forward pass (il_tape, model/forward.h). */
#ifndef IL_TRAIN_TAPE_H
#define IL_TRAIN_TAPE_H

#include "model/forward.h"

/* Room for passes of at most `segments` sequences of at most `length` tokens each, length ≥ 1. One
 * allocation. */
il_status il_tape_open(const il_model *model, int segments, int length, il_tape *tape, il_error *error);
void il_tape_close(il_tape *tape); /* an all-zero one is fine */

#endif
