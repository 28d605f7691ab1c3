/* norms.inc.h (part of isa.c): rms and layer norms, the gradient of the inner loss, and the backward of each,
 * standing next to it. A row is walked several times; what a walk needs again it computes again: rows are
 * short and in cache. */

#define EACH_ROW(r, rows) for (ptrdiff_t r = 0; r < (rows); r++)

static void add_bias(int rows, int n, const float *bias, float *y, ptrdiff_t ld) {
    EACH_ROW(r, rows) add((size_t)n, bias, y + r * ld, y + r * ld);
}

/* 1 / sqrt(mean(x²) + eps) */
IL_INLINE float inverse_rms(int n, const float *x, float eps) {
    v16 lanes = v16_zero();
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 xi = LOAD(x + i, w);                                                                                       \
        lanes = v16_fma(xi, xi, lanes);                                                                                \
    } while (0)
    EACH16(n, BODY);
#undef BODY
    return 1.0f / sqrtf(v16_sum(lanes) / (float)n + eps);
}

static void rms_norm(int rows, int n, const float *x, ptrdiff_t ldx, const float *weight, float eps, float *y,
                     ptrdiff_t ldy) {
    for (; rows > 0; rows--, x += ldx, y += ldy) {
        v16 inverse = v16_set1(inverse_rms(n, x, eps));
#define BODY(i, w) STORE(y + i, w, v16_mul(LOAD(weight + i, w), v16_mul(LOAD(x + i, w), inverse)))
        EACH16(n, BODY);
#undef BODY
    }
}

/* r = 1/sqrt(mean(x²) + eps), h = dy w:  dx = r (h - x r² mean(h x)),  dw += dy x r. */
static void rms_norm_back(int rows, int n, const float *x, ptrdiff_t ldx, const float *weight, float eps,
                          const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add_to, float *dw) {
    for (; rows > 0; rows--, x += ldx, dy += ldy, dx += lddx) {
        float r = inverse_rms(n, x, eps);
        v16 lanes = v16_zero();
#define BODY(i, w) lanes = v16_fma(v16_mul(LOAD(dy + i, w), LOAD(weight + i, w)), LOAD(x + i, w), lanes)
        EACH16(n, BODY);
#undef BODY
        v16 inverse = v16_set1(r), pull = v16_set1(v16_sum(lanes) / (float)n * r * r);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 xi = LOAD(x + i, w), gi = LOAD(dy + i, w);                                                                 \
        v16 di = v16_mul(inverse, v16_fnma(xi, pull, v16_mul(gi, LOAD(weight + i, w))));                               \
        STORE(dw + i, w, v16_fma(gi, v16_mul(xi, inverse), LOAD(dw + i, w)));                                          \
        if (add_to) di = v16_add(LOAD(dx + i, w), di);                                                                 \
        STORE(dx + i, w, di);                                                                                          \
    } while (0)
        EACH16(n, BODY);
#undef BODY
    }
}

/* The mean, and 1 / sqrt(var + eps) from a second walk over x - mean. Lanes past n must not count: x - mean
 * is not 0 there. */
IL_INLINE float mean_and_inverse(int n, const float *x, float eps, float *inverse) {
    float mean = sum((size_t)n, x) / (float)n;
    v16 lanes = v16_zero(), shift = v16_set1(mean);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 d = v16_sub(LOAD(x + i, w), shift);                                                                        \
        if (w < 16) d = v16_first(w, d, v16_zero());                                                                   \
        lanes = v16_fma(d, d, lanes);                                                                                  \
    } while (0)
    EACH16(n, BODY);
#undef BODY
    *inverse = 1.0f / sqrtf(v16_sum(lanes) / (float)n + eps);
    return mean;
}

static void layer_norm(int rows, int n, const float *x, ptrdiff_t ldx, const float *gamma, const float *beta, float eps,
                       float *y, ptrdiff_t ldy, float *xhat, ptrdiff_t ld_xhat, float *inv_std) {
    EACH_ROW(r, rows) {
        const float *xr = x + r * ldx;
        float *yr = y + r * ldy, *keep = xhat ? xhat + r * ld_xhat : NULL, inverse_;
        v16 mean = v16_set1(mean_and_inverse(n, xr, eps, &inverse_)), inverse = v16_set1(inverse_);
        if (inv_std) inv_std[r] = inverse_;
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 h = v16_mul(v16_sub(LOAD(xr + i, w), mean), inverse);                                                      \
        if (keep) STORE(keep + i, w, h);                                                                               \
        STORE(yr + i, w, v16_fma(h, LOAD(gamma + i, w), LOAD(beta + i, w)));                                           \
    } while (0)
        EACH16(n, BODY);
#undef BODY
    }
}

