/* test_data_given.c: data whose batches the program gives: training on them is training on files that have the same
 * batches, also after a checkpoint; what is no batch is refused. */
#include "support_test.h"

#include "support_alloc.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_train.h"
#include <stdlib.h>

enum {
    STEPS = 6,
    LENGTH = SUPPORT_TRAIN_LENGTH,
    SEQUENCES = SUPPORT_TRAIN_SEQUENCES,
    VOCAB = SUPPORT_TRAIN_VOCAB,
    BATCH = SEQUENCES * (LENGTH + 1)
};

static il_error error;

/* The run of support_train.h, on batches that are given. */
static void open_given(support_training *r, int stateful) {
    r->engine = lively_engine(1, NULL);
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    config.bos_token = 1;
    assert_ok(il_model_init(r->engine, &config, 3, &r->model, &error), error);
    il_data_options data;
    il_data_options_default(&data);
    data.length = LENGTH;
    data.sequences = SEQUENCES;
    data.stateful = stateful;
    assert_ok(il_data_open_given(r->engine, VOCAB, &data, &r->data, &error), error);
    il_trainer_options options;
    il_trainer_options_default(&config, &options);
    options.steps = SUPPORT_TRAIN_STEPS;
    options.lr = 1e-2;
    assert_ok(il_trainer_open(r->model, r->data, &options, &r->trainer, &error), error);
}

/* Steps on batches from .. to-1 of those. */
static void steps(support_training *r, const int32_t *tokens, const unsigned char *fresh, int from, int to) {
    for (int i = from; i < to; i++) {
        assert_ok(il_data_give(r->data, tokens + (size_t)i * BATCH, fresh + (size_t)i * SEQUENCES, &error), error);
        support_train_steps(r->trainer, 1);
    }
}

static void training_is_that_on_files(void **state) {
    (void)state;
    static int32_t tokens[STEPS * BATCH];
    static unsigned char fresh[STEPS * SEQUENCES];
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (int stateful = 0; stateful < 2; stateful++) {
        support_training files, given, resumed;
        il_batch batch;
        il_cursor cursor, start = {0};
        support_training_open(&files, shard, IL_MIXER_TTT_LINEAR, 2, stateful);
        for (int i = 0; i < STEPS; i++) {
            assert_ok(il_data_next(files.data, &batch, &error), error);
            memcpy(tokens + (size_t)i * BATCH, batch.tokens, BATCH * sizeof *tokens);
            memcpy(fresh + (size_t)i * SEQUENCES, batch.fresh, SEQUENCES);
        }
        assert_ok(il_data_seek(files.data, &start, &error), error);
        support_train_steps(files.trainer, STEPS);

        open_given(&given, stateful);
        steps(&given, tokens, fresh, 0, 4);
        assert_ok(il_trainer_save(given.trainer, NULL, folder, &error), error);
        steps(&given, tokens, fresh, 4, STEPS);
        support_training_same(&files, &given);
        support_training_close(&given);

        open_given(&resumed, stateful);
        assert_ok(il_trainer_resume(resumed.trainer, folder, &error), error);
        il_data_tell(resumed.data, &cursor);
        assert_int_equal(cursor.batch, 4);
        steps(&resumed, tokens, fresh, (int)cursor.batch, STEPS);
        support_training_same(&files, &resumed);
        support_training_close(&resumed);
        support_training_close(&files);
    }
    support_folder_remove(folder);
}

static void what_is_no_batch_is_refused(void **state) {
    (void)state;
    support_training r;
    il_step step;
    il_batch batch;
    double loss;
    int32_t tokens[BATCH] = {0};
    open_given(&r, 0);
    assert_fails(il_trainer_step(r.trainer, &step, &error), IL_ERR_END, error, "no batch was given");
    tokens[BATCH - 1] = VOCAB;
    assert_fails(il_data_give(r.data, tokens, NULL, &error), IL_ERR_ARG, error,
                 "token 98 of the batch is 61: ids go from 0 to 60");
    tokens[BATCH - 1] = -1;
    assert_fails(il_data_give(r.data, tokens, NULL, &error), IL_ERR_ARG, error, "is -1");
    tokens[BATCH - 1] = 0;
    const unsigned char none[SEQUENCES] = {0};
    assert_ok(il_data_give(r.data, tokens, none, &error), error);
    assert_ok(il_data_next(r.data, &batch, &error), error);
    for (int i = 0; i < SEQUENCES; i++) assert_int_equal(batch.fresh[i], 1); /* unless stateful they all are */
    assert_fails(il_data_next(r.data, &batch, &error), IL_ERR_END, error, "no batch was given"); /* once */
    assert_null(batch.tokens);
    assert_fails(il_trainer_eval(r.trainer, r.data, 0, &loss, &error), IL_ERR_ARG, error, "cannot be evaluated on");
    assert_int_equal(il_data_tokens(r.data), 0);

    char *folder = support_folder_make();
    support_training files;
    support_training_open(&files, support_train_shard(folder), IL_MIXER_TTT_LINEAR, 1, 0);
    assert_fails(il_data_give(files.data, tokens, NULL, &error), IL_ERR_ARG, error, "read from files");
    support_training_close(&files);
    support_folder_remove(folder);

    il_data_options options;
    il_data *data;
    il_data_options_default(&options);
    options.length = 0;
    assert_fails(il_data_open_given(r.engine, VOCAB, &options, &data, &error), IL_ERR_ARG, error, "at least 1");
    options.length = (size_t)1 << 21;
    assert_fails(il_data_open_given(r.engine, VOCAB, &options, &data, &error), IL_ERR_ARG, error, "the most");
    assert_null(data);
    support_training_close(&r);
}

static il_status open_and_close(const il_allocator *allocator, void *context, il_error *e) {
    il_engine_options options;
    il_data_options d;
    il_engine *engine;
    il_data *data;
    (void)context;
    il_engine_options_default(&options);
    options.allocator = *allocator;
    options.threads = 1;
    il_data_options_default(&d);
    il_status status = il_engine_open(&options, &engine, e);
    if (status) return status;
    status = il_data_open_given(engine, VOCAB, &d, &data, e);
    il_data_close(data);
    il_engine_close(engine);
    return status;
}

static void no_memory(void **state) {
    (void)state;
    static support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_true(support_alloc_fail_each(&alloc, open_and_close, NULL) >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(training_is_that_on_files),
        cmocka_unit_test(what_is_no_batch_is_refused),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
