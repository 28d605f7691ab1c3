/* bench_work.c: prefill, decode and training steps of a model on made-up tokens. */
#include "bench.h"
#include "output.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Tokens that a repetition of decode reads one by one: whole mini-batches of every preset, so that inner
 * updates come as often as in the long run. */
enum { DECODE_TOKENS = 64 };

/* ---- counting ---- */

static double mean_flops(const il_config *config, uint64_t first, uint64_t n, int with_logits) {
    /* the count is linear in the position */
    return (il_config_flops_per_token(config, first, with_logits) +
            il_config_flops_per_token(config, first + n - 1, with_logits)) /
           2;
}

/* A token reads every weight, the fast weights in place of the learned initial ones (as many), one row of the
 * embedding, which the output head reads whole if it is tied, and the open rows of its mini-batch or all keys
 * and values. */
static double decode_bytes(const il_config *c, uint64_t parameters, uint64_t context) {
    double width = c->width, heads = c->heads, head = width / heads, b = c->mini_batch,
           floats = (double)parameters + width;
    double rows = (b + 1) / 2; /* on average */
    if (!c->tie_word_embeddings) floats -= (double)c->vocab_size * width;
    switch (c->mixer) {
    case IL_MIXER_TTT_LINEAR: floats += c->layers * heads * rows * (2 * head + 1); break;
    case IL_MIXER_TTT_MLP: floats += c->layers * heads * rows * (10 * head + 1); break;
    case IL_MIXER_SELF_ATTENTION:
        floats += c->layers * 2 * width * ((double)context + (DECODE_TOKENS + 1) / 2.0);
        break;
    }
    return floats * (double)sizeof(float);
}

bench_count bench_count_of(const il_config *config, uint64_t parameters, bench_work work, uint64_t context) {
    double logits_row = il_config_flops_per_token(config, 0, 1) - il_config_flops_per_token(config, 0, 0);
    switch (work) {
    case BENCH_PREFILL: return (bench_count){mean_flops(config, 0, context, 0) + logits_row / (double)context, 0};
    case BENCH_DECODE:
        return (bench_count){mean_flops(config, context, DECODE_TOKENS, 1), decode_bytes(config, parameters, context)};
    case BENCH_TRAIN: return (bench_count){3 * mean_flops(config, 0, context, 1), 0}; /* recomputing is not counted */
    case BENCH_WORKS: break;
    }
    return (bench_count){0};
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
static il_status open_data(bench_job *job, il_engine *engine, int vocabulary, il_error *error) {
    enum { HEADER = 256, MAGIC = 20240801, VERSION = 7 }; /* llm.c's shards of 32-bit tokens */
    uint64_t n = job->context + 1, words = HEADER + n;
    const char *folder = getenv("TMPDIR");
    char *path = cli_text("%s/innerloop-bench-XXXXXX.bin", folder && folder[0] ? folder : "/tmp");
    int32_t *shard = cli_alloc(words, sizeof *shard);
    shard[0] = MAGIC;
    shard[1] = VERSION;
    shard[2] = (int32_t)n;
    memcpy(shard + HEADER, job->tokens, n * sizeof *shard);
    for (uint64_t i = 0; i < words; i++) shard[i] = (int32_t)htole32((uint32_t)shard[i]);
    il_data_options options;
    il_data_options_default(&options);
    options.length = job->context;
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
    if (!status) status = il_data_open(engine, &(const char *){path}, 1, NULL, vocabulary, &options, &job->data, error);
    if (fd >= 0) unlink(path);
    free(shard);
    free(path);
    return status;
}

il_status bench_open(bench_job *job, il_engine *engine, il_model *model, bench_work work, uint64_t context,
                     uint64_t repeat, il_error *error) {
    const il_config *config = il_model_config(model);
    *job = (bench_job){.work = work, .context = context, .model = model};
    job->tokens = cli_alloc(context + DECODE_TOKENS, sizeof *job->tokens);
    job->logits = cli_alloc((size_t)config->vocab_size, sizeof *job->logits);
    make_tokens(job->tokens, context + DECODE_TOKENS, config->vocab_size);
    il_status status = IL_OK;
    if (work == BENCH_DECODE) {
        status = il_session_open(model, NULL, &job->session, error);
        if (!status) status = il_session_feed(job->session, job->tokens, context, NULL, NULL, error);
    } else if (work == BENCH_TRAIN) {
        il_trainer_options options;
        il_trainer_options_default(config, &options);
        options.steps = repeat;
        status = open_data(job, engine, config->vocab_size, error);
        if (!status) status = il_trainer_open(model, job->data, &options, &job->trainer, error);
    }
    return status;
}

void bench_close(bench_job *job) {
    il_trainer_close(job->trainer);
    il_data_close(job->data);
    il_session_close(job->session);
    free(job->tokens);
    free(job->logits);
    *job = (bench_job){0};
}

/* The whole text and one row of logits. */
static il_status prefill(bench_job *job, il_session *session, il_error *error) {
    il_status status = il_session_feed(session, job->tokens, job->context, NULL, NULL, error);
    return status ? status : il_session_logits(session, job->logits, error);
}

/* A token and its logits at a time. */
static il_status decode(bench_job *job, il_session *session, il_error *error) {
    il_status status = IL_OK;
    for (int i = 0; i < DECODE_TOKENS && !status; i++) {
        il_feed feed = {.session = session, .tokens = job->tokens + job->context + i, .n = 1, .logits = job->logits};
        status = il_feed_many(&feed, 1, error);
    }
    return status;
}

il_status bench_run(bench_job *job, double *tokens_per_s, il_error *error) {
    il_session *session = NULL;
    il_status status = IL_OK;
    il_step step;
    if (job->work == BENCH_PREFILL) status = il_session_open(job->model, NULL, &session, error);
    if (job->work == BENCH_DECODE) status = il_session_fork(job->session, &session, error);
    if (status) return status;
    double start = cli_seconds();
    if (job->work == BENCH_PREFILL)
        status = prefill(job, session, error);
    else if (job->work == BENCH_DECODE)
        status = decode(job, session, error);
    else
        status = il_trainer_step(job->trainer, &step, error);
    double seconds = cli_seconds() - start;
    il_session_close(session);
    *tokens_per_s = (double)(job->work == BENCH_DECODE ? DECODE_TOKENS : job->context) / seconds;
    return status;
}
