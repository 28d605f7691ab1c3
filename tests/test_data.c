/* test_data.c: which tokens stand in which batch: by hand for small streams, by properties for shuffling and
 * seeking; and files of every kind, the cache, and il_data_tokenize. */
#include "support_test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "engine/engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_text.h"
#include "text/shard.h"

static il_engine *engine;
static il_error error;
static char *folder;

enum { VOCAB = 1000, BOS = 999 };

/* Writes a shard; its path stays valid until the next call of the same name. */
static const char *shard(const char *name, const int32_t *ids, size_t n) {
    const char *path = support_path(folder, name);
    assert_ok(il_shard_write(&engine->memory, path, ids, n, VOCAB, 0, &error), error);
    return path;
}

/* Tokens 0 .. n-1. */
static const char *counting(size_t n) {
    int32_t ids[1000];
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)i;
    return shard("count.bin", ids, n);
}

static il_data *open_one(const char *file, const il_data_options *options) {
    il_data *d;
    assert_ok(il_data_open(engine, &file, 1, NULL, VOCAB, options, &d, &error), error);
    return d;
}

static il_data_options options_of(size_t length, size_t sequences) {
    il_data_options o;
    il_data_options_default(&o);
    o.length = length;
    o.sequences = sequences;
    return o;
}

/* The next batch must hold exactly these sequences and flags ("10": fresh, not fresh). */
static void next_is(il_data *d, const int32_t *tokens, const char *fresh) {
    il_batch b;
    assert_ok(il_data_next(d, &b, &error), error);
    assert_int_equal(b.sequences, strlen(fresh));
    size_t n = b.sequences * (b.length + 1);
    if (memcmp(b.tokens, tokens, n * 4) != 0) {
        char line[300] = "";
        for (size_t i = 0; i < n && i < 30; i++) sprintf(line + strlen(line), "%d ", b.tokens[i]);
        fail_msg("batch is %s", line);
    }
    for (size_t i = 0; i < b.sequences; i++) assert_int_equal(b.fresh[i], fresh[i] - '0');
}
#define next_batch(d, fresh, ...) next_is(d, (const int32_t[]){__VA_ARGS__}, fresh)

static void ends(il_data *d) {
    il_batch b;
    for (int i = 0; i < 2; i++) {
        assert_fails(il_data_next(d, &b, &error), IL_ERR_END, error, "ends");
        assert_null(b.tokens);
        assert_int_equal(b.sequences, 0);
    }
}

/* ---- sequences ---- */

static void sequences_by_hand(void **state) {
    (void)state;
    il_data_options o = options_of(3, 2);
    il_data *d = open_one(counting(18), &o); /* 5 sequences use tokens 0 .. 15; the fifth fills no batch */
    assert_int_equal(il_data_tokens(d), 18);
    assert_int_equal(il_data_batches_per_epoch(d), 2);
    for (int i = 0; i < 18; i++) assert_int_equal(il_data_stream(d)[i], i);
    next_batch(d, "11", 0, 1, 2, 3, 3, 4, 5, 6);
    next_batch(d, "11", 6, 7, 8, 9, 9, 10, 11, 12);
    ends(d);
    il_data_close(d);

    d = open_one(counting(13), &o); /* exactly 4 sequences */
    assert_int_equal(il_data_batches_per_epoch(d), 2);
    il_data_close(d);
    d = open_one(counting(12), &o);
    assert_int_equal(il_data_batches_per_epoch(d), 1);
    il_data_close(d);
    il_data_close(NULL);
}

static void looping(void **state) {
    (void)state;
    il_data_options o = options_of(3, 2);
    il_cursor c;
    o.loop = 1;
    il_data *d = open_one(counting(13), &o);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        il_data_tell(d, &c);
        assert_int_equal(c.epoch, epoch);
        assert_int_equal(c.batch, 0);
        next_batch(d, "11", 0, 1, 2, 3, 3, 4, 5, 6);
        il_data_tell(d, &c);
        assert_int_equal(c.batch, 1);
        next_batch(d, "11", 6, 7, 8, 9, 9, 10, 11, 12);
    }
    il_data_close(d);
}

