/* test_gguf_model.c: models out of GGUF files: the logits that transformers computes from the same file, the very
 * weights that were written in llama.cpp's names and order of rows, and files that are refused. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "model/config.h"
#include "model/config_read.h"
#include "model/model.h"
#include "support_alloc.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_gguf.h"
#include "support_lively.h"
#include "support_model.h"
#include "support_scene.h"
#include "tensor/safetensors.h"

#define TINY FIXTURES "/gguf/tiny.gguf"

static il_error error;

/* ---- against transformers ---- */

/* bound: of the largest difference, over the rms of the logits. */
static void same_logits(const char *path, const char *expected, int eos, double bound) {
    il_model *model;
    assert_ok(il_model_load(scene.engine, path, &model, &error), error);
    assert_int_equal(il_model_config(model)->eos_token, eos);
    double apart = support_logits_apart(model, expected);
    if (!(apart <= bound)) fail_msg("%s: logits differ by %.2g x their rms", path, apart);
    il_model_unref(model);
}

static void logits_are_those_of_transformers(void **state) {
    (void)state;
    same_logits(TINY, FIXTURES "/gguf/expect.safetensors", 637, 2e-5);
}

/* ---- Qwen3.5, as llama.cpp's converter writes it ---- */

#define QWEN35 FIXTURES "/gguf/qwen35.gguf"

static void qwen35_is_the_model_that_was_converted(void **state) {
    (void)state;
    il_config config;
    same_logits(QWEN35, FIXTURES "/gguf/qwen35.expect.safetensors", 656, 4e-5);
    assert_ok(il_config_load(scene.engine, QWEN35, &config, &error), error);
    assert_int_equal(config.layers, 4);
    assert_int_equal(il_config_mixer(&config, 1), IL_MIXER_GATED_DELTA);
    assert_int_equal(il_config_mixer(&config, 2), IL_MIXER_SELF_ATTENTION);
    assert_true(config.delta_key_heads == 2 && config.delta_value_heads == 4 && config.rotary_width == 4);
    assert_true(config.norm_offset && config.qk_norm && config.attention_gate && !config.tie_word_embeddings);
}

/* A copy of the file with so many bytes changed. */
static void with_bytes(const char *to, size_t at, const void *bytes, size_t n) {
    size_t all;
    char *data = support_read(QWEN35, &all);
    assert_true(at + n <= all);
    memcpy(data + at, bytes, n);
    support_write(to, data, all);
    free(data);
}

static void damaged_qwen35_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        const char *message;
    } keys[] = {{"qwen35.ssm.time_step_rank", 3, "qwen35.ssm.inner_size: 32 is not a multiple of the 3 heads"},
                {"qwen35.ssm.time_step_rank", 0, "qwen35.ssm.inner_size: 32 is not a multiple of the 0 heads"},
                {"qwen35.ssm.time_step_rank", 8, "its rows are not whole heads of"},
                {"qwen35.ssm.state_size", 7, "blk.0.attn_qkv.weight"},
                {"qwen35.block_count", 0, "qwen35.block_count: 0 layers"},
                {"qwen35.block_count", 3, "has no such tensor"},
                {"qwen35.rope.dimension_count", 3, "partial_rotary_factor"},
                {"qwen35.rope.dimension_count", 17, "of which RoPE turns 17"}};
    static const float numbers[] = {0, 1, NAN, -INFINITY};
    const char *path = support_path(scene.folder, "damaged.gguf");
    il_model *model;
    il_gguf gguf;
    assert_ok(il_gguf_open(&scene.alloc.allocator, QWEN35, &gguf, &error), error);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const il_gguf_value *value = il_gguf_find(&gguf, keys[i].key);
        assert_non_null(value);
        with_bytes(path, (size_t)(value->data - gguf.map.data), &keys[i].value, sizeof keys[i].value);
        il_status status = il_model_load(scene.engine, path, &model, &error);
        if (!status || !strstr(error.message, keys[i].message))
            fail_msg("%s = %u: \"%s\" lacks \"%s\"", keys[i].key, keys[i].value, error.message, keys[i].message);
    }
    const il_gguf_tensor *fading = il_gguf_find_tensor(&gguf, "blk.3.ssm_a");
    assert_non_null(fading);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        with_bytes(path, (size_t)(fading->data - gguf.map.data) + 2 * sizeof(float), &numbers[i], sizeof(float));
        assert_fails(il_model_load(scene.engine, path, &model, &error), IL_ERR_NONFINITE, error,
                     "blk.3.ssm_a: element");
    }
    il_gguf_close(&gguf);
}

