/* curves.c: see curves.h. The drawing has 1000 × 300 units that are stretched to the place it gets; a point is a line
 * of no length with round ends, which stays round. */
#include "curves.h"
#include "bench/chart.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 1000, HEIGHT = 300, TICKS_MAX = 12 };

const char cli_curves_style[] =
    "figure{margin:0;min-width:0}\n"
    "figcaption{display:flex;justify-content:space-between;align-items:baseline;gap:.8em;font-size:.86rem;"
    "font-weight:600;margin-bottom:.5rem}figcaption span{font-weight:400;color:var(--dim);white-space:nowrap;"
    "font-variant-numeric:tabular-nums}figcaption b{font-weight:600;color:var(--fg)}\n"
    ".plot{position:relative;height:11rem;margin-left:3.1rem}.wide .plot{height:17rem}.small .plot{height:4.6rem;"
    "margin-left:0}\n"
    ".plot svg{display:block;width:100%;height:100%;overflow:visible}\n"
    ".plot path{fill:none;stroke-width:1.7;vector-effect:non-scaling-stroke;stroke-linejoin:round;"
    "stroke-linecap:round}\n"
    ".plot .grid{stroke:var(--line);stroke-width:1}.plot .band{stroke:none;opacity:.16}\n"
    ".plot .a{stroke:var(--a)}.plot .b{stroke:var(--b)}.plot .c{stroke:var(--c);stroke-dasharray:1 4}\n"
    ".plot .band.a{fill:var(--a)}.plot .band.b{fill:var(--b)}.plot .dot{stroke-width:6;stroke-dasharray:none}\n"
    ".y,.x{position:absolute;color:var(--dim);font-size:.7rem;line-height:1;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}.y{right:100%;margin-right:.55rem;transform:translateY(-50%)}"
    ".x{top:100%;margin-top:.45rem;transform:translateX(-50%)}.x:first-of-type{transform:none}"
    ".x.end{transform:translateX(-100%)}figure:not(.small){padding-bottom:1.3rem}\n";

