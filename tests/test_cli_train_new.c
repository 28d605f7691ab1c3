/* test_cli_train_new.c: `innerloop train FILE`: a model from a text alone; the lines it prints do the same; the same
 * line goes on; nothing is overwritten. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BRIEF "--minutes 0.01"
enum { BOOK_BYTES = 220000, NOTE_BYTES = 12000 };

static char *book;

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    book = support_book(3, BOOK_BYTES);
    support_write("note.txt", book, NOTE_BYTES);
    return 0;
}

static int end(void **state) {
    free(book);
    return support_cli_end(state);
}

/* The two files together are the text. */
static void assert_parts(const char *folder, const char *text, size_t bytes) {
    char train[100], held_out[100];
    size_t n, k;
    snprintf(train, sizeof train, "%s/train.txt", folder);
    snprintf(held_out, sizeof held_out, "%s/held-out.txt", folder);
    char *a = support_read(train, &n), *b = support_read(held_out, &k);
    assert_int_equal(n + k, bytes);
    assert_true(k >= 1000 && k <= bytes / 5);
    assert_memory_equal(a, text, n);
    assert_memory_equal(b, text + n, k);
    free(b);
    free(a);
}

/* Runs the lines of a run in its folder's place, from its two files alone; the model must be the same. */
static void assert_lines_do_the_same(const json_t *result, const char *folder, const char *ending) {
    char kept[100], path[200], copy[200];
    static const char *const parts[] = {"train", "held-out"};
    snprintf(kept, sizeof kept, "%s.kept", folder);
    assert_int_equal(rename(folder, kept), 0);
    assert_int_equal(mkdir(folder, 0777), 0);
    for (size_t i = 0; i < 2; i++) {
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s.%s", kept, parts[i], ending);
        snprintf(copy, sizeof copy, "%s/%s.%s", folder, parts[i], ending);
        char *text = support_read(path, &bytes);
        support_write(copy, text, bytes);
        free(text);
    }
    size_t i;
    json_t *line;
    json_array_foreach(json_object_get(result, "commands"), i, line) {
        const char *words = json_string_value(line);
        assert_true(!strncmp(words, "innerloop ", 10));
        free(support_done("%s", words + 10));
    }
    static const char *const files[] = {"model.safetensors", "config.json"};
    for (i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", kept, files[i]);
        snprintf(copy, sizeof copy, "%s/%s", folder, files[i]);
        support_same_files(path, copy);
    }
}

static void test_a_file_is_enough(void **state) {
    (void)state;
    json_t *result = support_json("train book.txt " BRIEF);
    assert_string_equal(support_string(result, "out"), "book-model");
    assert_string_equal(support_string(result, "held_out"), "book-model/held-out.txt");
    assert_parts("book-model", book, BOOK_BYTES);
    /* what it says of what it held out is what eval says; it is ours, with all that learns */
    json_t *eval = support_json("eval --model book-model --data book-model/held-out.txt");
    json_t *frozen = support_json("eval --model book-model --data book-model/held-out.txt --frozen");
    assert_true(fabs(support_number(result, "bits_per_byte") / support_number(eval, "bits_per_byte") - 1) < 1e-9);
    assert_true(fabs(support_number(result, "frozen_bits_per_byte") / support_number(frozen, "bits_per_byte") - 1) <
                1e-9);
    json_t *model = support_json("inspect book-model");
    assert_string_equal(support_string(model, "config.mixer"), "ttt_linear_decay");
    assert_true(support_number(model, "config.fast_head_size") > 0);
    assert_string_equal(support_string(model, "tokenizer.kind"), "sentencepiece");
    json_decref(support_json("generate --model book-model --prompt ba --max-tokens 3"));
    /* the same line again finds it done */
    json_t *again = support_json("train book.txt " BRIEF);
    assert_int_equal(support_number(again, "tokens"), 0);
    assert_true(json_equal(json_object_get(again, "bits_per_byte"), json_object_get(result, "bits_per_byte")));
    assert_lines_do_the_same(result, "book-model", "txt");
    json_decref(again);
    json_decref(model);
    json_decref(frozen);
    json_decref(eval);
    json_decref(result);
}

/* Stopped and begun again, it is the run that was never stopped, whatever the machine's speed is by then. */
static void test_the_same_line_goes_on(void **state) {
    (void)state;
    int lines = 0;
    pid_t child = support_cli_start("train note.txt --minutes 5 --seed 7");
    for (int tries = 0; lines < 3 && tries < 60000; tries++, usleep(1000)) {
        FILE *file = fopen("note-model/log.jsonl", "r");
        lines = 0;
        for (int c; file && (c = fgetc(file)) != EOF;) lines += c == '\n';
        if (file) fclose(file);
    }
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *said = support_text_of("err");
    assert_non_null(strstr(said, "this goes on:\n    innerloop train note.txt --minutes 5 --seed 7\n"));
    assert_false(support_exists("note-model/config.json"));
    free(said);
    support_refused(1, "of another text (12000 bytes, this one has 220000)", "train book.txt --out note-model");
    support_refused(1, "of --minutes 5", "train note.txt --minutes 7");
    support_refused(1, "of --mixer ttt_linear_decay", "train note.txt --mixer ttt_mlp");
    support_refused(1, "of --seed 7", "train note.txt --seed 8");
    json_t *result = support_json("train note.txt");
    assert_true(support_number(result, "steps") >= 3);
    assert_true(json_is_false(json_object_get(result, "interrupted")));
    assert_lines_do_the_same(result, "note-model", "txt");
    json_decref(result);
}

