/* optimizer.h: clipping and AdamW over one block of weights. Sums and updates go by fixed pieces, so that the
 * number of threads changes no bit. */
#ifndef IL_TRAIN_OPTIMIZER_H
#define IL_TRAIN_OPTIMIZER_H

#include "engine/engine.h"

typedef struct il_optimizer {
    il_engine *engine;
    size_t n;        /* floats in each block */
    float *m, *v;    /* [n] moments, one allocation */
    double *partial; /* a piece's sum of squares */
} il_optimizer;

il_status il_optimizer_open(il_engine *engine, size_t n, il_optimizer *optimizer, il_error *error);
void il_optimizer_close(il_optimizer *optimizer);
/* Euclidean norm of gradient [n]. */
double il_optimizer_norm(const il_optimizer *optimizer, const float *gradient);
/* Update number n = 1, 2, …: weights [n] from gradient [n] times clip (1: as it is). */
void il_optimizer_update(const il_optimizer *optimizer, const il_trainer_options *options, uint64_t n, double lr,
                         double clip, const float *gradient, float *weights);

#endif
