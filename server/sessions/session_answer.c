/* session_answer.c: see session_answer.h. */
#include "sessions/session_answer.h"

#include "api/answer.h"

#include <math.h>
#include <string.h>

void session_answer_position(const char *id, uint64_t position, uint64_t generation, text *t) {
    text_print(t, "{\"id\":\"%s\",\"position\":%llu,\"generation\":%llu}", id, (unsigned long long)position,
               (unsigned long long)generation);
}

static void add_words(const char *field, const char *words, text *t) {
    text_print(t, ",\"%s\":", field);
    if (words[0])
        text_quote(t, words, strlen(words));
    else
        text_say(t, "null");
}

void session_answer(const store_record *r, const char *model, text *t) {
    text_print(t, "{\"id\":\"%s\",\"object\":\"session\",\"model\":", r->id);
    text_quote(t, model, strlen(model));
    text_print(t,
               ",\"created\":%lld,\"position\":%llu,\"rewind_limit\":%llu,\"generation\":%llu,\"fingerprint\":\"%s\","
               "\"state_bytes\":%llu",
               (long long)r->created, (unsigned long long)r->position, (unsigned long long)r->rewind_limit,
               (unsigned long long)r->generation, r->fingerprint, (unsigned long long)r->bytes);
    add_words("parent", r->parent, t);
    add_words("name", r->name, t);
    if (r->expires)
        text_print(t, ",\"expires\":%lld", (long long)r->expires);
    else
        text_say(t, ",\"expires\":null");
}

static void add_number(const char *field, double number, text *t) {
    text_print(t, "\"%s\":", field);
    if (isfinite(number))
        text_print(t, "%.9g", number);
    else
        text_say(t, "null");
}

void session_answer_layers(const il_session *session, int layers, text *t) {
    text_say(t, "[");
    for (int i = 0; i < layers; i++) {
        il_layer_stats stats;
        if (i) text_say(t, ",");
        if (il_session_layer_stats(session, i, &stats, NULL)) {
            text_say(t, "null");
            continue;
        }
        text_say(t, "{");
        add_number("loss_before", stats.loss_before, t);
        text_say(t, ",");
        add_number("loss_after", stats.loss_after, t);
        text_say(t, ",");
        add_number("weight_norm", stats.weight_norm, t);
        text_say(t, ",");
        add_number("change_norm", stats.change_norm, t);
        text_say(t, "}");
    }
    text_say(t, "]");
}

/* How surprising the tokens of records [from, to) were, if that was asked for. */
static void add_surprise(const choice *c, size_t from, size_t to, text *t) {
    if (c->request->logprobs < 0) return;
    text_say(t, ",\"nll\":[");
    for (size_t i = from; i < to; i++) {
        if (i > from) text_say(t, ",");
        text_logprob(t, -c->records[i].logprob);
    }
    text_say(t, "],\"logprobs\":");
    answer_logprobs(c, from, to, t);
}

void session_answer_fed(const job *j, text *t) {
    const choice *c = &j->choices[0];
    text_add(t, j->session.data, j->session.bytes);
    add_surprise(c, 0, c->n_records, t);
    text_say(t, ",\"usage\":");
    job_usage(j, t);
    text_say(t, "}");
}

void session_answer_nothing(job *j, size_t index, text *t) {
    (void)j;
    (void)index;
    (void)t;
}

void session_answer_end(const job *j, text *t) {
    text_say(t, "data: ");
    text_add(t, j->session.data, j->session.bytes);
    text_say(t, ",\"usage\":");
    job_usage(j, t);
    text_say(t, "}\n\n");
}

void session_answer_piece(job *j, const il_session *session, uint64_t before, int layers, text *t) {
    choice *c = &j->choices[0];
    uint64_t position = il_session_position(session);
    size_t read = (size_t)(position - before);
    if (read == c->tokens_sent) return;
    text_print(t, "data: {\"object\":\"session.progress\",\"position\":%llu,\"read\":%zu,\"total\":%zu",
               (unsigned long long)position, read, j->request.prompts[0].tokens.n);
    add_surprise(c, c->tokens_sent, read, t);
    if (layers) {
        text_say(t, ",\"layers\":");
        session_answer_layers(session, layers, t);
    }
    text_say(t, "}\n\n");
    c->tokens_sent = read; /* nothing is answered, so that it counts what was read */
}
