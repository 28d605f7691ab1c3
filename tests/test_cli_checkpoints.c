/* test_cli_checkpoints.c: checkpoints of other software in the verbs: what they become, what is said of them, and the
 * judgement on models that are sane and on those that are not. */
#include "support_test.h"

#include "base/memory.h"
#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "tensor/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define CHECKPOINTS FIXTURES "/checkpoints/"
#define READER FIXTURES "/../../models/reader"

/* t.model: of as many tokens as the reader's, and not its own. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(6, 60000));
    free(support_done("train-tokenizer --vocab 300 --out t.model book.txt"));
    return 0;
}

static const char *judgement_of(const json_t *report) { return support_string(report, "verdict.judgement"); }

static int hints_at(const json_t *report, const char *word) {
    const json_t *hints = json_object_get(json_object_get(report, "verdict"), "hints");
    size_t i;
    json_t *hint;
    json_array_foreach((json_t *)(uintptr_t)hints, i, hint) if (strstr(json_string_value(hint), word)) return 1;
    return 0;
}

/* ---- what they become ---- */

static void test_jax(void **state) {
    (void)state;
    json_t *file = support_json("convert --from jax --model " CHECKPOINTS "jax_linear/streaming_train_state --out j1"),
           *dir = support_json("convert --from jax --model " CHECKPOINTS "jax_linear --out j2"),
           *same = support_json("convert --model " CHECKPOINTS "jax_linear/streaming_train_state --out j3 --no-check");
    assert_string_equal(support_string(file, "dtype"), "bf16");
    assert_string_equal(support_string(file, "fingerprint"), support_string(dir, "fingerprint"));
    assert_string_equal(support_string(file, "fingerprint"), support_string(same, "fingerprint"));
    assert_string_equal(judgement_of(file), "looks random");
    assert_null(json_object_get(same, "verdict"));
    support_same_files("j1/model.safetensors", "j2/model.safetensors");
    char *fingerprint = support_fingerprint("j1"), *config = support_text_of("j1/config.json");
    assert_string_equal(support_string(file, "fingerprint"), fingerprint);
    assert_non_null(strstr(config, "\"use_gate\": true"));
    json_decref(file);
    json_decref(dir);
    json_decref(same);
    free(fingerprint);
    free(config);
    /* what shapes do not tell is asked for, or said to be taken for granted */
    support_refused(1, "num_attention_heads", "convert --from jax --model " CHECKPOINTS "jax_attention --out j4");
    support_refused(2, "without --from, nothing else",
                    "convert --model " CHECKPOINTS
                    "jax_attention/streaming_params --set num_attention_heads=2 --out j4");
    free(support_done("convert --from jax --model " CHECKPOINTS "jax_attention --set num_attention_heads=2 --out j4"));
    config = support_text_of("j4/config.json");
    assert_non_null(strstr(config, "\"model_type\": \"llama\""));
    free(config);
    support_run run = support_cli(NULL, "convert --from jax --model " CHECKPOINTS "jax_mlp --out j5");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "ttt_base_lr 0.1, rope_theta 10000, rms_norm_eps 1e-06"));
    support_run_free(&run);
    free(support_done("convert --from jax --model " CHECKPOINTS "jax_mlp --set ttt_base_lr=0.25 --out j6"));
    config = support_text_of("j6/config.json");
    assert_non_null(strstr(config, "\"ttt_base_lr\": 0.25"));
    free(config);
}

