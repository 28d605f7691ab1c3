/* test_cli_files.c: what the command reads and writes: no output destroys an input, outputs are what they were, found
 * to be impossible before the work, gone when a run is stopped; standard streams, signals, names that are no text. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOOK_BYTES = 2000 };
#define BAD "bad\xE9\x1B<i>.txt" /* a name that is neither UTF-8 nor fit for a terminal or a page */

static char *book;

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    book = support_book(1, BOOK_BYTES);
    support_write("big.txt", book, BOOK_BYTES);
    free(support_done("init --preset tiny %s --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("read --model m --save-state state book.txt"));
    return mkdir("folder", 0777);
}

static int end(void **state) {
    free(book);
    return support_cli_end(state);
}

/* Runs a line of the shell in which $IL is the command; its exit status. */
static int shell(const char *line) {
    setenv("IL", INNERLOOP, 1);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void assert_says(const char *text) {
    char *err = support_text_of("err");
    if (!strstr(err, text)) fail_msg("\"%s\" lacks \"%s\"", err, text);
    free(err);
}

/* A file of the test's own, which must stay as it was. */
static void put(const char *path) { support_write(path, book, BOOK_BYTES); }

static void assert_kept(const char *path) {
    size_t bytes;
    char *text = support_read(path, &bytes);
    assert_int_equal(bytes, BOOK_BYTES);
    assert_memory_equal(text, book, BOOK_BYTES);
    free(text);
}

/* Every output of a file; X stands for it. The text is read from book.txt. */
static const char *const writers[] = {
    "read --model m --save-state X book.txt",
    "generate --model m --prompt-file book.txt --max-tokens 2 --save-state X",
    "score --model m --html X book.txt",
    "eval --model m --data book.txt --per-token X",
    "eval --model m --data book.txt --max-tokens 9 --logits X",
    "eval --model m --data book.txt --max-tokens 9 --grads X",
    "train-tokenizer --vocab 300 --out X book.txt",
    "compress --model m book.txt X",
    "train --model m --data book.txt --out folder/run --steps 1 --batch-tokens 32 --seq-len 32 --log X",
    "bench --preset tiny --work gemm --repeat 1 --csv X",
    "bench --preset tiny --work gemm --repeat 1 --html X",
};
enum { WRITERS = sizeof writers / sizeof *writers, OF_BENCH = 9 /* from there on: they read nothing, and are slow */ };

/* The line with output in place of X, and model in place of m unless that is NULL. */
static const char *with(const char *line, const char *output, const char *model) {
    static char text[6000];
    const char *x = strstr(line, " X"), *m = model ? strstr(line, "--model m ") : NULL;
    assert_non_null(x);
    if (m)
        snprintf(text, sizeof text, "%.*s--model %s %.*s %s%s", (int)(m - line), line, model, (int)(x - m - 10), m + 10,
                 output, x + 2);
    else
        snprintf(text, sizeof text, "%.*s %s%s", (int)(x - line), line, output, x + 2);
    return text;
}

/* ---- an output that is the input ---- */

static void test_output_is_input(void **state) {
    (void)state;
    static const char *const names[] = {"book.txt", "./folder/../book.txt", "hard", "soft"};
    assert_int_equal(link("book.txt", "hard"), 0);
    assert_int_equal(symlink("book.txt", "soft"), 0);
    for (size_t i = 0; i < OF_BENCH; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            support_refused(2, "are the same file", "%s", with(writers[i], names[k], NULL));
            assert_kept("book.txt");
        }
    support_refused(2, "--log and --val are the same file",
                    "train --model m --data m/config.json --val book.txt --out r "
                    "--steps 1 --batch-tokens 32 --seq-len 32 --log hard");
    support_refused(2, "decompress: state and state are the same file", "decompress --model m state state");
    support_refused(2, "--per-token and config.json of --model are the same file",
                    "eval --model m --data book.txt --per-token m/config.json");
    support_refused(2, "--html and --load-state are the same file",
                    "score --model m --load-state state --html state book.txt");
    assert_int_equal(unlink("hard") | unlink("soft"), 0);
    /* other files in the model's folder are nobody's business */
    for (int i = 0; i < 2; i++)
        assert_int_equal(shell("cd m && $IL eval --model . --data ../book.txt --per-token x > o"), 0);
    assert_int_equal(unlink("m/x") | unlink("m/o"), 0);
    /* a state may take the place of the one that the run goes on from */
    support_same_files("state", "state");
    free(support_done("read --model m --save-state again book.txt"));
    free(support_done("read --model m --load-state again --save-state again book.txt"));
    free(support_done("generate --model m --load-state again --save-state again --max-tokens 1"));
    /* a shard that would be its text */
    put("folder/text.bin");
    assert_int_equal(symlink("text.bin", "folder/text"), 0);
    support_refused(1, "folder/text.bin and folder/text are the same file",
                    "tokenize --tokenizer bytes --format text --out folder folder/text");
    assert_kept("folder/text.bin");
    assert_int_equal(unlink("folder/text.bin") | unlink("folder/text"), 0);
    assert_kept("book.txt");
}

static void test_redirections(void **state) {
    (void)state;
    put("x");
    static const char *const lines[] = {
        "$IL score --model m - < x >> x 2> err",
        "$IL score --model m x >> x 2> err",
        "$IL read --model m --save-state s x 1<> x 2> err",
        "$IL eval --model m --data - --per-token x < x > out 2> err",
        "$IL compress --model m - - < x 1<> x 2> err",
        "$IL inspect x >> x 2> err",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        if (shell(lines[i]) != 2) fail_msg("%s", lines[i]);
        assert_says("are the same file");
        assert_kept("x");
    }
    /* what is the same but no file is nobody's loss */
    assert_int_equal(shell("$IL read --model m --save-state /dev/null book.txt < /dev/null > /dev/null 2> err"), 0);
    unlink("x");
}

static void test_two_outputs(void **state) {
    (void)state;
    static const char *const lines[] = {
        "eval --model m --data book.txt --per-token new --logits ./new",
        "eval --model m --data book.txt --per-token new --logits folder/../new",
        "bench --preset tiny --work gemm --repeat 1 --csv new --html to-new",
        "eval --model m --data book.txt --per-token - --logits /dev/stdout",
        "train --model m --data book.txt --out new/ --steps 1 --batch-tokens 32 --seq-len 32 --log new",
    };
    assert_int_equal(symlink("new", "to-new"), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) support_refused(2, "are the same file", "%s", lines[i]);
    assert_int_equal(shell("$IL read --model m --save-state new book.txt > new 2> err"), 2);
    assert_says("--save-state and standard output are the same file");
    unlink("to-new");
    unlink("new");
}

/* --resume cuts a log to what the checkpoint knows; anything else would be emptied by that. */
static void test_log_that_is_none(void **state) {
    (void)state;
    static const char train[] = "train --model m --data book.txt --out logged --batch-tokens 32 --seq-len 32 --log";
    static const char *const others[] = {"notes\n", "{\"step\":0}\n", "{\"loss\":1}\n", "{\"stop", "[1]\n"};
    free(support_done("%s log --steps 2", train));
    char *log = support_text_of("log");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        support_write("notes", others[i], strlen(others[i]));
        support_refused(1, "notes: not a log of train", "%s notes --steps 2 --resume", train);
        char *kept = support_text_of("notes");
        assert_string_equal(kept, others[i]);
        free(kept);
    }
    char longer[4096];
    int n = snprintf(longer, sizeof longer, "%s{\"step\":3,\"loss\":1}\n{\"ste", log);
    support_write("log", longer, (size_t)n);
    free(support_done("%s log --steps 2 --resume", train));
    char *cut = support_text_of("log");
    assert_string_equal(cut, log);
    free(cut);
    free(log);
}

/* ---- standard streams ---- */

/* What is printed must not go into the files that are opened next. */
static void test_closed_streams(void **state) {
    (void)state;
    assert_int_equal(shell("$IL eval --model m --data book.txt --per-token open.npy > out 2> err"), 0);
    assert_int_equal(shell("$IL eval --model m --data book.txt --per-token e.npy > out 2>&-"), 0);
    support_same_files("open.npy", "e.npy");
    assert_int_equal(shell("$IL eval --model m --data book.txt --per-token a.npy <&- >&- 2>&-"), 1);
    support_same_files("open.npy", "a.npy");
    assert_int_equal(shell("$IL read --model m --save-state s book.txt <&- 2>&- > out"), 0);
    support_same_files("state", "s");
    assert_int_equal(shell("$IL inspect m >&- 2> err"), 1);
    assert_says("standard output: Bad file descriptor");
    assert_int_equal(shell("$IL compress --model m book.txt - >&- 2> err"), 1);
    assert_says("compress: standard output: ");
    assert_int_equal(shell("$IL score --model m - <&- > out 2> err"), 1);
    assert_says("standard input");
}

static void test_standard_output(void **state) {
    (void)state;
    static const char *const names[] = {"-", "/dev/stdout", "/dev/fd/1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[300];
        snprintf(line, sizeof line, "$IL read --model m --save-state %s book.txt 2> err | cat > got", names[i]);
        assert_int_equal(shell(line), 0);
        assert_says("standard output: position ");
        support_same_files("state", "got");
        snprintf(line, sizeof line, "$IL read --model m --save-state %s book.txt > got 2> err", names[i]);
        assert_int_equal(shell(line), 0);
        support_same_files("state", "got");
        /* after what is there, and from where it stands */
        snprintf(line, sizeof line,
                 "{ echo one; $IL read --model m --save-state %s book.txt 2> err; echo two; } > got; "
                 "{ echo one; cat state; echo two; } | cmp - got",
                 names[i]);
        assert_int_equal(shell(line), 0);
        support_refused(2, "--json and --save-state would both write to standard output",
                        "read --model m --json --save-state %s book.txt", names[i]);
    }
    assert_int_equal(shell("$IL score --model m --save-state - book.txt > got 2> err"), 0);
    support_same_files("state", "got");
    assert_int_equal(shell("$IL score --model m --html - book.txt > page.html 2> err"), 0);
    char *page = support_text_of("page.html");
    assert_ptr_equal(strstr(page, "<!doctype html>"), page);
    assert_string_equal(page + strlen(page) - 8, "</html>\n");
    free(page);
    assert_int_equal(shell("$IL read --model m --save-state - book.txt > /dev/full 2> err"), 1);
    assert_says("innerloop read: standard output: cannot write: No space left on device");
}

/* ---- what outputs are ---- */

static void test_modes_and_links(void **state) {
    (void)state;
    struct stat info;
    for (size_t i = 0; i < OF_BENCH; i++) {
        support_write("old", "old", 3);
        assert_int_equal(chmod("old", 0600), 0);
        assert_int_equal(symlink("folder/new", "link"), 0); /* to nothing yet */
        free(support_done("%s", with(writers[i], "old", NULL)));
        assert_int_equal(stat("old", &info), 0);
        assert_int_equal(info.st_mode & 07777, 0600);
        assert_true(info.st_size > 3);
        assert_int_equal(shell("rm -rf folder/run"), 0);
        free(support_done("%s", with(writers[i], "link", NULL)));
        assert_true(!lstat("link", &info) && S_ISLNK(info.st_mode));
        assert_true(!lstat("folder/new", &info) && S_ISREG(info.st_mode));
        assert_int_equal(shell("rm -rf folder/* old link"), 0);
    }
    assert_int_equal(symlink("there/is/none", "link"), 0);
    support_refused(1, "link: there is no folder there/is", "read --model m --save-state link book.txt");
    unlink("link");
}

static void test_pipes_and_devices(void **state) {
    (void)state;
    struct stat info;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    for (size_t i = 0; i < OF_BENCH; i++) {
        char line[1000];
        snprintf(line, sizeof line, "cat pipe > got & $IL %s > out 2> err && wait && test -s got",
                 with(writers[i], "pipe", NULL));
        if (shell(line)) fail_msg("%s", line);
        assert_int_equal(shell("rm -rf folder/run"), 0);
        free(support_done("%s", with(writers[i], "/dev/null", NULL)));
        assert_int_equal(shell("rm -rf folder/run"), 0);
    }
    assert_true(!stat("pipe", &info) && S_ISFIFO(info.st_mode));
    assert_true(!stat("/dev/null", &info) && S_ISCHR(info.st_mode));
    assert_int_equal(shell("cat pipe > got & $IL read --model m --save-state pipe book.txt > out 2> err; wait"), 0);
    support_same_files("state", "got");
    unlink("pipe");
}

/* What must be a file is not waited for when it is a pipe, and no folder is read. */
static void test_pipes_for_files(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --out p", SUPPORT_SHAPE));
    static const char *const files[] = {"p/config.json", "p/model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        for (int folder = 0; folder < 2; folder++) {
            assert_int_equal(rename(files[i], "kept"), 0);
            assert_int_equal(folder ? mkdir(files[i], 0777) : mkfifo(files[i], 0600), 0);
            support_refused(1, files[i], "eval --model p --data book.txt");
            assert_int_equal(folder ? rmdir(files[i]) : unlink(files[i]), 0);
            assert_int_equal(rename("kept", files[i]), 0);
        }
    }
    assert_int_equal(mkfifo("fifo", 0600), 0);
    support_refused(1, "fifo: ", "read --model m --load-state fifo --save-state s book.txt");
    support_refused(1, "fifo: ", "init --preset tiny --tokenizer fifo --out q");
    static const char *const endings[] = {"", ".ilc", ".model", ".safetensors", ".ilstate"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        char name[40];
        snprintf(name, sizeof name, "fifo%s", endings[i]);
        if (i) assert_int_equal(mkfifo(name, 0600), 0);
        support_refused(1, name, "inspect %s", name);
    }
    free(support_done("train --model m --data book.txt --steps 1 --batch-tokens 32 --seq-len 32 --out tr"));
    assert_int_equal(unlink("tr/step-1/trainer.json"), 0);
    assert_int_equal(mkfifo("tr/step-1/trainer.json", 0600), 0);
    support_refused(1, "trainer.json: ", "inspect tr");
    support_refused(
        1, "trainer.json: ", "train --data book.txt --steps 2 --batch-tokens 32 --seq-len 32 --out tr --resume");
    assert_false(support_exists("q"));
    /* a cached shard */
    static const char train[] = "train --model m --data book.txt --steps 1 --batch-tokens 32 --seq-len 32 --out";
    free(support_done("%s cached", train));
    assert_int_equal(shell("c=$(echo cached.cache/*.bin) && rm $c && mkfifo $c"), 0);
    assert_int_equal(rename("cached.cache", "other.cache"), 0);
    free(support_done("%s other", train));
    unlink("fifo");
}

