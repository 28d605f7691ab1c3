/* pool.c: a loop at a time shared out to a fixed set of threads. Owns the threads and the order of items;
 * refuses to know what an item is, to allocate while running, or to outlive a fork (the child runs its loops
 * by itself).
 *
 * One word, `state`, holds it together: the number of workers inside the current loop and a bit saying that
 * it still has items. A worker enters by adding one while the bit is set; whoever finds no item left clears
 * the bit; the caller leaves when the bit is clear and the number 0. So a worker that wakes too late is not
 * waited for. Two pools whose items call each other's from different threads can wait for each other; one
 * pool cannot. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "base/cpus.h"
#include "base/error.h"
#include "base/memory.h"

enum { STATE_OPEN = 1 << 30, STATE_CLOSE = 1 << 29, STATE_INSIDE = STATE_CLOSE - 1 };
enum { SPINS = 2000 }; /* 20 to 80 µs, longer than the gap between two loops of a layer */

typedef struct worker {
    pthread_t thread;
    il_pool *pool;
    int number;
} worker;

struct il_pool {
    const il_allocator *allocator;
    int threads, started; /* started: workers that run, threads - 1 once open */
    int spin_rounds;
    unsigned generation; /* of the process that opened it */
    worker *workers;

    pthread_mutex_t turn; /* held by the caller of the loop under way */
    void (*run)(void *context, int item, int worker);
    void *context;
    unsigned items;

    _Alignas(64) atomic_uint next; /* item to hand out */
    _Alignas(64) atomic_uint state;

    pthread_mutex_t sleep; /* guards both conditions */
    pthread_cond_t work, done;
    atomic_int sleepers;          /* workers waiting for work */
    atomic_int caller_sleeps;     /* the caller waits for done */
    atomic_uint child_generation; /* in a forked child: the generation that holds the pool, else 0 */
};

/* The loops this thread is inside of, innermost first: how a nested call finds its worker number. */
typedef struct frame {
    const il_pool *pool;
    int worker;
    struct frame *outer;
} frame;
static _Thread_local frame *frames;

/* Counts forks between the first process and this one. */
static atomic_uint generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_watch_failed;
static void forked(void) { atomic_fetch_add(&generation, 1); }
static void watch_forks(void) { fork_watch_failed = pthread_atfork(NULL, NULL, forked); }

static void take_items(il_pool *pool, int number) {
    unsigned item;
    while ((item = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed)) < pool->items)
        pool->run(pool->context, (int)item, number);
    atomic_fetch_and(&pool->state, ~(unsigned)STATE_OPEN);
}

/* Returns a state with STATE_OPEN or STATE_CLOSE. */
static unsigned await_work(il_pool *pool) {
    unsigned state;
    for (int i = 0; i < pool->spin_rounds; i++) {
        state = atomic_load_explicit(&pool->state, memory_order_relaxed);
        if (state & (STATE_OPEN | STATE_CLOSE)) return state;
        il_pause();
    }
    pthread_mutex_lock(&pool->sleep);
    atomic_fetch_add(&pool->sleepers, 1); /* before the look at state; the caller looks in the other order */
    while (!((state = atomic_load(&pool->state)) & (STATE_OPEN | STATE_CLOSE)))
        pthread_cond_wait(&pool->work, &pool->sleep);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->sleep);
    return state;
}

static void *work(void *argument) {
    worker *self = argument;
    il_pool *pool = self->pool;
    frame here = {pool, self->number, NULL};
    frames = &here;
    for (;;) {
        unsigned state = await_work(pool);
        if (state & STATE_CLOSE) break;
        if (!atomic_compare_exchange_strong(&pool->state, &state, state + 1)) continue;
        take_items(pool, self->number);
        if (((atomic_fetch_sub(&pool->state, 1) - 1) & STATE_INSIDE) == 0 && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->sleep);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->sleep);
        }
    }
    frames = NULL;
    return NULL;
}

static void await_workers(il_pool *pool) {
    for (int i = 0; i < pool->spin_rounds; i++) {
        if (!(atomic_load_explicit(&pool->state, memory_order_acquire) & STATE_INSIDE)) return;
        il_pause();
    }
    pthread_mutex_lock(&pool->sleep);
    atomic_store(&pool->caller_sleeps, 1);
    while (atomic_load(&pool->state) & STATE_INSIDE) pthread_cond_wait(&pool->done, &pool->sleep);
    atomic_store(&pool->caller_sleeps, 0);
    pthread_mutex_unlock(&pool->sleep);
}

