/* chart.c: see chart.h. */
#include "bench/chart.h"

#include <math.h>
#include <string.h>

enum { LEFT = 58, TOP = 42, BOTTOM = 50, BAR_ROW = 27, LABEL_GAP = 15, TICKS_MAX = 64 };

typedef struct axis {
    int logarithmic;
    double min, max; /* of the data's side, after rounding outwards */
    double from, to; /* pixels */
    double ticks[TICKS_MAX];
    int n_ticks;
} axis;

/* ---- text and style ---- */

void chart_text(FILE *out, const char *text, int breaks) {
    for (const char *c = text; *c; c++) {
        switch (*c) {
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        case '&': fputs("&amp;", out); break;
        case '"': fputs("&quot;", out); break;
        case '\n': fputs(breaks ? "<br>" : " ", out); break;
        default:
            if ((unsigned char)*c >= 32) fputc(*c, out);
        }
    }
}

/* Blue, green, vermilion and grey after Okabe and Ito's palette, told apart without colour by dashes and labels too. */
void chart_style(FILE *out, int dark) {
    static const char light_colours[] =
        "--ink:#1b1f24;--soft:#59636e;--grid:#e3e6ea;--page:#ffffff;--card:#f6f8fa;"
        "--ttt:#0072b2;--mlp:#008060;--transformer:#d55e00;--frozen:#6e7781;--other:#a8b0b8;";
    static const char dark_colours[] =
        "--ink:#e8eaed;--soft:#9aa4af;--grid:#2b3138;--page:#0f1216;--card:#171b21;"
        "--ttt:#56b4e9;--mlp:#4cc3a0;--transformer:#f58a4b;--frozen:#9aa4af;--other:#59636e;";
    fprintf(out, ":root{%s}\n", light_colours);
    if (dark) fprintf(out, "@media (prefers-color-scheme:dark){:root{%s}}\n", dark_colours);
    fputs("svg text{font-family:system-ui,-apple-system,'Segoe "
          "UI',Roboto,Helvetica,Arial,sans-serif;font-size:13px;fill:var(--soft)}\n"
          "svg .title{font-size:15px;font-weight:600;fill:var(--ink)}\n"
          "svg .grid{stroke:var(--grid);stroke-width:1}\n"
          "svg .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 4}\n"
          "svg path.line{fill:none;stroke-width:2.5;stroke-linejoin:round;stroke-linecap:round}\n"
          "svg path.ttt{stroke:var(--ttt)} svg path.mlp{stroke:var(--mlp);stroke-dasharray:10 4} svg "
          "path.transformer{stroke:var(--transformer)}\n"
          "svg path.frozen{stroke:var(--frozen);stroke-dasharray:6 6} svg path.other{stroke:var(--other)}\n"
          "svg .ttt,svg text.ttt{fill:var(--ttt)} svg .mlp,svg text.mlp{fill:var(--mlp)} svg .transformer,svg "
          "text.transformer{fill:var(--transformer)}\n"
          "svg .frozen,svg text.frozen{fill:var(--frozen)} svg .other{fill:var(--other)}\n"
          "svg path.line.ttt,svg path.line.mlp,svg path.line.frozen,svg path.line.other,svg "
          "path.line.transformer{fill:none}\n"
          "svg text.end{font-weight:600} svg text.value{fill:var(--ink);font-weight:600}\n"
          "svg text.name{fill:var(--ink)}\n",
          out);
}

