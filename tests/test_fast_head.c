/* test_fast_head.c: the head that learns while it reads: its formula in double precision; the same bits however it is
 * fed and whatever is asked; frozen it is the model without one; numbers too large never get into it. */
#include "support_test.h"

#include "base/philox.h"
#include "session/feed.h"
#include "session/session.h"
#include "support_lively.h"
#include <math.h>
#include <stdlib.h>

enum { N = 200, VOCAB_MAX = 1100, BOS = 3 };

typedef struct {
    const char *name;
    il_mixer_kind mixer;
    int mini_batch, vocab, size, untied;
    il_weight_type type;
    int tokens; /* that it learns at most; 0: all */
} kind;

/* A vocabulary of 1100 is two items of work, 61 not whole panels, 150 features more than a drawing of the projection,
 * mini-batches of 70 are more than are packed at once, of 150 more than a block of a model without a fast head. Columns
 * for 20 tokens are soon given away, for 21 in the middle of a mini-batch; those for 70 never all. */
static const kind kinds[] = {
    {"linear", IL_MIXER_TTT_LINEAR, 16, 61, 20, 0, IL_WEIGHTS_F32, 0},
    {"linear, wide", IL_MIXER_TTT_LINEAR, 4, VOCAB_MAX, 33, 1, IL_WEIGHTS_F32, 0},
    {"linear, b = 150", IL_MIXER_TTT_LINEAR, 150, 61, 16, 0, IL_WEIGHTS_F32, 0},
    {"linear bf16", IL_MIXER_TTT_LINEAR, 16, 61, 20, 0, IL_WEIGHTS_BF16, 0},
    {"decay", IL_MIXER_TTT_LINEAR_DECAY, 7, 64, 150, 1, IL_WEIGHTS_F32, 0},
    {"mlp", IL_MIXER_TTT_MLP, 1, 61, 1, 0, IL_WEIGHTS_F32, 0},
    {"mlp int8, wide", IL_MIXER_TTT_MLP, 16, VOCAB_MAX, 16, 1, IL_WEIGHTS_INT8, 0},
    {"attention", IL_MIXER_SELF_ATTENTION, 70, 61, 20, 0, IL_WEIGHTS_F32, 0},
    {"attention int8", IL_MIXER_SELF_ATTENTION, 5, 61, 40, 0, IL_WEIGHTS_INT8, 0},
    {"linear, 20 tokens", IL_MIXER_TTT_LINEAR, 16, 61, 20, 0, IL_WEIGHTS_F32, 20},
    {"mlp, 21 tokens", IL_MIXER_TTT_MLP, 1, 61, 7, 1, IL_WEIGHTS_F32, 21},
    {"attention, 70 tokens", IL_MIXER_SELF_ATTENTION, 70, 200, 16, 0, IL_WEIGHTS_INT8, 70},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The model of a kind; fast 0: without its fast head. */
static il_model *model_of(il_engine *engine, const kind *k, int fast) {
    il_error error;
    il_config config = lively_config(k->mixer, k->mini_batch);
    config.vocab_size = k->vocab;
    config.tie_word_embeddings = !k->untied;
    config.bos_token = BOS;
    il_model *plain = lively_model(engine, &config, 31), *made;
    config.weights = k->type;
    config.fast_head_size = fast ? k->size : 0;
    config.fast_head_lr = 0.4;
    config.fast_head_tokens = fast ? k->tokens : 0;
    assert_ok(il_model_convert(plain, &config, &made, &error), error);
    il_model_unref(plain);
    return made;
}

/* With documents that begin with BOS, also at the end and at the start of a mini-batch. */
static void tokens_of(int32_t *tokens, size_t n, int vocab, uint64_t seed) {
    lively_tokens(tokens, n, vocab, seed);
    for (size_t i = 0; i < n; i++) /* a text repeats itself, else there is nothing to learn */
        if (lively_random(seed, 5000 + i, 3)) tokens[i] = (int32_t)lively_random(seed, 9000 + i, 8);
    for (size_t i = 0; i < n; i += 31) tokens[i] = BOS;
}

typedef struct answers {
    size_t n, vocab;
    float *logits, *nll, *slow; /* [n, vocab], [n], [n] */
    char state[33];             /* the session's fingerprint after all of it */
} answers;

static answers room_for(size_t n, int vocab) {
    answers a = {.n = n, .vocab = (size_t)vocab};
    a.logits = calloc(n * a.vocab, sizeof *a.logits);
    a.nll = calloc(n, sizeof *a.nll);
    a.slow = calloc(n, sizeof *a.slow);
    assert_true(a.logits && a.nll && a.slow);
    return a;
}

static void free_answers(answers *a) {
    free(a->logits);
    free(a->nll);
    free(a->slow);
}

enum { LOGITS = 1, NLL = 2, SLOW = 4, ALL = 7 };

/* Tokens at .. at + n - 1 of a sequence whose answers are a, of which some are asked for. */
static il_feed piece_of(il_session *session, const int32_t *tokens, const answers *a, size_t at, size_t n,
                        uint32_t asked) {
    return (il_feed){.session = session,
                     .tokens = tokens + at,
                     .n = n,
                     .logits = asked & LOGITS ? a->logits + at * a->vocab : NULL,
                     .nll = asked & NLL ? a->nll + at : NULL,
                     .slow_nll = asked & SLOW ? a->slow + at : NULL};
}

static void feed(il_session *session, const int32_t *tokens, const answers *a, size_t at, size_t n, uint32_t asked) {
    il_error error;
    il_feed f = piece_of(session, tokens, a, at, n, asked);
    assert_ok(il_feed_many(&f, 1, &error), error);
    assert_int_equal(f.consumed, n);
}

/* The same where predictions overflow, which is told; everything is read all the same. */
static void feed_overflowing(il_session *session, const int32_t *tokens, const answers *a, size_t at, size_t n,
                             uint32_t asked) {
    il_error error;
    il_feed f = piece_of(session, tokens, a, at, n, asked);
    il_status status = il_feed_many(&f, 1, &error);
    assert_true(status == IL_OK || status == IL_ERR_NONFINITE);
    assert_int_equal(f.consumed, n);
}

static void note_state(const il_session *session, answers *a) {
    il_error error;
    assert_ok(il_session_fingerprint(session, a->state, &error), error);
}

/* Of one feed of all tokens. */
static answers read_whole(il_model *model, const int32_t *tokens, size_t n, int frozen) {
    answers a = room_for(n, il_model_config(model)->vocab_size);
    il_session *s = lively_session(model, frozen);
    feed(s, tokens, &a, 0, n, ALL);
    note_state(s, &a);
    il_session_close(s);
    return a;
}

static void assert_same_answers(const answers *a, const answers *b) {
    assert_memory_equal(a->logits, b->logits, a->n * a->vocab * sizeof(float));
    assert_memory_equal(a->nll, b->nll, a->n * sizeof(float));
    assert_memory_equal(a->slow, b->slow, a->n * sizeof(float));
    assert_string_equal(a->state, b->state);
}

/* ---- the formula ---- */

/* The projection is one bit of a drawing for each pair of input and feature. */
static double projection(int input, int feature) {
    uint32_t words[4];
    il_philox(0, IL_PURPOSE_FAST_HEAD, (uint32_t)input, (uint64_t)(feature / 128), words);
    return words[feature % 128 / 32] >> feature % 32 & 1 ? 1 : -1;
}

/* Which tokens have a column of F: all, or the first so many. */
typedef struct owners {
    int most, n;
    int32_t *order;
} owners;

static int owns(const owners *o, int32_t token) {
    if (!o->most) return 1;
    for (int i = 0; i < o->n; i++)
        if (o->order[i] == token) return 1;
    return 0;
}

/* The errors of a mini-batch's rows, given the columns that tokens had in it, become what is learned. */
static void give_columns(owners *o, size_t rows, size_t vocab, const int32_t *targets, double *errors) {
    for (size_t i = 0; i < rows * vocab && o->most; i++)
        if (!owns(o, (int32_t)(i % vocab))) errors[i] = 0;
    for (size_t r = 0; r < rows; r++) {
        if (targets[r] == BOS) continue;
        if (!owns(o, targets[r]) && o->n < o->most) o->order[o->n++] = targets[r];
        if (owns(o, targets[r])) errors[r * vocab + (size_t)targets[r]] -= 1;
    }
}

/* logits = head h + F φ(h), and at the end of every mini-batch a step down the loss of its tokens, in double. The
 * final hidden vectors and the head are the model's; returns the largest distance of logits and losses. */
static double distance_from_formula(il_model *model, const int32_t *tokens, const answers *a) {
    const il_config *c = il_model_config(model);
    size_t vocab = (size_t)c->vocab_size, width = (size_t)c->width, size = (size_t)c->fast_head_size;
    uint64_t b = (uint64_t)c->mini_batch;
    const char *name = c->tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
    const float *w = model->weights + il_table_find(&model->table, name)->offset;
    double *f = calloc(vocab * size, sizeof *f), *phi = calloc(b * size, sizeof *phi),
           *errors = calloc(b * vocab, sizeof *errors), *signs = calloc(width * size, sizeof *signs), worst = 0;
    int32_t *targets = calloc(b, sizeof *targets);
    owners o = {c->fast_head_tokens, 0, calloc(vocab, sizeof *o.order)};
    assert_true(f && phi && errors && signs && targets && o.order);
    for (size_t i = 0; i < width; i++)
        for (size_t k = 0; k < size; k++) signs[i * size + k] = projection((int)i, (int)k);
    il_session *s = lively_session(model, 0);
    size_t rows = 0;
    for (size_t t = 0; t + 1 < a->n; t++) {
        feed(s, tokens, a, t, 1, 0);
        const float *h = s->state.hidden + t % (size_t)s->state.ring_hidden * width;
        /* this row predicts token t + 1, of mini-batch (t + 1) / b; the step after the mini-batch before is due */
        if ((t + 1) % b == 0) {
            give_columns(&o, rows, vocab, targets, errors);
            for (size_t r = 0; r < rows; r++)
                for (size_t v = 0; v < vocab; v++)
                    for (size_t k = 0; k < size; k++)
                        f[v * size + k] -= c->fast_head_lr * errors[r * vocab + v] * phi[r * size + k];
            rows = 0;
        }
        double squares = 0, sum = 0, *e = errors + rows * vocab, *p = phi + rows * size;
        for (size_t k = 0; k < size; k++) {
            p[k] = 0;
            for (size_t i = 0; i < width; i++) p[k] += (double)h[i] * signs[i * size + k];
            squares += p[k] * p[k];
        }
        for (size_t k = 0; k < size; k++) p[k] /= sqrt(squares);
        for (size_t v = 0; v < vocab; v++) {
            double slow = 0, fast = 0;
            for (size_t i = 0; i < width; i++) slow += (double)h[i] * (double)w[v * width + i];
            for (size_t k = 0; k < size; k++) fast += f[v * size + k] * p[k];
            e[v] = slow + fast;
            sum += exp(e[v]);
            worst = fmax(worst, fabs((double)a->logits[t * vocab + v] - e[v]));
        }
        worst = fmax(worst, fabs((double)a->nll[t + 1] - (log(sum) - e[tokens[t + 1]])));
        for (size_t v = 0; v < vocab; v++) e[v] = tokens[t + 1] == BOS ? 0 : exp(e[v]) / sum;
        targets[rows++] = tokens[t + 1];
    }
    il_session_close(s);
    free(o.order);
    free(targets);
    free(signs);
    free(errors);
    free(phi);
    free(f);
    return worst;
}

static void equals_its_formula(void **unused) {
    (void)unused;
    static const il_mixer_kind mixers[] = {IL_MIXER_TTT_LINEAR, IL_MIXER_TTT_LINEAR_DECAY, IL_MIXER_TTT_MLP,
                                           IL_MIXER_SELF_ATTENTION};
    static const int batches[] = {1, 4, 16};
    il_engine *engine = lively_engine(2, NULL);
    for (int i = 0; i < 4 * 3 * 2 * 2; i++) {
        int wide = i % 2;
        kind k = {"",   mixers[i / 6 % 4], batches[i / 2 % 3],          wide ? VOCAB_MAX : 61, wide ? 12 : 150,
                  wide, IL_WEIGHTS_F32,    i < 24 ? 0 : wide ? 100 : 15};
        il_model *model = model_of(engine, &k, 1);
        int32_t tokens[N];
        tokens_of(tokens, N, k.vocab, 5);
        answers a = read_whole(model, tokens, N, 0);
        double distance = distance_from_formula(model, tokens, &a), learned = 0;
        if (!(distance < 3e-5))
            fail_msg("%s, b = %d, vocabulary %d, %d tokens: %g away", il_mixer_name(k.mixer), k.mini_batch, k.vocab,
                     k.tokens, distance);
        assert_true(isnan(a.nll[0]) && isnan(a.slow[0]));
        for (size_t t = 1; t < N; t++) learned += (double)a.slow[t] - (double)a.nll[t];
        assert_true(learned > 5); /* and it is of use on a text that repeats itself */
        free_answers(&a);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* A text in which every token of the vocabulary comes, so that a thread's share of the columns is not all of them. */
static void more_columns_than_one_share(void **unused) {
    (void)unused;
    enum { LONG = 2 * VOCAB_MAX };
    il_engine *engine = lively_engine(3, NULL);
    kind k = {"", IL_MIXER_TTT_LINEAR, 16, VOCAB_MAX, 12, 0, IL_WEIGHTS_F32, VOCAB_MAX - 1};
    il_model *model = model_of(engine, &k, 1);
    int32_t tokens[LONG];
    for (int i = 0; i < LONG; i++) tokens[i] = (int32_t)(i * 7 % VOCAB_MAX);
    answers a = read_whole(model, tokens, LONG, 0), got = room_for(LONG, VOCAB_MAX);
    assert_true(distance_from_formula(model, tokens, &a) < 3e-5);
    il_session *s = lively_session(model, 0);
    for (size_t at = 0, n; at < LONG; at += n) {
        n = 1 + lively_random(1, at, 60);
        if (n > LONG - at) n = LONG - at;
        feed(s, tokens, &got, at, n, ALL);
    }
    note_state(s, &got);
    assert_int_equal(s->state.fast.owned[LONG / 16 & 1], VOCAB_MAX - 1);
    assert_same_answers(&got, &a);
    il_session_close(s);
    free_answers(&got);
    free_answers(&a);
    il_model_unref(model);
    il_engine_close(engine);
}

/* ---- one answer ---- */

/* In random pieces, with random wishes, every chunking gives what was asked for, and all the same state. */
static void any_chunking_and_wish(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1);
        int32_t tokens[N];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers want = read_whole(model, tokens, N, 0);
        for (uint64_t trial = 0; trial < 24; trial++) {
            answers got = room_for(N, kinds[i].vocab);
            memcpy(got.logits, want.logits, N * got.vocab * sizeof(float)); /* what is not asked for stays */
            memcpy(got.nll, want.nll, N * sizeof(float));
            memcpy(got.slow, want.slow, N * sizeof(float));
            il_session *s = lively_session(model, 0);
            uint32_t longest = trial < 8 ? 1 : 1 + lively_random(trial, 1000, trial < 16 ? 40 : 170);
            for (size_t at = 0; at < N;) {
                size_t n = 1 + lively_random(trial, at, longest);
                uint32_t asked = trial < 8 ? (uint32_t)trial : lively_random(trial, 2000 + at, ALL + 1);
                if (n > N - at) n = N - at;
                if (asked & LOGITS) memset(got.logits + at * got.vocab, 0, n * got.vocab * sizeof(float));
                if (asked & NLL) memset(got.nll + at, 0, n * sizeof(float));
                if (asked & SLOW) memset(got.slow + at, 0, n * sizeof(float));
                feed(s, tokens, &got, at, n, asked);
                at += n;
            }
            note_state(s, &got);
            assert_same_answers(&got, &want);
            il_session_close(s);
            free_answers(&got);
        }
        free_answers(&want);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* More sequences than go through one pass, of different lengths: more rows than a block holds. */
static void any_neighbours(void **unused) {
    (void)unused;
    enum { SESSIONS = 70, EACH = 90 };
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1);
        il_feed feeds[SESSIONS];
        il_session *sessions[SESSIONS];
        answers want[SESSIONS], got[SESSIONS];
        int32_t tokens[SESSIONS][EACH];
        size_t at[SESSIONS] = {0};
        for (size_t s = 0; s < SESSIONS; s++) {
            int frozen = s % 9 == 4;
            tokens_of(tokens[s], EACH, kinds[i].vocab, 100 + s);
            want[s] = read_whole(model, tokens[s], EACH, frozen);
            got[s] = room_for(EACH, kinds[i].vocab);
            sessions[s] = lively_session(model, frozen);
        }
        for (uint64_t round = 0, left = 1; left; round++) {
            left = 0;
            for (size_t s = 0; s < SESSIONS; s++) {
                size_t n = lively_random(s, round, round % 3 ? 30 : 2);
                if (n > EACH - at[s]) n = EACH - at[s];
                feeds[s] = piece_of(sessions[s], tokens[s], &got[s], at[s], n, ALL);
                at[s] += n;
                left += EACH - at[s];
            }
            assert_ok(il_feed_many(feeds, SESSIONS, &error), error);
        }
        for (size_t s = 0; s < SESSIONS; s++) {
            note_state(sessions[s], &got[s]);
            assert_same_answers(&got[s], &want[s]);
            il_session_close(sessions[s]);
            free_answers(&got[s]);
            free_answers(&want[s]);
        }
        il_model_unref(model);
    }
    il_engine_close(engine);
}

static void any_thread_count_and_instruction_set(void **unused) {
    (void)unused;
    for (int i = 0; i < KINDS; i++) {
        int32_t tokens[N];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers want = {0};
        for (const lively_way *way = lively_ways(); way->threads; way++) {
            il_engine *engine = lively_engine(way->threads, way->kernels);
            il_model *model = model_of(engine, &kinds[i], 1);
            answers got = read_whole(model, tokens, N, 0);
            if (!want.n) {
                want = got;
            } else {
                assert_same_answers(&got, &want);
                free_answers(&got);
            }
            il_model_unref(model);
            il_engine_close(engine);
        }
        free_answers(&want);
    }
}

/* ---- without what it has learned ---- */

static void frozen_it_is_the_model_without_one(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1), *plain = model_of(engine, &kinds[i], 0);
        int32_t tokens[N];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        for (int frozen = 0; frozen < 2; frozen++) {
            answers fast = read_whole(model, tokens, N, frozen), slow = read_whole(plain, tokens, N, frozen);
            size_t vocab = slow.vocab, first = (size_t)kinds[i].mini_batch - (kinds[i].mini_batch > 1);
            assert_memory_equal(slow.nll, slow.slow, N * sizeof(float));
            assert_memory_equal(fast.slow, slow.nll, N * sizeof(float));
            if (frozen) {
                assert_memory_equal(fast.logits, slow.logits, N * vocab * sizeof(float));
                assert_memory_equal(fast.nll, slow.nll, N * sizeof(float));
            } else { /* it starts as nothing, and is something from the second mini-batch with a prediction on */
                assert_memory_equal(fast.logits, slow.logits, first * vocab * sizeof(float));
                assert_memory_not_equal(fast.logits + first * vocab, slow.logits + first * vocab,
                                        vocab * sizeof(float));
            }
            free_answers(&fast);
            free_answers(&slow);
        }
        /* one kind of loss at a time, too */
        answers a = room_for(N, kinds[i].vocab);
        for (uint32_t asked = NLL; asked <= SLOW; asked *= 2) {
            il_session *s = lively_session(plain, 0);
            feed(s, tokens, &a, 0, N, asked);
            il_session_close(s);
        }
        assert_memory_equal(a.nll, a.slow, N * sizeof(float));
        free_answers(&a);
        il_model_unref(plain);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* ---- there and back ---- */

static void logits_on_demand_are_those_of_a_feed(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1);
        int32_t tokens[N];
        float logits[VOCAB_MAX];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers want = read_whole(model, tokens, N, 0), none = {0};
        il_session *s = lively_session(model, 0);
        for (size_t t = 0; t < N; t++) {
            feed(s, tokens, &none, t, 1, 0);
            assert_ok(il_session_logits(s, logits, &error), error);
            assert_memory_equal(logits, want.logits + t * want.vocab, want.vocab * sizeof(float));
        }
        il_session_close(s);
        free_answers(&want);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* From every position around the ends of mini-batches to every position allowed, and on with the same and with other
 * tokens: as if the tokens taken back had never been. A fork in between leaves its parent alone. */
static void rewound_it_forgets(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int i = 0; i < KINDS; i++) {
        uint64_t b = (uint64_t)kinds[i].mini_batch;
        if (b > 16 || kinds[i].vocab == VOCAB_MAX) continue; /* the same code, much longer */
        il_model *model = model_of(engine, &kinds[i], 1);
        int32_t tokens[N], others[N];
        answers none = {0}, got = room_for(N, kinds[i].vocab);
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers want = read_whole(model, tokens, N, 0);
        for (size_t from = 2 * b + 1; from <= 4 * b + 2; from += from % b > 1 && from % b + 2 < b ? 3 : 1) {
            il_session *s = lively_session(model, 0);
            /* half of them keep rows to learn from, which must be forgotten too */
            for (size_t t = 0; t < from; t++) feed(s, tokens, &got, t, 1, from % 2 ? LOGITS : 0);
            for (uint64_t to = il_session_rewind_limit(s); to <= from; to++) {
                il_session *fork, *second, *fresh = lively_session(model, 0);
                assert_ok(il_session_fork(s, &fork, &error), error);
                assert_ok(il_session_rewind(fork, to, &error), error);
                assert_ok(il_session_fork(fork, &second, &error), error);
                feed(fork, tokens, &got, to, N - to, ALL);
                note_state(fork, &got);
                assert_memory_equal(got.logits + to * got.vocab, want.logits + to * got.vocab,
                                    (N - to) * got.vocab * sizeof(float));
                assert_memory_equal(got.nll + to, want.nll + to, (N - to) * sizeof(float));
                assert_memory_equal(got.slow + to, want.slow + to, (N - to) * sizeof(float));
                assert_string_equal(got.state, want.state);
                memcpy(others, tokens, sizeof others);
                for (size_t t = to; t < N; t++) others[t] = (int32_t)lively_random(from, t, (uint32_t)got.vocab);
                size_t some = to + (N - to) / 2;
                for (size_t t = to; t < some; t++) feed(second, others, &got, t, 1, LOGITS);
                feed(second, others, &none, some, N - some, 0);
                feed(fresh, others, &none, 0, N, 0);
                answers left = {0}, right = {0};
                note_state(second, &left);
                note_state(fresh, &right);
                assert_string_equal(left.state, right.state);
                il_session_close(second);
                il_session_close(fork);
                il_session_close(fresh);
            }
            feed(s, tokens, &none, from, N - from, 0); /* the parent of all these */
            note_state(s, &got);
            assert_string_equal(got.state, want.state);
            il_session_close(s);
        }
        free_answers(&want);
        free_answers(&got);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* Whether rows were kept or are computed again, new weights count from the same token on. */
static void new_weights_count_at_once(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int i = 0; i < KINDS; i++) {
        int32_t tokens[N];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers got[2];
        size_t change = (size_t)kinds[i].mini_batch + (size_t)kinds[i].mini_batch / 2;
        if (kinds[i].type != IL_WEIGHTS_F32 || change >= N) continue;
        for (int kept = 0; kept < 2; kept++) {
            il_model *model = model_of(engine, &kinds[i], 1);
            il_session *s = lively_session(model, 0);
            got[kept] = room_for(N, kinds[i].vocab);
            for (size_t t = 0; t < N; t++) {
                if (t == change) {
                    for (size_t j = 0; j < (size_t)il_model_config(model)->width; j++)
                        model->weights[model->norm.w + j] *= 2;
                    model->version++;
                }
                feed(s, tokens, &got[kept], t, 1, kept ? LOGITS : 0);
            }
            note_state(s, &got[kept]);
            il_session_close(s);
            il_model_unref(model);
        }
        assert_string_equal(got[0].state, got[1].state);
        free_answers(&got[0]);
        free_answers(&got[1]);
    }
    il_engine_close(engine);
}

/* ---- a reader ---- */

typedef struct reading {
    size_t vocab;
    const size_t *at; /* [feeds]: where in its sequence each feed begins */
    float **p;        /* [feeds] [N, vocab] */
    float **lse;      /* [feeds] [N] */
    int **times;      /* [feeds] [N]: how often a row came */
} reading;

static void read_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    reading *r = context;
    size_t t = r->at[feed] + token;
    memcpy(r->p[feed] + t * r->vocab, p, r->vocab * sizeof *p);
    r->lse[feed][t] = lse;
    r->times[feed][t]++;
}

