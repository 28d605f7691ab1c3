/* machine.c: see machine.h. */
#include "bench/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Designs of AArch64 cores by implementer and part number (MIDR_EL1). */
static const struct {
    unsigned implementer, part;
    const char *name;
} cores[] = {
    {0x41, 0xd03, "Cortex-A53"},  {0x41, 0xd04, "Cortex-A35"},  {0x41, 0xd05, "Cortex-A55"},
    {0x41, 0xd07, "Cortex-A57"},  {0x41, 0xd08, "Cortex-A72"},  {0x41, 0xd09, "Cortex-A73"},
    {0x41, 0xd0a, "Cortex-A75"},  {0x41, 0xd0b, "Cortex-A76"},  {0x41, 0xd0c, "Neoverse-N1"},
    {0x41, 0xd0d, "Cortex-A77"},  {0x41, 0xd40, "Neoverse-V1"}, {0x41, 0xd41, "Cortex-A78"},
    {0x41, 0xd44, "Cortex-X1"},   {0x41, 0xd46, "Cortex-A510"}, {0x41, 0xd47, "Cortex-A710"},
    {0x41, 0xd48, "Cortex-X2"},   {0x41, 0xd49, "Neoverse-N2"}, {0x41, 0xd4d, "Cortex-A715"},
    {0x41, 0xd4e, "Cortex-X3"},   {0x41, 0xd4f, "Neoverse-V2"}, {0x41, 0xd80, "Cortex-A520"},
    {0x41, 0xd81, "Cortex-A720"}, {0x41, 0xd82, "Cortex-X4"},   {0x41, 0xd84, "Neoverse-V3"},
    {0x41, 0xd8e, "Neoverse-N3"}, {0x61, 0x022, "Apple M1"},    {0x61, 0x023, "Apple M1"},
    {0x61, 0x032, "Apple M2"},    {0x61, 0x033, "Apple M2"},    {0xc0, 0xac3, "Ampere-1"},
    {0xc0, 0xac4, "Ampere-1a"},
};

/* The value of a line "key : value", ended at the line's end; NULL when it is another key's. */
static char *value_of(char *line, const char *key) {
    size_t n = strlen(key);
    if (strncmp(line, key, n) != 0) return NULL;
    char *at = line + n;
    at += strspn(at, " \t");
    if (*at++ != ':') return NULL;
    at += strspn(at, " \t");
    at[strcspn(at, "\n")] = 0;
    return at;
}

/* Appends a core to the list "Cortex-A55 + Cortex-A76" unless it is there. */
static void add_core(char *list, size_t capacity, unsigned implementer, unsigned part) {
    char core[48];
    size_t n = strlen(list);
    snprintf(core, sizeof core, "AArch64 core 0x%02x/0x%03x", implementer, part);
    for (size_t i = 0; i < sizeof cores / sizeof *cores; i++)
        if (cores[i].implementer == implementer && cores[i].part == part)
            snprintf(core, sizeof core, "%s", cores[i].name);
    for (const char *at = strstr(list, core); at; at = strstr(at + 1, core))
        if (!at[strlen(core)] || at[strlen(core)] == ' ') return;
    snprintf(list + n, capacity - n, "%s%s", n ? " + " : "", core);
}

void machine_cpu_name(const char *cpuinfo, const char *model, char *name, size_t capacity) {
    char line[1024], board[128] = "", list[160] = "";
    unsigned implementer = 0;
    FILE *stream = fopen(cpuinfo, "r");
    name[0] = 0;
    while (stream && !name[0] && fgets(line, sizeof line, stream)) {
        char *value;
        if ((value = value_of(line, "model name")))
            snprintf(name, capacity, "%s", value);
        else if ((value = value_of(line, "CPU implementer")))
            implementer = (unsigned)strtoul(value, NULL, 0);
        else if ((value = value_of(line, "CPU part")))
            add_core(list, sizeof list, implementer, (unsigned)strtoul(value, NULL, 0));
    }
    if (stream) fclose(stream);
    if (name[0]) return;
    stream = fopen(model, "r");
    if (stream) {
        board[fread(board, 1, sizeof board - 1, stream)] = 0; /* a device tree's text ends with a NUL */
        board[strcspn(board, "\n")] = 0;
        fclose(stream);
    }
    if (board[0] && list[0])
        snprintf(name, capacity, "%s (%s)", board, list);
    else
        snprintf(name, capacity, "%s", board[0] ? board : list[0] ? list : "unknown");
}

