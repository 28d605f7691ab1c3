/* store_redis.c: see store_redis.h. One Redis, no cluster: a script knows the keys that it needs by their prefix.
 *
 *     innerloop:session:ID          hash: the record; lease, the server that works on it; until, ms, when that ends
 *     innerloop:of:MODEL:OWNER      sorted set, by name, of the ids
 *     innerloop:all:MODEL           the same of all owners
 *     innerloop:files               hash: how many sessions have the state with this fingerprint
 *     innerloop:expires             sorted set of ids by when they expire
 *
 * A server that has lost its lease to another one finds the lease's name changed, and one that wakes up after that one
 * has done with the session finds another generation: in both cases nothing is written. Time is Redis' own. */
#include "sessions/store_redis.h"

#include "common/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int store_redis_is(const char *where) { return !strncmp(where, "redis://", 8); }

/* The next part, up to a character of ends; 0: it is too long. */
static int take(const char **at, const char *ends, char *word, size_t capacity) {
    size_t n = strcspn(*at, ends);
    if (n >= capacity) return 0;
    memcpy(word, *at, n);
    word[n] = 0;
    *at += n;
    return 1;
}

static int number(const char *word, double most, double *value) {
    char *end;
    *value = strtod(word, &end);
    return *word && !*end && *value >= 0 && *value <= most;
}

int store_redis_parse(const char *where, store_redis_address *a, store_why *why) {
    const char *at = where + 8;
    char word[4096];
    double value;
    *a = (store_redis_address){.port = 6379, .lease_seconds = 10};
    int good = store_redis_is(where);
    if (good && *at == ':' && strchr(at, '@')) {
        at++;
        good = take(&at, "@", a->password, sizeof a->password);
        at++;
    }
    good = good && take(&at, ":/?", a->host, sizeof a->host) && a->host[0];
    if (good && *at == ':') {
        at++;
        good = take(&at, "/?", word, sizeof word) && number(word, 65535, &value);
        if (good) a->port = (int)value;
    }
    if (good && *at == '/') {
        at++;
        good = take(&at, "?", word, sizeof word) && (!word[0] || number(word, 1 << 20, &value));
        if (good && word[0]) a->number = (int)value;
    }
    while (good && (*at == '?' || *at == '&')) {
        at++;
        good = take(&at, "&", word, sizeof word);
        if (good && !strncmp(word, "dir=", 4))
            snprintf(a->dir, sizeof a->dir, "%s", word + 4);
        else
            good = good && !strncmp(word, "lease=", 6) && number(word + 6, 86400, &a->lease_seconds) &&
                   a->lease_seconds >= 0.1;
    }
    if (good && a->dir[0]) return 1;
    snprintf(why->text, sizeof why->text,
             "--store: an address of Redis is redis://HOST:PORT/NUMBER?dir=FOLDER, with &lease=SECONDS if need be");
    return 0;
}

#ifndef IL_WITH_HIREDIS
int store_redis_open(const store_redis_address *address, const char *model, store_index *index, store_why *why) {
    (void)address;
    (void)model;
    *index = (store_index){0};
    snprintf(why->text, sizeof why->text,
             "--store redis://: this innerloop was built without hiredis (libhiredis-dev)");
    return 0;
}
#else

#include <errno.h>
#include <hiredis.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/random.h>
#include <time.h>

enum { FIELDS = 11, TIMEOUT_SECONDS = 1, QUIET_SECONDS = 2, EXPIRE_AT_ONCE = 100, ARGUMENTS = 32 };
#define FIELD_NAMES                                                                                                    \
    "'parent','owner','name','fingerprint','position','rewind_limit','bytes','generation','created','expires','ttl'"

/* All scripts: ARGV 1 this server, 2 the id, 3 the model. */
#define BEGIN                                                                                                          \
    "local key = 'innerloop:session:' .. ARGV[2] "                                                                     \
    "local t = redis.call('TIME') "                                                                                    \
    "local now = t[1] * 1000 + math.floor(t[2] / 1000) "
#define FORGET                                                                                                         \
    "local function forget(file) "                                                                                     \
    "if redis.call('HINCRBY', 'innerloop:files', file, -1) <= 0 then redis.call('HDEL', 'innerloop:files', file) end " \
    "end "

static const char lease_script[] = BEGIN /* 4: for so many ms */
    "local r = redis.call('HMGET', key, 'lease', 'until', 'model') "
    "if r[3] ~= ARGV[3] then return 'absent' end "
    "if r[1] ~= ARGV[1] and r[1] ~= '' and tonumber(r[2]) > now then return 'leased' end "
    "redis.call('HSET', key, 'lease', ARGV[1], 'until', now + ARGV[4]) "
    "return redis.call('HMGET', key, " FIELD_NAMES ")";
