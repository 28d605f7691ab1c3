/* quantized.inc.h (included by isa.c): products of integers. Rows and matrix are quantized in groups of IL_GROUP
 * inputs; a group's sum of products is an exact integer, so only the chain over groups has an order.
 *
 * A panel of b is the groups of 16 outputs one after the other, and a group is
 *
 *     16 float factors, then   int8: 32 times   o0: i0 i1 | o1: i0 i1 | ... | o15: i0 i1    two inputs, a byte each
 *                              int4:  8 times   o0: i0-i7 | o1: i0-i7 | ... | o15: i0-i7    eight inputs, 4 bits each
 *
 * A tile is that of products.inc.h, gone through group by group:
 *
 *     sum[r][p]   integers, in registers: the products of row r's group and those of panel p's 16 outputs; each step
 *                 takes a few inputs of the row, the same in all lanes, and as many of b, which streams
 *     c[r][p]     floats, in memory:      c = fma(sum[r][p], scale of row r's group * factors of panel p, c)
 *
 * The chain lies in c between groups because the integers need the registers. */

/* One group of a row, n numbers: whole numbers -127 .. 127, and what one of them stands for. A group below 2^-100 is
 * zero: its factor would overflow. Where a number is not finite the scale is NaN, whatever the whole numbers. */
IL_INLINE float quantize_group(const int n, const float *x, v16 *whole) {
    const v16 zero = v16_zero(), least = v16_set1(-127.0f), most = v16_set1(127.0f);
    const v16 round = v16_set1(12582912.0f); /* 1.5 * 2^23: adding and subtracting it rounds to even */
    v16 largest = zero, nothing = zero;
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16 a = n - i < 16 ? v16_load_n(x + i, n - i) : v16_load(x + i);
        whole[i / 16] = a;
        largest = v16_max(v16_max(a, v16_sub(zero, a)), largest);
        nothing = v16_fma(a, zero, nothing);
    }
    float amax = v16_largest(largest), bad = v16_sum(nothing);
    int is_zero = !(amax >= 0x1p-100f);
    v16 factor = v16_set1(is_zero ? 0.0f : 127.0f / amax);
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16 a = v16_min(v16_max(v16_mul(whole[i / 16], factor), least), most);
        whole[i / 16] = v16_sub(v16_add(a, round), round);
    }
    return (is_zero ? 0.0f : amax / 127.0f) + bad;
}

#if INT8_BYTES
typedef il_int8_bytes int8_inputs;
#else
typedef il_int8_pairs int8_inputs;
#endif

IL_INLINE float quantize_group_int8(const int n, const float *x, int8_inputs *to) {
    v16 whole[IL_GROUP / 16];
    float scale = quantize_group(n, x, whole);
#if INT8_BYTES
    v16 all = v16_zero();
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16_store_i8(to->q + i, whole[i / 16]);
        all = v16_add(all, whole[i / 16]); /* exact, as any sum of whole numbers below 2^24 */
    }
    to->start = -128 * (int)v16_sum(all);
#else
    UNROLL
    for (int i = 0; i < n; i += 16) v16_store_i16(to->q + i, whole[i / 16]);
#endif
    return scale;
}

static void quantize(int m, int k, const float *x, ptrdiff_t ldx, void *whole, float *scale) {
    int8_inputs *q = whole;
    for (int i = 0; i < m; i++, x += ldx) {
        int from = 0;
        for (; from + IL_GROUP <= k; from += IL_GROUP) *scale++ = quantize_group_int8(IL_GROUP, x + from, q++);
        if (from < k) *scale++ = quantize_group_int8(k - from, x + from, q++);
    }
}

IL_INLINE float quantize_group_int4(const int n, const float *x, il_int4_inputs *to) {
    static const float even[16] = {1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0};
    v16 whole[IL_GROUP / 16], all = v16_zero();
    float scale = quantize_group(n, x, whole);
    UNROLL
    for (int i = 0; i < n; i += 16) {
        v16_store_i8_zipped(to->q + i, whole[i / 16]);
        all = v16_add(all, whole[i / 16]); /* exact, as any sum of whole numbers below 2^24 */
    }
    int sum = (int)v16_sum(all), sum_even = (int)v16_sum(v16_mul(all, v16_load(even)));
    to->start[0] = (int16_t)(-8 * sum_even);
    to->start[1] = (int16_t)(-8 * (sum - sum_even));
    return scale;
}