/* h = dy γ:  dx = inv_std (h - mean(h) - xhat mean(h xhat)),  dγ += dy xhat,  dβ += dy. */
static void layer_norm_back(int rows, int n, const float *xhat, ptrdiff_t ld_xhat, const float *inv_std,
                            const float *gamma, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx,
                            float *dgamma, float *dbeta) {
    EACH_ROW(r, rows) {
        const float *hr = xhat + r * ld_xhat, *gr = dy + r * ldy;
        float *out = dx + r * lddx;
        v16 plain = v16_zero(), along = v16_zero();
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 h = v16_mul(LOAD(gr + i, w), LOAD(gamma + i, w));                                                          \
        plain = v16_add(plain, h);                                                                                     \
        along = v16_fma(h, LOAD(hr + i, w), along);                                                                    \
    } while (0)
        EACH16(n, BODY);
#undef BODY
        v16 mean_h = v16_set1(v16_sum(plain) / (float)n), mean_hx = v16_set1(v16_sum(along) / (float)n);
        v16 inverse = v16_set1(inv_std[r]);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 g = LOAD(gr + i, w), xh = LOAD(hr + i, w);                                                                 \
        v16 h = v16_mul(g, LOAD(gamma + i, w));                                                                        \
        STORE(dgamma + i, w, v16_fma(g, xh, LOAD(dgamma + i, w)));                                                     \
        STORE(dbeta + i, w, v16_add(LOAD(dbeta + i, w), g));                                                           \
        STORE(out + i, w, v16_mul(inverse, v16_fnma(xh, mean_hx, v16_sub(h, mean_h))));                                \
    } while (0)
        EACH16(n, BODY);
#undef BODY
    }
}

/* e = (xhat γ + β - T) γ */
IL_INLINE v16 loss_slope(v16 xhat, v16 gamma, v16 beta, v16 target) {
    return v16_mul(v16_sub(v16_fma(xhat, gamma, beta), target), gamma);
}

static void ln_loss_grad(int rows, int n, const float *z, ptrdiff_t ldz, const float *target, ptrdiff_t ld_target,
                         const float *gamma, const float *beta, float eps, float *g, ptrdiff_t ldg, float *xhat,
                         float *e, float *inv_std) {
    EACH_ROW(r, rows) {
        const float *zr = z + r * ldz, *tr = target + r * ld_target;
        float *gr = g + r * ldg, *keep_xhat = xhat ? xhat + r * ldg : NULL, *keep_e = e ? e + r * ldg : NULL;
        float inverse_;
        v16 mean = v16_set1(mean_and_inverse(n, zr, eps, &inverse_)), inverse = v16_set1(inverse_);
        v16 plain = v16_zero(), along = v16_zero();
        if (inv_std) inv_std[r] = inverse_;
            /* γ is loaded as 0 past n, so e is 0 there (unless mean or inverse is not finite: then all of g
             * is NaN). */
#define PARTS(i, w)                                                                                                    \
    v16 h = v16_mul(v16_sub(LOAD(zr + i, w), mean), inverse);                                                          \
    v16 slope = loss_slope(h, LOAD(gamma + i, w), LOAD(beta + i, w), LOAD(tr + i, w))
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        PARTS(i, w);                                                                                                   \
        plain = v16_add(plain, slope);                                                                                 \
        along = v16_fma(slope, h, along);                                                                              \
    } while (0)
        EACH16(n, BODY);
#undef BODY
        v16 mean_e = v16_set1(v16_sum(plain) / (float)n), mean_ex = v16_set1(v16_sum(along) / (float)n);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        PARTS(i, w);                                                                                                   \
        if (keep_xhat) STORE(keep_xhat + i, w, h);                                                                     \
        if (keep_e) STORE(keep_e + i, w, slope);                                                                       \
        STORE(gr + i, w, v16_mul(v16_fnma(h, mean_ex, v16_sub(slope, mean_e)), inverse));                              \
    } while (0)
        EACH16(n, BODY);
#undef BODY
#undef PARTS
    }
}

