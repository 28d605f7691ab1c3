/* workspace.c: see workspace.h. Memory is laid out twice: first to measure, then for real. */
#include "model/workspace.h"

#include "base/error.h"
#include "engine/gemm.h"
#include "model/config_fields.h"
#include "model/mixer.h"
#include <string.h>

/* ---- forward ---- */

void il_acts_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, float *x0,
                  il_acts *acts) {
    const il_config *c = &model->config;
    size_t wide = size->tokens * (size_t)c->width, ffn = size->ffn_tokens * (size_t)c->ffn_width;
    int taped = size->mini_batches > 0;
    *acts = (il_acts){.x0 = x0, .x1 = x0};
    if (model->layers[layer].pre_conv.w != IL_NONE) {
        acts->pre = il_arena_take(arena, wide, sizeof(float));
        acts->x1 = il_arena_take(arena, wide, sizeof(float));
        if (taped)
            acts->history[IL_RING_PRE] =
                il_arena_take(arena, size->segments * (size_t)(c->conv_kernel - 1) * (size_t)c->width, sizeof(float));
    }
    acts->x2 = taped ? il_arena_take(arena, wide, sizeof(float)) : acts->x1;
    il_arena own = *arena; /* the feed-forward network's; without a tape what the mixer needed is not needed any more */
    acts->xn = il_arena_take(arena, wide, sizeof(float));
    model->layers[layer].mixer->acts(arena, model, layer, size, acts);
    if (taped) own = *arena;
    acts->fn = il_arena_take(&own, size->ffn_tokens * (size_t)c->width, sizeof(float));
    acts->h1 = il_arena_take(&own, ffn, sizeof(float));
    acts->h3 = il_arena_take(&own, ffn, sizeof(float));
    il_arena_join(arena, &own);
}

static void take_layers(il_workspace *w, const il_model *model, il_arena *arena) {
    const il_acts_size size = {.tokens = (size_t)w->tokens, .ffn_tokens = (size_t)w->ffn_tokens};
    float *x0 = il_arena_take(arena, size.tokens * (size_t)model->config.width, sizeof(float));
    const il_arena start = *arena;
    il_acts unused;
    for (int i = 0; i < model->config.layers; i++) {
        il_arena own = start;
        il_acts_take(&own, model, i, &size, x0, w->layers ? &w->layers[i] : &unused);
        il_arena_join(arena, &own);
    }
}

static size_t most_history(const il_model *model) {
    size_t most = 0;
    for (int i = 0; i < model->config.layers; i++) {
        const il_layer *layer = &model->layers[i];
        const il_conv *const all[] = {&layer->pre_conv, &layer->conv_q, &layer->conv_k};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
            size_t floats = all[k]->w == IL_NONE ? 0 : (size_t)(all[k]->taps - 1) * (size_t)all[k]->channels;
            if (floats > most) most = floats;
        }
    }
    return most;
}

static size_t logit_rows(const il_config *c) {
    size_t rows = IL_LOGIT_BYTES / ((size_t)c->vocab_size * sizeof(float));
    return rows < 1 ? 1 : rows < IL_LOGIT_ROWS ? rows : IL_LOGIT_ROWS;
}

static int takes_ttt(const il_model *model) {
    for (int i = 0; i < model->config.layers; i++)
        if (model->layers[i].rule) return 1;
    return 0;
}

