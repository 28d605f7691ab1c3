/* output.h: what the command prints: complaints, progress and the library's log on stderr, one JSON object on
 * stdout. Also memory for the command, which unlike the library may give up when there is none. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "innerloop.h"

#include <jansson.h>

/* Zeroed memory [count × size], released by free. Ends the command with status 1 when there is none. */
void *cli_alloc(size_t count, size_t size);
/* block [*capacity] of items of so many bytes, or a larger one in its place, with room for `need`; NULL and 0 at first.
 */
void *cli_grown(void *block, size_t *capacity, size_t need, size_t size);
/* printf into memory released by free. */
char *cli_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* "innerloop VERB: message" on stderr; always one line. */
void cli_error(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of news on stderr, in the same form. */
void cli_note(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Fills error (as the library does) and returns status. */
il_status cli_fail(il_error *error, il_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* il_engine_options.log; user is the verb's name. */
void cli_log(void *user, il_log_level level, const char *line);

/* A name from outside as it may be shown: control characters and bytes that are not UTF-8 as \xHH. Good until the
 * fourth call after this one. */
const char *cli_shown(const char *name);
/* "1 token", "2 tokens". Good until the sixth call after this one. */
const char *cli_count(uint64_t n, const char *unit);
/* Messages that begin with `path` begin with `name` instead, and cli_shown gives that. Both must stay. */
void cli_rename(const char *path, const char *name);

/* From here on neither complaints nor news nor progress are printed: another process of the run prints them. */
void cli_output_mute(int mute);

double cli_seconds(void); /* of a monotonic clock */

/* Progress of long work: a bar on a terminal, elsewhere a plain line at the first, at the last and every ten
 * seconds. */
typedef struct cli_progress {
    const char *verb, *unit;
    uint64_t first, total; /* work done before this run, and all of it */
    double started, shown;
    int terminal, complete; /* complete: the end has been shown */
} cli_progress;
void cli_progress_begin(cli_progress *progress, const char *verb, const char *unit, uint64_t first, uint64_t total);
/* done of total; detail ("loss 3.21, 812 tokens/s") may be empty. */
void cli_progress_show(cli_progress *progress, uint64_t done, const char *detail);
/* Takes a bar off the terminal, before a line on stdout; the next cli_progress_show draws it below. */
void cli_progress_hide(void);
void cli_progress_end(cli_progress *progress);

/* JSON null for what JSON cannot write. */
json_t *cli_json_real(double value);
/* A string of any bytes; those that are not UTF-8 come out as U+FFFD. */
json_t *cli_json_text(const char *text, size_t bytes);
/* A name, or what else ends in a NUL: bytes that are not UTF-8 come out as \xHH; null for NULL. */
json_t *cli_json_string(const char *name);
/* Prints object on one line and releases it. */
void cli_json_print(json_t *object);
/* Flushes stdout; returns code, or 1 with a complaint when what was printed could not be written. */
int cli_finish_output(const char *verb, int code);

#endif
