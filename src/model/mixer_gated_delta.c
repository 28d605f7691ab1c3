/* mixer_gated_delta.c: see mixer_gated_delta.h. A key head and the value heads that share it, `heads` of a layer, go
 * through a segment mini-batch by mini-batch, as TTT heads do (mini_batches.h). The mini-batch is ours: what is
 * computed is the same for any, to rounding, but a session rewinds by mini-batches, and S is read and written once in
 * each. Backward: time runs backwards over the mini-batches of the tape. A segment that did not start at position 0 is
 * cut: no gradient enters what came before it. */
#include "model/mixer_gated_delta.h"

#include "base/chains.h"
#include "base/error.h"
#include "inner/gated_delta.h"
#include "model/mini_batches.h"
#include "model/steps.h"
#include <math.h>
#include <string.h>

/* ---- sizes, tensors and memory ---- */

/* Rows of q, k and v lie together: of all key heads q, then k, then v of all value heads. */
typedef struct sizes {
    int keys, heads; /* key heads, value heads */
    int dk, dv;
    int channels, values; /* of q, k and v; v alone */
} sizes;

static sizes sizes_of(const il_model *model) {
    const il_config *c = &model->config;
    sizes z = {c->delta_key_heads, c->delta_value_heads, c->delta_key_width, c->delta_value_width, 0, 0};
    z.values = z.heads * z.dv;
    z.channels = 2 * z.keys * z.dk + z.values;
    return z;
}

static il_delta delta_of(const il_model *model) {
    sizes z = sizes_of(model);
    return (il_delta){model->engine->kernels, z.dk, z.dv, z.heads / z.keys, model->config.mini_batch};
}

static void declare(il_declarer *d, il_layer *layer) {
    static const char block[] = "linear_attn.";
    const il_config *c = &d->model->config;
    sizes z = sizes_of(d->model);
    il_delta delta = delta_of(d->model);
    size_t gates[] = {(size_t)z.heads, (size_t)c->width};
    layer->heads = z.keys;
    layer->shape = il_delta_shape(&delta);
    layer->seq_norm = il_declare_norm(d, c->width, "input_layernorm.", "weight");
    layer->wq = il_declare_dense(d, z.channels, c->width, block, "in_proj_qkv.weight");
    layer->wg = il_declare_dense(d, z.values, c->width, block, "in_proj_z.weight");
    layer->lr = (il_dense){.out = z.heads, .in = c->width};
    layer->lr.at = il_declare(d, IL_INIT_NORMAL, 2, gates, block, "in_proj_b.weight");
    layer->decay = layer->lr;
    layer->decay.at = il_declare(d, IL_INIT_NORMAL, 2, gates, block, "in_proj_a.weight");
    layer->conv_q = il_declare_conv(d, z.channels, c->delta_taps, block, "conv1d.weight", NULL);
    layer->decay_log = il_declare_vector(d, IL_INIT_DECAY_LOG, z.heads, block, "A_log");
    layer->decay_bias = il_declare_vector(d, IL_INIT_DECAY_BIAS, z.heads, block, "dt_bias");
    layer->post_norm_w = il_declare_vector(d, IL_INIT_ONES, z.dv, block, "norm.weight");
    size_t start[] = {(size_t)z.heads, (size_t)z.dk, (size_t)z.dv};
    if (c->delta_learned_start) layer->start = il_declare(d, IL_INIT_ZEROS, 3, start, block, "S0");
    layer->wo = il_declare_dense(d, c->width, z.values, block, "out_proj.weight");
    layer->ffn_norm = il_declare_norm(d, c->width, "post_attention_layernorm.", "weight");
}

