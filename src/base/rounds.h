/* rounds.h: several groups go through rounds on all threads of a pool. In each round a group first does what concerns
 * only itself, and then, in its turn, what all share: group 0 of round 0, group 1, and so on, then group 0 of round 1.
 * So one group's own work goes on while another has its turn. Owns the order; knows nothing of the work. */
#ifndef IL_BASE_ROUNDS_H
#define IL_BASE_ROUNDS_H

#include "base/pool.h"

enum { IL_ROUND_GROUPS_MAX = 64 };

typedef struct il_rounds {
    int groups, rounds;                                   /* at most IL_ROUND_GROUPS_MAX groups */
    void (*alone)(void *context, int group, int round);   /* at the same time as any other group's, and its turn */
    void (*in_turn)(void *context, int group, int round); /* no two at the same time */
    void *context;
} il_rounds;

/* Returns when all is done. What it calls may use the pool, whose loops then run in the calling thread. Allocates
 * nothing; safe in a forked child. */
void il_rounds_run(il_pool *pool, const il_rounds *rounds);

#endif
