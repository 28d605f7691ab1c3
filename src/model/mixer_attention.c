/* mixer_attention.c: see mixer_attention.h. Backward is attention_backward.c's.
 *
 * One answer: a query's output is a chain over key blocks at absolute positions, ascending from that of the first key
 * it sees, and inside a block over the keys that it sees. Queries that share a key block are computed together (a
 * tile): of one head, or where they are few of several heads that share their keys. Some tiles pass over the earlier
 * blocks side by side (a group), so that keys and values come from memory once for all of them. A single token takes a
 * head's blocks in steps, which threads may take over from each other. Which queries are in this call changes no bit,
 * because keys that a query does not see are never multiplied into it, not even by zero. */
#include "model/mixer_attention.h"

#include "base/chains.h"
#include "base/maths.h"
#include "model/attention_backward.h"
#include "model/attention_keys.h"
#include "model/steps.h"
#include <math.h>
#include <string.h>

enum {
    RIM_ROWS = 16, /* of a block of which they see different keys: they share a product for those that all see */
    GROUP_MAX = 4, /* tiles; their outputs stay in the second-level cache */
    SCORES = IL_KEY_BLOCK * IL_KEY_BLOCK, /* of a tile against a block */
    ITEMS = 4 /* a thread gets at least so many, as far as there are: the last to end keeps the others waiting */
};

/* ---- tensors and memory ---- */

static void declare(il_declarer *d, il_layer *layer) {
    static const char block[] = "self_attn.";
    const il_config *c = &d->model->config;
    il_attention a = il_attention_of(d->model);
    layer->seq_norm = il_declare_norm(d, c->width, "input_layernorm.", "weight");
    layer->wq = il_declare_dense(d, a.q_row, c->width, block, "q_proj.weight");
    layer->wk = il_declare_dense(d, a.k_row, c->width, block, "k_proj.weight");
    layer->wv = il_declare_dense(d, a.k_row, c->width, block, "v_proj.weight");
    layer->wo = il_declare_dense(d, c->width, a.z_row, block, "o_proj.weight");
    if (c->attention_bias) {
        layer->bq = il_declare_vector(d, IL_INIT_ZEROS, a.q_row, block, "q_proj.bias");
        layer->bk = il_declare_vector(d, IL_INIT_ZEROS, a.k_row, block, "k_proj.bias");
        layer->bv = il_declare_vector(d, IL_INIT_ZEROS, a.k_row, block, "v_proj.bias");
    }
    if (c->attention_output_bias) layer->bo = il_declare_vector(d, IL_INIT_ZEROS, c->width, block, "o_proj.bias");
    if (c->qk_norm) {
        layer->q_norm = il_declare_norm(d, a.d, block, "q_norm.weight");
        layer->k_norm = il_declare_norm(d, a.d, block, "k_norm.weight");
    }
    layer->ffn_norm = il_declare_norm(d, c->width, "post_attention_layernorm.", "weight");
}

/* A tape keeps queries and keys before their norms, and outputs before their gates, too. */
static void take_acts(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts) {
    il_attention a = il_attention_of(model);
    int tape = size->mini_batches != 0;
    size_t f = sizeof(float), q = size->tokens * (size_t)a.q_row, k = size->tokens * (size_t)a.k_row;
    size_t z = size->tokens * (size_t)a.z_row;
    acts->q = acts->xqk = il_arena_take(arena, q, f);
    acts->k = acts->xk = il_arena_take(arena, k, f);
    acts->v = il_arena_take(arena, k, f);
    acts->z = acts->zhat = il_arena_take(arena, z, f);
    acts->lse = il_arena_take(arena, size->tokens * (size_t)a.heads, f);
    acts->top = il_arena_take(arena, size->tokens * (size_t)a.heads, f);
    if (tape && model->config.qk_norm) {
        acts->q = il_arena_take(arena, q, f);
        acts->k = il_arena_take(arena, k, f);
    }
    if (tape && model->config.attention_gate) acts->zhat = il_arena_take(arena, z, f);
    il_attention_keys_take(arena, model, layer, size, acts);
}

/* Scores; of each tile of a group the outputs and, where heads share it, their queries. */
static size_t scratch(const il_model *model, int layer) {
    il_attention a = il_attention_of(model);
    size_t rows = IL_KEY_BLOCK * il_pad16_size((size_t)a.d);
    (void)layer;
    return SCORES + GROUP_MAX * rows * (a.group > 1 ? 2 : 1);
}

