/* report.h: what `innerloop bench` measured, as a table, as JSON, CSV and a page. Measures nothing. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "bench/workloads.h"
#include "innerloop.h"

#include <jansson.h>
#include <stdio.h>

typedef struct bench_sample {
    double rate;            /* tokens/s */
    double limit, fraction; /* the limit while it ran; fraction 0: nothing to compare with */
} bench_sample;

typedef struct bench_row {
    const char *workload, *mixer, *dtype; /* mixer NULL: the bare product */
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
    const char *kernels, *preset; /* preset: NULL with --model */
    int threads, all_logits;
    il_limits limits;                 /* the best seen */
    const char *powercap, *no_energy; /* no_energy: why joules are unknown; "" */
    bench_row *rows;                  /* [n] */
    size_t n;
    int mixer_width; /* of the longest mixer's name, which the table's column holds */
} bench_report;

/* The table as it grows: what stands above it, and a row. */
void bench_print_head(const bench_report *r);
void bench_print_row(const bench_report *r, const bench_row *row);
void bench_print_no_energy(const bench_report *r); /* why joules are unknown, if they are; the head has it too */
json_t *bench_json(const bench_report *r);
void bench_write_csv(FILE *out, const bench_report *r);
void bench_write_html(FILE *out, const bench_report *r);

#endif
