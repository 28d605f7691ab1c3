/* chat_turn.c: see chat_turn.h. What a session has read stays read: a turn costs its own tokens, and nothing before. */
#include "verbs/chat_turn.h"
#include "interrupt.h"
#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROMPT_TOKENS = 2048 };
#define DIM "\033[2m"
#define PLAIN "\033[0m"

void chat_note(const chat *c, const char *format, ...) {
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (c->console.terminal)
        fprintf(stderr, "%s\n", text);
    else
        cli_note(c->command->verb, "%s", text);
}

/* ---- printing ---- */

/* Bytes of a character at text that a terminal must not get: it would obey. */
static size_t is_control(const char *text, size_t bytes) {
    unsigned char a = (unsigned char)text[0], b = bytes > 1 ? (unsigned char)text[1] : 0;
    if (a == 0xC2 && b >= 0x80 && b < 0xA0) return 2;
    return (a < 0x20 && a != '\n' && a != '\t') || a == 0x7F;
}

/* cli_print: white space at the beginning of an answer is left out, and thoughts are for terminals only. */
static int print(void *user, const char *text, size_t bytes) {
    chat *c = user;
    int failure = 0;
    if (c->in_thought && !c->shows) return 0;
    while (!c->begun && bytes && memchr(" \n\t\r", *text, 4)) text++, bytes--;
    if (!bytes) return 0;
    if (!c->begun && c->in_thought) failure = cli_print_stdout(NULL, DIM, sizeof DIM - 1);
    c->begun = 1;
    c->last = text[bytes - 1];
    for (size_t at = 0, n; c->shows && at < bytes; at += n) {
        size_t run = at;
        while (run < bytes && !is_control(text + run, bytes - run)) run++;
        if (run > at && !failure) failure = cli_print_stdout(NULL, text + at, run - at);
        n = run - at;
        if (run < bytes) {
            n += is_control(text + run, bytes - run);
            if (!failure) failure = cli_print_stdout(NULL, "\xEF\xBF\xBD", 3);
        }
    }
    if (!c->shows) failure = cli_print_stdout(NULL, text, bytes);
    return failure;
}

/* What was written since, without white space around it. */
static cli_text take_text(const cli_writing *w) {
    size_t from = 0, to = w->bytes;
    while (from < to && memchr(" \n\t\r", w->text[from], 4)) from++;
    while (to > from && memchr(" \n\t\r", w->text[to - 1], 4)) to--;
    return cli_text_of(w->bytes ? w->text + from : "", to - from);
}

static void end_line(chat *c) {
    if (c->command->spec->json || !c->begun) return;
    if (c->in_thought) fputs(PLAIN, stdout);
    if (c->last != '\n') putchar('\n');
    fflush(stdout);
}

/* ---- reading ---- */

static int wants_stop(chat *c) {
    if (cli_interrupt_counted()) c->stopped = 1;
    return c->stopped || cli_interrupted();
}

static il_status feed(chat *c, const int32_t *tokens, size_t n, size_t *read) {
    *read = 0;
    if (wants_stop(c)) return cli_fail(&c->command->error, IL_ERR_CANCELLED, "interrupted");
    return cli_conversation_feed(&c->conversation, tokens, n, read, &c->command->error);
}

/* The turn's message as tokens, and what opens the answer to it. */
static il_status make_prompt(chat *c, const cli_turn *turn, const char *text, size_t bytes, int *in_thought,
                             il_tokens *tokens) {
    il_chat_message messages[3];
    size_t n = 0, from;
    il_error *error = &c->command->error;
    if (turn->from) messages[n++] = (il_chat_message){IL_CHAT_ASSISTANT, "", 0}; /* stands for all there was */
    from = n;
    if (turn->system.text) messages[n++] = (il_chat_message){IL_CHAT_SYSTEM, turn->system.text, turn->system.bytes};
    messages[n++] = (il_chat_message){IL_CHAT_USER, text, bytes};
    *in_thought = 0;
    il_status status = il_chat_render(c->form, messages, n, from, tokens, error);
    if (!status && !turn->is_file) status = il_chat_begin_answer(c->form, c->thinking, in_thought, tokens, error);
    return status;
}

