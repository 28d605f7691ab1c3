/* sessions.c: see sessions.h. Who gets a session, and what its holder does with it; held.c has what they share with the
 * thread that writes (session_writer.c) and with those who only look (session_list.c). */
#include "sessions/sessions.h"

#include "common/clock.h"
#include "sessions/held.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum { GRACE_SECONDS = 1 /* that another server may take to write a session */ };

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

/* ---- bounds ---- */

/* With the lock. In a store there is room. */
static int has_room(const sessions *s, uint64_t bytes, problem *p) {
    if (s->index || s->bytes + bytes <= s->options.bytes_max) return 1;
    return problem_set(p, 429, "sessions_full", NULL,
                       "the sessions in memory have %llu bytes (--sessions-bytes): delete some, or start the server "
                       "with --store",
                       (unsigned long long)s->bytes);
}

int sessions_have_room(sessions *s, uint64_t bytes, problem *p) {
    pthread_mutex_lock(&s->lock);
    int has = has_room(s, bytes, p);
    pthread_mutex_unlock(&s->lock);
    return has;
}

/* ---- by its holder ---- */

void sessions_rename(sessions *s, held *h, const char *name, int64_t ttl) {
    pthread_mutex_lock(&s->lock);
    snprintf(h->record.name, sizeof h->record.name, "%s", name);
    h->record.ttl = ttl;
    if (!ttl) h->record.expires = 0;
    pthread_mutex_unlock(&s->lock);
}

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
        held_put_session(s, h, NULL);
        s->new_ones -= !h->stored && !h->deleted;
        h->deleted |= !h->stored;
        pthread_mutex_unlock(&s->lock);
        return held_no_memory(p);
    }
    if (r.ttl) r.expires = (int64_t)time(NULL) + r.ttl;
    pthread_mutex_lock(&s->lock);
    h->record = r;
    if (s->index && h->changed == 0) h->changed = clock_seconds();
    held_close_image(h);
    held_count(s, h);
    pthread_mutex_unlock(&s->lock);
    return 1;
}

/* ---- who gets it ---- */

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
    if (result == STORE_FAILED) return held_store_failed(s, p, &why);
    pthread_mutex_lock(&s->lock);
    if (result == STORE_DONE) {
        if (h->session && strcmp(r.fingerprint, h->record.fingerprint)) held_put_session(s, h, NULL);
        h->record = r;
        h->stored = r.generation;
        h->ends = r.expires;
        memcpy(h->written, r.fingerprint, sizeof h->written);
        h->leased = 1;
        held_count(s, h);
    } else {
        h->deleted = 1;
    }
    pthread_mutex_unlock(&s->lock);
    return result == STORE_DONE ? 1 : held_absent(h->record.id, p);
}

/* The session of a file that has its state, whole; NULL: a problem, of which the operator hears more. */
static il_session *read_state(const sessions *s, const held *h, const char *path, problem *p) {
    il_session *session;
    il_error error;
    char fingerprint[STORE_HASH_BYTES];
    il_status status = il_session_load(s->options.model, path, &session, &error);
    if (!status) status = il_session_fingerprint(session, fingerprint, &error);
    if (!status && !strcmp(fingerprint, h->record.fingerprint)) return session;
    il_session_close(session);
    if (status == IL_ERR_NOMEM) {
        held_no_memory(p);
        return NULL;
    }
    if (!status) snprintf(error.message, sizeof error.message, "%.400s: it holds another state", path);
    if (s->options.note) s->options.note(s->options.user, error.message);
    problem_set(p, 500, "state_damaged", "session", "the state of the session '%s' is damaged", h->record.id);
    return NULL;
}

static int load(sessions *s, held *h, problem *p) {
    char path[PATH_MAX];
    int fd = store_file(s->options.store, NULL, h->record.fingerprint, path);
    if (fd >= 0) close(fd);
    il_session *session = read_state(s, h, path, p);
    if (!session) return 0;
    pthread_mutex_lock(&s->lock);
    held_put_session(s, h, session);
    held_shrink(s);
    pthread_mutex_unlock(&s->lock);
    return 1;
}

