/* draw.h: the next token of an answer, drawn from the logits that predict it as the request wants it. Knows no session
 * and no scheduler. */
#ifndef SERVER_DRAW_H
#define SERVER_DRAW_H

#include "run/choice.h"

/* What drawing needs, for one thread at a time. */
typedef struct drawer {
    const il_engine *engine;
    int vocab_size;      /* of a row of logits */
    int drawn_max;       /* tokens below it can be drawn: those beyond the tokenizer's vocabulary stand for no text */
    float *scratch;      /* [vocab_size] */
    unsigned char *seen; /* [vocab_size], 0 */
} drawer;

int drawer_open(drawer *d, const il_engine *engine, const il_model *model, int tokens); /* 0: no memory */
void drawer_close(drawer *d);                                                           /* also of a zeroed one */

/* Adds the next token to the choice `c` of a prompt, the j-th of its answers. logits [vocab_size], which it changes,
 * predict it; position: how many tokens stand before it. 0: one of them is not finite. */
int draw(drawer *d, choice *c, const il_tokens *prompt, size_t j, uint64_t position, float *logits);
/* Fills a record of the choice, of a token of the prompt, from the logits that predict it. 0: as above. */
int draw_record(const drawer *d, choice *c, size_t record, const float *logits);

#endif
