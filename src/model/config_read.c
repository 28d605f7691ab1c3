/* config_read.c: the text of config.json, and single keys of it, into an il_config. Refuses keys that it does not know
 * and values that the arithmetic here does not do; every message names the key, and the file when there is one. */
#include "model/config_read.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "model/config.h"
#include "model/config_keys.h"
#include "model/config_rope.h"
#include "model/gguf_config.h"
#include "model/jax_model.h"
#include "model/mixer_names.h"

enum { TEXT_BYTES_MAX = 1 << 20 /* of a config.json that is read */ };

static const char MODEL_TYPE[] = "model_type", TTT_LAYER_TYPE[] = "ttt_layer_type", LAYER_TYPES[] = "layer_types",
                  INTERVAL[] = "full_attention_interval", QUANTIZATION[] = "quantization_config", TAPS[] = "taps",
                  TEXT_CONFIG[] = "text_config", TIE[] = "tie_word_embeddings";

/* Files of models that see hold one of these, in text_config. */
static const char WITH_VISION[] = "qwen3_5";

/* ---- families ---- */

static il_status find_family(const char *path, const json_t *value, const il_family **family, il_error *error) {
    const char *text = json_string_value(value);
    char known[200];
    size_t n = 0;
    *family = NULL;
    if (!text) return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a string", IL_WHERE_ARGS(path, MODEL_TYPE));
    *family = il_family_find(text);
    if (*family) return IL_OK;
    if (strcmp(text, "ttt_linear") == 0 || strcmp(text, "ttt_mlp") == 0)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       IL_WHERE
                       "\"%s\" is RetentionLabs' fork of transformers, whose inner loop is another one: its "
                       "learning rates come from keys, not from inputs, and it commits otherwise; what is read "
                       "is \"ttt\", the official code's",
                       IL_WHERE_ARGS(path, MODEL_TYPE), text);
    for (int i = 0; i < il_family_count && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", il_families[i].model_type);
    return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "\"%.40s\" is not supported (%s, %s)",
                   IL_WHERE_ARGS(path, MODEL_TYPE), text, known, WITH_VISION);
}

/* Sets the mixer and what no key of another's type says. */
static il_status set_model_type(const json_t *value, il_config *config, il_error *error) {
    const il_family *family;
    IL_TRY(find_family(NULL, value, &family, error));
    if (family == il_family_of(config)) return IL_OK;
    config->mixer = family->mixer;
    if (family->is_own) return IL_OK;
    config->qk_norm = family->qk_norm;
    config->attention_gate = family->gate;
    config->norm_offset = family->norm_offset;
    if (family->query_bias) config->attention_bias = 1;
    if (family->query_bias) config->attention_output_bias = 0;
    return IL_OK;
}

static il_status set_ttt_layer_type(const char *path, const json_t *value, il_config *config, il_error *error) {
    const char *text = json_string_value(value);
    char known[IL_MIXER_LIST_BYTES];
    if (!text) return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a string", IL_WHERE_ARGS(path, TTT_LAYER_TYPE));
    int mixer = il_mixer_find(il_mixer_ttt_layer_type, text, strlen(text));
    if (mixer < 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "\"%.40s\" is not supported (%s)",
                       IL_WHERE_ARGS(path, TTT_LAYER_TYPE), text, il_mixer_list(il_mixer_ttt_layer_type, known));
    config->mixer = (il_mixer_kind)mixer;
    return IL_OK;
}

/* ---- layers ---- */

/* Appends `times` layers of a mixer called name [bytes]. */
static il_status add_layers(const char *path, uint64_t times, const char *name, size_t bytes, il_config *config,
                            il_error *error) {
    char known[IL_MIXER_LIST_BYTES];
    int mixer = il_mixer_find(il_mixer_layer_type, name, bytes);
    if (mixer < 0) mixer = il_mixer_find(il_mixer_name, name, bytes);
    if (mixer < 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "\"%.*s\" is not supported (%s)",
                       IL_WHERE_ARGS(path, LAYER_TYPES), bytes < 40 ? (int)bytes : 40, name,
                       il_mixer_list(il_mixer_layer_type, known));
    if (times > (uint64_t)(IL_LAYERS_MAX - config->n_layer_types))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "has more than %d entries", IL_WHERE_ARGS(path, LAYER_TYPES),
                       IL_LAYERS_MAX);
    while (times--) config->layer_types[config->n_layer_types++] = (unsigned char)mixer;
    return IL_OK;
}

