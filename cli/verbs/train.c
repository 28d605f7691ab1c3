/* train.c: `innerloop train`: steps, validation, log, checkpoints, and stopping in good order. */
#include "command.h"
#include "documents.h"
#include "files.h"
#include "interrupt.h"
#include "output.h"
#include "verbs.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct train_options {
    const char *model, *out, *shuffle, *val, *log, *dtype;
    arg_list data;
    cli_documents documents;
    il_trainer_options recipe; /* the fields that were given */
    uint64_t batch_tokens, length, seed, save_every, val_every, inner_lr_warmup, warmup;
    int stateful, resume, resume_with_changes;
} train_options;

typedef struct training {
    cli_command *command;
    const train_options *options;
    il_model *model;
    il_tokenizer *tokenizer;
    il_data *data, *val;
    il_trainer *trainer;
    FILE *log;
    char *cache;
    il_step step;    /* the last one made */
    double val_loss; /* NAN: none yet */
    uint64_t tokens;
    uint64_t saved; /* steps done when the last checkpoint was written */
    double seconds;
} training;

static il_status open_data(training *t, const char *const *files, size_t n_files, int is_val, il_data **data) {
    const train_options *options = t->options;
    il_data_options o;
    il_data_options_default(&o);
    o.documents = cli_documents_options(&options->documents);
    o.length = (size_t)options->length;
    o.stateful = options->stateful;
    o.seed = options->seed;
    o.cache_dir = t->cache;
    o.bos_token = il_model_config(t->model)->bos_token;
    /* Validation reads one sequence at a time, so that none is dropped with an incomplete batch. */
    o.sequences = is_val ? 1 : (size_t)(options->batch_tokens / options->length);
    o.shuffle = !is_val && !strcmp(options->shuffle, "blocks");
    o.loop = !is_val;
    return cli_command_data(t->command, files, n_files, t->tokenizer, il_model_config(t->model)->vocab_size, &o, data);
}

static il_status open_trainer(training *t) {
    const train_options *options = t->options;
    const arg_spec *spec = t->command->spec;
    il_trainer_options o;
    il_trainer_options_default(il_model_config(t->model), &o);
    o.steps = options->recipe.steps;
    o.dtype = options->recipe.dtype;
    o.resume_with_changes = options->resume_with_changes;
    if (arg_given(spec, "--lr")) o.lr = options->recipe.lr;
    if (arg_given(spec, "--end-lr")) o.end_lr = options->recipe.end_lr;
    if (arg_given(spec, "--warmup")) o.warmup = (double)options->warmup;
    if (arg_given(spec, "--beta1")) o.beta1 = options->recipe.beta1;
    if (arg_given(spec, "--beta2")) o.beta2 = options->recipe.beta2;
    if (arg_given(spec, "--eps")) o.eps = options->recipe.eps;
    if (arg_given(spec, "--weight-decay")) o.weight_decay = options->recipe.weight_decay;
    if (arg_given(spec, "--clip")) o.clip = options->recipe.clip;
    if (arg_given(spec, "--inner-lr-start")) o.inner_lr_start = options->recipe.inner_lr_start;
    if (arg_given(spec, "--inner-lr-warmup")) o.inner_lr_warmup = (double)options->inner_lr_warmup;
    return il_trainer_open(t->model, t->data, &o, &t->trainer, &t->command->error);
}

/* Cuts the log at path to what a run has written after `done` steps. */
static il_status trim_log(const char *path, uint64_t done, il_error *error) {
    char *text;
    size_t bytes;
    cli_file file = {0};
    il_status status = cli_path_read(path, &text, &bytes, error);
    if (status) return status;
    status = cli_file_open(&file, path, error);
    for (char *line = text; !status && line < text + bytes;) {
        char *end = memchr(line, '\n', (size_t)(text + bytes - line));
        if (!end) break; /* a line cut short by a crash */
        size_t n = (size_t)(end - line) + 1;
        json_t *object = json_loadb(line, n, 0, NULL);
        json_t *step = json_object_get(object, "step");
        if (json_is_integer(step) && (uint64_t)json_integer_value(step) <= done)
            status = cli_file_write(&file, line, n, error);
        json_decref(object);
        line = end + 1;
    }
    if (!status) status = cli_file_finish(&file, error);
    cli_file_abandon(&file);
    free(text);
    return status;
}

