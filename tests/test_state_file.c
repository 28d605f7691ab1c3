/* test_state_file.c: state files. A restored session goes on bit for bit as if it had never stopped, also backwards;
 * the same history is the same file; damaged, foreign and lying files are refused before anything is made of them. */
#include "support_test.h"

#include "session/session.h"
#include "session/state_file.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { N = 150, VOCAB = 61 };

static const struct {
    const char *name;
    il_mixer_kind mixer;
    int mini_batch, frozen, convolutions, fast_head, hybrid, learned_tokens, taps;
} kinds[] = {{"linear", IL_MIXER_TTT_LINEAR, 16, 0, 1, 0, 0, 0, 0},
             {"linear, b = 5", IL_MIXER_TTT_LINEAR, 5, 0, 0, 0, 0, 0, 0},
             {"mlp", IL_MIXER_TTT_MLP, 16, 0, 1, 0, 0, 0, 0},
             {"mlp, b = 1", IL_MIXER_TTT_MLP, 1, 0, 1, 0, 0, 0, 0},
             {"frozen", IL_MIXER_TTT_LINEAR, 16, 1, 1, 0, 0, 0, 0},
             {"attention", IL_MIXER_SELF_ATTENTION, 16, 0, 0, 0, 0, 0, 0},
             {"linear decay", IL_MIXER_TTT_LINEAR_DECAY, 16, 0, 1, 0, 0, 0, 0},
             {"linear, fast head", IL_MIXER_TTT_LINEAR, 16, 0, 1, 20, 0, 0, 0},
             {"mlp, b = 1, fast head", IL_MIXER_TTT_MLP, 1, 0, 1, 7, 0, 0, 0},
             {"frozen, fast head", IL_MIXER_TTT_LINEAR, 16, 1, 0, 20, 0, 0, 0},
             {"attention, fast head", IL_MIXER_SELF_ATTENTION, 5, 0, 0, 20, 0, 0, 0},
             {"hybrid", IL_MIXER_TTT_MLP, 5, 0, 1, 0, 1, 0, 0},
             {"hybrid, fast head", IL_MIXER_TTT_MLP, 16, 0, 1, 7, 1, 0, 0},
             {"gated delta", IL_MIXER_GATED_DELTA, 16, 0, 0, 0, 0, 0, 0},
             {"gated delta, b = 5, frozen", IL_MIXER_GATED_DELTA, 5, 1, 0, 0, 0, 0, 0},
             {"hybrid of gated delta, fast head", IL_MIXER_GATED_DELTA, 5, 0, 1, 7, 2, 0, 0},
             {"linear, fast head of 9 tokens", IL_MIXER_TTT_LINEAR, 16, 0, 1, 20, 0, 9, 0},
             {"mlp, b = 1, fast head of 40 tokens", IL_MIXER_TTT_MLP, 1, 0, 1, 7, 0, 40, 0},
             {"grouped attention", IL_MIXER_SELF_ATTENTION, 16, 0, 0, 0, 3, 0, 0},
             {"sliding attention", IL_MIXER_SLIDING_ATTENTION, 16, 0, 0, 0, 0, 0, 0},
             {"hybrid of sliding attention", IL_MIXER_TTT_LINEAR_DECAY, 5, 0, 1, 0, 4, 0, 0},
             {"linear, b = 5, taps", IL_MIXER_TTT_LINEAR, 5, 0, 1, 0, 0, 0, 1},
             {"attention, taps", IL_MIXER_SELF_ATTENTION, 16, 0, 0, 0, 3, 0, 1}};
enum { KINDS = sizeof kinds / sizeof *kinds, WITH_FAST_HEAD = 7, WITH_FEW_TOKENS = 16, WITH_TAPS = 21 };

typedef struct fixture {
    char *folder;
    il_engine *engine;
    il_model *model;
    int frozen;
    uint64_t b;
    int32_t tokens[N];
    float logits[N * VOCAB]; /* of one session that never stopped */
} fixture;

static void feed(il_session *session, const int32_t *tokens, size_t n, float *logits) {
    il_error error;
    il_feed f = {.session = session, .tokens = tokens, .n = n, .logits = logits};
    assert_ok(il_feed_many(&f, 1, &error), error);
}

static il_session *open_session(const fixture *f) {
    il_session_options options = {.frozen = f->frozen};
    il_session *session;
    il_error error;
    assert_ok(il_session_open(f->model, &options, &session, &error), error);
    return session;
}

static fixture *begin(int kind) {
    fixture *f = calloc(1, sizeof *f);
    f->folder = support_folder_make();
    f->engine = lively_engine(2, NULL);
    il_config config = lively_config(kinds[kind].mixer, kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 1) config = lively_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 2) config = lively_delta_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].hybrid == 3) lively_grouped(&config);
    if (kinds[kind].hybrid == 4) config = lively_sliding_hybrid(kinds[kind].mini_batch);
    if (kinds[kind].taps) lively_taps(&config);
    config.share_qk = config.pre_conv = kinds[kind].convolutions;
    config.fast_head_size = kinds[kind].fast_head;
    config.fast_head_lr = 0.3;
    config.fast_head_tokens = kinds[kind].learned_tokens;
    f->model = lively_model(f->engine, &config, 11);
    f->frozen = kinds[kind].frozen;
    f->b = (uint64_t)kinds[kind].mini_batch;
    lively_tokens(f->tokens, N, VOCAB, 5);
    il_session *s = open_session(f);
    feed(s, f->tokens, N, f->logits);
    il_session_close(s);
    return f;
}

