/* undo.c: see undo.h. What a mixer keeps is copied as it is visited for state files; of its fast weights a visit with
 * `frozen` knows nothing. */
#include "model/undo.h"

#include "model/mixer.h"
#include <string.h>

typedef struct copier {
    il_visitor visitor;
    float *at;
    int back;
} copier;

static il_status copy_floats(il_visitor *visitor, float *at, ptrdiff_t stride, size_t n) {
    copier *c = (copier *)visitor;
    if (stride == 1) {
        memcpy(c->back ? at : c->at, c->back ? c->at : at, n * sizeof *at);
    } else {
        for (size_t i = 0; i < n; i++) {
            float *there = at + (ptrdiff_t)i * stride;
            if (c->back)
                *there = c->at[i];
            else
                c->at[i] = *there;
        }
    }
    c->at += n;
    return IL_OK;
}

/* The tensors that layer `layer` has in the copy. */
static int tensors_of(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list) {
    const il_mixer *mixer = model->layers[layer].mixer;
    return mixer->page_floats ? 0 : mixer->tensors(model, layer, extent, list); /* pages are only appended to */
}

/* The mini-batch that a state at that position is in, from its start on. */
static il_extent extent_at(const il_state *state, uint64_t position) {
    uint64_t b = (uint64_t)state->model->config.mini_batch;
    return (il_extent){.position = position, .limit = position - position % b, .frozen = 1};
}

/* Hidden vectors and tokens that taps look back at: whole rings, which are small. */
static size_t ring_bytes(const il_state *state) {
    return ((size_t)state->ring_hidden * (size_t)state->model->config.width + (size_t)state->ring_tapped) *
           sizeof(float);
}

static size_t bytes_at(const il_state *state, uint64_t position) {
    il_extent extent = extent_at(state, position);
    size_t floats = 0;
    for (int i = 0; i < state->model->config.layers; i++) {
        il_kept_tensor list[IL_KEPT_TENSORS_MAX];
        int n = tensors_of(state->model, i, &extent, list);
        for (int k = 0; k < n; k++) {
            size_t product = 1;
            for (int r = 0; r < list[k].rank; r++) product *= list[k].shape[r];
            floats += product;
        }
    }
    return il_pad16_size(floats + ring_bytes(state) / sizeof(float)) * sizeof(float);
}

size_t il_undo_bytes(const il_state *state, size_t n) {
    uint64_t b = (uint64_t)state->model->config.mini_batch, position = state->position;
    return (position + n) / b > position / b + 1 ? bytes_at(state, position) : 0;
}

size_t il_undo_bytes_max(const il_state *state) {
    uint64_t b = (uint64_t)state->model->config.mini_batch;
    return bytes_at(state, ((uint64_t)1 << 32) * b - 1); /* a mini-batch that lacks one token, far from the start */
}

static void copy(il_state *state, float *floats, int back) {
    il_extent extent = extent_at(state, state->position);
    copier c = {.visitor = {.visit = copy_floats}, .at = floats, .back = back};
    if (extent.limit > state->oldest) state->oldest = extent.limit;
    c.visitor.visit(&c.visitor, state->hidden, 1, (size_t)state->ring_hidden * (size_t)state->model->config.width);
    for (int i = 0; i < state->model->config.layers; i++) {
        il_kept_tensor list[IL_KEPT_TENSORS_MAX];
        int n = tensors_of(state->model, i, &extent, list);
        for (int k = 0; k < n; k++) state->model->layers[i].mixer->visit(state, i, &list[k], &c.visitor);
    }
    size_t tapped = (size_t)state->ring_tapped * sizeof *state->tapped;
    if (tapped) memcpy(back ? (void *)state->tapped : c.at, back ? c.at : (void *)state->tapped, tapped);
}

void il_undo_keep(il_state *state, char *room) { copy(state, (float *)(void *)room, 0); }

void il_undo(il_state *state, uint64_t start, char *room) {
    if (!room) {
        il_state_rewind(state, start);
        return;
    }
    state->position = start;
    copy(state, (float *)(void *)room, 1);
}
