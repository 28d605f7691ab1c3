/* dual.c: one layer of fast weights in the dual form: read, commit, and the backward of both. All products go
 * through il_kernels.gemm, so every element is one fma chain in ascending order and the bits are the same on
 * every machine. */
#include "inner/dual.h"
#include <string.h>

static const float one = 1.0f;

/* y [1, out] += sum of the rows of x [n, out]: a product with a row of ones. */
static void add_rows(const il_kernels *k, int n, int out, const float *x, float *y) {
    k->gemm(1, out, n, &one, 0, 0, x, out, 16, y, out, 1);
}

void il_affine(const il_kernels *k, int n, int in, int out, const float *x, const float *w, float *y) {
    k->gemm(n, out, in, x, in, 1, w, out, 16, y, out, 0);
    k->add_bias(n, out, w + (ptrdiff_t)in * out, y, out);
}

void il_dual_read(const il_inner_head *head, const il_dual *dual, int r0, int n, const float *a, float *y, float *s) {
    const il_kernels *k = head->kernels;
    int pad = il_pad16(head->b), in = dual->in;
    const float *lr = dual->lr;
    /* Whole panels: the columns of tokens not read yet are computed from whatever lies there and never looked
     * at. */
    k->gemm(n, il_pad16(r0 + n), in, a, in, 1, dual->xt, pad, 16, s, pad, 0);
    for (int i = 0; i < n; i++) {
        float *c = s + i * pad, minus_tok = -head->tok[r0 + i];
        for (int j = 0; j <= r0 + i; j++) c[j] = minus_tok * lr[j] * (c[j] + 1.0f);
    }
    k->lower_product(n, dual->out, r0, s, pad, dual->g, y, dual->out);
}

void il_dual_commit(const il_inner_head *head, const il_dual *dual, float rate, const float *from, float *to,
                    float *scratch) {
    const il_kernels *k = head->kernels;
    int pad = il_pad16(head->b), in = dual->in, out = dual->out, b = head->b;
    for (int j = 0; j < b; j++) k->scale((size_t)out, -rate * dual->lr[j], dual->g + j * out, scratch + j * out);
    k->rank_update(in, out, b, dual->xt, pad, scratch, out, 1.0f, from, to, out);
    from += (ptrdiff_t)in * out, to += (ptrdiff_t)in * out;
    if (to != from) memcpy(to, from, (size_t)out * sizeof *to);
    add_rows(k, b, out, scratch, to);
}

/* ---- backward ---- */

typedef struct back_scratch {
    float *gt;    /* [out, pad] */
    float *p, *e; /* [b, pad] */
    float *r;     /* [b, out] */
    float *mt;    /* [in, pad] */
    float *m;     /* [b, in] */
    float *u;     /* [b] */
} back_scratch;

static size_t lay_out(int in, int out, int b, float *base, back_scratch *s) {
    il_arena arena = {(char *)base, 0};
    size_t pad = (size_t)il_pad16(b), rows = (size_t)b, f = sizeof(float);
    s->gt = il_arena_take(&arena, (size_t)out * pad, f);
    s->p = il_arena_take(&arena, rows * pad, f);
    s->e = il_arena_take(&arena, rows * pad, f);
    s->r = il_arena_take(&arena, rows * (size_t)out, f);
    s->mt = il_arena_take(&arena, (size_t)in * pad, f);
    s->m = il_arena_take(&arena, rows * (size_t)in, f);
    s->u = il_arena_take(&arena, rows, f);
    return il_pad16_size(arena.used / f);
}

size_t il_dual_backward_scratch(int in, int out, int b) {
    back_scratch s;
    return lay_out(in, out, b, NULL, &s);
}

/* R = X dW' + dbias' and M = G dW'^T give the commit's share:
 *   dG_j -= r lr_j R_j,  dX_j -= r lr_j M_j,  dlr_j -= r R_j·G_j,  dr -= sum_j lr_j R_j·G_j,   r = rate. */
static void commit_backward(const il_inner_head *head, const il_dual *dual, int n, const il_dual_back *back,
                            back_scratch *s) {
    const il_kernels *k = head->kernels;
    int pad = il_pad16(head->b), in = dual->in, out = dual->out;
    float drate = 0.0f;
    k->gemm(n, out, in, dual->xt, 1, pad, back->dlayer, out, 16, s->r, out, 0);
    k->add_bias(n, out, back->dlayer + (ptrdiff_t)in * out, s->r, out);
    k->row_dot(n, out, s->r, out, dual->g, out, s->u);
    k->gemm(in, n, out, back->dlayer, out, 1, s->gt, pad, 16, s->mt, pad, 0);
    k->transpose(in, n, s->mt, pad, s->m, in);
    for (int j = 0; j < n; j++) {
        float rate = back->rate * dual->lr[j];
        k->axpy((size_t)out, -rate, s->r + j * out, back->dg + j * out);
        k->axpy((size_t)in, -rate, s->m + j * in, back->dx + j * in);
        back->dlr[j] -= back->rate * s->u[j];
        drate += dual->lr[j] * s->u[j];
    }
    *back->drate -= drate;
}

/* With P_ij = A_i·X_j + 1 and C_ij = -tok_i lr_j P_ij (j <= i): Ybar = … + C G, so E_ij = dC_ij = dY_i·G_j
 * and dG = C^T dY,  dP_ij = -tok_i lr_j E_ij,  dA = dP X,  dX = dP^T A, dtok_i = -sum_j E_ij lr_j P_ij, dlr_j
 * = -sum_i E_ij tok_i P_ij. */
