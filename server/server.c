/* server.c: see server.h. From the path of a request to who answers it. */
#include "server.h"
#include "api/answer.h"
#include "api/cost.h"
#include "api/embeddings.h"
#include "api/responses.h"
#include "common/fail.h"
#include "common/work.h"
#include "grammar/vocabulary.h"
#include "net/access.h"
#include "net/http.h"
#include "page.h"
#include "request/chat.h"
#include "request/tokens.h"
#include "run/job.h"
#include "run/scheduler.h"
#include "sessions/session_paths.h"
#include "sessions/stored_responses.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    TOKENS_DEFAULT = 16,
    CHAT_TOKENS_DEFAULT = 1024,  /* of an answer, as everywhere */
    BODIES = 4,                  /* as many of the largest bodies are held at once */
    VALUES_BESIDE = 65536,       /* values of JSON in a body besides the tokens of its prompts */
    STATE_BYTES_BESIDE = 8 << 20 /* in a state file besides the arrays of the state: its header and a note */
};

/* Of Authorization the asterisk does not stand for, of all else it does. */
#define PREFLIGHT                                                                                                      \
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"                                            \
    "Access-Control-Allow-Headers: Authorization, *\r\nAccess-Control-Max-Age: 600\r\n"

struct server {
    server_options options;
    char *name, *keys, **names, **origins;
    char **cors;        /* [n_origins]: the lines that an answer to its pages has */
    atomic_int *places; /* [keys]: those that are taken; NULL: they are not counted */
    char fingerprint[40];
    struct names tokens;
    struct vocabulary vocabulary;
    completion_limits limits;
    uint64_t instance;
    atomic_ullong count;
    atomic_int draining;
    atomic_size_t preparing; /* requests that are being read */
    work *work;
    scheduler *scheduler;
    sessions *sessions;
    session_context session_paths;
    http_server *http;
};

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

/* Of an answer, and of a problem, so that a client can name what it was refused. */
static void new_id(server *s, const char *prefix, char *id, size_t capacity) {
    snprintf(id, capacity, "%s-%016llx-%llu", prefix, (unsigned long long)s->instance,
             (unsigned long long)atomic_fetch_add(&s->count, 1));
}

static void answer_problem(server *s, http_exchange *e, const problem *p, const char *headers) {
    text body = {0};
    char id[48], lines[160];
    problem_print(p, &body);
    new_id(s, "req", id, sizeof id);
    if (!headers) headers = problem_headers(p);
    snprintf(lines, sizeof lines, "X-Request-Id: %s\r\n%s", id, headers);
    http_answer(e, p->status, lines, &body);
}

