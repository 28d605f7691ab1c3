/* test_server.c: what `innerloop serve` answers is what the library computes, by the bytes of its JSON, alone or among
 * others, whole or streamed. */
#include "support_test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_server.h"

#define MODELS FIXTURES "/../../models"

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " MODELS "/reader --alias m --max-tokens 300");
    return 0;
}

static int end(void **state) {
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

static const char *text_of(const json_t *answer, size_t index) {
    return json_string_value(json_object_get(support_choice(answer, index), "text"));
}

static json_t *complete(const char *body) { return support_ask_json(server.port, "/v1/completions", body); }

/* What the server is compared with. */
typedef struct reference {
    il_engine *engine;
    il_model *model;
    il_tokenizer *tokenizer;
    int vocab_size;
} reference;

static reference reference_open(void) {
    reference r;
    il_error error;
    assert_ok(il_engine_open(NULL, &r.engine, &error), error);
    assert_ok(il_model_load(r.engine, MODELS "/reader", &r.model, &error), error);
    r.vocab_size = il_model_config(r.model)->vocab_size;
    assert_ok(il_tokenizer_load_for_model(r.engine, MODELS "/reader", il_model_config(r.model), &r.tokenizer, &error),
              error);
    return r;
}

static void reference_close(reference *r) {
    il_tokenizer_close(r->tokenizer);
    il_model_unref(r->model);
    il_engine_close(r->engine);
}

/* The logarithms stand in the answer's bytes as %.9g writes them. */
static void expect_number(const char *body, size_t *at, double number) {
    char word[40];
    size_t n = (size_t)snprintf(word, sizeof word, "%.9g", number);
    if (strncmp(body + *at, word, n) || !strchr(",]", body[*at + n])) fail_msg("not %s: %.60s", word, body + *at);
    *at += n + 1;
}

/* Log-probabilities of prompt and answer against what feeding says of the same tokens, and the greedy and the drawn
 * tokens against il_sample. */
static void answers_are_the_librarys(void **state) {
    enum { N = 40, PROMPT = 12 };
    reference r = reference_open();
    il_error error;
    (void)state;
    for (int drawn = 0; drawn < 2; drawn++) {
        char body[400];
        snprintf(body, sizeof body,
                 "{\"prompt\":[1,300,17,2000,45,4000,9,800,77,1234,5,3000],\"max_tokens\":%d,\"echo\":true,"
                 "\"logprobs\":1,\"return_token_ids\":true,\"temperature\":%s,\"top_k\":50,\"top_p\":0.9,"
                 "\"min_p\":0.01,\"repetition_penalty\":1.2,\"seed\":7}",
                 N, drawn ? "0.7" : "0");
        support_answer answer = support_ask(server.port, "/v1/completions", body);
        json_t *object = json_loadb(answer.body, answer.bytes, 0, NULL);
        const json_t *ids = json_object_get(support_choice(object, 0), "token_ids");
        int32_t tokens[PROMPT + N] = {1, 300, 17, 2000, 45, 4000, 9, 800, 77, 1234, 5, 3000};
        assert_int_equal(json_array_size(ids), N);
        for (size_t i = 0; i < N; i++) tokens[PROMPT + i] = (int32_t)json_integer_value(json_array_get(ids, i));

        il_session *session;
        float nll[PROMPT + N];
        assert_ok(il_session_open(r.model, NULL, &session, &error), error);
        assert_ok(il_session_feed(session, tokens, PROMPT + N, nll, NULL, &error), error);
        const char *list = strstr(answer.body, "\"token_logprobs\":[");
        assert_non_null(list);
        size_t at = strlen("\"token_logprobs\":[");
        assert_memory_equal(list + at, "null,", 5);
        at += 5;
        for (size_t i = 1; i < PROMPT + N; i++) expect_number(list, &at, -(double)nll[i]);
        il_session_close(session);

        float *logits = malloc((size_t)r.vocab_size * sizeof *logits);
        assert_non_null(logits);
        il_sample_options options = {
            .temperature = drawn ? 0.7F : 0, .top_k = 50, .top_p = 0.9F, .min_p = 0.01F, .repeat_penalty = 1.2F};
        options.seed = 7;
        assert_ok(il_session_open(r.model, NULL, &session, &error), error);
        assert_ok(il_session_feed(session, tokens, PROMPT, NULL, NULL, &error), error);
        for (size_t i = PROMPT; i < PROMPT + N; i++) {
            int32_t token;
            assert_ok(il_session_logits(session, logits, &error), error);
            float sum = il_log_sum_exp(r.engine, logits, r.vocab_size), own = logits[tokens[i]] - sum;
            assert_memory_equal(&own, &(float){-nll[i]}, sizeof own);
            assert_ok(
                il_sample(&options, logits, r.vocab_size, il_session_position(session), tokens, i, &token, &error),
                error);
            assert_int_equal(token, tokens[i]);
            assert_ok(il_session_feed(session, &token, 1, NULL, NULL, &error), error);
        }
        free(logits);
        il_session_close(session);
        json_decref(object);
        support_answer_free(&answer);
    }
    reference_close(&r);
}

/* The arrays that a harness reads: as long as the prompt and one token, the likeliest first, its own number among
 * them, and offsets of the text in characters. */
static void logprobs_have_their_shape(void **state) {
    (void)state;
    json_t *answer = complete("{\"prompt\":[[1,300,301],[1,4093,4010]],\"max_tokens\":1,\"logprobs\":1,\"echo\":true,"
                              "\"temperature\":0,\"seed\":1234,\"model\":\"m\"}");
    for (size_t k = 0; k < 2; k++) {
        const json_t *logprobs = json_object_get(support_choice(answer, k), "logprobs");
        const json_t *numbers = json_object_get(logprobs, "token_logprobs"), *tops;
        tops = json_object_get(logprobs, "top_logprobs");
        const json_t *tokens = json_object_get(logprobs, "tokens"), *offsets = json_object_get(logprobs, "text_offset");
        assert_int_equal(json_integer_value(json_object_get(support_choice(answer, k), "index")), k);
        assert_int_equal(json_array_size(numbers), 4);
        assert_int_equal(json_array_size(tops), 4);
        assert_int_equal(json_array_size(offsets), 4);
        assert_true(json_is_null(json_array_get(numbers, 0)) && json_is_null(json_array_get(tops, 0)));
        for (size_t i = 1; i < 4; i++) {
            const json_t *top = json_array_get(tops, i);
            double own = json_real_value(json_array_get(numbers, i)), best = -INFINITY;
            const char *name;
            json_t *value;
            json_object_foreach((json_t *)(uintptr_t)top, name, value) best = fmax(best, json_real_value(value));
            const char *token = json_string_value(json_array_get(tokens, i));
            assert_true(json_real_value(json_object_get(top, token)) == own);
            assert_true(json_object_size(top) == (own == best ? 1 : 2));
            if (i == 3) assert_true(own == best); /* it was drawn greedily */
        }
    }
    assert_string_equal(json_string_value(json_array_get(
                            json_object_get(json_object_get(support_choice(answer, 1), "logprobs"), "tokens"), 1)),
                        "\xC3\xA9");
    assert_int_equal(json_integer_value(json_array_get(
                         json_object_get(json_object_get(support_choice(answer, 1), "logprobs"), "text_offset"), 2)),
                     1);
    json_decref(answer);

    answer = complete("{\"prompt\":[1,300,301],\"max_tokens\":0,\"logprobs\":0,\"echo\":true}");
    const json_t *logprobs = json_object_get(support_choice(answer, 0), "logprobs");
    assert_int_equal(json_array_size(json_object_get(logprobs, "token_logprobs")), 3);
    assert_int_equal(json_object_size(json_array_get(json_object_get(logprobs, "top_logprobs"), 2)), 1);
    assert_string_equal(json_string_value(json_object_get(support_choice(answer, 0), "finish_reason")), "length");
    assert_int_equal(support_number(answer, "usage.completion_tokens"), 0);
    json_decref(answer);
    /* One more token than was asked for is never counted, and a prompt of one token has no prediction before it. */
    answer = complete("{\"prompt\":[5],\"max_tokens\":0,\"logprobs\":0,\"echo\":true}");
    assert_int_equal(json_array_size(json_object_get(json_object_get(support_choice(answer, 0), "logprobs"), "tokens")),
                     1);
    json_decref(answer);
}

static char *choices_of(const support_answer *answer) {
    char *begin = strstr(answer->body, "\"choices\":["), *end = strstr(answer->body, "],\"usage\":");
    if (answer->status != 200 || !begin || !end) fail_msg("status %d: %.300s", answer->status, answer->body);
    return strndup(begin, (size_t)(end - begin));
}

/* The same request alone, and among 63 others of all kinds and lengths: the same bytes. */
static void one_answer(void **state) {
    enum { OTHERS = 63 };
    static const char probe[] =
        "{\"prompt\":\"She looked out at the rain. Nobody had come that day, and she began to think that\","
        "\"max_tokens\":60,\"echo\":true,\"logprobs\":5,\"temperature\":0.8,\"seed\":3,\"n\":2}";
    (void)state;
    support_answer alone = support_ask(server.port, "/v1/completions", probe);
    char *expected = choices_of(&alone);
    int others[OTHERS], among = -1;
    for (int i = 0; i < OTHERS; i++) {
        char body[1400], words[800] = "";
        for (int k = 0; k < i * 12; k++) words[k] = "the sea and a boat, "[(k * (i + 3)) % 20], words[k + 1] = 0;
        snprintf(body, sizeof body,
                 "{\"prompt\":\"A %s\",\"max_tokens\":%d,\"temperature\":%d,\"seed\":%d,\"stream\":%s,\"echo\":%s,"
                 "\"logprobs\":%s}",
                 words, 5 + i, i % 2, i, i % 3 ? "false" : "true", i % 5 ? "false" : "true", i % 4 ? "null" : "2");
        others[i] = support_connect(server.port);
        support_send_completion(others[i], body);
        if (i == OTHERS / 2) {
            among = support_connect(server.port);
            support_send_completion(among, probe);
        }
    }
    support_answer crowded = support_receive(among);
    char *got = choices_of(&crowded);
    assert_string_equal(got, expected);
    free(got);
    support_answer_free(&crowded);
    for (int i = 0; i < OTHERS; i++) {
        support_answer other = support_receive(others[i]);
        assert_int_equal(other.status, 200);
        support_answer_free(&other);
    }
    free(expected);
    support_answer_free(&alone);
}

/* Choice j is what the same request with a seed larger by j gives; prompts of a batch are what each alone gives. */
static void batches_are_their_parts(void **state) {
    (void)state;
    json_t *batch = complete("{\"prompt\":[\"The door\",\"It was\"],\"n\":3,\"max_tokens\":12,\"seed\":40}");
    assert_int_equal(json_array_size(json_object_get(batch, "choices")), 6);
    for (size_t i = 0; i < 6; i++) {
        char body[200];
        snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":12,\"seed\":%zu}", i < 3 ? "The door" : "It was",
                 40 + i % 3);
        json_t *alone = complete(body);
        assert_string_equal(text_of(batch, i), text_of(alone, 0));
        assert_int_equal(json_integer_value(json_object_get(support_choice(batch, i), "index")), i);
        json_decref(alone);
    }
    assert_string_not_equal(text_of(batch, 0), text_of(batch, 1));
    assert_int_equal(support_number(batch, "usage.completion_tokens"), 72);
    assert_int_equal(support_number(batch, "usage.total_tokens"), 72 + support_number(batch, "usage.prompt_tokens"));
    json_decref(batch);
}

