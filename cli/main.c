/* main.c: the command without a verb: --help, --version, and what packagers ask for. */
#include "completion.h"
#include "interrupt.h"
#include "manual.h"
#include "output.h"
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_verb(void *stream, const arg_spec *spec) {
    fprintf(stream, "  %-18s %s\n", spec->verb, spec->summary);
}

static void print_help(FILE *stream) {
    fprintf(stream, "innerloop %s: " MANUAL_SUMMARY "\n\nusage: innerloop VERB [options]\n\n", il_version());
    verbs_list(print_verb, stream);
    fprintf(stream,
            "\n"
            "  innerloop VERB --help          options of a verb, with an example\n"
            "  innerloop --version            print the version\n"
            "  innerloop --man                print the manual page: innerloop --man | man -l -\n"
            "  innerloop --completion bash    print completion for bash: eval \"$(innerloop --completion bash)\"\n");
}

static void print_version(void) { printf("innerloop %s\n", il_version()); }
static void print_help_asked_for(void) { print_help(stdout); }

/* What may stand in place of a verb. */
static const struct {
    const char *option, *value; /* value NULL: takes none */
    void (*print)(void);
} instead[] = {{"--help", NULL, print_help_asked_for},
               {"-h", NULL, print_help_asked_for},
               {"--version", NULL, print_version},
               {"--man", NULL, manual_print},
               {"--completion", "bash", completion_print_bash}};

/* A standard stream that is closed would be the next file that is opened, and what is printed would go there. It is
 * opened the wrong way round, so that reading and writing it still fail. */
static int open_closed(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return 0;
    return 1;
}

int main(int argc, char **argv) {
    if (!open_closed()) return 1;
    cli_interrupt_begin();
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    for (size_t i = 0; i < COUNT_OF(instead); i++) {
        if (strcmp(argv[1], instead[i].option) != 0) continue;
        const char *value = instead[i].value;
        if (value && (argc < 3 || strcmp(argv[2], value) != 0)) {
            cli_error("", "%s needs a value, which can only be %s", instead[i].option, value);
            return 2;
        }
        instead[i].print();
        return cli_finish_output("", 0);
    }
    return verbs_run(argc - 1, argv + 1);
}
