/* test_table.c: the tensor table's layout, its refusals and the weights it makes. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "support_alloc.h"
#include "tensor/table.h"

static void offsets_are_aligned_and_padding_zero(void **state) {
    (void)state;
    support_alloc alloc;
    il_table table;
    il_error error;
    size_t offset[5];
    support_alloc_begin(&alloc);
    il_table_begin(&alloc.allocator, &table);
    assert_ok(il_table_add(&table, &offset[0], IL_INIT_ONES, 1, (size_t[]){3}, &error, "norm"), error);
    assert_ok(il_table_add(&table, &offset[1], IL_INIT_NORMAL, 2, (size_t[]){5, 7}, &error, "layer.%d.%s", 1, "w"),
              error);
    assert_ok(il_table_add(&table, &offset[2], IL_INIT_CONV, 3, (size_t[]){2, 1, 4}, &error, "conv"), error);
    assert_ok(il_table_add(&table, &offset[3], IL_INIT_ZEROS, 4, (size_t[]){2, 2, 2, 2}, &error, "bias"), error);
    assert_ok(il_table_add(&table, &offset[4], IL_INIT_SPREAD, 2, (size_t[]){3, 1}, &error, "spread"), error);
    assert_int_equal(table.n, 5);
    assert_int_equal(offset[0], 0);
    assert_int_equal(offset[1], 16);
    assert_int_equal(offset[2], 64);
    assert_int_equal(offset[3], 80);
    assert_int_equal(offset[4], 96);
    assert_int_equal(table.floats, 112);
    const il_table_entry *w = il_table_find(&table, "layer.1.w");
    assert_non_null(w);
    assert_int_equal(w->count, 35);
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->shape[1], 7);
    assert_null(il_table_find(&table, "layer.1"));

    float *block = malloc(table.floats * sizeof *block), *again = malloc(table.floats * sizeof *block);
    memset(block, 0xff, table.floats * sizeof *block);
    il_table_init(&table, 11, block);
    for (int i = 0; i < 112; i++) {
        int in_norm = i < 3, in_w = i >= 16 && i < 51, in_conv = i >= 64 && i < 72;
        if (in_norm)
            assert_true(block[i] == 1.0f);
        else if (in_w || in_conv)
            assert_true(block[i] != 0.0f && isfinite(block[i]));
        else if (i >= 96 && i < 99)
            assert_true(block[i] == (float)(i - 97));
        else
            assert_true(block[i] == 0.0f);
    }
    il_table_init(&table, 11, again);
    assert_memory_equal(block, again, table.floats * sizeof *block);
    il_table_init(&table, 12, again);
    assert_memory_not_equal(block + 16, again + 16, 35 * sizeof *block);
    free(block);
    free(again);
    il_table_end(&table);
    assert_int_equal(alloc.live, 0);
}

/* A tensor set apart leaves no hole: the next one takes its place. */
static void what_is_set_apart_takes_no_floats(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    il_table table;
    il_error error;
    size_t offset[3];
    il_table_begin(&c, &table);
    assert_ok(il_table_add(&table, &offset[0], IL_INIT_ONES, 1, (size_t[]){3}, &error, "norm"), error);
    assert_ok(il_table_add(&table, &offset[1], IL_INIT_NORMAL, 2, (size_t[]){5, 7}, &error, "w"), error);
    il_table_set_apart(&table, IL_WEIGHTS_BF16, 640);
    assert_ok(il_table_add(&table, &offset[2], IL_INIT_ZEROS, 1, (size_t[]){2}, &error, "bias"), error);
    assert_int_equal(offset[2], offset[1]);
    assert_int_equal(table.floats, 32);
    const il_table_entry *w = il_table_find(&table, "w");
    assert_int_equal(w->type, IL_WEIGHTS_BF16);
    assert_int_equal(w->offset, 640);
    assert_int_equal(w->count, 35);
    il_table_end(&table);
}

static void weights_follow_the_recipe(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    il_table table;
    il_error error;
    size_t normal, conv;
    double n1 = 0, n2 = 0, c1 = 0, c2 = 0, most = 0;
    enum { N = 40000 };
    il_table_begin(&c, &table);
    assert_ok(il_table_add(&table, &normal, IL_INIT_NORMAL, 1, (size_t[]){N}, &error, "n"), error);
    assert_ok(il_table_add(&table, &conv, IL_INIT_CONV, 3, (size_t[]){N / 4, 1, 4}, &error, "c"), error);
    float *block = il_alloc(&c, table.floats, sizeof *block);
    il_table_init(&table, 5, block);
    for (size_t i = 0; i < N; i++) {
        double x = block[normal + i], y = block[conv + i];
        n1 += x;
        n2 += x * x;
        c1 += y;
        c2 += y * y;
        most = fmax(most, fabs(y));
    }
    /* within five standard errors */
    assert_true(fabs(n1 / N) < 0.02 * 5 / 200 && fabs(sqrt(n2 / N) / 0.02 - 1) < 5 * 0.71 / 200);
    assert_true(fabs(c1 / N) < 0.5 * 5 / 200 && fabs(sqrt(c2 / N) / 0.5 - 1) < 5 * 0.71 / 200);
    assert_true(most <= 1.1370f && most > 1.13);
    il_free(&c, block);
    il_table_end(&table);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    il_table table;
    il_error error;
    char name[100];
    memset(name, 'n', sizeof name);
    name[96] = 0;
    il_table_begin(&c, &table);
    const size_t one[4] = {1, 1, 1, 1};
    assert_ok(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, one, &error, "twice"), error);
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, one, &error, "twice"), IL_ERR_ARG, error, "twice");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, one, &error, "%s", name), IL_ERR_ARG, error, "95 bytes");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, one, &error, "%s", ""), IL_ERR_ARG, error, "bytes");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 0, one, &error, "x"), IL_ERR_ARG, error, "rank 0");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 5, one, &error, "x"), IL_ERR_ARG, error, "rank 5");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 2, (size_t[]){4, 0}, &error, "x"), IL_ERR_ARG, error,
                 "dimension 1");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 2, (size_t[]){SIZE_MAX / 2, 3}, &error, "x"), IL_ERR_ARG,
                 error, "entries");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, (size_t[]){SIZE_MAX / 4}, &error, "x"), IL_ERR_ARG, error,
                 "bytes");
    assert_fails(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, (size_t[]){SIZE_MAX}, &error, "x"), IL_ERR_ARG, error,
                 "bytes");
    assert_int_equal(table.n, 1);
    assert_int_equal(table.floats, 16);
    name[95] = 0;
    assert_ok(il_table_add(&table, NULL, IL_INIT_ZEROS, 1, one, &error, "%s", name), error);
    il_table_end(&table);
    assert_int_equal(table.n, 0);
}

static il_status fill_table(const il_allocator *allocator, void *context, il_error *error) {
    il_table table;
    il_status status = IL_OK;
    (void)context;
    il_table_begin(allocator, &table);
    for (int i = 0; i < 20 && status == IL_OK; i++)
        status = il_table_add(&table, NULL, IL_INIT_ZEROS, 1, (size_t[]){7}, error, "t%d", i);
    if (status == IL_OK) assert_int_equal(table.floats, 20 * 16);
    il_table_end(&table);
    return status;
}

static void short_memory_is_an_error(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_true(support_alloc_fail_each(&alloc, fill_table, NULL) >= 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_aligned_and_padding_zero),
        cmocka_unit_test(what_is_set_apart_takes_no_floats),
        cmocka_unit_test(weights_follow_the_recipe),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(short_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
