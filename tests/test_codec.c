/* test_codec.c: il_compress and il_decompress: every byte back, whatever the bytes, streams, threads, kernels
 * and tokenizer; a size close to the model's own loss; anything damaged is an error, never another text. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/container.h"
#include "codec/spans.h"
#include "support_engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_model.h"
#include "support_text.h"

enum { TEXT_MAX = 20000 };

static il_engine *engine, *other_engine; /* best kernels, 2 threads; portable, 1 thread */
static il_model *model, *other_model;    /* the same weights on each */
static il_tokenizer *bytes_tokenizer;
static il_error error;
static char *folder;
static char text[TEXT_MAX + 1];

static il_config config_of(int vocab, int bos) {
    il_config config = lively_config(IL_MIXER_TTT_MLP, 4);
    config.vocab_size = vocab;
    config.bos_token = bos;
    return config;
}

/* Some steps of training on text of support_prose, so that the model makes it smaller: else all of it were stored. */
static void teach(il_model *m, const il_tokenizer *t) {
    char path[300], *prose = support_prose(20000);
    const char *file = path;
    il_data_options data_options;
    il_trainer_options options;
    il_data *data;
    il_trainer *trainer;
    il_step step;
    snprintf(path, sizeof path, "%s/lesson.txt", folder);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(prose, 1, 20000, f), 20000);
    assert_int_equal(fclose(f), 0);
    il_data_options_default(&data_options);
    data_options.length = 64, data_options.sequences = 4, data_options.loop = 1;
    assert_ok(il_data_open(m->engine, &file, 1, t, m->config.vocab_size, &data_options, &data, &error), error);
    il_trainer_options_default(il_model_config(m), &options);
    options.steps = 30, options.lr = 1e-2;
    assert_ok(il_trainer_open(m, data, &options, &trainer, &error), error);
    for (int i = 0; i < 30; i++) assert_ok(il_trainer_step(trainer, &step, &error), error);
    assert_true(step.loss < 4.5); /* 6.5 bits a token */
    il_trainer_close(trainer);
    il_data_close(data);
    free(prose);
}

static int setup(void **state) {
    (void)state;
    il_config config = config_of(258, 256);
    engine = lively_engine(2, NULL);
    other_engine = lively_engine(1, "portable");
    model = lively_model(engine, &config, 5);
    other_model = lively_model(other_engine, &config, 5);
    assert_ok(il_tokenizer_load(engine, "bytes", &bytes_tokenizer, &error), error);
    folder = support_folder_make();
    teach(model, bytes_tokenizer);
    memcpy(other_model->weights, model->weights, model->table.floats * sizeof *model->weights);
    other_model->version++;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    support_folder_remove(folder);
    il_tokenizer_close(bytes_tokenizer);
    il_model_unref(model);
    il_model_unref(other_model);
    il_engine_close(engine);
    il_engine_close(other_engine);
    return 0;
}

static il_codec_options with_streams(int streams) {
    il_codec_options options;
    il_codec_options_default(&options);
    options.streams = streams;
    return options;
}

/* Compresses on m, decompresses on n; returns the compressed size. */
static size_t gives_back_with(il_model *m, il_model *n, const il_tokenizer *t, const char *x, size_t bytes, int streams,
                              int mix) {
    il_buffer small, back;
    il_codec_options options = with_streams(streams);
    options.mix = mix;
    assert_ok(il_compress(m, t, x, bytes, &options, &small, &error), error);
    assert_ok(il_decompress(n, t, small.data, small.bytes, NULL, &back, &error), error);
    assert_int_equal(back.bytes, bytes);
    if (bytes) assert_memory_equal(back.data, x, bytes);
    size_t size = small.bytes;
    il_buffer_free(&small);
    il_buffer_free(&back);
    return size;
}

/* Every other time without the mix. */
static size_t gives_back(il_model *m, il_model *n, const il_tokenizer *t, const char *x, size_t bytes, int streams) {
    static int calls;
    return gives_back_with(m, n, t, x, bytes, streams, ++calls & 1);
}

static void every_input(void **state) {
    (void)state;
    static const int streams[] = {1, 2, 3, 7, 64};
    support_seed(1);
    for (int s = 0; s < 5; s++) {
        gives_back(model, model, bytes_tokenizer, "", 0, streams[s]);
        for (int a = 0; a < 256; a += s ? 85 : 1) {
            char one = (char)a;
            gives_back(model, model, bytes_tokenizer, &one, 1, streams[s]);
        }
        gives_back(model, model, bytes_tokenizer, text, support_random_bytes(text, 700), streams[s]);
        gives_back(model, model, bytes_tokenizer, text, support_random_utf8(text, 700), streams[s]);
        memset(text, 0x80, 300);
        gives_back(model, model, bytes_tokenizer, text, 300, streams[s]);
        memset(text, 0, 300);
        gives_back(model, model, bytes_tokenizer, text, 300, streams[s]);
    }
}

