/* test_cli_score.c: the verb score: its sums are eval's, its lines come as the text comes, its page and its
 * terminal cannot be steered by the text. */
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
#include <sys/wait.h>
#include <unistd.h>

enum { BOOK_BYTES = 4000 };

/* m: bytes, a little trained; s: SentencePiece of ours; l: SentencePiece with a space before every text, as
 * Llama's; a: self-attention, bytes; f: m with a fast head. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(2, BOOK_BYTES));
    support_bytes_model();
    support_sentencepiece_model();
    support_llama_model();
    free(support_done("init --preset tiny --set hidden_size=32 --set num_attention_heads=2 --set intermediate_size=48 "
                      "--set num_hidden_layers=2 --mixer self_attention --tokenizer bytes --out a"));
    free(support_done("convert --model m --set fast_head_size=16 --out f"));
    return 0;
}

static const json_t *last(const json_t *array) { return json_array_get(array, json_array_size(array) - 1); }

/* The sums of all lines but the last are the last line's. */
static void adds_up(const json_t *array) {
    size_t n = json_array_size(array) - 1;
    double bits = 0, bytes = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *object = json_array_get(array, i);
        bits += support_number(object, "bits");
        bytes += support_number(object, "bytes");
        if (bytes > 0) /* the space that l puts before a text stands for none */
            assert_true(fabs(support_number(object, "mean") - bits / bytes) < 1e-9);
    }
    assert_true(fabs(bits - support_number(last(array), "bits")) < 1e-9 * bits);
    assert_true(bytes == support_number(last(array), "bytes"));
}

static void test_sums_are_evals(void **state) {
    (void)state;
    static const char *const models[] = {"m", "l", "m --frozen", "l --frozen"};
    static const char *const by[] = {"token", "line", "passage"};
    double seen[4];
    for (int m = 0; m < 4; m++) {
        char arguments[200];
        json_t *eval = support_json("eval --data book.txt --model %s", models[m]);
        seen[m] = support_number(eval, "bits_per_byte");
        for (int b = 0; b < 3; b++) {
            snprintf(arguments, sizeof arguments, "--by %s book.txt --model %s", by[b], models[m]);
            json_t *array = support_scores(NULL, arguments);
            assert_true(support_number(last(array), "tokens") == support_number(eval, "tokens"));
            assert_true(support_number(last(array), "bytes") == BOOK_BYTES);
            assert_true(fabs(support_number(last(array), "bits_per_byte") - seen[m]) < 1e-12);
            assert_true(fabs(support_number(last(array), "nll") - support_number(eval, "nll")) < 1e-12);
            assert_int_equal(json_is_true(json_object_get(last(array), "frozen")), m >= 2);
            if (b < 2) adds_up(array);
            if (b == 0) assert_true((double)json_array_size(array) - 1 == support_number(eval, "tokens"));
            json_decref(array);
        }
        json_decref(eval);
    }
    assert_true(seen[0] != seen[2] && seen[1] != seen[3]);
}

/* ours: tokens are made line by line, the bytes are all there. */
static void test_lines(void **state) {
    (void)state;
    static const char text[] = "the reader\n\n a \xFF"
                               "b \xC3\xA9\r\nno end";
    static const char *const texts[] = {"the reader", "",
                                        (" a \xEF\xBF\xBD"
                                         "b \xC3\xA9"),
                                        "no end"};
    static const int bytes[] = {11, 1, 10, 6};
    static const char *const models[] = {"m", "s", "l"};
    for (int m = 0; m < 3; m++) {
        char arguments[100];
        snprintf(arguments, sizeof arguments, "--model %s -", models[m]);
        json_t *array = support_scores(text, arguments);
        assert_int_equal(json_array_size(array), 5);
        for (size_t i = 0; i < 4; i++) {
            const json_t *object = json_array_get(array, i);
            assert_int_equal((size_t)support_number(object, "line"), i + 1);
            assert_string_equal(support_string(object, "text"), texts[i]);
            assert_int_equal((int)support_number(object, "bytes"), bytes[i]);
        }
        adds_up(array);
        json_decref(array);
    }
}

