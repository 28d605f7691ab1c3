/* model.c: an il_model in memory: which tensors a config declares and where they lie, its references, and
 * what is derived from the weights (packs, the tok table, RoPE angles). Knows nothing of files. */
#include "model/model.h"

#include <string.h>

#include "base/error.h"
#include "base/maths.h"
#include "engine/gemm.h"
#include "model/fast_head.h"
#include "model/forward.h"

/* ---- declaring tensors ---- */

/* Adds tensors until one fails; the first failure stays. */
typedef struct declarer {
    il_model *model;
    int layer;
    il_status status;
    il_error *error;
} declarer;

static size_t declare(declarer *d, il_init init, int rank, const size_t *shape, const char *prefix, const char *name) {
    size_t at = IL_NONE;
    if (d->status != IL_OK) return at;
    if (d->layer < 0)
        d->status = il_table_add(&d->model->table, &at, init, rank, shape, d->error, "%s%s", prefix, name);
    else
        d->status = il_table_add(&d->model->table, &at, init, rank, shape, d->error, "model.layers.%d.%s%s", d->layer,
                                 prefix, name);
    return at;
}

static size_t declare_vector(declarer *d, il_init init, int n, const char *prefix, const char *name) {
    return declare(d, init, 1, (size_t[]){(size_t)n}, prefix, name);
}

static il_dense declare_matrix(declarer *d, il_weight_type type, int out, int in, const char *prefix,
                               const char *name) {
    il_model *model = d->model;
    il_dense l = {.out = out, .in = in, .type = type};
    l.at = declare(d, IL_INIT_NORMAL, 2, (size_t[]){(size_t)out, (size_t)in}, prefix, name);
    if (d->status != IL_OK) return l;
    model->table.entries[model->table.n - 1].matrix = 1;
    if (l.type != IL_WEIGHTS_F32) {
        size_t bytes = il_lp_bytes(l.type, (size_t)out, (size_t)in);
        l.at = IL_NONE;
        l.packed = model->lp_bytes;
        il_table_set_apart(&model->table, l.type, l.packed);
        model->lp_bytes += (bytes + IL_ALIGN - 1) / IL_ALIGN * IL_ALIGN;
    }
    return l;
}

static il_dense declare_linear(declarer *d, int out, int in, const char *prefix, const char *name) {
    return declare_matrix(d, d->model->config.weights, out, in, prefix, name);
}

/* Embedding and head [vocab, width] are the widest outputs and mean most to the loss: beside int4 they are int8. */
static il_dense declare_vocabulary(declarer *d, const char *prefix) {
    const il_config *c = &d->model->config;
    il_weight_type type = c->weights == IL_WEIGHTS_INT4 ? IL_WEIGHTS_INT8 : c->weights;
    return declare_matrix(d, type, c->vocab_size, c->width, prefix, "weight");
}

/* A depthwise convolution: weight [D, 1, taps] and bias [D]. */
static void declare_conv(declarer *d, const char *prefix, const char *weight, const char *bias, size_t *w_at,
                         size_t *b_at) {
    const il_config *c = &d->model->config;
    size_t shape[] = {(size_t)c->width, 1, (size_t)c->conv_kernel};
    *w_at = declare(d, IL_INIT_CONV, 3, shape, prefix, weight);
    *b_at = declare_vector(d, IL_INIT_ZEROS, c->width, prefix, bias);
}

static void declare_attention(declarer *d, il_layer *layer) {
    static const char block[] = "self_attn.";
    int width = d->model->config.width;
    layer->seq_norm = declare_vector(d, IL_INIT_ONES, width, "input_layernorm.", "weight");
    layer->wq = declare_linear(d, width, width, block, "q_proj.weight");
    layer->wk = declare_linear(d, width, width, block, "k_proj.weight");
    layer->wv = declare_linear(d, width, width, block, "v_proj.weight");
    layer->wo = declare_linear(d, width, width, block, "o_proj.weight");
    layer->ffn_norm = declare_vector(d, IL_INIT_ONES, width, "post_attention_layernorm.", "weight");
}

