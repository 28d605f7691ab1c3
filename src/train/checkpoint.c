/* checkpoint.c: saving and resuming a training run. A checkpoint is a folder step-N that appears whole or not
 * at all; the link `latest` moves only after it is complete. */
#include "base/error.h"
#include "base/file.h"
#include "tensor/safetensors.h"
#include "train/trainer.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1 };

/* ---- what trainer.safetensors holds: m.NAME and v.NAME of every tensor, and lane.I.state, a carried state's block
 * ---- */

static size_t lanes(const il_trainer *t) { return t->gradient.stateful ? (size_t)t->gradient.n_states : 0; }

static il_status save_arrays(const il_trainer *t, const char *path, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    const il_table *table = &t->model->table;
    size_t n = 2 * table->n + lanes(t), name_size = sizeof table->entries->name + 8;
    il_st_item *items = il_alloc(memory, n, sizeof *items);
    char *names = il_alloc(memory, n, name_size);
    il_status status = items && names ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for a checkpoint");
    for (size_t i = 0; i < n && status == IL_OK; i++) {
        char *name = names + i * name_size;
        il_st_item *item = &items[i];
        *item = (il_st_item){.name = name, .dtype = IL_F32, .rank = 1};
        if (i < 2 * table->n) {
            const il_table_entry *e = &table->entries[i / 2];
            snprintf(name, name_size, "%c.%s", i % 2 ? 'v' : 'm', e->name);
            item->shape[0] = e->count;
            item->data = (i % 2 ? t->optimizer.v : t->optimizer.m) + e->offset;
        } else {
            const il_state *state = &t->gradient.states[i - 2 * table->n];
            snprintf(name, name_size, "lane.%zu.state", i - 2 * table->n);
            item->shape[0] = state->block_bytes / sizeof(float);
            item->data = state->block;
        }
    }
    if (status == IL_OK) status = il_st_write(memory, path, items, n, NULL, 0, error);
    il_free(memory, items);
    il_free(memory, names);
    return status;
}

static il_status load_array(const il_st *st, const char *path, const char *name, float *out, size_t count,
                            il_error *error) {
    const il_st_tensor *tensor = il_st_find(st, name);
    if (!tensor) return il_fail(error, IL_ERR_FORMAT, "%s: no tensor %s", path, name);
    if (tensor->dtype != IL_F32 || tensor->count != count)
        return il_fail(error, IL_ERR_MISMATCH, "%s: %s has %zu elements of %s, expected %zu of F32", path, name,
                       tensor->count, il_dtype_name(tensor->dtype), count);
    return il_st_to_f32(tensor, out, error);
}

static il_status load_arrays(il_trainer *t, const char *path, il_error *error) {
    const il_table *table = &t->model->table;
    il_st st;
    IL_TRY(il_st_open(&t->model->engine->memory, path, &st, error));
    il_status status = IL_OK;
    char name[128];
    for (size_t i = 0; i < 2 * table->n && status == IL_OK; i++) {
        const il_table_entry *e = &table->entries[i / 2];
        snprintf(name, sizeof name, "%c.%s", i % 2 ? 'v' : 'm', e->name);
        float *moments = (i % 2 ? t->optimizer.v : t->optimizer.m) + e->offset;
        status = load_array(&st, path, name, moments, e->count, error);
        if (status == IL_OK && !t->model->engine->kernels->all_finite(e->count, moments))
            status = il_fail(error, IL_ERR_NONFINITE, "%s: %s holds a number that is not finite", path, name);
    }
    for (size_t i = 0; i < lanes(t) && status == IL_OK; i++) {
        il_state *state = &t->gradient.states[i];
        snprintf(name, sizeof name, "lane.%zu.state", i);
        status = load_array(&st, path, name, state->block, state->block_bytes / sizeof(float), error);
    }
    il_st_close(&st);
    return status;
}

/* ---- trainer.json: step, cursor, dtype, and what the data must be for the cursor to mean the same ---- */

static json_t *describe_data(const il_trainer *t) {
    const il_data_options *d = il_data_get_options(t->data);
    return json_pack("{s:I,s:I,s:I,s:i,s:i,s:I}", "tokens", (json_int_t)il_data_tokens(t->data), "length",
                     (json_int_t)d->length, "sequences", (json_int_t)d->sequences, "shuffle", d->shuffle, "carry",
                     d->stateful, "seed", (json_int_t)d->seed);
}

