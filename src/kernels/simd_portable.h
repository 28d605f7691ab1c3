/* simd_portable.h: the 16-lane type in plain C. The meaning of every operation: the other simd_*.h give the
 * same bits. Knows lanes only; no kernel and no loop over a row belongs here. */
#ifndef IL_KERNELS_SIMD_PORTABLE_H
#define IL_KERNELS_SIMD_PORTABLE_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Calls, not inlined: compilers drown in 16-lane temporaries (minutes and gigabytes with sanitizers). */
#define IL_INLINE static __attribute__((noinline, unused))

typedef struct v16 {
    float lane[16];
} v16;

enum { GEMM_ROWS = 4, GEMM_UNROLL = 1 /* steps along k at once */ };
/* STEP(rows, panels, fewer): a strip of so many rows has tiles of so many panels, then of fewer (products.inc.h). */
#define GEMM_PANELS 1 /* side by side in the highest tiles */
#define GEMM_TILES(STEP)                                                                                               \
    STEP(1, 2, 1)                                                                                                      \
    STEP(2, 1, 1)                                                                                                      \
    STEP(3, 1, 1)                                                                                                      \
    STEP(4, 1, 1)
/* Of gemm_read, which has 64 columns or the width of a head. */
#define GEMM_READ_TILES(STEP)                                                                                          \
    STEP(1, 2, 1)                                                                                                      \
    STEP(2, 1, 1)                                                                                                      \
    STEP(3, 1, 1)                                                                                                      \
    STEP(4, 1, 1)

#define EACH_LANE for (int i = 0; i < 16; i++)

IL_INLINE v16 v16_set1(float x) {
    v16 y;
    EACH_LANE y.lane[i] = x;
    return y;
}
IL_INLINE v16 v16_zero(void) { return v16_set1(0.0f); }
/* Any alignment. */
IL_INLINE v16 v16_load(const float *p) {
    v16 y;
    memcpy(y.lane, p, sizeof y.lane);
    return y;
}
IL_INLINE void v16_store(float *p, v16 a) { memcpy(p, a.lane, sizeof a.lane); }
/* Lanes 0 .. n-1 from memory, 0 elsewhere, where memory is not touched. n in 0 .. 16. */
IL_INLINE v16 v16_load_n(const float *p, int n) {
    v16 y;
    EACH_LANE y.lane[i] = i < n ? p[i] : 0.0f;
    return y;
}
IL_INLINE void v16_store_n(float *p, int n, v16 a) {
    for (int i = 0; i < n; i++) p[i] = a.lane[i];
}
/* Lanes 0 .. n-1 of a, the others of b. */
IL_INLINE v16 v16_first(int n, v16 a, v16 b) {
    EACH_LANE if (i >= n) a.lane[i] = b.lane[i];
    return a;
}

IL_INLINE v16 v16_add(v16 a, v16 b) {
    EACH_LANE a.lane[i] += b.lane[i];
    return a;
}
IL_INLINE v16 v16_sub(v16 a, v16 b) {
    EACH_LANE a.lane[i] -= b.lane[i];
    return a;
}
IL_INLINE v16 v16_mul(v16 a, v16 b) {
    EACH_LANE a.lane[i] *= b.lane[i];
    return a;
}
IL_INLINE v16 v16_div(v16 a, v16 b) {
    EACH_LANE a.lane[i] /= b.lane[i];
    return a;
}
IL_INLINE v16 v16_sqrt(v16 a) {
    EACH_LANE a.lane[i] = sqrtf(a.lane[i]);
    return a;
}
/* a*b + c and c - a*b, rounded once. */
#if defined(FP_FAST_FMAF) || FLT_EVAL_METHOD != 0
IL_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    EACH_LANE c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}
#else
/* Where that is no instruction, but a call or a hundred of them. In double a product of floats is exact, and the sum s
 * is rounded, by e, which is known exactly. Rounded to odd instead (s that is not exact has a last bit of 1) it is on
 * the same side of every border between two floats as the true sum, and rounds as that does. */
