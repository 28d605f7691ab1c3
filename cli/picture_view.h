/* picture_view.h: a picture in the terminal while it is drawn: two pixels a character, an upper half block in 24-bit
 * colours, on standard error. Shown only where that is a terminal that is wide enough, and $NO_COLOR is not set. */
#ifndef CLI_PICTURE_VIEW_H
#define CLI_PICTURE_VIEW_H

#include "innerloop.h"

typedef struct cli_picture_view {
    int columns;  /* pixels that fit side by side; 0: nothing is shown */
    int lines;    /* of what is shown */
    double shown; /* when */
} cli_picture_view;

/* width: pixels of the least that is to be shown. */
void cli_picture_view_begin(cli_picture_view *view, int width);
/* Whether it is time to show more. */
int cli_picture_view_due(const cli_picture_view *view);
/* In the place of what is shown; not wider than columns. */
void cli_picture_view_show(cli_picture_view *view, const il_picture *picture);

/* The lines [*bytes] of a picture as they are shown, released by free. */
char *cli_picture_text(const il_picture *picture, size_t *bytes);

#endif