/* Reads an epoch's first tokens of sequences into firsts; returns how many. */
static size_t read_epoch(il_data *d, int32_t *firsts) {
    size_t n = 0;
    il_batch b;
    for (uint64_t i = 0; i < il_data_batches_per_epoch(d); i++) {
        assert_ok(il_data_next(d, &b, &error), error);
        for (size_t k = 0; k < b.sequences; k++) {
            const int32_t *s = b.tokens + k * (b.length + 1);
            for (size_t j = 1; j <= b.length; j++) assert_int_equal(s[j], s[0] + (int32_t)j);
            firsts[n++] = s[0];
        }
    }
    return n;
}

static int is_permutation(const int32_t *firsts, size_t n, int32_t length) {
    char seen[1000] = {0};
    for (size_t i = 0; i < n; i++) {
        if (firsts[i] % length != 0 || seen[firsts[i] / length]++) return 0;
    }
    return 1;
}

static void shuffling(void **state) {
    (void)state;
    int32_t a[3][200], b[200];
    il_data_options o = options_of(5, 4);
    o.shuffle = 1, o.loop = 1, o.seed = 42;
    il_data *d = open_one(counting(501), &o); /* 100 sequences */
    for (int epoch = 0; epoch < 3; epoch++) {
        assert_int_equal(read_epoch(d, a[epoch]), 100);
        assert_true(is_permutation(a[epoch], 100, 5));
    }
    assert_memory_not_equal(a[0], a[1], 400);
    assert_memory_not_equal(a[1], a[2], 400);
    int in_place = 0;
    for (int i = 0; i < 100; i++) in_place += a[0][i] == 5 * i;
    assert_in_range(in_place, 0, 6); /* one is expected */
    il_data_close(d);
    d = open_one(counting(501), &o); /* the same seed: the same order */
    for (int epoch = 0; epoch < 3; epoch++) {
        read_epoch(d, b);
        assert_memory_equal(b, a[epoch], 400);
    }
    il_data_close(d);
    o.seed = 43;
    d = open_one(counting(501), &o);
    read_epoch(d, b);
    assert_memory_not_equal(b, a[0], 400);
    il_data_close(d);
}

/* Every sequence takes every place about equally often. */
static void shuffling_is_fair(void **state) {
    (void)state;
    int count[6][6] = {{0}};
    int32_t firsts[8];
    il_data_options o = options_of(2, 1);
    o.shuffle = 1, o.loop = 1, o.seed = 7;
    il_data *d = open_one(counting(13), &o);
    for (int epoch = 0; epoch < 6000; epoch++) {
        assert_int_equal(read_epoch(d, firsts), 6);
        for (int i = 0; i < 6; i++) count[i][firsts[i] / 2]++;
    }
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) assert_in_range(count[i][k], 850, 1150); /* 1000 ± 5 sigma */
    il_data_close(d);
}

