/* bench.c: `innerloop bench`: speed beside this machine's limits, probed in the same run before and after
 * each row. A row's limit is the larger of its two probes, of our own product and oneDNN's the faster:
 * fractions are never flattered. */
#include "bench.h"
#include "command.h"
#include "energy.h"
#include "interrupt.h"
#include "machine.h"
#include "output.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIXERS = 4,
    MIXERS_USUAL = 3, /* "all": one that costs what another does is left out */
    CONTEXT_DEFAULT = 2048,
    LONG = 16384, /* tokens; a longer text is read once, not once a repetition, and not trained on */
    WALK_STEP = 2048
};
static const char *const mixer_names[MIXERS] = {"ttt_linear", "ttt_mlp", "self_attention", "ttt_linear_decay"};

typedef struct bench_options {
    const char *preset, *mixer, *work, *dtype, *powercap, *csv, *html;
    arg_counts contexts; /* ascending */
    uint64_t repeat, sessions;
    double minutes_max;
    int all_logits;
} bench_options;

typedef struct bench {
    cli_command *command;
    const bench_options *options;
    il_limits last; /* the last probe */
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

static double median(double *samples, uint64_t n) {
    qsort(samples, n, sizeof *samples, ascending);
    return n % 2 ? samples[n / 2] : (samples[n / 2 - 1] + samples[n / 2]) / 2;
}

static il_status probe(bench *b) {
    il_limits *best = &b->report.limits, *last = &b->last;
    il_status status = il_engine_limits(b->command->engine, last, &b->command->error);
    best->gflops_kernel = larger(best->gflops_kernel, last->gflops_kernel);
    best->gflops_onednn = larger(best->gflops_onednn, last->gflops_onednn);
    best->read_gb_s = larger(best->read_gb_s, last->read_gb_s);
    best->l2_read_gb_s = larger(best->l2_read_gb_s, last->l2_read_gb_s);
    best->gops_int8_onednn = larger(best->gops_int8_onednn, last->gops_int8_onednn);
    return status;
}

static bench_row *new_row(bench *b, const char *work, const char *mixer) {
    bench_row *row = &b->report.rows[b->report.n++];
    *row = (bench_row){
        .work = work, .mixer = mixer, .dtype = b->options->dtype, .unit = "GFLOP/s", .joules = NAN, .sessions = 1};
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

/* Our exact product against oneDNN's, its rows being the tokens. */
static il_status gemm_row(bench *b) {
    bench_row *row = new_row(b, "gemm", NULL);
    row->dtype = "f32";
    uint64_t repeat = b->options->repeat;
    double *fractions = cli_alloc(repeat, sizeof *fractions);
    il_status status = IL_OK;
    row->count.flops = 2.0 * BENCH_SIDE * BENCH_SIDE;
    for (; row->n < repeat && !status; row->n++) {
        status = probe(b);
        row->samples[row->n] = b->last.gflops_kernel * 1e9 / row->count.flops;
        row->limit = larger(row->limit, b->last.gflops_onednn);
        fractions[row->n] = b->last.gflops_onednn > 0 ? b->last.gflops_kernel / b->last.gflops_onednn : 0;
        if (!status) status = progress(b, 1, row->work, NULL);
    }
    row->rate = median(row->samples, row->n);
    row->fraction = median(fractions, row->n);
    free(fractions);
    return status;
}

/* What binds a work: the arithmetic, or for a token at a time the memory that must be read for it; for a batch the one
 * that takes longer. */
static void set_fraction(bench_row *row, bench_work work, const il_limits *before, const il_limits *after) {
    int integers = !strncmp(row->dtype, "int", 3); /* weights that are multiplied as integers */
    double products = larger(product_limit(before), product_limit(after)),
           whole = larger(before->gops_int8_onednn, after->gops_int8_onednn),
           reads = larger(before->read_gb_s, after->read_gb_s);
    if (integers) products = larger(products, whole);
    if (work == BENCH_DECODE || (work == BENCH_BATCH && row->count.bytes / reads > row->count.flops / products)) {
        row->unit = "GB/s";
        row->limit = reads;
        row->fraction = row->rate * row->count.bytes * 1e-9 / reads;
    } else {
        row->unit = integers ? "Gop/s" : "GFLOP/s";
        row->limit = products;
        row->fraction = row->rate * row->count.flops * 1e-9 / products;
    }
}

/* A long text is prefilled by walking through it, which computes no logits on the way. */
static int is_walked(const bench *b, bench_work work, uint64_t context) {
    return work == BENCH_PREFILL && context > LONG && !b->options->all_logits;
}

static int reads_on(const bench *b, bench_work work, uint64_t context) {
    return work == BENCH_EXTEND || work == BENCH_DECODE || work == BENCH_BATCH || is_walked(b, work, context);
}

/* Whether the row can be timed; else its reason says why not. */
static int is_possible(bench *b, const bench_job *job, bench_row *row, bench_work work) {
    const bench_options *o = b->options;
    uint64_t total, available;
    double flops = 0, cache = bench_cache_bytes(job, work, row->context);
    if (reads_on(b, work, row->context)) flops = bench_walk_flops(job, row->context);
    if (!is_walked(b, work, row->context))
        flops += (double)((o->repeat + 1) * bench_tokens(job, work, row->context)) * row->count.flops;
    double minutes = flops / (product_limit(&b->report.limits) * 1e9) / 60;
    machine_memory(MACHINE_MEMINFO, &total, &available);
    if (work == BENCH_TRAIN && strcmp(o->dtype, "f32") != 0)
        snprintf(row->reason, sizeof row->reason, "only fp32 weights are trained");
    else if (work == BENCH_TRAIN && row->context > LONG)
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

static il_status repetitions(bench *b, bench_job *job, bench_row *row, bench_work work) {
    const bench_options *o = b->options;
    il_error *error = &b->command->error;
    double tokens = (double)bench_tokens(job, work, row->context), joules = 0, seconds;
    il_status status = bench_begin(job, work, row->context, o->repeat + 1, error);
    if (!status) status = bench_run(job, work, row->context, &seconds, error); /* warms up */
    while (row->n < o->repeat && !status) {
        energy_take(&b->meter);
        status = bench_run(job, work, row->context, &seconds, error);
        joules += energy_take(&b->meter);
        row->samples[row->n++] = tokens / seconds;
        if (!status) status = progress(b, 1, row->work, row->mixer);
    }
    bench_end(job);
    row->state_bytes = job->state_bytes;
    row->joules = joules / (tokens * (double)o->repeat);
    return status;
}

static il_status work_row(bench *b, bench_job *job, const char *mixer, bench_work work, uint64_t context) {
    bench_row *row = new_row(b, bench_work_names[work], mixer);
    il_limits before = b->last;
    row->context = context;
    row->count = bench_count_of(job, work, context);
    if (work == BENCH_BATCH) row->sessions = job->sessions;
    if (!is_possible(b, job, row, work)) return progress(b, b->options->repeat, row->work, mixer);
    il_status status = reads_on(b, work, context) ? walk(b, job, row) : IL_OK;
    if (!status && is_walked(b, work, context)) {
        row->samples[row->n++] = (double)context / job->walked_seconds;
        status = progress(b, b->options->repeat, row->work, mixer);
    } else if (!status) {
        status = repetitions(b, job, row, work);
    }
    if (status == IL_ERR_NOMEM) { /* the other rows may fit */
        snprintf(row->reason, sizeof row->reason, "%.150s", b->command->error.message);
        row->n = 0;
        return IL_OK;
    }
    if (!status) status = probe(b);
    if (status) return status;
    row->rate = median(row->samples, row->n);
    set_fraction(row, work, &before, &b->last);
    return IL_OK;
}

static int chosen(const char *option, const char *name) { return !strcmp(option, "all") || !strcmp(option, name); }

static int chosen_mixer(const char *option, int i) {
    return !strcmp(option, mixer_names[i]) || (!strcmp(option, "all") && i < MIXERS_USUAL);
}

/* A model with random weights, held as --dtype says. */
static il_status make_model(bench *b, const char *mixer, il_model **model) {
    const bench_options *o = b->options;
    il_error *error = &b->command->error;
    il_config config;
    il_model *fresh = NULL;
    il_weight_type type = IL_WEIGHTS_F32;
    while (strcmp(o->dtype, il_weight_type_name(type)) != 0) type++; /* the option's choices are these names */
    il_status status = il_config_preset(o->preset, mixer, NULL, &config, error);
    if (!status) status = il_model_init(b->command->engine, &config, 0, &fresh, error);
    if (!status && type == IL_WEIGHTS_F32)
        *model = il_model_ref(fresh);
    else if (!status)
        status = il_model_convert(fresh, type, model, error);
    il_model_unref(fresh);
    return status;
}

/* By context, training last: it changes the weights. */
static il_status mixer_rows(bench *b, const char *mixer) {
    const bench_options *o = b->options;
    il_model *model = NULL;
    bench_job job = {0};
    il_status status = make_model(b, mixer, &model);
    if (status) return status;
    bench_open(&job, b->command->engine, model, o->contexts.items[o->contexts.n - 1], o->sessions, o->all_logits);
    for (size_t i = 0; i < o->contexts.n; i++)
        for (int work = 0; work < BENCH_TRAIN && !status; work++)
            if (chosen(o->work, bench_work_names[work]))
                status = work_row(b, &job, mixer, (bench_work)work, o->contexts.items[i]);
    for (size_t i = 0; i < o->contexts.n && !status && chosen(o->work, bench_work_names[BENCH_TRAIN]); i++)
        status = work_row(b, &job, mixer, BENCH_TRAIN, o->contexts.items[i]);
    bench_close(&job);
    il_model_unref(model);
    return status;
}

static il_status measure(bench *b) {
    const bench_options *o = b->options;
    uint64_t mixers = 0, works = 0;
    for (int i = 0; i < MIXERS; i++) mixers += (uint64_t)chosen_mixer(o->mixer, i);
    for (int i = 0; i < BENCH_WORKS; i++) works += (uint64_t)chosen(o->work, bench_work_names[i]);
    uint64_t gemm = (uint64_t)chosen(o->work, "gemm"), rows = gemm + mixers * works * o->contexts.n;
    b->report.rows = cli_alloc(rows, sizeof *b->report.rows);
    energy_open(&b->meter, o->powercap);
    cli_interrupt_catch();
    cli_progress_begin(&b->progress, b->command->verb, "repetition", 0, o->repeat * rows);
    il_status status = gemm ? gemm_row(b) : probe(b);
    for (int i = 0; i < MIXERS && works && !status; i++)
        if (chosen_mixer(o->mixer, i)) status = mixer_rows(b, mixer_names[i]);
    cli_progress_end(&b->progress);
    b->report.no_energy = b->meter.reason;
    return status;
}

static il_status write_file(const bench *b, const char *path, void (*content)(FILE *, const bench_report *)) {
    cli_file file;
    il_status status = cli_file_open(&file, path, &b->command->error);
    if (status) return status;
    content(file.stream, &b->report);
    return cli_file_finish(&file, &b->command->error);
}

/* Files first: a table that is followed by a complaint would look whole. */
static il_status report(bench *b) {
    const bench_options *o = b->options;
    bench_report *r = &b->report;
    il_status status = IL_OK;
    machine_cpu_name(MACHINE_CPUINFO, MACHINE_MODEL, r->cpu, sizeof r->cpu);
    r->kernels = il_engine_kernels(b->command->engine);
    r->threads = il_engine_threads(b->command->engine);
    r->preset = o->preset;
    r->all_logits = o->all_logits;
    r->powercap = o->powercap;
    if (o->csv) status = write_file(b, o->csv, bench_write_csv);
    if (!status && o->html) status = write_file(b, o->html, bench_write_html);
    if (status) return status;
    if (b->command->spec->json)
        cli_json_print(bench_json(r));
    else
        bench_print_table(r);
    return IL_OK;
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
    bench_options options = {.dtype = "f32",
                             .preset = "125m",
                             .mixer = "all",
                             .work = "all",
                             .powercap = ENERGY_POWERCAP,
                             .repeat = 5,
                             .sessions = 16,
                             .minutes_max = 30};
    arg_option table[] = {
        ARG("--preset", ARG_CHOICE, &options.preset, "{tiny,small,125m,350m,760m,1b}",
            "size, random weights (default 125m)"),
        ARG("--mixer", ARG_CHOICE, &options.mixer, "{ttt_linear,ttt_linear_decay,ttt_mlp,self_attention,all}",
            "sequence layer (default all)"),
        ARG("--work", ARG_CHOICE, &options.work, "{gemm,prefill,extend,decode,batch,train,all}",
            "what to time (default all)"),
        ARG("--dtype", ARG_CHOICE, &options.dtype, "{f32,bf16,int8,int4}",
            "how the weights of linear layers are held (default f32)"),
        ARG("--context", ARG_COUNTS, &options.contexts, "N,…",
            "tokens of prefill and of a training step, and before the rest (default 2048)", RANGE(1, 1 << 20)),
        ARG("--sessions", ARG_COUNT, &options.sessions, "N", "that batch decodes side by side (default 16)",
            RANGE(1, 256)),
        ARG("--all-logits", ARG_FLAG, &options.all_logits, NULL,
            "prefill and extend compute the logits of every token, not of the last"),
        ARG("--repeat", ARG_COUNT, &options.repeat, "N", "repetitions of each; the median counts (default 5)",
            RANGE(1, 1000)),
        ARG("--minutes-max", ARG_REAL, &options.minutes_max, "X",
            "leave out rows that would take longer, reading up to them included (default 30)", RANGE(0, 1e6)),
        ARG("--powercap", ARG_TEXT, &options.powercap, "DIR",
            "folder of the energy counters (default " ENERGY_POWERCAP ")"),
        ARG("--csv", ARG_TEXT, &options.csv, "FILE", "write the rows as a table, a row a line"),
        ARG("--html", ARG_TEXT, &options.html, "FILE", "write a page with the cost curves over context"),
    };
    arg_spec spec = {.verb = "bench",
                     .summary = "measure speed beside this machine's limits",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop bench --json > bench.json\n"
                                "innerloop bench --preset small --context 256,1024,4096,16384 --html bench.html\n"
                                "innerloop bench --mixer ttt_mlp --work decode --context 512"};
    cli_command command;
    bench b = {.command = &command, .options = &options};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    sort_contexts(&options.contexts);
    il_status status = command_open(&command, &spec);
    if (!status && options.csv) status = cli_writable(options.csv, &command.error);
    if (!status && options.html) status = cli_writable(options.html, &command.error);
    if (!status) status = measure(&b);
    if (!status) status = report(&b);
    for (size_t i = 0; i < b.report.n; i++) free(b.report.rows[i].samples);
    free(b.report.rows);
    return command_close(&command, status);
}
