/* test_pool.c: every item once, one worker at a time, in nested, concurrent and forked use; chains of steps. */
#include "support_test.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/chains.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/pool.h"
#include "support_alloc.h"

enum { ITEMS_MAX = 1000, WORKERS_MAX = 8 };
static const int thread_counts[] = {1, 2, 3, 5};

/* Checked inside the items, which may not use cmocka: anything wrong is counted. */
typedef struct tally {
    il_pool *pool;
    int threads, inner; /* inner: items of a nested loop in each item */
    atomic_int seen[ITEMS_MAX];
    atomic_int busy[WORKERS_MAX];
    int last[WORKERS_MAX]; /* plain on purpose: only its worker touches it, or the thread sanitizer speaks */
    atomic_int wrong, nested;
    int outer_worker[WORKERS_MAX];
} tally;

typedef struct inner_loop {
    tally *tally;
    int worker;
} inner_loop;

static il_pool *open_pool(int threads) {
    static il_allocator allocator;
    il_pool *pool;
    il_error error;
    allocator = il_allocator_default();
    assert_ok(il_pool_open(&allocator, threads, &pool, &error), error);
    assert_int_equal(il_pool_threads(pool), threads);
    return pool;
}

static void inner_item(void *context, int item, int worker) {
    inner_loop *loop = context;
    (void)item;
    if (worker != loop->worker) atomic_fetch_add(&loop->tally->wrong, 1);
    atomic_fetch_add(&loop->tally->nested, 1);
}

static void item(void *context, int i, int worker) {
    tally *t = context;
    if (worker < 0 || worker >= t->threads || atomic_exchange(&t->busy[worker], 1)) {
        atomic_fetch_add(&t->wrong, 1);
        return;
    }
    if (t->last[worker] >= i) atomic_fetch_add(&t->wrong, 1);
    t->last[worker] = i;
    atomic_fetch_add(&t->seen[i], 1);
    if (t->inner) {
        inner_loop loop = {t, worker};
        il_pool_run(t->pool, t->inner, inner_item, &loop);
    }
    atomic_store(&t->busy[worker], 0);
}

static tally *tally_make(il_pool *pool) {
    il_allocator c = il_allocator_default();
    tally *t = il_alloc(&c, 1, sizeof *t);
    assert_non_null(t);
    t->pool = pool;
    t->threads = il_pool_threads(pool);
    return t;
}

static void tally_free(tally *t) {
    il_allocator c = il_allocator_default();
    il_free(&c, t);
}

static void loop_and_check(tally *t, int items) {
    for (int i = 0; i < ITEMS_MAX; i++) atomic_store(&t->seen[i], 0);
    for (int w = 0; w < WORKERS_MAX; w++) t->last[w] = -1;
    atomic_store(&t->nested, 0);
    il_pool_run(t->pool, items, item, t);
    assert_int_equal(atomic_load(&t->wrong), 0);
    for (int i = 0; i < ITEMS_MAX; i++) assert_int_equal(atomic_load(&t->seen[i]), i < items);
    assert_int_equal(atomic_load(&t->nested), items * t->inner);
}

static void each_item_runs_once(void **state) {
    (void)state;
    static const int counts[] = {0, 1, 2, 3, 7, 64, ITEMS_MAX};
    for (size_t i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        il_pool *pool = open_pool(thread_counts[i]);
        tally *t = tally_make(pool);
        for (t->inner = 0; t->inner < 4; t->inner += 3)
            for (int round = 0; round < 20; round++)
                for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) loop_and_check(t, counts[c]);
        il_pool_run(pool, -1, item, NULL); /* no items */
        tally_free(t);
        il_pool_close(pool);
    }
}

static void one_thread_goes_in_order(void **state) {
    (void)state;
    il_pool *pool = open_pool(1);
    tally *t = tally_make(pool);
    loop_and_check(t, 100);
    assert_int_equal(t->last[0], 99);
    tally_free(t);
    il_pool_close(pool);
}

/* Items that wait for each other end only when as many threads work at once. */
typedef struct meeting {
    int expected;
    atomic_int arrived, late;
} meeting;

