/* doctor.c: `innerloop doctor`: what this machine is, what the engine makes of it, and whether it computes the same
 * bits as every other machine. Small built-in models of all that a model can be made of must give the checksums written
 * down below on every instruction set that runs here; models of a mixer without such a checksum must give the same one
 * on all of them. Changes nothing. */
#include "bench/machine.h"
#include "command.h"
#include "files.h"
#include "mixers.h"
#include "output.h"
#include "verbs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {
    TOKENS = 100,     /* six mini-batches and an open one */
    FEED_TOKENS = 23, /* tokens that the second reading feeds at once: divides no other size here */
    SEQUENCES = 2,
    LENGTH = 33,
    SETS = 5,
    RUNS = 2
};
static const char *const sets[SETS] = {"portable", "avx2", "avx512", "avx512_vnni", "neon"};

enum { LOGITS, LOSSES, GRADIENT, SUMS };
static const char *const sum_names[SUMS] = {"logits", "losses", "gradient"};

/* Sizes: small, with and without a tail of every kernel; and those of the bundled model, but for its layers. */
typedef struct shape {
    int width, heads, ffn_width, vocabulary;
    int window;   /* of sliding attention */
    int kv_heads; /* of attention as pretrained models have it, with all that goes with it; 0: as it was */
} shape;
static const shape even = {128, 2, 168, 97, 0, 0}, odd = {96, 2, 168, 97, 0, 0}, bundled = {192, 3, 512, 4096, 0, 0},
                   slid = {128, 2, 168, 97, 37, 0}, grouped = {96, 6, 168, 97, 0, 2};

/* xxh3-64 of little-endian floats. After a change that is meant to change bits, `innerloop doctor --json` says the new
 * ones. */
typedef struct subject {
    const char *name, *mixer, *backbone;
    const shape *shape;
    il_weight_type weights;
    int fast_head;       /* its size */
    uint64_t sums[SUMS]; /* all 0: not written down; the gradient's: it has none */
} subject;
static const subject written[] = {
    {"ttt_linear mamba",
     "ttt_linear",
     "mamba",
     &even,
     IL_WEIGHTS_F32,
     0,
     {0x6c21c3dd09f255df, 0x35049b254edd4261, 0x7a162ddd888ffbc7}},
    {"ttt_linear transformer",
     "ttt_linear",
     "transformer",
     &odd,
     IL_WEIGHTS_F32,
     0,
     {0x9970af718c5c67d9, 0x214a932cf9f4c637, 0x239df723d19e4b6f}},
    {"ttt_mlp mamba",
     "ttt_mlp",
     "mamba",
     &even,
     IL_WEIGHTS_F32,
     0,
     {0x459e7db12647fc97, 0x8324c4ab37e398fe, 0x48b6b8726ccda12e}},
    {"ttt_mlp transformer",
     "ttt_mlp",
     "transformer",
     &odd,
     IL_WEIGHTS_F32,
     0,
     {0xcc5a4aff5cee0166, 0x15189bf06d144776, 0xdc408bdd69b1cbe5}},
    {"self_attention",
     "self_attention",
     "transformer",
     &even,
     IL_WEIGHTS_F32,
     0,
     {0x5e1f292b8bde89c8, 0x6a2defc595c5b411, 0x51c09ed7ffa92cd6}},
    {"ttt_linear_decay mamba",
     "ttt_linear_decay",
     "mamba",
     &even,
     IL_WEIGHTS_F32,
     0,
     {0x97d31323acc70998, 0xab5fed7b5e87b242, 0x797a347047ef9cec}},
    {"ttt_linear_decay mamba, fast head",
     "ttt_linear_decay",
     "mamba",
     &bundled,
     IL_WEIGHTS_F32,
     32,
     {0x53fec90a729a2f3b, 0xcda00d3b60642610, 0}},
    {"ttt_linear_decay mamba, fast head, bf16",
     "ttt_linear_decay",
     "mamba",
     &bundled,
     IL_WEIGHTS_BF16,
     32,
     {0x4cd31b4698fe28be, 0xbad0bc7fcc30e3f1, 0}},
    {"ttt_linear_decay mamba, fast head, int8",
     "ttt_linear_decay",
     "mamba",
     &bundled,
     IL_WEIGHTS_INT8,
     32,
     {0x883eb276f4b32e47, 0xa7b31c15a23adc7c, 0}},
    {"ttt_linear_decay mamba, fast head, int4",
     "ttt_linear_decay",
     "mamba",
     &bundled,
     IL_WEIGHTS_INT4,
     32,
     {0x5f92322ee3e726ee, 0x90db5bda3dc9918a, 0}},
    {"ttt_mlp mamba, bf16", "ttt_mlp", "mamba", &even, IL_WEIGHTS_BF16, 0, {0xb646404a7446d94d, 0xabd748077a122001, 0}},
    {"ttt_linear transformer, int4",
     "ttt_linear",
     "transformer",
     &odd,
     IL_WEIGHTS_INT4,
     0,
     {0x55a7c890cf905238, 0x62c08c758887f80f, 0}},
    {"self_attention, fast head, int8",
     "self_attention",
     "transformer",
     &odd,
     IL_WEIGHTS_INT8,
     20,
     {0x82a05b3ce0cb578c, 0xd61a5d104365db65, 0}},
    {"gated_delta",
     "gated_delta",
     "transformer",
     &even,
     IL_WEIGHTS_F32,
     0,
     {0x8254abd654014d48, 0x5a0814d0cd640091, 0xdbab34af1d898819}},
    {"sliding_attention",
     "sliding_attention",
     "transformer",
     &slid,
     IL_WEIGHTS_F32,
     0,
     {0x28d49f331a22dc6a, 0xd2668b65f772e7ac, 0x51c09ed7ffa92cd6}},
    {"self_attention, grouped heads",
     "self_attention",
     "transformer",
     &grouped,
     IL_WEIGHTS_F32,
     0,
     {0x9ab2d40223d7d24a, 0xec5c88035bab54a9, 0x9db72596d65edf5c}},
    {"self_attention, grouped heads, int4",
     "self_attention",
     "transformer",
     &grouped,
     IL_WEIGHTS_INT4,
     0,
     {0x16edfba1a9b70446, 0x447e6990549adcf5, 0}},
};
enum { WRITTEN = sizeof written / sizeof *written };

