/* bench.c: `innerloop bench`: speed beside this machine's limits. The limits that may bind a row are probed before and
 * after each of its repetitions, of our own product and oneDNN's the faster; a sample is divided by the mean of the two
 * probes around it. The mean, not the larger: a sample lasts longer than a probe and runs at the mean of the speeds
 * that the machine has meanwhile, so the larger would compare a mean with a peak. What disturbs a moment is left out
 * already: a probe is the fastest of several runs. */
#include "bench/energy.h"
#include "bench/machine.h"
#include "bench/report.h"
#include "bench/workloads.h"
#include "command.h"
#include "files.h"
#include "interrupt.h"
#include "mixers.h"
#include "output.h"
#include "verbs.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PRODUCT_SIDE = 1024, /* of the product that il_engine_limits times */
    CONTEXT_DEFAULT = 2048,
    LONG = 16384, /* tokens; a longer text is read once, not once a repetition, and not trained on */
    WALK_STEP = 2048
};
#define SECONDS_PROBE 0.12 /* of a limit, around a repetition */
#define SECONDS_FIRST 0.25 /* of each limit, once, for the whole report */

typedef struct bench_options {
    const char *model, *preset, *mixer, *layers, *workload, *dtype, *powercap, *csv, *html;
    arg_counts contexts; /* ascending */
    uint64_t repeat, sessions;
    double minutes_max;
    int all_logits;
} bench_options;

typedef struct bench {
    cli_command *command;
    const bench_options *options;
    il_prober *prober; /* of the row */
    il_limits *probes; /* [repeat + 1] around the repetitions of the row */
    energy meter;
    bench_report report;
    cli_progress progress;
    uint64_t done;
} bench;

