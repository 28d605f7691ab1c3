/* exchange.c: see exchange.h. A bucket is a run of pieces; each rank owns a part of every bucket, so that all links
 * carry something at any time. Two ways, of the same bits and bytes:
 *
 * Everybody sends to everybody: each rank sends the whole subtrees that its lanes make (lanes.h) to the owner of each
 * part, who adds the upper part of the tree. Any number of ranks.
 *
 * Halving: where ranks and lanes are powers of two each rank has one subtree, and rank r exchanges half of what it
 * holds with r^1, half of that with r^2, and so on: each time the sums of two sibling subtrees are added. Weights go
 * the same way back. Fewer and larger messages. */
#include "train/exchange.h"

#include <limits.h>
#include <string.h>

#include "base/error.h"
#include "train/optimizer.h"

enum { BUCKET_PIECES = 16 /* 4 MiB: messages that are worth their latency */ };

/* ---- whose is what ---- */

static int is_power_of_two(int n) { return (n & (n - 1)) == 0; }

/* Where a rank's part of a bucket stands: when halving, by its bits from the lowest to the highest. */
static int position(const il_exchange *x, int rank) {
    int reversed = 0;
    for (int bit = 0; bit < x->halvings; bit++) reversed |= (rank >> bit & 1) << (x->halvings - 1 - bit);
    return x->halvings ? reversed : rank;
}

/* The first piece of the part at this position; that of position `size` is where the bucket ends. */
static int part_begin(const il_exchange *x, int bucket, int at) {
    int from = bucket * x->per_bucket, left = x->pieces - from;
    return from + (int)((long)(left < x->per_bucket ? left : x->per_bucket) * at / x->size);
}

void il_exchange_part(const il_exchange *x, int bucket, int rank, int *from, int *to) {
    int at = position(x, rank);
    *from = part_begin(x, bucket, at);
    *to = part_begin(x, bucket, at + 1);
}

static size_t float_at(int piece) { return (size_t)piece * IL_WEIGHTS_PIECE; }

static size_t bytes_of(const il_exchange *x, int from, int to) {
    return il_weights_size(x->floats, from, to) * sizeof(float);
}

/* Of halving's step: the positions that this rank keeps, begin .. begin+half-1, and begins sending from `other`. */
typedef struct halves {
    int partner, half, kept, other;
} halves;

static halves halves_of(const il_exchange *x, int step) {
    int half = x->size >> (step + 1), kept = position(x, x->rank) & ~(half - 1);
    return (halves){x->rank ^ (1 << step), half, kept, kept ^ half};
}

/* ---- additions ---- */

typedef struct addition {
    il_exchange *exchange;
    const il_flight *flight; /* NULL: of this rank's lanes */
    int from, to;            /* pieces */
} addition;

/* The last lane onto what it completes. */
static void add_lane(void *context, int i, int worker) {
    const addition *job = context;
    il_exchange *x = job->exchange;
    int piece = job->from + i, top = x->summed.n - 1 + x->additions;
    size_t at = float_at(piece), n = il_weights_size(x->floats, piece, piece + 1);
    (void)worker;
    for (int k = 0; k < x->additions; k++, top--)
        x->engine->kernels->add(n, x->buffers[top - 1] + at, x->buffers[top] + at, x->buffers[top - 1] + at);
}

/* The upper part of the tree, over the subtrees of all ranks. */
static void add_nodes(void *context, int i, int worker) {
    const addition *job = context;
    il_exchange *x = job->exchange;
    int piece = job->from + i, depth = 0;
    size_t at = float_at(piece), n = il_weights_size(x->floats, piece, piece + 1);
    size_t part = il_weights_size(x->floats, job->from, job->to), within = at - float_at(job->from);
    float *room = job->flight->room, *sums[IL_NODES_MAX];
    il_nodes nodes = {.n = 0};
    (void)worker;
    for (int rank = 0; rank < x->size; rank++)
        for (int k = 0; k < x->nodes[rank].n; k++) {
            sums[depth++] = rank == x->rank ? x->buffers[k] + at : room + within;
            if (rank != x->rank) room += part;
            for (int left = il_nodes_add(&nodes, x->nodes[rank].node[k]); left--; depth--)
                x->engine->kernels->add(n, sums[depth - 2], sums[depth - 1], sums[depth - 2]);
        }
    if (sums[0] != x->buffers[0] + at) memcpy(x->buffers[0] + at, sums[0], n * sizeof(float));
}

