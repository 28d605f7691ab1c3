/* memory.h: every byte the library holds comes from an il_allocator through these calls, 64-byte aligned. */
#ifndef IL_BASE_MEMORY_H
#define IL_BASE_MEMORY_H

#include "innerloop.h"

enum { IL_ALIGN = 64 };

/* The C library's allocator. */
il_allocator il_allocator_default(void);

/* Zeroed block of count × size bytes; NULL when memory is short or the product overflows. count or size 0 gives a
 * releasable block. */
void *il_alloc(const il_allocator *allocator, size_t count, size_t size);
/* The same, not zeroed. */
void *il_alloc_raw(const il_allocator *allocator, size_t count, size_t size);
void il_free(const il_allocator *allocator, void *block); /* NULL allowed */
/* Grows *block from used to at least need elements of size bytes, doubling *capacity; keeps the first used elements.
 * Returns 0 and leaves all as it was when memory is short, else 1. */
int il_grow(const il_allocator *allocator, void **block, size_t *capacity, size_t used, size_t need, size_t size);
/* n rounded up to whole vectors of 16 floats, 64 bytes. */
static inline int il_pad16(int n) { return (n + 15) / 16 * 16; }
static inline size_t il_pad16_size(size_t n) { return (n + 15) / 16 * 16; }
char *il_strdup(const il_allocator *allocator, const char *text);

/* Arena: one block laid out first (measure), then carved. Call il_arena_take for every array with base NULL to measure,
 * allocate il_arena.used bytes, set base, reset used to 0 and call the same code again to get the pointers. */
typedef struct il_arena {
    char *base;
    size_t used;
} il_arena;

/* count × size bytes, 64-byte aligned; NULL while measuring. Sizes saturate at SIZE_MAX, which no allocator grants. */
void *il_arena_take(il_arena *arena, size_t count, size_t size);
/* After `other`, a copy of the arena, was carved for what is needed at another time: goes on behind both. */
static inline void il_arena_join(il_arena *arena, const il_arena *other) {
    if (other->used > arena->used) arena->used = other->used;
}

#endif
