/* train_new.c: see train_new.h. In order: the text is cut into what is learned and what is held out; a tokenizer is
 * made; the speed of training is measured; the recipe is decided, once, and written down; the model is trained. What
 * was done before an interruption is done again, with the same result, but for the measurement, which recipe.json
 * keeps. */
#include "verbs/train_new.h"
#include "files.h"
#include "interrupt.h"
#include "mixers.h"
#include "output.h"
#include "shell.h"
#include "verbs/train_plan.h"
#include "whole.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct making {
    cli_command *command;
    const train_new_options *options;
    const train_options *files;
    char *out;
    train_plan_paths paths;
    train_plan plan;
    cli_input *input;
    cli_split split;
    il_tokenizer *tokenizer;
    il_data *held_out; /* its stream */
    recipe_text text;
    train_result result;
    cli_whole learning, frozen; /* of the best model on what is held out */
} making;

/* ---- the folder ---- */

/* "book-model" of "texts/book.txt.gz". */
static char *name_of(const char *file) {
    static const char *const packed[] = {".gz", ".zst", ".GZ", ".ZST"};
    if (!strcmp(file, "-")) return cli_format("stdin-model");
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    size_t n = strlen(name);
    for (size_t i = 0; i < COUNT_OF(packed); i++) {
        size_t k = strlen(packed[i]);
        if (n > k && !memcmp(name + n - k, packed[i], k)) {
            n -= k;
            break;
        }
    }
    for (size_t i = n; i-- > 1;)
        if (name[i] == '.') {
            n = i;
            break;
        }
    return cli_format("%.*s-model", (int)n, name);
}

static int is_empty(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return errno == ENOENT;
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) n += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    closedir(dir);
    return n == 0;
}

static il_status make_folder(const char *dir, il_error *error) {
    char *path = cli_format("%s", dir);
    for (char *end = path + 1;; end++) {
        if (*end && *end != '/') continue;
        char kept = *end;
        *end = 0;
        struct stat info;
        int why = mkdir(path, 0777) ? errno : 0; /* not that of looking */
        if (why && (stat(path, &info) || !S_ISDIR(info.st_mode))) {
            il_status status = cli_fail(error, IL_ERR_IO, "%s: cannot make the folder: %s", path, strerror(why));
            free(path);
            return status;
        }
        *end = kept;
        if (!kept) break;
    }
    free(path);
    return IL_OK;
}

/* The run that is there must be of this text and these options. */
static il_status check_same(const making *m, const cli_texts *texts) {
    const train_plan *p = &m->plan;
    const train_new_options *o = m->options;
    il_error *error = &m->command->error;
    if (strcmp(p->texts.fingerprint, texts->fingerprint) != 0)
        return cli_fail(error, IL_ERR_MISMATCH,
                        "%s holds a run of another text (%s, this one has %llu); --out DIR begins a new one", m->out,
                        cli_count(p->texts.bytes, "byte"), (unsigned long long)texts->bytes);
    if (o->minutes_given && o->minutes != p->minutes)
        return cli_fail(error, IL_ERR_MISMATCH,
                        "%s holds a run of --minutes %g; the same goes on with it, --out DIR begins a new one", m->out,
                        p->minutes);
    if (o->mixer_given && strcmp(o->mixer, p->mixer) != 0)
        return cli_fail(error, IL_ERR_MISMATCH,
                        "%s holds a run of --mixer %s; the same goes on with it, --out DIR begins a new one", m->out,
                        p->mixer);
    if (o->seed_given && m->files->seed != p->seed)
        return cli_fail(error, IL_ERR_MISMATCH,
                        "%s holds a run of --seed %llu; the same goes on with it, --out DIR begins a new one", m->out,
                        (unsigned long long)p->seed);
    return IL_OK;
}

static il_status open_folder(making *m) {
    il_error *error = &m->command->error;
    const char *first = m->files->data[0];
    cli_texts texts;
    int exists = cli_path_exists(m->paths.recipe, NULL);
    il_status status = exists ? train_plan_read(m->paths.recipe, &m->plan, error) : IL_OK;
    if (!status && !exists && !is_empty(m->out))
        status = cli_fail(error, IL_ERR_ARG, "%s is already there and no run of train; --out DIR takes another folder",
                          m->out);
    if (!status)
        status = cli_input_open(m->command->engine, m->files->data, m->files->n_data, &m->files->documents, &m->input,
                                error);
    if (!status) status = cli_input_measure(m->input, &texts, error);
    if (status) return status;
    if (exists) return check_same(m, &texts);
    if (texts.bytes < RECIPE_BYTES_MIN)
        return cli_fail(error, IL_ERR_ARG,
                        "%s%s: %s of text; a model of its own needs at least %d, and a useful one 100 kB "
                        "(innerloop score and compress read it with a bundled model)",
                        first, m->files->n_data > 1 ? " and the others" : "", cli_count(texts.bytes, "byte"),
                        RECIPE_BYTES_MIN);
    m->plan = (train_plan){.texts = texts, .minutes = m->options->minutes, .seed = m->files->seed};
    snprintf(m->plan.mixer, sizeof m->plan.mixer, "%s", m->options->mixer);
    status = make_folder(m->out, error);
    return status ? status : train_plan_write(&m->plan, m->paths.recipe, error);
}

