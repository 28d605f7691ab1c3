/* gated_delta.h: the gated delta rule, as Gated DeltaNet layers have it: the inner network is linear, its weights S
 * [dk, dv] start at 0, and each token first lets them fade and then takes one step of gradient descent on
 * 1/2 |k S - v|², with a rate of its own:
 *
 *     S <- keep S;   S <- S + k^T rate (v - k S);   o = q S
 *
 * Rows and commit as rule.h has them, but not behind its table: a head here is a key head with all value heads that
 * share its keys, keys and values differ in width, the memory changes by every token and not only at a mini-batch's
 * end, and keep and rate are data, one of each a token and value head. docs/ttt.md derives every step. */
#ifndef IL_INNER_GATED_DELTA_H
#define IL_INNER_GATED_DELTA_H

#include "inner/rule.h"

typedef struct il_delta {
    const il_kernels *kernels;
    int dk, dv; /* widths of keys and queries, of values */
    int values; /* value heads: each has its own S */
    int b;      /* tokens of a mini-batch */
} il_delta;

/* n consecutive tokens: q and k of length 1 and dk^-1/2 or as they may be, v of all value heads side by side; row
 * strides in floats. */
typedef struct il_delta_in {
    int n;
    const float *q, *k, *v; /* [n, dk], [n, dk], [n, values * dv], stride ld */
    ptrdiff_t ld;
    const float *keep, *rate; /* [n, values], stride ld_gate: 0 .. 1 each */
    ptrdiff_t ld_gate;
} il_delta_in;

/* Where the gradients of il_delta_in go; the same strides; written (=). Those of keep and rate are with respect to
 * log keep, and to x where rate = sigmoid(x). */
typedef struct il_delta_grad {
    float *dq, *dk, *dv, *dlog_keep, *drate_in;
} il_delta_grad;

/* carry: S [values, dk, dv]. */
il_rule_shape il_delta_shape(const il_delta *delta);
il_rule_cost il_delta_cost(const il_delta *delta); /* of all value heads of a key head */

/* These five as il_rule's of the same names; out [n, values * dv], stride ld_out, without a residual or norm. */
void il_delta_trim(const il_delta *delta, float *rows, int n);
void il_delta_rows(const il_delta *delta, const float *carry, float *rows, int r0, const il_delta_in *in, float *out,
                   ptrdiff_t ld_out, float *scratch);
void il_delta_commit(const il_delta *delta, const float *carry, const float *rows, float *next, float *scratch);
void il_delta_backward(const il_delta *delta, const float *carry, const float *rows, const il_delta_in *in,
                       int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry, const il_delta_grad *grad,
                       float *scratch);
/* The loss 1/2 |k S - v|² of a full mini-batch's rows, summed: with S as it was before them and as it is after. */
void il_delta_loss(const il_delta *delta, const float *before, const float *after, const float *rows, double loss[2],
                   float *scratch);

#endif
