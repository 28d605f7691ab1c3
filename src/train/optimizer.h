/* optimizer.h: clipping and AdamW over one block of weights. Sums and updates go by fixed pieces, so that the
 * number of threads changes no bit. */
#ifndef IL_TRAIN_OPTIMIZER_H
#define IL_TRAIN_OPTIMIZER_H

#include "engine/engine.h"
#include "train/freeze.h"

/* Weights of a piece, but for the last. Part of the order of the sum for the norm. */
enum { IL_WEIGHTS_PIECE = 1 << 16 };

/* Of the pieces that are its own, which for one process are all. */
typedef struct il_optimizer {
    il_engine *engine;
    size_t n;       /* floats in a block of weights */
    const int *own; /* [n_own] pieces, ascending, the caller's; NULL: all */
    int n_own;
    float *m, *v;            /* moments, one allocation: own piece i at i * IL_WEIGHTS_PIECE */
    double *partial;         /* [n_own] a piece's sum of squares */
    const il_freeze *freeze; /* what an update leaves alone; NULL: nothing */
} il_optimizer;

static inline int il_weights_pieces(size_t n) { return (int)((n + IL_WEIGHTS_PIECE - 1) / IL_WEIGHTS_PIECE); }
/* The floats of pieces from .. to-1 of a block of n. */
static inline size_t il_weights_size(size_t n, int from, int to) {
    size_t begin = (size_t)from * IL_WEIGHTS_PIECE, end = (size_t)to * IL_WEIGHTS_PIECE;
    return (end < n ? end : n) - (begin < n ? begin : n);
}
static inline int il_optimizer_piece(const il_optimizer *o, int i) { return o->own ? o->own[i] : i; }

il_status il_optimizer_open(il_engine *engine, size_t n, const int *own, int n_own, il_optimizer *optimizer,
                            il_error *error);
void il_optimizer_close(il_optimizer *optimizer);
/* partial from gradient [n]: the sums of squares of its own pieces. */
void il_optimizer_squares(const il_optimizer *optimizer, const float *gradient);
/* Euclidean norm of a gradient, from the sums of squares of all pieces in their order. */
double il_optimizer_norm(const double *squares, int pieces);
/* Update number n = 1, 2, …: its own pieces of weights [n] from gradient [n] times clip (1: as it is). */
void il_optimizer_update(const il_optimizer *optimizer, const il_trainer_options *options, uint64_t n, double lr,
                         double clip, const float *gradient, float *weights);

#endif
