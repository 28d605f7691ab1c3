/* gated_delta.c: see gated_delta.h. A mini-batch of b tokens starts from S0. With D_j(i) = keep_{j+1} … keep_i and E_i
 * = keep_0 … keep_i, which end each token's row i,
 *
 *     u_i = rate_i (v_i - E_i (k_i S0) - sum_{j<i} D_j(i) (k_i·k_j) u_j)
 *     o_i = E_i (q_i S0) + sum_{j<=i} D_j(i) (q_i·k_j) u_j
 *     S   = E_{b-1} S0 + sum_j D_j(b-1) k_j^T u_j
 *
 * is the token-by-token rule, but S0 is read once for all rows of a call, by products, and written once a mini-batch.
 * Sums are chains, j ascending, so row i depends on S0 and the rows up to i alone. The row keeps k, u, keep and rate.
 */
#include "inner/gated_delta.h"
#include "base/memory.h"
#include "inner/dual.h"
#include <string.h>

/* ---- memory: rows = K^T [dk, pad], keep and rate [values, pad], u [values, b, dv] ---- */

typedef struct row_places {
    size_t keep, rate, u, u_head, floats;
} row_places;

static row_places places(const il_delta *d) {
    size_t pad = (size_t)il_pad16(d->b), values = (size_t)d->values;
    row_places at = {.keep = (size_t)d->dk * pad, .u_head = il_pad16_size((size_t)d->b * (size_t)d->dv)};
    at.rate = at.keep + values * pad;
    at.u = at.rate + values * pad;
    at.floats = at.u + values * at.u_head;
    return at;
}

typedef struct scratch_rows {
    float *kq;           /* [2b, dk] keys, queries */
    float *s;            /* [2b, pad] their products with the keys */
    float *y;            /* [2b, dv] their products with S; the rows that a commit adds */
    float *write, *read; /* [b, pad] what rows before leave in u_i, what rows up to i leave in o_i */
    float *decay, *end;  /* [pad] D_j(i) of a row, [b] E_i */
} scratch_rows;

static size_t lay_out(const il_delta *d, float *base, scratch_rows *s) {
    il_arena arena = {(char *)base, 0};
    size_t b = (size_t)d->b, pad = (size_t)il_pad16(d->b), f = sizeof(float);
    s->kq = il_arena_take(&arena, 2 * b * (size_t)d->dk, f);
    s->s = il_arena_take(&arena, 2 * b * pad, f);
    s->y = il_arena_take(&arena, 2 * b * (size_t)d->dv, f);
    s->write = il_arena_take(&arena, b * pad, f);
    s->read = il_arena_take(&arena, b * pad, f);
    s->decay = il_arena_take(&arena, pad, f);
    s->end = il_arena_take(&arena, b, f);
    return il_pad16_size(arena.used / f);
}

typedef struct scratch_back {
    scratch_rows rows;
    float *decays;     /* [b, pad] D_j(i) */
    float *wo;         /* [2b, dv] w, dO; then -E w, E dO */
    float *written;    /* [b, dv] what a row adds to S */
    float *ut;         /* [dv, pad] u, transposed */
    float *p;          /* [2b, pad] w u^T, dO u^T; then -P, R */
    float *part, *dkq; /* [2b, dk] of keys and queries: what comes through S0 alone; all, of all value heads */
    float *dc, *rate;  /* [b] */
    float *dot;        /* [2b] */
    float *affine;
} scratch_back;

