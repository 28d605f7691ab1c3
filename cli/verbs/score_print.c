/* score_print.c: scores on standard output: JSON lines, plain columns for a pipe, colours for a terminal.
 * What a text holds cannot steer the terminal: its control characters are shown as dots. */
#include "verbs/score_print.h"
#include "output.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void score_print_begin(score_printer *printer, const score_view *view) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    *printer = (score_printer){.view = view};
    printer->terminal =
        !view->json && isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no_color && no_color[0]);
}

/* ---- text ---- */

/* Backgrounds of the 256 colours with black or white on them, yellow to purple, or relative: blue, what fits, to red;
 * level 0 is the terminal's own. */
static void colour(const score_view *view, int level) {
    static const unsigned char back[SCORE_LEVELS] = {0, 230, 229, 228, 222, 216, 215, 209, 203, 197, 161, 125},
                               relative[SCORE_RELATIVE_LEVELS] = {0, 25, 31, 74, 117, 159, 230, 222, 215, 203, 161};
    int white = view->relative ? level < 3 || level == 2 * SCORE_SIDE : level >= 9;
    if (level)
        printf("\033[48;5;%d;38;5;%dm", view->relative ? relative[level] : back[level], white ? 231 : 16);
    else
        printf("\033[0m");
}

/* Well-formed UTF-8; tabs stay, line ends and other controls (C1 too) do not. */
static void print_safe(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i], next = i + 1 < bytes ? (unsigned char)text[i + 1] : 0;
        if (c == 0xC2 && next < 0xA0) {
            fputs("·", stdout);
            i++;
        } else if ((c < 32 && c != '\t') || c == 127) {
            fputs("·", stdout);
        } else {
            putchar(c);
        }
    }
}

static size_t without_line_end(const char *text, size_t bytes) {
    if (bytes && text[bytes - 1] == '\n') bytes--;
    if (bytes && text[bytes - 1] == '\r') bytes--;
    return bytes;
}

/* Its end, not in the line's end; 0 where nothing is to be marked. */
static size_t worst_end(const score_view *view, const score_line *line, size_t end) {
    if (!view->peak || line->worst_from >= end) return 0;
    return line->worst_to < end ? line->worst_to : end;
}

/* The line in a pipe: what stands out most is put between « and ». */
static void print_text(const score_view *view, const score_line *line) {
    size_t end = without_line_end(line->text, line->bytes), to = worst_end(view, line, end), from = line->worst_from;
    if (to) {
        print_safe(line->text, from);
        fputs("«", stdout);
        print_safe(line->text + from, to - from);
        fputs("»", stdout);
    }
    print_safe(line->text + to, end - to);
    putchar('\n');
}

static void print_cells(const score_view *view, const score_line *line) {
    size_t end = without_line_end(line->text, line->bytes), to = worst_end(view, line, end);
    int now = 0;
    for (size_t i = 0; i < line->n_cells; i++) {
        const score_cell *cell = &line->cells[i];
        int level = score_level(view, cell->bits);
        if (to && cell->at == line->worst_from) fputs("«", stdout);
        if (level != now) colour(view, now = level);
        if (cell->at < end)
            print_safe(line->text + cell->at, (cell->at + cell->bytes > end ? end - cell->at : cell->bytes));
        else if (level)
            putchar(' '); /* an end of a line that says something */
        if (to && cell->at < to && cell->at + cell->bytes >= to) fputs("»", stdout);
    }
    fputs(now ? "\033[0m\033[K\n" : "\n", stdout);
}

static char mark(const score_unit *unit) { return unit->above ? '!' : ' '; }

/* The number of a line or token's line, and the score. */
static void print_score(const score_printer *printer, const score_unit *unit, score_by by) {
    double score = score_of(printer->view, unit, by);
    char number[32] = "      -";
    if (by != SCORE_BY_PASSAGE)
        printf(printer->terminal ? "\033[2m%6llu\033[0m " : "%6llu ", (unsigned long long)unit->first_line);
    if (!isnan(score)) snprintf(number, sizeof number, printer->view->relative ? "%+7.3f" : "%7.3f", score);
    if (!printer->terminal || isnan(score))
        printf("%s %c ", number, mark(unit));
    else if (unit->above)
        printf("\033[1;31m%s !\033[0m ", number);
    else
        printf("\033[2m%s\033[0m %c ", number, mark(unit));
}

