/* gemm.h: big matrix products: threads and cache blocks around il_kernels.gemm. Threads split outputs, never sums, so
 * the bits are those of the plain chain. */
#ifndef IL_ENGINE_GEMM_H
#define IL_ENGINE_GEMM_H

#include "engine/engine.h"
#include "engine/low_precision.h"
#include "engine/onednn.h"
#include "kernels/kernels.h"

/* Floats of packing buffer that each worker of the engine owns (il_engine.gemm_scratch): for a cache block of b,
 * then for rows of a. */
enum { IL_GEMM_COPY = 192 * 1024, IL_GEMM_SCRATCH = 256 * 1024 };

/* One operand of c = a · b seen through strides: element (i,j) at data[i*row + j*col]. */
typedef struct il_matrix {
    const float *data;
    ptrdiff_t row, col;
} il_matrix;

/* Floats of a packed [k,n] right operand: panels [ceil(n/16)][k][16]. */
size_t il_packed_floats(int n, int k);

/* c [m,n] = a [m,k] · packed b; accumulate: chains start from c. Uses the engine's threads; m = 1 is a matrix-vector
 * product that streams the panels once. No allocation. */
void il_gemm_packed(il_engine *engine, int m, int n, int k, il_matrix a, const float *b_packed, float *c, ptrdiff_t ldc,
                    int accumulate);

/* c = a · b with b packed in bfloat16, the last panel padded with zeros: the bits of il_gemm_packed on the widened b.
 */
void il_gemm_bf16(il_engine *engine, int m, int n, int k, il_matrix a, const uint16_t *b_packed, float *c,
                  ptrdiff_t ldc);

/* A scratch buffer for il_gemm_quantized, 64-byte aligned. */
size_t il_quantized_bytes(int m, int k);
/* c = x · b with b [n,k] quantized (low_precision.h) and the rows of x quantized on the way, each by itself. */
void il_gemm_quantized(il_engine *engine, int m, const float *x, ptrdiff_t ldx, const il_lp_matrix *b, void *scratch,
                       float *c, ptrdiff_t ldc);

/* il_gemm_packed with b in plain memory, one of its strides 1: cache blocks of b are packed on the way (worth it for m
 * ≥ 32).
 */
void il_gemm(il_engine *engine, int m, int n, int k, il_matrix a, il_matrix b, float *c, ptrdiff_t ldc, int accumulate);

/* The same of bfloat16 operands by oneDNN, for training: fp32 sums in an order of its own. Failures as
 * il_onednn_bf16_run's. */
il_status il_gemm_onednn(il_engine *engine, const il_onednn_bf16 *products, int m, int n, int k, il_matrix_bf16 a,
                         il_matrix_bf16 b, float *c, ptrdiff_t ldc, int accumulate);

#endif
