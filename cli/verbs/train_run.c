/* train_run.c: see train_run.h. */
#include "verbs/train_run.h"
#include "documents.h"
#include "files.h"
#include "interrupt.h"
#include "mixers.h"
#include "output.h"
#include "ranks.h"
#include "shell.h"
#include "verbs/train_from.h"
#include "verbs/train_log.h"
#include "verbs/train_memory.h"
#include "verbs/train_watch.h"
#include "whole.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    cli_command *command;
    const train_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    il_data *data, *val;
    il_trainer *trainer;
    FILE *log;
    train_watch watch;
    char *cache;
    char *chat_files; /* il_trainer_options.chat_files */
    int stateful;
    cli_ranks
        ranks;      /* the processes that share the run: all do the same, and the first alone writes what people read */
    int stops;      /* a signal has asked one of them to */
    uint64_t saved; /* steps done when the last checkpoint was written */
    train_result *result;
} training;

void train_options_default(train_options *options) {
    *options = (train_options){.shuffle = "blocks",
                               .data_memory = 1024,
                               .dtype = "f32",
                               .lanes = 1,
                               .mpi = "auto",
                               .memory = NAN,
                               .lr = NAN,
                               .end_lr = NAN,
                               .beta1 = NAN,
                               .beta2 = NAN,
                               .eps = NAN,
                               .weight_decay = NAN,
                               .clip = NAN,
                               .inner_lr_start = NAN,
                               .warmup = NAN,
                               .inner_lr_warmup = NAN};
}

const char *train_options_misuse(const train_options *options) {
    if (options->batch_tokens % options->length)
        return "--batch-tokens must be a multiple of --seq-len: a step takes whole sequences";
    for (size_t i = 0; i < options->n_data; i++)
        if (options->val && !strcmp(options->val, "-") && !strcmp(options->data[i], "-"))
            return "--data and --val cannot both be standard input";
    if (options->patience && !options->val) return "--patience needs --val";
    return NULL;
}

/* How the other ranks fare; what goes wrong on one of them is everybody's error. */
static il_status agree(training *t, il_status status) {
    return il_ranks_agree(t->ranks.ranks, status, NULL, &t->command->error);
}

/* Whether all ranks have these, whose reference it takes: what they do together and the trainer knows nothing of. Who
 * saved or validated alone would wait for the others. */
static il_status compare(training *t, json_t *object) {
    il_error *error = &t->command->error;
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    il_status status = agree(t, text ? IL_OK : cli_fail(error, IL_ERR_NOMEM, "no memory to compare the ranks"));
    if (!status) status = il_ranks_compare(t->ranks.ranks, text, error);
    free(text);
    return status;
}

static il_status compare_options(training *t) {
    const train_options *o = t->options;
    if (!t->ranks.ranks) return IL_OK;
    return compare(t, json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:b, s:I}", "version", il_version(), "--resume",
                                o->resume, "--steps", (json_int_t)o->steps, "--save-every", (json_int_t)o->save_every,
                                "--keep", (json_int_t)o->keep, "--patience", (json_int_t)o->patience, "--val",
                                o->val != NULL, "--val-every", (json_int_t)o->val_every));
}

static il_status compare_val(training *t) {
    if (!t->ranks.ranks || !t->val) return IL_OK;
    const int32_t *stream = il_data_stream(t->val);
    uint64_t tokens = il_data_tokens(t->val);
    return compare(t, json_pack("{s:I, s:I}", "tokens of --val", (json_int_t)tokens, "checksum of --val",
                                (json_int_t)(stream ? train_crc32c(stream, (size_t)tokens * sizeof *stream) : 0)));
}

/* ---- beginning ---- */

static il_status open_data(training *t, const char *const *files, size_t n_files, int is_val, il_data **data) {
    const train_options *options = t->options;
    const il_config *config = il_model_config(t->model);
    il_data_options o;
    il_data_options_default(&o);
    o.documents = options->documents;
    o.seed = options->seed;
    o.cache_dir = t->cache;
    o.bos_token = config->bos_token;
    if (is_val && t->result->is_whole) {
        o.length = o.sequences = 1; /* only the stream is used */
    } else {
        o.length = (size_t)options->length;
        o.stateful = t->stateful;
        /* Validation reads one sequence at a time, so that none is dropped with an incomplete batch. */
        o.sequences = is_val ? 1 : (size_t)(options->batch_tokens / options->length);
        o.loop = !is_val;
    }
    if (!is_val) {
        o.shuffle = !strcmp(options->shuffle, "blocks") ? 1 : !strcmp(options->shuffle, "computed") ? 2 : 0;
        o.weights = options->weights;
        o.memory_max = options->data_memory ? options->data_memory << 20 : 1;
    }
    il_status status = cli_command_data(t->command, files, n_files, t->tokenizer, config->vocab_size, &o, data);
    if (o.documents.progress_user) cli_reading_end(o.documents.progress_user);
    return status;
}

