/* optimizer.c: AdamW in pieces. */
#include "train/optimizer.h"

#include "base/error.h"
#include <math.h>

enum { PIECE = 1 << 16 };

static int pieces(const il_optimizer *o) { return (int)((o->n + PIECE - 1) / PIECE); }
static size_t piece_size(const il_optimizer *o, int piece) {
    size_t from = (size_t)piece * PIECE;
    return o->n - from < PIECE ? o->n - from : PIECE;
}

il_status il_optimizer_open(il_engine *engine, size_t n, il_optimizer *optimizer, il_error *error) {
    *optimizer = (il_optimizer){.engine = engine, .n = n};
    il_arena arena = {0};
    for (int real = 0; real < 2; real++) {
        optimizer->m = il_arena_take(&arena, n, sizeof(float));
        optimizer->v = il_arena_take(&arena, n, sizeof(float));
        optimizer->partial = il_arena_take(&arena, (size_t)pieces(optimizer), sizeof(double));
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

typedef struct {
    const il_optimizer *o;
    const float *gradient;
    float *weights;
    float clip, lr, b1, b2, inv_c1, inv_c2, eps, decay;
} work;

static void run_norm(void *context, int piece, int worker) {
    (void)worker;
    const work *w = context;
    w->o->partial[piece] =
        w->o->engine->kernels->sum_squares(piece_size(w->o, piece), w->gradient + (size_t)piece * PIECE);
}

double il_optimizer_norm(const il_optimizer *optimizer, const float *gradient) {
    work w = {.o = optimizer, .gradient = gradient};
    il_pool_run(optimizer->engine->pool, pieces(optimizer), run_norm, &w);
    double total = 0;
    for (int i = 0; i < pieces(optimizer); i++) total += optimizer->partial[i];
    return sqrt(total);
}

static void run_update(void *context, int piece, int worker) {
    (void)worker;
    const work *w = context;
    size_t at = (size_t)piece * PIECE;
    w->o->engine->kernels->adamw(piece_size(w->o, piece), w->weights + at, w->gradient + at, w->o->m + at, w->o->v + at,
                                 w->clip, w->lr, w->b1, w->b2, w->inv_c1, w->inv_c2, w->eps, w->decay);
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
    work w = {.o = optimizer, .gradient = gradient, .weights = weights, .clip = (float)clip, .lr = (float)lr};
    w.b1 = (float)options->beta1;
    w.b2 = (float)options->beta2;
    w.inv_c1 = (float)(1 / (1 - power(options->beta1, n)));
    w.inv_c2 = (float)(1 / (1 - power(options->beta2, n)));
    w.eps = (float)options->eps;
    w.decay = (float)options->weight_decay;
    il_pool_run(optimizer->engine->pool, pieces(optimizer), run_update, &w);
}
