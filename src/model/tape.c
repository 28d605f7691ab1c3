/* tape.c: lays a training tape out and gives it back. What is written there is the forward pass's business. */
#include "model/tape.h"

#include "base/error.h"

static void lay_out(il_tape *tape, const il_model *model, il_arena *arena) {
    const il_config *c = &model->config;
    tape->layers = il_arena_take(arena, (size_t)c->layers, sizeof *tape->layers);
    for (int i = 0; i < c->layers; i++) {
        il_acts unused;
        il_acts_take(arena, model, i, &tape->size, tape->layers ? &tape->layers[i] : &unused);
    }
    tape->x_last = il_arena_take(arena, tape->size.tokens * (size_t)c->width, sizeof(float));
}

il_status il_tape_open(const il_model *model, int segments, int length, il_tape *tape, il_error *error) {
    size_t mini_batches = (size_t)((length - 1) / model->config.mini_batch + 1);
    il_tape t = {.size = {(size_t)segments * (size_t)length, (size_t)segments, mini_batches}};
    il_arena arena = {0};
    *tape = (il_tape){0};
    lay_out(&t, model, &arena);
    t.allocator = &model->engine->memory;
    t.block = il_alloc(t.allocator, arena.used, 1);
    if (!t.block)
        return il_fail(error, IL_ERR_NOMEM, "no memory for the activations of %d sequences of %d tokens (%zu bytes)",
                       segments, length, arena.used);
    arena = (il_arena){.base = t.block};
    lay_out(&t, model, &arena);
    *tape = t;
    return IL_OK;
}

void il_tape_close(il_tape *tape) {
    if (tape->allocator) il_free(tape->allocator, tape->block);
    *tape = (il_tape){0};
}
