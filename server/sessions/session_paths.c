/* session_paths.c: see session_paths.h. */
#include "sessions/session_paths.h"

#include "common/clock.h"
#include "sessions/session_answer.h"
#include "sessions/stored_responses.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_USUAL = 20, LIST_MAX = 1000 };
static const char ROOT[] = "/v1/sessions";
static const double LAYERS_SECONDS = 0.1;
static const int64_t TTL_MAX = 10LL * 366 * 86400;

/* ---- which path it is ---- */

static const struct {
    const char *method, *below; /* what follows an id; NULL: there is none */
    session_verb verb;
} table[] = {{"GET", NULL, SESSION_LIST},      {"POST", NULL, SESSION_CREATE},    {"PUT", NULL, SESSION_UPLOAD},
             {"GET", "", SESSION_SHOW},        {"DELETE", "", SESSION_DELETE},    {"PATCH", "", SESSION_CHANGE},
             {"POST", "/feed", SESSION_FEED},  {"POST", "/fork", SESSION_FORK},   {"POST", "/rewind", SESSION_REWIND},
             {"GET", "/state", SESSION_STATE}, {"GET", "/layers", SESSION_LAYERS}};

session_verb session_paths_find(const char *method, const char *path, const char **allow, problem *p) {
    if (stored_responses_path(path)) return stored_responses_find(method, path, allow, p);
    const char *id = path + sizeof ROOT - 1, *below = NULL;
    if (*id) below = id + 1 + strcspn(id + 1, "/");
    *allow = NULL;
    if (!strcmp(method, "HEAD")) method = "GET";
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (!table[i].below != !below || (below && strcmp(below, table[i].below))) continue;
        if (!strcmp(method, table[i].method)) return table[i].verb;
        *allow = !below                      ? "GET, HEAD, POST, PUT"
                 : !*below                   ? "GET, HEAD, PATCH, DELETE"
                 : table[i].method[0] == 'G' ? "GET, HEAD"
                                             : "POST";
    }
    if (*allow)
        problem_set(p, 405, "method_not_allowed", NULL, "%.100s is asked by %s", path, *allow);
    else
        problem_set(p, 404, "not_found", NULL, "%.100s is not a path of this server", path);
    return SESSION_NONE;
}

int session_paths_at(size_t i, const char **method, char *path) {
    const size_t n = sizeof table / sizeof *table;
    if (i >= n) return stored_responses_at(i - n, method, path);
    *method = table[i].method;
    snprintf(path, 64, "%s%s%s", ROOT, table[i].below ? "/{id}" : "", table[i].below ? table[i].below : "");
    return 1;
}

int session_paths_json(session_verb verb) {
    return verb == SESSION_CREATE || verb == SESSION_FEED || verb == SESSION_FORK || verb == SESSION_REWIND ||
           verb == SESSION_CHANGE;
}

/* ---- what stands around the body ---- */

static int whole(const char *words, int64_t low, int64_t high, int64_t *number) {
    char *end;
    if (!words[0] || strspn(words, "0123456789") != strlen(words) || strlen(words) > 18) return 0;
    *number = strtoll(words, &end, 10);
    return *number >= low && *number <= high;
}

static int query_number(http_exchange *e, const char *name, int64_t low, int64_t high, int64_t *number, problem *p) {
    const char *words = http_query(e, name);
    if (!words || whole(words, low, high, number)) return 1;
    return problem_set(p, 400, "invalid_value", name, "%s must be an integer from %lld to %lld", name, (long long)low,
                       (long long)high);
}

static int query_flag(http_exchange *e, const char *name, int *flag, problem *p) {
    const char *words = http_query(e, name);
    if (words && strcmp(words, "true") && strcmp(words, "false"))
        return problem_set(p, 400, "invalid_value", name, "%s must be true or false", name);
    if (words) *flag = !strcmp(words, "true");
    return 1;
}

/* A name that a person gives: text without control characters. */
static int take_name(const char *words, size_t bytes, char *name, problem *p) {
    int plain = bytes < STORE_NAME_BYTES;
    for (size_t at = 0, n; plain && at < bytes; at += n) {
        n = text_character(words + at, bytes - at);
        plain = n && (unsigned char)words[at] >= 0x20 && words[at] != 0x7F;
    }
    if (!plain)
        return problem_set(p, 400, "invalid_value", "name",
                           "name must be text of at most %d bytes without control characters", STORE_NAME_BYTES - 1);
    memcpy(name, words, bytes);
    name[bytes] = 0;
    return 1;
}

