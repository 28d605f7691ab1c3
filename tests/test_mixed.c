/* test_mixed.c: sessions with a mix: losses are the same bits however the text is fed, by whatever kernels; forks,
 * rewinds and state files go on as if nothing had happened; logits are the losses' distribution; repetition becomes
 * cheap; states that lie are refused. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include <stdio.h>

#include "engine/engine.h"
#include "kernels/kernels.h"
#include "mix/mix.h"
#include "session/state_file.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"

enum { N = 700, VOCAB = 61, B = 5 };

static il_error error;
static il_engine *engine;
static il_model *model;
static int32_t tokens[N];
static float expected[N]; /* nll of one session fed at once */

static il_model *model_on(il_engine *e, int fast_head) {
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, B);
    config.fast_head_size = fast_head;
    config.fast_head_lr = 0.3;
    return lively_model(e, &config, 11);
}

static il_session *mixed(il_model *m) {
    il_session_options options = {.mix = 1};
    il_session *s;
    assert_ok(il_session_open(m, &options, &s, &error), error);
    return s;
}

/* From the session's position to `to`; the losses are those expected. */
static void go_on(il_session *s, size_t to) {
    float nll[N];
    size_t at = (size_t)il_session_position(s);
    assert_ok(il_session_feed(s, tokens + at, to - at, nll, NULL, &error), error);
    assert_memory_equal(nll, expected + at, (to - at) * sizeof *nll);
}

static int setup(void **state) {
    (void)state;
    engine = lively_engine(2, NULL);
    model = model_on(engine, 7);
    lively_tokens(tokens, N, VOCAB, 5);
    for (int i = 200; i < N; i++) /* then it repeats itself, with some exceptions */
        if (lively_random(3, (uint64_t)i, 20)) tokens[i] = tokens[i - 200];
    il_session *s = mixed(model);
    assert_ok(il_session_feed(s, tokens, N, expected, NULL, &error), error);
    il_session_close(s);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    il_model_unref(model);
    il_engine_close(engine);
    return 0;
}

static double mean(const float *nll, int from) {
    double sum = 0;
    for (int i = from; i < N; i++) sum += (double)nll[i];
    return sum / (N - from);
}

static void repetition_is_cheap(void **state) {
    (void)state;
    float alone[N];
    il_session *s = lively_session(model, 0);
    assert_ok(il_session_feed(s, tokens, N, alone, NULL, &error), error);
    il_session_close(s);
    assert_true(isnan(expected[0]) && isfinite(expected[1]));
    assert_true(mean(expected, 500) < 0.5 * mean(alone, 500));
}

static void any_chunking(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 3, B, 16, 511, 513};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        il_session *s = mixed(model);
        for (size_t at = 0; at < N;) {
            size_t n = sizes[i] < N - at ? sizes[i] : N - at;
            if (i & 1) n = 1 + n * lively_random(1, at, 2) / 2;
            go_on(s, at += n);
        }
        il_session_close(s);
    }
}

static void any_machine(void **state) {
    (void)state;
    static const char *const kernels[] = {"portable", "avx2", "avx512", "neon"};
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
        if (!il_kernels_pick(kernels[i])) continue;
        il_engine *e = lively_engine(1 + (int)(i % 2), kernels[i]);
        il_model *m = model_on(e, 7);
        il_session *s = mixed(m);
        go_on(s, N);
        il_session_close(s);
        il_model_unref(m);
        il_engine_close(e);
    }
}

/* Beside others with and without a mix, whose losses are their own. */
static void any_neighbours(void **state) {
    (void)state;
    static float nll[4][N], alone[N];
    il_session *s[4] = {mixed(model), lively_session(model, 0), mixed(model), lively_session(model, 0)};
    il_feed feeds[3];
    assert_ok(il_session_feed(s[3], tokens, N, alone, NULL, &error), error);
    for (int i = 0; i < 3; i++) feeds[i] = (il_feed){.session = s[i], .tokens = tokens, .n = N, .nll = nll[i]};
    feeds[2].n = 100;
    feeds[2].slow_nll = nll[3];
    const size_t width = (size_t)il_model_config(model)->width;
    float *hidden = calloc(2 * N * width, sizeof *hidden);
    assert_non_null(hidden);
    feeds[0].hidden = hidden;
    feeds[1].hidden = hidden + N * width;
    assert_ok(il_feed_many(feeds, 3, &error), error);
    assert_memory_equal(nll[0], expected, sizeof expected);
    assert_memory_equal(nll[1], alone, sizeof alone);
    assert_memory_equal(nll[2], expected, 100 * sizeof *expected);
    assert_memory_equal(hidden, hidden + N * width, N * width * sizeof *hidden); /* a mix does not touch the model */
    free(hidden);
    assert_true(feeds[2].consumed == 100 && nll[3][50] > 0 && nll[3][50] != nll[2][50]);
    for (int i = 0; i < 4; i++) il_session_close(s[i]);
}

