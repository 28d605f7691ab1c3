/* rule.h: one inner rule = one network in the network: its fast weights, how a token reads and changes them, and the
 * exact backward of both. A rule is complete in its file: name, cost, outer tensors, forward, backward; rules.c lists
 * them, and nothing else need be told of a new one. A rule sees one head of one sequence; it knows nothing of layers,
 * files, threads or optimizers.
 *
 * Inside a mini-batch of b tokens a head keeps its fast weights as they were at the start (the carry) and a block of
 * rows, one per token read: what the commit needs and what later tokens of the mini-batch read. `rows` is the only
 * function that computes an inner output, so prefill, decode and training are one computation: row i's bits do not
 * depend on how many rows a call is given. All arrays belong to the caller and are 64-byte aligned; nothing allocates.
 * docs/ttt.md derives every step. */
#ifndef IL_INNER_RULE_H
#define IL_INNER_RULE_H

#include "innerloop.h"
#include "kernels/kernels.h"
#include "tensor/table.h"

enum { IL_RULE_TENSORS_MAX = 8 };

/* An outer parameter of the rule: [heads, rows, columns] on disk, the learned start of fast weights; or, when rows is
 * 0, [heads, columns], and not that. */
typedef struct il_rule_tensor {
    const char *name; /* on disk, after the mixer's prefix: "W1" */
    const char *jax;  /* in official JAX checkpoints: "ttt_dense_0" */
    int rows, columns;
    il_init init;
} il_rule_tensor;

/* Sizes in floats per head for head width d and mini-batch b; multiples of 16. */
typedef struct il_rule_shape {
    size_t carry;        /* fast weights */
    size_t rows;         /* the block of b rows */
    size_t scratch;      /* for rows and commit */
    size_t scratch_back; /* for backward */
} il_rule_shape;

/* One head: its outer parameters (in order of il_rule.tensors) and learning rates. */
typedef struct il_inner_head {
    const il_kernels *kernels;
    int d, b;
    float lr_scale;                          /* ttt_base_lr * warm-up factor / d: lr_j = lr_scale * sigmoid(gate_j) */
    const float *tok;                        /* [b] tok_i = max(0, 1/(i+1) + learnable_token_idx_i) */
    const float *param[IL_RULE_TENSORS_MAX]; /* this head's slice of each tensor */
} il_inner_head;

/* n consecutive tokens as the mixer projected them: q, k after RoPE. Row strides in floats. */
typedef struct il_rows_in {
    int n;
    const float *q, *k, *v; /* [n, d], stride ld */
    ptrdiff_t ld;
    const float *gate; /* [n], stride ld_gate: x·theta_lr + beta, before the sigmoid */
    ptrdiff_t ld_gate;
} il_rows_in;

/* Where the gradients of il_rows_in go; the same strides; written (=), not added to. */
typedef struct il_rows_grad {
    float *dq, *dk, *dv, *dgate;
} il_rows_grad;

/* What a token costs a head, for figures: operations in a full mini-batch, 2 for a multiply and add; floats of the
 * fast weights, and of each row of its mini-batch, that it reads. */
typedef struct il_rule_cost {
    double flops, carry, row;
} il_rule_cost;

typedef struct il_rule {
    const char *name;      /* of the mixer, "ttt_" and what config.json's ttt_layer_type says */
    double base_lr;        /* a new model's ttt_base_lr */
    double inner_lr_start; /* of a training run (il_trainer_options) */
    il_rule_cost (*cost)(int d, int b);
    /* Fills list (at most IL_RULE_TENSORS_MAX) and returns how many outer tensors the rule has. */
    int (*tensors)(int d, il_rule_tensor *list);
    il_rule_shape (*shape)(int d, int b);

    /* carry = the learned initial fast weights. */
    void (*begin)(const il_inner_head *head, float *carry);
    /* Zeroes the rows of a mini-batch from row n on: the same rows read, the same bits, whatever lay there. */
    void (*trim)(int d, int b, float *rows, int n);
    /* Appends rows r0 .. r0+in->n-1 (r0+n ≤ b) and writes out [n, d], stride ld_out = q + LN(inner output). */
    void (*rows)(const il_inner_head *head, const float *carry, float *rows, int r0, const il_rows_in *in, float *out,
                 ptrdiff_t ld_out, float *scratch);
    /* The self-supervised loss 1/2 |f(K) - (V - K)|² of rows 0 .. n-1 with the fast weights of carry, summed. v [n, d],
     * stride ld_v: the rows' own V, which they do not hold. Changes nothing; for statistics. */
    double (*loss)(const il_inner_head *head, const float *carry, const float *rows, int n, const float *v,
                   ptrdiff_t ld_v, float *scratch);
    /* next = the carry after a full mini-batch of rows. next may not be carry. */
    void (*commit)(const il_inner_head *head, const float *carry, const float *rows, float *next, float *scratch);

    /* Backward of one mini-batch of in->n rows (n ≤ b) that started from carry and filled rows from row 0; `committed`
     * says whether a commit followed (n = b then). dout [n,d], stride ld_dout. dcarry [carry]: in, the gradient with
     * respect to the carry that followed (the same carry when nothing was committed: zeros at a sequence's end); out,
     * with respect to `carry`. dparam[i] += for the parameters used here (norm scale and shift; initial weights have
     * begin_backward); dtok [b] += gradient with respect to tok. */
    void (*backward)(const il_inner_head *head, const float *carry, const float *rows, const il_rows_in *in,
                     int committed, const float *dout, ptrdiff_t ld_dout, float *dcarry, const il_rows_grad *grad,
                     float *const dparam[IL_RULE_TENSORS_MAX], float *dtok, float *scratch);
    /* dparam of the initial fast weights += dcarry, at the start of a sequence. */
    void (*begin_backward)(const il_inner_head *head, const float *dcarry, float *const dparam[IL_RULE_TENSORS_MAX]);
} il_rule;

/* lr_j = lr_scale * sigmoid(gate_j), n values; shared by the rules. */
void il_rule_rates(const il_inner_head *head, const il_rows_in *in, float *lr);
/* dgate =, from dlr and the lr above. */
void il_rule_rates_backward(const il_inner_head *head, int n, const float *lr, const float *dlr, float *dgate,
                            ptrdiff_t ld_gate);

#endif
