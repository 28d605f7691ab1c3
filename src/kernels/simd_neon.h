/* simd_neon.h: the 16-lane type as four AArch64 Advanced SIMD registers. Meanings: simd_portable.h. On
 * AArch64 vectors obey the FPCR as scalars do, so by default nothing is flushed and every operation here is
 * IEEE's. */
#ifndef IL_KERNELS_SIMD_NEON_H
#define IL_KERNELS_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IL_INLINE static inline __attribute__((always_inline, unused))

/* Four members, not float32x4x4_t: compilers keep that one in adjacent registers and copy it about. */
typedef struct v16 {
    float32x4_t q0, q1, q2, q3;
} v16;

/* 32 registers: 5 rows x 16 columns are 20 sums, with 4 for the panel and 5 for the rows' numbers. (At 6 rows
 * gcc, which loads all the numbers first, keeps three sums in memory.) Few rows take more panels, for 16 sums
 * in flight. */
enum { GEMM_ROWS = 5, GEMM_UNROLL = 1 /* steps along k at once */ };
#define GEMM_PANELS 1 /* side by side in the highest tiles */
#define GEMM_TILES(STEP)                                                                                               \
    STEP(1, 3, 1)                                                                                                      \
    STEP(2, 2, 1)                                                                                                      \
    STEP(3, 1, 1)                                                                                                      \
    STEP(4, 1, 1)                                                                                                      \
    STEP(5, 1, 1)
/* Of gemm_read, which has 64 columns or the width of a head. */
#define GEMM_READ_TILES(STEP)                                                                                          \
    STEP(1, 2, 1)                                                                                                      \
    STEP(2, 2, 1)                                                                                                      \
    STEP(3, 1, 1)                                                                                                      \
    STEP(4, 1, 1)

/* One operation on each of the four registers. */
#define V16_MAP1(F, a)                                                                                                 \
    (v16) { F((a).q0), F((a).q1), F((a).q2), F((a).q3) }
#define V16_MAP2(F, a, b)                                                                                              \
    (v16) { F((a).q0, (b).q0), F((a).q1, (b).q1), F((a).q2, (b).q2), F((a).q3, (b).q3) }
#define V16_MAP3(F, a, b, c)                                                                                           \
    (v16) { F((a).q0, (b).q0, (c).q0), F((a).q1, (b).q1, (c).q1), F((a).q2, (b).q2, (c).q2), F((a).q3, (b).q3, (c).q3) }

