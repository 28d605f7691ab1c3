/* test_server_chat.c: conversations over HTTP are the completions of their messages in the form of the template. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_cli.h"
#include "support_server.h"

#define MODEL FIXTURES "/../../models/any"
#define CHAT "/v1/chat/completions"
#define MESSAGES                                                                                                       \
    "\"messages\":[{\"role\":\"developer\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":"                 \
    "[{\"type\":\"text\",\"text\":\"Who \"},{\"type\":\"input_text\",\"text\":\"are you?\"}]},"                        \
    "{\"role\":\"assistant\",\"content\":null},{\"role\":\"user\",\"content\":\"Well?\"}]"

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    server = support_server_start("--model " MODEL " --chat-template plain --max-tokens 40");
    return 0;
}

static int end(void **state) {
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
    return support_server_teardown(state);
}

static void prompts_are_the_templates(void **state) {
    static const il_chat_message messages[] = {{IL_CHAT_SYSTEM, "Be brief.", 9},
                                               {IL_CHAT_USER, "Who are you?", 12},
                                               {IL_CHAT_ASSISTANT, "", 0},
                                               {IL_CHAT_USER, "Well?", 5}};
    il_engine *engine;
    il_tokenizer *tokenizer;
    il_config config;
    il_chat *chat;
    il_chat_info info;
    il_tokens tokens = {0};
    il_error error;
    (void)state;
    assert_ok(il_engine_open(NULL, &engine, &error), error);
    assert_ok(il_config_load(engine, MODEL, &config, &error), error);
    assert_ok(il_tokenizer_load_for_model(engine, MODEL, &config, &tokenizer, &error), error);
    assert_ok(il_chat_open(tokenizer, &config, MODEL, "plain", &chat, &error), error);
    assert_ok(il_chat_render(chat, messages, 4, 0, &tokens, &error), error);
    assert_ok(il_chat_begin_answer(chat, 0, NULL, &tokens, &error), error);
    il_chat_get_info(chat, &info);

    json_t *answer = support_ask_json(server.port, CHAT, "{" MESSAGES ",\"seed\":3,\"n\":2,\"return_token_ids\":true}");
    const json_t *ids = json_object_get(support_choice(answer, 0), "prompt_token_ids");
    assert_int_equal(json_array_size(ids), tokens.n);
    for (size_t i = 0; i < tokens.n; i++) assert_int_equal(json_integer_value(json_array_get(ids, i)), tokens.ids[i]);
    assert_string_equal(support_string(answer, "object"), "chat.completion");

    /* The same prompt to /v1/completions has the same answers. */
    json_t *request = json_pack("{s:O, s:i, s:i, s:i}", "prompt", ids, "seed", 3, "n", 2, "max_tokens", 40);
    if (info.stop) json_object_set_new(request, "stop", json_string(info.stop));
    char *body = json_dumps(request, 0);
    json_t *plain = support_ask_json(server.port, "/v1/completions", body);
    for (size_t i = 0; i < 2; i++) {
        const json_t *message = json_object_get(support_choice(answer, i), "message");
        assert_string_equal(json_string_value(json_object_get(message, "role")), "assistant");
        assert_true(json_equal(json_object_get(message, "content"), json_object_get(support_choice(plain, i), "text")));
        assert_true(json_equal(json_object_get(support_choice(answer, i), "finish_reason"),
                               json_object_get(support_choice(plain, i), "finish_reason")));
    }
    static const char *const counts[] = {"usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens"};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(support_number(answer, counts[i]), support_number(plain, counts[i]));
    json_decref(plain);
    json_decref(request);
    free(body);
    json_decref(answer);
    il_tokens_free(&tokens);
    il_chat_close(chat);
    il_tokenizer_close(tokenizer);
    il_engine_close(engine);
}