/* ---- before the work ---- */

/* No model is there, which is looked for next: so the output was looked at first. */
static void test_found_before_the_work(void **state) {
    (void)state;
    char name[300];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    const char *const outputs[][2] = {{"no/such/x", "no/such/x: there is no folder no/such"},
                                      {"folder", "folder: a folder, not a file"},
                                      {"book.txt/x", "book.txt/x: "},
                                      {name, "File name too long"},
                                      {"/proc/x", "cannot create"}};
    for (size_t i = 0; i < WRITERS; i++)
        for (size_t k = 0; k < sizeof outputs / sizeof *outputs; k++)
            support_refused(1, outputs[k][1], "%s", with(writers[i], outputs[k][0], "nowhere"));
    assert_int_equal(
        shell("p=$(printf './%.0s' $(seq 2035)); $IL read --model nowhere --save-state ${p}x book.txt 2> err"), 1);
    assert_says("File name too long"); /* of the temporary */
    assert_false(support_exists("folder/run"));
    assert_int_equal(symlink("none", "nil"), 0);
    static const char *const makers[] = {
        "init --preset tiny --tokenizer nowhere --out X", "convert --model nowhere --out X",
        "tokenize --tokenizer nowhere --out X book.txt",
        "train --model nowhere --data book.txt --steps 1 --batch-tokens 32 --seq-len 32 --out X"};
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        support_refused(1, "state: exists and is not a folder", "%s", with(makers[i], "state", NULL));
        support_refused(1, "state/x: Not a directory", "%s", with(makers[i], "state/x", NULL));
        support_refused(1, "File name too long", "%s", with(makers[i], name, NULL));
        support_refused(1, "nowhere", "%s", with(makers[i], "made/of/folders", NULL));
        assert_false(support_exists("made"));
        support_refused(1, "nil: a link to nothing", "%s", with(makers[i], "nil", NULL));
    }
    assert_int_equal(shell("mkdir gone && cd gone && rmdir ../gone && $IL init --preset tiny --out x 2> ../err"), 1);
    assert_says("cannot create: No such file or directory"); /* nor in what is above it */
    /* a log in the folder that the run makes */
    free(support_done(
        "train --model m --data book.txt --steps 1 --batch-tokens 32 --seq-len 32 --out made --log made//l"));
    assert_true(support_exists("made/l"));
    /* a name that is nearly too long: its temporary's is */
    name[250] = 0;
    free(support_done("read --model m --save-state %s book.txt", name));
    support_same_files("state", name);
    unlink(name);
}