/* What is streamed is, put together, what is answered at once. */
static void streams_are_whole_answers(void **state) {
    (void)state;
    static const char request[] = "\"prompt\":\"It was a dark\",\"max_tokens\":40,\"logprobs\":2,\"n\":2,\"seed\":9,"
                                  "\"stop\":[\"zzz\",\" the\"],\"echo\":true";
    char body[400];
    snprintf(body, sizeof body, "{%s}", request);
    json_t *whole = complete(body);
    snprintf(body, sizeof body, "{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true}}", request);
    support_answer answer = support_ask(server.port, "/v1/completions", body);
    json_t *events = support_events(&answer), *event;
    assert_non_null(strstr(answer.head, "Cache-Control: no-cache"));
    for (size_t k = 0; k < 2; k++) {
        char text[4000] = "";
        json_t *numbers = json_array();
        const char *finish = NULL;
        size_t i;
        json_array_foreach(events, i, event) {
            const json_t *choice = support_choice(event, 0);
            assert_string_equal(support_string(event, "object"), "text_completion");
            if (!choice || json_integer_value(json_object_get(choice, "index")) != (json_int_t)k) continue;
            assert_null(finish);
            assert_true(json_is_null(json_object_get(event, "usage")));
            strcat(text, json_string_value(json_object_get(choice, "text")));
            json_array_extend(numbers, json_object_get(json_object_get(choice, "logprobs"), "token_logprobs"));
            finish = json_string_value(json_object_get(choice, "finish_reason"));
        }
        assert_string_equal(text, text_of(whole, k));
        assert_true(json_equal(
            numbers, json_object_get(json_object_get(support_choice(whole, k), "logprobs"), "token_logprobs")));
        assert_string_equal(finish, json_string_value(json_object_get(support_choice(whole, k), "finish_reason")));
        json_decref(numbers);
    }
    event = json_array_get(events, json_array_size(events) - 1);
    assert_int_equal(json_array_size(json_object_get(event, "choices")), 0);
    assert_true(json_equal(json_object_get(event, "usage"), json_object_get(whole, "usage")));
    json_decref(events);
    support_answer_free(&answer);
    snprintf(body, sizeof body, "{%s,\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":true}}", request);
    answer = support_ask(server.port, "/v1/completions", body);
    events = support_events(&answer);
    assert_true(json_is_object(json_object_get(json_array_get(events, 0), "usage")));
    json_decref(events);
    support_answer_free(&answer);
    json_decref(whole);
}

