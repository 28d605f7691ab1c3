/* state.h: everything a sequence remembers. TTT: constant in size; self-attention: a KV cache that grows.
 * Mini-batch m (tokens m*b .. m*b+b-1) has its carry and rows in slot m & 1, so the previous mini-batch is
 * always still there to rewind into. */
#ifndef IL_MODEL_STATE_H
#define IL_MODEL_STATE_H

#include "model/model.h"

enum { IL_KEY_BLOCK = 64, IL_KV_CHUNK = 512 }; /* keys a block of attention; positions a KV allocation */

typedef struct il_state {
    il_model *model; /* not owned */
    int frozen;      /* outputs, but no commits: the carry stays the learned initial one */
    uint64_t position;
    uint64_t oldest; /* rewinding below this is impossible (besides the mini-batch rule) */
    void *block;     /* the arrays below */
    size_t block_bytes;
    float *carry;    /* [2, layers, H, shape.carry] */
    float *rows;     /* [2, layers, H, shape.rows] */
    int ring;        /* R = taps - 1 + 2b columns kept of each convolution's input, that of position p at p mod R */
    float *ring_pre; /* [layers, R, D] or NULL: rms(x) before pre_conv */
    float *ring_qk;  /* [layers, R, D] or NULL: xqk */
    float *ring_v; /* [layers, 2b, D] or NULL (self-attention): V, that of position p at p mod 2b, for the inner loss */
    int ring_hidden; /* 2b + 1 */
    float *hidden;   /* [2b+1, D]: final hidden vector of position p at p mod (2b+1) */
    /* With a fast head, behind them in the same allocation, what no failing pass touches: */
    void *fast_block;
    size_t fast_bytes;
    float *fast;     /* [2, il_fast_head_floats]: F of mini-batch m in slot m & 1; NULL when frozen: it stays 0 */
    int32_t *tokens; /* [2b]: that of position p at p mod 2b */
    /* What was computed of the mini-batch under way when its logits were asked for, so that learning from it need not
     * compute it again: the rows of the hidden vectors kept_from .. kept_to - 1, by F of that mini-batch and the
     * weights of that version. A row's place is that of the token it predicts in the mini-batch. */
    float *softmax; /* [b, V], and */
    float *steps;   /* [b, size] -lr φ; both NULL when frozen */
    uint64_t kept_from, kept_to, kept_version;
    float *past; /* [b, D]: scratch of a pass: the hidden vectors before it that it still needs */
    /* Self-attention: chunk c covers positions c*512 ..: per layer, head and block of 64 keys: K^T [d][64], V
     * [64][d] */
    float **chunks;
    size_t n_chunks, chunks_capacity;
} il_state;

il_status il_state_open(il_model *model, int frozen, il_state *state, il_error *error);
void il_state_close(il_state *state);
/* Back to position 0 with the learned initial fast weights. */
void il_state_reset(il_state *state);
/* to: open, of the same model. */
il_status il_state_copy(il_state *to, const il_state *from, il_error *error);
/* Makes room for positions below end (self-attention; nothing to do for TTT). */
il_status il_state_reserve(il_state *state, uint64_t end, il_error *error);
uint64_t il_state_rewind_limit(const il_state *state);
/* il_state_rewind_limit ≤ position ≤ state->position. */
void il_state_rewind(il_state *state, uint64_t position);
size_t il_state_bytes(const il_state *state);

static inline float *il_state_carry(const il_state *s, uint64_t mini_batch, int layer, int head) {
    const il_config *c = &s->model->config;
    size_t slot = ((size_t)(mini_batch & 1) * (size_t)c->layers + (size_t)layer) * (size_t)c->heads + (size_t)head;
    return s->carry + slot * s->model->shape.carry;
}
static inline float *il_state_rows(const il_state *s, uint64_t mini_batch, int layer, int head) {
    const il_config *c = &s->model->config;
    size_t slot = ((size_t)(mini_batch & 1) * (size_t)c->layers + (size_t)layer) * (size_t)c->heads + (size_t)head;
    return s->rows + slot * s->model->shape.rows;
}
static inline float *il_state_v(const il_state *s, uint64_t p, int layer) {
    const il_config *c = &s->model->config;
    size_t ring = 2 * (size_t)c->mini_batch;
    return s->ring_v + ((size_t)layer * ring + (size_t)(p % ring)) * (size_t)c->width;
}
static inline float *il_state_fast_head(const il_state *s, uint64_t mini_batch) {
    return s->fast + (size_t)(mini_batch & 1) * s->model->fast_floats;
}
/* Block of keys that holds position p: K^T [d][64] then V [64][d]. */
static inline float *il_state_keys(const il_state *s, uint64_t p, int layer, int head) {
    const il_config *c = &s->model->config;
    size_t d = (size_t)(c->width / c->heads), blocks = IL_KV_CHUNK / IL_KEY_BLOCK, block = 2 * d * IL_KEY_BLOCK;
    size_t at = ((size_t)layer * (size_t)c->heads + (size_t)head) * blocks + (size_t)(p % IL_KV_CHUNK) / IL_KEY_BLOCK;
    return s->chunks[p / IL_KV_CHUNK] + at * block;
}

#endif
