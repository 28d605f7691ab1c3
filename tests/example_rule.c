/* example_rule.c: an inner rule as somebody would add one: this file, and a line in the table of rules. The inner
 * network is f(k) = k W + bias without a norm, its loss 1/2 |f(K) - (V - K)|²: the delta rule, a step for each
 * mini-batch. Row (K_i, G_i, lr_i). */
#include "inner/dual.h"
#include <string.h>

extern const il_rule il_rule_example;

enum { W = 0, BIAS, TENSORS };

static int example_tensors(int d, il_rule_tensor *list) {
    list[W] = (il_rule_tensor){"W1", "ttt_dense_0", d, d, IL_INIT_NORMAL};
    list[BIAS] = (il_rule_tensor){"b1", "ttt_bias_0", 1, d, IL_INIT_ZEROS};
    return TENSORS;
}

static il_rule_cost example_cost(int d, int b) {
    double n = d, square = n * n;
    return (il_rule_cost){.flops = 6 * square + 6 * b * n, .carry = square + n, .row = 2 * n + 1};
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

typedef struct scratch {
    float *kq, *z;       /* [2b, d] keys, queries; f(K), f(Q) */
    float *target;       /* [b, d]; in commit the scaled gradients */
    float *s;            /* [b, pad] */
    float *dz, *dkq;     /* [2b, d] from here on for backward: f(K), f(Q); K, Q */
    float *dg, *dtarget; /* [b, d] */
    float *dlr;          /* [b] */
    float *dual, *affine;
} scratch;

/* Floats for forward, or for backward. */
static size_t lay_out(int d, int b, int backward, float *base, scratch *s) {
    il_arena arena = {(char *)base, 0};
    size_t bd = (size_t)b * (size_t)d, f = sizeof(float);
    s->kq = il_arena_take(&arena, 2 * bd, f);
    s->z = il_arena_take(&arena, 2 * bd, f);
    s->target = il_arena_take(&arena, bd, f);
    s->s = il_arena_take(&arena, (size_t)b * (size_t)il_pad16(b), f);
    if (!backward) return il_pad16_size(arena.used / f);
    s->dz = il_arena_take(&arena, 2 * bd, f);
    s->dkq = il_arena_take(&arena, 2 * bd, f);
    s->dg = il_arena_take(&arena, bd, f);
    s->dtarget = il_arena_take(&arena, bd, f);
    s->dlr = il_arena_take(&arena, (size_t)b, f);
    s->dual = il_arena_take(&arena, il_dual_backward_scratch(d, d, b), f);
    s->affine = il_arena_take(&arena, il_affine_backward_scratch(2 * b, d, d), f);
    return il_pad16_size(arena.used / f);
}

static il_rule_shape example_shape(int d, int b) {
    scratch s;
    size_t carry = il_pad16_size((size_t)d * (size_t)d + (size_t)d);
    return (il_rule_shape){carry, places(d, b).floats, lay_out(d, b, 0, NULL, &s), lay_out(d, b, 1, NULL, &s)};
}

/* ---- forward ---- */

static void example_begin(const il_inner_head *head, float *carry) {
    size_t d = (size_t)head->d;
    memcpy(carry, head->param[W], d * d * sizeof *carry);
    il_rule_fill(carry + d * d, head->param[BIAS], d, il_pad16_size(d * d + d) - d * d);
}

static void example_trim(int d, int b, float *rows, int n) {
    row_places at = places(d, b);
    il_rule_trim(rows + at.kt, d, n, il_pad16(b));
    il_rule_trim(rows + at.g, 1, n * d, (int)(at.lr - at.g));
    il_rule_trim(rows + at.lr, 1, n, (int)(at.floats - at.lr));
}

static void example_rows(const il_inner_head *head, const float *carry, float *rows, int r0, const il_rows_in *in,
                         float *out, ptrdiff_t ld_out, float *base) {
    const il_kernels *k = head->kernels;
    int d = head->d, n = in->n;
    row_places at = places(d, head->b);
    il_dual dual = dual_of(head, rows);
    scratch s;
    lay_out(d, head->b, 0, base, &s);
    float *q = s.kq + n * d, *fq = s.z + n * d, *g = rows + at.g + r0 * d;

    il_rule_rates(head, in, rows + at.lr + r0);
    il_rule_stack(in, d, s.kq);
    il_rule_targets(k, in, d, s.target);
    k->transpose(n, d, s.kq, d, rows + at.kt + r0, il_pad16(head->b));
    il_affine(k, 2 * n, d, d, s.kq, carry, s.z);
    memcpy(g, s.z, (size_t)(n * d) * sizeof *g);
    k->axpy((size_t)(n * d), -1.0f, s.target, g);
    il_dual_read(head, &dual, r0, n, q, fq, s.s);
    for (int i = 0; i < n; i++) k->add((size_t)d, fq + i * d, q + i * d, out + i * ld_out);
}

static double example_loss(const il_inner_head *head, const float *carry, const float *rows, int n, const float *v,
                           ptrdiff_t ld_v, float *base) {
    int d = head->d;
    scratch s;
    lay_out(d, head->b, 0, base, &s);
    head->kernels->transpose(d, n, rows + places(d, head->b).kt, il_pad16(head->b), s.kq, d);
    il_affine(head->kernels, n, d, d, s.kq, carry, s.z);
    return il_rule_loss(head->kernels, n, d, s.z, s.kq, v, ld_v);
}

static void example_commit(const il_inner_head *head, const float *carry, const float *rows, float *next, float *base) {
    size_t used = (size_t)head->d * (size_t)head->d + (size_t)head->d;
    il_dual dual = dual_of(head, rows);
    scratch s;
    lay_out(head->d, head->b, 0, base, &s);
    il_dual_commit(head, &dual, head->tok[head->b - 1], carry, next, s.target);
    memset(next + used, 0, (il_pad16_size(used) - used) * sizeof *next);
}

/* ---- backward ---- */

static void example_backward(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                             int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry,
                             const il_rows_grad *grad, float *const dparam[IL_RULE_TENSORS_MAX], float *dtok,
                             float *base) {
    const il_kernels *k = head->kernels;
    int d = head->d, n = in->n, last = head->b - 1;
    size_t nd = (size_t)(n * d);
    il_dual dual = dual_of(head, rows);
    scratch s;
    lay_out(d, head->b, 1, base, &s);
    float *key = s.kq, *q = key + n * d, *dzk = s.dz, *dzq = dzk + n * d, *dk = s.dkq, *dq = dk + n * d;
    (void)dparam; /* all that is learned are the first fast weights: example_begin_backward */

    /* out = Q + what Q reads */
    il_rule_stack(in, d, key);
    for (int i = 0; i < n; i++) memcpy(dzq + i * d, dout + i * ld_dout, (size_t)d * sizeof *dzq);
    memcpy(dq, dzq, nd * sizeof *dq);
    memset(s.dlr, 0, (size_t)n * sizeof *s.dlr);
    il_dual_back back = {.a = q,
                         .x = key,
                         .dy = dzq,
                         .dlayer = committed ? dcarry : NULL,
                         .rate = head->tok[last],
                         .drate = dtok + last,
                         .da = dq,
                         .dx = dk,
                         .dg = s.dg,
                         .dlr = s.dlr,
                         .dtok = dtok};
    il_dual_backward(head, &dual, n, &back, s.dual);
    /* G = f(K) - target */
    memcpy(dzk, s.dg, nd * sizeof *dzk);
    k->scale(nd, -1.0f, s.dg, s.dtarget);
    /* [f(K); f(Q)] = [K; Q] W + bias */
    il_affine_backward(k, 2 * n, d, d, s.dz, carry, s.dkq, s.affine);
    il_affine_backward_weights(k, 2 * n, d, d, key, s.dz, dcarry);

    il_rule_scatter(k, in, d, dk, dq, s.dtarget, grad);
    il_rule_rates_backward(head, n, dual.lr, s.dlr, grad->dgate, in->ld_gate);
}

static void example_begin_backward(const il_inner_head *head, const float *dcarry,
                                   float *const dparam[IL_RULE_TENSORS_MAX]) {
    size_t d = (size_t)head->d;
    head->kernels->add(d * d, dparam[W], dcarry, dparam[W]);
    head->kernels->add(d, dparam[BIAS], dcarry + d * d, dparam[BIAS]);
}

const il_rule il_rule_example = {
    .name = "ttt_example",
    .base_lr = 0.5,
    .inner_lr_start = 0.25,
    .cost = example_cost,
    .tensors = example_tensors,
    .shape = example_shape,
    .begin = example_begin,
    .trim = example_trim,
    .rows = example_rows,
    .loss = example_loss,
    .commit = example_commit,
    .backward = example_backward,
    .begin_backward = example_begin_backward,
};