static void long_text(void **state) {
    (void)state;
    char *prose = support_prose(TEXT_MAX);
    gives_back(model, model, bytes_tokenizer, prose, TEXT_MAX, 7);
    free(prose);
}

/* What one machine wrote another reads, and both write the same. */
static void one_answer(void **state) {
    (void)state;
    char *prose = support_prose(1500);
    for (int i = 0; i < 6; i++) {
        il_buffer a, b, back;
        il_codec_options options = with_streams(1 + i / 2);
        options.mix = i & 1;
        assert_ok(il_compress(model, bytes_tokenizer, prose, 1500, &options, &a, &error), error);
        assert_ok(il_compress(other_model, bytes_tokenizer, prose, 1500, &options, &b, &error), error);
        assert_int_equal(a.bytes, b.bytes);
        assert_memory_equal(a.data, b.data, a.bytes);
        il_model *const readers[] = {other_model, model}; /* which is the writer does not matter any more */
        for (int k = 0; k < 2; k++) {
            assert_ok(il_decompress(readers[k], bytes_tokenizer, a.data, a.bytes, NULL, &back, &error), error);
            assert_int_equal(back.bytes, 1500);
            assert_memory_equal(back.data, prose, 1500);
            il_buffer_free(&back);
        }
        il_buffer_free(&a);
        il_buffer_free(&b);
    }
    free(prose);
}

/* The model's own price of a text, in bytes, BOS before it. */
static double own_bytes(il_model *m, const char *x, size_t n) {
    il_session *session;
    int32_t *tokens = calloc(n + 1, sizeof *tokens);
    float *nll = calloc(n + 1, sizeof *nll);
    double total = 0;
    tokens[0] = 256;
    for (size_t i = 0; i < n; i++) tokens[i + 1] = (unsigned char)x[i];
    assert_ok(il_session_open(m, NULL, &session, &error), error);
    assert_ok(il_session_feed(session, tokens, n + 1, nll, NULL, &error), error);
    for (size_t i = 1; i <= n; i++) total += (double)nll[i];
    il_session_close(session);
    free(tokens);
    free(nll);
    return total / log(2) / 8;
}

static void close_to_the_models_loss(void **state) {
    (void)state;
    enum { N = 6000 };
    char *prose = support_prose(N);
    double own = own_bytes(model, prose, N);
    size_t size = gives_back_with(model, model, bytes_tokenizer, prose, N, 1, 0);
    if (!((double)size <= own * 1.005 + 64 && (double)size >= own * 0.995))
        fail_msg("%zu bytes, the model says %.1f", size, own);

    /* One that is sure of itself, and mostly wrong: no price is above 31 bits. */
    il_config config = config_of(258, 256);
    il_model *sure = lively_model(engine, &config, 6);
    for (size_t i = 0; i < sure->table.entries[0].count; i++) sure->weights[sure->table.entries[0].offset + i] *= 40;
    sure->version++;
    own = own_bytes(sure, prose, 1000);
    size = gives_back_with(sure, sure, bytes_tokenizer, prose, 1000, 1, 0);
    if (!((double)size <= own * 1.005 + 64 && size <= 1000 * 31 / 8 + 64))
        fail_msg("%zu bytes, the sure model says %.1f", size, own);
    il_model_unref(sure);
    free(prose);
}

/* What the mix is for: a text that repeats what the model does not expect, within a stream or in another one. */
static void the_mix_repeats(void **state) {
    (void)state;
    enum { N = 3000 };
    static const char *const names[] = {"libzstd", "gcc-doc", "python3"};
    char *log = malloc(N + 100);
    support_seed(3);
    for (size_t at = 0; at < N;) {
        unsigned minute = (unsigned)at / 300, second = support_random(60), package = support_random(3);
        at += (size_t)snprintf(log + at, 100, "2026-11-30 10:%02u:%02u status installed %s:amd64 1.%u\n", minute,
                               second, names[package], package + 3);
    }
    for (int streams = 1; streams <= 3; streams += 2) {
        size_t with = gives_back_with(model, model, bytes_tokenizer, log, N, streams, 1),
               without = gives_back_with(model, model, bytes_tokenizer, log, N, streams, 0);
        if (!(3 * with < without)) fail_msg("%d streams: %zu bytes with the mix, %zu without", streams, with, without);
    }
    /* and a text without repetitions suffers little */
    char *prose = support_prose(N);
    size_t with = gives_back_with(model, model, bytes_tokenizer, prose, N, 1, 1),
           without = gives_back_with(model, model, bytes_tokenizer, prose, N, 1, 0);
    if (!(100 * with < 101 * without)) fail_msg("%zu bytes with the mix, %zu without", with, without);
    free(prose);
    free(log);
}

