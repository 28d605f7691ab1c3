/* test_cli_model_choice.c: which bundled model a verb takes when --model is not given: for a text the one that predicts
 * its beginning better, for a state or a compressed file the one that made it; and bundled models by their names. The
 * command runs from a tree of its own, whose bundled models are two untrained ones. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RUN_BYTES = 1500, TRIAL_BYTES = 1 << 16 };

static char *installed; /* the command in the tree */
static char likes[2];   /* a letter that m predicts better than n, and one that n does */
static int is_script;   /* emulated: the binary does not move with its script */

static void write_run(const char *path, char letter, size_t bytes) {
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, letter, bytes);
    for (size_t i = 63; i < bytes; i += 64) text[i] = '\n';
    support_write(path, text, bytes);
    free(text);
}

static double cost(const char *model, const char *path) {
    json_t *said = support_json("eval --model %s --data %s", model, path);
    double bits = support_number(said, "bits_per_byte");
    json_decref(said);
    return bits;
}

/* tree/models/reader is m, and any is n; the other way round when swapped. */
static void bundle(int swapped) {
    unlink("tree/models/reader");
    unlink("tree/models/any");
    assert_int_equal(symlink(swapped ? "../../n" : "../../m", "tree/models/reader"), 0);
    assert_int_equal(symlink(swapped ? "../../m" : "../../n", "tree/models/any"), 0);
}

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    unsetenv("INNERLOOP_MODEL");
    free(support_book(2, 3000));
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 4 --out n", SUPPORT_SHAPE));
    for (char letter = 'a'; letter <= 'z' && (!likes[0] || !likes[1]); letter++) {
        write_run("run", letter, RUN_BYTES);
        likes[cost("n", "run") < cost("m", "run")] = letter;
    }
    assert_true(likes[0] && likes[1]);
    write_run("m.txt", likes[0], RUN_BYTES);
    write_run("n.txt", likes[1], RUN_BYTES);
    mkdir("tree", 0777);
    mkdir("tree/build", 0777);
    mkdir("tree/models", 0777);
    size_t bytes;
    char *binary = support_read(INNERLOOP, &bytes), *home = getcwd(NULL, 0);
    is_script = bytes > 2 && !memcmp(binary, "#!", 2);
    support_write("tree/build/innerloop", binary, bytes);
    assert_int_equal(chmod("tree/build/innerloop", 0777), 0);
    installed = malloc(strlen(home) + 32);
    assert_non_null(installed);
    sprintf(installed, "%s/tree/build/innerloop", home);
    free(home);
    free(binary);
    return 0;
}

static int end(void **state) {
    free(installed);
    return support_cli_end(state);
}

static int begin_test(void **state) {
    (void)state;
    support_command = is_script ? INNERLOOP : installed;
    bundle(0);
    return 0;
}

static int end_test(void **state) {
    (void)state;
    support_command = INNERLOOP;
    return 0;
}

/* Whatever the models are called, the one that predicts the text better is taken, and named. */
static void test_better(void **state) {
    (void)state;
    if (is_script) skip();
    static const char *const models[] = {"m", "n"};
    for (int swapped = 0; swapped < 2; swapped++)
        for (int text = 0; text < 2; text++) {
            const char *name = swapped == text ? "reader" : "any", *model = models[text];
            char says[128];
            bundle(swapped);
            snprintf(says, sizeof says, "innerloop score: model %s (bits per byte of the first %d bytes: reader ", name,
                     RUN_BYTES);
            support_run run = support_cli(NULL, "score %s.txt", model);
            char *wanted = support_done("score --model %s %s.txt", model, model);
            assert_int_equal(run.code, 0);
            assert_string_equal(run.out, wanted);
            if (!strstr(run.err, says)) fail_msg("\"%s\" lacks \"%s\"", run.err, says);
            support_run_free(&run);
            free(wanted);

            free(support_done("read --save-state chosen %s.txt", model));
            free(support_done("read --save-state wanted --model %s %s.txt", model, model));
            support_same_files("chosen", "wanted");
            json_t *chosen = support_json("eval --data %s.txt", model),
                   *given = support_json("eval --data %s.txt --model %s", model, model);
            assert_true(support_number(chosen, "nll") == support_number(given, "nll"));
            json_decref(chosen);
            json_decref(given);
        }
}

static void expect_model(const support_run *run, const char *text, const char *model) {
    char *wanted = support_done("score --model %s %s", model, text);
    assert_int_equal(run->code, 0);
    assert_string_equal(run->out, wanted);
    free(wanted);
}

static size_t size_of(const char *path) {
    size_t bytes;
    free(support_read(path, &bytes));
    return bytes;
}

/* compress takes the model that makes the file smaller, the usual one of equals. */
static void test_smaller(void **state) {
    (void)state;
    if (is_script) skip();
    static const char *const texts[] = {"m.txt", "n.txt", "book.txt"};
    int taken[2] = {0, 0};
    for (int swapped = 0; swapped < 2; swapped++)
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            bundle(swapped);
            free(support_done("compress --model reader %s by-reader", texts[i]));
            free(support_done("compress --model any %s by-any", texts[i]));
            free(support_done("compress %s chosen", texts[i]));
            int any = size_of("by-any") < size_of("by-reader");
            support_same_files("chosen", any ? "by-any" : "by-reader");
            taken[any]++;
        }
    assert_true(taken[0] && taken[1]);
}

