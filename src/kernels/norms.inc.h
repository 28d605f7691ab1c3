/* norms.inc.h (included by isa.c): rms and layer norms, the gradient of the inner loss, and the backward of each,
 * standing next to it. A row is walked several times; what a walk needs again it computes again: rows are
 * short and in cache. */

#define EACH_ROW(r, rows) for (ptrdiff_t r = 0; r < (rows); r++)

static void add_bias(int rows, int n, const float *bias, float *y, ptrdiff_t ld) {
    EACH_ROW(r, rows) add((size_t)n, bias, y + r * ld, y + r * ld);
}

IL_STEP void squares_step(size_t i, int w, const float *x, v16 *lanes) {
    const v16 xi = load(x + i, w);
    *lanes = v16_fma(xi, xi, *lanes);
}

/* 1 / sqrt(mean(x²) + eps) */
IL_INLINE float inverse_rms(int n, const float *x, float eps) {
    v16 lanes = v16_zero();
    EACH16(n, squares_step, x, &lanes);
    return 1.0f / sqrtf(v16_sum(lanes) / (float)n + eps);
}

IL_STEP void rms_norm_step(size_t i, int w, const float *x, const float *weight, v16 inverse, float *y) {
    store(y + i, w, v16_mul(load(weight + i, w), v16_mul(load(x + i, w), inverse)));
}

static void rms_norm(int rows, int n, const float *x, ptrdiff_t ldx, const float *weight, float eps, float *y,
                     ptrdiff_t ldy) {
    for (; rows > 0; rows--, x += ldx, y += ldy) {
        const v16 inverse = v16_set1(inverse_rms(n, x, eps));
        EACH16(n, rms_norm_step, x, weight, inverse, y);
    }
}

/* r = 1/sqrt(mean(x²) + eps), h = dy w:  dx = r (h - x r² mean(h x)),  dw += dy x r. First the sum of h x; then, with
 * inverse r and pull r² mean(h x), the gradients. */
IL_STEP void rms_back_sum(size_t i, int w, const float *x, const float *weight, const float *dy, v16 *lanes) {
    *lanes = v16_fma(v16_mul(load(dy + i, w), load(weight + i, w)), load(x + i, w), *lanes);
}
IL_STEP void rms_back_step(size_t i, int w, const float *x, const float *weight, const float *dy, v16 inverse, v16 pull,
                           float *dx, int add_to, float *dw) {
    const v16 xi = load(x + i, w), gi = load(dy + i, w);
    v16 di = v16_mul(inverse, v16_fnma(xi, pull, v16_mul(gi, load(weight + i, w))));
    store(dw + i, w, v16_fma(gi, v16_mul(xi, inverse), load(dw + i, w)));
    if (add_to) di = v16_add(load(dx + i, w), di);
    store(dx + i, w, di);
}

static void rms_norm_back(int rows, int n, const float *x, ptrdiff_t ldx, const float *weight, float eps,
                          const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add_to, float *dw) {
    for (; rows > 0; rows--, x += ldx, dy += ldy, dx += lddx) {
        const float r = inverse_rms(n, x, eps);
        v16 lanes = v16_zero();
        EACH16(n, rms_back_sum, x, weight, dy, &lanes);
        const v16 inverse = v16_set1(r), pull = v16_set1(v16_sum(lanes) / (float)n * r * r);
        EACH16(n, rms_back_step, x, weight, dy, inverse, pull, dx, add_to, dw);
    }
}

/* Lanes past n must not count: x - mean is not 0 there. */
IL_STEP void variance_step(size_t i, int w, const float *x, v16 mean, v16 *lanes) {
    v16 d = v16_sub(load(x + i, w), mean);
    if (w < 16) d = v16_first(w, d, v16_zero());
    *lanes = v16_fma(d, d, *lanes);
}

/* The mean, and 1 / sqrt(var + eps) from a second walk over x - mean. */
IL_INLINE float mean_and_inverse(int n, const float *x, float eps, float *inverse) {
    const float mean = sum((size_t)n, x) / (float)n;
    const v16 shift = v16_set1(mean);
    v16 lanes = v16_zero();
    EACH16(n, variance_step, x, shift, &lanes);
    *inverse = 1.0f / sqrtf(v16_sum(lanes) / (float)n + eps);
    return mean;
}

