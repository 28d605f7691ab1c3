/* simd_x86.h: what the two x86 types share. Included by simd_avx2.h and simd_avx512.h, after the intrinsics. */
#ifndef IL_KERNELS_SIMD_X86_H
#define IL_KERNELS_SIMD_X86_H

#include <stddef.h>

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

#endif
