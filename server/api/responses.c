/* responses.c: see responses.h. */
#include "api/responses.h"

#include "request/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Fields that chats do not have, or have under another name. Those that no answer depends on are among them. */
static const char *const own[] = {"input",           "instructions", "text",           "include",
                                  "reasoning",       "truncation",   "background",     "conversation",
                                  "prompt",          "tool_choice",  "max_tool_calls", "parallel_tool_calls",
                                  "response_format", "top_logprobs", "logprobs",       "previous_response_id",
                                  "messages",        "echo",         "store",          "prompt_cache_retention"};

static int no_memory(problem *p) { return problem_set(p, 503, "no_memory", NULL, "no memory for the request now"); }

/* ---- messages ---- */

static int add_message(json_t *messages, const char *role, json_t *content, problem *p) {
    json_t *message = json_pack("{s:s, s:O}", "role", role, "content", content);
    return message && !json_array_append_new(messages, message) ? 1 : no_memory(p);
}

static int add_items(json_t *messages, const json_t *items, problem *p) {
    json_t *item;
    size_t i;
    json_array_foreach(items, i, item) {
        const json_t *type = json_field(item, "type");
        const char *name = type ? json_string_value(type) : "message";
        if (!json_is_object(item) || !name)
            return problem_set(p, 400, "invalid_value", "input", "input must be a string or an array of messages");
        if (strcmp(name, "message") != 0)
            return problem_set(p, 400, "unsupported_parameter", "input",
                               "input: items of the type '%.40s' are not supported, only messages", name);
        if (json_array_append(messages, item)) return no_memory(p);
    }
    return 1;
}

/* instructions, unless they were read before, and input as messages of a chat; NULL after a problem. */
static json_t *messages_of(const json_t *body, int continues, problem *p) {
    json_t *messages = json_array(), *input = json_object_get(body, "input");
    json_t *instructions = json_object_get(body, "instructions");
    if (!messages) no_memory(p);
    if (instructions && !json_is_null(instructions) && !json_is_string(instructions))
        problem_set(p, 400, "invalid_value", "instructions", "instructions must be a string");
    if (!json_is_string(input) && !json_is_array(input))
        problem_set(p, 400, "invalid_value", "input", "input must be a string or an array of messages");
    if (!p->status && json_is_string(instructions) && !continues) add_message(messages, "system", instructions, p);
    if (!p->status && json_is_string(input)) add_message(messages, "user", input, p);
    if (!p->status && json_is_array(input)) add_items(messages, input, p);
    if (!p->status) return messages;
    json_decref(messages);
    return NULL;
}

/* What is wrong with a chat's messages is wrong with the input. */
static void name_input(problem *p) {
    static const char messages[] = "messages", input[] = "input";
    problem renamed = *p;
    if (strcmp(p->field, messages) != 0) return;
    snprintf(renamed.field, sizeof renamed.field, "%s", input);
    if (!strncmp(p->message, messages, sizeof messages - 1))
        snprintf(renamed.message, sizeof renamed.message, "%s%s", input, p->message + sizeof messages - 1);
    *p = renamed;
}

/* ---- the other fields ---- */

static int wants_logprobs(const json_t *body) {
    const json_t *include = json_field(body, "include"), *one;
    size_t i;
    json_array_foreach(include, i, one) {
        const char *name = json_string_value(one);
        if (name && !strcmp(name, "message.output_text.logprobs")) return 1;
    }
    return 0;
}

/* The body as that of a chat without messages; NULL: no memory. */
static json_t *chat_of(const json_t *body) {
    json_t *chat = json_copy((json_t *)(uintptr_t)body), *top = json_object_get(body, "top_logprobs");
    for (size_t i = 0; chat && i < sizeof own / sizeof *own; i++) json_object_del(chat, own[i]);
    int done = chat != NULL;
    if (done && wants_logprobs(body)) {
        done = !json_object_set_new(chat, "logprobs", json_true());
        if (done && top) done = !json_object_set(chat, "top_logprobs", top);
    }
    if (done) return chat;
    json_decref(chat);
    return NULL;
}

static int refuse(const json_t *body, problem *p) {
    static const char *const unsupported[] = {"background", "conversation", "prompt", "session", "keep"};
    const json_t *form = json_field(body, "text"), *metadata = json_field(body, "metadata");
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (json_says(body, unsupported[i]))
            return problem_set(p, 400, "unsupported_parameter", unsupported[i], "%s is not supported by this server",
                               unsupported[i]);
    if (form && !json_is_object(form)) return problem_set(p, 400, "invalid_value", "text", "text must be an object");
    if (metadata && !json_is_object(metadata))
        return problem_set(p, 400, "invalid_value", "metadata", "metadata must be an object");
    int64_t top; /* also where include does not ask for it */
    return json_integer_field(body, "top_logprobs", 0, COMPLETION_TOP_MAX, &top, p);
}

/* A field of the body as it came, or what stands for none. */
static void repeat(const json_t *object, const char *name, const char *without, text *t) {
    const json_t *value = json_field(object, name);
    char *words = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    text_print(t, ",\"%s\":%s", name, words ? words : without);
    t->failed |= value && !words;
    free(words);
}

static int note_given(const json_t *body, text *t, problem *p) {
    const json_t *form = json_field(body, "text");
    repeat(body, "instructions", "null", t);
    repeat(body, "metadata", "{}", t);
    repeat(body, "temperature", "1.0", t);
    repeat(body, "top_p", "1.0", t);
    repeat(body, "max_output_tokens", "null", t);
    repeat(body, "user", "null", t);
    repeat(body, "previous_response_id", "null", t);
    repeat(body, "store", "false", t);
    char *words = json_dumps(json_field(form, "format"), JSON_COMPACT);
    text_print(t, ",\"text\":{\"format\":%s", words ? words : "{\"type\":\"text\"}");
    free(words);
    text_say(t, "},\"parallel_tool_calls\":false,\"tool_choice\":\"none\",\"tools\":[],"
                "\"truncation\":\"disabled\",\"background\":false");
    return t->failed ? no_memory(p) : 1;
}

int responses_parse(const json_t *body, const completion_limits *limits, job *j, problem *p) {
    completion_request *r = &j->request;
    json_t *chat = refuse(body, p) ? chat_of(body) : NULL;
    if (!chat) return p->status ? 0 : no_memory(p);
    if (completion_parse(chat, COMPLETION_CHAT, limits, r, p))
        format_parse(json_field(json_field(body, "text"), "format"), "text.format", &r->form, p);
    json_decref(chat);
    if (r->n != 1) problem_set(p, 400, "unsupported_parameter", "n", "a response has one answer: n can only be 1");
    if (!p->status && !r->tokens_max)
        problem_set(p, 400, "invalid_value", "max_output_tokens", "max_output_tokens must be 1 or more");
    r->usage = 1; /* a stream ends with the whole response */
    j->id[strcspn(j->id, "-")] = '_';
    return !p->status && note_given(body, &j->given, p);
}

int responses_prompt(const json_t *body, const il_chat *chat, const completion_limits *limits, job *j, problem *p) {
    json_t *messages = messages_of(body, j->request.continues, p);
    json_t *as_chat = messages ? json_pack("{s:o}", "messages", messages) : NULL;
    if (messages && !as_chat) no_memory(p);
    if (as_chat) chat_prompt(as_chat, chat, limits, &j->request, p);
    json_decref(as_chat);
    name_input(p);
    return !p->status;
}
