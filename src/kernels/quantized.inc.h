/* quantized.inc.h (part of isa.c): products of integers. Rows and matrix are quantized in groups of IL_GROUP inputs;
 * a group's sum of products is an exact integer, so only the chain over groups has an order. */

/* One group of a row, n numbers: q whole numbers -127 .. 127, and what one of them stands for. A group below 2^-100 is
 * zero: its factor would overflow. Where a number is not finite the scale is NaN, whatever q. */
IL_INLINE float quantize_group(const int n, const float *x, int16_t *q) {
    const v16 zero = v16_zero(), least = v16_set1(-127.0f), most = v16_set1(127.0f);
    const v16 whole = v16_set1(12582912.0f); /* 1.5 * 2^23: adding and subtracting it rounds to even */
    v16 in[IL_GROUP / 16], largest = zero, nothing = zero;
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16 a = n - i < 16 ? v16_load_n(x + i, n - i) : v16_load(x + i);
        in[i / 16] = a;
        largest = v16_max(v16_max(a, v16_sub(zero, a)), largest);
        nothing = v16_fma(a, zero, nothing);
    }
    float amax = v16_largest(largest), bad = v16_sum(nothing);
    int is_zero = !(amax >= 0x1p-100f);
    v16 factor = v16_set1(is_zero ? 0.0f : 127.0f / amax);
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16 a = v16_min(v16_max(v16_mul(in[i / 16], factor), least), most);
        v16_store_i16(q + i, v16_sub(v16_add(a, whole), whole));
    }
    return (is_zero ? 0.0f : amax / 127.0f) + bad;
}

static void quantize(int m, int k, const float *x, ptrdiff_t ldx, int16_t *q, float *scale) {
    for (int i = 0; i < m; i++, x += ldx) {
        int from = 0;
        for (; from + IL_GROUP <= k; from += IL_GROUP, q += IL_GROUP) *scale++ = quantize_group(IL_GROUP, x + from, q);
        if (from == k) continue;
        *scale++ = quantize_group(k - from, x + from, q);
        q += IL_GROUP;
    }
}

/* The matrix's integers of inputs 2*pair and 2*pair+1 of a group, b where its integers begin. */
IL_INLINE v16pairs quantized_right(const unsigned char *b, const int bits, int pair) {
    const void *word = b + pair / 4 * 64;
    if (bits == 4) return v16pairs_load_i4(word, pair % 4);
    return v16pairs_load_i8((const void *)(b + pair * 32));
}

/* rows x panels*16 of c, as gemm_tile. Between the groups c itself keeps the chains: the registers hold integers. */
IL_INLINE void quantized_tile(const int rows, const int panels, const int columns, const int bits, int k,
                              const int16_t *q, const float *scale, const unsigned char *b, ptrdiff_t b_panel, float *c,
                              ptrdiff_t ldc) {
    const int groups = (k + IL_GROUP - 1) / IL_GROUP, step = bits == 4 ? 4 : 1;
    for (int g = 0; g < groups; g++) {
        const int left = k - g * IL_GROUP, pairs = left < IL_GROUP ? (left + 1) / 2 : IL_GROUP / 2;
        const float *factors = (const void *)b;
        v16i acc[GEMM_ROWS][8];
        b += 16 * sizeof *factors;
        UNROLL
        for (int i = 0; i < rows; i++) {
            UNROLL
            for (int p = 0; p < panels; p++) acc[i][p] = v16i_zero();
        }
        for (int pair = 0; pair < pairs; pair += step) {
            UNROLL
            for (int s = 0; s < step; s++) {
                v16pairs right[8];
                UNROLL
                for (int p = 0; p < panels; p++) right[p] = quantized_right(b + p * b_panel, bits, pair + s);
                UNROLL
                for (int i = 0; i < rows; i++) {
                    v16pairs both = v16pairs_set1(q + (ptrdiff_t)i * groups * IL_GROUP + 2 * (pair + s));
                    UNROLL
                    for (int p = 0; p < panels; p++) acc[i][p] = v16i_dot(acc[i][p], both, right[p]);
                }
            }
        }
        b += bits == 4 ? (pairs + 3) / 4 * 64 : pairs * 32;
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 factor = v16_load((const void *)((const unsigned char *)factors + p * b_panel));
            UNROLL
            for (int i = 0; i < rows; i++) {
                float *to = c + i * ldc + 16 * p;
                v16 sum = v16_zero();
                if (g) sum = columns < 16 ? v16_load_n(to, columns) : v16_load(to);
                sum = v16_fma(v16i_float(acc[i][p]), v16_mul(v16_set1(scale[i * groups]), factor), sum);
                if (columns < 16)
                    v16_store_n(to, columns, sum);
                else
                    v16_store(to, sum);
            }
        }
        q += IL_GROUP;
        scale++;
    }
}