static il_status save_progress(const il_trainer *t, const char *path, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    il_cursor cursor;
    il_data_tell(t->data, &cursor);
    json_t *positions = json_array();
    for (size_t i = 0; i < lanes(t); i++)
        json_array_append_new(positions, json_integer((json_int_t)t->gradient.states[i].position));
    json_t *root =
        json_pack("{s:i,s:I,s:I,s:I,s:s,s:o,s:o}", "format", FORMAT, "step", (json_int_t)t->done, "epoch",
                  (json_int_t)cursor.epoch, "batch", (json_int_t)cursor.batch, "dtype",
                  il_weight_type_name(t->options.dtype), "data", describe_data(t), "lane_positions", positions);
    char *text = root ? json_dumps(root, JSON_INDENT(1)) : NULL;
    json_decref(root);
    if (!text) return il_fail(error, IL_ERR_NOMEM, "no memory for %s", path);
    il_status status = il_file_replace(memory, path, text, strlen(text), error);
    free(text);
    return status;
}

static il_status read_integer(const json_t *object, const char *path, const char *key, uint64_t *value,
                              il_error *error) {
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: %s is missing or no whole number", path, key);
    *value = (uint64_t)json_integer_value(v);
    return IL_OK;
}

static il_status check_data(const il_trainer *t, const json_t *saved, const char *path, il_error *error) {
    json_t *mine = describe_data(t);
    if (!mine) return il_fail(error, IL_ERR_NOMEM, "no memory to read %s", path);
    il_status status = IL_OK;
    const char *key;
    json_t *value;
    json_object_foreach(mine, key, value) {
        const json_t *other = json_object_get(saved, key);
        if (json_is_integer(other) && json_integer_value(other) == json_integer_value(value)) continue;
        status = il_fail(error, IL_ERR_MISMATCH, "%s: the run was made with another data setting: %s was %lld, is %lld",
                         path, key, json_integer_value(other), json_integer_value(value));
        break;
    }
    json_decref(mine);
    return status;
}

/* A checkpoint without a dtype is older than the choice: f32. */
static il_status check_dtype(const il_trainer *t, const json_t *root, const char *path, il_error *error) {
    const char *mine = il_weight_type_name(t->options.dtype),
               *saved = json_string_value(json_object_get(root, "dtype"));
    if (!saved) saved = il_weight_type_name(IL_WEIGHTS_F32);
    if (!strcmp(saved, mine)) return IL_OK;
    return il_fail(error, IL_ERR_MISMATCH, "%s: the run was made with dtype %.20s, is %s", path, saved, mine);
}

static il_status load_progress(il_trainer *t, const char *path, uint64_t *step, il_cursor *cursor, il_error *error) {
    json_error_t why;
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!root) return il_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", path, why.line, why.text);
    uint64_t format = 0;
    il_status status = read_integer(root, path, "format", &format, error);
    if (status == IL_OK && format != FORMAT)
        status = il_fail(error, IL_ERR_UNSUPPORTED, "%s: format %llu, this build reads %d", path,
                         (unsigned long long)format, FORMAT);
    if (status == IL_OK) status = check_dtype(t, root, path, error);
    if (status == IL_OK) status = read_integer(root, path, "step", step, error);
    if (status == IL_OK) status = read_integer(root, path, "epoch", &cursor->epoch, error);
    if (status == IL_OK) status = read_integer(root, path, "batch", &cursor->batch, error);
    if (status == IL_OK) status = check_data(t, json_object_get(root, "data"), path, error);
    const json_t *positions = json_object_get(root, "lane_positions");
    if (status == IL_OK && json_array_size(positions) != lanes(t))
        status = il_fail(error, IL_ERR_FORMAT, "%s: lane_positions has %zu entries, expected %zu", path,
                         json_array_size(positions), lanes(t));
    for (size_t i = 0; i < lanes(t) && status == IL_OK; i++) {
        json_int_t position = json_integer_value(json_array_get(positions, i));
        if (position < 0 || position % t->model->config.mini_batch)
            status = il_fail(error, IL_ERR_FORMAT, "%s: lane_positions[%zu] is no multiple of the mini-batch", path, i);
        else
            t->gradient.states[i].position = (uint64_t)position;
    }
    json_decref(root);
    return status;
}

/* ---- the folder ---- */

static void remove_folder(const il_allocator *memory, const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *name = il_path_join(memory, path, entry->d_name);
        if (name) unlink(name);
        il_free(memory, name);
    }
    closedir(dir);
    rmdir(path);
}

/* Calls save or load with dir/name. */
static il_status with_path(const il_trainer *t, const char *dir, const char *name, char **path, il_error *error) {
    *path = il_path_join(&t->model->engine->memory, dir, name);
    return *path ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for a path");
}