static size_t lay_out_back(const il_delta *d, float *base, scratch_back *s) {
    size_t b = (size_t)d->b, pad = (size_t)il_pad16(d->b), dk = (size_t)d->dk, dv = (size_t)d->dv, f = sizeof(float);
    il_arena arena = {(char *)base, lay_out(d, base, &s->rows) * f};
    s->decays = il_arena_take(&arena, b * pad, f);
    s->wo = il_arena_take(&arena, 2 * b * dv, f);
    s->written = il_arena_take(&arena, b * dv, f);
    s->ut = il_arena_take(&arena, dv * pad, f);
    s->p = il_arena_take(&arena, 2 * b * pad, f);
    s->part = il_arena_take(&arena, 2 * b * dk, f);
    s->dkq = il_arena_take(&arena, 2 * b * dk, f);
    s->dc = il_arena_take(&arena, b, f);
    s->rate = il_arena_take(&arena, b, f);
    s->dot = il_arena_take(&arena, 2 * b, f);
    s->affine = il_arena_take(&arena, il_affine_backward_scratch(2 * d->b, d->dk, d->dv), f);
    return il_pad16_size(arena.used / f);
}

il_rule_shape il_delta_shape(const il_delta *d) {
    scratch_rows s;
    scratch_back t;
    return (il_rule_shape){.carry = (size_t)d->values * (size_t)d->dk * (size_t)d->dv,
                           .rows = places(d).floats,
                           .scratch = lay_out(d, NULL, &s),
                           .scratch_back = lay_out_back(d, NULL, &t)};
}

/* S of key and query, and its change; what the rows before add to them. */
il_rule_cost il_delta_cost(const il_delta *d) {
    double dk = d->dk, dv = d->dv, values = d->values;
    return (il_rule_cost){.flops = 6 * values * dk * dv + d->b * (2 * dk + 2 * values * dv),
                          .carry = values * dk * dv,
                          .row = dk + values * (dv + 2)};
}

void il_delta_trim(const il_delta *d, float *rows, int n) {
    row_places at = places(d);
    int pad = il_pad16(d->b);
    il_rule_trim(rows, d->dk, n, pad);
    il_rule_trim(rows + at.keep, 2 * d->values, n, pad);
    il_rule_trim(rows + at.u, d->values, n * d->dv, (int)at.u_head);
}

/* ---- forward ---- */

/* decay[j] = D_j(i), j <= i, the product from its last factor on; returns E_i. What has faded below e^-60 is 0, as a
 * weight of attention is (kernels.h): it changes no sum, and numbers that small make every product slow. */
static float decays_of(const float *keep, int i, float *decay) {
    const float least = 8.75651e-27f;
    float product = 1.0f;
    for (int j = i; j >= 0; j--) {
        decay[j] = product;
        product *= keep[j];
        if (product < least) product = 0.0f;
    }
    return product;
}

/* kq [2n, dk] = keys, queries. */
static void stack(const il_delta_in *in, int dk, float *kq) {
    size_t row = (size_t)dk * sizeof *kq;
    for (int i = 0; i < in->n; i++) {
        memcpy(kq + i * dk, in->k + i * in->ld, row);
        memcpy(kq + (in->n + i) * dk, in->q + i * in->ld, row);
    }
}

/* One value head: rows r0 .. r0+n-1, of which s has the products with the keys. u: the head's rows. */
static void head_rows(const il_delta *d, const float *carry, const float *keep, const float *rate, float *u, int r0,
                      const il_delta_in *in, const float *v, float *out, ptrdiff_t ld_out, const scratch_rows *s) {
    const il_kernels *k = d->kernels;
    int n = in->n, dk = d->dk, dv = d->dv, pad = il_pad16(d->b);
    float *said = s->y, *o = s->y + n * dv; /* k S0, q S0 */
    for (int i = 0; i < n; i++) {
        const float *with_key = s->s + i * pad, *with_query = s->s + (n + i) * pad;
        float *write = s->write + i * pad, *read = s->read + i * pad;
        s->end[i] = decays_of(keep, r0 + i, s->decay);
        for (int j = 0; j < r0 + i; j++) write[j] = -(s->decay[j] * with_key[j]);
        for (int j = 0; j <= r0 + i; j++) read[j] = s->decay[j] * with_query[j];
    }
    k->gemm(2 * n, dv, dk, s->kq, dk, 1, carry, dv, IL_LANES, s->y, dv, 0);
    for (int i = 0; i < n; i++) {
        float *row = u + (r0 + i) * dv;
        memcpy(row, v + i * in->ld, (size_t)dv * sizeof *row);
        k->axpy((size_t)dv, -s->end[i], said + i * dv, row);
        k->scale((size_t)dv, s->end[i], o + i * dv, o + i * dv);
    }
    k->lower_solve(n, dv, r0, s->write, pad, rate + r0, u, dv);
    k->lower_product(n, dv, r0, s->read, pad, u, o, dv);
    for (int i = 0; i < n; i++) memcpy(out + i * ld_out, o + i * dv, (size_t)dv * sizeof *out);
}

