/* onednn.h: products by oneDNN: the peer that limits and benches compare with, and the bfloat16 products that training
 * may ask for. Inference never computes with them: their sums have an order of oneDNN's own. */
#ifndef IL_ENGINE_ONEDNN_H
#define IL_ENGINE_ONEDNN_H

#include "base/memory.h"

/* ---- the peer: one product with weights packed as oneDNN likes; only in builds with IL_WITH_ONEDNN ---- */

typedef struct il_onednn il_onednn;

/* Elements of a, b and c. */
typedef enum il_onednn_kind {
    IL_ONEDNN_F32,  /* float, float, float */
    IL_ONEDNN_BF16, /* uint16_t, uint16_t, float */
    IL_ONEDNN_INT8  /* uint8_t, int8_t, int32_t: unsigned times signed is what every x86 multiplies fastest */
} il_onednn_kind;

/* c [m,n] = a [m,k] · b [k,n], all row-major; b is packed here, a and c are used by every run. threads: of
 * each run. The packed weights are oneDNN's own memory. IL_ERR_UNSUPPORTED when oneDNN refuses. */
il_status il_onednn_open(const il_allocator *memory, int threads, il_onednn_kind kind, int m, int n, int k,
                         const void *a, const void *b, void *c, il_onednn **product, il_error *error);
void il_onednn_run(il_onednn *product);
void il_onednn_close(il_onednn *product); /* NULL allowed */

/* ---- bfloat16 products of any shape; in every build ---- */

typedef struct il_onednn_bf16 il_onednn_bf16;

/* A matrix of bfloat16 seen through strides, one of which is 1: element (i,j) at data[i*row + j*col]. */
typedef struct il_matrix_bf16 {
    const uint16_t *data;
    ptrdiff_t row, col;
} il_matrix_bf16;

/* Whether they are faster than our exact ones here: with AMX, and a build that has oneDNN. AVX-512's own bf16
 * instruction is not enough (docs/notebook/2026-11-29-bf16-training.md). Else IL_ERR_UNSUPPORTED, which says what is
 * missing. */
il_status il_onednn_bf16_check(il_error *error);
il_status il_onednn_bf16_open(const il_allocator *memory, il_onednn_bf16 **products, il_error *error);
void il_onednn_bf16_close(il_onednn_bf16 *products); /* NULL allowed */
/* c [m,n] = a [m,k] · b [k,n], or c += with accumulate; c and the sums are fp32. By the calling thread alone, any
 * number of threads at a time. IL_ERR_NOMEM when oneDNN finds no memory; c is then not defined. Allocates nothing of
 * ours. */
il_status il_onednn_bf16_run(const il_onednn_bf16 *products, int m, int n, int k, il_matrix_bf16 a, il_matrix_bf16 b,
                             float *c, ptrdiff_t ldc, int accumulate);

#endif