/* Who works on it now gives it a new time to live: it does not expire before its lease. */
static const char get_script[] =
    BEGIN "if redis.call('HGET', key, 'model') ~= ARGV[3] then return 'absent' end "
          "local f = redis.call('HMGET', key, " FIELD_NAMES ") "
          "local r = redis.call('HMGET', key, 'lease', 'until') "
          "if r[1] ~= '' and tonumber(r[2]) > now and f[10] ~= '0' and tonumber(f[10]) * 1000 < tonumber(r[2]) then "
          "  f[10] = string.format('%d', math.ceil(r[2] / 1000)) end "
          "return f";
static const char release_script[] =
    BEGIN "if redis.call('HGET', key, 'lease') == ARGV[1] then redis.call('HSET', key, 'lease', '') end return 'done'";
static const char put_script[] = BEGIN FORGET /* 4: ms of the lease, 5: generation before, 6 ..: the record */
    "local old = false "
    "if ARGV[5] == '0' then "
    "  if redis.call('EXISTS', key) == 1 then return 'conflict' end "
    "else "
    "  local r = redis.call('HMGET', key, 'lease', 'generation', 'fingerprint') "
    "  if not r[2] then return 'absent' end "
    "  if r[1] ~= ARGV[1] or r[2] ~= ARGV[5] then return 'conflict' end "
    "  old = r[3] "
    "end "
    "local names = {" FIELD_NAMES "} "
    "for i, name in ipairs(names) do redis.call('HSET', key, name, ARGV[5 + i]) end "
    "redis.call('HSET', key, 'model', ARGV[3], 'lease', ARGV[1], 'until', now + ARGV[4]) "
    "if old ~= ARGV[9] then "
    "  redis.call('HINCRBY', 'innerloop:files', ARGV[9], 1) "
    "  if old then forget(old) end "
    "end "
    "redis.call('ZADD', 'innerloop:of:' .. ARGV[3] .. ':' .. ARGV[7], 0, ARGV[2]) "
    "redis.call('ZADD', 'innerloop:all:' .. ARGV[3], 0, ARGV[2]) "
    "if ARGV[15] ~= '0' then redis.call('ZADD', 'innerloop:expires', ARGV[15], ARGV[2]) "
    "else redis.call('ZREM', 'innerloop:expires', ARGV[2]) end "
    "return 'done'";
static const char remove_script[] =
    BEGIN FORGET /* 4: seconds since 1970, only if it has expired then; 0: in any case */
    "local r = redis.call('HMGET', key, 'lease', 'until', 'model', 'owner', 'fingerprint', 'expires') "
    "if not r[3] then redis.call('ZREM', 'innerloop:expires', ARGV[2]) return 'absent' end "
    "if ARGV[4] == '0' then "
    "  if r[3] ~= ARGV[3] then return 'absent' end "
    "else "
    "  if r[6] == '0' or tonumber(r[6]) > tonumber(ARGV[4]) then return 'conflict' end "
    "end "
    "if r[1] ~= ARGV[1] and r[1] ~= '' and tonumber(r[2]) > now then return 'leased' end "
    "redis.call('DEL', key) "
    "redis.call('ZREM', 'innerloop:of:' .. r[3] .. ':' .. r[4], ARGV[2]) "
    "redis.call('ZREM', 'innerloop:all:' .. r[3], ARGV[2]) "
    "redis.call('ZREM', 'innerloop:expires', ARGV[2]) "
    "forget(r[5]) "
    "return 'done'";

typedef struct database {
    pthread_mutex_t lock; /* of the connection */
    store_redis_address address;
    redisContext *connection; /* NULL: there is none now */
    double quiet_until;       /* it did not answer: until then it is not asked, so that nobody waits for it */
    char why[160];
    char me[40], model[STORE_HASH_BYTES], lease_ms[24];
} database;

/* ---- asking ---- */

static void drop(database *d) {
    if (d->connection) redisFree(d->connection);
    d->connection = NULL;
}

/* Whether a reply says that all is well; it is released. */
static int is_good(redisReply *reply) {
    int good = reply && reply->type != REDIS_REPLY_ERROR;
    if (reply) freeReplyObject(reply);
    return good;
}

static int dial(database *d, store_why *why) {
    const store_redis_address *a = &d->address;
    struct timeval time = {.tv_sec = TIMEOUT_SECONDS};
    if (d->connection) return 1;
    d->connection = redisConnectWithTimeout(a->host, a->port, time);
    if (d->connection && !d->connection->err && redisSetTimeout(d->connection, time) == REDIS_OK &&
        (!a->password[0] || is_good(redisCommand(d->connection, "AUTH %s", a->password))) &&
        is_good(redisCommand(d->connection, "SELECT %d", a->number)))
        return 1;
    snprintf(why->text, sizeof why->text, "Redis at %.100s port %d: %.40s", a->host, a->port,
             !d->connection       ? "no memory"
             : d->connection->err ? d->connection->errstr
                                  : "it does not let us in");
    drop(d);
    return 0;
}

