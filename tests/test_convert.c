/* test_convert.c: models with low-precision weights: the same answer as the numbers they hold, there and back through
 * files, half the memory, no training. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "session/session.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_model.h"
#include "train/gradient.h"

enum { N = 70, VOCAB = 61, QUANTIZED_LAST = IL_WEIGHTS_INT4 };

static support_alloc counter; /* under the engine */
static il_engine *engine;

static int setup(void **state) {
    (void)state;
    engine = support_engine(2, &counter);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    support_engine_close(engine, &counter);
    return 0;
}

static il_model *lively(il_mixer_kind mixer, int tied) {
    il_config config = lively_config(mixer, 8);
    config.tie_word_embeddings = tied;
    return lively_model(engine, &config, 5);
}

static il_model *converted(const il_model *model, il_weight_type type) {
    il_model *made;
    il_error error;
    il_config config = *il_model_config(model);
    config.weights = type;
    assert_ok(il_model_convert(model, &config, &made, &error), error);
    assert_int_equal(il_model_config(made)->weights, type);
    return made;
}

/* Logits of N tokens, fed `piece` at a time. */
static void logits_of(il_model *model, size_t piece, float *logits) {
    il_session *session;
    il_error error;
    int32_t tokens[N];
    lively_tokens(tokens, N, VOCAB, 3);
    assert_ok(il_session_open(model, NULL, &session, &error), error);
    for (size_t at = 0; at < N; at += piece) {
        il_feed feed = {.session = session, .tokens = tokens + at, .logits = logits + at * VOCAB};
        feed.n = N - at < piece ? N - at : piece;
        assert_ok(il_feed_many(&feed, 1, &error), error);
    }
    il_session_close(session);
}

static void expect_same_fingerprint(const il_model *a, const il_model *b, int same) {
    char left[33], right[33];
    il_model_fingerprint(a, left);
    il_model_fingerprint(b, right);
    assert_int_equal(!strcmp(left, right), same);
}

/* bf16 computes what the widened numbers compute, and is the same model to state files and compressed ones. */
static void bf16_is_the_widened_model(void **state) {
    static float low[N * VOCAB], wide[N * VOCAB], original[N * VOCAB];
    (void)state;
    for (il_mixer_kind mixer = 0; (int)mixer < il_mixer_count(); mixer++)
        for (int tied = 0; tied < 2; tied++) {
            il_model *model = lively(mixer, tied), *half = converted(model, IL_WEIGHTS_BF16);
            il_model *full = converted(half, IL_WEIGHTS_F32);
            logits_of(model, N, original);
            logits_of(full, N, wide);
            assert_memory_not_equal(original, wide, sizeof wide);
            for (size_t piece = 1; piece <= N; piece += 23) {
                logits_of(half, piece, low);
                assert_memory_equal(low, wide, sizeof wide);
            }
            expect_same_fingerprint(half, full, 1);
            expect_same_fingerprint(half, model, 0);
            il_model_unref(full);
            il_model_unref(half);
            il_model_unref(model);
        }
}

