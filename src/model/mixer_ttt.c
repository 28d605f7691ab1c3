/* mixer_ttt.c: see mixer_ttt.h. Forward: a head goes through its segment mini-batch by mini-batch, heads and segments
 * side by side. Backward: inside a head time runs backwards over the mini-batches of the tape; the rule knows how to go
 * back through one of them. A segment that did not start at position 0 is cut: no gradient enters what came before
 * it. */
#include "model/mixer_ttt.h"

#include "base/chains.h"
#include "base/error.h"
#include "model/mini_batches.h"
#include "model/steps.h"
#include <math.h>
#include <string.h>

/* ---- tensors and memory ---- */

static void declare(il_declarer *d, il_layer *layer) {
    static const char block[] = "seq_modeling_block.";
    const il_config *c = &d->model->config;
    size_t width = (size_t)c->width, heads = (size_t)c->heads;
    if (c->pre_conv) {
        layer->conv_norm = il_declare_norm(d, c->width, "conv.norm.", "weight");
        layer->pre_conv = il_declare_conv(d, c->width, c->conv_kernel, "conv.conv.", "weight", "bias");
    }
    layer->seq_norm = il_declare_norm(d, c->width, "seq_norm.", "weight");
    layer->wq = il_declare_dense(d, c->width, c->width, block, "q_proj.weight");
    if (!c->share_qk) layer->wk = il_declare_dense(d, c->width, c->width, block, "k_proj.weight");
    layer->wv = il_declare_dense(d, c->width, c->width, block, "v_proj.weight");
    layer->wo = il_declare_dense(d, c->width, c->width, block, "o_proj.weight");
    if (c->use_gate) layer->wg = il_declare_dense(d, c->width, c->width, block, "g_proj.weight");
    if (c->share_qk) {
        layer->conv_q = il_declare_conv(d, c->width, c->conv_kernel, block, "conv_q.weight", "conv_q.bias");
        layer->conv_k = il_declare_conv(d, c->width, c->conv_kernel, block, "conv_k.weight", "conv_k.bias");
    }
    for (int i = 0; i < layer->n_rule_tensors; i++) {
        const il_rule_tensor *t = &layer->rule_tensors[i];
        size_t shape[] = {heads, (size_t)(t->rows ? t->rows : t->columns), (size_t)t->columns};
        layer->rule_at[i] = il_declare(d, t->init, t->rows ? 3 : 2, shape, block, t->name);
    }
    layer->lr = (il_dense){.out = c->heads, .in = c->width};
    layer->lr.at = il_declare(d, IL_INIT_NORMAL, 3, (size_t[]){heads, 1, width}, block, "learnable_ttt_lr_weight");
    layer->lr_b = il_declare(d, IL_INIT_ZEROS, 2, (size_t[]){heads, 1}, block, "learnable_ttt_lr_bias");
    layer->token_idx = il_declare_vector(d, IL_INIT_ZEROS, c->mini_batch, block, "learnable_token_idx");
    layer->post_norm_w = il_declare_vector(d, IL_INIT_ONES, c->width, block, "post_norm.weight");
    layer->post_norm_b = il_declare_vector(d, IL_INIT_ZEROS, c->width, block, "post_norm.bias");
    layer->ffn_norm = il_declare_norm(d, c->width, "ffn_norm.", "weight");
}

static void take_acts(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts) {
    const il_config *c = &model->config;
    size_t wide = size->tokens * (size_t)c->width, heads = (size_t)c->heads;
    if (c->share_qk) acts->xqk = il_arena_take(arena, wide, sizeof(float));
    acts->q = il_arena_take(arena, wide, sizeof(float));
    acts->k = il_arena_take(arena, wide, sizeof(float));
    acts->v = il_arena_take(arena, wide, sizeof(float));
    if (c->use_gate) acts->g = il_arena_take(arena, wide, sizeof(float));
    acts->z = il_arena_take(arena, wide, sizeof(float));
    acts->lr = il_arena_take(arena, size->tokens * heads, sizeof(float));
    acts->zhat = il_arena_take(arena, wide, sizeof(float));
    acts->z_inv_std = il_arena_take(arena, size->tokens, sizeof(float));
    if (!size->mini_batches) return;
    il_tape_take(arena, model, layer, size, acts);
    if (c->share_qk)
        acts->history[IL_RING_QK] =
            il_arena_take(arena, size->segments * (size_t)(c->conv_kernel - 1) * (size_t)c->width, sizeof(float));
}

