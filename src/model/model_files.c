/* model_files.c: writes model directories in the Hugging Face layout, and makes the fingerprint of a model. Refuses
 * tensors that are not finite, by name. */
#include <stdio.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the hash state lives on the stack */
#include <xxhash.h>

#include "base/error.h"
#include "base/folder.h"
#include "base/hex.h"
#include "model/build.h"
#include "model/config_fields.h"
#include "model/config_write.h"
#include "model/mixer_names.h"
#include "model/model_files.h"
#include "model/sources.h"

static const char CONFIG[] = "config.json", GENERATION[] = "generation_config.json", WEIGHTS[] = "model.safetensors";

#define WHERE "%s: tensor %.150s: "

/* ---- saving ---- */

static il_status save_text(const il_allocator *memory, const char *dir, const char *name, const char *text,
                           il_error *error) {
    char *path = il_path_join(memory, dir, name);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_status status = il_file_replace(memory, path, text, strlen(text), error);
    il_free(memory, path);
    return status;
}

static il_status write_lp(const il_allocator *memory, il_writer *writer, const il_lp_matrix *matrix, il_error *error) {
    size_t bytes[2] = {il_lp_row_bytes(matrix->type, (size_t)matrix->in),
                       il_lp_row_scales(matrix->type, (size_t)matrix->in) * sizeof(float)};
    unsigned char *row = il_alloc_raw(memory, bytes[0] + bytes[1], 1);
    if (!row) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", writer->path);
    il_status status = IL_OK;
    for (int scales = 0; scales < 2 && bytes[scales]; scales++)
        for (int i = 0; i < matrix->out && status == IL_OK; i++) {
            il_lp_get_bytes(matrix, (size_t)i, row, row + bytes[0]);
            status = il_writer_write(writer, row + (scales ? bytes[0] : 0), bytes[scales], error);
        }
    il_free(memory, row);
    return status;
}

/* What a file calls an entry's tensor and, for quantized matrices, its scales. */
static size_t describe(const il_table_entry *entry, il_st_item items[2], char scale_name[IL_SOURCE_NAME_BYTES]) {
    items[0] = (il_st_item){.name = entry->name, .rank = entry->rank};
    items[0].dtype = entry->type == IL_WEIGHTS_BF16 ? IL_BF16 : IL_F32;
    memcpy(items[0].shape, entry->shape, sizeof entry->shape);
    if (!il_entry_is_quantized(entry)) return 1;
    items[0].dtype = entry->type == IL_WEIGHTS_INT4 ? IL_U8 : IL_I8;
    items[0].shape[1] = il_lp_row_bytes(entry->type, entry->shape[1]);
    items[1] = items[0];
    items[1].dtype = IL_F32;
    items[1].shape[1] = il_lp_row_scales(entry->type, entry->shape[1]);
    snprintf(scale_name, IL_SOURCE_NAME_BYTES, "%s%s", entry->name, IL_SCALES);
    items[1].name = scale_name;
    return 2;
}

/* What could not be loaded again is not written: training that went wrong must not take the place of what went well.
 * Low-precision weights were checked when they were made. */
static il_status check_finite(const il_model *model, const char *path, il_error *error) {
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        if (entry->type != IL_WEIGHTS_F32) continue;
        if (!model->engine->kernels->all_finite(entry->count, model->weights + entry->offset))
            return il_fail(error, IL_ERR_NONFINITE, WHERE "holds a number that is not finite", path, entry->name);
    }
    return IL_OK;
}

/* Header, then the tensors in the table's order. */
static il_status write_weights(const il_model *model, const char *path, il_st_item *items,
                               char (*names)[IL_SOURCE_NAME_BYTES], il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    const il_table *table = &model->table;
    il_writer writer = {.fd = -1, .allocator = memory};
    unsigned char *header;
    size_t bytes, n = 0;
    char fingerprint[33];
    IL_TRY(check_finite(model, path, error));
    for (size_t i = 0; i < table->n; i++) n += describe(&table->entries[i], items + n, names[i]);
    il_model_fingerprint(model, fingerprint);
    il_st_pair metadata[] = {{"format", "pt"}, {"fingerprint", fingerprint}}; /* transformers wants the first */
    IL_TRY(il_st_header(memory, path, items, n, metadata, 2, &header, &bytes, error));
    il_status status = il_writer_open(memory, path, &writer, error);
    if (status == IL_OK) status = il_writer_write(&writer, header, bytes, error);
    for (size_t i = 0; i < table->n && status == IL_OK; i++) {
        const il_table_entry *entry = &table->entries[i];
        il_lp_matrix matrix = il_model_lp(model, entry);
        if (entry->type == IL_WEIGHTS_F32)
            status = il_writer_write(&writer, model->weights + entry->offset, entry->count * sizeof(float), error);
        else
            status = write_lp(memory, &writer, &matrix, error);
    }
    if (status == IL_OK) status = il_writer_finish(&writer, error);
    if (status != IL_OK) il_writer_abandon(&writer);
    il_free(memory, header);
    return status;
}

