/* scheduler.h: the one thread that owns the engine. Every step it feeds, in one batch without padding, a token of every
 * answer under way and a bounded piece of the prompts that wait, so that a long prompt delays the others by one step at
 * most. A reader that is slow pauses its own answers only. Results do not depend on any of this. */
#ifndef SERVER_SCHEDULER_H
#define SERVER_SCHEDULER_H

#include "common/histogram.h"
#include "run/cache.h"
#include "run/job.h"

typedef struct scheduler scheduler;

typedef struct scheduler_options {
    il_engine *engine;
    il_model *model;
    work *work;
    int tokens;         /* of the tokenizer: what is drawn lies below it */
    int streams_max;    /* sessions at once */
    int queue_max;      /* requests that wait for one */
    size_t cache_bytes; /* of sessions that have read the beginnings of prompts; 0: none are kept */
    double seconds_max; /* of a request */
} scheduler_options;

/* Totals since the start, and what is going on. */
typedef struct scheduler_stats {
    uint64_t prompt_tokens, answer_tokens, steps, requests_done, requests_failed;
    size_t running, waiting; /* answers; requests */
    cache_stats cache;
    histogram first_token, between_tokens, whole; /* seconds: of an answer, of it, of a request */
} scheduler_stats;

scheduler *scheduler_start(const scheduler_options *options); /* NULL: it cannot */
/* The scheduler takes the job and the session that it goes on from, or says why it does not: then both are the caller's
 * still. */
int scheduler_submit(scheduler *s, job *j, problem *p);
/* Something outside has changed: look again. */
void scheduler_wake(scheduler *s);
void scheduler_get_stats(scheduler *s, scheduler_stats *stats);
/* Whether no request is left. */
int scheduler_idle(scheduler *s);
/* Ends what is not done with 503, then the thread. After it nothing is submitted. */
void scheduler_stop(scheduler *s);
void scheduler_free(scheduler *s); /* NULL allowed */

#endif
