/* work.c: see work.h. */
#include "common/work.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 4 };

struct work {
    pthread_mutex_t lock;
    pthread_cond_t more;
    work_item *first, **end;
    int stopping, threads;
    pthread_t thread[THREADS];
};

static void *run(void *context) {
    work *w = context;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->first && !w->stopping) pthread_cond_wait(&w->more, &w->lock);
        work_item *item = w->first;
        if (!item) break;
        w->first = item->next;
        if (!w->first) w->end = &w->first;
        pthread_mutex_unlock(&w->lock);
        item->run(item);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

work *work_start(void) {
    work *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->more, NULL);
    w->end = &w->first;
    while (w->threads < THREADS && !pthread_create(&w->thread[w->threads], NULL, run, w)) w->threads++;
    if (w->threads) return w;
    work_stop(w);
    return NULL;
}

void work_stop(work *w) {
    if (!w) return;
    pthread_mutex_lock(&w->lock);
    w->stopping = 1;
    pthread_cond_broadcast(&w->more);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->threads; i++) pthread_join(w->thread[i], NULL);
    pthread_cond_destroy(&w->more);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

void work_push(work *w, work_item *item) {
    pthread_mutex_lock(&w->lock);
    item->next = NULL;
    *w->end = item;
    w->end = &item->next;
    pthread_cond_signal(&w->more);
    pthread_mutex_unlock(&w->lock);
}