/* ":512" behind sliding_attention, `bytes` of it, is its window, which all such layers share; it is taken off the name.
 * *window 0: none was read yet. */
static il_status read_window(const char *name, size_t *bytes, int *window, il_error *error) {
    static const char sliding[] = "sliding_attention:";
    size_t prefix = sizeof sliding - 1, digits = strspn(name + prefix, "0123456789");
    unsigned long long value = strtoull(name + prefix, NULL, 10);
    if (digits + prefix != *bytes || digits > 9 || value < 1)
        return il_fail(error, IL_ERR_FORMAT, "%s: \"%.*s\": a number of tokens must stand behind the colon",
                       LAYER_TYPES, *bytes < 40 ? (int)*bytes : 40, name);
    if (*window && value != (unsigned long long)*window)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: windows of %d and %llu: all layers of a model share one",
                       LAYER_TYPES, *window, value);
    *window = (int)value;
    *bytes = prefix - 1;
    return IL_OK;
}

/* "3*ttt_linear,full_attention", which is repeated when it has fewer layers than the model. */
static il_status read_layers(const char *text, il_config *config, il_error *error) {
    int window = 0;
    for (;;) {
        size_t bytes = strcspn(text, ","), digits = strspn(text, "0123456789"), name;
        uint64_t times = 1;
        if (digits && text[digits] == '*') {
            times = strtoull(text, NULL, 10);
            if (times == 0)
                return il_fail(error, IL_ERR_FORMAT, "%s: a layer must be repeated at least once", LAYER_TYPES);
            text += digits + 1;
            bytes -= digits + 1;
        }
        name = bytes;
        if (strncmp(text, "sliding_attention:", 18) == 0) IL_TRY(read_window(text, &name, &window, error));
        IL_TRY(add_layers(NULL, times, text, name, config, error));
        if (!text[bytes]) break;
        text += bytes + 1;
    }
    if (window) config->sliding_window = window;
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
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a list of layers", IL_WHERE_ARGS(path, LAYER_TYPES));
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            if (!json_is_string(item))
                return il_fail(error, IL_ERR_FORMAT, IL_WHERE "entry %zu must be a string",
                               IL_WHERE_ARGS(path, LAYER_TYPES), i);
            IL_TRY(add_layers(path, 1, json_string_value(item), json_string_length(item), &made, error));
        }
    }
    made.mixer = il_config_leading_mixer(&made);
    if (made.n_layer_types == made.layers && !il_config_is_hybrid(&made))
        made.n_layer_types = 0; /* the same with fewer words */
    *config = made;
    return IL_OK;
}

/* Without a list every so many layers of a model of type qwen3_5_text have attention. */
static il_status set_interval(const char *path, const json_t *value, il_config *config, il_error *error) {
    json_int_t every = 4;
    if (value && !json_is_null(value)) {
        if (!json_is_integer(value) || json_integer_value(value) < 1)
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be an integer above 0", IL_WHERE_ARGS(path, INTERVAL));
        every = json_integer_value(value);
    }
    if (config->layers < 1 || config->layers > IL_LAYERS_MAX) return IL_OK; /* refused when all is checked */
    for (int i = 0; i < config->layers; i++)
        config->layer_types[i] = (i + 1) % every ? IL_MIXER_GATED_DELTA : IL_MIXER_SELF_ATTENTION;
    config->n_layer_types = config->layers;
    config->mixer = il_config_leading_mixer(config);
    if (!il_config_is_hybrid(config)) config->n_layer_types = 0;
    return IL_OK;
}

/* Models of another's type have the layers that it knows. */
static il_status check_layers(const char *path, const il_family *family, const il_config *config, il_error *error) {
    for (int i = 0; i < config->n_layer_types || i < 1; i++) {
        il_mixer_kind mixer = il_config_mixer(config, i);
        if (family->is_own || mixer == IL_MIXER_SELF_ATTENTION || mixer == family->mixer) continue;
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "%s is not supported in a model of type %s",
                       IL_WHERE_ARGS(path, LAYER_TYPES), il_mixer_layer_type(mixer), family->model_type);
    }
    return IL_OK;
}

