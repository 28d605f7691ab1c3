/* config.c: what a model is: presets, the text of config.json both ways, bounds, and counts that follow from
 * a config alone. Refuses keys it does not know, values that the arithmetic here does not do, and numbers out
 * of bounds; every message names the key, and the file when there is one. */
#include "model/config.h"

#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "inner/rules.h"
#include "model/config_count.h"
#include "model/mixer_names.h"

enum {
    TEXT_BYTES_MAX = 1 << 20, /* of a config.json that is read */
    VOCABULARY_MAX = 1 << 24,
    MAX_POSITIONS = 2048 /* written for readers that ask for it; nothing here is limited by it */
};
static const uint64_t PARAMETERS_MAX = UINT64_C(1) << 36; /* 256 GiB of fp32 */

/* ---- fields: one table drives defaults, reading, setting, checking and writing ---- */

typedef enum field_kind { KIND_INT, KIND_BOOL, KIND_TOKEN, KIND_REAL } field_kind;

/* Which models have a key: all; those with a layer that learns; that has TTT; that has the gated delta rule. */
typedef enum field_of { OF_ALL, OF_LEARNERS, OF_TTT, OF_DELTA } field_of;

typedef struct field {
    const char *key;
    field_kind kind;
    field_of of;
    size_t at; /* in il_config */
    double min, max;
    double ttt, other; /* what an absent key means, in models of type ttt and in others */
} field;