/* What came of the sibling's sum. */
static void add_half(void *context, int i, int worker) {
    const addition *job = context;
    il_exchange *x = job->exchange;
    int piece = job->from + i;
    size_t at = float_at(piece), n = il_weights_size(x->floats, piece, piece + 1);
    (void)worker;
    x->engine->kernels->add(n, x->buffers[0] + at, job->flight->room + at - float_at(job->from), x->buffers[0] + at);
}

static void add_in_pieces(il_exchange *x, const il_flight *flight, int from, int to,
                          void (*add)(void *context, int i, int worker)) {
    addition job = {x, flight, from, to};
    if (to > from) il_pool_run(x->engine->pool, to - from, add, &job);
}

/* ---- flights ---- */

static il_status fly(il_exchange *x, il_flight *f, int peer, int sends, float *data, size_t bytes) {
    il_transfer *t = &f->transfers[f->n++];
    *t = (il_transfer){.peer = peer, .sends = sends, .data = data, .bytes = bytes};
    return il_ranks_begin(x->ranks, t, &x->error);
}

/* Gradients: this rank's subtrees of everybody's part, and everybody's of its own part. */
static il_status begin_sum(il_exchange *x, il_flight *f) {
    int own, own_end, from, to;
    float *room = f->room;
    il_exchange_part(x, f->bucket, x->rank, &own, &own_end);
    for (int rank = 0; rank < x->size; rank++) {
        if (rank == x->rank) continue;
        for (int k = 0; k < x->nodes[rank].n; k++, room += il_weights_size(x->floats, own, own_end))
            IL_TRY(fly(x, f, rank, 0, room, bytes_of(x, own, own_end)));
    }
    for (int k = 1; k < x->size; k++) {
        int rank = (x->rank + k) % x->size;
        il_exchange_part(x, f->bucket, rank, &from, &to);
        for (int node = 0; node < x->nodes[x->rank].n; node++)
            IL_TRY(fly(x, f, rank, 1, x->buffers[node] + float_at(from), bytes_of(x, from, to)));
    }
    return IL_OK;
}

static il_status begin_spread(il_exchange *x, il_flight *f) {
    int own, own_end, from, to;
    il_exchange_part(x, f->bucket, x->rank, &own, &own_end);
    for (int k = 1; k < x->size; k++) {
        int rank = (x->rank + k) % x->size;
        il_exchange_part(x, f->bucket, rank, &from, &to);
        IL_TRY(fly(x, f, rank, 0, x->weights + float_at(from), bytes_of(x, from, to)));
        IL_TRY(fly(x, f, rank, 1, x->weights + float_at(own), bytes_of(x, own, own_end)));
    }
    return IL_OK;
}

/* Halving, of weights backwards: what is kept of gradients is what is held of weights. */
static il_status begin_half(il_exchange *x, il_flight *f) {
    halves h = halves_of(x, x->weights ? x->halvings - 1 - f->step : f->step);
    int kept = part_begin(x, f->bucket, h.kept), kept_end = part_begin(x, f->bucket, h.kept + h.half);
    int other = part_begin(x, f->bucket, h.other), other_end = part_begin(x, f->bucket, h.other + h.half);
    if (x->weights) {
        IL_TRY(fly(x, f, h.partner, 0, x->weights + float_at(other), bytes_of(x, other, other_end)));
        return fly(x, f, h.partner, 1, x->weights + float_at(kept), bytes_of(x, kept, kept_end));
    }
    IL_TRY(fly(x, f, h.partner, 0, f->room, bytes_of(x, kept, kept_end)));
    return fly(x, f, h.partner, 1, x->buffers[0] + float_at(other), bytes_of(x, other, other_end));
}

static il_status begin_step(il_exchange *x, il_flight *f) {
    f->n = 0;
    f->waits = 1;
    return x->halvings ? begin_half(x, f) : x->weights ? begin_spread(x, f) : begin_sum(x, f);
}

static void end_step(il_exchange *x, il_flight *f) {
    int from, to;
    f->waits = 0;
    if (x->weights) return;
    if (x->halvings) {
        halves h = halves_of(x, f->step);
        from = part_begin(x, f->bucket, h.kept);
        to = part_begin(x, f->bucket, h.kept + h.half);
    } else {
        il_exchange_part(x, f->bucket, x->rank, &from, &to);
    }
    add_in_pieces(x, f, from, to, x->halvings ? add_half : add_nodes);
}

