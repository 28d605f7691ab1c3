/* test_rewrite.c: il_model_rewrite: the files that loading and saving make, byte for byte, in a fraction of the memory.
 */
#include "support_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_alloc.h"
#include "support_engine.h"
#include "support_fault.h"
#include "support_files.h"
#include "support_model.h"

static support_alloc alloc;
static il_engine *engine;
static il_error error;
static char *folder;

static int set_up(void **state) {
    (void)state;
    engine = support_engine(2, &alloc);
    folder = support_folder_make();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    support_folder_remove(folder);
    support_engine_close(engine, &alloc);
    return 0;
}

static void same_folders(const char *a, const char *b) {
    static const char *const files[] = {"model.safetensors", "config.json", "generation_config.json"};
    for (size_t i = 0; i < 3; i++) support_same_files(support_path(a, files[i]), support_path(b, files[i]));
    assert_int_equal(support_folder_count(a), support_folder_count(b));
}

static void expect_same(const char *from, int weights, const char *const *set, size_t n_set) {
    char *saved = strdup(support_path(folder, "saved")), *made = strdup(support_path(folder, "made"));
    il_load_options options = {.weights = weights, .set = set, .n_set = n_set};
    il_model *model;
    il_rewritten result;
    char fingerprint[33];
    assert_ok(il_model_load_as(engine, from, &options, &model, &error), error);
    assert_ok(il_model_save(model, saved, &error), error);
    assert_ok(il_model_rewrite(engine, from, &options, NULL, made, &result, &error), error);
    same_folders(saved, made);
    il_model_fingerprint(model, fingerprint);
    assert_string_equal(result.fingerprint, fingerprint);
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
        char *quantized = strdup(support_path(folder, "quantized"));
        il_load_options options = {.weights = from};
        assert_ok(il_model_rewrite(engine, froms[0], &options, NULL, quantized, NULL, &error), error);
        for (int to = IL_WEIGHTS_AS_STORED; to <= IL_WEIGHTS_INT4; to++) expect_same(quantized, to, NULL, 0);
        free(quantized);
    }
}

static void in_its_own_place(void **state) {
    (void)state;
    char *dir = strdup(support_path(folder, "own")), *expected = strdup(support_path(folder, "expected"));
    il_load_options options = {.weights = IL_WEIGHTS_AS_STORED};
    assert_ok(il_model_rewrite(engine, FIXTURES "/linear_mamba_d16", &options, NULL, dir, NULL, &error), error);
    options.weights = IL_WEIGHTS_INT8;
    assert_ok(il_model_rewrite(engine, dir, &options, NULL, expected, NULL, &error), error);
    assert_ok(il_model_rewrite(engine, dir, &options, NULL, dir, NULL, &error), error);
    same_folders(expected, dir);
    free(dir);
    free(expected);
}

/* Memory does not grow with the model. */
static void memory_is_bounded(void **state) {
    (void)state;
    char *big = strdup(support_path(folder, "big")), *small = strdup(support_path(folder, "small"));
    il_config config = support_config("ttt_linear", NULL);
    config.vocab_size = 40000;
    config.width = 128;
    il_model *model = support_model(engine, &config, 5);
    assert_ok(il_model_save(model, big, &error), error);
    il_model_unref(model);
    for (int weights = IL_WEIGHTS_F32; weights <= IL_WEIGHTS_INT4; weights++) {
        il_load_options options = {.weights = weights};
        alloc.peak_bytes = (size_t)alloc.live_bytes;
        size_t before = alloc.live_bytes;
        assert_ok(il_model_rewrite(engine, big, &options, NULL, small, NULL, &error), error);
        if (alloc.peak_bytes - before > 12u << 20) /* its embedding alone takes 20 MB */
            fail_msg("%zu bytes at once", (size_t)alloc.peak_bytes - before);
    }
    free(big);
    free(small);
}

static void what_is_not_finite(void **state) {
    (void)state;
    char *dir = strdup(support_path(folder, "bad")), *to = strdup(support_path(folder, "never"));
    il_config config = support_config("ttt_linear", NULL);
    il_model *model = support_model(engine, &config, 5);
    assert_ok(il_model_save(model, dir, &error), error);
    il_model_unref(model);
    size_t bytes;
    const char *path = support_path(dir, "model.safetensors");
    char *data = support_read(path, &bytes);
    static const unsigned char nan[4] = {0, 0, 0xc0, 0x7f};
    memcpy(data + bytes - sizeof nan, nan, sizeof nan); /* the final norm's last weight */
    support_write(path, data, bytes);
    free(data);
    assert_fails(il_model_rewrite(engine, dir, NULL, NULL, to, NULL, &error), IL_ERR_NONFINITE, error,
                 "model.norm.weight: element 15 is nan");
    assert_false(support_exists(to));
    free(dir);
    free(to);
}

/* A disk that refuses any one call leaves a whole model, the old one or the new. */
static void a_disk_that_refuses(void **state) {
    (void)state;
    char *to = strdup(support_path(folder, "refused"));
    const char *from = FIXTURES "/checkpoints/jax_mlp/streaming_params";
    il_load_options options = {.weights = IL_WEIGHTS_F32};
    assert_ok(il_model_rewrite(engine, FIXTURES "/linear_mamba_d16", NULL, NULL, to, NULL, &error), error);
    long n = 0, failed = 0;
    il_status status;
    do {
        support_fault_fail_at(++n, ENOSPC);
        status = il_model_rewrite(engine, from, &options, NULL, to, NULL, &error);
        long calls = support_fault_calls();
        support_fault_end();
        il_error why;
        il_model *model;
        assert_ok(il_model_load(engine, to, &model, &why), why);
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
    status = il_model_rewrite(own, FIXTURES "/checkpoints/jax_linear/streaming_train_state", &options, NULL, context,
                              NULL, why);
    il_engine_close(own);
    return status;
}

static void every_allocation_may_fail(void **state) {
    (void)state;
    char *to = strdup(support_path(folder, "allocated"));
    assert_true(support_alloc_fail_each(&alloc, attempt, to) > 30);
    free(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bytes_of_saving), cmocka_unit_test(in_its_own_place),
        cmocka_unit_test(memory_is_bounded),   cmocka_unit_test(what_is_not_finite),
        cmocka_unit_test(a_disk_that_refuses), cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
