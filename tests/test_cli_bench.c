/* test_cli_bench.c: `innerloop bench`. What it counts is checked against formulas written out here, each
 * option by something that changes with it; how fast this machine is, is no test's business. */
#include "support_test.h"

#include "innerloop.h"
#include "support_cli.h"
#include "support_files.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

/* The shape of the preset tiny, as the presets' table has it. */
enum { LAYERS = 4, D = 128, H = 4, HEAD = 32, F = 344, V = 32000, B = 16, DECODED = 64 };

static int begin(void **state) {
    support_command = INNERLOOP;
    return support_cli_begin(state);
}

static void assert_near(double a, double b) {
    if (!(fabs(a - b) <= 1e-9 * fabs(b))) fail_msg("%.17g is not %.17g", a, b);
}

/* Row i, and whether it is of this work and mixer (NULL: none). */
static const json_t *row_at(const json_t *object, size_t i, const char *work, const char *mixer) {
    const json_t *row = json_array_get(json_object_get(object, "rows"), i);
    assert_non_null(row);
    assert_string_equal(support_string(row, "work"), work);
    if (mixer)
        assert_string_equal(support_string(row, "mixer"), mixer);
    else
        assert_true(json_is_null(json_object_get(row, "mixer")));
    assert_string_equal(support_string(row, "dtype"), "f32");
    assert_true(json_is_null(json_object_get(row, "joules_per_token")));
    return row;
}

/* repeat samples, and their median. */
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
    assert_near(support_number(row, "tokens_per_s"), middle);
}

static void check_fraction(const json_t *row, const char *count) {
    assert_near(support_number(row, "fraction_of_limit"),
                support_number(row, "tokens_per_s") * support_number(row, count) * 1e-9 / support_number(row, "limit"));
}

/* Multiply-adds of the matrices of a layer, the Mamba backbone's: wq wv wo wg, theta_lr, FFN. */
static const double MATRICES = 4.0 * D * D + H * D + 3.0 * D * F;

static void test_prefill_and_training(void **state) {
    (void)state;
    json_t *object = support_json("bench --preset tiny --mixer ttt_linear --context 48 --repeat 2 --threads 1");
    assert_int_equal(support_number(object, "threads"), 1);
    assert_true(support_string(object, "cpu")[0] != 0);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), 4);
    assert_true(support_number(object, "limits.gflops_kernel") > 0);
    assert_true(support_number(object, "limits.read_gb_s") > 0);

    const json_t *row = row_at(object, 0, "gemm", NULL);
    check_samples(row, 2);
    assert_near(support_number(row, "flops_per_token"), 2.0 * 1024 * 1024);
    if (json_is_number(json_object_get(row, "fraction_of_limit")))
        assert_true(support_number(row, "limit") <= support_number(object, "limits.gflops_onednn"));

    double inner = H * (6.0 * HEAD * HEAD + 6.0 * B * HEAD), forward = LAYERS * (2 * MATRICES + inner),
           logits = 2.0 * V * D;
    row = row_at(object, 1, "prefill", "ttt_linear");
    check_samples(row, 2);
    check_fraction(row, "flops_per_token");
    assert_int_equal(support_number(row, "context"), 48);
    assert_near(support_number(row, "flops_per_token"), forward + logits / 48);
    assert_true(json_is_null(json_object_get(row, "bytes_per_token")));
    assert_string_equal(support_string(row, "limit_unit"), "GFLOP/s");

    row = row_at(object, 2, "decode", "ttt_linear");
    check_samples(row, 2);
    check_fraction(row, "bytes_per_token");
    assert_near(support_number(row, "flops_per_token"), forward + logits);
    assert_string_equal(support_string(row, "limit_unit"), "GB/s");

    row = row_at(object, 3, "train", "ttt_linear");
    check_samples(row, 2);
    check_fraction(row, "flops_per_token");
    assert_near(support_number(row, "flops_per_token"), 3 * (forward + logits));
    json_decref(object);
}

/* Bytes of a decoded token: all weights, a row of the tied embedding, and the open rows or the keys and
 * values. */
