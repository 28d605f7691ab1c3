/* support_cli.c: see support_cli.h. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

const char *support_command = INNERLOOP;
static char *folder;

int support_cli_begin(void **state) {
    (void)state;
    folder = support_folder_make();
    return chdir(folder);
}

int support_cli_end(void **state) {
    (void)state;
    int failed = chdir("/");
    support_folder_remove(folder);
    folder = NULL;
    return failed;
}

/* Cuts line into words in place. */
static void split(char *line, char **argv, int room) {
    int n = 0;
    argv[n++] = (char *)(uintptr_t)support_command;
    for (char *at = line; *at;) {
        while (*at == ' ') at++;
        if (!*at) break;
        assert_true(n < room - 1);
        char *to = at;
        argv[n++] = to;
        for (int quoted = 0; *at && (quoted || *at != ' '); at++) {
            if (*at == '\'')
                quoted = !quoted;
            else
                *to++ = *at;
        }
        if (*at) at++;
        *to = 0;
    }
    argv[n] = NULL;
}

static void redirect(const char *path, int flags, int to) {
    int fd = open(path, flags, 0666);
    if (fd < 0 || dup2(fd, to) < 0) _exit(125);
    close(fd);
}

static pid_t start(const char *input, const char *format, va_list args) {
    char line[4096], *argv[128];
    int n = vsnprintf(line, sizeof line, format, args);
    assert_true(n >= 0 && (size_t)n < sizeof line);
    split(line, argv, 128);
    if (input) support_write("in", input, strlen(input));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child) return child;
    redirect(input ? "in" : "/dev/null", O_RDONLY, STDIN_FILENO);
    redirect("out", O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    redirect("err", O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    execv(argv[0], argv);
    _exit(126);
}

static int wait_for(pid_t child, struct rusage *usage) {
    int status;
    assert_int_equal(wait4(child, &status, 0, usage), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int support_cli_wait(pid_t child) { return wait_for(child, NULL); }

static support_run finish(pid_t child) {
    struct rusage usage;
    support_run run = {.code = wait_for(child, &usage)};
    run.peak_kb = usage.ru_maxrss;
    run.out = support_read("out", &run.out_bytes);
    run.err = support_read("err", &run.err_bytes);
    return run;
}

pid_t support_cli_start(const char *line, ...) {
    va_list args;
    va_start(args, line);
    pid_t child = start(NULL, line, args);
    va_end(args);
    return child;
}

support_run support_cli(const char *input, const char *line, ...) {
    va_list args;
    va_start(args, line);
    pid_t child = start(input, line, args);
    va_end(args);
    return finish(child);
}

void support_run_free(support_run *run) {
    free(run->out);
    free(run->err);
    *run = (support_run){0};
}

static support_run expect(int code, const char *line, va_list args) {
    va_list again;
    va_copy(again, args);
    support_run run = finish(start(NULL, line, args));
    if (run.code != code) {
        char text[4096];
        vsnprintf(text, sizeof text, line, again);
        fail_msg("innerloop %s: status %d, not %d: %s", text, run.code, code, run.err);
    }
    va_end(again);
    return run;
}

json_t *support_json(const char *line, ...) {
    char with_json[4096];
    snprintf(with_json, sizeof with_json, "%s --json", line);
    va_list args;
    va_start(args, line);
    support_run run = expect(0, with_json, args);
    va_end(args);
    json_error_t where;
    json_t *object = json_loadb(run.out, run.out_bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!json_is_object(object)) fail_msg("innerloop %s: no JSON object: %s: %s", line, where.text, run.out);
    assert_ptr_equal(strchr(run.out, '\n'), run.out + run.out_bytes - 1);
    support_run_free(&run);
    return object;
}

json_t *support_scores(const char *input, const char *arguments) {
    support_run run = support_cli(input, "score --json %s", arguments);
    if (run.code) fail_msg("score %s: %d: %s", arguments, run.code, run.err);
    json_t *array = json_array();
    for (char *at = run.out, *end; (end = strchr(at, '\n')); at = end + 1) {
        json_error_t where;
        json_t *object = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, &where);
        if (!json_is_object(object)) fail_msg("score %s: no object: %.*s", arguments, (int)(end - at), at);
        json_array_append_new(array, object);
    }
    assert_true(json_array_size(array) > 0);
    support_run_free(&run);
    return array;
}

char *support_done(const char *line, ...) {
    va_list args;
    va_start(args, line);
    support_run run = expect(0, line, args);
    va_end(args);
    free(run.err);
    return run.out;
}

void support_refused(int code, const char *text, const char *line, ...) {
    va_list args;
    va_start(args, line);
    support_run run = expect(code, line, args);
    va_end(args);
    if (run.out_bytes) fail_msg("innerloop %s: printed %s", line, run.out);
    if (!strstr(run.err, text)) fail_msg("innerloop %s: \"%s\" lacks \"%s\"", line, run.err, text);
    if (strncmp(run.err, "innerloop", 9)) fail_msg("innerloop %s: \"%s\"", line, run.err);
    if (code == 2 && strchr(run.err, '\n') != run.err + run.err_bytes - 1)
        fail_msg("innerloop %s: not one line: \"%s\"", line, run.err);
    support_run_free(&run);
}

static const json_t *get(const json_t *object, const char *path) {
    char key[64];
    for (const char *at = path; object && *at;) {
        size_t n = strcspn(at, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, at);
        object = json_object_get(object, key);
        at += n + (at[n] == '.');
    }
    return object;
}

double support_number(const json_t *object, const char *path) {
    const json_t *value = get(object, path);
    if (!json_is_number(value)) fail_msg("%s is no number", path);
    return json_number_value(value);
}

const char *support_string(const json_t *object, const char *path) {
    const json_t *value = get(object, path);
    if (!json_is_string(value)) fail_msg("%s is no text", path);
    return json_string_value(value);
}

char *support_text_of(const char *path) {
    size_t bytes;
    return support_read(path, &bytes);
}

void support_wait_for(const char *path, const char *text) {
    for (int tries = 0; tries < 60000; tries++) { /* a command may not have made the file yet */
        char *now = support_exists(path) ? support_text_of(path) : NULL;
        int found = now && strstr(now, text) != NULL;
        free(now);
        if (found) return;
        usleep(1000);
    }
    fail_msg("%s never held \"%s\"", path, text);
}

char *support_fingerprint(const char *dir) {
    json_t *object = support_json("inspect %s", dir);
    char *text = strdup(support_string(object, "fingerprint"));
    assert_non_null(text);
    json_decref(object);
    return text;
}
