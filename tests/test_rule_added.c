/* test_rule_added.c: a library and a command to which an inner rule was added, by one file, example_rule.c, and one
 * line in the table of rules (CMakeLists.txt). All that the others can do it can do: no other file was told of it. */
#include "support_test.h"

#include "inner/rules.h"
#include "model/config.h"
#include "model/config_count.h"
#include "model/config_read.h"
#include "model/config_write.h"
#include "model/mixer_names.h"
#include "model/model.h"
#include "support_cli.h"
#include "support_files.h"
#include "support_inner.h"
#include "support_lively.h"
#include "support_text.h"
#include "support_train.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 50, VOCAB = 61 };
static const il_mixer_kind EXAMPLE = IL_MIXER_TTT_MLP + 1;

/* ---- the rule ---- */

static void forward(void **state) { (void)state, inner_check_forward(il_rule_of(EXAMPLE)); }
static void gradients(void **state) { (void)state, inner_check_gradients(il_rule_of(EXAMPLE)); }
static void splits(void **state) { (void)state, inner_check_splits(il_rule_of(EXAMPLE)); }
static void kernels(void **state) { (void)state, inner_check_kernels(il_rule_of(EXAMPLE)); }
static void garbage(void **state) { (void)state, inner_check_garbage(il_rule_of(EXAMPLE)); }
static void carry(void **state) { (void)state, inner_check_state(il_rule_of(EXAMPLE)); }
static void statistics(void **state) { (void)state, inner_check_statistics(il_rule_of(EXAMPLE)); }

/* ---- names and numbers ---- */

static void it_has_the_next_number(void **state) {
    (void)state;
    assert_int_equal(il_mixer_count(), (int)EXAMPLE + 1);
    assert_string_equal(il_mixer_name(EXAMPLE), "ttt_example");
    assert_string_equal(il_mixer_name(IL_MIXER_TTT_MLP), "ttt_mlp"); /* the others kept theirs */
}

static void a_config_names_it(void **state) {
    static const char text[] = "{\"model_type\":\"ttt\",\"ttt_layer_type\":\"example\",\"num_hidden_layers\":2}",
                      hybrid[] = "{\"model_type\":\"ttt\",\"num_hidden_layers\":2,"
                                 "\"layer_types\":[\"full_attention\",\"ttt_example\"]}",
                      unknown[] = "{\"model_type\":\"ttt\",\"ttt_layer_type\":\"none\"}";
    il_allocator memory = il_allocator_default();
    il_trainer_options options;
    il_config config, again;
    il_error error;
    char *written;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_example", NULL, &config, &error), error);
    assert_int_equal(config.mixer, EXAMPLE);
    assert_true(config.ttt_base_lr == 0.5);
    il_trainer_options_default(&config, &options);
    assert_true(options.inner_lr_start == 0.25);
    assert_ok(il_config_text(&memory, &config, &written, &error), error);
    assert_non_null(strstr(written, "\"ttt_layer_type\": \"example\""));
    assert_ok(il_config_parse("again", written, strlen(written), &again, &error), error);
    assert_true(il_config_same(&config, &again));
    il_free(&memory, written);

    assert_ok(il_config_parse("text", text, strlen(text), &config, &error), error);
    assert_int_equal(config.mixer, EXAMPLE);
    assert_ok(il_config_parse("text", hybrid, strlen(hybrid), &config, &error), error);
    assert_int_equal(config.mixer, EXAMPLE);
    assert_int_equal(il_config_mixer(&config, 0), IL_MIXER_SELF_ATTENTION);
    assert_fails(il_config_parse("text", unknown, strlen(unknown), &config, &error), IL_ERR_UNSUPPORTED, error,
                 "(linear, linear_decay, mlp, example)");
    assert_fails(il_config_preset("tiny", "none", NULL, &config, &error), IL_ERR_ARG, error, ", ttt_mlp, ttt_example)");
}

/* ---- a model ---- */

/* Of layers that have the rule, or of one that has it and one of self-attention. */
static il_config config_of(int hybrid) {
    il_config config = lively_config(EXAMPLE, 16);
    config.fast_head_lr = 0.3; /* what a file without a fast head means */
    if (hybrid) {
        config.n_layer_types = config.layers;
        config.layer_types[0] = (unsigned char)EXAMPLE;
        config.layer_types[1] = IL_MIXER_SELF_ATTENTION;
    }
    return config;
}

static void read_tokens(il_model *model, const int32_t *tokens, size_t piece, float *logits, float *nll) {
    il_session *session = lively_session(model, 0);
    for (size_t at = 0; at < N; at += piece) {
        il_feed feed = {.session = session,
                        .tokens = tokens + at,
                        .n = N - at < piece ? N - at : piece,
                        .nll = nll + at,
                        .logits = logits + at * VOCAB};
        il_error error;
        assert_ok(il_feed_many(&feed, 1, &error), error);
    }
    il_session_close(session);
}

