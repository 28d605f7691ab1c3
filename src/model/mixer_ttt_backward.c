/* mixer_ttt_backward.c: gradient of the TTT mixer. Inside a head time runs backwards over the mini-batches of
 * the tape; the rule knows how to go back through one of them. A segment that did not start at position 0 is
 * cut: no gradient enters what came before it. */
#include "base/chains.h"
#include "model/backward.h"
#include "model/pass.h"
#include <string.h>

typedef struct ttt_back {
    const il_pass *pass;
    int layer;
    const float *dz;
    float *dq, *dk, *dv, *grad;
    const il_back_buffers *buffers;
} ttt_back;

static size_t rounded(size_t n) { return (n + 15) & ~(size_t)15; }

size_t il_mixer_ttt_backward_scratch(const il_model *model) {
    const il_rule_shape *s =
        &model->shape; /* gradient of the carry, carries of a group after its first, the rule's own */
    size_t rule = s->scratch > s->scratch_back ? s->scratch : s->scratch_back;
    return IL_CARRY_EVERY * rounded(s->carry) + rounded(rule);
}

/* One head of one segment: mini-batches descending, in groups that begin with a carry of the tape. */
static void segment_back(const ttt_back *job, const il_inner_head *head, int h, int s,
                         float *const dparam[IL_RULE_TENSORS_MAX], float *dtok, float *scratch) {
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    const il_rule *rule = model->rule;
    const il_acts *acts = il_pass_acts(pass, job->layer);
    const il_segment *segment = &pass->segments[s];
    int width = model->config.width, heads = model->config.heads, b = head->b, d = head->d;
    int frozen = segment->state->frozen, last = (segment->n + b - 1) / b - 1;
    float *dcarry = scratch, *carries = dcarry + rounded(model->shape.carry);
    float *work = carries + (IL_CARRY_EVERY - 1) * rounded(model->shape.carry);
    memset(dcarry, 0, model->shape.carry * sizeof(float));
    for (int group = last / IL_CARRY_EVERY; group >= 0; group--) {
        int first = group * IL_CARRY_EVERY;
        const float *carry[IL_CARRY_EVERY] = {il_tape_carry(pass->tape, model, job->layer, s, group, h)};
        for (int i = 1; i < IL_CARRY_EVERY && first + i <= last; i++) {
            carry[i] = carry[i - 1];
            if (frozen) continue;
            float *next = carries + (size_t)(i - 1) * rounded(model->shape.carry);
            rule->commit(head, carry[i - 1], il_tape_rows(pass->tape, model, job->layer, s, first + i - 1, h), next,
                         work);
            carry[i] = next;
        }
        for (int m = first + IL_CARRY_EVERY - 1 < last ? first + IL_CARRY_EVERY - 1 : last; m >= first; m--) {
            int n = segment->n - m * b < b ? segment->n - m * b : b;
            size_t row = (size_t)(segment->first + m * b), at = row * (size_t)width + (size_t)h * (size_t)d;
            size_t gate = row * (size_t)heads + (size_t)h;
            il_rows_in in = {n, acts->q + at, acts->k + at, acts->v + at, width, acts->lr + gate, heads};
            il_rows_grad grad = {job->dq + at, job->dk + at, job->dv + at, job->buffers->lr + gate};
            /* nothing reads what the last mini-batch committed */
            rule->backward(head, carry[m - first], il_tape_rows(pass->tape, model, job->layer, s, m, h), &in,
                           m < last && !frozen, job->dz + at, width, dcarry, &grad, dparam, dtok, work);
            model->engine->kernels->rope(n, d, grad.dq, width, model->rope_cos, model->rope_sin, d / 2, 1);
            model->engine->kernels->rope(n, d, grad.dk, width, model->rope_cos, model->rope_sin, d / 2, 1);
        }
    }
    if (segment->state->position == (uint64_t)segment->n) rule->begin_backward(head, dcarry, dparam);
}

