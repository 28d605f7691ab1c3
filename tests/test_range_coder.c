/* test_range_coder.c: what is encoded is decoded, at the price it should have; frequencies are the same from
 * every kernel table; cut and lengthened codes are noticed. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/philox.h"
#include "codec/range_coder.h"
#include "support_alloc.h"
#include "support_lively.h"

enum { SYMBOLS = 4000 };

static il_allocator memory;

/* Rows of logits with everything in them: flat, peaked beyond what floats can tell from 1, and in between. */
static void fill(float *row, int n, uint64_t seed) {
    static const float spreads[] = {0, 1e-3F, 1, 5, 30, 200};
    float spread = spreads[seed % 6], shift = (float)(seed % 5) * 50 - 100;
    for (int i = 0; i < n; i++) row[i] = shift + spread * (float)il_normal(seed, IL_PURPOSE_TEST, 1, (uint64_t)i);
}

static void round_trip(const char *kernels, int n) {
    const il_kernels *k = il_kernels_pick(kernels), *portable = il_kernels_pick("portable");
    if (!k) return;
    float *row = calloc((size_t)n, sizeof *row);
    int *symbols = calloc(SYMBOLS, sizeof *symbols);
    il_encoder encoder;
    il_decoding decoding;
    double bits = 0;
    int rounds = n > 1000 ? 60 : SYMBOLS;
    il_encoder_open(&memory, &encoder);
    for (int i = 0; i < rounds; i++) {
        float lse, logit;
        fill(row, n, (uint64_t)i);
        symbols[i] = (int)lively_random(9, (uint64_t)i, (uint32_t)n);
        if (i % 2) /* a likely one */
            for (int j = 0; j < n; j++)
                if (row[j] > row[symbols[i]]) symbols[i] = j;
        logit = row[symbols[i]];
        k->log_sum_exp(1, n, row, n, &lse);
        assert_true(il_slices_begin(k, n, row));
        il_slice slice = il_slice_of(n, row, symbols[i]);
        assert_true(slice.size >= 1 && slice.from + slice.size <= slice.total);
        double own = (double)(lse - logit) / log(2), price = log2((double)slice.total / slice.size);
        assert_true(price <= own + 1e-4 + 1e-5 * own + (double)n * 1e-9);
        bits += price;
        assert_true(il_encode(&encoder, slice));
    }
    assert_true(il_encode_finish(&encoder));
    assert_true((double)encoder.bytes * 8 <= bits + 16 + 1e-5 * rounds);
    il_decode_begin(encoder.data, encoder.bytes, &decoding);
    for (int i = 0; i < rounds; i++) {
        fill(row, n, (uint64_t)i);
        assert_true(il_slices_begin(portable, n, row));
        assert_int_equal(il_decode_symbol(&decoding, n, row), symbols[i]);
    }
    assert_true(il_decode_ended(&decoding));
    il_encoder_close(&encoder);
    free(symbols);
    free(row);
}

static void rows(void **state) {
    (void)state;
    static const char *const kernels[] = {"portable", "avx2", "avx512", "avx512_vnni"};
    static const int sizes[] = {1, 2, 15, 255, 256, 257, 258, 600, 33000};
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) round_trip(kernels[k], sizes[i]);
}

/* Slices chosen to keep low near the top, so that carries run back through long rows of 255. */
static void carries(void **state) {
    (void)state;
    il_encoder encoder;
    il_decoding decoding;
    for (uint32_t total = 2; total < 1U << 31; total = total * 3 + 1) {
        il_encoder_open(&memory, &encoder);
        for (int i = 0; i < SYMBOLS; i++) {
            uint32_t from =
                i % 7 == 6 ? lively_random(total, (uint64_t)i, total) : total - 1 - (uint32_t)(i % 3 == 2 && total > 2);
            assert_true(il_encode(&encoder, (il_slice){from, 1, total}));
        }
        assert_true(il_encode_finish(&encoder));
        il_decode_begin(encoder.data, encoder.bytes, &decoding);
        for (int i = 0; i < SYMBOLS; i++) {
            uint32_t from =
                i % 7 == 6 ? lively_random(total, (uint64_t)i, total) : total - 1 - (uint32_t)(i % 3 == 2 && total > 2);
            assert_int_equal(il_decode_uniform(&decoding, total), from);
        }
        assert_true(il_decode_ended(&decoding));
        il_encoder_close(&encoder);
    }
}

