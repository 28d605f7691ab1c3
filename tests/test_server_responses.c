/* test_server_responses.c: /v1/responses is the chat that it stands for, in the shapes of its own, whole and as events;
 * what it cannot do is refused by name. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_server.h"

#define READER FIXTURES "/../../models/reader"
#define RESPONSES "/v1/responses"
#define CHAT "/v1/chat/completions"

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " READER " --alias m --chat-template plain --max-tokens 40");
    return 0;
}

static int end(void **state) {
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

static const json_t *message_of(const json_t *response) {
    assert_int_equal(json_array_size(json_object_get(response, "output")), 1);
    return json_array_get(json_object_get(response, "output"), 0);
}

static const json_t *part_of(const json_t *message) {
    assert_int_equal(json_array_size(json_object_get(message, "content")), 1);
    return json_array_get(json_object_get(message, "content"), 0);
}

static const char *text_of(const json_t *response) {
    return json_string_value(json_object_get(part_of(message_of(response)), "text"));
}

/* Every field that a strict client asks for, with its type. */
static void expect_shape(const json_t *r, const char *status) {
    static const struct {
        const char *name;
        json_type type;
    } fields[] = {{"id", JSON_STRING},
                  {"created_at", JSON_INTEGER},
                  {"error", JSON_NULL},
                  {"metadata", JSON_OBJECT},
                  {"model", JSON_STRING},
                  {"output", JSON_ARRAY},
                  {"parallel_tool_calls", JSON_FALSE},
                  {"tool_choice", JSON_STRING},
                  {"tools", JSON_ARRAY},
                  {"temperature", JSON_REAL},
                  {"top_p", JSON_REAL},
                  {"previous_response_id", JSON_NULL},
                  {"text", JSON_OBJECT},
                  {"usage", JSON_OBJECT}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(r, fields[i].name);
        if (!value || json_typeof(value) != fields[i].type) fail_msg("%s", fields[i].name);
    }
    assert_true(json_object_get(r, "instructions") && json_object_get(r, "incomplete_details"));
    assert_string_equal(support_string(r, "object"), "response");
    assert_string_equal(support_string(r, "status"), status);
    assert_memory_equal(support_string(r, "id"), "resp_", 5);
    assert_memory_equal(support_string(message_of(r), "id"), "msg_", 4);
    assert_string_equal(support_string(message_of(r), "id") + 3, support_string(r, "id") + 4);
    assert_string_equal(support_string(message_of(r), "type"), "message");
    assert_string_equal(support_string(message_of(r), "status"), status);
    assert_string_equal(support_string(part_of(message_of(r)), "type"), "output_text");
    assert_true(json_is_array(json_object_get(part_of(message_of(r)), "annotations")));
    assert_true(json_is_array(json_object_get(part_of(message_of(r)), "logprobs")));
    assert_int_equal(support_number(r, "usage.total_tokens"),
                     support_number(r, "usage.input_tokens") + support_number(r, "usage.output_tokens"));
    assert_int_equal(support_number(r, "usage.output_tokens_details.reasoning_tokens"), 0);
    assert_int_equal(support_number(r, "usage.input_tokens_details.cached_tokens"), 0);
    assert_int_equal(support_number(r, "usage.input_tokens_details.cache_write_tokens"), 0);
}

