/* test_low_precision.c: matrices of low-precision types: what goes in comes out, and their products, bit for bit, for
 * every instruction set, thread count and odd shape. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/bits.h"
#include "engine/gemm.h"
#include "engine/low_precision.h"
#include "support_lively.h"

static uint32_t state = 1;
static float draw(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)(state >> 8 & 0xFFFFu) / 32768.0f - 1.0f;
}
static float *numbers(size_t n) {
    float *x = malloc((n ? n : 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = draw();
    return x;
}

/* A matrix of w [out, in]; panels released by free. */
static il_lp_matrix make(il_weight_type type, int out, int in, const float *w) {
    size_t bytes = il_lp_bytes(type, (size_t)out, (size_t)in);
    il_lp_matrix m = {type, out, in, aligned_alloc(64, (bytes + 63) / 64 * 64)};
    assert_non_null(m.panels);
    memset(m.panels, 0, bytes);
    for (int row = 0; row < out; row++) il_lp_put(&il_kernels_portable, &m, (size_t)row, w + (ptrdiff_t)row * in);
    return m;
}

/* Outputs and inputs: one, around a panel, around a chunk, larger. */
static const int sizes[][2] = {{1, 1},   {3, 2},    {15, 7},   {16, 16},   {17, 63},  {31, 64},
                               {40, 65}, {33, 130}, {48, 192}, {300, 320}, {64, 1100}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void rows_come_out_as_they_went_in(void **unused) {
    (void)unused;
    for (int s = 0; s < SIZES; s++) {
        int out = sizes[s][0], in = sizes[s][1];
        size_t count = (size_t)in, row_bytes = il_lp_row_bytes(IL_WEIGHTS_BF16, count);
        float *w = numbers((size_t)out * count), *x = numbers(count), *group = numbers(IL_LP_GROUP);
        unsigned char *bytes = malloc(row_bytes + 1), *again = malloc(row_bytes + 1);
        il_lp_matrix m = make(IL_WEIGHTS_BF16, out, in, w);
        il_lp_matrix other = make(IL_WEIGHTS_BF16, out, in, w);
        for (int row = out - 1; row >= 0; row--) {
            il_lp_get(&m, (size_t)row, x);
            for (int k = 0; k < in; k++) {
                uint16_t half;
                il_kernels_portable.f32_to_bf16(1, w + (ptrdiff_t)row * in + k, &half);
                assert_true(x[k] == il_float_of_bf16(half));
            }
            int last = (in - 1) / IL_LP_GROUP * IL_LP_GROUP;
            il_lp_get_group(&m, (size_t)row, last, in - last, group);
            assert_memory_equal(group, x + last, (size_t)(in - last) * sizeof *x);
            il_lp_get_bytes(&m, (size_t)row, bytes + 1, NULL); /* odd addresses are fine */
            il_lp_put_bytes(&other, (size_t)(out - 1 - row), bytes + 1, NULL);
            il_lp_get_bytes(&other, (size_t)(out - 1 - row), again, NULL);
            assert_memory_equal(bytes + 1, again, row_bytes);
        }
        free(w), free(x), free(group), free(bytes), free(again), free(m.panels), free(other.panels);
    }
}

/* bf16: the bits of the fp32 product with the widened numbers. */
static void check_bf16(il_engine *engine, int rows, int out, int in) {
    float *w = numbers((size_t)out * (size_t)in), *wide = numbers((size_t)out * (size_t)in);
    float *packed = malloc(il_packed_floats(out, in) * sizeof *packed);
    ptrdiff_t ldx = in + 3, ldy = out + 5;
    float *x = numbers((size_t)(rows * ldx)), *y = numbers((size_t)(rows * ldy)), *want = numbers((size_t)(rows * ldy));
    il_lp_matrix m = make(IL_WEIGHTS_BF16, out, in, w);
    for (int row = 0; row < out; row++) il_lp_get(&m, (size_t)row, wide + (ptrdiff_t)row * in);
    memcpy(want, y, (size_t)(rows * ldy) * sizeof *y);
    engine->kernels->pack(out, in, wide, 1, in, packed);
    il_gemm_packed(engine, rows, out, in, (il_matrix){x, ldx, 1}, packed, want, ldy, 0);
    il_gemm_bf16(engine, rows, out, in, (il_matrix){x, ldx, 1}, (const void *)m.panels, y, ldy);
    if (memcmp(y, want, (size_t)(rows * ldy) * sizeof *y) != 0)
        fail_msg("%s, %d threads: bf16 %dx%dx%d", engine->kernels->name, il_pool_threads(engine->pool), rows, out, in);
    free(w), free(wide), free(packed), free(x), free(y), free(want), free(m.panels);
}

/* ---- quantized, as docs/arithmetic.md has it ---- */

typedef struct integers {
    int q[IL_GROUP];
    float scale;
} integers;

static integers quantized(int n, const float *x) {
    integers r = {.scale = 0};
    float largest = 0;
    for (int i = 0; i < n; i++) largest = fmaxf(largest, fabsf(x[i]));
    if (largest < 0x1p-100f) return r;
    r.scale = largest / 127.0f;
    float factor = 127.0f / largest;
    for (int i = 0; i < n; i++) r.q[i] = (int)rintf(x[i] * factor);
    return r;
}

static void rows_are_quantized_by_groups(void **unused) {
    (void)unused;
    for (int s = 0; s < SIZES; s++) {
        int out = sizes[s][0], in = sizes[s][1], groups = (in + IL_GROUP - 1) / IL_GROUP;
        size_t count = (size_t)in, row_bytes = il_lp_row_bytes(IL_WEIGHTS_INT8, count);
        size_t n_scales = il_lp_row_scales(IL_WEIGHTS_INT8, count);
        assert_int_equal(row_bytes, in);
        assert_int_equal(n_scales, groups);
        float *w = numbers((size_t)out * count), *x = numbers(count);
        for (int k = 0; k < in && k < IL_GROUP; k++) w[k] = 0; /* a group of zeros */
        signed char *values = malloc(row_bytes);
        unsigned char *scales = malloc(n_scales * 4 + 1) + 1; /* odd addresses are fine */
        il_lp_matrix m = make(IL_WEIGHTS_INT8, out, in, w), other = make(IL_WEIGHTS_INT8, out, in, w);
        for (int row = out - 1; row >= 0; row--) {
            il_lp_get(&m, (size_t)row, x);
            il_lp_get_bytes(&m, (size_t)row, (unsigned char *)values, scales);
            for (int from = 0; from < in; from += IL_GROUP) {
                int n = in - from < IL_GROUP ? in - from : IL_GROUP;
                integers want = quantized(n, w + (ptrdiff_t)row * in + from);
                float scale = il_lp_scale(&m, (size_t)row, from);
                assert_true(scale == want.scale);
                assert_memory_equal(scales + from / IL_GROUP * 4, &scale, sizeof scale);
                for (int i = 0; i < n; i++) {
                    assert_int_equal(values[from + i], want.q[i]);
                    assert_true(x[from + i] == (float)want.q[i] * scale);
                    assert_true(fabsf(x[from + i] - w[(ptrdiff_t)row * in + from + i]) <= scale * 0.5001f);
                }
            }
            il_lp_put_bytes(&other, (size_t)row, (unsigned char *)values, scales);
        }
        assert_memory_equal(m.panels, other.panels, il_lp_bytes(IL_WEIGHTS_INT8, (size_t)out, count));
        free(w), free(x), free(values), free(scales - 1), free(m.panels), free(other.panels);
    }
}

/* int4: whole numbers -8 .. 7, nearer than plain rounding, under the best scale for them, and all rows there and back
 * through bytes, low halves first. */
static void int4_rows(void **unused) {
    (void)unused;
    for (int s = 0; s < SIZES; s++) {
        int out = sizes[s][0], in = sizes[s][1];
        size_t count = (size_t)in, row_bytes = il_lp_row_bytes(IL_WEIGHTS_INT4, count);
        assert_int_equal(row_bytes, (in + 1) / 2);
        float *w = numbers((size_t)out * count), *x = numbers(count);
        for (int k = 0; k < in && k < IL_GROUP; k++) w[k] = 0;
        unsigned char *values = malloc(row_bytes), *scales = malloc(4 * il_lp_row_scales(IL_WEIGHTS_INT4, count));
        il_lp_matrix m = make(IL_WEIGHTS_INT4, out, in, w), other = make(IL_WEIGHTS_INT4, out, in, w);
        memset(other.panels, 0, il_lp_bytes(IL_WEIGHTS_INT4, (size_t)out, count));
        for (int row = 0; row < out; row++) {
            il_lp_get(&m, (size_t)row, x);
            il_lp_get_bytes(&m, (size_t)row, values, scales);
            for (int from = 0; from < in; from += IL_GROUP) {
                float scale = il_lp_scale(&m, (size_t)row, from), largest = 0;
                double error = 0, plain = 0, slope = 0, squares = 0;
                for (int k = from; k < in && k < from + IL_GROUP; k++)
                    largest = fmaxf(largest, fabsf(w[(ptrdiff_t)row * in + k]));
                for (int k = from; k < in && k < from + IL_GROUP; k++) {
                    float given = w[(ptrdiff_t)row * in + k];
                    int value = (values[k / 2] >> k % 2 * 4 & 15) - 8;
                    assert_true(x[k] == (float)value * scale);
                    slope += value * ((double)given - (double)x[k]);
                    squares += value * value;
                    error += pow((double)given - (double)x[k], 2);
                    if (largest > 0)
                        plain +=
                            pow((double)given - rint((double)given / (double)largest * 7) * (double)largest / 7, 2);
                }
                assert_true(error <= plain * 1.0001 + 1e-12); /* at least as near as plain rounding */
                assert_true(fabs(slope) <= squares * fabs((double)scale) * 1e-6);
            }
            il_lp_put_bytes(&other, (size_t)row, values, scales);
            il_lp_get(&other, (size_t)row, w); /* its row 0 is not needed any more */
            assert_memory_equal(w, x, count * sizeof *x);
            for (int k = 0; k < in && row + 1 == out; k++) w[k] = 0;
        }
        free(w), free(x), free(values), free(scales), free(m.panels), free(other.panels);
    }
}

typedef struct int4_group {
    float scale;
    double error;
    int q[IL_GROUP];
} int4_group;

static int better_int4(int n, const float *x, float scale, int4_group *best) {
    int4_group tried = {.scale = scale};
    float factor = 1 / scale;
    for (int i = 0; i < n; i++) {
        float whole = rintf(x[i] * factor);
        tried.q[i] = (int)(whole > 7 ? 7 : whole < -8 ? -8 : whole);
        double off = (double)x[i] - (double)tried.q[i] * (double)scale;
        tried.error += off * off;
    }
    if (tried.error >= best->error) return 0;
    *best = tried;
    return 1;
}

/* docs/arithmetic.md, word for word, for one group. */
static int4_group best_int4(int n, const float *x) {
    int4_group best = {.scale = 0};
    float largest = 0;
    for (int i = 0; i < n; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
        best.error += (double)x[i] * (double)x[i];
    }
    if (largest < 0x1p-100f) return best;
    for (int step = 0; step <= 8; step++)
        for (int sign = 1; sign >= -1; sign -= 2)
            better_int4(n, x, (float)sign * (largest / (7.0f + 0.25f * (float)step)), &best);
    for (double products = 1, squares = 1; squares > 0;) {
        products = squares = 0;
        for (int i = 0; i < n; i++) {
            products += (double)x[i] * (double)best.q[i];
            squares += (double)best.q[i] * (double)best.q[i];
        }
        if (!better_int4(n, x, (float)(products / squares), &best)) break;
    }
    return best;
}

/* 16 groups at once are what each is alone, whatever the instruction set, the size of the numbers and their number. */
static void int4_groups_are_rounded_alike(void **unused) {
    (void)unused;
    static const char *const sets[] = {"portable", "avx2", "avx512", "avx512_vnni", "neon"};
    enum { OUT = 3, IN = 2 * 16 * IL_GROUP + 5 * IL_GROUP + 9 };
    float *w = numbers(OUT * IN), *x = numbers(IN);
    for (int i = 0; i < OUT * IN; i++) {
        int group = i % IN / IL_GROUP;
        if (group % 7 == 1) w[i] = 0;
        if (group % 7 == 2) w[i] = ldexpf(w[i], -90);
        if (group % 7 == 3) w[i] = rintf(w[i] * 8) / 4;
        if (group % 7 == 4 && i % 9) w[i] /= 20;
    }
    for (size_t set = 0; set < sizeof sets / sizeof *sets; set++) {
        const il_kernels *kernels = il_kernels_pick(sets[set]);
        if (!kernels) continue;
        il_lp_matrix m = make(IL_WEIGHTS_INT4, OUT, IN, w);
        for (int row = 0; row < OUT; row++) {
            il_lp_put(kernels, &m, (size_t)row, w + (ptrdiff_t)row * IN);
            il_lp_get(&m, (size_t)row, x);
            for (int from = 0; from < IN; from += IL_GROUP) {
                int n = IN - from < IL_GROUP ? IN - from : IL_GROUP;
                int4_group best = best_int4(n, w + (ptrdiff_t)row * IN + from);
                assert_true(il_lp_scale(&m, (size_t)row, from) == best.scale);
                for (int i = 0; i < n; i++) assert_true(x[from + i] == (float)best.q[i] * best.scale);
            }
        }
        free(m.panels);
    }
    free(w), free(x);
}

/* int4: whole numbers of some scale come out as they went in, -8 .. 7, -7 .. 8 and -7 .. 7. */
static void int4_keeps_what_it_holds(void **unused) {
    (void)unused;
    float w[IL_GROUP], x[IL_GROUP];
    for (int n = 16; n <= IL_GROUP; n++)
        for (int least = -8; least <= -7; least++)
            for (int sign = -1; sign <= 1; sign += 2) {
                for (int i = 0; i < n; i++) w[i] = (float)(sign * (i % (8 - least) + least)) * 0.375f;
                il_lp_matrix m = make(IL_WEIGHTS_INT4, 1, n, w);
                il_lp_get(&m, 0, x);
                for (int i = 0; i < n; i++) assert_true(x[i] == w[i]);
                free(m.panels);
            }
    w[3] = NAN;
    il_lp_matrix m = make(IL_WEIGHTS_INT4, 1, IL_GROUP, w);
    assert_true(isnan(il_lp_scale(&m, 0, 0)));
    free(m.panels);
}

static void check_quantized(il_engine *engine, il_weight_type type, int rows, int out, int in) {
    float *w = numbers((size_t)out * (size_t)in);
    ptrdiff_t ldx = in + 3, ldy = out + 5;
    float *x = numbers((size_t)(rows * ldx)), *y = numbers((size_t)(rows * ldy)), *want = numbers((size_t)(rows * ldy));
    for (int k = 0; k < in && k < IL_GROUP; k++) x[k] *= rows % 2 ? 0.0f : 1e-37f; /* groups that are zero */
    for (int k = 0; k < in; k++) x[(rows - 1) * ldx + k] *= 1e20f;
    il_lp_matrix m = make(type, out, in, w);
    float *held = numbers((size_t)in);
    memcpy(want, y, (size_t)(rows * ldy) * sizeof *y);
    for (int j = 0; j < out; j++) {
        il_lp_get(&m, (size_t)j, held);
        for (int i = 0; i < rows; i++) {
            float acc = 0;
            for (int from = 0; from < in; from += IL_GROUP) {
                int n = in - from < IL_GROUP ? in - from : IL_GROUP, dot = 0;
                integers left = quantized(n, x + i * ldx + from);
                float scale = il_lp_scale(&m, (size_t)j, from);
                for (int k = 0; k < n && scale != 0; k++) dot += left.q[k] * (int)rintf(held[from + k] / scale);
                acc = fmaf((float)dot, left.scale * scale, acc);
            }
            want[i * ldy + j] = acc;
        }
    }
    size_t bytes = il_quantized_bytes(rows, in);
    unsigned char *scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(scratch, 0xA5, bytes);
    il_gemm_quantized(engine, rows, x, ldx, &m, scratch, y, ldy);
    if (memcmp(y, want, (size_t)(rows * ldy) * sizeof *y) != 0)
        fail_msg("%s, %d threads: %s %dx%dx%d", engine->kernels->name, il_pool_threads(engine->pool),
                 il_weight_type_name(type), rows, out, in);
    free(held), free(w), free(x), free(y), free(want), free(m.panels), free(scratch);
}

/* The largest sums there are, of either sign, in groups of every length: weights -8 and 7, all of them or in patterns,
 * and inputs -127 and 127; scales of both signs. */
static void check_extremes(il_engine *engine, int rows) {
    enum { ROWS = 25, OUT = 20, IN = 2 * IL_GROUP };
    static const uint32_t signs[] = {0, ~0u, 0x55555555u, 0x33333333u, 0x0F0F0F0Fu, 0xFFFF0000u};
    enum { SIGNS = sizeof signs / sizeof *signs };
    for (int in = 1; in <= IN; in++) {
        float x[ROWS * IN], y[ROWS * OUT], scales[2] = {0.5f, -3.0f};
        float *zero = calloc((size_t)(OUT * in), sizeof *zero);
        il_lp_matrix m = make(IL_WEIGHTS_INT4, OUT, in, zero);
        for (int j = 0; j < OUT; j++) {
            unsigned char bytes[IN / 2] = {0};
            for (int k = 0; k < in; k++)
                if (signs[j % SIGNS] >> k % 32 & 1) bytes[k / 2] |= (unsigned char)(15 << k % 2 * 4);
            il_lp_put_bytes(&m, (size_t)j, bytes, (const void *)scales);
        }
        for (int i = 0; i < rows; i++)
            for (int k = 0; k < in; k++) x[i * in + k] = signs[i % SIGNS] >> k % 32 & 1 ? 127 : -127;
        unsigned char *scratch = aligned_alloc(64, (il_quantized_bytes(rows, in) + 63) / 64 * 64);
        il_gemm_quantized(engine, rows, x, in, &m, scratch, y, OUT);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < OUT; j++) {
                float acc = 0;
                for (int from = 0; from < in; from += IL_GROUP) {
                    int dot = 0;
                    for (int k = from; k < in && k < from + IL_GROUP; k++)
                        dot += (int)x[i * in + k] * (signs[j % SIGNS] >> k % 32 & 1 ? 7 : -8);
                    acc = fmaf((float)dot, scales[from / IL_GROUP], acc);
                }
                if (y[i * OUT + j] != acc) fail_msg("%s, %d inputs: %d, %d", engine->kernels->name, in, i, j);
            }
        free(zero), free(m.panels), free(scratch);
    }
}

