/* bench.c: `innerloop bench`: speed beside this machine's limits, probed in the same run before and after
 * each row. A row's limit is the larger of its two probes, of our own product and oneDNN's the faster:
 * fractions are never flattered. */
#include "bench.h"
#include "command.h"
#include "interrupt.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIXERS = 3, PROBE_SIDE = 1024 /* of the product that il_engine_limits times */ };
static const char *const mixer_names[MIXERS] = {"ttt_linear", "ttt_mlp", "self_attention"};
static const char *const work_names[BENCH_WORKS] = {"prefill", "decode", "train"};

typedef struct bench_options {
    const char *preset, *mixer, *work;
    uint64_t context, repeat;
} bench_options;

typedef struct row {
    const char *work, *mixer; /* mixer NULL: the bare product */
    double *samples;          /* [repeat] tokens/s; ascending once median has seen them */
    bench_count count;
    double limit, fraction; /* fraction 0: nothing to compare with */
    const char *unit;       /* of limit */
} row;

typedef struct bench {
    cli_command *command;
    const bench_options *options;
    il_limits last, best; /* the last probe; the best of each so far */
    row rows[1 + MIXERS * BENCH_WORKS];
    size_t n;
    cli_progress progress;
    uint64_t done;
} bench;

static double larger(double a, double b) { return a > b ? a : b; }
static double product_limit(const il_limits *l) { return larger(l->gflops_kernel, l->gflops_onednn); }

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples, uint64_t n) {
    qsort(samples, n, sizeof *samples, ascending);
    return n % 2 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
}

static il_status probe(bench *b) {
    il_status status = il_engine_limits(b->command->engine, &b->last, &b->command->error);
    b->best.gflops_kernel = larger(b->best.gflops_kernel, b->last.gflops_kernel);
    b->best.gflops_onednn = larger(b->best.gflops_onednn, b->last.gflops_onednn);
    b->best.read_gb_s = larger(b->best.read_gb_s, b->last.read_gb_s);
    return status;
}

static row *new_row(bench *b, const char *work, const char *mixer) {
    row *r = &b->rows[b->n++];
    *r = (row){.work = work, .mixer = mixer, .unit = "GFLOP/s"};
    r->samples = cli_alloc(b->options->repeat, sizeof *r->samples);
    return r;
}

/* Shows progress; IL_ERR_CANCELLED when a signal asks to stop. */
static il_status repetition_done(bench *b, const char *work, const char *mixer) {
    char detail[64];
    snprintf(detail, sizeof detail, "%s%s%s", work, mixer ? " " : "", mixer ? mixer : "");
    cli_progress_show(&b->progress, ++b->done, detail);
    return cli_interrupted() ? IL_ERR_CANCELLED : IL_OK;
}

/* Our exact product against oneDNN's, its rows being the tokens. */
static il_status gemm_row(bench *b) {
    row *r = new_row(b, "gemm", NULL);
    uint64_t repeat = b->options->repeat;
    double *fractions = cli_alloc(repeat, sizeof *fractions);
    il_status status = IL_OK;
    r->count.flops = 2.0 * PROBE_SIDE * PROBE_SIDE;
    for (uint64_t i = 0; i < repeat && !status; i++) {
        status = probe(b);
        r->samples[i] = b->last.gflops_kernel * 1e9 / r->count.flops;
        r->limit = larger(r->limit, b->last.gflops_onednn);
        fractions[i] = b->last.gflops_onednn > 0 ? b->last.gflops_kernel / b->last.gflops_onednn : 0;
        if (!status) status = repetition_done(b, r->work, NULL);
    }
    r->fraction = median(fractions, repeat);
    free(fractions);
    return status;
}

