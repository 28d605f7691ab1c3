/* terminal.c: the table that `make demo` ends with. */
#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH = 46 };

/* Pads by characters, not bytes. */
static void row(const char *name, double value, const char *note) {
    int width = 0;
    for (const char *c = name; *c; c++) width += (*c & 0xC0) != 0x80;
    if (!isfinite(value)) return;
    printf("  %s%*s %6.3f  %s\n", name, width < NAME_WIDTH ? NAME_WIDTH - width : 0, "", value, note);
}

static void print_continuation(const contender *c) {
    printf("\n  %s goes on:\n    ", c->name);
    int blank = 0; /* lines end once, however many newlines there are */
    for (const char *at = c->continuation; *at; at++) {
        if (*at == '\n') blank = 1;
        if ((unsigned char)*at < 32) continue;
        if (blank) printf("\n    ");
        blank = 0;
        putchar(*at);
    }
    printf("\n");
}

static void print_time(const contender *c) {
    const curve *w = &c->write_ms;
    if (!w->n) return;
    printf("  %-12s %8.3f ms at %g tokens of context, %8.3f ms at %g (%.1f ×)\n", c->name, w->y[0], w->x[0],
           curve_last(w), w->x[w->n - 1], curve_last(w) / w->y[0]);
}

void terminal_print(const demo *d) {
    const contender *ttt = &d->ttt, *transformer = &d->transformer;
    double held = fact_number(d, "held_bytes");
    char note[120];
    snprintf(note, sizeof note, "windows of %s tokens", fact_text(d, "window"));
    printf("\nHeld-out end of %s, %.0f bytes%*s bits per byte\n", fact_text(d, "title"), held, 4, "");
    row("bzip2 -9", fact_number(d, "bzip2_bytes") * 8 / held, "");
    row("xz -9e", fact_number(d, "xz_bytes") * 8 / held, "");
    row("xz -9e, after the training text", fact_number(d, "xz_after_bytes") * 8 / held, "");
    row("Transformer", transformer->learning.bits_per_byte, note);
    row("TTT-Linear", ttt->learning.bits_per_byte, note);
    row("TTT-Linear, frozen", ttt->frozen.bits_per_byte, note);
    row("TTT-Linear", ttt->learning.bits_per_byte_whole, "the whole text read in one go");
    row("TTT-Linear, frozen", ttt->frozen.bits_per_byte_whole, "the whole text read in one go");
    printf("\nLoss by position (bits per byte); trained on sequences of %s (TTT) and %s (Transformer)\n",
           fact_text(d, "length_ttt"), fact_text(d, "length_transformer"));
    printf("  %-12s %10s %10s %12s\n", "position", "TTT", "frozen", "Transformer");
    for (size_t i = 0; i < ttt->learning.positions.n; i++) {
        double x = ttt->learning.positions.x[i];
        if (i + 1 < ttt->learning.positions.n && i % 2) continue;
        printf("  %-12.0f %10.3f %10.3f %12.3f\n", x, ttt->learning.positions.y[i], curve_at(&ttt->frozen.positions, x),
               curve_at(&transformer->learning.positions, x));
    }
    printf("\nTime of one more token\n");
    print_time(ttt);
    print_time(transformer);
    printf("\n“%s”\n", fact_text(d, "prompt"));
    print_continuation(ttt);
    print_continuation(transformer);
    printf("\nThe same numbers on every machine, times apart. Models %.8s… and %.8s…\n", ttt->fingerprint,
           transformer->fingerprint);
}
