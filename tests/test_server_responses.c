/* test_server_responses.c: /v1/responses is the chat that it stands for, in the shapes of its own, whole and as events;
 * what it cannot do is refused by name. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_files.h"
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
                  {"text", JSON_OBJECT},
                  {"usage", JSON_OBJECT}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(r, fields[i].name);
        if (!value || json_typeof(value) != fields[i].type) fail_msg("%s", fields[i].name);
    }
    assert_true(json_object_get(r, "previous_response_id") && json_object_get(r, "instructions") &&
                json_object_get(r, "incomplete_details"));
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
    assert_true(support_number(r, "usage.input_tokens_details.cached_tokens") <
                support_number(r, "usage.input_tokens"));
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
    assert_int_equal(support_number(response, "usage.total_tokens"), support_number(whole, "usage.total_tokens"));
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
        {"{\"input\":\"a\",\"session\":\"ses_1\"}", "session", "not supported"},
        {"{\"input\":\"a\",\"keep\":true}", "keep", "not supported"},
        {"{\"input\":\"a\",\"previous_response_id\":\"resp_1\"}", "previous_response_id", "no response 'resp_1'"},
        {"{\"input\":\"a\",\"previous_response_id\":\"ses_1\"}", "previous_response_id", "no response 'ses_1'"},
        {"{\"input\":\"a\",\"previous_response_id\":7}", "previous_response_id", "a string"},
        {"{\"input\":\"a\",\"store\":1}", "store", "true or false"},
        {"{\"input\":\"a\",\"store\":true,\"ttl\":0}", "ttl", "integer"},
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

/* Asks by a path below /v1/responses/. */
static support_answer ask_stored(int port, const char *method, const char *id) {
    char path[100];
    snprintf(path, sizeof path, RESPONSES "/%s", id);
    return support_ask_as(port, method, path, "", NULL, 0);
}

static json_t *go_on(int port, const char *previous, const char *more) {
    char body[500];
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"And then?\",%s}", previous, more);
    return support_ask_json(port, RESPONSES, body);
}

/* What follows a whole conversation, which is written out. */
static json_t *continued(int port, const char *talk, int tokens, int seed) {
    json_t *request =
        json_pack("{s:s,s:i,s:i,s:s}", "prompt", talk, "max_tokens", tokens, "seed", seed, "stop", "\nUser:");
    char *body = json_dumps(request, 0);
    json_t *answer = support_ask_json(port, "/v1/completions", body);
    free(body);
    json_decref(request);
    return answer;
}

/* A response that goes on from a stored one is the answer to the whole conversation, whose first part it does not read
 * again; and the stored one is as it was, also after a restart. */
