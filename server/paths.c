/* paths.c: see serving.h. What the paths of the server answer, but for those of sessions. */
#include "api/answer.h"
#include "api/cost.h"
#include "api/embeddings.h"
#include "api/responses.h"
#include "page.h"
#include "request/chat.h"
#include "request/tokens.h"
#include "serving.h"
#include "sessions/stored_responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- answers at once ---- */

static void answer_text(http_exchange *e, text *body) {
    if (body->failed) {
        problem p = {0};
        text_free(body);
        problem_set(&p, 503, "no_memory", NULL, "no memory for the answer now");
        problem_print(&p, body);
        http_answer(e, 503, "Retry-After: 1\r\n", body);
    } else {
        http_answer(e, 200, NULL, body);
    }
}

void paths_new_id(server *s, const char *prefix, char *id, size_t capacity) {
    snprintf(id, capacity, "%s-%016llx-%llu", prefix, (unsigned long long)s->instance,
             (unsigned long long)atomic_fetch_add(&s->count, 1));
}

void paths_answer_problem(server *s, http_exchange *e, const problem *p, const char *headers) {
    text body = {0};
    char id[48], lines[160];
    problem_print(p, &body);
    paths_new_id(s, "req", id, sizeof id);
    if (!headers) headers = problem_headers(p);
    snprintf(lines, sizeof lines, "X-Request-Id: %s\r\n%s", id, headers);
    http_answer(e, p->status, lines, &body);
}

void paths_get_health(server *s, http_exchange *e) {
    text body = {0};
    if (atomic_load(&s->draining)) {
        problem p = {0};
        problem_set(&p, 503, "shutting_down", NULL, "the server is stopping");
        paths_answer_problem(s, e, &p, NULL);
        return;
    }
    text_say(&body, "{\"status\":\"ok\"}");
    answer_text(e, &body);
}

static void add_model(const server *s, text *t) {
    const il_config *config = il_model_config(s->options.model);
    text_say(t, "{\"id\":");
    text_quote(t, s->name, strlen(s->name));
    text_print(t,
               ",\"object\":\"model\",\"created\":0,\"owned_by\":\"innerloop\",\"max_model_len\":%zu,"
               "\"meta\":{\"n_vocab\":%d,\"n_params\":%llu,\"n_embd\":%d,\"n_layer\":%d,\"mixer\":\"%s\","
               "\"chat\":%s,\"fingerprint\":\"%s\"}}",
               s->limits.prompt_tokens_max, s->limits.vocab_size,
               (unsigned long long)il_model_parameters(s->options.model), config->width, config->layers,
               il_mixer_name(config->mixer), s->options.chat ? "true" : "false", s->fingerprint + 3);
}

void paths_get_models(server *s, http_exchange *e) {
    text body = {0};
    text_say(&body, "{\"object\":\"list\",\"data\":[");
    add_model(s, &body);
    text_say(&body, "]}");
    answer_text(e, &body);
}

void paths_get_model(server *s, http_exchange *e) {
    const char *asked = strrchr(http_path(e), '/') + 1;
    text body = {0};
    if (!strcmp(asked, s->name)) {
        add_model(s, &body);
        answer_text(e, &body);
        return;
    }
    problem p = {0};
    problem_set(&p, 404, "model_not_found", "model", "model '%.60s' is not served here, '%s' is", asked, s->name);
    paths_answer_problem(s, e, &p, NULL);
}

void paths_get_cost(server *s, http_exchange *e) {
    text body = {0};
    cost_print(il_model_config(s->options.model), &body);
    answer_text(e, &body);
}

void paths_get_page(server *s, http_exchange *e) {
    text body = {0};
    const char *headers = page_find(http_path(e), &body);
    if (headers) {
        http_answer(e, 200, headers, &body);
        return;
    }
    problem p = {0};
    problem_set(&p, 404, "not_found", NULL, "%.100s is not a path of this server", http_path(e));
    paths_answer_problem(s, e, &p, NULL);
}

void paths_get_tokenizer(server *s, http_exchange *e) {
    text body = {0};
    tokens_info(&s->tokens, &body);
    answer_text(e, &body);
}

