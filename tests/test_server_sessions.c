/* test_server_sessions.c: sessions over HTTP: a text that is read in parts, kept, moved and taken back has the bytes of
 * one that was read at once; what is busy, changed, another's or too much is refused. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support_cli.h"
#include "support_files.h"
#include "support_server.h"

#define MODELS FIXTURES "/../../models"
#define MODEL "--model " MODELS "/any --alias m "
#define JSON "Content-Type: application/json\r\n"

static const char *const parts[] = {"It was a dark and stormy night; ", "the rain fell in torrents, ",
                                    "except at occasional intervals, ", "when it was checked by a gust of wind."};
enum { PARTS = sizeof parts / sizeof *parts };

static void stop(const support_server *server) { assert_int_equal(support_server_end(server, SIGTERM), 128 + SIGTERM); }

static json_t *json_of(support_answer *answer, int status) {
    json_t *object = json_loadb(answer->body, answer->bytes, 0, NULL);
    if (answer->status != status || !object)
        fail_msg("status %d, not %d: %.400s", answer->status, status, answer->body ? answer->body : "");
    support_answer_free(answer);
    return object;
}

static json_t *ask(int port, int status, const char *method, const char *path, const char *body) {
    support_answer answer = support_ask_as(port, method, path, body ? JSON : "", body, body ? strlen(body) : 0);
    return json_of(&answer, status);
}

/* path with the id in place of ID */
static char *path_of(const char *path, const char *id) {
    static char paths[4][200];
    static int next;
    char *to = paths[next++ % 4];
    const char *at = strstr(path, "ID");
    snprintf(to, sizeof paths[0], "%.*s%s%s", at ? (int)(at - path) : (int)strlen(path), path, at ? id : "",
             at ? at + 2 : "");
    return to;
}

static char *new_session(int port, const char *body) {
    json_t *object = ask(port, 201, "POST", "/v1/sessions", body);
    char *id = strdup(support_string(object, "id"));
    assert_string_equal(support_string(object, "object"), "session");
    json_decref(object);
    return id;
}

static void refused(int port, const char *method, const char *path, const char *headers, const char *body, int status,
                    const char *code, const char *words) {
    support_answer answer = support_ask_as(port, method, path, headers, body, body ? strlen(body) : 0);
    json_t *object = json_loadb(answer.body, answer.bytes, 0, NULL), *error = json_object_get(object, "error");
    const char *found = json_string_value(json_object_get(error, "code"));
    const char *message = json_string_value(json_object_get(error, "message"));
    if (answer.status != status || !found || strcmp(found, code) || !strstr(message, words))
        fail_msg("status %d, not %d %s: %.300s", answer.status, status, code, answer.body ? answer.body : "");
    if (status == 409) assert_non_null(strstr(answer.head, "X-Should-Retry: false"));
    json_decref(object);
    support_answer_free(&answer);
}

/* The numbers between the brackets of the first array with this name, and a comma. */
static void add_numbers(char *to, const char *body, const char *name) {
    char field[64];
    snprintf(field, sizeof field, "\"%s\":[", name);
    const char *begin = strstr(body, field);
    if (!begin) fail_msg("no %s: %.300s", name, body);
    begin += strlen(field);
    strncat(to, begin, strcspn(begin, "]"));
    strcat(to, ",");
}

static void feed(int port, const char *id, const char *words, const char *more, char *numbers) {
    char body[300];
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"logprobs\":0%s}", words, more);
    support_answer answer = support_ask(port, path_of("/v1/sessions/ID/feed", id), body);
    assert_int_equal(answer.status, 200);
    add_numbers(numbers, answer.body, "token_logprobs");
    support_answer_free(&answer);
}

/* Logarithms of all parts read at once, and of what is answered then. */
static void expected(int port, char *numbers) {
    char body[600];
    snprintf(body, sizeof body,
             "{\"prompt\":\"%s%s%s%s\",\"logprobs\":0,\"echo\":true,\"max_tokens\":12,\"temperature\":0}", parts[0],
             parts[1], parts[2], parts[3]);
    support_answer answer = support_ask(port, "/v1/completions", body);
    numbers[0] = 0;
    add_numbers(numbers, answer.body, "token_logprobs");
    support_answer_free(&answer);
}

/* Read in parts, with a restart, a move to another server by its file, a fork, a turn that was taken back, and a kept
 * answer between: the bytes of one that never stopped. */
