/* ranks.c: see ranks.h. Sums nothing: what is gathered has an order, that of the ranks. */
#include "train/ranks.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"

enum { NAME_BYTES = 96, WAIT_MS = 100, TEXT_MAX = 1 << 20 };

struct il_ranks {
    il_engine *engine;
    const il_transport *transport;
    char (*names)[NAME_BYTES]; /* [size] */
    il_transfer *transfers;    /* [2 size] of what is gathered */
    size_t *at;                /* [size+1] of what has the same size of all */
    int32_t *fares;            /* [size][2] status and wants */
    double watchdog;           /* 0: none */
    int paused, lost;
    uint64_t sent;
};

int il_ranks_size(const il_ranks *r) { return r ? r->transport->size : 1; }
int il_ranks_rank(const il_ranks *r) { return r ? r->transport->rank : 0; }
const char *il_ranks_name(const il_ranks *r, int rank) { return r ? r->names[rank] : "this process"; }
uint64_t il_ranks_bytes_sent(const il_ranks *r) { return r ? r->sent : 0; }
int il_ranks_lost(const il_ranks *r) { return r && r->lost; }

void il_ranks_watch(il_ranks *r, double seconds) {
    if (r) r->watchdog = seconds;
}

void il_ranks_pause(il_ranks *r, int pauses) {
    if (r) r->paused += pauses ? 1 : -1;
}

/* ---- transfers ---- */

il_status il_ranks_begin(il_ranks *r, il_transfer *transfer, il_error *error) {
    transfer->done = transfer->bytes == 0;
    if (transfer->done) return IL_OK;
    if (r->lost) return il_fail(error, IL_ERR_IO, "another rank does not answer any more");
    if (transfer->sends) r->sent += transfer->bytes;
    return r->transport->begin(r->transport->user, transfer, error);
}

il_status il_ranks_poll(il_ranks *r, il_error *error) {
    return r ? r->transport->progress(r->transport->user, 0, error) : IL_OK;
}

int il_ranks_done(il_ranks *r, const il_transfer *transfers, size_t n, il_error *error) {
    int done = 1;
    for (size_t i = 0; i < n; i++) {
        if (transfers[i].done < 0) {
            il_fail(error, IL_ERR_IO, "%s is gone", r->names[transfers[i].peer]);
            r->lost = 1;
            return -1;
        }
        if (!transfers[i].done) done = 0;
    }
    return done;
}

static size_t count_open(const il_transfer *transfers, size_t n) {
    size_t open = 0;
    for (size_t i = 0; i < n; i++) open += transfers[i].done == 0;
    return open;
}

/* Whom nothing has come from: as many names as fit. */
static il_status blame(il_ranks *r, const il_transfer *transfers, size_t n, il_error *error) {
    char text[300] = "";
    size_t at = 0;
    int last = -1;
    r->lost = 1;
    for (int sends = 0; sends < 2 && !at; sends++)
        for (size_t i = 0; i < n && at < sizeof text - NAME_BYTES - 4; i++) {
            if (transfers[i].done || transfers[i].sends != sends || transfers[i].peer == last) continue;
            last = transfers[i].peer;
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", at ? ", " : "", r->names[last]);
        }
    return il_fail(error, IL_ERR_IO, "nothing was heard for %g s of %s", r->watchdog, text);
}

il_status il_ranks_wait(il_ranks *r, const il_transfer *transfers, size_t n, il_error *error) {
    double heard = il_clock_seconds();
    size_t open = count_open(transfers, n);
    for (;;) {
        int done = il_ranks_done(r, transfers, n, error);
        if (done) return done > 0 ? IL_OK : IL_ERR_IO;
        il_status status = r->transport->progress(r->transport->user, WAIT_MS, error);
        if (status != IL_OK) r->lost = 1;
        if (status != IL_OK) return status;
        size_t now = count_open(transfers, n);
        if (now < open || r->paused || r->watchdog <= 0) heard = il_clock_seconds();
        open = now;
        if (il_clock_seconds() - heard > r->watchdog && r->watchdog > 0 && !r->paused)
            return blame(r, transfers, n, error);
    }
}

il_status il_ranks_gather(il_ranks *r, void *all, const size_t *at, il_error *error) {
    size_t n = 0;
    if (!r) return IL_OK;
    int rank = r->transport->rank, size = r->transport->size;
    for (int k = 1; k < size; k++) { /* each begins with another one */
        int to = (rank + k) % size, from = (rank - k + size) % size;
        char *bytes = all;
        il_transfer *sends = &r->transfers[n++], *comes = &r->transfers[n++];
        *sends = (il_transfer){.peer = to, .sends = 1, .data = bytes + at[rank], .bytes = at[rank + 1] - at[rank]};
        *comes = (il_transfer){.peer = from, .data = bytes + at[from], .bytes = at[from + 1] - at[from]};
        IL_TRY(il_ranks_begin(r, comes, error));
        IL_TRY(il_ranks_begin(r, sends, error));
    }
    return il_ranks_wait(r, r->transfers, n, error);
}

il_status il_ranks_tell(il_ranks *r, int from, void *data, size_t bytes, il_error *error) {
    if (!r) return IL_OK;
    for (int k = 0; k <= r->transport->size; k++) r->at[k] = k <= from ? 0 : bytes;
    return il_ranks_gather(r, data, r->at, error);
}

uint64_t il_ranks_from(const il_ranks *r, uint64_t n, int rank) {
    return n * (uint64_t)rank / (uint64_t)il_ranks_size(r);
}

il_status il_ranks_share(il_ranks *r, void *all, uint64_t n, size_t bytes, il_error *error) {
    if (!r) return IL_OK;
    for (int k = 0; k <= r->transport->size; k++) r->at[k] = (size_t)il_ranks_from(r, n, k) * bytes;
    return il_ranks_gather(r, all, r->at, error);
}

