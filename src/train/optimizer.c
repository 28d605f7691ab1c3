/* optimizer.c: AdamW in pieces. */
#include "train/optimizer.h"

#include "base/error.h"
#include <math.h>

static size_t own_size(const il_optimizer *o, int i) {
    int piece = il_optimizer_piece(o, i);
    return il_weights_size(o->n, piece, piece + 1);
}

il_status il_optimizer_open(il_engine *engine, size_t n, const int *own, int n_own, il_optimizer *optimizer,
                            il_error *error) {
    *optimizer = (il_optimizer){.engine = engine, .n = n, .own = own, .n_own = own ? n_own : il_weights_pieces(n)};
    size_t floats = 0;
    for (int i = 0; i < optimizer->n_own; i++) floats += own_size(optimizer, i);
    il_arena arena = {0};
    for (int real = 0; real < 2; real++) {
        optimizer->m = il_arena_take(&arena, floats, sizeof(float));
        optimizer->v = il_arena_take(&arena, floats, sizeof(float));
        optimizer->partial = il_arena_take(&arena, (size_t)optimizer->n_own, sizeof(double));
        if (real) break;
        void *block = il_alloc(&engine->memory, arena.used, 1);
        if (!block) return il_fail(error, IL_ERR_NOMEM, "no memory for the optimizer: %zu bytes", arena.used);
        arena = (il_arena){.base = block};
    }
    return IL_OK;
}

void il_optimizer_close(il_optimizer *optimizer) {
    if (optimizer->engine) il_free(&optimizer->engine->memory, optimizer->m); /* m stands first in the block */
    *optimizer = (il_optimizer){0};
}

typedef struct squares_job {
    const il_optimizer *optimizer;
    const float *gradient;
} squares_job;

static void squares_run(void *context, int i, int worker) {
    const squares_job *job = context;
    const il_optimizer *o = job->optimizer;
    size_t at = (size_t)il_optimizer_piece(o, i) * IL_WEIGHTS_PIECE;
    (void)worker;
    o->partial[i] = o->engine->kernels->sum_squares(own_size(o, i), job->gradient + at);
}

void il_optimizer_squares(const il_optimizer *optimizer, const float *gradient) {
    squares_job job = {optimizer, gradient};
    il_pool_run(optimizer->engine->pool, optimizer->n_own, squares_run, &job);
}

double il_optimizer_norm(const double *squares, int pieces) {
    double total = 0;
    for (int i = 0; i < pieces; i++) total += squares[i];
    return sqrt(total);
}

typedef struct update_job {
    const il_optimizer *optimizer;
    const float *gradient;
    float *weights;
    float clip, lr, b1, b2, inv_c1, inv_c2, eps, decay;
} update_job;

static void update_run(void *context, int i, int worker) {
    const update_job *job = context;
    const il_optimizer *o = job->optimizer;
    size_t at = (size_t)il_optimizer_piece(o, i) * IL_WEIGHTS_PIECE, end = at + own_size(o, i);
    size_t before = at - (size_t)i * IL_WEIGHTS_PIECE; /* of other ranks' pieces, which have no moments here */
    il_float_range s;
    (void)worker;
    for (size_t from = at; il_freeze_next(o->freeze, from, end, &s); from = s.to)
        o->engine->kernels->adamw(s.to - s.from, job->weights + s.from, job->gradient + s.from,
                                  o->m + (s.from - before), o->v + (s.from - before), job->clip, job->lr, job->b1,
                                  job->b2, job->inv_c1, job->inv_c2, job->eps, job->decay);
}

/* beta^n by squaring: IEEE products only, the same everywhere. */
static double power(double beta, uint64_t n) {
    double result = 1;
    for (; n; n >>= 1, beta *= beta)
        if (n & 1) result *= beta;
    return result;
}

void il_optimizer_update(const il_optimizer *optimizer, const il_trainer_options *options, uint64_t n, double lr,
                         double clip, const float *gradient, float *weights) {
    update_job job = {.optimizer = optimizer,
                      .gradient = gradient,
                      .weights = weights,
                      .clip = (float)clip,
                      .lr = (float)lr,
                      .b1 = (float)options->beta1,
                      .b2 = (float)options->beta2,
                      .inv_c1 = (float)(1 / (1 - power(options->beta1, n))),
                      .inv_c2 = (float)(1 / (1 - power(options->beta2, n))),
                      .eps = (float)options->eps,
                      .decay = (float)options->weight_decay};
    il_pool_run(optimizer->engine->pool, optimizer->n_own, update_run, &job);
}
