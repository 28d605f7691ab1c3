/* attention_backward.c: see attention_backward.h. Probabilities are recomputed key block by key block from the
 * log-sum-exp that forward kept, so memory does not grow with T². Keys of earlier windows take part but get no
 * gradient. Sums: dq over key blocks, dk and dv over tiles of queries and in a tile over the heads that share the key,
 * all ascending. */
#include "model/attention_backward.h"

#include "model/attention_keys.h"
#include "model/steps.h"
#include <string.h>

enum { SCORES = IL_KEY_BLOCK * IL_KEY_BLOCK /* of a tile against a block */ };

/* P, dP; packed K and V^T. */
size_t il_attention_scratch_backward(const il_model *model) {
    return 2 * (size_t)SCORES + 2 * IL_KEY_BLOCK * il_pad16_size((size_t)il_config_head_width(&model->config));
}

typedef struct back_job {
    const il_pass *pass;
    int layer, window;
    il_attention a;
    il_backspace *space;
} back_job;

/* ---- heads ---- */

/* A key block of a head, as backward reads it. */
typedef struct key_block {
    uint64_t block;
    int n; /* keys in it */
    const float *keys, *k_packed, *v_packed;
    il_tile own;    /* the tile of the same block: its keys learn */
    float *dk, *dv; /* of own; NULL: an earlier window's */
} key_block;

/* P [n, keys] of a tile against a block: exp(scale q·k - lse), 0 for keys that the query does not see. */
static void probabilities(const back_job *job, const il_tile *at, int head, const key_block *b, float *p) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    const il_attention *a = &job->a;
    const float *q = acts->q + (ptrdiff_t)at->row * a->q_row + (ptrdiff_t)head * a->q_head;
    float lse[IL_KEY_BLOCK];
    int valid[IL_KEY_BLOCK];
    for (int r = 0; r < at->n; r++) {
        lse[r] = acts->lse[(ptrdiff_t)(at->row + r) * a->heads + head];
        valid[r] = b->block == at->block ? at->offset + r + 1 : b->n;
    }
    kernels->gemm(at->n, b->n, a->d, q, a->q_row, 1, b->keys, IL_KEY_BLOCK, IL_LANES, p, IL_KEY_BLOCK, 0);
    kernels->softmax_rows(at->n, b->n, valid, a->scale, p, IL_KEY_BLOCK, lse);
    for (int r = 0; job->window && r < at->n; r++) {
        uint64_t first = il_attention_first(job->window, at->block * IL_KEY_BLOCK + (uint64_t)(at->offset + r));
        uint64_t hidden = first < b->block * IL_KEY_BLOCK ? 0 : first - b->block * IL_KEY_BLOCK;
        if (hidden > (uint64_t)b->n) hidden = (uint64_t)b->n;
        memset(p + (ptrdiff_t)r * IL_KEY_BLOCK, 0, (size_t)hidden * sizeof *p);
    }
}

/* The block that a tile begins with. */
static uint64_t first_block(const back_job *job, const il_tile *at) {
    return il_attention_first(job->window, at->block * IL_KEY_BLOCK + (uint64_t)at->offset) / IL_KEY_BLOCK;
}

/* What a tile of one head's queries and a key block give each other; first: the block's first tile and head. */
static void tile_back(const back_job *job, const il_tile *at, int head, const key_block *b, int first, float *p) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    const il_attention *a = &job->a;
    ptrdiff_t z_at = (ptrdiff_t)at->row * a->z_row + (ptrdiff_t)head * a->d;
    ptrdiff_t q_at = (ptrdiff_t)at->row * a->q_row + (ptrdiff_t)head * a->q_head;
    const float *dz = job->space->dz + z_at;
    float *dp = p + SCORES, delta[IL_KEY_BLOCK];
    probabilities(job, at, head, b, p);
    kernels->gemm(at->n, b->n, a->d, dz, a->z_row, 1, b->v_packed, IL_LANES, (ptrdiff_t)IL_LANES * a->d, dp,
                  IL_KEY_BLOCK, 0);
    kernels->row_dot(at->n, a->d, dz, a->z_row, acts->z + z_at, a->z_row, delta);
    if (b->dv)
        kernels->gemm(b->own.n, a->d, at->n, p + b->own.offset, 1, IL_KEY_BLOCK, dz, a->z_row, IL_LANES, b->dv,
                      a->k_row, !first);
    kernels->softmax_rows_back(at->n, b->n, a->scale, p, IL_KEY_BLOCK, delta, dp, IL_KEY_BLOCK); /* dS */
    if (b->dk)
        kernels->gemm(b->own.n, a->d, at->n, dp + b->own.offset, 1, IL_KEY_BLOCK, acts->q + q_at, a->q_row, IL_LANES,
                      b->dk, a->k_row, !first);
    kernels->gemm(at->n, a->d, b->n, dp, IL_KEY_BLOCK, 1, b->k_packed, IL_LANES, (ptrdiff_t)IL_LANES * b->n,
                  job->space->dq + q_at, a->q_row, b->block > first_block(job, at));
}

