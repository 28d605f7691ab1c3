/* weights.h: sources that are mixed by weight: which one a sequence comes from, and how many came from it before, as a
 * function of the sequence's number alone. */
#ifndef IL_TEXT_WEIGHTS_H
#define IL_TEXT_WEIGHTS_H

#include "innerloop.h"

enum { IL_WEIGHTS_PERIOD = 10000 };

typedef struct il_weights {
    size_t n;         /* sources */
    uint32_t *slots;  /* [n] of a period, each ≥ 1 */
    uint32_t *source; /* [IL_WEIGHTS_PERIOD] */
    uint32_t *rank;   /* [IL_WEIGHTS_PERIOD] slots of the same source before this one */
} il_weights;

/* weights [files], as in il_data_options. IL_ERR_ARG, saying what is wrong with them. Release on failure too. */
il_status il_weights_open(const il_allocator *allocator, const double *weights, size_t files, il_weights *w,
                          il_error *error);
void il_weights_close(const il_allocator *allocator, il_weights *w);
/* The source of sequence i, and how many of the sequences before it are from the same one. */
uint64_t il_weights_at(const il_weights *w, uint64_t i, uint64_t *count);
/* "7000 3000", released by free; NULL: no memory. */
char *il_weights_text(const il_weights *w);

#endif