void il_delta_rows(const il_delta *d, const float *carry, float *rows, int r0, const il_delta_in *in, float *out,
                   ptrdiff_t ld_out, float *scratch) {
    const il_kernels *k = d->kernels;
    int n = in->n, dk = d->dk, dv = d->dv, pad = il_pad16(d->b);
    row_places at = places(d);
    scratch_rows s;
    lay_out(d, scratch, &s);
    stack(in, dk, s.kq);
    k->transpose(n, dk, s.kq, dk, rows + r0, pad);
    /* Whole panels: the columns of tokens not read yet are computed from whatever lies there and never looked at. */
    k->gemm(2 * n, il_pad16(r0 + n), dk, s.kq, dk, 1, rows, pad, IL_LANES, s.s, pad, 0);
    for (int h = 0; h < d->values; h++) {
        float *keep = rows + at.keep + h * pad, *rate = rows + at.rate + h * pad;
        for (int i = 0; i < n; i++) {
            keep[r0 + i] = in->keep[i * in->ld_gate + h];
            rate[r0 + i] = in->rate[i * in->ld_gate + h];
        }
        head_rows(d, carry + (ptrdiff_t)h * dk * dv, keep, rate, rows + at.u + (size_t)h * at.u_head, r0, in,
                  in->v + h * dv, out + h * dv, ld_out, &s);
    }
}

void il_delta_commit(const il_delta *d, const float *carry, const float *rows, float *next, float *scratch) {
    const il_kernels *k = d->kernels;
    int dk = d->dk, dv = d->dv, b = d->b, pad = il_pad16(b);
    row_places at = places(d);
    scratch_rows s;
    lay_out(d, scratch, &s);
    for (int h = 0; h < d->values; h++) {
        const float *u = rows + at.u + (size_t)h * at.u_head;
        ptrdiff_t from = (ptrdiff_t)h * dk * dv;
        float end = decays_of(rows + at.keep + h * pad, b - 1, s.decay);
        for (int j = 0; j < b; j++) k->scale((size_t)dv, s.decay[j], u + j * dv, s.y + j * dv);
        k->rank_update(dk, dv, b, rows, pad, s.y, dv, end, carry + from, next + from, dv);
    }
}

/* v = u / rate + what the memory said before: E k S0 + sum_{j<i} D_j(i) (k_i·k_j) u_j. */
static void head_loss(const il_delta *d, const float *before, const float *after, const float *keep, const float *rate,
                      const float *u, const scratch_rows *s, double loss[2]) {
    const il_kernels *k = d->kernels;
    int dk = d->dk, dv = d->dv, b = d->b, pad = il_pad16(b);
    float *said = s->y, *v = s->y + b * dv;
    k->gemm(b, dv, dk, s->kq, dk, 1, before, dv, IL_LANES, said, dv, 0);
    for (int i = 0; i < b; i++) {
        float *write = s->write + i * pad;
        k->scale((size_t)dv, decays_of(keep, i, s->decay), said + i * dv, v + i * dv);
        for (int j = 0; j < i; j++) write[j] = s->decay[j] * s->s[i * pad + j];
        write[i] = rate[i] > 0 ? 1.0f / rate[i] : 0.0f;
    }
    k->lower_product(b, dv, 0, s->write, pad, u, v, dv);
    for (int which = 0; which < 2; which++) {
        if (which) k->gemm(b, dv, dk, s->kq, dk, 1, after, dv, IL_LANES, said, dv, 0);
        k->axpy((size_t)b * (size_t)dv, -1.0f, v, said);
        loss[which] += 0.5 * k->sum_squares((size_t)b * (size_t)dv, said);
    }
}

