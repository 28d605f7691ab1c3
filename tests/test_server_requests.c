/* test_server_requests.c: bodies of requests and their fields, without a server: what is refused names the field; and
 * who may ask, and how much all bodies may have. */
#include "support_test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/access.h"
#include "net/http.h"
#include "request/completions.h"
#include "support_server.h"

static const completion_limits limits = {
    .prompt_tokens_max = 100, .tokens_max = 50, .n_max = 8, .tokens_default = 16, .vocab_size = 258};

static problem parse(const char *body, completion_request *request) {
    problem p = {0};
    json_t *object = json_body(body, strlen(body), 1000, &p);
    *request = (completion_request){0};
    if (object) completion_parse(object, COMPLETION_TEXT, &limits, request, &p);
    json_decref(object);
    return p;
}

static void fields_have_their_values(void **state) {
    completion_request r;
    (void)state;
    problem p =
        parse("{\"prompt\":[1,2,257],\"n\":2,\"best_of\":2,\"temperature\":0.5,\"top_k\":-1,\"top_p\":0,\"seed\":-3,"
              "\"max_tokens\":7.0,\"logprobs\":3,\"stop\":\"ab\",\"logit_bias\":{\"5\":-1.5},"
              "\"length_penalty\":1,\"suffix\":\"\",\"tools\":[],\"zebra\":0,\"bad\\nname\":1}",
              &r);
    assert_int_equal(p.status, 0);
    assert_int_equal(r.n_prompts, 1);
    assert_int_equal(r.prompts[0].tokens.n, 3);
    assert_int_equal(r.prompts[0].tokens.ids[2], 257);
    assert_int_equal(r.n, 2);
    assert_true(r.sampling.temperature == 0.5F && r.sampling.top_k == 0 && r.sampling.top_p > 0);
    assert_true(r.sampling.seed == (uint64_t)-3);
    assert_int_equal(r.tokens_max, 7);
    assert_int_equal(r.logprobs, 3);
    assert_int_equal(r.n_stops, 1);
    assert_true(r.n_biases == 1 && r.biases[0].token == 5 && r.biases[0].bias == -1.5F);
    assert_string_equal(r.ignored, "zebra");
    completion_free(&r);
    p = parse("{\"prompt\":\"x\",\"max_tokens\":9,\"max_completion_tokens\":null}", &r);
    assert_true(!p.status && r.tokens_max == 9 && r.logprobs == -1 && r.special && r.sampling.temperature == 1);
    completion_free(&r);
}

