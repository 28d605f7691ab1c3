/* declare.c: see declare.h. */
#include "model/declare.h"

size_t il_declare(il_declarer *d, il_init init, int rank, const size_t *shape, const char *prefix, const char *name) {
    size_t at = IL_NONE;
    if (d->status != IL_OK) return at;
    if (d->layer < 0)
        d->status = il_table_add(&d->model->table, &at, init, rank, shape, d->error, "%s%s", prefix, name);
    else
        d->status = il_table_add(&d->model->table, &at, init, rank, shape, d->error, "model.layers.%d.%s%s", d->layer,
                                 prefix, name);
    return at;
}

size_t il_declare_vector(il_declarer *d, il_init init, int n, const char *prefix, const char *name) {
    return il_declare(d, init, 1, (size_t[]){(size_t)n}, prefix, name);
}

il_norm il_declare_norm(il_declarer *d, int n, const char *prefix, const char *name) {
    int offset = d->model->config.norm_offset;
    il_norm norm = {.n = n, .scale = d->model->norm_floats};
    norm.w = il_declare_vector(d, offset ? IL_INIT_ZEROS : IL_INIT_ONES, n, prefix, name);
    if (offset) d->model->norm_floats += il_pad16_size((size_t)n);
    return norm;
}

il_dense il_declare_dense_as(il_declarer *d, il_weight_type type, int out, int in, const char *prefix,
                             const char *name) {
    il_model *model = d->model;
    il_dense dense = {.out = out, .in = in, .type = type};
    dense.at = il_declare(d, IL_INIT_NORMAL, 2, (size_t[]){(size_t)out, (size_t)in}, prefix, name);
    if (d->status != IL_OK) return dense;
    model->table.entries[model->table.n - 1].matrix = 1;
    if (type != IL_WEIGHTS_F32) {
        size_t bytes = il_lp_bytes(type, (size_t)out, (size_t)in);
        dense.at = IL_NONE;
        dense.packed = model->lp_bytes;
        il_table_set_apart(&model->table, type, dense.packed);
        model->lp_bytes += (bytes + IL_ALIGN - 1) / IL_ALIGN * IL_ALIGN;
    }
    return dense;
}

il_dense il_declare_dense(il_declarer *d, int out, int in, const char *prefix, const char *name) {
    return il_declare_dense_as(d, d->model->config.weights, out, in, prefix, name);
}

il_conv il_declare_conv(il_declarer *d, int channels, int taps, const char *prefix, const char *weight,
                        const char *bias) {
    size_t shape[] = {(size_t)channels, 1, (size_t)taps};
    il_conv conv = {.channels = channels, .taps = taps, .b = IL_NONE};
    conv.w = il_declare(d, IL_INIT_CONV, 3, shape, prefix, weight);
    if (bias) conv.b = il_declare_vector(d, IL_INIT_ZEROS, channels, prefix, bias);
    return conv;
}