static void get_health(server *s, http_exchange *e) {
    text body = {0};
    if (atomic_load(&s->draining)) {
        problem p = {0};
        problem_set(&p, 503, "shutting_down", NULL, "the server is stopping");
        answer_problem(s, e, &p, NULL);
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

static void get_models(server *s, http_exchange *e) {
    text body = {0};
    text_say(&body, "{\"object\":\"list\",\"data\":[");
    add_model(s, &body);
    text_say(&body, "]}");
    answer_text(e, &body);
}

static void get_model(server *s, http_exchange *e) {
    const char *asked = strrchr(http_path(e), '/') + 1;
    text body = {0};
    if (!strcmp(asked, s->name)) {
        add_model(s, &body);
        answer_text(e, &body);
        return;
    }
    problem p = {0};
    problem_set(&p, 404, "model_not_found", "model", "model '%.60s' is not served here, '%s' is", asked, s->name);
    answer_problem(s, e, &p, NULL);
}

static void get_cost(server *s, http_exchange *e) {
    text body = {0};
    cost_print(il_model_config(s->options.model), &body);
    answer_text(e, &body);
}

static void get_page(server *s, http_exchange *e) {
    text body = {0};
    const char *headers = page_find(http_path(e), &body);
    if (headers) {
        http_answer(e, 200, headers, &body);
        return;
    }
    problem p = {0};
    problem_set(&p, 404, "not_found", NULL, "%.100s is not a path of this server", http_path(e));
    answer_problem(s, e, &p, NULL);
}

static void get_tokenizer(server *s, http_exchange *e) {
    text body = {0};
    tokens_info(&s->tokens, &body);
    answer_text(e, &body);
}

static void add_metric(const char *name, const char *kind, const char *help, unsigned long long value, text *t) {
    text_print(t, "# HELP innerloop_%s %s\n# TYPE innerloop_%s %s\ninnerloop_%s %llu\n", name, help, name, kind, name,
               value);
}

static void get_metrics(server *s, http_exchange *e) {
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

typedef struct route route;
typedef struct call {
    session_request request; /* must be first */
    server *server;
    http_exchange *exchange;
    const route *route;
} call;

static void post_tokenize(server *s, http_exchange *e, const json_t *body, problem *p) {
    text answer = {0};
    tokens_tokenize(body, &s->tokens, &s->limits, &answer, p);
    if (p->status)
        text_free(&answer);
    else
        answer_text(e, &answer);
}

static void post_detokenize(server *s, http_exchange *e, const json_t *body, problem *p) {
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
    new_id(s, prefix, j->id, sizeof j->id);
    return j;
}

/* The job's to be, with room for its answers, or there is a problem. */
static int schedule(void *context, job *j, problem *p) {
    server *s = context;
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
        if (schedule(s, j, p)) return;
    }
    session_paths_leave(j, p);
    job_free(j);
}

static int post_completions(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "cmpl", &answer_completion, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) &&
               completion_parse(body, COMPLETION_TEXT, &s->limits, &j->request, p) &&
               session_paths_join(&s->session_paths, &c->request, body, j, p);
    if (!read && !p->status) {
        job_free(j);
        return 0;
    }
    if (read) completion_encode(&j->request, s->options.tokenizer, s->tokens.bos, &s->limits, p);
    submit(s, j, p);
    return 1;
}

static int post_chat(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "chatcmpl", &answer_chat, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) &&
               completion_parse(body, COMPLETION_CHAT, &s->limits, &j->request, p) &&
               session_paths_join(&s->session_paths, &c->request, body, j, p);
    if (!read && !p->status) {
        job_free(j);
        return 0;
    }
    if (read) chat_prompt(body, s->options.chat, &s->limits, &j->request, p);
    submit(s, j, p);
    return 1;
}

static int post_responses(server *s, call *c, const json_t *body, problem *p) {
    job *j = new_job(s, c->exchange, "resp", &answer_response, p);
    if (!j) return 1;
    int read = completion_model(body, s->name, p) && responses_parse(body, &s->limits, j, p) &&
               stored_responses_join(&s->session_paths, &c->request, body, j, p);
    if (!read && !p->status) {
        job_free(j);
        return 0;
    }
    if (read) responses_prompt(body, s->options.chat, &s->limits, j, p);
    submit(s, j, p);
    return 1;
}

static void post_embeddings(server *s, http_exchange *e, const json_t *body, problem *p) {
    job *j = new_job(s, e, "embd", &embeddings_form, p);
    if (!j) return;
    if (completion_model(body, s->name, p) &&
        embeddings_parse(body, il_model_config(s->options.model)->width, &s->limits, &j->request, p))
        completion_encode(&j->request, s->options.tokenizer, s->tokens.bos, &s->limits, p);
    submit(s, j, p);
}

/* ---- who answers what ---- */

struct route {
    const char *path; /* with "*" at its end: whatever follows */
    int open;         /* needs no key */
    void (*get)(server *s, http_exchange *e);
    void (*post)(server *s, http_exchange *e, const json_t *body, problem *p);
    int (*post_of_session)(server *s, call *c, const json_t *body, problem *p); /* 0: it waits, and is run again */
};

