/* sessions.c: see sessions.h. */
#include "sessions/sessions.h"

#include "common/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    BUCKETS = 1024,
    TICK_SECONDS = 1,    /* between looks at what has expired, or could not be written */
    GRACE_SECONDS = 1,   /* that another server may take to write a session */
    POLL_MS = 50,        /* between looks whether another server has done with a session */
    SWEEP_SECONDS = 300, /* between looks for files that are not needed */
    LATE_SECONDS = 1     /* what has not been written for so long is, before the next one gets the session */
};

typedef enum busy { FREE, BRIEFLY, WORKED_ON } busy; /* BRIEFLY: by what does not feed it; who comes then waits */

/* A session that this server knows something of that the index does not, or whose state is in memory. */
struct held {
    store_record record;
    il_session *session;            /* NULL: its state is in the store only */
    uint64_t stored;                /* the generation that the index has; 0: none */
    char written[STORE_HASH_BYTES]; /* its fingerprint */
    int64_t ends;                   /* when it expires by the index; 0: never */
    int leased;                     /* no other server works on it; without a store always */
    busy busy;
    int deleted, queued; /* queued: the writer is to look at it */
    double changed;      /* since when it is not as the index has it; 0: it is */
    double used;
    int image;     /* a state file without a name, of a session that no store has; -1: none */
    size_t memory; /* of session and image, as it counts */
    session_call *waiting, **end;
    held *next, *queue_next;
};

struct sessions {
    sessions_options options;
    const store_index *index; /* NULL: no store */
    pthread_t thread;
    int started;
    pthread_mutex_t lock; /* of all below, and of every held session's fields but for what its holder changes */
    pthread_cond_t changed;
    held *buckets[BUCKETS];
    held *queue, **queue_end; /* for the writer */
    size_t n;                 /* in the buckets */
    uint64_t new_ones;        /* that the index does not have */
    uint64_t bytes, in_memory;
    uint64_t writes, write_failures;
    session_call *polling; /* who waits for a session that another server works on */
    double retry;          /* when what could not be written is tried again */
    uint64_t n_lost;       /* that could not be written when it stopped */
    problem lost;          /* of the first of them */
    int draining, stopping;
};

/* ---- names ---- */

void sessions_owner(const char *key, char owner[STORE_HASH_BYTES]) {
    owner[0] = 0;
    if (!key) return;
    XXH128_hash_t sum = XXH3_128bits(key, strlen(key));
    snprintf(owner, STORE_HASH_BYTES, "%016llx%016llx", (unsigned long long)sum.high64, (unsigned long long)sum.low64);
}

