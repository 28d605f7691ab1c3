/* softmax.inc.h (included by isa.c): log-sum-exp, softmax from it, the online softmax of attention by key blocks, and
 * the gradient of its scores. */

/* Lanes past n repeat what the lane already has. */
IL_STEP void largest_step(size_t i, int w, const float *x, v16 factor, v16 *lanes) {
    v16 xi = v16_mul(load(x + i, w), factor);
    if (w < 16) xi = v16_first(w, xi, *lanes);
    *lanes = v16_max(*lanes, xi);
}

/* The largest of n values times factor, at least `least`. */
IL_INLINE float row_largest(int n, const float *x, v16 factor, float least) {
    v16 lanes = v16_set1(least);
    EACH16(n, largest_step, x, factor, &lanes);
    return v16_largest(lanes);
}

IL_STEP void exp_sum_step(size_t i, int w, const float *x, v16 shift, v16 *lanes) {
    v16 p = v16_exp(v16_sub(load(x + i, w), shift));
    if (w < 16) p = v16_first(w, p, v16_zero());
    *lanes = v16_add(*lanes, p);
}

static void log_sum_exp(int rows, int n, const float *x, ptrdiff_t ldx, float *lse) {
    for (; rows > 0; rows--, x += ldx, lse++) {
        const float largest = row_largest(n, x, v16_set1(1.0f), -INFINITY);
        const v16 shift = v16_set1(largest);
        v16 lanes = v16_zero();
        EACH16(n, exp_sum_step, x, shift, &lanes);
        *lse = (float)((double)largest + log_one((double)v16_sum(lanes)));
    }
}

IL_STEP void exp_shift_step(size_t i, int w, v16 shift, float *x) {
    store(x + i, w, v16_exp(v16_sub(load(x + i, w), shift)));
}

static void exp_shift(int rows, int n, float *x, ptrdiff_t ldx, const float *lse) {
    for (; rows > 0; rows--, x += ldx, lse++) {
        const v16 shift = v16_set1(*lse);
        EACH16(n, exp_shift_step, shift, x);
    }
}

typedef uint64_t doubles_bits __attribute__((vector_size(DOUBLES * 8)));
typedef uint32_t floats_bits __attribute__((vector_size(DOUBLES * 4)));

/* The operations of il_exp_d (base/maths.c) without its branches, on DOUBLES of x. floor is rounding to a whole number
 * by an addition, less 1 where that was upwards; and 2^k, one factor because it is in range, is k as the last bits of a
 * double, moved to where the exponent is. */
static void draw_weights_step(float *x, double top, double temperature, double least, float smallest) {
    static const double c[] = {1.0 / 479001600.0,
                               1.0 / 39916800.0,
                               1.0 / 3628800.0,
                               1.0 / 362880.0,
                               1.0 / 40320.0,
                               1.0 / 5040.0,
                               1.0 / 720.0,
                               1.0 / 120.0,
                               1.0 / 24.0,
                               1.0 / 6.0,
                               0.5};
    const doubles zero = {0};
    floats in;
    memcpy(&in, x, sizeof in);
    doubles quotient = (__builtin_convertvector(in, doubles) - top) / temperature;
    doubles_bits counts = (doubles_bits)(quotient >= least);
    doubles q = (doubles)((doubles_bits)quotient & counts);
    doubles scaled = q * 0x1.71547652b82fep+0 + 0.5, k = (scaled + 0x1.8p52) - 0x1.8p52;
    k -= (doubles)((doubles_bits)(zero + 1) & (doubles_bits)(k > scaled));
    doubles hi = q - k * 0x1.62e42feep-1, lo = k * 0x1.a39ef35793c76p-33, r = hi - lo;
    doubles p = zero + 1.0 / 6227020800.0;
    for (unsigned i = 0; i < sizeof c / sizeof *c; i++) p = p * r + c[i];
    doubles power = (doubles)((doubles_bits)(k + (0x1p52 + 1023)) << 52);
    doubles weight = (1.0 + (r + ((hi - r) - lo) + r * r * p)) * power;
    floats out = __builtin_convertvector((doubles)((doubles_bits)weight & counts), floats);
    out = (floats)((floats_bits)out & (floats_bits)(out >= smallest));
    memcpy(x, &out, sizeof out);
}

static void draw_weights(int n, float *x, double top, double temperature, double least, float smallest) {
    int i = 0;
    for (; i + DOUBLES <= n; i += DOUBLES) draw_weights_step(x + i, top, temperature, least, smallest);
    if (i == n) return;
    float rest[DOUBLES];
    for (int j = 0; j < DOUBLES; j++) rest[j] = i + j < n ? x[i + j] : (float)top;
    draw_weights_step(rest, top, temperature, least, smallest);
    memcpy(x + i, rest, (size_t)(n - i) * sizeof *x);
}

IL_STEP v16 softmax_weight(const float *s, int w, v16 factor, v16 shift) {
    return exp_weight(v16_sub(v16_mul(load(s, w), factor), shift));
}
IL_STEP void softmax_key_block_step(size_t i, int w, v16 factor, v16 shift, float *s, v16 *lanes) {
    v16 p = softmax_weight(s + i, w, factor, shift);
    if (w < 16) p = v16_first(w, p, v16_zero());
    store(s + i, w, p);
    *lanes = v16_add(*lanes, p);
}

static void softmax_key_block(int rows, int n, const int *valid, float factor, float *s, ptrdiff_t lds, float *m,
                              float *l, float *correction) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        float *row = s + r * lds;
        if (valid[r] <= 0) {
            correction[r] = 1.0f;
        } else {
            const float largest = row_largest(valid[r], row, factor_, m[r]);
            const v16 shift = v16_set1(largest);
            v16 lanes = v16_zero();
            EACH16(valid[r], softmax_key_block_step, factor_, shift, row, &lanes);
            correction[r] = 1.0f;
            if (largest != m[r]) { /* an old largest stays in most key blocks of a long text */
                float moved[16];
                v16_store(moved, exp_weight(v16_sub(v16_set1(m[r]), shift)));
                correction[r] = moved[0];
            }
            l[r] = l[r] * correction[r] + v16_sum(lanes);
            m[r] = largest;
        }
        for (int i = valid[r] > 0 ? valid[r] : 0; i < n; i++) row[i] = 0.0f;
    }
}

IL_STEP void softmax_step(size_t i, int w, v16 factor, v16 shift, float *s) {
    store(s + i, w, softmax_weight(s + i, w, factor, shift));
}

static void softmax_rows(int rows, int n, const int *valid, float factor, float *s, ptrdiff_t lds, const float *lse) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        float *row = s + r * lds;
        const v16 shift = v16_set1(lse[r]);
        EACH16(valid[r], softmax_step, factor_, shift, row);
        for (int i = valid[r]; i < n; i++) row[i] = 0.0f;
    }
}

IL_STEP void softmax_back_step(size_t i, int w, const float *p, v16 mean, v16 factor, float *ds) {
    store(ds + i, w, v16_mul(v16_mul(load(p + i, w), v16_sub(load(ds + i, w), mean)), factor));
}

static void softmax_rows_back(int rows, int n, float factor, const float *p, ptrdiff_t ldp, const float *mean,
                              float *ds, ptrdiff_t ldds) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        const float *weights = p + r * ldp;
        float *row = ds + r * ldds;
        const v16 mean_ = v16_set1(mean[r]);
        EACH16(n, softmax_back_step, weights, mean_, factor_, row);
    }
}
