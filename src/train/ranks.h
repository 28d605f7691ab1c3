/* ranks.h: what the processes of a run tell each other: begun transfers and how they end, small things gathered from
 * all, and who is who. Every function may be called with ranks NULL: then there is this process alone. */
#ifndef IL_TRAIN_RANKS_H
#define IL_TRAIN_RANKS_H

#include "innerloop.h"

int il_ranks_size(const il_ranks *ranks);
int il_ranks_rank(const il_ranks *ranks);
/* "rank 2 (HOST, process 17)" */
const char *il_ranks_name(const il_ranks *ranks, int rank);

/* Begins a transfer; of no bytes it is done at once, on both sides. */
il_status il_ranks_begin(il_ranks *ranks, il_transfer *transfer, il_error *error);
/* Gets on with what was begun, without waiting. */
il_status il_ranks_poll(il_ranks *ranks, il_error *error);
/* Whether all of these are done: 1, 0, or -1 when a peer is gone, which error names. */
int il_ranks_done(il_ranks *ranks, const il_transfer *transfers, size_t n, il_error *error);
/* Until they are. */
il_status il_ranks_wait(il_ranks *ranks, const il_transfer *transfers, size_t n, il_error *error);

/* Rank r's bytes at[r] .. at[r+1]-1 of all, where each has put its own, reach everybody. */
il_status il_ranks_gather(il_ranks *ranks, void *all, const size_t *at, il_error *error);
/* data [bytes] of rank `from` reach everybody. */
il_status il_ranks_tell(il_ranks *ranks, int from, void *data, size_t bytes, il_error *error);
/* Of n things each rank makes some: il_ranks_from(…, r) .. il_ranks_from(…, r+1)-1, which then reach everybody. all has
 * n of these bytes. */
uint64_t il_ranks_from(const il_ranks *ranks, uint64_t n, int rank);
il_status il_ranks_share(il_ranks *ranks, void *all, uint64_t n, size_t bytes, il_error *error);
/* While it is paused the watchdog sleeps: somebody does what takes its time. */
void il_ranks_pause(il_ranks *ranks, int pauses);

#endif
