/* plugin.c: il_transport over MPI. Messages between two ranks match in the order in which they were begun because all
 * of them have one tag, which is what MPI promises. Nothing waits inside MPI: its waiting would take a whole core. */
#include "plugin.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef OPEN_MPI
#define NAME "Open MPI"
#else
#define NAME "MPICH"
#endif

enum { TAG = 18, YIELDS = 64, SLEEP_NS_MIN = 20000, SLEEP_NS_MAX = 500000 };

/* What is under way. */
static struct {
    int n, capacity;
    MPI_Request *requests; /* [capacity] */
    il_transfer **begun;   /* [capacity] */
    int *ended;            /* [capacity] indices, of one look */
    MPI_Status *statuses;  /* [capacity] likewise */
} flying;

static il_status fail(il_error *error, il_status status, int code, const char *what) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int n;
    if (code != MPI_SUCCESS) MPI_Error_string(code, text, &n);
    if (error) {
        error->status = status;
        snprintf(error->message, sizeof error->message, "%s: %s%s%.300s", NAME, what, *text ? ": " : "", text);
    }
    return status;
}

static int grow(void) {
    int capacity = flying.capacity ? 2 * flying.capacity : 256;
    void *requests = realloc(flying.requests, (size_t)capacity * sizeof *flying.requests);
    if (requests) flying.requests = requests;
    void *begun = realloc(flying.begun, (size_t)capacity * sizeof *flying.begun);
    if (begun) flying.begun = begun;
    void *ended = realloc(flying.ended, (size_t)capacity * sizeof *flying.ended);
    if (ended) flying.ended = ended;
    void *statuses = realloc(flying.statuses, (size_t)capacity * sizeof *flying.statuses);
    if (statuses) flying.statuses = statuses;
    if (!requests || !begun || !ended || !statuses) return 0;
    flying.capacity = capacity;
    return 1;
}

static il_status begin(void *user, il_transfer *t, il_error *error) {
    (void)user;
    if (flying.n == flying.capacity && !grow()) return fail(error, IL_ERR_NOMEM, MPI_SUCCESS, "out of memory");
    MPI_Request *request = &flying.requests[flying.n];
    int code = t->sends ? MPI_Isend(t->data, (int)t->bytes, MPI_BYTE, t->peer, TAG, MPI_COMM_WORLD, request)
                        : MPI_Irecv(t->data, (int)t->bytes, MPI_BYTE, t->peer, TAG, MPI_COMM_WORLD, request);
    if (code != MPI_SUCCESS) {
        t->done = -1; /* the peer is named by who waits for it */
        return IL_OK;
    }
    flying.begun[flying.n++] = t;
    return IL_OK;
}

/* Marks what has ended. How many that were. */
static il_status look(int *ended, il_error *error) {
    *ended = 0;
    if (!flying.n) return IL_OK;
    int code = MPI_Testsome(flying.n, flying.requests, ended, flying.ended, flying.statuses);
    if (code != MPI_SUCCESS && code != MPI_ERR_IN_STATUS)
        return fail(error, IL_ERR_IO, code, "messages cannot be exchanged");
    if (*ended == MPI_UNDEFINED) *ended = 0;
    for (int i = 0; i < *ended; i++) {
        int failed = code == MPI_ERR_IN_STATUS && flying.statuses[i].MPI_ERROR != MPI_SUCCESS;
        flying.begun[flying.ended[i]]->done = failed ? -1 : 1;
        flying.begun[flying.ended[i]] = NULL;
    }
    int kept = 0;
    for (int i = 0; i < flying.n && *ended; i++) {
        if (!flying.begun[i]) continue;
        flying.begun[kept] = flying.begun[i];
        flying.requests[kept++] = flying.requests[i];
    }
    if (*ended) flying.n = kept;
    return IL_OK;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static il_status progress(void *user, int wait_ms, il_error *error) {
    int ended;
    struct timespec pause = {.tv_nsec = SLEEP_NS_MIN};
    double until = wait_ms ? now() + 1e-3 * wait_ms : 0;
    (void)user;
    for (int looks = 0;; looks++) {
        il_status status = look(&ended, error);
        if (status || ended || !wait_ms || now() > until) return status;
        if (looks < YIELDS) {
            sched_yield();
        } else {
            nanosleep(&pause, NULL);
            if (pause.tv_nsec < SLEEP_NS_MAX) pause.tv_nsec += pause.tv_nsec / 2;
        }
    }
}

static void end(int failed) {
    int is_over = 0;
    MPI_Finalized(&is_over);
    if (failed) MPI_Abort(MPI_COMM_WORLD, 1);
    if (!is_over) MPI_Finalize();
    free(flying.requests);
    free(flying.begun);
    free(flying.ended);
    free(flying.statuses);
}

__attribute__((visibility("default"))) const il_mpi *innerloop_mpi_begin(il_error *error);

const il_mpi *innerloop_mpi_begin(il_error *error) {
    static il_mpi mpi = {NAME, {.begin = begin, .progress = progress}, end};
    int provided, code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &mpi.transport.rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &mpi.transport.size);
    if (code == MPI_SUCCESS && provided >= MPI_THREAD_FUNNELED) return &mpi;
    fail(error, IL_ERR_UNSUPPORTED, code, "cannot begin");
    return NULL;
}
