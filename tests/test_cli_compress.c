/* test_cli_compress.c: the verbs compress and decompress: every file back through files and pipes, sizes that
 * eval agrees with, refusals that leave nothing behind. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "support_text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOK_BYTES = 4000 };

/* m: bytes, a little trained; s: SentencePiece, untrained. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(2, BOOK_BYTES));
    char noise[700];
    support_write("noise", noise, support_random_bytes(noise, sizeof noise));
    support_write("nothing", "", 0);
    support_bytes_model();
    support_sentencepiece_model();
    return 0;
}

static size_t size_of(const char *path) {
    size_t n;
    free(support_read(path, &n));
    return n;
}

static void test_files(void **state) {
    (void)state;
    static const char *const models[] = {"m", "s"}, *const files[] = {"book.txt", "noise", "nothing", "t.model"};
    for (int m = 0; m < 2; m++) {
        for (int f = 0; f < 4; f++) {
            json_t *down = support_json("compress --model %s %s small", models[m], files[f]);
            assert_int_equal((size_t)support_number(down, "bytes"), size_of(files[f]));
            assert_int_equal((size_t)support_number(down, "compressed_bytes"), size_of("small"));
            assert_string_equal(support_string(down, "out"), "small");
            json_t *up = support_json("decompress --model %s small back", models[m]);
            assert_int_equal((size_t)support_number(up, "bytes"), size_of(files[f]));
            assert_int_equal((size_t)support_number(up, "compressed_bytes"), size_of("small"));
            support_same_files(files[f], "back");
            json_decref(down);
            json_decref(up);
        }
    }
}

/* Within a hundredth, and the head, of what eval says. */
static void test_size(void **state) {
    (void)state;
    json_t *eval = support_json("eval --model m --data book.txt"),
           *down = support_json("compress --model m --no-mix book.txt small");
    double own = support_number(eval, "bits_per_byte") * BOOK_BYTES / 8;
    assert_true((double)size_of("small") < own * 1.005 + 60 && (double)size_of("small") > own * 0.995);
    double bits = support_number(down, "bits_per_byte");
    assert_true(bits * BOOK_BYTES / 8 > (double)size_of("small") - 0.01 && bits < 6);
    free(support_done("decompress --model m small back"));
    support_same_files("book.txt", "back");
    free(support_done("compress --model m book.txt mixed"));
    assert_true(size_of("mixed") < size_of("small")); /* its words repeat themselves */
    json_decref(eval);
    json_decref(down);
}

/* Through pipes; other threads and kernels read what the usual ones wrote; streams are used. */
static void test_pipes_and_machines(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    size_t one, seven;
    support_run run = support_cli(book, "compress --model m --threads 2 - -");
    assert_int_equal(run.code, 0);
    support_write("small", run.out, one = run.out_bytes);
    support_run_free(&run);
    setenv("IL_CPU", "portable", 1);
    free(support_done("decompress --model m --threads 1 small back"));
    unsetenv("IL_CPU");
    support_same_files("book.txt", "back");
    free(support_done("compress --model m --streams 7 book.txt seven"));
    seven = size_of("seven");
    assert_true(seven > one + 6); /* each stream begins anew */
    run = support_cli(NULL, "decompress --model m seven -");
    assert_int_equal(run.code, 0);
    assert_int_equal(run.out_bytes, BOOK_BYTES);
    assert_memory_equal(run.out, book, BOOK_BYTES);
    support_run_free(&run);
    free(book);
}