static void one_answer(void **state) {
    static char all[20000], got[20000];
    char body[400];
    (void)state;
    support_server server = support_server_start(MODEL "--store kept"), other = support_server_start(MODEL);
    expected(server.port, all);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"logprobs\":0,\"name\":\"a night\"}", parts[0]);
    support_answer answer = support_ask(server.port, "/v1/sessions", body);
    got[0] = 0;
    add_numbers(got, answer.body, "token_logprobs");
    json_t *object = json_of(&answer, 201);
    char *id = strdup(support_string(object, "id"));
    assert_string_equal(support_string(object, "name"), "a night");
    assert_int_equal(support_number(object, "position"), strlen(parts[0]) + 1); /* with what begins a text */
    json_decref(object);
    stop(&server);
    server = support_server_start(MODEL "--store kept");
    feed(server.port, id, parts[1], "", got);

    object = ask(server.port, 201, "POST", path_of("/v1/sessions/ID/fork", id), "{\"n\":2}");
    const json_t *copies = json_object_get(object, "data");
    assert_int_equal(json_array_size(copies), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(copies, 1), "parent")), id);
    feed(server.port, json_string_value(json_object_get(json_array_get(copies, 0), "id")), "something else", "", body);
    free(id);
    id = strdup(json_string_value(json_object_get(json_array_get(copies, 1), "id")));
    json_decref(object);

    object = ask(server.port, 200, "GET", path_of("/v1/sessions/ID", id), NULL);
    int position = (int)support_number(object, "position");
    json_decref(object);
    feed(server.port, id, "not that", "", body);
    snprintf(body, sizeof body, "{\"position\":%d}", position);
    object = ask(server.port, 200, "POST", path_of("/v1/sessions/ID/rewind", id), body);
    assert_int_equal(support_number(object, "position"), position);
    assert_int_equal(support_number(object, "generation"), 3);
    json_decref(object);

    answer = support_ask(server.port, path_of("/v1/sessions/ID/state", id), NULL);
    assert_int_equal(answer.status, 200);
    assert_non_null(strstr(answer.head, "ETag: \""));
    support_answer moved = support_ask_as(other.port, "PUT", "/v1/sessions?name=moved", "", answer.body, answer.bytes);
    assert_non_null(strstr(answer.head, "application/octet-stream"));
    object = json_of(&moved, 201);
    assert_non_null(strstr(answer.head, support_string(object, "fingerprint")));
    support_answer_free(&answer);
    free(id);
    id = strdup(support_string(object, "id"));
    json_decref(object);
    feed(other.port, id, parts[2], "", got);
    answer = support_ask(other.port, path_of("/v1/sessions/ID/state", id), NULL); /* from memory */
    moved = support_ask_as(server.port, "PUT", "/v1/sessions?durable=true&ttl=1000", "", answer.body, answer.bytes);
    support_answer_free(&answer);
    object = json_of(&moved, 201);
    free(id);
    id = strdup(support_string(object, "id"));
    assert_true(support_number(object, "expires") > 1e9);
    json_decref(object);

    /* An answer to the last part in two: the first is kept, of the second is not. */
    snprintf(body, sizeof body,
             "{\"prompt\":\"%s\",\"session\":\"%s\",\"keep\":true,\"logprobs\":0,\"echo\":true,\"max_tokens\":5,"
             "\"temperature\":0,\"durable\":true}",
             parts[3], id);
    answer = support_ask(server.port, "/v1/completions", body);
    add_numbers(got, answer.body, "token_logprobs");
    object = json_of(&answer, 200);
    assert_int_equal(support_number(object, "session.generation"), 2);
    json_decref(object);
    kill(server.child, SIGKILL);
    support_server_end(&server, SIGKILL);
    server = support_server_start(MODEL "--store kept");
    for (int i = 0; i < 2; i++) { /* twice the same, for it is left alone */
        snprintf(body, sizeof body,
                 "{\"prompt\":\"\",\"session\":\"%s\",\"logprobs\":0,\"echo\":true,\"max_tokens\":7,\"temperature\":0}",
                 id);
        answer = support_ask(server.port, "/v1/completions", body);
        if (i) add_numbers(got, answer.body, "token_logprobs");
        object = json_of(&answer, 200);
        assert_int_equal(support_number(object, "session.generation"), 2);
        json_decref(object);
    }
    assert_string_equal(got, all);
    free(id);
    stop(&server);
    stop(&other);
}

/* The end of a stream says where its session stands; what a stop string cut off is not read. */
static void answers_are_kept(void **state) {
    char body[300];
    (void)state;
    support_server server = support_server_start(MODEL "--chat-template plain");
    char *id = new_session(server.port, "{\"prompt\":\"GET /index.html HTTP/1.1\"}");
    json_t *usual = support_ask_json(server.port, "/v1/completions",
                                     "{\"prompt\":\"GET /index.html HTTP/1.1\",\"max_tokens\":30,\"temperature\":0}");
    const char *text = json_string_value(json_object_get(support_choice(usual, 0), "text"));
    char ends[4] = {text[12], text[13], text[14], 0};
    size_t length = (size_t)(strstr(text, ends) - text);
    json_t *asks = json_pack("{s:s,s:s,s:b,s:b,s:i,s:i,s:s,s:b}", "prompt", "", "session", id, "keep", 1, "stream", 1,
                             "max_tokens", 30, "temperature", 0, "stop", ends, "echo", 0);
    char *words = json_dumps(asks, 0);
    support_answer answer = support_ask(server.port, "/v1/completions", words);
    json_t *events = support_events(&answer), *last = json_array_get(events, json_array_size(events) - 1);
    assert_string_equal(support_string(last, "session.id"), id);
    assert_int_equal(support_number(last, "session.position"), 25 + length);
    assert_true(json_is_null(json_object_get(last, "usage")));
    json_decref(events);
    support_answer_free(&answer);
    snprintf(body, sizeof body, "{\"prompt\":\"\",\"session\":\"%s\",\"max_tokens\":%zu,\"temperature\":0}", id,
             30 - length);
    json_t *rest = support_ask_json(server.port, "/v1/completions", body);
    assert_string_equal(json_string_value(json_object_get(support_choice(rest, 0), "text")), text + length);
    json_decref(rest);
    json_decref(usual);
    json_decref(asks);
    free(words);

    /* A conversation turn by turn is the conversation as a whole. */
    static const char turns[2][200] = {"{\"role\":\"user\",\"content\":\"hello there\"}",
                                       "{\"role\":\"user\",\"content\":\"and now?\"}"};
    char *talk = new_session(server.port, "{}"), said[1200] = "", line[2400];
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line,
                 "{\"messages\":[%s],\"session\":\"%s\",\"keep\":true,\"max_tokens\":20,\"temperature\":0}", turns[i],
                 talk);
        json_t *turn = support_ask_json(server.port, "/v1/chat/completions", line);
        json_t *message = json_object_get(support_choice(turn, 0), "message");
        snprintf(line, sizeof line, "{\"messages\":[%s%s],\"max_tokens\":20,\"temperature\":0}", said, turns[i]);
        json_t *whole = support_ask_json(server.port, "/v1/chat/completions", line);
        assert_string_equal(support_string(message, "content"),
                            support_string(json_object_get(support_choice(whole, 0), "message"), "content"));
        assert_int_equal(support_number(turn, "session.position"), support_number(whole, "usage.total_tokens"));
        char *dumped = json_dumps(message, 0);
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s,%s,", turns[i], dumped);
        free(dumped);
        json_decref(turn);
        json_decref(whole);
    }
    refused(server.port, "POST", "/v1/completions", JSON, "{\"prompt\":\"a\",\"session\":\"ses_0\"}", 404,
            "session_not_found", "no session 'ses_0'");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"n\":2}", id);
    refused(server.port, "POST", "/v1/completions", JSON, body, 400, "invalid_value", "one answer");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"session\":\"%s\",\"durable\":true}", id);
    refused(server.port, "POST", "/v1/completions", JSON, body, 400, "invalid_value", "durable needs");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"durable\":true}", id);
    refused(server.port, "POST", "/v1/completions", JSON, body, 400, "no_store", "--store");
    free(talk);
    free(id);
    stop(&server);
}

