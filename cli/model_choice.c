/* model_choice.c: see model_choice.h. */
#include "model_choice.h"
#include "bundled_model.h"
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void release(il_model **model, il_tokenizer **tokenizer) {
    il_tokenizer_close(*tokenizer);
    il_model_unref(*model);
    *tokenizer = NULL;
    *model = NULL;
}

/* ---- by what a text costs ---- */

/* What the text costs with a model, in bits. */
typedef il_status measure(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *text,
                          size_t bytes, int frozen, double *bits);

/* Read: summed in the order of the tokens. */
static il_status read_cost(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *text,
                           size_t bytes, int frozen, double *bits) {
    il_error *error = &command->error;
    il_session_options options = {.frozen = frozen};
    il_session *session = NULL;
    il_tokens tokens = {0};
    int32_t bos = il_tokenizer_bos(tokenizer, il_model_config(model));
    *bits = 0;
    il_status status = il_session_open(model, &options, &session, error);
    if (!status) status = il_tokenizer_encode(tokenizer, text, bytes, &tokens, error);
    float *nll = cli_alloc(tokens.n + 1, sizeof *nll);
    if (!status && bos >= 0) status = il_session_feed(session, &bos, 1, NULL, NULL, error);
    if (!status) status = il_session_feed(session, tokens.ids, tokens.n, nll, NULL, error);
    for (size_t i = 0; i < tokens.n && !status; i++)
        if (!isnan(nll[i])) *bits += (double)nll[i] / log(2);
    free(nll);
    il_tokens_free(&tokens);
    il_session_close(session);
    return status;
}

/* Compressed, with what is mixed into the model's predictions. */
static il_status compressed_cost(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *text,
                                 size_t bytes, int frozen, double *bits) {
    il_codec_options options;
    il_buffer output = {0};
    (void)frozen;
    il_codec_options_default(&options);
    il_status status = il_compress(model, tokenizer, text, bytes, &options, &output, &command->error);
    *bits = 8.0 * (double)output.bytes;
    il_buffer_free(&output);
    return status;
}

/* Tries all of them; the first of equals is taken. */
static il_status best(cli_command *command, const cli_bundled_models *models, measure *cost, const char *text,
                      size_t bytes, int frozen, size_t *winner) {
    char costs[128] = "";
    double least = INFINITY;
    for (size_t i = 0; i < models->n; i++) {
        il_model *model;
        il_tokenizer *tokenizer;
        double bits = 0;
        il_status status = cli_command_load(command, models->dirs[i], &model, &tokenizer);
        if (!status) status = cost(command, model, tokenizer, text, bytes, frozen, &bits);
        release(&model, &tokenizer);
        if (status) return status;
        size_t n = strlen(costs);
        snprintf(costs + n, sizeof costs - n, "%s%s %.3f", i ? ", " : "", models->names[i], bits / (double)bytes);
        if (bits < least) *winner = i;
        if (bits < least) least = bits;
    }
    cli_note(command->verb, "model %s (bits per byte of the first %s: %s)", models->names[*winner],
             cli_count(bytes, "byte"), costs);
    return IL_OK;
}

static il_status choose(cli_command *command, cli_bundled_models *models, measure *cost, const char *text, size_t bytes,
                        int frozen, char **dir) {
    size_t winner = 0;
    if (bytes > CLI_TRIAL_BYTES) bytes = CLI_TRIAL_BYTES;
    il_status status = models->n > 1 && bytes ? best(command, models, cost, text, bytes, frozen, &winner) : IL_OK;
    *dir = status ? NULL : cli_format("%s", models->dirs[winner]);
    cli_bundled_models_free(models);
    return status;
}

il_status cli_choose_to_compress(cli_command *command, const char *word, const char *input, size_t bytes, char **dir) {
    cli_bundled_models models;
    *dir = NULL;
    il_status status = cli_bundled_models_find(word, &models, &command->error);
    return status ? status : choose(command, &models, compressed_cost, input, bytes, 0, dir);
}

/* ---- the beginning of a file ---- */

typedef struct looking {
    int fd;
    off_t at;
} looking;

/* Leaves the place in the file as it is: standard input is read from there afterwards. */
static int64_t look(void *user, void *data, size_t bytes) {
    looking *l = user;
    ssize_t got;
    do got = pread(l->fd, data, bytes, l->at);
    while (got < 0 && errno == EINTR);
    if (got > 0) l->at += got;
    return got;
}