static void stored_responses_go_on(void **state) {
    static const char options[] = "--model " FIXTURES "/../../models/any --chat-template plain --store kept";
    static const char usual[] = "\"max_output_tokens\":12,\"seed\":5,\"instructions\":\"Be brief.\"";
    char body[1500], id[64], second[64];
    (void)state;
    support_server keeper = support_server_start(options);
    int port = keeper.port;
    snprintf(body, sizeof body, "{\"input\":\"Who was it?\",%s,\"store\":true}", usual);
    json_t *first = support_ask_json(port, RESPONSES, body);
    expect_shape(first, "incomplete");
    assert_true(json_is_true(json_object_get(first, "store")));
    snprintf(id, sizeof id, "%s", support_string(first, "id"));
    support_answer shown = ask_stored(port, "GET", id);
    json_t *same = json_loadb(shown.body, shown.bytes, 0, NULL);
    assert_true(shown.status == 200 && json_equal(same, first));
    json_decref(same);
    support_answer_free(&shown);

    json_t *next = go_on(port, id, "\"max_output_tokens\":15,\"seed\":6,\"store\":true");
    snprintf(second, sizeof second, "%s", support_string(next, "id"));
    assert_string_equal(support_string(next, "previous_response_id"), id);
    char talk[2000];
    size_t n = (size_t)snprintf(
        talk, sizeof talk, "Be brief.\n\nUser: Who was it?\nAssistant:%s\nUser: And then?\nAssistant:", text_of(first));
    json_t *plain = continued(port, talk, 15, 6);
    assert_string_equal(text_of(next), json_string_value(json_object_get(support_choice(plain, 0), "text")));
    assert_true(support_number(next, "usage.input_tokens") < support_number(plain, "usage.prompt_tokens") / 2);
    json_decref(plain);

    /* Of a form, whose end no token marks; streamed; and from each of the two. */
    snprintf(
        body, sizeof body,
        "{\"previous_response_id\":\"%s\",\"input\":\"How many?\",\"store\":true,\"stream\":true,\"text\":{\"format\":"
        "{\"type\":\"json_schema\",\"name\":\"n\",\"schema\":{\"enum\":[\"one\",\"two\"]}}}}",
        second);
    support_answer answer = support_ask(port, RESPONSES, body);
    json_t *events = parse_events(&answer);
    const json_t *third = json_object_get(json_array_get(events, json_array_size(events) - 1), "response");
    expect_shape(third, "completed");
    snprintf(talk + n, sizeof talk - n, "%s\nUser: How many?\nAssistant:%s\nUser: And then?\nAssistant:", text_of(next),
             text_of(third));
    plain = continued(port, talk, 9, 0);
    json_t *fourth = go_on(port, support_string(third, "id"), "\"max_output_tokens\":9");
    assert_string_equal(text_of(fourth), json_string_value(json_object_get(support_choice(plain, 0), "text")));
    json_decref(fourth);
    json_decref(plain);
    json_decref(events);
    support_answer_free(&answer);
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"a\",\"instructions\":\"Shout.\"}", id);
    support_ask_refused(port, RESPONSES, body, 400, "instructions", "other instructions");

    assert_int_equal(support_server_end(&keeper, SIGTERM), 128 + SIGTERM);
    keeper = support_server_start(options);
    port = keeper.port;
    json_t *again = go_on(port, id, "\"max_output_tokens\":15,\"seed\":6,\"instructions\":\"Be brief.\"");
    assert_string_equal(text_of(again), text_of(next));
    assert_true(json_is_false(json_object_get(again, "store")));
    shown = ask_stored(port, "GET", support_string(again, "id")); /* which was not to be stored */
    support_answer_refused(&shown, 404, "response_id", "there is no response");
    support_answer_free(&shown);
    shown = ask_stored(port, "DELETE", id);
    assert_int_equal(shown.status, 200);
    same = json_loadb(shown.body, shown.bytes, 0, NULL);
    assert_true(json_is_true(json_object_get(same, "deleted")));
    assert_string_equal(support_string(same, "id"), id);
    json_decref(same);
    support_answer_free(&shown);
    shown = ask_stored(port, "DELETE", id);
    support_answer_refused(&shown, 404, "response_id", "there is no response");
    support_answer_free(&shown);
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"a\"}", id);
    support_ask_refused(port, RESPONSES, body, 400, "previous_response_id", "there is no response");
    json_decref(go_on(port, second, "\"max_output_tokens\":1")); /* what came of it stays */
    shown = ask_stored(port, "PUT", second);
    assert_true(shown.status == 405 && strstr(shown.head, "Allow: GET, HEAD, DELETE"));
    support_answer_free(&shown);
    json_decref(again);
    json_decref(next);
    json_decref(first);
    assert_int_equal(support_server_end(&keeper, SIGTERM), 128 + SIGTERM);
}

/* A session that is no response is none here. */
static void sessions_are_no_responses(void **state) {
    char id[64];
    (void)state;
    support_answer made = support_ask(server.port, "/v1/sessions", "{\"prompt\":\"It was\"}");
    json_t *session = json_loadb(made.body, made.bytes, 0, NULL);
    snprintf(id, sizeof id, "resp_%s", support_string(session, "id") + 4);
    support_answer shown = ask_stored(server.port, "GET", id);
    support_answer_refused(&shown, 404, "response_id", id);
    support_answer_free(&shown);
    shown = ask_stored(server.port, "GET", "resp_");
    support_answer_refused(&shown, 404, "response_id", "there is no response");
    support_answer_free(&shown);
    shown = ask_stored(server.port, "GET", "resp_1/input_items");
    support_answer_refused(&shown, 404, "response_id", "there is no response");
    support_answer_free(&shown);
    json_decref(session);
    support_answer_free(&made);
}