static void text_passage(const score_printer *printer, const score_unit *unit) {
    if (printer->terminal) fputs("\033[2m──\033[0m", stdout);
    print_score(printer, unit, SCORE_BY_PASSAGE);
    printf("passage %llu, lines %llu-%llu, ", (unsigned long long)unit->index, (unsigned long long)unit->first_line,
           (unsigned long long)(unit->first_line + unit->lines - 1));
    if (printer->view->relative)
        printf("%.3f bits per byte\n", score_per_byte(unit));
    else
        printf("mean %.3f\n", unit->mean);
}

/* ---- JSON ---- */

static void set_relative(const score_printer *printer, const score_unit *unit, score_by by, json_t *object) {
    if (printer->view->relative) json_object_set_new(object, "relative", cli_json_real(score_relative(unit, by)));
}

static void finish_json(const score_printer *printer, const score_unit *unit, score_by by, json_t *object) {
    set_relative(printer, unit, by, object);
    json_object_set_new(object, "mean", cli_json_real(unit->mean));
    if (printer->view->quantile > 0) json_object_set_new(object, "threshold", cli_json_real(unit->limit));
    if (printer->view->has_threshold) json_object_set_new(object, "above", json_boolean(unit->above));
    cli_json_print(object);
}

static json_t *sums(const score_unit *unit) {
    return json_pack("{s:I, s:I, s:o, s:o}", "tokens", (json_int_t)unit->tokens, "bytes", (json_int_t)unit->bytes,
                     "bits", cli_json_real(score_bits(unit)), "bits_per_byte", cli_json_real(score_per_byte(unit)));
}

static void json_passage(const score_printer *printer, const score_unit *unit) {
    json_t *object = json_pack("{s:I, s:I, s:I}", "passage", (json_int_t)unit->index, "first_line",
                               (json_int_t)unit->first_line, "lines", (json_int_t)unit->lines),
           *rest = sums(unit);
    json_object_update(object, rest);
    json_decref(rest);
    finish_json(printer, unit, SCORE_BY_PASSAGE, object);
}

/* ---- what happens ---- */

void score_print_token(score_printer *printer, const score_unit *unit, int32_t token, const char *text, size_t bytes) {
    if (printer->view->by != SCORE_BY_TOKEN || (printer->terminal && !printer->view->selects)) return;
    if (printer->view->json) {
        finish_json(printer, unit, SCORE_BY_TOKEN,
                    json_pack("{s:I, s:I, s:i, s:o, s:I, s:o}", "position", (json_int_t)unit->index, "line",
                              (json_int_t)unit->first_line, "token", token, "text", cli_json_text(text, bytes), "bytes",
                              (json_int_t)unit->bytes, "bits", cli_json_real(score_bits(unit))));
        return;
    }
    print_score(printer, unit, SCORE_BY_TOKEN);
    print_safe(text, bytes);
    putchar('\n');
}

void score_print_line(score_printer *printer, const score_line *line) {
    size_t end = without_line_end(line->text, line->bytes);
    if (printer->view->selects && printer->view->by != SCORE_BY_LINE) return;
    if (printer->view->json) {
        if (printer->holds_first && !score_is_blank(line->text, line->bytes)) {
            json_passage(printer, &printer->first); /* another one has begun */
            printer->holds_first = 0;
        }
        if (printer->view->by != SCORE_BY_LINE) return;
        json_t *object = json_pack("{s:I, s:o}", "line", (json_int_t)line->unit.index, "text",
                                   cli_json_text(end ? line->text : "", end)),
               *rest = sums(&line->unit);
        json_object_update(object, rest);
        json_decref(rest);
        if (printer->view->peak) {
            size_t to = worst_end(printer->view, line, end), from = to ? line->worst_from : 0;
            json_object_set_new(object, "peak", cli_json_real(line->unit.peak));
            json_object_set_new(object, "peak_text", cli_json_text(to ? line->text + from : "", to - from));
        }
        finish_json(printer, &line->unit, SCORE_BY_LINE, object);
        return;
    }
    if (printer->view->by == SCORE_BY_LINE) print_score(printer, &line->unit, SCORE_BY_LINE);
    if (printer->terminal) {
        print_cells(printer->view, line);
    } else if (printer->view->by == SCORE_BY_LINE) {
        print_text(printer->view, line);
    }
}

