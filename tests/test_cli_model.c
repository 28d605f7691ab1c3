/* test_cli_model.c: the verbs that run a model: eval and generate. Each option has a check that fails when
 * the option is ignored. */
#include "support_test.h"

#include "base/memory.h"
#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"
#include "support_lively.h"
#include "support_text.h"
#include "tensor/safetensors.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BOOK_BYTES = 2000, VOCABULARY = 258, BOS = 256 };

/* m: bytes, a little trained, so that it has something to say; s: SentencePiece, untrained. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(2, BOOK_BYTES));
    support_bytes_model();
    support_sentencepiece_model();
    return 0;
}

/* The elements of an fp32 .npy file of the given shape text, "(2, 3)"; released by free. */
static float *read_npy(const char *path, const char *shape, size_t count) {
    size_t bytes;
    char *data = support_read(path, &bytes), expected[128];
    assert_true(bytes > 10);
    assert_memory_equal(data, "\x93NUMPY\x01\x00", 8);
    size_t header = 10 + (unsigned char)data[8] + 256 * (size_t)(unsigned char)data[9];
    assert_int_equal(header % 64, 0);
    snprintf(expected, sizeof expected, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", shape);
    assert_memory_equal(data + 10, expected, strlen(expected));
    assert_int_equal(data[header - 1], '\n');
    assert_int_equal(bytes, header + 4 * count);
    float *values = malloc(4 * count);
    assert_non_null(values);
    memcpy(values, data + header, 4 * count);
    free(data);
    return values;
}

/* ---- eval ---- */

static void test_eval_counts(void **state) {
    (void)state;
    struct {
        const char *options;
        int tokens, sequences, length;
    } cases[] = {{"", BOOK_BYTES, 1, BOOK_BYTES},
                 {"--seq-len 64", 64 * (BOOK_BYTES / 64), BOOK_BYTES / 64, 64},
                 {"--seq-len 1", BOOK_BYTES, BOOK_BYTES, 1},
                 {"--seq-len 99999", BOOK_BYTES, 1, BOOK_BYTES},
                 {"--max-tokens 100", 100, 1, 100},
                 {"--max-tokens 99999", BOOK_BYTES, 1, BOOK_BYTES},
                 {"--seq-len 64 --max-tokens 200", 192, 3, 64},
                 {"--seq-len 64 --max-tokens 63", 63, 1, 63}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *object = support_json("eval --model m --data book.txt %s", cases[i].options);
        assert_int_equal(support_number(object, "tokens"), cases[i].tokens);
        assert_int_equal(support_number(object, "sequences"), cases[i].sequences);
        assert_int_equal(support_number(object, "seq_len"), cases[i].length);
        assert_int_equal(support_number(object, "bytes"), cases[i].tokens); /* a byte a token */
        double nll = support_number(object, "nll");
        assert_true(fabs(support_number(object, "ppl") / exp(nll) - 1) < 1e-12);
        assert_true(fabs(support_number(object, "bits_per_byte") * log(2) / nll - 1) < 1e-12);
        assert_int_equal(json_array_size(json_object_get(object, "positions")), 0);
        json_decref(object);
    }
}

/* A trained model reads its text better than a fresh one, and better than chance. */
static void test_eval_model_and_data(void **state) {
    (void)state;
    support_write("noise.txt", "qzxj KVWQ 0918 ~~ {}[] ZZQX 7755 |\\ qqzz", 39);
    json_t *trained = support_json("eval --model m --data book.txt"),
           *fresh = support_json("eval --model fresh --data book.txt");
    json_t *noise = support_json("eval --model m --data noise.txt");
    assert_true(support_number(trained, "nll") < 4);
    assert_true(support_number(fresh, "nll") > 5);
    assert_true(support_number(noise, "nll") > support_number(trained, "nll") + 1);
    json_decref(trained);
    json_decref(fresh);
    json_decref(noise);
}

static void test_eval_stdin_and_shards(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    support_run run = support_cli(book, "eval --model m --data - --json");
    assert_int_equal(run.code, 0);
    json_t *from_stdin = json_loads(run.out, 0, NULL), *from_file = support_json("eval --model m --data book.txt");
    free(support_done("tokenize --tokenizer bytes --out shards book.txt"));
    json_t *from_shard = support_json("eval --model m --data shards/book.bin");
    assert_true(support_number(from_stdin, "nll") == support_number(from_file, "nll"));
    assert_true(support_number(from_shard, "nll") == support_number(from_file, "nll"));
    assert_int_equal(support_number(from_shard, "bytes"), BOOK_BYTES);
    json_decref(from_stdin);
    json_decref(from_file);
    json_decref(from_shard);
    support_run_free(&run);
    free(book);
}

/* Tokens need no tokenizer, whatever the vocabulary; text is never read as bytes that the model does not know. */
static void test_no_tokenizer(void **state) {
    (void)state;
    unsigned char shard[1024 + 2 * 40] = {0x88, 0xD8, 0x34, 0x01, 1, 0, 0, 0, 40}; /* 20240520, version 1 */
    for (size_t i = 0; i < 40; i++) shard[1024 + 2 * i] = (unsigned char)(i + 4);
    support_write("small.bin", shard, sizeof shard);
    json_t *object = support_json("eval --model " FIXTURES "/linear_mamba_d16 --data small.bin");
    assert_int_equal(support_number(object, "tokens"), 39);
    json_decref(object);
    support_refused(1, "no tokenizer is there", "eval --model " FIXTURES "/linear_mamba_d16 --data book.txt");
    support_refused(1, "no tokenizer is there", "generate --model " FIXTURES "/linear_mamba_d16 --prompt a");
    free(support_done("train --model " FIXTURES "/linear_mamba_d16 --data small.bin --out small --steps 1 "
                      "--batch-tokens 16 --seq-len 16"));
    free(support_done("convert --model " FIXTURES "/linear_mamba_d16 --dtype bf16 --out narrow"));
    object = support_json("inspect narrow");
    assert_true(json_is_null(json_object_get(object, "tokenizer")));
    json_decref(object);
    char *config = support_text_of("fresh/config.json");
    assert_non_null(strstr(config, "\"tokenizer\": \"bytes\""));
    free(config);
}

/* Bytes are those of the text behind the scored targets, with any tokenizer and any cut. */
static void test_eval_bytes(void **state) {
    (void)state;
    static const char two[] = "{\"text\": \"caf\xC3\xA9 and more\"}\n{\"text\": \"twenty bytes of text\"}\n";
    support_write("two.jsonl", two, sizeof two - 1);
    json_t *all = support_json("eval --model s --data book.txt");
    assert_int_equal(support_number(all, "bytes"), BOOK_BYTES);
    assert_true(support_number(all, "tokens") < BOOK_BYTES);
    double bits = support_number(all, "nll") * support_number(all, "tokens") / log(2) / BOOK_BYTES;
    assert_true(fabs(support_number(all, "bits_per_byte") / bits - 1) < 1e-12);
    json_decref(all);
    all = support_json("eval --model s --data two.jsonl");
    assert_int_equal(support_number(all, "bytes"), 14 + 20);
    json_decref(all);
    all = support_json("eval --model m --data two.jsonl --seq-len 4"); /* cuts the two bytes of é apart */
    assert_int_equal(support_number(all, "tokens"), 31);               /* 8 × 4 targets, one of them BOS */
    assert_int_equal(support_number(all, "bytes"), 31);
    json_decref(all);
}

/* Targets equal to BOS are left out of the mean and are NaN in --per-token. */
static void test_eval_leaves_bos_out(void **state) {
    (void)state;
    static const char docs[] = "{\"text\": \"abc\"}\n{\"text\": \"defgh\"}\n";
    support_write("docs.jsonl", docs, sizeof docs - 1);
    json_t *object = support_json("eval --model m --data docs.jsonl --per-token bos.npy");
    float *nll = read_npy("bos.npy", "(1, 9)", 9); /* abc BOS defgh */
    double sum = 0;
    for (int i = 0; i < 9; i++) {
        if (i == 3)
            assert_true(isnan(nll[i]));
        else
            sum += nll[i];
    }
    assert_int_equal(support_number(object, "tokens"), 8);
    assert_int_equal(support_number(object, "bytes"), 8);
    assert_true(fabs(support_number(object, "nll") - sum / 8) < 1e-12);
    free(nll);
    json_decref(object);
}

static void test_eval_feed_and_threads_keep_the_bits(void **state) {
    (void)state;
    static const char *const how[] = {"--feed 1", "--feed 7", "--feed 16", "--feed 1000", "--threads 1", "--threads 3"};
    free(support_done("eval --model m --data book.txt --seq-len 300 --per-token base.npy --logits base_logits.npy"));
    json_t *base = support_json("eval --model m --data book.txt --seq-len 300");
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        json_t *other = support_json("eval --model m --data book.txt --seq-len 300 --per-token other.npy --logits "
                                     "other_logits.npy %s",
                                     how[i]);
        assert_true(support_number(other, "nll") == support_number(base, "nll"));
        support_same_files("base.npy", "other.npy");
        support_same_files("base_logits.npy", "other_logits.npy");
        json_decref(other);
    }
    json_decref(base);
    support_refused(2, "--feed: 0 is too small, it must be at least 1", "eval --model m --data book.txt --feed 0");
    support_refused(2, "--feed: 2000000000000000 is too large, it must be at most 1e+15",
                    "eval --model m --data book.txt --feed 2000000000000000");
}

