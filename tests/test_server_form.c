/* test_server_form.c: response_format over HTTP: an answer that ends by itself is the document that was asked for,
 * whole and streamed, of completions and of chats; what is reported of its tokens is the model's own. */
#include "support_test.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_server.h"

#define MODELS FIXTURES "/../../models"
#define COMPLETIONS "/v1/completions"
#define CHAT "/v1/chat/completions"
#define PERSON                                                                                                         \
    "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"person\",\"strict\":true,\"schema\":{\"type\":\"object\","  \
    "\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":20},\"age\":{\"type\":\"integer\",\"minimum\":0,"     \
    "\"maximum\":150},\"mood\":{\"enum\":[\"glad\",\"sad\"]},\"friends\":{\"type\":\"array\",\"maxItems\":2,"          \
    "\"items\":{\"type\":\"string\",\"maxLength\":8}}},\"required\":[\"name\",\"age\",\"mood\",\"friends\"],"          \
    "\"additionalProperties\":false}}}"

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " MODELS "/reader --alias m --chat-template plain --max-tokens 300");
    return 0;
}

static int end(void **state) {
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

static void expect_person(const char *text) {
    json_t *person = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!person) fail_msg("not JSON: %s", text);
    json_t *friends = json_object_get(person, "friends"), *friend;
    const char *mood = json_string_value(json_object_get(person, "mood"));
    size_t i;
    assert_int_equal(json_object_size(person), 4);
    assert_true(json_is_string(json_object_get(person, "name")));
    assert_true(json_is_integer(json_object_get(person, "age")));
    assert_in_range(json_integer_value(json_object_get(person, "age")), 0, 150);
    assert_true(mood && (!strcmp(mood, "glad") || !strcmp(mood, "sad")));
    assert_true(json_is_array(friends) && json_array_size(friends) <= 2);
    json_array_foreach(friends, i, friend) assert_true(json_is_string(friend));
    json_decref(person);
}

static void answers_are_documents(void **state) {
    (void)state;
    for (int seed = 0; seed < 6; seed++) {
        char body[1400];
        snprintf(body, sizeof body,
                 "{\"prompt\":\"A man\",\"max_tokens\":300,\"n\":2,\"temperature\":%d,\"seed\":%d,"
                 "\"response_format\":" PERSON "}",
                 seed % 3, 10 * seed);
        json_t *answer = support_ask_json(server.port, COMPLETIONS, body);
        for (size_t i = 0; i < 2; i++) {
            const json_t *choice = support_choice(answer, i);
            assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "stop");
            expect_person(json_string_value(json_object_get(choice, "text")));
        }
        json_decref(answer);
    }
}

static void chats_and_streams_are_too(void **state) {
    static const char request[] = "\"messages\":[{\"role\":\"user\",\"content\":\"Who?\"}],\"seed\":4,"
                                  "\"response_format\":" PERSON;
    char body[1400], text[2000] = "";
    (void)state;
    snprintf(body, sizeof body, "{%s}", request);
    json_t *answer = support_ask_json(server.port, CHAT, body), *event;
    const json_t *message = json_object_get(support_choice(answer, 0), "message");
    expect_person(json_string_value(json_object_get(message, "content")));
    snprintf(body, sizeof body, "{%s,\"stream\":true}", request);
    support_answer streamed = support_ask(server.port, CHAT, body);
    json_t *events = support_events(&streamed);
    size_t i;
    json_array_foreach(events, i, event) {
        const char *said =
            json_string_value(json_object_get(json_object_get(support_choice(event, 0), "delta"), "content"));
        if (said) strcat(text, said);
    }
    assert_string_equal(text, json_string_value(json_object_get(message, "content")));
    json_decref(events);
    support_answer_free(&streamed);
    json_decref(answer);
}

/* An object that is cut is cut; a number that may end ends by the token that ends a text, or because it can go on no
 * longer. */
static void ends_are_told_apart(void **state) {
    (void)state;
    json_t *answer = support_ask_json(
        server.port, COMPLETIONS,
        "{\"prompt\":\"A man\",\"max_tokens\":8,\"response_format\":{\"type\":\"json_object\"},\"temperature\":0}");
    const char *text = json_string_value(json_object_get(support_choice(answer, 0), "text"));
    assert_string_equal(json_string_value(json_object_get(support_choice(answer, 0), "finish_reason")), "length");
    assert_int_equal(text[strspn(text, " \n")], '{');
    json_decref(answer);
    answer = support_ask_json(
        server.port, COMPLETIONS,
        "{\"prompt\":\"A man\",\"max_tokens\":300,\"n\":8,\"response_format\":{\"type\":\"json_schema\","
        "\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"number\"}}},\"temperature\":2}");
    for (size_t i = 0; i < 8; i++) {
        const json_t *choice = support_choice(answer, i);
        json_t *value = json_loads(json_string_value(json_object_get(choice, "text")), JSON_DECODE_ANY, NULL);
        assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "stop");
        assert_true(json_is_number(value));
        json_decref(value);
    }
    json_decref(answer);
    support_ask_refused(server.port, CHAT,
                        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"response_format\":{\"type\":"
                        "\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"not\":{}}}}}",
                        400, "response_format.not", "not is not supported");
}

/* A token that the form forces has the probability that the model gives it without the form. */
static void probabilities_are_the_models(void **state) {
    (void)state;
    json_t *answer =
        support_ask_json(server.port, COMPLETIONS,
                         "{\"prompt\":[1,300,17],\"max_tokens\":120,\"logprobs\":0,\"return_token_ids\":true,"
                         "\"response_format\":" PERSON "}");
    const json_t *choice = support_choice(answer, 0), *ids = json_object_get(choice, "token_ids");
    const json_t *numbers = json_object_get(json_object_get(choice, "logprobs"), "token_logprobs");
    json_t *prompt = json_pack("[i,i,i]", 1, 300, 17);
    json_array_extend(prompt, (json_t *)(uintptr_t)ids);
    json_t *request = json_pack("{s:o,s:i,s:i,s:b}", "prompt", prompt, "max_tokens", 0, "logprobs", 0, "echo", 1);
    char *body = json_dumps(request, 0);
    json_t *scored = support_ask_json(server.port, COMPLETIONS, body);
    const json_t *own = json_object_get(json_object_get(support_choice(scored, 0), "logprobs"), "token_logprobs");
    assert_int_equal(json_array_size(own), 3 + json_array_size(numbers));
    double total = 0;
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        assert_true(json_equal(json_array_get(numbers, i), json_array_get(own, 3 + i)));
        total += json_real_value(json_array_get(numbers, i));
    }
    assert_true(total < -10); /* it would not have said this by itself */
    json_decref(scored);
    json_decref(request);
    free(body);
    json_decref(answer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_documents),
        cmocka_unit_test(chats_and_streams_are_too),
        cmocka_unit_test(ends_are_told_apart),
        cmocka_unit_test(probabilities_are_the_models),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
