/* test_parity.c: against the official code. Every fixture is a small random model and what ttt-lm-pytorch, ttt-lm-jax
 * or transformers computed from it (tests/fixtures/README.md): logits of whole sequences and of cached decode, losses,
 * states, gradients, ten steps of the official optimizer. Bounds are those of meta.json, where the official codes keep
 * them against each other or against float64. And a model that is saved is the same when it is loaded again. */
#include "support_test.h"

#include "base/memory.h"
#include "session/session.h"
#include "support_files.h"
#include "support_lively.h"
#include "tensor/safetensors.h"
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIXTURE_COUNT = 30 }; /* folders of tests/fixtures: none may go unnoticed */

typedef struct {
    char name[256], dir[512];
    il_engine *engine;
    il_model *model;
    il_allocator memory;
    il_st expect;
    json_t *meta;
    const int32_t *tokens; /* [sequences, length+1] */
    size_t sequences, length, vocab;
} fixture;

static const il_st_tensor *expected(const fixture *f, const char *name) {
    const il_st_tensor *t = il_st_find(&f->expect, name);
    if (!t) fail_msg("%s: no %s", f->name, name);
    return t;
}

static float *floats(const fixture *f, const char *name) {
    const il_st_tensor *t = expected(f, name);
    float *out = malloc(t->count * sizeof *out);
    il_error error;
    assert_ok(il_st_to_f32(t, out, &error), error);
    return out;
}

static double number(const fixture *f, const char *object, const char *key, double otherwise) {
    const json_t *o = object ? json_object_get(f->meta, object) : f->meta, *v = json_object_get(o, key);
    return v ? json_number_value(v) : otherwise;
}

/* In the units of meta.json: of logits and states, their rms. */
static double bound(const fixture *f, const char *kind) {
    double value = number(f, "bounds", kind, 0);
    if (!(value > 0 && value <= 1e-4)) fail_msg("%s: no bound of %s", f->name, kind);
    return value;
}

static double rms(const float *x, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum / (double)n);
}

/* The largest figure of its kind over all fixtures, printed after each test; its bound has been asserted. */
static void note(double *worst, double value) {
    if (value > *worst) *worst = value;
}
static double worst_logits, worst_nll, worst_decode, worst_state, worst_tensor, worst_all, worst_training;

/* max |a - b| ≤ bound; the maximum over `unit` is noted. */
static void assert_near(const fixture *f, const char *what, const float *a, const float *b, size_t n, double bound,
                        double unit, double *noted) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double delta = fabs((double)a[i] - (double)b[i]);
        if (!(delta <= bound)) fail_msg("%s: %s: |delta| of %zu is %.3g, bound %.3g", f->name, what, i, delta, bound);
        if (delta > worst) worst = delta;
    }
    note(noted, worst / unit);
}

static void open_fixture(const char *name, fixture *f) {
    *f = (fixture){0};
    snprintf(f->name, sizeof f->name, "%s", name);
    snprintf(f->dir, sizeof f->dir, "%s/%s", FIXTURES, name);
    f->memory = il_allocator_default();
    il_error error;
    f->engine = lively_engine(2, NULL);
    assert_ok(il_model_load(f->engine, f->dir, &f->model, &error), error);
    if (il_model_config(f->model)->weights != IL_WEIGHTS_F32) { /* what can be trained */
        il_config config = *il_model_config(f->model);
        il_model *as_loaded = f->model;
        config.weights = IL_WEIGHTS_F32;
        assert_ok(il_model_convert(as_loaded, &config, &f->model, &error), error);
        il_model_unref(as_loaded);
    }
    char path[600];
    snprintf(path, sizeof path, "%s/expect.safetensors", f->dir);
    assert_ok(il_st_open(&f->memory, path, &f->expect, &error), error);
    snprintf(path, sizeof path, "%s/meta.json", f->dir);
    f->meta = json_load_file(path, 0, NULL);
    assert_non_null(f->meta);
    const il_st_tensor *tokens = expected(f, "tokens");
    assert_int_equal(tokens->rank, 2);
    f->tokens = (const int32_t *)(const void *)tokens->data;
    f->sequences = tokens->shape[0];
    f->length = tokens->shape[1] - 1;
    f->vocab = (size_t)il_model_config(f->model)->vocab_size;
}

static void close_fixture(fixture *f) {
    json_decref(f->meta);
    il_st_close(&f->expect);
    il_model_unref(f->model);
    il_engine_close(f->engine);
}