static size_t scratch_backward(const il_model *model, int layer) {
    (void)layer;
    return il_attention_scratch_backward(model);
}

/* ---- forward: queries, keys and values ---- */

static void begin(const il_pass *pass) {
    int half = il_config_rotary_width(&pass->model->config) / 2;
    for (int s = 0; s < pass->n_segments; s++)
        for (int i = 0; i < pass->segments[s].n; i++) {
            ptrdiff_t at = (ptrdiff_t)(pass->segments[s].first + i) * half;
            il_rope_angles(half, pass->model->rope_frequencies, pass->segments[s].state->position + (uint64_t)i,
                           pass->work->cosine + at, pass->work->sine + at);
        }
}

/* What a layer's tiles have in common. A segment is attended in one go, or in stretches one after the other. */
typedef struct attend_job {
    const il_pass *pass;
    int layer, window;
    il_attention a;
    int done, most; /* a stretch: at most so many tokens, after so many */
    int fused;      /* a tile stores its own keys */
    int group;      /* so many tiles pass over the key blocks side by side */
    int share;      /* heads of queries, at most, that share a tile */
    int units;      /* tiles that the heads of one head of keys are in then */
    int steps;      /* of a single token over its key blocks */
} attend_job;

/* The tokens of a segment's stretch: from position start on, in rows first .. first+n-1. */
typedef struct stretch {
    int segment, first, n;
    uint64_t start;
} stretch;

static stretch stretch_of(const attend_job *job, int segment) {
    const il_segment *of = &job->pass->segments[segment];
    stretch s = {segment, of->first + job->done, of->n - job->done, of->state->position + (uint64_t)job->done};
    if (s.n > job->most) s.n = job->most;
    if (s.n < 0) s.n = 0;
    return s;
}

static int tiles_of(const attend_job *job, int segment) {
    stretch s = stretch_of(job, segment);
    return il_tiles_of(s.start, s.n);
}

/* One head of queries or keys, x: its bias (NULL: none) on `width` floats of a row, its norm (NULL: none) to y, which
 * may be x and is without a norm, and RoPE there. */
static void turn(const attend_job *job, const stretch *s, int width, ptrdiff_t row, const float *bias,
                 const il_norm *norm, float *x, float *y) {
    const il_model *model = job->pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_workspace *work = job->pass->work;
    int half = job->a.rotary / 2;
    ptrdiff_t angle = (ptrdiff_t)s->first * half;
    if (bias) kernels->add_bias(s->n, width, bias, x, row);
    if (norm)
        kernels->rms_norm(s->n, job->a.d, x, row, il_norm_scale(model, norm), (float)model->config.rms_norm_eps, y,
                          row);
    kernels->rope_half(s->n, job->a.rotary, y, row, work->cosine + angle, work->sine + angle, half, 0);
}

/* The new queries, keys and values of one head of keys; keys and values go where attention reads them. */
static void keys_store(const attend_job *job, const stretch *s, int kv_head) {
    const il_model *model = job->pass->model;
    const il_layer *layer = &model->layers[job->layer];
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    const il_attention *a = &job->a;
    const float *bq = il_weight(model, layer->bq), *bk = il_weight(model, layer->bk), *bv = il_weight(model, layer->bv);
    const il_norm *q_norm = model->config.qk_norm ? &layer->q_norm : NULL, *k_norm = q_norm ? &layer->k_norm : NULL;
    for (int h = kv_head * a->group; h < (kv_head + 1) * a->group; h++) {
        ptrdiff_t head = (ptrdiff_t)h * a->q_head, at = (ptrdiff_t)s->first * a->q_row + head;
        turn(job, s, a->q_head, a->q_row, bq ? bq + head : NULL, q_norm, acts->xqk + at, acts->q + at);
    }
    ptrdiff_t head = (ptrdiff_t)kv_head * a->d, at = (ptrdiff_t)s->first * a->k_row + head;
    turn(job, s, a->d, a->k_row, bk ? bk + head : NULL, k_norm, acts->xk + at, acts->k + at);
    if (bv) model->engine->kernels->add_bias(s->n, a->d, bv + head, acts->v + at, a->k_row);
    il_attention_keys_store(job->pass, job->layer, s->segment, s->first, s->n, s->start, kv_head);
}

/* ---- forward: tiles ---- */

/* What a tile of queries has gathered from the key blocks so far. Its rows: token by token, and of each the heads. */
typedef struct tile_sums {
    il_tile at;
    uint64_t first; /* block that its first query sees */
    int heads, rows;
    const float *q; /* [rows, d] */
    ptrdiff_t q_row;
    float *out;       /* [rows,d]: sums of exp(score - top) v */
    float *top, *sum; /* [rows] largest score; sum of exp(score - top) */
} tile_sums;

