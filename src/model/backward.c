/* backward.c: gradient of the whole model from that of the final hidden vectors: forward.c's loop, layer by layer in
 * reverse. The output head's is lm_head.c's. */
#include "model/backward.h"

#include "model/embedding.h"
#include "model/mixer.h"
#include "model/steps.h"

void il_backward(il_pass *pass, const int32_t *tokens, const float *dhidden, float *grad, il_backspace *space) {
    const il_model *model = pass->model;
    float *dx = space->dx, *dxn = pass->work->tmp, *dfn = space->dz;
    if (pass->tokens < 1) return;
    il_rms_backward(pass, &model->norm, pass->tape->x_last, dhidden, dx, 0, grad, space);

    for (int i = model->config.layers - 1; i >= 0; i--) {
        const il_layer *layer = &model->layers[i];
        const il_acts *a = il_pass_acts(pass, i);
        il_swiglu_backward(pass, i, dx, dfn, grad);
        il_rms_backward(pass, &layer->ffn_norm, a->x2, dfn, dx, 1, grad, space);
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