static void test_eval_per_token_and_logits(void **state) {
    (void)state;
    enum { L = 20, N = BOOK_BYTES / L };
    json_t *object =
        support_json("eval --model m --data book.txt --seq-len 20 --per-token nll.npy --logits logits.npy");
    float *nll = read_npy("nll.npy", "(100, 20)", N * L);
    float *logits = read_npy("logits.npy", "(100, 20, 258)", (size_t)N * L * VOCABULARY);
    char *book = support_text_of("book.txt");
    double sum = 0;
    for (size_t i = 0; i < N * L; i++) { /* target i is byte i: BOS stands before the text */
        const float *row = logits + i * VOCABULARY;
        double total = 0, target = (double)row[(unsigned char)book[i]];
        for (int k = 0; k < VOCABULARY; k++) total += exp((double)row[k]);
        assert_true(fabs(log(total) - target - (double)nll[i]) < 1e-4);
        sum += (double)nll[i];
    }
    assert_true(fabs(sum / (N * L) - support_number(object, "nll")) < 1e-9);
    free(book);
    free(nll);
    free(logits);
    json_decref(object);
}

static void test_eval_by_position(void **state) {
    (void)state;
    json_t *object = support_json("eval --model m --data book.txt --seq-len 20 --by-position --per-token nll.npy");
    float *nll = read_npy("nll.npy", "(100, 20)", 2000);
    static const int edges[] = {0, 1, 2, 4, 8, 16, 20};
    json_t *positions = json_object_get(object, "positions"), *bucket;
    size_t k;
    assert_int_equal(json_array_size(positions), 6);
    json_array_foreach(positions, k, bucket) {
        double sum = 0;
        int from = edges[k], to = edges[k + 1];
        assert_int_equal(support_number(bucket, "from"), from);
        assert_int_equal(support_number(bucket, "to"), to);
        assert_int_equal(support_number(bucket, "tokens"), 100 * (to - from));
        for (int i = 0; i < 100; i++)
            for (int j = from; j < to; j++) sum += (double)nll[20 * i + j];
        assert_true(fabs(sum / (100 * (to - from)) - support_number(bucket, "nll")) < 1e-9);
    }
    free(nll);
    json_decref(object);
    char *text = support_done("eval --model m --data book.txt --seq-len 20 --by-position");
    assert_non_null(strstr(text, "from"));
    free(text);
}