/* int8 is near the fp32 model, a model of its own, and the same for any cut and any neighbours. */
static void quantized_models_keep_the_promise(void **state) {
    static float whole[N * VOCAB], cut[N * VOCAB], original[N * VOCAB], batch[2][N * VOCAB];
    int32_t tokens[N];
    il_session *sessions[2];
    il_error error;
    (void)state;
    lively_tokens(tokens, N, VOCAB, 3);
    for (int type = IL_WEIGHTS_INT8; type <= (int)QUANTIZED_LAST; type++)
        for (il_mixer_kind mixer = 0; (int)mixer < il_mixer_count(); mixer++)
            for (int tied = 0; tied < 2; tied++) {
                il_model *model = lively(mixer, tied), *small = converted(model, (il_weight_type)type);
                il_model *full = converted(small, IL_WEIGHTS_F32), *same = converted(small, (il_weight_type)type);
                logits_of(model, N, original);
                logits_of(small, N, whole);
                double difference = 0, size = 0;
                for (int i = 0; i < N * VOCAB; i++) {
                    difference += pow((double)whole[i] - (double)original[i], 2);
                    size += pow((double)original[i], 2);
                }
                double bound = type == IL_WEIGHTS_INT8 ? 0.05 : 0.5;
                if (mixer == IL_MIXER_GATED_DELTA) bound *= 3; /* what the norm makes of a head's short output */
                assert_true(difference > 0 && sqrt(difference / size) < bound);
                for (size_t piece = 1; piece < N; piece += 22) {
                    logits_of(small, piece, cut);
                    assert_memory_equal(cut, whole, sizeof whole);
                }
                il_feed feeds[2];
                for (int i = 0; i < 2; i++) {
                    assert_ok(il_session_open(small, NULL, &sessions[i], &error), error);
                    feeds[i] = (il_feed){.session = sessions[i], .tokens = tokens, .n = N, .logits = batch[i]};
                }
                feeds[1].n = 31;
                assert_ok(il_feed_many(feeds, 2, &error), error);
                assert_memory_equal(batch[0], whole, sizeof whole);
                assert_memory_equal(batch[1], whole, 31 * VOCAB * sizeof(float));
                for (int i = 0; i < 2; i++) il_session_close(sessions[i]);
                expect_same_fingerprint(small, full, 0); /* which does not quantize what it multiplies */
                expect_same_fingerprint(small, model, 0);
                expect_same_fingerprint(small, same, 1);
                assert_memory_equal(small->lp, same->lp, small->lp_bytes);
                il_model_unref(same);
                il_model_unref(full);
                il_model_unref(small);
                il_model_unref(model);
            }
}

/* Every number of a quantized matrix, and every scale, changes the fingerprint. */
static void fingerprints_cover_integers_and_scales(void **state) {
    unsigned char values[48];
    float scale;
    (void)state;
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1), *a = converted(model, IL_WEIGHTS_INT8);
    const il_table_entry *entry = il_table_find(&a->table, "model.layers.1.mlp.gate_proj.weight");
    il_lp_matrix matrix = il_model_lp(a, entry);
    il_model *b = converted(model, IL_WEIGHTS_INT8);
    expect_same_fingerprint(a, b, 1);
    il_lp_get_bytes(&matrix, 39, values, (unsigned char *)&scale);
    values[47] ^= 1;
    il_lp_put_bytes(&matrix, 39, values, (unsigned char *)&scale);
    a->version++;
    expect_same_fingerprint(a, b, 0);
    values[47] ^= 1;
    il_lp_put_bytes(&matrix, 39, values, (unsigned char *)&scale);
    a->version++;
    expect_same_fingerprint(a, b, 1);
    scale = nextafterf(scale, 1);
    il_lp_put_bytes(&matrix, 39, values, (unsigned char *)&scale);
    a->version++;
    expect_same_fingerprint(a, b, 0);
    il_model_unref(b);
    il_model_unref(a);
    il_model_unref(model);
}

/* Of a model in int4 the embedding and the head are those of the int8 model; all else that int8 holds so is int4. */
static void beside_int4_the_vocabulary_is_int8(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        il_model *model = lively(IL_MIXER_TTT_LINEAR, tied);
        il_model *int8 = converted(model, IL_WEIGHTS_INT8), *int4 = converted(model, IL_WEIGHTS_INT4);
        int same = 0;
        for (size_t i = 0; i < model->table.n; i++) {
            const il_table_entry *wide = &int8->table.entries[i], *entry = &int4->table.entries[i];
            if (!strcmp(entry->name, "model.embed_tokens.weight") || !strcmp(entry->name, "lm_head.weight")) {
                assert_int_equal(entry->type, IL_WEIGHTS_INT8);
                assert_memory_equal(int4->lp + entry->offset, int8->lp + wide->offset,
                                    il_lp_bytes(IL_WEIGHTS_INT8, entry->shape[0], entry->shape[1]));
                same++;
            } else {
                assert_int_equal(entry->type, entry->matrix ? IL_WEIGHTS_INT4 : IL_WEIGHTS_F32);
            }
        }
        assert_int_equal(same, tied ? 1 : 2);
        il_model_unref(int4);
        il_model_unref(int8);
        il_model_unref(model);
    }
}