static void run_shared(il_pool *pool, int items, void (*run)(void *context, int item, int worker), void *context) {
    pool->run = run;
    pool->context = context;
    pool->items = (unsigned)items;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_fetch_or(&pool->state, STATE_OPEN);
    int sleepers = atomic_load(&pool->sleepers);
    if (sleepers) {
        pthread_mutex_lock(&pool->sleep);
        if (sleepers <= items - 1)
            pthread_cond_broadcast(&pool->work);
        else
            for (int i = 1; i < items; i++) pthread_cond_signal(&pool->work);
        pthread_mutex_unlock(&pool->sleep);
    }
    take_items(pool, 0);
    await_workers(pool);
}

/* In a forked child the mutexes are as some parent thread left them, so the lock is a word that names its
 * generation. */
static void child_lock(il_pool *pool, unsigned now) {
    unsigned held = atomic_load(&pool->child_generation);
    for (;;) {
        if (held == now) {
            sched_yield();
            held = atomic_load(&pool->child_generation);
        } else if (atomic_compare_exchange_weak(&pool->child_generation, &held, now)) {
            return;
        }
    }
}

void il_pool_run(il_pool *pool, int items, void (*run)(void *context, int item, int worker), void *context) {
    for (const frame *f = frames; f; f = f->outer) {
        if (f->pool != pool) continue;
        for (int item = 0; item < items; item++) run(context, item, f->worker);
        return;
    }
    if (items <= 0) return;
    unsigned now = atomic_load(&generation);
    int child = now != pool->generation;
    if (child)
        child_lock(pool, now);
    else
        pthread_mutex_lock(&pool->turn);
    frame here = {pool, 0, frames};
    frames = &here;
    if (child || items == 1 || pool->threads == 1)
        for (int item = 0; item < items; item++) run(context, item, 0);
    else
        run_shared(pool, items, run, context);
    frames = here.outer;
    if (child)
        atomic_store(&pool->child_generation, 0);
    else
        pthread_mutex_unlock(&pool->turn);
}

int il_pool_threads(const il_pool *pool) { return pool->threads; }
int il_pool_spins(const il_pool *pool) { return pool->spin_rounds; }

il_status il_pool_open(const il_allocator *allocator, int threads, il_pool **out, il_error *error) {
    il_pool *pool = NULL;
    il_status status = IL_OK;
    sigset_t all, before;
    *out = NULL;
    if (threads < 1 || threads > 256) return il_fail(error, IL_ERR_ARG, "threads must be 1 to 256, not %d", threads);
    pthread_once(&fork_once, watch_forks);
    if (fork_watch_failed) return il_fail(error, IL_ERR_NOMEM, "out of memory for a fork handler");
    pool = il_alloc(allocator, 1, sizeof *pool);
    if (!pool) return il_fail(error, IL_ERR_NOMEM, "out of memory for a thread pool");
    pool->allocator = allocator;
    pool->threads = threads;
    pool->spin_rounds = threads <= il_cpus_usable() ? SPINS : 0; /* else a spin keeps the awaited thread off its CPU */
    pool->generation = atomic_load(&generation);
    pthread_mutex_init(&pool->turn, NULL); /* these cannot fail on Linux */
    pthread_mutex_init(&pool->sleep, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = il_alloc(allocator, (size_t)threads, sizeof *pool->workers);
    if (!pool->workers) {
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for %d threads", threads);
        goto fail;
    }
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    for (int i = 1; i < threads && status == IL_OK; i++) {
        worker *w = &pool->workers[i - 1];
        w->pool = pool;
        w->number = i;
        if (pthread_create(&w->thread, NULL, work, w) == 0)
            pool->started++;
        else
            status = il_fail(error, IL_ERR_NOMEM, "the system refused thread %d of %d", i + 1, threads);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != IL_OK) goto fail;
    *out = pool;
    return IL_OK;
fail:
    il_pool_close(pool);
    return status;
}

void il_pool_close(il_pool *pool) {
    if (!pool) return;
    if (atomic_load(&generation) == pool->generation) { /* a child has no threads to join, and locks of unknown state */
        atomic_fetch_or(&pool->state, STATE_CLOSE);
        pthread_mutex_lock(&pool->sleep);
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->sleep);
        for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
        pthread_cond_destroy(&pool->done);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->sleep);
        pthread_mutex_destroy(&pool->turn);
    }
    il_free(pool->allocator, pool->workers);
    il_free(pool->allocator, pool);
}
