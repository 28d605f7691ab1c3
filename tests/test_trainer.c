/* test_trainer.c: outer training. The same weights for any thread count; schedules; what goes wrong is said and leaves
 * the weights as they were. Checkpoints: test_checkpoint.c.
 */
#include "support_test.h"

#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_train.h"
#include "train/schedule.h"
#include "train/trainer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    STEPS = SUPPORT_TRAIN_STEPS,
    LENGTH = SUPPORT_TRAIN_LENGTH,
    SEQUENCES = SUPPORT_TRAIN_SEQUENCES,
    VOCAB = SUPPORT_TRAIN_VOCAB
};

static const il_mixer_kind mixers[] = {IL_MIXER_TTT_LINEAR, IL_MIXER_TTT_LINEAR_DECAY, IL_MIXER_TTT_MLP,
                                       IL_MIXER_GATED_DELTA, IL_MIXER_SELF_ATTENTION};
enum { MIXERS = sizeof mixers / sizeof *mixers };

static void any_thread_count_gives_the_same_weights(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (size_t i = 0; i < MIXERS; i++) {
        support_training one, other;
        support_training_open(&one, shard, mixers[i], 1, 0);
        double first = support_train_steps(one.trainer, 1), last = support_train_steps(one.trainer, STEPS - 1);
        assert_true(last < first - 0.3); /* and it learned */
        const int threads[] = {2, 5};
        for (int t = 0; t < 2; t++) {
            support_training_open(&other, shard, mixers[i], threads[t], 0);
            support_train_steps(other.trainer, STEPS);
            support_training_same(&one, &other);
            support_training_close(&other);
        }
        support_training_close(&one);
    }
    support_folder_remove(folder);
}

static void a_loss_that_is_no_number_stops(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (size_t i = 0; i < MIXERS; i++) {
        support_training r;
        il_step step;
        support_training_open(&r, shard, mixers[i], 2, 0);
        support_train_steps(r.trainer, 2);
        r.model->weights[r.model->layers[1].w1.at] = INFINITY;
        r.model->version++;
        float *before = malloc(r.model->table.floats * sizeof(float));
        memcpy(before, r.model->weights, r.model->table.floats * sizeof(float));
        assert_fails(il_trainer_step(r.trainer, &step, &error), IL_ERR_NONFINITE, error, "step 3: ");
        assert_non_null(strstr(error.message, "layer 1"));
        assert_memory_equal(before, r.model->weights, r.model->table.floats * sizeof(float));
        assert_int_equal(il_trainer_steps_done(r.trainer), 2);
        double loss;
        assert_fails(il_trainer_eval(r.trainer, r.data, 1, &loss, &error), IL_ERR_NONFINITE, error,
                     "step 2: the loss of validation is not finite");
        assert_int_equal(il_trainer_save(r.trainer, NULL, folder, &error), IL_ERR_NONFINITE);
        assert_int_equal(support_folder_count(folder), 2); /* the shard, the lock: no part of a checkpoint */
        free(before);
        support_training_close(&r);
    }
    support_folder_remove(folder);
}

static void scale(float *x, size_t n, float by) {
    for (size_t i = 0; i < n; i++) x[i] *= by;
}

/* A finite loss whose gradient overflows: the last feed-forward part makes numbers near the largest float, of which
 * the model takes 0 times. */
static void a_gradient_that_is_not_finite_stops(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (size_t i = 0; i < MIXERS; i++) {
        support_training r;
        il_step step;
        support_training_open(&r, shard, mixers[i], 2, 0);
        support_train_steps(r.trainer, 2);
        il_model *m = r.model;
        const il_layer *last = &m->layers[m->config.layers - 1];
        size_t n = (size_t)last->w1.in * (size_t)last->w1.out;
        scale(m->weights + last->w1.at, n, 1e19F);
        scale(m->weights + last->w3.at, n, 1e19F);
        scale(m->weights + last->w2.at, n, 0);
        scale(m->weights + m->norm.w, (size_t)m->config.width, 1e5F);
        m->version++;
        float *before = malloc(m->table.floats * sizeof(float));
        memcpy(before, m->weights, m->table.floats * sizeof(float));
        const char *says = "step 3: the gradient of model.layers.1.mlp.down_proj.weight is not finite";
        assert_fails(il_trainer_step(r.trainer, &step, &error), IL_ERR_NONFINITE, error, says);
        assert_memory_equal(before, m->weights, m->table.floats * sizeof(float));
        assert_int_equal(il_trainer_steps_done(r.trainer), 2);
        static int32_t tokens[LENGTH + 1];
        double loss;
        float *gradient = malloc(m->table.floats * sizeof(float));
        lively_tokens(tokens, LENGTH + 1, VOCAB, 3);
        assert_fails(il_model_gradient(m, tokens, 1, LENGTH, &loss, gradient, &error), IL_ERR_NONFINITE, error,
                     strchr(says, ':') + 2);
        assert_true(isfinite(loss));
        free(gradient);
        free(before);
        support_training_close(&r);
    }
    support_folder_remove(folder);
}

