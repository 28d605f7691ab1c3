/* bf16.h: products of linear layers in training whose operands are rounded to bfloat16 on the way, and multiplied by
 * oneDNN with fp32 sums. Weights, gradients and all else stay fp32. */
#ifndef IL_MODEL_BF16_H
#define IL_MODEL_BF16_H

#include "engine/onednn.h"
#include "model/model.h"

/* Rows whose gradients of logits are multiplied at a time, if there are as many: with fewer, AMX waits for the head's
 * weights and gradients. And what they, and the fp32 logits that are rounded to them piece by piece, may take. */
enum { IL_BF16_LOGIT_ROWS = 512, IL_BF16_DLOGIT_BYTES = 256 << 20, IL_BF16_LOGIT_BYTES = 64 << 20 };

typedef struct il_bf16 {
    const il_allocator *allocator;
    void *block;
    il_onednn_bf16 *products;
    uint16_t *weights; /* [table.floats], rounded */
    uint16_t *x, *dy;  /* operands of one product: [tokens, widest layer]; dy also [dlogit_rows, V] */
    int dlogit_rows;   /* rows of gradients of logits at a time, and of logits: as many as their bytes allow */
    int logit_rows;
    float *logits;    /* [logit_rows, V] */
    uint64_t version; /* of the model whose weights these are; 0: none yet */
    il_status status; /* of the first product that failed, until someone looks */
} il_bf16;

/* For passes of at most so many tokens. IL_ERR_UNSUPPORTED where there are no such products (il_onednn_bf16_check). */
il_status il_bf16_open(const il_model *model, int tokens, il_bf16 *bf16, il_error *error);
/* What it takes for a model whose tensors are declared. */
size_t il_bf16_bytes(const il_model *model, int tokens);
void il_bf16_close(il_bf16 *bf16); /* an all-zero one is fine */
/* Rounds the weights again if they have changed. Before a pass. */
void il_bf16_refresh(il_bf16 *bf16, const il_model *model);

/* y [n, out] = x [n, in] · W^T */
void il_bf16_forward(il_bf16 *bf16, const il_model *model, const il_dense *linear, int n, const float *x, float *y);
/* grad += dy^T x, and dx = dy W, or dx += with add. dx may be x. */
void il_bf16_backward(il_bf16 *bf16, const il_model *model, const il_dense *linear, int n, const float *x,
                      const float *dy, float *dx, int add, float *grad);
/* The same in two steps: rows first .. first+n-1 of dy, and once all are there, the products. */
void il_bf16_put(il_bf16 *bf16, const il_model *model, const il_dense *linear, int first, int n, const float *dy);
void il_bf16_backward_put(il_bf16 *bf16, const il_model *model, const il_dense *linear, int n, const float *x,
                          float *dx, int add, float *grad);

#endif
