/* tape.c: lays a training tape out and gives it back. What is written there is the forward pass's business. */
#include "train/tape.h"
#include "base/error.h"
#include <string.h>

static void tape_take(il_arena *arena, const il_model *model, size_t length, il_tape *tape) {
    const il_config *c = &model->config;
    size_t layers = (size_t)c->layers, segments = (size_t)tape->segments, tokens = segments * length;
    size_t mini_batches = (size_t)tape->mini_batches, heads = (size_t)c->heads, width = (size_t)c->width;
    tape->layers = il_arena_take(arena, layers, sizeof *tape->layers);
    for (size_t i = 0; i < layers; i++) {
        il_acts unused;
        il_acts_take(arena, model, tokens, arena->base ? &tape->layers[i] : &unused);
    }
    if (model->rule) {
        size_t heads_all = layers * segments * heads;
        size_t groups = (mini_batches + IL_CARRY_EVERY - 1) / IL_CARRY_EVERY;
        tape->rows = il_arena_take(arena, heads_all * mini_batches * model->shape.rows, sizeof(float));
        tape->carries = il_arena_take(arena, heads_all * groups * model->shape.carry, sizeof(float));
    }
    tape->x_last = il_arena_take(arena, tokens * width, sizeof(float));
    if (c->pre_conv || c->share_qk)
        tape->history =
            il_arena_take(arena, 2 * layers * segments * (size_t)(c->conv_kernel - 1) * width, sizeof(float));
}

il_status il_tape_open(const il_model *model, int segments, int length, il_tape *tape, il_error *error) {
    int b = model->config.mini_batch;
    *tape = (il_tape){.segments = segments, .mini_batches = (length - 1) / b + 1};
    il_arena arena = {0};
    tape_take(&arena, model, (size_t)length, tape);
    void *block = il_alloc(&model->engine->memory, arena.used, 1);
    if (!block) {
        *tape = (il_tape){0};
        return il_fail(error, IL_ERR_NOMEM, "no memory for the activations of %d sequences of %d tokens (%zu bytes)",
                       segments, length, arena.used);
    }
    arena = (il_arena){.base = block};
    tape_take(&arena, model, (size_t)length, tape);
    tape->allocator = &model->engine->memory;
    tape->block = block;
    return IL_OK;
}

void il_tape_close(il_tape *tape) {
    if (tape->allocator) il_free(tape->allocator, tape->block);
    *tape = (il_tape){0};
}
