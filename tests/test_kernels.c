/* Every kernel in every instruction set on every odd shape: the bits of the portable table, nothing touched
 * outside the rows, nothing read outside the buffers; and the portable bits themselves against a list that
 * all compilers must meet. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/philox.h"
#include "support_kernels.h"

#ifdef IL_TEST_SIMDE
extern const il_kernels il_kernels_avx512_simde, il_kernels_avx512_vnni_simde;
#endif

/* The tables this machine can run, portable first. */
enum { TABLES_MAX = 7 };
static int tables(const il_kernels *list[TABLES_MAX]) {
    static const char *const names[] = {"avx2", "avx512", "avx512_vnni", "neon"};
    int n = 0;
    list[n++] = &il_kernels_portable;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (il_kernels_pick(names[i])) list[n++] = il_kernels_pick(names[i]);
#ifdef IL_TEST_SIMDE
    if (il_kernels_pick("avx2")) list[n++] = &il_kernels_avx512_simde, list[n++] = &il_kernels_avx512_vnni_simde;
#else
    print_message("without SIMDe: AVX-512 is checked only where the CPU has it\n");
#endif
    return n;
}

enum { ROWS_STEPS = 8, N_MAX = 70, OUTPUT_BYTES_MAX = 1 << 18 };
static const int rows_of[ROWS_STEPS] = {0, 1, 2, 3, 5, 7, 12, 14};

/* The outputs of a run, one after another. */
static size_t outputs(const kernel_run *run, unsigned char *bytes) {
    size_t used = 0;
    for (int i = 0; i < run->slots; i++) {
        if (!run->written[i]) continue;
        assert_true(used + run->bytes[i] <= OUTPUT_BYTES_MAX);
        memcpy(bytes + used, run->data[i], run->bytes[i]);
        used += run->bytes[i];
    }
    return used;
}

static kernel_run shape(int rows, int n, int variant) {
    static const int pads[] = {0, 1, 5};
    return (kernel_run){.rows = rows,
                        .n = n,
                        .pad = pads[n % 3],
                        .variant = variant,
                        .seed = (uint32_t)(rows * 1000 + n * 10 + variant)};
}

static void test_same_bits(void **unused) {
    (void)unused;
    static unsigned char want[OUTPUT_BYTES_MAX], got[OUTPUT_BYTES_MAX];
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    kernel_slots_open();
    for (int c = 0; c < n_kernel_cases; c++)
        for (int variant = 0; variant < kernel_cases[c].variants; variant++)
            for (int step = 0; step < ROWS_STEPS; step++)
                for (int n = 1; n <= N_MAX; n++) {
                    size_t bytes = 0;
                    for (int table = 0; table < n_tables; table++)
                        for (int at_end = 0; at_end < 2; at_end++) {
                            kernel_run run = shape(rows_of[step], n, variant);
                            run.kernels = list[table];
                            run.at_end = at_end;
                            kernel_cases[c].run(&run);
                            size_t size = outputs(&run, table || at_end ? got : want);
                            if (!table && !at_end)
                                bytes = size;
                            else if (size != bytes || memcmp(want, got, size) != 0)
                                fail_msg("%s %s: rows %d, n %d, variant %d", list[table]->name, kernel_cases[c].name,
                                         rows_of[step], n, variant);
                        }
                }
    kernel_slots_close();
}

/* Between the rows of an output nothing changes: the numbers it held before, drawn again, are still there.
 * The portable table is enough, the others equal it. */