static const route routes[] = {{"/", 1, get_page, NULL, NULL},
                               {"/page/*", 1, get_page, NULL, NULL},
                               {"/openapi.json", 1, get_page, NULL, NULL},
                               {"/health", 1, get_health, NULL, NULL},
                               {"/v1/health", 1, get_health, NULL, NULL},
                               {"/v1/models", 0, get_models, NULL, NULL},
                               {"/models", 0, get_models, NULL, NULL},
                               {"/v1/models/*", 0, get_model, NULL, NULL},
                               {"/metrics", 0, get_metrics, NULL, NULL},
                               {"/tokenizer_info", 0, get_tokenizer, NULL, NULL},
                               {"/cost", 0, get_cost, NULL, NULL},
                               {"/tokenize", 0, NULL, post_tokenize, NULL},
                               {"/detokenize", 0, NULL, post_detokenize, NULL},
                               {"/v1/completions", 0, NULL, NULL, post_completions},
                               {"/v1/chat/completions", 0, NULL, NULL, post_chat},
                               {"/v1/responses", 0, NULL, NULL, post_responses},
                               {"/v1/responses/*", 0, NULL, NULL, NULL}, /* session_paths.h knows these, too */
                               {"/v1/embeddings", 0, NULL, post_embeddings, NULL},
                               {"/v1/sessions", 0, NULL, NULL, NULL}, /* session_paths.h knows its methods */
                               {"/v1/sessions/*", 0, NULL, NULL, NULL}};

static int is_of_sessions(const route *r) { return !r->get && !r->post && !r->post_of_session; }

static int run_route(call *c, const json_t *body, problem *p) {
    server *s = c->server;
    char id[48];
    if (c->route->post_of_session) return c->route->post_of_session(s, c, body, p);
    if (c->route->post) {
        c->route->post(s, c->exchange, body, p);
        return 1;
    }
    new_id(s, "req", id, sizeof id);
    return session_paths_run(&s->session_paths, &c->request, body, id, p);
}

static void run_call(work_item *item) {
    call *c = (call *)item;
    server *s = c->server;
    problem p = {0};
    const text *bytes = http_body(c->exchange);
    int has_body = !is_of_sessions(c->route) || session_paths_json(c->request.verb);
    json_t *body =
        has_body ? json_body(bytes->data, bytes->bytes, s->options.prompt_tokens_max + VALUES_BESIDE, &p) : NULL;
    int done = p.status || run_route(c, body, &p);
    json_decref(body);
    if (!done) return; /* for a session: c may be run already, or even be gone */
    if (p.status) answer_problem(s, c->exchange, &p, NULL);
    free(c);
    atomic_fetch_sub(&s->preparing, 1);
}

static const route *find(const char *path) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t n = strcspn(routes[i].path, "*");
        if (routes[i].path[n] ? !strncmp(path, routes[i].path, n) : !strcmp(path, routes[i].path)) return &routes[i];
    }
    return NULL;
}

static int is_json(const char *type) {
    static const char json[] = "application/json";
    return type && !strncasecmp(type, json, sizeof json - 1) &&
           (!type[sizeof json - 1] || strchr("; ", type[sizeof json - 1]));
}

/* The lines for a page of an origin that was named; NULL: it is none, and its browser does not give it the answer. */
static const char *cors_of(const server *s, http_exchange *e) {
    const char *origin = http_header(e, "Origin");
    for (size_t i = 0; origin && i < s->options.n_origins; i++)
        if (!strcmp(origin, s->origins[i])) return s->cors[i];
    return NULL;
}

static int is_get(http_exchange *e) { return !strcmp(http_method(e), "GET") || !strcmp(http_method(e), "HEAD"); }

/* What was not read of a body, or whose type is not what it must be. */
static void check_body(const server *s, http_exchange *e, session_verb verb, problem *p) {
    if (http_refused(e) == 413 && verb == SESSION_UPLOAD)
        problem_set(p, 413, "body_too_large", NULL, "the state is larger than %llu bytes, as none of this model is",
                    (unsigned long long)s->session_paths.state_bytes_max);
    else if (http_refused(e) == 413)
        problem_set(p, 413, "body_too_large", NULL, "the body is larger than %zu bytes (--max-body)",
                    s->options.body_bytes_max);
    else if (http_refused(e))
        problem_set(p, 503, "no_memory", NULL, "the bodies of other requests fill the memory for them");
    else if ((verb == SESSION_NONE || session_paths_json(verb)) && !is_json(http_header(e, "Content-Type")))
        problem_set(p, 415, "unsupported_media_type", NULL, "the body must be JSON, 'Content-Type: application/json'");
}

