/* test_cli_bundled_model.c: the model that verbs use when --model is not given: INNERLOOP_MODEL, then beside the binary
 * as in a source tree, then as installed. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOK_BYTES = 2000 };

static char *home; /* the group's folder */

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    home = getcwd(NULL, 0);
    free(support_book(2, BOOK_BYTES));
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 4 --out n", SUPPORT_SHAPE));
    return home == NULL;
}

static int end(void **state) {
    free(home);
    unsetenv("INNERLOOP_MODEL");
    return support_cli_end(state);
}

/* Every verb that has the default says and does what it does with --model; --model goes before. */
static void test_environment(void **state) {
    (void)state;
    static const char *const lines[] = {"generate --prompt a --max-tokens 8 --seed 1", "score --by passage book.txt",
                                        "score --by line book.txt"};
    assert_int_equal(setenv("INNERLOOP_MODEL", "m", 1), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char *bundled = support_done("%s", lines[i]), *given = support_done("%s --model m", lines[i]),
             *other = support_done("%s --model n", lines[i]);
        assert_string_equal(bundled, given);
        assert_string_not_equal(bundled, other);
        free(bundled);
        free(given);
        free(other);
    }
    free(support_done("read --save-state a.ilstate book.txt"));
    free(support_done("read --model m --save-state b.ilstate book.txt"));
    support_same_files("a.ilstate", "b.ilstate");
    json_t *a = support_json("eval --data book.txt"), *b = support_json("eval --model m --data book.txt");
    assert_true(support_number(a, "nll") == support_number(b, "nll"));
    json_decref(a);
    json_decref(b);
    free(support_done("compress book.txt small"));
    free(support_done("decompress --model m small back"));
    support_same_files("book.txt", "back");
    free(support_done("decompress small back"));
    support_same_files("book.txt", "back");
    free(support_done("convert --dtype bf16 --out w"));
    free(support_done("convert --model m --dtype bf16 --out v"));
    support_same_files("w/model.safetensors", "v/model.safetensors");
}

/* A state of the default model says what was learned; of another one, the header. */
static void test_inspect(void **state) {
    (void)state;
    assert_int_equal(setenv("INNERLOOP_MODEL", "m", 1), 0);
    free(support_done("read --model m --save-state m.ilstate book.txt"));
    free(support_done("read --model n --save-state n.ilstate book.txt"));
    json_t *own = support_json("inspect m.ilstate"), *named = support_json("inspect --model m m.ilstate"),
           *other = support_json("inspect n.ilstate");
    assert_true(json_equal(own, named));
    assert_int_equal(json_array_size(json_object_get(own, "layers")), 2);
    assert_null(json_object_get(other, "layers"));
    assert_string_equal(support_string(other, "kind"), "state");
    support_refused(1, "model", "inspect --model m n.ilstate");
    json_decref(own);
    json_decref(named);
    json_decref(other);
}

static void copy(const char *from, const char *to, mode_t mode) {
    size_t bytes;
    char *data = support_read(from, &bytes);
    support_write(to, data, bytes);
    assert_int_equal(chmod(to, mode), 0);
    free(data);
}

/* What a copy of the command at path prints for one prompt, or the message of its failure. */
static char *says(const char *path) {
    char *absolute = malloc(strlen(home) + strlen(path) + 2);
    assert_non_null(absolute);
    sprintf(absolute, "%s/%s", home, path);
    support_command = absolute;
    support_run run = support_cli(NULL, "generate --prompt a --max-tokens 8 --seed 1");
    support_command = INNERLOOP;
    free(absolute);
    if (run.code) assert_int_equal(run.out_bytes, 0);
    char *text = strdup(run.code ? run.err : run.out);
    assert_non_null(text);
    support_run_free(&run);
    return text;
}

static void expect_model(const char *path, const char *model) {
    char *said = says(path), *wanted = support_done("generate --model %s --prompt a --max-tokens 8 --seed 1", model);
    assert_string_equal(said, wanted);
    free(said);
    free(wanted);
}

static void expect_complaint(const char *path, const char *text) {
    char *said = says(path);
    if (!strstr(said, text)) fail_msg("\"%s\" lacks \"%s\"", said, text);
    free(said);
}

