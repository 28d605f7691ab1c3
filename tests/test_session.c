/* test_session.c: one answer. A session's logits and state are the same bits for every chunking, neighbourhood, thread
 * count and instruction set; fork, rewind, freezing and numbers that go wrong. */
#include "support_test.h"

#include "model/build.h"
#include "model/lm_head.h"
#include "session/session.h"
#include "support_engine.h"
#include "support_lively.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum { N = 150, VOCAB = 61, WIDTH = 48 };

static const struct {
    const char *name;
    il_mixer_kind mixer;
    int mini_batch, fast_head, heads, hybrid, grouped;
    il_weight_type weights;
    int taps;
} kinds[] = {{"linear", IL_MIXER_TTT_LINEAR, 16, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"linear, b = 5", IL_MIXER_TTT_LINEAR, 5, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"linear decay", IL_MIXER_TTT_LINEAR_DECAY, 16, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"mlp", IL_MIXER_TTT_MLP, 16, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"attention", IL_MIXER_SELF_ATTENTION, 16, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"linear, fast head, one head", IL_MIXER_TTT_LINEAR, 16, 20, 1, 0, 0, IL_WEIGHTS_F32, 0},
             {"mlp, b = 1, fast head", IL_MIXER_TTT_MLP, 1, 7, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"attention, fast head", IL_MIXER_SELF_ATTENTION, 5, 20, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"hybrid", IL_MIXER_TTT_MLP, 16, 0, 3, 1, 0, IL_WEIGHTS_F32, 0},
             {"hybrid, b = 5, fast head", IL_MIXER_TTT_MLP, 5, 20, 3, 1, 0, IL_WEIGHTS_F32, 0},
             {"gated delta", IL_MIXER_GATED_DELTA, 16, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"gated delta, b = 5, fast head", IL_MIXER_GATED_DELTA, 5, 20, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"hybrid of gated delta", IL_MIXER_GATED_DELTA, 16, 0, 3, 2, 0, IL_WEIGHTS_F32, 0},
             {"grouped attention", IL_MIXER_SELF_ATTENTION, 16, 0, 6, 0, 1, IL_WEIGHTS_F32, 0},
             {"hybrid of grouped attention", IL_MIXER_GATED_DELTA, 5, 20, 6, 2, 1, IL_WEIGHTS_F32, 0},
             {"sliding attention", IL_MIXER_SLIDING_ATTENTION, 5, 0, 3, 0, 0, IL_WEIGHTS_F32, 0},
             {"hybrid of sliding attention", IL_MIXER_TTT_LINEAR_DECAY, 16, 0, 6, 3, 1, IL_WEIGHTS_F32, 0},
             {"hybrid of grouped attention, bf16", IL_MIXER_GATED_DELTA, 16, 0, 6, 2, 1, IL_WEIGHTS_BF16, 0},
             {"hybrid of grouped attention, int8", IL_MIXER_GATED_DELTA, 5, 0, 6, 2, 1, IL_WEIGHTS_INT8, 0},
             {"hybrid of grouped attention, int4", IL_MIXER_GATED_DELTA, 16, 0, 6, 2, 1, IL_WEIGHTS_INT4, 0},
             {"linear, taps", IL_MIXER_TTT_LINEAR, 5, 0, 3, 0, 0, IL_WEIGHTS_F32, 1},
             {"hybrid of grouped attention, int4, taps", IL_MIXER_GATED_DELTA, 16, 0, 6, 2, 1, IL_WEIGHTS_INT4, 1}};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct {
    il_model *model;
    int32_t tokens[N];
    float logits[N * VOCAB], nll[N], hidden[N * WIDTH]; /* of one feed of all tokens */
    il_state state;                                     /* after it */
} reference;

static void feed(il_session *session, const int32_t *tokens, size_t n, float *logits, float *nll) {
    il_error error;
    il_feed f = {.session = session, .tokens = tokens, .n = n, .logits = logits, .nll = nll};
    assert_ok(il_feed_many(&f, 1, &error), error);
    assert_int_equal(f.consumed, n);
}