/* A reader gets each row once, as the softmax of what would be its logits, with and without a fast head, whatever else
 * is asked for. */
static void a_reader_gets_the_softmax(void **unused) {
    (void)unused;
    enum { SESSIONS = 20 };
    il_engine *engine = lively_engine(3, NULL);
    const il_kernels *kernels = engine->kernels;
    il_error error;
    for (int i = 0; i < 2 * KINDS; i++) {
        int vocab = kinds[i / 2].vocab;
        il_model *model = model_of(engine, &kinds[i / 2], i % 2);
        int32_t tokens[SESSIONS][N];
        size_t at[SESSIONS] = {0};
        float *p[SESSIONS], *lse[SESSIONS];
        int *times[SESSIONS];
        il_session *sessions[SESSIONS];
        answers got[SESSIONS];
        reading r = {(size_t)vocab, at, p, lse, times};
        for (size_t s = 0; s < SESSIONS; s++) {
            tokens_of(tokens[s], N, vocab, 300 + s);
            sessions[s] = lively_session(model, s == 3);
            got[s] = room_for(N, vocab);
            p[s] = calloc(N * (size_t)vocab, sizeof **p);
            lse[s] = calloc(N, sizeof **lse);
            times[s] = calloc(N, sizeof **times);
            assert_true(p[s] && lse[s] && times[s]);
        }
        for (uint64_t round = 0, left = 1; left; round++) {
            il_feed feeds[SESSIONS];
            left = 0;
            for (size_t s = 0; s < SESSIONS; s++) {
                size_t n = round % 3 ? lively_random(s, round, 50) : 1;
                if (n > N - at[s]) n = N - at[s];
                feeds[s] =
                    piece_of(sessions[s], tokens[s], &got[s], at[s], n, s % 2 ? 0 : lively_random(s, 900 + round, 8));
            }
            assert_ok(il_feed_read(feeds, SESSIONS, &(il_row_sink){read_row, &r}, &error), error);
            for (size_t s = 0; s < SESSIONS; s++) {
                at[s] += feeds[s].n;
                left += N - at[s];
            }
        }
        for (size_t s = 0; s < SESSIONS; s++) {
            answers want = read_whole(model, tokens[s], N, s == 3);
            note_state(sessions[s], &got[s]);
            assert_string_equal(got[s].state, want.state);
            for (size_t t = 0; t < N; t++) {
                float *row = want.logits + t * want.vocab, sum;
                assert_int_equal(times[s][t], 1);
                kernels->log_sum_exp(1, vocab, row, vocab, &sum);
                kernels->exp_shift(1, vocab, row, vocab, &sum);
                assert_memory_equal(&lse[s][t], &sum, sizeof sum);
                assert_memory_equal(p[s] + t * want.vocab, row, want.vocab * sizeof *row);
            }
            il_session_close(sessions[s]);
            free_answers(&want);
            free_answers(&got[s]);
            free(p[s]);
            free(lse[s]);
            free(times[s]);
        }
        il_model_unref(model);
    }
    il_engine_close(engine);
}

