/* energy.h: joules from Linux powercap counters, of packages and memory. Knows the folder's form, not what the joules
 * were spent on: they are the whole machine's. */
#ifndef CLI_ENERGY_H
#define CLI_ENERGY_H

#include <stdint.h>

#define ENERGY_POWERCAP "/sys/class/powercap"

enum { ENERGY_ZONES_MAX = 32, ENERGY_PATH = 512 };

typedef struct energy_zone {
    char counter[ENERGY_PATH]; /* the file that counts its microjoules */
    uint64_t last, range;      /* after range the counter begins again at 0; range 0: unknown */
} energy_zone;

typedef struct energy {
    energy_zone zones[ENERGY_ZONES_MAX];
    int n;                         /* 0: nothing can be read */
    char reason[ENERGY_PATH + 64]; /* why not; else "" */
} energy;

/* Finds the zones below dir: packages ("package-0") and the memory beside them ("dram"). Cores and graphics are parts
 * of a package, and zones of "intel-rapl-mmio" are packages seen a second time: they are not counted. */
void energy_open(energy *e, const char *dir);
/* Joules since the last call, or since energy_open; a counter may have begun again once. NAN when a counter cannot be
 * read; then nothing more is. */
double energy_take(energy *e);

#endif
