/* test_cli_learning.c: eval --by-position: what it says of the inner loop is what inspect says of the state there,
 * however the text is fed. */
#include "support_test.h"

#include "support_cli.h"
#include "support_cli_models.h"
#include "support_files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BOOK_BYTES = 5200 };
static const char *const keys[] = {"weight_norm", "change_norm", "inner_loss", "inner_drop"};
static const char *const inspected[] = {"weight_norm", "change_norm", "loss_before", "loss_drop"};

/* l, m: TTT-Linear and TTT-MLP; a: self-attention. */
static int begin(void **state) {
    if (support_cli_begin(state)) return 1;
    free(support_book(6, BOOK_BYTES));
    free(support_done("init --preset tiny %s --tokenizer bytes --seed 3 --out l", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer ttt_mlp --tokenizer bytes --seed 3 --out m", SUPPORT_SHAPE));
    free(support_done("init --preset tiny %s --mixer self_attention --tokenizer bytes --seed 3 --out a",
                      SUPPORT_COMMON));
    return 0;
}

static void near(double a, double b) {
    if (!(fabs(a - b) <= 1e-12 * fabs(b))) fail_msg("%.15g is not %.15g", a, b);
}

/* One sequence: bucket k, of positions 2^(k-1) .. 2^k - 1, has one sample, the state after 2^k tokens, up to 1024;
 * after that every 1024th counts. */
static void test_states(void **state) {
    (void)state;
    static const char *const models[] = {"l", "m"};
    size_t bytes;
    char *book = support_read("book.txt", &bytes);
    for (int i = 0; i < 2; i++) {
        json_t *object = support_json("eval --model %s --data book.txt --by-position", models[i]);
        const json_t *positions = json_object_get(object, "positions");
        assert_int_equal(json_array_size(positions), 14);
        for (size_t k = 0; k < 13; k++) {
            const json_t *bucket = json_array_get(positions, k);
            double means[2][4] = {{0}};
            size_t samples = 0, to = (size_t)1 << k, step = to > 1024 ? 1024 : to;
            for (size_t p = to > 1024 ? to / 2 + step : to; p <= to; p += step, samples++) {
                support_write("begin.txt", book, p - 1); /* and BOS */
                free(support_done("read --model %s --save-state s.ilstate begin.txt", models[i]));
                json_t *full = support_json("inspect --model %s s.ilstate", models[i]);
                for (size_t layer = 0; layer < 2; layer++)
                    for (int j = 0; j < 4; j++) {
                        const json_t *x =
                            json_object_get(json_array_get(json_object_get(full, "layers"), layer), inspected[j]);
                        means[layer][j] += json_is_null(x) ? NAN : json_number_value(x);
                    }
                json_decref(full);
            }
            assert_int_equal(samples, to > 2048 ? 2 : 1);
            for (int j = 0; j < 4; j++) {
                const json_t *layers = json_object_get(bucket, "layers");
                if (to < 4 && j > 1) { /* no mini-batch is complete yet */
                    assert_true(json_is_null(json_object_get(bucket, keys[j])));
                    assert_true(json_is_null(json_object_get(json_array_get(layers, 1), keys[j])));
                    continue;
                }
                double a = means[0][j] / (double)samples, b = means[1][j] / (double)samples;
                near(support_number(json_array_get(layers, 0), keys[j]), a);
                near(support_number(json_array_get(layers, 1), keys[j]), b);
                if (j > 1) near(support_number(bucket, keys[j]), (a + b) / 2);
                if (j < 2 && samples == 1) near(support_number(bucket, keys[j]), sqrt(a * a + b * b));
            }
        }
        json_decref(object);
    }
    free(book);
}

static json_t *positions_of(const char *options) {
    json_t *object = support_json("eval --data book.txt --by-position %s", options);
    json_t *positions = json_incref(json_object_get(object, "positions"));
    json_decref(object);
    return positions;
}

static void test_feed(void **state) {
    (void)state;
    static const char *const options[] = {"--model l --feed 1", "--model l --feed 7", "--model l --feed 3000"};
    json_t *usual = positions_of("--model l");
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        json_t *other = positions_of(options[i]);
        assert_true(json_equal(usual, other));
        json_decref(other);
    }
    json_decref(usual);
}

/* Several sequences are averaged; the last bucket, 16 to 20, ends before the next sample. */
static void test_sequences(void **state) {
    (void)state;
    json_t *one = positions_of("--model l --seq-len 20 --max-tokens 20"),
           *two = positions_of("--model l --seq-len 20 --max-tokens 40"), *all = positions_of("--model l --seq-len 20");
    assert_int_equal(json_array_size(two), 6);
    for (int j = 0; j < 4; j++) assert_true(json_is_null(json_object_get(json_array_get(two, 5), keys[j])));
    double a = support_number(json_array_get(one, 4), "change_norm"),
           b = support_number(json_array_get(two, 4), "change_norm");
    assert_true(a > 0 && b > 0 && a != b && support_number(json_array_get(all, 4), "change_norm") > 0);
    json_decref(one);
    json_decref(two);
    json_decref(all);
}

static void test_controls(void **state) {
    (void)state;
    json_t *frozen = positions_of("--model l --frozen"), *attention = positions_of("--model a"), *bucket;
    size_t k;
    json_array_foreach(frozen, k, bucket) {
        if (k == 13) break; /* no sample */
        assert_true(support_number(bucket, "change_norm") == 0);
        if (k >= 2) assert_true(support_number(bucket, "inner_drop") == 0 && support_number(bucket, "inner_loss") > 0);
    }
    json_array_foreach(attention, k, bucket) {
        assert_null(json_object_get(bucket, "weight_norm"));
        assert_null(json_object_get(bucket, "layers"));
    }
    json_decref(frozen);
    json_decref(attention);
    char *text = support_done("eval --model l --data book.txt --by-position");
    assert_non_null(strstr(text, "nll  weight_norm  change_norm   inner_loss   inner_drop\n"));
    free(text);
    text = support_done("eval --model a --data book.txt --by-position");
    assert_null(strstr(text, "weight_norm"));
    free(text);
}

/* A layer without fast weights has none to show; the means of all are of those that have some. */
static void test_layers_that_differ(void **state) {
    (void)state;
    free(support_done("init --preset tiny %s --layers self_attention,ttt_mlp --tokenizer bytes --seed 3 --out h",
                      SUPPORT_SHAPE));
    json_t *positions = positions_of("--model h --max-tokens 64");
    const json_t *bucket = json_array_get(positions, 5), *layers = json_object_get(bucket, "layers");
    assert_int_equal(json_array_size(layers), 2);
    for (int j = 0; j < 4; j++) {
        assert_true(json_is_null(json_object_get(json_array_get(layers, 0), keys[j])));
        near(support_number(bucket, keys[j]), support_number(json_array_get(layers, 1), keys[j]));
    }
    json_decref(positions);

    support_write("begin.txt", "What it has read.", 17);
    free(support_done("read --model h --save-state h.ilstate begin.txt"));
    json_t *object = support_json("inspect --model h h.ilstate");
    layers = json_object_get(object, "layers");
    assert_int_equal(json_array_size(layers), 2);
    assert_true(json_is_null(json_array_get(layers, 0)));
    assert_true(support_number(json_array_get(layers, 1), "weight_norm") > 0);
    json_decref(object);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_states), cmocka_unit_test(test_feed),
                                       cmocka_unit_test(test_sequences), cmocka_unit_test(test_controls),
                                       cmocka_unit_test(test_layers_that_differ)};
    return cmocka_run_group_tests(tests, begin, support_cli_end);
}
