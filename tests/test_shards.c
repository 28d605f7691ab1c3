/* test_shards.c: token shards: what is written is read, by us and by the format's definition; what lies is
 * refused. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "../fuzz/bytes.h"
#include "base/memory.h"
#include "support_files.h"
#include "support_text.h"
#include "text/shard.h"

static il_allocator memory;
static il_error error;
static char *folder;
static const char *path;

static void put32(unsigned char *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static il_status take(const char *name, const void *data, size_t bytes, size_t step, int vocab, il_tokens *tokens,
                      il_shard_info *info) {
    fuzz_bytes input = {data, bytes, step};
    il_source source;
    il_format format = strstr(name, ".npy")   ? IL_FORMAT_NPY
                       : strstr(name, ".u16") ? IL_FORMAT_U16
                       : strstr(name, ".u32") ? IL_FORMAT_U32
                                              : IL_FORMAT_BIN;
    assert_ok(il_source_open(&memory, name, fuzz_bytes_read, &input, 0, &source, &error), error);
    il_status status = il_shard_take(&memory, &source, format, vocab, tokens, info, &error);
    il_source_close(&source);
    return status;
}

static il_status parse(const char *name, const void *data, size_t bytes, int vocab, il_tokens *tokens,
                       il_shard_info *info) {
    unsigned char *exact = malloc(bytes ? bytes : 1); /* so that a sanitizer sees reads past the end */
    assert_non_null(exact);
    if (bytes) memcpy(exact, data, bytes);
    memset(&error, 0, sizeof error);
    il_status status = take(name, exact, bytes, 0, vocab, tokens, info);
    for (size_t step = 1; step < 1000; step = 30 * step + 7) { /* however it arrives */
        il_tokens again = {0};
        il_error first = error;
        assert_int_equal(take(name, exact, bytes, step, vocab, &again, NULL), status);
        assert_string_equal(error.message, first.message);
        if (again.n) assert_memory_equal(again.ids, tokens->ids + tokens->n - again.n, again.n * 4);
        il_tokens_free(&again);
    }
    free(exact);
    return status;
}

static void refuses(const char *name, const void *data, size_t bytes, il_status expected, const char *text) {
    il_tokens tokens = {0};
    il_status status = parse(name, data, bytes, 1000, &tokens, NULL);
    assert_int_equal(tokens.n, 0);
    il_tokens_free(&tokens);
    if (status != expected || !strstr(error.message, text))
        fail_msg("%s: \"%s\", not \"%s\"", il_status_name(status), error.message, text);
}

static void written_and_read(void **state) {
    (void)state;
    static const struct {
        int vocab;
        size_t n, width;
    } cases[] = {{258, 5, 2}, {65535, 40000, 2}, {65536, 40001, 4}, {1 << 24, 17, 4}, {258, 0, 2}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        size_t n = cases[c].n, bytes;
        int32_t *ids = malloc((n + 1) * 4);
        support_seed(c);
        for (size_t i = 0; i < n; i++) ids[i] = (int32_t)support_random((uint32_t)cases[c].vocab);
        if (n) ids[n - 1] = cases[c].vocab - 1;
        assert_ok(il_shard_write(&memory, path, ids, n, cases[c].vocab, 12345678901, &error), error);

        /* the file by its definition */
        char *file = support_read(path, &bytes);
        const unsigned char *p = (const unsigned char *)file;
        assert_int_equal(bytes, 1024 + n * cases[c].width);
        assert_int_equal(get32(p), cases[c].width == 2 ? 20240520 : 20240801);
        assert_int_equal(get32(p + 4), cases[c].width == 2 ? 1 : 7);
        assert_int_equal(get32(p + 8), n);
        for (size_t i = 0; i < n; i++) {
            const unsigned char *t = p + 1024 + i * cases[c].width;
            assert_int_equal(cases[c].width == 2 ? (uint32_t)t[0] | (uint32_t)t[1] << 8 : get32(t), ids[i]);
        }
        free(file);

        il_tokens tokens = {0};
        il_shard_info info;
        assert_ok(il_shard_read(&memory, path, cases[c].vocab, &tokens, &info, &error), error);
        assert_int_equal(tokens.n, n);
        assert_int_equal(info.tokens, n);
        assert_true(info.text_known);
        assert_int_equal(info.text_bytes, 12345678901);
        if (n) assert_memory_equal(tokens.ids, ids, n * 4);
        /* a second one is appended */
        assert_ok(il_shard_read(&memory, path, cases[c].vocab, &tokens, NULL, &error), error);
        assert_int_equal(tokens.n, 2 * n);
        if (n) {
            assert_memory_equal(tokens.ids + n, ids, n * 4);
            assert_fails(il_shard_read(&memory, path, cases[c].vocab - 1, &tokens, &info, &error), IL_ERR_MISMATCH,
                         error, path);
            assert_int_equal(tokens.n, 2 * n);
        }
        il_tokens_free(&tokens);
        free(ids);
    }
}