/* Gets on with all flights, the oldest first. A step is begun only after the older flights have begun theirs of the
 * same number: what two ranks exchange has the same order on both. */
static il_status advance(il_exchange *x) {
    int steps = x->halvings ? x->halvings : 1, before = INT_MAX;
    for (int i = 0; i < x->n_flights; i++) {
        il_flight *f = &x->flights[(x->oldest + i) % IL_FLIGHTS];
        for (;;) {
            if (f->waits) {
                int done = il_ranks_done(x->ranks, f->transfers, f->n, &x->error);
                if (done < 0) return IL_ERR_IO;
                if (!done) break;
                end_step(x, f);
            }
            if (f->step + 1 >= steps || f->step + 1 > before) break;
            f->step++;
            IL_TRY(begin_step(x, f));
        }
        before = f->step;
    }
    while (x->n_flights && x->flights[x->oldest].step + 1 == steps && !x->flights[x->oldest].waits) {
        x->oldest = (x->oldest + 1) % IL_FLIGHTS;
        x->n_flights--;
    }
    return IL_OK;
}

/* Begins the buckets that are complete from this float on, as long as there is room for them. */
static il_status depart(il_exchange *x, size_t from) {
    while (x->next >= 0 && x->n_flights < IL_FLIGHTS && float_at(x->next * x->per_bucket) >= from) {
        il_flight *f = &x->flights[(x->oldest + x->n_flights++) % IL_FLIGHTS];
        f->bucket = x->next--;
        f->step = 0;
        if (!x->weights)
            add_in_pieces(x, NULL, part_begin(x, f->bucket, 0), part_begin(x, f->bucket, x->size), add_lane);
        IL_TRY(begin_step(x, f));
    }
    return IL_OK;
}

static il_status arrive(il_exchange *x) {
    while (x->next >= 0 || x->n_flights) {
        IL_TRY(depart(x, 0));
        IL_TRY(il_ranks_wait(x->ranks, x->flights[x->oldest].transfers, x->flights[x->oldest].n, &x->error));
        IL_TRY(advance(x));
    }
    return IL_OK;
}

/* ---- a step ---- */

void il_exchange_begin(il_exchange *x) {
    x->summed.n = 0;
    x->is_last = x->additions = 0;
    x->early = 0;
    x->weights = NULL;
    x->next = x->buckets - 1;
}

float *il_exchange_lane(il_exchange *x, int lane) {
    float *buffer = x->buffers[x->summed.n];
    x->additions = il_nodes_add(&x->summed, (il_node){lane, 1});
    x->is_last = lane + 1 == il_lanes_begin(x->lanes, x->size, x->rank + 1);
    return buffer;
}

void il_exchange_add(il_exchange *x) {
    if (x->is_last && x->size > 1) return;
    add_in_pieces(x, NULL, 0, x->pieces, add_lane);
}

void il_exchange_ready(il_exchange *x, size_t from) {
    if (x->size == 1 || !x->overlaps || !x->is_last || x->status != IL_OK) return;
    uint64_t before = il_ranks_bytes_sent(x->ranks);
    x->status = il_ranks_poll(x->ranks, &x->error);
    if (x->status == IL_OK) x->status = advance(x);
    if (x->status == IL_OK) x->status = depart(x, from);
    if (from) x->early += il_ranks_bytes_sent(x->ranks) - before;
}

static il_status land(il_exchange *x, il_error *error) {
    if (x->status == IL_OK) x->status = arrive(x);
    if (x->status != IL_OK) return il_fail(error, x->status, "%s", x->error.message);
    return IL_OK;
}

il_status il_exchange_finish(il_exchange *x, il_error *error) {
    if (x->size == 1) return IL_OK;
    if (!x->is_last) x->additions = 0; /* an aborted step */
    return land(x, error);
}

il_status il_exchange_weights(il_exchange *x, float *weights, il_error *error) {
    if (x->size == 1) return IL_OK;
    x->weights = weights;
    x->next = x->buckets - 1;
    return land(x, error);
}