static void meet(void *context, int i, int worker) {
    meeting *m = context;
    double start = il_clock_seconds();
    (void)i, (void)worker;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->expected) {
        sched_yield();
        if (il_clock_seconds() - start > 60) {
            atomic_store(&m->late, 1);
            return;
        }
    }
}

static void all_threads_work_also_after_sleep(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        il_pool *pool = open_pool(thread_counts[i]);
        for (int round = 0; round < 60; round++) {
            meeting m = {.expected = thread_counts[i]};
            il_pool_run(pool, m.expected, meet, &m);
            assert_int_equal(atomic_load(&m.late), 0);
            assert_int_equal(atomic_load(&m.arrived), m.expected);
            if (round % 20 == 0) nanosleep(&(struct timespec){0, 20 * 1000 * 1000}, NULL); /* beyond any spin */
        }
        il_pool_close(pool);
    }
}

/* Several callers of one pool: each sees its own items only, and workers are never shared. */
typedef struct caller {
    il_pool *pool;
    atomic_int *busy; /* [WORKERS_MAX], of all callers */
    atomic_int wrong;
    atomic_llong sum;
    int plain; /* touched in loops of one item and after them: must be ordered by the pool */
} caller;

static void add_item(void *context, int i, int worker) {
    caller *c = context;
    if (atomic_exchange(&c->busy[worker], 1)) atomic_fetch_add(&c->wrong, 1);
    atomic_fetch_add(&c->sum, i);
    atomic_store(&c->busy[worker], 0);
}

static void plain_item(void *context, int i, int worker) {
    caller *c = context;
    (void)worker;
    if (i == 3) c->plain++;
}

static void *call_often(void *argument) {
    caller *c = argument;
    for (int round = 0; round < 400; round++) {
        il_pool_run(c->pool, 1 + round % 13, add_item, c);
        il_pool_run(c->pool, 4, plain_item, c);
        c->plain++;
    }
    return NULL;
}

static void callers_take_turns(void **state) {
    (void)state;
    long long expected = 0;
    for (int round = 0; round < 400; round++)
        for (int i = 0; i < 1 + round % 13; i++) expected += i;
    for (size_t i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        il_pool *pool = open_pool(thread_counts[i]);
        atomic_int busy[WORKERS_MAX] = {0};
        caller callers[3] = {0};
        pthread_t threads[3];
        for (int c = 0; c < 3; c++) {
            callers[c].pool = pool;
            callers[c].busy = busy;
            assert_int_equal(pthread_create(&threads[c], NULL, call_often, &callers[c]), 0);
        }
        for (int c = 0; c < 3; c++) pthread_join(threads[c], NULL);
        for (int c = 0; c < 3; c++) {
            assert_int_equal(atomic_load(&callers[c].wrong), 0);
            assert_int_equal(atomic_load(&callers[c].sum), expected);
            assert_int_equal(callers[c].plain, 800);
        }
        il_pool_close(pool);
    }
}

/* A pool used inside an item of another, and back. */
typedef struct two_pools {
    il_pool *a, *b;
    atomic_int leaves;
} two_pools;

static void leaf(void *context, int i, int worker) {
    (void)i, (void)worker;
    atomic_fetch_add(&((two_pools *)context)->leaves, 1);
}
static void in_b(void *context, int i, int worker) {
    (void)i, (void)worker;
    il_pool_run(((two_pools *)context)->a, 3, leaf, context);
}
static void in_a(void *context, int i, int worker) {
    (void)worker;
    if (i == 0) il_pool_run(((two_pools *)context)->b, 1, in_b, context); /* one item: stays on this thread */
}

static void pools_nest(void **state) {
    (void)state;
    two_pools p = {open_pool(2), open_pool(2), 0};
    for (int round = 0; round < 100; round++) il_pool_run(p.a, 2, in_a, &p);
    assert_int_equal(atomic_load(&p.leaves), 300);
    il_pool_close(p.b);
    il_pool_close(p.a);
}

