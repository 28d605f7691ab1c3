/* store_sqlite.c: see store_sqlite.h. As only one server has it, every session is leased to it. */
#include "sessions/store_sqlite.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };
#define COLUMNS "id, parent, owner, name, fingerprint, position, rewind_limit, bytes, generation, created, expires, ttl"

typedef enum statement { GET, LIST, INSERT, UPDATE, REMOVE, COUNT, REFERS, EXPIRE, STATEMENTS } statement;
static const char *const texts[STATEMENTS] = {
    "SELECT " COLUMNS " FROM sessions WHERE id = ?1 AND model = ?2",
    "SELECT " COLUMNS " FROM sessions WHERE owner = ?1 AND model = ?2 AND id > ?3 ORDER BY id LIMIT ?4",
    "INSERT INTO sessions (" COLUMNS ", model) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?13, ?12)",
    "UPDATE sessions SET name = ?4, fingerprint = ?5, position = ?6, rewind_limit = ?7, bytes = ?8, generation = ?9, "
    "expires = ?11, ttl = ?13 WHERE id = ?1 AND model = ?12 AND generation = ?14",
    "DELETE FROM sessions WHERE id = ?1 AND model = ?2",
    "SELECT count(*) FROM sessions WHERE model = ?1",
    "SELECT 1 FROM sessions WHERE fingerprint = ?1 LIMIT 1",
    "DELETE FROM sessions WHERE expires > 0 AND expires <= ?1"};

typedef struct database {
    pthread_mutex_t lock; /* of the connection and its statements */
    sqlite3 *connection;
    sqlite3_stmt *prepared[STATEMENTS];
    char path[4096], model[STORE_HASH_BYTES];
} database;

static store_result failed(const database *d, store_why *why) {
    snprintf(why->text, sizeof why->text, "%.200s: %.80s", d->path, sqlite3_errmsg(d->connection));
    return STORE_FAILED;
}

/* With the lock held until `end`. */
static sqlite3_stmt *begin(database *d, statement which) {
    pthread_mutex_lock(&d->lock);
    return d->prepared[which];
}

static void end(database *d, sqlite3_stmt *s) {
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    pthread_mutex_unlock(&d->lock);
}

static void bind_text(sqlite3_stmt *s, int at, const char *words) {
    sqlite3_bind_text(s, at, words, -1, SQLITE_STATIC);
}
static void bind_number(sqlite3_stmt *s, int at, uint64_t number) { sqlite3_bind_int64(s, at, (sqlite3_int64)number); }

static void bind_record(const database *d, sqlite3_stmt *s, const store_record *r) {
    bind_text(s, 1, r->id);
    bind_text(s, 2, r->parent);
    bind_text(s, 3, r->owner);
    bind_text(s, 4, r->name);
    bind_text(s, 5, r->fingerprint);
    bind_number(s, 6, r->position);
    bind_number(s, 7, r->rewind_limit);
    bind_number(s, 8, r->bytes);
    bind_number(s, 9, r->generation);
    sqlite3_bind_int64(s, 10, r->created);
    sqlite3_bind_int64(s, 11, r->expires);
    bind_text(s, 12, d->model);
    sqlite3_bind_int64(s, 13, r->ttl);
}

static void copy_text(sqlite3_stmt *s, int column, char *to, size_t capacity) {
    const char *words = (const char *)sqlite3_column_text(s, column);
    snprintf(to, capacity, "%s", words ? words : "");
}

static void read_record(sqlite3_stmt *s, store_record *r) {
    copy_text(s, 0, r->id, sizeof r->id);
    copy_text(s, 1, r->parent, sizeof r->parent);
    copy_text(s, 2, r->owner, sizeof r->owner);
    copy_text(s, 3, r->name, sizeof r->name);
    copy_text(s, 4, r->fingerprint, sizeof r->fingerprint);
    r->position = (uint64_t)sqlite3_column_int64(s, 5);
    r->rewind_limit = (uint64_t)sqlite3_column_int64(s, 6);
    r->bytes = (uint64_t)sqlite3_column_int64(s, 7);
    r->generation = (uint64_t)sqlite3_column_int64(s, 8);
    r->created = sqlite3_column_int64(s, 9);
    r->expires = sqlite3_column_int64(s, 10);
    r->ttl = sqlite3_column_int64(s, 11);
}

static store_result get(void *self, const char *id, store_record *record, store_why *why) {
    database *d = self;
    sqlite3_stmt *s = begin(d, GET);
    bind_text(s, 1, id);
    bind_text(s, 2, d->model);
    int step = sqlite3_step(s);
    store_result result = step == SQLITE_ROW ? STORE_DONE : step == SQLITE_DONE ? STORE_ABSENT : failed(d, why);
    if (result == STORE_DONE) read_record(s, record);
    end(d, s);
    return result;
}

static void release(void *self, const char *id) {
    (void)self;
    (void)id;
}