/* Many texts of any kind become one list; the last of them are held out. */
static void test_many_texts(void **state) {
    (void)state;
    FILE *file = fopen("docs.jsonl", "w");
    assert_non_null(file);
    for (int i = 0; i < 40; i++) {
        fprintf(file, "{\"text\": \"%d ", i);
        for (int k = 0; k < 600; k++)
            fputc(book[600 * i + k] < ' ' || book[600 * i + k] == '"' ? ' ' : book[600 * i + k], file);
        fprintf(file, "\"}\n");
    }
    fclose(file);
    json_t *result = support_json("train docs.jsonl note.txt " BRIEF " --out many");
    assert_string_equal(support_string(result, "held_out"), "many/held-out.jsonl");
    /* the long last text is cut; nothing is lost, and no document is in both */
    char *train = support_text_of("many/train.jsonl"), *held_out = support_text_of("many/held-out.jsonl");
    size_t n[2] = {0}, bytes = 0;
    json_t *object;
    char *both[2] = {train, held_out}, *whole = calloc(1, 2 * BOOK_BYTES);
    assert_non_null(whole);
    for (int i = 0; i < 2; i++)
        for (char *line = strtok(both[i], "\n"); line; line = strtok(NULL, "\n"), n[i]++) {
            assert_non_null(object = json_loads(line, 0, NULL));
            bytes += (size_t)sprintf(whole + bytes, "%s", support_string(object, "text"));
            json_decref(object);
        }
    assert_int_equal(n[0], 41);
    assert_int_equal(n[1], 1);
    assert_true(!strncmp(whole + bytes - NOTE_BYTES, book, NOTE_BYTES));
    assert_lines_do_the_same(result, "many", "jsonl");
    json_decref(result);
    /* whole documents where they are short enough */
    result = support_json("train docs.jsonl " BRIEF " --mixer ttt_linear");
    held_out = (free(held_out), support_text_of("docs-model/held-out.jsonl"));
    size_t documents = 0;
    for (const char *at = held_out; *at; at++) documents += *at == '\n';
    assert_true(documents >= 3 && documents <= 4);
    assert_true(!strncmp(strstr(held_out, "{\"text\":\""), held_out, 9));
    /* the published rule is one option away, without what is ours */
    json_t *model = support_json("inspect docs-model");
    assert_string_equal(support_string(model, "config.mixer"), "ttt_linear");
    assert_null(json_object_get(json_object_get(model, "config"), "fast_head_size"));
    assert_true(support_number(result, "bits_per_byte") > 0);
    json_decref(model);
    json_decref(result);
    free(whole);
    free(train);
    free(held_out);
}

/* Documents too short to carry a state on in are learned from all the same, all of them. */
static void test_short_texts(void **state) {
    (void)state;
    FILE *file = fopen("short.jsonl", "w");
    assert_non_null(file);
    for (int i = 0; i < 900; i++) {
        char text[17] = "";
        for (int k = 0; k < 16; k++) text[k] = (char)(book[16 * i + k] < ' ' ? ' ' : book[16 * i + k]);
        fprintf(file, "{\"text\": \"%s\"}\n", text);
    }
    fclose(file);
    json_t *result = support_json("train short.jsonl " BRIEF);
    const char *line = json_string_value(json_array_get(json_object_get(result, "commands"), 1));
    assert_non_null(strstr(line, " --fresh "));
    assert_lines_do_the_same(result, "short-model", "jsonl");
    json_decref(result);
}

static void test_names(void **state) {
    (void)state;
    char text[NOTE_BYTES + 1];
    memcpy(text, book, NOTE_BYTES);
    text[NOTE_BYTES] = 0;
    support_run run = support_cli(text, "train - " BRIEF " --json");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    assert_parts("stdin-model", text, NOTE_BYTES);
    run = support_cli(text, "train /dev/stdin " BRIEF " --out piped"); /* by a name, and read only once all the same */
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    assert_parts("piped", text, NOTE_BYTES);
    assert_int_equal(mkdir("texts", 0777), 0);
    static const char *const names[][2] = {
        {"texts/a.b.txt", "a.b-model"}, {"texts/.txt", ".txt-model"}, {"no ending", "no ending-model"}};
    for (size_t i = 0; i < 3; i++) {
        support_write(names[i][0], book, NOTE_BYTES);
        json_t *result = support_json("train '%s' " BRIEF, names[i][0]);
        assert_string_equal(support_string(result, "out"), names[i][1]);
        json_decref(result);
    }
    assert_int_equal(system("gzip -c note.txt >packed.txt.gz"), 0);
    free(support_done("train packed.txt.gz " BRIEF " --out deep/er"));
    assert_parts("deep/er", book, NOTE_BYTES);
}