void il_dual_backward(const il_inner_head *head, const il_dual *dual, int n, const il_dual_back *back, float *scratch) {
    const il_kernels *k = head->kernels;
    int pad = il_pad16(head->b), in = dual->in, out = dual->out;
    back_scratch s;
    lay_out(in, out, head->b, scratch, &s);
    k->transpose(n, out, dual->g, out, s.gt, pad);
    k->gemm(n, n, in, back->a, in, 1, dual->xt, pad, 16, s.p, pad, 0);
    k->gemm(n, n, out, back->dy, out, 1, s.gt, pad, 16, s.e, pad, 0);
    for (int i = 0; i < n; i++) {
        float *p = s.p + i * pad, *e = s.e + i * pad, tok = head->tok[i], dtok = 0.0f;
        for (int j = 0; j <= i; j++) {
            float ep = e[j] * (p[j] + 1.0f), minus_eta = -tok * dual->lr[j];
            dtok += dual->lr[j] * ep;
            back->dlr[j] -= tok * ep;
            p[j] = minus_eta * (p[j] + 1.0f); /* C */
            e[j] = minus_eta * e[j];          /* dP */
        }
        back->dtok[i] -= dtok;
        for (int j = i + 1; j < n; j++) p[j] = e[j] = 0.0f;
    }
    k->gemm(n, out, n, s.p, 1, pad, back->dy, out, 16, back->dg, out, 0);
    k->gemm(n, in, n, s.e, pad, 1, back->x, in, 16, back->da, in, 1);
    k->gemm(n, in, n, s.e, 1, pad, back->a, in, 16, back->dx, in, 0);
    if (back->dlayer) commit_backward(head, dual, n, back, &s);
}

/* Through the transposed product W · dy^T: transposing the n rows is cheaper than transposing W. */
size_t il_affine_backward_scratch(int n, int in, int out) {
    size_t pad = (size_t)il_pad16(n);
    return il_pad16_size((size_t)out * pad) + il_pad16_size((size_t)in * pad) + il_pad16_size((size_t)in * (size_t)n);
}

void il_affine_backward(const il_kernels *k, int n, int in, int out, const float *dy, const float *w, float *dx,
                        float *scratch) {
    int pad = il_pad16(n);
    float *dyt = scratch, *dxt = dyt + (ptrdiff_t)out * pad, *add = dxt + (ptrdiff_t)in * pad;
    k->transpose(n, out, dy, out, dyt, pad);
    k->gemm(in, n, out, w, out, 1, dyt, pad, 16, dxt, pad, 0);
    k->transpose(in, n, dxt, pad, add, in);
    k->add((size_t)n * (size_t)in, dx, add, dx);
}

void il_affine_backward_weights(const il_kernels *k, int n, int in, int out, const float *x, const float *dy,
                                float *dlayer) {
    k->gemm(in, out, n, x, 1, in, dy, out, 16, dlayer, out, 1);
    add_rows(k, n, out, dy, dlayer + (ptrdiff_t)in * out);
}

/* ---- what every rule needs of its inputs ---- */

void il_rule_stack(const il_rows_in *in, int d, float *kq) {
    size_t row = (size_t)d * sizeof *kq;
    for (int i = 0; i < in->n; i++) {
        memcpy(kq + i * d, in->k + i * in->ld, row);
        memcpy(kq + (in->n + i) * d, in->q + i * in->ld, row);
    }
}

/* y = a - b; fma(-1, b, a) rounds once, as a - b does. */
static void subtract(const il_kernels *k, int n, const float *a, const float *b, float *y) {
    memcpy(y, a, (size_t)n * sizeof *y);
    k->axpy((size_t)n, -1.0f, b, y);
}

void il_rule_targets(const il_kernels *k, const il_rows_in *in, int d, float *target) {
    for (int i = 0; i < in->n; i++) subtract(k, d, in->v + i * in->ld, in->k + i * in->ld, target + i * d);
}

void il_rule_scatter(const il_kernels *k, const il_rows_in *in, int d, const float *dk, const float *dq,
                     const float *dtarget, const il_rows_grad *grad) {
    size_t row = (size_t)d * sizeof *dq;
    for (int i = 0; i < in->n; i++) {
        memcpy(grad->dq + i * in->ld, dq + i * d, row);
        subtract(k, d, dk + i * d, dtarget + i * d, grad->dk + i * in->ld);
        memcpy(grad->dv + i * in->ld, dtarget + i * d, row);
    }
}

void il_rule_fill(float *to, const float *from, size_t n, size_t total) {
    memcpy(to, from, n * sizeof *to);
    if (total > n) memset(to + n, 0, (total - n) * sizeof *to);
}

void il_rule_trim(float *x, int rows, int n, int ld) {
    for (int r = 0; r < rows; r++) memset(x + (ptrdiff_t)r * ld + n, 0, (size_t)(ld - n) * sizeof *x);
}

double il_rule_loss(const il_kernels *k, int n, int d, float *f, const float *key, const float *v, ptrdiff_t ld_v) {
    double total = 0;
    for (int i = 0; i < n; i++) {
        float *row = f + i * d;
        k->add((size_t)d, row, key + i * d, row);
        k->axpy((size_t)d, -1.0f, v + i * ld_v, row);
        total += 0.5 * k->sum_squares((size_t)d, row);
    }
    return total;
}