/* *read: so many were, also after a failure. */
static il_status read_prompt(chat *c, const il_tokens *tokens, size_t *read) {
    cli_progress progress;
    il_status status = IL_OK;
    *read = 0;
    cli_progress_begin(&progress, c->command->verb, "prompt", 0, tokens->n);
    while (*read < tokens->n && !status) {
        size_t n = tokens->n - *read < PROMPT_TOKENS ? tokens->n - *read : PROMPT_TOKENS, some;
        status = feed(c, tokens->ids + *read, n, &some);
        *read += some;
        if (!status && tokens->n > PROMPT_TOKENS) cli_progress_show(&progress, *read, "");
    }
    cli_progress_hide();
    cli_progress_end(&progress);
    return status;
}

/* What ends a message or an answer, whatever was asked to stop meanwhile. */
static il_status read_end(chat *c, int in_thought, size_t *n) {
    il_tokens tokens = {0};
    il_status status = il_chat_end_answer(c->form, in_thought, &tokens, &c->command->error);
    if (!status) status = cli_conversation_feed(&c->conversation, tokens.ids, tokens.n, NULL, &c->command->error);
    *n = tokens.n;
    il_tokens_free(&tokens);
    return status;
}

/* ---- writing ---- */

typedef struct answer {
    uint64_t tokens; /* drawn, without the one that ended it */
    const char *finish;
    double prompt_seconds, seconds;
    size_t prompt_tokens;
    uint64_t evaluated; /* by all of the turn */
} answer;

/* Between a thought and what is not one. */
static void change_over(chat *c, cli_turn *turn, int in_thought) {
    cli_writing *w = &c->writing;
    cli_writing_end(w);
    if (c->in_thought) turn->thought = take_text(w);
    end_line(c);
    if (c->in_thought && c->begun && !c->command->spec->json) putchar('\n');
    c->in_thought = in_thought;
    c->begun = 0;
    cli_writing_begin(w, 1);
}

static il_status draw(chat *c, cli_turn *turn, answer *a) {
    cli_writing *w = &c->writing;
    il_error *error = &c->command->error;
    il_status status = IL_OK;
    while (!status && !a->finish && !w->failure) {
        int32_t token;
        size_t read = 0;
        const il_session *session = c->conversation.now->session;
        if (wants_stop(c)) a->finish = "interrupted";
        if (!a->finish && a->tokens == c->tokens_max) a->finish = "length";
        if (a->finish || (status = cli_writing_next(w, session, &token, &a->finish, error))) break;
        if (a->finish && !strcmp(a->finish, "eos")) break;
        a->tokens++;
        if (a->finish) break;
        if (c->in_thought && token == c->info.think_end)
            change_over(c, turn, 0);
        else if (!c->in_thought && token == c->info.think_begin && !turn->thought.text && !c->begun)
            change_over(c, turn, 1);
        cli_writing_remember(w, &token, 1);
        status = feed(c, &token, 1, &read);
        if (status == IL_ERR_CANCELLED) { /* it was printed, so it is read all the same */
            a->finish = "interrupted";
            status = read ? IL_OK : cli_conversation_feed(&c->conversation, &token, 1, NULL, error);
        }
    }
    return status;
}

/* After a stop string, tokens were read that are not of the answer. */
static il_status cut(chat *c, il_session **before, uint64_t position) {
    uint64_t evaluated;
    il_status status =
        cli_writing_cut(&c->writing, &c->conversation.now->session, before, &evaluated, &c->command->error);
    c->conversation.evaluated += evaluated;
    if (!status) cli_conversation_replace(&c->conversation, position, c->writing.tokens, c->writing.n);
    return status;
}

static il_status write_answer(chat *c, cli_turn *turn, answer *a) {
    cli_writing *w = &c->writing;
    cli_branch *b = c->conversation.now;
    il_session *before = NULL;
    uint64_t position = il_session_position(b->session);
    size_t n_recent = b->n_tokens < CLI_RECENT ? b->n_tokens : CLI_RECENT, n_end;
    double started = cli_seconds();
    il_status status = IL_OK;
    w->n_recent = 0; /* what the penalty looks at does not depend on other branches */
    cli_writing_remember(w, b->tokens + b->n_tokens - n_recent, n_recent);
    cli_writing_begin(w, 1);
    c->begun = 0;
    if (w->n_stops) status = il_session_fork(b->session, &before, &c->command->error);
    if (!status) status = draw(c, turn, a);
    cli_interrupt_cancels(NULL);
    if (!status && strcmp(a->finish ? a->finish : "", "stop") && cli_writing_end(w)) a->finish = "stop";
    end_line(c);
    if (!status && a->finish && !strcmp(a->finish, "stop")) status = cut(c, &before, position);
    il_session_close(before);
    if (!status && w->failure)
        status = cli_fail(&c->command->error, IL_ERR_IO, "standard output: %s", strerror(w->failure));
    if (status) return status;
    if (c->in_thought) turn->thought = take_text(w);
    turn->answer = c->in_thought ? cli_text_of("", 0) : take_text(w);
    status = read_end(c, c->in_thought, &n_end);
    a->seconds = cli_seconds() - started;
    return status;
}

