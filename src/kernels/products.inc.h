/* products.inc.h (part of isa.c): gemm over a block, packing, transposing. Every element of a product is one
 * fma chain over k ascending, whatever the tile: tiles choose only which chains run side by side. */

/* 16 numbers of b. bf16: two bytes each, widened; those panels are padded and read whole. */
IL_INLINE v16 gemm_right(const unsigned char *b, const int bf16, const int columns) {
    const void *at = b;
    if (bf16) return v16_load_bf16_panel(at);
    return columns < 16 ? v16_load_n(at, columns) : v16_load(at);
}

/* The panels of b to bring into the cache meanwhile, as many as the tile has: so many lines of 64 bytes of each for
 * every 16 steps along k; at NULL: none. */
typedef struct gemm_fetch {
    const unsigned char *at;
    int lines;
} gemm_fetch;

/* The compiler forgets where a pointer came from. It would give every row and step an address of its own, and keep most
 * of them in memory. */
#define GEMM_FORGET(POINTER) __asm__("" : "+r"(POINTER))

/* One step along k. left: every `shared`th row of a, at its number `at`; a stride leads to the rows between. */
IL_INLINE void gemm_step(const int rows, const int panels, const int columns, const int bf16, const int shared,
                         const float *const *left, ptrdiff_t a_row, const int at, const unsigned char *b,
                         ptrdiff_t b_panel, v16 (*acc)[8]) {
    v16 right[8];
    UNROLL
    for (int p = 0; p < panels; p++) right[p] = gemm_right(b + p * b_panel, bf16, columns);
    UNROLL
    for (int r = 0; r < rows; r++) {
        v16 x = v16_set1(left[r / shared][r % shared * a_row + at]);
        UNROLL
        for (int p = 0; p < panels; p++) acc[r][p] = v16_fma(x, right[p], acc[r][p]);
    }
}

/* rows x panels*16 of c; both are compile-time constants where this is inlined, so the sums live in
 * registers. columns: of the last panel, 16 or fewer. Strides of b in bytes. */
IL_INLINE void gemm_tile(const int rows, const int panels, const int columns, const int bf16, int k, const float *a,
                         ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b, ptrdiff_t b_row, ptrdiff_t b_panel,
                         float *c, ptrdiff_t ldc, int accumulate, const float *ahead, gemm_fetch fetch) {
    v16 acc[GEMM_ROWS][8];
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) {
            const float *from = c + i * ldc + 16 * p;
            acc[i][p] = v16_zero();
            if (accumulate) acc[i][p] = columns < 16 ? v16_load_n(from, columns) : v16_load(from);
        }
    }
    /* Into the cache while the chains run: this tile's place in c, or, as that was just read, the next tile's; and some
     * of the rows that follow. */
    const ptrdiff_t beside = accumulate ? 16 * panels : 0;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) __builtin_prefetch(c + i * ldc + 16 * p + beside, 1);
    }
    if (ahead) {
        UNROLL
        for (int i = 0; i < rows; i++) __builtin_prefetch(ahead + i * a_row);
    }
    for (int piece; k > 0; k -= piece) {
        piece = fetch.at && k > 16 ? 16 : k;
        for (int line = 0; line < fetch.lines; line++, fetch.at += 64) {
            UNROLL
            for (int p = 0; p < panels; p++)
                __builtin_prefetch(fetch.at + p * b_panel, 0, 2); /* the first level is full */
        }
        int i = piece;
        if (GEMM_UNROLL > 1 && a_col == 1) {
            enum { SHARED = 3, LEFTS = (GEMM_ROWS + SHARED - 1) / SHARED };
            const int lefts = (rows + SHARED - 1) / SHARED;
            const float *left[LEFTS];
            UNROLL
            for (int l = 0; l < lefts; l++) left[l] = a + l * SHARED * a_row;
            for (; i >= GEMM_UNROLL; i -= GEMM_UNROLL) {
                UNROLL
                for (int l = 0; l < lefts; l++) GEMM_FORGET(left[l]);
                UNROLL
                for (int step = 0; step < GEMM_UNROLL; step++) {
                    gemm_step(rows, panels, columns, bf16, SHARED, left, a_row, step, b, b_panel, acc);
                    b += b_row;
                }
                UNROLL
                for (int l = 0; l < lefts; l++) left[l] += GEMM_UNROLL;
            }
            a = left[0];
        }
        for (; i > 0; i--) {
            gemm_step(rows, panels, columns, bf16, rows, &a, a_row, 0, b, b_panel, acc);
            a += a_col;
            b += b_row;
        }
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int p = 0; p < panels; p++) {
            float *to = c + i * ldc + 16 * p;
            if (columns < 16)
                v16_store_n(to, columns, acc[i][p]);
            else
                v16_store(to, acc[i][p]);
        }
    }
}

