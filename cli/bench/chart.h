/* chart.h: line and bar charts as SVG, and the look of the pages of the demo and of `bench` they stand on. Knows
 * numbers, axes and labels; not what they mean. Colours come from
 * the classes that chart_style defines. Every call writes to `out` and cannot fail otherwise than the stream
 * does. */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stddef.h>
#include <stdio.h>

enum { CHART_LINES_MAX = 8, CHART_MARKS_MAX = 2 };

typedef struct chart_line {
    const char *label,
        *class;          /* label: at the line's end, escaped here; class: "ttt", "mlp", "frozen" or "transformer" */
    const double *x, *y; /* [n], x ascending */
    size_t n;
    int points; /* a dot with a tooltip at every value */
} chart_line;

typedef struct chart {
    const char *title, *x_label, *y_label;
    const char *y_unit;   /* of tooltips, " ms" */
    double width, height; /* pixels, labels included */
    double label_room;    /* of them, right of the plot */
    int log_x, log_y;     /* x: powers of two, y: powers of ten; ranges above 0 then */
    int y_from_zero;
    double y_max; /* 0: the largest value */
    struct {
        double x;
        const char *label;
        int before;           /* the label stands left of the line */
    } marks[CHART_MARKS_MAX]; /* vertical lines, labelled at their feet */
    size_t n_marks;
    chart_line lines[CHART_LINES_MAX];
    size_t n_lines;
} chart;

typedef struct chart_bar {
    char label[120];
    const char *class;
    double value;
} chart_bar;

/* One <g> at (left, top), with no <svg> around it. */
void chart_draw(FILE *out, const chart *c, double left, double top);
/* The chart as a <figure> with its caption (HTML). */
void chart_figure(FILE *out, const chart *c, const char *caption);
/* Horizontal bars from 0; returns the height used. */
double chart_bars(FILE *out, const chart_bar *bars, size_t n, double width, double label_room);
/* The rules of the classes above; with dark = 1 also the ones for a dark page. */
void chart_style(FILE *out, int dark);
/* A <style> with these rules and those of a page of headings, tables, figures and .grid2, two of them abreast. */
void chart_page_style(FILE *out);
/* 1, 2, 5 or 10 times a power of ten, at least `least`: a step of an axis. */
double chart_step(double least);
/* Text with <, >, & and quotes escaped, and control characters left out; newline becomes <br> when breaks is
 * set. */
void chart_text(FILE *out, const char *text, int breaks);

#endif
