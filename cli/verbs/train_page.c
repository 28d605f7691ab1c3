/* train_page.c: see train_page.h. */
#include "verbs/train_page.h"
#include "bench/chart.h"
#include "curves.h"
#include "files.h"
#include "output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOSS, NORM, RATE, SPEED };

/* ---- what is drawn ---- */

static void marks_open(train_page_marks *m, size_t width) {
    *m = (train_page_marks){.width = width, .every = 1};
    m->x = cli_alloc(TRAIN_PAGE_POINTS, sizeof *m->x);
    m->y = cli_alloc(TRAIN_PAGE_POINTS * width, sizeof *m->y);
}

/* Where the next mark's values go; NULL: it is left out. */
static double *marks_add(train_page_marks *m, double x) {
    if (m->seen++ % m->every) return NULL;
    if (m->n == TRAIN_PAGE_POINTS) {
        m->n /= 2;
        m->every *= 2;
        for (size_t i = 0; i < m->n; i++) {
            m->x[i] = m->x[2 * i];
            memcpy(m->y + i * m->width, m->y + 2 * i * m->width, m->width * sizeof *m->y);
        }
    }
    m->x[m->n] = x;
    return m->y + m->n++ * m->width;
}

void train_page_open(train_page *page, const train_options *options, const il_model *model, uint64_t first) {
    const il_config *config = il_model_config(model);
    *page = (train_page){.options = options, .mixer = il_mixer_name(config->mixer), .first = first, .each = 1};
    page->parameters = il_model_parameters(model);
    page->layers = config->layers < TRAIN_LAYERS_MAX ? config->layers : TRAIN_LAYERS_MAX;
    page->points = cli_alloc(TRAIN_PAGE_POINTS, sizeof *page->points);
    page->last = cli_alloc(1, sizeof *page->last);
    page->best = NAN;
    page->started = cli_seconds();
    marks_open(&page->validations, 1);
    marks_open(&page->looks, 2 * (size_t)page->layers);
    marks_open(&page->skips, 1);
}

void train_page_close(train_page *page) {
    free(page->points);
    free(page->last);
    free(page->validations.x);
    free(page->validations.y);
    free(page->looks.x);
    free(page->looks.y);
    free(page->skips.x);
    free(page->skips.y);
    *page = (train_page){0};
}

static void join(train_page_point *a, const train_page_point *b) {
    for (int i = 0; i < TRAIN_PAGE_VALUES; i++) a->sums[i] += b->sums[i];
    a->steps += b->steps;
    a->step += b->step;
    if (b->low < a->low) a->low = b->low;
    if (b->high > a->high) a->high = b->high;
}

static void add_step(train_page *page, const train_point *p) {
    train_page_point one = {1, (double)p->step, {p->loss, p->grad_norm, p->lr, p->tokens_per_s}, p->loss, p->loss};
    if (page->n && page->points[page->n - 1].steps < page->each) {
        join(&page->points[page->n - 1], &one);
        return;
    }
    if (page->n == TRAIN_PAGE_POINTS) {
        page->n /= 2;
        page->each *= 2;
        for (size_t i = 0; i < page->n; i++) {
            page->points[i] = page->points[2 * i];
            join(&page->points[i], &page->points[2 * i + 1]);
        }
    }
    page->points[page->n++] = one;
}

void train_page_add(train_page *page, const train_point *p) {
    add_step(page, p);
    if (!isnan(p->val_loss)) {
        double *y = marks_add(&page->validations, (double)p->step);
        if (y) *y = p->val_loss;
        if (!(p->val_loss >= page->best)) page->best = p->val_loss, page->best_step = (double)p->step;
    }
    if (p->skipped) {
        double *y = marks_add(&page->skips, (double)p->step);
        if (y) *y = p->loss;
        page->skipped++;
    }
    if (p->layers == page->layers) {
        double *y = marks_add(&page->looks, (double)p->step);
        for (int i = 0; i < p->layers && y; i++) y[2 * i] = p->before[i], y[2 * i + 1] = p->after[i];
    }
    *page->last = *p;
}

/* ---- the page ---- */

