/* workspace.h: the memory that a pass computes in: activations and scratch forward, buffers of gradients backward. Each
 * is one allocation, measured from the config; what is in it means nothing once the pass is over. */
#ifndef IL_MODEL_WORKSPACE_H
#define IL_MODEL_WORKSPACE_H

#include "model/state.h"

/* Activations of one layer, T tokens. Arrays the layer does not need are NULL. In a layer of the gated delta rule C
 * channels (q, k and v of all heads side by side), V values and G value heads stand for D, D and H where it says so. In
 * one of attention xqk and q are [T, wq.out], in which a head's gate lies behind its query; xk, k and v [T, wk.out]; z
 * and zhat [T, wo.in]. */
typedef struct il_acts {
    float *x0;               /* [T,D] the layer's input */
    float *pre;              /* [T,D] rms(x0), input of pre_conv */
    float *x1;               /* [T,D] x0 + conv(pre); = x0 (the same array) without pre_conv */
    float *xn;               /* [T,D] rms(x1): the mixer's input */
    float *xqk;              /* [T,D] wq·xn, when share_qk; [T,C] */
    float *conv;             /* [T,C] xqk after the convolution; outside training q is in its place (gated delta) */
    float *xk;               /* wk·xn (attention) */
    float *q, *k, *v;        /* [T,D] after convolutions and RoPE; q [T,C] alone, after SiLU and norms of q and k;
                              * of attention after norms and RoPE; the same as xqk and xk unless a tape needs both */
    float *g;                /* [T,D] wg·xn, when use_gate; [T,V] */
    float *lr;               /* [T,H] x·theta_lr + beta (TTT); [T,G] the rate of a step */
    float *decay, *keep;     /* [T,G] argument of the softplus; what is kept of the fast weights (gated delta) */
    float *z;                /* [T,D] outputs of the heads; [T,V] */
    float *zhat, *z_inv_std; /* [T,D], [T] of post_norm (TTT); [T,V] after norm and gate, alone; of
                              * attention after the gate; both of these = z unless a tape needs both */
    float *lse, *top; /* [T,H] log-sum-exp of the scaled scores; their largest, while one is sought (attention) */
    float *x2;        /* [T,D] x1 + mixer; = x1 without a tape */
    /* Of so many tokens as the feed-forward network takes at a time; without a tape where the mixer's are: */
    float *fn;      /* [T,D] rms(x2) */
    float *h1, *h3; /* [T,F] W1 fn, W3 fn; without a tape h1 becomes silu(h1)*h3 */
    /* On a tape only: */
    float *rows;              /* [segments, mini_batches, heads, shape.rows] (il_layer.heads) */
    float *carries;           /* [segments, ceil(mini_batches / IL_CARRY_EVERY), heads, shape.carry] */
    float *keys;              /* [segments, heads of keys, blocks, a key block] of sliding attention */
    float *history[IL_RINGS]; /* [segments, (taps-1) channels]: what a convolution saw before the pass (steps.h) */
} il_acts;

/* What activations are for. */
typedef struct il_acts_size {
    size_t tokens;
    size_t ffn_tokens;             /* that the feed-forward network takes at a time: rows of fn, h1 and h3 */
    size_t segments, mini_batches; /* of a tape: sequences, and mini-batches of each; 0: no tape */
} il_acts_size;

/* Lays out one layer's activations but for its input, x0, which is the caller's (x1 is x0 without pre_conv). */
void il_acts_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, float *x0,
                  il_acts *acts);

/* Rows of logits at once: at most so many, and fewer where a vocabulary is large. */
enum { IL_LOGIT_ROWS = 128, IL_LOGIT_BYTES = 32 << 20 };