/* ---- text and tokenizer ---- */

static il_documents_options as_split(const making *m) {
    return (il_documents_options){.format = m->split.is_jsonl ? IL_FORMAT_JSONL : IL_FORMAT_TEXT};
}

/* Characters of some scripts take a larger vocabulary than the text's size asks for; what none is large enough for is
 * read as bytes. */
static il_status make_tokenizer(making *m) {
    enum { LARGEST = 1 << 14 };
    il_error *error = &m->command->error;
    const char *train = m->split.train;
    il_documents_options documents = as_split(m);
    int vocabulary = m->plan.decided ? m->plan.vocabulary : recipe_vocabulary(m->split.train_bytes);
    int made = m->plan.decided && cli_path_exists(m->paths.tokenizer, NULL);
    il_status status = IL_OK;
    for (; !made && vocabulary && vocabulary <= LARGEST; vocabulary *= 2) {
        status = il_tokenizer_train(m->command->engine, &train, 1, &documents, vocabulary, m->paths.tokenizer, error);
        if (status != IL_ERR_ARG || m->plan.decided) break;
    }
    int bytes = !vocabulary || vocabulary > LARGEST;
    if (status && !(bytes && status == IL_ERR_ARG)) return status;
    status = il_tokenizer_load(m->command->engine, bytes ? "bytes" : m->paths.tokenizer, &m->tokenizer, error);
    if (status) return status;
    il_tokenizer_info info;
    il_tokenizer_get_info(m->tokenizer, &info);
    m->plan.vocabulary = bytes ? 0 : info.vocab_size;
    return IL_OK;
}

/* The tokens of one of the two files; with schedule NULL only to be looked at. */
static il_status open_data(making *m, const char *file, const recipe_schedule *schedule, il_data **data) {
    il_tokenizer_info info;
    il_data_options options;
    il_data_options_default(&options);
    il_tokenizer_get_info(m->tokenizer, &info);
    options.documents = as_split(m);
    options.cache_dir = m->paths.cache;
    options.length = schedule ? (size_t)schedule->length : 1;
    options.sequences = schedule ? (size_t)(schedule->batch_tokens / schedule->length) : 1;
    options.loop = schedule != NULL;
    return il_data_open(m->command->engine, &file, 1, m->tokenizer, info.vocab_size, &options, data,
                        &m->command->error);
}

static il_status count_tokens(making *m) {
    il_data *data = NULL;
    il_status status = open_data(m, m->split.train, NULL, &data);
    if (!status) m->text.tokens = il_data_tokens(data);
    m->text.documents = m->plan.texts.documents;
    il_data_close(data);
    if (!status) status = open_data(m, m->split.held_out, NULL, &m->held_out);
    if (!status) m->text.held_out_tokens = il_data_tokens(m->held_out);
    return status;
}

/* ---- the recipe ---- */

enum { PROBE_STEPS = 1000 }; /* at most; a trainer's default */

/* A model of the plan's shape that is trained for a few steps, to be timed, and thrown away. */
typedef struct probe {
    il_model *model;
    il_data *data;
    il_trainer *trainer;
} probe;

static il_status open_probe(making *m, probe *p) {
    il_error *error = &m->command->error;
    il_config config;
    recipe_schedule schedule;
    recipe_choose_schedule(&m->text, &m->plan.shape, 60 * m->plan.minutes, 1e4, &schedule);
    il_status status = train_plan_config(&m->plan, m->tokenizer, &config, error);
    if (!status) status = open_data(m, m->split.train, &schedule, &p->data);
    if (!status) status = il_model_init(m->command->engine, &config, 0, &p->model, error);
    return status ? status : il_trainer_open(p->model, p->data, NULL, &p->trainer, error);
}

static void close_probe(probe *p) {
    il_trainer_close(p->trainer);
    il_data_close(p->data);
    il_model_unref(p->model);
}

