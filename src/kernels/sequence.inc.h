/* sequence.inc.h (included by isa.c): what looks along time: rotary positions and the depthwise causal
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
            xi = load(x + i, w);
            store(x + i, w, v16_fma(xi, c, v16_mul(v16_swap(xi), v16_mul(s, sign))));
        }
    }
}

IL_STEP void rope_half_step(size_t i, int w, float *first, float *second, const float *cosine, const float *sine,
                            v16 sign) {
    const v16 a = load(first + i, w), b = load(second + i, w);
    const v16 c = load(cosine + i, w), s = v16_mul(load(sine + i, w), sign);
    store(first + i, w, v16_fnma(b, s, v16_mul(a, c)));
    store(second + i, w, v16_fma(a, s, v16_mul(b, c)));
}

static void rope_half(int rows, int n, float *x, ptrdiff_t ldx, const float *cosine, const float *sine,
                      ptrdiff_t ld_table, int inverse) {
    const v16 sign = v16_set1(inverse ? -1.0f : 1.0f);
    for (; rows > 0; rows--, x += ldx, cosine += ld_table, sine += ld_table) {
        float *first = x, *second = x + n / 2;
        EACH16(n / 2, rope_half_step, first, second, cosine, sine, sign);
    }
}

/* 64 channels of 32 rows at a time stay in the first-level cache; inside, one vector of channels at a time walks down
 * the rows with its taps in registers. Taps lie [taps][64] there, as on disk transposed. */
enum { CONV_CHANNELS = 64, CONV_ROWS = 32 };
typedef float conv_taps[IL_CONV_TAPS_MAX][CONV_CHANNELS];

typedef struct conv_run {
    int rows, n; /* n: of history's rows */
    const float *x, *history;
    ptrdiff_t ldx;
    const float *dy;
    ptrdiff_t ldy;
    float *out; /* y or dx */
    ptrdiff_t ld_out;
    int add_to;
} conv_run;

/* Row t of the input, of which rows before 0 are history's last. */
IL_INLINE const float *conv_input(const conv_run *c, int t, int taps) {
    return t >= 0 ? c->x + t * c->ldx : c->history + (ptrdiff_t)(t + taps - 1) * c->n;
}

/* The row CONV_ROWS further comes into the cache: a few lines each, far apart, are no stream that a CPU would see. */
IL_INLINE void conv_ahead(const float *row, ptrdiff_t ld) { __builtin_prefetch(row + CONV_ROWS * ld); }

/* Rows t .. end-1 of the w channels from j on. Constant taps and w make it a few instructions a row. */
IL_INLINE void conv_channels(const conv_run *c, const int taps, const int w, int j, int t, int end, const float *tap,
                             const float *bias) {
    v16 weight[IL_CONV_TAPS_MAX];
    const v16 shift = load(bias + j, w);
    UNROLL
    for (int k = 0; k < taps; k++) weight[k] = v16_load(tap + k * CONV_CHANNELS);
    for (; t < end; t++) {
        v16 acc = v16_zero();
        conv_ahead(c->x + t * c->ldx + j, c->ldx);
        conv_ahead(c->out + t * c->ld_out + j, c->ld_out);
        if (t >= taps - 1) {
            const float *from = c->x + (t - (taps - 1)) * c->ldx + j;
            UNROLL
            for (int k = 0; k < taps; k++) acc = v16_fma(weight[k], load(from + k * c->ldx, w), acc);
        } else {
            for (int k = 0; k < taps; k++)
                acc = v16_fma(weight[k], load(conv_input(c, t - (taps - 1) + k, taps) + j, w), acc);
        }
        acc = v16_add(acc, shift);
        float *to = c->out + t * c->ld_out + j;
        if (c->add_to) acc = v16_add(load(to, w), acc);
        store(to, w, acc);
    }
}

static void conv(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history, const float *weight,
                 const float *bias, float *y, ptrdiff_t ldy, int add_to) {
    const conv_run c = {
        .rows = rows, .n = n, .x = x, .history = history, .ldx = ldx, .out = y, .ld_out = ldy, .add_to = add_to};
    conv_taps tap;
    memset(tap, 0, (size_t)taps * sizeof *tap);
    for (int i = 0; i < n; i += CONV_CHANNELS) {
        const int width = n - i < CONV_CHANNELS ? n - i : CONV_CHANNELS;
        transpose(width, taps, weight + (ptrdiff_t)i * taps, taps, tap[0], CONV_CHANNELS);
        for (int t = 0; t < rows; t += CONV_ROWS) {
            const int end = t + CONV_ROWS < rows ? t + CONV_ROWS : rows;
            for (int v = 0; v < width; v += 16) {
                if (taps == 4 && width - v >= 16)
                    conv_channels(&c, 4, 16, i + v, t, end, tap[0] + v, bias);
                else
                    conv_channels(&c, taps, width - v < 16 ? width - v : 16, i + v, t, end, tap[0] + v, bias);
            }
        }
    }
}

