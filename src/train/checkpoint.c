/* checkpoint.c: saving and resuming a training run. A checkpoint is a folder step-N that appears whole or not at all;
 * the link `latest` moves only after it is complete, and what it led to is removed only after that. A resume changes
 * the trainer once everything is read and checked, by copying that cannot fail. All ranks do either together: rank 0
 * makes the folder, locks it and moves it, and what goes wrong anywhere is everybody's error. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/temporary.h"
#include "model/config_write.h"
#include "model/model_files.h"
#include "tensor/safetensors.h"
#include "text/chat_files.h"
#include "train/arrays.h"
#include "train/progress.h"

enum { NAMES = 10 /* step-N, and where that is taken step-N.1 … */ };

static const char ARRAYS[] = "trainer.safetensors", PROGRESS[] = "trainer.json", LATEST[] = "latest", BEST[] = "best";
static const char *const files[] = {ARRAYS, PROGRESS, IL_MODEL_FILES, IL_CHAT_FILES, NULL};

static il_status no_memory(il_error *error) { return il_fail(error, IL_ERR_NOMEM, "no memory for a checkpoint"); }

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

/* A folder in the place of a link, as copies that follow links have it, could not be replaced. */
static il_status check_link(const il_trainer *t, const char *dir, const char *which, il_error *error) {
    struct stat info;
    char *link = NULL;
    IL_TRY(join(t, dir, which, &link, error));
    il_status status = IL_OK;
    if (lstat(link, &info) == 0 && !S_ISLNK(info.st_mode))
        status = il_fail(error, IL_ERR_IO,
                         "%s: not the link to a checkpoint that belongs there: rename it to step-N (its trainer.json "
                         "says which N) and make the link anew",
                         link);
    il_free(&t->model->engine->memory, link);
    return status;
}

static il_status take_lock(il_trainer *t, const char *dir, il_error *error) {
    char *path = NULL;
    IL_TRY(il_dir_make(&t->model->engine->memory, dir, &t->existed, error));
    IL_TRY(join(t, dir, IL_LOCK_NAME, &path, error));
    il_status status = il_lock_take(&t->model->engine->memory, path, dir, &t->lock, error);
    il_free(&t->model->engine->memory, path);
    if (status != IL_OK) return status;
    il_lock_report(t->model->engine, &t->lock, dir);
    il_temporary_clean(dir, "step-*", files);
    il_temporary_clean(dir, LATEST, NULL);
    il_temporary_clean(dir, BEST, NULL);
    IL_TRY(check_link(t, dir, LATEST, error));
    return check_link(t, dir, BEST, error);
}

il_status il_trainer_lock(il_trainer *t, const char *dir, il_error *error) {
    if (t->locked && strcmp(t->locked, dir) == 0) return IL_OK;
    il_trainer_unlock(t);
    t->locked = il_strdup(&t->model->engine->memory, dir);
    t->existed = strlen(dir);
    il_status status = t->locked ? IL_OK : no_memory(error);
    if (status == IL_OK && t->exchange.rank == 0) status = take_lock(t, dir, error);
    status = il_ranks_agree(il_trainer_ranks(t), status, NULL, error);
    if (status != IL_OK) il_trainer_unlock(t);
    return status;
}

/* What rank 0 writes alone. */
static il_status write_rest(il_trainer *t, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    char *progress = NULL;
    il_status status = join(t, dir, PROGRESS, &progress, error);
    if (status == IL_OK) status = il_progress_save(t, progress, error);
    if (status == IL_OK) status = il_model_write(t->model, tokenizer, dir, error);
    if (status == IL_OK && tokenizer && t->options.chat_files)
        status = il_chat_copy(tokenizer, &t->model->config, t->options.chat_files, dir, error);
    il_free(&t->model->engine->memory, progress);
    return status;
}

