/* ranks.c: see ranks.h. */
#include "ranks.h"
#include "files.h"
#include "output.h"
#include "plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What mpirun tells the processes that it starts. */
static const struct {
    const char *mpi, *size, *rank;
} launchers[] = {{"openmpi", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"}, {"mpich", "PMI_SIZE", "PMI_RANK"}};

static int number_of(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

int cli_ranks_given(int *size) {
    if (size) *size = 1;
    for (size_t i = 0; i < COUNT_OF(launchers); i++) {
        int ranks = number_of(launchers[i].size);
        if (ranks < 2) continue;
        if (size) *size = ranks;
        return number_of(launchers[i].rank);
    }
    return 0;
}

static const char *choose(const char *mpi) {
    if (strcmp(mpi, "auto") != 0) return mpi;
    for (size_t i = 0; i < COUNT_OF(launchers); i++)
        if (number_of(launchers[i].size) > 1) return launchers[i].mpi;
    return NULL;
}

/* A file of this name: beside the command, as it is built, or where plugins are installed. Released by free; NULL:
 * there is none. */
static char *find(const char *name) {
    static const char *const places[] = {".", IL_PLUGINS};
    char command[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", command, sizeof command - 1);
    command[n > 0 ? n : 0] = 0;
    char *slash = strrchr(command, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; slash && i < COUNT_OF(places); i++) {
        char *path = cli_format("%s/%s/%s", command, places[i], name);
        if (cli_path_exists(path, NULL)) return path;
        free(path);
    }
    return NULL;
}

static il_status join(cli_ranks *r, const char *mpi, il_error *error) {
    char *name = cli_format("innerloop-%s.so", mpi), *path = find(name);
    il_status status = IL_OK;
    if (!path)
        status = cli_fail(error, IL_ERR_UNSUPPORTED,
                          "training by several processes over %s needs %s, which this build has not (docs/training.md)",
                          mpi, name);
    /* what MPI loads by itself looks for MPI's names among those of all */
    if (!status && !(r->library = dlopen(path, RTLD_NOW | RTLD_GLOBAL)))
        status = cli_fail(error, IL_ERR_UNSUPPORTED, "%s: %.300s", name, dlerror());
    il_mpi_begin *begin = r->library ? (il_mpi_begin *)dlsym(r->library, IL_MPI_BEGIN) : NULL;
    if (!status && !begin) status = cli_fail(error, IL_ERR_UNSUPPORTED, "%s: not a plugin of this version", name);
    if (!status && !(r->mpi = begin(error))) status = error->status;
    free(path);
    free(name);
    return status;
}

il_status cli_ranks_open(cli_ranks *r, const char *mpi, il_engine *engine, il_error *error) {
    *r = (cli_ranks){.size = 1};
    const char *which = choose(mpi);
    if (!which) return IL_OK;
    il_status status = join(r, which, error);
    if (status) return status;
    r->rank = r->mpi->transport.rank;
    r->size = r->mpi->transport.size;
    return il_ranks_open(engine, &r->mpi->transport, &r->ranks, error);
}

void cli_ranks_close(cli_ranks *r, int lost) {
    if (r->mpi) r->mpi->end(lost);
    il_ranks_close(r->ranks);
    *r = (cli_ranks){.size = 1}; /* the library stays: MPI does not like to be unloaded */
}