static il_status save_weights(const il_model *model, const char *dir, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    char *path = il_path_join(memory, dir, WEIGHTS);
    il_st_item *items = il_alloc(memory, 2 * model->table.n, sizeof *items);
    char(*names)[IL_SOURCE_NAME_BYTES] = il_alloc(memory, model->table.n, sizeof *names);
    il_status status = path && items && names ? write_weights(model, path, items, names, error)
                                              : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_free(memory, names);
    il_free(memory, items);
    il_free(memory, path);
    return status;
}

static void token_line(const char *key, int token, char text[64]) {
    text[0] = 0;
    if (token >= 0) snprintf(text, 64, ",\n  \"%s\": %d", key, token);
}

/* The weights come first: they are what a full disk refuses. */
il_status il_model_write(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    char bos[64], eos[64], generation[256], *config;
    IL_TRY(il_config_text(memory, &model->config, &config, error));
    token_line("bos_token_id", model->config.bos_token, bos);
    token_line("eos_token_id", model->config.eos_token, eos);
    snprintf(generation, sizeof generation, "{\n  \"_from_model_config\": true%s%s\n}\n", bos, eos);
    il_status status = save_weights(model, dir, error);
    if (status == IL_OK) status = save_text(memory, dir, GENERATION, generation, error);
    if (status == IL_OK && tokenizer) status = il_tokenizer_save(tokenizer, dir, error);
    if (status == IL_OK) status = save_text(memory, dir, CONFIG, config, error);
    il_free(memory, config);
    return status;
}

void il_lock_report(const il_engine *engine, const il_lock *lock, const char *dir) {
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    char why[128];
    if (!lock->unsupported || atomic_flag_test_and_set(&reported)) return;
    il_log(engine, IL_LOG_WARN, "%s: its file system has no locks (%s): nothing keeps two processes from writing there",
           dir, strerror_r(lock->unsupported, why, sizeof why));
}

il_status il_model_save_with(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    static const char *const with[] = {IL_MODEL_FILES, NULL};
    static const char *const without[] = {WEIGHTS, GENERATION, CONFIG, NULL};
    il_folder folder;
    il_status status = il_folder_open(&model->engine->memory, dir, tokenizer ? with : without, 1, &folder, error);
    il_lock_report(model->engine, &folder.lock, dir);
    if (status == IL_OK) status = il_model_write(model, tokenizer, folder.temporary, error);
    if (status == IL_OK) status = il_folder_finish(&folder, error);
    if (status != IL_OK) il_folder_abandon(&folder);
    return status;
}

il_status il_model_save(const il_model *model, const char *dir, il_error *error) {
    return il_model_save_with(model, NULL, dir, error);
}

/* ---- fingerprint ---- */

static void hash_number(XXH3_state_t *state, uint64_t x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_real(XXH3_state_t *state, double x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_text(XXH3_state_t *state, const char *text) { XXH3_128bits_update(state, text, strlen(text) + 1); }

/* A matrix of bf16 counts as the numbers it stands for: it computes what they compute. Quantized it is another model
 * than its numbers in fp32, because its inputs are quantized too: scales tell which. */
static void hash_lp(XXH3_state_t *state, const il_lp_matrix *matrix) {
    float x[IL_LP_GROUP];
    if (matrix->type != IL_WEIGHTS_BF16) hash_text(state, il_weight_type_name(matrix->type));
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
static void hash_model(XXH3_state_t *state, const il_model *model) {
    const il_config *c = &model->config;
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
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        hash_text(state, entry->name);
        hash_number(state, (uint64_t)entry->rank);
        for (int k = 0; k < entry->rank; k++) hash_number(state, entry->shape[k]);
        il_lp_matrix matrix = il_model_lp(model, entry);
        if (entry->type == IL_WEIGHTS_F32)
            XXH3_128bits_update(state, model->weights + entry->offset, entry->count * sizeof(float));
        else
            hash_lp(state, &matrix);
    }
}

void il_model_fingerprint(const il_model *model, char hex[33]) {
    il_model *cache = (il_model *)(uintptr_t)model; /* only the cached text changes */
    pthread_mutex_lock(&cache->fingerprint_lock);
    if (cache->fingerprint_version != model->version) {
        XXH3_state_t state;
        XXH3_INITSTATE(&state);
        XXH3_128bits_reset(&state);
        hash_model(&state, model);
        XXH128_hash_t hash = XXH3_128bits_digest(&state);
        il_hex128(hash.high64, hash.low64, cache->fingerprint);
        cache->fingerprint_version = model->version;
    }
    memcpy(hex, cache->fingerprint, sizeof cache->fingerprint);
    pthread_mutex_unlock(&cache->fingerprint_lock);
}
