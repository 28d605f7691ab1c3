/* read.c: `innerloop read`: reads a text once and keeps the state it leaves in a file, from which any number of runs
 * can go on. The text comes line by line (lines.h), so the state does not depend on how it arrives; memory is constant.
 * */
#include "bundled_model.h"
#include "command.h"
#include "documents.h"
#include "files.h"
#include "interrupt.h"
#include "lines.h"
#include "model_choice.h"
#include "output.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 2048 }; /* tokens after which what has been tokenized is fed */

typedef struct read_options {
    const char *model, *dtype, *save, *load;
    int frozen, mix;
    cli_documents documents;
} read_options;

typedef struct reading {
    cli_command *command;
    il_model *model;
    il_tokenizer *tokenizer;
    il_session *session;
    cli_lines lines;
    int32_t *tokens; /* [n], not fed yet */
    size_t n, capacity;
    uint64_t position; /* at the beginning */
    double started;
} reading;

static void push(reading *r, const int32_t *tokens, size_t n) {
    r->tokens = cli_grown(r->tokens, &r->capacity, r->n + n, sizeof *r->tokens);
    if (n) memcpy(r->tokens + r->n, tokens, n * sizeof *tokens);
    r->n += n;
}

static uint64_t read_so_far(const reading *r) { return il_session_position(r->session) - r->position; }

static double rate(const reading *r) {
    double seconds = cli_seconds() - r->started;
    return seconds > 0 ? (double)read_so_far(r) / seconds : 0;
}

/* Ctrl-C does not end it early: the state must end where a line ends. */
static il_status feed(reading *r) {
    size_t n = r->n;
    r->n = 0;
    return il_session_feed(r->session, r->tokens, n, NULL, NULL, &r->command->error);
}

static il_status read_all(reading *r) {
    il_error *error = &r->command->error;
    cli_progress progress;
    uint64_t size = cli_lines_size(&r->lines);
    il_status status = IL_OK;
    if (size) cli_progress_begin(&progress, r->command->verb, "byte", 0, size);
    while (!r->lines.ended && !status) {
        status = cli_lines_fill(&r->lines, error);
        for (int got = 1; got && !status && !cli_interrupted();) {
            status = cli_lines_next(&r->lines, &got, error);
            const cli_encoder *line = &r->lines.encoder;
            if (got && !status) push(r, line->tokens.ids + line->skip, line->tokens.n - line->skip);
            if (!status && r->n >= BATCH) status = feed(r);
        }
        if (!status) status = feed(r);
        if (!size || status) continue;
        char detail[64];
        snprintf(detail, sizeof detail, "%s, %.0f tokens/s", cli_count(read_so_far(r), "token"), rate(r));
        /* A line without an end is taken at the end of the text, after the last byte has come. */
        uint64_t most = r->lines.ended ? size : size - 1;
        cli_progress_show(&progress, r->lines.came < most ? r->lines.came : most, detail);
    }
    if (size) cli_progress_end(&progress);
    return status;
}

static il_status begin(reading *r, const read_options *options, const char *path) {
    il_error *error = &r->command->error;
    il_documents_options documents = cli_documents_options(&options->documents);
    il_session_options fresh = {.frozen = options->frozen, .mix = options->mix};
    il_status status = cli_choose_session(r->command, options->model, options->load, path, &documents, &fresh,
                                          &r->model, &r->tokenizer, &r->session);
    if (!status) status = cli_command_needs_text(r->command, r->tokenizer);
    if (status) return status;
    r->position = il_session_position(r->session);
    if (!r->position) {
        int32_t bos = il_tokenizer_bos(r->tokenizer, il_model_config(r->model));
        if (bos >= 0) push(r, &bos, 1);
    }
    return cli_lines_open(&r->lines, r->command->engine, path, &documents, r->tokenizer, r->position > 0, error);
}

static il_status read_text(reading *r, const read_options *options, const char *path) {
    il_error *error = &r->command->error;
    il_status status = begin(r, options, path);
    if (status) return status;
    r->started = cli_seconds();
    cli_interrupt_catch();
    status = read_all(r);
    if (!status) status = il_session_save(r->session, options->save, error);
    if (status) return status;
    double seconds = cli_seconds() - r->started;
    unsigned long long tokens = read_so_far(r), position = il_session_position(r->session), bytes = r->lines.taken;
    unsigned long long size = cli_path_bytes(options->save);
    if (r->command->spec->json)
        cli_json_print(json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:b}", "out", cli_json_string(options->save),
                                 "tokens", (json_int_t)tokens, "bytes", (json_int_t)bytes, "position",
                                 (json_int_t)position, "state_bytes", (json_int_t)size, "seconds",
                                 cli_json_real(seconds), "tokens_per_s", cli_json_real(rate(r)), "interrupted",
                                 cli_interrupted() != 0));
    else
        printf("%s: position %llu, %s; read %s (%s of text) in %.1f s, %.0f tokens/s%s\n", cli_shown(options->save),
               position, cli_count(size, "byte"), cli_count(tokens, "token"), cli_count(bytes, "byte"), seconds,
               rate(r), cli_interrupted() ? ", interrupted" : "");
    return IL_OK;
}

int verb_read(int argc, char **argv) {
    read_options options = {0};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_CHOSEN_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--save-state", ARG_TEXT, &options.save, "FILE", "state file to write, NAME.ilstate",
            REPLACES("--load-state"), .required = 1),
        ARG("--load-state", ARG_TEXT, &options.load, "FILE", "go on from this state; it may be the same file", READS),
        ARG("--frozen", ARG_FLAG, &options.frozen, NULL,
            "make no inner update, now and in what goes on from the state: the control for learning while reading"),
        ARG("--mix", ARG_FLAG, &options.mix, NULL,
            "predict also by what followed the same words before in this text: what repeats itself surprises less"),
        CLI_DOCUMENTS_OPTIONS(options.documents, CLI_FORMATS_OF_TEXT),
    };
    arg_spec spec = {.verb = "read",
                     .summary = "read a text once into a state file",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .operand = "FILE",
                     .operand_help = CLI_FILE_HELP,
                     .operands_min = 1,
                     .operands_max = 1,
                     .example = "innerloop read --model model --save-state book.ilstate book.txt\n"
                                "innerloop generate --model model --load-state book.ilstate --prompt 'And then'"};
    cli_command command;
    reading r = {.command = &command};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    if (options.load && (options.frozen || options.mix)) {
        cli_error(spec.verb,
                  options.frozen
                      ? "--load-state and --frozen exclude each other: whether a state is frozen was decided "
                        "when it was read"
                      : "--load-state and --mix exclude each other: whether a state has a mix was decided "
                        "when it was read");
        arg_release(&spec);
        return 2;
    }
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = read_text(&r, &options, spec.operands.items[0]);
    cli_lines_close(&r.lines);
    il_session_close(r.session);
    il_tokenizer_close(r.tokenizer);
    il_model_unref(r.model);
    free(r.tokens);
    return cli_command_close(&command, status);
}