static void test_tokens(void **state) {
    (void)state;
    json_t *array = support_scores("a\xC3\xA9\n", "--by token --model m -");
    static const int tokens[] = {'a', 0xC3, 0xA9, '\n'};
    static const char *const texts[] = {"a", "", "\xC3\xA9", "\n"};
    assert_int_equal(json_array_size(array), 5);
    for (size_t i = 0; i < 4; i++) {
        const json_t *object = json_array_get(array, i);
        assert_int_equal((size_t)support_number(object, "position"), i + 1);
        assert_int_equal((int)support_number(object, "token"), tokens[i]);
        assert_string_equal(support_string(object, "text"), texts[i]);
    }
    json_decref(array);
}

static void test_nothing(void **state) {
    (void)state;
    json_t *array = support_scores("", "--model m -");
    assert_int_equal(json_array_size(array), 1);
    assert_true(support_number(last(array), "tokens") == 0);
    assert_true(json_is_null(json_object_get(last(array), "bits_per_byte")));
    json_decref(array);
}

static void test_passages(void **state) {
    (void)state;
    json_t *array = support_scores("one\ntwo\n\n\n", "--by passage --model m -"); /* alone it is the whole */
    assert_int_equal(json_array_size(array), 1);
    assert_true(support_number(last(array), "passages") == 1);
    json_decref(array);
    array = support_scores("\n \none\ntwo\n\n\t\nthree\n\nfour", "--by passage --model m -");
    static const int first[] = {1, 6, 9}, lines[] = {5, 3, 1}, bytes[] = {12, 9, 4};
    assert_int_equal(json_array_size(array), 4);
    for (size_t i = 0; i < 3; i++) {
        const json_t *object = json_array_get(array, i);
        assert_int_equal((size_t)support_number(object, "passage"), i + 1);
        assert_int_equal((int)support_number(object, "first_line"), first[i]);
        assert_int_equal((int)support_number(object, "lines"), lines[i]);
        assert_int_equal((int)support_number(object, "bytes"), bytes[i]);
    }
    adds_up(array);
    json_decref(array);
    array = support_scores(" \n\n", "--by passage --model m -");
    assert_int_equal(json_array_size(array), 1);
    assert_true(support_number(last(array), "passages") == 0 && support_number(last(array), "bytes") == 3);
    json_decref(array);
}

static void test_threshold(void **state) {
    (void)state;
    static const char text[] = "the reader of a long book\nXQ#~@ZZ{}|\nthe book and the reader\n";
    json_t *array = support_scores(text, "--model m --threshold 6 -");
    for (size_t i = 0; i < 3; i++) {
        const json_t *object = json_array_get(array, i);
        assert_int_equal(json_is_true(json_object_get(object, "above")), support_number(object, "bits_per_byte") > 6);
        assert_int_equal(json_is_true(json_object_get(object, "above")), i == 1);
    }
    assert_true(support_number(last(array), "above") == 1);
    json_decref(array);
    array = support_scores(text, "--model m -");
    assert_null(json_object_get(last(array), "above"));
    json_decref(array);
    support_run run = support_cli(text, "score --model m --threshold 6 -");
    assert_int_equal(run.code, 0);
    char *marked = strstr(run.out, " ! XQ#~@ZZ{}|\n");
    assert_non_null(marked);
    assert_null(strstr(marked + 5, " ! "));
    assert_non_null(strstr(run.err, "1 line above 6"));
    assert_null(strchr(run.out, '\033'));
    support_run_free(&run);
    run = support_cli(text, "score --by token --model m -");
    assert_non_null(strstr(run.out, "   #\n"));
    support_run_free(&run);
    run = support_cli("one\n\ntwo\n", "score --by passage --model m -");
    assert_non_null(strstr(run.out, "passage 2, lines 3-3, mean "));
    support_run_free(&run);
}