static void add_metric(const char *name, const char *kind, const char *help, unsigned long long value, text *t) {
    text_print(t, "# HELP innerloop_%s %s\n# TYPE innerloop_%s %s\ninnerloop_%s %llu\n", name, help, name, kind, name,
               value);
}

void paths_get_metrics(server *s, http_exchange *e) {
    scheduler_stats stats;
    text body = {0};
    scheduler_get_stats(s->scheduler, &stats);
    add_metric("prompt_tokens_total", "counter", "Tokens of prompts that were read.", stats.prompt_tokens, &body);
    add_metric("predicted_tokens_total", "counter", "Tokens that were answered.", stats.answer_tokens, &body);
    add_metric("steps_total", "counter", "Batches that were fed.", stats.steps, &body);
    add_metric("requests_done_total", "counter", "Requests that were answered.", stats.requests_done, &body);
    add_metric("requests_failed_total", "counter", "Requests that failed, or that nobody waited for.",
               stats.requests_failed, &body);
    add_metric("prefix_cache_queries_total", "counter", "Tokens of prompts that were looked up in the cache.",
               stats.cache.queries, &body);
    add_metric("prefix_cache_hits_total", "counter", "Tokens of prompts that a cached state had read.",
               stats.cache.hits, &body);
    add_metric("prefix_cache_states", "gauge", "States in the cache.", stats.cache.sessions, &body);
    add_metric("prefix_cache_bytes", "gauge", "Memory of the cache.", stats.cache.bytes, &body);
    add_metric("answers_running", "gauge", "Answers that are being made, or their prompts read.", stats.running, &body);
    add_metric("requests_waiting", "gauge", "Requests that wait for a session.", stats.waiting, &body);
    sessions_stats kept;
    sessions_get_stats(s->sessions, &kept);
    add_metric("sessions_in_memory", "gauge", "Sessions whose state is in memory.", kept.in_memory, &body);
    add_metric("sessions_memory_bytes", "gauge", "Bytes of these states.", kept.memory_bytes, &body);
    add_metric("sessions_unwritten", "gauge", "Sessions that wait to be written to the store.", kept.unwritten, &body);
    add_metric("session_writes_total", "counter", "Sessions that were written to the store.", kept.writes, &body);
    add_metric("session_write_failures_total", "counter", "Sessions that could not be.", kept.write_failures, &body);
    histogram_print(&stats.first_token, "innerloop_time_to_first_token_seconds",
                    "From a request to the first token of each of its answers.", &body);
    histogram_print(&stats.between_tokens, "innerloop_inter_token_latency_seconds", "Between tokens of an answer.",
                    &body);
    histogram_print(&stats.whole, "innerloop_e2e_request_latency_seconds", "From a request to all of its answers.",
                    &body);
    if (body.failed)
        answer_text(e, &body);
    else
        http_answer(e, 200, "Content-Type: text/plain; version=0.0.4\r\n", &body);
}

/* ---- requests with a body ---- */

void paths_post_tokenize(server *s, http_exchange *e, const json_t *body, problem *p) {
    text answer = {0};
    tokens_tokenize(body, &s->tokens, &s->limits, &answer, p);
    if (p->status)
        text_free(&answer);
    else
        answer_text(e, &answer);
}

void paths_post_detokenize(server *s, http_exchange *e, const json_t *body, problem *p) {
    text answer = {0};
    tokens_detokenize(body, &s->tokens, &s->limits, &answer, p);
    if (p->status)
        text_free(&answer);
    else
        answer_text(e, &answer);
}

static int take_places(server *s, job *j, problem *p) {
    if (!s->places) return 1;
    atomic_int *taken = &s->places[http_asker(j->exchange) - 1];
    if (!places_take(taken, (int)j->n_choices, s->options.streams_per_key_max, p)) return 0;
    j->places = taken;
    return 1;
}

