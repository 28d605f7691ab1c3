/* test_cli_train.c: `innerloop train`: that no option is ignored, that nothing is lost, that a run can be
 * repeated. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE "--batch-tokens 64 --seq-len 16"
#define SHORT "--steps 4 --warmup 2 " SIZE
enum { BOOK_BYTES = 4000 };

static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    char *prose = support_book(3, BOOK_BYTES);
    for (char *c = prose; *c; c++)
        if (*c < ' ' || *c == '"') *c = ' '; /* for JSON */
    /* documents of different length, for --stateful */
    FILE *file = fopen("docs.jsonl", "w");
    if (!file) return 1;
    for (int i = 0; i < 24; i++) fprintf(file, "{\"text\": \"%.*s\"}\n", 20 + 7 * i, prose + 100 * i);
    fclose(file);
    support_write("val.txt", prose + 1000, 500);
    support_write("heart.txt", prose, 400);
    free(prose);
    free(support_done("init --preset tiny %s --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer ttt_mlp --out mlp", SUPPORT_SHAPE));
    return 0;
}

/* Trains m on the documents with these options in a new place; returns the fingerprint of what came out. */
static char *trained(const char *options) {
    static int runs;
    free(support_done("train --model m --data docs.jsonl --out run%d %s", ++runs, options));
    char *latest = malloc(64);
    assert_non_null(latest);
    snprintf(latest, 64, "run%d/latest", runs);
    char *fingerprint = support_fingerprint(latest);
    free(latest);
    return fingerprint;
}

/* The log's objects in order, an array the caller releases. */
static json_t *read_log(const char *path) {
    json_t *lines = json_array();
    char *text = support_text_of(path);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(object)) fail_msg("%s: %s", path, line);
        json_array_append_new(lines, object);
    }
    free(text);
    return lines;
}

/* Step by step the same, but for the speed. */
static void assert_same_log(const char *a, const char *b) {
    json_t *x = read_log(a), *y = read_log(b), *line;
    size_t i;
    json_array_foreach(x, i, line) json_object_del(line, "tokens_per_s");
    json_array_foreach(y, i, line) json_object_del(line, "tokens_per_s");
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
}

/* ---- options ---- */

static void test_same_options_same_weights(void **state) {
    (void)state;
    char *first = trained(SHORT), *again = trained(SHORT " --threads 3 --save-every 1"), *spelled;
    spelled = trained(SHORT " --shuffle blocks --lr 3e-3 --end-lr 1e-5 --beta1 0.9 --beta2 0.95 --eps 1e-8 "
                            "--weight-decay 0.1 --clip 1 --inner-lr-start 1 --inner-lr-warmup 2 --seed 0 --dtype f32");
    assert_string_equal(first, again);
    assert_string_equal(first, spelled);
    free(spelled);
    spelled = trained("--steps 20 " SIZE);
    char *tenth = trained("--steps 20 --warmup 2 " SIZE);
    assert_string_equal(spelled, tenth);
    free(tenth);
    free(spelled);
    free(again);
    free(first);
}

static void test_no_option_is_ignored(void **state) {
    (void)state;
    static const char *const changes[] = {
        SHORT " --lr 1e-2",
        SHORT " --end-lr 1e-3",
        SHORT " --beta1 0.5",
        SHORT " --beta2 0.5",
        SHORT " --eps 1e-2",
        SHORT " --weight-decay 0",
        SHORT " --clip 0.01",
        SHORT " --inner-lr-start 0.3",
        SHORT " --seed 5",
        SHORT " --shuffle none",
        SHORT " --fresh",
        SHORT " --fresh --shuffle none",
        SHORT " --fresh --shuffle computed",
        "--steps 4 --warmup 3 " SIZE,
        "--steps 5 --warmup 2 " SIZE,
        "--steps 4 --warmup 2 --batch-tokens 128 --seq-len 16",
        "--steps 4 --warmup 2 --batch-tokens 64 --seq-len 32",
        SHORT " --inner-lr-start 0.3 --inner-lr-warmup 4",
    };
    enum { N = sizeof changes / sizeof *changes };
    char *prints[N + 1];
    prints[N] = trained(SHORT);
    for (size_t i = 0; i < N; i++) {
        prints[i] = trained(changes[i]);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(prints[i], prints[k])) fail_msg("%s: the same as %s", changes[i], changes[k]);
        if (!strcmp(prints[i], prints[N])) fail_msg("%s: changes nothing", changes[i]);
    }
    for (size_t i = 0; i <= N; i++) free(prints[i]);
}

static char *trained_on(const char *data) {
    static int runs;
    char latest[64];
    free(support_done("train --model m --out on%d --fresh %s %s", ++runs, SHORT, data));
    snprintf(latest, sizeof latest, "on%d/latest", runs);
    return support_fingerprint(latest);
}