/* What a page draws while a text is read. */
static void reading_is_told(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL);
    char *id = new_session(server.port, "{}"), text[3000] = "", body[3200];
    for (int i = 0; i < 60; i++) strcat(text, "A line that is said again and again. ");
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"logprobs\":0,\"stream\":true}", text);
    support_answer answer = support_ask(server.port, path_of("/v1/sessions/ID/feed", id), body);
    json_t *events = support_events(&answer), *event;
    size_t i, read = 0, n = json_array_size(events);
    assert_true(n > 3);
    json_array_foreach(events, i, event) {
        if (i + 1 == n) break;
        size_t some = json_array_size(json_object_get(event, "nll"));
        assert_string_equal(support_string(event, "object"), "session.progress");
        read += some;
        assert_int_equal(support_number(event, "read"), read);
        assert_int_equal(support_number(event, "position"), read);
        assert_int_equal(support_number(event, "total"), strlen(text) + 1);
        json_t *layers = json_object_get(event, "layers"), *layer = json_array_get(layers, 0);
        if (i == 0) assert_int_equal(json_array_size(layers), 2);
        if (i + 2 == n) {
            json_t *same = ask(server.port, 200, "GET", path_of("/v1/sessions/ID/layers", id), NULL);
            assert_true(json_equal(json_object_get(same, "layers"), layers));
            assert_true(support_number(layer, "loss_after") < support_number(layer, "loss_before"));
            json_decref(same);
        }
    }
    assert_int_equal(read, strlen(text) + 1);
    assert_int_equal(support_number(json_array_get(events, n - 1), "position"), read);
    assert_int_equal(support_number(json_array_get(events, n - 1), "generation"), 2);
    json_decref(events);
    support_answer_free(&answer);
    free(id);
    stop(&server);
}

static void one_at_a_time(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL "--max-tokens 1000000");
    char *id = new_session(server.port, "{\"prompt\":\"It was\"}"), body[300];
    char *path = path_of("/v1/sessions/ID/feed", id);
    refused(server.port, "POST", path, JSON "If-Match: 2\r\n", "{\"prompt\":\"a\"}", 409, "generation_conflict",
            "has generation 1");
    refused(server.port, "POST", path, JSON "If-Match: x\r\n", "{\"prompt\":\"a\"}", 400, "invalid_value", "If-Match");
    int fd = support_connect(server.port);
    snprintf(body, sizeof body,
             "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"stream\":true,\"ignore_eos\":true,"
             "\"max_tokens\":1000000}",
             id);
    support_send_completion(fd, body);
    support_wait_for_metric(server.port, "innerloop_predicted_tokens_total", 5);
    refused(server.port, "POST", path, JSON, "{\"prompt\":\"a\"}", 409, "session_busy", "\"wait\": true");
    refused(server.port, "DELETE", path_of("/v1/sessions/ID", id), "", NULL, 409, "session_busy", "at work");
    json_decref(ask(server.port, 200, "GET", path_of("/v1/sessions/ID", id), NULL));
    /* Who waits gets it when the other has left, as it was before. */
    int waiting = support_connect(server.port);
    const char asks[] = "{\"prompt\":\"a\",\"wait\":true}";
    int n = snprintf(body, sizeof body,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" JSON "If-Match: \"1\"\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     path, strlen(asks), asks);
    support_send(waiting, body, (size_t)n);
    usleep(50000);
    close(fd);
    support_answer answer = support_receive(waiting);
    json_t *object = json_of(&answer, 200);
    assert_int_equal(support_number(object, "generation"), 2);
    assert_int_equal(support_number(object, "position"), 8);
    json_decref(object);

    refused(server.port, "POST", path_of("/v1/sessions/ID/rewind", id), JSON, "{\"position\":9}", 400, "rewind_limit",
            "from 0, which is its rewind_limit, to 8");
    refused(server.port, "POST", path_of("/v1/sessions/ID/rewind", id), JSON, "{}", 400, "invalid_value", "position");
    refused(server.port, "POST", path_of("/v1/sessions/ID", id), JSON, "{}", 405, "method_not_allowed", "DELETE");
    refused(server.port, "GET", path_of("/v1/sessions/ID/other", id), "", NULL, 404, "not_found", "not a path");
    /* Who waits when the server ends is told so. */
    fd = support_connect(server.port);
    snprintf(body, sizeof body,
             "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"ignore_eos\":true,\"max_tokens\":1000000}", id);
    support_send_completion(fd, body);
    support_wait_for_metric(server.port, "innerloop_answers_running", 1);
    free(id);
    json_decref(ask(server.port, 200, "GET", "/v1/sessions", NULL));
    close(fd);
    stop(&server);
}