/* explicit: the file names a mixer of TTT layers, which layer_types must then agree with. */
static il_status read_layer_types(const char *path, const json_t *root, const il_family *family, il_config *config,
                                  il_error *error) {
    const json_t *list = json_object_get(root, LAYER_TYPES);
    il_mixer_kind rest = config->mixer;
    il_error inner;
    if (!list || (json_is_null(list) && !family->is_own))
        return family->column == IL_ABSENT_QWEN3_5 ? set_interval(path, json_object_get(root, INTERVAL), config, error)
                                                   : IL_OK;
    IL_TRY(set_layer_types(path, list, config, error));
    if (family->column == IL_ABSENT_QWEN3_5) return check_layers(path, family, config, error);
    int explicit = !il_mixer_is_ttt(rest) || json_object_get(root, TTT_LAYER_TYPE);
    il_status status = IL_OK;
    if (explicit || !il_mixer_is_ttt(config->mixer))
        status = il_config_check_leading(config->mixer, rest, family->model_type, &inner);
    if (status != IL_OK) return il_fail(error, IL_ERR_FORMAT, "%s: %s", path, inner.message);
    return check_layers(path, family, config, error);
}

/* ---- taps ---- */

static il_status add_tap(const char *path, json_int_t tap, il_config *config, il_error *error) {
    if (tap < INT_MIN || tap > INT_MAX) tap = 0; /* refused when all is checked */
    if (config->n_taps == IL_TAPS_MAX)
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "has more than %d numbers", IL_WHERE_ARGS(path, TAPS),
                       IL_TAPS_MAX);
    config->taps[config->n_taps++] = (int)tap;
    return IL_OK;
}

/* "28,27,29" */
static il_status read_taps(const char *text, il_config *config, il_error *error) {
    for (;;) {
        size_t digits = strspn(text, "0123456789");
        if (!digits || digits > 9 || (text[digits] && text[digits] != ','))
            return il_fail(error, IL_ERR_FORMAT, "%s: must be numbers with commas between them", TAPS);
        IL_TRY(add_tap(NULL, atol(text), config, error));
        if (!text[digits]) return IL_OK;
        text += digits + 1;
    }
}

/* value: a list of numbers. Not in a file: one, or text for read_taps, too. */
static il_status set_taps(const char *path, const json_t *value, il_config *config, il_error *error) {
    il_config made = *config;
    made.n_taps = 0;
    if (!path && json_is_integer(value)) {
        IL_TRY(add_tap(path, json_integer_value(value), &made, error));
    } else if (!path && json_is_string(value)) {
        IL_TRY(read_taps(json_string_value(value), &made, error));
    } else if (value && !json_is_null(value)) {
        if (!json_is_array(value))
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a list of integers", IL_WHERE_ARGS(path, TAPS));
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            if (!json_is_integer(item))
                return il_fail(error, IL_ERR_FORMAT, IL_WHERE "entry %zu must be an integer", IL_WHERE_ARGS(path, TAPS),
                               i);
            IL_TRY(add_tap(path, json_integer_value(item), &made, error));
        }
    }
    *config = made;
    return IL_OK;
}

/* ---- fields ---- */

static il_status set_integer(const char *path, const il_field *f, const json_t *value, il_config *config,
                             il_error *error) {
    if (!json_is_integer(value))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be an integer", IL_WHERE_ARGS(path, f->key));
    json_int_t number = json_integer_value(value);
    if (number < INT_MIN || number > INT_MAX)
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "%lld is too %s: it must be %.0f to %.0f",
                       IL_WHERE_ARGS(path, f->key), (long long)number, number < 0 ? "small" : "large", f->min,
                       f->kind == IL_FIELD_TOKEN ? IL_VOCABULARY_MAX - 1.0 : f->max);
    il_field_set(config, f, (double)number);
    return IL_OK;
}