static void end(fixture *f) {
    il_model_unref(f->model);
    il_engine_close(f->engine);
    support_folder_remove(f->folder);
    free(f);
}

/* ---- files in memory ---- */

typedef struct bytes {
    unsigned char *data; /* [n], exactly so many, so that a sanitizer sees a read past the end */
    size_t n, stop_after;
} bytes;

static int take(void *user, const void *data, size_t n) {
    bytes *b = user;
    if (b->n + n > b->stop_after) return 1;
    b->data = realloc(b->data, b->n + n);
    assert_non_null(b->data);
    memcpy(b->data + b->n, data, n);
    b->n += n;
    return 0;
}

static bytes bytes_of(const il_session *session) {
    bytes b = {NULL, 0, SIZE_MAX};
    il_error error;
    assert_ok(il_session_write_to(session, take, &b, &error), error);
    return b;
}

static il_session *from(const fixture *f, const bytes *b) {
    il_session *s;
    il_error error;
    assert_ok(il_session_load_from(f->model, b->data, b->n, &s, &error), error);
    return s;
}

/* ---- going on ---- */

static void goes_on_as_if_never_stopped(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        fixture *f = begin(kind);
        il_error error;
        float logits[N * VOCAB], one[VOCAB];
        for (size_t at = 0; at <= 100; at += at < 20 ? 1 : 9) {
            const char *path = support_path(f->folder, "a.ilstate");
            il_session *s = open_session(f), *t;
            feed(s, f->tokens, at, NULL);
            assert_ok(il_session_save(s, path, &error), error);
            il_session_close(s);
            assert_ok(il_session_load(f->model, path, &t, &error), error);
            assert_int_equal(il_session_position(t), at);
            if (at) {
                assert_ok(il_session_logits(t, one, &error), error);
                assert_memory_equal(one, f->logits + (at - 1) * VOCAB, sizeof one);
            } else {
                assert_fails(il_session_logits(t, one, &error), IL_ERR_ARG, error, "before the first token");
            }
            feed(t, f->tokens + at, N - at, logits + at * VOCAB);
            assert_memory_equal(logits + at * VOCAB, f->logits + at * VOCAB, (N - at) * VOCAB * sizeof *logits);
            il_session_stats stats;
            il_session_get_stats(t, &stats);
            assert_int_equal(stats.tokens_fed, N - at); /* none was read again */
            il_session_close(t);
        }
        assert_int_equal(support_folder_count(f->folder), 1);
        end(f);
    }
}

static void restored_sessions_rewind(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        fixture *f = begin(kind);
        il_error error;
        float logits[N * VOCAB], one[VOCAB];
        for (size_t at = 1; at < 100; at += 7)
            for (size_t back = 0; back <= 2 * f->b; back += 1 + f->b / 4) {
                il_session *s = open_session(f);
                feed(s, f->tokens, at, NULL);
                bytes b = bytes_of(s);
                il_session *t = from(f, &b);
                uint64_t limit = il_session_rewind_limit(t);
                assert_int_equal(limit, il_session_rewind_limit(s));
                assert_true(limit + f->b <= at || limit == 0);
                if (at < limit + back) {
                    if (limit)
                        assert_fails(il_session_rewind(t, limit - 1, &error), IL_ERR_ARG, error, "cannot rewind");
                } else {
                    size_t to = at - back;
                    assert_ok(il_session_rewind(t, to, &error), error);
                    if (to) {
                        assert_ok(il_session_logits(t, one, &error), error);
                        assert_memory_equal(one, f->logits + (to - 1) * VOCAB, sizeof one);
                    }
                    /* and one more time through a file, now with a mini-batch given up */
                    bytes again = bytes_of(t);
                    il_session *u = from(f, &again);
                    assert_int_equal(il_session_rewind_limit(u), il_session_rewind_limit(t));
                    feed(u, f->tokens + to, N - to, logits + to * VOCAB);
                    assert_memory_equal(logits + to * VOCAB, f->logits + to * VOCAB, (N - to) * VOCAB * sizeof *logits);
                    il_session_close(u);
                    free(again.data);
                }
                il_session_close(t);
                il_session_close(s);
                free(b.data);
            }
        end(f);
    }
}

