/* workloads.c: reading, decoding and training steps of a model on made-up tokens. */
#include "bench/workloads.h"
#include "output.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    EXTEND_TOKENS = 256,
    /* that a repetition of decode reads one by one: whole mini-batches of every preset, so that inner updates come as
     * often as in the long run */
    DECODE_TOKENS = 64,
    LOGITS_ROWS = 512, /* that are kept at a time when all are wanted */
    STEP_FLOATS = 10   /* of memory a parameter costs in a training step: forward and backward read it, the gradient is
                        * written, AdamW reads four and writes three */
};
const char *const bench_workload_names[BENCH_WORKLOADS] = {"prefill", "extend", "decode", "batch", "train"};

/* ---- counting ---- */

static double mean_flops(const il_config *config, uint64_t first, uint64_t n, int with_logits) {
    /* the count is linear in the position */
    return (il_config_flops_per_token(config, first, with_logits) +
            il_config_flops_per_token(config, first + n - 1, with_logits)) /
           2;
}

/* The mean over a token at first and all up to one at last: the count is linear in the position, too. */
static double state_bytes(const il_config *c, uint64_t first, uint64_t last) {
    return (il_config_state_bytes_per_token(c, first) + il_config_state_bytes_per_token(c, last)) / 2;
}

/* Of a weight held in this type: scales are one float for 64 weights. */
static double weight_bytes(il_weight_type type) {
    switch (type) {
    case IL_WEIGHTS_F32: break;
    case IL_WEIGHTS_BF16: return 2;
    case IL_WEIGHTS_INT8: return 1 + sizeof(float) / 64.0;
    case IL_WEIGHTS_INT4: return 0.5 + sizeof(float) / 64.0;
    }
    return sizeof(float);
}

static const char EMBEDDING[] = "model.embed_tokens.weight";

/* Bytes that all sessions share: the weights without the initial fast ones, of which every session has its own, and
 * without an embedding that is not the output head. */
static double shared_bytes(const il_model *model) {
    const il_config *c = il_model_config(model);
    double bytes = 0;
    for (size_t i = 0; i < il_model_tensor_count(model); i++) {
        il_tensor tensor;
        if (il_model_tensor_at(model, i, &tensor, NULL)) continue;
        if (!c->tie_word_embeddings && !strcmp(tensor.name, EMBEDDING)) continue;
        bytes += (double)tensor.count * weight_bytes(tensor.type);
    }
    return bytes - (double)sizeof(float) * (double)il_config_fast_weights(c);
}

/* Bytes of a token when a pass over the weights takes n tokens of each of so many sessions, and reads so many bytes of
 * each session's state; a token's own is a row of the embedding. */
static double pass_bytes(const bench_job *job, double n, double sessions, double state) {
    const il_config *c = il_model_config(job->model);
    il_tensor embedding = {0};
    (void)il_model_tensor(job->model, EMBEDDING, &embedding, NULL);
    return shared_bytes(job->model) / (n * sessions) + state / n + c->width * weight_bytes(embedding.type);
}

bench_count bench_count_of(const bench_job *job, bench_workload workload, uint64_t context) {
    const il_config *c = il_model_config(job->model);
    double logits_row = il_config_flops_per_token(c, 0, 1) - il_config_flops_per_token(c, 0, 0), n = (double)context;
    uint64_t extended = context + EXTEND_TOKENS;
    double decoded = state_bytes(c, context + 1, context + DECODE_TOKENS);
    double rows = job->all_logits ? 1 : 1 / n, more_rows = job->all_logits ? 1 : 1.0 / EXTEND_TOKENS;
    switch (workload) {
    case BENCH_PREFILL:
        return (bench_count){mean_flops(c, 0, context, 0) + logits_row * rows,
                             pass_bytes(job, n, 1, state_bytes(c, context, context))};
    case BENCH_EXTEND:
        return (bench_count){mean_flops(c, context, EXTEND_TOKENS, 0) + logits_row * more_rows,
                             pass_bytes(job, EXTEND_TOKENS, 1, state_bytes(c, extended, extended))};
    case BENCH_DECODE: return (bench_count){mean_flops(c, context, DECODE_TOKENS, 1), pass_bytes(job, 1, 1, decoded)};
    case BENCH_BATCH:
        return (bench_count){mean_flops(c, context, DECODE_TOKENS, 1),
                             pass_bytes(job, 1, (double)job->sessions, decoded)};
    case BENCH_TRAIN: /* recomputing is not counted */
        return (bench_count){3 * mean_flops(c, 0, context, 1),
                             STEP_FLOATS * sizeof(float) * (double)il_model_parameters(job->model) / n};
    case BENCH_WORKLOADS: break;
    }
    return (bench_count){0};
}

