/* test_data_sources.c: data that stay on disk, sources that are mixed by weight, orders by arithmetic, and parts of a
 * batch: what a sequence is depends on its number alone. */
#include "support_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/permute.h"
#include "engine/engine.h"
#include "support_alloc.h"
#include "support_files.h"
#include "support_lively.h"
#include "text/data.h"
#include "text/shard.h"
#include "text/weights.h"

static il_engine *engine;
static il_error error;
static char *folder;
static int errno_of_reads;

enum { VOCAB = 3000, BOS = 2999 };

static int fail_reads(const char *call, const char *path) {
    (void)path;
    return strcmp(call, "pread") ? 0 : errno_of_reads;
}

/* A file of tokens base .. base+n-1 in one of the forms; its path is released by free. */
static char *tokens_in(const char *name, int base, int n) {
    char *path = strdup(support_path(folder, name));
    const char *form = strrchr(name, '.') + 1;
    unsigned char data[20000];
    size_t at = 0;
    if (!strcmp(form, "bin")) {
        int32_t ids[2000];
        for (int i = 0; i < n; i++) ids[i] = base + i;
        assert_ok(il_shard_write(&engine->memory, path, ids, (size_t)n, VOCAB, 7, &error), error);
        return path;
    }
    if (!strcmp(form, "npy")) { /* big-endian, of 8 bytes */
        char header[128];
        int m = sprintf(header, "{'descr': '>i8', 'fortran_order': False, 'shape': (%d,), }", n);
        memcpy(data, "\x93NUMPY\x01", 8);
        data[8] = (unsigned char)m, data[9] = 0;
        memcpy(data + 10, header, (size_t)m);
        at = 10 + (size_t)m;
        for (int i = 0; i < n; i++, at += 8)
            memset(data + at, 0, 6), data[at + 6] = (unsigned char)((base + i) >> 8),
                                               data[at + 7] = (unsigned char)(base + i);
    } else { /* llm.c's: a header without our mark */
        memset(data, 0, 1024);
        memcpy(data, &(int32_t[]){20240520, 1, n}, 12);
        at = 1024;
        for (int i = 0; i < n; i++, at += 2)
            data[at] = (unsigned char)(base + i), data[at + 1] = (unsigned char)((base + i) >> 8);
    }
    support_write(path, data, at);
    return path;
}

static il_data_options options_of(size_t length, size_t sequences) {
    il_data_options o;
    il_data_options_default(&o);
    o.length = length;
    o.sequences = sequences;
    return o;
}

static void same_batches(il_data *a, il_data *b, int n) {
    for (int i = 0; i < n; i++) {
        il_batch x, y;
        assert_ok(il_data_next(a, &x, &error), error);
        assert_ok(il_data_next(b, &y, &error), error);
        assert_int_equal(x.sequences, y.sequences);
        assert_memory_equal(x.tokens, y.tokens, x.sequences * (x.length + 1) * 4);
        assert_memory_equal(x.fresh, y.fresh, x.sequences);
    }
}

/* ---- on disk ---- */

static void on_disk_is_the_same(void **state) {
    (void)state;
    char *files[] = {tokens_in("a.bin", 0, 700), tokens_in("b.npy", 700, 333), tokens_in("c.llm", 1033, 1001),
                     strdup(support_path(folder, "d.txt"))};
    char *cache = strdup(support_path(folder, "cache"));
    il_tokenizer *bytes;
    support_write(files[3], "some text that is cached", 24);
    assert_ok(il_tokenizer_load(engine, "bytes", &bytes, &error), error);
    for (int way = 0; way < 5; way++) {
        il_data_options o = options_of(16, 3);
        il_data *here, *there;
        char one[33], other[33];
        o.shuffle = way % 3, o.loop = 1, o.seed = 9;
        o.stateful = way > 2, o.bos_token = 1200, o.shuffle = way > 2 ? way - 3 : way;
        o.cache_dir = cache;
        assert_ok(il_data_open(engine, (const char *const *)files, 4, bytes, VOCAB, &o, &here, &error), error);
        o.memory_max = 4096; /* fewer than there are */
        assert_ok(il_data_open(engine, (const char *const *)files, 4, bytes, VOCAB, &o, &there, &error), error);
        assert_false(il_data_on_disk(here));
        assert_true(il_data_on_disk(there));
        assert_non_null(il_data_stream(here));
        assert_null(il_data_stream(there));
        assert_int_equal(il_data_tokens(there), 700 + 333 + 1001 + 25);
        assert_int_equal(il_data_tokens(here), il_data_tokens(there));
        assert_int_equal(il_data_text_bytes(here), il_data_text_bytes(there));
        same_batches(here, there, 3 * (int)il_data_batches_per_epoch(here));
        for (int of_tokens = 0; of_tokens < 2; of_tokens++) { /* a run can go on either way */
            assert_ok(il_data_fingerprint(here, of_tokens, one, &error), error);
            assert_ok(il_data_fingerprint(there, of_tokens, other, &error), error);
            assert_string_equal(one, other);
        }
        il_data_close(there);
        o.memory_max = 1 << 20; /* more than there are: all is loaded */
        assert_ok(il_data_open(engine, (const char *const *)files, 4, bytes, VOCAB, &o, &there, &error), error);
        assert_false(il_data_on_disk(there));
        il_data_close(there);
        il_data_close(here);
    }
    il_tokenizer_close(bytes);
    free(cache);
    for (int i = 0; i < 4; i++) free(files[i]);
}

