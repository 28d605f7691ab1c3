/* test_server_limits.c: every option of `innerloop serve` that bounds it, clients that leave or do not read, and the
 * end by a signal. */
#include "support_test.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_files.h"
#include "support_server.h"

#define MODEL "--model " FIXTURES "/../../models/any "
#define SMALL "{\"prompt\":\"It was\",\"max_tokens\":2}"
/* It goes on as long as it may. */
#define LONG "{\"prompt\":\"It was\",\"max_tokens\":1000000,\"ignore_eos\":true,\"stream\":true"

static void stop(const support_server *server) { assert_int_equal(support_server_end(server, SIGTERM), 128 + SIGTERM); }

/* {"prompt":[7,7,…]…}, released by free. */
static char *long_prompt(size_t tokens, const char *rest) {
    char *body = malloc(2 * tokens + strlen(rest) + 32), *at = body;
    assert_non_null(body);
    at += sprintf(at, "{\"prompt\":[7");
    for (size_t i = 1; i < tokens; i++) at += sprintf(at, ",7");
    sprintf(at, "]%s}", rest);
    return body;
}

static void sizes(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL "--max-body 300 --max-prompt-tokens 10 --max-streams 3");
    char large[400];
    memset(large, ' ', sizeof large);
    large[sizeof large - 1] = 0;
    support_ask_refused(server.port, "/v1/completions", large, 413, NULL, "larger than 300 bytes");
    int fd = support_connect(server.port);
    char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: "
                  "application/json\r\nTransfer-Encoding: chunked\r\n\r\n18f\r\n";
    support_send(fd, head, sizeof head - 1);
    support_send(fd, large, 399);
    support_send(fd, "\r\n0\r\n\r\n", 7);
    support_answer chunked = support_receive(fd);
    support_answer_refused(&chunked, 413, NULL, "larger than 300 bytes");
    support_answer_free(&chunked);
    support_ask_refused(server.port, "/v1/completions", "{\"prompt\":[1,2,3,4,5,6,7,8,9,10,11]}", 400, "prompt",
                        "at most 10 a request");
    support_ask_refused(server.port, "/v1/completions", "{\"prompt\":\"ten letters\"}", 400, "prompt",
                        "at most 10 a request");
    support_ask_refused(server.port, "/v1/completions", "{\"prompt\":\"a\",\"n\":4}", 400, "n", "from 1 to 3");
    json_decref(support_ask_json(server.port, "/v1/completions", "{\"prompt\":\"a\",\"n\":3,\"max_tokens\":2}"));
    stop(&server);
}

static void who_may_ask(void **state) {
    (void)state;
    support_write("keys", "# ours\nsecret-one\nsecret-two\n", 29);
    support_server server = support_server_start(MODEL "--api-key-file keys --host 127.0.0.2");
    support_refused(1, "cannot listen at 127.0.0.2", "serve " MODEL "--host 127.0.0.2 --port %d", server.port);
    stop(&server); /* it was not at 127.0.0.1: there is no one there */

    server = support_server_start(MODEL "--api-key-file keys --host 0.0.0.0");
    support_answer answer = support_ask(server.port, "/v1/completions", SMALL);
    support_answer_refused(&answer, 401, NULL, "an API key is needed");
    assert_non_null(strstr(answer.head, "WWW-Authenticate: Bearer"));
    support_answer_free(&answer);
    support_ask_refused(server.port, "/v1/models", NULL, 401, NULL, "an API key is needed");
    json_decref(support_ask_json(server.port, "/health", NULL));
    static const char *const headers[] = {
        "Content-Type: application/json\r\nAuthorization: Bearer secret-two\r\n",
        "Content-Type: application/json\r\nX-Api-Key: secret-one\r\nHost: any.example\r\n",
        "Content-Type: application/json\r\nAuthorization: Bearer secret\r\n"};
    for (int i = 0; i < 3; i++) {
        answer = support_ask_as(server.port, "POST", "/v1/completions", headers[i], SMALL, strlen(SMALL));
        assert_int_equal(answer.status, i < 2 ? 200 : 401);
        support_answer_free(&answer);
    }
    stop(&server);

    support_refused(2, "(--api-key-file FILE)", "serve " MODEL "--host 0.0.0.0 --port 0");
    support_refused(1, "a model of pictures, and this is of texts: 'innerloop generate'",
                    "serve --model " FIXTURES "/../../models/digits --port 0");
    support_refused(2, "is not a numeric address", "serve " MODEL "--host localhost --port 0 --open");
    support_write("none", "# nothing\n", 10);
    support_refused(2, "has no key", "serve " MODEL "--api-key-file none --port 0");
    server = support_server_start(MODEL "--host 0.0.0.0 --open --allow-host model.example");
    static const char *const hosts[] = {"Host: model.example:8080\r\n", "Host: localhost\r\n",
                                        "Host: evil.example\r\n"};
    for (int i = 0; i < 3; i++) {
        answer = support_ask_as(server.port, "GET", "/health", hosts[i], NULL, 0);
        assert_int_equal(answer.status, i < 2 ? 200 : 403);
        support_answer_free(&answer);
    }
    stop(&server);
}