/* ---- being stopped ---- */

/* While nothing looks at signals: reading a pipe that brings nothing. */
static void test_ended_at_once(void **state) {
    (void)state;
    static const struct {
        int number, code;
        const char *word;
    } cases[] = {{SIGINT, 130, "innerloop: interrupted\n"},
                 {SIGTERM, 143, "innerloop: SIGTERM\n"},
                 {SIGHUP, 129, "innerloop: SIGHUP\n"}};
    static const char *const lines[] = {"tokenize --tokenizer bytes --out made/of/shards pipe",
                                        "train-tokenizer --vocab 300 --out t.model pipe",
                                        "eval --model m --data pipe --per-token t.npy"};
    assert_int_equal(shell("rm -rf made"), 0);
    assert_int_equal(mkfifo("pipe", 0600), 0);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < 3; k++) {
            pid_t child = support_cli_start("%s", lines[k]);
            int fd = open("pipe", O_WRONLY); /* which waits until it is read */
            assert_true(fd >= 0);
            assert_int_equal(kill(child, cases[i].number), 0);
            assert_int_equal(support_cli_wait(child), cases[i].code);
            close(fd);
            assert_says(cases[i].word);
            assert_int_equal(shell("ls made t.* > out 2>&1") != 0, 1);
        }
    unlink("pipe");
}