static il_status open_val(training *t) {
    const train_options *options = t->options;
    train_result *r = t->result;
    if (!options->val) return IL_OK;
    il_status status = open_data(t, &options->val, 1, 1, &t->val);
    if (status || !r->is_whole) return status;
    /* The loss of a token times tokens is that of the text. */
    uint64_t tokens = il_data_tokens(t->val), bytes = il_data_text_bytes(t->val), targets = 0;
    int bos = il_model_config(t->model)->bos_token;
    for (uint64_t i = 1; i < tokens; i++) targets += il_data_stream(t->val)[i] != bos;
    if (bytes) r->val_bits = (double)targets / 0.69314718055994530942 / (double)bytes;
    return IL_OK;
}

static void take(double given, double *value) {
    if (!isnan(given)) *value = given;
}

static il_status open_trainer(training *t) {
    const train_options *options = t->options;
    il_trainer_options o;
    il_trainer_options_default(il_model_config(t->model), &o);
    o.steps = options->steps;
    o.dtype = !strcmp(options->dtype, "bf16") ? IL_WEIGHTS_BF16 : IL_WEIGHTS_F32;
    o.resume_with_changes = options->resume_with_changes;
    o.lanes = (int)options->lanes;
    o.keep = options->keep;
    o.skip_spikes = options->skip_spikes;
    o.ranks = t->ranks.ranks;
    o.chat_files = t->chat_files;
    o.freeze = options->freeze;
    o.n_freeze = options->n_freeze;
    o.memory = train_memory_bound(options->memory, t->model);
    take(options->lr, &o.lr);
    take(options->end_lr, &o.end_lr);
    take(options->warmup, &o.warmup);
    take(options->beta1, &o.beta1);
    take(options->beta2, &o.beta2);
    take(options->eps, &o.eps);
    take(options->weight_decay, &o.weight_decay);
    take(options->clip, &o.clip);
    take(options->inner_lr_start, &o.inner_lr_start);
    take(options->inner_lr_warmup, &o.inner_lr_warmup);
    il_status status = il_trainer_open(t->model, t->data, &o, &t->trainer, &t->command->error);
    if (status) return status;
    il_trainer_get_memory(t->trainer, &t->result->memory);
    train_memory_show(t->command, t->trainer, o.memory);
    return IL_OK;
}

