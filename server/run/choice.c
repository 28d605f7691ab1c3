/* choice.c: see choice.h. */
#include "run/choice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_text(choice *c, const char *data, size_t bytes) {
    text_add(&c->text, data, bytes);
    for (size_t i = 0; i < bytes; i++) c->characters += ((unsigned char)data[i] & 0xC0) != 0x80;
}

/* The text that a token completes; token -1: what is left of a character. */
static void decode(choice *c, int32_t token, int keep) {
    size_t bytes;
    if (token >= c->names->vocab_size) return; /* an entry of a padded vocabulary stands for no text */
    if (!il_tokenizer_decode(c->names->tokenizer, &c->decoder, token, c->scratch, c->names->piece_bytes_max, &bytes,
                             NULL) &&
        keep)
        add_text(c, c->scratch, bytes);
}

static int open_constraint(choice *c) {
    c->constraint = c->request->form ? constraint_open(c->request->form, c->names->vocabulary) : NULL;
    return c->constraint || !c->request->form;
}

int choice_open(choice *c, const completion_request *request, const names *n, const completion_prompt *prompt,
                int follows) {
    size_t length = prompt->tokens.n, echoed = request->echo && request->logprobs >= 0 ? length : 0;
    size_t answer = (size_t)request->tokens_max, records = echoed + (request->logprobs >= 0 ? answer : 0);
    size_t top = request->logprobs > 0 ? (size_t)request->logprobs : 0;
    *c = (choice){.request = request, .names = n, .stop = -1, .stop_token = -1, .decoder = {.form = IL_DECODE_UTF8}};
    c->decoder.started = follows;
    c->tokens = malloc((answer + 1) * sizeof *c->tokens);
    c->scratch = malloc(n->piece_bytes_max);
    c->records = malloc((records + 1) * sizeof *c->records);
    c->tops = malloc((records * top + 1) * sizeof *c->tops);
    c->sum = calloc((size_t)request->embeds + 1, sizeof *c->sum);
    if (!c->tokens || !c->scratch || !c->records || !c->tops || !c->sum || !open_constraint(c)) return 0;
    for (size_t i = 0; i < length; i++) {
        if (echoed) c->records[i] = (choice_record){prompt->tokens.ids[i], NAN, c->characters};
        decode(c, prompt->tokens.ids[i], request->echo);
    }
    c->n_records = echoed;
    c->begin = c->safe = c->text.bytes;
    return !c->text.failed;
}

int choice_copy(choice *copy, const choice *c) {
    const completion_request *r = c->request;
    size_t records = c->n_records + (r->logprobs >= 0 ? (size_t)r->tokens_max : 0);
    size_t top = r->logprobs > 0 ? (size_t)r->logprobs : 0;
    *copy = *c;
    copy->text = (text){0};
    copy->sum = NULL; /* of which there is one only */
    copy->tokens = malloc(((size_t)r->tokens_max + 1) * sizeof *c->tokens);
    copy->scratch = malloc(c->names->piece_bytes_max);
    copy->records = malloc((records + 1) * sizeof *c->records);
    copy->tops = malloc((records * top + 1) * sizeof *c->tops);
    text_add(&copy->text, c->text.data, c->text.bytes);
    int opened = open_constraint(copy);
    if (!copy->tokens || !copy->scratch || !copy->records || !copy->tops || copy->text.failed || !opened) return 0;
    memcpy(copy->records, c->records, c->n_records * sizeof *c->records);
    memcpy(copy->tops, c->tops, c->n_records * top * sizeof *c->tops);
    return 1;
}

void choice_free(choice *c) {
    free(c->tokens);
    free(c->scratch);
    free(c->records);
    free(c->tops);
    free(c->sum);
    constraint_close(c->constraint);
    text_free(&c->text);
    *c = (choice){0};
}

void choice_forbid(choice *c, float *logits, int vocab_size) {
    static const float never = -1e30F;
    const completion_request *r = c->request;
    const il_generation *ends = &c->names->generation;
    float of_stops[COMPLETION_STOPS_MAX], of_ends[IL_STOPS_MAX];
    const uint64_t *tokens = c->constraint ? constraint_tokens(c->constraint) : NULL;
    int complete = tokens && constraint_complete(c->constraint);
    c->failed |= c->constraint && !tokens;
    if (!tokens) return;
    for (size_t i = 0; i < r->n_stop_tokens; i++) of_stops[i] = complete ? logits[r->stop_tokens[i]] : never;
    for (int i = 0; i < ends->n_stops; i++) of_ends[i] = complete ? logits[ends->stop[i]] : never;
    for (int first = 0; first < vocab_size; first += 64) {
        uint64_t allowed = tokens[first / 64];
        for (int i = 0; ~allowed && i < 64 && first + i < vocab_size; i++)
            if (!(allowed >> i & 1)) logits[first + i] = never;
    }
    for (size_t i = 0; i < r->n_stop_tokens; i++) logits[r->stop_tokens[i]] = of_stops[i];
    for (int i = 0; i < ends->n_stops && !r->ignore_eos; i++) logits[ends->stop[i]] = of_ends[i];
}

