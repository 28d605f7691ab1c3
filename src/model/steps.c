/* steps.c: see steps.h. */
#include "model/steps.h"

#include "engine/gemm.h"
#include "model/bf16.h"
#include <string.h>

static int pieces_of(int n, int size) { return (n + size - 1) / size; }

/* ---- norms ---- */

typedef struct rms_job {
    const il_pass *pass;
    const float *x, *w;
    float *y;
} rms_job;

static void rms_run(void *context, int piece, int worker) {
    const rms_job *job = context;
    const il_model *model = job->pass->model;
    int width = model->config.width;
    ptrdiff_t at = (ptrdiff_t)piece * IL_PIECE * width;
    (void)worker;
    model->engine->kernels->rms_norm(il_piece_rows(job->pass, piece), width, job->x + at, width, job->w,
                                     (float)model->config.rms_norm_eps, job->y + at, width);
}

void il_rms_forward(const il_pass *pass, const il_norm *norm, const float *x, float *y) {
    rms_job job = {pass, x, il_norm_scale(pass->model, norm), y};
    il_pass_rows(pass, rms_run, &job);
}

typedef struct norm_back_job {
    const il_pass *pass;
    const float *x, *w, *inv_std, *dy; /* inv_std NULL: rms, of x; else a layer norm, of xhat */
    float *dx, *partial;
    int add;
} norm_back_job;

static void norm_back_run(void *context, int item, int worker) {
    const norm_back_job *job = context;
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

/* Rows in pieces, then the sums of the pieces onto the gradient in ascending order. */
static void norm_back(norm_back_job *job, float *dw, float *db) {
    const il_model *model = job->pass->model;
    size_t width = (size_t)model->config.width;
    int pieces = pieces_of(job->pass->tokens, IL_BACK_ROWS);
    il_pool_run(model->engine->pool, pieces, norm_back_run, job);
    for (int i = 0; i < pieces; i++) {
        const float *sums = job->partial + (size_t)i * 2 * width;
        model->engine->kernels->add(width, dw, sums, dw);
        if (db) model->engine->kernels->add(width, db, sums + width, db);
    }
}

void il_rms_backward(const il_pass *pass, const il_norm *norm, const float *x, const float *dy, float *dx, int add,
                     float *grad, il_backspace *space) {
    norm_back_job job = {pass, x, il_norm_scale(pass->model, norm), NULL, dy, dx, space->partial, add};
    norm_back(&job, grad + norm->w, NULL);
}

void il_layer_norm_backward(const il_pass *pass, size_t weight, size_t bias, const float *xhat, const float *inv_std,
                            const float *dy, float *dx, float *grad, il_backspace *space) {
    norm_back_job job = {pass, xhat, il_weight(pass->model, weight), inv_std, dy, dx, space->partial, 0};
    norm_back(&job, grad + weight, grad + bias);
}

/* ---- convolution ---- */

enum { CHANNELS = 64 }; /* that a thread gets at a time */

static int channels_from(const il_conv *conv, int item) {
    int left = conv->channels - item * CHANNELS;
    return left < CHANNELS ? left : CHANNELS;
}

/* The taps-1 columns before state->position, oldest first, for threads that take CHANNELS channels each:
 * [channels / CHANNELS][taps-1][CHANNELS]; columns before the first token are zero. */
static void read_history(const il_state *state, il_ring ring, int layer, const il_conv *conv, float *history) {
    int taps = conv->taps, channels = conv->channels;
    for (int k = 0; k < taps - 1; k++) {
        uint64_t back = (uint64_t)(taps - 1 - k); /* columns before the current position */
        const float *column =
            state->position < back ? NULL : il_state_column(state, ring, layer, channels, state->position - back);
        for (int from = 0; from < channels; from += CHANNELS) {
            int n = channels - from < CHANNELS ? channels - from : CHANNELS;
            float *to = history + (ptrdiff_t)from * (taps - 1) + (ptrdiff_t)k * n;
            if (column)
                memcpy(to, column + from, (size_t)n * sizeof *to);
            else
                memset(to, 0, (size_t)n * sizeof *to);
        }
    }
}

/* Where a pass keeps what it read of a segment's history: on the tape, which backward reads, or for the moment. */
static float *history_of(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, int segment) {
    if (!pass->tape) return pass->work->history;
    return il_pass_acts(pass, layer)->history[ring] + (ptrdiff_t)segment * (conv->taps - 1) * conv->channels;
}

/* The bias of channels from .. from + CHANNELS - 1. */
static const float *bias_of(const il_model *model, const il_conv *conv, int from) {
    static const float none[CHANNELS];
    return conv->b == IL_NONE ? none : il_weight(model, conv->b) + from;
}

typedef struct conv_job {
    const il_pass *pass;
    const il_segment *segment;
    const il_conv *conv;
    const float *x, *history;
    float *y;
} conv_job;

static void conv_run(void *context, int item, int worker) {
    const conv_job *job = context;
    const il_model *model = job->pass->model;
    int from = item * CHANNELS, width = job->conv->channels, taps = job->conv->taps;
    ptrdiff_t at = (ptrdiff_t)job->segment->first * width + from;
    (void)worker;
    model->engine->kernels->conv(job->segment->n, channels_from(job->conv, item), taps, job->x + at, width,
                                 job->history + (ptrdiff_t)from * (taps - 1),
                                 il_weight(model, job->conv->w) + (ptrdiff_t)from * taps,
                                 bias_of(model, job->conv, from), job->y + at, width, 0);
}

void il_conv_forward(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x, float *y) {
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        float *history = history_of(pass, layer, ring, conv, s);
        read_history(segment->state, ring, layer, conv, history);
        conv_job job = {pass, segment, conv, x, history, y};
        il_pass_share(pass, pieces_of(conv->channels, CHANNELS), (double)segment->n * conv->channels * conv->taps,
                      conv_run, &job);
    }
}

