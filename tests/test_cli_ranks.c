/* test_cli_ranks.c: `innerloop train` by several processes, started by each mpirun that is here; and what keeps a long
 * run alive: signals, checkpoints that are kept, damaged ones, spikes. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define SIZE "--batch-tokens 64 --seq-len 16 --lanes 4"
#define SHORT "--steps 6 --warmup 2 " SIZE

static const struct {
    const char *name, *mpirun, *options;
} launchers[] = {
#ifdef MPIRUN_openmpi
    {"openmpi", MPIRUN_openmpi, "--allow-run-as-root --oversubscribe"},
#endif
#ifdef MPIRUN_mpich
    {"mpich", MPIRUN_mpich, ""},
#endif
    {NULL, "", ""}};

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    char *prose = support_book(3, 4000);
    support_write("text.txt", prose, 4000);
    free(prose);
    free(support_done("init --preset tiny %s --out m", SUPPORT_SHAPE));
    free(support_done("train --model m --data text.txt --out alone %s --save-every 3 --log alone.jsonl", SHORT));
    return 0;
}

/* The checkpoint after so many steps is that of the process alone. */
static void assert_same_run(const char *out, int step) {
    static const char *const files[] = {"trainer.json", "trainer.safetensors", "model.safetensors", "config.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char one[100], other[100];
        snprintf(one, sizeof one, "alone/step-%d/%s", step, files[i]);
        snprintf(other, sizeof other, "%s/step-%d/%s", out, step, files[i]);
        support_same_files(one, other);
    }
}

static size_t lines_of(const char *path) {
    char *text = support_text_of(path);
    size_t n = 0;
    for (char *c = text; *c; c++) n += *c == '\n';
    free(text);
    return n;
}

static support_run by_ranks(size_t which, int ranks, const char *line) {
    const char *own = support_command;
    support_command = launchers[which].mpirun;
    support_run run = support_cli(NULL, "%s -np %d %s %s", launchers[which].options, ranks, own, line);
    support_command = own;
    return run;
}

/* --out may be a link to a folder. */
static void test_mpirun(void **state) {
    (void)state;
    if (!launchers[0].name) skip(); /* neither MPI is here */
    assert_true(mkdir("elsewhere", 0777) == 0 && symlink("elsewhere", "by-openmpi") == 0);
    for (size_t i = 0; launchers[i].name; i++) {
        char out[40], log[40], line[400];
        snprintf(out, sizeof out, "by-%s", launchers[i].name);
        snprintf(log, sizeof log, "%s.jsonl", launchers[i].name);
        snprintf(line, sizeof line, "train --model m --data text.txt --out %s %s --save-every 3 --log %s", out, SHORT,
                 log);
        support_run run = by_ranks(i, 2 + (int)i, line);
        if (run.code) fail_msg("%s: %d: %s", launchers[i].name, run.code, run.err);
        assert_non_null(strstr(run.out, "latest: step 6"));
        assert_null(strstr(strstr(run.out, "latest: step 6") + 1, "latest")); /* by one of them */
        support_run_free(&run);
        assert_same_run(out, 3);
        assert_same_run(out, 6);
        assert_int_equal(lines_of(log), 6);
    }
}

/* Each reads its own sequences from the disk; one of them writes what is watched. */
static void test_sources_by_ranks(void **state) {
    (void)state;
    static const char *const files[] = {"trainer.json", "trainer.safetensors", "model.safetensors"};
    if (!launchers[0].name) skip();
    free(support_done("train --model m --out one --fresh --data-memory 0 %s --data text.txt=3 m/config.json=1 "
                      "--format text",
                      SHORT));
    support_run run = by_ranks(0, 2,
                               "train --model m --out two --fresh --data-memory 0 " SHORT
                               " --data text.txt=3 m/config.json=1 --format text --html two.html --tensorboard events");
    if (run.code) fail_msg("%d: %s", run.code, run.err);
    support_run_free(&run);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char one[100], two[100];
        snprintf(one, sizeof one, "one/latest/%s", files[i]);
        snprintf(two, sizeof two, "two/latest/%s", files[i]);
        support_same_files(one, two);
    }
    assert_int_equal(lines_of("two/history.jsonl"), 6);
    assert_int_equal(support_folder_count("events"), 1);
    char *page = support_text_of("two.html");
    assert_non_null(strstr(page, "step 6 of 6"));
    free(page);
}