static void test_sources(void **state) {
    (void)state;
    char *prose = support_text_of("book.txt");
    assert_int_equal(mkdir("parts", 0777), 0);
    support_write("parts/1.txt", prose, 1000);
    support_write("parts/2.txt", prose + 1000, 500);
    support_write("=0.5", prose, 1000); /* a name like any other */
    free(prose);
    static const char *const ways[] = {"--data docs.jsonl=0.7 parts/1.txt=0.3", "--data docs.jsonl=0.3 parts/1.txt=0.7",
                                       "--data docs.jsonl parts/1.txt", "--data docs.jsonl=0.7 parts=0.3",
                                       "--data docs.jsonl parts"};
    char *prints[5];
    for (int i = 0; i < 5; i++) {
        prints[i] = trained_on(ways[i]);
        for (int k = 0; k < i; k++) assert_string_not_equal(prints[i], prints[k]);
    }
    static const struct {
        const char *way;
        int same;
    } again[] = {{"docs.jsonl=70 parts/1.txt=30", 0},
                 {"--data docs.jsonl=0.7 --data parts/1.txt=0.3 --shuffle computed --data-memory 0", 0},
                 {"--data docs.jsonl parts/1.txt parts/2.txt --data-memory 0", 4},
                 {"--data docs.jsonl=0.7 parts/=0.3 --threads 3", 3}};
    for (int i = 0; i < 4; i++) {
        char *print = trained_on(again[i].way);
        assert_string_equal(print, prints[again[i].same]);
        free(print);
    }
    char *one = trained_on("--data =0.5"), *other = trained_on("--data parts/1.txt");
    assert_string_equal(one, other);
    free(other);
    free(one);
    for (int i = 0; i < 5; i++) free(prints[i]);
    /* a run of sources goes on, on disk or not, and with the same shares only */
    free(support_done("train --model m --out mix --fresh %s --save-every 1 docs.jsonl=2 parts=1", SHORT));
    support_run run =
        support_cli(NULL, "train --resume --out mix --fresh %s docs.jsonl=2 parts=1 --data-memory 0", SHORT);
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "tokens stay on disk, 0 are in memory"));
    support_run_free(&run);
    run = support_cli(NULL, "train --resume --out mix --fresh %s docs.jsonl=2 parts=1", SHORT);
    assert_int_equal(run.code, 0);
    assert_null(strstr(run.err, "on disk"));
    support_run_free(&run);
    support_refused(1, "data mixture was 6667 3333, is 7500 2500",
                    "train --resume --out mix --fresh %s docs.jsonl=3 parts=1", SHORT);
    support_refused(2, "docs.jsonl has no weight", "train --model m --out x %s docs.jsonl parts=1", SHORT);
    support_refused(2, "a weight must be above 0", "train --model m --out x %s docs.jsonl=0", SHORT);
    support_refused(1, "docs.jsonl=a", "train --model m --out x %s docs.jsonl=a", SHORT);
    support_refused(1, "each begin afresh", "train --model m --out x %s docs.jsonl=1", SHORT);
    support_refused(1, "each begin afresh", "train --model m --out x %s docs.jsonl --shuffle computed", SHORT);
}

static void test_bad_lines(void **state) {
    (void)state;
    char *docs = support_text_of("docs.jsonl"), *bad = malloc(strlen(docs) + 4000);
    char *at = bad + sprintf(bad, "%s", docs);
    for (int i = 0; i < 101; i++) {
        at += sprintf(at, "{\"text\": %d}\n", i);
        if (i == 99) support_write("bad100.jsonl", bad, strlen(bad));
    }
    support_write("bad101.jsonl", bad, strlen(bad));
    char *good = trained_on("docs.jsonl"), *skipped = trained_on("bad100.jsonl");
    assert_string_equal(good, skipped);
    static const char *const refused[] = {"bad101.jsonl", "bad100.jsonl --max-bad 99", "bad100.jsonl --bad-lines stop"};
    for (int i = 0; i < 3; i++)
        support_refused(1, i < 2 ? "lines are bad, the first is line 25" : "line 25",
                        "train --model m --out x --fresh %s %s", SHORT, refused[i]);
    free(trained_on("bad101.jsonl --max-bad 101"));
    free(trained_on("bad101.jsonl --bad-lines skip"));
    /* what the cache has says it again, and is not taken where fewer may be bad */
    free(support_done("train --model m --out cached --fresh %s bad100.jsonl", SHORT));
    support_run run = support_cli(NULL, "train --resume --out cached --fresh %s bad100.jsonl", SHORT);
    assert_int_equal(run.code, 0);
    assert_non_null(strstr(run.err, "100 bad lines were skipped when it was tokenized, the first is line 25"));
    support_run_free(&run);
    support_refused(1, "the first is line 25", "train --resume --out cached --fresh %s bad100.jsonl --max-bad 5",
                    SHORT);
    free(skipped);
    free(good);
    free(bad);
    free(docs);
}