/* With the lock. A connection that has ended is made anew, once; scripts may be run twice. NULL: why. */
static redisReply *ask(database *d, int n, const char **words, store_why *why) {
    if (clock_seconds() < d->quiet_until) {
        snprintf(why->text, sizeof why->text, "%s", d->why);
        return NULL;
    }
    for (int again = 0; again < 2 && dial(d, why); again++) {
        redisReply *reply = redisCommandArgv(d->connection, n, words, NULL);
        if (reply && reply->type != REDIS_REPLY_ERROR) return reply;
        snprintf(why->text, sizeof why->text, "Redis at %.100s: %.50s", d->address.host,
                 reply ? reply->str : d->connection->errstr);
        if (reply) {
            freeReplyObject(reply);
            return NULL;
        }
        int silent = d->connection->err == REDIS_ERR_IO && errno == EAGAIN;
        drop(d);
        if (silent) break;
    }
    d->quiet_until = clock_seconds() + QUIET_SECONDS;
    snprintf(d->why, sizeof d->why, "%.159s", why->text);
    return NULL;
}

static void copy(const redisReply *from, char *to, size_t capacity) {
    snprintf(to, capacity, "%s", from->type == REDIS_REPLY_STRING ? from->str : "");
}

static uint64_t count_of(const redisReply *from) {
    return from->type == REDIS_REPLY_STRING ? strtoull(from->str, NULL, 10) : 0;
}

static store_result result_of(const redisReply *reply) {
    const char *word = reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS ? reply->str : "done";
    return !strcmp(word, "absent")     ? STORE_ABSENT
           : !strcmp(word, "leased")   ? STORE_LEASED
           : !strcmp(word, "conflict") ? STORE_CONFLICT
                                       : STORE_DONE;
}

/* Runs a script with its further arguments, and reads the record that it gives if one is wanted. */
static store_result run(database *d, const char *script, const char *id, const char **more, int n_more,
                        store_record *record, store_why *why) {
    const char *words[ARGUMENTS] = {"EVAL", script, "0", d->me, id, d->model};
    for (int i = 0; i < n_more; i++) words[6 + i] = more[i];
    pthread_mutex_lock(&d->lock);
    redisReply *reply = ask(d, 6 + n_more, words, why);
    store_result result = reply ? result_of(reply) : STORE_FAILED;
    if (result == STORE_DONE && record) {
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == FIELDS) {
            redisReply **e = reply->element;
            *record = (store_record){0};
            snprintf(record->id, sizeof record->id, "%s", id);
            copy(e[0], record->parent, sizeof record->parent);
            copy(e[1], record->owner, sizeof record->owner);
            copy(e[2], record->name, sizeof record->name);
            copy(e[3], record->fingerprint, sizeof record->fingerprint);
            record->position = count_of(e[4]);
            record->rewind_limit = count_of(e[5]);
            record->bytes = count_of(e[6]);
            record->generation = count_of(e[7]);
            record->created = (int64_t)count_of(e[8]);
            record->expires = (int64_t)count_of(e[9]);
            record->ttl = (int64_t)count_of(e[10]);
        } else {
            result = STORE_ABSENT;
        }
    }
    if (reply) freeReplyObject(reply);
    pthread_mutex_unlock(&d->lock);
    return result;
}

/* ---- the index ---- */

static store_result lease(void *self, const char *id, store_record *record, store_why *why) {
    database *d = self;
    const char *more[] = {d->lease_ms};
    return run(d, lease_script, id, more, 1, record, why);
}

static void release(void *self, const char *id) {
    store_why why;
    run(self, release_script, id, NULL, 0, NULL, &why);
}

static store_result get(void *self, const char *id, store_record *record, store_why *why) {
    return run(self, get_script, id, NULL, 0, record, why);
}

static store_result put(void *self, const store_record *r, uint64_t before, store_why *why) {
    database *d = self;
    const uint64_t numbers[8] = {before,        r->position,          r->rewind_limit,      r->bytes,
                                 r->generation, (uint64_t)r->created, (uint64_t)r->expires, (uint64_t)r->ttl};
    char words[8][24];
    for (int i = 0; i < 8; i++) snprintf(words[i], sizeof words[i], "%llu", (unsigned long long)numbers[i]);
    const char *more[] = {d->lease_ms, words[0], r->parent, r->owner, r->name,  r->fingerprint, words[1],
                          words[2],    words[3], words[4],  words[5], words[6], words[7]};
    store_result result = run(d, put_script, r->id, more, 13, NULL, why);
    if (result != STORE_CONFLICT) return result;
    /* The answer to the first try may have been lost: then it is there already. */
    store_record now;
    int same = get(d, r->id, &now, why) == STORE_DONE && now.generation == r->generation &&
               !strcmp(now.fingerprint, r->fingerprint);
    return same ? STORE_DONE : STORE_CONFLICT;
}

