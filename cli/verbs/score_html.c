/* score_html.c: the heat map: one page that needs nothing else, written as the text comes, in constant
 * memory. The head of the page, which is known last, is written last and moved to the top by the style sheet; so are
 * the colours, which depend on how often each level was reached.
 *
 * A page takes about four times the bytes of its text: neighbours of one level share a tag, and tokens of less than
 * GROUP bytes are coloured together. A line has an id only where something leads to it: the columns of the chart, and
 * the list of the worst lines. */
#include "verbs/score_html.h"
#include "output.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GROUP = 4, WORST = 12, SHOWN = 160 /* bytes of a line in the list of the worst */ };

static const char style[] =
    ":root{--bg:#fbfaf7;--fg:#23211d;--dim:#8d877c;--line:#e6e1d6;--hot:#b3123f;--cool:#1f5fa8;color-scheme:light "
    "dark}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#16151a;--fg:#d9d5cc;--dim:#7d7889;--line:#2d2b34;--hot:#"
    "ff5c86;--cool:#8cc7ff}}\n"
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
    "main{counter-reset:line}p{counter-increment:line;margin:0;padding-left:5.7rem;position:relative;"
    "min-height:1.75em;overflow-wrap:anywhere;white-space:pre-wrap}\n"
    "p>u{position:absolute;left:0;width:4.9rem;display:flex;justify-content:flex-end;gap:.7em;"
    "text-decoration:none;color:var(--dim);font:.72rem/2.45 ui-monospace,monospace;user-select:none}\n"
    "p>u:before{content:counter(line);opacity:.7}\n"
    "p.gap{min-height:1em;line-height:1;font-size:.6em}p.gap>u{display:none}"
    "p.hot{box-shadow:inset 5rem 0 0 -4.85rem "
    "var(--hot)}p.hot>u,.pass.hot{color:var(--hot);font-weight:700}p:target{outline:2px solid var(--hot)}\n"
    ".pass{font:.75rem/1 system-ui,sans-serif;color:var(--dim);border-bottom:1px solid var(--line);"
    "margin:.5rem 0 1.6rem;padding-bottom:.7rem}\n"
    "i{font-style:normal}svg rect{fill:var(--hot);opacity:.7}svg .fits{fill:var(--cool)}a:hover rect{opacity:1}\n"
    ".worst{list-style:none;margin:1.4rem 0 0;padding:0;font-size:.8rem;line-height:1.7}"
    ".worst li{white-space:nowrap;overflow:hidden;text-overflow:ellipsis}.worst "
    "mark{background:none;color:var(--hot);font-weight:700}.worst "
    "a{display:inline-block;min-width:4.5em;color:inherit}.worst "
    "span{display:inline-block;min-width:4.5em;color:var(--hot)}\n"
    "@media(max-width:30rem){main{padding:1.5rem .7rem 3rem}p{padding-left:2.9rem}p>u{width:2.5rem;font-size:0}"
    "p>u:before{font-size:.65rem}p.hot{box-shadow:inset 2.6rem 0 0 -2.45rem var(--hot)}.big{font-size:2.4rem}"
    ".axis,.key{flex-wrap:wrap}.axis span:nth-child(2){order:1;flex-basis:100%}.key b i{width:.95rem}}\n";

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

/* Surprise, of a group: three steps for each doubling of the bits, from half a bit to 64. */
static int level_of(const score_view *view, double bits) {
    if (view->relative) return score_level(view, bits);
    if (!(bits >= 0.5)) return 0;
    int level = 1 + (int)floor(3 * log2(2 * bits));
    return level < SCORE_PAGE_LEVELS ? level : SCORE_PAGE_LEVELS - 1;
}

/* Its inverse: where the level begins, counted from 0 bits. */
static double level_bits(const score_view *view, int level) {
    if (!view->relative) return 0.5 * exp2((level - 1) / 3.0);
    int side = level > SCORE_SIDE ? level - SCORE_SIDE : level - SCORE_SIDE - 1;
    return (side > 0 ? -1 : 1) * log2(1 - fabs((double)side) / (SCORE_SIDE + 1));
}

