/* checkpoint.c: saving and resuming a training run. A checkpoint is a folder step-N that appears whole or not at all;
 * the link `latest` moves only after it is complete, and what it led to is removed only after that. A resume changes
 * the trainer once everything is read and checked, by copying that cannot fail. */
#include "train/checkpoint.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/temporary.h"
#include "model/config_write.h"
#include "model/model_files.h"
#include "tensor/safetensors.h"
#include "train/progress.h"

enum { NAMES = 10 /* step-N, and where that is taken step-N.1 … */, SOME = 1024 };

static const char ARRAYS[] = "trainer.safetensors", PROGRESS[] = "trainer.json", LATEST[] = "latest", BEST[] = "best";
static const char *const files[] = {ARRAYS, PROGRESS, IL_MODEL_FILES, NULL};

static il_status no_memory(il_error *error) { return il_fail(error, IL_ERR_NOMEM, "no memory for a checkpoint"); }

/* ---- what trainer.safetensors holds: m.NAME and v.NAME of every tensor, lane.I.state: a carried state's block ---- */

enum { NAME_BYTES = sizeof((il_table_entry *)0)->name + 8 };

static size_t arrays(const il_trainer *t) { return 2 * t->model->table.n + il_trainer_lanes(t); }

/* The i-th array: its name, where it is, and how many numbers it has. */
static float *array_at(const il_trainer *t, size_t i, char name[NAME_BYTES], size_t *count) {
    const il_table *table = &t->model->table;
    if (i < 2 * table->n) {
        const il_table_entry *e = &table->entries[i / 2];
        snprintf(name, NAME_BYTES, "%c.%s", i % 2 ? 'v' : 'm', e->name);
        *count = e->count;
        return (i % 2 ? t->optimizer.v : t->optimizer.m) + e->offset;
    }
    const il_state *state = &t->gradient.states[i - 2 * table->n];
    snprintf(name, NAME_BYTES, "lane.%zu.state", i - 2 * table->n);
    *count = state->block_bytes / sizeof(float);
    return (float *)state->block;
}

static il_status save_arrays(const il_trainer *t, const char *path, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    size_t n = arrays(t);
    il_st_item *items = il_alloc(memory, n, sizeof *items);
    char(*names)[NAME_BYTES] = il_alloc(memory, n, sizeof *names);
    il_status status = items && names ? IL_OK : no_memory(error);
    for (size_t i = 0; i < n && status == IL_OK; i++) {
        items[i] = (il_st_item){.name = names[i], .dtype = IL_F32, .rank = 1};
        items[i].data = array_at(t, i, names[i], &items[i].shape[0]);
    }
    if (status == IL_OK) status = il_st_write(memory, path, items, n, NULL, 0, error);
    il_free(memory, items);
    il_free(memory, names);
    return status;
}

/* In parts, because a file's numbers may not be aligned. */
static int all_finite(const il_trainer *t, const il_st_tensor *tensor) {
    float some[SOME];
    for (size_t i = 0; i < tensor->count; i += SOME) {
        size_t n = tensor->count - i < SOME ? tensor->count - i : SOME;
        memcpy(some, tensor->data + i * sizeof *some, n * sizeof *some);
        if (!t->model->engine->kernels->all_finite(n, some)) return 0;
    }
    return 1;
}

static il_status check_arrays(const il_trainer *t, const il_st *st, size_t n, const char *path, il_error *error) {
    char name[NAME_BYTES];
    size_t count;
    for (size_t i = 0; i < n; i++) {
        array_at(t, i, name, &count);
        const il_st_tensor *tensor = il_st_find(st, name);
        if (!tensor) return il_fail(error, IL_ERR_FORMAT, "%s: no tensor %s", path, name);
        if (tensor->dtype != IL_F32 || tensor->count != count)
            return il_fail(error, IL_ERR_MISMATCH, "%s: %s has %zu elements of %s, expected %zu of F32", path, name,
                           tensor->count, il_dtype_name(tensor->dtype), count);
        if (i < 2 * t->model->table.n && !all_finite(t, tensor))
            return il_fail(error, IL_ERR_NONFINITE, "%s: %s holds a number that is not finite", path, name);
    }
    return IL_OK;
}

static void take_arrays(il_trainer *t, const il_st *st, size_t n) {
    char name[NAME_BYTES];
    size_t count;
    for (size_t i = 0; i < n; i++) {
        float *to = array_at(t, i, name, &count);
        memcpy(to, il_st_find(st, name)->data, count * sizeof *to);
    }
}

/* ---- the run's folder ---- */

/* "dir/name", or an error. */
static il_status join(const il_trainer *t, const char *dir, const char *name, char **path, il_error *error) {
    *path = il_path_join(&t->model->engine->memory, dir, name);
    return *path ? IL_OK : no_memory(error);
}

void il_trainer_unlock(il_trainer *t) {
    const il_allocator *memory = &t->model->engine->memory;
    il_lock_release(&t->lock);
    if (!t->locked) return;
    if (t->existed < strlen(t->locked)) il_dir_unmake(memory, t->locked, t->existed); /* if nothing was saved */
    il_free(memory, t->locked);
    t->locked = NULL;
}