/* Attention's state grows; the code does not care. */
static void attention_too(void **state) {
    (void)state;
    il_config config = lively_config(IL_MIXER_SELF_ATTENTION, 4);
    config.vocab_size = 258;
    il_model *attention = lively_model(engine, &config, 5);
    teach(attention, bytes_tokenizer);
    char *prose = support_prose(800);
    gives_back(attention, attention, bytes_tokenizer, prose, 800, 3);
    il_model_unref(attention);
    free(prose);
}

/* ---- tokenizers ---- */

static il_tokenizer *sentencepiece(int byte_pieces, int prefix, int remove_spaces) {
    static support_spm spm;
    const char *path = support_path(folder, "t.model");
    il_tokenizer *t;
    support_spm_begin(&spm, byte_pieces);
    support_spm_piece(&spm, "\xE2\x96\x81", -1, SUPPORT_NORMAL);
    for (char c = 'a'; c <= 'z'; c++) support_spm_piece(&spm, (char[]){c, 0}, -2, SUPPORT_NORMAL);
    support_spm_piece(&spm, "\xE2\x96\x81the", -0.5F, SUPPORT_NORMAL);
    support_spm_piece(&spm, "ea", -0.25F, SUPPORT_NORMAL);
    support_spm_end(&spm, SUPPORT_UNIGRAM, byte_pieces, prefix, remove_spaces);
    support_write(path, spm.data, spm.bytes);
    assert_ok(il_tokenizer_load(engine, path, &t, &error), error);
    return t;
}

/* One that keeps everything, one that knows 27 characters, one that also takes spaces away; with a vocabulary
 * padded, and with and without a BOS. */
static void every_tokenizer(void **state) {
    (void)state;
    support_seed(4);
    char *prose = support_prose(1200);
    for (int kind = 0; kind < 4; kind++) {
        il_tokenizer *t = sentencepiece(kind == 0, kind != 1, kind == 3);
        il_tokenizer_info info;
        il_tokenizer_get_info(t, &info);
        il_config config = config_of(info.vocab_size + (kind & 1) * 5, -1);
        il_model *m = lively_model(engine, &config, 8);
        teach(m, t);
        for (int streams = 1; streams <= 3; streams += 2) {
            gives_back(m, m, t, "", 0, streams);
            gives_back(m, m, t, " ", 1, streams);
            gives_back(m, m, t, "the sea", 7, streams);
            gives_back(m, m, t, "  the  sea ", 11, streams);
            gives_back(m, m, t, "A\0B", 3, streams);
            gives_back(m, m, t, "\xE2\x81\x87 \xE2\x96\x81", 7, streams); /* how unknowns and spaces are shown */
            gives_back(m, m, t, prose, 1200, streams);
            gives_back(m, m, t, text, support_random_bytes(text, 400), streams);
            gives_back(m, m, t, text, support_random_utf8(text, 400), streams);
        }
        il_model_unref(m);
        il_tokenizer_close(t);
    }
    free(prose);
}

/* Where nothing is lost there is one span; where little is, most of the text is tokens. */
static void spans(void **state) {
    (void)state;
    il_allocator memory = il_allocator_default();
    il_spans made = {0};
    static const char line[] = "the sea the sea the sea\nthe sea the tea the ease\n\xC3\xA9"
                               "a\n";
    static const struct {
        int raw;
        size_t bytes;
    } expected[] = {{0, 23}, {1, 1}, {0, 24}, {1, 3}, {0, 1}, {1, 1}};
    il_tokenizer *t = sentencepiece(0, 0, 0);
    assert_ok(il_spans_make(&memory, t, line, sizeof line - 1, &made, &error), error);
    assert_int_equal(made.n, 6);
    size_t tokens = 0;
    for (size_t i = 0; i < made.n; i++) {
        assert_int_equal(made.spans[i].raw, expected[i].raw);
        assert_int_equal(made.spans[i].bytes, expected[i].bytes);
        assert_int_equal(made.spans[i].raw, made.spans[i].tokens == 0);
        tokens += made.spans[i].tokens;
    }
    assert_int_equal(tokens, made.tokens.n);
    il_spans_free(&memory, &made);
    il_tokenizer_close(t);
    t = sentencepiece(1, 1, 0);
    assert_ok(il_spans_make(&memory, t, line, sizeof line - 1, &made, &error), error);
    assert_int_equal(made.n, 1);
    assert_int_equal(made.spans[0].bytes, sizeof line - 1);
    il_spans_free(&memory, &made);
    il_tokenizer_close(t);
}