static void there_and_back_through_files(void **state) {
    static float saved[N * VOCAB], loaded[N * VOCAB];
    il_model *again;
    il_error error;
    (void)state;
    for (int tied = 0; tied < 2 * QUANTIZED_LAST; tied++) {
        il_weight_type type = (il_weight_type)(1 + tied / 2);
        char *dir = support_folder_make();
        il_model *model = lively(IL_MIXER_TTT_MLP, tied % 2), *half = converted(model, type);
        assert_ok(il_model_save(half, dir, &error), error);
        assert_ok(il_model_load(engine, dir, &again, &error), error);
        assert_int_equal(again->config.weights, type);
        assert_int_equal(again->lp_bytes, half->lp_bytes);
        assert_memory_equal(again->lp, half->lp, half->lp_bytes);
        assert_memory_equal(again->weights, half->weights, half->table.floats * sizeof(float));
        expect_same_fingerprint(again, half, 1);
        logits_of(half, N, saved);
        logits_of(again, 9, loaded);
        assert_memory_equal(saved, loaded, sizeof saved);
        il_model_unref(again);
        il_model_unref(half);
        il_model_unref(model);
        support_folder_remove(dir);
    }
}

/* What says bfloat16 in config.json but holds fp32 is fp32, and what holds bf16 but does not say so is widened. */
static void config_and_tensors_must_agree(void **state) {
    il_config claimed;
    il_model *again;
    il_error error;
    (void)state;
    char *dir = support_folder_make();
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1);
    assert_ok(il_model_save(model, dir, &error), error);
    il_config config = model->config;
    config.weights = IL_WEIGHTS_BF16;
    support_write_config(dir, &config);
    assert_ok(il_config_load(engine, dir, &claimed, &error), error);
    assert_int_equal(claimed.weights, IL_WEIGHTS_BF16);
    assert_ok(il_model_load(engine, dir, &again, &error), error);
    assert_int_equal(again->config.weights, IL_WEIGHTS_F32);
    expect_same_fingerprint(again, model, 1);
    il_model_unref(again);

    il_model *half = converted(model, IL_WEIGHTS_BF16);
    assert_ok(il_model_save(half, dir, &error), error);
    config.weights = IL_WEIGHTS_F32;
    support_write_config(dir, &config);
    assert_ok(il_model_load(engine, dir, &again, &error), error);
    assert_int_equal(again->config.weights, IL_WEIGHTS_F32);
    expect_same_fingerprint(again, half, 1);
    il_model_unref(again);
    il_model_unref(half);
    il_model_unref(model);
    support_folder_remove(dir);
}

/* A tied file may repeat the embedding as its head; a NaN in a row is found and named. */
static void foreign_files(void **state) {
    il_model *again;
    il_error error;
    (void)state;
    char *dir = support_folder_make();
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1);
    size_t n = model->table.n;
    il_st_item *items = calloc(n + 1, sizeof *items), *plain = support_items(model);
    uint16_t **data = calloc(n, sizeof *data);
    for (size_t i = 0; i < n; i++) {
        data[i] = support_half(IL_BF16, plain[i].data, model->table.entries[i].count);
        items[i] = plain[i];
        items[i].dtype = IL_BF16;
        items[i].data = data[i];
    }
    items[n] = items[0];
    items[n].name = "lm_head.weight";
    il_config config = model->config;
    config.weights = IL_WEIGHTS_BF16;
    support_write_config(dir, &config);
    support_write_items(dir, "model.safetensors", items, n + 1);
    assert_ok(il_model_load(engine, dir, &again, &error), error);
    assert_int_equal(again->config.weights, IL_WEIGHTS_BF16);
    il_model_unref(again);

    uint16_t *other = support_half(IL_BF16, plain[0].data, model->table.entries[0].count);
    other[7] ^= 1;
    items[n].data = other;
    support_write_items(dir, "model.safetensors", items, n + 1);
    il_model *embedded;
    assert_ok(il_model_load(engine, dir, &embedded, &error), error); /* the embedding wins */
    support_write_items(dir, "model.safetensors", items, n);
    assert_ok(il_model_load(engine, dir, &again, &error), error);
    expect_same_fingerprint(again, embedded, 1);
    il_model_unref(embedded);
    il_model_unref(again);
    for (uint16_t bad = 0x7f80; bad < 0x7f82; bad++) { /* infinity, NaN */
        data[0][5] = bad;
        support_write_items(dir, "model.safetensors", items, n);
        assert_fails(il_model_load(engine, dir, &again, &error), IL_ERR_NONFINITE, error, "element 5 is");
        assert_non_null(strstr(error.message, "model.embed_tokens.weight"));
    }
    for (size_t i = 0; i < n; i++) free(data[i]);
    free(other), free(data), free(items), free(plain);
    il_model_unref(model);
    support_folder_remove(dir);
}

