/* conversation.c: see conversation.h. */
#include "conversation.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "innerloop-chat";

cli_text cli_text_of(const char *text, size_t bytes) {
    cli_text copy = {.text = cli_alloc(bytes + 1, 1), .bytes = bytes};
    if (bytes) memcpy(copy.text, text, bytes);
    return copy;
}

/* ---- turns and the states before them ---- */

static void give_up_state(cli_conversation *c, size_t i) {
    cli_turn *turn = c->kept[i];
    il_session_close(turn->before);
    turn->before = NULL;
    c->kept_bytes -= turn->before_bytes;
    memmove(c->kept + i, c->kept + i + 1, (--c->n_kept - i) * sizeof *c->kept);
}

static void drop(cli_conversation *c, cli_turn *turn) {
    if (!turn || --turn->users) return;
    for (size_t i = c->n_kept; i--;)
        if (c->kept[i] == turn) give_up_state(c, i);
    il_session_close(turn->before);
    free(turn->system.text);
    free(turn->user.text);
    free(turn->thought.text);
    free(turn->answer.text);
    free(turn);
}

static il_status keep_state(cli_conversation *c, cli_turn *turn, const il_session *session, il_error *error) {
    il_session_stats stats;
    il_session_get_stats(session, &stats);
    il_status status = il_session_fork(session, &turn->before, error);
    if (status) return status;
    turn->before_bytes = stats.state_bytes;
    c->kept_bytes += stats.state_bytes;
    c->kept = cli_grown(c->kept, &c->kept_room, c->n_kept + 1, sizeof *c->kept);
    c->kept[c->n_kept++] = turn;
    while (c->kept_bytes > CLI_STATES_BYTES && c->n_kept > 1) give_up_state(c, 0);
    return IL_OK;
}

static cli_turn *add_turn(cli_branch *b) {
    b->turns = cli_grown(b->turns, &b->room, b->n + 1, sizeof *b->turns);
    cli_turn *turn = cli_alloc(1, sizeof *turn);
    turn->users = 1;
    turn->from = b->session ? il_session_position(b->session) : 0;
    b->turns[b->n++] = turn;
    return turn;
}

/* ---- branches ---- */

static void count_evaluated(cli_conversation *c, const il_session *session) {
    il_session_stats stats;
    if (!session) return;
    il_session_get_stats(session, &stats);
    c->evaluated += stats.tokens_fed;
}

static void forget(cli_conversation *c, cli_branch *b) {
    while (b->n) drop(c, b->turns[--b->n]);
    drop(c, b->origin);
    count_evaluated(c, b->session);
    il_session_close(b->session);
    free(b->system.text);
    b->origin = NULL;
    b->session = NULL;
    b->system = (cli_text){NULL, 0};
    b->first = b->n_tokens = 0;
}

static cli_branch *add_branch(cli_conversation *c, const char *name) {
    c->branches = cli_grown(c->branches, &c->room, c->n + 1, sizeof *c->branches);
    cli_branch *b = cli_alloc(1, sizeof *b);
    b->name = cli_format("%s", name);
    c->branches[c->n++] = b;
    return b;
}

void cli_conversation_open(cli_conversation *c) {
    *c = (cli_conversation){.n = 0};
    c->now = add_branch(c, "main");
}

void cli_conversation_close(cli_conversation *c) {
    for (size_t i = 0; i < c->n; i++) {
        forget(c, c->branches[i]);
        free(c->branches[i]->turns);
        free(c->branches[i]->tokens);
        free(c->branches[i]->name);
        free(c->branches[i]);
    }
    free(c->branches);
    free(c->kept);
    *c = (cli_conversation){.n = 0};
}

il_status cli_conversation_start(cli_conversation *c, il_session *session, il_error *error) {
    cli_branch *b = c->now;
    il_session *before;
    il_status status = il_session_fork(session, &before, error);
    if (status) {
        il_session_close(session);
        return status;
    }
    forget(c, b);
    b->session = session;
    b->origin = cli_alloc(1, sizeof *b->origin); /* its state is not one of those that are given up */
    b->origin->users = 1;
    b->origin->from = il_session_position(session);
    b->origin->before = before;
    return IL_OK;
}

static cli_branch *find(const cli_conversation *c, const char *name) {
    for (size_t i = 0; i < c->n; i++)
        if (!strcmp(c->branches[i]->name, name)) return c->branches[i];
    return NULL;
}

il_status cli_conversation_fork(cli_conversation *c, const char *name, il_error *error) {
    char *own = name ? cli_format("%s", name) : NULL;
    cli_branch *from = c->now;
    il_session *session = NULL;
    for (size_t i = c->n + 1; !own; i++) {
        own = cli_format("%zu", i);
        if (!find(c, own)) break;
        free(own);
        own = NULL;
    }
    il_status status = find(c, own) ? cli_fail(error, IL_ERR_ARG, "there is a branch %s already", cli_shown(own))
                                    : il_session_fork(from->session, &session, error);
    if (!status) {
        cli_branch *b = add_branch(c, own);
        b->session = session;
        b->origin = from->origin;
        b->origin->users++;
        b->first = from->first;
        for (size_t i = 0; i < from->n; i++) {
            b->turns = cli_grown(b->turns, &b->room, b->n + 1, sizeof *b->turns);
            b->turns[b->n++] = from->turns[i];
            from->turns[i]->users++;
        }
        b->tokens = cli_alloc(from->n_tokens + 1, sizeof *b->tokens);
        b->n_tokens = from->n_tokens;
        b->tokens_room = from->n_tokens + 1;
        if (b->n_tokens) memcpy(b->tokens, from->tokens, b->n_tokens * sizeof *b->tokens);
        if (from->system.text) b->system = cli_text_of(from->system.text, from->system.bytes);
        c->now = b;
    }
    free(own);
    return status;
}