static store_result take_away(void *self, const char *id, const char *only_at, store_why *why) {
    const char *more[] = {only_at};
    return run(self, remove_script, id, more, 1, NULL, why);
}

static store_result remove_record(void *self, const char *id, store_why *why) { return take_away(self, id, "0", why); }

/* The ids that a command gives. NULL: why. */
static redisReply *ids_of(database *d, int n, const char **words, store_why *why) {
    pthread_mutex_lock(&d->lock);
    redisReply *reply = ask(d, n, words, why);
    pthread_mutex_unlock(&d->lock);
    return reply;
}

static store_result list(void *self, const char *owner, const char *after, store_record *records, size_t capacity,
                         size_t *n, store_why *why) {
    database *d = self;
    char key[128], from[STORE_ID_BYTES + 2], most[24];
    snprintf(key, sizeof key, "innerloop:of:%s:%s", d->model, owner);
    snprintf(from, sizeof from, "(%s", after);
    snprintf(most, sizeof most, "%zu", capacity);
    const char *words[] = {"ZRANGEBYLEX", key, after[0] ? from : "-", "+", "LIMIT", "0", most};
    redisReply *ids = ids_of(d, 7, words, why);
    store_result result = ids ? STORE_DONE : STORE_FAILED;
    *n = 0;
    for (size_t i = 0; ids && ids->type == REDIS_REPLY_ARRAY && i < ids->elements && result == STORE_DONE; i++) {
        result = get(d, ids->element[i]->str, &records[*n], why);
        *n += result == STORE_DONE;
        if (result == STORE_ABSENT) result = STORE_DONE; /* it has gone meanwhile */
    }
    if (ids) freeReplyObject(ids);
    return result;
}

static store_result count(void *self, uint64_t *n, store_why *why) {
    database *d = self;
    char key[128];
    snprintf(key, sizeof key, "innerloop:all:%s", d->model);
    const char *words[] = {"ZCARD", key};
    redisReply *reply = ids_of(d, 2, words, why);
    *n = reply && reply->type == REDIS_REPLY_INTEGER ? (uint64_t)reply->integer : 0;
    if (reply) freeReplyObject(reply);
    return reply ? STORE_DONE : STORE_FAILED;
}

static int refers(void *self, const char *fingerprint) {
    store_why why;
    const char *words[] = {"HEXISTS", "innerloop:files", fingerprint};
    redisReply *reply = ids_of(self, 3, words, &why);
    int yes = !reply || reply->type != REDIS_REPLY_INTEGER || reply->integer;
    if (reply) freeReplyObject(reply);
    return yes;
}

static void expire(void *self, int64_t now) {
    char time[24], most[24];
    store_why why;
    snprintf(time, sizeof time, "%lld", (long long)now);
    snprintf(most, sizeof most, "%d", EXPIRE_AT_ONCE);
    const char *words[] = {"ZRANGEBYSCORE", "innerloop:expires", "-inf", time, "LIMIT", "0", most};
    redisReply *ids = ids_of(self, 7, words, &why);
    for (size_t i = 0; ids && ids->type == REDIS_REPLY_ARRAY && i < ids->elements; i++)
        take_away(self, ids->element[i]->str, time, &why);
    if (ids) freeReplyObject(ids);
}

static void close_database(void *self) {
    database *d = self;
    drop(d);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

int store_redis_open(const store_redis_address *address, const char *model, store_index *index, store_why *why) {
    database *d = calloc(1, sizeof *d);
    uint64_t chance[2] = {(uint64_t)time(NULL), 0};
    *index = (store_index){0};
    if (!d) {
        snprintf(why->text, sizeof why->text, "no memory for the index of sessions");
        return 0;
    }
    pthread_mutex_init(&d->lock, NULL);
    d->address = *address;
    if (getrandom(chance, sizeof chance, 0) != sizeof chance) chance[1] = (uint64_t)(uintptr_t)d;
    snprintf(d->me, sizeof d->me, "%016llx%016llx", (unsigned long long)chance[0], (unsigned long long)chance[1]);
    snprintf(d->model, sizeof d->model, "%s", model);
    snprintf(d->lease_ms, sizeof d->lease_ms, "%.0f", address->lease_seconds * 1000);
    if (!dial(d, why)) {
        close_database(d);
        return 0;
    }
    *index = (store_index){.self = d,
                           .lease_seconds = address->lease_seconds,
                           .lease = lease,
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
#endif