static il_config config_of(int kind) {
    il_config config = lively_config(kinds[kind].mixer, kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 1) config = lively_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 2) config = lively_delta_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 3) config = lively_sliding_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].grouped) lively_grouped(&config);
    if (kinds[kind].taps) lively_taps(&config);
    config.fast_head_size = kinds[kind].fast_head;
    config.fast_head_lr = 0.3;
    config.heads = kinds[kind].heads;
    /* tests break an embedding, and a fast head learns nothing from logits that are broken too */
    config.tie_word_embeddings = !config.fast_head_size;
    return config;
}

static il_model *model_of(il_engine *engine, int kind) {
    il_config config = config_of(kind);
    il_model *model = lively_model(engine, &config, 11), *held;
    il_error error;
    if (kinds[kind].weights == IL_WEIGHTS_F32) return model;
    config.weights = kinds[kind].weights;
    assert_ok(il_model_convert(model, &config, &held, &error), error);
    il_model_unref(model);
    return held;
}

static reference *make_reference(il_engine *engine, int kind) {
    reference *r = calloc(1, sizeof *r);
    il_error error;
    r->model = model_of(engine, kind);
    lively_tokens(r->tokens, N, VOCAB, 5);
    il_session *s = lively_session(r->model, 0);
    assert_int_equal(il_model_config(r->model)->width, WIDTH);
    il_feed f = {.session = s, .tokens = r->tokens, .n = N, .logits = r->logits, .nll = r->nll, .hidden = r->hidden};
    assert_ok(il_feed_many(&f, 1, &error), error);
    for (int i = 1; i < N; i++) {
        const float *logits = r->logits + (i - 1) * VOCAB;
        float nll = il_log_sum_exp(engine, logits, VOCAB) - logits[r->tokens[i]];
        assert_memory_equal(&nll, &r->nll[i], sizeof nll);
    }
    assert_ok(il_state_open(r->model, 0, &r->state, &error), error);
    assert_ok(il_state_copy(&r->state, &s->state, &error), error);
    il_session_close(s);
    return r;
}

static void free_reference(reference *r) {
    il_state_close(&r->state);
    il_model_unref(r->model);
    free(r);
}

/* The parts of a state that the future depends on. */
static void assert_same_state(const il_state *a, const il_state *b) {
    const il_model *m = a->model;
    assert_int_equal(a->position, b->position);
    uint64_t mini = (uint64_t)m->config.mini_batch, now = a->position / mini;
    for (int i = 0; i < m->config.layers; i++) {
        const il_layer *layer = &m->layers[i];
        const il_kept *ka = &a->layers[i], *kb = &b->layers[i];
        size_t carries = (size_t)layer->heads * layer->shape.carry * sizeof(float);
        if (layer->heads) assert_memory_equal(il_state_carry(a, now, i, 0), il_state_carry(b, now, i, 0), carries);
        if (layer->heads && now && !a->oldest && !b->oldest)
            assert_memory_equal(il_state_carry(a, now - 1, i, 0), il_state_carry(b, now - 1, i, 0), carries);
        for (int r = 0; r < IL_RINGS; r++) {
            int channels = (r == IL_RING_PRE ? &layer->pre_conv : &layer->conv_q)->channels;
            if (ka->ring[r])
                assert_memory_equal(ka->ring[r], kb->ring[r],
                                    (size_t)a->ring_columns * (size_t)channels * sizeof(float));
        }
    }
    for (size_t i = 0; i < a->n_pages && i < b->n_pages; i++)
        assert_memory_equal(a->pages[i], b->pages[i], a->page_floats * sizeof(float));
    if (a->fast.weights)
        assert_memory_equal(il_state_fast_head(a, now), il_state_fast_head(b, now), m->fast_floats * sizeof(float));
    assert_memory_equal(a->hidden, b->hidden, (size_t)a->ring_hidden * (size_t)m->config.width * sizeof(float));
}

