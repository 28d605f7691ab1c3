/* support_server.h: `innerloop serve` as a child process, and clients of it: ordinary ones, and sockets for those that
 * do what no client should. Every call fails the running test when it cannot do its work. */
#ifndef IL_SUPPORT_SERVER_H
#define IL_SUPPORT_SERVER_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct support_server {
    pid_t child;
    int port;
} support_server;

/* Starts it at a free port of 127.0.0.1, with these options; its output goes to the files out and err. */
support_server support_server_start(const char *options);
/* Sends the signal and waits; returns the exit status, or -signal. */
int support_server_end(const support_server *server, int signal);
/* Group teardown in place of support_cli_end: ends those that a failed test has left. */
int support_server_teardown(void **state);

typedef struct support_answer {
    int status; /* 0: the connection ended without an answer */
    char *head; /* lines of headers, released with the rest */
    char *body; /* [bytes] and a NUL; chunks are put together */
    size_t bytes;
} support_answer;
void support_answer_free(support_answer *answer);

/* One request on a connection of its own. body NULL: GET, else POST of JSON. */
support_answer support_ask(int port, const char *path, const char *body);
/* The same with a method and lines of headers of its own, "Name: value\r\n". Host is sent unless they have it. */
support_answer support_ask_as(int port, const char *method, const char *path, const char *headers, const char *body,
                              size_t bytes);
/* Status 200 and JSON, released by json_decref. */
json_t *support_ask_json(int port, const char *path, const char *body);
/* choices[index] of such an answer; NULL: there is none. */
const json_t *support_choice(const json_t *answer, size_t index);
/* Refused with this status, in a body of OpenAI's shape whose param is field (NULL: null) and whose message holds
 * words. */
void support_ask_refused(int port, const char *path, const char *body, int status, const char *field,
                         const char *words);
void support_answer_refused(const support_answer *answer, int status, const char *field, const char *words);
/* A number of /metrics. */
double support_metric(int port, const char *name);

/* Waits, at most a minute, until that number is at least this. */
void support_wait_for_metric(int port, const char *name, double least);

/* A socket to the port; bytes sent; and what comes until the end, as an answer. */
int support_connect(int port);
int support_try_to_connect(int port); /* -1: nobody listens there */
void support_send(int fd, const void *data, size_t bytes);
/* A whole request to POST a completion. */
void support_send_completion(int fd, const char *body);
support_answer support_receive(int fd); /* closes fd */

/* The events of a stream: an array of what stands after "data: ", [DONE] last, which is checked and left out. */
json_t *support_events(const support_answer *answer);

#endif