static void the_future_changes_nothing_before_it(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(2, NULL);
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1);
        int32_t tokens[N];
        tokens_of(tokens, N, kinds[i].vocab, 5);
        answers want = read_whole(model, tokens, N, 0);
        for (size_t t = 1; t < N; t += 1 + lively_random(3, t, 12)) {
            int32_t was = tokens[t];
            tokens[t] = (was + 1) % kinds[i].vocab;
            answers got = read_whole(model, tokens, N, 0);
            assert_memory_equal(got.logits, want.logits, t * got.vocab * sizeof(float));
            assert_memory_equal(got.nll, want.nll, t * sizeof(float));
            assert_memory_not_equal(got.nll + t, want.nll + t, sizeof(float));
            tokens[t] = was;
            free_answers(&got);
        }
        free_answers(&want);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* ---- numbers too large ---- */

static int all_finite(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return 0;
    return 1;
}

/* What goes wrong: all logits overflow, or those of one token; the features do; the learning rate is as large as it can
 * be. */
static void numbers_too_large_stay_out(void **unused) {
    (void)unused;
    enum { HEAD, ONE_TOKEN, FEATURES, RATE, WAYS };
    il_engine *engine = lively_engine(2, NULL);
    il_error error;
    for (int i = 0; i < KINDS * WAYS; i++) {
        kind k = kinds[i / WAYS];
        if (k.type != IL_WEIGHTS_F32 || k.vocab == VOCAB_MAX) continue;
        int way = i % WAYS;
        k.untied = 1;
        il_model *model = model_of(engine, &k, 1);
        size_t width = (size_t)il_model_config(model)->width, vocab = (size_t)k.vocab;
        float *head = model->weights + il_table_find(&model->table, "lm_head.weight")->offset,
              *was = malloc(vocab * width * sizeof *was);
        assert_non_null(was);
        memcpy(was, head, vocab * width * sizeof *was);
        for (size_t j = way == ONE_TOKEN ? 7 * width : 0; j < vocab * width && way <= ONE_TOKEN; j++)
            if (way == HEAD || j < 8 * width) head[j] = copysignf(3e38F, head[j]);
        for (size_t j = 0; j < width && way == FEATURES; j++) model->weights[model->norm.w + j] *= 0x1p120F;
        if (way == RATE) model->config.fast_head_lr = 100;
        model->version++;
        int32_t tokens[N];
        tokens_of(tokens, N, k.vocab, 5);
        answers a = room_for(N, k.vocab), whole = room_for(N, k.vocab), none = {0};
        void (*feed_all)(il_session *, const int32_t *, const answers *, size_t, size_t, uint32_t) =
            way <= ONE_TOKEN ? feed_overflowing : feed;
        il_session *s = lively_session(model, 0), *fork;
        size_t wrong = 0, nonzero = 0;
        for (size_t t = 0; t < N; t++) {
            feed_all(s, tokens, &a, t, 1, ALL);
            assert_true(all_finite(s->state.fast.weights, 2 * model->fast_floats));
            wrong += !all_finite(a.logits + t * vocab, vocab);
        }
        for (size_t j = 0; j < 2 * model->fast_floats; j++) nonzero += s->state.fast.weights[j] != 0;
        assert_true(way <= ONE_TOKEN ? wrong > N / 4 : !wrong);
        assert_true(way == HEAD || way == FEATURES ? !nonzero : nonzero > 0);
        assert_ok(il_session_fork(s, &fork, &error), error);
        feed(fork, tokens, &none, 0, N, 0);
        note_state(fork, &a);
        il_session_close(fork);
        il_session_close(s);
        /* any chunking, the same */
        s = lively_session(model, 0);
        feed_all(s, tokens, &whole, 0, N, ALL);
        if (way >= FEATURES) assert_memory_equal(a.logits, whole.logits, N * vocab * sizeof(float));
        feed(s, tokens, &none, 0, N, 0);
        note_state(s, &whole);
        assert_string_equal(a.state, whole.state);
        /* put right, it learns */
        memcpy(head, was, vocab * width * sizeof *was);
        for (size_t j = 0; j < width && way == FEATURES; j++) model->weights[model->norm.w + j] *= 0x1p-120F;
        model->version++;
        feed(s, tokens, &whole, 0, N, ALL);
        assert_true(all_finite(whole.logits, N * vocab) && all_finite(whole.nll, N));
        assert_memory_not_equal(whole.nll, whole.slow, N * sizeof(float));
        il_session_close(s);
        free(was);
        free_answers(&whole);
        free_answers(&a);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

/* ---- memory ---- */

static void its_size_is_told(void **unused) {
    (void)unused;
    il_engine *engine = lively_engine(1, NULL);
    for (int i = 0; i < KINDS; i++) {
        il_model *model = model_of(engine, &kinds[i], 1), *plain = model_of(engine, &kinds[i], 0);
        size_t b = (size_t)kinds[i].mini_batch, given = (size_t)kinds[i].tokens;
        size_t columns = given ? given : (size_t)kinds[i].vocab, panels = (columns + 15) / 16;
        size_t fast = 2 * panels * 16 * (size_t)kinds[i].size * sizeof(float); /* F and the one before */
        fast += b * (columns + (size_t)kinds[i].size) * sizeof(float);         /* what it kept to learn from */
        if (given) fast += (given + 2) * sizeof(int32_t);                      /* whose the columns are */
        size_t text = 2 * b * sizeof(int32_t) + b * 48 * sizeof(float), padding = 7 * 64;
        for (int frozen = 0; frozen < 2; frozen++) {
            il_session *s = lively_session(model, frozen), *t = lively_session(plain, frozen);
            il_session_stats with, without;
            il_session_get_stats(s, &with);
            il_session_get_stats(t, &without);
            size_t more = with.state_bytes - without.state_bytes, least = text + (frozen ? 0 : fast);
            assert_true(more >= least && more <= least + padding);
            il_session_close(s);
            il_session_close(t);
        }
        il_model_unref(plain);
        il_model_unref(model);
    }
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_its_formula),
        cmocka_unit_test(more_columns_than_one_share),
        cmocka_unit_test(any_chunking_and_wish),
        cmocka_unit_test(any_neighbours),
        cmocka_unit_test(any_thread_count_and_instruction_set),
        cmocka_unit_test(frozen_it_is_the_model_without_one),
        cmocka_unit_test(logits_on_demand_are_those_of_a_feed),
        cmocka_unit_test(rewound_it_forgets),
        cmocka_unit_test(new_weights_count_at_once),
        cmocka_unit_test(a_reader_gets_the_softmax),
        cmocka_unit_test(the_future_changes_nothing_before_it),
        cmocka_unit_test(numbers_too_large_stay_out),
        cmocka_unit_test(its_size_is_told),
    };
    return cmocka_run_group_tests_name("fast head", tests, NULL, NULL);
}
