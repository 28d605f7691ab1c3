/* answer_response.c: how the answers of /v1/responses look, whole and streamed. There is one answer, and one message.
 */
#include "api/answer.h"

#include <string.h>

static int incomplete(const choice *c) { return c->finish && !strcmp(c->finish, "length"); }

static const char *status_of(const choice *c) {
    return !c->finish ? "in_progress" : incomplete(c) ? "incomplete" : "completed";
}

/* The message's text so far; ended: with what belongs to it. */
static void add_part(const choice *c, int ended, text *t) {
    text_say(t, "{\"type\":\"output_text\",\"text\":");
    text_quote(t, c->text.data, ended ? c->text.bytes : 0);
    text_say(t, ",\"annotations\":[],\"logprobs\":");
    answer_tokens(c, 0, ended ? c->n_records : 0, t);
    text_say(t, "}");
}

static void add_id(const job *j, text *t) { text_print(t, "\"msg%s\"", j->id + strcspn(j->id, "_")); }

static void add_message(const job *j, int ended, text *t) {
    const choice *c = j->choices;
    text_say(t, "{\"id\":");
    add_id(j, t);
    text_print(t, ",\"type\":\"message\",\"role\":\"assistant\",\"status\":\"%s\",\"content\":[",
               ended ? status_of(c) : "in_progress");
    if (ended) add_part(c, 1, t);
    text_say(t, "]}");
}

static void add_usage(const job *j, text *t) {
    size_t prompt, answer;
    job_count(j, &prompt, &answer);
    text_print(t,
               "{\"input_tokens\":%zu,\"input_tokens_details\":{\"cached_tokens\":%zu,\"cache_write_tokens\":0},"
               "\"output_tokens\":%zu,\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%zu}",
               prompt, j->cached, answer, prompt + answer);
}

static void add_response(const job *j, int ended, text *t) {
    const choice *c = j->choices;
    text_print(t, "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"error\":null,", j->id,
               j->created, ended ? status_of(c) : "in_progress");
    text_print(t, "\"incomplete_details\":%s,\"model\":",
               ended && incomplete(c) ? "{\"reason\":\"max_output_tokens\"}" : "null");
    text_quote(t, j->model, strlen(j->model));
    text_add(t, j->given.data, j->given.bytes);
    text_say(t, ",\"output\":[");
    if (ended) add_message(j, 1, t);
    text_say(t, "],\"usage\":");
    if (ended)
        add_usage(j, t);
    else
        text_say(t, "null");
    text_say(t, "}");
}

static void whole(const job *j, text *t) { add_response(j, 1, t); }

/* ---- events ---- */

static void begin_event(const char *type, size_t number, text *t) {
    text_print(t, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%zu", type, type, number);
}

static void end_event(text *t) { text_say(t, "}\n\n"); }

static void response_event(const job *j, const char *type, size_t number, int ended, text *t) {
    begin_event(type, number, t);
    text_say(t, ",\"response\":");
    add_response(j, ended, t);
    end_event(t);
}

static void item_event(const job *j, const char *type, size_t number, int ended, text *t) {
    begin_event(type, number, t);
    text_say(t, ",\"output_index\":0,\"item\":");
    add_message(j, ended, t);
    end_event(t);
}

/* An event about the text of the message, without its end. */
static void begin_text_event(const job *j, const char *type, size_t number, text *t) {
    begin_event(type, number, t);
    text_say(t, ",\"item_id\":");
    add_id(j, t);
    text_say(t, ",\"output_index\":0,\"content_index\":0");
}

static void part_event(const job *j, const char *type, size_t number, int ended, text *t) {
    begin_text_event(j, type, number, t);
    text_say(t, ",\"part\":");
    add_part(j->choices, ended, t);
    end_event(t);
}

static void piece(job *j, size_t index, text *t) {
    choice *c = &j->choices[index];
    if (!choice_has_news(c)) return;
    if (!c->begun) {
        response_event(j, "response.created", j->events++, 0, t);
        response_event(j, "response.in_progress", j->events++, 0, t);
        item_event(j, "response.output_item.added", j->events++, 0, t);
        part_event(j, "response.content_part.added", j->events++, 0, t);
    }
    if (c->safe > c->sent || c->n_records > c->records_sent) {
        begin_text_event(j, "response.output_text.delta", j->events++, t);
        text_say(t, ",\"delta\":");
        text_quote(t, c->text.data + c->sent, c->safe - c->sent);
        text_say(t, ",\"logprobs\":");
        answer_tokens(c, c->records_sent, c->n_records, t);
        end_event(t);
    }
    choice_sent(c);
}

/* All that ends a stream. */
static void usage(const job *j, text *t) {
    const choice *c = j->choices;
    size_t number = j->events;
    begin_text_event(j, "response.output_text.done", number++, t);
    text_say(t, ",\"text\":");
    text_quote(t, c->text.data, c->text.bytes);
    text_say(t, ",\"logprobs\":");
    answer_tokens(c, 0, c->n_records, t);
    end_event(t);
    part_event(j, "response.content_part.done", number++, 1, t);
    item_event(j, "response.output_item.done", number++, 1, t);
    response_event(j, incomplete(c) ? "response.incomplete" : "response.completed", number, 1, t);
}

static void failed(const job *j, text *t) {
    begin_event("error", j->events, t);
    text_print(t, ",\"code\":\"%s\",\"message\":", j->problem.code);
    text_quote(t, j->problem.message, strlen(j->problem.message));
    text_say(t, ",\"param\":null");
    end_event(t);
}

const job_form answer_response = {.whole = whole, .piece = piece, .usage = usage, .failed = failed};
