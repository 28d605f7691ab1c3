/* test_documents.c: documents out of text, JSON lines and JSON arrays, compressed or not, and what is wrong with a
 * file, by line. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include "../fuzz/bytes.h"
#include "base/error.h"
#include "engine/engine.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_text.h"

static il_engine *engine;
static il_error error;
static char logged[4000];

static void keep_log(void *user, il_log_level level, const char *line) {
    (void)user;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s%s\n", level == IL_LOG_WARN ? "! " : "", line);
}

/* Documents one after the other, each ended by '|'. */
static struct {
    char text[1 << 16];
    size_t bytes, documents;
    il_format format;
} s;

static void put(const char *text, size_t bytes) {
    assert_true(s.bytes + bytes + 2 < sizeof s.text);
    memcpy(s.text + s.bytes, text, bytes);
    s.bytes += bytes;
    s.text[s.bytes] = 0;
}

/* Reads a file of these bytes, in reads of `step` (0: whole); by parts or by documents. */
static il_status read_steps(const char *name, const void *data, size_t bytes, il_documents_options options, size_t step,
                            int parts) {
    char *exact = malloc(bytes ? bytes : 1); /* so that a sanitizer sees reads past the end */
    if (bytes) memcpy(exact, data, bytes);
    fuzz_bytes input = {exact, bytes, step};
    il_documents *documents;
    il_document document;
    memset(&error, 0, sizeof error);
    memset(&s, 0, sizeof s.bytes + sizeof s.text + sizeof s.documents);
    logged[0] = 0;
    options.read = fuzz_bytes_read;
    options.user = &input;
    il_status status = il_documents_open(engine, name, &options, &documents, &error);
    if (status != IL_OK) assert_null(documents);
    if (status == IL_OK) s.format = il_documents_format(documents);
    while (status == IL_OK) {
        status =
            parts ? il_documents_part(documents, &document, &error) : il_documents_next(documents, &document, &error);
        if (status != IL_OK) break;
        if (document.begins && s.documents++) put("|", 1);
        put(document.text, document.bytes);
        if (document.also[0]) put("<", 1), put(document.also[0], strlen(document.also[0]));
        if (document.also[1]) put("<", 1), put(document.also[1], strlen(document.also[1]));
    }
    il_documents_close(documents);
    if (s.documents) put("|", 1);
    free(exact);
    return status == IL_ERR_END ? IL_OK : status;
}

/* However it arrives, it is the same. */
static il_status read_as(const char *name, const void *data, size_t bytes, il_documents_options options) {
    static char text[sizeof s.text], log[sizeof logged];
    il_status status = read_steps(name, data, bytes, options, 0, 0);
    memcpy(text, s.text, s.bytes + 1);
    memcpy(log, logged, sizeof log);
    size_t n = s.bytes;
    il_error first = error;
    for (int i = 0; i < 4; i++) {
        static const size_t steps[] = {1, 2, 7, 1000};
        if (bytes > 20000 && i < 3) continue;
        assert_int_equal(read_steps(name, data, bytes, options, steps[i], i % 2 && bytes > 3), status);
        if (status != IL_OK) assert_string_equal(error.message, first.message);
        if (status == IL_OK) assert_string_equal(log, logged);
        if (status == IL_OK) assert_int_equal(s.bytes, n);
        if (status == IL_OK) assert_memory_equal(s.text, text, n);
    }
    error = first;
    return status;
}

static const il_documents_options none;

static size_t gzip(const void *data, size_t bytes, char *out, size_t room) {
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)data, .next_out = (unsigned char *)out};
    z.avail_in = (uInt)bytes;
    z.avail_out = (uInt)room;
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return room - z.avail_out;
}

/* The same bytes plain and compressed, under whatever name, must give the same. */
static void gives_as(const char *name, il_documents_options options, const char *data, size_t n, const char *expected) {
    size_t room = ZSTD_compressBound(n) + 100;
    char *packed = malloc(room);
    assert_ok(read_as(name, data, n, options), error);
    assert_string_equal(s.text, expected);
    size_t m = ZSTD_compress(packed, room, data, n, 3);
    assert_ok(read_as(name, packed, m, options), error);
    assert_string_equal(s.text, expected);
    m = gzip(data, n, packed, room);
    assert_ok(read_as(name, packed, m, options), error);
    assert_string_equal(s.text, expected);
    free(packed);
}
#define gives(name, data, expected) gives_as(name, none, data, sizeof(data) - 1, expected)

