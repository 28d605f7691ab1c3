/* Matrix products against a scalar fmaf loop, bit for bit: every instruction set, thread count and odd shape. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/memory.h"
#include "engine/gemm.h"
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

static void reference(int m, int n, int k, il_matrix a, il_matrix b, float *c, ptrdiff_t ldc, int accumulate) {
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            float acc = accumulate ? c[i * ldc + j] : 0.0f;
            for (int q = 0; q < k; q++) acc = fmaf(a.data[i * a.row + q * a.col], b.data[q * b.row + j * b.col], acc);
            c[i * ldc + j] = acc;
        }
}

/* One product by il_gemm and il_gemm_packed in the four layouts of a and b. */
static void check(il_engine *engine, int m, int n, int k) {
    ptrdiff_t ldc = n + 3;
    size_t c_count = (size_t)(m ? m : 1) * (size_t)ldc;
    float *a = numbers((size_t)(m + 2) * (size_t)(k + 2)), *b = numbers((size_t)(k + 2) * (size_t)(n + 2));
    float *c0 = numbers(c_count), *want = malloc(c_count * sizeof *want);
    float *got = malloc(c_count * sizeof *got), *packed = malloc((il_packed_floats(n, k) + 1) * sizeof *packed);
    for (int layout = 0; layout < 8; layout++) {
        il_matrix left = layout & 1 ? (il_matrix){a, 1, m + 2} : (il_matrix){a, k + 1, 1};
        il_matrix right = layout & 2 ? (il_matrix){b, 1, k + 1} : (il_matrix){b, n + 2, 1};
        int accumulate = layout >> 2;
        memcpy(want, c0, c_count * sizeof *want);
        reference(m, n, k, left, right, want, ldc, accumulate);
        memcpy(got, c0, c_count * sizeof *got);
        il_gemm(engine, m, n, k, left, right, got, ldc, accumulate);
        if (memcmp(got, want, c_count * sizeof *got))
            fail_msg("il_gemm %s %dx%dx%d layout %d", engine->kernels->name, m, n, k, layout);
        engine->kernels->pack(n, k, right.data, right.row, right.col, packed);
        memcpy(got, c0, c_count * sizeof *got);
        il_gemm_packed(engine, m, n, k, left, packed, got, ldc, accumulate);
        if (memcmp(got, want, c_count * sizeof *got))
            fail_msg("il_gemm_packed %s %dx%dx%d layout %d", engine->kernels->name, m, n, k, layout);
    }
    free(a), free(b), free(c0), free(want), free(got), free(packed);
}

static const char *const names[] = {"portable", "avx2", "avx512", "avx512_vnni", "neon"};
/* Small ones; then the borders of blocks: 384 (a transposed: 192) along k, 256 and 512 along n, 16 rows of a, with
 * AVX-512 1024 (256), 192 and 768, 48; the row counts from which b is streamed or copied. */
static const int shapes[][3] = {
    {0, 5, 4},     {3, 0, 4},     {3, 5, 0},     {0, 0, 0},      {1, 1, 1},     {1, 17, 3},    {1, 200, 50},
    {2, 33, 65},   {5, 16, 16},   {6, 15, 31},   {7, 70, 9},     {13, 47, 64},  {25, 64, 5},   {16, 64, 64},
    {64, 100, 70}, {3, 40, 1000}, {97, 31, 385}, {40, 130, 384}, {15, 17, 383}, {31, 65, 769}, {32, 3, 193},
    {17, 1, 192},  {6, 257, 20},  {7, 257, 385}, {33, 513, 40},  {16, 1025, 3}, {1, 1030, 7},  {200, 1, 9},
    {50, 20, 260}, {33, 193, 40}, {16, 785, 5},  {7, 33, 1025},  {33, 17, 1030}};

static void test_blocks_fit_the_buffers(void **unused) {
    (void)unused;
    for (size_t isa = 0; isa < sizeof names / sizeof *names; isa++) {
        const il_kernels *kernels = il_kernels_pick(names[isa]);
        if (!kernels) continue;
        const il_cache_blocks *blocks = &kernels->cache_blocks;
        assert_true(blocks->b_copied.depth * blocks->b_copied.columns <= IL_GEMM_COPY);
        assert_true(blocks->a_copied.depth * blocks->a_copied.columns <= IL_GEMM_COPY);
        assert_true(blocks->a_copied.depth * blocks->a_rows <= IL_GEMM_SCRATCH - IL_GEMM_COPY);
        assert_int_equal(blocks->packed.columns % IL_LANES, 0);
        assert_int_equal(blocks->b_copied.columns % IL_LANES, 0);
        assert_int_equal(blocks->a_copied.columns % IL_LANES, 0);
    }
}

static void test_products(void **unused) {
    (void)unused;
    static const int threads[] = {1, 2, 3, 5};
    for (size_t isa = 0; isa < sizeof names / sizeof *names; isa++) {
        if (!il_kernels_pick(names[isa])) continue;
        for (size_t t = 0; t < 4; t++) {
            il_engine *engine = lively_engine(threads[t], names[isa]);
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                check(engine, shapes[s][0], shapes[s][1], shapes[s][2]);
            il_engine_close(engine);
        }
    }
}

