/* bench.h: what the parts of `innerloop bench` share. workloads.c: the works that are timed, what one repetition of
 * each does, and how much arithmetic and memory traffic the model's formulas count for a token of it. bench.c: options
 * and order. report.c: what was measured as a table, as JSON, CSV and a page. */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include "files.h"
#include "innerloop.h"

#include <jansson.h>

enum { BENCH_SIDE = 1024 /* of the product that il_engine_limits times */ };

/* ---- workloads.c ---- */

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

bench_count bench_count_of(const bench_job *job, bench_workload work, uint64_t context);
/* Tokens of a repetition, all sessions together. */
uint64_t bench_tokens(const bench_job *job, bench_workload work, uint64_t context);
/* Operations of walking on from where the session is. */
double bench_walk_flops(const bench_job *job, uint64_t context);
/* Bytes of keys and values that this work at this context holds; 0 for mixers whose state does not grow. */
double bench_cache_bytes(const bench_job *job, bench_workload work, uint64_t context);

uint64_t bench_walked(const bench_job *job);
/* Reads on, no logits, up to this position. */
il_status bench_walk(bench_job *job, uint64_t position, il_error *error);
/* Around the repetitions of a work; repeat: how many there will be. EXTEND, DECODE and BATCH go on from where the
 * session walked to, and leave it there. */
il_status bench_begin(bench_job *job, bench_workload work, uint64_t context, uint64_t repeat, il_error *error);
il_status bench_run(bench_job *job, bench_workload work, uint64_t context, double *seconds, il_error *error);
void bench_end(bench_job *job);

/* ---- report.c ---- */

typedef struct bench_sample {
    double rate;            /* tokens/s */
    double limit, fraction; /* the limit while it ran; fraction 0: nothing to compare with */
} bench_sample;

typedef struct bench_row {
    const char *work, *mixer, *dtype; /* mixer NULL: the bare product */
    uint64_t context, sessions;
    bench_sample *samples; /* [n], by ascending rate; released by the caller */
    uint64_t n;            /* 0: left out, for the reason below */
    bench_sample median;   /* each number's own */
    double fraction_least, fraction_most;
    bench_count count;
    const char *unit;   /* of limits */
    double limit_bytes; /* that were read to measure them, again and again; 0: they are not of memory */
    double joules;      /* per token; NAN: unknown */
    size_t state_bytes; /* of a session; 0: unknown */
    char reason[200];
} bench_row;

typedef struct bench_report {
    char cpu[256];
    const char *kernels, *preset;
    int threads, all_logits;
    il_limits limits;                 /* the best seen */
    const char *powercap, *no_energy; /* no_energy: why joules are unknown; "" */
    bench_row *rows;                  /* [n] */
    size_t n;
} bench_report;

void bench_print_table(const bench_report *r);
json_t *bench_json(const bench_report *r);
void bench_write_csv(FILE *out, const bench_report *r);
void bench_write_html(FILE *out, const bench_report *r);

#endif
