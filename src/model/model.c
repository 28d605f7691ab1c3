/* model.c: what every pass asks of an il_model: its tensors, products by its weights, and what is derived from the
 * weights (packs, the tok table, scales of norms, RoPE angles). Making one is build.c's. */
#include "model/model.h"

#include <string.h>

#include "base/error.h"
#include "base/maths.h"
#include "engine/gemm.h"

/* ---- looking ---- */

const il_config *il_model_config(const il_model *model) { return &model->config; }

size_t il_model_tensor_count(const il_model *model) { return model->table.n; }

static void describe(const il_model *model, const il_table_entry *entry, il_tensor *tensor) {
    *tensor = (il_tensor){.name = entry->name, .rank = entry->rank, .count = entry->count, .type = entry->type};
    if (entry->type == IL_WEIGHTS_F32 && model->weights) tensor->data = model->weights + entry->offset;
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

il_status il_model_tensor_rows(const il_model *model, size_t index, size_t from, size_t n, float *rows,
                               il_error *error) {
    if (index >= model->table.n)
        return il_fail(error, IL_ERR_ARG, "tensor %zu: the model has %zu", index, model->table.n);
    const il_table_entry *entry = &model->table.entries[index];
    size_t width = entry->count / entry->shape[0];
    if (from > entry->shape[0] || n > entry->shape[0] - from)
        return il_fail(error, IL_ERR_ARG, "tensor %s: rows %zu to %zu are asked for, of %zu", entry->name, from,
                       from + n, entry->shape[0]);
    il_lp_matrix matrix = il_model_lp(model, entry);
    if (entry->type == IL_WEIGHTS_F32)
        memcpy(rows, model->weights + entry->offset + from * width, n * width * sizeof *rows);
    else
        for (size_t i = 0; i < n; i++) il_lp_get(&matrix, from + i, rows + i * width);
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
    unsigned char *panels = model->lp ? model->lp + entry->offset : NULL; /* NULL + 0 is undefined in C */
    return (il_lp_matrix){entry->type, (int)entry->shape[0], (int)entry->shape[1], panels};
}

il_status il_model_check_trainable(const il_model *model, il_error *error) {
    if (model->config.weights == IL_WEIGHTS_F32) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED,
                   "the model's weights are %s: only f32 weights can be trained; train first, convert afterwards",
                   il_weight_type_name(model->config.weights));
}

/* ---- what is derived from the weights ---- */

enum { LAYER_LINEARS = 10, PACK_PIECES = 8 }; /* a matrix is packed in so many pieces */

/* Matrix i of the model: layer by layer, the output head last. */
static il_dense *linear_at(il_model *model, int i) {
    il_layer *layer = &model->layers[i / LAYER_LINEARS % model->config.layers];
    if (i == LAYER_LINEARS * model->config.layers) return &model->head;
    il_dense *const all[LAYER_LINEARS] = {&layer->wq, &layer->wk,    &layer->wv, &layer->wo, &layer->wg,
                                          &layer->lr, &layer->decay, &layer->w1, &layer->w2, &layer->w3};
    return all[i % LAYER_LINEARS];
}

int il_model_most_inputs(const il_model *model) {
    int most = model->config.width;
    for (int i = 0; i < model->config.layers; i++) {
        const il_layer *layer = &model->layers[i];
        if (layer->wo.in > most) most = layer->wo.in;
        if (layer->w2.in > most) most = layer->w2.in;
    }
    return most;
}

int il_model_most_width(const il_model *model) {
    int most = il_model_most_inputs(model);
    for (int i = 0; i < model->config.layers; i++)
        if (model->layers[i].wq.out > most) most = model->layers[i].wq.out;
    return most;
}

static void pack_piece(void *context, int item, int worker) {
    il_model *model = context;
    const il_dense *l = linear_at(model, item / PACK_PIECES);
    size_t in = (size_t)l->in, from, to;
    (void)worker;
    if (l->at == IL_NONE) return;
    il_panel_piece((size_t)l->out, (size_t)(item % PACK_PIECES), PACK_PIECES, &from, &to);
    if (from == to) return;
    model->engine->kernels->pack((int)(to - from), l->in, model->weights + l->at + from * in, 1, (ptrdiff_t)in,
                                 model->packed + l->packed + from * in);
}

static int linears_of(const il_model *model) { return LAYER_LINEARS * model->config.layers + 1; }

/* Says where they lie. */
static size_t lay_out_packs(il_model *model) {
    size_t floats = 0;
    for (int i = 0; i < linears_of(model); i++) {
        il_dense *l = linear_at(model, i);
        if (l->at == IL_NONE) continue;
        l->packed = floats;
        floats += il_packed_floats(l->out, l->in);
    }
    return floats;
}

size_t il_model_packed_bytes(il_model *model) {
    return (model->packed ? model->packed_floats : lay_out_packs(model)) * sizeof(float);
}

