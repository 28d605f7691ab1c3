/* test_cli_state.c: reading once and going on many times: the verb read, --save-state and --load-state, inspect of a
 * state. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOK_BYTES = 30000 };

/* m: bytes; s: SentencePiece of ours; l: SentencePiece with a space before every text, as Llama's; a: self-attention.
 */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    char *prose = support_book(4, BOOK_BYTES);
    support_write("first.txt", prose, 12000);
    support_write("second.txt", prose + 12000, BOOK_BYTES - 12000);
    free(prose);
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer self_attention --tokenizer bytes --seed 3 --out a",
                      SUPPORT_COMMON));
    support_sentencepiece_model();
    support_llama_model();
    return 0;
}

/* The reading is paid once: what ten continuations evaluate is what they add. */
static void test_read_once_continue_ten_ways(void **state) {
    (void)state;
    json_t *read = support_json("read --model m --save-state book.ilstate book.txt");
    assert_true(support_number(read, "tokens") == BOOK_BYTES + 1); /* and BOS */
    assert_true(support_number(read, "position") == BOOK_BYTES + 1);
    assert_true(support_number(read, "bytes") == BOOK_BYTES);
    assert_string_equal(support_string(read, "out"), "book.ilstate");
    assert_true(support_number(read, "state_bytes") < 400000);
    json_decref(read);
    double evaluated = 0;
    json_t *ids[10];
    for (int i = 0; i < 10; i++) {
        json_t *way =
            support_json("generate --model m --load-state book.ilstate --prompt abc --max-tokens 20 --seed %d", i);
        evaluated += support_number(way, "evaluated");
        assert_true(support_number(way, "position") == BOOK_BYTES + 1 + support_number(way, "evaluated"));
        ids[i] = json_incref(json_object_get(way, "ids"));
        json_decref(way);
    }
    assert_true(evaluated <= 10 * (3 + 20));
    int differ = 0;
    for (int i = 1; i < 10; i++) differ += !json_equal(ids[0], ids[i]);
    assert_true(differ > 0);
    /* and each is what reading all of it again would have said */
    char *book = support_text_of("book.txt");
    FILE *file = fopen("prompt.txt", "wb");
    fprintf(file, "%sabc", book);
    fclose(file);
    free(book);
    for (int i = 0; i < 3; i++) {
        json_t *whole = support_json("generate --model m --prompt-file prompt.txt --max-tokens 20 --seed %d", i);
        assert_true(json_equal(json_object_get(whole, "ids"), ids[i]));
        json_decref(whole);
    }
    for (int i = 0; i < 10; i++) json_decref(ids[i]);
}

static void test_read_on(void **state) {
    (void)state;
    static const char *const models[] = {"m", "a"};
    for (int i = 0; i < 2; i++) {
        free(support_done("read --model %s --save-state one.ilstate book.txt", models[i]));
        free(support_done("read --model %s --save-state two.ilstate first.txt --threads 2", models[i]));
        free(support_done("read --model %s --load-state two.ilstate --save-state two.ilstate second.txt", models[i]));
        support_same_files("one.ilstate", "two.ilstate");
        char *line =
            support_done("read --model %s --load-state one.ilstate --save-state two.ilstate /dev/null", models[i]);
        assert_non_null(strstr(line, "two.ilstate: position 30001, "));
        support_same_files("one.ilstate", "two.ilstate"); /* nothing read, nothing changed */
        free(line);
    }
}

/* The same bytes through a pipe in pieces of that many, with pauses. */
static void read_through_pipe(const char *model, const char *from, const char *to, size_t piece) {
    size_t n, at = 0;
    char *text = support_read(from, &n), line[200];
    snprintf(line, sizeof line, "%s read --model %s --save-state %s - >out 2>err", INNERLOOP, model, to);
    FILE *pipe = popen(line, "w");
    assert_non_null(pipe);
    setvbuf(pipe, NULL, _IONBF, 0);
    for (int i = 0; at < n; i++) {
        size_t size = n - at < piece ? n - at : piece;
        assert_int_equal(fwrite(text + at, 1, size, pipe), size);
        at += size;
        if (i % 50 == 0) usleep(2000);
    }
    assert_int_equal(pclose(pipe), 0);
    free(text);
}

