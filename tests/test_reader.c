/* test_reader.c: documents out of .txt, .jsonl and .jsonl.zst, and what is wrong with a file, by line. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include <zstd.h>

#include "base/error.h"
#include "base/memory.h"
#include "support_files.h"
#include "support_text.h"
#include "text/reader.h"

static il_allocator memory;
static il_error error;

/* Documents one after the other, each ended by '|'. */
typedef struct seen {
    char text[1 << 16];
    size_t bytes, documents, stop_at;
} seen;

static il_status take(void *context, const char *text, size_t bytes, il_error *e) {
    seen *s = context;
    if (s->documents + 1 == s->stop_at) return il_fail(e, IL_ERR_CANCELLED, "enough");
    assert_true(s->bytes + bytes + 2 < sizeof s->text);
    memcpy(s->text + s->bytes, text, bytes);
    s->bytes += bytes;
    s->text[s->bytes++] = '|';
    s->text[s->bytes] = 0;
    s->documents++;
    return IL_OK;
}

static seen s;

static il_status parse(const char *name, const void *data, size_t bytes, size_t line_max) {
    char *exact = malloc(bytes ? bytes : 1);
    assert_non_null(exact);
    if (bytes) memcpy(exact, data, bytes);
    memset(&error, 0, sizeof error);
    s.bytes = s.documents = 0;
    s.text[0] = 0;
    il_status status = il_documents_parse(&memory, name, exact, bytes, line_max, take, &s, &error);
    free(exact);
    return status;
}

/* The same bytes as .jsonl and compressed must give the same. */
static void gives(const char *lines, const char *expected) {
    size_t n = strlen(lines), room = ZSTD_compressBound(n);
    char *packed = malloc(room);
    assert_int_equal(parse("a.jsonl", lines, n, 0), IL_OK);
    assert_string_equal(s.text, expected);
    size_t m = ZSTD_compress(packed, room, lines, n, 3);
    assert_int_equal(parse("a.jsonl.zst", packed, m, 0), IL_OK);
    assert_string_equal(s.text, expected);
    free(packed);
}

static void refuses(const char *name, const char *data, size_t bytes, const char *text) {
    il_status status = parse(name, data, bytes, 0);
    if (status != IL_ERR_FORMAT || !strstr(error.message, text))
        fail_msg("%s: \"%s\", not \"%s\"", il_status_name(status), error.message, text);
}
#define refuses_lines(lines, text) refuses("a.jsonl", lines, sizeof(lines) - 1, text)

static void text_is_one_document(void **state) {
    (void)state;
    assert_int_equal(parse("a.txt", "one\n\0two\xFF\n", 10, 0), IL_OK);
    assert_int_equal(s.documents, 1);
    assert_memory_equal(s.text, "one\n\0two\xFF\n|", 11);
    refuses("a.txt", "", 0, "a.txt: the file is empty");
    refuses("a.jsonl", "", 0, "empty");
}

static void lines_are_documents(void **state) {
    (void)state;
    gives("{\"text\": \"a\"}\n{\"title\": [1, {}], \"text\": \"b\\n\\u00e9\"}\n", "a|b\n\xC3\xA9|");
    gives("{\"text\": \"a\"}", "a|");
    gives("\n{\"text\": \"a\"}\r\n  \t\n{\"text\": \"\"}\n\n", "a||");
    gives("\xEF\xBB\xBF{\"text\": \"a\"}\n", "a|");
    assert_int_equal(parse("a.jsonl", "{\"text\": \"x\\u0000y\"}", 20, 0), IL_OK);
    assert_int_equal(s.bytes, 4);
    assert_memory_equal(s.text, "x\0y|", 4);
}

static void bad_lines(void **state) {
    (void)state;
    refuses_lines("{\"text\": \"a\"}\n{\"text\": \"b\"\n", "a.jsonl, line 2, byte");
    refuses_lines("{\"text\": \"a\"}\n\n{\"text\": 5}\n", "line 3: not an object with a string");
    refuses_lines("[\"text\"]\n", "line 1: not an object");
    refuses_lines("{\"texts\": \"a\"}\n", "line 1");
    refuses_lines("{\"text\": \"a\", \"text\": \"b\"}\n", "duplicate");
    refuses_lines("{\"text\": \"\xFF\"}\n", "line 1");
    refuses_lines("{\"text\": \"\\ud800\"}\n", "line 1");
    refuses_lines("{\"text\": \"a\"} x\n", "line 1");
    refuses_lines("\0\n", "line 1");
    refuses_lines("\n \n", "no documents");
    char deep[20000];
    memset(deep, '[', sizeof deep);
    refuses("a.jsonl", deep, sizeof deep, "line 1");
}