uint64_t bench_tokens(const bench_job *job, bench_workload workload, uint64_t context) {
    switch (workload) {
    case BENCH_EXTEND: return EXTEND_TOKENS;
    case BENCH_DECODE: return DECODE_TOKENS;
    case BENCH_BATCH: return DECODE_TOKENS * job->sessions;
    case BENCH_PREFILL:
    case BENCH_TRAIN:
    case BENCH_WORKLOADS: break;
    }
    return context;
}

double bench_walk_flops(const bench_job *job, uint64_t context) {
    uint64_t from = bench_walked(job);
    return context > from ? (double)(context - from) * mean_flops(il_model_config(job->model), from, context - from, 0)
                          : 0;
}

double bench_cache_bytes(const bench_job *job, bench_workload workload, uint64_t context) {
    uint64_t more = workload == BENCH_EXTEND ? EXTEND_TOKENS : DECODE_TOKENS,
             copies = workload == BENCH_PREFILL || workload == BENCH_TRAIN ? 0
                      : workload == BENCH_BATCH                            ? job->sessions
                                                                           : 1;
    const il_config *c = il_model_config(job->model);
    return il_config_state_bytes_per_token(c, context + copies * (context + more)) -
           il_config_state_bytes_per_token(c, 0); /* what does not grow */
}

/* ---- running ---- */

static void make_tokens(int32_t *tokens, uint64_t n, int vocabulary) {
    uint64_t x = 1;
    for (uint64_t i = 0; i < n; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        tokens[i] = (int32_t)((x >> 33) % (uint64_t)vocabulary);
    }
}

/* Data of one sequence. Its token shard lives only as long as it takes to read it. */
static il_status open_data(bench_job *job, uint64_t context, int vocabulary, il_error *error) {
    enum { HEADER = 256, MAGIC = 20240801, VERSION = 7 }; /* llm.c's shards of 32-bit tokens */
    uint64_t n = context + 1, words = HEADER + n;
    const char *folder = getenv("TMPDIR");
    char *path = cli_format("%s/innerloop-bench-XXXXXX.bin", folder && folder[0] ? folder : "/tmp");
    int32_t *shard = cli_alloc(words, sizeof *shard);
    shard[0] = MAGIC;
    shard[1] = VERSION;
    shard[2] = (int32_t)n;
    memcpy(shard + HEADER, job->tokens, n * sizeof *shard);
    for (uint64_t i = 0; i < words; i++) shard[i] = (int32_t)htole32((uint32_t)shard[i]);
    il_data_options options;
    il_data_options_default(&options);
    options.length = context;
    options.sequences = 1;
    options.shuffle = 0;
    options.loop = 1;
    il_status status = IL_OK;
    int fd = mkstemps(path, 4);
    FILE *stream = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!stream) {
        status = cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    } else {
        size_t written = fwrite(shard, sizeof *shard, words, stream);
        if ((fclose(stream) != 0) | (written != words))
            status = cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (!status)
        status = il_data_open(job->engine, &(const char *){path}, 1, NULL, vocabulary, &options, &job->data, error);
    if (fd >= 0) unlink(path);
    free(shard);
    free(path);
    return status;
}

void bench_open(bench_job *job, il_engine *engine, il_model *model, uint64_t context_max, uint64_t sessions,
                int all_logits) {
    uint64_t rows = all_logits && sessions < LOGITS_ROWS ? LOGITS_ROWS : sessions;
    int vocabulary = il_model_config(model)->vocab_size;
    *job = (bench_job){.engine = engine, .model = model, .sessions = sessions, .all_logits = all_logits};
    job->n_tokens = context_max + EXTEND_TOKENS;
    job->tokens = cli_alloc(job->n_tokens, sizeof *job->tokens);
    job->logits = cli_alloc(rows * (size_t)vocabulary, sizeof *job->logits);
    make_tokens(job->tokens, job->n_tokens, vocabulary);
}

void bench_close(bench_job *job) {
    bench_end(job);
    il_session_close(job->walk);
    free(job->tokens);
    free(job->logits);
    *job = (bench_job){0};
}

