/* test_cli_documents.c: every verb reads the same files, whatever their names, and the options that say how. */
#include "support_test.h"

#include "support_cli.h"
#include "support_files.h"
#include "support_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

enum { BOOK_BYTES = 3000 };

static void write_gz(const char *path, const char *data, size_t bytes) {
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)bytes), bytes);
    assert_int_equal(gzclose(file), Z_OK);
}

static void write_zst(const char *path, const char *data, size_t bytes, int window_log) {
    size_t room = ZSTD_compressBound(bytes) + 100;
    char *packed = malloc(room);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
    ZSTD_outBuffer out = {packed, room, 0};
    ZSTD_inBuffer in = {data, bytes, 0};
    while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_flush) || in.pos < in.size) {}
    while (ZSTD_compressStream2(c, &out, &in, ZSTD_e_end)) {}
    ZSTD_freeCCtx(c);
    support_write(path, packed, out.pos);
    free(packed);
}

/* The book, as JSON with this beginning and end. */
static char *as_json(const char *text, const char *before, const char *after) {
    char *json = malloc(2 * strlen(text) + 100);
    size_t n = (size_t)sprintf(json, "%s\"", before);
    for (const char *c = text; *c; c++) {
        if (*c == '\n') json[n++] = '\\';
        json[n++] = *c == '\n' ? 'n' : *c;
    }
    sprintf(json + n, "\"%s", after);
    return json;
}

/* The same text in every wrapping. */
static const char *const same[] = {"book.txt",  "BOOK.TXT",   "book.log",   "book.md",     "book",        "book.gz",
                                   "b.txt.zst", "book.jsonl", "BOOK.JSONL", "b.jsonl.gz",  "b.jsonl.zst", "book.json",
                                   "b.json.gz", "b.json.zst", "lines.txt",  "misnamed.zst"};
enum { SAME = sizeof same / sizeof *same };

static int begin(void **state) {
    support_command = INNERLOOP;
    if (support_cli_begin(state)) return 1;
    support_seed(5);
    char *book = support_prose(BOOK_BYTES);
    char *lines = as_json(book, "{\"id\": 10014255632117358197, \"text\": ", "}\n"), *array = as_json(book, "[", "]");
    for (size_t i = 0; i < SAME; i++) {
        const char *text = strcasestr(same[i], ".jsonl") || strstr(same[i], "lines") ? lines
                           : strstr(same[i], ".json")                                ? array
                                                                                     : book;
        if (strstr(same[i], ".gz"))
            write_gz(same[i], text, strlen(text));
        else if (strstr(same[i], ".zst") && strcmp(same[i], "misnamed.zst") != 0)
            write_zst(same[i], text, strlen(text), 20);
        else
            support_write(same[i], text, strlen(text));
    }
    support_write("body.jsonl", lines, strlen(lines));
    char *body = support_text_of("body.jsonl");
    memcpy(strstr(body, "text"), "body", 4);
    support_write("body.jsonl", body, strlen(body));
    write_zst("window.zst", book, BOOK_BYTES, 28);
    char bad[2 * BOOK_BYTES + 200];
    snprintf(bad, sizeof bad, "{\"text\": 1}\n%s\n{\"text\": \n", lines);
    support_write("bad.jsonl", bad, strlen(bad));
    free(body);
    free(array);
    free(lines);
    free(book);
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    return 0;
}

static void test_names(void **state) {
    (void)state;
    for (size_t i = 0; i < SAME; i++) {
        free(support_done("tokenize --tokenizer bytes --out shards%zu %s", i, same[i]));
        free(support_done("train-tokenizer --vocab 290 --out %zu.model %s", i, same[i]));
        free(support_done("read --model m --save-state %zu.ilstate %s", i, same[i]));
        json_t *one = support_json("eval --model m --data book.txt"),
               *other = support_json("eval --model m --data %s", same[i]);
        assert_true(support_number(one, "nll") == support_number(other, "nll"));
        json_decref(one);
        json_decref(other);
        char path[300], *stem = strdup(same[i]);
        stem[strcspn(stem, ".")] = 0;
        snprintf(path, sizeof path, "shards%zu/%s.bin", i, strcmp(same[i], "misnamed.zst") ? stem : "misnamed");
        support_same_files("shards0/book.bin", path);
        snprintf(path, sizeof path, "%zu.model", i);
        support_same_files("0.model", path);
        snprintf(path, sizeof path, "%zu.ilstate", i);
        support_same_files("0.ilstate", path);
        free(stem);
    }
}

