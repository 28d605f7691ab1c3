/* forward.c: the pass over all layers: embedding, then of each layer the convolution before the mixer (where there is
 * one), the mixer and the feed-forward network, each with its norm before and its residual after; then the final
 * norm. backward.c is the same, backwards. */
#include "model/forward.h"

#include "model/embedding.h"
#include "model/mixer.h"
#include "model/steps.h"
#include <string.h>

static void add(const il_pass *pass, const float *a, const float *b, float *y) {
    il_pass_map(pass, pass->model->engine->kernels->add, pass->model->config.width, a, b, y);
}

/* Moves the states on. */
static void keep_hidden(const il_pass *pass) {
    size_t width = (size_t)pass->model->config.width;
    for (int s = 0; s < pass->n_segments; s++) {
        const il_segment *segment = &pass->segments[s];
        il_state *state = segment->state;
        for (int i = segment->n > state->ring_hidden ? segment->n - state->ring_hidden : 0; i < segment->n; i++)
            memcpy(il_state_hidden(state, state->position + (uint64_t)i),
                   pass->work->hidden + (size_t)(segment->first + i) * width, width * sizeof(float));
        state->position += (uint64_t)segment->n;
    }
}

/* Of a layer x0 -> x2. */
static void mix(const il_pass *pass, int i) {
    const il_layer *layer = &pass->model->layers[i];
    const il_acts *a = il_pass_acts(pass, i);
    if (a->pre) {
        il_rms_forward(pass, &layer->conv_norm, a->x0, a->pre);
        il_conv_forward(pass, i, IL_RING_PRE, &layer->pre_conv, a->pre, a->x1);
        il_conv_keep(pass, i, IL_RING_PRE, &layer->pre_conv, a->pre);
        add(pass, a->x0, a->x1, a->x1);
    }
    il_rms_forward(pass, &layer->seq_norm, a->x1, a->xn);
    layer->mixer->forward(pass, i);
    add(pass, a->x1, pass->work->mix, a->x2);
}

/* x2 -> y, the layer's output. */
static void feed_forward(const il_pass *pass, int i, float *y) {
    const il_acts *a = il_pass_acts(pass, i);
    il_pass some = *pass;
    int most = il_pass_ffn_tokens(pass);
    for (int first = 0; first < pass->tokens; first += most) {
        size_t at = (size_t)first * (size_t)pass->model->config.width;
        some.tokens = pass->tokens - first < most ? pass->tokens - first : most;
        il_rms_forward(&some, &pass->model->layers[i].ffn_norm, a->x2 + at, a->fn);
        il_swiglu_forward(&some, i, pass->work->mix + at);
    }
    add(pass, a->x2, pass->work->mix, y);
}

/* Keeps what the states are, to begin from again. */
static void keep_before(const il_pass *pass) {
    const il_tape *tape = pass->tape;
    for (int s = 0; s < pass->n_segments; s++)
        memcpy(tape->before + (size_t)s * tape->state_bytes, pass->segments[s].state->block, tape->state_bytes);
}

void il_forward_again(il_pass *pass, int i) {
    for (int s = 0; s < pass->n_segments; s++) {
        il_state *state = pass->segments[s].state;
        const il_kept *kept = &state->layers[i];
        memcpy((char *)state->block + kept->from, pass->tape->before + (size_t)s * pass->tape->state_bytes + kept->from,
               kept->bytes);
        state->position -= (uint64_t)pass->segments[s].n;
    }
    mix(pass, i);
    for (int s = 0; s < pass->n_segments; s++) pass->segments[s].state->position += (uint64_t)pass->segments[s].n;
}

void il_forward(il_pass *pass, const int32_t *tokens) {
    const il_model *model = pass->model;
    il_workspace *work = pass->work;
    int layers = model->config.layers;
    float *x_last = pass->tape ? pass->tape->x_last : il_pass_acts(pass, 0)->x0;

    if (pass->tape && pass->tape->recomputes) keep_before(pass);
    il_embed_forward(pass, tokens, il_pass_acts(pass, 0)->x0);
    for (int i = 0; i < model->n_mixers; i++)
        if (model->mixers[i]->begin) model->mixers[i]->begin(pass);

    for (int i = 0; i < layers; i++) {
        mix(pass, i);
        feed_forward(pass, i, i + 1 < layers ? il_pass_acts(pass, i + 1)->x0 : x_last);
    }

    il_rms_forward(pass, &model->norm, x_last, work->hidden);
    keep_hidden(pass);
}
