/* backward.c: gradient of the whole model from that of the final hidden vectors, layer by layer in reverse.
 * Mixers have their own files; so does the output head (loss.c). Allocates only in il_backspace_open. */
#include "model/backward.h"
#include "base/error.h"
#include "engine/gemm.h"
#include "model/bf16.h"
#include "model/pass.h"
#include <string.h>

static int chunks_of(int n, int size) { return (n + size - 1) / size; }

/* ---- buffers ---- */

static void buffers_take(il_arena *arena, const il_model *model, size_t tokens, il_backspace *space) {
    const il_config *c = &model->config;
    size_t width = (size_t)c->width, heads = (size_t)c->heads;
    size_t scratch = model->rule ? il_mixer_ttt_backward_scratch(model) : il_mixer_attention_backward_scratch(model);
    il_back_buffers *b = &space->buffers;
    float **wide[] = {&space->dx, &b->a, &b->b, &b->c, &b->e, &b->f};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        *wide[i] = il_arena_take(arena, tokens * width, sizeof(float));
    b->lr = il_arena_take(arena, tokens * heads, sizeof(float));
    b->tok = il_arena_take(arena, heads * (size_t)c->mini_batch, sizeof(float));
    b->partial = il_arena_take(arena, (tokens + IL_BACK_ROWS - 1) / IL_BACK_ROWS * 2 * width, sizeof(float));
    b->scratch_floats = (scratch + 15) & ~(size_t)15;
    b->scratch = il_arena_take(arena, (size_t)il_pool_threads(model->engine->pool) * b->scratch_floats, sizeof(float));
}

il_status il_backspace_open(const il_model *model, int tokens, il_backspace *space, il_error *error) {
    il_arena arena = {0};
    memset(space, 0, sizeof *space);
    buffers_take(&arena, model, (size_t)tokens, space);
    void *block = il_alloc(&model->engine->memory, arena.used, 1);
    if (!block) {
        memset(space, 0, sizeof *space);
        return il_fail(error, IL_ERR_NOMEM, "no memory for the backward pass of %d tokens (%zu bytes)", tokens,
                       arena.used);
    }
    arena = (il_arena){.base = block};
    buffers_take(&arena, model, (size_t)tokens, space);
    space->allocator = &model->engine->memory;
    space->tokens = tokens;
    space->block = block;
    return IL_OK;
}

void il_backspace_close(il_backspace *space) {
    if (space->allocator) il_free(space->allocator, space->block);
    memset(space, 0, sizeof *space);
}

/* ---- pieces ---- */

void il_dense_backward_exact(const il_model *model, const il_dense *linear, int n, const float *x, const float *dy,
                             float *dx, int add, float *grad) {
    int out = linear->out, in = linear->in;
    il_matrix w = {model->weights + linear->at, in, 1};
    il_matrix dy_rows = {dy, out, 1}, dy_columns = {dy, 1, out}, x_rows = {x, in, 1};
    il_gemm(model->engine, out, in, n, dy_columns, x_rows, NULL, grad + linear->at, in, 1);
    il_gemm(model->engine, n, in, out, dy_rows, w, NULL, dx, in, add);
}

void il_dense_backward(const il_pass *pass, const il_dense *linear, int n, const float *x, const float *dy, float *dx,
                       int add, float *grad) {
    if (pass->bf16)
        il_bf16_backward(pass->bf16, pass->model, linear, n, x, dy, dx, add, grad);
    else
        il_dense_backward_exact(pass->model, linear, n, x, dy, dx, add, grad);
}

typedef struct norm_job {
    const il_pass *pass;
    const float *x, *w, *inv_std, *dy;
    float *dx, *partial;
    int add;
} norm_job;

