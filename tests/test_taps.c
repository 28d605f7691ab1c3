/* test_taps.c: inputs that look back: what config.json says of them, and that a model with them learns what one without
 * does not: to copy the last frame. That they are the same bits in every way of running, exact in training, and part of
 * a state is in test_session.c, test_gradients.c and test_state_file.c. */
#include "support_test.h"

#include "base/philox.h"
#include "model/config.h"
#include "model/config_count.h"
#include "model/config_read.h"
#include "model/config_write.h"
#include "model/model.h"
#include "support_lively.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static il_status parse(const char *keys, il_config *config, il_error *error) {
    char text[1024];
    snprintf(text, sizeof text, "{\"model_type\":\"ttt\",\"num_hidden_layers\":2%s}", keys);
    return il_config_parse("config.json", text, strlen(text), config, error);
}

static void a_list_in_config_json(void **unused) {
    (void)unused;
    const il_allocator memory = il_allocator_default();
    il_config c, again;
    il_error error;
    char *text;
    assert_ok(parse("", &c, &error), error);
    assert_int_equal(c.n_taps, 0);
    uint64_t without = il_config_parameters(&c);
    assert_ok(il_config_text(&memory, &c, &text, &error), error);
    assert_null(strstr(text, "taps"));
    il_free(&memory, text);
    assert_ok(parse(",\"taps\":null", &c, &error), error);
    assert_int_equal(c.n_taps, 0);
    assert_ok(parse(",\"taps\":[28,2,65536]", &c, &error), error);
    assert_true(c.n_taps == 3 && c.taps[0] == 28 && c.taps[1] == 2 && c.taps[2] == 65536);
    assert_int_equal(il_config_parameters(&c) - without, 3 * 32000 * (uint64_t)c.width);
    assert_ok(il_config_text(&memory, &c, &text, &error), error);
    assert_ok(il_config_parse("again", text, strlen(text), &again, &error), error);
    il_free(&memory, text);
    assert_true(il_config_same(&c, &again));
    again.taps[1] = 3; /* the order is part of the arithmetic, too */
    assert_false(il_config_same(&c, &again));
    again.n_taps = 0;
    assert_false(il_config_same(&c, &again));
}

static void lists_that_are_refused(void **unused) {
    (void)unused;
    static const char *const bad[][2] = {{"[1]", "taps: 1 is not from 2 to 65536"},
                                         {"[-4]", "taps: -4 is not from"},
                                         {"[65537]", "taps: 65537 is not from"},
                                         {"[99999999999999]", "is not from"},
                                         {"[4,8,4]", "taps: 4 stands there twice"},
                                         {"[2.0]", "taps: entry 0 must be an integer"},
                                         {"\"2,3\"", "taps: must be a list"},
                                         {"{\"2\":3}", "taps: must be a list"},
                                         {"[2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]", "more than 16"}};
    il_config c;
    il_error error;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char keys[200];
        snprintf(keys, sizeof keys, ",\"taps\":%s", bad[i][0]);
        assert_fails(parse(keys, &c, &error), IL_ERR_FORMAT, error, bad[i][1]);
    }
    /* other software's models have none */
    const char llama[] = "{\"model_type\":\"llama\",\"taps\":[2]}";
    assert_fails(il_config_parse("config.json", llama, strlen(llama), &c, &error), IL_ERR_UNSUPPORTED, error,
                 "taps: is not a key of a model of type llama");
    assert_ok(il_config_preset("tiny", "self_attention", NULL, &c, &error), error);
    assert_ok(il_config_set(&c, "taps", "28,27", &error), error);
    assert_true(c.n_taps == 2 && c.taps[0] == 28 && c.taps[1] == 27);
    assert_ok(il_config_set(&c, "taps", "5", &error), error);
    assert_true(c.n_taps == 1 && c.taps[0] == 5);
    assert_ok(il_config_set(&c, "taps", "[7,9]", &error), error);
    assert_true(c.n_taps == 2 && c.taps[1] == 9);
    assert_fails(il_config_set(&c, "taps", "7,,9", &error), IL_ERR_ARG, error, "numbers with commas");
    assert_fails(il_config_set(&c, "taps", "7,9999999999", &error), IL_ERR_ARG, error, "numbers with commas");
    assert_ok(il_config_set(&c, "taps", "null", &error), error);
    assert_int_equal(c.n_taps, 0);
}

