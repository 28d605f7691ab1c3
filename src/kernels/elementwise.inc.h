/* elementwise.inc.h (included by isa.c): maps over n values, whole-array sums, the optimizer's step, bfloat16. */

/* The first w numbers of a vector; w is 16 in all vectors but the last, and is constant there once a step is inlined.
 */
IL_STEP v16 load(const float *p, int w) { return w < 16 ? v16_load_n(p, w) : v16_load(p); }
IL_STEP void store(float *p, int w, v16 x) {
    if (w < 16)
        v16_store_n(p, w, x);
    else
        v16_store(p, x);
}

/* Calls STEP(i, w, …) for the vectors of n numbers: i is where one begins, w how many of its lanes count. What steps
 * add up they get as pointers to vectors, which are registers once they are inlined. */
#define EACH16(n, STEP, ...)                                                                                           \
    do {                                                                                                               \
        size_t i_ = 0;                                                                                                 \
        for (; i_ + 16 <= (size_t)(n); i_ += 16) STEP(i_, 16, __VA_ARGS__);                                            \
        if (i_ < (size_t)(n)) STEP(i_, (int)((size_t)(n)-i_), __VA_ARGS__);                                            \
    } while (0)

IL_STEP void add_step(size_t i, int w, const float *a, const float *b, float *y) {
    store(y + i, w, v16_add(load(a + i, w), load(b + i, w)));
}

static void add(size_t n, const float *a, const float *b, float *y) { EACH16(n, add_step, a, b, y); }

IL_STEP void axpy_step(size_t i, int w, v16 s, const float *x, float *y) {
    store(y + i, w, v16_fma(s, load(x + i, w), load(y + i, w)));
}

static void axpy(size_t n, float s, const float *x, float *y) {
    const v16 factor = v16_set1(s);
    EACH16(n, axpy_step, factor, x, y);
}

IL_STEP void scale_step(size_t i, int w, v16 s, const float *x, float *y) {
    store(y + i, w, v16_mul(s, load(x + i, w)));
}

static void scale(size_t n, float s, const float *x, float *y) {
    const v16 factor = v16_set1(s);
    EACH16(n, scale_step, factor, x, y);
}

IL_STEP void mul_step(size_t i, int w, const float *a, const float *b, float *y) {
    store(y + i, w, v16_mul(load(a + i, w), load(b + i, w)));
}

static void mul(size_t n, const float *a, const float *b, float *y) { EACH16(n, mul_step, a, b, y); }

IL_STEP void sigmoid_step(size_t i, int w, const float *x, float *y) { store(y + i, w, v16_sigmoid(load(x + i, w))); }

static void sigmoid(size_t n, const float *x, float *y) { EACH16(n, sigmoid_step, x, y); }

IL_STEP void gelu_step(size_t i, int w, const float *x, float *y) { store(y + i, w, v16_gelu(load(x + i, w))); }

static void gelu(size_t n, const float *x, float *y) { EACH16(n, gelu_step, x, y); }

IL_STEP void gelu_grad_step(size_t i, int w, const float *x, float *y, float *dy) {
    const gelu_terms g = v16_gelu_grad(load(x + i, w));
    if (y) store(y + i, w, g.y);
    store(dy + i, w, g.dy);
}

static void gelu_grad(size_t n, const float *x, float *y, float *dy) { EACH16(n, gelu_grad_step, x, y, dy); }

IL_STEP void gelu_grad2_step(size_t i, int w, const float *x, float *dy, float *ddy) {
    const gelu_terms g = v16_gelu_grad(load(x + i, w));
    store(dy + i, w, g.dy);
    store(ddy + i, w, v16_gelu_grad2(&g));
}

static void gelu_grad2(size_t n, const float *x, float *dy, float *ddy) { EACH16(n, gelu_grad2_step, x, dy, ddy); }

IL_STEP void softplus_step(size_t i, int w, const float *x, float *y) { store(y + i, w, v16_softplus(load(x + i, w))); }

static void softplus(size_t n, const float *x, float *y) { EACH16(n, softplus_step, x, y); }

IL_STEP void silu_step(size_t i, int w, const float *x, float *y) { store(y + i, w, v16_silu(load(x + i, w))); }

static void silu(size_t n, const float *x, float *y) { EACH16(n, silu_step, x, y); }

IL_STEP void silu_back_step(size_t i, int w, const float *x, const float *dy, float *dx) {
    v16 slope;
    v16_silu_grad(load(x + i, w), &slope);
    store(dx + i, w, v16_mul(load(dy + i, w), slope));
}

static void silu_back(size_t n, const float *x, const float *dy, float *dx) { EACH16(n, silu_back_step, x, dy, dx); }

IL_STEP void silu_mul_step(size_t i, int w, const float *x, const float *u, float *y) {
    store(y + i, w, v16_mul(v16_silu(load(x + i, w)), load(u + i, w)));
}