static void test_stopped_in_good_order(void **state) {
    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    for (int i = 0; i < 2; i++) {
        unlink("out");
        pid_t child = support_cli_start("score --model m --html page.html pipe");
        int fd = open("pipe", O_WRONLY);
        assert_int_equal(write(fd, "a line\n", 7), 7);
        support_wait_for("out", "a line");
        assert_int_equal(kill(child, i ? SIGHUP : SIGTERM), 0);
        assert_int_equal(support_cli_wait(child), i ? 129 : 143);
        close(fd);
        assert_says(i ? "innerloop: SIGHUP: stopping in good order" : "innerloop: SIGTERM: stopping in good order");
    }
    assert_true(support_exists("page.html"));
    /* nohup */
    assert_int_equal(shell("trap '' HUP; $IL score --model m pipe > out 2> err & p=$!; exec 3> pipe; echo one >&3;"
                           "until grep -q one out; do sleep .01; done; kill -HUP $p; echo two >&3;"
                           "until grep -q two out; do sleep .01; done; kill -TERM $p; wait $p"),
                     143);
    unlink("pipe");
}

/* The second signal does not wait for what the first one asked for, and leaves nothing either. */
static void test_second_signal(void **state) {
    (void)state;
    assert_int_equal(mkfifo("to", 0600), 0); /* nobody reads it: writing the state waits for ever */
    unlink("err");
    pid_t child = support_cli_start("generate --model m --prompt a --max-tokens 100000000 --save-state to");
    support_wait_for("out", "a");
    kill(child, SIGINT);
    support_wait_for("err", "stopping in good order");
    usleep(20000);
    kill(child, SIGTERM);
    assert_int_equal(support_cli_wait(child), 143);
    assert_says("innerloop: SIGTERM\n");
    unlink("to");
}

