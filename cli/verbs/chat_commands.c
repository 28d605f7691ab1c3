/* chat_commands.c: see chat_commands.h. What a command prints because it was asked to is on standard output, all else
 * on standard error. */
#include "verbs/chat_commands.h"
#include "documents.h"
#include "output.h"
#include "safetensors.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static il_status fail(chat *c, const char *text) { return cli_fail(&c->command->error, IL_ERR_ARG, "%s", text); }

/* ---- what was said ---- */

static void print_text(const char *who, cli_text text) {
    if (text.text) printf("%s: %s\n", who, text.bytes == strlen(text.text) ? text.text : cli_shown(text.text));
}

static il_status history(chat *c, const char *argument) {
    const cli_branch *b = c->conversation.now;
    (void)argument;
    if (c->command->spec->json) {
        cli_json_print(cli_conversation_note(&c->conversation, il_chat_form_name(c->info.form)));
        return IL_OK;
    }
    for (size_t i = 0; i < b->n; i++) {
        const cli_turn *turn = b->turns[i];
        print_text("system", turn->system);
        print_text(turn->is_file ? "read" : "user", turn->user);
        print_text("assistant", turn->answer);
    }
    return IL_OK;
}

static il_status stats(chat *c, const char *argument) {
    const cli_branch *b = c->conversation.now;
    il_session_stats s;
    (void)argument;
    il_session_get_stats(b->session, &s);
    json_t *object = json_pack("{s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "kind", "stats", "branch",
                               cli_json_string(b->name), "turns", (json_int_t)b->n, "position", (json_int_t)s.position,
                               "evaluated", (json_int_t)cli_conversation_evaluated(&c->conversation), "state_bytes",
                               (json_int_t)s.state_bytes, "states_kept", (json_int_t)c->conversation.n_kept,
                               "states_bytes", (json_int_t)c->conversation.kept_bytes);
    if (c->command->spec->json) {
        cli_json_print(object);
        return IL_OK;
    }
    json_decref(object);
    printf("branch %s: %s, %s\n", cli_shown(b->name), cli_count(b->n, "turn"), cli_count(s.position, "token"));
    printf("state: %.1f MB; to go back to: %s, %.1f MB\n", (double)s.state_bytes / 1e6,
           cli_count(c->conversation.n_kept, "state"), (double)c->conversation.kept_bytes / 1e6);
    printf("evaluated since the start: %s\n", cli_count(cli_conversation_evaluated(&c->conversation), "token"));
    return IL_OK;
}

static il_status branches(chat *c, const char *argument) {
    (void)argument;
    json_t *list = json_array();
    for (size_t i = 0; i < c->conversation.n; i++) {
        const cli_branch *b = c->conversation.branches[i];
        if (c->command->spec->json)
            json_array_append_new(list,
                                  json_pack("{s:o, s:I, s:I}", "branch", cli_json_string(b->name), "turns",
                                            (json_int_t)b->n, "position", (json_int_t)il_session_position(b->session)));
        else
            printf("%c %s: %s, %s\n", b == c->conversation.now ? '*' : ' ', cli_shown(b->name), cli_count(b->n, "turn"),
                   cli_count(il_session_position(b->session), "token"));
    }
    if (c->command->spec->json) cli_json_print(json_pack("{s:s, s:O}", "kind", "branches", "branches", list));
    json_decref(list);
    return IL_OK;
}

/* ---- how it is said ---- */

static il_status set_system(chat *c, const char *argument) {
    cli_branch *b = c->conversation.now;
    free(b->system.text);
    b->system = cli_text_of(argument, strlen(argument));
    if (il_session_position(b->session)) chat_note(c, "(it will be read before the next message)");
    return IL_OK;
}

static il_status think(chat *c, const char *argument) {
    int on = !strcmp(argument, "on");
    if (!on && strcmp(argument, "off")) return fail(c, "/think on or /think off");
    if (c->info.thinks < 0) return fail(c, "this model's chat template knows no thoughts");
    if (c->info.thinks == 2 && !on) return fail(c, "this model's chat template has no way to ask it not to think");
    c->thinking = on;
    return IL_OK;
}

