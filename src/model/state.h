/* state.h: everything a sequence remembers: of each layer what its mixer keeps, and the last final hidden vectors. TTT:
 * constant in size; self-attention: a KV cache that grows.
 *
 * Mini-batch m (tokens m*b .. m*b+b-1) has its fast weights and rows in slot m & 1, and rings of columns reach back
 * over two mini-batches, so the previous mini-batch is always still there to rewind into. */
#ifndef IL_MODEL_STATE_H
#define IL_MODEL_STATE_H

#include "model/model.h"

enum { IL_KEY_BLOCK = 64, IL_KV_PAGE = 128 }; /* keys a block of attention; positions a KV allocation */

/* Rings that hold the last inputs of convolutions. */
typedef enum il_ring {
    IL_RING_PRE, /* rms(x) before pre_conv */
    IL_RING_QK,  /* wq·xn before conv_q and conv_k, or before conv_qkv */
    IL_RINGS
} il_ring;

/* What is kept of one layer; NULL where its mixer keeps none. */
typedef struct il_kept {
    float *carry;          /* [2, heads, shape.carry]: fast weights at the start of a mini-batch (il_layer.heads) */
    float *rows;           /* [2, heads, shape.rows] */
    float *ring[IL_RINGS]; /* [R, channels]: the column of position p at p mod R (il_state.ring_columns) */
    float *keys;    /* [blocks, heads of keys, a key block]: the block of position p at p / 64 mod blocks (sliding) */
    float *values;  /* [2b, D]: V, that of position p at p mod 2b, for the inner loss */
    size_t page_at; /* where the layer's floats begin in a page (il_state.pages) */
    size_t from, bytes; /* where all of that but pages lies in il_state.block */
} il_kept;

/* What a fast head keeps (fast_head.h); no part of what a failing pass changes. */
typedef struct il_fast_state {
    void *block; /* the arrays below, behind those of the state in the same allocation */
    size_t bytes;
    float *weights;  /* [2, fast_floats]: F of mini-batch m in slot m & 1; NULL when frozen: it stays 0 */
    int32_t *tokens; /* [2b]: that of position p at p mod 2b */
    /* With fast_head_tokens: the token of each column, in the order in which they were first read, and how many columns
     * of F of mini-batch m have one, at m & 1. NULL: column v is token v's. Columns are only ever appended, so that
     * those of two mini-batches differ in their number alone. */
    int32_t *owners; /* [fast_head_tokens] */
    int32_t *owned;  /* [2] */
    /* What was computed of the mini-batch under way when its logits were asked for, so that learning from it need not
     * compute it again: the rows of the hidden vectors kept_from .. kept_to - 1, by F of that mini-batch and the
     * weights of that version. A row's place is that of the token it predicts in the mini-batch. */
    float *softmax; /* [b, columns], and */
    float *steps;   /* [b, size] -lr φ; both NULL when frozen */
    uint64_t kept_from, kept_to, kept_version;
    float *past; /* [b, D]: scratch of a pass: the hidden vectors before it that it still needs */
} il_fast_state;

typedef struct il_state {
    il_model *model; /* not owned */
    int frozen;      /* outputs, but no commits: the fast weights stay the learned initial ones */
    uint64_t position;
    uint64_t oldest;  /* rewinding below this is impossible (besides the mini-batch rule) */
    void *allocation; /* layers, block and fast.block */
    size_t allocated;
    il_kept *layers; /* [layers] */
    void *block;     /* hidden, and the arrays of constant size of all layers: all that a pass changes */
    size_t block_bytes;
    int ring_columns; /* R = taps - 1 + 2b */
    int ring_hidden;  /* 2b + 1 */
    float *hidden;    /* [2b+1, D]: final hidden vector of position p at p mod (2b+1) */
    int ring_tapped;  /* the farthest tap - 1 + 2b; 0: no taps */
    int32_t *tapped;  /* [ring_tapped]: the token at position p at p mod ring_tapped */
    /* KV cache: page c covers positions c*512 .. of all layers: of each, head and block of 64 keys, K^T [d][64], V
     * [64][d]. Whole pages are allocated, since larger blocks of memory are faster to read. */
    float **pages; /* [n_pages] */
    size_t n_pages, pages_capacity, page_floats;
    il_fast_state fast;
} il_state;

il_status il_state_open(il_model *model, int frozen, il_state *state, il_error *error);
void il_state_close(il_state *state); /* an all-zero one is fine */
/* What a state has in its block; and all that one takes that is not frozen and has room for positions below end,
 * with shared pages or without. */
size_t il_state_block_bytes(const il_model *model);
size_t il_state_bytes_of(const il_model *model, uint64_t end, int shared_pages);
/* Before any room is reserved: all layers keep their keys in the same pages, one after the other. For passes that begin
 * at position 0 and never look at a layer's keys once another layer has had its turn. */
void il_state_share_pages(il_state *state);
/* Back to position 0 with the learned initial fast weights. */
void il_state_reset(il_state *state);
/* to: open, of the same model. */
il_status il_state_copy(il_state *to, const il_state *from, il_error *error);
/* Makes room for positions below end, where memory grows with them. */
il_status il_state_reserve(il_state *state, uint64_t end, il_error *error);
uint64_t il_state_rewind_limit(const il_state *state);
/* il_state_rewind_limit ≤ position ≤ state->position. */
void il_state_rewind(il_state *state, uint64_t position);
/* All memory that the state holds. */
size_t il_state_bytes(const il_state *state);

static inline float *il_state_carry(const il_state *s, uint64_t mini_batch, int layer, int head) {
    const il_layer *of = &s->model->layers[layer];
    return s->layers[layer].carry + ((size_t)(mini_batch & 1) * (size_t)of->heads + (size_t)head) * of->shape.carry;
}
static inline float *il_state_rows(const il_state *s, uint64_t mini_batch, int layer, int head) {
    const il_layer *of = &s->model->layers[layer];
    return s->layers[layer].rows + ((size_t)(mini_batch & 1) * (size_t)of->heads + (size_t)head) * of->shape.rows;
}
static inline float *il_state_column(const il_state *s, il_ring ring, int layer, int channels, uint64_t p) {
    return s->layers[layer].ring[ring] + (size_t)(p % (uint64_t)s->ring_columns) * (size_t)channels;
}
static inline float *il_state_values(const il_state *s, uint64_t p, int layer) {
    const il_config *c = &s->model->config;
    return s->layers[layer].values + (size_t)(p % (2 * (uint64_t)c->mini_batch)) * (size_t)c->width;
}
static inline float *il_state_hidden(const il_state *s, uint64_t p) {
    return s->hidden + (size_t)(p % (uint64_t)s->ring_hidden) * (size_t)s->model->config.width;
}
static inline float *il_state_fast_head(const il_state *s, uint64_t mini_batch) {
    return s->fast.weights + (size_t)(mini_batch & 1) * s->model->fast_floats;
}
/* Block of keys that holds position p, of a head of keys: K^T [d][64] then V [64][d]. */
static inline float *il_state_keys(const il_state *s, uint64_t p, int layer, int head) {
    size_t d = (size_t)il_config_head_width(&s->model->config), blocks = IL_KV_PAGE / IL_KEY_BLOCK,
           block = 2 * d * IL_KEY_BLOCK;
    size_t at = (size_t)head * blocks + (size_t)(p % IL_KV_PAGE) / IL_KEY_BLOCK;
    return s->pages[p / IL_KV_PAGE] + s->layers[layer].page_at + at * block;
}

#endif