static void test_decode_bytes(void **state) {
    (void)state;
    static const char *const mixers[] = {"ttt_linear", "ttt_mlp", "self_attention"};
    const double context = 40, open = H * (B + 1) / 2.0;
    const double extra[] = {LAYERS * open * (2 * HEAD + 1), LAYERS * open * (10 * HEAD + 1),
                            LAYERS * 2.0 * D * (context + (DECODED + 1) / 2.0)};
    json_t *object = support_json("bench --preset tiny --work decode --context 40 --repeat 1 --threads 2");
    assert_int_equal(support_number(object, "threads"), 2);
    assert_int_equal(json_array_size(json_object_get(object, "rows")), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = row_at(object, i, "decode", mixers[i]);
        il_config config;
        il_error error;
        assert_int_equal(il_config_preset("tiny", mixers[i], NULL, &config, &error), IL_OK);
        json_t *made =
            support_json("init --preset tiny --mixer %s --set vocab_size=32000 --out %s", mixers[i], mixers[i]);
        assert_near(support_number(row, "bytes_per_token"), 4 * (support_number(made, "parameters") + D + extra[i]));
        json_decref(made);
    }
    /* attention's arithmetic grows with the position: 4 D t a layer */
    il_config config;
    il_error error;
    assert_int_equal(il_config_preset("tiny", "self_attention", NULL, &config, &error), IL_OK);
    double matrices = 4.0 * D * D + 3.0 * D * config.ffn_width;
    const json_t *row = row_at(object, 2, "decode", "self_attention");
    assert_near(support_number(row, "flops_per_token"),
                LAYERS * (2 * matrices + 4.0 * D * (context + (DECODED - 1) / 2.0)) + 2.0 * V * D);
    json_decref(object);
}

static void test_preset_and_table(void **state) {
    (void)state;
    char *table = support_done("bench --preset small --mixer ttt_mlp --work prefill --context 5 --repeat 1");
    assert_non_null(strstr(table, "preset small, context 5\n"));
    assert_non_null(strstr(table, "limits: our product "));
    char *line = strstr(table, "\nprefill  ttt_mlp ");
    assert_non_null(line);
    double rate, least, most, megaflops, heads = 6, d = 384, head = 64, matrices = 4 * d * d + heads * d + 3 * d * 1024;
    assert_int_equal(sscanf(line, "\nprefill ttt_mlp %lf %lf .. %lf %lf", &rate, &least, &most, &megaflops), 4);
    double flops = 6 * (2 * matrices + heads * (56 * head * head + 30 * B * head)) + 2 * V * d / 5;
    assert_true(fabs(megaflops - flops * 1e-6) < 0.051);
    assert_null(strstr(table, "decode"));
    assert_null(strstr(table, "ttt_linear"));
    free(table);
}

/* Nothing stays behind in the folder for temporary files. */
static void test_leaves_nothing(void **state) {
    (void)state;
    assert_int_equal(setenv("TMPDIR", "nowhere", 1), 0);
    support_refused(1, "nowhere/innerloop-bench-", "bench --preset tiny --mixer ttt_linear --work train --context 16");
    assert_int_equal(setenv("TMPDIR", ".", 1), 0);
    json_decref(support_json("bench --preset tiny --mixer ttt_linear --work train --context 16 --repeat 1"));
    assert_int_equal(unsetenv("TMPDIR"), 0);
    assert_int_equal(system("ls innerloop-bench-* 2>/dev/null | grep -q ."), 256);
}

static void test_wrong_use(void **state) {
    (void)state;
    char *help = support_done("bench --help");
    assert_non_null(strstr(help, "example:\n  innerloop bench"));
    free(help);
    support_refused(2, "--preset: '2b' is not one of", "bench --preset 2b");
    support_refused(2, "--mixer: 'mamba' is not one of", "bench --mixer mamba");
    support_refused(2, "--work: 'play' is not one of", "bench --work play");
    support_refused(2, "--context: 0 is not in", "bench --context 0");
    support_refused(2, "--repeat: 0 is not in", "bench --repeat 0");
    support_refused(2, "unexpected operand 'x'", "bench x");
}

/* A signal ends it after the repetition under way. */
static void test_interrupt(void **state) {
    (void)state;
    pid_t child = support_cli_start("bench --preset tiny --mixer ttt_linear --work prefill --context 64 --repeat 1000");
    char *seen = NULL;
    for (int i = 0; i < 6000 && !(seen && strstr(seen, "repetition")); i++) {
        free(seen);
        nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
        seen = support_text_of("err");
    }
    assert_non_null(strstr(seen, "repetition 1/1000"));
    free(seen);
    assert_int_equal(kill(child, SIGINT), 0);
    assert_int_equal(support_cli_wait(child), 130);
    char *out = support_text_of("out");
    assert_string_equal(out, "");
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefill_and_training),
        cmocka_unit_test(test_decode_bytes),
        cmocka_unit_test(test_preset_and_table),
        cmocka_unit_test(test_leaves_nothing),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_interrupt),
    };
    return cmocka_run_group_tests_name("cli bench", tests, begin, support_cli_end);
}
