/* pass.h: the small steps of a forward pass that blocks and mixers share. Each is split over the engine's
 * threads by outputs. */
#ifndef IL_MODEL_PASS_H
#define IL_MODEL_PASS_H

#include "model/forward.h"

/* Rows of a batch are handed to threads in pieces of this many. */
enum { IL_PIECE = 16 };

/* Runs run(context, piece, worker) for every piece of the batch's rows. */
void il_pass_rows(const il_pass *pass, void (*run)(void *context, int piece, int worker), void *context);
static inline int il_piece_rows(const il_pass *pass, int piece) {
    int left = pass->tokens - piece * IL_PIECE;
    return left < IL_PIECE ? left : IL_PIECE;
}

/* il_pool_run, but by the calling thread alone when all items together are fewer multiply-adds than waking
 * another thread is worth. */
void il_pass_share(const il_pass *pass, int items, double multiply_adds,
                   void (*run)(void *context, int item, int worker), void *context);

/* y [n, out] = x [n, in] · W^T, exact or as pass->bf16 says. */
void il_pass_dense(const il_pass *pass, const il_dense *linear, int n, const float *x, float *y);
/* y [T,D] = rms norm of x by the weight at that offset. */
void il_pass_rms(const il_pass *pass, const float *x, size_t weight, float *y);
/* y [T,D] = a + b */
void il_pass_add(const il_pass *pass, const float *a, const float *b, float *y);

/* y [T,D] (=) causal convolution over time of x [T,D], every segment continuing from its state's ring of
 * earlier columns (il_state.ring_pre or ring_qk of that state, chosen by `qk`). */
void il_pass_conv(const il_pass *pass, int layer, int qk, const float *x, size_t weight, size_t bias, float *y);
/* Keeps the last columns of x in the rings. */
void il_pass_conv_keep(const il_pass *pass, int layer, int qk, const float *x);
/* The taps-1 columns before state->position, oldest first, in blocks of IL_CHANNELS channels:
 * [D/64][taps-1][64]; columns before the first token are zero. */
enum { IL_CHANNELS = 64 };
void il_history(const il_state *state, const float *ring, int layer, float *history);

#endif