static void test_carry_is_another_name_of_stateful(void **state) {
    (void)state;
    char *stateful = trained(SHORT " --stateful"), *carry = trained(SHORT " --carry"),
         *plain = trained(SHORT " --fresh");
    assert_string_equal(stateful, carry);
    assert_string_not_equal(stateful, plain);
    free(plain);
    free(carry);
    free(stateful);
    char *help = support_done("train --help");
    assert_non_null(strstr(help, "\n  --stateful "));
    assert_non_null(strstr(help, " (alias --carry)\n"));
    free(help);
    support_refused(2, "--stateful is given twice", "train --model m --data book.txt --out x %s --stateful --carry",
                    SHORT);
    support_refused(2, "--stateful takes no value", "train --model m --data book.txt --out x %s --carry=1", SHORT);
}

/* The inner learning rate of TTT-MLP warms up by itself. */
static void test_mlp_default(void **state) {
    (void)state;
    free(support_done("train --model mlp --data docs.jsonl --out mlp1 %s", SHORT));
    free(support_done("train --model mlp --data docs.jsonl --out mlp2 %s --inner-lr-start 0.1", SHORT));
    free(support_done("train --model mlp --data docs.jsonl --out mlp3 %s --inner-lr-start 1", SHORT));
    support_same_files("mlp1/latest/model.safetensors", "mlp2/latest/model.safetensors");
    char *plain = support_fingerprint("mlp1/latest"), *full = support_fingerprint("mlp3/latest");
    assert_string_not_equal(plain, full);
    free(plain);
    free(full);
}

static void test_log_and_checkpoints(void **state) {
    (void)state;
    json_t *result =
        support_json("train --model m --data book.txt docs.jsonl --out logged --steps 6 --warmup 2 %s --log "
                     "log.jsonl --val val.txt --val-every 4 --save-every 5",
                     SIZE);
    json_t *lines = read_log("log.jsonl"), *line;
    static const double rates[] = {0, 1.5e-3, 3e-3};
    size_t i;
    assert_int_equal(json_array_size(lines), 6);
    json_array_foreach(lines, i, line) {
        assert_int_equal(support_number(line, "step"), i + 1);
        assert_true(support_number(line, "loss") > 4 && support_number(line, "loss") < 7);
        assert_true(support_number(line, "grad_norm") > 0);
        assert_true(support_number(line, "tokens_per_s") > 0);
        if (i < 3) assert_true(support_number(line, "lr") == rates[i]);
        assert_true((json_object_get(line, "val_loss") != NULL) == (i == 3 || i == 5));
    }
    json_t *last = json_array_get(lines, 5);
    assert_true(support_number(result, "loss") == support_number(last, "loss"));
    assert_true(support_number(result, "val_loss") == support_number(last, "val_loss"));
    assert_int_equal(support_number(result, "steps"), 6);
    assert_int_equal(support_number(result, "tokens"), 6 * 64);
    assert_true(json_is_false(json_object_get(result, "interrupted")));
    assert_true(support_exists("logged/step-5") && support_exists("logged/step-6") && !support_exists("logged/step-4"));
    assert_true(support_exists("logged.cache")); /* the tokenized text, beside --out */
    assert_false(support_exists("logged/cache"));
    json_t *run = support_json("inspect logged");
    assert_string_equal(support_string(run, "kind"), "checkpoint");
    assert_int_equal(support_number(run, "trainer.step"), 6);
    json_decref(run);
    json_decref(lines);
    json_decref(result);
}

/* The state is carried on in training unless a layer is of a published rule. */
static void test_state_by_mixer(void **state) {
    (void)state;
    char *plain = trained(SHORT), *stateful = trained(SHORT " --stateful");
    assert_string_equal(plain, stateful);
    free(stateful);
    free(plain);
    free(support_done("train --model mlp --data docs.jsonl --out by-mixer %s", SHORT));
    free(support_done("train --model mlp --data docs.jsonl --out by-word %s --fresh", SHORT));
    free(support_done("train --model mlp --data docs.jsonl --out carried %s --stateful", SHORT));
    support_same_files("by-mixer/latest/model.safetensors", "by-word/latest/model.safetensors");
    char *fresh = support_fingerprint("by-mixer/latest"), *carried = support_fingerprint("carried/latest");
    assert_string_not_equal(fresh, carried);
    free(carried);
    free(fresh);
    /* what only carrying the state on asks for is said */
    support_refused(1, "--fresh begins every window",
                    "train --model m --data book.txt --out x --steps 1 "
                    "--batch-tokens 30 --seq-len 15");
    free(support_done("train --model m --data book.txt --out x15 --steps 1 --batch-tokens 30 --seq-len 15 --fresh"));
}

