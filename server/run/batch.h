/* batch.h: what the sequences under way are fed together in a step: a token of every answer, and pieces of the prompts
 * that wait, so large that a step takes about 60 ms. */
#ifndef SERVER_BATCH_H
#define SERVER_BATCH_H

#include "run/sequence.h"

/* A row of logits, to be drawn from by one thread. */
typedef struct batch_row {
    size_t feed, row; /* the row-th of that feed */
    int finite;
} batch_row;

typedef struct batch {
    il_engine *engine;
    int vocab_size, width, threads;
    drawer *drawers; /* [threads] */
    size_t prompt_rows;
    float *rows;      /* [streams_max + prompt_rows, vocab_size] */
    batch_row *drawn; /* [n_rows] of the same, those of a feed next to each other */
    float *hidden;    /* [n_hidden, width] of streams_max + PASS: final hidden vectors, where they are asked for */
    size_t n_rows, n_hidden, n;
    il_feed *feeds; /* [n] of streams_max */
    sequence **fed; /* [n] of streams_max, whose they are */
    size_t prompts; /* tokens of prompts among them */
    int piece;      /* tokens of prompts in a step, by how long the last ones took */
    size_t turn;
} batch;

int batch_open(batch *b, il_engine *engine, const il_model *model, int tokens, int streams_max); /* 0: no memory */
void batch_close(batch *b); /* also of a zeroed one */
/* Feeds sequences [n], which do not move until they have been digested: feeds[i] is what fed[i] has read. One that
 * could not be fed has given its job a problem. 0: there was nothing to feed. */
int batch_feed(batch *b, sequence *sequences, size_t n);
/* Draws what they are to draw, on all threads of the engine, and moves them on. */
void batch_digest(batch *b);

#endif