/* Tokens a second, on average of some steps and some time: what else the machine does counts too. The first step, which
 * allocates, does not. */
static il_status time_probe(const making *m, probe *p, double *tokens_per_s, il_error *error) {
    enum { STEPS = 3 };
    double enough = 0.6 * m->plan.minutes, seconds = 0; /* a hundredth of the time */
    if (enough > 5) enough = 5;
    uint64_t tokens = 0;
    il_step step;
    il_status status = il_trainer_step(p->trainer, &step, error);
    for (int i = 0; !status && (i < STEPS || seconds < enough) && step.step < PROBE_STEPS; i++) {
        status = il_trainer_step(p->trainer, &step, error);
        if (status) break;
        tokens += step.tokens;
        seconds += step.seconds;
    }
    *tokens_per_s = (double)tokens / (seconds > 1e-9 ? seconds : 1e-9);
    return status;
}

static il_status flops_of(making *m, double flops[], size_t *n) {
    il_status status = IL_OK;
    recipe_shape kept = m->plan.shape;
    for (*n = 0; recipe_shape_at(*n) && !status; ++*n) {
        il_config config;
        m->plan.shape = *recipe_shape_at(*n);
        status = train_plan_config(&m->plan, m->tokenizer, &config, &m->command->error);
        if (!status) flops[*n] = il_config_flops_per_token(&config, 256, 1);
    }
    m->plan.shape = kept;
    return status;
}

/* Fills in the plan. first: a probe of the first shape, which holds the folder's lock. */
static il_status choose(making *m, probe *first, size_t shape) {
    enum { SHAPES = 16 };
    train_plan *p = &m->plan;
    il_error *error = &m->command->error;
    double flops[SHAPES], seconds = 60 * p->minutes;
    size_t n;
    il_status status = flops_of(m, flops, &n);
    if (!status) status = time_probe(m, first, &p->tokens_per_s, error);
    if (status) return status;
    size_t best = recipe_choose_shape(&m->text, seconds, p->tokens_per_s * flops[shape], flops, n);
    p->shape = *recipe_shape_at(best);
    if (best != shape) {
        probe second = {0};
        status = open_probe(m, &second);
        if (!status) status = time_probe(m, &second, &p->tokens_per_s, error);
        close_probe(&second);
    }
    if (status) return status;
    recipe_choose_schedule(&m->text, &p->shape, seconds, p->tokens_per_s, &p->schedule);
    p->decided = 1;
    return train_plan_write(p, m->paths.recipe, error);
}

/* One process decides; what another one has decided in the meantime holds. */
static il_status decide(making *m) {
    enum { FIRST = 1 };
    il_error *error = &m->command->error;
    probe first = {0};
    train_plan now = {0};
    m->plan.shape = *recipe_shape_at(FIRST);
    il_status status = open_probe(m, &first);
    if (!status) status = il_trainer_lock(first.trainer, m->out, error);
    if (!status) status = train_plan_read(m->paths.recipe, &now, error);
    if (!status && now.decided)
        m->plan = now;
    else if (!status)
        status = choose(m, &first, FIRST);
    close_probe(&first);
    return status;
}

static double epochs(const making *m) {
    return (double)(m->plan.schedule.steps * m->plan.schedule.batch_tokens) / (double)m->text.tokens;
}

static void describe(making *m) {
    const train_plan *p = &m->plan;
    const char *verb = m->command->verb;
    char *lines[TRAIN_PLAN_COMMANDS];
    cli_note(verb, "%llu bytes of %llu are held out, the end, to measure with: %s",
             (unsigned long long)m->split.held_out_bytes, (unsigned long long)p->texts.bytes, m->split.held_out);
    cli_note(verb, "about %.3g minutes at %.0f tokens/s, %.3g epochs. These lines do the same:",
             (double)(p->schedule.steps * p->schedule.batch_tokens) / p->tokens_per_s / 60, p->tokens_per_s, epochs(m));
    train_plan_commands(p, &m->paths, &m->split, m->out, lines);
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        if (lines[i]) fprintf(stderr, "    %s\n", lines[i]);
        free(lines[i]);
    }
}

/* ---- the model ---- */

static il_status make_start(making *m) {
    il_config config;
    il_model *model = NULL;
    il_error *error = &m->command->error;
    if (cli_path_exists(m->paths.start, "config.json")) return IL_OK;
    il_status status = train_plan_config(&m->plan, m->tokenizer, &config, error);
    if (!status) status = il_model_init(m->command->engine, &config, m->plan.seed, &model, error);
    if (!status) status = il_model_save_with(model, m->tokenizer, m->paths.start, error);
    il_model_unref(model);
    return status;
}