#define AT(member) offsetof(il_config, member)
static const field fields[] = {
    {"vocab_size", KIND_INT, OF_ALL, AT(vocab_size), 2, VOCABULARY_MAX, 32000, 32000},
    {"hidden_size", KIND_INT, OF_ALL, AT(width), 2, 1 << 16, 2048, 4096},
    {"intermediate_size", KIND_INT, OF_ALL, AT(ffn_width), 1, 1 << 20, 5504, 11008},
    {"num_hidden_layers", KIND_INT, OF_ALL, AT(layers), 1, IL_LAYERS_MAX, 24, 32},
    {"num_attention_heads", KIND_INT, OF_ALL, AT(heads), 1, IL_HEADS_MAX, 32, 32},
    {"tie_word_embeddings", KIND_BOOL, OF_ALL, AT(tie_word_embeddings), 0, 1, 1, 0},
    {"bos_token_id", KIND_TOKEN, OF_ALL, AT(bos_token), -1, 0, 1, 1},
    {"eos_token_id", KIND_TOKEN, OF_ALL, AT(eos_token), -1, 0, 2, 2},
    {"rope_theta", KIND_REAL, OF_ALL, AT(rope_theta), 1, 1e12, 1e4, 1e4},
    {"rms_norm_eps", KIND_REAL, OF_ALL, AT(rms_norm_eps), 1e-12, 1, 1e-6, 1e-6},
    {"mini_batch_size", KIND_INT, OF_LEARNERS, AT(mini_batch), 1, 1024, 16, 16},
    {"conv_kernel", KIND_INT, OF_TTT, AT(conv_kernel), 1, 16, 4, 4},
    {"share_qk", KIND_BOOL, OF_TTT, AT(share_qk), 0, 1, 0, 0},
    {"use_gate", KIND_BOOL, OF_TTT, AT(use_gate), 0, 1, 0, 0},
    {"pre_conv", KIND_BOOL, OF_TTT, AT(pre_conv), 0, 1, 0, 0},
    {"ttt_base_lr", KIND_REAL, OF_TTT, AT(ttt_base_lr), 0, 1e4, 1, 1},
    {"linear_num_key_heads", KIND_INT, OF_DELTA, AT(delta_key_heads), 1, IL_HEADS_MAX, 16, 16},
    {"linear_num_value_heads", KIND_INT, OF_DELTA, AT(delta_value_heads), 1, IL_HEADS_MAX, 32, 32},
    {"linear_key_head_dim", KIND_INT, OF_DELTA, AT(delta_key_width), 1, IL_HEAD_WIDTH_MAX, 128, 128},
    {"linear_value_head_dim", KIND_INT, OF_DELTA, AT(delta_value_width), 1, IL_HEAD_WIDTH_MAX, 128, 128},
    {"linear_conv_kernel_dim", KIND_INT, OF_DELTA, AT(delta_taps), 1, 16, 4, 4},
    {"linear_learned_start", KIND_BOOL, OF_DELTA, AT(delta_learned_start), 0, 1, 0, 0},
    {"fast_head_size", KIND_INT, OF_ALL, AT(fast_head_size), 0, IL_FAST_HEAD_MAX, 0, 0},
    {"fast_head_lr", KIND_REAL, OF_ALL, AT(fast_head_lr), 0, 100, 0.3, 0.3},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static int *int_at(il_config *config, const field *f) { return (int *)(void *)((char *)config + f->at); }
static double *real_at(il_config *config, const field *f) { return (double *)(void *)((char *)config + f->at); }
static double value_of(const il_config *config, const field *f) {
    const char *at = (const char *)config + f->at;
    return f->kind == KIND_REAL ? *(const double *)(const void *)at : *(const int *)(const void *)at;
}

static const field *find_field(const char *key) {
    for (int i = 0; i < FIELDS; i++)
        if (strcmp(fields[i].key, key) == 0) return &fields[i];
    return NULL;
}

/* Keys that other software writes and that change nothing here, whatever their value. Those that would change
 * the arithmetic stand in check_bookkeeping. */
static const char *const ignored[] = {"architectures",
                                      "auto_map",
                                      "transformers_version",
                                      "name_or_path",
                                      "initializer_range",
                                      "use_cache",
                                      "pad_token_id",
                                      "sep_token_id",
                                      "max_position_embeddings",
                                      "max_sequence_length",
                                      "scan_checkpoint_group_size",
                                      "remat_mini_batch_group_size",
                                      "attention_dropout",
                                      "hidden_dropout",
                                      "resid_pdrop",
                                      "embd_pdrop",
                                      "attn_pdrop",
                                      "is_decoder",
                                      "is_encoder_decoder",
                                      "return_dict",
                                      "output_hidden_states",
                                      "output_attentions",
                                      "torchscript",
                                      "gradient_checkpointing",
                                      "id2label",
                                      "label2id",
                                      "problem_type",
                                      "task_specific_params",
                                      "tokenizer_class",
                                      "finetuning_task"};

static const char MODEL_TYPE[] = "model_type", TTT_LAYER_TYPE[] = "ttt_layer_type", LAYER_TYPES[] = "layer_types";

il_mixer_kind il_config_mixer(const il_config *config, int layer) {
    return config->n_layer_types ? (il_mixer_kind)config->layer_types[layer] : config->mixer;
}

/* What stands in model_type: of the leading mixer. */
static const char *model_type(il_mixer_kind mixer) {
    if (mixer == IL_MIXER_GATED_DELTA) return "gated_delta";
    return il_mixer_is_ttt(mixer) ? "ttt" : "llama";
}

int il_config_layers_of(const il_config *config, il_mixer_kind mixer) {
    int n = 0;
    for (int i = 0; i < config->layers; i++) n += il_config_mixer(config, i) == mixer;
    return n;
}

/* Whether a file of that model_type may have the key; whether the model has what it is about. */
static int may_have(const il_config *config, const field *f) {
    if (f->of == OF_TTT) return il_mixer_is_ttt(config->mixer);
    return f->of == OF_ALL || config->mixer != IL_MIXER_SELF_ATTENTION;
}
static int has(const il_config *config, const field *f) {
    if (f->of != OF_DELTA) return may_have(config, f);
    return il_config_layers_of(config, IL_MIXER_GATED_DELTA) > 0;
}

static void set_defaults(il_mixer_kind mixer, il_config *config) {
    *config = (il_config){.mixer = mixer};
    for (int i = 0; i < FIELDS; i++) {
        double value = il_mixer_is_ttt(mixer) ? fields[i].ttt : fields[i].other;
        if (fields[i].kind == KIND_REAL)
            *real_at(config, &fields[i]) = value;
        else
            *int_at(config, &fields[i]) = (int)value;
    }
}

/* ---- checking ---- */

/* The mixer that must stand in il_config.mixer: of the first TTT layer; else the gated delta rule where a layer has it;
 * else that of all layers. */
static il_mixer_kind leading_mixer(const il_config *config) {
    il_mixer_kind leading = (il_mixer_kind)config->layer_types[0];
    for (int i = 0; i < config->n_layer_types; i++) {
        il_mixer_kind mixer = (il_mixer_kind)config->layer_types[i];
        if (il_mixer_is_ttt(mixer)) return mixer;
        if (mixer == IL_MIXER_GATED_DELTA) leading = mixer;
    }
    return leading;
}

/* What layer_types asks for must be what model_type and ttt_layer_type ask for. */
static il_status check_leading_mixer(il_mixer_kind layers, il_mixer_kind rest, il_error *error) {
    if (layers == rest) return IL_OK;
    if (il_mixer_is_ttt(layers) && il_mixer_is_ttt(rest))
        return il_fail(error, IL_ERR_ARG, "the first TTT layer in layer_types is %s, but ttt_layer_type is %s",
                       il_mixer_name(layers), il_mixer_ttt_layer_type(rest));
    if (il_mixer_is_ttt(layers) || il_mixer_is_ttt(rest))
        return il_fail(error, IL_ERR_ARG, "layer_types has %s TTT layer, but model_type is %s",
                       il_mixer_is_ttt(layers) ? "a" : "no", model_type(rest));
    return il_fail(error, IL_ERR_ARG, "layer_types has %s layer of linear_attention, but model_type is %s",
                   layers == IL_MIXER_GATED_DELTA ? "a" : "no", model_type(rest));
}

/* After num_hidden_layers was found to be within its bounds. */
static il_status check_layer_types(const il_config *config, il_error *error) {
    if (!config->n_layer_types) return IL_OK;
    if (config->n_layer_types != config->layers)
        return il_fail(error, IL_ERR_ARG, "layer_types has %d entries, must have num_hidden_layers, %d",
                       config->n_layer_types, config->layers);
    for (int i = 0; i < config->layers; i++)
        if (config->layer_types[i] >= il_mixer_count())
            return il_fail(error, IL_ERR_ARG, "layer_types: mixer %d is unknown", config->layer_types[i]);
    return check_leading_mixer(leading_mixer(config), config->mixer, error);
}

il_status il_config_check(const il_config *config, il_error *error) {
    if ((int)config->mixer < 0 || (int)config->mixer >= il_mixer_count())
        return il_fail(error, IL_ERR_ARG, "mixer %d is unknown", (int)config->mixer);
    for (int i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        double value = value_of(config, f), max = f->kind == KIND_TOKEN ? config->vocab_size - 1 : f->max;
        if (f->of == OF_DELTA && !has(config, f)) continue;
        if (!(value >= f->min && value <= max)) /* a NaN fails both */
            return il_fail(error, IL_ERR_ARG, "%s is %.17g, must be %.17g to %.17g", f->key, value, f->min, max);
    }
    if (config->width % config->heads != 0)
        return il_fail(error, IL_ERR_ARG, "hidden_size %d is not a multiple of num_attention_heads %d", config->width,
                       config->heads);
    int head = config->width / config->heads;
    if (head % 2 != 0 || head > IL_HEAD_WIDTH_MAX)
        return il_fail(error, IL_ERR_ARG, "hidden_size / num_attention_heads is %d, must be an even number up to %d",
                       head, IL_HEAD_WIDTH_MAX);
    if (!il_mixer_is_ttt(config->mixer) && (config->share_qk || config->use_gate || config->pre_conv))
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "%s has no mamba backbone: share_qk, use_gate, pre_conv must be false",
                       il_mixer_name(config->mixer));
    IL_TRY(check_layer_types(config, error));
    if (il_config_layers_of(config, IL_MIXER_GATED_DELTA) && config->delta_value_heads % config->delta_key_heads != 0)
        return il_fail(error, IL_ERR_ARG, "linear_num_value_heads %d is not a multiple of linear_num_key_heads %d",
                       config->delta_value_heads, config->delta_key_heads);
    if ((unsigned)config->weights > IL_WEIGHTS_INT4)
        return il_fail(error, IL_ERR_ARG, "weights: type %d is unknown", (int)config->weights);
    if (il_config_parameters(config) > PARAMETERS_MAX)
        return il_fail(error, IL_ERR_ARG, "the sizes make a model of %llu parameters, more than %llu",
                       (unsigned long long)il_config_parameters(config), (unsigned long long)PARAMETERS_MAX);
    return IL_OK;
}