/* A head adds to its gradients segment after segment. */
static void head_run(void *context, int h, int s, int worker) {
    const ttt_back *job = context;
    const il_model *model = job->pass->model;
    const il_layer *layer = &model->layers[job->layer];
    il_inner_head head = il_model_inner_head(model, job->layer, h, job->pass->inner_lr);
    float *dparam[IL_RULE_TENSORS_MAX] = {0}, *dtok = job->buffers->tok + (ptrdiff_t)h * head.b;
    for (int i = 0; i < model->n_rule_tensors; i++) {
        const il_rule_tensor *t = &model->rule_tensors[i];
        dparam[i] = job->grad + layer->rule[i] + (ptrdiff_t)h * (t->rows ? t->rows : 1) * t->columns;
    }
    if (s == 0) memset(dtok, 0, (size_t)head.b * sizeof(float));
    if (job->pass->segments[s].n > 0)
        segment_back(job, &head, h, s, dparam, dtok,
                     job->buffers->scratch + (size_t)worker * job->buffers->scratch_floats);
}

typedef struct gate_job {
    const il_pass *pass;
    int layer;
    float *norm, *out, *dy; /* [T,D] */
} gate_job;

/* norm = LN(z); out = gelu(g) norm, or the norm itself without a gate (out is norm then) */
static void gate_run(void *context, int piece, int worker) {
    const gate_job *job = context;
    const il_model *model = job->pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_layer *layer = &model->layers[job->layer];
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    int rows = il_piece_rows(job->pass, piece), width = model->config.width;
    ptrdiff_t at = (ptrdiff_t)piece * IL_PIECE * width;
    (void)worker;
    kernels->layer_norm(rows, width, acts->z + at, width, il_weight(model, layer->post_norm_w),
                        il_weight(model, layer->post_norm_b), 1e-6F, job->norm + at, width, NULL, 0, NULL);
    if (acts->g) kernels->gelu_mul((size_t)rows * (size_t)width, acts->g + at, job->norm + at, job->out + at);
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

void il_mixer_ttt_backward(const il_pass *pass, int index, const float *dmix, float *dxn, float *grad,
                           const il_back_buffers *buffers) {
    il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    int heads = model->config.heads, b = model->config.mini_batch, n = pass->tokens, add = 0;

    gate_job gate = {pass, index, buffers->e, acts->g ? buffers->f : buffers->e, buffers->a};
    il_pass_rows(pass, gate_run, &gate);
    il_dense_backward(pass, &layer->wo, n, gate.out, dmix, gate.dy, 0, grad);
    if (acts->g) {
        il_pass_rows(pass, gate_back_run, &gate);
        il_dense_backward(pass, &layer->wg, n, acts->xn, gate.out, dxn, add, grad);
        add = 1;
    }
    il_back_layer_norm(pass, layer->post_norm_w, layer->post_norm_b, acts->zhat, acts->z_inv_std, gate.dy, buffers->a,
                       grad, buffers);

    ttt_back job = {pass, index, buffers->a, buffers->b, buffers->c, buffers->e, grad, buffers};
    il_chains chains;
    int items = il_chains_begin(&chains, model->engine->pool, heads, pass->n_segments, head_run, &job);
    il_pool_run(model->engine->pool, items, il_chains_run, &chains);
    for (int h = 0; h < heads; h++)
        for (int i = 0; i < b; i++) /* max(0, 1/(i+1) + learned): no gradient below the clamp */
            if (model->tok[index * b + i] > 0) grad[layer->token_idx + (size_t)i] += buffers->tok[h * b + i];
    for (int t = 0; t < n; t++)
        for (int h = 0; h < heads; h++) grad[layer->lr_b + (size_t)h] += buffers->lr[(ptrdiff_t)t * heads + h];

    il_dense_backward(pass, &layer->wv, n, acts->xn, job.dv, dxn, add, grad);
    if (model->config.share_qk) {
        float *dxqk = buffers->f;
        il_back_conv(pass, index, 1, layer->conv_q_w, layer->conv_q_b, acts->xqk, job.dq, dxqk, 0, grad);
        il_back_conv(pass, index, 1, layer->conv_k_w, layer->conv_k_b, acts->xqk, job.dk, dxqk, 1, grad);
        il_dense_backward(pass, &layer->wq, n, acts->xn, dxqk, dxn, 1, grad);
    } else {
        il_dense_backward(pass, &layer->wq, n, acts->xn, job.dq, dxn, 1, grad);
        il_dense_backward(pass, &layer->wk, n, acts->xn, job.dk, dxn, 1, grad);
    }
    il_dense_backward_exact(model, &layer->lr, n, acts->xn, buffers->lr, dxn, 1, grad);
}