static void any_chunking(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB], nll[N];
        for (uint64_t trial = 0; trial < 200; trial++) {
            il_session *s = lively_session(r->model, 0);
            uint32_t longest = trial == 0 ? 1 : trial == 1 ? 16 : 1 + lively_random(trial, 1000, 60);
            for (size_t at = 0; at < N;) {
                size_t n = trial < 2 ? longest : 1 + lively_random(trial, at, longest);
                if (n > N - at) n = N - at;
                feed(s, r->tokens + at, n, logits + at * VOCAB, nll + at);
                at += n;
            }
            assert_memory_equal(logits, r->logits, sizeof logits);
            assert_memory_equal(nll, r->nll, sizeof nll);
            assert_same_state(&s->state, &r->state);
            il_session_close(s);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

static void any_thread_count_and_instruction_set(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        il_engine *engine = lively_engine(1, "portable");
        reference *r = make_reference(engine, kind);
        for (const lively_way *way = lively_ways() + 1; way->threads; way++) {
            il_engine *other = lively_engine(way->threads, way->kernels);
            reference *o = make_reference(other, kind);
            assert_memory_equal(o->logits, r->logits, sizeof r->logits);
            assert_memory_equal(o->nll, r->nll, sizeof r->nll);
            assert_memory_equal(o->hidden, r->hidden, sizeof r->hidden);
            assert_same_state(&o->state, &r->state);
            free_reference(o);
            il_engine_close(other);
        }
        free_reference(r);
        il_engine_close(engine);
    }
}

static void any_neighbours(void **unused) {
    (void)unused;
    enum { NEIGHBOURS = 7 };
    il_engine *engine = lively_engine(2, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB], nll[N];
        int32_t others[700];
        lively_tokens(others, 700, VOCAB, 77);
        il_feed feeds[NEIGHBOURS + 1];
        il_session *sessions[NEIGHBOURS + 1];
        for (int i = 0; i <= NEIGHBOURS; i++) sessions[i] = lively_session(r->model, 0);
        size_t place = 3;
        for (size_t at = 0, round = 0; at < N; round++) {
            for (size_t i = 0; i <= NEIGHBOURS; i++)
                feeds[i] = (il_feed){.session = sessions[i], .tokens = others + i, .n = lively_random(i, round, 90)};
            size_t n = 1 + lively_random(9, at, 70);
            if (n > N - at) n = N - at;
            feeds[place] = (il_feed){.session = sessions[place],
                                     .tokens = r->tokens + at,
                                     .n = n,
                                     .nll = nll + at,
                                     .logits = logits + at * VOCAB};
            il_error error;
            assert_ok(il_feed_many(feeds, NEIGHBOURS + 1, &error), error);
            at += n;
        }
        assert_memory_equal(logits, r->logits, sizeof logits);
        assert_memory_equal(nll, r->nll, sizeof nll);
        assert_same_state(&sessions[place]->state, &r->state);
        for (int i = 0; i <= NEIGHBOURS; i++) il_session_close(sessions[i]);
        free_reference(r);
    }
    il_engine_close(engine);
}

/* Final hidden vectors, asked for with other outputs and without, in pieces and beside others; the output head makes
 * the logits of them, where no fast head adds to those. */
