/* chains.c: see chains.h. Owns the order of the steps; starts no thread. */
#include "base/chains.h"

#include <sched.h>

/* Chains are divided into steps only where whole chains would leave threads idle and division can help. Fewer chains
 * than threads cannot be helped: a chain never keeps more than one thread busy. */
int il_chains_begin(il_chains *c, const il_pool *pool, int chains, int steps,
                    void (*run)(void *context, int chain, int step, int worker), void *context) {
    const int threads = il_pool_threads(pool);
    c->chains = chains;
    c->steps = steps;
    c->divided = steps > 1 && chains > threads && chains % threads != 0 && chains <= IL_CHAINS_MAX;
    c->run = run;
    c->context = context;
    if (!c->divided) return chains;
    for (int i = 0; i < chains; i++) atomic_init(&c->done[i], 0);
    return chains * steps;
}

/* When chains are divided, the first steps of all chains come before any second step. The previous step of this chain
 * was therefore handed out as many items ago as there are chains, which is more than there are threads. It has almost
 * always ended; if it has not, this worker waits for it. No earlier step waits for a later one, so the wait ends. */
void il_chains_run(void *chains, int item, int worker) {
    il_chains *c = chains;
    if (!c->divided) {
        for (int step = 0; step < c->steps; step++) c->run(c->context, item, step, worker);
        return;
    }
    const int chain = item % c->chains, step = item / c->chains;
    while (atomic_load_explicit(&c->done[chain], memory_order_acquire) < step) sched_yield();
    c->run(c->context, chain, step, worker);
    atomic_store_explicit(&c->done[chain], step + 1, memory_order_release);
}