static size_t scratch(const il_model *model, int layer) { return il_turn_scratch(&model->layers[layer]); }

/* The gradient of the carry, the carries of a group after its first, and the rule's own. */
static size_t scratch_backward(const il_model *model, int layer) {
    const il_rule_shape *s = &model->layers[layer].shape;
    return IL_CARRY_EVERY * il_pad16_size(s->carry) +
           il_pad16_size(s->scratch > s->scratch_back ? s->scratch : s->scratch_back);
}

/* ---- forward ---- */

typedef struct head_job {
    const il_pass *pass;
    int layer;
    int steps; /* in which a head goes through its segment */
} head_job;

/* One head of one segment through the mini-batches of a step: RoPE, rows, and a commit wherever a mini-batch is
 * full. */
static void head_run(void *context, int item, int step, int worker) {
    const head_job *job = context;
    const il_pass *pass = job->pass;
    const il_model *m = pass->model;
    const il_layer *layer = &m->layers[job->layer];
    const il_acts *a = il_pass_acts(pass, job->layer);
    int heads = m->config.heads, width = m->config.width, d = width / heads, h = item % heads, done = 0;
    il_inner_head head = il_model_inner_head(m, job->layer, h, pass->inner_lr);
    float *work = pass->work->scratch + (size_t)worker * pass->work->scratch_floats;
    il_turn t;
    while (il_turn_next(pass, job->layer, h, item / heads, step, job->steps, &done, work, &t)) {
        ptrdiff_t at = (ptrdiff_t)t.row * width + (ptrdiff_t)h * d;
        for (int k = 0; k < 2; k++) /* Q and K turn by the position inside the mini-batch */
            m->engine->kernels->rope(t.n, d, (k ? a->k : a->q) + at, width, m->rope_cos + (ptrdiff_t)t.r0 * (d / 2),
                                     m->rope_sin + (ptrdiff_t)t.r0 * (d / 2), d / 2, 0);
        il_rows_in in = {.n = t.n, .q = a->q + at, .k = a->k + at, .v = a->v + at, .ld = width};
        in.gate = a->lr + (ptrdiff_t)t.row * heads + h;
        in.ld_gate = heads;
        layer->rule->rows(&head, t.carry, t.rows, t.r0, &in, a->z + at, width, work);
        il_turn_end(pass, job->layer, h, &t, work);
    }
}

static void commit(const il_pass *pass, int layer, int head, const float *carry, const float *rows, float *next,
                   float *scratch) {
    il_inner_head of = il_model_inner_head(pass->model, layer, head, pass->inner_lr);
    pass->model->layers[layer].rule->commit(&of, carry, rows, next, scratch);
}

typedef struct gate_job {
    const il_pass *pass;
    int layer;
    float *norm, *out; /* [T,D] */
    float *dy;         /* backward only */
} gate_job;

/* norm = LN(z); out = gelu(g) norm, or the norm itself without a gate (out is norm then). Forward keeps zhat and
 * z_inv_std. */
static void gate_run(void *context, int piece, int worker) {
    const gate_job *job = context;
    const il_model *m = job->pass->model;
    const il_acts *a = il_pass_acts(job->pass, job->layer);
    const il_kernels *kernels = m->engine->kernels;
    const il_layer *layer = &m->layers[job->layer];
    int rows = il_piece_rows(job->pass, piece), width = m->config.width, keep = !job->dy;
    ptrdiff_t row = (ptrdiff_t)piece * IL_PIECE, at = row * width;
    (void)worker;
    kernels->layer_norm(rows, width, a->z + at, width, il_weight(m, layer->post_norm_w),
                        il_weight(m, layer->post_norm_b), 1e-6F, job->norm + at, width, keep ? a->zhat + at : NULL,
                        keep ? width : 0, keep ? a->z_inv_std + row : NULL);
    if (a->g) kernels->gelu_mul((size_t)rows * (size_t)width, a->g + at, job->norm + at, job->out + at);
}

/* The last V of each segment into its state, for whoever asks about the inner loss later. */
static void keep_values(const il_pass *pass, int layer, const float *v) {
    size_t width = (size_t)pass->model->config.width;
    int ring = 2 * pass->model->config.mini_batch;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *t = &pass->segments[s];
        for (int i = t->n > ring ? t->n - ring : 0; i < t->n; i++)
            memcpy(il_state_values(t->state, t->state->position + (uint64_t)i, layer),
                   v + (size_t)(t->first + i) * width, width * sizeof(float));
    }
}

