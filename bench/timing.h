/* timing.h: the clock of the benches that are built by name, and the order of their samples. */
#ifndef IL_BENCH_TIMING_H
#define IL_BENCH_TIMING_H

#include <time.h>

/* One thread is timed by its own CPU time, which neighbours on a shared machine disturb less: CLOCK_PROCESS_CPUTIME_ID.
 */
static clockid_t clock_used = CLOCK_MONOTONIC;

static double now_s(void) {
    struct timespec t;
    clock_gettime(clock_used, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* For qsort of doubles. */
static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#endif