static void declare_ttt(declarer *d, il_layer *layer) {
    static const char block[] = "seq_modeling_block.";
    const il_model *model = d->model;
    const il_config *c = &model->config;
    size_t width = (size_t)c->width, heads = (size_t)c->heads;
    if (c->pre_conv) {
        layer->conv_norm = declare_vector(d, IL_INIT_ONES, c->width, "conv.norm.", "weight");
        declare_conv(d, "conv.conv.", "weight", "bias", &layer->conv_w, &layer->conv_b);
    }
    layer->seq_norm = declare_vector(d, IL_INIT_ONES, c->width, "seq_norm.", "weight");
    layer->wq = declare_linear(d, c->width, c->width, block, "q_proj.weight");
    if (!c->share_qk) layer->wk = declare_linear(d, c->width, c->width, block, "k_proj.weight");
    layer->wv = declare_linear(d, c->width, c->width, block, "v_proj.weight");
    layer->wo = declare_linear(d, c->width, c->width, block, "o_proj.weight");
    if (c->use_gate) layer->wg = declare_linear(d, c->width, c->width, block, "g_proj.weight");
    if (c->share_qk) {
        declare_conv(d, block, "conv_q.weight", "conv_q.bias", &layer->conv_q_w, &layer->conv_q_b);
        declare_conv(d, block, "conv_k.weight", "conv_k.bias", &layer->conv_k_w, &layer->conv_k_b);
    }
    for (int i = 0; i < model->n_rule_tensors; i++) {
        const il_rule_tensor *t = &model->rule_tensors[i];
        size_t shape[] = {heads, (size_t)(t->rows ? t->rows : t->columns), (size_t)t->columns};
        layer->rule[i] = declare(d, t->init, t->rows ? 3 : 2, shape, block, t->name);
    }
    layer->lr = (il_dense){.out = c->heads, .in = c->width};
    layer->lr.at = declare(d, IL_INIT_NORMAL, 3, (size_t[]){heads, 1, width}, block, "learnable_ttt_lr_weight");
    layer->lr_b = declare(d, IL_INIT_ZEROS, 2, (size_t[]){heads, 1}, block, "learnable_ttt_lr_bias");
    layer->token_idx = declare_vector(d, IL_INIT_ZEROS, c->mini_batch, block, "learnable_token_idx");
    layer->post_norm_w = declare_vector(d, IL_INIT_ONES, c->width, block, "post_norm.weight");
    layer->post_norm_b = declare_vector(d, IL_INIT_ZEROS, c->width, block, "post_norm.bias");
    layer->ffn_norm = declare_vector(d, IL_INIT_ONES, c->width, "ffn_norm.", "weight");
}

static il_status declare_all(il_model *model, il_error *error) {
    const il_config *c = &model->config;
    declarer d = {.model = model, .layer = -1, .error = error};
    model->embedding = declare_vocabulary(&d, "model.embed_tokens.");
    model->embed = model->embedding.at;
    model->head = model->embedding;
    for (int i = 0; i < c->layers; i++) {
        il_layer *layer = &model->layers[i];
        d.layer = i;
        memset(layer, 0xff, sizeof *layer); /* IL_NONE everywhere */
        if (model->rule)
            declare_ttt(&d, layer);
        else
            declare_attention(&d, layer);
        layer->w1 = declare_linear(&d, c->ffn_width, c->width, "mlp.", "gate_proj.weight");
        layer->w3 = declare_linear(&d, c->ffn_width, c->width, "mlp.", "up_proj.weight");
        layer->w2 = declare_linear(&d, c->width, c->ffn_width, "mlp.", "down_proj.weight");
    }
    d.layer = -1;
    model->norm = declare_vector(&d, IL_INIT_ONES, c->width, "model.norm.", "weight");
    if (!c->tie_word_embeddings) model->head = declare_vocabulary(&d, "lm_head.");
    return d.status;
}

/* ---- making and releasing ---- */

