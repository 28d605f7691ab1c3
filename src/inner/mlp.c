/* mlp.c: TTT-MLP. The inner network is f(k) = LN(gelu(k W1 + b1) W2 + b2), hidden width h = 4d; its loss is
 * 1/2 |f(K) - (V - K)|². Row (K_i, G1_i, X2_i, G2_i, lr_i). Declaration, rows, commit and backward; nothing
 * of layers or projections. */
#include "inner/dual.h"
#include <string.h>

enum { W1 = 0, B1, W2, B2, GAMMA, BETA, TENSORS };

static int hidden(int d) { return 4 * d; }

static int mlp_tensors(int d, il_rule_tensor *list) {
    list[W1] = (il_rule_tensor){"W1", "ttt_dense_0", d, hidden(d), IL_INIT_NORMAL};
    list[B1] = (il_rule_tensor){"b1", "ttt_bias_0", 1, hidden(d), IL_INIT_ZEROS};
    list[W2] = (il_rule_tensor){"W2", "ttt_dense_1", hidden(d), d, IL_INIT_NORMAL};
    list[B2] = (il_rule_tensor){"b2", "ttt_bias_1", 1, d, IL_INIT_ZEROS};
    list[GAMMA] = (il_rule_tensor){"ttt_norm_weight", "ttt_norm/scale", 0, d, IL_INIT_ONES};
    list[BETA] = (il_rule_tensor){"ttt_norm_bias", "ttt_norm/bias", 0, d, IL_INIT_ZEROS};
    return TENSORS;
}

/* ---- memory ---- */

/* carry = W1 [d, h], b1 [h], W2 [h, d], b2 [d], zeros to a multiple of 16 */
typedef struct carry_places {
    size_t layer1, layer2, used, floats;
} carry_places;

static carry_places carry_of(int d) {
    carry_places at;
    size_t n = (size_t)d, h = (size_t)hidden(d);
    at.layer1 = 0;
    at.layer2 = n * h + h;
    at.used = at.layer2 + h * n + n;
    at.floats = il_pad16_size(at.used);
    return at;
}

/* rows = K^T [d, pad], X2^T [h, pad], G1 [b, h], G2 [b, d], lr [b] */
typedef struct row_places {
    size_t kt, x2t, g1, g2, lr, floats;
} row_places;

static row_places rows_of(int d, int b) {
    row_places at;
    size_t n = (size_t)d, h = (size_t)hidden(d), pad = (size_t)il_pad16(b);
    at.kt = 0;
    at.x2t = at.kt + n * pad;
    at.g1 = at.x2t + h * pad;
    at.g2 = at.g1 + il_pad16_size((size_t)b * h);
    at.lr = at.g2 + il_pad16_size((size_t)b * n);
    at.floats = at.lr + pad;
    return at;
}

static void duals_of(const il_inner_head *head, const float *rows, il_dual *first, il_dual *second) {
    int d = head->d, h = hidden(d);
    row_places at = rows_of(d, head->b);
    *first = (il_dual){d, h, rows + at.kt, rows + at.g1, rows + at.lr};
    *second = (il_dual){h, d, rows + at.x2t, rows + at.g2, rows + at.lr};
}

typedef struct scratch_rows {
    float *kq;      /* [2b, d] keys, queries */
    float *z1, *x2; /* [2b, h] Z1, Z1bar; X2, X2bar. In commit z1 is the scaled gradients */
    float *slope;   /* [2b, h] gelu'; rows uses the first half */
    float *z2;      /* [2b, d] Z2, Z2bar */
    float *target;  /* [b, d] */
    float *s;       /* [b, pad] */
    float *w2t;     /* W2^T [d, h] in panels */
} scratch_rows;

static size_t lay_out(int d, int b, float *base, scratch_rows *s) {
    il_arena arena = {(char *)base, 0};
    size_t bd = (size_t)b * (size_t)d, bh = (size_t)b * (size_t)hidden(d), f = sizeof(float);
    s->kq = il_arena_take(&arena, 2 * bd, f);
    s->z1 = il_arena_take(&arena, 2 * bh, f);
    s->x2 = il_arena_take(&arena, 2 * bh, f);
    s->slope = il_arena_take(&arena, 2 * bh, f);
    s->z2 = il_arena_take(&arena, 2 * bd, f);
    s->target = il_arena_take(&arena, bd, f);
    s->s = il_arena_take(&arena, (size_t)b * (size_t)il_pad16(b), f);
    s->w2t = il_arena_take(&arena, (size_t)d * (size_t)il_pad16(hidden(d)), f);
    return il_pad16_size(arena.used / f);
}

