/* http.c: see http.h. libmicrohttpd is driven by a loop of our own, whose epoll set holds libmicrohttpd's and the
 * sockets of suspended connections: it does not watch those itself, so that it would not see a peer leave. As one
 * thread handles both, a socket is never looked at after its connection has ended. */
#include "net/http.h"

#include "common/clock.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HEADER_BYTES_MAX = 32 << 10,
    PIECE = 8 << 10,      /* bytes that one chunk of an answer has at most */
    LOW_WATER = 16 << 10, /* when so little waits, who writes is told */
    SEND_BYTES = 128 << 10,
    EVENTS = 64,
    PEER_LISTS = 256,                    /* of addresses that have connections */
    UPLOADS = 4,                         /* at once */
    UPLOAD_BYTES_PER_SECOND = 128 << 10, /* at least */
    TICK_MS = 1000,
    LINGER_SECONDS = 2
};

#define TLS_VERSIONS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* An address that has connections. */
typedef struct peer {
    unsigned char address[16];
    size_t connections;
    struct peer *next, **link;
} peer;

typedef struct connection {
    int fd;
    double deadline; /* when a request must have come whole; 0: it has */
    int cut;         /* it is to end */
    peer *peer;
    struct connection *next, **link;
} connection;

struct http_exchange {
    http_server *server;
    struct MHD_Connection *connection;
    int watched; /* its socket is in the loop's set */
    char method[16];
    char *path;
    const char *always;
    size_t asker;
    text body;
    int refused, complete;
    int upload;  /* a file for the body; -1: it is kept in memory */
    int counted; /* among the server's uploads */
    uint64_t uploaded, upload_bytes;
    size_t reserved; /* of the bytes of all bodies */

    pthread_mutex_t lock; /* of all below */
    int owners;           /* the connection's side and the answering one */
    int gone, suspended, ended;
    int status; /* 0: not answered yet */
    struct MHD_Response *response;
    int streaming; /* it is, or is about to be */
    text out;      /* [taken, bytes) waits */
    size_t taken;
    http_exchange *next, **link;
};

struct http_server {
    http_options options;
    struct MHD_Daemon *daemon;
    int set;  /* epoll */
    int bell; /* eventfd: a connection was resumed, or the loop is to stop */
    int listener;
    atomic_int stopping;
    pthread_t thread;
    connection *connections; /* the loop's, as all below */
    size_t n_connections;    /* without those that are cut */
    peer *peers[PEER_LISTS];
    http_exchange *exchanges;
    int closed; /* a connection was, so that another one may be taken */
    /* Only the loop adds to these; they count as long as the exchange is there, whoever has left. */
    atomic_size_t bodies_bytes;
    atomic_int uploads; /* files that bodies are written to */
};

/* ---- exchanges ---- */

static void release(http_exchange *e) {
    pthread_mutex_lock(&e->lock);
    int left = --e->owners;
    pthread_mutex_unlock(&e->lock);
    if (left) return;
    atomic_fetch_sub(&e->server->bodies_bytes, e->reserved);
    atomic_fetch_sub(&e->server->uploads, e->counted);
    if (e->response) MHD_destroy_response(e->response);
    pthread_mutex_destroy(&e->lock);
    free(e->path);
    text_free(&e->body);
    text_free(&e->out);
    if (e->upload >= 0) close(e->upload);
    free(e);
}

static void ring(http_server *s) {
    uint64_t one = 1;
    ssize_t ignored = write(s->bell, &one, sizeof one);
    (void)ignored;
}

/* With the lock held. */
static void resume(http_exchange *e) {
    if (!e->suspended) return;
    e->suspended = 0;
    MHD_resume_connection(e->connection);
    ring(e->server);
}