il_status il_trainer_lock(il_trainer *t, const char *dir, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *path = NULL;
    if (t->locked && strcmp(t->locked, dir) == 0) return IL_OK;
    il_trainer_unlock(t);
    t->locked = il_strdup(memory, dir);
    t->existed = strlen(dir);
    il_status status = t->locked ? il_dir_make(memory, dir, &t->existed, error) : no_memory(error);
    if (status == IL_OK) status = join(t, dir, IL_LOCK_NAME, &path, error);
    if (status == IL_OK) status = il_lock_take(memory, path, dir, &t->lock, error);
    il_free(memory, path);
    if (status != IL_OK) {
        il_trainer_unlock(t);
        return status;
    }
    il_lock_report(t->model->engine, &t->lock, dir);
    il_temporary_clean(dir, "step-*", files);
    il_temporary_clean(dir, LATEST, NULL);
    il_temporary_clean(dir, BEST, NULL);
    return IL_OK;
}

static il_status write_files(il_trainer *t, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *path = NULL, *progress = NULL;
    il_status status = join(t, dir, ARRAYS, &path, error);
    if (status == IL_OK) status = join(t, dir, PROGRESS, &progress, error);
    if (status == IL_OK) status = save_arrays(t, path, error);
    if (status == IL_OK) status = il_progress_save(t, progress, error);
    if (status == IL_OK) status = il_model_write(t->model, tokenizer, dir, error);
    il_free(memory, path);
    il_free(memory, progress);
    return status;
}

static void step_name(const il_trainer *t, int turn, char name[48]) {
    int n = snprintf(name, 48, "step-%llu", (unsigned long long)t->done);
    if (turn) snprintf(name + n, 48 - (size_t)n, ".%d", turn);
}

/* Leads the link dir/which to name. */
static il_status move_link(const il_trainer *t, const char *dir, const char *which, const char *name, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *link = NULL;
    IL_TRY(join(t, dir, which, &link, error));
    char *made = il_temporary_name(memory, link);
    il_status status = made ? IL_OK : no_memory(error);
    if (status == IL_OK && (il_file_allowed("symlink", made) || symlink(name, made) != 0)) {
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot make the link", link);
    } else if (status == IL_OK && (il_file_allowed("rename", link) || rename(made, link) != 0)) {
        status = il_fail_errno(error, IL_ERR_IO, "%s: cannot move the link", link);
        unlink(made);
    }
    il_free(memory, made);
    il_free(memory, link);
    return status;
}

/* The checkpoint that the link dir/which leads to; "" when there is none, or it is not one of ours. */
static void linked(const il_trainer *t, const char *dir, const char *which, char name[48]) {
    char *link = il_path_join(&t->model->engine->memory, dir, which);
    ssize_t n = link ? readlink(link, name, 48) : -1;
    il_free(&t->model->engine->memory, link);
    if (n <= 0 || n == 48 || memchr(name, '/', (size_t)n) || strncmp(name, "step-", 5) != 0) n = 0;
    name[n] = 0;
}

static void remove_checkpoint(const il_trainer *t, const char *dir, const char *name) {
    char *path = il_path_join(&t->model->engine->memory, dir, name);
    if (path && il_folder_holds_only(path, files)) il_folder_remove(path, files);
    il_free(&t->model->engine->memory, path);
}

/* Moves the finished folder to the first name that is free, points the links to it, and then removes older folders of
 * the same step. A checkpoint is removed only when the next one is in place. */
static il_status publish(il_trainer *t, const char *dir, int best, il_folder *folder, char name[48], il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *path = NULL, other[48];
    int why = EEXIST, turn = -1;
    IL_TRY(il_dir_sync(folder->temporary, error));
    while (why == EEXIST && turn + 1 < NAMES) {
        step_name(t, ++turn, name);
        il_free(memory, path);
        IL_TRY(join(t, dir, name, &path, error));
        why = il_folder_place(folder, path);
    }
    errno = why;
    il_status kind = why == ENOMEM ? IL_ERR_NOMEM : IL_ERR_IO;
    il_status status = why ? il_fail_errno(error, kind, "%s: cannot make the folder", path) : IL_OK;
    if (status == IL_OK) status = il_dir_sync(dir, error);
    if (status == IL_OK) status = move_link(t, dir, LATEST, name, error);
    if (status == IL_OK && best) status = move_link(t, dir, BEST, name, error);
    if (status == IL_OK) status = il_dir_sync(dir, error);
    il_free(memory, path);
    for (int i = 0; i < NAMES && status == IL_OK; i++) {
        step_name(t, i, other);
        if (i != turn) remove_checkpoint(t, dir, other);
    }
    return status;
}

