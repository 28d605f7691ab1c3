/* mixer_ttt.c: the TTT mixer: projections, convolutions, RoPE, the inner rule of every head, post norm, gate,
 * wo. What the network in the network computes is the rule's business (inner/rule.h). */
#include "base/chains.h"
#include "model/pass.h"

#include <string.h>

typedef struct {
    const il_pass *pass;
    const il_acts *acts;
    int layer;
    int steps; /* in which a head goes through its segment */
} mixer_work;

/* Tokens of a segment before a step: whole mini-batches of the text, as equal in number as they can be. */
static int tokens_before(const il_segment *segment, int b, int step, int steps) {
    int r0 = (int)(segment->state->position % (uint64_t)b), mini_batches = (r0 + segment->n + b - 1) / b;
    int tokens = (int)((int64_t)mini_batches * step / steps) * b - r0;
    return tokens < 0 ? 0 : tokens < segment->n ? tokens : segment->n;
}

/* A step for each thread, so that the steps of all heads are a multiple of the threads, but none that is empty. */
static int steps_of(const il_pass *pass) {
    int steps = 1, b = pass->model->config.mini_batch, threads = il_pool_threads(pass->model->engine->pool);
    for (int s = 0; s < pass->n_segments; s++) {
        int mini_batches = (pass->segments[s].n + b - 1) / b;
        if (steps < mini_batches) steps = mini_batches;
    }
    return steps < threads ? steps : threads;
}

/* One head of one segment through the mini-batches of a step: RoPE, rows, and a commit wherever a mini-batch is
 * full. */
static void run_head(void *context, int item, int step, int worker) {
    const mixer_work *w = context;
    const il_pass *pass = w->pass;
    const il_model *m = pass->model;
    const il_acts *a = w->acts;
    const il_tape *tape = pass->tape;
    int heads = m->config.heads, width = m->config.width, b = m->config.mini_batch, d = width / heads;
    int h = item % heads, s = item / heads;
    const il_segment *segment = &pass->segments[s];
    const il_state *state = segment->state;
    il_inner_head head = il_model_inner_head(m, w->layer, h, pass->inner_lr);
    float *scratch = pass->work->scratch + (size_t)worker * pass->work->scratch_floats;

    const int end = tokens_before(segment, b, step + 1, w->steps);
    for (int done = tokens_before(segment, b, step, w->steps); done < end;) {
        uint64_t position = state->position + (uint64_t)done, mini_batch = position / (uint64_t)b;
        int r0 = (int)(position % (uint64_t)b), n = b - r0 < end - done ? b - r0 : end - done;
        float *carry = il_state_carry(state, state->frozen ? 0 : mini_batch, w->layer, h);
        float *rows = il_state_rows(state, mini_batch, w->layer, h);
        if (tape) { /* a segment of training starts at a mini-batch: done counts whole ones */
            int index = done / b;
            rows = il_tape_rows(tape, m, w->layer, s, index, h);
            if (index % IL_CARRY_EVERY == 0)
                memcpy(il_tape_carry(tape, m, w->layer, s, index / IL_CARRY_EVERY, h), carry,
                       m->shape.carry * sizeof(float));
        }
        ptrdiff_t at = (ptrdiff_t)(segment->first + done) * width + (ptrdiff_t)h * d;
        for (int qk = 0; qk < 2; qk++) /* Q and K turn by the position inside the mini-batch */
            m->engine->kernels->rope(n, d, (qk ? a->k : a->q) + at, width, m->rope_cos + (ptrdiff_t)r0 * (d / 2),
                                     m->rope_sin + (ptrdiff_t)r0 * (d / 2), d / 2, 0);
        il_rows_in in = {.n = n, .q = a->q + at, .k = a->k + at, .v = a->v + at, .ld = width};
        in.gate = a->lr + (ptrdiff_t)(segment->first + done) * heads + h;
        in.ld_gate = heads;
        m->rule->rows(&head, carry, rows, r0, &in, a->z + at, width, scratch);
        if (r0 + n == b && !state->frozen)
            m->rule->commit(&head, carry, rows, il_state_carry(state, mini_batch + 1, w->layer, h), scratch);
        done += n;
    }
}

/* tmp = gelu(g) * LN(z), or LN(z) without a gate */
static void run_gate(void *context, int piece, int worker) {
    (void)worker;
    const mixer_work *w = context;
    const il_model *m = w->pass->model;
    const il_acts *a = w->acts;
    const il_kernels *kernels = m->engine->kernels;
    const il_layer *layer = &m->layers[w->layer];
    int rows = il_piece_rows(w->pass, piece), width = m->config.width;
    ptrdiff_t row = (ptrdiff_t)piece * IL_PIECE, at = row * width;
    float *out = w->pass->work->tmp + at;
    kernels->layer_norm(rows, width, a->z + at, width, il_weight(m, layer->post_norm_w),
                        il_weight(m, layer->post_norm_b), 1e-6F, out, width, a->zhat + at, width, a->z_inv_std + row);
    if (a->g) kernels->gelu_mul((size_t)rows * (size_t)width, a->g + at, out, out);
}

/* The last V of each segment into its state, for whoever asks about the inner loss later. */
static void keep_values(const il_pass *pass, int layer, const float *v) {
    size_t width = (size_t)pass->model->config.width;
    int ring = 2 * pass->model->config.mini_batch;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *t = &pass->segments[s];
        for (int i = t->n > ring ? t->n - ring : 0; i < t->n; i++)
            memcpy(il_state_v(t->state, t->state->position + (uint64_t)i, layer), v + (size_t)(t->first + i) * width,
                   width * sizeof(float));
    }
}

void il_mixer_ttt_forward(const il_pass *pass, int index) {
    const il_model *m = pass->model;
    const il_layer *layer = &m->layers[index];
    il_acts *a = il_pass_acts(pass, index);
    int tokens = pass->tokens, width = m->config.width, heads = m->config.heads;
    mixer_work w = {pass, a, index, steps_of(pass)};

    if (m->config.share_qk) {
        il_pass_dense(pass, &layer->wq, tokens, a->xn, a->xqk);
        il_pass_conv(pass, index, 1, a->xqk, layer->conv_q_w, layer->conv_q_b, a->q);
        il_pass_conv(pass, index, 1, a->xqk, layer->conv_k_w, layer->conv_k_b, a->k);
        il_pass_conv_keep(pass, index, 1, a->xqk);
    } else {
        il_pass_dense(pass, &layer->wq, tokens, a->xn, a->q);
        il_pass_dense(pass, &layer->wk, tokens, a->xn, a->k);
    }
    il_pass_dense(pass, &layer->wv, tokens, a->xn, a->v);
    if (!pass->tape) keep_values(pass, index, a->v);
    if (a->g) il_pass_dense(pass, &layer->wg, tokens, a->xn, a->g);
    il_dense_forward(m, &layer->lr, tokens, a->xn, width, a->lr, heads); /* few columns: always exact */
    m->engine->kernels->add_bias(tokens, heads, il_weight(m, layer->lr_b), a->lr, heads);

    /* each token reads the fast weights about twice */
    il_chains chains;
    int items = il_chains_begin(&chains, m->engine->pool, pass->n_segments * heads, w.steps, run_head, &w);
    il_pass_share(pass, items, 2.0 * tokens * heads * (double)m->shape.carry, il_chains_run, &chains);
    il_pass_rows(pass, run_gate, &w);
    il_pass_dense(pass, &layer->wo, tokens, pass->work->tmp, pass->work->mix);
}
