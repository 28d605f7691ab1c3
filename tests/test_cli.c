/* test_cli.c: the command: usage, init, tokenizers, shards, inspect, and what every verb promises of its
 * output. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BOOK_BYTES = 3000 };

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(1, BOOK_BYTES));
    free(support_done("init --preset tiny %s --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("train-tokenizer --vocab 300 --out t.model book.txt"));
    return 0;
}

/* ---- usage ---- */

static void test_usage(void **state) {
    (void)state;
    static const char *const verbs[] = {"init", "train-tokenizer", "tokenize", "train",
                                        "eval", "generate",        "read",     "inspect"};
    char *help = support_done("--help");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (!strstr(help, verbs[i])) fail_msg("--help lacks %s", verbs[i]);
        char *text = support_done("%s --help", verbs[i]);
        assert_non_null(strstr(text, "example:\n  innerloop "));
        assert_non_null(strstr(text, "--json"));
        assert_non_null(strstr(text, "--threads N"));
        free(text);
        support_refused(2, "unknown option --nonsense", "%s --nonsense", verbs[i]);
        support_refused(2, "--threads: '0x2' is not an integer", "%s --threads 0x2", verbs[i]);
        support_refused(2, "--threads must be from 1 to 256, not 0", "%s --threads 0", verbs[i]);
        support_refused(2, "--json takes no value", "%s --json=1", verbs[i]);
        support_refused(2, "is missing", "%s", verbs[i]);
    }
    free(help);
    char *version = support_done("--version");
    assert_string_equal(version, "innerloop 0.1.0\n");
    free(version);
    support_run bare = support_cli(NULL, " ");
    assert_int_equal(bare.code, 2);
    assert_int_equal(bare.out_bytes, 0);
    support_run_free(&bare);
    support_refused(2, "unknown verb 'tran', did you mean train", "tran");
    support_refused(2, "unknown verb 'xyzzy'", "xyzzy");
    support_refused(2, "unknown option '--verson'", "--verson --help");
}

static void test_option_errors(void **state) {
    (void)state;
    support_refused(2, "--preset: 'huge' is not one of {tiny,", "init --preset huge --out x");
    support_refused(2, "--preset: 'tiny,small' is not one of", "init --preset tiny,small --out x");
    support_refused(2, "--preset: '' is not one of", "init --preset= --out x");
    support_refused(2, "--seed is given twice", "init --preset tiny --out x --seed 1 --seed=1");
    support_refused(2, "--out needs a value (DIR)", "init --preset tiny --out");
    support_refused(2, "--out needs a value (DIR)", "init --preset tiny --out --json");
    support_refused(2, "--out needs a value (DIR)", "init --out --seed=4 --preset tiny");
    support_refused(2, "--out DIR is missing", "init --preset tiny");
    support_refused(2, "unknown option --seeds, did you mean --seed", "init --preset tiny --out x --seeds 1");
    support_refused(2, "unknown option -o", "init --preset tiny -o x");
    support_refused(2, "unexpected operand 'x'", "init --preset tiny --out y x");
    support_refused(2, "unexpected operand '--seed'", "init --preset tiny --out y -- --seed");
    support_refused(2, "--seed: -1 is too small, it must be at least 0", "init --preset tiny --out x --seed -1");
    support_refused(2, "--seed: '1.5' is not an integer", "init --preset tiny --out x --seed 1.5");
    support_refused(2, "--seed: '' is not an integer", "init --preset tiny --out x --seed=");
    support_refused(2, "--seed: 18446744073709551616 is too large, it must be at most 18446744073709551615",
                    "init --preset tiny --out x --seed 18446744073709551616");
    support_refused(2, "--temperature: 'nan' is not a number", "generate --model m --prompt x --temperature nan");
    support_refused(2, "--temperature must be from 0 to 100, not 1e999",
                    "generate --model m --prompt x --temperature 1e999");
    support_refused(2, "--temperature: '1x' is not a number", "generate --model m --prompt x --temperature 1x");
    support_refused(2, "--temperature must be from 0 to 100, not -1", "generate --model m --prompt x --temperature -1");
    support_refused(2, "FILE is missing", "tokenize --tokenizer bytes --out d");
    support_refused(2, "unexpected operand 'b'", "inspect a b");
    assert_false(support_exists("x"));
    assert_false(support_exists("y"));
}