static double larger(double a, double b) { return a > b ? a : b; }
static double product_limit(const il_limits *l) { return larger(l->gflops_kernel, l->gflops_onednn); }

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, uint64_t n) {
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static int by_rate(const void *a, const void *b) {
    return ascending(&((const bench_sample *)a)->rate, &((const bench_sample *)b)->rate);
}

/* From what was sampled, at least once, to the numbers that are shown. */
static void summarize(bench_row *row) {
    double *values = cli_alloc(row->n, sizeof *values);
    qsort(row->samples, row->n, sizeof *row->samples, by_rate);
    for (uint64_t i = 0; i < row->n; i++) values[i] = row->samples[i].rate;
    row->median.rate = median(values, row->n);
    for (uint64_t i = 0; i < row->n; i++) values[i] = row->samples[i].limit;
    row->median.limit = median(values, row->n);
    for (uint64_t i = 0; i < row->n; i++) values[i] = row->samples[i].fraction;
    row->median.fraction = median(values, row->n);
    row->fraction_least = values[0];
    row->fraction_most = values[row->n - 1];
    free(values);
}

/* Into *now, and into the best seen. */
static il_status probe(bench *b, double seconds, il_limits *now) {
    il_limits *best = &b->report.limits;
    il_status status = il_prober_measure(b->prober, seconds, now, &b->command->error);
    best->gflops_kernel = larger(best->gflops_kernel, now->gflops_kernel);
    best->gflops_onednn = larger(best->gflops_onednn, now->gflops_onednn);
    if (now->read_bytes >= best->read_bytes) { /* a smaller buffer lies in caches */
        best->read_gb_s = larger(best->read_gb_s, now->read_gb_s);
        best->read_bytes = now->read_bytes;
    }
    best->l2_read_gb_s = larger(best->l2_read_gb_s, now->l2_read_gb_s);
    best->gflops_bf16_onednn = larger(best->gflops_bf16_onednn, now->gflops_bf16_onednn);
    best->gops_int8_onednn = larger(best->gops_int8_onednn, now->gops_int8_onednn);
    return status;
}

/* read_bytes: that a pass of what is timed reads; 0: so many that memory itself is measured. */
static il_status open_prober(bench *b, unsigned which, double read_bytes) {
    return il_prober_open(b->command->engine, which, (size_t)read_bytes, &b->prober, &b->command->error);
}

static void close_prober(bench *b) {
    il_prober_close(b->prober);
    b->prober = NULL;
}

/* All limits, before the first row: for the report, and to tell how long rows will take. */
static il_status first_probe(bench *b) {
    il_limits now;
    il_status status = open_prober(b, IL_LIMIT_ALL, 0);
    if (!status) status = probe(b, SECONDS_FIRST, &now);
    close_prober(b);
    return status;
}

static bench_row *new_row(bench *b, const char *workload, const char *mixer) {
    bench_row *row = &b->report.rows[b->report.n++];
    *row = (bench_row){.workload = workload,
                       .mixer = mixer,
                       .dtype = b->options->dtype,
                       .unit = "GFLOP/s",
                       .joules = NAN,
                       .sessions = 1};
    row->samples = cli_alloc(b->options->repeat, sizeof *row->samples);
    return row;
}

/* Shows progress; IL_ERR_CANCELLED when a signal asks to stop. */
static il_status progress(bench *b, uint64_t repetitions, const char *what, const char *mixer) {
    char detail[80];
    snprintf(detail, sizeof detail, "%s%s%s", what, mixer ? " " : "", mixer ? mixer : "");
    b->done += repetitions;
    cli_progress_show(&b->progress, b->done, detail);
    return cli_interrupted() ? IL_ERR_CANCELLED : IL_OK;
}

static void print_last(const bench_report *r) { bench_print_row(r, &r->rows[r->n - 1]); }

/* Prints a piece of the table at once: what was measured stays, however the command ends. */
static il_status show(const bench *b, void (*piece)(const bench_report *)) {
    if (b->command->spec->json) return IL_OK;
    cli_progress_hide();
    piece(&b->report);
    if (fflush(stdout) || ferror(stdout))
        return cli_fail(&b->command->error, IL_ERR_IO, "standard output: %s", strerror(errno));
    return IL_OK;
}

/* Our exact product against oneDNN's, its rows being the tokens. */
static il_status gemm_row(bench *b) {
    bench_row *row = new_row(b, "gemm", NULL);
    row->dtype = "f32";
    row->count.flops = 2.0 * PRODUCT_SIDE * PRODUCT_SIDE;
    il_status status = open_prober(b, IL_LIMIT_KERNEL | IL_LIMIT_ONEDNN, 0);
    while (row->n < b->options->repeat && !status) {
        il_limits now;
        status = probe(b, SECONDS_FIRST, &now);
        row->samples[row->n++] = (bench_sample){
            .rate = now.gflops_kernel * 1e9 / row->count.flops,
            .limit = now.gflops_onednn,
            .fraction = now.gflops_onednn > 0 ? now.gflops_kernel / now.gflops_onednn : 0,
        };
        if (!status) status = progress(b, 1, row->workload, NULL);
    }
    close_prober(b);
    if (!status) summarize(row);
    return status;
}

static int has_integers(const bench_row *row) { return !strncmp(row->dtype, "int", 3); }

/* What may bind a workload: the arithmetic, or for a token at a time the memory that must be read for it; for a batch
 * either. */
static unsigned limits_of(const bench_row *row, bench_workload workload) {
    unsigned products = IL_LIMIT_KERNEL | IL_LIMIT_ONEDNN | (has_integers(row) ? IL_LIMIT_INT8_ONEDNN : 0u);
    if (workload == BENCH_TRAIN && !strcmp(row->dtype, "bf16")) products |= IL_LIMIT_BF16_ONEDNN;
    if (workload == BENCH_DECODE) return IL_LIMIT_READ;
    return workload == BENCH_BATCH ? products | IL_LIMIT_READ : products;
}

/* What was not asked for is 0. */
static double product_of(const il_limits *l) {
    return larger(product_limit(l), larger(l->gops_int8_onednn, l->gflops_bf16_onednn));
}

/* The mean of the probes around each sample, or around all of them. A batch is bound by whichever limit takes longer.
 * */
static void set_limits(bench_row *row, bench_workload workload, const il_limits *probes) {
    double products = 0, reads = 0;
    for (uint64_t i = 0; i <= row->n; i++) {
        products = larger(products, product_of(&probes[i]));
        reads = larger(reads, probes[i].read_gb_s);
    }
    int waits =
        workload == BENCH_DECODE || (workload == BENCH_BATCH && row->count.bytes / reads > row->count.flops / products);
    row->limit_bytes = waits ? probes[0].read_bytes : 0;
    row->unit = waits ? "GB/s" : has_integers(row) ? "Gop/s" : "GFLOP/s";
    for (uint64_t i = 0; i < row->n; i++) {
        const il_limits *before = &probes[i], *after = &probes[i + 1];
        bench_sample *sample = &row->samples[i];
        sample->limit =
            waits ? (before->read_gb_s + after->read_gb_s) / 2 : (product_of(before) + product_of(after)) / 2;
        sample->fraction = sample->rate * (waits ? row->count.bytes : row->count.flops) * 1e-9 / sample->limit;
    }
}

/* A long text is prefilled by walking through it, which computes no logits on the way. */
static int is_walked(const bench *b, bench_workload workload, uint64_t context) {
    return workload == BENCH_PREFILL && context > LONG && !b->options->all_logits;
}

static int reads_on(const bench *b, bench_workload workload, uint64_t context) {
    return workload == BENCH_EXTEND || workload == BENCH_DECODE || workload == BENCH_BATCH ||
           is_walked(b, workload, context);
}

/* Whether the row can be timed; else its reason says why not. */
static int is_possible(bench *b, const bench_job *job, bench_row *row, bench_workload workload) {
    const bench_options *o = b->options;
    uint64_t total, available;
    double flops = 0, cache = bench_cache_bytes(job, workload, row->context);
    if (reads_on(b, workload, row->context)) flops = bench_walk_flops(job, row->context);
    if (!is_walked(b, workload, row->context))
        flops += (double)((o->repeat + 1) * bench_tokens(job, workload, row->context)) * row->count.flops;
    double minutes = flops / (product_limit(&b->report.limits) * 1e9) / 60;
    machine_memory(MACHINE_MEMINFO, &total, &available);
    il_error why;
    if (workload == BENCH_TRAIN && il_trainer_dtype_check(job->dtype, &why))
        snprintf(row->reason, sizeof row->reason, "%.150s", why.message);
    else if (workload == BENCH_TRAIN && row->context > LONG)
        snprintf(row->reason, sizeof row->reason, "sequences are trained up to %d tokens", LONG);
    else if (cache > (double)available && available)
        snprintf(row->reason, sizeof row->reason, "keys and values take %.1f GB, %.1f GB are free", cache * 1e-9,
                 (double)available * 1e-9);
    else if (minutes > o->minutes_max)
        snprintf(row->reason, sizeof row->reason, "would take more than %.3g minutes (--minutes-max %g)", minutes,
                 o->minutes_max);
    return !row->reason[0];
}

static il_status walk(bench *b, bench_job *job, const bench_row *row) {
    il_status status = IL_OK;
    for (uint64_t at = bench_walked(job); at < row->context && !status;) {
        at = row->context - at < WALK_STEP ? row->context : at + WALK_STEP;
        status = bench_walk(job, at, &b->command->error);
        if (!status) status = progress(b, 0, "reading on", row->mixer);
    }
    return status ? status : bench_walk(job, row->context, &b->command->error);
}

static il_status repetitions(bench *b, bench_job *job, bench_row *row, bench_workload workload) {
    const bench_options *o = b->options;
    il_error *error = &b->command->error;
    double tokens = (double)bench_tokens(job, workload, row->context), joules = 0, seconds;
    il_status status = bench_begin(job, workload, row->context, o->repeat + 1, error);
    if (!status) status = bench_run(job, workload, row->context, &seconds, error); /* warms up */
    if (!status) status = probe(b, SECONDS_PROBE, &b->probes[0]);
    while (row->n < o->repeat && !status) {
        energy_take(&b->meter);
        status = bench_run(job, workload, row->context, &seconds, error);
        joules += energy_take(&b->meter);
        row->samples[row->n++].rate = tokens / seconds;
        if (!status) status = probe(b, SECONDS_PROBE, &b->probes[row->n]);
        if (!status) status = progress(b, 1, row->workload, row->mixer);
    }
    bench_end(job);
    row->state_bytes = job->state_bytes;
    row->joules = joules / (tokens * (double)o->repeat);
    return status;
}

/* The one sample of a text that is read once. */
static il_status walked(bench *b, bench_job *job, bench_row *row) {
    il_status status = probe(b, SECONDS_PROBE, &b->probes[0]);
    if (!status) status = walk(b, job, row);
    if (status) return status;
    row->samples[row->n++].rate = (double)row->context / job->walked_seconds;
    status = probe(b, SECONDS_PROBE, &b->probes[1]);
    return status ? status : progress(b, b->options->repeat, row->workload, row->mixer);
}

static il_status workload_row(bench *b, bench_job *job, const char *mixer, bench_workload workload, uint64_t context) {
    bench_row *row = new_row(b, bench_workload_names[workload], mixer);
    row->context = context;
    row->count = bench_count_of(job, workload, context);
    if (workload == BENCH_BATCH) row->sessions = job->sessions;
    if (!is_possible(b, job, row, workload)) return progress(b, b->options->repeat, row->workload, mixer);
    il_status status = open_prober(b, limits_of(row, workload), row->count.bytes * (double)row->sessions);
    if (!status && is_walked(b, workload, context)) {
        status = walked(b, job, row);
    } else if (!status) {
        if (reads_on(b, workload, context)) status = walk(b, job, row);
        if (!status) status = repetitions(b, job, row, workload);
    }
    close_prober(b);
    if (status == IL_ERR_NOMEM) { /* the other rows may fit */
        snprintf(row->reason, sizeof row->reason, "%.150s", b->command->error.message);
        row->n = 0;
        return IL_OK;
    }
    if (status) return status;
    set_limits(row, workload, b->probes);
    summarize(row);
    return IL_OK;
}

static int chosen(const char *option, const char *name) { return !strcmp(option, "all") || !strcmp(option, name); }

/* The i-th mixer to time, or list of layers, or model; NULL when there are no more. */
static const char *timed(const bench_options *o, int i) {
    if (!o->model && !o->layers && !strcmp(o->mixer, "all")) return cli_mixer(i);
    return i ? NULL : o->model ? o->model : o->layers ? o->layers : o->mixer;
}

/* Of a mixer, or of --layers, whose preset is then as `init` has it, or of --model. */
static il_status make_config(const bench *b, const char *mixer, il_config *config) {
    const bench_options *o = b->options;
    il_error *error = &b->command->error;
    char of_layers[64];
    if (o->model) return il_config_load(b->command->engine, o->model, config, error);
    if (!o->layers) return il_config_preset(o->preset, mixer, NULL, config, error);
    cli_mixer_of_layers(o->layers, of_layers);
    il_status status = il_config_preset(o->preset, of_layers, NULL, config, error);
    if (!status) status = il_config_set(config, "layer_types", o->layers, error);
    return status ? status : il_config_check(config, error);
}

static il_weight_type dtype_of(const bench *b) {
    il_weight_type type = IL_WEIGHTS_F32;
    while (strcmp(b->options->dtype, il_weight_type_name(type)) != 0) type++; /* the option's choices are these names */
    return type;
}

/* A model with random weights, held in this type. */
static il_status make_model(bench *b, const char *mixer, il_weight_type type, il_model **model) {
    il_config config;
    il_status status = make_config(b, mixer, &config);
    config.weights = type;
    return status ? status : il_model_init(b->command->engine, &config, 0, model, &b->command->error);
}

/* Workloads from up to before `to` of a model held in this type. By context, training last: it changes the weights. */
static il_status workload_rows(bench *b, const char *mixer, il_weight_type held, int from, int to) {
    const bench_options *o = b->options;
    il_model *model = NULL;
    bench_job job = {0};
    il_status status = make_model(b, mixer, held, &model);
    if (status) return status;
    bench_open(&job, b->command->engine, model, o->contexts.items[o->contexts.n - 1], o->sessions, o->all_logits);
    job.dtype = dtype_of(b);
    for (int trains = 0; trains < 2; trains++)
        for (size_t i = 0; i < o->contexts.n; i++)
            for (int workload = from; workload < to && !status; workload++)
                if ((workload == BENCH_TRAIN) == trains && chosen(o->workload, bench_workload_names[workload])) {
                    status = workload_row(b, &job, mixer, (bench_workload)workload, o->contexts.items[i]);
                    if (!status) status = show(b, print_last);
                }
    bench_close(&job);
    il_model_unref(model);
    return status;
}

/* In training bf16 is a type of products: the weights are fp32. */
static il_status mixer_rows(bench *b, const char *mixer) {
    const char *workload = b->options->workload, *train = bench_workload_names[BENCH_TRAIN];
    il_weight_type dtype = dtype_of(b);
    if (dtype != IL_WEIGHTS_BF16) return workload_rows(b, mixer, dtype, 0, BENCH_WORKLOADS);
    il_status status = strcmp(workload, train) ? workload_rows(b, mixer, dtype, 0, BENCH_TRAIN) : IL_OK;
    return !status && chosen(workload, train) ? workload_rows(b, mixer, IL_WEIGHTS_F32, BENCH_TRAIN, BENCH_WORKLOADS)
                                              : status;
}

static void describe(bench *b) {
    bench_report *r = &b->report;
    machine_cpu_name(MACHINE_CPUINFO, MACHINE_MODEL, r->cpu, sizeof r->cpu);
    r->kernels = il_engine_kernels(b->command->engine);
    r->threads = il_engine_threads(b->command->engine);
    r->preset = b->options->preset;
    r->all_logits = b->options->all_logits;
    r->powercap = b->options->powercap;
    r->no_energy = b->meter.reason;
    r->mixer_width = sizeof "mixer" - 1;
}

static il_status measure(bench *b) {
    const bench_options *o = b->options;
    uint64_t mixers = 0, workloads = 0;
    describe(b);
    for (int i = 0; timed(o, i); i++) {
        int width = (int)strlen(timed(o, i));
        if (width > b->report.mixer_width) b->report.mixer_width = width;
        mixers++;
    }
    for (int i = 0; i < BENCH_WORKLOADS; i++) workloads += (uint64_t)chosen(o->workload, bench_workload_names[i]);
    uint64_t gemm = (uint64_t)chosen(o->workload, "gemm"), rows = gemm + mixers * workloads * o->contexts.n;
    b->report.rows = cli_alloc(rows, sizeof *b->report.rows);
    energy_open(&b->meter, o->powercap);
    cli_interrupt_catch();
    cli_progress_begin(&b->progress, b->command->verb, "repetition", 0, o->repeat * rows);
    b->probes = cli_alloc(o->repeat + 1, sizeof *b->probes);
    il_status status = first_probe(b);
    if (!status) status = show(b, bench_print_head);
    int counts_energy = b->meter.n;
    if (!status && gemm) status = gemm_row(b);
    if (!status && gemm) status = show(b, print_last);
    for (int i = 0; timed(o, i) && workloads && !status; i++) status = mixer_rows(b, timed(o, i));
    if (!status && counts_energy) status = show(b, bench_print_no_energy); /* a counter that failed meanwhile */
    cli_progress_end(&b->progress);
    free(b->probes);
    return status;
}

static il_status write_file(const bench *b, const char *path, void (*content)(FILE *, const bench_report *)) {
    il_error *error = &b->command->error;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream) return cli_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    content(stream, &b->report);
    int failed = ferror(stream);
    failed |= fclose(stream);
    il_status status = failed ? cli_fail(error, IL_ERR_NOMEM, "%s: out of memory", path) : IL_OK;
    if (!status) status = cli_path_write(path, text, bytes, error);
    free(text);
    return status;
}