/* Each process would say the same, and one does: what several can do, as command lines that work. */
static void test_refused_once(void **state) {
    (void)state;
    char *line, *rest;
    if (launchers[0].name) {
        support_run run = by_ranks(0, 2, "train text.txt");
        const char *says = strstr(run.err, "a new model is made by one process");
        assert_true(run.code && says && !strstr(says + 1, "a new model is made"));
        support_run_free(&run);
    }
    support_write("long text.txt", "", 0);
    char *prose = support_book(5, 40000);
    support_write("long text.txt", prose, 40000);
    free(prose);
    setenv("PMI_SIZE", "3", 1); /* as mpirun does */
    setenv("PMI_RANK", "0", 1);
    support_run run = support_cli(NULL, "train 'long text.txt' text.txt");
    assert_int_equal(mkfifo("pipe.txt", 0600), 0);
    support_refused(2, "cannot read the same pipe (-)", "train --model m --data - --out x " SHORT);
    support_refused(2, "cannot read the same pipe (pipe.txt)", "train --model m --data pipe.txt --out x " SHORT);
    support_refused(2, "cannot read the same pipe (-)", "train --model m --data text.txt --val - --out x " SHORT);
    unsetenv("PMI_SIZE");
    unsetenv("PMI_RANK");
    assert_int_equal(run.code, 2);
    line = strtok_r(run.err, "\n", &rest);
    static const char *const begins[] = {"    innerloop train-tokenizer ", "    innerloop tokenize ",
                                         "    innerloop init "};
    for (size_t i = 0; i < sizeof begins / sizeof *begins; i++) {
        line = strtok_r(NULL, "\n", &rest);
        if (!line || strncmp(line, begins[i], strlen(begins[i]))) fail_msg("%s", line);
        free(support_done("%s", line + strlen("    innerloop ")));
    }
    line = strtok_r(NULL, "\n", &rest);
    assert_string_equal(
        line, "    mpirun -np 3 innerloop train --lanes 4 --model start --out run --steps 1000 --batch-tokens 8192 "
              "--seq-len 512 shards");
    free(support_done("train --lanes 4 --model start --out run --steps 1 --batch-tokens 64 --seq-len 16 shards"));
    support_run_free(&run);
}

/* Who saved or validated alone would wait for the others without end. */
static void test_different_options(void **state) {
    (void)state;
    static const char *const others[][2] = {
        {"--save-every 2", "--save-every is 2, but 3 on rank 0"},
        {"--save-every 3 --val m/config.json", "--val is true, but false on rank 0"}};
    if (!launchers[0].name) skip();
    const char *own = support_command;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        support_command = launchers[0].mpirun;
        support_run run =
            support_cli(NULL,
                        "%s -np 1 %s train --model m --data text.txt --out differ " SHORT
                        " --save-every 3 : -np 1 %s train --model m --data text.txt --out differ " SHORT " %s",
                        launchers[0].options, own, own, others[i][0]);
        support_command = own;
        if (!run.code || !strstr(run.err, others[i][1])) fail_msg("%d: %s", run.code, run.err);
        support_run_free(&run);
    }
    support_write("val.txt", "a text of one machine", 21);
    support_write("other.txt", "a text of one Machine", 21);
    support_command = launchers[0].mpirun;
    support_run run =
        support_cli(NULL,
                    "%s -np 1 %s train --model m --data text.txt --out differ " SHORT
                    " --val val.txt : -np 1 %s train --model m --data text.txt --out differ " SHORT " --val other.txt",
                    launchers[0].options, own, own);
    support_command = own;
    if (!run.code || !strstr(run.err, "checksum of --val is ")) fail_msg("%d: %s", run.code, run.err);
    support_run_free(&run);
    assert_false(support_exists("differ"));
}