/* If-Match: the generation, with quotes or without; * is any. */
static int read_match(http_exchange *e, uint64_t *generation, problem *p) {
    const char *words = http_header(e, "If-Match");
    char digits[24];
    int64_t number;
    if (!words || !strcmp(words, "*")) return 1;
    size_t n = strlen(words), quoted = n > 2 && words[0] == '"' && words[n - 1] == '"';
    snprintf(digits, sizeof digits, "%.*s", (int)(n < sizeof digits ? n - 2 * quoted : sizeof digits - 1),
             words + quoted);
    if (!whole(digits, 1, INT64_MAX, &number))
        return problem_set(p, 400, "invalid_value", "If-Match", "If-Match must be the generation of a session");
    *generation = (uint64_t)number;
    return 1;
}

int session_paths_read(session_request *r, http_exchange *e, session_verb verb, const char *owner, problem *p) {
    const char *id = http_path(e) + sizeof ROOT - 1, *after, *name;
    r->exchange = e;
    r->verb = verb;
    r->limit = LIST_USUAL;
    snprintf(r->call.owner, sizeof r->call.owner, "%s", owner);
    if (!read_match(e, &r->call.generation, p)) return 0;
    if (verb == SESSION_NONE) return 1;
    if (verb == RESPONSE_SHOW || verb == RESPONSE_DELETE) return stored_responses_read(r, http_path(e), p);
    if (*id) snprintf(r->id, sizeof r->id, "%.*s", (int)strcspn(id + 1, "/"), id + 1);
    if ((after = http_query(e, "after"))) snprintf(r->after, sizeof r->after, "%s", after);
    if (verb == SESSION_UPLOAD && (name = http_query(e, "name")) && !take_name(name, strlen(name), r->name, p))
        return 0;
    r->call.brief = verb != SESSION_FEED;
    r->call.wait = verb == SESSION_STATE || verb == SESSION_LAYERS;
    return query_number(e, "limit", 1, LIST_MAX, &r->limit, p) && query_number(e, "ttl", 1, TTL_MAX, &r->ttl, p) &&
           query_flag(e, "durable", &r->durable, p) && query_flag(e, "wait", &r->call.wait, p);
}

/* ---- answers ---- */

static void answer(http_exchange *e, int status, const char *id, text *body, problem *p) {
    char headers[96];
    if (body->failed) {
        text_free(body);
        problem_set(p, 503, "no_memory", NULL, "no memory for the answer now");
        return;
    }
    snprintf(headers, sizeof headers, "X-Request-Id: %s\r\n", id);
    http_answer(e, status, headers, body);
}

static void answer_session(const session_context *c, const session_request *r, int status, const char *id,
                           const store_record *record, problem *p) {
    text body = {0};
    session_answer(record, c->name, &body);
    text_say(&body, "}");
    answer(r->exchange, status, id, &body, p);
}

static void show(const session_context *c, const session_request *r, const char *id, problem *p) {
    store_record record;
    if (sessions_get(c->sessions, r->id, r->call.owner, &record, p)) answer_session(c, r, 200, id, &record, p);
}

static void list(const session_context *c, const session_request *r, const char *id, problem *p) {
    size_t n, limit = (size_t)r->limit;
    store_record *records = calloc(limit + 1, sizeof *records);
    text body = {0};
    if (!records) {
        problem_set(p, 503, "no_memory", NULL, "no memory for the list now");
        return;
    }
    if (sessions_list(c->sessions, r->call.owner, r->after, records, limit + 1, &n, p)) {
        text_say(&body, "{\"object\":\"list\",\"data\":[");
        for (size_t i = 0; i < n && i < limit; i++) {
            if (i) text_say(&body, ",");
            session_answer(&records[i], c->name, &body);
            text_say(&body, "}");
        }
        text_print(&body, "],\"has_more\":%s}", n > limit ? "true" : "false");
        answer(r->exchange, 200, id, &body, p);
    }
    free(records);
}

/* ---- what needs the session, but does not feed it ---- */

static void send_state(const session_context *c, const session_request *r, held *h, const char *id, problem *p) {
    uint64_t bytes;
    char headers[200];
    int fd = sessions_file(c->sessions, h, &bytes, p);
    if (fd < 0) return;
    snprintf(headers, sizeof headers,
             "X-Request-Id: %s\r\nETag: \"%s\"\r\nContent-Disposition: attachment; filename=\"%s.ilstate\"\r\n", id,
             sessions_record(h)->fingerprint, sessions_record(h)->id);
    http_answer_file(r->exchange, 200, headers, fd, bytes);
}