/* A line of any length in constant memory: it counts as several, between characters. */
static void test_endless_line(void **state) {
    (void)state;
    enum { BYTES = 140001 };
    char *text = malloc(BYTES + 1);
    text[0] = 'a';
    for (int i = 1; i < BYTES; i += 2) memcpy(text + i, "\xC3\xA9", 2);
    support_write("long.txt", text, BYTES);
    free(text);
    json_t *array = support_scores(NULL, "--model fresh long.txt");
    assert_int_equal(json_array_size(array), 4);
    assert_true(support_number(last(array), "bytes") == BYTES);
    for (size_t i = 0; i < 3; i++) {
        const char *line = support_string(json_array_get(array, i), "text");
        assert_null(strstr(line, "\xEF\xBF\xBD"));
    }
    json_decref(array);
}

/* ---- as it comes ---- */

static void say(int fd, const char *text) { assert_int_equal(write(fd, text, strlen(text)), strlen(text)); }

/* Every line has its score before the next one is written; Ctrl-C ends it with everything in order. */
static void test_follows_a_log(void **state) {
    (void)state;
    assert_int_equal(mkfifo("log", 0600), 0);
    support_write("out", "", 0);
    pid_t child = support_cli_start("score --model m --json --html page.html log");
    int fd = open("log", O_WRONLY);
    assert_true(fd >= 0);
    say(fd, "first\nsec");
    support_wait_for("out", "\"text\":\"first\"");
    say(fd, "ond\n");
    support_wait_for("out", "\"text\":\"second\"");
    say(fd, "an unfinished");
    usleep(300000);
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    close(fd);
    char *out = support_text_of("out"), *page = support_text_of("page.html");
    assert_non_null(strstr(out, "\"bytes\":26,"));
    assert_non_null(strstr(page, "</html>"));
    free(out);
    free(page);
}

/* Ctrl-C inside a long line, or behind it: what was scored has its line and its sums. */
static void test_interrupt_in_a_line(void **state) {
    (void)state;
    enum { BYTES = 1 << 16 };
    char *text = malloc(BYTES);
    memset(text, 'a', BYTES);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pid_t child = support_cli_start("score --model m --json pipe");
    int fd = open("pipe", O_WRONLY);
    assert_true(fd >= 0);
    for (size_t done = 0; done < BYTES;) {
        ssize_t got = write(fd, text + done, BYTES - done);
        assert_true(got > 0);
        done += (size_t)got;
    }
    free(text);
    usleep(100000);
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    close(fd);
    char *out = support_text_of("out"), *second = strchr(out, '\n') + 1;
    json_t *line = json_loadb(out, (size_t)(second - out), 0, NULL), *all = json_loads(second, 0, NULL);
    assert_true(support_number(line, "bytes") == support_number(all, "bytes"));
    assert_true(support_number(all, "lines") == 1 && support_number(all, "bytes") <= BYTES);
    assert_int_equal(strlen(support_string(line, "text")), (size_t)support_number(all, "bytes"));
    json_decref(line);
    json_decref(all);
    free(out);
}

/* ---- the page and the terminal ---- */

/* A last column of less than half the others' bytes joins the
 * one before. */
static void test_scale_and_columns(void **state) {
    (void)state;
    static const int bytes[] = {485, 486}, columns[] = {121, 122};
    for (int i = 0; i < 2; i++) {
        char text[500], svg[60];
        memset(text, 'a', sizeof text);
        text[bytes[i]] = 0;
        support_run run = support_cli(text, "score --model m --html page.html -");
        assert_int_equal(run.code, 0);
        support_run_free(&run);
        char *page = support_text_of("page.html");
        snprintf(svg, sizeof svg, "<svg viewBox=\"0 0 %d 100\"", columns[i]);
        if (!strstr(page, svg)) fail_msg("%d bytes: no %s", bytes[i], svg);
        free(page);
    }
}

