/* serving.h: what server.c, routes.c and paths.c share. Nothing else includes it, but for tests. */
#ifndef SERVER_SERVING_H
#define SERVER_SERVING_H

#include "grammar/vocabulary.h"
#include "net/http.h"
#include "run/job.h"
#include "run/scheduler.h"
#include "server.h"
#include "sessions/session_paths.h"

#include <stdatomic.h>

struct server {
    server_options options;
    char *name, *keys, **names, **origins;
    char **cors;            /* [n_origins]: the lines that an answer to its pages has */
    double bytes_per_token; /* by which a state grows with each token that it has read */
    atomic_int *places;     /* [keys]: those that are taken; NULL: they are not counted */
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

/* ---- routes.c ---- */

typedef struct route route;
typedef struct call {
    session_request request; /* must be first */
    server *server;
    http_exchange *exchange;
    const route *route;
} call;

/* Who answers a path. One of get, post and post_of_session; none: session_paths.h knows its methods. */
struct route {
    const char *path; /* as the OpenAPI file has it, {…} at its end: whatever follows */
    int open;         /* needs no key */
    void (*get)(server *s, http_exchange *e);
    void (*post)(server *s, http_exchange *e, const json_t *body, problem *p);
    int (*post_of_session)(server *s, call *c, const json_t *body, problem *p); /* 0: it waits, and is run again */
};

/* ---- paths.c ---- */

/* Of an answer, and of a problem, so that a client can name what it was refused. */
void paths_new_id(server *s, const char *prefix, char *id, size_t capacity);
void paths_answer_problem(server *s, http_exchange *e, const problem *p, const char *headers);
/* The job's to be, with room for its answers, or there is a problem. */
int paths_schedule(void *context, job *j, problem *p);
void paths_get_health(server *s, http_exchange *e);
void paths_get_models(server *s, http_exchange *e);
void paths_get_model(server *s, http_exchange *e);
void paths_get_cost(server *s, http_exchange *e);
void paths_get_page(server *s, http_exchange *e);
void paths_get_tokenizer(server *s, http_exchange *e);
void paths_get_metrics(server *s, http_exchange *e);
void paths_post_tokenize(server *s, http_exchange *e, const json_t *body, problem *p);
void paths_post_detokenize(server *s, http_exchange *e, const json_t *body, problem *p);
void paths_post_embeddings(server *s, http_exchange *e, const json_t *body, problem *p);
int paths_post_completions(server *s, call *c, const json_t *body, problem *p);
int paths_post_chat(server *s, call *c, const json_t *body, problem *p);
int paths_post_responses(server *s, call *c, const json_t *body, problem *p);

#endif
