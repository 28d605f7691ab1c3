/* cpus.c: see cpus.h. */
#include "base/cpus.h"

#include <errno.h>
#include <unistd.h>

/* The kernel refuses a mask that is shorter than its own, which may have more than the 1,024 bits of a cpu_set_t. */
enum { BYTES_MAX = 1 << 13 };

int il_cpus_counted(int (*affinity)(pid_t process, size_t bytes, cpu_set_t *mask)) {
    cpu_set_t mask[BYTES_MAX / sizeof(cpu_set_t)];
    for (size_t bytes = sizeof *mask; bytes <= sizeof mask; bytes *= 2) {
        if (affinity(0, bytes, mask) == 0) return CPU_COUNT_S(bytes, mask);
        if (errno != EINVAL) break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int il_cpus_usable(void) { return il_cpus_counted(sched_getaffinity); }