/* More tokens than llm.c counts: it refuses such a file, and we read it. */
static void more_than_others_count(void **state) {
    (void)state;
    int32_t ids[17];
    il_tokens tokens = {0};
    size_t bytes;
    for (int i = 0; i < 17; i++) ids[i] = i;
    il_shard_count_max = 16;
    assert_ok(il_shard_write(&memory, path, ids, 17, 1000, 5, &error), error);
    il_shard_count_max = INT32_MAX;
    char *file = support_read(path, &bytes);
    assert_int_equal(get32((unsigned char *)file + 8), 0xFFFFFFFF);
    assert_int_equal(get32((unsigned char *)file + 56), 17);
    assert_ok(il_shard_read(&memory, path, 1000, &tokens, NULL, &error), error);
    assert_int_equal(tokens.n, 17);
    assert_memory_equal(tokens.ids, ids, sizeof ids);
    il_tokens_free(&tokens);
    file[63] = 127; /* a count that no file has */
    refuses("a.bin", file, bytes, IL_ERR_FORMAT, "more than a shard holds");
    file[63] = 0, file[56] = 18;
    refuses("a.bin", file, bytes, IL_ERR_FORMAT, "18 tokens promised");
    free(file);
}

/* A shard as llm.c writes it. */
static size_t foreign(unsigned char *out, uint32_t magic, uint32_t version, uint32_t count, size_t body) {
    memset(out, 0, 1024 + body);
    put32(out, magic);
    put32(out + 4, version);
    put32(out + 8, count);
    return 1024 + body;
}

static void foreign_shards(void **state) {
    (void)state;
    unsigned char data[1100];
    il_tokens tokens = {0};
    il_shard_info info;
    size_t n = foreign(data, 20240520, 1, 3, 6);
    data[1024] = 7, data[1027] = 1, data[1028] = 9;
    assert_int_equal(parse("a.bin", data, n, 1000, &tokens, &info), IL_OK);
    assert_int_equal(tokens.n, 3);
    assert_memory_equal(tokens.ids, ((int32_t[]){7, 256, 9}), 12);
    assert_false(info.text_known);
    assert_int_equal(info.text_bytes, 0);
    tokens.n = 0;
    n = foreign(data, 20240801, 7, 2, 8);
    put32(data + 1024, 999), put32(data + 1028, 1);
    assert_int_equal(parse("a.bin", data, n, 1000, &tokens, &info), IL_OK);
    assert_memory_equal(tokens.ids, ((int32_t[]){999, 1}), 8);
    il_tokens_free(&tokens);
}

static void bad_shards(void **state) {
    (void)state;
    unsigned char data[1100];
    size_t n = foreign(data, 20240520, 1, 3, 6);
    refuses("a.bin", data, 0, IL_ERR_FORMAT, "shorter than");
    refuses("a.bin", data, 1023, IL_ERR_FORMAT, "1023 bytes");
    refuses("a.bin", data, n - 1, IL_ERR_FORMAT, "3 tokens promised");
    refuses("a.bin", data, n + 1, IL_ERR_FORMAT, "7 bytes");
    data[1024 + 6] = data[1024 + 7] = 0;
    refuses("a.bin", data, n + 2, IL_ERR_FORMAT, "at least 8 bytes");
    put32(data + 1024, 1u << 16 | 1000);
    refuses("a.bin", data, n, IL_ERR_MISMATCH, "token 0 is 1000, outside the vocabulary of 1000");
    n = foreign(data, 20240520, 2, 3, 6);
    refuses("a.bin", data, n, IL_ERR_UNSUPPORTED, "version 2");
    n = foreign(data, 20240801, 1, 1, 4);
    refuses("a.bin", data, n, IL_ERR_UNSUPPORTED, "version 1");
    n = foreign(data, 20240521, 1, 3, 6);
    refuses("a.bin", data, n, IL_ERR_FORMAT, "magic 20240521");
    n = foreign(data, 20240520, 1, 0xFFFFFFFF, 6);
    refuses("a.bin", data, n, IL_ERR_FORMAT, "promised");
    n = foreign(data, 20240801, 7, 2, 8);
    put32(data + 1028, 0xFFFFFFFF);
    refuses("a.bin", data, n, IL_ERR_MISMATCH, "token 1 is -1");

    /* ours, with one byte of the tokens changed */
    const int32_t ids[] = {1, 2, 3};
    size_t bytes;
    assert_ok(il_shard_write(&memory, path, ids, 3, 1000, 3, &error), error);
    char *file = support_read(path, &bytes);
    file[1026] ^= 1;
    refuses("a.bin", file, bytes, IL_ERR_FORMAT, "checksum");
    free(file);

    il_tokens tokens = {0};
    assert_fails(il_shard_read(&memory, folder, 10, &tokens, NULL, &error), IL_ERR_IO, error, "folder");
    assert_fails(il_shard_read(&memory, support_path(folder, "none.bin"), 10, &tokens, NULL, &error), IL_ERR_IO, error,
                 "none.bin");
    assert_fails(il_shard_write(&memory, support_path(folder, "no/a.bin"), ids, 3, 10, 0, &error), IL_ERR_IO, error,
                 "no/a.bin");
}

