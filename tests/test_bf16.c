/* test_bf16.c: training with bf16 products: each is that of the rounded operands, gradients and losses stay near the
 * exact ones without being them, everything else stays exact, and where there is no AMX it is refused. */
#include "support_test.h"

#include "base/bits.h"
#include "engine/gemm.h"
#include "model/build.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_train.h"
#include "train/gradient.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const il_mixer_kind mixers[] = {IL_MIXER_TTT_LINEAR, IL_MIXER_TTT_LINEAR_DECAY, IL_MIXER_TTT_MLP,
                                       IL_MIXER_GATED_DELTA, IL_MIXER_SELF_ATTENTION};
enum { MIXERS = sizeof mixers / sizeof *mixers, VOCAB = SUPPORT_TRAIN_VOCAB, LENGTH = 32, SEQUENCES = 3, STEPS = 20 };

/* Ends the running test, saying why, where this machine has no such products. */
static void only_with_bf16(void) {
    il_error error;
    if (il_onednn_bf16_check(&error) == IL_OK) return;
    print_message("skipped: %s\n", error.message);
    skip();
}

/* How much farther from exact a gradient may be than with the other mixers. With weights as lively as these a norm of
 * the gated delta rule's makes short outputs ten times as long, and their rounding with them; then single elements may
 * be anywhere. */
static double slack(il_mixer_kind mixer) { return mixer == IL_MIXER_GATED_DELTA ? 16 : 1; }

/* ---- products ---- */

static float number(uint64_t seed, size_t i) { return (float)lively_random(seed, i, 2001) / 1000.0F - 1.0F; }

static void *numbers(size_t n, size_t size) {
    void *x = calloc(n ? n : 1, size);
    assert_non_null(x);
    return x;
}

/* All four ways to lie in memory, c in wider rows, with and without a sum to go on from. The sums differ from exact
 * ones by fp32 rounding alone: bf16 times bf16 is exact. */
static void check_product(il_engine *engine, const il_onednn_bf16 *products, int m, int n, int k) {
    ptrdiff_t ldc = n + 3;
    uint16_t *a = numbers((size_t)(m * k), sizeof *a), *b = numbers((size_t)(k * n), sizeof *b);
    float *c = numbers((size_t)(m * ldc), sizeof *c);
    for (int way = 0; way < 8; way++) {
        const int a_turned = way & 1, b_turned = way >> 1 & 1, accumulate = way >> 2;
        il_matrix_bf16 left = {a, a_turned ? 1 : k, a_turned ? m : 1};
        il_matrix_bf16 right = {b, b_turned ? 1 : n, b_turned ? k : 1};
        for (int i = 0; i < m * k; i++) engine->kernels->f32_to_bf16(1, &(float){number(1, (size_t)i)}, a + i);
        for (int i = 0; i < k * n; i++) engine->kernels->f32_to_bf16(1, &(float){number(2, (size_t)i)}, b + i);
        for (ptrdiff_t i = 0; i < m * ldc; i++) c[i] = 5;
        assert_int_equal(il_gemm_onednn(engine, products, m, n, k, left, right, c, ldc, accumulate), IL_OK);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < ldc; j++) {
                double sum = accumulate || j >= n ? 5 : 0, size = fabs(sum);
                for (int at = 0; at < k && j < n; at++) {
                    const float x = il_float_of_bf16(left.data[i * left.row + at * left.col]);
                    const float y = il_float_of_bf16(right.data[at * right.row + j * right.col]);
                    sum += (double)x * (double)y;
                    size += fabs((double)x * (double)y);
                }
                if (fabs((double)c[i * ldc + j] - sum) > size * (k + 1) * 0x1p-24)
                    fail_msg("[%d,%d]x[%d,%d], way %d: c[%d,%d] is %.9g, not %.9g", m, k, k, n, way, i, j,
                             (double)c[i * ldc + j], sum);
            }
    }
    free(a), free(b), free(c);
}