static void validation_changes_nothing(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_training a, b;
    support_training_open(&a, shard, mixers[1], 2, 0);
    support_training_open(&b, shard, mixers[1], 2, 0);
    il_data_options options;
    il_data_options_default(&options);
    options.length = 48;
    options.sequences = 2;
    il_data *data;
    assert_ok(il_data_open(a.engine, &shard, 1, NULL, VOCAB, &options, &data, &error), error);
    double loss[2], one;
    for (int i = 0; i < 2; i++) {
        assert_ok(il_trainer_eval(a.trainer, data, 0, &loss[i], &error), error);
        support_train_steps(a.trainer, 5);
        support_train_steps(b.trainer, 5);
    }
    assert_true(loss[1] < loss[0] - 0.1);
    assert_ok(il_trainer_eval(a.trainer, data, 1, &one, &error), error);
    assert_true(one > 0 && one != loss[1]);
    support_training_same(&a, &b);
    il_data_close(data);
    support_training_close(&a);
    support_training_close(&b);
    support_folder_remove(folder);
}

static void stateful_needs_a_state_of_constant_size(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 1);
    il_config config = lively_config(IL_MIXER_SELF_ATTENTION, 16);
    il_model *attention;
    il_trainer *trainer;
    assert_ok(il_model_init(r.engine, &config, 1, &attention, &error), error);
    assert_fails(il_trainer_open(attention, r.data, NULL, &trainer, &error), IL_ERR_UNSUPPORTED, error,
                 "recurrent mixer");
    assert_null(trainer);
    il_model_unref(attention);
    config = lively_config(IL_MIXER_TTT_LINEAR, 5);
    assert_ok(il_model_init(r.engine, &config, 1, &attention, &error), error);
    assert_fails(il_trainer_open(attention, r.data, NULL, &trainer, &error), IL_ERR_ARG, error, "not a multiple of 5");
    il_model_unref(attention);
    support_training_close(&r);
    support_folder_remove(folder);
}

