/* work.h: a few threads for what is neither reading sockets nor feeding the engine: JSON and tokenizing both ways, of
 * requests that may be large, and sessions, which may wait for the disk. */
#ifndef SERVER_WORK_H
#define SERVER_WORK_H

typedef struct work work;

work *work_start(void); /* NULL: it cannot */
/* Does everything that was pushed, then ends. */
void work_stop(work *w); /* NULL allowed */
/* item is part of an object of the caller's, which does not move until run is called. */
typedef struct work_item {
    void (*run)(struct work_item *item);
    struct work_item *next;
} work_item;
void work_push(work *w, work_item *item);

#endif