static void seeking(void **state) {
    (void)state;
    il_data_options o = options_of(5, 3);
    for (int way = 0; way < 8; way++) {
        o.shuffle = way & 1, o.stateful = way >> 1 & 1, o.loop = way >> 2 & 1;
        int32_t ids[400];
        for (int i = 0; i < 400; i++) ids[i] = i % 57 == 0 ? BOS : i;
        o.bos_token = BOS;
        const char *file = shard("seek.bin", ids, 400);
        il_data *d = open_one(file, &o);
        uint64_t batches = il_data_batches_per_epoch(d), epochs = o.loop ? 3 : 1;
        int32_t kept[200][18];
        unsigned char fresh[200][3];
        il_cursor at[200], c;
        il_batch b;
        size_t n = 0;
        for (; n < batches * epochs; n++) {
            il_data_tell(d, &at[n]);
            assert_ok(il_data_next(d, &b, &error), error);
            memcpy(kept[n], b.tokens, sizeof kept[n]);
            memcpy(fresh[n], b.fresh, 3);
        }
        assert_true(n > 10);
        support_seed((uint64_t)way);
        for (int i = 0; i < 100; i++) { /* any place, in this source and in a new one */
            size_t k = support_random((uint32_t)n);
            il_data *other = open_one(file, &o);
            assert_ok(il_data_seek(i & 1 ? other : d, &at[k], &error), error);
            il_data_tell(i & 1 ? other : d, &c);
            assert_int_equal(c.epoch, at[k].epoch);
            assert_int_equal(c.batch, at[k].batch);
            for (; k < n; k++) {
                assert_ok(il_data_next(i & 1 ? other : d, &b, &error), error);
                assert_memory_equal(b.tokens, kept[k], sizeof kept[k]);
                assert_memory_equal(b.fresh, fresh[k], 3);
            }
            il_data_close(other);
        }
        c = (il_cursor){0, batches + 1};
        assert_fails(il_data_seek(d, &c, &error), IL_ERR_ARG, error, "batch");
        c = (il_cursor){(uint64_t)1 << 40, 0};
        assert_fails(il_data_seek(d, &c, &error), IL_ERR_ARG, error, "epoch");
        c = (il_cursor){0, batches};
        if (o.loop) {
            assert_fails(il_data_seek(d, &c, &error), IL_ERR_ARG, error, "batch");
        } else {
            assert_ok(il_data_seek(d, &c, &error), error);
            ends(d);
        }
        il_data_close(d);
    }
}

/* ---- stateful ---- */

static void stateful_by_hand(void **state) {
    (void)state;
    /* documents of 7, 4, 2 and 9 tokens: with L = 2, windows 3, 1, 0 and 4 */
    const int32_t ids[] = {BOS, 1, 2, 3, 4, 5, 6, BOS, 11, 12, 13, BOS, 21, BOS, 31, 32, 33, 34, 35, 36, 37, 38};
    il_data_options o = options_of(2, 2);
    o.stateful = 1;
    o.bos_token = BOS;
    il_data *d = open_one(shard("stateful.bin", ids, 22), &o);
    /* the list: a0 a1 a2 b0 | d0 d1 d2 d3 */
    assert_int_equal(il_data_batches_per_epoch(d), 4);
    next_batch(d, "11", BOS, 1, 2, BOS, 31, 32);
    next_batch(d, "00", 2, 3, 4, 32, 33, 34);
    next_batch(d, "00", 4, 5, 6, 34, 35, 36);
    next_batch(d, "10", BOS, 11, 12, 36, 37, 38);
    ends(d);
    il_data_close(d);

    o.sequences = 3; /* a0 a1 | a2 b0 | d0 d1, and d2 d3 are dropped; a lane may begin inside a document */
    o.loop = 1;
    d = open_one(shard("stateful.bin", ids, 22), &o);
    assert_int_equal(il_data_batches_per_epoch(d), 2);
    for (int epoch = 0; epoch < 2; epoch++) {
        next_batch(d, "111", BOS, 1, 2, 4, 5, 6, BOS, 31, 32);
        next_batch(d, "010", 2, 3, 4, BOS, 11, 12, 32, 33, 34);
    }
    il_data_close(d);

    o.sequences = 1; /* no BOS named: the file is one document */
    o.bos_token = -1;
    d = open_one(shard("stateful.bin", ids, 22), &o);
    assert_int_equal(il_data_batches_per_epoch(d), 10);
    next_batch(d, "1", BOS, 1, 2);
    next_batch(d, "0", 2, 3, 4);
    next_batch(d, "0", 4, 5, 6);
    next_batch(d, "0", 6, BOS, 11);
    il_data_close(d);

    /* a file begins a document, with or without BOS; tokens before the first BOS are one too */
    const int32_t first[] = {1, 2, 3, BOS, 5}, second[] = {7, 8, 9};
    char *a = strdup(shard("first.bin", first, 5)), *b = strdup(shard("second.bin", second, 3));
    const char *files[] = {a, b};
    o.bos_token = BOS;
    o.loop = 0;
    assert_ok(il_data_open(engine, files, 2, NULL, VOCAB, &o, &d, &error), error);
    next_batch(d, "1", 1, 2, 3);
    next_batch(d, "1", 7, 8, 9);
    ends(d);
    il_data_close(d);
    free(a);
    free(b);
}