il_status cli_conversation_switch(cli_conversation *c, const char *name, il_error *error) {
    cli_branch *b = find(c, name);
    if (!b) return cli_fail(error, IL_ERR_ARG, "there is no branch %s", cli_shown(name));
    c->now = b;
    return IL_OK;
}

/* ---- what is read ---- */

il_status cli_conversation_turn(cli_conversation *c, cli_turn **turn, il_error *error) {
    cli_branch *b = c->now;
    *turn = add_turn(b);
    (*turn)->system = b->system;
    b->system = (cli_text){NULL, 0};
    return keep_state(c, *turn, b->session, error);
}

static void put_tokens(cli_branch *b, size_t at, const int32_t *tokens, size_t n) {
    b->tokens = cli_grown(b->tokens, &b->tokens_room, at + n, sizeof *b->tokens);
    if (n) memcpy(b->tokens + at, tokens, n * sizeof *tokens);
    b->n_tokens = at + n;
}

il_status cli_conversation_feed(cli_conversation *c, const int32_t *tokens, size_t n, size_t *read, il_error *error) {
    cli_branch *b = c->now;
    uint64_t before = il_session_position(b->session);
    put_tokens(b, b->n_tokens, tokens, n);
    il_status status = il_session_feed(b->session, tokens, n, NULL, NULL, error);
    uint64_t now = il_session_position(b->session); /* after a number that is not finite it may be an earlier one */
    b->n_tokens = (size_t)(now - b->origin->from);
    if (read) *read = now > before ? (size_t)(now - before) : 0;
    return status;
}

void cli_conversation_replace(cli_conversation *c, uint64_t position, const int32_t *tokens, size_t n) {
    put_tokens(c->now, (size_t)(position - c->now->origin->from), tokens, n);
}

/* ---- back ---- */

il_status cli_conversation_rewind(cli_conversation *c, size_t n, uint64_t *again, il_error *error) {
    cli_branch *b = c->now;
    size_t can = b->n - b->first;
    *again = 0;
    if (n > can)
        return cli_fail(error, IL_ERR_ARG, "%s cannot be taken back: there %s %zu%s", cli_count(n, "turn"),
                        can == 1 ? "is" : "are", can, b->first ? " since the conversation was loaded" : "");
    if (!n) return IL_OK;
    size_t to = b->n - n, state = to;
    cli_turn *target = b->turns[to];
    while (state > b->first && !b->turns[state]->before) state--;
    const cli_turn *source = b->turns[state]->before ? b->turns[state] : b->origin;
    size_t from = (size_t)(source->from - b->origin->from), end = (size_t)(target->from - b->origin->from);
    il_session *session;
    il_status status = il_session_fork(source->before, &session, error);
    if (!status) status = il_session_feed(session, b->tokens + from, end - from, NULL, NULL, error);
    if (status) {
        il_session_close(session);
        return status;
    }
    *again = end - from;
    count_evaluated(c, b->session);
    il_session_close(b->session);
    b->session = session;
    b->n_tokens = end;
    free(b->system.text);
    b->system = target->system.text ? cli_text_of(target->system.text, target->system.bytes) : (cli_text){NULL, 0};
    while (b->n > to) drop(c, b->turns[--b->n]);
    return IL_OK;
}

uint64_t cli_conversation_evaluated(const cli_conversation *c) {
    uint64_t n = c->evaluated;
    for (size_t i = 0; i < c->n; i++) {
        il_session_stats stats;
        if (!c->branches[i]->session) continue;
        il_session_get_stats(c->branches[i]->session, &stats);
        n += stats.tokens_fed;
    }
    return n;
}

/* ---- as an object ---- */

static void set_text(json_t *object, const char *key, cli_text text) {
    if (text.text) json_object_set_new(object, key, cli_json_text(text.text, text.bytes));
}

json_t *cli_conversation_note(const cli_conversation *c, const char *template) {
    const cli_branch *b = c->now;
    json_t *turns = json_array();
    for (size_t i = 0; i < b->n; i++) {
        const cli_turn *turn = b->turns[i];
        json_t *object = json_object();
        set_text(object, "system", turn->system);
        set_text(object, turn->is_file ? "file" : "user", turn->user);
        set_text(object, "thought", turn->thought);
        set_text(object, "answer", turn->answer);
        json_array_append_new(turns, object);
    }
    json_t *note = json_pack("{s:s, s:s, s:o}", "format", FORMAT, "template", template, "turns", turns);
    set_text(note, "system", b->system);
    return note;
}

static cli_text get_text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) return (cli_text){NULL, 0};
    return cli_text_of(json_string_value(value), json_string_length(value));
}

int cli_conversation_restore(cli_conversation *c, const char *note) {
    cli_branch *b = c->now;
    json_error_t where;
    json_t *object = json_loads(note, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where), *item;
    const char *format = json_string_value(json_object_get(object, "format"));
    size_t i;
    int is_chat = format && !strcmp(format, FORMAT);
    if (is_chat) b->system = get_text(object, "system");
    json_array_foreach(is_chat ? json_object_get(object, "turns") : NULL, i, item) {
        cli_turn *turn = add_turn(b);
        turn->is_file = json_is_string(json_object_get(item, "file"));
        turn->system = get_text(item, "system");
        turn->user = get_text(item, turn->is_file ? "file" : "user");
        turn->thought = get_text(item, "thought");
        turn->answer = get_text(item, "answer");
    }
    b->first = b->n;
    json_decref(object);
    return is_chat;
}
