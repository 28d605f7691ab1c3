/* state.c: opening, resetting, copying and rewinding what a sequence remembers. What a layer keeps is its mixer's
 * business. */
#include "model/state.h"

#include "base/error.h"
#include "model/fast_head.h"
#include "model/mixer.h"
#include <string.h>

static const il_mixer *mixer_of(const il_state *s, int layer) { return s->model->layers[layer].mixer; }

/* The arrays of a state, laid out twice: first to measure, then for real. */
static void lay_out(il_state *s, il_arena *arena) {
    const il_config *c = &s->model->config;
    il_kept unused = {0};
    s->hidden = il_arena_take(arena, (size_t)s->ring_hidden * (size_t)c->width, sizeof(float));
    for (int i = 0; i < c->layers; i++) {
        il_kept *kept = s->layers ? &s->layers[i] : &unused;
        kept->from = arena->used;
        mixer_of(s, i)->keep(arena, s, i, kept);
        kept->bytes = arena->used - kept->from;
    }
    if (s->ring_tapped) s->tapped = il_arena_take(arena, (size_t)s->ring_tapped, sizeof *s->tapped);
}

static void lay_out_fast(il_state *s, il_arena *arena) {
    const il_config *c = &s->model->config;
    il_fast_state *fast = &s->fast;
    size_t b = (size_t)c->mini_batch;
    if (!c->fast_head_size) return;
    if (!s->frozen) {
        fast->weights = il_arena_take(arena, 2 * s->model->fast_floats, sizeof(float));
        fast->softmax = il_arena_take(arena, b * (size_t)il_fast_head_columns(c), sizeof(float));
        fast->steps = il_arena_take(arena, b * (size_t)c->fast_head_size, sizeof(float));
        if (c->fast_head_tokens) {
            fast->owners = il_arena_take(arena, (size_t)c->fast_head_tokens, sizeof *fast->owners);
            fast->owned = il_arena_take(arena, 2, sizeof *fast->owned);
        }
    }
    fast->tokens = il_arena_take(arena, 2 * b, sizeof *fast->tokens);
    fast->past = il_arena_take(arena, b * (size_t)c->width, sizeof(float));
}

/* Sets the sizes of rings, blocks and all of it. */
static void measure(il_state *state) {
    const il_config *c = &state->model->config;
    il_arena whole = {0}, block = {0}, fast = {0};
    int taps =
        il_config_layers_of(c, IL_MIXER_GATED_DELTA) && c->delta_taps > c->conv_kernel ? c->delta_taps : c->conv_kernel;
    state->ring_columns = taps - 1 + 2 * c->mini_batch;
    state->ring_hidden = 2 * c->mini_batch + 1;
    state->ring_tapped = c->n_taps ? il_config_farthest_tap(c) - 1 + 2 * c->mini_batch : 0;
    lay_out(state, &block);
    lay_out_fast(state, &fast);
    state->block_bytes = block.used;
    state->fast.bytes = fast.used;
    il_arena_take(&whole, (size_t)c->layers, sizeof *state->layers);
    il_arena_take(&whole, block.used, 1);
    il_arena_take(&whole, fast.used, 1);
    state->allocated = whole.used;
}

size_t il_state_block_bytes(const il_model *model) {
    il_state state = {.model = (il_model *)model}; /* which measuring does not change */
    measure(&state);
    return state.block_bytes;
}

static size_t pages_of(uint64_t end) { return (size_t)((end + IL_KV_PAGE - 1) / IL_KV_PAGE); }

static size_t page_floats_of(const il_model *model, int layer) {
    const il_mixer *mixer = model->layers[layer].mixer;
    return mixer->page_floats ? mixer->page_floats(model, layer) : 0;
}

il_status il_state_open(il_model *model, int frozen, il_state *state, il_error *error) {
    const il_config *c = &model->config;
    *state = (il_state){.model = model, .frozen = frozen};
    measure(state);
    state->allocation = il_alloc(&model->engine->memory, state->allocated, 1);
    if (!state->allocation) return il_fail(error, IL_ERR_NOMEM, "no memory for a state of %zu bytes", state->allocated);
    il_arena whole = {.base = state->allocation}, block, fast;
    state->layers = il_arena_take(&whole, (size_t)c->layers, sizeof *state->layers);
    state->block = il_arena_take(&whole, state->block_bytes, 1);
    state->fast.block = il_arena_take(&whole, state->fast.bytes, 1);
    block = (il_arena){.base = state->block};
    lay_out(state, &block);
    for (int i = 0; i < c->layers; i++) {
        state->layers[i].page_at = state->page_floats;
        state->page_floats += page_floats_of(model, i);
    }
    fast = (il_arena){.base = state->fast.block};
    lay_out_fast(state, &fast);
    il_state_reset(state);
    return IL_OK;
}

