/* test_cli_bench_files.c: what `innerloop bench` reads and writes besides its rows: energy counters, CSV, the page, its
 * temporary file; and that a signal ends it. */
#include "support_test.h"

#include "support_bench.h"
#include "support_cli.h"
#include "support_files.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- energy ---- */

static void make_zone(const char *folder, const char *name, const char *microjoules) {
    char path[128];
    snprintf(path, sizeof path, "mkdir -p rapl/%s", folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "rapl/%s/name", folder);
    support_write(path, name, strlen(name));
    snprintf(path, sizeof path, "rapl/%s/energy_uj", folder);
    support_write(path, microjoules, strlen(microjoules));
}

static atomic_int counting;
/* A machine of two joules a millisecond, whose counter begins again after 10 kJ. */
static void *count(void *unused) {
    (void)unused;
    for (uint64_t joules = 9000; counting; joules += 2) {
        char text[32];
        snprintf(text, sizeof text, "%llu\n", (unsigned long long)(joules % 10000 * 1000000));
        support_write("rapl/next", text, strlen(text));
        assert_int_equal(rename("rapl/next", "rapl/intel-rapl:0/energy_uj"), 0);
        nanosleep(&(struct timespec){0, 1000 * 1000}, NULL);
    }
    return NULL;
}

static void test_energy(void **state) {
    (void)state;
    static const char line[] = "bench --preset tiny --mixer ttt_linear --work decode --context 16 --repeat 2 "
                               "--powercap rapl";
    json_t *object = support_json("%s", line);
    assert_string_equal(support_string(object, "energy.powercap"), "rapl");
    assert_string_equal(support_string(object, "energy.reason"), "rapl: No such file or directory");
    assert_true(json_is_null(json_object_get(row_at(object, 0, "decode", "ttt_linear"), "joules_per_token")));
    json_decref(object);

    make_zone("intel-rapl:0", "package-0\n", "77\n");
    object = support_json("%s", line);
    assert_true(json_is_null(json_object_get(json_object_get(object, "energy"), "reason")));
    assert_true(support_number(row_at(object, 0, "decode", "ttt_linear"), "joules_per_token") ==
                0); /* it stands still */
    json_decref(object);

    make_zone("intel-rapl:0", "package-0\n", "9000000000\n");
    support_write("rapl/intel-rapl:0/max_energy_range_uj", "10000000000\n", 12);
    counting = 1;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, count, NULL), 0);
    object = support_json("%s", line);
    counting = 0;
    assert_int_equal(pthread_join(thread, NULL), 0);
    const json_t *row = row_at(object, 0, "decode", "ttt_linear");
    double joules = support_number(row, "joules_per_token");
    /* at most 2 J a millisecond, and the counter did not stand still while 64 tokens were decoded twice */
    assert_true(joules > 0 && joules < 2100 / support_number(row, "tokens_per_s") + 1);
    json_decref(object);
}

/* ---- files ---- */

static void test_csv(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --work prefill --context 16,40 --repeat 3 "
                                  "--csv out.csv");
    char *text = support_text_of("out.csv"), *line = text;
    static const char head[] = "cpu,kernels,threads,preset,work,mixer,dtype,context,sessions,tokens_per_s,least,most,";
    assert_memory_equal(text, head, sizeof head - 1);
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = row_at(object, i, "prefill", "ttt_linear"), *samples = json_object_get(row, "samples");
        line = strstr(line, "\r\n");
        assert_non_null(line);
        line += 2;
        assert_int_equal(line[0], '"'); /* the CPU's name may hold commas */
        char *at = strstr(line, "\",");
        assert_non_null(at);
        double context, sessions, rate, least, most, flops;
        int threads;
        char kernels[16];
        assert_int_equal(sscanf(at, "\",%15[a-z0-9_],%d,tiny,prefill,\"ttt_linear\",f32,%lf,%lf,%lf,%lf,%lf,%lf,",
                                kernels, &threads, &context, &sessions, &rate, &least, &most, &flops),
                         8);
        assert_string_equal(kernels, support_string(object, "kernels"));
        assert_true(context == support_number(row, "context") && sessions == 1);
        assert_true(fabs(rate / support_number(row, "tokens_per_s") - 1) < 1e-8);
        assert_true(fabs(least / json_number_value(json_array_get(samples, 0)) - 1) < 1e-8);
        assert_true(fabs(most / json_number_value(json_array_get(samples, 2)) - 1) < 1e-8);
        assert_true(fabs(flops / support_number(row, "flops_per_token") - 1) < 1e-8);
        double limit, middle, fraction_least, fraction_most;
        at = strstr(at, ",GFLOP/s,");
        assert_non_null(at);
        assert_int_equal(sscanf(at, ",GFLOP/s,%lf,%lf,%lf,%lf,", &limit, &middle, &fraction_least, &fraction_most), 4);
        assert_true(fabs(limit / support_number(row, "limit") - 1) < 1e-8);
        assert_true(fabs(middle / support_number(row, "fraction_of_limit") - 1) < 1e-8);
        assert_true(fraction_least <= middle && middle <= fraction_most);
    }
    assert_string_equal(strstr(line, "\r\n"), "\r\n"); /* nothing after it */
    free(text);
    json_decref(object);
}