/* ---- what was written is what is read ---- */

#define SIZES                                                                                                          \
    "\"hidden_size\": 32, \"intermediate_size\": 48, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "           \
    "\"num_key_value_heads\": 2, \"vocab_size\": 50, \"max_position_embeddings\": 256, \"rms_norm_eps\": 1e-5, "       \
    "\"bos_token_id\": 1, \"eos_token_id\": 2, "

typedef struct family {
    const char *architecture, *json;
    int turned;
} family;

static const family families[] = {
    {"llama", "{\"model_type\": \"llama\", " SIZES "\"rope_theta\": 5000.0, \"tie_word_embeddings\": false}", 1},
    {"llama",
     "{\"model_type\": \"llama\", " SIZES "\"attention_bias\": true, \"head_dim\": 12, "
     "\"tie_word_embeddings\": true}",
     1},
    {"llama", "{\"model_type\": \"llama\", " SIZES "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.5}}",
     1},
    {"llama",
     "{\"model_type\": \"llama\", " SIZES "\"rope_theta\": 500000.0, \"head_dim\": 64, \"rope_scaling\": "
     "{\"rope_type\": \"llama3\", \"factor\": 32.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
     "\"original_max_position_embeddings\": 8192}}",
     1},
    {"qwen2", "{\"model_type\": \"qwen2\", " SIZES "\"rope_theta\": 1000000.0, \"tie_word_embeddings\": true}", 0},
    {"qwen3", "{\"model_type\": \"qwen3\", " SIZES "\"head_dim\": 16, \"tie_word_embeddings\": true}", 0},
    {"qwen3", "{\"model_type\": \"qwen3\", " SIZES "\"head_dim\": 8, \"tie_word_embeddings\": true}", 0}};
enum { FAMILIES = sizeof families / sizeof families[0] };

static void put_u32(support_gguf *file, const family *f, const char *name, int x) {
    char key[100];
    snprintf(key, sizeof key, "%s.%s", f->architecture, name);
    support_gguf_u32(file, key, (uint32_t)x);
}

static void put_f32(support_gguf *file, const family *f, const char *name, double x) {
    char key[100];
    snprintf(key, sizeof key, "%s.%s", f->architecture, name);
    support_gguf_f32(file, key, (float)x);
}

static void put_metadata(support_gguf *file, const family *f, const il_config *c) {
    char key[100];
    support_gguf_text(file, "general.architecture", f->architecture);
    put_u32(file, f, "block_count", c->layers);
    put_u32(file, f, "context_length", c->max_positions);
    put_u32(file, f, "embedding_length", c->width);
    put_u32(file, f, "feed_forward_length", c->ffn_width);
    put_u32(file, f, "attention.head_count", c->heads);
    put_u32(file, f, "attention.head_count_kv", il_config_kv_heads(c));
    put_u32(file, f, "rope.dimension_count", il_config_head_width(c));
    if (c->head_width) put_u32(file, f, "attention.key_length", c->head_width);
    if (c->head_width) put_u32(file, f, "attention.value_length", c->head_width);
    put_f32(file, f, "rope.freq_base", c->rope_theta);
    put_f32(file, f, "attention.layer_norm_rms_epsilon", c->rms_norm_eps);
    support_gguf_u32(file, "tokenizer.ggml.bos_token_id", (uint32_t)c->bos_token);
    support_gguf_u32(file, "tokenizer.ggml.eos_token_id", (uint32_t)c->eos_token);
    if (c->rope_scaling != IL_ROPE_LINEAR) return;
    snprintf(key, sizeof key, "%s.rope.scaling.type", f->architecture);
    support_gguf_text(file, key, "linear");
    put_f32(file, f, "rope.scaling.factor", c->rope_factor);
}

/* llama.cpp's name of a tensor; *turned: of queries or keys. */
static void name_there(const char *here, char name[64], int *turned) {
    static const char *const names[][2] = {{"model.embed_tokens.weight", "token_embd.weight"},
                                           {"model.norm.weight", "output_norm.weight"},
                                           {"lm_head.weight", "output.weight"},
                                           {"input_layernorm.", "attn_norm."},
                                           {"post_attention_layernorm.", "ffn_norm."},
                                           {"self_attn.q_proj.", "attn_q."},
                                           {"self_attn.k_proj.", "attn_k."},
                                           {"self_attn.v_proj.", "attn_v."},
                                           {"self_attn.o_proj.", "attn_output."},
                                           {"self_attn.q_norm.", "attn_q_norm."},
                                           {"self_attn.k_norm.", "attn_k_norm."},
                                           {"mlp.gate_proj.", "ffn_gate."},
                                           {"mlp.up_proj.", "ffn_up."},
                                           {"mlp.down_proj.", "ffn_down."}};
    int layer = -1, at = 0;
    sscanf(here, "model.layers.%d.%n", &layer, &at);
    *turned = strstr(here, "q_proj") || strstr(here, "k_proj");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i][0]);
        if (strncmp(here + at, names[i][0], n) != 0) continue;
        if (at)
            snprintf(name, 64, "blk.%d.%s%s", layer, names[i][1], here + at + n);
        else
            snprintf(name, 64, "%s", names[i][1]);
        return;
    }
    fail_msg("%s: no name", here);
}