/* Pages of other origins may ask where they were named, and only they. */
static void pages_of_other_origins(void **state) {
    (void)state;
    support_write("keys", "secret\n", 7);
    support_server server = support_server_start(MODEL "--api-key-file keys --cors https://a.example --cors "
                                                       "http://localhost:3000");
    static const struct {
        const char *origin;
        int allowed;
    } origins[] = {{"https://a.example", 1},           {"http://localhost:3000", 1}, {"https://b.example", 0},
                   {"https://a.example.b.example", 0}, {"http://a.example", 0},      {"null", 0}};
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        char headers[256], allows[128];
        snprintf(allows, sizeof allows, "Access-Control-Allow-Origin: %s\r\n", origins[i].origin);
        snprintf(headers, sizeof headers, "Origin: %s\r\nAccess-Control-Request-Method: POST\r\n", origins[i].origin);
        support_answer answer = support_ask_as(server.port, "OPTIONS", "/v1/completions", headers, NULL, 0);
        assert_int_equal(answer.status, origins[i].allowed ? 204 : 401);
        assert_true((strstr(answer.head, allows) != NULL) == origins[i].allowed);
        assert_true((strstr(answer.head, "Access-Control-Allow-Headers: Authorization, *\r\n") != NULL) ==
                    origins[i].allowed);
        assert_true((strstr(answer.head, "Access-Control-") != NULL) == origins[i].allowed);
        support_answer_free(&answer);
        snprintf(headers, sizeof headers,
                 "Origin: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer secret\r\n", origins[i].origin);
        static const char *const bodies[] = {SMALL, "{\"prompt\":\"It was\",\"max_tokens\":2,\"stream\":true}", "{}"};
        for (int k = 0; k < 3; k++) { /* an answer, a stream and an error */
            answer = support_ask_as(server.port, "POST", "/v1/completions", headers, bodies[k], strlen(bodies[k]));
            assert_int_equal(answer.status, k < 2 ? 200 : 400);
            assert_true((strstr(answer.head, allows) != NULL) == origins[i].allowed);
            assert_true((strstr(answer.head, "Vary: Origin\r\n") != NULL) == origins[i].allowed);
            support_answer_free(&answer);
        }
    }
    stop(&server);
    support_refused(2, "'*' is not an origin", "serve " MODEL "--port 0 --cors '*'");
    support_refused(2, "is not an origin", "serve " MODEL "--port 0 --cors https://a.example/");
    support_refused(2, "is not an origin", "serve " MODEL "--port 0 --cors a.example");
}

