/* cpus.c: see cpus.h. */
#include "base/cpus.h"

#include <sched.h>

int il_cpus_usable(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}