/* Frozen: the first mini-batch is the same, what follows is not. */
static void test_eval_frozen(void **state) {
    (void)state;
    json_t *object = support_json("eval --model m --data book.txt --seq-len 20 --frozen --per-token frozen.npy");
    assert_true(json_is_true(json_object_get(object, "frozen")));
    free(support_done("eval --model m --data book.txt --seq-len 20 --per-token living.npy"));
    float *frozen = read_npy("frozen.npy", "(100, 20)", 2000), *living = read_npy("living.npy", "(100, 20)", 2000);
    for (int i = 0; i < 2000; i++) {
        if (i % 20 < 4) assert_true(frozen[i] == living[i]);
    }
    assert_true(memcmp(frozen, living, 2000 * sizeof *frozen) != 0);
    free(frozen);
    free(living);
    json_decref(object);
    support_refused(2, "--grads and --frozen exclude each other",
                    "eval --model m --data book.txt --frozen --grads g.safetensors");
}

/* A name that waits for the temporary file, a link even, is nothing to write to. */
static void test_temporaries_are_new(void **state) {
    (void)state;
    support_write("victim", "mine", 4);
    assert_int_equal(system("ln -s victim f.npy.tmp-$$-0; ln -s victim f.npy.$$.tmp; exec " INNERLOOP
                            " eval --model m --data book.txt --seq-len 20 --per-token f.npy >out 2>err"),
                     0);
    char *text = support_text_of("victim");
    assert_string_equal(text, "mine");
    free(text);
    assert_true(support_exists("f.npy"));
    assert_int_equal(system("rm f.npy.*"), 0); /* the links */
}