/* A key that has its answers waits; another one does not. */
static void answers_of_a_key(void **state) {
    (void)state;
    support_write("keys", "one\ntwo\n", 8);
    support_server server =
        support_server_start(MODEL "--api-key-file keys --max-tokens 1000000 --max-streams-per-key 2");
    static const char one[] = "Content-Type: application/json\r\nX-Api-Key: one\r\n",
                      two[] = "Content-Type: application/json\r\nX-Api-Key: two\r\n";
    static const char twice[] = "{\"prompt\":\"It was\",\"max_tokens\":2,\"n\":2}";
    for (int i = 0; i < 5; i++) { /* one after the other is no reason to wait */
        support_answer answer = support_ask_as(server.port, "POST", "/v1/completions", one, twice, sizeof twice - 1);
        assert_int_equal(answer.status, 200);
        support_answer_free(&answer);
    }
    int fd = support_connect(server.port);
    char request[400], c;
    int n = snprintf(request, sizeof request,
                     "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %zu\r\n\r\n%s", one,
                     strlen(LONG "}"), LONG "}");
    support_send(fd, request, (size_t)n);
    assert_int_equal(recv(fd, &c, 1, 0), 1); /* it has begun */
    support_answer answer = support_ask_as(server.port, "POST", "/v1/completions", one, twice, sizeof twice - 1);
    support_answer_refused(&answer, 429, NULL, "has 1 answers under way already");
    assert_non_null(strstr(answer.head, "Retry-After: 1\r\n"));
    assert_non_null(strstr(answer.body, "\"rate_limit_exceeded\""));
    support_answer_free(&answer);
    answer = support_ask_as(server.port, "POST", "/v1/completions", one, SMALL, strlen(SMALL)); /* there is one place */
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    answer = support_ask_as(server.port, "POST", "/v1/completions", two, twice, sizeof twice - 1);
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    close(fd);
    for (int i = 0, status = 0; status != 200; i++) { /* until it is noticed that the first has gone */
        answer = support_ask_as(server.port, "POST", "/v1/completions", one, twice, sizeof twice - 1);
        status = answer.status;
        support_answer_free(&answer);
        assert_true(i < 1000);
        if (status != 200) usleep(10000);
    }
    static const char thrice[] = "{\"prompt\":[\"a\",\"b\",\"c\"]}";
    answer = support_ask_as(server.port, "POST", "/v1/completions", one, thrice, sizeof thrice - 1);
    support_answer_refused(&answer, 400, "n", "a key has at most 2 at once");
    support_answer_free(&answer);
    stop(&server);
    support_refused(2, "--api-key-file", "serve " MODEL "--port 0 --max-streams-per-key 2");
}

static void queue_and_connections(void **state) {
    (void)state;
    support_server server =
        support_server_start(MODEL "--max-streams 1 --max-queue 1 --max-tokens 1000000 --max-connections 4");
    int first = support_connect(server.port), second = support_connect(server.port);
    support_send_completion(first, LONG "}");
    support_wait_for_metric(server.port, "innerloop_predicted_tokens_total", 1);
    support_send_completion(second, SMALL);
    support_wait_for_metric(server.port, "innerloop_requests_waiting", 1);
    support_answer answer = support_ask(server.port, "/v1/completions", SMALL);
    support_answer_refused(&answer, 503, NULL, "--max-queue");
    assert_non_null(strstr(answer.head, "Retry-After: 1\r\n"));
    support_answer_free(&answer);

    close(first); /* its place is free at once */
    answer = support_receive(second);
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    stop(&server);
}

/* Those who are connected and ask nothing keep nobody out: the longest silent goes for who comes. Those who are being
 * answered stay, and who comes then waits. */
