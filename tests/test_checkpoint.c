/* test_checkpoint.c: checkpoints. Interrupted and resumed, killed and resumed runs equal the uninterrupted one bit for
 * bit; whatever fails, the last good checkpoint stays and a trainer is as it was; one run a folder. */
#include "support_test.h"

#include "support_engine.h"
#include "support_fault.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_train.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STEPS = SUPPORT_TRAIN_STEPS,
    LENGTH = SUPPORT_TRAIN_LENGTH,
    SEQUENCES = SUPPORT_TRAIN_SEQUENCES,
    VOCAB = SUPPORT_TRAIN_VOCAB
};

static const il_mixer_kind mixers[] = {IL_MIXER_TTT_LINEAR, IL_MIXER_TTT_LINEAR_DECAY, IL_MIXER_TTT_MLP,
                                       IL_MIXER_GATED_DELTA, IL_MIXER_SELF_ATTENTION};
enum { MIXERS = sizeof mixers / sizeof *mixers, RECURRENT = MIXERS - 1 };

static void a_resumed_run_is_the_uninterrupted_one(void **unused) {
    (void)unused;
    il_error error;
    for (int stateful = 0; stateful < 2; stateful++)
        for (size_t i = 0; i < (stateful ? RECURRENT : MIXERS); i++) {
            char *folder = support_folder_make();
            char out[512];
            snprintf(out, sizeof out, "%s", support_path(folder, "out"));
            const char *shard = support_train_shard(folder);
            support_training whole, part;
            support_training_open(&whole, shard, mixers[i], 2, stateful);
            support_train_steps(whole.trainer, STEPS);
            support_training_open(&part, shard, mixers[i], 1, stateful);
            support_train_steps(part.trainer, 7);
            assert_ok(il_trainer_save(part.trainer, NULL, out, &error), error);
            assert_ok(il_trainer_save(part.trainer, NULL, out, &error), error); /* again, over itself */
            support_train_steps(part.trainer, 3);                               /* not saved: done again below */
            support_training_close(&part);
            support_training_open(&part, shard, mixers[i], 2, stateful);
            assert_ok(il_trainer_resume(part.trainer, out, &error), error);
            assert_int_equal(il_trainer_steps_done(part.trainer), 7);
            support_train_steps(part.trainer, STEPS - 7);
            support_training_same(&whole, &part);
            il_step step;
            assert_fails(il_trainer_step(part.trainer, &step, &error), IL_ERR_END, error, "all 20 steps");
            /* a checkpoint is a model directory */
            il_model *model;
            assert_ok(il_trainer_save(part.trainer, NULL, out, &error), error);
            char latest[600];
            snprintf(latest, sizeof latest, "%s/latest", out);
            assert_ok(il_model_load(part.engine, latest, &model, &error), error);
            assert_memory_equal(model->weights, part.model->weights, model->table.floats * sizeof(float));
            il_model_unref(model);
            assert_int_equal(support_folder_count(out),
                             4); /* step-7, step-20, latest, the lock: nothing half-written */
            support_training_close(&part);
            support_training_close(&whole);
            support_folder_remove(folder);
        }
}

/* Killed at any moment of training and saving, the last checkpoint is whole and leads to the same weights. */
static void a_killed_run_resumes(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    char out[512], latest[600];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    snprintf(latest, sizeof latest, "%s/latest", out);
    const char *shard = support_train_shard(folder);
    support_training whole;
    support_training_open(&whole, shard, mixers[0], 1, 0);
    support_train_steps(whole.trainer, STEPS);
    int kills = 0;
    for (int life = 0;; life++) {
        pid_t child = fork();
        if (child == 0) {
            support_training r;
            support_training_open(&r, shard, mixers[0], 1, 0);
            if (access(latest, F_OK) == 0 && il_trainer_resume(r.trainer, out, NULL) != IL_OK) _exit(3);
            il_step step;
            while (il_trainer_steps_done(r.trainer) < STEPS) {
                if (il_trainer_step(r.trainer, &step, NULL) != IL_OK) _exit(4);
                if (il_trainer_save(r.trainer, NULL, out, NULL) != IL_OK) _exit(5);
            }
            _exit(0);
        }
        assert_true(child > 0);
        usleep(20000 + 3000 * (useconds_t)lively_random(2, (uint64_t)life, 40) + (useconds_t)life * 10000);
        kill(child, SIGKILL);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        kills++;
        assert_true(life < 200);
    }
    print_message("killed %d times\n", kills);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    il_error error;
    assert_ok(il_trainer_resume(r.trainer, out, &error), error);
    support_training_same(&whole, &r);
    support_training_close(&r);
    support_training_close(&whole);
    support_folder_remove(folder);
}