static void any_chunking_gives_the_same_bits(void **state) {
    static float whole[N * VOCAB], cut[N * VOCAB], nll[N], cut_nll[N];
    int32_t tokens[N];
    (void)state;
    lively_tokens(tokens, N, VOCAB, 3);
    for (int hybrid = 0; hybrid < 2; hybrid++) {
        il_engine *one = lively_engine(1, NULL), *three = lively_engine(3, NULL);
        il_config config = config_of(hybrid);
        il_model *model = lively_model(one, &config, 7), *other = lively_model(three, &config, 7);
        assert_int_equal(il_model_parameters(model), il_config_parameters(&config));
        read_tokens(model, tokens, N, whole, nll);
        read_tokens(model, tokens, 1, cut, cut_nll);
        assert_memory_equal(whole, cut, sizeof whole);
        assert_memory_equal(nll + 1, cut_nll + 1, sizeof nll - sizeof *nll);
        read_tokens(other, tokens, 7, cut, cut_nll);
        assert_memory_equal(whole, cut, sizeof whole);
        assert_memory_equal(nll + 1, cut_nll + 1, sizeof nll - sizeof *nll);
        il_model_unref(other);
        il_model_unref(model);
        il_engine_close(three);
        il_engine_close(one);
    }
}

/* Along each tensor's own gradient, whose slope is its length. */
static void a_models_gradient_is_that_of_its_loss(void **state) {
    enum { SEQUENCES = 2, LENGTH = 40 };
    int32_t tokens[SEQUENCES * (LENGTH + 1)];
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    (void)state;
    lively_tokens(tokens, SEQUENCES * (LENGTH + 1), VOCAB, 5);
    for (int hybrid = 0; hybrid < 2; hybrid++) {
        il_config config = config_of(hybrid);
        il_model *model = lively_model(engine, &config, 11);
        size_t n = (size_t)il_model_parameters(model), checked = 0;
        float *gradient = calloc(n, sizeof *gradient), *other = calloc(n, sizeof *other), *at = gradient;
        double loss;
        assert_true(gradient && other);
        assert_ok(il_model_gradient(model, tokens, SEQUENCES, LENGTH, &loss, gradient, &error), error);
        for (size_t i = 0; i < model->table.n; at += model->table.entries[i++].count) {
            const il_table_entry *e = &model->table.entries[i];
            float *weights = model->weights + e->offset;
            double length = 0, side[2];
            for (size_t j = 0; j < e->count; j++) length += (double)at[j] * (double)at[j];
            length = sqrt(length);
            if (length < 1e-3) continue; /* its slope would be lost in the loss's own rounding */
            for (int s = 0; s < 2; s++) {
                float step = (float)((s ? 2e-2 : -2e-2) / length);
                for (size_t j = 0; j < e->count; j++) weights[j] += step * at[j];
                model->version++;
                assert_ok(il_model_gradient(model, tokens, SEQUENCES, LENGTH, &side[s], other, &error), error);
                for (size_t j = 0; j < e->count; j++) weights[j] -= step * at[j];
            }
            double slope = (side[1] - side[0]) / 4e-2;
            if (!(fabs(slope - length) <= 2e-2 * length))
                fail_msg("%s: the gradient's length is %g, differences give %g", e->name, length, slope);
            checked += strstr(e->name, ".W1") || strstr(e->name, ".b1");
        }
        assert_int_equal(checked, hybrid ? 2 : 4); /* the rule's own tensors of every layer that has it */
        free(other);
        free(gradient);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

static void models_and_states_are_saved_and_loaded(void **state) {
    static float logits[VOCAB], again[VOCAB];
    int32_t tokens[N];
    char saved[33], loaded[33], *folder = support_folder_make();
    il_engine *engine = lively_engine(1, NULL);
    il_error error;
    (void)state;
    lively_tokens(tokens, N, VOCAB, 3);
    for (int hybrid = 0; hybrid < 2; hybrid++) {
        il_config config = config_of(hybrid);
        il_model *model = lively_model(engine, &config, 7), *copy;
        il_session *session = lively_session(model, 0), *back;
        assert_ok(il_model_save(model, folder, &error), error);
        assert_ok(il_model_load(engine, folder, &copy, &error), error);
        assert_true(il_config_same(&config, il_model_config(copy)));
        il_model_fingerprint(model, saved);
        il_model_fingerprint(copy, loaded);
        assert_string_equal(saved, loaded);

        const char *path = support_path(folder, "s.ilstate");
        assert_ok(il_session_feed(session, tokens, N - 9, NULL, NULL, &error), error);
        assert_ok(il_session_save(session, path, &error), error);
        assert_ok(il_session_load(copy, path, &back, &error), error);
        assert_ok(il_session_feed(session, tokens + N - 9, 9, NULL, NULL, &error), error);
        assert_ok(il_session_feed(back, tokens + N - 9, 9, NULL, NULL, &error), error);
        assert_ok(il_session_logits(session, logits, &error), error);
        assert_ok(il_session_logits(back, again, &error), error);
        assert_memory_equal(logits, again, sizeof logits);
        il_session_close(back);
        il_session_close(session);
        il_model_unref(copy);
        il_model_unref(model);
    }
    il_engine_close(engine);
    support_folder_remove(folder);
}

static void it_learns(void **state) {
    (void)state;
    char *folder = support_folder_make();
    const char *shard = support_train_shard(folder);
    support_training one, two;
    support_training_open(&one, shard, EXAMPLE, 1, 1);
    support_training_open(&two, shard, EXAMPLE, 2, 1);
    double first = support_train_steps(one.trainer, 1),
           last = support_train_steps(one.trainer, SUPPORT_TRAIN_STEPS - 1);
    assert_true(last < first - 0.3);
    support_train_steps(two.trainer, SUPPORT_TRAIN_STEPS);
    support_training_same(&one, &two);
    support_training_close(&two);
    support_training_close(&one);
    support_folder_remove(folder);
}

/* ---- the command ---- */

static void the_command_offers_it(void **state) {
    (void)state;
    static const char *const verbs[] = {"init", "bench"};
    for (int i = 0; i < 2; i++) {
        char *help = support_done("%s --help", verbs[i]);
        assert_non_null(strstr(help, "ttt_mlp,ttt_example,gated_delta,self_attention"));
        free(help);
    }
    char *prose = support_prose(4000);
    support_write("book.txt", prose, 4000);
    free(prose);
    free(support_done("init --preset tiny %s --layers ttt_example,self_attention --out hybrid", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer ttt_example --out m", SUPPORT_SHAPE));
    free(support_done("train --model m --data book.txt --out run --steps 3 --batch-tokens 64 --seq-len 32"));
    json_t *object = support_json("inspect run");
    assert_string_equal(support_string(object, "config.mixer"), "ttt_example");
    json_decref(object);
    object = support_json("eval --model run/latest --data book.txt --by-position");
    const json_t *bucket = json_array_get(json_object_get(object, "positions"), 5);
    assert_true(support_number(bucket, "change_norm") > 0);
    json_decref(object);
}

/* d = 32, 4 heads, 4 layers, b = 16, of the preset. */
static void bench_counts_what_it_says_it_costs(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_example --work decode --context 16 --repeat 1 "
                                  "--html page.html");
    const json_t *row = json_array_get(json_object_get(object, "rows"), 0);
    il_config config;
    il_error error;
    assert_ok(il_config_preset("tiny", "ttt_example", NULL, &config, &error), error);
    double parameters = (double)il_config_parameters(&config) - 4 * 4 * (32 * 32 + 32);
    double floats = parameters + 4 * 4 * (32 * 32 + 32 + 8.5 * (2 * 32 + 1)) + 128;
    assert_string_equal(support_string(row, "mixer"), "ttt_example");
    assert_true(fabs(support_number(row, "bytes_per_token") - 4 * floats) < 1);
    assert_true(fabs(support_number(row, "flops_per_token") - il_config_flops_per_token(&config, 16, 1)) < 1);
    json_decref(object);
    char *page = support_text_of("page.html");
    assert_non_null(strstr(page, "<path class=\"line other\""));
    assert_non_null(strstr(page, ">ttt_example<"));
    free(page);
}

/* It has no checksums written down: one run is compared with another. */
static void doctor_examines_it(void **state) {
    (void)state;
    json_t *object = support_json("doctor"), *check;
    size_t i, n = 0;
    assert_true(json_is_true(json_object_get(object, "passed")));
    json_array_foreach(json_object_get(object, "checks"), i, check) {
        if (strcmp(support_string(check, "model"), "ttt_example") != 0) continue;
        assert_true(json_is_true(json_object_get(check, "passed")));
        n++;
    }
    assert_int_equal(n, 2 * json_array_size(json_object_get(object, "kernels_usable")));
    json_decref(object);
}

static int begin(void **state) {
    support_command = WITH_EXAMPLE;
    support_seed(6);
    return support_cli_begin(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward),
        cmocka_unit_test(gradients),
        cmocka_unit_test(splits),
        cmocka_unit_test(kernels),
        cmocka_unit_test(garbage),
        cmocka_unit_test(carry),
        cmocka_unit_test(statistics),
        cmocka_unit_test(it_has_the_next_number),
        cmocka_unit_test(a_config_names_it),
        cmocka_unit_test(any_chunking_gives_the_same_bits),
        cmocka_unit_test(a_models_gradient_is_that_of_its_loss),
        cmocka_unit_test(models_and_states_are_saved_and_loaded),
        cmocka_unit_test(it_learns),
        cmocka_unit_test(the_command_offers_it),
        cmocka_unit_test(bench_counts_what_it_says_it_costs),
        cmocka_unit_test(doctor_examines_it),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
