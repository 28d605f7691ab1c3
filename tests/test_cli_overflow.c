/* test_cli_overflow.c: a model whose logits overflow is told with the place, by every verb that looks at them; an
 * inner rate of 0. */
#include "support_test.h"

#include "base/memory.h"
#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "tensor/safetensors.h"

#include <stdio.h>
#include <stdlib.h>

/* Puts a number that overflows with every hidden vector into one row of the output head. */
static void spoil(const char *path) {
    il_allocator memory = il_allocator_default();
    il_error error;
    il_st st;
    size_t n, row = 32;
    char *bytes = support_read(path, &n);
    const float large = 3e38F;
    assert_ok(il_st_parse(&memory, path, bytes, n, &st, &error), error);
    const il_st_tensor *head = il_st_find(&st, "lm_head.weight");
    assert_non_null(head);
    assert_int_equal(head->shape[1], row);
    char *at = bytes + ((const char *)head->data - bytes) + 'e' * row * sizeof large;
    for (size_t i = 0; i < row; i++) memcpy(at + i * sizeof large, &large, sizeof large);
    support_write(path, bytes, n);
    il_st_close(&st);
    free(bytes);
}

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(3, 3000));
    free(support_done("init --preset tiny %s --set tie_word_embeddings=false --tokenizer bytes --seed 3 --out m",
                      SUPPORT_SHAPE));
    spoil("m/model.safetensors");
    return 0;
}

static void test_every_verb(void **state) {
    (void)state;
    static const char place[] = "is not finite: the output head's logits are too large";
    support_refused(1, "feed 0: the prediction of the token at position 3 is not finite",
                    "eval --model m --data book.txt");
    support_refused(1, place, "eval --model m --data book.txt --json");
    support_refused(1, "sequence 1 of 30: feed 0: the prediction", "eval --model m --data book.txt --seq-len 100");
    support_refused(1, place, "score --model m --by passage book.txt");
    support_refused(1, place, "generate --model m --max-tokens 5 --prompt ''");
    support_refused(1, "not finite",
                    "train --model m --data book.txt --out r --steps 1 --batch-tokens 64 --seq-len 64");
    assert_false(support_exists("r/latest"));
    /* nothing asks for a prediction: the state is as good as any */
    free(support_done("read --model m --save-state m.ilstate book.txt"));
    support_refused(1, "position 3001 is not finite", "generate --model m --load-state m.ilstate --max-tokens 5");
}

/* An inner rate of nothing is no division by it: the layers learn nothing, and the rest trains. */
static void test_no_inner_rate(void **state) {
    (void)state;
    static const char *const mixers[] = {"ttt_linear", "ttt_mlp", "ttt_linear_decay"};
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++) {
        free(support_done("init --force --preset tiny --mixer %s %s --set ttt_base_lr=0 --set fast_head_size=0 "
                          "--tokenizer bytes --out z",
                          mixers[i], SUPPORT_SHAPE));
        json_t *learning = support_json("eval --model z --data book.txt"),
               *frozen = support_json("eval --model z --data book.txt --frozen"),
               *trained = support_json("train --model z --data book.txt --out z%zu --steps 3 --batch-tokens 64 "
                                       "--seq-len 64",
                                       i);
        assert_true(support_number(learning, "nll") == support_number(frozen, "nll"));
        assert_true(support_number(trained, "loss") < 6);
        json_decref(learning);
        json_decref(frozen);
        json_decref(trained);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_verb), cmocka_unit_test(test_no_inner_rate)};
    return cmocka_run_group_tests_name("cli overflow", tests, begin, support_cli_end);
}