/* Of passes over at most `tokens` tokens. Owned by the model (il_model.work) or a trainer. */
typedef struct il_workspace {
    const il_allocator *allocator;
    int tokens, ffn_tokens; /* ffn_tokens: that the feed-forward network takes at a time */
    int taped;              /* for passes with a tape, which has the activations */
    void *block;
    il_acts *layers;      /* [layers], all in the same memory: outside training one layer's is needed at a time */
    float *hidden;        /* [T,D] final hidden vectors, rms-normed; where `layers` were */
    float *mix;           /* [T,D] */
    float *tmp;           /* [T,D] of TTT layers, and of backward */
    float *ffn;           /* [ffn_tokens,F] silu(h1)*h3, in a pass with a tape; where `layers` are without one */
    float *cosine, *sine; /* [T, rotary width / 2] RoPE of each token (attention) */
    float *history;       /* [taps-1, channels] in blocks of channels (steps.h) */
    int32_t *tapped;      /* [taps, T]: the tokens that the input adds embeddings of; -1: there is none so far back */
    int logit_rows;       /* at least 1, with a fast head at least b */
    size_t zeroed;        /* bytes of block that were set to 0: all but logits, of which few rows are ever needed */
    float *logits;        /* [logit_rows, V] */
    float *lse;           /* [logit_rows] their log-sum-exp; NULL without a fast head, like the next */
    float *rows;          /* [logit_rows, D] gathered hidden vectors */
    float *features;      /* [2, logit_rows, size]: φ, and -lr φ */
    float *learned;       /* [logit_rows, fast_head_tokens] of the columns that a fast head has given; NULL without */
    void *quantized;      /* il_quantized_bytes of the widest rows; NULL unless the weights are int8 or int4 */
    size_t scratch_floats;
    float *scratch; /* [threads, scratch_floats], one a worker: of the mixers */
    /* What the pass under way writes over in its states, one after another, to go back to when a number is not finite
     * (undo.h). */
    char *undo;
    size_t undo_bytes;
} il_workspace;

/* Tokens that a pass of this model takes at once: at most `most`, fewer (but not below IL_ACTS_TOKENS) where their
 * activations would take more than IL_ACTS_BYTES. Passes over half as many take 1 to 2 % longer, over a
 * quarter 6 %. */
enum { IL_ACTS_TOKENS = 128, IL_ACTS_BYTES = 20 << 20 };
int il_workspace_tokens(const il_model *model, int most);

il_status il_workspace_open(const il_model *model, int tokens, il_workspace *work, il_error *error);
/* For passes with a tape (tape.h), which keeps the activations: there is no room for them here. */
il_status il_workspace_open_taped(const il_model *model, int tokens, int ffn_tokens, il_workspace *work,
                                  il_error *error);
/* What they allocate. */
size_t il_workspace_bytes(const il_model *model, int tokens);
size_t il_workspace_taped_bytes(const il_model *model, int tokens, int ffn_tokens);
void il_workspace_close(il_workspace *work); /* an all-zero one is fine */
/* Makes room in undo; what it held is lost. Allocates only when more is needed than ever before. */
il_status il_workspace_undo_room(il_workspace *work, size_t bytes, il_error *error);

/* Sums over tokens go in pieces of so many, whatever the number of threads. */
enum { IL_BACK_ROWS = 128 };

/* Buffers of a backward pass over at most `tokens` tokens. Owned by a trainer. */
typedef struct il_backspace {
    const il_allocator *allocator;
    int tokens;
    void *block;
    float *dx;                /* [T,D] gradient of the residual stream */
    float *dz, *dq, *dk, *dv; /* [T,D], or of attention's shapes, of the arrays of these names; dz and dv also [T,V] */
    float *dxqk;              /* [T,D] of xqk; also [T,C] */
    float *dlr;               /* [T,H] (TTT); also [T,G] */
    float *ddecay;            /* [T,G] (gated delta) */
    float *dtok;              /* [H,b] (TTT) */
    float *partial;           /* [ceil(T / IL_BACK_ROWS), 2, max(D, a head)] sums over rows of norm gradients */
    size_t scratch_floats;
    float *scratch; /* [threads, scratch_floats], one a worker: of the mixers */
} il_backspace;

il_status il_backspace_open(const il_model *model, int tokens, il_backspace *space, il_error *error);
/* What that allocates. */
size_t il_backspace_bytes(const il_model *model, int tokens);
void il_backspace_close(il_backspace *space); /* an all-zero one is fine */

#endif