static void test_any_pipe(void **state) {
    (void)state;
    static const char *const models[] = {"m", "s", "l"};
    support_write("text", "the  the\n\nthe the\n  the\xE4\xF6 the\r\nthe", 34);
    enum { LONG = 150000 }; /* a line that counts as three, and ends in the middle of a character */
    char *text = malloc(LONG);
    for (int i = 0; i < LONG; i++) text[i] = "\xC3\xA4"[i % 2];
    support_write("long", text, LONG);
    free(text);
    static const size_t pieces[] = {1, 7, 4096, 70001};
    for (int i = 0; i < 3; i++) {
        free(support_done("read --model %s --save-state whole.ilstate text", models[i]));
        for (int p = 0; p < 4; p++) {
            read_through_pipe(models[i], "text", "piped.ilstate", pieces[p]);
            support_same_files("whole.ilstate", "piped.ilstate");
        }
    }
    free(support_done("read --model m --save-state whole.ilstate long"));
    for (int p = 2; p < 4; p++) {
        read_through_pipe("m", "long", "piped.ilstate", pieces[p]);
        support_same_files("whole.ilstate", "piped.ilstate");
    }
}

/* Lines read one after the other are the tokens that the tokenizer makes of the whole. */
static void test_lines_are_the_whole(void **state) {
    (void)state;
    static const char *const models[] = {"m", "s", "l"};
    for (int i = 0; i < 3; i++) {
        support_write("p.txt", "the end\n the book\nthe", 21);
        json_t *read = support_json("read --model %s --save-state p.ilstate p.txt", models[i]);
        json_t *whole = support_json("generate --model %s --prompt-file p.txt --max-tokens 0", models[i]);
        assert_true(support_number(read, "tokens") == support_number(whole, "prompt_tokens"));
        json_decref(read);
        json_decref(whole);
        whole = support_json("generate --model %s --prompt-file p.txt --max-tokens 30 --seed 5", models[i]);
        json_t *on = support_json("generate --model %s --load-state p.ilstate --max-tokens 30 --seed 5", models[i]);
        assert_true(json_equal(json_object_get(whole, "ids"), json_object_get(on, "ids")));
        assert_true(support_number(on, "prompt_tokens") == 0);
        json_decref(on);
        /* a prompt goes on in mid-text: no BOS, and no space before it */
        support_write("q.txt", "the end\n the", 12);
        free(support_done("read --model %s --save-state p.ilstate q.txt", models[i]));
        on = support_json("generate --model %s --load-state p.ilstate --prompt ' book\nthe' --max-tokens 30 --seed 5",
                          models[i]);
        assert_true(json_equal(json_object_get(whole, "ids"), json_object_get(on, "ids")));
        json_decref(on);
        json_decref(whole);
    }
}

static void test_generate_goes_on(void **state) {
    (void)state;
    json_t *whole = support_json("generate --model m --prompt 'The reader' --max-tokens 60 --seed 9");
    for (int first = 1; first < 60; first += 29) {
        json_t *a = support_json(
            "generate --model m --prompt 'The reader' --max-tokens %d --seed 9 --save-state g.ilstate", first);
        json_t *b = support_json("generate --model m --load-state g.ilstate --max-tokens %d --seed 9", 60 - first);
        const json_t *all = json_object_get(whole, "ids"), *head = json_object_get(a, "ids"),
                     *tail = json_object_get(b, "ids");
        size_t n = json_array_size(head);
        assert_true(support_number(a, "position") == 11 + (double)n);
        assert_int_equal(n + json_array_size(tail), json_array_size(all));
        for (size_t i = 0; i < json_array_size(all); i++)
            assert_int_equal(json_integer_value(json_array_get(all, i)),
                             json_integer_value(i < n ? json_array_get(head, i) : json_array_get(tail, i - n)));
        json_decref(a);
        json_decref(b);
    }
    json_decref(whole);
}

/* Where a printable character stands at place `at` of a text and the next two. */
static int is_plain(const char *text, size_t at) {
    for (size_t i = at; i < at + 3; i++)
        if (text[i] < '0' || text[i] > 'z' || text[i] == '\\') return 0;
    return 1;
}

/* A stop string of several tokens: some had been read when it was complete. The state is the one of a run that wrote
 * the same text and ended there by itself. */
