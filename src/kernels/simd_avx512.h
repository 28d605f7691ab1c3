/* simd_avx512.h: the 16-lane type as one AVX-512 register. Meanings: simd_portable.h. */
#ifndef IL_KERNELS_SIMD_AVX512_H
#define IL_KERNELS_SIMD_AVX512_H

#ifndef IL_ISA_SIMDE /* tests compile this file on CPUs without AVX-512, through SIMDe */
#include <immintrin.h>
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define IL_INLINE static inline __attribute__((always_inline, unused))

typedef __m512 v16;

/* dst [4,16] = src [16,4] transposed: whole lines of dst. Rows i, i+4, i+8 and i+12 share a register, so no lane has to
 * cross quarters: the loads do it. */
IL_INLINE v16 v16_quarters_(const float *p, ptrdiff_t ld) {
    __m512 a = _mm512_castps128_ps512(_mm_loadu_ps(p));
    a = _mm512_insertf32x4(a, _mm_loadu_ps(p + 4 * ld), 1);
    a = _mm512_insertf32x4(a, _mm_loadu_ps(p + 8 * ld), 2);
    return _mm512_insertf32x4(a, _mm_loadu_ps(p + 12 * ld), 3);
}
enum { V16_TRANSPOSE_ROWS = 16, V16_TRANSPOSE_COLUMNS = 4 };
IL_INLINE void v16_transpose(const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst) {
    const v16 a = v16_quarters_(src, ld_src), b = v16_quarters_(src + ld_src, ld_src);
    const v16 c = v16_quarters_(src + 2 * ld_src, ld_src), d = v16_quarters_(src + 3 * ld_src, ld_src);
    const v16 ab_low = _mm512_unpacklo_ps(a, b), ab_high = _mm512_unpackhi_ps(a, b); /* a0 b0 a1 b1, a2 b2 a3 b3 */
    const v16 cd_low = _mm512_unpacklo_ps(c, d), cd_high = _mm512_unpackhi_ps(c, d);
    _mm512_storeu_ps(dst, _mm512_shuffle_ps(ab_low, cd_low, 0x44));
    _mm512_storeu_ps(dst + ld_dst, _mm512_shuffle_ps(ab_low, cd_low, 0xEE));
    _mm512_storeu_ps(dst + 2 * ld_dst, _mm512_shuffle_ps(ab_high, cd_high, 0x44));
    _mm512_storeu_ps(dst + 3 * ld_dst, _mm512_shuffle_ps(ab_high, cd_high, 0xEE));
}

/* 32 registers: 12 rows x 2 panels are 24 sums. Few rows take more panels, for at least 8 sums in flight. */
enum { GEMM_ROWS = 12, GEMM_UNROLL = 4 /* steps along k at once */ };
#define GEMM_PANELS 2 /* side by side in the highest tiles */
/* 768 KiB of b, in a second-level cache of 1 or 2 MiB. Deep, because a tile goes through a step in 12 cycles and each
 * visit of its place in c costs a hundred or more; wide where a transposed is copied, whose lines lie far apart. */
#define CACHE_BLOCKS                                                                                                   \
    { .packed = {1024, 192}, .b_copied = {1024, 192}, .a_copied = {256, 768}, .a_rows = 48 }
#define GEMM_TILES(STEP)                                                                                               \
    STEP(1, 8, 2)                                                                                                      \
    STEP(2, 4, 2)                                                                                                      \
    STEP(3, 4, 2)                                                                                                      \
    STEP(4, 4, 2)                                                                                                      \
    STEP(5, 2, 1)                                                                                                      \
    STEP(6, 2, 1)                                                                                                      \
    STEP(7, 2, 1)                                                                                                      \
    STEP(8, 2, 1)                                                                                                      \
    STEP(9, 2, 1)                                                                                                      \
    STEP(10, 2, 1)                                                                                                     \
    STEP(11, 2, 1)                                                                                                     \
    STEP(12, 2, 1)
/* Of gemm_read, which has 64 columns or the width of a head. */
#define GEMM_READ_TILES(STEP)                                                                                          \
    STEP(1, 4, 2)                                                                                                      \
    STEP(2, 4, 2)                                                                                                      \
    STEP(3, 4, 2)                                                                                                      \
    STEP(4, 4, 2)

IL_INLINE __mmask16 v16_mask(int n) { return (__mmask16)((1u << n) - 1u); }

IL_INLINE v16 v16_zero(void) { return _mm512_setzero_ps(); }
IL_INLINE v16 v16_set1(float x) { return _mm512_set1_ps(x); }
IL_INLINE v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
IL_INLINE void v16_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
IL_INLINE v16 v16_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v16_mask(n), p); }
IL_INLINE void v16_store_n(float *p, int n, v16 a) { _mm512_mask_storeu_ps(p, v16_mask(n), a); }
IL_INLINE v16 v16_first(int n, v16 a, v16 b) { return _mm512_mask_mov_ps(b, v16_mask(n), a); }