static void test_places(void **state) {
    (void)state;
    size_t bytes;
    char *first = support_read(INNERLOOP, &bytes);
    int script = bytes > 2 && !memcmp(first, "#!", 2);
    free(first);
    if (script) skip(); /* emulated: the binary does not move with its script */
    unsetenv("INNERLOOP_MODEL");
    mkdir("tree", 0777);
    mkdir("tree/build", 0777);
    copy(INNERLOOP, "tree/build/innerloop", 0777);
    expect_complaint("tree/build/innerloop", "neither models/reader nor share/innerloop/models/reader in ");
    expect_complaint("tree/build/innerloop", "/tree\n");
    mkdir("tree/share", 0777);
    mkdir("tree/share/innerloop", 0777);
    mkdir("tree/share/innerloop/models", 0777);
    assert_int_equal(symlink("../../../../n", "tree/share/innerloop/models/reader"), 0);
    expect_model("tree/build/innerloop", "n");
    mkdir("tree/models", 0777);
    mkdir("tree/models/reader", 0777); /* without a model it is passed over */
    expect_model("tree/build/innerloop", "n");
    rmdir("tree/models/reader");
    assert_int_equal(symlink("../../m", "tree/models/reader"), 0);
    expect_model("tree/build/innerloop", "m");
    assert_int_equal(symlink("tree/build/innerloop", "link"), 0); /* called through a link, it is where it is */
    expect_model("link", "m");
    assert_int_equal(setenv("INNERLOOP_MODEL", "", 1), 0); /* as if it were not set */
    expect_model("tree/build/innerloop", "m");
    assert_int_equal(setenv("INNERLOOP_MODEL", "n", 1), 0);
    expect_model("tree/build/innerloop", "n");
    assert_int_equal(symlink("../../m", "tree/models/digits"), 0); /* one that is never chosen, but can be named */
    assert_int_equal(setenv("INNERLOOP_MODEL", "digits", 1), 0);
    expect_model("tree/build/innerloop", "m");
    assert_int_equal(setenv("INNERLOOP_MODEL", "nowhere", 1), 0); /* no other is taken instead */
    expect_complaint("tree/build/innerloop", "INNERLOOP_MODEL: no model (config.json) in nowhere");
}

/* The files of the model that is read when none is named, or by the name of a bundled one, are no place to write. */
static void test_outputs_in_it(void **state) {
    (void)state;
    static const char *const lines[] = {"compress book.txt n/config.json", "score --html n/config.json book.txt",
                                        "read --save-state n/config.json book.txt",
                                        "eval --data book.txt --per-token n/config.json",
                                        "generate --prompt a --max-tokens 2 --save-state n/config.json"};
    assert_int_equal(setenv("INNERLOOP_MODEL", "n", 1), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        support_refused(2, "config.json of the model n are the same file", "%s", lines[i]);
        free(support_done("inspect n"));
    }
    unsetenv("INNERLOOP_MODEL");
    free(support_done("compress --model m book.txt n/small")); /* of the model that is read alone */
    assert_int_equal(unlink("n/small"), 0);
    if (access("tree/models/reader", F_OK)) skip(); /* emulated */
    char *command = malloc(strlen(home) + 32);
    assert_non_null(command);
    sprintf(command, "%s/tree/build/innerloop", home);
    support_command = command;
    support_refused(2, "config.json of the model reader are the same file",
                    "compress --model reader book.txt m/config.json");
    support_refused(2, "config.json of the model reader are the same file", "compress book.txt m/config.json");
    support_command = INNERLOOP;
    free(command);
}

/* A model of pictures is told from one of texts before any text is asked for. */
static void test_pictures(void **state) {
    (void)state;
    static const char *const lines[] = {"read --model %s --save-state x.ilstate book.txt", "chat --model %s",
                                        "chat --template plain --prompt a --model %s"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[300];
        snprintf(line, sizeof line, lines[i], FIXTURES "/../../models/clothes");
        support_refused(1, "models/clothes: a model of pictures, and this is of texts: 'innerloop generate'", "%s",
                        line);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_environment), cmocka_unit_test(test_inspect),
                                       cmocka_unit_test(test_places), cmocka_unit_test(test_outputs_in_it),
                                       cmocka_unit_test(test_pictures)};
    return cmocka_run_group_tests(tests, begin, end);
}
