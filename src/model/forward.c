/* forward.c: the pass over all blocks: embedding, pre-convolution, mixer, SwiGLU, final norm. */
#include "model/bf16.h"
#include "model/pass.h"

#include <string.h>

/* ---- steps shared with the mixers (pass.h) ---- */

typedef struct {
    const il_pass *pass;
    const float *a, *b;
    float *y;
    size_t width;
} row_work;

void il_pass_rows(const il_pass *pass, void (*run)(void *, int, int), void *context) {
    il_pool_run(pass->model->engine->pool, (pass->tokens + IL_PIECE - 1) / IL_PIECE, run, context);
}

typedef struct {
    void (*run)(void *, int, int);
    void *context;
    int items;
} alone;

static void run_alone(void *context, int item, int worker) {
    const alone *a = context;
    for (item = 0; item < a->items; item++) a->run(a->context, item, worker);
}

void il_pass_share(const il_pass *pass, int items, double multiply_adds, void (*run)(void *, int, int), void *context) {
    const double enough = 1 << 16; /* about 10 microseconds */
    il_pool *pool = pass->model->engine->pool;
    if (multiply_adds >= enough)
        il_pool_run(pool, items, run, context);
    else
        il_pool_run(pool, 1, run_alone, &(alone){run, context, items});
}

void il_pass_dense(const il_pass *pass, const il_dense *linear, int n, const float *x, float *y) {
    if (pass->bf16)
        il_bf16_forward(pass->bf16, pass->model, linear, n, x, y);
    else
        il_dense_forward(pass->model, linear, n, x, linear->in, y, linear->out);
}

static void run_rms(void *context, int piece, int worker) {
    (void)worker;
    const row_work *r = context;
    const il_model *m = r->pass->model;
    int n = m->config.width;
    ptrdiff_t at = (ptrdiff_t)piece * IL_PIECE * n;
    m->engine->kernels->rms_norm(il_piece_rows(r->pass, piece), n, r->a + at, n, r->b, (float)m->config.rms_norm_eps,
                                 r->y + at, n);
}

void il_pass_rms(const il_pass *pass, const float *x, size_t weight, float *y) {
    row_work r = {.pass = pass, .a = x, .b = il_weight(pass->model, weight), .y = y};
    il_pass_rows(pass, run_rms, &r);
}

static void run_add(void *context, int piece, int worker) {
    (void)worker;
    const row_work *r = context;
    size_t at = (size_t)piece * IL_PIECE * r->width;
    r->pass->model->engine->kernels->add((size_t)il_piece_rows(r->pass, piece) * r->width, r->a + at, r->b + at,
                                         r->y + at);
}

void il_pass_add(const il_pass *pass, const float *a, const float *b, float *y) {
    row_work r = {.pass = pass, .a = a, .b = b, .y = y, .width = (size_t)pass->model->config.width};
    il_pass_rows(pass, run_add, &r);
}

static float *ring_of(const il_state *state, int qk) { return qk ? state->ring_qk : state->ring_pre; }

static size_t ring_column(const il_state *state, int layer, uint64_t position) {
    size_t at = (size_t)layer * (size_t)state->ring + (size_t)(position % (uint64_t)state->ring);
    return at * (size_t)state->model->config.width;
}

void il_history(const il_state *state, const float *ring, int layer, float *history) {
    int taps = state->model->config.conv_kernel, width = state->model->config.width;
    for (int k = 0; k < taps - 1; k++) {
        uint64_t back = (uint64_t)(taps - 1 - k); /* columns before the current position */
        const float *column = state->position < back ? NULL : ring + ring_column(state, layer, state->position - back);
        for (int from = 0; from < width; from += IL_CHANNELS) {
            int n = width - from < IL_CHANNELS ? width - from : IL_CHANNELS;
            float *to = history + (ptrdiff_t)from * (taps - 1) + (ptrdiff_t)k * n;
            if (column)
                memcpy(to, column + from, (size_t)n * sizeof *to);
            else
                memset(to, 0, (size_t)n * sizeof *to);
        }
    }
}

typedef struct {
    const il_pass *pass;
    const il_segment *segment;
    const float *x, *w, *bias, *history;
    float *y;
} conv_work;

static void run_conv(void *context, int item, int worker) {
    (void)worker;
    const conv_work *c = context;
    const il_config *config = &c->pass->model->config;
    int from = item * IL_CHANNELS, width = config->width, taps = config->conv_kernel;
    int n = width - from < IL_CHANNELS ? width - from : IL_CHANNELS;
    ptrdiff_t at = (ptrdiff_t)c->segment->first * width + from;
    c->pass->model->engine->kernels->conv(c->segment->n, n, taps, c->x + at, width,
                                          c->history + (ptrdiff_t)from * (taps - 1), c->w + (ptrdiff_t)from * taps,
                                          c->bias + from, c->y + at, width, 0);
}