IL_STEP void layer_norm_step(size_t i, int w, const float *x, const float *gamma, const float *beta, v16 mean,
                             v16 inverse, float *y, float *xhat) {
    const v16 h = v16_mul(v16_sub(load(x + i, w), mean), inverse);
    if (xhat) store(xhat + i, w, h);
    store(y + i, w, v16_fma(h, load(gamma + i, w), load(beta + i, w)));
}

static void layer_norm(int rows, int n, const float *x, ptrdiff_t ldx, const float *gamma, const float *beta, float eps,
                       float *y, ptrdiff_t ldy, float *xhat, ptrdiff_t ld_xhat, float *inv_std) {
    EACH_ROW(r, rows) {
        const float *xr = x + r * ldx;
        float *yr = y + r * ldy, *keep = xhat ? xhat + r * ld_xhat : NULL, inverse_;
        const v16 mean = v16_set1(mean_and_inverse(n, xr, eps, &inverse_)), inverse = v16_set1(inverse_);
        if (inv_std) inv_std[r] = inverse_;
        EACH16(n, layer_norm_step, xr, gamma, beta, mean, inverse, yr, keep);
    }
}

/* h = dy γ:  dx = inv_std (h - mean(h) - xhat mean(h xhat)),  dγ += dy xhat,  dβ += dy. */
IL_STEP void layer_back_sums(size_t i, int w, const float *xhat, const float *gamma, const float *dy, v16 *sum_h,
                             v16 *sum_hx) {
    const v16 h = v16_mul(load(dy + i, w), load(gamma + i, w));
    *sum_h = v16_add(*sum_h, h);
    *sum_hx = v16_fma(h, load(xhat + i, w), *sum_hx);
}
IL_STEP void layer_back_step(size_t i, int w, const float *xhat, const float *gamma, const float *dy, v16 mean_h,
                             v16 mean_hx, v16 inverse, float *dx, float *dgamma, float *dbeta) {
    const v16 g = load(dy + i, w), xh = load(xhat + i, w);
    const v16 h = v16_mul(g, load(gamma + i, w));
    store(dgamma + i, w, v16_fma(g, xh, load(dgamma + i, w)));
    store(dbeta + i, w, v16_add(load(dbeta + i, w), g));
    store(dx + i, w, v16_mul(inverse, v16_fnma(xh, mean_hx, v16_sub(h, mean_h))));
}

static void layer_norm_back(int rows, int n, const float *xhat, ptrdiff_t ld_xhat, const float *inv_std,
                            const float *gamma, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx,
                            float *dgamma, float *dbeta) {
    EACH_ROW(r, rows) {
        const float *hr = xhat + r * ld_xhat, *gr = dy + r * ldy;
        float *out = dx + r * lddx;
        v16 sum_h = v16_zero(), sum_hx = v16_zero();
        EACH16(n, layer_back_sums, hr, gamma, gr, &sum_h, &sum_hx);
        const v16 mean_h = v16_set1(v16_sum(sum_h) / (float)n), mean_hx = v16_set1(v16_sum(sum_hx) / (float)n);
        const v16 inverse = v16_set1(inv_std[r]);
        EACH16(n, layer_back_step, hr, gamma, gr, mean_h, mean_hx, inverse, out, dgamma, dbeta);
    }
}

/* What one row of ln_loss_grad reads. */
typedef struct loss_row {
    const float *z, *target, *gamma, *beta;
    v16 mean, inverse;
} loss_row;
typedef struct loss_terms {
    v16 xhat, e; /* e = (xhat γ + β - T) γ */
} loss_terms;

