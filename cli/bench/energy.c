/* energy.c: see energy.h. */
#include "bench/energy.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of a small file; 0 when it cannot be read (errno says why). */
static int read_line(const char *path, char *line, int size) {
    FILE *stream = fopen(path, "r");
    if (!stream) return 0;
    errno = 0;
    int ok = fgets(line, size, stream) != NULL;
    if (!ok && !errno) errno = ENODATA;
    int why = errno;
    fclose(stream);
    errno = why;
    line[ok ? strcspn(line, "\n") : 0] = 0;
    return ok;
}

static int read_number(const char *path, uint64_t *number) {
    char line[64], *end;
    if (!read_line(path, line, sizeof line)) return 0;
    errno = 0;
    *number = strtoull(line, &end, 10);
    if (!errno && (*end || line[0] < '0' || line[0] > '9')) errno = EINVAL;
    return !errno;
}

static double give_up(energy *e, const char *path) {
    snprintf(e->reason, sizeof e->reason, "%s: %s", path, strerror(errno));
    e->n = 0;
    return NAN;
}

static int is_counted(const char *folder, const char *name) {
    return strncmp(folder, "intel-rapl-mmio", 15) != 0 && (!strncmp(name, "package", 7) || !strcmp(name, "dram"));
}

/* Adds the zone of this folder if it counts; 0 when its counter cannot be read. */
static int add_zone(energy *e, const char *dir, const char *folder) {
    char path[ENERGY_PATH], name[64];
    energy_zone *zone = &e->zones[e->n];
    if (e->n == ENERGY_ZONES_MAX || folder[0] == '.' || strlen(dir) + strlen(folder) + 32 > sizeof path) return 1;
    snprintf(path, sizeof path, "%s/%s/name", dir, folder);
    if (!read_line(path, name, sizeof name) || !is_counted(folder, name)) return 1;
    snprintf(path, sizeof path, "%s/%s/max_energy_range_uj", dir, folder);
    if (!read_number(path, &zone->range)) zone->range = 0;
    snprintf(zone->counter, sizeof zone->counter, "%s/%s/energy_uj", dir, folder);
    if (!read_number(zone->counter, &zone->last)) return 0;
    e->n++;
    return 1;
}

void energy_open(energy *e, const char *dir) {
    *e = (energy){0};
    DIR *folder = opendir(dir);
    if (!folder) {
        give_up(e, dir);
        return;
    }
    int readable = 1;
    for (struct dirent *entry; readable && (entry = readdir(folder));) readable = add_zone(e, dir, entry->d_name);
    if (!readable)
        give_up(e, e->zones[e->n].counter);
    else if (!e->n)
        snprintf(e->reason, sizeof e->reason, "%.500s: no zone of a package in it", dir);
    closedir(folder);
}

double energy_take(energy *e) {
    double microjoules = 0;
    if (!e->n) return NAN;
    for (int i = 0; i < e->n; i++) {
        energy_zone *zone = &e->zones[i];
        uint64_t now;
        if (!read_number(zone->counter, &now)) return give_up(e, zone->counter);
        microjoules += now >= zone->last           ? (double)(now - zone->last)
                       : zone->range >= zone->last ? (double)(zone->range - zone->last) + (double)now
                                                   : (double)now;
        zone->last = now;
    }
    return microjoules * 1e-6;
}
