/* pass.c: see pass.h. */
#include "model/pass.h"

void il_pass_rows(const il_pass *pass, void (*run)(void *, int, int), void *context) {
    il_pool_run(pass->model->engine->pool, (pass->tokens + IL_PIECE - 1) / IL_PIECE, run, context);
}

typedef struct alone_job {
    void (*run)(void *, int, int);
    void *context;
    int items;
} alone_job;

static void alone_run(void *context, int item, int worker) {
    const alone_job *job = context;
    for (item = 0; item < job->items; item++) job->run(job->context, item, worker);
}

void il_pass_share(const il_pass *pass, int items, double multiply_adds, void (*run)(void *, int, int), void *context) {
    const double enough = 1 << 16; /* about 10 microseconds */
    il_pool *pool = pass->model->engine->pool;
    if (multiply_adds >= enough)
        il_pool_run(pool, items, run, context);
    else
        il_pool_run(pool, 1, alone_run, &(alone_job){run, context, items});
}

typedef struct map_job {
    const il_pass *pass;
    void (*map)(size_t, const float *, const float *, float *);
    size_t width;
    const float *a, *b;
    float *y;
} map_job;

static void map_run(void *context, int piece, int worker) {
    const map_job *job = context;
    size_t at = (size_t)piece * IL_PIECE * job->width;
    (void)worker;
    job->map((size_t)il_piece_rows(job->pass, piece) * job->width, job->a + at, job->b + at, job->y + at);
}

void il_pass_map(const il_pass *pass, void (*map)(size_t, const float *, const float *, float *), int width,
                 const float *a, const float *b, float *y) {
    map_job job = {pass, map, (size_t)width, a, b, y};
    il_pass_rows(pass, map_run, &job);
}
