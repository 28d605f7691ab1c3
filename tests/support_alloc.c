/* support_alloc.c: see support_alloc.h. Each block is preceded by the address malloc gave and its size. */
#include "support_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct tag {
    void *base;
    size_t bytes;
} tag; /* 16 bytes, the least alignment */

static void *allocate(void *user, size_t bytes, size_t alignment) {
    support_alloc *alloc = user;
    if (atomic_fetch_add(&alloc->calls, 1) + 1 == atomic_load(&alloc->fail_at)) return NULL;
    if (bytes > SIZE_MAX / 2) return NULL;
    char *base = malloc(bytes + alignment + sizeof(tag));
    if (!base) return NULL;
    uintptr_t block = ((uintptr_t)base + sizeof(tag) + alignment - 1) & ~(uintptr_t)(alignment - 1);
    char *data = base + (block - (uintptr_t)base);
    memcpy(data - sizeof(tag), &(tag){base, bytes}, sizeof(tag));
    memset(data, 0xa5, bytes < 4096 ? bytes : 4096); /* nobody may count on zeros */
    atomic_fetch_add(&alloc->live, 1);
    size_t now = atomic_fetch_add(&alloc->live_bytes, bytes) + bytes, peak = atomic_load(&alloc->peak_bytes);
    while (now > peak && !atomic_compare_exchange_weak(&alloc->peak_bytes, &peak, now)) {}
    return data;
}

static void release(void *user, void *block) {
    support_alloc *alloc = user;
    tag t;
    memcpy(&t, (char *)block - sizeof(tag), sizeof t);
    atomic_fetch_sub(&alloc->live, 1);
    atomic_fetch_sub(&alloc->live_bytes, t.bytes);
    free(t.base);
}

/* Behind the pages of a block stands one that nobody may touch; before it, as above, its tag. */
static void *allocate_guarded(void *user, size_t bytes, size_t alignment) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + alignment - 1) / alignment * alignment;
    (void)user;
    if (bytes > SIZE_MAX / 2) return NULL;
    size_t pages = (whole + sizeof(tag) + page - 1) / page * page;
    char *base = mmap(NULL, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    mprotect(base + pages, page, PROT_NONE);
    char *block = base + pages - whole;
    memcpy(block - sizeof(tag), &(tag){base, pages + page}, sizeof(tag));
    memset(block, 0xa5, whole);
    return block;
}

static void release_guarded(void *user, void *block) {
    tag t;
    (void)user;
    memcpy(&t, (char *)block - sizeof(tag), sizeof t);
    munmap(t.base, t.bytes);
}

il_allocator support_alloc_guarded(void) { return (il_allocator){allocate_guarded, release_guarded, NULL}; }

void support_alloc_begin(support_alloc *alloc) {
    alloc->allocator = (il_allocator){allocate, release, alloc};
    atomic_init(&alloc->calls, 0);
    atomic_init(&alloc->fail_at, 0);
    atomic_init(&alloc->live, 0);
    atomic_init(&alloc->live_bytes, 0);
    atomic_init(&alloc->peak_bytes, 0);
}

void support_alloc_fail_at(support_alloc *alloc, long n) {
    atomic_store(&alloc->calls, 0);
    atomic_store(&alloc->fail_at, n);
}

long support_alloc_fail_each(support_alloc *alloc,
                             il_status (*attempt)(const il_allocator *allocator, void *context, il_error *error),
                             void *context) {
    long before = atomic_load(&alloc->live), failed = 0;
    for (long n = 1;; n++) {
        il_error error = {IL_OK, ""};
        support_alloc_fail_at(alloc, n);
        il_status status = attempt(&alloc->allocator, context, &error);
        int reached = atomic_load(&alloc->calls) >= n;
        support_alloc_fail_at(alloc, 0);
        assert_int_equal(atomic_load(&alloc->live), before);
        if (status != IL_OK) {
            if (status != IL_ERR_NOMEM) fail_msg("allocation %ld failed: status %d: %s", n, (int)status, error.message);
            assert_int_equal(error.status, IL_ERR_NOMEM);
            assert_true(error.message[0] != 0);
            assert_true(reached);
        }
        if (!reached) return failed;
        failed++;
    }
}