/* γ is loaded as 0 past n, so e is 0 there (unless mean or inverse is not finite: then all of g is NaN). */
IL_STEP loss_terms loss_terms_at(size_t i, int w, const loss_row *row) {
    const v16 gamma = load(row->gamma + i, w);
    loss_terms t;
    t.xhat = v16_mul(v16_sub(load(row->z + i, w), row->mean), row->inverse);
    t.e = v16_mul(v16_sub(v16_fma(t.xhat, gamma, load(row->beta + i, w)), load(row->target + i, w)), gamma);
    return t;
}
IL_STEP void loss_grad_sums(size_t i, int w, const loss_row *row, v16 *sum_e, v16 *sum_ex) {
    const loss_terms t = loss_terms_at(i, w, row);
    *sum_e = v16_add(*sum_e, t.e);
    *sum_ex = v16_fma(t.e, t.xhat, *sum_ex);
}
IL_STEP void loss_grad_step(size_t i, int w, const loss_row *row, v16 mean_e, v16 mean_ex, float *g, float *xhat,
                            float *e) {
    const loss_terms t = loss_terms_at(i, w, row);
    if (xhat) store(xhat + i, w, t.xhat);
    if (e) store(e + i, w, t.e);
    store(g + i, w, v16_mul(v16_fnma(t.xhat, mean_ex, v16_sub(t.e, mean_e)), row->inverse));
}

static void ln_loss_grad(int rows, int n, const float *z, ptrdiff_t ldz, const float *target, ptrdiff_t ld_target,
                         const float *gamma, const float *beta, float eps, float *g, ptrdiff_t ldg, float *xhat,
                         float *e, float *inv_std) {
    EACH_ROW(r, rows) {
        float *gr = g + r * ldg, *keep_xhat = xhat ? xhat + r * ldg : NULL, *keep_e = e ? e + r * ldg : NULL;
        float inverse;
        const float mean = mean_and_inverse(n, z + r * ldz, eps, &inverse);
        const loss_row row = {.z = z + r * ldz,
                              .target = target + r * ld_target,
                              .gamma = gamma,
                              .beta = beta,
                              .mean = v16_set1(mean),
                              .inverse = v16_set1(inverse)};
        v16 sum_e = v16_zero(), sum_ex = v16_zero();
        if (inv_std) inv_std[r] = inverse;
        EACH16(n, loss_grad_sums, &row, &sum_e, &sum_ex);
        const v16 mean_e = v16_set1(v16_sum(sum_e) / (float)n), mean_ex = v16_set1(v16_sum(sum_ex) / (float)n);
        EACH16(n, loss_grad_step, &row, mean_e, mean_ex, gr, keep_xhat, keep_e);
    }
}

/* With r = inv_std, q = e - mean(e) - xhat mean(e xhat), so g = q r, and u = dg r:
 *   de    = u - mean(u) - xhat mean(u xhat)
 *   dxhat = de γ² - u mean(e xhat) - e mean(u xhat)
 *   dz    = r (dxhat - mean(dxhat) - xhat (mean(dxhat xhat) + mean(u q)))       the last mean: r itself
 * depends on z dT = -de γ;  dβ += de γ;  dγ += de (xhat γ + (xhat γ + β - T))
 * in three walks over a row: the sums of e and u, those of dxhat and u q, and the outputs. */
typedef struct loss_back_row {
    const float *xhat, *e, *dg, *target, *gamma, *beta;
    v16 inverse;
} loss_back_row;
typedef struct loss_means {
    v16 e, ex, u, ux; /* of e, e xhat, u, u xhat */
} loss_means;
typedef struct loss_back_terms {
    v16 xhat, e, u, gamma, de, dxhat;
} loss_back_terms;

