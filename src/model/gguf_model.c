/* gguf_model.c: see gguf_model.h. Owns llama.cpp's names of tensors, the order in which it keeps the rows of queries
 * and keys, and what it makes of Qwen3.5: norms with 1 added, -exp(A_log), the convolution without its dimension of 1,
 * and value heads in an order in which those of one key head are not neighbours. */
#include "model/gguf_model.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/maths.h"
#include "model/build.h"
#include "model/config.h"
#include "model/gguf_config.h"

/* How a tensor here is made of the one there. */
typedef enum change {
    AS_IT_IS,
    TURNED,       /* llama: rows of a head, whose halves alternate there */
    LESS_ONE,     /* qwen35: a norm, whose scale is here 1 + weight */
    LOG_NEGATIVE, /* here ln(-x); the order of value heads is another, too, and so of all below */
    VALUES,       /* rows of value heads, one number a head */
    HEADS,        /* rows of value heads */
    MIXED,        /* rows of queries and keys, then those of value heads */
    COLUMNS       /* columns of value heads */
} change;

/* What a source reads. */
typedef struct place {
    const il_gguf *gguf;
    const il_gguf_tensor *tensor;
    change change;
    size_t head;   /* rows or columns of a head */
    size_t before; /* rows before those of value heads */
    size_t groups; /* qwen35: key heads, each of `each` value heads; there the first of all come first */
    size_t each;
} place;

typedef struct loader {
    const il_allocator *memory;
    il_gguf gguf;
    il_config config;
    il_gguf_form form;
    il_source *sources; /* [n] */
    place *places;      /* [n] */
    size_t n;
    int64_t further; /* layers behind those of the model, which predict further tokens */
    size_t skipped;  /* tensors of these */
} loader;

/* ---- names ---- */

typedef struct naming {
    const char *there, *here;
    change change;
} naming;

/* Of the whole model, and of a layer behind "blk.N." and "model.layers.N.". */
static const naming whole[] = {{"token_embd.weight", "model.embed_tokens.weight", AS_IT_IS},
                               {"output_norm.weight", "model.norm.weight", LESS_ONE},
                               {"output.weight", "lm_head.weight", AS_IT_IS}};
static const naming layers[] = {{"attn_norm.", "input_layernorm.", LESS_ONE},
                                {"attn_q.", "self_attn.q_proj.", TURNED},
                                {"attn_k.", "self_attn.k_proj.", TURNED},
                                {"attn_v.", "self_attn.v_proj.", AS_IT_IS},
                                {"attn_output.", "self_attn.o_proj.", AS_IT_IS},
                                {"attn_q_norm.", "self_attn.q_norm.", LESS_ONE},
                                {"attn_k_norm.", "self_attn.k_norm.", LESS_ONE},
                                {"ffn_gate.", "mlp.gate_proj.", AS_IT_IS},
                                {"ffn_up.", "mlp.up_proj.", AS_IT_IS},
                                {"ffn_down.", "mlp.down_proj.", AS_IT_IS},
                                {"ffn_norm.", "post_attention_layernorm.", AS_IT_IS}}; /* the last: not in qwen35 */
/* The same of qwen35, in full. */
static const naming deltas[] = {{"post_attention_norm.weight", "post_attention_layernorm.weight", LESS_ONE},
                                {"attn_qkv.weight", "linear_attn.in_proj_qkv.weight", MIXED},
                                {"attn_gate.weight", "linear_attn.in_proj_z.weight", HEADS},
                                {"ssm_beta.weight", "linear_attn.in_proj_b.weight", VALUES},
                                {"ssm_alpha.weight", "linear_attn.in_proj_a.weight", VALUES},
                                {"ssm_conv1d.weight", "linear_attn.conv1d.weight", MIXED},
                                {"ssm_a", "linear_attn.A_log", LOG_NEGATIVE},
                                {"ssm_dt.bias", "linear_attn.dt_bias", VALUES},
                                {"ssm_norm.weight", "linear_attn.norm.weight", AS_IT_IS},
                                {"ssm_out.weight", "linear_attn.out_proj.weight", COLUMNS}};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Its name in a model; 0 where it has none. *layer: -1, of the whole model. */
