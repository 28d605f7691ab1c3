/* support_fault.h: system calls that fail, or at which the process is killed, where a test says. */
#ifndef IL_SUPPORT_FAULT_H
#define IL_SUPPORT_FAULT_H

#include <sys/types.h>

/* From now on every call of this name fails with this errno (NULL: none does). */
void support_fault_on(const char *call, int number);
/* The n-th call from now fails with this errno, and only that; 0: none. Calls that clean up are not counted: what they
 * leave is nobody's loss. */
void support_fault_fail_at(long n, int number);
/* The process is killed before the n-th call from now. */
void support_fault_kill_at(long n);
long support_fault_calls(void); /* since then */
void support_fault_end(void);   /* no faults any more */
/* Whether the child was killed; fails the running test when it ended in another way than by exit(0). */
int support_fault_killed(pid_t child);

#endif