static void take_acts(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts) {
    sizes z = sizes_of(model);
    size_t channels = (size_t)z.channels, values = size->tokens * (size_t)z.values;
    size_t gates = size->tokens * (size_t)z.heads, f = sizeof(float);
    il_arena late = *arena; /* without a tape the convolution is the last to need xqk */
    acts->xqk = il_arena_take(arena, size->tokens * channels, f);
    if (size->mini_batches) late = *arena;
    acts->g = il_arena_take(&late, values, f);
    acts->z = acts->zhat = il_arena_take(&late, values, f);
    if (size->mini_batches) acts->zhat = il_arena_take(&late, values, f);
    il_arena_join(arena, &late);
    acts->q = acts->conv = il_arena_take(arena, size->tokens * channels, f);
    acts->lr = il_arena_take(arena, gates, f);
    acts->decay = il_arena_take(arena, gates, f);
    acts->keep = il_arena_take(arena, gates, f);
    if (!size->mini_batches) return;
    acts->q = il_arena_take(arena, size->tokens * channels, f);
    il_tape_take(arena, model, layer, size, acts);
    acts->history[IL_RING_QK] =
        il_arena_take(arena, size->segments * (size_t)(model->config.delta_taps - 1) * channels, f);
}

static size_t scratch(const il_model *model, int layer) { return il_turn_scratch(&model->layers[layer]); }

/* The gradient of the carry, the carries of a group after its first, and the rule's own; or, of rows' norms, silu of a
 * head's rows and the gradient of a scale that nobody learns. */
static size_t scratch_backward(const il_model *model, int layer) {
    const il_rule_shape *s = &model->layers[layer].shape;
    size_t own = s->scratch > s->scratch_back ? s->scratch : s->scratch_back;
    size_t heads = IL_CARRY_EVERY * il_pad16_size(s->carry) + il_pad16_size(own);
    size_t norms = (IL_PIECE + 1) * il_pad16_size((size_t)model->config.delta_key_width);
    return heads > norms ? heads : norms;
}

/* ---- forward ---- */

typedef struct rows_job {
    const il_pass *pass;
    int layer;
    il_backspace *space; /* backward only */
} rows_job;

/* q / |q| sqrt(dk) and k / |k| as the rms norms they are: x / sqrt(sum + eps) = dk^-1/2 x / sqrt(mean + eps / dk). */
typedef struct unit_norm {
    float eps, of_q[IL_HEAD_WIDTH_MAX], of_k[IL_HEAD_WIDTH_MAX];
} unit_norm;

static void unit_norm_of(int dk, unit_norm *norm) {
    norm->eps = 1e-6F / (float)dk;
    for (int i = 0; i < dk; i++) {
        norm->of_q[i] = 1.0F / (float)dk;
        norm->of_k[i] = (float)(1.0 / sqrt((double)dk));
    }
}

/* How fast the memory of each head fades, -exp(A_log) [heads], of which a token takes softplus(decay). */
static void speeds(const il_model *model, const il_layer *layer, int heads, float *speed) {
    const il_kernels *kernels = model->engine->kernels;
    const float zero = 0;
    memcpy(speed, il_weight(model, layer->decay_log), (size_t)heads * sizeof *speed);
    kernels->exp_shift(1, heads, speed, heads, &zero);
    kernels->scale((size_t)heads, -1.0F, speed, speed);
}

/* Of rows: SiLU, unit length of q and k; rate = sigmoid, keep = exp(speed softplus). */
static void inputs_run(void *context, int piece, int worker) {
    const rows_job *job = context;
    const il_model *m = job->pass->model;
    const il_kernels *kernels = m->engine->kernels;
    const il_layer *layer = &m->layers[job->layer];
    const il_acts *a = il_pass_acts(job->pass, job->layer);
    sizes z = sizes_of(m);
    int rows = il_piece_rows(job->pass, piece);
    size_t first = (size_t)piece * IL_PIECE, gates = first * (size_t)z.heads, n = (size_t)(rows * z.heads);
    float *qkv = a->q + first * (size_t)z.channels, *keep = a->keep + gates, speed[IL_HEADS_MAX];
    const float zero = 0;
    unit_norm norm;
    (void)worker;
    unit_norm_of(z.dk, &norm);
    kernels->silu((size_t)rows * (size_t)z.channels, a->conv + first * (size_t)z.channels, qkv);
    for (int h = 0; h < 2 * z.keys; h++)
        kernels->rms_norm(rows, z.dk, qkv + h * z.dk, z.channels, h < z.keys ? norm.of_q : norm.of_k, norm.eps,
                          qkv + h * z.dk, z.channels);
    kernels->sigmoid(n, a->lr + gates, a->lr + gates);
    kernels->add_bias(rows, z.heads, il_weight(m, layer->decay_bias), a->decay + gates, z.heads);
    kernels->softplus(n, a->decay + gates, keep);
    speeds(m, layer, z.heads, speed);
    for (int t = 0; t < rows; t++) kernels->mul((size_t)z.heads, speed, keep + t * z.heads, keep + t * z.heads);
    kernels->exp_shift(1, (int)n, keep, (ptrdiff_t)n, &zero);
}

