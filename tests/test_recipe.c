/* test_recipe.c: what `train FILE` chooses: where a text is cut, how much is held out, vocabulary, shape, schedule. */
#include "support_test.h"

#include "recipe.h"

static void assert_cut(const char *text, size_t at, size_t window, size_t expected) {
    size_t got = recipe_cut(text, strlen(text), at, window);
    if (got != expected) fail_msg("\"%s\" from %zu within %zu: %zu, not %zu", text, at, window, got, expected);
}

static void test_cut(void **state) {
    (void)state;
    assert_cut("one two\nthree\n\nfour five", 2, 20, 15); /* a paragraph */
    assert_cut("one two\nthree\n\nfour five", 15, 8, 15); /* where one begins */
    assert_cut("one two\nthree\n\nfour five", 2, 10, 8);  /* a line */
    assert_cut("one two\nthree\n\nfour five", 2, 4, 4);   /* a word */
    assert_cut("one\r\n\r\ntwo", 1, 9, 7);
    assert_cut("onetwothree", 4, 3, 4);              /* nothing: here */
    assert_cut("on\xC3\xA9two", 3, 0, 4);            /* a character is not cut */
    assert_cut("\x80\x80\x80\x80\x80\x80", 1, 3, 1); /* there are none */
    assert_cut("one", 3, 5, 3);
    assert_cut("one", 9, 5, 3);
    assert_cut("", 0, 0, 0);
    assert_cut("a\n", 0, 2, 2);
}

/* Enough to measure with, and never so much that little is left to learn from. */
static void test_held_out(void **state) {
    (void)state;
    for (uint64_t bytes = RECIPE_BYTES_MIN; bytes < 1ULL << 40; bytes += bytes / 3) {
        uint64_t held_out = recipe_held_out(bytes);
        assert_true(held_out >= 2000 && held_out <= 100000 && held_out <= bytes / 5);
    }
}

static void test_vocabulary(void **state) {
    (void)state;
    int before = 0;
    for (uint64_t bytes = 1; bytes < 1ULL << 40; bytes *= 2) {
        int vocabulary = recipe_vocabulary(bytes);
        assert_true(vocabulary >= before && (!vocabulary || (vocabulary >= 512 && vocabulary <= 8192)));
        before = vocabulary;
    }
    assert_int_equal(recipe_vocabulary(RECIPE_BYTES_MIN), 0);
    assert_true(before > 0);
}

/* Shapes grow, and every one is one. */
static void test_shapes(void **state) {
    (void)state;
    assert_true(recipe_shape_at(3) != NULL);
    for (size_t i = 0; recipe_shape_at(i); i++) {
        const recipe_shape *s = recipe_shape_at(i), *t = recipe_shape_at(i + 1);
        assert_int_equal(s->width % (2 * s->heads), 0);
        assert_int_equal(s->ffn_width % 8, 0);
        if (t) assert_true(t->width >= s->width && t->layers >= s->layers);
    }
}

enum { SHAPES = 7 };
static const double flops[SHAPES] = {2e5, 6e5, 2.5e6, 8e6, 2.5e7, 6e7, 2e8};

/* More time or more text never makes a model smaller; a second makes the smallest. */
static void test_choice_of_shape(void **state) {
    (void)state;
    for (uint64_t tokens = 2000; tokens < 1ULL << 34; tokens *= 4) {
        recipe_text text = {.tokens = tokens}, more = {.tokens = 4 * tokens};
        size_t before = 0;
        for (double seconds = 1; seconds < 1e7; seconds *= 2) {
            size_t shape = recipe_choose_shape(&text, seconds, 2e10, flops, SHAPES);
            assert_true(shape >= before && shape < SHAPES);
            assert_true(recipe_choose_shape(&more, seconds, 2e10, flops, SHAPES) >= shape);
            before = shape;
        }
        assert_int_equal(recipe_choose_shape(&text, 1, 1e8, flops, SHAPES), 0);
    }
    recipe_text much = {.tokens = 1ULL << 34};
    assert_true(recipe_choose_shape(&much, 1e6, 2e10, flops, SHAPES) > 4);
}

/* Whatever there is: whole sequences, a step at least, data enough for a batch, and no longer than the time. */
static void test_schedule(void **state) {
    (void)state;
    for (uint64_t tokens = 1500; tokens < 1ULL << 34; tokens = tokens * 3 / 2)
        for (double seconds = 0.5; seconds < 1e7; seconds *= 3)
            for (double rate = 100; rate < 1e6; rate *= 7)
                for (size_t i = 0; recipe_shape_at(i); i++) {
                    recipe_text text = {.tokens = tokens, .held_out_tokens = tokens / 20};
                    recipe_schedule s;
                    recipe_choose_schedule(&text, recipe_shape_at(i), seconds, rate, &s);
                    assert_true(s.length >= 16 && s.length % 16 == 0 && s.batch_tokens % s.length == 0);
                    assert_true(s.batch_tokens >= s.length && s.batch_tokens + s.batch_tokens / s.length < tokens);
                    assert_true(s.steps >= 1 && s.val_every >= 1 && s.val_every <= s.steps);
                    assert_true(s.lr > 0 && s.lr < 0.1);
                    if (s.steps > 1) assert_true((double)(s.steps * s.batch_tokens) <= seconds * rate);
                    recipe_schedule longer;
                    recipe_choose_schedule(&text, recipe_shape_at(i), 2 * seconds, rate, &longer);
                    assert_true(longer.steps * longer.batch_tokens + longer.batch_tokens >= s.steps * s.batch_tokens);
                }
}

/* Windows that carry the state on fit into the documents; where they cannot, all windows are fresh. */
static void test_short_documents(void **state) {
    (void)state;
    for (uint64_t documents = 1; documents <= 100000; documents *= 3) {
        recipe_text text = {.tokens = 300000, .documents = documents};
        recipe_schedule s;
        recipe_choose_schedule(&text, recipe_shape_at(1), 300, 1e4, &s);
        assert_true(s.fresh ? text.tokens / documents < 256 : s.length <= text.tokens / documents / 2);
        if (documents == 1) assert_int_equal(s.length, 512);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_held_out),
        cmocka_unit_test(test_vocabulary),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_choice_of_shape),
        cmocka_unit_test(test_schedule),
        cmocka_unit_test(test_short_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
