/* jax_model.c: see jax_model.h. Owns the official JAX code's names of tensors, and how each lies there: kernels are
 * [in, out], those of convolutions [taps, 1, width], and attention turns neighbours where Llama's files turn halves. */
#include "model/jax_model.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "model/build.h"
#include "model/config.h"
#include "model/config_fields.h"
#include "model/mixer_names.h"

enum { BUFFERED = 512 /* numbers that are read at once */ };

typedef enum form {
    AS_IT_IS,
    TRANSPOSED,
    CONV,    /* [taps, 1, width], here [width, 1, taps] */
    SWAPPED, /* [heads, width, 1], here [heads, 1, width] */
    PAIRS    /* transposed, and outputs that RoPE turns together are neighbours */
} form;

/* What a source reads. */
typedef struct place {
    const il_flax_tensor *tensor;
    size_t rows; /* outputs of a kernel that is transposed; 0: it is not */
    size_t head; /* outputs of a head whose halves alternate; 0: they are in order */
} place;

typedef struct loader {
    const il_allocator *memory;
    il_flax flax;
    il_config config;
    il_source *sources; /* [n] */
    place *places;      /* [n] */
    size_t n;
} loader;

/* ---- names ---- */

typedef struct name {
    const char *there, *here;
    form form;
} name;

static const name whole[] = {{"model/wte/embedding", "model.embed_tokens.weight", AS_IT_IS},
                             {"model/ln_f/kernel", "model.norm.weight", AS_IT_IS},
                             {"lm_head/kernel", "lm_head.weight", TRANSPOSED}};
/* Behind "model/h/N/" and "model.layers.N."; of TTT layers. */
static const name layers[] = {{"seq_norm/kernel", "seq_norm.weight", AS_IT_IS},
                              {"ffn_norm/kernel", "ffn_norm.weight", AS_IT_IS},
                              {"feed_forward/w1/kernel", "mlp.gate_proj.weight", TRANSPOSED},
                              {"feed_forward/w2/kernel", "mlp.down_proj.weight", TRANSPOSED},
                              {"feed_forward/w3/kernel", "mlp.up_proj.weight", TRANSPOSED},
                              {"conv/conv_norm/kernel", "conv.norm.weight", AS_IT_IS},
                              {"conv/conv1/kernel", "conv.conv.weight", CONV},
                              {"conv/conv1/bias", "conv.conv.bias", AS_IT_IS}};
/* The same behind "seq_modeling_block/" and "seq_modeling_block.". */
static const name blocks[] = {{"wq/kernel", "q_proj.weight", TRANSPOSED},
                              {"wk/kernel", "k_proj.weight", TRANSPOSED},
                              {"wv/kernel", "v_proj.weight", TRANSPOSED},
                              {"wo/kernel", "o_proj.weight", TRANSPOSED},
                              {"wg/kernel", "g_proj.weight", TRANSPOSED},
                              {"conv_q/kernel", "conv_q.weight", CONV},
                              {"conv_q/bias", "conv_q.bias", AS_IT_IS},
                              {"conv_k/kernel", "conv_k.weight", CONV},
                              {"conv_k/bias", "conv_k.bias", AS_IT_IS},
                              {"ttt_dense_0", "W1", AS_IT_IS},
                              {"ttt_dense_1", "W2", AS_IT_IS},
                              {"ttt_bias_0", "b1", AS_IT_IS},
                              {"ttt_bias_1", "b2", AS_IT_IS},
                              {"ttt_norm/scale", "ttt_norm_weight", AS_IT_IS},
                              {"ttt_norm/bias", "ttt_norm_bias", AS_IT_IS},
                              {"learnable_ttt_lr/kernel", "learnable_ttt_lr_weight", SWAPPED},
                              {"learnable_ttt_lr/bias", "learnable_ttt_lr_bias", AS_IT_IS},
                              {"post_norm/scale", "post_norm.weight", AS_IT_IS},
                              {"post_norm/bias", "post_norm.bias", AS_IT_IS},
                              {"learnable_token_idx", "learnable_token_idx", AS_IT_IS}};