static il_delta_in in_of(const il_acts *acts, const sizes *z, int row, int n, int h) {
    ptrdiff_t gate = (ptrdiff_t)row * z->heads + (ptrdiff_t)h * (z->heads / z->keys);
    const float *qkv = acts->q + (ptrdiff_t)row * z->channels;
    return (il_delta_in){.n = n,
                         .q = qkv + h * z->dk,
                         .k = qkv + (z->keys + h) * z->dk,
                         .v = qkv + 2 * z->keys * z->dk + (z->heads / z->keys) * h * z->dv,
                         .ld = z->channels,
                         .keep = acts->keep + gate,
                         .rate = acts->lr + gate,
                         .ld_gate = z->heads};
}

/* Of a key head's values in row `row` of [T,V]. */
static ptrdiff_t value_at(const sizes *z, int row, int h) {
    return (ptrdiff_t)row * z->values + (ptrdiff_t)(z->heads / z->keys * h) * z->dv;
}

typedef struct head_job {
    const il_pass *pass;
    int layer;
    int steps; /* in which a head goes through its segment */
} head_job;

static void head_run(void *context, int item, int step, int worker) {
    const head_job *job = context;
    const il_pass *pass = job->pass;
    const il_acts *a = il_pass_acts(pass, job->layer);
    sizes z = sizes_of(pass->model);
    il_delta delta = delta_of(pass->model);
    float *work = pass->work->scratch + (size_t)worker * pass->work->scratch_floats;
    int h = item % z.keys, done = 0;
    il_turn t;
    while (il_turn_next(pass, job->layer, h, item / z.keys, step, job->steps, &done, work, &t)) {
        il_delta_in in = in_of(a, &z, t.row, t.n, h);
        il_delta_rows(&delta, t.carry, t.rows, t.r0, &in, a->z + value_at(&z, t.row, h), z.values, work);
        il_turn_end(pass, job->layer, h, &t, work);
    }
}

static void commit(const il_pass *pass, int layer, int head, const float *carry, const float *rows, float *next,
                   float *scratch) {
    il_delta delta = delta_of(pass->model);
    (void)layer, (void)head;
    il_delta_commit(&delta, carry, rows, next, scratch);
}

/* zhat = rms(z) silu(g), the norm over each head. */
static void gate_run(void *context, int piece, int worker) {
    const rows_job *job = context;
    const il_model *m = job->pass->model;
    const il_kernels *kernels = m->engine->kernels;
    const il_acts *a = il_pass_acts(job->pass, job->layer);
    sizes z = sizes_of(m);
    int rows = il_piece_rows(job->pass, piece);
    size_t at = (size_t)piece * IL_PIECE * (size_t)z.values;
    (void)worker;
    kernels->rms_norm(rows * z.heads, z.dv, a->z + at, z.dv, il_weight(m, m->layers[job->layer].post_norm_w),
                      (float)m->config.rms_norm_eps, a->zhat + at, z.dv);
    kernels->silu_mul((size_t)rows * (size_t)z.values, a->g + at, a->zhat + at, a->zhat + at);
}

