/* elementwise.inc.h (part of isa.c): maps over n values, whole-array sums, the optimizer's step, bfloat16. */

/* EACH16 runs BODY(i, 16) for whole vectors and BODY(i, rest) for the rest; LOAD and STORE inside take the
 * count. */
#define LOAD(p, count) ((count) < 16 ? v16_load_n(p, count) : v16_load(p))
#define STORE(p, count, v)                                                                                             \
    do {                                                                                                               \
        if ((count) < 16)                                                                                              \
            v16_store_n(p, count, v);                                                                                  \
        else                                                                                                           \
            v16_store(p, v);                                                                                           \
    } while (0)
#define EACH16(n, BODY)                                                                                                \
    do {                                                                                                               \
        size_t i_ = 0;                                                                                                 \
        for (; i_ + 16 <= (size_t)(n); i_ += 16) BODY(i_, 16);                                                         \
        if (i_ < (size_t)(n)) BODY(i_, (int)((size_t)(n)-i_));                                                         \
    } while (0)

static void add(size_t n, const float *a, const float *b, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_add(LOAD(a + i, w), LOAD(b + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void axpy(size_t n, float s, const float *x, float *y) {
    v16 factor = v16_set1(s);
#define BODY(i, w) STORE(y + i, w, v16_fma(factor, LOAD(x + i, w), LOAD(y + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void scale(size_t n, float s, const float *x, float *y) {
    v16 factor = v16_set1(s);
#define BODY(i, w) STORE(y + i, w, v16_mul(factor, LOAD(x + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void mul(size_t n, const float *a, const float *b, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_mul(LOAD(a + i, w), LOAD(b + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void sigmoid(size_t n, const float *x, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_sigmoid(LOAD(x + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void gelu(size_t n, const float *x, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_gelu(LOAD(x + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void gelu_grad(size_t n, const float *x, float *y, float *dy) {
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        gelu_parts g = v16_gelu_grad(LOAD(x + i, w));                                                                  \
        if (y) STORE(y + i, w, g.y);                                                                                   \
        STORE(dy + i, w, g.dy);                                                                                        \
    } while (0)
    EACH16(n, BODY);
#undef BODY
}

static void gelu_grad2(size_t n, const float *x, float *dy, float *ddy) {
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        gelu_parts g = v16_gelu_grad(LOAD(x + i, w));                                                                  \
        STORE(dy + i, w, g.dy);                                                                                        \
        STORE(ddy + i, w, v16_gelu_grad2(&g));                                                                         \
    } while (0)
    EACH16(n, BODY);
#undef BODY
}

static void silu_mul(size_t n, const float *x, const float *u, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_mul(v16_silu(LOAD(x + i, w)), LOAD(u + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void silu_mul_back(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du) {
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 slope, silu = v16_silu_grad(LOAD(x + i, w), &slope);                                                       \
        v16 grad = LOAD(dy + i, w), other = LOAD(u + i, w);                                                            \
        STORE(dx + i, w, v16_mul(v16_mul(grad, other), slope));                                                        \
        STORE(du + i, w, v16_mul(grad, silu));                                                                         \
    } while (0)
    EACH16(n, BODY);
#undef BODY
}

static void gelu_mul(size_t n, const float *x, const float *u, float *y) {
#define BODY(i, w) STORE(y + i, w, v16_mul(v16_gelu(LOAD(x + i, w)), LOAD(u + i, w)))
    EACH16(n, BODY);
#undef BODY
}

static void gelu_mul_back(size_t n, const float *x, const float *u, const float *dy, float *dx, float *du) {
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        gelu_parts g = v16_gelu_grad(LOAD(x + i, w));                                                                  \
        v16 grad = LOAD(dy + i, w), other = LOAD(u + i, w);                                                            \
        STORE(dx + i, w, v16_mul(v16_mul(grad, other), g.dy));                                                         \
        STORE(du + i, w, v16_mul(grad, g.y));                                                                          \
    } while (0)
    EACH16(n, BODY);
#undef BODY
}

static float sum(size_t n, const float *x) {
    v16 lanes = v16_zero();
#define BODY(i, w) lanes = v16_add(lanes, LOAD(x + i, w))
    EACH16(n, BODY);
#undef BODY
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
static int all_finite(size_t n, const float *x) {
    v16 lanes = v16_zero();
#define BODY(i, w) lanes = v16_fma(LOAD(x + i, w), v16_zero(), lanes)
    EACH16(n, BODY);
#undef BODY
    return v16_sum(lanes) == 0.0f;
}

static void adamw(size_t n, float *p, const float *g, float *m, float *v, float clip, float lr, float b1, float b2,
                  float inv_c1, float inv_c2, float eps, float wd) {
    const v16 clip_ = v16_set1(clip), lr_ = v16_set1(lr), b1_ = v16_set1(b1), b2_ = v16_set1(b2);
    const v16 new1 = v16_set1(1.0f - b1), new2 = v16_set1(1.0f - b2), eps_ = v16_set1(eps), wd_ = v16_set1(wd);
    const v16 c1 = v16_set1(inv_c1), c2 = v16_set1(inv_c2);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 grad = v16_mul(LOAD(g + i, w), clip_), weight = LOAD(p + i, w);                                            \
        v16 first = v16_fma(b1_, LOAD(m + i, w), v16_mul(new1, grad));                                                 \
        v16 second = v16_fma(b2_, LOAD(v + i, w), v16_mul(new2, v16_mul(grad, grad)));                                 \
        v16 step = v16_div(v16_mul(first, c1), v16_add(v16_sqrt(v16_mul(second, c2)), eps_));                          \
        STORE(m + i, w, first);                                                                                        \
        STORE(v + i, w, second);                                                                                       \
        STORE(p + i, w, v16_fnma(lr_, v16_fma(wd_, weight, step), weight));                                            \
    } while (0)
    EACH16(n, BODY);
#undef BODY
}

static void bf16_to_f32(size_t n, const uint16_t *x, float *y) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) v16_store(y + i, v16_load_bf16(x + i));
    for (; i < n; i++) {
        uint32_t bits = (uint32_t)x[i] << 16;
        memcpy(y + i, &bits, sizeof bits);
    }
}

IL_INLINE uint16_t bf16_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t nan = bits >> 16 | 0x40u; /* quiet, so that the mantissa is not empty */
    uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

/* Blocks of a length known beforehand are what compilers turn into vectors. */
static void f32_to_bf16(size_t n, const float *x, uint16_t *y) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (size_t j = 0; j < 64; j++) y[i + j] = bf16_of(x[i + j]);
    for (; i < n; i++) y[i] = bf16_of(x[i]);
}
