/* output.c: stderr, stdout and progress. */
#include "output.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR_WIDTH = 24, BAR_WIDTH_MIN = 8, LINE_MAX_BYTES = 1024 };
static const double PLAIN_EVERY_S = 10, BAR_EVERY_S = 0.1;

static int bar_open; /* the cursor stands in a progress bar */

void *cli_alloc(size_t count, size_t size) {
    void *block = calloc(count ? count : 1, size ? size : 1);
    if (!block) {
        fprintf(stderr, "innerloop: out of memory (%zu × %zu bytes)\n", count, size);
        exit(1);
    }
    return block;
}

char *cli_format(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = cli_alloc((size_t)(n > 0 ? n : 0) + 1, 1);
    vsnprintf(text, (size_t)(n > 0 ? n : 0) + 1, format, again);
    va_end(again);
    return text;
}

/* One line, whatever the message holds. */
static void print_line(const char *verb, const char *kind, const char *format, va_list args) {
    char line[LINE_MAX_BYTES];
    vsnprintf(line, sizeof line, format, args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = '?';
    if (bar_open) fputs("\r\033[K", stderr);
    bar_open = 0;
    fprintf(stderr, "innerloop%s%s: %s%s\n", verb[0] ? " " : "", verb, kind, line);
}

void cli_error(const char *verb, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(verb, "", format, args);
    va_end(args);
}

void cli_note(const char *verb, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(verb, "", format, args);
    va_end(args);
}

static void log_line(const char *verb, const char *kind, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_line(verb, kind, format, args);
    va_end(args);
}

void cli_log(void *user, il_log_level level, const char *line) {
    if (level == IL_LOG_DEBUG) return;
    log_line(user, level == IL_LOG_WARN ? "warning: " : "", "%s", line);
}

il_status cli_fail(il_error *error, il_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    error->status = status;
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return status;
}

double cli_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_progress_begin(cli_progress *progress, const char *verb, const char *unit, uint64_t first, uint64_t total) {
    const char *term = getenv("TERM");
    *progress = (cli_progress){.verb = verb, .unit = unit, .first = first, .total = total, .started = cli_seconds()};
    progress->shown = -1;
    progress->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static int terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < 20) return 80;
    return size.ws_col;
}

static void format_time(double seconds, char *text, size_t capacity) {
    long s = seconds < 1e8 ? (long)(seconds + 0.5) : 99999999;
    if (s >= 3600)
        snprintf(text, capacity, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, capacity, "%ld:%02ld", s / 60, s % 60);
}

void cli_progress_show(cli_progress *progress, uint64_t done, const char *detail) {
    double now = cli_seconds(), elapsed = now - progress->started;
    double every = progress->terminal ? BAR_EVERY_S : PLAIN_EVERY_S;
    if (progress->complete || (progress->shown >= 0 && now - progress->shown < every && done < progress->total)) return;
    progress->shown = now;
    progress->complete = done >= progress->total;
    double fraction = progress->total ? (double)done / (double)progress->total : 1;
    char time[32] = "", line[LINE_MAX_BYTES];
    if (progress->complete)
        format_time(elapsed, time, sizeof time);
    else if (done > progress->first) /* before that nothing says how long it will take */
        format_time(elapsed * (double)(progress->total - done) / (double)(done - progress->first), time, sizeof time);
    snprintf(line, sizeof line, "%s %llu/%llu%s%s%s%s%s", progress->unit, (unsigned long long)done,
             (unsigned long long)progress->total, detail[0] ? ", " : "", detail, time[0] ? ", " : "", time,
             progress->complete ? " in all"
             : time[0]          ? " left"
                                : "");
    if (!progress->terminal) {
        cli_note(progress->verb, "%s", line);
        return;
    }
    /* The bar takes what the words leave, if that is worth it; a line must not reach the last column. */
    int columns = terminal_columns() - 1, left = columns - (int)strlen(line) - 3;
    int width = left > BAR_WIDTH ? BAR_WIDTH : left, filled = (int)(fraction * width);
    fputs("\r\033[K", stderr);
    if (width >= BAR_WIDTH_MIN) {
        fputc('[', stderr);
        for (int i = 0; i < width; i++) fputc(i < filled ? '#' : '.', stderr);
        fputs("] ", stderr);
    }
    fprintf(stderr, "%.*s", columns, line);
    fflush(stderr);
    bar_open = 1;
}

void cli_progress_end(cli_progress *progress) {
    if (progress->terminal && bar_open) fputc('\n', stderr);
    bar_open = 0;
}

json_t *cli_json_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

/* Bytes of the UTF-8 character at text, 0 when there is none: jansson refuses all else. */
static size_t character(const char *text, size_t n) {
    for (size_t size = 1; size <= 4 && size <= n; size++) {
        json_t *string = json_stringn(text, size);
        json_decref(string);
        if (string) return size;
    }
    return 0;
}

json_t *cli_json_text(const char *text, size_t bytes) {
    json_t *string = json_stringn(text, bytes);
    if (string) return string;
    char *clean = cli_alloc(3 * bytes + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < bytes;) {
        size_t size = character(text + i, bytes - i);
        memcpy(clean + n, size ? text + i : "\xEF\xBF\xBD", size ? size : 3);
        n += size ? size : 3;
        i += size ? size : 1;
    }
    string = json_stringn(clean, n);
    free(clean);
    return string;
}

json_t *cli_json_string(const char *text) { return text ? cli_json_text(text, strlen(text)) : json_null(); }

void cli_json_print(json_t *object) {
    json_dumpf(object, stdout, JSON_COMPACT);
    fputc('\n', stdout);
    json_decref(object);
}

int cli_finish_output(const char *verb, int code) {
    if ((!fflush(stdout) && !ferror(stdout)) || code) return code; /* what went wrong before has been said */
    cli_error(verb, "standard output: %s", strerror(errno));
    return 1;
}