/* ---- from a state ---- */

static il_session *having_read(il_model *m, const char *x, size_t n, int frozen) {
    il_session_options o = {.frozen = frozen};
    il_session *session;
    int32_t *tokens = calloc(n + 1, sizeof *tokens);
    for (size_t i = 0; i < n; i++) tokens[i] = (unsigned char)x[i];
    assert_ok(il_session_open(m, &o, &session, &error), error);
    assert_ok(il_session_feed(session, tokens, n, NULL, NULL, &error), error);
    free(tokens);
    return session;
}

/* mix -1: every other time. */
static size_t from_state_with(const il_session *from, const il_session *to, const char *x, size_t bytes, int streams,
                              int mix) {
    il_buffer small, back;
    static int calls;
    il_codec_options there = with_streams(streams), here = with_streams(1);
    there.mix = mix < 0 ? ++calls & 1 : mix;
    there.start = from;
    here.start = to;
    assert_ok(il_compress(model, bytes_tokenizer, x, bytes, &there, &small, &error), error);
    assert_ok(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &here, &back, &error), error);
    assert_int_equal(back.bytes, bytes);
    if (bytes) assert_memory_equal(back.data, x, bytes);
    size_t size = small.bytes;
    il_buffer_free(&small);
    il_buffer_free(&back);
    return size;
}

static size_t from_state(const il_session *from, const il_session *to, const char *x, size_t bytes, int streams) {
    return from_state_with(from, to, x, bytes, streams, -1);
}

/* Whatever was read, also nothing, also frozen; the state is only forked. */
static void states(void **state) {
    (void)state;
    enum { N = 1500 };
    static const size_t read[] = {0, 1, 7, 8, 1000};
    char *prose = support_prose(N);
    char before[33], after[33];
    for (int frozen = 0; frozen < 2; frozen++) {
        for (size_t i = 0; i < sizeof read / sizeof *read; i++) {
            il_session *from = having_read(model, prose, read[i], frozen),
                       *to = having_read(model, prose, read[i], frozen);
            assert_ok(il_session_fingerprint(from, before, &error), error);
            for (int streams = 1; streams <= 7; streams += 3) {
                from_state(from, to, "", 0, streams);
                from_state(from, to, "\xFF", 1, streams);
                from_state(from, to, prose + 1000, 500, streams);
            }
            assert_ok(il_session_fingerprint(from, after, &error), error);
            assert_string_equal(before, after);
            il_session_close(from);
            il_session_close(to);
        }
    }
    free(prose);
}

/* The size is what the model says of the text after what it has read, the first token too. */
static void states_are_heeded(void **state) {
    (void)state;
    enum { N = 4000 };
    char *prose = support_prose(2 * N);
    int32_t *tokens = calloc(N, sizeof *tokens);
    float *nll = calloc(N, sizeof *nll);
    double own = 0;
    il_session *start = having_read(model, prose, N, 0), *on;
    size_t size = from_state_with(start, start, prose + N, N, 1, 0);
    assert_ok(il_session_fork(start, &on, &error), error);
    for (size_t i = 0; i < N; i++) tokens[i] = (unsigned char)prose[N + i];
    assert_ok(il_session_feed(on, tokens, N, nll, NULL, &error), error);
    for (size_t i = 0; i < N; i++) own += (double)nll[i] / log(2) / 8;
    if (!((double)size <= own * 1.005 + 80 && (double)size >= own * 0.995))
        fail_msg("%zu bytes, the model says %.1f", size, own);
    il_session_close(on);
    il_session_close(start);
    free(tokens);
    free(nll);
    free(prose);
}

