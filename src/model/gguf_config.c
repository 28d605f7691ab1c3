/* gguf_config.c: see gguf_config.h. Writes the metadata out as the config.json that they were made of, and lets the
 * reader of that file judge it. Keys of the architecture that are not listed here are refused: they change what the
 * model computes. */
#include "model/gguf_config.h"

#include <float.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "model/config.h"
#include "model/config_read.h"
#include "model/model.h"

enum { KEY_BYTES = 96 };

static const struct architecture {
    const char *name, *model_type;
    il_gguf_form form;
} architectures[] = {{"llama", "llama", IL_GGUF_TURNED},
                     {"qwen2", "qwen2", IL_GGUF_AS_THEY_ARE},
                     {"qwen3", "qwen3", IL_GGUF_AS_THEY_ARE},
                     {"qwen35", "qwen3_5_text", IL_GGUF_QWEN35}};
enum { ARCHITECTURES = sizeof architectures / sizeof architectures[0] };

/* Llama 3's factors are in a tensor; the numbers they were computed with, but for the largest, are the same in all. */
static const char FACTORS[] = "rope_freqs.weight";
enum { LLAMA3_LOW = 1, LLAMA3_HIGH = 4, LLAMA3_POSITIONS = 8192, FACTORS_MAX = 512 };

typedef struct reader {
    const il_gguf *gguf;
    const struct architecture *is;
    json_t *root; /* config.json */
    il_error *error;
} reader;

static const char *key_of(const reader *r, const char *name, char key[KEY_BYTES]) {
    snprintf(key, KEY_BYTES, "%s.%s", r->is->name, name);
    return key;
}

static il_status no_memory(const reader *r) {
    return il_fail(r->error, IL_ERR_NOMEM, "%s: out of memory", r->gguf->path);
}

static il_status set(const reader *r, json_t *object, const char *key, json_t *value) {
    return value && json_object_set_new(object, key, value) == 0 ? IL_OK : no_memory(r);
}

/* ---- single values ---- */

/* *number stays where the key is not there. */
static il_status get_count(const reader *r, const char *name, int64_t *number) {
    char key[KEY_BYTES];
    return il_gguf_get_count(r->gguf, key_of(r, name, key), INT_MAX, number, r->error);
}

/* An integer that config.json calls `as`. */
static il_status copy_count(const reader *r, const char *name, int needed, const char *as) {
    char key[KEY_BYTES];
    int64_t number = -1;
    IL_TRY(get_count(r, name, &number));
    if (number >= 0) return set(r, r->root, as, json_integer(number));
    if (!needed) return IL_OK;
    return il_fail(r->error, IL_ERR_FORMAT, "%s: %s is missing", r->gguf->path, key_of(r, name, key));
}

/* The decimal number with the fewest digits that is this one in fp32, as which it is stored: 1e-05, not
 * 9.99999975e-06. */
static double shortest(double x) {
    char text[32];
    double near = x;
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        near = strtod(text, NULL);
        if ((float)near == (float)x) break;
    }
    return near;
}

static il_status get_real(const reader *r, const char *name, double *x) {
    char key[KEY_BYTES];
    double was = *x;
    IL_TRY(il_gguf_get_real(r->gguf, key_of(r, name, key), x, r->error));
    if (!(fabs(*x) <= (double)FLT_MAX))
        return il_fail(r->error, IL_ERR_NONFINITE, "%s: %s: %g is no number of fp32", r->gguf->path, key, *x);
    if (*x != was) *x = shortest(*x);
    return IL_OK;
}

static il_status copy_real(const reader *r, const char *name, double otherwise, const char *as) {
    IL_TRY(get_real(r, name, &otherwise));
    return set(r, r->root, as, json_real(otherwise));
}

/* ---- RoPE ---- */

/* By what Llama 3's scaling divides each of n frequencies. */
static void llama3_factors(double theta, size_t n, double most, float *factors) {
    float scaled[FACTORS_MAX];
    il_config c = {.rotary_width = (int)(2 * n),
                   .rope_theta = theta,
                   .rope_scaling = IL_ROPE_LLAMA3,
                   .rope_factor = most,
                   .rope_low_frequency = LLAMA3_LOW,
                   .rope_high_frequency = LLAMA3_HIGH,
                   .rope_positions = LLAMA3_POSITIONS};
    il_rope_frequencies(&c, scaled);
    c.rope_scaling = IL_ROPE_PLAIN;
    il_rope_frequencies(&c, factors);
    for (size_t m = 0; m < n; m++) factors[m] /= scaled[m];
}

