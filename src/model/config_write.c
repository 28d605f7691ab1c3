/* config_write.c: the text of config.json. What other software knows how to run is written as it wants it; what it does
 * not, under a type that it refuses. Keys that a model does not need are left out. */
#include "model/config_write.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/low_precision.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/config_rope.h"
#include "model/mixer_names.h"

enum { MAX_POSITIONS = 2048 /* written where no number is known */ };

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
    char text[3072 + IL_LAYERS_MAX * 64];
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
    put(w, "  \"layer_types\": [");
    for (int i = 0; i < config->layers; i++)
        put(w, "%s\"%s\"", i ? ", " : "", il_mixer_layer_type(il_config_mixer(config, i)));
    put(w, "],\n");
}

static void put_taps(writing *w, const il_config *config) {
    for (int i = 0; i < config->n_taps; i++) put(w, "%s%d", i ? ", " : "  \"taps\": [", config->taps[i]);
    if (config->n_taps) put(w, "],\n");
}

static const char *bool_text(int value) { return value ? "true" : "false"; }

/* null, or all that changes the frequencies. */
static void put_rope_scaling(writing *w, const il_config *config) {
    char factor[40], low[40], high[40];
    if (config->rope_scaling == IL_ROPE_PLAIN) {
        put(w, "  \"rope_scaling\": null,\n");
        return;
    }
    real_text(config->rope_factor, factor);
    put(w, "  \"rope_scaling\": {\"rope_type\": \"%s\", \"factor\": %s", il_config_rope_name(config->rope_scaling),
        factor);
    if (config->rope_scaling == IL_ROPE_LLAMA3) {
        real_text(config->rope_low_frequency, low);
        real_text(config->rope_high_frequency, high);
        put(w, ", \"low_freq_factor\": %s, \"high_freq_factor\": %s, \"original_max_position_embeddings\": %d", low,
            high, config->rope_positions);
    }
    put(w, "},\n");
}

/* The number of which a reader makes rotary_width again. */
static void put_partial_rotary(writing *w, const il_config *config) {
    char number[40];
    int rotary = il_config_rotary_width(config), head = il_config_head_width(config);
    double part = (double)rotary / head;
    while ((int)(part * head) < rotary) part = nextafter(part, 2);
    real_text(part, number);
    put(w, "  \"partial_rotary_factor\": %s,\n", number);
}

static void put_field(writing *w, const il_field *f, double value) {
    char number[40];
    if (f->kind == IL_FIELD_REAL)
        real_text(value, number);
    else if (f->kind == IL_FIELD_BOOL)
        snprintf(number, sizeof number, "%s", bool_text(value != 0));
    else if (f->kind == IL_FIELD_TOKEN && value < 0)
        snprintf(number, sizeof number, "null");
    else
        snprintf(number, sizeof number, "%d", (int)value);
    put(w, "  \"%s\": %s,\n", f->key, number);
}

/* Whether the type says the shape of attention at all times, as others do; ours leave out what Llama's first models do
 * not have. */
static int is_explicit(const il_family *family) { return !family->is_own || family->mixer == IL_MIXER_SELF_ATTENTION; }

static void put_attention(writing *w, const il_family *family, const il_config *config) {
    int attends = il_config_attends(config);
    if (is_explicit(family))
        put(w, "  \"num_key_value_heads\": %d,\n  \"attention_bias\": %s,\n", il_config_kv_heads(config),
            bool_text(config->attention_bias));
    if (is_explicit(family) && family->column == IL_ABSENT_LLAMA) put(w, "  \"mlp_bias\": false,\n");
    if (is_explicit(family) || (attends && config->rope_scaling != IL_ROPE_PLAIN)) put_rope_scaling(w, config);
    if (attends && (family->partial_rotary || il_config_rotary_width(config) != il_config_head_width(config)))
        put_partial_rotary(w, config);
}

/* The value to be written. Whether it is: keys that say what their absence says are left out. */
static int is_written(const il_family *family, const il_config *config, const il_field *f, double *value) {
    *value = il_field_value(config, f);
    if (!il_config_has(config, f) || !il_family_may_have(family, f)) return 0;
    if (f->at == offsetof(il_config, max_positions)) return 0; /* at the end */
    if (f->at == offsetof(il_config, fast_head_tokens) && *value == 0) return 0;
    if (strncmp(f->key, "fast_head", 9) == 0) return config->fast_head_size > 0; /* unknown to other software */
    if (f->of == IL_OF_LEARNERS && !il_config_learns(config)) return *value != f->absent[family->column];
    if (f->at == offsetof(il_config, delta_learned_start) || f->of == IL_OF_OWN) return *value != 0;
    if (f->at == offsetof(il_config, attention_output_bias)) return *value != config->attention_bias;
    if (f->of == IL_OF_OWN_ATTENTION) return *value != 0;
    if (f->of != IL_OF_ATTENTION) return 1;
    if (f->at == offsetof(il_config, head_width)) {
        *value = il_config_head_width(config);
        return f->absent[family->column] != 0 || *value * config->heads != config->width;
    }
    return !is_explicit(family) && *value != 0; /* else it stands before */
}

il_status il_config_text(const il_allocator *allocator, const il_config *config, char **text, il_error *error) {
    writing w = {.n = 0};
    const il_family *family = il_family_of(config);
    int ttt = il_mixer_is_ttt(family->mixer), others = family->column == IL_ABSENT_QWEN3_5;
    put(&w, "{\n  \"architectures\": [\"%s\"],\n  \"model_type\": \"%s\",\n", family->architecture, family->model_type);
    if (ttt)
        put(&w, "  \"ttt_layer_type\": \"%s\",\n  \"scan_checkpoint_group_size\": 0,\n",
            il_mixer_ttt_layer_type(config->mixer));
    put_attention(&w, family, config);
    if (il_config_is_hybrid(config) || others || config->mixer == IL_MIXER_SLIDING_ATTENTION)
        put_layer_types(&w, config);
    put_taps(&w, config);
    for (int i = 0; i < il_field_count; i++) {
        double value;
        if (is_written(family, config, &il_fields[i], &value)) put_field(&w, &il_fields[i], value);
    }
    if (config->bytes_tokenizer) put(&w, "  \"tokenizer\": \"bytes\",\n");
    if (config->weights == IL_WEIGHTS_INT8 || config->weights == IL_WEIGHTS_INT4)
        put(&w,
            "  \"quantization_config\": {\"quant_method\": \"innerloop\", \"bits\": %d, \"group_size\": %d, "
            "\"symmetric\": true},\n",
            config->weights == IL_WEIGHTS_INT8 ? 8 : 4, IL_LP_GROUP);
    put(&w,
        "  \"hidden_act\": \"silu\",\n  \"max_position_embeddings\": %d,\n  \"initializer_range\": 0.02,\n"
        "  \"use_cache\": %s,\n  \"pad_token_id\": null,\n  \"pretraining_tp\": 1,\n  \"torch_dtype\": \"%s\"\n}\n",
        config->max_positions ? config->max_positions : MAX_POSITIONS, bool_text(!ttt),
        config->weights == IL_WEIGHTS_BF16 ? "bfloat16" : "float32");
    *text = il_strdup(allocator, w.text);
    return *text ? IL_OK : il_fail(error, IL_ERR_NOMEM, "out of memory for a configuration");
}