static int has_gradient(const subject *s) { return s->weights == IL_WEIGHTS_F32 && !s->fast_head; }
static int is_written(const subject *s) { return s->sums[LOGITS] != 0; }

typedef struct check {
    const subject *model;
    const char *kernels;
    int threads;
    uint64_t sums[SUMS];
    char wrong[160]; /* what differs; "": nothing */
} check;

typedef struct doctor {
    cli_command *command;
    json_t *against; /* another machine's report; NULL: none */
    const char *against_path;
    char cpu[256], features[256];
    const char *usable[SETS];
    int n_usable;
    subject *models; /* [n_models]: those above, and one of each mixer that is not among them */
    int n_models;
    check *checks; /* [n], room for all */
    size_t n, failed;
    il_limits limits;
    uint64_t memory_total, memory_available;
    double seconds;
} doctor;

/* ---- the self-test ---- */

static il_status open_engine(const char *kernels, int threads, il_engine **engine, il_error *error) {
    il_engine_options options;
    il_engine_options_default(&options);
    options.kernels = kernels;
    options.threads = threads;
    return il_engine_open(&options, engine, error);
}

static void list_models(doctor *d) {
    d->models = cli_alloc((size_t)(WRITTEN + il_mixer_count()), sizeof *d->models);
    for (; d->n_models < WRITTEN; d->n_models++) d->models[d->n_models] = written[d->n_models];
    for (int i = 0; cli_mixer(i); i++) {
        int known = 0;
        for (int k = 0; k < WRITTEN; k++) known |= !strcmp(written[k].mixer, cli_mixer(i));
        if (!known) d->models[d->n_models++] = (subject){.name = cli_mixer(i), .mixer = cli_mixer(i), .shape = &even};
    }
    d->checks = cli_alloc((size_t)d->n_models * SETS * RUNS, sizeof *d->checks);
}

static il_status open_model(il_engine *engine, const subject *of, il_model **model, il_error *error) {
    il_config config;
    il_status status = il_config_preset("tiny", of->mixer, of->backbone, &config, error);
    if (status) return status;
    config.layers = 1;
    config.width = of->shape->width;
    config.heads = of->shape->heads;
    config.ffn_width = of->shape->ffn_width;
    config.vocab_size = of->shape->vocabulary;
    config.bos_token = config.eos_token = -1;
    if (of->shape->window) config.sliding_window = of->shape->window;
    if (of->shape->kv_heads) {
        config.kv_heads = of->shape->kv_heads;
        config.head_width = 40;
        config.rotary_width = 24;
        config.qk_norm = config.attention_bias = config.attention_gate = config.norm_offset = 1;
        config.rope_scaling = IL_ROPE_LINEAR;
        config.rope_factor = 4;
    }
    config.weights = of->weights;
    config.fast_head_size = of->fast_head;
    return il_model_init(engine, &config, 1, model, error);
}

