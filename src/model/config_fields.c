/* config_fields.c: see config_fields.h. Refuses nothing. */
#include "model/config_fields.h"

#include <string.h>

#include "base/error.h"
#include "model/config.h"
#include "model/mixer_names.h"

#define AT(member) offsetof(il_config, member)
#define ALIKE(value)                                                                                                   \
    { value, value, value, value, value }
/* Absent in a model of type: ttt; llama and our others; qwen2; qwen3; qwen3_5_text. */
const il_field il_fields[] = {
    {"vocab_size",
     IL_FIELD_INT,
     IL_OF_ALL,
     AT(vocab_size),
     2,
     IL_VOCABULARY_MAX,
     {32000, 32000, 151936, 151936, 248320}},
    {"hidden_size", IL_FIELD_INT, IL_OF_ALL, AT(width), 2, 1 << 16, {2048, 4096, 4096, 4096, 4096}},
    {"intermediate_size", IL_FIELD_INT, IL_OF_ALL, AT(ffn_width), 1, 1 << 20, {5504, 11008, 22016, 22016, 12288}},
    {"num_hidden_layers", IL_FIELD_INT, IL_OF_ALL, AT(layers), 1, IL_LAYERS_MAX, {24, 32, 32, 32, 32}},
    {"num_attention_heads", IL_FIELD_INT, IL_OF_ALL, AT(heads), 1, IL_HEADS_MAX, {32, 32, 32, 32, 16}},
    {"tie_word_embeddings", IL_FIELD_BOOL, IL_OF_ALL, AT(tie_word_embeddings), 0, 1, {1, 0, 0, 0, 0}},
    {"bos_token_id", IL_FIELD_TOKEN, IL_OF_ALL, AT(bos_token), -1, 0, {1, 1, -1, -1, -1}},
    {"eos_token_id", IL_FIELD_TOKEN, IL_OF_ALL, AT(eos_token), -1, 0, {2, 2, -1, -1, -1}},
    {"rope_theta", IL_FIELD_REAL, IL_OF_ALL, AT(rope_theta), 1, 1e12, ALIKE(1e4)},
    {"rms_norm_eps", IL_FIELD_REAL, IL_OF_ALL, AT(rms_norm_eps), 1e-12, 1, ALIKE(1e-6)},
    {"mini_batch_size", IL_FIELD_INT, IL_OF_LEARNERS, AT(mini_batch), 1, 1024, ALIKE(16)},
    {"conv_kernel", IL_FIELD_INT, IL_OF_TTT, AT(conv_kernel), 1, 16, ALIKE(4)},
    {"share_qk", IL_FIELD_BOOL, IL_OF_TTT, AT(share_qk), 0, 1, ALIKE(0)},
    {"use_gate", IL_FIELD_BOOL, IL_OF_TTT, AT(use_gate), 0, 1, ALIKE(0)},
    {"pre_conv", IL_FIELD_BOOL, IL_OF_TTT, AT(pre_conv), 0, 1, ALIKE(0)},
    {"ttt_base_lr", IL_FIELD_REAL, IL_OF_TTT, AT(ttt_base_lr), 0, 1e4, ALIKE(1)},
    {"num_key_value_heads", IL_FIELD_INT, IL_OF_ATTENTION, AT(kv_heads), 0, IL_HEADS_MAX, {0, 0, 32, 32, 4}},
    {"head_dim", IL_FIELD_INT, IL_OF_ATTENTION, AT(head_width), 0, IL_HEAD_WIDTH_MAX, {0, 0, 0, 128, 256}},
    {"attention_bias", IL_FIELD_BOOL, IL_OF_ATTENTION, AT(attention_bias), 0, 1, ALIKE(0)},
    {"attention_output_bias", IL_FIELD_BOOL, IL_OF_OWN_ATTENTION, AT(attention_output_bias), 0, 1, ALIKE(0)},
    {"attn_output_gate", IL_FIELD_BOOL, IL_OF_OWN_ATTENTION, AT(attention_gate), 0, 1, ALIKE(0)},
    {"qk_norm", IL_FIELD_BOOL, IL_OF_OWN_ATTENTION, AT(qk_norm), 0, 1, ALIKE(0)},
    {"sliding_window", IL_FIELD_INT, IL_OF_OWN_ATTENTION, AT(sliding_window), 0, 1 << 20, ALIKE(0)},
    {"norm_offset", IL_FIELD_BOOL, IL_OF_OWN, AT(norm_offset), 0, 1, ALIKE(0)},
    {"linear_num_key_heads", IL_FIELD_INT, IL_OF_DELTA, AT(delta_key_heads), 1, IL_HEADS_MAX, ALIKE(16)},
    {"linear_num_value_heads", IL_FIELD_INT, IL_OF_DELTA, AT(delta_value_heads), 1, IL_HEADS_MAX, ALIKE(32)},
    {"linear_key_head_dim", IL_FIELD_INT, IL_OF_DELTA, AT(delta_key_width), 1, IL_HEAD_WIDTH_MAX, ALIKE(128)},
    {"linear_value_head_dim", IL_FIELD_INT, IL_OF_DELTA, AT(delta_value_width), 1, IL_HEAD_WIDTH_MAX, ALIKE(128)},
    {"linear_conv_kernel_dim", IL_FIELD_INT, IL_OF_DELTA, AT(delta_taps), 1, 16, ALIKE(4)},
    {"linear_learned_start", IL_FIELD_BOOL, IL_OF_DELTA, AT(delta_learned_start), 0, 1, ALIKE(0)},
    {"max_position_embeddings",
     IL_FIELD_INT,
     IL_OF_ALL,
     AT(max_positions),
     0,
     1 << 30,
     {2048, 2048, 32768, 32768, 32768}},
    {"fast_head_size", IL_FIELD_INT, IL_OF_ALL, AT(fast_head_size), 0, IL_FAST_HEAD_MAX, ALIKE(0)},
    {"fast_head_lr", IL_FIELD_REAL, IL_OF_ALL, AT(fast_head_lr), 0, 100, ALIKE(0.3)},
    {"fast_head_tokens", IL_FIELD_INT, IL_OF_ALL, AT(fast_head_tokens), 0, IL_VOCABULARY_MAX, ALIKE(0)},
};
const int il_field_count = sizeof il_fields / sizeof il_fields[0];

