/* gguf_model.c: see gguf_model.h. Owns llama.cpp's names of tensors, and the order in which it keeps the rows of
 * queries and keys. */
#include "model/gguf_model.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/build.h"
#include "model/config.h"
#include "model/gguf_config.h"

/* What a source reads. */
typedef struct place {
    const il_gguf *gguf;
    const il_gguf_tensor *tensor;
    size_t head; /* rows of a head whose halves alternate; 0: rows are in order */
} place;

typedef struct loader {
    const il_allocator *memory;
    il_gguf gguf;
    il_config config;
    int turned;
    il_source *sources; /* [n] */
    place *places;      /* [n] */
    size_t n;
} loader;

/* ---- names ---- */

/* Of the whole model, and of a layer behind "blk.N." and "model.layers.N."; those of queries and keys. */
static const struct {
    const char *there, *here;
    int turned;
} whole[] = {{"token_embd.weight", "model.embed_tokens.weight", 0},
             {"output_norm.weight", "model.norm.weight", 0},
             {"output.weight", "lm_head.weight", 0}},
  layers[] = {{"attn_norm.", "input_layernorm.", 0},    {"ffn_norm.", "post_attention_layernorm.", 0},
              {"attn_q.", "self_attn.q_proj.", 1},      {"attn_k.", "self_attn.k_proj.", 1},
              {"attn_v.", "self_attn.v_proj.", 0},      {"attn_output.", "self_attn.o_proj.", 0},
              {"attn_q_norm.", "self_attn.q_norm.", 0}, {"attn_k_norm.", "self_attn.k_norm.", 0},
              {"ffn_gate.", "mlp.gate_proj.", 0},       {"ffn_up.", "mlp.up_proj.", 0},
              {"ffn_down.", "mlp.down_proj.", 0}};

/* Its name in a model; 0 where it has none. */
static int find_name(const char *there, char name[IL_SOURCE_NAME_BYTES], int *turned) {
    unsigned layer = 0;
    int at = 0;
    *turned = 0;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        if (strcmp(there, whole[i].there) == 0) return snprintf(name, IL_SOURCE_NAME_BYTES, "%s", whole[i].here);
    size_t digits = strncmp(there, "blk.", 4) == 0 ? strspn(there + 4, "0123456789") : 0;
    if (digits == 0 || digits > 4 || (there[4] == '0' && digits > 1)) return 0;
    if (sscanf(there, "blk.%u.%n", &layer, &at) != 1 || at == 0) return 0;
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        size_t n = strlen(layers[i].there);
        const char *rest = there + at + n;
        if (strncmp(there + at, layers[i].there, n) != 0 || (strcmp(rest, "weight") != 0 && strcmp(rest, "bias") != 0))
            continue;
        *turned = layers[i].turned;
        return snprintf(name, IL_SOURCE_NAME_BYTES, "model.layers.%u.%s%s", layer, layers[i].here, rest);
    }
    return 0;
}

/* ---- rows ---- */

/* llama.cpp has the halves of a head's rows, which RoPE turns in pairs, alternate. */
static size_t row_there(const place *p, size_t row) {
    if (!p->head) return row;
    size_t i = row % p->head;
    return row - i + i % (p->head / 2) * 2 + i / (p->head / 2);
}

static il_status read_rows(const il_source *source, size_t from, size_t n, float *out, il_error *error) {
    const place *p = source->user;
    size_t width = p->tensor->rank > 1 ? p->tensor->count / p->tensor->shape[0] : 1;
    if (!p->head) return il_gguf_read(p->gguf, p->tensor, from * width, n * width, out, error);
    for (size_t i = 0; i < n; i++)
        IL_TRY(il_gguf_read(p->gguf, p->tensor, row_there(p, from + i) * width, width, out + i * width, error));
    return IL_OK;
}

static il_status add_source(loader *l, const il_gguf_tensor *tensor, il_error *error) {
    place *p = &l->places[l->n];
    il_source *source = &l->sources[l->n];
    int turned;
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
    if (!find_name(tensor->name, source->name, &turned))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s is not supported", l->gguf.path, tensor->name);
    IL_TRY(il_gguf_check_readable(&l->gguf, tensor, error));
    if (tensor->rank == 1 && tensor->type != IL_GGML_F32 && tensor->type != IL_GGML_F16 && tensor->type != IL_GGML_BF16)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s: a vector of type %s is not supported", l->gguf.path,
                       tensor->name, il_ggml_name(tensor->type));
    if (turned && l->turned) p->head = (size_t)il_config_head_width(&l->config);
    if (p->head && (!tensor->rank || tensor->shape[0] % p->head))
        return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: its rows are not whole heads of %zu", l->gguf.path,
                       tensor->name, p->head);
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
    IL_TRY(il_gguf_config(&l->gguf, &l->config, &l->turned, error));
    IL_TRY(il_origin_configure(options, &l->config, error));
    IL_TRY(add_sources(l, error));
    IL_TRY(il_model_declare(engine, &l->config, &origin->declared, error));
    origin->path = l->gguf.path;
    origin->sources = l->sources;
    origin->n = l->n;
    origin->usual = il_sources_type(origin->declared, l->sources, l->n);
    return IL_OK;
}