static void logits_are_the_losses(void **state) {
    (void)state;
    float logits[VOCAB];
    il_session *s = mixed(model);
    go_on(s, 1);
    for (size_t at = 1; at < 300; at++) {
        double sum = 0;
        for (int again = 0; again < 1 + (at % 50 == 0); again++) assert_ok(il_session_logits(s, logits, &error), error);
        for (int i = 0; i < VOCAB; i++) sum += exp((double)logits[i]);
        assert_true(fabs(sum - 1) < 1e-3);
        assert_true(fabsf(logits[tokens[at]] + expected[at]) < 1e-4F);
        go_on(s, at + 1);
    }
    il_session_close(s);
}

static void forks_and_rewinds(void **state) {
    (void)state;
    il_session *s = mixed(model), *fork;
    for (size_t at = 0; at < 120; at += 1 + at % 7) {
        go_on(s, at);
        assert_ok(il_session_fork(s, &fork, &error), error);
        int32_t other[30];
        lively_tokens(other, 30, VOCAB, at);
        assert_ok(il_session_feed(fork, other, at % 30, NULL, NULL, &error), error);
        il_session_close(fork);
        for (uint64_t to = il_session_rewind_limit(s); to <= at; to++) {
            assert_ok(il_session_fork(s, &fork, &error), error);
            assert_ok(il_session_rewind(fork, to, &error), error);
            go_on(fork, at + 3);
            assert_ok(il_session_rewind(fork, at + 1, &error), error); /* once more */
            go_on(fork, at + 40);
            il_session_close(fork);
        }
    }
    il_session_stats stats;
    il_session_get_stats(s, &stats);
    assert_true(stats.mixed && stats.state_bytes > 1 << 20);
    go_on(s, N);
    il_session_close(s);
}

/* ---- state files ---- */

static void states_go_on(void **state) {
    (void)state;
    char *folder = support_folder_make();
    const char *path = support_path(folder, "a.ilstate");
    static const size_t positions[] = {0, 1, B - 1, B, B + 1, 2 * B, 3 * B + 2, 301};
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        char whole[33], parts[33], loaded[33];
        il_session *s = mixed(model), *t;
        go_on(s, positions[i]);
        assert_ok(il_session_fingerprint(s, whole, &error), error);
        assert_ok(il_session_save(s, path, &error), error);
        il_session_close(s);
        s = mixed(model);
        while (il_session_position(s) < positions[i]) go_on(s, (size_t)il_session_position(s) + 1);
        assert_ok(il_session_fingerprint(s, parts, &error), error);
        assert_string_equal(whole, parts);
        for (uint64_t to = il_session_rewind_limit(s); to <= positions[i]; to++) {
            assert_ok(il_session_load(model, path, &t, &error), error);
            assert_ok(il_session_fingerprint(t, loaded, &error), error);
            assert_string_equal(whole, loaded);
            assert_ok(il_session_rewind(t, to, &error), error);
            go_on(t, positions[i] + 50);
            il_session_close(t);
        }
        il_session_close(s);
    }
    support_folder_remove(folder);
}