/* Validation is what eval says: of the whole text with all that learns, and in windows where training is. */
static void test_validation_is_eval(void **state) {
    (void)state;
    json_t *result = support_json("train --model m --data book.txt --out validated %s --val val.txt", SHORT);
    json_t *eval = support_json("eval --model validated/latest --data val.txt");
    assert_true(support_number(result, "val_loss") == support_number(eval, "nll"));
    double bits = support_number(eval, "bits_per_byte") / support_number(eval, "nll");
    assert_true(fabs(support_number(result, "best_bits_per_byte") / support_number(result, "best_loss") / bits - 1) <
                1e-12);
    json_decref(eval);
    json_decref(result);
    result = support_json("train --model m --data book.txt --out windows %s --fresh --val val.txt", SHORT);
    eval = support_json("eval --model windows/latest --data val.txt --seq-len 16");
    assert_true(json_is_null(json_object_get(result, "best_bits_per_byte")));
    /* training knows nothing of the fast head */
    free(support_done("convert --model windows/latest --set fast_head_size=0 --out slow"));
    json_t *slow = support_json("eval --model slow --data val.txt --seq-len 16");
    assert_true(fabs(support_number(result, "val_loss") - support_number(slow, "nll")) < 1e-4);
    json_decref(slow);
    json_decref(eval);
    json_decref(result);
    static const char *const says[][2] = {{"", "val.txt, read whole, as it will be in use; best is in bits per byte"},
                                          {"--fresh", "val.txt, in windows of 16 tokens;"}};
    for (int i = 0; i < 2; i++) {
        support_run run =
            support_cli(NULL, "train --model m --data book.txt --out says%d %s %s --val val.txt", i, SHORT, says[i][0]);
        assert_int_equal(run.code, 0);
        if (!strstr(run.err, says[i][1])) fail_msg("\"%s\" lacks \"%s\"", run.err, says[i][1]);
        support_run_free(&run);
    }
}

/* A text learned by heart: validation gets worse, the run stops, and what it was at its best is kept. */
#define OVERFIT "--steps 300 --batch-tokens 128 --seq-len 64 --lr 3e-2 --val val.txt --val-every 5 --save-every 300"
static void test_patience(void **state) {
    (void)state;
    support_run run = support_cli(NULL,
                                  "train --model m --data heart.txt --out patient %s --patience 3 --log p.jsonl "
                                  "--json",
                                  OVERFIT);
    assert_int_equal(run.code, 0);
    json_t *result = json_loads(run.out, 0, NULL), *lines = read_log("p.jsonl"), *line;
    double best = INFINITY;
    int worse = 0, best_step = 0;
    size_t i;
    json_array_foreach(lines, i, line) {
        if (!json_object_get(line, "val_loss")) continue;
        assert_true(worse < 3); /* it stops at once */
        if (support_number(line, "val_loss") < best) {
            best = support_number(line, "val_loss");
            best_step = (int)i + 1;
            worse = 0;
        } else {
            worse++;
        }
    }
    assert_int_equal(worse, 3);
    assert_true(json_array_size(lines) < 300);
    assert_true(json_is_true(json_object_get(result, "stopped")));
    assert_int_equal(support_number(result, "best_step"), best_step);
    assert_true(support_number(result, "best_loss") == best);
    char said[100], step[40];
    snprintf(said, sizeof said, "validation has risen 3 times since step %d, stopping", best_step);
    assert_non_null(strstr(run.err, said));
    support_run_free(&run);
    json_t *eval = support_json("eval --model patient/best --data val.txt");
    assert_true(support_number(eval, "nll") == best);
    /* the best, the last and their links; none of those that were the best before */
    snprintf(step, sizeof step, "patient/step-%d", best_step);
    assert_true(support_exists(step));
    snprintf(step, sizeof step, "patient/step-%d", (int)json_array_size(lines));
    assert_true(support_exists(step));
    assert_int_equal(support_folder_count("patient"), 4);
    json_t *again = support_json("train --resume --data heart.txt --out patient %s --patience 3", OVERFIT);
    assert_int_equal(support_number(again, "tokens"), 0);
    assert_true(json_is_true(json_object_get(again, "stopped")));
    /* without patience it goes on to the end */
    json_t *impatient = support_json("train --resume --data heart.txt --out patient %s", OVERFIT);
    assert_int_equal(support_number(impatient, "steps"), 300);
    support_refused(2, "--patience needs --val", "train --model m --data book.txt --out x %s --patience 2", SHORT);
    json_decref(impatient);
    json_decref(again);
    json_decref(eval);
    json_decref(lines);
    json_decref(result);
}

/* Checkpoints of --save-every stay, also if they were once the best. */
static void test_best_beside_others(void **state) {
    (void)state;
    free(support_done("train --model m --data book.txt --out beside --steps 6 --warmup 2 %s --val val.txt --val-every "
                      "1 --patience 9 --save-every 2",
                      SIZE));
    assert_true(support_exists("beside/step-2") && support_exists("beside/step-4") && support_exists("beside/step-6"));
    char link[64];
    ssize_t n = readlink("beside/best", link, sizeof link - 1);
    assert_true(n > 0);
    link[n] = 0;
    assert_string_equal(link, "step-6"); /* it still learns */
    assert_false(support_exists("beside/step-5"));
}

