/* report.c: what a run of the demo measured, as one self-contained page (inline SVG, no script, nothing
 * fetched), as a picture for the README, and as a table on the terminal. The sentences follow from the
 * numbers, good or bad.
 *
 * usage: demo_report FOLDER REPORT.html PICTURE.svg */
#include "bench/chart.h"
#include "data.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <string.h>

enum { WIDE = 1000, HALF = 488, TALL = 340 };

static chart_line line_of(const contender *c, const curve *values, int points) {
    return (chart_line){
        .label = c->name, .class = c->class, .x = values->x, .y = values->y, .n = values->n, .points = points};
}

static chart_line frozen_line(const demo *d) {
    const curve *values = &d->ttt.frozen.positions;
    return (chart_line){
        .label = "TTT frozen", .class = "frozen", .x = values->x, .y = values->y, .n = values->n, .points = 1};
}

/* ---- the charts ---- */

static chart position_chart(const demo *d, double width) {
    chart c = {.title = "Loss by position, far past the training length",
               .x_label = "position in the held-out text (tokens)",
               .y_label = "bits per byte, lower is better",
               .y_unit = " bits per byte",
               .width = width,
               .height = TALL,
               .label_room = 104,
               .log_x = 1,
               .n_marks = 2,
               .n_lines = 3};
    c.marks[0].x = fact_number(d, "length_transformer");
    c.marks[0].label = "Transformer trained to here";
    c.marks[0].before = 1;
    c.marks[1].x = fact_number(d, "length_ttt");
    c.marks[1].label = "TTT trained to here";
    c.lines[0] = frozen_line(d);
    c.lines[1] = line_of(&d->transformer, &d->transformer.learning.positions, 1);
    c.lines[2] = line_of(&d->ttt, &d->ttt.learning.positions, 1);
    return c;
}

static chart two_lines(const demo *d, const char *title, const char *x_label, const char *y_label, const char *unit,
                       const curve *ttt, const curve *transformer, double width, int points) {
    chart c = {.title = title,
               .x_label = x_label,
               .y_label = y_label,
               .y_unit = unit,
               .width = width,
               .height = TALL,
               .label_room = 104,
               .n_lines = 2};
    c.lines[0] = line_of(&d->transformer, transformer, points);
    c.lines[1] = line_of(&d->ttt, ttt, points);
    return c;
}

static chart writing_chart(const demo *d, double width) {
    chart c = two_lines(d, "Time of one more token", "tokens read before it (context)", "milliseconds, lower is better",
                        " ms", &d->ttt.write_ms, &d->transformer.write_ms, width, 1);
    c.log_x = c.log_y = 1;
    return c;
}

static chart reading_chart(const demo *d, double width) {
    chart c =
        two_lines(d, "Time per token of reading 256 more", "tokens read before them (context)",
                  "milliseconds per token, lower is better", " ms", &d->ttt.read_ms, &d->transformer.read_ms, width, 1);
    c.log_x = c.log_y = 1;
    return c;
}

static chart state_chart(const demo *d, double width) {
    chart c = two_lines(d, "Memory of one session", "tokens read (context)", "megabytes of state, lower is better",
                        " MB", &d->ttt.state_mb, &d->transformer.state_mb, width, 1);
    c.log_x = c.log_y = 1;
    return c;
}

/* The first steps fall off the top: they only show how a new model begins. */
static chart training_chart(const demo *d, double width) {
    const curve *a = &d->ttt.training, *b = &d->transformer.training;
    chart c = two_lines(d, "Training loss", "training tokens (millions)", "bits per byte, lower is better", "", a, b,
                        width, 0);
    size_t early = a->n / 12;
    if (early < a->n && early < b->n) c.y_max = fmax(a->y[early], b->y[early]);
    return c;
}

/* ---- the picture for the README ---- */

