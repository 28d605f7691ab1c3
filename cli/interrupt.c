/* interrupt.c: signals that ask the command to end. While the work looks at it they become a mark; else, and the second
 * time, the handler itself removes what is half-written and ends the process. */
#include "interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static atomic_int caught;               /* any thread may get the signal */
static atomic_int saves;                /* SIGUSR1 has come */
static atomic_int orderly;              /* the work looks at caught */
static atomic_int counting, counted;    /* Ctrl-C is for the work, which looks at counted */
static void (*_Atomic leaves)(void);    /* puts the terminal back; NULL: it is as it was */
static _Atomic(il_session *) cancelled; /* lock-free: a handler may read it */

static void say(const char *text) {
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void say_why(int number) {
    if (isatty(STDERR_FILENO)) say("\n"); /* a bar may be open */
    say(number == SIGINT ? "innerloop: interrupted" : number == SIGTERM ? "innerloop: SIGTERM" : "innerloop: SIGHUP");
}

static void end_at_once(int number) {
    void (*leave)(void) = atomic_load(&leaves);
    if (leave) leave();
    if (number != SIGPIPE) {
        say_why(number);
        say("\n");
        il_temporaries_remove();
        _exit(128 + number);
    }
    il_temporaries_remove(); /* who reads what is printed has gone; nobody is to be told */
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

enum { COUNTED_MAX = 3 };

static void on_signal(int number) {
    int before = errno, first = 0; /* the interrupted code's */
    if (number == SIGINT && atomic_load(&counting) && atomic_fetch_add(&counted, 1) + 1 < COUNTED_MAX) {
        il_session *session = atomic_load(&cancelled);
        if (session) il_session_cancel(session);
    } else if (number == SIGPIPE || !atomic_load(&orderly) ||
               !atomic_compare_exchange_strong(&caught, &first, number)) {
        end_at_once(number);
    } else {
        il_session *session = atomic_load(&cancelled);
        if (session) il_session_cancel(session);
        say_why(number);
        say(": stopping in good order; the next signal ends it at once\n");
    }
    errno = before;
}

void cli_interrupt_begin(void) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaddset(&action.sa_mask, numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!sigaction(numbers[i], NULL, &before) && before.sa_handler != SIG_IGN) sigaction(numbers[i], &action, NULL);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of writing */
}

void cli_interrupt_catch(void) { atomic_store(&orderly, 1); }

void cli_interrupt_cancels(il_session *session) { atomic_store(&cancelled, session); }

void cli_interrupt_count(int on) { atomic_store(&counting, on); }

int cli_interrupt_counted(void) { return atomic_exchange(&counted, 0); }
int cli_interrupt_waits(void) { return atomic_load(&counted) > 0; }

void cli_interrupt_leaves(void (*leave)(void)) { atomic_store(&leaves, leave); }

void cli_interrupt_stop(int number) {
    int none = 0;
    atomic_compare_exchange_strong(&caught, &none, number);
}

static void on_save(int number) {
    (void)number;
    atomic_store(&saves, 1);
}

void cli_interrupt_saves(void) {
    struct sigaction action = {.sa_handler = on_save, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
}

int cli_interrupt_save_is_due(void) { return atomic_exchange(&saves, 0); }

int cli_interrupted(void) {
    int number = atomic_load(&caught);
    return number ? 128 + number : 0;
}
