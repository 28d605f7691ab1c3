/* test_server_cache.c: the cache of prompts: which sessions it keeps and gives, whom it tells apart, what goes when it
 * is full; and that answers by it are, byte for byte, those of a server that reads every prompt. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "run/cache.h"
#include "support_cli.h"
#include "support_files.h"
#include "support_server.h"

#define ANY FIXTURES "/../../models/any"

/* ---- the cache alone ---- */

typedef struct fixture {
    il_engine *engine;
    il_model *model;
    size_t bytes; /* of a session */
} fixture;

static fixture fixture_open(void) {
    fixture f;
    il_error error;
    il_session *session;
    il_session_stats stats;
    assert_ok(il_engine_open(NULL, &f.engine, &error), error);
    assert_ok(il_model_load(f.engine, ANY, &f.model, &error), error);
    assert_ok(il_session_open(f.model, NULL, &session, &error), error);
    il_session_get_stats(session, &stats);
    il_session_close(session);
    f.bytes = stats.state_bytes;
    return f;
}

static void fixture_close(fixture *f) {
    il_model_unref(f->model);
    il_engine_close(f->engine);
}

/* Tokens of a text that begins like all others and goes on like those of the same kind from `apart` on. */
static void make_text(int32_t *tokens, size_t n, size_t apart, int kind) {
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)((i * 7 + (i >= apart ? (size_t)kind : 0)) % 256);
}

static void keep(cache *c, const fixture *f, const text *space, const int32_t *tokens, size_t n) {
    il_session *session;
    il_error error;
    assert_ok(il_session_open(f->model, NULL, &session, &error), error);
    assert_ok(il_session_feed(session, tokens, n, NULL, NULL, &error), error);
    cache_keep(c, space, tokens, n, session);
}

static size_t find(cache *c, const text *space, const int32_t *tokens, size_t n, size_t *branch) {
    il_session *session;
    size_t found = cache_find(c, space, tokens, n, &session, branch);
    assert_true((session != NULL) == (found > 0));
    if (session) assert_int_equal(il_session_position(session), found);
    il_session_close(session);
    return found;
}

static void longest_beginnings_are_found(void **state) {
    fixture f = fixture_open();
    cache *c = cache_open(1 << 30);
    text here = {.data = "a", .bytes = 1}, there = {.data = "b", .bytes = 1}, nowhere = {0};
    int32_t a[300], b[300];
    size_t branch;
    (void)state;
    assert_non_null(c);
    make_text(a, 300, 300, 0);
    make_text(b, 300, 130, 1);
    assert_int_equal(find(c, &here, a, 200, &branch), 0); /* never seen */
    assert_int_equal(branch, 0);
    assert_int_equal(find(c, &here, b, 200, &branch), 0); /* seen as far as they are one */
    assert_int_equal(branch, 130);
    assert_int_equal(find(c, &here, a, 200, &branch), 0); /* seen whole: a session before its last token is enough */
    assert_int_equal(branch, 199);
    assert_true(cache_wants(c, &here, a, 130, f.bytes, 1));
    keep(c, &f, &here, a, 130);
    assert_false(cache_wants(c, &here, a, 130, f.bytes, 1));
    assert_false(cache_wants(c, &here, a, 130 + CACHE_SAVED_MIN - 1, f.bytes, 1));
    assert_true(cache_wants(c, &here, a, 130 + CACHE_SAVED_MIN, f.bytes, 1));
    assert_false(cache_wants(c, &here, a, 130 + CACHE_SAVED_MIN, f.bytes, 0)); /* too large for so few tokens */
    assert_int_equal(find(c, &here, b, 200, &branch), 130);
    assert_int_equal(branch, 199);
    assert_int_equal(find(c, &here, b, 130, &branch), 130);
    assert_int_equal(find(c, &here, b, 129, &branch), 0);
    keep(c, &f, &here, b, 250);
    assert_int_equal(find(c, &here, b, 300, &branch), 250);
    assert_int_equal(find(c, &here, a, 300, &branch), 130);
    assert_int_equal(find(c, &there, a, 300, &branch), 0); /* another space has seen nothing */
    assert_int_equal(branch, 0);
    assert_int_equal(find(c, &nowhere, a, 300, &branch), 0);
    assert_int_equal(branch, 0);
    keep(c, &f, &here, b, 250); /* once more: the first stays */
    cache_stats stats;
    cache_get_stats(c, &stats);
    assert_int_equal(stats.sessions, 2);
    assert_true(stats.bytes >= 2 * f.bytes && stats.bytes < 2 * f.bytes + 20000);
    assert_true(stats.hits == 130 + 130 + 250 + 130 && stats.queries == 4 * 200 + 130 + 129 + 4 * 300);
    cache_close(c);
    fixture_close(&f);
}

