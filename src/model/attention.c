/* attention.c: see attention.h. */
#include "model/attention.h"

#include <math.h>

il_attention il_attention_of(const il_model *model) {
    const il_config *c = &model->config;
    il_attention a = {.heads = c->heads, .kv_heads = il_config_kv_heads(c), .d = il_config_head_width(c)};
    a.group = a.heads / a.kv_heads;
    a.rotary = il_config_rotary_width(c);
    a.q_head = c->attention_gate ? 2 * a.d : a.d;
    a.q_row = a.heads * a.q_head;
    a.k_row = a.kv_heads * a.d;
    a.z_row = a.heads * a.d;
    a.scale = (float)(1.0 / sqrt((double)a.d));
    return a;
}

int il_tiles_of(uint64_t start, int n) {
    return n < 1 ? 0 : (int)((start + (uint64_t)n - 1) / IL_KEY_BLOCK - start / IL_KEY_BLOCK) + 1;
}

il_tile il_tile_at(int first_row, int n, uint64_t start, int index) {
    il_tile at;
    at.block = start / IL_KEY_BLOCK + (uint64_t)index;
    uint64_t first = at.block * IL_KEY_BLOCK, end = first + IL_KEY_BLOCK, stop = start + (uint64_t)n;
    if (first < start) first = start;
    if (end > stop) end = stop;
    at.offset = (int)(first % IL_KEY_BLOCK);
    at.n = (int)(end - first);
    at.row = first_row + (int)(first - start);
    return at;
}