static void test_stop_between_tokens(void **state) {
    (void)state;
    json_t *whole = support_json("generate --model m --prompt ab --max-tokens 400 --seed 2");
    const json_t *ids = json_object_get(whole, "ids");
    char text[401] = "";
    size_t at = 20;
    for (size_t i = 0; i < json_array_size(ids) && i < 400; i++) {
        json_int_t id = json_integer_value(json_array_get(ids, i));
        text[i] = id > 0 && id < 127 ? (char)id : 1;
    }
    for (;; at++) { /* the first place where they stand */
        char stop[4] = {text[at], text[at + 1], text[at + 2], 0};
        if (is_plain(text, at) && text[at - 1] >= ' ' && strstr(text, stop) == text + at) break;
    }
    json_decref(whole);
    json_t *stopped = support_json("generate --model m --prompt ab --max-tokens 400 --seed 2 --save-state s.ilstate "
                                   "--stop '%.3s'",
                                   text + at);
    assert_string_equal(support_string(stopped, "finish"), "stop");
    assert_true(support_number(stopped, "tokens") == (double)at + 3);
    assert_true(support_number(stopped, "position") == 3 + (double)at);
    free(support_done("generate --model m --prompt ab --max-tokens %zu --seed 2 --save-state t.ilstate", at));
    support_same_files("s.ilstate", "t.ilstate");
    /* and goes on with what stopped it */
    json_t *a = support_json("generate --model m --load-state s.ilstate --prompt '%.3s' --max-tokens 9 --seed 3",
                             text + at),
           *b = support_json("generate --model m --load-state t.ilstate --prompt '%.3s' --max-tokens 9 --seed 3",
                             text + at);
    assert_true(json_equal(json_object_get(a, "ids"), json_object_get(b, "ids")));
    json_decref(a);
    json_decref(b);
    json_decref(stopped);
}

/* The texts of the tokens that a run wrote, one behind the other; ends[i]: where that of token i ends. */
static char *texts_of(const il_tokenizer *tokenizer, const json_t *ids, size_t *ends) {
    il_decoder decoder = {.form = IL_DECODE_UTF8, .started = 1};
    il_error error;
    size_t n = json_array_size(ids), most = il_tokenizer_piece_bytes_max(tokenizer), bytes = 0, got;
    char *text = calloc(n + 1, most);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(ids, i));
        assert_ok(il_tokenizer_decode(tokenizer, &decoder, id, text + bytes, most, &got, &error), error);
        ends[i] = bytes += got;
    }
    return text;
}

/* A stop string that begins inside a token: what was printed of the token has been read, and nothing else. */
static void test_stop_inside_a_token(void **state) {
    (void)state;
    enum { TOKENS = 80 };
    size_t ends[TOKENS];
    il_error error;
    il_engine *engine;
    il_tokenizer *tokenizer;
    int found = 0;
    assert_ok(il_engine_open(NULL, &engine, &error), error);
    assert_ok(il_tokenizer_load(engine, "t.model", &tokenizer, &error), error);
    for (int seed = 1; seed < 50 && found < 3; seed++) {
        json_t *whole = support_json("generate --model s --prompt the --max-tokens %d --seed %d", TOKENS, seed);
        char *text = texts_of(tokenizer, json_object_get(whole, "ids"), ends);
        for (size_t i = 1; i < json_array_size(json_object_get(whole, "ids")); i++) {
            size_t from = ends[i - 1], end = ends[i];
            char stop[3] = {0};
            if (end - from < 3 || !is_plain(text, end - 3)) continue;
            memcpy(stop, text + end - 2, 2);
            if (strstr(text, stop) != text + end - 2) continue;
            json_t *stopped = support_json("generate --model s --prompt the --max-tokens %d --seed %d --stop %s "
                                           "--save-state s.ilstate",
                                           TOKENS, seed, stop);
            assert_string_equal(support_string(stopped, "finish"), "stop");
            assert_int_equal(strlen(support_string(stopped, "text")), end - 2);
            assert_memory_equal(support_string(stopped, "text"), text, end - 2);
            free(support_done("generate --model s --prompt the --max-tokens %zu --seed %d --save-state t.ilstate", i,
                              seed));
            free(support_done("generate --model s --load-state t.ilstate --prompt '%.*s' --max-tokens 0 --save-state "
                              "t.ilstate",
                              (int)(end - 2 - from), text + from));
            support_same_files("s.ilstate", "t.ilstate");
            json_decref(stopped);
            found++;
            break;
        }
        free(text);
        json_decref(whole);
    }
    assert_int_equal(found, 3);
    il_tokenizer_close(tokenizer);
    il_engine_close(engine);
}