/* out [rows,d] += P · V in a block at the rim of what rows see: row r sees keys from[r] .. to[r]-1, both ascending. */
static void rim_values(const il_kernels *kernels, int rows, const int *from, const int *to, int d, const float *p,
                       const float *v, float *out) {
    for (int r0 = 0; r0 < rows; r0 += RIM_ROWS) {
        int n = rows - r0 < RIM_ROWS ? rows - r0 : RIM_ROWS;
        int first = from[r0 + n - 1], last = to[r0]; /* what all of them see */
        for (int r = r0; r < r0 + n; r++) {
            int before = (to[r] < first ? to[r] : first) - from[r];
            if (before > 0)
                kernels->gemm(1, d, before, p + (ptrdiff_t)r * IL_KEY_BLOCK + from[r], IL_KEY_BLOCK, 1,
                              v + (ptrdiff_t)from[r] * d, d, IL_LANES, out + (ptrdiff_t)r * d, d, 1);
        }
        if (last > first)
            kernels->gemm(n, d, last - first, p + (ptrdiff_t)r0 * IL_KEY_BLOCK + first, IL_KEY_BLOCK, 1,
                          v + (ptrdiff_t)first * d, d, IL_LANES, out + (ptrdiff_t)r0 * d, d, 1);
        else
            last = first;
        for (int r = r0; r < r0 + n; r++) {
            int at = last > from[r] ? last : from[r];
            if (to[r] > at)
                kernels->gemm(1, d, to[r] - at, p + (ptrdiff_t)r * IL_KEY_BLOCK + at, IL_KEY_BLOCK, 1,
                              v + (ptrdiff_t)at * d, d, IL_LANES, out + (ptrdiff_t)r * d, d, 1);
        }
    }
}

/* Softmax of rows that do not see the first keys of a block: each from its first key on. */
static void rim_softmax(const il_kernels *kernels, tile_sums *sums, const int *from, const int *to, float scale,
                        float *scores, float *correction) {
    for (int r = 0; r < sums->rows; r++) {
        int valid = to[r] - from[r];
        kernels->softmax_key_block(1, valid, &valid, scale, scores + (ptrdiff_t)r * IL_KEY_BLOCK + from[r],
                                   IL_KEY_BLOCK, sums->top + r, sums->sum + r, correction + r);
    }
}

/* c = a · b, or c += a · b; b [k,n] in one piece. Few rows wait for memory, which is asked for what comes `next` too.
 */
static void product(const il_kernels *kernels, int rows, int n, int k, const float *a, ptrdiff_t a_row, const float *b,
                    const float *next, float *c, ptrdiff_t c_row, int accumulate) {
    if (rows <= IL_FEW_ROWS)
        kernels->gemm_read(rows, n, k, a, a_row, b, next, c, c_row, accumulate);
    else
        kernels->gemm(rows, n, k, a, a_row, 1, b, n, IL_LANES, c, c_row, accumulate);
}

/* What a tile gathers from one key block; next: the one after it. */
static void tile_add(const attend_job *job, tile_sums *sums, uint64_t block, const float *keys, const float *next,
                     float *scores) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    int d = job->a.d, rows = sums->rows, n = IL_KEY_BLOCK, window = job->window;
    float correction[IL_KEY_BLOCK];
    const float *values = keys + (ptrdiff_t)d * IL_KEY_BLOCK;
    int own = block == sums->at.block, from[IL_KEY_BLOCK] = {0}, to[IL_KEY_BLOCK], rim = 0;
    if (own) n = sums->at.offset + sums->at.n; /* what lies behind is not this sequence's yet */
    for (int r = 0; r < rows; r++) {
        int place = sums->at.offset + r / sums->heads;
        to[r] = own ? place + 1 : IL_KEY_BLOCK;
        if (!window) continue;
        uint64_t first = il_attention_first(window, sums->at.block * IL_KEY_BLOCK + (uint64_t)place);
        uint64_t before = first < block * IL_KEY_BLOCK ? 0 : first - block * IL_KEY_BLOCK;
        from[r] = before < (uint64_t)to[r] ? (int)before : to[r];
        rim |= from[r];
    }
    if (own)
        kernels->gemm(rows, n, d, sums->q, sums->q_row, 1, keys, IL_KEY_BLOCK, IL_LANES, scores, IL_KEY_BLOCK, 0);
    else
        product(kernels, rows, n, d, sums->q, sums->q_row, keys, values, scores, IL_KEY_BLOCK, 0);
    if (rim)
        rim_softmax(kernels, sums, from, to, job->a.scale, scores, correction);
    else
        kernels->softmax_key_block(rows, n, to, job->a.scale, scores, IL_KEY_BLOCK, sums->top, sums->sum, correction);
    for (int r = 0; r < rows; r++) {
        float *row = sums->out + (ptrdiff_t)r * d;
        if (correction[r] != 1.0f) kernels->scale((size_t)d, correction[r], row, row);
    }
    if (own || rim)
        rim_values(kernels, rows, from, to, d, scores, values, sums->out);
    else
        product(kernels, rows, d, n, scores, IL_KEY_BLOCK, values, next, sums->out, d, 1);
}