static void norm_run(void *context, int item, int worker) {
    const norm_job *job = context;
    const il_config *c = &job->pass->model->config;
    const il_kernels *kernels = job->pass->model->engine->kernels;
    int first = item * IL_BACK_ROWS, left = job->pass->tokens - first, n = left < IL_BACK_ROWS ? left : IL_BACK_ROWS;
    size_t width = (size_t)c->width, at = (size_t)first * width;
    float *dw = job->partial + (size_t)item * 2 * width;
    (void)worker;
    memset(dw, 0, 2 * width * sizeof(float));
    if (job->inv_std)
        kernels->layer_norm_back(n, c->width, job->x + at, c->width, job->inv_std + first, job->w, job->dy + at,
                                 c->width, job->dx + at, c->width, dw, dw + width);
    else
        kernels->rms_norm_back(n, c->width, job->x + at, c->width, job->w, (float)c->rms_norm_eps, job->dy + at,
                               c->width, job->dx + at, c->width, job->add, dw);
}

/* Rows in chunks, then the chunks' sums onto grad in ascending order. */
static void norm_back(norm_job *job, float *dw, float *db) {
    const il_model *model = job->pass->model;
    size_t width = (size_t)model->config.width;
    int chunks = chunks_of(job->pass->tokens, IL_BACK_ROWS);
    il_pool_run(model->engine->pool, chunks, norm_run, job);
    for (int i = 0; i < chunks; i++) {
        const float *sums = job->partial + (size_t)i * 2 * width;
        model->engine->kernels->add(width, dw, sums, dw);
        if (db) model->engine->kernels->add(width, db, sums + width, db);
    }
}

void il_back_rms(const il_pass *pass, size_t w, const float *x, const float *dy, float *dx, int add, float *grad,
                 const il_back_buffers *buffers) {
    norm_job job = {pass, x, il_weight(pass->model, w), NULL, dy, dx, buffers->partial, add};
    norm_back(&job, grad + w, NULL);
}

void il_back_layer_norm(const il_pass *pass, size_t w, size_t b, const float *xhat, const float *inv_std,
                        const float *dy, float *dx, float *grad, const il_back_buffers *buffers) {
    norm_job job = {pass, xhat, il_weight(pass->model, w), inv_std, dy, dx, buffers->partial, 0};
    norm_back(&job, grad + w, grad + b);
}

typedef struct conv_job {
    const il_pass *pass;
    int layer, qk, add;
    const float *x, *w, *dy;
    float *dx, *dw, *db;
} conv_job;

/* A block of channels, all segments in order. */
static void conv_run(void *context, int item, int worker) {
    const conv_job *job = context;
    const il_model *model = job->pass->model;
    int width = model->config.width, taps = model->config.conv_kernel, from = item * IL_CHANNELS;
    int n = width - from < IL_CHANNELS ? width - from : IL_CHANNELS;
    (void)worker;
    for (int i = 0; i < job->pass->n_segments; i++) {
        const il_segment *segment = &job->pass->segments[i];
        const float *history = il_tape_history(job->pass->tape, model, job->qk, job->layer, i);
        ptrdiff_t at = (ptrdiff_t)segment->first * width + from, tap = (ptrdiff_t)from * taps;
        model->engine->kernels->conv_back(segment->n, n, taps, job->x + at, width,
                                          history + (ptrdiff_t)from * (taps - 1), job->w + tap, job->dy + at, width,
                                          job->dx + at, width, job->add, job->dw + tap, job->db + from);
    }
}

void il_back_conv(const il_pass *pass, int layer, int qk, size_t w, size_t b, const float *x, const float *dy,
                  float *dx, int add, float *grad) {
    conv_job job = {pass, layer, qk, add, x, il_weight(pass->model, w), dy, dx, grad + w, grad + b};
    il_pool_run(pass->model->engine->pool, chunks_of(pass->model->config.width, IL_CHANNELS), conv_run, &job);
}

/* ---- the feed-forward network ---- */

typedef struct ffn_job {
    const il_pass *pass;
    float *h1, *h3, *u;
    int back;
} ffn_job;

