/* test_checkpoints.c: models out of the files that the official code writes (fixtures/checkpoints): the logits that the
 * same code computes from them, in every type, and files that are damaged or of another kind. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_alloc.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_model.h"
#include "support_scene.h"
#include "tensor/flax.h"
#include "tensor/safetensors.h"

#define FOLDER FIXTURES "/checkpoints/"

static il_error error;

/* ---- against the code that wrote them ---- */

static il_status load(const char *path, const char *const *set, il_model **model) {
    il_load_options options;
    il_load_options_default(&options);
    options.set = set;
    while (set && set[options.n_set]) options.n_set++;
    return il_model_load_as(scene.engine, path, &options, model, &error);
}

/* How far the logits of a fixture's tokens are from those that are expected, relative to their rms. */
static double apart(const char *name, il_model *model) {
    char path[300];
    snprintf(path, sizeof path, FOLDER "%s/expect.safetensors", name);
    return support_logits_apart(model, path);
}

#define SET_MAX 4
static const struct fixture {
    const char *name, *file, *set[SET_MAX];
    il_mixer_kind mixer;
    il_weight_type weights;
    int mamba;
} fixtures[] = {
    {"jax_linear", "streaming_train_state", {NULL}, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16, 1},
    {"jax_mlp", "streaming_params", {NULL}, IL_MIXER_TTT_MLP, IL_WEIGHTS_BF16, 1},
    {"jax_linear_base", "streaming_params", {NULL}, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_F32, 0},
    {"jax_mlp_base", "streaming_params", {NULL}, IL_MIXER_TTT_MLP, IL_WEIGHTS_F32, 0},
    {"jax_attention", "streaming_params", {"num_attention_heads=2"}, IL_MIXER_SELF_ATTENTION, IL_WEIGHTS_BF16, 0},
    {"jax_odd",
     "streaming_params",
     {"ttt_base_lr=0.5", "rope_theta=100.0", "rms_norm_eps=1e-3"},
     IL_MIXER_TTT_LINEAR,
     IL_WEIGHTS_BF16,
     0},
    {"jax_walk", "streaming_train_state", {NULL}, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16, 1},
    {"torch_ttt", "", {NULL}, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_F32, 1},
    {"torch_ttt_sharded", "", {NULL}, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16, 1},
    {"torch_llama", "", {NULL}, IL_MIXER_SELF_ATTENTION, IL_WEIGHTS_F32, 0},
};
enum { N_FIXTURES = sizeof fixtures / sizeof fixtures[0] };

static const char *path_of(const struct fixture *f) {
    static char path[300];
    snprintf(path, sizeof path, FOLDER "%s/%s", f->name, f->file);
    return path;
}

static void logits_are_those_of_the_official_code(void **state) {
    (void)state;
    for (const struct fixture *f = fixtures; f < fixtures + N_FIXTURES; f++) {
        il_model *model;
        assert_ok(load(path_of(f), f->set, &model), error);
        const il_config *c = il_model_config(model);
        assert_int_equal(c->mixer, f->mixer);
        assert_int_equal(c->weights, f->weights);
        assert_int_equal(c->share_qk, f->mamba);
        assert_int_equal(c->use_gate, f->mamba);
        double difference = apart(f->name, model);
        if (!(difference <= 2e-5)) fail_msg("%s: logits differ by %.2g x their rms", f->name, difference);
        il_model_unref(model);
    }
}

/* Each of the keys that no shape tells matters: with the usual number the model is another one. */
static void what_is_set_matters(void **state) {
    (void)state;
    const struct fixture *odd = &fixtures[5];
    il_model *model;
    for (int without = 0; odd->set[without]; without++) {
        const char *set[SET_MAX] = {NULL};
        for (int i = 0, n = 0; odd->set[i]; i++)
            if (i != without) set[n++] = odd->set[i];
        assert_ok(load(path_of(odd), set, &model), error);
        assert_true(apart(odd->name, model) > 1e-3);
        il_model_unref(model);
    }
}

