/* lock.h: one process at a time: a lock on a file that says who holds it. It falls when its process ends, however. */
#ifndef IL_BASE_LOCK_H
#define IL_BASE_LOCK_H

#include "innerloop.h"

/* Zeroed: nothing is held. */
typedef struct il_lock {
    int taken;       /* path's file is open */
    int unsupported; /* the errno of a file system that has no locks: nothing is locked then */
    int fd;
    int watch; /* il_temporary_watch */
    char *path;
    const il_allocator *allocator;
} il_lock;

/* Takes the lock at path, a file that is made and that release removes, without waiting. `what` is what the lock is
 * for: the message of IL_ERR_IO names it, the process that holds it, and its host. */
il_status il_lock_take(const il_allocator *allocator, const char *path, const char *what, il_lock *lock,
                       il_error *error);
void il_lock_release(il_lock *lock);

#endif
