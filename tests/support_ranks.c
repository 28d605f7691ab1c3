/* support_ranks.c: see support_ranks.h. */
#include "support_ranks.h"

#include "support_test.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUEUE = 4096 };

/* Transfers with one peer in one direction, in the order in which they were begun. */
typedef struct {
    il_transfer *begun[QUEUE];
    unsigned first, end;
    size_t done; /* bytes of the first */
} queue;

typedef struct {
    int rank, size;
    int socket[SUPPORT_RANKS_MAX]; /* of each peer; -1: it is gone */
    queue sends[SUPPORT_RANKS_MAX], comes[SUPPORT_RANKS_MAX];
    uint64_t *sent;
} joined;

static il_status begin(void *user, il_transfer *transfer, il_error *error) {
    joined *j = user;
    queue *q = transfer->sends ? &j->sends[transfer->peer] : &j->comes[transfer->peer];
    (void)error;
    if (!transfer->bytes || q->end - q->first == QUEUE) abort();
    q->begun[q->end++ % QUEUE] = transfer;
    return IL_OK;
}

static void give_up(queue *q) {
    for (; q->first < q->end; q->first++) q->begun[q->first % QUEUE]->done = -1;
}

/* Moves what can be moved at once. Returns whether anything was. */
static int move(joined *j, int peer, queue *q) {
    int moved = 0;
    while (q->first < q->end) {
        il_transfer *t = q->begun[q->first % QUEUE];
        char *at = (char *)t->data + q->done;
        ssize_t n = -1;
        errno = EPIPE;
        if (j->socket[peer] >= 0)
            n = t->sends ? send(j->socket[peer], at, t->bytes - q->done, MSG_NOSIGNAL | MSG_DONTWAIT)
                         : recv(j->socket[peer], at, t->bytes - q->done, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return moved;
        if (n <= 0) {
            give_up(q);
            return 1;
        }
        moved = 1;
        if (t->sends) *j->sent += (uint64_t)n;
        q->done += (size_t)n;
        if (q->done < t->bytes) continue;
        q->done = 0;
        q->first++;
        t->done = 1;
    }
    return moved;
}

static il_status progress(void *user, int wait_ms, il_error *error) {
    joined *j = user;
    struct pollfd polled[SUPPORT_RANKS_MAX];
    int moved = 0, n = 0;
    (void)error;
    for (int peer = 0; peer < j->size; peer++) moved |= move(j, peer, &j->comes[peer]) | move(j, peer, &j->sends[peer]);
    if (moved || !wait_ms) return IL_OK;
    for (int peer = 0; peer < j->size; peer++) {
        int wants = (j->comes[peer].first < j->comes[peer].end ? POLLIN : 0) |
                    (j->sends[peer].first < j->sends[peer].end ? POLLOUT : 0);
        if (wants) polled[n++] = (struct pollfd){.fd = j->socket[peer], .events = (short)wants};
    }
    poll(polled, (nfds_t)n, wait_ms);
    return IL_OK;
}

static void live(int rank, int size, int sockets[SUPPORT_RANKS_MAX][SUPPORT_RANKS_MAX],
                 il_status (*work)(const il_transport *transport, void *context, il_error *error), void *context,
                 support_rank *result) {
    static joined j;
    signal(SIGSEGV, SIG_DFL); /* a rank that crashes is one that was killed, and no test of its own */
    signal(SIGBUS, SIG_DFL);
    signal(SIGFPE, SIG_DFL);
    signal(SIGILL, SIG_DFL);
    j.rank = rank;
    j.size = size;
    j.sent = &result->sent;
    for (int i = 0; i < size; i++)
        for (int k = 0; k < size; k++) {
            if (i == rank)
                j.socket[k] = sockets[i][k];
            else if (sockets[i][k] >= 0)
                close(sockets[i][k]);
        }
    il_transport transport = {.user = &j, .rank = rank, .size = size, .begin = begin, .progress = progress};
    result->status = work(&transport, context, &result->error);
    _exit(0);
}

void support_ranks_run(int size, il_status (*work)(const il_transport *transport, void *context, il_error *error),
                       void *context, support_rank ranks[SUPPORT_RANKS_MAX]) {
    int sockets[SUPPORT_RANKS_MAX][SUPPORT_RANKS_MAX], status;
    pid_t child[SUPPORT_RANKS_MAX];
    support_rank *results =
        mmap(NULL, SUPPORT_RANKS_MAX * sizeof *results, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(results != MAP_FAILED && size <= SUPPORT_RANKS_MAX);
    for (int i = 0; i < size; i++) sockets[i][i] = -1;
    for (int i = 0; i < size; i++)
        for (int k = 0; k < i; k++) {
            int pair[2];
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
            sockets[i][k] = pair[0];
            sockets[k][i] = pair[1];
        }
    fflush(NULL);
    for (int i = 0; i < size; i++) {
        child[i] = fork();
        if (child[i] == 0) live(i, size, sockets, work, context, &results[i]);
        assert_true(child[i] > 0);
    }
    for (int i = 0; i < size; i++)
        for (int k = 0; k < size; k++)
            if (sockets[i][k] >= 0) close(sockets[i][k]);
    for (int i = 0; i < size; i++) {
        assert_int_equal(waitpid(child[i], &status, 0), child[i]);
        ranks[i] = results[i];
        ranks[i].killed = WIFSIGNALED(status);
        if (!ranks[i].killed && (!WIFEXITED(status) || WEXITSTATUS(status)))
            fail_msg("rank %d ended with %x", i, status);
    }
    munmap(results, SUPPORT_RANKS_MAX * sizeof *results);
}