static void test_eval_gradient(void **state) {
    (void)state;
    enum { L = 12, N = 3 };
    il_engine *engine;
    il_model *model;
    il_error error;
    il_st st;
    const il_allocator memory = il_allocator_default();
    int32_t tokens[N][L + 1];
    double loss;
    json_t *object = support_json("eval --model m --data book.txt --seq-len 12 --max-tokens 36 --grads g.safetensors");
    char *book = support_text_of("book.txt");
    for (int i = 0; i < N; i++)
        for (int j = 0; j <= L; j++) tokens[i][j] = i + j ? (unsigned char)book[L * i + j - 1] : BOS;
    free(book);
    engine = lively_engine(1, NULL);
    assert_ok(il_model_load(engine, "m", &model, &error), error);
    float *gradient = calloc((size_t)il_model_parameters(model), sizeof *gradient);
    assert_non_null(gradient);
    assert_ok(il_model_gradient(model, &tokens[0][0], N, L, &loss, gradient, &error), error);
    assert_true(loss == support_number(object, "loss"));
    assert_true(fabs(loss - support_number(object, "nll")) < 1e-4); /* equal sequences: the means agree */
    assert_ok(il_st_open(&memory, "g.safetensors", &st, &error), error);
    assert_int_equal(st.n, il_model_tensor_count(model));
    size_t at = 0;
    for (size_t i = 0; i < il_model_tensor_count(model); i++) {
        il_tensor tensor;
        assert_ok(il_model_tensor_at(model, i, &tensor, &error), error);
        const il_st_tensor *found = il_st_find(&st, tensor.name);
        assert_non_null(found);
        assert_int_equal(found->rank, tensor.rank);
        for (int k = 0; k < tensor.rank; k++) assert_int_equal(found->shape[k], tensor.shape[k]);
        assert_memory_equal(found->data, gradient + at, 4 * tensor.count);
        at += tensor.count;
    }
    il_st_close(&st);
    free(gradient);
    il_model_unref(model);
    il_engine_close(engine);
    json_decref(object);
}

