/* interrupt.c: signals become a mark that the work looks at. */
#include "interrupt.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

static atomic_int caught;               /* any thread may get the signal */
static _Atomic(il_session *) cancelled; /* lock-free: a handler may read it */

static void on_signal(int number) {
    static const char text[] = "\ninnerloop: stopping in good order; interrupt again to stop at once\n";
    int before = errno; /* the interrupted code's */
    atomic_store(&caught, number);
    il_session *session = atomic_load(&cancelled);
    if (session) il_session_cancel(session);
    if (isatty(STDERR_FILENO)) {
        ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
        (void)ignored;
    }
    errno = before;
}

void cli_interrupt_catch(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_interrupt_cancels(il_session *session) { atomic_store(&cancelled, session); }

int cli_interrupted(void) {
    int number = atomic_load(&caught);
    return number ? 128 + number : 0;
}
