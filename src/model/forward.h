/* forward.h: one pass of the whole model over a ragged batch: the only forward there is, for prefill, decode
 * and training. In training the activations of every layer are kept (il_tape); otherwise all layers share one
 * set. */
#ifndef IL_MODEL_FORWARD_H
#define IL_MODEL_FORWARD_H

#include "model/state.h"

/* One sequence's tokens in the batch: rows first .. first+n-1, read from state->position on. */
typedef struct il_segment {
    int first, n;
    il_state *state;
} il_segment;

/* Activations of one layer, T tokens. Arrays the config does not need are NULL. */
typedef struct il_acts {
    float *x0;               /* [T,D] the block's input */
    float *pre;              /* [T,D] rms(x0), input of pre_conv */
    float *x1;               /* [T,D] x0 + conv(pre); = x0 (the same array) without pre_conv */
    float *xn;               /* [T,D] rms(x1): the mixer's input */
    float *xqk;              /* [T,D] wq·xn, when share_qk */
    float *q, *k, *v;        /* [T,D] after convolutions and RoPE */
    float *g;                /* [T,D] wg·xn, when use_gate */
    float *lr;               /* [T,H] x·theta_lr + beta (TTT) */
    float *z;                /* [T,D] outputs of the heads */
    float *zhat, *z_inv_std; /* [T,D], [T] of post_norm (TTT) */
    float *lse;              /* [T,H] log-sum-exp of the scaled scores (self-attention) */
    float *x2;               /* [T,D] x1 + mixer */
    float *fn;               /* [T,D] rms(x2) */
    float *h1, *h3;          /* [T,F] W1 fn, W3 fn */
} il_acts;

enum { IL_CARRY_EVERY = 4 }; /* the tape keeps every 4th carry; backward recomputes the others from the rows */

/* What training keeps of a pass: every layer's activations, rows and carries. One allocation (train/tape.c). */
typedef struct il_tape {
    const il_allocator *allocator;
    il_acts *layers;            /* [layers] */
    int segments, mini_batches; /* capacity: sequences, and ceil(L / b) of each */
    float *rows;                /* [layers, segments, mini_batches, H, shape.rows] */
    float *carries;             /* [layers, segments, ceil(mini_batches/4), H, shape.carry] */
    float *x_last;              /* [T,D] input of the final norm */
    float *history; /* [2, layers, segments, (taps-1) D]: columns before the pass; NULL without convolutions */
    void *block;
} il_tape;

static inline float *il_tape_rows(const il_tape *t, const il_model *m, int layer, int segment, int mini_batch,
                                  int head) {
    size_t at = ((size_t)layer * (size_t)t->segments + (size_t)segment) * (size_t)t->mini_batches + (size_t)mini_batch;
    return t->rows + (at * (size_t)m->config.heads + (size_t)head) * m->shape.rows;
}
/* The carry at the start of mini-batch 4*group of a segment. */
static inline float *il_tape_carry(const il_tape *t, const il_model *m, int layer, int segment, int group, int head) {
    size_t groups = ((size_t)t->mini_batches + IL_CARRY_EVERY - 1) / IL_CARRY_EVERY;
    size_t at = ((size_t)layer * (size_t)t->segments + (size_t)segment) * groups + (size_t)group;
    return t->carries + (at * (size_t)m->config.heads + (size_t)head) * m->shape.carry;
}

/* What a segment's convolutions saw before its first token, laid out as il_history does (pass.h): rms(x) of
 * pre_conv, or (qk) xqk of conv_q and conv_k. */
static inline float *il_tape_history(const il_tape *t, const il_model *m, int qk, int layer, int segment) {
    size_t at = ((size_t)qk * (size_t)m->config.layers + (size_t)layer) * (size_t)t->segments + (size_t)segment;
    return t->history + at * (size_t)(m->config.conv_kernel - 1) * (size_t)m->config.width;
}

/* Scratch of a pass over at most `tokens` tokens. One allocation, owned by the model (il_model.work) or a
 * trainer. */