static il_status open_log(training *t) {
    const char *path = t->options->log;
    il_status status = IL_OK;
    if (!path || t->ranks.rank) return IL_OK;
    if (t->options->resume && cli_path_bytes(path)) /* a pipe or a terminal has none */
        status = train_log_trim(path, il_trainer_steps_done(t->trainer), &t->command->error);
    if (status) return status;
    t->log = fopen(path, t->options->resume ? "ab" : "wb");
    if (!t->log) return cli_fail(&t->command->error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    return IL_OK;
}

/* --resume needs a run in --out; a new run must not find one there. */
static il_status check_out(training *t, const char *latest) {
    const train_options *options = t->options;
    if (options->resume && !cli_path_exists(latest, NULL))
        return cli_fail(&t->command->error, IL_ERR_ARG, "--resume: %s does not exist", latest);
    if (!options->resume && cli_path_exists(latest, NULL))
        return cli_fail(&t->command->error, IL_ERR_ARG,
                        "%s already holds a run; --resume goes on with it, a different --out begins a new one",
                        options->out);
    return IL_OK;
}

/* Locks --out and looks again: another run may have begun there since the first look. */
static il_status open_out(training *t, const char *latest) {
    const train_options *options = t->options;
    il_error *error = &t->command->error;
    il_status status = il_trainer_lock(t->trainer, options->out, error);
    if (!status) status = agree(t, check_out(t, latest));
    if (!status && options->resume) {
        status = il_trainer_resume(t->trainer, options->out, error);
        if (status == IL_ERR_MISMATCH && !options->resume_with_changes)
            cli_note(t->command->verb, "--resume-with-changes goes on with other data or options");
    }
    return status;
}

/* ---- steps ---- */

static il_status write_log(training *t, int validated) {
    const train_result *r = t->result;
    if (!t->log) return IL_OK;
    json_t *object = json_pack("{s:I, s:o, s:o, s:o, s:o, s:s}", "step", (json_int_t)r->step.step, "loss",
                               cli_json_real(r->step.loss), "lr", cli_json_real(r->step.lr), "grad_norm",
                               cli_json_real(r->step.grad_norm), "tokens_per_s",
                               cli_json_real((double)r->step.tokens / r->step.seconds), "dtype", t->options->dtype);
    if (validated) json_object_set_new(object, "val_loss", cli_json_real(r->val_loss));
    if (r->step.skipped) json_object_set_new(object, "skipped", json_true());
    int failed = json_dumpf(object, t->log, JSON_COMPACT);
    json_decref(object);
    if (fputc('\n', t->log) == EOF || fflush(t->log)) failed = 1;
    if (failed) return cli_fail(&t->command->error, IL_ERR_IO, "%s: %s", t->options->log, strerror(errno));
    return IL_OK;
}

/* As the model will be read if it has learned to carry its state on, else in the windows it is trained with. */
static il_status validate(training *t) {
    train_result *r = t->result;
    cli_whole whole = {NAN, NAN};
    il_error *error = &t->command->error;
    il_status status = r->is_whole ? cli_whole_read(t->model, t->val, 0, &whole, error)
                                   : il_trainer_eval(t->trainer, t->val, 0, &whole.loss, error);
    r->val_loss = whole.loss;
    if (status) return status;
    il_trainer_validated(t->trainer, r->val_loss);
    il_trainer_get_validation(t->trainer, &r->validation);
    return IL_OK;
}

static il_status save(training *t) {
    uint64_t done = il_trainer_steps_done(t->trainer);
    if (t->saved == done) return IL_OK;
    il_status status = il_trainer_save(t->trainer, t->tokenizer, t->options->out, &t->command->error);
    if (!status) t->saved = done;
    return status;
}

/* drop: the best one before this was saved for being the best and nothing else. */
static il_status save_best(training *t, int drop) {
    il_status status = il_trainer_save_best(t->trainer, t->tokenizer, t->options->out, drop, &t->command->error);
    if (!status) t->saved = il_trainer_steps_done(t->trainer);
    return status;
}

/* Fits 60 columns: "step 1200/6000, epoch 12, loss 3.213, best 1.932, 12:03 left". */
static void show(training *t, cli_progress *progress) {
    const train_result *r = t->result;
    char detail[128];
    il_cursor cursor;
    il_data_tell(t->data, &cursor);
    double epoch = (double)cursor.epoch + (double)cursor.batch / (double)il_data_batches_per_epoch(t->data);
    int n = snprintf(detail, sizeof detail, "epoch %.*f, loss %.3f", epoch < 9.95 ? 1 : 0, epoch, r->step.loss);
    if (isfinite(r->validation.best_loss))
        snprintf(detail + n, sizeof detail - (size_t)n, ", best %.3f",
                 r->validation.best_loss * (isfinite(r->val_bits) ? r->val_bits : 1));
    cli_progress_show(progress, r->step.step, detail);
}

static int patient(const training *t) {
    return !t->options->patience || t->result->validation.worse < t->options->patience;
}

/* What signals ask of any rank, and how all fare. *saves: a checkpoint is asked for. */
static il_status heed_signals(training *t, il_status status, int *saves) {
    int wants = cli_interrupted() ? cli_interrupted() : cli_interrupt_save_is_due();
    status = il_ranks_agree(t->ranks.ranks, status, &wants, &t->command->error);
    t->stops = wants > 1;
    if (t->stops) cli_interrupt_stop(wants - 128);
    *saves = wants == 1;
    return status;
}

/* One step and what is due after it. */
static il_status make_step(training *t, uint64_t save_every, uint64_t val_every, cli_progress *progress) {
    const train_options *options = t->options;
    train_result *r = t->result;
    il_status status = il_trainer_step(t->trainer, &r->step, &t->command->error);
    if (status) return status;
    r->tokens += r->step.tokens;
    uint64_t best_before = r->validation.best_step;
    int last = r->step.step == options->steps;
    int validated = t->val && (last || r->step.step % val_every == 0), saves;
    if (validated) status = validate(t);
    if (!status) status = write_log(t, validated);
    if (!status) status = train_watch_step(&t->watch, &r->step, validated ? r->val_loss : NAN, &t->command->error);
    show(t, progress);
    status = heed_signals(t, status, &saves);
    if (status) return status;
    if (validated && options->patience && !r->validation.worse) return save_best(t, best_before % save_every != 0);
    return saves || last || r->step.step % save_every == 0 ? save(t) : IL_OK;
}

static il_status run_steps(training *t) {
    const train_options *options = t->options;
    train_result *r = t->result;
    uint64_t first = il_trainer_steps_done(t->trainer), steps = options->steps;
    uint64_t tenth = steps >= 10 ? steps / 10 : 1;
    uint64_t save_every = options->save_every ? options->save_every : tenth;
    uint64_t val_every = options->val_every ? options->val_every : tenth;
    cli_progress progress;
    int saves;
    t->saved = options->resume ? first : UINT64_MAX;
    r->step.step = first;
    il_trainer_get_validation(t->trainer, &r->validation);
    if (t->val && r->is_whole)
        cli_note(t->command->verb, "validation: %s, read whole, as it will be in use; best is %s", options->val,
                 isfinite(r->val_bits) ? "in bits per byte" : "the mean loss of a token");
    else if (t->val)
        cli_note(t->command->verb, "validation: %s, in windows of %s; best is the mean loss of a token", options->val,
                 cli_count(options->length, "token"));
    double started = cli_seconds();
    cli_progress_begin(&progress, t->command->verb, "step", first, steps);
    il_ranks_watch(t->ranks.ranks, options->watchdog);
    il_status status = heed_signals(t, IL_OK, &saves);
    while (!status && r->step.step < steps && patient(t) && !t->stops)
        status = make_step(t, save_every, val_every, &progress);
    cli_progress_end(&progress);
    r->seconds = cli_seconds() - started;
    r->stopped = !status && !patient(t) && r->step.step < steps;
    if (il_trainer_steps_skipped(t->trainer))
        cli_note(t->command->verb, "%s skipped as spikes, in all",
                 cli_count(il_trainer_steps_skipped(t->trainer), "step"));
    if (r->stopped)
        cli_note(t->command->verb, "validation has risen %s since step %llu, stopping",
                 cli_count(r->validation.worse, "time"), (unsigned long long)r->validation.best_step);
    if (!status) status = save(t); /* interrupted between checkpoints */
    il_status watched = train_watch_end(&t->watch, status, cli_interrupted(), status ? NULL : &t->command->error);
    if (!status) status = watched;
    r->made = il_trainer_steps_done(t->trainer);
    if (status == IL_ERR_NONFINITE && t->saved != UINT64_MAX)
        cli_note(t->command->verb, "the last checkpoint is %s/step-%llu", options->out, (unsigned long long)t->saved);
    if (!status && t->stops && r->made < steps && options->again && !t->ranks.rank) {
        cli_note(t->command->verb, "stopped after step %llu of %llu; this goes on:", (unsigned long long)r->made,
                 (unsigned long long)steps);
        cli_shell_show(options->again);
    }
    return status;
}

/* The newest checkpoint whose model is whole: il_trainer_resume looks at the rest. */
static il_status load_latest(training *t) {
    cli_command *command = t->command;
    char *path = cli_alloc(PATH_MAX, 1);
    il_error first, last;
    il_status status = il_checkpoint_find(t->options->out, 0, path, PATH_MAX, &command->error);
    if (!status) status = cli_command_load_any(command, path, &t->model, &t->tokenizer);
    first = command->error;
    for (size_t which = 1; status == IL_ERR_FORMAT || status == IL_ERR_IO || status == IL_ERR_NONFINITE; which++) {
        if (il_checkpoint_find(t->options->out, which, path, PATH_MAX, &last)) break;
        status = cli_command_load_any(command, path, &t->model, &t->tokenizer);
    }
    if (status) command->error = first;
    free(path);
    return status;
}

static il_status load_model(training *t, const char *latest) {
    const train_options *options = t->options;
    cli_command *command = t->command;
    il_status status = check_out(t, latest);
    if (!status)
        status =
            options->resume ? load_latest(t) : cli_command_load_any(command, options->model, &t->model, &t->tokenizer);
    if (!status && t->tokenizer) { /* it goes into checkpoints: whether it can be read is told before the first */
        il_generation usable;
        status =
            il_generation_load(t->tokenizer, il_model_config(t->model), command->model_dir, &usable, &command->error);
    }
    /* that a run goes on from may be removed on the way */
    if (!status) t->chat_files = cli_format("%s", options->resume ? latest : command->model_dir);
    if (!status) status = cli_command_widen(command, &t->model);
    if (!status && options->init_from && !options->resume) /* a run that goes on has them */
        status = train_from(command, options->init_from, t->model, t->tokenizer);
    if (status) return status;
    t->stateful = options->state == TRAIN_STATEFUL ||
                  (options->state == TRAIN_BY_MIXER && cli_mixer_carries(il_model_config(t->model)));
    t->result->is_whole = t->stateful;
    return IL_OK;
}

static il_status open_all_data(training *t) {
    const train_options *options = t->options;
    il_status status = open_data(t, options->data, options->n_data, 0, &t->data);
    if (status == IL_ERR_UNSUPPORTED && t->stateful && options->state == TRAIN_BY_MIXER)
        cli_note(t->command->verb, "--fresh begins every sequence from a fresh state");
    return status ? status : open_val(t);
}

static il_status train(training *t) {
    const train_options *options = t->options;
    char *latest = cli_format("%s/latest", options->out);
    int is_first = !t->ranks.rank;
    il_status status = compare_options(t);
    if (!status) status = load_model(t, latest);
    if (!status && is_first) status = open_all_data(t); /* which makes the cache that the others read */
    status = agree(t, status);
    if (!status && !is_first) status = open_all_data(t);
    if (t->ranks.ranks) status = agree(t, status);
    if (!status) status = compare_val(t);
    if (!status) status = open_trainer(t);
    if (status == IL_ERR_ARG && t->stateful && options->state == TRAIN_BY_MIXER)
        cli_note(t->command->verb,
                 "--fresh begins every window from a fresh state: it asks less of --seq-len and texts");
    if (!status) status = open_out(t, latest);
    free(latest);
    if (!status) status = open_log(t);
    if (!status && is_first)
        status = train_watch_open(&t->watch, options, t->model, t->trainer, t->data, t->val, &t->command->error);
    if (t->ranks.ranks) status = agree(t, status);
    if (status) return status;
    cli_interrupt_catch();
    return run_steps(t);
}

/* "a beside b": DIR.cache next to DIR, whatever slashes end it. */
static char *cache_beside(const char *out) {
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    return cli_format("%.*s.cache", (int)n, out);
}

il_status train_run(cli_command *command, const train_options *options, train_result *result) {
    training t = {.command = command, .options = options, .result = result};
    *result = (train_result){.val_loss = NAN, .val_bits = NAN, .validation = {.best_loss = NAN}};
    cli_interrupt_saves(); /* SIGUSR1 ends no run, also while its data are read */
    t.cache = cache_beside(options->out);
    /* before anything is written */
    il_status status =
        il_trainer_dtype_check(!strcmp(options->dtype, "bf16") ? IL_WEIGHTS_BF16 : IL_WEIGHTS_F32, &command->error);
    if (!status) status = cli_documents_check(options->data, options->n_data, &command->error);
    il_error apart;
    il_status joined = cli_ranks_open(&t.ranks, options->mpi, command->engine, &apart);
    if (joined && !status) command->error = apart;
    if (joined && !status) status = joined;
    if (!joined) status = agree(&t, status);
    if (!status) status = train(&t);
    if (il_ranks_lost(t.ranks.ranks)) cli_output_mute(0); /* maybe nobody else can say so */
    if (t.log) fclose(t.log);
    train_watch_close(&t.watch);
    il_trainer_close(t.trainer);
    il_data_close(t.val);
    il_data_close(t.data);
    il_tokenizer_close(t.tokenizer);
    il_model_unref(t.model);
    free(t.chat_files);
    free(t.cache);
    int lost = il_ranks_lost(t.ranks.ranks);
    /* said while the others still wait: mpirun ends them all when the first one has failed, and the next call may end
     * this process */
    if (lost || (status && t.ranks.ranks && !(status == IL_ERR_CANCELLED && cli_interrupted()))) {
        cli_error(command->verb, "%s", command->error.message);
        cli_output_mute(1);
    }
    cli_ranks_close(&t.ranks, lost);
    return status;
}