static void test_gaps_untouched(void **unused) {
    (void)unused;
    kernel_slots_open();
    for (int c = 0; c < n_kernel_cases; c++)
        for (int variant = 0; variant < kernel_cases[c].variants; variant++)
            for (int n = 1; n <= 40; n++) {
                kernel_run run = shape(3, n, variant), before = run;
                /* With no kernels run the outputs hold the generator's numbers: replay it over the same
                 * sizes. */
                run.kernels = &il_kernels_portable;
                kernel_cases[c].run(&run);
                if (!run.pad || strstr(kernel_cases[c].name, "gemm_int")) continue; /* test_low_precision looks */
                int width = strstr(kernel_cases[c].name, "rope") ? 2 * n : n;
                if (strcmp(kernel_cases[c].name, "transpose") == 0 || strcmp(kernel_cases[c].name, "pack") == 0)
                    continue;
                size_t rows_bytes = (size_t)(2 * (width + run.pad) + width) * sizeof(float);
                for (int i = 0; i < run.slots; i++) {
                    uint32_t state = before.seed;
                    if (!run.written[i] || run.bytes[i] != rows_bytes) continue;
                    /* Numbers drawn before this buffer: all earlier buffers', in order; scalars come after
                     * vectors. */
                    for (int j = 0; j < i; j++) {
                        size_t each = j == 1 && strcmp(kernel_cases[c].name, "gemm_bf16") == 0 ? 2 : sizeof(float);
                        for (size_t b = 0; b < run.bytes[j]; b += each) kernel_draw(&state);
                    }
                    if (strcmp(kernel_cases[c].name, "softmax_key_block") == 0 ||
                        strcmp(kernel_cases[c].name, "softmax_rows") == 0)
                        for (int r = 0; r < run.rows; r++) kernel_draw(&state); /* the valid counts */
                    const float *x = (const float *)(const void *)run.data[i];
                    for (int j = 0; j < 2 * (width + run.pad) + width; j++) {
                        float drawn = kernel_draw(&state);
                        if (j % (width + run.pad) >= width && memcmp(x + j, &drawn, sizeof drawn) != 0)
                            fail_msg("%s: n %d, variant %d: gap after column %d", kernel_cases[c].name, n, variant,
                                     j % (width + run.pad));
                    }
                }
            }
    kernel_slots_close();
}

/* Columns past n may hold anything: NaN there changes no bit. */
static void test_neighbours_do_not_matter(void **unused) {
    (void)unused;
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    enum { M = 5, K = 7, LD = 48 };
    static float a[M * LD], b[K * LD], c[2][M * LD], x[M * LD], y[2][M * LD], w[LD];
    for (int table = 0; table < n_tables; table++)
        for (int n = 1; n < 40; n++)
            for (int poisoned = 0; poisoned < 2; poisoned++) {
                uint32_t state = 5;
                for (int i = 0; i < M * LD; i++) a[i] = kernel_draw(&state), x[i] = kernel_draw(&state);
                for (int i = 0; i < K * LD; i++) b[i] = kernel_draw(&state);
                for (int i = 0; i < LD; i++) w[i] = kernel_draw(&state);
                for (int i = 0; i < M * LD; i++) c[poisoned][i] = y[poisoned][i] = 0;
                if (poisoned)
                    for (int j = n; j < LD; j++) {
                        for (int r = 0; r < K; r++) b[r * LD + j] = NAN;
                        for (int r = 0; r < M; r++) x[r * LD + j] = NAN;
                        w[j] = INFINITY;
                    }
                list[table]->gemm(M, n, K, a, LD, 1, b, LD, 16, c[poisoned], LD, 0);
                list[table]->layer_norm(M, n, x, LD, w, w, 1e-6f, y[poisoned], LD, NULL, 0, NULL);
                list[table]->log_sum_exp(M, n, x, LD, y[poisoned] + LD - M);
                if (poisoned) {
                    assert_memory_equal(c[0], c[1], sizeof c[0]);
                    assert_memory_equal(y[0], y[1], sizeof y[0]);
                }
            }
}

/* gemm_read is gemm, whatever is fetched meanwhile. */
static void test_gemm_read(void **unused) {
    (void)unused;
    enum { M = 14, K = 260, N = 80 };
    static float a[M * K], b[K * N], elsewhere[16], want[M * N], got[M * N];
    uint32_t state = 9;
    for (int i = 0; i < M * K; i++) a[i] = kernel_draw(&state);
    for (int i = 0; i < K * N; i++) b[i] = kernel_draw(&state);
    for (int m = 0; m <= M; m++)
        for (int n = 1; n <= N; n += 13)
            for (int k = 1; k <= K; k += 37)
                for (int accumulate = 0; accumulate < 2; accumulate++) {
                    for (int i = 0; i < M * N; i++) want[i] = got[i] = (float)i;
                    il_kernels_portable.gemm(m, n, k, a, K, 1, b, n, IL_LANES, want, N, accumulate);
                    il_kernels_portable.gemm_read(m, n, k, a, K, b, elsewhere, got, N, accumulate);
                    assert_memory_equal(got, want, sizeof want);
                }
}