static void test_data_from_stdin(void **state) {
    (void)state;
    char *book = support_text_of("book.txt");
    support_run run = support_cli(book, "train --model m --data - --out piped %s", SHORT);
    assert_int_equal(run.code, 0);
    support_run_free(&run);
    free(support_done("train --model m --data book.txt --out filed %s", SHORT));
    support_same_files("piped/latest/model.safetensors", "filed/latest/model.safetensors");
    free(book);
}

static void test_sentencepiece_goes_along(void **state) {
    (void)state;
    free(support_done("train-tokenizer --vocab 300 --out t.model book.txt"));
    free(support_done("init --preset tiny %s --tokenizer t.model --out sp", SUPPORT_SHAPE));
    free(support_done("train --model sp --data book.txt --out sprun %s", SHORT));
    support_same_files("t.model", "sprun/latest/tokenizer.model");
    json_t *text = support_json("generate --model sprun/latest --prompt ba --max-tokens 5");
    assert_int_equal(support_number(text, "tokens"), 5);
    json_decref(text);
}

static void test_refusals(void **state) {
    (void)state;
    support_refused(2, "--batch-tokens must be a multiple of --seq-len",
                    "train --model m --data book.txt --out x --steps 4 --batch-tokens 65 --seq-len 16");
    support_refused(2, "--steps needs --model DIR or --resume", "train --data book.txt --out x %s", SHORT);
    support_refused(2, "FILE is missing", "train --model m --out x %s", SHORT);
    support_refused(2, "FILE and --data FILE say the same", "train --model m --data book.txt --out x %s val.txt",
                    SHORT);
    support_refused(2, "--out is missing", "train --model m %s book.txt", SHORT);
    support_refused(2, "--steps is missing", "train --model m --out x %s book.txt", SIZE);
    support_refused(2, "--minutes is of a new model", "train --model m --out x %s --minutes 3 book.txt", SHORT);
    support_refused(2, "--stateful and --fresh", "train --model m --out x %s --stateful --fresh book.txt", SHORT);
    support_refused(2, "--data needs a value", "train --model m --out x %s --data", SHORT);
    support_refused(2, "--shuffle: 'all' is not one of {blocks,computed,none}",
                    "train --model m --data book.txt --out x %s --shuffle all", SHORT);
    support_refused(2, "--steps must be from 1 to 1000000000, not 0",
                    "train --model m --data book.txt --out x --steps 0 %s", SIZE);
    support_refused(2, "--beta1 must be from 0 to 0.999999, not 1",
                    "train --model m --data book.txt --out x %s --beta1 1", SHORT);
    support_refused(2, "--beta2 must be from 0 to 0.999999, not 0.99999998",
                    "train --model m --data book.txt --out x %s --beta2 0.99999998", SHORT);
    support_refused(1, "weight_decay is 0.1, times the learning rate 100: it must be at most 1",
                    "train --model m --data book.txt --out x %s --lr 1000", SHORT);
    support_refused(2, "cannot both be standard input", "train --model m --data - --val - --out x %s", SHORT);
    support_refused(1, "no-such.txt", "train --model m --data no-such.txt --out x %s", SHORT);
    support_refused(1, "no-such", "train --model no-such --data book.txt --out x %s", SHORT);
    support_refused(1, "500", "train --model m --data val.txt --out x --steps 1 --batch-tokens 1024 --seq-len 1024");
    support_refused(1, "x/latest does not exist", "train --model m --data book.txt --out x %s --resume", SHORT);
    support_refused(1, "no/log.jsonl: there is no folder no",
                    "train --model m --data book.txt --out x %s --log no/log.jsonl", SHORT);
    assert_false(support_exists("x"));
}

/* bf16 products: named in the log and in the checkpoint, near the exact losses and other bits; f32 alone goes
 * everywhere. */
static void test_dtype(void **state) {
    (void)state;
    support_refused(2, "--dtype: 'int8' is not one of", "train --model m --data book.txt --out b16 %s --dtype int8",
                    SHORT);
    setenv("DNNL_MAX_CPU_ISA", "AVX2", 1); /* whatever this CPU has, oneDNN must not use it */
    support_refused(1, "bf16 products need", "train --model m --data book.txt --out b16 %s --dtype bf16", SHORT);
    assert_false(support_exists("b16") || support_exists("b16.cache"));
    unsetenv("DNNL_MAX_CPU_ISA");
    il_error error;
    if (il_trainer_dtype_check(IL_WEIGHTS_BF16, &error)) {
        print_message("skipped: %s\n", error.message);
        skip();
    }
    json_t *exact = support_json("train --model m --data book.txt --out b32 %s --log b32.jsonl", SHORT);
    json_t *rounded = support_json("train --model m --data book.txt --out b16 %s --log b16.jsonl --dtype bf16", SHORT);
    double loss = support_number(exact, "loss"), near = support_number(rounded, "loss");
    assert_true(near != loss && near - loss < 0.01 * loss && loss - near < 0.01 * loss);
    assert_string_equal(support_string(exact, "dtype"), "f32");
    assert_string_equal(support_string(rounded, "dtype"), "bf16");
    json_t *lines = read_log("b16.jsonl"), *line;
    size_t i;
    json_array_foreach(lines, i, line) assert_string_equal(support_string(line, "dtype"), "bf16");
    json_t *run = support_json("inspect b16");
    assert_string_equal(support_string(run, "trainer.dtype"), "bf16");
    support_refused(1, "dtype was bf16, is f32", "train --resume --data book.txt --out b16 %s", SHORT);
    support_refused(1, "dtype was f32, is bf16", "train --resume --data book.txt --out b32 %s --dtype bf16", SHORT);
    free(support_done("train --resume --data book.txt --out b16 %s --dtype bf16", SHORT));
    json_decref(run);
    json_decref(lines);
    json_decref(rounded);
    json_decref(exact);
}