/* Everything that can be said against a request before its body is read. *allow: for 405. */
static const route *check(server *s, http_exchange *e, session_verb *verb, const char **allow, problem *p) {
    const route *r = find(http_path(e));
    size_t key = 0;
    if (!s->keys && !access_check_host(http_header(e, "Host"), (const char *const *)s->names, s->options.n_names, p))
        return NULL;
    if (!r) {
        problem_set(p, 404, "not_found", NULL, "%.100s is not a path of this server", http_path(e));
        return NULL;
    }
    if (!r->open && !access_check_key(s->keys, http_header(e, "Authorization"), http_header(e, "X-Api-Key"), &key, p))
        return NULL;
    http_set_asker(e, key);
    int get = is_get(e);
    if (is_of_sessions(r)) {
        *verb = session_paths_find(http_method(e), http_path(e), allow, p);
    } else if (get ? !r->get : strcmp(http_method(e), "POST") || r->get) {
        *allow = r->get ? "GET, HEAD" : "POST";
        problem_set(p, 405, "method_not_allowed", NULL, "%s is asked by %s", r->path, r->get ? "GET" : "POST");
    }
    if (p->status || r->get) return r;
    if (!get) check_body(s, e, *verb, p);
    if (!p->status && atomic_load(&s->draining))
        problem_set(p, 503, "shutting_down", NULL, "the server is stopping");
    else if (!p->status && atomic_load(&s->preparing) > (size_t)s->options.queue_max)
        problem_set(p, 503, "queue_full", NULL, "%d requests wait already (--max-queue)", s->options.queue_max);
    return r;
}

/* What a request says besides its body is read while it may be. */
static call *new_call(server *s, http_exchange *e, const route *r, session_verb verb, problem *p) {
    char owner[STORE_HASH_BYTES];
    call *c = calloc(1, sizeof *c);
    if (!c) {
        problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
        return NULL;
    }
    const char *key = s->keys ? access_sent(http_header(e, "Authorization"), http_header(e, "X-Api-Key")) : NULL;
    sessions_owner(key, owner);
    c->request.call.item.run = run_call;
    c->server = s;
    c->exchange = e;
    c->route = r;
    if (session_paths_read(&c->request, e, verb, owner, p)) return c;
    free(c);
    return NULL;
}

static void on_request(void *context, http_exchange *e) {
    server *s = context;
    problem p = {0};
    session_verb verb = SESSION_NONE;
    const char *allow = NULL;
    const char *cors = cors_of(s, e);
    http_always(e, cors);
    if (cors && !strcmp(http_method(e), "OPTIONS")) { /* its browser asks whether it may ask */
        text nothing = {0};
        http_answer(e, 204, PREFLIGHT, &nothing);
        return;
    }
    atomic_fetch_add(&s->preparing, 1); /* before `draining` is looked at */
    const route *r = check(s, e, &verb, &allow, &p);
    call *c = p.status || r->get ? NULL : new_call(s, e, r, verb, &p);
    if (p.status) {
        char headers[64] = "WWW-Authenticate: Bearer\r\n";
        if (p.status == 405) snprintf(headers, sizeof headers, "Allow: %s\r\n", allow);
        answer_problem(s, e, &p, p.status == 401 || p.status == 405 ? headers : NULL);
    } else if (r->get) {
        r->get(s, e);
    } else {
        work_push(s->work, &c->request.call.item);
        return;
    }
    atomic_fetch_sub(&s->preparing, 1);
}

/* A state is written to a file while it comes; who may not send one is told so before it does. */
static int on_upload(void *context, http_exchange *e, uint64_t bytes, int *refused) {
    server *s = context;
    problem p = {0};
    size_t key;
    if (strcmp(http_method(e), "PUT") || strcmp(http_path(e), "/v1/sessions")) return -1;
    if (!access_check_key(s->keys, http_header(e, "Authorization"), http_header(e, "X-Api-Key"), &key, &p) ||
        atomic_load(&s->draining))
        *refused = 503; /* check says what it is */
    else if (bytes > s->session_paths.state_bytes_max)
        *refused = 413;
    int fd = *refused ? -1 : sessions_scratch(s->sessions);
    if (fd < 0 && !*refused) *refused = 503;
    return fd;
}

static void on_wake(void *context) {
    server *s = context;
    scheduler_wake(s->scheduler);
}

/* ---- beginning and end ---- */

