/* cpus.h: how many processors this process may use. */
#ifndef IL_BASE_CPUS_H
#define IL_BASE_CPUS_H

/* Logical processors in the calling thread's affinity mask, at least 1. */
int il_cpus_usable(void);

#endif