/* As transformers' model becomes llama.cpp's: [heads, 2, d / 2] to [heads, d / 2, 2]. */
static float *turn(const float *x, size_t rows, size_t width, size_t head) {
    float *y = malloc(rows * width * sizeof *y);
    assert_non_null(y);
    for (size_t h = 0; h < rows / head; h++)
        for (size_t half = 0; half < 2; half++)
            for (size_t i = 0; i < head / 2; i++)
                memcpy(y + (h * head + 2 * i + half) * width, x + (h * head + half * head / 2 + i) * width,
                       width * sizeof *y);
    return y;
}

static void put_tensors(support_gguf *file, const family *f, const il_model *model, const char *without) {
    size_t head = (size_t)il_config_head_width(&model->config);
    for (size_t i = 0; i < il_model_tensor_count(model); i++) {
        il_tensor t;
        char name[64];
        int turned;
        assert_ok(il_model_tensor_at(model, i, &t, &error), error);
        name_there(t.name, name, &turned);
        if (without && strcmp(name, without) == 0) continue;
        uint64_t shape[2] = {t.shape[0], t.rank > 1 ? t.shape[1] : 1};
        float *x = turned && f->turned ? turn(t.data, t.shape[0], (size_t)shape[1], head) : NULL;
        support_gguf_tensor(file, name, IL_GGML_F32, t.rank, shape, x ? x : t.data, t.count * sizeof(float));
        free(x);
    }
}

/* 1 / what Llama 3 multiplies frequencies by. */
static void put_factors(support_gguf *file, const il_config *c, float spoiled) {
    float factors[64];
    uint64_t n = (uint64_t)il_config_head_width(c) / 2;
    for (uint64_t m = 0; m < n; m++) {
        double wave = 2 * acos(-1) * pow(c->rope_theta, (double)m / (double)n), ratio = 8192 / wave;
        double smooth = (ratio - 1) / 3;
        factors[m] = (float)(ratio > 4 ? 1 : ratio < 1 ? c->rope_factor : 1 / ((1 - smooth) / c->rope_factor + smooth));
    }
    factors[n / 2] += spoiled;
    support_gguf_tensor(file, "rope_freqs.weight", IL_GGML_F32, 1, &n, factors, n * sizeof *factors);
}

static const char *write_file(support_gguf *file) {
    size_t bytes;
    unsigned char *data = support_gguf_make(file, &bytes);
    const char *path = support_path(scene.folder, "m.gguf");
    support_write(path, data, bytes);
    free(data);
    return path;
}

static il_model *make(const family *f) {
    il_config config;
    assert_ok(il_config_parse("config.json", f->json, strlen(f->json), &config, &error), error);
    return lively_model(scene.engine, &config, 5);
}

static void the_weights_that_were_written(void **state) {
    (void)state;
    for (int i = 0; i < FAMILIES; i++) {
        support_gguf file = {0};
        il_model *model = make(&families[i]), *loaded;
        char want[33], got[33];
        put_metadata(&file, &families[i], &model->config);
        put_tensors(&file, &families[i], model, NULL);
        if (model->config.rope_scaling == IL_ROPE_LLAMA3) put_factors(&file, &model->config, 0);
        const char *path = write_file(&file);
        assert_ok(il_model_load(scene.engine, path, &loaded, &error), error);
        il_model_fingerprint(model, want);
        il_model_fingerprint(loaded, got);
        assert_string_equal(got, want);
        if (!il_config_same(&loaded->config, &model->config)) fail_msg("family %d: another config", i);
        il_config config;
        assert_ok(il_config_load(scene.engine, path, &config, &error), error);
        assert_true(il_config_same(&config, &model->config));
        il_model_unref(loaded);
        il_model_unref(model);
    }
}

