/* console.c: see console.h. A terminal's own line editing is all there is. */
#include "console.h"
#include "interrupt.h"
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 200, /* between looks at whether a signal came while nobody waited */ ROOM = 1 << 16 };

void cli_console_open(cli_console *c) { *c = (cli_console){.terminal = isatty(STDIN_FILENO)}; }

void cli_console_close(cli_console *c) {
    free(c->held);
    *c = (cli_console){.ended = 1};
}

/* Room for what is read next, behind what is held. */
static void make_room(cli_console *c) {
    if (c->from) {
        memmove(c->held, c->held + c->from, c->n - c->from);
        c->n -= c->from;
        c->from = 0;
    }
    c->held = cli_grown(c->held, &c->capacity, c->n + ROOM + 1, 1);
}

/* Waits for bytes; 0 when a signal came instead. */
static int read_some(cli_console *c) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    for (;;) {
        int ready = poll(&input, 1, WAIT_MS);
        /* one that came just before poll has not ended it */
        if (cli_interrupted() || cli_interrupt_waits() || (ready < 0 && errno == EINTR)) return 0;
        if (!ready) continue;
        make_room(c);
        ssize_t got = read(STDIN_FILENO, c->held + c->n, ROOM);
        if (got < 0 && errno == EINTR) return 0;
        if (got < 0 && errno == EAGAIN) continue;
        if (got > 0) c->n += (size_t)got;
        c->ended = got <= 0;
        return 1;
    }
}

cli_console_result cli_console_line(cli_console *c, const char *prompt, const char **line, size_t *bytes) {
    size_t seen = 0; /* of what is held: there is no line end in it */
    if (c->terminal) fputs(prompt, stderr);
    for (;;) {
        char *begin = c->held + c->from, *end = NULL;
        size_t n = c->n - c->from;
        if (n > seen) end = memchr(begin + seen, '\n', n - seen);
        if (end || (c->ended && n) || n >= CLI_CONSOLE_LINE_MAX) {
            int too_long = !end && !c->ended;
            *line = begin;
            *bytes = end ? (size_t)(end - begin) : n;
            c->from += *bytes + (end != NULL);
            if (*bytes && end && begin[*bytes - 1] == '\r') --*bytes;
            begin[*bytes] = 0;
            return too_long ? CLI_CONSOLE_TOO_LONG : CLI_CONSOLE_LINE;
        }
        if (c->ended) return CLI_CONSOLE_END;
        seen = n;
        if (!read_some(c)) return CLI_CONSOLE_INTERRUPT;
    }
}