/* The tile's queries, where they lie, or side by side in `gathered` if there are several tokens of several heads. */
static void tile_queries(const attend_job *job, tile_sums *sums, int head, float *gathered) {
    const il_attention *a = &job->a;
    const float *q =
        il_pass_acts(job->pass, job->layer)->q + (ptrdiff_t)sums->at.row * a->q_row + (ptrdiff_t)head * a->q_head;
    sums->rows = sums->at.n * sums->heads;
    sums->q = q;
    sums->q_row = sums->heads > 1 ? a->q_head : a->q_row;
    if (sums->heads == 1 || sums->at.n == 1) return;
    sums->q = gathered;
    sums->q_row = a->d;
    for (int r = 0; r < sums->rows; r++)
        memcpy(gathered + (ptrdiff_t)r * a->d,
               q + (ptrdiff_t)(r / sums->heads) * a->q_row + (ptrdiff_t)(r % sums->heads) * a->q_head,
               (size_t)a->d * sizeof *q);
}

/* Before the first block. */
static void tile_begin(const attend_job *job, tile_sums *sums) {
    memset(sums->out, 0, (size_t)sums->rows * (size_t)job->a.d * sizeof(float));
    for (int r = 0; r < sums->rows; r++) {
        sums->top[r] = -INFINITY;
        sums->sum[r] = 0;
    }
}

/* After the last: z, and zhat = z sigmoid(gate), which stays in the gate's place. */
static void tile_end(const attend_job *job, const tile_sums *sums, int first_head) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    const il_attention *a = &job->a;
    size_t d = (size_t)a->d;
    for (int r = 0; r < sums->rows; r++) {
        ptrdiff_t row = sums->at.row + r / sums->heads, head = first_head + r % sums->heads;
        ptrdiff_t z_at = row * a->z_row + head * a->d;
        kernels->scale(d, 1.0f / sums->sum[r], sums->out + (ptrdiff_t)r * a->d, acts->z + z_at);
        if (a->q_head > a->d) {
            float *gate = acts->xqk + row * a->q_row + head * a->q_head + a->d;
            kernels->sigmoid(d, gate, gate);
            kernels->mul(d, acts->z + z_at, gate, acts->zhat + z_at);
        }
        if (job->pass->tape)
            acts->lse[row * a->heads + head] = (float)((double)sums->top[r] + il_log_d((double)sums->sum[r]));
    }
}

/* The block of the first key that a tile sees. */
static uint64_t tile_first(const attend_job *job, const stretch *s, int index) {
    il_tile at = il_tile_at(s->first, s->n, s->start, index);
    return il_attention_first(job->window, at.block * IL_KEY_BLOCK + (uint64_t)at.offset) / IL_KEY_BLOCK;
}

static const float *keys_of(const attend_job *job, const stretch *s, uint64_t block, int kv_head) {
    return il_attention_keys(job->pass, job->layer, s->segment, s->start, block * IL_KEY_BLOCK, kv_head);
}

/* What n tiles gather from the key blocks from .. to-1, one block after the other. */
static void tiles_add(const attend_job *job, const stretch *s, int kv_head, tile_sums *tiles, int n, uint64_t from,
                      uint64_t to, float *scores) {
    const float *keys = from < to ? keys_of(job, s, from, kv_head) : NULL, *next = keys;
    for (uint64_t block = from; block < to; block++, keys = next) {
        if (block + 1 < to) next = keys_of(job, s, block + 1, kv_head);
        for (int i = 0; i < n; i++)
            if (block >= tiles[i].first && block <= tiles[i].at.block)
                tile_add(job, &tiles[i], block, keys, next, scores);
    }
}

