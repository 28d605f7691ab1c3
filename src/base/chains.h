/* chains.h: a loop over chains of steps, for il_pool_run: the steps of a chain run one after another, those of
 * different chains side by side, and any worker may take the next step of any chain. So three chains keep two threads
 * busy to the end, where three undivided items leave one of them idle for a third of the time. */
#ifndef IL_BASE_CHAINS_H
#define IL_BASE_CHAINS_H

#include <stdatomic.h>

#include "base/pool.h"

enum { IL_CHAINS_MAX = 256 }; /* more chains than this are never divided: they leave few threads idle */

typedef struct il_chains {
    int chains, steps, divided;
    void (*run)(void *context, int chain, int step, int worker);
    void *context;
    atomic_int done[IL_CHAINS_MAX]; /* steps of each chain */
} il_chains;

/* Returns how many items il_pool_run is to give to il_chains_run, with the il_chains as their context. They must be
 * handed out in ascending order, as il_pool_run does. */
int il_chains_begin(il_chains *c, const il_pool *pool, int chains, int steps,
                    void (*run)(void *context, int chain, int step, int worker), void *context);
void il_chains_run(void *chains, int item, int worker);

#endif