static void report(chat *c, const cli_turn *turn, const answer *a) {
    const cli_branch *b = c->conversation.now;
    uint64_t position = il_session_position(b->session);
    double rate = a->seconds > 0 ? (double)a->tokens / a->seconds : 0;
    if (c->command->spec->json) {
        json_t *thought = turn->thought.text ? cli_json_text(turn->thought.text, turn->thought.bytes) : json_null();
        cli_json_print(
            json_pack("{s:s, s:o, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:s}", "kind",
                      turn->is_file ? "read" : "turn", "branch", cli_json_string(b->name), "turn", (json_int_t)b->n,
                      "text", turn->answer.text ? cli_json_text(turn->answer.text, turn->answer.bytes) : json_null(),
                      "thought", thought, "tokens", (json_int_t)a->tokens, "prompt_tokens",
                      (json_int_t)a->prompt_tokens, "position", (json_int_t)position, "evaluated",
                      (json_int_t)a->evaluated, "prompt_seconds", cli_json_real(a->prompt_seconds), "seconds",
                      cli_json_real(a->seconds), "tokens_per_s", cli_json_real(rate), "finish", a->finish));
        fflush(stdout);
    } else if (turn->is_file) {
        chat_note(c, "read %s of %s in %.2f s (%.0f tokens/s)%s", cli_count(a->prompt_tokens, "token"),
                  cli_shown(turn->user.text), a->prompt_seconds,
                  a->prompt_seconds > 0 ? (double)a->prompt_tokens / a->prompt_seconds : 0,
                  strcmp(a->finish, "interrupted") ? "" : ", and no more");
    } else if (!strcmp(a->finish, "length")) {
        chat_note(c, "(stopped after %s, --max-tokens)", cli_count(a->tokens, "token"));
    } else if (!strcmp(a->finish, "interrupted")) {
        chat_note(c, "(stopped)");
    }
}

/* A turn that was not read whole is none. */
static il_status take_back(chat *c, il_status status) {
    il_error why = c->command->error;
    uint64_t again;
    il_status back = cli_conversation_rewind(&c->conversation, 1, &again, &c->command->error);
    if (back) return back;
    if (status == IL_ERR_CANCELLED) chat_note(c, "(the message was taken back)");
    c->command->error = why;
    return status == IL_ERR_CANCELLED ? IL_OK : status;
}

static il_status have_turn(chat *c, const char *path, const char *text, size_t bytes) {
    answer a = {.finish = NULL};
    il_tokens tokens = {0};
    cli_turn *turn;
    size_t n_end;
    uint64_t evaluated = cli_conversation_evaluated(&c->conversation);
    double started = cli_seconds();
    il_status status = cli_conversation_turn(&c->conversation, &turn, &c->command->error);
    if (status) return status;
    turn->is_file = path != NULL;
    turn->user = path ? cli_text_of(path, strlen(path)) : cli_text_of(text, bytes);
    c->stopped = 0;
    cli_interrupt_counted();
    cli_interrupt_cancels(c->conversation.now->session);
    status = make_prompt(c, turn, text, bytes, &c->in_thought, &tokens);
    if (!status) status = read_prompt(c, &tokens, &a.prompt_tokens);
    a.prompt_seconds = cli_seconds() - started;
    if (status == IL_ERR_CANCELLED && path && a.prompt_tokens) {
        cli_interrupt_cancels(NULL);
        a.finish = "interrupted";
        status = read_end(c, 0, &n_end);
    }
    il_tokens_free(&tokens);
    if (status) {
        cli_interrupt_cancels(NULL);
        return take_back(c, status);
    }
    if (path)
        a.finish = a.finish ? a.finish : "read";
    else
        status = write_answer(c, turn, &a);
    cli_interrupt_cancels(NULL);
    a.evaluated = cli_conversation_evaluated(&c->conversation) - evaluated;
    if (!status) report(c, turn, &a);
    return status;
}

il_status chat_say(chat *c, const char *text, size_t bytes) {
    c->writing.print = c->command->spec->json ? NULL : print;
    c->writing.user = c;
    return have_turn(c, NULL, text, bytes);
}

il_status chat_read(chat *c, const char *path, const char *text, size_t bytes) {
    return have_turn(c, path, text, bytes);
}