typedef void gemm_rows(int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b,
                       ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate, gemm_fetch fetch);

/* A block of ROWS rows over all columns: WIDE panels at a time, then NARROW, then one, then the part of one. */
#define GEMM_RUN(ROWS, PANELS, BF16)                                                                                   \
    for (; n >= 16 * PANELS; n -= 16 * PANELS) {                                                                       \
        gemm_tile(ROWS, PANELS, 16, BF16, k, a, a_row, a_col, b, b_row, b_panel, c, ldc, accumulate, ahead, fetch);    \
        b += PANELS * b_panel;                                                                                         \
        c += 16 * PANELS;                                                                                              \
        if (ahead < last) ahead += 16;                                                                                 \
    }
#define GEMM_BLOCK(NAME, BF16, ROWS, WIDE, NARROW)                                                                     \
    static void NAME##_##ROWS(int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b,  \
                              ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate,             \
                              gemm_fetch fetch) {                                                                      \
        const float *ahead = a_col == 1 ? a + ROWS * a_row : NULL, *last = ahead ? ahead + k - 16 : NULL;              \
        if (WIDE > 1) GEMM_RUN(ROWS, WIDE, BF16)                                                                       \
        if (NARROW > 1) GEMM_RUN(ROWS, NARROW, BF16)                                                                   \
        GEMM_RUN(ROWS, 1, BF16)                                                                                        \
        if (n > 0)                                                                                                     \
            gemm_tile(ROWS, 1, n, BF16, k, a, a_row, a_col, b, b_row, b_panel, c, ldc, accumulate, ahead, fetch);      \
    }
#define GEMM_BLOCK_F32(ROWS, WIDE, NARROW) GEMM_BLOCK(gemm_f32, 0, ROWS, WIDE, NARROW)
#define GEMM_BLOCK_BF16(ROWS, WIDE, NARROW) GEMM_BLOCK(gemm_bf16, 1, ROWS, WIDE, NARROW)
GEMM_TILES(GEMM_BLOCK_F32)
GEMM_TILES(GEMM_BLOCK_BF16)

#define GEMM_NAME_F32(ROWS, WIDE, NARROW) gemm_f32_##ROWS,
#define GEMM_NAME_BF16(ROWS, WIDE, NARROW) gemm_bf16_##ROWS,
static gemm_rows *const gemm_f32_blocks[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_F32)};
static gemm_rows *const gemm_bf16_blocks[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_BF16)};

/* Rows go in blocks of nearly equal height: 16 as 6 5 5, not 6 6 4. */
static void gemm_all_rows(gemm_rows *const *row_blocks, int m, int n, int k, const float *a, ptrdiff_t a_row,
                          ptrdiff_t a_col, const unsigned char *b, ptrdiff_t b_row, ptrdiff_t b_panel, float *c,
                          ptrdiff_t ldc, int accumulate, gemm_fetch fetch) {
    for (int blocks = (m + GEMM_ROWS - 1) / GEMM_ROWS; blocks > 0; blocks--) {
        int rows = (m + blocks - 1) / blocks;
        row_blocks[rows - 1](n, k, a, a_row, a_col, b, b_row, b_panel, c, ldc, accumulate, fetch);
        if (fetch.at) fetch.at += (ptrdiff_t)((k + 15) / 16) * fetch.lines * 64;
        a += rows * a_row;
        c += rows * ldc;
        m -= rows;
    }
}

/* A few rows take each panel once from memory: while they all visit one, the next is fetched, evenly, so that memory
 * and arithmetic keep each other busy. More rows hide that by their arithmetic alone. */
