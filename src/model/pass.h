/* pass.h: one pass of the model over a ragged batch of sequences, for prefill, decode and training alike, and how its
 * work is shared out to threads: by outputs, never by parts of a sum. */
#ifndef IL_MODEL_PASS_H
#define IL_MODEL_PASS_H

#include "model/tape.h"

struct il_bf16;

/* One sequence's tokens in the batch: rows first .. first+n-1, read from state->position on. */
typedef struct il_segment {
    int first, n;
    il_state *state;
} il_segment;

typedef struct il_pass {
    il_model *model;
    il_workspace *work;
    il_tape *tape; /* NULL outside training */
    il_segment *segments;
    int n_segments;
    int tokens;           /* T: sum of n */
    float inner_lr;       /* factor on eta: 1 outside training */
    int undoable;         /* 1: fast weights from before the pass are kept until il_settle (mini_batches.h) */
    struct il_bf16 *bf16; /* products of dense layers with rounded operands (bf16.h); NULL: exact */
    /* Called by il_backward after each layer: this pass adds nothing any more to gradients from that float on. NULL:
     * nobody wants to know */
    void (*passed)(void *user, size_t from);
    void *user;
} il_pass;

/* In training the activations of every layer are kept; otherwise all layers share the workspace's memory. */
static inline il_acts *il_pass_acts(const il_pass *pass, int layer) {
    return pass->tape ? &pass->tape->layers[layer] : &pass->work->layers[layer];
}

/* Tokens that the feed-forward network takes at a time: as many as there is room for. */
static inline int il_pass_ffn_tokens(const il_pass *pass) {
    size_t most = pass->tape ? pass->tape->size.ffn_tokens : (size_t)pass->work->ffn_tokens;
    return most < (size_t)pass->tokens ? (int)most : pass->tokens;
}

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

/* y [T, width] = map(a, b) element by element: il_kernels.add, .silu_mul, …. */
void il_pass_map(const il_pass *pass, void (*map)(size_t n, const float *a, const float *b, float *y), int width,
                 const float *a, const float *b, float *y);

#endif
