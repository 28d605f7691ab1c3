/* config_count.c: see config_count.h. Layers are counted one by one; what a rule adds, the rule says. */
#include "model/config_count.h"

#include "inner/gated_delta.h"
#include "inner/rules.h"
#include "model/config.h"

static const il_rule *rule_of(const il_config *c, int layer) { return il_rule_of(il_config_mixer(c, layer)); }

static int is_delta(const il_config *c, int layer) { return il_config_mixer(c, layer) == IL_MIXER_GATED_DELTA; }

/* Of the gated delta rule: q, k and v; the values of all heads; weights of the matrices around it; the learned start.
 */
typedef struct delta_size {
    uint64_t channels, values, matrices, start;
} delta_size;

static delta_size delta_of(const il_config *c) {
    uint64_t keys = (uint64_t)c->delta_key_heads * (uint64_t)c->delta_key_width, heads = (uint64_t)c->delta_value_heads;
    delta_size size = {.values = heads * (uint64_t)c->delta_value_width};
    size.channels = 2 * keys + size.values;
    size.matrices = (uint64_t)c->width * (size.channels + 2 * size.values + 2 * heads);
    if (c->delta_learned_start) size.start = size.values * (uint64_t)c->delta_key_width;
    return size;
}

/* Of all heads together. */
static il_rule_cost delta_cost(const il_config *c) {
    il_delta group = {.dk = c->delta_key_width,
                      .dv = c->delta_value_width,
                      .values = c->delta_value_heads / c->delta_key_heads,
                      .b = c->mini_batch};
    il_rule_cost cost = il_delta_cost(&group);
    return (il_rule_cost){.flops = c->delta_key_heads * cost.flops,
                          .carry = c->delta_key_heads * cost.carry,
                          .row = c->delta_key_heads * cost.row};
}

typedef struct rule_size {
    uint64_t parameters, fast_weights; /* the latter are some of the former */
} rule_size;

/* Of all heads. */
static rule_size size_of(const il_config *c, const il_rule *rule) {
    il_rule_tensor list[IL_RULE_TENSORS_MAX];
    rule_size size = {0, 0};
    int n = rule->tensors(c->width / c->heads, list);
    for (int i = 0; i < n; i++) {
        uint64_t rows = (uint64_t)list[i].rows, columns = (uint64_t)list[i].columns, heads = (uint64_t)c->heads;
        size.parameters += heads * (rows ? rows : 1) * columns;
        size.fast_weights += heads * rows * columns;
    }
    return size;
}

/* Of attention: rows that the projections of queries (with gates), keys and outputs have. */
typedef struct attention_size {
    uint64_t queries, keys, outputs;
} attention_size;

static attention_size attention_of(const il_config *c) {
    uint64_t d = (uint64_t)il_config_head_width(c), heads = (uint64_t)c->heads;
    return (attention_size){heads * d * (c->attention_gate ? 2 : 1), (uint64_t)il_config_kv_heads(c) * d, heads * d};
}

/* Positions that a token sees, itself left out. */
static double seen(const il_config *c, int layer, double position) {
    int slides = il_config_mixer(c, layer) == IL_MIXER_SLIDING_ATTENTION;
    return slides && position > c->sliding_window ? c->sliding_window : position;
}

static uint64_t attention_matrices(const il_config *c) {
    attention_size size = attention_of(c);
    return (uint64_t)c->width * (size.queries + 2 * size.keys + size.outputs);
}

static uint64_t attention_parameters(const il_config *c) {
    attention_size size = attention_of(c);
    uint64_t n = attention_matrices(c);
    if (c->attention_bias) n += size.queries + 2 * size.keys;
    if (c->attention_output_bias) n += (uint64_t)c->width;
    if (c->qk_norm) n += 2 * (uint64_t)il_config_head_width(c);
    return n;
}