static void refusals_name_the_field(void **state) {
    static const struct {
        const char *body, *field, *words;
    } cases[] = {
        {"", "", "is empty"},
        {"[1]", "", "must be an object"},
        {"{\"prompt\":\"a\",\"seed\":1e}", "seed", "line 1"},
        {"{\"prompt\":\"a\",\"seed\":123456789012345678901234567890}", "seed", "too big integer"},
        {"{\"prompt\":\"a\",\"temperature\":1e999}", "temperature", "real number overflow"},
        {"{\"prompt\":\"a\",\"prompt\":\"b\"}", "prompt", "duplicate"},
        {"{\"prompt\":\"\xFF\"}", "prompt", "unable to decode byte 0xff"},
        {"{}", "prompt", "is missing"},
        {"{\"prompt\":null}", "prompt", "is missing"},
        {"{\"prompt\":5}", "prompt", "must be a string"},
        {"{\"prompt\":[]}", "prompt", "has no token"},
        {"{\"prompt\":[[]]}", "prompt", "has no token"},
        {"{\"prompt\":[1,258]}", "prompt", "number 1 is not a token of this model, 0 to 257"},
        {"{\"prompt\":[1,-1]}", "prompt", "not a token"},
        {"{\"prompt\":[1,1.5]}", "prompt", "not a token"},
        {"{\"prompt\":[1,\"a\"]}", "prompt", "not a token"},
        {"{\"prompt\":[\"a\",1]}", "prompt", "must be a string"},
        {"{\"prompt\":\"a\",\"n\":0}", "n", "from 1 to 8"},
        {"{\"prompt\":\"a\",\"n\":9}", "n", "from 1 to 8"},
        {"{\"prompt\":\"a\",\"n\":true}", "n", "integer"},
        {"{\"prompt\":\"a\",\"best_of\":3}", "best_of", "what n is"},
        {"{\"prompt\":\"a\",\"echo\":1}", "echo", "true or false"},
        {"{\"prompt\":\"a\",\"stream\":\"yes\"}", "stream", "true or false"},
        {"{\"prompt\":\"a\",\"stream_options\":3}", "stream_options", "object"},
        {"{\"prompt\":\"a\",\"logprobs\":21}", "logprobs", "0 to 20"},
        {"{\"prompt\":\"a\",\"max_tokens\":-1}", "max_tokens", "from 0"},
        {"{\"prompt\":\"a\",\"max_completion_tokens\":\"7\"}", "max_completion_tokens", "integer"},
        {"{\"prompt\":\"a\",\"max_output_tokens\":[]}", "max_output_tokens", "integer"},
        {"{\"prompt\":\"a\",\"min_tokens\":-2}", "min_tokens", "integer"},
        {"{\"prompt\":\"a\",\"temperature\":-0.1}", "temperature", "0 to 100"},
        {"{\"prompt\":\"a\",\"top_p\":1.1}", "top_p", "0 to 1"},
        {"{\"prompt\":\"a\",\"top_k\":-2}", "top_k", "integer"},
        {"{\"prompt\":\"a\",\"min_p\":2}", "min_p", "0 to 1"},
        {"{\"prompt\":\"a\",\"repetition_penalty\":0}", "repetition_penalty", "0.001"},
        {"{\"prompt\":\"a\",\"presence_penalty\":3}", "presence_penalty", "-2 to 2"},
        {"{\"prompt\":\"a\",\"frequency_penalty\":\"\"}", "frequency_penalty", "-2 to 2"},
        {"{\"prompt\":\"a\",\"seed\":1.5}", "seed", "integer"},
        {"{\"prompt\":\"a\",\"stop\":\"\"}", "stop", "1 to 256 bytes"},
        {"{\"prompt\":\"a\",\"stop\":[1]}", "stop", "1 to 256 bytes"},
        {"{\"prompt\":\"a\",\"stop\":{}}", "stop", "1 to 256 bytes"},
        {"{\"prompt\":\"a\",\"stop_token_ids\":[258]}", "stop_token_ids", "0 to 257"},
        {"{\"prompt\":\"a\",\"stop_token_ids\":3}", "stop_token_ids", "array"},
        {"{\"prompt\":\"a\",\"logit_bias\":[1]}", "logit_bias", "object"},
        {"{\"prompt\":\"a\",\"logit_bias\":{\"258\":1}}", "logit_bias", "'258' is not a token"},
        {"{\"prompt\":\"a\",\"logit_bias\":{\"5x\":1}}", "logit_bias", "'5x' is not a token"},
        {"{\"prompt\":\"a\",\"logit_bias\":{\"5\":101}}", "logit_bias", "-100 to 100"},
        {"{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix", "not supported"},
        {"{\"prompt\":\"a\",\"tools\":[{}]}", "tools", "not supported"},
        {"{\"prompt\":\"a\",\"use_beam_search\":true}", "use_beam_search", "not supported"},
        {"{\"prompt\":\"a\",\"length_penalty\":2}", "length_penalty", "not supported"},
        {"{\"prompt\":\"a\",\"response_format\":{\"type\":\"xml\"}}", "response_format", "must be"},
        {"{\"prompt\":\"a\",\"response_format\":\"text\"}", "response_format", "must be"},
        {"{\"prompt\":\"a\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
         "{\"type\":\"string\",\"pattern\":\"x(\"}}}}",
         "response_format.pattern", "is not a regular expression"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        completion_request r;
        problem p = parse(cases[i].body, &r);
        if (p.status != 400 || strcmp(p.field, cases[i].field) || !strstr(p.message, cases[i].words))
            fail_msg("%s: %d, %s: %s", cases[i].body, p.status, p.field, p.message);
        completion_free(&r);
    }
}

static void sizes_are_bounded(void **state) {
    char body[5000] = "{\"prompt\":[";
    completion_request r;
    (void)state;
    for (int i = 0; i < 101; i++) strcat(body, i ? ",7" : "7");
    strcat(body, "]}");
    problem p = parse(body, &r);
    assert_string_equal(p.code, "context_length_exceeded");
    completion_free(&r);
    strcpy(body, "{\"prompt\":[");
    for (int i = 0; i < 1001; i++) strcat(body, i ? ",7" : "7");
    strcat(body, "]}");
    p = parse(body, &r);
    assert_non_null(strstr(p.message, "at most 1000 are read"));
    strcpy(body, "{\"a\":");
    for (int i = 0; i < JSON_DEPTH_MAX; i++) strcat(body, "[");
    p = parse(body, &r);
    assert_non_null(strstr(p.message, "nested 33 deep"));
    strcpy(body, "{\"prompt\":\"a\",\"stop\":[");
    for (int i = 0; i < 17; i++) strcat(body, i ? ",\"x\"" : "\"x\"");
    strcat(body, "]}");
    p = parse(body, &r);
    assert_string_equal(p.field, "stop");
    completion_free(&r);
}

static void keys_are_compared_whole(void **state) {
    static const char keys[] = "# ours\n\n  first-key \r\nsecond # a comment\n#third\n";
    problem p = {0};
    size_t which = 7;
    (void)state;
    assert_int_equal(access_keys(keys), 2);
    assert_true(access_key(keys, "first-key", 9) == 1 && access_key(keys, "second", 6) == 2);
    assert_int_equal(access_key("a\nb\na\nb\n", "b", 1), 2); /* the first of the same */
    assert_false(access_key(keys, "first-ke", 8) || access_key(keys, "first-key1", 10) || access_key(keys, "", 0));
    assert_false(access_key(keys, "secondsecond", 12) || access_key(keys, "#third", 6));
    assert_true(access_check_key(keys, "Bearer second", NULL, &which, &p) &&
                access_check_key(keys, NULL, "second", &which, &p));
    assert_int_equal(which, 2);
    assert_true(access_check_key(NULL, NULL, NULL, &which, &p) && !which);
    assert_false(access_check_key(keys, "Basic second", NULL, &which, &p));
    assert_true(p.status == 401 && strstr(p.message, "is needed"));
}

static void hosts_are_addresses_or_known(void **state) {
    static const char *const names[] = {"model.example"};
    static const char *const good[] = {"localhost", "localhost:80", "LOCALHOST:1",       "127.0.0.1:8080", "[::1]:8080",
                                       "[::1]",     "192.168.1.7",  "model.example:443", "Model.Example"};
    static const char *const bad[] = {
        "evil.example", "localhost.evil.example", "127.0.0.1.evil", "", "model.example.org", "[::1", "[evil]:1"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        problem p = {0};
        if (!access_check_host(good[i], names, 1, &p)) fail_msg("%s", good[i]);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        problem p = {0};
        if (i != 5 && access_check_host(bad[i], names, 1, &p)) fail_msg("%s", bad[i]);
    }
    assert_true(access_is_loopback("127.0.0.1") && access_is_loopback("127.8.9.1") && access_is_loopback("::1"));
    assert_false(access_is_loopback("0.0.0.0") || access_is_loopback("::") || access_is_loopback("10.0.0.1") ||
                 access_is_loopback("localhost"));
}

/* ---- bodies ---- */

static _Atomic(http_exchange *) waits; /* the one that is not answered yet */

static void answer(http_exchange *e, int status) {
    text nothing = {0};
    http_answer(e, status, NULL, &nothing);
}

static void on_request(void *user, http_exchange *e) {
    (void)user;
    if (http_refused(e))
        answer(e, http_refused(e));
    else if (!strcmp(http_path(e), "/waits"))
        atomic_store(&waits, e);
    else
        answer(e, 200);
}

static int on_upload(void *user, http_exchange *e, uint64_t bytes, int *refused) {
    (void)user;
    (void)e;
    (void)bytes;
    (void)refused;
    return -1;
}

static void on_wake(void *user) { (void)user; }

static int status_of(int port) {
    static const char body[601];
    support_answer a = support_ask_as(port, "POST", "/", "", body, 600);
    int status = a.status;
    support_answer_free(&a);
    return status;
}

/* A body counts as long as it is there: also while the request of somebody who has left is worked on. */
static void bodies_of_the_gone_count(void **state) {
    static const char request[600] = "POST /waits HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n";
    http_options options = {.host = "127.0.0.1",
                            .connections_max = 8,
                            .body_bytes_max = 600,
                            .bodies_bytes_max = 1000,
                            .idle_seconds = 60,
                            .request = on_request,
                            .upload = on_upload,
                            .wake = on_wake};
    char why[256];
    http_server *server;
    (void)state;
    if (http_start(&options, &server, why, sizeof why)) fail_msg("%s", why);
    int port = http_port(server), fd = support_connect(port);
    support_send(fd, request, strlen(request) + 500);
    while (!atomic_load(&waits)) usleep(1000);
    close(fd);
    while (!http_gone(atomic_load(&waits))) usleep(1000);
    for (int i = 0; i < 3; i++) assert_int_equal(status_of(port), 503);
    answer(atomic_load(&waits), 200);
    assert_int_equal(status_of(port), 200);
    http_stop(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_have_their_values),
        cmocka_unit_test(refusals_name_the_field),
        cmocka_unit_test(sizes_are_bounded),
        cmocka_unit_test(keys_are_compared_whole),
        cmocka_unit_test(hosts_are_addresses_or_known),
        cmocka_unit_test(bodies_of_the_gone_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