static size_t npy(unsigned char *out, int version, const char *header, const void *body, size_t bytes) {
    size_t n = strlen(header), start = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version, out[7] = 0;
    put32(out + 8, (uint32_t)n); /* version 1 has two bytes of it */
    memcpy(out + start, header, n);
    memcpy(out + start + n, body, bytes);
    return start + n + bytes;
}

static void numpy_files(void **state) {
    (void)state;
    unsigned char data[400];
    il_tokens tokens = {0};
    il_shard_info info;
    const unsigned char small[] = {5, 0, 1, 1}, large[] = {5, 0, 0, 0, 231, 3, 0, 0};
    for (int version = 1; version <= 3; version++) {
        size_t n = npy(data, version, "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }      \n", small, 4);
        assert_int_equal(parse("a.npy", data, n, 1000, &tokens, &info), IL_OK);
        n = npy(data, version, "{\"shape\":(2,),'fortran_order':False,'descr':'<i4'}", large, 8);
        assert_int_equal(parse("a.npy", data, n, 1000, &tokens, &info), IL_OK);
        assert_int_equal(info.tokens, 2);
        assert_false(info.text_known);
    }
    assert_int_equal(tokens.n, 12);
    assert_memory_equal(tokens.ids, ((int32_t[]){5, 257, 5, 999}), 16);
    il_tokens_free(&tokens);
}

/* Every integer type and byte order, as long as the numbers are tokens. */
static void numpy_integers(void **state) {
    (void)state;
    static const char *const types[] = {"|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">u4",
                                        "<i4", ">i4", "<u8", ">u8", "<i8", ">i8", "=u2"};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        unsigned char data[400], body[3 * 8] = {0};
        char header[100];
        size_t width = (size_t)(types[t][2] - '0');
        const int32_t expected[] = {1, 100, 0};
        for (size_t i = 0; i < 3; i++)
            body[i * width + (types[t][0] == '>' ? width - 1 : 0)] = (unsigned char)expected[i];
        sprintf(header, "{'descr': '%s', 'fortran_order': False, 'shape': (3,), }\n", types[t]);
        il_tokens tokens = {0};
        il_shard_info info;
        assert_int_equal(parse("a.npy", data, npy(data, 1, header, body, 3 * width), 101, &tokens, &info), IL_OK);
        assert_int_equal(tokens.n, 3);
        assert_memory_equal(tokens.ids, expected, sizeof expected);
        tokens.n = 0;
        assert_int_equal(parse("a.npy", data, npy(data, 1, header, body, 3 * width), 100, &tokens, &info),
                         IL_ERR_MISMATCH);
        memset(body, 0xFF, sizeof body);
        assert_int_equal(parse("a.npy", data, npy(data, 1, header, body, 3 * width), 100, &tokens, &info),
                         IL_ERR_MISMATCH);
        if (types[t][1] == 'i') assert_non_null(strstr(error.message, "token 0 is -1"));
        il_tokens_free(&tokens);
    }
}

