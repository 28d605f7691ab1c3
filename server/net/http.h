/* http.h: HTTP, and nothing of what is served: requests that have come whole, answers whole or in pieces, from any
 * thread. It is the only file that knows libmicrohttpd. One thread of its own does all the reading and writing; nothing
 * here waits for a peer.
 *
 * Who is given an exchange answers it once: by http_answer, or by http_begin, any number of http_write, and http_end.
 * After http_answer or http_end it must not be touched. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "common/text.h"

#include <stdint.h>

typedef struct http_server http_server;
typedef struct http_exchange http_exchange;

typedef struct http_options {
    const char *host;                      /* a numeric address */
    uint16_t port;                         /* 0: any that is free */
    const char *tls_certificate, *tls_key; /* texts of PEM; NULL: no TLS */
    unsigned connections_max;
    size_t body_bytes_max, bodies_bytes_max; /* of one request, and of all together */
    unsigned idle_seconds; /* a peer that neither sends nor takes anything so long is let go; a request must have come
                            * whole in twice that time */
    /* On the thread of HTTP, which must not be kept waiting. */
    void (*request)(void *user, http_exchange *exchange);
    /* At the beginning of a request with a body of so many bytes, before it has come: a file that the body is written
     * to instead of memory, or -1, as usual; *refused: the status of a request whose body is not taken. */
    int (*upload)(void *user, http_exchange *exchange, uint64_t bytes, int *refused);
    /* Any time: a peer has gone, or one that read slowly has taken what waited for it. */
    void (*wake)(void *user);
    void *user;
} http_options;

/* 0, or -1 and what is wrong in why. */
int http_start(const http_options *options, http_server **server, char *why, size_t capacity);
/* Every exchange must have been answered; what is not sent yet has two seconds. */
void http_stop(http_server *server);
/* body [body->bytes] is taken and left empty. headers: lines "Name: value\r\n", NULL: none. Content-Type is
 * application/json unless they say otherwise. */
void http_answer(http_exchange *exchange, int status, const char *headers, text *body);
/* The body is what the file holds, bytes from its beginning, sent as the peer takes it; fd is taken. */
void http_answer_file(http_exchange *exchange, int status, const char *headers, int fd, uint64_t bytes);
/* Server-sent events. */
void http_begin(http_exchange *exchange, const char *headers);
/* Returns the bytes that the peer has not taken yet. */
size_t http_write(http_exchange *exchange, const void *data, size_t bytes);
void http_end(http_exchange *exchange);

/* Who asks, a number of the caller's own; 0 until it is set, in `request`. */
void http_set_asker(http_exchange *exchange, size_t asker);
size_t http_asker(const http_exchange *exchange);
/* Lines that stand in the answer besides those that it is given; lives as long as the server. Only in `request`. */
void http_always(http_exchange *exchange, const char *headers);

/* What it was asked. Headers may be read only in `request`. */
const char *http_method(const http_exchange *exchange);
const char *http_path(const http_exchange *exchange);
const char *http_header(const http_exchange *exchange, const char *name); /* NULL: not there */
/* Of what stands behind the path, ?name=…; NULL: not there. Only in `request`, as headers. */
const char *http_query(const http_exchange *exchange, const char *name);
/* The file with the body, which is then the caller's; -1: it is in memory. */
int http_take_upload(http_exchange *exchange);
const text *http_body(const http_exchange *exchange);
/* 0, or the status of a request whose body was not kept: 413 it is too long, 503 there is no room for it now, or what
 * `upload` said. */
int http_refused(const http_exchange *exchange);
/* Whether nobody waits for the answer any more. */
int http_gone(http_exchange *exchange);
size_t http_backlog(http_exchange *exchange);
uint16_t http_port(const http_server *server);

#endif