static void forward(const il_pass *pass, int index) {
    const il_model *m = pass->model;
    const il_layer *layer = &m->layers[index];
    const il_acts *a = il_pass_acts(pass, index);
    int tokens = pass->tokens, width = m->config.width, heads = layer->heads;
    rows_job rows = {.pass = pass, .layer = index};
    il_dense_forward(pass, &layer->wq, tokens, a->xn, a->xqk);
    il_conv_forward(pass, index, IL_RING_QK, &layer->conv_q, a->xqk, a->conv);
    il_conv_keep(pass, index, IL_RING_QK, &layer->conv_q, a->xqk);
    il_dense_forward(pass, &layer->wg, tokens, a->xn, a->g);
    /* few columns: always exact */
    il_model_product(m, &layer->lr, tokens, a->xn, width, NULL, a->lr, layer->lr.out);
    il_model_product(m, &layer->decay, tokens, a->xn, width, NULL, a->decay, layer->decay.out);
    il_pass_rows(pass, inputs_run, &rows);

    il_chains chains;
    head_job job = {pass, index, il_mini_batch_steps(pass)};
    int items = il_chains_begin(&chains, m->engine->pool, pass->n_segments * heads, job.steps, head_run, &job);
    il_pass_share(pass, items, 2.0 * tokens * heads * (double)layer->shape.carry, il_chains_run, &chains);
    il_pass_rows(pass, gate_run, &rows);
    il_dense_forward(pass, &layer->wo, tokens, a->zhat, pass->work->mix);
}

/* ---- backward ---- */

/* Rows of the output: from dz = gradient of zhat to that of z in its place; dv = gradient of g. */
static void gate_back_run(void *context, int item, int worker) {
    const rows_job *job = context;
    const il_pass *pass = job->pass;
    const il_model *m = pass->model;
    const il_kernels *kernels = m->engine->kernels;
    const il_acts *a = il_pass_acts(pass, job->layer);
    const float *w = il_weight(m, m->layers[job->layer].post_norm_w), eps = (float)m->config.rms_norm_eps;
    sizes z = sizes_of(m);
    int first = item * IL_BACK_ROWS, left = pass->tokens - first, rows = left < IL_BACK_ROWS ? left : IL_BACK_ROWS;
    size_t at = (size_t)first * (size_t)z.values, n = (size_t)rows * (size_t)z.values;
    float *norm = job->space->dv + at, *dz = job->space->dz + at, *dw = job->space->partial + item * z.dv;
    (void)worker;
    memset(dw, 0, (size_t)z.dv * sizeof *dw);
    kernels->rms_norm(rows * z.heads, z.dv, a->z + at, z.dv, w, eps, norm, z.dv);
    kernels->silu_mul_back(n, a->g + at, norm, dz, norm, dz);
    kernels->rms_norm_back(rows * z.heads, z.dv, a->z + at, z.dv, w, eps, dz, z.dv, dz, z.dv, 0, dw);
}

typedef struct head_back_job {
    const il_pass *pass;
    int layer;
    float *grad;
    il_backspace *space;
} head_back_job;

/* One key head of one segment: mini-batches descending, in groups that begin with a carry of the tape. A head adds to
 * the gradient of its start segment after segment. */
static void head_back_run(void *context, int h, int s, int worker) {
    const head_back_job *job = context;
    const il_pass *pass = job->pass;
    const il_segment *segment = &pass->segments[s];
    const il_acts *acts = il_pass_acts(pass, job->layer);
    il_backspace *space = job->space;
    sizes z = sizes_of(pass->model);
    il_delta delta = delta_of(pass->model);
    size_t floats = pass->model->layers[job->layer].shape.carry, carry_floats = il_pad16_size(floats);
    int b = delta.b, frozen = segment->state->frozen, last = (segment->n + b - 1) / b - 1;
    float *dcarry = space->scratch + (size_t)worker * space->scratch_floats;
    float *carries = dcarry + carry_floats, *own = carries + (IL_CARRY_EVERY - 1) * carry_floats;
    memset(dcarry, 0, floats * sizeof *dcarry);
    for (int group = last / IL_CARRY_EVERY; group >= 0 && segment->n; group--) {
        int first = group * IL_CARRY_EVERY;
        const float *carry[IL_CARRY_EVERY] = {il_tape_carry(pass, job->layer, s, group, h)};
        for (int i = 1; i < IL_CARRY_EVERY && first + i <= last; i++) {
            carry[i] = carry[i - 1];
            if (frozen) continue;
            float *next = carries + (size_t)(i - 1) * carry_floats;
            il_delta_commit(&delta, carry[i - 1], il_tape_rows(pass, job->layer, s, first + i - 1, h), next, own);
            carry[i] = next;
        }
        for (int m = first + IL_CARRY_EVERY - 1 < last ? first + IL_CARRY_EVERY - 1 : last; m >= first; m--) {
            int row = segment->first + m * b, n = segment->n - m * b < b ? segment->n - m * b : b;
            il_delta_in in = in_of(acts, &z, row, n, h);
            float *dqkv = space->dxqk + (in.q - acts->q);
            il_delta_grad grad = {dqkv, space->dxqk + (in.k - acts->q), space->dxqk + (in.v - acts->q),
                                  space->ddecay + (in.keep - acts->keep), space->dlr + (in.rate - acts->lr)};
            il_delta_backward(&delta, carry[m - first], il_tape_rows(pass, job->layer, s, m, h), &in,
                              m < last && !frozen, space->dz + value_at(&z, row, h), z.values, dcarry, &grad, own);
        }
    }
    size_t start = pass->model->layers[job->layer].start;
    if (start == IL_NONE || segment->state->position != (uint64_t)segment->n) return;
    float *dstart = job->grad + start + (size_t)h * floats;
    delta.kernels->add(floats, dstart, dcarry, dstart);
}