static void test_page(void **state) {
    (void)state;
    static const char text[] = "<script>alert(\"1\")</script> &amp;\n\033[31mred\x07\n\ncaf\xC3\xA9 \xFF\xC2\x9B"
                               "0\n";
    support_run run = support_cli(text, "score --model m --html page.html --threshold 1 -");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    char *page = support_text_of("page.html");
    assert_memory_equal(page, "<!doctype html>", 15);
    assert_non_null(strstr(page, "</html>\n"));
    assert_non_null(strstr(page, "<svg "));
    assert_non_null(strstr(page, " class=hot>"));
    assert_non_null(strstr(page, " lines above 1"));
    assert_non_null(strstr(page, "&#60;"));
    assert_non_null(strstr(page, "&#38;"));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "http"));
    assert_null(strstr(page, "\xC2\x9B"));
    for (char *c = page; *c; c++) assert_true((unsigned char)*c >= 32 || *c == '\n');
    free(page);
    /* The chart keeps its columns however long the text is. */
    free(support_done("score --model m --html page.html --by passage book.txt"));
    page = support_text_of("page.html");
    int columns = 0;
    for (char *at = page; (at = strstr(at, "<rect ")); at++) columns++;
    assert_in_range(columns, 120, 240);
    assert_non_null(strstr(page, "passage 1: "));
    free(page);
}

/* Runs on a terminal; what it would show, released by free. */
static char *on_terminal(const char *model, const char *a, const char *b) {
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0 && !grantpt(terminal) && !unlockpt(terminal));
    int to = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    pid_t child = fork();
    if (!child) {
        setenv("TERM", "xterm", 1);
        dup2(to, STDOUT_FILENO);
        dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        execl(support_command, support_command, "score", "--model", model, "--threshold", "1", a, b, "hostile.txt",
              (char *)NULL);
        _exit(126);
    }
    close(to);
    size_t n = 0, capacity = 1 << 16;
    char *shown = calloc(capacity, 1);
    for (ssize_t got; (got = read(terminal, shown + n, capacity - n - 1)) > 0;) n += (size_t)got;
    close(terminal);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    return shown;
}

static void test_terminal(void **state) {
    (void)state;
    static const char text[] = "the reader \033]0;title\x07\n\xC2\x9B"
                               "31m\n\n";
    support_write("hostile.txt", text, sizeof text - 1);
    static const char *const by[] = {"token", "line", "passage"};
    for (int b = 0; b < 3; b++) {
        char *shown = on_terminal("m", "--by", by[b]);
        assert_non_null(strstr(shown, "\033[48;5;"));
        assert_null(strstr(shown, "\033]"));
        assert_null(strstr(shown, "\x07"));
        assert_null(strstr(shown, "\xC2\x9B"));
        assert_int_equal(strstr(shown, "\033[1;31m") != NULL, b > 0);
        assert_int_equal(strstr(shown, "passage 1, lines 1-3") != NULL, b == 2);
        free(shown);
    }
    char *peak = on_terminal("m", "--by=line", "--peak");
    assert_true(strstr(peak, "«") && strstr(peak, "»") && strstr(peak, "\033[2m     1\033[0m "));
    free(peak);
    setenv("NO_COLOR", "1", 1);
    char *shown = on_terminal("m", "--by", "line");
    unsetenv("NO_COLOR");
    assert_null(strchr(shown, '\033'));
    free(shown);
    /* relative: blue where it fits, orange or red where not */
    char fits[200] = "";
    for (int i = 0; i < 30; i++) strcat(fits, "zvk ");
    strcat(fits, "XQ~XQ~XQ~XQ\n");
    support_write("hostile.txt", fits, strlen(fits));
    shown = on_terminal("f", "--by=line", "--relative");
    assert_non_null(strstr(shown, "\033[48;5;25;38;5;231m"));
    assert_true(strstr(shown, "\033[48;5;222;") || strstr(shown, "\033[48;5;215;") || strstr(shown, "\033[48;5;203;"));
    free(shown);
}