IL_STEP void loss_back_sums(size_t i, int w, const loss_back_row *row, loss_means *sum) {
    const v16 h = load(row->xhat + i, w), e = load(row->e + i, w), u = v16_mul(load(row->dg + i, w), row->inverse);
    sum->e = v16_add(sum->e, e);
    sum->ex = v16_fma(e, h, sum->ex);
    sum->u = v16_add(sum->u, u);
    sum->ux = v16_fma(u, h, sum->ux);
}
IL_STEP void loss_back_terms_at(size_t i, int w, const loss_back_row *row, const loss_means *mean, loss_back_terms *t) {
    t->xhat = load(row->xhat + i, w);
    t->e = load(row->e + i, w);
    t->u = v16_mul(load(row->dg + i, w), row->inverse);
    t->gamma = load(row->gamma + i, w);
    t->de = v16_fnma(t->xhat, mean->ux, v16_sub(t->u, mean->u));
    t->dxhat = v16_mul(t->de, v16_mul(t->gamma, t->gamma));
    t->dxhat = v16_fnma(t->e, mean->ux, v16_fnma(t->u, mean->ex, t->dxhat));
}
IL_STEP void loss_back_more_sums(size_t i, int w, const loss_back_row *row, const loss_means *mean, v16 *sum_d,
                                 v16 *sum_dx, v16 *sum_uq) {
    loss_back_terms t;
    loss_back_terms_at(i, w, row, mean, &t);
    const v16 q = v16_fnma(t.xhat, mean->ex, v16_sub(t.e, mean->e));
    *sum_d = v16_add(*sum_d, t.dxhat);
    *sum_dx = v16_fma(t.dxhat, t.xhat, *sum_dx);
    *sum_uq = v16_fma(t.u, q, *sum_uq);
}
IL_STEP void loss_back_step(size_t i, int w, const loss_back_row *row, const loss_means *mean, v16 mean_d, v16 pull,
                            float *dz, float *dtarget, float *dgamma, float *dbeta) {
    loss_back_terms t;
    loss_back_terms_at(i, w, row, mean, &t);
    const v16 scaled = v16_mul(t.xhat, t.gamma), dy = v16_mul(t.de, t.gamma);
    const v16 error = v16_sub(v16_fma(t.xhat, t.gamma, load(row->beta + i, w)), load(row->target + i, w));
    store(dgamma + i, w, v16_fma(t.de, v16_add(scaled, error), load(dgamma + i, w)));
    store(dbeta + i, w, v16_add(load(dbeta + i, w), dy));
    store(dtarget + i, w, v16_sub(v16_zero(), dy));
    store(dz + i, w, v16_mul(row->inverse, v16_fnma(t.xhat, pull, v16_sub(t.dxhat, mean_d))));
}

static void ln_loss_grad_back(int rows, int n, const float *xhat, const float *e, const float *inv_std, ptrdiff_t ld,
                              const float *target, ptrdiff_t ld_target, const float *gamma, const float *beta,
                              const float *dg, ptrdiff_t ldg, float *dz, float *dtarget, float *dgamma, float *dbeta) {
    const float count = (float)n;
    EACH_ROW(r, rows) {
        const loss_back_row row = {.xhat = xhat + r * ld,
                                   .e = e + r * ld,
                                   .dg = dg + r * ldg,
                                   .target = target + r * ld_target,
                                   .gamma = gamma,
                                   .beta = beta,
                                   .inverse = v16_set1(inv_std[r])};
        float *zr = dz + r * ldg, *out_t = dtarget + r * ldg;
        loss_means sum = {.e = v16_zero(), .ex = v16_zero(), .u = v16_zero(), .ux = v16_zero()};
        EACH16(n, loss_back_sums, &row, &sum);
        const loss_means mean = {.e = v16_set1(v16_sum(sum.e) / count),
                                 .ex = v16_set1(v16_sum(sum.ex) / count),
                                 .u = v16_set1(v16_sum(sum.u) / count),
                                 .ux = v16_set1(v16_sum(sum.ux) / count)};
        v16 sum_d = v16_zero(), sum_dx = v16_zero(), sum_uq = v16_zero();
        EACH16(n, loss_back_more_sums, &row, &mean, &sum_d, &sum_dx, &sum_uq);
        const v16 mean_d = v16_set1(v16_sum(sum_d) / count);
        const v16 pull = v16_set1(v16_sum(sum_dx) / count + v16_sum(sum_uq) / count);
        EACH16(n, loss_back_step, &row, &mean, mean_d, pull, zr, out_t, dgamma, dbeta);
    }
}

IL_STEP void dot_step(size_t i, int w, const float *a, const float *b, v16 *lanes) {
    *lanes = v16_fma(load(a + i, w), load(b + i, w), *lanes);
}

static void row_dot(int rows, int n, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float *out) {
    EACH_ROW(r, rows) {
        const float *ar = a + r * lda, *br = b + r * ldb;
        v16 lanes = v16_zero();
        EACH16(n, dot_step, ar, br, &lanes);
        out[r] = v16_sum(lanes);
    }
}