void il_conv_keep(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x) {
    size_t width = (size_t)conv->channels;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        const il_state *state = segment->state;
        for (int i = segment->n > state->ring_columns ? segment->n - state->ring_columns : 0; i < segment->n; i++)
            memcpy(il_state_column(state, ring, layer, conv->channels, state->position + (uint64_t)i),
                   x + (size_t)(segment->first + i) * width, width * sizeof *x);
    }
}

typedef struct conv_back_job {
    const il_pass *pass;
    int layer, add;
    il_ring ring;
    const il_conv *conv;
    const float *x, *dy;
    float *dx, *dw, *db; /* db NULL: no bias */
} conv_back_job;

/* Some channels, all segments in order. */
static void conv_back_run(void *context, int item, int worker) {
    const conv_back_job *job = context;
    const il_model *model = job->pass->model;
    int width = job->conv->channels, taps = job->conv->taps, from = item * CHANNELS;
    float unused[CHANNELS] = {0}, *db = job->db ? job->db + from : unused;
    (void)worker;
    for (int i = 0; i < job->pass->n_segments; i++) {
        const il_segment *segment = &job->pass->segments[i];
        const float *history = history_of(job->pass, job->layer, job->ring, job->conv, i);
        ptrdiff_t at = (ptrdiff_t)segment->first * width + from, tap = (ptrdiff_t)from * taps;
        model->engine->kernels->conv_back(segment->n, channels_from(job->conv, item), taps, job->x + at, width,
                                          history + (ptrdiff_t)from * (taps - 1), il_weight(model, job->conv->w) + tap,
                                          job->dy + at, width, job->dx + at, width, job->add, job->dw + tap, db);
    }
}

void il_conv_backward(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x,
                      const float *dy, float *dx, int add, float *grad) {
    float *db = conv->b == IL_NONE ? NULL : grad + conv->b;
    conv_back_job job = {pass, layer, add, ring, conv, x, dy, dx, grad + conv->w, db};
    il_pool_run(pass->model->engine->pool, pieces_of(conv->channels, CHANNELS), conv_back_run, &job);
}

/* ---- SwiGLU ---- */

void il_swiglu_inputs(const il_pass *pass, int index) {
    const il_layer *layer = &pass->model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    il_dense_forward(pass, &layer->w1, pass->tokens, acts->fn, acts->h1);
    il_dense_forward(pass, &layer->w3, pass->tokens, acts->fn, acts->h3);
}

void il_swiglu_forward(const il_pass *pass, int index, float *y) {
    const il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    il_swiglu_inputs(pass, index);
    float *u = pass->tape ? pass->work->ffn : acts->h1;
    il_pass_map(pass, model->engine->kernels->silu_mul, model->config.ffn_width, acts->h1, acts->h3, u);
    il_dense_forward(pass, &layer->w2, pass->tokens, u, y);
}

typedef struct silu_back_job {
    const il_pass *pass;
    float *h1, *h3, *u;
} silu_back_job;