/* A row with a number that is none gives no number; its neighbours are as they were. */
static void check_nonfinite(il_engine *engine, il_weight_type type) {
    enum { ROWS = 7, OUT = 20, IN = 100 };
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    float *w = numbers(OUT * IN), *x = numbers(ROWS * IN), y[ROWS * OUT], with[ROWS * OUT];
    unsigned char *scratch = aligned_alloc(64, (il_quantized_bytes(ROWS, IN) + 63) / 64 * 64);
    il_lp_matrix m = make(type, OUT, IN, w);
    il_gemm_quantized(engine, ROWS, x, IN, &m, scratch, y, OUT);
    for (int i = 0; i < ROWS; i++)
        for (int b = 0; b < 3; b++)
            for (int at = 0; at < IN; at += 33) {
                float kept = x[i * IN + at];
                x[i * IN + at] = bad[b];
                il_gemm_quantized(engine, ROWS, x, IN, &m, scratch, with, OUT);
                x[i * IN + at] = kept;
                for (int j = 0; j < ROWS * OUT; j++) assert_true(j / OUT == i ? isnan(with[j]) : with[j] == y[j]);
            }
    free(w), free(x), free(scratch), free(m.panels);
}

static void products_on_every_machine(void **unused) {
    (void)unused;
    static const int rows[] = {1, 2, 5, 6, 7, 12, 23, 24, 25, 50};
    const char *before = NULL;
    for (const lively_way *way = lively_ways(); way->threads; before = way->kernels, way++) {
        il_engine *engine = lively_engine(way->threads, way->kernels);
        for (int s = 0; s < SIZES; s++)
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                check_bf16(engine, rows[r], sizes[s][0], sizes[s][1]);
                check_quantized(engine, IL_WEIGHTS_INT8, rows[r], sizes[s][0], sizes[s][1]);
                check_quantized(engine, IL_WEIGHTS_INT4, rows[r], sizes[s][0], sizes[s][1]);
            }
        check_nonfinite(engine, IL_WEIGHTS_INT8);
        check_nonfinite(engine, IL_WEIGHTS_INT4);
        for (int few = 0; few < 2 && before != way->kernels; few++) /* one tile; panels put in order for more */
            check_extremes(engine, few ? 7 : 25);
        il_engine_close(engine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_out_as_they_went_in),
        cmocka_unit_test(rows_are_quantized_by_groups),
        cmocka_unit_test(int4_rows),
        cmocka_unit_test(int4_groups_are_rounded_alike),
        cmocka_unit_test(int4_keeps_what_it_holds),
        cmocka_unit_test(products_on_every_machine),
    };
    return cmocka_run_group_tests_name("low_precision", tests, NULL, NULL);
}
