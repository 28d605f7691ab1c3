/* products_dual.inc.h (included by isa.c): the products of the inner loop's dual form that are too short for gemm: the
 * update of fast weights by a mini-batch, the sum over the tokens read so far, and its inverse, the solution of a
 * triangular system. Elements are chains, as gemm's.
 *
 *     rank_update: y = keep x + a b                 lower_product: y += c g, of c the lower triangle
 *
 *           +-----------+                                      +-----------+
 *         k | b streams |                                      | g streams |    a row of g is a token; each is loaded
 *           +-----------+                                      +-----------+    once for the rows of a tile
 *     +---+ +===========+                           +------    +===========+
 *     | a | |  tile of  |  from x, at the end       |  c   \   |  tile of  |    in registers for all of g; row i ends
 *     |   | |  weights  |  to y; in registers       |       \  |     y     |    one token after row i - 1, so the last
 *     +---+ +===========+  for all of k             +--------  +===========+    steps have fewer and fewer rows
 */

/* rows x panels*16 of y = keep x + a b; constants where inlined, so the sums live in registers. columns: of the last
 * panel, 16 or fewer. k is small: prefetching, as gemm's tiles do, would cost more than it hides. */
IL_INLINE void update_tile(const int rows, const int panels, const int columns, int k, const float *a, ptrdiff_t lda,
                           const float *b, ptrdiff_t ldb, float keep, const float *x, float *y, ptrdiff_t ld) {
    v16 acc[GEMM_ROWS][GEMM_PANELS];
    const v16 factor = v16_set1(keep);
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < panels; p++) acc[r][p] = v16_mul(factor, load(x + r * ld + 16 * p, columns));
    }
    for (; k > 0; k--, a++, b += ldb) {
        v16 right[GEMM_PANELS];
        UNROLL
        for (int p = 0; p < panels; p++) right[p] = load(b + 16 * p, columns);
        UNROLL
        for (int r = 0; r < rows; r++) {
            const v16 left = v16_set1(a[r * lda]);
            UNROLL
            for (int p = 0; p < panels; p++) acc[r][p] = v16_fma(left, right[p], acc[r][p]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < panels; p++) store(y + r * ld + 16 * p, columns, acc[r][p]);
    }
}

IL_INLINE void update_rows(const int rows, int n, int k, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb,
                           float keep, const float *x, float *y, ptrdiff_t ld) {
    int j = 0;
    for (; n - j >= 16 * GEMM_PANELS; j += 16 * GEMM_PANELS)
        update_tile(rows, GEMM_PANELS, 16, k, a, lda, b + j, ldb, keep, x + j, y + j, ld);
    for (; n - j >= 16; j += 16) update_tile(rows, 1, 16, k, a, lda, b + j, ldb, keep, x + j, y + j, ld);
    if (j < n) update_tile(rows, 1, n - j, k, a, lda, b + j, ldb, keep, x + j, y + j, ld);
}

static void rank_update(int m, int n, int k, const float *a, ptrdiff_t lda, const float *b, ptrdiff_t ldb, float keep,
                        const float *x, float *y, ptrdiff_t ld) {
    enum { FEW = 4 };
    for (; m >= GEMM_ROWS; m -= GEMM_ROWS, a += GEMM_ROWS * lda, x += GEMM_ROWS * ld, y += GEMM_ROWS * ld)
        update_rows(GEMM_ROWS, n, k, a, lda, b, ldb, keep, x, y, ld);
    for (; m >= FEW; m -= FEW, a += FEW * lda, x += FEW * ld, y += FEW * ld)
        update_rows(FEW, n, k, a, lda, b, ldb, keep, x, y, ld);
    for (; m > 0; m--, a += lda, x += ld, y += ld) update_rows(1, n, k, a, lda, b, ldb, keep, x, y, ld);
}

enum { LOWER_ROWS = 4, LOWER_PANELS = GEMM_PANELS > 1 ? 4 : 1 };