static void one_reading_ten_forks(void **unused) {
    (void)unused;
    fixture *f = begin(0);
    il_error error;
    il_session_stats stats;
    float logits[VOCAB], other[VOCAB];
    const char *path = support_path(f->folder, "book.ilstate");
    il_session *reader = open_session(f), *base;
    uint64_t evaluated;
    feed(reader, f->tokens, 100, NULL);
    il_session_get_stats(reader, &stats);
    evaluated = stats.tokens_fed;
    assert_ok(il_session_save(reader, path, &error), error);
    il_session_close(reader);
    assert_ok(il_session_load(f->model, path, &base, &error), error);
    for (uint64_t i = 0; i < 10; i++) {
        il_session *fork, *straight = open_session(f);
        int32_t way[20];
        lively_tokens(way, 20, VOCAB, 100 + i);
        assert_ok(il_session_fork(base, &fork, &error), error);
        feed(fork, way, 20, NULL);
        assert_ok(il_session_logits(fork, logits, &error), error);
        il_session_get_stats(fork, &stats);
        evaluated += stats.tokens_fed;
        feed(straight, f->tokens, 100, NULL);
        feed(straight, way, 20, NULL);
        assert_ok(il_session_logits(straight, other, &error), error);
        assert_memory_equal(logits, other, sizeof logits);
        il_session_close(straight);
        il_session_close(fork);
    }
    il_session_get_stats(base, &stats);
    assert_int_equal(stats.tokens_fed, 0);
    assert_int_equal(evaluated, 100 + 10 * 20); /* the reading was paid once */
    il_session_close(base);
    end(f);
}

static void the_same_history_is_the_same_file(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        fixture *f = begin(kind);
        il_error error;
        int32_t others[16];
        lively_tokens(others, 16, VOCAB, 7);
        for (size_t at = 0; at < 100; at += 11) {
            il_session *s = open_session(f), *t = open_session(f), *fork;
            feed(s, f->tokens, at, NULL);
            for (size_t i = 0; i < at; i++) feed(t, f->tokens + i, 1, NULL);
            size_t past = f->b - 1 - at % f->b; /* read on inside the mini-batch, and taken back */
            if (past > 16) past = 16;
            feed(t, others, past, NULL);
            assert_ok(il_session_rewind(t, at, &error), error);
            assert_ok(il_session_fork(t, &fork, &error), error);
            bytes a = bytes_of(s), b = bytes_of(t), c = bytes_of(fork);
            assert_int_equal(a.n, b.n);
            assert_int_equal(a.n, c.n);
            assert_memory_equal(a.data, b.data, a.n);
            assert_memory_equal(a.data, c.data, a.n);
            il_session *restored = from(f, &a);
            bytes d = bytes_of(restored);
            assert_int_equal(a.n, d.n);
            assert_memory_equal(a.data, d.data, a.n);
            const char *path = support_path(f->folder, "same.ilstate"); /* and on disk what the callback got */
            size_t n;
            assert_ok(il_session_save(s, path, &error), error);
            char *disk = support_read(path, &n);
            assert_int_equal(n, a.n);
            assert_memory_equal(disk, a.data, n);
            free(disk);
            il_session_close(restored);
            il_session_close(fork);
            il_session_close(t);
            il_session_close(s);
            free(a.data);
            free(b.data);
            free(c.data);
            free(d.data);
        }
        end(f);
    }
}

static void size_does_not_grow(void **unused) {
    (void)unused;
    fixture *f = begin(0);
    il_session *s = open_session(f);
    size_t largest = 0;
    for (size_t i = 0; i < N; i++) {
        feed(s, f->tokens + i, 1, NULL);
        bytes b = bytes_of(s);
        if (i == 3 * f->b) largest = 0;
        if (i >= 3 * f->b && i < 4 * f->b && b.n > largest) largest = b.n;
        if (i >= 4 * f->b) assert_true(b.n <= largest + 64); /* the header is padded to 64 bytes */
        free(b.data);
    }
    il_session_close(s);
    end(f);
}

static void a_note_goes_along(void **unused) {
    static const char note[] = "{\"turns\": [\"\\u0000 \\\\ na\u00efve\"]}\n";
    (void)unused;
    fixture *f = begin(0);
    il_session *s = open_session(f), *copy, *loaded;
    il_error error;
    char plain[33], noted[33];
    feed(s, f->tokens, 20, NULL);
    bytes without = bytes_of(s);
    assert_ok(il_session_fingerprint(s, plain, &error), error);
    assert_null(il_session_note(s));
    assert_ok(il_session_set_note(s, note, &error), error);
    assert_ok(il_session_fingerprint(s, noted, &error), error);
    assert_string_not_equal(plain, noted);
    assert_ok(il_session_fork(s, &copy, &error), error);
    bytes with = bytes_of(copy);
    loaded = from(f, &with);
    assert_string_equal(il_session_note(loaded), note);
    bytes again = bytes_of(loaded);
    assert_true(again.n == with.n && !memcmp(again.data, with.data, with.n));
    assert_ok(il_session_set_note(loaded, NULL, &error), error);
    assert_null(il_session_note(loaded));
    free(again.data);
    again = bytes_of(loaded); /* not a byte of it is left */
    assert_true(again.n == without.n && !memcmp(again.data, without.data, without.n));
    free(again.data);
    il_session_close(loaded);
    unsigned char *turns = memmem(with.data, with.n, "turns", 5);
    assert_non_null(turns);
    *turns = 'T';
    assert_fails(il_session_load_from(f->model, with.data, with.n, &loaded, &error), IL_ERR_FORMAT, error, "damaged");
    assert_null(loaded);
    assert_fails(il_session_set_note(s, "x\xFF", &error), IL_ERR_ARG, error, "not UTF-8 at byte 1");
    char *large = calloc(1, IL_NOTE_BYTES_MAX + 2);
    assert_non_null(large);
    memset(large, '"', IL_NOTE_BYTES_MAX + 1);
    assert_fails(il_session_set_note(s, large, &error), IL_ERR_ARG, error, "a note of 4194305 bytes");
    assert_string_equal(il_session_note(s), note);
    large[IL_NOTE_BYTES_MAX] = 0;
    assert_ok(il_session_set_note(s, large, &error), error);
    bytes most = bytes_of(s); /* the largest can be read again */
    loaded = from(f, &most);
    assert_string_equal(il_session_note(loaded), large);
    free(large);
    free(most.data);
    free(with.data);
    free(without.data);
    il_session_close(loaded);
    il_session_close(copy);
    il_session_close(s);
    end(f);
}