/* Reads TOKENS tokens in pieces of so many, then takes a gradient where there is one. */
static il_status compute(il_model *model, size_t at_once, uint64_t sums[SUMS], int gradients, il_error *error) {
    size_t vocabulary = (size_t)il_model_config(model)->vocab_size, parameters = (size_t)il_model_parameters(model);
    float *logits = cli_alloc(TOKENS * vocabulary, sizeof *logits), *nll = cli_alloc(TOKENS, sizeof *nll),
          *gradient = cli_alloc(parameters, sizeof *gradient);
    int32_t tokens[TOKENS];
    il_session *session = NULL;
    double loss;
    for (uint32_t i = 0, x = 1; i < TOKENS; i++) {
        x = x * 1664525 + 1013904223;
        tokens[i] = (int32_t)((x >> 16) % vocabulary);
    }
    il_status status = il_session_open(model, NULL, &session, error);
    for (size_t at = 0; at < TOKENS && !status; at += at_once) {
        il_feed feed = {.session = session,
                        .tokens = tokens + at,
                        .n = TOKENS - at < at_once ? TOKENS - at : at_once,
                        .nll = nll + at,
                        .logits = logits + at * vocabulary};
        status = il_feed_many(&feed, 1, error);
    }
    il_session_close(session);
    if (!status && gradients) status = il_model_gradient(model, tokens, SEQUENCES, LENGTH, &loss, gradient, error);
    sums[LOGITS] = XXH3_64bits(logits, TOKENS * vocabulary * sizeof *logits);
    sums[LOSSES] = XXH3_64bits(nll + 1, (TOKENS - 1) * sizeof *nll); /* nothing predicts the first token */
    if (gradients) sums[GRADIENT] = XXH3_64bits(gradient, parameters * sizeof *gradient);
    free(gradient);
    free(nll);
    free(logits);
    return status;
}

/* The checksum that the other machine's report has for this model; 0 when it has none. */
static uint64_t other_sum(const json_t *report, const char *model, int sum) {
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(report, "checks"), i, row) {
        const char *name = json_string_value(json_object_get(row, "model")),
                   *hex = json_string_value(json_object_get(row, sum_names[sum]));
        if (name && hex && !strcmp(name, model)) return strtoull(hex, NULL, 16);
    }
    return 0;
}

/* The checksums written down above, or those of the model's first check where there are none. */
static const uint64_t *expected(const doctor *d, const check *c) {
    const check *first = d->checks;
    if (is_written(c->model)) return c->model->sums;
    while (first->model != c->model) first++;
    return first->sums;
}

static void judge(const doctor *d, check *c) {
    const uint64_t *sums = expected(d, c);
    for (int sum = 0; sum < SUMS && !c->wrong[0]; sum++) {
        uint64_t other = d->against ? other_sum(d->against, c->model->name, sum) : 0;
        if (c->sums[sum] != sums[sum])
            snprintf(c->wrong, sizeof c->wrong, "%s %016" PRIx64 ", not %016" PRIx64, sum_names[sum], c->sums[sum],
                     sums[sum]);
        else if (other && other != c->sums[sum])
            snprintf(c->wrong, sizeof c->wrong, "%s %016" PRIx64 ", but %016" PRIx64 " in %.60s", sum_names[sum],
                     c->sums[sum], other, d->against_path);
    }
}

/* Every model in one piece by one thread, and in odd pieces by several. */
static il_status check_set(doctor *d, const char *kernels) {
    il_error *error = &d->command->error;
    int threads = il_engine_threads(d->command->engine), counts[RUNS] = {1, threads > 2 ? threads : 2};
    il_status status = IL_OK;
    for (int run = 0; run < RUNS && !status; run++) {
        il_engine *engine;
        status = open_engine(kernels, counts[run], &engine, error);
        for (int i = 0; i < d->n_models && !status; i++) {
            check *c = &d->checks[d->n++];
            il_model *model = NULL;
            *c = (check){.model = &d->models[i], .kernels = kernels, .threads = counts[run]};
            status = open_model(engine, c->model, &model, error);
            if (!status) status = compute(model, run ? FEED_TOKENS : TOKENS, c->sums, has_gradient(c->model), error);
            il_model_unref(model);
            if (!status) judge(d, c);
            d->failed += c->wrong[0] != 0;
        }
        il_engine_close(engine);
    }
    return status;
}

