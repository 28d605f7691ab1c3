/* simde_avx512.h: AVX-512 intrinsics by SIMDe on AVX2, included before isa.c to run simd_avx512.h on CPUs
 * without it. The few that SIMDe lacks are written here from Intel's description. */
#ifndef IL_TESTS_SIMDE_AVX512_H
#define IL_TESTS_SIMDE_AVX512_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <stdint.h>

static inline simde__m512 simde_extra_maskz_loadu_ps(uint16_t mask, const float *p) {
    float lane[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) lane[i] = p[i];
    return simde_mm512_loadu_ps(lane);
}
static inline void simde_extra_mask_storeu_ps(float *p, uint16_t mask, simde__m512 a) {
    float lane[16];
    simde_mm512_storeu_ps(lane, a);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1) p[i] = lane[i];
}
/* In every group of four lanes, lane i takes lane (control >> 2i) & 3. */
static inline simde__m512 simde_extra_permute_ps(simde__m512 a, int control) {
    float from[16], to[16];
    simde_mm512_storeu_ps(from, a);
    for (int i = 0; i < 16; i++) to[i] = from[i / 4 * 4 + (control >> (2 * (i % 4)) & 3)];
    return simde_mm512_loadu_ps(to);
}
static inline simde__m512i simde_extra_cvtps_epi32(simde__m512 a) {
    float from[16];
    int32_t to[16];
    simde_mm512_storeu_ps(from, a);
    for (int i = 0; i < 16; i++) to[i] = _mm_cvtss_si32(_mm_set_ss(from[i]));
    return simde_mm512_loadu_si512(to);
}
static inline simde__m512 simde_extra_cvtepi32_ps(simde__m512i a) {
    int32_t from[16];
    float to[16];
    simde_mm512_storeu_si512(from, a);
    for (int i = 0; i < 16; i++) to[i] = (float)from[i];
    return simde_mm512_loadu_ps(to);
}
static inline __m256i simde_extra_cvtepi32_epi16(simde__m512i a) {
    int32_t from[16];
    int16_t to[16];
    simde_mm512_storeu_si512(from, a);
    for (int i = 0; i < 16; i++) to[i] = (int16_t)from[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}
static inline __m128i simde_extra_cvtepi32_epi8(simde__m512i a) {
    int32_t from[16];
    int8_t to[16];
    simde_mm512_storeu_si512(from, a);
    for (int i = 0; i < 16; i++) to[i] = (int8_t)from[i];
    return _mm_loadu_si128((const __m128i *)(const void *)to);
}
#undef _mm512_maskz_loadu_ps
#define _mm512_maskz_loadu_ps simde_extra_maskz_loadu_ps
#undef _mm512_mask_storeu_ps
#define _mm512_mask_storeu_ps simde_extra_mask_storeu_ps
#undef _mm512_permute_ps
#define _mm512_permute_ps simde_extra_permute_ps
#undef _mm512_cvtepi32_ps
#define _mm512_cvtepi32_ps simde_extra_cvtepi32_ps
#undef _mm512_cvtps_epi32
#define _mm512_cvtps_epi32 simde_extra_cvtps_epi32
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16 simde_extra_cvtepi32_epi16
#undef _mm512_cvtepi32_epi8
#define _mm512_cvtepi32_epi8 simde_extra_cvtepi32_epi8
#undef _mm512_madd_epi16 /* its alias has the arguments of another */
#define _mm512_madd_epi16 simde_mm512_madd_epi16

#endif