/* Each kind of file is known again, and told from others. */
static void fingerprints(void **state) {
    (void)state;
    static const char *const names[] = {"f.bin", "f.npy", "f.llm"};
    char prints[6][33];
    for (int i = 0; i < 6; i++) {
        char *file = tokens_in(names[i % 3], i / 3, 100);
        il_data_options o = options_of(4, 1);
        il_data *d;
        o.memory_max = 1;
        assert_ok(il_data_open(engine, (const char *const *)&file, 1, NULL, VOCAB, &o, &d, &error), error);
        assert_ok(il_data_fingerprint(d, 0, prints[i], &error), error);
        il_data_close(d);
        free(file);
        for (int k = 0; k < i; k++)
            if (i != 2 && i != 5) assert_string_not_equal(prints[i], prints[k]);
    }
}

static void many_files(void **state) { /* more than are open at the same time */
    (void)state;
    enum { FILES = 80 };
    char *files[FILES], name[20];
    for (int i = 0; i < FILES; i++) sprintf(name, "m%d.bin", i), files[i] = tokens_in(name, 10 * i, 10);
    il_data_options o = options_of(10, 1);
    il_data *here, *there;
    o.shuffle = 2, o.loop = 1;
    assert_ok(il_data_open(engine, (const char *const *)files, FILES, NULL, VOCAB, &o, &here, &error), error);
    o.memory_max = 1;
    assert_ok(il_data_open(engine, (const char *const *)files, FILES, NULL, VOCAB, &o, &there, &error), error);
    same_batches(here, there, 3 * FILES);
    il_data_close(there);
    il_data_close(here);
    for (int i = 0; i < FILES; i++) free(files[i]);
}

/* 8 GB that are not there, of which a few sequences are read: what is held does not depend on how many there are. */
static void larger_than_memory(void **state) {
    (void)state;
    char *file = strdup(support_path(folder, "huge.u16"));
    for (int i = 0; i < 2; i++) {
        support_alloc alloc;
        support_alloc_begin(&alloc);
        il_engine counted = *engine;
        counted.memory = alloc.allocator;
        size_t before = atomic_load(&alloc.live_bytes);
        int fd = open(file, O_CREAT | O_WRONLY | O_TRUNC, 0600);
        if (ftruncate(fd, (off_t)(i ? 8ULL << 30 : 1 << 20)) != 0) fail_msg("no sparse file of 8 GB here");
        close(fd);
        il_data_options o = options_of(1024, 4);
        il_data *d;
        il_batch b;
        o.documents.format = IL_FORMAT_U16;
        o.memory_max = 1, o.shuffle = 2, o.loop = 1;
        assert_ok(il_data_open(&counted, (const char *const *)&file, 1, NULL, VOCAB, &o, &d, &error), error);
        assert_int_equal(il_data_tokens(d), i ? 4ULL << 30 : 1 << 19);
        for (int k = 0; k < 50; k++) assert_ok(il_data_next(d, &b, &error), error);
        assert_true(atomic_load(&alloc.peak_bytes) - before < 400000);
        il_data_close(d);
    }
    unlink(file);
    free(file);
}

