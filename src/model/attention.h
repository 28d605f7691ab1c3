/* attention.h: what the sources of attention share: the widths of its heads, and tiles of queries. */
#ifndef IL_MODEL_ATTENTION_H
#define IL_MODEL_ATTENTION_H

#include "model/pass.h"

/* In rows: queries with their gates as wq makes them, head after head; keys, and values alike; outputs. */
typedef struct il_attention {
    int heads, kv_heads, group; /* `group` heads of queries after one another share one of keys and values */
    int d, rotary;              /* width of a head; how much of it turns */
    int q_head;                 /* floats from one head of queries to the next: d, or 2d with its gate behind it */
    int q_row, k_row, z_row;
    float scale; /* of scores */
} il_attention;

il_attention il_attention_of(const il_model *model);

/* The queries of a segment whose positions lie in one key block. */
typedef struct il_tile {
    uint64_t block; /* the key block */
    int offset, n;  /* positions block*64 + offset .. + n-1 */
    int row;        /* row of the first in the batch */
} il_tile;

/* The first position that a token sees: 0, or with a window (il_layer.window) itself the last of so many. */
static inline uint64_t il_attention_first(int window, uint64_t position) {
    return window && position >= (uint64_t)window ? position - (uint64_t)window + 1 : 0;
}

/* Tiles of n tokens from position start on. */
int il_tiles_of(uint64_t start, int n);
/* Of those in rows first .. first+n-1. */
il_tile il_tile_at(int first, int n, uint64_t start, int index);

#endif
