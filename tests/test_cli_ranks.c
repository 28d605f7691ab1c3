/* test_cli_ranks.c: `innerloop train` by several processes, started by each mpirun that is here; and what keeps a long
 * run alive: signals, checkpoints that are kept, damaged ones, spikes. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

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
    {NULL, NULL, NULL}};

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

static void test_mpirun(void **state) {
    (void)state;
    if (!launchers[0].name) skip(); /* neither MPI is here */
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

int main(void) {
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mpirun),
    };
    return cmocka_run_group_tests_name("cli_ranks", tests, begin, support_cli_end);
}