/* One that does not go on is named, with its host, and the run ends. */
static void test_watchdog(void **state) {
    (void)state;
    if (!launchers[0].name) skip();
    const char *own = support_command;
    support_command = launchers[0].mpirun;
    pid_t child = support_cli_start("%s -np 2 %s train --model m --data text.txt --out stuck --steps 1000000 "
                                    "--save-every 1000000 --log stuck.jsonl --watchdog 0.5 %s",
                                    launchers[0].options, own, SIZE);
    support_command = own;
    char *err = NULL; /* on a machine that is busy enough it comes by itself */
    while ((free(err), err = support_exists("err") ? support_text_of("err") : NULL),
           (!err || !strstr(err, "nothing was heard")) && (!support_exists("stuck.jsonl") || !lines_of("stuck.jsonl")))
        usleep(1000);
    int first = 0;
    if (support_exists("stuck/.innerloop-lock")) { /* rank 0's */
        char *holder = support_text_of("stuck/.innerloop-lock");
        sscanf(holder, "process %d", &first);
        free(holder);
    }
    if (first) kill(first, SIGSTOP);
    assert_int_not_equal(support_cli_wait(child), 0);
    free(err);
    err = support_text_of("err");
    if (!strstr(err, "nothing was heard for 0.5 s of rank ")) fail_msg("%s", err);
    free(err);
}

/* ---- what keeps a long run alive ---- */

static void test_signals(void **state) {
    (void)state;
    pid_t child = support_cli_start("train --model m --data text.txt --out long --steps 1000000 --save-every 1000000 "
                                    "--log long.jsonl %s",
                                    SIZE);
    support_wait_for("long.jsonl", "\"step\":3,");
    assert_false(support_exists("long/latest"));
    kill(child, SIGUSR1);
    while (!support_exists("long/latest")) usleep(1000);
    char first[64] = "", last[64] = "";
    assert_true(readlink("long/latest", first, sizeof first - 1) > 0);
    size_t lines = lines_of("long.jsonl");
    while (lines_of("long.jsonl") < lines + 2) usleep(1000); /* it goes on */
    kill(child, SIGTERM);
    assert_int_equal(support_cli_wait(child), 128 + SIGTERM);
    assert_true(readlink("long/latest", last, sizeof last - 1) > 0);
    assert_string_not_equal(first, last);
    assert_int_equal(support_folder_count("long"), 3);
}

/* Slurm's signal may come while the data are read, of a slow disk or a pipe: there is nothing to save then. */
static void test_signal_before_the_first_step(void **state) {
    (void)state;
    char *text = support_text_of("text.txt");
    assert_int_equal(mkfifo("slow.txt", 0600), 0);
    pid_t child = support_cli_start("train --model m --data slow.txt --out slow %s", SHORT);
    int pipe = open("slow.txt", O_WRONLY); /* as soon as it is being read */
    assert_true(pipe >= 0);
    kill(child, SIGUSR1);
    assert_int_equal(write(pipe, text, strlen(text)), strlen(text));
    close(pipe);
    assert_int_equal(support_cli_wait(child), 0);
    assert_int_equal(support_folder_count("slow"), 7); /* every step, --save-every being a tenth, and latest */
    free(text);
}

static void damage(const char *path) {
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(truncate(path, info.st_size - 3), 0);
}

/* The last checkpoints are kept; where the newest is damaged, whatever of it, the one before takes its place. */
static void test_kept_and_damaged(void **state) {
    (void)state;
    static const char *const files[] = {"model.safetensors", "trainer.safetensors", "trainer.json"};
    free(support_done("train --model m --data text.txt --out kept %s --save-every 1 --keep 2", SHORT));
    support_refused(2, "--keep must be from 1 to 1000000000, not 0",
                    "train --model m --data text.txt --out none %s --keep 0", SHORT);
    assert_int_equal(support_folder_count("kept"), 3);
    assert_true(support_exists("kept/step-5") && support_exists("kept/step-6"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        damage(support_path("kept/step-6", files[i]));
        support_run run = support_cli(NULL, "train --resume --data text.txt --out kept %s --keep 2", SHORT);
        if (run.code || !strstr(run.err, "damaged; going on from kept/step-5"))
            fail_msg("%s: %d: %s", files[i], run.code, run.err);
        support_run_free(&run);
        assert_same_run("kept", 6);
    }
    damage("kept/step-5/trainer.json");
    damage("kept/step-6/trainer.json");
    support_refused(1, "step-6/trainer.json", "train --resume --data text.txt --out kept %s", SHORT);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, what)); at += strlen(what)) n++;
    return n;
}

