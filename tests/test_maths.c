/* test_maths.c: our elementary functions against the C library's long double ones, within the documented bounds;
 * rounding to bfloat16. */
#include "support_test.h"

#include <float.h>
#include <math.h>

#include "base/bits.h"
#include "base/maths.h"
#include "base/philox.h"

enum { POINTS = 200000 };

static double between(double low, double high, uint64_t i) {
    return low + (high - low) * il_uniform(7, IL_PURPOSE_TEST, 0, i);
}

static double exp_error(double x) { return (double)fabsl(il_exp_d(x) / expl(x) - 1); }

static void exp_is_close(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t i = 0; i < POINTS; i++) {
        worst = fmax(worst, exp_error(between(-700, 700, i)));
        worst = fmax(worst, exp_error(between(-1, 1, i)));
        worst = fmax(worst, exp_error(((double)i - POINTS / 2) * 0.34657359027997264 / 100)); /* where k changes */
    }
    assert_true(worst < 1e-15);
}

static void exp_at_the_ends(void **state) {
    (void)state;
    assert_true(il_exp_d(0.0) == 1.0 && il_exp_d(-0.0) == 1.0);
    assert_true(isinf(il_exp_d(710)) && isinf(il_exp_d(1e300)) && isinf(il_exp_d(HUGE_VAL)));
    assert_true(il_exp_d(-1000) == 0 && il_exp_d(-HUGE_VAL) == 0);
    assert_true(isnan(il_exp_d(NAN)));
    assert_true(isfinite(il_exp_d(709.7)) && exp_error(709.7) < 1e-15);
    assert_true(il_exp_d(-740) > 0 && il_exp_d(-740) < DBL_MIN); /* subnormal */
}

static double log_error(double x) { return (double)fabsl((il_log_d(x) - logl(x)) / logl(x)); }

static void log_is_close(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t i = 0; i < POINTS; i++) {
        worst = fmax(worst, log_error(exp(between(-700, 700, i))));
        worst = fmax(worst, log_error(between(0.5, 2, i)));
        worst = fmax(worst, log_error(1 + between(-1e-8, 1e-8, i)));
    }
    assert_true(worst < 1e-15);
    assert_true(il_log_d(1.0) == 0.0);
    assert_true(log_error(DBL_MIN) < 1e-15 && log_error(DBL_MAX) < 1e-15 && log_error(0x1p-53) < 1e-15);
}

static double sincos_error(double x) {
    double s, c;
    il_sincos_d(x, &s, &c);
    return (double)fmaxl(fabsl(s - sinl(x)), fabsl(c - cosl(x)));
}

static void sine_and_cosine_are_close(void **state) {
    (void)state;
    double worst = 0;
    for (uint64_t i = 0; i < POINTS; i++) {
        worst = fmax(worst, sincos_error(between(-1e7, 1e7, i)));
        worst = fmax(worst, sincos_error(between(-10, 10, i)));
        worst = fmax(worst, sincos_error((double)i * 0.78539816339744831)); /* near multiples of pi/4 */
        worst = fmax(worst, sincos_error((double)(i * 31)));                /* positions */
    }
    assert_true(worst < 1e-12);
    assert_true(worst < 5e-16); /* what it does today */
}

static void sine_and_cosine_at_zero(void **state) {
    (void)state;
    double s, c;
    il_sincos_d(0.0, &s, &c);
    assert_true(s == 0.0 && c == 1.0);
    il_sincos_d(-1.0, &s, &c);
    double s1, c1;
    il_sincos_d(1.0, &s1, &c1);
    assert_true(s == -s1 && c == c1);
}

static void bfloat16_is_the_nearest_and_even_in_ties(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x7f80; half++) { /* finite and positive */
        float low = il_float_of_bf16((uint16_t)half), middle = il_float_of_bits(half << 16 | 0x8000);
        uint32_t even = half + (half & 1), above = half + 1;
        assert_int_equal(il_bf16_of_float(low), half);
        assert_int_equal(il_bf16_of_float(middle), even);
        assert_int_equal(il_bf16_of_float(nextafterf(middle, 0)), half);
        assert_int_equal(il_bf16_of_float(nextafterf(middle, HUGE_VALF)), above); /* past the largest: infinity */
        assert_int_equal(il_bf16_of_float(-middle), even | 0x8000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_close),
        cmocka_unit_test(exp_at_the_ends),
        cmocka_unit_test(log_is_close),
        cmocka_unit_test(sine_and_cosine_are_close),
        cmocka_unit_test(sine_and_cosine_at_zero),
        cmocka_unit_test(bfloat16_is_the_nearest_and_even_in_ties),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
