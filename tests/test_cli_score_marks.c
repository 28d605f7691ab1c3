/* test_cli_score_marks.c: what score reports and what not: lines that are only learned, the highest scores, marks by a
 * threshold or a quantile, and the state that it leaves. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "support_text.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const by[] = {"token", "line", "passage"};

/* log.txt: lines of which some are like the others and some are not, in passages of 8. m: bytes; f: m with a fast head.
 */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(3, 3000));
    support_bytes_model();
    support_sentencepiece_model();
    free(support_done("convert --model m --set fast_head_size=16 --out f"));
    char text[8000] = "";
    for (int i = 1; i <= 200; i++) {
        int n = (int)strlen(text);
        if (i % 8 == 0)
            strcpy(text + n, "\n");
        else if (i % 37 == 0)
            sprintf(text + n, "#%c~{%d}\n", 'A' + i % 26, i * 7919);
        else
            sprintf(text + n, "reader %d is in\n", i * 31 % 100);
    }
    support_write("log.txt", text, strlen(text));
    return 0;
}

static const json_t *last(const json_t *array) { return json_array_get(array, json_array_size(array) - 1); }

static json_t *scores(const char *unit, const char *options) {
    char arguments[200];
    snprintf(arguments, sizeof arguments, "--model f --by %s %s log.txt", unit, options);
    return support_scores(NULL, arguments);
}

static double score_of(const json_t *object, const char *unit, int relative) {
    return support_number(object, relative ? "relative" : unit[0] == 't' ? "bits" : "bits_per_byte");
}

/* ---- learned lines ---- */

/* Nothing of what is reported changes but the mean so far, and the sums are of what is reported. */
static void test_learn(void **state) {
    (void)state;
    enum { LEARNED = 48 };
    for (int b = 0; b < 3; b++) {
        json_t *all = scores(by[b], ""), *rest = scores(by[b], "--learn 48");
        size_t n = json_array_size(rest) - 1, skipped = json_array_size(all) - 1 - n;
        double bits = 0, bytes = 0;
        assert_int_equal(b == 1 ? skipped : LEARNED, LEARNED);
        for (size_t i = 0; i < n; i++) {
            json_t *one = json_deep_copy(json_array_get(all, skipped + i)),
                   *other = json_deep_copy(json_array_get(rest, i));
            bits += support_number(other, "bits");
            bytes += support_number(other, "bytes");
            assert_true(support_number(other, b == 2 ? "first_line" : "line") > LEARNED);
            assert_true(fabs(support_number(other, "mean") - bits / bytes) < 1e-9);
            json_object_del(one, "mean");
            json_object_del(other, "mean");
            if (b == 2) {
                assert_true(support_number(other, "passage") == (double)i + 1);
                json_object_set(one, "passage", json_object_get(other, "passage"));
            }
            assert_true(json_equal(one, other));
            json_decref(one);
            json_decref(other);
        }
        assert_true(fabs(bits - support_number(last(rest), "bits")) < 1e-9 * bits);
        assert_true(bytes == support_number(last(rest), "bytes"));
        assert_true(support_number(last(rest), "lines") == 200 - LEARNED);
        assert_true(support_number(last(rest), "learned") == LEARNED && support_number(last(all), "learned") == 0);
        json_decref(all);
        json_decref(rest);
    }
    json_t *none = scores("line", "--learn 1000");
    assert_int_equal(json_array_size(none), 1);
    assert_true(support_number(last(none), "learned") == 200 && support_number(last(none), "tokens") == 0);
    json_decref(none);
    none = scores("passage", "--learn 44"); /* in the midst of a passage: what is left of it is one */
    assert_true(support_number(json_array_get(none, 0), "first_line") == 45);
    assert_true(support_number(json_array_get(none, 0), "lines") == 4);
    json_decref(none);
    support_run run = support_cli(NULL, "score --model m --learn 48 --html page.html log.txt");
    char *page = support_text_of("page.html");
    assert_memory_equal(run.out, "    49 ", 7);
    assert_non_null(strstr(run.err, "after the first 48 lines: "));
    assert_non_null(strstr(page, " 152 lines"));
    int shown = 0;
    for (char *at = page; (at = strstr(at, "<p")); at++)
        shown += !strncmp(at, "<p>", 3) || !strncmp(at, "<p id=", 6) || !strncmp(at, "<p class=gap", 12);
    assert_int_equal(shown, 152);
    assert_non_null(strstr(page, "main{counter-reset:line 48}"));
    free(page);
    support_run_free(&run);
}