const il_field *il_field_find(const char *key) {
    for (int i = 0; i < il_field_count; i++)
        if (strcmp(il_fields[i].key, key) == 0) return &il_fields[i];
    return NULL;
}

double il_field_value(const il_config *config, const il_field *field) {
    const char *at = (const char *)config + field->at;
    return field->kind == IL_FIELD_REAL ? *(const double *)(const void *)at : *(const int *)(const void *)at;
}

void il_field_set(il_config *config, const il_field *field, double value) {
    char *at = (char *)config + field->at;
    if (field->kind == IL_FIELD_REAL)
        *(double *)(void *)at = value;
    else
        *(int *)(void *)at = (int)value;
}

/* ---- families ---- */

/* Those of others from the one that says most. */
const il_family il_families[] = {
    {"ttt", "TTTForCausalLM", IL_ABSENT_TTT, .is_own = 1, .mixer = IL_MIXER_TTT_LINEAR},
    {"gated_delta", "GatedDeltaForCausalLM", IL_ABSENT_LLAMA, .is_own = 1, .mixer = IL_MIXER_GATED_DELTA},
    {"attention", "AttentionForCausalLM", IL_ABSENT_LLAMA, .is_own = 1, .mixer = IL_MIXER_SELF_ATTENTION},
    {"qwen3_5_text", "Qwen3_5ForCausalLM", IL_ABSENT_QWEN3_5, .mixer = IL_MIXER_GATED_DELTA, .qk_norm = 1, .gate = 1,
     .norm_offset = 1, .partial_rotary = 1},
    {"qwen3", "Qwen3ForCausalLM", IL_ABSENT_QWEN3, .mixer = IL_MIXER_SELF_ATTENTION, .qk_norm = 1},
    {"qwen2", "Qwen2ForCausalLM", IL_ABSENT_QWEN2, .mixer = IL_MIXER_SELF_ATTENTION, .query_bias = 1},
    {"llama", "LlamaForCausalLM", IL_ABSENT_LLAMA, .mixer = IL_MIXER_SELF_ATTENTION},
};
const int il_family_count = sizeof il_families / sizeof il_families[0];

const il_family *il_family_find(const char *model_type) {
    for (int i = 0; i < il_family_count; i++)
        if (strcmp(il_families[i].model_type, model_type) == 0) return &il_families[i];
    return NULL;
}

/* Whether config.json of another's type can say all of the config. */
static int says(const il_family *family, const il_config *c) {
    int attends = il_config_attends(c), deltas = il_config_layers_of(c, IL_MIXER_GATED_DELTA);
    int plain = il_config_layers_of(c, IL_MIXER_SELF_ATTENTION);
    if (c->n_taps || family->is_own || plain + deltas < c->layers || c->norm_offset != family->norm_offset) return 0;
    if (deltas && (family->mixer != IL_MIXER_GATED_DELTA || c->delta_learned_start)) return 0;
    if (!attends) return deltas && family->mixer == IL_MIXER_GATED_DELTA;
    return c->qk_norm == family->qk_norm && c->attention_gate == family->gate &&
           (family->partial_rotary || il_config_rotary_width(c) == il_config_head_width(c)) &&
           (family->query_bias ? c->attention_bias && !c->attention_output_bias
                               : c->attention_bias == c->attention_output_bias);
}