static http_exchange *exchange_new(http_server *s, struct MHD_Connection *c, const char *method, const char *path) {
    http_exchange *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->path = strdup(path);
    if (!e->path || pthread_mutex_init(&e->lock, NULL)) {
        free(e->path);
        free(e);
        return NULL;
    }
    snprintf(e->method, sizeof e->method, "%s", method);
    e->server = s;
    e->connection = c;
    e->upload = -1;
    e->owners = 1;
    e->next = s->exchanges;
    e->link = &s->exchanges;
    if (e->next) e->next->link = &e->next;
    s->exchanges = e;
    return e;
}

static void add_headers(struct MHD_Response *response, const char *headers) {
    for (const char *line = headers; line && *line;) {
        char name[64], value[512];
        const char *colon = strchr(line, ':'), *end = strstr(line, "\r\n");
        snprintf(name, sizeof name, "%.*s", (int)(colon - line), line);
        snprintf(value, sizeof value, "%.*s", (int)(end - colon - 2), colon + 2);
        MHD_add_response_header(response, name, value);
        line = end + 2;
    }
}

static void set_response(http_exchange *e, int status, const char *type, const char *headers,
                         struct MHD_Response *response) {
    pthread_mutex_lock(&e->lock);
    e->status = status;
    e->response = response;
    if (!response) {
        e->gone = 1; /* no memory even for an answer: the connection is closed */
    } else {
        if (!headers || !strstr(headers, "Content-Type: ")) MHD_add_response_header(response, "Content-Type", type);
        add_headers(response, headers);
        add_headers(response, e->always);
    }
    resume(e);
    pthread_mutex_unlock(&e->lock);
}

void http_answer(http_exchange *e, int status, const char *headers, text *body) {
    struct MHD_Response *response = NULL;
    if (!body->failed && (body->data || !body->bytes))
        response = MHD_create_response_from_buffer(body->bytes, body->data, MHD_RESPMEM_MUST_FREE);
    if (response)
        *body = (text){0};
    else
        text_free(body);
    set_response(e, status, "application/json", headers, response);
    release(e);
}

void http_answer_file(http_exchange *e, int status, const char *headers, int fd, uint64_t bytes) {
    struct MHD_Response *response = MHD_create_response_from_fd64(bytes, fd);
    if (!response) close(fd);
    set_response(e, status, "application/octet-stream", headers, response);
    release(e);
}

static ssize_t read_out(void *context, uint64_t position, char *to, size_t room) {
    http_exchange *e = context;
    ssize_t given = 0;
    int drained = 0;
    (void)position;
    pthread_mutex_lock(&e->lock);
    size_t waiting = e->out.bytes - e->taken;
    if (e->gone) {
        given = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (waiting) {
        size_t n = waiting < room ? waiting : room;
        memcpy(to, e->out.data + e->taken, n);
        e->taken += n;
        if (e->taken == e->out.bytes || e->taken > e->out.bytes / 2 + PIECE) {
            text_drop(&e->out, e->taken);
            e->taken = 0;
        }
        drained = waiting > LOW_WATER && waiting - n <= LOW_WATER;
        given = (ssize_t)n;
    } else if (e->ended) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        e->suspended = 1;
        MHD_suspend_connection(e->connection);
    }
    pthread_mutex_unlock(&e->lock);
    if (drained) e->server->options.wake(e->server->options.user);
    return given;
}

void http_begin(http_exchange *e, const char *headers) {
    char lines[700];
    snprintf(lines, sizeof lines, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n%s", headers ? headers : "");
    pthread_mutex_lock(&e->lock);
    e->streaming = 1;
    pthread_mutex_unlock(&e->lock);
    set_response(e, 200, "text/event-stream", lines,
                 MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, read_out, e, NULL));
}

size_t http_write(http_exchange *e, const void *data, size_t bytes) {
    pthread_mutex_lock(&e->lock);
    if (!e->gone) text_add(&e->out, data, bytes);
    if (e->out.failed) e->gone = 1;
    size_t waiting = e->out.bytes - e->taken;
    resume(e);
    pthread_mutex_unlock(&e->lock);
    return waiting;
}