IL_INLINE v16 v16_set1(float x) {
    float32x4_t y = vdupq_n_f32(x);
    return (v16){y, y, y, y};
}
IL_INLINE v16 v16_zero(void) { return v16_set1(0.0f); }
IL_INLINE v16 v16_load(const float *p) {
    return (v16){vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
IL_INLINE void v16_store(float *p, v16 a) {
    vst1q_f32(p, a.q0);
    vst1q_f32(p + 4, a.q1);
    vst1q_f32(p + 8, a.q2);
    vst1q_f32(p + 12, a.q3);
}

/* There are no masked loads: a register goes whole, or by its half and its odd lane. n: any number. */
IL_INLINE float32x4_t v16_load_n_(const float *p, int n) {
    const float32x2_t zero = vdup_n_f32(0.0f);
    if (n >= 4) return vld1q_f32(p);
    if (n == 3) return vcombine_f32(vld1_f32(p), vld1_lane_f32(p + 2, zero, 0));
    if (n == 2) return vcombine_f32(vld1_f32(p), zero);
    if (n == 1) return vcombine_f32(vld1_lane_f32(p, zero, 0), zero);
    return vdupq_n_f32(0.0f);
}
IL_INLINE void v16_store_n_(float *p, int n, float32x4_t a) {
    if (n >= 4) {
        vst1q_f32(p, a);
    } else if (n == 3) {
        vst1_f32(p, vget_low_f32(a));
        vst1q_lane_f32(p + 2, a, 2);
    } else if (n == 2) {
        vst1_f32(p, vget_low_f32(a));
    } else if (n == 1) {
        vst1q_lane_f32(p, a, 0);
    }
}
IL_INLINE v16 v16_load_n(const float *p, int n) {
    return (v16){v16_load_n_(p, n), v16_load_n_(p + 4, n - 4), v16_load_n_(p + 8, n - 8), v16_load_n_(p + 12, n - 12)};
}
IL_INLINE void v16_store_n(float *p, int n, v16 a) {
    v16_store_n_(p, n, a.q0);
    v16_store_n_(p + 4, n - 4, a.q1);
    v16_store_n_(p + 8, n - 8, a.q2);
    v16_store_n_(p + 12, n - 12, a.q3);
}

static const uint32_t v16_mask_[32] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
IL_INLINE v16 v16_first(int n, v16 a, v16 b) {
    const uint32_t *mask = v16_mask_ + 16 - n;
    return (v16){vbslq_f32(vld1q_u32(mask), a.q0, b.q0), vbslq_f32(vld1q_u32(mask + 4), a.q1, b.q1),
                 vbslq_f32(vld1q_u32(mask + 8), a.q2, b.q2), vbslq_f32(vld1q_u32(mask + 12), a.q3, b.q3)};
}

IL_INLINE v16 v16_add(v16 a, v16 b) { return V16_MAP2(vaddq_f32, a, b); }
IL_INLINE v16 v16_sub(v16 a, v16 b) { return V16_MAP2(vsubq_f32, a, b); }
IL_INLINE v16 v16_mul(v16 a, v16 b) { return V16_MAP2(vmulq_f32, a, b); }
IL_INLINE v16 v16_div(v16 a, v16 b) { return V16_MAP2(vdivq_f32, a, b); }
IL_INLINE v16 v16_sqrt(v16 a) { return V16_MAP1(vsqrtq_f32, a); }
IL_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return V16_MAP3(vfmaq_f32, c, a, b); }
IL_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return V16_MAP3(vfmsq_f32, c, a, b); }
/* FMAX and FMIN order zeros and prefer a NaN on either side; the meaning here is a comparison. */
IL_INLINE float32x4_t v16_max_(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
IL_INLINE float32x4_t v16_min_(float32x4_t a, float32x4_t b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
IL_INLINE v16 v16_max(v16 a, v16 b) { return V16_MAP2(v16_max_, a, b); }
IL_INLINE v16 v16_min(v16 a, v16 b) { return V16_MAP2(v16_min_, a, b); }
IL_INLINE float32x4_t v16_zero_below_(float32x4_t x, float32x4_t least, float32x4_t y) {
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(y), vcltq_f32(x, least)));
}
IL_INLINE v16 v16_zero_below(v16 x, v16 least, v16 y) { return V16_MAP3(v16_zero_below_, x, least, y); }
IL_INLINE float32x4_t v16_pow2_(float32x4_t a) {
    float32x4_t t = vaddq_f32(a, vdupq_n_f32(12582912.0f + 127.0f));
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(t), 23));
}
IL_INLINE v16 v16_pow2(v16 a) { return V16_MAP1(v16_pow2_, a); }
IL_INLINE v16 v16_swap(v16 a) { return V16_MAP1(vrev64q_f32, a); }
IL_INLINE v16 v16_load_twice(const float *p) {
    float32x4_t a = vld1q_f32(p), b = vld1q_f32(p + 4);
    return (v16){vzip1q_f32(a, a), vzip2q_f32(a, a), vzip1q_f32(b, b), vzip2q_f32(b, b)};
}
IL_INLINE float v16_sum(v16 a) {
    float32x4_t s4 = vaddq_f32(vaddq_f32(a.q0, a.q2), vaddq_f32(a.q1, a.q3));
    float32x2_t s2 = vadd_f32(vget_low_f32(s4), vget_high_f32(s4));
    return vget_lane_f32(s2, 0) + vget_lane_f32(s2, 1);
}
IL_INLINE float v16_largest(v16 a) {
    float32x4_t s4 = v16_max_(v16_max_(a.q0, a.q2), v16_max_(a.q1, a.q3));
    float32x4_t s2 = v16_max_(s4, vextq_f32(s4, s4, 2));
    return vgetq_lane_f32(v16_max_(s2, vdupq_laneq_f32(s2, 1)), 0);
}
enum { V16_TRANSPOSE_ROWS = 4, V16_TRANSPOSE_COLUMNS = 4 };
IL_INLINE void v16_transpose(const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst) {
    const float32x4_t a = vld1q_f32(src), b = vld1q_f32(src + ld_src);
    const float32x4_t c = vld1q_f32(src + 2 * ld_src), d = vld1q_f32(src + 3 * ld_src);
    const float32x4x2_t ab = vtrnq_f32(a, b), cd = vtrnq_f32(c, d); /* a0 b0 a2 b2, a1 b1 a3 b3 */
    vst1q_f32(dst, vcombine_f32(vget_low_f32(ab.val[0]), vget_low_f32(cd.val[0])));
    vst1q_f32(dst + ld_dst, vcombine_f32(vget_low_f32(ab.val[1]), vget_low_f32(cd.val[1])));
    vst1q_f32(dst + 2 * ld_dst, vcombine_f32(vget_high_f32(ab.val[0]), vget_high_f32(cd.val[0])));
    vst1q_f32(dst + 3 * ld_dst, vcombine_f32(vget_high_f32(ab.val[1]), vget_high_f32(cd.val[1])));
}

IL_INLINE v16 v16_load_bf16_panel(const uint16_t *p) {
    const uint32x4_t mask = vdupq_n_u32(0xFFFF0000u);
    uint32x4_t a = vreinterpretq_u32_u16(vld1q_u16(p)), b = vreinterpretq_u32_u16(vld1q_u16(p + 8));
    return (v16){vreinterpretq_f32_u32(vshlq_n_u32(a, 16)), vreinterpretq_f32_u32(vshlq_n_u32(b, 16)),
                 vreinterpretq_f32_u32(vandq_u32(a, mask)), vreinterpretq_f32_u32(vandq_u32(b, mask))};
}