/* A scale is a number, and so is each weight by it; only int4 has negative ones. */
static void wrong_scales(void **state) {
    static const float scales[] = {NAN, INFINITY, 3e38F, -3e38F, -1};
    il_allocator memory = il_allocator_default();
    il_model *again;
    il_error error;
    il_st st;
    (void)state;
    for (int type = IL_WEIGHTS_INT8; type <= (int)QUANTIZED_LAST; type++) {
        char *dir = support_folder_make(), path[4096];
        il_model *model = lively(IL_MIXER_TTT_LINEAR, 1), *small = converted(model, (il_weight_type)type);
        assert_ok(il_model_save(small, dir, &error), error);
        snprintf(path, sizeof path, "%s", support_path(dir, "model.safetensors"));
        assert_ok(il_st_open(&memory, path, &st, &error), error);
        il_st_item *items = calloc(st.n, sizeof *items);
        float changed[48];
        for (size_t i = 0; i < st.n; i++) {
            const il_st_tensor *t = &st.tensors[i];
            items[i] = (il_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
            memcpy(items[i].shape, t->shape, sizeof t->shape);
            if (strcmp(t->name, "model.layers.0.mlp.down_proj.weight_scale") != 0) continue;
            memcpy(changed, t->data, sizeof changed);
            items[i].data = changed;
        }
        for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
            changed[5] = scales[i];
            support_write_items(dir, "model.safetensors", items, st.n);
            if (type == IL_WEIGHTS_INT4 && scales[i] == -1) {
                assert_ok(il_model_load(engine, dir, &again, &error), error);
                expect_same_fingerprint(again, small, 0);
                il_model_unref(again);
            } else {
                assert_fails(il_model_load(engine, dir, &again, &error), IL_ERR_NONFINITE, error,
                             "down_proj.weight_scale: element 5 is");
            }
        }
        il_st_close(&st);
        free(items);
        il_model_unref(small);
        il_model_unref(model);
        support_folder_remove(dir);
    }
}

