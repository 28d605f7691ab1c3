/* test_cli_gguf.c: GGUF files in the verbs: what they say of themselves, that they are models like others, and that
 * they become model directories. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <stdio.h>
#include <stdlib.h>

#define TINY FIXTURES "/gguf/tiny.gguf"

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    support_write("t.txt", "It's 12 o'clock.\n\nAnd the rain?\n", 32);
    free(support_done("convert --from gguf --model %s --out m", TINY));
    return 0;
}

static void test_inspect(void **state) {
    (void)state;
    json_t *said = support_json("inspect %s", TINY), *tensors = json_object_get(said, "tensors");
    assert_string_equal(support_string(said, "kind"), "gguf");
    assert_true(support_number(said, "version") == 3);
    assert_true(support_number(said, "bytes") == 66336);
    const json_t *metadata = json_object_get(said, "metadata");
    assert_string_equal(json_string_value(json_object_get(metadata, "general.architecture")), "llama");
    assert_int_equal(json_integer_value(json_object_get(metadata, "llama.block_count")), 2);
    assert_true(json_is_false(json_object_get(metadata, "tokenizer.ggml.add_bos_token")));
    const json_t *tokens = json_object_get(metadata, "tokenizer.ggml.tokens");
    assert_string_equal(support_string(tokens, "type"), "string");
    assert_true(support_number(tokens, "count") == 638);
    assert_int_equal(json_array_size(tensors), 20);
    assert_string_equal(support_string(json_array_get(tensors, 0), "name"), "blk.0.attn_k.weight");
    assert_string_equal(support_string(json_array_get(tensors, 0), "dtype"), "Q8_0");
    json_decref(said);
    char *text = support_done("inspect %s", TINY);
    assert_non_null(strstr(text, "tokenizer.ggml.pre     smollm\n"));
    assert_non_null(strstr(text, "Q8_0 [638,32]\n"));
    free(text);
    support_refused(1, "cut.gguf: tensor token_embd.weight: cut short", "inspect cut.gguf");
}

static int cut(void **state) {
    size_t bytes;
    char *data = support_read(TINY, &bytes);
    (void)state;
    support_write("cut.gguf", data, bytes / 2);
    free(data);
    return 0;
}

/* The same from the file, named or in the environment, and from what it was converted to. */
static void test_it_is_a_model(void **state) {
    (void)state;
    char *file = support_done("score --model %s --by token t.txt", TINY), *converted;
    converted = support_done("score --model m --by token t.txt");
    assert_string_equal(file, converted);
    free(converted);
    assert_int_equal(setenv("INNERLOOP_MODEL", TINY, 1), 0);
    converted = support_done("score --by token t.txt");
    unsetenv("INNERLOOP_MODEL");
    assert_string_equal(file, converted);
    free(converted);
    free(file);
    file = support_done("tokenize --tokenizer %s --ids --special t.txt", TINY);
    converted = support_done("tokenize --tokenizer m/tokenizer.json --ids --special t.txt");
    assert_string_equal(file, converted);
    free(converted);
    free(file);
}

static void test_convert(void **state) {
    (void)state;
    json_t *report = support_json("convert --model %s --dtype int8 --out i", TINY);
    assert_string_equal(support_string(report, "dtype"), "int8");
    json_decref(report);
    free(support_done("convert --model m --dtype int8 --out j"));
    char *at_once = support_fingerprint("i"), *later = support_fingerprint("j");
    assert_string_equal(at_once, later);
    free(at_once);
    free(later);
    support_same_files("m/tokenizer.json", "i/tokenizer.json");
    support_same_files("m/chat_template.jinja", "i/chat_template.jinja");
    char *tokenizer = support_text_of("m/tokenizer.json");
    assert_non_null(strstr(tokenizer, "\"<|im_end|>\":637")); /* in the vocabulary, where others look for its id */
    free(tokenizer);
    char *stops = support_text_of("m/generation_config.json");
    assert_non_null(strstr(stops, "\"eos_token_id\": 637"));
    free(stops);
    char *config = support_text_of("m/config.json");
    assert_non_null(strstr(config, "\"num_key_value_heads\": 2"));
    assert_non_null(strstr(config, "\"rms_norm_eps\": 1e-05"));
    free(config);
}

static void test_chat(void **state) {
    (void)state;
    char *file = support_done("chat --model %s --temperature 0 --max-tokens 5 --prompt rain --json", TINY);
    json_t *answer = json_loads(file, 0, NULL);
    assert_true(support_number(answer, "prompt_tokens") > 5); /* in the form of its template */
    json_decref(answer);
    free(file);
}

static void test_from(void **state) {
    (void)state;
    support_refused(1, "--from gguf: m: not a GGUF file", "convert --from gguf --model m --out n");
    support_refused(1, "--from gguf: the model that is used", "convert --from gguf --out n");
    support_refused(1, "a GGUF file", "convert --from directory --model %s --out n", TINY);
    assert_false(support_exists("n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_inspect, cut),
        cmocka_unit_test(test_it_is_a_model),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_from),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
