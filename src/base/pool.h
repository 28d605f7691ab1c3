/* pool.h: a fixed set of threads that share out the items of one loop at a time. Owns threads; knows nothing of work.
 */
#ifndef IL_BASE_POOL_H
#define IL_BASE_POOL_H

#include "innerloop.h"

typedef struct il_pool il_pool;

/* threads ≥ 1, the calling thread included. */
il_status il_pool_open(const il_allocator *allocator, int threads, il_pool **pool, il_error *error);
void il_pool_close(il_pool *pool); /* NULL allowed */
int il_pool_threads(const il_pool *pool);
/* How often a thread of it looks, with an il_pause between, before it sleeps until it is woken. */
int il_pool_spins(const il_pool *pool);

static inline void il_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Calls run(context, item, worker) once for each item 0 .. items-1 and returns when all are done; worker is in
 * 0 .. threads-1 and no two calls share one at the same time. Items are handed out in ascending order. Called from
 * inside run, or while another thread's loop is under way, it waits or runs inline; it never deadlocks and never
 * allocates. Safe in a forked child. */
void il_pool_run(il_pool *pool, int items, void (*run)(void *context, int item, int worker), void *context);

#endif
