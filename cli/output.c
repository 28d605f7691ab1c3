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
static int muted;

void cli_output_mute(int mute) { muted = mute; }

void *cli_alloc(size_t count, size_t size) {
    void *block = calloc(count ? count : 1, size ? size : 1);
    if (!block) {
        fprintf(stderr, "innerloop: out of memory (%zu × %zu bytes)\n", count, size);
        exit(1);
    }
    return block;
}

void *cli_grown(void *block, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) return block;
    size_t larger = need + need / 2 + 64;
    void *to = cli_alloc(larger, size);
    if (*capacity) memcpy(to, block, *capacity * size);
    free(block);
    *capacity = larger;
    return to;
}

static char *format_list(const char *format, va_list args) __attribute__((format(printf, 1, 0)));
static char *format_list(const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = cli_alloc((size_t)(n > 0 ? n : 0) + 1, 1);
    vsnprintf(text, (size_t)(n > 0 ? n : 0) + 1, format, args);
    return text;
}

char *cli_format(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = format_list(format, args);
    va_end(args);
    return text;
}

/* Bytes of the UTF-8 character at text, 0 when there is none: jansson refuses all else. */
static size_t character(const char *text, size_t n) {
    for (size_t size = 1; size <= 4 && size <= n; size++) {
        json_t *string = json_stringn(text, size);
        json_decref(string);
        if (string) return size;
    }
    return 0;
}

static int is_control(const char *text, size_t size) {
    const unsigned char *c = (const unsigned char *)text;
    return size == 1 ? *c < 32 || *c == 127 : size == 2 && c[0] == 0xC2 && c[1] < 0xA0;
}

/* text with \xHH for each byte that is not UTF-8, and with `controls` of each that is a control character's; released
 * by free. */
static char *escaped(const char *text, int controls) {
    size_t bytes = strlen(text), n = 0;
    char *clean = cli_alloc(4 * bytes + 1, 1);
    for (size_t i = 0; i < bytes;) {
        size_t size = character(text + i, bytes - i), one = size ? size : 1;
        int hidden = !size || (controls && is_control(text + i, size));
        for (size_t k = 0; k < one && hidden; k++)
            n += (size_t)sprintf(clean + n, "\\x%02X", (unsigned char)text[i + k]);
        if (!hidden) memcpy(clean + n, text + i, one);
        if (!hidden) n += one;
        i += one;
    }
    clean[n] = 0;
    return clean;
}

static const char *renamed[2];

void cli_rename(const char *path, const char *name) {
    renamed[0] = path;
    renamed[1] = name;
}

const char *cli_shown(const char *name) {
    enum { KEPT = 4 };
    static char *kept[KEPT];
    static unsigned turn;
    char **place = &kept[turn++ % KEPT];
    if (renamed[0] && !strcmp(name, renamed[0])) return renamed[1];
    free(*place);
    return *place = escaped(name, 1);
}

/* One line, whatever the message holds. */
static void print_line(const char *verb, const char *kind, const char *format, va_list args) {
    if (muted) return;
    char *line = format_list(format, args), *shown = escaped(line, 1);
    size_t n = renamed[0] ? strlen(renamed[0]) : 0;
    int other = n && !strncmp(shown, renamed[0], n) && shown[n] == ':';
    char *whole = cli_format("%sinnerloop%s%s: %s%s%s\n", bar_open ? "\r\033[K" : "", verb[0] ? " " : "", verb, kind,
                             other ? renamed[1] : "", shown + (other ? n : 0));
    fputs(whole, stderr); /* by one call, so that lines of several processes do not mix */
    bar_open = 0;
    free(whole);
    free(shown);
    free(line);
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

const char *cli_count(uint64_t n, const char *unit) {
    enum { KEPT = 6 };
    static char counts[KEPT][64];
    static unsigned next;
    char *count = counts[next++ % KEPT];
    snprintf(count, sizeof *counts, "%llu %s%s", (unsigned long long)n, unit, n == 1 ? "" : "s");
    return count;
}

/* A message that is too long loses its middle: its end says what is wrong. */
il_status cli_fail(il_error *error, il_status status, const char *format, ...) {
    static const char gap[] = "…";
    va_list args;
    va_start(args, format);
    char *text = format_list(format, args);
    va_end(args);
    size_t n = strlen(text), room = sizeof error->message - 1, head = n, from = n;
    if (n > room) {
        head = room / 2;
        from = n - (room - head - (sizeof gap - 1));
        while (head && ((unsigned char)text[head] & 0xC0) == 0x80) head--;
        while (((unsigned char)text[from] & 0xC0) == 0x80) from++;
    }
    snprintf(error->message, sizeof error->message, "%.*s%s%s", (int)head, text, n > room ? gap : "", text + from);
    error->status = status;
    free(text);
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
    if (muted) return;
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

void cli_progress_hide(void) {
    if (bar_open) fputs("\r\033[K", stderr);
    bar_open = 0;
}

void cli_progress_end(cli_progress *progress) {
    if (progress->terminal && bar_open) fputc('\n', stderr);
    bar_open = 0;
}

json_t *cli_json_real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

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

json_t *cli_json_string(const char *name) {
    json_t *string = name ? json_string(name) : json_null();
    if (string) return string;
    char *clean = escaped(name, 0);
    string = json_string(clean);
    free(clean);
    return string;
}

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