/* Of self-attention, in place of the above. */
static const name attention_layers[] = {{"seq_norm/kernel", "input_layernorm.weight", AS_IT_IS},
                                        {"ffn_norm/kernel", "post_attention_layernorm.weight", AS_IT_IS},
                                        {"seq_modeling_block/wq/kernel", "self_attn.q_proj.weight", PAIRS},
                                        {"seq_modeling_block/wk/kernel", "self_attn.k_proj.weight", PAIRS},
                                        {"seq_modeling_block/wv/kernel", "self_attn.v_proj.weight", TRANSPOSED},
                                        {"seq_modeling_block/wo/kernel", "self_attn.o_proj.weight", TRANSPOSED}};

static const name *find(const name *names, size_t n, const char *there) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i].there, there) == 0) return &names[i];
    return NULL;
}
#define FIND(names, there) find(names, sizeof(names) / sizeof((names)[0]), there)

/* What follows "model/h/N/"; NULL where the name is no layer's. */
static const char *inside_layer(const char *there, int *layer) {
    static const char prefix[] = "model/h/";
    size_t n = sizeof prefix - 1, digits = strncmp(there, prefix, n) == 0 ? strspn(there + n, "0123456789") : 0;
    if (digits == 0 || digits > 4 || (there[n] == '0' && digits > 1) || there[n + digits] != '/') return NULL;
    *layer = 0;
    for (size_t i = 0; i < digits; i++) *layer = 10 * *layer + there[n + i] - '0';
    return there + n + digits + 1;
}

/* How a model calls the tensor; 0 where it has none. */
static int find_name(const char *there, int attends, char here[IL_SOURCE_NAME_BYTES], form *how) {
    static const char block[] = "seq_modeling_block/";
    const name *found = FIND(whole, there);
    const char *prefix = "", *rest;
    int layer;
    if (found) {
        *how = found->form;
        return snprintf(here, IL_SOURCE_NAME_BYTES, "%s", found->here);
    }
    if (!(rest = inside_layer(there, &layer))) return 0;
    if (attends) found = FIND(attention_layers, rest);
    if (!found) found = FIND(layers, rest);
    if (!found && !attends && strncmp(rest, block, sizeof block - 1) == 0) {
        found = FIND(blocks, rest + sizeof block - 1);
        prefix = "seq_modeling_block.";
    }
    if (!found) return 0;
    *how = found->form;
    return snprintf(here, IL_SOURCE_NAME_BYTES, "model.layers.%d.%s%s", layer, prefix, found->here);
}

/* ---- the shape of the model ---- */

/* The tensor of that name, of so many dimensions. */
static il_status need(const il_flax *flax, const char *called, int rank, const il_flax_tensor **tensor,
                      il_error *error) {
    *tensor = il_flax_find(flax, called);
    if (!*tensor) return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: is missing", flax->path, called);
    if ((*tensor)->rank == rank) return IL_OK;
    return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: %d dimensions, where %d must be", flax->path, called,
                   (*tensor)->rank, rank);
}

#define IN_LAYER(name) "model/h/0/" name
#define IN_BLOCK(name) IN_LAYER("seq_modeling_block/" name)

/* A size that no model has is left for the check of the whole to refuse. */
static int size_of(size_t n) { return n < 1u << 30 ? (int)n : -1; }

static il_status read_ttt(const il_flax *flax, il_config *c, il_error *error) {
    const il_flax_tensor *dense, *index, *conv = il_flax_find(flax, IN_BLOCK("conv_q/kernel"));
    IL_TRY(need(flax, IN_BLOCK("ttt_dense_0"), 3, &dense, error));
    IL_TRY(need(flax, IN_BLOCK("learnable_token_idx"), 1, &index, error));
    c->heads = size_of(dense->shape[0]);
    c->mini_batch = size_of(index->shape[0]);
    c->share_qk = conv != NULL;
    c->use_gate = il_flax_find(flax, IN_BLOCK("wg/kernel")) != NULL;
    c->pre_conv = il_flax_find(flax, IN_LAYER("conv/conv1/kernel")) != NULL;
    if (!conv) conv = il_flax_find(flax, IN_LAYER("conv/conv1/kernel"));
    if (conv) c->conv_kernel = size_of(conv->shape[0]);
    if (il_flax_find(flax, IN_BLOCK("ttt_dense_1"))) {
        c->mixer = IL_MIXER_TTT_MLP;
        c->ttt_base_lr = 0.1;
    }
    return IL_OK;
}