void il_delta_loss(const il_delta *d, const float *before, const float *after, const float *rows, double loss[2],
                   float *scratch) {
    const il_kernels *k = d->kernels;
    int dk = d->dk, b = d->b, pad = il_pad16(b);
    row_places at = places(d);
    scratch_rows s;
    lay_out(d, scratch, &s);
    loss[0] = loss[1] = 0;
    k->transpose(dk, b, rows, pad, s.kq, dk);
    k->gemm(b, b, dk, s.kq, dk, 1, rows, pad, IL_LANES, s.s, pad, 0);
    for (int h = 0; h < d->values; h++) {
        ptrdiff_t from = (ptrdiff_t)h * dk * d->dv;
        head_loss(d, before + from, after + from, rows + at.keep + h * pad, rows + at.rate + h * pad,
                  rows + at.u + (size_t)h * at.u_head, &s, loss);
    }
}

/* ---- backward ----
 *
 * With dS' the gradient of the committed S and G_j = D_j(n-1), or both 0 when nothing was committed:
 *
 *     du_j = G_j (k_j dS') + sum_{i>=j} D_j(i) (q_i·k_j) dO_i - sum_{i>j} D_j(i) (k_i·k_j) w_i,    w_j = rate_j du_j
 *     P_ij = D_j(i) (w_i·u_j), j < i;    R_ij = D_j(i) (dO_i·u_j), j <= i
 *     dv_j = w_j;    with respect to the argument of rate_j's sigmoid: (1 - rate_j) du_j·u_j
 *     dq_i = E_i dO_i S0^T + sum_j R_ij k_j
 *     dk_i = -E_i w_i S0^T - sum_{j<i} P_ij k_j - sum_{m>i} P_mi k_m + sum_{m>=i} R_mi q_m + G_i u_i dS'^T
 *     dS0  = E_{n-1} dS' + sum_i E_i (q_i^T dO_i - k_i^T w_i)
 *
 * D_j(i) = e^(c_i - c_j) and E_i = e^(c_i), c_i the sum of log keep up to i. So what a term with D_j(i) has for a
 * gradient goes to dc_i and from dc_j: T_ij = R_ij (q_i·k_j) - P_ij (k_i·k_j), and G_j (k_j dS')·u_j for i = n-1. */

/* One value head of a mini-batch of n rows. */
typedef struct head_back {
    int n, committed;
    const float *carry, *keep, *rate, *u;
    const float *dout; /* stride ld_dout */
    ptrdiff_t ld_dout;
    float *dS;                        /* dcarry */
    float *dv, *dlog_keep, *drate_in; /* strides ld, ld_gate, ld_gate */
    ptrdiff_t ld, ld_gate;
} head_back;

