/* state.c: opening, resetting, copying and rewinding what a sequence remembers. */
#include "model/state.h"

#include "base/error.h"
#include <string.h>

/* The arrays of a state in one block, laid out twice: first to measure, then for real. */
static void lay_out(il_state *s, il_arena *arena) {
    const il_model *m = s->model;
    const il_config *c = &m->config;
    size_t heads = (size_t)c->layers * (size_t)c->heads, width = (size_t)c->width;
    size_t columns = (size_t)c->layers * (size_t)s->ring;
    s->hidden = il_arena_take(arena, (size_t)s->ring_hidden * width, sizeof(float));
    s->carry = s->rows = s->ring_pre = s->ring_qk = s->ring_v = NULL;
    if (m->rule) {
        s->carry = il_arena_take(arena, 2 * heads * m->shape.carry, sizeof(float));
        s->rows = il_arena_take(arena, 2 * heads * m->shape.rows, sizeof(float));
        s->ring_v = il_arena_take(arena, 2 * (size_t)c->layers * (size_t)c->mini_batch * width, sizeof(float));
    }
    if (c->pre_conv) s->ring_pre = il_arena_take(arena, columns * width, sizeof(float));
    if (c->share_qk) s->ring_qk = il_arena_take(arena, columns * width, sizeof(float));
}

static void lay_out_fast(il_state *s, il_arena *arena) {
    const il_config *c = &s->model->config;
    size_t b = (size_t)c->mini_batch;
    s->fast = s->softmax = s->steps = NULL;
    if (!s->frozen) {
        s->fast = il_arena_take(arena, 2 * s->model->fast_floats, sizeof(float));
        s->softmax = il_arena_take(arena, b * (size_t)c->vocab_size, sizeof(float));
        s->steps = il_arena_take(arena, b * (size_t)c->fast_head_size, sizeof(float));
    }
    s->tokens = il_arena_take(arena, 2 * b, sizeof *s->tokens);
    s->past = il_arena_take(arena, b * (size_t)c->width, sizeof(float));
}

il_status il_state_open(il_model *model, int frozen, il_state *state, il_error *error) {
    const il_config *c = &model->config;
    *state = (il_state){.model = model, .frozen = frozen};
    state->ring = c->conv_kernel - 1 + 2 * c->mini_batch;
    state->ring_hidden = 2 * c->mini_batch + 1;
    il_arena arena = {0}, fast = {0};
    lay_out(state, &arena);
    if (c->fast_head_size) lay_out_fast(state, &fast);
    state->block_bytes = arena.used;
    state->fast_bytes = fast.used;
    size_t bytes = arena.used > SIZE_MAX - fast.used ? SIZE_MAX : arena.used + fast.used;
    state->block = il_alloc(&model->engine->memory, bytes, 1);
    if (!state->block) return il_fail(error, IL_ERR_NOMEM, "no memory for a state of %zu bytes", bytes);
    arena = (il_arena){.base = state->block};
    lay_out(state, &arena);
    fast = (il_arena){.base = arena.base + state->block_bytes};
    if (c->fast_head_size) {
        state->fast_block = fast.base;
        lay_out_fast(state, &fast);
    }
    il_state_reset(state);
    return IL_OK;
}

void il_state_close(il_state *state) {
    if (!state->model) return;
    const il_allocator *memory = &state->model->engine->memory;
    for (size_t i = 0; i < state->n_chunks; i++) il_free(memory, state->chunks[i]);
    il_free(memory, state->chunks);
    il_free(memory, state->block);
    *state = (il_state){0};
}

void il_state_reset(il_state *state) {
    const il_model *m = state->model;
    state->position = state->oldest = state->kept_from = state->kept_to = 0;
    /* both: with b = 1 mini-batch 0 has no prediction to learn from, and F of mini-batch 1 is 0 too */
    if (state->fast) memset(state->fast, 0, 2 * m->fast_floats * sizeof(float));
    if (!m->rule) return;
    for (int layer = 0; layer < m->config.layers; layer++)
        for (int h = 0; h < m->config.heads; h++) {
            il_inner_head head = il_model_inner_head(m, layer, h, 1.0F);
            m->rule->begin(&head, il_state_carry(state, 0, layer, h));
        }
}