/* Later ones are larger, and nobody guesses one. */
void sessions_new_id(char id[STORE_ID_BYTES]) {
    struct timespec now;
    uint64_t chance = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    if (getrandom(&chance, sizeof chance, 0) != sizeof chance) chance = (uint64_t)now.tv_nsec << 20;
    snprintf(id, STORE_ID_BYTES, "ses_%011llx%013llx",
             (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000,
             (unsigned long long)(chance >> 12));
}

static held **bucket(sessions *s, const char *id) { return &s->buckets[XXH3_64bits(id, strlen(id)) % BUCKETS]; }

static held *find(sessions *s, const char *id) {
    for (held *h = *bucket(s, id); h; h = h->next)
        if (!strcmp(h->record.id, id)) return h;
    return NULL;
}

static int absent(const char *id, problem *p) {
    return problem_set(p, 404, "session_not_found", "session", "there is no session '%.40s'", id);
}

static int no_memory(problem *p) { return problem_set(p, 503, "no_memory", NULL, "no memory for a session now"); }

static int failed(problem *p, const store_why *why) {
    return problem_set(p, 503, "store_failed", NULL, "the store of sessions: %s", why->text);
}

/* ---- what is held, with the lock ---- */

static int is_new(const sessions *s, const held *h) { return s->index && h->record.generation != h->stored; }

static void count(sessions *s, held *h) {
    size_t memory = (h->session ? h->record.bytes : 0) + (h->image >= 0 ? h->record.bytes : 0);
    s->bytes += memory - h->memory;
    h->memory = memory;
}

static void close_image(held *h) {
    if (h->image >= 0) close(h->image);
    h->image = -1;
}

/* The session in memory; NULL: none. */
static void put_session(sessions *s, held *h, il_session *session) {
    s->in_memory += (session != NULL) - (size_t)(h->session != NULL);
    if (h->session != session) il_session_close(h->session);
    h->session = session;
    count(s, h);
}

static held *add(sessions *s, const char *id) {
    held *h = calloc(1, sizeof *h), **at = bucket(s, id);
    if (!h) return NULL;
    snprintf(h->record.id, sizeof h->record.id, "%s", id);
    h->busy = BRIEFLY;
    h->image = -1;
    h->end = &h->waiting;
    h->next = *at;
    *at = h;
    s->n++;
    return h;
}

static void drop(sessions *s, held *h) {
    held **at = bucket(s, h->record.id);
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    s->n--;
    close_image(h);
    put_session(s, h, NULL);
    free(h);
}

static void wake_all(sessions *s, held *h) {
    while (h->waiting) {
        session_call *c = h->waiting;
        h->waiting = c->next;
        work_push(s->options.work, &c->item);
    }
    h->end = &h->waiting;
}

/* Nothing of it is only here. */
static int is_idle(const held *h) { return h->busy == FREE && !h->queued && !h->leased && !h->waiting; }

/* States used longest ago leave memory until the others fit. */
static void shrink(sessions *s) {
    while (s->index && s->bytes > s->options.bytes_max) {
        held *oldest = NULL;
        for (size_t i = 0; i < BUCKETS; i++)
            for (held *h = s->buckets[i]; h; h = h->next)
                if (is_idle(h) && h->session && (!oldest || h->used < oldest->used)) oldest = h;
        if (!oldest) return; /* when the writer has been there */
        drop(s, oldest);
    }
}

/* Its holder has done with it: the next one gets it. */
static void pass_on(sessions *s, held *h) {
    h->busy = FREE;
    h->used = clock_seconds();
    if (h->deleted) {
        wake_all(s, h);
        if (!h->queued) drop(s, h);
        return;
    }
    int late = h->changed > 0 && h->used - h->changed > LATE_SECONDS;
    if (h->waiting && !late) {
        session_call *c = h->waiting;
        h->waiting = c->next;
        if (!h->waiting) h->end = &h->waiting;
        h->busy = c->brief ? BRIEFLY : WORKED_ON;
        c->held = h;
        work_push(s->options.work, &c->item);
        return;
    }
    if (s->index && h->leased && !h->queued) {
        h->queued = 1;
        h->queue_next = NULL;
        *s->queue_end = h;
        s->queue_end = &h->queue_next;
        pthread_cond_signal(&s->changed);
    }
    if (is_idle(h) && !h->session) drop(s, h);
    shrink(s);
}

/* ---- by its holder, without the lock ---- */

int sessions_changed(sessions *s, held *h, problem *p) {
    il_session_stats stats;
    il_error error;
    store_record r = h->record;
    il_session_get_stats(h->session, &stats);
    r.position = stats.position;
    const char *note = il_session_note(h->session); /* of a program that wrote an uploaded state */
    r.bytes = stats.state_bytes + (note ? strlen(note) : 0);
    r.rewind_limit = il_session_rewind_limit(h->session);
    r.generation++;
    if (il_session_fingerprint(h->session, r.fingerprint, &error)) {
        pthread_mutex_lock(&s->lock); /* what no record tells of is given up */
        put_session(s, h, NULL);
        s->new_ones -= !h->stored && !h->deleted;
        h->deleted |= !h->stored;
        pthread_mutex_unlock(&s->lock);
        return no_memory(p);
    }
    if (r.ttl) r.expires = (int64_t)time(NULL) + r.ttl;
    pthread_mutex_lock(&s->lock);
    h->record = r;
    if (s->index && h->changed == 0) h->changed = clock_seconds();
    close_image(h);
    count(s, h);
    pthread_mutex_unlock(&s->lock);
    return 1;
}

/* 0: it is not written; if another server has taken it, there is nothing to write any more. */
static int write_held(sessions *s, held *h, problem *p) {
    store_why why = {""};
    if (!is_new(s, h)) return 1;
    store_result result = store_put(s->options.store, h->session, &h->record, h->stored, h->written, &why);
    pthread_mutex_lock(&s->lock);
    if (result == STORE_DONE) {
        s->new_ones -= !h->stored;
        h->stored = h->record.generation;
        h->ends = h->record.expires;
        memcpy(h->written, h->record.fingerprint, sizeof h->written);
        h->changed = 0;
        s->writes++;
    } else {
        s->write_failures++;
        if (result != STORE_FAILED) {
            s->new_ones -= !h->stored;
            h->deleted = 1;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (result == STORE_DONE) return 1;
    if (result == STORE_FAILED) return failed(p, &why);
    return problem_set(p, 409, "generation_conflict", "session", "another server has gone on with this session");
}

/* Whether a call is to be run again after a moment: who does not wait is told only if the other server has more to do
 * than to write the session. */
static int may_poll(sessions *s, session_call *c) {
    double now = clock_seconds();
    if (c->since == 0) c->since = now;
    pthread_mutex_lock(&s->lock);
    int may = !s->draining && (c->wait || now - c->since < GRACE_SECONDS);
    pthread_mutex_unlock(&s->lock);
    return may;
}

static void poll_later(sessions *s, session_call *c) {
    pthread_mutex_lock(&s->lock);
    c->next = s->polling;
    s->polling = c;
    pthread_mutex_unlock(&s->lock);
}

/* With the lock. */
static void poll_again(sessions *s) {
    while (s->polling) {
        session_call *c = s->polling;
        s->polling = c->next;
        work_push(s->options.work, &c->item);
    }
}

/* Makes sure that no other server works on it, and that the record is the index's. 0: a problem, or, without one, one
 * does and the call is to wait. */
static int lease(sessions *s, held *h, session_call *c, problem *p) {
    store_record r;
    store_why why = {""};
    store_result result = s->index->lease(s->index->self, h->record.id, &r, &why);
    if (result == STORE_LEASED && may_poll(s, c)) return 0;
    if (result == STORE_LEASED)
        return problem_set(p, 409, "session_busy", "session", "another server is at work on the session '%s'",
                           h->record.id);
    if (result == STORE_FAILED) return failed(p, &why);
    pthread_mutex_lock(&s->lock);
    if (result == STORE_DONE) {
        if (h->session && strcmp(r.fingerprint, h->record.fingerprint)) put_session(s, h, NULL);
        h->record = r;
        h->stored = r.generation;
        h->ends = r.expires;
        memcpy(h->written, r.fingerprint, sizeof h->written);
        h->leased = 1;
        count(s, h);
    } else {
        h->deleted = 1;
    }
    pthread_mutex_unlock(&s->lock);
    return result == STORE_DONE ? 1 : absent(h->record.id, p);
}

static int load(sessions *s, held *h, problem *p) {
    char path[PATH_MAX];
    il_session *session;
    il_error error;
    int fd = store_file(s->options.store, NULL, h->record.fingerprint, path);
    if (fd >= 0) close(fd);
    if (il_session_load(s->options.model, path, &session, &error))
        return error.status == IL_ERR_NOMEM ? no_memory(p)
                                            : problem_set(p, 500, "state_damaged", "session",
                                                          "the state of the session '%s' cannot be read", h->record.id);
    pthread_mutex_lock(&s->lock);
    put_session(s, h, session);
    shrink(s);
    pthread_mutex_unlock(&s->lock);
    return 1;
}

static int is_expired(const store_record *r) { return r->expires && r->expires <= (int64_t)time(NULL); }

static int may_see(const store_record *r, const char *owner, problem *p) {
    if (is_expired(r)) return absent(r->id, p);
    if (!strcmp(r->owner, owner)) return 1;
    return problem_set(p, 403, "session_of_another_key", "session", "the session '%s' is another API key's", r->id);
}

/* Whether the call may have what it holds; 0 without a problem: not yet. */
static int check(sessions *s, held *h, session_call *c, int state, problem *p) {
    if (h->deleted) return absent(h->record.id, p);
    if (s->index && !h->leased && !lease(s, h, c, p)) return 0;
    if (!may_see(&h->record, c->owner, p)) return 0;
    if (c->generation && c->generation != h->record.generation)
        return problem_set(p, 409, "generation_conflict", "session",
                           "the session '%s' has generation %llu, and If-Match asks for %llu", h->record.id,
                           (unsigned long long)h->record.generation, (unsigned long long)c->generation);
    return !state || h->session || load(s, h, p);
}

int sessions_acquire(sessions *s, const char *id, session_call *call, int state, problem *p) {
    held *h = call->held;
    if (!h) {
        pthread_mutex_lock(&s->lock);
        h = strlen(id) < STORE_ID_BYTES ? find(s, id) : NULL;
        if (h && h->busy != FREE) {
            if (s->draining) {
                problem_set(p, 503, "shutting_down", NULL, "the server is stopping");
            } else if (h->busy == WORKED_ON && !call->wait) {
                problem_set(p, 409, "session_busy", "session",
                            "another request is at work on the session '%s' (\"wait\": true waits for it)", id);
            } else {
                call->next = NULL;
                *h->end = call;
                h->end = &call->next;
            }
            pthread_mutex_unlock(&s->lock);
            return 0;
        }
        if (!h && s->index && strlen(id) < STORE_ID_BYTES && !(h = add(s, id))) no_memory(p);
        if (h) h->busy = call->brief ? BRIEFLY : WORKED_ON;
        pthread_mutex_unlock(&s->lock);
        if (!h) return absent(id, p);
    }
    call->held = NULL;
    if (!check(s, h, call, state, p)) {
        sessions_release(s, h);
        if (!p->status) poll_later(s, call); /* and may run before this returns */
        return 0;
    }
    call->held = h;
    return 1;
}

void sessions_release(sessions *s, held *h) {
    pthread_mutex_lock(&s->lock);
    pass_on(s, h);
    pthread_mutex_unlock(&s->lock);
}

held *sessions_create(sessions *s, il_session *session, const store_record *like, problem *p) {
    uint64_t others = 0;
    store_why why = {""};
    il_session_stats stats;
    held *h = NULL;
    char id[STORE_ID_BYTES];
    il_session_get_stats(session, &stats);
    if (s->index && s->index->count(s->index->self, &others, &why) != STORE_DONE) failed(p, &why);
    if (like->id[0])
        snprintf(id, sizeof id, "%s", like->id);
    else
        sessions_new_id(id);
    pthread_mutex_lock(&s->lock);
    if (!p->status && others + s->new_ones >= s->options.count_max)
        problem_set(p, 429, "sessions_full", NULL,
                    "there are %llu sessions already (--sessions-max): delete some, or let them expire (ttl)",
                    (unsigned long long)(others + s->new_ones));
    if (!p->status && !s->index && s->bytes + stats.state_bytes > s->options.bytes_max)
        problem_set(p, 429, "sessions_full", NULL,
                    "the sessions in memory have %llu bytes (--sessions-bytes): delete some, or start the server with "
                    "--store",
                    (unsigned long long)s->bytes);
    if (!p->status && !find(s, id)) h = add(s, id);
    if (h) {
        snprintf(h->record.parent, sizeof h->record.parent, "%s", like->parent);
        snprintf(h->record.owner, sizeof h->record.owner, "%s", like->owner);
        snprintf(h->record.name, sizeof h->record.name, "%s", like->name);
        h->record.ttl = like->ttl;
        h->record.created = (int64_t)time(NULL);
        h->leased = 1;
        s->new_ones++;
        put_session(s, h, session);
    }
    pthread_mutex_unlock(&s->lock);
    if (!h) {
        il_session_close(session);
        no_memory(p);
        return NULL;
    }
    if (sessions_changed(s, h, p)) return h;
    sessions_release(s, h);
    return NULL;
}

il_session *sessions_session(const held *h) { return h->session; }
const store_record *sessions_record(const held *h) { return &h->record; }

void sessions_replace(held *h, il_session *session) {
    il_session_close(h->session);
    h->session = session;
}

int sessions_can_write(const sessions *s, problem *p) {
    return s->index != NULL || problem_set(p, 400, "no_store", "durable",
                                           "this server keeps sessions in memory only: start it with --store");
}

int sessions_write(sessions *s, held *h, problem *p) {
    if (!sessions_can_write(s, p)) return 0;
    problem why = {0};
    if (write_held(s, h, &why)) return 1;
    if (why.status != 503 || h->record.generation == 1) { /* of a new session nothing stays */
        if (!p->status) *p = why;
        return 0;
    }
    return problem_set(p, why.status, "not_written", "durable",
                       "the session has gone on to generation %llu, but that is not on the disk yet: %s",
                       (unsigned long long)h->record.generation, why.message);
}

int sessions_delete(sessions *s, held *h, problem *p) {
    store_why why = {""};
    store_record stored = h->record;
    memcpy(stored.fingerprint, h->written, sizeof h->written);
    store_result result = h->stored ? store_remove(s->options.store, &stored, &why) : STORE_ABSENT;
    if (result == STORE_FAILED) return failed(p, &why);
    pthread_mutex_lock(&s->lock);
    s->new_ones -= !h->stored;
    h->deleted = 1;
    pthread_mutex_unlock(&s->lock);
    return 1;
}

/* ---- state files ---- */

typedef struct sink {
    int fd;
} sink;

static int write_all(void *user, const void *data, size_t bytes) {
    sink *to = user;
    const char *at = data;
    while (bytes) {
        ssize_t n = write(to->fd, at, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return 1;
        at += n;
        bytes -= (size_t)n;
    }
    return 0;
}

static int open_file(sessions *s, held *h, problem *p) {
    char path[PATH_MAX];
    if (s->index) return store_file(s->options.store, h->session, h->record.fingerprint, path);
    if (h->image < 0) { /* one for all who ask, until the session changes */
        sink to = {memfd_create("state", MFD_CLOEXEC)};
        if (to.fd < 0 || il_session_write_to(h->session, write_all, &to, NULL)) {
            if (to.fd >= 0) close(to.fd);
            no_memory(p);
            return -1;
        }
        pthread_mutex_lock(&s->lock);
        h->image = to.fd;
        count(s, h);
        pthread_mutex_unlock(&s->lock);
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", h->image);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int sessions_file(sessions *s, held *h, uint64_t *bytes, problem *p) {
    struct stat info;
    int fd = open_file(s, h, p);
    if (fd >= 0 && !fstat(fd, &info)) {
        *bytes = (uint64_t)info.st_size;
        return fd;
    }
    if (fd >= 0) close(fd);
    problem_set(p, 500, "state_damaged", "session", "the state of the session '%s' cannot be read", h->record.id);
    return -1;
}

int sessions_scratch(const sessions *s) {
    return s->index ? store_scratch(s->options.store) : memfd_create("upload", MFD_CLOEXEC);
}

/* ---- looking ---- */

int sessions_get(sessions *s, const char *id, const char *owner, store_record *record, problem *p) {
    store_why why = {""};
    pthread_mutex_lock(&s->lock);
    held *h = strlen(id) < STORE_ID_BYTES ? find(s, id) : NULL;
    int here = h && h->leased && !h->deleted;
    if (here) *record = h->record;
    pthread_mutex_unlock(&s->lock);
    if (!here) {
        store_result result =
            s->index && strlen(id) < STORE_ID_BYTES ? s->index->get(s->index->self, id, record, &why) : STORE_ABSENT;
        if (result == STORE_FAILED) return failed(p, &why);
        if (result != STORE_DONE) return absent(id, p);
    }
    return may_see(record, owner, p);
}

static int by_id(const void *a, const void *b) {
    const store_record *x = a, *y = b;
    return strcmp(x->id, y->id);
}

/* Those that the index does not have as they are; released by free. */
static store_record *here(sessions *s, const char *owner, const char *after, size_t *n) {
    pthread_mutex_lock(&s->lock);
    store_record *records = calloc(s->n + 1, sizeof *records);
    *n = 0;
    for (size_t i = 0; records && i < BUCKETS; i++)
        for (held *h = s->buckets[i]; h; h = h->next)
            if (h->leased && !h->deleted && h->record.generation && !strcmp(h->record.owner, owner) &&
                strcmp(h->record.id, after) > 0)
                records[(*n)++] = h->record;
    pthread_mutex_unlock(&s->lock);
    if (records) qsort(records, *n, sizeof *records, by_id);
    return records;
}

int sessions_list(sessions *s, const char *owner, const char *after, store_record *records, size_t capacity, size_t *n,
                  problem *p) {
    store_why why = {""};
    size_t n_stored = 0, n_here = 0, i = 0, k = 0;
    store_record *stored = calloc(capacity, sizeof *stored), *mine = here(s, owner, after, &n_here);
    *n = 0;
    if (!stored || !mine) no_memory(p);
    if (!p->status && s->index &&
        s->index->list(s->index->self, owner, after, stored, capacity, &n_stored, &why) != STORE_DONE)
        failed(p, &why);
    while (!p->status && *n < capacity && (i < n_stored || k < n_here)) {
        int order = i == n_stored ? 1 : k == n_here ? -1 : strcmp(stored[i].id, mine[k].id);
        const store_record *r = order < 0 ? &stored[i] : &mine[k];
        i += order <= 0;
        k += order >= 0;
        if (!is_expired(r)) records[(*n)++] = *r;
    }
    free(stored);
    free(mine);
    return !p->status;
}

void sessions_get_stats(sessions *s, sessions_stats *stats) {
    pthread_mutex_lock(&s->lock);
    *stats = (sessions_stats){s->in_memory, s->bytes, 0, s->writes, s->write_failures};
    for (held *h = s->queue; h; h = h->queue_next) stats->unwritten += (uint64_t)is_new(s, h);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the writer ---- */

static held *next_queued(sessions *s) {
    held *last = NULL;
    for (held **at = &s->queue; *at; last = *at, at = &(*at)->queue_next) {
        held *h = *at;
        if (h->busy != FREE || (h->changed > 0 && !s->stopping && clock_seconds() < s->retry)) continue;
        *at = h->queue_next;
        if (s->queue_end == &h->queue_next) s->queue_end = last ? &last->queue_next : &s->queue;
        h->queued = 0;
        return h;
    }
    return NULL;
}

/* Writes it and gives its lease back. While the server stops each has one try, for what one meets need not meet the
 * next. */
static void write_one(sessions *s, held *h) {
    problem p = {0};
    int written = h->deleted;
    h->busy = BRIEFLY;
    pthread_mutex_unlock(&s->lock);
    if (!written) written = write_held(s, h, &p);
    if (written) s->index->release(s->index->self, h->record.id);
    pthread_mutex_lock(&s->lock);
    if (!written) {
        s->retry = clock_seconds() + TICK_SECONDS;
        if (s->stopping && !s->n_lost++) s->lost = p;
    }
    if (written || s->stopping) h->leased = 0;
    pass_on(s, h);
}

static void expire(sessions *s) {
    for (size_t i = 0; i < BUCKETS; i++)
        for (held *h = s->buckets[i], *next; h; h = next) {
            next = h->next;
            if (h->busy != FREE || h->deleted || !h->record.generation || !is_expired(&h->record)) continue;
            s->new_ones -= !h->stored;
            h->deleted = 1;
            h->leased = 0;
            pass_on(s, h);
        }
}

/* What the index may forget: all that has expired, but nothing as late as what is being worked on, or not written yet,
 * for that has a new time to live then. With the lock. */
static int64_t forgettable(const sessions *s) {
    int64_t until = (int64_t)time(NULL);
    for (size_t i = 0; i < BUCKETS; i++)
        for (const held *h = s->buckets[i]; h; h = h->next)
            if (h->leased && h->stored && h->ends && h->ends <= until) until = h->ends - 1;
    return until;
}

/* Leases of what is being worked on, or not written yet, go on. Without the lock. */
static void renew_leases(sessions *s) {
    pthread_mutex_lock(&s->lock);
    char(*ids)[STORE_ID_BYTES] = calloc(s->n + 1, sizeof *ids);
    size_t n = 0;
    for (size_t i = 0; ids && i < BUCKETS; i++)
        for (held *h = s->buckets[i]; h; h = h->next)
            if (h->leased && h->stored && !h->deleted) memcpy(ids[n++], h->record.id, sizeof *ids);
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; i < n; i++) {
        store_record ignored; /* whoever has lost one finds out when it writes */
        store_why why;
        s->index->lease(s->index->self, ids[i], &ignored, &why);
    }
    free(ids);
}

static void *run(void *context) {
    sessions *s = context;
    double swept = clock_seconds(), looked = swept, renewed = swept;
    sigset_t all;
    sigfillset(&all); /* they are the main thread's */
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&s->lock);
    for (;;) {
        held *h = next_queued(s);
        if (h) {
            write_one(s, h);
        } else if (s->stopping) {
            break;
        } else {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_nsec += POLL_MS * 1000000L;
            if (until.tv_nsec >= 1000000000L) until.tv_nsec -= 1000000000L, until.tv_sec++;
            pthread_cond_timedwait(&s->changed, &s->lock, &until);
            poll_again(s);
        }
        double now = clock_seconds();
        if (s->index && s->index->lease_seconds > 0 && now - renewed > s->index->lease_seconds / 3) {
            renewed = now;
            pthread_mutex_unlock(&s->lock);
            renew_leases(s);
            pthread_mutex_lock(&s->lock);
        }
        if (now - looked < TICK_SECONDS) continue;
        looked = now;
        expire(s);
        if (!s->index) continue;
        int64_t until = forgettable(s);
        pthread_mutex_unlock(&s->lock);
        s->index->expire(s->index->self, until);
        if (now - swept > SWEEP_SECONDS) {
            store_sweep(s->options.store, (int64_t)time(NULL));
            swept = now;
        }
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

sessions *sessions_start(const sessions_options *options) {
    sessions *s = calloc(1, sizeof *s);
    if (!s) {
        store_close(options->store);
        return NULL;
    }
    s->options = *options;
    s->index = options->store ? store_index_of(options->store) : NULL;
    s->queue_end = &s->queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->started = !pthread_create(&s->thread, NULL, run, s);
    if (s->started) return s;
    sessions_stop(s, &(problem){0});
    return NULL;
}

void sessions_drain(sessions *s) {
    pthread_mutex_lock(&s->lock);
    s->draining = 1;
    for (size_t i = 0; i < BUCKETS; i++)
        for (held *h = s->buckets[i]; h; h = h->next) wake_all(s, h);
    poll_again(s);
    pthread_mutex_unlock(&s->lock);
}

int sessions_stop(sessions *s, problem *p) {
    if (!s) return 1;
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (s->started) pthread_join(s->thread, NULL);
    for (size_t i = 0; i < BUCKETS; i++)
        while (s->buckets[i]) drop(s, s->buckets[i]);
    if (s->n_lost)
        problem_set(p, s->lost.status, s->lost.code, NULL, "what %llu sessions have read since is lost: %s",
                    (unsigned long long)s->n_lost, s->lost.message);
    store_close(s->options.store);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
    return !p->status;
}