/* The weights of attention: exp, but exact 0 below e^-60; what is no number stays none. */
static void test_small_weights(void **unused) {
    (void)unused;
    static const float scores[] = {0.0f,   -0.0f,  -1e-45f, -1.0f,  -59.0f,   -59.99999f, -60.0f, -60.00001f, -61.0f,
                                   -87.0f, -88.0f, -104.0f, -1e10f, -3.4e38f, -INFINITY,  -2.0f,  NAN};
    enum { N = sizeof scores / sizeof *scores };
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    float zero = 0, want[N], got[N], block[N];
    memcpy(want, scores, sizeof want);
    il_kernels_portable.exp_shift(1, N, want, N, &zero);
    for (int table = 0; table < n_tables; table++) {
        float top = 0, sum = 0, correction;
        int valid = N;
        memcpy(got, scores, sizeof got);
        memcpy(block, scores, sizeof block);
        list[table]->softmax_rows(1, N, &valid, 1.0f, got, N, &zero);
        valid = N - 1;
        list[table]->softmax_key_block(1, N, &valid, 1.0f, block, N, &top, &sum, &correction);
        assert_true(correction == 1.0f && top == 0.0f && sum > 3.50f && sum < 3.51f);
        for (int i = 0; i < N; i++) {
            const float weight = scores[i] < -60.0f ? 0.0f : want[i];
            if (isnan(weight) ? !isnan(got[i]) : memcmp(&got[i], &weight, sizeof weight) != 0)
                fail_msg("%s: weight of %g: %g, not %g", list[table]->name, (double)scores[i], (double)got[i],
                         (double)weight);
            assert_true(i == N - 1 || memcmp(&block[i], &weight, sizeof weight) == 0);
        }
        top = -61.0f, sum = 2.0f, valid = 1; /* what was gathered far below the new largest is gone */
        list[table]->softmax_key_block(1, N, &valid, 1.0f, memcpy(block, scores, sizeof block), N, &top, &sum,
                                       &correction);
        assert_true(correction == 0.0f && top == 0.0f && sum == 1.0f);
    }
}

/* ±0, infinities, NaN and the ends of the range: the same class everywhere, and the same bits unless NaN. */
static void test_special_values(void **unused) {
    (void)unused;
    static const float special[] = {0.0f,   -0.0f,  1e-45f,  -1e-45f,  1.2e-38f, -1.2e-38f, 88.7f, 88.8f,
                                    -87.3f, -87.4f, -103.9f, -104.5f,  9.99f,    -9.99f,    11.0f, -11.0f,
                                    1e10f,  -1e10f, 3.4e38f, -3.4e38f, INFINITY, -INFINITY, NAN};
    enum { N = sizeof special / sizeof *special };
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    float want[9][N], zero[1] = {0}, ones[N], y[9][N];
    for (int i = 0; i < N; i++) ones[i] = 1.0f;
    for (int table = 0; table < n_tables; table++) {
        const il_kernels *k = list[table];
        memcpy(y[0], special, sizeof special);
        k->exp_shift(1, N, y[0], N, zero);
        k->sigmoid(N, special, y[1]);
        k->gelu_grad(N, special, y[2], y[3]);
        k->gelu_grad2(N, special, y[4], y[5]);
        k->silu_mul_back(N, special, ones, ones, y[6], y[7]);
        k->softplus(N, special, y[8]);
        if (!table) memcpy(want, y, sizeof y);
        for (int f = 0; f < 9; f++)
            for (int i = 0; i < N; i++)
                if (isnan(want[f][i]) ? !isnan(y[f][i]) : memcmp(&want[f][i], &y[f][i], sizeof(float)) != 0)
                    fail_msg("%s: function %d of %g: %g, not %g", k->name, f, (double)special[i], (double)y[f][i],
                             (double)want[f][i]);
    }
    for (int i = 0; i < N; i++) {
        float x = special[i];
        for (int f = 0; f < 9; f++) assert_true(isnan(x) == isnan(want[f][i]));
        if (isnan(x)) continue;
        assert_true(x < 88.72f || isinf(want[0][i]));
        assert_true(x > -104.0f || want[0][i] == 0.0f);
        assert_true(want[1][i] >= 0.0f && want[1][i] <= 1.0f);
        assert_true(x < 20.0f || (want[1][i] == 1.0f && want[2][i] == x && want[3][i] == 1.0f));
        assert_true(x > -20.0f || (fabsf(want[2][i]) < 1e-36f && fabsf(want[3][i]) < 1e-30f));
        assert_true(want[8][i] >= 0.0f && (x < 20.0f || want[8][i] == x) && (x > -20.0f || want[8][i] < 3e-9f));
        for (int f = 3; f < 7; f++) assert_true(isfinite(want[f][i]));
    }
    assert_true(want[0][0] == 1.0f && want[1][0] == 0.5f && want[2][0] == 0.0f && want[3][0] == 0.5f);
    assert_true(want[0][N - 3] == INFINITY && want[0][N - 2] == 0.0f);
}

