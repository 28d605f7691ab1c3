/* score_quantile.h: a quantile of the scores seen so far, as they come, in constant memory. It is of the latest half to
 * three quarters of them, so that what was scored before the text was known does not count for ever. */
#ifndef CLI_SCORE_QUANTILE_H
#define CLI_SCORE_QUANTILE_H

#include <stdint.h>

/* Scores are counted in bins of 1/64 of a power of two, from 2^-16 to 2^24, and as many below 0. */
enum { SCORE_BINS_OCTAVE = 64, SCORE_BINS_SIDE = 40 * SCORE_BINS_OCTAVE, SCORE_BINS = 2 * SCORE_BINS_SIDE + 1 };

typedef struct score_quantile {
    double share;                 /* 0.999: what one of a thousand exceeds */
    uint64_t seen, n[2], epoch;   /* scores in all, in each of bins, and how many the second will hold */
    uint64_t bins[2][SCORE_BINS]; /* of the epoch before, and of this one */
    double limit;
    uint64_t due; /* scores after which limit is found anew */
} score_quantile;

void score_quantile_begin(score_quantile *quantile, double share);
void score_quantile_add(score_quantile *quantile, double score); /* NaN is left out */
/* What a score must exceed; infinite until there were so many that one of them may. */
double score_quantile_now(score_quantile *quantile);

#endif