static il_status open_log(training *t) {
    const char *path = t->options->log;
    il_status status = IL_OK;
    if (!path) return IL_OK;
    if (t->options->resume && cli_path_bytes(path)) /* a pipe or a terminal has none */
        status = trim_log(path, il_trainer_steps_done(t->trainer), &t->command->error);
    if (status) return status;
    t->log = fopen(path, t->options->resume ? "ab" : "wb");
    if (!t->log) return cli_fail(&t->command->error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    return IL_OK;
}

static il_status write_log(training *t, int validated) {
    if (!t->log) return IL_OK;
    json_t *object = json_pack("{s:I, s:o, s:o, s:o, s:o, s:s}", "step", (json_int_t)t->step.step, "loss",
                               cli_json_real(t->step.loss), "lr", cli_json_real(t->step.lr), "grad_norm",
                               cli_json_real(t->step.grad_norm), "tokens_per_s",
                               cli_json_real((double)t->step.tokens / t->step.seconds), "dtype", t->options->dtype);
    if (validated) json_object_set_new(object, "val_loss", cli_json_real(t->val_loss));
    int failed = json_dumpf(object, t->log, JSON_COMPACT);
    json_decref(object);
    if (fputc('\n', t->log) == EOF || fflush(t->log)) failed = 1;
    if (failed) return cli_fail(&t->command->error, IL_ERR_IO, "%s: %s", t->options->log, strerror(errno));
    return IL_OK;
}

static il_status validate(training *t) {
    return il_trainer_eval(t->trainer, t->val, 0, &t->val_loss, &t->command->error);
}

static il_status save(training *t) {
    uint64_t done = il_trainer_steps_done(t->trainer);
    if (t->saved == done) return IL_OK;
    il_status status = il_trainer_save(t->trainer, t->tokenizer, t->options->out, &t->command->error);
    if (!status) t->saved = done;
    return status;
}

static void show(training *t, cli_progress *progress) {
    char detail[128], val[48] = "";
    if (isfinite(t->val_loss)) snprintf(val, sizeof val, ", val %.4f", t->val_loss);
    snprintf(detail, sizeof detail, "loss %.4f%s, %.0f tokens/s", t->step.loss, val,
             (double)t->step.tokens / t->step.seconds);
    cli_progress_show(progress, t->step.step, detail);
}

static il_status run_steps(training *t) {
    const train_options *options = t->options;
    uint64_t first = il_trainer_steps_done(t->trainer), steps = options->recipe.steps;
    uint64_t tenth = steps >= 10 ? steps / 10 : 1;
    uint64_t save_every = options->save_every ? options->save_every : tenth;
    uint64_t val_every = options->val_every ? options->val_every : tenth;
    cli_progress progress;
    il_status status = IL_OK;
    t->saved = options->resume ? first : UINT64_MAX;
    t->step.step = first;
    double started = cli_seconds();
    cli_progress_begin(&progress, t->command->verb, "step", first, steps);
    while (!status && t->step.step < steps && !cli_interrupted()) {
        status = il_trainer_step(t->trainer, &t->step, &t->command->error);
        if (status) break;
        t->tokens += t->step.tokens;
        int last = t->step.step == steps;
        int validated = t->val && (last || t->step.step % val_every == 0);
        if (validated) status = validate(t);
        if (!status) status = write_log(t, validated);
        show(t, &progress);
        if (!status && (last || t->step.step % save_every == 0)) status = save(t);
    }
    cli_progress_end(&progress);
    t->seconds = cli_seconds() - started;
    if (!status) status = save(t); /* interrupted between checkpoints */
    if (status == IL_ERR_NONFINITE && t->saved != UINT64_MAX)
        cli_note(t->command->verb, "the last checkpoint is %s/step-%llu", options->out, (unsigned long long)t->saved);
    return status;
}

static void report(const training *t) {
    const char *out = t->options->out;
    double rate = t->seconds > 0 ? (double)t->tokens / t->seconds : 0;
    uint64_t made = t->tokens ? t->step.step : il_trainer_steps_done(t->trainer);
    if (t->command->spec->json)
        cli_json_print(json_pack(
            "{s:o, s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:b}", "out", cli_json_string(out), "dtype", t->options->dtype,
            "steps", (json_int_t)made, "loss", t->tokens ? cli_json_real(t->step.loss) : json_null(), "val_loss",
            cli_json_real(t->val_loss), "tokens", (json_int_t)t->tokens, "seconds", cli_json_real(t->seconds),
            "tokens_per_s", cli_json_real(rate), "interrupted", cli_interrupted() != 0));
    else if (t->tokens)
        printf("%s/latest: step %llu, loss %.4f, %.0f tokens/s\n", out, (unsigned long long)made, t->step.loss, rate);
    else
        printf("%s/latest: step %llu, nothing left to do\n", out, (unsigned long long)made);
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
    if (!status) status = check_out(t, latest);
    if (!status && options->resume) {
        status = il_trainer_resume(t->trainer, options->out, error);
        if (status == IL_ERR_MISMATCH && !options->resume_with_changes)
            cli_note(t->command->verb, "--resume-with-changes goes on with other data or options");
    }
    return status;
}

static il_status train(training *t) {
    const train_options *options = t->options;
    cli_command *command = t->command;
    char *latest = cli_format("%s/latest", options->out);
    il_status status = check_out(t, latest);
    if (!status)
        status = cli_command_load_any(command, options->resume ? latest : options->model, &t->model, &t->tokenizer);
    if (!status) status = cli_command_widen(command, &t->model);
    if (!status) status = open_data(t, options->data.items, options->data.n, 0, &t->data);
    if (!status && options->val) status = open_data(t, &options->val, 1, 1, &t->val);
    if (!status) status = open_trainer(t);
    if (!status) status = open_out(t, latest);
    free(latest);
    if (!status) status = open_log(t);
    if (status) return status;
    cli_interrupt_catch();
    status = run_steps(t);
    if (!status) report(t);
    return status;
}

static const char *misuse(const train_options *options) {
    if (options->batch_tokens % options->length)
        return "--batch-tokens must be a multiple of --seq-len: a step takes whole sequences";
    for (size_t i = 0; i < options->data.n; i++)
        if (options->val && !strcmp(options->val, "-") && !strcmp(options->data.items[i], "-"))
            return "--data and --val cannot both be standard input";
    if (!options->model && !options->resume) return "--model DIR is missing";
    return NULL;
}

/* "a beside b": DIR.cache next to DIR, whatever slashes end it. */
static char *cache_beside(const char *out) {
    size_t n = strlen(out);
    while (n > 1 && out[n - 1] == '/') n--;
    return cli_format("%.*s.cache", (int)n, out);
}

int verb_train(int argc, char **argv) {
    train_options options = {.shuffle = "blocks", .dtype = "f32"};
    il_trainer_options *recipe = &options.recipe;
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", "model directory to start from (not needed with --resume)"),
        ARG("--data", ARG_LIST, &options.data, "FILE", "tokens, or " CLI_FILE_HELP, .required = 1),
        CLI_DOCUMENTS_OPTIONS(options.documents, CLI_FORMATS),
        ARG("--out", ARG_TEXT, &options.out, "DIR", "where checkpoints go: step-N, and latest", .required = 1),
        ARG("--steps", ARG_COUNT, &recipe->steps, "N", "number of updates, the length of the schedule", RANGE(1, 1e9),
            .required = 1),
        ARG("--batch-tokens", ARG_COUNT, &options.batch_tokens, "N", "tokens in a step", RANGE(1, 1e12), .required = 1),
        ARG("--seq-len", ARG_COUNT, &options.length, "L", "tokens in a sequence", RANGE(1, 1 << 20), .required = 1),
        ARG("--stateful", ARG_FLAG, &options.stateful, NULL,
            "a document's next window goes on from the state of the last (default: fresh)", .alias = "--carry"),
        ARG("--shuffle", ARG_CHOICE, &options.shuffle, "{blocks,none}",
            "order of the sequences, with --stateful of the documents (default blocks)"),
        ARG("--dtype", ARG_CHOICE, &options.dtype, "{f32,bf16}",
            "of products: f32, or bf16 by oneDNN where the CPU has AMX: faster, but with different bits (default f32)"),
        ARG("--lr", ARG_REAL, &recipe->lr, "F", "peak learning rate (default 3e-3)", RANGE(0, 1e3)),
        ARG("--end-lr", ARG_REAL, &recipe->end_lr, "F", "learning rate at the end (default 1e-5)", RANGE(0, 1e3)),
        ARG("--warmup", ARG_COUNT, &options.warmup, "N", "steps of warm-up (default: a tenth of --steps)",
            RANGE(0, 1e15)),
        ARG("--beta1", ARG_REAL, &recipe->beta1, "F", "beta1 of AdamW (default 0.9)", RANGE(0, 0.999999)),
        ARG("--beta2", ARG_REAL, &recipe->beta2, "F", "beta2 of AdamW (default 0.95)", RANGE(0, 0.999999999)),
        ARG("--eps", ARG_REAL, &recipe->eps, "F", "epsilon of AdamW (default 1e-8)", RANGE(1e-30, 1)),
        ARG("--weight-decay", ARG_REAL, &recipe->weight_decay, "F",
            "weight decay of AdamW, on every tensor (default 0.1)", RANGE(0, 1e3)),
        ARG("--clip", ARG_REAL, &recipe->clip, "F",
            "largest norm of the gradient, which is scaled down to it (default 1)", RANGE(1e-12, 1e30)),
        ARG("--inner-lr-start", ARG_REAL, &recipe->inner_lr_start, "F",
            "factor on the inner learning rate at the first step (default 1; for TTT-MLP 0.1)", RANGE(0, 1e3)),
        ARG("--inner-lr-warmup", ARG_COUNT, &options.inner_lr_warmup, "N",
            "steps until that factor is 1 (default: as many as --warmup)", RANGE(0, 1e15)),
        ARG("--val", ARG_TEXT, &options.val, "FILE", "validate on this text or token shard"),
        ARG("--val-every", ARG_COUNT, &options.val_every, "N",
            "steps between validations (default: a tenth of --steps)", RANGE(1, 1e15)),
        ARG("--save-every", ARG_COUNT, &options.save_every, "N",
            "steps between checkpoints (default: a tenth of --steps); the last is always saved", RANGE(1, 1e15)),
        ARG("--log", ARG_TEXT, &options.log, "FILE.jsonl", "write a line of JSON for every step"),
        ARG("--resume", ARG_FLAG, &options.resume, NULL,
            "go on from --out's latest, as if never stopped: with the same data and options"),
        ARG("--resume-with-changes", ARG_FLAG, &options.resume_with_changes, NULL,
            "the same, but data and options may differ; different data is read from its beginning"),
        ARG("--seed", ARG_COUNT, &options.seed, "N", "seed of the order of the data (default 0)",
            RANGE(0, ARG_SEED_MAX)),
    };
    arg_spec spec = {
        .verb = "train",
        .summary = "train a model on text or token shards",
        .options = table,
        .n_options = COUNT_OF(table),
        .example = "innerloop train --model model --data books.jsonl.zst --out run --steps 1000 --batch-tokens "
                   "16384 \\\n"
                   "    --seq-len 2048 --val val.txt --log run.jsonl\n"
                   "innerloop train --resume --data books.jsonl.zst --out run --steps 1000 --batch-tokens 16384 \\\n"
                   "    --seq-len 2048 --val val.txt --log run.jsonl"};
    cli_command command;
    training t = {.command = &command, .options = &options, .val_loss = NAN};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    options.resume |= options.resume_with_changes;
    const char *complaint = misuse(&options);
    if (complaint) {
        cli_error(spec.verb, "%s (see innerloop train --help)", complaint);
        arg_release(&spec);
        return 2;
    }
    if (!strcmp(options.dtype, "bf16")) recipe->dtype = IL_WEIGHTS_BF16;
    t.cache = cache_beside(options.out);
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = il_trainer_dtype_check(recipe->dtype, &command.error); /* before anything is written */
    if (!status) status = cli_documents_check(options.data.items, options.data.n, &command.error);
    if (!status) status = train(&t);
    if (t.log) fclose(t.log);
    il_trainer_close(t.trainer);
    il_data_close(t.val);
    il_data_close(t.data);
    il_tokenizer_close(t.tokenizer);
    il_model_unref(t.model);
    free(t.cache);
    return cli_command_close(&command, status);
}