static void wrong_states(void **state) {
    (void)state;
    il_session *one = having_read(model, "one", 3, 0), *two = having_read(model, "two", 3, 0),
               *frozen = having_read(model, "one", 3, 1), *foreign = having_read(other_model, "one", 3, 0);
    il_session *const others[] = {NULL, two, frozen};
    char names[3][33], expected[200];
    il_codec_options o = with_streams(2);
    il_buffer small, back, fresh;
    assert_ok(il_session_fingerprint(one, names[0], &error), error);
    assert_ok(il_session_fingerprint(two, names[1], &error), error);
    assert_ok(il_session_fingerprint(frozen, names[2], &error), error);
    o.start = one;
    assert_ok(il_compress(model, bytes_tokenizer, "the sea", 7, &o, &small, &error), error);
    for (int i = 0; i < 3; i++) {
        o.start = others[i];
        snprintf(expected, sizeof expected, "compressed from the state %s; %s%s", names[0],
                 i ? "this state is " : "no state is given", i ? names[i] : "");
        assert_fails(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &o, &back, &error), IL_ERR_MISMATCH,
                     error, expected);
        assert_null(back.data);
    }
    o.start = NULL;
    assert_ok(il_compress(model, bytes_tokenizer, "the sea", 7, &o, &fresh, &error), error);
    o.start = two;
    snprintf(expected, sizeof expected, "compressed from a fresh state; this state is %s", names[1]);
    assert_fails(il_decompress(model, bytes_tokenizer, fresh.data, fresh.bytes, &o, &back, &error), IL_ERR_MISMATCH,
                 error, expected);
    o.start = foreign; /* the same weights, but another object */
    assert_fails(il_decompress(model, bytes_tokenizer, fresh.data, fresh.bytes, &o, &back, &error), IL_ERR_ARG, error,
                 "different model");
    assert_fails(il_compress(model, bytes_tokenizer, "a", 1, &o, &back, &error), IL_ERR_ARG, error, "different model");
    for (size_t bit = 0; bit < 8 * small.bytes; bit++) { /* the new field is under the seal too */
        o.start = one;
        small.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        il_status status = il_decompress(model, bytes_tokenizer, small.data, small.bytes, &o, &back, &error);
        if (status != IL_ERR_FORMAT && status != IL_ERR_UNSUPPORTED) fail_msg("bit %zu: %s", bit, error.message);
        small.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    il_buffer_free(&small);
    il_buffer_free(&fresh);
    il_session_close(one);
    il_session_close(two);
    il_session_close(frozen);
    il_session_close(foreign);
}

/* Without a BOS anywhere the first token is one of all alike. */
static void without_bos(void **state) {
    (void)state;
    il_tokenizer *t;
    static support_spm spm;
    spm.bytes = 0, spm.pieces = 0;
    support_spm_piece(&spm, "<unk>", 0, SUPPORT_UNKNOWN);
    for (int i = 0; i < 256; i++) {
        char piece[8];
        snprintf(piece, sizeof piece, "<0x%02X>", i);
        support_spm_piece(&spm, piece, 0, SUPPORT_BYTE);
    }
    support_spm_piece(&spm, "sea", -1, SUPPORT_NORMAL);
    support_spm_end(&spm, SUPPORT_UNIGRAM, 1, 0, 0);
    const char *path = support_path(folder, "nobos.model");
    support_write(path, spm.data, spm.bytes);
    assert_ok(il_tokenizer_load(engine, path, &t, &error), error);
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    assert_int_equal(info.bos, -1);
    il_config config = config_of(258, -1);
    il_model *m = lively_model(engine, &config, 8);
    teach(m, t);
    for (int streams = 1; streams <= 3; streams++) {
        gives_back(m, m, t, "", 0, streams);
        gives_back(m, m, t, "a", 1, streams);
        gives_back(m, m, t, "a sea", 5, streams);
    }
    il_model_unref(m);
    il_tokenizer_close(t);
}

/* ---- refusals ---- */

static il_buffer compressed(const char *x, size_t bytes, int streams) {
    il_buffer small;
    il_codec_options options = with_streams(streams);
    assert_ok(il_compress(model, bytes_tokenizer, x, bytes, &options, &small, &error), error);
    return small;
}

static void refuses(il_model *m, const il_tokenizer *t, const void *data, size_t bytes, il_status expected,
                    const char *message) {
    il_buffer back = {(unsigned char *)text, 7, 7, {0}};
    assert_fails(il_decompress(m, t, data, bytes, NULL, &back, &error), expected, error, message);
    assert_null(back.data);
    assert_int_equal(back.bytes, 0);
}