static void quantize_int4(int m, int k, const float *x, ptrdiff_t ldx, il_int4_inputs *q, float *scale) {
    for (int i = 0; i < m; i++, x += ldx) {
        int from = 0;
        for (; from + IL_GROUP <= k; from += IL_GROUP) *scale++ = quantize_group_int4(IL_GROUP, x + from, q++);
        if (from < k) *scale++ = quantize_group_int4(k - from, x + from, q++);
    }
}

/* Sums of integer products over n inputs of a group; b where the first panel's integers begin, rows a stride apart. */
#if INT8_BYTES
/* Bytes of one side have no sign: the matrix's get 128 added, so the sums start from minus 128 times the sum of the
 * inputs. */
IL_INLINE void int8_sums(const int rows, const int panels, const int ordered, int n, const int8_inputs *q,
                         ptrdiff_t row, const unsigned char *b, ptrdiff_t b_panel, v16i (*sum)[8]) {
    const int8_t *left = q->q;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) sum[i][p] = v16i_set1(q[i * row].start);
    }
    row *= (ptrdiff_t)sizeof *q;
    const int steps = ordered ? 2 : 1; /* at once; inputs past n are zeros, and as many bytes are there */
    for (; n > 0; n -= 4 * steps, left += 4 * steps, b += 64 * steps) {
        UNROLL
        for (int s = 0; s < steps; s++) {
            v16quads right[8];
            UNROLL
            for (int p = 0; p < panels; p++) {
                const unsigned char *at = b + p * b_panel + 64 * s;
                right[p] = ordered ? v16quads_load(at) : v16quads_load_i8(at, n <= 2);
            }
            UNROLL
            for (int i = 0; i < rows; i++) {
                v16quads four = v16quads_set1(left + i * row + 4 * s);
                UNROLL
                for (int p = 0; p < panels; p++) sum[i][p] = v16sums_dot(sum[i][p], four, right[p]);
            }
        }
    }
}
#else
IL_INLINE void int8_sums(const int rows, const int panels, const int ordered, int n, const int8_inputs *inputs,
                         ptrdiff_t row, const unsigned char *b, ptrdiff_t b_panel, v16i (*sum)[8]) {
    const int16_t *q = inputs->q;
    (void)ordered;
    row *= IL_GROUP;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) sum[i][p] = v16i_zero();
    }
    for (; n > 0; n -= 2, q += 2, b += 32) {
        v16pairs right[8];
        UNROLL
        for (int p = 0; p < panels; p++) right[p] = v16pairs_load_i8((const void *)(b + p * b_panel));
        UNROLL
        for (int i = 0; i < rows; i++) {
            v16pairs both = v16pairs_set1(q + i * row);
            UNROLL
            for (int p = 0; p < panels; p++) sum[i][p] = v16i_dot(sum[i][p], both, right[p]);
        }
    }
}
#endif

/* Half of eight inputs of int4. */
IL_INLINE v16quads int4_right(const int ordered, const unsigned char *b, const int high) {
#if INT8_BYTES
    if (ordered) return v16quads_load(b + 64 * high);
#endif
    (void)ordered;
    return v16quads_load_u4(b, high);
}

/* The same. The matrix's integers are used as they lie, with 8 added, 0 .. 15: the sums start from minus 8 times the
 * sum of the inputs: within 8 * 32 * 127 = 32512 for either half of a lane. Two products, within 2 * 15 * 127, cannot
 * saturate. What a half adds up may leave 16 bits on the way and come back, as it is taken modulo 2^16: it ends as 32
 * products of -8 .. 7 and -127 .. 127, within 32512 again. The halves are added in 32 bits. */