static void send_layers(const session_context *c, const session_request *r, held *h, const char *id, problem *p) {
    text body = {0};
    session_answer(sessions_record(h), c->name, &body);
    text_say(&body, ",\"layers\":");
    session_answer_layers(sessions_session(h), il_model_config(c->model)->layers, &body);
    text_say(&body, "}");
    answer(r->exchange, 200, id, &body, p);
}

/* What a stored response has read stays what it is. 0: a problem. */
static int may_move(const held *h, problem *p) {
    const char *id = sessions_record(h)->id;
    return !stored_responses_is(sessions_session(h), id) ||
           problem_set(p, 409, "session_of_a_response", "session",
                       "the session '%s' is what a stored response has read, and stays so: fork it, and go on with the "
                       "copy",
                       id);
}

/* Takes a session back; 0: a problem. */
static int go_back(il_session *session, int64_t position, problem *p) {
    uint64_t limit = il_session_rewind_limit(session), now = il_session_position(session);
    if ((uint64_t)position >= limit && (uint64_t)position <= now) {
        il_session_rewind(session, (uint64_t)position, NULL);
        return 1;
    }
    return problem_set(
        p, 400, "rewind_limit", "position",
        "the session can go back to positions from %llu, which is its rewind_limit, to %llu, where it is",
        (unsigned long long)limit, (unsigned long long)now);
}

static void rewind_session(const session_context *c, const session_request *r, held *h, const json_t *body, int durable,
                           const char *id, problem *p) {
    int64_t position = -1;
    json_integer_field(body, "position", 0, INT64_MAX, &position, p);
    if (position < 0)
        problem_set(p, 400, "invalid_value", "position", "position is missing: how many tokens are to stay read");
    if (p->status || !may_move(h, p) || !go_back(sessions_session(h), position, p)) return;
    if (sessions_changed(c->sessions, h, p) && (!durable || sessions_write(c->sessions, h, p)))
        answer_session(c, r, 200, id, sessions_record(h), p);
}

/* Its name, and how long it lives after it was changed. */
static void change_session(const session_context *c, const session_request *r, held *h, const json_t *body, int durable,
                           const char *id, problem *p) {
    const char *words = NULL;
    size_t bytes = 0;
    char name[STORE_NAME_BYTES];
    int64_t ttl = sessions_record(h)->ttl;
    snprintf(name, sizeof name, "%s", sessions_record(h)->name);
    if (!json_field(body, "name") && !json_field(body, "ttl"))
        problem_set(p, 400, "invalid_value", "name", "there must be a name, or a ttl, to change");
    if (!json_text_field(body, "name", &words, &bytes, p) || (words && !take_name(words, bytes, name, p)) ||
        !json_integer_field(body, "ttl", 0, TTL_MAX, &ttl, p) || p->status)
        return;
    sessions_rename(c->sessions, h, name, ttl);
    if (sessions_changed(c->sessions, h, p) && (!durable || sessions_write(c->sessions, h, p)))
        answer_session(c, r, 200, id, sessions_record(h), p);
}

/* What clients say of a new session. */
static int read_like(const json_t *body, const session_request *r, store_record *like, problem *p) {
    const char *name = "";
    size_t bytes = 0;
    *like = (store_record){.ttl = r->ttl};
    snprintf(like->owner, sizeof like->owner, "%s", r->call.owner);
    snprintf(like->name, sizeof like->name, "%s", r->name);
    if (!body) return 1;
    return json_text_field(body, "name", &name, &bytes, p) && take_name(name, bytes, like->name, p) &&
           json_integer_field(body, "ttl", 1, TTL_MAX, &like->ttl, p);
}

/* A new one of this state, which is taken; written if it is to be. NULL: a problem, and there is none. */
static held *create(const session_context *c, il_session *session, const store_record *like, int durable, problem *p) {
    held *h = sessions_create(c->sessions, session, like, p);
    if (!h || !durable || sessions_write(c->sessions, h, p)) return h;
    sessions_delete(c->sessions, h, &(problem){0});
    sessions_release(c->sessions, h);
    return NULL;
}