/* Everything of a trainer that a resume may change. */
typedef struct {
    float *values; /* weights, m, v, and the blocks of carried states */
    size_t n;
    uint64_t done, positions[SEQUENCES];
    il_cursor cursor;
} snapshot;

static snapshot take_snapshot(const support_training *r) {
    const il_trainer *t = r->trainer;
    size_t floats = t->model->table.floats, block = t->gradient.stateful ? t->gradient.states[0].block_bytes : 0;
    snapshot s = {.n = 3 * floats + SEQUENCES * block / sizeof(float), .done = t->done};
    s.values = malloc(s.n * sizeof(float));
    assert_non_null(s.values);
    memcpy(s.values, t->model->weights, floats * sizeof(float));
    memcpy(s.values + floats, t->optimizer.m, floats * sizeof(float));
    memcpy(s.values + 2 * floats, t->optimizer.v, floats * sizeof(float));
    for (size_t i = 0; block && i < SEQUENCES; i++) {
        memcpy(s.values + 3 * floats + i * block / sizeof(float), t->gradient.states[i].block, block);
        s.positions[i] = t->gradient.states[i].position;
    }
    il_data_tell(r->data, &s.cursor);
    return s;
}

static int same_snapshot(const snapshot *a, const snapshot *b) {
    return a->n == b->n && !memcmp(a->values, b->values, a->n * sizeof(float)) && a->done == b->done &&
           !memcmp(a->positions, b->positions, sizeof a->positions) && a->cursor.epoch == b->cursor.epoch &&
           a->cursor.batch == b->cursor.batch;
}

/* A run of counted memory that resumes from what another one saved. */
typedef struct {
    support_training *r;
    const char *out;
} resuming;

static il_status resume_again(const il_allocator *allocator, void *context, il_error *error) {
    const resuming *what = context;
    (void)allocator; /* the engine's own */
    snapshot before = take_snapshot(what->r);
    il_status status = il_trainer_resume(what->r->trainer, what->out, error);
    snapshot after = take_snapshot(what->r);
    if (status != IL_OK) assert_true(same_snapshot(&before, &after));
    free(before.values);
    free(after.values);
    return status;
}

/* Whatever fails, the trainer goes on as if it had not been asked. */
static void a_failed_resume_changes_nothing(void **unused) {
    (void)unused;
    il_error error;
    static const char *const files[] = {"trainer.json", "trainer.safetensors", "model.safetensors", "config.json"};
    for (int stateful = 0; stateful < 2; stateful++) {
        char *folder = support_folder_make(), out[512], path[700];
        snprintf(out, sizeof out, "%s", support_path(folder, "out"));
        const char *shard = support_train_shard(folder);
        support_training other, r;
        support_training_open(&other, shard, mixers[0], 1, stateful);
        support_train_steps(other.trainer, 4);
        assert_ok(il_trainer_save(other.trainer, NULL, out, &error), error);
        support_training_open(&r, shard, mixers[0], 1, stateful);
        support_train_steps(r.trainer, 2);
        snapshot before = take_snapshot(&r), after;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
            size_t bytes;
            snprintf(path, sizeof path, "%s/latest/%s", out, files[i]);
            char *good = support_read(path, &bytes);
            support_write(path, good, bytes - 3);
            assert_int_not_equal(il_trainer_resume(r.trainer, out, &error), IL_OK);
            after = take_snapshot(&r);
            assert_true(same_snapshot(&before, &after));
            free(after.values);
            support_write(path, good, bytes);
            free(good);
        }
        /* weights that belong to another step are no damage that a file shows by itself */
        char mixed[700];
        snprintf(path, sizeof path, "%s/latest/model.safetensors", out);
        snprintf(mixed, sizeof mixed, "%s/mixed", folder);
        assert_ok(il_model_save(r.model, mixed, &error), error);
        assert_int_equal(rename(support_path(mixed, "model.safetensors"), path), 0);
        assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_MISMATCH, error, "belongs to the weights");
        after = take_snapshot(&r);
        assert_true(same_snapshot(&before, &after));
        free(after.values);
        assert_ok(il_trainer_save(other.trainer, NULL, out, &error), error);
        assert_ok(il_trainer_resume(r.trainer, out, &error), error);
        support_training_same(&r, &other);
        free(before.values);
        support_training_close(&r);
        support_training_close(&other);
        support_folder_remove(folder);
    }
}

