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

void il_forward(il_pass *pass, const int32_t *tokens) {
    const il_model *model = pass->model;
    il_workspace *work = pass->work;
    int layers = model->config.layers;
    float *x_last = pass->tape ? pass->tape->x_last : il_pass_acts(pass, 0)->x0;

    il_embed_forward(pass, tokens, il_pass_acts(pass, 0)->x0);
    for (int i = 0; i < model->n_mixers; i++)
        if (model->mixers[i]->begin) model->mixers[i]->begin(pass);

    for (int i = 0; i < layers; i++) {
        const il_layer *layer = &model->layers[i];
        const il_acts *a = il_pass_acts(pass, i);
        if (a->pre) {
            il_rms_forward(pass, &layer->conv_norm, a->x0, a->pre);
            il_conv_forward(pass, i, IL_RING_PRE, &layer->pre_conv, a->pre, a->x1);
            il_conv_keep(pass, i, IL_RING_PRE, &layer->pre_conv, a->pre);
            add(pass, a->x0, a->x1, a->x1);
        }
        il_rms_forward(pass, &layer->seq_norm, a->x1, a->xn);
        layer->mixer->forward(pass, i);
        add(pass, a->x1, work->mix, a->x2);
        il_rms_forward(pass, &layer->ffn_norm, a->x2, a->fn);
        il_swiglu_forward(pass, i, work->mix);
        add(pass, a->x2, work->mix, i + 1 < layers ? il_pass_acts(pass, i + 1)->x0 : x_last);
    }

    il_rms_forward(pass, &model->norm, x_last, work->hidden);
    keep_hidden(pass);
}