static void check_logits(const fixture *f) {
    il_error error;
    float *want = floats(f, "logits"), *nll_want = floats(f, "nll");
    size_t n = f->length * f->vocab;
    float *logits = malloc(n * sizeof *logits), *nll = malloc((f->length + 1) * sizeof *nll);
    for (size_t s = 0; s < f->sequences; s++) {
        il_session *session;
        assert_ok(il_session_open(f->model, NULL, &session, &error), error);
        const int32_t *tokens = f->tokens + s * (f->length + 1);
        il_feed feed = {.session = session, .tokens = tokens, .n = f->length, .nll = nll, .logits = logits};
        assert_ok(il_feed_many(&feed, 1, &error), error);
        double size = rms(want, n * f->sequences);
        assert_near(f, "logits", logits, want + s * n, n, bound(f, "logits") * size, size, &worst_logits);
        assert_ok(il_session_feed(session, tokens + f->length, 1, nll + f->length, NULL, &error), error);
        assert_near(f, "nll", nll + 1, nll_want + s * f->length, f->length, bound(f, "nll"), 1, &worst_nll);
        il_session_close(session);
    }
    free(want);
    free(nll_want);
    free(logits);
    free(nll);
}

static void check_decode(const fixture *f) {
    il_error error;
    /* where all was computed in float64, those of the whole sequence are the same */
    float *want = floats(f, il_st_find(&f->expect, "decode_logits") ? "decode_logits" : "logits");
    size_t prefill = (size_t)number(f, NULL, "decode_prefill", 0), n = f->length * f->vocab;
    float *logits = malloc(n * sizeof *logits);
    il_session *session;
    assert_ok(il_session_open(f->model, NULL, &session, &error), error);
    for (size_t t = 0; t < f->length;) {
        il_feed feed = {
            .session = session, .tokens = f->tokens + t, .n = t ? 1 : prefill, .logits = logits + t * f->vocab};
        assert_ok(il_feed_many(&feed, 1, &error), error);
        t += feed.n;
    }
    assert_near(f, "decode logits", logits, want, n, bound(f, "decode_logits") * rms(want, n), rms(want, n),
                &worst_decode);
    il_session_close(session);
    free(want);
    free(logits);
}

/* NULL: the fixture has none. */
static const il_st_tensor *kept(const fixture *f, int layer, const char *what, char name[40]) {
    snprintf(name, 40, "state.%d.%s", layer, what);
    return il_st_find(&f->expect, name);
}

static void check_kept(const fixture *f, const char *name, float *got) {
    float *want = floats(f, name);
    size_t n = expected(f, name)->count;
    assert_near(f, name, got, want, n, 5e-5 * rms(want, n), rms(want, n), &worst_state);
    free(want);
    free(got);
}

/* Fast weights; those of a key head, for which several value heads may have their own, are one carry. */
static void check_carry(const fixture *f, const il_state *state, int layer) {
    static const char *const parts[] = {"S", "W1", "b1", "W2", "b2"};
    const size_t heads = (size_t)f->model->layers[layer].heads;
    size_t at = 0;
    char name[40];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const il_st_tensor *t = kept(f, layer, parts[i], name);
        if (!t) continue;
        size_t each = t->count / heads;
        float *got = malloc(t->count * sizeof *got);
        for (size_t h = 0; h < heads; h++)
            memcpy(got + h * each,
                   il_state_carry(state, state->position / (uint64_t)f->model->config.mini_batch, layer, (int)h) + at,
                   each * sizeof *got);
        check_kept(f, name, got);
        at += each;
    }
}

/* What the convolution reads next: [3, channels] */
static void check_columns(const fixture *f, const il_state *state, int layer) {
    char name[40];
    const il_st_tensor *t = kept(f, layer, "columns", name);
    if (!t) return;
    size_t n = t->shape[1];
    float *got = malloc(t->count * sizeof *got);
    for (size_t i = 0; i < t->shape[0]; i++)
        memcpy(got + i * n, il_state_column(state, IL_RING_QK, layer, (int)n, state->position - t->shape[0] + i),
               n * sizeof *got);
    check_kept(f, name, got);
}

