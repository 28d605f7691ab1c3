/* attention_keys.c: see attention_keys.h. */
#include "model/attention_keys.h"

#include "base/error.h"
#include <string.h>

/* Floats of a key block, keys and values. */
static size_t block_floats(const il_attention *a) { return 2 * (size_t)IL_KEY_BLOCK * (size_t)a->d; }

/* ---- sliding attention: a ring in the state, blocks on a tape ---- */

/* Blocks of a ring: from the first key that a token at the rewind limit sees, two mini-batches back, to the last token
 * that is taken at once, wherever these begin in their blocks. */
static size_t ring_blocks(const il_model *model, int window) {
    size_t positions = (size_t)window + 2 * (size_t)model->config.mini_batch + IL_SLIDING_TOKENS;
    return positions / IL_KEY_BLOCK + 2;
}

static float *ring_block(const il_state *state, int layer, uint64_t position, int kv_head) {
    il_attention a = il_attention_of(state->model);
    uint64_t slot = position / IL_KEY_BLOCK % ring_blocks(state->model, state->model->layers[layer].window);
    return state->layers[layer].keys + ((size_t)slot * (size_t)a.kv_heads + (size_t)kv_head) * block_floats(&a);
}

void il_attention_keep_ring(il_arena *arena, const il_state *state, int layer, il_kept *kept) {
    il_attention a = il_attention_of(state->model);
    size_t blocks = ring_blocks(state->model, state->model->layers[layer].window) * (size_t)a.kv_heads;
    kept->keys = il_arena_take(arena, blocks * block_floats(&a), sizeof(float));
}

/* Blocks of a segment on a tape: of what its first token sees before it, and of its own tokens. */
static size_t tape_blocks(const il_model *model, int window, const il_acts_size *size) {
    size_t tokens = size->mini_batches * (size_t)model->config.mini_batch;
    return ((size_t)window + tokens) / IL_KEY_BLOCK + 2;
}

void il_attention_keys_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size,
                            il_acts *acts) {
    il_attention a = il_attention_of(model);
    int window = model->layers[layer].window;
    if (!window || !size->mini_batches) return;
    size_t blocks = size->segments * (size_t)a.kv_heads * tape_blocks(model, window, size);
    acts->keys = il_arena_take(arena, blocks * block_floats(&a), sizeof(float));
}

static float *tape_block(const il_pass *pass, int layer, int segment, uint64_t start, uint64_t position, int kv_head) {
    const il_model *model = pass->model;
    il_attention a = il_attention_of(model);
    int window = model->layers[layer].window;
    size_t head = (size_t)segment * (size_t)a.kv_heads + (size_t)kv_head;
    size_t block = (size_t)(position / IL_KEY_BLOCK - il_attention_first(window, start) / IL_KEY_BLOCK);
    return il_pass_acts(pass, layer)->keys +
           (head * tape_blocks(model, window, &pass->tape->size) + block) * block_floats(&a);
}

/* ---- reading and storing ---- */

float *il_attention_keys(const il_pass *pass, int layer, int segment, uint64_t start, uint64_t position, int kv_head) {
    const il_state *state = pass->segments[segment].state;
    if (!pass->model->layers[layer].window) return il_state_keys(state, position, layer, kv_head);
    if (pass->tape) return tape_block(pass, layer, segment, start, position, kv_head);
    return ring_block(state, layer, position, kv_head);
}

/* The blocks of a ring that the first token of a segment sees, onto the tape. */
static void keep_past(const il_pass *pass, int layer, int segment, uint64_t start, int kv_head) {
    il_attention a = il_attention_of(pass->model);
    uint64_t first = il_attention_first(pass->model->layers[layer].window, start) / IL_KEY_BLOCK;
    for (uint64_t p = first * IL_KEY_BLOCK; p < start; p += IL_KEY_BLOCK)
        memcpy(tape_block(pass, layer, segment, start, p, kv_head),
               ring_block(pass->segments[segment].state, layer, p, kv_head), block_floats(&a) * sizeof(float));
}

/* n keys and values, from a place in a block on. */
static void store(const il_kernels *kernels, const il_attention *a, int n, int offset, const float *k, const float *v,
                  float *block) {
    float *values = block + (ptrdiff_t)(IL_KEY_BLOCK + offset) * a->d;
    kernels->transpose(n, a->d, k, a->k_row, block + offset, IL_KEY_BLOCK);
    for (int i = 0; i < n; i++)
        memcpy(values + (ptrdiff_t)i * a->d, v + (ptrdiff_t)i * a->k_row, (size_t)a->d * sizeof(float));
}

void il_attention_keys_store(const il_pass *pass, int layer, int segment, int first, int n, uint64_t start,
                             int kv_head) {
    const il_kernels *kernels = pass->model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, layer);
    il_attention a = il_attention_of(pass->model);
    int twice = pass->model->layers[layer].window && pass->tape;
    if (twice) keep_past(pass, layer, segment, start, kv_head);
    for (int i = 0, now; i < n; i += now) {
        uint64_t position = start + (uint64_t)i;
        int offset = (int)(position % IL_KEY_BLOCK);
        ptrdiff_t from = (ptrdiff_t)(first + i) * a.k_row + (ptrdiff_t)kv_head * a.d;
        now = IL_KEY_BLOCK - offset < n - i ? IL_KEY_BLOCK - offset : n - i;
        store(kernels, &a, now, offset, acts->k + from, acts->v + from,
              il_attention_keys(pass, layer, segment, start, position, kv_head));
        if (twice)
            store(kernels, &a, now, offset, acts->k + from, acts->v + from,
                  ring_block(pass->segments[segment].state, layer, position, kv_head));
    }
}

size_t il_attention_page_floats(const il_model *model, int layer) {
    (void)layer;
    return 2 * (size_t)IL_KV_PAGE * (size_t)il_attention_of(model).k_row;
}

/* ---- state files: keys and values [heads of keys, positions, d], of sliding attention from the first that a token at
 * the rewind limit sees ---- */

static const char keys_name[] = "keys", values_name[] = "values";

int il_attention_tensors(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list) {
    il_attention a = il_attention_of(model);
    size_t positions = (size_t)(extent->position - il_attention_first(model->layers[layer].window, extent->limit));
    list[0] = (il_kept_tensor){keys_name, 3, {(size_t)a.kv_heads, positions, (size_t)a.d}};
    list[1] = (il_kept_tensor){values_name, 3, {(size_t)a.kv_heads, positions, (size_t)a.d}};
    return 2;
}

il_status il_attention_visit(const il_state *s, int layer, const il_kept_tensor *tensor, il_visitor *v) {
    il_attention a = il_attention_of(s->model);
    int window = s->model->layers[layer].window;
    size_t d = (size_t)a.d;
    for (int h = 0; h < a.kv_heads; h++)
        for (uint64_t p = il_attention_first(window, s->oldest); p < s->position; p++) {
            float *block = window ? ring_block(s, layer, p, h) : il_state_keys(s, p, layer, h);
            size_t offset = (size_t)(p % IL_KEY_BLOCK);
            if (tensor->name == keys_name)
                IL_TRY(v->visit(v, block + offset, IL_KEY_BLOCK, d));
            else
                IL_TRY(v->visit(v, block + (IL_KEY_BLOCK + offset) * d, 1, d));
        }
    return IL_OK;
}

size_t il_attention_room(const il_model *model, int layer) {
    (void)layer;
    return (size_t)il_config_head_width(&model->config);
}
