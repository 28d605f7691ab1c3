/* test_cli_bench.c: `innerloop bench`, the rows; test_cli_bench_files.c has the rest. What it counts is checked against
 * formulas written out here, each option by something that changes with it; how fast this machine is, is no test's
 * business. */
#include "support_test.h"

#include "innerloop.h"
#include "support_bench.h"
#include "support_cli.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The shape of the preset tiny, as the presets' table has it, and the tokens of a repetition. */
enum { LAYERS = 4, D = 128, H = 4, HEAD = 32, F = 344, V = 32000, B = 16, DECODED = 64, EXTENDED = 256 };

static void assert_near(double a, double b) {
    if (!(fabs(a - b) <= 1e-9 * fabs(b))) fail_msg("%.17g is not %.17g", a, b);
}

/* repeat samples, and their median; null when there are none. */
static void check_samples(const json_t *row, size_t repeat) {
    const json_t *samples = json_object_get(row, "samples");
    assert_int_equal(json_array_size(samples), repeat);
    double before = 0, middle = 0;
    for (size_t i = 0; i < repeat; i++) {
        double sample = json_number_value(json_array_get(samples, i));
        assert_true(sample > 0 && sample >= before);
        if (i == (repeat - 1) / 2 || i == repeat / 2) middle += sample / (repeat % 2 ? 1 : 2);
        before = sample;
    }
    if (repeat)
        assert_near(support_number(row, "tokens_per_s"), middle);
    else
        assert_true(json_is_null(json_object_get(row, "tokens_per_s")));
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n) {
    qsort(values, n, sizeof *values, ascending);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

/* A fraction for each sample: each by its own limit, whose median is the row's. */
static void check_fraction(const json_t *row, const char *count) {
    const json_t *samples = json_object_get(row, "samples"), *each = json_object_get(row, "fractions");
    size_t n = json_array_size(samples);
    double fractions[8], limits[8];
    assert_true(n >= 1 && n <= 8);
    assert_int_equal(json_array_size(each), n);
    for (size_t i = 0; i < n; i++) {
        fractions[i] = json_number_value(json_array_get(each, i));
        assert_true(fractions[i] > 0);
        limits[i] = json_number_value(json_array_get(samples, i)) * support_number(row, count) * 1e-9 / fractions[i];
    }
    assert_near(support_number(row, "limit"), median(limits, n));
    assert_near(support_number(row, "fraction_of_limit"), median(fractions, n));
}

/* Multiply-adds of the matrices of a layer, the Mamba backbone's: wq wv wo wg, theta_lr, FFN. */
static const double MATRICES = 4.0 * D * D + H * D + 3.0 * D * F;
static const double INNER = H * (6.0 * HEAD * HEAD + 6.0 * B * HEAD), LOGITS = 2.0 * V * D;

/* Parameters of the preset tiny with this mixer. */
static double parameters_of(const char *mixer) {
    json_t *made = support_json("init --preset tiny --mixer %s --set vocab_size=32000 --force --out %s", mixer, mixer);
    double parameters = support_number(made, "parameters");
    json_decref(made);
    return parameters;
}

static void test_every_work(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --context 48 --repeat 2 --threads 1");
    assert_int_equal(support_number(object, "threads"), 1);
    assert_true(support_string(object, "cpu")[0] != 0);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), 6);
    assert_true(support_number(object, "limits.gflops_kernel") > 0);
    assert_true(support_number(object, "limits.read_gb_s") > 0);
    assert_true(support_number(object, "limits.l2_read_gb_s") > 0);
    assert_true(json_is_false(json_object_get(object, "all_logits")));

    const json_t *row = row_at(object, 0, "gemm", NULL);
    check_samples(row, 2);
    assert_near(support_number(row, "flops_per_token"), 2.0 * 1024 * 1024);
    assert_true(json_is_null(json_object_get(row, "bytes_per_token")));
    if (json_is_number(json_object_get(row, "fraction_of_limit")))
        assert_true(support_number(row, "limit") <= support_number(object, "limits.gflops_onednn"));
    assert_int_equal(json_array_size(json_object_get(row, "fractions")),
                     json_is_number(json_object_get(row, "fraction_of_limit")) ? 2 : 0);

    const double forward = LAYERS * (2 * MATRICES + INNER), weights = parameters_of("ttt_linear");
    const double fast = LAYERS * H * (HEAD * HEAD + HEAD), rows = LAYERS * H * (B + 1) / 2.0 * (2 * HEAD + 1);
    static const char *const works[] = {"prefill", "extend", "decode", "batch", "train"};
    const double flops[] = {forward + LOGITS / 48, forward + LOGITS / EXTENDED, forward + LOGITS, forward + LOGITS,
                            3 * (forward + LOGITS)};
    /* a pass over the weights, and a session's own: fast weights, rows, a row of the embedding for each token */
    const double bytes[] = {
        4 * ((weights + rows) / 48 + D), 4 * ((weights + rows) / EXTENDED + D),
        4 * (weights + rows + D),        4 * ((weights - fast) / 16 + fast + rows + D),
        4 * 10 * weights / 48,
    };
    for (size_t i = 0; i < 5; i++) {
        row = row_at(object, 1 + i, works[i], "ttt_linear");
        check_samples(row, 2);
        int reads = !strcmp(support_string(row, "limit_unit"), "GB/s");
        check_fraction(row, reads ? "bytes_per_token" : "flops_per_token");
        if (i != 3) assert_int_equal(reads, i == 2);
        if (reads) /* memory is read over as much as a pass reads, in whole MiB */
            assert_near(support_number(row, "limit_bytes"), ceil(bytes[i] * (i == 3 ? 16 : 1) / (1 << 20)) * (1 << 20));
        else
            assert_true(json_is_null(json_object_get(row, "limit_bytes")));
        assert_int_equal(support_number(row, "context"), 48);
        assert_int_equal(support_number(row, "sessions"), i == 3 ? 16 : 1);
        assert_near(support_number(row, "flops_per_token"), flops[i]);
        assert_near(support_number(row, "bytes_per_token"), bytes[i]);
        assert_true(json_is_null(json_object_get(row, "reason")));
        if (i < 4)
            assert_true(support_number(row, "state_bytes") > 4 * fast);
        else
            assert_true(json_is_null(json_object_get(row, "state_bytes")));
    }
    json_decref(object);
}

