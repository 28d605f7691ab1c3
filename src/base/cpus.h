/* cpus.h: how many processors this process may use. */
#ifndef IL_BASE_CPUS_H
#define IL_BASE_CPUS_H

#include <sched.h>
#include <sys/types.h>

/* Logical processors in the calling thread's affinity mask, at least 1. */
int il_cpus_usable(void);
/* The same by a function in place of sched_getaffinity: a system of any size can be made up. Where it fails, the
 * processors online count. */
int il_cpus_counted(int (*affinity)(pid_t process, size_t bytes, cpu_set_t *mask));

#endif