static int is_set(const il_load_options *options, const char *key) {
    for (size_t i = 0; i < options->n_set; i++)
        if (strncmp(options->set[i], key, strlen(key)) == 0 && options->set[i][strlen(key)] == '=') return 1;
    return 0;
}

il_status il_jax_config(const il_flax *flax, const il_load_options *set, il_config *config, il_error *error) {
    const il_flax_tensor *embedding, *gate;
    int attends = !il_flax_find(flax, IN_BLOCK("ttt_dense_0")), layer;
    il_config c;
    IL_TRY(need(flax, "model/wte/embedding", 2, &embedding, error));
    IL_TRY(need(flax, IN_LAYER("feed_forward/w1/kernel"), 2, &gate, error));
    il_family_defaults(il_family_find(attends ? "llama" : "ttt"), &c);
    c.vocab_size = size_of(embedding->shape[0]);
    c.width = size_of(embedding->shape[1]);
    c.ffn_width = size_of(gate->shape[1]);
    c.tie_word_embeddings = !il_flax_find(flax, "lm_head/kernel");
    c.layers = 0;
    for (size_t i = 0; i < flax->n; i++)
        if (inside_layer(flax->tensors[i].name, &layer) && layer >= c.layers) c.layers = layer + 1;
    c.heads = 0;
    if (!attends) IL_TRY(read_ttt(flax, &c, error));
    IL_TRY(il_origin_configure(set, &c, error));
    if (c.heads == 0)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "%s: a model of self-attention, whose tensors do not tell num_attention_heads: it must be set "
                       "(125m: 12; 350m and 760m: 16; 1b: 32)",
                       flax->path);
    *config = c;
    return IL_OK;
}

il_status il_jax_config_load(const il_allocator *memory, const char *path, const il_load_options *set,
                             il_config *config, il_error *error) {
    il_flax flax;
    IL_TRY(il_flax_open(memory, path, &flax, error));
    il_status status = il_jax_config(&flax, set, config, error);
    il_flax_close(&flax);
    return status;
}

/* What no shape tells is never taken for granted in silence. */
static void log_guesses(il_engine *engine, const loader *l, const il_load_options *set) {
    static const char *const keys[] = {"ttt_base_lr", "rope_theta", "rms_norm_eps"};
    char text[200] = "";
    size_t n = 0;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const il_field *field = il_field_find(keys[i]);
        if (is_set(set, keys[i]) || !il_config_has(&l->config, field)) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s %g", n ? ", " : "", keys[i],
                              il_field_value(&l->config, field));
    }
    if (n)
        il_log(engine, IL_LOG_WARN,
               "%s: its tensors do not tell these, which are taken as the official code has them: %s", l->flax.path,
               text);
}

/* ---- rows ---- */

/* Which output there is the row of ours. */
static size_t output_there(const place *p, size_t row) {
    if (!p->head) return row;
    size_t i = row % p->head;
    return row - i + (i < p->head / 2 ? 2 * i : 2 * i - p->head + 1);
}

static il_status read_rows(const il_source *source, size_t from, size_t n, float *out, il_error *error) {
    const place *p = source->user;
    const il_flax_tensor *t = p->tensor;
    float numbers[BUFFERED];
    (void)error;
    if (!p->rows) {
        size_t width = t->rank > 0 ? t->count / t->shape[0] : 1;
        il_flax_read(t, from * width, 1, n * width, out);
        return IL_OK;
    }
    size_t width = t->count / p->rows;
    if (p->head || n == 1) {
        for (size_t i = 0; i < n; i++) il_flax_read(t, output_there(p, from + i), p->rows, width, out + i * width);
        return IL_OK;
    }
    for (size_t at = 0; at < n; at += BUFFERED) { /* what lies next to each other there is read together */
        size_t some = n - at < BUFFERED ? n - at : BUFFERED;
        for (size_t k = 0; k < width; k++) {
            il_flax_read(t, k * p->rows + from + at, 1, some, numbers);
            for (size_t i = 0; i < some; i++) out[(at + i) * width + k] = numbers[i];
        }
    }
    return IL_OK;
}

