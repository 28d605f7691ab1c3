/* mini_batches.h: how a head that learns goes through a segment mini-batch by mini-batch, and where a tape keeps what
 * it leaves there; and the columns of convolutions in state files. Shared by the mixers whose heads have fast weights
 * (il_layer.heads of them).
 *
 * A state has room for the carries of two mini-batches, the open one and the one before. A pass that can be undone
 * (il_pass.undoable) and goes from mini-batch f to l > f + 1 must not write over that of f. It takes those of f + 1 …
 * l - 1 through the other slot, and that of l, which follows from the carry and the rows of l - 1, lies in scratch
 * where a head needs it; il_settle computes it again for the state, when the pass is known to be good. */
#ifndef IL_MODEL_MINI_BATCHES_H
#define IL_MODEL_MINI_BATCHES_H

#include "model/mixer.h"

/* Consecutive tokens of a segment that lie in one mini-batch, as one head meets them. */
typedef struct il_turn {
    int row, n;         /* rows row .. row+n-1 of the batch */
    int r0;             /* the place of the first in its mini-batch */
    const float *carry; /* fast weights at the start of the mini-batch */
    float *rows;
    float *next; /* where the carry after the mini-batch goes, which may be carry; NULL: nowhere (yet) */
} il_turn;

/* Floats of a worker's scratch: the rule's, then a carry. */
size_t il_turn_scratch(const il_layer *layer);

/* A head goes through its segment in so many steps (il_chains): one for each thread, so that the steps of all heads are
 * a multiple of the threads, but none that is empty. */
int il_mini_batch_steps(const il_pass *pass);
/* The next turn of a step of segment `segment`; *at is 0 at first and moved on. 0: there is none. On a tape the
 * carry is kept there. scratch: of il_turn_scratch. */
int il_turn_next(const il_pass *pass, int layer, int head, int segment, int step, int steps, int *at, float *scratch,
                 il_turn *turn);
/* After its rows: commits where there is a next. */
void il_turn_end(const il_pass *pass, int layer, int head, const il_turn *turn, float *scratch);

/* After il_forward of a pass that can be undone: whether the carries that il_settle will leave are finite. */
int il_settles_finite(const il_pass *pass);
/* Leaves the carries of the last two mini-batches in the states; now the pass cannot be undone any more. */
void il_settle(const il_pass *pass);

/* Of the tape: the rows of a mini-batch of a segment, and the carry at the start of mini-batch IL_CARRY_EVERY * group.
 */
float *il_tape_rows(const il_pass *pass, int layer, int segment, int mini_batch, int head);
float *il_tape_carry(const il_pass *pass, int layer, int segment, int group, int head);
/* Takes both. */
void il_tape_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts);

/* Of state files: the columns of a ring that a convolution at the rewind limit still reads, oldest first: how many a
 * sequence has, and each in turn. */
size_t il_columns_kept(int taps, const il_extent *extent);
il_status il_columns_visit(const il_state *state, int layer, il_ring ring, const il_conv *conv, il_visitor *visitor);

#endif