/* ---- integers ---- */
typedef struct v16i {
    int32x4_t q0, q1, q2, q3;
} v16i;
typedef struct v16pairs { /* four lanes each; int8_t is enough for what is multiplied here */
    int8x8_t q0, q1, q2, q3;
} v16pairs;

IL_INLINE int16x4_t v16_i16_(float32x4_t a) { return vmovn_s32(vcvtq_s32_f32(a)); }
IL_INLINE void v16_store_i16(int16_t *p, v16 a) {
    vst1q_s16(p, vcombine_s16(v16_i16_(a.q0), v16_i16_(a.q1)));
    vst1q_s16(p + 8, vcombine_s16(v16_i16_(a.q2), v16_i16_(a.q3)));
}
IL_INLINE v16i v16i_zero(void) {
    int32x4_t y = vdupq_n_s32(0);
    return (v16i){y, y, y, y};
}
IL_INLINE v16pairs v16pairs_load_i8(const int8_t *p) {
    return (v16pairs){vld1_s8(p), vld1_s8(p + 8), vld1_s8(p + 16), vld1_s8(p + 24)};
}
IL_INLINE v16pairs v16pairs_set1(const int16_t *p) {
    int8x8_t y = vreinterpret_s8_u16(vdup_n_u16((uint16_t)((p[0] & 0xFF) | (p[1] & 0xFF) << 8)));
    return (v16pairs){y, y, y, y};
}
IL_INLINE int32x4_t v16i_dot_(int32x4_t acc, int8x8_t a, int8x8_t b) { return vpadalq_s16(acc, vmull_s8(a, b)); }
IL_INLINE v16i v16i_dot(v16i acc, v16pairs a, v16pairs b) {
    return (v16i){v16i_dot_(acc.q0, a.q0, b.q0), v16i_dot_(acc.q1, a.q1, b.q1), v16i_dot_(acc.q2, a.q2, b.q2),
                  v16i_dot_(acc.q3, a.q3, b.q3)};
}
IL_INLINE v16 v16i_float(v16i a) { return V16_MAP1(vcvtq_f32_s32, a); }

typedef struct v16quads {
    int8x16_t q0, q1, q2, q3;
} v16quads;
typedef struct v16sums {
    int16x8_t q0, q1, q2, q3;
} v16sums;

IL_INLINE int8x8_t v16_i8_zipped_(float32x4_t a, float32x4_t b) {
    int8x8_t bytes = vmovn_s16(vcombine_s16(v16_i16_(a), v16_i16_(b)));
    return vzip1_s8(bytes, vext_s8(bytes, bytes, 4));
}
IL_INLINE void v16_store_i8_zipped(int8_t *p, v16 a) {
    vst1_s8(p, v16_i8_zipped_(a.q0, a.q1));
    vst1_s8(p + 8, v16_i8_zipped_(a.q2, a.q3));
}
IL_INLINE int32x4_t v16i_set1_(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return vdupq_n_s32(word);
}
IL_INLINE v16quads v16quads_set1(const int8_t *p) {
    int8x16_t y = vreinterpretq_s8_s32(v16i_set1_(p));
    return (v16quads){y, y, y, y};
}
IL_INLINE v16sums v16sums_set1(const int16_t *p) {
    int16x8_t y = vreinterpretq_s16_s32(v16i_set1_(p));
    return (v16sums){y, y, y, y};
}
IL_INLINE int8x16_t v16quads_u4_(const unsigned char *p, const int high) {
    uint8x16_t both = vld1q_u8(p);
    return vreinterpretq_s8_u8(high ? vshrq_n_u8(both, 4) : vandq_u8(both, vdupq_n_u8(15)));
}
IL_INLINE v16quads v16quads_load_u4(const void *p, const int high) {
    const unsigned char *at = p;
    return (v16quads){v16quads_u4_(at, high), v16quads_u4_(at + 16, high), v16quads_u4_(at + 32, high),
                      v16quads_u4_(at + 48, high)};
}
IL_INLINE int16x8_t v16sums_dot_(int16x8_t acc, int8x16_t a, int8x16_t b) {
    int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
    return vaddq_s16(acc, vpaddq_s16(low, high));
}
IL_INLINE v16sums v16sums_dot(v16sums acc, v16quads a, v16quads b) {
    return (v16sums){v16sums_dot_(acc.q0, a.q0, b.q0), v16sums_dot_(acc.q1, a.q1, b.q1),
                     v16sums_dot_(acc.q2, a.q2, b.q2), v16sums_dot_(acc.q3, a.q3, b.q3)};
}
IL_INLINE v16i v16sums_whole(v16sums a) {
    return (v16i){vpaddlq_s16(a.q0), vpaddlq_s16(a.q1), vpaddlq_s16(a.q2), vpaddlq_s16(a.q3)};
}

#undef V16_MAP1
#undef V16_MAP2
#undef V16_MAP3

#endif