/* A full cache lets go what saves the least tokens a byte, or was used longest ago. */
static void what_is_worth_least_goes(void **state) {
    enum { KINDS = 8, N = 200 };
    fixture f = fixture_open();
    cache *c = cache_open(3 * f.bytes + f.bytes / 2);
    text space = {0};
    int32_t texts[KINDS][N];
    size_t branch, found[KINDS];
    (void)state;
    for (int k = 0; k < KINDS; k++) make_text(texts[k], N, 3, k);
    for (int k = 0; k < 3; k++) {
        find(c, &space, texts[k], N, &branch);
        keep(c, &f, &space, texts[k], k == 1 ? 60 : N);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(find(c, &space, texts[1], N, &branch), 60);
    keep(c, &f, &space, texts[3], N); /* in place of 0: 200 tokens, but five turns ago; that of 60 was just used */
    for (int k = 0; k < 4; k++) found[k] = find(c, &space, texts[k], N, &branch);
    assert_true(found[0] == 0 && found[1] == 60 && found[2] == N && found[3] == N);
    keep(c, &f, &space, texts[4], N);
    for (int k = 0; k < 5; k++) found[k] = find(c, &space, texts[k], N, &branch);
    assert_true(found[1] == 0 && found[2] == N && found[3] == N && found[4] == N); /* the short one at last */
    cache_stats stats;
    cache_get_stats(c, &stats);
    assert_int_equal(stats.sessions, 3);
    assert_true(stats.bytes <= 3 * f.bytes + f.bytes / 2 + 20000);
    /* What is only seen is bounded too. */
    for (int k = 0; k < 20000; k++) {
        int32_t other[4] = {k % 200, k / 200, 1, 2};
        find(c, &space, other, 4, &branch);
    }
    cache_get_stats(c, &stats);
    assert_true(stats.sessions == 3 && stats.bytes <= 3 * f.bytes + f.bytes / 2 + f.bytes / 16);
    cache_close(c);

    c = cache_open(f.bytes - 1); /* too small for any, and off */
    for (int off = 0; off < 2; off++) {
        find(c, &space, texts[0], N, &branch);
        assert_false(cache_wants(c, &space, texts[0], N, f.bytes, 1));
        keep(c, &f, &space, texts[0], N);
        assert_int_equal(find(c, &space, texts[0], N, &branch), 0);
        cache_get_stats(c, &stats);
        assert_int_equal(stats.sessions, 0);
        cache_close(c);
        c = cache_open(0);
    }
    cache_close(c);
    fixture_close(&f);
}

/* ---- answers ---- */

/* The answer without what may differ: its id, when it was made, and how much was cached. */
static char *stripped(const support_answer *answer, int *cached) {
    char *begin = strstr(answer->body, "\"choices\":["), *end = strstr(answer->body, "\"prompt_tokens_details\":");
    if (answer->status != 200 || !begin || !end) fail_msg("status %d: %.300s", answer->status, answer->body);
    assert_int_equal(sscanf(end, "\"prompt_tokens_details\":{\"cached_tokens\":%d}", cached), 1);
    return strndup(begin, (size_t)(end - begin));
}

/* The same from both servers; returns the tokens that were cached with the first of them. */
static int expect_same(int cached_port, int plain_port, const char *path, const char *body) {
    support_answer a = support_ask(cached_port, path, body), b = support_ask(plain_port, path, body);
    int cached, none;
    char *x = stripped(&a, &cached), *y = stripped(&b, &none);
    assert_string_equal(x, y);
    assert_int_equal(none, 0);
    free(x);
    free(y);
    support_answer_free(&a);
    support_answer_free(&b);
    return cached;
}

static const char words[] = "The road went down to the sea, and nobody had walked there for years. ";

/* {"prompt": so many letters of the words, the rest, …}, released by free. */
static char *request(size_t letters, const char *more, const char *fields) {
    char *body = malloc(letters + strlen(more) + strlen(fields) + 40), *at = body;
    assert_non_null(body);
    at += sprintf(at, "{\"prompt\":\"");
    for (size_t i = 0; i < letters; i++) *at++ = words[i % (sizeof words - 1)];
    sprintf(at, "%s\"%s}", more, fields);
    return body;
}

static int ask(int a, int b, size_t letters, const char *more, const char *fields) {
    char *body = request(letters, more, fields);
    int cached = expect_same(a, b, "/v1/completions", body);
    free(body);
    return cached;
}

/* A prompt of N letters is N + 1 tokens, as there is one that begins a text. */
static void hits_are_misses(void **state) {
    static const char *const models[] = {ANY, "mixed"};
    (void)state;
    free(support_done(
        "init --preset tiny --layers ttt_mlp,self_attention,gated_delta,sliding_attention:48,ttt_linear_decay "
        "--set num_hidden_layers=5 --set fast_head_size=32 --tokenizer bytes --out mixed"));
    for (size_t i = 0; i < 2; i++) {
        char options[200];
        snprintf(options, sizeof options, "--model %s --chat-template plain", models[i]);
        support_server with = support_server_start(options);
        strcat(options, " --cache-bytes 0");
        support_server without = support_server_start(options);
        int a = with.port, b = without.port;
        static const char usual[] = ",\"max_tokens\":20,\"seed\":4,\"logprobs\":2,\"return_token_ids\":true";
        assert_int_equal(ask(a, b, 700, "", usual), 0);
        ask(a, b, 700, "", usual); /* seen for the second time */
        assert_int_equal(ask(a, b, 700, "", usual), 700);
        assert_int_equal(ask(a, b, 700, " It was", usual), 700);
        assert_int_equal(ask(a, b, 700, "", ",\"max_tokens\":20,\"seed\":9,\"n\":3,\"logprobs\":0"), 700);
        assert_int_equal(ask(a, b, 700, "", ",\"max_tokens\":0"), 700);
        assert_int_equal(ask(a, b, 700, "", ",\"max_tokens\":3,\"echo\":true"), 700);
        /* Whose predictions are asked for has to be read. */
        assert_int_equal(ask(a, b, 700, "", ",\"max_tokens\":3,\"echo\":true,\"logprobs\":3"), 0);
        /* An answer is gone on from: its last token has not been read. */
        char *body =
            request(300, "!", ",\"max_tokens\":40,\"temperature\":0,\"ignore_eos\":true,\"return_token_ids\":true");
        json_t *answer = support_ask_json(a, "/v1/completions", body);
        const json_t *choice = support_choice(answer, 0);
        json_t *longer =
            json_pack("{s:o, s:i, s:i}", "prompt", json_deep_copy(json_object_get(choice, "prompt_token_ids")),
                      "max_tokens", 12, "logprobs", 1);
        json_array_extend(json_object_get(longer, "prompt"), json_object_get(choice, "token_ids"));
        json_array_append_new(json_object_get(longer, "prompt"), json_integer('x'));
        char *said = json_dumps(longer, 0);
        assert_int_equal(expect_same(a, b, "/v1/completions", said), 302 + 39);
        free(said);
        free(body);
        json_decref(longer);
        json_decref(answer);
        /* Several prompts, those that were seen and those that were not. */
        body = malloc(3000);
        assert_non_null(body);
        sprintf(body, "{\"prompt\":[\"%.60s\",\"%s%s\",\"%s%s\"],\"n\":2,\"max_tokens\":5,\"logprobs\":1}", words,
                words, words, words, "Who");
        assert_int_equal(expect_same(a, b, "/v1/completions", body), 0);
        /* Of the last, 60 or 71, whichever place was come to first. */
        assert_true(expect_same(a, b, "/v1/completions", body) >= 60 + 140 + 60);
        free(body);
        assert_true(support_metric(a, "innerloop_prefix_cache_hits_total") >= 700 * 5 + 341);
        assert_true(support_metric(a, "innerloop_prefix_cache_states") >= 3);
        assert_true(support_metric(b, "innerloop_prefix_cache_hits_total") == 0);
        assert_true(support_metric(b, "innerloop_prefix_cache_states") == 0);
        assert_int_equal(support_server_end(&with, SIGTERM), 128 + SIGTERM);
        assert_int_equal(support_server_end(&without, SIGTERM), 128 + SIGTERM);
    }
}

/* Keys, salts and names of caches see nothing of each other's prompts. */
static void spaces_are_apart(void **state) {
    static const char *const headers[] = {"Content-Type: application/json\r\nAuthorization: Bearer secret-one\r\n",
                                          "Content-Type: application/json\r\nAuthorization: Bearer secret-two\r\n"};
    static const char *const fields[] = {"", ",\"cache_salt\":\"x\"", ",\"prompt_cache_key\":\"x\"",
                                         ",\"cache_salt\":\"x\",\"prompt_cache_key\":\"x\"", ",\"cache_salt\":\"0:\""};
    (void)state;
    support_write("keys", "secret-one\nsecret-two\n", 22);
    support_server server = support_server_start("--model " ANY " --api-key-file keys");
    for (int key = 0; key < 2; key++)
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            for (int times = 0; times < 3; times++) {
                char more[200];
                int cached;
                snprintf(more, sizeof more, ",\"max_tokens\":2%s", fields[i]);
                char *body = request(100, "", more);
                support_answer answer =
                    support_ask_as(server.port, "POST", "/v1/completions", headers[key], body, strlen(body));
                free(stripped(&answer, &cached));
                assert_int_equal(cached, times == 2 ? 100 : 0);
                support_answer_free(&answer);
                free(body);
            }
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
}

/* A conversation: each turn goes on from the answer before it; asked anew, from what stands before its last message. */
static void conversations_go_on(void **state) {
    static const char *const turns[] = {"Tell me of the sea, and of those who live by it.",
                                        "And of the road that goes there?",
                                        "Who walked there before, and why do they no longer?"};
    (void)state;
    support_server with = support_server_start("--model " ANY " --chat-template plain");
    support_server without = support_server_start("--model " ANY " --chat-template plain --cache-bytes 0");
    json_t *messages = json_array();
    int read = 0, stopped = 0;
    for (size_t i = 0; i < 3; i++) {
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", turns[i]));
        json_t *body = json_pack("{s:O, s:i, s:i}", "messages", messages, "max_tokens", 40, "temperature", 0);
        char *said = json_dumps(body, 0);
        assert_int_equal(expect_same(with.port, without.port, "/v1/chat/completions", said), read);
        json_t *answer = support_ask_json(without.port, "/v1/chat/completions", said);
        const json_t *choice = support_choice(answer, 0);
        const char *content = json_string_value(json_object_get(json_object_get(choice, "message"), "content"));
        /* The last token of an answer is not read, nor is what a stop string cut off. */
        read = !strcmp(json_string_value(json_object_get(choice, "finish_reason")), "stop")
                   ? (int)support_number(answer, "usage.prompt_tokens") + (int)strlen(content)
                   : (int)support_number(answer, "usage.total_tokens") - 1;
        stopped += json_is_string(json_object_get(choice, "stop_reason"));
        free(said);
        json_decref(body);
        if (i) { /* the last message is another one */
            body = json_pack("{s:O, s:i}", "messages", messages, "max_tokens", 3);
            json_object_set_new(json_array_get(messages, 2 * i), "content", json_string("Something else."));
            said = json_dumps(body, 0);
            int cached = expect_same(with.port, without.port, "/v1/chat/completions", said);
            int before = (int)support_number(answer, "usage.prompt_tokens") - (int)strlen(turns[i]);
            assert_true(cached < before && cached > before - 40); /* but for how a turn begins and ends */
            json_object_set_new(json_array_get(messages, 2 * i), "content", json_string(turns[i]));
            free(said);
            json_decref(body);
        }
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "assistant", "content", content));
        json_decref(answer);
    }
    assert_true(stopped > 0);
    json_decref(messages);
    assert_int_equal(support_server_end(&with, SIGTERM), 128 + SIGTERM);
    assert_int_equal(support_server_end(&without, SIGTERM), 128 + SIGTERM);
}

