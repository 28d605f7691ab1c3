/* test_sentencepiece.c: a model trained by il_tokenizer_train, and what it promises: decode(encode(x)) = x. */
#include "support_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "support_files.h"
#include "support_lively.h"
#include "support_text.h"
#include "text/sentencepiece_shim.h"
#include "text/tokenizer.h"

static il_engine *engine;
static il_error error;
static char *folder;
static il_tokenizer *trained;

enum { VOCAB = 400 };

/* Trains on generated prose, in two files of different kinds. */
static int setup(void **state) {
    (void)state;
    engine = lively_engine(1, NULL);
    folder = support_folder_make();
    support_seed(5);
    char *text = support_prose(60000);
    support_write(support_path(folder, "a.txt"), text, 40000);
    char *line = malloc(200000);
    size_t n = 0;
    n += (size_t)sprintf(line + n, "{\"text\": \"");
    for (const char *p = text + 40000; *p; p++) n += (size_t)sprintf(line + n, *p == '\n' ? "\\n" : "%c", *p);
    n += (size_t)sprintf(line + n, " \\u0000 \\u2581\\u2585 end\"}\n");
    support_write(support_path(folder, "b.jsonl"), line, n);
    free(line);
    free(text);
    const char *files[] = {support_path(folder, "a.txt"), support_path(folder, "b.jsonl")};
    const char *path = support_path(folder, "t.model");
    assert_ok(il_tokenizer_train(engine, files, 2, NULL, VOCAB, path, &error), error);
    assert_ok(il_tokenizer_load(engine, path, &trained, &error), error);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    il_tokenizer_close(trained);
    support_folder_remove(folder);
    il_engine_close(engine);
    return 0;
}

static void info(void **state) {
    (void)state;
    il_tokenizer_info i;
    il_tokenizer_get_info(trained, &i);
    assert_string_equal(i.kind, "sentencepiece");
    assert_int_equal(i.vocab_size, VOCAB);
    assert_int_equal(i.unk, 0);
    assert_int_equal(i.bos, 1);
    assert_int_equal(i.eos, 2);
}

static void gives_back(const char *text, size_t n, il_decode_form form) {
    il_tokens tokens = {0};
    char *back;
    assert_ok(il_tokenizer_encode(trained, text, n, &tokens, &error), error);
    for (size_t i = 0; i < tokens.n; i++) assert_in_range(tokens.ids[i], 3, VOCAB - 1); /* no <unk>, <s>, </s> */
    size_t m = support_decode(trained, tokens.ids, tokens.n, form, &back);
    if (m != n || memcmp(back, text, n) != 0) fail_msg("\"%.*s\" came back as \"%.*s\"", (int)n, text, (int)m, back);
    free(back);
    il_tokens_free(&tokens);
}

static void gives_back_utf8(void **state) {
    (void)state;
    static const char *const cases[] = {
        "",   " ",    "  ",           "   a",     "a ",         "a  b",      "\n",          "\n\n a\n ",
        "\t", "\r\n", "the\tb",       "▁",        " ▁ ▁",       "a▁b",       "<s></s>",     "<0x0A>",
        "▅",  "⁇",    "\xEF\xBF\xBD", "\x01\x7F", "42 1234567", "e\xCC\x81", "日本語 の 本"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) gives_back(cases[i], strlen(cases[i]), IL_DECODE_USUAL);
    char text[400];
    support_seed(6);
    for (int round = 0; round < 5000; round++)
        gives_back(text, support_random_utf8(text, support_random(sizeof text)), IL_DECODE_USUAL);
}

static void gives_back_any_bytes_exactly(void **state) {
    (void)state;
    char text[300];
    support_seed(7);
    for (int round = 0; round < 3000; round++)
        gives_back(text, support_random_bytes(text, support_random(sizeof text)), IL_DECODE_EXACT);
    for (int a = 0; a < 256; a++) {
        text[0] = (char)a;
        gives_back(text, 1, IL_DECODE_EXACT);
    }
}

static void usual_text_takes_few_tokens(void **state) {
    (void)state;
    il_tokens tokens = {0};
    support_seed(8);
    char *text = support_prose(10000);
    assert_ok(il_tokenizer_encode(trained, text, 10000, &tokens, &error), error);
    assert_in_range(tokens.n, 1000, 4000);
    free(text);
    il_tokens_free(&tokens);
}

