/* support_server.c: see support_server.h. */
#include "support_server.h"
#include "support_cli.h"
#include "support_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVERS = 64 };
static pid_t running[SERVERS];

support_server support_server_start(const char *options) {
    support_server server;
    char line[2048];
    unlink("out"); /* what another one said */
    snprintf(line, sizeof line, "serve --port 0 --json %s", options);
    server.child = support_cli_start("%s", line);
    for (size_t i = 0; i < SERVERS; i++)
        if (!running[i]) {
            running[i] = server.child;
            break;
        }
    support_wait_for("out", "}");
    char *said = support_text_of("out");
    json_t *object = json_loads(said, 0, NULL);
    server.port = object ? (int)json_integer_value(json_object_get(object, "port")) : 0;
    if (!server.port) fail_msg("the server said: %s", said);
    json_decref(object);
    free(said);
    return server;
}

int support_server_end(const support_server *server, int number) {
    kill(server->child, number);
    for (size_t i = 0; i < SERVERS; i++)
        if (running[i] == server->child) running[i] = 0;
    return support_cli_wait(server->child);
}

int support_server_teardown(void **state) {
    for (size_t i = 0; i < SERVERS; i++)
        if (running[i]) kill(running[i], SIGKILL);
    return support_cli_end(state);
}

void support_answer_free(support_answer *answer) {
    free(answer->head);
    free(answer->body);
    *answer = (support_answer){0};
}

int support_try_to_connect(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) fail_msg("no socket: %s", strerror(errno));
    if (!connect(fd, (struct sockaddr *)&address, sizeof address)) return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

int support_connect(int port) {
    int fd = support_try_to_connect(port);
    if (fd < 0) fail_msg("no connection to port %d: %s", port, strerror(errno));
    return fd;
}

void support_send(int fd, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes) {
        ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* the server has had enough; what it answered says why */
        at += n;
        bytes -= (size_t)n;
    }
}

/* Chunks [bytes] become what they hold, in place. */
static size_t join_chunks(char *body, size_t bytes) {
    size_t from = 0, to = 0;
    while (from < bytes) {
        char *end;
        size_t n = strtoul(body + from, &end, 16);
        from = (size_t)(end - body) + 2;
        if (!n || from + n > bytes) break;
        memmove(body + to, body + from, n);
        to += n;
        from += n + 2;
    }
    body[to] = 0;
    return to;
}

support_answer support_receive(int fd) {
    support_answer answer = {0};
    size_t capacity = 1 << 16, bytes = 0;
    char *all = malloc(capacity);
    for (;;) {
        if (bytes + 1 == capacity) all = realloc(all, capacity *= 2);
        assert_non_null(all);
        ssize_t n = recv(fd, all + bytes, capacity - bytes - 1, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        bytes += (size_t)n;
    }
    close(fd);
    all[bytes] = 0;
    char *end = strstr(all, "\r\n\r\n");
    if (end && sscanf(all, "HTTP/1.%*d %d", &answer.status) == 1) {
        end[2] = 0;
        answer.head = strdup(all);
        answer.bytes = bytes - (size_t)(end + 4 - all);
        answer.body = malloc(answer.bytes + 1);
        assert_non_null(answer.body);
        memcpy(answer.body, end + 4, answer.bytes + 1);
        if (strstr(answer.head, "Transfer-Encoding: chunked")) answer.bytes = join_chunks(answer.body, answer.bytes);
    }
    free(all);
    return answer;
}

support_answer support_ask_as(int port, const char *method, const char *path, const char *headers, const char *body,
                              size_t bytes) {
    char head[2048];
    int fd = support_connect(port);
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\nConnection: close\r\n%s%s", method, path,
                     strstr(headers, "Host:") ? "" : "Host: localhost\r\n", headers);
    if (body) n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", bytes);
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    support_send(fd, head, (size_t)n);
    if (body) support_send(fd, body, bytes);
    return support_receive(fd);
}

support_answer support_ask(int port, const char *path, const char *body) {
    return body ? support_ask_as(port, "POST", path, "Content-Type: application/json\r\n", body, strlen(body))
                : support_ask_as(port, "GET", path, "", NULL, 0);
}

json_t *support_ask_json(int port, const char *path, const char *body) {
    support_answer answer = support_ask(port, path, body);
    json_t *object = answer.status == 200 ? json_loadb(answer.body, answer.bytes, 0, NULL) : NULL;
    if (!object) fail_msg("%s %.200s: status %d: %.400s", path, body ? body : "", answer.status, answer.body);
    support_answer_free(&answer);
    return object;
}

void support_answer_refused(const support_answer *answer, int status, const char *field, const char *words) {
    if (answer->status != status)
        fail_msg("status %d, not %d: %.400s", answer->status, status, answer->body ? answer->body : "");
    json_t *object = json_loadb(answer->body, answer->bytes, 0, NULL), *error = json_object_get(object, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    const json_t *param = json_object_get(error, "param");
    if (!message || !strstr(message, words)) fail_msg("\"%s\" lacks \"%s\"", message ? message : answer->body, words);
    assert_true(json_is_string(json_object_get(error, "type")) && json_is_string(json_object_get(error, "code")));
    if (field)
        assert_string_equal(json_string_value(param), field);
    else
        assert_true(json_is_null(param));
    json_decref(object);
}

const json_t *support_choice(const json_t *answer, size_t index) {
    return json_array_get(json_object_get(answer, "choices"), index);
}

void support_ask_refused(int port, const char *path, const char *body, int status, const char *field,
                         const char *words) {
    support_answer answer = support_ask(port, path, body);
    support_answer_refused(&answer, status, field, words);
    support_answer_free(&answer);
}

double support_metric(int port, const char *name) {
    support_answer answer = support_ask(port, "/metrics", NULL);
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = answer.status == 200 ? strstr(answer.body, line) : NULL;
    if (!at) fail_msg("/metrics lacks %s", name);
    double value = strtod(at + strlen(line), NULL);
    support_answer_free(&answer);
    return value;
}

void support_wait_for_metric(int port, const char *name, double least) {
    for (int i = 0; i < 6000; i++) {
        if (support_metric(port, name) >= least) return;
        usleep(10000);
    }
    fail_msg("%s stays below %g", name, least);
}

void support_send_completion(int fd, const char *body) {
    char head[256];
    int n = snprintf(head, sizeof head,
                     "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                     strlen(body));
    support_send(fd, head, (size_t)n);
    support_send(fd, body, strlen(body));
}

json_t *support_events(const support_answer *answer) {
    json_t *events = json_array();
    int done = 0;
    assert_int_equal(answer->status, 200);
    assert_non_null(strstr(answer->head, "Content-Type: text/event-stream"));
    for (const char *at = answer->body; *at;) {
        const char *end = strstr(at, "\n\n");
        assert_non_null(end);
        assert_false(done);
        if (!strncmp(at, "data: [DONE]", 12)) {
            done = 1;
        } else if (at[0] != ':') {
            assert_memory_equal(at, "data: ", 6);
            json_t *event = json_loadb(at + 6, (size_t)(end - at - 6), 0, NULL);
            if (!event) fail_msg("not JSON: %.200s", at);
            json_array_append_new(events, event);
        }
        at = end + 2;
    }
    assert_true(done);
    return events;
}
