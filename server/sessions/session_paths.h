/* session_paths.h: the paths of sessions, /v1/sessions and those below, and sessions in requests for answers. */
#ifndef SERVER_SESSION_PATHS_H
#define SERVER_SESSION_PATHS_H

#include "grammar/names.h"
#include "net/http.h"
#include "run/job.h"
#include "sessions/sessions.h"

/* What the server has that these paths need; all must outlive them. */
typedef struct session_context {
    il_model *model;
    const il_tokenizer *tokenizer;
    const names *words;
    const completion_limits *limits;
    const char *name, *fingerprint; /* of the model */
    sessions *sessions;
    int (*schedule)(void *server, job *j, problem *p); /* the job is the scheduler's then; 0: a problem */
    void *server;
    uint64_t state_bytes_max; /* of an upload */
} session_context;

typedef enum session_verb {
    SESSION_NONE,
    SESSION_LIST,
    SESSION_CREATE,
    SESSION_UPLOAD,
    SESSION_SHOW,
    SESSION_DELETE,
    SESSION_CHANGE,
    SESSION_FEED,
    SESSION_FORK,
    SESSION_REWIND,
    SESSION_STATE,
    SESSION_LAYERS,
    RESPONSE_SHOW, /* stored_responses.h */
    RESPONSE_DELETE
} session_verb;

/* What a request says besides its body. The object must not move while the request is answered. */
typedef struct session_request {
    session_call call; /* must be first */
    http_exchange *exchange;
    session_verb verb;
    int64_t limit, ttl;
    int durable;
    char id[STORE_ID_BYTES], after[STORE_ID_BYTES], name[STORE_NAME_BYTES];
} session_request;

/* What is asked by a method of a path below /v1/sessions or /v1/responses/. SESSION_NONE: 404 or 405, for which *allow
 * lists the methods of the path. */
session_verb session_paths_find(const char *method, const char *path, const char **allow, problem *p);
/* The methods and paths there are, with {id} in them; 0: not so many. path [64]. */
int session_paths_at(size_t i, const char **method, char *path);
/* Whether the verb's body is JSON. */
int session_paths_json(session_verb verb);
/* Reads headers and what stands behind the path, where they may be read. owner: of the key, as sessions_owner has it.
 */
int session_paths_read(session_request *r, http_exchange *e, session_verb verb, const char *owner, problem *p);
/* 1: answered, or its job is with the scheduler, or a problem. 0: it waits, and its item runs again. id: of the
 * request. body NULL: there is none. */
int session_paths_run(const session_context *c, session_request *r, const json_t *body, const char *id, problem *p);

/* What body says of a session for a job for answers, whose other fields were read: j goes on from it. 1: it does, or
 * there is none. 0: a problem, or, without one, it waits: the request runs again, and the job is made anew. After 1
 * without scheduler_submit the job is ended by session_paths_leave. */
int session_paths_join(const session_context *c, session_request *r, const json_t *body, job *j, problem *p);
void session_paths_leave(job *j, const problem *p);
/* Takes the session that a job has left behind back to where the text of its only answer ends. */
void session_paths_take_back(const job *j, il_session *session);

#endif