/* Every field that bends an answer does. */
static void fields_are_followed(void **state) {
    static const char usual[] = "\"prompt\":\"It was\",\"max_tokens\":24,\"temperature\":0";
    static const char *const fields[] = {"\"temperature\":1.5,\"seed\":1",
                                         "\"temperature\":1.5,\"seed\":2",
                                         "\"temperature\":1.5,\"seed\":1,\"top_k\":2",
                                         "\"temperature\":1.5,\"seed\":1,\"top_p\":0.3",
                                         "\"temperature\":1.5,\"seed\":1,\"min_p\":0.3",
                                         "\"repetition_penalty\":1.5",
                                         "\"presence_penalty\":2",
                                         "\"frequency_penalty\":1.5",
                                         "\"logit_bias\":{\"30\":100}",
                                         "\"add_special_tokens\":false",
                                         "\"max_completion_tokens\":5",
                                         "\"max_output_tokens\":6"};
    enum { N = sizeof fields / sizeof *fields };
    char *texts[N + 1], body[400];
    (void)state;
    for (size_t i = 0; i <= N; i++) {
        const char *without = strstr(i ? fields[i - 1] : "", "_tokens\":") && strstr(fields[i - 1], "max_")
                                  ? "\"prompt\":\"It was\",\"temperature\":0"
                              : strstr(i ? fields[i - 1] : "", "\"temperature\"")
                                  ? "\"prompt\":\"It was\",\"max_tokens\":24"
                                  : usual;
        snprintf(body, sizeof body, "{%s%s%s}", without, i ? "," : "", i ? fields[i - 1] : "");
        json_t *answer = complete(body);
        texts[i] = strdup(text_of(answer, 0));
        for (size_t k = 0; k < i; k++)
            if (!strcmp(texts[k], texts[i])) fail_msg("%s changes nothing: %s", fields[i - 1], texts[i]);
        json_decref(answer);
    }
    for (size_t i = 0; i <= N; i++) free(texts[i]);
    /* repeat_penalty is llama.cpp's name of repetition_penalty, and null is as if it were not there. */
    json_t *one = complete("{\"prompt\":\"It was\",\"temperature\":0,\"repetition_penalty\":1.3,\"n\":null}");
    json_t *two = complete("{\"prompt\":\"It was\",\"temperature\":0,\"repeat_penalty\":1.3,\"max_tokens\":null}");
    assert_string_equal(text_of(one, 0), text_of(two, 0));
    assert_int_equal(support_number(one, "usage.completion_tokens"), 16);
    json_decref(one);
    json_decref(two);
    one = complete("{\"prompt\":\"It was\",\"max_tokens\":100000,\"temperature\":0}"); /* --max-tokens 300 */
    assert_int_equal(support_number(one, "usage.completion_tokens"), 300);
    json_decref(one);
}