typedef struct scratch_back {
    scratch_rows rows;
    float *curve;             /* [b, h] gelu''(Z1) */
    float *u;                 /* [b, h] G2 W2^T */
    float *g, *xhat, *e;      /* [b, d] of the inner loss at Z2 */
    float *out, *xhat_bar;    /* [b, d] of the output norm at Z2bar */
    float *inv_std, *inv_bar; /* [b] */
    float *dkq;               /* [2b, d] K, Q */
    float *dx2, *dz1;         /* [2b, h] X2, X2bar; Z1, Z1bar */
    float *dz2;               /* [2b, d] Z2, Z2bar */
    float *dg1, *du;          /* [b, h] */
    float *dg2, *dtarget;     /* [b, d] */
    float *dlr;               /* [b] */
    float *dual, *affine;
} scratch_back;

static size_t lay_out_back(int d, int b, float *base, scratch_back *s) {
    int h = hidden(d);
    size_t bd = (size_t)b * (size_t)d, bh = (size_t)b * (size_t)h, f = sizeof(float);
    size_t dual1 = il_dual_backward_scratch(d, h, b), dual2 = il_dual_backward_scratch(h, d, b);
    il_arena arena = {(char *)base, lay_out(d, b, base, &s->rows) * f};
    s->curve = il_arena_take(&arena, bh, f);
    s->u = il_arena_take(&arena, bh, f);
    s->g = il_arena_take(&arena, bd, f);
    s->xhat = il_arena_take(&arena, bd, f);
    s->e = il_arena_take(&arena, bd, f);
    s->out = il_arena_take(&arena, bd, f);
    s->xhat_bar = il_arena_take(&arena, bd, f);
    s->inv_std = il_arena_take(&arena, (size_t)b, f);
    s->inv_bar = il_arena_take(&arena, (size_t)b, f);
    s->dkq = il_arena_take(&arena, 2 * bd, f);
    s->dx2 = il_arena_take(&arena, 2 * bh, f);
    s->dz1 = il_arena_take(&arena, 2 * bh, f);
    s->dz2 = il_arena_take(&arena, 2 * bd, f);
    s->dg1 = il_arena_take(&arena, bh, f);
    s->du = il_arena_take(&arena, bh, f);
    s->dg2 = il_arena_take(&arena, bd, f);
    s->dtarget = il_arena_take(&arena, bd, f);
    s->dlr = il_arena_take(&arena, (size_t)b, f);
    s->dual = il_arena_take(&arena, dual1 > dual2 ? dual1 : dual2, f);
    s->affine = il_arena_take(&arena, il_affine_backward_scratch(2 * b, d, h), f);
    return il_pad16_size(arena.used / f);
}

static il_rule_shape mlp_shape(int d, int b) {
    scratch_rows s;
    scratch_back t;
    carry_places at = carry_of(d);
    return (il_rule_shape){at.floats, rows_of(d, b).floats, lay_out(d, b, NULL, &s), lay_out_back(d, b, NULL, &t)};
}

/* ---- forward ---- */

static void clear_rim(int d, float *carry) {
    carry_places at = carry_of(d);
    memset(carry + at.used, 0, (at.floats - at.used) * sizeof *carry);
}

/* Panels of W2^T: a product with them runs along its outputs. Turning them takes half as long as such a product with 16
 * rows; kept with the carry they would be a third more to fetch for every token decoded. */
static void turn_w2(const il_kernels *k, int d, const float *w2, float *w2t) { k->pack(hidden(d), d, w2, 1, d, w2t); }

/* y [n, h] = x [n, d] W2^T */
static void times_w2t(const il_kernels *k, int n, int d, const float *x, const float *w2t, float *y, int accumulate) {
    int h = hidden(d);
    k->gemm(n, h, d, x, d, 1, w2t, 16, (ptrdiff_t)16 * d, y, h, accumulate);
}

