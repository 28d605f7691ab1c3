/* take.c: il_model_take: the weights of another model, wherever a tensor of the same meaning and shape is there. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/model.h"

enum { NAME = sizeof((il_table_entry *)0)->name + 16 };

/* What layers of attention call otherwise than those of TTT. */
static const char *const synonyms[][2] = {{".self_attn.", ".seq_modeling_block."},
                                          {".input_layernorm.", ".seq_norm."},
                                          {".post_attention_layernorm.", ".ffn_norm."}};

/* The name that tensors of one meaning have in common. */
static void common_name(const char *name, char out[NAME]) {
    snprintf(out, NAME, "%s", name);
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++) {
        const char *at = strstr(name, synonyms[i][0]);
        if (at) snprintf(out, NAME, "%.*s%s%s", (int)(at - name), name, synonyms[i][1], at + strlen(synonyms[i][0]));
    }
}

static const il_table_entry *counterpart(const il_model *model, const char *name) {
    char wanted[NAME], own[NAME];
    common_name(name, wanted);
    for (size_t i = 0; i < model->table.n; i++) {
        common_name(model->table.entries[i].name, own);
        if (!strcmp(wanted, own)) return &model->table.entries[i];
    }
    return NULL;
}

static int same_shape(const il_table_entry *a, const il_table_entry *b) {
    return a->rank == b->rank && !memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape);
}

/* The layer whose queries or keys a tensor makes; NULL: it makes none. */
static const il_layer *turning(const il_model *model, const il_table_entry *e) {
    for (int i = 0; i < model->config.layers; i++) {
        const il_layer *layer = &model->layers[i];
        if (e->offset == layer->wq.at || (e->offset == layer->wk.at)) return layer;
    }
    return NULL;
}

static int attends(const il_layer *layer) { return layer && !layer->rule && !layer->heads; }
static int learns(const il_layer *layer) { return layer && layer->rule; }

/* RoPE turns the pairs m and m + d/2 of a head of attention, 2m and 2m + 1 of a head of TTT: rows change places, so
 * that what turned at some speed still does. */
static void take_turning(const il_model *model, const il_table_entry *e, int to_pairs, const float *from, float *to) {
    size_t rows = e->shape[0], width = e->shape[1], d = rows / (size_t)model->config.heads;
    for (size_t row = 0; row < rows; row++) {
        size_t head = row / d, at = row % d, half = head * d + at / (d / 2) + 2 * (at % (d / 2));
        size_t source = to_pairs ? row : half, target = to_pairs ? half : row;
        memcpy(to + target * width, from + source * width, width * sizeof *to);
    }
}

static int is_norm(const il_model *model, size_t at) {
    int found = at == model->norm.w;
    for (int i = 0; i < model->config.layers; i++) {
        const il_layer *l = &model->layers[i];
        const il_norm *const all[] = {&l->conv_norm, &l->seq_norm, &l->ffn_norm, &l->q_norm, &l->k_norm};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) found |= at == all[k]->w;
    }
    return found;
}

static void take(il_model *model, const il_table_entry *e, const il_model *other, const il_table_entry *o) {
    const il_layer *ours = turning(model, e), *theirs = turning(other, o);
    int to_pairs = learns(ours) && attends(theirs), to_halves = attends(ours) && learns(theirs);
    const il_config *attention = to_pairs ? &other->config : &model->config;
    if ((to_pairs || to_halves) && model->config.heads == other->config.heads &&
        il_config_rotary_width(attention) * attention->heads == model->config.width)
        take_turning(model, e, to_pairs, other->weights + o->offset, model->weights + e->offset);
    else
        memcpy(model->weights + e->offset, other->weights + o->offset, e->count * sizeof(float));
    /* a norm may be held as its distance from 1 */
    float shift = (float)(other->config.norm_offset - model->config.norm_offset);
    for (size_t i = 0; shift != 0 && is_norm(model, e->offset) && i < e->count; i++)
        model->weights[e->offset + i] += shift;
}

il_status il_model_take(il_model *model, const il_model *other, il_model_taken taken, void *user, il_error *error) {
    size_t fits = 0;
    IL_TRY(il_model_check_trainable(model, error));
    IL_TRY(il_model_check_trainable(other, error));
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i], *o = counterpart(other, e->name);
        fits += o && same_shape(e, o);
    }
    if (!fits) return il_fail(error, IL_ERR_MISMATCH, "no tensor of the two models has the same name and shape");
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i], *o = counterpart(other, e->name);
        int same = o && same_shape(e, o);
        if (same) take(model, e, other, o);
        if (taken) taken(user, e->name, same ? IL_TENSOR_TAKEN : IL_TENSOR_FRESH);
    }
    for (size_t i = 0; taken && i < other->table.n; i++) {
        const il_table_entry *o = &other->table.entries[i], *e = counterpart(model, o->name);
        if (!e || !same_shape(e, o)) taken(user, o->name, IL_TENSOR_LEFT);
    }
    model->version++;
    return IL_OK;
}
