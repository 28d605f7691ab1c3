/* onednn.h: the peer: one fp32 product by oneDNN with weights packed as it likes. For limits and benches
 * only; the engine itself never computes with it. Only in builds with IL_WITH_ONEDNN. */
#ifndef IL_KERNELS_ONEDNN_H
#define IL_KERNELS_ONEDNN_H

#include "base/memory.h"

typedef struct il_onednn il_onednn;

/* c [m,n] = a [m,k] · b [k,n], all row-major; b is packed here, a and c are used by every run. threads: of
 * each run. The packed weights are oneDNN's own memory. IL_ERR_UNSUPPORTED when oneDNN refuses. */
il_status il_onednn_open(const il_allocator *memory, int threads, int m, int n, int k, const float *a, const float *b,
                         float *c, il_onednn **product, il_error *error);
void il_onednn_run(il_onednn *product);
void il_onednn_close(il_onednn *product); /* NULL allowed */

#endif