static void write_picture(FILE *out, const demo *d) {
    chart left = position_chart(d, HALF), right = writing_chart(d, HALF);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" "
            "role=\"img\">\n"
            "<title>TTT-Linear against a Transformer of the same size: loss by position, and time of one "
            "more token by "
            "context</title>\n<style>",
            WIDE + 40, TALL + 36, WIDE + 40, TALL + 36);
    chart_style(out, 0);
    fprintf(out, "</style>\n<rect width=\"%d\" height=\"%d\" rx=\"10\" fill=\"var(--page)\"/>\n", WIDE + 40, TALL + 36);
    chart_draw(out, &left, 24, 20);
    chart_draw(out, &right, 24 + WIDE - HALF + 8, 20);
    fprintf(out, "</svg>\n");
}

/* ---- the page ---- */

static void bar(chart_bar *bars, size_t *n, const char *class, double value, const char *label, const char *detail) {
    if (!isfinite(value) || value <= 0) return;
    chart_bar *b = &bars[(*n)++];
    b->class = class;
    b->value = value;
    snprintf(b->label, sizeof b->label, "%s%s%s", label, detail[0] ? ", " : "", detail);
}

static void write_bars(FILE *out, const demo *d) {
    enum { BARS_MAX = 8, LABELS = 330 };
    chart_bar bars[BARS_MAX];
    double held = fact_number(d, "held_bytes");
    char window[64];
    size_t n = 0;
    snprintf(window, sizeof window, "windows of %s tokens", fact_text(d, "window"));
    bar(bars, &n, "other", fact_number(d, "bzip2_bytes") * 8 / held, "bzip2 -9", "");
    bar(bars, &n, "other", fact_number(d, "xz_bytes") * 8 / held, "xz -9e", "");
    bar(bars, &n, "other", fact_number(d, "xz_after_bytes") * 8 / held, "xz -9e", "after the training text");
    bar(bars, &n, "frozen", d->ttt.frozen.bits_per_byte_whole, "TTT-Linear frozen", "in one go");
    bar(bars, &n, "frozen", d->ttt.frozen.bits_per_byte, "TTT-Linear frozen", window);
    bar(bars, &n, "transformer", d->transformer.learning.bits_per_byte, "Transformer", window);
    bar(bars, &n, "ttt", d->ttt.learning.bits_per_byte, "TTT-Linear", window);
    bar(bars, &n, "ttt", d->ttt.learning.bits_per_byte_whole, "TTT-Linear", "the whole text in one go");
    fprintf(out, "<figure><svg viewBox=\"0 0 %d %zu\" role=\"img\" aria-label=\"Bits per byte\">\n", WIDE, n * 27 + 4);
    chart_bars(out, bars, n, WIDE, LABELS);
    fprintf(out, "</svg><figcaption>The compressors begin with nothing unless said otherwise; the models "
                 "have read the "
                 "training text, and the size of their weights is not counted. Frozen: the same weights, but "
                 "nothing is "
                 "learned while reading.</figcaption></figure>\n");
}