static void forward(const il_pass *pass, int index) {
    const il_model *m = pass->model;
    const il_layer *layer = &m->layers[index];
    const il_acts *a = il_pass_acts(pass, index);
    int tokens = pass->tokens, heads = m->config.heads;

    if (a->xqk) {
        il_dense_forward(pass, &layer->wq, tokens, a->xn, a->xqk);
        il_conv_forward(pass, index, IL_RING_QK, &layer->conv_q, a->xqk, a->q);
        il_conv_forward(pass, index, IL_RING_QK, &layer->conv_k, a->xqk, a->k);
        il_conv_keep(pass, index, IL_RING_QK, &layer->conv_q, a->xqk);
    } else {
        il_dense_forward(pass, &layer->wq, tokens, a->xn, a->q);
        il_dense_forward(pass, &layer->wk, tokens, a->xn, a->k);
    }
    il_dense_forward(pass, &layer->wv, tokens, a->xn, a->v);
    if (!pass->tape) keep_values(pass, index, a->v);
    if (a->g) il_dense_forward(pass, &layer->wg, tokens, a->xn, a->g);
    /* few columns: always exact */
    il_model_product(m, &layer->lr, tokens, a->xn, m->config.width, NULL, a->lr, heads);
    m->engine->kernels->add_bias(tokens, heads, il_weight(m, layer->lr_b), a->lr, heads);

    /* each token reads the fast weights about twice */
    il_chains chains;
    head_job job = {pass, index, il_mini_batch_steps(pass)};
    int items = il_chains_begin(&chains, m->engine->pool, pass->n_segments * heads, job.steps, head_run, &job);
    il_pass_share(pass, items, 2.0 * tokens * heads * (double)layer->shape.carry, il_chains_run, &chains);
    gate_job gate = {.pass = pass, .layer = index, .norm = pass->work->tmp, .out = pass->work->tmp};
    il_pass_rows(pass, gate_run, &gate);
    il_dense_forward(pass, &layer->wo, tokens, pass->work->tmp, pass->work->mix);
}

/* ---- backward ---- */

typedef struct head_back_job {
    const il_pass *pass;
    int layer;
    float *grad;
    il_backspace *space;
} head_back_job;

/* One head of one segment: mini-batches descending, in groups that begin with a carry of the tape. */
static void segment_back(const head_back_job *job, const il_inner_head *head, int h, int s,
                         float *const dparam[IL_RULE_TENSORS_MAX], float *dtok, float *work) {
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    const il_layer *layer = &model->layers[job->layer];
    const il_rule *rule = layer->rule;
    const il_backspace *space = job->space;
    const il_acts *acts = il_pass_acts(pass, job->layer);
    const il_segment *segment = &pass->segments[s];
    size_t carry_floats = il_pad16_size(layer->shape.carry);
    int width = model->config.width, heads = model->config.heads, b = head->b, d = head->d;
    int frozen = segment->state->frozen, last = (segment->n + b - 1) / b - 1;
    float *dcarry = work, *carries = dcarry + carry_floats, *own = carries + (IL_CARRY_EVERY - 1) * carry_floats;
    memset(dcarry, 0, layer->shape.carry * sizeof(float));
    for (int group = last / IL_CARRY_EVERY; group >= 0; group--) {
        int first = group * IL_CARRY_EVERY;
        const float *carry[IL_CARRY_EVERY] = {il_tape_carry(pass, job->layer, s, group, h)};
        for (int i = 1; i < IL_CARRY_EVERY && first + i <= last; i++) {
            carry[i] = carry[i - 1];
            if (frozen) continue;
            float *next = carries + (size_t)(i - 1) * carry_floats;
            rule->commit(head, carry[i - 1], il_tape_rows(pass, job->layer, s, first + i - 1, h), next, own);
            carry[i] = next;
        }
        for (int m = first + IL_CARRY_EVERY - 1 < last ? first + IL_CARRY_EVERY - 1 : last; m >= first; m--) {
            int n = segment->n - m * b < b ? segment->n - m * b : b;
            size_t row = (size_t)(segment->first + m * b), at = row * (size_t)width + (size_t)h * (size_t)d;
            size_t gate = row * (size_t)heads + (size_t)h;
            il_rows_in in = {n, acts->q + at, acts->k + at, acts->v + at, width, acts->lr + gate, heads};
            il_rows_grad grad = {space->dq + at, space->dk + at, space->dv + at, space->dlr + gate};
            /* nothing reads what the last mini-batch committed */
            rule->backward(head, carry[m - first], il_tape_rows(pass, job->layer, s, m, h), &in, m < last && !frozen,
                           space->dz + at, width, dcarry, &grad, dparam, dtok, own);
            model->engine->kernels->rope(n, d, grad.dq, width, model->rope_cos, model->rope_sin, d / 2, 1);
            model->engine->kernels->rope(n, d, grad.dk, width, model->rope_cos, model->rope_sin, d / 2, 1);
        }
    }
    if (segment->state->position == (uint64_t)segment->n) rule->begin_backward(head, dcarry, dparam);
}