static job *new_job(server *s, http_exchange *e, const char *prefix, const job_form *form, problem *p) {
    job *j = calloc(1, sizeof *j);
    if (!j) {
        problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
        return NULL;
    }
    j->exchange = e;
    j->form = form;
    j->model = s->name;
    j->fingerprint = s->fingerprint;
    j->created = (long long)time(NULL);
    paths_new_id(s, prefix, j->id, sizeof j->id);
    return j;
}

/* Where a state grows with all that it has read, a session reads in all what a request may have, and the memory of
 * sessions bounds it. */
static int has_room(server *s, const job *j, problem *p) {
    size_t longest = 0;
    if (!j->from || s->bytes_per_token <= 0) return 1;
    for (size_t i = 0; i < j->request.n_prompts; i++)
        if (j->request.prompts[i].tokens.n > longest) longest = j->request.prompts[i].tokens.n;
    uint64_t before = il_session_position(j->from);
    if (before + longest > s->limits.prompt_tokens_max)
        return problem_set(p, 400, "context_length_exceeded", j->request.field,
                           "the session has read %llu tokens, and the request has %zu: together at most %zu are read "
                           "(--max-prompt-tokens)",
                           (unsigned long long)before, longest, s->limits.prompt_tokens_max);
    double grows = s->bytes_per_token * ((double)longest + j->request.tokens_max);
    return !j->keep || sessions_have_room(s->sessions, (uint64_t)grows, p);
}

int paths_schedule(void *context, job *j, problem *p) {
    server *s = context;
    if (!has_room(s, j, p)) return 0;
    text_print(&j->request.space, "%zu", http_asker(j->exchange));
    if (j->request.space.failed) return problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
    return job_open_choices(j, &s->tokens, p) && take_places(s, j, p) && scheduler_submit(s->scheduler, j, p);
}

/* A request whose prompts are tokens goes to the scheduler, unless it has a problem. */
static void submit(server *s, job *j, problem *p) {
    if (!p->status) {
        int n = snprintf(j->headers, sizeof j->headers, "X-Request-Id: %s\r\n", j->id);
        if (j->request.ignored[0])
            snprintf(j->headers + n, sizeof j->headers - (size_t)n, "X-Innerloop-Ignored: %s\r\n", j->request.ignored);
        if (paths_schedule(s, j, p)) return;
    }
    session_paths_leave(j, p);
    job_free(j);
}

/* Submits a request that was read or has a problem. 0: it waits for a session, and is asked for again. */
static int hand_on(server *s, job *j, int read, problem *p) {
    if (!read && !p->status) {
        job_free(j);
        return 0;
    }
    submit(s, j, p);
    return 1;
}

int paths_post_completions(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "cmpl", &answer_completion, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) &&
               completion_parse(body, COMPLETION_TEXT, &s->limits, &j->request, p) &&
               session_paths_join(&s->session_paths, &c->request, body, j, p);
    if (read) completion_encode(&j->request, s->options.tokenizer, s->tokens.bos, &s->limits, p);
    return hand_on(s, j, read, p);
}

int paths_post_chat(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "chatcmpl", &answer_chat, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) &&
               completion_parse(body, COMPLETION_CHAT, &s->limits, &j->request, p) &&
               session_paths_join(&s->session_paths, &c->request, body, j, p);
    if (read) chat_prompt(body, s->options.chat, &s->limits, &j->request, p);
    return hand_on(s, j, read, p);
}

int paths_post_responses(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "resp", &answer_response, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) && responses_parse(body, &s->limits, j, p) &&
               stored_responses_join(&s->session_paths, &c->request, body, j, p);
    if (read) responses_prompt(body, s->options.chat, &s->limits, j, p);
    return hand_on(s, j, read, p);
}

void paths_post_embeddings(server *s, http_exchange *e, const json_t *body, problem *p) {
    job *j = new_job(s, e, "embd", &embeddings_form, p);
    if (!j) return;
    if (completion_model(body, s->name, p) &&
        embeddings_parse(body, il_model_config(s->options.model)->width, &s->limits, &j->request, p))
        completion_encode(&j->request, s->options.tokenizer, s->tokens.bos, &s->limits, p);
    submit(s, j, p);
}