static void test_scored_alike(void **state) {
    (void)state;
    char *plain = support_done("score --model m book.txt");
    for (size_t i = 1; i < SAME; i++) {
        char *out = support_done("score --model m %s", same[i]);
        assert_string_equal(out, plain);
        free(out);
    }
    free(plain);
}

/* A prompt is taken as it stands, but decompressed and without a byte order mark. */
static void test_prompts(void **state) {
    (void)state;
    support_write("prompt", "\xEF\xBB\xBF{\"text\": 1}\n", 16);
    write_gz("prompt.gz", "{\"text\": 1}\n", 13);
    write_zst("prompt.zst", "{\"text\": 1}\n", 13, 20);
    char *plain = support_done("generate --model m --max-tokens 20 --prompt-file prompt");
    static const char *const files[] = {"prompt.gz", "prompt.zst"};
    for (size_t i = 0; i < 2; i++) {
        char *text = support_done("generate --model m --max-tokens 20 --prompt-file %s", files[i]);
        assert_string_equal(text, plain);
        free(text);
    }
    free(plain);
}

/* What each verb says of a file with these options. */
static const char *const verbs[] = {"tokenize --tokenizer bytes --out o-tokenize",
                                    "train-tokenizer --vocab 330 --out o.model",
                                    "read --model m --save-state o.ilstate",
                                    "score --model m",
                                    "eval --model m --data",
                                    "train --model m --steps 1 --batch-tokens 64 --seq-len 64 --out o-%zu-%d --data"};
enum { VERBS = sizeof verbs / sizeof *verbs };

static int runs;
static void each(const char *file, const char *otherwise, const char *option, const char *complaint,
                 const char *warning) {
    for (size_t v = 0; v < VERBS; v++) {
        char line[300];
        snprintf(line, sizeof line, verbs[v], v, runs++);
        support_run without = support_cli(NULL, "%s %s %s", line, file, otherwise),
                    with = support_cli(NULL, "%s %s %s", line, file, option);
        if (without.code != 1 || !strstr(without.err, complaint)) fail_msg("%s %s: %s", line, file, without.err);
        if (with.code != 0 || !strstr(with.err, warning)) fail_msg("%s %s %s: %s", line, file, option, with.err);
        support_run_free(&without);
        support_run_free(&with);
    }
}

static void test_options(void **state) {
    (void)state;
    each("body.jsonl", "", "--field body", "not an object with a string \"text\"; its strings are \"body\"", "");
    each("body.jsonl", "", "--format text", "not an object", "");
    each("bad.jsonl", "--bad-lines stop", "--bad-lines skip",
         "bad.jsonl, line 1, byte 1: not an object with a string \"text\"",
         "2 bad lines were skipped, the first is line 1; 1 documents read");
    each("bad.jsonl", "--max-bad 1", "--max-bad 2", "with it more than 1 lines are bad, the first is line 1", "");
    each("window.zst", "", "--max-window 28", "--max-window", "");
}

/* nanoGPT's form. */
static void test_tokens_without_header(void **state) {
    (void)state;
    unsigned char tokens[400] = {0};
    for (size_t i = 0; i < 200; i++) tokens[2 * i] = (unsigned char)(i + 1);
    support_write("train.bin", tokens, sizeof tokens);
    support_refused(1, "--format u16 or u32", "eval --model m --data train.bin");
    json_t *object = support_json("eval --model m --data train.bin --format u16");
    assert_int_equal(support_number(object, "tokens"), 199);
    json_decref(object);
    free(support_done(
        "train --model m --steps 1 --batch-tokens 64 --seq-len 64 --out u16 --data train.bin --format u16"));
    support_refused(2, "--format", "tokenize --tokenizer bytes --out o --format u16 train.bin");
}

