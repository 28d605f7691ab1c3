/* support_engine.c: see support_engine.h. */
#include "support_test.h"

#include "support_engine.h"

il_status support_engine_open(int threads, const il_allocator *allocator, il_engine **engine, il_error *error) {
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = threads;
    options.allocator = *allocator;
    return il_engine_open(&options, engine, error);
}

il_engine *support_engine(int threads, support_alloc *alloc) {
    il_engine *engine;
    il_error error;
    support_alloc_begin(alloc);
    assert_ok(support_engine_open(threads, &alloc->allocator, &engine, &error), error);
    return engine;
}

void support_engine_close(il_engine *engine, const support_alloc *alloc) {
    il_engine_close(engine);
    assert_int_equal(atomic_load(&alloc->live), 0);
}