il_status il_state_reserve(il_state *state, uint64_t end, il_error *error) {
    const il_model *m = state->model;
    if (m->rule) return IL_OK;
    const il_allocator *memory = &m->engine->memory;
    size_t need = (size_t)((end + IL_KV_CHUNK - 1) / IL_KV_CHUNK);
    void *list = state->chunks;
    if (!il_grow(memory, &list, &state->chunks_capacity, state->n_chunks, need, sizeof *state->chunks))
        return il_fail(error, IL_ERR_NOMEM, "no memory for the KV cache at position %llu", (unsigned long long)end);
    state->chunks = list;
    while (state->n_chunks < need) {
        /* K and V of IL_KV_CHUNK positions, all layers and heads; zeroed, because unfilled keys must be
         * finite. */
        float *chunk = il_alloc(memory, 2 * (size_t)IL_KV_CHUNK * (size_t)m->config.layers,
                                (size_t)m->config.width * sizeof(float));
        if (!chunk)
            return il_fail(error, IL_ERR_NOMEM, "no memory for the KV cache at position %llu", (unsigned long long)end);
        state->chunks[state->n_chunks++] = chunk;
    }
    return IL_OK;
}

il_status il_state_copy(il_state *to, const il_state *from, il_error *error) {
    IL_TRY(il_state_reserve(to, (uint64_t)from->n_chunks * IL_KV_CHUNK, error));
    const il_config *c = &from->model->config;
    size_t chunk = 2 * (size_t)IL_KV_CHUNK * (size_t)c->layers * (size_t)c->width * sizeof(float);
    for (size_t i = 0; i < from->n_chunks; i++) memcpy(to->chunks[i], from->chunks[i], chunk);
    memcpy(to->block, from->block, from->block_bytes);
    if (from->fast_block) memcpy(to->fast_block, from->fast_block, from->fast_bytes);
    to->frozen = from->frozen;
    to->position = from->position;
    to->oldest = from->oldest;
    to->kept_from = from->kept_from;
    to->kept_to = from->kept_to;
    to->kept_version = from->kept_version;
    return IL_OK;
}

uint64_t il_state_rewind_limit(const il_state *state) {
    uint64_t b = (uint64_t)state->model->config.mini_batch, mini_batch = state->position / b;
    uint64_t previous = mini_batch ? (mini_batch - 1) * b : 0;
    return previous > state->oldest ? previous : state->oldest;
}

void il_state_rewind(il_state *state, uint64_t position) {
    uint64_t b = (uint64_t)state->model->config.mini_batch, mini_batch = position / b;
    /* The slot that mini_batch - 1 would be in holds what is being given up. */
    if (mini_batch < state->position / b && mini_batch * b > state->oldest) state->oldest = mini_batch * b;
    state->position = position;
    if (state->kept_to > position) state->kept_to = position;
    if (state->kept_from > position) state->kept_from = position;
}

size_t il_state_bytes(const il_state *state) {
    const il_config *c = &state->model->config;
    return state->block_bytes + state->fast_bytes +
           state->n_chunks * 2 * (size_t)IL_KV_CHUNK * (size_t)c->layers * (size_t)c->width * sizeof(float);
}

il_inner_head il_model_inner_head(const il_model *model, int layer, int head, float inner_lr) {
    const il_config *c = &model->config;
    int d = c->width / c->heads, b = c->mini_batch;
    il_inner_head h = {
        .kernels = model->engine->kernels, .d = d, .b = b, .tok = model->tok + (size_t)layer * (size_t)b};
    h.lr_scale = (float)c->ttt_base_lr * inner_lr / (float)d;
    for (int i = 0; i < model->n_rule_tensors; i++) {
        const il_rule_tensor *t = &model->rule_tensors[i];
        size_t slice = (size_t)(t->rows ? t->rows : 1) * (size_t)t->columns;
        h.param[i] = model->weights + model->layers[layer].rule[i] + (size_t)head * slice;
    }
    return h;
}
