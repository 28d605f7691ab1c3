/* curves.h: curves as SVG in a page, drawn so that they fill any width while lines stay thin and words stay readable:
 * words are HTML beside the drawing. The page's style sheet is cli_curves_style and what it has of its own. */
#ifndef CLI_CURVES_H
#define CLI_CURVES_H

#include <stddef.h>
#include <stdio.h>

typedef struct cli_curve {
    const double *x, *y;      /* [n]; y NaN: not there */
    const double *low, *high; /* [n] a band around it; NULL: none */
    size_t n;
    const char *kind; /* class of the style sheet: "a" to "c", or one of the page's own */
    int dots;         /* points are marked */
    int no_line;      /* and nothing else */
} cli_curve;

typedef struct cli_curves {
    const char *title, *now; /* now: what it has come to, in words; may be "" */
    const cli_curve *lines;  /* [n_lines] */
    size_t n_lines;
    double x_max;
    double y_low, y_high; /* what must be in sight; NaN: whatever the lines have */
    int from_zero;        /* 0 is in sight */
    int small;            /* one of many beside each other: fewer words */
} cli_curves;

extern const char cli_curves_style[];
/* A chart, or nothing where no line has a point. */
void cli_curves_put(FILE *file, const cli_curves *c);
/* A number as people read it: "12,345", "1.23 M", "0.00031". Good until the eighth call after this one. */
const char *cli_curves_number(double value);

#endif