/* The places of all carried states, which trainer.json names, reach everybody. */
static il_status gather_positions(il_trainer *t, il_error *error) {
    size_t *at = t->at_sequences;
    if (!il_trainer_carried(t)) return IL_OK;
    for (int i = 0; i < t->own; i++) t->positions[t->first + i] = t->gradient.states[i].position;
    return il_ranks_gather(il_trainer_ranks(t), t->positions, at, error);
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

/* Removes what is older than the checkpoints that are kept. */
static void remove_older(il_trainer *t, const char *dir) {
    char best[48], path[PATH_MAX];
    linked(t, dir, BEST, best);
    for (size_t which = t->options.keep; t->options.keep;) {
        if (il_checkpoint_find(dir, which, path, sizeof path, NULL) != IL_OK) return;
        const char *name = strrchr(path, '/') + 1;
        if (strcmp(name, best) != 0) remove_checkpoint(t, dir, name);
        if (il_path_exists(path)) which++; /* the best, or it holds more than a checkpoint */
    }
}

/* Rank 0: the folder that will be step-N, under a name of its own, and in it the file that all fill. */
static il_status begin_folder(il_trainer *t, const char *dir, il_folder *folder, char arrays[PATH_MAX],
                              il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    struct stat info;
    char name[48], *path = NULL;
    for (int turn = 0; turn < NAMES; turn++) {
        il_free(memory, path);
        step_name(t, turn, name);
        IL_TRY(join(t, dir, name, &path, error));
        if (lstat(path, &info) != 0 || S_ISDIR(info.st_mode)) break; /* not a link that leads out of dir */
    }
    il_status status = il_folder_open(memory, path, files, 0, folder, error);
    il_free(memory, path);
    path = NULL;
    if (status == IL_OK) status = join(t, folder->temporary, ARRAYS, &path, error);
    if (status == IL_OK && snprintf(arrays, PATH_MAX, "%s", path) >= PATH_MAX)
        status = il_fail(error, IL_ERR_IO, "%s: the name is too long", path);
    if (status == IL_OK) status = il_arrays_make(t, path, error);
    il_free(memory, path);
    return status;
}

static il_status save_together(il_trainer *t, const il_tokenizer *tokenizer, const char *dir, int best,
                               il_folder *folder, char name[48], il_error *error) {
    char arrays[PATH_MAX] = "";
    int is_first = t->exchange.rank == 0;
    il_ranks *ranks = il_trainer_ranks(t);
    il_status status = is_first ? begin_folder(t, dir, folder, arrays, error) : IL_OK;
    IL_TRY(il_ranks_agree(ranks, status, NULL, error));
    IL_TRY(il_ranks_tell(ranks, 0, arrays, sizeof arrays, error));
    IL_TRY(gather_positions(t, error));
    status = il_arrays_fill(t, arrays, error);
    if (status == IL_OK && is_first) status = write_rest(t, tokenizer, folder->temporary, error);
    IL_TRY(il_ranks_agree(ranks, status, NULL, error));
    if (is_first) status = publish(t, dir, best, folder, name, error);
    if (is_first && status == IL_OK) remove_older(t, dir);
    return il_ranks_agree(ranks, status, NULL, error);
}

static il_status save(il_trainer *trainer, const il_tokenizer *tokenizer, const char *dir, int best, char name[48],
                      il_error *error) {
    il_folder folder = {.fd = -1, .allocator = &trainer->model->engine->memory};
    il_ranks *ranks = il_trainer_ranks(trainer);
    step_name(trainer, 0, name);
    il_ranks_pause(ranks, 1);
    il_status status = il_trainer_lock(trainer, dir, error);
    if (status == IL_OK) status = save_together(trainer, tokenizer, dir, best, &folder, name, error);
    il_folder_abandon(&folder); /* nothing is left of it but its names, if all went well */
    il_ranks_pause(ranks, 0);
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
    if (trainer->exchange.rank == 0 && drop && *before && strcmp(before, name) != 0)
        remove_checkpoint(trainer, dir, before);
    return IL_OK;
}

/* ---- going on ---- */

/* A checkpoint's name, step-N or step-N.T. */
typedef struct step_key {
    unsigned long long step;
    int turn;
} step_key;

static int parse_step(const char *name, step_key *key) {
    int end = 0;
    *key = (step_key){0, 0};
    if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") > 18) return 0;
    if (sscanf(name, "step-%llu%n", &key->step, &end) == 1 && end && !name[end]) return 1;
    end = 0;
    return sscanf(name, "step-%llu.%1d%n", &key->step, &key->turn, &end) == 2 && end && !name[end];
}

static int is_before(step_key a, step_key b) { return a.step < b.step || (a.step == b.step && a.turn < b.turn); }

/* The newest checkpoint of dir that is older than this one; 0: there is none. */
static int find_before(const char *dir, step_key *key, char name[48]) {
    step_key found = {0, -1}, one;
    DIR *stream = opendir(dir);
    if (!stream) return 0;
    for (struct dirent *entry; (entry = readdir(stream));)
        if (parse_step(entry->d_name, &one) && is_before(one, *key) && is_before(found, one) &&
            strlen(entry->d_name) < 48) {
            found = one;
            memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
        }
    closedir(stream);
    *key = found;
    return found.turn >= 0;
}

il_status il_checkpoint_find(const char *dir, size_t which, char *path, size_t bytes, il_error *error) {
    char target[48] = "", link[PATH_MAX];
    step_key key;
    if (snprintf(link, sizeof link, "%s/%s", dir, LATEST) >= (int)sizeof link)
        return il_fail(error, IL_ERR_IO, "%s: the name is too long", dir);
    if (!il_path_exists(link)) return il_fail(error, IL_ERR_IO, "%s: no checkpoint to resume from", link);
    ssize_t n = readlink(link, target, sizeof target - 1);
    target[n > 0 ? n : 0] = 0;
    int ours = n > 0 && (size_t)n < sizeof target - 1 && parse_step(target, &key);
    if (!which && !ours) memcpy(target, LATEST, sizeof LATEST); /* what else the link leads to */
    for (size_t i = 0; i < which; i++)
        if (!ours || !find_before(dir, &key, target)) return il_fail(error, IL_ERR_END, "%s: no older checkpoint", dir);
    if (snprintf(path, bytes, "%s/%s", dir, target) >= (int)bytes)
        return il_fail(error, IL_ERR_IO, "%s: the name is too long", dir);
    return IL_OK;
}

/* The weights of the checkpoint, checked against the model and against the rest of the checkpoint. */
static il_status load_weights(const il_trainer *t, const char *dir, const il_progress *progress, il_model **saved,
                              int *damaged, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *mine = NULL, *theirs = NULL, fingerprint[33];
    IL_TRY(il_model_load(t->model->engine, dir, saved, error));
    il_status status = il_config_text(memory, &t->model->config, &mine, error);
    if (status == IL_OK) status = il_config_text(memory, &(*saved)->config, &theirs, error);
    if (status == IL_OK && strcmp(mine, theirs) != 0)
        status = il_fail(error, IL_ERR_MISMATCH, "%s: the checkpoint's config is not the model's", dir);
    il_model_fingerprint(*saved, fingerprint);
    *damaged = status == IL_OK && *progress->model && strcmp(progress->model, fingerprint) != 0;
    if (*damaged)
        status = il_fail(error, IL_ERR_MISMATCH, "%s: %s belongs to the weights %s, but those here are %s", dir,
                         PROGRESS, progress->model, fingerprint);
    il_free(memory, mine);
    il_free(memory, theirs);
    if (status == IL_OK) return IL_OK;
    il_model_unref(*saved);
    *saved = NULL;
    return status;
}

/* What a resume has read and checked and not yet taken. */
typedef struct resuming {
    il_progress progress;
    il_model *saved;
    il_st st;
} resuming;

/* *damaged: it is no whole checkpoint, whatever the trainer is. */
static il_status read_checkpoint(il_trainer *t, const char *dir, resuming *r, int *damaged, il_error *error) {
    const il_allocator *memory = &t->model->engine->memory;
    char *arrays = NULL, *progress = NULL;
    il_status status = join(t, dir, ARRAYS, &arrays, error);
    if (status == IL_OK) status = join(t, dir, PROGRESS, &progress, error);
    if (status == IL_OK) status = il_progress_load(t, progress, &r->progress, error);
    if (status == IL_OK) status = load_weights(t, dir, &r->progress, &r->saved, damaged, error);
    if (status == IL_OK) status = il_st_open(memory, arrays, &r->st, error);
    if (status == IL_OK) status = il_arrays_check(t, &r->st, r->progress.positions != NULL, arrays, error);
    il_free(memory, arrays);
    il_free(memory, progress);
    *damaged |= status == IL_ERR_FORMAT || status == IL_ERR_IO || status == IL_ERR_NONFINITE;
    return status;
}

static void take_checkpoint(il_trainer *t, const resuming *r) {
    const il_progress *progress = &r->progress;
    il_arrays_take(t, &r->st, progress->positions != NULL);
    for (int i = 0; progress->positions && i < t->own; i++)
        t->gradient.states[i].position = progress->positions[t->first + i];
    memcpy(t->model->weights, r->saved->weights, t->model->table.floats * sizeof(float));
    t->model->version++;
    t->done = progress->step;
    t->validation = progress->validation;
    t->spikes = progress->spikes;
}

static il_status resume_from(il_trainer *t, const char *dir, int *damaged, il_error *error) {
    resuming r = {.st = {.allocator = &t->model->engine->memory}};
    il_ranks *ranks = il_trainer_ranks(t);
    il_cursor before;
    *damaged = 0;
    il_data_tell(t->data, &before);
    il_status status = read_checkpoint(t, dir, &r, damaged, error);
    status = il_ranks_agree(ranks, status, damaged, error);
    if (status == IL_OK) {
        status = il_data_seek(t->data, &r.progress.cursor, error); /* the last that may fail */
        int moved = status == IL_OK;
        status = il_ranks_agree(ranks, status, NULL, error);
        if (moved && status != IL_OK) il_data_seek(t->data, &before, NULL);
    }
    if (status == IL_OK) take_checkpoint(t, &r);
    il_st_close(&r.st);
    il_model_unref(r.saved);
    il_progress_free(t, &r.progress);
    return status;
}

/* Rank 0 finds it, since file systems do not show everything to all hosts at once. */
static il_status find_together(il_trainer *t, const char *dir, size_t which, char path[PATH_MAX], il_error *error) {
    il_status status = t->exchange.rank ? IL_OK : il_checkpoint_find(dir, which, path, PATH_MAX, error);
    IL_TRY(il_ranks_agree(il_trainer_ranks(t), status, NULL, error));
    return il_ranks_tell(il_trainer_ranks(t), 0, path, PATH_MAX, error);
}

il_status il_trainer_resume(il_trainer *trainer, const char *dir, il_error *error) {
    char path[PATH_MAX] = "";
    il_error first = {IL_OK, ""}, later;
    int damaged;
    IL_TRY(find_together(trainer, dir, 0, path, error));
    il_status status = resume_from(trainer, path, &damaged, &first);
    for (size_t which = 1; status != IL_OK && damaged; which++) {
        if (find_together(trainer, dir, which, path, &later) != IL_OK) break;
        if (resume_from(trainer, path, &damaged, &later) != IL_OK) continue;
        if (!trainer->exchange.rank)
            il_log(trainer->model->engine, IL_LOG_WARN, "%.300s: damaged; going on from %.150s", first.message, path);
        status = IL_OK;
    }
    if (status != IL_OK) return il_fail(error, status, "%.499s", first.message);
    return il_trainer_same(trainer, error);
}