static size_t occurrences(const char *text, const char *word) {
    size_t n = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word)) n++;
    return n;
}

static void test_html(void **state) {
    (void)state;
    const size_t mixers = (size_t)il_mixer_count();
    json_decref(support_json("bench --preset tiny --work decode --context 16,400 --repeat 1 --html page.html"));
    char *page = support_text_of("page.html");
    assert_non_null(strstr(page, "<!doctype html>"));
    assert_int_equal(occurrences(page, "<svg "), 2); /* time of a token, and memory */
    assert_int_equal(occurrences(page, "<path class=\"line "), 2 * mixers);
    assert_int_equal(occurrences(page, "<circle "), 2 * mixers * 2);
    assert_int_equal(occurrences(page, "<tr><td>decode</td>"), 2 * mixers);
    assert_int_equal(occurrences(page, "<div class=\"wide\"><table>"), 1); /* scrolls where the window is narrow */
    assert_int_equal(occurrences(page, "TTT-MLP, 400: "), 2);
    assert_null(strstr(page, "http")); /* nothing is fetched */
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "</html>\n"));
    free(page);
    json_decref(support_json("bench --work gemm --repeat 1 --html page.html"));
    page = support_text_of("page.html");
    assert_int_equal(occurrences(page, "<svg "), 0); /* replaced */
    assert_int_equal(occurrences(page, "<tr><td>gemm</td>"), 1);
    free(page);
    support_refused(1, "nowhere", "bench --work gemm --repeat 1 --html nowhere/page.html");
    support_refused(1, "nowhere", "bench --work gemm --repeat 1 --csv nowhere/rows.csv");
}

/* Nothing stays behind in the folder for temporary files. */
static void test_leaves_nothing(void **state) {
    (void)state;
    assert_int_equal(setenv("TMPDIR", "nowhere", 1), 0);
    support_refused(1, "nowhere/innerloop-bench-",
                    "bench --preset tiny --mixer ttt_linear --work train --context 16 --json");
    assert_int_equal(setenv("TMPDIR", ".", 1), 0);
    json_decref(support_json("bench --preset tiny --mixer ttt_linear --work train --context 16 --repeat 1"));
    assert_int_equal(unsetenv("TMPDIR"), 0);
    assert_int_equal(system("ls innerloop-bench-* 2>/dev/null | grep -q ."), 256);
}

/* A row is printed when it is measured, and stays. The second one takes a minute on the fastest machine. */
static void test_rows_as_they_come(void **state) {
    (void)state;
    support_write("rows.csv", "old", 3);
    pid_t child = support_cli_start("bench --preset tiny --mixer ttt_linear --work prefill --context 16,1048576 "
                                    "--repeat 1 --minutes-max 1e6 --csv rows.csv");
    support_wait_for("out", "\nprefill ");
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *out = support_text_of("out"), *rows = support_text_of("rows.csv");
    const char *row = strstr(out, "\nprefill  ttt_linear f32         16 ");
    assert_non_null(row);
    assert_string_equal(strchr(row + 1, '\n'), "\n"); /* one row, whole */
    assert_non_null(strstr(out, "\nworkload mixer      dtype  context "));
    assert_string_equal(rows, "old");
    free(rows);
    free(out);
}

/* A signal ends it after the repetition under way; an object of half the rows is not printed. */
static void test_interrupt(void **state) {
    (void)state;
    pid_t child = support_cli_start("bench --preset tiny --mixer ttt_linear --work prefill --context 64 --repeat 1000 "
                                    "--minutes-max 1e6 --json"); /* left out on no machine, however busy */
    support_wait_for("err", "/1000");
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *out = support_text_of("out");
    assert_string_equal(out, "");
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_energy),    cmocka_unit_test(test_csv),
        cmocka_unit_test(test_html),      cmocka_unit_test(test_leaves_nothing),
        cmocka_unit_test(test_interrupt), cmocka_unit_test(test_rows_as_they_come),
    };
    return cmocka_run_group_tests_name("cli bench files", tests, support_cli_begin, support_cli_end);
}
