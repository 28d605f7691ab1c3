/* test_load.c: models as others publish them: files beside which there is more than text, mixed dtypes, files by any
 * name; and loading into any type of weights, the same as by conversion and never held twice. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "model/build.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_model.h"

enum { TYPES = IL_WEIGHTS_INT4 + 1 };

static support_alloc counter; /* under the engine: sees what loading asks for */
static il_engine *engine;
static char said[600]; /* the last line of the log */

static void hear(void *user, il_log_level level, const char *line) {
    (void)user;
    (void)level;
    snprintf(said, sizeof said, "%s", line);
}

static int setup(void **state) {
    il_engine_options options;
    il_error error;
    (void)state;
    support_alloc_begin(&counter);
    il_engine_options_default(&options);
    options.threads = 2;
    options.allocator = counter.allocator;
    options.log = hear;
    return il_engine_open(&options, &engine, &error) != IL_OK;
}

static int teardown(void **state) {
    (void)state;
    support_engine_close(engine, &counter);
    return 0;
}

static il_model *loaded(const char *dir, int weights) {
    il_load_options options;
    il_model *model;
    il_error error;
    il_load_options_default(&options);
    assert_int_equal(options.weights, IL_WEIGHTS_AS_STORED);
    options.weights = weights;
    assert_ok(il_model_load_as(engine, dir, &options, &model, &error), error);
    return model;
}

static void expect_fingerprint(const il_model *a, const il_model *b, int same) {
    char hex[33], other[33];
    il_model_fingerprint(a, hex);
    il_model_fingerprint(b, other);
    assert_int_equal(strcmp(hex, other) == 0, same);
}

/* ---- any type ---- */

/* From files of every type into every type: what conversion of the loaded model gives, and nothing is held twice. */
static void any_type_into_any_type(void **state) {
    il_error error;
    (void)state;
    il_config config = lively_config(IL_MIXER_GATED_DELTA, 8);
    config.tie_word_embeddings = 0;
    config.vocab_size = 1030; /* several pieces, the last not of whole panels */
    config.ffn_width = 300;
    il_model *model = lively_model(engine, &config, 5);
    for (int from = 0; from < TYPES; from++) {
        char *dir = support_folder_make();
        il_config held = model->config;
        il_model *stored, *usual;
        held.weights = (il_weight_type)from;
        assert_ok(il_model_convert(model, &held, &stored, &error), error);
        assert_ok(il_model_save(stored, dir, &error), error);
        assert_ok(il_model_load(engine, dir, &usual, &error), error);
        assert_int_equal(usual->config.weights, from);
        expect_fingerprint(usual, stored, 1);
        il_model_unref(usual);
        for (int to = 0; to < TYPES; to++) {
            il_model *wanted;
            held.weights = (il_weight_type)to;
            assert_ok(il_model_convert(stored, &held, &wanted, &error), error);
            size_t before = atomic_load(&counter.live_bytes);
            atomic_store(&counter.peak_bytes, before);
            il_model *made = loaded(dir, to);
            size_t own = atomic_load(&counter.live_bytes) - before, most = atomic_load(&counter.peak_bytes) - before;
            assert_int_equal(made->config.weights, to);
            expect_fingerprint(made, wanted, 1);
            assert_memory_equal(made->weights, wanted->weights, wanted->table.floats * sizeof(float));
            if (to) assert_memory_equal(made->lp, wanted->lp, wanted->lp_bytes);
            if (most > own + 120000) fail_msg("%d to %d: %zu bytes at most for %zu", from, to, most, own);
            il_model_unref(made);
            il_model_unref(wanted);
        }
        il_model_unref(stored);
        support_folder_remove(dir);
    }
    il_model_unref(model);
}

