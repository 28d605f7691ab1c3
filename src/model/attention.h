/* attention.h: how the queries of a segment fall into tiles; shared by the attention mixer's forward and
 * backward. */
#ifndef IL_MODEL_ATTENTION_H
#define IL_MODEL_ATTENTION_H

#include "model/forward.h"

/* The queries of a segment whose positions lie in one key block. */
typedef struct il_attention_tile {
    uint64_t block; /* the key block */
    int offset, n;  /* positions block*64 + offset .. + n-1 */
    int row;        /* row of the first in the batch */
} il_attention_tile;

/* Tiles of n tokens from position start on. */
int il_attention_tiles(uint64_t start, int n);

static inline il_attention_tile il_attention_tile_at(const il_segment *segment, uint64_t start, int tile) {
    il_attention_tile at;
    at.block = start / IL_KEY_BLOCK + (uint64_t)tile;
    uint64_t first = at.block * IL_KEY_BLOCK, end = first + IL_KEY_BLOCK, stop = start + (uint64_t)segment->n;
    if (first < start) first = start;
    if (end > stop) end = stop;
    at.offset = (int)(first % IL_KEY_BLOCK);
    at.n = (int)(end - first);
    at.row = segment->first + (int)(first - start);
    return at;
}

#endif