static il_status save(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, int best, char name[48],
                      il_error *error) {
    const il_allocator *memory = &trainer->model->engine->memory;
    char *path = NULL;
    il_folder folder;
    IL_TRY(il_trainer_lock(trainer, dir, error));
    step_name(trainer, 0, name);
    IL_TRY(join(trainer, dir, name, &path, error));
    il_status status = il_folder_open(memory, path, files, 0, &folder, error);
    if (status == IL_OK) status = write_files(trainer, tokenizer, folder.temporary, error);
    if (status == IL_OK) status = publish(trainer, dir, best, &folder, name, error);
    il_folder_abandon(&folder); /* nothing is left of it but its names, if all went well */
    il_free(memory, path);
    return status;
}

il_status il_trainer_save(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    char name[48];
    return save(trainer, tokenizer, dir, 0, name, error);
}

il_status il_trainer_save_best(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, int drop,
                               il_error *error) {
    char name[48], before[48];
    linked(trainer, dir, BEST, before);
    IL_TRY(save(trainer, tokenizer, dir, 1, name, error));
    if (drop && *before && strcmp(before, name) != 0) remove_checkpoint(trainer, dir, before);
    return IL_OK;
}

/* ---- going on ---- */

/* The folder that latest leads to, by its own name: the link may move while it is read. */
static il_status find_latest(const il_trainer *t, const char *dir, char **found, il_error *error) {
    char name[256], *link;
    IL_TRY(join(t, dir, LATEST, &link, error));
    if (!il_path_exists(link)) {
        il_status status = il_fail(error, IL_ERR_IO, "%s: no checkpoint to resume from", link);
        il_free(&t->model->engine->memory, link);
        return status;
    }
    ssize_t n = readlink(link, name, sizeof name - 1);
    *found = link;
    if (n <= 0 || (size_t)n == sizeof name - 1 || memchr(name, '/', (size_t)n)) return IL_OK; /* not one of ours */
    name[n] = 0;
    il_free(&t->model->engine->memory, link);
    return join(t, dir, name, found, error);
}

/* The weights of the checkpoint, checked against the model and against the rest of the checkpoint. */
static il_status load_weights(const il_trainer *t, const char *dir, const il_progress *progress, il_model **saved,
                              il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *mine = NULL, *theirs = NULL, fingerprint[33];
    IL_TRY(il_model_load(t->model->engine, dir, saved, error));
    il_status status = il_config_text(memory, &t->model->config, &mine, error);
    if (status == IL_OK) status = il_config_text(memory, &(*saved)->config, &theirs, error);
    if (status == IL_OK && strcmp(mine, theirs) != 0)
        status = il_fail(error, IL_ERR_MISMATCH, "%s: the checkpoint's config is not the model's", dir);
    il_model_fingerprint(*saved, fingerprint);
    if (status == IL_OK && *progress->model && strcmp(progress->model, fingerprint) != 0)
        status = il_fail(error, IL_ERR_MISMATCH, "%s: %s belongs to the weights %s, but those here are %s", dir,
                         PROGRESS, progress->model, fingerprint);
    il_free(memory, mine);
    il_free(memory, theirs);
    if (status == IL_OK) return IL_OK;
    il_model_unref(*saved);
    *saved = NULL;
    return status;
}

static il_status resume_from(il_trainer *t, const char *dir, const char *arrays_path, const char *progress_path,
                             il_error *error) {
    il_progress progress;
    il_model *saved = NULL;
    il_st st = {.allocator = &t->model->engine->memory};
    IL_TRY(il_progress_load(t, progress_path, &progress, error));
    size_t n = progress.positions ? arrays(t) : 2 * t->model->table.n;
    il_status status = load_weights(t, dir, &progress, &saved, error);
    if (status == IL_OK) status = il_st_open(&t->model->engine->memory, arrays_path, &st, error);
    if (status == IL_OK) status = check_arrays(t, &st, n, arrays_path, error);
    if (status == IL_OK) status = il_data_seek(t->data, &progress.cursor, error); /* the last that may fail */
    if (status == IL_OK) {
        take_arrays(t, &st, n);
        for (size_t i = 0; progress.positions && i < il_trainer_lanes(t); i++)
            t->gradient.states[i].position = progress.positions[i];
        memcpy(t->model->weights, saved->weights, t->model->table.floats * sizeof(float));
        t->model->version++;
        t->done = progress.step;
        t->validation = progress.validation;
    }
    il_st_close(&st);
    il_model_unref(saved);
    il_progress_free(t, &progress);
    return status;
}

il_status il_trainer_resume(il_trainer *trainer, const char *dir, il_error *error) {
    const il_allocator *memory = &trainer->model->engine->memory;
    char *latest = NULL, *path = NULL, *progress = NULL;
    il_status status = find_latest(trainer, dir, &latest, error);
    if (status == IL_OK) status = join(trainer, latest, ARRAYS, &path, error);
    if (status == IL_OK) status = join(trainer, latest, PROGRESS, &progress, error);
    if (status == IL_OK) status = resume_from(trainer, latest, path, progress, error);
    il_free(memory, latest);
    il_free(memory, path);
    il_free(memory, progress);
    return status;
}
