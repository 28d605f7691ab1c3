/* test_cli_vocabulary.c: verbs with a vocabulary as large as those of published models, and a fast head that learns the
 * tokens of a text: its memory is the text's, not the vocabulary's. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <stdlib.h>

/* v: 70,000 tokens, of which the first 258 are bytes; log.txt: nearly the same line over and over. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_done("init --preset tiny %s --mixer self_attention --tokenizer bytes --set vocab_size=70000 "
                      "--seed 3 --out v",
                      SUPPORT_COMMON));
    char log[1600] = "";
    for (size_t i = 0, n = 0; n < 1500; i++)
        n += (size_t)snprintf(log + n, sizeof log - n, "10:%02zu:%02zu status installed python3\n", i / 60, i * 7 % 60);
    support_write("log.txt", log, strlen(log));
    return 0;
}

static double tokens_of(const char *model) {
    json_t *report = support_json("inspect %s", model), *config = json_object_get(report, "config"),
           *tokens = json_object_get(config, "fast_head_tokens");
    double n = tokens ? json_number_value(tokens) : 0;
    json_decref(report);
    return n;
}

static void test_default(void **state) {
    (void)state;
    free(support_done("convert --model v --set fast_head_size=2 --out a"));
    free(support_done("convert --model a --set fast_head_lr=0.4 --out b"));
    free(support_done("convert --model a --set fast_head_tokens=0 --out c"));
    free(support_done("convert --model c --set fast_head_lr=0.4 --out d"));
    free(support_done("convert --model v --set fast_head_tokens=0 --set fast_head_size=2 --out e"));
    free(support_done("convert --model v --set fast_head_size=2 --set fast_head_tokens=70000 --out f"));
    assert_true(tokens_of("v") == 0 && tokens_of("a") == 8192 && tokens_of("b") == 8192 && tokens_of("c") == 0);
    assert_true(tokens_of("d") == 0 && tokens_of("e") == 0 && tokens_of("f") == 70000);
    support_refused(2, "fast_head_tokens is 70001, more than the vocabulary's 70000",
                    "convert --model v --set fast_head_size=2 --set fast_head_tokens=70001 --out x");
    static const char init[] = "init --preset tiny " SUPPORT_SHAPE " --tokenizer bytes --set vocab_size=";
    free(support_done("%s32768 --out g", init));
    free(support_done("%s32769 --out h", init));
    free(support_done("%s32769 --set fast_head_tokens=9 --out i", init));
    free(support_done("%s32769 --set fast_head_size=0 --out j", init));
    assert_true(tokens_of("g") == 0 && tokens_of("h") == 8192 && tokens_of("i") == 9 && tokens_of("j") == 0);
}

static double bits(const char *options) {
    json_t *report = support_json("score --by passage %s log.txt", options);
    double bits = support_number(report, "bits_per_byte");
    json_decref(report);
    return bits;
}

static size_t size_of(const char *path) {
    size_t n;
    free(support_read(path, &n));
    return n;
}

static void test_verbs(void **state) {
    (void)state;
    free(support_done("convert --model v --set fast_head_size=16 --set fast_head_lr=1 --set fast_head_tokens=60 "
                      "--out few"));
    double frozen = bits("--model few --frozen"), living = bits("--model few"), mixed = bits("--model few --mix");
    assert_true(frozen > 16 && frozen == bits("--model v") && living < 0.9 * frozen && mixed < 0.2 * frozen);
    /* the state holds what the text has, and is gone on from */
    free(support_done("read --model few --save-state s.ilstate log.txt"));
    free(support_done("read --model v --save-state v.ilstate log.txt"));
    assert_true(size_of("s.ilstate") < size_of("v.ilstate") + 30000);
    assert_true(bits("--model few --load-state s.ilstate") < living);
    json_t *eval = support_json("eval --model few --data log.txt --seq-len 64");
    assert_true(support_number(eval, "nll") > 0);
    json_decref(eval);
    char *text = support_done("generate --model few --load-state s.ilstate --temperature 0 --max-tokens 12");
    assert_non_null(text);
    free(text);
    free(support_done("compress --model few log.txt small"));
    free(support_done("decompress --model few --threads 1 small back"));
    support_same_files("log.txt", "back");
    assert_true(size_of("small") < 600);
    free(support_done("compress --no-mix --model few log.txt alone"));
    free(support_done("decompress --model few alone again"));
    support_same_files("log.txt", "again");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default),
        cmocka_unit_test(test_verbs),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
