/* config_keys.c: see config_keys.h. */
#include "model/config_keys.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* They change nothing here, whatever their value. */
static const char *const ignored[] = {"architectures",
                                      "attention_dropout",
                                      "attn_pdrop",
                                      "auto_map",
                                      "dtype",
                                      "embd_pdrop",
                                      "finetuning_task",
                                      "gradient_checkpointing",
                                      "hidden_dropout",
                                      "id2label",
                                      "initializer_range",
                                      "is_decoder",
                                      "is_encoder_decoder",
                                      "is_llama_config",
                                      "label2id",
                                      "max_sequence_length",
                                      "name_or_path",
                                      "output_attentions",
                                      "output_hidden_states",
                                      "pad_token_id",
                                      "problem_type",
                                      "remat_mini_batch_group_size",
                                      "resid_pdrop",
                                      "return_dict",
                                      "scan_checkpoint_group_size",
                                      "sep_token_id",
                                      "task_specific_params",
                                      "tokenizer_class",
                                      "torch_dtype",
                                      "torchscript",
                                      "transformers_version",
                                      "use_cache"};

/* The same of files that other software makes: of images, of heads that predict further tokens, of how to sample. */
static const char *const ignored_of_others[] = {"do_sample",
                                                "image_token_id",
                                                "layer_norm_eps",
                                                "max_length",
                                                "max_new_tokens",
                                                "max_window_layers",
                                                "model_max_length",
                                                "repetition_penalty",
                                                "temperature",
                                                "top_k",
                                                "top_p",
                                                "transformers.js_config",
                                                "use_mrope",
                                                "video_token_id",
                                                "vision_config",
                                                "vision_end_token_id",
                                                "vision_start_token_id"};
static const char *const beginnings_of_others[] = {"mamba_", "mrope_", "mtp_", "unsloth_"};

/* What these may say, as JSON; null always. */
static const struct {
    const char *key, *allowed[2];
} promised[] = {
    {"hidden_act", {"\"silu\""}}, {"mlp_bias", {"false"}},
    {"mlp_only_layers", {"[]"}},  {"num_experts", {"0"}},
    {"num_local_experts", {"0"}}, {"output_gate_type", {"\"swish\"", "\"silu\""}},
    {"pretraining_tp", {"1"}},    {"rope_interleaved", {"false"}},
    {"tokenizer", {"\"bytes\""}}, {"use_sliding_window", {"false"}},
};

static int is_one_of(const char *key, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(key, list[i]) == 0) return 1;
    return 0;
}
#define IS_ONE_OF(key, list) is_one_of(key, list, sizeof(list) / sizeof((list)[0]))

static int begins_as_others(const char *key) {
    for (size_t i = 0; i < sizeof beginnings_of_others / sizeof beginnings_of_others[0]; i++)
        if (strncmp(key, beginnings_of_others[i], strlen(beginnings_of_others[i])) == 0) return 1;
    return 0;
}

/* The JSON of a value; of what no key here may be, "". */
static const char *text_of(const json_t *value, char text[48]) {
    text[0] = 0;
    if (json_is_boolean(value)) snprintf(text, 48, "%s", json_is_true(value) ? "true" : "false");
    if (json_is_integer(value)) snprintf(text, 48, "%lld", (long long)json_integer_value(value));
    if (json_is_string(value) && json_string_length(value) < 40) snprintf(text, 48, "\"%s\"", json_string_value(value));
    if (json_is_array(value) && !json_array_size(value)) snprintf(text, 48, "[]");
    return text;
}

static il_status check(const char *path, const char *key, const json_t *value, const char *first, const char *second,
                       il_error *error) {
    char text[48];
    if (json_is_null(value)) return IL_OK;
    text_of(value, text);
    if ((first && strcmp(text, first) == 0) || (second && strcmp(text, second) == 0)) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, IL_WHERE "must be %s%s%s%s%s", IL_WHERE_ARGS(path, key),
                   first ? first : "null", second ? " or " : "", second ? second : "", text[0] ? ", not " : "", text);
}

il_status il_config_key_check(const char *path, const il_family *family, const char *key, const json_t *value,
                              int *known, il_error *error) {
    *known = 1;
    if (IS_ONE_OF(key, ignored) || key[0] == '_') return IL_OK; /* the latter are private to transformers */
    for (size_t i = 0; i < sizeof promised / sizeof promised[0]; i++)
        if (strcmp(key, promised[i].key) == 0)
            return check(path, key, value, promised[i].allowed[0], promised[i].allowed[1], error);
    *known = !family->is_own;
    if (family->is_own || IS_ONE_OF(key, ignored_of_others) || begins_as_others(key)) return IL_OK;
    if (strcmp(key, "attn_output_gate") == 0)
        return check(path, key, value, family->gate ? "true" : "false", NULL, error);
    if (strcmp(key, "sliding_window") == 0) /* use_sliding_window is false: what it would be says nothing */
        return strcmp(family->model_type, "llama") == 0 ? check(path, key, value, NULL, NULL, error) : IL_OK;
    *known = 0;
    return IL_OK;
}