int il_config_is_hybrid(const il_config *config) {
    return il_config_layers_of(config, il_config_mixer(config, 0)) < config->layers;
}

int il_config_same(const il_config *a, const il_config *b) {
    if (a->mixer != b->mixer || a->weights != b->weights || a->layers != b->layers) return 0;
    for (int i = 0; i < a->layers; i++)
        if (il_config_mixer(a, i) != il_config_mixer(b, i)) return 0;
    for (int i = 0; i < FIELDS; i++)
        if ((fields[i].of != OF_DELTA || has(a, &fields[i])) && value_of(a, &fields[i]) != value_of(b, &fields[i]))
            return 0;
    return 1;
}

/* ---- reading ---- */

/* "path: key: …", or "key: …" when there is no file. */
#define WHERE "%s%s%.100s: "
#define WHERE_ARGS(path, key) (path) ? (path) : "", (path) ? ": " : "", (key)

static il_status set_model_type(const char *path, const json_t *value, il_config *config, il_error *error) {
    const char *text = json_string_value(value);
    if (!text) return il_fail(error, IL_ERR_FORMAT, WHERE "must be a string", WHERE_ARGS(path, MODEL_TYPE));
    if (strcmp(text, model_type(config->mixer)) == 0) return IL_OK;
    static const il_mixer_kind leading[] = {IL_MIXER_TTT_LINEAR, IL_MIXER_SELF_ATTENTION, IL_MIXER_GATED_DELTA};
    for (size_t i = 0; i < sizeof leading / sizeof leading[0]; i++)
        if (strcmp(text, model_type(leading[i])) == 0) {
            config->mixer = leading[i];
            return IL_OK;
        }
    return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "\"%.40s\" is not supported (ttt, llama, gated_delta)",
                   WHERE_ARGS(path, MODEL_TYPE), text);
}