uint64_t il_exchange_bytes(const il_exchange *x) {
    uint64_t own = 0, bytes = 0;
    for (int i = 0; i < x->n_own; i++) own += bytes_of(x, x->own[i], x->own[i] + 1);
    if (x->size == 1) return 0;
    uint64_t all = x->floats * sizeof(float);
    if (!x->halvings) return (all - own) * (uint64_t)x->nodes[x->rank].n + own * (uint64_t)(x->size - 1);
    bytes = all - own;
    for (int step = 0; step < x->halvings; step++) {
        halves h = halves_of(x, step);
        for (int b = 0; b < x->buckets; b++)
            bytes += bytes_of(x, part_begin(x, b, h.kept), part_begin(x, b, h.kept + h.half));
    }
    return bytes;
}

/* ---- opening ---- */

static void plan(il_exchange *x) {
    x->size = il_ranks_size(x->ranks);
    x->rank = il_ranks_rank(x->ranks);
    x->pieces = il_weights_pieces(x->floats);
    x->per_bucket = x->size > BUCKET_PIECES ? x->size : BUCKET_PIECES;
    x->buckets = x->size > 1 ? (x->pieces + x->per_bucket - 1) / x->per_bucket : 0;
    if (x->size > 1 && is_power_of_two(x->size))
        while (1 << x->halvings < x->size) x->halvings++;
}

static void lay_out(il_exchange *x, il_arena *arena) {
    size_t nodes = 0, part = 0, transfers;
    x->nodes = il_arena_take(arena, (size_t)x->size, sizeof *x->nodes);
    x->own = il_arena_take(arena, (size_t)x->pieces, sizeof *x->own);
    for (int i = 1; i < x->n_buffers; i++) x->buffers[i] = il_arena_take(arena, x->floats, sizeof(float));
    if (x->size == 1) return;
    for (int r = 0; r < x->size; r++)
        nodes +=
            (size_t)il_nodes_of(il_lanes_begin(x->lanes, x->size, r), il_lanes_begin(x->lanes, x->size, r + 1), NULL).n;
    part = ((size_t)x->per_bucket + (size_t)x->size - 1) / (size_t)x->size * nodes; /* pieces that come */
    if (x->halvings) part = ((size_t)x->per_bucket + 1) / 2;
    transfers = 2 * (size_t)x->size + nodes + (size_t)x->size * IL_NODES_MAX;
    for (int i = 0; i < IL_FLIGHTS; i++) {
        x->flights[i].transfers = il_arena_take(arena, transfers, sizeof *x->flights[i].transfers);
        x->flights[i].room = il_arena_take(arena, part * IL_WEIGHTS_PIECE, sizeof(float));
    }
}

il_status il_exchange_open(il_engine *engine, il_ranks *ranks, int lanes, size_t floats, float *first,
                           il_exchange *exchange, il_error *error) {
    il_exchange *x = exchange;
    *x = (il_exchange){.engine = engine, .ranks = ranks, .lanes = lanes, .floats = floats, .overlaps = 1};
    plan(x);
    if (x->size > lanes)
        return il_fail(error, IL_ERR_ARG, "%d ranks share the work of %d lanes: there must be a lane for each", x->size,
                       lanes);
    il_nodes_of(il_lanes_begin(lanes, x->size, x->rank), il_lanes_begin(lanes, x->size, x->rank + 1), &x->n_buffers);
    x->buffers[0] = first;
    il_arena arena = {0};
    lay_out(x, &arena);
    x->block = il_alloc_raw(&engine->memory, arena.used, 1);
    if (!x->block) return il_fail(error, IL_ERR_NOMEM, "no memory for the sums of lanes: %zu bytes", arena.used);
    arena = (il_arena){.base = x->block};
    lay_out(x, &arena);
    for (int r = 0; r < x->size; r++)
        x->nodes[r] = il_nodes_of(il_lanes_begin(lanes, x->size, r), il_lanes_begin(lanes, x->size, r + 1), NULL);
    for (int b = 0; b < (x->buckets ? x->buckets : 1); b++) {
        int from = 0, to = x->pieces;
        if (x->buckets) il_exchange_part(x, b, x->rank, &from, &to);
        for (int piece = from; piece < to; piece++) x->own[x->n_own++] = piece;
    }
    return IL_OK;
}

void il_exchange_close(il_exchange *x) {
    if (x->engine) il_free(&x->engine->memory, x->block);
    *x = (il_exchange){0};
}
