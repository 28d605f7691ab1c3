/* batch.h: what the sequences under way are fed together in a step: a token of every answer, and pieces of the prompts
 * that wait, so large that a step takes about 60 ms. */
#ifndef SERVER_BATCH_H
#define SERVER_BATCH_H

#include "sequence.h"

typedef struct batch {
    int vocab_size;
    size_t prompt_rows;
    float *rows; /* [streams_max + prompt_rows, vocab_size] */
    size_t n;
    il_feed *feeds; /* [n] of streams_max */
    sequence **fed; /* [n] of streams_max, whose they are */
    size_t prompts; /* tokens of prompts among them */
    int piece;      /* tokens of prompts in a step, by how long the last ones took */
    size_t turn;
} batch;

int batch_open(batch *b, const il_model *model, int streams_max); /* 0: no memory */
void batch_close(batch *b);                                       /* also of a zeroed one */
/* Feeds sequences [n], which do not move until they have been digested: feeds[i] is what fed[i] has read, with the
 * logits that it needs. One that could not be fed has given its job a problem. 0: there was nothing to feed. */
int batch_feed(batch *b, sequence *sequences, size_t n);

#endif