static il_status set_field(const char *path, const il_field *f, const json_t *value, il_config *config,
                           il_error *error) {
    switch (f->kind) {
    case IL_FIELD_BOOL:
        if (!json_is_boolean(value))
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be true or false", IL_WHERE_ARGS(path, f->key));
        il_field_set(config, f, json_is_true(value));
        return IL_OK;
    case IL_FIELD_REAL:
        if (!json_is_number(value))
            return il_fail(error, IL_ERR_FORMAT, IL_WHERE "must be a number", IL_WHERE_ARGS(path, f->key));
        il_field_set(config, f, json_number_value(value));
        return IL_OK;
    case IL_FIELD_TOKEN:
        if (strcmp(f->key, "eos_token_id") == 0 && json_array_size(value)) /* all of them end a text; one is kept */
            value = json_array_get(value, 0);
        if (json_is_array(value))
            return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "such a list of tokens is not supported",
                           IL_WHERE_ARGS(path, f->key));
        if (json_is_null(value)) {
            il_field_set(config, f, -1);
            return IL_OK;
        }
        break;
    case IL_FIELD_INT:
        if (f->of == IL_OF_ATTENTION && json_is_null(value)) return IL_OK; /* the default */
        break;
    }
    return set_integer(path, f, value, config, error);
}

static il_status set_fields(const char *path, json_t *root, const il_family *family, il_config *config,
                            il_error *error) {
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        const il_field *f = il_field_find(key);
        if (!f || !il_family_may_have(family, f)) continue;
        if (json_is_null(value) && !family->is_own && f->kind != IL_FIELD_TOKEN) continue; /* absent */
        if (family->query_bias && f->at == offsetof(il_config, attention_bias)) continue;  /* it says nothing there */
        IL_TRY(set_field(path, f, value, config, error));
    }
    if (!family->query_bias && !json_object_get(root, "attention_output_bias"))
        config->attention_output_bias = config->attention_bias;
    return IL_OK;
}

/* ---- what says nothing of the shape ---- */

/* What torch calls the type of the weights; transformers has renamed the key. Other types are widened at loading. */
static int is_bf16(const json_t *root) {
    static const char *const keys[] = {"torch_dtype", "dtype"};
    for (int i = 0; i < 2; i++) {
        const char *text = json_string_value(json_object_get(root, keys[i]));
        if (text && strcmp(text, "bfloat16") == 0) return 1;
    }
    return 0;
}

/* What is written here, nothing else: another method's integers mean something else. null: none. */
static il_status read_quantization(const char *path, const json_t *value, il_config *config, il_error *error) {
    static const char name[] = "quantization_config";
    const char *method;
    int bits, group, symmetric;
    if (!value || json_is_null(value)) return IL_OK;
    if (json_unpack((json_t *)(uintptr_t)value, "{s:s, s:i, s:i, s:b !}", "quant_method", &method, "bits", &bits,
                    "group_size", &group, "symmetric", &symmetric) != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       IL_WHERE "must be null, or have quant_method, bits, group_size and symmetric alone",
                       IL_WHERE_ARGS(path, name));
    if (strcmp(method, "innerloop") != 0 || (bits != 8 && bits != 4) || group != IL_GROUP || !symmetric)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       IL_WHERE "must be quant_method innerloop, bits 8 or 4, group_size %d, symmetric true",
                       IL_WHERE_ARGS(path, name), IL_GROUP);
    config->weights = bits == 8 ? IL_WEIGHTS_INT8 : IL_WEIGHTS_INT4;
    return IL_OK;
}

/* "tokenizer": "bytes", ours: text is bytes, and there is no tokenizer file to be missed. */
static int is_bytes(const json_t *value) {
    return json_is_string(value) && strcmp(json_string_value(value), "bytes") == 0;
}