/* cos and sin of the angles inside a mini-batch. */
static il_status make_rope(il_model *model, il_error *error) {
    const il_config *c = &model->config;
    size_t half = (size_t)(c->width / c->heads / 2), b = (size_t)c->mini_batch;
    model->rope_cos = il_alloc_raw(&model->engine->memory, b * half, sizeof(float));
    model->rope_sin = il_alloc_raw(&model->engine->memory, b * half, sizeof(float));
    model->tok = il_alloc_raw(&model->engine->memory, (size_t)c->layers * b, sizeof(float));
    if (!model->rope_cos || !model->rope_sin || !model->tok)
        return il_fail(error, IL_ERR_NOMEM, "out of memory for the tables of a model");
    for (size_t p = 0; p < b; p++) il_rope_angles(c, p, model->rope_cos + p * half, model->rope_sin + p * half);
    return IL_OK;
}

il_status il_model_declare(il_engine *engine, const il_config *config, il_model **out, il_error *error) {
    il_status status;
    *out = NULL;
    IL_TRY(il_config_check(config, error));
    const il_allocator *memory = &engine->memory;
    il_model *model = il_alloc(memory, 1, sizeof *model);
    if (!model) return il_fail(error, IL_ERR_NOMEM, "out of memory for a model");
    atomic_init(&model->references, 1);
    model->engine = engine;
    model->config = *config;
    model->version = 1;
    pthread_mutex_init(&model->lock, NULL); /* cannot fail on Linux without attributes */
    pthread_mutex_init(&model->fingerprint_lock, NULL);
    il_table_begin(memory, &model->table);
    model->fast_floats = il_fast_head_floats(config);
    model->rule = il_rule_of(config->mixer);
    int d = config->width / config->heads;
    if (model->rule) {
        model->shape = model->rule->shape(d, config->mini_batch);
        model->n_rule_tensors = model->rule->tensors(d, model->rule_tensors);
    }
    model->layers = il_alloc(memory, (size_t)config->layers, sizeof *model->layers);
    if (!model->layers) {
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for %d layers", config->layers);
        goto fail;
    }
    status = declare_all(model, error);
    if (status == IL_OK && model->rule) status = make_rope(model, error);
    if (status != IL_OK) goto fail;
    *out = model;
    return IL_OK;
fail:
    il_model_unref(model);
    return status;
}

il_status il_model_allocate(il_model *model, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    model->weights = il_alloc(memory, model->table.floats, sizeof(float));
    const il_config *c = &model->config;
    if (model->lp_bytes) model->lp = il_alloc(memory, model->lp_bytes, 1);
    if (c->fast_head_size) {
        model->fast_projection = il_alloc_raw(memory, (size_t)c->width * (size_t)c->fast_head_size, sizeof(float));
        if (model->fast_projection) il_fast_head_projection(c->width, c->fast_head_size, model->fast_projection);
    }
    if (model->weights && (model->lp || !model->lp_bytes) && (model->fast_projection || !c->fast_head_size))
        return IL_OK;
    return il_fail(error, IL_ERR_NOMEM, "out of memory for %llu parameters",
                   (unsigned long long)il_model_parameters(model));
}

il_status il_model_new(il_engine *engine, const il_config *config, il_model **model, il_error *error) {
    IL_TRY(il_model_declare(engine, config, model, error));
    il_status status = il_model_allocate(*model, error);
    if (status == IL_OK) return IL_OK;
    il_model_unref(*model);
    *model = NULL;
    return status;
}

enum { INIT_PIECES = 16 }; /* a tensor is filled in so many */

typedef struct filling {
    const il_model *model;
    uint64_t seed;
} filling;

static void fill_piece(void *context, int item, int worker) {
    const filling *f = context;
    const il_table *table = &f->model->table;
    size_t tensor = (size_t)item / INIT_PIECES, piece = (size_t)item % INIT_PIECES,
           count = table->entries[tensor].count;
    size_t from = count / 2 * piece / INIT_PIECES * 2, to = count / 2 * (piece + 1) / INIT_PIECES * 2;
    (void)worker;
    il_table_init_part(table, f->seed, tensor, from, piece + 1 < INIT_PIECES ? to : count, f->model->weights);
}

il_status il_model_init(il_engine *engine, const il_config *config, uint64_t seed, il_model **model, il_error *error) {
    *model = NULL;
    if (config->weights != IL_WEIGHTS_F32)
        return il_fail(error, IL_ERR_ARG, "new weights are f32, not %s: convert the model they make",
                       il_weight_type_name(config->weights));
    IL_TRY(il_model_new(engine, config, model, error));
    filling f = {*model, seed};
    il_pool_run(engine->pool, (int)(*model)->table.n * INIT_PIECES, fill_piece, &f);
    return IL_OK;
}

