/* test_fast_plan.c: which rows a fast head computes and learns from, for every part of a short text, whatever has been
 * asked and kept before. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "session/fast_plan.h"

enum { END = 14 };

/* Row r predicts token r + 1. */
static void check(const il_fast_wish *w) {
    uint64_t end = w->start + w->n, next = 0;
    int computed[END + 2] = {0};
    for (uint64_t m = w->start / w->b; m <= end / w->b; m++) {
        il_fast_group g = il_fast_group_of(w, m);
        uint64_t first = il_fast_first_row(m, w->b), last = il_fast_first_row(m + 1, w->b); /* those of m */
        int complete = (m + 1) * w->b <= end;
        assert_int_equal(g.mini_batch, m);
        assert_int_equal(g.learns, w->learns && complete);
        assert_true(g.n >= 0 && g.kept >= 0);
        if (!g.n && !g.kept) continue;
        /* rows of this mini-batch and of nothing that is not known yet, each once, ascending */
        assert_true(g.first - (uint64_t)g.kept >= first && g.first + (uint64_t)g.n <= (last < end ? last : end));
        assert_true(g.first >= next);
        next = g.first + (uint64_t)g.n;
        for (uint64_t r = g.first; r < next; r++) computed[r]++;
        if (g.learns) assert_int_equal((uint64_t)(g.n + g.kept), last - first); /* from every token of it */
        if (g.kept) {
            assert_true(g.learns && w->kept_from <= first && w->kept_to == w->start);
            assert_true(g.first <= w->start || !g.n);
        }
        assert_int_equal(g.keeps, w->learns && !g.learns && w->rows && !w->losses);
    }
    for (uint64_t r = 0; r < END + 2; r++) {
        int own = r >= w->start && r < end, loss = r + 1 >= w->start && r + 1 < end;
        assert_true(computed[r] <= 1);
        if (w->rows && own) assert_int_equal(computed[r], 1);
        if (w->losses && loss) assert_int_equal(computed[r], 1);
        if (!w->learns && !w->rows && !(w->losses && loss)) assert_int_equal(computed[r], 0); /* no work for nothing */
    }
}

static void every_part(void **state) {
    (void)state;
    for (uint64_t b = 1; b <= 5; b++)
        for (uint64_t start = 0; start < END; start++)
            for (uint64_t n = 1; start + n <= END; n++)
                for (int flags = 0; flags < 8; flags++) {
                    il_fast_wish w = {start, n, b, flags & 1, flags >> 1 & 1, flags >> 2, 0, 0};
                    check(&w);
                    for (w.kept_to = start; w.kept_from < start; w.kept_from++) check(&w);
                }
}

/* The drawing at the top of fast_plan.h. */
static void the_timeline(void **state) {
    (void)state;
    il_fast_wish w = {.start = 5, .n = 8, .b = 4, .learns = 1, .rows = 1, .kept_from = 3, .kept_to = 5};
    il_fast_group g = il_fast_group_of(&w, 1);
    assert_true(g.learns && g.kept == 2 && g.first == 5 && g.n == 2);
    g = il_fast_group_of(&w, 2);
    assert_true(g.learns && !g.kept && g.first == 7 && g.n == 4);
    g = il_fast_group_of(&w, 3);
    assert_true(!g.learns && g.keeps && g.first == 11 && g.n == 2);
    w.rows = 0;
    g = il_fast_group_of(&w, 3);
    assert_true(!g.n && !g.keeps); /* nobody asked */
    w.kept_to = 4;
    g = il_fast_group_of(&w, 1);
    assert_true(!g.kept && g.first == 3 && g.n == 4); /* a row is missing: all are computed again */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_part), cmocka_unit_test(the_timeline)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