static void frozen_stays_frozen(void **unused) {
    (void)unused;
    fixture *f = begin(4);
    il_session *s = open_session(f);
    feed(s, f->tokens, 40, NULL);
    bytes b = bytes_of(s);
    il_session *t = from(f, &b);
    assert_int_equal(t->state.frozen, 1);
    il_session_close(t);
    il_session_close(s);
    free(b.data);
    end(f);
}

static void sampling_goes_on(void **unused) {
    (void)unused;
    fixture *f = begin(2);
    il_error error;
    int32_t straight[60], stopped[60];
    il_sample_options options;
    il_sample_options_default(&options);
    options.seed = 42;
    for (int stops = 0; stops < 2; stops++) {
        int32_t *out = stops ? stopped : straight;
        il_session *s = open_session(f);
        feed(s, f->tokens, 30, NULL);
        for (int i = 0; i < 60; i++) {
            float logits[VOCAB];
            if (stops && i % 7 == 3) {
                bytes b = bytes_of(s);
                il_session_close(s);
                s = from(f, &b);
                free(b.data);
            }
            assert_ok(il_session_logits(s, logits, &error), error);
            assert_ok(il_sample(&options, logits, VOCAB, il_session_position(s), NULL, 0, &out[i], &error), error);
            feed(s, &out[i], 1, NULL);
        }
        il_session_close(s);
    }
    assert_memory_equal(straight, stopped, sizeof straight);
    end(f);
}

static void statistics_tell_of_learning(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        fixture *f = begin(kind);
        il_error error;
        il_layer_stats stats, other;
        il_session *s = open_session(f);
        if (!f->model->layers[0].heads) {
            assert_fails(il_session_layer_stats(s, 0, &stats, &error), IL_ERR_UNSUPPORTED, error, "fast weights");
            il_session_close(s);
            end(f);
            continue;
        }
        assert_fails(il_session_layer_stats(s, 2, &stats, &error), IL_ERR_ARG, error, "layers go from 0 to 1");
        assert_fails(il_session_layer_stats(s, -1, &stats, &error), IL_ERR_ARG, error, "layer -1");
        double drop = 0;
        for (size_t at = 0; at < N; at++) {
            double change = 0;
            for (int layer = 0; layer < 2; layer++) { /* this model's second layer may have no step at the last token */
                assert_ok(il_session_layer_stats(s, layer, &stats, &error), error);
                /* the gated delta rule starts from nothing */
                assert_true(stats.weight_norm > 0 || (!f->model->layers[layer].rule && stats.change_norm == 0));
                change += stats.change_norm;
                if (at < f->b)
                    assert_true(isnan(stats.loss_before) && isnan(stats.loss_after));
                else if (f->frozen)
                    assert_true(stats.loss_before == stats.loss_after && stats.loss_before > 0);
                else
                    drop += stats.loss_before - stats.loss_after;
            }
            assert_true(at < f->b || f->frozen ? change == 0 : change > 0);
            if (at % 10 == 3) { /* a file keeps them, to the bit */
                bytes b = bytes_of(s);
                il_session *t = from(f, &b);
                assert_ok(il_session_layer_stats(t, 1, &other, &error), error);
                assert_memory_equal(&stats, &other, sizeof stats);
                il_session_close(t);
                free(b.data);
            }
            feed(s, f->tokens + at, 1, NULL);
        }
        assert_true(f->frozen || drop > 0); /* a step of gradient descent goes down */
        if (!f->frozen) {                   /* rewound into the mini-batch before, none is complete any more */
            uint64_t limit = il_session_rewind_limit(s);
            assert_ok(il_session_rewind(s, limit, &error), error);
            assert_ok(il_session_layer_stats(s, 1, &stats, &error), error);
            assert_true(isnan(stats.loss_before));
        }
        /* any chunking, the same numbers */
        il_session *t = open_session(f), *u = open_session(f);
        feed(t, f->tokens, N, NULL);
        for (size_t at = 0; at < N; at += 30) feed(u, f->tokens + at, 30, NULL);
        assert_ok(il_session_layer_stats(t, 0, &stats, &error), error);
        assert_ok(il_session_layer_stats(u, 0, &other, &error), error);
        assert_memory_equal(&stats, &other, sizeof stats);
        il_session_close(u);
        il_session_close(t);
        il_session_close(s);
        end(f);
    }
}

