/* score_print.h: scores on standard output: JSON lines, plain columns for a pipe, colours for a terminal. */
#ifndef CLI_SCORE_PRINT_H
#define CLI_SCORE_PRINT_H

#include "verbs/score_top.h"
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
void score_print_entry(score_printer *printer, const score_entry *entry); /* of a unit of the view's kind */

/* What is to be said beside the sums. */
typedef struct score_end {
    uint64_t above, learned, learned_tokens; /* units above the threshold; lines and tokens that were only learned */
    const char *state;                       /* the file of the state; NULL: none was saved */
    uint64_t position;                       /* of that state */
    double seconds;
} score_end;
void score_print_end(score_printer *printer, const char *verb, const score_unit *all, const score_end *end);

#endif