static void hidden_vectors(void **unused) {
    (void)unused;
    enum { OTHERS = 3 };
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float hidden[N * WIDTH], logits[VOCAB];
        for (uint64_t trial = 0; trial < 12; trial++) {
            il_feed feeds[OTHERS + 1];
            il_session *sessions[OTHERS + 1];
            for (int i = 0; i <= OTHERS; i++) sessions[i] = lively_session(r->model, 0);
            memset(hidden, 0, sizeof hidden);
            for (size_t at = 0; at < N;) {
                size_t n = 1 + lively_random(trial, at, 70), mine = trial % (OTHERS + 1),
                       beside = trial ? OTHERS : mine;
                if (n > N - at) n = N - at;
                for (size_t i = 0; i <= beside; i++)
                    feeds[i] = (il_feed){.session = sessions[i], .tokens = r->tokens, .n = lively_random(trial, i, 60)};
                feeds[mine] = (il_feed){
                    .session = sessions[mine], .tokens = r->tokens + at, .n = n, .hidden = hidden + at * WIDTH};
                assert_ok(il_feed_many(feeds, beside + 1, &error), error);
                at += n;
            }
            assert_memory_equal(hidden, r->hidden, sizeof hidden);
            for (int i = 0; i <= OTHERS; i++) il_session_close(sessions[i]);
        }
        for (size_t i = 0; i < N && !kinds[kind].fast_head; i++) {
            il_lm_head_logits(r->model, r->model->work, 1, hidden + i * WIDTH, WIDTH, logits);
            assert_memory_equal(logits, r->logits + i * VOCAB, sizeof logits);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

/* A batch computes the logits of several feeds in one product: the same as each feed alone, wherever they go. */
static void logits_of_a_batch(void **unused) {
    (void)unused;
    enum { FEEDS = 6, EACH = 40, FLOATS = FEEDS * (EACH + 1) * VOCAB };
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        int32_t tokens[FEEDS + EACH];
        lively_tokens(tokens, FEEDS + EACH, VOCAB, 5);
        float *alone = calloc(FLOATS, sizeof *alone), *batch = calloc(FLOATS, sizeof *batch);
        assert_true(alone && batch);
        for (int layout = 0; layout < 3; layout++) { /* one after another; apart; some unwanted */
            il_feed feeds[FEEDS];
            memset(alone, 0, FLOATS * sizeof *alone);
            memset(batch, 0, FLOATS * sizeof *batch);
            size_t at = 0;
            for (int i = 0; i < FEEDS; i++) {
                size_t n = i % 3 == 2 ? EACH : 1;
                int wanted = layout < 2 || i % 2;
                il_session *session = lively_session(r->model, 0);
                il_feed feed = {.session = session, .tokens = tokens + i, .n = n, .logits = wanted ? alone + at : NULL};
                assert_ok(il_feed_many(&feed, 1, &error), error);
                il_session_close(session);
                feeds[i] = (il_feed){.session = lively_session(r->model, 0), .tokens = tokens + i, .n = n};
                if (wanted) feeds[i].logits = batch + at;
                at += (n + (layout == 1)) * VOCAB;
            }
            assert_ok(il_feed_many(feeds, FEEDS, &error), error);
            assert_memory_equal(alone, batch, FLOATS * sizeof *alone);
            for (int i = 0; i < FEEDS; i++) il_session_close(feeds[i].session);
        }
        free(alone);
        free(batch);
        free_reference(r);
    }
    il_engine_close(engine);
}

static void losses_are_those_of_the_logits(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        assert_true(isnan(r->nll[0]));
        for (size_t t = 1; t < N; t++) {
            const float *x = r->logits + (t - 1) * VOCAB;
            double sum = 0;
            for (int i = 0; i < VOCAB; i++) sum += exp((double)x[i]);
            assert_true(fabs((double)r->nll[t] - (log(sum) - (double)x[r->tokens[t]])) < 2e-6);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

static void the_future_changes_nothing_before_it(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB];
        int32_t tokens[N];
        const size_t changes[] = {0, 1, 7, 15, 16, 17, 63, 64, 100, N - 1};
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
            size_t t = changes[i];
            memcpy(tokens, r->tokens, sizeof tokens);
            tokens[t] = (tokens[t] + 1) % VOCAB;
            il_session *s = lively_session(r->model, 0);
            feed(s, tokens, N, logits, NULL);
            assert_memory_equal(logits, r->logits, t * VOCAB * sizeof(float));
            assert_memory_not_equal(logits + t * VOCAB, r->logits + t * VOCAB, VOCAB * sizeof(float));
            size_t then = t + 40;
            if (then < N && kinds[kind].mixer == IL_MIXER_SLIDING_ATTENTION) /* two layers see 19 tokens back each */
                assert_memory_equal(logits + then * VOCAB, r->logits + then * VOCAB, VOCAB * sizeof(float));
            else if (then < N) /* it is remembered, beyond convolutions and mini-batch */
                assert_memory_not_equal(logits + then * VOCAB, r->logits + then * VOCAB, VOCAB * sizeof(float));
            il_session_close(s);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

static void forks_go_their_own_way(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB];
        int32_t others[40];
        lively_tokens(others, 40, VOCAB, 99);
        for (size_t at = 1; at < N; at += 13) {
            il_session *s = lively_session(r->model, 0), *fork;
            feed(s, r->tokens, at, logits, NULL);
            assert_ok(il_session_fork(s, &fork, &error), error);
            feed(fork, others, 40, NULL, NULL);
            feed(s, r->tokens + at, N - at, logits + at * VOCAB, NULL);
            assert_memory_equal(logits, r->logits, sizeof logits);
            il_session_close(fork);
            /* and a fork that outlives its parent goes on like it */
            il_session *t = lively_session(r->model, 0);
            feed(t, r->tokens, at, logits, NULL);
            assert_ok(il_session_fork(t, &fork, &error), error);
            il_session_close(t);
            feed(fork, r->tokens + at, N - at, logits + at * VOCAB, NULL);
            assert_memory_equal(logits, r->logits, sizeof logits);
            il_session_stats stats;
            il_session_get_stats(fork, &stats);
            assert_int_equal(stats.tokens_fed, N - at);
            assert_int_equal(stats.position, N);
            il_session_close(fork);
            il_session_close(s);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

static void rewound_sessions_say_the_same(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB], one[VOCAB];
        int32_t others[64];
        lively_tokens(others, 64, VOCAB, 3);
        uint64_t b = (uint64_t)kinds[kind].mini_batch;
        for (size_t to = 0; to < 100; to += 3)
            for (size_t past = 0; past <= 2 * b; past += 1 + b / 4) {
                il_session *s = lively_session(r->model, 0);
                feed(s, r->tokens, to, NULL, NULL);
                feed(s, others, past, NULL, NULL);
                uint64_t limit = il_session_rewind_limit(s), position = to + past;
                assert_true(limit <= (position > b ? position - b : 0));
                if (limit > to) {
                    assert_fails(il_session_rewind(s, limit - 1, &error), IL_ERR_ARG, error, "cannot rewind");
                    il_session_close(s);
                    continue;
                }
                assert_ok(il_session_rewind(s, to, &error), error);
                assert_int_equal(il_session_position(s), to);
                if (to) {
                    assert_ok(il_session_logits(s, one, &error), error);
                    assert_memory_equal(one, r->logits + (to - 1) * VOCAB, sizeof one);
                }
                feed(s, r->tokens + to, N - to, logits + to * VOCAB, NULL);
                assert_memory_equal(logits + to * VOCAB, r->logits + to * VOCAB, (N - to) * VOCAB * sizeof(float));
                assert_fails(il_session_rewind(s, N + 1, &error), IL_ERR_ARG, error, "cannot rewind");
                il_session_close(s);
            }
        free_reference(r);
    }
    il_engine_close(engine);
}

static void frozen_sessions_do_not_learn(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        float logits[N * VOCAB], again[N * VOCAB];
        size_t b = (size_t)kinds[kind].mini_batch;
        il_session *s = lively_session(r->model, 1);
        feed(s, r->tokens, N, logits, NULL);
        int learns = il_model_is_recurrent(r->model) || kinds[kind].fast_head;
        /* the first mini-batch starts from the same weights; from the second on the learner is ahead, a fast head from
         * the prediction of its first token on, if there was one to learn from */
        if (kinds[kind].fast_head && b > 1) b--;
        assert_memory_equal(logits, r->logits, b * VOCAB * sizeof(float));
        if (learns)
            assert_memory_not_equal(logits + b * VOCAB, r->logits + b * VOCAB, VOCAB * sizeof(float));
        else
            assert_memory_equal(logits, r->logits, sizeof logits);
        il_session *t = lively_session(r->model, 1);
        for (size_t i = 0; i < N; i++) feed(t, r->tokens + i, 1, again + i * VOCAB, NULL);
        assert_memory_equal(logits, again, sizeof logits);
        il_session_close(s);
        il_session_close(t);
        free_reference(r);
    }
    il_engine_close(engine);
}

static void wrong_arguments_are_refused(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    reference *r = make_reference(engine, 0), *q = make_reference(engine, 0);
    il_error error;
    float logits[VOCAB];
    size_t consumed = 9;
    il_session *s = lively_session(r->model, 0), *t = lively_session(q->model, 0);
    assert_fails(il_session_logits(s, logits, &error), IL_ERR_ARG, error, "before the first token");
    const int32_t bad[] = {1, 2, VOCAB}, negative[] = {-1};
    assert_fails(il_session_feed(s, bad, 3, NULL, &consumed, &error), IL_ERR_ARG, error, "token 2 is 61");
    assert_int_equal(consumed, 0);
    assert_int_equal(il_session_position(s), 0);
    assert_fails(il_session_feed(s, negative, 1, NULL, NULL, &error), IL_ERR_ARG, error, "token 0 is -1");
    il_feed two[2] = {{.session = s, .tokens = bad, .n = 1}, {.session = s, .tokens = bad, .n = 1}};
    assert_fails(il_feed_many(two, 2, &error), IL_ERR_ARG, error, "same session");
    two[1].session = t;
    assert_fails(il_feed_many(two, 2, &error), IL_ERR_ARG, error, "different model");
    assert_ok(il_session_feed(s, bad, 0, NULL, &consumed, &error), error);
    assert_ok(il_feed_many(two, 0, &error), error);
    assert_int_equal(il_session_feed(s, negative, 1, NULL, NULL, NULL), IL_ERR_ARG); /* error may be NULL */
    il_session_close(s);
    il_session_close(t);
    il_session_close(NULL);
    free_reference(r);
    free_reference(q);
    il_engine_close(engine);
}

/* A token whose embedding is infinite makes numbers go wrong once read: the session must stop before its mini-batch,
 * wherever the pass began that read it, and can go back as far as it then promises. */
static void numbers_go_wrong_at(size_t wrong) {
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        if (kinds[kind].weights != IL_WEIGHTS_F32) continue; /* whose embedding can be infinite here */
        il_config config = config_of(kind);
        config.tie_word_embeddings = 0; /* else every prediction is broken too */
        il_model *model = lively_model(engine, &config, 11);
        int32_t tokens[N];
        for (size_t i = 0; i < N; i++) tokens[i] = (int32_t)lively_random(1, i, VOCAB - 1);
        const size_t b = (size_t)kinds[kind].mini_batch;
        il_session *good = lively_session(model, 0);
        float want[N * VOCAB], logits[N * VOCAB], last[VOCAB], nll[N];
        feed(good, tokens, N, want, NULL);
        tokens[wrong] = VOCAB - 1;
        for (int i = 0; i < config.width; i++)
            model->weights[model->embedding.at + (size_t)(VOCAB - 1) * (size_t)config.width + (size_t)i] = INFINITY;
        model->version++;
        const size_t steps[] = {N, 1, 7, 45};
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
            il_session *s = lively_session(model, 0);
            il_status status = IL_OK;
            for (size_t at = 0; at < N && status == IL_OK; at += steps[i]) {
                size_t n = N - at < steps[i] ? N - at : steps[i];
                il_feed f = {.session = s, .tokens = tokens + at, .n = n, .nll = nll};
                status = il_feed_many(&f, 1, &error);
            }
            assert_int_equal(status, IL_ERR_NONFINITE);
            size_t start = wrong / b * b;
            assert_int_equal(il_session_position(s), start);
            assert_ok(il_session_logits(s, last, &error), error);
            for (int j = 0; j < VOCAB - 1; j++) assert_true(last[j] == want[(start - 1) * VOCAB + (size_t)j]);
            int32_t rest[N];
            memcpy(rest, tokens, sizeof rest);
            rest[wrong] = (int32_t)lively_random(1, wrong, VOCAB - 1);
            il_session *fork;
            assert_ok(il_session_fork(s, &fork, &error), error);
            size_t limit = (size_t)il_session_rewind_limit(fork);
            assert_true(limit <= start && limit + b >= start);
            assert_ok(il_session_rewind(fork, limit, &error), error);
            for (int again = 0; again < 2; again++) {
                size_t from = again ? limit : start;
                feed(again ? fork : s, rest + from, N - from, logits + from * VOCAB, NULL);
                for (size_t t = from; t < N; t++)
                    for (size_t j = 0; j < VOCAB - 1; j++) assert_true(logits[t * VOCAB + j] == want[t * VOCAB + j]);
            }
            il_session_close(fork);
            il_session_close(s);
        }
        il_session_close(good);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

static void numbers_that_go_wrong_stop_the_session_in_time(void **unused) {
    (void)unused;
    numbers_go_wrong_at(100); /* after whole mini-batches of a pass */
    numbers_go_wrong_at(92);  /* in the first of one */
}

/* ---- memory ---- */

static void feeding_allocates_nothing(void **unused) {
    (void)unused;
    support_alloc alloc;
    il_engine *engine = support_engine(2, &alloc);
    il_error error;
    for (int kind = 0; kind < KINDS; kind++) {
        il_model *model = model_of(engine, kind);
        il_session *s = lively_session(model, 0);
        /* over several chunks, unless keys and values grow */
        enum { MANY = 2 * IL_FEED_CHUNK + 100 };
        size_t n = s->state.page_floats ? IL_KV_PAGE / 2 : MANY;
        int32_t tokens[MANY];
        float logits[VOCAB], nll[MANY];
        lively_tokens(tokens, MANY, VOCAB, 5);
        feed(s, tokens, 1, NULL, NULL); /* self-attention takes its first page */
        long before = atomic_load(&alloc.calls);
        il_session_stats stats, later;
        il_session_get_stats(s, &stats);
        feed(s, tokens, n, NULL, nll);
        for (int i = 0; i < 40; i++) feed(s, tokens + i, 1, logits, NULL);
        assert_ok(il_session_logits(s, logits, &error), error);
        il_session_get_stats(s, &later);
        assert_int_equal(atomic_load(&alloc.calls), before);
        assert_int_equal(stats.state_bytes, later.state_bytes);
        il_session_close(s);
        il_model_unref(model);
    }
    support_engine_close(engine, &alloc);
}

/* A model whose activations are large reads fewer tokens in a pass, and says the same. */
static void wide_models_read_less_at_once(void **unused) {
    enum { MANY = 600, SOME = 100 };
    (void)unused;
    static float whole[MANY], parts[MANY];
    il_engine *engine = lively_engine(2, NULL);
    il_config config = config_of(2);
    il_model *model = lively_model(engine, &config, 3);
    assert_int_equal(il_workspace_tokens(model, IL_FEED_CHUNK), IL_FEED_CHUNK);
    il_model_unref(model);
    config.ffn_width = 6000;
    model = lively_model(engine, &config, 3);
    assert_int_equal(il_workspace_tokens(model, IL_FEED_CHUNK), IL_FEED_CHUNK / 2);
    il_model_unref(model);
    config.ffn_width = 12000;
    model = lively_model(engine, &config, 3);
    assert_int_equal(il_workspace_tokens(model, IL_FEED_CHUNK), IL_ACTS_TOKENS);
    int32_t tokens[MANY];
    lively_tokens(tokens, MANY, VOCAB, 5);
    il_session *a = lively_session(model, 0), *b = lively_session(model, 0);
    feed(a, tokens, MANY, NULL, whole);
    for (int i = 0; i < MANY; i += SOME) feed(b, tokens + i, SOME, NULL, parts + i);
    assert_memory_equal(whole + 1, parts + 1, (MANY - 1) * sizeof *whole);
    assert_same_state(&a->state, &b->state);
    il_session_close(a);
    il_session_close(b);
    il_model_unref(model);
    il_engine_close(engine);
}

/* What docs/performance.md says of the 125m shape. */
static void memory_of_a_session(void **unused) {
    (void)unused;
    static const struct {
        const char *mixer;
        double megabytes, megabytes_first, kilobytes_more; /* empty; with a token; for each more, by pages */
    } said[] = {{"ttt_linear", 11.0, 11.0, 0},
                {"ttt_linear_decay", 11.0, 11.0, 0},
                {"ttt_mlp", 53.8, 53.8, 0},
                {"self_attention", 0.1, 9.54, 73.7}};
    il_engine *engine = lively_engine(1, NULL);
    il_error error;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        il_config config;
        il_model *model;
        il_state state;
        assert_ok(il_config_preset("125m", said[i].mixer, NULL, &config, &error), error);
        config.vocab_size = 2; /* this and the next are no part of a state */
        config.ffn_width = 1;
        config.bos_token = config.eos_token = -1;
        assert_ok(il_model_new(engine, &config, &model, &error), error);
        assert_ok(il_model_refresh(model, 0, &error), error);
        assert_ok(il_state_open(model, 0, &state, &error), error);
        assert_true(fabs((double)il_state_bytes(&state) * 1e-6 - said[i].megabytes) < 0.05);
        assert_ok(il_state_reserve(&state, 1, &error), error);
        double first = (double)il_state_bytes(&state);
        if (fabs(first * 1e-6 - said[i].megabytes_first) >= 0.05) fail_msg("%s: %g MB", said[i].mixer, first * 1e-6);
        assert_ok(il_state_reserve(&state, IL_KV_PAGE, &error), error);
        assert_true((double)il_state_bytes(&state) == first);
        assert_ok(il_state_reserve(&state, IL_KV_PAGE + 512, &error), error);
        assert_true(fabs(((double)il_state_bytes(&state) - first) / 512e3 - said[i].kilobytes_more) < 0.05);
        il_state_close(&state);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

static il_status short_life(const il_allocator *allocator, void *context, il_error *error) {
    int kind = *(const int *)context;
    il_config config = config_of(kind);
    int32_t tokens[600];
    lively_tokens(tokens, 600, VOCAB, 5);
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_session *s = NULL, *fork = NULL;
    il_status status = support_engine_open(2, allocator, &engine, error);
    if (status == IL_OK) status = il_model_init(engine, &config, 1, &model, error);
    if (status == IL_OK) status = il_session_open(model, NULL, &s, error);
    if (status == IL_OK) status = il_session_feed(s, tokens, 600, NULL, NULL, error);
    if (status == IL_OK) status = il_session_fork(s, &fork, error);
    if (status == IL_OK) status = il_session_feed(fork, tokens, 600, NULL, NULL, error);
    il_session_close(fork);
    il_session_close(s);
    il_model_unref(model);
    il_engine_close(engine);
    return status;
}

static void every_failed_allocation_is_survived(void **unused) {
    (void)unused;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    for (int kind = 0; kind < KINDS; kind++) assert_true(support_alloc_fail_each(&alloc, short_life, &kind) > 5);
}

/* Sessions of one model in several threads at once. */
static void *read_in_a_thread(void *argument) {
    reference *r = argument;
    float *logits = malloc(sizeof r->logits);
    il_session *s;
    int same = il_session_open(r->model, NULL, &s, NULL) == IL_OK;
    for (size_t at = 0; same && at < N; at += 10) {
        il_feed f = {.session = s, .tokens = r->tokens + at, .n = 10, .logits = logits + at * VOCAB};
        same = il_feed_many(&f, 1, NULL) == IL_OK;
    }
    same = same && memcmp(logits, r->logits, sizeof r->logits) == 0;
    il_session_close(s);
    free(logits);
    return same ? argument : NULL;
}

static void threads_share_a_model(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int kind = 0; kind < KINDS; kind++) {
        reference *r = make_reference(engine, kind);
        pthread_t threads[4];
        for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, read_in_a_thread, r), 0);
        for (int i = 0; i < 4; i++) {
            void *result;
            pthread_join(threads[i], &result);
            assert_non_null(result);
        }
        free_reference(r);
    }
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_chunking),
        cmocka_unit_test(any_thread_count_and_instruction_set),
        cmocka_unit_test(any_neighbours),
        cmocka_unit_test(hidden_vectors),
        cmocka_unit_test(logits_of_a_batch),
        cmocka_unit_test(losses_are_those_of_the_logits),
        cmocka_unit_test(the_future_changes_nothing_before_it),
        cmocka_unit_test(forks_go_their_own_way),
        cmocka_unit_test(rewound_sessions_say_the_same),
        cmocka_unit_test(frozen_sessions_do_not_learn),
        cmocka_unit_test(wrong_arguments_are_refused),
        cmocka_unit_test(numbers_that_go_wrong_stop_the_session_in_time),
        cmocka_unit_test(feeding_allocates_nothing),
        cmocka_unit_test(wide_models_read_less_at_once),
        cmocka_unit_test(memory_of_a_session),
        cmocka_unit_test(every_failed_allocation_is_survived),
        cmocka_unit_test(threads_share_a_model),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