static void write_notes(FILE *out, const demo *d) {
    const contender *a = &d->ttt, *b = &d->transformer;
    const curve *pa = &a->learning.positions, *pb = &b->learning.positions;
    double window = b->learning.bits_per_byte - a->learning.bits_per_byte, late = b->learning.bits_per_byte_late;
    double far_x = pa->n ? pa->x[pa->n - 1] : NAN, last = curve_last(&a->write_ms), last_b = curve_last(&b->write_ms);
    double first = a->write_ms.n ? a->write_ms.y[0] : NAN, first_b = b->write_ms.n ? b->write_ms.y[0] : NAN;
    double longest = a->write_ms.n ? a->write_ms.x[a->write_ms.n - 1] : NAN;
    fprintf(out,
            "<ul>\n<li><b>With equal context</b>, fresh windows of %s tokens, %s is ahead by %.3f bits per "
            "byte: %.3f (TTT-Linear) and %.3f (Transformer).</li>\n",
            fact_text(d, "window"), window > 0 ? "TTT-Linear" : "the Transformer", fabs(window),
            a->learning.bits_per_byte, b->learning.bits_per_byte);
    fprintf(out,
            "<li><b>Far past the training length</b>, around position %.0f, TTT-Linear (trained on sequences of "
            "%s tokens) stands at %.3f bits per byte and the Transformer (trained on %s) at %.3f. In practice "
            "one slides a window over a Transformer: with its last %.0f "
            "to "
            "%s tokens as context it reaches %.3f, for re-reading the window at every token or for a cache that "
            "forgets.</li>\n",
            far_x, fact_text(d, "length_ttt"), curve_last(pa), fact_text(d, "length_transformer"), curve_last(pb),
            fact_number(d, "window") / 2, fact_text(d, "window"), late);
    fprintf(out,
            "<li><b>Learning while reading</b> is worth %.3f bits per byte in windows and %.3f over the "
            "whole text: the "
            "distance to the same weights frozen.</li>\n",
            a->frozen.bits_per_byte - a->learning.bits_per_byte,
            a->frozen.bits_per_byte_whole - a->learning.bits_per_byte_whole);
    double gain = a->learning.bits_per_byte - a->learning.bits_per_byte_whole;
    fprintf(
        out,
        "<li><b>One session for the whole text</b> is %s than a fresh start every %s tokens, by %.3f bits per byte: "
        "what is gained by more context %s what the state loses over a text many times longer than any it was "
        "trained on.</li>\n",
        gain > 0 ? "better" : "worse", fact_text(d, "window"), fabs(gain),
        gain > 0 ? "outweighs" : "does not outweigh");
    fprintf(out,
            "<li><b>Time.</b> One more token takes TTT-Linear %.2g ms at a context of 256 and %.2g ms at "
            "%.0f; the "
            "Transformer %.2g ms and %.2g ms. At short contexts %s is the faster one. Training took %.0f s "
            "and %.0f "
            "s.</li>\n",
            first, last, longest, first_b, last_b, first < first_b ? "TTT-Linear" : "the Transformer", a->seconds,
            b->seconds);
    fprintf(out, "<li><b>What this does not show.</b> Both models are tiny and were trained for minutes. A "
                 "Transformer "
                 "can look up any token of its context exactly, while TTT-Linear's state has a fixed size "
                 "and forgets: "
                 "on tasks of literal recall the Transformer wins inside its context. Methods that stretch a "
                 "Transformer's context were not used.</li>\n</ul>\n");
}

static void detail(FILE *out, const char *name, const char *a, const char *b) {
    fprintf(out, "<tr><th>%s</th><td>", name);
    chart_text(out, a, 0);
    fprintf(out, "</td><td>");
    chart_text(out, b, 0);
    fprintf(out, "</td></tr>\n");
}

static void detail_number(FILE *out, const char *name, const char *format, double a, double b) {
    char text[2][48];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text[0], sizeof text[0], format, a);
    snprintf(text[1], sizeof text[1], format, b);
#pragma GCC diagnostic pop
    detail(out, name, text[0], text[1]);
}

static void write_details(FILE *out, const demo *d) {
    const contender *a = &d->ttt, *b = &d->transformer;
    fprintf(out, "<table><tr><th></th><th class=\"ttt\">TTT-Linear</th><th "
                 "class=\"transformer\">Transformer</th></tr>\n");
    detail_number(out, "parameters", "%.0f", a->parameters, b->parameters);
    detail(out, "shape", fact_text(d, "shape_ttt"), fact_text(d, "shape_transformer"));
    detail(out, "tokens of a training sequence", fact_text(d, "length_ttt"), fact_text(d, "length_transformer"));
    detail(out, "peak learning rate", fact_text(d, "lr_ttt"), fact_text(d, "lr_transformer"));
    detail_number(out, "training tokens", "%.0f", a->tokens, b->tokens);
    detail_number(out, "training seconds", "%.1f", a->seconds, b->seconds);
    detail_number(out, "tokens per second in training", "%.0f", a->tokens / a->seconds, b->tokens / b->seconds);
    detail_number(out, "state at the longest context, MB", "%.3g", curve_last(&a->state_mb), curve_last(&b->state_mb));
    detail(out, "fingerprint", a->fingerprint, b->fingerprint);
    fprintf(out,
            "</table>\n<p class=\"soft\">%s steps of %s tokens, AdamW, cosine schedule; "
            "each rate and each length of sequences chosen for its model by trials (docs/demo.md). %s "
            "threads of ",
            fact_text(d, "steps"), fact_text(d, "batch_tokens"), fact_text(d, "threads"));
    chart_text(out, fact_text(d, "cpu"), 0);
    fprintf(out, ". The arithmetic is the same on every CPU and for any number of threads: losses, texts and "
                 "fingerprints come "
                 "out the same bits everywhere, only times differ.</p>\n");
}

