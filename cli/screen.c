/* screen.c: see screen.h. */
#include "screen.h"

#include "interrupt.h"
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

enum { HELD = 256, SEQUENCE_MAX = 32 };

#define ENTER "\033[?1049h\033[?25l\033[2J"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

static struct termios before; /* as the terminal was */
static atomic_int open_now;
static char held[HELD]; /* [n_held] bytes of keys that were not given yet */
static size_t n_held;

static void say(const char *text) {
    ssize_t ignored = write(STDOUT_FILENO, text, strlen(text));
    (void)ignored;
}

void cli_screen_close(void) {
    int error = errno; /* of interrupted code */
    if (atomic_exchange(&open_now, 0)) {
        say(LEAVE);
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
    }
    errno = error;
}

static il_status check(il_error *error) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR"), *why = NULL;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) why = "standard input and output must be a terminal";
    if (!why && (!term || !*term || !strcmp(term, "dumb"))) why = "the terminal ($TERM) has no colours";
    if (!why && no_color && *no_color) why = "$NO_COLOR is set, and there is nothing to see without colours";
    return why ? cli_fail(error, IL_ERR_UNSUPPORTED, "%s", why) : IL_OK;
}

il_status cli_screen_open(il_error *error) {
    static int registered;
    struct termios raw;
    il_status status = check(error);
    if (status) return status;
    if (tcgetattr(STDIN_FILENO, &before))
        return cli_fail(error, IL_ERR_IO, "the terminal's settings: %s", strerror(errno));
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO); /* Ctrl-C stays what it is */
    raw.c_cc[VSUSP] = raw.c_cc[VQUIT] = _POSIX_VDISABLE;
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    if (!registered && atexit(cli_screen_close)) return cli_fail(error, IL_ERR_NOMEM, "no memory for the screen");
    registered = 1;
    cli_interrupt_leaves(cli_screen_close);
    n_held = 0;
    atomic_store(&open_now, 1);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    say(ENTER);
    return IL_OK;
}

void cli_screen_size(int *columns, int *rows) {
    struct winsize size;
    *columns = *rows = 0;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size)) return;
    *columns = size.ws_col;
    *rows = size.ws_row;
}

size_t cli_key_of(const char *bytes, size_t n, int *key) {
    size_t at = 2;
    *key = (unsigned char)bytes[0];
    if (bytes[0] != '\033') return 1;
    if (n < 2) return 0;
    *key = CLI_KEY_OTHER;
    if (bytes[1] != '[' && bytes[1] != 'O') return 1;
    while (at < n && bytes[at] >= ' ' && bytes[at] < '@') at++; /* numbers of a control sequence */
    if (at == n) return n < SEQUENCE_MAX ? 0 : n;
    if (bytes[at] >= 'A' && bytes[at] <= 'D')
        *key = (int[]){CLI_KEY_UP, CLI_KEY_DOWN, CLI_KEY_RIGHT, CLI_KEY_LEFT}[bytes[at] - 'A'];
    return at + 1;
}

int cli_screen_key(double until) {
    for (;;) {
        int key;
        size_t n = n_held ? cli_key_of(held, n_held, &key) : 0;
        if (n) {
            memmove(held, held + n, n_held -= n);
            return key;
        }
        if (cli_interrupted()) return CLI_KEY_STOP;
        double left = until - cli_seconds();
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int ready = poll(&input, 1, left > 0 ? (int)(left * 1e3) + 1 : 0);
        if (ready < 0 && errno != EINTR) return CLI_KEY_STOP;
        if (!ready) return CLI_KEY_NONE;
        if (ready < 0) continue;
        ssize_t got = read(STDIN_FILENO, held + n_held, HELD - n_held);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got <= 0) return CLI_KEY_STOP;
        n_held += (size_t)got;
    }
}
