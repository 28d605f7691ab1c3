/* held.c: see held.h. */
#include "sessions/held.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    LATE_SECONDS = 1, /* what has not been written for so long is, before the next one gets the session; where the
                       * store fails it gets it between two tries */
    TOLD_SECONDS = 60 /* between words about trouble that goes on */
};

/* ---- problems ---- */

int held_absent(const char *id, problem *p) {
    return problem_set(p, 404, "session_not_found", "session", "there is no session '%.40s'", id);
}

int held_no_memory(problem *p) { return problem_set(p, 503, "no_memory", NULL, "no memory for a session now"); }

int held_store_failed(sessions *s, problem *p, const store_why *why) {
    double now = clock_seconds();
    pthread_mutex_lock(&s->lock);
    int tell = s->options.note && (s->told == 0 || now - s->told > TOLD_SECONDS);
    s->trouble = *why;
    if (tell) s->told = now;
    pthread_mutex_unlock(&s->lock);
    if (tell) s->options.note(s->options.user, why->text);
    return problem_set(p, 503, "store_failed", NULL,
                       "the store of sessions can be neither read nor written now; its operator was told why");
}

int held_is_expired(const store_record *r) { return r->expires && r->expires <= (int64_t)time(NULL); }

int held_may_see(const store_record *r, const char *owner, problem *p) {
    if (held_is_expired(r)) return held_absent(r->id, p);
    if (!strcmp(r->owner, owner)) return 1;
    return problem_set(p, 403, "session_of_another_key", "session", "the session '%s' is another API key's", r->id);
}

/* ---- what is held, with the lock ---- */

static held **bucket(sessions *s, const char *id) { return &s->buckets[XXH3_64bits(id, strlen(id)) % HELD_BUCKETS]; }

held *held_find(sessions *s, const char *id) {
    for (held *h = *bucket(s, id); h; h = h->next)
        if (!strcmp(h->record.id, id)) return h;
    return NULL;
}

int held_is_new(const sessions *s, const held *h) { return s->index && h->record.generation != h->stored; }

void held_look(const held *h, store_record *record) {
    *record = h->record;
    /* It lives on from when the work ends. */
    if (h->busy == WORKED_ON && record->ttl) record->expires = (int64_t)time(NULL) + record->ttl;
}

void held_count(sessions *s, held *h) {
    size_t memory = (h->session ? h->record.bytes : 0) + (h->image >= 0 ? h->record.bytes : 0);
    s->bytes += memory - h->memory;
    h->memory = memory;
}

void held_close_image(held *h) {
    if (h->image >= 0) close(h->image);
    h->image = -1;
}

void held_put_session(sessions *s, held *h, il_session *session) {
    s->in_memory += (session != NULL) - (size_t)(h->session != NULL);
    if (h->session != session) il_session_close(h->session);
    h->session = session;
    held_count(s, h);
}

held *held_add(sessions *s, const char *id) {
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

void held_drop(sessions *s, held *h) {
    held **at = bucket(s, h->record.id);
    while (*at != h) at = &(*at)->next;
    *at = h->next;
    s->n--;
    held_close_image(h);
    held_put_session(s, h, NULL);
    free(h);
}

void held_wake_all(sessions *s, held *h) {
    while (h->waiting) {
        session_call *c = h->waiting;
        h->waiting = c->next;
        work_push(s->options.work, &c->item);
    }
    h->end = &h->waiting;
}

/* Nothing of it is only here. */
static int is_idle(const held *h) { return h->busy == FREE && !h->queued && !h->leased && !h->waiting; }

void held_shrink(sessions *s) {
    while (s->index && s->bytes > s->options.bytes_max) {
        held *oldest = NULL;
        for (size_t i = 0; i < HELD_BUCKETS; i++)
            for (held *h = s->buckets[i]; h; h = h->next)
                if (is_idle(h) && h->session && (!oldest || h->used < oldest->used)) oldest = h;
        if (!oldest) return; /* when the writer has been there */
        held_drop(s, oldest);
    }
}

void held_pass_on(sessions *s, held *h) {
    h->busy = FREE;
    h->used = clock_seconds();
    if (h->deleted) {
        held_wake_all(s, h);
        if (!h->queued) held_drop(s, h);
        return;
    }
    int late = h->changed > 0 && h->used - h->changed > LATE_SECONDS && h->used >= s->retry;
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
    if (is_idle(h) && !h->session) held_drop(s, h);
    held_shrink(s);
}

void held_poll_again(sessions *s) {
    while (s->polling) {
        session_call *c = s->polling;
        s->polling = c->next;
        work_push(s->options.work, &c->item);
    }
}

/* ---- by its holder ---- */

int held_write(sessions *s, held *h, problem *p) {
    store_why why = {""};
    if (!held_is_new(s, h)) return 1;
    store_result result = store_put(s->options.store, h->session, &h->record, h->stored, h->written, &why);
    pthread_mutex_lock(&s->lock);
    if (result == STORE_DONE) {
        s->new_ones -= !h->stored;
        h->stored = h->record.generation;
        h->ends = h->record.expires;
        memcpy(h->written, h->record.fingerprint, sizeof h->written);
        h->changed = 0;
        s->told = 0;
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
    if (result == STORE_FAILED) return held_store_failed(s, p, &why);
    return problem_set(p, 409, "generation_conflict", "session", "another server has gone on with this session");
}