static void lay_out(il_workspace *w, const il_model *model, il_arena *arena) {
    const il_config *c = &model->config;
    size_t tokens = (size_t)w->tokens, width = (size_t)c->width, size = sizeof(float), rows = logit_rows(c);
    if (!w->taped) w->layers = il_arena_take(arena, (size_t)c->layers, sizeof *w->layers);
    /* Where the layers' activations lie: all of it is free with a tape, which has its own, and behind the first x0 when
     * the last layer is done. */
    il_arena again = *arena;
    if (!w->taped) {
        take_layers(w, model, arena);
        il_arena_take(&again, tokens * width, size);
    }
    w->hidden = il_arena_take(&again, tokens * width, size);
    w->ffn = il_arena_take(&again, (size_t)w->ffn_tokens * (size_t)c->ffn_width, size);
    w->tmp = il_arena_take(!w->taped && takes_ttt(model) ? arena : &again, tokens * width, size);
    il_arena_join(arena, &again);
    w->mix = il_arena_take(arena, tokens * width, size);
    if (il_config_attends(c)) {
        w->cosine = il_arena_take(arena, tokens * (size_t)il_config_rotary_width(c) / 2, size);
        w->sine = il_arena_take(arena, tokens * (size_t)il_config_rotary_width(c) / 2, size);
    }
    w->history = il_arena_take(arena, most_history(model), size);
    w->tapped = il_arena_take(arena, (size_t)c->n_taps * tokens, sizeof *w->tapped);
    if (c->fast_head_size) {
        if (rows < (size_t)c->mini_batch) rows = (size_t)c->mini_batch;
        w->lse = il_arena_take(arena, rows, size);
        w->rows = il_arena_take(arena, rows * width, size);
        w->features = il_arena_take(arena, 2 * rows * (size_t)c->fast_head_size, size);
        if (c->fast_head_tokens) w->learned = il_arena_take(arena, rows * (size_t)c->fast_head_tokens, size);
    }
    w->logit_rows = (int)rows;
    if (il_lp_row_scales(c->weights, width)) {
        int most = w->tokens > w->logit_rows ? w->tokens : w->logit_rows;
        w->quantized = il_arena_take(arena, il_quantized_bytes(most, il_model_most_inputs(model)), 1);
    }
    w->scratch = il_arena_take(arena, (size_t)il_pool_threads(model->engine->pool) * w->scratch_floats, size);
    w->zeroed = arena->used;
    w->logits = il_arena_take(arena, rows * (size_t)c->vocab_size, size);
}

/* Bytes of activations of so many tokens. */
static size_t activations(const il_model *model, int tokens) {
    il_workspace w = {.tokens = tokens, .ffn_tokens = tokens};
    il_arena arena = {0};
    take_layers(&w, model, &arena);
    return arena.used + (size_t)tokens * (size_t)model->config.width * sizeof(float); /* mix */
}

int il_workspace_tokens(const il_model *model, int most) {
    while (most > IL_ACTS_TOKENS && activations(model, most) > IL_ACTS_BYTES) most /= 2;
    return most;
}

static size_t most_scratch(const il_model *model, int backward) {
    size_t most = 0;
    for (int i = 0; i < model->config.layers; i++) {
        const il_mixer *mixer = model->layers[i].mixer;
        size_t floats = (backward ? mixer->scratch_backward : mixer->scratch)(model, i);
        if (floats > most) most = floats;
    }
    return il_pad16_size(most);
}

static size_t measure(const il_model *model, il_workspace *work) {
    il_arena arena = {0};
    work->allocator = &model->engine->memory;
    work->scratch_floats = most_scratch(model, 0);
    lay_out(work, model, &arena);
    return arena.used;
}

static il_status open_measured(const il_model *model, il_workspace *work, il_error *error) {
    il_arena arena = {.used = measure(model, work)};
    work->block = il_alloc_raw(work->allocator, arena.used, 1);
    if (!work->block) return il_fail(error, IL_ERR_NOMEM, "no memory for a workspace of %zu bytes", arena.used);
    memset(work->block, 0, work->zeroed);
    arena = (il_arena){.base = work->block};
    lay_out(work, model, &arena);
    return IL_OK;
}

il_status il_workspace_open(const il_model *model, int tokens, il_workspace *work, il_error *error) {
    *work = (il_workspace){.tokens = tokens, .ffn_tokens = tokens};
    return open_measured(model, work, error);
}

il_status il_workspace_open_taped(const il_model *model, int tokens, int ffn_tokens, il_workspace *work,
                                  il_error *error) {
    *work = (il_workspace){.tokens = tokens, .ffn_tokens = ffn_tokens, .taped = 1};
    return open_measured(model, work, error);
}

size_t il_workspace_bytes(const il_model *model, int tokens) {
    il_workspace work = {.tokens = tokens, .ffn_tokens = tokens};
    return measure(model, &work);
}

