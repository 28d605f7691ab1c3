/* gemm.c: big products: threads and cache blocks around il_kernels.gemm. Owns how a product is cut; every element stays
 * one chain, because a cache block further along k goes on from c.
 *
 *              n: columns of b, in panels of 16
 *            +-------+-------+-------+-------+
 *            |       : cache :       |       |    c is cut into a grid of pieces of m_step x n_step, and a thread takes
 *     k      |       : block :       |       |    one at a time (cut). Inside a piece the cache blocks of b come one
 *            |.......:.......:.......|.......|    after the other: first down along k, where each goes on from the c
 *            |       :       :       |       |    that the one above has left, then to the right. All rows of the
 *            +-------+-------+-------+-------+    piece visit one before the next comes, in strips of tiles
 *                                                 (kernels/products.inc.h).
 *   +-----+  +-----------------------+-------+
 *   |     |  |                       |       |    What lies badly is first copied into the scratch of the thread: a
 *   |  a  |  |      piece of c       | piece |    cache block of b into panels, rows of a transposed. Packed weights
 *   |     |  |                       |       |    are read where they lie.
 *   +-----+  +-----------------------+-------+
 *   |     |  |         piece         | piece |    m: rows
 *   +-----+  +-----------------------+-------+
 */
#include "engine/gemm.h"

#include <stdatomic.h>

enum {
    /* At most as many rows as one tile: b is read once, front to back, and cache blocks would only break the
       stream. */
    STREAM_ROWS = 6,
    /* From here on copying b into panels pays, if it lies by rows, and copying a, if it lies by columns. */
    COPY_B_ROWS = 32,
    COPY_A_ROWS = 16,
    /* Bytes of quantized panels that all rows visit before the next. */
    QUANTIZED_CACHE_BLOCK = 256 << 10,
    /* Rows that a worker quantizes at once. */
    QUANTIZE_ROWS = 8,
    /* Multiply-adds below which waking a thread costs more than it saves (about 10 microseconds). */
    WORK_MIN = 1 << 17
};

typedef struct job {
    il_engine *engine;
    int m, n, k;
    il_matrix a, b;
    const float *packed;  /* NULL for b in plain memory, or */
    const uint16_t *bf16; /* packed in bfloat16 */
    float *c;
    ptrdiff_t ldc;
    int accumulate;
    int m_step, n_step, m_pieces; /* pieces of the grid; n_step a multiple of 16 */
} job;

size_t il_packed_floats(int n, int k) { return n <= 0 || k <= 0 ? 0 : il_pad16_size((size_t)n) * (size_t)k; }

static int min_int(int a, int b) { return a < b ? a : b; }

/* c [m,columns] from rows of a and panels of b; a transposed is first copied into left, some rows at a time,
 * because its columns may lie a power of two apart and fight for the same cache lines. */
static void multiply(const il_kernels *kernels, int m, int columns, int depth, il_matrix a, const float *b,
                     ptrdiff_t b_row, ptrdiff_t b_panel, float *c, ptrdiff_t ldc, int go_on, float *left) {
    const int step = kernels->cache_blocks.a_rows, by_rows = step > IL_LANES;
    if (m < COPY_A_ROWS || a.row != 1 || a.col == 1) {
        kernels->gemm(m, columns, depth, a.data, a.row, a.col, b, b_row, b_panel, c, ldc, go_on);
        return;
    }
    for (int i = 0; i < m; i += step) {
        const int rows = min_int(step, m - i);
        if (by_rows)
            kernels->transpose(depth, rows, a.data + i, a.col, left, depth);
        else
            kernels->pack(rows, depth, a.data + i, a.col, 1, left);
        kernels->gemm(rows, columns, depth, left, by_rows ? depth : 1, by_rows ? 1 : IL_LANES, b, b_row, b_panel,
                      c + i * ldc, ldc, go_on);
    }
}