static void silu_mul(size_t n, const float *x, const float *u, float *y) { EACH16(n, silu_mul_step, x, u, y); }

IL_STEP void silu_mul_back_step(size_t i, int w, const float *x, const float *u, const float *dy, float *dx,
                                float *du) {
    v16 slope, silu = v16_silu_grad(load(x + i, w), &slope);
    const v16 grad = load(dy + i, w), other = load(u + i, w);
    store(dx + i, w, v16_mul(v16_mul(grad, other), slope));
    store(du + i, w, v16_mul(grad, silu));
}

static void silu_mul_back(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du) {
    EACH16(n, silu_mul_back_step, x, u, dy, dx, du);
}

IL_STEP void gelu_mul_step(size_t i, int w, const float *x, const float *u, float *y) {
    store(y + i, w, v16_mul(v16_gelu(load(x + i, w)), load(u + i, w)));
}

static void gelu_mul(size_t n, const float *x, const float *u, float *y) { EACH16(n, gelu_mul_step, x, u, y); }

IL_STEP void gelu_mul_back_step(size_t i, int w, const float *x, const float *u, const float *dy, float *dx,
                                float *du) {
    const gelu_terms g = v16_gelu_grad(load(x + i, w));
    const v16 grad = load(dy + i, w), other = load(u + i, w);
    store(dx + i, w, v16_mul(v16_mul(grad, other), g.dy));
    store(du + i, w, v16_mul(grad, g.y));
}

static void gelu_mul_back(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du) {
    EACH16(n, gelu_mul_back_step, x, u, dy, dx, du);
}

IL_STEP void sum_step(size_t i, int w, const float *x, v16 *lanes) { *lanes = v16_add(*lanes, load(x + i, w)); }

static float sum(size_t n, const float *x) {
    v16 lanes = v16_zero();
    EACH16(n, sum_step, x, &lanes);
    return v16_sum(lanes);
}

/* Squares of floats are exact in double. */
static double sum_squares(size_t n, const float *x) {
    double lane[16] = {0};
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) lane[j] += (double)x[i + (size_t)j] * (double)x[i + (size_t)j];
    for (int j = 0; i < n; i++, j++) lane[j] += (double)x[i] * (double)x[i];
    for (int half = 8; half; half /= 2)
        for (int j = 0; j < half; j++) lane[j] += lane[j + half];
    return lane[0];
}

/* x * 0 is ±0 for finite x and NaN for the others. */
IL_STEP void all_finite_step(size_t i, int w, const float *x, v16 *lanes) {
    *lanes = v16_fma(load(x + i, w), v16_zero(), *lanes);
}

static int all_finite(size_t n, const float *x) {
    v16 lanes = v16_zero();
    EACH16(n, all_finite_step, x, &lanes);
    return v16_sum(lanes) == 0.0f;
}

typedef struct adamw_factors {
    v16 clip, lr, b1, b2, new1, new2; /* new1: 1 - b1 */
    v16 inv_c1, inv_c2, eps, wd;
} adamw_factors;

IL_STEP void adamw_step(size_t i, int w, const adamw_factors *f, float *p, const float *g, float *m, float *v) {
    const v16 grad = v16_mul(load(g + i, w), f->clip), weight = load(p + i, w);
    const v16 first = v16_fma(f->b1, load(m + i, w), v16_mul(f->new1, grad));
    const v16 second = v16_fma(f->b2, load(v + i, w), v16_mul(f->new2, v16_mul(grad, grad)));
    const v16 root = v16_sqrt(v16_mul(second, f->inv_c2));
    const v16 step = v16_div(v16_mul(first, f->inv_c1), v16_add(root, f->eps));
    store(m + i, w, first);
    store(v + i, w, second);
    store(p + i, w, v16_fnma(f->lr, v16_fma(f->wd, weight, step), weight));
}

static void adamw(size_t n, float *p, const float *g, float *m, float *v, float clip, float lr, float b1, float b2,
                  float inv_c1, float inv_c2, float eps, float wd) {
    const adamw_factors factors = {.clip = v16_set1(clip),
                                   .lr = v16_set1(lr),
                                   .b1 = v16_set1(b1),
                                   .b2 = v16_set1(b2),
                                   .new1 = v16_set1(1.0f - b1),
                                   .new2 = v16_set1(1.0f - b2),
                                   .inv_c1 = v16_set1(inv_c1),
                                   .inv_c2 = v16_set1(inv_c2),
                                   .eps = v16_set1(eps),
                                   .wd = v16_set1(wd)};
    EACH16(n, adamw_step, &factors, p, g, m, v);
}

IL_INLINE uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t nan = bits >> 16 | 0x40u; /* quiet, so that the mantissa is not empty */
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

/* Loops of a length known beforehand are what compilers turn into vectors. */
static void f32_to_bf16(size_t n, const float *x, uint16_t *y) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 64; j++) y[i + j] = bf16_of(x[i + j]);
    for (; i < n; i++) y[i] = bf16_of(x[i]);
}
