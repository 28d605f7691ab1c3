/* dual.h: what the inner rules share: one layer of fast weights read and changed in the dual form, and small
 * helpers. Knows no loss, no norm and no activation; those are a rule's own. docs/ttt.md derives every
 * formula.
 *
 * A layer is Y = X W + bias, W [in, out] followed in memory by bias [out], both as they were at the start of
 * the mini-batch. Each token j leaves its input X_j and the gradient G_j of its own loss with respect to Y_j;
 * token i reads Ybar_i = A_i W + bias - sum_{j<=i} eta_ij (A_i·X_j + 1) G_j        eta_ij = tok_i lr_j which
 * is the layer after i+1 steps of gradient descent, applied to A_i, without ever forming its weights. */
#ifndef IL_INNER_DUAL_H
#define IL_INNER_DUAL_H

#include "base/memory.h"
#include "inner/rule.h"

#define IL_INNER_EPS 1e-6f /* of the inner norm, fixed by the models' definition */

/* The rows of one layer in a mini-batch. */
typedef struct il_dual {
    int in, out;
    const float *xt; /* [in, il_pad16(b)] inputs, transposed: column j is token j's */
    const float *g;  /* [b, out] */
    const float *lr; /* [b] */
} il_dual;

/* y [n, out] = x [n, in] · W + bias; rows of x and y lie close together. */
void il_affine(const il_kernels *k, int n, int in, int out, const float *x, const float *w, float *y);

/* Rows r0 .. r0+n-1 read: y [n, out] in: A W + bias, out: Ybar. a [n, in]; s [n, il_pad16(b)] is scratch.
 * Looks at rows 0 .. r0+i for row i and at nothing else: what lies in later rows, a NaN included, changes no
 * bit. */
void il_dual_read(const il_inner_head *head, const il_dual *dual, int r0, int n, const float *a, float *y, float *s);

/* The layer `to` = `from` - rate sum_j lr_j X_j^T G_j over all b rows, the bias likewise: the official rules step by
 * rate = tok_{b-1}. to may be from. scratch [b, out]. */
void il_dual_commit(const il_inner_head *head, const il_dual *dual, float rate, const float *from, float *to,
                    float *scratch);

/* Backward of il_dual_read from row 0, as a function of A, X, G, lr and tok (not of A W + bias), and of the
 * commit as a function of X, G, lr and its rate (not of W). */
typedef struct il_dual_back {
    const float *a;      /* [n, in] */
    const float *x;      /* [n, in] the inputs again, not transposed */
    const float *dy;     /* [n, out] with respect to Ybar */
    const float *dlayer; /* with respect to the committed layer; NULL: nothing was committed */
    float rate;          /* of the commit */
    float *drate;        /* [1] += */
    float *da;           /* [n, in] += */
    float *dx;           /* [n, in] = */
    float *dg;           /* [n, out] = */
    float *dlr;          /* [n] += */
    float *dtok;         /* [b] += */
} il_dual_back;

/* Floats of scratch il_dual_backward needs. */
size_t il_dual_backward_scratch(int in, int out, int b);
void il_dual_backward(const il_inner_head *head, const il_dual *dual, int n, const il_dual_back *back, float *scratch);

/* dx [n, in] += dy [n, out] · W^T; scratch of il_affine_backward_scratch floats. */
size_t il_affine_backward_scratch(int n, int in, int out);
void il_affine_backward(const il_kernels *k, int n, int in, int out, const float *dy, const float *w, float *dx,
                        float *scratch);
/* dW += x^T · dy, dbias += sum of dy's rows; dlayer as a layer lies. One chain over n from the old value. */
void il_affine_backward_weights(const il_kernels *k, int n, int in, int out, const float *x, const float *dy,
                                float *dlayer);

/* kq [2n, d] = the keys, then the queries, close together: one pass over W serves both. */
void il_rule_stack(const il_rows_in *in, int d, float *kq);
/* target [n, d] = V - K */
void il_rule_targets(const il_kernels *k, const il_rows_in *in, int d, float *target);
/* Their backward: dq, dk and dv from what reached Q, K and the target, each [n, d] close together. */
void il_rule_scatter(const il_kernels *k, const il_rows_in *in, int d, const float *dk, const float *dq,
                     const float *dtarget, const il_rows_grad *grad);
/* Copies n floats and zeroes to the end of total. */
void il_rule_fill(float *to, const float *from, size_t n, size_t total);

/* 1/2 |f - (V - K)|², summed over n rows; f and key [n, d] lie close together; f is overwritten. */
double il_rule_loss(const il_kernels *k, int n, int d, float *f, const float *key, const float *v, ptrdiff_t ld_v);
/* Zeroes columns n .. ld-1 of x [rows, ld]. */
void il_rule_trim(float *x, int rows, int n, int ld);

#endif
