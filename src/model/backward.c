/* backward.c: gradient of the whole model from that of the final hidden vectors: forward.c's loop, layer by layer in
 * reverse. The output head's is lm_head.c's. */
#include "model/backward.h"

#include "model/embedding.h"
#include "model/forward.h"
#include "model/mixer.h"
#include "model/steps.h"

/* The feed-forward network of a layer: adds to dx. */
static void feed_forward_backward(il_pass *pass, int i, float *dx, float *grad, il_backspace *space) {
    const il_layer *layer = &pass->model->layers[i];
    const il_acts *a = il_pass_acts(pass, i);
    float *dfn = space->dz;
    il_pass some = *pass;
    int most = il_pass_ffn_tokens(pass);
    for (int first = 0; first < pass->tokens; first += most) {
        size_t at = (size_t)first * (size_t)pass->model->config.width;
        some.tokens = pass->tokens - first < most ? pass->tokens - first : most;
        if (pass->tape->recomputes) {
            il_rms_forward(&some, &layer->ffn_norm, a->x2 + at, a->fn);
            il_swiglu_inputs(&some, i);
        }
        il_swiglu_backward(&some, i, dx + at, dfn, grad);
        il_rms_backward(&some, &layer->ffn_norm, a->x2 + at, dfn, dx + at, 1, grad, space);
    }
}

void il_backward(il_pass *pass, const int32_t *tokens, const float *dhidden, float *grad, il_backspace *space) {
    const il_model *model = pass->model;
    float *dx = space->dx, *dxn = pass->work->tmp;
    int last = model->config.layers - 1;
    if (pass->tokens < 1) return;
    il_rms_backward(pass, &model->norm, pass->tape->x_last, dhidden, dx, 0, grad, space);

    for (int i = last; i >= 0; i--) {
        const il_layer *layer = &model->layers[i];
        const il_acts *a = il_pass_acts(pass, i);
        if (pass->tape->recomputes && i < last) il_forward_again(pass, i); /* those of the last are still there */
        feed_forward_backward(pass, i, dx, grad, space);
        layer->mixer->backward(pass, i, dx, dxn, grad, space);
        il_rms_backward(pass, &layer->seq_norm, a->x1, dxn, dx, 1, grad, space);
        if (a->pre) {
            il_conv_backward(pass, i, IL_RING_PRE, &layer->pre_conv, a->pre, dx, dxn, 0, grad);
            il_rms_backward(pass, &layer->conv_norm, a->x0, dxn, dx, 1, grad, space);
        }
        if (pass->passed) pass->passed(pass->user, layer->begin);
    }

    il_embed_backward(pass, tokens, dx, grad);
}