static void a_resume_short_of_memory_changes_nothing(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_alloc alloc;
    support_training other, r;
    support_training_open(&other, shard, mixers[0], 1, 1);
    support_train_steps(other.trainer, 4);
    assert_ok(il_trainer_save(other.trainer, NULL, out, &error), error);
    support_training_open_on(&r, support_engine(1, &alloc), shard, mixers[0], 1);
    resuming what = {&r, out};
    assert_true(support_alloc_fail_each(&alloc, resume_again, &what) > 10);
    support_training_same(&r, &other);
    support_training_close(&r);
    support_training_close(&other);
    support_folder_remove(folder);
}

/* A file system whose rename takes no flags: FUSE, NFS. A step may be saved twice; the last checkpoint is always there.
 */
static void checkpoints_where_folders_are_not_exchanged(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_training a, b;
    support_training_open(&a, shard, mixers[0], 1, 0);
    support_fault_on("renameat2", EINVAL);
    support_train_steps(a.trainer, 2);
    for (int times = 0; times < 4; times++) {
        assert_ok(il_trainer_save(a.trainer, NULL, out, &error), error);
        assert_int_equal(support_folder_count(out), 3); /* a step, latest, the lock */
        assert_int_equal(support_exists(support_path(out, "step-2")), times % 2 == 0);
        assert_int_equal(support_exists(support_path(out, "step-2.1")), times % 2);
        support_training_open(&b, shard, mixers[0], 1, 0);
        assert_ok(il_trainer_resume(b.trainer, out, &error), error);
        support_training_same(&a, &b);
        support_training_close(&b);
    }
    support_fault_end();
    support_write(support_path(out, "step-2.1/notes"), "mine", 4); /* a folder with somebody's file is let be */
    assert_ok(il_trainer_save(a.trainer, NULL, out, &error), error);
    assert_true(support_exists(support_path(out, "step-2/config.json")));
    assert_true(support_exists(support_path(out, "step-2.1/notes")));
    support_training_close(&a);
    assert_int_equal(support_folder_count(out), 3); /* the lock is gone */
    support_folder_remove(folder);
}

/* A step's folder may be a link, to where there is more room: it is never written through. A folder in the place of
 * `latest` would be found in the way after hours, and is refused before the first step. */
