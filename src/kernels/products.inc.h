/* products.inc.h (included by isa.c): gemm, packing, transposing. Every element of a product is one fma chain over k
 * ascending, whatever the tile: tiles choose only which chains run side by side.
 *
 * A tile, here of 3 rows x 2 panels (AVX-512 has up to 12 x 2, AVX2 6 x 1; simd_*.h lists them in GEMM_TILES):
 *
 *                              panel p        panel p+1
 *                            +--------------+--------------+
 *                     step i |  right[0]    |  right[1]    |   b: 16 columns a panel, streamed front to back; where
 *                            +--------------+--------------+      rows are few, the next ones are fetched meanwhile
 *                            |      ...     |      ...     |
 *              step i        |              |              |
 *      +-----+-----+-----+   +==============+==============+
 *      | ... |  x  | ... |   |  acc[0][0]   |  acc[0][1]   |   c: all of the tile stays in registers until the last
 *      +-----+-----+-----+   +--------------+--------------+      step, then goes to memory once; the place is
 *   a: | ... |  x  | ... |   |  acc[1][0]   |  acc[1][1]   |      prefetched at the first step
 *      +-----+-----+-----+   +--------------+--------------+
 *      | ... |  x  | ... |   |  acc[2][0]   |  acc[2][1]   |
 *      +-----+-----+-----+   +==============+==============+
 *        one number a row,
 *        in all 16 lanes: x
 *
 * A step along k is acc[r][p] = fma(x of row r, right[p], acc[r][p]). In registers are the tile, one vector of b a
 * panel and one number of a. The tiles of the same rows are a strip: it goes from left to right, so its rows of a stay
 * in the first-level cache; then the next strip goes over the same panels of b. */

/* How b is read: numbers of four bytes; of two bytes, widened, whose panels are padded and read whole; or of four, and
 * for every line that is read another is fetched (gemm_read). */
enum { GEMM_F32, GEMM_BF16, GEMM_READ };

/* 16 numbers of b. */
IL_INLINE v16 gemm_right(const unsigned char *b, const int how, const int columns) {
    const void *at = b;
    if (how == GEMM_BF16) return v16_load_bf16_panel(at);
    return columns < 16 ? v16_load_n(at, columns) : v16_load(at);
}

/* What to bring into the cache meanwhile. Panels of b, as many as the tile has: so many lines of 64 bytes of each for
 * every 16 steps along k; at NULL: none. With GEMM_READ what lies at `at`, as many lines as are read; lines is 0. */
typedef struct gemm_fetch {
    const unsigned char *at;
    int lines;
} gemm_fetch;

/* The compiler forgets where a pointer came from. It would give every row and step an address of its own, and keep most
 * of them in memory. */
#define GEMM_FORGET(POINTER) __asm__("" : "+r"(POINTER))

/* One step along k. left: every `shared`th row of a, at its number `at`; a stride leads to the rows between. next: what
 * is fetched with GEMM_READ. */
IL_INLINE void gemm_step(const int rows, const int panels, const int columns, const int how, const int shared,
                         const float *const *left, ptrdiff_t a_row, const int at, const unsigned char *b,
                         ptrdiff_t b_panel, const unsigned char *next, v16 (*acc)[8]) {
    v16 right[8];
    UNROLL
    for (int p = 0; p < panels; p++) {
        right[p] = gemm_right(b + p * b_panel, how, columns);
        if (how == GEMM_READ) __builtin_prefetch(next + 64 * p);
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        v16 x = v16_set1(left[r / shared][r % shared * a_row + at]);
        UNROLL
        for (int p = 0; p < panels; p++) acc[r][p] = v16_fma(x, right[p], acc[r][p]);
    }
}

/* rows x panels*16 of c; both are compile-time constants where this is inlined, so the sums live in
 * registers. columns: of the last panel, 16 or fewer. Strides of b in bytes. ahead: the next strip's rows of a, NULL:
 * not prefetched. */
