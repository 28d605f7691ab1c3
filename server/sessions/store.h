/* store.h: sessions that outlive the server: their states in files that are named by what is in them,
 * DIR/ab/ab….ilstate, and an index, which says of each session which file is its state. A file is whole and on the disk
 * before the index names it, so that a crash loses nothing that was said to be stored; two sessions with one state have
 * one file.
 *
 * Any thread; calls may wait for the disk. */
#ifndef SERVER_STORE_H
#define SERVER_STORE_H

#include "innerloop.h"

#include <stddef.h>
#include <stdint.h>

enum { STORE_ID_BYTES = 40, STORE_NAME_BYTES = 129, STORE_HASH_BYTES = 33 }; /* with their NUL */

/* What the index knows of a session. */
typedef struct store_record {
    char id[STORE_ID_BYTES]; /* later sessions have larger ones */
    char parent[STORE_ID_BYTES];
    char owner[STORE_HASH_BYTES]; /* whose it is; "": everybody's */
    char name[STORE_NAME_BYTES];
    char fingerprint[STORE_HASH_BYTES];     /* of its state */
    uint64_t position, rewind_limit, bytes; /* bytes: memory of its state */
    uint64_t generation;                    /* 1, and one more with every change */
    int64_t created, expires;               /* seconds since 1970; expires 0: never */
    int64_t ttl;                            /* seconds after its last change when it expires; 0: never */
} store_record;

typedef enum store_result {
    STORE_DONE,
    STORE_ABSENT,   /* there is no such session, or not any more */
    STORE_CONFLICT, /* it is not as the caller thought */
    STORE_LEASED,   /* another server is at work on it */
    STORE_FAILED    /* the disk or the index refused: why says it */
} store_result;

/* An index: store_sqlite.c, store_redis.c. Every call fills why where it fails. */
typedef struct store_why {
    char text[300];
} store_why;
typedef struct store_index {
    void *self;
    double lease_seconds; /* after which a lease that is not renewed ends; 0: none ever does */
    /* Takes the session for this server, until `release` or until it has not been renewed for so long that this server
     * must be dead; again, to renew it. Gives its record. */
    store_result (*lease)(void *self, const char *id, store_record *record, store_why *why);
    void (*release)(void *self, const char *id);
    store_result (*get)(void *self, const char *id, store_record *record, store_why *why);
    /* Those of an owner with larger ids than `after`, ascending. */
    store_result (*list)(void *self, const char *owner, const char *after, store_record *records, size_t capacity,
                         size_t *n, store_why *why);
    /* Puts the record in place of that with generation `before`, 0: of none. CONFLICT where that is not there. */
    store_result (*put)(void *self, const store_record *record, uint64_t before, store_why *why);
    store_result (*remove)(void *self, const char *id, store_why *why);
    store_result (*count)(void *self, uint64_t *n, store_why *why);
    /* Whether a session's state is that file; FAILED counts as yes. */
    int (*refers)(void *self, const char *fingerprint);
    void (*expire)(void *self, int64_t now);
    void (*close)(void *self);
} store_index;

typedef struct store store;
/* where: a folder, made if absent, IL_ERR_IO, naming it, while another server has it; or redis://… (store_redis.h),
 * which several share, as they share its folder. Sessions of other models are kept there, and not shown. */
il_status store_open(const char *where, const il_model *model, store **opened, il_error *error);
void store_close(store *s); /* NULL allowed */
const store_index *store_index_of(const store *s);

/* Writes the session's state, and then the record in place of the one with generation `before`, 0: of none, whose state
 * was `old`. When it returns STORE_DONE all is on the disk. The file of `old` goes if no session needs it. */
store_result store_put(store *s, const il_session *session, const store_record *record, uint64_t before,
                       const char *old, store_why *why);
store_result store_remove(store *s, const store_record *record, store_why *why);
/* Opens the state file of this fingerprint for reading; it is made of session first, unless it is there or session is
 * NULL. -1: it cannot. path [PATH_MAX]: its name, for the library. */
int store_file(store *s, const il_session *session, const char *fingerprint, char *path);
/* Removes the state file of this fingerprint, which is damaged. */
void store_unlink(store *s, const char *fingerprint);
/* A file without a name in the store's folder, for an upload; -1: it cannot. */
int store_scratch(const store *s);
/* Removes files older than an hour that no session's state is. */
void store_sweep(store *s, int64_t now);

#endif