static void links_and_folders_in_each_others_place(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512], latest[600], step[600];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    snprintf(latest, sizeof latest, "%s/latest", out);
    snprintf(step, sizeof step, "%s/step-2", out);
    const char *shard = support_train_shard(folder);
    support_training a, b;
    support_training_open(&a, shard, mixers[0], 1, 0);
    support_train_steps(a.trainer, 2);
    assert_ok(il_trainer_save(a.trainer, NULL, out, &error), error);
    assert_int_equal(rename(step, support_path(folder, "elsewhere")), 0);
    assert_int_equal(symlink("../elsewhere", step), 0);
    support_training_open(&b, shard, mixers[0], 1, 0);
    assert_ok(il_trainer_resume(b.trainer, out, &error), error);
    support_training_same(&a, &b);
    assert_ok(il_trainer_save(a.trainer, NULL, out, &error), error);
    assert_true(support_exists(support_path(out, "step-2.1")) && support_exists(step));
    assert_int_equal(support_folder_count(support_path(folder, "elsewhere")), 5);
    assert_int_equal(support_folder_count(folder), 3); /* nothing half-written beside it; the shard */
    support_training_close(&a);
    assert_int_equal(unlink(latest), 0);
    assert_int_equal(rename(support_path(out, "step-2.1"), latest), 0);
    assert_ok(il_trainer_resume(b.trainer, out, &error), error);
    assert_fails(il_trainer_lock(b.trainer, out, &error), IL_ERR_IO, error, "latest: not the link to a checkpoint");
    support_training_close(&b);
    assert_int_equal(support_folder_count(out), 2); /* the lock is gone */
    support_folder_remove(folder);
}

/* Killed before any system call of saving, the run resumes with the one checkpoint or the other; the next one removes
 * what is left. `same`: the step is saved once more. */
static void a_save_killed_at_every_call(void **unused) {
    (void)unused;
    il_error error;
    for (int how = 0; how < 4; how++) {
        int same = how & 1, flags = how >> 1;
        long n = 1;
        for (int killed = 1; killed; n++) {
            char *folder = support_folder_make(), out[512];
            snprintf(out, sizeof out, "%s", support_path(folder, "out"));
            const char *shard = support_train_shard(folder);
            support_training r;
            pid_t child = fork();
            if (child == 0) {
                support_training_open(&r, shard, mixers[3], 1, 0);
                if (flags) support_fault_on("renameat2", EINVAL);
                il_step step;
                if (il_trainer_step(r.trainer, &step, NULL) || il_trainer_save(r.trainer, NULL, out, NULL)) _exit(1);
                if (!same && il_trainer_step(r.trainer, &step, NULL)) _exit(2);
                support_fault_kill_at(n);
                _exit(il_trainer_save(r.trainer, NULL, out, NULL) ? 3 : 0);
            }
            killed = support_fault_killed(child);
            support_training_open(&r, shard, mixers[3], 1, 0);
            assert_ok(il_trainer_resume(r.trainer, out, &error), error);
            uint64_t done = il_trainer_steps_done(r.trainer);
            assert_true(done == 1 || (done == 2 && !same));
            if (!killed) assert_int_equal(done, same ? 1 : 2);
            support_train_steps(r.trainer, 2 - (int)done);
            assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
            support_training_close(&r);
            /* step-1 under one or two names, step-2, latest */
            assert_in_range(support_folder_count(out), 3, 4);
            assert_true(support_exists(support_path(out, "step-2")) || support_exists(support_path(out, "step-2.1")));
            support_folder_remove(folder);
        }
        assert_true(n > 20);
    }
}

static void two_runs_do_not_share_a_folder(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512], holder[100];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_training a, b;
    support_training_open(&a, shard, mixers[0], 1, 0);
    assert_ok(il_trainer_lock(a.trainer, out, &error), error);
    assert_ok(il_trainer_lock(a.trainer, out, &error), error); /* its own */
    snprintf(holder, sizeof holder, "out: is in use by process %ld on ", (long)getpid());
    support_training_open(&b, shard, mixers[0], 1, 0);
    assert_fails(il_trainer_lock(b.trainer, out, &error), IL_ERR_IO, error, holder);
    assert_fails(il_trainer_save(b.trainer, NULL, out, &error), IL_ERR_IO, error, holder);
    assert_fails(il_model_save(b.model, out, &error), IL_ERR_IO, error, holder);
    assert_int_equal(support_folder_count(out), 1);
    support_training_close(&a);
    assert_false(support_exists(out)); /* made for nothing */
    assert_ok(il_trainer_save(b.trainer, NULL, out, &error), error);
    assert_ok(il_trainer_lock(b.trainer, folder, &error), error); /* one at a time */
    assert_int_equal(support_folder_count(out), 2);
    support_training_close(&b);
    assert_int_equal(support_folder_count(folder), 2);
    support_folder_remove(folder);
}