static void write_continuation(FILE *out, const contender *c, const char *prompt) {
    fprintf(out, "<blockquote class=\"%s\"><b>%s</b><br><span class=\"soft\">", c->class, c->name);
    chart_text(out, prompt, 1);
    fprintf(out, "</span>");
    chart_text(out, c->continuation, 1);
    fprintf(out, "</blockquote>\n");
}

static void write_page(FILE *out, const demo *d) {
    chart position = position_chart(d, HALF), writing = writing_chart(d, HALF), read_time = reading_chart(d, HALF),
          state = state_chart(d, HALF), training = training_chart(d, WIDE);
    fprintf(out, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                 "content=\"width=device-width,initial-scale=1\">\n<title>innerloop: the demo</title>\n");
    chart_page_style(out);
    fprintf(out, "<h1>A model that learns while it reads, against a Transformer of the same size</h1>\n<p "
                 "class=\"soft\">Text: ");
    chart_text(out, fact_text(d, "title"), 0);
    fprintf(out,
            ": trained on its first %.2f MB, measured on its last %.0f kB. Both models: the same tokens, "
            "the same number "
            "of steps, %.2f and %.2f million parameters.</p>\n<h2>Bits per byte of the held-out text</h2>\n",
            fact_number(d, "train_bytes") / 1e6, fact_number(d, "held_bytes") / 1e3, d->ttt.parameters / 1e6,
            d->transformer.parameters / 1e6);
    write_bars(out, d);
    fprintf(out, "<h2>Long texts</h2>\n<div class=\"grid2\">\n");
    chart_figure(out, &position, "Means over octaves of positions, of sequences cut from the held-out text.");
    chart_figure(out, &writing, "Median over groups of 16 tokens, with the logits of each.");
    chart_figure(out, &read_time, "256 tokens read in one piece, no logits.");
    chart_figure(out, &state, "What a saved session would have to hold.");
    fprintf(out, "</div>\n<h2>What the numbers say</h2>\n");
    write_notes(out, d);
    fprintf(out, "<h2>Training</h2>\n");
    chart_figure(out, &training,
                 "Loss of each step's batch before its update, averaged over neighbouring steps; the first steps "
                 "lie above the picture.");
    fprintf(out, "<h2>A continuation</h2>\n<div class=\"grid2\">\n");
    write_continuation(out, &d->ttt, fact_text(d, "prompt"));
    write_continuation(out, &d->transformer, fact_text(d, "prompt"));
    fprintf(out, "</div>\n<h2>The runs</h2>\n");
    write_details(out, d);
    fprintf(out, "</html>\n");
}

/* Writes one file whole; returns 0, or -1 with a line on stderr. */
static int write_file(const char *path, const demo *d, void (*content)(FILE *, const demo *)) {
    FILE *out = fopen(path, "wb");
    if (out) {
        content(out, d);
        int failed = ferror(out);
        if (!fclose(out) && !failed) return 0;
    }
    fprintf(stderr, "demo_report: %s: %s\n", path, strerror(errno));
    return -1;
}

int main(int argc, char **argv) {
    demo d;
    if (argc != 4) {
        fprintf(stderr, "usage: demo_report FOLDER REPORT.html PICTURE.svg\n");
        return 2;
    }
    int code = demo_load(argv[1], &d);
    if (!code) code = write_file(argv[2], &d, write_page);
    if (!code) code = write_file(argv[3], &d, write_picture);
    if (!code) terminal_print(&d);
    demo_free(&d);
    return code ? 1 : 0;
}