IL_INLINE void gemm_tile(const int rows, const int panels, const int columns, const int how, int k, const float *a,
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
    const unsigned char *next = fetch.at;
    for (int steps; k > 0; k -= steps) {
        steps = fetch.lines && k > 16 ? 16 : k;
        for (int line = 0; line < fetch.lines; line++, fetch.at += 64) {
            UNROLL
            for (int p = 0; p < panels; p++)
                __builtin_prefetch(fetch.at + p * b_panel, 0, 2); /* the first level is full */
        }
        int i = steps;
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
                    gemm_step(rows, panels, columns, how, SHARED, left, a_row, step, b, b_panel, next, acc);
                    b += b_row;
                    if (how == GEMM_READ) next += 64 * panels;
                }
                UNROLL
                for (int l = 0; l < lefts; l++) left[l] += GEMM_UNROLL;
            }
            a = left[0];
        }
        for (; i > 0; i--) {
            const float *a_next = a + a_col;
#if defined(__clang__) /* would go on to it from the last row, one addition after the other, longer than the sums take \
                        */
            GEMM_FORGET(a_next);
#endif
            gemm_step(rows, panels, columns, how, rows, &a, a_row, 0, b, b_panel, next, acc);
            a = a_next;
            b += b_row;
            if (how == GEMM_READ) next += 64 * panels;
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

/* How far a strip has come: b and c of the next tile, and the columns that are left. */
typedef struct gemm_place {
    int n;
    const unsigned char *b;
    float *c;
    const float *ahead, *last; /* what tiles prefetch of the next strip's rows, and where these end */
    gemm_fetch fetch;
} gemm_place;

/* Tiles of rows x panels as long as so many whole panels are left. */
IL_INLINE void gemm_run(const int rows, const int panels, const int how, gemm_place *at, int k, const float *a,
                        ptrdiff_t a_row, ptrdiff_t a_col, ptrdiff_t b_row, ptrdiff_t b_panel, ptrdiff_t ldc,
                        int accumulate) {
    for (; at->n >= 16 * panels; at->n -= 16 * panels) {
        gemm_tile(rows, panels, 16, how, k, a, a_row, a_col, at->b, b_row, b_panel, at->c, ldc, accumulate, at->ahead,
                  at->fetch);
        at->b += panels * b_panel;
        at->c += 16 * panels;
        if (at->ahead < at->last) at->ahead += 16;
        if (how == GEMM_READ) at->fetch.at += (ptrdiff_t)k * panels * 64;
    }
}

/* A strip: rows of c over all columns, so many panels at a time, then fewer, then one, then what is left of one. */
IL_INLINE void gemm_strip(const int rows, const int panels, const int fewer, const int how, int n, int k,
                          const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b, ptrdiff_t b_row,
                          ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate, gemm_fetch fetch) {
    gemm_place at = {.n = n, .b = b, .c = c, .ahead = a_col == 1 ? a + rows * a_row : NULL, .fetch = fetch};
    at.last = at.ahead ? at.ahead + k - 16 : NULL;
    if (panels > 1) gemm_run(rows, panels, how, &at, k, a, a_row, a_col, b_row, b_panel, ldc, accumulate);
    if (fewer > 1) gemm_run(rows, fewer, how, &at, k, a, a_row, a_col, b_row, b_panel, ldc, accumulate);
    gemm_run(rows, 1, how, &at, k, a, a_row, a_col, b_row, b_panel, ldc, accumulate);
    if (at.n > 0)
        gemm_tile(rows, 1, at.n, how, k, a, a_row, a_col, at.b, b_row, b_panel, at.c, ldc, accumulate, at.ahead,
                  at.fetch);
}

enum { GEMM_READ_ROWS = 4 };

/* A function for each height of GEMM_TILES, because only constants make a tile registers: macros that name and list
 * them, and nothing else. */
typedef void gemm_strip_of(int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b,
                           ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate,
                           gemm_fetch fetch);
#define GEMM_STRIP(NAME, HOW, ROWS, PANELS, FEWER)                                                                     \
    static void NAME##_##ROWS(int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const unsigned char *b,  \
                              ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate,             \
                              gemm_fetch fetch) {                                                                      \
        gemm_strip(ROWS, PANELS, FEWER, HOW, n, k, a, a_row, a_col, b, b_row, b_panel, c, ldc, accumulate, fetch);     \
    }
#define GEMM_STRIP_F32(ROWS, PANELS, FEWER) GEMM_STRIP(gemm_f32, GEMM_F32, ROWS, PANELS, FEWER)
#define GEMM_STRIP_BF16(ROWS, PANELS, FEWER) GEMM_STRIP(gemm_bf16, GEMM_BF16, ROWS, PANELS, FEWER)
#define GEMM_STRIP_READ(ROWS, PANELS, FEWER) GEMM_STRIP(gemm_read, GEMM_READ, ROWS, PANELS, FEWER)
GEMM_TILES(GEMM_STRIP_F32)
GEMM_TILES(GEMM_STRIP_BF16)
GEMM_READ_TILES(GEMM_STRIP_READ)

#define GEMM_NAME_F32(ROWS, PANELS, FEWER) gemm_f32_##ROWS,
#define GEMM_NAME_BF16(ROWS, PANELS, FEWER) gemm_bf16_##ROWS,
#define GEMM_NAME_READ(ROWS, PANELS, FEWER) gemm_read_##ROWS,
static gemm_strip_of *const gemm_f32_strips[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_F32)};
static gemm_strip_of *const gemm_bf16_strips[GEMM_ROWS] = {GEMM_TILES(GEMM_NAME_BF16)};
static gemm_strip_of *const gemm_read_strips[GEMM_READ_ROWS] = {GEMM_READ_TILES(GEMM_NAME_READ)};