/* A head adds to its gradients segment after segment. */
static void head_back_run(void *context, int h, int s, int worker) {
    const head_back_job *job = context;
    const il_backspace *space = job->space;
    const il_layer *layer = &job->pass->model->layers[job->layer];
    il_inner_head head = il_model_inner_head(job->pass->model, job->layer, h, job->pass->inner_lr);
    float *dparam[IL_RULE_TENSORS_MAX] = {0}, *dtok = space->dtok + (ptrdiff_t)h * head.b;
    for (int i = 0; i < layer->n_rule_tensors; i++) {
        const il_rule_tensor *t = &layer->rule_tensors[i];
        dparam[i] = job->grad + layer->rule_at[i] + (ptrdiff_t)h * (t->rows ? t->rows : 1) * t->columns;
    }
    if (s == 0) memset(dtok, 0, (size_t)head.b * sizeof(float));
    if (job->pass->segments[s].n > 0)
        segment_back(job, &head, h, s, dparam, dtok, space->scratch + (size_t)worker * space->scratch_floats);
}

/* From dy: out = gradient of g, dy = gradient of norm. */
static void gate_back_run(void *context, int piece, int worker) {
    const gate_job *job = context;
    size_t width = (size_t)job->pass->model->config.width, at = (size_t)piece * IL_PIECE * width;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    (void)worker;
    job->pass->model->engine->kernels->gelu_mul_back((size_t)il_piece_rows(job->pass, piece) * width, acts->g + at,
                                                     job->norm + at, job->dy + at, job->out + at, job->dy + at);
}

static void backward(const il_pass *pass, int index, const float *dmix, float *dxn, float *grad, il_backspace *space) {
    il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    int heads = model->config.heads, b = model->config.mini_batch, n = pass->tokens, add = 0;

    /* dv and dxqk are not needed yet: the norm and what went into wo are computed again there */
    gate_job gate = {pass, index, space->dv, acts->g ? space->dxqk : space->dv, space->dz};
    il_pass_rows(pass, gate_run, &gate);
    il_dense_backward(pass, &layer->wo, n, gate.out, dmix, gate.dy, 0, grad);
    if (acts->g) {
        il_pass_rows(pass, gate_back_run, &gate);
        il_dense_backward(pass, &layer->wg, n, acts->xn, gate.out, dxn, add, grad);
        add = 1;
    }
    il_layer_norm_backward(pass, layer->post_norm_w, layer->post_norm_b, acts->zhat, acts->z_inv_std, gate.dy,
                           space->dz, grad, space);

    head_back_job job = {pass, index, grad, space};
    il_chains chains;
    int items = il_chains_begin(&chains, model->engine->pool, heads, pass->n_segments, head_back_run, &job);
    il_pool_run(model->engine->pool, items, il_chains_run, &chains);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < b; i++) /* max(0, 1/(i+1) + learned): no gradient below the clamp */
            if (model->tok[index * b + i] > 0) grad[layer->token_idx + (size_t)i] += space->dtok[h * b + i];
    for (int t = 0; t < n; t++)
        for (int h = 0; h < heads; h++) grad[layer->lr_b + (size_t)h] += space->dlr[(ptrdiff_t)t * heads + h];

    il_dense_backward(pass, &layer->wv, n, acts->xn, space->dv, dxn, add, grad);
    if (acts->xqk) {
        il_conv_backward(pass, index, IL_RING_QK, &layer->conv_q, acts->xqk, space->dq, space->dxqk, 0, grad);
        il_conv_backward(pass, index, IL_RING_QK, &layer->conv_k, acts->xqk, space->dk, space->dxqk, 1, grad);
        il_dense_backward(pass, &layer->wq, n, acts->xn, space->dxqk, dxn, 1, grad);
    } else {
        il_dense_backward(pass, &layer->wq, n, acts->xn, space->dq, dxn, 1, grad);
        il_dense_backward(pass, &layer->wk, n, acts->xn, space->dk, dxn, 1, grad);
    }
    il_dense_backward_exact(model, &layer->lr, n, acts->xn, space->dlr, dxn, 1, grad);
}