/* n tiles of a stretch from `first` on, of the heads of unit `unit`: z = softmax(q K^T / sqrt(d)) V, online over
 * blocks. */
static void tiles_attend(const attend_job *job, const stretch *s, int unit, int first, int n, float *scratch) {
    const il_attention *a = &job->a;
    const ptrdiff_t room = (ptrdiff_t)(IL_KEY_BLOCK * il_pad16_size((size_t)a->d));
    int kv_head = unit / job->units, from = unit % job->units * job->share, head = kv_head * a->group + from;
    float *scores = scratch, *out = scratch + SCORES, *gathered = out + GROUP_MAX * room;
    float top[GROUP_MAX][IL_KEY_BLOCK], sum[GROUP_MAX][IL_KEY_BLOCK];
    tile_sums tiles[GROUP_MAX];
    uint64_t blocks = 0;
    for (int i = 0; i < n; i++) {
        tiles[i] = (tile_sums){.at = il_tile_at(s->first, s->n, s->start, first + i),
                               .first = tile_first(job, s, first + i),
                               .heads = a->group - from < job->share ? a->group - from : job->share,
                               .out = out + i * room,
                               .top = top[i],
                               .sum = sum[i]};
        tile_queries(job, &tiles[i], head, gathered + i * room);
        tile_begin(job, &tiles[i]);
        blocks = tiles[i].at.block + 1;
    }
    tiles_add(job, s, kv_head, tiles, n, tile_first(job, s, first), blocks, scores);
    for (int i = 0; i < n; i++) tile_end(job, &tiles[i], head);
}

/* A step of a single token: what the queries of one head of keys gather from a share of the blocks. Until the next step
 * it waits where the outputs go, so that another thread may do that. */
static void token_step(void *context, int chain, int step, int worker) {
    const attend_job *job = context;
    const il_attention *a = &job->a;
    const il_acts *acts = il_pass_acts(job->pass, job->layer);
    stretch s = stretch_of(job, chain / a->kv_heads);
    if (!s.n) return;
    const int kv_head = chain % a->kv_heads, head = kv_head * a->group;
    const ptrdiff_t at = (ptrdiff_t)s.first * a->heads + head;
    tile_sums tile = {.at = il_tile_at(s.first, s.n, s.start, 0),
                      .first = tile_first(job, &s, 0),
                      .heads = a->group,
                      .out = acts->z + at * a->d,
                      .top = acts->top + at,
                      .sum = acts->lse + at};
    tile_queries(job, &tile, head, NULL);
    if (step == 0) {
        keys_store(job, &s, kv_head);
        tile_begin(job, &tile);
    }
    const uint64_t blocks = tile.at.block + 1 - tile.first, i = (uint64_t)step, steps = (uint64_t)job->steps;
    tiles_add(job, &s, kv_head, &tile, 1, tile.first + blocks * i / steps, tile.first + blocks * (i + 1) / steps,
              job->pass->work->scratch + (size_t)worker * job->pass->work->scratch_floats);
    if (step == job->steps - 1) tile_end(job, &tile, head);
}

static void keys_run(void *context, int item, int worker) {
    const attend_job *job = context;
    stretch s = stretch_of(job, item / job->a.kv_heads);
    (void)worker;
    keys_store(job, &s, item % job->a.kv_heads);
}

static int groups_of(const attend_job *job, int segment) {
    return (tiles_of(job, segment) + job->group - 1) / job->group;
}

/* Item order: segment, group of tiles from the last (the longest) down, unit of heads. */
static void attend_run(void *context, int item, int worker) {
    const attend_job *job = context;
    int segment = 0, units = job->a.kv_heads * job->units, groups = groups_of(job, 0);
    while (item >= groups * units) {
        item -= groups * units;
        groups = groups_of(job, ++segment);
    }
    stretch s = stretch_of(job, segment);
    int first = (groups - 1 - item / units) * job->group, tiles = tiles_of(job, segment) - first;
    if (job->fused) keys_store(job, &s, item % units);
    tiles_attend(job, &s, item % units, first, tiles < job->group ? tiles : job->group,
                 job->pass->work->scratch + (size_t)worker * job->pass->work->scratch_floats);
}