static void stops_end_the_text(void **state) {
    (void)state;
    json_t *free_running = complete("{\"prompt\":\"It was a\",\"max_tokens\":60,\"temperature\":0}");
    const char *text = text_of(free_running, 0);
    size_t length = strlen(text);
    assert_true(length > 30);
    for (size_t at = 5; at < 25; at += 5) { /* wherever it begins, also in the middle of tokens */
        char body[300], stop[8];
        snprintf(stop, sizeof stop, "%.6s", text + at);
        size_t first = (size_t)(strstr(text, stop) - text);
        json_t *object = json_pack("{s:s, s:i, s:i, s:[s,s]}", "prompt", "It was a", "max_tokens", 60, "temperature", 0,
                                   "stop", "\x01never", stop);
        char *dumped = json_dumps(object, 0);
        json_t *answer = complete(dumped);
        assert_int_equal(strlen(text_of(answer, 0)), first);
        assert_memory_equal(text_of(answer, 0), text, first);
        assert_string_equal(json_string_value(json_object_get(support_choice(answer, 0), "finish_reason")), "stop");
        assert_string_equal(json_string_value(json_object_get(support_choice(answer, 0), "stop_reason")), stop);
        json_decref(answer);
        json_object_set_new(object, "include_stop_str_in_output", json_true());
        char *again = json_dumps(object, 0);
        answer = complete(again);
        assert_int_equal(strlen(text_of(answer, 0)), first + strlen(stop));
        json_decref(answer);
        free(dumped);
        free(again);
        json_decref(object);
        (void)body;
    }
    json_decref(free_running);

    /* Tokens that end it: the model's own, made certain by a bias; one of a list; and neither before min_tokens. */
    json_t *answer = complete("{\"prompt\":\"It was\",\"temperature\":0,\"logit_bias\":{\"2\":100},\"logprobs\":0}");
    assert_string_equal(text_of(answer, 0), "");
    assert_string_equal(json_string_value(json_object_get(support_choice(answer, 0), "finish_reason")), "stop");
    assert_int_equal(json_array_size(json_object_get(json_object_get(support_choice(answer, 0), "logprobs"), "tokens")),
                     1);
    json_decref(answer);
    answer = complete("{\"prompt\":\"It was\",\"temperature\":0,\"logit_bias\":{\"2\":100},\"ignore_eos\":true}");
    assert_int_equal(support_number(answer, "usage.completion_tokens"), 16);
    json_decref(answer);
    answer = complete("{\"prompt\":\"It was\",\"temperature\":0,\"logit_bias\":{\"2\":100},\"min_tokens\":4}");
    assert_int_equal(support_number(answer, "usage.completion_tokens"), 5);
    json_decref(answer);
    answer = complete("{\"prompt\":\"It was\",\"temperature\":0,\"logit_bias\":{\"30\":100},\"stop_token_ids\":[30]}");
    assert_int_equal(support_number(answer, "usage.completion_tokens"), 1);
    assert_int_equal(json_integer_value(json_object_get(support_choice(answer, 0), "stop_reason")), 30);
    json_decref(answer);
}