il_model *il_model_ref(il_model *model) {
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void il_model_unref(il_model *model) {
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) return;
    const il_allocator *memory = &model->engine->memory;
    if (model->work) il_workspace_close(model->work);
    il_free(memory, model->work);
    il_free(memory, model->fast_projection);
    il_free(memory, model->rope_sin);
    il_free(memory, model->rope_cos);
    il_free(memory, model->tok);
    il_free(memory, model->packed);
    il_free(memory, model->lp);
    il_free(memory, model->weights);
    il_free(memory, model->layers);
    il_table_end(&model->table);
    pthread_mutex_destroy(&model->fingerprint_lock);
    pthread_mutex_destroy(&model->lock);
    il_free(memory, model);
}

/* ---- looking ---- */

const il_config *il_model_config(const il_model *model) { return &model->config; }

size_t il_model_tensor_count(const il_model *model) { return model->table.n; }

static void describe(const il_model *model, const il_table_entry *entry, il_tensor *tensor) {
    *tensor = (il_tensor){.name = entry->name, .rank = entry->rank, .count = entry->count, .type = entry->type};
    if (entry->type == IL_WEIGHTS_F32) tensor->data = model->weights + entry->offset;
    memcpy(tensor->shape, entry->shape, sizeof tensor->shape);
}

il_status il_model_tensor_at(const il_model *model, size_t index, il_tensor *tensor, il_error *error) {
    *tensor = (il_tensor){0};
    if (index >= model->table.n)
        return il_fail(error, IL_ERR_ARG, "tensor %zu: the model has %zu", index, model->table.n);
    describe(model, &model->table.entries[index], tensor);
    return IL_OK;
}

il_status il_model_tensor(const il_model *model, const char *name, il_tensor *tensor, il_error *error) {
    const il_table_entry *entry = il_table_find(&model->table, name);
    *tensor = (il_tensor){0};
    if (!entry) return il_fail(error, IL_ERR_ARG, "tensor %.150s: the model has none of that name", name);
    describe(model, entry, tensor);
    return IL_OK;
}

uint64_t il_model_parameters(const il_model *model) {
    uint64_t sum = 0;
    for (size_t i = 0; i < model->table.n; i++) sum += model->table.entries[i].count;
    return sum;
}

const char *il_weight_type_name(il_weight_type type) {
    switch (type) {
    case IL_WEIGHTS_F32: return "f32";
    case IL_WEIGHTS_BF16: return "bf16";
    case IL_WEIGHTS_INT8: return "int8";
    case IL_WEIGHTS_INT4: return "int4";
    }
    return "?";
}

il_lp_matrix il_model_lp(const il_model *model, const il_table_entry *entry) {
    return (il_lp_matrix){entry->type, (int)entry->shape[0], (int)entry->shape[1], model->lp + entry->offset};
}

il_status il_model_check_trainable(const il_model *model, il_error *error) {
    if (model->config.weights == IL_WEIGHTS_F32) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED,
                   "the model's weights are %s: only f32 weights can be trained; train first, convert afterwards",
                   il_weight_type_name(model->config.weights));
}

/* ---- what is derived from the weights ---- */

enum { LAYER_LINEARS = 9, PACK_PIECES = 8 }; /* a matrix is packed in so many pieces */

/* Matrix i of the model: layer by layer, the output head last. */
static il_dense *linear_at(il_model *model, int i) {
    il_layer *layer = &model->layers[i / LAYER_LINEARS % model->config.layers];
    if (i == LAYER_LINEARS * model->config.layers) return &model->head;
    il_dense *const all[LAYER_LINEARS] = {&layer->wq, &layer->wk, &layer->wv, &layer->wo, &layer->wg,
                                          &layer->lr, &layer->w1, &layer->w2, &layer->w3};
    return all[i % LAYER_LINEARS];
}