static il_status set_ttt_layer_type(const char *path, const json_t *value, il_config *config, il_error *error) {
    const char *text = json_string_value(value);
    char known[IL_MIXER_LIST_BYTES];
    if (!text) return il_fail(error, IL_ERR_FORMAT, WHERE "must be a string", WHERE_ARGS(path, TTT_LAYER_TYPE));
    int mixer = il_mixer_find(il_mixer_ttt_layer_type, text, strlen(text));
    if (mixer < 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "\"%.40s\" is not supported (%s)",
                       WHERE_ARGS(path, TTT_LAYER_TYPE), text, il_mixer_list(il_mixer_ttt_layer_type, known));
    config->mixer = (il_mixer_kind)mixer;
    return IL_OK;
}

/* Appends `times` layers of a mixer called name [bytes]. */
static il_status add_layers(const char *path, uint64_t times, const char *name, size_t bytes, il_config *config,
                            il_error *error) {
    char known[IL_MIXER_LIST_BYTES];
    int mixer = il_mixer_find(il_mixer_layer_type, name, bytes);
    if (mixer < 0) mixer = il_mixer_find(il_mixer_name, name, bytes);
    if (mixer < 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "\"%.*s\" is not supported (%s)", WHERE_ARGS(path, LAYER_TYPES),
                       bytes < 40 ? (int)bytes : 40, name, il_mixer_list(il_mixer_layer_type, known));
    if (times > (uint64_t)(IL_LAYERS_MAX - config->n_layer_types))
        return il_fail(error, IL_ERR_FORMAT, WHERE "has more than %d entries", WHERE_ARGS(path, LAYER_TYPES),
                       IL_LAYERS_MAX);
    while (times--) config->layer_types[config->n_layer_types++] = (unsigned char)mixer;
    return IL_OK;
}

/* "3*ttt_linear,full_attention", which is repeated when it has fewer layers than the model. */
static il_status read_layers(const char *text, il_config *config, il_error *error) {
    for (;;) {
        size_t bytes = strcspn(text, ","), digits = strspn(text, "0123456789");
        uint64_t times = 1;
        if (digits && text[digits] == '*') {
            times = strtoull(text, NULL, 10);
            if (times == 0)
                return il_fail(error, IL_ERR_FORMAT, "%s: a layer must be repeated at least once", LAYER_TYPES);
            text += digits + 1;
            bytes -= digits + 1;
        }
        IL_TRY(add_layers(NULL, times, text, bytes, config, error));
        if (!text[bytes]) break;
        text += bytes + 1;
    }
    int n = config->n_layer_types;
    if (config->layers <= IL_LAYERS_MAX && config->layers % n == 0)
        while (config->n_layer_types < config->layers) {
            config->layer_types[config->n_layer_types] = config->layer_types[config->n_layer_types - n];
            config->n_layer_types++;
        }
    return IL_OK;
}

/* value: a list of names, one for each layer. Not in a file: text for read_layers, too. */
static il_status set_layer_types(const char *path, const json_t *value, il_config *config, il_error *error) {
    il_config made = *config;
    made.n_layer_types = 0;
    if (json_is_null(value)) {
        *config = made;
        return IL_OK;
    }
    if (!path && json_is_string(value)) {
        IL_TRY(read_layers(json_string_value(value), &made, error));
    } else {
        if (!json_array_size(value))
            return il_fail(error, IL_ERR_FORMAT, WHERE "must be a list of layers", WHERE_ARGS(path, LAYER_TYPES));
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            if (!json_is_string(item))
                return il_fail(error, IL_ERR_FORMAT, WHERE "entry %zu must be a string", WHERE_ARGS(path, LAYER_TYPES),
                               i);
            IL_TRY(add_layers(path, 1, json_string_value(item), json_string_length(item), &made, error));
        }
    }
    made.mixer = leading_mixer(&made);
    if (made.n_layer_types == made.layers && !il_config_is_hybrid(&made))
        made.n_layer_types = 0; /* the same with fewer words */
    *config = made;
    return IL_OK;
}