/* ---- refusals ---- */

static void wrong_models_are_named(void **unused) {
    (void)unused;
    fixture *f = begin(0), *g = begin(2);
    il_error error;
    il_session *s = open_session(f), *t = (il_session *)f;
    char own[33], other[33];
    feed(s, f->tokens, 20, NULL);
    bytes b = bytes_of(s);
    il_model_fingerprint(f->model, own);
    il_model_fingerprint(g->model, other);
    assert_fails(il_session_load_from(g->model, b.data, b.n, &t, &error), IL_ERR_MISMATCH, error, "different model");
    assert_null(t);
    assert_non_null(strstr(error.message, own));
    assert_non_null(strstr(error.message, other));
    /* the same shapes, one weight apart */
    il_config config = *il_model_config(f->model);
    il_model *near = lively_model(f->engine, &config, 12);
    assert_fails(il_session_load_from(near, b.data, b.n, &t, &error), IL_ERR_MISMATCH, error, own);
    il_model_unref(near);
    il_session_close(s);
    free(b.data);
    end(f);
    end(g);
}

static void every_bit_is_watched(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind += 15) { /* a TTT state, and one of a hybrid with a fast head */
        fixture *f = begin(kind);
        il_error error;
        il_session *s = open_session(f), *t;
        feed(s, f->tokens, 21, NULL);
        bytes b = bytes_of(s);
        for (size_t at = 0; at < b.n; at += at < 2000 ? 1 : 97) {
            unsigned char bit = (unsigned char)(1 << lively_random(1, at, 8));
            b.data[at] ^= bit;
            memset(&error, 0, sizeof error);
            il_status status = il_session_load_from(f->model, b.data, b.n, &t, &error);
            if (status == IL_OK)
                fail_msg("%s: bit flipped in byte %zu of %zu, and nobody saw", kinds[kind].name, at, b.n);
            assert_null(t);
            assert_int_equal(error.status, status);
            assert_true(error.message[0]);
            b.data[at] ^= bit;
        }
        for (size_t n = 0; n < b.n; n += n < 1500 ? 1 : 509) { /* cut short */
            unsigned char *cut = malloc(n ? n : 1);
            memcpy(cut, b.data, n);
            assert_fails(il_session_load_from(f->model, cut, n, &t, &error), IL_ERR_FORMAT, error, "");
            assert_null(t);
            free(cut);
        }
        il_session_close(s);
        free(b.data);
        end(f);
    }
}

/* A state file taken apart, to be put together again with lies in it and a checksum that fits them. */
typedef struct forgery {
    il_st st;
    il_st_item items[16];
    il_st_pair pairs[12];
    size_t n_items, n_pairs;
} forgery;

static forgery forge(const fixture *f, const bytes *b) {
    forgery g;
    il_error error;
    assert_ok(il_st_parse(&f->engine->memory, "state", b->data, b->n, &g.st, &error), error);
    g.n_items = g.st.n;
    for (size_t i = 0; i < g.st.n; i++) {
        const il_st_tensor *t = &g.st.tensors[i];
        g.items[i] = (il_st_item){.name = t->name, .dtype = t->dtype, .rank = t->rank, .data = t->data};
        memcpy(g.items[i].shape, t->shape, sizeof t->shape);
    }
    g.n_pairs = g.st.n_metadata;
    memcpy(g.pairs, g.st.metadata, g.n_pairs * sizeof *g.pairs);
    return g;
}

static void set(forgery *g, const char *key, const char *value) {
    for (size_t i = 0; i < g->n_pairs; i++)
        if (!strcmp(g->pairs[i].key, key)) g->pairs[i].value = value;
}

static il_st_item *item(forgery *g, const char *name) {
    for (size_t i = 0; i < g->n_items; i++)
        if (!strcmp(g->items[i].name, name)) return &g->items[i];
    fail_msg("no %s", name);
    return NULL;
}

/* Writes it with its own checksum, and loads it. */
static il_status load_forged(const fixture *f, forgery *g, il_error *error) {
    const char *path = support_path(f->folder, "forged.ilstate");
    char checksum[33] = "";
    il_st st;
    il_session *t;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) set(g, "checksum", checksum);
        assert_ok(il_st_write(&f->engine->memory, path, g->items, g->n_items, g->pairs, g->n_pairs, error), *error);
        assert_ok(il_st_open(&f->engine->memory, path, &st, error), *error);
        if (il_state_file_checksum(path, &st, checksum, NULL)) pass = 1;
        il_st_close(&st);
    }
    il_status status = il_session_load(f->model, path, &t, error);
    if (!status) il_session_close(t);
    il_st_close(&g->st);
    return status;
}