static void fork_session(const session_context *c, const session_request *r, const held *h, const json_t *body,
                         int durable, const char *id, problem *p) {
    int64_t n = 1;
    store_record like;
    text list = {0};
    if (!json_integer_field(body, "n", 1, c->limits->n_max, &n, p) || !read_like(body, r, &like, p)) return;
    held **made = calloc((size_t)n, sizeof *made);
    int64_t done = 0;
    snprintf(like.parent, sizeof like.parent, "%s", sessions_record(h)->id);
    text_say(&list, "{\"object\":\"list\",\"data\":[");
    for (; made && done < n && !p->status; done++) {
        il_session *copy;
        if (il_session_fork(sessions_session(h), &copy, NULL)) break;
        if (!(made[done] = create(c, copy, &like, durable, p))) break;
        if (done) text_say(&list, ",");
        session_answer(sessions_record(made[done]), c->name, &list);
        text_say(&list, "}");
    }
    text_say(&list, "]}");
    if (done < n || list.failed) problem_set(p, 503, "no_memory", NULL, "no memory for another session now");
    for (int64_t i = 0; i < done; i++) {
        if (p->status) sessions_delete(c->sessions, made[i], &(problem){0});
        sessions_release(c->sessions, made[i]);
    }
    free(made);
    if (p->status)
        text_free(&list);
    else
        answer(r->exchange, 201, id, &list, p);
}

static void delete_session(const session_context *c, const session_request *r, held *h, const char *id, problem *p) {
    text body = {0};
    if (!sessions_delete(c->sessions, h, p)) return;
    text_print(&body, "{\"id\":\"%s\",\"object\":\"session.deleted\",\"deleted\":true}", sessions_record(h)->id);
    answer(r->exchange, 200, id, &body, p);
}

/* ---- an upload ---- */