/* The row of this mixer, of which there is one. */
static const json_t *only_row_of(const json_t *object, const char *mixer) {
    const json_t *row, *found = NULL;
    size_t i;
    json_array_foreach(json_object_get(object, "rows"), i, row) {
        if (strcmp(support_string(row, "mixer"), mixer) != 0) continue;
        assert_null(found);
        found = row;
    }
    if (!found) fail_msg("no row of %s", mixer);
    return found;
}

/* Every mixer of the library is timed. Bytes of a decoded token: all weights, a row of the tied embedding, and the open
 * rows or the keys and values. */
static void test_decode_bytes(void **state) {
    (void)state;
    enum { MIXERS = 4 };
    static const char *const mixers[MIXERS] = {"ttt_linear", "ttt_mlp", "gated_delta", "self_attention"};
    const double context = 40, open = H * (B + 1) / 2.0; /* the memory of gated_delta is none of its parameters */
    const double extra[MIXERS] = {LAYERS * open * (2 * HEAD + 1), LAYERS * open * (10 * HEAD + 1),
                                  LAYERS * (H * HEAD * HEAD + open * (2 * HEAD + 2)),
                                  LAYERS * 2.0 * D * (context + (DECODED + 1) / 2.0)};
    json_t *object = support_json("bench --preset tiny --work decode --context 40 --repeat 1 --threads 2");
    assert_int_equal(support_number(object, "threads"), 2);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), il_mixer_count());
    for (int i = 0; i < il_mixer_count(); i++) (void)only_row_of(object, il_mixer_name((il_mixer_kind)i));
    for (size_t i = 0; i < MIXERS; i++)
        assert_near(support_number(only_row_of(object, mixers[i]), "bytes_per_token"),
                    4 * (parameters_of(mixers[i]) + D + extra[i]));
    /* attention's arithmetic grows with the position: 4 D t a layer */
    il_config config;
    il_error error;
    assert_int_equal(il_config_preset("tiny", "self_attention", NULL, &config, &error), IL_OK);
    double matrices = 4.0 * D * D + 3.0 * D * config.ffn_width;
    const json_t *row = only_row_of(object, "self_attention");
    assert_near(support_number(row, "flops_per_token"),
                LAYERS * (2 * matrices + 4.0 * D * (context + (DECODED - 1) / 2.0)) + LOGITS);
    json_decref(object);
}