IL_INLINE float fma_lane(float a, float b, float c) {
    double p = (double)a * (double)b, s = p + (double)c, t = s - p, e = (p - (s - t)) + ((double)c - t);
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    if (fabs(e) > 0 && !(bits & 1)) bits += (e > 0) == (s > 0) ? 1 : UINT64_MAX; /* NaN, infinity: e is NaN */
    memcpy(&s, &bits, sizeof s);
    return (float)s;
}
/* The true sum lies between s (1 - 2^-52) and s (1 + 2^-52). If these round to one float, it does too; in 2^27 random
 * numbers one does not, of sums of short numbers more. */
IL_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    v16 above, below;
    int differ = 0;
    EACH_LANE {
        double s = (double)a.lane[i] * (double)b.lane[i] + (double)c.lane[i];
        above.lane[i] = (float)(s * (1 + 0x1p-52));
        below.lane[i] = (float)(s * (1 - 0x1p-52));
    }
    EACH_LANE differ |= above.lane[i] != below.lane[i];
    if (differ) EACH_LANE above.lane[i] = fma_lane(a.lane[i], b.lane[i], c.lane[i]);
    return above;
}
#endif
IL_INLINE v16 v16_fnma(v16 a, v16 b, v16 c) {
    EACH_LANE a.lane[i] = -a.lane[i];
    return v16_fma(a, b, c);
}
/* As x86 has them: b when either is NaN or both are zero, so a limit goes first and NaN comes through. */
IL_INLINE v16 v16_max(v16 a, v16 b) {
    EACH_LANE a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
IL_INLINE v16 v16_min(v16 a, v16 b) {
    EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
/* y, but 0 where x < least. */
IL_INLINE v16 v16_zero_below(v16 x, v16 least, v16 y) {
    EACH_LANE y.lane[i] = x.lane[i] < least.lane[i] ? 0.0f : y.lane[i];
    return y;
}
/* 2^a for integers a in -126 .. 127. Adding 1.5 * 2^23 leaves the integer in the low mantissa bits, biased by
 * 127 here; the shift makes it the exponent field and drops everything else. Other a: any number. */
IL_INLINE v16 v16_pow2(v16 a) {
    EACH_LANE {
        float t = a.lane[i] + (12582912.0f + 127.0f);
        uint32_t bits;
        memcpy(&bits, &t, sizeof bits);
        bits <<= 23;
        memcpy(&a.lane[i], &bits, sizeof bits);
    }
    return a;
}
/* Neighbours exchanged: lanes 1 0 3 2 … */
IL_INLINE v16 v16_swap(v16 a) {
    v16 y;
    EACH_LANE y.lane[i] = a.lane[i ^ 1];
    return y;
}
/* p[0] p[0] p[1] p[1] …: 8 numbers, each in two lanes. */
IL_INLINE v16 v16_load_twice(const float *p) {
    v16 y;
    EACH_LANE y.lane[i] = p[i / 2];
    return y;
}
/* The fixed tree of every sum: halves added until one is left. */
IL_INLINE float v16_sum(v16 a) {
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] + a.lane[i + half];
    return a.lane[0];
}
/* The largest lane, by v16_max over the same tree. */
IL_INLINE float v16_largest(v16 a) {
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) a.lane[i] = a.lane[i] > a.lane[i + half] ? a.lane[i] : a.lane[i + half];
    return a.lane[0];
}
/* dst [C,R] = src [R,C] transposed, R = V16_TRANSPOSE_ROWS, C = V16_TRANSPOSE_COLUMNS. No overlap. */
enum { V16_TRANSPOSE_ROWS = 4, V16_TRANSPOSE_COLUMNS = 4 };
IL_INLINE void v16_transpose(const float *src, ptrdiff_t ld_src, float *dst, ptrdiff_t ld_dst) {
    for (int i = 0; i < V16_TRANSPOSE_ROWS; i++)
        for (int j = 0; j < V16_TRANSPOSE_COLUMNS; j++) dst[j * ld_dst + i] = src[i * ld_src + j];
}
/* bfloat16, the upper half of a float, from panels, where lanes 0 8 1 9 … 7 15 follow each other: each pair of lanes i
 * and i+8 is one 32-bit word, from which a shift and a mask make two floats. */
IL_INLINE v16 v16_load_bf16_panel(const uint16_t *p) {
    v16 y;
    EACH_LANE {
        uint32_t bits = (uint32_t)p[i < 8 ? 2 * i : 2 * i - 15] << 16;
        memcpy(&y.lane[i], &bits, sizeof bits);
    }
    return y;
}