/* Read one half, score the other: token by token what scoring both gives. */
static void test_states(void **state) {
    (void)state;
    static const char *const models[] = {"m", "s", "l"}, *const frozen[] = {"", "--frozen"};
    char *book = support_text_of("book.txt"), *half = strchr(book + BOOK_BYTES / 2, '\n') + 1;
    support_write("first.txt", book, (size_t)(half - book));
    support_write("second.txt", half, strlen(half));
    for (int i = 0; i < 3; i++) {
        for (int f = 0; f < 2; f++) {
            char arguments[200];
            free(support_done("read --model %s %s --save-state a.ilstate first.txt", models[i], frozen[f]));
            snprintf(arguments, sizeof arguments, "--by token --model %s %s book.txt", models[i], frozen[f]);
            json_t *whole = support_scores(NULL, arguments);
            snprintf(arguments, sizeof arguments, "--by token --model %s --load-state a.ilstate second.txt", models[i]);
            json_t *rest = support_scores(NULL, arguments);
            size_t n = json_array_size(rest) - 1, skipped = json_array_size(whole) - 1 - n;
            assert_true(n > 100 && skipped > 100);
            for (size_t k = 0; k < n; k++) {
                const json_t *a = json_array_get(whole, skipped + k), *b = json_array_get(rest, k);
                assert_true(support_number(a, "bits") == support_number(b, "bits"));
                assert_string_equal(support_string(a, "text"), support_string(b, "text"));
            }
            assert_true(support_number(last(rest), "bytes") == (double)strlen(half));
            assert_int_equal(json_is_true(json_object_get(last(rest), "frozen")), f);
            json_decref(whole);
            json_decref(rest);
        }
    }
    free(support_done("read --model m --save-state a.ilstate /dev/null")); /* BOS only: a fresh state */
    json_t *fresh = support_scores(NULL, "--model m book.txt"),
           *from = support_scores(NULL, "--model m --load-state a.ilstate book.txt");
    assert_true(support_number(last(fresh), "bits") == support_number(last(from), "bits"));
    json_decref(fresh);
    json_decref(from);
    char *own = support_fingerprint("m");
    support_refused(1, own, "score --model s --load-state a.ilstate book.txt");
    support_refused(1, "none.ilstate", "score --model m --load-state none.ilstate book.txt");
    support_refused(1, "book.txt", "score --model m --load-state book.txt book.txt");
    support_refused(2, "exclude each other", "score --model m --load-state a.ilstate --frozen book.txt");
    support_refused(2, "exclude each other",
                    "read --model m --load-state a.ilstate --save-state b.ilstate --frozen book.txt");
    free(own);
    free(book);
}

/* A window that nothing leaves changes nothing; what has left a window has no part in what follows. */
static void test_window(void **state) {
    (void)state;
    static const char *const options[] = {"--model m", "--model m --frozen", "--model a", "--model s"};
    char *book = support_text_of("book.txt"), arguments[200];
    support_write("one.txt", book, 1000);
    memset(book, 'x', 100);
    support_write("two.txt", book, 1000);
    free(book);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        json_t *runs[4];
        static const char *const rest[] = {"one.txt", "--window 4000 one.txt", "--window 64 one.txt",
                                           "--window 64 two.txt"};
        for (int r = 0; r < 4; r++) {
            snprintf(arguments, sizeof arguments, "--by token %s %s", options[i], rest[r]);
            runs[r] = support_scores(NULL, arguments);
        }
        size_t n = json_array_size(runs[0]) - 1, m = json_array_size(runs[3]) - 1;
        assert_int_equal(json_array_size(runs[2]) - 1, n);
        for (size_t k = 0; k < n; k++) {
            double bits = support_number(json_array_get(runs[0], k), "bits"),
                   windowed = support_number(json_array_get(runs[2], k), "bits");
            assert_true(bits == support_number(json_array_get(runs[1], k), "bits"));
            if (k < 63) assert_true(bits == windowed); /* BOS is the 64th */
            /* from the end, since s may cut the two into tokens of other numbers */
            if (i < 3 && k > 170) assert_true(windowed == support_number(json_array_get(runs[3], m - n + k), "bits"));
        }
        /* frozen, nothing older than half a window was held anyway */
        assert_int_equal(support_number(last(runs[0]), "bits") == support_number(last(runs[2]), "bits"), i == 1);
        for (int r = 0; r < 4; r++) json_decref(runs[r]);
    }
    support_refused(2, "--window", "score --model m --window 1 book.txt");
    support_refused(2, "exclude each other", "score --model m --window 64 --load-state a.ilstate book.txt");
}

/* ---- relative ---- */