static il_status work_row(bench *b, il_model *model, const char *mixer, bench_work work) {
    const bench_options *o = b->options;
    il_error *error = &b->command->error;
    row *r = new_row(b, work_names[work], mixer);
    il_limits before = b->last;
    bench_job job = {0};
    double warm_up;
    il_status status = bench_open(&job, b->command->engine, model, work, o->context, o->repeat + 1, error);
    if (!status) status = bench_run(&job, &warm_up, error);
    for (uint64_t i = 0; i < o->repeat && !status; i++) {
        status = bench_run(&job, &r->samples[i], error);
        if (!status) status = repetition_done(b, r->work, mixer);
    }
    bench_close(&job);
    if (!status) status = probe(b);
    if (status) return status;
    double rate = median(r->samples, o->repeat);
    r->count = bench_count_of(il_model_config(model), il_model_parameters(model), work, o->context);
    if (work == BENCH_DECODE) { /* every weight comes from memory for a handful of operations */
        r->unit = "GB/s";
        r->limit = larger(before.read_gb_s, b->last.read_gb_s);
        r->fraction = rate * r->count.bytes * 1e-9 / r->limit;
    } else {
        r->limit = larger(product_limit(&before), product_limit(&b->last));
        r->fraction = rate * r->count.flops * 1e-9 / r->limit;
    }
    return IL_OK;
}

static int chosen(const char *option, const char *name) { return !strcmp(option, "all") || !strcmp(option, name); }

static il_status mixer_rows(bench *b, const char *mixer) {
    il_config config;
    il_model *model = NULL;
    il_error *error = &b->command->error;
    il_status status = il_config_preset(b->options->preset, mixer, NULL, &config, error);
    if (!status) status = il_model_init(b->command->engine, &config, 0, &model, error);
    for (int work = 0; work < BENCH_WORKS && !status; work++)
        if (chosen(b->options->work, work_names[work])) status = work_row(b, model, mixer, (bench_work)work);
    il_model_unref(model);
    return status;
}

static il_status measure(bench *b) {
    const bench_options *o = b->options;
    uint64_t mixers = 0, works = 0;
    for (int i = 0; i < MIXERS; i++) mixers += (uint64_t)chosen(o->mixer, mixer_names[i]);
    for (int i = 0; i < BENCH_WORKS; i++) works += (uint64_t)chosen(o->work, work_names[i]);
    uint64_t gemm = (uint64_t)chosen(o->work, "gemm");
    cli_interrupt_catch();
    cli_progress_begin(&b->progress, b->command->verb, "repetition", 0, o->repeat * (gemm + mixers * works));
    il_status status = gemm ? gemm_row(b) : probe(b);
    for (int i = 0; i < MIXERS && works && !status; i++)
        if (chosen(o->mixer, mixer_names[i])) status = mixer_rows(b, mixer_names[i]);
    cli_progress_end(&b->progress);
    return status;
}

/* ---- output ---- */

/* As the system names it, released by free. */
static char *cpu_name(void) {
    char line[512], *name = NULL;
    FILE *stream = fopen("/proc/cpuinfo", "r");
    while (stream && !name && fgets(line, sizeof line, stream)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon) continue;
        colon[1 + strcspn(colon + 1, "\n")] = 0;
        name = cli_text("%s", colon + 1 + strspn(colon + 1, " "));
    }
    if (stream) fclose(stream);
    return name ? name : cli_text("unknown");
}

static json_t *positive(double value) { return value > 0 ? json_real(value) : json_null(); }

static json_t *row_json(const bench *b, const row *r) {
    uint64_t n = b->options->repeat;
    double rate = median(r->samples, n);
    json_t *samples = json_array();
    for (uint64_t i = 0; i < n; i++) json_array_append_new(samples, json_real(r->samples[i]));
    return json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:n}", "work", r->work, "mixer",
                     cli_json_string(r->mixer), "dtype", "f32", "context",
                     r->mixer ? json_integer((json_int_t)b->options->context) : json_null(), "tokens_per_s",
                     json_real(rate), "samples", samples, "flops_per_token", json_real(r->count.flops),
                     "bytes_per_token", positive(r->count.bytes), "limit_unit", r->unit, "limit", positive(r->limit),
                     "fraction_of_limit", positive(r->fraction), "joules_per_token");
}

