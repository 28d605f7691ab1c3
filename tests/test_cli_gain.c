/* test_cli_gain.c: eval --reading-gain: its losses are read's and score's, its placements are where it says, its
 * intervals are Student's, and conditions that are the same differ by exactly nothing. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "support_text.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zstd.h>

#define SIZES "--read-bytes 400 --next-bytes 150"
enum { BOOK_BYTES = 4000, BOOKS = 5 };
static const char *const authors[BOOKS] = {"Ann", "Bob", "Ann", "C\xC3\xA9line", "Ann"};
static const size_t sizes[BOOKS] = {BOOK_BYTES, BOOK_BYTES, 300, 1500, BOOK_BYTES}; /* the third is too short */
static char *texts[BOOKS];

static json_t *book_of(int i) {
    return json_pack("{s:s#, s:s, s:s+, s:i}", "text", texts[i], (int)sizes[i], "author", authors[i], "title", "Book ",
                     (const char[]){(char)('0' + i), 0}, "year", 1900);
}

/* A line each, of the books in order; a blank line between. */
static void write_books(const char *path, const int *order, int n, int pack) {
    size_t bytes = 0, capacity = 1 << 17;
    char *lines = malloc(capacity);
    for (int i = 0; i < n; i++) {
        json_t *object = book_of(order[i]);
        char *line = json_dumps(object, JSON_COMPACT);
        bytes += (size_t)snprintf(lines + bytes, capacity - bytes, "%s\n\n", line);
        free(line);
        json_decref(object);
    }
    if (pack) {
        size_t room = ZSTD_compressBound(bytes);
        char *small = malloc(room);
        support_write(path, small, ZSTD_compress(small, room, lines, bytes, 3));
        free(small);
    } else {
        support_write(path, lines, bytes);
    }
    free(lines);
}

/* m: bytes; s: SentencePiece of ours; a: self-attention; n: without a BOS. */
static int begin(void **state) {
    static const int all[BOOKS] = {0, 1, 2, 3, 4};
    if (support_cli_begin(state)) return 1;
    support_seed(5);
    for (int i = 0; i < BOOKS; i++) texts[i] = support_prose(sizes[i]);
    write_books("books.jsonl", all, BOOKS, 0);
    write_books("books.jsonl.zst", all, BOOKS, 1);
    support_write("book.txt", texts[0], BOOK_BYTES);
    support_bytes_model();
    support_sentencepiece_model();
    free(support_done("init --preset tiny %s --set bos_token_id=null --tokenizer bytes --out n", SUPPORT_SHAPE));
    return 0;
}

static int end(void **state) {
    for (int i = 0; i < BOOKS; i++) free(texts[i]);
    return support_cli_end(state);
}

static const json_t *row(const json_t *object, size_t i) { return json_array_get(json_object_get(object, "rows"), i); }

static int book_number(const json_t *placement) { return support_string(placement, "title")[5] - '0'; }

static void piece(const char *path, const json_t *placement, const char *from, const char *to) {
    size_t a = (size_t)support_number(placement, from), b = (size_t)support_number(placement, to);
    assert_true(a <= b && b <= sizes[book_number(placement)]);
    support_write(path, texts[book_number(placement)] + a, b - a);
}

static double scored(const char *model, const char *arguments) {
    support_run run = support_cli(NULL, "score --json --model %s %s", model, arguments);
    if (run.code) fail_msg("score %s: %s", arguments, run.err);
    char *line = run.out; /* the last */
    for (char *end; (end = strchr(line, '\n')) && end[1];) line = end + 1;
    json_t *object = json_loads(line, 0, NULL);
    double value = support_number(object, "bits_per_byte");
    json_decref(object);
    support_run_free(&run);
    return value;
}

static void near(double a, double b) {
    if (!(fabs(a - b) <= 1e-9)) fail_msg("%.12f is not %.12f", a, b);
}