/* Many at once, in a cache that holds three states, with some who leave: the same answers. */
static void crowds_and_full_caches(void **state) {
    enum { N = 24 };
    (void)state;
    support_server without = support_server_start("--model " ANY " --cache-bytes 0");
    support_server with = support_server_start("--model " ANY);
    assert_int_equal(ask(with.port, without.port, 100, "", ",\"max_tokens\":2"), 0);
    int bytes = (int)support_metric(with.port, "innerloop_prefix_cache_bytes");
    assert_int_equal(support_server_end(&with, SIGTERM), 128 + SIGTERM);
    char options[200];
    snprintf(options, sizeof options, "--model " ANY " --cache-bytes %d --max-streams 6", 3 * bytes);
    with = support_server_start(options);
    for (int round = 0; round < 3; round++) {
        int sockets[N];
        char *bodies[N];
        for (int i = 0; i < N; i++) {
            char fields[100];
            snprintf(fields, sizeof fields, ",\"max_tokens\":%d,\"seed\":%d,\"logprobs\":1,\"n\":%d", 1 + i % 7, i,
                     1 + i % 2);
            bodies[i] = request(60 + (size_t)(i % 5) * 70, i % 3 ? "" : "A turn.", fields);
            sockets[i] = support_connect(with.port);
            support_send_completion(sockets[i], bodies[i]);
        }
        for (int i = 0; i < N; i++) {
            int cached;
            if (i % 8 == round) {
                close(sockets[i]);
            } else {
                support_answer crowded = support_receive(sockets[i]);
                support_answer alone = support_ask(without.port, "/v1/completions", bodies[i]);
                char *x = stripped(&crowded, &cached), *y = stripped(&alone, &cached);
                assert_string_equal(x, y);
                free(x);
                free(y);
                support_answer_free(&crowded);
                support_answer_free(&alone);
            }
            free(bodies[i]);
        }
        assert_true(support_metric(with.port, "innerloop_prefix_cache_bytes") <= 3.1 * bytes);
    }
    assert_true(support_metric(with.port, "innerloop_prefix_cache_hits_total") > 0);
    assert_int_equal(support_server_end(&with, SIGTERM), 128 + SIGTERM);
    assert_int_equal(support_server_end(&without, SIGTERM), 128 + SIGTERM);
}