/* ---- fork ---- */

static void loop_or_exit(il_pool *pool) {
    alarm(60); /* ends a hang */
    tally *t = tally_make(pool);
    for (t->inner = 0; t->inner < 4; t->inner += 3)
        for (int round = 0; round < 50; round++) {
            for (int w = 0; w < WORKERS_MAX; w++) t->last[w] = -1;
            for (int i = 0; i < 10; i++) atomic_store(&t->seen[i], 0);
            il_pool_run(pool, 10, item, t);
            for (int i = 0; i < 10; i++)
                if (atomic_load(&t->seen[i]) != 1 || atomic_load(&t->wrong)) _exit(1);
        }
    tally_free(t);
}

/* In the child, and in that many generations below it: loops, nested loops, and closing; exits 0 when all was
 * right. */
static _Noreturn void child_main(il_pool *pool, int generations) {
    loop_or_exit(pool);
    while (generations-- > 0) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            loop_or_exit(pool);
            continue;
        }
        if (waitpid(child, &status, 0) != child || status != 0) _exit(2);
        break;
    }
    il_pool_close(pool);
    _exit(0);
}

static void assert_child_is_fine(pid_t child) {
    int status = -1;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_forked_child_can_run_and_close(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        il_pool *pool = open_pool(thread_counts[i]);
        tally *t = tally_make(pool);
        loop_and_check(t, 10);
        pid_t child = fork();
        if (child == 0) child_main(pool, 2);
        assert_child_is_fine(child);
        loop_and_check(t, 10);
        tally_free(t);
        il_pool_close(pool);
    }
}

typedef struct fork_stage {
    il_pool *pool;
    atomic_int running, release;
    pid_t child;
} fork_stage;

static void hold(void *context, int i, int worker) {
    fork_stage *s = context;
    (void)i, (void)worker;
    atomic_store(&s->running, 1);
    while (!atomic_load(&s->release)) sched_yield();
}

static void *hold_the_pool(void *argument) {
    fork_stage *s = argument;
    il_pool_run(s->pool, 2, hold, s);
    return NULL;
}

static void fork_while_another_thread_holds_the_pool(void **state) {
    (void)state;
    fork_stage s = {.pool = open_pool(2)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, hold_the_pool, &s), 0);
    while (!atomic_load(&s.running)) sched_yield();
    pid_t child = fork();
    if (child == 0) child_main(s.pool, 1);
    atomic_store(&s.release, 1);
    assert_child_is_fine(child);
    pthread_join(thread, NULL);
    il_pool_close(s.pool);
}

static void fork_here(void *context, int i, int worker) {
    fork_stage *s = context;
    (void)worker;
    if (i != 1) return;
    pid_t child = fork();
    if (child == 0) {
        atomic_int count = 0;
        alarm(60);
        two_pools p = {s->pool, NULL, 0};
        il_pool_run(s->pool, 5, leaf, &p);
        count = atomic_load(&p.leaves);
        _exit(count == 5 ? 0 : 1);
    }
    s->child = child;
}

static void fork_inside_an_item(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++) {
        fork_stage s = {.pool = open_pool(thread_counts[i])};
        il_pool_run(s.pool, 3, fork_here, &s);
        assert_child_is_fine(s.child);
        il_pool_close(s.pool);
    }
}

/* ---- opening ---- */

static il_status open_and_close(const il_allocator *allocator, void *context, il_error *error) {
    il_pool *pool;
    il_status status = il_pool_open(allocator, *(int *)context, &pool, error);
    if (status != IL_OK) assert_null(pool);
    il_pool_close(pool);
    return status;
}

static void bad_counts_and_short_memory_are_errors(void **state) {
    (void)state;
    support_alloc alloc;
    il_error error;
    il_pool *pool;
    int threads = 3;
    support_alloc_begin(&alloc);
    assert_fails(il_pool_open(&alloc.allocator, 0, &pool, &error), IL_ERR_ARG, error, "threads");
    assert_null(pool);
    assert_fails(il_pool_open(&alloc.allocator, 257, &pool, &error), IL_ERR_ARG, error, "257");
    assert_int_equal(support_alloc_fail_each(&alloc, open_and_close, &threads), 2);
    il_pool_close(NULL);
}

