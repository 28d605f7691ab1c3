/* support_ref64.h: an independent, naive reference of the models in double precision, for tests only. It
 * shares no code and no algorithm with the library: the inner loop is the primal form (token by token,
 * accumulating weight gradients), every product is a plain loop, every function is libm's. Slow; meant for
 * models of a few thousand parameters.
 *
 * Weights are double arrays that the caller owns and may change between calls, so that a derivative is two
 * calls: double *p = ref64_weights_get(&w, "model.norm.weight", NULL), x = p[3]; p[3] = x + h; up =
 * ref64_loss(…);  p[3] = x - h; down = ref64_loss(…);  p[3] = x; derivative = (up - down) / (2 h) (or
 * ref64_slope, which is just that) */
#ifndef SUPPORT_REF64_H
#define SUPPORT_REF64_H

#include "innerloop.h"

/* ---- one head's inner loop ---- */

typedef struct ref64_rule {
    int mlp; /* 0: f(k) = LN(k W1 + b1); 1: f(k) = LN(gelu(k W1 + b1) W2 + b2), hidden width 4d */
    int d, b;
    double lr_scale;                 /* lr_j = lr_scale * sigmoid(gate_j) */
    const double *tok;               /* [b] factors on eta by place in the mini-batch, already clamped */
    const double *w1, *b1, *w2, *b2; /* [d,d], [d]; MLP: [d,4d], [4d], [4d,d], [d] */
    const double *gamma, *beta;      /* [d] */
    const double *decay, *step;      /* [1] of linear_decay; NULL in the official rules */
    /* Switches for the identities of the literature (linear attention, DeltaNet); all 0 in the models we run. */
    int no_ln;       /* f(k) = k W + bias: no norm in the loss and none at the output */
    int no_residual; /* the target is V, the output is f(Q): nothing of K or Q is added */
    int no_bias;     /* biases are neither used nor learned */
} ref64_rule;

size_t ref64_state_count(const ref64_rule *rule); /* doubles of W1, b1 (, W2, b2) */
/* q, k, v [n,d] (after RoPE), gate [n] -> out [n,d]; state (NULL: not wanted) the fast weights after the last
 * full mini-batch. */
void ref64_inner(const ref64_rule *rule, int n, const double *q, const double *k, const double *v, const double *gate,
                 double *out, double *state);

/* ---- weights by name ---- */

typedef struct ref64_tensor {
    char name[128];
    size_t count;
    double *data;
} ref64_tensor;

typedef struct ref64_weights { /* start from {0} */
    ref64_tensor *tensors;
    size_t n;
} ref64_weights;

double *ref64_weights_add(ref64_weights *w, const char *name, size_t count); /* zeros */
double *ref64_weights_add_f32(ref64_weights *w, const char *name, size_t count, const float *data);
double *ref64_weights_get(const ref64_weights *w, const char *name, size_t *count); /* NULL: there is none */
void ref64_weights_free(ref64_weights *w);

/* ---- the whole model ---- */

/* The tensor of that on-disk name; NULL ends the program with a message, a test's own mistake. */
typedef const double *(*ref64_lookup)(void *user, const char *name);

typedef struct ref64_model {
    il_config config;
    ref64_lookup lookup; /* NULL: user is a ref64_weights */
    void *user;
    double inner_lr; /* factor on eta: 1 outside TTT-MLP's warm-up */
} ref64_model;

/* One sequence from a fresh state: tokens [n] -> logits [n,V]. */
void ref64_logits(const ref64_model *model, const int32_t *tokens, int n, double *logits);
/* tokens [n+1] -> nll [n]; every target, bos_token too. */
void ref64_nll(const ref64_model *model, const int32_t *tokens, int n, double *nll);
/* The recipe's loss over tokens [sequences, length+1]: mean over a sequence's targets that are not bos_token
 * (0 if there are none), then over sequences. */
double ref64_loss(const ref64_model *model, const int32_t *tokens, int sequences, int length);
/* d ref64_loss / d *entry by a central difference of step h. */
double ref64_slope(const ref64_model *model, const int32_t *tokens, int sequences, int length, double *entry, double h);

#endif