static void products_are_those_of_rounded_operands(void **unused) {
    (void)unused;
    only_with_bf16();
    static const int shapes[][3] = {{1, 1, 1},     {1, 17, 3},    {5, 16, 16},    {7, 70, 9},    {33, 47, 65},
                                    {64, 100, 70}, {97, 31, 385}, {130, 200, 33}, {48, 768, 64}, {3, 5, 2}};
    static const int threads[] = {1, 2, 5};
    il_error error;
    for (size_t t = 0; t < 3; t++) {
        il_engine *engine = lively_engine(threads[t], NULL);
        il_onednn_bf16 *products;
        assert_ok(il_onednn_bf16_open(&engine->memory, &products, &error), error);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            check_product(engine, products, shapes[s][0], shapes[s][1], shapes[s][2]);
        il_onednn_bf16_close(products);
        il_engine_close(engine);
    }
    il_onednn_bf16_close(NULL);
}

/* ---- gradients ---- */

/* Rounding moves an operand by at most 2^-9 of itself, a product of two by twice that, and a gradient has gone through
 * some products; elements that are sums of what cancels move by as much of their tensor's typical size. */
static void gradients_are_near_the_exact_ones(void **unused) {
    (void)unused;
    only_with_bf16();
    il_error error;
    il_engine *engine = lively_engine(2, NULL);
    static int32_t tokens[SEQUENCES * (LENGTH + 1)];
    lively_tokens(tokens, SEQUENCES * (LENGTH + 1), VOCAB, 9);
    for (size_t i = 0; i < MIXERS; i++) {
        il_config config = lively_config(mixers[i], 16);
        il_model *model = lively_model(engine, &config, 4);
        il_gradient exact, rounded;
        double loss, near;
        assert_ok(il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT, &exact, &error), error);
        assert_ok(il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT_BF16, &rounded, &error), error);
        for (int step = 0; step < 2; step++) { /* the second time with other weights */
            assert_ok(il_gradient_batch(&exact, tokens, NULL, SEQUENCES, 1, &loss, &error), error);
            assert_ok(il_gradient_batch(&rounded, tokens, NULL, SEQUENCES, 1, &near, &error), error);
            assert_true(near != loss && fabs(near - loss) < 0.01 * loss);
            for (size_t t = 0; t < model->table.n; t++) {
                const il_table_entry *e = &model->table.entries[t];
                const float *x = exact.gradient + e->offset, *y = rounded.gradient + e->offset;
                double square = 0, apart = 0;
                for (size_t j = 0; j < e->count; j++) {
                    square += (double)x[j] * (double)x[j];
                    apart += (double)(x[j] - y[j]) * (double)(x[j] - y[j]);
                }
                double typical = sqrt(square / (double)e->count);
                if (sqrt(apart / square) > 0.05 * slack(mixers[i]))
                    fail_msg("%s: %.3g apart", e->name, sqrt(apart / square));
                for (size_t j = 0; j < e->count && slack(mixers[i]) == 1; j++)
                    if (fabs((double)(x[j] - y[j])) > 0.05 * fabs((double)x[j]) + 0.1 * typical)
                        fail_msg("%s[%zu]: %.6g, exactly %.6g", e->name, j, (double)y[j], (double)x[j]);
            }
            for (size_t j = 0; j < model->table.floats; j++) model->weights[j] *= 1.25F;
            model->version++;
        }
        assert_ok(il_gradient_loss(&exact, tokens, NULL, SEQUENCES, &loss, &error), error);
        assert_ok(il_gradient_loss(&rounded, tokens, NULL, SEQUENCES, &near, &error), error);
        assert_true(near == loss); /* validation is exact */
        il_gradient_close(&rounded);
        il_gradient_close(&exact);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* Logits are rounded to their gradients in pieces of any number of rows. */