uint64_t bench_walked(const bench_job *job) { return job->walk ? il_session_position(job->walk) : 0; }

il_status bench_walk(bench_job *job, uint64_t position, il_error *error) {
    il_status status = IL_OK;
    if (!job->walk) status = il_session_open(job->model, NULL, &job->walk, error);
    uint64_t from = bench_walked(job);
    if (status || position <= from) return status;
    double start = cli_seconds();
    status = il_session_feed(job->walk, job->tokens + from, position - from, NULL, NULL, error);
    job->walked_seconds += cli_seconds() - start;
    return status;
}

il_status bench_begin(bench_job *job, bench_workload workload, uint64_t context, uint64_t repeat, il_error *error) {
    if (workload != BENCH_TRAIN) return IL_OK;
    const il_config *config = il_model_config(job->model);
    il_trainer_options options;
    il_trainer_options_default(config, &options);
    options.steps = repeat;
    options.dtype = job->dtype;
    il_status status = open_data(job, context, config->vocab_size, error);
    if (!status) status = il_trainer_open(job->model, job->data, &options, &job->trainer, error);
    return status;
}

void bench_end(bench_job *job) {
    il_trainer_close(job->trainer);
    il_data_close(job->data);
    job->trainer = NULL;
    job->data = NULL;
}

/* n tokens at once, and a row of logits after them or after each. */
static il_status read_at_once(bench_job *job, il_session *session, const int32_t *tokens, uint64_t n, il_error *error) {
    if (job->all_logits) {
        il_status failed = IL_OK;
        for (uint64_t at = 0; at < n && !failed; at += LOGITS_ROWS) {
            uint64_t rows = n - at < LOGITS_ROWS ? n - at : LOGITS_ROWS;
            il_feed feed = {.session = session, .tokens = tokens + at, .n = rows, .logits = job->logits};
            failed = il_feed_many(&feed, 1, error);
        }
        return failed;
    }
    il_status status = il_session_feed(session, tokens, n, NULL, NULL, error);
    return status ? status : il_session_logits(session, job->logits, error);
}

/* A token and its logits at a time, each session its own tokens. */
static il_status decode(bench_job *job, il_session **sessions, uint64_t n, uint64_t context, il_error *error) {
    il_feed *feeds = cli_alloc(n, sizeof *feeds);
    size_t vocabulary = (size_t)il_model_config(job->model)->vocab_size;
    il_status status = IL_OK;
    for (uint64_t t = 0; t < DECODE_TOKENS && !status; t++) {
        for (uint64_t i = 0; i < n; i++)
            feeds[i] = (il_feed){.session = sessions[i],
                                 .tokens = job->tokens + (context + t + 7 * i) % job->n_tokens,
                                 .n = 1,
                                 .logits = job->logits + i * vocabulary};
        status = il_feed_many(feeds, n, error);
    }
    free(feeds);
    return status;
}

il_status bench_run(bench_job *job, bench_workload workload, uint64_t context, double *seconds, il_error *error) {
    uint64_t n = workload == BENCH_BATCH ? job->sessions : workload == BENCH_TRAIN ? 0 : 1;
    il_session **sessions = cli_alloc(n, sizeof *sessions);
    il_status status = IL_OK;
    il_step step;
    for (uint64_t i = 0; i < n && !status; i++)
        status = workload == BENCH_PREFILL ? il_session_open(job->model, NULL, &sessions[i], error)
                                           : il_session_fork(job->walk, &sessions[i], error);
    double start = cli_seconds();
    if (status)
        ;
    else if (workload == BENCH_PREFILL)
        status = read_at_once(job, sessions[0], job->tokens, context, error);
    else if (workload == BENCH_EXTEND)
        status = read_at_once(job, sessions[0], job->tokens + context, EXTEND_TOKENS, error);
    else if (workload == BENCH_TRAIN)
        status = il_trainer_step(job->trainer, &step, error);
    else
        status = decode(job, sessions, n, context, error);
    *seconds = cli_seconds() - start;
    il_session_stats stats = {0};
    il_session *at = workload == BENCH_PREFILL ? sessions[0] : workload == BENCH_TRAIN ? NULL : job->walk;
    if (at) il_session_get_stats(at, &stats);
    job->state_bytes = stats.state_bytes;
    for (uint64_t i = 0; i < n; i++) il_session_close(sessions[i]);
    free(sessions);
    return status;
}
