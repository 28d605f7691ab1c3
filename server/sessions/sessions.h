/* sessions.h: the sessions that clients know by name. Each is in memory, in the store, or both; who works on one has it
 * alone (`held`), and others wait or are told that it is busy. What has changed is written to the store by a thread of
 * its own soon after, or at once where a client waits for it. Without a store all are in memory only. Knows no HTTP.
 *
 * Calls may wait for the disk, but for no other client: they are made on threads of the work. */
#ifndef SERVER_SESSIONS_H
#define SERVER_SESSIONS_H

#include "common/problem.h"
#include "common/work.h"
#include "sessions/store.h"

typedef struct sessions sessions;
typedef struct held held;

typedef struct sessions_options {
    il_model *model;
    work *work;
    store *store;       /* NULL: none; taken, also on failure */
    uint64_t count_max; /* sessions at once */
    uint64_t bytes_max; /* of states in memory. With a store those used longest ago are let go, else none is added */
    /* Why the store fails, for its operator and not for clients; on any thread. NULL: nobody is told. */
    void (*note)(void *user, const char *message);
    void *user;
} sessions_options;

/* Who asks for a session. It is part of the caller's object, which must not move while it waits. */
typedef struct session_call {
    work_item item;               /* must be first: run again, by the work, once there is something new */
    char owner[STORE_HASH_BYTES]; /* sessions_owner */
    uint64_t generation;          /* that the session must have; 0: any */
    int brief;                    /* it does not feed the session: others wait for it whether they ask to or not */
    int wait;                     /* 1: until it is not busy any more; 0: one that is being fed is a problem */
    double since;                 /* 0, or since when another server's lease was met */
    held *held;
    struct session_call *next;
} session_call;

sessions *sessions_start(const sessions_options *options); /* NULL: it cannot */
/* Nobody waits for a session any more: who does is told. */
void sessions_drain(sessions *s);
/* Writes what is not written yet, and ends its thread. Nothing is held any more, and nothing but sessions_get_stats is
 * called after it. 0: not all could be written. */
int sessions_stop(sessions *s, problem *p); /* NULL allowed */
void sessions_free(sessions *s);            /* after it; NULL allowed */

/* What stands for an API key, NULL: none is used. */
void sessions_owner(const char *key, char owner[STORE_HASH_BYTES]);

/* 1: call->held is the caller's until sessions_release, with its state in memory if `state` says so. 0: a problem, or,
 * without one, the call waits: its item runs again, and this is called again. */
int sessions_acquire(sessions *s, const char *id, session_call *call, int state, problem *p);
void sessions_release(sessions *s, held *h);
/* A name that no session has. */
void sessions_new_id(char id[STORE_ID_BYTES]);
/* A new one with a session, which is taken also on failure, and what `like` says of parent, owner, name and ttl, and of
 * its id, "": a new one; held. NULL: a problem. */
held *sessions_create(sessions *s, il_session *session, const store_record *like, problem *p);

/* Of one that is held. */
il_session *sessions_session(const held *h);
const store_record *sessions_record(const held *h);
/* Whether states may grow by so many bytes. */
int sessions_have_room(sessions *s, uint64_t bytes, problem *p);
/* Names it, "": no more, and says how many seconds after its last change it expires, 0: never; sessions_changed
 * follows.
 */
void sessions_rename(sessions *s, held *h, const char *name, int64_t ttl);
/* Puts another session in place of its own, which is closed. */
void sessions_replace(held *h, il_session *session);
/* After its session has moved or was replaced: the record is brought up to date, with the next generation. 0: a
 * problem, and the session is as the store has it. */
int sessions_changed(sessions *s, held *h, problem *p);
/* 0: there is no store, which a request is to know before it changes a session. */
int sessions_can_write(const sessions *s, problem *p);
/* It is on the disk when this returns. 0: a problem; without a store always. */
int sessions_write(sessions *s, held *h, problem *p);
/* It is there no more once it is released. */
int sessions_delete(sessions *s, held *h, problem *p);
/* Its state file, open for reading and checked, and how long it is; -1: a problem. */
int sessions_file(sessions *s, held *h, uint64_t *bytes, problem *p);
/* A file without a name, where an upload fits; -1: it cannot. Any thread. */
int sessions_scratch(const sessions *s);

/* As it is now, whoever holds it. */
int sessions_get(sessions *s, const char *id, const char *owner, store_record *record, problem *p);
/* Those of an owner after the id `after`, in the order in which they were made. */
int sessions_list(sessions *s, const char *owner, const char *after, store_record *records, size_t capacity, size_t *n,
                  problem *p);

typedef struct sessions_stats {
    uint64_t in_memory, memory_bytes, unwritten, writes, write_failures;
} sessions_stats;
void sessions_get_stats(sessions *s, sessions_stats *stats);

#endif