void server_options_default(server_options *options) {
    *options = (server_options){.host = "127.0.0.1",
                                .port = 8080,
                                .streams_max = 64,
                                .queue_max = 256,
                                .connections_max = 512,
                                .body_bytes_max = 32 << 20,
                                .prompt_tokens_max = 262144,
                                .cache_bytes = 1 << 30,
                                .tokens_max = 4096,
                                .sessions_max = 1000,
                                .sessions_bytes = 1 << 30,
                                .request_seconds = 600,
                                .idle_seconds = 60};
}

/* Copies what the caller may let go. */
static int copy_strings(server *s, const server_options *o) {
    s->name = strdup(o->name);
    s->keys = o->keys ? strdup(o->keys) : NULL;
    s->names = calloc(o->n_names + 1, sizeof *s->names);
    s->origins = calloc(o->n_origins + 1, sizeof *s->origins);
    s->cors = calloc(o->n_origins + 1, sizeof *s->cors);
    int copied = s->name && s->names && s->origins && s->cors && (s->keys || !o->keys);
    for (size_t i = 0; copied && i < o->n_names; i++) copied = (s->names[i] = strdup(o->names[i])) != NULL;
    for (size_t i = 0; copied && i < o->n_origins; i++)
        copied = (s->origins[i] = strdup(o->origins[i])) != NULL &&
                 asprintf(&s->cors[i],
                          "Access-Control-Allow-Origin: %s\r\nVary: Origin\r\n"
                          "Access-Control-Expose-Headers: ETag, Retry-After, X-Innerloop-Ignored, X-Request-Id\r\n",
                          o->origins[i]) > 0;
    if (copied && o->streams_per_key_max) {
        s->places = calloc(access_keys(o->keys), sizeof *s->places);
        copied = s->places != NULL;
    }
    return copied;
}

/* Of any state that a session here can have: what it is now, and what grows with each token. */
static uint64_t state_bytes_max(const server *s) {
    enum { FAR = 1 << 20 };
    il_session *session;
    il_session_stats stats = {0};
    const il_config *config = il_model_config(s->options.model);
    double each =
        (il_config_state_bytes_per_token(config, 2 * FAR) - il_config_state_bytes_per_token(config, FAR)) / FAR;
    if (!il_session_open(s->options.model, NULL, &session, NULL)) il_session_get_stats(session, &stats);
    il_session_close(session);
    return stats.state_bytes + STATE_BYTES_BESIDE + (uint64_t)(each * (double)s->options.prompt_tokens_max);
}

static il_status start_sessions(server *s, il_error *error) {
    sessions_options with = {.model = s->options.model,
                             .work = s->work,
                             .count_max = s->options.sessions_max,
                             .bytes_max = s->options.sessions_bytes};
    if (s->options.store) {
        il_status status = store_open(s->options.store, s->options.model, &with.store, error);
        if (status) return status;
    }
    s->sessions = sessions_start(&with);
    if (!s->sessions) return server_fail(error, IL_ERR_NOMEM, "no memory or no threads for the server");
    s->session_paths = (session_context){.model = s->options.model,
                                         .tokenizer = s->options.tokenizer,
                                         .words = &s->tokens,
                                         .limits = &s->limits,
                                         .name = s->name,
                                         .fingerprint = s->fingerprint,
                                         .sessions = s->sessions,
                                         .schedule = schedule,
                                         .server = s,
                                         .state_bytes_max = state_bytes_max(s)};
    return IL_OK;
}