/* Who leaves while a long prompt is read, and asks again, is spared what was read; so is who asks for more of it. */
static void long_prompts_are_kept_on_the_way(void **state) {
    enum { LETTERS = 60000 };
    (void)state;
    support_server with = support_server_start("--model " ANY);
    support_server without = support_server_start("--model " ANY " --cache-bytes 0");
    char *body = request(LETTERS, "", ",\"max_tokens\":3");
    int fd = support_connect(with.port);
    support_send_completion(fd, body);
    support_wait_for_metric(with.port, "innerloop_prompt_tokens_total", 2000);
    close(fd);
    support_wait_for_metric(with.port, "innerloop_requests_failed_total", 1);
    double read = support_metric(with.port, "innerloop_prompt_tokens_total");
    assert_true(read < LETTERS);
    assert_int_equal(expect_same(with.port, without.port, "/v1/completions", body), (int)read);
    free(body);
    body = request(5000, "Who?", ",\"max_tokens\":3");
    int cached = expect_same(with.port, without.port, "/v1/completions", body);
    assert_true(cached >= 5000 / 512 * 512); /* kept on the way */
    free(body);
    assert_int_equal(support_server_end(&with, SIGTERM), 128 + SIGTERM);
    assert_int_equal(support_server_end(&without, SIGTERM), 128 + SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_beginnings_are_found),
        cmocka_unit_test(what_is_worth_least_goes),
        cmocka_unit_test(hits_are_misses),
        cmocka_unit_test(spaces_are_apart),
        cmocka_unit_test(conversations_go_on),
        cmocka_unit_test(crowds_and_full_caches),
        cmocka_unit_test(long_prompts_are_kept_on_the_way),
    };
    return cmocka_run_group_tests(tests, support_cli_begin, support_server_teardown);
}
