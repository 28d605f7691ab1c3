/* score_units.c: see score_units.h. */
#include "verbs/score_units.h"

#include <math.h>
#include <string.h>

double score_bits(const score_unit *unit) { return unit->nats / log(2); }
double score_per_byte(const score_unit *unit) { return unit->bytes ? score_bits(unit) / (double)unit->bytes : NAN; }

double score_relative(const score_unit *unit, score_by by) {
    double bits = (unit->nats - unit->slow) / log(2);
    return by == SCORE_BY_TOKEN ? bits : unit->bytes ? bits / (double)unit->bytes : NAN;
}

double score_of(const score_view *view, const score_unit *unit, score_by by) {
    if (view->peak && by == SCORE_BY_LINE) return unit->peak;
    if (view->relative) return score_relative(unit, by);
    return by == SCORE_BY_TOKEN ? score_bits(unit) : score_per_byte(unit);
}

/* share of the scale, 0 to 1 and above; 0 .. levels-1. */
static int level_of(double share, int levels) {
    if (!(share > 0)) return 0;
    return share < 1 ? (int)(share * levels) : levels - 1;
}

int score_level(const score_view *view, double bits) {
    if (!view->relative) return level_of(bits / SCORE_SHOCK, SCORE_LEVELS);
    int level = level_of(1 - exp2(-fabs(bits)), SCORE_SIDE + 1);
    return !level ? 0 : bits < 0 ? SCORE_SIDE + 1 - level : SCORE_SIDE + level;
}

int score_is_blank(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (!strchr(" \t\r\n\v\f", text[i]) || !text[i]) return 0;
    return 1;
}
