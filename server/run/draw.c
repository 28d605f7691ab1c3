/* draw.c: see draw.h. */
#include "run/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RECENT = 64 };              /* tokens that repetition_penalty looks at, as `innerloop generate` does */
static const float NEVER = -1e30F; /* a logit that nothing makes likely */

int drawer_open(drawer *d, const il_engine *engine, const il_model *model, int tokens) {
    int vocab_size = il_model_config(model)->vocab_size;
    *d = (drawer){.engine = engine, .vocab_size = vocab_size, .drawn_max = tokens < vocab_size ? tokens : vocab_size};
    d->scratch = malloc((size_t)vocab_size * sizeof *d->scratch);
    d->seen = calloc((size_t)vocab_size, 1);
    return d->scratch && d->seen;
}

void drawer_close(drawer *d) {
    free(d->scratch);
    free(d->seen);
    *d = (drawer){0};
}

/* The last tokens, prompt included, that can be drawn. */
static size_t recent(const choice *c, const il_tokens *prompt, int drawn_max, int32_t tokens[RECENT]) {
    size_t answered = c->n < RECENT ? c->n : RECENT, before = RECENT - answered, n = 0;
    if (before > prompt->n) before = prompt->n;
    for (size_t i = prompt->n - before; i < prompt->n; i++)
        if (prompt->ids[i] < drawn_max) tokens[n++] = prompt->ids[i];
    memcpy(tokens + n, c->tokens + c->n - answered, answered * sizeof *tokens);
    return n + answered;
}

/* What a request does to logits before il_sample. */
static void bend(drawer *d, const choice *c, float *logits) {
    const completion_request *r = c->request;
    for (size_t i = 0; i < r->n_biases; i++) logits[r->biases[i].token] += r->biases[i].bias;
    if (r->presence_penalty != 0 || r->frequency_penalty != 0) {
        for (size_t i = 0; i < c->n; i++) {
            logits[c->tokens[i]] -= r->frequency_penalty + (d->seen[c->tokens[i]] ? 0 : r->presence_penalty);
            d->seen[c->tokens[i]] = 1;
        }
        for (size_t i = 0; i < c->n; i++) d->seen[c->tokens[i]] = 0;
    }
    if (c->n >= (size_t)r->tokens_min) return;
    for (size_t i = 0; i < r->n_stop_tokens; i++) logits[r->stop_tokens[i]] = NEVER;
    const il_generation *ends = &c->names->generation;
    for (int i = 0; i < ends->n_stops && !r->ignore_eos; i++) logits[ends->stop[i]] = NEVER;
}

int draw(drawer *d, choice *c, const il_tokens *prompt, size_t j, uint64_t position, float *logits) {
    il_sample_options sampling = c->request->sampling;
    int32_t tokens[RECENT], token;
    float log_sum = 0, *bent = logits;
    size_t n_recent = sampling.repeat_penalty == 1 ? 0 : recent(c, prompt, d->drawn_max, tokens);
    sampling.seed += j;
    if (c->request->logprobs >= 0) {
        log_sum = il_log_sum_exp(d->engine, logits, d->vocab_size);
        memcpy(d->scratch, logits, (size_t)d->vocab_size * sizeof *logits);
        bent = d->scratch;
    }
    bend(d, c, bent);
    choice_forbid(c, bent, d->drawn_max);
    if (il_sample(&sampling, bent, d->drawn_max, position, tokens, n_recent, &token, NULL)) return 0;
    choice_add(c, token, logits, d->drawn_max, log_sum);
    return 1;
}

int draw_record(const drawer *d, choice *c, size_t record, const float *logits) {
    float log_sum = il_log_sum_exp(d->engine, logits, d->vocab_size);
    if (!isfinite(log_sum)) return 0;
    choice_fill(c, record, logits, d->drawn_max, log_sum);
    return 1;
}