/* Standard input is looked into where it is a file, and then read from its place; a pipe can be read only once. */
static void test_standard_input(void **state) {
    (void)state;
    if (is_script) skip();
    char *text = support_text_of("n.txt");
    support_run run = support_cli(text, "score -");
    expect_model(&run, "n.txt", "n");
    support_run_free(&run);
    assert_int_equal(mkfifo("pipe", 0666), 0);
    pid_t child = support_cli_start("score pipe");
    int fd = open("pipe", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, RUN_BYTES), RUN_BYTES);
    close(fd);
    run = (support_run){.code = support_cli_wait(child)};
    run.out = support_read("out", &run.out_bytes);
    run.err = support_read("err", &run.err_bytes);
    expect_model(&run, "n.txt", "m");
    assert_non_null(strstr(run.err, "model reader, because pipe can be read only once (--model any: "));
    support_run_free(&run);
    free(text);
}

/* Only the beginning counts, of the text in the file: what gzip holds. */
static void test_beginning(void **state) {
    (void)state;
    if (is_script) skip();
    size_t bytes = TRIAL_BYTES + 20000;
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, likes[0], bytes);
    memset(text, likes[1], 3000);
    memset(text + TRIAL_BYTES, likes[1], bytes - TRIAL_BYTES);
    support_write("long.txt", text, bytes);
    support_run run = support_cli(NULL, "eval --data long.txt --max-tokens 10");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "model reader (bits per byte of the first 65536 bytes: "));
    support_run_free(&run);
    memset(text, likes[1], TRIAL_BYTES);
    memset(text + TRIAL_BYTES, likes[0], bytes - TRIAL_BYTES);
    support_write("long.txt", text, bytes);
    run = support_cli(NULL, "eval --data long.txt --max-tokens 10");
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "model any (bits per byte of the first 65536 bytes: "));
    support_run_free(&run);
    free(text);
}

/* What a model made is read with it again. */
static void test_made_by(void **state) {
    (void)state;
    if (is_script) skip();
    static const char *const names[] = {"reader", "any"}, *const models[] = {"m", "n"};
    for (size_t i = 0; i < 2; i++) {
        free(support_done("compress --model %s book.txt small", names[i]));
        free(support_done("decompress small back"));
        support_same_files("book.txt", "back");
        free(support_done("read --model %s --save-state one.ilstate book.txt", names[i]));
        char *found = support_done("generate --load-state one.ilstate --max-tokens 8"),
             *wanted = support_done("generate --load-state one.ilstate --max-tokens 8 --model %s", models[i]);
        assert_string_equal(found, wanted);
        free(found);
        free(wanted);
        found = support_done("score --load-state one.ilstate book.txt");
        wanted = support_done("score --load-state one.ilstate book.txt --model %s", models[i]);
        assert_string_equal(found, wanted);
        free(found);
        free(wanted);
        free(support_done("compress --load-state one.ilstate book.txt found"));
        free(support_done("compress --load-state one.ilstate book.txt wanted --model %s", models[i]));
        support_same_files("found", "wanted");
        free(support_done("decompress --load-state one.ilstate found back"));
        support_same_files("book.txt", "back");
        free(support_done("read --load-state one.ilstate --save-state two.ilstate book.txt"));
        json_t *state_of = support_json("inspect two.ilstate");
        assert_int_equal(json_array_size(json_object_get(state_of, "layers")), 2);
        json_decref(state_of);
    }
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 5 --out o --force", SUPPORT_SHAPE));
    free(support_done("compress --model o book.txt small"));
    free(support_done("read --model o --save-state one.ilstate book.txt"));
    support_refused(1, "; no other bundled model made it either", "decompress small back");
    support_refused(1, "; no other bundled model made it either", "generate --load-state one.ilstate");
    json_t *state_of = support_json("inspect one.ilstate");
    assert_null(json_object_get(state_of, "layers"));
    json_decref(state_of);
}

/* reader and any are names, unless a model lies at that path; $INNERLOOP_MODEL may be one too, and then nothing is
 * tried. */
static void test_names(void **state) {
    (void)state;
    if (is_script) skip();
    char *by_name = support_done("score --model any m.txt"), *by_path = support_done("score --model n m.txt");
    assert_string_equal(by_name, by_path);
    free(by_name);
    assert_int_equal(setenv("INNERLOOP_MODEL", "any", 1), 0);
    support_run run = support_cli(NULL, "score m.txt");
    assert_string_equal(run.out, by_path);
    assert_null(strstr(run.err, "bits per byte of the first"));
    support_run_free(&run);
    unsetenv("INNERLOOP_MODEL");
    free(by_path);
    mkdir("any", 0777); /* holds no model */
    by_name = support_done("score --model any m.txt");
    by_path = support_done("score --model n m.txt");
    assert_string_equal(by_name, by_path);
    free(by_name);
    free(by_path);
    rmdir("any");
    assert_int_equal(symlink("m", "any"), 0);
    by_name = support_done("score --model any m.txt");
    by_path = support_done("score --model m m.txt");
    assert_string_equal(by_name, by_path);
    free(by_name);
    free(by_path);
    unlink("any");
    unlink("tree/models/any");
    support_refused(1, "any/config.json", "score --model any m.txt");
    run = support_cli(NULL, "score n.txt"); /* nothing to choose from */
    expect_model(&run, "n.txt", "m");
    assert_null(strstr(run.err, "bits per byte of the first"));
    support_run_free(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_better, begin_test, end_test),
                                       cmocka_unit_test_setup_teardown(test_smaller, begin_test, end_test),
                                       cmocka_unit_test_setup_teardown(test_standard_input, begin_test, end_test),
                                       cmocka_unit_test_setup_teardown(test_beginning, begin_test, end_test),
                                       cmocka_unit_test_setup_teardown(test_made_by, begin_test, end_test),
                                       cmocka_unit_test_setup_teardown(test_names, begin_test, end_test)};
    return cmocka_run_group_tests(tests, begin, end);
}
