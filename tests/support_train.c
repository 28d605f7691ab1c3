/* support_train.c: see support_train.h. */
#include "support_train.h"

#include "support_files.h"
#include "support_lively.h"
#include "support_test.h"
#include <stdio.h>

enum { TOKENS = 4000, VOCAB = SUPPORT_TRAIN_VOCAB };

const char *support_train_shard(const char *folder) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/tokens.bin", folder);
    int32_t header[256] = {20240520, 1, TOKENS};
    uint16_t tokens[TOKENS];
    tokens[0] = 7;
    for (int i = 1; i < TOKENS; i++) {
        uint32_t r = lively_random(1, (uint64_t)i, 100);
        tokens[i] = (uint16_t)(i % 700 == 0 ? 1 : 2 + (r < 80 ? (uint32_t)tokens[i - 1] * 7 + 3 : r) % (VOCAB - 2));
    }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fwrite(header, sizeof header, 1, file);
    fwrite(tokens, sizeof tokens, 1, file);
    fclose(file);
    return path;
}

double support_train_steps(il_trainer *trainer, int n) {
    il_step step = {0};
    il_error error;
    for (int i = 0; i < n; i++) assert_ok(il_trainer_step(trainer, &step, &error), error);
    return step.loss;
}

void support_training_open_on(support_training *r, il_engine *engine, const char *shard, il_mixer_kind mixer,
                              int stateful) {
    il_error error;
    r->engine = engine;
    il_config config = lively_config(mixer, 16);
    config.bos_token = 1;
    assert_ok(il_model_init(r->engine, &config, 3, &r->model, &error), error);
    il_data_options data;
    il_data_options_default(&data);
    data.length = SUPPORT_TRAIN_LENGTH;
    data.sequences = SUPPORT_TRAIN_SEQUENCES;
    data.shuffle = 1;
    data.stateful = stateful;
    data.seed = 5;
    data.loop = 1;
    data.bos_token = 1;
    assert_ok(il_data_open(r->engine, &shard, 1, NULL, VOCAB, &data, &r->data, &error), error);
    il_trainer_options options;
    il_trainer_options_default(&config, &options);
    options.steps = SUPPORT_TRAIN_STEPS;
    options.lr = 1e-2;
    assert_ok(il_trainer_open(r->model, r->data, &options, &r->trainer, &error), error);
}

void support_training_open(support_training *r, const char *shard, il_mixer_kind mixer, int threads, int stateful) {
    support_training_open_on(r, lively_engine(threads, NULL), shard, mixer, stateful);
}

void support_training_close(support_training *r) {
    il_trainer_close(r->trainer);
    il_data_close(r->data);
    il_model_unref(r->model);
    il_engine_close(r->engine);
}

void support_training_same(const support_training *a, const support_training *b) {
    assert_memory_equal(a->model->weights, b->model->weights, a->model->table.floats * sizeof(float));
}
