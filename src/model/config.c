/* config.c: what a model is: presets, bounds, and which configs are the same. Refuses numbers out of bounds and sizes
 * that do not fit together; every message names the key. */
#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "inner/rules.h"
#include "model/config_attention.h"
#include "model/config_count.h"
#include "model/config_fields.h"
#include "model/config_rope.h"
#include "model/mixer_names.h"

enum { SLIDING_WINDOW = 512 /* of a preset */, TAP_MAX = 1 << 16 };
static const uint64_t PARAMETERS_MAX = UINT64_C(1) << 36; /* 256 GiB of fp32 */

il_mixer_kind il_config_mixer(const il_config *config, int layer) {
    return config->n_layer_types ? (il_mixer_kind)config->layer_types[layer] : config->mixer;
}

int il_config_layers_of(const il_config *config, il_mixer_kind mixer) {
    int n = 0;
    for (int i = 0; i < config->layers; i++) n += il_config_mixer(config, i) == mixer;
    return n;
}

int il_config_farthest_tap(const il_config *config) {
    int farthest = 0;
    for (int i = 0; i < config->n_taps; i++)
        if (config->taps[i] > farthest) farthest = config->taps[i];
    return farthest;
}

/* ---- checking ---- */

static il_status check_taps(const il_config *config, il_error *error) {
    if (config->n_taps < 0 || config->n_taps > IL_TAPS_MAX)
        return il_fail(error, IL_ERR_ARG, "taps: there are %d, at most %d may be", config->n_taps, IL_TAPS_MAX);
    for (int i = 0; i < config->n_taps; i++) {
        int tap = config->taps[i];
        if (tap < 2 || tap > TAP_MAX)
            return il_fail(error, IL_ERR_ARG, "taps: %d is not from 2 to %d (1 is the token just read)", tap, TAP_MAX);
        for (int j = 0; j < i; j++)
            if (config->taps[j] == tap) return il_fail(error, IL_ERR_ARG, "taps: %d stands there twice", tap);
    }
    return IL_OK;
}

il_mixer_kind il_config_leading_mixer(const il_config *config) {
    il_mixer_kind leading = (il_mixer_kind)config->layer_types[0];
    for (int i = 0; i < config->n_layer_types; i++) {
        il_mixer_kind mixer = (il_mixer_kind)config->layer_types[i];
        if (il_mixer_is_ttt(mixer)) return mixer;
        if (mixer == IL_MIXER_GATED_DELTA)
            leading = mixer;
        else if (mixer != leading && leading != IL_MIXER_GATED_DELTA)
            leading = IL_MIXER_SELF_ATTENTION; /* full and sliding */
    }
    return leading;
}

/* What layer_types asks for must be what model_type and ttt_layer_type ask for. */
il_status il_config_check_leading(il_mixer_kind layers, il_mixer_kind rest, const char *type, il_error *error) {
    if (layers == rest || (layers == IL_MIXER_SLIDING_ATTENTION && rest == IL_MIXER_SELF_ATTENTION)) return IL_OK;
    if (il_mixer_is_ttt(layers) && il_mixer_is_ttt(rest))
        return il_fail(error, IL_ERR_ARG, "the first TTT layer in layer_types is %s, but ttt_layer_type is %s",
                       il_mixer_name(layers), il_mixer_ttt_layer_type(rest));
    if (il_mixer_is_ttt(layers) || il_mixer_is_ttt(rest))
        return il_fail(error, IL_ERR_ARG, "layer_types has %s TTT layer, but model_type is %s",
                       il_mixer_is_ttt(layers) ? "a" : "no", type);
    return il_fail(error, IL_ERR_ARG, "layer_types has %s layer of linear_attention, but model_type is %s",
                   layers == IL_MIXER_GATED_DELTA ? "a" : "no", type);
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
    const char *type = config->mixer == IL_MIXER_SELF_ATTENTION ? "llama" : il_family_own(config->mixer)->model_type;
    return il_config_check_leading(il_config_leading_mixer(config), config->mixer, type, error);
}

