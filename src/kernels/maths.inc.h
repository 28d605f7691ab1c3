/* maths.inc.h (included by isa.c): exp, sigmoid, softplus, gelu and their derivatives over 16 lanes, and log of one
 * number, from IEEE add, mul, fma, div alone. NaN comes out NaN; which NaN is not promised. */

/* exp(x) = 2^n e^r, n = round(x / ln 2), |r| ≤ ln(2)/2, for x in -87.3 .. 88. e^r = 1 + r + r² P(r), P of
 * degree 4 fitted for the smallest largest error (0.06 ulp); with the roundings exp is within 1 ulp. Adding
 * and taking away 1.5 * 2^23 rounds to the nearest integer. ln 2 is subtracted in two parts, the first with
 * 15 bits. */
#define EXP_ROUND 12582912.0f
IL_INLINE v16 exp_reduced_(v16 x, v16 *n) {
    const v16 magic = v16_set1(EXP_ROUND);
    *n = v16_sub(v16_fma(x, v16_set1(0x1.715476p+0f), magic), magic);
    v16 r = v16_fnma(*n, v16_set1(0x1.62e4p-1f), x);
    r = v16_fnma(*n, v16_set1(0x1.7f7d1cp-20f), r);
    v16 p = v16_fma(v16_set1(0x1.6d7594p-10f), r, v16_set1(0x1.120ba6p-7f));
    p = v16_fma(p, r, v16_set1(0x1.5554b8p-5f));
    p = v16_fma(p, r, v16_set1(0x1.5554dcp-3f));
    p = v16_fma(p, r, v16_set1(0.5f));
    p = v16_fma(p, r, v16_set1(1.0f));
    return v16_fma(p, r, v16_set1(1.0f));
}
IL_INLINE v16 exp_normal(v16 x) {
    v16 n, p = exp_reduced_(x, &n);
    return v16_mul(p, v16_pow2(n));
}
/* exp(x) for x up to 88, of which what is below e^-60 (9e-27) is 0: a weight of attention that small changes no sum it
 * is in, and one of 1e-38 would make every product it meets a hundred times as slow. */
IL_INLINE v16 exp_weight(v16 x) {
    const v16 least = v16_set1(-60.0f);
    return v16_zero_below(x, least, exp_normal(v16_max(least, x)));
}
/* For every x: above 88.7 infinity, below -104 zero, subnormal results in between, rounded once (2^n in two
 * steps, of which the first is exact). */
IL_INLINE v16 v16_exp(v16 x) {
    x = v16_max(v16_set1(-104.0f), v16_min(v16_set1(89.0f), x));
    v16 n, p = exp_reduced_(x, &n);
    const v16 magic = v16_set1(EXP_ROUND);
    v16 half = v16_sub(v16_fma(n, v16_set1(0.5f), magic), magic);
    return v16_mul(v16_mul(p, v16_pow2(half)), v16_pow2(v16_sub(n, half)));
}

/* The sigmoid of z and that of -z, each with its full relative precision: s = 1/(1+e), 1-s = e s, e =
 * exp(-z). Beyond ±87 they stay at 1 and 1.6e-38. */
IL_INLINE v16 sigmoid_pair(v16 z, v16 *other) {
    v16 e = v16_max(v16_set1(-87.0f), v16_min(v16_set1(87.0f), z));
    e = exp_normal(v16_sub(v16_zero(), e));
    v16 s = v16_div(v16_set1(1.0f), v16_add(v16_set1(1.0f), e));
    *other = v16_mul(e, s);
    return s;
}
IL_INLINE v16 v16_sigmoid(v16 z) {
    v16 other;
    return sigmoid_pair(z, &other);
}

/* gelu(x) = x/2 (1 + tanh(u)), u = 0.79788456 (x + 0.044715 x³), is x σ(z) with z = 2u: the same function,
 * but without the cancellation in 1 + tanh for negative x. x is held at -10 or above, where gelu is -1e-37,
 * and for the derivatives also at 10 or below, where they are 1 and 0; so infinities give finite answers. */