/* Each loss is what the verbs read and score say of the same pieces of text. */
static void test_losses(void **state) {
    (void)state;
    static const char *const models[] = {"m", "s"}, *const kinds[] = {"living", "frozen"},
                             *const options[] = {"", "--frozen"};
    for (int i = 0; i < 2; i++) {
        json_t *object =
            support_json("eval --model %s --data books.jsonl --reading-gain --placements 4 %s", models[i], SIZES);
        for (size_t r = 0; r < 4; r++) {
            const json_t *own = row(object, r), *other = row(object, r ^ 1);
            assert_int_equal((size_t)support_number(own, "other"), r ^ 1);
            piece("target", own, "from", "to");
            piece("before", own, "read_from", "from");
            piece("elsewhere", other, "read_from", "from");
            for (int f = 0; f < 2; f++) {
                const json_t *losses = json_object_get(own, kinds[f]);
                free(support_done("read --model %s %s --save-state 0.ilstate /dev/null", models[i], options[f]));
                free(support_done("read --model %s %s --save-state 1.ilstate before", models[i], options[f]));
                free(support_done("read --model %s %s --save-state 2.ilstate elsewhere", models[i], options[f]));
                near(support_number(losses, "fresh"), scored(models[i], "--load-state 0.ilstate target"));
                near(support_number(losses, "same"), scored(models[i], "--load-state 1.ilstate target"));
                near(support_number(losses, "other"), scored(models[i], "--load-state 2.ilstate target"));
            }
        }
        json_decref(object);
    }
}

/* Inside the book, behind enough text, at beginnings of lines; targets apart; a pair's authors differ. */
static void check_places(const json_t *object) {
    size_t n = json_array_size(json_object_get(object, "rows"));
    for (size_t i = 0; i < n; i++) {
        const json_t *p = row(object, i);
        const char *text = texts[book_number(p)];
        size_t from = (size_t)support_number(p, "from"), to = (size_t)support_number(p, "to"),
               read = (size_t)support_number(p, "read_from");
        assert_string_equal(support_string(p, "author"), authors[book_number(p)]);
        assert_true(to <= sizes[book_number(p)] && from - read > 360 && from - read < 440);
        assert_true(to - from > 110 && to - from < 190);
        assert_true((!from || text[from - 1] == '\n' || from % 150 == 100) &&
                    (!read || text[read - 1] == '\n' || read % 150 == 0));
        assert_string_not_equal(support_string(p, "author"), support_string(row(object, i ^ 1), "author"));
        for (size_t j = 0; j < i; j++) {
            const json_t *q = row(object, j);
            assert_true(book_number(p) != book_number(q) || to <= (size_t)support_number(q, "from") ||
                        from >= (size_t)support_number(q, "to"));
        }
    }
}

static void test_placements(void **state) {
    (void)state;
    json_t *object = support_json("eval --model m --data books.jsonl --reading-gain --placements 18 %s", SIZES),
           *again = support_json("eval --model m --data books.jsonl.zst --reading-gain --placements 18 --threads 1 %s",
                                 SIZES),
           *seeded =
               support_json("eval --model m --data books.jsonl --reading-gain --placements 18 --seed 2 %s", SIZES);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), 18);
    const json_t *parts = json_object_get(object, "parts"), *part;
    size_t k;
    double same = 0, frozen = 0; /* the mean of the ten parts is the whole */
    assert_int_equal(json_array_size(parts), 10);
    json_array_foreach(parts, k, part) {
        same += support_number(part, "living.same") / 10;
        frozen += support_number(part, "frozen.fresh") / 10;
    }
    near(same, support_number(object, "living.same"));
    near(frozen, support_number(object, "frozen.fresh"));
    assert_true(support_number(json_array_get(parts, 0), "living.same") !=
                support_number(json_array_get(parts, 9), "living.same"));
    assert_true(support_number(object, "authors") == 3 && support_number(object, "read_bytes") == 400);
    check_places(object);
    check_places(seeded);
    assert_false(json_equal(json_object_get(object, "rows"), json_object_get(seeded, "rows")));
    json_object_del(object, "seconds");
    json_object_del(again, "seconds");
    assert_true(json_equal(object, again));
    json_decref(object);
    json_decref(again);
    json_decref(seeded);
    char *text = support_done("eval --model m --data books.jsonl --reading-gain --placements 4 %s", SIZES);
    assert_non_null(strstr(text, "4 targets of 150 bytes in 2 pairs, after reading 400 bytes; "));
    assert_non_null(strstr(text, "same author over nothing"));
    free(text);
}