const il_family *il_family_of(const il_config *config) {
    for (int i = 0; i < il_family_count; i++)
        if (says(&il_families[i], config)) return &il_families[i];
    return il_family_own(config->mixer);
}

const il_family *il_family_own(il_mixer_kind mixer) {
    if (il_mixer_is_ttt(mixer)) return il_family_find("ttt");
    return il_family_find(mixer == IL_MIXER_GATED_DELTA ? "gated_delta" : "attention");
}

void il_family_defaults(const il_family *family, il_config *config) {
    *config = (il_config){.mixer = family->mixer};
    for (int i = 0; i < il_field_count; i++) il_field_set(config, &il_fields[i], il_fields[i].absent[family->column]);
    config->qk_norm = family->qk_norm;
    config->attention_gate = family->gate;
    config->norm_offset = family->norm_offset;
    config->attention_bias = family->query_bias;
}

int il_family_may_have(const il_family *family, const il_field *field) {
    switch (field->of) {
    case IL_OF_ALL:
    case IL_OF_LEARNERS: /* any, with a fast head */
    case IL_OF_ATTENTION: return 1;
    case IL_OF_DELTA: return family->mixer != IL_MIXER_SELF_ATTENTION;
    case IL_OF_TTT: return il_mixer_is_ttt(family->mixer);
    case IL_OF_OWN_ATTENTION:
    case IL_OF_OWN: return family->is_own;
    }
    return 0;
}

int il_config_learns(const il_config *config) {
    return config->mixer != IL_MIXER_SELF_ATTENTION && config->mixer != IL_MIXER_SLIDING_ATTENTION;
}

int il_config_has(const il_config *config, const il_field *field) {
    switch (field->of) {
    case IL_OF_ALL:
    case IL_OF_OWN: return 1;
    case IL_OF_LEARNERS: return il_config_learns(config) || config->fast_head_size > 0;
    case IL_OF_TTT: return il_mixer_is_ttt(config->mixer);
    case IL_OF_DELTA: return il_config_layers_of(config, IL_MIXER_GATED_DELTA) > 0;
    case IL_OF_ATTENTION:
    case IL_OF_OWN_ATTENTION: return il_config_attends(config);
    }
    return 0;
}

void il_config_normalize(il_config *c) {
    if (c->heads > 0 && c->head_width == c->width / c->heads && c->width % c->heads == 0) c->head_width = 0;
    if (c->kv_heads == c->heads) c->kv_heads = 0;
    if (c->heads > 0 && c->rotary_width == il_config_head_width(c)) c->rotary_width = 0;
    if (c->rope_scaling != IL_ROPE_LLAMA3) {
        c->rope_low_frequency = c->rope_high_frequency = 0;
        c->rope_positions = 0;
    }
    if (c->rope_scaling == IL_ROPE_PLAIN) c->rope_factor = 0;
}

int il_config_attends(const il_config *config) {
    for (int i = 0; i < config->layers; i++) {
        il_mixer_kind mixer = il_config_mixer(config, i);
        if (!il_mixer_is_ttt(mixer) && mixer != IL_MIXER_GATED_DELTA) return 1;
    }
    return 0;
}

/* A key that other software passes over, and so would compute another model without a word; NULL: there is none. */
static const char *key_of_our_own(const il_config *c, const il_family *family) {
    if (c->fast_head_size) return "fast_head_size";
    if (c->n_taps) return "taps";
    if (c->delta_learned_start && il_config_layers_of(c, IL_MIXER_GATED_DELTA)) return "linear_learned_start";
    for (int i = 0; i < il_field_count && il_mixer_is_ttt(family->mixer); i++) {
        const il_field *f = &il_fields[i];
        if (f->of == IL_OF_OWN && il_field_value(c, f) != f->absent[family->column]) return f->key;
    }
    return NULL;
}

il_status il_config_check_portable(const il_config *c, il_error *error) {
    const il_family *family = il_family_of(c);
    int official = c->mixer == IL_MIXER_TTT_LINEAR || c->mixer == IL_MIXER_TTT_MLP;
    IL_TRY(il_config_check(c, error));
    const char *key = key_of_our_own(c, family);
    if (key) return il_fail(error, IL_ERR_UNSUPPORTED, "%s is known to no other software", key);
    if (c->weights == IL_WEIGHTS_INT8 || c->weights == IL_WEIGHTS_INT4)
        return il_fail(error, IL_ERR_UNSUPPORTED, "weights of type %s are known to no other software",
                       il_weight_type_name(c->weights));
    if (family->is_own && (!official || il_config_is_hybrid(c)))
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "layers of %s%s, as this model has them, are known to no other software",
                       il_mixer_name(c->mixer), il_config_is_hybrid(c) ? " and others" : "");
    return IL_OK;
}
