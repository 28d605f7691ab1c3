/* table.h: the tensor table, the one list of names, shapes and offsets that drives memory, files, optimizer and tests.
 */
#ifndef IL_TENSOR_TABLE_H
#define IL_TENSOR_TABLE_H

#include "base/memory.h"

/* How a new model fills a tensor. */
typedef enum il_init {
    IL_INIT_ZEROS,
    IL_INIT_ONES,
    IL_INIT_SPREAD, /* -1 .. 1 in even steps; 0 alone */
    IL_INIT_NORMAL /* N(0, 0.02²) */,
    IL_INIT_CONV /* fan-in 4 truncated normal */,
    /* Of heads whose memory fades by exp(-exp(A) softplus(a + bias)) a token: A = log of 1 .. 16, bias so that the
     * softplus of it alone is 0.001 .. 0.1: memories of 1,000 tokens down to 1. */
    IL_INIT_DECAY_LOG,
    IL_INIT_DECAY_BIAS
} il_init;

typedef struct il_table_entry {
    char name[96]; /* on disk */
    int rank;
    size_t shape[4];
    size_t count;  /* product of shape */
    size_t offset; /* in floats from the block's start; a multiple of 16 */
    il_init init;
    int matrix;          /* a linear layer's [out, in]: may be held in a low-precision type */
    il_weight_type type; /* not fp32: outside the block, offset in bytes from the start of what holds those */
} il_table_entry;

typedef struct il_table {
    const il_allocator *allocator;
    il_table_entry *entries;
    size_t n, capacity;
    size_t floats; /* size of a block that holds all, padding included; padding is always zero */
} il_table;

void il_table_begin(const il_allocator *allocator, il_table *table);
void il_table_end(il_table *table);
/* Appends a tensor named by the printf-style name; *offset (NULL allowed) receives its place. */
il_status il_table_add(il_table *table, size_t *offset, il_init init, int rank, const size_t *shape, il_error *error,
                       const char *name, ...) __attribute__((format(printf, 7, 8)));
/* Takes the last tensor, a matrix, out of the block: it is held as `type` at that byte of another one. */
void il_table_set_apart(il_table *table, il_weight_type type, size_t offset);
/* NULL when there is none. */
const il_table_entry *il_table_find(const il_table *table, const char *name);
/* Fills block [table->floats] by each entry's init; stream = index of the tensor. Same bits on every machine. */
void il_table_init(const il_table *table, uint64_t seed, float *block);
/* The elements from .. to-1 of one tensor into out [to - from], so that threads can share the work. */
void il_table_init_range(const il_table *table, uint64_t seed, size_t tensor, size_t from, size_t to, float *out);

#endif