/* Logits of every token are more arithmetic, in pieces that end with the text. */
static void test_all_logits(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --work prefill --context 530 --all-logits "
                                  "--repeat 1");
    const json_t *row = row_at(object, 0, "prefill", "ttt_linear");
    assert_true(json_is_true(json_object_get(object, "all_logits")));
    assert_near(support_number(row, "flops_per_token"), LAYERS * (2 * MATRICES + INNER) + LOGITS);
    check_fraction(row, "flops_per_token");
    json_decref(object);
}

/* Low-precision weights are fewer bytes; nothing else becomes less. They are not trained. */
static void test_dtypes(void **state) {
    (void)state;
    static const char *const names[] = {"f32", "bf16", "int8", "int4"};
    static const double each[] = {4, 2, 1 + 4 / 64.0, 0.5 + 4 / 64.0}, words[] = {4, 2, 1 + 4 / 64.0, 1 + 4 / 64.0};
    /* linear layers: projections, feed-forward, the tied embedding (int8 beside int4) and a row of it; the inner
     * learning rate's stays fp32 or not as the library has it, so it is left out of the bound */
    const double matrices = LAYERS * (4.0 * D * D + 3.0 * D * F), gates = LAYERS * H * D;
    const double all = parameters_of("ttt_linear") + LAYERS * H * (B + 1) / 2.0 * (2 * HEAD + 1);
    for (size_t i = 0; i < 4; i++) {
        json_t *object = support_json("bench --preset tiny --mixer ttt_linear --work decode --dtype %s --context 16 "
                                      "--repeat 1",
                                      names[i]);
        const json_t *row = row_at(object, 0, "decode", "ttt_linear");
        assert_string_equal(support_string(row, "dtype"), names[i]);
        double bytes = support_number(row, "bytes_per_token"),
               most = 4 * (all - matrices - V * D) + each[i] * matrices + words[i] * (V + 1) * D,
               least = most - gates * (4 - each[i]);
        assert_true(bytes >= least - 1 && bytes <= most + 1);
        json_decref(object);
    }
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear_decay --work train --dtype int8 --repeat 1");
    assert_string_equal(support_string(row_at(object, 0, "train", "ttt_linear_decay"), "reason"),
                        "training multiplies in f32 or bf16, not in int8");
    json_decref(object);
    /* bf16 in training: fp32 weights, the products' limit oneDNN's; as many bytes as ever */
    object = support_json("bench --preset tiny --mixer ttt_linear --work train --dtype bf16 --context 16 --repeat 1");
    const json_t *train = row_at(object, 0, "train", "ttt_linear");
    il_error error;
    assert_string_equal(support_string(train, "dtype"), "bf16");
    assert_near(support_number(train, "bytes_per_token"), 4 * 10 * parameters_of("ttt_linear") / 16);
    if (il_trainer_dtype_check(IL_WEIGHTS_BF16, &error)) {
        assert_string_equal(support_string(train, "reason"), error.message);
    } else {
        check_fraction(train, "flops_per_token");
        assert_true(support_number(train, "limit") > support_number(object, "limits.gflops_kernel"));
    }
    json_decref(object);
    object = support_json("bench --preset tiny --mixer ttt_linear --work prefill --dtype int8 --context 16 --repeat 1");
    assert_string_equal(support_string(row_at(object, 0, "prefill", "ttt_linear"), "limit_unit"), "Gop/s");
    json_decref(object);
}

/* Sessions share the weights; keys and values are everyone's own. */
static void test_sessions(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer self_attention --work batch --sessions 3 --context 20 "
                                  "--repeat 1");
    const json_t *row = row_at(object, 0, "batch", "self_attention");
    assert_int_equal(support_number(row, "sessions"), 3);
    assert_near(support_number(row, "bytes_per_token"),
                4 * (parameters_of("self_attention") / 3 + D + LAYERS * 2.0 * D * (20 + (DECODED + 1) / 2.0)));
    json_decref(object);
}