static void gemm_any(gemm_rows *const *row_blocks, int m, int n, int k, const float *a, ptrdiff_t a_row,
                     ptrdiff_t a_col, const void *b, ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc,
                     int accumulate) {
    enum { COLUMNS = 16 * GEMM_PANELS };
    const unsigned char *right = b;
    if (m > GEMM_ROWS && m <= IL_FEW_ROWS && k >= IL_FEW_DEPTH && a_col == 1 && b_panel >= k * b_row) {
        const int blocks = (m + GEMM_ROWS - 1) / GEMM_ROWS;
        const int lines = ((int)b_row * 16 / 64 + blocks - 1) / blocks;
        for (; n > COLUMNS; n -= COLUMNS) {
            gemm_all_rows(row_blocks, m, COLUMNS, k, a, a_row, a_col, right, b_row, b_panel, c, ldc, accumulate,
                          (gemm_fetch){right + GEMM_PANELS * b_panel, lines});
            right += GEMM_PANELS * b_panel;
            c += COLUMNS;
        }
    }
    gemm_all_rows(row_blocks, m, n, k, a, a_row, a_col, right, b_row, b_panel, c, ldc, accumulate, (gemm_fetch){0});
}

static void gemm(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const float *b, ptrdiff_t b_row,
                 ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate) {
    const ptrdiff_t size = sizeof *b;
    gemm_any(gemm_f32_blocks, m, n, k, a, a_row, a_col, b, b_row * size, b_panel * size, c, ldc, accumulate);
}

static void gemm_bf16(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const uint16_t *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate) {
    const ptrdiff_t size = sizeof *b;
    gemm_any(gemm_bf16_blocks, m, n, k, a, a_row, a_col, b, 16 * size, b_panel * size, c, ldc, accumulate);
}

/* Whole blocks in registers, the rim number by number; a stripe of 16 columns at a time, so that a line of src is
 * used up while it is in the cache. */
static void transpose(int m, int n, const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst) {
    enum { STRIPE = 16, ROWS = V16_TRANSPOSE_ROWS, COLUMNS = V16_TRANSPOSE_COLUMNS };
    const int whole = m - m % ROWS;
    for (int j0 = 0; j0 < n; j0 += STRIPE) {
        const int j1 = j0 + STRIPE < n ? j0 + STRIPE : n, j_whole = j0 + (j1 - j0) / COLUMNS * COLUMNS;
        for (int i = 0; i < whole; i += ROWS)
            for (int j = j0; j < j_whole; j += COLUMNS)
                v16_transpose(src + i * ld_src + j, ld_src, dst + j * ld_dst + i, ld_dst);
        for (int j = j_whole; j < j1; j++)
            for (int i = 0; i < whole; i++) dst[j * ld_dst + i] = src[i * ld_src + j];
        for (int j = j0; j < j1; j++)
            for (int i = whole; i < m; i++) dst[j * ld_dst + i] = src[i * ld_src + j];
    }
}

/* Rows of src are often pages apart: panels side by side take several lines from each, with those of rows below already
 * on their way. */
static void pack(int n, int k, const float *src, ptrdiff_t src_row, ptrdiff_t src_col, float *dst) {
    enum { WIDE = 4, AHEAD = 8 };
    for (; src_col == 1 && n >= 16 * WIDE; n -= 16 * WIDE) {
        for (int i = 0; i < k; i++) {
            UNROLL
            for (int p = 0; p < WIDE; p++) {
                const float *from = src + i * src_row + 16 * p;
                __builtin_prefetch(from + AHEAD * src_row);
                v16_store(dst + ((ptrdiff_t)p * k + i) * 16, v16_load(from));
            }
        }
        src += 16 * WIDE;
        dst += (ptrdiff_t)16 * WIDE * k;
    }
    for (; n > 0; n -= 16) {
        int columns = n < 16 ? n : 16;
        if (src_col == 1) {
            for (int i = 0; i < k; i++) {
                __builtin_prefetch(src + i * src_row + 16); /* of the next panel, of this call or the next */
                v16_store(dst + 16 * i, v16_load_n(src + i * src_row, columns));
            }
        } else {
            if (columns < 16)
                for (int i = 0; i < k; i++) v16_store(dst + 16 * i, v16_zero());
            transpose(columns, k, src, src_col, dst, 16);
        }
        src += 16 * src_col;
        dst += (ptrdiff_t)16 * k;
    }
}
