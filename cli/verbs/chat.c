/* chat.c: `innerloop chat`: a conversation. On a terminal somebody types; otherwise standard input is a script, a
 * message or command a line, and what the model answers is on standard output and nothing else. */
#include "bundled_model.h"
#include "interrupt.h"
#include "model_choice.h"
#include "output.h"
#include "sampling.h"
#include "verbs.h"
#include "verbs/chat_commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUOTES "\"\"\""

typedef struct chat_options {
    const char *model, *dtype, *template, *system, *prompt, *load, *save, *think;
    uint64_t tokens_max;
    cli_sampling sampling;
} chat_options;

/* ---- opening ---- */

static il_status open_form(chat *c, const chat_options *options) {
    il_error *error = &c->command->error;
    const char *dir = c->command->model_dir;
    il_status status = il_chat_open(c->tokenizer, il_model_config(c->model), dir, options->template, &c->form, error);
    if (status == IL_ERR_UNSUPPORTED && !options->template) {
        char why[300];
        snprintf(why, sizeof why, "%.250s", error->message);
        why[strcspn(why, ";")] = 0;
        return cli_fail(error, status,
                        "%s; --template names one, and plain suits models that were not trained to answer", why);
    }
    if (status) return status;
    il_chat_get_info(c->form, &c->info);
    c->thinking = !options->think ? -1 : !strcmp(options->think, "on");
    if (options->think && c->info.thinks < 0)
        return cli_fail(error, IL_ERR_ARG, "--think: this model's chat template knows no thoughts");
    if (c->info.thinks == 2 && !c->thinking)
        return cli_fail(error, IL_ERR_ARG, "--think off: this model's chat template has no way to ask it not to think");
    return IL_OK;
}

static il_status open_chat(chat *c, const chat_options *options) {
    il_session_options fresh = {0};
    il_session *session;
    il_generation usual;
    il_error *error = &c->command->error;
    il_status status = cli_choose_session(c->command, options->model, options->load, NULL, NULL, &fresh, &c->model,
                                          &c->tokenizer, &session);
    if (status) return status;
    status = cli_command_needs_text(c->command, c->tokenizer);
    if (status) {
        il_session_close(session);
        return status;
    }
    status =
        options->load ? chat_take(c, session, options->load) : cli_conversation_start(&c->conversation, session, error);
    if (!status) status = open_form(c, options);
    if (!status)
        status = il_generation_load(c->tokenizer, il_model_config(c->model), c->command->model_dir, &usual, error);
    if (status) return status;
    cli_sampling_apply(&options->sampling, c->command->spec, &usual.sampling);
    cli_writing_open(&c->writing, c->model, c->tokenizer, &usual);
    c->writing.silent[0] = c->info.think_begin;
    c->writing.silent[1] = c->info.think_end;
    c->writing.stops = &c->info.stop;
    c->writing.n_stops = c->info.stop != NULL;
    c->writing.keeps_trace = c->info.stop != NULL;
    c->tokens_max = options->tokens_max;
    if (options->system) {
        free(c->conversation.now->system.text);
        c->conversation.now->system = cli_text_of(options->system, strlen(options->system));
    }
    return IL_OK;
}

/* ---- what is typed ---- */

typedef struct message {
    char *text; /* [bytes] and a NUL */
    size_t bytes, room;
    int quoted; /* so it is no command */
} message;

static void append(message *m, const char *text, size_t bytes) {
    m->text = cli_grown(m->text, &m->room, m->bytes + bytes + 1, 1);
    memcpy(m->text + m->bytes, text, bytes);
    m->bytes += bytes;
    m->text[m->bytes] = 0;
}

static int ends_in_quotes(const char *text, size_t bytes) {
    size_t n = strlen(QUOTES);
    return bytes >= n && !memcmp(text + bytes - n, QUOTES, n);
}

/* The next line, or what stands between two QUOTES, of whatever lines. */
static cli_console_result read_message(chat *c, const char *prompt, message *m) {
    const char *line;
    size_t bytes, n = strlen(QUOTES);
    m->bytes = 0;
    m->quoted = 0;
    cli_console_result result = cli_console_line(&c->console, prompt, &line, &bytes);
    if (result != CLI_CONSOLE_LINE) return result;
    if (bytes < n || memcmp(line, QUOTES, n)) {
        append(m, line, bytes);
        return CLI_CONSOLE_LINE;
    }
    append(m, "", 0);
    m->quoted = 1;
    for (line += n, bytes -= n;; append(m, "\n", 1)) {
        int ends = ends_in_quotes(line, bytes);
        append(m, line, bytes - (ends ? n : 0));
        if (ends) return CLI_CONSOLE_LINE;
        result = cli_console_line(&c->console, "... ", &line, &bytes);
        if (result == CLI_CONSOLE_END) return CLI_CONSOLE_LINE; /* as if the quotes had come */
        if (result != CLI_CONSOLE_LINE) return result;
    }
}

static int is_blank(const message *m) {
    for (size_t i = 0; i < m->bytes; i++)
        if (!memchr(" \t\n", m->text[i], 3)) return 0;
    return 1;
}

