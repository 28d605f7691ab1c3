/* test_server_hostile.c: clients that do what no client should. Each gets an error, or is let go, and the server goes
 * on: the same request before and after has the same answer. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_server.h"

#define SMALL "{\"prompt\":\"It was\",\"max_tokens\":8,\"logprobs\":1,\"seed\":4}"

static support_server server;
static char *expected;

static char *choices(void) {
    support_answer answer = support_ask(server.port, "/v1/completions", SMALL);
    if (answer.status != 200) fail_msg("status %d: %s", answer.status, answer.body ? answer.body : "");
    char *found = strdup(strstr(answer.body, "\"choices\""));
    support_answer_free(&answer);
    return found;
}

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " FIXTURES "/../../models/any --max-body 200000 --max-tokens 20 "
                                  "--idle-seconds 1 --chat-template plain");
    expected = choices();
    return 0;
}

static int end(void **state) {
    free(expected);
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

static void goes_on(void) {
    char *now = choices();
    assert_string_equal(now, expected);
    free(now);
}

/* Sent as they are; then the peer sends no more. */
static void what_is_not_http(void **state) {
    static const char *const requests[] = {
        "",
        "\r\n\r\n\r\n",
        "GET",
        "GET /health",
        "GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02\x01\x01\xFC\x03\x03 a client that speaks TLS",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: abc\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
        "chunked\r\n\r\nffffffffffffffffff\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        "50\r\n\r\n{}",
        "GET /v1/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /%00/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/models/../../x HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/models/%0d%0aX: HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "DELETE /v1/models/any HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    };
    (void)state;
    enum { N = sizeof requests / sizeof *requests };
    int fds[N];
    for (size_t i = 0; i < N; i++) {
        fds[i] = support_connect(server.port);
        support_send(fds[i], requests[i], strlen(requests[i]));
        shutdown(fds[i], SHUT_WR);
        goes_on();
    }
    for (size_t i = 0; i < N; i++) {
        support_answer answer = support_receive(fds[i]);
        if (answer.status && (answer.status < 400 || answer.status > 505))
            fail_msg("%s: %d", requests[i], answer.status);
        support_answer_free(&answer);
    }
    goes_on();
    /* A header that has no end, and one that is too long. */
    char *large = malloc(300000);
    assert_non_null(large);
    memset(large, 'a', 300000);
    memcpy(large, "GET /health HTTP/1.1\r\nX: ", 25);
    for (int i = 0; i < 2; i++) {
        int fd = support_connect(server.port);
        support_send(fd, large, i ? 300000 : 60000);
        if (!i) support_send(fd, "\r\n\r\n", 4);
        shutdown(fd, SHUT_WR);
        support_answer answer = support_receive(fd);
        assert_true(answer.status == 0 || (answer.status >= 400 && answer.status < 500));
        support_answer_free(&answer);
        goes_on();
    }
    free(large);
}