void machine_features(const char *cpuinfo, char *features, size_t capacity) {
    static const char *const wanted[] = {"avx",         "avx2",     "fma",      "f16c",     "avx_vnni",
                                         "avx512f",     "avx512vl", "avx512bw", "avx512dq", "avx512_vnni",
                                         "avx512_bf16", "amx_int8", "amx_bf16", "asimd",    "asimddp",
                                         "i8mm",        "bf16",     "sve",      "sve2"};
    char line[4096], *value = NULL; /* flags are many */
    FILE *stream = fopen(cpuinfo, "r");
    features[0] = 0;
    while (stream && !value && fgets(line, sizeof line, stream)) {
        value = value_of(line, "flags");
        if (!value) value = value_of(line, "Features");
    }
    if (stream) fclose(stream);
    for (char *at = value; at && *at;) {
        size_t n = strcspn(at, " "), used = strlen(features);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strlen(wanted[i]) == n && !strncmp(wanted[i], at, n) && used + n + 2 <= capacity)
                snprintf(features + used, capacity - used, "%s%s", used ? " " : "", wanted[i]);
        at += n + strspn(at + n, " ");
    }
}

void machine_memory(const char *meminfo, uint64_t *total, uint64_t *available) {
    char line[256], *value;
    FILE *stream = fopen(meminfo, "r");
    *total = *available = 0;
    while (stream && fgets(line, sizeof line, stream)) {
        if ((value = value_of(line, "MemTotal"))) *total = strtoull(value, NULL, 10) << 10;
        if ((value = value_of(line, "MemAvailable"))) *available = strtoull(value, NULL, 10) << 10;
    }
    if (stream) fclose(stream);
}

/* The number behind `key` at the beginning of a line of a file, or where that is NULL the file's own; UINT64_MAX where
 * there is none ("max"). */
static uint64_t number_in(const char *dir, const char *name, const char *key) {
    char path[4300], line[64];
    uint64_t number = UINT64_MAX;
    size_t n = key ? strlen(key) : 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *stream = fopen(path, "r");
    while (stream && fgets(line, sizeof line, stream))
        if ((!n || !strncmp(line, key, n)) && line[n] >= '0' && line[n] <= '9') number = strtoull(line + n, NULL, 10);
    if (stream) fclose(stream);
    return number;
}

static uint64_t left_of(const char *group) {
    uint64_t limit = number_in(group, "memory.max", NULL), used = number_in(group, "memory.current", NULL);
    uint64_t files = number_in(group, "memory.stat", "file ");
    if (limit == UINT64_MAX || used == UINT64_MAX) return UINT64_MAX;
    if (files < used) used -= files;
    return limit > used ? limit - used : 0;
}

uint64_t machine_memory_left(const char *cgroup, const char *root) {
    char line[4096], group[4200] = "";
    uint64_t left = UINT64_MAX;
    size_t top = strlen(root);
    FILE *stream = fopen(cgroup, "r");
    while (stream && !*group && fgets(line, sizeof line, stream)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "0::/", 4)) snprintf(group, sizeof group, "%s%s", root, line + 3);
    }
    if (stream) fclose(stream);
    while (strlen(group) >= top) { /* this group, then those around it; a container sees its own as the root */
        uint64_t own = left_of(group);
        if (own < left) left = own;
        char *slash = strlen(group) > top ? strrchr(group, '/') : group;
        *slash = 0;
    }
    return left;
}
