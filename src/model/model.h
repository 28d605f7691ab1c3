/* model.h: what il_model holds: the weights in one block laid out by the tensor table, and where each tensor
 * lies. */
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

/* A weight matrix [out, in]: fp32 in the block, and its packed copy once there is one; or low-precision, packed only.
 */
typedef struct il_dense {
    il_weight_type type;
    size_t at; /* offset in floats in il_model.weights; IL_NONE: this model has none, or a low-precision one */
    int out, in;
    size_t packed; /* offset in floats in il_model.packed, or in bytes in il_model.lp */
} il_dense;

/* Offsets of one layer's tensors; IL_NONE where the config has none. */
typedef struct il_layer {
    size_t conv_norm, conv_w, conv_b; /* pre_conv */
    size_t seq_norm, ffn_norm;
    il_dense wq, wk, wv, wo, wg;
    size_t conv_q_w, conv_q_b, conv_k_w, conv_k_b; /* share_qk */
    size_t rule[IL_RULE_TENSORS_MAX];
    il_dense lr; /* [H, D]: learnable_ttt_lr_weight */
    size_t lr_b, token_idx, post_norm_w, post_norm_b;
    il_dense w1, w2, w3; /* gate_proj, down_proj, up_proj */
} il_layer;

struct il_workspace;

struct il_model {
    atomic_int references;
    il_engine *engine;
    il_config config;
    const il_rule *rule; /* NULL: self-attention */
    il_rule_shape shape;
    int n_rule_tensors;
    il_rule_tensor rule_tensors[IL_RULE_TENSORS_MAX];
    il_table table;
    size_t embed, norm; /* embed: IL_NONE when low-precision */
    il_dense embedding; /* read by rows */
    il_dense head;      /* the same when tied */
    il_layer *layers;
    float *weights;    /* [table.floats] */
    unsigned char *lp; /* [lp_bytes]: panels of all matrices of low-precision types; NULL: there are none */
    size_t lp_bytes;

    /* Whoever changes the weights raises version; packs and the tok table follow it. */
    uint64_t version;        /* starts at 1 */
    uint64_t packed_version; /* 0: never packed */
    uint64_t tok_version;
    float *packed;
    size_t packed_floats;
    float *tok;                 /* [layers, b]: max(0, 1/(i+1) + learnable_token_idx); NULL: self-attention */
    float *rope_cos, *rope_sin; /* [b, d/2]: angles inside a mini-batch; NULL: self-attention */
    float *fast_projection;     /* [D, fast_head_size] (fast_head.h); NULL: none */
    size_t fast_floats;         /* of a fast head */

    pthread_mutex_t lock; /* one forward pass at a time; guards work, packs and tok */
    struct il_workspace *work;

    pthread_mutex_t fingerprint_lock; /* guards the two below */
    uint64_t fingerprint_version;     /* 0: never computed */
    char fingerprint[33];
};

/* An il_model with zeroed weights, all tensors declared and ready to be filled; one reference. config->weights: how its
 * matrices are held. */
il_status il_model_new(il_engine *engine, const il_config *config, il_model **model, il_error *error);
/* il_model_new in two steps, for a loader that checks a file's shapes before it asks for their memory: everything but
 * the weights, then the zeroed weights. */
il_status il_model_declare(il_engine *engine, const il_config *config, il_model **model, il_error *error);
il_status il_model_allocate(il_model *model, il_error *error);
/* Brings the tok table, and if asked the packed weights, up to model->version. Called with the lock held. */
il_status il_model_refresh(il_model *model, int packs, il_error *error);
/* y [m, out] = x [m, in] · W^T: from the pack if it is fresh, else from the plain weights; the bits are the
 * same. */
void il_dense_forward(const il_model *model, const il_dense *linear, int m, const float *x, ptrdiff_t ldx, float *y,
                      ptrdiff_t ldy);
/* The embedding of a token, [width]. */
void il_model_embedding(const il_model *model, int token, float *x);
/* A tensor of the table that is held in a low-precision type. */
il_lp_matrix il_model_lp(const il_model *model, const il_table_entry *entry);
/* IL_ERR_UNSUPPORTED unless the weights are fp32, which alone have gradients. */
il_status il_model_check_trainable(const il_model *model, il_error *error);
/* RoPE angles p * theta^(-2m/d), m < d/2, as cosine and sine [d/2]. */
void il_rope_angles(const il_config *config, uint64_t position, float *cosine, float *sine);

/* One head as its rule sees it; lr_scale from the config times inner_lr (1 outside training). After
 * il_model_refresh. */
il_inner_head il_model_inner_head(const il_model *model, int layer, int head, float inner_lr);

static inline const float *il_weight(const il_model *model, size_t at) {
    return at == IL_NONE ? NULL : model->weights + at;
}

#endif