/* Means and intervals, again from the rows, with points of Student's distribution from a table. */
static void test_intervals(void **state) {
    (void)state;
    static const struct {
        int placements;
        double point;
    } cases[] = {{4, 12.7062}, {6, 4.3027}, {10, 2.7764}, {12, 2.5706}, {18, 2.3060}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        json_t *object = support_json("eval --model m --data books.jsonl --reading-gain --placements %d %s",
                                      cases[c].placements, SIZES);
        int n = cases[c].placements, better = 0;
        double gains[18], mean = 0, squares = 0;
        for (int i = 0; i < n; i++) {
            gains[i] = support_number(row(object, (size_t)i), "living.fresh") -
                       support_number(row(object, (size_t)i), "living.same");
            mean += gains[i] / n;
            better += gains[i] > 0;
        }
        for (int k = 0; k < n; k += 2) squares += pow((gains[k] + gains[k + 1]) / 2 - mean, 2);
        double half = cases[c].point * sqrt(squares / (n / 2.0 - 1) / (n / 2.0));
        near(support_number(object, "gains.same_over_fresh.mean"), mean);
        near(support_number(object, "living.fresh") - support_number(object, "living.same"), mean);
        assert_true(fabs(support_number(object, "gains.same_over_fresh.high") - mean - half) < 2e-3 * half);
        assert_true(fabs(mean - half - support_number(object, "gains.same_over_fresh.low")) < 2e-3 * half);
        assert_true(half > 0 && (int)support_number(object, "gains.same_over_fresh.better") == better);
        json_decref(object);
    }
}

static void assert_nothing(const json_t *object, const char *gain) {
    const json_t *estimate = json_object_get(json_object_get(object, "gains"), gain);
    if (support_number(estimate, "mean") != 0 || support_number(estimate, "low") != 0 ||
        support_number(estimate, "high") != 0 || support_number(estimate, "better") != 0)
        fail_msg("%s is not nothing", gain);
}

/* Exactly nothing: after reading nothing; and where every author repeats one text. */
static void test_no_difference(void **state) {
    (void)state;
    static const char *const models[] = {"m", "n"};
    for (int i = 0; i < 2; i++) {
        json_t *object = support_json("eval --model %s --data books.jsonl --reading-gain --placements 6 "
                                      "--read-bytes 0 --next-bytes 150",
                                      models[i]);
        assert_nothing(object, "same_over_fresh");
        assert_nothing(object, "same_over_other");
        assert_nothing(object, "other_over_fresh");
        assert_nothing(object, "frozen_same_over_other");
        assert_nothing(object, "gain_over_frozen_gain");
        assert_true(support_number(object, "gains.same_over_frozen.mean") != 0);
        json_decref(object);
    }
    char line[] = "{\"author\":\"A\",\"text\":\"", *lines = malloc(4 * BOOK_BYTES), *at = lines;
    for (int author = 0; author < 2; author++) {
        line[11] = (char)('A' + author);
        at += sprintf(at, "%s", line);
        for (int i = 0; i < 40; i++) at += sprintf(at, "the reader reads on and the sea goes on and on.\\n");
        at += sprintf(at, "\"}\n");
    }
    support_write("same.jsonl", lines, (size_t)(at - lines));
    free(lines);
    json_t *object = support_json("eval --model m --data same.jsonl --reading-gain --placements 6 --read-bytes 384 "
                                  "--next-bytes 144"); /* whole lines */
    assert_nothing(object, "same_over_other");
    assert_nothing(object, "frozen_same_over_other");
    double gain = support_number(object, "gains.same_over_fresh.mean");
    near(support_number(object, "gains.same_over_fresh.low"), gain);
    near(support_number(object, "gains.other_over_fresh.mean"), gain);
    assert_true(gain != 0);
    json_decref(object);
}

