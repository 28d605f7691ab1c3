/* held.h: what sessions.c, session_writer.c and session_list.c share: a session that this server knows something of,
 * and the table of them. Nothing else includes it. */
#ifndef SERVER_HELD_H
#define SERVER_HELD_H

#include "sessions/sessions.h"

#include <pthread.h>

enum { HELD_BUCKETS = 1024 };

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
    pthread_mutex_t lock; /* of all below, and of every held session's fields but for what its holder changes */
    pthread_cond_t changed;
    held *buckets[HELD_BUCKETS];
    held *queue, **queue_end; /* for the writer */
    size_t n;                 /* in the buckets */
    uint64_t new_ones;        /* that the index does not have */
    uint64_t bytes, in_memory;
    uint64_t writes, write_failures;
    session_call *polling; /* who waits for a session that another server works on */
    double retry;          /* when what could not be written is tried again */
    store_why trouble;     /* why the store failed last */
    double told;           /* when the operator was told; 0: not of this trouble */
    uint64_t n_lost;       /* that could not be written when it stopped */
    problem lost;          /* of the first of them */
    int draining, stopping;
};

/* With the lock. */
held *held_find(sessions *s, const char *id);
held *held_add(sessions *s, const char *id); /* busy; NULL: no memory */
void held_drop(sessions *s, held *h);
/* The session in memory, in place of the one before; NULL: none. */
void held_put_session(sessions *s, held *h, il_session *session);
void held_close_image(held *h);
void held_count(sessions *s, held *h); /* its memory, after a change */
void held_wake_all(sessions *s, held *h);
void held_poll_again(sessions *s);
void held_shrink(sessions *s);           /* states used longest ago leave memory until the others fit */
void held_pass_on(sessions *s, held *h); /* its holder has done with it: the next one gets it */
/* Its record, as others see it while somebody works on it. */
void held_look(const held *h, store_record *record);

/* Without the lock. */
int held_is_new(const sessions *s, const held *h); /* the index has not all of it; for its holder, or with the lock */
int held_is_expired(const store_record *r);
/* 0: it is not written; if another server has taken it, there is nothing to write any more. */
int held_write(sessions *s, held *h, problem *p);
/* Problems; each returns 0. Why the store failed is told to the operator, for it names files. */
int held_absent(const char *id, problem *p);
int held_no_memory(problem *p);
int held_store_failed(sessions *s, problem *p, const store_why *why);
int held_may_see(const store_record *r, const char *owner, problem *p);

#endif