/* The same weights from what the checkpoint became, in every type. */
static void what_it_becomes_is_the_same_model(void **state) {
    (void)state;
    for (const struct fixture *f = fixtures; f < fixtures + N_FIXTURES; f++) {
        il_model *model, *again;
        char first[33], second[33];
        const char *dir = support_path(scene.folder, f->name);
        assert_ok(load(path_of(f), f->set, &model), error);
        assert_ok(il_model_save(model, dir, &error), error);
        assert_ok(il_model_load(scene.engine, dir, &again, &error), error);
        il_model_fingerprint(model, first);
        il_model_fingerprint(again, second);
        assert_string_equal(first, second);
        il_model_unref(again);
        il_config config = *il_model_config(model);
        config.weights = IL_WEIGHTS_INT8;
        il_load_options options = {.weights = IL_WEIGHTS_INT8, .set = f->set};
        while (f->set[options.n_set]) options.n_set++;
        assert_ok(il_model_load_as(scene.engine, path_of(f), &options, &again, &error), error);
        il_model_fingerprint(again, second);
        il_model_unref(again);
        assert_ok(il_model_convert(model, &config, &again, &error), error);
        il_model_fingerprint(again, first);
        assert_string_equal(first, second);
        il_model_unref(again);
        il_model_unref(model);
    }
}

/* ---- what is taken for granted ---- */

typedef struct lines {
    char text[2000];
} lines;

static void keep_line(void *user, il_log_level level, const char *line) {
    lines *kept = user;
    size_t n = strlen(kept->text);
    snprintf(kept->text + n, sizeof kept->text - n, "%d %s\n", (int)level, line);
}

static void guesses_are_said(void **state) {
    (void)state;
    lines said = {""};
    il_engine_options options;
    il_engine *talking;
    il_model *model;
    il_load_options load_options;
    const char *set[] = {"ttt_base_lr=1"};
    il_engine_options_default(&options);
    options.log = keep_line;
    options.log_user = &said;
    assert_ok(il_engine_open(&options, &talking, &error), error);
    assert_ok(il_model_load(talking, FOLDER "jax_mlp/streaming_params", &model, &error), error);
    assert_non_null(strstr(said.text, "ttt_base_lr 0.1, rope_theta 10000, rms_norm_eps 1e-06"));
    il_model_unref(model);
    said.text[0] = 0;
    il_load_options_default(&load_options);
    load_options.set = set;
    load_options.n_set = 1;
    assert_ok(il_model_load_as(talking, FOLDER "jax_linear/streaming_train_state", &load_options, &model, &error),
              error);
    assert_null(strstr(said.text, "ttt_base_lr"));
    assert_non_null(strstr(said.text, "rope_theta 10000, rms_norm_eps 1e-06"));
    assert_non_null(strstr(said.text, "not read: 57 entries of the optimizer"));
    il_model_unref(model);
    il_engine_close(talking);
    assert_int_equal(il_model_load(scene.engine, FOLDER "jax_attention/streaming_params", &model, &error),
                     IL_ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "num_attention_heads"));
    const char *wrong[] = {"num_attention_heads=5", NULL}, *odd[] = {"num_attention_heads", NULL};
    assert_int_equal(load(FOLDER "jax_attention/streaming_params", wrong, &model), IL_ERR_ARG);
    assert_int_equal(load(FOLDER "jax_attention/streaming_params", odd, &model), IL_ERR_ARG);
    assert_non_null(strstr(error.message, "is not key=value"));
}

/* A tokenizer beside the file is the model's. */
static void tokenizer_beside_it(void **state) {
    (void)state;
    size_t bytes;
    il_model *model;
    il_tokenizer *tokenizer;
    char *data = support_read(FOLDER "jax_mlp/streaming_params", &bytes);
    const char *path = support_path(scene.folder, "streaming_params");
    support_write(path, data, bytes);
    free(data);
    assert_ok(il_model_load(scene.engine, path, &model, &error), error);
    assert_int_equal(il_tokenizer_load_for_model(scene.engine, path, il_model_config(model), &tokenizer, &error),
                     IL_ERR_UNSUPPORTED);
    data = support_read(FIXTURES "/tokenizers/gpt2.json", &bytes);
    support_write(support_path(scene.folder, "tokenizer.json"), data, bytes);
    free(data);
    assert_int_equal(il_tokenizer_load_for_model(scene.engine, path, il_model_config(model), &tokenizer, &error),
                     IL_ERR_MISMATCH); /* it is found, and has more tokens than the model */
    il_model_unref(model);
}

/* ---- damaged files ---- */

static void refuse(const void *data, size_t bytes, const char *why) {
    il_flax flax;
    il_status status = il_flax_parse(&scene.alloc.allocator, "x", data, bytes, &flax, &error);
    if (!status) fail_msg("accepted, where \"%s\" was expected", why);
    if (!strstr(error.message, why)) fail_msg("\"%s\", where \"%s\" was expected", error.message, why);
}