static void refuses_as(const char *name, il_documents_options options, const char *data, size_t bytes,
                       il_status expected, const char *text) {
    il_status status = read_as(name, data, bytes, options);
    if (status != expected || !strstr(error.message, text))
        fail_msg("%s: \"%s\", not \"%s\"", il_status_name(status), error.message, text);
}
#define refuses(name, data, text) refuses_as(name, none, data, sizeof(data) - 1, IL_ERR_FORMAT, text)
#define refuses_lines(lines, text) refuses("a.jsonl", lines, text)

/* ---- what a file is ---- */

static void text_is_one_document(void **state) {
    (void)state;
    assert_int_equal(read_as("a.txt", "one\n\0two\xFF\n", 10, none), IL_OK);
    assert_int_equal(s.documents, 1);
    assert_memory_equal(s.text, "one\n\0two\xFF\n|", 11);
    assert_non_null(strstr(logged, "! a.txt: read as text, but it holds NUL bytes"));
    refuses("a.txt", "", "a.txt: the file is empty");
    refuses("a.jsonl", "", "empty");
    refuses("a.txt", "\xEF\xBB\xBF", "no documents");
}

static void content_decides(void **state) {
    (void)state;
    static const char *const names[] = {"a.txt",      "A.TXT",  "syslog.log", "README.md", "noending",
                                        "x.JSONL.GZ", "a.json", "a.zst",      "-"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        gives(names[i], "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", "a|b|");
        assert_int_equal(s.format, IL_FORMAT_JSONL);
        gives(names[i], "[{\"text\": \"a\"}, \"b\"]", "a|b|");
        assert_int_equal(s.format, IL_FORMAT_JSON);
        if (strcasestr(names[i], "json")) continue;
        gives(names[i], "plain\ntext\n", "plain\ntext\n|");
        assert_int_equal(s.format, IL_FORMAT_TEXT);
    }
    gives("a.txt", "{\"text\": \"a\"}", "a|");
    assert_non_null(strstr(logged, "a.txt: read as JSON lines, the \"text\" of each object"));
    gives("a.jsonl", "{\"text\": \"a\"}", "a|");
    assert_string_equal(logged, "");
    /* what only looks like JSON is text */
    gives("app.log", "{\"level\": \"info\"}\n", "{\"level\": \"info\"}\n|");
    gives("a.c", "{ return; }\n", "{ return; }\n|");
    gives("a.md", "[link](there)\n", "[link](there)\n|");
    gives("a.ini", "[\"section\"]x\n", "[\"section\"]x\n|");
    gives("a.log", "[17.3] kernel\n", "[17.3] kernel\n|");
    gives("a.txt", "{\"text\": \"a\"} and more\n", "{\"text\": \"a\"} and more\n|");
    gives("a.txt", "{", "{|");
    gives("a.txt", "[", "[|");
    gives("a.txt", "P", "P|");
    /* a name that says JSON is believed where the content is none: an error, not text */
    refuses("a.jsonl", "plain\n", "a.jsonl, line 1, byte 1: not an object");
    refuses("a.json", "plain\n", "a.json, line 1, byte 1: not an object");
    refuses("a.jsonl.gz", "{\"level\": \"info\"}\n", "not an object with a string \"text\"; its strings are \"level\"");
    gives_as("a.jsonl", (il_documents_options){.format = IL_FORMAT_TEXT}, "{\"text\": 1}", 11, "{\"text\": 1}|");
    gives_as("a.txt", (il_documents_options){.format = IL_FORMAT_JSONL}, "{\"text\": \"a\"}", 13, "a|");
    gives_as("a.txt", (il_documents_options){.format = IL_FORMAT_JSON}, "{\"text\": \"a\"}", 13, "a|");
    /* a long first line */
    char *line = malloc(300001);
    memset(line, 'x', 300000);
    memcpy(line, "{\"id\": \"", 8);
    memcpy(line + 300000 - 15, "\", \"text\":\"a\"}\n", 15);
    gives_as("a", none, line, 300000, "a|");
    free(line);
}

