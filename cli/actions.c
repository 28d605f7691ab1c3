/* actions.c: see actions.h. */
#include "actions.h"

#include "documents.h"
#include "output.h"

#include <stdlib.h>
#include <string.h>

static int parts(char c) { return c == ' ' || c == ',' || c == '\t' || c == '\r'; }

/* The next word of text, from *at on; its bytes, 0: there is none. */
static size_t next_word(const char *text, size_t bytes, size_t *at) {
    while (*at < bytes && parts(text[*at])) ++*at;
    size_t n = 0;
    while (*at + n < bytes && !parts(text[*at + n])) n++;
    return n;
}

/* "left*12": bytes of the name, and how often; *times 0: not of that form. */
static size_t split(const char *word, size_t n, size_t *times) {
    const char *star = memchr(word, '*', n);
    *times = 1;
    if (!star) return n;
    *times = 0;
    for (const char *c = star + 1; c < word + n; c++) {
        if (*c < '0' || *c > '9' || *times > CLI_ACTIONS_AT_ONCE) {
            *times = 0;
            break;
        }
        *times = 10 * *times + (size_t)(*c - '0');
    }
    if (*times > CLI_ACTIONS_AT_ONCE) *times = 0;
    return (size_t)(star - word);
}

static int is_none(const char *word, size_t n) { return n == 1 && word[0] == '-'; }

/* -1: none is called so. */
static int index_of(const il_picture_layout *layout, const char *word, size_t n) {
    for (int i = 0; i < layout->actions && i < IL_ACTION_NAMES_MAX; i++)
        if (strlen(layout->action_names[i]) == n && !memcmp(layout->action_names[i], word, n)) return i;
    return -1;
}

static il_status unknown(const il_picture_layout *layout, const char *where, const char *word, size_t n,
                         il_error *error) {
    char names[256] = "";
    for (int i = 0; i < layout->actions && i < IL_ACTION_NAMES_MAX; i++)
        if (strlen(names) + strlen(layout->action_names[i]) + 3 < sizeof names)
            strcat(strcat(names, i ? ", " : ""), layout->action_names[i]);
    char *shown = cli_format("%.*s", n < 100 ? (int)n : 100, word);
    il_status status = cli_fail(error, IL_ERR_ARG, "%s: %s is no action here; there %s%s", where, cli_shown(shown),
                                names[0] ? "are - and " : "are none", names);
    free(shown);
    return status;
}

il_status cli_actions_parse(const il_picture_layout *layout, const char *where, const char *text, size_t bytes,
                            cli_actions *actions, il_error *error) {
    for (size_t at = 0, n; (n = next_word(text, bytes, &at)); at += n) {
        size_t times, name = split(text + at, n, &times);
        int action = index_of(layout, text + at, name);
        if (!times)
            return cli_fail(error, IL_ERR_ARG, "%s: what follows * must be a number from 1 to %d", where,
                            CLI_ACTIONS_AT_ONCE);
        if (action < 0 && !is_none(text + at, name)) return unknown(layout, where, text + at, name, error);
        actions->items = cli_grown(actions->items, &actions->room, actions->n + times, sizeof *actions->items);
        for (size_t i = 0; i < times; i++) actions->items[actions->n++] = action;
    }
    return IL_OK;
}

/* Puts the names of a text into the layout, in order. */
static il_status collect(const char *path, const char *text, size_t bytes, il_picture_layout *l, il_error *error) {
    for (size_t at = 0, n; (n = next_word(text, bytes, &at)); at += n) {
        size_t times, name = split(text + at, n, &times);
        int to = 0;
        if (is_none(text + at, name) || index_of(l, text + at, name) >= 0) continue;
        if (!name || name > IL_ACTION_NAME_MAX || l->actions == IL_ACTION_NAMES_MAX)
            return cli_fail(error, IL_ERR_FORMAT, "%s: at most %d actions have names, of 1 to %d bytes", path,
                            IL_ACTION_NAMES_MAX, IL_ACTION_NAME_MAX);
        char word[IL_ACTION_NAME_MAX + 1] = {0};
        memcpy(word, text + at, name);
        while (to < l->actions && strcmp(l->action_names[to], word) < 0) to++;
        memmove(l->action_names[to + 1], l->action_names[to], (size_t)(l->actions++ - to) * sizeof word);
        memcpy(l->action_names[to], word, sizeof word);
    }
    return IL_OK;
}

/* Line by line: bytes of the one at *at, which moves to the next. */
static size_t next_line(const char *text, size_t bytes, size_t *at, const char **line) {
    *line = text + *at;
    const char *end = memchr(*line, '\n', bytes - *at);
    size_t n = end ? (size_t)(end - *line) : bytes - *at;
    *at += n + (end != NULL);
    return n;
}

il_status cli_actions_read(il_engine *engine, const char *path, int is_new, il_picture_layout *layout,
                           cli_actions *actions, il_error *error) {
    char *text = NULL;
    const char *line;
    size_t bytes = 0, at = 0, number = 0;
    il_status status = cli_documents_text(engine, path, &text, &bytes, error);
    while (!status && is_new && at < bytes) {
        size_t n = next_line(text, bytes, &at, &line);
        status = collect(path, line, n, layout, error);
    }
    at = 0;
    while (!status && at < bytes) {
        size_t n = next_line(text, bytes, &at, &line), before = actions->n;
        char *where = cli_format("%s: line %zu", path, ++number);
        status = cli_actions_parse(layout, where, line, n, actions, error);
        free(where);
        if (status || actions->n == before) continue;
        actions->ends = cli_grown(actions->ends, &actions->lines_room, actions->lines + 1, sizeof *actions->ends);
        actions->ends[actions->lines++] = actions->n;
    }
    free(text);
    return status;
}

void cli_actions_free(cli_actions *actions) {
    free(actions->items);
    free(actions->ends);
    *actions = (cli_actions){0};
}
