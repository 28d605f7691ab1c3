/* model.h: what il_model holds: the weights in one block laid out by the tensor table, where each layer's tensors lie,
 * and what is derived from the weights. build.h makes one; every pass only reads it. */
#ifndef IL_MODEL_MODEL_H
#define IL_MODEL_MODEL_H

#include "engine/engine.h"
#include "engine/low_precision.h"
#include "inner/rule.h"
#include "model/config.h"
#include "tensor/table.h"
#include <pthread.h>
#include <stdatomic.h>

#define IL_NONE SIZE_MAX

struct il_mixer;
struct il_workspace;

/* The weights [out, in] of a dense layer: fp32 in the block, and their packed copy once there is one; or in low
 * precision, packed only. */
typedef struct il_dense {
    il_weight_type type;
    size_t at; /* offset in floats in il_model.weights; IL_NONE: this model has none, or a low-precision one */
    int out, in;
    size_t packed; /* offset in floats in il_model.packed, or in bytes in il_model.lp */
} il_dense;

/* A causal depthwise convolution over time: weight [channels, 1, taps] and bias [channels]. */
typedef struct il_conv {
    int channels, taps;
    size_t w, b; /* IL_NONE: this layer has none; b alone: no bias */
} il_conv;

/* The weight [n] of an RMS norm, and with norm_offset its place in il_model.norm_scales. */
typedef struct il_norm {
    size_t w, scale; /* w IL_NONE: this layer has none */
    int n;
} il_norm;

/* One layer: its mixer, and the offsets of its tensors; IL_NONE where it has none. */
typedef struct il_layer {
    const struct il_mixer *mixer;
    const il_rule *rule; /* of a TTT layer; else NULL */
    size_t begin;        /* offset of its first tensor: before it are those of lower layers and the embedding's */
    int heads; /* that have fast weights, of `shape` each: H in a TTT layer, key heads of the gated delta rule; or 0 */
    il_rule_shape shape;
    int window; /* of sliding attention: tokens that a token sees; 0: attention sees all before it */
    int n_rule_tensors;
    il_rule_tensor rule_tensors[IL_RULE_TENSORS_MAX];

    il_norm conv_norm, seq_norm, ffn_norm, q_norm, k_norm; /* the last two of a head of attention */
    il_conv pre_conv, conv_q, conv_k; /* the last two with share_qk; conv_q of the gated delta rule: over q, k and v */
    il_dense wq, wk, wv, wo, wg;      /* of the gated delta rule: wq in_proj_qkv, wg in_proj_z */
    size_t bq, bk, bv, bo;            /* of attention */
    size_t rule_at[IL_RULE_TENSORS_MAX];
    il_dense lr; /* [H, D]: learnable_ttt_lr_weight; in_proj_b */
    size_t lr_b, token_idx, post_norm_w, post_norm_b;
    il_dense decay;                      /* [value heads, D]: in_proj_a */
    size_t decay_log, decay_bias, start; /* A_log, dt_bias, S0 */
    il_dense w1, w2, w3;                 /* gate_proj, down_proj, up_proj */
} il_layer;

struct il_model {
    atomic_int references;
    il_engine *engine;
    il_config config;
    il_table table;
    il_norm norm;
    il_dense embedding; /* read by rows, as are those of the taps */
    il_dense taps[IL_TAPS_MAX];
    il_dense head; /* the same when tied */
    il_layer *layers;
    const struct il_mixer *mixers[4]; /* [n_mixers]: those that the layers have, each once */
    int n_mixers;
    il_model *owner;   /* of the weights, where they are shared with a model that cannot change; NULL: this one */
    float *weights;    /* [table.floats] */
    unsigned char *lp; /* [lp_bytes]: panels of all low-precision matrices; NULL: there are none */
    size_t lp_bytes;