static il_status refresh_packs(il_model *model, il_error *error) {
    int linears = linears_of(model);
    if (!model->packed) {
        size_t floats = lay_out_packs(model);
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
        if (!learned) continue; /* no TTT layer */
        for (int i = 0; i < b; i++) {
            float rate = 1.0f / (float)(i + 1) + learned[i];
            model->tok[l * b + i] = rate > 0 ? rate : 0;
        }
    }
    model->tok_version = model->version;
}

static void refresh_norm(il_model *model, const il_norm *norm) {
    if (norm->w == IL_NONE) return;
    for (int i = 0; i < norm->n; i++)
        model->norm_scales[norm->scale + (size_t)i] = 1.0f + model->weights[norm->w + (size_t)i];
}

static void refresh_norms(il_model *model) {
    for (int l = 0; l < model->config.layers; l++) {
        const il_layer *layer = &model->layers[l];
        const il_norm *const all[] = {&layer->conv_norm, &layer->seq_norm, &layer->ffn_norm, &layer->q_norm,
                                      &layer->k_norm};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) refresh_norm(model, all[i]);
    }
    refresh_norm(model, &model->norm);
    model->norm_version = model->version;
}

il_status il_model_refresh(il_model *model, int packs, il_error *error) {
    if (model->tok && model->tok_version != model->version) refresh_tok(model);
    if (model->norm_scales && model->norm_version != model->version) refresh_norms(model);
    return packs && model->packed_version != model->version ? refresh_packs(model, error) : IL_OK;
}

void il_model_product(const il_model *model, const il_dense *dense, int m, const float *x, ptrdiff_t ldx,
                      void *quantized, float *y, ptrdiff_t ldy) {
    il_matrix a = {x, ldx, 1};
    int out = dense->out, in = dense->in;
    il_lp_matrix lp = {dense->type, out, in, model->lp ? model->lp + dense->packed : NULL};
    if (dense->type == IL_WEIGHTS_BF16)
        il_gemm_bf16(model->engine, m, out, in, a, (const void *)lp.panels, y, ldy);
    else if (dense->type != IL_WEIGHTS_F32)
        il_gemm_quantized(model->engine, m, x, ldx, &lp, quantized, y, ldy);
    else if (model->packed_version == model->version)
        il_gemm_packed(model->engine, m, out, in, a, model->packed + dense->packed, y, ldy, 0);
    else
        il_gemm(model->engine, m, out, in, a, (il_matrix){model->weights + dense->at, 1, in}, y, ldy, 0);
}

int il_model_is_recurrent(const il_model *model) {
    for (int i = 0; i < model->config.layers; i++)
        if (model->layers[i].heads) return 1;
    return 0;
}

il_inner_head il_model_inner_head(const il_model *model, int index, int head, float inner_lr) {
    const il_config *c = &model->config;
    const il_layer *layer = &model->layers[index];
    int d = c->width / c->heads, b = c->mini_batch;
    il_inner_head h = {
        .kernels = model->engine->kernels, .d = d, .b = b, .tok = model->tok + (size_t)index * (size_t)b};
    h.lr_scale = (float)c->ttt_base_lr * inner_lr / (float)d;
    for (int i = 0; i < layer->n_rule_tensors; i++) {
        const il_rule_tensor *t = &layer->rule_tensors[i];
        size_t slice = (size_t)(t->rows ? t->rows : 1) * (size_t)t->columns;
        h.param[i] = model->weights + layer->rule_at[i] + (size_t)head * slice;
    }
    return h;
}

/* Frequency m of the first d numbers of a head, those that turn. */
static double rope_frequency(const il_config *config, int d, int m) {
    return il_exp_d(-2.0 * m / d * il_log_d(config->rope_theta));
}

/* For longer texts: waves of which many fit into the texts of before stay, those that did not fit are stretched, and
 * in between a part of each. */
static double rope_scaled(const il_config *c, double frequency) {
    const double turn = 6.283185307179586, low = c->rope_low_frequency, high = c->rope_high_frequency;
    if (c->rope_scaling == IL_ROPE_PLAIN) return frequency;
    double stretched = frequency / c->rope_factor, waves = c->rope_positions * frequency / turn;
    if (c->rope_scaling == IL_ROPE_LINEAR || waves < low) return stretched;
    if (waves > high) return frequency;
    double share = (waves - low) / (high - low);
    return (1 - share) * stretched + share * frequency;
}

/* They are rounded to single precision, as in the official code; the angles are not. */
void il_rope_ttt_frequencies(const il_config *config, float *frequencies) {
    int d = config->width / config->heads;
    for (int m = 0; m < d / 2; m++) frequencies[m] = (float)rope_frequency(config, d, m);
}

void il_rope_frequencies(const il_config *config, float *frequencies) {
    int d = il_config_rotary_width(config);
    for (int m = 0; m < d / 2; m++) frequencies[m] = (float)rope_scaled(config, rope_frequency(config, d, m));
}

void il_rope_angles(int n, const float *frequencies, uint64_t position, float *cosine, float *sine) {
    double s, c;
    for (int m = 0; m < n; m++) {
        il_sincos_d((double)position * (double)frequencies[m], &s, &c);
        cosine[m] = (float)c;
        sine[m] = (float)s;
    }
}