typedef struct {
    int lines;
    char text[4][500];
} kept_log;

static void keep_line(void *user, il_log_level level, const char *line) {
    kept_log *log = user;
    (void)level;
    snprintf(log->text[log->lines++ % 4], sizeof log->text[0], "%s", line);
}

static void a_file_system_without_locks_is_told_once(void **unused) {
    (void)unused;
    il_error error;
    kept_log log = {0};
    char *folder = support_folder_make(), out[512];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    r.engine->log = keep_line;
    r.engine->log_user = &log;
    support_fault_on("flock", ENOLCK);
    assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
    assert_ok(il_trainer_save(r.trainer, NULL, folder, &error), error);
    support_fault_end();
    assert_int_equal(log.lines, 1);
    assert_non_null(strstr(log.text[0], "no locks (No locks available)"));
    support_training_close(&r);
    support_folder_remove(folder);
}

/* Opens a trainer like r's, changed, over the data of this shard; resumes; closes it. */
static il_status resume_changed(support_training *r, const char *shard, void (*change)(il_trainer_options *),
                                int anyway, const char *out, il_cursor *cursor, il_error *error) {
    il_trainer_options options = r->trainer->options;
    il_data_options d = *il_data_get_options(r->data);
    il_data *data;
    il_trainer *trainer;
    if (change) change(&options);
    options.resume_with_changes = anyway;
    assert_ok(il_data_open(r->engine, &shard, 1, NULL, VOCAB, &d, &data, error), *error);
    assert_ok(il_trainer_open(r->model, data, &options, &trainer, error), *error);
    il_status status = il_trainer_resume(trainer, out, error);
    il_data_tell(data, cursor);
    if (status == IL_OK) assert_int_equal(il_trainer_steps_done(trainer), 3);
    if (status == IL_OK) support_train_steps(trainer, 1);
    il_trainer_close(trainer);
    il_data_close(data);
    return status;
}

static void change_lr(il_trainer_options *o) { o->lr = 2e-2; }
static void change_steps(il_trainer_options *o) { o->steps = 30; }
static void change_warmup(il_trainer_options *o) { o->warmup = 7; }
static void change_beta(il_trainer_options *o) { o->beta2 = 0.99; }
static void change_inner(il_trainer_options *o) { o->inner_lr_start = 0.5; }