/* The last line counts with its tokens, whether it has an end or not. */
static void test_progress_counts_the_last_line(void **state) {
    (void)state;
    static const char *const texts[][2] = {
        {"ab", "byte 2/2, 3 tokens, "}, {"ab\n", "byte 3/3, 4 tokens, "}, {"a\nbc", "byte 4/4, 5 tokens, "}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        support_write("short.txt", texts[i][0], strlen(texts[i][0]));
        support_run run = support_cli(NULL, "read --model m --save-state short.ilstate short.txt");
        assert_int_equal(run.code, 0);
        if (!strstr(run.err, texts[i][1])) fail_msg("\"%s\" lacks \"%s\"", run.err, texts[i][1]);
        support_run_free(&run);
    }
}

/* One of a thing is not several. */
static void test_one_token_is_no_plural(void **state) {
    (void)state;
    static const char *const lines[][2] = {
        {"read --model m --save-state one.ilstate one.txt", "read 2 tokens (1 byte of text)"},
        {"read --model m --load-state one.ilstate --save-state two.ilstate one.txt", "read 1 token (1 byte of text)"},
        {"generate --model m --load-state one.ilstate --prompt a --max-tokens 1", "1 prompt token in "},
        {"generate --model m --prompt a --max-tokens 1", ", 1 token in "},
        {"score --model m --by line --threshold 0 one.txt", "1 token, 1 byte, "},
        {"score --model m --by line --threshold 0 one.txt", "1 line above 0"},
        {"compress --model m one.txt one.ilc", "1 byte to "},
        {"train one.txt", "one.txt: 1 byte of text;"},
        {"eval --model m --data one.txt", "in 1 sequence of 1"}};
    support_write("one.txt", "a", 1);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        support_run run = support_cli(NULL, "%s", lines[i][0]);
        if (!strstr(run.err, lines[i][1]) && !strstr(run.out, lines[i][1]))
            fail_msg("%s: \"%s%s\" lacks \"%s\"", lines[i][0], run.out, run.err, lines[i][1]);
        support_run_free(&run);
    }
}

static void test_inspect_state(void **state) {
    (void)state;
    free(support_done("read --model m --save-state i.ilstate book.txt"));
    json_t *header = support_json("inspect i.ilstate");
    assert_string_equal(support_string(header, "kind"), "state");
    assert_string_equal(support_string(header, "metadata.position"), "30001");
    assert_null(json_object_get(header, "layers"));
    json_decref(header);
    json_t *full = support_json("inspect --model m i.ilstate");
    assert_true(support_number(full, "position") == 30001);
    assert_true(support_number(full, "bytes") > 10000);
    const json_t *layers = json_object_get(full, "layers");
    assert_int_equal(json_array_size(layers), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *layer = json_array_get(layers, i);
        assert_true(support_number(layer, "weight_norm") > 0);
        assert_true(support_number(layer, "change_norm") > 0);
        assert_true(support_number(layer, "loss_drop") ==
                    support_number(layer, "loss_before") - support_number(layer, "loss_after"));
    }
    json_decref(full);
    assert_int_equal(rename("i.ilstate", "i.other"), 0); /* whatever its name is */
    full = support_json("inspect --model m i.other");
    assert_string_equal(support_string(full, "kind"), "state");
    assert_true(support_number(full, "position") == 30001);
    json_decref(full);
    assert_int_equal(rename("i.other", "i.ilstate"), 0);
    char *text = support_done("inspect --model m i.ilstate");
    assert_non_null(strstr(text, "layer "));
    assert_non_null(strstr(text, "position                 30001\n"));
    free(text);
    free(support_done("read --model m --save-state i.ilstate /dev/null")); /* nothing learned yet */
    text = support_done("inspect --model m i.ilstate");
    assert_non_null(strstr(text, "              -"));
    free(text);
    free(support_done("read --model a --save-state i.ilstate first.txt"));
    full = support_json("inspect --model a i.ilstate");
    assert_null(json_object_get(full, "layers"));
    json_decref(full);
}