/* What a killed run left is removed by the next. */
static void test_killed(void **state) {
    (void)state;
    assert_int_equal(mkfifo("pipe", 0600), 0);
    pid_t child = support_cli_start("score --model m --html p.html pipe");
    int fd = open("pipe", O_WRONLY);
    assert_int_equal(write(fd, "a line\n", 7), 7);
    support_wait_for("out", "a line");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(support_cli_wait(child), -SIGKILL);
    close(fd);
    assert_int_equal(shell("ls p.html.tmp-* > out"), 0);
    free(support_done("score --model m --html p.html book.txt"));
    assert_int_equal(shell("ls p.html.tmp-* > out 2>&1") != 0, 1);
    unlink("pipe");
}

/* ---- words ---- */

/* What is generated ends as text files do; --json has every byte. */
static void test_generate_ends_with_a_line_end(void **state) {
    (void)state;
    for (int n = 0; n < 4; n++) {
        char *text = support_done("generate --model m --prompt a --max-tokens %d --temperature 0", n);
        json_t *object = support_json("generate --model m --prompt a --temperature 0 --max-tokens 3");
        size_t bytes = strlen(text);
        if (n == 0) assert_int_equal(bytes, 0);
        if (n > 0) assert_int_equal(text[bytes - 1], '\n');
        if (n == 3) assert_int_equal(bytes, strlen(support_string(object, "text")) + 1);
        json_decref(object);
        free(text);
    }
}

