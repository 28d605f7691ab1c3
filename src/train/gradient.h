/* gradient.h: the recipe's loss over a batch of sequences and its gradient, a few sequences at a time. Owns
 * all memory that takes; knows nothing of optimizers or files. */
#ifndef IL_TRAIN_GRADIENT_H
#define IL_TRAIN_GRADIENT_H

#include "model/bf16.h"
#include "model/pass.h"

/* Sequences go through a pass together as long as they have at most this many tokens: enough rows for the
 * products, few enough for memory. Part of the order of every sum over tokens: changing it changes bits. */
enum { IL_MICRO_TOKENS = 2048 };

typedef enum il_gradient_kind {
    IL_LOSS_ONLY, /* only il_gradient_loss may be called; the memory for gradients is saved */
    IL_GRADIENT,
    IL_GRADIENT_BF16 /* il_gradient_batch multiplies as bf16.h says */
} il_gradient_kind;

typedef struct il_gradient {
    il_model *model;
    int sequences, length, micro; /* at most, of a batch; tokens a sequence; sequences a pass */
    il_gradient_kind kind;
    uint64_t bytes; /* all that is allocated, packs included */
    size_t pack_bytes;
    int packs;    /* a batch takes several exact passes: worth packing the weights once, as much memory as they are */
    int stateful; /* each sequence of a batch goes on from its lane's state unless it is fresh */
    il_workspace work;
    il_tape tape;
    il_backspace space;
    il_bf16 bf16;     /* IL_GRADIENT_BF16 */
    il_state *states; /* [stateful ? sequences : micro] */
    int n_states;
    void *block;
    float *gradient;           /* [table.floats] of the last batch */
    double *losses;            /* [sequences] of the last batch */
    float *weight, *nll;       /* [T] */
    int32_t *inputs, *targets; /* [T] */
    il_segment *segments;      /* [micro] */
} il_gradient;

/* IL_ERR_UNSUPPORTED where IL_GRADIENT_BF16 is not offered (il_onednn_bf16_check). */
il_status il_gradient_open(il_model *model, int sequences, int length, int stateful, il_gradient_kind kind,
                           il_gradient *gradient, il_error *error);
/* The same, in lanes of so many sequences, no two of which share a pass. Activations are computed again in the backward
 * pass, to the same bits, where that keeps it within `memory` bytes (0: no bound) and nothing else does. IL_ERR_NOMEM
 * when neither does, with the sequences that would. */
il_status il_gradient_open_within(il_model *model, int sequences, int lane, int length, int stateful,
                                  il_gradient_kind kind, uint64_t memory, il_gradient *gradient, il_error *error);
void il_gradient_close(il_gradient *gradient);
/* Some sequences of a batch, one lane of it: first .. first+n-1 of those that this gradient is for (whose number is
 * sequences of open), of `batch` in the whole batch. */
typedef struct il_lane {
    const int32_t *tokens;      /* [sequences, length+1] */
    const unsigned char *fresh; /* [sequences]; NULL: all */
    int first, n, batch;
    float inner_lr;
    /* After each layer of the last pass: from that float on the gradient is complete. NULL: nobody wants to know */
    void (*passed)(void *user, size_t from);
    void *user;
} il_lane;
/* Once before the lanes of a batch: what depends on the weights follows them. */
il_status il_gradient_begin(il_gradient *gradient, il_error *error);
/* sum [table.floats] = the lane's gradient, and losses of its sequences: their part of the batch's loss, which is the
 * sum of all in order. Errors as of il_gradient_batch. */
il_status il_gradient_lane(il_gradient *gradient, const il_lane *lane, float *sum, il_error *error);
/* tokens [sequences, length+1], fresh [sequences] (NULL: all). loss: mean over each sequence's valid targets, then over
 * sequences. IL_ERR_NONFINITE, naming the layer, when the loss is not finite. It does not look at the gradient:
 * il_gradient_check does. */
il_status il_gradient_batch(il_gradient *gradient, const int32_t *tokens, const unsigned char *fresh, int sequences,
                            float inner_lr, double *loss, il_error *error);
/* IL_ERR_NONFINITE when the last batch's gradient is not finite, naming the tensor nearest to the output. */
il_status il_gradient_check(const il_gradient *gradient, il_error *error);
/* The same loss without gradient, exact and with eta as in inference; states are those of gradient. */
il_status il_gradient_loss(il_gradient *gradient, const int32_t *tokens, const unsigned char *fresh, int sequences,
                           double *loss, il_error *error);

#endif