static void wrong_partners(void **state) {
    (void)state;
    char ours[33], theirs[33], expected[120];
    il_buffer small = compressed("the sea", 7, 1);
    il_config config = config_of(258, 256);
    il_model *m = lively_model(engine, &config, 99);
    il_model_fingerprint(model, ours);
    il_model_fingerprint(m, theirs);
    snprintf(expected, sizeof expected, "compressed with model %s; this model is %s", ours, theirs);
    refuses(m, bytes_tokenizer, small.data, small.bytes, IL_ERR_MISMATCH, expected);
    il_model_unref(m);

    il_tokenizer *t = sentencepiece(0, 0, 0);
    refuses(model, t, small.data, small.bytes, IL_ERR_MISMATCH, "compressed with tokenizer ");
    il_tokenizer_close(t);
    t = sentencepiece(1, 0, 0);
    refuses(model, t, small.data, small.bytes, IL_ERR_MISMATCH, "288 tokens, the model's vocabulary 258");
    il_buffer none;
    assert_fails(il_compress(model, t, "a", 1, NULL, &none, &error), IL_ERR_MISMATCH, error, "288 tokens");
    assert_null(none.data);
    il_tokenizer_close(t);
    il_buffer_free(&small);
}

static void options(void **state) {
    (void)state;
    il_buffer small, back;
    il_codec_options bad = with_streams(-1);
    assert_fails(il_compress(model, bytes_tokenizer, "a", 1, &bad, &small, &error), IL_ERR_ARG, error, "streams is -1");
    bad.streams = 65;
    assert_fails(il_compress(model, bytes_tokenizer, "a", 1, &bad, &small, &error), IL_ERR_ARG, error, "to 64");
    small = compressed("the sea", 7, 1);
    il_codec_options limit = with_streams(1);
    limit.bytes_max = 6;
    assert_fails(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &limit, &back, &error),
                 IL_ERR_UNSUPPORTED, error, "has 7 bytes; at most 6");
    limit.bytes_max = 7;
    assert_ok(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &limit, &back, &error), error);
    il_buffer_free(&back);
    il_buffer_free(&small);
}

typedef struct progress_log {
    uint64_t last, total, stop_at;
    int calls;
} progress_log;

static int log_progress(void *user, uint64_t done, uint64_t total) {
    progress_log *log = user;
    assert_true(done >= log->last && done <= total);
    log->last = done;
    log->total = total;
    log->calls++;
    return done >= log->stop_at;
}

static void progress(void **state) {
    (void)state;
    enum { N = 3000 };
    char *prose = support_prose(N);
    progress_log log = {.stop_at = UINT64_MAX};
    il_codec_options o = with_streams(2);
    il_buffer small, back;
    o.progress = log_progress;
    o.user = &log;
    assert_ok(il_compress(model, bytes_tokenizer, prose, N, &o, &small, &error), error);
    assert_true(log.calls > 3 && log.last == N && log.total == N);
    log = (progress_log){.stop_at = UINT64_MAX};
    assert_ok(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &o, &back, &error), error);
    assert_true(log.calls > N / 200 && log.last == N && log.total == N);
    il_buffer_free(&back);
    log = (progress_log){.stop_at = 100};
    assert_fails(il_decompress(model, bytes_tokenizer, small.data, small.bytes, &o, &back, &error), IL_ERR_CANCELLED,
                 error, "of 3000 bytes");
    assert_true(log.last < 300 && !back.data);
    il_buffer_free(&small);
    log = (progress_log){.stop_at = 100};
    assert_fails(il_compress(model, bytes_tokenizer, prose, N, &o, &small, &error), IL_ERR_CANCELLED, error, "stopped");
    assert_true(log.last < N && !small.data);
    free(prose);
}

/* ---- damage ---- */

static void every_truncation(void **state) {
    (void)state;
    for (int streams = 1; streams <= 3; streams += 2) {
        il_buffer small = compressed("the sea, \xFF the sea", 18, streams);
        for (size_t n = 0; n < small.bytes; n++) refuses(model, bytes_tokenizer, small.data, n, IL_ERR_FORMAT, "");
        unsigned char *longer = malloc(small.bytes + 1);
        memcpy(longer, small.data, small.bytes);
        longer[small.bytes] = 0;
        refuses(model, bytes_tokenizer, longer, small.bytes + 1, IL_ERR_FORMAT, "followed by something else");
        free(longer);
        il_buffer_free(&small);
    }
}

