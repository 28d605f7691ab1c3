/* freeze.h: which tensors an outer step leaves alone, as ranges of the block of weights. */
#ifndef IL_TRAIN_FREEZE_H
#define IL_TRAIN_FREEZE_H

#include "model/model.h"

typedef struct il_float_range {
    size_t from, to; /* floats of the block */
} il_float_range;

typedef struct il_freeze {
    const il_allocator *allocator;
    il_float_range *frozen; /* [n] ascending */
    size_t n;
    char name[48]; /* of the set of tensors, for the record of a run: "2 tensors, 0123456789abcdef"; "": none */
} il_freeze;

/* The tensors whose name matches one of the patterns, with * ? and [] as in a shell. IL_ERR_ARG when a pattern matches
 * none, or all tensors match. */
il_status il_freeze_open(const il_model *model, const char *const *patterns, size_t n, il_freeze *freeze,
                         il_error *error);
void il_freeze_close(il_freeze *freeze); /* an all-zero one is fine */
/* Zeroes what is frozen in a block of gradients. */
void il_freeze_zero(const il_freeze *freeze, float *gradient);
/* The next range of from .. end-1 that is trained; 0: there is none. freeze NULL: all is. */
int il_freeze_next(const il_freeze *freeze, size_t from, size_t end, il_float_range *trained);

#endif
