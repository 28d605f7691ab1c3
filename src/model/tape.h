/* tape.h: what training keeps of a forward pass, for the backward pass to read: every layer's activations, and of the
 * mixers what their backward needs besides. One allocation. */
#ifndef IL_MODEL_TAPE_H
#define IL_MODEL_TAPE_H

#include "model/workspace.h"

/* The tape keeps every 4th carry of a TTT layer; backward recomputes the others from the rows. */
enum { IL_CARRY_EVERY = 4 };

typedef struct il_tape {
    const il_allocator *allocator;
    il_acts_size size;
    il_acts *layers; /* [layers] */
    float *x_last;   /* [T,D] input of the final norm */
    void *block;
} il_tape;

/* Room for passes of at most `segments` sequences of at most `length` tokens each, length ≥ 1. */
il_status il_tape_open(const il_model *model, int segments, int length, il_tape *tape, il_error *error);
void il_tape_close(il_tape *tape); /* an all-zero one is fine */

#endif