/* Tokens and nothing else, as nanoGPT and OLMo keep them. */
static void headerless_tokens(void **state) {
    (void)state;
    const unsigned char data[] = {5, 0, 1, 1, 231, 3, 0, 0};
    il_tokens tokens = {0};
    il_shard_info info;
    assert_int_equal(parse("a.u16", data, 8, 1000, &tokens, &info), IL_OK);
    assert_int_equal(info.tokens, 4);
    assert_false(info.text_known);
    assert_memory_equal(tokens.ids, ((int32_t[]){5, 257, 999, 0}), 16);
    tokens.n = 0;
    assert_int_equal(parse("a.u32", data + 4, 4, 1000, &tokens, &info), IL_OK);
    assert_memory_equal(tokens.ids, ((int32_t[]){999}), 4);
    il_tokens_free(&tokens);
    refuses("a.u16", data, 7, IL_ERR_FORMAT, "whole number of tokens of 2 bytes");
    refuses("a.u32", data, 4, IL_ERR_MISMATCH, "token 0 is 16842757");
    refuses("a.bin", data, 8, IL_ERR_FORMAT, "--format u16");
}

static void bad_numpy_files(void **state) {
    (void)state;
    unsigned char data[400];
    const unsigned char body[8] = {1, 0, 2, 0};
#define bad(header, bytes, status, text) refuses("a.npy", data, npy(data, 1, header, body, bytes), status, text)
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }\n", 4, IL_ERR_FORMAT, "3 tokens promised");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }\n", 4, IL_ERR_FORMAT, "4 bytes");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (18446744073709551615,), }\n", 4, IL_ERR_FORMAT,
        "dimension");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (9223372036854775810,), }\n", 4, IL_ERR_FORMAT, "promised");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (2, 1), }\n", 4, IL_ERR_FORMAT, "one dimension");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (), }\n", 4, IL_ERR_FORMAT, "one dimension");
    bad("{'descr': '<u2', 'fortran_order': True, 'shape': (2,), }\n", 4, IL_ERR_FORMAT, "C order");
    bad("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }\n", 4, IL_ERR_UNSUPPORTED, "<f4");
    bad("{'descr': '<u3', 'fortran_order': False, 'shape': (2,), }\n", 4, IL_ERR_UNSUPPORTED, "<u3");
    bad("{'descr': '|u2', 'fortran_order': False, 'shape': (2,), }\n", 4, IL_ERR_UNSUPPORTED, "|u2");
    bad("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }\n", 8, IL_ERR_MISMATCH, "token 0 is 131073");
    bad("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2,), }\n", 4, IL_ERR_FORMAT, "plain");
    bad("{'descr': '<u2', 'fortran_order': False, }\n", 4, IL_ERR_FORMAT, "lacks");
    bad("{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2,), }\n", 4, IL_ERR_FORMAT, "repeated");
    bad("{'descr': '<u2', 'more': 1, 'fortran_order': False, 'shape': (2,), }\n", 4, IL_ERR_FORMAT, "unknown");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (2,), } x\n", 4, IL_ERR_FORMAT, "broken");
    bad("{'descr': '<u2', 'fortran_order': False, 'shape': (2,)", 0, IL_ERR_FORMAT, "broken");
    bad("{'descr': '<u2 and much longer than any", 0, IL_ERR_FORMAT, "plain");
    bad("", 0, IL_ERR_FORMAT, "not a .npy");
    bad("[1]", 0, IL_ERR_FORMAT, "dictionary");
    size_t n = npy(data, 1, "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }\n", body, 4);
    for (size_t cut = 0; cut < n; cut++) refuses("a.npy", data, cut, IL_ERR_FORMAT, "a.npy");
    data[6] = 4;
    refuses("a.npy", data, n, IL_ERR_UNSUPPORTED, "version 4.0");
    data[6] = 2;
    refuses("a.npy", data, n, IL_ERR_FORMAT, "a header of");
    data[0] = 'N';
    refuses("a.npy", data, n, IL_ERR_FORMAT, "not a .npy");
}

static int setup(void **state) {
    (void)state;
    memory = il_allocator_default();
    folder = support_folder_make();
    path = strdup(support_path(folder, "s.bin"));
    return 0;
}
static int teardown(void **state) {
    (void)state;
    free((void *)(uintptr_t)path);
    support_folder_remove(folder);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_read), cmocka_unit_test(more_than_others_count),
        cmocka_unit_test(foreign_shards),   cmocka_unit_test(bad_shards),
        cmocka_unit_test(numpy_files),      cmocka_unit_test(bad_numpy_files),
        cmocka_unit_test(numpy_integers),   cmocka_unit_test(headerless_tokens),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
