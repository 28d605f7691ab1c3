/* test_narrow.c: matrices of narrow types: what goes in comes out, and their products, bit for bit, for every
 * instruction set, thread count and odd shape. */
#include "support_test.h"

#include <stdlib.h>

#include "kernels/gemm.h"
#include "kernels/narrow.h"

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
static il_narrow make(il_weight_type type, int out, int in, const float *w) {
    size_t bytes = il_narrow_bytes(type, (size_t)out, (size_t)in);
    il_narrow m = {type, out, in, aligned_alloc(64, (bytes + 63) / 64 * 64)};
    assert_non_null(m.panels);
    memset(m.panels, 0, bytes);
    for (int row = 0; row < out; row++) il_narrow_put(&m, (size_t)row, w + (ptrdiff_t)row * in);
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
        size_t count = (size_t)in, row_bytes = il_narrow_row_bytes(IL_WEIGHTS_BF16, count);
        float *w = numbers((size_t)out * count), *x = numbers(count), *part = numbers(IL_NARROW_CHUNK);
        unsigned char *bytes = malloc(row_bytes + 1), *again = malloc(row_bytes + 1);
        il_narrow m = make(IL_WEIGHTS_BF16, out, in, w);
        il_narrow other = make(IL_WEIGHTS_BF16, out, in, w);
        for (int row = out - 1; row >= 0; row--) {
            il_narrow_get(&m, (size_t)row, x);
            for (int k = 0; k < in; k++) {
                uint16_t half;
                il_kernels_portable.f32_to_bf16(1, w + (ptrdiff_t)row * in + k, &half);
                float want;
                uint32_t bits = (uint32_t)half << 16;
                memcpy(&want, &bits, sizeof want);
                assert_true(x[k] == want);
            }
            int last = (in - 1) / IL_NARROW_CHUNK * IL_NARROW_CHUNK;
            il_narrow_get_part(&m, (size_t)row, last, in - last, part);
            assert_memory_equal(part, x + last, (size_t)(in - last) * sizeof *x);
            il_narrow_get_bytes(&m, (size_t)row, bytes + 1); /* odd addresses are fine */
            il_narrow_put_bytes(&other, (size_t)(out - 1 - row), bytes + 1);
            il_narrow_get_bytes(&other, (size_t)(out - 1 - row), again);
            assert_memory_equal(bytes + 1, again, row_bytes);
        }
        free(w), free(x), free(part), free(bytes), free(again), free(m.panels), free(other.panels);
    }
}

/* bf16: the bits of the fp32 product with the widened numbers. */
static void check_bf16(il_engine *engine, int rows, int out, int in) {
    float *w = numbers((size_t)out * (size_t)in), *wide = numbers((size_t)out * (size_t)in);
    float *packed = malloc(il_packed_floats(out, in) * sizeof *packed);
    ptrdiff_t ldx = in + 3, ldy = out + 5;
    float *x = numbers((size_t)(rows * ldx)), *y = numbers((size_t)(rows * ldy)), *want = numbers((size_t)(rows * ldy));
    il_narrow m = make(IL_WEIGHTS_BF16, out, in, w);
    for (int row = 0; row < out; row++) il_narrow_get(&m, (size_t)row, wide + (ptrdiff_t)row * in);
    memcpy(want, y, (size_t)(rows * ldy) * sizeof *y);
    engine->kernels->pack(out, in, wide, 1, in, packed);
    il_gemm_packed(engine, rows, out, in, (il_matrix){x, ldx, 1}, packed, NULL, want, ldy, 0);
    il_gemm_bf16(engine, rows, out, in, (il_matrix){x, ldx, 1}, (const void *)m.panels, y, ldy);
    if (memcmp(y, want, (size_t)(rows * ldy) * sizeof *y) != 0)
        fail_msg("%s, %d threads: bf16 %dx%dx%d", engine->kernels->name, il_pool_threads(engine->pool), rows, out, in);
    free(w), free(wide), free(packed), free(x), free(y), free(want), free(m.panels);
}

static void products_on_every_machine(void **unused) {
    (void)unused;
    static const char *const sets[] = {"portable", "avx2", "avx512", "neon"};
    static const int threads[] = {1, 2, 3}, rows[] = {1, 2, 5, 6, 7, 12, 23, 24, 25, 50};
    for (size_t set = 0; set < 4; set++) {
        if (!il_kernels_pick(sets[set])) continue;
        for (size_t t = 0; t < 3; t++) {
            il_engine_options options;
            il_engine *engine;
            il_error error;
            il_engine_options_default(&options);
            options.kernels = sets[set];
            options.threads = threads[t];
            assert_ok(il_engine_open(&options, &engine, &error), error);
            for (int s = 0; s < SIZES; s++)
                for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
                    check_bf16(engine, rows[r], sizes[s][0], sizes[s][1]);
            il_engine_close(engine);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_out_as_they_went_in),
        cmocka_unit_test(products_on_every_machine),
    };
    return cmocka_run_group_tests_name("narrow", tests, NULL, NULL);
}
