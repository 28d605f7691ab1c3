/* pick.c: which table of kernels this CPU runs. */
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

const il_kernels *il_kernels_pick(const char *name) {
    const il_kernels *usable[4]; /* best first */
    int n = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if !defined(IL_WITHOUT_AVX512)
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    if (avx512 && __builtin_cpu_supports("avx512vnni")) usable[n++] = &il_kernels_avx512_vnni;
    if (avx512) usable[n++] = &il_kernels_avx512;
#endif
    if (avx2) usable[n++] = &il_kernels_avx2;
#endif
#if defined(__aarch64__)
    usable[n++] = &il_kernels_neon; /* part of every AArch64 Linux */
#endif
    usable[n++] = &il_kernels_portable;
    if (!name) name = getenv("IL_CPU");
    if (!name) return usable[0];
    for (int i = 0; i < n; i++)
        if (strcmp(usable[i]->name, name) == 0) return usable[i];
    return NULL;
}
