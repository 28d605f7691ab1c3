/* mixer_attention.c: see mixer_attention.h.
 *
 * One answer: a query's output is a chain over key blocks at absolute positions, ascending from block 0, and
 * inside a block over the keys up to its own. Queries that share a key block are computed together (a tile), and
 * some tiles pass over the earlier blocks side by side (a group), so that keys and values come from memory once
 * for all of them; which of them are in this call changes no bit, because keys after a query are never multiplied
 * into it, not even by zero.
 *
 * Backward: probabilities are recomputed block by block from the log-sum-exp that forward kept, so memory does not
 * grow with T². Keys of earlier windows take part but get no gradient. */
#include "model/mixer_attention.h"

#include "base/error.h"
#include "base/maths.h"
#include "model/steps.h"
#include <math.h>
#include <string.h>

enum {
    TRIANGLE = 16, /* rows of the diagonal block that share a product before each adds its own last keys */
    GROUP_MAX = 4, /* tiles; their outputs stay in the second-level cache */
    SCORES = IL_KEY_BLOCK * IL_KEY_BLOCK, /* of a tile against a block */
    ITEMS = 4 /* a thread gets at least so many, as far as there are: the last to end keeps the others waiting */
};

/* The queries of a segment whose positions lie in one key block. */
typedef struct tile {
    uint64_t block; /* the key block */
    int offset, n;  /* positions block*64 + offset .. + n-1 */
    int row;        /* row of the first in the batch */
} tile;

/* What a tile of queries has gathered from the key blocks so far. */
typedef struct tile_sums {
    tile at;
    float *out;                                 /* [n,d]: sums of exp(score - top) v */
    float top[IL_KEY_BLOCK], sum[IL_KEY_BLOCK]; /* largest score; sum of exp(score - top) */
} tile_sums;

/* Tiles of n tokens from position start on. */
static int tiles_of(uint64_t start, int n) {
    return n < 1 ? 0 : (int)((start + (uint64_t)n - 1) / IL_KEY_BLOCK - start / IL_KEY_BLOCK) + 1;
}

static tile tile_at(const il_segment *segment, uint64_t start, int index) {
    tile at;
    at.block = start / IL_KEY_BLOCK + (uint64_t)index;
    uint64_t first = at.block * IL_KEY_BLOCK, end = first + IL_KEY_BLOCK, stop = start + (uint64_t)segment->n;
    if (first < start) first = start;
    if (end > stop) end = stop;
    at.offset = (int)(first % IL_KEY_BLOCK);
    at.n = (int)(end - first);
    at.row = segment->first + (int)(first - start);
    return at;
}

/* ---- tensors and memory ---- */

static void declare(il_declarer *d, il_layer *layer) {
    static const char block[] = "self_attn.";
    int width = d->model->config.width;
    layer->seq_norm = il_declare_vector(d, IL_INIT_ONES, width, "input_layernorm.", "weight");
    layer->wq = il_declare_dense(d, width, width, block, "q_proj.weight");
    layer->wk = il_declare_dense(d, width, width, block, "k_proj.weight");
    layer->wv = il_declare_dense(d, width, width, block, "v_proj.weight");
    layer->wo = il_declare_dense(d, width, width, block, "o_proj.weight");
    layer->ffn_norm = il_declare_vector(d, IL_INIT_ONES, width, "post_attention_layernorm.", "weight");
}

static void take_acts(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts) {
    size_t wide = size->tokens * (size_t)model->config.width;
    (void)layer;
    acts->q = il_arena_take(arena, wide, sizeof(float));
    acts->k = il_arena_take(arena, wide, sizeof(float));
    acts->v = il_arena_take(arena, wide, sizeof(float));
    acts->z = il_arena_take(arena, wide, sizeof(float));
    acts->lse = il_arena_take(arena, size->tokens * (size_t)model->config.heads, sizeof(float));
}

static size_t head_width16(const il_model *model) {
    return il_pad16_size((size_t)(model->config.width / model->config.heads));
}

/* Scores, outputs. */
static size_t scratch(const il_model *model, int layer) {
    (void)layer;
    return SCORES + GROUP_MAX * IL_KEY_BLOCK * head_width16(model);
}

