/* routes.c: see routes.h. */
#include "routes.h"

#include "common/work.h"
#include "net/access.h"
#include "serving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { VALUES_BESIDE = 65536 /* values of JSON in a body besides the tokens of its prompts */ };

/* Of Authorization the asterisk does not stand for, of all else it does. */
#define PREFLIGHT                                                                                                      \
    "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"                                            \
    "Access-Control-Allow-Headers: Authorization, *\r\nAccess-Control-Max-Age: 600\r\n"

static const route routes[] = {{"/", 1, paths_get_page, NULL, NULL},
                               {"/page/{name}", 1, paths_get_page, NULL, NULL},
                               {"/openapi.json", 1, paths_get_page, NULL, NULL},
                               {"/health", 1, paths_get_health, NULL, NULL},
                               {"/v1/health", 1, paths_get_health, NULL, NULL},
                               {"/v1/models", 0, paths_get_models, NULL, NULL},
                               {"/models", 0, paths_get_models, NULL, NULL},
                               {"/v1/models/{model}", 0, paths_get_model, NULL, NULL},
                               {"/metrics", 0, paths_get_metrics, NULL, NULL},
                               {"/tokenizer_info", 0, paths_get_tokenizer, NULL, NULL},
                               {"/cost", 0, paths_get_cost, NULL, NULL},
                               {"/tokenize", 0, NULL, paths_post_tokenize, NULL},
                               {"/detokenize", 0, NULL, paths_post_detokenize, NULL},
                               {"/v1/completions", 0, NULL, NULL, paths_post_completions},
                               {"/v1/chat/completions", 0, NULL, NULL, paths_post_chat},
                               {"/v1/responses", 0, NULL, NULL, paths_post_responses},
                               {"/v1/responses/{id}", 0, NULL, NULL, NULL}, /* session_paths.h knows these, too */
                               {"/v1/embeddings", 0, NULL, paths_post_embeddings, NULL},
                               {"/v1/sessions", 0, NULL, NULL, NULL}, /* session_paths.h knows its methods */
                               {"/v1/sessions/{id}", 0, NULL, NULL, NULL}};

static int is_of_sessions(const route *r) { return !r->get && !r->post && !r->post_of_session; }

int routes_at(size_t i, const char **method, char *path) {
    for (size_t k = 0; k < sizeof routes / sizeof *routes; k++) {
        if (is_of_sessions(&routes[k]) || i--) continue;
        *method = routes[k].get ? "GET" : "POST";
        snprintf(path, 64, "%s", routes[k].path);
        return 1;
    }
    return session_paths_at(i, method, path);
}

static int run_route(call *c, const json_t *body, problem *p) {
    server *s = c->server;
    char id[48];
    if (c->route->post_of_session) return c->route->post_of_session(s, c, body, p);
    if (c->route->post) {
        c->route->post(s, c->exchange, body, p);
        return 1;
    }
    paths_new_id(s, "req", id, sizeof id);
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
    if (c->request.call.held) sessions_release(s->sessions, c->request.call.held); /* it failed before it took it */
    if (p.status) paths_answer_problem(s, c->exchange, &p, NULL);
    free(c);
    atomic_fetch_sub(&s->preparing, 1);
}

static const route *find(const char *path) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t n = strcspn(routes[i].path, "{");
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
    else if (http_refused(e) && verb == SESSION_UPLOAD)
        problem_set(p, 503, "no_memory", NULL, "there is no room for another state now");
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

void routes_on_request(void *context, http_exchange *e) {
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
        paths_answer_problem(s, e, &p, p.status == 401 || p.status == 405 ? headers : NULL);
    } else if (r->get) {
        r->get(s, e);
    } else {
        work_push(s->work, &c->request.call.item);
        return;
    }
    atomic_fetch_sub(&s->preparing, 1);
}

/* A state is written to a file while it comes; who may not send one is told so before it does. */
int routes_on_upload(void *context, http_exchange *e, uint64_t bytes, int *refused) {
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

void routes_on_wake(void *context) {
    server *s = context;
    scheduler_wake(s->scheduler);
}