/* bf16 stays bf16; a type that is asked for is what conversion makes. */
static void types_of_weights(void **state) {
    (void)state;
    static const il_weight_type types[] = {IL_WEIGHTS_F32, IL_WEIGHTS_BF16, IL_WEIGHTS_INT8, IL_WEIGHTS_INT4};
    il_model *plain, *loaded, *converted;
    char want[33], got[33];
    assert_ok(il_model_load(scene.engine, TINY, &plain, &error), error);
    assert_int_equal(il_model_config(plain)->weights, IL_WEIGHTS_F32);
    for (int i = 0; i < 4; i++) {
        il_config config = *il_model_config(plain);
        il_load_options options;
        il_load_options_default(&options);
        config.weights = types[i];
        options.weights = (int)types[i];
        assert_ok(il_model_convert(plain, &config, &converted, &error), error);
        assert_ok(il_model_load_as(scene.engine, TINY, &options, &loaded, &error), error);
        assert_int_equal(il_model_config(loaded)->weights, types[i]);
        il_model_fingerprint(converted, want);
        il_model_fingerprint(loaded, got);
        assert_string_equal(got, want);
        il_model_unref(converted);
        il_model_unref(loaded);
    }
    il_model_unref(plain);
    support_gguf file = {0};
    il_model *model = make(&families[4]);
    put_metadata(&file, &families[4], &model->config);
    for (size_t i = 0; i < il_model_tensor_count(model); i++) {
        il_tensor t;
        char name[64];
        int turned;
        assert_ok(il_model_tensor_at(model, i, &t, &error), error);
        name_there(t.name, name, &turned);
        uint64_t shape[2] = {t.shape[0], t.rank > 1 ? t.shape[1] : 1};
        uint16_t *halves = calloc(t.count, sizeof *halves);
        assert_non_null(halves);
        support_gguf_tensor(&file, name, IL_GGML_BF16, t.rank, shape, halves, t.count * sizeof *halves);
        free(halves);
    }
    assert_ok(il_model_load(scene.engine, write_file(&file), &loaded, &error), error);
    assert_int_equal(il_model_config(loaded)->weights, IL_WEIGHTS_BF16);
    il_model_unref(loaded);
    il_model_unref(model);
}

/* ---- refusing ---- */

static void refuse(support_gguf *file, il_status status, const char *text) {
    il_model *model;
    assert_fails(il_model_load(scene.engine, write_file(file), &model, &error), status, error, text);
    assert_null(model);
}

/* What each number of `which` does to a file that is good otherwise. */
static void spoil(support_gguf *file, const family *f, const il_model *model, int which) {
    static const uint64_t vector[] = {32}, one[] = {1, 256};
    static const unsigned char zeros[512];
    float nan[32] = {0};
    nan[7] = NAN;
    const char *without = NULL;
    switch (which) {
    case 0: put_u32(file, f, "attention.sliding_window", 8); break;
    case 1: put_u32(file, f, "expert_count", 8); break;
    case 2: support_gguf_text(file, "llama.rope.scaling.type", "yarn"); break;
    case 3: put_factors(file, &model->config, 0.5f); break;
    case 4: without = "blk.1.ffn_up.weight"; break;
    case 5: support_gguf_tensor(file, "blk.0.attn_sinks.weight", IL_GGML_F32, 1, vector, zeros, 128); break;
    case 6: support_gguf_tensor(file, "blk.0.attn_q.scale", IL_GGML_F32, 1, vector, zeros, 128); break;
    case 7: support_gguf_tensor(file, "blk.2.attn_norm.weight", IL_GGML_F32, 1, vector, zeros, 128); break;
    case 8:
        without = "blk.1.attn_norm.weight";
        support_gguf_tensor(file, without, IL_GGML_F32, 1, vector, nan, sizeof nan);
        break;
    case 9:
        without = "blk.1.attn_norm.weight";
        support_gguf_tensor(file, without, IL_GGML_Q8_0, 1, vector, zeros, 34);
        break;
    case 10:
        without = "blk.0.ffn_down.weight";
        support_gguf_tensor(file, without, 14, 2, one, zeros, 210);
        break;
    case 11:
        without = "blk.0.attn_q.weight";
        support_gguf_tensor(file, without, IL_GGML_F32, 1, vector, zeros, 128);
        break;
    case 12: support_gguf_tensor(file, "blk.00.attn_q.bias", IL_GGML_F32, 1, vector, zeros, 128); break;
    case 13: without = "token_embd.weight"; break;
    case 14:
        put_f32(file, f, "rope.scale_linear", 4);
        put_factors(file, &model->config, 0);
        break;
    default: fail();
    }
    put_tensors(file, f, model, without);
}