static void mlp_begin(const il_inner_head *head, float *carry) {
    size_t d = (size_t)head->d, h = (size_t)hidden(head->d);
    float *second = carry + carry_of(head->d).layer2;
    memcpy(carry, head->param[W1], d * h * sizeof *carry);
    memcpy(carry + d * h, head->param[B1], h * sizeof *carry);
    memcpy(second, head->param[W2], h * d * sizeof *carry);
    memcpy(second + h * d, head->param[B2], d * sizeof *carry);
    clear_rim(head->d, carry);
}

static void mlp_trim(int d, int b, float *rows, int n) {
    row_places at = rows_of(d, b);
    il_rule_trim(rows + at.kt, d, n, il_pad16(b));
    il_rule_trim(rows + at.x2t, hidden(d), n, il_pad16(b));
    il_rule_trim(rows + at.g1, 1, n * hidden(d), (int)(at.g2 - at.g1));
    il_rule_trim(rows + at.g2, 1, n * d, (int)(at.lr - at.g2));
    il_rule_trim(rows + at.lr, 1, n, (int)(at.floats - at.lr));
}

static void mlp_rows(const il_inner_head *head, const float *carry, float *rows, int r0, const il_rows_in *in,
                     float *out, ptrdiff_t ld_out, float *scratch) {
    const il_kernels *k = head->kernels;
    const float *gamma = head->param[GAMMA], *beta = head->param[BETA];
    int d = head->d, h = hidden(d), n = in->n, pad = il_pad16(head->b);
    size_t nh = (size_t)n * (size_t)h;
    carry_places at = carry_of(d);
    row_places to = rows_of(d, head->b);
    il_dual first, second;
    duals_of(head, rows, &first, &second);
    scratch_rows s;
    lay_out(d, head->b, scratch, &s);
    float *q = s.kq + n * d, *z1bar = s.z1 + nh, *x2bar = s.x2 + nh, *z2bar = s.z2 + n * d;
    float *g1 = rows + to.g1 + r0 * h, *g2 = rows + to.g2 + r0 * d;

    il_rule_rates(head, in, rows + to.lr + r0);
    il_rule_stack(in, d, s.kq);
    il_rule_targets(k, in, d, s.target);
    k->transpose(n, d, s.kq, d, rows + to.kt + r0, pad);

    /* the row: G2 at Z2, G1 = (G2 W2^T) ∘ gelu'(Z1) */
    il_affine(k, 2 * n, d, h, s.kq, carry + at.layer1, s.z1);
    k->gelu_grad(nh, s.z1, s.x2, s.slope);
    k->transpose(n, h, s.x2, h, rows + to.x2t + r0, pad);
    il_affine(k, n, h, d, s.x2, carry + at.layer2, s.z2);
    k->ln_loss_grad(n, d, s.z2, d, s.target, d, gamma, beta, IL_INNER_EPS, g2, d, NULL, NULL, NULL);
    turn_w2(k, d, carry + at.layer2, s.w2t);
    times_w2t(k, n, d, g2, s.w2t, g1, 0);
    k->mul(nh, g1, s.slope, g1);

    /* the output: both layers read in the dual form */
    il_dual_read(head, &first, r0, n, q, z1bar, s.s);
    k->gelu(nh, z1bar, x2bar);
    il_affine(k, n, h, d, x2bar, carry + at.layer2, z2bar);
    il_dual_read(head, &second, r0, n, x2bar, z2bar, s.s);
    k->layer_norm(n, d, z2bar, d, gamma, beta, IL_INNER_EPS, out, ld_out, NULL, 0, NULL);
    for (int i = 0; i < n; i++) k->add((size_t)d, out + i * ld_out, q + i * d, out + i * ld_out);
}