static void group(char *text, size_t capacity, double value) {
    char plain[40];
    int n = snprintf(plain, sizeof plain, "%.0f", value), at = 0;
    for (int i = 0; i < n && at + 2 < (int)capacity; i++) {
        if (i && (n - i) % 3 == 0 && plain[i - 1] != '-') text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = 0;
}

const char *cli_curves_number(double value) {
    enum { KEPT = 8 };
    static char kept[KEPT][48];
    static unsigned turn;
    char *text = kept[turn++ % KEPT];
    double size = fabs(value);
    if (!isfinite(value))
        snprintf(text, sizeof kept[0], "–");
    else if (size >= 1e12)
        snprintf(text, sizeof kept[0], "%.3g", value);
    else if (size >= 1e6)
        snprintf(text, sizeof kept[0], "%.3g %s", value / (size >= 1e9 ? 1e9 : 1e6), size >= 1e9 ? "G" : "M");
    else if (size >= 1000)
        group(text, sizeof kept[0], value);
    else if (size >= 100 || size == 0)
        snprintf(text, sizeof kept[0], "%.4g", value);
    else if (size >= 1e-4)
        snprintf(text, sizeof kept[0], "%.3g", value);
    else
        snprintf(text, sizeof kept[0], "%.1e", value);
    return text;
}

/* ---- what is in sight ---- */

typedef struct view {
    double x_max, low, high, step;
} view;

static void see(view *v, double value) {
    if (!isfinite(value)) return;
    if (!(value >= v->low)) v->low = value;
    if (!(value <= v->high)) v->high = value;
}

static int look(const cli_curves *c, view *v) {
    *v = (view){.x_max = c->x_max > 0 ? c->x_max : 1, .low = NAN, .high = NAN};
    for (size_t k = 0; k < c->n_lines; k++)
        for (size_t i = 0; i < c->lines[k].n; i++) see(v, c->lines[k].y[i]);
    if (isnan(v->low)) return 0;
    see(v, c->y_low);
    see(v, c->y_high);
    if (c->from_zero) see(v, 0);
    double span = v->high - v->low;
    if (span <= fabs(v->high) * 1e-9) span = fabs(v->high) > 0 ? fabs(v->high) * 0.2 : 1;
    v->step = chart_step(span / (c->small ? 2 : 4));
    v->low = floor(v->low / v->step + 1e-9) * v->step;
    v->high = ceil(v->high / v->step - 1e-9) * v->step;
    if (v->high <= v->low) v->high = v->low + v->step;
    return 1;
}

static double x_of(const view *v, double x) { return x / v->x_max * WIDTH; }

static double y_of(const view *v, double y) {
    double at = (y - v->low) / (v->high - v->low);
    return HEIGHT * (1 - (at < 0 ? 0 : at > 1 ? 1 : at)); /* a band may go further */
}

/* ---- drawing ---- */

static void put_band(FILE *f, const view *v, const cli_curve *l) {
    int begun = 0;
    if (!l->low) return;
    fprintf(f, "<path class=\"band %s\" d=\"", l->kind);
    for (size_t i = 0; i < l->n; i++)
        if (isfinite(l->high[i])) fprintf(f, "%s%.1f %.1f", begun++ ? "L" : "M", x_of(v, l->x[i]), y_of(v, l->high[i]));
    for (size_t i = l->n; i-- > 0;)
        if (isfinite(l->low[i])) fprintf(f, "%s%.1f %.1f", begun++ ? "L" : "M", x_of(v, l->x[i]), y_of(v, l->low[i]));
    fputs("\"/>\n", f);
}

static void put_line(FILE *f, const view *v, const cli_curve *l) {
    int begun = 0;
    if (!l->no_line) {
        fprintf(f, "<path class=\"%s\" d=\"", l->kind);
        for (size_t i = 0; i < l->n; i++)
            if (isfinite(l->y[i])) fprintf(f, "%s%.1f %.1f", begun++ ? "L" : "M", x_of(v, l->x[i]), y_of(v, l->y[i]));
        fputs(begun == 1 ? "h0\"/>\n" : "\"/>\n", f);
    }
    if (!l->dots && begun > 1) return;
    fprintf(f, "<path class=\"dot %s\" d=\"", l->kind);
    for (size_t i = 0; i < l->n; i++)
        if (isfinite(l->y[i])) fprintf(f, "M%.1f %.1fh0", x_of(v, l->x[i]), y_of(v, l->y[i]));
    fputs("\"/>\n", f);
}

static void put_x(FILE *f, const view *v) {
    double step = chart_step(v->x_max / 4);
    fputs("<span class=\"x\" style=\"left:0\">0</span>\n", f);
    for (double x = step; x < v->x_max - 0.35 * step; x += step)
        fprintf(f, "<span class=\"x\" style=\"left:%.1f%%\">%s</span>\n", x / v->x_max * 100, cli_curves_number(x));
    fprintf(f, "<span class=\"x end\" style=\"left:100%%\">%s</span>\n", cli_curves_number(v->x_max));
}

void cli_curves_put(FILE *f, const cli_curves *c) {
    view v;
    if (!look(c, &v)) return;
    fprintf(f, "<figure%s>\n<figcaption>", c->small ? " class=\"small\"" : "");
    chart_text(f, c->title, 0);
    fprintf(f, "<span>%s</span></figcaption>\n<div class=\"plot\">\n", c->now);
    int ticks = (int)((v.high - v.low) / v.step + 0.5);
    if (ticks > TICKS_MAX) ticks = TICKS_MAX;
    for (int i = 0; i <= ticks && !c->small; i++) {
        double y = v.low + i * v.step;
        fprintf(f, "<span class=\"y\" style=\"top:%.2f%%\">%s</span>\n", y_of(&v, y) / HEIGHT * 100,
                cli_curves_number(fabs(y) < 1e-9 * v.step ? 0 : y));
    }
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    chart_text(f, c->title, 0);
    fputs("\">\n<path class=\"grid\" d=\"", f);
    for (int i = 0; i <= ticks; i++)
        if (!c->small || i == 0) fprintf(f, "M0 %.1fh%d", y_of(&v, v.low + i * v.step), WIDTH);
    fputs("\"/>\n", f);
    for (size_t k = 0; k < c->n_lines; k++) put_band(f, &v, &c->lines[k]);
    for (size_t k = 0; k < c->n_lines; k++) put_line(f, &v, &c->lines[k]);
    fputs("</svg>\n", f);
    if (!c->small) put_x(f, &v);
    fputs("</div>\n</figure>\n", f);
}