void http_end(http_exchange *e) {
    pthread_mutex_lock(&e->lock);
    e->ended = 1;
    resume(e);
    pthread_mutex_unlock(&e->lock);
    release(e);
}

void http_set_asker(http_exchange *e, size_t asker) { e->asker = asker; }
size_t http_asker(const http_exchange *e) { return e->asker; }
void http_always(http_exchange *e, const char *headers) { e->always = headers; }

const char *http_method(const http_exchange *e) { return e->method; }
const char *http_path(const http_exchange *e) { return e->path; }
const text *http_body(const http_exchange *e) { return &e->body; }
int http_refused(const http_exchange *e) { return e->refused; }

const char *http_header(const http_exchange *e, const char *name) {
    return MHD_lookup_connection_value(e->connection, MHD_HEADER_KIND, name);
}

const char *http_query(const http_exchange *e, const char *name) {
    return MHD_lookup_connection_value(e->connection, MHD_GET_ARGUMENT_KIND, name);
}

int http_take_upload(http_exchange *e) {
    int fd = e->upload;
    e->upload = -1;
    return fd;
}

int http_gone(http_exchange *e) {
    pthread_mutex_lock(&e->lock);
    int gone = e->gone;
    pthread_mutex_unlock(&e->lock);
    return gone;
}

size_t http_backlog(http_exchange *e) {
    pthread_mutex_lock(&e->lock);
    size_t waiting = e->out.bytes - e->taken;
    pthread_mutex_unlock(&e->lock);
    return waiting;
}

/* ---- connections ---- */

/* Counts a connection of the address; NULL: no memory. */
static peer *peer_join(http_server *s, const struct sockaddr *from) {
    unsigned char address[16] = {0};
    unsigned list = 0;
    if (from->sa_family == AF_INET6)
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 8); /* of one customer */
    else
        memcpy(address, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    for (int i = 0; i < 16; i++) list = list * 31 + address[i];
    peer **first = &s->peers[list % PEER_LISTS], *p = *first;
    while (p && memcmp(p->address, address, sizeof address)) p = p->next;
    if (!p && (p = calloc(1, sizeof *p))) {
        memcpy(p->address, address, sizeof address);
        p->next = *first;
        p->link = first;
        if (p->next) p->next->link = &p->next;
        *first = p;
    }
    if (p) p->connections++;
    return p;
}

static void peer_leave(peer *p) {
    if (--p->connections) return;
    *p->link = p->next;
    if (p->next) p->next->link = p->link;
    free(p);
}

static void cut(http_server *s, connection *k) {
    k->cut = 1;
    s->n_connections--;
    shutdown(k->fd, SHUT_RDWR);
}

/* Whether somebody waits to be connected. */
static int is_waited_for(const http_server *s) {
    struct tcp_info info;
    socklen_t bytes = sizeof info;
    return !getsockopt(s->listener, IPPROTO_TCP, TCP_INFO, &info, &bytes) &&
           info.tcpi_unacked > 0; /* Linux: of accept */
}

/* Where as many are connected as may be, and somebody waits, one that has asked nothing, or not all of it, makes room:
 * of the address that has the most connections that which has been so the longest. */
static void make_room(http_server *s) {
    connection *last = NULL;
    if (s->n_connections < s->options.connections_max || !is_waited_for(s)) return;
    for (connection *k = s->connections; k; k = k->next) {
        if (k->cut || k->deadline <= 0) continue;
        size_t more = k->peer->connections, most = last ? last->peer->connections : 0;
        if (more > most || (more == most && k->deadline < last->deadline)) last = k;
    }
    if (last) cut(s, last);
}

/* ---- what libmicrohttpd calls ---- */

