/* test_rewrite.c: il_model_rewrite: the files that loading and saving make, byte for byte, in a fraction of the memory;
 * and il_model_scan: the numbers that loading holds, in as little. */
#include "support_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_alloc.h"
#include "support_engine.h"
#include "support_fault.h"
#include "support_files.h"
#include "support_model.h"
#include "support_scene.h"

static il_error error;

static void same_folders(const char *a, const char *b) {
    static const char *const files[] = {"model.safetensors", "config.json", "generation_config.json"};
    for (size_t i = 0; i < 3; i++) support_same_files(support_path(a, files[i]), support_path(b, files[i]));
    assert_int_equal(support_folder_count(a), support_folder_count(b));
}

/* ---- what is looked at ---- */

typedef struct looking {
    const il_model *model;
    size_t tensor, row, seen, most; /* where the next rows must begin; numbers seen, and after how many it stops */
} looking;

static int look(void *user, size_t index, const il_tensor *tensor, size_t from, size_t n, const float *rows) {
    looking *l = user;
    il_tensor expected;
    size_t width = tensor->count / tensor->shape[0];
    assert_true(index == l->tensor && from == l->row && n > 0 && !tensor->data);
    assert_ok(il_model_tensor_at(l->model, index, &expected, &error), error);
    assert_string_equal(tensor->name, expected.name);
    assert_true(tensor->type == expected.type && tensor->rank == expected.rank);
    assert_memory_equal(tensor->shape, expected.shape, sizeof expected.shape);
    float *held = malloc(n * width * sizeof *held);
    assert_ok(il_model_tensor_rows(l->model, index, from, n, held, &error), error);
    assert_memory_equal(rows, held, n * width * sizeof *held);
    free(held);
    l->seen += n * width;
    l->row = from + n < tensor->shape[0] ? from + n : 0;
    l->tensor += !l->row;
    return l->most && l->seen >= l->most;
}

static void expect_seen(const char *from, const il_load_options *options, const il_model *model, const char *hex) {
    looking l = {.model = model};
    il_rewritten found;
    assert_ok(il_model_scan(scene.engine, from, options, look, &l, &found, &error), error);
    assert_true(l.tensor == il_model_tensor_count(model) && l.seen == il_model_parameters(model));
    assert_true(found.parameters == l.seen && found.config.weights == il_model_config(model)->weights);
    assert_string_equal(found.fingerprint, hex);
}

static void a_look_that_stops(void **state) {
    (void)state;
    il_model *model;
    il_rewritten found;
    const char *from = FIXTURES "/linear_mamba_d16";
    assert_ok(il_model_load(scene.engine, from, &model, &error), error);
    looking l = {.model = model, .most = 1};
    assert_fails(il_model_scan(scene.engine, from, NULL, look, &l, NULL, &error), IL_ERR_CANCELLED, error,
                 "asked to stop");
    assert_int_equal(l.tensor, 1);
    assert_ok(il_model_scan(scene.engine, from, NULL, NULL, NULL, &found, &error), error);
    assert_true(found.parameters == il_model_parameters(model));
    il_model_unref(model);
}

/* ---- what is made ---- */

static void expect_same(const char *from, int weights, const char *const *set, size_t n_set) {
    char *saved = strdup(support_path(scene.folder, "saved")), *made = strdup(support_path(scene.folder, "made"));
    il_load_options options = {.weights = weights, .set = set, .n_set = n_set};
    il_model *model;
    il_rewritten result;
    char fingerprint[33];
    assert_ok(il_model_load_as(scene.engine, from, &options, &model, &error), error);
    assert_ok(il_model_save(model, saved, &error), error);
    assert_ok(il_model_rewrite(scene.engine, from, &options, NULL, made, &result, &error), error);
    same_folders(saved, made);
    il_model_fingerprint(model, fingerprint);
    assert_string_equal(result.fingerprint, fingerprint);
    expect_seen(from, &options, model, fingerprint);
    assert_true(result.parameters == il_model_parameters(model));
    assert_int_equal(result.config.weights, il_model_config(model)->weights);
    il_model_unref(model);
    free(saved);
    free(made);
}

/* From every kind of file, in every type, also from quantized ones, and with a fast head. */
static void the_bytes_of_saving(void **state) {
    (void)state;
    static const char *const set[] = {"fast_head_size=4", "fast_head_lr=0.5"};
    static const char *const froms[] = {FIXTURES "/linear_mamba_d16", FIXTURES "/qwen2_shards",
                                        FIXTURES "/checkpoints/jax_mlp_base/streaming_params",
                                        FIXTURES "/checkpoints/torch_ttt_sharded", FIXTURES "/gguf/tiny.gguf"};
    for (size_t i = 0; i < sizeof froms / sizeof froms[0]; i++) {
        for (int weights = IL_WEIGHTS_AS_STORED; weights <= IL_WEIGHTS_INT4; weights++)
            expect_same(froms[i], weights, set, i == 0 ? 2 : 0);
    }
    for (int from = IL_WEIGHTS_BF16; from <= IL_WEIGHTS_INT4; from++) {
        char *quantized = strdup(support_path(scene.folder, "quantized"));
        il_load_options options = {.weights = from};
        assert_ok(il_model_rewrite(scene.engine, froms[0], &options, NULL, quantized, NULL, &error), error);
        for (int to = IL_WEIGHTS_AS_STORED; to <= IL_WEIGHTS_INT4; to++) expect_same(quantized, to, NULL, 0);
        free(quantized);
    }
}

