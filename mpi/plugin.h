/* plugin.h: what the command finds in innerloop-openmpi.so and innerloop-mpich.so. They are the only things here that
 * know MPI; each is the same source, compiled against one of the two. */
#ifndef IL_MPI_PLUGIN_H
#define IL_MPI_PLUGIN_H

#include <innerloop.h>

typedef struct il_mpi {
    const char *name; /* "Open MPI" */
    il_transport transport;
    /* The last call. failed 1: all processes of the run are ended, with exit status 1; else it waits for them. */
    void (*end)(int failed);
} il_mpi;

/* Joins the processes that mpirun has started; NULL when they cannot be. */
typedef const il_mpi *il_mpi_begin(il_error *error);
#define IL_MPI_BEGIN "innerloop_mpi_begin"

#endif
