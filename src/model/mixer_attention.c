/* mixer_attention.c: causal self-attention over the state's key blocks. Forward only; the backward is next
 * door.
 *
 * One answer: a query's output is a chain over key blocks at absolute positions, ascending from block 0, and
 * inside a block over the keys up to its own. Queries that share a key block are computed together (a tile), and
 * some tiles pass over the earlier blocks side by side (a group), so that keys and values come from memory once
 * for all of them; which of them are in this call changes no bit, because keys after a query are never multiplied
 * into it, not even by zero. */
#include "base/maths.h"
#include "model/attention.h"
#include "model/pass.h"
#include <math.h>
#include <string.h>

enum {
    TRIANGLE = 16, /* rows of the diagonal block that share a product before each adds its own last keys */
    GROUP_MAX = 4, /* tiles; their outputs stay in the second-level cache */
    ITEMS = 4      /* a thread gets at least so many, as far as there are: the last to end keeps the others waiting */
};

typedef struct attention_job {
    const il_pass *pass;
    int layer, fused, group;
} attention_job;

/* What a tile of queries has gathered from the key blocks so far. */
typedef struct tile_sums {
    il_attention_tile at;
    float *out;                                 /* [n,d]: sums of exp(score - top) v */
    float top[IL_KEY_BLOCK], sum[IL_KEY_BLOCK]; /* largest score; sum of exp(score - top) */
} tile_sums;

size_t il_mixer_attention_scratch(const il_model *model) {
    size_t d = (size_t)(model->config.width / model->config.heads), n = IL_KEY_BLOCK;
    return n * n + GROUP_MAX * n * ((d + 15) & ~(size_t)15); /* scores, outputs */
}

int il_attention_tiles(uint64_t start, int n) {
    return n < 1 ? 0 : (int)((start + (uint64_t)n - 1) / IL_KEY_BLOCK - start / IL_KEY_BLOCK) + 1;
}

/* RoPE on the new queries and keys of one head of a segment; keys and values go into the state's blocks. */
static void keys_store(const il_pass *pass, int layer, const il_segment *segment, int head) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, layer);
    int width = model->config.width, d = width / model->config.heads, half = d / 2;
    size_t at = (size_t)segment->first * (size_t)width + (size_t)head * (size_t)d;
    const float *cosine = pass->work->cosine + (size_t)segment->first * (size_t)half;
    const float *sine = pass->work->sine + (size_t)segment->first * (size_t)half;
    kernels->rope_half(segment->n, d, acts->q + at, width, cosine, sine, half, 0);
    kernels->rope_half(segment->n, d, acts->k + at, width, cosine, sine, half, 0);
    for (int t = 0; t < segment->n;) {
        uint64_t position = segment->state->position + (uint64_t)t;
        int offset = (int)(position % IL_KEY_BLOCK), n = IL_KEY_BLOCK - offset;
        if (n > segment->n - t) n = segment->n - t;
        float *keys = il_state_keys(segment->state, position, layer, head);
        float *values = keys + (size_t)d * IL_KEY_BLOCK + (size_t)offset * (size_t)d;
        size_t from = at + (size_t)t * (size_t)width;
        kernels->transpose(n, d, acts->k + from, width, keys + offset, IL_KEY_BLOCK);
        for (int i = 0; i < n; i++)
            memcpy(values + (size_t)i * (size_t)d, acts->v + from + (size_t)i * (size_t)width,
                   (size_t)d * sizeof(float));
        t += n;
    }
}

/* out [rows,d] += P · V in the block that holds the queries: row r may see keys 0 .. offset+r. */
static void diagonal_values(const il_kernels *kernels, int rows, int offset, int d, const float *p, const float *v,
                            float *out) {
    for (int r0 = 0; r0 < rows; r0 += TRIANGLE) {
        int n = rows - r0 < TRIANGLE ? rows - r0 : TRIANGLE, shared = offset + r0 + 1;
        const float *p0 = p + (size_t)r0 * IL_KEY_BLOCK;
        float *out0 = out + (size_t)r0 * (size_t)d;
        kernels->gemm(n, d, shared, p0, IL_KEY_BLOCK, 1, v, d, IL_LANES, out0, d, 1);
        for (int r = 1; r < n; r++)
            kernels->gemm(1, d, r, p0 + (size_t)r * IL_KEY_BLOCK + shared, IL_KEY_BLOCK, 1,
                          v + (size_t)shared * (size_t)d, d, IL_LANES, out0 + (size_t)r * (size_t)d, d, 1);
    }
}

/* What a tile gathers from one key block. */
static void tile_add(const il_pass *pass, const float *q, tile_sums *tile, uint64_t block, const float *keys,
                     float *scores) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    int width = model->config.width, d = width / model->config.heads, rows = tile->at.n, n = IL_KEY_BLOCK;
    float scale = (float)(1.0 / sqrt((double)d)), correction[IL_KEY_BLOCK];
    const float *values = keys + (size_t)d * IL_KEY_BLOCK;
    int own = block == tile->at.block, valid[IL_KEY_BLOCK];
    if (own) n = tile->at.offset + rows; /* what lies behind is not this sequence's yet */
    for (int r = 0; r < rows; r++) valid[r] = own ? tile->at.offset + r + 1 : IL_KEY_BLOCK;
    kernels->gemm(rows, n, d, q, width, 1, keys, IL_KEY_BLOCK, IL_LANES, scores, IL_KEY_BLOCK, 0);
    kernels->softmax_block(rows, n, valid, scale, scores, IL_KEY_BLOCK, tile->top, tile->sum, correction);
    for (int r = 0; r < rows; r++) {
        float *row = tile->out + (size_t)r * (size_t)d;
        if (correction[r] != 1.0f) kernels->scale((size_t)d, correction[r], row, row);
    }
    if (own)
        diagonal_values(kernels, rows, tile->at.offset, d, scores, values, tile->out);
    else
        kernels->gemm(rows, d, n, scores, IL_KEY_BLOCK, 1, values, d, IL_LANES, tile->out, d, 1);
}

