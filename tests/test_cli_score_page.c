/* test_cli_score_page.c: the page of the verb score: its size, its links, its list of the worst lines, its typeface. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "support_text.h"

#include <stdio.h>
#include <stdlib.h>

enum { BOOK_BYTES = 60000, ODD = 301 };

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(1, BOOK_BYTES));
    support_bytes_model();
    support_sentencepiece_model();
    FILE *log = fopen("requests.txt", "w");
    for (int i = 1; i <= 400; i++)
        fprintf(log, "10.0.%d.%d GET /page/%d %s 200\n", i % 5, i * 7 % 50, i * 13 % 40,
                i == ODD ? "<&~{}~&>" : "HTTP/1.1");
    return fclose(log);
}

/* The page of a text, released by free. */
static char *page_of(const char *arguments) {
    free(support_done("score --html page.html %s", arguments));
    return support_text_of("page.html");
}

/* Four times the text, and what every page has: style and chart. */
static void test_size(void **state) {
    (void)state;
    static const char *const models[] = {"--model m book.txt", "--model s book.txt"};
    for (int i = 0; i < 2; i++) {
        char *page = page_of(models[i]);
        size_t bytes = strlen(page);
        if (bytes > 4 * BOOK_BYTES + 40000) fail_msg("%s: %zu bytes", models[i], bytes);
        assert_non_null(strstr(page, "<i class=c"));
        free(page);
    }
}

/* Every link leads to a line, and both chart and list have some. */
static void test_links(void **state) {
    (void)state;
    char *page = page_of("--model m book.txt");
    int links = 0;
    for (char *at = page; (at = strstr(at, "href=\"#")); at++, links++) {
        char id[32], wanted[48];
        assert_int_equal(sscanf(at, "href=\"#%30[l0-9]\"", id), 1);
        snprintf(wanted, sizeof wanted, "<p id=%s", id);
        char *line = strstr(page, wanted);
        size_t n = strlen(wanted);
        while (line && line[n] != '>' && line[n] != ' ') line = strstr(line + 1, wanted);
        if (!line) fail_msg("nothing has the id %s", id);
    }
    assert_in_range(links, 120 + 12, 240 + 12);
    free(page);
}

/* The list begins as --top does; with --peak the place is marked. Numbers go on after --learn. */
static void test_worst(void **state) {
    (void)state;
    char *page = page_of("--model m --learn 200 requests.txt");
    json_t *top = support_scores(NULL, "--model m --learn 200 --top 2 requests.txt");
    const char *at = strstr(page, "<ol class=\"worst\">");
    for (size_t i = 0; i < 2; i++) {
        char link[60];
        snprintf(link, sizeof link, "<li><a href=\"#l%.0f\">", support_number(json_array_get(top, i), "line"));
        at = at ? strstr(at, "<li>") : NULL;
        assert_non_null(at);
        assert_memory_equal(at++, link, strlen(link));
    }
    json_decref(top);
    assert_non_null(strstr(page, "main{counter-reset:line 200}"));
    assert_null(strstr(page, "<mark>"));
    free(page);
    page = page_of("--model m --peak --learn 200 requests.txt");
    at = strstr(page, "<ol class=\"worst\">\n<li><a href=\"#l301\">301</a>");
    assert_non_null(at);
    const char *mark = strstr(at, "<mark>"), *end = strstr(at, "</li>");
    assert_true(mark && mark < end);
    free(page);
}

static void test_typeface(void **state) {
    (void)state;
    static const char rule[] = "main>p,.worst li{font-family:ui-monospace";
    char *prose = page_of("--model m book.txt"), *log = page_of("--model m requests.txt");
    assert_null(strstr(prose, rule));
    assert_non_null(strstr(log, rule));
    free(prose);
    free(log);
}

/* Colours are given by rank: what half of a text reaches has none, the rarest the deepest, whatever the bits. */
static void test_colours(void **state) {
    (void)state;
    static const char *const texts[] = {"--model m book.txt", "--model m --frozen book.txt"};
    for (int i = 0; i < 2; i++) {
        char *page = page_of(texts[i]), *at = strstr(page, "\n.c");
        assert_non_null(at);
        assert_in_range(atoi(at + 3), 2, 20);
        assert_non_null(strstr(page, "{background:#7d0f5f;"));
        assert_null(strstr(page, "{background:transparent"));
        free(page);
    }
    char *noise = page_of("--model m requests.txt"); /* to this model all of it is: nothing stands out */
    assert_null(strstr(noise, "\n.c"));
    free(noise);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_size), cmocka_unit_test(test_links),
                                       cmocka_unit_test(test_worst), cmocka_unit_test(test_typeface),
                                       cmocka_unit_test(test_colours)};
    return cmocka_run_group_tests_name("cli score page", tests, begin, support_cli_end);
}
