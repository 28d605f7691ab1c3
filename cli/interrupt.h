/* interrupt.h: Ctrl-C and SIGTERM. The first asks the work to stop in good order; a second one ends the
 * command at once. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include "innerloop.h"

/* From here on the first SIGINT or SIGTERM only sets a mark. */
void cli_interrupt_catch(void);
/* The session whose feed the signal is to cancel; NULL before it is closed. */
void cli_interrupt_cancels(il_session *session);
/* 0, or 128 + the signal: the exit status of a command that stopped for it. */
int cli_interrupted(void);

#endif