static void lies_are_refused(void **unused) {
    (void)unused;
    static const struct {
        const char *key, *value, *text;
        il_status status;
    } lies[] = {
        {"format", "pt", "not a state file", IL_ERR_FORMAT},
        {"version", "2", "version 2, not 1", IL_ERR_UNSUPPORTED},
        {"model", "00000000000000000000000000000000", "different model: 0000", IL_ERR_MISMATCH},
        {"position", "22", "open rows do not go with position 22", IL_ERR_FORMAT},
        {"position", "37", "rewind limit 0 does not go with position 37", IL_ERR_FORMAT},
        {"position", "-1", "position is '-1'", IL_ERR_FORMAT},
        {"position", "021", "position is '021'", IL_ERR_FORMAT},
        {"position", "", "position is ''", IL_ERR_FORMAT},
        {"position", "2e1", "position is '2e1'", IL_ERR_FORMAT},
        {"position", "18446744073709551637", "not a position", IL_ERR_FORMAT}, /* 21 + 2^64 */
        {"open_rows", "4", "4 open rows do not go with position 21", IL_ERR_FORMAT},
        {"rewind_limit", "3", "rewind limit 3 does not go", IL_ERR_FORMAT},
        {"rewind_limit", "32", "rewind limit 32 does not go", IL_ERR_FORMAT},
        {"rewind_limit", "16", "carry.previous does not belong", IL_ERR_FORMAT},
        {"frozen", "2", "frozen is '2'", IL_ERR_FORMAT},
        {"frozen", "1", "does not belong there", IL_ERR_FORMAT},
    };
    fixture *f = begin(0);
    il_error error;
    il_session *s = open_session(f);
    feed(s, f->tokens, 21, NULL);
    bytes b = bytes_of(s);
    forgery honest = forge(f, &b);
    assert_ok(load_forged(f, &honest, &error), error); /* so it is the lie that is refused below */
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        forgery g = forge(f, &b);
        set(&g, lies[i].key, lies[i].value);
        if (!strcmp(lies[i].key, "rewind_limit") && !strcmp(lies[i].value, "16")) {
            item(&g, "conv.pre")->shape[1] = item(&g, "conv.qk")->shape[1] = 8;
            item(&g, "hidden")->shape[0] = 6;
            item(&g, "inner.v")->shape[1] = 5;
        }
        assert_fails(load_forged(f, &g, &error), lies[i].status, error, lies[i].text);
    }
    il_session_close(s);
    free(b.data);
    end(f);
}

static void wrong_tensors_are_refused(void **unused) {
    (void)unused;
    static const char *const all[] = {"carry.current", "carry.previous", "conv.pre",     "conv.qk",
                                      "hidden",        "inner.v",        "rows.current", "rows.previous"};
    fixture *f = begin(0);
    il_error error;
    il_session *s = open_session(f);
    feed(s, f->tokens, 21, NULL);
    bytes b = bytes_of(s);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char text[100];
        forgery g = forge(f, &b);
        assert_int_equal(g.n_items, sizeof all / sizeof *all);
        il_st_item *t = item(&g, all[i]);
        *t = g.items[--g.n_items];
        snprintf(text, sizeof text, "tensor %s is missing", all[i]);
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, text);

        g = forge(f, &b);
        t = item(&g, all[i]);
        t->shape[0]--;
        snprintf(text, sizeof text, "tensor %s is [%zu,", all[i], t->shape[0]);
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, text);

        g = forge(f, &b);
        t = item(&g, all[i]);
        t->shape[t->rank++] = 1;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, ",1], not [");
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const float poison[] = {NAN, INFINITY, -INFINITY};
        forgery g = forge(f, &b);
        il_st_item *t = item(&g, all[i]);
        size_t n = t->shape[0] * t->shape[1] * (t->rank == 3 ? t->shape[2] : 1);
        float *values = malloc(n * sizeof *values);
        char text[100];
        memcpy(values, t->data, n * sizeof *values);
        values[lively_random(i, 0, (uint32_t)n)] = poison[i % 3];
        t->data = values;
        snprintf(text, sizeof text, "tensor %s holds a number that is not finite", all[i]);
        assert_fails(load_forged(f, &g, &error), IL_ERR_NONFINITE, error, text);
        free(values);
    }
    forgery g = forge(f, &b);
    g.items[g.n_items++] = (il_st_item){.name = "extra", .dtype = IL_F32, .rank = 1, .shape = {0}, .data = ""};
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "tensor extra does not belong there");
    g = forge(f, &b);
    il_st_item *hidden = item(&g, "hidden");
    hidden->dtype = IL_I32;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "tensor hidden is I32, not F32");
    il_session_close(s);
    free(b.data);
    end(f);
}