/* dxqk: from the gradient of q, k and v to that of the convolution's output, in place. */
static void inputs_back_run(void *context, int piece, int worker) {
    const rows_job *job = context;
    const il_pass *pass = job->pass;
    const il_kernels *kernels = pass->model->engine->kernels;
    sizes z = sizes_of(pass->model);
    int rows = il_piece_rows(pass, piece);
    size_t at = (size_t)piece * IL_PIECE * (size_t)z.channels, padded = il_pad16_size((size_t)z.dk);
    const float *conv = il_pass_acts(pass, job->layer)->conv + at;
    float *dqkv = job->space->dxqk + at, *x = job->space->scratch + (size_t)worker * job->space->scratch_floats;
    float *unused = x + IL_PIECE * padded;
    unit_norm norm;
    unit_norm_of(z.dk, &norm);
    memset(unused, 0, padded * sizeof *unused);
    for (int h = 0; h < 2 * z.keys; h++) {
        float *dy = dqkv + h * z.dk;
        for (int t = 0; t < rows; t++)
            kernels->silu((size_t)z.dk, conv + (ptrdiff_t)t * z.channels + h * z.dk, x + (ptrdiff_t)t * z.dk);
        kernels->rms_norm_back(rows, z.dk, x, z.dk, h < z.keys ? norm.of_q : norm.of_k, norm.eps, dy, z.channels, dy,
                               z.channels, 0, unused);
    }
    kernels->silu_back((size_t)rows * (size_t)z.channels, conv, dqkv, dqkv);
}

/* ddecay: from the gradient of log keep = speed softplus(decay) to that of decay, and of A_log and dt_bias. */
static void decay_back(const il_pass *pass, int index, float *ddecay, float *grad) {
    const il_model *m = pass->model;
    const il_kernels *kernels = m->engine->kernels;
    const il_layer *layer = &m->layers[index];
    const float *decay = il_pass_acts(pass, index)->decay;
    int heads = layer->decay.out;
    size_t n = (size_t)heads;
    float speed[IL_HEADS_MAX], fades[IL_HEADS_MAX], slope[IL_HEADS_MAX];
    speeds(m, layer, heads, speed);
    for (int t = 0; t < pass->tokens; t++, decay += heads, ddecay += heads) {
        kernels->softplus(n, decay, fades);
        kernels->sigmoid(n, decay, slope);
        kernels->mul(n, ddecay, speed, ddecay);
        for (int h = 0; h < heads; h++) grad[layer->decay_log + (size_t)h] += ddecay[h] * fades[h];
        kernels->mul(n, ddecay, slope, ddecay);
        kernels->add(n, grad + layer->decay_bias, ddecay, grad + layer->decay_bias);
    }
}