/* A message is one line whatever stands in the words it repeats. */
static void test_messages_are_one_line(void **state) {
    (void)state;
    support_refused(2, "unknown option --a\\x0Ab", "eval --a\nb");
    support_run run = support_cli(NULL, "inspect 'no\nfile'");
    assert_int_equal(run.code, 1);
    assert_ptr_equal(strchr(run.err, '\n'), run.err + run.err_bytes - 1);
    support_run_free(&run);
}

/* A full disk behind standard output: one complaint, and no writing on for ever. */
static void test_output_that_cannot_be_written(void **state) {
    (void)state;
    static const char *const lines[] = {"inspect m --json", "generate --model m --prompt a --max-tokens 100000000"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[600];
        snprintf(line, sizeof line, INNERLOOP " %s > /dev/full 2> err", lines[i]);
        assert_int_equal(WEXITSTATUS(system(line)), 1);
        char *text = support_text_of("err");
        assert_non_null(strstr(text, ": standard output: No space left on device\n"));
        assert_ptr_equal(strchr(text, '\n') + 1, text + strlen(text));
        free(text);
    }
}

/* ---- init ---- */

static void same_model(const char *a, const char *b) {
    char *left = support_fingerprint(a), *right = support_fingerprint(b);
    assert_string_equal(left, right);
    free(left);
    free(right);
}

static void test_init_shape(void **state) {
    (void)state;
    json_t *made = support_json("init --preset small --mixer ttt_mlp --backbone transformer --set num_hidden_layers=1 "
                                "--set bos_token_id=null --out shaped");
    json_t *object = support_json("inspect shaped");
    assert_string_equal(support_string(object, "kind"), "model");
    assert_string_equal(support_string(object, "config.mixer"), "ttt_mlp");
    assert_true(json_is_false(json_object_get(json_object_get(object, "config"), "share_qk")));
    assert_true(json_is_null(json_object_get(json_object_get(object, "config"), "bos_token_id")));
    assert_int_equal(support_number(object, "config.num_hidden_layers"), 1);
    assert_int_equal(support_number(object, "config.vocab_size"), 258);
    assert_int_equal(support_number(object, "config.eos_token_id"), 257);
    assert_true(support_number(object, "parameters") == support_number(made, "parameters"));
    assert_string_equal(support_string(object, "fingerprint"), support_string(made, "fingerprint"));
    json_t *tiny = support_json("init --preset tiny --mixer self_attention --out baseline");
    assert_true(support_number(tiny, "parameters") != support_number(made, "parameters"));
    json_decref(object);
    object = support_json("inspect baseline");
    assert_string_equal(support_string(object, "config.mixer"), "self_attention");
    json_decref(object);
    json_decref(made);
    json_decref(tiny);
}

static void test_init_defaults(void **state) {
    (void)state;
    free(support_done("init --preset tiny --out plain"));
    free(support_done("init --preset tiny --mixer ttt_linear_decay --set fast_head_size=32 --backbone mamba "
                      "--tokenizer bytes --seed 0 "
                      "--out spelled"));
    char *plain = support_fingerprint("plain"), *spelled = support_fingerprint("spelled");
    assert_string_equal(plain, spelled);
    free(plain);
    free(spelled);
    /* what others have published is made as they did */
    static const char *const published[] = {"--mixer ttt_linear", "--mixer ttt_mlp", "--mixer self_attention",
                                            "--layers 3*ttt_linear,self_attention", "--mixer gated_delta"};
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        free(support_done("init --preset tiny %s --force --out published", published[i]));
        char *config = support_text_of("published/config.json");
        assert_null(strstr(config, "fast_head"));
        free(config);
    }
    free(support_done("init --preset tiny --layers 3*ttt_linear_decay,self_attention --out hybrid"));
    json_t *hybrid = support_json("inspect hybrid");
    assert_int_equal(support_number(hybrid, "config.fast_head_size"), 32);
    json_decref(hybrid);
}