static void tokens_there_and_back(void **state) {
    (void)state;
    json_t *answer = support_ask_json(server.port, "/tokenize",
                                      "{\"prompt\":\"A d\xC3\xA9j\xC3\xA0 vu\",\"return_token_strs\":true}");
    json_t *tokens = json_object_get(answer, "tokens");
    assert_int_equal(json_array_size(tokens), support_number(answer, "count"));
    assert_int_equal(json_integer_value(json_array_get(tokens, 0)), 1); /* BOS */
    assert_string_equal(json_string_value(json_array_get(json_object_get(answer, "token_strs"), 0)), "<s>");
    json_t *back = json_pack("{s:O}", "tokens", tokens);
    char *body = json_dumps(back, 0);
    json_t *text = support_ask_json(server.port, "/detokenize", body);
    assert_string_equal(support_string(text, "prompt"), "A d\xC3\xA9j\xC3\xA0 vu");
    assert_string_equal(support_string(text, "content"), "A d\xC3\xA9j\xC3\xA0 vu");
    json_decref(text);
    json_decref(back);
    free(body);
    json_decref(answer);
    answer = support_ask_json(server.port, "/tokenize", "{\"content\":\"A d\",\"with_pieces\":true}");
    assert_non_null(json_object_get(json_array_get(json_object_get(answer, "tokens"), 0), "piece"));
    json_decref(answer);
    json_t *info = support_ask_json(server.port, "/tokenizer_info", NULL);
    back = json_pack("{s:s, s:b}", "prompt", support_string(info, "eos_token"), "add_special_tokens", 0);
    body = json_dumps(back, 0);
    answer = support_ask_json(server.port, "/tokenize", body);
    assert_int_equal(json_array_size(json_object_get(answer, "tokens")), 1);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(answer, "tokens"), 0)), 2);
    json_decref(answer);
    json_decref(back);
    json_decref(info);
    free(body);
}

