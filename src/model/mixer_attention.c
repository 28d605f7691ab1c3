/* mixer_attention.c: see mixer_attention.h. Backward is attention_backward.c's.
 *
 * One answer: a query's output is a chain over key blocks at absolute positions, ascending from block 0, and inside a
 * block over the keys up to its own. Queries that share a key block are computed together (a tile): of one head, or
 * where they are few of several heads that share their keys. Some tiles pass over the earlier blocks side by side (a
 * group), so that keys and values come from memory once for all of them. Which queries are in this call changes no bit,
 * because keys after a query are never multiplied into it, not even by zero. */
#include "model/mixer_attention.h"

#include "base/error.h"
#include "base/maths.h"
#include "model/attention_backward.h"
#include "model/steps.h"
#include <math.h>
#include <string.h>

enum {
    TRIANGLE = 16, /* rows of the diagonal block that share a product before each adds its own last keys */
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
    (void)layer;
    acts->q = acts->xqk = il_arena_take(arena, q, f);
    acts->k = acts->xk = il_arena_take(arena, k, f);
    acts->v = il_arena_take(arena, k, f);
    acts->z = acts->zhat = il_arena_take(arena, z, f);
    acts->lse = il_arena_take(arena, size->tokens * (size_t)a.heads, f);
    if (tape && model->config.qk_norm) {
        acts->q = il_arena_take(arena, q, f);
        acts->k = il_arena_take(arena, k, f);
    }
    if (tape && model->config.attention_gate) acts->zhat = il_arena_take(arena, z, f);
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

/* One head of a segment's queries or keys, in place or from x to y, `width` floats of it with a bias: bias, norm,
 * RoPE. bias and norm NULL: none. */
typedef struct turning {
    const il_pass *pass;
    const il_segment *segment;
    const il_attention *a;
    int width;
    ptrdiff_t row; /* stride of x and y */
} turning;

static void turn(const turning *t, float *x, float *y, const float *bias, const float *norm) {
    const il_model *model = t->pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_workspace *work = t->pass->work;
    int n = t->segment->n, half = t->a->rotary / 2;
    ptrdiff_t angle = (ptrdiff_t)t->segment->first * half;
    if (bias) kernels->add_bias(n, t->width, bias, x, t->row);
    if (norm) kernels->rms_norm(n, t->a->d, x, t->row, norm, (float)model->config.rms_norm_eps, y, t->row);
    kernels->rope_half(n, t->a->rotary, y, t->row, work->cosine + angle, work->sine + angle, half, 0);
}

/* The new queries, keys and values of one head of keys of a segment; keys and values go into the state's blocks. */
static void keys_store(const il_pass *pass, int index, const il_segment *segment, int kv_head) {
    const il_model *model = pass->model;
    const il_kernels *kernels = model->engine->kernels;
    const il_layer *layer = &model->layers[index];
    const il_acts *acts = il_pass_acts(pass, index);
    il_attention a = il_attention_of(model);
    const float *bq = il_weight(model, layer->bq), *bk = il_weight(model, layer->bk), *bv = il_weight(model, layer->bv);
    int norms = model->config.qk_norm, d = a.d;
    turning t = {pass, segment, &a, a.q_head, a.q_row};
    for (int h = kv_head * a.group; h < (kv_head + 1) * a.group; h++) {
        ptrdiff_t head = (ptrdiff_t)h * a.q_head, at = (ptrdiff_t)segment->first * a.q_row + head;
        turn(&t, acts->xqk + at, acts->q + at, bq ? bq + head : NULL,
             norms ? il_norm_scale(model, &layer->q_norm) : NULL);
    }
    ptrdiff_t head = (ptrdiff_t)kv_head * d, at = (ptrdiff_t)segment->first * a.k_row + head;
    t.width = d, t.row = a.k_row;
    turn(&t, acts->xk + at, acts->k + at, bk ? bk + head : NULL, norms ? il_norm_scale(model, &layer->k_norm) : NULL);
    if (bv) kernels->add_bias(segment->n, d, bv + head, acts->v + at, a.k_row);
    for (int i = 0; i < segment->n;) {
        uint64_t position = segment->state->position + (uint64_t)i;
        int offset = (int)(position % IL_KEY_BLOCK), n = IL_KEY_BLOCK - offset;
        if (n > segment->n - i) n = segment->n - i;
        float *keys = il_state_keys(segment->state, position, index, kv_head);
        float *values = keys + (ptrdiff_t)(IL_KEY_BLOCK + offset) * d;
        ptrdiff_t from = at + (ptrdiff_t)i * a.k_row;
        kernels->transpose(n, d, acts->k + from, a.k_row, keys + offset, IL_KEY_BLOCK);
        for (int j = 0; j < n; j++)
            memcpy(values + (ptrdiff_t)j * d, acts->v + from + (ptrdiff_t)j * a.k_row, (size_t)d * sizeof(float));
        i += n;
    }
}

/* ---- forward: tiles ---- */

/* What a layer's tiles have in common. */
typedef struct attend_job {
    const il_pass *pass;
    int layer;
    il_attention a;
    int fused; /* a tile stores its own keys */
    int group; /* so many tiles pass over the key blocks side by side */
    int share; /* heads of queries, at most, that share a tile */
    int units; /* tiles that the heads of one head of keys are in then */
} attend_job;

/* What a tile of queries has gathered from the key blocks so far. Its rows: token by token, and of each the heads. */
typedef struct tile_sums {
    il_tile at;
    int heads, rows;
    const float *q; /* [rows, d] */
    ptrdiff_t q_row;
    float *out;                                 /* [rows,d]: sums of exp(score - top) v */
    float top[IL_KEY_BLOCK], sum[IL_KEY_BLOCK]; /* largest score; sum of exp(score - top) */
} tile_sums;

/* out [rows,d] += P · V in the block that holds the queries: row r may see valid[r] keys, ascending. */
static void diagonal_values(const il_kernels *kernels, int rows, const int *valid, int d, const float *p,
                            const float *v, float *out) {
    for (int r0 = 0; r0 < rows; r0 += TRIANGLE) {
        int n = rows - r0 < TRIANGLE ? rows - r0 : TRIANGLE, shared = valid[r0];
        const float *p0 = p + (ptrdiff_t)r0 * IL_KEY_BLOCK;
        float *out0 = out + (ptrdiff_t)r0 * d;
        kernels->gemm(n, d, shared, p0, IL_KEY_BLOCK, 1, v, d, IL_LANES, out0, d, 1);
        for (int r = 1; r < n; r++)
            if (valid[r0 + r] > shared)
                kernels->gemm(1, d, valid[r0 + r] - shared, p0 + (ptrdiff_t)r * IL_KEY_BLOCK + shared, IL_KEY_BLOCK, 1,
                              v + (ptrdiff_t)shared * d, d, IL_LANES, out0 + (ptrdiff_t)r * d, d, 1);
    }
}

/* What a tile gathers from one key block. */
static void tile_add(const attend_job *job, tile_sums *sums, uint64_t block, const float *keys, float *scores) {
    const il_kernels *kernels = job->pass->model->engine->kernels;
    int d = job->a.d, rows = sums->rows, n = IL_KEY_BLOCK;
    float correction[IL_KEY_BLOCK];
    const float *values = keys + (ptrdiff_t)d * IL_KEY_BLOCK;
    int own = block == sums->at.block, valid[IL_KEY_BLOCK];
    if (own) n = sums->at.offset + sums->at.n; /* what lies behind is not this sequence's yet */
    for (int r = 0; r < rows; r++) valid[r] = own ? sums->at.offset + r / sums->heads + 1 : IL_KEY_BLOCK;
    kernels->gemm(rows, n, d, sums->q, sums->q_row, 1, keys, IL_KEY_BLOCK, IL_LANES, scores, IL_KEY_BLOCK, 0);
    kernels->softmax_key_block(rows, n, valid, job->a.scale, scores, IL_KEY_BLOCK, sums->top, sums->sum, correction);
    for (int r = 0; r < rows; r++) {
        float *row = sums->out + (ptrdiff_t)r * d;
        if (correction[r] != 1.0f) kernels->scale((size_t)d, correction[r], row, row);
    }
    if (own)
        diagonal_values(kernels, rows, valid, d, scores, values, sums->out);
    else
        kernels->gemm(rows, d, n, scores, IL_KEY_BLOCK, 1, values, d, IL_LANES, sums->out, d, 1);
}

/* Before the first block; gathered: room for the queries of several heads side by side. */
static void tile_begin(const attend_job *job, tile_sums *sums, int head, float *gathered) {
    const il_attention *a = &job->a;
    const float *q =
        il_pass_acts(job->pass, job->layer)->q + (ptrdiff_t)sums->at.row * a->q_row + (ptrdiff_t)head * a->q_head;
    sums->rows = sums->at.n * sums->heads;
    sums->q = q;
    sums->q_row = a->q_row;
    if (sums->heads > 1) {
        sums->q = gathered;
        sums->q_row = a->d;
        for (int r = 0; r < sums->rows; r++)
            memcpy(gathered + (ptrdiff_t)r * a->d,
                   q + (ptrdiff_t)(r / sums->heads) * a->q_row + (ptrdiff_t)(r % sums->heads) * a->q_head,
                   (size_t)a->d * sizeof *q);
    }
    memset(sums->out, 0, (size_t)sums->rows * (size_t)a->d * sizeof(float));
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

/* n tiles from `first` on, of the heads of unit `unit`: z = softmax(q K^T / sqrt(d)) V, online over blocks. */
static void tiles_attend(const attend_job *job, const il_segment *segment, int unit, int first, int n, float *scratch) {
    const il_attention *a = &job->a;
    const ptrdiff_t room = (ptrdiff_t)(IL_KEY_BLOCK * il_pad16_size((size_t)a->d));
    int kv_head = unit / job->units, from = unit % job->units * job->share, head = kv_head * a->group + from;
    float *scores = scratch, *out = scratch + SCORES, *gathered = out + GROUP_MAX * room;
    tile_sums tiles[GROUP_MAX];
    for (int i = 0; i < n; i++) {
        tiles[i].at = il_tile_at(segment, segment->state->position, first + i);
        tiles[i].heads = a->group - from < job->share ? a->group - from : job->share;
        tiles[i].out = out + i * room;
        tile_begin(job, &tiles[i], head, gathered + i * room);
    }
    for (uint64_t block = 0; block <= tiles[n - 1].at.block; block++) {
        const float *keys = il_state_keys(segment->state, block * IL_KEY_BLOCK, job->layer, kv_head);
        for (int i = 0; i < n; i++)
            if (block <= tiles[i].at.block) tile_add(job, &tiles[i], block, keys, scores);
    }
    for (int i = 0; i < n; i++) tile_end(job, &tiles[i], head);
}

static void keys_run(void *context, int item, int worker) {
    const attend_job *job = context;
    (void)worker;
    keys_store(job->pass, job->layer, &job->pass->segments[item / job->a.kv_heads], item % job->a.kv_heads);
}

static int groups_of(const il_segment *segment, int group) {
    return (il_tiles_of(segment->state->position, segment->n) + group - 1) / group;
}

/* Item order: segment, group of tiles from the last (the longest) down, unit of heads. */
static void attend_run(void *context, int item, int worker) {
    const attend_job *job = context;
    const il_pass *pass = job->pass;
    const il_segment *segment = pass->segments;
    int units = job->a.kv_heads * job->units, groups = groups_of(segment, job->group);
    while (item >= groups * units) {
        item -= groups * units;
        groups = groups_of(++segment, job->group);
    }
    int first = (groups - 1 - item / units) * job->group;
    int tiles = il_tiles_of(segment->state->position, segment->n) - first;
    if (job->fused) keys_store(pass, job->layer, segment, item % units);
    tiles_attend(job, segment, item % units, first, tiles < job->group ? tiles : job->group,
                 pass->work->scratch + (size_t)worker * pass->work->scratch_floats);
}

/* As many heads share a tile as have room in it, if threads do not go idle for it. */
static void share_heads(attend_job *job) {
    const il_pass *pass = job->pass;
    int threads = il_pool_threads(pass->model->engine->pool), most = 1, group = job->a.group;
    for (int i = 0; i < pass->n_segments; i++)
        if (pass->segments[i].n > most) most = pass->segments[i].n;
    job->share = most < IL_KEY_BLOCK ? IL_KEY_BLOCK / most : 1;
    if (job->share > group) job->share = group;
    while (job->share > 1 && pass->n_segments * job->a.kv_heads * ((group + job->share - 1) / job->share) < threads)
        job->share = (job->share + 1) / 2;
    job->units = (group + job->share - 1) / job->share;
}

static void forward(const il_pass *pass, int layer) {
    il_model *model = pass->model;
    const il_layer *at = &model->layers[layer];
    const il_acts *acts = il_pass_acts(pass, layer);
    attend_job job = {.pass = pass, .layer = layer, .a = il_attention_of(model)};
    int tiles = 0, most = 0, items = 0;
    il_dense_forward(pass, &at->wq, pass->tokens, acts->xn, acts->xqk);
    il_dense_forward(pass, &at->wk, pass->tokens, acts->xn, acts->xk);
    il_dense_forward(pass, &at->wv, pass->tokens, acts->xn, acts->v);
    share_heads(&job);
    int units = job.a.kv_heads * job.units;
    for (int i = 0; i < pass->n_segments; i++) {
        int own = il_tiles_of(pass->segments[i].state->position, pass->segments[i].n);
        tiles += own;
        if (own > most) most = own;
    }
    job.group = tiles * units / (ITEMS * il_pool_threads(model->engine->pool));
    job.group = job.group < 1 ? 1 : job.group > GROUP_MAX ? GROUP_MAX : job.group;
    for (int i = 0; i < pass->n_segments; i++) items += groups_of(&pass->segments[i], job.group) * units;
    /* Where all queries that read a head of keys are one tile, it stores them: decode then needs one hand-over between
     * threads. */
    job.fused = most <= 1 && job.units == 1;
    if (!job.fused) il_pool_run(model->engine->pool, pass->n_segments * job.a.kv_heads, keys_run, &job);
    il_pool_run(model->engine->pool, items, attend_run, &job);
    il_dense_forward(pass, &at->wo, pass->tokens, acts->zhat, pass->work->mix);
    il_bias_forward(pass, at->bo, at->wo.out, pass->work->mix);
}

/* ---- what a sequence keeps: a KV cache ---- */

static size_t page_floats(const il_model *model, int layer) {
    (void)layer;
    return 2 * (size_t)IL_KV_PAGE * (size_t)il_attention_of(model).k_row;
}

static void keep(il_arena *arena, const il_state *state, int layer, il_kept *kept) {
    (void)arena, (void)state, (void)layer, (void)kept; /* nothing of constant size */
}

/* ---- state files: keys and values [heads of keys, position, d] ---- */

static const char keys_name[] = "keys", values_name[] = "values";

static int tensors(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list) {
    il_attention a = il_attention_of(model);
    size_t heads = (size_t)a.kv_heads, d = (size_t)a.d;
    (void)layer;
    list[0] = (il_kept_tensor){keys_name, 3, {heads, (size_t)extent->position, d}};
    list[1] = (il_kept_tensor){values_name, 3, {heads, (size_t)extent->position, d}};
    return 2;
}

static il_status visit(const il_state *s, int layer, const il_kept_tensor *tensor, il_visitor *v) {
    il_attention a = il_attention_of(s->model);
    size_t d = (size_t)a.d;
    for (int h = 0; h < a.kv_heads; h++)
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
    return (size_t)il_config_head_width(&model->config);
}

const il_mixer il_mixer_attention = {.declare = declare,
                                     .acts = take_acts,
                                     .scratch = scratch,
                                     .scratch_backward = scratch_backward,
                                     .begin = begin,
                                     .forward = forward,
                                     .backward = il_attention_backward,
                                     .keep = keep,
                                     .page_floats = page_floats,
                                     .tensors = tensors,
                                     .visit = visit,
                                     .room = room};