size_t il_workspace_taped_bytes(const il_model *model, int tokens, int ffn_tokens) {
    il_workspace work = {.tokens = tokens, .ffn_tokens = ffn_tokens, .taped = 1};
    return measure(model, &work);
}

void il_workspace_close(il_workspace *work) {
    if (work->allocator) {
        il_free(work->allocator, work->undo);
        il_free(work->allocator, work->block);
    }
    *work = (il_workspace){0};
}

il_status il_workspace_undo_room(il_workspace *work, size_t bytes, il_error *error) {
    if (bytes <= work->undo_bytes) return IL_OK;
    il_free(work->allocator, work->undo);
    work->undo_bytes = 0;
    work->undo = il_alloc_raw(work->allocator, bytes, 1);
    if (!work->undo)
        return il_fail(error, IL_ERR_NOMEM, "no memory to keep %zu bytes of state while a pass is under way", bytes);
    work->undo_bytes = bytes;
    return IL_OK;
}

/* ---- backward ---- */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void lay_out_backward(il_backspace *s, const il_model *model, il_arena *arena) {
    const il_config *c = &model->config;
    size_t tokens = (size_t)s->tokens, width = (size_t)c->width, heads = (size_t)c->heads;
    size_t queries = width, values = width, channels = width, rates = heads, sums = width; /* the most of any layer */
    if (il_config_attends(c)) {
        size_t d = (size_t)il_config_head_width(c);
        queries = larger(queries, heads * d * (c->attention_gate ? 2 : 1));
        values = larger(values, heads * d);
        sums = larger(sums, d);
    }
    if (il_config_layers_of(c, IL_MIXER_GATED_DELTA)) {
        size_t gates = (size_t)c->delta_value_heads, of_values = gates * (size_t)c->delta_value_width;
        values = larger(values, of_values);
        channels = larger(channels, 2 * (size_t)c->delta_key_heads * (size_t)c->delta_key_width + of_values);
        rates = larger(rates, gates);
        sums = larger(sums, (size_t)c->delta_value_width);
        s->ddecay = il_arena_take(arena, tokens * gates, sizeof(float));
    }
    s->dx = il_arena_take(arena, tokens * width, sizeof(float));
    s->dz = il_arena_take(arena, tokens * values, sizeof(float));
    s->dq = il_arena_take(arena, tokens * queries, sizeof(float));
    s->dk = il_arena_take(arena, tokens * values, sizeof(float));
    s->dv = il_arena_take(arena, tokens * values, sizeof(float));
    s->dxqk = il_arena_take(arena, tokens * channels, sizeof(float));
    s->dlr = il_arena_take(arena, tokens * rates, sizeof(float));
    s->dtok = il_arena_take(arena, heads * (size_t)c->mini_batch, sizeof(float));
    s->partial = il_arena_take(arena, (tokens + IL_BACK_ROWS - 1) / IL_BACK_ROWS * 2 * sums, sizeof(float));
    s->scratch = il_arena_take(arena, (size_t)il_pool_threads(model->engine->pool) * s->scratch_floats, sizeof(float));
}

static size_t measure_backward(const il_model *model, il_backspace *space) {
    il_arena arena = {0};
    space->scratch_floats = most_scratch(model, 1);
    lay_out_backward(space, model, &arena);
    return arena.used;
}

size_t il_backspace_bytes(const il_model *model, int tokens) {
    il_backspace space = {.tokens = tokens};
    return measure_backward(model, &space);
}

il_status il_backspace_open(const il_model *model, int tokens, il_backspace *space, il_error *error) {
    il_backspace s = {.allocator = &model->engine->memory, .tokens = tokens};
    il_arena arena = {.used = measure_backward(model, &s)};
    *space = (il_backspace){0};
    s.block = il_alloc(s.allocator, arena.used, 1);
    if (!s.block)
        return il_fail(error, IL_ERR_NOMEM, "no memory for the backward pass of %d tokens (%zu bytes)", tokens,
                       arena.used);
    arena = (il_arena){.base = s.block};
    lay_out_backward(&s, model, &arena);
    *space = s;
    return IL_OK;
}

void il_backspace_close(il_backspace *space) {
    if (space->allocator) il_free(space->allocator, space->block);
    *space = (il_backspace){0};
}