static void in_its_own_place(void **state) {
    (void)state;
    char *dir = strdup(support_path(scene.folder, "own")), *expected = strdup(support_path(scene.folder, "expected"));
    il_load_options options = {.weights = IL_WEIGHTS_AS_STORED};
    assert_ok(il_model_rewrite(scene.engine, FIXTURES "/linear_mamba_d16", &options, NULL, dir, NULL, &error), error);
    options.weights = IL_WEIGHTS_INT8;
    assert_ok(il_model_rewrite(scene.engine, dir, &options, NULL, expected, NULL, &error), error);
    assert_ok(il_model_rewrite(scene.engine, dir, &options, NULL, dir, NULL, &error), error);
    same_folders(expected, dir);
    free(dir);
    free(expected);
}

static int look_at_none(void *user, size_t index, const il_tensor *tensor, size_t from, size_t n, const float *rows) {
    (void)user, (void)index, (void)tensor, (void)from, (void)n, (void)rows;
    return 0;
}

/* Memory does not grow with the model. */
static void memory_is_bounded(void **state) {
    (void)state;
    char *big = strdup(support_path(scene.folder, "big")), *small = strdup(support_path(scene.folder, "small"));
    il_config config = support_config("ttt_linear", NULL);
    config.vocab_size = 40000;
    config.width = 128;
    il_model *model = support_model(scene.engine, &config, 5);
    assert_ok(il_model_save(model, big, &error), error);
    il_model_unref(model);
    for (int weights = IL_WEIGHTS_F32; weights <= IL_WEIGHTS_INT4; weights++) {
        il_load_options options = {.weights = weights};
        scene.alloc.peak_bytes = (size_t)scene.alloc.live_bytes;
        size_t before = scene.alloc.live_bytes;
        assert_ok(il_model_rewrite(scene.engine, big, &options, NULL, small, NULL, &error), error);
        if (scene.alloc.peak_bytes - before > 12u << 20) /* its embedding alone takes 20 MB */
            fail_msg("%zu bytes at once", (size_t)scene.alloc.peak_bytes - before);
        scene.alloc.peak_bytes = before;
        assert_ok(il_model_scan(scene.engine, big, &options, look_at_none, NULL, NULL, &error), error);
        assert_true(scene.alloc.peak_bytes - before <= 12u << 20);
    }
    free(big);
    free(small);
}

static void what_is_not_finite(void **state) {
    (void)state;
    char *dir = strdup(support_path(scene.folder, "bad")), *to = strdup(support_path(scene.folder, "never"));
    il_config config = support_config("ttt_linear", NULL);
    il_model *model = support_model(scene.engine, &config, 5);
    assert_ok(il_model_save(model, dir, &error), error);
    il_model_unref(model);
    size_t bytes;
    const char *path = support_path(dir, "model.safetensors");
    char *data = support_read(path, &bytes);
    static const unsigned char nan[4] = {0, 0, 0xc0, 0x7f};
    memcpy(data + bytes - sizeof nan, nan, sizeof nan); /* the final norm's last weight */
    support_write(path, data, bytes);
    free(data);
    assert_fails(il_model_rewrite(scene.engine, dir, NULL, NULL, to, NULL, &error), IL_ERR_NONFINITE, error,
                 "model.norm.weight: element 15 is nan");
    assert_false(support_exists(to));
    assert_fails(il_model_scan(scene.engine, dir, NULL, NULL, NULL, NULL, &error), IL_ERR_NONFINITE, error,
                 "model.norm.weight: element 15 is nan");
    free(dir);
    free(to);
}

/* A disk that refuses any one call leaves a whole model, the old one or the new. */
static void a_disk_that_refuses(void **state) {
    (void)state;
    char *to = strdup(support_path(scene.folder, "refused"));
    const char *from = FIXTURES "/checkpoints/jax_mlp/streaming_params";
    il_load_options options = {.weights = IL_WEIGHTS_F32};
    assert_ok(il_model_rewrite(scene.engine, FIXTURES "/linear_mamba_d16", NULL, NULL, to, NULL, &error), error);
    long n = 0, failed = 0;
    il_status status;
    do {
        support_fault_fail_at(++n, ENOSPC);
        status = il_model_rewrite(scene.engine, from, &options, NULL, to, NULL, &error);
        long calls = support_fault_calls();
        support_fault_end();
        il_error why;
        il_model *model;
        assert_ok(il_model_load(scene.engine, to, &model, &why), why);
        il_model_unref(model);
        failed += status == IL_ERR_IO;
        if (calls < n) break;
    } while (n < 200);
    assert_int_equal(status, IL_OK);
    assert_true(failed >= 5);
    free(to);
}

static il_status attempt(const il_allocator *allocator, void *context, il_error *why) {
    il_engine *own;
    il_load_options options = {.weights = IL_WEIGHTS_INT8};
    il_status status = support_engine_open(1, allocator, &own, why);
    if (status) return status;
    status = il_model_scan(own, FIXTURES "/linear_mamba_d16", &options, look_at_none, NULL, NULL, why);
    if (!status)
        status = il_model_rewrite(own, FIXTURES "/checkpoints/jax_linear/streaming_train_state", &options, NULL,
                                  context, NULL, why);
    il_engine_close(own);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char *to = strdup(support_path(scene.folder, "allocated"));
    assert_true(support_alloc_fail_each(&scene.alloc, attempt, to) > 30);
    free(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_saving),       cmocka_unit_test(in_its_own_place),
        cmocka_unit_test(a_look_that_stops),         cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(what_is_not_finite),        cmocka_unit_test(a_disk_that_refuses),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, support_scene_begin, support_scene_end);
}