void il_state_share_pages(il_state *state) {
    size_t most = 0;
    for (int i = 0; i < state->model->config.layers; i++) {
        size_t floats = page_floats_of(state->model, i);
        if (floats > most) most = floats;
        state->layers[i].page_at = 0;
    }
    state->page_floats = most;
}

size_t il_state_bytes_of(const il_model *model, uint64_t end, int shared_pages) {
    il_state state = {.model = (il_model *)model};
    size_t floats = 0;
    measure(&state);
    for (int i = 0; i < model->config.layers; i++) {
        size_t own = page_floats_of(model, i);
        floats = !shared_pages ? floats + own : own > floats ? own : floats;
    }
    return state.allocated + pages_of(end) * (floats ? floats * sizeof(float) + sizeof *state.pages : 0);
}

void il_state_close(il_state *state) {
    if (!state->model) return;
    const il_allocator *memory = &state->model->engine->memory;
    for (size_t i = 0; i < state->n_pages; i++) il_free(memory, state->pages[i]);
    il_free(memory, state->pages);
    il_free(memory, state->allocation);
    *state = (il_state){0};
}

void il_state_reset(il_state *state) {
    il_fast_state *fast = &state->fast;
    state->position = state->oldest = fast->kept_from = fast->kept_to = 0;
    /* both: with b = 1 mini-batch 0 has no prediction to learn from, and F of mini-batch 1 is 0 too */
    if (fast->weights) memset(fast->weights, 0, 2 * state->model->fast_floats * sizeof(float));
    if (fast->owned) fast->owned[0] = fast->owned[1] = 0;
    for (int i = 0; i < state->model->config.layers; i++)
        if (mixer_of(state, i)->reset) mixer_of(state, i)->reset(state, i);
}

il_status il_state_reserve(il_state *s, uint64_t end, il_error *error) {
    const il_allocator *memory = &s->model->engine->memory;
    size_t need = s->page_floats ? pages_of(end) : 0;
    void *list = s->pages;
    if (!il_grow(memory, &list, &s->pages_capacity, s->n_pages, need, sizeof *s->pages))
        return il_fail(error, IL_ERR_NOMEM, "no memory for the KV cache at position %llu", (unsigned long long)end);
    s->pages = list;
    while (s->n_pages < need) {
        /* zeroed, because keys that are not there yet must be finite */
        float *page = il_alloc(memory, s->page_floats, sizeof(float));
        if (!page)
            return il_fail(error, IL_ERR_NOMEM, "no memory for the KV cache at position %llu", (unsigned long long)end);
        s->pages[s->n_pages++] = page;
    }
    return IL_OK;
}

il_status il_state_copy(il_state *to, const il_state *from, il_error *error) {
    const il_fast_state *fast = &from->fast;
    IL_TRY(il_state_reserve(to, from->position, error));
    for (size_t i = 0; from->page_floats && i < pages_of(from->position); i++)
        memcpy(to->pages[i], from->pages[i], from->page_floats * sizeof(float));
    memcpy(to->block, from->block, from->block_bytes);
    if (fast->bytes) memcpy(to->fast.block, fast->block, fast->bytes);
    to->frozen = from->frozen;
    to->position = from->position;
    to->oldest = from->oldest;
    to->fast.kept_from = fast->kept_from;
    to->fast.kept_to = fast->kept_to;
    to->fast.kept_version = fast->kept_version;
    return IL_OK;
}

uint64_t il_state_rewind_limit(const il_state *state) {
    uint64_t b = (uint64_t)state->model->config.mini_batch, mini_batch = state->position / b;
    uint64_t previous = mini_batch ? (mini_batch - 1) * b : 0;
    return previous > state->oldest ? previous : state->oldest;
}

void il_state_rewind(il_state *state, uint64_t position) {
    uint64_t b = (uint64_t)state->model->config.mini_batch, mini_batch = position / b;
    il_fast_state *fast = &state->fast;
    /* The slot that mini_batch - 1 would be in holds what is being given up. */
    if (mini_batch < state->position / b && mini_batch * b > state->oldest) state->oldest = mini_batch * b;
    state->position = position;
    if (fast->kept_to > position) fast->kept_to = position;
    if (fast->kept_from > position) fast->kept_from = position;
}

size_t il_state_bytes(const il_state *s) {
    return s->allocated + s->n_pages * s->page_floats * sizeof(float) + s->pages_capacity * sizeof *s->pages;
}
