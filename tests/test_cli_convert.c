/* test_cli_convert.c: the verb convert, and what the other verbs make of its models. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* m: SentencePiece, fp32; b: the same in bf16; w: that in fp32 again. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(6, 3000));
    free(support_done("train-tokenizer --vocab 300 --out t.model book.txt"));
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer t.model --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("convert --model m --dtype bf16 --out b"));
    free(support_done("convert --model b --dtype f32 --out w"));
    return 0;
}

static double size_of(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (double)info.st_size;
}

static void test_report_and_files(void **state) {
    (void)state;
    json_t *report = support_json("convert --model m --dtype bf16 --out b --force");
    char *fingerprint = support_fingerprint("b"), *config = support_text_of("b/config.json");
    assert_string_equal(support_string(report, "dtype"), "bf16");
    assert_string_equal(support_string(report, "out"), "b");
    assert_string_equal(support_string(report, "fingerprint"), fingerprint);
    assert_true(support_number(report, "bytes") == size_of("b/model.safetensors"));
    assert_non_null(strstr(config, "\"torch_dtype\": \"bfloat16\""));
    assert_true(size_of("b/model.safetensors") < 0.75 * size_of("m/model.safetensors")); /* headers, fast weights */
    support_same_files("m/tokenizer.model", "b/tokenizer.model");
    free(fingerprint);
    free(config);
    json_decref(report);
}

static void test_inspect_names_the_type(void **state) {
    (void)state;
    json_t *m = support_json("inspect m"), *b = support_json("inspect b");
    assert_string_equal(support_string(m, "config.weights"), "f32");
    assert_string_equal(support_string(b, "config.weights"), "bf16");
    json_t *first = json_array_get(json_object_get(b, "tensors"), 0);
    assert_string_equal(support_string(first, "name"), "model.embed_tokens.weight");
    assert_string_equal(support_string(first, "dtype"), "bf16");
    json_decref(m);
    json_decref(b);
}

/* The same fingerprint, losses and compressed bytes, and each decompresses what the other wrote. */
static void test_bf16_is_its_widened_model(void **state) {
    (void)state;
    char *b = support_fingerprint("b"), *w = support_fingerprint("w"), *m = support_fingerprint("m");
    assert_string_equal(b, w);
    assert_string_not_equal(b, m);
    json_t *left = support_json("eval --model b --data book.txt --threads 2"),
           *right = support_json("eval --model w --data book.txt --threads 1");
    assert_true(support_number(left, "nll") == support_number(right, "nll"));
    free(support_done("compress --model b book.txt b.il"));
    free(support_done("compress --model w book.txt w.il"));
    support_same_files("b.il", "w.il");
    free(support_done("decompress --model b w.il again.txt"));
    support_same_files("again.txt", "book.txt");
    json_decref(left);
    json_decref(right);
    free(b);
    free(w);
    free(m);
}

/* Training starts from the widened weights: the run is that of the fp32 model. */
static void test_training_widens(void **state) {
    (void)state;
    free(support_done("train --model b --data book.txt --out rb --steps 2 --batch-tokens 64 --seq-len 32"));
    free(support_done("train --model w --data book.txt --out rw --steps 2 --batch-tokens 64 --seq-len 32"));
    support_same_files("rb/latest/model.safetensors", "rw/latest/model.safetensors");
    free(support_done("eval --model b --data book.txt --max-tokens 64 --grads b.safetensors"));
    free(support_done("eval --model w --data book.txt --max-tokens 64 --grads w.safetensors"));
    support_same_files("b.safetensors", "w.safetensors");
}

/* A quarter of the bytes, an answer of its own that compress and decompress agree on, no training. */
static void test_int8(void **state) {
    (void)state;
    free(support_done("convert --model m --dtype int8 --out q"));
    assert_true(size_of("q/model.safetensors") < size_of("b/model.safetensors"));
    char *config = support_text_of("q/config.json");
    assert_non_null(strstr(config, "\"quantization_config\": {\"quant_method\": \"innerloop\", \"bits\": 8"));
    json_t *q = support_json("inspect q"), *left = support_json("eval --model q --data book.txt --threads 2 --feed 7"),
           *right = support_json("eval --model q --data book.txt --threads 1"),
           *wide = support_json("eval --model m --data book.txt");
    assert_string_equal(support_string(q, "config.weights"), "int8");
    assert_true(support_number(left, "nll") == support_number(right, "nll"));
    assert_true(support_number(left, "nll") != support_number(wide, "nll"));
    double loss = support_number(left, "nll") - support_number(wide, "nll");
    assert_true(loss < 0.02 && loss > -0.02);
    free(support_done("compress --model q book.txt q.il"));
    free(support_done("decompress --model q --threads 1 q.il again.txt"));
    support_same_files("again.txt", "book.txt");
    free(support_done("convert --model m --dtype int4 --out q4"));
    assert_true(size_of("q4/model.safetensors") < size_of("q/model.safetensors"));
    json_t *q4 = support_json("eval --model q4 --data book.txt");
    loss = support_number(q4, "nll") - support_number(wide, "nll");
    assert_true(loss < 0.2 && loss > -0.2 && loss != 0);
    json_decref(q4);
    support_refused(1, "this model is", "decompress --model m q.il again.txt");
    support_refused(1, "only f32 weights can be trained",
                    "train --model q --data book.txt --out rq --steps 1 --batch-tokens 32 --seq-len 32");
    support_refused(1, "only f32 weights can be trained", "eval --model q --data book.txt --grads q.safetensors");
    json_decref(q);
    json_decref(left);
    json_decref(right);
    json_decref(wide);
    free(config);
}

