/* test_overflow.c: logits that a float does not hold are an error that says where, never a loss; the session goes on.
 */
#include "support_test.h"

#include "model/model.h"
#include "support_lively.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 100, VOCAB = 61, TOKEN = 7, NONE = -1 };

static const struct {
    il_mixer_kind mixer;
    int fast_head;
} kinds[] = {{IL_MIXER_TTT_LINEAR, 0}, {IL_MIXER_TTT_LINEAR_DECAY, 20}, {IL_MIXER_SELF_ATTENTION, 0}};
enum { KINDS = sizeof kinds / sizeof *kinds };

static il_engine *engine;
static int32_t tokens[N];
static float logits[N * VOCAB], nll[N], slow[N];

static int begin(void **state) {
    (void)state;
    engine = lively_engine(2, NULL);
    lively_tokens(tokens, N, VOCAB, 5);
    return 0;
}

static int end(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

/* A model whose logit of TOKEN overflows where one entry of the hidden vector is large, as in few places it is. */
static il_model *overflowing(int kind, float weight) {
    il_config config = lively_config(kinds[kind].mixer, 16);
    config.tie_word_embeddings = 0;
    config.fast_head_size = kinds[kind].fast_head;
    config.fast_head_lr = 0.3;
    il_model *model = lively_model(engine, &config, 11);
    float *row = model->weights + model->head.at + (size_t)TOKEN * (size_t)config.width;
    memset(row, 0, (size_t)config.width * sizeof *row);
    row[0] = weight;
    model->version++;
    return model;
}

/* The first token whose prediction is not finite in what was computed. */
static int first_of(const float *losses, int rows) {
    for (int t = 1; t < N && losses; t++)
        if (!isfinite(losses[t])) return t;
    for (int i = 0; i < N * VOCAB && rows; i++)
        if (!isfinite(logits[i])) return i / VOCAB + 1;
    return NONE;
}

enum { NLL = 1, SLOW = 2, ROWS = 4 };

/* Feeds by `step` tokens until it fails; returns the position that the error names. */
static int fed(il_session *s, size_t step, int wanted) {
    il_error error = {0};
    int place = NONE;
    for (size_t at = 0; at < N; at += step) {
        size_t n = N - at < step ? N - at : step;
        il_feed f = {.session = s, .tokens = tokens + at, .n = n};
        if (wanted & NLL) f.nll = nll + at;
        if (wanted & SLOW) f.slow_nll = slow + at;
        if (wanted & ROWS) f.logits = logits + at * VOCAB;
        il_status status = il_feed_many(&f, 1, &error);
        assert_int_equal(f.consumed, n); /* what is asked for cannot be given, but it is read */
        assert_int_equal(il_session_position(s), at + n);
        if (status == IL_OK) continue;
        assert_int_equal(status, IL_ERR_NONFINITE);
        assert_non_null(strstr(error.message, "feed 0: the prediction of the token at position "));
        if (place == NONE) place = atoi(strstr(error.message, "position ") + 9);
    }
    return place;
}

static void feeds_name_the_first_position(void **unused) {
    (void)unused;
    static const size_t steps[] = {N, 1, 7, 40};
    for (int kind = 0; kind < KINDS; kind++)
        for (int sign = -1; sign < 2; sign += 2) {
            il_model *model = overflowing(kind, (float)sign * 2e38F);
            int late = 0;
            for (int wanted = 1; wanted < 8; wanted++)
                for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                    il_session *s = lively_session(model, 0);
                    int place = fed(s, steps[i], wanted);
                    int of_nll = first_of(wanted & NLL ? nll : NULL, 0),
                        of_slow = first_of(wanted & SLOW ? slow : NULL, 0), of_rows = first_of(NULL, wanted & ROWS);
                    const int all[] = {of_nll, of_slow, of_rows};
                    int want = NONE;
                    for (int k = 0; k < 3; k++)
                        if (all[k] != NONE && (want == NONE || all[k] < want)) want = all[k];
                    assert_int_equal(place, want);
                    if (wanted & ROWS) assert_true(want != NONE);
                    late |= want > 1;
                    il_session_close(s);
                }
            assert_true(late); /* not every place overflows */
            il_model_unref(model);
        }
}

