/* isa.c: the one source of all compute kernels, compiled once per instruction set over that set's 16-lane
 * type. Owns the arithmetic; refuses threads, memory and any knowledge of a model. One subject for each file that it
 * includes. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#if defined(IL_ISA_AVX512) || defined(IL_ISA_AVX512_VNNI)
#include "kernels/simd_avx512.h"
#elif defined(IL_ISA_AVX2)
#include "kernels/simd_avx2.h"
#elif defined(IL_ISA_NEON)
#include "kernels/simd_neon.h"
#else
#include "kernels/simd_portable.h"
#endif

#ifndef CACHE_BLOCKS
/* A panel of 16 columns 384 deep is 24 KiB and stays in the first-level cache while the rows go by; 256 of them are
 * 384 KiB, within a second-level cache of 512 KiB. Where b or a is copied on the way, twice as wide, so that the copies
 * pay; a transposed is as deep as leaves room beside the panel of b. */
#define CACHE_BLOCKS                                                                                                   \
    { .packed = {384, 256}, .b_copied = {384, 512}, .a_copied = {192, 512}, .a_rows = 16 }
#endif
#ifndef INT8_BYTES
#define INT8_BYTES 0 /* int8 inputs in pairs of 16 bits (kernels.h) */
#endif

/* Loops with constant bounds that must disappear, so that arrays of sums become registers. */
#if defined(IL_ISA_PORTABLE)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* A step of a loop: inlined for every instruction set, also where IL_INLINE makes calls. */
#define IL_STEP static inline __attribute__((always_inline, unused))

#include "kernels/maths.inc.h"

#include "kernels/doubles.inc.h"
#include "kernels/elementwise.inc.h"
#include "kernels/norms.inc.h"
#include "kernels/products.inc.h"
#include "kernels/products_dual.inc.h"
#include "kernels/quantized.inc.h"
#include "kernels/sequence.inc.h"
#include "kernels/softmax.inc.h"
#include "kernels/weights_int4.inc.h"

const il_kernels IL_KERNELS_NAME = {
    .name = IL_ISA_TEXT,
    .int8_bytes = INT8_BYTES,
    .cache_blocks = CACHE_BLOCKS,
    .gemm = gemm,
    .gemm_read = gemm_read,
    .gemm_bf16 = gemm_bf16,
    .quantize = quantize,
    .quantize_int4 = quantize_int4,
    .weights_int4 = weights_int4,
    .gemm_int8 = gemm_int8,
    .gemm_int4 = gemm_int4,
    .rank_update = rank_update,
    .lower_product = lower_product,
    .lower_solve = lower_solve,
    .pack = pack,
    .transpose = transpose,
    .add = add,
    .axpy = axpy,
    .scale = scale,
    .mul = mul,
    .sigmoid = sigmoid,
    .gelu = gelu,
    .gelu_grad = gelu_grad,
    .gelu_grad2 = gelu_grad2,
    .softplus = softplus,
    .silu = silu,
    .silu_back = silu_back,
    .silu_mul = silu_mul,
    .silu_mul_back = silu_mul_back,
    .gelu_mul = gelu_mul,
    .gelu_mul_back = gelu_mul_back,
    .add_bias = add_bias,
    .rms_norm = rms_norm,
    .rms_norm_back = rms_norm_back,
    .layer_norm = layer_norm,
    .layer_norm_back = layer_norm_back,
    .ln_loss_grad = ln_loss_grad,
    .ln_loss_grad_back = ln_loss_grad_back,
    .rope = rope,
    .rope_half = rope_half,
    .conv = conv,
    .conv_back = conv_back,
    .log_sum_exp = log_sum_exp,
    .exp_shift = exp_shift,
    .draw_weights = draw_weights,
    .softmax_key_block = softmax_key_block,
    .softmax_rows = softmax_rows,
    .softmax_rows_back = softmax_rows_back,
    .row_dot = row_dot,
    .sum_squares = sum_squares,
    .all_finite = all_finite,
    .adamw = adamw,
    .f32_to_bf16 = f32_to_bf16,
};