/* With r = inv_std, q = e - mean(e) - xhat mean(e xhat), so g = q r, and u = dg r:
 *   de    = u - mean(u) - xhat mean(u xhat)
 *   dxhat = de γ² - u mean(e xhat) - e mean(u xhat)
 *   dz    = r (dxhat - mean(dxhat) - xhat (mean(dxhat xhat) + mean(u q)))       the last mean: r itself
 * depends on z dT = -de γ;  dβ += de γ;  dγ += de (xhat γ + (xhat γ + β - T)) */
static void ln_loss_grad_back(int rows, int n, const float *xhat, const float *e, const float *inv_std, ptrdiff_t ld,
                              const float *target, ptrdiff_t ld_target, const float *gamma, const float *beta,
                              const float *dg, ptrdiff_t ldg, float *dz, float *dtarget, float *dgamma, float *dbeta) {
    EACH_ROW(r, rows) {
        const float *hr = xhat + r * ld, *er = e + r * ld, *gr = dg + r * ldg, *tr = target + r * ld_target;
        float *zr = dz + r * ldg, *out_t = dtarget + r * ldg;
        const float count = (float)n;
        const v16 inverse = v16_set1(inv_std[r]);
        v16 sum_e = v16_zero(), sum_ex = v16_zero(), sum_u = v16_zero(), sum_ux = v16_zero();
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 h = LOAD(hr + i, w), ei = LOAD(er + i, w), u = v16_mul(LOAD(gr + i, w), inverse);                          \
        sum_e = v16_add(sum_e, ei);                                                                                    \
        sum_ex = v16_fma(ei, h, sum_ex);                                                                               \
        sum_u = v16_add(sum_u, u);                                                                                     \
        sum_ux = v16_fma(u, h, sum_ux);                                                                                \
    } while (0)
        EACH16(n, BODY);
#undef BODY
        const v16 mean_e = v16_set1(v16_sum(sum_e) / count), mean_ex = v16_set1(v16_sum(sum_ex) / count);
        const v16 mean_u = v16_set1(v16_sum(sum_u) / count), mean_ux = v16_set1(v16_sum(sum_ux) / count);
        v16 sum_d = v16_zero(), sum_dx = v16_zero(), sum_uq = v16_zero();
#define PARTS(i, w)                                                                                                    \
    v16 h = LOAD(hr + i, w), ei = LOAD(er + i, w), u = v16_mul(LOAD(gr + i, w), inverse);                              \
    v16 scale_ = LOAD(gamma + i, w);                                                                                   \
    v16 de = v16_fnma(h, mean_ux, v16_sub(u, mean_u));                                                                 \
    v16 dh = v16_fnma(ei, mean_ux, v16_fnma(u, mean_ex, v16_mul(de, v16_mul(scale_, scale_))))
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        PARTS(i, w);                                                                                                   \
        v16 q = v16_fnma(h, mean_ex, v16_sub(ei, mean_e));                                                             \
        sum_d = v16_add(sum_d, dh);                                                                                    \
        sum_dx = v16_fma(dh, h, sum_dx);                                                                               \
        sum_uq = v16_fma(u, q, sum_uq);                                                                                \
    } while (0)
        EACH16(n, BODY);
#undef BODY
        const v16 mean_d = v16_set1(v16_sum(sum_d) / count);
        const v16 pull = v16_set1(v16_sum(sum_dx) / count + v16_sum(sum_uq) / count);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        PARTS(i, w);                                                                                                   \
        v16 scaled = v16_mul(h, scale_), dy = v16_mul(de, scale_);                                                     \
        v16 error = v16_sub(v16_fma(h, scale_, LOAD(beta + i, w)), LOAD(tr + i, w));                                   \
        STORE(dgamma + i, w, v16_fma(de, v16_add(scaled, error), LOAD(dgamma + i, w)));                                \
        STORE(dbeta + i, w, v16_add(LOAD(dbeta + i, w), dy));                                                          \
        STORE(out_t + i, w, v16_sub(v16_zero(), dy));                                                                  \
        STORE(zr + i, w, v16_mul(inverse, v16_fnma(h, pull, v16_sub(dh, mean_d))));                                    \
    } while (0)
        EACH16(n, BODY);
#undef BODY
#undef PARTS
    }
}

static void row_dot(int rows, int n, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float *out) {
    EACH_ROW(r, rows) {
        v16 lanes = v16_zero();
#define BODY(i, w) lanes = v16_fma(LOAD(a + r * lda + i, w), LOAD(b + r * ldb + i, w), lanes)
        EACH16(n, BODY);
#undef BODY
        out[r] = v16_sum(lanes);
    }
}
