/* score_html.c: the heat map: one page that needs nothing else, written as the text comes, in constant
 * memory. The head of the page, which is known last, is written last and moved to the top by the style sheet. */
#include "verbs/score_html.h"
#include "output.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{--bg:#fbfaf7;--fg:#23211d;--dim:#8d877c;--line:#e6e1d6;--hot:#b3123f;color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#16151a;--fg:#d9d5cc;--dim:#7d7889;--line:#2d2b34;--hot:#"
    "ff5c86}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:17px/1.75 "
    "Georgia,'Iowan Old "
    "Style',serif}\n"
    "main{display:flex;flex-direction:column;max-width:60rem;margin:0 auto;padding:3rem 1.5rem 6rem}\n"
    "header{order:-1;margin-bottom:2.5rem;font-family:system-ui,sans-serif}\n"
    "h1{font-size:1.05rem;font-weight:600;margin:0;overflow-wrap:anywhere}\n"
    ".big{font-size:3.4rem;font-weight:300;letter-spacing:-.02em;line-height:1.1;margin:.6rem 0 0}.big "
    "small{font-size:"
    "1.05rem;letter-spacing:0;color:var(--dim)}\n"
    ".facts,.key{color:var(--dim);font-size:.82rem;margin:.3rem 0 0}\n"
    "svg{display:block;width:100%;height:9.5rem;margin:1.6rem 0 .2rem;overflow:visible}\n"
    ".axis{display:flex;justify-content:space-between;color:var(--dim);font-size:.72rem}\n"
    ".key{display:flex;align-items:center;gap:.5rem;margin-top:1.2rem}.key b{display:flex}.key b "
    "i{width:1.7rem;height:"
    ".7rem;}\n"
    "p{margin:0;padding-left:4.2rem;position:relative;min-height:1.75em;overflow-wrap:anywhere;white-space:"
    "pre-wrap}\n"
    "p>u{position:absolute;left:0;width:3rem;text-align:right;text-decoration:none;color:var(--dim);font:."
    "72rem/2.45 "
    "ui-monospace,monospace;user-select:none}\n"
    "p.gap{min-height:1em;line-height:1;font-size:.6em}p.gap>u{display:none}"
    "p.hot{box-shadow:inset 3.4rem 0 0 -3.25rem "
    "var(--hot)}p.hot>u,.pass.hot{color:var(--hot);font-weight:700}\n"
    ".pass{font:.75rem/1 system-ui,sans-serif;color:var(--dim);border-bottom:1px solid var(--line);"
    "margin:.5rem 0 1.6rem;padding-bottom:.7rem}\n"
    "i{font-style:normal}i:hover{outline:1px solid var(--fg)}\n";

/* The surprise of a page by day goes from pale to dark, by night from dark to bright. */
static const char *const day[SCORE_LEVELS] = {"transparent", "#fff7cf", "#ffefaa", "#ffe384", "#ffd062", "#ffb84a",
                                              "#ff9a3d",     "#fb7a3a", "#ee5742", "#d6364f", "#b01a5b", "#7d0f5f"};
static const char *const night[SCORE_LEVELS] = {"transparent", "#241c33", "#35204a", "#4d2159", "#682461", "#862a62",
                                                "#a5355b",     "#c4454f", "#e05c41", "#f47d34", "#ffa53a", "#ffd873"};
/* Relative: from blue, what fits, to orange; what says most is the deepest by day and the brightest by night. */
static const char *const relative_day[SCORE_RELATIVE_LEVELS] = {"transparent", "#1f5fa8", "#3f7cbb", "#86b4e0",
                                                                "#b5d3ee",     "#dceaf7", "#fdebd3", "#fbcf9d",
                                                                "#f5a667",     "#cf5a2b", "#a8341a"};
static const char *const relative_night[SCORE_RELATIVE_LEVELS] = {"transparent", "#8cc7ff", "#4f97dd", "#2f6cae",
                                                                  "#234a78",     "#1b3049", "#3d2718", "#6b3d1a",
                                                                  "#a3561c",     "#dd7f2a", "#ffb45e"};

