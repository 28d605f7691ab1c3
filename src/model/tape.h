/* tape.h: what training keeps of a forward pass, for the backward pass to read: every layer's activations, and of the
 * mixers what their backward needs besides. Where memory would not do for that it keeps each layer's input alone:
 * backward computes a layer's activations again, with the same bits, before it goes through the layer. One
 * allocation. */
#ifndef IL_MODEL_TAPE_H
#define IL_MODEL_TAPE_H

#include "model/workspace.h"

/* The tape keeps every 4th carry of a TTT layer; backward recomputes the others from the rows. */
enum { IL_CARRY_EVERY = 4 };

/* With recomputation the feed-forward network takes so many tokens at a time: a multiple of IL_BACK_ROWS, so that sums
 * over tokens keep their order. */
enum { IL_TAPE_FFN_TOKENS = 16 * IL_BACK_ROWS };

typedef struct il_tape {
    const il_allocator *allocator;
    il_acts_size size;
    int recomputes;  /* all arrays of a layer but x0 are in the same memory as those of every other */
    il_acts *layers; /* [layers] */
    float *x_last;   /* [T,D] input of the final norm */
    char *before;    /* [segments, state_bytes]: the blocks of the states before the pass; NULL: no recomputation */
    size_t state_bytes;
    void *block;
} il_tape;

/* Room for passes of at most `segments` sequences of at most `length` tokens each, length ≥ 1. Both also for a
 * workspace of taped passes: the tokens that the feed-forward network takes at a time, and what is allocated. */
il_status il_tape_open(const il_model *model, int segments, int length, int recomputes, il_tape *tape, il_error *error);
int il_tape_ffn_tokens(int segments, int length, int recomputes);
size_t il_tape_bytes(const il_model *model, int segments, int length, int recomputes);
void il_tape_close(il_tape *tape); /* an all-zero one is fine */

#endif