/* D_j(i) and E_i of all rows; dO close together; what of du comes from the o and the commit that read it, into w. */
static void begin_back(const il_delta *d, const head_back *h, const scratch_back *s) {
    const il_kernels *k = d->kernels;
    int n = h->n, dk = d->dk, dv = d->dv, pad = il_pad16(d->b), square = dk * dv;
    size_t row = (size_t)dv * sizeof(float);
    float *w = s->wo, *dO = w + n * dv;
    memset(w, 0, (size_t)n * row);
    for (int i = 0; i < n; i++) {
        float *decay = s->decays + i * pad, *read = s->rows.read + i * pad;
        const float *with_query = s->rows.s + (n + i) * pad;
        s->rows.end[i] = decays_of(h->keep, i, decay);
        for (int j = 0; j < n; j++) read[j] = j <= i ? decay[j] * with_query[j] : 0.0f;
        memcpy(dO + i * dv, h->dout + i * h->ld_dout, row);
        s->dc[i] = 0.0f;
    }
    if (h->committed) {
        const float *last = s->decays + (n - 1) * pad;
        float all = 0.0f, faded;
        k->gemm(n, dv, dk, s->rows.kq, dk, 1, h->dS, dv, IL_LANES, w, dv, 0);
        for (int i = 0; i < n; i++) k->scale((size_t)dv, last[i], w + i * dv, w + i * dv);
        k->row_dot(n, dv, w, dv, h->u, dv, s->dot);
        k->row_dot(1, square, h->dS, square, h->carry, square, &faded);
        for (int i = 0; i < n; i++) {
            s->dc[i] -= s->dot[i];
            all += s->dot[i];
        }
        s->dc[n - 1] += all + s->rows.end[n - 1] * faded;
    }
    k->gemm(n, dv, n, s->rows.read, 1, pad, dO, dv, IL_LANES, w, dv, 1);
}

/* The triangular system, from the last row to the first: on rows in reverse it is one that ascends. In: w so far; out:
 * w. */
static void solve_back(const il_delta *d, const head_back *h, const scratch_back *s) {
    int n = h->n, dv = d->dv, pad = il_pad16(d->b);
    for (int j = 0; j < n; j++) {
        float *row = s->rows.write + (n - 1 - j) * pad;
        for (int i = n - 1; i > j; i--) row[n - 1 - i] = -(s->decays[i * pad + j] * s->rows.s[i * pad + j]);
        s->rate[n - 1 - j] = h->rate[j];
    }
    d->kernels->lower_solve(n, dv, 0, s->rows.write, pad, s->rate, s->wo + (n - 1) * dv, -dv);
    for (int j = 0; j < n; j++) memcpy(h->dv + j * h->ld, s->wo + j * dv, (size_t)dv * sizeof(float));
}

/* -P and R, zeros where they have no entries; what they say of c and of the rates. */
static void pair_gradients(const il_delta *d, const head_back *h, const scratch_back *s) {
    int n = h->n, dv = d->dv, pad = il_pad16(d->b);
    d->kernels->transpose(n, dv, h->u, dv, s->ut, pad);
    d->kernels->gemm(2 * n, n, dv, s->wo, dv, 1, s->ut, pad, IL_LANES, s->p, pad, 0);
    for (int i = 0; i < n; i++) {
        const float *decay = s->decays + i * pad, *with_key = s->rows.s + i * pad, *with_query = with_key + n * pad;
        float *p = s->p + i * pad, *r = p + n * pad, sum = 0.0f;
        h->drate_in[i * h->ld_gate] = (1.0f - h->rate[i]) * (p[i] / h->rate[i]);
        p[i] = 0.0f;
        r[i] *= decay[i];
        for (int j = 0; j < i; j++) {
            p[j] = -(decay[j] * p[j]);
            r[j] *= decay[j];
            float t = r[j] * with_query[j] + p[j] * with_key[j];
            sum += t;
            s->dc[j] -= t;
        }
        s->dc[i] += sum;
        for (int j = i + 1; j < n; j++) p[j] = r[j] = 0.0f;
    }
}

