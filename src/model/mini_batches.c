/* mini_batches.c: see mini_batches.h. */
#include "model/mini_batches.h"

#include "base/error.h"
#include <stdatomic.h>
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

size_t il_turn_scratch(const il_layer *layer) { return il_pad16_size(layer->shape.scratch) + layer->shape.carry; }

/* Where a carry lies that is only needed for a moment. */
static float *passing_carry(const il_pass *pass, int layer, float *scratch) {
    return scratch + il_pad16_size(pass->model->layers[layer].shape.scratch);
}

/* The mini-batches in which a segment's pass begins and which it leaves open; whether it goes through a whole one in
 * between, so that the carry of the first must be held. */
typedef struct span {
    uint64_t first, last;
    int held;
} span;

static span span_of(const il_pass *pass, const il_segment *segment, uint64_t start) {
    uint64_t b = (uint64_t)pass->model->config.mini_batch;
    span s = {.first = start / b, .last = (start + (uint64_t)segment->n) / b};
    s.held = pass->undoable && !segment->state->frozen && s.last > s.first + 1;
    return s;
}

static void commit(const il_pass *pass, int layer, int head, const float *carry, const float *rows, float *next,
                   float *scratch) {
    pass->model->layers[layer].mixer->commit(pass, layer, head, carry, rows, next, scratch);
}

/* The carry after all mini-batches of a held segment. */
static void last_commit(const il_pass *pass, const il_state *state, const span *s, int layer, int head,
                        const float *before, float *last, float *scratch) {
    commit(pass, layer, head, before, il_state_rows(state, s->last - 1, layer, head), last, scratch);
}

/* Of a turn in mini-batch m of a held segment. */
static void hold(const il_pass *pass, const il_state *state, const span *s, int layer, int head, uint64_t m,
                 float *scratch, il_turn *turn) {
    float *moving = il_state_carry(state, s->first + 1, layer, head);
    if (m > s->first) turn->carry = moving;
    if (m == s->last) {
        float *last = passing_carry(pass, layer, scratch);
        last_commit(pass, state, s, layer, head, moving, last, scratch);
        turn->carry = last;
    }
    if (turn->next) turn->next = m + 1 < s->last ? moving : NULL;
}

int il_turn_next(const il_pass *pass, int layer, int head, int segment, int step, int steps, int *at, float *scratch,
                 il_turn *turn) {
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
    span s = span_of(pass, of, state->position);
    if (s.held) hold(pass, state, &s, layer, head, mini_batch, scratch, turn);
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

void il_turn_end(const il_pass *pass, int layer, int head, const il_turn *turn, float *scratch) {
    float *next = turn->next == turn->carry ? passing_carry(pass, layer, scratch) : turn->next;
    if (!next) return;
    commit(pass, layer, head, turn->carry, turn->rows, next, scratch);
    if (next != turn->next) memcpy(turn->next, next, pass->model->layers[layer].shape.carry * sizeof *next);
}

/* ---- when the pass is over ---- */

typedef struct settle_job {
    const il_pass *pass;
    atomic_int *wrong; /* NULL: settle; else whether a carry is not finite, and nothing changes */
} settle_job;

static void settle_head(const settle_job *job, const il_state *state, const span *s, int layer, int head,
                        float *scratch) {
    size_t floats = job->pass->model->layers[layer].shape.carry;
    float *held = il_state_carry(state, s->first, layer, head);
    float *moving = il_state_carry(state, s->first + 1, layer, head);
    if (job->wrong) {
        float *last = passing_carry(job->pass, layer, scratch);
        last_commit(job->pass, state, s, layer, head, moving, last, scratch);
        if (!job->pass->model->engine->kernels->all_finite(floats, last)) atomic_store(job->wrong, 1);
    } else if ((s->last - s->first) % 2 == 0) {
        last_commit(job->pass, state, s, layer, head, moving, held, scratch);
    } else { /* that before the last belongs where the first one was */
        memcpy(held, moving, floats * sizeof *held);
        last_commit(job->pass, state, s, layer, head, held, moving, scratch);
    }
}

/* A layer of a segment. */
static void settle_run(void *context, int item, int worker) {
    const settle_job *job = context;
    const il_pass *pass = job->pass;
    const il_segment *segment = &pass->segments[item % pass->n_segments];
    const il_state *state = segment->state;
    int layer = item / pass->n_segments;
    float *scratch = pass->work->scratch + (size_t)worker * pass->work->scratch_floats;
    span s = span_of(pass, segment, state->position - (uint64_t)segment->n);
    for (int h = 0; h < pass->model->layers[layer].heads && s.held; h++) settle_head(job, state, &s, layer, h, scratch);
}

static void settle(const il_pass *pass, atomic_int *wrong) {
    settle_job job = {pass, wrong};
    int any = 0;
    for (int i = 0; i < pass->n_segments; i++) {
        const il_segment *segment = &pass->segments[i];
        any |= span_of(pass, segment, segment->state->position - (uint64_t)segment->n).held;
    }
    if (any) il_pool_run(pass->model->engine->pool, pass->model->config.layers * pass->n_segments, settle_run, &job);
}

int il_settles_finite(const il_pass *pass) {
    atomic_int wrong = 0;
    settle(pass, &wrong);
    return !atomic_load(&wrong);
}

void il_settle(const il_pass *pass) { settle(pass, NULL); }

/* ---- what a tape keeps ---- */

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

/* ---- columns ---- */

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