static void stateful_shuffles_documents(void **state) {
    (void)state;
    int32_t ids[600];
    size_t n = 0;
    for (int doc = 0; doc < 20; doc++) /* document i: BOS, then 4 + i % 3 × 4 tokens of value 10 i .. */
        for (int k = 0, size = 5 + doc % 3 * 4; k < size; k++) ids[n++] = k == 0 ? BOS : 10 * doc + k;
    il_data_options o = options_of(4, 1);
    o.stateful = 1, o.shuffle = 1, o.loop = 1, o.bos_token = BOS, o.seed = 3;
    il_data *d = open_one(shard("documents.bin", ids, n), &o);
    int32_t order[2][20];
    for (int epoch = 0; epoch < 2; epoch++) {
        int seen[20] = {0}, documents = 0, doc = -1, window = 0;
        il_batch b;
        for (uint64_t i = 0; i < il_data_batches_per_epoch(d); i++) {
            assert_ok(il_data_next(d, &b, &error), error);
            int here = b.tokens[1] / 10;
            assert_int_equal(b.fresh[0], b.tokens[0] == BOS);
            if (b.fresh[0]) {
                if (doc >= 0) assert_int_equal(window, 1 + doc % 3); /* the last one was read to its end */
                doc = here, window = 0;
                assert_int_equal(seen[doc]++, 0);
                order[epoch][documents++] = doc;
            }
            assert_int_equal(here, doc); /* never across documents */
            window++;
        }
        assert_int_equal(documents, 20);
    }
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    il_data_close(d);
}

/* ---- files ---- */

static il_tokenizer *bytes_tokenizer(void) {
    il_tokenizer *t;
    assert_ok(il_tokenizer_load(engine, "bytes", &t, &error), error);
    return t;
}

static void text_files(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    il_data_options o = options_of(1, 1);
    il_data *d;
    const char *files[] = {support_path(folder, "t.txt"), support_path(folder, "t.jsonl")};
    const char *lines = "{\"text\": \"b\"}\n{\"text\": \"\\u00e9!\"}\n";
    support_write(files[0], "aa", 2);
    support_write(files[1], lines, strlen(lines));
    assert_ok(il_data_open(engine, files, 2, t, 258, &o, &d, &error), error);
    const int32_t expected[] = {256, 'a', 'a', 256, 'b', 256, 0xC3, 0xA9, '!'};
    assert_int_equal(il_data_tokens(d), 9);
    assert_memory_equal(il_data_stream(d), expected, sizeof expected);
    assert_int_equal(il_data_text_bytes(d), 6);
    il_data_close(d);
    /* documents of text begin at the tokenizer's BOS without being told */
    o.stateful = 1;
    assert_ok(il_data_open(engine, files, 2, t, 258, &o, &d, &error), error);
    assert_int_equal(il_data_batches_per_epoch(d), 2 + 1 + 3);
    il_data_close(d);
    assert_fails(il_data_open(engine, files, 2, NULL, 258, &o, &d, &error), IL_ERR_ARG, error, "needs a tokenizer");
    assert_null(d);
    assert_fails(il_data_open(engine, files, 2, t, 257, &o, &d, &error), IL_ERR_MISMATCH, error,
                 "258 tokens, the model's vocabulary 257");
    il_tokenizer_close(t);
}

