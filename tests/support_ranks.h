/* support_ranks.h: ranks that are forked processes, joined by pairs of sockets. */
#ifndef IL_SUPPORT_RANKS_H
#define IL_SUPPORT_RANKS_H

#include "innerloop.h"

enum { SUPPORT_RANKS_MAX = 16 };

/* How a rank ended. */
typedef struct {
    il_status status;
    il_error error;
    uint64_t sent; /* bytes that went through its sockets */
    int killed;    /* by a signal: the rest means nothing */
} support_rank;

/* Runs work(transport, context, error) in so many processes and waits for all. No check of cmocka's may fail there:
 * what goes wrong is returned. */
void support_ranks_run(int size, il_status (*work)(const il_transport *transport, void *context, il_error *error),
                       void *context, support_rank ranks[SUPPORT_RANKS_MAX]);

#endif