/* Shown escaped wherever they are shown; a program gets valid JSON. */
static void test_broken_names(void **state) {
    (void)state;
    static const char shown[] = "bad\\xE9\\x1B<i>.txt";
    put(BAD);
    free(support_done("score --model m --html page.html '%s'", BAD));
    char *page = support_text_of("page.html");
    assert_non_null(strstr(page, "<h1>bad\\xE9\\x1B&#60;i&#62;.txt</h1>"));
    assert_null(strchr(page, '\xE9'));
    free(page);
    char *report = support_done("read --model m --save-state '%s.out' '%s'", BAD, BAD);
    assert_ptr_equal(strstr(report, shown), report);
    free(report);
    json_t *object = support_json("read --model m --save-state '" BAD ".out' book.txt");
    assert_string_equal(support_string(object, "out"), "bad\\xE9\x1B<i>.txt.out");
    json_decref(object);
    support_refused(1, shown, "read --model m --save-state s '" BAD ".none'");
    support_refused(1, shown, "eval --model m --data '" BAD ".none'");
    support_refused(1, shown, "inspect '" BAD ".none'");
    support_refused(2, shown, "inspect m '" BAD "'");
    unlink(BAD);
    unlink(BAD ".out");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_is_input),
        cmocka_unit_test(test_redirections),
        cmocka_unit_test(test_two_outputs),
        cmocka_unit_test(test_log_that_is_none),
        cmocka_unit_test(test_closed_streams),
        cmocka_unit_test(test_standard_output),
        cmocka_unit_test(test_modes_and_links),
        cmocka_unit_test(test_pipes_and_devices),
        cmocka_unit_test(test_pipes_for_files),
        cmocka_unit_test(test_found_before_the_work),
        cmocka_unit_test(test_ended_at_once),
        cmocka_unit_test(test_stopped_in_good_order),
        cmocka_unit_test(test_second_signal),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_generate_ends_with_a_line_end),
        cmocka_unit_test(test_broken_names),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
