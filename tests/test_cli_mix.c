/* test_cli_mix.c: --mix of read, score and generate: what repeats itself surprises less and is gone on with, and a
 * state file holds what was learned. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <stdlib.h>

/* m: bytes, untrained; log.txt: the same line over and over. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    char *log = calloc(1, 8000);
    for (int i = 0; i < 60; i++) strcat(log, "10:01 status installed python3\n");
    support_write("log.txt", log, strlen(log));
    support_write("one.txt", log, 1000);
    support_write("two.txt", log + 1000, strlen(log) - 1000);
    free(log);
    return 0;
}

static double bits(const char *options) {
    json_t *whole = support_json("score --model m --by passage %s", options);
    double bits = support_number(whole, "bits_per_byte");
    json_decref(whole);
    return bits;
}

static void test_score(void **state) {
    (void)state;
    double alone = bits("log.txt"), mixed = bits("--mix log.txt");
    assert_true(alone > 4 && mixed < 0.2 * alone);
    assert_true(bits("--mix --window 256 log.txt") < 0.4 * alone); /* also in the sessions that follow the first */
    assert_true(bits("--mix --threads 1 log.txt") == mixed);
    support_refused(2, "--load-state and --mix", "score --model m --load-state x --mix log.txt");
}

static void test_states(void **state) {
    (void)state;
    free(support_done("read --model m --mix --save-state whole.ilstate log.txt"));
    free(support_done("read --model m --mix --save-state one.ilstate one.txt"));
    free(support_done("read --model m --load-state one.ilstate --save-state two.ilstate two.txt"));
    support_same_files("whole.ilstate", "two.ilstate");
    assert_true(bits("--load-state one.ilstate two.txt") < 0.02);
    free(support_done("read --model m --save-state alone.ilstate one.txt"));
    assert_true(bits("--load-state alone.ilstate two.txt") > 3);
    support_refused(2, "--load-state and --mix", "read --model m --load-state x --save-state y --mix log.txt");
    /* a text that goes on from it is compressed by a mix of its own */
    free(support_done("compress --model m --load-state one.ilstate two.txt small"));
    free(support_done("decompress --model m --load-state one.ilstate small back"));
    support_same_files("two.txt", "back");
}

static void test_generate(void **state) {
    (void)state;
    static const char prompt[] = "--temperature 0 --max-tokens 25 --prompt-file log.txt";
    char *mixed = support_done("generate --model m --mix %s", prompt),
         *alone = support_done("generate --model m %s", prompt);
    assert_string_equal(mixed, "10:01 status installed py\n");
    assert_string_not_equal(mixed, alone);
    free(support_done("read --model m --mix --save-state whole.ilstate log.txt"));
    char *later = support_done("generate --model m --load-state whole.ilstate --temperature 0 --max-tokens 25");
    assert_string_equal(mixed, later);
    support_refused(2, "--load-state and --mix", "generate --model m --load-state x --mix");
    free(mixed), free(alone), free(later);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_score), cmocka_unit_test(test_states),
                                       cmocka_unit_test(test_generate)};
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