/* The page and the last of these event files say how many steps were skipped. */
static void assert_skips_shown(const char *html, const char *events, int skipped) {
    static const char tag[] = "optimizer/steps_skipped\x15"; /* and a float, in a message of tensorboard's */
    char wanted[120], *page = support_text_of(html);
    snprintf(wanted, sizeof wanted, "<dt>skipped as spikes</dt><dd>%d<small> steps</small></dd>", skipped);
    if (!strstr(page, wanted)) fail_msg("%s: no %s", html, wanted);
    const char *dots = strstr(page, "<path class=\"dot s\" d=\"");
    assert_non_null(dots);
    char *path = strndup(dots, strcspn(dots, ">"));
    assert_int_equal(count(path, "h0"), skipped);
    free(path);
    free(page);
    glob_t found;
    size_t bytes;
    float last = -1;
    assert_int_equal(glob(events, 0, NULL, &found), 0);
    char *file = support_read(found.gl_pathv[found.gl_pathc - 1], &bytes);
    for (char *at = file; (at = memmem(at, (size_t)(file + bytes - at), tag, sizeof tag - 1)); at++)
        memcpy(&last, at + sizeof tag - 1, sizeof last);
    assert_true(last == (float)skipped);
    globfree(&found);
    free(file);
}

/* A text that becomes another: its first batches then change nothing, and a run that is gone on with agrees. */
static void test_spikes(void **state) {
    (void)state;
    enum { SAME = 64 * 40, OTHER = 64 * 4 };
    static char text[SAME + OTHER + 2];
    for (int i = 0; i <= SAME + OTHER; i++) text[i] = (char)(i < SAME ? 'a' + i % 2 : '0' + i * i % 10);
    support_write("turns.txt", text, strlen(text));
#define SPIKES "--steps 44 --warmup 2 --lr 1e-2 --shuffle none --fresh --save-every 42 " SIZE
    free(support_done("train --model m --data turns.txt --out steady " SPIKES " --skip-spikes --log steady.jsonl "
                      "--html steady.html --tensorboard events"));
    free(support_done("train --model m --data turns.txt --out moved " SPIKES));
    char *log = support_text_of("steady.jsonl");
    int skipped = count(log, "\"skipped\":true");
    assert_true(skipped > 0);
    assert_skips_shown("steady.html", "events/*", skipped);
    assert_int_equal(lines_of("steady.jsonl"), 44);
    free(log);
    char *one = support_fingerprint("steady/latest"), *other = support_fingerprint("moved/latest");
    assert_string_not_equal(one, other);
    free(other);
    free(one);
    assert_int_equal(rename("steady/step-44", "whole"), 0);
    assert_int_equal(unlink("steady/latest"), 0);
    assert_int_equal(symlink("step-42", "steady/latest"), 0);
    support_refused(1, "spikes were skipped, and are not", "train --resume --data turns.txt --out steady " SPIKES);
    free(support_done("train --resume --data turns.txt --out steady " SPIKES " --skip-spikes --html again.html "
                      "--tensorboard events"));
    assert_skips_shown("again.html", "events/*", skipped);
    support_same_files("whole/model.safetensors", "steady/step-44/model.safetensors");
    support_same_files("whole/trainer.json", "steady/step-44/trainer.json");
}

int main(void) {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mpirun),       cmocka_unit_test(test_sources_by_ranks),
        cmocka_unit_test(test_refused_once), cmocka_unit_test(test_different_options),
        cmocka_unit_test(test_watchdog),     cmocka_unit_test(test_signal_before_the_first_step),
        cmocka_unit_test(test_signals),      cmocka_unit_test(test_kept_and_damaged),
        cmocka_unit_test(test_spikes),
    };
    return cmocka_run_group_tests_name("cli_ranks", tests, begin, support_cli_end);
}