/* What a unit costs with the fast head is its bits; without, those of the model that has none. */
static void test_relative_sums(void **state) {
    (void)state;
    static const char *const by[] = {"token", "line"}, *const from[] = {"", "--load-state f.ilstate", "--window 64"},
                             *const without[] = {"", "--load-state m.ilstate", "--window 64"};
    free(support_done("read --model f --save-state f.ilstate book.txt"));
    free(support_done("read --model m --save-state m.ilstate book.txt"));
    for (int i = 0; i < 6; i++) {
        char arguments[200];
        snprintf(arguments, sizeof arguments, "--by %s --relative --model f %s book.txt", by[i % 2], from[i / 2]);
        json_t *runs[3] = {support_scores(NULL, arguments)};
        snprintf(arguments, sizeof arguments, "--by %s --model f %s book.txt", by[i % 2], from[i / 2]);
        runs[1] = support_scores(NULL, arguments);
        snprintf(arguments, sizeof arguments, "--by %s --model m %s book.txt", by[i % 2], without[i / 2]);
        runs[2] = support_scores(NULL, arguments);
        size_t n = json_array_size(runs[0]);
        double sum = 0;
        assert_int_equal(json_array_size(runs[2]), n);
        for (size_t k = 0; k < n; k++) {
            const json_t *one[3];
            for (int r = 0; r < 3; r++) one[r] = json_array_get(runs[r], k);
            double relative = support_number(one[0], "relative");
            if (i % 2 || k == n - 1) relative *= support_number(one[0], "bytes");
            if (k < n - 1) sum += relative;
            assert_true(support_number(one[0], "bits") == support_number(one[1], "bits"));
            assert_null(json_object_get(one[1], "relative"));
            assert_true(fabs(support_number(one[1], "bits") - support_number(one[2], "bits") - relative) <
                        1e-9 * BOOK_BYTES);
            if (k == n - 1) assert_true(fabs(sum - relative) < 1e-9 * BOOK_BYTES);
        }
        assert_true(sum != 0);
        for (int r = 0; r < 3; r++) json_decref(runs[r]);
    }
}

/* A word over and over, then other letters: what repeats fits better and better, the rest goes against it. */
static void test_relative_fits(void **state) {
    (void)state;
    enum { LINES = 40 };
    char text[LINES * 12 + 60] = "";
    for (int i = 0; i < LINES; i++) strcat(text, i == LINES - 2 ? "XQ~XQ~XQ~XQ\n" : "zvk zvk zvk\n");
    json_t *array = support_scores(text, "--relative --model f --threshold 0 -");
    assert_int_equal(json_array_size(array), LINES + 1);
    assert_true(support_number(json_array_get(array, 0), "relative") <= 0); /* from the first mini-batch's end */
    for (size_t i = 0; i < LINES; i++) {
        const json_t *object = json_array_get(array, i);
        double relative = support_number(object, "relative");
        if (i >= 5) assert_int_equal(relative > 0, i == LINES - 2);
        assert_int_equal(json_is_true(json_object_get(object, "above")), relative > 0);
    }
    assert_true(support_number(json_array_get(array, 30), "relative") <
                support_number(json_array_get(array, 6), "relative"));
    json_decref(array);
    array = support_scores(text, "--relative --model f --threshold -100 -");
    assert_true(support_number(last(array), "above") == LINES);
    json_decref(array);
    /* Columns have the sign, the page both sides of its scale. */
    support_run run = support_cli(text, "score --relative --model f --threshold 0.01 --html fits.html -");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.out, " ! XQ~XQ~XQ~XQ\n"));
    assert_non_null(strstr(run.out, " -"));
    assert_non_null(strstr(run.err, " by what it learned of the text, 1 line above 0.01"));
    support_run_free(&run);
    char *page = support_text_of("fits.html");
    static const char *const held[] = {"— what fits and what does not</title>",
                                       "fits the text so far <b>",
                                       "</b> goes against it",
                                       "<u>+",
                                       "<u>-",
                                       " class=hot>",
                                       "<i class=c1 title=\"-",
                                       "<i class=c10 title=\"",
                                       "</html>\n"};
    for (size_t i = 0; i < sizeof held / sizeof *held; i++)
        if (!strstr(page, held[i])) fail_msg("the page lacks %s", held[i]);
    assert_null(strstr(page, "class=c11"));
    assert_null(strstr(page, "height=\"-"));
    free(page);
    run = support_cli("one\n\ntwo\n", "score --relative --by passage --model f -");
    assert_non_null(strstr(run.out, "passage 2, lines 3-3, "));
    assert_non_null(strstr(run.out, " bits per byte\n"));
    support_run_free(&run);
}

