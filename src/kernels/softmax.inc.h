/* softmax.inc.h (part of isa.c): log-sum-exp, softmax from it, one block of the online softmax of attention, and
 * the gradient of its scores. */

/* The largest of n values times factor, at least `least`. Lanes past n repeat what the lane already has. */
IL_INLINE float row_largest(int n, const float *x, v16 factor, float least) {
    v16 lanes = v16_set1(least);
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 xi = v16_mul(LOAD(x + i, w), factor);                                                                      \
        if (w < 16) xi = v16_first(w, xi, lanes);                                                                      \
        lanes = v16_max(lanes, xi);                                                                                    \
    } while (0)
    EACH16(n, BODY);
#undef BODY
    return v16_largest(lanes);
}

static void log_sum_exp(int rows, int n, const float *x, ptrdiff_t ldx, float *lse) {
    for (; rows > 0; rows--, x += ldx, lse++) {
        float largest = row_largest(n, x, v16_set1(1.0f), -INFINITY);
        v16 shift = v16_set1(largest), lanes = v16_zero();
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 p = v16_exp(v16_sub(LOAD(x + i, w), shift));                                                               \
        if (w < 16) p = v16_first(w, p, v16_zero());                                                                   \
        lanes = v16_add(lanes, p);                                                                                     \
    } while (0)
        EACH16(n, BODY);
#undef BODY
        *lse = (float)((double)largest + log_one((double)v16_sum(lanes)));
    }
}

static void exp_shift(int rows, int n, float *x, ptrdiff_t ldx, const float *lse) {
    for (; rows > 0; rows--, x += ldx, lse++) {
        v16 shift = v16_set1(*lse);
#define BODY(i, w) STORE(x + i, w, v16_exp(v16_sub(LOAD(x + i, w), shift)))
        EACH16(n, BODY);
#undef BODY
    }
}

static void softmax_block(int rows, int n, const int *valid, float factor, float *s, ptrdiff_t lds, float *m, float *l,
                          float *correction) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        float *row = s + r * lds;
        if (valid[r] <= 0) {
            correction[r] = 1.0f;
        } else {
            float largest = row_largest(valid[r], row, factor_, m[r]);
            v16 shift = v16_set1(largest), lanes = v16_zero();
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 p = exp_weight(v16_sub(v16_mul(LOAD(row + i, w), factor_), shift));                                        \
        if (w < 16) p = v16_first(w, p, v16_zero());                                                                   \
        STORE(row + i, w, p);                                                                                          \
        lanes = v16_add(lanes, p);                                                                                     \
    } while (0)
            EACH16(valid[r], BODY);
#undef BODY
            correction[r] = 1.0f;
            if (largest != m[r]) { /* an old largest stays in most blocks of a long text */
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

static void softmax_rows(int rows, int n, const int *valid, float factor, float *s, ptrdiff_t lds, const float *lse) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        float *row = s + r * lds;
        v16 shift = v16_set1(lse[r]);
#define BODY(i, w) STORE(row + i, w, exp_weight(v16_sub(v16_mul(LOAD(row + i, w), factor_), shift)))
        EACH16(valid[r], BODY);
#undef BODY
        for (int i = valid[r]; i < n; i++) row[i] = 0.0f;
    }
}

static void softmax_rows_back(int rows, int n, float factor, const float *p, ptrdiff_t ldp, const float *mean,
                              float *ds, ptrdiff_t ldds) {
    const v16 factor_ = v16_set1(factor);
    EACH_ROW(r, rows) {
        const float *weights = p + r * ldp;
        float *row = ds + r * ldds;
        v16 mean_ = v16_set1(mean[r]);
#define BODY(i, w) STORE(row + i, w, v16_mul(v16_mul(LOAD(weights + i, w), v16_sub(LOAD(row + i, w), mean_)), factor_))
        EACH16(n, BODY);
#undef BODY
    }
}