static void what_is_no_text(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *text;
    } cases[] = {{"\xFF\xFEh\0i\0", 6, "UTF-16 text; iconv -f UTF-16 -t UTF-8"},
                 {"\xFE\xFF\0h\0i", 6, "UTF-16 text; iconv"},
                 {"\xFF\xFE\0\0h\0\0\0", 8, "UTF-32 text; iconv"},
                 {"%PDF-1.4\n", 9, "a PDF document; pdftotext"},
                 {"PK\3\4aaaa", 8, "a ZIP archive"},
                 {"\xFD"
                  "7zXZ\0\0",
                  7, "compressed by xz; xz -dc"},
                 {"BZh91AY&SYaa", 12, "compressed by bzip2"},
                 {"PAR1\x15\x04", 6, "a Parquet table"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses_as("a.txt", none, cases[i].bytes, cases[i].n, IL_ERR_UNSUPPORTED, cases[i].text);
    il_documents_options text = {.format = IL_FORMAT_TEXT};
    assert_ok(read_as("a.txt", "%PDF-1.4\n", 9, text), error);
    refuses_as("a.npy", none, "\x93NUMPY", 6, IL_ERR_UNSUPPORTED, "a.npy: tokens, not text");
    refuses_as("a.txt", none, "\x88\xD8\x34\x01\1\0", 6, IL_ERR_UNSUPPORTED, "tokens, not text");
    refuses_as("a", (il_documents_options){.format = 99}, "a", 1, IL_ERR_ARG, "format 99");
    assert_string_equal(il_format_name(IL_FORMAT_U16), "u16");
}

/* ---- byte order marks and line ends ---- */

#define BOM "\xEF\xBB\xBF"
static void byte_order_marks(void **state) {
    (void)state;
    gives("a.txt", BOM "one\n" BOM "two\n" BOM BOM "three " BOM "four\n\xEF\xBC\x8C\n" BOM,
          "one\ntwo\nthree " BOM "four\n\xEF\xBC\x8C\n|");
    gives("a.txt", "\n\xEF", "\n\xEF|");
    gives("a.txt", "a\n\xEF\xBB", "a\n\xEF\xBB|");
    gives("a.jsonl", BOM "{\"text\": \"a\"}\n" BOM "{\"text\": \"b\"}\n" BOM "\n" BOM, "a|b|");
    gives("a.jsonl", "{\"text\": \"\\ufeffa\\n\\ufeffb\\ufeff\"}\n", "a\nb" BOM "|");
    gives("a.json", BOM "[" BOM "\"a\"]", "a|");
    char *long_text = malloc(400001), *expected = malloc(400001);
    size_t n = 0, m = 0; /* marks at every place of a block's end */
    for (int i = 0; n + 30 < 60000; i++) {
        n += (size_t)sprintf(long_text + n, BOM "%.*s\n", i % 23, "abcdefghijklmnopqrstuvwxyz");
        m += (size_t)sprintf(expected + m, "%.*s\n", i % 23, "abcdefghijklmnopqrstuvwxyz");
    }
    strcpy(expected + m, "|");
    gives_as("a.txt", none, long_text, n, expected);
    free(long_text);
    free(expected);
}

static void crlf_is_told_once(void **state) {
    (void)state;
    gives("a.txt", "one\r\ntwo\r\nthree\r\n", "one\r\ntwo\r\nthree\r\n|");
    assert_int_equal(read_steps("a.txt", "one\r\ntwo\r\n", 10, none, 0, 0), IL_OK);
    const char *first = strstr(logged, "CR LF");
    assert_non_null(first);
    assert_null(strstr(first + 1, "CR LF"));
    gives("a.txt", "a\rb\r", "a\rb\r|");
    assert_string_equal(logged, "");
}

/* ---- JSON lines ---- */

static void lines_are_documents(void **state) {
    (void)state;
    gives("a.jsonl", "{\"text\": \"a\"}\n{\"title\": [1, {}], \"text\": \"b\\n\\u00e9\"}\n", "a|b\n\xC3\xA9|");
    gives("a.jsonl", "{\"text\": \"a\"}", "a|");
    gives("a.jsonl", "\n{\"text\": \"a\"}\r\n  \t\n{\"text\": \"\"}\n\n", "a||");
    gives("a.jsonl", "{\"text\": \"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t|");
    gives("a.jsonl", "{\"te\\u0078t\": \"a\"}", "a|");
    gives("a.jsonl", "{\"text\": \"\\ud83d\\ude00\\u20ac\"}", "\xF0\x9F\x98\x80\xE2\x82\xAC|");
    assert_int_equal(read_as("a.jsonl", "{\"text\": \"x\\u0000y\"}", 20, none), IL_OK);
    assert_int_equal(s.bytes, 4);
    assert_memory_equal(s.text, "x\0y|", 4);
}

/* What strict parsers refuse is nobody's business where it is not read. */
static void unread_fields_are_lenient(void **state) {
    (void)state;
    gives("a.jsonl",
          "{\"id\": 10014255632117358197, \"x\": 1e999, \"n\": NaN, \"s\": \"\\ud800\", \"b\": \"\xFF\\q\\u12\", "
          "\"k\": {\"text\": \"no\", \"\\ud800\": [true, null, \"text\", -0.5]}, \"text\": \"a\", \"id\": 2, \"id\": "
          "3}\n",
          "a|");
    char deep[3000] = "{\"a\": ";
    size_t n = strlen(deep);
    for (int i = 0; i < 1000; i++) deep[n++] = i % 2 ? '[' : '[';
    for (int i = 0; i < 1000; i++) deep[n++] = ']';
    n += (size_t)sprintf(deep + n, ", \"text\": \"a\"}\n");
    gives_as("a.jsonl", none, deep, n, "a|");
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    refuses_as("a.jsonl", none, deep, sizeof deep, IL_ERR_FORMAT, "line 1, byte 1029: nested too deeply");
}

static void lone_surrogates_are_replaced(void **state) {
    (void)state;
#define FFFD "\xEF\xBF\xBD"
    gives("a.jsonl", "{\"text\": \"\\ud800\"}", FFFD "|");
    gives("a.jsonl", "{\"text\": \"a\\udc00b\\ud83d\\n\\ud83dc\\ud83d\\u0041\\ud83d\\ud83d\\ude00\"}",
          "a" FFFD "b" FFFD "\n" FFFD "c" FFFD "A" FFFD "\xF0\x9F\x98\x80|");
}

static void bad_lines(void **state) {
    (void)state;
    refuses_lines("{\"text\": \"a\"}\n{\"text\": \"b\"\n",
                  "a.jsonl, line 2, byte 12: the line ends inside its object; 1 doc");
    refuses_lines("{\"text\": \"a\"}\n\n{\"text\": 5}\n",
                  "line 3, byte 1: not an object with a string \"text\"; 1 doc");
    refuses_lines("[\"text\"]x\n", "line 1, byte 1: not an object");
    refuses_lines("{\"texts\": \"a\", \"body\": \"b\", \"n\": 1}\n",
                  "its strings are \"texts\", \"body\"; 0 documents");
    refuses_lines("{\"text\": \"a\", \"text\": \"b\"}\n", "line 1, byte 23: a duplicate field");
    refuses_lines("{\"text\": \"\xFF\"}\n", "line 1, byte 12: its text is not UTF-8");
    refuses_lines("{\"text\": \"a\tb\"}\n", "line 1, byte 12: a control character");
    refuses_lines("{\"text\": \"a\\qb\"}\n", "a broken escape");
    refuses_lines("{\"text\": \"a\\u00gb\"}\n", "a broken escape");
    refuses_lines("{\"text\": \"a\"} x\n", "line 1, byte 15: something stands behind its object");
    refuses_lines("{\"text\" \"a\"}\n", "':' is missing");
    refuses_lines("{\"text\": \"a\" \"b\"}\n", "',' or '}' is missing");
    refuses_lines("{\"text\": \"a\",}\n", "a field's name is missing");
    refuses_lines("{\"a\": [1 2], \"text\": \"a\"}\n", "',' or ']' is missing");
    refuses_lines("{\"a\": [1,], \"text\": \"a\"}\n", "a value is missing");
    refuses_lines("{\"a\": [1}, \"text\": \"a\"}\n", "',' or ']' is missing");
    refuses_lines("{\"a\", \"text\": \"a\"}\n", "':' is missing");
    refuses_lines("{text: \"a\"}\n", "a field's name is missing");
    refuses_lines("\0\n", "line 1");
    refuses_lines("\n \n", "no documents");
    refuses_lines("{\"text\": \"a\\", "the line ends inside");
}

static void bad_lines_are_skipped(void **state) {
    (void)state;
    static const char lines[] =
        "{\"text\": \"a\"}\n{\"text\": 1}\nx\n{\"text\": \"b\"}\n{\"text\"\n{}\n{\"text\": \"c\"";
    il_documents_options skip = {.skip_bad_lines = 1};
    gives_as("a.jsonl", skip, lines, sizeof lines - 1, "a|b|");
    assert_non_null(strstr(logged, "! skipped: a.jsonl, line 2, byte 1: not an object with a string \"text\"\n"));
    assert_non_null(strstr(logged, "! skipped: a.jsonl, line 3, byte 1: not an object\n"));
    assert_non_null(strstr(logged, "! skipped: a.jsonl, line 5, byte 7: the line ends inside its object\n"));
    assert_null(strstr(logged, "line 6")); /* three are shown */
    assert_non_null(strstr(logged, "! a.jsonl: 5 bad lines were skipped, the first is line 2; 2 documents read\n"));
    gives_as("a.json", skip, "[{\"text\": \"a\"}, {}, \"b\"]", 24, "a|b|");
    refuses_as("a.json", skip, "[\"a\", 5, \"b\"]", 13, IL_ERR_FORMAT, "not an object");
    refuses_as("a.jsonl", skip, "x\n", 2, IL_ERR_FORMAT, "no documents");
}

static void other_fields(void **state) {
    (void)state;
    static const char lines[] =
        "{\"content\": \"a\", \"text\": \"no\", \"author\": \"A\"}\n{\"title\": \"T\", \"content\": \"b\"}\n"
        "{\"author\": 5, \"content\": \"c\", \"title\": \"\"}";
    il_documents_options o = {.field = "content"};
    gives_as("a.jsonl", o, lines, sizeof lines - 1, "a|b|c|");
    gives_as("a", o, lines, sizeof lines - 1, "a|b|c|");
    o.also[0] = "author", o.also[1] = "title";
    gives_as("a.jsonl", o, lines, sizeof lines - 1, "a<A|b<T|c<|");
}

static void json_files(void **state) {
    (void)state;
    gives("a.json", "[\"a\", {\"text\": \"b\", \"x\": [[]]},\n\t\"\"]\n", "a|b||");
    gives("a.json", "{\n  \"text\": \"a\",\n  \"x\": 1\n}\n", "a|");
    gives("a.json", "{\n  \"text\": \"a\"\n}\n{\n\"text\": \"b\"}", "a|b|");
    refuses("a.json", "[]", "no documents");
    refuses("a.json", "[\"a\"", "line 1, byte 5: ',' or ']' is missing; 1 documents");
    refuses("a.json", "[\"a\",", "the file ends inside it");
    refuses("a.json", "[\"a\"\n \"b\"]", "line 2, byte 2: ',' or ']' is missing");
    refuses("a.json", "[\"a\"] x", "something stands behind its array");
    refuses("a.json", "[\"a\", [\"b\"]]", "not an object");
    refuses("a.json", "[\"a\", {\"b\": \"c\"}]",
            "line 1, byte 7: not an object with a string \"text\"; its strings are \"b\"");
}

static void long_texts(void **state) {
    (void)state;
    static const char lines[] = "{\"text\": \"a\"}\n{\"text\": \"0123456789\", \"more\": \"0123456789\"}\n";
    il_documents_options o = {.text_bytes_max = 10};
    gives_as("a.jsonl", o, lines, sizeof lines - 1, "a|0123456789|");
    o.text_bytes_max = 9;
    refuses_as("a.jsonl", o, lines, sizeof lines - 1, IL_ERR_FORMAT, "line 2, byte 19: its text is too long");
}

/* ---- compression ---- */

static void compressed(void **state) {
    (void)state;
    /* more than the library's blocks, several frames, lines across their ends */
    size_t n = 0, room = 1 << 20;
    char *lines = malloc(room), *packed = malloc(room);
    for (int i = 0; i < 9000; i++)
        n += (size_t)sprintf(lines + n, "{\"text\": \"%d\", \"n\": \"%0*d\"}\n", i % 10, i % 97, 0);
    assert_true(n > 500000);
    for (int kind = 0; kind < 2; kind++) {
        size_t m = kind ? gzip(lines, 200001, packed, room) : ZSTD_compress(packed, room, lines, 200001, 1);
        m += kind ? gzip(lines + 200001, n - 200001, packed + m, room - m)
                  : ZSTD_compress(packed + m, room - m, lines + 200001, n - 200001, 1);
        assert_int_equal(read_as("a", packed, m, none), IL_OK);
        assert_int_equal(s.documents, 9000);
        for (int i = 0; i < 9000; i++) assert_int_equal(s.text[2 * i], '0' + i % 10);
        /* cut short anywhere it is an error, also between the frames, inside a line */
        for (size_t cut = 12; cut < m; cut += 1 + m / 200) {
            assert_int_equal(read_steps("a.jsonl", packed, cut, none, 0, 0), IL_ERR_FORMAT);
            assert_non_null(strstr(error.message, "a.jsonl"));
        }
        assert_int_equal(read_steps("a.jsonl", packed, m - 1, none, 0, 0), IL_ERR_FORMAT);
        assert_non_null(strstr(error.message, "cut short"));
        memcpy(packed + m, "tail", 4);
        refuses_as("a.jsonl", none, packed, m + 4, IL_ERR_FORMAT, "a.jsonl");
        memset(packed + m, 0, 100); /* as a tape ends */
        if (kind) assert_int_equal(read_as("a.jsonl", packed, m + 100, none), IL_OK);
        support_seed(1);
        for (int round = 0; round < 300; round++) {
            size_t at = support_random((uint32_t)m);
            char was = packed[at];
            packed[at] = (char)support_random(256);
            read_steps("a.jsonl", packed, m, none, 0, 0);
            packed[at] = was;
        }
    }
    free(packed);
    free(lines);
}

/* zstd --long: refused unless so much memory is allowed. */
static void long_windows(void **state) {
    (void)state;
    static const char text[] = "text";
    char packed[200];
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 28);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
    ZSTD_outBuffer out = {packed, sizeof packed, 0};
    ZSTD_inBuffer in = {text, 4, 0};
    while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush) || in.pos < in.size) {}
    while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_end)) {}
    ZSTD_freeCCtx(c);
    refuses_as("a", none, packed, out.pos, IL_ERR_UNSUPPORTED, "window longer than 2^27 bytes (zstd --long); a larger");
    il_documents_options o = {.window_log_max = 28};
    assert_ok(read_as("a", packed, out.pos, o), error);
    assert_string_equal(s.text, "text|");
    o.window_log_max = 32;
    refuses_as("a", o, packed, out.pos, IL_ERR_ARG, "2^32");
}