static il_status examine(doctor *d) {
    il_status status = IL_OK;
    double start = cli_seconds();
    machine_cpu_name(MACHINE_CPUINFO, MACHINE_MODEL, d->cpu, sizeof d->cpu);
    machine_features(MACHINE_CPUINFO, d->features, sizeof d->features);
    machine_memory(MACHINE_MEMINFO, &d->memory_total, &d->memory_available);
    for (int i = 0; i < SETS && !status; i++) {
        il_engine *engine;
        if (open_engine(sets[i], 1, &engine, NULL)) continue; /* not for this CPU */
        il_engine_close(engine);
        d->usable[d->n_usable++] = sets[i];
        status = check_set(d, sets[i]);
    }
    if (!status) status = il_engine_limits(d->command->engine, &d->limits, &d->command->error);
    d->seconds = cli_seconds() - start;
    return status;
}

/* ---- output ---- */

static json_t *words_json(const char *text) {
    json_t *words = json_array();
    for (size_t n; *text; text += n + (text[n] == ' ')) {
        n = strcspn(text, " ");
        json_array_append_new(words, cli_json_text(text, n));
    }
    return words;
}

static json_t *positive(double value) { return value > 0 ? json_real(value) : json_null(); }

static json_t *check_json(const check *c) {
    json_t *row = json_pack("{s:s, s:s, s:i, s:s, s:b, s:b}", "model", c->model->name, "kernels", c->kernels, "threads",
                            c->threads, "weights", il_weight_type_name(c->model->weights), "fast_head",
                            c->model->fast_head > 0, "written_down", is_written(c->model));
    for (int sum = 0; sum < SUMS; sum++) {
        char hex[17];
        snprintf(hex, sizeof hex, "%016" PRIx64, c->sums[sum]);
        json_object_set_new(row, sum_names[sum],
                            sum == GRADIENT && !has_gradient(c->model) ? json_null() : json_string(hex));
    }
    json_object_set_new(row, "passed", json_boolean(!c->wrong[0]));
    return row;
}

static void print_json(const doctor *d) {
    const il_engine *engine = d->command->engine;
    json_t *usable = json_array(), *checks = json_array(), *object = json_object();
    for (int i = 0; i < d->n_usable; i++) json_array_append_new(usable, json_string(d->usable[i]));
    for (size_t i = 0; i < d->n; i++) json_array_append_new(checks, check_json(&d->checks[i]));
    json_object_set_new(object, "version", json_string(il_version()));
    json_object_set_new(object, "cpu", cli_json_string(d->cpu));
    json_object_set_new(object, "features", words_json(d->features));
    json_object_set_new(object, "kernels", json_string(il_engine_kernels(engine)));
    json_object_set_new(object, "kernels_usable", usable);
    json_object_set_new(object, "il_cpu", cli_json_string(getenv("IL_CPU")));
    json_object_set_new(object, "threads", json_integer(il_engine_threads(engine)));
    json_object_set_new(object, "memory_bytes", positive((double)d->memory_total));
    json_object_set_new(object, "memory_available_bytes", positive((double)d->memory_available));
    json_object_set_new(object, "limits",
                        json_pack("{s:f, s:o, s:o, s:o, s:f, s:f}", "gflops_kernel", d->limits.gflops_kernel,
                                  "gflops_onednn", positive(d->limits.gflops_onednn), "gflops_bf16_onednn",
                                  positive(d->limits.gflops_bf16_onednn), "gops_int8_onednn",
                                  positive(d->limits.gops_int8_onednn), "read_gb_s", d->limits.read_gb_s,
                                  "l2_read_gb_s", d->limits.l2_read_gb_s));
    json_object_set_new(object, "checks", checks);
    json_object_set_new(object, "passed", json_boolean(!d->failed));
    json_object_set_new(object, "seconds", json_real(d->seconds));
    cli_json_print(object);
}