static double mlp_loss(const il_inner_head *head, const float *carry, const float *rows, int n, const float *v,
                       ptrdiff_t ld_v, float *scratch) {
    const il_kernels *k = head->kernels;
    int d = head->d, h = hidden(d);
    carry_places at = carry_of(d);
    scratch_rows s;
    lay_out(d, head->b, scratch, &s);
    k->transpose(d, n, rows + rows_of(d, head->b).kt, il_pad16(head->b), s.kq, d);
    il_affine(k, n, d, h, s.kq, carry + at.layer1, s.z1);
    k->gelu((size_t)n * (size_t)h, s.z1, s.x2);
    il_affine(k, n, h, d, s.x2, carry + at.layer2, s.z2);
    k->layer_norm(n, d, s.z2, d, head->param[GAMMA], head->param[BETA], IL_INNER_EPS, s.z2, d, NULL, 0, NULL);
    return il_rule_loss(k, n, d, s.z2, s.kq, v, ld_v);
}

static void mlp_commit(const il_inner_head *head, const float *carry, const float *rows, float *next, float *scratch) {
    carry_places at = carry_of(head->d);
    il_dual first, second;
    duals_of(head, rows, &first, &second);
    scratch_rows s;
    lay_out(head->d, head->b, scratch, &s);
    float rate = head->tok[head->b - 1];
    il_dual_commit(head, &first, rate, carry + at.layer1, next + at.layer1, s.z1);
    il_dual_commit(head, &second, rate, carry + at.layer2, next + at.layer2, s.z1);
    clear_rim(head->d, next);
}

/* ---- backward ---- */

static void mlp_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                         int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry, const il_rows_grad *grad,
                         float *const dparam[IL_RULE_TENSORS_MAX], float *dtok, float *scratch) {
    const il_kernels *k = head->kernels;
    const float *gamma = head->param[GAMMA], *beta = head->param[BETA];
    int d = head->d, h = hidden(d), n = in->n, pad = il_pad16(head->b);
    size_t nd = (size_t)n * (size_t)d, nh = (size_t)n * (size_t)h;
    carry_places at = carry_of(d);
    const float *w1 = carry + at.layer1, *w2 = carry + at.layer2;
    float *dlayer1 = dcarry + at.layer1, *dlayer2 = dcarry + at.layer2;
    il_dual first, second;
    duals_of(head, rows, &first, &second);
    scratch_back s;
    lay_out_back(d, head->b, scratch, &s);
    float *key = s.rows.kq, *q = key + nd, *z1 = s.rows.z1, *z1bar = z1 + nh, *x2 = s.rows.x2, *x2bar = x2 + nh;
    float *slope = s.rows.slope, *slope_bar = slope + nh, *z2 = s.rows.z2, *z2bar = z2 + nd;
    float *dk = s.dkq, *dq = dk + nd, *dx2 = s.dx2, *dx2bar = dx2 + nh, *dz1 = s.dz1, *dz1bar = dz1 + nh;
    float *dz2 = s.dz2, *dz2bar = dz2 + nd, *w2t = s.rows.w2t;

    /* Forward again, from the rows: the slopes and what the norms need. */
    il_rule_stack(in, d, key);
    il_rule_targets(k, in, d, s.rows.target);
    il_affine(k, 2 * n, d, h, key, w1, z1);
    k->transpose(h, n, second.xt, pad, x2, h);
    k->gelu_grad2(nh, z1, slope, s.curve);
    il_dual_read(head, &first, 0, n, q, z1bar, s.rows.s);
    k->gelu_grad(nh, z1bar, x2bar, slope_bar);
    il_affine(k, 2 * n, h, d, x2, w2, z2);
    k->ln_loss_grad(n, d, z2, d, s.rows.target, d, gamma, beta, IL_INNER_EPS, s.g, d, s.xhat, s.e, s.inv_std);
    turn_w2(k, d, w2, w2t);
    times_w2t(k, n, d, second.g, w2t, s.u, 0);
    il_dual_read(head, &second, 0, n, x2bar, z2bar, s.rows.s);
    k->layer_norm(n, d, z2bar, d, gamma, beta, IL_INNER_EPS, s.out, d, s.xhat_bar, d, s.inv_bar);

    /* out = Q + LN(Z2bar) */
    for (int i = 0; i < n; i++) memcpy(dq + i * d, dout + i * ld_dout, (size_t)d * sizeof *dq);
    k->layer_norm_back(n, d, s.xhat_bar, d, s.inv_bar, gamma, dq, d, dz2bar, d, dparam[GAMMA], dparam[BETA]);
    /* Z2bar, and the commit of layer 2, through X2bar, X2, G2, lr, tok */
    memset(s.dlr, 0, (size_t)n * sizeof *s.dlr);
    times_w2t(k, n, d, dz2bar, w2t, dx2bar, 0);
    float rate = head->tok[head->b - 1], *drate = dtok + head->b - 1;
    il_dual_back back2 = {x2bar, x2, dz2bar, committed ? dlayer2 : NULL, rate, drate, dx2bar, dx2, s.dg2, s.dlr, dtok};
    il_dual_backward(head, &second, n, &back2, s.dual);
    /* X2bar = gelu(Z1bar); Z1bar, and the commit of layer 1, through Q, K, G1, lr, tok */
    k->mul(nh, dx2bar, slope_bar, dz1bar);
    il_dual_back back1 = {q, key, dz1bar, committed ? dlayer1 : NULL, rate, drate, dq, dk, s.dg1, s.dlr, dtok};
    il_dual_backward(head, &first, n, &back1, s.dual);
    /* G1 = U ∘ gelu'(Z1), U = G2 W2^T */
    k->mul(nh, s.dg1, slope, s.du);
    k->mul(nh, s.dg1, s.u, dz1);
    k->mul(nh, dz1, s.curve, dz1);
    k->gemm(n, d, h, s.du, h, 1, w2, d, 16, s.dg2, d, 1);
    /* G2 through Z2 and the target V - K */
    k->ln_loss_grad_back(n, d, s.xhat, s.e, s.inv_std, d, s.rows.target, d, gamma, beta, s.dg2, d, dz2, s.dtarget,
                         dparam[GAMMA], dparam[BETA]);
    /* Z2 = X2 W2 + b2, X2 = gelu(Z1) */
    times_w2t(k, n, d, dz2, w2t, dx2, 1);
    k->mul(nh, dx2, slope, dx2);
    k->add(nh, dz1, dx2, dz1);
    /* [Z1; Z1bar] = [K; Q] W1 + b1 */
    il_affine_backward(k, 2 * n, d, h, dz1, w1, s.dkq, s.affine);
    il_affine_backward_weights(k, 2 * n, d, h, key, dz1, dlayer1);
    /* W2 in [Z2; Z2bar] = [X2; X2bar] W2 + b2 and in U */
    il_affine_backward_weights(k, 2 * n, h, d, x2, dz2, dlayer2);
    k->gemm(h, d, n, s.du, 1, h, second.g, d, 16, dlayer2, d, 1);

    il_rule_scatter(k, in, d, dk, dq, s.dtarget, grad);
    il_rule_rates_backward(head, n, first.lr, s.dlr, grad->dgate, in->ld_gate);
}