/* One line of text, broken UTF-8, a script of many characters: each gets a model. */
static void test_odd_texts(void **state) {
    (void)state;
    size_t n = 0;
    char *text = malloc(220000);
    assert_non_null(text);
    memset(text, 'a', 15000);
    for (size_t i = 0; i < 15000; i += 7) text[i] = (char)('b' + i % 23);
    support_write("line.txt", text, 15000);
    json_decref(support_json("train line.txt " BRIEF));
    assert_parts("line-model", text, 15000);
    for (size_t i = 0; i < 15000; i++) text[i] = (char)(i * i % 251);
    support_write("broken.txt", text, 15000);
    json_decref(support_json("train broken.txt --format text " BRIEF));
    assert_parts("broken-model", text, 15000);
    for (unsigned i = 0; i < 72000; i++) { /* 5,000 characters of three bytes */
        unsigned c = 0x4E00 + (i * 37 + i * i % 11) % 5000;
        text[n++] = (char)(0xE0 | c >> 12);
        text[n++] = (char)(0x80 | (c >> 6 & 63));
        text[n++] = (char)(0x80 | (c & 63));
    }
    support_write("script.txt", text, n);
    json_t *result = support_json("train script.txt " BRIEF);
    assert_parts("script-model", text, n);
    json_t *model = support_json("inspect script-model"); /* a vocabulary of 512 has no room for its characters */
    assert_string_equal(support_string(model, "tokenizer.kind"), "sentencepiece");
    assert_true(support_number(model, "tokenizer.vocab_size") > 5000);
    json_decref(model);
    json_decref(result);
    free(text);
}

static void test_refusals(void **state) {
    (void)state;
    support_write("empty.txt", "", 0);
    support_write("tiny.txt", book, 1024);
    support_refused(1, "empty.txt: the file is empty", "train empty.txt");
    support_refused(1, "tiny.txt: 1024 bytes of text; a model of its own needs at least 10000", "train tiny.txt");
    support_refused(1, "tiny.txt and the others: 2048 bytes", "train tiny.txt tiny.txt");
    support_refused(1, "missing.txt", "train missing.txt");
    assert_false(support_exists("empty-model") || support_exists("tiny-model") || support_exists("missing-model"));
    assert_int_equal(mkdir("taken", 0777), 0);
    support_write("taken/thesis.txt", "x", 1);
    support_refused(1, "taken is already there and no run of train", "train note.txt --out taken");
    assert_int_equal(support_folder_count("taken"), 1);
    assert_int_equal(symlink("missing", "nowhere"), 0);
    support_refused(1, "nowhere: a link to nothing", "train note.txt " BRIEF " --out nowhere");
    support_refused(2, "the same file", "train note.txt --out note.txt");
    support_refused(2, "--steps needs --model DIR or --resume: without them it is chosen", "train note.txt --steps 3");
    support_refused(2, "--minutes must be from 0.01 to 100000", "train note.txt --minutes 0");
    support_refused(2, "FILE is missing", "train --minutes 3");
    support_refused(2, "--mixer: 'rnn' is not one of", "train note.txt --mixer rnn");
    /* what recipe.json holds is checked */
    static const char *const recipes[] = {
        "",
        "{}",
        "[]",
        "{\"format\": 2}",
        "{\"format\": 1, \"documents\": 1, \"bytes\": 5, \"fingerprint\": \"x\", \"minutes\": 1, \"mixer\": \"m\", "
        "\"seed\": 0, \"recipe\": {}}",
        "{\"format\": 1, \"documents\": 1, \"bytes\": 5, \"fingerprint\": \"x\", \"minutes\": 1, \"mixer\": \"m\", "
        "\"seed\": 0, \"recipe\": {\"vocabulary\": 0, \"layers\": 1, \"width\": 64, \"heads\": 1, \"ffn_width\": 8, "
        "\"length\": 0, \"batch_tokens\": 0, \"steps\": 1, \"val_every\": 1, \"lr\": 0.1, \"tokens_per_s\": 1}}"};
    assert_int_equal(mkdir("damaged", 0777), 0);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        support_write("damaged/recipe.json", recipes[i], strlen(recipes[i]));
        support_refused(1, "damaged/recipe.json: is not the recipe of a run", "train note.txt --out damaged");
    }
    char *large = calloc(1, (1 << 20) + 1);
    assert_non_null(large);
    support_write("damaged/recipe.json", large, (1 << 20) + 1);
    free(large);
    support_refused(1, "damaged/recipe.json: is too large", "train note.txt --out damaged");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_a_file_is_enough),
        cmocka_unit_test(test_many_texts), cmocka_unit_test(test_the_same_line_goes_on),
        cmocka_unit_test(test_names),      cmocka_unit_test(test_short_texts),
        cmocka_unit_test(test_odd_texts),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