typedef struct palette {
    int levels, strong_to, strong_from; /* levels whose text is light by day and dark by night: 1 .. and .. the last */
    const char *const *day, *const *night, *title, *low, *high;
} palette;

static const palette surprise = {SCORE_LEVELS, 0, 8, day, night, "surprise", "as expected", "a shock"};
static const palette fitting = {SCORE_RELATIVE_LEVELS,
                                2,
                                SCORE_RELATIVE_LEVELS - 2,
                                relative_day,
                                relative_night,
                                "what fits and what does not",
                                "fits the text so far",
                                "goes against it"};

static const palette *palette_of(const score_view *view) { return view->relative ? &fitting : &surprise; }

/* score_level's inverse: where the level begins, counted from 0 bits. */
static double level_bits(const score_view *view, int level) {
    if (!view->relative) return (double)SCORE_SHOCK * level / SCORE_LEVELS;
    int side = level > SCORE_SIDE ? level - SCORE_SIDE : level - SCORE_SIDE - 1;
    return (side > 0 ? -1 : 1) * log2(1 - fabs((double)side) / (SCORE_SIDE + 1));
}

static il_status put(score_html *html, il_error *error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static il_status put(score_html *html, il_error *error, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return il_output_write(html->output, text, n < (int)sizeof text ? (size_t)n : sizeof text - 1, error);
}

/* Well-formed UTF-8 as text of the page: what HTML forbids is shown as a dot. */
static il_status put_text(score_html *html, const char *text, size_t bytes, il_error *error) {
    il_status status = IL_OK;
    for (size_t i = 0; i < bytes && !status; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < bytes ? (unsigned char)text[i + 1] : 0;
        if (c == '&' || c == '<' || c == '>' || c == '"')
            status = put(html, error, "&#%d;", c);
        else if (c == 0xC2 && next < 0xA0 && ++i)
            status = put(html, error, "·");
        else if ((c < 32 && c != '\t' && c != '\n') || c == 127)
            status = c == '\r' ? IL_OK : put(html, error, "·");
        else
            status = il_output_write(html->output, text + i, 1, error);
    }
    return status;
}

static il_status put_name(score_html *html, il_error *error) {
    const char *name = cli_shown(html->view->name);
    return put_text(html, name, strlen(name), error);
}

/* ---- the chart ---- */

static void chart_add(score_html *html, double bytes, double bits) {
    int last = html->filled - 1;
    if (last < 0 || html->bytes[last] >= html->width) {
        if (html->filled == SCORE_CHART) {
            for (int i = 0; i < SCORE_CHART / 2; i++) {
                html->bits[i] = html->bits[2 * i] + html->bits[2 * i + 1];
                html->bytes[i] = html->bytes[2 * i] + html->bytes[2 * i + 1];
            }
            html->filled = SCORE_CHART / 2;
            html->width *= 2;
        }
        last = html->filled++;
        html->bits[last] = html->bytes[last] = 0;
    }
    html->bits[last] += bits;
    html->bytes[last] += bytes;
}

/* Columns of bits per byte, relative below 0 too, the running mean through them, and the threshold where it has the
 * same unit. */
static il_status put_chart(score_html *html, il_error *error) {
    const score_view *view = html->view;
    /* So that 8 bits a byte, pure noise, is the end of the scale; of relative bits a few hundredths count. */
    double top = 0, bottom = 0, bits = 0, bytes = 0, stretch = view->relative ? 8 : SCORE_SHOCK / 8;
    int last = html->filled - 1;
    if (last > 0 && html->bytes[last] < html->width / 2) { /* a few bytes would stand out for being few */
        html->bits[last - 1] += html->bits[last];
        html->bytes[last - 1] += html->bytes[last];
        html->filled = last;
    }
    for (int i = 0; i < html->filled; i++) {
        top = fmax(top, html->bits[i] / html->bytes[i]);
        bottom = fmin(bottom, html->bits[i] / html->bytes[i]);
    }
    if (!(top > bottom)) return IL_OK;
    double unit = 100 / (top - bottom);
    il_status status = put(html, error,
                           "<svg viewBox=\"0 0 %d 100\" preserveAspectRatio=\"none\" role=\"img\" "
                           "aria-label=\"%sbits per byte along the text\">\n",
                           html->filled, view->relative ? "relative " : "");
    for (int i = 0; i < html->filled && !status; i++) {
        double score = html->bits[i] / html->bytes[i];
        int level = score_level(view, stretch * score), least = !view->relative ? 1 : SCORE_SIDE + (score > 0);
        status = put(html, error, "<rect x=\"%d\" y=\"%.2f\" width=\".86\" height=\"%.2f\" class=\"c%d\"/>\n", i,
                     unit * (top - fmax(score, 0)), unit * fabs(score), level ? level : least);
    }
    if (!status)
        status = put(html, error,
                     "<polyline fill=\"none\" stroke=\"currentColor\" stroke-width=\"1.6\" "
                     "vector-effect=\"non-scaling-stroke\" points=\"");
    for (int i = 0; i < html->filled && !status; i++) {
        bits += html->bits[i];
        bytes += html->bytes[i];
        status = put(html, error, "%s%.1f,%.2f", i ? " " : "", i + 0.43, unit * (top - bits / bytes));
    }
    if (!status) status = put(html, error, "\"/>\n");
    if (!status && view->has_threshold && view->by != SCORE_BY_TOKEN && !view->peak && view->threshold < top &&
        view->threshold > bottom)
        status = put(html, error,
                     "<line x1=\"0\" x2=\"%d\" y1=\"%.2f\" y2=\"%.2f\" stroke=\"var(--hot)\" stroke-dasharray=\"5 4\" "
                     "vector-effect=\"non-scaling-stroke\"/>\n",
                     html->filled, unit * (top - view->threshold), unit * (top - view->threshold));
    if (!status) status = put(html, error, "</svg>\n<div class=\"axis\"><span>0</span><span>columns: bits per byte, ");
    if (!status)
        status = view->relative ? put(html, error, "from %+.2f to %+.2f", bottom, top)
                                : put(html, error, "highest %.2f", top);
    if (!status) status = put(html, error, "; line: mean so far</span><span>%.0f bytes</span></div>\n", bytes);
    return status;
}

/* ---- the page ---- */

il_status score_html_begin(score_html *html, const score_view *view, const char *path, il_error *error) {
    const palette *colours = palette_of(view);
    html->view = view;
    html->width = 1;
    il_status status = il_output_open(path, &html->output, error);
    if (status) return status;
    status = put(html, error,
                 "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    if (!status) status = put_name(html, error);
    if (!status) status = put(html, error, " — %s</title>\n<style>\n", colours->title);
    if (!status) status = il_output_write(html->output, style, sizeof style - 1, error);
    for (int i = 1; i < colours->levels && !status; i++) {
        const char *by_day = colours->day[i], *by_night = colours->night[i];
        int strong = i <= colours->strong_to || i >= colours->strong_from;
        status =
            put(html, error,
                ".c%d{background:%s;fill:%s;color:%s}\n@media(prefers-color-scheme:dark){.c%d{background:%s;"
                "fill:%s;color:%s}}\n",
                i, by_day, by_day, strong ? "#fff" : "#23211d", i, by_night, by_night, strong ? "#16151a" : "#f2eee6");
    }
    if (!status) status = put(html, error, "</style>\n<main>\n");
    return status;
}

il_status score_html_line(score_html *html, const score_line *line, il_error *error) {
    if (!html->output) return IL_OK;
    const score_unit *unit = &line->unit;
    double score = score_of(html->view, unit, SCORE_BY_LINE);
    int marked = unit->above && html->view->by == SCORE_BY_LINE, gap = score_is_blank(line->text, line->bytes);
    il_status status = put(html, error, "<p%s>", gap ? " class=\"gap\"" : marked ? " class=\"hot\"" : "");
    if (!status && !isnan(score))
        status = put(html, error, html->view->relative ? "<u>%+.2f</u>" : "<u>%.2f</u>", score);
    for (size_t i = 0; i < line->n_cells && !status; i++) {
        const score_cell *cell = &line->cells[i];
        const char *text = line->text + cell->at;
        int level = score_level(html->view, cell->bits), ends = cell->bytes == 1 && *text == '\n';
        if (!isnan(cell->bits)) chart_add(html, (double)cell->bytes, cell->bits);
        if (ends && !level) continue;
        if (level)
            status = put(html, error,
                         html->view->relative ? "<i class=\"c%d\" title=\"%+.1f bits\">"
                                              : "<i class=\"c%d\" title=\"%.1f bits\">",
                         level, cell->bits);
        if (!status) status = ends ? put(html, error, " ") : put_text(html, text, cell->bytes, error);
        if (!status && level) status = put(html, error, "</i>");
    }
    if (!status) status = put(html, error, "</p>\n");
    return status;
}

il_status score_html_passage(score_html *html, const score_unit *unit, il_error *error) {
    if (!html->output || html->view->by != SCORE_BY_PASSAGE) return IL_OK;
    il_status status = put(html, error, "<div class=\"pass%s\">passage %llu: ", unit->above ? " hot" : "",
                           (unsigned long long)unit->index);
    if (!status && html->view->relative)
        status = put(html, error, "%+.3f relative; ", unit->bytes ? score_relative(unit, SCORE_BY_PASSAGE) : 0.0);
    return status ? status
                  : put(html, error, "%.3f bits per byte; mean so far %.3f</div>\n",
                        unit->bytes ? score_per_byte(unit) : 0.0, isnan(unit->mean) ? 0.0 : unit->mean);
}

static il_status put_facts(score_html *html, const score_unit *all, uint64_t above, il_error *error) {
    static const char *const names[] = {"tokens", "lines", "passages"};
    const score_view *view = html->view;
    il_status status =
        put(html, error, "<p class=\"facts\" style=\"padding:0\">%llu bytes, %llu tokens, %llu lines; %s; model %.12s",
            (unsigned long long)all->bytes, (unsigned long long)all->tokens, (unsigned long long)all->lines,
            view->frozen ? "frozen: the model did not learn while it read" : "the model learned while it read",
            view->model);
    if (!status && view->relative && all->bytes)
        status = put(html, error, "; %.3f bits per byte in all", score_per_byte(all));
    if (!status && view->has_threshold)
        status = put(html, error, "; %llu %s above %g", (unsigned long long)above, names[view->by], view->threshold);
    return status ? status : put(html, error, "</p>\n");
}

il_status score_html_end(score_html *html, const score_unit *all, uint64_t above, il_error *error) {
    if (!html->output) return IL_OK;
    const score_view *view = html->view;
    const palette *colours = palette_of(view);
    double score = all->bytes ? score_of(view, all, SCORE_BY_PASSAGE) : 0;
    il_status status = put(html, error, "<header>\n<h1>");
    if (!status) status = put_name(html, error);
    if (!status)
        status = put(html, error,
                     view->relative ? "</h1>\n<div class=\"big\">%+.3f <small>bits per byte by what it learned of this "
                                      "text; below 0: saved</small></div>\n"
                                    : "</h1>\n<div class=\"big\">%.3f <small>bits per byte</small></div>\n",
                     score);
    if (!status) status = put_facts(html, all, above, error);
    if (!status) status = put_chart(html, error);
    if (!status) status = put(html, error, "<div class=\"key\">%s <b>", colours->low);
    for (int i = 1; i < colours->levels && !status; i++) {
        double bits = level_bits(view, i);
        status =
            put(html, error, "<i class=\"c%d\" title=\"%.1f bits and %s\"></i>", i, bits, bits < 0 ? "less" : "more");
    }
    if (!status) status = put(html, error, "</b> %s</div>\n</header>\n</main>\n</html>\n", colours->high);
    if (status) return status;
    il_output *output = html->output;
    html->output = NULL;
    return il_output_finish(output, error);
}