static void test_refusals(void **state) {
    (void)state;
    char *own = support_fingerprint("m"), *other = support_fingerprint("s");
    support_refused(2, "--save-state FILE is missing", "read --model m book.txt");
    support_refused(2, "missing", "read --model m --save-state x.ilstate");
    support_refused(2, "--prompt", "generate --model m --save-state x.ilstate");
    support_refused(1, "none.txt: No such file", "read --model m --save-state x.ilstate none.txt");
    support_refused(1, "x.ilstate: cannot open",
                    "read --model m --load-state x.ilstate --save-state y.ilstate book.txt");
    /* a place that cannot be written is told before the reading */
    support_refused(1, "no/", "read --model m --save-state no/x.ilstate book.txt");
    support_refused(1, "m: a folder, not a file", "read --model m --save-state m book.txt");
    support_refused(1, "no/", "generate --model m --prompt a --save-state no/x.ilstate");
    assert_false(support_exists("x.ilstate") || support_exists("y.ilstate"));
    free(support_done("read --model m --save-state r.ilstate first.txt"));
    support_refused(1, own, "generate --model s --load-state r.ilstate --prompt a");
    support_refused(1, other, "generate --model s --load-state r.ilstate --prompt a");
    support_refused(1, other, "inspect --model s r.ilstate");
    static const char *const others[][2] = {
        {"m/model.safetensors", "a file of other tensors, as a model's weights are"},
        {"book.txt", "text"},
        {"t.model", "a SentencePiece tokenizer"},
        {"m", "the folder of a model"},
        {".", "a folder"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char said[200];
        snprintf(said, sizeof said, "%s: is not a state file but %s", others[i][0], others[i][1]);
        support_refused(1, said, "generate --model m --load-state %s --prompt a", others[i][0]);
    }
    support_refused(1, "/dev/null: ", "generate --model m --load-state /dev/null --prompt a");
    size_t n;
    char *bytes = support_read("r.ilstate", &n);
    bytes[n - 7] ^= 4;
    support_write("damaged.ilstate", bytes, n);
    support_refused(1, "damaged.ilstate: the file is damaged",
                    "generate --model m --load-state damaged.ilstate --prompt a");
    /* the file that was there stays when the reading fails */
    support_refused(1, "none.txt", "read --model m --load-state r.ilstate --save-state r.ilstate none.txt");
    support_write("kept", bytes, n);
    bytes[n - 7] ^= 4;
    support_write("kept", bytes, n);
    support_same_files("kept", "r.ilstate");
    free(bytes);
    free(own);
    free(other);
}

/* Ctrl-C in the middle of a stream: what was read is kept, ending at a line, and reading goes on from there. */
static void test_interrupt(void **state) {
    (void)state;
    int fds[2];
    size_t n;
    char *book = support_read("book.txt", &n);
    assert_int_equal(pipe(fds), 0);
    unlink("stopped.ilstate");
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        close(fds[1]);
        int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666),
            err = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (dup2(fds[0], 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(125);
        execl(INNERLOOP, INNERLOOP, "read", "--model", "m", "--save-state", "stopped.ilstate", "--json", "-",
              (char *)NULL);
        _exit(126);
    }
    close(fds[0]);
    assert_int_equal(write(fds[1], book, 20000), 20000);
    int left = 1; /* until it has taken what is there: then it waits for more */
    for (int i = 0; i < 1000 && left; i++) {
        char stat[64], text[4096];
        usleep(20000);
        snprintf(stat, sizeof stat, "/proc/%d/stat", (int)child);
        FILE *file = fopen(stat, "r");
        assert_non_null(file);
        size_t got = fread(text, 1, sizeof text - 1, file);
        fclose(file);
        text[got] = 0;
        left = !strstr(text, ") S ") || i < 10;
    }
    kill(child, SIGINT);
    assert_int_equal(support_cli_wait(child), 130);
    close(fds[1]);
    char *out = support_text_of("out");
    json_t *object = json_loads(out, 0, NULL);
    assert_true(json_is_object(object) && json_is_true(json_object_get(object, "interrupted")));
    size_t taken = (size_t)support_number(object, "bytes");
    assert_true(taken <= 20000 && (!taken || book[taken - 1] == '\n'));
    support_write("rest.txt", book + taken, n - taken);
    free(support_done("read --model m --load-state stopped.ilstate --save-state stopped.ilstate rest.txt"));
    free(support_done("read --model m --save-state whole.ilstate book.txt"));
    support_same_files("whole.ilstate", "stopped.ilstate");
    json_decref(object);
    free(out);
    free(book);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_once_continue_ten_ways),
        cmocka_unit_test(test_read_on),
        cmocka_unit_test(test_any_pipe),
        cmocka_unit_test(test_lines_are_the_whole),
        cmocka_unit_test(test_generate_goes_on),
        cmocka_unit_test(test_stop_between_tokens),
        cmocka_unit_test(test_stop_inside_a_token),
        cmocka_unit_test(test_progress_counts_the_last_line),
        cmocka_unit_test(test_one_token_is_no_plural),
        cmocka_unit_test(test_inspect_state),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_interrupt),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
