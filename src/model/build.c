/* build.c: see build.h. */
#include "model/build.h"

#include "base/error.h"
#include "inner/rules.h"
#include "model/config_fields.h"
#include "model/fast_head.h"
#include "model/mixers.h"
#include "model/workspace.h"
#include <stdio.h>
#include <string.h>

/* ---- tensors ---- */

/* Embedding and head [vocab, width] are the widest outputs and mean most to the loss: beside int4 they are int8. */
static il_dense declare_vocabulary(il_declarer *d, const char *prefix) {
    const il_config *c = &d->model->config;
    il_weight_type type = c->weights == IL_WEIGHTS_INT4 ? IL_WEIGHTS_INT8 : c->weights;
    return il_declare_dense_as(d, type, c->vocab_size, c->width, prefix, "weight");
}

/* What the kind of a layer decides, before its tensors are declared. */
static void begin_layer(il_model *model, il_layer *layer, il_mixer_kind kind) {
    const il_config *c = &model->config;
    int known = 0;
    memset(layer, 0xff, sizeof *layer); /* IL_NONE everywhere */
    layer->mixer = il_mixer_of(kind);
    layer->rule = il_rule_of(kind);
    layer->n_rule_tensors = 0;
    layer->heads = 0;
    layer->window = kind == IL_MIXER_SLIDING_ATTENTION ? c->sliding_window : 0;
    layer->shape = (il_rule_shape){0};
    if (layer->rule) {
        layer->heads = c->heads;
        layer->shape = layer->rule->shape(c->width / c->heads, c->mini_batch);
        layer->n_rule_tensors = layer->rule->tensors(c->width / c->heads, layer->rule_tensors);
    }
    for (int i = 0; i < model->n_mixers; i++) known |= model->mixers[i] == layer->mixer;
    if (!known) model->mixers[model->n_mixers++] = layer->mixer;
}

static il_status declare_all(il_model *model, il_error *error) {
    const il_config *c = &model->config;
    il_declarer d = {.model = model, .layer = -1, .error = error};
    model->embedding = declare_vocabulary(&d, "model.embed_tokens.");
    model->head = model->embedding;
    for (int k = 0; k < c->n_taps; k++) {
        char prefix[40];
        snprintf(prefix, sizeof prefix, "model.embed_taps.%d.", k);
        model->taps[k] = declare_vocabulary(&d, prefix);
    }
    for (int i = 0; i < c->layers; i++) {
        il_layer *layer = &model->layers[i];
        d.layer = i;
        begin_layer(model, layer, il_config_mixer(c, i));
        layer->begin = model->table.floats;
        layer->mixer->declare(&d, layer);
        layer->w1 = il_declare_dense(&d, c->ffn_width, c->width, "mlp.", "gate_proj.weight");
        layer->w3 = il_declare_dense(&d, c->ffn_width, c->width, "mlp.", "up_proj.weight");
        layer->w2 = il_declare_dense(&d, c->width, c->ffn_width, "mlp.", "down_proj.weight");
    }
    d.layer = -1;
    model->norm = il_declare_norm(&d, c->width, "model.norm.", "weight");
    if (!c->tie_word_embeddings) model->head = declare_vocabulary(&d, "lm_head.");
    return d.status;
}

/* ---- making and releasing ---- */

static float *table(const il_model *model, size_t floats) {
    return il_alloc_raw(&model->engine->memory, floats, sizeof(float));
}

/* What TTT layers read: cos and sin of the angles inside a mini-batch, and room for the tok table. */
static int make_ttt_tables(il_model *model) {
    const il_config *c = &model->config;
    float frequencies[IL_HEAD_WIDTH_MAX / 2];
    int half = c->width / c->heads / 2, b = c->mini_batch;
    model->rope_cos = table(model, (size_t)b * (size_t)half);
    model->rope_sin = table(model, (size_t)b * (size_t)half);
    model->tok = table(model, (size_t)c->layers * (size_t)b);
    if (!model->rope_cos || !model->rope_sin || !model->tok) return 0;
    il_rope_ttt_frequencies(c, frequencies);
    for (int p = 0; p < b; p++)
        il_rope_angles(half, frequencies, (uint64_t)p, model->rope_cos + p * half, model->rope_sin + p * half);
    return 1;
}