/* A file cut short anywhere is refused, unless it ends between two entries; then a tensor is missing. */
static void cut_short(void **state) {
    (void)state;
    size_t bytes;
    char *data = support_read(FOLDER "jax_mlp_base/streaming_params", &bytes);
    const char *path = support_path(scene.folder, "streaming_params");
    for (size_t n = 0; n < bytes; n += n < 300 ? 1 : 97) {
        il_model *model;
        support_write(path, data, n);
        assert_int_not_equal(il_model_load(scene.engine, path, &model, &error), IL_OK);
        assert_null(model);
    }
    free(data);
}

static void hostile(void **state) {
    (void)state;
    refuse("", 0, "holds no parameters");
    refuse("\x93\x91\xa1x\xc4\x00", 6, "no pair of key and array");
    refuse("\x92\x90\xc4\x00", 4, "a key is no list of names");
    refuse("\x92\x91\xc4\x01x\xc4\x00", 7, "a key is no list of names");
    refuse("\x92\x91\xa1\xff\xc4\x00", 6, "a key is no list of names");
    refuse("\x92\xdd\xff\xff\xff\xff\xa1x", 8, "a key is no list of names");
    refuse("\x92\x91\xa1x\xc6\xff\xff\xff\xff", 9, "its bytes are not all there");
    refuse("\x92\x91\xa1x\xc4\x00", 6, "is no array");
    refuse("\x92\x91\xa1x\xc4\x01\x2a", 7, "is no array");
    /* ext 3, a scalar; then arrays: with no parts, of no shape, of five dimensions, overflowing, of integers */
    refuse("\x92\x91\xa1x\xc4\x03\xd4\x03\x00", 9, "is no array");
    refuse("\x92\x91\xa1x\xc4\x03\xd4\x01\x90", 9, "no array of three parts");
    refuse("\x92\x91\xa1x\xc4\x06\xd6\x01\x93\xc0\xc0\xc0", 12, "has no shape");
    refuse("\x92\x91\xa1x\xc4\x0a\xd7\x01\x93\x95\x01\x01\x01\x01\x01\xc0", 16, "more than 4 dimensions");
    refuse("\x92\x91\xa1x\xc4\x17\xc7\x14\x01\x93\x92\xcf\x80\x00\x00\x00\x00\x00\x00\x00\x02\xa3int\xc4\x01x", 29,
           "its shape cannot be");
    refuse("\x92\x91\xa1x\xc4\x0e\xc7\x0b\x01\x93\x91\x01\xa5int32\xc4\x00", 20, "numbers of type int32");
    refuse("\x92\x91\xa1x\xc4\x10\xc7\x0d\x01\x93\x91\x01\xa7"
           "float32\xc4\x00",
           22, "need another number");
    refuse("\x92\x91\xa1x\xc4\x10\xc7\x0d\x01\x93\x91\x00\xa7"
           "float32\xc4\x00",
           22, "has no entries");
    /* a negative size */
    refuse("\x92\x91\xa1x\xc4\x10\xc7\x0d\x01\x93\x91\xff\xa7"
           "float32\xc4\x00",
           22, "its shape cannot be");
    /* chunks: none, too many named, of another number of entries */
    refuse("\x92\x91\xa1x\xc4\x01\x80", 7, "is no array");
    refuse("\x92\x91\xa1x\xc4\x08\x81\xa6"
           "chunks",
           14, "is no array");
    refuse("\x92\x91\xa1x\xc4\x0d\x81\xa6"
           "chunks\x81\xa1\x31\xc0\xc0",
           19, "a chunk is missing");
}

/* ---- memory ---- */

static il_status attempt(const il_allocator *allocator, void *context, il_error *why) {
    il_engine *own;
    il_model *model;
    il_status status = support_engine_open(1, allocator, &own, why);
    if (status) return status;
    status = il_model_load(own, context, &model, why);
    il_model_unref(model);
    il_engine_close(own);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char path[] = FOLDER "jax_linear/streaming_train_state", chunked[] = FOLDER "jax_mlp_base/streaming_params";
    assert_true(support_alloc_fail_each(&scene.alloc, attempt, path) > 20);
    assert_true(support_alloc_fail_each(&scene.alloc, attempt, chunked) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_official_code),
        cmocka_unit_test(what_is_set_matters),
        cmocka_unit_test(what_it_becomes_is_the_same_model),
        cmocka_unit_test(guesses_are_said),
        cmocka_unit_test(tokenizer_beside_it),
        cmocka_unit_test(cut_short),
        cmocka_unit_test(hostile),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, support_scene_begin, support_scene_end);
}