static const char style[] =
    ":root{--bg:#fbfaf7;--card:#fff;--fg:#23211d;--dim:#8d877c;--line:#ebe7dd;--a:#2a6fbb;--b:#c2185b;--c:#8d877c;"
    "color-scheme:light dark}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#131217;--card:#1b1a21;--fg:#dedbd3;--dim:#827d8f;--line:#2b2933;"
    "--a:#78b7ff;--b:#ff6d98;--c:#827d8f}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif;"
    "-webkit-text-size-adjust:100%}\n"
    "main{max-width:66rem;margin:0 auto;padding:2.6rem 1.5rem 4rem}\n"
    "h1{font-size:1rem;font-weight:600;margin:0;overflow-wrap:anywhere;display:flex;flex-wrap:wrap;gap:.2em .7em;"
    "align-items:center}\n"
    ".state{font-size:.74rem;font-weight:600;color:var(--a);border:1px solid;border-radius:9em;padding:.05em .7em}"
    ".state.bad{color:var(--b)}.state.done{color:var(--dim)}\n"
    ".state.runs:before{content:'';display:inline-block;width:.5em;height:.5em;border-radius:50%;background:var(--a);"
    "margin-right:.5em;animation:beat 2s infinite}@keyframes beat{50%{opacity:.25}}\n"
    ".big{font-size:3.2rem;font-weight:300;letter-spacing:-.02em;line-height:1.1;margin:.7rem 0 0;"
    "font-variant-numeric:tabular-nums}.big small{font-size:1rem;letter-spacing:0;color:var(--dim);"
    "white-space:nowrap}\n"
    ".bar{height:.5rem;border-radius:9em;background:var(--line);margin:1.3rem 0 .5rem;overflow:hidden}"
    ".bar i{display:block;height:100%;border-radius:9em;background:var(--a)}\n"
    ".under{display:flex;justify-content:space-between;flex-wrap:wrap;gap:0 1.5em;color:var(--dim);font-size:.85rem;"
    "font-variant-numeric:tabular-nums}\n"
    "dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.2rem,1fr));gap:.9rem 1.2rem;margin:1.8rem 0 2.2rem}"
    "dl div{border-top:1px solid var(--line);padding-top:.5rem}"
    "dt{color:var(--dim);font-size:.74rem}dd{margin:0;font-size:1.12rem;white-space:nowrap;"
    "font-variant-numeric:tabular-nums}dd small{color:var(--dim);font-size:.78rem}\n"
    "section{background:var(--card);border:1px solid var(--line);border-radius:.8rem;padding:1.1rem 1.3rem;"
    "margin-bottom:1.1rem}\n"
    ".three{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:1.4rem 1.8rem}"
    ".many{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:1.2rem 1.6rem}\n"
    "h2{font-size:.86rem;font-weight:600;margin:0 0 .2rem}.note{color:var(--dim);font-size:.8rem;margin:0 0 1rem}"
    ".key{display:flex;flex-wrap:wrap;gap:.1em 1.3em;color:var(--dim);font-size:.78rem;margin-top:.4rem}"
    ".key i{display:inline-block;width:1.4em;border-top:2px solid;vertical-align:.28em;margin-right:.45em}\n"
    ".plot .s{stroke:var(--fg)}footer{color:var(--dim);font-size:.8rem;overflow-wrap:anywhere;margin-top:1.6rem}\n"
    "@media(max-width:44rem){main{padding:1.4rem .9rem 3rem}.three{grid-template-columns:minmax(0,1fr)}"
    "section{padding:.9rem .9rem;border-radius:.6rem}.big{font-size:2.6rem}.wide .plot{height:13rem}"
    ".many{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:1rem 1.1rem}"
    "dl{grid-template-columns:repeat(auto-fit,minmax(6.6rem,1fr));gap:.7rem 1rem;margin:1.4rem 0 1.6rem}}\n";

typedef struct columns { /* [n] of the points */
    double x[TRAIN_PAGE_POINTS], y[TRAIN_PAGE_VALUES][TRAIN_PAGE_POINTS], low[TRAIN_PAGE_POINTS],
        high[TRAIN_PAGE_POINTS];
    size_t n;
} columns;

static void put_time(FILE *f, double seconds) {
    long s = seconds < 1e9 ? (long)(seconds + 0.5) : 999999999;
    if (s >= 86400)
        fprintf(f, "%ld d %ld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        fprintf(f, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        fprintf(f, "%ld min %02ld s", s / 60, s % 60);
    else
        fprintf(f, "%ld s", s);
}

/* Of this process, waiting for validation and checkpoints included; NaN: nothing says it yet. */
static double seconds_left(const train_page *page) {
    double made = (double)page->last->step - (double)page->first;
    return made > 0 ? (cli_seconds() - page->started) / made * (double)(page->options->steps - page->last->step) : NAN;
}

static const char *name_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t from = n;
    while (from && path[from - 1] != '/') from--;
    char *name = cli_format("%.*s", (int)(n - from), path + from);
    const char *shown = cli_shown(name);
    free(name);
    return shown;
}

static void put_tile(FILE *f, const char *what, const char *value, const char *unit) {
    fprintf(f, "<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>\n", what, value, unit);
}

static void put_loss(FILE *f, const char *what, double loss) {
    char text[32];
    snprintf(text, sizeof text, "%.4f", loss);
    put_tile(f, what, text, "");
}