/* Whether the call may have what it holds; 0 without a problem: not yet. */
static int check(sessions *s, held *h, session_call *c, int state, problem *p) {
    if (h->deleted) return held_absent(h->record.id, p);
    if (s->index && !h->leased && !lease(s, h, c, p)) return 0;
    if (!held_may_see(&h->record, c->owner, p)) return 0;
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
        h = strlen(id) < STORE_ID_BYTES ? held_find(s, id) : NULL;
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
        if (!h && s->index && strlen(id) < STORE_ID_BYTES && !(h = held_add(s, id))) held_no_memory(p);
        if (h) h->busy = call->brief ? BRIEFLY : WORKED_ON;
        pthread_mutex_unlock(&s->lock);
        if (!h) return held_absent(id, p);
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
    held_pass_on(s, h);
    pthread_mutex_unlock(&s->lock);
}

held *sessions_create(sessions *s, il_session *session, const store_record *like, problem *p) {
    uint64_t others = 0;
    store_why why = {""};
    il_session_stats stats;
    held *h = NULL;
    char id[STORE_ID_BYTES];
    il_session_get_stats(session, &stats);
    if (s->index && s->index->count(s->index->self, &others, &why) != STORE_DONE) held_store_failed(s, p, &why);
    if (like->id[0])
        snprintf(id, sizeof id, "%s", like->id);
    else
        sessions_new_id(id);
    pthread_mutex_lock(&s->lock);
    if (!p->status && others + s->new_ones >= s->options.count_max)
        problem_set(p, 429, "sessions_full", NULL,
                    "there are %llu sessions already (--sessions-max): delete some, or let them expire (ttl)",
                    (unsigned long long)(others + s->new_ones));
    if (!p->status) has_room(s, stats.state_bytes, p);
    if (!p->status && !held_find(s, id)) h = held_add(s, id);
    if (h) {
        snprintf(h->record.parent, sizeof h->record.parent, "%s", like->parent);
        snprintf(h->record.owner, sizeof h->record.owner, "%s", like->owner);
        snprintf(h->record.name, sizeof h->record.name, "%s", like->name);
        h->record.ttl = like->ttl;
        h->record.created = (int64_t)time(NULL);
        h->leased = 1;
        s->new_ones++;
        held_put_session(s, h, session);
    }
    pthread_mutex_unlock(&s->lock);
    if (!h) {
        il_session_close(session);
        held_no_memory(p);
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
    if (held_write(s, h, &why)) return 1;
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
    if (result == STORE_FAILED) return held_store_failed(s, p, &why);
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

/* The store's, which may have been damaged since it was written: then it is written anew, if the state is in memory.
 */
static int open_stored(sessions *s, held *h, problem *p) {
    char path[PATH_MAX];
    problem damaged = {0};
    for (int again = 0;; again++) {
        int fd = store_file(s->options.store, h->session, h->record.fingerprint, path);
        if (fd < 0) return fd;
        il_session *read = read_state(s, h, path, &damaged);
        il_session_close(read);
        if (read) return fd;
        close(fd);
        if (again || !h->session || damaged.status != 500) break;
        store_unlink(s->options.store, h->record.fingerprint);
    }
    *p = damaged;
    return -1;
}

static int open_file(sessions *s, held *h, problem *p) {
    char path[PATH_MAX];
    if (s->index) return open_stored(s, h, p);
    if (h->image < 0) { /* one for all who ask, until the session changes */
        sink to = {memfd_create("state", MFD_CLOEXEC)};
        if (to.fd < 0 || il_session_write_to(h->session, write_all, &to, NULL)) {
            if (to.fd >= 0) close(to.fd);
            held_no_memory(p);
            return -1;
        }
        pthread_mutex_lock(&s->lock);
        h->image = to.fd;
        held_count(s, h);
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