static void backward(const il_pass *pass, int index, const float *dmix, float *dxn, float *grad, il_backspace *space) {
    il_model *m = pass->model;
    const il_layer *layer = &m->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    int n = pass->tokens, pieces = (n + IL_BACK_ROWS - 1) / IL_BACK_ROWS, dv = m->config.delta_value_width;
    rows_job rows = {pass, index, space};
    il_dense_backward(pass, &layer->wo, n, acts->zhat, dmix, space->dz, 0, grad);
    il_pool_run(m->engine->pool, pieces, gate_back_run, &rows);
    for (int i = 0; i < pieces; i++) {
        float *dw = grad + layer->post_norm_w;
        m->engine->kernels->add((size_t)dv, dw, space->partial + i * dv, dw);
    }
    il_dense_backward(pass, &layer->wg, n, acts->xn, space->dv, dxn, 0, grad);

    head_back_job job = {pass, index, grad, space};
    il_chains chains;
    int items = il_chains_begin(&chains, m->engine->pool, layer->heads, pass->n_segments, head_back_run, &job);
    il_pool_run(m->engine->pool, items, il_chains_run, &chains);
    il_pass_rows(pass, inputs_back_run, &rows);
    il_conv_backward(pass, index, IL_RING_QK, &layer->conv_q, acts->xqk, space->dxqk, space->dxqk, 0, grad);
    il_dense_backward(pass, &layer->wq, n, acts->xn, space->dxqk, dxn, 1, grad);
    decay_back(pass, index, space->ddecay, grad);
    il_dense_backward_exact(m, &layer->lr, n, acts->xn, space->dlr, dxn, 1, grad);
    il_dense_backward_exact(m, &layer->decay, n, acts->xn, space->ddecay, dxn, 1, grad);
}

/* ---- what a sequence keeps ---- */

static void keep(il_arena *arena, const il_state *state, int index, il_kept *kept) {
    const il_layer *layer = &state->model->layers[index];
    size_t heads = (size_t)layer->heads, columns = (size_t)state->ring_columns * (size_t)layer->conv_q.channels;
    kept->carry = il_arena_take(arena, 2 * heads * layer->shape.carry, sizeof(float));
    kept->rows = il_arena_take(arena, 2 * heads * layer->shape.rows, sizeof(float));
    kept->ring[IL_RING_QK] = il_arena_take(arena, columns, sizeof(float));
}

/* S of all heads as mini-batch `mini_batch` found it. */
static float *carries(const il_state *s, int layer, uint64_t mini_batch) {
    return il_state_carry(s, s->frozen ? 0 : mini_batch, layer, 0);
}
static size_t carries_floats(const il_model *model, int layer) {
    return (size_t)model->layers[layer].heads * model->layers[layer].shape.carry;
}

static void reset(il_state *state, int layer) {
    const float *start = il_weight(state->model, state->model->layers[layer].start);
    size_t bytes = carries_floats(state->model, layer) * sizeof(float);
    if (start)
        memcpy(carries(state, layer, 0), start, bytes);
    else
        memset(carries(state, layer, 0), 0, bytes);
}

/* Only a commit changes the carry. */
static int all_finite(const il_state *state, int layer, uint64_t start) {
    const il_model *m = state->model;
    uint64_t b = (uint64_t)m->config.mini_batch, mini_batch = state->position / b;
    if (state->frozen || mini_batch == start / b) return 1;
    return m->engine->kernels->all_finite(carries_floats(m, layer), carries(state, layer, mini_batch));
}

static il_status get_stats(const il_state *s, int layer, il_layer_stats *stats, il_error *error) {
    const il_model *m = s->model;
    const il_layer *of = &m->layers[layer];
    il_delta delta = delta_of(m);
    uint64_t b = (uint64_t)m->config.mini_batch, now = s->position / b;
    int complete = now && il_state_rewind_limit(s) <= (now - 1) * b;
    double tokens = complete ? (double)(m->config.mini_batch * m->config.delta_value_heads) : NAN;
    size_t floats = of->shape.carry;
    const float *start = il_weight(m, of->start);
    float *change = il_alloc_raw(&m->engine->memory, il_pad16_size(floats) + of->shape.scratch, sizeof(float));
    if (!change) return il_fail(error, IL_ERR_NOMEM, "no memory for a layer's statistics");
    *stats = (il_layer_stats){0};
    for (int h = 0; h < of->heads; h++) {
        double loss[2];
        const float *now_at = il_state_carry(s, s->frozen ? 0 : now, layer, h);
        memcpy(change, now_at, floats * sizeof *change);
        if (start) delta.kernels->axpy(floats, -1.0F, start + (size_t)h * floats, change);
        stats->weight_norm += delta.kernels->sum_squares(floats, now_at);
        stats->change_norm += delta.kernels->sum_squares(floats, change);
        if (!complete) continue;
        const float *before = il_state_carry(s, s->frozen ? 0 : now - 1, layer, h);
        il_delta_loss(&delta, before, now_at, il_state_rows(s, now - 1, layer, h), loss,
                      change + il_pad16_size(floats));
        stats->loss_before += loss[0];
        stats->loss_after += loss[1];
    }
    stats->weight_norm = sqrt(stats->weight_norm);
    stats->change_norm = sqrt(stats->change_norm);
    stats->loss_before /= tokens;
    stats->loss_after /= tokens;
    il_free(&m->engine->memory, change);
    return IL_OK;
}