static void upload(const session_context *c, session_request *r, const char *id, problem *p) {
    char path[40];
    il_session *session;
    il_session_stats stats;
    il_error error;
    store_record like;
    int fd = http_take_upload(r->exchange);
    if (fd < 0) {
        problem_set(p, 411, "length_required", NULL, "a state must come with its Content-Length");
        return;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    il_status status = il_session_load(c->model, path, &session, &error);
    close(fd);
    if (status == IL_ERR_NOMEM) {
        problem_set(p, 503, "no_memory", NULL, "no memory for the session now");
    } else if (status) { /* the message begins with the name of a file that has none */
        const char *why = strncmp(error.message, path, strlen(path)) ? error.message : error.message + strlen(path);
        problem_set(p, 422, status == IL_ERR_MISMATCH ? "state_mismatch" : "state_invalid", NULL, "the state%s%s",
                    *why == ':' ? "" : ": ", why);
    }
    if (p->status) return;
    il_session_get_stats(session, &stats);
    if (stats.mixed) {
        il_session_close(session);
        problem_set(p, 422, "state_invalid", NULL, "the state is of a session with a mix, which answers nothing here");
        return;
    }
    read_like(NULL, r, &like, p);
    held *h = create(c, session, &like, r->durable, p);
    if (!h) return;
    answer_session(c, r, 201, id, sessions_record(h), p);
    sessions_release(c->sessions, h);
}

/* ---- reading a text ---- */

/* What a job that feeds a session holds. */
typedef struct feeding {
    const session_context *context;
    held *held; /* NULL: it makes a new one */
    store_record like;
    int durable, answers; /* answers: it is asked for an answer, and says only where the session stands */
    uint64_t before;      /* its position */
    double told;          /* when a client that watches was told of the layers */
    store_record stands;  /* with answers, of one that is not kept */
} feeding;

/* A session that was moved by an answer stands where the answer's text ends. */
void session_paths_take_back(const job *j, il_session *session) {
    size_t behind = choice_behind(&j->choices[0]);
    uint64_t position = il_session_position(session) - behind;
    if (behind && position >= il_session_rewind_limit(session)) il_session_rewind(session, position, NULL);
}

/* The session has read it: it is put where clients find it. */
static void put_back(job *j, feeding *f) {
    sessions *s = f->context->sessions;
    il_session *kept = j->kept;
    held *h = f->held;
    j->kept = NULL;
    if (f->answers) session_paths_take_back(j, kept);
    if (h) {
        sessions_replace(h, kept);
        if (sessions_changed(s, h, &j->problem) && f->durable) sessions_write(s, h, &j->problem);
    } else {
        h = f->held = create(f->context, kept, &f->like, f->durable, &j->problem);
    }
    if (j->problem.status) return;
    const store_record *record = sessions_record(h);
    if (f->answers)
        session_answer_position(record->id, record->position, record->generation, &j->session);
    else
        session_answer(record, f->context->name, &j->session);
}

static void ended(job *j) {
    feeding *f = j->user;
    if (!j->problem.status && j->kept)
        put_back(j, f);
    else if (!j->problem.status && f->answers)
        session_answer_position(f->stands.id, f->stands.position, f->stands.generation, &j->session);
    if (f->held) sessions_release(f->context->sessions, f->held);
    j->user = NULL;
    free(f);
}

void session_paths_leave(job *j, const problem *p) {
    if (!j->ended) return;
    j->problem = *p;
    j->ended(j);
}

/* The layers are looked at by the thread that feeds all others, and so not for every piece. */
static void read_piece(job *j, const il_session *session, text *t) {
    feeding *f = j->user;
    double now = clock_seconds();
    int last = il_session_position(session) - f->before == j->request.prompts[0].tokens.n;
    int looks = last || now - f->told >= LAYERS_SECONDS;
    if (looks) f->told = now;
    session_answer_piece(j, session, f->before, looks ? il_model_config(f->context->model)->layers : 0, t);
}

static const job_form feed_form = {
    .whole = session_answer_fed, .piece = session_answer_nothing, .usage = session_answer_end, .read = read_piece};

/* The fields prompt, stream and logprobs, by those of a completion that answers nothing. */
static int read_feed(const session_context *c, const json_t *body, int begins, job *j, problem *p) {
    completion_request *q = &j->request;
    if (!completion_parse(body, COMPLETION_TEXT, c->limits, q, p)) return 0;
    q->continues = !begins;
    q->tokens_max = q->tokens_min = 0;
    q->echo = q->logprobs >= 0;
    q->usage = 1;
    q->ignored[0] = 0;
    if (q->n_prompts != 1 || q->n != 1)
        return problem_set(p, 400, "invalid_value", "prompt", "a session is fed one prompt at a time");
    return completion_encode(q, c->tokenizer, c->words->bos, c->limits, p);
}

/* Takes session, f and what f holds. */
static void feed(const session_context *c, const session_request *r, il_session *session, feeding *f,
                 const json_t *body, const char *id, problem *p) {
    job *j = session && f ? calloc(1, sizeof *j) : NULL;
    if (!j) {
        problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
        if (f && f->held) sessions_release(c->sessions, f->held);
        il_session_close(session);
        free(f);
        return;
    }
    j->exchange = r->exchange;
    j->form = &feed_form;
    j->model = c->name;
    j->fingerprint = c->fingerprint;
    j->from = session;
    j->keep = 1;
    j->ended = ended;
    j->user = f;
    j->status = f->held ? 200 : 201;
    snprintf(j->id, sizeof j->id, "%s", id);
    snprintf(j->headers, sizeof j->headers, "X-Request-Id: %s\r\n", id);
    f->before = il_session_position(session);
    if (read_feed(c, body, f->before == 0, j, p) && c->schedule(c->server, j, p)) return;
    session_paths_leave(j, p);
    job_free(j);
}

static il_session *copy_of(const il_session *session) {
    il_session *copy;
    return il_session_fork(session, &copy, NULL) ? NULL : copy;
}

/* From another one that it holds, NULL: from nothing. */
static void create_session(const session_context *c, session_request *r, const held *from, const json_t *body,
                           int durable, const char *id, problem *p) {
    int64_t position = -1;
    store_record like;
    il_session *session = NULL;
    if (!completion_model(body, c->name, p) || !read_like(body, r, &like, p) ||
        !json_integer_field(body, "position", 0, INT64_MAX, &position, p))
        return;
    if (position >= 0 && !from) {
        problem_set(p, 400, "invalid_value", "position", "position is one of the session that `from` names");
        return;
    }
    if (from) snprintf(like.parent, sizeof like.parent, "%s", sessions_record(from)->id);
    if (from ? !(session = copy_of(sessions_session(from))) : il_session_open(c->model, NULL, &session, NULL)) {
        problem_set(p, 503, "no_memory", NULL, "no memory for another session now");
        return;
    }
    if (position >= 0 && !go_back(session, position, p)) {
        il_session_close(session);
        return;
    }
    if (json_field(body, "prompt")) {
        feeding *f = calloc(1, sizeof *f);
        if (f) *f = (feeding){.context = c, .like = like, .durable = durable};
        feed(c, r, session, f, body, id, p);
        return;
    }
    held *h = create(c, session, &like, durable, p);
    if (!h) return;
    answer_session(c, r, 201, id, sessions_record(h), p);
    sessions_release(c->sessions, h);
}

/* ---- */

static int read_flags(const json_t *body, session_request *r, problem *p) {
    return !body ||
           (json_flag_field(body, "wait", &r->call.wait, p) && json_flag_field(body, "durable", &r->durable, p));
}

/* The id in a field of the body; "": there is none. */
static int read_id(const json_t *body, const char *field, char id[STORE_ID_BYTES], problem *p) {
    const char *words = "";
    size_t bytes = 0;
    if (!json_text_field(body, field, &words, &bytes, p)) return 0;
    if (json_field(body, field) && (!bytes || bytes >= STORE_ID_BYTES || strlen(words) != bytes))
        return problem_set(p, 404, "session_not_found", field, "%s is not the id of a session", field);
    snprintf(id, STORE_ID_BYTES, "%s", words);
    return 1;
}

int session_paths_run(const session_context *c, session_request *r, const json_t *body, const char *id, problem *p) {
    if (!read_flags(body, r, p) || (r->durable && !sessions_can_write(c->sessions, p))) return 1;
    switch (r->verb) {
    case SESSION_LIST: list(c, r, id, p); return 1;
    case SESSION_SHOW: show(c, r, id, p); return 1;
    case SESSION_UPLOAD: upload(c, r, id, p); return 1;
    case RESPONSE_SHOW:
    case RESPONSE_DELETE: return stored_responses_run(c, r, id, p);
    case SESSION_CREATE:
        if (!read_id(body, "from", r->id, p)) return 1;
        if (!r->id[0]) {
            create_session(c, r, NULL, body, r->durable, id, p);
            return 1;
        }
        break;
    default: break;
    }
    int state = r->verb != SESSION_DELETE && r->verb != SESSION_STATE;
    if (!sessions_acquire(c->sessions, r->id, &r->call, state, p)) return p->status != 0;
    held *h = r->call.held;
    r->call.held = NULL;
    switch (r->verb) {
    case SESSION_CREATE: create_session(c, r, h, body, r->durable, id, p); break;
    case SESSION_DELETE: delete_session(c, r, h, id, p); break;
    case SESSION_FORK: fork_session(c, r, h, body, r->durable, id, p); break;
    case SESSION_REWIND: rewind_session(c, r, h, body, r->durable, id, p); break;
    case SESSION_CHANGE: change_session(c, r, h, body, r->durable, id, p); break;
    case SESSION_STATE: send_state(c, r, h, id, p); break;
    case SESSION_LAYERS: send_layers(c, r, h, id, p); break;
    default: {
        if (!may_move(h, p)) break;
        feeding *f = calloc(1, sizeof *f);
        if (f) *f = (feeding){.context = c, .held = h, .durable = r->durable};
        il_session *copy = copy_of(sessions_session(h));
        if (f) {
            feed(c, r, copy, f, body, id, p);
            return 1;
        }
        il_session_close(copy);
        problem_set(p, 503, "no_memory", NULL, "no memory for the request now");
    }
    }
    sessions_release(c->sessions, h);
    return 1;
}

int session_paths_join(const session_context *c, session_request *r, const json_t *body, job *j, problem *p) {
    int keep = 0;
    r->durable = 0;
    if (!json_flag_field(body, "keep", &keep, p) || !read_flags(body, r, p)) return 0;
    if (!json_field(body, "session")) return 1;
    if (!read_id(body, "session", r->id, p)) return 0;
    if (r->durable && !keep)
        return problem_set(p, 400, "invalid_value", "durable",
                           "durable needs \"keep\": true, for nothing is kept without");
    if (r->durable && !sessions_can_write(c->sessions, p)) return 0;
    r->call.brief = !keep;
    if (!sessions_acquire(c->sessions, r->id, &r->call, 1, p)) return 0;
    held *h = r->call.held;
    r->call.held = NULL;
    if (keep && !may_move(h, p)) {
        sessions_release(c->sessions, h);
        return 0;
    }
    feeding *f = calloc(1, sizeof *f);
    j->from = copy_of(sessions_session(h));
    if (f && j->from) {
        const store_record *record = sessions_record(h);
        *f = (feeding){.context = c, .held = keep ? h : NULL, .durable = r->durable, .answers = 1, .stands = *record};
        j->request.continues = record->position > 0;
        j->keep = keep;
        j->ended = ended;
        j->user = f;
        if (!keep) sessions_release(c->sessions, h);
        return 1;
    }
    free(f);
    sessions_release(c->sessions, h);
    return problem_set(p, 503, "no_memory", NULL, "no memory for another session now");
}