static void bad_models_are_refused(void **state) {
    (void)state;
    static const struct {
        il_status status;
        const char *text;
    } expected[] = {{IL_ERR_UNSUPPORTED, "m.gguf: llama.attention.sliding_window is not supported"},
                    {IL_ERR_UNSUPPORTED, "llama.expert_count: a model with experts is not supported"},
                    {IL_ERR_UNSUPPORTED, "llama.rope.scaling.type: \"yarn\" is not supported"},
                    {IL_ERR_UNSUPPORTED, "tensor rope_freqs.weight: number 2 is"},
                    {IL_ERR_MISMATCH, "model.layers.1.mlp.up_proj.weight: is missing"},
                    {IL_ERR_UNSUPPORTED, "tensor blk.0.attn_sinks.weight is not supported"},
                    {IL_ERR_UNSUPPORTED, "tensor blk.0.attn_q.scale is not supported"},
                    {IL_ERR_MISMATCH, "tensor blk.2.attn_norm.weight: a model"},
                    {IL_ERR_NONFINITE, "tensor blk.1.attn_norm.weight: element 7 is nan"},
                    {IL_ERR_UNSUPPORTED, "tensor blk.1.attn_norm.weight: a vector of type Q8_0 is not supported"},
                    {IL_ERR_UNSUPPORTED, "tensor blk.0.ffn_down.weight: type Q6_K is not supported"},
                    {IL_ERR_MISMATCH, "tensor blk.0.attn_q.weight: shape [32], but"},
                    {IL_ERR_UNSUPPORTED, "tensor blk.00.attn_q.bias is not supported"},
                    {IL_ERR_FORMAT, "tensor token_embd.weight: missing, or no matrix"},
                    {IL_ERR_UNSUPPORTED, "\"linear\" together with tensor rope_freqs.weight is not supported"}};
    const family *f = &families[0];
    il_model *model = make(f);
    for (int i = 0; i < (int)(sizeof expected / sizeof expected[0]); i++) {
        support_gguf file = {0};
        put_metadata(&file, f, &model->config);
        spoil(&file, f, model, i);
        refuse(&file, expected[i].status, expected[i].text);
    }
    support_gguf file = {0};
    support_gguf_text(&file, "general.architecture", "gemma3");
    refuse(&file, IL_ERR_UNSUPPORTED,
           "general.architecture: \"gemma3\" is not supported, only llama, qwen2, qwen3, qwen35 are");
    file = (support_gguf){0};
    refuse(&file, IL_ERR_UNSUPPORTED, "general.architecture: \"\" is not supported");
    file = (support_gguf){0};
    support_gguf_text(&file, "general.architecture", "llama");
    refuse(&file, IL_ERR_FORMAT, "llama.block_count is missing");
    il_model_unref(model);
}

static void heads_that_are_turned_in_part(void **state) {
    (void)state;
    const family *f = &families[5];
    il_model *model = make(f);
    support_gguf file = {0};
    support_gguf_text(&file, "general.architecture", f->architecture);
    put_u32(&file, f, "block_count", 2);
    put_u32(&file, f, "embedding_length", 32);
    put_u32(&file, f, "feed_forward_length", 48);
    put_u32(&file, f, "attention.head_count", 4);
    put_u32(&file, f, "rope.dimension_count", 4);
    put_f32(&file, f, "attention.layer_norm_rms_epsilon", 1e-5);
    put_tensors(&file, f, model, NULL);
    refuse(&file, IL_ERR_UNSUPPORTED, "heads of 8 numbers with values of 8, of which RoPE turns 4, are not supported");
    il_model_unref(model);
}

static il_status load_once(const il_allocator *allocator, void *context, il_error *out) {
    il_engine *own;
    il_model *model;
    (void)context;
    il_status status = support_engine_open(1, allocator, &own, out);
    if (status) return status;
    status = il_model_load(own, TINY, &model, out);
    il_model_unref(model);
    il_engine_close(own);
    return status;
}

static void failed_allocations(void **state) {
    (void)state;
    support_alloc other;
    support_alloc_begin(&other);
    assert_true(support_alloc_fail_each(&other, load_once, NULL) > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(qwen35_is_the_model_that_was_converted),
        cmocka_unit_test(damaged_qwen35_is_refused),
        cmocka_unit_test(the_weights_that_were_written),
        cmocka_unit_test(types_of_weights),
        cmocka_unit_test(bad_models_are_refused),
        cmocka_unit_test(heads_that_are_turned_in_part),
        cmocka_unit_test(failed_allocations),
    };
    return cmocka_run_group_tests(tests, support_scene_begin, support_scene_end);
}
