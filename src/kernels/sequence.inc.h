/* sequence.inc.h (part of isa.c): what looks along time: rotary positions and the depthwise causal
 * convolution. */

/* Lanes 0 1 of a pair: a cos - b sin, b cos + a sin: x cos + swap(x) (∓ sin). */
static void rope(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine,
                 ptrdiff_t ld_table, int inverse) {
    static const float turn[17] = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
    const v16 sign = v16_load(turn + (inverse ? 1 : 0));
    for (; rows > 0; rows--, x += ldx, cosine += ld_table, sine += ld_table) {
        for (int i = 0; i < n; i += 16) {
            int w = n - i < 16 ? n - i : 16;
            v16 c, s, xi;
            if (w < 16) {
                float last_c[8] = {0}, last_s[8] = {0};
                memcpy(last_c, cosine + i / 2, (size_t)(w / 2) * sizeof(float));
                memcpy(last_s, sine + i / 2, (size_t)(w / 2) * sizeof(float));
                c = v16_load_twice(last_c);
                s = v16_load_twice(last_s);
            } else {
                c = v16_load_twice(cosine + i / 2);
                s = v16_load_twice(sine + i / 2);
            }
            xi = LOAD(x + i, w);
            STORE(x + i, w, v16_fma(xi, c, v16_mul(v16_swap(xi), v16_mul(s, sign))));
        }
    }
}

static void rope_half(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine,
                      ptrdiff_t ld_table, int inverse) {
    const v16 sign = v16_set1(inverse ? -1.0f : 1.0f);
    for (; rows > 0; rows--, x += ldx, cosine += ld_table, sine += ld_table) {
        float *first = x, *second = x + n / 2;
#define BODY(i, w)                                                                                           \
    do {                                                                                                     \
        v16 a = LOAD(first + i, w), b = LOAD(second + i, w);                                                 \
        v16 c = LOAD(cosine + i, w), s = v16_mul(LOAD(sine + i, w), sign);                                   \
        STORE(first + i, w, v16_fnma(b, s, v16_mul(a, c)));                                                  \
        STORE(second + i, w, v16_fma(a, s, v16_mul(b, c)));                                                  \
    } while (0)
        EACH16(n / 2, BODY);
#undef BODY
    }
}

/* 16 numbers a stride apart, as the taps of 16 channels lie on disk, and back. */
IL_INLINE v16 load_strided(const float *p, int count, ptrdiff_t stride) {
    float lanes[16] = {0};
    for (int i = 0; i < count; i++) lanes[i] = p[i * stride];
    return v16_load(lanes);
}
IL_INLINE void store_strided(float *p, int count, ptrdiff_t stride, v16 a) {
    float lanes[16];
    v16_store(lanes, a);
    for (int i = 0; i < count; i++) p[i * stride] = lanes[i];
}

/* Taps whose weights are gathered once for all rows; further ones are gathered at each use. */
enum { TAPS_KEPT = 8 };

/* Row t of the input, of which rows before 0 are history's last. */
IL_INLINE const float *conv_input(int t, int n, int taps, const float *x, ptrdiff_t ldx,
                                  const float *history) {
    return t >= 0 ? x + t * ldx : history + (ptrdiff_t)(t + taps - 1) * n;
}

static void conv(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history,
                 const float *weight, const float *bias, float *y, ptrdiff_t ldy, int add_to) {
    for (int i = 0; i < n; i += 16) {
        const int w = n - i < 16 ? n - i : 16, kept = taps < TAPS_KEPT ? taps : TAPS_KEPT;
        const float *own = weight + (ptrdiff_t)i * taps;
        const v16 shift = LOAD(bias + i, w);
        v16 tap[TAPS_KEPT];
        for (int k = 0; k < kept; k++) tap[k] = load_strided(own + k, w, taps);
        for (int t = 0; t < rows; t++) {
            v16 acc = v16_zero();
            for (int k = 0; k < taps; k++) {
                const float *from = conv_input(t - (taps - 1) + k, n, taps, x, ldx, history) + i;
                acc = v16_fma(k < kept ? tap[k] : load_strided(own + k, w, taps), LOAD(from, w), acc);
            }
            acc = v16_add(acc, shift);
            float *to = y + t * ldy + i;
            if (add_to) acc = v16_add(LOAD(to, w), acc);
            STORE(to, w, acc);
        }
    }
}

/* dx[j] = sum_k w[k] dy[j + taps-1 - k], k ascending;  dw[k] += sum_t dy[t] x[t - (taps-1) + k];  dbias +=
 * sum_t dy[t]. */
static void conv_back(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history,
                      const float *weight, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx,
                      int add_to, float *dw, float *dbias) {
    for (int i = 0; i < n; i += 16) {
        const int w = n - i < 16 ? n - i : 16, kept = taps < TAPS_KEPT ? taps : TAPS_KEPT;
        const float *own = weight + (ptrdiff_t)i * taps;
        v16 tap[TAPS_KEPT];
        for (int k = 0; k < kept; k++) tap[k] = load_strided(own + k, w, taps);
        for (int k = 0; k < taps; k++) {
            float *slot = dw + (ptrdiff_t)i * taps + k;
            v16 acc = load_strided(slot, w, taps);
            for (int t = 0; t < rows; t++) {
                const float *from = conv_input(t - (taps - 1) + k, n, taps, x, ldx, history) + i;
                acc = v16_fma(LOAD(dy + t * ldy + i, w), LOAD(from, w), acc);
            }
            store_strided(slot, w, taps, acc);
        }
        v16 shift = LOAD(dbias + i, w);
        for (int t = 0; t < rows; t++) shift = v16_add(shift, LOAD(dy + t * ldy + i, w));
        STORE(dbias + i, w, shift);
        for (int j = 0; j < rows; j++) {
            v16 acc = v16_zero();
            for (int k = 0; k < taps; k++) {
                int t = j + taps - 1 - k;
                if (t >= rows) continue;
                acc = v16_fma(k < kept ? tap[k] : load_strided(own + k, w, taps), LOAD(dy + t * ldy + i, w),
                              acc);
            }
            float *to = dx + j * lddx + i;
            if (add_to) acc = v16_add(LOAD(to, w), acc);
            STORE(to, w, acc);
        }
    }
}