void score_print_passage(score_printer *printer, const score_unit *unit) {
    if (printer->view->by != SCORE_BY_PASSAGE) return;
    if (!printer->view->json) {
        text_passage(printer, unit);
    } else if (unit->index == 1 && !printer->view->selects) {
        printer->first = *unit;
        printer->holds_first = 1;
    } else {
        json_passage(printer, unit);
    }
}

void score_print_entry(score_printer *printer, const score_entry *entry) {
    const score_line *line = &entry->line;
    switch (printer->view->by) {
    case SCORE_BY_TOKEN: score_print_token(printer, &line->unit, entry->token, line->text, line->bytes); break;
    case SCORE_BY_LINE: score_print_line(printer, line); break;
    case SCORE_BY_PASSAGE: score_print_passage(printer, &line->unit); break;
    }
}

void score_print_end(score_printer *printer, const char *verb, const score_unit *all, const score_end *end) {
    static const char *const names[] = {"token", "line", "passage"};
    double rate = end->seconds > 0 ? (double)(all->tokens + end->learned_tokens) / end->seconds : NAN;
    if (printer->view->json) {
        json_t *object = sums(all);
        json_object_set_new(object, "nll", cli_json_real(all->tokens ? all->nats / (double)all->tokens : NAN));
        set_relative(printer, all, SCORE_BY_PASSAGE, object); /* the whole: per byte */
        json_object_set_new(object, "lines", json_integer((json_int_t)all->lines));
        json_object_set_new(object, "passages", json_integer((json_int_t)all->index));
        if (printer->view->has_threshold) {
            json_object_set_new(object, "threshold", cli_json_real(printer->view->threshold));
            json_object_set_new(object, "above", json_integer((json_int_t)end->above));
        }
        json_object_set_new(object, "learned", json_integer((json_int_t)end->learned));
        if (end->state) {
            json_object_set_new(object, "out", cli_json_string(end->state));
            json_object_set_new(object, "position", json_integer((json_int_t)end->position));
        }
        json_object_set_new(object, "frozen", json_boolean(printer->view->frozen));
        json_object_set_new(object, "seconds", cli_json_real(end->seconds));
        json_object_set_new(object, "tokens_per_s", cli_json_real(rate));
        cli_json_print(object);
        return;
    }
    char marked[80] = "", relative[80] = "", learned[80] = "";
    if (printer->view->relative && all->bytes)
        snprintf(relative, sizeof relative, ", %+.4f by what it learned of the text",
                 score_relative(all, SCORE_BY_PASSAGE));
    if (printer->view->has_threshold && !isfinite(printer->view->threshold))
        snprintf(marked, sizeof marked, ", too few %ss for a quantile of %.15g", names[printer->view->by],
                 printer->view->quantile);
    else if (printer->view->has_threshold)
        snprintf(marked, sizeof marked, ", %s above %g", cli_count(end->above, names[printer->view->by]),
                 printer->view->threshold);
    if (end->learned) snprintf(learned, sizeof learned, "after the first %s: ", cli_count(end->learned, "line"));
    fflush(stdout);
    cli_note(verb, "%s%s, %s, %.4f bits per byte%s%s%s, in %.2f s", learned, cli_count(all->tokens, "token"),
             cli_count(all->bytes, "byte"), all->bytes ? score_per_byte(all) : 0.0, relative, marked,
             printer->view->frozen ? ", frozen" : "", end->seconds);
    if (end->state) cli_note(verb, "%s: the state at position %llu", end->state, (unsigned long long)end->position);
}
