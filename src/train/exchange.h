/* exchange.h: from the gradients of lanes to their sum, which lies in pieces on all ranks, and from the pieces of new
 * weights back to all weights on every rank. The sum is that of lanes.h, whatever the number of ranks. Owns which rank
 * has which pieces, the buffers of sums, and what is under way. */
#ifndef IL_TRAIN_EXCHANGE_H
#define IL_TRAIN_EXCHANGE_H

#include "engine/engine.h"
#include "train/lanes.h"
#include "train/ranks.h"

enum { IL_FLIGHTS = 4 /* buckets that are under way at once, at most */ };

/* A bucket that is under way, in one or several steps of transfers. */
typedef struct il_flight {
    int bucket, step, waits; /* waits: for the transfers of this step; 0: it is over */
    il_transfer *transfers;  /* [n] */
    size_t n;
    float *room; /* what comes, until it is added */
} il_flight;

typedef struct il_exchange {
    il_engine *engine;
    il_ranks *ranks; /* NULL: one process */
    int rank, size, lanes;
    size_t floats;
    int pieces, per_bucket, buckets; /* a bucket is per_bucket pieces, the last what is left */
    int halvings;                    /* log2 of the ranks where they halve and halve again; 0: all send to all */
    int *own;                        /* [n_own] pieces of this rank, ascending */
    int n_own;
    il_nodes *nodes; /* [size] what each rank's lanes are summed to before anything is sent */
    int n_buffers;
    float *buffers[IL_NODES_MAX]; /* of gradients [floats]; the first is the caller's, and gets the sum */
    il_nodes summed;              /* of this step, buffer by buffer */
    int additions, is_last;       /* that the last lane is waiting for; it has been begun */
    il_flight flights[IL_FLIGHTS];
    int oldest, n_flights, next; /* of a ring; the next bucket, from the last to the first, and -1 */
    float *weights;              /* NULL: gradients are under way */
    int overlaps;   /* 1: sending begins before the last lane's gradient is complete; 0: a bench compares */
    uint64_t early; /* bytes of this step whose sending began before that */
    void *block;
    il_status status; /* of what went wrong under way */
    il_error error;
} il_exchange;

/* first [floats]: a buffer. IL_ERR_ARG when there are more ranks than lanes. */
il_status il_exchange_open(il_engine *engine, il_ranks *ranks, int lanes, size_t floats, float *first,
                           il_exchange *exchange, il_error *error);
void il_exchange_close(il_exchange *exchange); /* an all-zero one is fine */

void il_exchange_begin(il_exchange *exchange); /* a step */
/* Where the gradient of the next lane goes; then it is added to what it belongs to. Of the last lane of this rank that
 * waits: parts of its gradient may be sent before all is computed. */
float *il_exchange_lane(il_exchange *exchange, int lane);
void il_exchange_add(il_exchange *exchange);
/* The last lane's gradient is complete from this float on. Does not wait for anybody, and cannot fail: finish does. */
void il_exchange_ready(il_exchange *exchange, size_t from);
/* All of it is; afterwards the sum's own pieces are in the first buffer, those of others are anything. What an aborted
 * step left undone is sent too, whatever it is, so that nobody waits for it. */
il_status il_exchange_finish(il_exchange *exchange, il_error *error);
/* Everybody's own pieces of weights [floats] reach everybody. */
il_status il_exchange_weights(il_exchange *exchange, float *weights, il_error *error);

/* Of rank r: its pieces from .. to-1 of a bucket. */
void il_exchange_part(const il_exchange *exchange, int bucket, int rank, int *from, int *to);
/* Bytes that this rank sends for the sum and the weights of a step. */
uint64_t il_exchange_bytes(const il_exchange *exchange);

#endif
