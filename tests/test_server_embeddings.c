/* test_server_embeddings.c: /v1/embeddings is the mean of the final hidden vectors that the library gives, by the bytes
 * of its JSON, in both forms, alone and among others. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_server.h"

#define READER FIXTURES "/../../models/reader"
#define PATH "/v1/embeddings"

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " READER " --alias m --max-prompt-tokens 3000");
    return 0;
}

static int end(void **state) {
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

/* The mean of what a session makes of the tokens, read at once. */
static float *expected_of(il_model *model, const int32_t *tokens, size_t n) {
    size_t width = (size_t)il_model_config(model)->width;
    float *hidden = malloc(n * width * sizeof *hidden), *mean = malloc(width * sizeof *mean);
    il_session *session;
    il_error error;
    assert_true(hidden && mean);
    assert_ok(il_session_open(model, NULL, &session, &error), error);
    il_feed feed = {.session = session, .tokens = tokens, .n = n, .hidden = hidden};
    assert_ok(il_feed_many(&feed, 1, &error), error);
    for (size_t i = 0; i < width; i++) {
        double sum = 0;
        for (size_t t = 0; t < n; t++) sum += (double)hidden[t * width + i];
        mean[i] = (float)(sum / (double)n);
    }
    il_session_close(session);
    free(hidden);
    return mean;
}

static const json_t *embedding_of(const json_t *answer, size_t index) {
    const json_t *one = json_array_get(json_object_get(answer, "data"), index);
    assert_string_equal(support_string(one, "object"), "embedding");
    assert_int_equal(json_integer_value(json_object_get(one, "index")), index);
    return json_object_get(one, "embedding");
}

static void expect_numbers(const json_t *embedding, const float *expected, size_t width) {
    assert_int_equal(json_array_size(embedding), width);
    for (size_t i = 0; i < width; i++) {
        float x = (float)json_number_value(json_array_get(embedding, i));
        assert_memory_equal(&x, &expected[i], sizeof x);
    }
}

/* By another way than the server writes it. */
static void expect_base64(const char *text, const float *expected, size_t width) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t bytes = width * 4, pad = (3 - bytes % 3) % 3;
    uint32_t bits = 0;
    assert_int_equal(strlen(text), (bytes + pad) / 3 * 4);
    for (size_t i = 0, held = 0, at = 0; at < bytes; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, text[i]) - digits);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        unsigned char byte = (unsigned char)(bits >> held), own;
        uint32_t number;
        memcpy(&number, &expected[at / 4], sizeof number);
        own = (unsigned char)(number >> at % 4 * 8);
        assert_int_equal(byte, own);
        at++;
    }
    assert_int_equal(strspn(text + strlen(text) - pad, "="), pad);
}

static void means_are_the_librarys(void **state) {
    enum { LONG = 1200 };
    static const int32_t tokens[] = {1, 300, 17, 2000, 45, 4000, 9, 800, 77, 1234, 5, 3000};
    int32_t many[LONG];
    il_engine *engine;
    il_model *model;
    il_error error;
    (void)state;
    assert_ok(il_engine_open(NULL, &engine, &error), error);
    assert_ok(il_model_load(engine, READER, &model, &error), error);
    size_t width = (size_t)il_model_config(model)->width;
    for (int i = 0; i < LONG; i++) many[i] = 3 + i * 37 % 4000;
    float *one = expected_of(model, tokens, 12), *two = expected_of(model, tokens, 1),
          *three = expected_of(model, many, LONG);

    json_t *list = json_array(), *ids = json_array();
    for (int i = 0; i < LONG; i++) json_array_append_new(ids, json_integer(many[i]));
    json_array_append_new(
        list, json_pack("[i,i,i,i,i,i,i,i,i,i,i,i]", 1, 300, 17, 2000, 45, 4000, 9, 800, 77, 1234, 5, 3000));
    json_array_append_new(list, json_pack("[i]", 1));
    json_array_append_new(list, ids);
    json_t *request = json_pack("{s:o}", "input", list);
    char *body = json_dumps(request, 0);
    int beside = support_connect(server.port);
    support_send_completion(beside, "{\"prompt\":\"It was a dark\",\"max_tokens\":100,\"n\":4}");
    json_t *answer = support_ask_json(server.port, PATH, body);
    assert_int_equal(json_array_size(json_object_get(answer, "data")), 3);
    expect_numbers(embedding_of(answer, 0), one, width);
    expect_numbers(embedding_of(answer, 1), two, width);
    expect_numbers(embedding_of(answer, 2), three, width);
    assert_string_equal(support_string(answer, "object"), "list");
    assert_string_equal(support_string(answer, "model"), "m");
    assert_int_equal(support_number(answer, "usage.prompt_tokens"), 13 + LONG);
    assert_int_equal(support_number(answer, "usage.total_tokens"), 13 + LONG);
    json_decref(answer);
    free(body);
    json_object_set_new(request, "encoding_format", json_string("base64"));
    body = json_dumps(request, 0);
    answer = support_ask_json(server.port, PATH, body);
    expect_base64(json_string_value(embedding_of(answer, 0)), one, width);
    expect_base64(json_string_value(embedding_of(answer, 1)), two, width);
    expect_base64(json_string_value(embedding_of(answer, 2)), three, width);
    json_decref(answer);
    support_answer other = support_receive(beside);
    assert_int_equal(other.status, 200);
    support_answer_free(&other);
    free(body);
    json_decref(request);
    free(one);
    free(two);
    free(three);
    il_model_unref(model);
    il_engine_close(engine);
}