/* The files of an int8 model under its config, one of them changed each time. */
static void damaged_quantized_files(void **state) {
    il_model *again;
    il_error error;
    il_allocator memory = il_allocator_default();
    il_st st;
    (void)state;
    char *dir = support_folder_make(), path[4096];
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1), *small = converted(model, IL_WEIGHTS_INT8);
    assert_ok(il_model_save(small, dir, &error), error);
    snprintf(path, sizeof path, "%s", support_path(dir, "model.safetensors"));
    assert_ok(il_st_open(&memory, path, &st, &error), error);
    il_st_item *items = calloc(st.n + 1, sizeof *items);
    size_t weight = st.n, scales = st.n;
    for (size_t i = 0; i < st.n; i++) {
        const il_st_tensor *t = &st.tensors[i];
        items[i] = (il_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
        if (!strcmp(t->name, "model.layers.0.mlp.down_proj.weight")) weight = i;
        if (!strcmp(t->name, "model.layers.0.mlp.down_proj.weight_scale")) scales = i;
    }
    assert_true(weight < st.n && scales < st.n);
    assert_int_equal(items[weight].dtype, IL_I8);
    assert_int_equal(items[scales].dtype, IL_F32);
    assert_int_equal(items[scales].shape[0], 48);
    assert_int_equal(items[scales].shape[1], 1); /* 40 inputs */
    struct {
        size_t item;
        il_dtype dtype;
        size_t columns;
        il_status status;
        const char *text;
    } cases[] = {{scales, IL_F32, 2, IL_ERR_MISMATCH, "weight_scale: shape [48, 2], but config.json makes it [48, 1]"},
                 {scales, IL_BF16, 1, IL_ERR_UNSUPPORTED, "weight_scale: dtype BF16, where F32 must be"},
                 {weight, IL_F32, 40, IL_ERR_UNSUPPORTED, "down_proj.weight: dtype F32, where I8 must be"},
                 {weight, IL_I8, 39, IL_ERR_MISMATCH, "shape [48, 39], but config.json makes it [48, 40]"}};
    static const float zeros[48 * 40];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        il_st_item kept = items[cases[i].item];
        items[cases[i].item].dtype = cases[i].dtype;
        items[cases[i].item].shape[1] = cases[i].columns;
        items[cases[i].item].data = zeros;
        support_write_items(dir, "model.safetensors", items, st.n);
        assert_fails(il_model_load(engine, dir, &again, &error), cases[i].status, error, cases[i].text);
        items[cases[i].item] = kept;
    }
    il_st_item kept = items[scales]; /* gone; then under names that nothing has */
    items[scales] = items[st.n - 1];
    support_write_items(dir, "model.safetensors", items, st.n - 1);
    assert_fails(il_model_load(engine, dir, &again, &error), IL_ERR_MISMATCH, error,
                 "down_proj.weight_scale: is missing");
    items[scales] = kept;
    static const char *const names[] = {"model.norm.weight_scale", "lm_head.bias", "_scale"};
    for (size_t i = 0; i < 3; i++) {
        items[st.n] = (il_st_item){.name = names[i], .dtype = IL_F32, .rank = 1, .shape = {1}, .data = zeros};
        support_write_items(dir, "model.safetensors", items, st.n + 1);
        assert_fails(il_model_load(engine, dir, &again, &error), IL_ERR_MISMATCH, error, names[i]);
    }
    support_write_items(dir, "model.safetensors", items, st.n);
    assert_ok(il_model_load(engine, dir, &again, &error), error);
    expect_same_fingerprint(again, small, 1);
    il_model_unref(again);
    support_write_config(dir, &model->config); /* the files are int8, the config says nothing of it */
    assert_fails(il_model_load(engine, dir, &again, &error), IL_ERR_UNSUPPORTED, error, "dtype I8");
    il_st_close(&st);
    free(items);
    il_model_unref(small);
    il_model_unref(model);
    support_folder_remove(dir);
}

/* Low-precision weights are all there is: no fp32 copy stands beside them, before use or after. */
static void memory_is_that_of_the_low_precision_weights(void **state) {
    static float logits[N * VOCAB];
    il_tensor tensor;
    il_error error;
    (void)state;
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 8);
    config.ffn_width = 3000;
    il_model *model = lively_model(engine, &config, 5), *half = converted(model, IL_WEIGHTS_BF16);
    il_model *small = converted(model, IL_WEIGHTS_INT8);
    size_t matrices = 0, others = 0;
    for (size_t i = 0; i < half->table.n; i++) {
        const il_table_entry *entry = &half->table.entries[i];
        assert_ok(il_model_tensor_at(half, i, &tensor, &error), error);
        assert_int_equal(tensor.type, entry->matrix ? IL_WEIGHTS_BF16 : IL_WEIGHTS_F32);
        assert_int_equal(tensor.data == NULL, entry->matrix);
        *(entry->matrix ? &matrices : &others) += entry->count;
    }
    assert_int_equal(matrices + others, il_model_parameters(model));
    assert_true(half->lp_bytes < matrices * 2 * 102 / 100);
    assert_true(half->table.floats < others + 16 * half->table.n);
    logits_of(half, N, logits);
    assert_true(half->packed_floats < 2 * 48 * 16 + 1); /* the learning rates of two layers */
    assert_true(small->lp_bytes < matrices * 6 / 5);    /* a scale for at most 48 inputs, often */
    assert_int_equal(small->table.floats, half->table.floats);
    il_model_unref(small);
    il_model_unref(half);
    il_model_unref(model);
}