static il_status read_factors(const reader *r, const il_gguf_tensor *tensor, json_t *scaling) {
    float factors[FACTORS_MAX], right[FACTORS_MAX];
    double theta = json_number_value(json_object_get(r->root, "rope_theta")), most;
    size_t n = tensor->count;
    if (tensor->rank != 1 || n > FACTORS_MAX || tensor->type != IL_GGML_F32)
        return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: tensor %s: not at most %d numbers of F32", r->gguf->path,
                       FACTORS, FACTORS_MAX);
    IL_TRY(il_gguf_read(r->gguf, tensor, 0, n, factors, r->error));
    most = shortest((double)factors[n - 1]);
    llama3_factors(theta, n, most, right);
    for (size_t m = 0; m < n; m++)
        if (!(fabs((double)factors[m] / (double)right[m] - 1) < 1e-4))
            return il_fail(r->error, IL_ERR_UNSUPPORTED,
                           "%s: tensor %s: number %zu is %g, which is not Llama 3's scaling", r->gguf->path, FACTORS, m,
                           (double)factors[m]);
    IL_TRY(set(r, scaling, "rope_type", json_string("llama3")));
    IL_TRY(set(r, scaling, "factor", json_real(most)));
    IL_TRY(set(r, scaling, "low_freq_factor", json_real(LLAMA3_LOW)));
    IL_TRY(set(r, scaling, "high_freq_factor", json_real(LLAMA3_HIGH)));
    return set(r, scaling, "original_max_position_embeddings", json_integer(LLAMA3_POSITIONS));
}

static il_status read_scaling(const reader *r) {
    char key[KEY_BYTES];
    il_gguf_text type = {"none", 4};
    double factor = 0;
    const il_gguf_tensor *factors = il_gguf_find_tensor(r->gguf, FACTORS);
    IL_TRY(get_real(r, "rope.scale_linear", &factor)); /* of older files */
    if (factor > 0) type = (il_gguf_text){"linear", 6};
    IL_TRY(il_gguf_get_text(r->gguf, key_of(r, "rope.scaling.type", key), &type, r->error));
    IL_TRY(get_real(r, "rope.scaling.factor", &factor));
    int linear = type.bytes == 6 && memcmp(type.text, "linear", 6) == 0;
    if ((!linear && (type.bytes != 4 || memcmp(type.text, "none", 4) != 0)) || (linear && factors))
        return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: %s: \"%.*s\"%s%s is not supported", r->gguf->path, key,
                       (int)(type.bytes < 80 ? type.bytes : 80), type.text, linear ? " together with tensor " : "",
                       linear ? FACTORS : "");
    if (!linear && !factors) return IL_OK;
    json_t *scaling = json_object();
    IL_TRY(set(r, r->root, "rope_scaling", scaling));
    if (factors) return read_factors(r, factors, scaling);
    IL_TRY(set(r, scaling, "rope_type", json_string("linear")));
    return set(r, scaling, "factor", json_real(factor));
}

/* ---- the whole ---- */

/* Heads are as wide as keys; values are not of another width, and all of a head is turned, but in Qwen3.5. */
static il_status read_head_width(const reader *r) {
    int64_t heads = 0, width = 0, key = 0, value = 0, rotary = 0;
    IL_TRY(get_count(r, "attention.head_count", &heads));
    IL_TRY(get_count(r, "embedding_length", &width));
    key = heads > 0 ? width / heads : 0;
    value = key;
    IL_TRY(get_count(r, "attention.key_length", &key));
    IL_TRY(get_count(r, "attention.value_length", &value));
    rotary = key;
    IL_TRY(get_count(r, "rope.dimension_count", &rotary));
    if (r->is->form == IL_GGUF_QWEN35 && rotary > 0 && rotary < key) {
        double part = (double)rotary / (double)key;
        while ((int64_t)(part * (double)key) < rotary) part = nextafter(part, 2);
        IL_TRY(set(r, r->root, "partial_rotary_factor", json_real(part)));
        rotary = key;
    }
    if (value != key || rotary != key)
        return il_fail(r->error, IL_ERR_UNSUPPORTED,
                       "%s: %s: heads of %lld numbers with values of %lld, of which RoPE turns %lld, are not supported",
                       r->gguf->path, r->is->name, (long long)key, (long long)value, (long long)rotary);
    return set(r, r->root, "head_dim", json_integer(key)); /* what its absence says depends on the type */
}

