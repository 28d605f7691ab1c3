/* test_rounds.c: every group's own work before its turn, turns in order, with any number of groups and threads. */
#include "support_test.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/rounds.h"

enum { ROUNDS = 50, THREADS_MAX = 5 };

/* Checked inside the work, which may not use cmocka: anything wrong is counted. */
typedef struct tally {
    il_pool *pool;
    int groups;
    int turns; /* plain on purpose, like the rest: who may touch it is what is tested (thread sanitizer) */
    int alone[IL_ROUND_GROUPS_MAX], turned[IL_ROUND_GROUPS_MAX];
    atomic_int busy[IL_ROUND_GROUPS_MAX], turning, wrong, inner;
    atomic_int beside; /* group 1 works while group 0 has its turn */
} tally;

static void inner(void *context, int item, int worker) {
    tally *t = context;
    (void)item;
    (void)worker;
    atomic_fetch_add(&t->inner, 1);
}

static void alone(void *context, int group, int round) {
    tally *t = context;
    if (atomic_exchange(&t->busy[group], 1)) atomic_fetch_add(&t->wrong, 1);
    if (t->alone[group]++ != round || t->turned[group] != round) atomic_fetch_add(&t->wrong, 1);
    il_pool_run(t->pool, 3, inner, t);
    atomic_store(&t->busy[group], 0);
}

static void in_turn(void *context, int group, int round) {
    tally *t = context;
    if (atomic_exchange(&t->busy[group], 1) || atomic_exchange(&t->turning, 1)) atomic_fetch_add(&t->wrong, 1);
    if (t->turns++ != round * t->groups + group) atomic_fetch_add(&t->wrong, 1);
    if (t->turned[group]++ != round || t->alone[group] != round + 1) atomic_fetch_add(&t->wrong, 1);
    atomic_store(&t->turning, 0);
    atomic_store(&t->busy[group], 0);
}

static int wrong_after(il_pool *pool, int groups) {
    static tally t;
    t = (tally){.pool = pool, .groups = groups};
    il_rounds_run(pool, &(il_rounds){groups, ROUNDS, alone, in_turn, &t});
    return t.wrong + (t.turns != groups * ROUNDS) + (t.inner != 3 * groups * ROUNDS);
}

static void order(void **state) {
    il_allocator allocator = il_allocator_default();
    il_error error;
    (void)state;
    for (int threads = 1; threads <= THREADS_MAX; threads++) {
        static const int counts[] = {1, 2, 3, 5, IL_ROUND_GROUPS_MAX};
        il_pool *pool;
        assert_ok(il_pool_open(&allocator, threads, &pool, &error), error);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) assert_int_equal(wrong_after(pool, counts[i]), 0);
        il_pool_close(pool);
    }
}

/* The threads of a pool are its parent's: the child does all by itself. */
static void in_a_forked_child(void **state) {
    il_allocator allocator = il_allocator_default();
    il_pool *pool;
    il_error error;
    (void)state;
    assert_ok(il_pool_open(&allocator, 3, &pool, &error), error);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) _exit(wrong_after(pool, 3) != 0);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    il_pool_close(pool);
}

/* Each waits for the other to be under way: it never ends unless they are at the same time. */
static void wait_beside(tally *t, int bit) {
    atomic_fetch_or(&t->beside, bit);
    while (atomic_load(&t->beside) != 3) sched_yield();
}

static void alone_beside(void *context, int group, int round) {
    if (group == 1 && round == 0) wait_beside(context, 1);
}

static void turn_beside(void *context, int group, int round) {
    if (group == 0 && round == 0) wait_beside(context, 2);
}

static void one_works_while_another_has_its_turn(void **state) {
    static tally t;
    il_allocator allocator = il_allocator_default();
    il_pool *pool;
    il_error error;
    (void)state;
    assert_ok(il_pool_open(&allocator, 2, &pool, &error), error);
    il_rounds_run(pool, &(il_rounds){2, 3, alone_beside, turn_beside, &t});
    assert_int_equal(t.beside, 3);
    il_pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order),
        cmocka_unit_test(in_a_forked_child),
        cmocka_unit_test(one_works_while_another_has_its_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