static void test_refusals(void **state) {
    (void)state;
    char *m = support_fingerprint("m"), *s = support_fingerprint("s");
    free(support_done("compress --model m book.txt small"));
    unlink("gone");
    support_refused(1, m, "decompress --model s small gone");
    support_refused(1, s, "decompress --model s small gone");
    support_refused(1, "not compressed by innerloop", "decompress --model m book.txt gone");
    size_t n;
    char *small = support_read("small", &n);
    support_write("cut", small, n - 1);
    support_refused(1, "cut: the compressed data is cut short", "decompress --model m cut gone");
    small[n - 9] ^= 8;
    support_write("bent", small, n);
    support_refused(1, "damaged", "decompress --model m bent gone");
    support_refused(1, "damaged", "decompress --model m bent -");
    support_refused(1, "nowhere: ", "compress --model m nowhere gone");
    support_refused(1, "no/such/out: ", "compress --model m book.txt no/such/out");
    support_refused(1, "no/such/model", "compress --model no/such/model book.txt gone");
    assert_int_equal(access("gone", F_OK), -1);
    support_refused(2, "IN OUT is missing", "compress --model m book.txt");
    support_refused(2, "unexpected operand 'c'", "compress --model m a b c");
    support_refused(2, "--streams", "compress --model m --streams 65 book.txt gone");
    support_refused(2, "--streams", "decompress --model m --streams 2 small gone");
    support_refused(2, "standard output", "compress --model m --json book.txt -");
    char *book = support_text_of("book.txt");
    assert_int_equal(symlink("book.txt", "alias"), 0);
    support_refused(2, "the same file", "compress --model m book.txt book.txt");
    support_refused(2, "the same file", "compress --model m alias ./book.txt");
    support_refused(2, "the same file", "decompress --model m small small");
    char *kept = support_text_of("book.txt");
    assert_string_equal(kept, book);
    free(kept);
    free(book);
    unlink("alias");
    free(small);
    free(m);
    free(s);
}

/* A file that a link leads to is replaced there. */
static void test_what_is_replaced(void **state) {
    (void)state;
    struct stat info;
    support_write("target", "old", 3);
    assert_int_equal(symlink("target", "link"), 0);
    free(support_done("compress --model m book.txt link"));
    assert_true(lstat("link", &info) == 0 && S_ISLNK(info.st_mode));
    free(support_done("decompress --model m target back"));
    support_same_files("book.txt", "back");
}

/* Where the output goes is looked at before the work; a disk that is full is one complaint; no time is foretold before
 * there is a rate, and the end is said once. */
static void test_what_it_says(void **state) {
    (void)state;
    support_refused(1, "no/such/out: ", "compress --model m nowhere no/such/out");
    support_refused(1, ".: a folder, not a file", "compress --model m nowhere .");
    int status = system(INNERLOOP " compress --model m book.txt - > /dev/full 2> err");
    assert_int_equal(WEXITSTATUS(status), 1);
    char *text = support_text_of("err"), *first = strstr(text, "standard output: ");
    assert_non_null(first);
    assert_null(strstr(first + 1, "standard output: "));
    assert_non_null(strstr(text, "byte 0/4000, 0 bytes/s\n"));
    first = strstr(text, " in all\n");
    assert_non_null(first);
    assert_null(strstr(first + 1, " in all\n"));
    free(text);
}

/* From what was read before: smaller, and back only from the same. */
static void test_states(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    support_write("first.txt", book, 2000);
    support_write("second.txt", book + 2000, BOOK_BYTES - 2000);
    free(book);
    static const char *const models[] = {"m", "s"}, *const frozen[] = {"", "--frozen"};
    for (int i = 0; i < 2; i++) {
        for (int f = 0; f < 2; f++) {
            free(support_done("read --model %s %s --save-state a.ilstate first.txt", models[i], frozen[f]));
            for (int streams = 1; streams <= 3; streams += 2) {
                free(support_done("compress --model %s --load-state a.ilstate --streams %d second.txt small", models[i],
                                  streams));
                setenv("IL_CPU", "portable", 1);
                free(support_done("decompress --model %s --load-state a.ilstate --threads 1 small back", models[i]));
                unsetenv("IL_CPU");
                support_same_files("second.txt", "back");
            }
        }
    }
    free(support_done("read --model m --save-state a.ilstate first.txt"));
    free(support_done("read --model m --save-state b.ilstate second.txt"));
    free(support_done("read --model s --save-state s.ilstate first.txt"));
    free(support_done("compress --model m second.txt alone"));
    free(support_done("compress --model m --load-state a.ilstate second.txt small"));
    json_t *a = support_json("inspect a.ilstate"), *b = support_json("inspect b.ilstate");
    const char *one = support_string(a, "metadata.checksum"), *two = support_string(b, "metadata.checksum");
    unlink("gone");
    support_refused(1, one, "decompress --model m small gone");
    support_refused(1, "no state is given", "decompress --model m small gone");
    support_refused(1, one, "decompress --model m --load-state b.ilstate small gone");
    support_refused(1, two, "decompress --model m --load-state b.ilstate small gone");
    support_refused(1, "a fresh state", "decompress --model m --load-state b.ilstate alone gone");
    support_refused(1, "different model", "decompress --model m --load-state s.ilstate small gone");
    support_refused(1, "different model", "compress --model m --load-state s.ilstate second.txt gone");
    support_refused(1, "none.ilstate", "compress --model m --load-state none.ilstate second.txt gone");
    support_refused(1, "book.txt", "compress --model m --load-state book.txt second.txt gone");
    assert_int_equal(access("gone", F_OK), -1);
    json_decref(a);
    json_decref(b);
}

