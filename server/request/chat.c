/* chat.c: see chat.h. */
#include "request/chat.h"

#include <stdlib.h>
#include <string.h>

static int parse_role(const json_t *message, il_chat_role *role, problem *p) {
    static const struct {
        const char *name;
        il_chat_role role;
    } roles[] = {{"system", IL_CHAT_SYSTEM},
                 {"developer", IL_CHAT_SYSTEM},
                 {"user", IL_CHAT_USER},
                 {"assistant", IL_CHAT_ASSISTANT}};
    const char *name = json_string_value(json_object_get(message, "role"));
    for (size_t i = 0; name && i < sizeof roles / sizeof *roles; i++)
        if (!strcmp(name, roles[i].name)) {
            *role = roles[i].role;
            return 1;
        }
    return problem_set(p, 400, "invalid_value", "messages",
                       "messages: the role of each must be system, developer, user or assistant");
}

/* A string, or parts that are text; those are put together. An assistant's message may have none, or null: it called
 * a tool, or was cut short before its first word. */
static int parse_content(const json_t *message, il_chat_role role, text *words, problem *p) {
    const json_t *content = json_field(message, "content"), *part;
    size_t i;
    if (json_is_string(content)) {
        text_add(words, json_string_value(content), json_string_length(content));
        return 1;
    }
    if (!content && role != IL_CHAT_ASSISTANT)
        return problem_set(p, 400, "invalid_value", "messages",
                           "messages: a message has no content, which only an assistant's may leave out");
    if (content && !json_is_array(content))
        return problem_set(p, 400, "invalid_value", "messages",
                           "messages: content must be a string, or an array of parts {\"type\": \"text\"}");
    json_array_foreach(content, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *said = json_object_get(part, "text");
        int is_text = type && (!strcmp(type, "text") || !strcmp(type, "input_text") || !strcmp(type, "output_text"));
        if (!is_text || !json_is_string(said))
            return problem_set(p, 400, "unsupported_parameter", "messages",
                               "messages: parts of content can only be {\"type\": \"text\", \"text\": …}");
        text_add(words, json_string_value(said), json_string_length(said));
    }
    return 1;
}

/* What stands before the last message of a user's is likely to come again, with another one, or with more behind it. */
static void mark(const il_chat *chat, const il_chat_message *messages, size_t n, completion_prompt *prompt) {
    il_tokens before = {0};
    size_t last = n;
    while (last && messages[last - 1].role != IL_CHAT_USER) last--;
    if (last > 1 && !il_chat_render(chat, messages, last - 1, 0, &before, NULL) && before.n < prompt->tokens.n &&
        !memcmp(before.ids, prompt->tokens.ids, before.n * sizeof *before.ids))
        prompt->mark = before.n;
    il_tokens_free(&before);
}

/* The messages [1, n) and the answer's beginning as the tokens of one prompt; messages[0] stands for an answer before
 * them, which the session has read but for its end. */
static int render(const il_chat *chat, const il_chat_message *messages, size_t n, completion_request *r, problem *p) {
    il_error error;
    il_tokens tokens = {0};
    il_status status = r->continues ? il_chat_end_answer(chat, 0, &tokens, &error) : IL_OK;
    if (!status && r->continues) status = il_chat_render(chat, messages, n, 1, &tokens, &error);
    if (!status && !r->continues) status = il_chat_render(chat, messages + 1, n - 1, 0, &tokens, &error);
    if (!status) status = il_chat_begin_answer(chat, 0, NULL, &tokens, &error);
    r->prompts = status ? NULL : calloc(1, sizeof *r->prompts);
    if (r->prompts) {
        r->n_prompts = 1;
        r->prompts[0].tokens.ids = malloc((tokens.n + 1) * sizeof *tokens.ids);
        if (r->prompts[0].tokens.ids) {
            memcpy(r->prompts[0].tokens.ids, tokens.ids, tokens.n * sizeof *tokens.ids);
            r->prompts[0].tokens.n = tokens.n;
            if (!r->continues) mark(chat, messages + 1, n - 1, &r->prompts[0]);
        }
    }
    il_tokens_free(&tokens);
    if (status && status != IL_ERR_NOMEM)
        return problem_set(p, 400, "invalid_value", "messages", "messages: %s", error.message);
    return r->prompts && r->prompts[0].tokens.n
               ? 1
               : problem_set(p, 503, "no_memory", NULL, "no memory for the messages now");
}

/* What ends a turn in text ends the answer, besides the stop strings that were asked for. */
static int add_stop(const char *stop, completion_request *r, problem *p) {
    size_t n = stop ? strlen(stop) : 0;
    if (!n || n > COMPLETION_STOP_BYTES_MAX) return 1;
    completion_stop *more = realloc(r->stops, (r->n_stops + 1) * sizeof *more);
    if (!more) return problem_set(p, 503, "no_memory", NULL, "no memory for the stop strings now");
    r->stops = more;
    memcpy(more[r->n_stops].bytes, stop, n);
    more[r->n_stops++].n = n;
    return 1;
}

int chat_prompt(const json_t *body, const il_chat *chat, const completion_limits *limits, completion_request *r,
                problem *p) {
    const json_t *field = json_field(body, "messages"), *message;
    size_t i, n = json_array_size(field);
    il_chat_info info;
    if (!chat)
        return problem_set(p, 400, "no_chat_template", "messages",
                           "this model has no chat template: ask /v1/completions, or start the server with "
                           "--chat-template plain");
    if (!json_is_array(field) || !n || n > CHAT_MESSAGES_MAX)
        return problem_set(p, 400, "invalid_value", "messages", "messages must be an array of 1 to %d messages",
                           CHAT_MESSAGES_MAX);
    il_chat_message *messages = calloc(n + 1, sizeof *messages);
    text *words = calloc(n, sizeof *words);
    if (!messages || !words) problem_set(p, 503, "no_memory", NULL, "no memory for the messages now");
    if (messages) messages[0] = (il_chat_message){IL_CHAT_ASSISTANT, "", 0};
    json_array_foreach(field, i, message) {
        if (p->status || !parse_role(message, &messages[i + 1].role, p) ||
            !parse_content(message, messages[i + 1].role, &words[i], p))
            break;
        if (words[i].failed) problem_set(p, 503, "no_memory", NULL, "no memory for the messages now");
        messages[i + 1].text = words[i].data ? words[i].data : "";
        messages[i + 1].bytes = words[i].bytes;
    }
    il_chat_get_info(chat, &info);
    if (!p->status && render(chat, messages, n + 1, r, p) && !r->form)
        add_stop(info.stop, r, p); /* a document ends itself */
    for (i = 0; words && i < n; i++) text_free(&words[i]);
    free(words);
    free(messages);
    if (!p->status && r->prompts[0].tokens.n > limits->prompt_tokens_max)
        problem_set(p, 400, "context_length_exceeded", "messages",
                    "messages have %zu tokens, and this server reads at most %zu a request (--max-prompt-tokens)",
                    r->prompts[0].tokens.n, limits->prompt_tokens_max);
    return !p->status;
}
