/* test_peak.c: a line's worst place against what is usual there: what is rare in a quiet field, in a field that always
 * varies, what comes again, where it stands, and the bounds of its memory. */
#include "support_test.h"

#include "peak.h"
#include "support_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line whose bytes are its tokens; each costs bits[i]. */
static cli_peak_worst line_of(cli_peak *peak, const char *text, const double *bits) {
    for (size_t i = 0; text[i]; i++) cli_peak_token(peak, text + i, 1, bits[i], i, i + 1);
    return cli_peak_line(peak);
}

/* "get 200 4711": a word that never changes, a status that hardly does, a number that always does. digit: what each of
 * the number's costs; status: what the status's first costs. */
static cli_peak_worst request(cli_peak *peak, const char *text, double status, double digit) {
    double bits[32];
    for (size_t i = 0; text[i]; i++) bits[i] = i < 4 ? 0.02 : i == 4 ? status : i < 8 ? 0.05 : digit;
    return line_of(peak, text, bits);
}

static cli_peak *learned(int lines) {
    cli_peak *peak = cli_peak_open();
    support_seed(1);
    for (int i = 0; i < lines; i++) {
        char text[32];
        snprintf(text, sizeof text, "get 200 %04u\n", support_random(10000));
        request(peak, text, 0.1, 1 + support_random(50) / 10.0);
    }
    return peak;
}

/* Seven bits are much for a status and nothing for a digit of a number; the window is where they are. */
static void test_against_what_is_usual(void **state) {
    (void)state;
    for (int lines = 50; lines <= 5000; lines *= 10) {
        cli_peak *peak = learned(lines);
        double usual = request(peak, "get 200 1234\n", 0.1, 3.5).score;
        cli_peak_worst digits = request(peak, "get 200 1234\n", 0.1, 7),
                       status = request(peak, "get 503 1234\n", 7, 3.5);
        assert_true(status.score > 4 * digits.score && status.score > 5 && usual < 1.5);
        assert_true(status.from <= 4 && status.to >= 5 && status.to <= 8);
        assert_true(digits.from >= 7 && digits.to <= 13);
        cli_peak_close(peak);
    }
}

/* A number that is longer than any before stands out by its length alone, digits as dear as ever. */
static void test_a_place_never_seen(void **state) {
    (void)state;
    cli_peak *peak = learned(1000);
    double usual = request(peak, "get 200 1234\n", 0.1, 3.5).score;
    double bits[32] = {0.02, 0.02, 0.02, 0.02, 0.1, 0.05, 0.05, 0.05, 3, 3, 3, 3, 9, 3, 3, 3, 1};
    cli_peak_worst worst = line_of(peak, "get 200 12345678\n", bits);
    assert_true(worst.score > 2 * usual);
    assert_true(worst.from <= 12 && worst.to > 12);
    cli_peak_close(peak);
}

/* What the model finds odd each time is no longer odd once the field has had it. */
static void test_comes_again(void **state) {
    (void)state;
    cli_peak *peak = cli_peak_open();
    double bits[] = {12, 12, 12, 0.1, 0.1, 0.1}, dull[] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.1}, first = 0, last = 0;
    for (int i = 0; i < 2000; i++) {
        int odd = i >= 400 && i % 20 == 0;
        cli_peak_worst worst = line_of(peak, odd ? "xyz 1\n" : "abc 1\n", odd ? bits : dull);
        if (i == 400) first = worst.score;
        if (odd) last = worst.score;
    }
    assert_true(first > 10 && last < first / 3);
    cli_peak_close(peak);
}

/* Tokens of several bytes have places too; what nothing predicted is left out; a line of nothing has no score. */
static void test_tokens(void **state) {
    (void)state;
    cli_peak *peak = cli_peak_open();
    cli_peak_worst worst = cli_peak_line(peak);
    assert_true(isnan(worst.score));
    for (int i = 0; i <= 500; i++) {
        int odd = i == 500;
        cli_peak_token(peak, "error", 5, NAN, 0, 5);
        cli_peak_token(peak, odd ? "=bad" : "=200", 4, odd ? 9 : 0.2, 5, 9);
        cli_peak_token(peak, " size", 5, 0.1, 9, 14);
        cli_peak_token(peak, "\n", 1, 0.1, 14, 15);
        worst = cli_peak_line(peak);
        assert_true(worst.score < 6 || odd || !i);
    }
    assert_true(worst.score > 6 && worst.from == 5);
    cli_peak_token(peak, "error", 5, NAN, 0, 5);
    assert_true(isnan(cli_peak_line(peak).score));
    cli_peak_close(peak);
}

/* The same lines give the same bits, in lines of any length, also when counts have been halved. */
static void test_long(void **state) {
    (void)state;
    enum { LINES = 30, TOKENS = 1 << 16 };
    cli_peak *peaks[2] = {cli_peak_open(), cli_peak_open()};
    char *text = malloc(TOKENS);
    double *bits = malloc(TOKENS * sizeof *bits);
    support_seed(7);
    for (int i = 0; i < LINES; i++) {
        cli_peak_worst worst[2];
        memset(worst, 0, sizeof worst);
        for (int k = 0; k < TOKENS; k++) {
            text[k] = k == TOKENS - 1 ? '\n' : k % 3 ? (char)('a' + support_random(26)) : ' ';
            bits[k] = support_random(1000) / 100.0;
        }
        for (int p = 0; p < 2; p++) {
            for (size_t k = 0; k < TOKENS; k++) cli_peak_token(peaks[p], text + k, 1, bits[k], k, k + 1);
            worst[p] = cli_peak_line(peaks[p]);
        }
        assert_memory_equal(&worst[0], &worst[1], sizeof worst[0]);
        assert_true(worst[0].score > 0 && worst[0].score < 20);
    }
    free(text);
    free(bits);
    for (int p = 0; p < 2; p++) cli_peak_close(peaks[p]);
    cli_peak_close(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_what_is_usual),
                                       cmocka_unit_test(test_a_place_never_seen), cmocka_unit_test(test_comes_again),
                                       cmocka_unit_test(test_tokens), cmocka_unit_test(test_long)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