il_status il_config_check(const il_config *config, il_error *error) {
    if ((int)config->mixer < 0 || (int)config->mixer >= il_mixer_count())
        return il_fail(error, IL_ERR_ARG, "mixer %d is unknown", (int)config->mixer);
    for (int i = 0; i < il_field_count; i++) {
        const il_field *f = &il_fields[i];
        double value = il_field_value(config, f), max = f->kind == IL_FIELD_TOKEN ? config->vocab_size - 1 : f->max;
        if (f->of == IL_OF_DELTA && !il_config_has(config, f)) continue;
        if (!(value >= f->min && value <= max)) /* a NaN fails both */
            return il_fail(error, IL_ERR_ARG, "%s is %.17g, must be %.17g to %.17g", f->key, value, f->min, max);
    }
    if (!il_mixer_is_ttt(config->mixer) && (config->share_qk || config->use_gate || config->pre_conv))
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "%s has no mamba backbone: share_qk, use_gate, pre_conv must be false",
                       il_mixer_name(config->mixer));
    IL_TRY(check_layer_types(config, error));
    IL_TRY(check_taps(config, error));
    IL_TRY(il_config_check_attention(config, error));
    if (il_config_layers_of(config, IL_MIXER_GATED_DELTA) && config->delta_value_heads % config->delta_key_heads != 0)
        return il_fail(error, IL_ERR_ARG, "linear_num_value_heads %d is not a multiple of linear_num_key_heads %d",
                       config->delta_value_heads, config->delta_key_heads);
    if (config->fast_head_size && config->fast_head_tokens > config->vocab_size)
        return il_fail(error, IL_ERR_ARG, "fast_head_tokens is %d, more than the vocabulary's %d (0: all)",
                       config->fast_head_tokens, config->vocab_size);
    if ((unsigned)config->weights > IL_WEIGHTS_INT4)
        return il_fail(error, IL_ERR_ARG, "weights: type %d is unknown", (int)config->weights);
    if (il_config_parameters(config) > PARAMETERS_MAX)
        return il_fail(error, IL_ERR_ARG, "the sizes make a model of %llu parameters, more than %llu",
                       (unsigned long long)il_config_parameters(config), (unsigned long long)PARAMETERS_MAX);
    return IL_OK;
}

il_status il_config_check_key(const il_config *config, const char *key, il_error *error) {
    const il_field *f = il_field_find(key);
    if (f && f->at == offsetof(il_config, sliding_window) && !il_config_layers_of(config, IL_MIXER_SLIDING_ATTENTION))
        return il_fail(error, IL_ERR_ARG, "%s: no layer of this model is sliding_attention", key);
    if (f && !config->fast_head_size &&
        (f->at == offsetof(il_config, fast_head_tokens) || f->at == offsetof(il_config, fast_head_lr)))
        return il_fail(error, IL_ERR_ARG, "%s: this model has no fast head: its fast_head_size is 0", key);
    if (f ? il_config_has(config, f) : !il_config_rope_is_key(key) || il_config_attends(config)) return IL_OK;
    return il_fail(error, IL_ERR_ARG, "%.100s: says nothing of a model with these layers", key);
}

int il_config_is_hybrid(const il_config *config) {
    return il_config_layers_of(config, il_config_mixer(config, 0)) < config->layers;
}

static int same_attention(const il_config *a, const il_config *b) {
    return a->rotary_width == b->rotary_width && a->rope_scaling == b->rope_scaling &&
           a->rope_factor == b->rope_factor && a->rope_low_frequency == b->rope_low_frequency &&
           a->rope_high_frequency == b->rope_high_frequency && a->rope_positions == b->rope_positions;
}

/* Fields of layers that neither has are not compared, nor what says nothing of the model. */
int il_config_same(const il_config *left, const il_config *right) {
    il_config a = *left, b = *right;
    if (a.mixer != b.mixer || a.weights != b.weights || a.layers != b.layers) return 0;
    for (int i = 0; i < a.layers; i++)
        if (il_config_mixer(&a, i) != il_config_mixer(&b, i)) return 0;
    if (a.n_taps != b.n_taps || memcmp(a.taps, b.taps, (size_t)a.n_taps * sizeof *a.taps) != 0) return 0;
    il_config_normalize(&a);
    il_config_normalize(&b);
    a.max_positions = b.max_positions;
    for (int i = 0; i < il_field_count; i++) {
        const il_field *f = &il_fields[i];
        if ((f->of == IL_OF_DELTA || f->of == IL_OF_ATTENTION || f->of == IL_OF_OWN_ATTENTION) && !il_config_has(&a, f))
            continue;
        if (il_field_value(&a, f) != il_field_value(&b, f)) return 0;
    }
    return !il_config_attends(&a) || same_attention(&a, &b);
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
    il_family_defaults(il_family_own(IL_MIXER_TTT_LINEAR), &made);
    made.layers = presets[i].layers;
    made.width = presets[i].width;
    made.heads = made.delta_key_heads = made.delta_value_heads = presets[i].heads;
    made.delta_key_width = made.delta_value_width = made.width / made.heads;
    made.ffn_width = presets[i].ffn_width;
    made.share_qk = made.use_gate = made.pre_conv = 1;
    if (kind == IL_MIXER_SLIDING_ATTENTION) made.sliding_window = SLIDING_WINDOW;
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