static int find_name(il_gguf_form form, const char *there, char name[IL_SOURCE_NAME_BYTES], change *how, int *layer) {
    unsigned number = 0;
    int at = 0, qwen35 = form == IL_GGUF_QWEN35;
    *layer = -1;
    for (size_t i = 0; i < COUNT(whole); i++)
        if (strcmp(there, whole[i].there) == 0) {
            *how = whole[i].change;
            return snprintf(name, IL_SOURCE_NAME_BYTES, "%s", whole[i].here);
        }
    size_t digits = strncmp(there, "blk.", 4) == 0 ? strspn(there + 4, "0123456789") : 0;
    if (digits == 0 || digits > 4 || (there[4] == '0' && digits > 1)) return 0;
    if (sscanf(there, "blk.%u.%n", &number, &at) != 1 || at == 0) return 0;
    *layer = (int)number;
    for (size_t i = 0; qwen35 && i < COUNT(deltas); i++)
        if (strcmp(there + at, deltas[i].there) == 0) {
            *how = deltas[i].change;
            return snprintf(name, IL_SOURCE_NAME_BYTES, "model.layers.%u.%s", number, deltas[i].here);
        }
    for (size_t i = 0; i < COUNT(layers) - (size_t)qwen35; i++) {
        size_t n = strlen(layers[i].there);
        const char *rest = there + at + n;
        if (strncmp(there + at, layers[i].there, n) != 0 || (strcmp(rest, "weight") != 0 && strcmp(rest, "bias") != 0))
            continue;
        *how = layers[i].change;
        return snprintf(name, IL_SOURCE_NAME_BYTES, "model.layers.%u.%s%s", number, layers[i].here, rest);
    }
    return 0;
}

/* ---- rows ---- */

/* Where a value head's row or column is kept: there the first head of every group comes first, then the second. */
static size_t value_there(const place *p, size_t at) {
    size_t head = at / p->head;
    return (head % p->each * p->groups + head / p->each) * p->head + at % p->head;
}

static size_t row_there(const place *p, size_t row) {
    size_t i = p->head ? row % p->head : 0;
    switch (p->change) {
    case TURNED: return row - i + i % (p->head / 2) * 2 + i / (p->head / 2);
    case LOG_NEGATIVE:
    case VALUES:
    case HEADS:
    case MIXED: return row < p->before ? row : p->before + value_there(p, row - p->before);
    case AS_IT_IS:
    case LESS_ONE:
    case COLUMNS: break;
    }
    return row;
}

static il_status read_row(const place *p, size_t row, size_t width, float *out, il_error *error) {
    size_t from = row_there(p, row) * width;
    if (p->change != COLUMNS) IL_TRY(il_gguf_read(p->gguf, p->tensor, from, width, out, error));
    for (size_t at = 0; p->change == COLUMNS && at < width; at += p->head)
        IL_TRY(il_gguf_read(p->gguf, p->tensor, from + value_there(p, at), p->head, out + at, error));
    if (p->change == LESS_ONE) *out -= 1;
    if (p->change != LOG_NEGATIVE) return IL_OK;
    if (!(*out <= -FLT_MIN && *out >= -FLT_MAX))
        return il_fail(error, IL_ERR_NONFINITE, "%s: tensor %s: element %zu is %g, must be less than 0", p->gguf->path,
                       p->tensor->name, row, (double)*out);
    *out = (float)il_log_d(-(double)*out);
    return IL_OK;
}

static il_status read_rows(const il_source *source, size_t from, size_t n, float *out, il_error *error) {
    const place *p = source->user;
    size_t width = p->tensor->rank > 1 ? p->tensor->count / p->tensor->shape[0] : 1;
    if (p->change == AS_IT_IS) return il_gguf_read(p->gguf, p->tensor, from * width, n * width, out, error);
    for (size_t i = 0; i < n; i++) IL_TRY(read_row(p, from + i, width, out + i * width, error));
    return IL_OK;
}

/* What heads are, from the shape that the model has. */
static il_status place_heads(const loader *l, place *p, il_error *error) {
    const il_config *c = &l->config;
    const il_gguf_tensor *t = p->tensor;
    size_t rows = t->rank ? t->shape[0] : 0, columns = t->rank == 2 ? t->shape[1] : 0;
    int blocks = t->type != IL_GGML_F32 && t->type != IL_GGML_F16 && t->type != IL_GGML_BF16;
    if (p->change == AS_IT_IS || p->change == LESS_ONE) return IL_OK;
    if (p->change != TURNED) {
        p->groups = (size_t)c->delta_key_heads;
        p->each = (size_t)(c->delta_value_heads / c->delta_key_heads);
    }
    p->head = p->change == TURNED                                ? (size_t)il_config_head_width(c)
              : p->change == VALUES || p->change == LOG_NEGATIVE ? 1
                                                                 : (size_t)c->delta_value_width;
    p->before = p->change == MIXED ? 2 * p->groups * (size_t)c->delta_key_width : 0;
    size_t want = p->before + p->groups * p->each * p->head;
    if (p->change == TURNED ? rows && rows % p->head == 0 : (p->change == COLUMNS ? columns : rows) == want) {
        if (p->change != COLUMNS || !blocks || p->head % 32 == 0) return IL_OK;
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s: heads of %zu columns are no whole blocks of %s",
                       l->gguf.path, t->name, p->head, il_ggml_name(t->type));
    }
    return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: its %s are not whole heads of %zu", l->gguf.path, t->name,
                   p->change == COLUMNS ? "columns" : "rows", p->head);
}