static void lists_and_keys(void **state) {
    (void)state;
    support_write("keys", "one\ntwo\n", 8);
    support_server server = support_server_start(MODEL "--api-key-file keys --store of-keys");
    static const char one[] = JSON "X-Api-Key: one\r\n", two[] = JSON "X-Api-Key: two\r\n";
    char *ids[5], path[100];
    for (int i = 0; i < 5; i++) {
        const char *body = i % 2 ? "{\"durable\":true}" : "{}";
        support_answer answer =
            support_ask_as(server.port, "POST", "/v1/sessions", i < 4 ? one : two, body, strlen(body));
        json_t *object = json_of(&answer, 201);
        ids[i] = strdup(support_string(object, "id"));
        json_decref(object);
    }
    for (int restarts = 0; restarts < 2; restarts++) {
        char after[60] = "";
        for (int i = 0; i < 4; i += 2) {
            snprintf(path, sizeof path, "/v1/sessions?limit=2%s%s", i ? "&after=" : "", after);
            support_answer answer = support_ask_as(server.port, "GET", path, one, NULL, 0);
            json_t *object = json_of(&answer, 200), *data = json_object_get(object, "data");
            assert_int_equal(json_array_size(data), 2);
            assert_int_equal(json_is_true(json_object_get(object, "has_more")), i == 0);
            for (int k = 0; k < 2; k++) {
                const char *id = json_string_value(json_object_get(json_array_get(data, (size_t)k), "id"));
                int known = 0;
                for (int x = 0; x < 4; x++) known |= !strcmp(ids[x], id);
                assert_true(known && strcmp(after, id) < 0);
                snprintf(after, sizeof after, "%s", id);
            }
            json_decref(object);
        }
        refused(server.port, "GET", path_of("/v1/sessions/ID", ids[0]), two, NULL, 403, "session_of_another_key",
                ids[0]);
        refused(server.port, "DELETE", path_of("/v1/sessions/ID", ids[0]), two, NULL, 403, "session_of_another_key",
                "key");
        refused(server.port, "GET", path_of("/v1/sessions/ID", ids[0]), "", NULL, 401, "invalid_api_key", "needed");
        refused(server.port, "PUT", "/v1/sessions", "", "state", 401, "invalid_api_key", "needed");
        refused(server.port, "GET", "/v1/sessions?limit=0", one, NULL, 400, "invalid_value", "from 1 to");
        if (restarts) break;
        stop(&server); /* which writes what is not written */
        server = support_server_start(MODEL "--api-key-file keys --store of-keys");
    }
    support_answer answer = support_ask_as(server.port, "DELETE", path_of("/v1/sessions/ID", ids[0]), one, NULL, 0);
    json_t *object = json_of(&answer, 200);
    assert_true(json_is_true(json_object_get(object, "deleted")));
    json_decref(object);
    refused(server.port, "GET", path_of("/v1/sessions/ID", ids[0]), one, NULL, 404, "session_not_found", "no session");
    for (int i = 0; i < 5; i++) free(ids[i]);
    stop(&server);
}