/* Whether a key that has been read is one of this model; of another's type, only of that type. */
static il_status check_key(const char *path, const il_family *family, const char *key, const json_t *value,
                           const il_config *config, il_error *error) {
    const il_field *f = il_field_find(key);
    int known = strcmp(key, MODEL_TYPE) == 0 || strcmp(key, LAYER_TYPES) == 0 || strcmp(key, QUANTIZATION) == 0 ||
                (il_mixer_is_ttt(family->mixer) && strcmp(key, TTT_LAYER_TYPE) == 0) ||
                (family->column == IL_ABSENT_QWEN3_5 && strcmp(key, INTERVAL) == 0) ||
                (family->is_own && strcmp(key, TAPS) == 0);
    if (known) return IL_OK;
    if (f && il_family_may_have(family, f)) {
        int attention = f->of == IL_OF_ATTENTION || f->of == IL_OF_OWN_ATTENTION;
        if ((!family->is_own && f->of != IL_OF_LEARNERS) || il_config_has(config, f) ||
            (attention && !il_field_value(config, f)))
            return IL_OK;
        if (attention)
            return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "is of attention, which no layer has",
                           IL_WHERE_ARGS(path, key));
    } else if (il_config_rope_is_key(key)) {
        if (!family->is_own || il_config_attends(config) ||
            (!config->rotary_width && config->rope_scaling == IL_ROPE_PLAIN))
            return IL_OK;
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "is of attention, which no layer has",
                       IL_WHERE_ARGS(path, key));
    } else {
        IL_TRY(il_config_key_check(path, family, key, value, &known, error));
    }
    if (known) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "is not a key of a model of type %s", IL_WHERE_ARGS(path, key),
                   family->model_type);
}

/* ---- whole files ---- */

static il_status read_model(const char *path, json_t *root, const il_family *family, il_config *config,
                            il_error *error) {
    const char *key;
    json_t *value;
    il_error inner;
    const json_t *ttt_layer_type = json_object_get(root, TTT_LAYER_TYPE);
    il_family_defaults(family, config);
    if (il_mixer_is_ttt(family->mixer) && ttt_layer_type)
        IL_TRY(set_ttt_layer_type(path, ttt_layer_type, config, error));
    IL_TRY(set_fields(path, root, family, config, error));
    if (is_bf16(root)) config->weights = IL_WEIGHTS_BF16;
    IL_TRY(read_quantization(path, json_object_get(root, QUANTIZATION), config, error));
    config->bytes_tokenizer = is_bytes(json_object_get(root, "tokenizer"));
    IL_TRY(il_config_rope_read(path, family, root, config, error));
    IL_TRY(read_layer_types(path, root, family, config, error));
    if (family->is_own) IL_TRY(set_taps(path, json_object_get(root, TAPS), config, error));
    il_config_normalize(config);
    il_status status = il_config_check(config, &inner);
    if (status != IL_OK)
        return il_fail(error, status == IL_ERR_ARG ? IL_ERR_FORMAT : status, "%s: %s", path, inner.message);
    json_object_foreach(root, key, value) IL_TRY(check_key(path, family, key, value, config, error));
    return IL_OK;
}

/* A model that sees keeps what its text needs apart, and says some of it on both levels. */
static il_status read_nested(const char *path, const json_t *root, il_config *config, il_error *error) {
    json_t *text = json_object_get(root, TEXT_CONFIG);
    const json_t *type = json_object_get(text, MODEL_TYPE), *inner_tie = json_object_get(text, TIE);
    const json_t *tie = json_object_get(root, TIE);
    const il_family *family = il_family_find("qwen3_5_text");
    if (!json_is_object(text))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "is missing or not an object", IL_WHERE_ARGS(path, TEXT_CONFIG));
    if (type) IL_TRY(find_family(path, type, &family, error));
    if (strcmp(family->model_type, "qwen3_5_text") != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "%s must be qwen3_5_text, not %s",
                       IL_WHERE_ARGS(path, TEXT_CONFIG), MODEL_TYPE, family->model_type);
    if (json_is_boolean(tie) && json_is_boolean(inner_tie) && json_is_true(tie) != json_is_true(inner_tie))
        return il_fail(error, IL_ERR_FORMAT, IL_WHERE "is %s, but %s in %s", IL_WHERE_ARGS(path, TIE),
                       json_is_true(tie) ? "true" : "false", json_is_true(inner_tie) ? "true" : "false", TEXT_CONFIG);
    IL_TRY(read_model(path, text, family, config, error));
    if (json_is_boolean(tie)) config->tie_word_embeddings = json_is_true(tie);
    if (is_bf16(root) && config->weights == IL_WEIGHTS_F32) config->weights = IL_WEIGHTS_BF16;
    return read_quantization(path, json_object_get(root, QUANTIZATION), config, error);
}

