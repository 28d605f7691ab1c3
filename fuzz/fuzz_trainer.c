/* fuzz_trainer.c: any bytes as the trainer.json of a small run. The first byte picks the run: 1: its states are
 * carried, 2: data and options may differ; the others are the file. What is accepted is a place in the data or refused
 * there, and the run goes on from it. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "train/progress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

enum { RUNS = 4, TOKENS = 200, VOCAB = 20 };
static il_trainer *trainers[RUNS];

/* Tokens in memory that have a path. */
static const char *tokens(void) {
    static char path[32];
    uint16_t all[TOKENS];
    for (int i = 0; i < TOKENS; i++) all[i] = (uint16_t)(i * i % VOCAB);
    int fd = memfd_create("tokens", MFD_CLOEXEC);
    must(fd >= 0 && write(fd, all, sizeof all) == (ssize_t)sizeof all);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

/* Once; they live as long as the process. */
static void begin(void) {
    il_engine *engine;
    il_engine_options options;
    if (*trainers) return;
    const char *path = tokens();
    il_engine_options_default(&options);
    options.threads = 1;
    must(!il_engine_open(&options, &engine, NULL));
    for (int i = 0; i < RUNS; i++) {
        il_config config;
        il_model *model;
        il_data *all;
        il_data_options where;
        il_trainer_options how;
        must(!il_config_preset("tiny", "ttt_linear_decay", NULL, &config, NULL));
        config.vocab_size = VOCAB;
        config.width = 8;
        config.heads = 2;
        config.ffn_width = 8;
        config.layers = 1;
        config.mini_batch = 2;
        config.fast_head_size = 0;
        must(!il_model_init(engine, &config, 1, &model, NULL));
        il_data_options_default(&where);
        where.documents.format = IL_FORMAT_U16;
        where.length = 8;
        where.sequences = 2;
        where.stateful = i & 1;
        where.loop = 1;
        must(!il_data_open(engine, &path, 1, NULL, VOCAB, &where, &all, NULL));
        il_trainer_options_default(&config, &how);
        how.steps = 20;
        how.resume_with_changes = i >> 1;
        must(!il_trainer_open(model, all, &how, &trainers[i], NULL));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_error error = {IL_OK, ""};
    il_progress progress;
    il_step step;
    begin();
    if (!bytes) return 0;
    il_trainer *t = trainers[data[0] % RUNS];
    il_status status = il_progress_read(t, "fuzz", (const char *)data + 1, bytes - 1, &progress, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !progress.positions);
        return 0;
    }
    must(progress.step <= INT64_MAX && progress.validation.best_step <= INT64_MAX);
    if (il_data_seek(t->data, &progress.cursor, &error) == IL_OK) {
        for (size_t i = 0; progress.positions && i < il_trainer_carried(t); i++)
            t->gradient.states[i].position = progress.positions[i];
        t->done = progress.step;
        il_trainer_step(t, &step, &error);
    }
    il_progress_free(t, &progress);
    return 0;
}