/* P, dP; packed K and V^T. */
static size_t scratch_backward(const il_model *model, int layer) {
    (void)layer;
    return 2 * (size_t)SCORES + 2 * IL_KEY_BLOCK * head_width16(model);
}

/* ---- forward ---- */

static void begin(const il_pass *pass) {
    const il_config *c = &pass->model->config;
    size_t half = (size_t)(c->width / c->heads / 2);
    for (int s = 0; s < pass->n_segments; s++)
        for (int i = 0; i < pass->segments[s].n; i++) {
            size_t at = (size_t)(pass->segments[s].first + i) * half;
            il_rope_angles(c, pass->segments[s].state->position + (uint64_t)i, pass->work->cosine + at,
                           pass->work->sine + at);
        }
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
static void tile_add(const il_pass *pass, const float *q, tile_sums *sums, uint64_t block, const float *keys,
                     float *scores) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    int width = model->config.width, d = width / model->config.heads, rows = sums->at.n, n = IL_KEY_BLOCK;
    float scale = (float)(1.0 / sqrt((double)d)), correction[IL_KEY_BLOCK];
    const float *values = keys + (size_t)d * IL_KEY_BLOCK;
    int own = block == sums->at.block, valid[IL_KEY_BLOCK];
    if (own) n = sums->at.offset + rows; /* what lies behind is not this sequence's yet */
    for (int r = 0; r < rows; r++) valid[r] = own ? sums->at.offset + r + 1 : IL_KEY_BLOCK;
    kernels->gemm(rows, n, d, q, width, 1, keys, IL_KEY_BLOCK, IL_LANES, scores, IL_KEY_BLOCK, 0);
    kernels->softmax_key_block(rows, n, valid, scale, scores, IL_KEY_BLOCK, sums->top, sums->sum, correction);
    for (int r = 0; r < rows; r++) {
        float *row = sums->out + (size_t)r * (size_t)d;
        if (correction[r] != 1.0f) kernels->scale((size_t)d, correction[r], row, row);
    }
    if (own)
        diagonal_values(kernels, rows, sums->at.offset, d, scores, values, sums->out);
    else
        kernels->gemm(rows, d, n, scores, IL_KEY_BLOCK, 1, values, d, IL_LANES, sums->out, d, 1);
}

