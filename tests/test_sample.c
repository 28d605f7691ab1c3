/* test_sample.c: drawing a token stays well-defined at the ends of every option's range. What it draws in the middle of
 * them is tested with state files and with the command. */
#include "support_test.h"

#include <stdio.h>

#include <float.h>
#include <math.h>

enum { N = 5 };

static il_sample_options plain(void) {
    il_sample_options o;
    il_sample_options_default(&o);
    o.top_k = 0;
    o.top_p = 1;
    o.min_p = 0;
    o.temperature = 1;
    return o;
}

/* The token drawn; every logit is finite afterwards. */
static int32_t drawn(const il_sample_options *o, const float logits[N], const int32_t *recent, size_t n_recent,
                     uint64_t position) {
    float own[N];
    int32_t token = -1;
    il_error error;
    memcpy(own, logits, sizeof own);
    assert_ok(il_sample(o, own, N, position, recent, n_recent, &token, &error), error);
    assert_true(token >= 0 && token < N);
    for (int i = 0; i < N; i++) assert_true(isfinite(own[i]));
    return token;
}

/* A penalty near 0 favours what came, one without end shuns it, in whatever size the logits are. */
static void penalties(void **unused) {
    (void)unused;
    static const float sizes[] = {1e-30F, 1, 1e30F, FLT_MAX};
    static const int32_t recent[] = {3, 3, 1};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const float size = sizes[s], logits[N] = {0.25F * size, -size, size, 0.5F * size, -0.5F * size};
        for (uint64_t position = 0; position < 20; position++) {
            il_sample_options o = plain();
            o.repeat_penalty = FLT_TRUE_MIN; /* 3 is lifted above all; 1 becomes nearly 0 */
            o.temperature = position % 2 ? 0 : 1e-45F;
            int32_t token = drawn(&o, logits, recent, 3, position);
            assert_true(token == 3 || (size == FLT_MAX && token == 2)); /* as large as a float can be */
            o.repeat_penalty = FLT_MAX;
            assert_int_equal(drawn(&o, logits, recent, 3, position), 2);
            assert_int_equal(drawn(&o, logits, (int32_t[]){2}, 1, position), 3);
        }
    }
}

static void temperatures(void **unused) {
    (void)unused;
    const float logits[N] = {1, 2, -FLT_MAX, FLT_MAX, 0};
    int seen[N] = {0};
    il_sample_options o = plain();
    for (uint64_t position = 0; position < 200; position++) {
        o.temperature = FLT_TRUE_MIN;
        assert_int_equal(drawn(&o, logits, NULL, 0, position), 3);
        o.temperature = FLT_MAX;
        seen[drawn(&o, (float[N]){1, 2, 3, 4, 5}, NULL, 0, position)]++; /* all alike */
    }
    for (int i = 0; i < N; i++) assert_true(seen[i] > 20);
}

static void thresholds(void **unused) {
    (void)unused;
    const float logits[N] = {1, 3, 2, 3, 0};
    for (uint64_t position = 0; position < 50; position++) {
        il_sample_options o = plain();
        o.top_p = FLT_TRUE_MIN; /* the first of the likeliest */
        assert_int_equal(drawn(&o, logits, NULL, 0, position), 1);
        o = plain();
        o.min_p = 1; /* the likeliest */
        int32_t token = drawn(&o, logits, NULL, 0, position);
        assert_true(token == 1 || token == 3);
        o = plain();
        o.top_k = INT32_MAX;
        o.seed = UINT64_MAX;
        drawn(&o, logits, NULL, 0, UINT64_MAX - position);
    }
}

/* Tokens that weigh nothing change nothing, wherever they stand among those that do. */
static void large_vocabularies(void **unused) {
    (void)unused;
    enum { MANY = 70001 };
    static float many[MANY];
    static const int places[N] = {0, 255, 256, 40000, MANY - 1};
    const float logits[N] = {1, 1.5F, 2, 1.25F, 0.5F};
    for (uint64_t position = 0; position < 40; position++) {
        il_sample_options o = plain();
        int32_t token;
        il_error error;
        o.top_k = (int)(position % 4) + 2;
        if (position % 3) o.top_p = 0.8F;
        if (position % 5) o.min_p = 0.3F;
        for (int i = 0; i < MANY; i++) many[i] = position % 2 ? -79 : -200;
        for (int i = 0; i < N; i++) many[places[i]] = logits[i];
        assert_ok(il_sample(&o, many, MANY, position, NULL, 0, &token, &error), error);
        assert_int_equal(token, places[drawn(&o, logits, NULL, 0, position)]);
    }
}

/* The first of the largest, and the first that is not finite, wherever they stand among many. */
static void first_of_many(void **unused) {
    enum { MANY = 1000 };
    static const float tops[] = {3.5F, 0.0F, -0.0F, -1e-40F, -7.25F};
    (void)unused;
    il_error error;
    il_sample_options o = plain();
    o.temperature = 0;
    for (size_t k = 0; k < sizeof tops / sizeof *tops; k++)
        for (int at = 0; at < MANY; at += at % 250 < 10 || at % 250 > 240 ? 1 : 37) {
            float logits[MANY];
            int32_t token;
            for (int i = 0; i < MANY; i++) logits[i] = tops[k] == 0 && i > at ? -tops[k] : tops[k] - 1 - (float)(i % 7);
            logits[at] = tops[k];
            assert_ok(il_sample(&o, logits, MANY, 0, NULL, 0, &token, &error), error);
            assert_int_equal(token, at);
            logits[at] = k % 2 ? NAN : -INFINITY;
            char words[60];
            snprintf(words, sizeof words, "the logit of token %d is not finite", at);
            assert_fails(il_sample(&o, logits, MANY, 0, NULL, 0, &token, &error), IL_ERR_NONFINITE, error, words);
        }
}

static void refused(void **unused) {
    (void)unused;
    il_error error;
    int32_t token;
    const struct {
        size_t at;
        float value;
        const char *text;
    } cases[] = {{offsetof(il_sample_options, temperature), -1, "temperature is -1"},
                 {offsetof(il_sample_options, temperature), INFINITY, "temperature is inf"},
                 {offsetof(il_sample_options, temperature), NAN, "temperature is"},
                 {offsetof(il_sample_options, top_p), 0, "top_p is 0"},
                 {offsetof(il_sample_options, top_p), NAN, "top_p is"},
                 {offsetof(il_sample_options, min_p), 1.5F, "min_p is 1.5"},
                 {offsetof(il_sample_options, repeat_penalty), 0, "repeat_penalty is 0"},
                 {offsetof(il_sample_options, repeat_penalty), INFINITY, "repeat_penalty is inf"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        il_sample_options o = plain();
        float logits[N] = {0};
        memcpy((char *)&o + cases[i].at, &cases[i].value, sizeof(float));
        assert_fails(il_sample(&o, logits, N, 0, NULL, 0, &token, &error), IL_ERR_ARG, error, cases[i].text);
    }
    float logits[N] = {0, 0, 0, INFINITY, 0};
    assert_fails(il_sample(NULL, logits, N, 0, NULL, 0, &token, &error), IL_ERR_NONFINITE, error,
                 "the logit of token 3 is not finite");
    assert_fails(il_sample(NULL, logits, 0, 0, NULL, 0, &token, &error), IL_ERR_ARG, error, "no logits");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties),          cmocka_unit_test(temperatures),  cmocka_unit_test(thresholds),
        cmocka_unit_test(large_vocabularies), cmocka_unit_test(first_of_many), cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