/* Contexts come in ascending order, each once; a cache grows with them, the state of a TTT layer does not. */
static void test_contexts(void **state) {
    (void)state;
    for (int attention = 0; attention < 2; attention++) {
        const char *mixer = attention ? "self_attention" : "ttt_linear";
        json_t *object =
            support_json("bench --preset tiny --mixer %s --work extend --context 1000,24,1000 --repeat 1", mixer);
        assert_int_equal(json_array_size(json_object_get(object, "rows")), 2);
        const json_t *near = row_at(object, 0, "extend", mixer), *far = row_at(object, 1, "extend", mixer);
        assert_int_equal(support_number(near, "context"), 24);
        assert_int_equal(support_number(far, "context"), 1000);
        double first = support_number(near, "state_bytes"), last = support_number(far, "state_bytes");
        if (attention)
            assert_true(last - first >= 4.0 * 2 * LAYERS * D * (1000 - 24 - 512)); /* blocks of at most so many */
        else
            assert_true(first == last);
        json_decref(object);
    }
}

/* A text too long to be read once a repetition has one sample; it is no training sequence. */
static void test_long_context(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --work prefill --context 16385 --repeat 3");
    const json_t *row = row_at(object, 0, "prefill", "ttt_linear");
    check_samples(row, 1);
    check_fraction(row, "flops_per_token");
    json_decref(object);
    object = support_json("bench --preset tiny --mixer ttt_linear --work train --context 16385 --repeat 1");
    row = row_at(object, 0, "train", "ttt_linear");
    check_samples(row, 0);
    assert_string_equal(support_string(row, "reason"), "sequences are trained up to 16384 tokens");
    json_decref(object);
}

/* Rows are left out, and say why, when they would take too long or the keys and values do not fit. */
static void test_left_out(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --work decode --context 1048576 --repeat 1 "
                                  "--minutes-max 0.01");
    const json_t *row = row_at(object, 0, "decode", "ttt_linear");
    check_samples(row, 0);
    assert_non_null(strstr(support_string(row, "reason"), "(--minutes-max 0.01)"));
    assert_true(json_is_null(json_object_get(row, "fraction_of_limit")));
    assert_int_equal(json_array_size(json_object_get(row, "fractions")), 0);
    json_decref(object);
    char *table = support_done("bench --preset small --mixer self_attention --work batch --sessions 256 --context "
                               "1048576 --repeat 1"); /* 5 TB */
    assert_non_null(strstr(table, "left out: keys and values take"));
    free(table);
}

static void test_preset_and_table(void **state) {
    (void)state;
    char *table = support_done("bench --preset small --mixer ttt_mlp --work prefill --context 5 --repeat 1");
    assert_non_null(strstr(table, "preset small\n"));
    assert_non_null(strstr(table, "limits: our product "));
    char *line = strstr(table, "\nprefill  ttt_mlp ");
    assert_non_null(line);
    double context, rate, least, most, megaflops, heads = 6, d = 384, head = 64,
                                                  matrices = 4 * d * d + heads * d + 3 * d * 1024;
    assert_int_equal(
        sscanf(line, "\nprefill ttt_mlp f32 %lf %lf %lf .. %lf %lf", &context, &rate, &least, &most, &megaflops), 5);
    assert_true(context == 5);
    double flops = 6 * (2 * matrices + heads * (56 * head * head + 30 * B * head)) + 2 * V * d / 5;
    assert_true(fabs(megaflops - flops * 1e-6) < 0.051);
    assert_null(strstr(table, "decode"));
    assert_null(strstr(table, "ttt_linear"));
    free(table);
}

/* Every row begins its columns where the head does, also behind a long list of layers, which costs what the model that
 * `init` makes of it does. */