static void what_is_refused(void **state) {
    static const struct {
        const char *path, *body;
        int status;
        const char *code, *words;
    } cases[] = {
        {"", "{", 400, "invalid_json", "not JSON"},
        {"", "[]", 400, "invalid_json", "object"},
        {"", "{\"from\":5}", 400, "invalid_value", "from"},
        {"", "{\"from\":\"\"}", 404, "session_not_found", "from"},
        {"", "{\"from\":\"ses_\\u0000\"}", 404, "session_not_found", "from"},
        {"", "{\"from\":\"../../etc/passwd\"}", 404, "session_not_found", "no session"},
        {"", "{\"model\":\"x\"}", 404, "model_not_found", "not served"},
        {"", "{\"ttl\":0}", 400, "invalid_value", "ttl"},
        {"", "{\"ttl\":1e300}", 400, "invalid_value", "ttl"},
        {"", "{\"name\":[]}", 400, "invalid_value", "name"},
        {"", "{\"durable\":1}", 400, "invalid_value", "durable"},
        {"", "{\"wait\":\"yes\"}", 400, "invalid_value", "wait"},
        {"", "{\"prompt\":[]}", 400, "invalid_value", "prompt"},
        {"", "{\"prompt\":[1,99999]}", 400, "invalid_value", "not a token"},
        {"/ID/feed", "{}", 400, "invalid_value", "prompt is missing"},
        {"/ID/feed", "{\"prompt\":{}}", 400, "invalid_value", "prompt"},
        {"/ID/feed", "{\"prompt\":\"a\",\"logprobs\":21}", 400, "invalid_value", "logprobs"},
        {"/ID/feed", "{\"prompt\":\"a\",\"n\":2}", 400, "invalid_value", "one prompt"},
        {"/ID/fork", "{\"n\":0}", 400, "invalid_value", "n must be"},
        {"/ID/fork", "{\"n\":1000000}", 400, "invalid_value", "n must be"},
        {"/ID/rewind", "{\"position\":-1}", 400, "invalid_value", "position"},
        {"/ID/rewind", "{\"position\":1e17}", 400, "invalid_value", "position"},
        {"/ID/feed", "{\"prompt\":\"a\",\"durable\":true}", 400, "no_store", "--store"},
        {"/ID/fork", "{\"durable\":true}", 400, "no_store", "--store"},
        {"/ID/rewind", "{\"position\":0,\"durable\":true}", 400, "no_store", "--store"},
        {"/%00/feed", "{\"prompt\":\"a\"}", 404, NULL, ""},
        {"//feed", "{\"prompt\":\"a\"}", 404, NULL, ""},
    };
    (void)state;
    support_server server = support_server_start(MODEL);
    char *id = new_session(server.port, "{\"prompt\":\"It was\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[100];
        snprintf(path, sizeof path, "/v1/sessions%s", cases[i].path);
        if (cases[i].code) {
            refused(server.port, "POST", path_of(path, id), JSON, cases[i].body, cases[i].status, cases[i].code,
                    cases[i].words);
            continue;
        }
        support_answer answer = support_ask(server.port, path, cases[i].body);
        assert_true(answer.status >= 400 && answer.status < 500);
        support_answer_free(&answer);
    }
    refused(server.port, "POST", path_of("/v1/sessions/ID/feed", id), "", "{}", 415, "unsupported_media_type", "JSON");
    json_t *object = ask(server.port, 200, "GET", path_of("/v1/sessions/ID", id), NULL);
    assert_int_equal(support_number(object, "generation"), 1); /* none of it has touched it */
    json_decref(object);
    free(id);
    stop(&server);
}

/* Every bound of sessions and their states. */
static void bounds(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL "--sessions-max 2");
    refused(server.port, "POST", "/v1/sessions", JSON, "{\"durable\":true}", 400, "no_store", "--store");
    free(new_session(server.port, "{}"));
    char *brief = new_session(server.port, "{\"ttl\":1000}");
    refused(server.port, "POST", "/v1/sessions", JSON, "{}", 429, "sessions_full", "--sessions-max");
    json_decref(ask(server.port, 200, "PATCH", path_of("/v1/sessions/ID", brief), "{\"ttl\":1}"));
    for (int i = 0; i < 1000; i++) { /* until its time has come */
        support_answer answer = support_ask(server.port, path_of("/v1/sessions/ID", brief), NULL);
        int status = answer.status;
        support_answer_free(&answer);
        if (status == 404) break;
        usleep(10000);
    }
    for (int i = 0;; i++) {
        support_answer answer = support_ask(server.port, "/v1/sessions", "{}");
        int status = answer.status;
        support_answer_free(&answer);
        if (status == 201) break;
        if (i == 1000) fail_msg("an expired session still counts");
        usleep(10000);
    }
    free(brief);
    refused(server.port, "POST", "/v1/sessions", JSON, "{\"name\":\"a\\u0001\"}", 400, "invalid_value", "control");
    refused(server.port, "POST", "/v1/sessions", JSON, "{\"position\":1}", 400, "invalid_value", "from");
    refused(server.port, "POST", "/v1/sessions", JSON, "{\"prompt\":[\"a\",\"b\"]}", 400, "invalid_value",
            "one prompt");

    /* A state of another model, a damaged one, none, and one that says that it is too large. */
    free(support_done("read --model " MODELS "/reader --save-state reader.ilstate " MODELS "/reader/README.md"));
    size_t bytes;
    char *file = support_read("reader.ilstate", &bytes);
    support_answer answer = support_ask_as(server.port, "PUT", "/v1/sessions", "", file, bytes);
    support_answer_refused(&answer, 422, NULL, "model");
    assert_non_null(strstr(answer.body, "state_mismatch"));
    assert_null(strstr(answer.body, "/proc"));
    support_answer_free(&answer);
    free(file);
    free(support_done("read --model " MODELS "/any --save-state any.ilstate " MODELS "/any/README.md"));
    file = support_read("any.ilstate", &bytes);
    for (size_t at = 0; at < bytes; at += bytes / 5) {
        file[at] ^= 4;
        answer = support_ask_as(server.port, "PUT", "/v1/sessions", "", file, bytes);
        support_answer_refused(&answer, 422, NULL, "the state: ");
        support_answer_free(&answer);
        file[at] ^= 4;
        answer = support_ask_as(server.port, "PUT", "/v1/sessions", "", file, at);
        assert_true(answer.status == 422 || answer.status == 411);
        support_answer_free(&answer);
    }
    free(file);
    answer = support_ask_as(server.port, "PUT", "/v1/sessions", "Content-Length: 100000000000\r\n", NULL, 0);
    support_answer_refused(&answer, 413, NULL, "as none of this model is");
    support_answer_free(&answer);
    int fd = support_connect(server.port);
    static const char chunked[] = "PUT /v1/sessions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    support_send(fd, chunked, sizeof chunked - 1);
    answer = support_receive(fd);
    support_answer_refused(&answer, 411, NULL, "Content-Length");
    support_answer_free(&answer);
    stop(&server);

    server = support_server_start(MODEL "--sessions-bytes 2000000");
    free(new_session(server.port, "{}"));
    refused(server.port, "POST", "/v1/sessions", JSON, "{}", 429, "sessions_full", "--sessions-bytes");
    stop(&server);

    /* With a store they go to the disk instead, and come back. */
    server = support_server_start(MODEL "--store spilled --sessions-bytes 2000000");
    char *ids[4], numbers[2][2000];
    for (int i = 0; i < 4; i++) ids[i] = new_session(server.port, "{\"prompt\":\"It was\"}");
    support_wait_for_metric(server.port, "innerloop_session_writes_total", 4);
    for (int i = 0; support_metric(server.port, "innerloop_sessions_in_memory") > 1; i++) {
        if (i == 500) fail_msg("sessions stay in memory");
        usleep(10000);
    }
    for (int i = 0; i < 4; i++) {
        numbers[i > 0][0] = 0;
        feed(server.port, ids[i], " dark and stormy", "", numbers[i > 0]);
        assert_string_equal(numbers[i > 0], numbers[0]);
        free(ids[i]);
    }
    support_refused(1, "another server keeps its sessions", "serve " MODEL "--port 0 --store spilled");
    support_write("a-file", "x", 1);
    support_refused(1, "a-file", "serve " MODEL "--port 0 --store a-file");
    stop(&server);
}