static void the_fingerprint_knows_them(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    char seen[3][33];
    for (int i = 0; i < 3; i++) {
        il_config config = lively_config(IL_MIXER_TTT_LINEAR, 4);
        il_model *model;
        il_error error;
        config.n_taps = 2;
        config.taps[0] = i == 1 ? 9 : 5, config.taps[1] = i == 1 ? 5 : i == 2 ? 8 : 9; /* the same weights each time */
        assert_ok(il_model_init(engine, &config, 3, &model, &error), error);
        il_model_fingerprint(model, seen[i]);
        il_model_unref(model);
    }
    assert_string_not_equal(seen[0], seen[1]);
    assert_string_not_equal(seen[0], seen[2]);
    il_engine_close(engine);
}

/* ---- films of which every frame is the first ---- */

enum { FRAME = 12, FRAMES = 5, LENGTH = FRAME * FRAMES, FILMS = 8, STEPS = 150, COLOURS = 7 };

static void make_films(int32_t *tokens, uint32_t number) {
    for (int film = 0; film < FILMS; film++)
        for (int t = 0; t <= LENGTH; t++) {
            uint32_t r[4];
            il_philox(9, IL_PURPOSE_TEST, number, (uint64_t)film * FRAME + (uint64_t)(t % FRAME), r);
            tokens[film * (LENGTH + 1) + t] = (int32_t)(r[0] % COLOURS);
        }
}

/* Adam as small as it can be; tokens that no step has seen then cost so much, after the first frame. */
static double loss_of_copying(il_engine *engine, int n_taps) {
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 4);
    il_model *model;
    il_error error;
    config.vocab_size = COLOURS, config.layers = 1;
    config.n_taps = n_taps, config.taps[0] = FRAME;
    assert_ok(il_model_init(engine, &config, 3, &model, &error), error);
    size_t n = (size_t)il_model_parameters(model), at = 0;
    float *gradient = malloc(n * sizeof *gradient), *m = calloc(n, sizeof *m), *v = calloc(n, sizeof *v);
    int32_t tokens[FILMS * (LENGTH + 1)];
    assert_true(gradient && m && v);
    for (int step = 1; step <= STEPS; step++, at = 0) {
        double loss;
        make_films(tokens, (uint32_t)step);
        assert_ok(il_model_gradient(model, tokens, FILMS, LENGTH, &loss, gradient, &error), error);
        for (size_t i = 0; i < model->table.n; i++) {
            const il_table_entry *entry = &model->table.entries[i];
            for (size_t j = 0; j < entry->count; j++, at++) {
                m[at] += 0.1F * (gradient[at] - m[at]);
                v[at] += 0.05F * (gradient[at] * gradient[at] - v[at]);
                model->weights[entry->offset + j] -= 0.01F * m[at] / (sqrtf(v[at]) + 1e-8F);
            }
        }
        model->version++;
    }
    float nll[LENGTH];
    double sum = 0;
    make_films(tokens, STEPS + 1);
    for (int film = 0; film < FILMS; film++) {
        il_session *session = lively_session(model, 0);
        assert_ok(il_session_feed(session, tokens + film * (LENGTH + 1), LENGTH, nll, NULL, &error), error);
        for (int t = FRAME; t < LENGTH; t++) sum += (double)nll[t];
        il_session_close(session);
    }
    free(gradient), free(m), free(v);
    il_model_unref(model);
    return sum / (FILMS * (LENGTH - FRAME));
}

static void the_last_frame_is_copied(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    double with = loss_of_copying(engine, 1), without = loss_of_copying(engine, 0);
    if (!(with < 0.02)) fail_msg("%g nats a token with a tap at the last frame", with);
    if (!(without > 0.3)) fail_msg("%g nats a token without: this says nothing of taps", without);
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_in_config_json), cmocka_unit_test(lists_that_are_refused),
        cmocka_unit_test(the_fingerprint_knows_them), cmocka_unit_test(the_last_frame_is_copied)};
    return cmocka_run_group_tests_name("taps", tests, NULL, NULL);
}
