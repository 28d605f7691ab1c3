/* mixer.h: a mixer is how the tokens of one layer see each other: TTT with any inner rule, or self-attention. One of
 * the two interfaces in the library with several implementations (the other is inner/rule.h); every layer has one, so
 * that a model of different mixers is a matter of its config. A mixer is complete in its file; mixers.c lists them.
 *
 * The loops over layers (forward.c, backward.c), states, state files and the tape call mixers through this table and
 * know none of them by name. What a mixer keeps of a sequence it must be able to give back at any position from the
 * start of the previous mini-batch on: that is how a session rewinds (state.h). NULL: nothing to do. */
#ifndef IL_MODEL_MIXER_H
#define IL_MODEL_MIXER_H

#include "model/declare.h"
#include "model/pass.h"

/* Of a sequence at a position, that may still go back to `limit`. */
typedef struct il_extent {
    uint64_t position, limit;
    int frozen;
} il_extent;

/* A tensor of a state file: what a mixer keeps of one layer. */
typedef struct il_kept_tensor {
    const char *name; /* "carry.current" */
    int rank;
    size_t shape[3];
} il_kept_tensor;
enum { IL_KEPT_TENSORS_MAX = 8 };

/* Goes through a tensor in the order of the file: n floats at `at`, `stride` apart. */
typedef struct il_visitor {
    il_status (*visit)(struct il_visitor *visitor, float *at, ptrdiff_t stride, size_t n);
    float *room; /* [mixer->room]: when writing, for floats that are not kept as they are written; NULL when reading */
} il_visitor;

typedef struct il_mixer {
    /* Adds the layer's tensors and notes where they lie. */
    void (*declare)(il_declarer *declarer, il_layer *layer);
    /* The activations that the mixer needs, and on a tape what backward needs besides. */
    void (*acts)(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts);
    /* Floats of worker scratch for forward, and for backward. */
    size_t (*scratch)(const il_model *model, int layer);
    size_t (*scratch_backward)(const il_model *model, int layer);

    /* Once before the layers of a pass. */
    void (*begin)(const il_pass *pass);
    /* acts->xn -> work->mix [T,D], after wo; fills acts->q … z; moves on what the states keep, but not their
     * position. */
    void (*forward)(const il_pass *pass, int layer);
    /* dmix [T,D] -> dxn [T,D] (=); gradients of the layer's mixer tensors += into grad [table.floats]. After a forward
     * pass with a tape. Every sum has one order, whatever the number of threads. */
    void (*backward)(const il_pass *pass, int layer, const float *dmix, float *dxn, float *grad, il_backspace *space);

    /* next = the fast weights of a head after a mini-batch of rows; not in place. scratch as in forward. NULL: none. */
    void (*commit)(const il_pass *pass, int layer, int head, const float *carry, const float *rows, float *next,
                   float *scratch);

    /* What a sequence keeps of a layer in memory of constant size. */
    void (*keep)(il_arena *arena, const il_state *state, int layer, il_kept *kept);
    /* Position 0. */
    void (*reset)(il_state *state, int layer);
    /* Floats of a page: what a layer keeps of IL_KV_PAGE positions, in memory that grows with the sequence. Pages are
     * only ever appended to, so that a pass can be undone without them. NULL: memory is of constant size. */
    size_t (*page_floats)(const il_model *model, int layer);
    /* Whether a pass that began at position start left finite numbers, where its hidden vectors would not tell. */
    int (*all_finite)(const il_state *state, int layer, uint64_t start);
    /* il_session_layer_stats. */
    il_status (*stats)(const il_state *state, int layer, il_layer_stats *stats, il_error *error);

    /* State files: the tensors that a sequence of that extent has, at most IL_KEPT_TENSORS_MAX; tensor `tensor` of that
     * list, of a state whose `oldest` is the extent's limit; floats of il_visitor.room. */
    int (*tensors)(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list);
    il_status (*visit)(const il_state *state, int layer, const il_kept_tensor *tensor, il_visitor *visitor);
    size_t (*room)(const il_model *model, int layer);
} il_mixer;

#endif