static void what_is_no_request(void **state) {
    static const struct {
        const char *path, *body;
        const char *field; /* NULL: of none */
    } cases[] = {
        {"/v1/completions", "nonsense", NULL},
        {"/v1/completions", "{\"prompt\":\"a\",\"seed\":123456789012345678901234567890}", "seed"},
        {"/v1/completions", "{\"prompt\":\"a\",\"temperature\":1e400}", "temperature"},
        {"/v1/completions", "{\"prompt\":\"\xC3\"}", "prompt"},
        {"/v1/completions", "{\"prompt\":\"\\ud800\"}", "prompt"},
        {"/v1/completions", "{\"prompt\":{\"a\":[1]},\"n\":1}", "prompt"},
        {"/v1/completions", "{\"prompt\":[[[1]]]}", "prompt"},
        {"/v1/completions", "{\"prompt\":\"a\",\"max_tokens\":1e300}", "max_tokens"},
        {"/v1/completions", "{\"model\":5,\"prompt\":\"a\"}", "model"},
        {"/tokenize", "{}", "prompt"},
        {"/tokenize", "{\"prompt\":[1]}", "prompt"},
        {"/tokenize", "{\"content\":5}", "content"},
        {"/detokenize", "{}", "tokens"},
        {"/detokenize", "{\"tokens\":[1,-1]}", "tokens"},
        {"/detokenize", "{\"tokens\":\"a\"}", "tokens"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_ask_refused(server.port, cases[i].path, cases[i].body, 400, cases[i].field, "");
    char *deep = malloc(100001);
    assert_non_null(deep);
    memset(deep, '[', 100000);
    deep[100000] = 0;
    support_ask_refused(server.port, "/v1/completions", deep, 400, NULL, "nested 100000 deep");
    memset(deep, '{', 100000);
    support_ask_refused(server.port, "/tokenize", deep, 400, NULL, "nested 100000 deep");
    memset(deep, ',', 100000);
    support_ask_refused(server.port, "/tokenize", deep, 400, NULL, "not JSON");
    free(deep);
    support_answer answer =
        support_ask_as(server.port, "POST", "/v1/completions", "Content-Type: text/plain\r\n", "{}", 2);
    support_answer_refused(&answer, 415, NULL, "application/json");
    support_answer_free(&answer);
    answer = support_ask_as(server.port, "POST", "/v1/models", "Content-Type: application/json\r\n", "{}", 2);
    support_answer_refused(&answer, 405, NULL, "is asked by GET");
    assert_non_null(strstr(answer.head, "Allow: GET, HEAD\r\n"));
    support_answer_free(&answer);
    support_ask_refused(server.port, "/v1/completions/", "{}", 404, NULL, "is not a path");
    goes_on();
}

/* Every field of every path, given what it cannot be: the error names it. */
static void fields_of_wrong_types(void **state) {
    enum { WRONG = 6 };
    static const char kinds[] = "snhbao"; /* string, number that is not whole, a huge one, true, array, object */
    static const char *const values[] = {"\"\\u0000x\"", "1.5", "1e300", "true", "[{}]", "{\"a\":{}}"};
    /* field:kinds that it may be of, whose ranges are not looked at here */
    static const struct {
        const char *path, *needed, *fields;
    } paths[] = {
        {"/v1/completions", "\"prompt\":\"a\"",
         "n: stream:b stream_options:o max_tokens: min_tokens: temperature:n top_p: top_k: min_p: repetition_penalty:n "
         "presence_penalty:n frequency_penalty:n seed: stop:s stop_token_ids: include_stop_str_in_output:b "
         "ignore_eos:b "
         "logit_bias: add_special_tokens:b return_token_ids:b response_format: model: session: keep:b echo:b logprobs: "
         "prompt:s"},
        {"/v1/chat/completions", "\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]",
         "n: stream:b temperature:n seed: stop:s logprobs:b top_logprobs: messages: response_format: session: keep:b"},
        {"/v1/embeddings", "\"input\":\"a\"", "input:s encoding_format: model: add_special_tokens:b"},
        {"/v1/responses", "\"input\":\"a\"",
         "input:s instructions:s max_output_tokens: temperature:n metadata:o text:o model: top_logprobs: store:b"},
        {"/tokenize", "\"prompt\":\"a\"",
         "prompt:s add_special_tokens:b return_token_strs:b add_special:b with_pieces:b"},
        {"/tokenize", "\"content\":\"a\"", "prompt:s with_pieces:b return_token_strs:b"},
        {"/detokenize", "\"tokens\":[5]", "tokens:"},
        {"/v1/sessions", "", "name: from: ttl: model: wait:b durable: position: prompt:s"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        for (const char *at = paths[i].fields; *at; at += strcspn(at, " "), at += *at == ' ') {
            char field[40], body[300];
            size_t n = strcspn(at, ":"), n_kinds = strcspn(at + n + 1, " ");
            snprintf(field, sizeof field, "%.*s", (int)n, at);
            for (size_t k = 0; k < WRONG; k++) {
                if (memchr(at + n + 1, kinds[k], n_kinds)) continue;
                const char *needed = paths[i].needed, *rest = *needed && strncmp(needed + 1, field, n) ? needed : "";
                snprintf(body, sizeof body, "{\"%s\":%s%s%s}", field, values[k], *rest ? "," : "", rest);
                support_answer answer = support_ask(server.port, paths[i].path, body);
                json_t *object = json_loadb(answer.body, answer.bytes, 0, NULL);
                const char *param = json_string_value(json_object_get(json_object_get(object, "error"), "param"));
                if ((answer.status != 400 && answer.status != 404) || !param || strncmp(param, field, n))
                    fail_msg("%s %s: status %d: %.300s", paths[i].path, body, answer.status, answer.body);
                json_decref(object);
                support_answer_free(&answer);
            }
        }
    goes_on();
}

/* An upload without a byte is one all the same, and its place is free again. */
static void uploads_of_nothing(void **state) {
    (void)state;
    for (int i = 0; i < 10; i++) {
        support_answer answer = support_ask_as(server.port, "PUT", "/v1/sessions", "", "", 0);
        support_answer_refused(&answer, 422, NULL, "the state");
        support_answer_free(&answer);
    }
    goes_on();
}

/* A sound body with some of its bytes changed, cut or doubled: an answer, or an error of the client's. */
static void bodies_that_were_damaged(void **state) {
    static const char sound[] =
        "{\"model\":\"any\",\"prompt\":[\"It was\",\"a \\u00e9t\\u00e9\"],\"n\":2,\"max_tokens\":3,\"temperature\":0.7,"
        "\"top_p\":0.9,\"top_k\":5,\"logprobs\":2,\"echo\":true,\"stop\":[\"x\",\"yz\"],\"seed\":12,\"logit_bias\":{"
        "\"65\":3},"
        "\"stream\":false,\"stream_options\":null,\"presence_penalty\":0.5,\"min_tokens\":1,\"stop_token_ids\":[10]}";
    static const char bytes[] = "{}[]\",:0123456789-.eE\\\xFF nultrf";
    uint32_t random = 1;
    int taken = 0, refused = 0;
    (void)state;
    for (int i = 0; i < 300; i++) {
        char body[2 * sizeof sound];
        size_t n = sizeof sound - 1;
        memcpy(body, sound, sizeof sound);
        for (int k = i % 4; k >= 0; k--) {
            random = random * 1664525u + 1013904223u;
            size_t at = (random >> 8) % n;
            switch (random >> 30) {
            case 0: body[at] = bytes[(random >> 4) % (sizeof bytes - 1)]; break;
            case 1: memmove(body + at, body + at + 1, n - at), n--; break;
            case 2: memmove(body + at + 1, body + at, n - at), n++; break;
            default: n = k ? n : at + 1;
            }
        }
        support_answer answer =
            support_ask_as(server.port, "POST", "/v1/completions", "Content-Type: application/json\r\n", body, n);
        json_t *object = json_loadb(answer.body, answer.bytes, 0, NULL);
        if ((answer.status != 200 && answer.status / 100 != 4) || (!object && answer.body[0] != 'd'))
            fail_msg("status %d: %.*s: %.300s", answer.status, (int)n, body, answer.body);
        taken += answer.status == 200;
        refused += answer.status != 200;
        json_decref(object);
        support_answer_free(&answer);
    }
    assert_true(taken > 10 && refused > 100);
    goes_on();
}

/* Connections that are left half-way, and several requests on one. */
static void connections_of_all_kinds(void **state) {
    enum { N = 40 };
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                               "Content-Length: 500\r\n\r\n{\"prompt\":";
    static const char twice[] =
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nPOST /tokenize HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"prompt\":\"a\"}"
        "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int fds[N];
    (void)state;
    for (int i = 0; i < N; i++) {
        fds[i] = support_connect(server.port);
        support_send(fds[i], head, sizeof head - 1 - (size_t)(i * 2));
        struct linger at_once = {.l_onoff = 1};
        if (i % 2) setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once); /* closed by a reset */
    }
    goes_on();
    for (int i = 0; i < N; i++) close(fds[i]);
    goes_on();
    for (int i = 0; i < N; i++) { /* whole requests whose answer nobody takes */
        int fd = support_connect(server.port);
        support_send_completion(fd, i % 2 ? "{\"prompt\":\"a\",\"stream\":true}" : "{\"prompt\":\"a\",\"n\":3}");
        close(fd);
    }
    goes_on();
    int fd = support_connect(server.port);
    support_send(fd, twice, sizeof twice - 1);
    support_answer answer = support_receive(fd);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.body, "\"tokens\":[256,97]"));
    assert_non_null(strstr(answer.body, "\"object\":\"list\""));
    support_answer_free(&answer);
    goes_on();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_http),         cmocka_unit_test(what_is_no_request),
        cmocka_unit_test(fields_of_wrong_types),    cmocka_unit_test(uploads_of_nothing),
        cmocka_unit_test(bodies_that_were_damaged), cmocka_unit_test(connections_of_all_kinds),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