static uint64_t layer_parameters(const il_config *c, int layer) {
    const il_rule *rule = rule_of(c, layer);
    uint64_t width = (uint64_t)c->width, heads = (uint64_t)c->heads, taps = (uint64_t)c->conv_kernel;
    uint64_t n = 2 * width + 3 * width * (uint64_t)c->ffn_width; /* two norms, SwiGLU */
    if (is_delta(c, layer)) {
        delta_size size = delta_of(c); /* and the convolution, decays and their biases, the norm of a head */
        return n + size.matrices + size.channels * (uint64_t)c->delta_taps + 2 * (uint64_t)c->delta_value_heads +
               (uint64_t)c->delta_value_width + size.start;
    }
    if (!rule) return n + attention_parameters(c);
    n += width * width * (uint64_t)(3 + !c->share_qk + !!c->use_gate);
    if (c->pre_conv) n += width + width * (taps + 1);
    if (c->share_qk) n += 2 * width * (taps + 1);
    n += heads * (width + 1) + (uint64_t)c->mini_batch; /* learning rates of heads and tokens */
    return n + 2 * width + size_of(c, rule).parameters; /* post norm */
}

uint64_t il_config_parameters(const il_config *c) {
    uint64_t width = (uint64_t)c->width, n = (uint64_t)c->vocab_size * width * (c->tie_word_embeddings ? 1 : 2) + width;
    n += (uint64_t)c->n_taps * (uint64_t)c->vocab_size * width;
    for (int i = 0; i < c->layers; i++) n += layer_parameters(c, i);
    return n;
}

/* Of all heads of a layer that learns. */
static il_rule_cost cost_of(const il_config *c, int layer) {
    if (is_delta(c, layer)) return delta_cost(c);
    il_rule_cost cost = rule_of(c, layer)->cost(c->width / c->heads, c->mini_batch);
    return (il_rule_cost){c->heads * cost.flops, c->heads * cost.carry, c->heads * cost.row};
}

static double layer_flops(const il_config *c, int layer, double position) {
    double width = c->width, heads = c->heads, ffn = 3 * width * c->ffn_width;
    if (is_delta(c, layer)) return 2 * ((double)delta_of(c).matrices + ffn) + cost_of(c, layer).flops;
    if (!rule_of(c, layer))
        return 2 * ((double)attention_matrices(c) + ffn) +
               4 * (double)attention_of(c).outputs * seen(c, layer, position);
    double matrices = width * width * (3 + !c->share_qk + !!c->use_gate) + heads * width + ffn; /* heads: their rates */
    return 2 * matrices + cost_of(c, layer).flops;
}

double il_config_flops_per_token(const il_config *c, uint64_t position, int with_logits) {
    double width = c->width, size = c->fast_head_size, logits = 2.0 * c->vocab_size * width, learning = 0, layers = 0;
    for (int i = 0; i < c->layers; i++) layers += layer_flops(c, i, (double)position);
    if (size > 0) { /* it learns from the logits of every token: features, their part of the logits, the update */
        with_logits = 1;
        learning = size * (2 * width + 4.0 * (c->fast_head_tokens ? c->fast_head_tokens : c->vocab_size));
    }
    return layers + (with_logits ? logits + learning : 0);
}

double il_config_state_bytes_per_token(const il_config *c, uint64_t position) {
    double floats = 0;
    for (int i = 0; i < c->layers; i++) {
        if (is_delta(c, i) || rule_of(c, i))
            floats += cost_of(c, i).carry + (c->mini_batch + 1) / 2.0 * cost_of(c, i).row;
        else
            floats += 2.0 * (double)attention_of(c).keys * seen(c, i, (double)position); /* keys and values */
    }
    return floats * sizeof(float);
}

uint64_t il_config_fast_weights(const il_config *c) {
    uint64_t n = 0;
    for (int i = 0; i < c->layers; i++) {
        if (rule_of(c, i)) n += size_of(c, rule_of(c, i)).fast_weights;
        if (is_delta(c, i)) n += delta_of(c).start;
    }
    return n;
}
