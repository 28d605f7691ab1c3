/* sequence.inc.h (part of isa.c): what looks along time: rotary positions and the depthwise causal
 * convolution. */

/* Lanes 0 1 of a pair: a cos - b sin, b cos + a sin: x cos + swap(x) (∓ sin). */
static void rope(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine, ptrdiff_t ld_table,
                 int inverse) {
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
#define BODY(i, w)                                                                                                     \
    do {                                                                                                               \
        v16 a = LOAD(first + i, w), b = LOAD(second + i, w);                                                           \
        v16 c = LOAD(cosine + i, w), s = v16_mul(LOAD(sine + i, w), sign);                                             \
        STORE(first + i, w, v16_fnma(b, s, v16_mul(a, c)));                                                            \
        STORE(second + i, w, v16_fma(a, s, v16_mul(b, c)));                                                            \
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

/* Channels go in stretches of 64, whose taps are gathered once: along a stretch a row is four whole cache
 * lines. */
enum { CONV_VECTORS = 4, CONV_STRETCH = 16 * CONV_VECTORS };
typedef v16 conv_taps[IL_CONV_TAPS_MAX][CONV_VECTORS];

/* Lanes of vector v of a stretch that ends at width. */
static int conv_lanes(int width, int v) { return width - 16 * v < 16 ? width - 16 * v : 16; }

static void conv_taps_load(conv_taps to, int width, int taps, const float *from) {
    for (int v = 0; 16 * v < width; v++)
        for (int k = 0; k < taps; k++)
            to[k][v] = load_strided(from + (ptrdiff_t)16 * v * taps + k, conv_lanes(width, v), taps);
}

/* Row t of the input, of which rows before 0 are history's last. */
IL_INLINE const float *conv_input(int t, int n, int taps, const float *x, ptrdiff_t ldx, const float *history) {
    return t >= 0 ? x + t * ldx : history + (ptrdiff_t)(t + taps - 1) * n;
}

static void conv(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history, const float *weight,
                 const float *bias, float *y, ptrdiff_t ldy, int add_to) {
    conv_taps tap;
    for (int i = 0; i < n; i += CONV_STRETCH) {
        const int width = n - i < CONV_STRETCH ? n - i : CONV_STRETCH;
        conv_taps_load(tap, width, taps, weight + (ptrdiff_t)i * taps);
        for (int t = 0; t < rows; t++) {
            for (int v = 0; 16 * v < width; v++) {
                const int w = conv_lanes(width, v), j = i + 16 * v;
                v16 acc = v16_zero();
                for (int k = 0; k < taps; k++) {
                    const float *from = conv_input(t - (taps - 1) + k, n, taps, x, ldx, history) + j;
                    acc = v16_fma(tap[k][v], LOAD(from, w), acc);
                }
                acc = v16_add(acc, LOAD(bias + j, w));
                float *to = y + t * ldy + j;
                if (add_to) acc = v16_add(LOAD(to, w), acc);
                STORE(to, w, acc);
            }
        }
    }
}

/* dx[t] = sum_k w[k] dy[t + taps-1 - k], k ascending;  dw[k] += sum_t dy[t] x[t - (taps-1) + k];  dbias +=
 * sum_t dy[t]. */
static void conv_back(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history,
                      const float *weight, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add_to,
                      float *dw, float *dbias) {
    conv_taps tap, dtap;
    for (int i = 0; i < n; i += CONV_STRETCH) {
        const int width = n - i < CONV_STRETCH ? n - i : CONV_STRETCH;
        conv_taps_load(tap, width, taps, weight + (ptrdiff_t)i * taps);
        conv_taps_load(dtap, width, taps, dw + (ptrdiff_t)i * taps);
        for (int t = 0; t < rows; t++) {
            const int missing = t + taps - rows; /* taps whose output lies after the last row */
            for (int v = 0; 16 * v < width; v++) {
                const int w = conv_lanes(width, v), j = i + 16 * v;
                const v16 grad = LOAD(dy + t * ldy + j, w);
                v16 acc = v16_zero();
                STORE(dbias + j, w, v16_add(LOAD(dbias + j, w), grad));
                for (int k = 0; k < taps; k++) {
                    const float *from = conv_input(t - (taps - 1) + k, n, taps, x, ldx, history) + j;
                    dtap[k][v] = v16_fma(grad, LOAD(from, w), dtap[k][v]);
                    if (k >= missing) acc = v16_fma(tap[k][v], LOAD(dy + (t + taps - 1 - k) * ldy + j, w), acc);
                }
                float *to = dx + t * lddx + j;
                if (add_to) acc = v16_add(LOAD(to, w), acc);
                STORE(to, w, acc);
            }
        }
        for (int v = 0; 16 * v < width; v++)
            for (int k = 0; k < taps; k++)
                store_strided(dw + (ptrdiff_t)(i + 16 * v) * taps + k, conv_lanes(width, v), taps, dtap[k][v]);
    }
}