static void test_torch(void **state) {
    (void)state;
    json_t *one = support_json("convert --from torch --model " CHECKPOINTS "torch_ttt --out p1"),
           *many = support_json("convert --from torch --model " CHECKPOINTS "torch_ttt_sharded --dtype f32 --out p2"),
           *llama = support_json("convert --from torch --to hf --model " CHECKPOINTS "torch_llama --out p3");
    assert_string_equal(support_string(one, "dtype"), "f32");
    assert_string_equal(support_string(many, "dtype"), "f32");
    assert_string_equal(judgement_of(llama), "looks random");
    assert_true(hints_at(one, "There is no tokenizer") || !strcmp(judgement_of(one), "looks random"));
    json_decref(one);
    json_decref(many);
    json_decref(llama);
    support_refused(1, "holds no pytorch_model.bin", "convert --from torch --model p1 --out p4");
    support_refused(1, "neither a checkpoint of the official JAX code", "convert --from jax --model p1 --out p4");
    support_refused(1, "a checkpoint of the official JAX code",
                    "convert --from directory --model " CHECKPOINTS "jax_mlp/streaming_params --out p4");
    mkdir("fork", 0777);
    support_write("fork/config.json", "{\"model_type\": \"ttt_mlp\"}", 25);
    support_write("fork/pytorch_model.bin", "", 0);
    support_refused(1, "RetentionLabs", "convert --from torch --model fork --out p4");
    free(support_done("convert --from torch --model " CHECKPOINTS "torch_ttt --out both"));
    size_t bytes;
    char *data = support_read(CHECKPOINTS "torch_ttt/pytorch_model.bin", &bytes);
    support_write("both/pytorch_model.bin", data, bytes);
    free(data);
    support_refused(1, "holds safetensors too", "convert --from torch --model both --out p4");
    assert_false(support_exists("p4"));
}

/* A key that config.json leaves out is said. */
static void test_what_config_leaves_out(void **state) {
    (void)state;
    mkdir("leaves", 0777);
    size_t bytes;
    char *data = support_read(CHECKPOINTS "torch_ttt/pytorch_model.bin", &bytes),
         *config = support_text_of(CHECKPOINTS "torch_ttt/config.json");
    support_write("leaves/pytorch_model.bin", data, bytes);
    static const char *const keys[] = {"use_gate", "share_qk", "pre_conv"};
    for (size_t i = 0; i < 3; i++) {
        char *at = strstr(config, keys[i]);
        assert_non_null(at);
        at[0] = '_'; /* a key of transformers' own, which says nothing */
    }
    support_write("leaves/config.json", config, strlen(config));
    support_refused(1, "share_qk is false, or left out", "convert --from torch --model leaves --out o1");
    support_refused(1, "use_gate is false, or left out",
                    "convert --from torch --model leaves --set share_qk=true --out o1");
    free(support_done(
        "convert --from torch --model leaves --set share_qk=true --set use_gate=true --set pre_conv=true --out o1"));
    free(support_done("convert --from torch --model " CHECKPOINTS "torch_ttt --out o2"));
    support_same_files("o1/model.safetensors", "o2/model.safetensors");
    free(data);
    free(config);
}

static void test_to_hf(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --mixer ttt_linear --tokenizer t.model --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("convert --model m --to hf --out h"));
    char *tokenizer = support_text_of("h/tokenizer_config.json");
    assert_non_null(strstr(tokenizer, "\"tokenizer_class\": \"LlamaTokenizer\""));
    assert_non_null(strstr(tokenizer, "\"add_prefix_space\": false")); /* of a tokenizer of ours */
    assert_non_null(strstr(tokenizer, "\"add_bos_token\": true"));
    assert_non_null(strstr(tokenizer, "\"bos_token\": \"<s>\""));
    free(tokenizer);
    assert_true(support_exists("h/generation_config.json"));
    support_same_files("m/model.safetensors", "h/model.safetensors");
    support_same_files("m/tokenizer.model", "h/tokenizer.model");
    free(support_done("convert --model m --out plain"));
    assert_false(support_exists("plain/tokenizer_config.json"));
    support_refused(1, "fast_head_size is known to no other software",
                    "convert --model m --to hf --set fast_head_size=4 --out x");
    support_refused(1, "int8", "convert --model m --to hf --dtype int8 --out x");
    free(support_done(
        "init --preset tiny %s --mixer ttt_linear_decay --set fast_head_size=0 --tokenizer t.model --out d",
        SUPPORT_SHAPE));
    support_refused(1, "layers of ttt_linear_decay, as this model has them, are known to no",
                    "convert --model d --to hf --out x");
    free(support_done("init --preset tiny %s --mixer ttt_linear --set taps=3 --tokenizer t.model --out taps",
                      SUPPORT_SHAPE));
    support_refused(1, "taps is known to no other software", "convert --model taps --to hf --out x");
    assert_false(support_exists("x"));
    support_refused(1, "it has 300 tokens",
                    "convert --from torch --model " CHECKPOINTS "torch_ttt --tokenizer t.model --out x");
}

/* ---- the judgement ---- */