/* Begins a stream that works on a new session of a brief life, and stops the server until that is over. Where the
 * machine is so slow that the session has gone before the work begins, the next one lives twice as long. ID in path and
 * body is the session's. The socket, of which nothing is read. */
static int outlive(const support_server *server, const char *created, const char *path, const char *body, char **id) {
    for (int ttl = 1;; ttl *= 2) {
        char request[400], begins[13] = "";
        if (ttl > 64) fail_msg("no session lives until work on it begins");
        snprintf(request, sizeof request, "{\"ttl\":%d%s}", ttl, created);
        *id = new_session(server->port, request);
        const char *at = strstr(body, "ID");
        size_t bytes = strlen(body) + (at ? strlen(*id) - 2 : 0);
        char *whole = malloc(bytes + 1);
        assert_non_null(whole);
        sprintf(whole, "%.*s%s%s", at ? (int)(at - body) : (int)strlen(body), body, at ? *id : "", at ? at + 2 : "");
        snprintf(request, sizeof request,
                 "POST %s HTTP/1.1\r\nHost: localhost\r\n" JSON "Connection: close\r\nContent-Length: %zu\r\n\r\n",
                 path_of(path, *id), bytes);
        int fd = support_connect(server->port);
        support_send(fd, request, strlen(request));
        support_send(fd, whole, bytes);
        free(whole);
        if (recv(fd, begins, sizeof begins - 1, MSG_PEEK | MSG_WAITALL) == 12 && !strcmp(begins, "HTTP/1.1 200")) {
            kill(server->child, SIGSTOP);
            usleep((useconds_t)ttl * 1000000 + 200000);
            kill(server->child, SIGCONT);
            return fd;
        }
        if (strcmp(begins, "HTTP/1.1 404")) fail_msg("%s", begins);
        close(fd);
        free(*id);
    }
}

/* Work that takes longer than a session has to live is not lost: the session lives on from when it ends. */
static void outlived(void **state) {
    enum { TEXT = 60000 };
    static char text[TEXT + 1], body[TEXT + 300];
    char *id;
    (void)state;
    support_server server = support_server_start(MODEL "--store outlived");
    memset(text, 'a', TEXT);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"durable\":true,\"stream\":true}", text);
    int fd = outlive(&server, ",\"durable\":true", "/v1/sessions/ID/feed", body, &id);
    support_answer answer = support_receive(fd);
    json_t *events = support_events(&answer);
    assert_int_equal(support_number(json_array_get(events, json_array_size(events) - 1), "generation"), 2);
    json_decref(events);
    support_answer_free(&answer);
    free(id);
    stop(&server);
}

/* While it is being fed a session has not expired, however long that takes. Those that have, and that the index has as
 * long as that one, hide no others from a list. */