/* n tiles of a head from `first` on: z = softmax(q K^T / sqrt(d)) V, online over blocks. */
static void tiles_attend(const il_pass *pass, int layer, const il_segment *segment, int head, int first, int n,
                         float *scratch) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, layer);
    int width = model->config.width, heads = model->config.heads, d = width / heads;
    const size_t out = (size_t)IL_KEY_BLOCK * il_pad16_size((size_t)d), column = (size_t)head * (size_t)d;
    float *scores = scratch;
    tile_sums tiles[GROUP_MAX];
    for (int i = 0; i < n; i++) {
        tile_sums *sums = &tiles[i];
        sums->at = tile_at(segment, segment->state->position, first + i);
        sums->out = scores + IL_KEY_BLOCK * IL_KEY_BLOCK + (size_t)i * out;
        memset(sums->out, 0, (size_t)sums->at.n * (size_t)d * sizeof(float));
        for (int r = 0; r < sums->at.n; r++) {
            sums->top[r] = -INFINITY;
            sums->sum[r] = 0;
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

typedef struct attend_job {
    const il_pass *pass;
    int layer, fused, group;
} attend_job;

static void keys_run(void *context, int item, int worker) {
    const attend_job *job = context;
    int heads = job->pass->model->config.heads;
    (void)worker;
    keys_store(job->pass, job->layer, &job->pass->segments[item / heads], item % heads);
}

static int groups_of(const il_segment *segment, int group) {
    return (tiles_of(segment->state->position, segment->n) + group - 1) / group;
}

/* Item order: segment, group of tiles from the last (the longest) down, head. */
static void attend_run(void *context, int item, int worker) {
    const attend_job *job = context;
    const il_pass *pass = job->pass;
    const il_segment *segment = pass->segments;
    int heads = pass->model->config.heads, groups = groups_of(segment, job->group);
    while (item >= groups * heads) {
        item -= groups * heads;
        groups = groups_of(++segment, job->group);
    }
    int first = (groups - 1 - item / heads) * job->group;
    int tiles = tiles_of(segment->state->position, segment->n) - first;
    if (job->fused) keys_store(pass, job->layer, segment, item % heads);
    tiles_attend(pass, job->layer, segment, item % heads, first, tiles < job->group ? tiles : job->group,
                 pass->work->scratch + (size_t)worker * pass->work->scratch_floats);
}

static void forward(const il_pass *pass, int layer) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    int heads = model->config.heads, tiles = 0, most = 0, items = 0;
    il_dense_forward(pass, &at->wq, pass->tokens, acts->xn, acts->q);
    il_dense_forward(pass, &at->wk, pass->tokens, acts->xn, acts->k);
    il_dense_forward(pass, &at->wv, pass->tokens, acts->xn, acts->v);
    for (int i = 0; i < pass->n_segments; i++) {
        int own = tiles_of(pass->segments[i].state->position, pass->segments[i].n);
        tiles += own;
        if (own > most) most = own;
    }
    int group = tiles * heads / (ITEMS * il_pool_threads(model->engine->pool));
    group = group < 1 ? 1 : group > GROUP_MAX ? GROUP_MAX : group;
    for (int i = 0; i < pass->n_segments; i++) items += groups_of(&pass->segments[i], group) * heads;
    /* A head whose queries are all one tile stores its own keys: decode then needs one hand-over between
     * threads. */
    attend_job job = {pass, layer, most <= 1, group};
    if (!job.fused) il_pool_run(model->engine->pool, pass->n_segments * heads, keys_run, &job);
    il_pool_run(model->engine->pool, items, attend_run, &job);
    il_dense_forward(pass, &at->wo, pass->tokens, acts->z, pass->work->mix);
}

/* ---- backward ---- */

typedef struct head_back_job {
    const il_pass *pass;
    int layer;
    il_backspace *space;
} head_back_job;

/* P [n, keys] of a tile against a block: exp(scale q·k - lse), 0 for keys after the query. */
static void probabilities(const head_back_job *job, const tile *at, int head, uint64_t block, int n_keys,
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
static void head_back(const head_back_job *job, const il_segment *segment, int head, float *scratch) {
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_acts *acts = il_pass_acts(pass, job->layer);
    int width = model->config.width, d = width / model->config.heads;
    size_t d16 = il_pad16_size((size_t)d), column = (size_t)head * (size_t)d;
    uint64_t stop = segment->state->position, start = stop - (uint64_t)segment->n;
    int tiles = tiles_of(start, segment->n);
    float scale = (float)(1.0 / sqrt((double)d)), delta[IL_KEY_BLOCK];
    float *p = scratch, *dp = p + SCORES, *k_packed = dp + SCORES, *v_packed = k_packed + IL_KEY_BLOCK * d16;
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
        tile own = tile_at(segment, start, first);
        float *dk = job->space->dk + (size_t)own.row * (size_t)width + column;
        float *dv = job->space->dv + (size_t)own.row * (size_t)width + column;
        for (int i = first; i < tiles; i++) {
            tile at = tile_at(segment, start, i);
            size_t from = (size_t)at.row * (size_t)width + column;
            const float *dz = job->space->dz + from;
            probabilities(job, &at, head, block, n_keys, keys, p);
            kernels->gemm(at.n, n_keys, d, dz, width, 1, v_packed, IL_LANES, (ptrdiff_t)IL_LANES * d, dp, IL_KEY_BLOCK,
                          0);
            kernels->row_dot(at.n, d, dz, width, acts->z + from, width, delta);
            if (learns)
                kernels->gemm(own.n, d, at.n, p + own.offset, 1, IL_KEY_BLOCK, dz, width, IL_LANES, dv, width,
                              i > first);
            kernels->softmax_rows_back(at.n, n_keys, scale, p, IL_KEY_BLOCK, delta, dp, IL_KEY_BLOCK); /* dS */
            if (learns)
                kernels->gemm(own.n, d, at.n, dp + own.offset, 1, IL_KEY_BLOCK, acts->q + from, width, IL_LANES, dk,
                              width, i > first);
            kernels->gemm(at.n, d, n_keys, dp, IL_KEY_BLOCK, 1, k_packed, IL_LANES, (ptrdiff_t)IL_LANES * n_keys,
                          job->space->dq + from, width, block > 0);
        }
    }
    size_t at = (size_t)segment->first * (size_t)width + column, angle = (size_t)segment->first * (size_t)(d / 2);
    const float *cosine = pass->work->cosine + angle, *sine = pass->work->sine + angle;
    kernels->rope_half(segment->n, d, job->space->dq + at, width, cosine, sine, d / 2, 1);
    kernels->rope_half(segment->n, d, job->space->dk + at, width, cosine, sine, d / 2, 1);
}

static void head_back_run(void *context, int item, int worker) {
    const head_back_job *job = context;
    int heads = job->pass->model->config.heads;
    const il_segment *segment = &job->pass->segments[item / heads];
    if (segment->n > 0)
        head_back(job, segment, item % heads, job->space->scratch + (size_t)worker * job->space->scratch_floats);
}

static void backward(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad, il_backspace *space) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    int tokens = pass->tokens;
    il_dense_backward(pass, &at->wo, tokens, acts->z, dmix, space->dz, 0, grad);
    head_back_job job = {pass, layer, space};
    il_pool_run(model->engine->pool, pass->n_segments * model->config.heads, head_back_run, &job);
    il_dense_backward(pass, &at->wq, tokens, acts->xn, space->dq, dxn, 0, grad);
    il_dense_backward(pass, &at->wk, tokens, acts->xn, space->dk, dxn, 1, grad);
    il_dense_backward(pass, &at->wv, tokens, acts->xn, space->dv, dxn, 1, grad);
}

