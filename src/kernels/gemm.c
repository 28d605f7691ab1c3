/* gemm.c: big products: cache blocking and threads around il_kernels.gemm. Owns how a product is cut; every
 * element stays one chain, because blocks over k go on from c. */
#include "kernels/gemm.h"

/* Depth of a block: a panel of 16 columns is then 24 KiB. */
enum { K_BLOCK = 384 };

typedef struct job {
    il_engine *engine;
    int m, n, k;
    il_matrix a, b;
    const float *packed, *bias; /* packed: NULL for b in plain memory */
    float *c;
    ptrdiff_t ldc;
    int accumulate;
    int m_step, n_step, m_parts; /* parts of the grid; n_step a multiple of 16 */
} job;

size_t il_packed_floats(int n, int k) {
    return n <= 0 || k <= 0 ? 0 : ((size_t)n + 15) / 16 * 16 * (size_t)k;
}

static int min_int(int a, int b) { return a < b ? a : b; }

static void run_part(void *context, int item, int worker) {
    const job *p = context;
    const il_kernels *kernels = p->engine->kernels;
    int i0 = item % p->m_parts * p->m_step, j0 = item / p->m_parts * p->n_step;
    int m = min_int(p->m_step, p->m - i0), n = min_int(p->n_step, p->n - j0);
    float *buffer = p->engine->gemm_scratch + (ptrdiff_t)worker * IL_GEMM_SCRATCH;
    const int n_chunk = p->packed ? n : IL_GEMM_SCRATCH / K_BLOCK / 16 * 16;
    float *c = p->c + i0 * p->ldc + j0;
    if (p->k == 0 && !p->accumulate) kernels->gemm(m, n, 0, p->a.data, 0, 0, buffer, 16, 16, c, p->ldc, 0);
    for (int j = 0; j < n; j += n_chunk) {
        int columns = min_int(n_chunk, n - j);
        for (int k0 = 0; k0 < p->k; k0 += K_BLOCK) {
            int depth = min_int(K_BLOCK, p->k - k0);
            const float *b;
            ptrdiff_t panel;
            if (p->packed) {
                panel = (ptrdiff_t)16 * p->k;
                b = p->packed + (j0 + j) / 16 * panel + (ptrdiff_t)16 * k0;
            } else {
                panel = (ptrdiff_t)16 * depth;
                kernels->pack(columns, depth, p->b.data + k0 * p->b.row + (j0 + j) * p->b.col, p->b.row,
                              p->b.col, buffer);
                b = buffer;
            }
            kernels->gemm(m, columns, depth, p->a.data + i0 * p->a.row + k0 * p->a.col, p->a.row, p->a.col, b,
                          16, panel, c + j, p->ldc, p->accumulate || k0 > 0);
        }
    }
    if (p->bias) kernels->add_bias(m, n, p->bias + j0, c, p->ldc);
}

static void run(job *p) {
    if (p->m <= 0 || p->n <= 0) return;
    int threads = il_pool_threads(p->engine->pool);
    if ((double)p->m * p->n * p->k < 65536) threads = 1;
    int panels = (p->n + 15) / 16;
    p->m_step = p->m;
    p->n_step = (panels + threads - 1) / threads * 16;
    p->m_parts = 1;
    if (panels < 2 * threads && p->m >= 2 * threads) {
        p->n_step = panels * 16;
        p->m_step = (p->m + threads - 1) / threads;
        p->m_parts = (p->m + p->m_step - 1) / p->m_step;
    }
    int n_parts = (p->n + p->n_step - 1) / p->n_step;
    il_pool_run(p->engine->pool, p->m_parts * n_parts, run_part, p);
}

void il_gemm_packed(il_engine *engine, int m, int n, int k, il_matrix a, const float *b_packed,
                    const float *bias, float *c, ptrdiff_t ldc, int accumulate) {
    job p = {.engine = engine, .m = m, .n = n, .k = k, .a = a, .packed = b_packed, .bias = bias};
    p.c = c;
    p.ldc = ldc;
    p.accumulate = accumulate;
    run(&p);
}

void il_gemm(il_engine *engine, int m, int n, int k, il_matrix a, il_matrix b, const float *bias, float *c,
             ptrdiff_t ldc, int accumulate) {
    job p = {.engine = engine, .m = m, .n = n, .k = k, .a = a, .b = b, .bias = bias};
    p.c = c;
    p.ldc = ldc;
    p.accumulate = accumulate;
    run(&p);
}