static void only_fp32_is_trained(void **state) {
    int32_t tokens[9];
    double loss;
    float *gradient;
    il_error error;
    (void)state;
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1), *half = converted(model, IL_WEIGHTS_BF16);
    gradient = calloc(il_model_parameters(model), sizeof *gradient);
    lively_tokens(tokens, 9, VOCAB, 1);
    assert_ok(il_model_gradient(model, tokens, 1, 8, &loss, gradient, &error), error);
    assert_fails(il_model_gradient(half, tokens, 1, 8, &loss, gradient, &error), IL_ERR_UNSUPPORTED, error,
                 "weights are bf16: only f32 weights can be trained");
    free(gradient);
    il_model_unref(half);
    il_model_unref(model);
}

/* New weights of a type are new weights converted to it. */
static void new_weights_of_any_type(void **state) {
    char hex[2][33];
    il_error error;
    (void)state;
    for (int mixer = 0; mixer < il_mixer_count(); mixer++)
        for (il_weight_type type = IL_WEIGHTS_F32; type <= IL_WEIGHTS_INT4; type++) {
            il_config config = support_config(il_mixer_name((il_mixer_kind)mixer), NULL);
            config.width = 30; /* rows of odd length, too */
            config.ffn_width = 67;
            config.heads = 3;
            config.weights = IL_WEIGHTS_F32;
            il_model *wide = support_model(engine, &config, 5), *made;
            il_model *narrow = converted(wide, type);
            config.weights = type;
            assert_ok(il_model_init(engine, &config, 5, &made, &error), error);
            il_model_fingerprint(narrow, hex[0]);
            il_model_fingerprint(made, hex[1]);
            assert_string_equal(hex[0], hex[1]);
            il_model_unref(made);
            il_model_unref(narrow);
            il_model_unref(wide);
        }
}

static void numbers_that_do_not_fit(void **state) {
    il_model *made;
    il_error error;
    (void)state;
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1);
    model->weights[model->layers[1].w2.at + 3] = 3.4e38F; /* rounds to infinity */
    il_config config = *il_model_config(model);
    config.weights = IL_WEIGHTS_BF16;
    assert_fails(il_model_convert(model, &config, &made, &error), IL_ERR_NONFINITE, error,
                 "model.layers.1.mlp.down_proj.weight");
    assert_null(made);
    for (int type = IL_WEIGHTS_INT8; type <= (int)QUANTIZED_LAST; type++) /* what diverged in training */
        for (int nan = 0; nan < 2; nan++) {
            model->weights[model->layers[1].w2.at + 3] = nan ? NAN : INFINITY;
            config.weights = (il_weight_type)type;
            assert_fails(il_model_convert(model, &config, &made, &error), IL_ERR_NONFINITE, error,
                         "model.layers.1.mlp.down_proj.weight");
        }
    model->weights[model->layers[1].w2.at + 3] = 3.4e38F;
    config.weights = (il_weight_type)99;
    assert_fails(il_model_convert(model, &config, &made, &error), IL_ERR_ARG, error, "type 99");
    config.weights = IL_WEIGHTS_F32;
    assert_ok(il_model_convert(model, &config, &made, &error), error);
    expect_same_fingerprint(model, made, 1);
    il_model_unref(made);
    il_model_unref(model);
}