static il_status load_with(const char *path, const char *name, size_t word, uint32_t value) {
    il_st st;
    il_st_item items[32];
    il_st_pair pairs[16];
    char checksum[33] = "";
    il_session *s = NULL;
    assert_ok(il_st_open(&engine->memory, path, &st, &error), error);
    unsigned char *copy = NULL;
    for (size_t i = 0; i < st.n; i++) {
        const il_st_tensor *t = &st.tensors[i];
        items[i] = (il_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(items[i].shape, t->shape, sizeof t->shape);
        if (strcmp(t->name, name) != 0) continue;
        assert_true(word < t->bytes / 4);
        copy = malloc(t->bytes);
        memcpy(copy, t->data, t->bytes);
        memcpy(copy + 4 * word, &value, 4);
        items[i].data = copy;
    }
    assert_non_null(copy);
    memcpy(pairs, st.metadata, st.n_metadata * sizeof *pairs);
    char forged[400];
    snprintf(forged, sizeof forged, "%s.forged", path);
    for (int pass = 0; pass < 2; pass++) {
        il_st made;
        for (size_t i = 0; pass && i < st.n_metadata; i++)
            if (!strcmp(pairs[i].key, "checksum")) pairs[i].value = checksum;
        assert_ok(il_st_write(&engine->memory, forged, items, st.n, pairs, st.n_metadata, &error), error);
        assert_ok(il_st_open(&engine->memory, forged, &made, &error), error);
        assert_ok(il_state_file_checksum(forged, &made, checksum, &error), error);
        il_st_close(&made);
    }
    il_status status = il_session_load(model, forged, &s, &error);
    if (!status) { /* whatever it was, it can be gone on from */
        float nll[N];
        assert_ok(il_session_feed(s, tokens, 100, nll, NULL, &error), error);
        for (int i = 0; i < 100; i++) assert_true(isfinite(nll[i]));
        il_session_close(s);
    }
    free(copy);
    il_st_close(&st);
    return status;
}

static void lies_are_refused(void **state) {
    (void)state;
    char *folder = support_folder_make();
    const char *path = support_path(folder, "a.ilstate");
    il_session *s = mixed(model);
    go_on(s, 203);
    assert_ok(il_session_save(s, path, &error), error);
    il_session_close(s);
    assert_int_equal(load_with(path, "mix.tokens", 1, VOCAB), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "mix.tokens holds 61"));
    assert_int_equal(load_with(path, "mix.odds", 12, 0), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "no mix can have learned"));
    size_t words = il_mix_learned_bytes(6, 1, 1 << 16) / 4;
    int refused = 0;
    for (size_t i = 0; i < 150; i++) {
        static const uint32_t values[] = {0x7fc00000, 0xffffffff, 0x7f800000, 0x4e6e6b28};
        size_t word = i < 40 ? words - 1 - i * 300 : (size_t)lively_random(9, i, (uint32_t)words);
        refused += load_with(path, "mix", word, values[i % 4]) != IL_OK;
    }
    assert_true(refused > 10); /* weights and guesses; what else is there is only looked up */
    support_folder_remove(folder);
}

static void what_cannot_be_asked(void **state) {
    (void)state;
    static float logits[2 * VOCAB];
    il_session *s = mixed(model);
    il_feed feed = {.session = s, .tokens = tokens, .n = 2, .logits = logits};
    assert_fails(il_feed_many(&feed, 1, &error), IL_ERR_UNSUPPORTED, error, "il_session_logits");
    int32_t bad[2] = {1, VOCAB};
    assert_fails(il_session_feed(s, bad, 2, NULL, NULL, &error), IL_ERR_ARG, error, "token 1 is 61");
    assert_int_equal(il_session_position(s), 0);
    go_on(s, N);
    il_session_close(s);
}

/* ---- memory ---- */

static il_status live(const il_allocator *allocator, void *context, il_error *e) {
    il_session_options options = {.mix = 1};
    il_session *s = NULL, *t = NULL;
    (void)allocator;
    il_status status = il_session_open(context, &options, &s, e);
    if (!status) status = il_session_feed(s, tokens, 20, NULL, NULL, e);
    if (!status) status = il_session_fork(s, &t, e);
    il_session_close(s);
    il_session_close(t);
    return status;
}

static void memory_runs_short(void **state) {
    (void)state;
    support_alloc alloc;
    il_engine *counted = support_engine(1, &alloc);
    il_model *m = model_on(counted, 0);
    il_session *s = lively_session(m, 0); /* the workspace */
    assert_true(support_alloc_fail_each(&alloc, live, m) > 12);
    il_session_close(s);
    il_model_unref(m);
    support_engine_close(counted, &alloc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(repetition_is_cheap),   cmocka_unit_test(any_chunking),
                                       cmocka_unit_test(any_machine),           cmocka_unit_test(any_neighbours),
                                       cmocka_unit_test(logits_are_the_losses), cmocka_unit_test(forks_and_rewinds),
                                       cmocka_unit_test(states_go_on),          cmocka_unit_test(lies_are_refused),
                                       cmocka_unit_test(what_cannot_be_asked),  cmocka_unit_test(memory_runs_short)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
