/* stored_responses.c: see stored_responses.h. */
#include "sessions/stored_responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ROOT[] = "/v1/responses/", RESPONSE[] = "resp_", SESSION[] = "ses_";
static const int64_t TTL_USUAL = 30LL * 86400, TTL_MAX = 10LL * 366 * 86400;

/* ---- names ---- */

/* Of the session of a response. 0: there is no such response. */
static int session_of(const char *response, size_t bytes, char id[STORE_ID_BYTES]) {
    const size_t begins = sizeof RESPONSE - 1;
    if (bytes <= begins || bytes >= STORE_ID_BYTES || memcmp(response, RESPONSE, begins) != 0) return 0;
    if (memchr(response, 0, bytes) || memchr(response, '/', bytes)) return 0;
    snprintf(id, STORE_ID_BYTES, "%s%.*s", SESSION, (int)(bytes - begins), response + begins);
    return 1;
}

static int absent(const char *response, size_t bytes, problem *p) {
    return problem_set(p, 404, "response_not_found", "response_id", "there is no response '%.*s'",
                       (int)(bytes < 60 ? bytes : 60), response);
}

/* The response that is the session's note; NULL: it is none. */
static const char *response_of(const il_session *session, const char *id) {
    char begins[STORE_ID_BYTES + 24];
    const char *note = il_session_note(session);
    size_t n = (size_t)snprintf(begins, sizeof begins, "{\"id\":\"%s%s\",", RESPONSE, id + sizeof SESSION - 1);
    return note && !strncmp(note, begins, n) ? note : NULL;
}

int stored_responses_is(const il_session *session, const char *id) { return response_of(session, id) != NULL; }

/* ---- GET and DELETE ---- */

int stored_responses_path(const char *path) { return !strncmp(path, ROOT, sizeof ROOT - 1); }

session_verb stored_responses_find(const char *method, const char *path, const char **allow, problem *p) {
    *allow = NULL;
    if (!strcmp(method, "GET") || !strcmp(method, "HEAD")) return RESPONSE_SHOW;
    if (!strcmp(method, "DELETE")) return RESPONSE_DELETE;
    *allow = "GET, HEAD, DELETE";
    problem_set(p, 405, "method_not_allowed", NULL, "%.100s is asked by %s", path, *allow);
    return SESSION_NONE;
}

int stored_responses_at(size_t i, const char **method, char *path) {
    if (i > 1) return 0;
    *method = i ? "DELETE" : "GET";
    snprintf(path, 64, "%s{id}", ROOT);
    return 1;
}

int stored_responses_read(session_request *r, const char *path, problem *p) {
    const char *response = path + sizeof ROOT - 1;
    r->call.brief = 1;
    return session_of(response, strlen(response), r->id) || absent(response, strlen(response), p);
}

int stored_responses_run(const session_context *c, session_request *r, const char *id, problem *p) {
    const char *response = http_path(r->exchange) + sizeof ROOT - 1;
    char headers[96];
    text body = {0};
    problem found = {0};
    if (!sessions_acquire(c->sessions, r->id, &r->call, 1, &found)) {
        if (found.status == 404 || found.status == 403)
            absent(response, strlen(response), p);
        else
            *p = found;
        return p->status != 0;
    }
    held *h = r->call.held;
    r->call.held = NULL;
    const char *note = response_of(sessions_session(h), r->id);
    if (!note) {
        absent(response, strlen(response), p);
    } else if (r->verb == RESPONSE_SHOW) {
        text_say(&body, note);
    } else if (sessions_delete(c->sessions, h, p)) {
        text_print(&body, "{\"id\":\"%s\",\"object\":\"response\",\"deleted\":true}", response);
    }
    sessions_release(c->sessions, h);
    if (!p->status && body.failed) problem_set(p, 503, "no_memory", NULL, "no memory for the answer now");
    if (p->status) {
        text_free(&body);
        return 1;
    }
    snprintf(headers, sizeof headers, "X-Request-Id: %s\r\n", id);
    http_answer(r->exchange, 200, headers, &body);
    return 1;
}