/* Standard input is read as it comes: nothing of it lies in a temporary file that a signal would leave behind. */
static void test_standard_input(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    const char *kept = getenv("TMPDIR");
    char *before = kept ? strdup(kept) : NULL;
    setenv("TMPDIR", "/no/such/folder", 1);
    for (size_t v = 0; v < VERBS; v++) {
        char line[300];
        snprintf(line, sizeof line, verbs[v], v, runs++);
        support_run run = support_cli(book, "%s -", line);
        if (run.code) fail_msg("%s -: %s", line, run.err);
        support_run_free(&run);
    }
    before ? setenv("TMPDIR", before, 1) : unsetenv("TMPDIR");
    support_same_files("o-tokenize/stdin.bin", "shards0/book.bin");
    free(before);
    free(book);
}

/* What is not read takes no memory, however well it was compressed. */
static void test_memory(void **state) {
    (void)state;
    enum { BYTES = 64 << 20 };
    char *line = malloc(BYTES);
    memset(line, ' ', BYTES);
    for (size_t i = 0; i < BYTES; i += 2) line[i] = i % 4 ? ',' : '1';
    memcpy(line, "{\"x\": [ ", 8);
    memcpy(line + BYTES - 20, "1], \"text\": \"a b\"}\n\n", 20);
    write_zst("bomb.jsonl.zst", line, BYTES, 20);
    free(line);
    size_t bytes;
    free(support_read("bomb.jsonl.zst", &bytes));
    assert_true(bytes < 20000);
    support_run small = support_cli(NULL, "tokenize --tokenizer bytes --out small b.jsonl.zst"),
                large = support_cli(NULL, "tokenize --tokenizer bytes --out large bomb.jsonl.zst");
    if (small.code || large.code) fail_msg("%s%s", small.err, large.err);
    if (large.peak_kb > small.peak_kb + 10000) fail_msg("%ld kB instead of %ld", large.peak_kb, small.peak_kb);
    support_run_free(&small);
    support_run_free(&large);
}

/* Nor does a text, beside its tokens: four bytes a token, and room to grow. */
static void test_memory_of_text(void **state) {
    (void)state;
    enum { BYTES = 24 << 20 };
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* they keep what is freed */
#endif
    support_seed(6);
    char *text = support_prose(BYTES), *part = strndup(text, BYTES / 8);
    write_gz("whole.gz", text, BYTES);
    write_gz("part.gz", part, BYTES / 8);
    free(part);
    free(text);
    free(support_done("train-tokenizer --vocab 350 --out t.model part.gz")); /* most words are a token */
    support_run small = support_cli(NULL, "tokenize --tokenizer t.model --out small part.gz"),
                large = support_cli(NULL, "tokenize --tokenizer t.model --out large whole.gz");
    if (small.code || large.code) fail_msg("%s%s", small.err, large.err);
    size_t bytes;
    free(support_read("large/whole.bin", &bytes)); /* two bytes a token */
    long tokens_kb = (long)(bytes / 2 * 4 / 1024);
    if (large.peak_kb > small.peak_kb + 2 * tokens_kb)
        fail_msg("%ld kB instead of %ld, for %ld kB of tokens", large.peak_kb, small.peak_kb, tokens_kb);
    support_run_free(&small);
    support_run_free(&large);
}

/* A text that comes twice in a list is said to. */
static void test_a_text_twice(void **state) {
    (void)state;
    support_write("one.txt", "a text\n", 7);
    support_write("two.txt", "a text\n", 7);
    assert_int_equal(symlink("one.txt", "again.txt"), 0);
    static const char *const lines[][2] = {
        {"one.txt two.txt", NULL},
        {"one.txt two.txt one.txt", "one.txt is given twice and read twice"},
        {"one.txt again.txt", "again.txt is given twice (as one.txt) and read twice"}};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        support_run run = support_cli(NULL, "tokenize --tokenizer bytes --out twice %s", lines[i][0]);
        if (lines[i][1] ? !strstr(run.err, lines[i][1]) : strstr(run.err, "twice") != NULL) fail_msg("%s", run.err);
        support_run_free(&run);
    }
    support_run run = support_cli(NULL, "train one.txt one.txt");
    assert_non_null(strstr(run.err, "train: one.txt is given twice and read twice\n"));
    support_run_free(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_scored_alike),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_tokens_without_header),
        cmocka_unit_test(test_standard_input),
        cmocka_unit_test(test_a_text_twice),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_of_text),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
