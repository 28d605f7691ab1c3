/* workloads.h: what `innerloop bench` times: what one repetition of each workload does, on made-up tokens, and how much
 * arithmetic and memory traffic the model's formulas count for a token of it. Reads no clock but around a repetition.
 */
#ifndef CLI_WORKLOADS_H
#define CLI_WORKLOADS_H

#include "innerloop.h"

typedef enum bench_workload {
    BENCH_PREFILL,
    BENCH_EXTEND,
    BENCH_DECODE,
    BENCH_BATCH,
    BENCH_TRAIN,
    BENCH_WORKLOADS
} bench_workload;
extern const char *const bench_workload_names[BENCH_WORKLOADS];

/* Per token, averaged over the tokens of a repetition. */
typedef struct bench_count {
    double flops;
    double bytes; /* of weights and state that must come from memory, or go there, once */
} bench_count;

/* A model and the session that walks through a made-up text. */
typedef struct bench_job {
    il_engine *engine; /* the caller's, as is the model */
    il_model *model;
    uint64_t sessions;    /* of BENCH_BATCH */
    il_weight_type dtype; /* of the products of BENCH_TRAIN */
    int all_logits;       /* PREFILL and EXTEND compute a row for every token, not only the last */
    int32_t *tokens;      /* [n_tokens] */
    uint64_t n_tokens;
    float *logits;         /* [at least sessions, vocabulary] */
    il_session *walk;      /* NULL before the first bench_walk */
    double walked_seconds; /* that it took to come where it is */
    size_t state_bytes;    /* of one session at the context of the last bench_run; 0: none */
    il_data *data;         /* of training, between bench_begin and bench_end */
    il_trainer *trainer;
} bench_job;

void bench_open(bench_job *job, il_engine *engine, il_model *model, uint64_t context_max, uint64_t sessions,
                int all_logits);
void bench_close(bench_job *job); /* a zeroed one too */

bench_count bench_count_of(const bench_job *job, bench_workload workload, uint64_t context);
/* Tokens of a repetition, all sessions together. */
uint64_t bench_tokens(const bench_job *job, bench_workload workload, uint64_t context);
/* Operations of walking on from where the session is. */
double bench_walk_flops(const bench_job *job, uint64_t context);
/* Bytes of keys and values that this workload at this context holds; 0 for mixers whose state does not grow. */
double bench_cache_bytes(const bench_job *job, bench_workload workload, uint64_t context);

uint64_t bench_walked(const bench_job *job);
/* Reads on, no logits, up to this position. */
il_status bench_walk(bench_job *job, uint64_t position, il_error *error);
/* Around the repetitions of a workload; repeat: how many there will be. EXTEND, DECODE and BATCH go on from where the
 * session walked to, and leave it there. */
il_status bench_begin(bench_job *job, bench_workload workload, uint64_t context, uint64_t repeat, il_error *error);
il_status bench_run(bench_job *job, bench_workload workload, uint64_t context, double *seconds, il_error *error);
void bench_end(bench_job *job);

#endif