#define GELU_2K 1.59576912f
#define GELU_A 0.044715f
IL_INLINE v16 gelu_z_(v16 x, v16 x2) {
    return v16_mul(v16_mul(x, v16_set1(GELU_2K)), v16_fma(x2, v16_set1(GELU_A), v16_set1(1.0f)));
}
typedef struct gelu_terms {
    v16 x, x2, s, c; /* x held to ±10, x², σ(z), 1-σ(z) */
    v16 y;           /* gelu */
    v16 dy;          /* gelu' = s + x s c z' */
    v16 dz, sc;      /* z' = 2k (1 + 3a x²), s c */
} gelu_terms;
IL_INLINE v16 v16_gelu(v16 x) {
    x = v16_max(v16_set1(-10.0f), x);
    return v16_mul(x, v16_sigmoid(gelu_z_(x, v16_mul(x, x))));
}
IL_INLINE gelu_terms v16_gelu_grad(v16 x) {
    gelu_terms g;
    v16 low = v16_max(v16_set1(-10.0f), x);
    g.s = sigmoid_pair(gelu_z_(low, v16_mul(low, low)), &g.c);
    g.y = v16_mul(low, g.s);
    g.x = v16_min(v16_set1(10.0f), low);
    g.x2 = v16_mul(g.x, g.x);
    g.dz = v16_mul(v16_set1(GELU_2K), v16_fma(g.x2, v16_set1(3.0f * GELU_A), v16_set1(1.0f)));
    g.sc = v16_mul(g.s, g.c);
    g.dy = v16_fma(v16_mul(g.x, g.sc), g.dz, g.s);
    return g;
}
/* gelu'' = s c (2 z' + x ((c - s) z'² + z'')), z'' = 12 k a x. */
IL_INLINE v16 v16_gelu_grad2(const gelu_terms *g) {
    v16 inner = v16_mul(v16_sub(g->c, g->s), v16_mul(g->dz, g->dz));
    inner = v16_fma(g->x, v16_set1(6.0f * GELU_2K * GELU_A), inner);
    return v16_mul(g->sc, v16_fma(g->x, inner, v16_add(g->dz, g->dz)));
}

/* silu(x) = x σ(x), x held at -87 or above as gelu's. silu' = s (1 + x (1-s)). */
IL_INLINE v16 v16_silu(v16 x) {
    x = v16_max(v16_set1(-87.0f), x);
    return v16_mul(x, v16_sigmoid(x));
}
IL_INLINE v16 v16_silu_grad(v16 x, v16 *dy) {
    v16 low = v16_max(v16_set1(-87.0f), x), c, s = sigmoid_pair(low, &c);
    *dy = v16_mul(s, v16_fma(v16_min(v16_set1(87.0f), low), c, v16_set1(1.0f)));
    return v16_mul(low, s);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e), e = e^-|x| in 0 .. 1, |x| held at 87. log(1 + e) = 2 atanh(f), f = e / (2 + e)
 * ≤ 1/3, by its series to f^15 (the rest is below 2e-9 of it). */
IL_INLINE v16 v16_softplus(v16 x) {
    const v16 size = v16_max(v16_sub(v16_zero(), x), x);
    const v16 e = exp_normal(v16_max(v16_set1(-87.0f), v16_sub(v16_zero(), size)));
    const v16 f = v16_div(e, v16_add(v16_set1(2.0f), e)), f2 = v16_mul(f, f);
    v16 series = v16_fma(f2, v16_set1(1.0f / 15), v16_set1(1.0f / 13));
    series = v16_fma(series, f2, v16_set1(1.0f / 11));
    series = v16_fma(series, f2, v16_set1(1.0f / 9));
    series = v16_fma(series, f2, v16_set1(1.0f / 7));
    series = v16_fma(series, f2, v16_set1(1.0f / 5));
    series = v16_fma(series, f2, v16_set1(1.0f / 3));
    series = v16_fma(v16_mul(series, f2), f, f);
    return v16_fma(v16_set1(2.0f), series, v16_max(v16_zero(), x));
}

/* log of one number, in double: x = 2^k m, m in √½ .. √2, log m = 2 atanh(f), f = (m-1)/(m+1), |f| ≤ 0.1716,
 * by its series to f¹³ (the rest is below 1e-12). */
static double log_one(double x) {
    if (!(x > 0)) return x == 0 ? -INFINITY : x - x + (x < 0 ? NAN : 0);
    if (x - x != 0) return x; /* infinite */
    uint64_t bits;
    int k = 0;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    k += (int)(bits >> 52) - 1023;
    bits = (bits & 0xFFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        k++;
    }
    double f = (m - 1) / (m + 1), f2 = f * f, series = 0;
    for (int i = 13; i >= 1; i -= 2) series = series * f2 + 1.0 / i;
    return 2 * f * series + (double)k * 0.6931471805599453;
}