/* n tiles of a head from `first` on: z = softmax(q K^T / sqrt(d)) V, online over blocks. */
static void tiles_attend(const il_pass *pass, int layer, const il_segment *segment, int head, int first, int n,
                         float *scratch) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, layer);
    int width = model->config.width, heads = model->config.heads, d = width / heads;
    const size_t out = (size_t)IL_KEY_BLOCK * (((size_t)d + 15) & ~(size_t)15), column = (size_t)head * (size_t)d;
    float *scores = scratch;
    tile_sums tiles[GROUP_MAX];
    for (int i = 0; i < n; i++) {
        tile_sums *tile = &tiles[i];
        tile->at = il_attention_tile_at(segment, segment->state->position, first + i);
        tile->out = scores + IL_KEY_BLOCK * IL_KEY_BLOCK + (size_t)i * out;
        memset(tile->out, 0, (size_t)tile->at.n * (size_t)d * sizeof(float));
        for (int r = 0; r < tile->at.n; r++) {
            tile->top[r] = -INFINITY;
            tile->sum[r] = 0;
        }
    }
    for (uint64_t block = 0; block <= tiles[n - 1].at.block; block++) {
        const float *keys = il_state_keys(segment->state, block * IL_KEY_BLOCK, layer, head);
        for (int i = 0; i < n; i++)
            if (block <= tiles[i].at.block)
                tile_add(pass, acts->q + (size_t)tiles[i].at.row * (size_t)width + column, &tiles[i], block, keys,
                         scores);
    }
    for (int i = 0; i < n; i++)
        for (int r = 0; r < tiles[i].at.n; r++) {
            size_t row = (size_t)(tiles[i].at.row + r);
            kernels->scale((size_t)d, 1.0f / tiles[i].sum[r], tiles[i].out + (size_t)r * (size_t)d,
                           acts->z + row * (size_t)width + column);
            if (pass->tape)
                acts->lse[row * (size_t)heads + (size_t)head] =
                    (float)((double)tiles[i].top[r] + il_log_d((double)tiles[i].sum[r]));
        }
}

static void keys_run(void *context, int item, int worker) {
    const attention_job *job = context;
    int heads = job->pass->model->config.heads;
    (void)worker;
    keys_store(job->pass, job->layer, &job->pass->segments[item / heads], item % heads);
}

static int groups_of(const il_segment *segment, int group) {
    return (il_attention_tiles(segment->state->position, segment->n) + group - 1) / group;
}

/* Item order: segment, group of tiles from the last (the longest) down, head. */
static void attend_run(void *context, int item, int worker) {
    const attention_job *job = context;
    const il_pass *pass = job->pass;
    const il_segment *segment = pass->segments;
    int heads = pass->model->config.heads, groups = groups_of(segment, job->group);
    while (item >= groups * heads) {
        item -= groups * heads;
        groups = groups_of(++segment, job->group);
    }
    int first = (groups - 1 - item / heads) * job->group;
    int tiles = il_attention_tiles(segment->state->position, segment->n) - first;
    if (job->fused) keys_store(pass, job->layer, segment, item % heads);
    tiles_attend(pass, job->layer, segment, item % heads, first, tiles < job->group ? tiles : job->group,
                 pass->work->scratch + (size_t)worker * pass->work->scratch_floats);
}

void il_mixer_attention_forward(const il_pass *pass, int layer) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    int heads = model->config.heads, tiles = 0, most = 0, items = 0;
    il_pass_dense(pass, &at->wq, pass->tokens, acts->xn, acts->q);
    il_pass_dense(pass, &at->wk, pass->tokens, acts->xn, acts->k);
    il_pass_dense(pass, &at->wv, pass->tokens, acts->xn, acts->v);
    for (int i = 0; i < pass->n_segments; i++) {
        int own = il_attention_tiles(pass->segments[i].state->position, pass->segments[i].n);
        tiles += own;
        if (own > most) most = own;
    }
    int group = tiles * heads / (ITEMS * il_pool_threads(model->engine->pool));
    group = group < 1 ? 1 : group > GROUP_MAX ? GROUP_MAX : group;
    for (int i = 0; i < pass->n_segments; i++) items += groups_of(&pass->segments[i], group) * heads;
    /* A head whose queries are all one tile stores its own keys: decode then needs one hand-over between
     * threads. */
    attention_job job = {pass, layer, most <= 1, group};
    if (!job.fused) il_pool_run(model->engine->pool, pass->n_segments * heads, keys_run, &job);
    il_pool_run(model->engine->pool, items, attend_run, &job);
    il_pass_dense(pass, &at->wo, pass->tokens, acts->z, pass->work->mix);
}