static connection *connection_of(struct MHD_Connection *c) {
    return MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

static void on_connection(void *context, struct MHD_Connection *c, void **mine,
                          enum MHD_ConnectionNotificationCode what) {
    http_server *s = context;
    connection *k = *mine;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        k = calloc(1, sizeof *k);
        if (k &&
            !(k->peer = peer_join(s, MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr))) {
            free(k);
            k = NULL;
        }
        *mine = k; /* without memory the first request is not taken */
        if (!k) return;
        k->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        int most = SEND_BYTES; /* what a slow reader leaves in the system is bounded too */
        setsockopt(k->fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof most);
        k->deadline = clock_seconds() + 2 * s->options.idle_seconds;
        k->next = s->connections;
        k->link = &s->connections;
        if (k->next) k->next->link = &k->next;
        s->connections = k;
        s->n_connections++;
    } else if (k) {
        s->n_connections -= !k->cut;
        peer_leave(k->peer);
        *k->link = k->next;
        if (k->next) k->next->link = k->link;
        free(k);
        *mine = NULL;
        s->closed = 1;
    }
}

/* Makes room for `bytes` of body in all; 0: the body is not kept. */
static int reserve(http_exchange *e, size_t bytes) {
    http_server *s = e->server;
    if (e->refused || bytes <= e->reserved) return !e->refused;
    if (bytes > s->options.body_bytes_max)
        e->refused = 413;
    else if (atomic_load(&s->bodies_bytes) + (bytes - e->reserved) > s->options.bodies_bytes_max)
        e->refused = 503;
    if (e->refused) {
        text_free(&e->body);
        return 0;
    }
    atomic_fetch_add(&s->bodies_bytes, bytes - e->reserved);
    e->reserved = bytes;
    return 1;
}

/* Whether the body, of so many bytes, is to be read. */
static int begin_body(http_exchange *e, uint64_t bytes) {
    http_server *s = e->server;
    e->upload = s->options.upload(s->options.user, e, bytes, &e->refused);
    if (e->upload < 0) return !e->refused && reserve(e, bytes);
    if (atomic_load(&s->uploads) >= UPLOADS) {
        e->refused = 503;
        return 0;
    }
    atomic_fetch_add(&s->uploads, 1);
    e->counted = 1; /* an empty one too */
    e->upload_bytes = bytes;
    connection_of(e->connection)->deadline += (double)bytes / UPLOAD_BYTES_PER_SECOND;
    return 1;
}

/* More of it. */
static void add_body(http_exchange *e, const char *data, size_t bytes) {
    if (e->upload < 0) {
        if (reserve(e, e->body.bytes + bytes)) text_add(&e->body, data, bytes);
        if (e->body.failed && !e->refused) e->refused = 503;
        return;
    }
    if (bytes > e->upload_bytes - e->uploaded) e->refused = 413;
    while (bytes && !e->refused) {
        ssize_t n = write(e->upload, data, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            e->refused = 503;
            break;
        }
        data += n;
        bytes -= (size_t)n;
        e->uploaded += (uint64_t)n;
    }
}

/* The request is there: it is handed on, and the connection waits for the answer. */
static enum MHD_Result complete(http_exchange *e) {
    http_server *s = e->server;
    connection *k = connection_of(e->connection);
    struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = e};
    k->deadline = 0;
    e->complete = 1;
    e->watched = epoll_ctl(s->set, EPOLL_CTL_ADD, k->fd, &event) == 0;
    e->owners = 2;
    s->options.request(s->options.user, e);
    pthread_mutex_lock(&e->lock);
    if (!e->status && !e->gone) {
        e->suspended = 1;
        MHD_suspend_connection(e->connection);
    }
    pthread_mutex_unlock(&e->lock);
    return MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *bytes, void **mine) {
    http_server *s = context;
    http_exchange *e = *mine;
    (void)version;
    if (!connection_of(c)) return MHD_NO;
    if (!e) {
        e = *mine = exchange_new(s, c, method, path);
        if (!e) return MHD_NO;
        const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
        connection_of(c)->deadline = clock_seconds() + 2 * s->options.idle_seconds;
        if (!length || begin_body(e, strtoull(length, NULL, 10))) return MHD_YES;
        if (complete(e) != MHD_YES) return MHD_NO; /* answered before the body comes, which nobody reads */
    } else if (!e->complete) {
        if (!*bytes) {
            if (complete(e) != MHD_YES) return MHD_NO;
        } else {
            add_body(e, data, *bytes);
            *bytes = 0;
            return MHD_YES;
        }
    }
    pthread_mutex_lock(&e->lock);
    enum MHD_Result result = e->gone ? MHD_NO : MHD_YES;
    struct MHD_Response *response = e->status && !e->gone ? e->response : NULL;
    int status = e->status;
    pthread_mutex_unlock(&e->lock);
    if (!response) return result;
    result = MHD_queue_response(c, (unsigned)status, response);
    return result;
}