/* As many heads share a tile as have room in it, if threads do not go idle for it. */
static void share_heads(attend_job *job) {
    int segments = job->pass->n_segments, group = job->a.group, most = 1;
    int threads = il_pool_threads(job->pass->model->engine->pool);
    for (int i = 0; i < segments; i++)
        if (stretch_of(job, i).n > most) most = stretch_of(job, i).n;
    job->share = most < IL_KEY_BLOCK ? IL_KEY_BLOCK / most : 1;
    if (job->share > group) job->share = group;
    while (job->share > 1 && segments * job->a.kv_heads * ((group + job->share - 1) / job->share) < threads)
        job->share = (job->share + 1) / 2;
    job->units = (group + job->share - 1) / job->share;
}

/* Decode: a single token of every sequence. */
static void attend_tokens(attend_job *job) {
    il_pool *pool = job->pass->model->engine->pool;
    il_chains chains;
    uint64_t blocks = 0;
    for (int i = 0; i < job->pass->n_segments; i++) {
        stretch s = stretch_of(job, i);
        uint64_t own = s.start / IL_KEY_BLOCK + 1 - il_attention_first(job->window, s.start) / IL_KEY_BLOCK;
        if (own > blocks) blocks = own;
    }
    const int threads = il_pool_threads(pool);
    job->steps = blocks < (uint64_t)threads ? (int)blocks : threads;
    int items = il_chains_begin(&chains, pool, job->pass->n_segments * job->a.kv_heads, job->steps, token_step, job);
    il_pool_run(pool, items, il_chains_run, &chains);
}

static void attend(attend_job *job) {
    il_pool *pool = job->pass->model->engine->pool;
    int segments = job->pass->n_segments, tiles = 0, most = 0, items = 0;
    share_heads(job);
    if (job->most == 1 && job->units == 1) {
        attend_tokens(job);
        return;
    }
    int units = job->a.kv_heads * job->units;
    for (int i = 0; i < segments; i++) {
        int own = tiles_of(job, i);
        tiles += own;
        if (own > most) most = own;
    }
    job->group = tiles * units / (ITEMS * il_pool_threads(pool));
    job->group = job->group < 1 ? 1 : job->group > GROUP_MAX ? GROUP_MAX : job->group;
    for (int i = 0; i < segments; i++) items += groups_of(job, i) * units;
    /* Where all queries that read a head of keys are one tile, it stores them: one hand-over between threads. */
    job->fused = most <= 1 && job->units == 1;
    if (!job->fused) il_pool_run(pool, segments * job->a.kv_heads, keys_run, job);
    il_pool_run(pool, items, attend_run, job);
}

static void forward(const il_pass *pass, int index) {
    const il_model *model = pass->model;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    attend_job job = {.pass = pass, .layer = index, .window = layer->window, .a = il_attention_of(model)};
    int longest = 0;
    il_dense_forward(pass, &layer->wq, pass->tokens, acts->xn, acts->xqk);
    il_dense_forward(pass, &layer->wk, pass->tokens, acts->xn, acts->xk);
    il_dense_forward(pass, &layer->wv, pass->tokens, acts->xn, acts->v);
    for (int i = 0; i < pass->n_segments; i++)
        if (pass->segments[i].n > longest) longest = pass->segments[i].n;
    job.most = longest;
    if (layer->window && !pass->tape && longest > IL_SLIDING_TOKENS)
        job.most = IL_SLIDING_TOKENS; /* of a ring's room */
    for (; job.done < longest; job.done += job.most) attend(&job);
    il_dense_forward(pass, &layer->wo, pass->tokens, acts->zhat, pass->work->mix);
    il_bias_forward(pass, layer->bo, layer->wo.out, pass->work->mix);
}

static void keep_nothing(il_arena *arena, const il_state *state, int layer, il_kept *kept) {
    (void)arena, (void)state, (void)layer, (void)kept; /* of constant size */
}

const il_mixer il_mixer_attention = {.declare = declare,
                                     .acts = take_acts,
                                     .scratch = scratch,
                                     .scratch_backward = scratch_backward,
                                     .begin = begin,
                                     .forward = forward,
                                     .backward = il_attention_backward,
                                     .keep = keep_nothing,
                                     .page_floats = il_attention_page_floats,
                                     .tensors = il_attention_tensors,
                                     .visit = il_attention_visit,
                                     .room = il_attention_room};

const il_mixer il_mixer_sliding_attention = {.declare = declare,
                                             .acts = take_acts,
                                             .scratch = scratch,
                                             .scratch_backward = scratch_backward,
                                             .begin = begin,
                                             .forward = forward,
                                             .backward = il_attention_backward,
                                             .keep = il_attention_keep_ring,
                                             .tensors = il_attention_tensors,
                                             .visit = il_attention_visit,
                                             .room = il_attention_room};
