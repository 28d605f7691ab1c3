/* steps.h: the steps that layers are made of, each beside its gradient: norm, convolution, SwiGLU, dense layer. A step
 * is split over the engine's threads by outputs. Gradients of activations are set (=), or added to where there is an
 * `add`; gradients of weights are added to (+=) at their place in grad [table.floats]. Sums over tokens have one order:
 * products are chains, the others go in pieces of IL_BACK_ROWS rows. */
#ifndef IL_MODEL_STEPS_H
#define IL_MODEL_STEPS_H

#include "model/pass.h"

/* y [T,D] = rms norm of x. */
void il_rms_forward(const il_pass *pass, const il_norm *norm, const float *x, float *y);
void il_rms_backward(const il_pass *pass, const il_norm *norm, const float *x, const float *dy, float *dx, int add,
                     float *grad, il_backspace *space);
/* y [T,D] = LN(x) with scale and shift at weight and bias; forward keeps xhat [T,D] and inv_std [T]. dx may be dy. */
void il_layer_norm_backward(const il_pass *pass, size_t weight, size_t bias, const float *xhat, const float *inv_std,
                            const float *dy, float *dx, float *grad, il_backspace *space);

/* y [T,channels] = causal convolution over time of x, every segment going on from the columns before it in that ring
 * of its state. Backward: no gradient enters what came before the pass. */
void il_conv_forward(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x, float *y);
/* Keeps the last columns of x in the ring, once all convolutions have read it. */
void il_conv_keep(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x);
void il_conv_backward(const il_pass *pass, int layer, il_ring ring, const il_conv *conv, const float *x,
                      const float *dy, float *dx, int add, float *grad);

/* y [T,D] = W2( silu(W1 fn) * (W3 fn) ) of acts->fn; keeps h1 and h3. */
void il_swiglu_forward(const il_pass *pass, int layer, float *y);
/* The first half of that: h1 and h3. */
void il_swiglu_inputs(const il_pass *pass, int layer);
/* dfn [T,D] = from dy [T,D]. Uses up acts->h1 and h3, and work->ffn. */
void il_swiglu_backward(const il_pass *pass, int layer, const float *dy, float *dfn, float *grad);

/* y [T,n] += bias, n numbers at that place, each row; nothing where it is IL_NONE. */
void il_bias_forward(const il_pass *pass, size_t bias, int n, float *y);
void il_bias_backward(const il_pass *pass, size_t bias, int n, const float *dy, float *grad);

/* y [n, out] = x [n, in] · W^T, exact or as pass->bf16 says. */
void il_dense_forward(const il_pass *pass, const il_dense *dense, int n, const float *x, float *y);
/* grad += dy^T x, and dx = dy W, or dx += (chain) with add. dx may be x. */
void il_dense_backward(const il_pass *pass, const il_dense *dense, int n, const float *x, const float *dy, float *dx,
                       int add, float *grad);
/* The same, exact whatever pass->bf16 says. */
void il_dense_backward_exact(const il_model *model, const il_dense *dense, int n, const float *x, const float *dy,
                             float *dx, int add, float *grad);

#endif