/* In a batch the first feed that has one is named, and the others are as they would be alone. */
static void batches(void **unused) {
    (void)unused;
    il_error error;
    il_model *good = overflowing(0, 1), *model = overflowing(0, 2e38F);
    il_session *s[3];
    float alone[N], beside[N];
    for (int i = 0; i < 3; i++) s[i] = lively_session(model, 0);
    il_feed one = {.session = s[0], .tokens = tokens, .n = N};
    il_feed feeds[2] = {{.session = s[1], .tokens = tokens, .n = N},
                        {.session = s[2], .tokens = tokens, .n = N, .nll = nll}};
    assert_ok(il_feed_many(&one, 1, &error), error); /* nothing was asked for */
    assert_fails(il_feed_many(feeds, 2, &error), IL_ERR_NONFINITE, error, "feed 1: the prediction");
    char hex[2][33];
    int32_t next = 3;
    for (int i = 0; i < 3; i++) { /* all stand at the same place, with the same state */
        assert_int_equal(il_session_position(s[i]), N);
        assert_ok(il_session_fingerprint(s[i], hex[1], &error), error);
        if (i) assert_string_equal(hex[0], hex[1]);
        memcpy(hex[0], hex[1], sizeof hex[0]);
        assert_ok(il_session_feed(s[i], &next, 1, NULL, NULL, &error), error);
        il_session_close(s[i]);
    }
    il_session *g = lively_session(good, 0);
    assert_ok(il_session_feed(g, tokens, N, alone, NULL, &error), error);
    il_session_close(g);
    g = lively_session(good, 0);
    il_session *bad = lively_session(good, 0);
    il_feed two[2] = {{.session = bad, .tokens = tokens, .n = 5},
                      {.session = g, .tokens = tokens, .n = N, .nll = beside}};
    assert_ok(il_feed_many(two, 2, &error), error);
    assert_memory_equal(alone + 1, beside + 1, (N - 1) * sizeof *alone);
    il_session_close(g);
    il_session_close(bad);
    il_model_unref(good);
    il_model_unref(model);
}

static void predictions(void **unused) {
    (void)unused;
    il_error error;
    float row[VOCAB];
    for (int kind = 0; kind < KINDS; kind++) {
        il_model *model = overflowing(kind, 2e38F);
        il_session *s = lively_session(model, 0);
        fed(s, N, ROWS);
        il_session_close(s);
        s = lively_session(model, 0);
        int broken = 0;
        for (int t = 0; t < N; t++) {
            assert_ok(il_session_feed(s, tokens + t, 1, NULL, NULL, &error), error);
            int finite = 1;
            for (int i = 0; i < VOCAB; i++) finite &= isfinite(logits[t * VOCAB + i]) != 0;
            il_status status = il_session_logits(s, row, &error);
            assert_int_equal(status, finite ? IL_OK : IL_ERR_NONFINITE);
            if (!finite) assert_non_null(strstr(error.message, "position "));
            broken += !finite;
        }
        assert_true(broken > 0 && broken < N);
        il_session_close(s);
        il_model_unref(model);
    }
}

/* Where a layer goes wrong the error names it; what follows has gone wrong with it. */
static void layers_are_named(void **unused) {
    (void)unused;
    il_error error;
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, 16);
    config.layers = 3;
    for (int layer = 0; layer < 3; layer++) {
        il_model *model = lively_model(engine, &config, 11);
        model->weights[model->layers[layer].wv.at] = 3e38F;
        model->weights[model->layers[layer].wv.at + 1] = -3e38F;
        model->version++;
        char text[64];
        snprintf(text, sizeof text, "numbers in layer %d in the mini-batch at position 0", layer);
        il_session *s = lively_session(model, 0);
        assert_fails(il_session_feed(s, tokens, N, NULL, NULL, &error), IL_ERR_NONFINITE, error, text);
        assert_int_equal(il_session_position(s), 0);
        il_session_close(s);
        il_model_unref(model);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(feeds_name_the_first_position),
        cmocka_unit_test(batches),
        cmocka_unit_test(predictions),
        cmocka_unit_test(layers_are_named),
    };
    return cmocka_run_group_tests_name("overflow", tests, begin, end);
}
