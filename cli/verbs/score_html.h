/* score_html.h: scores as a page: a heat map of the text under a chart of them. */
#ifndef CLI_SCORE_HTML_H
#define CLI_SCORE_HTML_H

#include "files.h"
#include "verbs/score_top.h"
#include "verbs/score_units.h"

enum { SCORE_CHART = 240, SCORE_PAGE_LEVELS = 22 };

typedef struct score_html {
    const score_view *view;
    il_output *output; /* NULL: no page is wanted, or it is complete */
    /* The chart in constant memory: `filled` columns of `width` bytes of text; full, they are merged in
     * pairs. */
    double bits[SCORE_CHART], bytes[SCORE_CHART];
    uint64_t line[SCORE_CHART]; /* where the column begins */
    int filled;
    double width;
    double groups[SCORE_PAGE_LEVELS]; /* of each level, so far */
    score_top worst;                  /* lines */
    uint64_t first_line;              /* that was reported */
    double letters, characters;       /* bytes that are letters or blanks, and all */
} score_html;

il_status score_html_begin(score_html *html, const score_view *view, const char *path, il_error *error);
il_status score_html_line(score_html *html, const score_line *line, il_error *error);
il_status score_html_passage(score_html *html, const score_unit *unit, il_error *error);
il_status score_html_end(score_html *html, const score_unit *all, uint64_t above, il_error *error);

#endif
