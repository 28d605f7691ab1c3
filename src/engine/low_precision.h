/* low_precision.h: weight matrices in fewer bits than fp32, as they lie in memory: panels of 16 outputs that the
 * products read and nothing beside them. Rows go in and out as numbers and as the bytes of a file. Knows nothing of
 * models. */
#ifndef IL_ENGINE_LOW_PRECISION_H
#define IL_ENGINE_LOW_PRECISION_H

#include "innerloop.h"
#include "kernels/kernels.h"

/* A matrix [out, in] of one of the low-precision types; panels [il_lp_bytes], zeroed before the first row is put.
 *   bf16: [ceil(out/16)][in][16] uint16_t, the 16 in the order 0 8 1 9 … 7 15.
 *   int8: [ceil(out/16)], padded to 64 bytes, of groups of 64 inputs (the last may be shorter): 16 float scales, then
 *         [inputs/2][16][2] int8_t. A weight is its integer times the scale of its output and group.
 *   int4: the same with [inputs/8][16] uint32_t (kernels.h: gemm_int4). */
typedef struct il_lp_matrix {
    il_weight_type type;
    int out, in;
    unsigned char *panels; /* 64-byte aligned */
} il_lp_matrix;

size_t il_lp_bytes(il_weight_type type, size_t out, size_t in);
/* Bytes of a row's values in a file, and the number of its scales: 0 unless the type is quantized. */
size_t il_lp_row_bytes(il_weight_type type, size_t in);
size_t il_lp_row_scales(il_weight_type type, size_t in);

/* Row x [in], rounded to the type. Rows of different panels may be put by different threads. */
void il_lp_put(const il_kernels *kernels, const il_lp_matrix *matrix, size_t row, const float *x);
/* The numbers of a row, [in], and those of one group: n from `from` on, a multiple of IL_LP_GROUP, n at most that. */
enum { IL_LP_GROUP = 64 };
void il_lp_get(const il_lp_matrix *matrix, size_t row, float *x);
void il_lp_get_group(const il_lp_matrix *matrix, size_t row, int from, int n, float *x);
/* Of a quantized matrix: the scale of the group that begins at `from`. */
float il_lp_scale(const il_lp_matrix *matrix, size_t row, int from);
/* A row from and to the bytes of a file, any alignment. scales: NULL where there are none. */
void il_lp_put_bytes(const il_lp_matrix *matrix, size_t row, const unsigned char *values, const unsigned char *scales);
void il_lp_get_bytes(const il_lp_matrix *matrix, size_t row, unsigned char *values, unsigned char *scales);

#endif
