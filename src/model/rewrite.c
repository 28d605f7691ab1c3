/* rewrite.c: a pass over a model's files, some rows at a time, by which others are made of them (il_model_rewrite) or
 * they are only looked at (il_model_scan). */
#include <string.h>

#include "base/error.h"
#include "model/fingerprint.h"
#include "model/model_files.h"
#include "model/origin.h"

enum { PIECE_NUMBERS = 1 << 20 /* that are read at once; at least a panel for each thread */ };

typedef struct rewriting {
    il_engine *engine;
    il_rows *rows;
    const il_tokenizer *tokenizer;
    const char *to;
    il_rewritten *result;
    int only_looks; /* scan, which may be NULL, gets what the writer would */
    il_scan scan;
    void *user;
    il_writer writer;
    XXH3_state_t *hash;
    size_t most;           /* numbers that are read at once */
    float *plain;          /* [most] */
    unsigned char *panels; /* of as many numbers in low precision */
    unsigned char *row;    /* a row of those, as it lies in a file */
    unsigned char *scales; /* of a whole tensor */
} rewriting;

static size_t width_of(const il_table_entry *entry) { return entry->count / entry->shape[0]; }

/* Whole panels, so that no two threads write one. */
static size_t rows_at_once(const rewriting *w, const il_table_entry *entry) {
    return w->most / width_of(entry) / IL_LANES * IL_LANES;
}

/* ---- memory ---- */

static il_status make_room(rewriting *w, il_error *error) {
    const il_model *model = il_rows_model(w->rows);
    const il_allocator *memory = &w->engine->memory;
    size_t threads = (size_t)il_pool_threads(w->engine->pool), widest = 1, panels = 1, row = 1, scales = 1;
    for (size_t i = 0; i < model->table.n; i++)
        if (width_of(&model->table.entries[i]) > widest) widest = width_of(&model->table.entries[i]);
    w->most = widest * IL_LANES * threads > PIECE_NUMBERS ? widest * IL_LANES * threads : PIECE_NUMBERS;
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        if (entry->type == IL_WEIGHTS_F32) continue;
        size_t rows = rows_at_once(w, entry), in = entry->shape[1];
        if (rows > entry->shape[0]) rows = entry->shape[0];
        size_t bytes[] = {il_lp_bytes(entry->type, rows, in), il_lp_row_bytes(entry->type, in),
                          il_lp_row_scales(entry->type, in) * sizeof(float) * entry->shape[0]};
        if (bytes[0] > panels) panels = bytes[0];
        if (bytes[1] > row) row = bytes[1];
        if (bytes[2] > scales) scales = bytes[2];
    }
    w->plain = il_alloc_raw(memory, w->most, sizeof *w->plain);
    w->panels = il_alloc_raw(memory, panels, 1);
    w->row = il_alloc_raw(memory, row, 1);
    w->scales = il_alloc_raw(memory, scales, 1);
    w->hash = il_alloc_raw(memory, 1, sizeof *w->hash);
    if (w->plain && w->panels && w->row && w->scales && w->hash) return IL_OK;
    return il_fail(error, IL_ERR_NOMEM, "out of memory for %zu numbers of a model", w->most);
}

static void free_room(const rewriting *w) {
    void *const blocks[] = {w->plain, w->panels, w->row, w->scales, w->hash};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) il_free(&w->engine->memory, blocks[i]);
}

/* ---- weights ---- */

/* Rows of a tensor, which are in w->plain. */
static il_status look_at(rewriting *w, size_t index, size_t from, size_t n, il_error *error) {
    il_tensor tensor;
    if (!w->scan) return IL_OK;
    IL_TRY(il_model_tensor_at(il_rows_model(w->rows), index, &tensor, error));
    if (w->scan(w->user, index, &tensor, from, n, w->plain) == 0) return IL_OK;
    return il_fail(error, IL_ERR_CANCELLED, "tensor %.150s: the program that looks at it asked to stop", tensor.name);
}

static il_status pass_plain(rewriting *w, size_t tensor, size_t from, size_t n, il_error *error) {
    size_t numbers = n * width_of(&il_rows_model(w->rows)->table.entries[tensor]);
    IL_TRY(il_rows_read(w->rows, tensor, from, n, w->plain, NULL, error));
    XXH3_128bits_update(w->hash, w->plain, numbers * sizeof *w->plain);
    if (w->only_looks) return look_at(w, tensor, from, n, error);
    return il_writer_write(&w->writer, w->plain, numbers * sizeof *w->plain, error);
}

/* Scales go behind all values of a tensor. */
static il_status pass_packed(rewriting *w, size_t tensor, size_t from, size_t n, il_error *error) {
    const il_table_entry *entry = &il_rows_model(w->rows)->table.entries[tensor];
    size_t values = il_lp_row_bytes(entry->type, entry->shape[1]);
    size_t scales = il_lp_row_scales(entry->type, entry->shape[1]) * sizeof(float);
    il_lp_matrix matrix = {entry->type, (int)n, (int)entry->shape[1], w->panels};
    memset(w->panels, 0, il_lp_bytes(entry->type, n, entry->shape[1]));
    IL_TRY(il_rows_read(w->rows, tensor, from, n, NULL, &matrix, error));
    il_fingerprint_rows(w->hash, &matrix);
    if (w->only_looks) {
        for (size_t i = 0; w->scan && i < n; i++) il_lp_get(&matrix, i, w->plain + i * entry->shape[1]);
        return look_at(w, tensor, from, n, error);
    }
    for (size_t i = 0; i < n; i++) {
        il_lp_get_bytes(&matrix, i, w->row, w->scales + (from + i) * scales);
        IL_TRY(il_writer_write(&w->writer, w->row, values, error));
    }
    return IL_OK;
}