static il_status save_into(il_trainer *t, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *arrays = NULL, *progress = NULL;
    il_status status = with_path(t, dir, "trainer.safetensors", &arrays, error);
    if (status == IL_OK) status = with_path(t, dir, "trainer.json", &progress, error);
    if (status == IL_OK) status = il_dir_make(memory, dir, error);
    if (status == IL_OK) status = il_model_save(t->model, dir, error);
    if (status == IL_OK && tokenizer) status = il_tokenizer_save(tokenizer, dir, error);
    if (status == IL_OK) status = save_arrays(t, arrays, error);
    if (status == IL_OK) status = save_progress(t, progress, error);
    il_free(memory, arrays);
    il_free(memory, progress);
    return status;
}

/* Moves the finished folder to its name, over an older one of that name if there is, and then the link. */
static il_status publish(const char *temporary, const char *target, const char *name, const char *link,
                         const char *new_link, il_error *error) {
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, target, RENAME_NOREPLACE) != 0 &&
        (errno != EEXIST || renameat2(AT_FDCWD, temporary, AT_FDCWD, target, RENAME_EXCHANGE) != 0))
        return il_fail_errno(error, IL_ERR_IO, "%s", target);
    unlink(new_link);
    if (symlink(name, new_link) != 0 || rename(new_link, link) != 0) return il_fail_errno(error, IL_ERR_IO, "%s", link);
    return IL_OK;
}

il_status il_trainer_save(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    const il_allocator *memory = &trainer->model->engine->memory;
    char name[48], part[56];
    snprintf(name, sizeof name, "step-%llu", (unsigned long long)trainer->done);
    snprintf(part, sizeof part, "%s.part", name);
    char *temporary = NULL, *target = NULL, *link = NULL, *new_link = NULL;
    il_status status = il_dir_make(memory, dir, error);
    if (status == IL_OK) status = with_path(trainer, dir, part, &temporary, error);
    if (status == IL_OK) status = with_path(trainer, dir, name, &target, error);
    if (status == IL_OK) status = with_path(trainer, dir, "latest", &link, error);
    if (status == IL_OK) status = with_path(trainer, dir, "latest.part", &new_link, error);
    if (status == IL_OK) {
        remove_folder(memory, temporary); /* of a run that was killed */
        status = save_into(trainer, tokenizer, temporary, error);
        if (status == IL_OK) status = publish(temporary, target, name, link, new_link, error);
        remove_folder(memory, temporary); /* after a failure, or the older one that was exchanged */
    }
    il_free(memory, temporary);
    il_free(memory, target);
    il_free(memory, link);
    il_free(memory, new_link);
    return status;
}

static il_status load_weights(il_trainer *t, const char *dir, il_error *error) {
    il_model *saved;
    IL_TRY(il_model_load(t->model->engine, dir, &saved, error));
    char *mine = NULL, *theirs = NULL;
    const il_allocator *memory = &t->model->engine->memory;
    il_status status = il_config_text(memory, &t->model->config, &mine, error);
    if (status == IL_OK) status = il_config_text(memory, &saved->config, &theirs, error);
    if (status == IL_OK && strcmp(mine, theirs) != 0)
        status = il_fail(error, IL_ERR_MISMATCH, "%s: the checkpoint's config is not the model's", dir);
    if (status == IL_OK) {
        memcpy(t->model->weights, saved->weights, t->model->table.floats * sizeof(float));
        t->model->version++;
    }
    il_free(memory, mine);
    il_free(memory, theirs);
    il_model_unref(saved);
    return status;
}

il_status il_trainer_resume(il_trainer *trainer, const char *dir, il_error *error) {
    const il_allocator *memory = &trainer->model->engine->memory;
    char *latest = NULL, *arrays = NULL, *progress = NULL;
    uint64_t step = 0;
    il_cursor cursor = {0};
    il_status status = with_path(trainer, dir, "latest", &latest, error);
    if (status == IL_OK && !il_path_exists(latest))
        status = il_fail(error, IL_ERR_IO, "%s: no checkpoint to resume from", latest);
    if (status == IL_OK) status = with_path(trainer, latest, "trainer.safetensors", &arrays, error);
    if (status == IL_OK) status = with_path(trainer, latest, "trainer.json", &progress, error);
    if (status == IL_OK) status = load_progress(trainer, progress, &step, &cursor, error);
    if (status == IL_OK) status = load_arrays(trainer, arrays, error);
    if (status == IL_OK) status = load_weights(trainer, latest, error);
    if (status == IL_OK) status = il_data_seek(trainer->data, &cursor, error);
    if (status == IL_OK) trainer->done = step;
    il_free(memory, latest);
    il_free(memory, arrays);
    il_free(memory, progress);
    return status;
}
