/* score_print.h: scores on standard output: JSON lines, plain columns for a pipe, colours for a terminal. */
#ifndef CLI_SCORE_PRINT_H
#define CLI_SCORE_PRINT_H

#include "verbs/score_units.h"

typedef struct score_printer {
    const score_view *view;
    int terminal;     /* colours */
    score_unit first; /* the first passage: said only if another one follows, since alone it is the whole */
    int holds_first;
} score_printer;

void score_print_begin(score_printer *printer, const score_view *view);
/* text [bytes]: the characters that the token completed. */
void score_print_token(score_printer *printer, const score_unit *unit, int32_t token, const char *text, size_t bytes);
void score_print_line(score_printer *printer, const score_line *line);
void score_print_passage(score_printer *printer, const score_unit *unit);
void score_print_end(score_printer *printer, const char *verb, const score_unit *all, uint64_t above, double seconds);

#endif