static void options_out_of_range_are_named(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_training r;
    support_training_open(&r, shard, mixers[0], 1, 0);
    struct {
        const char *name;
        size_t at;
        double value;
    } cases[] = {{"lr", offsetof(il_trainer_options, lr), -1},
                 {"beta1", offsetof(il_trainer_options, beta1), 1},
                 {"beta2", offsetof(il_trainer_options, beta2), NAN},
                 {"beta2", offsetof(il_trainer_options, beta2), 0.99999998}, /* 1 as a float: nothing is ever learned */
                 {"beta1", offsetof(il_trainer_options, beta1), 0.99999998},
                 {"eps", offsetof(il_trainer_options, eps), 0},
                 {"eps", offsetof(il_trainer_options, eps), 1e-30}, /* steps of 1e8 where gradients are tiny */
                 {"clip", offsetof(il_trainer_options, clip), 0},
                 {"clip", offsetof(il_trainer_options, clip), 1e20}, /* its square is infinite */
                 {"weight_decay", offsetof(il_trainer_options, weight_decay), -0.1},
                 {"weight_decay is 1000, times the learning rate 3", offsetof(il_trainer_options, weight_decay), 1000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        il_trainer_options options;
        il_trainer_options_default(il_model_config(r.model), &options);
        memcpy((char *)&options + cases[i].at, &cases[i].value, sizeof(double));
        il_trainer *trainer;
        assert_fails(il_trainer_open(r.model, r.data, &options, &trainer, &error), IL_ERR_ARG, error, cases[i].name);
    }
    support_training_close(&r);
    support_folder_remove(folder);
}

/* A model whose inner loop never learns is trained like any other. */
static void an_inner_rate_of_zero(void **unused) {
    (void)unused;
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    for (size_t i = 0; i < sizeof mixers / sizeof *mixers; i++) {
        support_training r;
        support_training_open(&r, shard, mixers[i], 1, 0);
        il_config config = *il_model_config(r.model);
        il_model *model;
        il_trainer *trainer;
        config.ttt_base_lr = 0;
        assert_ok(il_model_init(r.engine, &config, 3, &model, &error), error);
        assert_ok(il_trainer_open(model, r.data, NULL, &trainer, &error), error);
        double first = support_train_steps(trainer, 1);
        assert_true(support_train_steps(trainer, 20) < first);
        il_trainer_close(trainer);
        il_model_unref(model);
        support_training_close(&r);
    }
    support_folder_remove(folder);
}

/* The figures of the official schedule: first update 0, peak at w+1, last step end_lr nearly; the inner factor in
 * bfloat16. */
static void schedules(void **unused) {
    (void)unused;
    il_trainer_options o = {
        .steps = 4800, .lr = 3e-3, .end_lr = 1e-5, .warmup = 480, .inner_lr_start = 0.1, .inner_lr_warmup = 480};
    assert_true(il_schedule_lr(&o, 1) == 0);
    assert_true(fabs(il_schedule_lr(&o, 241) - 1.5e-3) < 1e-12);
    assert_true(fabs(il_schedule_lr(&o, 481) - 3e-3) < 1e-12);
    assert_true(fabs(il_schedule_lr(&o, 480 + 2160 + 1) - (3e-3 + 1e-5) / 2) < 1e-9);
    double last = il_schedule_lr(&o, 4800);
    assert_true(last > 1e-5 && last < 1.01e-5);
    for (uint64_t n = 482; n <= 4800; n++) assert_true(il_schedule_lr(&o, n) < il_schedule_lr(&o, n - 1));
    assert_true(il_schedule_inner_lr(&o, 0.1, 1) == 0.10009765625F);
    assert_true(il_schedule_inner_lr(&o, 0.1, 481) == 1.0F);
    assert_true(il_schedule_inner_lr(&o, 0.1, 9999) == 1.0F);
    assert_true(il_schedule_inner_lr(&o, 0, 1) == 1.0F); /* not 0/0 */
    o.lr = 1e-320;
    o.end_lr = 1e3;
    for (uint64_t n = 1; n <= 4800; n += 479) assert_true(isfinite(il_schedule_lr(&o, n)));
    o.lr = 3e-3;
    o.end_lr = 1e-5;
    o.warmup = o.inner_lr_warmup = 0;
    assert_true(fabs(il_schedule_lr(&o, 1) - 3e-3) < 1e-12);
    assert_true(il_schedule_inner_lr(&o, 0.1, 1) == 1.0F);
}

typedef struct {
    const char *shard;
    il_mixer_kind mixer;
} short_run;

static il_status short_training(const il_allocator *allocator, void *context, il_error *error) {
    const short_run *what = context;
    const char *shard = what->shard;
    il_config config = lively_config(what->mixer, 16);
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_data *data = NULL;
    il_trainer *trainer = NULL;
    il_data_options d;
    il_data_options_default(&d);
    d.length = LENGTH;
    d.sequences = SEQUENCES;
    d.loop = 1;
    char out[600];
    snprintf(out, sizeof out, "%.500s.out", shard);
    il_step step;
    double loss;
    il_status status = support_engine_open(2, allocator, &engine, error);
    if (status == IL_OK) status = il_model_init(engine, &config, 1, &model, error);
    if (status == IL_OK) status = il_data_open(engine, &shard, 1, NULL, VOCAB, &d, &data, error);
    if (status == IL_OK) status = il_trainer_open(model, data, NULL, &trainer, error);
    if (status == IL_OK) status = il_trainer_step(trainer, &step, error);
    if (status == IL_OK) status = il_trainer_save(trainer, NULL, out, error);
    if (status == IL_OK) status = il_trainer_resume(trainer, out, error);
    if (status == IL_OK) status = il_trainer_eval(trainer, data, 1, &loss, error);
    il_trainer_close(trainer);
    il_data_close(data);
    il_model_unref(model);
    il_engine_close(engine);
    return status;
}

static void every_failed_allocation_is_survived(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_alloc alloc;
    support_alloc_begin(&alloc);
    for (size_t i = 0; i < MIXERS; i++) {
        short_run what = {shard, mixers[i]};
        assert_true(support_alloc_fail_each(&alloc, short_training, &what) > 20);
    }
    support_folder_remove(folder);
}

static void steps_allocate_nothing(void **unused) {
    (void)unused;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    il_error error;
    support_alloc alloc;
    il_engine *engine = support_engine(2, &alloc);
    for (size_t i = 0; i < MIXERS; i++) {
        il_model *model;
        il_data *data;
        il_trainer *trainer;
        il_config config = lively_config(mixers[i], 16);
        il_data_options d;
        il_data_options_default(&d);
        d.length = LENGTH;
        d.sequences = SEQUENCES;
        assert_ok(il_model_init(engine, &config, 1, &model, &error), error);
        assert_ok(il_data_open(engine, &shard, 1, NULL, VOCAB, &d, &data, &error), error);
        assert_ok(il_trainer_open(model, data, NULL, &trainer, &error), error);
        long before = atomic_load(&alloc.calls);
        il_step step;
        for (int n = 0; n < 3; n++) assert_ok(il_trainer_step(trainer, &step, &error), error);
        assert_int_equal(atomic_load(&alloc.calls), before);
        il_trainer_close(trainer);
        il_data_close(data);
        il_model_unref(model);
    }
    support_engine_close(engine, &alloc);
    support_folder_remove(folder);
}

/* Memory grows with the tokens of a pass and no faster, and keeps but every 4th of the carries: with every other one
 * a mini-batch of TTT-MLP would need more than three quarters of a carry. */
static void memory_is_linear_in_tokens(void **unused) {
    (void)unused;
    il_error error;
    support_alloc alloc;
    il_engine *engine = support_engine(1, &alloc);
    for (size_t i = 0; i < MIXERS; i++) {
        il_config config = lively_config(mixers[i], 2);
        config.width = 64;
        config.heads = 1;
        il_model *model = lively_model(engine, &config, 1);
        double bytes[3], carries = (double)config.layers * (double)model->layers[0].shape.carry * sizeof(float);
        for (int k = 0; k < 3; k++) {
            il_gradient gradient;
            size_t before = atomic_load(&alloc.live_bytes);
            assert_ok(il_gradient_open(model, 1, 512 << k, 0, IL_GRADIENT, &gradient, &error), error);
            bytes[k] = (double)(atomic_load(&alloc.live_bytes) - before);
            il_gradient_close(&gradient);
        }
        double first = bytes[1] - bytes[0], second = bytes[2] - bytes[1];
        assert_true(first > 0 && fabs(second / first - 2) < 0.01);
        if (mixers[i] == IL_MIXER_TTT_MLP) assert_true(second / 1024 * 2 < 0.75 * carries); /* mini-batches of 2 */
        il_model_unref(model);
    }
    support_engine_close(engine, &alloc);
}

/* A bound on memory: what is allocated is what the trainer says, activations are computed again where they would go
 * beyond it, weights are the same, and what does not fit is refused with what would. */
static void memory_stays_within_its_bound(void **unused) {
    (void)unused;
    enum { LONG = 256, MANY = IL_MICRO_TOKENS / LONG + 1 }; /* two passes */
    il_error error;
    support_alloc alloc;
    il_engine *engine = support_engine(2, &alloc);
    static int32_t tokens[MANY * (LONG + 1)];
    lively_tokens(tokens, MANY * (LONG + 1), VOCAB, 9);
    for (size_t i = 0; i < MIXERS + 3; i++) {
        il_config config = i < MIXERS        ? lively_config(mixers[i], 16)
                           : i == MIXERS     ? lively_hybrid(16)
                           : i == MIXERS + 1 ? lively_sliding_hybrid(16)
                                             : lively_delta_hybrid(16);
        if (i % 2) lively_taps(&config);
        config.layers = config.n_layer_types ? 4 : 3;
        uint64_t bound[2] = {0};
        char fingerprint[2][33];
        for (int way = 0; way < 2; way++) {
            il_model *model = lively_model(engine, &config, 3);
            il_data_options of = {.length = LONG, .sequences = MANY};
            il_trainer_options options;
            il_trainer_memory memory;
            il_trainer *trainer;
            il_data *data;
            il_step step;
            assert_ok(il_data_open_given(engine, VOCAB, &of, &data, &error), error);
            il_trainer_options_default(&config, &options);
            options.memory = bound[way];
            options.warmup = 0;
            size_t before = atomic_load(&alloc.live_bytes);
            assert_ok(il_trainer_open(model, data, &options, &trainer, &error), error);
            il_trainer_get_memory(trainer, &memory);
            assert_int_equal(memory.recomputes, way);
            assert_int_equal(memory.tokens, IL_MICRO_TOKENS);
            double says = (double)(memory.weights + memory.pass);
            double takes = (double)(atomic_load(&alloc.live_bytes) - before) + 4.0 * (double)model->table.floats;
            if (!(fabs(takes / says - 1) < 0.01)) fail_msg("it says %.0f bytes, and takes %.0f", says, takes);
            assert_ok(il_data_give(data, tokens, NULL, &error), error);
            assert_ok(il_trainer_step(trainer, &step, &error), error);
            il_model_fingerprint(model, fingerprint[way]);
            bound[1] = memory.weights + memory.pass - 1;
            il_trainer_close(trainer);
            if (way) {
                options.memory = memory.weights + memory.pass;
                assert_ok(il_trainer_open(model, data, &options, &trainer, &error), error);
                il_trainer_close(trainer);
                options.memory--;
                assert_fails(il_trainer_open(model, data, &options, &trainer, &error), IL_ERR_NOMEM, error,
                             "are allowed");
            }
            il_data_close(data);
            il_model_unref(model);
        }
        assert_string_equal(fingerprint[0], fingerprint[1]);
    }
    support_engine_close(engine, &alloc);
}

/* The longest sequence that a refusal names is one that is taken. */
static void a_refusal_says_what_fits(void **unused) {
    (void)unused;
    il_error error;
    il_engine *engine = lively_engine(1, NULL);
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    il_model *model = lively_model(engine, &config, 3);
    il_data_options of = {.length = 1 << 17, .sequences = 1};
    il_trainer_options options;
    il_trainer *trainer;
    il_data *data;
    unsigned long long fits;
    il_trainer_options_default(&config, &options);
    options.memory = 50000000;
    assert_ok(il_data_open_given(engine, VOCAB, &of, &data, &error), error);
    assert_fails(il_trainer_open(model, data, &options, &trainer, &error), IL_ERR_NOMEM, error, "tokens would fit");
    assert_int_equal(sscanf(strstr(error.message, "allowed: "), "allowed: %llu", &fits), 1);
    il_data_close(data);
    assert_true(fits > 2 * IL_MICRO_TOKENS && fits < of.length && fits % 16 == 0);
    for (int more = 0; more < 2; more++) {
        of.length = fits + (more ? fits / 50 : 0);
        assert_ok(il_data_open_given(engine, VOCAB, &of, &data, &error), error);
        il_status status = il_trainer_open(model, data, &options, &trainer, &error);
        assert_int_equal(status, more ? IL_ERR_NOMEM : IL_OK);
        il_trainer_close(trainer);
        il_data_close(data);
    }
    il_model_unref(model);
    il_engine_close(engine);
}

/* Opens another trainer of the run's model and data with these tensors frozen. */
static il_status open_frozen(support_training *r, const char *const *patterns, size_t n, il_trainer **trainer,
                             il_error *error) {
    il_trainer_options options;
    il_trainer_options_default(il_model_config(r->model), &options);
    options.steps = STEPS;
    options.warmup = 0;
    options.weight_decay = 1;
    options.freeze = patterns;
    options.n_freeze = n;
    return il_trainer_open(r->model, r->data, &options, trainer, error);
}

/* Frozen tensors do not change in a bit, nor do their moments, and they are no part of the norm; all others do. */
static void what_is_frozen_stays(void **unused) {
    (void)unused;
    static const char *const patterns[] = {"model.embed_tokens.weight", "*.mlp.*"};
    il_error error;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_training r;
    il_trainer *trainer;
    il_step step;
    support_training_open(&r, shard, mixers[1], 2, 0);
    const il_table *table = &r.model->table;
    float *before = malloc(table->floats * sizeof *before);
    memcpy(before, r.model->weights, table->floats * sizeof *before);
    assert_ok(open_frozen(&r, patterns, 2, &trainer, &error), error);
    assert_ok(il_trainer_step(trainer, &step, &error), error);
    double squares = 0;
    size_t frozen = 0;
    for (size_t i = 0; i < table->n; i++) {
        const il_table_entry *e = &table->entries[i];
        int is = strstr(e->name, "embed_tokens") || strstr(e->name, ".mlp."), moved = 0;
        frozen += (size_t)is;
        for (size_t k = e->offset; k < e->offset + e->count; k++) {
            double g = (double)trainer->gradient.gradient[k];
            squares += g * g;
            moved += trainer->optimizer.m[k] != 0 || trainer->optimizer.v[k] != 0;
        }
        int same = !memcmp(before + e->offset, r.model->weights + e->offset, e->count * sizeof *before);
        if (same != is || (is && moved)) fail_msg("%s %s", e->name, is ? "was frozen, and moved" : "did not move");
    }
    assert_int_equal(frozen, 1 + 3 * r.model->config.layers);
    assert_true(fabs(step.grad_norm - sqrt(squares)) < 1e-6 * step.grad_norm);
    /* a run goes on with what it froze, and with nothing else */
    assert_ok(il_trainer_save(trainer, NULL, support_path(folder, "out"), &error), error);
    il_trainer_close(trainer);
    static const char *const same[] = {"*embed*", "*mlp.gate_proj.weight", "*mlp.up*", "*mlp.down*"};
    assert_ok(open_frozen(&r, same, 4, &trainer, &error), error);
    assert_ok(il_trainer_resume(trainer, support_path(folder, "out"), &error), error);
    il_trainer_close(trainer);
    for (size_t n = 0; n < 2; n++) {
        assert_ok(open_frozen(&r, patterns, n, &trainer, &error), error);
        assert_fails(il_trainer_resume(trainer, support_path(folder, "out"), &error), IL_ERR_MISMATCH, error,
                     "frozen was 7 tensors, ");
        assert_non_null(strstr(error.message, n ? "is 1 tensors, " : "is nothing"));
        il_trainer_close(trainer);
    }
    static const char *const bad[][2] = {{"lm_head.weight", "is its embedding, model.embed_tokens.weight"},
                                         {"*.mpl.*", "freeze *.mpl.*: no tensor"},
                                         {"*", "every tensor is frozen"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(open_frozen(&r, bad[i], 1, &trainer, &error), IL_ERR_ARG, error, bad[i][1]);
    free(before);
    support_training_close(&r);
    support_folder_remove(folder);
}

/* A batch of several passes packs the weights once a step: the gradients are those from the plain weights,
 * also after the weights have changed. */
static void packed_once_a_step(void **unused) {
    (void)unused;
    enum { LONG = IL_MICRO_TOKENS / 2, MANY = 5, VOCABULARY = 61 };
    il_error error;
    il_engine *engine = lively_engine(2, NULL);
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    il_model *model = lively_model(engine, &config, 4);
    static int32_t tokens[MANY * (LONG + 1)];
    lively_tokens(tokens, MANY * (LONG + 1), VOCABULARY, 9);
    il_gradient packed, plain;
    double loss, other;
    assert_ok(il_gradient_open(model, MANY, LONG, 0, IL_GRADIENT, &packed, &error), error);
    assert_ok(il_gradient_open(model, MANY, LONG, 0, IL_GRADIENT, &plain, &error), error);
    assert_true(packed.packs);
    plain.packs = 0;
    for (int step = 0; step < 2; step++) {
        for (size_t i = 0; i < model->table.floats; i++) model->weights[i] *= 1.01F;
        model->version++;
        assert_ok(il_gradient_batch(&plain, tokens, NULL, MANY, 1, &other, &error), error);
        assert_true(model->packed_version != model->version);
        assert_ok(il_gradient_batch(&packed, tokens, NULL, MANY, 1, &loss, &error), error);
        assert_int_equal(model->packed_version, model->version);
        assert_true(loss == other);
        assert_memory_equal(packed.gradient, plain.gradient, model->table.floats * sizeof(float));
    }
    il_gradient_close(&plain);
    il_gradient_close(&packed);
    assert_ok(il_gradient_open(model, 2, LONG, 0, IL_GRADIENT, &plain, &error),
              error); /* one pass: not worth the memory */
    assert_false(plain.packs);
    il_gradient_close(&plain);
    il_model_unref(model);
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_once_a_step),
        cmocka_unit_test(any_thread_count_gives_the_same_weights),
        cmocka_unit_test(a_loss_that_is_no_number_stops),
        cmocka_unit_test(a_gradient_that_is_not_finite_stops),
        cmocka_unit_test(validation_changes_nothing),
        cmocka_unit_test(stateful_needs_a_state_of_constant_size),
        cmocka_unit_test(options_out_of_range_are_named),
        cmocka_unit_test(an_inner_rate_of_zero),
        cmocka_unit_test(schedules),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(steps_allocate_nothing),
        cmocka_unit_test(memory_is_linear_in_tokens),
        cmocka_unit_test(memory_stays_within_its_bound),
        cmocka_unit_test(a_refusal_says_what_fits),
        cmocka_unit_test(what_is_frozen_stays),
    };
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
