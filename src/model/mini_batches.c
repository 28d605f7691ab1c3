/* mini_batches.c: see mini_batches.h. */
#include "model/mini_batches.h"

#include "base/error.h"
#include <string.h>

/* Tokens of a segment before a step: whole mini-batches of the text, as equal in number as they can be. */
static int tokens_before(const il_segment *segment, int b, int step, int steps) {
    int r0 = (int)(segment->state->position % (uint64_t)b), mini_batches = (r0 + segment->n + b - 1) / b;
    int tokens = (int)((int64_t)mini_batches * step / steps) * b - r0;
    return tokens < 0 ? 0 : tokens < segment->n ? tokens : segment->n;
}

int il_mini_batch_steps(const il_pass *pass) {
    int steps = 1, b = pass->model->config.mini_batch, threads = il_pool_threads(pass->model->engine->pool);
    for (int s = 0; s < pass->n_segments; s++) {
        int mini_batches = (pass->segments[s].n + b - 1) / b;
        if (steps < mini_batches) steps = mini_batches;
    }
    return steps < threads ? steps : threads;
}

int il_turn_next(const il_pass *pass, int layer, int head, int segment, int step, int steps, int *at, il_turn *turn) {
    const il_segment *of = &pass->segments[segment];
    const il_state *state = of->state;
    int b = pass->model->config.mini_batch;
    int done = *at + tokens_before(of, b, step, steps), end = tokens_before(of, b, step + 1, steps);
    if (done >= end) return 0;
    uint64_t position = state->position + (uint64_t)done, mini_batch = position / (uint64_t)b;
    int r0 = (int)(position % (uint64_t)b), n = b - r0 < end - done ? b - r0 : end - done;
    const float *carry = il_state_carry(state, state->frozen ? 0 : mini_batch, layer, head);
    *turn = (il_turn){.row = of->first + done, .n = n, .r0 = r0, .carry = carry};
    turn->rows = il_state_rows(state, mini_batch, layer, head);
    if (r0 + n == b && !state->frozen) turn->next = il_state_carry(state, mini_batch + 1, layer, head);
    if (pass->tape) { /* a segment of training starts at a mini-batch: done counts whole ones */
        int index = done / b;
        turn->rows = il_tape_rows(pass, layer, segment, index, head);
        if (index % IL_CARRY_EVERY == 0)
            memcpy(il_tape_carry(pass, layer, segment, index / IL_CARRY_EVERY, head), carry,
                   pass->model->layers[layer].shape.carry * sizeof(float));
    }
    *at += n;
    return 1;
}

static size_t groups_of(const il_acts_size *size) { return (size->mini_batches + IL_CARRY_EVERY - 1) / IL_CARRY_EVERY; }

float *il_tape_rows(const il_pass *pass, int layer, int segment, int mini_batch, int head) {
    const il_layer *of = &pass->model->layers[layer];
    size_t at = (size_t)segment * pass->tape->size.mini_batches + (size_t)mini_batch;
    return il_pass_acts(pass, layer)->rows + (at * (size_t)of->heads + (size_t)head) * of->shape.rows;
}

float *il_tape_carry(const il_pass *pass, int layer, int segment, int group, int head) {
    const il_layer *of = &pass->model->layers[layer];
    size_t at = (size_t)segment * groups_of(&pass->tape->size) + (size_t)group;
    return il_pass_acts(pass, layer)->carries + (at * (size_t)of->heads + (size_t)head) * of->shape.carry;
}

void il_tape_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts) {
    const il_layer *of = &model->layers[layer];
    size_t heads = size->segments * (size_t)of->heads;
    acts->rows = il_arena_take(arena, heads * size->mini_batches * of->shape.rows, sizeof(float));
    acts->carries = il_arena_take(arena, heads * groups_of(size) * of->shape.carry, sizeof(float));
}

static uint64_t first_column(int taps, uint64_t limit) {
    return limit >= (uint64_t)taps ? limit - (uint64_t)taps + 1 : 0;
}

size_t il_columns_kept(int taps, const il_extent *extent) {
    return (size_t)(extent->position - first_column(taps, extent->limit));
}

il_status il_columns_visit(const il_state *state, int layer, il_ring ring, const il_conv *conv, il_visitor *v) {
    for (uint64_t p = first_column(conv->taps, state->oldest); p < state->position; p++)
        IL_TRY(v->visit(v, il_state_column(state, ring, layer, conv->channels, p), 1, (size_t)conv->channels));
    return IL_OK;
}