/* ---- state files ----
 *   carry.current, carry.previous [value heads, dk, dv]   S at the start of the open mini-batch and the one before;
 * none when frozen conv.qkv [columns, channels]                          inputs of the convolution, oldest first
 *   rows.current, rows.previous [key heads, rows]         zeros from the first row not read on */

enum { CARRY, CARRY_BEFORE, CONV, ROWS, ROWS_BEFORE, TENSORS };
static const char *const tensor_names[TENSORS] = {"carry.current", "carry.previous", "conv.qkv", "rows.current",
                                                  "rows.previous"};

static int tensors(const il_model *model, int index, const il_extent *extent, il_kept_tensor *list) {
    const il_config *c = &model->config;
    const il_rule_shape *shape = &model->layers[index].shape;
    sizes z = sizes_of(model);
    uint64_t position = extent->position, open = position % (uint64_t)c->mini_batch;
    int before = extent->limit < position - open, n = 0;
    size_t columns = il_columns_kept(c->delta_taps, extent);
    const il_kept_tensor carry = {NULL, 3, {(size_t)z.heads, (size_t)z.dk, (size_t)z.dv}};
    const il_kept_tensor rows = {NULL, 2, {(size_t)z.keys, shape->rows, 0}};
    const il_kept_tensor conv = {NULL, 2, {columns, (size_t)z.channels, 0}};
    const il_kept_tensor all[TENSORS] = {carry, carry, conv, rows, rows};
    const int present[TENSORS] = {!extent->frozen, !extent->frozen && before, 1, open != 0, before};
    for (int i = 0; i < TENSORS; i++) {
        if (!present[i]) continue;
        list[n] = all[i];
        list[n++].name = tensor_names[i];
    }
    return n;
}

static il_status visit(const il_state *s, int layer, const il_kept_tensor *tensor, il_visitor *v) {
    const il_model *m = s->model;
    const il_layer *of = &m->layers[layer];
    il_delta delta = delta_of(m);
    uint64_t b = (uint64_t)m->config.mini_batch, now = s->position / b;
    int which = 0;
    while (tensor->name != tensor_names[which]) which++;
    if (which == CARRY || which == CARRY_BEFORE)
        return v->visit(v, carries(s, layer, which == CARRY ? now : now - 1), 1, carries_floats(m, layer));
    if (which == CONV) return il_columns_visit(s, layer, IL_RING_QK, &of->conv_q, v);
    for (int h = 0; h < of->heads; h++) {
        float *rows = il_state_rows(s, which == ROWS ? now : now - 1, layer, h);
        if (which == ROWS && v->room) { /* what lies behind the last row read is no part of the state */
            memcpy(v->room, rows, of->shape.rows * sizeof *rows);
            rows = v->room;
            il_delta_trim(&delta, rows, (int)(s->position % b));
        }
        IL_TRY(v->visit(v, rows, 1, of->shape.rows));
    }
    return IL_OK;
}

static size_t room(const il_model *model, int layer) { return model->layers[layer].shape.rows; }

const il_mixer il_mixer_gated_delta = {.declare = declare,
                                       .acts = take_acts,
                                       .scratch = scratch,
                                       .scratch_backward = scratch_backward,
                                       .forward = forward,
                                       .backward = backward,
                                       .commit = commit,
                                       .keep = keep,
                                       .reset = reset,
                                       .all_finite = all_finite,
                                       .stats = get_stats,
                                       .tensors = tensors,
                                       .visit = visit,
                                       .room = room};
