/* model_files.c: writes model directories in the Hugging Face layout. Refuses tensors that are not finite, by name. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/folder.h"
#include "model/build.h"
#include "model/config_fields.h"
#include "model/config_write.h"
#include "model/mixer_names.h"
#include "model/model_files.h"
#include "model/older_weights.h"
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

/* In memory for all tensors and their names. */
static il_status make_header(const il_model *model, const char *path, const char *fingerprint, il_st_item *items,
                             char (*names)[IL_SOURCE_NAME_BYTES], unsigned char **header, size_t *bytes,
                             il_error *error) {
    il_st_pair metadata[] = {{"format", "pt"}, {"fingerprint", fingerprint}}; /* transformers wants the first */
    size_t n = 0;
    for (size_t i = 0; i < model->table.n; i++) n += describe(&model->table.entries[i], items + n, names[i]);
    return il_st_header(&model->engine->memory, path, items, n, metadata, 2, header, bytes, error);
}

il_status il_model_header(const il_model *model, const char *path, const char *fingerprint, unsigned char **header,
                          size_t *bytes, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    il_st_item *items = il_alloc(memory, 2 * model->table.n, sizeof *items);
    char(*names)[IL_SOURCE_NAME_BYTES] = il_alloc(memory, model->table.n, sizeof *names);
    *header = NULL;
    il_status status = items && names ? make_header(model, path, fingerprint, items, names, header, bytes, error)
                                      : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    il_free(memory, names);
    il_free(memory, items);
    return status;
}

/* Header, then the tensors in the table's order. */
static il_status write_weights(const il_model *model, const char *path, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    const il_table *table = &model->table;
    il_writer writer = {.fd = -1, .allocator = memory};
    unsigned char *header;
    size_t bytes;
    char fingerprint[33];
    IL_TRY(check_finite(model, path, error));
    il_model_fingerprint(model, fingerprint);
    IL_TRY(il_model_header(model, path, fingerprint, &header, &bytes, error));
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
    char *path = il_path_join(&model->engine->memory, dir, WEIGHTS);
    il_status status =
        path ? write_weights(model, path, error) : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_free(&model->engine->memory, path);
    return status;
}

static void token_line(const char *key, int token, char text[64]) {
    text[0] = 0;
    if (token >= 0) snprintf(text, 64, ",\n  \"%s\": %d", key, token);
}

il_status il_model_write_rest(const il_allocator *memory, const il_config *c, const il_tokenizer *tokenizer,
                              const char *dir, il_error *error) {
    char bos[64], eos[64], generation[256], *config;
    IL_TRY(il_config_text(memory, c, &config, error));
    token_line("bos_token_id", c->bos_token, bos);
    token_line("eos_token_id", c->eos_token, eos);
    snprintf(generation, sizeof generation, "{\n  \"_from_model_config\": true%s%s\n}\n", bos, eos);
    il_status status = save_text(memory, dir, GENERATION, generation, error);
    if (status == IL_OK && tokenizer) status = il_tokenizer_save(tokenizer, dir, error);
    if (status == IL_OK) status = save_text(memory, dir, CONFIG, config, error);
    il_free(memory, config);
    return status;
}

/* The weights come first: they are what a full disk refuses. */
il_status il_model_write(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    IL_TRY(save_weights(model, dir, error));
    return il_model_write_rest(&model->engine->memory, &model->config, tokenizer, dir, error);
}

void il_lock_report(const il_engine *engine, const il_lock *lock, const char *dir) {
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    char why[128];
    if (!lock->unsupported || atomic_flag_test_and_set(&reported)) return;
    il_log(engine, IL_LOG_WARN, "%s: its file system has no locks (%s): nothing keeps two processes from writing there",
           dir, strerror_r(lock->unsupported, why, sizeof why));
}

il_status il_model_folder_write(il_engine *engine, const char *dir, int with_tokenizer, il_folder_fill *fill,
                                void *user, il_error *error) {
    static const char *const with[] = {IL_MODEL_FILES, NULL};
    static const char *const without[] = {WEIGHTS, GENERATION, CONFIG, NULL};
    il_folder folder;
    il_status status = il_folder_open(&engine->memory, dir, with_tokenizer ? with : without, 1, &folder, error);
    il_lock_report(engine, &folder.lock, dir);
    if (status == IL_OK) status = fill(user, folder.temporary, error);
    if (status == IL_OK) status = il_folder_finish(&folder, error);
    if (status == IL_OK) il_older_weights_remove(engine, dir);
    if (status != IL_OK) il_folder_abandon(&folder);
    return status;
}

typedef struct saving {
    const il_model *model;
    const il_tokenizer *tokenizer;
} saving;

static il_status save(void *user, const char *dir, il_error *error) {
    const saving *s = user;
    return il_model_write(s->model, s->tokenizer, dir, error);
}

il_status il_model_save_with(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    saving s = {model, tokenizer};
    return il_model_folder_write(model->engine, dir, tokenizer != NULL, save, &s, error);
}

il_status il_model_save(const il_model *model, const char *dir, il_error *error) {
    return il_model_save_with(model, NULL, dir, error);
}