/* [tokens, heads, d] */
static void check_keys(const fixture *f, const il_state *state, int layer, int values) {
    char name[40];
    const il_st_tensor *t = kept(f, layer, values ? "values" : "keys", name);
    if (!t) return;
    size_t heads = t->shape[1], d = t->shape[2];
    float *got = malloc(t->count * sizeof *got);
    for (size_t i = 0; i < t->count; i++) {
        size_t p = i / d / heads, at = p % IL_KEY_BLOCK, j = i % d;
        const float *block = il_state_keys(state, p, layer, (int)(i / d % heads));
        got[i] = values ? block[(IL_KEY_BLOCK + at) * d + j] : block[j * IL_KEY_BLOCK + at];
    }
    check_kept(f, name, got);
}

static void check_states(const fixture *f) {
    il_error error;
    il_session *session;
    size_t n = (size_t)number(f, NULL, "state_length", (double)f->length);
    assert_ok(il_session_open(f->model, NULL, &session, &error), error);
    assert_ok(il_session_feed(session, f->tokens, n, NULL, NULL, &error), error);
    for (int layer = 0; layer < il_model_config(f->model)->layers; layer++) {
        check_carry(f, &session->state, layer);
        check_columns(f, &session->state, layer);
        check_keys(f, &session->state, layer, 0);
        check_keys(f, &session->state, layer, 1);
    }
    il_session_close(session);
}

static void check_gradients(const fixture *f) {
    il_error error;
    double loss, all = 0, all_norm = 0;
    float *gradient = malloc(il_model_parameters(f->model) * sizeof *gradient), *at = gradient;
    assert_ok(il_model_gradient(f->model, f->tokens, f->sequences, f->length, &loss, gradient, &error), error);
    float loss_ours = (float)loss, *loss_want = floats(f, "loss");
    assert_near(f, "loss", &loss_ours, loss_want, 1, bound(f, "train_losses"), 1, &worst_nll);
    free(loss_want);
    const json_t *norms = json_object_get(f->meta, "grad_l2_f64");
    for (size_t i = 0; i < il_model_tensor_count(f->model); i++) {
        il_tensor tensor;
        assert_ok(il_model_tensor_at(f->model, i, &tensor, &error), error);
        char name[160];
        snprintf(name, sizeof name, "grad.%s", tensor.name);
        size_t stride = 1;
        if (!il_st_find(&f->expect, name)) {
            size_t most = (size_t)number(f, NULL, "grad_sample_max", 0);
            assert_true(most > 0);
            stride = (tensor.count + most - 1) / most;
            snprintf(name, sizeof name, "grad_sample.%s", tensor.name);
        }
        float *want = floats(f, name);
        double delta = 0, norm = 0, full = 0;
        size_t n = expected(f, name)->count;
        assert_int_equal(n, (tensor.count + stride - 1) / stride);
        for (size_t j = 0; j < tensor.count; j++) full += (double)at[j] * (double)at[j];
        for (size_t j = 0; j < n; j++) {
            double d = (double)at[j * stride] - (double)want[j];
            delta += d * d;
            norm += (double)want[j] * (double)want[j];
        }
        free(want);
        if (norm == 0 && strstr(tensor.name, "learnable_token_idx") == NULL)
            fail_msg("%s: %s has no gradient", f->name, tensor.name);
        if (!(sqrt(delta) <= bound(f, "grad_tensor") * sqrt(norm)))
            fail_msg("%s: gradient of %s: relative L2 error %.3g", f->name, tensor.name, sqrt(delta / norm));
        if (norm > 0) note(&worst_tensor, sqrt(delta / norm));
        double norm_want = json_number_value(json_object_get(norms, tensor.name));
        if (!(fabs(sqrt(full) - norm_want) <= bound(f, "grad_tensor") * norm_want))
            fail_msg("%s: norm of the gradient of %s is %.9g, expected %.9g", f->name, tensor.name, sqrt(full),
                     norm_want);
        all += delta;
        all_norm += norm;
        at += tensor.count;
    }
    if (!(sqrt(all) <= bound(f, "grad_all") * sqrt(all_norm)))
        fail_msg("%s: all gradients: relative L2 error %.3g", f->name, sqrt(all / all_norm));
    note(&worst_all, sqrt(all / all_norm));
    free(gradient);
}