/* u = silu(h1) h3; back: u holds its gradient, h1 and h3 are replaced by theirs. */
static void ffn_run(void *context, int piece, int worker) {
    const ffn_job *job = context;
    const il_kernels *kernels = job->pass->model->engine->kernels;
    size_t width = (size_t)job->pass->model->config.ffn_width, at = (size_t)piece * IL_PIECE * width;
    size_t n = (size_t)il_piece_rows(job->pass, piece) * width;
    float *h1 = job->h1 + at, *h3 = job->h3 + at, *u = job->u + at;
    (void)worker;
    if (job->back)
        kernels->silu_mul_back(n, h1, h3, u, h1, h3);
    else
        kernels->silu_mul(n, h1, h3, u);
}

/* dx [T,D] of the block's output -> of x2; both go through dx. */
static void ffn_back(const il_pass *pass, int layer, float *grad, il_backspace *space) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    int tokens = pass->tokens;
    float *u = pass->work->ffn, *dfn = space->buffers.a;
    ffn_job job = {pass, acts->h1, acts->h3, u, 0};
    il_pass_rows(pass, ffn_run, &job);
    il_dense_backward(pass, &at->w2, tokens, u, space->dx, u, 0, grad);
    job.back = 1;
    il_pass_rows(pass, ffn_run, &job);
    il_dense_backward(pass, &at->w1, tokens, acts->fn, acts->h1, dfn, 0, grad);
    il_dense_backward(pass, &at->w3, tokens, acts->fn, acts->h3, dfn, 1, grad);
    il_back_rms(pass, at->ffn_norm, acts->x2, dfn, space->dx, 1, grad, &space->buffers);
}

/* ---- embedding ---- */

typedef struct embed_job {
    const il_kernels *kernels;
    const int32_t *tokens;
    int n;
    size_t width;
    const float *dx;
    float *dembed;
} embed_job;

/* A slice of columns, tokens ascending: each row's sum has one order. */
static void embed_run(void *context, int item, int worker) {
    const embed_job *job = context;
    size_t at = (size_t)item * IL_CHANNELS, left = job->width - at;
    size_t n = left < IL_CHANNELS ? left : IL_CHANNELS;
    (void)worker;
    for (int t = 0; t < job->n; t++) {
        float *row = job->dembed + (size_t)job->tokens[t] * job->width + at;
        job->kernels->add(n, row, job->dx + (size_t)t * job->width + at, row);
    }
}

/* ---- the model ---- */

void il_backward(il_pass *pass, const int32_t *tokens, const float *dhidden, float *grad, il_backspace *space) {
    il_model *model = pass->model;
    const il_back_buffers *buffers = &space->buffers;
    int width = model->config.width;
    float *dx = space->dx, *dxn = pass->work->tmp;
    if (pass->tokens < 1) return;
    il_back_rms(pass, model->norm, pass->tape->x_last, dhidden, dx, 0, grad, buffers);
    for (int layer = model->config.layers - 1; layer >= 0; layer--) {
        const il_layer *at = &model->layers[layer];
        const il_acts *acts = il_pass_acts(pass, layer);
        ffn_back(pass, layer, grad, space);
        if (model->rule)
            il_mixer_ttt_backward(pass, layer, dx, dxn, grad, buffers);
        else
            il_mixer_attention_backward(pass, layer, dx, dxn, grad, buffers);
        il_back_rms(pass, at->seq_norm, acts->x1, dxn, dx, 1, grad, buffers);
        if (model->config.pre_conv) {
            il_back_conv(pass, layer, 0, at->conv_w, at->conv_b, acts->pre, dx, dxn, 0, grad);
            il_back_rms(pass, at->conv_norm, acts->x0, dxn, dx, 1, grad, buffers);
        }
    }
    embed_job job = {model->engine->kernels, tokens, pass->tokens, (size_t)width, dx, grad + model->embed};
    il_pool_run(model->engine->pool, chunks_of(width, IL_CHANNELS), embed_run, &job);
}