static void test_eval_refusals(void **state) {
    (void)state;
    support_write("empty.txt", "", 0);
    support_write("bad.bin", "abc", 3);
    support_refused(1, "empty.txt", "eval --model m --data empty.txt --per-token none.npy");
    support_refused(1, "bad.bin", "eval --model m --data bad.bin");
    support_refused(1, "no-such.txt", "eval --model m --data no-such.txt");
    support_refused(1, "no-such", "eval --model no-such --data book.txt");
    support_refused(1, "no/such/x.npy: there is no folder no/such",
                    "eval --model m --data book.txt --per-token no/such/x.npy");
    support_refused(1, "no/such/y.npy: there is no folder no/such",
                    "eval --model m --data book.txt --per-token none.npy --logits no/such/y.npy");
    support_refused(1, "no/such/z.st: there is no folder no/such",
                    "eval --model m --data book.txt --max-tokens 9 --grads no/such/z.st");
    assert_false(support_exists("none.npy")); /* a failed eval leaves nothing behind */
    support_refused(2, "same file", "eval --model m --data book.txt --per-token none.npy --grads none.npy");
    support_write("one.txt", "a", 1);
    json_t *object = support_json("eval --model m --data one.txt --seq-len 64");
    assert_int_equal(support_number(object, "tokens"), 1);
    json_decref(object);
}

/* ---- generate ---- */

/* What generate wrote, without the line end after it; released by free. */
static char *written(const char *line) {
    char *text = support_done("%s", line);
    size_t n = strlen(text);
    assert_true(n > 0 && text[n - 1] == '\n');
    text[n - 1] = 0;
    return text;
}

#define GREEDY "generate --model m --prompt 'the ' --max-tokens 40 --temperature 0"
#define LOOSE "generate --model m --prompt 'the ' --max-tokens 40 --temperature 3 --top-k 0 --top-p 1 --min-p 0"

static void test_generate_is_repeatable(void **state) {
    (void)state;
    char *first = support_done(GREEDY), *again = support_done(GREEDY " --seed 9 --threads 3");
    assert_string_equal(first, again);
    free(again);
    char *loose = support_done(LOOSE), *same = support_done(LOOSE " --seed 0"),
         *other = support_done(LOOSE " --seed 1");
    assert_string_equal(loose, same);
    assert_string_not_equal(loose, other);
    assert_string_not_equal(loose, first);
    free(loose);
    free(same);
    free(other);
    free(first);
}

/* Each of these narrows the choice to the likeliest token alone. */
static void test_generate_narrowing(void **state) {
    (void)state;
    static const char *const narrow[] = {"--temperature 3 --top-k 1 --top-p 1 --min-p 0",
                                         "--temperature 3 --top-k 0 --top-p 0.0001 --min-p 0",
                                         "--temperature 3 --top-k 0 --top-p 1 --min-p 1"};
    char *greedy = support_done(GREEDY);
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) {
        char *text = support_done("generate --model m --prompt 'the ' --max-tokens 40 %s", narrow[i]);
        assert_string_equal(text, greedy);
        free(text);
    }
    free(greedy);
}

static void test_generate_defaults_are_those_of_the_help(void **state) {
    (void)state;
    char *plain = support_done("generate --model m --prompt 'the '");
    char *spelled =
        support_done("generate --model m --prompt 'the ' --max-tokens 256 --temperature 0.8 --top-k 40 --top-p "
                     "0.95 --min-p 0.05 --repeat-penalty 1 --seed 0");
    assert_string_equal(plain, spelled);
    free(plain);
    free(spelled);
}

static int repeats(const char *options) {
    json_t *object = support_json(GREEDY " %s", options), *id;
    int seen[VOCABULARY] = {0}, n = 0;
    size_t i;
    json_array_foreach(json_object_get(object, "ids"), i, id) n += seen[json_integer_value(id)]++ != 0;
    json_decref(object);
    return n;
}