/* ---- what a sequence keeps ---- */

static void keep(il_arena *arena, const il_state *state, int index, il_kept *kept) {
    const il_config *c = &state->model->config;
    const il_layer *layer = &state->model->layers[index];
    size_t heads = (size_t)c->heads, width = (size_t)c->width, columns = (size_t)state->ring_columns;
    kept->carry = il_arena_take(arena, 2 * heads * layer->shape.carry, sizeof(float));
    kept->rows = il_arena_take(arena, 2 * heads * layer->shape.rows, sizeof(float));
    kept->values = il_arena_take(arena, 2 * (size_t)c->mini_batch * width, sizeof(float));
    if (c->pre_conv) kept->ring[IL_RING_PRE] = il_arena_take(arena, columns * width, sizeof(float));
    if (c->share_qk) kept->ring[IL_RING_QK] = il_arena_take(arena, columns * width, sizeof(float));
}

static void reset(il_state *state, int layer) {
    for (int h = 0; h < state->model->config.heads; h++) {
        il_inner_head head = il_model_inner_head(state->model, layer, h, 1.0F);
        state->model->layers[layer].rule->begin(&head, il_state_carry(state, 0, layer, h));
    }
}

/* Only a commit changes the carry. */
static int all_finite(const il_state *state, int layer, uint64_t start) {
    const il_model *m = state->model;
    uint64_t b = (uint64_t)m->config.mini_batch, mini_batch = state->position / b;
    if (state->frozen || mini_batch == start / b) return 1;
    return m->engine->kernels->all_finite((size_t)m->config.heads * m->layers[layer].shape.carry,
                                          il_state_carry(state, mini_batch, layer, 0));
}

typedef struct stats_work {
    float *initial, *scratch;
} stats_work;

static void head_stats(const il_state *s, int layer, int h, int complete, const stats_work *w, il_layer_stats *stats) {
    const il_model *m = s->model;
    const il_kernels *k = m->engine->kernels;
    const il_rule *rule = m->layers[layer].rule;
    size_t floats = m->layers[layer].shape.carry;
    il_inner_head head = il_model_inner_head(m, layer, h, 1.0F);
    uint64_t b = (uint64_t)m->config.mini_batch, now = s->position / b;
    const float *carry = il_state_carry(s, s->frozen ? 0 : now, layer, h);
    rule->begin(&head, w->initial);
    k->axpy(floats, -1.0F, carry, w->initial);
    stats->weight_norm += k->sum_squares(floats, carry);
    stats->change_norm += k->sum_squares(floats, w->initial);
    if (!complete) return;
    const float *before = il_state_carry(s, s->frozen ? 0 : now - 1, layer, h);
    const float *rows = il_state_rows(s, now - 1, layer, h);
    const float *v = il_state_values(s, (now - 1) * b, layer) + (ptrdiff_t)h * head.d;
    stats->loss_before += rule->loss(&head, before, rows, head.b, v, m->config.width, w->scratch);
    stats->loss_after += rule->loss(&head, carry, rows, head.b, v, m->config.width, w->scratch);
}

static il_status get_stats(const il_state *s, int layer, il_layer_stats *stats, il_error *error) {
    const il_model *m = s->model;
    const il_rule_shape *shape = &m->layers[layer].shape;
    stats_work w;
    w.initial = il_alloc_raw(&m->engine->memory, il_pad16_size(shape->carry) + shape->scratch, sizeof(float));
    if (!w.initial) return il_fail(error, IL_ERR_NOMEM, "no memory for a layer's statistics");
    w.scratch = w.initial + il_pad16_size(shape->carry);
    uint64_t b = (uint64_t)m->config.mini_batch, now = s->position / b;
    int complete = now && il_state_rewind_limit(s) <= (now - 1) * b;
    double tokens = complete ? (double)m->config.mini_batch * m->config.heads : NAN;
    *stats = (il_layer_stats){0};
    for (int h = 0; h < m->config.heads; h++) head_stats(s, layer, h, complete, &w, stats);
    stats->weight_norm = sqrt(stats->weight_norm);
    stats->change_norm = sqrt(stats->change_norm);
    stats->loss_before /= tokens;
    stats->loss_after /= tokens;
    il_free(&m->engine->memory, w.initial);
    return IL_OK;
}

