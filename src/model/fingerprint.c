/* fingerprint.c: see fingerprint.h. */
#include "model/fingerprint.h"

#include <string.h>

#include "base/hex.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/mixer_names.h"

static void hash_number(XXH3_state_t *state, uint64_t x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_real(XXH3_state_t *state, double x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_text(XXH3_state_t *state, const char *text) { XXH3_128bits_update(state, text, strlen(text) + 1); }

/* A matrix of bf16 counts as the numbers it stands for: it computes what they compute. Quantized it is another model
 * than its numbers in fp32, because its inputs are quantized too: scales tell which. */
void il_fingerprint_rows(XXH3_state_t *state, const il_lp_matrix *matrix) {
    float x[IL_LP_GROUP];
    for (size_t row = 0; row < (size_t)matrix->out; row++)
        for (int from = 0; from < matrix->in; from += IL_LP_GROUP) {
            int n = matrix->in - from < IL_LP_GROUP ? matrix->in - from : IL_LP_GROUP;
            il_lp_get_group(matrix, row, from, n, x);
            XXH3_128bits_update(state, x, (size_t)n * sizeof *x);
            if (matrix->type == IL_WEIGHTS_BF16) continue;
            float scale = il_lp_scale(matrix, row, from);
            XXH3_128bits_update(state, &scale, sizeof scale);
        }
}

/* Appended where it is not as in Llama's first models; heads, norms and biases show in the tensors. */
static void hash_attention(XXH3_state_t *state, const il_config *c) {
    int rotary = il_config_rotary_width(c);
    if (il_config_layers_of(c, IL_MIXER_SLIDING_ATTENTION)) hash_number(state, (uint64_t)c->sliding_window);
    if (c->norm_offset) hash_text(state, "norm_offset");
    if (!il_config_attends(c)) return;
    if (rotary == il_config_head_width(c) && !c->attention_gate && c->rope_scaling == IL_ROPE_PLAIN) return;
    hash_text(state, "attention");
    hash_number(state, (uint64_t)rotary);
    hash_number(state, (uint64_t)c->attention_gate);
    hash_number(state, (uint64_t)c->rope_scaling);
    if (c->rope_scaling != IL_ROPE_PLAIN) hash_real(state, c->rope_factor);
    if (c->rope_scaling != IL_ROPE_LLAMA3) return;
    hash_real(state, c->rope_low_frequency);
    hash_real(state, c->rope_high_frequency);
    hash_number(state, (uint64_t)c->rope_positions);
}

/* What the model computes, nothing else: token ids that only steer losses and sampling are left out.
 * Little-endian. The order is part of every state file: append, never change. */
void il_fingerprint_begin(XXH3_state_t *state, const il_model *model) {
    const il_config *c = &model->config;
    XXH3_INITSTATE(state);
    XXH3_128bits_reset(state);
    hash_text(state, il_mixer_name(c->mixer));
    const int sizes[] = {c->vocab_size, c->width, c->ffn_width, c->layers, c->heads, !!c->tie_word_embeddings};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) hash_number(state, (uint64_t)sizes[i]);
    hash_real(state, c->rope_theta);
    hash_real(state, c->rms_norm_eps);
    if (il_mixer_is_ttt(c->mixer)) {
        const int inner[] = {c->mini_batch, c->conv_kernel, !!c->share_qk, !!c->use_gate, !!c->pre_conv};
        for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) hash_number(state, (uint64_t)inner[i]);
        hash_real(state, c->ttt_base_lr);
    }
    if (il_config_layers_of(c, IL_MIXER_GATED_DELTA)) {
        const int delta[] = {c->mini_batch,      c->delta_key_heads,   c->delta_value_heads,
                             c->delta_key_width, c->delta_value_width, c->delta_taps};
        for (size_t i = 0; i < sizeof delta / sizeof delta[0]; i++) hash_number(state, (uint64_t)delta[i]);
    }
    if (c->fast_head_size) { /* appended, so that models without one keep their fingerprints */
        hash_text(state, "fast_head");
        hash_number(state, (uint64_t)c->fast_head_size);
        hash_real(state, c->fast_head_lr);
        if (!il_model_is_recurrent(model)) hash_number(state, (uint64_t)c->mini_batch);
        if (c->fast_head_tokens) hash_number(state, (uint64_t)c->fast_head_tokens);
    }
    for (int i = 0; il_config_is_hybrid(c) && i < c->layers; i++) /* appended, too */
        hash_text(state, il_mixer_name(il_config_mixer(c, i)));
    hash_attention(state, c);
    if (c->n_taps) hash_text(state, "taps");
    for (int i = 0; i < c->n_taps; i++) hash_number(state, (uint64_t)c->taps[i]);
}

void il_fingerprint_tensor(XXH3_state_t *state, const il_table_entry *entry) {
    hash_text(state, entry->name);
    hash_number(state, (uint64_t)entry->rank);
    for (int k = 0; k < entry->rank; k++) hash_number(state, entry->shape[k]);
    if (entry->type == IL_WEIGHTS_INT8 || entry->type == IL_WEIGHTS_INT4)
        hash_text(state, il_weight_type_name(entry->type));
}

void il_fingerprint_end(const XXH3_state_t *state, char hex[33]) {
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    il_hex128(hash.high64, hash.low64, hex);
}

static void compute(const il_model *model, char hex[33]) {
    XXH3_state_t state;
    il_fingerprint_begin(&state, model);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        il_lp_matrix matrix = il_model_lp(model, entry);
        il_fingerprint_tensor(&state, entry);
        if (entry->type == IL_WEIGHTS_F32)
            XXH3_128bits_update(&state, model->weights + entry->offset, entry->count * sizeof(float));
        else
            il_fingerprint_rows(&state, &matrix);
    }
    il_fingerprint_end(&state, hex);
}

void il_model_fingerprint(const il_model *model, char hex[33]) {
    il_model *cache = (il_model *)(uintptr_t)model; /* only the cached text changes */
    pthread_mutex_lock(&cache->fingerprint_lock);
    if (cache->fingerprint_version != model->version) {
        compute(model, cache->fingerprint);
        cache->fingerprint_version = model->version;
    }
    memcpy(hex, cache->fingerprint, sizeof cache->fingerprint);
    pthread_mutex_unlock(&cache->fingerprint_lock);
}
