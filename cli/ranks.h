/* ranks.h: whether mpirun has started this process as one of several, and their common transport, which a plugin knows
 * (mpi/plugin.h). */
#ifndef CLI_RANKS_H
#define CLI_RANKS_H

#include "innerloop.h"

struct il_mpi;

typedef struct cli_ranks {
    il_ranks *ranks; /* NULL: this process is alone */
    int rank, size;
    const struct il_mpi *mpi;
    void *library;
} cli_ranks;

/* The rank that mpirun gave this process, and of how many (NULL allowed), before anything else is known; 0 of 1 where
 * there is no mpirun. */
int cli_ranks_given(int *size);
/* mpi: "openmpi" or "mpich"; "auto": as mpirun's environment says, and alone where there is none, or one process only.
 */
il_status cli_ranks_open(cli_ranks *ranks, const char *mpi, il_engine *engine, il_error *error);
/* lost: another rank does not answer any more; all processes of the run are ended. */
void cli_ranks_close(cli_ranks *ranks, int lost);

#endif