/* ---- integers ---- */

/* Whole numbers that int16_t holds, to memory. */
IL_INLINE void v16_store_i16(int16_t *p, v16 a) { EACH_LANE p[i] = (int16_t)a.lane[i]; }

/* Lanes of int32_t, and lanes of two int16_t. */
typedef struct v16i {
    int32_t lane[16];
} v16i;
typedef struct v16pairs {
    int16_t lane[16][2];
} v16pairs;

IL_INLINE v16i v16i_zero(void) { return (v16i){{0}}; }
/* [16][2] int8_t */
IL_INLINE v16pairs v16pairs_load_i8(const int8_t *p) {
    v16pairs y;
    EACH_LANE {
        y.lane[i][0] = p[2 * i];
        y.lane[i][1] = p[2 * i + 1];
    }
    return y;
}
/* p[0] and p[1] in every lane; |p[i]| ≤ 128 (one instruction set makes bytes of them again). */
IL_INLINE v16pairs v16pairs_set1(const int16_t *p) {
    v16pairs y;
    EACH_LANE {
        y.lane[i][0] = p[0];
        y.lane[i][1] = p[1];
    }
    return y;
}
/* acc + a[0]*b[0] + a[1]*b[1] */
IL_INLINE v16i v16i_dot(v16i acc, v16pairs a, v16pairs b) {
    EACH_LANE acc.lane[i] += a.lane[i][0] * b.lane[i][0] + a.lane[i][1] * b.lane[i][1];
    return acc;
}
/* Exact below 2^24. */
IL_INLINE v16 v16i_float(v16i a) {
    v16 y;
    EACH_LANE y.lane[i] = (float)a.lane[i];
    return y;
}

/* Lanes of four bytes, and lanes of two sums modulo 2^16. */
typedef struct v16quads {
    int8_t lane[16][4];
} v16quads;
typedef struct v16sums {
    int16_t lane[16][2];
} v16sums;

/* Whole numbers that int8_t holds, to memory, of each eight in the order 0 4 1 5 2 6 3 7. */
IL_INLINE void v16_store_i8_zipped(int8_t *p, v16 a) {
    EACH_LANE p[i / 8 * 8 + i % 4 * 2 + i % 8 / 4] = (int8_t)a.lane[i];
}
/* p[0] .. p[3] in every lane. */
IL_INLINE v16quads v16quads_set1(const int8_t *p) {
    v16quads y;
    EACH_LANE memcpy(y.lane[i], p, 4);
    return y;
}
/* [16][4] bytes: the low halves of each, or the high ones; 0 .. 15. */
IL_INLINE v16quads v16quads_load_u4(const void *p, int high) {
    const unsigned char *bytes = p;
    v16quads y;
    EACH_LANE for (int j = 0; j < 4; j++) y.lane[i][j] = (int8_t)(bytes[4 * i + j] >> 4 * high & 15);
    return y;
}
/* p[0] and p[1] in every lane. */
IL_INLINE v16sums v16sums_set1(const int16_t *p) {
    v16sums y;
    EACH_LANE memcpy(y.lane[i], p, sizeof y.lane[i]);
    return y;
}
/* acc[j] + a[2j]*b[2j] + a[2j+1]*b[2j+1] modulo 2^16; b 0 .. 15, so that 16 bits hold the sum of two products. */
IL_INLINE v16sums v16sums_dot(v16sums acc, v16quads a, v16quads b) {
    EACH_LANE for (int j = 0; j < 2; j++) {
        int sum = a.lane[i][2 * j] * b.lane[i][2 * j] + a.lane[i][2 * j + 1] * b.lane[i][2 * j + 1];
        uint16_t bits = (uint16_t)(acc.lane[i][j] + sum);
        memcpy(&acc.lane[i][j], &bits, sizeof bits);
    }
    return acc;
}
/* The two sums of each lane, added. */
IL_INLINE v16i v16sums_whole(v16sums a) {
    v16i y;
    EACH_LANE y.lane[i] = a.lane[i][0] + a.lane[i][1];
    return y;
}

#undef EACH_LANE
#endif