static il_status read_root(const char *path, json_t *root, il_config *config, il_error *error) {
    il_config kept;
    const il_family *family;
    if (!json_is_object(root)) return il_fail(error, IL_ERR_FORMAT, "%s: must be a JSON object", path);
    const json_t *type = json_object_get(root, MODEL_TYPE);
    if (!type) return il_fail(error, IL_ERR_FORMAT, "%s: %s is missing", path, MODEL_TYPE);
    if (json_is_string(type) && strcmp(json_string_value(type), WITH_VISION) == 0) {
        IL_TRY(read_nested(path, root, &kept, error));
    } else {
        IL_TRY(find_family(path, type, &family, error));
        IL_TRY(read_model(path, root, family, &kept, error));
    }
    *config = kept;
    return IL_OK;
}

il_status il_config_parse(const char *path, const char *text, size_t bytes, il_config *config, il_error *error) {
    json_t *root;
    if (bytes > TEXT_BYTES_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu bytes: more than 1 MiB are not read", path, bytes);
    IL_TRY(il_json_load(path, text, bytes, JSON_REJECT_DUPLICATES, &root, error));
    il_status status = read_root(path, root, config, error);
    json_decref(root);
    return status;
}

il_status il_config_load(il_engine *engine, const char *dir, il_config *config, il_error *error) {
    il_map map;
    if (il_gguf_is(dir)) return il_gguf_config_load(&engine->memory, dir, config, error);
    if (il_flax_is(dir)) return il_config_load_as(engine, dir, NULL, config, error);
    if (il_path_is_file(dir))
        return il_fail(error, IL_ERR_FORMAT, "%s: neither a model's directory nor a GGUF file nor a JAX checkpoint",
                       dir);
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

/* ---- single keys ---- */

static il_status set_key(il_config *config, const char *key, json_t *value, il_error *error) {
    const il_field *f = il_field_find(key);
    const il_family *own = il_family_own(config->mixer);
    if (f && il_family_may_have(own, f) && (f->of != IL_OF_LEARNERS || il_config_has(config, f))) {
        if (f->of == IL_OF_ATTENTION && json_is_null(value)) il_field_set(config, f, 0);
        return set_field(NULL, f, value, config, error);
    }
    if (strcmp(key, MODEL_TYPE) == 0) return set_model_type(value, config, error);
    if (il_mixer_is_ttt(config->mixer) && strcmp(key, TTT_LAYER_TYPE) == 0)
        return set_ttt_layer_type(NULL, value, config, error);
    if (strcmp(key, LAYER_TYPES) == 0) return set_layer_types(NULL, value, config, error);
    if (strcmp(key, TAPS) == 0) return set_taps(NULL, value, config, error);
    if (!il_config_rope_is_key(key))
        return il_fail(error, IL_ERR_ARG, "%.100s: is not a key of a model of type %s", key,
                       il_family_of(config)->model_type);
    json_t *root = json_object();
    il_status status = IL_OK;
    if (!root || json_object_set(root, key, value) != 0)
        status = il_fail(error, IL_ERR_NOMEM, "%.100s: out of memory", key);
    if (status == IL_OK) status = il_config_rope_read(NULL, own, root, config, error);
    json_decref(root);
    return status;
}

/* value is what may stand in config.json; a string may leave out its quotes. */
il_status il_config_set(il_config *config, const char *key, const char *value, il_error *error) {
    if (!key || !value) return il_fail(error, IL_ERR_ARG, "a key and a value must be given");
    json_t *json = json_loads(value, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    if (!json) json = json_string(value);
    if (!json) return il_fail(error, IL_ERR_ARG, "%.100s: the value is not UTF-8", key);
    il_status status = set_key(config, key, json, error);
    json_decref(json);
    if (status == IL_ERR_FORMAT) {
        status = IL_ERR_ARG; /* there is no file to blame */
        if (error) error->status = status;
    }
    return status;
}