typedef void quantized_rows(int n, int k, const int16_t *q, const float *scale, const unsigned char *b,
                            ptrdiff_t b_panel, float *c, ptrdiff_t ldc);

#define QUANTIZED_RUN(ROWS, PANELS, BITS)                                                                              \
    for (; n >= 16 * PANELS; n -= 16 * PANELS) {                                                                       \
        quantized_tile(ROWS, PANELS, 16, BITS, k, q, scale, b, b_panel, c, ldc);                                       \
        b += PANELS * b_panel;                                                                                         \
        c += 16 * PANELS;                                                                                              \
    }
#define QUANTIZED_BLOCK(NAME, BITS, ROWS, WIDE, NARROW)                                                                \
    static void NAME##_##ROWS(int n, int k, const int16_t *q, const float *scale, const unsigned char *b,              \
                              ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {                                            \
        if (WIDE > 1) QUANTIZED_RUN(ROWS, WIDE, BITS)                                                                  \
        if (NARROW > 1) QUANTIZED_RUN(ROWS, NARROW, BITS)                                                              \
        QUANTIZED_RUN(ROWS, 1, BITS)                                                                                   \
        if (n > 0) quantized_tile(ROWS, 1, n, BITS, k, q, scale, b, b_panel, c, ldc);                                  \
    }
#define GEMM_BLOCK_INT8(ROWS, WIDE, NARROW) QUANTIZED_BLOCK(gemm_int8, 8, ROWS, WIDE, NARROW)
#define GEMM_BLOCK_INT4(ROWS, WIDE, NARROW) QUANTIZED_BLOCK(gemm_int4, 4, ROWS, WIDE, NARROW)
GEMM_TILES(GEMM_BLOCK_INT8)
GEMM_TILES(GEMM_BLOCK_INT4)

#define GEMM_NAME_INT8(ROWS, WIDE, NARROW) gemm_int8_##ROWS,
#define GEMM_NAME_INT4(ROWS, WIDE, NARROW) gemm_int4_##ROWS,
static quantized_rows *const gemm_int8_blocks[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_INT8)};
static quantized_rows *const gemm_int4_blocks[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_INT4)};

static void gemm_quantized(quantized_rows *const *row_blocks, int m, int n, int k, const int16_t *q, const float *scale,
                           const unsigned char *b, ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    const int groups = (k + IL_GROUP - 1) / IL_GROUP;
    for (int blocks = (m + GEMM_ROWS - 1) / GEMM_ROWS; blocks > 0; blocks--) {
        int rows = (m + blocks - 1) / blocks;
        row_blocks[rows - 1](n, k, q, scale, b, b_panel, c, ldc);
        q += (ptrdiff_t)rows * groups * IL_GROUP;
        scale += rows * groups;
        c += rows * ldc;
        m -= rows;
    }
}

static void gemm_int8(int m, int n, int k, const int16_t *q, const float *scale, const unsigned char *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    gemm_quantized(gemm_int8_blocks, m, n, k, q, scale, b, b_panel, c, ldc);
}

static void gemm_int4(int m, int n, int k, const int16_t *q, const float *scale, const unsigned char *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    gemm_quantized(gemm_int4_blocks, m, n, k, q, scale, b, b_panel, c, ldc);
}