void chart_page_style(FILE *out) {
    fprintf(out, "<style>\n");
    chart_style(out, 1);
    fprintf(out, ":root{color-scheme:light dark}body{margin:0 "
                 "auto;max-width:1040px;padding:32px 20px "
                 "64px;background:var(--page);color:var(--ink);"
                 "font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif}\n"
                 "h1{font-size:28px;line-height:1.2;margin:0 0 4px}h2{font-size:19px;margin:40px 0 12px}\n"
                 ".soft,figcaption{color:var(--soft)}figcaption{font-size:13.5px;line-height:1.45;margin-top:6px}\n"
                 "figure{margin:0;padding:18px;background:var(--card);border-radius:12px}svg{display:block;width:100%%"
                 ";height:auto}\n"
                 ".grid2{display:grid;gap:20px;grid-template-columns:repeat(auto-fit,minmax(min(100%%,420px),1fr))}\n"
                 "ul{padding-left:20px}li{margin:8px 0}\n"
                 "blockquote{margin:0;padding:18px;background:var(--card);border-radius:12px;border-left:4px "
                 "solid;font-family:Georgia,"
                 "'Times New Roman',serif}blockquote b{font-family:system-ui,sans-serif;font-size:14px}\n"
                 "blockquote.ttt{border-color:var(--ttt)}blockquote.transformer{border-color:var(--transformer)}\n"
                 "table{border-collapse:collapse;font-size:14.5px}th,td{text-align:left;padding:6px 22px 6px "
                 "0;border-bottom:1px solid "
                 "var(--grid);font-weight:400;overflow-wrap:anywhere}tr:first-child "
                 "th{font-weight:600}th.ttt{color:var(--ttt)}"
                 "th.transformer{color:var(--transformer)}\n"
                 ".wide{overflow-x:auto}.wide table{font-size:12.5px;font-variant-numeric:tabular-nums}.wide "
                 "th,.wide td{padding-right:14px;white-space:nowrap}.wide td.soft{white-space:normal}\n</style>\n");
}

/* ---- axes ---- */

static double place(const axis *a, double value) {
    double lo = a->min, hi = a->max;
    if (a->logarithmic) {
        value = log(value > 0 ? value : lo);
        lo = log(lo);
        hi = log(hi);
    }
    double part = hi > lo ? (value - lo) / (hi - lo) : 0.5;
    if (part < 0) part = 0;
    if (part > 1) part = 1;
    return a->from + part * (a->to - a->from);
}

static void tick(axis *a, double value) {
    if (a->n_ticks < TICKS_MAX) a->ticks[a->n_ticks++] = value;
}

double chart_step(double least) {
    double power = pow(10, floor(log10(least)));
    static const double factors[] = {1, 2, 5, 10};
    for (size_t i = 0; i < 4; i++)
        if (factors[i] * power >= least * (1 - 1e-9)) return factors[i] * power;
    return 10 * power;
}

static void linear_ticks(axis *a, int most, int outwards) {
    double step = chart_step((a->max - a->min) / most);
    if (outwards) {
        a->min = floor(a->min / step + 1e-9) * step;
        a->max = ceil(a->max / step - 1e-9) * step;
    }
    for (double i = ceil(a->min / step - 1e-9); i * step <= a->max + 1e-9 * step; i++) tick(a, i * step);
}

static void power2_ticks(axis *a, int most) {
    int lo = (int)ceil(log2(a->min) - 1e-9), hi = (int)floor(log2(a->max) + 1e-9);
    int step = (hi - lo + most) / most;
    for (int k = lo; k <= hi; k += step < 1 ? 1 : step) tick(a, exp2(k));
}

/* 1, 2, 5, 10, 20, … , the ends moved outwards onto one of them. */
static void power10_ticks(axis *a) {
    static const double factors[] = {1, 2, 5};
    int lo = (int)floor(log10(a->min)) - 1, hi = (int)ceil(log10(a->max)) + 1;
    double below = 0, above = 0;
    for (int k = lo; k <= hi; k++) {
        for (int i = 0; i < 3; i++) {
            double value = factors[i] * pow(10, k);
            if (value <= a->min * 1.0001) below = value;
            if (value >= a->max * 0.9999 && above == 0) above = value;
        }
    }
    if (below > 0) a->min = below;
    if (above > 0) a->max = above;
    int sparse = a->max / a->min > 1e3;
    for (int k = lo; k <= hi; k++) {
        for (int i = 0; i < (sparse ? 1 : 3); i++) {
            double value = factors[i] * pow(10, k);
            if (value >= a->min * 0.999 && value <= a->max * 1.001) tick(a, value);
        }
    }
}