static il_status run(making *m) {
    const recipe_schedule *s = &m->plan.schedule;
    const char *train = m->split.train;
    train_options options;
    train_options_default(&options);
    options.model = m->paths.start;
    options.data = &train;
    options.n_data = 1;
    options.val = m->split.held_out;
    options.log = m->paths.log;
    options.html = m->files->html;
    options.tensorboard = m->files->tensorboard;
    options.out = m->paths.run;
    options.again = m->files->again;
    options.documents = as_split(m);
    options.lr = s->lr;
    options.steps = options.save_every = s->steps;
    options.batch_tokens = s->batch_tokens;
    options.length = s->length;
    options.seed = m->plan.seed;
    options.state = s->fresh ? TRAIN_FRESH : TRAIN_BY_MIXER;
    options.val_every = s->val_every;
    options.patience = RECIPE_PATIENCE;
    options.resume = cli_path_exists(m->paths.latest, NULL);
    return train_run(m->command, &options, &m->result);
}

/* The best checkpoint becomes the folder's model. */
static il_status finish(making *m) {
    il_model *model = NULL;
    il_error *error = &m->command->error;
    il_status status = il_model_load(m->command->engine, m->paths.best, &model, error);
    if (!status) status = cli_whole_read(model, m->held_out, 0, &m->learning, error);
    if (!status) status = cli_whole_read(model, m->held_out, 1, &m->frozen, error);
    if (!status) status = il_model_save_with(model, m->tokenizer, m->out, error);
    il_model_unref(model);
    return status;
}

static void report(const making *m) {
    const train_result *r = &m->result;
    if (m->command->spec->json) {
        json_t *lines = json_array();
        char *commands[TRAIN_PLAN_COMMANDS];
        train_plan_commands(&m->plan, &m->paths, &m->split, m->out, commands);
        for (size_t i = 0; i < COUNT_OF(commands); i++) {
            if (commands[i]) json_array_append_new(lines, cli_json_string(commands[i]));
            free(commands[i]);
        }
        cli_json_print(json_pack("{s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:o, s:I, s:o, s:b, s:b, s:o}", "out",
                                 cli_json_string(m->out), "held_out", cli_json_string(m->split.held_out),
                                 "held_out_bytes", (json_int_t)m->split.held_out_bytes, "bits_per_byte",
                                 cli_json_real(m->learning.bits_per_byte), "frozen_bits_per_byte",
                                 cli_json_real(m->frozen.bits_per_byte), "steps", (json_int_t)r->made, "best_step",
                                 (json_int_t)r->validation.best_step, "epochs", cli_json_real(epochs(m)), "tokens",
                                 (json_int_t)r->tokens, "seconds", cli_json_real(r->seconds), "stopped", r->stopped,
                                 "interrupted", cli_interrupted() != 0, "commands", lines));
    } else if (!cli_interrupted()) {
        char *word = cli_shell_word(m->out);
        printf("%s: %.3f bits per byte of %s, read whole; with nothing learned while reading %.3f\n", cli_shown(m->out),
               m->learning.bits_per_byte, m->split.held_out, m->frozen.bits_per_byte);
        printf("innerloop generate --model %s --prompt '…' writes on, score, read and compress take it too\n", word);
        free(word);
    }
}

static il_status make(making *m) {
    il_error *error = &m->command->error;
    il_status status = open_folder(m);
    if (!status)
        status =
            cli_split_write(m->input, &m->plan.texts, recipe_held_out(m->plan.texts.bytes), m->out, &m->split, error);
    if (!status) status = make_tokenizer(m);
    if (!status) status = count_tokens(m);
    if (!status && !m->plan.decided) status = decide(m);
    if (!status) status = make_start(m);
    if (!status) describe(m);
    if (!status) status = run(m);
    if (!status && !cli_interrupted()) status = finish(m);
    if (!status) report(m);
    return status;
}

il_status train_new(cli_command *command, const train_new_options *options, const train_options *files) {
    making m = {.command = command, .options = options, .files = files, .learning = {NAN, NAN}, .frozen = {NAN, NAN}};
    m.out = files->out ? cli_format("%s", files->out) : name_of(files->data[0]);
    m.paths = train_plan_paths_in(m.out);
    il_status status = make(&m);
    il_data_close(m.held_out);
    il_tokenizer_close(m.tokenizer);
    cli_split_free(&m.split);
    cli_input_close(m.input);
    train_plan_paths_free(&m.paths);
    free(m.out);
    return status;
}