static void run_piece(void *context, int item, int worker) {
    const job *p = context;
    const il_kernels *kernels = p->engine->kernels;
    const int i0 = item % p->m_pieces * p->m_step, j0 = item / p->m_pieces * p->n_step;
    const int m = min_int(p->m_step, p->m - i0), n = min_int(p->n_step, p->n - j0);
    float *right = p->engine->gemm_scratch + (ptrdiff_t)worker * IL_GEMM_SCRATCH, *left = right + IL_GEMM_COPY;
    float *c = p->c + i0 * p->ldc + j0;
    const int copy_b = !p->bf16 && !p->packed && (p->b.col != 1 || m >= COPY_B_ROWS);
    const int copy_a = p->a.row == 1 && m >= COPY_A_ROWS;
    const int stream = m <= STREAM_ROWS && !copy_b;
    const int few = m <= IL_FEW_ROWS && (p->packed || p->bf16) && p->a.col == 1 && p->k >= IL_FEW_DEPTH;
    const il_cache_blocks *blocks = &kernels->cache_blocks;
    const il_cache_block block = copy_a ? blocks->a_copied : copy_b ? blocks->b_copied : blocks->packed;
    const int n_step = stream || few ? n : block.columns, k_step = stream ? p->k : block.depth;
    if (p->k == 0 && !p->accumulate) kernels->gemm(m, n, 0, left, 0, 0, right, 16, 16, c, p->ldc, 0);
    for (int j = 0; j < n; j += n_step) {
        const int columns = min_int(n_step, n - j);
        for (int k0 = 0; k0 < p->k; k0 += k_step) {
            const int depth = min_int(k_step, p->k - k0);
            const il_matrix a = {p->a.data + i0 * p->a.row + k0 * p->a.col, p->a.row, p->a.col};
            const float *b;
            ptrdiff_t b_row = 16, b_panel;
            if (p->bf16) {
                const ptrdiff_t stride = (ptrdiff_t)16 * p->k;
                const uint16_t *panels = p->bf16 + (j0 + j) / 16 * stride + (ptrdiff_t)16 * k0;
                kernels->gemm_bf16(m, columns, depth, a.data, a.row, a.col, panels, stride, c + j, p->ldc,
                                   p->accumulate || k0 > 0);
                continue;
            } else if (p->packed) {
                b_panel = (ptrdiff_t)16 * p->k;
                b = p->packed + (j0 + j) / 16 * b_panel + (ptrdiff_t)16 * k0;
            } else {
                b = p->b.data + k0 * p->b.row + (j0 + j) * p->b.col;
                if (copy_b) {
                    kernels->pack(columns, depth, b, p->b.row, p->b.col, right);
                    b = right;
                    b_panel = (ptrdiff_t)16 * depth;
                } else {
                    b_row = p->b.row;
                    b_panel = 16;
                }
            }
            multiply(kernels, m, columns, depth, a, b, b_row, b_panel, c + j, p->ldc, p->accumulate || k0 > 0, left);
        }
    }
}