/* ---- a response that goes on from one, or is to be kept ---- */

typedef struct storing {
    const session_context *context;
    store_record like;
} storing;

/* Its session becomes one that clients know, with the response as its note. */
static void ended(job *j) {
    storing *f = j->user;
    text response = {0};
    if (!j->problem.status && j->kept) {
        session_paths_take_back(j, j->kept);
        j->form->whole(j, &response);
        text_add(&response, "", 1);
        if (response.failed || il_session_set_note(j->kept, response.data, NULL)) {
            problem_set(&j->problem, 503, "no_memory", NULL, "no memory for the response now");
        } else {
            held *h = sessions_create(f->context->sessions, j->kept, &f->like, &j->problem);
            j->kept = NULL;
            if (h) sessions_release(f->context->sessions, h);
        }
    }
    text_free(&response);
    j->user = NULL;
    free(f);
}

/* What was said first of all stays read: it cannot be said otherwise. */
static int same_instructions(const char *note, const json_t *body, problem *p) {
    const json_t *now = json_field(body, "instructions");
    json_t *before = json_loads(note, 0, NULL);
    const json_t *then = before ? json_field(before, "instructions") : NULL;
    int same = !now || (then && json_equal(now, then));
    json_decref(before);
    return same ? 1
                : problem_set(p, 400, "invalid_value", "instructions",
                              "the previous response has read other instructions, and they stay read: leave them out, "
                              "or repeat them");
}

static int unknown(const char *previous, size_t bytes, problem *p) {
    return problem_set(p, 400, "previous_response_not_found", "previous_response_id", "there is no response '%.*s'",
                       (int)(bytes < 60 ? bytes : 60), previous);
}

static int go_on_from(const session_context *c, session_request *r, const json_t *body, job *j, problem *p) {
    const char *previous = "";
    size_t bytes = 0;
    problem found = {0};
    if (!json_text_field(body, "previous_response_id", &previous, &bytes, p)) return 0;
    if (!session_of(previous, bytes, r->id)) return unknown(previous, bytes, p);
    r->call.brief = 1;
    if (!sessions_acquire(c->sessions, r->id, &r->call, 1, &found)) {
        if (found.status == 404 || found.status == 403) return unknown(previous, bytes, p);
        *p = found;
        return 0;
    }
    held *h = r->call.held;
    r->call.held = NULL;
    const char *note = response_of(sessions_session(h), r->id);
    if (!note) {
        unknown(previous, bytes, p);
    } else if (same_instructions(note, body, p)) {
        if (il_session_fork(sessions_session(h), &j->from, NULL))
            problem_set(p, 503, "no_memory", NULL, "no memory for another session now");
        j->request.continues = 1;
    }
    sessions_release(c->sessions, h);
    return !p->status;
}

int stored_responses_join(const session_context *c, session_request *r, const json_t *body, job *j, problem *p) {
    int keep = 0;
    int64_t ttl = TTL_USUAL;
    if (!json_flag_field(body, "store", &keep, p) || !json_integer_field(body, "ttl", 1, TTL_MAX, &ttl, p)) return 0;
    r->id[0] = 0;
    if (json_field(body, "previous_response_id") && !go_on_from(c, r, body, j, p)) return 0;
    if (!keep) return 1;
    storing *f = calloc(1, sizeof *f);
    if (!f) return problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
    f->context = c;
    f->like.ttl = ttl;
    sessions_new_id(f->like.id);
    snprintf(f->like.parent, sizeof f->like.parent, "%s", r->id);
    snprintf(f->like.owner, sizeof f->like.owner, "%s", r->call.owner);
    snprintf(j->id, sizeof j->id, "%s%s", RESPONSE, f->like.id + sizeof SESSION - 1);
    snprintf(f->like.name, sizeof f->like.name, "%s", j->id);
    j->keep = 1;
    j->ended = ended;
    j->user = f;
    return 1;
}
