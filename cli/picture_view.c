/* picture_view.c: see picture_view.h. */
#include "picture_view.h"
#include "output.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CHARACTER_BYTES = 48, LINE_END_BYTES = 8 }; /* at most, both colours of a character included */
static const double EVERY_S = 0.1;

void cli_picture_view_begin(cli_picture_view *view, int width) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    struct winsize size;
    *view = (cli_picture_view){.shown = -1};
    if (!isatty(STDERR_FILENO) || !term || !strcmp(term, "dumb") || (no_color && *no_color)) return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) || size.ws_col < width) return;
    view->columns = size.ws_col;
}

int cli_picture_view_due(const cli_picture_view *view) {
    return view->columns && (view->shown < 0 || cli_seconds() - view->shown >= EVERY_S);
}

static const unsigned char *pixel(const il_picture *p, int x, int y) {
    return p->pixels + ((size_t)y * (size_t)p->width + (size_t)x) * (size_t)p->channels;
}

static size_t colour(char *to, const il_picture *p, int x, int y, int layer) {
    const unsigned char *at = pixel(p, x, y);
    return (size_t)sprintf(to, "\033[%d;2;%d;%d;%dm", layer, at[0], at[p->channels / 2], at[p->channels - 1]);
}

/* Whether a pixel is of the colour of the one to its left, which need not be said again. */
static int same(const il_picture *p, int x, int y) {
    return x && !memcmp(pixel(p, x, y), pixel(p, x - 1, y), (size_t)p->channels);
}

char *cli_picture_text(const il_picture *p, size_t *bytes) {
    size_t lines = ((size_t)p->height + 1) / 2, n = 0;
    char *text = cli_alloc(lines * ((size_t)p->width * CHARACTER_BYTES + LINE_END_BYTES) + 1, 1);
    for (int y = 0; y < p->height; y += 2) {
        for (int x = 0; x < p->width; x++) {
            if (!same(p, x, y)) n += colour(text + n, p, x, y, 38);
            if (y + 1 < p->height && !same(p, x, y + 1)) n += colour(text + n, p, x, y + 1, 48);
            n += (size_t)sprintf(text + n, "\xE2\x96\x80"); /* U+2580 */
        }
        n += (size_t)sprintf(text + n, "\033[0m\n");
    }
    *bytes = n;
    return text;
}

void cli_picture_view_show(cli_picture_view *view, const il_picture *picture) {
    size_t bytes;
    if (!view->columns) return;
    char *text = cli_picture_text(picture, &bytes);
    if (view->lines) fprintf(stderr, "\033[%dA", view->lines);
    fwrite(text, 1, bytes, stderr);
    fflush(stderr);
    free(text);
    view->lines = (picture->height + 1) / 2;
    view->shown = cli_seconds();
}