/* What is not in the tensors but follows from them and the config. */
static il_status make_tables(il_model *model, il_error *error) {
    const il_config *c = &model->config;
    int ttt = 0, made = 1;
    for (int i = 0; i < c->layers; i++) ttt |= model->layers[i].rule != NULL;
    if (ttt) made = make_ttt_tables(model);
    if (il_config_attends(c)) {
        model->rope_frequencies = table(model, (size_t)il_config_rotary_width(c) / 2);
        if (model->rope_frequencies) il_rope_frequencies(c, model->rope_frequencies);
        made = made && model->rope_frequencies;
    }
    if (model->norm_floats) {
        model->norm_scales = table(model, model->norm_floats);
        made = made && model->norm_scales;
    }
    return made ? IL_OK : il_fail(error, IL_ERR_NOMEM, "out of memory for the tables of a model");
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
    model->layers = il_alloc(memory, (size_t)config->layers, sizeof *model->layers);
    if (!model->layers) {
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for %d layers", config->layers);
        goto fail;
    }
    status = declare_all(model, error);
    if (status == IL_OK) status = make_tables(model, error);
    if (status != IL_OK) goto fail;
    *out = model;
    return IL_OK;
fail:
    il_model_unref(model);
    return status;
}

static il_status short_of_memory(const il_model *model, il_error *error) {
    return il_fail(error, IL_ERR_NOMEM, "out of memory for %llu parameters",
                   (unsigned long long)il_model_parameters(model));
}

/* What a fast head has beside the weights. */
static il_status make_projection(il_model *model, il_error *error) {
    const il_config *c = &model->config;
    if (!c->fast_head_size) return IL_OK;
    size_t n = (size_t)c->width * (size_t)c->fast_head_size;
    model->fast_projection = il_alloc_raw(&model->engine->memory, n, sizeof(float));
    if (!model->fast_projection) return short_of_memory(model, error);
    il_fast_head_projection(c->width, c->fast_head_size, model->fast_projection);
    return IL_OK;
}

il_status il_model_allocate(il_model *model, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    model->weights = il_alloc(memory, model->table.floats, sizeof(float));
    if (model->lp_bytes) model->lp = il_alloc(memory, model->lp_bytes, 1);
    if (!model->weights || (!model->lp && model->lp_bytes)) return short_of_memory(model, error);
    return make_projection(model, error);
}

il_status il_model_share(il_model *model, const il_model *owner, il_error *error) {
    model->owner = il_model_ref((il_model *)(uintptr_t)owner); /* only the count changes */
    model->weights = owner->weights;
    model->lp = owner->lp;
    return make_projection(model, error);
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
    float *rows; /* [threads, longest]: a row each of a matrix that is not fp32 */
    size_t longest;
} filling;

static void fill_piece(void *context, int item, int worker) {
    const filling *f = context;
    const il_table *table = &f->model->table;
    size_t tensor = (size_t)item / INIT_PIECES, piece = (size_t)item % INIT_PIECES;
    const il_table_entry *entry = &table->entries[tensor];
    size_t width = entry->count / entry->shape[0], from, to;
    il_panel_piece(entry->shape[0], piece, INIT_PIECES, &from, &to);
    if (entry->type == IL_WEIGHTS_F32) {
        il_table_init_range(table, f->seed, tensor, from * width, to * width,
                            f->model->weights + entry->offset + from * width);
        return;
    }
    il_lp_matrix matrix = il_model_lp(f->model, entry);
    float *x = f->rows + (size_t)worker * f->longest;
    for (size_t row = from; row < to; row++) {
        il_table_init_range(table, f->seed, tensor, row * width, (row + 1) * width, x);
        il_lp_put(f->model->engine->kernels, &matrix, row, x);
    }
}

il_status il_model_init(il_engine *engine, const il_config *config, uint64_t seed, il_model **model, il_error *error) {
    IL_TRY(il_model_new(engine, config, model, error));
    filling f = {.model = *model, .seed = seed, .longest = (size_t)il_model_most_inputs(*model)};
    f.rows = il_alloc_raw(&engine->memory, (size_t)il_pool_threads(engine->pool) * f.longest, sizeof(float));
    il_status status = IL_OK;
    if (f.rows)
        il_pool_run(engine->pool, (int)(*model)->table.n * INIT_PIECES, fill_piece, &f);
    else
        status = il_fail(error, IL_ERR_NOMEM, "out of memory for rows of %zu weights", f.longest);
    il_free(&engine->memory, f.rows);
    if (status == IL_OK) return IL_OK;
    il_model_unref(*model);
    *model = NULL;
    return status;
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
    il_free(memory, model->norm_scales);
    il_free(memory, model->rope_frequencies);
    il_free(memory, model->rope_sin);
    il_free(memory, model->rope_cos);
    il_free(memory, model->tok);
    il_free(memory, model->packed);
    il_free(memory, model->owner ? NULL : model->lp);
    il_free(memory, model->owner ? NULL : model->weights);
    il_model_unref(model->owner);
    il_free(memory, model->layers);
    il_table_end(&model->table);
    pthread_mutex_destroy(&model->fingerprint_lock);
    pthread_mutex_destroy(&model->lock);
    il_free(memory, model);
}
