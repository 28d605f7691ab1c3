/* tape.c: lays a training tape out and gives it back. What is written there is the forward pass's business. */
#include "model/tape.h"

#include "base/error.h"

static void lay_out(il_tape *tape, const il_model *model, il_arena *arena) {
    const il_config *c = &model->config;
    size_t wide = tape->size.tokens * (size_t)c->width, most = 0;
    tape->layers = il_arena_take(arena, (size_t)c->layers, sizeof *tape->layers);
    tape->x_last = il_arena_take(arena, wide, sizeof(float));
    if (tape->recomputes) tape->before = il_arena_take(arena, tape->size.segments, tape->state_bytes);
    for (int i = 0; i < c->layers; i++) {
        il_acts unused, *acts = tape->layers ? &tape->layers[i] : &unused;
        acts->x0 = il_arena_take(arena, wide, sizeof(float));
        if (!tape->recomputes) il_acts_take(arena, model, i, &tape->size, acts->x0, acts);
    }
    for (int i = 0; i < c->layers && tape->recomputes; i++) {
        il_acts unused, *acts = tape->layers ? &tape->layers[i] : &unused;
        il_arena own = *arena;
        il_acts_take(&own, model, i, &tape->size, tape->layers ? acts->x0 : NULL, acts);
        if (own.used > most) most = own.used;
    }
    if (most) arena->used = most;
}

int il_tape_ffn_tokens(int segments, int length, int recomputes) {
    return recomputes && segments * length > IL_TAPE_FFN_TOKENS ? IL_TAPE_FFN_TOKENS : segments * length;
}

static size_t measure(const il_model *model, int segments, int length, int recomputes, il_tape *tape) {
    il_arena arena = {0};
    *tape = (il_tape){.allocator = &model->engine->memory, .recomputes = recomputes};
    tape->size.tokens = (size_t)segments * (size_t)length;
    tape->size.ffn_tokens = (size_t)il_tape_ffn_tokens(segments, length, recomputes);
    tape->size.segments = (size_t)segments;
    tape->size.mini_batches = (size_t)((length - 1) / model->config.mini_batch + 1);
    tape->state_bytes = il_state_block_bytes(model);
    lay_out(tape, model, &arena);
    return arena.used;
}

size_t il_tape_bytes(const il_model *model, int segments, int length, int recomputes) {
    il_tape tape;
    return measure(model, segments, length, recomputes, &tape);
}

il_status il_tape_open(const il_model *model, int segments, int length, int recomputes, il_tape *tape,
                       il_error *error) {
    il_tape t;
    il_arena arena = {.used = measure(model, segments, length, recomputes, &t)};
    *tape = (il_tape){0};
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
