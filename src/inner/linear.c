/* linear.c: TTT-Linear. The inner network is f(k) = LN(k W + bias) with W [d, d]; its loss 1/2 |f(K) - (V -
 * K)|². Row (K_i, G_i, lr_i). Declaration, rows, commit and backward; nothing of layers or projections. */
#include "inner/linear.h"
#include "inner/dual.h"
#include <string.h>

enum { W = 0, BIAS, GAMMA, BETA, TENSORS };

static int linear_tensors(int d, il_rule_tensor *list) {
    list[W] = (il_rule_tensor){"W1", "ttt_dense_0", d, d, IL_INIT_NORMAL};
    list[BIAS] = (il_rule_tensor){"b1", "ttt_bias_0", 1, d, IL_INIT_ZEROS};
    list[GAMMA] = (il_rule_tensor){"ttt_norm_weight", "ttt_norm/scale", 0, d, IL_INIT_ONES};
    list[BETA] = (il_rule_tensor){"ttt_norm_bias", "ttt_norm/bias", 0, d, IL_INIT_ZEROS};
    return TENSORS;
}

/* ---- memory: carry = W [d, d], bias [d]; rows = K^T [d, pad], G [b, d], lr [b] ---- */

typedef struct row_places {
    size_t kt, g, lr, floats;
} row_places;

static row_places places(int d, int b) {
    row_places at;
    at.kt = 0;
    at.g = (size_t)d * (size_t)il_pad16(b);
    at.lr = at.g + il_pad16_size((size_t)b * (size_t)d);
    at.floats = at.lr + (size_t)il_pad16(b);
    return at;
}

static il_dual dual_of(const il_inner_head *head, const float *rows) {
    row_places at = places(head->d, head->b);
    return (il_dual){head->d, head->d, rows + at.kt, rows + at.g, rows + at.lr};
}

typedef struct scratch_rows {
    float *kq, *z; /* [2b, d] keys, queries; Z, Zbar */
    float *target; /* [b, d]; in commit the scaled gradients */
    float *s;      /* [b, pad] */
} scratch_rows;

static size_t lay_out(int d, int b, float *base, scratch_rows *s) {
    il_arena arena = {(char *)base, 0};
    size_t bd = (size_t)b * (size_t)d, f = sizeof(float);
    s->kq = il_arena_take(&arena, 2 * bd, f);
    s->z = il_arena_take(&arena, 2 * bd, f);
    s->target = il_arena_take(&arena, bd, f);
    s->s = il_arena_take(&arena, (size_t)b * (size_t)il_pad16(b), f);
    return il_pad16_size(arena.used / f);
}

typedef struct scratch_back {
    scratch_rows rows;
    float *g, *xhat, *e;      /* [b, d] of the inner loss at Z */
    float *out, *xhat_bar;    /* [b, d] of the output norm at Zbar */
    float *inv_std, *inv_bar; /* [b] */
    float *dz, *dkq;          /* [2b, d] Z, Zbar; K, Q */
    float *dg, *dtarget;      /* [b, d] */
    float *dlr;               /* [b] */
    float *dual, *affine;
} scratch_back;

static size_t lay_out_back(int d, int b, float *base, scratch_back *s) {
    size_t bd = (size_t)b * (size_t)d, f = sizeof(float);
    il_arena arena = {(char *)base, lay_out(d, b, base, &s->rows) * f};
    s->g = il_arena_take(&arena, bd, f);
    s->xhat = il_arena_take(&arena, bd, f);
    s->e = il_arena_take(&arena, bd, f);
    s->out = il_arena_take(&arena, bd, f);
    s->xhat_bar = il_arena_take(&arena, bd, f);
    s->inv_std = il_arena_take(&arena, (size_t)b, f);
    s->inv_bar = il_arena_take(&arena, (size_t)b, f);
    s->dz = il_arena_take(&arena, 2 * bd, f);
    s->dkq = il_arena_take(&arena, 2 * bd, f);
    s->dg = il_arena_take(&arena, bd, f);
    s->dtarget = il_arena_take(&arena, bd, f);
    s->dlr = il_arena_take(&arena, (size_t)b, f);
    s->dual = il_arena_take(&arena, il_dual_backward_scratch(d, d, b), f);
    s->affine = il_arena_take(&arena, il_affine_backward_scratch(2 * b, d, d), f);
    return il_pad16_size(arena.used / f);
}

