/* test_server_killed.c: kill -9 while sessions are read, again and again: whatever was acknowledged as durable is there
 * afterwards, and nothing is damaged. $IL_KILL_ROUNDS: how often, 3 without it. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_redis.h"
#include "support_server.h"

enum { CLIENTS = 4 };

static support_server serve(const char *store) {
    char options[400];
    snprintf(options, sizeof options, "--model " FIXTURES "/../../models/any --sessions-bytes 4000000 --store %s",
             store);
    return support_server_start(options);
}

/* What a client was told of its session. */
typedef struct told {
    char id[64], fingerprint[40];
    int generation, position;
} told;

static void note(told *t, const json_t *session) {
    snprintf(t->id, sizeof t->id, "%s", support_string(session, "id"));
    snprintf(t->fingerprint, sizeof t->fingerprint, "%s", support_string(session, "fingerprint"));
    t->generation = (int)support_number(session, "generation");
    t->position = (int)support_number(session, "position");
}

static int send_feed(int port, const told *t, int durable) {
    char head[400], body[100];
    int n = snprintf(body, sizeof body, "{\"prompt\":\"and then %d, \",\"durable\":%s}", t->position,
                     durable ? "true" : "false");
    int m = snprintf(head, sizeof head,
                     "POST /v1/sessions/%s/feed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                     t->id, n, body);
    int fd = support_connect(port);
    support_send(fd, head, (size_t)m);
    return fd;
}

/* Everybody reads on; killed: the server is, after so many microseconds, and who is answered all the same is. */
static void read_on(const support_server *server, told *clients, long killed) {
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) fds[i] = send_feed(server->port, &clients[i], i > 0);
    if (killed >= 0) {
        usleep((useconds_t)killed);
        kill(server->child, SIGKILL);
    }
    for (int i = 0; i < CLIENTS; i++) {
        support_answer answer = support_receive(fds[i]);
        json_t *session = answer.status == 200 ? json_loadb(answer.body, answer.bytes, 0, NULL) : NULL;
        if (session && i > 0)
            note(&clients[i], session);
        else if (!session && killed < 0)
            fail_msg("status %d: %.300s", answer.status, answer.body ? answer.body : "");
        json_decref(session);
        support_answer_free(&answer);
    }
}

/* Whoever was told that it is durable has at least that, and every session can be gone on with. */
static void look(const support_server *server, told *clients) {
    json_t *list = support_ask_json(server->port, "/v1/sessions?limit=1000", NULL), *session;
    size_t i;
    int known = 0;
    json_array_foreach(json_object_get(list, "data"), i, session) {
        char path[128];
        told now;
        note(&now, session);
        for (int k = 0; k < CLIENTS; k++) {
            told *then = &clients[k];
            if (strcmp(then->id, now.id)) continue;
            known++;
            if (now.generation < then->generation) fail_msg("%s: an acknowledged change is lost", now.id);
            if (now.generation == then->generation && k > 0) {
                assert_string_equal(now.fingerprint, then->fingerprint);
                assert_int_equal(now.position, then->position);
            }
            *then = now;
        }
        snprintf(path, sizeof path, "/v1/sessions/%s/layers",
                 now.id); /* its state is read from the file, and checked */
        json_decref(support_ask_json(server->port, path, NULL));
    }
    assert_int_equal(known, CLIENTS);
    json_decref(list);
}

static void kill_often(const char *store) {
    const char *asked = getenv("IL_KILL_ROUNDS");
    int rounds = asked ? atoi(asked) : 3;
    told clients[CLIENTS];
    unsigned chance = 12345;
    support_server server = serve(store);
    for (int i = 0; i < CLIENTS; i++) {
        support_answer answer = support_ask(server.port, "/v1/sessions", "{\"prompt\":\"It was\",\"durable\":true}");
        json_t *session = json_loadb(answer.body, answer.bytes, 0, NULL);
        assert_int_equal(answer.status, 201);
        note(&clients[i], session);
        json_decref(session);
        support_answer_free(&answer);
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 3; i++) read_on(&server, clients, -1);
        chance = chance * 1103515245 + 12345;
        read_on(&server, clients, (chance >> 8) % 60000);
        support_server_end(&server, SIGKILL);
        server = serve(store);
        look(&server, clients);
    }
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
}

static void with_files(void **state) {
    (void)state;
    kill_often("kept");
}

static void with_redis(void **state) {
    support_redis redis;
    char store[100];
    (void)state;
    if (!support_redis_start(&redis)) skip();
    snprintf(store, sizeof store, "redis://127.0.0.1:%d?dir=shared&lease=0.3", redis.port);
    kill_often(store);
    support_redis_end(&redis, SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(with_files), cmocka_unit_test(with_redis)};
    return cmocka_run_group_tests(tests, support_cli_begin, support_server_teardown);
}