il_status server_start(const server_options *options, server **started, il_error *error) {
    char why[256];
    *started = NULL;
    if (!access_is_address(options->host))
        return server_fail(error, IL_ERR_ARG, "'%s' is not a numeric address", options->host);
    if (options->keys && !access_keys(options->keys))
        return server_fail(error, IL_ERR_ARG, "the file of keys has no key");
    if (!options->keys && !options->open_to_all && !access_is_loopback(options->host))
        return server_fail(
            error, IL_ERR_ARG,
            "%s is an address that others reach: ask them for a key (--api-key-file FILE), or let everybody in "
            "(--open)",
            options->host);
    if (options->streams_per_key_max && !options->keys)
        return server_fail(error, IL_ERR_ARG, "--max-streams-per-key counts by key: give --api-key-file FILE too");
    for (size_t i = 0; i < options->n_origins; i++)
        if (!access_is_origin(options->origins[i]))
            return server_fail(error, IL_ERR_ARG,
                               "'%s' is not an origin: write it as browsers do, 'https://example.org' or "
                               "'http://localhost:3000', without a path",
                               options->origins[i]);
    server *s = calloc(1, sizeof *s);
    if (!s) return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    s->options = *options;
    if (!copy_strings(s, options)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    }
    memcpy(s->fingerprint, "il-", 3);
    il_model_fingerprint(options->model, s->fingerprint + 3);
    names_open(&s->tokens, options->tokenizer, il_model_config(options->model), options->generation);
    s->limits = (completion_limits){.prompt_tokens_max = options->prompt_tokens_max,
                                    .tokens_max = options->tokens_max,
                                    .n_max = options->streams_max < 128 ? options->streams_max : 128,
                                    .tokens_default = TOKENS_DEFAULT,
                                    .chat_tokens_default = CHAT_TOKENS_DEFAULT,
                                    .vocab_size = il_model_config(options->model)->vocab_size};
    if (getrandom(&s->instance, sizeof s->instance, 0) != sizeof s->instance) s->instance = (uint64_t)time(NULL);
    if (!vocabulary_open(&s->vocabulary, &s->tokens)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory for the server");
    }
    s->tokens.vocabulary = &s->vocabulary;
    s->work = work_start();
    scheduler_options scheduling = {.engine = options->engine,
                                    .model = options->model,
                                    .work = s->work,
                                    .tokens = s->tokens.vocab_size,
                                    .streams_max = options->streams_max,
                                    .queue_max = options->queue_max,
                                    .cache_bytes = options->cache_bytes,
                                    .seconds_max = options->request_seconds};
    if (s->work) s->scheduler = scheduler_start(&scheduling);
    if (!s->scheduler) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_NOMEM, "no memory or no threads for the server");
    }
    il_status status = start_sessions(s, error);
    if (status) {
        server_stop(s, NULL);
        return status;
    }
    http_options listening = {.host = options->host,
                              .port = options->port,
                              .tls_certificate = options->tls_certificate,
                              .tls_key = options->tls_key,
                              .connections_max = options->connections_max,
                              .body_bytes_max = options->body_bytes_max,
                              .bodies_bytes_max = BODIES * options->body_bytes_max,
                              .idle_seconds = options->idle_seconds,
                              .request = on_request,
                              .upload = on_upload,
                              .wake = on_wake,
                              .user = s};
    if (http_start(&listening, &s->http, why, sizeof why)) {
        server_stop(s, NULL);
        return server_fail(error, IL_ERR_IO, "%s", why);
    }
    *started = s;
    return IL_OK;
}

uint16_t server_port(const server *s) { return http_port(s->http); }

int server_drain(server *s) {
    atomic_store(&s->draining, 1);
    return scheduler_idle(s->scheduler) && !atomic_load(&s->preparing);
}

il_status server_stop(server *s, il_error *error) {
    problem lost = {0};
    if (!s) return IL_OK;
    atomic_store(&s->draining, 1);
    if (s->sessions) sessions_drain(s->sessions);
    while (atomic_load(&s->preparing)) usleep(1000); /* then nothing is submitted any more */
    if (s->scheduler) scheduler_stop(s->scheduler);  /* what it has is handed to the work, or to HTTP */
    work_stop(s->work);
    sessions_stop(s->sessions, &lost); /* what has changed is written */
    http_stop(s->http);
    scheduler_free(s->scheduler); /* which HTTP has woken until now */
    for (size_t i = 0; s->names && i < s->options.n_names; i++) free(s->names[i]);
    vocabulary_close(&s->vocabulary);
    free(s->names);
    for (size_t i = 0; s->origins && s->cors && i < s->options.n_origins; i++) {
        free(s->origins[i]);
        free(s->cors[i]);
    }
    free(s->origins);
    free(s->cors);
    free(s->places);
    free(s->name);
    free(s->keys);
    free(s);
    if (!lost.status) return IL_OK;
    if (error) {
        error->status = IL_ERR_IO;
        snprintf(error->message, sizeof error->message, "%s", lost.message);
    }
    return IL_ERR_IO;
}
