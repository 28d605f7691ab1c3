/* engine.c: opening and closing an engine, and its log. Owns the threads and the buffers that belong to no
 * model; refuses options outside their documented range. */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cpus.h"
#include "base/error.h"
#include "engine/gemm.h"

enum { THREADS_MAX = 256 };

void il_engine_options_default(il_engine_options *options) { *options = (il_engine_options){0}; }

static int threads_default(void) {
    int cpus = il_cpus_usable();
    return cpus > THREADS_MAX ? THREADS_MAX : cpus;
}

il_status il_engine_open(const il_engine_options *options, il_engine **out, il_error *error) {
    il_engine_options defaults;
    il_status status;
    *out = NULL;
    if (!options) {
        il_engine_options_default(&defaults);
        options = &defaults;
    }
    if (options->threads < 0 || options->threads > THREADS_MAX)
        return il_fail(error, IL_ERR_ARG, "threads must be 0 to %d, not %d", THREADS_MAX, options->threads);
    il_allocator memory = options->allocator;
    if (!memory.allocate != !memory.release)
        return il_fail(error, IL_ERR_ARG, "allocator needs both allocate and release, or neither");
    if (!memory.allocate) memory = il_allocator_default();

    il_engine *engine = il_alloc(&memory, 1, sizeof *engine);
    if (!engine) return il_fail(error, IL_ERR_NOMEM, "out of memory for an engine");
    engine->memory = memory;
    engine->log = options->log;
    engine->log_user = options->log_user;
    engine->kernels = il_kernels_pick(options->kernels);
    if (!engine->kernels) {
        const char *name = options->kernels ? options->kernels : getenv("IL_CPU");
        status = il_fail(error, IL_ERR_UNSUPPORTED,
                         "kernels \"%s\": unknown, or not for this CPU (portable, avx2, avx512, avx512_vnni, neon)",
                         name ? name : "");
        goto fail;
    }
    int threads = options->threads ? options->threads : threads_default();
    engine->gemm_scratch = il_alloc(&engine->memory, (size_t)threads * IL_GEMM_SCRATCH, sizeof(float));
    if (!engine->gemm_scratch) {
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for the buffers of %d threads", threads);
        goto fail;
    }
    status = il_pool_open(&engine->memory, threads, &engine->pool, error);
    if (status != IL_OK) goto fail;
    *out = engine;
    return IL_OK;
fail:
    il_engine_close(engine);
    return status;
}

void il_engine_close(il_engine *engine) {
    if (!engine) return;
    il_allocator memory = engine->memory;
    il_pool_close(engine->pool);
    il_free(&memory, engine->gemm_scratch);
    il_free(&memory, engine);
}

int il_engine_threads(const il_engine *engine) { return il_pool_threads(engine->pool); }

const char *il_engine_kernels(const il_engine *engine) { return engine->kernels->name; }

void il_engine_run(il_engine *engine, int items, void (*run)(void *user, int item, int thread), void *user) {
    il_pool_run(engine->pool, items, run, user);
}

void il_log(const il_engine *engine, il_log_level level, const char *format, ...) {
    char line[1024];
    va_list args;
    if (!engine->log) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    engine->log(engine->log_user, level, line);
}