/* u holds the gradient of silu(h1) h3; h1 and h3 are replaced by theirs. */
static void silu_back_run(void *context, int piece, int worker) {
    const silu_back_job *job = context;
    size_t width = (size_t)job->pass->model->config.ffn_width, at = (size_t)piece * IL_PIECE * width;
    size_t n = (size_t)il_piece_rows(job->pass, piece) * width;
    float *h1 = job->h1 + at, *h3 = job->h3 + at;
    (void)worker;
    job->pass->model->engine->kernels->silu_mul_back(n, h1, h3, job->u + at, h1, h3);
}

void il_swiglu_backward(const il_pass *pass, int index, const float *dy, float *dfn, float *grad) {
    const il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    float *u = pass->work->ffn;
    il_pass_map(pass, model->engine->kernels->silu_mul, model->config.ffn_width, acts->h1, acts->h3, u);
    il_dense_backward(pass, &layer->w2, pass->tokens, u, dy, u, 0, grad);
    silu_back_job job = {pass, acts->h1, acts->h3, u};
    il_pass_rows(pass, silu_back_run, &job);
    il_dense_backward(pass, &layer->w1, pass->tokens, acts->fn, acts->h1, dfn, 0, grad);
    il_dense_backward(pass, &layer->w3, pass->tokens, acts->fn, acts->h3, dfn, 1, grad);
}

/* ---- bias ---- */

enum { COLUMNS = 64 }; /* of a bias, that a thread gets at a time */

typedef struct bias_job {
    const il_pass *pass;
    int n;
    const float *bias, *dy;
    float *y; /* backward: the gradient of the bias */
} bias_job;

static void bias_run(void *context, int piece, int worker) {
    const bias_job *job = context;
    (void)worker;
    job->pass->model->engine->kernels->add_bias(il_piece_rows(job->pass, piece), job->n, job->bias,
                                                job->y + (ptrdiff_t)piece * IL_PIECE * job->n, job->n);
}

void il_bias_forward(const il_pass *pass, size_t bias, int n, float *y) {
    if (bias == IL_NONE) return;
    bias_job job = {.pass = pass, .n = n, .bias = il_weight(pass->model, bias), .y = y};
    il_pass_rows(pass, bias_run, &job);
}

/* Some columns, tokens ascending: each sum has one order. */
static void bias_back_run(void *context, int item, int worker) {
    const bias_job *job = context;
    int at = item * COLUMNS, left = job->n - at, n = left < COLUMNS ? left : COLUMNS;
    (void)worker;
    for (int t = 0; t < job->pass->tokens; t++)
        job->pass->model->engine->kernels->add((size_t)n, job->y + at, job->dy + (ptrdiff_t)t * job->n + at,
                                               job->y + at);
}

void il_bias_backward(const il_pass *pass, size_t bias, int n, const float *dy, float *grad) {
    if (bias == IL_NONE) return;
    bias_job job = {.pass = pass, .n = n, .dy = dy, .y = grad + bias};
    il_pool_run(pass->model->engine->pool, pieces_of(n, COLUMNS), bias_back_run, &job);
}

/* ---- dense layer ---- */

void il_dense_forward(const il_pass *pass, const il_dense *dense, int n, const float *x, float *y) {
    if (pass->bf16)
        il_bf16_forward(pass->bf16, pass->model, dense, n, x, y);
    else
        il_model_product(pass->model, dense, n, x, dense->in, pass->work->quantized, y, dense->out);
}

void il_dense_backward(const il_pass *pass, const il_dense *dense, int n, const float *x, const float *dy, float *dx,
                       int add, float *grad) {
    if (pass->bf16)
        il_bf16_backward(pass->bf16, pass->model, dense, n, x, dy, dx, add, grad);
    else
        il_dense_backward_exact(pass->model, dense, n, x, dy, dx, add, grad);
}

void il_dense_backward_exact(const il_model *model, const il_dense *dense, int n, const float *x, const float *dy,
                             float *dx, int add, float *grad) {
    int out = dense->out, in = dense->in;
    il_matrix w = {model->weights + dense->at, in, 1};
    il_matrix dy_rows = {dy, out, 1}, dy_columns = {dy, 1, out}, x_rows = {x, in, 1};
    il_gemm(model->engine, out, in, n, dy_columns, x_rows, grad + dense->at, in, 1);
    il_gemm(model->engine, n, in, out, dy_rows, w, dx, in, add);
}