static il_status show_template(chat *c, const char *argument) {
    static const char *const thinks[] = {"", ", thinks when asked to", ", thinks unless asked not to",
                                         ", always thinks"};
    (void)argument;
    printf("%s%s\n", il_chat_form_name(c->info.form), thinks[c->info.thinks + 1]);
    return IL_OK;
}

/* ---- branches ---- */

static int is_name(const char *name) {
    for (; *name; name++)
        if ((unsigned char)*name <= ' ' || *name == 0x7F) return 0;
    return 1;
}

static il_status fork_branch(chat *c, const char *argument) {
    if (!is_name(argument)) return fail(c, "/fork NAME: a name is one word");
    il_status status = cli_conversation_fork(&c->conversation, *argument ? argument : NULL, &c->command->error);
    if (!status) chat_note(c, "(branch %s; /switch main goes back to the first)", cli_shown(c->conversation.now->name));
    return status;
}

static il_status switch_branch(chat *c, const char *argument) {
    if (!*argument) return fail(c, "/switch NAME: /branches lists them");
    return cli_conversation_switch(&c->conversation, argument, &c->command->error);
}

static il_status rewind_turns(chat *c, const char *argument) {
    uint64_t again;
    char *end;
    unsigned long n = *argument ? strtoul(argument, &end, 10) : 1;
    if (*argument && (*end || !isdigit((unsigned char)*argument) || !n)) return fail(c, "/rewind N: how many turns");
    il_status status = cli_conversation_rewind(&c->conversation, n, &again, &c->command->error);
    if (status) return status;
    if (again) chat_note(c, "(%s read again)", cli_count(again, "token"));
    chat_note(c, "(%s left)", cli_count(c->conversation.now->n, "turn"));
    return IL_OK;
}

static il_status answer_again(chat *c, const char *argument) {
    const cli_branch *b = c->conversation.now;
    uint64_t again;
    (void)argument;
    if (b->n == b->first || b->turns[b->n - 1]->is_file) return fail(c, "/regen: there is no answer to give again");
    const cli_text *said = &b->turns[b->n - 1]->user;
    cli_text user = cli_text_of(said->text, said->bytes);
    il_status status = cli_conversation_rewind(&c->conversation, 1, &again, &c->command->error);
    c->writing.generation.sampling.seed++;
    if (!status) status = chat_say(c, user.text, user.bytes);
    free(user.text);
    return status;
}

static il_status clear(chat *c, const char *argument) {
    il_session *session;
    (void)argument;
    il_status status = il_session_open(c->model, NULL, &session, &c->command->error);
    return status ? status : cli_conversation_start(&c->conversation, session, &c->command->error);
}

/* ---- files ---- */

static il_status read_file(chat *c, const char *argument) {
    char *text;
    size_t bytes;
    if (!*argument) return fail(c, "/read FILE");
    il_status status = cli_documents_text(c->command->engine, argument, &text, &bytes, &c->command->error);
    if (!status && !bytes) status = cli_fail(&c->command->error, IL_ERR_FORMAT, "%s: is empty", cli_shown(argument));
    if (!status) status = chat_read(c, argument, text, bytes);
    free(text);
    return status;
}

static void remember_file(chat *c, const char *path) {
    char *name = cli_format("%s", path);
    free(c->saved_as);
    c->saved_as = name;
}

il_status chat_save(chat *c, const char *path) {
    il_session *session = c->conversation.now->session;
    il_error *error = &c->command->error;
    json_t *object = cli_conversation_note(&c->conversation, il_chat_form_name(c->info.form));
    char *note = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    il_status status = note ? il_session_set_note(session, note, error)
                            : cli_fail(error, IL_ERR_NOMEM, "no memory for the conversation");
    if (!status) status = il_session_save(session, path, error);
    il_session_set_note(session, NULL, NULL);
    free(note);
    return status;
}

/* What is there and is no state may be what somebody reads, such as the model itself: it is not replaced. */
static il_status check_place(chat *c, const char *path) {
    struct stat info;
    if (!strcmp(path, "-")) return fail(c, "/save FILE: standard output is for answers");
    if (stat(path, &info) || (S_ISREG(info.st_mode) && cli_safetensors_is_state(path))) return IL_OK;
    return cli_fail(&c->command->error, IL_ERR_ARG, "/save %s: it is there, and is no state file", cli_shown(path));
}

