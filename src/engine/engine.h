/* engine.h: what il_engine holds. Threads, kernels, allocator and log, and nothing of any model. */
#ifndef IL_ENGINE_ENGINE_H
#define IL_ENGINE_ENGINE_H

#include "base/memory.h"
#include "base/pool.h"
#include "kernels/kernels.h"

struct il_engine {
    il_allocator memory;
    il_pool *pool;
    const il_kernels *kernels;
    float *gemm_scratch; /* [threads, IL_GEMM_SCRATCH]: packing buffers, one a worker; only gemm.c touches them */
    void (*log)(void *user, il_log_level level, const char *line);
    void *log_user;
};

void il_log(const il_engine *engine, il_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
