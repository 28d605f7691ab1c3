/* simd_avx2.h: the 16-lane type as two AVX2 registers. Meanings: simd_portable.h. */
#ifndef IL_KERNELS_SIMD_AVX2_H
#define IL_KERNELS_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IL_INLINE static inline __attribute__((always_inline, unused))

typedef struct v16 {
    __m256 lo, hi;
} v16;

/* Four numbers of each of two rows, a half each. */
IL_INLINE __m256 v16_halves_(const float *low, const float *high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1);
}
/* dst [4,8] = src [8,4] transposed. Rows i and i+4 share a register, so no lane has to cross the halves: the loads do
 * it. */
enum { V16_TRANSPOSE_ROWS = 8, V16_TRANSPOSE_COLUMNS = 4 };
IL_INLINE void v16_transpose(const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst) {
    const __m256 a = v16_halves_(src, src + 4 * ld_src);
    const __m256 b = v16_halves_(src + ld_src, src + 5 * ld_src);
    const __m256 c = v16_halves_(src + 2 * ld_src, src + 6 * ld_src);
    const __m256 d = v16_halves_(src + 3 * ld_src, src + 7 * ld_src);
    const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b); /* a0 b0 a1 b1, a2 b2 a3 b3 */
    const __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(dst, _mm256_shuffle_ps(ab_low, cd_low, 0x44));
    _mm256_storeu_ps(dst + ld_dst, _mm256_shuffle_ps(ab_low, cd_low, 0xEE));
    _mm256_storeu_ps(dst + 2 * ld_dst, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
    _mm256_storeu_ps(dst + 3 * ld_dst, _mm256_shuffle_ps(ab_high, cd_high, 0xEE));
}

/* 16 registers: 6 rows x 16 columns are 12 sums, leaving 2 for the panel and 2 for the row's number. One row:
 * four panels, 8 sums, as many as two multiply-add units of latency 4 need. */
enum { GEMM_ROWS = 6, GEMM_UNROLL = 1 /* steps along k at once */ };
#define GEMM_PANELS 1 /* side by side in the highest tiles */
#define GEMM_TILES(STEP)                                                                                               \
    STEP(1, 4, 1)                                                                                                      \
    STEP(2, 3, 1)                                                                                                      \
    STEP(3, 2, 1)                                                                                                      \
    STEP(4, 1, 1)                                                                                                      \
    STEP(5, 1, 1)                                                                                                      \
    STEP(6, 1, 1)
/* Of gemm_read, which has 64 columns or the width of a head. */
#define GEMM_READ_TILES(STEP)                                                                                          \
    STEP(1, 4, 1)                                                                                                      \
    STEP(2, 2, 1)                                                                                                      \
    STEP(3, 2, 1)                                                                                                      \
    STEP(4, 1, 1)