static il_status read_vocabulary(const reader *r) {
    static const char *const tokens[][2] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
                                            {"tokenizer.ggml.eos_token_id", "eos_token_id"}};
    const il_gguf_tensor *embedding = il_gguf_find_tensor(r->gguf, "token_embd.weight");
    if (!embedding || embedding->rank != 2)
        return il_fail(r->error, IL_ERR_FORMAT, "%s: tensor token_embd.weight: missing, or no matrix", r->gguf->path);
    int64_t size = embedding->shape[0] < INT_MAX ? (int64_t)embedding->shape[0] : INT_MAX;
    IL_TRY(set(r, r->root, "vocab_size", json_integer(size)));
    for (int i = 0; i < 2; i++) {
        int64_t id = -1;
        IL_TRY(il_gguf_get_count(r->gguf, tokens[i][0], size - 1, &id, r->error));
        IL_TRY(set(r, r->root, tokens[i][1], id < 0 ? json_null() : json_integer(id)));
    }
    return IL_OK;
}

/* Layers of linear attention are those that have what fades. Layers behind the model's, which predict further tokens,
 * are counted with them. */
static il_status read_delta(const reader *r) {
    static const char *const counts[][2] = {{"ssm.conv_kernel", "linear_conv_kernel_dim"},
                                            {"ssm.state_size", "linear_key_head_dim"},
                                            {"ssm.group_count", "linear_num_key_heads"},
                                            {"ssm.time_step_rank", "linear_num_value_heads"}};
    char key[KEY_BYTES], name[IL_GGUF_NAME_BYTES];
    int64_t layers = 0, further = 0, inner = 0, heads = 0;
    IL_TRY(get_count(r, "block_count", &layers));
    IL_TRY(get_count(r, "nextn_predict_layers", &further));
    IL_TRY(get_count(r, "ssm.inner_size", &inner));
    IL_TRY(get_count(r, "ssm.time_step_rank", &heads));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) IL_TRY(copy_count(r, counts[i][0], 1, counts[i][1]));
    if (heads < 1 || inner % heads)
        return il_fail(r->error, IL_ERR_FORMAT,
                       "%s: %s: %lld is not a multiple of the %lld heads of ssm.time_step_rank", r->gguf->path,
                       key_of(r, "ssm.inner_size", key), (long long)inner, (long long)heads);
    IL_TRY(set(r, r->root, "linear_value_head_dim", json_integer(inner / heads)));
    layers -= further;
    if (layers < 1 || layers > IL_LAYERS_MAX)
        return il_fail(r->error, IL_ERR_FORMAT, "%s: %s: %lld layers, must be 1 to %d", r->gguf->path,
                       key_of(r, "block_count", key), (long long)layers, IL_LAYERS_MAX);
    IL_TRY(set(r, r->root, "num_hidden_layers", json_integer(layers)));
    json_t *types = json_array();
    IL_TRY(set(r, r->root, "layer_types", types));
    for (int64_t i = 0; i < layers; i++) {
        snprintf(name, sizeof name, "blk.%lld.ssm_a", (long long)i);
        const char *type = il_gguf_find_tensor(r->gguf, name) ? "linear_attention" : "full_attention";
        if (json_array_append_new(types, json_string(type)) != 0) return no_memory(r);
    }
    return IL_OK;
}

static il_status read_all(const reader *r) {
    int64_t experts = 0;
    char key[KEY_BYTES];
    IL_TRY(set(r, r->root, "model_type", json_string(r->is->model_type)));
    IL_TRY(copy_count(r, "block_count", 1, "num_hidden_layers"));
    IL_TRY(copy_count(r, "embedding_length", 1, "hidden_size"));
    IL_TRY(copy_count(r, "feed_forward_length", 1, "intermediate_size"));
    IL_TRY(copy_count(r, "attention.head_count", 1, "num_attention_heads"));
    IL_TRY(copy_count(r, "attention.head_count_kv", 0, "num_key_value_heads"));
    IL_TRY(copy_count(r, "context_length", 0, "max_position_embeddings"));
    IL_TRY(copy_real(r, "rope.freq_base", 10000, "rope_theta"));
    IL_TRY(copy_real(r, "attention.layer_norm_rms_epsilon", 0, "rms_norm_eps"));
    if (!json_object_get(r->root, "num_key_value_heads"))
        IL_TRY(copy_count(r, "attention.head_count", 1, "num_key_value_heads"));
    IL_TRY(get_count(r, "expert_count", &experts));
    if (experts)
        return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: %s: a model with experts is not supported", r->gguf->path,
                       key_of(r, "expert_count", key));
    IL_TRY(read_head_width(r));
    IL_TRY(read_vocabulary(r));
    IL_TRY(read_scaling(r));
    int tied = !il_gguf_find_tensor(r->gguf, "output.weight");
    IL_TRY(set(r, r->root, "tie_word_embeddings", json_boolean(tied)));
    if (strcmp(r->is->model_type, "qwen2") == 0) return IL_OK; /* its biases are always there */
    if (r->is->form == IL_GGUF_QWEN35) return read_delta(r);
    return set(r, r->root, "attention_bias", json_boolean(il_gguf_find_tensor(r->gguf, "blk.0.attn_q.bias") != NULL));
}