/* Tokens of a file are looked up later, and what a fast head has learned belongs to a model that has one. */
static void states_of_a_fast_head(void **unused) {
    (void)unused;
    static const float bad[] = {0.5F, -1, VOCAB, 1e9F, -0.25F};
    static const char *const own[] = {"fast_head.current", "fast_head.previous", "tokens"};
    fixture *f = begin(WITH_FAST_HEAD);
    il_error error;
    il_session *s = open_session(f), *t;
    feed(s, f->tokens, 21, NULL);
    bytes b = bytes_of(s);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        forgery g = forge(f, &b);
        float tokens[21];
        memcpy(tokens, item(&g, "tokens")->data, sizeof tokens);
        for (size_t j = 0; j < 21; j++) assert_true(tokens[j] == (float)f->tokens[j]);
        tokens[lively_random(3, i, 21)] = bad[i];
        item(&g, "tokens")->data = tokens;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "not a token of the model");
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        forgery g = forge(f, &b);
        il_st_item *missing = item(&g, own[i]);
        *missing = g.items[--g.n_items];
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, own[i]);
        g = forge(f, &b);
        item(&g, own[i])->shape[0]--;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, own[i]);
    }
    forgery g = forge(f, &b);
    static float poison[4 * 20 * 16];
    poison[700] = NAN;
    item(&g, "fast_head.current")->data = poison;
    assert_fails(load_forged(f, &g, &error), IL_ERR_NONFINITE, error, "tensor fast_head.current");
    /* the same weights without a fast head, either way; and with its fingerprint forged */
    il_config config = *il_model_config(f->model);
    config.fast_head_size = 0;
    il_model *with = f->model, *plain;
    char fingerprint[33];
    assert_ok(il_model_convert(with, &config, &plain, &error), error);
    assert_fails(il_session_load_from(plain, b.data, b.n, &t, &error), IL_ERR_MISMATCH, error, "different model");
    il_model_fingerprint(plain, fingerprint);
    g = forge(f, &b);
    set(&g, "model", fingerprint);
    f->model = plain;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "fast_head.current does not belong there");
    il_session *u = open_session(f);
    feed(u, f->tokens, 21, NULL);
    bytes c = bytes_of(u);
    assert_fails(il_session_load_from(with, c.data, c.n, &t, &error), IL_ERR_MISMATCH, error, "different model");
    il_model_fingerprint(with, fingerprint);
    g = forge(f, &c);
    set(&g, "model", fingerprint);
    f->model = with;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "tensor fast_head.current is missing");
    il_session_close(u);
    il_session_close(s);
    il_model_unref(plain);
    free(b.data);
    free(c.data);
    end(f);
}

/* Whose the columns of a fast head are: so many tokens at most, each of the model, none twice. */
static void columns_of_a_fast_head(void **unused) {
    (void)unused;
    static const int32_t bad[] = {-1, VOCAB, 1 << 30};
    /* with fewer or none before, other tokens would have come since, which is not looked at */
    static const char *const own[] = {"fast_head.current", "fast_head.tokens"};
    fixture *f = begin(WITH_FEW_TOKENS);
    il_error error;
    il_session *s = open_session(f), *t;
    bytes empty = bytes_of(s);
    assert_ok(il_session_load_from(f->model, empty.data, empty.n, &t, &error), error);
    il_session_close(t);
    for (int i = 0; i < 9; i++) f->tokens[i] = i % 4 + 10; /* the first mini-batch has a few, the next more than fit */
    for (int i = 9; i < 16; i++) f->tokens[i] = 11;
    for (int i = 16; i < 40; i++) f->tokens[i] = i;
    feed(s, f->tokens, 40, NULL);
    bytes b = bytes_of(s);
    static const int32_t want[] = {11, 12, 13, 10, 16, 17, 18, 19, 20};
    int32_t tokens[10];
    forgery g = forge(f, &b);
    il_st_item *owners = item(&g, "fast_head.tokens");
    assert_true(owners->dtype == IL_I32 && owners->rank == 1 && owners->shape[0] == 9);
    assert_memory_equal(owners->data, want, sizeof want);
    assert_true(item(&g, "fast_head.current")->shape[0] == 9 && item(&g, "fast_head.previous")->shape[0] == 4);
    il_st_close(&g.st);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        g = forge(f, &b);
        memcpy(tokens, want, sizeof want);
        tokens[i + 2] = bad[i];
        item(&g, "fast_head.tokens")->data = tokens;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "not a token of the model");
    }
    memcpy(tokens, want, sizeof want);
    tokens[7] = 12;
    g = forge(f, &b);
    item(&g, "fast_head.tokens")->data = tokens;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "fast_head.tokens holds 12 twice");
    tokens[7] = 19;
    tokens[9] = 50;
    g = forge(f, &b);
    item(&g, "fast_head.tokens")->data = tokens;
    item(&g, "fast_head.tokens")->shape[0] = 10;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "holds 10 tokens: the model's fast head learns 9");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        g = forge(f, &b);
        item(&g, own[i])->shape[0]--;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "fast_head.");
        g = forge(f, &b);
        item(&g, own[i])->dtype = item(&g, own[i])->dtype == IL_F32 ? IL_I32 : IL_F32;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, own[i]);
        g = forge(f, &b);
        il_st_item *missing = item(&g, own[i]);
        *missing = g.items[--g.n_items];
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "fast_head.");
    }
    static float more[10 * 20];
    g = forge(f, &b);
    item(&g, "fast_head.previous")->data = more;
    item(&g, "fast_head.previous")->shape[0] = 10;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "tensor fast_head.previous is [10,20], not [9,20]");
    il_session_close(s);
    free(b.data);
    free(empty.data);
    end(f);
}