/* ---- the highest ---- */

static void test_top(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        int relative = i >= 3;
        const char *unit = by[i % 3];
        json_t *all = scores(unit, relative ? "--relative" : ""),
               *top = scores(unit, relative ? "--relative --top 7" : "--top 7");
        size_t n = json_array_size(all) - 1;
        assert_int_equal(json_array_size(top), 8);
        char *taken = calloc(n, 1);
        for (size_t k = 0; k < 7; k++) {
            size_t best = n;
            for (size_t m = 0; m < n; m++) {
                const json_t *object = json_array_get(all, m);
                if (taken[m] || json_is_null(json_object_get(object, "bits"))) continue;
                if (best == n || score_of(object, unit, relative) > score_of(json_array_get(all, best), unit, relative))
                    best = m;
            }
            taken[best] = 1;
            assert_true(json_equal(json_array_get(all, best), json_array_get(top, k)));
        }
        free(taken);
        assert_true(support_number(last(all), "bits") == support_number(last(top), "bits"));
        json_decref(all);
        json_decref(top);
    }
    json_t *few = scores("line", "--top 1000");
    assert_int_equal(json_array_size(few), 201);
    json_decref(few);
    few = scores("passage", "--learn 196 --top 3"); /* one is all there is, and said */
    assert_int_equal(json_array_size(few), 2);
    json_decref(few);
    char *out = support_done("score --model m --top 2 log.txt"), *second = strchr(out, '\n') + 1;
    assert_true(strstr(out, "#") && strchr(second, '\n')[1] == 0);
    free(out);
    support_refused(2, "--top", "score --model m --top 0 log.txt");
}

/* ---- marks ---- */

static void test_only_marked(void **state) {
    (void)state;
    for (int b = 0; b < 3; b++) {
        json_t *all = scores(by[b], "--threshold 5.5"), *marked = scores(by[b], "--threshold 5.5 --only-marked");
        size_t at = 0;
        for (size_t i = 0; i + 1 < json_array_size(all); i++)
            if (json_is_true(json_object_get(json_array_get(all, i), "above")))
                assert_true(json_equal(json_array_get(all, i), json_array_get(marked, at++)));
        assert_int_equal(json_array_size(marked), at + 1);
        assert_true(support_number(last(marked), "above") == (double)at);
        assert_true(b == 2 || (at > 0 && at + 1 < json_array_size(all)));
        json_decref(all);
        json_decref(marked);
    }
    char *out = support_done("score --model m --threshold 5.5 --only-marked log.txt");
    int lines = 0;
    for (char *at = out; *at; at = strchr(at, '\n') + 1, lines++) assert_memory_equal(at + 14, " ! ", 3);
    assert_in_range(lines, 1, 100);
    free(out);
    json_t *top = scores("line", "--threshold 5.5 --only-marked --top 100");
    assert_true((double)json_array_size(top) - 1 == support_number(last(top), "above"));
    json_decref(top);
    support_refused(2, "--only-marked needs", "score --model m --only-marked log.txt");
}

/* The threshold of each unit: as many of those before it, in the latest epoch and the one before, as the quantile says
 * lie above, to the width of a bin. */