static void model_and_health(void **state) {
    (void)state;
    json_t *answer = support_ask_json(server.port, "/v1/models", NULL);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(answer, "data"), 0), "id")),
                        "m");
    json_decref(answer);
    answer = support_ask_json(server.port, "/v1/models/m", NULL);
    assert_string_equal(support_string(answer, "object"), "model");
    json_decref(answer);
    support_ask_refused(server.port, "/v1/models/other", NULL, 404, "model", "'other' is not served here, 'm' is");
    support_ask_refused(server.port, "/v1/completions", "{\"model\":\"x\",\"prompt\":\"a\"}", 404, "model", "'x'");
    answer = support_ask_json(server.port, "/health", NULL);
    assert_string_equal(support_string(answer, "status"), "ok");
    json_decref(answer);
    support_answer with = support_ask(server.port, "/v1/completions", "{\"prompt\":\"a\",\"colour\":1,\"user\":\"u\"}");
    assert_non_null(strstr(with.head, "X-Innerloop-Ignored: colour\r\n"));
    assert_non_null(strstr(with.head, "X-Request-Id: cmpl-"));
    support_answer_free(&with);
    with = support_ask(server.port, "/v1/completions", "{\"prompt\":1}");
    assert_non_null(strstr(with.head, "X-Request-Id: req-"));
    support_answer_free(&with);
    assert_true(support_metric(server.port, "innerloop_prompt_tokens_total") > 0);
    assert_true(support_metric(server.port, "innerloop_predicted_tokens_total") > 0);
    double requests = support_metric(server.port, "innerloop_requests_done_total");
    assert_true(support_metric(server.port, "innerloop_e2e_request_latency_seconds_count") == requests);
    assert_true(support_metric(server.port, "innerloop_e2e_request_latency_seconds_bucket{le=\"+Inf\"}") == requests);
    assert_true(support_metric(server.port, "innerloop_time_to_first_token_seconds_count") > 0);
    assert_true(support_metric(server.port, "innerloop_inter_token_latency_seconds_sum") > 0);
}

/* What it says with weights of another type is what `generate` says with them, and not what it says without. */
static void weights_of_another_type(void **state) {
    (void)state;
    support_server small = support_server_start("--model " MODELS "/reader --dtype int4");
    json_t *answer =
        support_ask_json(small.port, "/v1/completions", "{\"prompt\":\"It was\",\"max_tokens\":30,\"temperature\":0}");
    char *same = support_done("generate --model " MODELS "/reader --dtype int4 --prompt 'It was' --max-tokens 30 "
                              "--temperature 0");
    char *stored = support_done("generate --model " MODELS "/reader --prompt 'It was' --max-tokens 30 --temperature 0");
    const char *text = text_of(answer, 0);
    assert_non_null(strstr(same, text));
    assert_null(strstr(stored, text));
    free(same);
    free(stored);
    json_decref(answer);
    assert_int_equal(support_server_end(&small, SIGTERM), 128 + SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_the_librarys),
        cmocka_unit_test(logprobs_have_their_shape),
        cmocka_unit_test(one_answer),
        cmocka_unit_test(batches_are_their_parts),
        cmocka_unit_test(streams_are_whole_answers),
        cmocka_unit_test(fields_are_followed),
        cmocka_unit_test(stops_end_the_text),
        cmocka_unit_test(tokens_there_and_back),
        cmocka_unit_test(model_and_health),
        cmocka_unit_test(weights_of_another_type),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
