/* answer_chat.c: how the answers of /v1/chat/completions look, whole and streamed. */
#include "api/answer.h"

#include <string.h>

/* {"token":…,"bytes":[…],"logprob":… without its end. */
static void add_token(const choice *c, int32_t token, float logprob, text *name, text *t) {
    size_t bytes = names_bytes(c->names, token, c->scratch);
    text_say(t, "{\"token\":");
    text piece = {0};
    for (size_t i = 0; i < bytes; i++) text_print(&piece, i ? ",%d" : "%d", (unsigned char)c->scratch[i]);
    name->bytes = 0;
    names_token(c->names, token, c->scratch, name);
    text_quote(t, name->data, name->bytes);
    text_say(t, ",\"bytes\":[");
    text_add(t, piece.data, piece.bytes);
    text_say(t, "],\"logprob\":");
    text_logprob(t, logprob);
    t->failed |= piece.failed;
    text_free(&piece);
}

void answer_tokens(const choice *c, size_t from, size_t to, text *t) {
    text name = {0};
    text_say(t, "[");
    for (size_t i = from; i < to; i++) {
        choice_top tops[COMPLETION_TOP_MAX + 1];
        size_t n = answer_tops(c, i, tops), asked = (size_t)c->request->logprobs;
        if (i > from) text_say(t, ",");
        add_token(c, c->records[i].token, c->records[i].logprob, &name, t);
        text_say(t, ",\"top_logprobs\":[");
        for (size_t k = 0; k < n && k < asked; k++) {
            if (k) text_say(t, ",");
            add_token(c, tops[k].token, tops[k].logprob, &name, t);
            text_say(t, "}");
        }
        text_say(t, "]}");
    }
    text_say(t, "]");
    t->failed |= name.failed;
    text_free(&name);
}

static void add_logprobs(const choice *c, size_t from, size_t to, text *t) {
    if (c->request->logprobs < 0) {
        text_say(t, "null");
        return;
    }
    text_say(t, "{\"content\":");
    answer_tokens(c, from, to, t);
    text_say(t, ",\"refusal\":null}");
}

static void whole(const job *j, text *t) {
    answer_head(j, "chat.completion", t);
    for (size_t i = 0; i < j->n_choices; i++) {
        const choice *c = &j->choices[i];
        text_print(t, i ? ",{\"index\":%zu," : "{\"index\":%zu,", i);
        text_say(t, "\"message\":{\"role\":\"assistant\",\"content\":");
        text_quote(t, c->text.data, c->text.bytes);
        text_say(t, ",\"refusal\":null},\"logprobs\":");
        add_logprobs(c, 0, c->n_records, t);
        answer_choice_end(j, i, t);
    }
    answer_tail(j, 1, t);
}

static const char chunk[] = "chat.completion.chunk";

static void begin_event(const job *j, size_t index, text *t) {
    answer_event_begin(j, chunk, index, t);
    text_say(t, "\"delta\":{");
}

/* Who speaks, what is said, and that it ends, each in an event of its own. */
static void piece(job *j, size_t index, text *t) {
    choice *c = &j->choices[index];
    if (!choice_has_news(c)) return;
    if (!c->begun) {
        begin_event(j, index, t);
        text_say(t, "\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null");
        answer_event_end(j, c, 0, t);
    }
    if (c->safe > c->sent || c->n_records > c->records_sent) {
        begin_event(j, index, t);
        text_say(t, "\"content\":");
        text_quote(t, c->text.data + c->sent, c->safe - c->sent);
        text_say(t, "},\"logprobs\":");
        add_logprobs(c, c->records_sent, c->n_records, t);
        answer_new_ids(j, c, t);
        answer_event_end(j, c, 0, t);
    }
    if (c->finish) {
        begin_event(j, index, t);
        text_say(t, "},\"logprobs\":null");
        answer_event_end(j, c, 1, t);
    }
    choice_sent(c);
}

static void usage(const job *j, text *t) { answer_usage(j, chunk, t); }

const job_form answer_chat = {.whole = whole, .piece = piece, .usage = usage};