/* 512, 1k, 16k; 0.05; 1.5. */
static void tick_text(double value, int powers_of_two, char *text, size_t size) {
    if (powers_of_two && value >= 1024)
        snprintf(text, size, "%gk", value / 1024);
    else
        snprintf(text, size, "%g", fabs(value) < 1e-12 ? 0 : value);
}

static void ranges(const chart *c, axis *x, axis *y) {
    *x = (axis){.logarithmic = c->log_x, .min = INFINITY, .max = -INFINITY};
    *y = (axis){.logarithmic = c->log_y, .min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < c->n_lines; i++) {
        const chart_line *line = &c->lines[i];
        for (size_t k = 0; k < line->n; k++) {
            x->min = fmin(x->min, line->x[k]);
            x->max = fmax(x->max, line->x[k]);
            y->min = fmin(y->min, line->y[k]);
            y->max = fmax(y->max, line->y[k]);
        }
    }
    if (!(x->max >= x->min)) { /* no values at all */
        *x = (axis){.logarithmic = c->log_x, .min = 1, .max = 2};
        *y = (axis){.logarithmic = c->log_y, .min = 1, .max = 2};
    }
    if (c->y_max > 0 && y->max > c->y_max) y->max = c->y_max;
    if (c->y_from_zero && !c->log_y) y->min = 0;
    if (x->max <= x->min) x->max = x->min + 1;
    if (y->max <= y->min) y->max = y->min + 1;
    if (x->logarithmic)
        power2_ticks(x, (int)((c->width - LEFT - c->label_room) / 44));
    else
        linear_ticks(x, 6, 0);
    if (y->logarithmic)
        power10_ticks(y);
    else
        linear_ticks(y, 6, 1);
}

/* ---- lines ---- */

/* Where the labels at the right ends go: as near to their lines as they can without touching. */
static void spread(double *at, size_t n) {
    for (int round = 0; round < 50; round++) {
        int moved = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t k = i + 1; k < n; k++) {
                double gap = at[k] - at[i];
                if (fabs(gap) >= LABEL_GAP) continue;
                double push = (LABEL_GAP - fabs(gap)) / 2 + 0.1;
                at[i] += gap >= 0 ? -push : push;
                at[k] += gap >= 0 ? push : -push;
                moved = 1;
            }
        }
        if (!moved) return;
    }
}

static void draw_line(FILE *out, const chart *c, const chart_line *line, const axis *x, const axis *y) {
    size_t first = 0; /* a line begins where it enters the picture */
    while (first + 1 < line->n && line->y[first] > y->max) first++;
    if (!line->n) return;
    fprintf(out, "<path class=\"line %s\" d=\"", line->class);
    for (size_t k = first; k < line->n; k++)
        fprintf(out, "%c%.1f %.1f", k > first ? 'L' : 'M', place(x, line->x[k]), place(y, line->y[k]));
    fprintf(out, "\"/>\n");
    for (size_t k = 0; k < line->n && line->points; k++) {
        char text[32];
        tick_text(line->x[k], c->log_x, text, sizeof text);
        fprintf(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>", line->class, place(x, line->x[k]),
                place(y, line->y[k]));
        chart_text(out, line->label, 0);
        fprintf(out, ", %s: %.3g%s</title></circle>\n", text, line->y[k], c->y_unit ? c->y_unit : "");
    }
}