static il_status set_field(const char *path, const field *f, const json_t *value, il_config *config, il_error *error) {
    switch (f->kind) {
    case KIND_BOOL:
        if (!json_is_boolean(value))
            return il_fail(error, IL_ERR_FORMAT, WHERE "must be true or false", WHERE_ARGS(path, f->key));
        *int_at(config, f) = json_is_true(value);
        return IL_OK;
    case KIND_REAL:
        if (!json_is_number(value))
            return il_fail(error, IL_ERR_FORMAT, WHERE "must be a number", WHERE_ARGS(path, f->key));
        *real_at(config, f) = json_number_value(value);
        return IL_OK;
    case KIND_TOKEN:
        if (json_is_null(value)) {
            *int_at(config, f) = -1;
            return IL_OK;
        }
        if (json_is_array(value))
            return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "a list of tokens is not supported",
                           WHERE_ARGS(path, f->key));
        break;
    case KIND_INT: break;
    }
    if (!json_is_integer(value))
        return il_fail(error, IL_ERR_FORMAT, WHERE "must be an integer", WHERE_ARGS(path, f->key));
    if (json_integer_value(value) < INT_MIN || json_integer_value(value) > INT_MAX)
        return il_fail(error, IL_ERR_FORMAT, WHERE "%lld is too %s: it must be %.0f to %.0f", WHERE_ARGS(path, f->key),
                       (long long)json_integer_value(value), json_integer_value(value) < 0 ? "small" : "large", f->min,
                       f->kind == KIND_TOKEN ? VOCABULARY_MAX - 1.0 : f->max);
    *int_at(config, f) = (int)json_integer_value(value);
    return IL_OK;
}

/* What torch calls the type of the weights; transformers has renamed the key. Other types are widened at loading. */
static int is_dtype_key(const char *key) { return strcmp(key, "torch_dtype") == 0 || strcmp(key, "dtype") == 0; }

/* What write_quantization writes, nothing else: another method's integers mean something else. null: none. */
static il_status read_quantization(const char *path, json_t *value, il_config *config, il_error *error) {
    static const char name[] = "quantization_config";
    const char *method;
    int bits, group, symmetric;
    if (!value || json_is_null(value)) return IL_OK;
    if (json_unpack(value, "{s:s, s:i, s:i, s:b !}", "quant_method", &method, "bits", &bits, "group_size", &group,
                    "symmetric", &symmetric) != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       WHERE "must be null, or have quant_method, bits, group_size and symmetric alone",
                       WHERE_ARGS(path, name));
    if (strcmp(method, "innerloop") != 0 || (bits != 8 && bits != 4) || group != IL_GROUP || !symmetric)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       WHERE "must be quant_method innerloop, bits 8 or 4, group_size %d, symmetric true",
                       WHERE_ARGS(path, name), IL_GROUP);
    config->weights = bits == 8 ? IL_WEIGHTS_INT8 : IL_WEIGHTS_INT4;
    return IL_OK;
}

/* "tokenizer": "bytes", ours: text is bytes, and there is no tokenizer file to be missed. */
static int is_bytes(const json_t *value) {
    return json_is_string(value) && strcmp(json_string_value(value), "bytes") == 0;
}

/* Keys of variants of these models: fine as long as they say what this library does anyway. *known tells
 * whether key is one; config has all its fields. */
