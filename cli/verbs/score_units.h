/* score_units.h: what `innerloop score` measures: tokens, lines, passages and the whole, what each of them scores, and
 * how deep its colour is. Knows nothing of how they are shown. */
#ifndef CLI_SCORE_UNITS_H
#define CLI_SCORE_UNITS_H

#include <stddef.h>
#include <stdint.h>

/* Steps of colour from "as expected" to "a shock"; relative: 0, then from "fits the text so far" to "goes against it".
 */
enum { SCORE_LEVELS = 12, SCORE_SHOCK = 16, SCORE_SIDE = 5, SCORE_RELATIVE_LEVELS = 2 * SCORE_SIDE + 1 };

/* A token, a line, a passage, or everything so far. Tokens that nothing predicts are in no sum. */
typedef struct score_unit {
    uint64_t index;             /* 1, 2, … */
    uint64_t first_line, lines; /* a passage's; of a line: its own number and 1; of a token: its line's and 0 */
    uint64_t tokens, bytes;
    double nats, slow; /* slow: without what the fast head has learned of this text; with --relative */
    double mean;       /* bits per byte of everything so far, this included */
    double peak;       /* of a line, with --peak: how far its worst place stands out (peak.h) */
    double limit;      /* what its score is compared with: --threshold, or the quantile before it; with a threshold */
    int above;         /* its score exceeds that */
} score_unit;

double score_bits(const score_unit *unit);     /* in all */
double score_per_byte(const score_unit *unit); /* NaN without bytes */
int score_is_blank(const char *text, size_t bytes);

/* Whole characters and what the tokens that completed them cost; NaN: nothing predicted them. */
typedef struct score_cell {
    size_t at, bytes; /* of the line's text, well-formed UTF-8 */
    double bits;      /* relative where that is asked for */
} score_cell;

typedef struct score_line {
    score_unit unit;
    char *text; /* its line end, if it has one, too */
    size_t bytes, capacity;
    size_t worst_from, worst_to; /* of text: with --peak */
    score_cell *cells;
    size_t n_cells, cells_capacity;
} score_line;

typedef enum score_by { SCORE_BY_TOKEN, SCORE_BY_LINE, SCORE_BY_PASSAGE } score_by;

typedef struct score_view {
    score_by by;
    int json, frozen, relative, peak, has_threshold;
    int selects;      /* only some units are shown, each by itself: --only-marked, --top */
    double threshold; /* with --quantile: the latest */
    double quantile;  /* 0: not asked for */
    const char *name; /* of the text */
    char model[33];
} score_view;

/* What a unit is judged by: bits of a token, bits per byte of anything else; of a line with --peak its peak; relative:
 * less what it would have cost had the fast head not learned, negative where the text so far has helped. NaN: nothing
 * predicted it, or no bytes. */
double score_of(const score_view *view, const score_unit *unit, score_by by);
double score_relative(const score_unit *unit, score_by by);
/* The level of colour; 0: none. Surprise: steps of equal bits, the last of which begins a step below SCORE_SHOCK.
 * Relative: 1 .. SCORE_SIDE for what fits, the best fit first, then as many for what goes against the text, the worst
 * last; at 1 bit either way half of a side is reached. */
int score_level(const score_view *view, double bits);

#endif