static void bits(void **state) {
    (void)state;
    il_encoder encoder;
    il_decoding decoding;
    uint64_t value;
    il_encoder_open(&memory, &encoder);
    for (int n = 0; n <= 64; n++) {
        uint64_t top = n ? UINT64_MAX >> (64 - n) : 0;
        assert_true(il_encode_bits(&encoder, top, n));
        assert_true(il_encode_bits(&encoder, 0x123456789ABCDEF0 & top, n));
        assert_true(il_encode_bits(&encoder, 0, n));
    }
    assert_true(il_encode_finish(&encoder));
    assert_true(encoder.bytes <= 3 * 65 * 32 / 8 + 2);
    il_decode_begin(encoder.data, encoder.bytes, &decoding);
    for (int n = 0; n <= 64; n++) {
        uint64_t top = n ? UINT64_MAX >> (64 - n) : 0;
        assert_true(il_decode_bits(&decoding, n, &value) && value == top);
        assert_true(il_decode_bits(&decoding, n, &value) && value == (0x123456789ABCDEF0 & top));
        assert_true(il_decode_bits(&decoding, n, &value) && value == 0);
    }
    assert_true(il_decode_ended(&decoding));
    il_encoder_close(&encoder);
}

/* A code that is too short runs dry soon; one that is too long has not ended. */
static void wrong_lengths(void **state) {
    (void)state;
    unsigned char data[40];
    il_decoding decoding;
    uint64_t value;
    memset(data, 0x5A, sizeof data);
    for (size_t n = 0; n <= sizeof data; n++) {
        size_t read = 0;
        il_decode_begin(data, n, &decoding);
        if (n > 1) assert_false(il_decode_ended(&decoding));
        while (read < 100 && il_decode_bits(&decoding, 8, &value)) read++;
        assert_in_range(read, n ? n - 1 : 0, n + 1);
        assert_false(il_decode_bits(&decoding, 1, &value));
    }
    memset(data, 0xFF, sizeof data); /* beyond every slice */
    il_decode_begin(data, sizeof data, &decoding);
    assert_int_equal(il_decode_uniform(&decoding, 3), -1);
}

static void bad_rows(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY, 1e8F, -1e8F};
    const il_kernels *k = il_kernels_pick(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float row[20];
        for (int j = 0; j < 20; j++) row[j] = bad[i];
        assert_false(il_slices_begin(k, 20, row));
        for (int j = 0; j < 20; j++) row[j] = j == 17 ? bad[i] : 0;
        assert_int_equal(il_slices_begin(k, 20, row), bad[i] < 0); /* one that never comes is fine */
    }
}

static il_status encode_some(const il_allocator *allocator, void *context, il_error *error) {
    il_encoder encoder;
    int done = 1;
    (void)context;
    il_encoder_open(allocator, &encoder);
    for (int i = 0; i < 3000 && done; i++) done = il_encode_bits(&encoder, 5, 9);
    if (done) done = il_encode_finish(&encoder);
    il_encoder_close(&encoder);
    if (done) return IL_OK;
    *error = (il_error){IL_ERR_NOMEM, "short"};
    return IL_ERR_NOMEM;
}

static void memory_runs_short(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_true(support_alloc_fail_each(&alloc, encode_some, NULL) > 3);
}

int main(void) {
    memory = il_allocator_default();
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows),     cmocka_unit_test(carries),
                                       cmocka_unit_test(bits),     cmocka_unit_test(wrong_lengths),
                                       cmocka_unit_test(bad_rows), cmocka_unit_test(memory_runs_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
