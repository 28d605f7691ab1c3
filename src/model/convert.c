/* convert.c: a model's matrices from one type into another. Owns no rounding: that is engine/low_precision.c's. */
#include <string.h>

#include "base/error.h"
#include "model/build.h"

enum { PIECES = 16 }; /* a matrix is converted in so many */

typedef struct conversion {
    const il_model *from;
    const il_model *to;
    float *rows; /* [threads, longest]: a row each */
    size_t longest;
    atomic_size_t bad; /* lowest tensor with a number that the type does not hold; SIZE_MAX: none */
} conversion;

static void read_row(const il_model *model, const il_table_entry *entry, size_t row, float *x) {
    size_t in = entry->shape[1];
    if (entry->type == IL_WEIGHTS_F32) {
        memcpy(x, model->weights + entry->offset + row * in, in * sizeof *x);
    } else {
        il_lp_matrix matrix = il_model_lp(model, entry);
        il_lp_get(&matrix, row, x);
    }
}

/* Leaves in x what the row now holds. */
static void write_row(const il_model *model, const il_table_entry *entry, size_t row, float *x) {
    size_t in = entry->shape[1];
    if (entry->type == IL_WEIGHTS_F32) {
        memcpy(model->weights + entry->offset + row * in, x, in * sizeof *x);
    } else {
        il_lp_matrix matrix = il_model_lp(model, entry);
        il_lp_put(model->engine->kernels, &matrix, row, x);
        il_lp_get(&matrix, row, x);
    }
}

static void convert_piece(void *context, int item, int worker) {
    conversion *c = context;
    size_t tensor = (size_t)item / PIECES, piece = (size_t)item % PIECES;
    const il_table_entry *from = &c->from->table.entries[tensor], *to = &c->to->table.entries[tensor];
    if (!from->matrix) {
        if (!piece) memcpy(c->to->weights + to->offset, c->from->weights + from->offset, to->count * sizeof(float));
        return;
    }
    if (from->type == to->type && to->type != IL_WEIGHTS_F32) { /* rounding twice may not be rounding once */
        if (!piece)
            memcpy(c->to->lp + to->offset, c->from->lp + from->offset,
                   il_lp_bytes(to->type, to->shape[0], to->shape[1]));
        return;
    }
    size_t row, end;
    float *x = c->rows + (size_t)worker * c->longest;
    il_panel_piece(from->shape[0], piece, PIECES, &row, &end);
    for (; row < end; row++) {
        read_row(c->from, from, row, x);
        write_row(c->to, to, row, x);
        if (c->to->engine->kernels->all_finite(from->shape[1], x)) continue;
        size_t lowest = atomic_load(&c->bad);
        while (tensor < lowest && !atomic_compare_exchange_weak(&c->bad, &lowest, tensor)) {}
        return;
    }
}

/* What conversion cannot change is the same in both. */
static int same_otherwise(const il_config *a, il_config b) {
    b.weights = a->weights;
    b.fast_head_size = a->fast_head_size;
    b.fast_head_lr = a->fast_head_lr;
    b.fast_head_tokens = a->fast_head_tokens;
    return il_config_same(a, &b);
}

/* Another fast head on the same weights, which are not held twice. */
static il_status share(const il_model *model, const il_config *config, il_model **converted, il_error *error) {
    il_model *made;
    IL_TRY(il_model_declare(model->engine, config, &made, error));
    il_status status = il_model_share(made, model, error);
    if (status == IL_OK)
        *converted = made;
    else
        il_model_unref(made);
    return status;
}

il_status il_model_convert(const il_model *model, const il_config *config, il_model **converted, il_error *error) {
    il_engine *engine = model->engine;
    conversion c = {.from = model};
    il_model *made;
    *converted = NULL;
    if (!same_otherwise(&model->config, *config))
        return il_fail(error, IL_ERR_ARG, "conversion changes how weights are held, and the fast head, nothing else");
    IL_TRY(il_config_check(config, error));
    if (config->weights == model->config.weights && config->weights != IL_WEIGHTS_F32)
        return share(model, config, converted, error);
    IL_TRY(il_model_new(engine, config, &made, error));
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        if (entry->matrix && entry->shape[1] > c.longest) c.longest = entry->shape[1];
    }
    c.to = made;
    c.rows = il_alloc_raw(&engine->memory, (size_t)il_pool_threads(engine->pool) * c.longest, sizeof(float));
    if (!c.rows) {
        il_model_unref(made);
        return il_fail(error, IL_ERR_NOMEM, "out of memory for rows of %zu weights", c.longest);
    }
    atomic_init(&c.bad, SIZE_MAX);
    il_pool_run(engine->pool, (int)model->table.n * PIECES, convert_piece, &c);
    il_free(&engine->memory, c.rows);
    size_t bad = atomic_load(&c.bad);
    if (bad != SIZE_MAX) {
        const il_table_entry *entry = &made->table.entries[bad];
        il_status status = il_fail(error, IL_ERR_NONFINITE, "tensor %.150s: holds a number that %s does not",
                                   entry->name, il_weight_type_name(entry->type));
        il_model_unref(made);
        return status;
    }
    *converted = made;
    return IL_OK;
}