/* Ten steps of the official recipe from a token shard made of the fixture's stream. */
static void check_training(const fixture *f) {
    il_error error;
    const il_st_tensor *stream = expected(f, "stream"), *losses = expected(f, "train_losses_f64");
    assert_int_equal(losses->dtype, IL_F64);
    const double *want = (const double *)(const void *)losses->data;
    char *folder = support_folder_make();
    const char *path = support_path(folder, "stream.npy");
    FILE *file = fopen(path, "wb");
    char header[118];
    int n =
        snprintf(header, sizeof header, "{'descr': '<i4', 'fortran_order': False, 'shape': (%zu,), }", stream->count);
    memset(header + n, ' ', sizeof header - (size_t)n);
    header[sizeof header - 1] = '\n';
    fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, file);
    fwrite(header, 1, sizeof header, file);
    fwrite(stream->data, 1, stream->bytes, file);
    fclose(file);

    il_data_options data_options;
    il_data_options_default(&data_options);
    data_options.length = f->length;
    data_options.sequences = f->sequences;
    data_options.shuffle = 0;
    il_data *data;
    assert_ok(il_data_open(f->engine, &path, 1, NULL, (int)f->vocab, &data_options, &data, &error), error);
    il_trainer_options options;
    il_trainer_options_default(il_model_config(f->model), &options);
    options.steps = (uint64_t)number(f, "recipe", "steps", 0);
    options.lr = number(f, "recipe", "lr", 0);
    options.end_lr = number(f, "recipe", "end_lr", 0);
    options.warmup = number(f, "recipe", "lr_warmup_steps", 0);
    options.inner_lr_warmup = number(f, "recipe", "ttt_base_lr_warmup", 0);
    il_trainer *trainer;
    assert_ok(il_trainer_open(f->model, data, &options, &trainer, &error), error);
    for (size_t i = 0; i < losses->count; i++) {
        il_step step;
        assert_ok(il_trainer_step(trainer, &step, &error), error);
        if (!(fabs(step.loss - want[i]) <= bound(f, "train_losses")))
            fail_msg("%s: step %zu: loss %.9g, expected %.9g", f->name, i + 1, step.loss, want[i]);
        note(&worst_training, fabs(step.loss - want[i]));
        double lr = json_number_value(json_array_get(json_object_get(f->meta, "train_lr"), i));
        assert_true(fabs(step.lr - lr) <= 1e-9);
    }
    il_trainer_close(trainer);
    il_data_close(data);
    support_folder_remove(folder);
}

static void check_saved(const fixture *f) {
    il_error error;
    char *folder = support_folder_make(), was[33], is[33];
    for (int bf16 = 0; bf16 < 2; bf16++) {
        il_config config = *il_model_config(f->model);
        il_model *model, *again;
        if (bf16) config.weights = IL_WEIGHTS_BF16;
        assert_ok(il_model_convert(f->model, &config, &model, &error), error);
        assert_ok(il_model_save(model, folder, &error), error);
        assert_ok(il_model_load(f->engine, folder, &again, &error), error);
        il_model_fingerprint(model, was);
        il_model_fingerprint(again, is);
        if (strcmp(was, is) != 0) fail_msg("%s: another model when it is loaded again", f->name);
        il_model_unref(model);
        il_model_unref(again);
    }
    support_folder_remove(folder);
}

/* ---- steps.json: fifty steps of the JAX code on weights of init and the bytes of LICENSE ---- */

static int number_at(const json_t *run, const char *key) { return (int)json_integer_value(json_object_get(run, key)); }

static il_model *model_of_run(il_engine *engine, const json_t *run) {
    const char *key, *mixer = json_string_value(json_object_get(run, "mixer"));
    const char *backbone = json_string_value(json_object_get(run, "backbone"));
    json_t *value;
    il_config config;
    il_error error;
    il_model *model;
    assert_ok(il_config_preset("tiny", mixer, backbone, &config, &error), error);
    json_object_foreach(json_object_get(run, "set"), key, value) {
        char text[32];
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        assert_ok(il_config_set(&config, key, text, &error), error);
    }
    config.vocab_size = 258; /* bytes, BOS, EOS */
    config.bos_token = 256;
    config.eos_token = 257;
    assert_ok(il_model_init(engine, &config, (uint64_t)number_at(run, "seed"), &model, &error), error);
    return model;
}

