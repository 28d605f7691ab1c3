/* rounds.c: see rounds.h. Each thread has groups of its own, whose data stay in its cache, and waits while none of them
 * can go on. A group whose thread has not come (in a child there is one thread only) is anybody's. So the thread of the
 * group whose turn it is never waits for it, and any number of threads comes to the end. */
#include "base/rounds.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct group {
    int alone, turns; /* how many of either it has done; alone is turns, or 1 more */
    int taken;        /* a thread is at it */
} group;

typedef struct course {
    const il_rounds *rounds;
    int spins;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    atomic_uint changes; /* written with the lock held */
    int sleepers;
    int done; /* turns of all groups */
    int threads;
    char come[IL_ROUND_GROUPS_MAX]; /* [threads] */
    group groups[IL_ROUND_GROUPS_MAX];
} course;

/* With the lock held. Whether a thread may take the group, and it can go on. */
static int can_go_on(const course *c, int thread, int k) {
    const group *g = &c->groups[k];
    int owner = k % c->threads, turn = g->alone > g->turns;
    if (g->taken || (owner != thread && c->come[owner])) return 0;
    return turn ? k == c->done % c->rounds->groups : g->alone < c->rounds->rounds;
}

/* With the lock held. Of the thread's own groups, then of others', the group whose turn it is before one that works
 * alone; -1: none. */
static int choose(const course *c, int thread) {
    int groups = c->rounds->groups, next = c->done % groups, found = -1;
    for (int i = 0; i < groups; i++) {
        int k = (next + i) % groups;
        if (!can_go_on(c, thread, k)) continue;
        if (k % c->threads == thread) return k;
        if (found < 0) found = k;
    }
    return found;
}

/* With the lock held, which it gives up meanwhile. */
static void await(course *c) {
    unsigned seen = atomic_load(&c->changes);
    pthread_mutex_unlock(&c->lock);
    for (int i = 0; i < c->spins && atomic_load_explicit(&c->changes, memory_order_relaxed) == seen; i++) il_pause();
    pthread_mutex_lock(&c->lock);
    c->sleepers++;
    while (atomic_load(&c->changes) == seen) pthread_cond_wait(&c->changed, &c->lock);
    c->sleepers--;
}

static void work(void *context, int item, int worker) {
    course *c = context;
    const il_rounds *r = c->rounds;
    (void)worker;
    pthread_mutex_lock(&c->lock);
    c->come[item] = 1;
    while (c->done < r->groups * r->rounds) {
        int k = choose(c, item);
        if (k < 0) {
            await(c);
            continue;
        }
        group *g = &c->groups[k];
        int turn = g->alone > g->turns;
        g->taken = 1;
        pthread_mutex_unlock(&c->lock);
        (turn ? r->in_turn : r->alone)(r->context, k, g->turns);
        pthread_mutex_lock(&c->lock);
        g->taken = 0;
        g->alone += !turn;
        g->turns += turn;
        c->done += turn;
        atomic_fetch_add(&c->changes, 1);
        if (c->sleepers) pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
}

void il_rounds_run(il_pool *pool, const il_rounds *rounds) {
    course c = {.rounds = rounds, .spins = il_pool_spins(pool), .threads = il_pool_threads(pool)};
    if (c.threads > rounds->groups) c.threads = rounds->groups;
    pthread_mutex_init(&c.lock, NULL); /* these cannot fail on Linux */
    pthread_cond_init(&c.changed, NULL);
    il_pool_run(pool, c.threads, work, &c);
    pthread_cond_destroy(&c.changed);
    pthread_mutex_destroy(&c.lock);
}