static void mlp_begin_backward(const il_inner_head *head, const float *dcarry,
                               float *const dparam[IL_RULE_TENSORS_MAX]) {
    size_t d = (size_t)head->d, h = (size_t)hidden(head->d);
    const float *second = dcarry + carry_of(head->d).layer2;
    head->kernels->add(d * h, dparam[W1], dcarry, dparam[W1]);
    head->kernels->add(h, dparam[B1], dcarry + d * h, dparam[B1]);
    head->kernels->add(h * d, dparam[W2], second, dparam[W2]);
    head->kernels->add(d, dparam[B2], second + h * d, dparam[B2]);
}

static il_rule_cost mlp_cost(int d, int b) {
    double n = d, square = n * n;
    return (il_rule_cost){.flops = 56 * square + 30 * b * n, .carry = 8 * square + 5 * n, .row = 10 * n + 1};
}

const il_rule il_rule_mlp = {
    .name = "ttt_mlp",
    .base_lr = 0.1,
    .inner_lr_start = 0.1,
    .cost = mlp_cost,
    .tensors = mlp_tensors,
    .shape = mlp_shape,
    .begin = mlp_begin,
    .trim = mlp_trim,
    .rows = mlp_rows,
    .loss = mlp_loss,
    .commit = mlp_commit,
    .backward = mlp_backward,
    .begin_backward = mlp_begin_backward,
};