IL_INLINE void int4_sums(const int rows, const int panels, const int ordered, int n, const il_int4_inputs *q,
                         ptrdiff_t row, const unsigned char *b, ptrdiff_t b_panel, v16i (*sum)[8]) {
    const int8_t *left = q->q;
    v16sums acc[GEMM_ROWS][8];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) acc[i][p] = v16sums_set1(q[i * row].start);
    }
    row *= (ptrdiff_t)sizeof *q;
    for (; n > 0; n -= 8, left += 8, b += ordered ? 128 : 64) {
        UNROLL
        for (int high = 0; high < 2; high++) {
            v16quads right[8];
            UNROLL
            for (int p = 0; p < panels; p++) right[p] = int4_right(ordered, b + p * b_panel, high);
            UNROLL
            for (int i = 0; i < rows; i++) {
                v16quads four = v16quads_set1(left + i * row + 4 * high);
                UNROLL
                for (int p = 0; p < panels; p++) acc[i][p] = v16sums_dot(acc[i][p], four, right[p]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) sum[i][p] = v16sums_whole(acc[i][p]);
    }
}

/* Bytes of n inputs of a group in a panel; as they lie, or ordered (below). */
static int quantized_bytes(const int bits, const int ordered, int n) {
    if (ordered) return 16 * IL_GROUP;
    return bits == 4 ? (n + 7) / 8 * 64 : (n + 1) / 2 * 32;
}

/* Rows of inputs: groups of the first and their scales, a row every `groups`. go_on: chains start from c, else from 0.
 */
typedef struct quantized_left {
    const void *q;
    const float *scale;
    ptrdiff_t groups;
    int go_on;
} quantized_left;

/* rows x panels*16 of c, as gemm_tile. Between the groups c itself keeps the chains: the registers hold integers. */
IL_INLINE void quantized_tile(const int rows, const int panels, const int columns, const int bits, const int ordered,
                              int k, quantized_left a, const unsigned char *b, ptrdiff_t b_panel, float *c,
                              ptrdiff_t ldc) {
    for (int g = 0; k > 0; g++, k -= IL_GROUP) {
        const int n = k < IL_GROUP ? k : IL_GROUP;
        const float *factors = (const void *)b;
        v16i acc[GEMM_ROWS][8];
        b += 16 * sizeof *factors;
        if (bits == 4)
            int4_sums(rows, panels, ordered, n, (const il_int4_inputs *)a.q + g, a.groups, b, b_panel, acc);
        else
            int8_sums(rows, panels, ordered, n, (const int8_inputs *)a.q + g, a.groups, b, b_panel, acc);
        b += quantized_bytes(bits, ordered, n);
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 factor = v16_load((const void *)((const unsigned char *)factors + p * b_panel));
            UNROLL
            for (int i = 0; i < rows; i++) {
                float *to = c + i * ldc + 16 * p;
                v16 sum = v16_zero();
                if (a.go_on) sum = columns < 16 ? v16_load_n(to, columns) : v16_load(to);
                sum = v16_fma(v16i_float(acc[i][p]), v16_mul(v16_set1(a.scale[i * a.groups]), factor), sum);
                if (columns < 16)
                    v16_store_n(to, columns, sum);
                else
                    v16_store(to, sum);
            }
        }
        a.scale++;
        a.go_on = 1;
    }
}

/* How far a strip has come: b and c of the next tile, and the columns that are left. */
typedef struct quantized_place {
    int n;
    const unsigned char *b;
    float *c;
} quantized_place;

IL_INLINE void quantized_run(const int rows, const int panels, const int bits, const int ordered, quantized_place *at,
                             int k, quantized_left a, ptrdiff_t b_panel, ptrdiff_t ldc) {
    for (; at->n >= 16 * panels; at->n -= 16 * panels) {
        quantized_tile(rows, panels, 16, bits, ordered, k, a, at->b, b_panel, at->c, ldc);
        at->b += panels * b_panel;
        at->c += 16 * panels;
    }
}