static void test_log_sum_exp_ends(void **unused) {
    (void)unused;
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    for (int table = 0; table < n_tables; table++) {
        float lse[1], low[3] = {-INFINITY, -INFINITY, -INFINITY}, far[3] = {-1e30f, 3.0f, -INFINITY};
        float big[2] = {3e38f, 3e38f}, broken[2] = {0.0f, NAN};
        list[table]->log_sum_exp(1, 3, far, 3, lse);
        assert_true(lse[0] == 3.0f);
        list[table]->log_sum_exp(1, 2, big, 2, lse);
        assert_true(lse[0] == 3e38f);
        list[table]->log_sum_exp(1, 2, broken, 2, lse);
        assert_true(isnan(lse[0]));
        list[table]->log_sum_exp(1, 3, low, 3, lse);
        assert_true(isnan(lse[0])); /* no probability anywhere */
    }
}

static void test_bf16(void **unused) {
    (void)unused;
    static const struct {
        uint32_t bits;
        uint16_t want;
    } cases[] = {{0x3F800000u, 0x3F80u}, {0x3F808000u, 0x3F80u}, {0x3F818000u, 0x3F82u}, {0x3F808001u, 0x3F81u},
                 {0x7F7FFFFFu, 0x7F80u}, {0x7F800000u, 0x7F80u}, {0xFF800000u, 0xFF80u}, {0x7F800001u, 0x7FC0u},
                 {0x80000000u, 0x8000u}, {0x00000001u, 0x0000u}, {0xFFFFFFFFu, 0xFFFFu}};
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    for (int table = 0; table < n_tables; table++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            float x;
            uint16_t y;
            memcpy(&x, &cases[i].bits, sizeof x);
            list[table]->f32_to_bf16(1, &x, &y);
            assert_int_equal(y, cases[i].want);
        }
}

static void test_pick(void **unused) {
    (void)unused;
    char before[32] = "";
    const char *set = getenv("IL_CPU");
    if (set) snprintf(before, sizeof before, "%s", set);
    assert_null(il_kernels_pick("sse9"));
    assert_null(il_kernels_pick(""));
    assert_ptr_equal(il_kernels_pick("portable"), &il_kernels_portable);
    setenv("IL_CPU", "portable", 1);
    assert_ptr_equal(il_kernels_pick(NULL), &il_kernels_portable);
    setenv("IL_CPU", "nothing", 1);
    assert_null(il_kernels_pick(NULL));
    unsetenv("IL_CPU");
    assert_non_null(il_kernels_pick(NULL));
#if defined(__aarch64__)
    assert_ptr_equal(il_kernels_pick(NULL), &il_kernels_neon);
    assert_ptr_equal(il_kernels_pick("neon"), &il_kernels_neon);
    assert_null(il_kernels_pick("avx2"));
#else
    assert_null(il_kernels_pick("neon"));
#endif
    if (set) setenv("IL_CPU", before, 1);
}

/* FNV-1a over the outputs of the portable table, all shapes of test_same_bits. A compiler that reorders or
 * fuses an operation fails here. Printed in this form when one differs. */
static const struct {
    const char *name;
    uint64_t sum;
} checksums[] = {
#include "fixtures/kernel_checksums.h"
};

static void test_checksums(void **unused) {
    (void)unused;
    static unsigned char bytes[OUTPUT_BYTES_MAX];
    int wrong = 0;
    kernel_slots_open();
    for (int c = 0; c < n_kernel_cases; c++) {
        uint64_t sum = 0xCBF29CE484222325u, want = 0;
        for (int variant = 0; variant < kernel_cases[c].variants; variant++)
            for (int step = 0; step < ROWS_STEPS; step++)
                for (int n = 1; n <= N_MAX; n++) {
                    kernel_run run = shape(rows_of[step], n, variant);
                    run.kernels = il_kernels_pick(NULL);
                    kernel_cases[c].run(&run);
                    size_t size = outputs(&run, bytes);
                    for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * 0x100000001B3u;
                }
        for (size_t i = 0; i < sizeof checksums / sizeof *checksums; i++)
            if (strcmp(checksums[i].name, kernel_cases[c].name) == 0) want = checksums[i].sum;
        if (sum == want) continue;
        wrong++;
        print_message("{\"%s\", 0x%016llxu},\n", kernel_cases[c].name, (unsigned long long)sum);
    }
    kernel_slots_close();
    if (wrong) fail_msg("%d kernels have other bits than the list", wrong);
}

