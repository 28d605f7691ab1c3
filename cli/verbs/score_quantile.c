/* score_quantile.c: see score_quantile.h. Two histograms: epochs are of 1, 2, 4, … scores, and when one is over the one
 * before it is dropped. Bins are found by exact arithmetic, so that a mark is the same on every machine. */
#include "verbs/score_quantile.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST = -16 }; /* exponent of the smallest bin */

/* 0 is in the middle. */
static int bin_of(double score) {
    int exponent, bin = SCORE_BINS_SIDE;
    if (isfinite(score)) {
        double fraction = frexp(fabs(score), &exponent); /* in [0.5, 1) */
        bin = (exponent - 1 - LEAST) * SCORE_BINS_OCTAVE + (int)((2 * fraction - 1) * SCORE_BINS_OCTAVE) + 1;
    }
    if (score == 0 || bin < 1) bin = 0;
    if (bin > SCORE_BINS_SIDE) bin = SCORE_BINS_SIDE;
    return SCORE_BINS_SIDE + (score < 0 ? -bin : bin);
}

/* The largest number that a bin may hold. */
static double upper_edge(int bin) {
    int low = bin < SCORE_BINS_SIDE;
    int steps = abs(bin - SCORE_BINS_SIDE) - low; /* below 0 the edge nearer to 0 is the upper one */
    double edge = ldexp(1 + (double)(steps % SCORE_BINS_OCTAVE) / SCORE_BINS_OCTAVE, LEAST + steps / SCORE_BINS_OCTAVE);
    return low ? -edge : edge;
}

void score_quantile_begin(score_quantile *q, double share) {
    memset(q, 0, sizeof *q);
    q->share = share;
    q->epoch = 1;
    q->limit = INFINITY;
}

void score_quantile_add(score_quantile *q, double score) {
    if (isnan(score)) return;
    q->seen++;
    q->bins[1][bin_of(score)]++;
    if (++q->n[1] < q->epoch) return;
    memcpy(q->bins[0], q->bins[1], sizeof q->bins[0]);
    memset(q->bins[1], 0, sizeof q->bins[1]);
    q->n[0] = q->n[1];
    q->n[1] = 0;
    q->epoch *= 2;
}

double score_quantile_now(score_quantile *q) {
    if (q->seen < q->due) return q->limit;
    double may = (double)(q->n[0] + q->n[1]) * (1 - q->share), above = 0; /* so many may lie above */
    int bin = SCORE_BINS;
    while (above <= may && bin > 0) {
        bin--;
        above += (double)(q->bins[0][bin] + q->bins[1][bin]);
    }
    q->limit = may < 1 ? INFINITY : upper_edge(bin);
    q->due = q->seen + q->seen / 256 + 1;
    return q->limit;
}