static void what_goes_wrong_on_disk(void **state) {
    (void)state;
    char *file = tokens_in("wrong.bin", 0, 100);
    il_data_options o = options_of(10, 1);
    il_data *d;
    il_batch b;
    il_cursor at;
    o.memory_max = 1;
    assert_ok(il_data_open(engine, (const char *const *)&file, 1, NULL, 55, &o, &d, &error), error);
    for (int i = 0; i < 5; i++) assert_ok(il_data_next(d, &b, &error), error);
    for (int i = 0; i < 2; i++) { /* the same each time: it stays where it is */
        assert_fails(il_data_next(d, &b, &error), IL_ERR_MISMATCH, error,
                     "token 55 is 55, outside the vocabulary of 55");
        assert_null(b.tokens);
        il_data_tell(d, &at);
        assert_int_equal(at.batch, 5);
    }
    il_data_close(d);

    il_file_fault = fail_reads;
    errno_of_reads = 5; /* EIO */
    assert_ok(il_data_open(engine, (const char *const *)&file, 1, NULL, VOCAB, &o, &d, &error), error);
    assert_fails(il_data_next(d, &b, &error), IL_ERR_IO, error, "wrong.bin: cannot read");
    errno_of_reads = 0;
    assert_ok(il_data_next(d, &b, &error), error);
    il_file_fault = NULL;
    il_data_close(d);

    assert_ok(il_data_open(engine, (const char *const *)&file, 1, NULL, VOCAB, &o, &d, &error), error);
    free(tokens_in("wrong.bin", 0, 90));
    assert_fails(il_data_next(d, &b, &error), IL_ERR_IO, error, "was changed while it was in use");
    assert_fails(il_data_next(d, &b, &error), IL_ERR_IO, error, "was changed while it was in use");
    unlink(file);
    assert_fails(il_data_next(d, &b, &error), IL_ERR_IO, error, "cannot open");
    il_data_close(d);

    size_t bytes;
    free(tokens_in("wrong.bin", 0, 100));
    char *data = support_read(file, &bytes);
    support_write(file, data, bytes - 1);
    assert_fails(il_data_open(engine, (const char *const *)&file, 1, NULL, VOCAB, &o, &d, &error), IL_ERR_FORMAT, error,
                 "100 tokens promised, 199 bytes of tokens there");
    free(data);
    free(file);
}

/* ---- an order by arithmetic ---- */

static void permutations(void **state) {
    (void)state;
    static const uint64_t sizes[] = {1, 2, 3, 16, 255, 256, 257, 1000};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char seen[1000] = {0};
        for (uint64_t i = 0; i < sizes[k]; i++) {
            uint64_t to = il_permute(5, 1, 2, sizes[k], i);
            assert_true(to < sizes[k] && !seen[to]);
            seen[to] = 1;
        }
    }
    assert_true(il_permute(1, 0, 0, UINT64_MAX, UINT64_MAX - 1) < UINT64_MAX);
    /* every thing takes every place about equally often, and neighbours do not stay together */
    int count[6][6] = {{0}}, together = 0;
    for (uint64_t epoch = 0; epoch < 6000; epoch++)
        for (uint64_t i = 0; i < 6; i++) count[i][il_permute(7, 0, epoch, 6, i)]++;
    for (int i = 0; i < 36; i++) assert_in_range(count[i / 6][i % 6], 850, 1150); /* 1000 ± 5 sigma */
    for (uint64_t i = 0; i < 999; i++) together += il_permute(7, 0, 0, 1000, i) + 1 == il_permute(7, 0, 0, 1000, i + 1);
    assert_in_range(together, 0, 6); /* one is expected */
    /* seed, stream and epoch each say which */
    int same[3] = {0};
    for (uint64_t i = 0; i < 200; i++) {
        uint64_t to = il_permute(7, 0, 0, 1000, i);
        same[0] += to == il_permute(8, 0, 0, 1000, i);
        same[1] += to == il_permute(7, 1, 0, 1000, i);
        same[2] += to == il_permute(7, 0, 1, 1000, i);
    }
    for (int i = 0; i < 3; i++) assert_in_range(same[i], 0, 5);
    assert_int_equal(il_permute(7, 0, 0, 1000, 0), 714); /* for good: checkpoints depend on it */
    assert_int_equal(il_permute(1ULL << 60, 3, 9, 1ULL << 33, 12345678901), 0x1eee09a40);
}