/* ---- one fma, rounded once ---- */

static float of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Numbers of a kind: all there are, those near 1, whole ones, the rims of the format, small ones with few bits. */
static float number_of(uint32_t kind, uint64_t index) {
    static const uint32_t rims[] = {0,          0x80000000, 1,          0x80000001, 0x400000,   0x7fffff,
                                    0x800000,   0x800001,   0x3f7fffff, 0x3f800000, 0x3f800001, 0xbf800000,
                                    0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000};
    uint32_t r[4];
    il_philox(3, IL_PURPOSE_TEST, kind, index, r);
    switch (kind) {
    case 0: return of_bits(r[0]);
    case 1: return of_bits((r[0] & 0x807fffff) | (110 + r[1] % 36) << 23);
    case 2: return (float)(int)(r[0] % 4096) - 2048;
    case 3: return of_bits(rims[r[0] % 16]);
    default: return of_bits((r[0] & 0x807f8000) | r[1] % 160 << 23);
    }
}

static void check_fma(const il_kernels *kernels, const float *a, const float *b, const float *c) {
    float got[16];
    for (int i = 0; i < 16; i++) { /* c + a b, a lane at a time: a product of one row and one step */
        memcpy(got, c, sizeof got);
        kernels->gemm(1, 16, 1, &a[i], 1, 1, b, 16, 16, got, 16, 1);
        for (int j = 0; j < 16; j++) {
            float want = fmaf(a[i], b[j], c[j]);
            if (isnan(want) ? !isnan(got[j]) : memcmp(&want, &got[j], sizeof want) != 0)
                fail_msg("%s: %a * %a + %a is %a, not %a", kernels->name, a[i], b[j], c[j], got[j], want);
        }
    }
}

/* Against the C library's, which is correct by definition; where a sum of doubles falls between two floats, too. */
static void test_fma(void **unused) {
    (void)unused;
    enum { KINDS = 5, ROUNDS = 40 };
    const il_kernels *list[TABLES_MAX];
    int n_tables = tables(list);
    float a[16], b[16], c[16];
    for (int table = 0; table < n_tables; table++) {
        for (uint32_t kinds = 0; kinds < KINDS * KINDS * KINDS; kinds++)
            for (uint64_t at = 0; at < ROUNDS * 16; at += 16) {
                for (uint64_t i = 0; i < 16; i++) {
                    a[i] = number_of(kinds % KINDS, 3 * (at + i));
                    b[i] = number_of(kinds / KINDS % KINDS, 3 * (at + i) + 1);
                    c[i] = number_of(kinds / KINDS / KINDS, 3 * (at + i) + 2);
                }
                check_fma(list[table], a, b, c);
            }
        /* c and half a step of it, a bit more or less than half; the smallest normal and subnormal numbers among them
         */
        for (int exponent = -149; exponent < 127; exponent++)
            for (int i = 0; i < 16; i++) {
                for (int j = 0; j < 16; j++) {
                    float more = j % 4 == 0 ? 0 : ldexpf(j % 4 == 1 ? 1 : -1, -23 + i);
                    a[j] = ldexpf(1 + more, -24) * (j < 8 ? 1 : -1);
                    b[j] = ldexpf(1 + (float)(j % 3) * 0x1p-23f, exponent);
                    c[j] = ldexpf(1 + (float)(j + 16 * i) * 0x1p-23f, exponent) * (j % 2 ? 1 : -1);
                }
                check_fma(list[table], a, b, c);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_gaps_untouched),
        cmocka_unit_test(test_neighbours_do_not_matter),
        cmocka_unit_test(test_gemm_read),
        cmocka_unit_test(test_special_values),
        cmocka_unit_test(test_small_weights),
        cmocka_unit_test(test_log_sum_exp_ends),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_fma),
        cmocka_unit_test(test_pick),
        cmocka_unit_test(test_checksums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