static void on_completed(void *context, struct MHD_Connection *c, void **mine, enum MHD_RequestTerminationCode why) {
    http_server *s = context;
    http_exchange *e = *mine;
    connection *k = connection_of(c);
    (void)why;
    if (k) k->deadline = clock_seconds() + 2 * s->options.idle_seconds;
    if (!e) return;
    *mine = NULL;
    if (e->watched && k) epoll_ctl(s->set, EPOLL_CTL_DEL, k->fd, NULL);
    *e->link = e->next;
    if (e->next) e->next->link = e->link;
    pthread_mutex_lock(&e->lock);
    int early = !e->ended && (e->streaming || !e->status);
    e->gone = 1;
    pthread_mutex_unlock(&e->lock);
    release(e);
    if (early) s->options.wake(s->options.user);
}

/* ---- the loop ---- */

static void leave(http_exchange *e) {
    http_server *s = e->server;
    connection *k = connection_of(e->connection);
    if (e->watched && k) epoll_ctl(s->set, EPOLL_CTL_DEL, k->fd, NULL);
    e->watched = 0;
    pthread_mutex_lock(&e->lock);
    e->gone = 1;
    resume(e);
    pthread_mutex_unlock(&e->lock);
    s->options.wake(s->options.user);
}

static void cut_late(http_server *s) {
    double time = clock_seconds();
    for (connection *k = s->connections; k; k = k->next)
        if (k->deadline > 0 && time > k->deadline && !k->cut) cut(s, k);
}

static void *loop(void *context) {
    http_server *s = context;
    double until = 0;
    sigset_t none;
    sigfillset(&none); /* they are the main thread's; a peer that has gone is an error of writing */
    pthread_sigmask(SIG_BLOCK, &none, NULL);
    while (until == 0 || (s->exchanges && clock_seconds() < until)) {
        struct epoll_event events[EVENTS];
        MHD_UNSIGNED_LONG_LONG timeout = TICK_MS;
        if (MHD_get_timeout(s->daemon, &timeout) != MHD_YES || timeout > TICK_MS) timeout = TICK_MS;
        if (until > 0 && timeout > 20) timeout = 20;
        if (s->closed) timeout = 0;
        s->closed = 0;
        int n = epoll_wait(s->set, events, EVENTS, (int)timeout);
        for (int i = 0; i < n; i++) {
            uint64_t times;
            ssize_t ignored = 0;
            if (events[i].data.ptr == &s->bell)
                ignored = read(s->bell, &times, sizeof times);
            else if (events[i].data.ptr != s && events[i].data.ptr != &s->listener)
                leave(events[i].data.ptr);
            (void)ignored;
        }
        if (until == 0 && atomic_load(&s->stopping)) until = clock_seconds() + LINGER_SECONDS;
        MHD_run(s->daemon);
        cut_late(s);
        make_room(s);
    }
    for (http_exchange *e = s->exchanges; e; e = e->next) {
        pthread_mutex_lock(&e->lock);
        e->gone = 1;
        resume(e);
        pthread_mutex_unlock(&e->lock);
    }
    MHD_run(s->daemon);
    return NULL;
}