static void print_json(const bench *b, const char *cpu) {
    il_engine *engine = b->command->engine;
    json_t *rows = json_array();
    for (size_t i = 0; i < b->n; i++) json_array_append_new(rows, row_json(b, &b->rows[i]));
    cli_json_print(json_pack("{s:o, s:s, s:i, s:s, s:{s:f, s:o, s:f}, s:o}", "cpu", cli_json_string(cpu), "kernels",
                             il_engine_kernels(engine), "threads", il_engine_threads(engine), "preset",
                             b->options->preset, "limits", "gflops_kernel", b->best.gflops_kernel, "gflops_onednn",
                             positive(b->best.gflops_onednn), "read_gb_s", b->best.read_gb_s, "rows", rows));
}

static void print_table(const bench *b, const char *cpu) {
    il_engine *engine = b->command->engine;
    uint64_t n = b->options->repeat;
    printf("%s, %s, %d threads; preset %s, context %llu\n", cpu, il_engine_kernels(engine), il_engine_threads(engine),
           b->options->preset, (unsigned long long)b->options->context);
    printf("limits: our product %.1f GFLOP/s, ", b->best.gflops_kernel);
    if (b->best.gflops_onednn > 0) printf("oneDNN %.1f GFLOP/s, ", b->best.gflops_onednn);
    printf("memory read %.1f GB/s\n\n", b->best.read_gb_s);
    printf("%-8s %-15s %10s %10s .. %-10s %12s %9s  %s\n", "work", "mixer", "tokens/s", "least", "most", "MFLOP/token",
           "MB/token", "of limit");
    for (size_t i = 0; i < b->n; i++) {
        const row *r = &b->rows[i];
        char bytes[32] = "-", limit[64] = "-";
        double rate = median(r->samples, n);
        if (r->count.bytes > 0) snprintf(bytes, sizeof bytes, "%.1f", r->count.bytes * 1e-6);
        if (r->fraction > 0) snprintf(limit, sizeof limit, "%.3f of %.1f %s", r->fraction, r->limit, r->unit);
        printf("%-8s %-15s %10.1f %10.1f .. %-10.1f %12.1f %9s  %s\n", r->work, r->mixer ? r->mixer : "-", rate,
               r->samples[0], r->samples[n - 1], r->count.flops * 1e-6, bytes, limit);
    }
}

int verb_bench(int argc, char **argv) {
    bench_options options = {.preset = "125m", .mixer = "all", .work = "all", .context = 2048, .repeat = 5};
    arg_option table[] = {
        ARG("--preset", ARG_CHOICE, &options.preset, "{tiny,small,125m,350m,760m,1b}",
            "size, random weights (default 125m)"),
        ARG("--mixer", ARG_CHOICE, &options.mixer, "{ttt_linear,ttt_mlp,self_attention,all}",
            "sequence layer (default all)"),
        ARG("--work", ARG_CHOICE, &options.work, "{gemm,prefill,decode,train,all}", "what to time (default all)"),
        ARG("--context", ARG_COUNT, &options.context, "N",
            "tokens of prefill and of a training step, and before decode (default 2048)", RANGE(1, 1 << 20)),
        ARG("--repeat", ARG_COUNT, &options.repeat, "N", "repetitions of each; the median counts (default 5)",
            RANGE(1, 1000)),
    };
    arg_spec spec = {.verb = "bench",
                     .summary = "measure speed beside this machine's limits",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop bench --json > bench.json\n"
                                "innerloop bench --preset small --mixer ttt_mlp --work decode --context 512"};
    cli_command command;
    bench b = {.command = &command, .options = &options};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = command_open(&command, &spec);
    if (!status) status = measure(&b);
    if (!status) {
        char *cpu = cpu_name();
        if (spec.json)
            print_json(&b, cpu);
        else
            print_table(&b, cpu);
        free(cpu);
    }
    for (size_t i = 0; i < b.n; i++) free(b.rows[i].samples);
    return command_close(&command, status);
}