static il_rule_shape linear_shape(int d, int b) {
    scratch_rows s;
    scratch_back t;
    size_t carry = il_pad16_size((size_t)d * (size_t)d + (size_t)d);
    return (il_rule_shape){carry, places(d, b).floats, lay_out(d, b, NULL, &s), lay_out_back(d, b, NULL, &t)};
}

/* ---- forward ---- */

void il_ttt_linear_begin(const il_inner_head *head, float *carry) {
    size_t d = (size_t)head->d;
    memcpy(carry, head->param[W], d * d * sizeof *carry);
    il_rule_fill(carry + d * d, head->param[BIAS], d, il_pad16_size(d * d + d) - d * d);
}

void il_ttt_linear_trim(int d, int b, float *rows, int n) {
    row_places at = places(d, b);
    il_rule_trim(rows + at.kt, d, n, il_pad16(b));
    il_rule_trim(rows + at.g, 1, n * d, (int)(at.lr - at.g));
    il_rule_trim(rows + at.lr, 1, n, (int)(at.floats - at.lr));
}

void il_ttt_linear_rows(const il_inner_head *head, const float *carry, float *rows, int r0, const il_rows_in *in,
                        float *out, ptrdiff_t ld_out, float *scratch) {
    const il_kernels *k = head->kernels;
    const float *gamma = head->param[GAMMA], *beta = head->param[BETA];
    int d = head->d, n = in->n;
    row_places at = places(d, head->b);
    il_dual dual = dual_of(head, rows);
    scratch_rows s;
    lay_out(d, head->b, scratch, &s);
    float *q = s.kq + n * d, *zbar = s.z + n * d;

    il_rule_rates(head, in, rows + at.lr + r0);
    il_rule_stack(in, d, s.kq);
    il_rule_targets(k, in, d, s.target);
    k->transpose(n, d, s.kq, d, rows + at.kt + r0, il_pad16(head->b));
    il_affine(k, 2 * n, d, d, s.kq, carry, s.z);
    k->ln_loss_grad(n, d, s.z, d, s.target, d, gamma, beta, IL_INNER_EPS, rows + at.g + r0 * d, d, NULL, NULL, NULL);
    il_dual_read(head, &dual, r0, n, q, zbar, s.s);
    k->layer_norm(n, d, zbar, d, gamma, beta, IL_INNER_EPS, out, ld_out, NULL, 0, NULL);
    for (int i = 0; i < n; i++) k->add((size_t)d, out + i * ld_out, q + i * d, out + i * ld_out);
}

double il_ttt_linear_loss(const il_inner_head *head, const float *carry, const float *rows, int n, const float *v,
                          ptrdiff_t ld_v, float *scratch) {
    const il_kernels *k = head->kernels;
    int d = head->d;
    scratch_rows s;
    lay_out(d, head->b, scratch, &s);
    k->transpose(d, n, rows + places(d, head->b).kt, il_pad16(head->b), s.kq, d);
    il_affine(k, n, d, d, s.kq, carry, s.z);
    k->layer_norm(n, d, s.z, d, head->param[GAMMA], head->param[BETA], IL_INNER_EPS, s.z, d, NULL, 0, NULL);
    return il_rule_loss(k, n, d, s.z, s.kq, v, ld_v);
}

void il_ttt_linear_step(const il_inner_head *head, const float *rows, float rate, const float *from, float *to,
                        float *scratch) {
    il_dual dual = dual_of(head, rows);
    scratch_rows s;
    lay_out(head->d, head->b, scratch, &s);
    il_dual_commit(head, &dual, rate, from, to, s.target);
}

static void linear_commit(const il_inner_head *head, const float *carry, const float *rows, float *next,
                          float *scratch) {
    size_t used = (size_t)head->d * (size_t)head->d + (size_t)head->d;
    il_ttt_linear_step(head, rows, head->tok[head->b - 1], carry, next, scratch);
    memset(next + used, 0, (il_pad16_size(used) - used) * sizeof *next);
}

/* ---- backward ---- */