static void put_head(FILE *f, const train_page *page, train_page_state state) {
    static const char *const kinds[] = {"runs", "done", "bad", "bad"}, *const words[] = {"training", "done", "stopped",
                                                                                         "failed"};
    const train_options *options = page->options;
    const train_point *last = page->last;
    double fraction = (double)last->step / (double)options->steps, left = seconds_left(page);
    fputs("<header>\n<h1>", f);
    chart_text(f, name_of(options->out), 0);
    fprintf(f, " <span class=\"state %s\">%s</span></h1>\n<p class=\"big\">%.4f <small>loss of a token", kinds[state],
            words[state], isnan(page->best) ? last->loss : page->best);
    if (isnan(page->best))
        fputs(", last step</small></p>\n", f);
    else
        fprintf(f, ", best validation, step %s</small></p>\n", cli_curves_number(page->best_step));
    fprintf(f, "<div class=\"bar\"><i style=\"width:%.2f%%\"></i></div>\n<div class=\"under\"><span>step %s of ",
            fraction * 100, cli_curves_number((double)last->step));
    fprintf(f, "%s, %.*f %%</span><span>", cli_curves_number((double)options->steps), fraction < 0.0995 ? 1 : 0,
            fraction * 100);
    if (state == TRAIN_PAGE_RUNS && !isnan(left)) {
        put_time(f, left);
        fputs(" left", f);
    } else if (!isnan(last->seconds)) {
        put_time(f, last->seconds);
        fputs(" of training", f);
    }
    fputs("</span></div>\n<dl>\n", f);
    put_loss(f, "loss, last step", last->loss);
    if (page->validations.n) put_loss(f, "validation, last", page->validations.y[page->validations.n - 1]);
    put_tile(f, "speed", cli_curves_number(last->tokens_per_s), " tokens/s");
    if (!isnan(last->tokens)) put_tile(f, "read", cli_curves_number(last->tokens), " tokens");
    if (page->skipped) put_tile(f, "skipped as spikes", cli_curves_number((double)page->skipped), " steps");
    put_tile(f, "parameters", cli_curves_number((double)page->parameters), "");
    fputs("</dl>\n</header>\n", f);
}

static void put_one(FILE *f, const columns *c, int value, const char *title, const char *unit, int from_zero,
                    double x_max, double last) {
    const cli_curve line = {.x = c->x, .y = c->y[value], .n = c->n, .kind = "a"};
    char *now = cli_format("now <b>%s</b>%s", cli_curves_number(last), unit);
    cli_curves_put(f, &(cli_curves){.title = title,
                                    .now = now,
                                    .lines = &line,
                                    .n_lines = 1,
                                    .x_max = x_max,
                                    .y_low = NAN,
                                    .y_high = NAN,
                                    .from_zero = from_zero});
    free(now);
}

static void put_losses(FILE *f, const train_page *page, const columns *c, double x_max) {
    const train_page_marks *v = &page->validations, *s = &page->skips;
    const cli_curve lines[] = {
        {.x = c->x, .y = c->y[LOSS], .low = c->low, .high = c->high, .n = c->n, .kind = "a"},
        {.x = v->x, .y = v->y, .n = v->n, .kind = "b", .dots = v->n <= 60},
        {.x = s->x, .y = s->y, .n = s->n, .kind = "s", .dots = 1, .no_line = 1},
    };
    char *now = cli_format("now <b>%.4f</b>", page->last->loss);
    fputs("<section class=\"wide\">\n", f);
    cli_curves_put(f, &(cli_curves){.title = "loss",
                                    .now = now,
                                    .lines = lines,
                                    .n_lines = s->n ? 3 : 2,
                                    .x_max = x_max,
                                    .y_low = NAN,
                                    .y_high = NAN});
    free(now);
    fputs("<div class=\"key\"><span><i style=\"color:var(--a)\"></i>training", f);
    if (page->each > 1) fprintf(f, ": means of %.0f steps, and their least and most", page->each);
    fputs("</span>", f);
    if (v->n) fputs("<span><i style=\"color:var(--b)\"></i>validation</span>", f);
    if (s->n) fputs("<span><i style=\"color:var(--fg)\"></i>skipped as spikes</span>", f);
    fputs("</div>\n</section>\n", f);
}