static void test_init_seed_and_force(void **state) {
    (void)state;
    char *first = support_fingerprint("m"), *again;
    support_refused(1, "m already holds a model; --force replaces it", "init --preset tiny %s --out m", SUPPORT_SHAPE);
    again = support_fingerprint("m");
    assert_string_equal(first, again);
    free(again);
    free(support_done("init --preset tiny %s --seed 3 --out same", SUPPORT_SHAPE));
    again = support_fingerprint("same");
    assert_string_equal(first, again);
    free(again);
    free(support_done("init --preset tiny %s --tokenizer t.model --out same --force", SUPPORT_SHAPE));
    assert_true(support_exists("same/tokenizer.model"));
    free(support_done("init --preset tiny %s --seed 4 --out same --force", SUPPORT_SHAPE));
    assert_false(support_exists("same/tokenizer.model")); /* the bytes tokenizer has no file */
    again = support_fingerprint("same");
    assert_string_not_equal(first, again);
    free(again);
    free(first);
}

static void test_init_layers(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --layers ttt_mlp,self_attention --out mixed", SUPPORT_SHAPE));
    json_t *object = support_json("inspect mixed");
    const json_t *layers = json_object_get(json_object_get(object, "config"), "layer_types");
    assert_int_equal(json_array_size(layers), 2);
    assert_string_equal(json_string_value(json_array_get(layers, 0)), "ttt_mlp");
    assert_string_equal(json_string_value(json_array_get(layers, 1)), "self_attention");
    assert_string_equal(support_string(object, "config.mixer"), "ttt_mlp");
    assert_true(support_number(object, "config.ttt_base_lr") == 0.1); /* the preset's of ttt_mlp */
    json_decref(object);

    /* repeated over as many layers as --set asks for; all alike is what --mixer makes */
    object = support_json(
        "init --preset tiny %s --set num_hidden_layers=8 --layers 3*ttt_linear,full_attention --out x8", SUPPORT_SHAPE);
    json_decref(object);
    object = support_json("inspect x8");
    assert_int_equal(json_array_size(json_object_get(json_object_get(object, "config"), "layer_types")), 8);
    json_decref(object);
    free(support_done("init --preset tiny %s --layers ttt_mlp --out alike", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer ttt_mlp --out by-mixer", SUPPORT_SHAPE));
    same_model("alike", "by-mixer");
    free(support_done("init --preset tiny %s --layers full_attention --out alike-a", SUPPORT_COMMON));
    free(support_done("init --preset tiny %s --mixer self_attention --out by-mixer-a", SUPPORT_COMMON));
    same_model("alike-a", "by-mixer-a");
    /* the preset's of the gated delta rule, where no layer is TTT */
    free(support_done("init --preset tiny %s --layers full_attention,linear_attention --set "
                      "linear_value_head_dim=24 --out delta",
                      SUPPORT_COMMON));
    object = support_json("inspect delta");
    assert_string_equal(support_string(object, "config.mixer"), "gated_delta");
    assert_int_equal(support_number(object, "config.linear_num_key_heads"), 4);
    assert_int_equal(support_number(object, "config.linear_value_head_dim"), 24);
    assert_int_equal(support_number(object, "config.mini_batch_size"), 16);
    assert_null(json_object_get(json_object_get(object, "config"), "ttt_base_lr"));
    json_decref(object);
    support_refused(2, "--mixer and --layers", "init --preset tiny --mixer ttt_mlp --layers ttt_mlp --out x");
    support_refused(2, "layer_types has 3 entries", "init --preset tiny --layers 3*ttt_mlp --out x");
    support_refused(2, "\"rnn\" is not supported (full_attention, linear_attention, sliding_attention, ttt_linear",
                    "init --preset tiny --layers rnn --out x");
    support_refused(2, "\"ttt_rnn\" is unknown (", "init --preset tiny --layers ttt_rnn --out x");
}

static void test_init_refusals(void **state) {
    (void)state;
    support_refused(2, "self_attention", "init --preset tiny --mixer self_attention --backbone mamba --out x");
    support_refused(2, "use_gate", "init --preset tiny --mixer self_attention --set use_gate=true --out x");
    support_refused(2, "--set: 'layers' is not key=value", "init --preset tiny --set layers --out x");
    support_refused(2, "--set: '=3' is not key=value", "init --preset tiny --set =3 --out x");
    support_refused(2, "nonsense", "init --preset tiny --set nonsense=3 --out x");
    support_refused(2, "--set: sliding_window: no layer of this model is sliding_attention",
                    "init --preset tiny --mixer self_attention --set sliding_window=64 --out x");
    support_refused(2, "--set: num_key_value_heads: says nothing of a model with these layers",
                    "init --preset tiny --mixer ttt_mlp --set num_key_value_heads=1 --out x");
    support_refused(2, "hidden_size", "init --preset tiny --set hidden_size=-5 --out x");
    support_refused(2, "num_attention_heads", "init --preset tiny --set num_attention_heads=7 --out x");
    support_refused(2, "vocab_size 20 is smaller than the tokenizer's 258",
                    "init --preset tiny --set vocab_size=20 --set bos_token_id=1 --set eos_token_id=2 --out x");
    support_refused(1, "no-such.model", "init --preset tiny --tokenizer no-such.model --out x");
    support_refused(1, "book.txt", "init --preset tiny --tokenizer book.txt --out x");
    support_refused(1, "book.txt", "init --preset tiny --out book.txt/x");
    assert_false(support_exists("x"));
}

/* ---- tokenizers and shards ---- */

static void test_tokenizer(void **state) {
    (void)state;
    json_t *object = support_json("inspect t.model");
    assert_string_equal(support_string(object, "kind"), "tokenizer");
    assert_int_equal(support_number(object, "tokenizer.vocab_size"), 300);
    json_decref(object);
    object = support_json("train-tokenizer --vocab 310 --out u.model book.txt");
    assert_int_equal(support_number(object, "vocab_size"), 310);
    json_decref(object);
    assert_true(support_exists("u.model"));
}

static void test_tokenize(void **state) {
    (void)state;
    json_t *bytes = support_json("tokenize --tokenizer bytes --out shards book.txt");
    assert_int_equal(support_number(bytes, "tokens"), BOOK_BYTES + 1); /* BOS before the document */
    json_t *pieces = support_json("tokenize --tokenizer t.model --out pieces book.txt");
    assert_true(support_number(pieces, "tokens") < BOOK_BYTES);
    json_t *shard = support_json("inspect shards/book.bin --tokenizer bytes");
    assert_string_equal(support_string(shard, "kind"), "tokens");
    assert_int_equal(support_number(shard, "tokens"), BOOK_BYTES + 1);
    assert_int_equal(support_number(shard, "largest"), 256);
    char *book = support_text_of("book.txt");
    assert_memory_equal(support_string(shard, "text"), book, 15);
    assert_int_equal(strlen(support_string(shard, "text")), 15);
    free(book);
    json_decref(bytes);
    json_decref(pieces);
    json_decref(shard);
    support_run run = support_cli("twelve bytes", "tokenize --tokenizer bytes --out shards - --json");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    shard = support_json("inspect shards/stdin.bin");
    assert_int_equal(support_number(shard, "tokens"), 13);
    assert_null(json_object_get(shard, "text"));
    json_decref(shard);
    support_refused(1, "no-such.txt", "tokenize --tokenizer bytes --out shards no-such.txt");
    support_refused(1, "only once", "tokenize --tokenizer bytes --out shards - -");
    support_refused(1, "but bytes has only 258", "inspect pieces/book.bin --tokenizer bytes");
}

static void prints(const char *input, const char *options, const char *ids) {
    support_run run = support_cli(input, "tokenize --ids - %s", options);
    assert_int_equal(run.code, 0);
    assert_string_equal(run.out, ids);
    support_run_free(&run);
}

static void test_ids(void **state) {
    static const char json[] = FIXTURES "/tokenizers/llama3.json", two[] = "[\"ab\", \"<|eot_id|>\"]";
    char options[500];
    json_t *file = json_load_file(json, 0, NULL), *added = json_object_get(file, "added_tokens");
    int bos = (int)json_integer_value(json_object_get(json_array_get(added, 0), "id"));
    int eot = (int)json_integer_value(json_object_get(json_array_get(added, 1), "id"));
    char expected[64];
    (void)state;
    json_decref(file);
    prints("ab", "--tokenizer bytes", "[97,98]\n");
    prints("ab", "--tokenizer bytes --special", "[256,97,98]\n");
    prints("[\"a\", \"\", \"bc\"]", "--tokenizer bytes --json", "[97]\n[]\n[98,99]\n");
    snprintf(options, sizeof options, "--special --tokenizer %s", json);
    support_run plain = support_cli(two, "tokenize --ids --tokenizer %s -", json);
    support_run special = support_cli(two, "tokenize --ids - %s", options);
    assert_int_equal(plain.code | special.code, 0);
    snprintf(expected, sizeof expected, "\n[%d,%d]\n", bos, eot);
    if (!strstr(special.out, expected) || strstr(plain.out, expected)) fail_msg("%s%s", plain.out, special.out);
    support_run_free(&plain);
    support_run_free(&special);
    json_t *object = support_json("inspect %s", json);
    assert_string_equal(support_string(object, "tokenizer.kind"), "bpe");
    assert_int_equal(support_number(object, "tokenizer.bos"), bos);
    json_decref(object);
    free(support_done("init --preset tiny %s --tokenizer %s --out j", SUPPORT_SHAPE, json)); /* lies with the model */
    support_same_files("j/tokenizer.json", json);
    free(support_done("generate --model j --prompt ab --max-tokens 5"));
    support_refused(2, "either --out or --ids", "tokenize --tokenizer bytes book.txt");
    support_refused(2, "--out and --ids exclude each other", "tokenize --tokenizer bytes --out d --ids book.txt");
    support_refused(2, "--special goes with --ids", "tokenize --tokenizer bytes --out d --special book.txt");
    support_refused(1, "no-such.txt", "tokenize --tokenizer bytes --ids no-such.txt");
    support_write("broken.json", "{}", 2);
    support_refused(1, "broken.json: model: it is missing", "tokenize --tokenizer broken.json --ids book.txt");
}

static void test_train_tokenizer(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    support_run run = support_cli(book, "train-tokenizer --vocab 290 --out stdin.model -");
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    free(book);
    json_t *object = support_json("inspect stdin.model");
    assert_int_equal(support_number(object, "tokenizer.vocab_size"), 290);
    json_decref(object);
    run = support_cli(NULL, "train-tokenizer --vocab 100000 --out most.model book.txt --json");
    assert_int_equal(run.code, 0);
    json_t *most = json_loads(run.out, 0, NULL);
    int size = (int)support_number(most, "vocab_size");
    assert_true(size > 300 && size < 3000);
    char said[100];
    snprintf(said, sizeof said, "the text gives no more than %d pieces: that is the vocabulary, not 100000", size);
    assert_non_null(strstr(run.err, said));
    json_decref(most);
    support_run_free(&run);
    support_refused(1, "no-such.txt", "train-tokenizer --vocab 300 --out x.model no-such.txt");
    support_refused(2, "--vocab must be from 2 to 16777216, not 1", "train-tokenizer --vocab 1 --out x.model book.txt");
    support_refused(2, "FILE is missing", "train-tokenizer --vocab 300 --out x.model");
    assert_false(support_exists("x.model"));
}

/* ---- inspect ---- */

static void test_inspect_model(void **state) {
    (void)state;
    json_t *object = support_json("inspect m");
    json_t *tensors = json_object_get(object, "tensors"), *tensor;
    size_t i;
    double sum = 0;
    json_array_foreach(tensors, i, tensor) {
        double count = 1;
        json_t *size;
        size_t k;
        json_array_foreach(json_object_get(tensor, "shape"), k, size) count *= json_number_value(size);
        sum += count;
    }
    assert_true(sum == support_number(object, "parameters"));
    json_t *file = support_json("inspect m/model.safetensors");
    size_t bytes;
    char *weights = support_read("m/model.safetensors", &bytes);
    support_write("weights", weights, bytes); /* whatever its name is */
    free(weights);
    json_t *named = support_json("inspect weights");
    assert_true(json_equal(json_object_get(file, "tensors"), json_object_get(named, "tensors")));
    json_decref(named);
    assert_string_equal(support_string(file, "kind"), "safetensors");
    assert_int_equal(json_array_size(json_object_get(file, "tensors")), json_array_size(tensors));
    char *text = support_done("inspect m");
    assert_non_null(strstr(text, support_string(object, "fingerprint")));
    assert_non_null(strstr(text, "model.embed_tokens.weight"));
    free(text);
    json_decref(file);
    json_decref(object);
}

static void test_inspect_refusals(void **state) {
    (void)state;
    static const unsigned char long_header[] = "\xff\xff\xff\xff\xff\xff\xff\x7f{}";
    static const unsigned char bad_entry[] = "\x11\0\0\0\0\0\0\0{\"a\":{\"dtype\":1}}";
    support_write("long.safetensors", long_header, sizeof long_header - 1);
    support_write("short.safetensors", "abc", 3);
    support_write("entry.safetensors", bad_entry, sizeof bad_entry - 1);
    support_write("bad.bin", "abc", 3);
    support_write("bad.npy", "abc", 3);
    support_write("bad.model", "abc", 3);
    mkdir("empty", 0777);
    support_refused(1, "long.safetensors: not a safetensors file", "inspect long.safetensors");
    support_refused(1, "short.safetensors: not a safetensors file", "inspect short.safetensors");
    support_refused(1, "entry.safetensors: tensor a: dtype is missing", "inspect entry.safetensors");
    /* all that loading refuses, in its words */
    static const char *const names[] = {"overlap", "gap", "trailing", "offsets-past", "shape-overflow", "twice"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char file[64];
        size_t bytes;
        char path[4096], *data;
        snprintf(path, sizeof path, CORPUS "/safetensors/bad-%s", names[i]);
        snprintf(file, sizeof file, "%s.safetensors", names[i]);
        data = support_read(path, &bytes);
        support_write(file, data, bytes);
        free(data);
        support_refused(1, file, "inspect %s", file);
    }
    support_refused(1, "overlap tensor", "inspect overlap.safetensors");
    free(support_done("init --preset tiny %s --out checkpoint", SUPPORT_SHAPE));
    assert_int_equal(mkfifo("checkpoint/trainer.json", 0600), 0); /* nobody writes: it must not wait */
    support_refused(1, "trainer.json: not a file", "inspect checkpoint");
    assert_int_equal(unlink("checkpoint/trainer.json"), 0);
    char *large = calloc((1 << 20) + 1, 1);
    assert_non_null(large);
    support_write("checkpoint/trainer.json", large, (1 << 20) + 1);
    free(large);
    support_refused(1, "more than 1024 KiB are not read", "inspect checkpoint");
    static const char *const pipes[] = {"pipe", "pipe.bin", "pipe.model", "pipe.safetensors", "pipe.ilstate"};
    for (size_t i = 0; i < sizeof pipes / sizeof *pipes; i++) {
        assert_int_equal(mkfifo(pipes[i], 0600), 0); /* nobody writes */
        support_refused(1, "not a file", "inspect %s", pipes[i]);
    }
    support_refused(1, "bad.bin", "inspect bad.bin");
    support_refused(1, "bad.npy", "inspect bad.npy");
    support_refused(1, "bad.model", "inspect bad.model");
    support_refused(1, "empty holds neither a model", "inspect empty");
    support_refused(1, "missing: no such file", "inspect missing");
    support_refused(1, "book.txt: neither a directory nor a file", "inspect book.txt");
}

/* ---- progress ---- */

/* What the command writes to a terminal of so many columns; stdout goes to the file out. */
static void on_terminal(int columns, const char *const *argv, char *text, size_t capacity) {
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    int master, slave;
    size_t n = 0;
    assert_int_equal(openpty(&master, &slave, NULL, NULL, columns ? &size : NULL), 0);
    pid_t child = fork();
    if (!child) {
        setenv("TERM", "xterm", 1);
        int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666);
        if (dup2(out, STDOUT_FILENO) < 0 || dup2(slave, STDERR_FILENO) < 0) _exit(125);
        execv(argv[0], (char **)(uintptr_t)argv);
        _exit(126);
    }
    close(slave);
    for (ssize_t got; n < capacity - 1 && (got = read(master, text + n, capacity - 1 - n)) > 0;) n += (size_t)got;
    text[n] = 0;
    close(master);
    assert_int_equal(support_cli_wait(child), 0);
}

/* Epoch, best validation and the time left are seen on 60 columns; on more there is a bar too. */
static void test_progress_of_training(void **state) {
    (void)state;
    char text[1 << 16];
    static const struct {
        int columns;
        const char *out, *bar;
    } terminals[] = {{60, "narrow", "\r\033[Kstep 12/12, epoch "},
                     {100, "wide", "[########################] step 12/12, "}};
    for (size_t i = 0; i < 2; i++) {
        const char *const argv[] = {INNERLOOP, "train",    "--model",        "m",  "--out",     terminals[i].out,
                                    "--steps", "12",       "--batch-tokens", "64", "--seq-len", "16",
                                    "--val",   "book.txt", "--val-every",    "1",  "--json",    "book.txt",
                                    NULL};
        on_terminal(terminals[i].columns, argv, text, sizeof text);
        const char *last = strstr(text, "step 12/12, epoch 0.3, loss ");
        assert_non_null(last);
        assert_non_null(strstr(text, terminals[i].bar));
        assert_non_null(strstr(last, ", best "));
        assert_non_null(strstr(last, " in all"));
        for (const char *at = text, *end; (at = strstr(at, "\r\033[K")); at = end) {
            at += 4;
            end = at + strcspn(at, "\r\n");
            if (end - at >= terminals[i].columns)
                fail_msg("%d columns: \"%.*s\"", terminals[i].columns, (int)(end - at), at);
        }
    }
}

/* With a terminal for stderr there is a bar that is redrawn; elsewhere plain lines. */
static void test_progress(void **state) {
    (void)state;
    support_run run = support_cli(NULL, "eval --model m --data book.txt --seq-len 100");
    assert_int_equal(run.code, 0);
    assert_null(strchr(run.err, '\r'));
    assert_non_null(strstr(run.err, "innerloop eval: token 3000/3000, loss "));
    support_run_free(&run);
    char text[1 << 16];
    static const char *const eval[] = {INNERLOOP, "eval", "--model", "m", "--data", "book.txt", "--json", NULL};
    on_terminal(0, eval, text, sizeof text); /* its size is not known: 80 columns */
    assert_non_null(strstr(text, "#] token 3000/3000, loss "));
    char *out = support_text_of("out");
    json_t *object = json_loads(out, 0, NULL);
    assert_true(json_is_object(object));
    json_decref(object);
    free(out);
    /* a row of a table takes the bar's place */
    static const char *const bench[] = {INNERLOOP, "bench",     "--preset", "tiny",     "--work", "prefill", "--mixer",
                                        "ttt_mlp", "--context", "5",        "--repeat", "1",      NULL};
    on_terminal(100, bench, text, sizeof text);
    const char *end = strstr(text, "#] repetition 1/1, prefill ttt_mlp, ");
    assert_non_null(end);
    assert_string_equal(strchr(end, '\r'), "\r\033[K");
}

/* With a full disk nothing is made, and no folder for it stays; what was there does. */
static void test_nothing_half_made(void **state) {
    (void)state;
    static const char limit[] = "trap '' XFSZ; ulimit -f 1; exec " INNERLOOP;
    static const char to_err[] = ">out 2>err";
    char line[1000], *before = support_fingerprint("m"), *text;
    snprintf(line, sizeof line, "%s init --preset tiny %s --out full/a/b %s", limit, SUPPORT_SHAPE, to_err);
    assert_int_not_equal(system(line), 0);
    text = support_text_of("err");
    assert_non_null(strstr(text, "File too large"));
    free(text);
    assert_false(support_exists("full"));
    snprintf(line, sizeof line, "%s convert --model m --dtype bf16 --out full/a/b %s", limit, to_err);
    assert_int_not_equal(system(line), 0);
    assert_false(support_exists("full"));
    snprintf(line, sizeof line, "%s init --preset tiny %s --force --out m %s", limit, SUPPORT_SHAPE, to_err);
    assert_int_not_equal(system(line), 0);
    char *after = support_fingerprint("m");
    assert_string_equal(before, after);
    free(after);
    free(before);
    support_refused(1, "no-such.txt", "tokenize --tokenizer bytes --out full/a no-such.txt");
    assert_false(support_exists("full"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_option_errors),
        cmocka_unit_test(test_messages_are_one_line),
        cmocka_unit_test(test_output_that_cannot_be_written),
        cmocka_unit_test(test_init_shape),
        cmocka_unit_test(test_init_layers),
        cmocka_unit_test(test_init_defaults),
        cmocka_unit_test(test_init_seed_and_force),
        cmocka_unit_test(test_init_refusals),
        cmocka_unit_test(test_tokenizer),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_train_tokenizer),
        cmocka_unit_test(test_inspect_model),
        cmocka_unit_test(test_inspect_refusals),
        cmocka_unit_test(test_nothing_half_made),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_progress_of_training),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
