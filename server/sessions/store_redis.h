/* store_redis.h: an index of sessions in Redis, which several servers share, each with leases of those that it works
 * on. */
#ifndef SERVER_STORE_REDIS_H
#define SERVER_STORE_REDIS_H

#include "sessions/store.h"

enum { STORE_REDIS_WORD = 256 };
/* redis://[:PASSWORD@]HOST[:PORT][/NUMBER]?dir=PATH[&lease=SECONDS] */
typedef struct store_redis_address {
    char host[STORE_REDIS_WORD], password[STORE_REDIS_WORD], dir[4096];
    int port, number;
    double lease_seconds; /* that another server waits for one that has died */
} store_redis_address;

/* Whether where is such an address at all. */
int store_redis_is(const char *where);
/* 0: why. */
int store_redis_parse(const char *where, store_redis_address *address, store_why *why);
/* Connects, and shows the sessions of the model with this fingerprint. 0: why. */
int store_redis_open(const store_redis_address *address, const char *model, store_index *index, store_why *why);

#endif