/* ---- state files ----
 *   carry.current, carry.previous [heads, carry]   fast weights at the start of the open mini-batch and the one before;
 *                                                  none when frozen: they are the learned initial ones
 *   conv.pre, conv.qk [columns, width]             inputs of the convolutions, oldest first
 *   inner.v [n, width]                             V from the rewind limit on: the inner loss is about it
 *   rows.current, rows.previous [heads, rows]      the rule's rows; zeros from the first row not read on */

enum { CARRY, CARRY_BEFORE, CONV_PRE, CONV_QK, INNER_V, ROWS, ROWS_BEFORE, TENSORS };
static const char *const tensor_names[TENSORS] = {"carry.current", "carry.previous", "conv.pre",     "conv.qk",
                                                  "inner.v",       "rows.current",   "rows.previous"};

static int tensors(const il_model *model, int index, const il_extent *extent, il_kept_tensor *list) {
    const il_config *c = &model->config;
    const il_rule_shape *shape = &model->layers[index].shape;
    uint64_t position = extent->position, open = position % (uint64_t)c->mini_batch;
    int before = extent->limit < position - open, n = 0;
    size_t heads = (size_t)c->heads, width = (size_t)c->width;
    size_t columns = il_columns_kept(c->conv_kernel, extent);
    const int present[TENSORS] = {!extent->frozen, !extent->frozen && before, c->pre_conv, c->share_qk, 1, open != 0,
                                  before};
    const size_t shapes[TENSORS][2] = {{heads, shape->carry},
                                       {heads, shape->carry},
                                       {columns, width},
                                       {columns, width},
                                       {(size_t)(position - extent->limit), width},
                                       {heads, shape->rows},
                                       {heads, shape->rows}};
    for (int i = 0; i < TENSORS; i++)
        if (present[i]) list[n++] = (il_kept_tensor){tensor_names[i], 2, {shapes[i][0], shapes[i][1], 0}};
    return n;
}

static il_status visit_heads(const il_state *s, int layer, int which, il_visitor *v) {
    const il_model *m = s->model;
    const il_rule_shape *shape = &m->layers[layer].shape;
    int b = m->config.mini_batch, d = m->config.width / m->config.heads, rows = which == ROWS || which == ROWS_BEFORE;
    uint64_t now = s->position / (uint64_t)b, at = which == CARRY || which == ROWS ? now : now - 1;
    for (int h = 0; h < m->config.heads; h++) {
        float *from = rows ? il_state_rows(s, at, layer, h) : il_state_carry(s, at, layer, h);
        if (which == ROWS && v->room) { /* what lies behind the last row read is no part of the state */
            memcpy(v->room, from, shape->rows * sizeof *from);
            from = v->room;
            m->layers[layer].rule->trim(d, b, from, (int)(s->position % (uint64_t)b));
        }
        IL_TRY(v->visit(v, from, 1, rows ? shape->rows : shape->carry));
    }
    return IL_OK;
}

static il_status visit(const il_state *s, int layer, const il_kept_tensor *tensor, il_visitor *v) {
    const il_config *c = &s->model->config;
    size_t width = (size_t)c->width;
    int which = 0;
    while (tensor->name != tensor_names[which]) which++;
    const il_layer *of = &s->model->layers[layer];
    if (which == CONV_PRE) return il_columns_visit(s, layer, IL_RING_PRE, &of->pre_conv, v);
    if (which == CONV_QK) return il_columns_visit(s, layer, IL_RING_QK, &of->conv_q, v);
    if (which != INNER_V) return visit_heads(s, layer, which, v);
    for (uint64_t p = s->oldest; p < s->position; p++) IL_TRY(v->visit(v, il_state_values(s, p, layer), 1, width));
    return IL_OK;
}

static size_t room(const il_model *model, int layer) { return model->layers[layer].shape.rows; }

const il_mixer il_mixer_ttt = {.declare = declare,
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