static void streams_are_whole_answers(void **state) {
    static const char request[] = MESSAGES ",\"seed\":5,\"n\":2,\"logprobs\":true,\"top_logprobs\":2";
    char body[1000];
    (void)state;
    snprintf(body, sizeof body, "{%s}", request);
    json_t *whole = support_ask_json(server.port, CHAT, body);
    snprintf(body, sizeof body, "{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true}}", request);
    support_answer answer = support_ask(server.port, CHAT, body);
    json_t *events = support_events(&answer), *event;
    for (size_t k = 0; k < 2; k++) {
        char content[4000] = "";
        json_t *logprobs = json_array();
        const char *finish = NULL;
        size_t i, seen = 0;
        json_array_foreach(events, i, event) {
            const json_t *choice = support_choice(event, 0), *delta = json_object_get(choice, "delta");
            assert_string_equal(support_string(event, "object"), "chat.completion.chunk");
            if (!choice || json_integer_value(json_object_get(choice, "index")) != (json_int_t)k) continue;
            assert_null(finish);
            const json_t *role = json_object_get(delta, "role");
            assert_true((role != NULL) == (seen++ == 0));
            finish = json_string_value(json_object_get(choice, "finish_reason"));
            if (finish)
                assert_int_equal(json_object_size(delta), 0);
            else
                strcat(content, json_string_value(json_object_get(delta, "content")));
            json_array_extend(logprobs, json_object_get(json_object_get(choice, "logprobs"), "content"));
        }
        const json_t *expected = support_choice(whole, k);
        assert_string_equal(content,
                            json_string_value(json_object_get(json_object_get(expected, "message"), "content")));
        assert_string_equal(finish, json_string_value(json_object_get(expected, "finish_reason")));
        assert_true(json_equal(logprobs, json_object_get(json_object_get(expected, "logprobs"), "content")));
        json_t *first = json_array_get(logprobs, 0), *tops = json_object_get(first, "top_logprobs");
        assert_int_equal(json_array_size(tops), 2);
        assert_int_equal(json_array_size(json_object_get(first, "bytes")), 1); /* a token of this model is a byte */
        assert_true(json_real_value(json_object_get(json_array_get(tops, 0), "logprob")) >=
                    json_real_value(json_object_get(first, "logprob")));
        json_decref(logprobs);
    }
    event = json_array_get(events, json_array_size(events) - 1);
    assert_true(json_equal(json_object_get(event, "usage"), json_object_get(whole, "usage")));
    json_decref(events);
    support_answer_free(&answer);
    json_decref(whole);
}

static void what_is_refused(void **state) {
    static const struct {
        const char *body, *field, *words;
    } cases[] = {
        {"{}", "messages", "1 to 4096 messages"},
        {"{\"messages\":[]}", "messages", "1 to 4096 messages"},
        {"{\"messages\":\"hi\"}", "messages", "1 to 4096 messages"},
        {"{\"messages\":[5]}", "messages", "role"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "messages", "role"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", "messages", "must be a string"},
        {"{\"messages\":[{\"role\":\"assistant\"},{\"role\":\"user\"}]}", "messages", "has no content"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":null}]}", "messages", "has no content"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "messages", "parts of content"},
        {"{" MESSAGES ",\"logprobs\":3}", "logprobs", "true or false"},
        {"{" MESSAGES ",\"top_logprobs\":3}", "top_logprobs", "needs"},
        {"{" MESSAGES ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "0 to 20"},
        {"{" MESSAGES ",\"tools\":[{\"type\":\"function\"}]}", "tools", "not supported"},
        {"{" MESSAGES ",\"model\":\"x\"}", "model", "not served"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        support_ask_refused(server.port, CHAT, cases[i].body, strcmp(cases[i].field, "model") ? 400 : 404,
                            cases[i].field, cases[i].words);
    support_server other = support_server_start("--model " MODEL " --max-prompt-tokens 10");
    support_ask_refused(other.port, CHAT, "{" MESSAGES "}", 400, "messages", "no chat template");
    assert_int_equal(support_server_end(&other, SIGTERM), 128 + SIGTERM);
    other = support_server_start("--model " MODEL " --max-prompt-tokens 10 --chat-template plain");
    support_ask_refused(other.port, CHAT, "{" MESSAGES "}", 400, "messages", "at most 10 a request");
    assert_int_equal(support_server_end(&other, SIGTERM), 128 + SIGTERM);
    support_refused(1, "<|im_start|>", "serve --model " MODEL " --port 0 --chat-template chatml");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_the_templates),
        cmocka_unit_test(streams_are_whole_answers),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
