/* table.c: names, shapes and places of tensors in one block of floats. Refuses empty dimensions, overflow,
 * names that do not fit and the same name twice. */
#include "tensor/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/maths.h"
#include "base/philox.h"

enum { PLACE = IL_ALIGN / sizeof(float) }; /* offsets are multiples of this */

void il_table_begin(const il_allocator *allocator, il_table *table) { *table = (il_table){.allocator = allocator}; }

void il_table_end(il_table *table) {
    il_free(table->allocator, table->entries);
    il_table_begin(table->allocator, table);
}

il_status il_table_add(il_table *table, size_t *offset, il_init init, int rank, const size_t *shape, il_error *error,
                       const char *name, ...) {
    il_table_entry entry = {.rank = rank, .count = 1, .offset = table->floats, .init = init};
    size_t end = 0;
    va_list args;
    va_start(args, name);
    int length = vsnprintf(entry.name, sizeof entry.name, name, args);
    va_end(args);
    if (length < 1 || (size_t)length >= sizeof entry.name)
        return il_fail(error, IL_ERR_ARG, "tensor name %s…: must have 1 to %zu bytes", entry.name,
                       sizeof entry.name - 1);
    if (rank < 1 || rank > 4) return il_fail(error, IL_ERR_ARG, "tensor %s: rank %d is not 1 to 4", entry.name, rank);
    for (int i = 0; i < rank; i++) {
        if (shape[i] == 0) return il_fail(error, IL_ERR_ARG, "tensor %s: dimension %d is 0", entry.name, i);
        if (__builtin_mul_overflow(entry.count, shape[i], &entry.count))
            return il_fail(error, IL_ERR_ARG, "tensor %s: more entries than this machine can count", entry.name);
        entry.shape[i] = shape[i];
    }
    if (__builtin_add_overflow(entry.count, PLACE - 1, &end) ||
        __builtin_add_overflow(table->floats, end / PLACE * PLACE, &end) || end > SIZE_MAX / sizeof(float))
        return il_fail(error, IL_ERR_ARG, "tensor %s: more bytes than this machine can address", entry.name);
    if (il_table_find(table, entry.name)) return il_fail(error, IL_ERR_ARG, "tensor %s: already there", entry.name);
    void *block = table->entries;
    if (!il_grow(table->allocator, &block, &table->capacity, table->n, table->n + 1, sizeof entry))
        return il_fail(error, IL_ERR_NOMEM, "tensor %s: out of memory", entry.name);
    table->entries = block;
    table->entries[table->n++] = entry;
    table->floats = end;
    if (offset) *offset = entry.offset;
    return IL_OK;
}

void il_table_set_apart(il_table *table, il_weight_type type, size_t offset) {
    il_table_entry *entry = &table->entries[table->n - 1];
    table->floats = entry->offset;
    entry->type = type;
    entry->offset = offset;
}

const il_table_entry *il_table_find(const il_table *table, const char *name) {
    for (size_t i = 0; i < table->n; i++)
        if (strcmp(table->entries[i].name, name) == 0) return &table->entries[i];
    return NULL;
}

/* The recipe's convolution weights: a normal cut at two standard deviations and widened so that the standard
 * deviation after the cut is 1 / sqrt(fan-in) = 0.5. */
static double conv_weight(uint64_t seed, uint32_t stream, uint64_t index) {
    return il_normal_truncated(seed, IL_PURPOSE_INIT, stream, index, 2.0) * (0.5 / 0.87962566103423978);
}

/* Element i of `count` heads whose memory fades. */
static double decay_start(il_init init, size_t i, size_t count) {
    double place = count > 1 ? (double)i / (double)(count - 1) : 0.5;
    if (init == IL_INIT_DECAY_LOG) return il_log_d(1.0 + 15.0 * place);
    double step = il_exp_d((place - 1.5) * 2.0 * il_log_d(10.0)); /* 0.001 to 0.1, each as many times the one before */
    return il_log_d(il_exp_d(step) - 1.0);                        /* the softplus of which it is */
}

void il_table_init_range(const il_table *table, uint64_t seed, size_t tensor, size_t from, size_t to, float *out) {
    const il_table_entry *entry = &table->entries[tensor];
    uint32_t stream = (uint32_t)tensor;
    switch (entry->init) {
    case IL_INIT_ZEROS: memset(out, 0, (to - from) * sizeof *out); break;
    case IL_INIT_ONES:
        for (size_t i = from; i < to; i++) *out++ = 1.0f;
        break;
    case IL_INIT_SPREAD:
        for (size_t i = from; i < to; i++)
            *out++ = entry->count > 1 ? (float)(2.0 * (double)i / (double)(entry->count - 1) - 1.0) : 0.0f;
        break;
    case IL_INIT_NORMAL: /* drawn in pairs, of which either may lie outside */
        for (size_t i = from / 2 * 2; i < to; i += 2) {
            double pair[2];
            il_normal_pair(seed, IL_PURPOSE_INIT, stream, i / 2, pair);
            if (i >= from) *out++ = (float)(0.02 * pair[0]);
            if (i + 1 < to) *out++ = (float)(0.02 * pair[1]);
        }
        break;
    case IL_INIT_CONV:
        for (size_t i = from; i < to; i++) *out++ = (float)conv_weight(seed, stream, i);
        break;
    case IL_INIT_DECAY_LOG:
    case IL_INIT_DECAY_BIAS:
        for (size_t i = from; i < to; i++) *out++ = (float)decay_start(entry->init, i, entry->count);
        break;
    }
}

void il_table_init(const il_table *table, uint64_t seed, float *block) {
    memset(block, 0, table->floats * sizeof *block);
    for (size_t t = 0; t < table->n; t++)
        il_table_init_range(table, seed, t, 0, table->entries[t].count, block + table->entries[t].offset);
}
