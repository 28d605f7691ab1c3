/* support_cli.h: running the built command from a test: its status and what it printed. The group runs in a
 * folder of its own, so that paths are short. Every call fails the running test when it cannot do its work. */
#ifndef IL_SUPPORT_CLI_H
#define IL_SUPPORT_CLI_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

/* Sizes of a model small enough for any test; a Transformer has no mini-batch. */
#define SUPPORT_COMMON                                                                                                 \
    "--set hidden_size=32 --set num_attention_heads=2 --set intermediate_size=48 --set num_hidden_layers=2"
#define SUPPORT_SHAPE SUPPORT_COMMON " --set mini_batch_size=4"

/* The path of the command that is run: INNERLOOP, the one just built, unless a test sets another. */
extern const char *support_command;

/* Group setup and teardown: an empty working folder, and the way back out of it. */
int support_cli_begin(void **state);
int support_cli_end(void **state);

typedef struct support_run {
    int code;        /* exit status, or -signal */
    char *out, *err; /* [out_bytes], [err_bytes] and a NUL; released by support_run_free */
    size_t out_bytes, err_bytes;
    long peak_kb; /* memory it held at most */
} support_run;

/* line: the words after "innerloop", parted by spaces; '…' keeps spaces. input: standard input, NULL: none. */
support_run support_cli(const char *input, const char *line, ...) __attribute__((format(printf, 2, 3)));
void support_run_free(support_run *run);
/* Starts the same without waiting; stdout and stderr go to the files out and err. */
pid_t support_cli_start(const char *line, ...) __attribute__((format(printf, 1, 2)));
int support_cli_wait(pid_t child); /* exit status, or -signal */

/* Runs with --json; status 0, one line on stdout, an object, which the caller releases. */
json_t *support_json(const char *line, ...) __attribute__((format(printf, 1, 2)));
/* Runs score with --json and these arguments; status 0; the objects, one a line, as an array. */
json_t *support_scores(const char *input, const char *arguments);
/* Runs and expects success; returns stdout, released by free. */
char *support_done(const char *line, ...) __attribute__((format(printf, 1, 2)));
/* Runs and expects this status, nothing on stdout and, for wrong usage, one line on stderr; stderr holds
 * text. */
void support_refused(int code, const char *text, const char *line, ...) __attribute__((format(printf, 3, 4)));

/* object.a.b… by path "a.b"; the test fails when there is no such number or text. */
double support_number(const json_t *object, const char *path);
const char *support_string(const json_t *object, const char *path);
/* Waits, at most a minute, until the file holds text. */
void support_wait_for(const char *path, const char *text);
/* The whole file as text, released by free. */
char *support_text_of(const char *path);
/* The fingerprint of a model directory, released by free. */
char *support_fingerprint(const char *dir);

#endif