static void test_trained(void **state) {
    (void)state;
    json_t *report = support_json("inspect --check " READER);
    assert_string_equal(judgement_of(report), "trained");
    assert_true(json_array_size(json_object_get(json_object_get(report, "verdict"), "hints")) == 0);
    assert_true(support_number(report, "verdict.texts.English.bits_per_byte") < 3);
    assert_true(support_number(report, "verdict.embedding_spread") > 3);
    assert_string_equal(support_string(report, "verdict.dtype"), "bf16");
    json_decref(report);
    char *text = support_done("inspect --check --dtype int8 " READER); /* as large ones are judged */
    assert_non_null(strstr(text, "judgement  trained\n"));
    assert_non_null(strstr(text, "weights as int8\n"));
    assert_non_null(strstr(text, "tried: frozen"));
    free(text);
}

static void test_another_tokenizer(void **state) {
    (void)state;
    json_t *report = support_json("convert --model " READER " --tokenizer t.model --out other");
    assert_string_equal(judgement_of(report), "tokenizer does not fit");
    assert_true(hints_at(report, "--tokenizer"));
    json_decref(report);
}

static void test_fresh(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --tokenizer t.model --seed 3 --out fresh --force", SUPPORT_SHAPE));
    json_t *report = support_json("inspect --check fresh");
    assert_string_equal(judgement_of(report), "looks random");
    json_decref(report);
}

/* An inner learning rate that is not the model's is found out by trying. */
static void test_another_rate(void **state) {
    (void)state;
    json_t *report = support_json("convert --from directory --model " READER " --set ttt_base_lr=0.1 --out slow");
    assert_true(hints_at(report, "With ttt_base_lr 1 in place of 0.1"));
    json_decref(report);
}

/* The reader with its square matrices as a careless conversion leaves them. */
static void transpose_reader(void) {
    il_allocator memory = il_allocator_default();
    il_st st;
    il_error error;
    size_t bytes;
    mkdir("turned", 0777);
    static const char *const files[] = {"config.json", "generation_config.json", "tokenizer.model"};
    for (size_t i = 0; i < 3; i++) {
        char *data = support_read(support_path(READER, files[i]), &bytes);
        support_write(support_path("turned", files[i]), data, bytes);
        free(data);
    }
    assert_ok(il_st_open(&memory, READER "/model.safetensors", &st, &error), error);
    il_st_item *items = calloc(st.n, sizeof *items);
    for (size_t i = 0; i < st.n; i++) {
        const il_st_tensor *t = &st.tensors[i];
        items[i] = (il_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
        if (t->rank != 2 || t->shape[0] != t->shape[1]) continue;
        size_t n = t->shape[0], width = il_dtype_bytes(t->dtype);
        unsigned char *turned = malloc(t->bytes);
        for (size_t r = 0; r < n; r++)
            for (size_t k = 0; k < n; k++) memcpy(turned + (k * n + r) * width, t->data + (r * n + k) * width, width);
        items[i].data = turned;
    }
    il_st_pair pair = {"format", "pt"};
    assert_ok(il_st_write(&memory, "turned/model.safetensors", items, st.n, &pair, 1, &error), error);
    for (size_t i = 0; i < st.n; i++)
        if (items[i].data != st.tensors[i].data) free((void *)(uintptr_t)items[i].data);
    free(items);
    il_st_close(&st);
}

static void test_transposed(void **state) {
    (void)state;
    transpose_reader();
    json_t *report = support_json("inspect --check turned");
    assert_true(hints_at(report, "--transposed"));
    json_decref(report);
    report = support_json("convert --transposed --model turned --out straight");
    assert_string_equal(judgement_of(report), "trained");
    json_decref(report);
    char *straight = support_fingerprint("straight"), *reader = support_fingerprint(READER);
    assert_string_equal(straight, reader);
    free(straight);
    free(reader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jax),
        cmocka_unit_test(test_torch),
        cmocka_unit_test(test_what_config_leaves_out),
        cmocka_unit_test(test_to_hf),
        cmocka_unit_test(test_trained),
        cmocka_unit_test(test_another_tokenizer),
        cmocka_unit_test(test_fresh),
        cmocka_unit_test(test_another_rate),
        cmocka_unit_test(test_transposed),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