static void busy_sessions_live(void **state) {
    static const char body[] = "{\"prompt\":\"a\",\"session\":\"ID\",\"keep\":true,\"stream\":true,"
                               "\"ignore_eos\":true,\"max_tokens\":1000000}";
    char *id, *brief;
    (void)state;
    support_server server = support_server_start(MODEL "--max-tokens 1000000 --store busy");
    int fd = outlive(&server, ",\"prompt\":\"It was\",\"durable\":true", "/v1/completions", body, &id);
    json_t *shown = ask(server.port, 200, "GET", path_of("/v1/sessions/ID", id), NULL);
    assert_int_equal(support_number(shown, "generation"), 1);
    json_decref(shown);
    for (int i = 0; i < 4; i++) free(new_session(server.port, "{\"ttl\":1,\"durable\":true}"));
    brief = new_session(server.port, "{\"ttl\":1,\"durable\":true}");
    char *stays = new_session(server.port, "{}");
    for (int i = 0, status = 200; status != 404; i++) {
        support_answer answer = support_ask(server.port, path_of("/v1/sessions/ID", brief), NULL);
        status = answer.status;
        support_answer_free(&answer);
        if (i == 1000) fail_msg("it does not expire");
        usleep(10000);
    }
    shown = ask(server.port, 200, "GET", "/v1/sessions?limit=2", NULL);
    const json_t *data = json_object_get(shown, "data");
    assert_int_equal(json_array_size(data), 2);
    assert_string_equal(support_string(json_array_get(data, 0), "id"), id);
    assert_string_equal(support_string(json_array_get(data, 1), "id"), stays);
    assert_true(json_is_false(json_object_get(shown, "has_more")));
    json_decref(shown);
    close(fd);
    for (int i = 0; support_metric(server.port, "innerloop_answers_running") > 0 && i < 1000; i++) usleep(10000);
    refused(server.port, "GET", path_of("/v1/sessions/ID", id), "", NULL, 404, "session_not_found", "no session");
    free(stays);
    free(brief);
    free(id);
    stop(&server);
}

/* A state that grows with what it has read has bounds: in tokens, and in memory where there is no store. */
static void growing_states(void **state) {
    enum { TEXT = 600 };
    char text[TEXT + 1], body[TEXT + 100];
    (void)state;
    free(support_done("init --preset tiny --mixer self_attention --tokenizer bytes --out grows"));
    memset(text, 'a', TEXT);
    text[TEXT] = 0;
    snprintf(body, sizeof body, "{\"prompt\":\"%s\"}", text);
    support_server server = support_server_start("--model grows --max-prompt-tokens 1000");
    char *id = new_session(server.port, body);
    refused(server.port, "POST", path_of("/v1/sessions/ID/feed", id), JSON, body, 400, "context_length_exceeded",
            "has read 601 tokens, and the request has 600");
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"session\":\"%s\",\"max_tokens\":1}", text, id);
    refused(server.port, "POST", "/v1/completions", JSON, body, 400, "context_length_exceeded",
            "together at most 1000");
    json_decref(ask(server.port, 200, "POST", path_of("/v1/sessions/ID/feed", id), "{\"prompt\":\"a\"}"));
    double bytes = support_metric(server.port, "innerloop_sessions_memory_bytes");
    free(id);
    stop(&server);

    char options[100];
    snprintf(options, sizeof options, "--model grows --sessions-bytes %.0f", 1.5 * bytes);
    server = support_server_start(options);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\"}", text);
    id = new_session(server.port, body);
    refused(server.port, "POST", path_of("/v1/sessions/ID/feed", id), JSON, body, 429, "sessions_full",
            "--sessions-bytes");
    json_decref(ask(server.port, 200, "POST", path_of("/v1/sessions/ID/feed", id), "{\"prompt\":\"a\"}"));
    free(id);
    stop(&server);
}

/* A session has another name, and another time to live, from when it is said. */
static void sessions_are_renamed(void **state) {
    (void)state;
    support_server server = support_server_start(MODEL "--store renamed");
    char *id = new_session(server.port, "{\"prompt\":\"It was\",\"name\":\"one\",\"ttl\":1000}");
    char *path = strdup(path_of("/v1/sessions/ID", id));
    static const char renames[] = "{\"name\":\"two \\u00e9\",\"durable\":true}";
    support_answer answer =
        support_ask_as(server.port, "PATCH", path, JSON "If-Match: 1\r\n", renames, sizeof renames - 1);
    json_t *object = json_of(&answer, 200);
    assert_string_equal(support_string(object, "name"), "two \xC3\xA9");
    assert_int_equal(support_number(object, "generation"), 2);
    assert_true(support_number(object, "expires") > 1e9);
    json_decref(object);
    kill(server.child, SIGKILL);
    support_server_end(&server, SIGKILL);
    server = support_server_start(MODEL "--store renamed");
    object = ask(server.port, 200, "PATCH", path, "{\"ttl\":0}");
    assert_string_equal(support_string(object, "name"), "two \xC3\xA9");
    assert_true(json_is_null(json_object_get(object, "expires")));
    assert_int_equal(support_number(object, "position"), 7);
    json_decref(object);
    object = ask(server.port, 200, "PATCH", path, "{\"name\":\"\"}");
    assert_true(json_is_null(json_object_get(object, "name")));
    json_decref(object);
    refused(server.port, "PATCH", path, JSON, "{}", 400, "invalid_value", "a name, or a ttl");
    refused(server.port, "PATCH", path, JSON, "{\"name\":\"a\\n\"}", 400, "invalid_value", "control");
    refused(server.port, "PATCH", path, JSON, "{\"name\":5}", 400, "invalid_value", "name");
    refused(server.port, "PATCH", path, JSON, "{\"ttl\":-1}", 400, "invalid_value", "ttl");
    refused(server.port, "PATCH", path, JSON "If-Match: 2\r\n", "{\"name\":\"a\"}", 409, "generation_conflict",
            "has generation 4");
    free(path);
    free(id);
    stop(&server);
}

/* A state that was damaged on the disk is not given to anybody: it is written anew where it is in memory, and else an
 * error, whose file the server's own output names, and no client hears of. */