/* Only the fast head may change besides the type; the fingerprint follows it, and no longer when it is gone. */
static void only_the_fast_head_changes(void **state) {
    il_model *made, *again;
    il_error error;
    (void)state;
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1);
    const il_config own = *il_model_config(model);
    char plain[33], is[6][33];
    il_model_fingerprint(model, plain);
    const struct {
        int size;
        double lr;
        int tokens;
    } heads[] = {{32, 0.3, 0}, {33, 0.3, 0}, {32, 0.25, 0}, {32, 0.3, 7}, {32, 0.3, 8}, {0, 5, 9}};
    for (int i = 0; i < 6; i++) {
        il_config config = own;
        config.fast_head_size = heads[i].size;
        config.fast_head_lr = heads[i].lr;
        config.fast_head_tokens = heads[i].tokens;
        assert_ok(il_model_convert(model, &config, &made, &error), error);
        assert_int_equal(il_model_config(made)->fast_head_size, heads[i].size);
        il_model_fingerprint(made, is[i]);
        assert_memory_equal(made->weights, model->weights, model->table.floats * sizeof(float));
        assert_ok(il_model_convert(made, &own, &again, &error), error);
        expect_same_fingerprint(model, again, 1);
        il_model_unref(again);
        il_model_unref(made);
    }
    assert_string_equal(is[5], plain);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++) assert_string_not_equal(is[i], is[j]);
    for (int i = 0; i < 5; i++) assert_string_not_equal(is[i], plain);

    il_config others[17];
    for (int i = 0; i < 17; i++) others[i] = own;
    others[0].mixer = IL_MIXER_TTT_LINEAR_DECAY;
    others[1].vocab_size++;
    others[2].width *= 2;
    others[3].ffn_width++;
    others[4].layers++;
    others[5].heads = own.heads == 1 ? 2 : 1;
    others[6].mini_batch++;
    others[7].conv_kernel++;
    others[8].share_qk = !own.share_qk;
    others[9].use_gate = !own.use_gate;
    others[10].pre_conv = !own.pre_conv;
    others[11].tie_word_embeddings = !own.tie_word_embeddings;
    others[12].bos_token = own.bos_token == 1 ? 2 : 1;
    others[13].eos_token = own.eos_token == 1 ? 2 : 1;
    others[14].rope_theta *= 2;
    others[15].rms_norm_eps *= 2;
    others[16].ttt_base_lr *= 2;
    for (int i = 0; i < 17; i++) {
        assert_ok(il_config_check(&others[i], &error), error);
        assert_fails(il_model_convert(model, &others[i], &made, &error), IL_ERR_ARG, error, "nothing else");
        assert_null(made);
    }
    il_config wrong = own;
    wrong.fast_head_size = 1025;
    assert_fails(il_model_convert(model, &wrong, &made, &error), IL_ERR_ARG, error, "fast_head_size");
    assert_null(made);
    il_model_unref(model);
}

static il_status convert_once(const il_allocator *allocator, void *context, il_error *error) {
    il_model *made;
    (void)allocator;
    il_config config = *il_model_config(context);
    config.weights = IL_WEIGHTS_BF16;
    config.fast_head_size = 32;
    config.fast_head_lr = 0.3;
    il_status status = il_model_convert(context, &config, &made, error);
    il_model_unref(made);
    return status;
}

static il_status load_once(const il_allocator *allocator, void *context, il_error *error) {
    il_model *model;
    (void)allocator;
    il_status status = il_model_load(engine, context, &model, error);
    if (status == IL_OK) status = il_model_save(model, context, error);
    il_model_unref(model);
    return status;
}

static void every_allocation_failed_in_turn(void **state) {
    il_error error;
    (void)state;
    char *dir = support_folder_make();
    il_model *model = lively(IL_MIXER_TTT_LINEAR, 1), *half = converted(model, IL_WEIGHTS_BF16);
    assert_true(support_alloc_fail_each(&counter, convert_once, model) >= 5);
    assert_ok(il_model_save(half, dir, &error), error);
    assert_true(support_alloc_fail_each(&counter, load_once, dir) >= 15);
    il_model_unref(half);
    half = converted(model, IL_WEIGHTS_INT8);
    assert_ok(il_model_save(half, dir, &error), error);
    assert_true(support_alloc_fail_each(&counter, load_once, dir) >= 15);
    il_model_unref(half);
    il_model_unref(model);
    support_folder_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_is_the_widened_model),
        cmocka_unit_test(quantized_models_keep_the_promise),
        cmocka_unit_test(beside_int4_the_vocabulary_is_int8),
        cmocka_unit_test(fingerprints_cover_integers_and_scales),
        cmocka_unit_test(wrong_scales),
        cmocka_unit_test(damaged_quantized_files),
        cmocka_unit_test(there_and_back_through_files),
        cmocka_unit_test(config_and_tensors_must_agree),
        cmocka_unit_test(foreign_files),
        cmocka_unit_test(memory_is_that_of_the_low_precision_weights),
        cmocka_unit_test(only_fp32_is_trained),
        cmocka_unit_test(new_weights_of_any_type),
        cmocka_unit_test(numbers_that_do_not_fit),
        cmocka_unit_test(only_the_fast_head_changes),
        cmocka_unit_test(every_allocation_failed_in_turn),
    };
    return cmocka_run_group_tests_name("convert", tests, setup, teardown);
}