void il_pass_conv(const il_pass *pass, int layer, int qk, const float *x, size_t weight, size_t bias, float *y) {
    const il_model *m = pass->model;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        float *history = pass->tape ? il_tape_history(pass->tape, m, qk, layer, s) : pass->work->history;
        il_history(segment->state, ring_of(segment->state, qk), layer, history);
        conv_work c = {pass, segment, x, il_weight(m, weight), il_weight(m, bias), history, y};
        il_pass_share(pass, (m->config.width + IL_CHANNELS - 1) / IL_CHANNELS,
                      (double)segment->n * m->config.width * m->config.conv_kernel, run_conv, &c);
    }
}

void il_pass_conv_keep(const il_pass *pass, int layer, int qk, const float *x) {
    size_t width = (size_t)pass->model->config.width;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        const il_state *state = segment->state;
        for (int i = segment->n > state->ring ? segment->n - state->ring : 0; i < segment->n; i++)
            memcpy(ring_of(state, qk) + ring_column(state, layer, state->position + (uint64_t)i),
                   x + (size_t)(segment->first + i) * width, width * sizeof(float));
    }
}

/* ---- the pass ---- */

static void run_swiglu(void *context, int piece, int worker) {
    (void)worker;
    const row_work *r = context;
    size_t at = (size_t)piece * IL_PIECE * r->width;
    r->pass->model->engine->kernels->silu_mul((size_t)il_piece_rows(r->pass, piece) * r->width, r->a + at, r->b + at,
                                              r->y + at);
}

/* x += W2( silu(W1 rms(x)) * (W3 rms(x)) ), from x2 to out */
static void feed_forward(const il_pass *pass, const il_layer *layer, const il_acts *a, float *out) {
    int ffn = pass->model->config.ffn_width;
    il_pass_rms(pass, a->x2, layer->ffn_norm, a->fn);
    il_pass_dense(pass, &layer->w1, pass->tokens, a->fn, a->h1);
    il_pass_dense(pass, &layer->w3, pass->tokens, a->fn, a->h3);
    row_work r = {.pass = pass, .a = a->h1, .b = a->h3, .y = pass->work->ffn, .width = (size_t)ffn};
    il_pass_rows(pass, run_swiglu, &r);
    il_pass_dense(pass, &layer->w2, pass->tokens, pass->work->ffn, pass->work->mix);
    il_pass_add(pass, a->x2, pass->work->mix, out);
}

static void angles(const il_pass *pass) {
    const il_config *c = &pass->model->config;
    size_t half = (size_t)(c->width / c->heads / 2);
    for (int s = 0; s < pass->n_segments; s++)
        for (int i = 0; i < pass->segments[s].n; i++) {
            size_t at = (size_t)(pass->segments[s].first + i) * half;
            il_rope_angles(c, pass->segments[s].state->position + (uint64_t)i, pass->work->cosine + at,
                           pass->work->sine + at);
        }
}

void il_forward(il_pass *pass, const int32_t *tokens) {
    const il_model *m = pass->model;
    il_workspace *work = pass->work;
    size_t width = (size_t)m->config.width, row = width * sizeof(float);
    float *x0 = il_pass_acts(pass, 0)->x0;
    for (int t = 0; t < pass->tokens; t++) il_model_embedding(m, tokens[t], x0 + (size_t)t * width);
    if (!m->rule) angles(pass);

    for (int i = 0; i < m->config.layers; i++) {
        const il_layer *layer = &m->layers[i];
        const il_acts *a = il_pass_acts(pass, i);
        if (a->pre) {
            il_pass_rms(pass, a->x0, layer->conv_norm, a->pre);
            il_pass_conv(pass, i, 0, a->pre, layer->conv_w, layer->conv_b, a->x1);
            il_pass_conv_keep(pass, i, 0, a->pre);
            il_pass_add(pass, a->x0, a->x1, a->x1);
        }
        il_pass_rms(pass, a->x1, layer->seq_norm, a->xn);
        if (m->rule)
            il_mixer_ttt_forward(pass, i);
        else
            il_mixer_attention_forward(pass, i);
        il_pass_add(pass, a->x1, work->mix, a->x2);
        int last = i + 1 == m->config.layers;
        feed_forward(pass, layer, a,
                     !last        ? il_pass_acts(pass, i + 1)->x0
                     : pass->tape ? pass->tape->x_last
                                  : work->tmp);
    }

    il_pass_rms(pass, pass->tape ? pass->tape->x_last : work->tmp, m->norm, work->hidden);
    for (int s = 0; s < pass->n_segments; s++) {
        il_segment *segment = &pass->segments[s];
        il_state *state = segment->state;
        for (int i = segment->n > state->ring_hidden ? segment->n - state->ring_hidden : 0; i < segment->n; i++)
            memcpy(state->hidden + (size_t)((state->position + (uint64_t)i) % (uint64_t)state->ring_hidden) * width,
                   work->hidden + (size_t)(segment->first + i) * width, row);
        state->position += (uint64_t)segment->n;
    }
}