static void put_layer(FILE *f, const train_page *page, int layer, double low, double high, double x_max) {
    const train_page_marks *m = &page->looks;
    double *before = cli_alloc(m->n, sizeof *before), *after = cli_alloc(m->n, sizeof *after);
    for (size_t i = 0; i < m->n; i++) {
        before[i] = m->y[i * m->width + 2 * (size_t)layer];
        after[i] = m->y[i * m->width + 2 * (size_t)layer + 1];
    }
    double b = before[m->n - 1], a = after[m->n - 1];
    const cli_curve lines[] = {
        {.x = m->x, .y = before, .n = m->n, .kind = "c"},
        {.x = m->x, .y = after, .low = after, .high = before, .n = m->n, .kind = "a"},
    };
    char *title = cli_format("layer %d", layer),
         *now = cli_format("%s → <b>%s</b>", cli_curves_number(b), cli_curves_number(a));
    if (isfinite(b))
        cli_curves_put(f, &(cli_curves){.title = title,
                                        .now = now,
                                        .lines = lines,
                                        .n_lines = 2,
                                        .x_max = x_max,
                                        .y_low = low,
                                        .y_high = high,
                                        .from_zero = 1,
                                        .small = 1});
    free(title);
    free(now);
    free(before);
    free(after);
}

static void put_layers(FILE *f, const train_page *page, double x_max) {
    const train_page_marks *m = &page->looks;
    double high = NAN;
    for (size_t i = 0; i < m->n * m->width; i++)
        if (isfinite(m->y[i]) && !(m->y[i] <= high)) high = m->y[i];
    if (isnan(high)) return;
    fputs("<section>\n<h2>inner loss, before and after the updates, by layer</h2>\n<p class=\"note\">of one text, the "
          "same through the run: what reading takes away lies between the lines; all charts have one scale</p>\n"
          "<div class=\"many\">\n",
          f);
    for (int i = 0; i < page->layers; i++) put_layer(f, page, i, 0, high, x_max);
    fputs("</div>\n<div class=\"key\"><span><i style=\"color:var(--c);border-top-style:dotted\"></i>before</span><span>"
          "<i style=\"color:var(--a)\"></i>after</span></div>\n</section>\n",
          f);
}

static void put_foot(FILE *f, const train_page *page) {
    const train_options *o = page->options;
    fprintf(f, "<footer>%s; %s tokens a step in sequences of %s; ", page->mixer,
            cli_curves_number((double)o->batch_tokens), cli_curves_number((double)o->length));
    fprintf(f, "%s; seed %llu; data: ", o->dtype, (unsigned long long)o->seed);
    for (size_t i = 0; i < o->n_data && i < 8; i++) {
        if (i) fputs(", ", f);
        chart_text(f, name_of(o->data[i]), 0);
        if (o->weights && o->weights[i] > 0) fprintf(f, " (%g)", o->weights[i]);
    }
    if (o->n_data > 8) fprintf(f, " and %zu more", o->n_data - 8);
    fprintf(f, "; innerloop %s</footer>\n", il_version());
}

static void put_page(FILE *f, const train_page *page, const columns *c, train_page_state state) {
    double x_max = (double)page->last->step;
    const train_point *last = page->last;
    fputs("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n",
          f);
    if (state == TRAIN_PAGE_RUNS) fputs("<meta http-equiv=\"refresh\" content=\"5\">\n", f);
    fputs("<title>", f);
    chart_text(f, name_of(page->options->out), 0);
    fprintf(f, " — step %s</title>\n<style>\n%s%s</style>\n<main>\n", cli_curves_number(x_max), style,
            cli_curves_style);
    put_head(f, page, state);
    put_losses(f, page, c, x_max);
    fputs("<section class=\"three\">\n", f);
    put_one(f, c, NORM, "gradient norm", "", 1, x_max, last->grad_norm);
    put_one(f, c, RATE, "learning rate", "", 1, x_max, last->lr);
    put_one(f, c, SPEED, "tokens/s", "", 1, x_max, last->tokens_per_s);
    fputs("</section>\n", f);
    put_layers(f, page, x_max);
    put_foot(f, page);
    fputs("</main>\n</html>\n", f);
}

il_status train_page_write(const train_page *page, train_page_state state, il_error *error) {
    const char *path = page->options->html;
    char *text = NULL;
    size_t bytes = 0;
    if (!page->n) return IL_OK; /* nothing to show */
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return cli_fail(error, IL_ERR_NOMEM, "no memory for %s", path);
    columns *c = cli_alloc(1, sizeof *c);
    c->n = page->n;
    for (size_t i = 0; i < page->n; i++) {
        const train_page_point *p = &page->points[i];
        c->x[i] = p->step / p->steps;
        c->low[i] = p->low;
        c->high[i] = p->high;
        for (int k = 0; k < TRAIN_PAGE_VALUES; k++) c->y[k][i] = p->sums[k] / p->steps;
    }
    put_page(f, page, c, state);
    free(c);
    il_status status =
        fclose(f) ? cli_fail(error, IL_ERR_NOMEM, "no memory for %s", path) : cli_path_write(path, text, bytes, error);
    free(text);
    return status;
}