static int collect(void *context, const int *ids, size_t n) {
    il_tokens *tokens = context;
    tokens->ids = realloc(tokens->ids, (tokens->n + n) * 4 + 4);
    if (n) memcpy(tokens->ids + tokens->n, ids, n * 4);
    tokens->n += n;
    return 1;
}

/* Long text is encoded in chunks; the tokens must be the library's for the whole. */
static void chunks_do_not_show(void **state) {
    (void)state;
    il_tokens ours = {0}, whole = {0};
    il_sp *sp;
    char message[100];
    size_t bytes;
    support_seed(9);
    char *text = support_prose(400000);
    char *model = support_read(support_path(folder, "t.model"), &bytes);
    assert_int_equal(il_sp_open(model, bytes, &sp, message, sizeof message), IL_SP_OK);
    assert_int_equal(il_sp_encode(sp, text, 400000, 0, collect, &whole), IL_SP_OK);
    assert_ok(il_tokenizer_encode(trained, text, 400000, &ours, &error), error);
    assert_int_equal(ours.n, whole.n);
    assert_memory_equal(ours.ids, whole.ids, ours.n * 4);
    /* nor do the words that are remembered: text of few characters, so that pieces meet in every way */
    char line[200];
    for (int round = 0; round < 3000; round++) {
        size_t n = support_random(sizeof line);
        for (size_t i = 0; i < n; i++) line[i] = "  etadrsnw\n\t4.<0"[support_random(16)];
        ours.n = whole.n = 0;
        assert_int_equal(il_sp_encode(sp, line, n, 0, collect, &whole), IL_SP_OK);
        assert_ok(il_tokenizer_encode(trained, line, n, &ours, &error), error);
        assert_int_equal(ours.n, whole.n);
        if (n) assert_memory_equal(ours.ids, whole.ids, ours.n * 4);
    }
    il_sp_close(sp);
    free(model);
    free(whole.ids);
    il_tokens_free(&ours);

    /* no space in 3 MiB: cut through, lossless all the same */
    char *run = malloc(3 << 20), *back;
    memset(run, 'e', 3 << 20);
    for (int i = 0; i < 3000; i++) run[1000 * i] = "\xC3\xFF"[i & 1];
    assert_ok(il_tokenizer_encode(trained, run, 3 << 20, &ours, &error), error);
    assert_int_equal(support_decode(trained, ours.ids, ours.n, IL_DECODE_EXACT, &back), 3 << 20);
    assert_memory_equal(back, run, 3 << 20);
    il_tokens_free(&ours);
    free(back);
    free(run);
    free(text);
}

/* A text in parts gives the tokens of the whole, with constant memory. */
static void parts_do_not_show(void **state) {
    (void)state;
    enum { PROSE = 1500000, RUN = 1300000, NOISE = 200000, ALL = PROSE + RUN + NOISE };
    support_seed(12);
    char *text = malloc(ALL), *prose = support_prose(PROSE);
    memcpy(text, prose, PROSE);
    memset(text + PROSE, 'e', RUN); /* no space: cut through */
    size_t n = PROSE + RUN + support_random_bytes(text + PROSE + RUN, NOISE);
    il_tokens whole = {0}, parts = {0};
    assert_ok(il_tokenizer_encode(trained, text, n, &whole, &error), error);
    il_encoding encoding = {.tokenizer = trained};
    for (int round = 0; round < 2; round++) { /* one text after another */
        parts.n = 0;
        for (size_t at = 0, part; at < n; at += part) {
            part = support_random(4) ? support_random(200000) : support_random(5);
            if (part > n - at) part = n - at;
            assert_ok(il_encoding_add(&encoding, text + at, part, &parts, &error), error);
            assert_true(encoding.n <= (1 << 20) + 8);
        }
        assert_ok(il_encoding_end(&encoding, &parts, &error), error);
        assert_int_equal(parts.n, whole.n);
        assert_memory_equal(parts.ids, whole.ids, whole.n * 4);
    }
    il_encoding_free(&encoding);
    il_tokens_free(&whole);
    il_tokens_free(&parts);
    free(prose);
    free(text);
}

typedef struct reading {
    const char *text;
    size_t bytes;
    il_tokens tokens;
    il_status status;
} reading;

static void *encode_in_a_thread(void *context) {
    reading *r = context;
    r->status = il_tokenizer_encode(trained, r->text, r->bytes, &r->tokens, NULL);
    return NULL;
}