/* dx[t] = sum_k w[k] dy[t + taps-1 - k], k ascending;  dw[k] += sum_t dy[t] x[t - (taps-1) + k];  dbias +=
 * sum_t dy[t]. */
IL_INLINE void conv_channels_back(const conv_run *c, const int taps, const int w, int j, int t, int end,
                                  const float *tap, float *dtap, float *dbias) {
    v16 dweight[IL_CONV_TAPS_MAX], shift = load(dbias + j, w);
    UNROLL
    for (int k = 0; k < taps; k++) dweight[k] = v16_load(dtap + k * CONV_CHANNELS);
    for (; t < end; t++) {
        const int missing = t + taps - c->rows; /* taps whose output lies after the last row */
        const float *later = c->dy + (t + taps - 1) * c->ldy + j;
        const v16 grad = load(c->dy + t * c->ldy + j, w);
        v16 acc = v16_zero();
        conv_ahead(c->x + t * c->ldx + j, c->ldx);
        conv_ahead(c->dy + t * c->ldy + j, c->ldy);
        conv_ahead(c->out + t * c->ld_out + j, c->ld_out);
        shift = v16_add(shift, grad);
        if (t >= taps - 1 && missing <= 0) {
            const float *from = c->x + (t - (taps - 1)) * c->ldx + j;
            UNROLL
            for (int k = 0; k < taps; k++) {
                dweight[k] = v16_fma(grad, load(from + k * c->ldx, w), dweight[k]);
                acc = v16_fma(v16_load(tap + k * CONV_CHANNELS), load(later - k * c->ldy, w), acc);
            }
        } else {
            for (int k = 0; k < taps; k++) {
                dweight[k] = v16_fma(grad, load(conv_input(c, t - (taps - 1) + k, taps) + j, w), dweight[k]);
                if (k >= missing) acc = v16_fma(v16_load(tap + k * CONV_CHANNELS), load(later - k * c->ldy, w), acc);
            }
        }
        float *to = c->out + t * c->ld_out + j;
        if (c->add_to) acc = v16_add(load(to, w), acc);
        store(to, w, acc);
    }
    store(dbias + j, w, shift);
    UNROLL
    for (int k = 0; k < taps; k++) v16_store(dtap + k * CONV_CHANNELS, dweight[k]);
}

static void conv_back(int rows, int n, int taps, const float *x, ptrdiff_t ldx, const float *history,
                      const float *weight, const float *dy, ptrdiff_t ldy, float *dx, ptrdiff_t lddx, int add_to,
                      float *dw, float *dbias) {
    const conv_run c = {.rows = rows,
                        .n = n,
                        .x = x,
                        .history = history,
                        .ldx = ldx,
                        .dy = dy,
                        .ldy = ldy,
                        .out = dx,
                        .ld_out = lddx,
                        .add_to = add_to};
    conv_taps tap, dtap;
    memset(tap, 0, (size_t)taps * sizeof *tap);
    memset(dtap, 0, (size_t)taps * sizeof *dtap);
    for (int i = 0; i < n; i += CONV_CHANNELS) {
        const int width = n - i < CONV_CHANNELS ? n - i : CONV_CHANNELS;
        transpose(width, taps, weight + (ptrdiff_t)i * taps, taps, tap[0], CONV_CHANNELS);
        transpose(width, taps, dw + (ptrdiff_t)i * taps, taps, dtap[0], CONV_CHANNELS);
        for (int t = 0; t < rows; t += CONV_ROWS) {
            const int end = t + CONV_ROWS < rows ? t + CONV_ROWS : rows;
            for (int v = 0; v < width; v += 16) {
                if (taps == 4 && width - v >= 16)
                    conv_channels_back(&c, 4, 16, i + v, t, end, tap[0] + v, dtap[0] + v, dbias);
                else
                    conv_channels_back(&c, taps, width - v < 16 ? width - v : 16, i + v, t, end, tap[0] + v,
                                       dtap[0] + v, dbias);
            }
        }
        transpose(taps, width, dtap[0], CONV_CHANNELS, dw + (ptrdiff_t)i * taps, taps);
    }
}