static void open_refuses(void **state) {
    (void)state;
    il_data_options o = options_of(8, 4);
    il_data *d;
    const char *file = counting(32);
    assert_fails(il_data_open(engine, &file, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error,
                 "32 tokens give 3 sequences of 8 tokens and one more; a batch takes 4");
    assert_null(d);
    assert_fails(il_data_open(engine, &file, 1, NULL, 31, &o, &d, &error), IL_ERR_MISMATCH, error, "token 31 is 31");
    assert_fails(il_data_open(engine, &file, 0, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error, "no data files");
    o.length = SIZE_MAX, o.sequences = SIZE_MAX;
    assert_fails(il_data_open(engine, &file, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error, "32 tokens");
    o.stateful = 1;
    assert_fails(il_data_open(engine, &file, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error, "give 0 sequences");
    o.length = 0;
    assert_fails(il_data_open(engine, &file, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error, "at least 1");
    o = options_of(1, 1);
    assert_fails(il_data_open(engine, &file, 1, NULL, 0, &o, &d, &error), IL_ERR_ARG, error, "vocabulary of 0");
    const char *empty = shard("empty.bin", NULL, 0);
    assert_fails(il_data_open(engine, &empty, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_FORMAT, error, "no tokens");
    const char *dir = support_path(folder, "dir.txt");
    assert_int_equal(mkdir(dir, 0777), 0);
    il_tokenizer *t = bytes_tokenizer();
    assert_fails(il_data_open(engine, &dir, 1, t, VOCAB, &o, &d, &error), IL_ERR_IO, error, "folder");
    const char *pdf = support_path(folder, "a.pdf");
    support_write(pdf, "%PDF-1.5", 8);
    assert_fails(il_data_open(engine, &pdf, 1, t, VOCAB, &o, &d, &error), IL_ERR_UNSUPPORTED, error, "a.pdf");
    il_tokenizer_close(t);
}

/* ---- the cache ---- */

static int warnings;
static void count_warnings(void *user, il_log_level level, const char *line) {
    (void)user;
    (void)line;
    warnings += level == IL_LOG_WARN;
}

static void check_cached(const char *file, il_tokenizer *t, const char *cache, const char *text) {
    il_data_options o = options_of(1, 1);
    il_data *d;
    o.cache_dir = cache;
    assert_ok(il_data_open(engine, &file, 1, t, 258, &o, &d, &error), error);
    size_t n = strlen(text);
    assert_int_equal(il_data_tokens(d), n + 1);
    assert_int_equal(il_data_text_bytes(d), n);
    for (size_t i = 0; i < n; i++) assert_int_equal(il_data_stream(d)[i + 1], (unsigned char)text[i]);
    il_data_close(d);
}

static const char *only_entry(const char *dir) {
    static char path[600];
    DIR *handle = opendir(dir);
    assert_non_null(handle);
    for (struct dirent *e; (e = readdir(handle));)
        if (e->d_name[0] != '.') snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    closedir(handle);
    return path;
}

static void cache(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    char *file = strdup(support_path(folder, "cached.txt")), *dir = strdup(support_path(folder, "out/cache"));
    engine->log = count_warnings;
    warnings = 0;
    support_write(file, "hello", 5);
    check_cached(file, t, dir, "hello");
    assert_int_equal(support_folder_count(dir), 1);
    const char *entry = only_entry(dir);
    assert_non_null(strstr(entry, "cached.txt-"));

    /* a hit: what the cache says is taken, so a planted shard shows */
    const int32_t planted[] = {256, 'H', 'A', 'L', 'L', 'O'};
    assert_ok(il_shard_write(&engine->memory, entry, planted, 6, 258, 5, &error), error);
    check_cached(file, t, dir, "HALLO");

    /* damaged in any way: made again, with a warning */
    static const char *const damages[] = {"", "garbage"};
    for (int i = 0; i < 4; i++) {
        if (i < 2) {
            support_write(entry, damages[i], strlen(damages[i]));
        } else if (i == 2) { /* one bit */
            size_t bytes;
            char *data = support_read(entry, &bytes);
            data[bytes - 1] ^= 1;
            support_write(entry, data, bytes);
            free(data);
        } else { /* a shard of another make, which says nothing about its text */
            unsigned char data[1030] = {0};
            memcpy(data, &(int32_t[]){20240520, 1, 3}, 12);
            support_write(entry, data, sizeof data);
        }
        check_cached(file, t, dir, "hello");
        assert_int_equal(warnings, i + 1);
        check_cached(file, t, dir, "hello");
        assert_int_equal(warnings, i + 1);
    }
    assert_int_equal(support_folder_count(dir), 1);

    support_write(file, "hellO", 5); /* the file changed, same size */
    check_cached(file, t, dir, "hellO");
    assert_int_equal(support_folder_count(dir), 2);

    /* a cache that cannot be is a warning */
    warnings = 0;
    check_cached(file, t, file, "hellO");
    assert_int_equal(warnings, 1);
    engine->log = NULL;
    free(dir);
    free(file);
    il_tokenizer_close(t);
}

/* ---- il_data_tokenize ---- */

static void tokenize_to_shards(void **state) {
    (void)state;
    il_tokenizer *t = bytes_tokenizer();
    char *dir = strdup(support_path(folder, "shards"));
    const char *files[] = {support_path(folder, "x.txt"), support_path(folder, "y.v2.jsonl")};
    uint64_t tokens;
    support_write(files[0], "abc", 3);
    support_write(files[1], "{\"text\": \"d\"}\n{\"text\": \"e\"}\n", 28);
    assert_ok(il_data_tokenize(engine, files, 2, NULL, t, dir, &tokens, &error), error);
    assert_int_equal(tokens, 8);
    assert_int_equal(support_folder_count(dir), 2);
    const char *shards[] = {support_path(dir, "x.bin"), support_path(dir, "y.v2.bin")};
    il_data_options o = options_of(7, 1);
    il_data *d;
    assert_ok(il_data_open(engine, shards, 2, NULL, 258, &o, &d, &error), error);
    next_batch(d, "1", 256, 'a', 'b', 'c', 256, 'd', 256, 'e');
    assert_int_equal(il_data_text_bytes(d), 5); /* our shards know */
    il_data_close(d);
    unsigned char foreign[1030] = {0};
    memcpy(foreign, &(int32_t[]){20240520, 1, 3}, 12);
    const char *mixed[] = {shards[0], support_path(dir, "z.bin")};
    support_write(mixed[1], foreign, sizeof foreign);
    o.length = 1;
    assert_ok(il_data_open(engine, mixed, 2, NULL, 258, &o, &d, &error), error);
    assert_int_equal(il_data_text_bytes(d), 0); /* one does not: not known */
    il_data_close(d);

    const char *twice[] = {files[0], "elsewhere/x.jsonl"};
    assert_fails(il_data_tokenize(engine, twice, 2, NULL, t, dir, &tokens, &error), IL_ERR_ARG, error,
                 "would both become x.bin");
    assert_int_equal(tokens, 0);
    assert_fails(il_data_tokenize(engine, shards, 1, NULL, t, dir, &tokens, &error), IL_ERR_UNSUPPORTED, error,
                 "x.bin");
    assert_fails(il_data_tokenize(engine, files, 0, NULL, t, dir, &tokens, &error), IL_ERR_ARG, error, "no text files");
    assert_fails(il_data_tokenize(engine, files, 1, NULL, t, files[0], NULL, &error), IL_ERR_IO, error, "x.txt");
    free(dir);
    il_tokenizer_close(t);
}

static uint64_t told[2]; /* how often, and how far */
static void note_progress(void *user, const char *path, uint64_t done, uint64_t total) {
    assert_ptr_equal(user, told);
    assert_true(strstr(path, "long.txt") || strstr(path, "many.jsonl"));
    assert_true(done <= total && done >= told[1]);
    told[0]++;
    told[1] = done == total ? 0 : done;
}

/* Long texts, many small ones and some of both, by any number of threads: the tokens of il_tokenizer_encode. */
static void tokenized_by_threads(void **state) {
    (void)state;
    enum { BYTES = 3 << 20 };
    char *dir = strdup(support_path(folder, "threads")), *lines = malloc(2 * BYTES), *at = lines;
    const char *files[] = {support_path(folder, "long.txt"), support_path(folder, "many.jsonl")};
    il_tokens expected[2] = {{0}};
    support_seed(11);
    char *prose = support_prose(BYTES);
    for (char *c = prose; *c; c++)
        if (*c < ' ' || *c == '"' || *c == '\\') *c = ' '; /* for JSON */
    support_write(files[0], prose, BYTES);
    il_tokenizer *t;
    il_tokenizer_train(engine, files, 1, NULL, 400, support_path(folder, "small.model"), &error);
    assert_ok(il_tokenizer_load(engine, support_path(folder, "small.model"), &t, &error), error);
    il_tokenizer_info info;
    il_tokenizer_get_info(t, &info);
    for (int file = 0; file < 2; file++) {
        for (size_t from = 0, n; from < BYTES; from += n) {
            n = file == 0 ? BYTES : support_random(20) ? support_random(900) : support_random(300000);
            if (n > BYTES - from) n = BYTES - from;
            if (file == 1) at += sprintf(at, "{\"text\": \"%.*s\"}\n", (int)n, prose + from);
            assert_ok(il_tokenizer_encode_as(t, IL_ENCODE_TEMPLATE, prose + from, n, &expected[file], &error), error);
        }
    }
    support_write(files[1], lines, (size_t)(at - lines));
    for (int threads = 1; threads <= 3; threads += 2) {
        il_engine *other = lively_engine(threads, NULL);
        uint64_t tokens;
        il_documents_options options = {.progress = note_progress, .progress_user = told};
        memset(told, 0, sizeof told);
        assert_ok(il_data_tokenize(other, files, 2, &options, t, dir, &tokens, &error), error);
        assert_int_equal(tokens, expected[0].n + expected[1].n);
        assert_true(told[0] > 3 && told[1] == 0); /* both were told to the end */
        for (int file = 0; file < 2; file++) {
            il_tokens got = {0};
            const char *path = support_path(dir, file ? "many.bin" : "long.bin");
            assert_ok(il_shard_read(&engine->memory, path, 400, &got, NULL, &error), error);
            assert_int_equal(got.n, expected[file].n);
            assert_memory_equal(got.ids, expected[file].ids, got.n * sizeof *got.ids);
            il_tokens_free(&got);
        }
        il_engine_close(other);
    }
    for (int file = 0; file < 2; file++) il_tokens_free(&expected[file]);
    il_tokenizer_close(t);
    free(prose);
    free(lines);
    free(dir);
}

static int setup(void **state) {
    (void)state;
    engine = lively_engine(1, NULL);
    folder = support_folder_make();
    return 0;
}
static int teardown(void **state) {
    (void)state;
    support_folder_remove(folder);
    il_engine_close(engine);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sequences_by_hand),
        cmocka_unit_test(looping),
        cmocka_unit_test(shuffling),
        cmocka_unit_test(shuffling_is_fair),
        cmocka_unit_test(seeking),
        cmocka_unit_test(stateful_by_hand),
        cmocka_unit_test(stateful_shuffles_documents),
        cmocka_unit_test(text_files),
        cmocka_unit_test(open_refuses),
        cmocka_unit_test(cache),
        cmocka_unit_test(tokenize_to_shards),
        cmocka_unit_test(tokenized_by_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