/* Largest difference of a loss. */
static double check_run(const char *name, const json_t *run, const json_t *recipe, const char *text, size_t bytes) {
    il_engine *engine = lively_engine(2, NULL);
    il_model *model = model_of_run(engine, run);
    il_data_options of = {.length = (size_t)number_at(run, "length"), .sequences = (size_t)number_at(run, "sequences")};
    const json_t *losses = json_object_get(run, "losses"), *norms = json_object_get(run, "grad_norms");
    int32_t *tokens = malloc(of.sequences * (of.length + 1) * sizeof *tokens);
    il_trainer_options options;
    il_trainer *trainer;
    il_data *data;
    il_error error;
    double worst = 0;
    il_trainer_options_default(il_model_config(model), &options);
    options.steps = (uint64_t)number_at(recipe, "steps");
    options.lr = json_number_value(json_object_get(run, "lr"));
    options.warmup = number_at(recipe, "lr_warmup_steps");
    assert_int_equal(json_array_size(losses), options.steps);
    assert_ok(il_data_open_given(engine, 258, &of, &data, &error), error);
    assert_ok(il_trainer_open(model, data, &options, &trainer, &error), error);
    for (size_t n = 0; n < options.steps; n++) {
        il_step step;
        for (size_t s = 0; s < of.sequences; s++)
            for (size_t t = 0; t <= of.length; t++)
                tokens[s * (of.length + 1) + t] = (unsigned char)text[((n * of.sequences + s) * of.length + t) % bytes];
        assert_ok(il_data_give(data, tokens, NULL, &error), error);
        assert_ok(il_trainer_step(trainer, &step, &error), error);
        double apart = fabs(step.loss - json_number_value(json_array_get(losses, n)));
        double norm = json_number_value(json_array_get(norms, n));
        if (!(apart <= 1e-3)) fail_msg("%s: step %zu: loss %.9g, off by %.2g", name, n + 1, step.loss, apart);
        if (!(fabs(step.grad_norm - norm) <= 0.02 * norm))
            fail_msg("%s: step %zu: norm of the gradient %.9g, expected %.9g", name, n + 1, step.grad_norm, norm);
        if (apart > worst) worst = apart;
    }
    free(tokens);
    il_trainer_close(trainer);
    il_data_close(data);
    il_model_unref(model);
    il_engine_close(engine);
    return worst;
}

/* IL_LONG=1: also those of minutes. */
static void fifty_official_steps(void **state) {
    (void)state;
    json_error_t why;
    json_t *made = json_load_file(FIXTURES "/steps.json", 0, &why), *run;
    const char *name;
    size_t bytes;
    char *text = support_read(FIXTURES "/../../LICENSE", &bytes);
    if (!made) fail_msg("steps.json: %s", why.text);
    json_object_foreach(json_object_get(made, "runs"), name, run) {
        if (json_is_true(json_object_get(run, "long")) && !getenv("IL_LONG")) continue;
        double worst = check_run(name, run, json_object_get(made, "recipe"), text, bytes);
        print_message("%s: losses of fifty steps %.2g from the official code's\n", name, worst);
    }
    free(text);
    json_decref(made);
}

static void each_fixture(void (*check)(const fixture *)) {
    DIR *dir = opendir(FIXTURES);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char config[600];
        snprintf(config, sizeof config, "%s/%s/config.json", FIXTURES, entry->d_name);
        if (access(config, R_OK) != 0) continue; /* no model */
        fixture f;
        open_fixture(entry->d_name, &f);
        check(&f);
        close_fixture(&f);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, FIXTURE_COUNT);
}

static void logits_and_losses(void **state) {
    (void)state;
    each_fixture(check_logits);
    print_message("worst fixture: logits %.2g of their rms, nll and loss %.2g\n", worst_logits, worst_nll);
}
static void cached_decode(void **state) {
    (void)state;
    each_fixture(check_decode);
    print_message("worst fixture: logits of cached decode %.2g of their rms\n", worst_decode);
}
static void states(void **state) {
    (void)state;
    each_fixture(check_states);
    assert_true(worst_state > 0);
    print_message("worst fixture: states %.2g of the rms of a tensor\n", worst_state);
}
static void gradients(void **state) {
    (void)state;
    each_fixture(check_gradients);
    print_message("worst fixture: gradient of a tensor %.2g, all together %.2g\n", worst_tensor, worst_all);
}
static void ten_optimizer_steps(void **state) {
    (void)state;
    each_fixture(check_training);
    print_message("worst fixture: losses of ten optimizer steps %.2g from float64\n", worst_training);
}
static void saved_and_loaded(void **state) {
    (void)state;
    each_fixture(check_saved);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(logits_and_losses),
                                       cmocka_unit_test(cached_decode),
                                       cmocka_unit_test(states),
                                       cmocka_unit_test(gradients),
                                       cmocka_unit_test(ten_optimizer_steps),
                                       cmocka_unit_test(saved_and_loaded),
                                       cmocka_unit_test(fifty_official_steps)};
    return cmocka_run_group_tests_name("parity", tests, NULL, NULL);
}