/* The session of a response stays what it is: what goes on is a copy of it. */
static void what_a_response_read_stays(void **state) {
    static const char *const moves[][2] = {{"feed", "{\"prompt\":\"a\"}"}, {"rewind", "{\"position\":3}"}};
    char path[120], body[200];
    (void)state;
    json_t *response =
        support_ask_json(server.port, "/v1/responses", "{\"input\":\"hello\",\"store\":true,\"max_output_tokens\":4}");
    const char *id = support_string(response, "id");
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/v1/sessions/ses_%s/%s", id + 5, moves[i][0]);
        support_ask_refused(server.port, path, moves[i][1], 409, "session", "fork it");
    }
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"session\":\"ses_%s\",\"keep\":true}", id + 5);
    support_ask_refused(server.port, "/v1/completions", body, 409, "session", "fork it");
    snprintf(body, sizeof body, "{\"prompt\":\"a\",\"session\":\"ses_%s\",\"max_tokens\":2}", id + 5);
    json_decref(support_ask_json(server.port, "/v1/completions", body));
    snprintf(path, sizeof path, "/v1/sessions/ses_%s/fork", id + 5);
    support_answer answer = support_ask(server.port, path, "{}");
    json_t *copies = json_loadb(answer.body, answer.bytes, 0, NULL);
    const char *copy = json_string_value(json_object_get(json_array_get(json_object_get(copies, "data"), 0), "id"));
    assert_int_equal(answer.status, 201);
    support_answer_free(&answer);
    snprintf(path, sizeof path, "/v1/sessions/%s/feed", copy);
    json_decref(support_ask_json(server.port, path, moves[0][1]));
    snprintf(path, sizeof path, "resp_%.40s", copy + 4); /* which is no response, though it has its note */
    answer = ask_stored(server.port, "GET", path);
    support_answer_refused(&answer, 404, "response_id", path);
    support_answer_free(&answer);
    answer = ask_stored(server.port, "GET", id);
    json_t *same = json_loadb(answer.body, answer.bytes, 0, NULL);
    assert_true(json_equal(same, response));
    json_decref(same);
    support_answer_free(&answer);
    json_decref(copies);
    json_decref(response);
}

/* To another API key there is no such response. */
static void responses_are_of_a_key(void **state) {
    static const char asked[] = "{\"input\":\"a\",\"max_output_tokens\":1,\"store\":true}";
    static const char *const keys[] = {"Authorization: Bearer one\r\nContent-Type: application/json\r\n",
                                       "Authorization: Bearer two\r\nContent-Type: application/json\r\n"};
    char path[100], body[150];
    (void)state;
    support_write("keys", "one\ntwo\n", 8);
    support_server keyed =
        support_server_start("--model " FIXTURES "/../../models/any --chat-template plain --api-key-file keys");
    support_answer answer = support_ask_as(keyed.port, "POST", RESPONSES, keys[0], asked, strlen(asked));
    json_t *made = json_loadb(answer.body, answer.bytes, 0, NULL);
    support_answer_free(&answer);
    snprintf(path, sizeof path, RESPONSES "/%s", support_string(made, "id"));
    snprintf(body, sizeof body, "{\"previous_response_id\":\"%s\",\"input\":\"a\"}", support_string(made, "id"));
    for (int i = 0; i < 2; i++) {
        answer = support_ask_as(keyed.port, i ? "DELETE" : "GET", path, keys[1], NULL, 0);
        support_answer_refused(&answer, 404, "response_id", "there is no response");
        support_answer_free(&answer);
    }
    answer = support_ask_as(keyed.port, "POST", RESPONSES, keys[1], body, strlen(body));
    support_answer_refused(&answer, 400, "previous_response_id", "there is no response");
    support_answer_free(&answer);
    answer = support_ask_as(keyed.port, "GET", path, keys[0], NULL, 0);
    assert_int_equal(answer.status, 200);
    support_answer_free(&answer);
    json_decref(made);
    assert_int_equal(support_server_end(&keyed, SIGTERM), 128 + SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(responses_are_chats),        cmocka_unit_test(events_are_the_whole),
        cmocka_unit_test(forms_are_followed),         cmocka_unit_test(refusals_name_the_field),
        cmocka_unit_test(stored_responses_go_on),     cmocka_unit_test(sessions_are_no_responses),
        cmocka_unit_test(what_a_response_read_stays), cmocka_unit_test(responses_are_of_a_key),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