/* The shape that the tensor has in a model; one that its form cannot have stays as it is, and is refused. */
static void reshape(const il_flax_tensor *tensor, form how, il_source *source, place *p) {
    size_t *shape = source->shape;
    source->rank = tensor->rank;
    memcpy(shape, tensor->shape, sizeof tensor->shape);
    if ((how == TRANSPOSED || how == PAIRS) && tensor->rank == 2) {
        shape[0] = tensor->shape[1];
        shape[1] = tensor->shape[0];
        p->rows = shape[0];
    } else if (how == CONV && tensor->rank == 3 && tensor->shape[1] == 1) {
        shape[0] = tensor->shape[2];
        shape[2] = tensor->shape[0];
        p->rows = shape[0];
    } else if (how == SWAPPED && tensor->rank == 3) {
        shape[1] = tensor->shape[2];
        shape[2] = tensor->shape[1];
        if (shape[1] != 1) source->rank = 0; /* not as other numbers than these lie */
    }
}

static il_status add_source(loader *l, const il_flax_tensor *tensor, il_error *error) {
    place *p = &l->places[l->n];
    il_source *source = &l->sources[l->n];
    int attends = !il_mixer_is_ttt(l->config.mixer);
    form how;
    *p = (place){.tensor = tensor};
    *source = (il_source){.path = l->flax.path,
                          .name_there = tensor->name,
                          .bf16 = tensor->dtype == IL_BF16,
                          .map = tensor->n_chunks == 1 ? &l->flax.map : NULL,
                          .data = tensor->chunks[0].data,
                          .bytes = tensor->bytes,
                          .read = read_rows,
                          .user = p};
    if (!find_name(tensor->name, attends, source->name, &how))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: tensor %s is not one of the official code's", l->flax.path,
                       tensor->name);
    reshape(tensor, how, source, p);
    source->scattered = p->rows > 0;
    if (how == PAIRS) p->head = (size_t)il_config_head_width(&l->config);
    if (p->head && (p->head % 2 || source->shape[0] % p->head))
        return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %s: its outputs are not whole heads of %zu", l->flax.path,
                       tensor->name, p->head);
    l->n++;
    return IL_OK;
}

/* ---- opening ---- */

static void close_file(il_origin *origin) {
    loader *l = origin->files;
    il_free(l->memory, l->sources);
    il_free(l->memory, l->places);
    il_flax_close(&l->flax);
    il_free(l->memory, l);
}

il_status il_jax_origin_open(il_engine *engine, const char *path, const il_load_options *options, il_origin *origin,
                             il_error *error) {
    loader *l = il_alloc(&engine->memory, 1, sizeof *l);
    if (!l) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    l->memory = &engine->memory;
    origin->files = l;
    origin->close = close_file;
    IL_TRY(il_flax_open(l->memory, path, &l->flax, error));
    IL_TRY(il_jax_config(&l->flax, options, &l->config, error));
    IL_TRY(il_model_declare(engine, &l->config, &origin->declared, error)); /* the shape is one that can be */
    l->sources = il_alloc(l->memory, l->flax.n, sizeof *l->sources);
    l->places = il_alloc(l->memory, l->flax.n, sizeof *l->places);
    if (!l->sources || !l->places)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", path, l->flax.n);
    for (size_t i = 0; i < l->flax.n; i++) IL_TRY(add_source(l, &l->flax.tensors[i], error));
    origin->path = l->flax.path;
    origin->sources = l->sources;
    origin->n = l->n;
    origin->usual = il_sources_type(origin->declared, l->sources, l->n);
    log_guesses(engine, l, options);
    if (l->flax.skipped)
        il_log(engine, IL_LOG_INFO, "%s: not read: %zu entries of the optimizer", path, l->flax.skipped);
    return IL_OK;
}