static il_status take_message(chat *c, const message *m) {
    if (is_blank(m)) return IL_OK;
    if (m->quoted || m->text[0] != '/') return chat_say(c, m->text, m->bytes);
    if (m->text[1] == '/') return chat_say(c, m->text + 1, m->bytes - 1);
    if (strlen(m->text) != m->bytes) return cli_fail(&c->command->error, IL_ERR_ARG, "a command with a NUL byte in it");
    return chat_command(c, m->text + 1);
}

/* On a terminal what could not be done is said, and the conversation goes on. */
static il_status forgive(chat *c, il_status status) {
    if (!status || !c->console.terminal || status == IL_ERR_CANCELLED) return status;
    chat_note(c, "%s", c->command->error.message);
    return IL_OK;
}

/* Ctrl-C where nothing is being written: the second time in a row it leaves. */
static void interrupted(chat *c, int *times) {
    if (!cli_interrupt_counted() || cli_interrupted()) return;
    fputc('\n', stderr);
    if (++*times > 1)
        cli_interrupt_stop(SIGINT);
    else
        chat_note(c, "(Ctrl-C once more leaves, as /quit does)");
}

static il_status converse(chat *c, const chat_options *options) {
    message m = {.text = NULL};
    int times = 0;
    il_status status = options->prompt ? forgive(c, chat_say(c, options->prompt, strlen(options->prompt))) : IL_OK;
    while (!status && !c->leaves && !cli_interrupted()) {
        const char *name = c->conversation.now->name;
        char *prompt = cli_format("%s> ", strcmp(name, "main") ? cli_shown(name) : "");
        cli_console_result result = read_message(c, prompt, &m);
        free(prompt);
        if (result == CLI_CONSOLE_END) break;
        if (result == CLI_CONSOLE_INTERRUPT) {
            interrupted(c, &times);
            continue;
        }
        times = 0;
        if (result == CLI_CONSOLE_TOO_LONG)
            status = cli_fail(&c->command->error, IL_ERR_ARG, "a line of more than 16 MiB; /read FILE reads any text");
        else
            status = take_message(c, &m);
        status = forgive(c, status);
    }
    if (c->console.ended && c->console.terminal) fputc('\n', stderr);
    free(m.text);
    return status;
}

static il_status run(chat *c, const chat_options *options) {
    il_status status = open_chat(c, options);
    if (status) return status;
    if (c->console.terminal && !c->command->spec->json)
        chat_note(c, "%s, template %s. /help lists commands.", cli_shown(c->command->model_dir),
                  il_chat_form_name(c->info.form));
    cli_interrupt_catch();
    cli_interrupt_count(c->console.terminal);
    status = converse(c, options);
    cli_interrupt_count(0);
    if (!status && options->save) status = chat_save(c, options->save);
    if (!status && cli_interrupted()) status = cli_fail(&c->command->error, IL_ERR_CANCELLED, "interrupted");
    return status;
}

int verb_chat(int argc, char **argv) {
    chat_options options = {.tokens_max = 4096};
    arg_option table[] = {
        ARG("--model", ARG_TEXT, &options.model, "DIR", CLI_BUNDLED_MODEL_HELP, READS),
        CLI_DTYPE(&options.dtype),
        ARG("--template", ARG_CHOICE, &options.template, "{chatml,llama3,llama2,plain}",
            "how turns are written (default: as the chat template in the model's directory does)"),
        ARG("--system", ARG_TEXT, &options.system, "TEXT", "a system message (default: the template's, if it has one)"),
        ARG("--prompt", ARG_TEXT, &options.prompt, "TEXT", "the first message"),
        ARG("--load", ARG_TEXT, &options.load, "FILE",
            "go on with a conversation that was saved, or after what a state has read", READS),
        ARG("--save", ARG_TEXT, &options.save, "FILE", "save the conversation at the end", REPLACES("--load")),
        ARG("--think", ARG_CHOICE, &options.think, "{on,off}",
            "whether the model thinks before it answers (default: as its template has it)"),
        ARG("--max-tokens", ARG_COUNT, &options.tokens_max, "N", "end an answer after N tokens (default 4096)",
            RANGE(0, 1e15)),
        CLI_SAMPLING_OPTIONS(options.sampling),
    };
    arg_spec spec = {.verb = "chat",
                     .summary = "talk with a model",
                     .json_help = "print one JSON object for each turn on standard output, and nothing else there",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop chat --model model\n"
                                "innerloop chat --model model --prompt 'What is a whale?' --save whales.ilstate"};
    cli_command command;
    chat c = {.command = &command};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    c.shows = isatty(STDOUT_FILENO) && !spec.json;
    cli_console_open(&c.console);
    cli_conversation_open(&c.conversation);
    il_status status = cli_command_open(&command, &spec);
    command.dtype = options.dtype;
    if (!status) status = run(&c, &options);
    cli_conversation_close(&c.conversation);
    cli_writing_close(&c.writing);
    cli_console_close(&c.console);
    il_chat_close(c.form);
    il_tokenizer_close(c.tokenizer);
    il_model_unref(c.model);
    free(c.saved_as);
    return cli_command_close(&command, status);
}
