/* support_kernels.h: every kernel of a table as a case that runs on buffers against guard pages: reading or
 * writing one number too many, before or after, is a fault. */
#ifndef IL_SUPPORT_KERNELS_H
#define IL_SUPPORT_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

enum { KERNEL_SLOTS = 16 };

typedef struct kernel_run {
    const il_kernels *kernels;
    int rows, n, pad; /* pad: row stride - n */
    int variant;      /* 0 .. kernel_case.variants-1 */
    int at_end;       /* 1: buffers end at a guard page, 0: they begin at one */
    uint32_t seed;
    /* filled by the run */
    int slots;
    unsigned char *data[KERNEL_SLOTS];
    size_t bytes[KERNEL_SLOTS];
    int written[KERNEL_SLOTS]; /* 1: an output */
} kernel_run;

typedef struct kernel_case {
    const char *name;
    int variants;
    void (*run)(kernel_run *);
} kernel_case;

extern const kernel_case kernel_cases[];
extern const int n_kernel_cases;

void kernel_slots_open(void); /* maps the guarded buffers; asserts */
void kernel_slots_close(void);
/* Next number of the generator all inputs come from, in -2 .. 2, never -0. */
float kernel_draw(uint32_t *state);

#endif