/* A short text, before anything is learned, has relative scores of 0 and a page without a chart; no text has none. */
static void test_relative_nothing(void **state) {
    (void)state;
    json_t *array = support_scores("a\n", "--relative --model f --html nothing.html -");
    assert_true(support_number(json_array_get(array, 0), "relative") == 0);
    json_decref(array);
    char *page = support_text_of("nothing.html");
    assert_null(strstr(page, "<svg viewBox"));
    free(page);
    array = support_scores("", "--relative --model f -");
    assert_true(json_is_null(json_object_get(last(array), "relative")));
    json_decref(array);
}

static void test_relative_refusals(void **state) {
    (void)state;
    free(support_done("read --model f --frozen --save-state still.ilstate book.txt"));
    support_refused(2, "m has no fast head", "score --relative --model m --html gone.html book.txt");
    support_refused(2, "exclude each other", "score --relative --frozen --model f book.txt");
    support_refused(2, "still.ilstate is frozen", "score --relative --load-state still.ilstate --model f book.txt");
    support_refused(2, "--relative score can be below 0", "score --model f --threshold -0.5 book.txt");
    support_refused(2, "--threshold", "score --relative --model f --threshold -1e7 book.txt");
    assert_int_equal(access("gone.html", F_OK), -1);
}

static void test_refusals(void **state) {
    (void)state;
    support_refused(1, "nowhere: ", "score --model m --html gone.html nowhere");
    support_refused(1, "no/such", "score --model no/such book.txt");
    support_refused(1, "no/such/page.html: ", "score --model m --html no/such/page.html book.txt");
    support_refused(1, "m: ", "score --model m --html gone.html m");
    assert_int_equal(access("gone.html", F_OK), -1);
    support_refused(2, "FILE is missing", "score --model m");
    support_refused(2, "--by", "score --model m --by word book.txt");
    support_refused(2, "--threshold", "score --model m --threshold -1 book.txt");
}

/* A text twenty times as long takes no more memory: the text alone, if it were kept, would be 950 kB more. */
static void test_constant_memory(void **state) {
    enum { LONG = 1000000 };
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they keep what is freed */
#endif
    char *text = support_prose(LONG);
    support_run whole = support_cli(text, "score --model m --by line --json -");
    text[LONG / 20] = 0;
    support_run part = support_cli(text, "score --model m --by line --json -");
    assert_int_equal(whole.code, 0);
    assert_int_equal(part.code, 0);
    assert_true(whole.out_bytes > 15 * part.out_bytes);
    if (whole.peak_kb > part.peak_kb + 700) fail_msg("%ld kB instead of %ld", whole.peak_kb, part.peak_kb);
    support_run_free(&part);
    support_run_free(&whole);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums_are_evals),
                                       cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_tokens),
                                       cmocka_unit_test(test_nothing),
                                       cmocka_unit_test(test_passages),
                                       cmocka_unit_test(test_threshold),
                                       cmocka_unit_test(test_endless_line),
                                       cmocka_unit_test(test_follows_a_log),
                                       cmocka_unit_test(test_interrupt_in_a_line),
                                       cmocka_unit_test(test_scale_and_columns),
                                       cmocka_unit_test(test_page),
                                       cmocka_unit_test(test_terminal),
                                       cmocka_unit_test(test_states),
                                       cmocka_unit_test(test_window),
                                       cmocka_unit_test(test_constant_memory),
                                       cmocka_unit_test(test_relative_sums),
                                       cmocka_unit_test(test_relative_fits),
                                       cmocka_unit_test(test_relative_nothing),
                                       cmocka_unit_test(test_relative_refusals),
                                       cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