static il_status check_bookkeeping(const char *path, const char *key, const json_t *value, const il_config *config,
                                   int *known, il_error *error) {
    const char *wanted = NULL;
    int fits = 0;
    *known = 1;
    if (strcmp(key, "hidden_act") == 0) {
        wanted = "\"silu\"";
        fits = json_is_string(value) && strcmp(json_string_value(value), "silu") == 0;
    } else if (strcmp(key, "num_key_value_heads") == 0) {
        wanted = "num_attention_heads: grouped heads are not supported";
        fits = json_is_null(value) || (json_is_integer(value) && json_integer_value(value) == config->heads);
    } else if (strcmp(key, "head_dim") == 0) {
        wanted = "hidden_size / num_attention_heads";
        fits = json_is_null(value) ||
               (json_is_integer(value) && json_integer_value(value) == config->width / config->heads);
    } else if (strcmp(key, "attention_bias") == 0 || strcmp(key, "mlp_bias") == 0) {
        wanted = "false";
        fits = json_is_false(value) || json_is_null(value);
    } else if (strcmp(key, "pretraining_tp") == 0) {
        wanted = "1";
        fits = json_is_integer(value) && json_integer_value(value) == 1;
    } else if (is_dtype_key(key)) {
        fits = 1;
    } else if (strcmp(key, "quantization_config") == 0) {
        fits = 1; /* read before */
    } else if (strcmp(key, "tokenizer") == 0) {
        wanted = "\"bytes\"";
        fits = is_bytes(value);
    } else if (strcmp(key, "rope_scaling") == 0 || strcmp(key, "sliding_window") == 0) {
        wanted = "null";
        fits = json_is_null(value);
    } else {
        *known = 0;
        for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++) *known |= strcmp(key, ignored[i]) == 0;
        *known |= key[0] == '_'; /* private to transformers */
        return IL_OK;
    }
    if (fits) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "must be %s", WHERE_ARGS(path, key), wanted);
}

static il_status read_object(const char *path, json_t *root, il_config *config, il_error *error) {
    const char *key;
    json_t *value;
    const json_t *ttt_layer_type = json_object_get(root, TTT_LAYER_TYPE), *layers = json_object_get(root, LAYER_TYPES);
    il_config kept = {.mixer = IL_MIXER_TTT_LINEAR};
    il_error inner;
    il_status status = IL_OK;
    if (!json_is_object(root)) return il_fail(error, IL_ERR_FORMAT, "%s: must be a JSON object", path);
    value = json_object_get(root, MODEL_TYPE);
    if (!value) return il_fail(error, IL_ERR_FORMAT, "%s: %s is missing", path, MODEL_TYPE);
    IL_TRY(set_model_type(path, value, &kept, error));
    int ttt = il_mixer_is_ttt(kept.mixer);
    if (ttt && ttt_layer_type) IL_TRY(set_ttt_layer_type(path, ttt_layer_type, &kept, error));
    set_defaults(kept.mixer, &kept);
    json_object_foreach(root, key, value) {
        const field *f = find_field(key);
        if (f && may_have(&kept, f)) IL_TRY(set_field(path, f, value, &kept, error));
        if (is_dtype_key(key) && json_is_string(value) && strcmp(json_string_value(value), "bfloat16") == 0)
            kept.weights = IL_WEIGHTS_BF16;
    }
    IL_TRY(read_quantization(path, json_object_get(root, "quantization_config"), &kept, error));
    kept.bytes_tokenizer = is_bytes(json_object_get(root, "tokenizer"));

    if (layers) {
        il_mixer_kind rest = kept.mixer;
        IL_TRY(set_layer_types(path, layers, &kept, error));
        if (!ttt || !il_mixer_is_ttt(kept.mixer) || ttt_layer_type)
            status = check_leading_mixer(kept.mixer, rest, &inner);
    }
    if (status == IL_OK) status = il_config_check(&kept, &inner);
    if (status != IL_OK)
        return il_fail(error, status == IL_ERR_ARG ? IL_ERR_FORMAT : status, "%s: %s", path, inner.message);
    json_object_foreach(root, key, value) {
        const field *f = find_field(key);
        int known = 0;
        if ((f && has(&kept, f)) || strcmp(key, MODEL_TYPE) == 0 || strcmp(key, LAYER_TYPES) == 0) continue;
        if (ttt && strcmp(key, TTT_LAYER_TYPE) == 0) continue;
        IL_TRY(check_bookkeeping(path, key, value, &kept, &known, error));
        if (!known)
            return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "is not a key of a model of type %s", WHERE_ARGS(path, key),
                           model_type(kept.mixer));
    }
    *config = kept;
    return IL_OK;
}

