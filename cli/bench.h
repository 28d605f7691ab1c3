/* bench.h: the works that `innerloop bench` times: what one repetition of each does, and how much arithmetic
 * and memory traffic the model's formulas count for a token of it. Knows nothing of limits, tables or
 * options. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "innerloop.h"

typedef enum bench_work { BENCH_PREFILL, BENCH_DECODE, BENCH_TRAIN, BENCH_WORKS } bench_work;

/* Per token, averaged over the tokens of a repetition. */
typedef struct bench_count {
    double flops;
    double bytes; /* of weights and state that must come from memory once; 0: not counted for this work */
} bench_count;
/* parameters: entries of all tensors of a model of this config. */
bench_count bench_count_of(const il_config *config, uint64_t parameters, bench_work work, uint64_t context);

/* A work under way. Zero-initialise; bench_close it even after bench_open failed. */
typedef struct bench_job {
    bench_work work;
    uint64_t context;
    il_model *model; /* the caller's */
    int32_t *tokens;
    float *logits;
    il_session *session;
    il_data *data;
    il_trainer *trainer;
} bench_job;
/* repeat: how often bench_run may be called. */
il_status bench_open(bench_job *job, il_engine *engine, il_model *model, bench_work work, uint64_t context,
                     uint64_t repeat, il_error *error);
/* One repetition; tokens_per_s of the wall clock. */
il_status bench_run(bench_job *job, double *tokens_per_s, il_error *error);
void bench_close(bench_job *job);

#endif