/* Turns the gradients of a segment's queries and keys back to what they were before RoPE. */
static void turn_back(const back_job *job, const il_segment *segment, int kv_head) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_workspace *work = job->pass->work;
    const il_attention *a = &job->a;
    ptrdiff_t half = a->rotary / 2, first = segment->first;
    const float *cosine = work->cosine + first * half, *sine = work->sine + first * half;
    for (int h = kv_head * a->group; h < (kv_head + 1) * a->group; h++)
        kernels->rope_half(segment->n, a->rotary, job->space->dq + first * a->q_row + (ptrdiff_t)h * a->q_head,
                           a->q_row, cosine, sine, half, 1);
    kernels->rope_half(segment->n, a->rotary, job->space->dk + first * a->k_row + (ptrdiff_t)kv_head * a->d, a->k_row,
                       cosine, sine, half, 1);
}

/* One head of keys of one segment, and the heads of queries that share it. */
static void head_back(const back_job *job, int index, int kv_head, float *scratch) {
    const il_segment *segment = &job->pass->segments[index];
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_attention *a = &job->a;
    uint64_t stop = segment->state->position, start = stop - (uint64_t)segment->n;
    int tiles = il_tiles_of(start, segment->n);
    float *p = scratch, *k_packed = p + 2 * SCORES, *v_packed = k_packed + IL_KEY_BLOCK * il_pad16_size((size_t)a->d);
    key_block b = {.k_packed = k_packed, .v_packed = v_packed};
    b.block = il_attention_first(job->window, start) / IL_KEY_BLOCK;
    for (; b.block * IL_KEY_BLOCK < stop; b.block++) {
        uint64_t left = stop - b.block * IL_KEY_BLOCK;
        b.n = left < IL_KEY_BLOCK ? (int)left : IL_KEY_BLOCK;
        b.keys = il_attention_keys(job->pass, job->layer, index, start, b.block * IL_KEY_BLOCK, kv_head);
        kernels->pack(a->d, b.n, b.keys, 1, IL_KEY_BLOCK, k_packed);
        kernels->pack(b.n, a->d, b.keys + (ptrdiff_t)a->d * IL_KEY_BLOCK, 1, a->d, v_packed);
        int first = 0;
        if (b.block >= start / IL_KEY_BLOCK) {
            first = (int)(b.block - start / IL_KEY_BLOCK);
            b.own = il_tile_at(segment->first, segment->n, start, first);
            b.dk = job->space->dk + (ptrdiff_t)b.own.row * a->k_row + (ptrdiff_t)kv_head * a->d;
            b.dv = job->space->dv + (ptrdiff_t)b.own.row * a->k_row + (ptrdiff_t)kv_head * a->d;
        }
        for (int i = first; i < tiles; i++) {
            il_tile at = il_tile_at(segment->first, segment->n, start, i);
            if (first_block(job, &at) > b.block) break;
            for (int g = 0; g < a->group; g++) tile_back(job, &at, kv_head * a->group + g, &b, i == first && g == 0, p);
        }
    }
    turn_back(job, segment, kv_head);
}

static void head_back_run(void *context, int item, int worker) {
    const back_job *job = context;
    int segment = item / job->a.kv_heads;
    if (job->pass->segments[segment].n > 0)
        head_back(job, segment, item % job->a.kv_heads,
                  job->space->scratch + (size_t)worker * job->space->scratch_floats);
}

/* ---- gate ---- */

/* dz: from the gradient of z times the gate's sigmoid, which forward left in the gate's place, to that of z; the gate's
 * gradient beside that of its queries. */