/* ---- by weight ---- */

static void shares(void **state) {
    (void)state;
    il_weights w;
    uint64_t count, given[3] = {0};
    const double weights[] = {7, 0, 2.5, 0.5};
    assert_ok(il_weights_open(&engine->memory, weights, 4, &w, &error), error);
    assert_int_equal(w.n, 3);
    char *text = il_weights_text(&w);
    assert_string_equal(text, "7000 2500 500");
    free(text);
    for (uint64_t i = 0; i < 30000; i++) {
        uint64_t source = il_weights_at(&w, i, &count);
        assert_true(source < 3);
        assert_int_equal(count, given[source]++);
        for (int k = 0; k < 3; k++) { /* any beginning has the mixture, to two sequences */
            double due = (double)(i + 1) * (k == 0 ? 0.7 : k == 1 ? 0.25 : 0.05);
            assert_true((double)given[k] > due - 2 && (double)given[k] < due + 2);
        }
    }
    assert_int_equal(given[0], 21000);
    assert_int_equal(given[2], 1500);
    il_weights_close(&engine->memory, &w);
    assert_ok(il_weights_open(&engine->memory, (const double[]){1, 1, 1}, 3, &w, &error), error);
    text = il_weights_text(&w);
    assert_string_equal(text, "3334 3333 3333");
    free(text);
    il_weights_close(&engine->memory, &w);
    static const struct {
        double weights[2];
        const char *why;
    } bad[] = {{{0, 1}, "weight 0 of file 1"}, {{1, -1}, "weight -1 of file 2"}, {{1, 1e-6}, "at least 1 of 10,000"}};
    for (size_t i = 0; i < 3; i++) {
        assert_fails(il_weights_open(&engine->memory, bad[i].weights, 2, &w, &error), IL_ERR_ARG, error, bad[i].why);
        il_weights_close(&engine->memory, &w);
    }
}

static void mixture(void **state) {
    (void)state;
    char *files[] = {tokens_in("p.bin", 0, 41), tokens_in("q.bin", 100, 20), tokens_in("r.bin", 120, 33)};
    const double weights[] = {3, 1, 0}; /* q and r are one source, of tokens 100 .. 152 */
    il_data_options o = options_of(4, 2);
    il_data *d, *there;
    il_batch b;
    o.loop = 1, o.shuffle = 1, o.weights = weights, o.seed = 3;
    assert_ok(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &d, &error), error);
    assert_int_equal(il_data_batches_per_epoch(d), (10 + 13) / 2);
    int seen[2][13] = {{0}}, from[2] = {0}, moved = 0;
    for (int i = 0; i < 4 * 13 / 2; i++) {
        assert_ok(il_data_next(d, &b, &error), error);
        for (int k = 0; k < 2; k++) {
            const int32_t *s = b.tokens + k * 5;
            int source = s[0] >= 100, sequence = (s[0] - 100 * source) / 4, most = 0, least = 1000;
            for (int t = 0; t < 5; t++) assert_int_equal(s[t], 100 * source + 4 * sequence + t);
            moved += sequence != from[source]++ % (source ? 13 : 10);
            seen[source][sequence]++;
            /* each source goes through all of its own before any comes again */
            for (int q = 0; q < (source ? 13 : 10); q++) {
                if (seen[source][q] > most) most = seen[source][q];
                if (seen[source][q] < least) least = seen[source][q];
            }
            assert_true(most - least <= 1);
        }
    }
    assert_int_equal(from[0], 39);
    assert_int_equal(from[1], 13);
    assert_true(moved > 30);
    /* by cursor, on disk, and in file order */
    il_cursor start = {0, 0};
    assert_ok(il_data_seek(d, &start, &error), error);
    o.memory_max = 1;
    assert_ok(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &there, &error), error);
    same_batches(d, there, 40);
    char *shares_of = il_data_mixture(there);
    assert_string_equal(shares_of, "7500 2500");
    free(shares_of);
    il_data_close(there);
    il_data_close(d);
    o.shuffle = 0;
    assert_ok(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &d, &error), error);
    assert_ok(il_data_next(d, &b, &error), error);
    assert_int_equal(b.tokens[0], 0);
    assert_int_equal(b.tokens[5], 4);
    il_data_close(d);

    o.stateful = 1;
    assert_fails(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &d, &error), IL_ERR_UNSUPPORTED,
                 error, "each begin afresh");
    o.weights = NULL, o.shuffle = 2;
    assert_fails(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &d, &error), IL_ERR_UNSUPPORTED,
                 error, "each begin afresh");
    o.stateful = 0, o.shuffle = 3;
    assert_fails(il_data_open(engine, (const char *const *)files, 3, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error,
                 "shuffle 3");
    o.shuffle = 2, o.weights = weights, o.length = 40;
    assert_fails(il_data_open(engine, (const char *const *)files, 2, NULL, VOCAB, &o, &d, &error), IL_ERR_ARG, error,
                 "source 2 has 20 tokens, too few");
    for (int i = 0; i < 3; i++) free(files[i]);
}