static int common_divisor(int a, int b) {
    while (b) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Cuts c into a grid of equal pieces, a multiple of the threads. Of the ways to share the threads between rows
 * and columns the one whose busiest thread has the least to do, counting for every piece also the rows of a
 * and columns of b it has to fetch; few rows are not cut, so that b is read once. */
static void cut(job *p) {
    const int panels = (p->n + 15) / 16, threads = il_pool_threads(p->engine->pool);
    p->m_step = p->m;
    p->n_step = panels * 16;
    p->m_pieces = 1;
    if (threads == 1 || (double)p->m * p->n * p->k < WORK_MIN) return;
    double best = 0;
    for (int m_pieces = 1; m_pieces <= threads && (m_pieces == 1 || p->m / m_pieces >= 2 * STREAM_ROWS);
         m_pieces *= 2) {
        int n_pieces = min_int(panels, threads / common_divisor(threads, m_pieces));
        int m_step = (p->m + m_pieces - 1) / m_pieces, n_step = (panels + n_pieces - 1) / n_pieces * 16;
        int turns = (m_pieces * n_pieces + threads - 1) / threads;
        double cost = turns * ((double)m_step * n_step + 16.0 * (m_step + n_step));
        if (best == 0 || cost < best) {
            best = cost;
            p->m_step = m_step;
            p->n_step = n_step;
            p->m_pieces = (p->m + m_step - 1) / m_step;
        }
    }
}

static void run(job *p) {
    if (p->m <= 0 || p->n <= 0) return;
    cut(p);
    int n_pieces = (p->n + p->n_step - 1) / p->n_step;
    il_pool_run(p->engine->pool, p->m_pieces * n_pieces, run_piece, p);
}

void il_gemm_packed(il_engine *engine, int m, int n, int k, il_matrix a, const float *b_packed, float *c, ptrdiff_t ldc,
                    int accumulate) {
    run(&(job){.engine = engine,
               .m = m,
               .n = n,
               .k = k,
               .a = a,
               .packed = b_packed,
               .c = c,
               .ldc = ldc,
               .accumulate = accumulate});
}

void il_gemm_bf16(il_engine *engine, int m, int n, int k, il_matrix a, const uint16_t *b_packed, float *c,
                  ptrdiff_t ldc) {
    run(&(job){.engine = engine, .m = m, .n = n, .k = k, .a = a, .bf16 = b_packed, .c = c, .ldc = ldc});
}

void il_gemm(il_engine *engine, int m, int n, int k, il_matrix a, il_matrix b, float *c, ptrdiff_t ldc,
             int accumulate) {
    run(&(job){.engine = engine, .m = m, .n = n, .k = k, .a = a, .b = b, .c = c, .ldc = ldc, .accumulate = accumulate});
}

/* ---- quantized ---- */

typedef struct quantized_job {
    job shape; /* how c is cut */
    const il_lp_matrix *b;
    size_t panel_bytes;
    int groups;
    const float *x;
    ptrdiff_t ldx;
    char *q;        /* [m, groups] of the kernels' int8 or int4 inputs */
    size_t q_bytes; /* of one */
    float *scale;   /* [m, groups] */
} quantized_job;

static int groups_of(int k) { return (k + IL_GROUP - 1) / IL_GROUP; }

/* The largest form that inputs may have. */
size_t il_quantized_bytes(int m, int k) {
    return (size_t)m * (size_t)groups_of(k) * (sizeof(il_int8_pairs) + sizeof(float));
}

static void quantize_piece(void *context, int item, int worker) {
    const quantized_job *p = context;
    const int i = item * QUANTIZE_ROWS, rows = min_int(QUANTIZE_ROWS, p->shape.m - i);
    const ptrdiff_t at = (ptrdiff_t)i * p->groups;
    (void)worker;
    const il_kernels *kernels = p->shape.engine->kernels;
    const float *x = p->x + i * p->ldx;
    void *q = p->q + (size_t)at * p->q_bytes;
    if (p->b->type == IL_WEIGHTS_INT4)
        kernels->quantize_int4(rows, p->shape.k, x, p->ldx, q, p->scale + at);
    else
        kernels->quantize(rows, p->shape.k, x, p->ldx, q, p->scale + at);
}

static void quantized_piece(void *context, int item, int worker) {
    const quantized_job *p = context;
    const job *s = &p->shape;
    const int i0 = item % s->m_pieces * s->m_step, j0 = item / s->m_pieces * s->n_step;
    const int m = min_int(s->m_step, s->m - i0), n = min_int(s->n_step, s->n - j0);
    const ptrdiff_t at = (ptrdiff_t)i0 * p->groups;
    const void *q = p->q + (size_t)at * p->q_bytes;
    const int panels = p->panel_bytes < QUANTIZED_CACHE_BLOCK ? (int)(QUANTIZED_CACHE_BLOCK / p->panel_bytes) : 1;
    const int step = m <= STREAM_ROWS ? n : 16 * panels;
    (void)worker;
    const il_kernels *kernels = s->engine->kernels;
    for (int j = 0; j < n; j += step) {
        const int columns = min_int(step, n - j);
        const unsigned char *b = p->b->panels + (size_t)((j0 + j) / 16) * p->panel_bytes;
        const ptrdiff_t b_panel = (ptrdiff_t)p->panel_bytes;
        float *c = s->c + i0 * s->ldc + j0 + j;
        if (p->b->type == IL_WEIGHTS_INT4)
            kernels->gemm_int4(m, columns, s->k, q, p->scale + at, b, b_panel, c, s->ldc);
        else
            kernels->gemm_int8(m, columns, s->k, q, p->scale + at, b, b_panel, c, s->ldc);
    }
}

void il_gemm_quantized(il_engine *engine, int m, const float *x, ptrdiff_t ldx, const il_lp_matrix *b, void *scratch,
                       float *c, ptrdiff_t ldc) {
    const int n = b->out, k = b->in, groups = groups_of(k);
    const int pieces = (m + QUANTIZE_ROWS - 1) / QUANTIZE_ROWS;
    quantized_job p = {.shape = {.engine = engine, .m = m, .n = n, .k = k, .c = c, .ldc = ldc},
                       .b = b,
                       .panel_bytes = il_lp_bytes(b->type, 16, (size_t)k),
                       .groups = groups,
                       .x = x,
                       .ldx = ldx,
                       .q = scratch,
                       .q_bytes = b->type == IL_WEIGHTS_INT4    ? sizeof(il_int4_inputs)
                                  : engine->kernels->int8_bytes ? sizeof(il_int8_bytes)
                                                                : sizeof(il_int8_pairs),
                       .scale = (float *)(void *)((il_int8_pairs *)scratch + (size_t)m * (size_t)groups)};
    if (m <= 0 || n <= 0) return;
    cut(&p.shape);
    if (p.shape.m_pieces == 1 && p.shape.n_step >= n) /* too little work to share */
        for (int i = 0; i < pieces; i++) quantize_piece(&p, i, 0);
    else
        il_pool_run(engine->pool, pieces, quantize_piece, &p);
    il_pool_run(engine->pool, p.shape.m_pieces * ((n + p.shape.n_step - 1) / p.shape.n_step), quantized_piece, &p);
}

/* ---- bfloat16, by oneDNN ---- */

typedef struct onednn_job {
    job shape; /* how c is cut */
    const il_onednn_bf16 *products;
    il_matrix_bf16 a, b;
    atomic_int status;
} onednn_job;

static void onednn_piece(void *context, int item, int worker) {
    onednn_job *p = context;
    const job *s = &p->shape;
    const int i0 = item % s->m_pieces * s->m_step, j0 = item / s->m_pieces * s->n_step;
    const int m = min_int(s->m_step, s->m - i0), n = min_int(s->n_step, s->n - j0);
    const il_matrix_bf16 a = {p->a.data + i0 * p->a.row, p->a.row, p->a.col};
    const il_matrix_bf16 b = {p->b.data + j0 * p->b.col, p->b.row, p->b.col};
    (void)worker;
    il_status status =
        il_onednn_bf16_run(p->products, m, n, s->k, a, b, s->c + i0 * s->ldc + j0, s->ldc, s->accumulate);
    if (status) atomic_store(&p->status, (int)status);
}

il_status il_gemm_onednn(il_engine *engine, const il_onednn_bf16 *products, int m, int n, int k, il_matrix_bf16 a,
                         il_matrix_bf16 b, float *c, ptrdiff_t ldc, int accumulate) {
    onednn_job p = {.shape = {.engine = engine, .m = m, .n = n, .k = k, .c = c, .ldc = ldc, .accumulate = accumulate},
                    .products = products,
                    .a = a,
                    .b = b};
    if (m <= 0 || n <= 0) return IL_OK;
    cut(&p.shape);
    il_pool_run(engine->pool, p.shape.m_pieces * ((n + p.shape.n_step - 1) / p.shape.n_step), onednn_piece, &p);
    return (il_status)atomic_load(&p.status);
}