static void pack_piece(void *context, int item, int worker) {
    il_model *model = context;
    const il_dense *l = linear_at(model, item / PACK_PIECES);
    size_t panels = ((size_t)l->out + IL_LANES - 1) / IL_LANES, piece = (size_t)(item % PACK_PIECES),
           in = (size_t)l->in;
    size_t from = panels * piece / PACK_PIECES * IL_LANES, to = panels * (piece + 1) / PACK_PIECES * IL_LANES;
    (void)worker;
    if (l->at == IL_NONE || from == to) return;
    if (to > (size_t)l->out) to = (size_t)l->out;
    model->engine->kernels->pack((int)(to - from), l->in, model->weights + l->at + from * in, 1, (ptrdiff_t)in,
                                 model->packed + l->packed + from * in);
}

static il_status refresh_packs(il_model *model, il_error *error) {
    int linears = LAYER_LINEARS * model->config.layers + 1;
    if (!model->packed) {
        size_t floats = 0;
        for (int i = 0; i < linears; i++) {
            il_dense *l = linear_at(model, i);
            if (l->at == IL_NONE) continue;
            l->packed = floats;
            floats += il_packed_floats(l->out, l->in);
        }
        model->packed = il_alloc_raw(&model->engine->memory, floats, sizeof(float));
        if (!model->packed)
            return il_fail(error, IL_ERR_NOMEM, "out of memory for %zu bytes of packed weights",
                           floats * sizeof(float));
        model->packed_floats = floats;
    }
    il_pool_run(model->engine->pool, linears * PACK_PIECES, pack_piece, model);
    model->packed_version = model->version;
    return IL_OK;
}

static void refresh_tok(il_model *model) {
    int b = model->config.mini_batch;
    for (int l = 0; l < model->config.layers; l++) {
        const float *learned = il_weight(model, model->layers[l].token_idx);
        for (int i = 0; i < b; i++) {
            float rate = 1.0f / (float)(i + 1) + learned[i];
            model->tok[l * b + i] = rate > 0 ? rate : 0;
        }
    }
    model->tok_version = model->version;
}

il_status il_model_refresh(il_model *model, int packs, il_error *error) {
    if (model->rule && model->tok_version != model->version) refresh_tok(model);
    return packs && model->packed_version != model->version ? refresh_packs(model, error) : IL_OK;
}

void il_dense_forward(const il_model *model, const il_dense *l, int m, const float *x, ptrdiff_t ldx, float *y,
                      ptrdiff_t ldy) {
    il_matrix a = {x, ldx, 1};
    il_lp_matrix narrow = {l->type, l->out, l->in, model->lp ? model->lp + l->packed : NULL};
    if (l->type == IL_WEIGHTS_BF16)
        il_gemm_bf16(model->engine, m, l->out, l->in, a, (const void *)narrow.panels, y, ldy);
    else if (l->type != IL_WEIGHTS_F32)
        il_gemm_quantized(model->engine, m, x, ldx, &narrow, model->work->quantized, y, ldy);
    else if (model->packed_version == model->version)
        il_gemm_packed(model->engine, m, l->out, l->in, a, model->packed + l->packed, NULL, y, ldy, 0);
    else
        il_gemm(model->engine, m, l->out, l->in, a, (il_matrix){model->weights + l->at, 1, l->in}, NULL, y, ldy, 0);
}

void il_model_embedding(const il_model *model, int token, float *x) {
    const il_dense *l = &model->embedding;
    if (l->type == IL_WEIGHTS_F32) {
        memcpy(x, model->weights + l->at + (size_t)token * (size_t)l->in, (size_t)l->in * sizeof *x);
        return;
    }
    il_lp_matrix rows = {l->type, l->out, l->in, model->lp + l->packed};
    il_lp_get(&rows, (size_t)token, x);
}

/* The frequency is rounded to single precision first, as in the official code; the angle is not. */
void il_rope_angles(const il_config *config, uint64_t position, float *cosine, float *sine) {
    int d = config->width / config->heads;
    double log_theta = il_log_d(config->rope_theta), s, c;
    for (int m = 0; m < d / 2; m++) {
        float frequency = (float)il_exp_d(-2.0 * m / d * log_theta);
        il_sincos_d((double)position * (double)frequency, &s, &c);
        cosine[m] = (float)c;
        sine[m] = (float)s;
    }
}
