/* workspace.c: the memory of a forward pass, measured from the config and taken in one allocation. */
#include "base/error.h"
#include "engine/gemm.h"
#include "model/forward.h"

void il_acts_take(il_arena *arena, const il_model *model, size_t tokens, il_acts *acts) {
    const il_config *c = &model->config;
    size_t wide = tokens * (size_t)c->width, ffn = tokens * (size_t)c->ffn_width, heads = tokens * (size_t)c->heads;
    size_t size = sizeof(float);
    *acts = (il_acts){0};
    acts->x0 = acts->x1 = il_arena_take(arena, wide, size);
    if (c->pre_conv) {
        acts->pre = il_arena_take(arena, wide, size);
        acts->x1 = il_arena_take(arena, wide, size);
    }
    acts->xn = il_arena_take(arena, wide, size);
    if (c->share_qk) acts->xqk = il_arena_take(arena, wide, size);
    acts->q = il_arena_take(arena, wide, size);
    acts->k = il_arena_take(arena, wide, size);
    acts->v = il_arena_take(arena, wide, size);
    if (c->use_gate) acts->g = il_arena_take(arena, wide, size);
    acts->z = il_arena_take(arena, wide, size);
    if (model->rule) {
        acts->lr = il_arena_take(arena, heads, size);
        acts->zhat = il_arena_take(arena, wide, size);
        acts->z_inv_std = il_arena_take(arena, tokens, size);
    } else {
        acts->lse = il_arena_take(arena, heads, size);
    }
    acts->x2 = il_arena_take(arena, wide, size);
    acts->fn = il_arena_take(arena, wide, size);
    acts->h1 = il_arena_take(arena, ffn, size);
    acts->h3 = il_arena_take(arena, ffn, size);
}

static void lay_out(il_workspace *w, const il_model *model, il_arena *arena) {
    const il_config *c = &model->config;
    size_t tokens = (size_t)w->tokens, width = (size_t)c->width, size = sizeof(float);
    il_acts_take(arena, model, tokens, &w->acts);
    w->hidden = il_arena_take(arena, tokens * width, size);
    w->mix = il_arena_take(arena, tokens * width, size);
    w->tmp = il_arena_take(arena, tokens * width, size);
    w->ffn = il_arena_take(arena, tokens * (size_t)c->ffn_width, size);
    w->cosine = w->sine = NULL;
    if (!model->rule) {
        w->cosine = il_arena_take(arena, tokens * width / (size_t)c->heads / 2, size);
        w->sine = il_arena_take(arena, tokens * width / (size_t)c->heads / 2, size);
    }
    w->history = il_arena_take(arena, (size_t)(c->conv_kernel - 1) * width, size);
    size_t rows = IL_LOGIT_ROWS;
    w->lse = w->rows = w->features = NULL;
    if (c->fast_head_size) {
        if (rows < (size_t)c->mini_batch) rows = (size_t)c->mini_batch;
        w->lse = il_arena_take(arena, rows, size);
        w->rows = il_arena_take(arena, rows * width, size);
        w->features = il_arena_take(arena, 2 * rows * (size_t)c->fast_head_size, size);
    }
    w->logit_rows = (int)rows;
    w->logits = il_arena_take(arena, rows * (size_t)c->vocab_size, size);
    w->quantized = NULL;
    if (il_lp_row_scales(c->weights, (size_t)c->width)) {
        int most = w->tokens > w->logit_rows ? w->tokens : w->logit_rows;
        w->quantized =
            il_arena_take(arena, il_quantized_bytes(most, c->width > c->ffn_width ? c->width : c->ffn_width), 1);
    }
    w->scratch = il_arena_take(arena, (size_t)il_pool_threads(model->engine->pool) * w->scratch_floats, size);
}

il_status il_workspace_open(const il_model *model, int tokens, il_workspace *work, il_error *error) {
    *work = (il_workspace){.allocator = &model->engine->memory, .tokens = tokens};
    const il_rule_shape *shape = &model->shape;
    work->scratch_floats = model->rule ? (shape->scratch > shape->scratch_back ? shape->scratch : shape->scratch_back)
                                       : il_mixer_attention_scratch(model);
    il_arena arena = {0};
    lay_out(work, model, &arena);
    work->block = il_alloc(work->allocator, arena.used, 1);
    if (!work->block) return il_fail(error, IL_ERR_NOMEM, "no memory for a workspace of %zu bytes", arena.used);
    arena = (il_arena){.base = work->block};
    lay_out(work, model, &arena);
    return IL_OK;
}

void il_workspace_close(il_workspace *work) {
    if (work->allocator) il_free(work->allocator, work->block);
    *work = (il_workspace){0};
}