/* Text is its tokens, with the one that begins a text unless it is not wanted; the same text has the same vector, also
 * after the server has answered it. */
static void texts_are_their_tokens(void **state) {
    (void)state;
    json_t *ids = support_ask_json(server.port, "/tokenize", "{\"prompt\":\"It was a dark night\"}");
    json_t *request = json_pack("{s:O}", "input", json_object_get(ids, "tokens"));
    char *body = json_dumps(request, 0);
    json_t *of_tokens = support_ask_json(server.port, PATH, body);
    json_t *complete =
        support_ask_json(server.port, "/v1/completions", "{\"prompt\":\"It was a dark night\",\"max_tokens\":3}");
    json_t *of_text =
        support_ask_json(server.port, PATH,
                         "{\"model\":\"m\",\"input\":[\"It was a dark night\",\"It was a dark night\"],\"user\":null}");
    json_t *without =
        support_ask_json(server.port, PATH, "{\"input\":\"It was a dark night\",\"add_special_tokens\":false}");
    assert_true(json_equal(embedding_of(of_text, 0), embedding_of(of_tokens, 0)));
    assert_true(json_equal(embedding_of(of_text, 1), embedding_of(of_tokens, 0)));
    assert_false(json_equal(embedding_of(without, 0), embedding_of(of_tokens, 0)));
    assert_int_equal(support_number(without, "usage.prompt_tokens") + 1,
                     support_number(of_tokens, "usage.prompt_tokens"));
    json_decref(without);
    json_decref(of_text);
    json_decref(complete);
    json_decref(of_tokens);
    json_decref(request);
    json_decref(ids);
    free(body);
}

static void refusals_name_the_field(void **state) {
    static const struct {
        const char *body, *field, *words;
    } cases[] = {
        {"{}", "input", "is missing"},
        {"{\"input\":null}", "input", "is missing"},
        {"{\"input\":[]}", "input", "has no token"},
        {"{\"input\":{}}", "input", "must be a string"},
        {"{\"input\":[[1,100000]]}", "input", "check_embedding_ctx_length=False"},
        {"{\"input\":\"a\",\"dimensions\":8}", "dimensions", "dimensions, no others"},
        {"{\"input\":\"a\",\"encoding_format\":\"int8\"}", "encoding_format", "float or base64"},
        {"{\"input\":\"a\",\"encoding_format\":7}", "encoding_format", "a string"},
        {"{\"input\":\"\",\"add_special_tokens\":false}", "input", "is empty"},
    };
    char long_body[12000] = "{\"input\":[";
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_ask_refused(server.port, PATH, cases[i].body, 400, cases[i].field, cases[i].words);
    support_ask_refused(server.port, PATH, "{\"input\":\"a\",\"model\":\"x\"}", 404, "model", "'x'");
    for (int i = 0; i < 3001; i++) strcat(long_body, i ? ",7" : "7");
    strcat(long_body, "]}");
    support_ask_refused(server.port, PATH, long_body, 400, "input", "at most 3000");
    support_answer with = support_ask(server.port, PATH, "{\"input\":\"a\",\"colour\":1}");
    assert_non_null(strstr(with.head, "X-Innerloop-Ignored: colour\r\n"));
    assert_non_null(strstr(with.head, "X-Request-Id: embd-"));
    support_answer_free(&with);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(means_are_the_librarys),
        cmocka_unit_test(texts_are_their_tokens),
        cmocka_unit_test(refusals_name_the_field),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