/* rows x panels*16 of y += c g: the columns of c that all rows have, `shared`, then those that only later rows have. */
IL_INLINE void lower_tile(const int rows, const int panels, const int columns, int shared, const float *c,
                          ptrdiff_t ldc, const float *g, float *y, ptrdiff_t ld) {
    v16 acc[LOWER_ROWS][LOWER_PANELS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < panels; p++) acc[r][p] = load(y + r * ld + 16 * p, columns);
    }
    for (; shared > 0; shared--, c++, g += ld) {
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 right = load(g + 16 * p, columns);
            UNROLL
            for (int r = 0; r < rows; r++) acc[r][p] = v16_fma(v16_set1(c[r * ldc]), right, acc[r][p]);
        }
    }
    UNROLL
    for (int from = 1; from < rows; from++, c++, g += ld) {
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 right = load(g + 16 * p, columns);
            UNROLL
            for (int r = from; r < rows; r++) acc[r][p] = v16_fma(v16_set1(c[r * ldc]), right, acc[r][p]);
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < panels; p++) store(y + r * ld + 16 * p, columns, acc[r][p]);
    }
}

IL_INLINE void lower_rows(const int rows, int n, int shared, const float *c, ptrdiff_t ldc, const float *g, float *y,
                          ptrdiff_t ld) {
    int j = 0;
    for (; n - j >= 16 * LOWER_PANELS; j += 16 * LOWER_PANELS)
        lower_tile(rows, LOWER_PANELS, 16, shared, c, ldc, g + j, y + j, ld);
    for (; n - j >= 16; j += 16) lower_tile(rows, 1, 16, shared, c, ldc, g + j, y + j, ld);
    if (j < n) lower_tile(rows, 1, n - j, shared, c, ldc, g + j, y + j, ld);
}

static void lower_product(int m, int n, int first, const float *c, ptrdiff_t ldc, const float *g, float *y,
                          ptrdiff_t ld) {
    int i = 0;
    for (; m - i >= LOWER_ROWS; i += LOWER_ROWS)
        lower_rows(LOWER_ROWS, n, first + i + 1, c + i * ldc, ldc, g, y + i * ld, ld);
    for (; i < m; i++) lower_rows(1, n, first + i + 1, c + i * ldc, ldc, g, y + i * ld, ld);
}

/* A tile as lower_tile's, of rows that go through the columns of c which all have, `shared`; then each is finished by
 * its rate and goes on into those below it. u: row 0; y: the tile's own rows of u. */
IL_INLINE void solve_tile(const int rows, const int panels, const int columns, int shared, const float *c,
                          ptrdiff_t ldc, const float *rate, const float *u, float *y, ptrdiff_t ld) {
    v16 acc[LOWER_ROWS][LOWER_PANELS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int p = 0; p < panels; p++) acc[r][p] = load(y + r * ld + 16 * p, columns);
    }
    for (; shared > 0; shared--, c++, u += ld) {
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 right = load(u + 16 * p, columns);
            UNROLL
            for (int r = 0; r < rows; r++) acc[r][p] = v16_fma(v16_set1(c[r * ldc]), right, acc[r][p]);
        }
    }
    UNROLL
    for (int from = 0; from < rows; from++) {
        const v16 factor = v16_set1(rate[from]);
        UNROLL
        for (int p = 0; p < panels; p++) {
            const v16 whole = v16_mul(factor, acc[from][p]);
            store(y + from * ld + 16 * p, columns, whole);
            UNROLL
            for (int r = from + 1; r < rows; r++) acc[r][p] = v16_fma(v16_set1(c[r * ldc + from]), whole, acc[r][p]);
        }
    }
}

IL_INLINE void solve_rows(const int rows, int n, int shared, const float *c, ptrdiff_t ldc, const float *rate, float *u,
                          ptrdiff_t ld) {
    float *y = u + shared * ld;
    int j = 0;
    for (; n - j >= 16 * LOWER_PANELS; j += 16 * LOWER_PANELS)
        solve_tile(rows, LOWER_PANELS, 16, shared, c, ldc, rate, u + j, y + j, ld);
    for (; n - j >= 16; j += 16) solve_tile(rows, 1, 16, shared, c, ldc, rate, u + j, y + j, ld);
    if (j < n) solve_tile(rows, 1, n - j, shared, c, ldc, rate, u + j, y + j, ld);
}

static void lower_solve(int m, int n, int first, const float *c, ptrdiff_t ldc, const float *rate, float *u,
                        ptrdiff_t ld) {
    int i = 0;
    for (; m - i >= LOWER_ROWS; i += LOWER_ROWS)
        solve_rows(LOWER_ROWS, n, first + i, c + i * ldc, ldc, rate + i, u, ld);
    for (; i < m; i++) solve_rows(1, n, first + i, c + i * ldc, ldc, rate + i, u, ld);
}