/* How many groups so far reach the level. */
static double reaching(const score_html *html, int level) {
    double groups = 0;
    for (int i = level; i < SCORE_PAGE_LEVELS; i++) groups += html->groups[i];
    return groups;
}

/* What half of the text reaches has no colour, so there is no use in a tag; a text that begins says little. */
static int is_usual(const score_html *html, int level) {
    return !html->view->relative && reaching(html, 0) > 200 && 2 * reaching(html, level) > reaching(html, 0);
}

/* The colour of each level, 0 for none. Surprise: from what half of the text reaches to the highest level that was
 * reached, colours follow the logarithm of the share. */
static void choose_colours(const score_html *html, int *colour) {
    double all = reaching(html, 0), rarest = 0;
    for (int i = SCORE_PAGE_LEVELS - 1; i > 0; i--) {
        double reached = reaching(html, i), rarity = reached > 0 ? log2(all / reached) - 1 : 0;
        if (!(rarest > 0)) rarest = rarity;
        colour[i] = html->view->relative ? i : rarity > 0 ? 1 + (int)lround(10 * rarity / rarest) : 0;
    }
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

static void chart_add(score_html *html, uint64_t line, double bytes, double bits) {
    int last = html->filled - 1;
    if (last < 0 || html->bytes[last] >= html->width) {
        if (html->filled == SCORE_CHART) {
            for (int i = 0; i < SCORE_CHART / 2; i++) {
                html->bits[i] = html->bits[2 * i] + html->bits[2 * i + 1];
                html->bytes[i] = html->bytes[2 * i] + html->bytes[2 * i + 1];
                html->line[i] = html->line[2 * i];
            }
            html->filled = SCORE_CHART / 2;
            html->width *= 2;
        }
        last = html->filled++;
        html->bits[last] = html->bytes[last] = 0;
        html->line[last] = line;
    }
    html->bits[last] += bits;
    html->bytes[last] += bytes;
}

/* Whether a column may begin within the next so many bytes. */
static int chart_may_begin(const score_html *html, size_t bytes) {
    return !html->filled || html->bytes[html->filled - 1] + (double)bytes >= html->width;
}

/* Columns of bits per byte, relative below 0 too, the running mean through them, and the threshold where it has the
 * same unit. */
static il_status put_chart(score_html *html, il_error *error) {
    const score_view *view = html->view;
    double top = 0, bottom = 0, bits = 0, bytes = 0;
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
        status =
            put(html, error, "<a href=\"#l%llu\"><rect%s x=\"%d\" y=\"%.2f\" width=\".86\" height=\"%.2f\"/></a>\n",
                (unsigned long long)html->line[i], view->relative && score < 0 ? " class=\"fits\"" : "", i,
                unit * (top - fmax(score, 0)), unit * fabs(score));
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
    score_top_begin(&html->worst, WORST);
    il_status status = il_output_open(path, &html->output, error);
    if (status) return status;
    status = put(html, error,
                 "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                 "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    if (!status) status = put_name(html, error);
    if (!status) status = put(html, error, " — %s</title>\n<style>\n", colours->title);
    if (!status) status = il_output_write(html->output, style, sizeof style - 1, error);
    if (!status) status = put(html, error, "</style>\n<main>\n");
    return status;
}

/* Neighbours of one level; the end of a line, where it stands alone, is shown as a blank. */
static il_status put_run(score_html *html, const score_line *line, size_t from, size_t to, int level, il_error *error) {
    int ends = from < to && line->text[to - 1] == '\n', alone = ends && to - from == 1;
    if (from == to || (alone && !level)) return IL_OK;
    il_status status = level ? put(html, error, "<i class=c%d>", level) : IL_OK;
    if (!status)
        status = alone ? put(html, error, " ") : put_text(html, line->text + from, to - from - (size_t)ends, error);
    return !status && level ? put(html, error, "</i>") : status;
}

static il_status put_cells(score_html *html, const score_line *line, il_error *error) {
    size_t run = 0, group = 0; /* where they begin */
    int run_level = 0;
    double bits = 0;
    il_status status = IL_OK;
    for (size_t i = 0; i < line->n_cells && !status; i++) {
        const score_cell *cell = &line->cells[i];
        size_t end = cell->at + cell->bytes;
        int known = !isnan(cell->bits);
        if (known) chart_add(html, line->unit.index, (double)cell->bytes, cell->bits), bits += cell->bits;
        if (known && end - group < GROUP && i + 1 < line->n_cells && !isnan(line->cells[i + 1].bits)) continue;
        int level = known ? level_of(html->view, bits) : 0;
        html->groups[level]++;
        if (is_usual(html, level)) level = 0;
        if (level != run_level) {
            status = put_run(html, line, run, group, run_level, error);
            run = group;
            run_level = level;
        }
        group = end;
        bits = 0;
    }
    return status ? status : put_run(html, line, run, group, run_level, error);
}

/* For the typeface: in prose nearly all is letters and blanks. */
static void count_kinds(score_html *html, const score_line *line) {
    for (size_t i = 0; i < line->bytes; i++) {
        unsigned char c = (unsigned char)line->text[i];
        html->letters += c >= 128 || c == ' ' || c == '\n' || ((c | 32) >= 'a' && (c | 32) <= 'z');
    }
    html->characters += (double)line->bytes;
}

il_status score_html_line(score_html *html, const score_line *line, il_error *error) {
    if (!html->output) return IL_OK;
    const score_unit *unit = &line->unit;
    double score = score_of(html->view, unit, SCORE_BY_LINE);
    int marked = unit->above && html->view->by == SCORE_BY_LINE, gap = score_is_blank(line->text, line->bytes);
    int worst = score_top_add(&html->worst, gap ? NAN : score, line, -1);
    if (!html->first_line) html->first_line = unit->index;
    count_kinds(html, line);
    il_status status = put(html, error, "<p");
    if (!status && (worst || chart_may_begin(html, line->bytes)))
        status = put(html, error, " id=l%llu", (unsigned long long)unit->index);
    if (!status) status = put(html, error, gap ? " class=gap>" : marked ? " class=hot>" : ">");
    if (!status && isnan(score)) status = put(html, error, "<u></u>");
    if (!status && !isnan(score))
        status = put(html, error, html->view->relative ? "<u>%+.2f</u>" : "<u>%.2f</u>", score);
    if (!status) status = put_cells(html, line, error);
    return status ? status : put(html, error, "</p>\n");
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
    static const char *const names[] = {"token", "line", "passage"};
    const score_view *view = html->view;
    il_status status =
        put(html, error, "<p class=\"facts\" style=\"padding:0\">%s, %s, %s; %s; model %.12s",
            cli_count(all->bytes, "byte"), cli_count(all->tokens, "token"), cli_count(all->lines, "line"),
            view->frozen ? "frozen: the model did not learn while it read" : "the model learned while it read",
            view->model);
    if (!status && view->relative && all->bytes)
        status = put(html, error, "; %.3f bits per byte in all", score_per_byte(all));
    if (!status && view->has_threshold)
        status = put(html, error, "; %s above %g", cli_count(above, names[view->by]), view->threshold);
    return status ? status : put(html, error, "</p>\n");
}

/* The lines that score highest, as in --top, each leading to its place; with --peak what stands out is marked. */
static il_status put_worst(score_html *html, il_error *error) {
    il_status status = IL_OK;
    score_top_sort(&html->worst);
    if (html->worst.n) status = put(html, error, "<ol class=\"worst\">\n");
    for (size_t i = 0; i < html->worst.n && !status; i++) {
        const score_entry *entry = &html->worst.entries[i];
        const score_line *line = &entry->line;
        size_t from =
            line->worst_to > SHOWN / 2 ? line->worst_from - (line->worst_from < 40 ? line->worst_from : 40) : 0;
        size_t to = line->bytes - from < SHOWN ? line->bytes : from + SHOWN;
        while (from && ((unsigned char)line->text[from] & 0xC0) == 0x80) from--;
        while (to < line->bytes && ((unsigned char)line->text[to] & 0xC0) == 0x80) to--;
        while (to > from && (line->text[to - 1] == '\n' || line->text[to - 1] == '\r')) to--;
        size_t worst = line->worst_from < to ? line->worst_from : to, end = line->worst_to < to ? line->worst_to : to;
        if (end <= worst) worst = end = from;
        status = put(html, error,
                     html->view->relative ? "<li><a href=\"#l%llu\">%llu</a><span>%+.2f</span>%s"
                                          : "<li><a href=\"#l%llu\">%llu</a><span>%.2f</span>%s",
                     (unsigned long long)line->unit.index, (unsigned long long)line->unit.index, entry->score,
                     from ? "… " : "");
        if (!status) status = put_text(html, line->text + from, worst - from, error);
        if (!status && end > worst) {
            status = put(html, error, "<mark>");
            if (!status) status = put_text(html, line->text + worst, end - worst, error);
            if (!status) status = put(html, error, "</mark>");
        }
        if (!status) status = put_text(html, line->text + end, to - end, error);
        if (!status) status = put(html, error, to < line->bytes && line->text[to] != '\n' ? " …</li>\n" : "</li>\n");
    }
    return !status && html->worst.n ? put(html, error, "</ol>\n") : status;
}

/* The key, and the style that the text has asked for: an SVG may hold one anywhere. */
static il_status put_key(score_html *html, il_error *error) {
    const score_view *view = html->view;
    const palette *colours = palette_of(view);
    int colour[SCORE_PAGE_LEVELS] = {0}, levels = view->relative ? SCORE_RELATIVE_LEVELS : SCORE_PAGE_LEVELS;
    choose_colours(html, colour);
    il_status status = put(html, error, "<div class=\"key\">%s <b>", colours->low);
    for (int i = 1; i < levels && !status; i++) {
        double bits = level_bits(view, i);
        if (colour[i])
            status =
                put(html, error, "<i class=c%d title=\"%.1f bits and %s\"></i>", i, bits, bits < 0 ? "less" : "more");
    }
    if (!status)
        status =
            put(html, error, "</b> %s</div>\n<svg style=\"height:0;margin:0\"><style>\nmain{counter-reset:line %llu}\n",
                colours->high, (unsigned long long)(html->first_line ? html->first_line - 1 : 0));
    if (!status && html->letters < 0.9 * html->characters)
        status = put(html, error, "main>p,.worst li{font-family:ui-monospace,monospace}main>p{font-size:.8rem}\n");
    for (int i = 1; i < levels && !status; i++) {
        const char *by_day = colours->day[colour[i]], *by_night = colours->night[colour[i]];
        int strong = colour[i] <= colours->strong_to || colour[i] >= colours->strong_from;
        if (!colour[i]) continue;
        status = put(html, error,
                     ".c%d{background:%s;color:%s}\n@media(prefers-color-scheme:dark){.c%d{background:%s;color:%s}}\n",
                     i, by_day, strong ? "#fff" : "#23211d", i, by_night, strong ? "#16151a" : "#f2eee6");
    }
    return status ? status : put(html, error, "</style></svg>\n");
}

il_status score_html_end(score_html *html, const score_unit *all, uint64_t above, il_error *error) {
    if (!html->output) return IL_OK;
    const score_view *view = html->view;
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
    if (!status) status = put_worst(html, error);
    if (!status) status = put_key(html, error);
    if (!status) status = put(html, error, "</header>\n</main>\n</html>\n");
    if (status) return status;
    il_output *output = html->output;
    html->output = NULL;
    score_top_close(&html->worst);
    return il_output_finish(output, error);
}