/* As gemm_strip. */
IL_INLINE void quantized_strip(const int rows, const int panels, const int fewer, const int bits, const int ordered,
                               int n, int k, quantized_left a, const unsigned char *b, ptrdiff_t b_panel, float *c,
                               ptrdiff_t ldc) {
    quantized_place at = {.n = n, .b = b, .c = c};
    if (panels > 1) quantized_run(rows, panels, bits, ordered, &at, k, a, b_panel, ldc);
    if (fewer > 1) quantized_run(rows, fewer, bits, ordered, &at, k, a, b_panel, ldc);
    quantized_run(rows, 1, bits, ordered, &at, k, a, b_panel, ldc);
    if (at.n > 0) quantized_tile(rows, 1, at.n, bits, ordered, k, a, at.b, b_panel, at.c, ldc);
}

/* A function for each height, as in products.inc.h. */
typedef void quantized_strip_of(int n, int k, quantized_left a, const unsigned char *b, ptrdiff_t b_panel, float *c,
                                ptrdiff_t ldc);
#define QUANTIZED_STRIP(NAME, BITS, ORDERED, ROWS, PANELS, FEWER)                                                      \
    static void NAME##_##ROWS(int n, int k, quantized_left a, const unsigned char *b, ptrdiff_t b_panel, float *c,     \
                              ptrdiff_t ldc) {                                                                         \
        quantized_strip(ROWS, PANELS, FEWER, BITS, ORDERED, n, k, a, b, b_panel, c, ldc);                              \
    }
#define GEMM_STRIP_INT8(ROWS, PANELS, FEWER) QUANTIZED_STRIP(gemm_int8, 8, 0, ROWS, PANELS, FEWER)
#define GEMM_STRIP_INT4(ROWS, PANELS, FEWER) QUANTIZED_STRIP(gemm_int4, 4, 0, ROWS, PANELS, FEWER)
GEMM_TILES(GEMM_STRIP_INT8)
GEMM_TILES(GEMM_STRIP_INT4)

#define GEMM_NAME_INT8(ROWS, PANELS, FEWER) gemm_int8_##ROWS,
#define GEMM_NAME_INT4(ROWS, PANELS, FEWER) gemm_int4_##ROWS,
static quantized_strip_of *const gemm_int8_strips[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_INT8)};
static quantized_strip_of *const gemm_int4_strips[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_INT4)};

/* group_bytes: of a row's group in a.q. */
static void quantized_all_rows(quantized_strip_of *const *strip_of, int m, int n, int k, quantized_left a,
                               size_t group_bytes, const unsigned char *b, ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    for (int strips = (m + GEMM_ROWS - 1) / GEMM_ROWS; strips > 0; strips--) {
        int rows = (m + strips - 1) / strips;
        strip_of[rows - 1](n, k, a, b, b_panel, c, ldc);
        a.q = (const char *)a.q + (size_t)(rows * a.groups) * group_bytes;
        a.scale += rows * a.groups;
        c += rows * ldc;
        m -= rows;
    }
}

#if INT8_BYTES
/* Several strips share the work of putting a panel's integers in the order and form in which they are
 * multiplied: a few groups of the panels of a tile at a time, which stay in the first-level cache while the rows go by,
 * and meanwhile memory fetches the next. */
#define ORDERED_STRIP_INT8(ROWS, PANELS, FEWER) QUANTIZED_STRIP(ordered_int8, 8, 1, ROWS, GEMM_PANELS, 1)
#define ORDERED_STRIP_INT4(ROWS, PANELS, FEWER) QUANTIZED_STRIP(ordered_int4, 4, 1, ROWS, GEMM_PANELS, 1)
GEMM_TILES(ORDERED_STRIP_INT8)
GEMM_TILES(ORDERED_STRIP_INT4)

#define ORDERED_NAME_INT8(ROWS, PANELS, FEWER) ordered_int8_##ROWS,
#define ORDERED_NAME_INT4(ROWS, PANELS, FEWER) ordered_int4_##ROWS,
static quantized_strip_of *const ordered_int8_strips[GEMM_ROWS] = {GEMM_TILES(ORDERED_NAME_INT8)};
static quantized_strip_of *const ordered_int4_strips[GEMM_ROWS] = {GEMM_TILES(ORDERED_NAME_INT4)};

