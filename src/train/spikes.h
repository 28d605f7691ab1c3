/* spikes.h: steps whose loss or gradient is far from those before, and which therefore change no weights. Sees the same
 * numbers on every rank, and decides by them alone. */
#ifndef IL_TRAIN_SPIKES_H
#define IL_TRAIN_SPIKES_H

#include <stdint.h>

/* The steps that are looked back on, and how many it must be before any can be a spike. */
enum { IL_SPIKES_WINDOW = 64, IL_SPIKES_FIRST = 16 };

typedef struct il_spikes {
    uint64_t seen, skipped;
    double losses[IL_SPIKES_WINDOW], norms[IL_SPIKES_WINDOW]; /* step i of those seen at i % IL_SPIKES_WINDOW */
} il_spikes;

/* Whether a step is one: its gradient's norm is more than 5 times their median, or its loss more than 8 times their
 * median deviation above their median. It counts among those before the next step all the same, so that what stays
 * ceases to be a spike. */
int il_spikes_see(il_spikes *spikes, double loss, double norm);

#endif
