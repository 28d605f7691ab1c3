/* mini_batches.h: how a head that learns goes through a segment mini-batch by mini-batch, and where a tape keeps what
 * it leaves there; and the columns of convolutions in state files. Shared by the mixers whose heads have fast weights
 * (il_layer.heads of them). */
#ifndef IL_MODEL_MINI_BATCHES_H
#define IL_MODEL_MINI_BATCHES_H

#include "model/mixer.h"

/* Consecutive tokens of a segment that lie in one mini-batch, as one head meets them. */
typedef struct il_turn {
    int row, n;         /* rows row .. row+n-1 of the batch */
    int r0;             /* the place of the first in its mini-batch */
    const float *carry; /* fast weights at the start of the mini-batch */
    float *rows;
    float *next; /* where the carry after the mini-batch goes; NULL: it is not full yet, or the state is frozen */
} il_turn;

/* A head goes through its segment in so many steps (il_chains): one for each thread, so that the steps of all heads are
 * a multiple of the threads, but none that is empty. */
int il_mini_batch_steps(const il_pass *pass);
/* The next turn of a step of segment `segment`; *at is 0 at first and moved on. 0: there is none. On a tape the
 * carry is kept there. */
int il_turn_next(const il_pass *pass, int layer, int head, int segment, int step, int steps, int *at, il_turn *turn);

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
