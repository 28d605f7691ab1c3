/* test_engine.c: opening an engine, its options, its log. */
#include "support_test.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "support_engine.h"

static il_error error;

static void default_options_open(void **state) {
    (void)state;
    il_engine_options options;
    il_engine *engine;
    il_engine_options_default(&options);
    assert_int_equal(options.threads, 0);
    assert_ok(il_engine_open(&options, &engine, &error), error);
    assert_true(il_engine_threads(engine) >= 1);
    il_engine_close(engine);
    assert_ok(il_engine_open(NULL, &engine, NULL), error);
    assert_non_null(il_engine_kernels(engine));
    il_engine_close(engine);
    il_engine_close(NULL);
}

static void thread_count_is_what_was_asked(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        il_engine_options options;
        il_engine *engine;
        il_engine_options_default(&options);
        options.threads = threads;
        assert_ok(il_engine_open(&options, &engine, &error), error);
        assert_int_equal(il_engine_threads(engine), threads);
        il_engine_close(engine);
    }
}

typedef struct loop {
    il_engine *engine;
    atomic_int calls[100], inside[4], shared, inner;
} loop;

static void count_inner(void *user, int item, int thread) {
    loop *l = user;
    (void)item;
    (void)thread;
    atomic_fetch_add(&l->inner, 1);
}

static void count(void *user, int item, int thread) {
    loop *l = user;
    if (atomic_fetch_add(&l->inside[thread], 1)) atomic_store(&l->shared, 1);
    atomic_fetch_add(&l->calls[item], 1);
    il_engine_run(l->engine, 2, count_inner, l);
    atomic_fetch_sub(&l->inside[thread], 1);
}

/* Every item once, no two at a time by one thread's number, and a loop within a loop. */
static void loops_are_shared(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads += 3) {
        il_engine_options options;
        loop l = {0};
        il_engine_options_default(&options);
        options.threads = threads;
        assert_ok(il_engine_open(&options, &l.engine, &error), error);
        il_engine_run(l.engine, 0, count, &l);
        il_engine_run(l.engine, 100, count, &l);
        for (int i = 0; i < 100; i++) assert_int_equal(l.calls[i], 1);
        assert_int_equal(l.shared, 0);
        assert_int_equal(l.inner, 200);
        il_engine_close(l.engine);
    }
}

static void bad_options_are_refused(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    il_engine *engine;
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = -1;
    assert_fails(il_engine_open(&options, &engine, &error), IL_ERR_ARG, error, "threads");
    assert_null(engine);
    options.threads = 257;
    assert_fails(il_engine_open(&options, &engine, &error), IL_ERR_ARG, error, "257");
    options.threads = 1;
    options.kernels = "mmx";
    assert_fails(il_engine_open(&options, &engine, &error), IL_ERR_UNSUPPORTED, error, "mmx");
    assert_null(engine);
    options.kernels = NULL;
    options.allocator.allocate = alloc.allocator.allocate;
    assert_fails(il_engine_open(&options, &engine, &error), IL_ERR_ARG, error, "release");
}

static void kernels_are_chosen_by_name(void **state) {
    (void)state;
    il_engine *engine;
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    options.kernels = "portable";
    assert_ok(il_engine_open(&options, &engine, &error), error);
    assert_string_equal(il_engine_kernels(engine), "portable");
    il_engine_close(engine);

    const char *variable = getenv("IL_CPU");
    char *before = variable ? strdup(variable) : NULL;
    options.kernels = NULL;
    setenv("IL_CPU", "portable", 1);
    assert_ok(il_engine_open(&options, &engine, &error), error);
    assert_string_equal(il_engine_kernels(engine), "portable");
    il_engine_close(engine);
    setenv("IL_CPU", "abacus", 1);
    assert_fails(il_engine_open(&options, &engine, &error), IL_ERR_UNSUPPORTED, error, "abacus");
    if (before)
        setenv("IL_CPU", before, 1);
    else
        unsetenv("IL_CPU");
    free(before);
}

static il_status open_and_close(const il_allocator *allocator, void *context, il_error *why) {
    il_engine *engine;
    (void)context;
    il_status status = support_engine_open(2, allocator, &engine, why);
    if (status != IL_OK) assert_null(engine);
    il_engine_close(engine);
    return status;
}

static void short_memory_is_an_error(void **state) {
    (void)state;
    support_alloc alloc;
    support_alloc_begin(&alloc);
    assert_int_equal(support_alloc_fail_each(&alloc, open_and_close, NULL), 4);
}

typedef struct heard {
    int lines;
    il_log_level level;
    char line[2000];
} heard;

static void hear(void *user, il_log_level level, const char *line) {
    heard *h = user;
    h->lines++;
    h->level = level;
    strncpy(h->line, line, sizeof h->line - 1);
}

static void log_lines_arrive(void **state) {
    (void)state;
    heard h = {0};
    char text[3000];
    il_engine *engine;
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = 1;
    options.log = hear;
    options.log_user = &h;
    assert_ok(il_engine_open(&options, &engine, &error), error);
    h.lines = 0;
    il_log(engine, IL_LOG_WARN, "step %d of %s", 3, "ten");
    assert_int_equal(h.lines, 1);
    assert_int_equal(h.level, IL_LOG_WARN);
    assert_string_equal(h.line, "step 3 of ten");
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    il_log(engine, IL_LOG_DEBUG, "%s", text);
    assert_int_equal(strlen(h.line), 1023);
    il_engine_close(engine);
    options.log = NULL;
    assert_ok(il_engine_open(&options, &engine, &error), error);
    il_log(engine, IL_LOG_INFO, "nobody hears");
    assert_int_equal(h.lines, 2);
    il_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(default_options_open),       cmocka_unit_test(thread_count_is_what_was_asked),
        cmocka_unit_test(loops_are_shared),           cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(kernels_are_chosen_by_name), cmocka_unit_test(short_memory_is_an_error),
        cmocka_unit_test(log_lines_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