IL_INLINE v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
IL_INLINE v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
IL_INLINE v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
IL_INLINE v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
IL_INLINE v16 v16_sqrt(v16 a) { return _mm512_sqrt_ps(a); }
IL_INLINE v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
IL_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
IL_INLINE v16 v16_max(v16 a, v16 b) { return _mm512_max_ps(a, b); }
IL_INLINE v16 v16_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
IL_INLINE v16 v16_zero_below(v16 x, v16 least, v16 y) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), y);
}
IL_INLINE v16 v16_pow2(v16 a) {
    __m512 t = _mm512_add_ps(a, _mm512_set1_ps(12582912.0f + 127.0f));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}
IL_INLINE v16 v16_swap(v16 a) { return _mm512_permute_ps(a, 0xB1); }
IL_INLINE v16 v16_load_twice(const float *p) {
    const __m512i index = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_permutexvar_ps(index, _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
IL_INLINE __m256 v16_upper_(v16 a) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1)); }
IL_INLINE float v16_sum(v16 a) {
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(a), v16_upper_(a));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
IL_INLINE float v16_largest(v16 a) {
    __m256 s8 = _mm256_max_ps(_mm512_castps512_ps256(a), v16_upper_(a));
    __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_max_ss(s2, _mm_movehdup_ps(s2)));
}
IL_INLINE v16 v16_load_bf16_panel(const uint16_t *p) {
    __m256i both = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i low = _mm256_slli_epi32(both, 16), high = _mm256_and_si256(both, _mm256_set1_epi32(-65536));
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
}

/* ---- integers ---- */
typedef __m512i v16i;
typedef __m512i v16pairs;

IL_INLINE void v16_store_i16(int16_t *p, v16 a) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
}
IL_INLINE v16i v16i_zero(void) { return _mm512_setzero_si512(); }
IL_INLINE v16pairs v16pairs_load_i8(const int8_t *p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
IL_INLINE v16i v16i_set1_(const void *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    return _mm512_set1_epi32(word);
}
IL_INLINE v16pairs v16pairs_set1(const int16_t *p) { return v16i_set1_(p); }
/* One sum after the other: gcc would make all products of a tile first, and has no registers for them. */
IL_INLINE v16i v16i_now_(v16i acc) {
#ifndef IL_ISA_SIMDE
    __asm__ volatile("" : "+v"(acc));
#endif
    return acc;
}
IL_INLINE v16i v16i_dot(v16i acc, v16pairs a, v16pairs b) {
    return v16i_now_(_mm512_add_epi32(acc, _mm512_madd_epi16(a, b)));
}
IL_INLINE v16 v16i_float(v16i a) { return _mm512_cvtepi32_ps(a); }

typedef __m512i v16quads;

IL_INLINE void v16_store_i8_zipped(int8_t *p, v16 a) {
    const __m128i order = _mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    __m256i wide = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a));
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128((__m128i *)(void *)p, _mm_shuffle_epi8(bytes, order));
}
IL_INLINE v16quads v16quads_set1(const int8_t *p) { return v16i_set1_(p); }
IL_INLINE v16quads v16quads_load_u4(const void *p, const int high) {
    __m512i both = _mm512_loadu_si512(p);
    return _mm512_and_si512(high ? _mm512_srli_epi16(both, 4) : both, _mm512_set1_epi8(15));
}

#if defined(IL_ISA_AVX512_VNNI)
/* Four products of a byte without and one with a sign, added up in 32 bits at once: no sums of 16 bits. */
#define INT8_BYTES 1
typedef v16i v16sums;

IL_INLINE v16sums v16sums_set1(const int16_t *p) { return _mm512_madd_epi16(v16i_set1_(p), _mm512_set1_epi16(1)); }
IL_INLINE v16sums v16sums_dot(v16sums acc, v16quads a, v16quads b) { return v16i_now_(_mm512_dpbusd_epi32(acc, b, a)); }
IL_INLINE v16i v16sums_whole(v16sums a) { return a; }

IL_INLINE void v16_store_i8(int8_t *p, v16 a) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a)));
}
IL_INLINE v16quads v16quads_load(const void *p) { return _mm512_loadu_si512(p); }
IL_INLINE void v16quads_store(void *p, v16quads a) { _mm512_storeu_si512(p, a); }
IL_INLINE v16i v16i_set1(int32_t x) { return _mm512_set1_epi32(x); }
/* [2][16][2] int8_t to lanes of four, 128 added to each; half: the first [16][2] only, the others may be any. */
IL_INLINE v16quads v16quads_load_i8(const void *p, const int half) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512i pairs = half ? _mm512_castsi256_si512(_mm256_loadu_si256(p)) : _mm512_loadu_si512(p);
    return _mm512_xor_si512(_mm512_permutexvar_epi16(order, pairs), _mm512_set1_epi8(-128));
}
#else
typedef __m512i v16sums;

IL_INLINE v16sums v16sums_set1(const int16_t *p) { return v16i_set1_(p); }
IL_INLINE v16sums v16sums_dot(v16sums acc, v16quads a, v16quads b) {
    return v16i_now_(_mm512_add_epi16(acc, _mm512_maddubs_epi16(b, a)));
}
IL_INLINE v16i v16sums_whole(v16sums a) { return _mm512_madd_epi16(a, _mm512_set1_epi16(1)); }
#endif

#endif
