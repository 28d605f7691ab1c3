/* score_top.h: the K most surprising units of a text so far, whatever its length. */
#ifndef CLI_SCORE_TOP_H
#define CLI_SCORE_TOP_H

#include "verbs/score_units.h"

typedef struct score_entry {
    double score;
    score_line line; /* of a token or a passage: its unit and text */
    int32_t token;
} score_entry;

typedef struct score_top {
    size_t n, capacity;   /* capacity 0: keeps none */
    score_entry *entries; /* [capacity]; a heap, the first has the lowest score */
} score_top;

void score_top_begin(score_top *top, size_t capacity);
void score_top_close(score_top *top); /* also of a zeroed one */
/* Keeps a copy if it belongs to them, and whether it does; of equal scores the first. token: -1 unless it is one. NaN
 * is left out. */
int score_top_add(score_top *top, double score, const score_line *line, int32_t token);
/* Puts the highest first. Nothing can be added after. */
void score_top_sort(score_top *top);

#endif