il_status il_config_parse(const char *path, const char *text, size_t bytes, il_config *config, il_error *error) {
    json_error_t trouble;
    if (bytes > TEXT_BYTES_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu bytes: more than 1 MiB are not read", path, bytes);
    json_t *root = json_loadb(bytes ? text : "", bytes, JSON_REJECT_DUPLICATES, &trouble);
    if (!root && json_error_code(&trouble) == json_error_out_of_memory)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    if (!root) return il_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", path, trouble.line, trouble.text);
    il_status status = read_object(path, root, config, error);
    json_decref(root);
    return status;
}

il_status il_config_load(il_engine *engine, const char *dir, il_config *config, il_error *error) {
    il_map map;
    char *path = il_path_join(&engine->memory, dir, "config.json");
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_status status = il_map_open(path, &map, error);
    if (status == IL_OK) {
        status = il_config_parse(path, (const char *)map.data, map.bytes, config, error);
        il_map_close(&map);
    }
    il_free(&engine->memory, path);
    return status;
}

/* value is what may stand in config.json; a string may leave out its quotes. */
il_status il_config_set(il_config *config, const char *key, const char *value, il_error *error) {
    if (!key || !value) return il_fail(error, IL_ERR_ARG, "a key and a value must be given");
    json_t *json = json_loads(value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (!json) json = json_string(value);
    if (!json) return il_fail(error, IL_ERR_ARG, "%.100s: the value is not UTF-8", key);
    const field *f = find_field(key);
    int ttt = il_mixer_is_ttt(config->mixer);
    il_status status;
    if (f && may_have(config, f))
        status = set_field(NULL, f, json, config, error);
    else if (strcmp(key, MODEL_TYPE) == 0)
        status = set_model_type(NULL, json, config, error);
    else if (ttt && strcmp(key, TTT_LAYER_TYPE) == 0)
        status = set_ttt_layer_type(NULL, json, config, error);
    else if (strcmp(key, LAYER_TYPES) == 0)
        status = set_layer_types(NULL, json, config, error);
    else
        status =
            il_fail(error, IL_ERR_ARG, "%.100s: is not a key of a model of type %s", key, model_type(config->mixer));
    json_decref(json);
    if (status == IL_ERR_FORMAT) {
        status = IL_ERR_ARG; /* there is no file to blame */
        if (error) error->status = status;
    }
    return status;
}

/* ---- writing ---- */

/* The shortest text that reads back as x, in JSON whatever the locale, with a point so that it stays a float
 * for all readers. */
static void real_text(double x, char text[40]) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, 38, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    for (char *c = text; *c; c++)
        if (!strchr("0123456789+-e", *c)) *c = '.';
    if (!strpbrk(text, ".e")) strcat(text, ".0");
}

/* A configuration's text; the longest, with a name for every layer, is well below this. */
typedef struct writing {
    char text[2048 + IL_LAYERS_MAX * 64];
    size_t n;
} writing;

static void put(writing *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(writing *w, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(w->text + w->n, sizeof w->text - w->n, format, arguments);
    va_end(arguments);
    w->n += n < 0 ? 0 : (size_t)n;
    if (w->n > sizeof w->text - 1) w->n = sizeof w->text - 1;
}

static void put_layer_types(writing *w, const il_config *config) {
    put(w, "  \"%s\": [", LAYER_TYPES);
    for (int i = 0; i < config->layers; i++)
        put(w, "%s\"%s\"", i ? ", " : "", il_mixer_layer_type(il_config_mixer(config, i)));
    put(w, "],\n");
}

static void put_field(writing *w, const il_config *config, const field *f) {
    double value = value_of(config, f);
    char number[40];
    if (f->kind == KIND_REAL)
        real_text(value, number);
    else if (f->kind == KIND_BOOL)
        snprintf(number, sizeof number, "%s", value != 0 ? "true" : "false");
    else if (f->kind == KIND_TOKEN && value < 0)
        snprintf(number, sizeof number, "null");
    else
        snprintf(number, sizeof number, "%d", (int)value);
    put(w, "  \"%s\": %s,\n", f->key, number);
}

il_status il_config_text(const il_allocator *allocator, const il_config *config, char **text, il_error *error) {
    writing w = {.n = 0};
    int ttt = il_mixer_is_ttt(config->mixer), delta = config->mixer == IL_MIXER_GATED_DELTA;
    put(&w, "{\n  \"architectures\": [\"%s\"],\n  \"%s\": \"%s\",\n",
        ttt     ? "TTTForCausalLM"
        : delta ? "GatedDeltaForCausalLM"
                : "LlamaForCausalLM",
        MODEL_TYPE, model_type(config->mixer));
    if (ttt)
        put(&w, "  \"%s\": \"%s\",\n  \"scan_checkpoint_group_size\": 0,\n", TTT_LAYER_TYPE,
            il_mixer_ttt_layer_type(config->mixer));
    else if (!delta)
        put(&w,
            "  \"num_key_value_heads\": %d,\n  \"attention_bias\": false,\n  \"mlp_bias\": false,\n"
            "  \"rope_scaling\": null,\n",
            config->heads);
    if (il_config_is_hybrid(config)) put_layer_types(&w, config);
    for (int i = 0; i < FIELDS; i++) {
        const field *f = &fields[i];
        if (!has(config, f)) continue;
        /* what other software does not know stays out of its files */
        if (strncmp(f->key, "fast_head", 9) == 0 && !config->fast_head_size) continue;
        if (f->at == AT(delta_learned_start) && !config->delta_learned_start) continue;
        put_field(&w, config, f);
    }
    if (config->bytes_tokenizer) put(&w, "  \"tokenizer\": \"bytes\",\n");
    if (config->weights == IL_WEIGHTS_INT8 || config->weights == IL_WEIGHTS_INT4)
        put(&w,
            "  \"quantization_config\": {\"quant_method\": \"innerloop\", \"bits\": %d, \"group_size\": %d, "
            "\"symmetric\": true},\n",
            config->weights == IL_WEIGHTS_INT8 ? 8 : 4, IL_GROUP);
    put(&w,
        "  \"hidden_act\": \"silu\",\n  \"max_position_embeddings\": %d,\n  \"initializer_range\": 0.02,\n"
        "  \"use_cache\": %s,\n  \"pad_token_id\": null,\n  \"pretraining_tp\": 1,\n  \"torch_dtype\": \"%s\"\n}\n",
        MAX_POSITIONS, ttt ? "false" : "true", config->weights == IL_WEIGHTS_BF16 ? "bfloat16" : "float32");
    *text = il_strdup(allocator, w.text);
    return *text ? IL_OK : il_fail(error, IL_ERR_NOMEM, "out of memory for a configuration");
}

/* ---- presets ---- */

static const struct {
    const char *name;
    int layers, width, heads, ffn_width;
} presets[] = {
    {"tiny", 4, 128, 4, 344},     {"small", 6, 384, 6, 1024},   {"125m", 12, 768, 12, 2048},
    {"350m", 24, 1024, 16, 2736}, {"760m", 24, 1536, 16, 4096}, {"1b", 24, 2048, 32, 5504},
};

il_status il_config_preset(const char *preset, const char *mixer, const char *backbone, il_config *config,
                           il_error *error) {
    char known[IL_MIXER_LIST_BYTES];
    size_t i = 0, n = sizeof presets / sizeof presets[0];
    while (i < n && (!preset || strcmp(preset, presets[i].name) != 0)) i++;
    if (i == n)
        return il_fail(error, IL_ERR_ARG, "preset \"%.40s\" is unknown (tiny, small, 125m, 350m, 760m, 1b)",
                       preset ? preset : "");
    int found = mixer ? il_mixer_find(il_mixer_name, mixer, strlen(mixer)) : -1;
    if (found < 0)
        return il_fail(error, IL_ERR_ARG, "mixer \"%.40s\" is unknown (%s)", mixer ? mixer : "",
                       il_mixer_list(il_mixer_name, known));
    il_mixer_kind kind = (il_mixer_kind)found;
    int ttt = il_mixer_is_ttt(kind);
    if (!backbone) backbone = ttt ? "mamba" : "transformer";
    int mamba = strcmp(backbone, "mamba") == 0;
    if (!mamba && strcmp(backbone, "transformer") != 0)
        return il_fail(error, IL_ERR_ARG, "backbone \"%.40s\" is unknown (mamba, transformer)", backbone);
    if (mamba && !ttt)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s has no mamba backbone: leave it out or say transformer",
                       il_mixer_name(kind));

    il_config made;
    set_defaults(IL_MIXER_TTT_LINEAR, &made);
    made.layers = presets[i].layers;
    made.width = presets[i].width;
    made.heads = made.delta_key_heads = made.delta_value_heads = presets[i].heads;
    made.delta_key_width = made.delta_value_width = made.width / made.heads;
    made.ffn_width = presets[i].ffn_width;
    made.share_qk = made.use_gate = made.pre_conv = 1;
    if (ttt) {
        made.mixer = kind;
        made.share_qk = made.use_gate = made.pre_conv = mamba;
        made.ttt_base_lr = il_rule_of(kind)->base_lr;
    } else {
        /* As many parameters as TTT-Linear with the mamba backbone: the FFN has what the mixer has more or less, in
         * steps of 8. */
        int64_t goal = (int64_t)il_config_parameters(&made), step = (int64_t)made.layers * 3 * 8 * made.width;
        made.mixer = kind;
        made.share_qk = made.use_gate = made.pre_conv = 0;
        goal -= (int64_t)il_config_parameters(&made);
        made.ffn_width += (int)((goal + (goal < 0 ? -step : step) / 2) / step) * 8;
    }
    *config = made;
    return IL_OK;
}
