/* linear_decay.c: TTT-Linear with a memory that fades. Tokens read as in linear.c; after a mini-batch
 *
 *     W <- keep W + (1 - keep) W0 - rate sum_j lr_j K_j^T G_j,    keep = σ(6 + 2 decay), rate = 8 σ(2 step - ln 7) / b,
 *
 * the bias likewise, decay and step learned per head. decay starts between -1 and 1, so that heads begin with memories
 * of 55 to 3,000 mini-batches; step starts at 0, the official 1/b. Why: the official rule adds up its updates for ever,
 * so far from the start it is nowhere it was in training; and it steps by max(0, 1/b + learned), whose gradient is lost
 * once an early noisy step has pushed it to 0, which ends all learning. Here the fast weights stay bounded, so that
 * every position is like every other, and the step stays positive. Both are our own; no official code has this rule. */
#include "inner/dual.h"
#include "inner/linear.h"
#include <string.h>

enum { W = 0, BIAS, DECAY = 4, STEP, TENSORS };

static int decay_tensors(int d, il_rule_tensor *list) {
    il_rule_linear.tensors(d, list);
    list[DECAY] = (il_rule_tensor){"ttt_decay", "ttt_decay", 0, 1, IL_INIT_SPREAD};
    list[STEP] = (il_rule_tensor){"ttt_step", "ttt_step", 0, 1, IL_INIT_ZEROS};
    return TENSORS;
}

static il_rule_shape decay_shape(int d, int b) {
    il_rule_shape shape = il_rule_linear.shape(d, b);
    shape.scratch_back += 2 * shape.carry;
    return shape;
}

typedef struct gates {
    float keep, rate, dkeep, drate; /* the latter two with respect to decay and step */
} gates;

static gates gates_of(const il_inner_head *head) {
    const float log_7 = 1.945910149f;
    float x[2] = {6.0f + 2.0f * head->param[DECAY][0], 2.0f * head->param[STEP][0] - log_7}, y[2];
    float scale = 8.0f / (float)head->b;
    head->kernels->sigmoid(2, x, y);
    return (gates){y[0], scale * y[1], 2.0f * y[0] * (1.0f - y[0]), 2.0f * scale * y[1] * (1.0f - y[1])};
}

static void decay_commit(const il_inner_head *head, const float *carry, const float *rows, float *next,
                         float *scratch) {
    const il_kernels *k = head->kernels;
    size_t d = (size_t)head->d, used = d * d + d, total = il_pad16_size(used);
    gates g = gates_of(head);
    k->scale(d * d, 1.0f - g.keep, head->param[W], next);
    k->scale(d, 1.0f - g.keep, head->param[BIAS], next + d * d);
    k->axpy(used, g.keep, carry, next);
    memset(next + used, 0, (total - used) * sizeof *next);
    il_ttt_linear_step(head, rows, g.rate, next, next, scratch);
}

/* dW = keep dW', dW0 = (1 - keep) dW', dkeep = dW'·(W - W0); the step and the rows are linear's. */
static void decay_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                           int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry, const il_rows_grad *grad,
                           float *const dparam[IL_RULE_TENSORS_MAX], float *dtok, float *scratch) {
    const il_kernels *k = head->kernels;
    int d = head->d;
    size_t square = (size_t)d * (size_t)d, used = square + (size_t)d, state = il_pad16_size(used);
    float *dnext = scratch, *moved = dnext + state, drate = 0.0f;
    il_ttt_linear_commit commit = {NULL, 0.0f, &drate};
    gates g = gates_of(head);
    if (committed) {
        float dkeep;
        memcpy(dnext, dcarry, used * sizeof *dnext);
        memcpy(moved, carry, used * sizeof *moved);
        k->axpy(square, -1.0f, head->param[W], moved);
        k->axpy((size_t)d, -1.0f, head->param[BIAS], moved + square);
        k->row_dot(1, (int)used, moved, (ptrdiff_t)used, dnext, (ptrdiff_t)used, &dkeep);
        dparam[DECAY][0] += dkeep * g.dkeep;
        k->axpy(square, 1.0f - g.keep, dnext, dparam[W]);
        k->axpy((size_t)d, 1.0f - g.keep, dnext + square, dparam[BIAS]);
        k->scale(used, g.keep, dnext, dcarry);
        commit.dnext = dnext, commit.rate = g.rate;
    }
    il_ttt_linear_backward(head, carry, rows, in, &commit, dout, ld_dout, dcarry, grad, dparam, dtok,
                           scratch + 2 * state);
    dparam[STEP][0] += drate * g.drate;
}

static il_rule_cost decay_cost(int d, int b) { return il_rule_linear.cost(d, b); }

const il_rule il_rule_linear_decay = {
    .name = "ttt_linear_decay",
    .base_lr = 1.0,
    .inner_lr_start = 1.0,
    .cost = decay_cost,
    .tensors = decay_tensors,
    .shape = decay_shape,
    .begin = il_ttt_linear_begin,
    .trim = il_ttt_linear_trim,
    .rows = il_ttt_linear_rows,
    .loss = il_ttt_linear_loss,
    .commit = decay_commit,
    .backward = decay_backward,
    .begin_backward = il_ttt_linear_begin_backward,
};