static void rows_of_logits_change_no_bit(void **unused) {
    (void)unused;
    only_with_bf16();
    il_error error;
    il_engine *engine = lively_engine(2, NULL);
    static int32_t tokens[SEQUENCES * (LENGTH + 1)];
    lively_tokens(tokens, SEQUENCES * (LENGTH + 1), VOCAB, 9);
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    il_model *model = lively_model(engine, &config, 4);
    il_gradient whole, pieces;
    double loss, same;
    assert_ok(il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT_BF16, &whole, &error), error);
    assert_ok(il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT_BF16, &pieces, &error), error);
    assert_int_equal(whole.bf16.logit_rows, whole.bf16.dlogit_rows);
    pieces.bf16.logit_rows = 7;
    assert_ok(il_gradient_batch(&whole, tokens, NULL, SEQUENCES, 1, &loss, &error), error);
    assert_ok(il_gradient_batch(&pieces, tokens, NULL, SEQUENCES, 1, &same, &error), error);
    assert_true(loss == same);
    assert_memory_equal(whole.gradient, pieces.gradient, model->table.floats * sizeof(float));
    il_gradient_close(&pieces);
    il_gradient_close(&whole);
    il_model_unref(model);
    il_engine_close(engine);
}

/* What a vocabulary of any size takes for logits and their gradients. Of a model that is only declared. */
static void memory_for_logits_is_bounded(void **unused) {
    (void)unused;
    static const int vocabularies[] = {1 << 15, 151936, 248320, 1 << 24};
    const size_t most = (size_t)IL_BF16_DLOGIT_BYTES + (size_t)IL_BF16_LOGIT_BYTES;
    il_error error;
    il_engine *engine = lively_engine(1, NULL);
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++) {
        il_config config = lively_config(IL_MIXER_SELF_ATTENTION, 16);
        il_model *model;
        config.vocab_size = vocabularies[i];
        assert_ok(il_model_declare(engine, &config, &model, &error), error);
        size_t rows = vocabularies[i] <= 248320 ? 512 : IL_BF16_DLOGIT_BYTES / (2 * (size_t)vocabularies[i]);
        size_t bytes = il_bf16_bytes(model, 4096) - model->table.floats * sizeof(uint16_t);
        assert_true(bytes >= rows * (size_t)vocabularies[i] * sizeof(uint16_t));
        assert_true(bytes <= most + 4096 * (size_t)il_model_most_width(model) * sizeof(uint16_t) + 1024);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* ---- training ---- */

typedef struct run {
    support_alloc alloc;
    il_engine *engine;
    il_model *model;
    il_data *data;
    il_trainer *trainer;
} run;

static void open_run(run *r, const char *shard, il_mixer_kind mixer, il_weight_type dtype) {
    il_error error;
    r->engine = support_engine(2, &r->alloc);
    il_config config = lively_config(mixer, 16);
    assert_ok(il_model_init(r->engine, &config, 3, &r->model, &error), error);
    il_data_options data;
    il_data_options_default(&data);
    data.length = LENGTH;
    data.sequences = SEQUENCES;
    data.loop = 1;
    assert_ok(il_data_open(r->engine, &shard, 1, NULL, VOCAB, &data, &r->data, &error), error);
    il_trainer_options options;
    il_trainer_options_default(&config, &options);
    assert_int_equal(options.dtype, IL_WEIGHTS_F32);
    options.steps = STEPS;
    options.lr = 1e-2;
    options.dtype = dtype;
    assert_ok(il_trainer_open(r->model, r->data, &options, &r->trainer, &error), error);
}

static void close_run(run *r) {
    il_trainer_close(r->trainer);
    il_data_close(r->data);
    il_model_unref(r->model);
    support_engine_close(r->engine, &r->alloc);
}

static void training_stays_near_and_allocates_nothing(void **unused) {
    (void)unused;
    only_with_bf16();
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (size_t i = 0; i < MIXERS; i++) {
        run exact, rounded;
        open_run(&exact, shard, mixers[i], IL_WEIGHTS_F32);
        open_run(&rounded, shard, mixers[i], IL_WEIGHTS_BF16);
        long before = atomic_load(&rounded.alloc.calls);
        for (int n = 0; n < STEPS; n++) {
            double loss = support_train_steps(exact.trainer, 1), near = support_train_steps(rounded.trainer, 1);
            assert_true(near != loss && fabs(near - loss) < (mixers[i] == IL_MIXER_GATED_DELTA ? 0.04 : 0.01) * loss);
        }
        assert_int_equal(atomic_load(&rounded.alloc.calls), before);
        close_run(&rounded);
        close_run(&exact);
    }
    support_folder_remove(folder);
}

static void checkpoints_know_the_dtype(void **unused) {
    (void)unused;
    only_with_bf16();
    char *folder = support_folder_make(), out[512];
    snprintf(out, sizeof out, "%s", support_path(folder, "out"));
    const char *shard = support_train_shard(folder);
    il_error error;
    run whole, part, exact;
    open_run(&whole, shard, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16);
    open_run(&part, shard, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16);
    support_train_steps(whole.trainer, 9);
    support_train_steps(part.trainer, 4);
    assert_ok(il_trainer_save(part.trainer, NULL, out, &error), error);
    close_run(&part);
    open_run(&exact, shard, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_F32);
    assert_fails(il_trainer_resume(exact.trainer, out, &error), IL_ERR_MISMATCH, error, "dtype was bf16, is f32");
    close_run(&exact);
    open_run(&part, shard, IL_MIXER_TTT_LINEAR, IL_WEIGHTS_BF16);
    assert_ok(il_trainer_resume(part.trainer, out, &error), error);
    support_train_steps(part.trainer, 5); /* with as many threads on the same machine: the same bits */
    assert_memory_equal(part.model->weights, whole.model->weights, whole.model->table.floats * sizeof(float));
    close_run(&part);
    close_run(&whole);
    support_folder_remove(folder);
}

static il_status short_training(const il_allocator *allocator, void *context, il_error *error) {
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_gradient gradient = {0};
    double loss;
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    il_status status = support_engine_open(1, allocator, &engine, error);
    if (status == IL_OK) status = il_model_init(engine, &config, 1, &model, error);
    if (status == IL_OK) status = il_gradient_open(model, SEQUENCES, LENGTH, 0, IL_GRADIENT_BF16, &gradient, error);
    if (status == IL_OK) status = il_gradient_batch(&gradient, context, NULL, SEQUENCES, 1, &loss, error);
    il_gradient_close(&gradient);
    il_model_unref(model);
    il_engine_close(engine);
    return status;
}

static void every_failed_allocation_is_survived(void **unused) {
    (void)unused;
    only_with_bf16();
    static int32_t tokens[SEQUENCES * (LENGTH + 1)];
    lively_tokens(tokens, SEQUENCES * (LENGTH + 1), VOCAB, 9);
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_true(support_alloc_fail_each(&alloc, short_training, tokens) > 5);
}

/* ---- where there is none ---- */

static void other_types_and_machines_are_refused(void **unused) {
    (void)unused;
    il_error error;
    assert_ok(il_trainer_dtype_check(IL_WEIGHTS_F32, &error), error);
    assert_fails(il_trainer_dtype_check(IL_WEIGHTS_INT8, &error), IL_ERR_ARG, error, "not in int8");
    il_status here = il_trainer_dtype_check(IL_WEIGHTS_BF16, &error);
    assert_true(here == IL_OK || here == IL_ERR_UNSUPPORTED);
    if (here == IL_OK) return; /* test_cli_train refuses it with AMX hidden */
    assert_non_null(strstr(error.message, "bf16 products need"));
    il_onednn_bf16 *products = (void *)&error;
    il_allocator memory = il_allocator_default();
    assert_fails(il_onednn_bf16_open(&memory, &products, &error), IL_ERR_UNSUPPORTED, error, "bf16 products need");
    assert_null(products);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_rounded_operands),
        cmocka_unit_test(gradients_are_near_the_exact_ones),
        cmocka_unit_test(rows_of_logits_change_no_bit),
        cmocka_unit_test(memory_for_logits_is_bounded),
        cmocka_unit_test(training_stays_near_and_allocates_nothing),
        cmocka_unit_test(checkpoints_know_the_dtype),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(other_types_and_machines_are_refused),
    };
    return cmocka_run_group_tests_name("bf16", tests, NULL, NULL);
}
