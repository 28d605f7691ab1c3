/* answer.c: how the answers of /v1/completions look, whole and streamed. */
#include "api/answer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_name(const choice *c, int32_t token, text *name) {
    name->bytes = 0;
    names_token(c->names, token, c->scratch, name);
}

size_t answer_tops(const choice *c, size_t record, choice_top *tops) {
    const choice_record *r = &c->records[record];
    size_t n = (size_t)c->request->logprobs;
    if (n) memcpy(tops, c->tops + record * n, n * sizeof *tops);
    for (size_t i = 0; i < n; i++)
        if (tops[i].token == r->token) return n;
    tops[n] = (choice_top){r->token, r->logprob};
    return n + 1;
}

/* As an object, in which two tokens may have one name: the likelier stays. */
static void add_tops(const choice *c, size_t at, text *name, text *t) {
    choice_top tops[COMPLETION_TOP_MAX + 1];
    text printed[COMPLETION_TOP_MAX + 1] = {0};
    if (isnan(c->records[at].logprob)) { /* nothing predicts it */
        text_say(t, "null");
        return;
    }
    size_t n = answer_tops(c, at, tops), n_printed = 0;
    text_say(t, "{");
    for (size_t i = 0; i < n; i++) {
        int again = 0;
        add_name(c, tops[i].token, name);
        for (size_t k = 0; k < i && !again; k++)
            again = printed[k].bytes == name->bytes && !memcmp(printed[k].data, name->data, name->bytes);
        text_add(&printed[i], name->data, name->bytes);
        if (again) continue;
        if (n_printed++) text_say(t, ",");
        text_quote(t, name->data, name->bytes);
        text_say(t, ":");
        text_logprob(t, tops[i].logprob);
    }
    for (size_t i = 0; i < n; i++) text_free(&printed[i]);
    text_say(t, "}");
}

void answer_logprobs(const choice *c, size_t from, size_t to, text *t) {
    text name = {0};
    if (c->request->logprobs < 0) {
        text_say(t, "null");
        return;
    }
    text_say(t, "{\"tokens\":[");
    for (size_t i = from; i < to; i++) {
        add_name(c, c->records[i].token, &name);
        if (i > from) text_say(t, ",");
        text_quote(t, name.data, name.bytes);
    }
    text_say(t, "],\"token_logprobs\":[");
    for (size_t i = from; i < to; i++) {
        if (i > from) text_say(t, ",");
        text_logprob(t, c->records[i].logprob);
    }
    text_say(t, "],\"top_logprobs\":[");
    for (size_t i = from; i < to; i++) {
        if (i > from) text_say(t, ",");
        add_tops(c, i, &name, t);
    }
    text_say(t, "],\"text_offset\":[");
    for (size_t i = from; i < to; i++) text_print(t, i > from ? ",%zu" : "%zu", c->records[i].offset);
    text_say(t, "]}");
    t->failed |= name.failed;
    text_free(&name);
}

static void add_ids(const char *field, const int32_t *ids, size_t n, text *t) {
    text_print(t, ",\"%s\":[", field);
    for (size_t i = 0; i < n; i++) text_print(t, i ? ",%d" : "%d", ids[i]);
    text_say(t, "]");
}

static void add_finish(const choice *c, int ended, text *t) {
    if (!ended) {
        text_say(t, ",\"finish_reason\":null,\"stop_reason\":null");
        return;
    }
    text_print(t, ",\"finish_reason\":\"%s\",\"stop_reason\":", c->finish);
    if (c->stop >= 0)
        text_quote(t, c->request->stops[c->stop].bytes, c->request->stops[c->stop].n);
    else if (c->stop_token >= 0)
        text_print(t, "%d", c->stop_token);
    else
        text_say(t, "null");
}

void answer_head(const job *j, const char *object, text *t) {
    text_print(t, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id, object, j->created);
    text_quote(t, j->model, strlen(j->model));
    text_print(t, ",\"system_fingerprint\":\"%s\",\"choices\":[", j->fingerprint);
}

void answer_tail(const job *j, int with_usage, text *t) {
    text_say(t, "],\"usage\":");
    if (with_usage)
        job_usage(j, t);
    else
        text_say(t, "null");
    if (j->session.bytes) {
        text_say(t, ",\"session\":");
        text_add(t, j->session.data, j->session.bytes);
    }
    text_say(t, "}");
}

void answer_event_begin(const job *j, const char *object, size_t index, text *t) {
    text_say(t, "data: ");
    answer_head(j, object, t);
    text_print(t, "{\"index\":%zu,", index);
}

void answer_event_end(const job *j, const choice *c, int ended, text *t) {
    add_finish(c, ended, t);
    text_say(t, "}");
    answer_tail(j, j->request.usage_always, t);
    text_say(t, "\n\n");
}

void answer_usage(const job *j, const char *object, text *t) {
    text_say(t, "data: ");
    answer_head(j, object, t);
    answer_tail(j, j->request.usage, t);
    text_say(t, "\n\n");
}

void answer_new_ids(const job *j, const choice *c, text *t) {
    if (j->request.return_tokens) add_ids("token_ids", c->tokens + c->tokens_sent, c->n - c->tokens_sent, t);
}

void answer_choice_end(const job *j, size_t index, text *t) {
    const choice *c = &j->choices[index];
    const il_tokens *prompt = &j->request.prompts[index / (size_t)j->request.n].tokens;
    if (j->request.return_tokens) {
        add_ids("prompt_token_ids", prompt->ids, prompt->n, t);
        add_ids("token_ids", c->tokens, c->n, t);
    }
    add_finish(c, 1, t);
    text_say(t, "}");
}

static const char object[] = "text_completion";

static void whole(const job *j, text *t) {
    answer_head(j, object, t);
    for (size_t i = 0; i < j->n_choices; i++) {
        const choice *c = &j->choices[i];
        text_print(t, i ? ",{\"index\":%zu,\"text\":" : "{\"index\":%zu,\"text\":", i);
        text_quote(t, c->text.data, c->text.bytes);
        text_say(t, ",\"logprobs\":");
        answer_logprobs(c, 0, c->n_records, t);
        answer_choice_end(j, i, t);
    }
    answer_tail(j, 1, t);
}

static void piece(job *j, size_t index, text *t) {
    choice *c = &j->choices[index];
    if (!choice_has_news(c)) return;
    answer_event_begin(j, object, index, t);
    text_say(t, "\"text\":");
    text_quote(t, c->text.data + c->sent, c->safe - c->sent);
    text_say(t, ",\"logprobs\":");
    answer_logprobs(c, c->records_sent, c->n_records, t);
    answer_new_ids(j, c, t);
    answer_event_end(j, c, c->finish != NULL, t);
    choice_sent(c);
}

static void usage(const job *j, text *t) { answer_usage(j, object, t); }

const job_form answer_completion = {.whole = whole, .piece = piece, .usage = usage};