void il_ttt_linear_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                            const il_ttt_linear_commit *commit, const float *dout, ptrdiff_t ld_dout, float *dcarry,
                            const il_rows_grad *grad, float *const dparam[IL_RULE_TENSORS_MAX], float *dtok,
                            float *scratch) {
    const il_kernels *k = head->kernels;
    const float *gamma = head->param[GAMMA], *beta = head->param[BETA];
    int d = head->d, n = in->n;
    il_dual dual = dual_of(head, rows);
    scratch_back s;
    lay_out_back(d, head->b, scratch, &s);
    float *key = s.rows.kq, *q = key + n * d, *z = s.rows.z, *zbar = z + n * d;
    float *dz = s.dz, *dzbar = dz + n * d, *dk = s.dkq, *dq = dk + n * d;

    /* Forward again, from the rows: what the norms need. */
    il_rule_stack(in, d, key);
    il_rule_targets(k, in, d, s.rows.target);
    il_affine(k, 2 * n, d, d, key, carry, z);
    k->ln_loss_grad(n, d, z, d, s.rows.target, d, gamma, beta, IL_INNER_EPS, s.g, d, s.xhat, s.e, s.inv_std);
    il_dual_read(head, &dual, 0, n, q, zbar, s.rows.s);
    k->layer_norm(n, d, zbar, d, gamma, beta, IL_INNER_EPS, s.out, d, s.xhat_bar, d, s.inv_bar);

    /* out = Q + LN(Zbar) */
    for (int i = 0; i < n; i++) memcpy(dq + i * d, dout + i * ld_dout, (size_t)d * sizeof *dq);
    k->layer_norm_back(n, d, s.xhat_bar, d, s.inv_bar, gamma, dq, d, dzbar, d, dparam[GAMMA], dparam[BETA]);
    /* Zbar, and the commit, through Q, K, G, lr, tok */
    memset(s.dlr, 0, (size_t)n * sizeof *s.dlr);
    il_dual_back back = {q, key, dzbar, commit->dnext, commit->rate, commit->drate, dq, dk, s.dg, s.dlr, dtok};
    il_dual_backward(head, &dual, n, &back, s.dual);
    /* G through Z and the target V - K */
    k->ln_loss_grad_back(n, d, s.xhat, s.e, s.inv_std, d, s.rows.target, d, gamma, beta, s.dg, d, dz, s.dtarget,
                         dparam[GAMMA], dparam[BETA]);
    /* [Z; Zbar] = [K; Q] W + bias */
    il_affine_backward(k, 2 * n, d, d, dz, carry, s.dkq, s.affine);
    il_affine_backward_weights(k, 2 * n, d, d, key, dz, dcarry);

    il_rule_scatter(k, in, d, dk, dq, s.dtarget, grad);
    il_rule_rates_backward(head, n, dual.lr, s.dlr, grad->dgate, in->ld_gate);
}

static void linear_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                            int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry,
                            const il_rows_grad *grad, float *const dparam[IL_RULE_TENSORS_MAX], float *dtok,
                            float *scratch) {
    int last = head->b - 1;
    il_ttt_linear_commit commit = {committed ? dcarry : NULL, head->tok[last], dtok + last};
    il_ttt_linear_backward(head, carry, rows, in, &commit, dout, ld_dout, dcarry, grad, dparam, dtok, scratch);
}

void il_ttt_linear_begin_backward(const il_inner_head *head, const float *dcarry,
                                  float *const dparam[IL_RULE_TENSORS_MAX]) {
    size_t d = (size_t)head->d;
    head->kernels->add(d * d, dparam[W], dcarry, dparam[W]);
    head->kernels->add(d, dparam[BIAS], dcarry + d * d, dparam[BIAS]);
}

/* W of key and query, its gradient; what the rows before it add to them. */
static il_rule_cost linear_cost(int d, int b) {
    double n = d, square = n * n;
    return (il_rule_cost){.flops = 6 * square + 6 * b * n, .carry = square + n, .row = 2 * n + 1};
}

const il_rule il_rule_linear = {
    .name = "ttt_linear",
    .base_lr = 1.0,
    .inner_lr_start = 1.0,
    .cost = linear_cost,
    .tensors = linear_tensors,
    .shape = linear_shape,
    .begin = il_ttt_linear_begin,
    .trim = il_ttt_linear_trim,
    .rows = il_ttt_linear_rows,
    .loss = il_ttt_linear_loss,
    .commit = linear_commit,
    .backward = linear_backward,
    .begin_backward = il_ttt_linear_begin_backward,
};
