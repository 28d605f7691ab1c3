/* test_memory.c: allocation, growth, arenas. */
#include "support_test.h"

#include "base/memory.h"
#include "support_alloc.h"

static void blocks_are_zeroed_and_aligned(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    for (size_t bytes = 1; bytes < 300; bytes += 13) {
        unsigned char *block = il_alloc(&alloc.allocator, bytes, 1);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % IL_ALIGN, 0);
        for (size_t i = 0; i < bytes; i++) assert_int_equal(block[i], 0);
        il_free(&alloc.allocator, block);
    }
    assert_int_equal(alloc.live, 0);
    il_allocator c = il_allocator_default();
    void *block = il_alloc(&c, 3, 100);
    assert_int_equal((uintptr_t)block % IL_ALIGN, 0);
    il_free(&c, block);
}

static void nothing_asked_gives_a_block(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    void *a = il_alloc(&c, 0, 8), *b = il_alloc_raw(&c, 8, 0);
    assert_non_null(a);
    assert_non_null(b);
    il_free(&c, a);
    il_free(&c, b);
    il_free(&c, NULL);
}

static void overflow_and_shortage_give_null(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_null(il_alloc(&alloc.allocator, SIZE_MAX / 2, 3));
    assert_null(il_alloc_raw(&alloc.allocator, SIZE_MAX, SIZE_MAX));
    assert_int_equal(alloc.calls, 0);
    support_alloc_fail_at(&alloc, 1);
    assert_null(il_strdup(&alloc.allocator, "text"));
    char *copy = il_strdup(&alloc.allocator, "text");
    assert_string_equal(copy, "text");
    il_free(&alloc.allocator, copy);
    assert_int_equal(alloc.live, 0);
}

static void growing_keeps_what_was_there(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    void *block = NULL;
    size_t capacity = 0;
    for (size_t used = 0; used < 1000; used++) {
        assert_int_equal(il_grow(&alloc.allocator, &block, &capacity, used, used + 1, sizeof(int)), 1);
        ((int *)block)[used] = (int)used;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(((int *)block)[i], i);
    assert_true(alloc.calls < 15); /* doubling */
    void *kept = block;
    size_t kept_capacity = capacity;
    assert_int_equal(il_grow(&alloc.allocator, &block, &capacity, 1000, SIZE_MAX / 2, sizeof(int)), 0);
    support_alloc_fail_at(&alloc, 1);
    assert_int_equal(il_grow(&alloc.allocator, &block, &capacity, 1000, capacity + 1, sizeof(int)), 0);
    assert_ptr_equal(block, kept);
    assert_int_equal(capacity, kept_capacity);
    il_free(&alloc.allocator, block);
    assert_int_equal(alloc.live, 0);
}

static void arena_measures_then_carves(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    il_arena arena = {NULL, 0};
    char *parts[3];
    for (int pass = 0; pass < 2; pass++) {
        arena.used = 0;
        parts[0] = il_arena_take(&arena, 1, 1);
        parts[1] = il_arena_take(&arena, 0, 8);
        parts[2] = il_arena_take(&arena, 65, 1);
        assert_int_equal(arena.used, 64 + 128);
        if (pass == 0) {
            for (int i = 0; i < 3; i++) assert_null(parts[i]);
            arena.base = il_alloc(&c, arena.used, 1);
            assert_non_null(arena.base);
        }
    }
    assert_ptr_equal(parts[0], arena.base);
    assert_ptr_equal(parts[2], arena.base + 64);
    il_free(&c, arena.base);
}

static void arena_saturates(void **state) {
    (void)state;
    il_allocator c = il_allocator_default();
    const size_t sizes[][2] = {{SIZE_MAX, 2}, {SIZE_MAX, 1}, {SIZE_MAX - 10, 1}, {SIZE_MAX - 63, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        il_arena arena = {NULL, 128};
        assert_null(il_arena_take(&arena, sizes[i][0], sizes[i][1]));
        assert_int_equal(arena.used, SIZE_MAX);
        il_arena_take(&arena, 1, 1);
        assert_int_equal(arena.used, SIZE_MAX);
        assert_null(il_alloc_raw(&c, arena.used, 1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_zeroed_and_aligned),   cmocka_unit_test(nothing_asked_gives_a_block),
        cmocka_unit_test(overflow_and_shortage_give_null), cmocka_unit_test(growing_keeps_what_was_there),
        cmocka_unit_test(arena_measures_then_carves),      cmocka_unit_test(arena_saturates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