/* The first text [*bytes] of the file, at most CLI_TRIAL_BYTES; none where it cannot be read so. What is wrong with it
 * will be said when it is opened in earnest, so the engine here has no log. Returns 0 for a pipe or a device. */
static int beginning(const char *path, const il_documents_options *options, char *text, size_t *bytes) {
    il_documents_options o = *options;
    il_engine_options silent;
    il_engine *engine = NULL;
    il_documents *documents = NULL;
    il_document part;
    struct stat info;
    int standard = !strcmp(path, "-");
    looking l = {.fd = STDIN_FILENO};
    o.read = look;
    o.user = &l;
    *bytes = 0;
    il_engine_options_default(&silent);
    silent.threads = 1;
    if (standard ? fstat(l.fd, &info) : stat(path, &info)) return 1;
    if (!S_ISREG(info.st_mode)) return 0; /* not even opened: what writes into a pipe would take that for its reader */
    if (!standard) l.fd = open(path, O_RDONLY | O_CLOEXEC);
    if (l.fd >= 0 && (!standard || (l.at = lseek(l.fd, 0, SEEK_CUR)) >= 0) && !il_engine_open(&silent, &engine, NULL) &&
        !il_documents_open(engine, path, &o, &documents, NULL)) {
        while (*bytes < CLI_TRIAL_BYTES && !il_documents_part(documents, &part, NULL)) {
            if (part.begins && *bytes && text[*bytes - 1] != '\n') text[(*bytes)++] = '\n';
            size_t room = CLI_TRIAL_BYTES - *bytes, n = part.bytes < room ? part.bytes : room;
            memcpy(text + *bytes, part.text, n);
            *bytes += n;
        }
    }
    il_documents_close(documents);
    il_engine_close(engine);
    if (l.fd >= 0 && !standard) close(l.fd);
    return 1;
}

il_status cli_choose_for_file(cli_command *command, const char *word, const char *path,
                              const il_documents_options *options, int frozen, char **dir) {
    cli_bundled_models models;
    size_t bytes = 0;
    *dir = NULL;
    il_status status = cli_bundled_models_find(word, &models, &command->error);
    if (status) return status;
    char *text = cli_alloc(CLI_TRIAL_BYTES, 1);
    if (models.n > 1 && !beginning(path, options, text, &bytes))
        cli_note(command->verb, "model %s, because %s can be read only once (--model %s: logs, code, tables)",
                 models.names[0], strcmp(path, "-") ? path : "standard input", models.names[1]);
    status = choose(command, &models, read_cost, text, bytes, frozen, dir);
    free(text);
    return status;
}

/* ---- by who made the input ---- */

il_status cli_choose_by(cli_command *command, const char *word, cli_attempt *attempt, void *user, il_model **model,
                        il_tokenizer **tokenizer) {
    cli_bundled_models models;
    il_error first = {0};
    *model = NULL;
    *tokenizer = NULL;
    il_status status = cli_bundled_models_find(word, &models, &command->error);
    for (size_t i = 0; !status && i < models.n; i++) {
        status = cli_command_load(command, models.dirs[i], model, tokenizer);
        if (!status) status = attempt(user, *model, *tokenizer, &command->error);
        if (status) release(model, tokenizer);
        if (status != IL_ERR_MISMATCH) break;
        if (!i) first = command->error;
        if (i + 1 < models.n)
            status = IL_OK;
        else if (i)
            cli_fail(&command->error, status, "%.400s; no other bundled model made it either", first.message);
    }
    cli_bundled_models_free(&models);
    return status;
}

typedef struct state_attempt {
    const char *path;
    il_session **session;
} state_attempt;

static il_status load_state(void *user, il_model *model, il_tokenizer *tokenizer, il_error *error) {
    state_attempt *a = user;
    (void)tokenizer;
    return il_session_load(model, a->path, a->session, error);
}

il_status cli_choose_session(cli_command *command, const char *word, const char *load, const char *path,
                             const il_documents_options *options, const il_session_options *fresh, il_model **model,
                             il_tokenizer **tokenizer, il_session **session) {
    state_attempt a = {load, session};
    char *dir = NULL;
    if (load) return cli_choose_by(command, word, load_state, &a, model, tokenizer);
    il_status status = path ? cli_choose_for_file(command, word, path, options, fresh->frozen, &dir) : IL_OK;
    if (!status) status = cli_command_load(command, dir ? dir : word, model, tokenizer);
    if (!status) status = il_session_open(*model, fresh, session, &command->error);
    free(dir);
    return status;
}
