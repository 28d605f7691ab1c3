/* cache.h: sessions that have read the beginnings of prompts, so that what comes again is not read again. A tree of the
 * tokens that were seen, one for each space; a session may stand at any of its nodes. Tokens themselves are compared,
 * so that a session is never taken for that of another text. What an answer says does not depend on it: a session gives
 * the same bits wherever its reading was cut in two.
 *
 * A space is whose prompts may be told from each other by how fast they are read: an API key, and what the request says
 * to keep it apart. Knows no requests; one thread at a time. */
#ifndef SERVER_CACHE_H
#define SERVER_CACHE_H

#include "common/text.h"
#include "innerloop.h"

typedef struct cache cache;

typedef struct cache_stats {
    uint64_t queries, hits; /* tokens that were looked up, and that a session had read */
    size_t sessions, bytes;
} cache_stats;

enum {
    CACHE_SAVED_MIN = 32, /* tokens that a session must save, beyond the one before it */
    CACHE_EVERY = 512     /* where sessions of long prompts may be kept */
};

cache *cache_open(size_t bytes_max); /* NULL: no memory. 0 bytes: it keeps nothing */
void cache_close(cache *c);          /* NULL allowed */

/* A fork of the session that has read most of tokens [n]; returns how many, 0 and NULL: there is none. The tokens are
 * seen from now on. *branch: how many of them were seen before, where no session stands yet, but one is worth keeping;
 * 0: there is no such place. */
size_t cache_find(cache *c, const text *space, const int32_t *tokens, size_t n, il_session **session, size_t *branch);
/* Whether a session that has read tokens [n] should be kept: none stands there, and the tokens since the one before are
 * enough; without `always` also for its size. */
int cache_wants(const cache *c, const text *space, const int32_t *tokens, size_t n, size_t bytes, int always);
/* Takes the session, which has read tokens [n], and keeps or closes it. Others go for it: those that save the least
 * tokens a byte, and that were used longest ago. */
void cache_keep(cache *c, const text *space, const int32_t *tokens, size_t n, il_session *session);
void cache_get_stats(const cache *c, cache_stats *stats);

#endif