static il_status pass_tensor(rewriting *w, size_t tensor, il_error *error) {
    const il_table_entry *entry = &il_rows_model(w->rows)->table.entries[tensor];
    size_t rows = entry->shape[0], at_once = rows_at_once(w, entry);
    il_fingerprint_tensor(w->hash, entry);
    for (size_t from = 0; from < rows; from += at_once) {
        size_t n = rows - from < at_once ? rows - from : at_once;
        IL_TRY(entry->type == IL_WEIGHTS_F32 ? pass_plain(w, tensor, from, n, error)
                                             : pass_packed(w, tensor, from, n, error));
    }
    if (entry->type == IL_WEIGHTS_F32 || w->only_looks) return IL_OK;
    size_t scales = il_lp_row_scales(entry->type, entry->shape[1]) * sizeof(float) * rows;
    return il_writer_write(&w->writer, w->scales, scales, error);
}

static il_status pass(rewriting *w, il_error *error) {
    const il_model *model = il_rows_model(w->rows);
    il_fingerprint_begin(w->hash, model);
    for (size_t i = 0; i < model->table.n; i++) IL_TRY(pass_tensor(w, i, error));
    il_fingerprint_end(w->hash, w->result->fingerprint);
    return IL_OK;
}

/* The fingerprint stands before the tensors of which it is made. */
static il_status write_weights(rewriting *w, const char *path, il_error *error) {
    const il_model *model = il_rows_model(w->rows);
    const il_allocator *memory = &w->engine->memory;
    static const char unknown[] = "00000000000000000000000000000000";
    unsigned char *header;
    size_t bytes, later;
    IL_TRY(il_model_header(model, path, unknown, &header, &bytes, error));
    il_status status = il_writer_open(memory, path, &w->writer, error);
    if (status == IL_OK) status = il_writer_write(&w->writer, header, bytes, error);
    il_free(memory, header);
    IL_TRY(status);
    IL_TRY(pass(w, error));
    IL_TRY(il_model_header(model, path, w->result->fingerprint, &header, &later, error));
    status = il_writer_change(&w->writer, 0, header, later, error); /* as many bytes */
    il_free(memory, header);
    IL_TRY(status);
    return il_writer_finish(&w->writer, error);
}

static il_status write_files(void *user, const char *dir, il_error *error) {
    rewriting *w = user;
    const il_allocator *memory = &w->engine->memory;
    char *path = il_path_join(memory, dir, "model.safetensors");
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    w->writer = (il_writer){.fd = -1, .allocator = memory};
    il_status status = write_weights(w, path, error);
    if (status != IL_OK) il_writer_abandon(&w->writer);
    il_free(memory, path);
    IL_TRY(status);
    return il_model_write_rest(memory, &il_rows_model(w->rows)->config, w->tokenizer, dir, error);
}

/* ---- the whole ---- */

static il_status run(rewriting *w, const char *from, const il_load_options *options, il_rewritten *rewritten,
                     il_error *error) {
    il_origin origin;
    il_rewritten result = {.parameters = 0};
    w->result = &result;
    IL_TRY(il_origin_open(w->engine, from, options, &origin, error));
    il_model *declared = origin.declared;
    origin.declared = NULL;
    il_status status = il_rows_open(declared, origin.path, origin.sources, origin.n, origin.usual, &w->rows, error);
    if (status == IL_OK) status = make_room(w, error);
    if (status == IL_OK && w->only_looks)
        status = pass(w, error);
    else if (status == IL_OK)
        status = il_model_folder_write(w->engine, w->to, w->tokenizer != NULL, write_files, w, error);
    if (status == IL_OK) {
        result.config = il_rows_model(w->rows)->config;
        result.parameters = il_model_parameters(il_rows_model(w->rows));
        if (rewritten) *rewritten = result;
    }
    free_room(w);
    il_rows_close(w->rows);
    il_origin_close(&origin);
    return status;
}

il_status il_model_rewrite(il_engine *engine, const char *from, const il_load_options *options,
                           const il_tokenizer *tokenizer, const char *to, il_rewritten *rewritten, il_error *error) {
    rewriting w = {.engine = engine, .tokenizer = tokenizer, .to = to};
    return run(&w, from, options, rewritten, error);
}

il_status il_model_scan(il_engine *engine, const char *from, const il_load_options *options, il_scan scan, void *user,
                        il_rewritten *found, il_error *error) {
    rewriting w = {.engine = engine, .only_looks = 1, .scan = scan, .user = user};
    return run(&w, from, options, found, error);
}