static void running_allocates_nothing(void **state) {
    (void)state;
    support_alloc alloc;
    il_error error;
    il_pool *pool;
    two_pools p = {0};
    support_alloc_begin(&alloc);
    assert_ok(il_pool_open(&alloc.allocator, 3, &pool, &error), error);
    long calls = alloc.calls;
    for (int i = 0; i < 100; i++) il_pool_run(pool, 10, leaf, &p);
    assert_int_equal(alloc.calls, calls);
    il_pool_close(pool);
    assert_int_equal(alloc.live, 0);
}

/* Steps of a chain in order, one at a time; of chains that threads share unevenly, by all threads. */
enum { CHAINS_MOST = IL_CHAINS_MAX + 1 };
typedef struct chain_tally {
    int steps, chains, threads;
    int next[CHAINS_MOST]; /* plain on purpose, as tally.last */
    atomic_int wrong;
} chain_tally;

static void chain_step(void *context, int chain, int step, int worker) {
    chain_tally *t = context;
    if (worker < 0 || worker >= t->threads || chain < 0 || chain >= t->chains || t->next[chain] != step)
        atomic_fetch_add(&t->wrong, 1);
    else
        t->next[chain] = step + 1;
}

static void steps_of_a_chain_run_in_order(void **state) {
    (void)state;
    static const int chains[] = {1, 2, 3, 4, 7, IL_CHAINS_MAX, CHAINS_MOST}, steps[] = {1, 2, 5};
    for (size_t i = 0; i < sizeof thread_counts / sizeof *thread_counts; i++)
        for (size_t c = 0; c < sizeof chains / sizeof *chains; c++)
            for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
                chain_tally t = {.steps = steps[s], .chains = chains[c], .threads = thread_counts[i]};
                il_pool *pool = open_pool(t.threads);
                il_chains loop;
                int items = il_chains_begin(&loop, pool, t.chains, t.steps, chain_step, &t);
                int uneven = t.chains > t.threads && t.chains % t.threads && t.chains <= IL_CHAINS_MAX;
                assert_int_equal(items, t.chains * (uneven ? t.steps : 1));
                il_pool_run(pool, items, il_chains_run, &loop);
                assert_int_equal(atomic_load(&t.wrong), 0);
                for (int chain = 0; chain < t.chains; chain++) assert_int_equal(t.next[chain], t.steps);
                il_pool_close(pool);
            }
}

/* A step whose predecessor is slow waits for it. */
static void slow_first_step(void *context, int chain, int step, int worker) {
    if (chain == 0 && step == 0) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    chain_step(context, chain, step, worker);
}

static void a_step_waits_for_the_one_before(void **state) {
    (void)state;
    chain_tally t = {.steps = 4, .chains = 3, .threads = 2};
    il_pool *pool = open_pool(t.threads);
    il_chains loop;
    il_pool_run(pool, il_chains_begin(&loop, pool, t.chains, t.steps, slow_first_step, &t), il_chains_run, &loop);
    assert_int_equal(atomic_load(&t.wrong), 0);
    for (int chain = 0; chain < t.chains; chain++) assert_int_equal(t.next[chain], t.steps);
    il_pool_close(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_item_runs_once),
        cmocka_unit_test(one_thread_goes_in_order),
        cmocka_unit_test(all_threads_work_also_after_sleep),
        cmocka_unit_test(callers_take_turns),
        cmocka_unit_test(pools_nest),
        cmocka_unit_test(a_forked_child_can_run_and_close),
        cmocka_unit_test(fork_while_another_thread_holds_the_pool),
        cmocka_unit_test(fork_inside_an_item),
        cmocka_unit_test(bad_counts_and_short_memory_are_errors),
        cmocka_unit_test(running_allocates_nothing),
        cmocka_unit_test(steps_of_a_chain_run_in_order),
        cmocka_unit_test(a_step_waits_for_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