static void other_data_and_options_are_named(void **unused) {
    (void)unused;
    il_error error;
    kept_log log = {0};
    il_cursor cursor;
    const struct {
        void (*change)(il_trainer_options *);
        const char *says;
    } cases[] = {{change_lr, "lr was 0.01, is 0.02"},
                 {change_steps, "steps was 20, is 30"},
                 {change_warmup, "warmup was 2, is 7"},
                 {change_beta, "beta2 was 0.95, is 0.99"},
                 {change_inner, "inner_lr_start was 1, is 0.5"}};
    for (int stateful = 0; stateful < 2; stateful++) {
        char *folder = support_folder_make(), out[512], shard[512], other[512], path[700];
        snprintf(out, sizeof out, "%s", support_path(folder, "out"));
        snprintf(shard, sizeof shard, "%s", support_train_shard(folder));
        snprintf(other, sizeof other, "%s/other.bin", folder);
        size_t bytes;
        char *tokens = support_read(shard, &bytes);
        tokens[bytes - 2] ^= 1; /* as many of them, and one is another */
        support_write(other, tokens, bytes);
        free(tokens);
        support_training r;
        support_training_open(&r, shard, mixers[0], 1, stateful);
        r.engine->log = keep_line;
        r.engine->log_user = &log;
        support_train_steps(r.trainer, 3);
        assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            assert_int_equal(resume_changed(&r, shard, cases[i].change, 0, out, &cursor, &error), IL_ERR_MISMATCH);
            if (!strstr(error.message, cases[i].says)) fail_msg("%s: not %s", error.message, cases[i].says);
            assert_ok(resume_changed(&r, shard, cases[i].change, 1, out, &cursor, &error), error);
            assert_non_null(strstr(log.text[(log.lines - 1) % 4], cases[i].says));
            assert_int_equal(cursor.batch, 3); /* the data are the same: no place in them is lost */
        }
        assert_int_equal(resume_changed(&r, other, NULL, 0, out, &cursor, &error), IL_ERR_MISMATCH);
        assert_non_null(strstr(error.message, "data fingerprint was "));
        assert_ok(resume_changed(&r, other, NULL, 1, out, &cursor, &error), error);
        assert_int_equal(cursor.batch, 0);
        assert_non_null(strstr(log.text[(log.lines - 1) % 4], "read from their beginning"));
        assert_ok(resume_changed(&r, shard, NULL, 0, out, &cursor, &error), error);

        /* from before options were kept: as it was, and said */
        snprintf(path, sizeof path, "%s/latest/trainer.json", out);
        char *text = support_read(path, &bytes), *at = strstr(text, "\"options\"");
        memcpy(at, "\"ignored\"", 9);
        at = strstr(text, "\"fingerprint\"");
        memcpy(at, "\"nothing____\"", 13);
        support_write(path, text, bytes);
        free(text);
        int lines = log.lines;
        assert_ok(resume_changed(&r, other, change_lr, 0, out, &cursor, &error), error);
        assert_int_equal(log.lines, lines + 1);
        assert_non_null(strstr(log.text[lines % 4], "older than the record"));
        assert_int_equal(cursor.batch, 3);
        support_training_close(&r);
        support_folder_remove(folder);
    }
}

/* What stands where trainer.json should: read within bounds, or not at all. */
static void progress_that_is_no_file_of_ours(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512], path[700];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
    snprintf(path, sizeof path, "%s/latest/trainer.json", out);
    size_t bytes = (1 << 20) + 1;
    char *large = malloc(bytes);
    assert_non_null(large);
    memset(large, ' ', bytes);
    support_write(path, large, bytes);
    free(large);
    assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_UNSUPPORTED, error, "more than 1 MiB are not read");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes */
    assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_IO, error, "pipe");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_IO, error, "a folder");
    support_training_close(&r);
    support_folder_remove(folder);
}

static void assert_validation(const il_trainer *trainer, double loss, uint64_t step, uint64_t worse) {
    il_validation v;
    il_trainer_get_validation(trainer, &v);
    assert_true(isnan(loss) ? isnan(v.best_loss) : v.best_loss == loss);
    assert_int_equal(v.best_step, step);
    assert_int_equal(v.worse, worse);
}

/* The link to the best moves only to a better one; what it led to goes if asked; a resumed run knows what was found. */
static void the_best_checkpoint_is_kept(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make(), out[512], link[600], name[64];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    snprintf(link, sizeof link, "%s/best", out);
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    assert_validation(r.trainer, NAN, 0, 0);
    static const struct {
        double loss;
        int drop;
        const char *best, *gone, *there; /* after it */
    } found[] = {{NAN, 0, NULL, NULL, NULL},       {3, 0, "step-2", NULL, NULL},     {4, 0, "step-2", NULL, NULL},
                 {2, 1, "step-4", "step-2", NULL}, {1, 0, "step-5", NULL, "step-4"}, {1, 0, "step-5", NULL, "step-6"}};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        support_train_steps(r.trainer, 1);
        il_trainer_validated(r.trainer, found[i].loss);
        il_validation v;
        il_trainer_get_validation(r.trainer, &v);
        if (found[i].best && !v.worse)
            assert_ok(il_trainer_save_best(r.trainer, NULL, out, found[i].drop, &error), error);
        else
            assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
        ssize_t n = readlink(link, name, sizeof name - 1);
        assert_int_equal(n > 0, found[i].best != NULL);
        if (n > 0) name[n] = 0, assert_string_equal(name, found[i].best);
        char path[600];
        if (found[i].gone)
            assert_false(support_exists((snprintf(path, sizeof path, "%s/%s", out, found[i].gone), path)));
        if (found[i].there)
            assert_true(support_exists((snprintf(path, sizeof path, "%s/%s", out, found[i].there), path)));
    }
    assert_validation(r.trainer, 1, 5, 1);
    support_training_close(&r);
    support_training_open(&r, shard, mixers[0], 1, 0);
    assert_ok(il_trainer_resume(r.trainer, out, &error), error);
    assert_validation(r.trainer, 1, 5, 1);
    /* a link that leads elsewhere is moved, and nothing there is touched */
    const char *elsewhere = support_path(folder, "step-elsewhere");
    assert_int_equal(mkdir(elsewhere, 0700), 0);
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("../step-elsewhere", link), 0);
    assert_ok(il_trainer_save_best(r.trainer, NULL, out, 1, &error), error);
    assert_true(support_exists(elsewhere));
    support_training_close(&r);
    support_folder_remove(folder);
}

