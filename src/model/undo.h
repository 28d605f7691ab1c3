/* undo.h: going back to the state before a pass in which a number was not finite. A pass that ends in the mini-batch
 * after its first at the latest writes over nothing that a rewind to its start needs. One that goes further leaves the
 * fast weights to mini_batches.h, and what else it writes over is copied before it: rows, columns and hidden vectors
 * from the start of its first mini-batch on. What came before that is given up. */
#ifndef IL_MODEL_UNDO_H
#define IL_MODEL_UNDO_H

#include "model/state.h"

/* Bytes of the copy for a pass of n tokens; 0: none is needed. */
size_t il_undo_bytes(const il_state *state, size_t n);
/* The most that a state of this model ever needs. */
size_t il_undo_bytes_max(const il_state *state);
/* Before the pass. */
void il_undo_keep(il_state *state, char *room);
/* After it: back to position start. room: NULL where none was needed. */
void il_undo(il_state *state, uint64_t start, char *room);

#endif