/* ---- files ---- */

static void files(void **state) {
    (void)state;
    char *folder = support_folder_make();
    const char *path = support_path(folder, "a.jsonl");
    il_documents *d;
    il_document document;
    support_write(path, "{\"text\": \"a\"}\n", 14);
    assert_ok(il_documents_open(engine, path, NULL, &d, &error), error);
    assert_ok(il_documents_next(d, &document, &error), error);
    assert_memory_equal(document.text, "a", document.bytes);
    for (int i = 0; i < 2; i++) assert_int_equal(il_documents_next(d, &document, &error), IL_ERR_END);
    il_documents_close(d);
    path = support_path(folder, "none.txt");
    assert_fails(il_documents_open(engine, path, NULL, &d, &error), IL_ERR_IO, error, "none.txt");
    assert_fails(il_documents_open(engine, folder, NULL, &d, &error), IL_ERR_IO, error, "a folder, not a file");

    /* a pipe is a file like any other */
    path = support_path(folder, "pipe");
    assert_int_equal(mkfifo(path, 0600), 0);
    pid_t child = fork();
    if (child == 0) {
        FILE *to = fopen(path, "w");
        fputs("through a pipe", to);
        fclose(to);
        _exit(0);
    }
    assert_ok(il_documents_open(engine, path, NULL, &d, &error), error);
    assert_ok(il_documents_next(d, &document, &error), error);
    assert_memory_equal(document.text, "through a pipe", 14);
    il_documents_close(d);

    /* one that shrinks is an error */
    path = support_path(folder, "shrinks");
    char *text = support_prose(1 << 20);
    support_write(path, text, 1 << 20);
    assert_ok(il_documents_open(engine, path, NULL, &d, &error), error);
    assert_int_equal(truncate(path, 300000), 0);
    assert_fails(il_documents_next(d, &document, &error), IL_ERR_IO, error,
                 "became shorter while it was read: 300000 of 1048576 bytes");
    il_documents_close(d);
    free(text);
    support_folder_remove(folder);
}

static int setup(void **state) {
    (void)state;
    engine = lively_engine(1, NULL);
    engine->log = keep_log;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_one_document),
        cmocka_unit_test(content_decides),
        cmocka_unit_test(what_is_no_text),
        cmocka_unit_test(byte_order_marks),
        cmocka_unit_test(crlf_is_told_once),
        cmocka_unit_test(lines_are_documents),
        cmocka_unit_test(unread_fields_are_lenient),
        cmocka_unit_test(lone_surrogates_are_replaced),
        cmocka_unit_test(bad_lines),
        cmocka_unit_test(bad_lines_are_skipped),
        cmocka_unit_test(other_fields),
        cmocka_unit_test(json_files),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(compressed),
        cmocka_unit_test(long_windows),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
