/* test_server_redis.c: several servers on one Redis and one folder: any of them goes on with any session, with the same
 * bits, one at a time; what a dead one worked on is taken over. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_redis.h"
#include "support_server.h"

#define MODEL "--model " FIXTURES "/../../models/any --max-tokens 1000000 "
#define JSON "Content-Type: application/json\r\n"

static support_redis redis;
static support_server servers[2];
static int there; /* redis-server is */

static support_server serve(void) {
    char options[300];
    snprintf(options, sizeof options, MODEL "--store redis://127.0.0.1:%d/3?dir=shared&lease=0.9", redis.port);
    return support_server_start(options);
}

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    there = support_redis_start(&redis);
    for (int i = 0; there && i < 2; i++) servers[i] = serve();
    return 0;
}

static int end(void **state) {
    for (int i = 0; there && i < 2; i++) assert_int_equal(support_server_end(&servers[i], SIGTERM), 128 + SIGTERM);
    if (there) support_redis_end(&redis, SIGTERM);
    return support_server_teardown(state);
}

static json_t *ask(int server, int status, const char *method, const char *path, const char *body) {
    support_answer answer =
        support_ask_as(servers[server].port, method, path, body ? JSON : "", body, body ? strlen(body) : 0);
    json_t *object = json_loadb(answer.body, answer.bytes, 0, NULL);
    if (answer.status != status || !object)
        fail_msg("status %d, not %d: %.300s", answer.status, status, answer.body ? answer.body : "");
    support_answer_free(&answer);
    return object;
}

static char *new_session(int server, const char *body) {
    json_t *object = ask(server, 201, "POST", "/v1/sessions", body);
    char *id = strdup(support_string(object, "id"));
    json_decref(object);
    return id;
}

static const char *below(const char *id, const char *what) {
    static char path[120];
    snprintf(path, sizeof path, "/v1/sessions/%s%s", id, what);
    return path;
}

/* Until its time has come. */
static void wait_until_gone(const char *id) {
    for (int i = 0;; i++) {
        support_answer answer = support_ask(servers[1].port, below(id, ""), NULL);
        int status = answer.status;
        support_answer_free(&answer);
        if (status == 404) break;
        if (i == 1000) fail_msg("it does not expire");
        usleep(10000);
    }
}

/* Turn by turn at another server, with the bytes of one that reads all. */
static void any_server_goes_on(void **state) {
    char whole[4000] = "", got[8000] = "";
    (void)state;
    if (!there) skip();
    for (int i = 0; i < 12; i++) sprintf(whole + strlen(whole), "line %d of a log; ", i);
    char body[4200];
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"echo\":true,\"logprobs\":0,\"max_tokens\":0}", whole);
    support_answer all = support_ask(servers[0].port, "/v1/completions", body);
    const char *numbers = strstr(all.body, "\"token_logprobs\":[") + 18;
    char *id = new_session(0, "{\"durable\":true}");
    for (int i = 0; i < 12; i++) {
        snprintf(body, sizeof body, "{\"prompt\":\"line %d of a log; \",\"logprobs\":0}", i);
        support_answer answer = support_ask(servers[(i + 1) % 2].port, below(id, "/feed"), body);
        if (answer.status != 200) fail_msg("status %d: %.300s", answer.status, answer.body);
        const char *at = strstr(answer.body, "\"token_logprobs\":[") + 18;
        sprintf(got + strlen(got), "%s%.*s", i ? "," : "", (int)strcspn(at, "]"), at);
        support_answer_free(&answer);
    }
    assert_int_equal(strlen(got), strcspn(numbers, "]"));
    assert_memory_equal(got, numbers, strlen(got));
    support_answer_free(&all);

    for (int i = 0; i < 500; i++) { /* once it is written both say the same of it */
        json_t *one = ask(0, 200, "GET", "/v1/sessions", NULL), *two = ask(1, 200, "GET", "/v1/sessions", NULL);
        int same = json_equal(one, two);
        assert_int_equal(json_array_size(json_object_get(one, "data")), 1);
        json_decref(one);
        json_decref(two);
        if (same) break;
        if (i == 499) fail_msg("two servers say different things of a session");
        usleep(10000);
    }
    json_decref(ask(0, 200, "DELETE", below(id, ""), NULL));
    json_decref(ask(1, 404, "GET", below(id, ""), NULL));
    free(id);
    id = new_session(0, "{\"ttl\":1000,\"durable\":true}");
    json_decref(ask(1, 200, "GET", below(id, ""), NULL));
    json_decref(ask(1, 200, "PATCH", below(id, ""), "{\"ttl\":1,\"durable\":true}"));
    wait_until_gone(id);
    free(id);
}

/* What one server works on has not expired for the others either, until that is over. On a slow machine the work may
 * begin too late, or the lease be renewed too late: then another session is tried. */