static void every_bit_flip(void **state) {
    (void)state;
    for (int streams = 1; streams <= 2; streams++) {
        il_buffer small = compressed("the sea, \xFF the sea", 18, streams);
        for (size_t bit = 0; bit < 8 * small.bytes; bit++) {
            il_buffer back;
            small.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
            il_status status = il_decompress(model, bytes_tokenizer, small.data, small.bytes, NULL, &back, &error);
            if (status != IL_ERR_FORMAT && status != IL_ERR_UNSUPPORTED)
                fail_msg("bit %zu flipped: %s", bit, il_status_name(status));
            assert_null(back.data);
            small.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        il_buffer_free(&small);
    }
}

/* A head in order over whatever code; the model's and the tokenizer's names are right. */
static int forged_mixed; /* the next heads */

static size_t forge(unsigned char *out, const il_container_stream *streams, int n, const void *code, size_t bytes) {
    il_buffer small = compressed("", 0, 1);
    il_container head;
    size_t at;
    assert_ok(il_container_parse(small.data, small.bytes, &head, &at, &error), error);
    il_buffer_free(&small);
    head.n = n;
    head.mixed = forged_mixed;
    for (int i = 0; i < n; i++) head.streams[i] = streams[i];
    at = il_container_write(&head, out);
    if (bytes) memcpy(out + at, code, bytes);
    il_container_seal(out, at + bytes);
    return at + bytes + IL_CONTAINER_SEAL;
}

static void hostile_heads(void **state) {
    (void)state;
    unsigned char data[IL_CONTAINER_MAX + 310], code[300];
    il_container_stream s[IL_STREAMS_MAX];
    memset(code, 0x33, sizeof code);
    s[0] = (il_container_stream){UINT64_MAX / 4, 1};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 1), IL_ERR_FORMAT, "damaged");
    s[0] = (il_container_stream){UINT64_MAX, 1};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 1), IL_ERR_FORMAT, "impossible size");
    s[0] = (il_container_stream){1, UINT64_MAX};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 1), IL_ERR_FORMAT, "impossible size");
    s[0] = (il_container_stream){5, 0};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 0), IL_ERR_FORMAT, "cannot stand for");
    s[0] = (il_container_stream){0, 5};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 5), IL_ERR_FORMAT, "cannot stand for");
    s[0] = (il_container_stream){5, 9};
    refuses(model, bytes_tokenizer, data, forge(data, s, 1, code, 5), IL_ERR_FORMAT, "cut short");
    refuses(model, bytes_tokenizer, data, forge(data, s, 0, code, 0), IL_ERR_FORMAT, "0 streams");
    for (int i = 0; i < IL_STREAMS_MAX; i++) s[i] = (il_container_stream){1 << 20, 3};
    refuses(model, bytes_tokenizer, data, forge(data, s, IL_STREAMS_MAX, code, 3 * IL_STREAMS_MAX), IL_ERR_FORMAT,
            "damaged");
    refuses(model, bytes_tokenizer, "ILC", 3, IL_ERR_FORMAT, "not compressed by innerloop");
    refuses(model, bytes_tokenizer, "ILC\x1A\x06", 5, IL_ERR_UNSUPPORTED, "version 6");
    refuses(model, bytes_tokenizer, "ILC\x1A\x04", 5, IL_ERR_FORMAT, "inside its header");
    refuses(model, bytes_tokenizer, "ILC\x1A\x03", 5, IL_ERR_FORMAT, "inside its header");
    refuses(model, bytes_tokenizer, "ILC\x1A\x02", 5, IL_ERR_FORMAT, "inside its header");
    refuses(model, bytes_tokenizer, "ILC\x1A\x01", 5, IL_ERR_FORMAT, "inside its header");
}

/* Random code behind a right head: memory stays small whatever the head claims. */
static void hostile_code(void **state) {
    (void)state;
    support_alloc alloc;
    il_engine *counted = support_engine(1, &alloc);
    il_config config = config_of(258, 256);
    il_model *m = lively_model(counted, &config, 5);
    memcpy(m->weights, model->weights, model->table.floats * sizeof *model->weights);
    m->version++;
    unsigned char data[IL_CONTAINER_MAX + 70], code[64];
    il_container_stream s = {(uint64_t)1 << 50, sizeof code};
    support_seed(12);
    size_t peak = 0;
    for (int round = 0; round < 300; round++) {
        for (size_t i = 0; i < sizeof code; i++) code[i] = (unsigned char)support_random(256);
        if (round % 3) code[0] &= 0x7F; /* tokens, not raw */
        refuses(m, bytes_tokenizer, data, forge(data, &s, 1, code, sizeof code), IL_ERR_FORMAT, "damaged");
        if (!round) peak = atomic_load(&alloc.peak_bytes);
    }
    assert_true(atomic_load(&alloc.peak_bytes) <= peak + (1 << 16));
    forged_mixed = 1;
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < sizeof code; i++) code[i] = (unsigned char)support_random(256);
        code[0] &= 0x7F;
        s.bytes = round ? 5000 : (uint64_t)1 << 50;
        refuses(m, bytes_tokenizer, data, forge(data, &s, 1, code, sizeof code), IL_ERR_FORMAT, "damaged");
    }
    forged_mixed = 0;
    assert_true(atomic_load(&alloc.peak_bytes) <= peak + ((size_t)107 << 20));
    il_model_unref(m);
    support_engine_close(counted, &alloc);
}