static void test_generate_repeat_penalty(void **state) {
    (void)state;
    assert_true(repeats("--repeat-penalty 1000") < repeats("--repeat-penalty 1"));
    support_refused(2, "--repeat-penalty must be from 0.001 to 1000, not 0", GREEDY " --repeat-penalty 0");
    support_refused(2, "--top-p must be from 1e-06 to 1, not 0", GREEDY " --top-p 0");
}

static void test_generate_json(void **state) {
    (void)state;
    json_t *object = support_json(GREEDY);
    char *text = written(GREEDY);
    assert_string_equal(support_string(object, "text"), text);
    assert_int_equal(support_number(object, "tokens"), 40);
    assert_int_equal(json_array_size(json_object_get(object, "ids")), 40);
    assert_int_equal(support_number(object, "prompt_tokens"), 5); /* BOS first */
    assert_string_equal(support_string(object, "finish"), "length");
    assert_true(support_number(object, "seconds") > 0);
    free(text);
    json_decref(object);
    object = support_json("generate --model m --prompt 'the ' --max-tokens 0");
    assert_int_equal(support_number(object, "tokens"), 0);
    assert_string_equal(support_string(object, "text"), "");
    json_decref(object);
}

static void test_generate_prompt(void **state) {
    (void)state;
    char *text = support_done(GREEDY);
    support_write("prompt.txt", "the ", 4);
    char *from_file = support_done("generate --model m --prompt-file prompt.txt --max-tokens 40 --temperature 0");
    assert_string_equal(from_file, text);
    support_run run = support_cli("the ", "generate --model m --prompt-file - --max-tokens 40 --temperature 0");
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, text);
    support_run_free(&run);
    char *other = support_done("generate --model m --prompt 'Q{' --max-tokens 40 --temperature 0");
    assert_string_not_equal(other, text);
    char *dashed = support_done("generate --model m --prompt=--json --max-tokens 4 --temperature 0");
    free(dashed);
    free(other);
    free(from_file);
    json_t *empty = support_json("generate --model m --prompt= --max-tokens 4");
    assert_int_equal(support_number(empty, "prompt_tokens"), 1);
    json_decref(empty);
    free(text);
    support_refused(2, "--prompt TEXT or --prompt-file FILE is missing", "generate --model m");
    support_refused(2, "exclude each other", "generate --model m --prompt a --prompt-file b");
    support_refused(1, "no-such.txt", "generate --model m --prompt-file no-such.txt");
    support_refused(1, "no-such", "generate --model no-such --prompt a");
}

/* A stop string may span tokens; it ends the text and is not printed; what only looks like its beginning is. */
static void test_generate_stop(void **state) {
    (void)state;
    char *whole = written(GREEDY), stop[4] = "", late[4] = "";
    size_t n = strlen(whole), at = n;
    for (size_t i = 3; i + 6 < n && at == n; i++) { /* three plain characters somewhere inside */
        int plain = 1;
        for (size_t k = 0; k < 3; k++) plain &= whole[i + k] >= 'a' && whole[i + k] <= 'z';
        if (plain) at = i;
    }
    assert_true(at < n);
    memcpy(stop, whole + at, 3);
    memcpy(late, whole + at + 1, 3);
    at = (size_t)(strstr(whole, stop) - whole);
    json_t *object = support_json(GREEDY " --stop '%s'", stop);
    assert_string_equal(support_string(object, "finish"), "stop");
    assert_int_equal(strlen(support_string(object, "text")), at);
    assert_memory_equal(support_string(object, "text"), whole, at);
    assert_true(support_number(object, "tokens") < 40);
    json_decref(object);
    char *text = support_done(GREEDY " --stop '%s' --stop '%s'", late, stop);
    assert_int_equal(strlen(text), at + 1); /* and a line end */
    assert_memory_equal(text, whole, at);
    free(text);
    text = support_done(GREEDY " --stop '%.2s#'", whole + n - 2);
    assert_memory_equal(text, whole, n);
    assert_string_equal(text + n, "\n");
    free(text);
    free(whole);
    support_refused(2, "--stop: an empty string stops nothing", GREEDY " --stop=");
}