enum { FACTOR_BYTES = 16 * sizeof(float), ORDERED_GROUP = FACTOR_BYTES + 16 * IL_GROUP, ORDERED_GROUPS = 4 };

/* Of a panel the next inputs, k of them; what lies `ahead` is fetched. */
IL_INLINE void order_panel(const int bits, int k, const unsigned char *b, ptrdiff_t ahead, unsigned char *to) {
    for (; k > 0; k -= IL_GROUP, to += ORDERED_GROUP) {
        const int n = k < IL_GROUP ? k : IL_GROUP, bytes = quantized_bytes(bits, 0, n);
        v16_store((void *)to, v16_load((const void *)b));
        __builtin_prefetch(b + ahead);
        b += FACTOR_BYTES;
        for (int i = 0; i < bytes; i += 64) {
            __builtin_prefetch(b + ahead + i);
            if (bits == 4) {
                v16quads_store(to + FACTOR_BYTES + 2 * i, v16quads_load_u4(b + i, 0));
                v16quads_store(to + FACTOR_BYTES + 2 * i + 64, v16quads_load_u4(b + i, 1));
            } else {
                v16quads_store(to + FACTOR_BYTES + i, v16quads_load_i8(b + i, bytes - i < 64));
            }
        }
        b += bytes;
    }
}

IL_INLINE void gemm_ordered(const int bits, int m, int n, int k, quantized_left a, size_t group_bytes,
                            const unsigned char *b, ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    enum { COLUMNS = 16 * GEMM_PANELS, DEPTH = ORDERED_GROUPS * IL_GROUP, PANEL = ORDERED_GROUPS * ORDERED_GROUP };
    _Alignas(64) unsigned char ordered[GEMM_PANELS * PANEL];
    const ptrdiff_t depth_bytes = ORDERED_GROUPS * (FACTOR_BYTES + quantized_bytes(bits, 0, IL_GROUP));
    for (; n > 0; n -= COLUMNS, b += GEMM_PANELS * b_panel, c += COLUMNS) {
        const unsigned char *from = b;
        quantized_left left = a;
        for (int rest = k; rest > 0; rest -= DEPTH, from += depth_bytes) {
            const int depth = rest < DEPTH ? rest : DEPTH;
            for (int p = 0; p < GEMM_PANELS && 16 * p < n; p++)
                order_panel(bits, depth, from + p * b_panel, depth_bytes, ordered + p * PANEL);
            quantized_all_rows(bits == 4 ? ordered_int4_strips : ordered_int8_strips, m, n < COLUMNS ? n : COLUMNS,
                               depth, left, group_bytes, ordered, PANEL, c, ldc);
            left.q = (const char *)left.q + ORDERED_GROUPS * group_bytes;
            left.scale += ORDERED_GROUPS;
            left.go_on = 1;
        }
    }
}
#endif

IL_INLINE void gemm_quantized(const int bits, int m, int n, int k, quantized_left a, size_t group_bytes,
                              const unsigned char *b, ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
#if INT8_BYTES
    if (m > GEMM_ROWS) {
        gemm_ordered(bits, m, n, k, a, group_bytes, b, b_panel, c, ldc);
        return;
    }
#endif
    quantized_all_rows(bits == 4 ? gemm_int4_strips : gemm_int8_strips, m, n, k, a, group_bytes, b, b_panel, c, ldc);
}

static void gemm_int8(int m, int n, int k, const void *q, const float *scale, const unsigned char *b, ptrdiff_t b_panel,
                      float *c, ptrdiff_t ldc) {
    const quantized_left a = {.q = q, .scale = scale, .groups = (k + IL_GROUP - 1) / IL_GROUP};
    gemm_quantized(8, m, n, k, a, sizeof(int8_inputs), b, b_panel, c, ldc);
}

static void gemm_int4(int m, int n, int k, const il_int4_inputs *q, const float *scale, const unsigned char *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc) {
    const quantized_left a = {.q = q, .scale = scale, .groups = (k + IL_GROUP - 1) / IL_GROUP};
    gemm_quantized(4, m, n, k, a, sizeof *q, b, b_panel, c, ldc);
}