/* What waits for the last row. */
static il_status report(bench *b) {
    const bench_options *o = b->options;
    const bench_report *r = &b->report;
    il_status status = IL_OK;
    if (o->csv) status = write_file(b, o->csv, bench_write_csv);
    if (!status && o->html) status = write_file(b, o->html, bench_write_html);
    if (!status && b->command->spec->json) cli_json_print(bench_json(r));
    return status;
}

/* What --model, --mixer and --layers leave to time. */
static il_status choose_mixers(bench *b, bench_options *o) {
    il_error *error = &b->command->error;
    il_config config;
    il_status status = IL_OK;
    if (o->layers && o->mixer)
        status = cli_fail(error, IL_ERR_ARG, "--mixer and --layers exclude each other");
    else if (o->model && (o->preset || o->layers || o->mixer))
        status = cli_fail(error, IL_ERR_ARG, "--model excludes --preset, --mixer and --layers: it says all of them");
    if (!o->preset && !o->model) o->preset = "125m";
    if (!status && o->layers) status = make_config(b, NULL, &config);
    if (status) b->command->wrong_usage = 1;
    if (!status && o->model) status = make_config(b, NULL, &config);
    if (!o->mixer) o->mixer = "all";
    return status;
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Ascending, each once. */
static void sort_contexts(arg_counts *contexts) {
    size_t n = 0;
    if (!contexts->n) {
        contexts->items = cli_alloc(1, sizeof *contexts->items);
        contexts->items[contexts->n++] = CONTEXT_DEFAULT;
    }
    qsort(contexts->items, contexts->n, sizeof *contexts->items, by_size);
    for (size_t i = 0; i < contexts->n; i++)
        if (!n || contexts->items[n - 1] != contexts->items[i]) contexts->items[n++] = contexts->items[i];
    contexts->n = n;
}

int verb_bench(int argc, char **argv) {
    bench_options options = {
        .dtype = "f32", .workload = "all", .powercap = ENERGY_POWERCAP, .repeat = 5, .sessions = 16, .minutes_max = 30};
    cli_mixer_choice mixers = cli_mixer_choices("all");
    arg_option table[] = {
        ARG("--preset", ARG_CHOICE, &options.preset, "{tiny,small,125m,350m,760m,1b}",
            "size of the model, which has random weights (default 125m)"),
        ARG("--model", ARG_TEXT, &options.model, "DIR",
            "shape of the model in this directory instead: its config.json alone is read, and the weights are random",
            READS),
        ARG("--mixer", ARG_CHOICE, &options.mixer, mixers.text, "what mixes tokens in each layer (default all)"),
        ARG("--layers", ARG_TEXT, &options.layers, "NAME,…",
            "mixer of each layer instead; 3*NAME stands for three; a list shorter than the model is repeated"),
        ARG("--work", ARG_CHOICE, &options.workload, "{gemm,prefill,extend,decode,batch,train,all}",
            "workload to time (default all)"),
        ARG("--dtype", ARG_CHOICE, &options.dtype, "{f32,bf16,int8,int4}",
            "type in which the weights of linear layers are held; bf16 in training: in which they are multiplied "
            "(default f32)"),
        ARG("--context", ARG_COUNTS, &options.contexts, "N,…",
            "tokens of a prefill or a training step, and tokens read before the other workloads (default 2048)",
            RANGE(1, 1 << 20)),
        ARG("--sessions", ARG_COUNT, &options.sessions, "N", "sessions that batch decodes side by side (default 16)",
            RANGE(1, 256)),
        ARG("--all-logits", ARG_FLAG, &options.all_logits, NULL,
            "prefill and extend compute the logits of every token, not only of the last"),
        ARG("--repeat", ARG_COUNT, &options.repeat, "N", "repetitions of each workload; the median counts (default 5)",
            RANGE(1, 1000)),
        ARG("--minutes-max", ARG_REAL, &options.minutes_max, "X",
            "leave out rows that would take longer, including the reading before them (default 30)", RANGE(0, 1e6)),
        ARG("--powercap", ARG_TEXT, &options.powercap, "DIR",
            "folder of the energy counters (default " ENERGY_POWERCAP ")", READS),
        ARG("--csv", ARG_TEXT, &options.csv, "FILE", "write the rows as comma-separated values", WRITES),
        ARG("--html", ARG_TEXT, &options.html, "FILE", "write a page with curves of cost by context", WRITES),
    };
    arg_spec spec = {.verb = "bench",
                     .summary = "measure speed beside this machine's limits",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop bench --json > bench.json\n"
                                "innerloop bench --preset small --context 256,1024,4096,16384 --html bench.html\n"
                                "innerloop bench --mixer ttt_mlp --work decode --context 512\n"
                                "innerloop bench --preset small --layers '3*ttt_linear,self_attention'"};
    cli_command command;
    bench b = {.command = &command, .options = &options};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    sort_contexts(&options.contexts);
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = choose_mixers(&b, &options);
    if (!status) status = measure(&b);
    if (!status) status = report(&b);
    for (size_t i = 0; i < b.report.n; i++) free(b.report.rows[i].samples);
    free(b.report.rows);
    return cli_command_close(&command, status);
}