static store_result list(void *self, const char *owner, const char *after, store_record *records, size_t capacity,
                         size_t *n, store_why *why) {
    database *d = self;
    sqlite3_stmt *s = begin(d, LIST);
    bind_text(s, 1, owner);
    bind_text(s, 2, d->model);
    bind_text(s, 3, after);
    bind_number(s, 4, capacity);
    int step = SQLITE_DONE;
    for (*n = 0; *n < capacity && (step = sqlite3_step(s)) == SQLITE_ROW; (*n)++) read_record(s, &records[*n]);
    store_result result = step == SQLITE_ROW || step == SQLITE_DONE ? STORE_DONE : failed(d, why);
    end(d, s);
    return result;
}

static store_result put(void *self, const store_record *record, uint64_t before, store_why *why) {
    database *d = self;
    sqlite3_stmt *s = begin(d, before ? UPDATE : INSERT);
    bind_record(d, s, record);
    if (before) bind_number(s, 14, before);
    int step = sqlite3_step(s);
    store_result result = step == SQLITE_DONE         ? STORE_DONE
                          : step == SQLITE_CONSTRAINT ? STORE_CONFLICT
                                                      : failed(d, why);
    if (result == STORE_DONE && !sqlite3_changes(d->connection)) result = STORE_CONFLICT;
    end(d, s);
    return result;
}

static store_result remove_record(void *self, const char *id, store_why *why) {
    database *d = self;
    sqlite3_stmt *s = begin(d, REMOVE);
    bind_text(s, 1, id);
    bind_text(s, 2, d->model);
    store_result result = sqlite3_step(s) != SQLITE_DONE    ? failed(d, why)
                          : !sqlite3_changes(d->connection) ? STORE_ABSENT
                                                            : STORE_DONE;
    end(d, s);
    return result;
}

static store_result count(void *self, uint64_t *n, store_why *why) {
    database *d = self;
    sqlite3_stmt *s = begin(d, COUNT);
    bind_text(s, 1, d->model);
    store_result result = sqlite3_step(s) == SQLITE_ROW ? STORE_DONE : failed(d, why);
    *n = result == STORE_DONE ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    end(d, s);
    return result;
}

static int refers(void *self, const char *fingerprint) {
    database *d = self;
    sqlite3_stmt *s = begin(d, REFERS);
    bind_text(s, 1, fingerprint);
    int yes = sqlite3_step(s) != SQLITE_DONE;
    end(d, s);
    return yes;
}

static void expire(void *self, int64_t now) {
    database *d = self;
    sqlite3_stmt *s = begin(d, EXPIRE);
    sqlite3_bind_int64(s, 1, now);
    sqlite3_step(s);
    end(d, s);
}

static void close_database(void *self) {
    database *d = self;
    for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(d->prepared[i]);
    sqlite3_close(d->connection);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

/* Whether the file is ours, of this version; a new one becomes so. */
static int set_up(database *d, store_why *why) {
    static const char tables[] =
        "BEGIN;"
        "CREATE TABLE sessions (id TEXT PRIMARY KEY, parent TEXT, owner TEXT, name TEXT, fingerprint TEXT,"
        " position INTEGER, rewind_limit INTEGER, bytes INTEGER, generation INTEGER, created INTEGER,"
        " expires INTEGER, ttl INTEGER, model TEXT) WITHOUT ROWID;"
        "CREATE INDEX by_owner ON sessions (owner, id);"
        "CREATE INDEX by_fingerprint ON sessions (fingerprint);"
        "PRAGMA user_version = 1;"
        "COMMIT";
    sqlite3_stmt *s = NULL;
    int version = -1;
    /* A commit is on the disk when it returns. */
    if (sqlite3_exec(d->connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL, NULL) ||
        sqlite3_prepare_v2(d->connection, "PRAGMA user_version", -1, &s, NULL)) {
        failed(d, why);
        return 0;
    }
    if (sqlite3_step(s) == SQLITE_ROW) version = sqlite3_column_int(s, 0);
    sqlite3_finalize(s);
    if (version == 0 && sqlite3_exec(d->connection, tables, NULL, NULL, NULL)) {
        failed(d, why);
        return 0;
    }
    if (version != 0 && version != VERSION) {
        snprintf(why->text, sizeof why->text, "%.200s: an index of version %d, and this server reads %d", d->path,
                 version, VERSION);
        return 0;
    }
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(d->connection, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &d->prepared[i], NULL)) {
            failed(d, why);
            return 0;
        }
    return 1;
}

int store_sqlite_open(const char *path, const char *model, store_index *index, store_why *why) {
    database *d = calloc(1, sizeof *d);
    *index = (store_index){0};
    if (!d) {
        snprintf(why->text, sizeof why->text, "no memory for the index of sessions");
        return 0;
    }
    pthread_mutex_init(&d->lock, NULL);
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(d->model, sizeof d->model, "%s", model);
    int opened =
        !sqlite3_open_v2(path, &d->connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (opened) {
        opened = set_up(d, why);
    } else {
        failed(d, why);
    }
    if (!opened) {
        close_database(d);
        return 0;
    }
    *index = (store_index){.self = d,
                           .lease = get,
                           .release = release,
                           .get = get,
                           .list = list,
                           .put = put,
                           .remove = remove_record,
                           .count = count,
                           .refers = refers,
                           .expire = expire,
                           .close = close_database};
    return 1;
}