static void same_answer(const char *left, const char *right, const char *key) {
    json_t *a = support_json("%s", left), *b = support_json("%s", right);
    const json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
    if (!x || !json_equal((json_t *)(uintptr_t)x, (json_t *)(uintptr_t)y))
        fail_msg("%s of %s and of %s", key, left, right);
    json_decref(a);
    json_decref(b);
}

/* --dtype where a model is read: the model that convert would have made. */
static void test_types_at_loading(void **state) {
    (void)state;
    free(support_done("convert --model m --dtype int8 --out l8 --force"));
    free(support_done("convert --model m --dtype int4 --out l4 --force"));
    same_answer("eval --model m --dtype int8 --data book.txt", "eval --model l8 --data book.txt", "nll");
    char *left = support_done("score --model m --dtype int4 book.txt"),
         *right = support_done("score --model l4 book.txt");
    assert_string_equal(left, right);
    free(left);
    free(right);
    same_answer("generate --model m --dtype int4 --prompt the --max-tokens 40 --temperature 0",
                "generate --model l4 --prompt the --max-tokens 40 --temperature 0", "ids");
    free(support_done("read --model m --dtype int8 --save-state l8.ilstate book.txt"));
    free(support_done("generate --model l8 --load-state l8.ilstate --max-tokens 3"));
    support_refused(1, "the state of a different model", "generate --model m --load-state l8.ilstate --max-tokens 3");
    support_refused(2, "--dtype", "generate --model m --dtype int2 --prompt the");
    /* compressed with a model, and a state read by one, need that one again */
    free(support_done("compress --model m --dtype int8 book.txt l8.ilc"));
    free(support_done("compress --model l8 book.txt made.ilc"));
    support_same_files("l8.ilc", "made.ilc");
    free(support_done("decompress --model m --dtype int8 l8.ilc back.txt"));
    support_same_files("book.txt", "back.txt");
    support_refused(1, "this model is", "decompress --model m l8.ilc back.txt");
    same_answer("inspect --dtype int8 m", "inspect l8", "fingerprint");
    same_answer("inspect --model m --dtype int8 l8.ilstate", "inspect --model l8 l8.ilstate", "layers");
    support_refused(1, "the state of a different model", "inspect --model m l8.ilstate");
    support_refused(2, "--dtype: m/tokenizer.model is not a state or the directory of a model",
                    "inspect --dtype int8 m/tokenizer.model");
    support_refused(2, "--model: m is not a state", "inspect --model l8 m");
    support_refused(2, "--tokenizer: m is not a token shard", "inspect --tokenizer bytes m");
}

/* Converted in its place, a model that lay in several files lies in one. */
static void test_shards_are_replaced(void **state) {
    (void)state;
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                        "model-00003-of-00003.safetensors"};
    assert_int_equal(mkdir("shards", 0777), 0);
    for (size_t i = 0; i < 5; i++) {
        char from[300], to[300];
        snprintf(from, sizeof from, FIXTURES "/qwen2_shards/%s", names[i]);
        snprintf(to, sizeof to, "shards/%s", names[i]);
        size_t bytes;
        char *data = support_read(from, &bytes);
        support_write(to, data, bytes);
        free(data);
    }
    support_write("shards/notes.safetensors", "mine", 4);
    char *before = support_fingerprint("shards");
    free(support_done("convert --model shards --dtype f32 --out shards --force"));
    char *after = support_fingerprint("shards");
    assert_string_equal(before, after);
    for (size_t i = 1; i < 5; i++) {
        char path[300];
        snprintf(path, sizeof path, "shards/%s", names[i]);
        assert_false(support_exists(path));
    }
    assert_true(support_exists("shards/notes.safetensors"));
    free(before);
    free(after);
}

/* A model that goes on learning: told by inspect, better on a text that repeats itself, frozen the one it was; taken
 * away, the same model as before. */
