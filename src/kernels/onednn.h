/* onednn.h: the peer: one product by oneDNN, fp32 or int8, with weights packed as it likes. For limits and benches
 * only; the engine itself never computes with it. Only in builds with IL_WITH_ONEDNN. */
#ifndef IL_KERNELS_ONEDNN_H
#define IL_KERNELS_ONEDNN_H

#include "base/memory.h"

typedef struct il_onednn il_onednn;

/* Elements of a, b and c. */
typedef enum il_onednn_kind {
    IL_ONEDNN_F32, /* float, float, float */
    IL_ONEDNN_INT8 /* uint8_t, int8_t, int32_t: unsigned times signed is what every x86 multiplies fastest */
} il_onednn_kind;

/* c [m,n] = a [m,k] · b [k,n], all row-major; b is packed here, a and c are used by every run. threads: of
 * each run. The packed weights are oneDNN's own memory. IL_ERR_UNSUPPORTED when oneDNN refuses. */
il_status il_onednn_open(const il_allocator *memory, int threads, il_onednn_kind kind, int m, int n, int k,
                         const void *a, const void *b, void *c, il_onednn **product, il_error *error);
void il_onednn_run(il_onednn *product);
void il_onednn_close(il_onednn *product); /* NULL allowed */

#endif