/* ---- what a sequence keeps: a KV cache ---- */

static size_t page_floats(const il_model *model, int layer) {
    (void)layer;
    return 2 * (size_t)IL_KV_PAGE * (size_t)model->config.width;
}

static void keep(il_arena *arena, const il_state *state, int layer, il_kept *kept) {
    (void)arena, (void)state, (void)layer, (void)kept; /* nothing of constant size */
}

/* ---- state files: keys and values [heads, position, d] ---- */

static const char keys_name[] = "keys", values_name[] = "values";

static int tensors(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list) {
    size_t heads = (size_t)model->config.heads, d = (size_t)model->config.width / heads;
    (void)layer;
    list[0] = (il_kept_tensor){keys_name, 3, {heads, (size_t)extent->position, d}};
    list[1] = (il_kept_tensor){values_name, 3, {heads, (size_t)extent->position, d}};
    return 2;
}

static il_status visit(const il_state *s, int layer, const il_kept_tensor *tensor, il_visitor *v) {
    const il_config *c = &s->model->config;
    size_t d = (size_t)(c->width / c->heads);
    for (int h = 0; h < c->heads; h++)
        for (uint64_t p = 0; p < s->position; p++) {
            float *block = il_state_keys(s, p, layer, h);
            size_t offset = (size_t)(p % IL_KEY_BLOCK);
            if (tensor->name == keys_name)
                IL_TRY(v->visit(v, block + offset, IL_KEY_BLOCK, d));
            else
                IL_TRY(v->visit(v, block + (IL_KEY_BLOCK + offset) * d, 1, d));
        }
    return IL_OK;
}

static size_t room(const il_model *model, int layer) {
    (void)layer;
    return (size_t)(model->config.width / model->config.heads);
}

const il_mixer il_mixer_attention = {.declare = declare,
                                     .acts = take_acts,
                                     .scratch = scratch,
                                     .scratch_backward = scratch_backward,
                                     .begin = begin,
                                     .forward = forward,
                                     .backward = backward,
                                     .keep = keep,
                                     .page_floats = page_floats,
                                     .tensors = tensors,
                                     .visit = visit,
                                     .room = room};