static void draw_axes(FILE *out, const chart *c, const axis *x, const axis *y) {
    char text[32];
    for (int i = 0; i < y->n_ticks; i++) {
        double at = place(y, y->ticks[i]);
        tick_text(y->ticks[i], 0, text, sizeof text);
        fprintf(out,
                "<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"end\">%s</text>\n",
                x->from, at, x->to, x->from - 8, at + 4.5, text);
    }
    for (int i = 0; i < x->n_ticks; i++) {
        double at = place(x, x->ticks[i]);
        tick_text(x->ticks[i], c->log_x, text, sizeof text);
        fprintf(out,
                "<path class=\"grid\" d=\"M%.1f %.1fv5\"/><text x=\"%.1f\" y=\"%.1f\" "
                "text-anchor=\"middle\">%s</text>\n",
                at, y->from, at, y->from + 19, text);
    }
    fprintf(out, "<text class=\"title\" x=\"0\" y=\"16\">");
    chart_text(out, c->title, 0);
    fprintf(out, "</text>\n<text x=\"0\" y=\"34\">");
    chart_text(out, c->y_label, 0);
    fprintf(out, "</text>\n<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", (x->from + x->to) / 2, y->from + 40);
    chart_text(out, c->x_label, 0);
    fprintf(out, "</text>\n");
    for (size_t i = 0; i < c->n_marks; i++) {
        int before = c->marks[i].before;
        if (c->marks[i].x < x->min || c->marks[i].x > x->max) continue;
        double at = place(x, c->marks[i].x);
        fprintf(out, "<path class=\"mark\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", at,
                y->to, y->from, at + (before ? -6 : 6), y->from - 9, before ? "end" : "start");
        chart_text(out, c->marks[i].label, 0);
        fprintf(out, "</text>\n");
    }
}

void chart_draw(FILE *out, const chart *c, double left, double top) {
    axis x, y;
    double ends[CHART_LINES_MAX];
    ranges(c, &x, &y);
    x.from = LEFT;
    x.to = c->width - c->label_room;
    y.from = c->height - BOTTOM; /* pixels grow downwards */
    y.to = TOP + 10;
    fprintf(out, "<g transform=\"translate(%.1f %.1f)\">\n", left, top);
    draw_axes(out, c, &x, &y);
    for (size_t i = 0; i < c->n_lines; i++) {
        const chart_line *line = &c->lines[i];
        draw_line(out, c, line, &x, &y);
        ends[i] = line->n ? place(&y, line->y[line->n - 1]) : y.from;
    }
    spread(ends, c->n_lines);
    for (size_t i = 0; i < c->n_lines; i++) {
        if (!c->lines[i].n) continue;
        fprintf(out, "<text class=\"end %s\" x=\"%.1f\" y=\"%.1f\">", c->lines[i].class, x.to + 8, ends[i] + 4.5);
        chart_text(out, c->lines[i].label, 0);
        fprintf(out, "</text>\n");
    }
    fprintf(out, "</g>\n");
}

void chart_figure(FILE *out, const chart *c, const char *caption) {
    fprintf(out, "<figure><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", c->width, c->height);
    chart_text(out, c->title, 0);
    fprintf(out, "\">\n");
    chart_draw(out, c, 0, 0);
    fprintf(out, "</svg><figcaption>%s</figcaption></figure>\n", caption);
}

double chart_bars(FILE *out, const chart_bar *bars, size_t n, double width, double label_room) {
    double largest = 0, room = width - label_room - 60;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, bars[i].value);
    for (size_t i = 0; i < n; i++) {
        double length = largest > 0 ? bars[i].value / largest * room : 0, y = (double)i * BAR_ROW;
        fprintf(out, "<text class=\"name\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", label_room - 10, y + 17);
        chart_text(out, bars[i].label, 0);
        fprintf(out,
                "</text><rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"3\"/>"
                "<text class=\"value\" x=\"%.1f\" y=\"%.1f\">%.3f</text>\n",
                bars[i].class, label_room, y + 3, length, BAR_ROW - 7, label_room + length + 8, y + 17, bars[i].value);
    }
    return (double)n * BAR_ROW;
}
