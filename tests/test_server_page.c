/* test_server_page.c: the page of `innerloop serve`: every file of it answers, is of its kind, and asks nobody else;
 * and what a token costs. */
#include "support_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "json_schema.h"
#include "page.h"
#include "routes.h"
#include "support_cli.h"
#include "support_files.h"
#include "support_server.h"

#define MODEL "--model " FIXTURES "/../../models/any "

static support_server server;

static int begin(void **state) {
    if (support_cli_begin(state)) return -1;
    support_write("keys", "secret\n", 7);
    server = support_server_start(MODEL "--api-key-file keys");
    return 0;
}

static support_answer asset(const char *path, const char *type) {
    char line[128];
    support_answer answer = support_ask(server.port, path, NULL);
    if (answer.status != 200) fail_msg("%s: status %d", path, answer.status);
    snprintf(line, sizeof line, "Content-Type: %s\r\n", type);
    if (!strstr(answer.head, line)) fail_msg("%s is not %s:\n%s", path, type, answer.head);
    const char *policy = strstr(answer.head, "Content-Security-Policy: default-src 'none'; script-src 'self'; "
                                             "style-src 'self'; connect-src 'self'; ");
    if (!policy || strstr(policy, "unsafe") || !strstr(policy, "frame-ancestors 'none'"))
        fail_msg("%s:\n%s", path, answer.head);
    assert_non_null(strstr(answer.head, "X-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(answer.head, "Cache-Control: no-cache\r\n"));
    return answer;
}

static const char *type_of(const char *name) {
    return strstr(name, ".json")   ? "application/json"
           : strstr(name, ".html") ? "text/html; charset=utf-8"
           : strstr(name, ".css")  ? "text/css; charset=utf-8"
           : strstr(name, ".js")   ? "text/javascript; charset=utf-8"
           : strstr(name, ".svg")  ? "image/svg+xml"
                                   : "none";
}

/* No address but the names of the languages of SVG, and nothing that the policy would not run. */
static void asks_nobody_else(const char *name, const char *words) {
    static const char svg[] = "http://www.w3.org/2000/svg";
    static const char *const forbidden[] = {"https://",  "'//",      "\"//",    "@import", "url(",          "eval(",
                                            "innerHTML", "onclick=", " style=", "<style",  "document.write"};
    for (const char *at = words; (at = strstr(at, "http://")); at++)
        if (strncmp(at, svg, sizeof svg - 1)) fail_msg("%s: %.60s", name, at);
    for (size_t i = 0; i < sizeof forbidden / sizeof *forbidden; i++)
        if (strstr(words, forbidden[i])) fail_msg("%s holds %s", name, forbidden[i]);
}

/* Every $('id') of a script is an element of the page. */
static void finds_its_elements(const char *name, const char *script, const char *html) {
    for (const char *at = script; (at = strstr(at, "$('"));) {
        char id[80];
        at += 3;
        snprintf(id, sizeof id, "id=\"%.*s\"", (int)strcspn(at, "'"), at);
        if (!strstr(html, id)) fail_msg("%s: the page has no %s", name, id);
    }
}

static void every_file_answers(void **state) {
    (void)state;
    support_answer page = asset("/", "text/html; charset=utf-8");
    assert_non_null(strstr(page.body, "<html lang=\"en\">"));
    text all = {0};
    for (size_t i = 0; i < page_n_files; i++) text_add(&all, page_files[i].data, page_files[i].bytes);
    text_add(&all, "", 1);
    for (size_t i = 0; i < page_n_files; i++) {
        char path[80], named[2][80];
        const char *name = page_files[i].name;
        snprintf(path, sizeof path, "/page/%s", name);
        support_answer answer = asset(path, type_of(name));
        assert_int_equal(answer.bytes, page_files[i].bytes);
        assert_memory_equal(answer.body, page_files[i].data, answer.bytes);
        asks_nobody_else(name, answer.body);
        if (strstr(name, ".js") && !strstr(name, ".json")) finds_its_elements(name, answer.body, page.body);
        snprintf(named[0], sizeof named[0], "\"/page/%s\"", name); /* by the page, or imported by a script */
        snprintf(named[1], sizeof named[1], "'./%s'", name);
        if (strcmp(name, "index.html") && strcmp(name, "openapi.json") && !strstr(all.data, named[0]) &&
            !strstr(all.data, named[1]))
            fail_msg("nothing uses %s", name);
        support_answer_free(&answer);
    }
    for (const char *at = page.body; (at = strstr(at, "\"/page/"));) { /* what it names is there */
        char path[80];
        snprintf(path, sizeof path, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
        support_answer answer = asset(path, type_of(path));
        support_answer_free(&answer);
        at++;
    }
    text_free(&all);
    support_answer_free(&page);
}

/* Every method and path that the server knows stands in openapi.json. */
static void the_file_has_all_paths(void **state) {
    support_answer answer = asset("/openapi.json", "application/json");
    json_t *file = json_loadb(answer.body, answer.bytes, 0, NULL), *paths = json_object_get(file, "paths");
    const char *method;
    char path[64], lower[8];
    size_t n = 0;
    (void)state;
    for (; routes_at(n, &method, path); n++) {
        snprintf(lower, sizeof lower, "%s", method);
        for (char *at = lower; *at; at++) *at |= 0x20;
        if (!json_object_get(json_object_get(paths, path), lower)) fail_msg("it lacks %s %s", method, path);
    }
    size_t methods = 0;
    json_t *of_path, *what;
    const char *name;
    json_object_foreach(paths, name, of_path) {
        json_object_foreach(of_path, method, what) methods += strcmp(method, "parameters") != 0;
    }
    assert_int_equal(n, methods);
    json_decref(file);
    support_answer_free(&answer);
}

/* Every event of a stream is as the file has it. */
static void events_are_as_the_file_has_them(void **state) {
    static const struct {
        const char *path, *body, *schema;
    } cases[] = {
        {"/v1/completions",
         "{\"prompt\":\"It was\",\"max_tokens\":4,\"n\":2,\"logprobs\":2,\"return_token_ids\":true,\"stream\":true,"
         "\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}}",
         "CompletionEvent"},
        {"/v1/completions",
         "{\"prompt\":\"It was\",\"max_tokens\":4,\"stop\":\"e\",\"stream\":true,\"session\":\"%s\"}",
         "CompletionEvent"},
        {"/v1/chat/completions",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":4,\"logprobs\":true,\"top_logprobs\":2,"
         "\"return_token_ids\":true,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
         "ChatEvent"},
        {"/v1/responses",
         "{\"input\":\"a\",\"max_output_tokens\":4,\"stream\":true,\"include\":[\"message.output_text.logprobs\"]}",
         "ResponseEvent"},
        {"/v1/sessions/%s/feed", "{\"prompt\":\" a dark night\",\"logprobs\":1,\"stream\":true}", "SessionEvent"},
        {"/v1/sessions/%s/feed", "{\"prompt\":\" a dark night\",\"stream\":true}", "SessionEvent"},
    };
    support_answer answer = asset("/openapi.json", "application/json");
    json_t *file = json_loadb(answer.body, answer.bytes, 0, NULL), *event;
    json_t *schemas = json_object_get(json_object_get(file, "components"), "schemas");
    (void)state;
    support_answer_free(&answer);
    support_server talks = support_server_start(MODEL "--chat-template plain");
    answer = support_ask(talks.port, "/v1/sessions", "{\"prompt\":\"It was\"}");
    json_t *session = json_loadb(answer.body, answer.bytes, 0, NULL);
    support_answer_free(&answer);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        char path[100], body[500];
        const char *id = support_string(session, "id"), *at = strstr(cases[k].body, "%s");
        snprintf(path, sizeof path, strstr(cases[k].path, "%s") ? "/v1/sessions/%s/feed" : "%s",
                 strstr(cases[k].path, "%s") ? id : cases[k].path);
        snprintf(body, sizeof body, "%.*s%s%s", at ? (int)(at - cases[k].body) : 500, cases[k].body, at ? id : "",
                 at ? at + 2 : "");
        answer = support_ask(talks.port, path, body);
        size_t n = 0;
        for (const char *line = answer.body; (line = strstr(line, "data: {")); n++) {
            event = json_loadb(line + 6, strcspn(line + 6, "\n"), 0, NULL);
            assert_non_null(event);
            if (!json_schema_satisfied(file, json_object_get(schemas, cases[k].schema), event))
                fail_msg("%s: %.*s", cases[k].schema, (int)strcspn(line, "\n"), line);
            json_decref(event);
            line++;
        }
        if (n < 2) fail_msg("%s: %zu events: %.400s", path, n, answer.body);
        support_answer_free(&answer);
    }
    json_decref(session);
    json_decref(file);
    assert_int_equal(support_server_end(&talks, SIGTERM), 128 + SIGTERM);
}

/* Every path and method of openapi.json is one of the server's. */
static void the_file_of_its_paths_is_true(void **state) {
    (void)state;
    support_answer answer = asset("/openapi.json", "application/json");
    json_t *file = json_loadb(answer.body, answer.bytes, 0, NULL), *paths = json_object_get(file, "paths"), *methods,
           *what;
    const char *path, *method;
    assert_true(json_object_size(paths) > 15);
    json_object_foreach(paths, path, methods) {
        json_object_foreach(methods, method, what) {
            char asked[100], upper[8] = "";
            if (!strcmp(method, "parameters")) continue;
            size_t n = strcspn(path, "{");
            snprintf(asked, sizeof asked, "%.*s%s%s", (int)n, path,
                     path[n] ? strstr(path, "/page/") ? "main.js" : "any" : "",
                     path[n] ? path + n + strcspn(path + n, "}") + 1 : "");
            for (size_t i = 0; method[i] && i + 1 < sizeof upper; i++) upper[i] = (char)(method[i] - 'a' + 'A');
            int body = !strcmp(upper, "POST") || !strcmp(upper, "PUT") || !strcmp(upper, "PATCH");
            support_answer one =
                support_ask_as(server.port, upper, asked, "X-Api-Key: secret\r\nContent-Type: application/json\r\n",
                               body ? "[" : NULL, 1);
            if (one.status == 405 || one.status >= 500 || (one.status == 404 && strstr(one.body, "\"not_found\"")))
                fail_msg("%s %s: status %d: %s", upper, asked, one.status, one.body);
            support_answer_free(&one);
        }
    }
    json_decref(file);
    support_answer_free(&answer);
}

static void what_is_no_file(void **state) {
    (void)state;
    static const char *const paths[] = {"/page/", "/page/nothing.js", "/page/../server.c", "/page/main.js/", "/page"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        support_ask_refused(server.port, paths[i], NULL, 404, NULL, "is not a path of this server");
    support_answer answer = support_ask_as(server.port, "HEAD", "/", "", NULL, 0);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.bytes, 0);
    support_answer_free(&answer);
    answer = support_ask_as(server.port, "POST", "/", "Content-Type: application/json\r\n", "{}", 2);
    support_answer_refused(&answer, 405, NULL, "is asked by GET");
    support_answer_free(&answer);
}

static double last_over_first(const json_t *costs, const char *model, const char *of) {
    const json_t *series = json_object_get(json_object_get(costs, model), of);
    size_t n = json_array_size(json_object_get(costs, "positions"));
    assert_int_equal(json_array_size(series), n);
    return json_number_value(json_array_get(series, n - 1)) / json_number_value(json_array_get(series, 1));
}

static void what_a_token_costs(void **state) {
    (void)state;
    support_ask_refused(server.port, "/cost", NULL, 401, NULL, "an API key is needed");
    support_answer answer = support_ask_as(server.port, "GET", "/cost", "X-Api-Key: secret\r\n", NULL, 0);
    json_t *costs = json_loadb(answer.body, answer.bytes, 0, NULL);
    assert_true(last_over_first(costs, "model", "flops") == 1);
    assert_true(last_over_first(costs, "model", "state_bytes") == 1);
    assert_true(last_over_first(costs, "transformer", "flops") > 100);
    assert_true(last_over_first(costs, "transformer", "state_bytes") == 1 << 20);
    json_decref(costs);
    support_answer_free(&answer);
    answer = support_ask_as(server.port, "GET", "/v1/models", "X-Api-Key: secret\r\n", NULL, 0);
    assert_non_null(strstr(answer.body, "\"chat\":false"));
    support_answer_free(&answer);
    assert_int_equal(support_server_end(&server, SIGTERM), 128 + SIGTERM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_file_answers),     cmocka_unit_test(the_file_of_its_paths_is_true),
        cmocka_unit_test(the_file_has_all_paths), cmocka_unit_test(events_are_as_the_file_has_them),
        cmocka_unit_test(what_is_no_file),        cmocka_unit_test(what_a_token_costs),
    };
    return cmocka_run_group_tests(tests, begin, support_server_teardown);
}
