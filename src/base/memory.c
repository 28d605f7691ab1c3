/* memory.c: the library's only calls to an allocator. Refuses sizes that overflow; keeps no state of its own. */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Linux maps a block in pages of this size if it is asked to and they fit. */
enum { HUGE_PAGE = 2 << 20 };

/* Large blocks lie in huge pages: a pass over weights and sessions touches more pages of 4 KiB than a processor can
 * remember the addresses of, and looking an address up takes about as long as reading much of the page. Only whole huge
 * pages are asked for, so that no more memory is used than before. If the system refuses, the block is still usable. */
static void *default_allocate(void *user, size_t bytes, size_t alignment) {
    void *block = NULL;
    (void)user;
    if (bytes >= HUGE_PAGE && alignment < HUGE_PAGE) alignment = HUGE_PAGE;
    if (posix_memalign(&block, alignment, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    if (bytes >= HUGE_PAGE) madvise(block, bytes - bytes % HUGE_PAGE, MADV_HUGEPAGE);
#endif
    return block;
}

static void default_release(void *user, void *block) {
    (void)user;
    free(block);
}

il_allocator il_allocator_default(void) { return (il_allocator){default_allocate, default_release, NULL}; }

void *il_alloc_raw(const il_allocator *allocator, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) return NULL;
    return allocator->allocate(allocator->user, bytes ? bytes : 1, IL_ALIGN);
}

void *il_alloc(const il_allocator *allocator, size_t count, size_t size) {
    void *block = il_alloc_raw(allocator, count, size);
    if (block) memset(block, 0, count * size);
    return block;
}

void il_free(const il_allocator *allocator, void *block) {
    if (block) allocator->release(allocator->user, block);
}

int il_grow(const il_allocator *allocator, void **block, size_t *capacity, size_t used, size_t need, size_t size) {
    if (need <= *capacity) return 1;
    size_t wanted = *capacity > SIZE_MAX / 2 ? need : *capacity * 2;
    if (wanted < need) wanted = need;
    void *grown = il_alloc_raw(allocator, wanted, size);
    if (!grown) return 0;
    if (used) memcpy(grown, *block, used * size);
    il_free(allocator, *block);
    *block = grown;
    *capacity = wanted;
    return 1;
}

char *il_strdup(const il_allocator *allocator, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *copy = il_alloc_raw(allocator, bytes, 1);
    if (copy) memcpy(copy, text, bytes);
    return copy;
}

void *il_arena_take(il_arena *arena, size_t count, size_t size) {
    size_t bytes, end;
    void *taken = arena->base ? arena->base + arena->used : NULL;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - IL_ALIGN ||
        __builtin_add_overflow(arena->used, (bytes + IL_ALIGN - 1) / IL_ALIGN * IL_ALIGN, &end))
        end = SIZE_MAX;
    arena->used = end;
    return taken;
}
