/* backward.h: the gradient of the whole model, and the pieces that the mixers' backward shares. Every sum has
 * one order, whatever the number of threads: products are chains over tokens, other sums over tokens go in
 * chunks of IL_BACK_ROWS. */
#ifndef IL_MODEL_BACKWARD_H
#define IL_MODEL_BACKWARD_H

#include "model/forward.h"

enum { IL_BACK_ROWS = 128 };

/* Buffers of a backward pass over at most `tokens` tokens. One allocation, owned by the trainer. */
typedef struct il_backspace {
    const il_allocator *allocator;
    int tokens;
    void *block;
    float *dx; /* [T,D] gradient of the residual stream */
    il_back_buffers buffers;
} il_backspace;

il_status il_backspace_open(const il_model *model, int tokens, il_backspace *space, il_error *error);
void il_backspace_close(il_backspace *space); /* an all-zero one is fine */

/* After il_forward of the same pass with a tape: from dhidden [T,D] = dL/d(work->hidden), adds the gradients
 * of all tensors but an untied head to grad [table.floats]. Uses up the tape's h1 and h3 and the workspace's
 * mix, tmp and ffn. Of the states it reads position and key blocks. Cannot fail. */
void il_backward(il_pass *pass, const int32_t *tokens, const float *dhidden, float *grad, il_backspace *space);

/* ---- pieces ---- */
/* y [n, out] = x [n, in] W^T: grad += dy^T x, and dx = dy W, or dx += (chain) with add. dx may be x. Exact, or with
 * _linear as pass->bf16 says. */
void il_dense_backward(const il_pass *pass, const il_dense *linear, int n, const float *x, const float *dy, float *dx,
                       int add, float *grad);
void il_dense_backward_exact(const il_model *model, const il_dense *linear, int n, const float *x, const float *dy,
                             float *dx, int add, float *grad);
/* y = rms(x) [T,D] with the norm scale at w: dx = or +=, grad[w] +=. */
void il_back_rms(const il_pass *pass, size_t w, const float *x, const float *dy, float *dx, int add, float *grad,
                 const il_back_buffers *buffers);
/* y = LN(x) [T,D] with scale and shift at w and b, from xhat and inv_std: dx = (may be dy), grad[w], grad[b]
 * +=. */
void il_back_layer_norm(const il_pass *pass, size_t w, size_t b, const float *xhat, const float *inv_std,
                        const float *dy, float *dx, float *grad, const il_back_buffers *buffers);
/* y = conv(x) [T,D] of one layer: dx = or +=, grad[w], grad[b] +=; qk: which history of the tape. */
void il_back_conv(const il_pass *pass, int layer, int qk, size_t w, size_t b, const float *x, const float *dy,
                  float *dx, int add, float *grad);

/* Floats of worker scratch (il_back_buffers) a mixer's backward needs. */
size_t il_mixer_ttt_backward_scratch(const il_model *model);
size_t il_mixer_attention_backward_scratch(const il_model *model);

#endif