/* A divergence ends the run with the library's words; the last good checkpoint stays. */
static void test_divergence(void **state) {
    (void)state;
    support_run run = support_cli(NULL,
                                  "train --model m --data book.txt --out diverged --steps 50 --warmup 0 %s --lr 1000 "
                                  "--end-lr 1000 --beta2 0 --eps 1e-20 --weight-decay 0 --save-every 1",
                                  SIZE);
    assert_int_equal(run.code, 1);
    assert_int_equal(run.out_bytes, 0);
    assert_non_null(strstr(run.err, "innerloop train: step "));
    assert_non_null(strstr(run.err, "layer"));
    assert_non_null(strstr(run.err, "the last checkpoint is diverged/step-"));
    support_run_free(&run);
    json_t *object = support_json("inspect diverged");
    assert_true(support_number(object, "trainer.step") >= 1);
    json_decref(object);
}

/* ---- nothing lost ---- */

#define LONG "--steps 150 --batch-tokens 512 --seq-len 64 --save-every 1000 --val val.txt --val-every 50"

/* Waits until the child has logged this many steps. */
static void wait_for_lines(const char *path, int lines) {
    for (int tries = 0; tries < 60000; tries++) {
        int n = 0;
        FILE *file = fopen(path, "r");
        for (int c; file && (c = fgetc(file)) != EOF;) n += c == '\n';
        if (file) fclose(file);
        if (n >= lines) return;
        usleep(1000);
    }
    fail_msg("%s: %d lines never came", path, lines);
}

static void uninterrupted(void) {
    if (support_exists("whole/latest")) return;
    free(support_done("train --model m --data docs.jsonl --out whole %s --log whole.jsonl", LONG));
}

static void assert_goes_on_as_if_never_stopped(const char *out, const char *log) {
    char path[64];
    free(support_done("train --resume --data docs.jsonl --out %s %s --log %s", out, LONG, log));
    snprintf(path, sizeof path, "%s/latest/model.safetensors", out);
    support_same_files(path, "whole/latest/model.safetensors");
    snprintf(path, sizeof path, "%s/latest/trainer.safetensors", out);
    support_same_files(path, "whole/latest/trainer.safetensors");
    assert_same_log(log, "whole.jsonl");
}

static void test_interrupt_and_resume(void **state) {
    (void)state;
    uninterrupted();
    static const struct {
        int number, code;
        const char *out, *log;
    } signals[] = {{SIGINT, 130, "stopped", "stopped.jsonl"}, {SIGTERM, 143, "ended", "ended.jsonl"}};
    for (size_t i = 0; i < 2; i++) {
        pid_t child = support_cli_start("train --model m --data docs.jsonl --out %s %s --log %s --json", signals[i].out,
                                        LONG, signals[i].log);
        wait_for_lines(signals[i].log, 4);
        assert_int_equal(kill(child, signals[i].number), 0);
        assert_int_equal(support_cli_wait(child), signals[i].code);
        char *out = support_text_of("out"), *said = support_text_of("err"), line[400];
        snprintf(line, sizeof line,
                 "this goes on:\n    innerloop train --model m --data docs.jsonl --out %s " LONG
                 " --log %s --json --resume\n",
                 signals[i].out, signals[i].log);
        if (!strstr(said, line)) fail_msg("\"%s\" lacks \"%s\"", said, line);
        free(said);
        json_t *result = json_loads(out, 0, NULL), *run = support_json("inspect %s", signals[i].out);
        json_t *lines = read_log(signals[i].log);
        assert_true(json_is_true(json_object_get(result, "interrupted")));
        assert_int_equal(support_number(run, "trainer.step"), json_array_size(lines)); /* the step it was in is saved */
        assert_int_equal(support_number(result, "steps"), json_array_size(lines));
        assert_true(json_array_size(lines) < 150);
        json_decref(lines);
        json_decref(run);
        json_decref(result);
        free(out);
        assert_goes_on_as_if_never_stopped(signals[i].out, signals[i].log);
    }
}