static void long_lines(void **state) {
    (void)state;
    const char lines[] = "{\"text\": \"a\"}\n{\"text\": \"0123456789\"}\n";
    char packed[200];
    size_t m = ZSTD_compress(packed, sizeof packed, lines, sizeof lines - 1, 3);
    assert_int_equal(parse("a.jsonl", lines, sizeof lines - 1, 22), IL_OK);
    assert_int_equal(parse("a.jsonl.zst", packed, m, 22), IL_OK);
    assert_int_equal(parse("a.jsonl", lines, sizeof lines - 1, 21), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "line 2: longer than 21 bytes"));
    assert_int_equal(parse("a.jsonl.zst", packed, m, 21), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "line 2: longer than 21 bytes"));
}

static void compressed(void **state) {
    (void)state;
    /* more than the library's blocks, several frames, lines across their ends */
    size_t n = 0, room = 1 << 20;
    char *lines = malloc(room), *packed = malloc(room);
    for (int i = 0; i < 9000; i++)
        n += (size_t)sprintf(lines + n, "{\"text\": \"%d\", \"n\": \"%0*d\"}\n", i % 10, i % 97, 0);
    assert_true(n > 500000);
    size_t m = ZSTD_compress(packed, room, lines, 200001, 1);
    m += ZSTD_compress(packed + m, room - m, lines + 200001, n - 200001, 1);
    assert_int_equal(parse("a.jsonl.zst", packed, m, 0), IL_OK);
    assert_int_equal(s.documents, 9000);
    for (int i = 0; i < 9000; i++) assert_int_equal(s.text[2 * i], '0' + i % 10);
    /* cut short anywhere it is an error, except between the frames, inside a line */
    for (size_t cut = 1; cut < m; cut += 1 + m / 200) {
        assert_int_equal(parse("a.jsonl.zst", packed, cut, 0), IL_ERR_FORMAT);
        assert_non_null(strstr(error.message, "a.jsonl.zst"));
    }
    assert_int_equal(parse("a.jsonl.zst", packed, m - 1, 0), IL_ERR_FORMAT);
    assert_non_null(strstr(error.message, "cut short"));
    refuses("a.jsonl.zst", "no zstd at all", 14, "compressed byte");
    memcpy(packed + m, "tail", 4);
    refuses("a.jsonl.zst", packed, m + 4, "a.jsonl.zst");
    support_seed(1);
    for (int round = 0; round < 300; round++) {
        size_t at = support_random((uint32_t)m);
        char was = packed[at];
        packed[at] = (char)support_random(256);
        parse("a.jsonl.zst", packed, m, 0);
        packed[at] = was;
    }
    free(packed);
    free(lines);
}

static void the_taker_may_stop(void **state) {
    (void)state;
    s.stop_at = 2;
    assert_int_equal(parse("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n{\"text\": \"c\"}\n", 42, 0),
                     IL_ERR_CANCELLED);
    assert_string_equal(s.text, "a|");
    assert_string_equal(error.message, "enough");
    s.stop_at = 0;
}

static void files(void **state) {
    (void)state;
    char *folder = support_folder_make();
    const char *path = support_path(folder, "a.jsonl");
    support_write(path, "{\"text\": \"a\"}\n", 14);
    s.bytes = s.documents = 0;
    assert_ok(il_documents_read(&memory, path, 0, take, &s, &error), error);
    assert_string_equal(s.text, "a|");
    assert_true(il_documents_known("x/a.txt") && il_documents_known("a.jsonl.zst") && il_documents_known("a.jsonl"));
    assert_false(il_documents_known("a.zst") || il_documents_known(".txt") || il_documents_known("a.json") ||
                 il_documents_known("txt"));
    assert_fails(il_documents_read(&memory, "a.pdf", 0, take, &s, &error), IL_ERR_UNSUPPORTED, error, "a.pdf");
    path = support_path(folder, "none.txt");
    assert_fails(il_documents_read(&memory, path, 0, take, &s, &error), IL_ERR_IO, error, "none.txt");
    support_folder_remove(folder);
}

static int setup(void **state) {
    (void)state;
    memory = il_allocator_default();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_one_document),
        cmocka_unit_test(lines_are_documents),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(compressed),
        cmocka_unit_test(the_taker_may_stop),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