void choice_fill(choice *c, size_t record, const float *logits, int vocab_size, float log_sum) {
    choice_record *r = &c->records[record];
    int most = c->request->logprobs, n = 0;
    choice_top *top = c->tops + record * (size_t)most;
    r->logprob = logits[r->token] - log_sum;
    for (int32_t id = 0; id < vocab_size && most > 0; id++) {
        if (n == most && !(logits[id] > top[n - 1].logprob)) continue;
        int at = n < most ? n++ : n - 1;
        for (; at > 0 && logits[id] > top[at - 1].logprob; at--) top[at] = top[at - 1];
        top[at] = (choice_top){id, logits[id]}; /* logits, as long as they are compared */
    }
    for (int i = 0; i < n; i++) top[i].logprob -= log_sum;
}

/* Looks for stop strings in what came last. 1: one is complete, and the text ends there. */
static int stopped(choice *c) {
    const completion_request *r = c->request;
    size_t end = c->text.bytes, stop_at = end, safe = end;
    for (size_t i = 0; i < r->n_stops && c->n >= (size_t)r->tokens_min; i++) {
        const completion_stop *stop = &r->stops[i];
        for (size_t at = c->safe; at < stop_at; at++) {
            size_t rest = end - at, shared = rest < stop->n ? rest : stop->n;
            if (memcmp(c->text.data + at, stop->bytes, shared)) continue;
            if (shared == stop->n) {
                stop_at = at;
                c->stop = (int)i;
            } else if (at < safe) {
                safe = at;
            }
            break;
        }
    }
    if (c->stop >= 0) {
        c->text.bytes = stop_at + (r->include_stop ? r->stops[c->stop].n : 0);
        c->safe = c->text.bytes;
        return 1;
    }
    c->safe = safe;
    return 0;
}

void choice_finish(choice *c, const char *why) {
    if (c->stop < 0) {
        decode(c, -1, 1);
        if (stopped(c)) why = "stop";
        c->safe = c->text.bytes;
    }
    c->finish = why;
    c->failed |= c->text.failed;
}

void choice_add(choice *c, int32_t token, const float *logits, int vocab_size, float log_sum) {
    const completion_request *r = c->request;
    c->tokens[c->n++] = token;
    if (r->logprobs >= 0) {
        c->records[c->n_records++] = (choice_record){token, NAN, c->characters};
        choice_fill(c, c->n_records - 1, logits, vocab_size, log_sum);
    }
    for (size_t i = 0; i < r->n_stop_tokens; i++)
        if (token == r->stop_tokens[i]) c->stop_token = token;
    if (c->stop_token >= 0 || (il_generation_stops(&c->names->generation, token) && !r->ignore_eos)) {
        choice_finish(c, "stop");
        return;
    }
    int read = c->constraint ? constraint_read(c->constraint, token) : 1;
    c->failed |= read < 0;
    if (!read) { /* no token of the vocabulary goes on */
        choice_finish(c, "length");
        return;
    }
    decode(c, token, 1);
    c->ends[(c->n - 1) % CHOICE_ENDS] = c->text.bytes;
    if (c->text.failed) {
        c->failed = 1;
    } else if (stopped(c)) {
        choice_finish(c, "stop");
    } else if (c->constraint && constraint_ended(c->constraint)) {
        c->whole = 1;
        choice_finish(c, "stop");
    } else if (c->n == (size_t)r->tokens_max) {
        choice_finish(c, "length");
    }
}

/* Where the text ended before the last so many tokens. */
static size_t end_before(const choice *c, size_t tokens) {
    return tokens < c->n ? c->ends[(c->n - 1 - tokens) % CHOICE_ENDS] : c->begin;
}

/* Whether the token before the last so many only begins a character that one of them ends. */
static int begins_character(const choice *c, size_t tokens) {
    return end_before(c, tokens + 1) == end_before(c, tokens) &&
           names_bytes(c->names, c->tokens[c->n - 1 - tokens], c->scratch);
}

size_t choice_behind(const choice *c) {
    size_t behind = 0;
    if (c->mended) return 0;
    if (c->stop < 0) return c->n && c->finish && !strcmp(c->finish, "stop") && !c->whole;
    while (behind < c->n && behind < CHOICE_ENDS && end_before(c, behind) > c->text.bytes) behind++;
    while (behind && behind < c->n && behind + 1 < CHOICE_ENDS && begins_character(c, behind)) behind++;
    return behind < CHOICE_ENDS ? behind : 0;
}

const char *choice_torn(const choice *c, size_t *bytes) {
    size_t from = c->stop < 0 ? c->text.bytes : end_before(c, choice_behind(c));
    *bytes = c->text.bytes > from ? c->text.bytes - from : 0;
    return c->text.data + (c->text.bytes - *bytes);
}

int choice_has_news(const choice *c) {
    return (c->finish && !c->ended) || c->safe > c->sent ||
           (c->request->logprobs >= 0 && c->n_records > c->records_sent);
}

void choice_sent(choice *c) {
    c->sent = c->safe;
    c->records_sent = c->n_records;
    c->tokens_sent = c->n;
    c->begun = 1;
    c->ended = c->finish != NULL;
}