/* What a compressed file says of itself, with or without the ending. */
static void test_inspect(void **state) {
    (void)state;
    char *m = support_fingerprint("m");
    free(support_done("read --model m --save-state a.ilstate noise"));
    json_t *given = support_json("inspect a.ilstate");
    for (int way = 0; way < 4; way++) {
        int with_state = way % 2, mixed = way / 2;
        const char *out = with_state ? "small" : "small.ilc";
        free(support_done("compress --model m --streams 3 %s %s book.txt %s",
                          with_state ? "--load-state a.ilstate" : "", mixed ? "" : "--no-mix", out));
        json_t *object = support_json("inspect %s", out), *stream;
        assert_string_equal(support_string(object, "kind"), "compressed");
        assert_true(support_number(object, "version") == 1 + way);
        assert_int_equal(json_is_true(json_object_get(object, "mixed")), mixed);
        assert_string_equal(support_string(object, "model"), m);
        assert_int_equal(strlen(support_string(object, "tokenizer")), 16);
        if (with_state)
            assert_string_equal(support_string(object, "state"), support_string(given, "metadata.checksum"));
        else
            assert_true(json_is_null(json_object_get(object, "state")));
        assert_true(support_number(object, "original_bytes") == BOOK_BYTES);
        assert_true(support_number(object, "bytes") == (double)size_of(out));
        double bytes = 0, coded = 0;
        size_t i;
        assert_int_equal(json_array_size(json_object_get(object, "streams")), 3);
        json_array_foreach(json_object_get(object, "streams"), i, stream) {
            bytes += support_number(stream, "bytes");
            coded += support_number(stream, "coded");
        }
        assert_true(bytes == BOOK_BYTES && coded < (double)size_of(out) && coded > (double)size_of(out) - 100);
        char *text = support_done("inspect %s", out);
        assert_non_null(strstr(text, "original_bytes           4000\n"));
        free(text);
        json_decref(object);
    }
    support_refused(1, "small.ilc: is not a state file but a file compressed by innerloop",
                    "compress --model m --load-state small.ilc book.txt gone");
    support_write("cut.ilc", "ILC\x1a\1", 5);
    support_refused(1, "cut.ilc: the compressed data ends inside its header", "inspect cut.ilc");
    support_write("text.ilc", "text", 4);
    support_refused(1, "text.ilc: not compressed by innerloop", "inspect text.ilc");
    json_decref(given);
    free(m);
}

static void test_help(void **state) {
    (void)state;
    char *help = support_done("compress --help");
    assert_non_null(strstr(help, "IN OUT"));
    assert_null(strstr(help, "OUT…"));
    assert_non_null(strstr(help, "reader, made for English prose, or any, for logs, code"));
    assert_non_null(strstr(help, "with one, decompress takes several times as long"));
    free(help);
    help = support_done("decompress --help");
    assert_non_null(strstr(help, "innerloop decompress --model model book.ilc book.txt"));
    free(help);
}

/* Ctrl-C: status 130 and no file. */
static void test_interrupt(void **state) {
    (void)state;
    enum { BIG = 2000000 };
    char *prose = support_prose(BIG);
    support_write("big.txt", prose, BIG);
    free(prose);
    support_write("err", "", 0);
    pid_t child = support_cli_start("compress --model m big.txt gone");
    for (int tries = 0; tries < 600; tries++) { /* until it has begun */
        usleep(50000);
        size_t n;
        char *err = support_read("err", &n);
        int begun = strstr(err, "byte ") != NULL;
        free(err);
        if (begun) break;
    }
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    assert_int_equal(access("gone", F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_size),
                                       cmocka_unit_test(test_pipes_and_machines),
                                       cmocka_unit_test(test_refusals),
                                       cmocka_unit_test(test_what_is_replaced),
                                       cmocka_unit_test(test_what_it_says),
                                       cmocka_unit_test(test_states),
                                       cmocka_unit_test(test_inspect),
                                       cmocka_unit_test(test_help),
                                       cmocka_unit_test(test_interrupt)};
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