static void mute_connections(void **state) {
    enum { MUTE = 40 };
    static const char get[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n", rest[] = "Connection: close\r\n\r\n";
    int busy[4], mute[MUTE];
    char c;
    (void)state;
    support_server server = support_server_start(MODEL "--max-tokens 1000000 --max-connections 4");
    for (int i = 0; i < 3; i++) {
        busy[i] = support_connect(server.port);
        support_send_completion(busy[i], LONG "}");
        assert_int_equal(recv(busy[i], &c, 1, 0), 1); /* it has begun */
    }
    for (int i = 0; i < MUTE; i++) {
        mute[i] = support_connect(server.port);
        if (i % 2) support_send(mute[i], get, sizeof get - 1);
    }
    for (int i = 0; i < 3; i++) {
        int fd = support_connect(server.port);
        support_send(fd, get, sizeof get - 1);
        support_send(fd, rest, sizeof rest - 1);
        support_answer answer = support_receive(fd);
        assert_int_equal(answer.status, 200);
        support_answer_free(&answer);
    }
    for (int i = 0; i < MUTE; i++) close(mute[i]);
    busy[3] = support_connect(server.port);
    support_send_completion(busy[3], LONG "}");
    assert_int_equal(recv(busy[3], &c, 1, 0), 1);
    int waits = support_connect(server.port); /* the system takes it, the server does not yet */
    support_send(waits, get, sizeof get - 1);
    support_send(waits, rest, sizeof rest - 1);
    struct pollfd waiting = {.fd = waits, .events = POLLIN};
    if (poll(&waiting, 1, 200)) fail_msg("it is served beyond the limit");
    for (int i = 0; i < 4; i++) assert_true(recv(busy[i], &c, 1, 0) == 1); /* they go on */
    close(busy[0]);
    support_answer answer = support_receive(waits);
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    for (int i = 1; i < 4; i++) close(busy[i]);
    stop(&server);
}

/* Who leaves is not answered any more, whether the prompt is being read or the answer made. */
static void clients_that_leave(void **state) {
    enum { TOKENS = 250000 };
    (void)state;
    support_server server = support_server_start(MODEL "--max-streams 1 --max-tokens 1000000");
    char *body = long_prompt(TOKENS, "");
    int fd = support_connect(server.port);
    support_send_completion(fd, body);
    support_wait_for_metric(server.port, "innerloop_prompt_tokens_total", 1);
    close(fd);
    json_decref(support_ask_json(server.port, "/v1/completions", SMALL)); /* after it, for there is one place */
    assert_true(support_metric(server.port, "innerloop_prompt_tokens_total") < TOKENS / 2);
    free(body);

    fd = support_connect(server.port);
    support_send_completion(fd, LONG "}");
    support_wait_for_metric(server.port, "innerloop_predicted_tokens_total", 10);
    shutdown(fd, SHUT_WR); /* who will send nothing more counts as one who has left */
    json_decref(support_ask_json(server.port, "/v1/completions", SMALL));
    assert_true(support_metric(server.port, "innerloop_predicted_tokens_total") < 500000);
    assert_true(support_metric(server.port, "innerloop_requests_failed_total") == 2);
    support_answer rest = support_receive(fd);
    support_answer_free(&rest);

    double predicted = support_metric(server.port, "innerloop_predicted_tokens_total");
    fd = support_connect(server.port);
    support_send_completion(fd, LONG "}");
    support_wait_for_metric(server.port, "innerloop_predicted_tokens_total", predicted + 10);
    close(fd);
    support_wait_for_metric(server.port, "innerloop_requests_failed_total", 3);
    for (int i = 0; support_metric(server.port, "innerloop_answers_running") > 0; i++) {
        if (i == 1000) fail_msg("an answer that nobody waits for still counts");
        usleep(10000);
    }
    stop(&server);
}

/* A client that does not read keeps nobody waiting, and gets everything when it does. */
static void slow_readers(void **state) {
    enum { TOKENS = 6000 };
    (void)state;
    support_server server = support_server_start(MODEL "--max-tokens 1000000");
    char body[200];
    int fd = support_connect(server.port);
    snprintf(body, sizeof body,
             "{\"prompt\":\"It was\",\"max_tokens\":%d,\"ignore_eos\":true,\"stream\":true,\"logprobs\":20}", TOKENS);
    support_send_completion(fd, body);
    double now = 0;
    for (int i = 0, same = 0; i < 6000 && same < 3; i++) { /* until it has paused */
        double before = now;
        usleep(100000);
        now = support_metric(server.port, "innerloop_predicted_tokens_total");
        same = now > 0 && now == before ? same + 1 : 0;
    }
    assert_true(now > 0 && now < TOKENS);
    json_decref(support_ask_json(server.port, "/v1/completions", SMALL));
    support_answer answer = support_receive(fd);
    json_t *events = support_events(&answer);
    assert_int_equal(json_array_size(events), TOKENS);
    json_decref(events);
    support_answer_free(&answer);
    stop(&server);
}

/* Times that a request and a peer may take. */
static void times(void **state) {
    (void)state;
    support_server server =
        support_server_start(MODEL "--request-seconds 0.3 --max-tokens 1000000 --max-prompt-tokens 1000000");
    char *body = long_prompt(400000, "");
    support_ask_refused(server.port, "/v1/completions", body, 503, NULL, "--request-seconds");
    support_answer answer = support_ask(server.port, "/v1/completions", LONG ",\"logprobs\":0}");
    json_t *events = support_events(&answer);
    const json_t *last = json_array_get(events, json_array_size(events) - 1);
    assert_non_null(strstr(support_string(last, "error.message"), "--request-seconds"));
    json_decref(events);
    support_answer_free(&answer);
    stop(&server);

    server = support_server_start(MODEL "--idle-seconds 1 --max-tokens 1000000 --max-prompt-tokens 1000000");
    int silent = support_connect(server.port), slow = support_connect(server.port), busy = support_connect(server.port);
    char c;
    body[0] = '{';
    support_send_completion(busy, body); /* takes longer than a second, and is not idle */
    support_send(silent, "POST /v1/comp", 13);
    const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        "Content-Length: 1000\r\n\r\n";
    support_send(slow, head, sizeof head - 1);
    int cut = 0;
    for (int i = 0; i < 200 && !cut; i++) { /* a byte now and then */
        support_send(slow, " ", 1);
        usleep(50000);
        cut = recv(slow, &c, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN;
    }
    assert_true(cut);
    support_answer nothing = support_receive(silent);
    assert_true(nothing.status == 0 || nothing.status == 408);
    support_answer_free(&nothing);
    close(slow);
    answer = support_receive(busy);
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    free(body);
    stop(&server);
}

/* While the last answers are being sent it can still be asked how it fares, as monitors do. */
static void asked_to_the_end(void **state) {
    static const char half[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                               "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    (void)state;
    support_server server = support_server_start(MODEL "--store asked");
    int fd = support_connect(server.port), answered = 0;
    support_send(fd, half, sizeof half - 1); /* it waits two seconds for the rest */
    kill(server.child, SIGTERM);
    support_wait_for("err", "in good order");
    for (int gone = 0; !gone;) {
        support_answer answer = {0};
        int asks = support_try_to_connect(server.port);
        gone = asks < 0;
        if (!gone) {
            static const char get[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            support_send(asks, get, sizeof get - 1);
            answer = support_receive(asks);
        }
        answered += answer.status == 200;
        support_answer_free(&answer);
        usleep(20000);
    }
    assert_true(answered > 0);
    close(fd);
    stop(&server);
}

static void signals_end_it_in_good_order(void **state) {
    (void)state;
    char c;
    for (int patient = 0; patient < 2; patient++) {
        support_server server = support_server_start(patient ? MODEL "--max-tokens 3000"
                                                             : MODEL "--max-tokens 1000000 --drain-seconds 0.1");
        int fd = support_connect(server.port);
        support_send_completion(fd, LONG "}");
        assert_int_equal(recv(fd, &c, 1, 0), 1); /* it has begun; the first letter is gone */
        kill(server.child, SIGTERM);
        support_wait_for("err", "in good order");
        if (patient) {
            support_answer answer = support_ask(server.port, "/health", NULL);
            if (answer.status && answer.status != 200) { /* else the signal was slower, or the stream done */
                support_answer_refused(&answer, 503, NULL, "stopping");
                assert_non_null(strstr(answer.head, "Retry-After: "));
            }
            support_answer_free(&answer);
        }
        char *rest = calloc(1, 8 << 20);
        assert_non_null(rest);
        for (size_t bytes = 0, n = 1; (ssize_t)n > 0 && bytes < (8 << 20) - 1; bytes += n)
            if ((ssize_t)(n = (size_t)recv(fd, rest + bytes, (8 << 20) - 1 - bytes, 0)) <= 0) break;
        assert_non_null(strstr(rest, "data: [DONE]"));
        assert_true((strstr(rest, "\"finish_reason\":\"length\"") != NULL) == patient);
        assert_true((strstr(rest, "the server is stopping") != NULL) == !patient);
        free(rest);
        close(fd);
        stop(&server);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(who_may_ask),
        cmocka_unit_test(pages_of_other_origins),
        cmocka_unit_test(answers_of_a_key),
        cmocka_unit_test(queue_and_connections),
        cmocka_unit_test(mute_connections),
        cmocka_unit_test(clients_that_leave),
        cmocka_unit_test(slow_readers),
        cmocka_unit_test(times),
        cmocka_unit_test(asked_to_the_end),
        cmocka_unit_test(signals_end_it_in_good_order),
    };
    return cmocka_run_group_tests(tests, support_cli_begin, support_server_teardown);
}