/* Adds to s->dkq; dS' -> dS0. */
static void head_backward(const il_delta *d, const head_back *h, const scratch_back *s) {
    const il_kernels *k = d->kernels;
    int n = h->n, dk = d->dk, dv = d->dv, pad = il_pad16(d->b);
    size_t square = (size_t)dk * (size_t)dv;
    const float *key = s->rows.kq, *query = key + n * dk, *minus_p = s->p, *r = minus_p + n * pad, *end = s->rows.end;
    float *w = s->wo, *dO = w + n * dv, *dkey = s->dkq, *dquery = dkey + n * dk;
    begin_back(d, h, s);
    solve_back(d, h, s);
    pair_gradients(d, h, s);
    k->gemm(n, dk, n, r, pad, 1, key, dk, IL_LANES, dquery, dk, 1);
    k->gemm(n, dk, n, r, 1, pad, query, dk, IL_LANES, dkey, dk, 1);
    k->gemm(n, dk, n, minus_p, pad, 1, key, dk, IL_LANES, dkey, dk, 1);
    k->gemm(n, dk, n, minus_p, 1, pad, key, dk, IL_LANES, dkey, dk, 1);
    if (h->committed) {
        const float *last = s->decays + (n - 1) * pad;
        for (int i = 0; i < n; i++) k->scale((size_t)dv, last[i], h->u + i * dv, s->written + i * dv);
        il_affine_backward(k, n, dk, dv, s->written, h->dS, dkey, s->affine);
        k->scale(square, end[n - 1], h->dS, h->dS);
    }
    for (int i = 0; i < n; i++) {
        k->scale((size_t)dv, -end[i], w + i * dv, w + i * dv);
        k->scale((size_t)dv, end[i], dO + i * dv, dO + i * dv);
    }
    memset(s->part, 0, 2 * (size_t)n * (size_t)dk * sizeof(float));
    il_affine_backward(k, 2 * n, dk, dv, s->wo, h->carry, s->part, s->affine);
    k->row_dot(2 * n, dk, s->part, dk, s->rows.kq, dk, s->dot);
    k->add(2 * (size_t)n * (size_t)dk, s->dkq, s->part, s->dkq);
    k->gemm(dk, dv, 2 * n, s->rows.kq, 1, dk, s->wo, dv, IL_LANES, h->dS, dv, 1);

    float sum = 0.0f; /* c_m holds log keep_i for all i <= m */
    for (int i = n - 1; i >= 0; i--) {
        sum += s->dc[i] + s->dot[i] + s->dot[n + i];
        h->dlog_keep[i * h->ld_gate] = sum;
    }
}

void il_delta_backward(const il_delta *d, const float *carry, const float *rows, const il_delta_in *in, int committed,
                       const float *dout, ptrdiff_t ld_dout, float *dcarry, const il_delta_grad *grad, float *scratch) {
    const il_kernels *k = d->kernels;
    int n = in->n, dk = d->dk, dv = d->dv, pad = il_pad16(d->b);
    size_t row = (size_t)dk * sizeof(float);
    row_places at = places(d);
    scratch_back s;
    lay_out_back(d, scratch, &s);
    stack(in, dk, s.rows.kq);
    k->gemm(2 * n, n, dk, s.rows.kq, dk, 1, rows, pad, IL_LANES, s.rows.s, pad, 0);
    memset(s.dkq, 0, 2 * (size_t)n * row);
    for (int i = 0; i < d->values; i++) {
        ptrdiff_t from = (ptrdiff_t)i * dk * dv;
        head_back h = {.n = n,
                       .committed = committed,
                       .carry = carry + from,
                       .keep = rows + at.keep + i * pad,
                       .rate = rows + at.rate + i * pad,
                       .u = rows + at.u + (size_t)i * at.u_head,
                       .dout = dout + i * dv,
                       .ld_dout = ld_dout,
                       .dS = dcarry + from,
                       .dv = grad->dv + i * dv,
                       .dlog_keep = grad->dlog_keep + i,
                       .drate_in = grad->drate_in + i,
                       .ld = in->ld,
                       .ld_gate = in->ld_gate};
        head_backward(d, &h, &s);
    }
    for (int i = 0; i < n; i++) {
        memcpy(grad->dk + i * in->ld, s.dkq + i * dk, row);
        memcpy(grad->dq + i * in->ld, s.dkq + (n + i) * dk, row);
    }
}