static void options_are_checked(void **state) {
    il_load_options options = {.weights = TYPES};
    il_model *model;
    il_error error;
    (void)state;
    assert_fails(il_model_load_as(engine, "nowhere", &options, &model, &error), IL_ERR_ARG, error, "type 4 is unknown");
    assert_null(model);
    options.weights = -2;
    assert_fails(il_model_load_as(engine, "nowhere", &options, &model, &error), IL_ERR_ARG, error, "type -2");
    options.weights = 0;
    assert_fails(il_model_load_as(engine, "nowhere", &options, &model, &error), IL_ERR_IO, error, "nowhere");
}

/* What fp32 holds may be too large for fewer bits. */
static void numbers_that_do_not_fit_are_named(void **state) {
    il_error error;
    il_model *made;
    (void)state;
    for (int to = IL_WEIGHTS_BF16; to < TYPES; to++) {
        char *dir = support_folder_make();
        il_config config = lively_config(IL_MIXER_TTT_LINEAR, 8);
        il_model *model = lively_model(engine, &config, 5);
        il_load_options options = {.weights = to};
        const il_table_entry *entry = il_table_find(&model->table, "model.layers.1.mlp.up_proj.weight");
        model->weights[entry->offset + 3] = 3.4028e38F;
        assert_ok(il_model_save(model, dir, &error), error);
        assert_fails(il_model_load_as(engine, dir, &options, &made, &error), IL_ERR_NONFINITE, error,
                     "model.layers.1.mlp.up_proj.weight: holds a number that ");
        assert_null(made);
        il_model_unref(model);
        support_folder_remove(dir);
    }
}

/* Neither saving nor another fast head makes a copy of weights that are not fp32. */
static void weights_are_held_once(void **state) {
    il_model *small, *fast;
    il_error error;
    char hex[33], again[33];
    (void)state;
    char *dir = support_folder_make();
    il_config config = lively_config(IL_MIXER_SELF_ATTENTION, 8);
    config.vocab_size = 60000;
    il_model *model = lively_model(engine, &config, 5);
    config.weights = IL_WEIGHTS_INT8;
    assert_ok(il_model_convert(model, &config, &small, &error), error);
    il_model_unref(model);
    size_t before = atomic_load(&counter.live_bytes);
    assert_true(small->lp_bytes > 2500000);
    atomic_store(&counter.peak_bytes, before);
    assert_ok(il_model_save(small, dir, &error), error);
    assert_true(atomic_load(&counter.peak_bytes) - before < 500000);
    config.fast_head_size = 4;
    atomic_store(&counter.peak_bytes, before);
    assert_ok(il_model_convert(small, &config, &fast, &error), error);
    assert_true(atomic_load(&counter.peak_bytes) - before < 100000);
    il_model_fingerprint(fast, hex);
    expect_fingerprint(fast, small, 0);
    il_model_unref(small); /* the weights stay as long as one of them needs them */
    assert_ok(il_model_save(fast, dir, &error), error);
    il_model_unref(fast);
    assert_ok(il_model_load(engine, dir, &fast, &error), error);
    il_model_fingerprint(fast, again);
    assert_string_equal(hex, again);
    il_model_unref(fast);
    support_folder_remove(dir);
}

/* ---- files of others ---- */

/* A small model of type qwen3_5_text. */
static il_config qwen35(void) {
    il_config config = lively_config(IL_MIXER_GATED_DELTA, 8);
    config.norm_offset = config.qk_norm = config.attention_gate = 1;
    config.tie_word_embeddings = 1;
    return config;
}

/* Its tensors as those of a model that sees, in bf16 but for what stays fp32 there, with what belongs to no text. */
typedef struct published {
    char *dir;
    il_model *model;
    il_st_item items[400];
    char names[400][120];
    uint16_t *halves[400];
    size_t n;
} published;

static void add(published *p, const char *name, const il_st_item *like) {
    snprintf(p->names[p->n], sizeof p->names[0], "%s", name);
    p->items[p->n] = *like;
    p->items[p->n].name = p->names[p->n];
    p->n++;
}