static void server_free(http_server *s) {
    if (s->daemon) MHD_stop_daemon(s->daemon);
    if (s->set >= 0) close(s->set);
    if (s->bell >= 0) close(s->bell);
    free(s);
}

/* A path with a NUL in it would end there: such a thing stays as it is written, and is no path of the server. */
static size_t unescape(void *context, struct MHD_Connection *c, char *words) {
    (void)context;
    (void)c;
    return strstr(words, "%00") ? strlen(words) : MHD_http_unescape(words);
}

static void quiet(void *context, const char *format, va_list arguments) {
    (void)context;
    (void)format;
    (void)arguments;
}

static int listen_at(http_server *s, char *why, size_t capacity) {
    const http_options *o = &s->options;
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *address;
    char port[8];
    snprintf(port, sizeof port, "%u", o->port);
    int wrong = getaddrinfo(o->host, port, &hints, &address);
    if (wrong) {
        snprintf(why, capacity, "'%s' is not a numeric address: %s", o->host, gai_strerror(wrong));
        return -1;
    }
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (address->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0);
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)o->tls_certificate},
                                   {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)o->tls_key},
                                   {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)TLS_VERSIONS},
                                   {MHD_OPTION_END, 0, NULL}};
    if (o->tls_certificate)
        flags |= MHD_USE_TLS;
    else
        tls[0].option = MHD_OPTION_END;
    errno = 0;
    s->daemon = MHD_start_daemon(
        flags, o->port, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, quiet, NULL,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape, NULL, MHD_OPTION_ARRAY, tls, MHD_OPTION_SOCK_ADDR, address->ai_addr,
        MHD_OPTION_CONNECTION_LIMIT, o->connections_max, MHD_OPTION_CONNECTION_TIMEOUT, o->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADER_BYTES_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s, MHD_OPTION_END);
    if (!s->daemon && o->tls_certificate && !errno)
        snprintf(why, capacity,
                 MHD_is_feature_supported(MHD_FEATURE_TLS) == MHD_YES
                     ? "no TLS: the files of certificate and key are not PEM, or are not of one pair"
                     : "no TLS: this libmicrohttpd was built without it");
    else if (!s->daemon)
        snprintf(why, capacity, "cannot listen at %s port %u: %s", o->host, o->port, strerror(errno));
    freeaddrinfo(address);
    return s->daemon ? 0 : -1;
}

int http_start(const http_options *options, http_server **server, char *why, size_t capacity) {
    http_server *s = calloc(1, sizeof *s);
    *server = NULL;
    snprintf(why, capacity, "no memory for the server");
    if (!s) return -1;
    s->options = *options;
    s->set = epoll_create1(EPOLL_CLOEXEC);
    s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->set < 0 || s->bell < 0 || listen_at(s, why, capacity)) {
        server_free(s);
        return -1;
    }
    struct epoll_event inner = {.events = EPOLLIN, .data.ptr = s}, bell = {.events = EPOLLIN, .data.ptr = &s->bell};
    /* libmicrohttpd looks at it only where it has room. */
    struct epoll_event comes = {.events = EPOLLIN | EPOLLET, .data.ptr = &s->listener};
    s->listener = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_LISTEN_FD)->listen_fd;
    int fd = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    if (epoll_ctl(s->set, EPOLL_CTL_ADD, fd, &inner) || epoll_ctl(s->set, EPOLL_CTL_ADD, s->bell, &bell) ||
        epoll_ctl(s->set, EPOLL_CTL_ADD, s->listener, &comes) || pthread_create(&s->thread, NULL, loop, s)) {
        snprintf(why, capacity, "cannot start the server's thread: %s", strerror(errno));
        server_free(s);
        return -1;
    }
    *server = s;
    return 0;
}

void http_stop(http_server *s) {
    if (!s) return;
    atomic_store(&s->stopping, 1);
    ring(s);
    pthread_join(s->thread, NULL);
    server_free(s);
}

uint16_t http_port(const http_server *s) { return MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port; }