static void gate_back_run(void *context, int piece, int worker) {
    const back_job *job = context;
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    const il_attention *a = &job->a;
    size_t d = (size_t)a->d;
    (void)worker;
    for (int t = piece * IL_PIECE, end = t + il_piece_rows(job->pass, piece); t < end; t++)
        for (int h = 0; h < a->heads; h++) {
            ptrdiff_t q_at = (ptrdiff_t)t * a->q_row + (ptrdiff_t)h * a->q_head + a->d;
            ptrdiff_t z_at = (ptrdiff_t)t * a->z_row + (ptrdiff_t)h * a->d;
            const float *open = acts->xqk + q_at;
            float *dz = job->space->dz + z_at, *dgate = job->space->dq + q_at, less[IL_HEAD_WIDTH_MAX];
            kernels->mul(d, dz, open, dz);
            kernels->mul(d, dz, acts->z + z_at, dgate);
            kernels->mul(d, dgate, open, less);
            kernels->axpy(d, -1.0F, less, dgate); /* dz z open (1 - open) */
        }
}

/* ---- norms of queries and keys ---- */

/* Of IL_BACK_ROWS rows; their part of the weights' gradients into the space's partial sums, [2, d] for each item. */
static void norms_back_run(void *context, int item, int worker) {
    const back_job *job = context;
    const il_pass *pass = job->pass;
    const il_model *model = pass->model;
    const il_layer *layer = &model->layers[job->layer];
    const il_acts *acts = il_pass_acts(pass, job->layer);
    const il_attention *a = &job->a;
    int first = item * IL_BACK_ROWS, left = pass->tokens - first, rows = left < IL_BACK_ROWS ? left : IL_BACK_ROWS;
    float eps = (float)model->config.rms_norm_eps, *dw = job->space->partial + (ptrdiff_t)item * 2 * a->d;
    (void)worker;
    memset(dw, 0, 2 * (size_t)a->d * sizeof *dw);
    for (int h = 0; h < a->heads; h++) {
        ptrdiff_t at = (ptrdiff_t)first * a->q_row + (ptrdiff_t)h * a->q_head;
        float *dq = job->space->dq + at;
        model->engine->kernels->rms_norm_back(rows, a->d, acts->xqk + at, a->q_row,
                                              il_norm_scale(model, &layer->q_norm), eps, dq, a->q_row, dq, a->q_row, 0,
                                              dw);
    }
    for (int h = 0; h < a->kv_heads; h++) {
        ptrdiff_t at = (ptrdiff_t)first * a->k_row + (ptrdiff_t)h * a->d;
        float *dk = job->space->dk + at;
        model->engine->kernels->rms_norm_back(rows, a->d, acts->xk + at, a->k_row, il_norm_scale(model, &layer->k_norm),
                                              eps, dk, a->k_row, dk, a->k_row, 0, dw + a->d);
    }
}

static void norms_back(back_job *job, float *grad) {
    const il_model *model = job->pass->model;
    const il_layer *layer = &model->layers[job->layer];
    int pieces = (job->pass->tokens + IL_BACK_ROWS - 1) / IL_BACK_ROWS, d = job->a.d;
    float *dq_norm = grad + layer->q_norm.w, *dk_norm = grad + layer->k_norm.w;
    il_pool_run(model->engine->pool, pieces, norms_back_run, job);
    for (int i = 0; i < pieces; i++) {
        const float *sums = job->space->partial + (ptrdiff_t)i * 2 * d;
        model->engine->kernels->add((size_t)d, dq_norm, sums, dq_norm);
        model->engine->kernels->add((size_t)d, dk_norm, sums + d, dk_norm);
    }
}

/* ---- all of it ---- */

void il_attention_backward(const il_pass *pass, int index, const float *dmix, float *dxn, float *grad,
                           il_backspace *space) {
    il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    int tokens = pass->tokens;
    back_job job = {pass, index, layer->window, il_attention_of(model), space};
    il_bias_backward(pass, layer->bo, layer->wo.out, dmix, grad);
    il_dense_backward(pass, &layer->wo, tokens, acts->zhat, dmix, space->dz, 0, grad);
    if (model->config.attention_gate) il_pass_rows(pass, gate_back_run, &job);
    il_pool_run(model->engine->pool, pass->n_segments * job.a.kv_heads, head_back_run, &job);
    if (model->config.qk_norm) norms_back(&job, grad);
    il_bias_backward(pass, layer->bq, layer->wq.out, space->dq, grad);
    il_bias_backward(pass, layer->bk, layer->wk.out, space->dk, grad);
    il_bias_backward(pass, layer->bv, layer->wv.out, space->dv, grad);
    il_dense_backward(pass, &layer->wq, tokens, acts->xn, space->dq, dxn, 0, grad);
    il_dense_backward(pass, &layer->wk, tokens, acts->xn, space->dk, dxn, 1, grad);
    il_dense_backward(pass, &layer->wv, tokens, acts->xn, space->dv, dxn, 1, grad);
}