static void damaged_checkpoints_are_refused(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    char out[512], path[700];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_IO, error, "no checkpoint");
    support_train_steps(r.trainer, 2);
    il_trainer_validated(r.trainer, 1.5);
    assert_ok(il_trainer_save(r.trainer, NULL, out, &error), error);
    snprintf(path, sizeof path, "%s/latest/trainer.json", out);
    size_t bytes;
    char *good = support_read(path, &bytes);
    struct {
        const char *from, *to, *message;
        il_status status;
    } cases[] = {{"\"step\"", "\"stop\"", "step is missing", IL_ERR_FORMAT},
                 {"\"format\": 1", "\"format\": 9", "format 9", IL_ERR_UNSUPPORTED},
                 {"\"best_loss\": 1.5", "\"best_loss\": true", "best_loss is missing", IL_ERR_FORMAT},
                 {"\"best_step\": 2", "\"best_step\": -2", "best_step is missing", IL_ERR_FORMAT},
                 {"\"worse\": 0", "\"worse\": \"0\"", "worse is missing", IL_ERR_FORMAT},
                 {"\"length\": 32", "\"length\": 64", "length was 64", IL_ERR_MISMATCH},
                 {"{", "", "line", IL_ERR_FORMAT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *at = strstr(good, cases[i].from), text[4096];
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, cases[i].to, at + strlen(cases[i].from));
        support_write(path, text, strlen(text));
        assert_fails(il_trainer_resume(r.trainer, out, &error), cases[i].status, error, cases[i].message);
    }
    support_write(path, good, bytes);
    free(good);
    assert_ok(il_trainer_resume(r.trainer, out, &error), error);
    snprintf(path, sizeof path, "%s/latest/trainer.safetensors", out);
    good = support_read(path, &bytes);
    support_write(path, good, bytes / 2);
    assert_int_equal(il_trainer_resume(r.trainer, out, &error), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "trainer.safetensors"));
    const float none = NAN;
    memcpy(good + bytes - sizeof none, &none, sizeof none);
    support_write(path, good, bytes);
    assert_fails(il_trainer_resume(r.trainer, out, &error), IL_ERR_NONFINITE, error, "trainer.safetensors: v.");
    free(good);
    support_training_close(&r);
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_run_is_the_uninterrupted_one),
        cmocka_unit_test(the_best_checkpoint_is_kept),
        cmocka_unit_test(a_killed_run_resumes),
        cmocka_unit_test(damaged_checkpoints_are_refused),
        cmocka_unit_test(a_failed_resume_changes_nothing),
        cmocka_unit_test(a_resume_short_of_memory_changes_nothing),
        cmocka_unit_test(checkpoints_where_folders_are_not_exchanged),
        cmocka_unit_test(links_and_folders_in_each_others_place),
        cmocka_unit_test(a_save_killed_at_every_call),
        cmocka_unit_test(two_runs_do_not_share_a_folder),
        cmocka_unit_test(a_file_system_without_locks_is_told_once),
        cmocka_unit_test(other_data_and_options_are_named),
        cmocka_unit_test(progress_that_is_no_file_of_ours),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
