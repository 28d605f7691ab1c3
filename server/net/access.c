/* access.c: see access.h. */
#include "net/access.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The next key of the text; 0: there is none. */
static int next_key(const char **keys, const char **key, size_t *bytes) {
    while (**keys) {
        const char *line = *keys + strspn(*keys, " \t\r"), *end = line + strcspn(line, "\n");
        *keys = end + (*end == '\n');
        *bytes = strcspn(line, " \t\r\n");
        *key = line;
        if (*bytes && line[0] != '#') return 1;
    }
    return 0;
}

size_t access_keys(const char *keys) {
    const char *key;
    size_t bytes, n = 0;
    while (next_key(&keys, &key, &bytes)) n++;
    return n;
}

size_t access_key(const char *keys, const char *key, size_t bytes) {
    const char *known;
    size_t n, found = 0;
    for (size_t which = 1; next_key(&keys, &known, &n); which++) {
        unsigned difference = bytes != n;
        for (size_t i = 0; i < bytes; i++)
            difference |= (unsigned)((unsigned char)key[i] ^ (unsigned char)known[i % n]);
        if (!difference && !found) found = which;
    }
    return found;
}

const char *access_sent(const char *authorization, const char *x_api_key) {
    static const char bearer[] = "Bearer ";
    int bears = authorization && !strncasecmp(authorization, bearer, sizeof bearer - 1);
    return bears ? authorization + sizeof bearer - 1 : x_api_key;
}

int access_check_key(const char *keys, const char *authorization, const char *x_api_key, size_t *which, problem *p) {
    const char *key = access_sent(authorization, x_api_key);
    *which = 0;
    if (!keys) return 1;
    if (key) *which = access_key(keys, key, strlen(key));
    if (*which) return 1;
    return problem_set(p, 401, "invalid_api_key", NULL, "%s",
                       key ? "the API key is not one of this server's"
                           : "an API key is needed: send 'Authorization: Bearer KEY'");
}

static int same_name(const char *name, const char *host, size_t bytes) {
    return strlen(name) == bytes && !strncasecmp(name, host, bytes);
}

int access_check_host(const char *host, const char *const *names, size_t n, problem *p) {
    char address[64];
    size_t bytes = host ? strcspn(host, host[0] == '[' ? "]" : ":") : 0;
    if (!host) return 1; /* HTTP/1.0; no browser */
    const char *name = host[0] == '[' ? host + 1 : host;
    if (host[0] == '[') bytes--;
    snprintf(address, sizeof address, "%.*s", (int)(bytes < sizeof address ? bytes : sizeof address - 1), name);
    if (access_is_address(address)) return 1;
    if (same_name("localhost", name, bytes)) return 1;
    for (size_t i = 0; i < n; i++)
        if (same_name(names[i], name, bytes)) return 1;
    return problem_set(p, 403, "host_not_allowed", NULL,
                       "the Host header is '%.60s', which is not a name of this server (--allow-host)", host);
}

int access_is_origin(const char *origin) {
    const char *host = strstr(origin, "://");
    if (!host || (strncmp(origin, "http:", 5) && strncmp(origin, "https:", 6))) return 0;
    host += 3;
    return *host && strlen(origin) < 256 &&
           !host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]")]; /* browsers send small letters */
}

int access_is_loopback(const char *address) {
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, address, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

int access_is_address(const char *address) {
    unsigned char parsed[16];
    return inet_pton(AF_INET, address, parsed) == 1 || inet_pton(AF_INET6, address, parsed) == 1;
}
