/* session_list.c: see sessions.h. What is seen of sessions by those who do not hold them. */
#include "sessions/held.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sessions_get(sessions *s, const char *id, const char *owner, store_record *record, problem *p) {
    store_why why = {""};
    pthread_mutex_lock(&s->lock);
    held *h = strlen(id) < STORE_ID_BYTES ? held_find(s, id) : NULL;
    int here = h && h->leased && !h->deleted;
    if (here) held_look(h, record);
    pthread_mutex_unlock(&s->lock);
    if (!here) {
        store_result result =
            s->index && strlen(id) < STORE_ID_BYTES ? s->index->get(s->index->self, id, record, &why) : STORE_ABSENT;
        if (result == STORE_FAILED) return held_store_failed(s, p, &why);
        if (result != STORE_DONE) return held_absent(id, p);
    }
    return held_may_see(record, owner, p);
}

static int by_id(const void *a, const void *b) {
    const store_record *x = a, *y = b;
    return strcmp(x->id, y->id);
}

/* Those that the index does not have as they are; released by free. */
static store_record *here(sessions *s, const char *owner, const char *after, size_t *n) {
    pthread_mutex_lock(&s->lock);
    store_record *records = calloc(s->n + 1, sizeof *records);
    *n = 0;
    for (size_t i = 0; records && i < HELD_BUCKETS; i++)
        for (held *h = s->buckets[i]; h; h = h->next)
            if (h->leased && !h->deleted && h->record.generation && !strcmp(h->record.owner, owner) &&
                strcmp(h->record.id, after) > 0)
                held_look(h, &records[(*n)++]);
    pthread_mutex_unlock(&s->lock);
    if (records) qsort(records, *n, sizeof *records, by_id);
    return records;
}

int sessions_list(sessions *s, const char *owner, const char *after, store_record *records, size_t capacity, size_t *n,
                  problem *p) {
    store_why why = {""};
    char from[STORE_ID_BYTES];
    size_t n_stored = 0, n_here = 0, i = 0, k = 0;
    int more = s->index != NULL; /* what has expired is in the index for a while, and may fill all that it gives */
    store_record *stored = calloc(capacity, sizeof *stored), *mine = here(s, owner, after, &n_here);
    *n = 0;
    if (!stored || !mine) held_no_memory(p);
    snprintf(from, sizeof from, "%s", after);
    while (!p->status && *n < capacity) {
        if (i == n_stored && more) {
            if (n_stored) snprintf(from, sizeof from, "%s", stored[n_stored - 1].id);
            i = 0;
            if (s->index->list(s->index->self, owner, from, stored, capacity, &n_stored, &why) != STORE_DONE) {
                held_store_failed(s, p, &why);
                break;
            }
            more = n_stored == capacity;
        }
        if (i == n_stored && k == n_here) break;
        int order = i == n_stored ? 1 : k == n_here ? -1 : strcmp(stored[i].id, mine[k].id);
        const store_record *r = order < 0 ? &stored[i] : &mine[k];
        i += order <= 0;
        k += order >= 0;
        if (!held_is_expired(r)) records[(*n)++] = *r;
    }
    free(stored);
    free(mine);
    return !p->status;
}

void sessions_get_stats(sessions *s, sessions_stats *stats) {
    pthread_mutex_lock(&s->lock);
    *stats = (sessions_stats){s->in_memory, s->bytes, 0, s->writes, s->write_failures};
    for (held *h = s->queue; h; h = h->queue_next) stats->unwritten += (uint64_t)held_is_new(s, h);
    pthread_mutex_unlock(&s->lock);
}
