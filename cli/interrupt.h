/* interrupt.h: Ctrl-C, SIGTERM and SIGHUP. They end the command with words on stderr, status 128 and their number, and
 * nothing half-written left; where the work can, the first one asks it to stop in good order. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include "innerloop.h"

/* First of all. A signal that the caller ignores, as nohup does, stays ignored. */
void cli_interrupt_begin(void);
/* From here on the first signal only sets a mark. */
void cli_interrupt_catch(void);
/* The session whose feed the signal is to cancel; NULL before it is closed. */
void cli_interrupt_cancels(il_session *session);
/* While on, Ctrl-C neither ends the command nor asks it to stop: it only cancels that session's feed, and is counted.
 * The third that nobody has looked at ends the command at once all the same. */
void cli_interrupt_count(int on);
/* How often since this was asked last; whether it is more than never, which leaves the count. */
int cli_interrupt_counted(void);
int cli_interrupt_waits(void);
/* What puts the terminal back before a signal ends the command at once; it must be fit for a signal's handler. */
void cli_interrupt_leaves(void (*leave)(void));
/* As if this signal had asked the command to stop. */
void cli_interrupt_stop(int number);
/* From here on SIGUSR1 asks for a checkpoint; whether it has come since this was asked last. */
void cli_interrupt_saves(void);
int cli_interrupt_save_is_due(void);
/* 0, or 128 + the signal: the exit status of a command that stopped for it. */
int cli_interrupted(void);

#endif