typedef struct il_workspace {
    const il_allocator *allocator;
    int tokens;
    void *block;
    il_acts acts;         /* shared by all layers outside training */
    float *hidden;        /* [T,D] final hidden vectors, rms-normed */
    float *mix, *tmp;     /* [T,D] */
    float *ffn;           /* [T,F] silu(h1)*h3 */
    float *cosine, *sine; /* [T, d/2] RoPE of each token (self-attention) */
    float *history;       /* [taps-1, D] in blocks of channels (pass.h) */
    int logit_rows;       /* IL_LOGIT_ROWS, with a fast head at least b */
    float *logits;        /* [logit_rows, V] */
    float *lse;           /* [logit_rows] their log-sum-exp; NULL without a fast head, like the next */
    float *rows;          /* [logit_rows, D] gathered hidden vectors */
    float *features;      /* [2, logit_rows, size]: φ, and -lr φ */
    void *quantized;      /* il_quantized_bytes of the widest rows; NULL unless the weights are quantized */
    size_t scratch_floats;
    float *scratch; /* [threads, scratch_floats], one a worker: inner rule or attention, forward and backward */
} il_workspace;

enum { IL_LOGIT_ROWS = 128 };

il_status il_workspace_open(const il_model *model, int tokens, il_workspace *work, il_error *error);
void il_workspace_close(il_workspace *work);
/* Lays out one layer's activations for T tokens (x1 is x0 without pre_conv); used by the workspace and the
 * tape. */
void il_acts_take(il_arena *arena, const il_model *model, size_t tokens, il_acts *acts);

typedef struct il_pass {
    il_model *model;
    il_workspace *work;
    il_tape *tape; /* NULL outside training */
    il_segment *segments;
    int n_segments;
    int tokens;           /* T: sum of n */
    float inner_lr;       /* factor on eta: 1 outside training */
    struct il_bf16 *bf16; /* products of linear layers with rounded operands (bf16.h); NULL: exact */
} il_pass;

static inline il_acts *il_pass_acts(const il_pass *pass, int layer) {
    return pass->tape ? &pass->tape->layers[layer] : &pass->work->acts;
}

/* tokens [T] -> work->hidden [T,D] (with a tape also x_last); moves every state on by its n and keeps the
 * last hidden vectors there. Token ids are the caller's to check; states must have room (il_state_reserve);
 * with a tape every segment starts at a multiple of b. Cannot fail. */
void il_forward(il_pass *pass, const int32_t *tokens);

/* Mixers: acts->xn -> work->mix [T,D], after wo; fill acts->q … z; update the states' carries, rows, ring_qk
 * and keys but not their position. */
void il_mixer_ttt_forward(const il_pass *pass, int layer);
void il_mixer_attention_forward(const il_pass *pass, int layer);

/* Arrays of the caller that a mixer's backward may overwrite. */
typedef struct il_back_buffers {
    float *a, *b, *c, *e, *f; /* [T,D] each */
    float *lr;                /* [T,H] */
    float *tok;               /* [H,b] (TTT) */
    float *partial;           /* [ceil(T / IL_BACK_ROWS), 2, D] sums over rows of norm gradients */
    size_t scratch_floats;
    float *scratch; /* [threads, scratch_floats], one a worker */
} il_back_buffers;
/* Backward: dmix [T,D] -> dxn [T,D] (=); gradients of the layer's mixer tensors += into grad [table.floats].
 * After a forward pass with a tape; of the states only the KV blocks are read. The order of every sum is
 * fixed: any number of threads gives the same bits. */
void il_mixer_ttt_backward(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad,
                           const il_back_buffers *buffers);
void il_mixer_attention_backward(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad,
                                 const il_back_buffers *buffers);
/* Floats of worker scratch the attention mixer needs. */
size_t il_mixer_attention_scratch(const il_model *model);

/* ---- output head (head.c) ---- */
/* logits [n,V] of hidden [n,D] (final hidden vectors, already normed). */
void il_lm_head_logits(const il_model *model, int n, const float *hidden, ptrdiff_t ldh, float *logits);
/* nll[i] = -ln softmax(head · hidden_i)[targets[i]], [n]; through work->logits, never more than IL_LOGIT_ROWS
 * rows at once. */
void il_lm_head_nll(const il_model *model, il_workspace *work, int n, const float *hidden, ptrdiff_t ldh,
                    const int32_t *targets, float *nll);

#endif