static published *publish(void) {
    published *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->dir = support_folder_make();
    il_config config = qwen35();
    p->model = lively_model(engine, &config, 5);
    il_st_item *own = support_items(p->model);
    for (size_t i = 0; i < p->model->table.n; i++) {
        const il_table_entry *entry = &p->model->table.entries[i];
        char name[120];
        snprintf(name, sizeof name, "model.language_model.%s", entry->name + strlen("model."));
        add(p, name, &own[i]);
        if (strstr(name, "A_log") || strstr(name, "linear_attn.norm")) continue;
        p->halves[i] = support_half(IL_BF16, own[i].data, entry->count);
        p->items[i].dtype = IL_BF16;
        p->items[i].data = p->halves[i];
    }
    free(own);
    il_st_item other = {.dtype = IL_BF16, .rank = 1, .shape = {2}, .data = p->halves[0]};
    add(p, "model.visual.blocks.0.norm1.weight", &other);
    add(p, "model.visual.patch_embed.proj.weight", &other);
    add(p, "mtp.layers.0.mlp.up_proj.weight", &other);
    add(p, "lm_head.weight", &other);
    config.weights = IL_WEIGHTS_BF16;
    support_write_config(p->dir, &config);
    return p;
}

static void unpublish(published *p) {
    for (size_t i = 0; i < 400; i++) free(p->halves[i]);
    il_model_unref(p->model);
    support_folder_remove(p->dir);
    free(p);
}

static void a_model_that_sees(void **state) {
    il_model *model, *plain;
    il_error error;
    (void)state;
    published *p = publish();
    support_write_items(p->dir, "model-00001-of-00001.safetensors", p->items, p->n); /* found by its ending */
    said[0] = 0;
    assert_ok(il_model_load(engine, p->dir, &model, &error), error);
    assert_non_null(
        strstr(said, "not read: 1 of lm_head.weight (the embedding is the head), 2 of model.visual., 1 of mtp."));
    assert_int_equal(model->config.weights, IL_WEIGHTS_BF16);
    for (size_t i = 0; i < model->table.n; i++) { /* what is fp32 in the file is not rounded */
        const il_table_entry *entry = &model->table.entries[i];
        if (!strstr(entry->name, "A_log") && !strstr(entry->name, "linear_attn.norm")) continue;
        assert_memory_equal(model->weights + entry->offset, p->items[i].data, entry->count * sizeof(float));
    }
    char *dir = support_folder_make(); /* saved it is a model of text alone, and the same */
    assert_ok(il_model_save(model, dir, &error), error);
    said[0] = 0;
    assert_ok(il_model_load(engine, dir, &plain, &error), error);
    assert_string_equal(said, "");
    expect_fingerprint(model, plain, 1);
    il_model_unref(plain);
    il_model_unref(model);
    support_folder_remove(dir);
    unpublish(p);
}

static void expect_refused(const published *p, const char *says) {
    il_model *model;
    il_error error;
    assert_fails(il_model_load(engine, p->dir, &model, &error), IL_ERR_MISMATCH, error, says);
}

static void names_of_others_are_checked_too(void **state) {
    static const char FILE_NAME[] = "model.safetensors";
    (void)state;
    published *p = publish();
    size_t n = p->n;
    add(p, "model.norm.weight", &p->items[p->model->table.n - 1]); /* one tensor by two names */
    support_write_items(p->dir, FILE_NAME, p->items, p->n);
    expect_refused(p, "is model.norm.weight, which is there already");
    p->n = n;
    add(p, "model.language_model.layers.0.surplus", &p->items[0]);
    support_write_items(p->dir, FILE_NAME, p->items, p->n);
    expect_refused(p, "tensor model.language_model.layers.0.surplus: a model of this config.json has no such tensor");
    memset(p->names[n], 'x', sizeof p->names[n] - 1);
    memcpy(p->names[n], "model.language_model.", 21);
    support_write_items(p->dir, FILE_NAME, p->items, p->n);
    expect_refused(p, "has no such tensor");
    support_write_items(p->dir, FILE_NAME, p->items + 1, n - 1);
    expect_refused(p, "tensor model.embed_tokens.weight: is missing");
    p->items[3].shape[0]++;
    support_write_items(p->dir, FILE_NAME, p->items, 3);
    p->items[3].shape[0]--;
    /* of another family, such tensors belong to nothing */
    il_config config = p->model->config;
    config.norm_offset = 0;
    support_write_config(p->dir, &config);
    support_write_items(p->dir, FILE_NAME, p->items, n);
    expect_refused(p, "has no such tensor");
    unpublish(p);
}