static void busy_sessions_live(void **state) {
    char body[300];
    (void)state;
    if (!there) skip();
    for (int ttl = 1, lives = 0; !lives; ttl *= 2) {
        char begins[13] = "";
        if (ttl > 64) fail_msg("it expires while it is worked on");
        snprintf(body, sizeof body, "{\"prompt\":\"It was\",\"durable\":true,\"ttl\":%d}", ttl);
        char *id = new_session(0, body);
        snprintf(body, sizeof body,
                 "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"ignore_eos\":true,\"stream\":true,"
                 "\"max_tokens\":1000000}",
                 id);
        int fd = support_connect(servers[0].port);
        support_send_completion(fd, body);
        assert_int_equal(recv(fd, begins, sizeof begins - 1, MSG_WAITALL), 12);
        if (!strcmp(begins, "HTTP/1.1 200")) {
            usleep((useconds_t)ttl * 1000000 + 200000);
            support_answer answer = support_ask(servers[1].port, below(id, ""), NULL);
            lives = answer.status == 200;
            support_answer_free(&answer);
        }
        close(fd);
        wait_until_gone(id);
        free(id);
    }
}

/* Only one works on it; when that is killed the other goes on with what was written. */
static void the_dead_are_taken_over(void **state) {
    char body[300];
    (void)state;
    if (!there) skip();
    json_t *before;
    char *id;
    int fd;
    for (int tries = 0;; tries++) {
        id = new_session(0, "{\"prompt\":\"It was a dark\",\"durable\":true}");
        before = ask(1, 200, "GET", below(id, ""), NULL);
        fd = support_connect(servers[0].port);
        double predicted = support_metric(servers[0].port, "innerloop_predicted_tokens_total");
        snprintf(body, sizeof body,
                 "{\"prompt\":\" and\",\"session\":\"%s\",\"keep\":true,\"ignore_eos\":true,\"stream\":true,"
                 "\"max_tokens\":1000000}",
                 id);
        support_send_completion(fd, body);
        support_wait_for_metric(servers[0].port, "innerloop_predicted_tokens_total", predicted + 3);
        /* It is refused after longer than a lease, which is renewed as long as the server lives; on a slow machine that
         * may come too late, and then it is as if it were dead. */
        support_answer answer = support_ask(servers[1].port, below(id, "/feed"), "{\"prompt\":\"x\"}");
        int late = answer.status == 200 && tries < 20;
        if (!late) support_answer_refused(&answer, 409, "session", "another server is at work");
        support_answer_free(&answer);
        if (!late) break;
        close(fd);
        free(id);
        json_decref(before);
    }
    kill(servers[0].child, SIGKILL);
    json_t *after = ask(1, 200, "POST", below(id, "/feed"), "{\"prompt\":\"x\",\"wait\":true,\"durable\":true}");
    assert_int_equal(support_number(after, "position"), support_number(before, "position") + 1);
    assert_int_equal(support_number(after, "generation"), support_number(before, "generation") + 1);
    close(fd);
    support_server_end(&servers[0], SIGKILL);
    servers[0] = serve();
    json_t *again = ask(0, 200, "GET", below(id, "/layers"), NULL);
    assert_string_equal(support_string(again, "fingerprint"), support_string(after, "fingerprint"));
    json_decref(again);
    json_decref(after);
    json_decref(before);
    free(id);
}

/* Until the server answers 200. */
static void feed(int server, const char *id) {
    support_answer answer;
    for (int i = 0, status = 0; status != 200; i++) {
        answer =
            support_ask(servers[server].port, below(id, "/feed"), "{\"prompt\":\"x\",\"wait\":true,\"durable\":true}");
        status = answer.status;
        support_answer_free(&answer);
        if (i == 1000) fail_msg("status %d", status);
        usleep(10000);
    }
}

/* Without Redis nothing is known of sessions, and the rest goes on. */
static void redis_may_fail(void **state) {
    (void)state;
    if (!there) skip();
    char *id = new_session(0, "{\"prompt\":\"It was\",\"durable\":true}");
    support_answer answer;
    for (int killed = 0; killed < 2; killed++) {
        feed(1, id); /* then the first server's lease is given back, and it has to ask for one */
        if (killed)
            support_redis_end(&redis, SIGKILL);
        else
            kill(redis.child, SIGSTOP); /* it does not even refuse */
        answer = support_ask(servers[0].port, below(id, "/feed"), "{\"prompt\":\"x\"}");
        support_answer_refused(&answer, 503, NULL, "neither read nor written");
        support_answer_free(&answer);
        if (killed) break;
        kill(redis.child, SIGCONT);
        feed(0, id); /* it is found again */
    }
    json_decref(ask(0, 200, "GET", "/health", NULL));
    json_decref(ask(0, 200, "POST", "/v1/completions", "{\"prompt\":\"It was\",\"max_tokens\":2}"));
    support_refused(1, "Redis at 127.0.0.1 port 1", "serve " MODEL "--port 0 --store redis://127.0.0.1:1?dir=shared");
    free(id);
}

static void addresses(void **state) {
    static const char *const wrong[] = {"redis://",
                                        "redis://localhost",
                                        "redis://localhost:x?dir=d",
                                        "redis://localhost/a?dir=d",
                                        "redis://localhost?dir=",
                                        "redis://localhost?dir=d&x=1",
                                        "redis://localhost?dir=d&lease=0"};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        support_refused(2, "redis://HOST:PORT/NUMBER?dir=FOLDER", "serve " MODEL "--port 0 --store %s", wrong[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_server_goes_on), cmocka_unit_test(busy_sessions_live),
                                       cmocka_unit_test(the_dead_are_taken_over), cmocka_unit_test(redis_may_fail),
                                       cmocka_unit_test(addresses)};
    return cmocka_run_group_tests(tests, begin, end);
}