/* The same text, of a string and of items of all kinds. */
static void responses_are_chats(void **state) {
    (void)state;
    json_t *chat = support_ask_json(server.port, CHAT,
                                    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
                                    "\"content\":\"Who was it?\"}],\"max_tokens\":12,\"seed\":3,\"temperature\":0.5}");
    const char *said =
        json_string_value(json_object_get(json_object_get(support_choice(chat, 0), "message"), "content"));
    static const char *const inputs[] = {
        "\"instructions\":\"Be brief.\",\"input\":\"Who was it?\"",
        "\"instructions\":null,\"input\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},"
        "{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Who was it?\"}]}]"};
    for (size_t i = 0; i < 2; i++) {
        char body[600];
        snprintf(
            body, sizeof body,
            "{%s,\"max_output_tokens\":12,\"seed\":3,\"temperature\":0.5,\"model\":\"m\",\"metadata\":{\"k\":\"v\"},"
            "\"store\":false,\"reasoning\":{\"effort\":null},\"tools\":[],\"tool_choice\":\"auto\"}",
            inputs[i]);
        json_t *r = support_ask_json(server.port, RESPONSES, body);
        assert_string_equal(text_of(r), said);
        expect_shape(r, "incomplete");
        assert_string_equal(support_string(json_object_get(r, "incomplete_details"), "reason"), "max_output_tokens");
        assert_string_equal(support_string(json_object_get(r, "metadata"), "k"), "v");
        assert_true(json_real_value(json_object_get(r, "temperature")) == 0.5);
        const char *instructions = json_string_value(json_object_get(r, "instructions"));
        assert_true(i ? !instructions : instructions && !strcmp(instructions, "Be brief."));
        assert_int_equal(support_number(r, "usage.input_tokens"), support_number(chat, "usage.prompt_tokens"));
        assert_int_equal(support_number(r, "usage.output_tokens"), 12);
        json_decref(r);
    }
    json_decref(chat);
    json_t *turns = support_ask_json(
        server.port, RESPONSES,
        "{\"input\":[{\"role\":\"user\",\"content\":\"a\"},{\"type\":\"message\",\"id\":\"msg_1\",\"status\":"
        "\"completed\","
        "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"b\",\"annotations\":[]}]},"
        "{\"role\":\"user\",\"content\":\"c\"}],\"max_output_tokens\":1}");
    chat = support_ask_json(
        server.port, CHAT,
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"},"
        "{\"role\":\"user\",\"content\":\"c\"}],\"max_tokens\":1}");
    assert_int_equal(support_number(turns, "usage.input_tokens"), support_number(chat, "usage.prompt_tokens"));
    json_decref(chat);
    json_decref(turns);
}

