/* mixer_attention_backward.c: gradient of causal self-attention. Probabilities are recomputed block by block
 * from the log-sum-exp the forward kept, so memory does not grow with T². Keys of earlier windows take part
 * but get no gradient. */
#include "model/attention.h"
#include "model/backward.h"
#include <math.h>
#include <string.h>

typedef struct attention_back {
    const il_pass *pass;
    int layer;
    const float *dz;
    float *dq, *dk, *dv;
    const il_back_buffers *buffers;
} attention_back;

enum { TILE = IL_KEY_BLOCK * IL_KEY_BLOCK };

size_t il_mixer_attention_backward_scratch(const il_model *model) {
    size_t d = (size_t)(model->config.width / model->config.heads), d16 = (d + 15) & ~(size_t)15;
    return 2 * (size_t)TILE + 2 * IL_KEY_BLOCK * d16; /* P, dP; packed K and V^T */
}

/* P [n, keys] of a tile against a block: exp(scale q·k - lse), 0 for keys after the query. */
static void probabilities(const attention_back *job, const il_attention_tile *at, int head, uint64_t block, int n_keys,
                          const float *keys, float *p) {
    const il_model *model = job->pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    int width = model->config.width, heads = model->config.heads, d = width / heads;
    float scale = (float)(1.0 / sqrt((double)d)), lse[IL_KEY_BLOCK];
    int valid[IL_KEY_BLOCK];
    for (int r = 0; r < at->n; r++) {
        lse[r] = acts->lse[(size_t)(at->row + r) * (size_t)heads + (size_t)head];
        valid[r] = block == at->block ? at->offset + r + 1 : n_keys;
    }
    const float *q = acts->q + (size_t)at->row * (size_t)width + (size_t)head * (size_t)d;
    kernels->gemm(at->n, n_keys, d, q, width, 1, keys, IL_KEY_BLOCK, IL_LANES, p, IL_KEY_BLOCK, 0);
    kernels->softmax_rows(at->n, n_keys, valid, scale, p, IL_KEY_BLOCK, lse);
}

/* One head of one segment: dq chains over key blocks, dk and dv over query tiles, all ascending. */
static void head_back(const attention_back *job, const il_segment *segment, int head, float *scratch) {
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, job->layer);
    int width = model->config.width, d = width / model->config.heads;
    size_t d16 = ((size_t)d + 15) & ~(size_t)15, column = (size_t)head * (size_t)d;
    uint64_t stop = segment->state->position, start = stop - (uint64_t)segment->n;
    int tiles = il_attention_tiles(start, segment->n);
    float scale = (float)(1.0 / sqrt((double)d)), delta[IL_KEY_BLOCK];
    float *p = scratch, *dp = p + TILE, *k_packed = dp + TILE, *v_packed = k_packed + IL_KEY_BLOCK * d16;
    for (uint64_t block = 0; block * IL_KEY_BLOCK < stop; block++) {
        uint64_t left = stop - block * IL_KEY_BLOCK;
        int n_keys = left < IL_KEY_BLOCK ? (int)left : IL_KEY_BLOCK;
        const float *keys = il_state_keys(segment->state, block * IL_KEY_BLOCK, job->layer, head);
        const float *values = keys + (size_t)d * IL_KEY_BLOCK;
        kernels->pack(d, n_keys, keys, 1, IL_KEY_BLOCK, k_packed);
        kernels->pack(n_keys, d, values, 1, d, v_packed);
        /* the keys of this block that are in the window: the rows of the tile with the same block */
        int first = block < start / IL_KEY_BLOCK ? 0 : (int)(block - start / IL_KEY_BLOCK);
        int learns = block >= start / IL_KEY_BLOCK;
        il_attention_tile own = il_attention_tile_at(segment, start, first);
        float *dk = job->dk + (size_t)own.row * (size_t)width + column;
        float *dv = job->dv + (size_t)own.row * (size_t)width + column;
        for (int tile = first; tile < tiles; tile++) {
            il_attention_tile at = il_attention_tile_at(segment, start, tile);
            size_t from = (size_t)at.row * (size_t)width + column;
            const float *dz = job->dz + from;
            probabilities(job, &at, head, block, n_keys, keys, p);
            kernels->gemm(at.n, n_keys, d, dz, width, 1, v_packed, IL_LANES, (ptrdiff_t)IL_LANES * d, dp, IL_KEY_BLOCK,
                          0);
            kernels->row_dot(at.n, d, dz, width, acts->z + from, width, delta);
            if (learns)
                kernels->gemm(own.n, d, at.n, p + own.offset, 1, IL_KEY_BLOCK, dz, width, IL_LANES, dv, width,
                              tile > first);
            kernels->softmax_rows_back(at.n, n_keys, scale, p, IL_KEY_BLOCK, delta, dp, IL_KEY_BLOCK); /* dS */
            if (learns)
                kernels->gemm(own.n, d, at.n, dp + own.offset, 1, IL_KEY_BLOCK, acts->q + from, width, IL_LANES, dk,
                              width, tile > first);
            kernels->gemm(at.n, d, n_keys, dp, IL_KEY_BLOCK, 1, k_packed, IL_LANES, (ptrdiff_t)IL_LANES * n_keys,
                          job->dq + from, width, block > 0);
        }
    }
    size_t at = (size_t)segment->first * (size_t)width + column, angle = (size_t)segment->first * (size_t)(d / 2);
    const float *cosine = pass->work->cosine + angle, *sine = pass->work->sine + angle;
    kernels->rope_half(segment->n, d, job->dq + at, width, cosine, sine, d / 2, 1);
    kernels->rope_half(segment->n, d, job->dk + at, width, cosine, sine, d / 2, 1);
}

static void back_run(void *context, int item, int worker) {
    const attention_back *job = context;
    int heads = job->pass->model->config.heads;
    const il_segment *segment = &job->pass->segments[item / heads];
    if (segment->n > 0)
        head_back(job, segment, item % heads, job->buffers->scratch + (size_t)worker * job->buffers->scratch_floats);
}

void il_mixer_attention_backward(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad,
                                 const il_back_buffers *buffers) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    int tokens = pass->tokens;
    il_dense_backward(pass, &at->wo, tokens, acts->z, dmix, buffers->a, 0, grad);
    attention_back job = {pass, layer, buffers->a, buffers->b, buffers->c, buffers->e, buffers};
    il_pool_run(model->engine->pool, pass->n_segments * model->config.heads, back_run, &job);
    il_dense_backward(pass, &at->wq, tokens, acts->xn, job.dq, dxn, 0, grad);
    il_dense_backward(pass, &at->wk, tokens, acts->xn, job.dk, dxn, 1, grad);
    il_dense_backward(pass, &at->wv, tokens, acts->xn, job.dv, dxn, 1, grad);
}