static void damaged_states(void **state) {
    char path[100];
    size_t bytes, same;
    (void)state;
    support_server server = support_server_start(MODEL "--store damaged");
    json_t *made = ask(server.port, 201, "POST", "/v1/sessions", "{\"prompt\":\"It was\",\"durable\":true}");
    char *id = strdup(support_string(made, "id"));
    const char *fingerprint = support_string(made, "fingerprint");
    snprintf(path, sizeof path, "damaged/%.2s/%s.ilstate", fingerprint, fingerprint);
    json_decref(made);
    char *file = support_read(path, &bytes);
    for (int restarts = 0; restarts < 2; restarts++) {
        file[bytes / 2] ^= 1;
        support_write(path, file, bytes);
        file[bytes / 2] ^= 1;
        support_answer answer = support_ask(server.port, path_of("/v1/sessions/ID/state", id), NULL);
        if (restarts) {
            support_answer_refused(&answer, 500, "session", "is damaged");
            assert_null(strstr(answer.body, "damaged/"));
            refused(server.port, "GET", path_of("/v1/sessions/ID/layers", id), "", NULL, 500, "state_damaged", id);
            char *said = support_text_of("err");
            assert_non_null(strstr(said, path));
            free(said);
        } else {
            assert_int_equal(answer.status, 200);
            assert_int_equal(answer.bytes, bytes);
            assert_memory_equal(answer.body, file, bytes);
            char *now = support_read(path, &same);
            assert_int_equal(same, bytes);
            assert_memory_equal(now, file, bytes);
            free(now);
        }
        support_answer_free(&answer);
        stop(&server);
        if (!restarts) server = support_server_start(MODEL "--store damaged");
    }
    free(file);
    free(id);
}

/* When it ends, a session that cannot be written keeps no other from being written, and it says so. Folders of states
 * are files here, so that none can be written, until one of them makes room. */
static void what_cannot_be_written(void **state) {
    static const char options[] = MODEL "--store no-room --max-tokens 1000000";
    char path[40], *ids[3], middle[3] = "";
    size_t bytes;
    (void)state;
    support_server server = support_server_start(options);
    for (int i = 0; i < 256; i++) {
        snprintf(path, sizeof path, "no-room/%02x", i);
        support_write(path, "x", 1);
    }
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "{\"prompt\":\"%s\"}", (const char *[]){"one", "two", "three"}[i]);
        json_t *made = ask(server.port, 201, "POST", "/v1/sessions", path);
        ids[i] = strdup(support_string(made, "id"));
        if (i == 1) snprintf(middle, sizeof middle, "%.2s", support_string(made, "fingerprint"));
        json_decref(made);
    }
    support_wait_for_metric(server.port, "innerloop_session_write_failures_total", 1);
    static const char feed[] = "{\"prompt\":\" and\",\"durable\":true}";
    support_answer fed =
        support_ask_as(server.port, "POST", path_of("/v1/sessions/ID/feed", ids[0]), JSON, feed, strlen(feed));
    support_answer_refused(&fed, 503, "durable", "gone on to generation 2");
    assert_null(strstr(fed.body, "no-room")); /* which only the operator hears of, once */
    char *told = support_text_of("err");
    const char *once = strstr(told, "no-room/");
    if (!once || strstr(once + 1, "no-room/")) fail_msg("%s", told);
    free(told);
    assert_non_null(strstr(fed.head, "X-Should-Retry: false")); /* which would read it twice */
    support_answer_free(&fed);
    refused(server.port, "POST", "/v1/sessions", JSON, feed, 503, "store_failed", "written"); /* there is none */
    static const char body[] = "{\"prompt\":\"a\",\"session\":\"%s\",\"keep\":true,\"stream\":true,"
                               "\"ignore_eos\":true,\"max_tokens\":1000000}";
    char request[300];
    int busy = support_connect(server.port), waits = support_connect(server.port);
    snprintf(request, sizeof request, body, ids[2]);
    support_send_completion(busy, request);
    support_wait_for_metric(server.port, "innerloop_answers_running", 1);
    snprintf(request, sizeof request,
             "GET /v1/sessions/%s/layers HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", ids[2]);
    support_send(waits, request, strlen(request));
    usleep(1200000); /* so late it would be written before the next one gets it, but that gets it all the same */
    close(busy);
    support_answer layers = support_receive(waits);
    json_decref(json_of(&layers, 200));
    snprintf(path, sizeof path, "no-room/%s", middle);
    unlink(path);
    assert_int_equal(support_server_end(&server, SIGTERM), 1);
    char *said = support_read("err", &bytes);
    if (!strstr(said, "2 sessions") || !strstr(said, "is lost: the store of sessions: ")) fail_msg("%s", said);
    free(said);
    server = support_server_start(options);
    for (int i = 0; i < 3; i++)
        json_decref(ask(server.port, i == 1 ? 200 : 404, "GET", path_of("/v1/sessions/ID", ids[i]), NULL));
    for (int i = 0; i < 3; i++) free(ids[i]);
    stop(&server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_answer),      cmocka_unit_test(answers_are_kept),
        cmocka_unit_test(reading_is_told), cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(lists_and_keys),  cmocka_unit_test(what_is_refused),
        cmocka_unit_test(bounds),          cmocka_unit_test(what_cannot_be_written),
        cmocka_unit_test(outlived),        cmocka_unit_test(busy_sessions_live),
        cmocka_unit_test(growing_states),  cmocka_unit_test(sessions_are_renamed),
        cmocka_unit_test(damaged_states),
    };
    return cmocka_run_group_tests(tests, support_cli_begin, support_server_teardown);
}