static void test_fast_head(void **state) {
    (void)state;
    free(support_done("convert --model m --set fast_head_size=16 --set fast_head_lr=0.4 --out f"));
    json_t *f = support_json("inspect f"), *m = support_json("inspect m");
    assert_true(support_number(f, "config.fast_head_size") == 16);
    assert_true(support_number(f, "config.fast_head_lr") == 0.4);
    assert_null(json_object_get(json_object_get(m, "config"), "fast_head_size"));
    char *config = support_text_of("f/config.json"), *without = support_text_of("m/config.json");
    assert_non_null(strstr(config, "\"fast_head_size\": 16"));
    assert_null(strstr(without, "fast_head"));
    support_same_files("m/tokenizer.model", "f/tokenizer.model");
    free(support_done("convert --model f --set fast_head_size=0 --out none"));
    char *plain = support_fingerprint("m"), *fast = support_fingerprint("f"), *none = support_fingerprint("none");
    assert_string_not_equal(plain, fast);
    assert_string_equal(plain, none);
    support_same_files("m/config.json", "none/config.json");

    json_t *learning = support_json("eval --model f --data book.txt --threads 2 --feed 7"),
           *one = support_json("eval --model f --data book.txt --threads 1"),
           *frozen = support_json("eval --model f --data book.txt --frozen"),
           *still = support_json("eval --model m --data book.txt --frozen"),
           *slow = support_json("eval --model m --data book.txt");
    assert_true(support_number(learning, "nll") == support_number(one, "nll"));
    assert_true(support_number(learning, "nll") < support_number(slow, "nll"));
    assert_true(support_number(frozen, "nll") == support_number(still, "nll"));
    free(support_done("compress --no-mix --model f book.txt f.il"));
    free(support_done("compress --no-mix --model m book.txt m.il"));
    free(support_done("decompress --model f --threads 1 f.il again.txt"));
    support_same_files("again.txt", "book.txt");
    assert_true(size_of("f.il") < size_of("m.il"));

    /* the two options go together, and the same type needs no --dtype */
    json_t *report = support_json("convert --model f --dtype int8 --set fast_head_size=8 --out f8"),
           *kept = support_json("convert --model f8 --set fast_head_size=9 --out f9");
    assert_string_equal(support_string(report, "dtype"), "int8");
    assert_string_equal(support_string(kept, "dtype"), "int8");
    free(support_done("init --preset tiny %s --set fast_head_size=4 --out i", SUPPORT_SHAPE));
    json_t *fresh = support_json("inspect i");
    assert_true(support_number(fresh, "config.fast_head_size") == 4);
    assert_true(support_number(fresh, "config.fast_head_lr") == 0.3);

    json_t *all[] = {f, m, learning, one, frozen, still, slow, report, kept, fresh};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) json_decref(all[i]);
    free(config);
    free(without);
    free(plain);
    free(fast);
    free(none);
}

static void test_refusals(void **state) {
    (void)state;
    support_refused(2, "nothing else", "convert --model m --set num_hidden_layers=1 --out x");
    support_refused(2, "nothing else", "convert --model m --set hidden_size=3 --out x");
    support_refused(2, "'fast_head_size' is not key=value", "convert --model m --set fast_head_size --out x");
    support_refused(2, "nonsense", "convert --model m --set nonsense=1 --out x");
    support_refused(2, "fast_head_size", "convert --model m --set fast_head_size=many --out x");
    support_refused(2, "fast_head_size", "convert --model m --set fast_head_size=1025 --out x");
    support_refused(2, "fast_head_lr", "convert --model m --set fast_head_size=8 --set fast_head_lr=-1 --out x");
    support_refused(2, "fast_head_size", "init --preset tiny --set fast_head_size=-1 --out x");
    support_refused(2, "--set: fast_head_tokens: this model has no fast head",
                    "convert --model m --set fast_head_tokens=9 --out x");
    support_refused(2, "--set: fast_head_lr: this model has no fast head",
                    "convert --model m --set fast_head_lr=0.1 --out x");
    assert_false(support_exists("x"));
    support_refused(1, "already holds a model", "convert --model m --dtype bf16 --out w");
    support_refused(2, "--dtype", "convert --model m --dtype f8 --out x");
    support_refused(2, "--out", "convert --model m --dtype bf16");
    support_refused(1, "nothing", "convert --model nothing --dtype bf16 --out x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_report_and_files),
        cmocka_unit_test(test_inspect_names_the_type),
        cmocka_unit_test(test_bf16_is_its_widened_model),
        cmocka_unit_test(test_training_widens),
        cmocka_unit_test(test_int8),
        cmocka_unit_test(test_types_at_loading),
        cmocka_unit_test(test_shards_are_replaced),
        cmocka_unit_test(test_fast_head),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests_name("cli_convert", tests, begin, support_cli_end);
}
