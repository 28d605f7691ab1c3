/* session_writer.c: see sessions.h. The thread that writes what has changed, looks what has expired, and keeps leases.
 */
#include "common/clock.h"
#include "sessions/held.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TICK_SECONDS = 1,   /* between looks at what has expired, or could not be written */
    POLL_MS = 50,       /* between looks whether another server has done with a session */
    SWEEP_SECONDS = 300 /* between looks for files that are not needed */
};

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
    if (!written) written = held_write(s, h, &p);
    if (written) s->index->release(s->index->self, h->record.id);
    pthread_mutex_lock(&s->lock);
    if (!written) {
        s->retry = clock_seconds() + TICK_SECONDS;
        if (s->stopping && !s->n_lost++) {
            s->lost = p; /* which the operator reads */
            if (p.status == 503)
                snprintf(s->lost.message, sizeof s->lost.message, "the store of sessions: %s", s->trouble.text);
        }
    }
    if (written || s->stopping) h->leased = 0;
    held_pass_on(s, h);
}

static void expire(sessions *s) {
    for (size_t i = 0; i < HELD_BUCKETS; i++)
        for (held *h = s->buckets[i], *next; h; h = next) {
            next = h->next;
            if (h->busy != FREE || h->deleted || !h->record.generation || !held_is_expired(&h->record)) continue;
            s->new_ones -= !h->stored;
            h->deleted = 1;
            h->leased = 0;
            held_pass_on(s, h);
        }
}

/* What the index may forget: all that has expired, but nothing as late as what is being worked on, or not written yet,
 * for that has a new time to live then. With the lock. */
static int64_t forgettable(const sessions *s) {
    int64_t until = (int64_t)time(NULL);
    for (size_t i = 0; i < HELD_BUCKETS; i++)
        for (const held *h = s->buckets[i]; h; h = h->next)
            if (h->leased && h->stored && h->ends && h->ends <= until) until = h->ends - 1;
    return until;
}

/* Leases of what is being worked on, or not written yet, go on. Without the lock. */
static void renew_leases(sessions *s) {
    pthread_mutex_lock(&s->lock);
    char(*ids)[STORE_ID_BYTES] = calloc(s->n + 1, sizeof *ids);
    size_t n = 0;
    for (size_t i = 0; ids && i < HELD_BUCKETS; i++)
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
    double looked = clock_seconds(), renewed = looked, swept = looked - SWEEP_SECONDS; /* what a crash left goes soon */
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
            held_poll_again(s);
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
    if (!pthread_create(&s->thread, NULL, run, s)) return s;
    sessions_free(s);
    return NULL;
}

void sessions_drain(sessions *s) {
    pthread_mutex_lock(&s->lock);
    s->draining = 1;
    for (size_t i = 0; i < HELD_BUCKETS; i++)
        for (held *h = s->buckets[i]; h; h = h->next) held_wake_all(s, h);
    held_poll_again(s);
    pthread_mutex_unlock(&s->lock);
}

int sessions_stop(sessions *s, problem *p) {
    if (!s) return 1;
    pthread_mutex_lock(&s->lock);
    s->stopping = 1;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    if (s->n_lost)
        problem_set(p, s->lost.status, s->lost.code, NULL, "what %llu sessions have read since is lost: %s",
                    (unsigned long long)s->n_lost, s->lost.message);
    return !p->status;
}

void sessions_free(sessions *s) {
    if (!s) return;
    for (size_t i = 0; i < HELD_BUCKETS; i++)
        while (s->buckets[i]) held_drop(s, s->buckets[i]);
    store_close(s->options.store);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