/* ---- parts of a batch ---- */

static void parts(void **state) {
    (void)state;
    char *files[] = {tokens_in("s.bin", 0, 400), tokens_in("t.bin", 400, 300)};
    const double weights[] = {1, 2};
    for (int way = 0; way < 6; way++) {
        il_data_options o = options_of(5, 6);
        il_data *whole, *ranks[3];
        il_batch b, c;
        o.loop = way & 1, o.bos_token = 57, o.seed = 4;
        o.shuffle = way % 3, o.stateful = way == 3 || way == 4;
        o.weights = way == 5 ? weights : NULL;
        if (o.stateful) o.shuffle = way == 4;
        assert_ok(il_data_open(engine, (const char *const *)files, 2, NULL, VOCAB, &o, &whole, &error), error);
        for (int r = 0; r < 3; r++) {
            o.memory_max = (uint64_t)r; /* in memory, on disk, and on disk */
            assert_ok(il_data_open(engine, (const char *const *)files, 2, NULL, VOCAB, &o, &ranks[r], &error), error);
        }
        static const size_t first[] = {0, 1, 1}, n[] = {1, 0, 5};
        for (uint64_t i = 0; i < il_data_batches_per_epoch(whole) + (o.loop ? 5 : 0); i++) {
            assert_ok(il_data_next(whole, &b, &error), error);
            for (int r = 0; r < 3; r++) {
                assert_ok(il_data_next_part(ranks[r], first[r], n[r], &c, &error), error);
                assert_int_equal(c.sequences, n[r]);
                assert_memory_equal(c.tokens, b.tokens + first[r] * 6, n[r] * 6 * 4);
                assert_memory_equal(c.fresh, b.fresh + first[r], n[r]);
            }
        }
        assert_fails(il_data_next_part(whole, 4, 3, &b, &error), IL_ERR_ARG, error, "of a batch of 6");
        for (int r = 0; r < 3; r++) il_data_close(ranks[r]);
        il_data_close(whole);
    }
    for (int i = 0; i < 2; i++) free(files[i]);
}

static il_status attempt(const il_allocator *allocator, void *context, il_error *why) {
    char **files = context;
    il_engine e = *engine;
    il_data_options o = options_of(5, 2);
    il_data *d;
    il_batch b;
    char hex[33];
    e.memory = *allocator;
    o.memory_max = 1, o.weights = (const double[]){1, 1};
    il_status status = il_data_open(&e, (const char *const *)files, 2, NULL, VOCAB, &o, &d, why);
    if (status == IL_OK) status = il_data_next(d, &b, why);
    for (int k = 0; k < 2 && status == IL_OK; k++) status = il_data_fingerprint(d, k, hex, why);
    il_data_close(d);
    return status;
}

static void out_of_memory(void **state) {
    (void)state;
    char *files[] = {tokens_in("u.bin", 0, 400), tokens_in("v.llm", 400, 300)};
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_true(support_alloc_fail_each(&alloc, attempt, files) > 10);
    for (int i = 0; i < 2; i++) free(files[i]);
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
        cmocka_unit_test(on_disk_is_the_same),
        cmocka_unit_test(fingerprints),
        cmocka_unit_test(many_files),
        cmocka_unit_test(larger_than_memory),
        cmocka_unit_test(what_goes_wrong_on_disk),
        cmocka_unit_test(permutations),
        cmocka_unit_test(shares),
        cmocka_unit_test(mixture),
        cmocka_unit_test(parts),
        cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