static void test_generate_ends_at_eos(void **state) {
    (void)state;
    json_t *object = support_json("generate --model fresh --prompt 'the ' --max-tokens 20 --temperature 0");
    json_t *ids = json_object_get(object, "ids");
    int eos = (int)json_integer_value(json_array_get(ids, 5));
    size_t first = 0;
    while (json_integer_value(json_array_get(ids, first)) != eos) first++;
    free(support_done("init --preset tiny %s --mixer ttt_linear --seed 3 --set eos_token_id=%d --out ends",
                      SUPPORT_SHAPE, eos));
    json_t *ended = support_json("generate --model ends --prompt 'the ' --max-tokens 20 --temperature 0");
    assert_string_equal(support_string(ended, "finish"), "eos");
    assert_int_equal(support_number(ended, "tokens"), first);
    json_decref(ended);
    json_decref(object);
}

/* ---- interrupts ---- */

static void test_eval_interrupted(void **state) {
    (void)state;
    support_seed(4);
    char *prose = support_prose(1 << 20);
    support_write("long.txt", prose, 1 << 20);
    free(prose);
    unlink("err"); /* an earlier run's */
    pid_t child =
        support_cli_start("eval --model m --data long.txt --feed 8 --per-token cut.npy --logits cut2.npy --json");
    support_wait_for("err", "innerloop eval: token ");
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *out = support_text_of("out");
    assert_string_equal(out, "");
    free(out);
    assert_false(support_exists("cut.npy"));
    assert_int_equal(system("ls *.tmp* > /dev/null 2>&1") != 0, 1); /* no half-written file stays */
}

/* What was written before the interrupt stays. */
static void test_generate_interrupted(void **state) {
    (void)state;
    char *greedy = written(GREEDY);
    unlink("out");
    pid_t child = support_cli_start("generate --model m --prompt 'the ' --max-tokens 100000000 --temperature 0");
    support_wait_for("out", greedy);
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *out = support_text_of("out"), *err = support_text_of("err");
    assert_memory_equal(out, greedy, strlen(greedy));
    assert_non_null(strstr(err, "finish: interrupted"));
    free(out);
    free(err);
    free(greedy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_counts),
        cmocka_unit_test(test_eval_model_and_data),
        cmocka_unit_test(test_eval_stdin_and_shards),
        cmocka_unit_test(test_no_tokenizer),
        cmocka_unit_test(test_eval_bytes),
        cmocka_unit_test(test_eval_leaves_bos_out),
        cmocka_unit_test(test_eval_feed_and_threads_keep_the_bits),
        cmocka_unit_test(test_eval_per_token_and_logits),
        cmocka_unit_test(test_eval_by_position),
        cmocka_unit_test(test_eval_frozen),
        cmocka_unit_test(test_temporaries_are_new),
        cmocka_unit_test(test_eval_gradient),
        cmocka_unit_test(test_eval_refusals),
        cmocka_unit_test(test_generate_is_repeatable),
        cmocka_unit_test(test_generate_narrowing),
        cmocka_unit_test(test_generate_defaults_are_those_of_the_help),
        cmocka_unit_test(test_generate_repeat_penalty),
        cmocka_unit_test(test_generate_json),
        cmocka_unit_test(test_generate_prompt),
        cmocka_unit_test(test_generate_stop),
        cmocka_unit_test(test_generate_ends_at_eos),
        cmocka_unit_test(test_eval_interrupted),
        cmocka_unit_test(test_generate_interrupted),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