/* ---- agreeing ---- */

il_status il_ranks_agree(il_ranks *r, il_status status, int *wants, il_error *error) {
    il_error own;
    if (!r) return status;
    if (!error) {
        own = (il_error){.status = status};
        error = &own;
    }
    int size = r->transport->size, first = size, failed = 0;
    for (int k = 0; k <= size; k++) r->at[k] = (size_t)k * sizeof *r->fares * 2;
    r->fares[2 * r->transport->rank] = (int32_t)status;
    r->fares[2 * r->transport->rank + 1] = wants ? *wants : 0;
    IL_TRY(il_ranks_gather(r, r->fares, r->at, error));
    for (int k = size; k-- > 0;) {
        if (r->fares[2 * k]) first = k, failed++;
        if (wants && r->fares[2 * k + 1] > *wants) *wants = r->fares[2 * k + 1];
    }
    if (first == size) return IL_OK;
    char text[sizeof error->message];
    status = (il_status)r->fares[2 * first];
    memcpy(text, error->message, sizeof text);
    IL_TRY(il_ranks_tell(r, first, text, sizeof text, error));
    text[sizeof text - 1] = 0;
    if (failed == size || strncmp(text, "rank ", 5) == 0) return il_fail(error, status, "%.499s", text);
    return il_fail(error, status, "%s: %.400s", r->names[first], text);
}

static il_status compare_objects(il_ranks *r, const json_t *first, const json_t *mine, il_error *error) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)mine, key, value) {
        const json_t *other = json_object_get(first, key);
        if (json_is_object(value) && json_is_object(other)) IL_TRY(compare_objects(r, other, value, error));
        if (json_equal(other, value)) continue;
        char *his = other ? json_dumps(other, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        char *own = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        il_status status = il_fail(error, IL_ERR_MISMATCH, "%s: %s is %.120s, but %.120s on rank 0",
                                   il_ranks_name(r, il_ranks_rank(r)), key, own ? own : "?", his ? his : "missing");
        free(his);
        free(own);
        return status;
    }
    return IL_OK;
}

il_status il_ranks_compare(il_ranks *r, const char *text, il_error *error) {
    if (!r) return IL_OK;
    const il_allocator *memory = &r->engine->memory;
    uint64_t bytes = strlen(text) + 1;
    IL_TRY(il_ranks_tell(r, 0, &bytes, sizeof bytes, error));
    il_status status = IL_OK;
    char *first = bytes <= TEXT_MAX ? il_alloc(memory, (size_t)bytes, 1) : NULL;
    if (!first) status = il_fail(error, IL_ERR_NOMEM, "no memory to compare the ranks");
    IL_TRY(il_ranks_agree(r, status, NULL, error));
    if (il_ranks_rank(r) == 0) memcpy(first, text, (size_t)bytes);
    status = il_ranks_tell(r, 0, first, (size_t)bytes, error);
    if (status == IL_OK) {
        json_t *his = json_loads(first, JSON_DECODE_ANY, NULL), *mine = json_loads(text, JSON_DECODE_ANY, NULL);
        status = his && mine ? compare_objects(r, his, mine, error)
                             : il_fail(error, IL_ERR_NOMEM, "no memory to compare the ranks");
        json_decref(his);
        json_decref(mine);
        status = il_ranks_agree(r, status, NULL, error);
    }
    il_free(memory, first);
    return status;
}

/* ---- opening ---- */

il_status il_ranks_open(il_engine *engine, const il_transport *transport, il_ranks **ranks, il_error *error) {
    *ranks = NULL;
    const il_allocator *memory = &engine->memory;
    if (transport->size < 1 || transport->size > 1 << 16 || transport->rank < 0 || transport->rank >= transport->size)
        return il_fail(error, IL_ERR_ARG, "rank %d of %d", transport->rank, transport->size);
    size_t size = (size_t)transport->size;
    il_ranks *r = il_alloc(memory, 1, sizeof *r);
    if (!r) return il_fail(error, IL_ERR_NOMEM, "no memory for ranks");
    *r = (il_ranks){.engine = engine, .transport = transport};
    r->names = il_alloc(memory, size, sizeof *r->names);
    r->transfers = il_alloc(memory, 2 * size, sizeof *r->transfers);
    r->at = il_alloc(memory, size + 1, sizeof *r->at);
    r->fares = il_alloc(memory, 2 * size, sizeof *r->fares);
    il_status status = IL_OK;
    if (!r->names || !r->transfers || !r->at || !r->fares) {
        status = il_fail(error, IL_ERR_NOMEM, "no memory for ranks");
    } else {
        char host[60] = "";
        if (gethostname(host, sizeof host - 1) != 0 || !*host) memcpy(host, "this host", 10);
        for (size_t k = 0; k < size; k++) snprintf(r->names[k], NAME_BYTES, "rank %zu", k);
        snprintf(r->names[transport->rank], NAME_BYTES, "rank %d (%s, process %ld)", transport->rank, host,
                 (long)getpid());
        for (size_t k = 0; k <= size; k++) r->at[k] = k * NAME_BYTES;
        status = il_ranks_gather(r, r->names, r->at, error);
    }
    if (status != IL_OK) {
        il_ranks_close(r);
        return status;
    }
    for (size_t k = 0; k < size; k++) r->names[k][NAME_BYTES - 1] = 0;
    *ranks = r;
    return IL_OK;
}

void il_ranks_close(il_ranks *r) {
    if (!r) return;
    const il_allocator *memory = &r->engine->memory;
    il_free(memory, r->fares);
    il_free(memory, r->at);
    il_free(memory, r->transfers);
    il_free(memory, r->names);
    il_free(memory, r);
}