static const int32_t v16_mask_[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

/* Sign bits set in lanes half .. half+7 that are below n. */
IL_INLINE __m256i v16_mask(int n, int half) {
    return _mm256_loadu_si256((const __m256i *)(const void *)(v16_mask_ + 16 - n + half));
}

IL_INLINE v16 v16_zero(void) { return (v16){_mm256_setzero_ps(), _mm256_setzero_ps()}; }
IL_INLINE v16 v16_set1(float x) { return (v16){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
IL_INLINE v16 v16_load(const float *p) { return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
IL_INLINE void v16_store(float *p, v16 a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
}
IL_INLINE v16 v16_load_n(const float *p, int n) {
    return (v16){_mm256_maskload_ps(p, v16_mask(n, 0)), _mm256_maskload_ps(p + 8, v16_mask(n, 8))};
}
IL_INLINE void v16_store_n(float *p, int n, v16 a) {
    _mm256_maskstore_ps(p, v16_mask(n, 0), a.lo);
    _mm256_maskstore_ps(p + 8, v16_mask(n, 8), a.hi);
}
IL_INLINE v16 v16_first(int n, v16 a, v16 b) {
    return (v16){_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(v16_mask(n, 0))),
                 _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(v16_mask(n, 8)))};
}

IL_INLINE v16 v16_add(v16 a, v16 b) { return (v16){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_sub(v16 a, v16 b) { return (v16){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_mul(v16 a, v16 b) { return (v16){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_div(v16 a, v16 b) { return (v16){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_sqrt(v16 a) { return (v16){_mm256_sqrt_ps(a.lo), _mm256_sqrt_ps(a.hi)}; }
IL_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
IL_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
}
IL_INLINE v16 v16_max(v16 a, v16 b) { return (v16){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_min(v16 a, v16 b) { return (v16){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
IL_INLINE v16 v16_zero_below(v16 x, v16 least, v16 y) {
    return (v16){_mm256_and_ps(_mm256_cmp_ps(x.lo, least.lo, _CMP_NLT_UQ), y.lo),
                 _mm256_and_ps(_mm256_cmp_ps(x.hi, least.hi, _CMP_NLT_UQ), y.hi)};
}
IL_INLINE __m256 v16_pow2_(__m256 a) {
    __m256 t = _mm256_add_ps(a, _mm256_set1_ps(12582912.0f + 127.0f));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}
IL_INLINE v16 v16_pow2(v16 a) { return (v16){v16_pow2_(a.lo), v16_pow2_(a.hi)}; }
IL_INLINE v16 v16_swap(v16 a) { return (v16){_mm256_permute_ps(a.lo, 0xB1), _mm256_permute_ps(a.hi, 0xB1)}; }
IL_INLINE __m256 v16_twice_(__m128 a) { return _mm256_set_m128(_mm_unpackhi_ps(a, a), _mm_unpacklo_ps(a, a)); }
IL_INLINE v16 v16_load_twice(const float *p) {
    return (v16){v16_twice_(_mm_loadu_ps(p)), v16_twice_(_mm_loadu_ps(p + 4))};
}
IL_INLINE float v16_sum(v16 a) {
    __m256 s8 = _mm256_add_ps(a.lo, a.hi);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
IL_INLINE float v16_largest(v16 a) {
    __m256 s8 = _mm256_max_ps(a.lo, a.hi);
    __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}
IL_INLINE v16 v16_load_bf16_panel(const uint16_t *p) {
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return (v16){_mm256_castsi256_ps(_mm256_slli_epi32(both, 16)),
                 _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)))};
}

/* ---- integers ---- */
typedef struct v16i {
    __m256i lo, hi;
} v16i;
typedef v16i v16pairs;

IL_INLINE void v16_store_i16(int16_t *p, v16 a) {
    __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)); /* quarters 0 2 1 3 */
    _mm256_storeu_si256((__m256i *)(void *)p, _mm256_permute4x64_epi64(both, 0xD8));
}
IL_INLINE v16i v16i_zero(void) { return (v16i){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
IL_INLINE v16pairs v16pairs_load_i8(const int8_t *p) {
    const __m128i *half = (const __m128i *)(const void *)p;
    return (v16pairs){_mm256_cvtepi8_epi16(_mm_loadu_si128(half)), _mm256_cvtepi8_epi16(_mm_loadu_si128(half + 1))};
}
IL_INLINE v16i v16i_set1_(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return (v16i){_mm256_set1_epi32(word), _mm256_set1_epi32(word)};
}
IL_INLINE v16pairs v16pairs_set1(const int16_t *p) { return v16i_set1_(p); }
IL_INLINE v16i v16i_dot(v16i acc, v16pairs a, v16pairs b) {
    acc.lo = _mm256_add_epi32(acc.lo, _mm256_madd_epi16(a.lo, b.lo));
    acc.hi = _mm256_add_epi32(acc.hi, _mm256_madd_epi16(a.hi, b.hi));
    /* One sum after the other: gcc would make all products of a tile first, and has no registers for them. */
    __asm__ volatile("" : "+x"(acc.lo), "+x"(acc.hi));
    return acc;
}
IL_INLINE v16 v16i_float(v16i a) { return (v16){_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }

typedef v16i v16quads;
typedef v16i v16sums;

IL_INLINE void v16_store_i8_zipped(int8_t *p, v16 a) {
    __m256i both = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)); /* 0-3 8-11, 4-7 12-15 */
    __m128i low = _mm_and_si128(_mm256_castsi256_si128(both), _mm_set1_epi16(255));
    __m128i high = _mm_slli_epi16(_mm256_extracti128_si256(both, 1), 8);
    _mm_storeu_si128((__m128i *)(void *)p, _mm_or_si128(low, high));
}
IL_INLINE v16quads v16quads_set1(const int8_t *p) { return v16i_set1_(p); }
IL_INLINE v16sums v16sums_set1(const int16_t *p) { return v16i_set1_(p); }
IL_INLINE __m256i v16quads_u4_(const void *p, const int high) {
    __m256i both = _mm256_loadu_si256((const __m256i *)p);
    return _mm256_and_si256(high ? _mm256_srli_epi16(both, 4) : both, _mm256_set1_epi8(15));
}
IL_INLINE v16quads v16quads_load_u4(const void *p, const int high) {
    return (v16quads){v16quads_u4_(p, high), v16quads_u4_((const char *)p + 32, high)};
}
IL_INLINE v16sums v16sums_dot(v16sums acc, v16quads a, v16quads b) {
    acc.lo = _mm256_add_epi16(acc.lo, _mm256_maddubs_epi16(b.lo, a.lo));
    acc.hi = _mm256_add_epi16(acc.hi, _mm256_maddubs_epi16(b.hi, a.hi));
    __asm__ volatile("" : "+x"(acc.lo), "+x"(acc.hi)); /* as in v16i_dot */
    return acc;
}
IL_INLINE v16i v16sums_whole(v16sums a) {
    const __m256i one = _mm256_set1_epi16(1);
    return (v16i){_mm256_madd_epi16(a.lo, one), _mm256_madd_epi16(a.hi, one)};
}

#endif