/* Killed between checkpoints: the log has lines of steps that are made again, and maybe half a line. */
static void test_kill_and_resume(void **state) {
    (void)state;
    uninterrupted();
    pid_t child =
        support_cli_start("train --model m --data docs.jsonl --out killed --steps 150 --batch-tokens 512 --seq-len 64 "
                          "--save-every 7 --val val.txt --val-every 50 --log killed.jsonl");
    wait_for_lines("killed.jsonl", 10);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(support_cli_wait(child), -SIGKILL);
    FILE *log = fopen("killed.jsonl", "a");
    assert_non_null(log);
    fputs("{\"step\":999,\"lo", log);
    fclose(log);
    assert_goes_on_as_if_never_stopped("killed", "killed.jsonl");
}

/* Killed before there is a checkpoint it leaves a lock, which the next run takes over and removes. */
static void test_killed_before_a_checkpoint(void **state) {
    (void)state;
    const char *line = "train --model m --data docs.jsonl --out early --steps %d --batch-tokens 512 --seq-len 64 "
                       "--log early.jsonl";
    pid_t child = support_cli_start(line, 100000);
    wait_for_lines("early.jsonl", 1);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(support_cli_wait(child), -SIGKILL);
    assert_int_equal(access("early/latest", F_OK), -1);
    free(support_done(line, 1));
    DIR *dir = opendir("early");
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            strcmp(entry->d_name, "latest") != 0 && strcmp(entry->d_name, "step-1") != 0)
            fail_msg("early/%s is left", entry->d_name);
    closedir(dir);
}

static void test_resume_of_a_finished_run(void **state) {
    (void)state;
    free(support_done("train --model m --data book.txt --out done %s --log done.jsonl", SHORT));
    char *before = support_text_of("done.jsonl");
    json_t *result = support_json("train --model m --resume --data book.txt --out done %s --log done.jsonl", SHORT);
    assert_int_equal(support_number(result, "tokens"), 0);
    assert_int_equal(support_number(result, "steps"), 4);
    char *after = support_text_of("done.jsonl");
    assert_string_equal(before, after);
    free(before);
    free(after);
    json_decref(result);
    free(support_done("train --resume --data book.txt --out done %s --log /dev/null", SHORT)); /* nothing to trim */
    support_refused(1, "done already holds a run", "train --model m --data book.txt --out done %s", SHORT);
    support_refused(1, "seed", "train --resume --data book.txt --out done %s --seed 8", SHORT);
}

/* Other data or another schedule are named and refused, unless they are meant. */
/* A bound on memory changes what is kept and computed again, not the weights. */
static void test_memory(void **state) {
    (void)state;
    const char *run =
        "train --model m --data book.txt --out %s --steps 2 --warmup 1 --batch-tokens 2048 --seq-len 1024";
    char line[200], bounded[240];
    snprintf(line, sizeof line, run, "free");
    json_t *result = support_json("%s", line);
    double bytes = support_number(result, "memory_bytes"), each = support_number(result, "bytes_per_token");
    assert_true(json_is_false(json_object_get(result, "recomputes")));
    assert_true(each * 2048 < bytes && each * 2048 > 0.5 * bytes);
    json_decref(result);
    snprintf(line, sizeof line, run, "bounded");
    snprintf(bounded, sizeof bounded, "%s --memory %.6f", line, bytes / 1e9 * 0.9);
    result = support_json("%s", bounded);
    assert_true(json_is_true(json_object_get(result, "recomputes")));
    assert_true(support_number(result, "memory_bytes") < 0.9 * bytes);
    json_decref(result);
    char *free_print = support_fingerprint("free/latest"), *bounded_print = support_fingerprint("bounded/latest");
    assert_string_equal(free_print, bounded_print);
    free(free_print);
    free(bounded_print);
    snprintf(line, sizeof line, run, "none");
    support_refused(1, "are allowed", "%s --memory 0.001", line);
    support_run said = support_cli(NULL, "%s", line);
    assert_int_equal(said.code, 0);
    assert_non_null(strstr(said.err, "kB for each of the 2048 tokens of a pass\n"));
    support_run_free(&said);
}

static void test_freeze(void **state) {
    (void)state;
    char *all = trained(SHORT), *frozen = trained(SHORT " --freeze *.mlp.* --freeze model.norm.weight");
    assert_string_not_equal(all, frozen);
    free(all);
    free(frozen);
    support_refused(1, "freeze *.mpl.*: no tensor of the model has such a name",
                    "train --model m --data book.txt --out x %s --freeze *.mpl.*", SHORT);
    free(support_done("train --model m --data book.txt --out partly %s --freeze *.mlp.*", SHORT));
    support_refused(1, "frozen was 6 tensors, ", "train --resume --data book.txt --out partly %s", SHORT);
    free(support_done("train --resume --data book.txt --out partly %s --freeze *.mlp.*", SHORT));
}