static void write_text(const char *path, const char *text) { support_write(path, text, strlen(text)); }

static void test_refusals(void **state) {
    (void)state;
    static const int one_author[] = {0, 2, 4};
#define GAIN "eval --model m --reading-gain "
    support_refused(1, "book.txt: text; books with authors are JSON", GAIN "--data book.txt");
    support_refused(1, "nowhere.jsonl: cannot open: No such file", GAIN "--data nowhere.jsonl");
    support_refused(1, "at least 2 authors are needed; those in it are by 0 authors", GAIN "--data books.jsonl");
    write_books("one.jsonl", one_author, 3, 0);
    support_refused(1, "needed; those in it are by 1 author", GAIN "--data one.jsonl " SIZES);
    support_refused(1,
                    "C\xC3\xA9line has room for 7 targets of 150 bytes with 400 before them; more are needed for 100",
                    GAIN "--data books.jsonl --placements 100 " SIZES);
    write_text("bad.jsonl", "{\"text\":\"a\",\"author\":\"b\"}\n{\"text\":\"a\"}\n");
    support_refused(1, "bad.jsonl, document 2: no string \"author\" in it (--author-field)", GAIN "--data bad.jsonl");
    write_text("bad.jsonl", "{\"text\":\"a\",\"writer\":\"b\"}\n");
    support_refused(1, "no string \"author\"", GAIN "--data bad.jsonl");
    support_refused(1, "at least 2 authors are needed", GAIN "--data bad.jsonl --author-field writer");
    support_refused(2, "need --reading-gain", "eval --model m --data bad.jsonl --author-field writer");
    write_text("bad.jsonl", "\n{\"text\":");
    support_refused(1, "bad.jsonl, line 2, byte ", GAIN "--data bad.jsonl");
    write_text("bad.jsonl", "[1]\n");
    support_refused(1, "bad.jsonl, line 1, byte 1: not an object", GAIN "--data bad.jsonl");
    write_text("bad.jsonl", " \n\n");
    support_refused(1, "bad.jsonl: no documents in it", GAIN "--data bad.jsonl");
    size_t n;
    char *packed = support_read("books.jsonl.zst", &n);
    support_write("cut.jsonl.zst", packed, n - 5);
    support_refused(1, "cut.jsonl.zst: cut short", GAIN "--data cut.jsonl.zst");
    write_text("cut.jsonl.zst", "no frame");
    support_refused(1, "cut.jsonl.zst, line 1", GAIN "--data cut.jsonl.zst");
    free(packed);
    support_refused(2, "even number", GAIN "--data books.jsonl --placements 5");
    support_refused(2, "--placements must be from 4 to 100000, not 2", GAIN "--data books.jsonl --placements 2");
    support_refused(2, "always measured frozen too", GAIN "--data books.jsonl --frozen");
    support_refused(2, "goes with", GAIN "--data books.jsonl --seq-len 5");
    support_refused(2, "need --reading-gain", "eval --model m --data books.jsonl --read-bytes 5");
    support_refused(1, "no/such", "eval --model no/such --reading-gain --data books.jsonl");
}

static void test_interrupt(void **state) {
    (void)state;
    support_write("err", "", 0);
    pid_t child = support_cli_start(GAIN "--data books.jsonl --json --placements 18 " SIZES " --threads 1");
    for (int tries = 0; tries < 600; tries++) { /* until it has begun */
        usleep(5000);
        size_t n;
        char *err = support_read("err", &n);
        int begun = strstr(err, "byte ") != NULL;
        free(err);
        if (begun) break;
    }
    kill(child, SIGINT);
    int code = support_cli_wait(child);
    assert_true(code == 130 || code == 0); /* it may just have been done */
    size_t bytes;
    free(support_read("out", &bytes));
    assert_int_equal(bytes != 0, code == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_losses),    cmocka_unit_test(test_placements),
                                       cmocka_unit_test(test_intervals), cmocka_unit_test(test_no_difference),
                                       cmocka_unit_test(test_refusals),  cmocka_unit_test(test_interrupt)};
    return cmocka_run_group_tests(tests, begin, end);
}