static void threads_share_a_tokenizer(void **state) {
    (void)state;
    reading r[4] = {{0}};
    pthread_t threads[4];
    support_seed(10);
    char *text = support_prose(100000);
    for (int i = 0; i < 4; i++) {
        r[i].text = text, r[i].bytes = 100000;
        assert_int_equal(pthread_create(&threads[i], NULL, encode_in_a_thread, &r[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(r[i].status, IL_OK);
        assert_int_equal(r[i].tokens.n, r[0].tokens.n);
        assert_memory_equal(r[i].tokens.ids, r[0].tokens.ids, r[0].tokens.n * 4);
    }
    for (int i = 0; i < 4; i++) il_tokens_free(&r[i].tokens);
    free(text);
}

static void training_is_repeatable_and_silent(void **state) {
    (void)state;
    const char *files[] = {support_path(folder, "a.txt"), support_path(folder, "b.jsonl")};
    const char *path = support_path(folder, "again.model"), *log = support_path(folder, "stderr");
    size_t n, m;
    fflush(stderr);
    int kept = dup(2);
    assert_non_null(freopen(log, "w", stderr));
    il_status status = il_tokenizer_train(engine, files, 2, NULL, VOCAB, path, &error);
    il_tokenizer *t = NULL;
    il_status damaged = il_tokenizer_load(engine, files[0], &t, &error);
    fflush(stderr);
    dup2(kept, 2);
    close(kept);
    assert_int_equal(status, IL_OK);
    assert_int_equal(damaged, IL_ERR_FORMAT);
    free(support_read(log, &n));
    assert_int_equal(n, 0);
    char *a = support_read(support_path(folder, "t.model"), &n), *b = support_read(path, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a);
    free(b);
}

/* More pieces than a text gives: as many as it gives, as if they had been asked for. */
static void too_large_a_vocabulary(void **state) {
    (void)state;
    const char *files[] = {support_path(folder, "a.txt")}, *large = support_path(folder, "large.model");
    assert_ok(il_tokenizer_train(engine, files, 1, NULL, 30000, large, &error), error);
    il_tokenizer *most;
    il_tokenizer_info i;
    assert_ok(il_tokenizer_load(engine, large, &most, &error), error);
    il_tokenizer_get_info(most, &i);
    assert_true(i.vocab_size > 300 && i.vocab_size < 30000);
    il_tokenizer_close(most);
    const char *exact = support_path(folder, "exact.model");
    assert_ok(il_tokenizer_train(engine, files, 1, NULL, i.vocab_size, exact, &error), error);
    support_same_files(large, exact);
}

static void training_refuses(void **state) {
    (void)state;
    const char *files[] = {support_path(folder, "a.txt")}, *path = support_path(folder, "x.model");
    assert_fails(il_tokenizer_train(engine, files, 1, NULL, 100, path, &error), IL_ERR_ARG, error, "100");
    assert_fails(il_tokenizer_train(engine, files, 1, NULL, 260, path, &error), IL_ERR_ARG, error, "260");
    assert_fails(il_tokenizer_train(engine, files, 1, NULL, 265, path, &error), IL_ERR_ARG, error, "required_chars");
    assert_fails(il_tokenizer_train(engine, files, 0, NULL, 400, path, &error), IL_ERR_ARG, error, "no text files");
    const char *missing[] = {support_path(folder, "missing.txt")};
    assert_fails(il_tokenizer_train(engine, missing, 1, NULL, 400, path, &error), IL_ERR_IO, error, "missing.txt");
    const char *blank[] = {support_path(folder, "blank.txt")};
    support_write(blank[0], "\n\n\t\n", 4);
    assert_fails(il_tokenizer_train(engine, blank, 1, NULL, 400, path, &error), IL_ERR_FORMAT, error, "no words");
    const char *shard[] = {support_path(folder, "t.bin")};
    support_write(shard[0], "\x88\xD8\x34\x01", 4);
    assert_fails(il_tokenizer_train(engine, shard, 1, NULL, 400, path, &error), IL_ERR_UNSUPPORTED, error, "t.bin");
    assert_int_equal(access(path, F_OK), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info),
        cmocka_unit_test(gives_back_utf8),
        cmocka_unit_test(gives_back_any_bytes_exactly),
        cmocka_unit_test(usual_text_takes_few_tokens),
        cmocka_unit_test(chunks_do_not_show),
        cmocka_unit_test(parts_do_not_show),
        cmocka_unit_test(threads_share_a_tokenizer),
        cmocka_unit_test(training_is_repeatable_and_silent),
        cmocka_unit_test(too_large_a_vocabulary),
        cmocka_unit_test(training_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
