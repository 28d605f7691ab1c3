/* access.h: who may ask: API keys, and the names by which a browser may have found this server. */
#ifndef SERVER_ACCESS_H
#define SERVER_ACCESS_H

#include "common/problem.h"

/* Which key of the text of keys, one a line, it is, counted from 1; 0: none. Takes as long for a wrong one as for a
 * right one of its length. */
size_t access_key(const char *keys, const char *key, size_t bytes);
/* How many keys the text has. */
size_t access_keys(const char *keys);
/* The key that a request sends, of "Authorization: Bearer KEY" or "X-Api-Key: KEY"; NULL: none. */
const char *access_sent(const char *authorization, const char *x_api_key);
/* Whether that is one of the keys. *which: as access_key counts; 0 without keys. */
int access_check_key(const char *keys, const char *authorization, const char *x_api_key, size_t *which, problem *p);
/* A page of the web that has made its own name stand for this machine (DNS rebinding) is refused: the Host header must
 * be an address, localhost, or one of names. */
int access_check_host(const char *host, const char *const *names, size_t n, problem *p);
/* Whether it is what browsers send as the origin of a page: "https://example.org" or "http://localhost:3000". */
int access_is_origin(const char *origin);
int access_is_address(const char *address); /* a numeric one */
/* Whether only this machine reaches the address. */
int access_is_loopback(const char *address);

#endif
