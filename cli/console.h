/* console.h: lines that somebody types, or a program writes, on standard input. */
#ifndef CLI_CONSOLE_H
#define CLI_CONSOLE_H

#include <stddef.h>

enum { CLI_CONSOLE_LINE_MAX = 16 << 20 };

typedef enum cli_console_result {
    CLI_CONSOLE_LINE,
    CLI_CONSOLE_END,       /* nothing comes any more */
    CLI_CONSOLE_INTERRUPT, /* Ctrl-C (cli_interrupt_counted), or another signal that asks to stop (cli_interrupted) */
    CLI_CONSOLE_TOO_LONG   /* longer than CLI_CONSOLE_LINE_MAX; its end is read as further lines */
} cli_console_result;

typedef struct cli_console {
    int terminal; /* somebody types */
    int ended;
    char *held; /* [n] read and not taken yet, from `from` on */
    size_t from, n, capacity;
} cli_console;

void cli_console_open(cli_console *console);
void cli_console_close(cli_console *console);
/* The next line without its end, of any bytes, with a NUL behind it. It is good until the next call. On a terminal
 * prompt, UTF-8, is shown first. */
cli_console_result cli_console_line(cli_console *console, const char *prompt, const char **line, size_t *bytes);

#endif
