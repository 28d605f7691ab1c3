/* test_philox.c: the published vectors, and that the numbers are distributed as they say. */
#include "support_test.h"

#include <math.h>

#include "base/philox.h"

enum { DRAWS = 400000 };

static void known_answers(void **state) {
    (void)state;
    /* Random123 (Salmon et al.), kat_vectors, philox4x32 10 rounds. */
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const uint32_t *c = vectors[i].counter, *k = vectors[i].key;
        uint32_t out[4];
        il_philox((uint64_t)k[1] << 32 | k[0], (il_purpose)c[0], c[1], (uint64_t)c[3] << 32 | c[2], out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void same_bits_forever(void **state) {
    (void)state;
    /* Changing these changes every model and every sample ever drawn. */
    assert_true(il_uniform(42, IL_PURPOSE_SAMPLE, 0, 7) == 0x1.e001559a49d9fp-1);
    assert_true(il_normal(42, IL_PURPOSE_INIT, 3, 1000) == 0x1.8cc4770f4253dp+0);
    assert_true(il_normal(42, IL_PURPOSE_INIT, 3, 1001) == -0x1.98a8c37a953f2p-1);
    assert_true(il_normal_truncated(42, IL_PURPOSE_INIT, 3, 5, 0.5) == -0x1.235d8dc075064p-3);
}

static void uniform_is_uniform(void **state) {
    (void)state;
    long bins[16] = {0};
    double sum = 0, least = 1, most = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = il_uniform(1, IL_PURPOSE_TEST, 0, i);
        assert_true(x >= 0 && x < 1);
        bins[(int)(x * 16)]++;
        sum += x;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    double chi2 = 0, expected = DRAWS / 16.0;
    for (int i = 0; i < 16; i++) chi2 += ((double)bins[i] - expected) * ((double)bins[i] - expected) / expected;
    assert_true(chi2 < 40); /* 15 degrees of freedom: above 37.7 once in a thousand seeds */
    assert_true(fabs(sum / DRAWS - 0.5) < 0.002);
    assert_true(least < 1e-4 && most > 1 - 1e-4);
}

static void normal_has_its_moments(void **state) {
    (void)state;
    double m1 = 0, m2 = 0, m3 = 0, m4 = 0, lag = 0, before = 0;
    long tail = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = il_normal(2, IL_PURPOSE_TEST, 5, i);
        assert_true(isfinite(x));
        m1 += x;
        m2 += x * x;
        m3 += x * x * x;
        m4 += x * x * x * x;
        lag += x * before;
        tail += fabs(x) > 1.959964;
        before = x;
    }
    /* five standard errors each: 1, sqrt 2, sqrt 15, sqrt 96, 1 over sqrt(DRAWS) = 632 */
    assert_true(fabs(m1 / DRAWS) < 5 / 632.0);
    assert_true(fabs(m2 / DRAWS - 1) < 5 * 1.42 / 632);
    assert_true(fabs(m3 / DRAWS) < 5 * 3.9 / 632);
    assert_true(fabs(m4 / DRAWS - 3) < 5 * 9.8 / 632);
    assert_true(fabs(lag / DRAWS) < 5 / 632.0);
    assert_true(fabs((double)tail / DRAWS - 0.05) < 5 * 0.218 / 632);
}

static void pairs_are_the_same_numbers(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        double pair[2];
        il_normal_pair(9, IL_PURPOSE_TEST, 1, i, pair);
        assert_true(pair[0] == il_normal(9, IL_PURPOSE_TEST, 1, 2 * i));
        assert_true(pair[1] == il_normal(9, IL_PURPOSE_TEST, 1, 2 * i + 1));
    }
}

static void truncated_normal_is_cut(void **state) {
    (void)state;
    double squares = 0, sum = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        double x = il_normal_truncated(3, IL_PURPOSE_TEST, 0, i, 2.0), plain = il_normal(3, IL_PURPOSE_TEST, 0, i);
        assert_true(fabs(x) <= 2.0);
        if (fabs(plain) <= 2.0) assert_true(x == plain);
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / DRAWS) < 0.006);
    assert_true(fabs(sqrt(squares / DRAWS) - 0.87962566103423978) < 0.005);
    for (uint64_t i = 0; i < 20000; i++) assert_true(fabs(il_normal_truncated(3, IL_PURPOSE_TEST, 0, i, 0.5)) <= 0.5);
}

static void every_part_of_the_counter_counts(void **state) {
    (void)state;
    const double x = il_uniform(1, IL_PURPOSE_TEST, 2, 3);
    assert_true(x == il_uniform(1, IL_PURPOSE_TEST, 2, 3));
    assert_true(x != il_uniform(2, IL_PURPOSE_TEST, 2, 3));
    assert_true(x != il_uniform(1 + ((uint64_t)1 << 32), IL_PURPOSE_TEST, 2, 3));
    assert_true(x != il_uniform(1, IL_PURPOSE_SAMPLE, 2, 3));
    assert_true(x != il_uniform(1, IL_PURPOSE_TEST, 3, 3));
    assert_true(x != il_uniform(1, IL_PURPOSE_TEST, 2, 4));
    assert_true(x != il_uniform(1, IL_PURPOSE_TEST, 2, 3 + ((uint64_t)1 << 32)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(same_bits_forever),
        cmocka_unit_test(uniform_is_uniform),
        cmocka_unit_test(normal_has_its_moments),
        cmocka_unit_test(pairs_are_the_same_numbers),
        cmocka_unit_test(truncated_normal_is_cut),
        cmocka_unit_test(every_part_of_the_counter_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