/* Whatever type it is loaded into, by the name that it has in the file. */
static void numbers_that_are_none_are_named(void **state) {
    il_error error;
    (void)state;
    published *p = publish();
    const il_table *table = &p->model->table;
    size_t matrix = (size_t)(il_table_find(table, "model.layers.1.mlp.down_proj.weight") - table->entries);
    size_t vector = (size_t)(il_table_find(table, "model.norm.weight") - table->entries);
    for (int i = 0; i < 2 * (TYPES + 1); i++) {
        il_load_options options = {.weights = i / 2 - 1};
        size_t at = i % 2 ? matrix : vector;
        char says[200];
        il_model *model;
        uint16_t kept = p->halves[at][13];
        p->halves[at][13] = 0x7fc0;
        support_write_items(p->dir, "model.safetensors", p->items, p->n);
        snprintf(says, sizeof says, "tensor %s: element 13 is ", p->names[at]);
        assert_fails(il_model_load_as(engine, p->dir, &options, &model, &error), IL_ERR_NONFINITE, error, says);
        assert_null(model);
        p->halves[at][13] = kept;
    }
    unpublish(p);
}

/* The index says what is where; files of images alone are not even opened. */
static void an_index_of_a_model_that_sees(void **state) {
    char index[40000] = "{\"weight_map\":{";
    il_model *model;
    il_error error;
    (void)state;
    published *p = publish();
    for (size_t i = 0; i < p->n; i++) {
        const char *file = strstr(p->items[i].name, "visual") || strstr(p->items[i].name, "mtp") ? "gone" : "text";
        snprintf(index + strlen(index), sizeof index - strlen(index), "%s\"%s\":\"%s.safetensors\"", i ? "," : "",
                 p->items[i].name, file);
    }
    strcat(index, "}}");
    support_write(support_path(p->dir, "model.safetensors.index.json"), index, strlen(index));
    support_write_items(p->dir, "text.safetensors", p->items, p->model->table.n);
    support_write_items(p->dir, "other.safetensors", p->items, 1);
    assert_ok(il_model_load(engine, p->dir, &model, &error), error);
    il_model_unref(model);
    unpublish(p);
}

static void one_file_of_any_name(void **state) {
    il_model *model;
    il_error error;
    (void)state;
    char *dir = support_folder_make();
    il_config config = lively_config(IL_MIXER_SELF_ATTENTION, 8);
    il_model *own = lively_model(engine, &config, 5);
    il_st_item *items = support_items(own);
    support_write_config(dir, &config);
    assert_fails(il_model_load(engine, dir, &model, &error), IL_ERR_IO, error, "holds neither model.safetensors nor");
    support_write_items(dir, "weights.safetensors", items, own->table.n);
    assert_ok(il_model_load(engine, dir, &model, &error), error);
    expect_fingerprint(model, own, 1);
    il_model_unref(model);
    support_write_items(dir, "more.safetensors", items, own->table.n);
    assert_fails(il_model_load(engine, dir, &model, &error), IL_ERR_IO, error, "but no model.safetensors.index.json");
    free(items);
    il_model_unref(own);
    support_folder_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_type_into_any_type),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(numbers_that_do_not_fit_are_named),
        cmocka_unit_test(weights_are_held_once),
        cmocka_unit_test(a_model_that_sees),
        cmocka_unit_test(numbers_that_are_none_are_named),
        cmocka_unit_test(names_of_others_are_checked_too),
        cmocka_unit_test(an_index_of_a_model_that_sees),
        cmocka_unit_test(one_file_of_any_name),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