static void tokens_that_taps_look_at(void **unused) {
    (void)unused;
    static const int32_t bad[] = {-1, VOCAB, 1 << 30};
    fixture *f = begin(WITH_TAPS);
    il_error error;
    il_session *s = open_session(f);
    feed(s, f->tokens, 102, NULL); /* the limit is 95, from where a tap looks back to 56 */
    bytes b = bytes_of(s);
    int32_t tokens[102 - 56];
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        forgery g = forge(f, &b);
        il_st_item *kept = item(&g, "taps.tokens");
        assert_true(kept->dtype == IL_I32 && kept->rank == 1 && kept->shape[0] == 102 - 56);
        assert_memory_equal(kept->data, f->tokens + 56, sizeof tokens);
        memcpy(tokens, kept->data, sizeof tokens);
        kept->data = tokens;
        if (i < sizeof bad / sizeof *bad)
            tokens[15 * i] = bad[i];
        else
            kept->shape[0]--;
        assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error,
                     i < sizeof bad / sizeof *bad ? "not a token of the model" : "taps.tokens is [45], not [46]");
    }
    il_session_close(s);
    free(b.data);
    end(f);
}

static void a_position_needs_its_keys(void **unused) {
    (void)unused;
    fixture *f = begin(5);
    il_error error;
    il_session *s = open_session(f);
    feed(s, f->tokens, 21, NULL);
    bytes b = bytes_of(s);
    forgery g = forge(f, &b); /* memory for 2^59 positions is not even asked for */
    set(&g, "position", "576460752303423509");
    set(&g, "rewind_limit", "576460752303423488");
    item(&g, "hidden")->shape[0] = 21;
    assert_fails(load_forged(f, &g, &error), IL_ERR_FORMAT, error, "tensor");
    il_session_close(s);
    free(b.data);
    end(f);
}

static void files_that_are_none(void **unused) {
    (void)unused;
    fixture *f = begin(0);
    il_error error;
    il_session *s = open_session(f), *t;
    feed(s, f->tokens, 3, NULL);
    assert_fails(il_session_load(f->model, support_path(f->folder, "none"), &t, &error), IL_ERR_IO, error, "none");
    assert_fails(il_session_load(f->model, f->folder, &t, &error), IL_ERR_IO, error, "folder");
    assert_ok(il_model_save(f->model, f->folder, &error), error);
    assert_fails(il_session_load(f->model, support_path(f->folder, "model.safetensors"), &t, &error), IL_ERR_FORMAT,
                 error, "not a state file");
    assert_null(t);
    assert_fails(il_session_save(s, support_path(f->folder, "no/such/folder"), &error), IL_ERR_IO, error, "no/such");
    assert_fails(il_session_save(s, "/dev/full", &error), IL_ERR_IO, error, "/dev/full");
    /* what cannot be written leaves what was there */
    const char *path = support_path(f->folder, "kept.ilstate");
    assert_ok(il_session_save(s, path, &error), error);
    bytes whole = bytes_of(s);
    for (size_t stop = 0; stop < whole.n; stop += 4096) {
        bytes b = {NULL, 0, stop};
        assert_fails(il_session_write_to(s, take, &b, &error), IL_ERR_IO, error, "not taken whole");
        free(b.data);
    }
    free(whole.data);
    il_session_close(s);
    end(f);
}

/* ---- memory ---- */

typedef struct attempt {
    fixture *f;
    il_session *session;
    bytes b;
} attempt;

static il_status save_and_load(const il_allocator *allocator, void *context, il_error *error) {
    attempt *a = context;
    il_session *t = NULL;
    (void)allocator;
    const char *path = support_path(a->f->folder, "m.ilstate");
    il_status status = il_session_save(a->session, path, error);
    if (!status) status = il_session_load(a->f->model, path, &t, error);
    il_session_close(t);
    return status;
}

static void every_allocation_may_fail(void **unused) {
    (void)unused;
    for (int kind = 0; kind < KINDS; kind += 5) {
        fixture *f = begin(kind);
        support_alloc alloc;
        il_engine *engine = f->engine;
        il_model *model = f->model;
        f->engine = support_engine(1, &alloc);
        f->model = lively_model(f->engine, il_model_config(model), 11);
        attempt a = {.f = f, .session = open_session(f)};
        feed(a.session, f->tokens, 21, NULL);
        assert_true(support_alloc_fail_each(&alloc, save_and_load, &a) > 8);
        assert_true(support_folder_count(f->folder) <= 1); /* no temporary file is left */
        il_session_close(a.session);
        il_model_unref(f->model);
        support_engine_close(f->engine, &alloc);
        f->engine = engine;
        f->model = model;
        end(f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_as_if_never_stopped), cmocka_unit_test(restored_sessions_rewind),
        cmocka_unit_test(one_reading_ten_forks),       cmocka_unit_test(the_same_history_is_the_same_file),
        cmocka_unit_test(size_does_not_grow),          cmocka_unit_test(a_note_goes_along),
        cmocka_unit_test(frozen_stays_frozen),         cmocka_unit_test(sampling_goes_on),
        cmocka_unit_test(statistics_tell_of_learning), cmocka_unit_test(wrong_models_are_named),
        cmocka_unit_test(every_bit_is_watched),        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(wrong_tensors_are_refused),   cmocka_unit_test(states_of_a_fast_head),
        cmocka_unit_test(columns_of_a_fast_head),      cmocka_unit_test(tokens_that_taps_look_at),
        cmocka_unit_test(a_position_needs_its_keys),   cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("state files", tests, NULL, NULL);
}