/* Strips of nearly equal height: 16 rows as 6 5 5, not 6 6 4. */
static void gemm_all_rows(gemm_strip_of *const *strip_of, int m, int n, int k, const float *a, ptrdiff_t a_row,
                          ptrdiff_t a_col, const unsigned char *b, ptrdiff_t b_row, ptrdiff_t b_panel, float *c,
                          ptrdiff_t ldc, int accumulate, gemm_fetch fetch) {
    for (int strips = (m + GEMM_ROWS - 1) / GEMM_ROWS; strips > 0; strips--) {
        int rows = (m + strips - 1) / strips;
        strip_of[rows - 1](n, k, a, a_row, a_col, b, b_row, b_panel, c, ldc, accumulate, fetch);
        if (fetch.at) fetch.at += (ptrdiff_t)((k + 15) / 16) * fetch.lines * 64;
        a += rows * a_row;
        c += rows * ldc;
        m -= rows;
    }
}

/* A few rows take each panel once from memory: while they all visit one, the next is fetched, evenly, so that memory
 * and arithmetic keep each other busy. More rows hide that by their arithmetic alone. */
static void gemm_any(gemm_strip_of *const *strip_of, int m, int n, int k, const float *a, ptrdiff_t a_row,
                     ptrdiff_t a_col, const void *b, ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc,
                     int accumulate) {
    enum { COLUMNS = 16 * GEMM_PANELS };
    const unsigned char *right = b;
    if (m > GEMM_ROWS && m <= IL_FEW_ROWS && k >= IL_FEW_DEPTH && a_col == 1 && b_panel >= k * b_row) {
        const int strips = (m + GEMM_ROWS - 1) / GEMM_ROWS;
        const int lines = ((int)b_row * 16 / 64 + strips - 1) / strips;
        for (; n > COLUMNS; n -= COLUMNS) {
            gemm_all_rows(strip_of, m, COLUMNS, k, a, a_row, a_col, right, b_row, b_panel, c, ldc, accumulate,
                          (gemm_fetch){right + GEMM_PANELS * b_panel, lines});
            right += GEMM_PANELS * b_panel;
            c += COLUMNS;
        }
    }
    gemm_all_rows(strip_of, m, n, k, a, a_row, a_col, right, b_row, b_panel, c, ldc, accumulate, (gemm_fetch){0});
}

static void gemm(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const float *b, ptrdiff_t b_row,
                 ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate) {
    const ptrdiff_t size = sizeof *b;
    gemm_any(gemm_f32_strips, m, n, k, a, a_row, a_col, b, b_row * size, b_panel * size, c, ldc, accumulate);
}

static void gemm_bf16(int m, int n, int k, const float *a, ptrdiff_t a_row, ptrdiff_t a_col, const uint16_t *b,
                      ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int accumulate) {
    const ptrdiff_t size = sizeof *b;
    gemm_any(gemm_bf16_strips, m, n, k, a, a_row, a_col, b, 16 * size, b_panel * size, c, ldc, accumulate);
}

/* Slices of b along k come one after the other, and while one is multiplied the next is fetched, so that memory is
 * asked all the time and b is read front to back, however many tiles lie side by side. The first rows fetch for all. */
static void gemm_read(int m, int n, int k, const float *a, ptrdiff_t a_row, const float *b, const float *next, float *c,
                      ptrdiff_t ldc, int accumulate) {
    enum { SLICE = 2048 }; /* floats: 8 KiB, a part of the first level and as much as memory has under way */
    const int depth = n < SLICE ? SLICE / n : 1, first = m < GEMM_READ_ROWS ? m : GEMM_READ_ROWS;
    const ptrdiff_t b_row = n * (ptrdiff_t)sizeof *b, b_panel = 16 * sizeof *b;
    for (int steps; m > 0 && k > 0; k -= steps) {
        steps = depth < k ? depth : k;
        const void *right = b, *after = k > steps ? b + (ptrdiff_t)steps * n : next;
        gemm_read_strips[first - 1](n, steps, a, a_row, 1, right, b_row, b_panel, c, ldc, accumulate,
                                    (gemm_fetch){after, 0});
        gemm_all_rows(gemm_f32_strips, m - first, n, steps, a + first * a_row, a_row, 1, right, b_row, b_panel,
                      c + first * ldc, ldc, accumulate, (gemm_fetch){0});
        a += steps;
        b += (ptrdiff_t)steps * n;
        accumulate = 1;
    }
}

/* V16_TRANSPOSE_ROWS x V16_TRANSPOSE_COLUMNS in registers, the rim number by number; a stripe of 16 columns at a time,
 * so that a line of src is used up while it is in the cache. */
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
