/* machine.h: what the system says of this machine. Measures nothing. The files are parameters so that made-up ones can
 * be read. */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#define MACHINE_CPUINFO "/proc/cpuinfo"
#define MACHINE_MODEL "/proc/device-tree/model"
#define MACHINE_MEMINFO "/proc/meminfo"
#define MACHINE_CGROUP "/proc/self/cgroup"
#define MACHINE_CGROUP_ROOT "/sys/fs/cgroup"

/* The CPU's name. Where there is none, as on AArch64, it is made of its cores' designs and of the board's name:
 * "Raspberry Pi 5 Model B Rev 1.0 (Cortex-A76)". "unknown" when nothing can be read. */
void machine_cpu_name(const char *cpuinfo, const char *model, char *name, size_t capacity);
/* Of the CPU's features those that matter here, space between them: "avx2 fma". */
void machine_features(const char *cpuinfo, char *features, size_t capacity);
/* Bytes of memory: all, and what can be had without swapping; 0: unknown. */
void machine_memory(const char *meminfo, uint64_t *total, uint64_t *available);
/* What the control groups (version 2) that the process is in leave of their limits, where files in memory count as
 * free; UINT64_MAX: no limit. */
uint64_t machine_memory_left(const char *cgroup, const char *root);

#endif