static il_status save(chat *c, const char *argument) {
    const char *path = *argument ? argument : c->saved_as;
    if (!path) return fail(c, "/save FILE");
    il_status status = check_place(c, path);
    if (!status) status = chat_save(c, path);
    if (status) return status;
    chat_note(c, "(saved as %s)", cli_shown(path));
    if (path != c->saved_as) remember_file(c, path);
    return IL_OK;
}

il_status chat_take(chat *c, il_session *session, const char *path) {
    const char *note = il_session_note(session);
    char *copy = note ? cli_format("%s", note) : NULL;
    il_session_set_note(session, NULL, NULL);
    il_status status = cli_conversation_start(&c->conversation, session, &c->command->error);
    if (!status) {
        const char *tokens = cli_count(il_session_position(session), "token");
        if (copy && cli_conversation_restore(&c->conversation, copy))
            chat_note(c, "(a conversation of %s, %s)", cli_count(c->conversation.now->n, "turn"), tokens);
        else
            chat_note(c, "(a state that has read %s; the conversation begins after that)", tokens);
        remember_file(c, path);
    }
    free(copy);
    return status;
}

static il_status load(chat *c, const char *argument) {
    il_session *session;
    if (!*argument) return fail(c, "/load FILE");
    il_status status = il_session_load(c->model, argument, &session, &c->command->error);
    return status ? status : chat_take(c, session, argument);
}

/* ---- the table ---- */

static il_status quit(chat *c, const char *argument) {
    (void)argument;
    c->leaves = 1;
    return IL_OK;
}

static il_status help(chat *c, const char *argument);

static const struct command {
    const char *name; /* first: arg_nearest looks there */
    const char *argument;
    il_status (*run)(chat *c, const char *argument);
    const char *help;
} commands[] = {
    {"help", "", help, "this list"},
    {"read", "FILE", read_file, "the model reads a text, and learns from it; it answers nothing"},
    {"rewind", "[N]", rewind_turns, "take back the last N turns (1)"},
    {"regen", "", answer_again, "another answer to the last message"},
    {"fork", "[NAME]", fork_branch, "go on in a branch of its own"},
    {"switch", "NAME", switch_branch, "go on in another branch"},
    {"branches", "", branches, "list them"},
    {"save", "[FILE]", save, "save the conversation, with all that the model has read"},
    {"load", "FILE", load, "go on with a saved one in this branch"},
    {"clear", "", clear, "begin a new one in this branch"},
    {"system", "TEXT", set_system, "a system message"},
    {"think", "on|off", think, "whether the model thinks before it answers"},
    {"history", "", history, "what was said"},
    {"stats", "", stats, "tokens and memory"},
    {"template", "", show_template, "how turns are written"},
    {"quit", "", quit, "leave (also Ctrl-D)"},
};

static il_status help(chat *c, const char *argument) {
    (void)argument;
    FILE *out = c->command->spec->json ? stderr : stdout;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(out, "/%-9s %-7s %s\n", commands[i].name, commands[i].argument, commands[i].help);
    fprintf(out, "\"\"\" begins a message of several lines, and ends it. Ctrl-C stops an answer.\n");
    return IL_OK;
}

il_status chat_command(chat *c, const char *line) {
    char word[32];
    size_t n = strcspn(line, " \t");
    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), line);
    const char *argument = line + n + strspn(line + n, " \t");
    char *own = cli_format("%s", argument);
    for (size_t end = strlen(own); end && (own[end - 1] == ' ' || own[end - 1] == '\t');) own[--end] = 0;
    il_status status = IL_ERR_END;
    for (size_t i = 0; i < COUNT_OF(commands) && status == IL_ERR_END; i++) {
        if (strcmp(commands[i].name, word)) continue;
        status = *own && !*commands[i].argument ? cli_fail(&c->command->error, IL_ERR_ARG, "/%s takes nothing", word)
                                                : commands[i].run(c, own);
        fflush(stdout);
        free(own);
        return status;
    }
    free(own);
    const char *near = arg_nearest(word, commands, COUNT_OF(commands), sizeof commands[0]);
    return cli_fail(&c->command->error, IL_ERR_ARG,
                    "unknown command /%s%s%s (/help lists them; // begins a message with /)", cli_shown(word),
                    near ? ", did you mean /" : "", near ? near : "");
}