    /* Whoever changes the weights raises version; packs, the tok table and norm_scales follow it. */
    uint64_t version;        /* starts at 1 */
    uint64_t packed_version; /* 0: never packed */
    uint64_t tok_version;
    float *packed;
    size_t packed_floats;
    float *tok;                 /* [layers, b]: max(0, 1/(i+1) + learnable_token_idx); NULL: no layer is TTT */
    float *rope_cos, *rope_sin; /* [b, d/2]: angles inside a mini-batch; NULL: no layer is TTT */
    float *rope_frequencies;    /* [rotary width / 2] of attention; NULL: no layer has it */
    float *norm_scales;         /* [norm_floats]: 1 + weight of all RMS norms; NULL without norm_offset */
    size_t norm_floats;
    uint64_t norm_version;
    float *fast_projection; /* [D, fast_head_size] (fast_head.h); NULL: none */
    size_t fast_floats;     /* of a fast head */

    pthread_mutex_t lock; /* one forward pass at a time; guards work, packs, tok and norm_scales */
    struct il_workspace *work;

    pthread_mutex_t fingerprint_lock; /* guards the two below */
    uint64_t fingerprint_version;     /* 0: never computed */
    char fingerprint[33];
};

/* Brings the tok table and the scales of norms, and if asked the packed weights, up to model->version. Called with the
 * lock held. */
il_status il_model_refresh(il_model *model, int packs, il_error *error);
/* What packed weights of a model in fp32 take, whether there are any yet or not. With the lock held. */
size_t il_model_packed_bytes(il_model *model);
/* y [m, out] = x [m, in] · W^T: from the pack if it is fresh, else from the plain weights; the bits are the same.
 * quantized: room for m rows of x in integers (il_quantized_bytes), NULL unless the weights are int8 or int4. */
void il_model_product(const il_model *model, const il_dense *dense, int m, const float *x, ptrdiff_t ldx,
                      void *quantized, float *y, ptrdiff_t ldy);
/* The most inputs and the most numbers, inputs or outputs, that a matrix of a layer has. */
int il_model_most_inputs(const il_model *model);
int il_model_most_width(const il_model *model);
/* A tensor of the table that is held in a low-precision type. */
il_lp_matrix il_model_lp(const il_model *model, const il_table_entry *entry);
/* IL_ERR_UNSUPPORTED unless the weights are fp32, which alone have gradients. */
il_status il_model_check_trainable(const il_model *model, il_error *error);
/* Whether a layer learns while it reads: it has fast weights, and is frozen or not. */
int il_model_is_recurrent(const il_model *model);
/* RoPE: the frequencies theta^(-2m/d), m < d/2, of a TTT head's d; those of attention, with rope_scaling. */
void il_rope_ttt_frequencies(const il_config *config, float *frequencies);
void il_rope_frequencies(const il_config *config, float *frequencies);
/* The angles of n frequencies at a position, as cosine and sine [n]. */
void il_rope_angles(int n, const float *frequencies, uint64_t position, float *cosine, float *sine);

/* One head of a TTT layer as its rule sees it; lr_scale from the config times inner_lr (1 outside training). After
 * il_model_refresh. */
il_inner_head il_model_inner_head(const il_model *model, int layer, int head, float inner_lr);

/* Rows *from .. *to - 1 of a matrix, a piece of `pieces` (none where they are equal): whole panels, so that no two
 * threads write one. */
static inline void il_panel_piece(size_t rows, size_t piece, size_t pieces, size_t *from, size_t *to) {
    size_t panels = (rows + IL_LANES - 1) / IL_LANES;
    *from = panels * piece / pieces * IL_LANES;
    *to = panels * (piece + 1) / pieces * IL_LANES;
    if (*to > rows) *to = rows;
}

static inline const float *il_weight(const il_model *model, size_t at) {
    return at == IL_NONE ? NULL : model->weights + at;
}
/* What an RMS norm multiplies by, [norm->n]. After il_model_refresh. */
static inline const float *il_norm_scale(const il_model *model, const il_norm *norm) {
    return model->norm_scales ? model->norm_scales + norm->scale : model->weights + norm->w;
}

#endif