static void test_layers(void **state) {
    (void)state;
    static const char layers[] = "2*ttt_mlp,ttt_linear,self_attention",
                      work[] = "--work decode --context 16 --repeat 1";
    il_config config;
    il_error error;
    assert_int_equal(il_config_preset("tiny", "ttt_mlp", NULL, &config, &error), IL_OK);
    assert_int_equal(il_config_set(&config, "layer_types", layers, &error), IL_OK);
    json_t *object = support_json("bench --preset tiny --layers %s %s --html page.html --csv rows.csv", layers, work);
    const json_t *row = row_at(object, 0, "decode", layers);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), 1);
    assert_near(support_number(row, "flops_per_token"),
                (il_config_flops_per_token(&config, 16, 1) + il_config_flops_per_token(&config, 16 + DECODED - 1, 1)) /
                    2);
    json_decref(object);
    char *page = support_text_of("page.html"), *rows = support_text_of("rows.csv");
    assert_non_null(strstr(page, ">mixed layers</text>"));
    assert_non_null(strstr(rows, ",decode,\"2*ttt_mlp,ttt_linear,self_attention\",f32,16,"));
    free(page);
    free(rows);
    char *table = support_done("bench --preset tiny --layers %s %s", layers, work);
    const char *head = strstr(table, "\nworkload "), *line = strstr(table, "\ndecode   2*ttt_mlp,");
    assert_non_null(head);
    assert_non_null(line);
    assert_int_equal(strstr(line, " f32 ") - line, strstr(head, " dtype ") - head);
    free(table);
    support_refused(2, "--mixer and --layers exclude each other", "bench --mixer ttt_mlp --layers ttt_mlp");
    support_refused(2, "layer_types", "bench --preset tiny --layers ttt_mlp,mamba");
    support_refused(2, "layer_types", "bench --preset tiny --layers 3*ttt_mlp");
}

/* config.json alone is enough, and what it says is timed. */
static void test_model(void **state) {
    (void)state;
    static const char work[] = "--work decode --context 16 --repeat 1 --dtype int8";
    il_config config;
    il_error error;
    free(support_done(
        "init --preset tiny --mixer gated_delta --set hidden_size=96 --set num_hidden_layers=2 --out shape"));
    assert_int_equal(remove("shape/model.safetensors"), 0);
    assert_int_equal(il_config_preset("tiny", "gated_delta", NULL, &config, &error), IL_OK);
    config.width = 96;
    config.layers = 2;
    config.vocab_size = 258;
    json_t *object = support_json("bench --model shape --csv rows.csv %s", work);
    const json_t *row = row_at(object, 0, "decode", "shape");
    assert_string_equal(json_string_value(json_object_get(row, "dtype")), "int8");
    assert_true(json_is_null(json_object_get(object, "preset")));
    assert_near(support_number(row, "flops_per_token"),
                (il_config_flops_per_token(&config, 16, 1) + il_config_flops_per_token(&config, 16 + DECODED - 1, 1)) /
                    2);
    json_decref(object);
    support_refused(2, "--model excludes", "bench --model shape --preset tiny");
    support_refused(2, "--model excludes", "bench --model shape --mixer ttt_mlp");
    support_refused(1, "config.json", "bench --model nowhere %s", work);
}

static void test_wrong_use(void **state) {
    (void)state;
    char *help = support_done("bench --help");
    assert_non_null(strstr(help, "example:\n  innerloop bench"));
    free(help);
    support_refused(2, "--preset: '2b' is not one of", "bench --preset 2b");
    support_refused(2, "--mixer: 'mamba' is not one of", "bench --mixer mamba");
    support_refused(2, "--work: 'play' is not one of", "bench --work play");
    support_refused(2, "--dtype: 'f64' is not one of", "bench --dtype f64");
    support_refused(2, "--context must be from 1 to 1048576, not 0", "bench --context 0");
    support_refused(2, "--context must be from 1 to 1048576, not 2000000", "bench --context 16,2000000,5");
    support_refused(2, "--context: '' is not an integer", "bench --context 16,,5");
    support_refused(2, "--context: 'x' is not an integer", "bench --context 16,x");
    support_refused(2, "--context: '' is not an integer", "bench --context 16,");
    support_refused(2, "--sessions must be from 1 to 256, not 0", "bench --sessions 0");
    support_refused(2, "--minutes-max: 'soon' is not a number", "bench --minutes-max soon");
    support_refused(2, "--repeat must be from 1 to 1000, not 0", "bench --repeat 0");
    support_refused(2, "unexpected operand 'x'", "bench x");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_work),
        cmocka_unit_test(test_decode_bytes),
        cmocka_unit_test(test_all_logits),
        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_long_context),
        cmocka_unit_test(test_left_out),
        cmocka_unit_test(test_preset_and_table),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_wrong_use),
    };
    return cmocka_run_group_tests_name("cli bench", tests, support_cli_begin, support_cli_end);
}