static int is_one_of(il_gguf_text key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strlen(list[i]) == key.bytes && memcmp(list[i], key.text, key.bytes) == 0) return 1;
    return 0;
}

/* Everything that the architecture's keys say is known, or says nothing of what is computed here. */
static il_status check_keys(const reader *r) {
    static const char *const known[] = {"block_count",
                                        "context_length",
                                        "embedding_length",
                                        "feed_forward_length",
                                        "vocab_size",
                                        "expert_count",
                                        "expert_used_count",
                                        "tensor_data_layout",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "attention.layer_norm_rms_epsilon",
                                        "rope.dimension_count",
                                        "rope.freq_base",
                                        "rope.scale_linear",
                                        "rope.scaling.type",
                                        "rope.scaling.factor",
                                        "rope.scaling.original_context_length",
                                        "rope.scaling.finetuned"};
    /* Sections are of positions in pictures; of layers the tensors tell. */
    static const char *const known_of_qwen35[] = {
        "ssm.conv_kernel",         "ssm.state_size",          "ssm.group_count",
        "ssm.time_step_rank",      "ssm.inner_size",          "attention.recurrent_layers",
        "full_attention_interval", "rope.dimension_sections", "nextn_predict_layers"};
    size_t n = strlen(r->is->name);
    for (size_t i = 0; i < r->gguf->n_values; i++) {
        il_gguf_text key = r->gguf->values[i].key;
        if (key.bytes <= n || memcmp(key.text, r->is->name, n) != 0 || key.text[n] != '.') continue;
        il_gguf_text rest = {key.text + n + 1, key.bytes - n - 1};
        if (!is_one_of(rest, known, sizeof known / sizeof known[0]) &&
            (r->is->form != IL_GGUF_QWEN35 ||
             !is_one_of(rest, known_of_qwen35, sizeof known_of_qwen35 / sizeof known_of_qwen35[0])))
            return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: %.*s is not supported", r->gguf->path,
                           (int)(key.bytes < 150 ? key.bytes : 150), key.text);
    }
    return IL_OK;
}

static il_status find_architecture(reader *r) {
    il_gguf_text name = {"", 0};
    char known[100];
    size_t at = 0;
    IL_TRY(il_gguf_get_text(r->gguf, "general.architecture", &name, r->error));
    for (int i = 0; i < ARCHITECTURES; i++) {
        r->is = &architectures[i];
        if (strlen(r->is->name) == name.bytes && memcmp(r->is->name, name.text, name.bytes) == 0) return IL_OK;
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", r->is->name);
    }
    return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: general.architecture: \"%.*s\" is not supported, only %s are",
                   r->gguf->path, (int)(name.bytes < 80 ? name.bytes : 80), name.text, known);
}

int il_gguf_config_has_read(const il_gguf_tensor *tensor) { return strcmp(tensor->name, FACTORS) == 0; }

il_status il_gguf_config(const il_gguf *gguf, il_config *config, il_gguf_form *form, il_error *error) {
    reader r = {.gguf = gguf, .error = error};
    IL_TRY(find_architecture(&r));
    IL_TRY(check_keys(&r));
    r.root = json_object();
    char *text = NULL;
    il_status status = r.root ? read_all(&r) : no_memory(&r);
    if (status == IL_OK && !(text = json_dumps(r.root, JSON_COMPACT))) status = no_memory(&r);
    if (status == IL_OK) status = il_config_parse(gguf->path, text, strlen(text), config, error);
    *form = r.is->form;
    const il_gguf_tensor *factors = il_gguf_find_tensor(gguf, FACTORS);
    if (status == IL_OK && factors && 2 * factors->count != (size_t)il_config_rotary_width(config))
        status = il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: %zu numbers, but RoPE turns %d pairs", gguf->path,
                         FACTORS, factors->count, il_config_rotary_width(config) / 2);
    free(text);
    json_decref(r.root);
    return status;
}

il_status il_gguf_config_load(const il_allocator *memory, const char *path, il_config *config, il_error *error) {
    il_gguf gguf;
    il_gguf_form form;
    IL_TRY(il_gguf_open(memory, path, &gguf, error));
    il_status status = il_gguf_config(&gguf, config, &form, error);
    il_gguf_close(&gguf);
    return status;
}