/* Weights of a Transformer in a model of TTT: the embedding, feed-forward parts, norms and projections. */
static void test_init_from(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --mixer self_attention --seed 5 --out attention", SUPPORT_COMMON));
    free(support_done("init --preset tiny %s --mixer ttt_linear --backbone transformer --set num_hidden_layers=3 "
                      "--out deeper",
                      SUPPORT_SHAPE));
    support_run run =
        support_cli(NULL, "train --model deeper --init-from attention --data book.txt --out taught %s", SHORT);
    assert_int_equal(run.code, 0);
    static const char *const says[] = {"taken: model.embed_tokens.weight\n",
                                       "taken: model.layers.*.mlp.up_proj.weight (2 layers)\n",
                                       "taken: model.layers.*.seq_modeling_block.q_proj.weight (2 layers)\n",
                                       "taken: model.layers.*.seq_norm.weight (2 layers)\n",
                                       "fresh: model.layers.*.seq_modeling_block.W1 (3 layers)\n",
                                       "fresh: model.layers.*.mlp.up_proj.weight\n",
                                       " tensors taken from attention, "};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        if (!strstr(run.err, says[i])) fail_msg("%s: not in %s", says[i], run.err);
    support_run_free(&run);
    free(support_done("train --model deeper --data book.txt --out untaught %s", SHORT));
    char *taught = support_fingerprint("taught/latest"), *untaught = support_fingerprint("untaught/latest");
    assert_string_not_equal(taught, untaught);
    free(taught);
    free(untaught);
    free(support_done("init --preset tiny %s --tokenizer bytes --set hidden_size=48 --set num_attention_heads=3 "
                      "--set intermediate_size=20 --set mini_batch_size=8 --out other",
                      SUPPORT_SHAPE));
    support_refused(1, "--init-from other: nothing of it fits",
                    "train --model deeper --init-from other --data book.txt --out x %s", SHORT);
    assert_false(support_exists("x"));
    /* a run that goes on has its weights */
    free(support_done("train --resume --init-from attention --data book.txt --out taught %s", SHORT));
}

static void test_resume_with_changes(void **state) {
    (void)state;
    free(support_done("train --model m --data book.txt --out first %s", SHORT));
    support_refused(1, "lr was 0.003, is 0.01", "train --resume --data book.txt --out first %s --lr 1e-2", SHORT);
    support_refused(1, "--resume-with-changes", "train --resume --data book.txt --out first %s --lr 1e-2", SHORT);
    support_refused(1, "steps was 4, is 6", "train --resume --data book.txt --out first --steps 6 --warmup 2 %s", SIZE);
    char *book = support_text_of("book.txt");
    book[100] ^= 1;
    support_write("changed.txt", book, strlen(book));
    free(book);
    support_refused(1, "data fingerprint was ", "train --resume --data changed.txt --out first %s", SHORT);
    free(support_done("train --resume --data ./book.txt --out first %s", SHORT)); /* the same under another name */
    json_t *result =
        support_json("train --resume-with-changes --data changed.txt --out first --steps 6 --warmup 2 %s", SIZE);
    assert_int_equal(support_number(result, "steps"), 6);
    json_decref(result);
    free(support_done("train --resume --data changed.txt --out first --steps 6 --warmup 2 %s", SIZE));
}

/* The second of two runs with one --out is told whose it is, before it has done anything. */
static void test_one_run_a_folder(void **state) {
    (void)state;
    char holder[64];
    pid_t child = support_cli_start("train --model m --data docs.jsonl --out shared --steps 100000 --batch-tokens 512 "
                                    "--seq-len 64 --log shared.jsonl");
    wait_for_lines("shared.jsonl", 1);
    snprintf(holder, sizeof holder, "shared: is in use by process %ld on ", (long)child);
    support_refused(1, holder, "train --model m --data book.txt --out shared %s", SHORT);
    support_refused(1, holder, "init --preset tiny %s --force --out shared", SUPPORT_SHAPE);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(support_cli_wait(child), -SIGKILL);
    free(support_done("train --model m --data book.txt --out shared %s", SHORT));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_options_same_weights),
        cmocka_unit_test(test_no_option_is_ignored),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_carry_is_another_name_of_stateful),
        cmocka_unit_test(test_mlp_default),
        cmocka_unit_test(test_log_and_checkpoints),
        cmocka_unit_test(test_state_by_mixer),
        cmocka_unit_test(test_validation_is_eval),
        cmocka_unit_test(test_patience),
        cmocka_unit_test(test_best_beside_others),
        cmocka_unit_test(test_data_from_stdin),
        cmocka_unit_test(test_sentencepiece_goes_along),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_dtype),
        cmocka_unit_test(test_divergence),
        cmocka_unit_test(test_interrupt_and_resume),
        cmocka_unit_test(test_kill_and_resume),
        cmocka_unit_test(test_killed_before_a_checkpoint),
        cmocka_unit_test(test_resume_of_a_finished_run),
        cmocka_unit_test(test_resume_with_changes),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_init_from),
        cmocka_unit_test(test_one_run_a_folder),
    };
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