static void test_quantile(void **state) {
    (void)state;
    static const char *const options[] = {"--quantile 0.9", "--quantile 0.9 --relative", "--quantile 0.9 --learn 60"};
    for (int o = 0; o < 3; o++) {
        json_t *array = scores("line", options[o]), *all = scores("line", o == 1 ? "--relative" : "");
        size_t n = json_array_size(array) - 1, skipped = json_array_size(all) - 1 - n, marked = 0;
        assert_int_equal(skipped, o == 2 ? 60 : 0);
        for (size_t i = 0; i < n; i++) {
            const json_t *object = json_array_get(array, i), *limit = json_object_get(object, "threshold");
            double score = score_of(object, "line", o == 1), above = 0, near = 0;
            size_t seen = skipped + i, from = 0, over = 0;
            for (size_t epoch = 1; over + epoch <= seen; over += epoch, epoch *= 2) from = over;
            double may = (double)(seen - from) * (1 - 0.9);
            assert_int_equal(json_is_null(limit), may < 1);
            if (may < 1) continue;
            double t = json_number_value(limit);
            for (size_t k = from; k < seen; k++) {
                double before = score_of(json_array_get(all, k), "line", o == 1);
                above += before > t;
                near += before > t - fabs(t) / 32 - 1e-4;
            }
            assert_true(above <= may && near > may);
            assert_int_equal(json_is_true(json_object_get(object, "above")), score > t);
            marked += score > t;
        }
        assert_true(marked > 2 && marked < n / 4);
        assert_true(support_number(last(array), "above") == (double)marked);
        json_decref(array);
        json_decref(all);
    }
    support_run run = support_cli("one\ntwo\n", "score --model m --quantile 0.9 -");
    assert_non_null(strstr(run.err, "too few lines for a quantile of 0.9"));
    support_run_free(&run);
    support_refused(2, "exclude each other", "score --model m --threshold 1 --quantile 0.9 log.txt");
    support_refused(2, "--quantile", "score --model m --quantile 1 log.txt");
}

/* ---- the worst place ---- */

/* log.txt's like with a status that is rare in a long line: by its mean it is lost, by its worst place it is first,
 * whatever the tokens are. */
static void test_peak(void **state) {
    (void)state;
    enum { LINES = 400, ODD = 350 };
    char *text = calloc(LINES, 80);
    support_seed(5);
    for (int i = 1, n = 0; i <= LINES; i++)
        n += sprintf(text + n, "10.0.%u.%u get /page/%u %s %04u reader of a long book\n", support_random(4),
                     support_random(9), support_random(7), i == ODD ? "503" : "200", support_random(10000));
    support_write("requests.txt", text, strlen(text));
    free(text);
    static const char *const models[] = {"f", "s"};
    for (int m = 0; m < 2; m++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "--model %s --peak --learn 200 --top 3 requests.txt", models[m]);
        json_t *peak = support_scores(NULL, arguments);
        const json_t *first = json_array_get(peak, 0);
        assert_true(support_number(first, "line") == ODD);
        assert_true(support_number(first, "peak") > 1.2 * support_number(json_array_get(peak, 1), "peak"));
        assert_non_null(strpbrk(support_string(first, "peak_text"), "503"));
        assert_true(strlen(support_string(first, "peak_text")) < 20);
        snprintf(arguments, sizeof arguments, "--model %s --learn 200 --top 3 requests.txt", models[m]);
        json_t *mean = support_scores(NULL, arguments);
        for (size_t i = 0; i < 3; i++) {
            assert_true(support_number(json_array_get(mean, i), "line") != ODD);
            assert_null(json_object_get(json_array_get(mean, i), "peak"));
        }
        json_decref(mean);
        json_decref(peak);
    }
    char *out =
        support_done("score --model f --peak --learn 200 --quantile 0.99 --only-marked --html page.html requests.txt");
    char *line = strstr(out, "\n   350 ") ? strstr(out, "\n   350 ") + 1 : out;
    assert_memory_equal(line, "   350 ", 7);
    assert_non_null(strstr(line, " ! 10.0."));
    char *from = strstr(line, "«"), *to = strstr(line, "»"), *end = strchr(line, '\n');
    assert_true(from && to && from < to && to < end);
    free(out);
    support_refused(2, "--peak is of lines", "score --model m --peak --by passage log.txt");
    support_refused(2, "exclude each other", "score --model f --peak --relative log.txt");
}