/* ---- memory ---- */

static il_model *failing_model;
static il_tokenizer *failing_tokenizer;

static il_status there_and_back(const il_allocator *allocator, void *context, il_error *why) {
    static const char x[] = "the sea\nthe TEA";
    il_buffer small, back = {0};
    il_codec_options o = with_streams(2);
    (void)allocator;
    o.start = context;
    il_status status = il_compress(failing_model, failing_tokenizer, x, sizeof x, &o, &small, why);
    if (status == IL_OK)
        status = il_decompress(failing_model, failing_tokenizer, small.data, small.bytes, &o, &back, why);
    if (status == IL_OK) assert_memory_equal(back.data, x, sizeof x);
    if (status != IL_OK) assert_null(back.data);
    il_buffer_free(&small);
    il_buffer_free(&back);
    return status;
}

static void memory_runs_short(void **state) {
    (void)state;
    support_alloc alloc;
    il_engine *counted = support_engine(1, &alloc), *keep = engine;
    engine = counted;
    failing_tokenizer = sentencepiece(0, 0, 0);
    engine = keep;
    il_config config = config_of(258, -1);
    failing_model = lively_model(counted, &config, 5);
    teach(failing_model, bytes_tokenizer);
    il_session *session; /* makes the workspace and the packs, which stay */
    assert_ok(il_session_open(failing_model, NULL, &session, &error), error);
    assert_true(support_alloc_fail_each(&alloc, there_and_back, NULL) > 30);
    int32_t tokens[5] = {1, 2, 3, 4, 5};
    assert_ok(il_session_feed(session, tokens, 5, NULL, NULL, &error), error);
    assert_true(support_alloc_fail_each(&alloc, there_and_back, session) > 30);
    il_session_close(session);
    il_model_unref(failing_model);
    il_tokenizer_close(failing_tokenizer);
    support_engine_close(counted, &alloc);
}

/* What no model predicts is stored: in one stream if all of it is, whatever was asked for. */
static void what_does_not_shrink_is_stored(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 10, 300, 20000};
    static const int streams[] = {0, 1, 7, 64};
    char *noise = malloc(20000), *prose = support_prose(1500);
    support_random_bytes(noise, 20000);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t s = 0; s < sizeof streams / sizeof *streams; s++) {
            size_t size = gives_back(model, model, bytes_tokenizer, noise, sizes[i], streams[s]);
            if (size > sizes[i] + 64 + sizes[i] / 1000)
                fail_msg("%zu bytes in %d streams became %zu", sizes[i], streams[s], size);
        }
    /* half of it text: that half is still predicted */
    memcpy(noise, prose, 1500);
    assert_true(gives_back(model, model, bytes_tokenizer, noise, 3000, 2) < 3000 + 64);
    free(noise);
    free(prose);
}

/* Unless told, the number of streams follows from the size alone. */
static void streams_by_size(void **state) {
    (void)state;
    static const struct {
        size_t bytes;
        int streams;
    } cases[] = {{0, 1}, {190000, 1}, {200000, 2}};
    char *long_prose = support_prose(200000);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        il_buffer chosen;
        il_compressed_info info;
        assert_ok(il_compress(model, bytes_tokenizer, long_prose, cases[i].bytes, NULL, &chosen, &error), error);
        assert_ok(il_compressed_get_info(chosen.data, chosen.bytes, &info, &error), error);
        assert_int_equal(info.streams, cases[i].streams);
        il_buffer_free(&chosen);
    }
    free(long_prose);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_input),     cmocka_unit_test(what_does_not_shrink_is_stored),
        cmocka_unit_test(streams_by_size), cmocka_unit_test(long_text),
        cmocka_unit_test(one_answer),      cmocka_unit_test(close_to_the_models_loss),
        cmocka_unit_test(the_mix_repeats), cmocka_unit_test(attention_too),
        cmocka_unit_test(every_tokenizer), cmocka_unit_test(spans),
        cmocka_unit_test(without_bos),     cmocka_unit_test(wrong_partners),
        cmocka_unit_test(states),          cmocka_unit_test(states_are_heeded),
        cmocka_unit_test(wrong_states),    cmocka_unit_test(options),
        cmocka_unit_test(progress),        cmocka_unit_test(every_truncation),
        cmocka_unit_test(every_bit_flip),  cmocka_unit_test(hostile_heads),
        cmocka_unit_test(hostile_code),    cmocka_unit_test(memory_runs_short)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