static void test_packed_floats(void **unused) {
    (void)unused;
    assert_int_equal(il_packed_floats(0, 5), 0);
    assert_int_equal(il_packed_floats(5, 0), 0);
    assert_int_equal(il_packed_floats(1, 5), 80);
    assert_int_equal(il_packed_floats(16, 5), 80);
    assert_int_equal(il_packed_floats(17, 5), 160);
    assert_true(il_packed_floats(1 << 20, 1 << 20) == (size_t)1 << 40);
}

/* Blocks of 64 MiB and more are refused: the buffer for DRAM reads. */
static void *small_only(void *user, size_t bytes, size_t alignment) {
    (void)user;
    return bytes < (size_t)64 << 20 ? aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment) : NULL;
}
static void release(void *user, void *block) {
    (void)user;
    free(block);
}

/* What was asked for, again and again, and nothing else. */
static void check_prober(il_engine *engine, int with_peer) {
    il_prober *prober;
    il_error error;
    il_limits limits;
    assert_ok(il_prober_open(engine, IL_LIMIT_KERNEL | IL_LIMIT_INT8_ONEDNN, 0, &prober, &error), error);
    for (int i = 0; i < 2; i++) {
        assert_ok(il_prober_measure(prober, 0.01, &limits, &error), error);
        assert_true(limits.gflops_kernel > 0 && (limits.gops_int8_onednn > 0) == with_peer);
        assert_true(limits.gflops_onednn == 0 && limits.read_gb_s == 0 && limits.l2_read_gb_s == 0);
        assert_true(limits.read_bytes == 0);
    }
    il_prober_close(prober);
    assert_ok(il_prober_open(engine, IL_LIMIT_L2_READ | IL_LIMIT_ONEDNN, 0, &prober, &error), error);
    assert_ok(il_prober_measure(prober, 0.01, &limits, &error), error);
    assert_true(limits.l2_read_gb_s > 0 && (limits.gflops_onednn > 0) == with_peer);
    assert_true(limits.gflops_kernel == 0 && limits.read_gb_s == 0 && limits.gops_int8_onednn == 0);
    il_prober_close(prober);
    /* as large a buffer as was asked for, in whole MiB: one of two threads' L2 reads, or of many passes */
    static const double mib[] = {1, 33};
    for (int i = 0; i < 2; i++) {
        size_t bytes = ((size_t)mib[i] << 20) - 1;
        assert_ok(il_prober_open(engine, IL_LIMIT_READ | IL_LIMIT_L2_READ, bytes, &prober, &error), error);
        assert_ok(il_prober_measure(prober, 0.01, &limits, &error), error);
        assert_true(limits.read_gb_s > 0 && limits.l2_read_gb_s > 0);
        assert_true(limits.read_bytes == (i ? mib[i] : 2) * (1 << 20));
        il_prober_close(prober);
    }
    assert_ok(il_prober_open(engine, IL_LIMIT_BF16_ONEDNN, 0, &prober, &error), error);
    assert_ok(il_prober_measure(prober, 0.01, &limits, &error), error);
    assert_true(limits.gflops_kernel == 0 && limits.gflops_onednn == 0 && limits.gops_int8_onednn == 0);
    assert_true(limits.gflops_bf16_onednn > 0 || il_onednn_bf16_check(NULL) != IL_OK);
    il_prober_close(prober);
    il_prober_close(NULL);
}

static void test_limits(void **unused) {
    (void)unused;
    il_engine_options options;
    il_engine *engine;
    il_error error;
    il_limits limits;
    il_engine_options_default(&options);
    options.threads = 2;
    assert_ok(il_engine_open(&options, &engine, &error), error);
    assert_ok(il_engine_limits(engine, &limits, &error), error);
    assert_true(limits.gflops_kernel > 0 && limits.gflops_onednn >= 0);
    assert_true(limits.read_gb_s > 0 && limits.l2_read_gb_s > 0 && limits.gops_int8_onednn >= 0);
    assert_true((limits.gflops_onednn > 0) == (limits.gops_int8_onednn > 0)); /* built with oneDNN or not */
    assert_true(limits.read_bytes >= 1 << 28 && limits.read_bytes <= 1 << 30);
    int with_peer = limits.gflops_onednn > 0;
    check_prober(engine, with_peer);
    il_engine_close(engine);
    options.allocator = (il_allocator){small_only, release, NULL};
    assert_ok(il_engine_open(&options, &engine, &error), error);
    assert_fails(il_engine_limits(engine, &limits, &error), IL_ERR_NOMEM, error, "MiB");
    assert_true(limits.gflops_kernel == 0 && limits.read_gb_s == 0);
    il_prober *prober;
    assert_fails(il_prober_open(engine, IL_LIMIT_READ, 0, &prober, &error), IL_ERR_NOMEM, error, "MiB");
    assert_null(prober);
    check_prober(engine, with_peer); /* it takes the buffer only where memory is read */
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_blocks_fit_the_buffers), cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_packed_floats), cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