/* ---- the state ---- */

static void test_state(void **state) {
    (void)state;
    static const char *const options[] = {"", "--frozen", "--load-state before.ilstate"};
    free(support_done("read --model f --save-state before.ilstate book.txt"));
    for (int i = 0; i < 3; i++) {
        free(support_done("read --model f %s --save-state read.ilstate log.txt", options[i]));
        support_run run =
            support_cli(NULL, "score --model f %s --learn 9 --save-state scored.ilstate log.txt", options[i]);
        assert_int_equal(run.code, 0);
        assert_non_null(strstr(run.err, "scored.ilstate: the state at position "));
        support_run_free(&run);
        support_same_files("read.ilstate", "scored.ilstate");
    }
    json_t *object = scores("passage", "--save-state scored.ilstate");
    assert_string_equal(support_string(last(object), "out"), "scored.ilstate");
    assert_true(support_number(last(object), "position") == support_number(last(object), "tokens") + 1);
    json_decref(object);
    support_refused(1, "no/such", "score --model m --save-state no/such/a.ilstate log.txt");
    support_refused(2, "exclude each other", "score --model m --window 64 --save-state a.ilstate log.txt");
}

/* Ctrl-C leaves the state at the end of a line: what of another had come is not in it. What is highest so far is
 * printed. */
static void test_interrupted(void **state) {
    (void)state;
    static const char whole[] = "reader 1 is in\n#~{}[]\n", part[] = "reader 3 is ";
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pid_t child = support_cli_start("score --model m --top 1 --save-state stopped.ilstate pipe");
    int fd = open("pipe", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, whole, sizeof whole - 1), sizeof whole - 1);
    usleep(300000);
    assert_int_equal(write(fd, part, sizeof part - 1), sizeof part - 1);
    usleep(300000);
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    close(fd);
    char *out = support_text_of("out");
    assert_non_null(strstr(out, "#~{}[]\n"));
    assert_null(strstr(out, "reader"));
    free(out);
    support_write("whole.txt", whole, sizeof whole - 1);
    free(support_done("read --model m --save-state read.ilstate whole.txt"));
    support_same_files("read.ilstate", "stopped.ilstate");
}

/* A stream is watched: a marked line is there before anything else comes, and no other line is. */
static void test_watched(void **state) {
    (void)state;
    enum { LINES = 250 };
    assert_int_equal(mkfifo("watched", 0600), 0);
    pid_t child = support_cli_start("score --model f --peak --learn 200 --quantile 0.9 --only-marked watched");
    FILE *to = fopen("watched", "w");
    assert_non_null(to);
    support_seed(6);
    for (int i = 1; i <= LINES; i++)
        fprintf(to, "10.0.0.%u get /page/%u %s %04u\n", support_random(4), support_random(9),
                i == LINES ? "503" : "200", support_random(10000));
    fflush(to);
    support_wait_for("out", "   250 ");
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    fclose(to);
    char *out = support_text_of("out");
    for (char *at = out; *at; at = strchr(at, '\n') + 1) assert_memory_equal(at + 14, " ! ", 3);
    assert_true(strlen(out) < 60 * 30);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learn),       cmocka_unit_test(test_top),
                                       cmocka_unit_test(test_only_marked), cmocka_unit_test(test_quantile),
                                       cmocka_unit_test(test_peak),        cmocka_unit_test(test_state),
                                       cmocka_unit_test(test_interrupted), cmocka_unit_test(test_watched)};
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