static il_status add_source(loader *l, const il_gguf_tensor *tensor, il_error *error) {
    place *p = &l->places[l->n];
    il_source *source = &l->sources[l->n];
    int layer;
    *p = (place){.gguf = &l->gguf, .tensor = tensor};
    *source = (il_source){.path = l->gguf.path,
                          .name_there = tensor->name,
                          .rank = tensor->rank,
                          .bf16 = tensor->type == IL_GGML_BF16,
                          .map = &l->gguf.map,
                          .data = tensor->data,
                          .bytes = tensor->bytes,
                          .read = read_rows,
                          .user = p};
    memcpy(source->shape, tensor->shape, sizeof tensor->shape);
    int known = find_name(l->form, tensor->name, source->name, &p->change, &layer);
    if (layer >= l->config.layers && layer < l->config.layers + l->further) {
        l->skipped++;
        return IL_OK;
    }
    if (!known) return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s is not supported", l->gguf.path, tensor->name);
    IL_TRY(il_gguf_check_readable(&l->gguf, tensor, error));
    if (tensor->rank == 1 && tensor->type != IL_GGML_F32 && tensor->type != IL_GGML_F16 && tensor->type != IL_GGML_BF16)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s: a vector of type %s is not supported", l->gguf.path,
                       tensor->name, il_ggml_name(tensor->type));
    if ((p->change == TURNED && l->form != IL_GGUF_TURNED) || (p->change == LESS_ONE && l->form != IL_GGUF_QWEN35))
        p->change = AS_IT_IS;
    if (p->change >= LOG_NEGATIVE && !il_config_layers_of(&l->config, IL_MIXER_GATED_DELTA))
        return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: no layer has a ssm_a", l->gguf.path, tensor->name);
    IL_TRY(place_heads(l, p, error));
    if (strstr(tensor->name, ".ssm_conv1d.") && tensor->rank == 2) { /* [channels, 1, taps] */
        source->rank = 3;
        source->shape[2] = tensor->shape[1];
        source->shape[1] = 1;
    }
    l->n++;
    return IL_OK;
}

/* ---- loading ---- */

static il_status add_sources(loader *l, il_error *error) {
    l->sources = il_alloc(l->memory, l->gguf.n_tensors, sizeof *l->sources);
    l->places = il_alloc(l->memory, l->gguf.n_tensors, sizeof *l->places);
    if (!l->sources || !l->places)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", l->gguf.path, l->gguf.n_tensors);
    for (size_t i = 0; i < l->gguf.n_tensors; i++)
        if (!il_gguf_config_has_read(&l->gguf.tensors[i])) IL_TRY(add_source(l, &l->gguf.tensors[i], error));
    return IL_OK;
}

static void close_file(il_origin *origin) {
    loader *l = origin->files;
    il_free(l->memory, l->sources);
    il_free(l->memory, l->places);
    il_gguf_close(&l->gguf);
    il_free(l->memory, l);
}

il_status il_gguf_origin_open(il_engine *engine, const char *path, const il_load_options *options, il_origin *origin,
                              il_error *error) {
    loader *l = il_alloc(&engine->memory, 1, sizeof *l);
    if (!l) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    l->memory = &engine->memory;
    il_status status = il_gguf_open(l->memory, path, &l->gguf, error);
    if (status != IL_OK) {
        il_free(l->memory, l);
        return status;
    }
    origin->files = l;
    origin->close = close_file;
    IL_TRY(il_gguf_config(&l->gguf, &l->config, &l->form, error));
    IL_TRY(il_origin_configure(options, &l->config, error));
    if (l->form == IL_GGUF_QWEN35)
        IL_TRY(il_gguf_get_count(&l->gguf, "qwen35.nextn_predict_layers", IL_LAYERS_MAX, &l->further, error));
    IL_TRY(add_sources(l, error));
    if (l->skipped)
        il_log(engine, IL_LOG_INFO, "%s: not read: %zu of layers that predict further tokens", path, l->skipped);
    IL_TRY(il_model_declare(engine, &l->config, &origin->declared, error));
    origin->path = l->gguf.path;
    origin->sources = l->sources;
    origin->n = l->n;
    origin->usual = il_sources_type(origin->declared, l->sources, l->n);
    return IL_OK;
}
