/* support_alloc.h: an allocator that counts what is out and can be told to fail. Thread-safe. */
#ifndef IL_SUPPORT_ALLOC_H
#define IL_SUPPORT_ALLOC_H

#include <stdatomic.h>

#include "innerloop.h"

typedef struct support_alloc {
    il_allocator allocator; /* pass its address (or a copy, in il_engine_options); the struct must stay in place */
    atomic_long calls;      /* allocations asked for since begin or fail_at */
    atomic_long fail_at;    /* the call that fails, 1 is the next; 0: none */
    atomic_long live;       /* blocks out */
    atomic_size_t live_bytes, peak_bytes;
} support_alloc;

void support_alloc_begin(support_alloc *alloc);
/* Another one, whose blocks end where memory ends, but for what their alignment asks for: who reads on gets 0xa5, and
 * then crashes. Takes pages for each block. */
il_allocator support_alloc_guarded(void);
/* Resets calls; the n-th allocation from now fails (only that one), 0: none does. */
void support_alloc_fail_at(support_alloc *alloc, long n);

/* Calls attempt again and again, its first, second, … allocation failing, until it is not reached any more.
 * attempt must release what it made when it succeeds. Fails the running cmocka test when an attempt leaks, or
 * when it fails with anything but IL_ERR_NOMEM and a message. Returns how many allocations were failed. */
long support_alloc_fail_each(support_alloc *alloc,
                             il_status (*attempt)(const il_allocator *allocator, void *context, il_error *error),
                             void *context);

#endif