static json_t *parse_events(const support_answer *answer) {
    json_t *events = json_array();
    const char *at = answer->body;
    while ((at = strstr(at, "event: "))) {
        char type[64];
        size_t n = strcspn(at + 7, "\n");
        snprintf(type, sizeof type, "%.*s", (int)n, at + 7);
        at += 7 + n;
        assert_memory_equal(at, "\ndata: ", 7);
        json_t *event = json_loads(at + 7, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(event);
        assert_string_equal(support_string(event, "type"), type);
        assert_int_equal(json_integer_value(json_object_get(event, "sequence_number")), json_array_size(events));
        json_array_append_new(events, event);
    }
    assert_null(strstr(answer->body, "[DONE]"));
    return events;
}

/* What a strict client follows: each event in its place, and in the last the answer that is given whole. */
static void events_are_the_whole(void **state) {
    static const char *const first[] = {"response.created", "response.in_progress", "response.output_item.added",
                                        "response.content_part.added"};
    static const char *const last[] = {"response.output_text.done", "response.content_part.done",
                                       "response.output_item.done", "response.incomplete"};
    static const char request[] = "\"input\":\"Who was it?\",\"max_output_tokens\":20,\"seed\":8,"
                                  "\"include\":[\"message.output_text.logprobs\"],\"top_logprobs\":2";
    char body[400], text[1000] = "";
    (void)state;
    snprintf(body, sizeof body, "{%s}", request);
    json_t *whole = support_ask_json(server.port, RESPONSES, body);
    snprintf(body, sizeof body, "{%s,\"stream\":true}", request);
    support_answer answer = support_ask(server.port, RESPONSES, body);
    json_t *events = parse_events(&answer), *event, *logprobs = json_array();
    size_t i, n = json_array_size(events);
    assert_true(n > 8);
    json_array_foreach(events, i, event) {
        const char *type = support_string(event, "type");
        if (i < 4 || i + 4 >= n) {
            assert_string_equal(type, i < 4 ? first[i] : last[i + 4 - n]);
            continue;
        }
        assert_string_equal(type, "response.output_text.delta");
        strcat(text, support_string(event, "delta"));
        json_array_extend(logprobs, json_object_get(event, "logprobs"));
    }
    const json_t *response = json_object_get(json_array_get(events, n - 1), "response");
    const json_t *item = json_object_get(json_array_get(events, n - 2), "item");
    const json_t *part = json_object_get(json_array_get(events, n - 3), "part");
    expect_shape(response, "incomplete");
    assert_string_equal(text, text_of(whole));
    assert_string_equal(text_of(response), text);
    assert_true(json_equal(message_of(response), item) && json_equal(part_of(item), part));
    assert_string_equal(support_string(json_array_get(events, n - 4), "text"), text);
    assert_true(json_equal(logprobs, json_object_get(part, "logprobs")));
    assert_true(json_equal(logprobs, json_object_get(part_of(message_of(whole)), "logprobs")));
    assert_int_equal(json_array_size(logprobs), 20);
    assert_int_equal(json_array_size(json_object_get(json_array_get(logprobs, 0), "top_logprobs")), 2);
    assert_true(json_equal(json_object_get(response, "usage"), json_object_get(whole, "usage")));
    const json_t *created = json_object_get(json_array_get(events, 0), "response");
    assert_string_equal(support_string(created, "status"), "in_progress");
    assert_true(json_equal(json_object_get(created, "id"), json_object_get(response, "id")));
    assert_string_equal(support_string(json_object_get(json_array_get(events, 2), "item"), "status"), "in_progress");
    json_decref(logprobs);
    json_decref(events);
    support_answer_free(&answer);
    json_decref(whole);
}

static void forms_are_followed(void **state) {
    (void)state;
    json_t *r = support_ask_json(
        server.port, RESPONSES,
        "{\"input\":\"Who?\",\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"n\",\"strict\":true,\"schema\":"
        "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[\"x\",\"y\"]}},\"required\":[\"a\"]}}}}");
    json_t *value = json_loads(text_of(r), 0, NULL);
    assert_true(value && json_is_string(json_object_get(value, "a")));
    expect_shape(r, "completed");
    assert_true(json_is_null(json_object_get(r, "incomplete_details")));
    assert_string_equal(support_string(json_object_get(json_object_get(r, "text"), "format"), "name"), "n");
    json_decref(value);
    json_decref(r);
}

static void refusals_name_the_field(void **state) {
    static const struct {
        const char *body, *field, *words;
    } cases[] = {
        {"{}", "input", "must be a string"},
        {"{\"input\":7}", "input", "must be a string"},
        {"{\"input\":[]}", "input", "1 to"},
        {"{\"input\":[7]}", "input", "array of messages"},
        {"{\"input\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "input", "input: the role"},
        {"{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]}", "input", "parts of content"},
        {"{\"input\":[{\"type\":\"function_call\"}]}", "input", "'function_call' are not supported"},
        {"{\"input\":\"a\",\"instructions\":7}", "instructions", "a string"},
        {"{\"input\":\"a\",\"tools\":[{\"type\":\"web_search\"}]}", "tools", "not supported"},
        {"{\"input\":\"a\",\"background\":true}", "background", "not supported"},
        {"{\"input\":\"a\",\"conversation\":\"c\"}", "conversation", "not supported"},
        {"{\"input\":\"a\",\"prompt\":{\"id\":\"x\"}}", "prompt", "not supported"},
        {"{\"input\":\"a\",\"previous_response_id\":\"resp_1\"}", "previous_response_id", "not supported"},
        {"{\"input\":\"a\",\"metadata\":[]}", "metadata", "an object"},
        {"{\"input\":\"a\",\"text\":[]}", "text", "an object"},
        {"{\"input\":\"a\",\"text\":{\"format\":{\"type\":\"xml\"}}}", "text.format", "must be"},
        {"{\"input\":\"a\",\"text\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"not\":{}}}}}",
         "text.format.not", "not supported"},
        {"{\"input\":\"a\",\"max_output_tokens\":0}", "max_output_tokens", "1 or more"},
        {"{\"input\":\"a\",\"max_output_tokens\":\"x\"}", "max_output_tokens", "integer"},
        {"{\"input\":\"a\",\"n\":2}", "n", "one answer"},
        {"{\"input\":\"a\",\"temperature\":-1}", "temperature", "0 to 100"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_ask_refused(server.port, RESPONSES, cases[i].body, 400, cases[i].field, cases[i].words);
    support_ask_refused(server.port, RESPONSES, "{\"input\":\"a\",\"model\":\"x\"}", 404, "model", "'x'");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_chats),
        cmocka_unit_test(events_are_the_whole),
        cmocka_unit_test(forms_are_followed),
        cmocka_unit_test(refusals_name_the_field),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