/* What was checked, so that nobody takes it for more. */
static void print_checked(const doctor *d) {
    for (int i = 0; i < d->n_models; i++)
        printf("           %s%s\n", d->models[i].name,
               is_written(&d->models[i]) ? ""
                                         : ": only the same here on all kernels, the program holds no checksum of it");
    printf(
        "           in logits, losses and (with f32 weights and no fast head) gradients,\n           by the kernels");
    for (int i = 0; i < d->n_usable; i++) printf("%s %s", i ? "," : "", d->usable[i]);
    printf(",\n           in one call with 1 thread and in calls of %d tokens with %d\n", FEED_TOKENS,
           d->checks[d->n - 1].threads);
}

static void print_text(const doctor *d) {
    const il_engine *engine = d->command->engine;
    const il_limits *l = &d->limits;
    const char *forced = getenv("IL_CPU");
    printf("innerloop  %s\ncpu        %s\nfeatures   %s\n", il_version(), d->cpu, d->features[0] ? d->features : "-");
    printf("kernels    %s, ", il_engine_kernels(engine));
    if (forced)
        printf("as IL_CPU says");
    else
        printf("the best of:");
    for (int i = 0; i < d->n_usable && !forced; i++) printf("%s %s", i ? "," : "", d->usable[i]);
    printf("\nthreads    %d\nmemory     %.1f GB, %.1f GB of them available\n", il_engine_threads(engine),
           (double)d->memory_total * 1e-9, (double)d->memory_available * 1e-9);
    printf("products   %.1f GFLOP/s", l->gflops_kernel);
    if (l->gflops_onednn > 0) printf(", oneDNN %.1f GFLOP/s, int8 %.1f Gop/s", l->gflops_onednn, l->gops_int8_onednn);
    if (l->gflops_bf16_onednn > 0) printf(", bf16 %.1f GFLOP/s", l->gflops_bf16_onednn);
    printf("\nreads      memory %.1f GB/s, second-level caches %.1f GB/s\n", l->read_gb_s, l->l2_read_gb_s);
    printf("self-test  %s: %zu of %zu checks (%.1f s). %s\n", d->failed ? "FAILED" : "passed", d->n - d->failed, d->n,
           d->seconds, d->failed ? "They were of" : "This machine gives the bits of every other machine in");
    print_checked(d);
    for (size_t i = 0; i < d->n; i++) {
        const check *c = &d->checks[i];
        if (c->wrong[0])
            printf("wrong      %s, %s, %s: %s\n", c->model->name, c->kernels, cli_count((uint64_t)c->threads, "thread"),
                   c->wrong);
    }
}

static il_status load_report(doctor *d, const char *path) {
    il_error *error = &d->command->error;
    json_error_t why;
    char *text;
    size_t bytes;
    if (!path) return IL_OK;
    il_status status = cli_path_read(path, &text, &bytes, error);
    if (status) return status;
    d->against_path = path;
    d->against = json_loadb(text, bytes, 0, &why);
    free(text);
    if (!d->against) return cli_fail(error, IL_ERR_FORMAT, "%s: %s", path, why.text);
    if (!json_is_array(json_object_get(d->against, "checks")))
        return cli_fail(error, IL_ERR_FORMAT, "%s: not a report of doctor --json: it has no checks", path);
    return IL_OK;
}

int verb_doctor(int argc, char **argv) {
    const char *against = NULL;
    arg_option table[] = {
        ARG("--against", ARG_TEXT, &against, "FILE", "also compare with what doctor --json printed on another machine",
            READS),
    };
    arg_spec spec = {.verb = "doctor",
                     .summary = "say what this machine is and whether it computes the same bits as every other",
                     .options = table,
                     .n_options = COUNT_OF(table),
                     .example = "innerloop doctor\n"
                                "innerloop doctor --json > here.json; innerloop doctor --against there.json"};
    cli_command command;
    doctor d = {.command = &command};
    int code;
    if (!arg_parse(&spec, argc, argv, &code)) return code;
    il_status status = cli_command_open(&command, &spec);
    if (!status) status = load_report(&d, against);
    list_models(&d);
    if (!status) status = examine(&d);
    if (!status && spec.json) print_json(&d);
    if (!status && !spec.json) print_text(&d);
    for (size_t i = 0; i < d.n && !status; i++)
        if (d.checks[i].wrong[0])
            status = cli_fail(&command.error, IL_ERR_MISMATCH, "%zu of %s failed, first %s on %s, %s: %s", d.failed,
                              cli_count(d.n, "check"), d.checks[i].model->name, d.checks[i].kernels,
                              cli_count((uint64_t)d.checks[i].threads, "thread"), d.checks[i].wrong);
    json_decref(d.against);
    free(d.checks);
    free(d.models);
    return cli_command_close(&command, status);
}
