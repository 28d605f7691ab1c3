/* steps.c: see steps.h. Values: white space, objects, arrays, words and numbers. */
#include "grammar/steps.h"

enum {
    INDENT_MAX = 32, /* blanks after the end of a line */
    DIGITS_MAX = 15, /* before the point, and behind it */
    TAIL_MAX = 2     /* of an exponent */
};

/* ---- numbers with bounds ---- */

typedef struct range {
    int64_t low, high;
    int low_open, high_open;
} range;

/* What a number may be without its sign. 0: nothing. */
static int magnitudes(const grammar_node *n, int negative, range *r) {
    if (negative) {
        *r = (range){n->most < 0 ? -n->most : 0, -n->least, n->most <= 0 && n->most_open, n->least_open};
        if (!n->fraction && r->low < 1) r->low = 1;
        if (r->high <= 0) return 0;
    } else {
        *r = (range){n->least > 0 ? n->least : 0, n->most, n->least >= 0 && n->least_open, n->most_open};
    }
    if (n->multiple && !grammar_has_multiple(r->low, r->high, n->multiple)) return 0;
    return r->low < r->high || (r->low == r->high && !r->low_open && !r->high_open);
}

static int below(const range *r, int64_t v) { return v < r->high || (v == r->high && !r->high_open); }

/* Whether digits that begin with v can reach the range, at a multiple if it must be one. */
static int reaches(const grammar_node *n, const range *r, int64_t v) {
    for (int64_t low = v, high = v; low <= r->high; low *= 10, high = high * 10 + 9) {
        if (high >= r->low && below(r, low) &&
            (!n->multiple ||
             grammar_has_multiple(low > r->low ? low : r->low, high < r->high ? high : r->high, n->multiple)))
            return 1;
        if (v == 0) break;
    }
    return 0;
}

static int digit(unsigned char c) { return c >= '0' && c <= '9'; }

int step_number_complete(const grammar_node *n, const frame *f) {
    range r;
    if (f->phase != WHOLE && f->phase != FRACTION) return f->phase == EXPONENT_DIGITS;
    if (!n->bounded) return 1;
    if (n->multiple && f->at % n->multiple) return 0;
    magnitudes(n, f->detail & 1, &r);
    int above = f->at > r.low || (f->at == r.low && (!r.low_open || (f->phase == FRACTION && f->detail & 2)));
    return above && below(&r, f->at);
}

static void add_digit(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    int x = c - '0';
    range r;
    if (f.step && !f.at) return; /* no digit follows a 0 */
    if (n->bounded) {
        f.at = f.at * 10 + x;
        if (!magnitudes(n, f.detail & 1, &r) || !reaches(n, &r, f.at)) return;
    } else {
        if (f.step == DIGITS_MAX || (!f.step && !x && f.detail && !n->fraction)) return;
        if (!f.step) f.at = x > 0;
    }
    f.phase = WHOLE;
    f.step++;
    step_add(a, f);
}

static void add_fraction(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    if (f.phase == POINT) f.step = 0;
    if (f.step == DIGITS_MAX) return;
    if (n->bounded) {
        range r;
        magnitudes(n, f.detail & 1, &r);
        if (f.at == r.high && c != '0') return;
        if (c != '0') f.detail |= 2;
        if (f.step == DIGITS_MAX - 1 && f.at == r.low && r.low_open && !(f.detail & 2)) return;
    }
    f.phase = FRACTION;
    f.step++;
    step_add(a, f);
}

static void number_step(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    phase now = (phase)f.phase;
    range r;
    if (digit(c)) {
        if (now == SIGN || now == WHOLE) {
            add_digit(a, f, c);
        } else if (now == POINT || now == FRACTION) {
            add_fraction(a, f, c);
        } else if (now != EXPONENT_DIGITS || f.step < TAIL_MAX) {
            f.step = now == EXPONENT_DIGITS ? f.step + 1 : 1;
            f.phase = EXPONENT_DIGITS;
            step_add(a, f);
        }
    } else if (c == '.' && now == WHOLE && n->fraction) {
        if (n->bounded && (!magnitudes(n, f.detail & 1, &r) || f.at < r.low || !below(&r, f.at))) return;
        f.phase = POINT;
        step_add(a, f);
    } else if ((c == 'e' || c == 'E') && (now == WHOLE || now == FRACTION) && n->fraction && !n->bounded) {
        f.phase = EXPONENT;
        step_add(a, f);
    } else if ((c == '+' || c == '-') && now == EXPONENT) {
        f.phase = EXPONENT_SIGN;
        step_add(a, f);
    }
}

/* ---- objects and arrays ---- */

/* A value in the array or object f, which then goes on as f is. */
static void add_value(automaton *a, const frame *f, int node) {
    int32_t parent = step_frame(a, f);
    if (parent >= 0)
        step_add(a, (frame){.node = node, .parent = parent, .phase = VALUE, .depth = (uint16_t)(f->depth + 1)});
}

/* Names that may come from property f->at on, up to the first that must; added only where `really`. Whether there is
 * one. */
static int names(automaton *a, frame f, int really) {
    const grammar_node *n = step_node(a, &f);
    int any = 0;
    for (size_t i = (size_t)f.at; i < n->n_properties; i++) {
        if (step_fits(a, n->properties[i].value, f.depth + 1)) {
            frame key = f;
            key.phase = KEY;
            key.at = (int64_t)i;
            key.step = 1;
            any = 1;
            if (really) step_add(a, key);
        }
        if (n->properties[i].required) return any;
    }
    if (n->rest < 0 || !step_fits(a, n->rest, f.depth + 1)) return any;
    f.phase = TEXT;
    f.at = n->n_words ? (int64_t)n->n_words << 16 : -1; /* from << 32 | to << 16 | bytes */
    if (really) step_add(a, f);
    return 1;
}

static int closes(const grammar_node *n, int64_t at) {
    for (size_t i = (size_t)at; i < n->n_properties; i++)
        if (n->properties[i].required) return 0;
    return 1;
}

static void object_step(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    if (c == '"' && f.phase != OBJECT_AFTER) {
        names(a, f, 1);
    } else if (c == ',' && f.phase == OBJECT_AFTER) {
        f.phase = OBJECT_NEXT;
        if (names(a, f, 0)) step_add(a, f);
    } else if (c == '}' && f.phase != OBJECT_NEXT && closes(n, f.at)) {
        step_pop(a, &f);
    }
}

/* The next place of the array f, of which f->at are filled. */
static void add_place(automaton *a, frame f) {
    const grammar_node *n = step_node(a, &f);
    int64_t at = f.at, enough = n->least > (int64_t)n->n_members ? n->least : (int64_t)n->n_members;
    int value = at < (int64_t)n->n_members ? n->members[at] : n->rest;
    if (value < 0 || !step_fits(a, value, f.depth + 1) || (n->most >= 0 && at >= n->most)) return;
    f.phase = ARRAY_AFTER;
    f.at = n->most < 0 && at >= enough ? at : at + 1;
    add_value(a, &f, value);
}

static void array_step(automaton *a, frame f, unsigned char c) {
    if (c == ',' && f.phase == ARRAY_AFTER)
        add_place(a, f);
    else if (c == ']' && f.at >= step_node(a, &f)->least)
        step_pop(a, &f);
}

/* ---- values ---- */

void step_narrow(const grammar_word *words, int64_t *low, int64_t *high, size_t step, unsigned char c) {
    int64_t from = *low, to;
    while (from < *high && (words[from].n <= step || (unsigned char)words[from].bytes[step] < c)) from++;
    for (to = from; to < *high && (unsigned char)words[to].bytes[step] == c; to++) continue;
    *low = from;
    *high = to;
}

static int white(frame *f, unsigned char c) {
    if (f->detail && !f->depth && f->phase == VALUE) return 0; /* before the document one is enough */
    if (f->detail == 0 && c == ' ')
        f->detail = 1;
    else if (f->detail == 0 && c == '\n')
        f->detail = 2;
    else if (f->detail >= 2 && f->detail < 2 + INDENT_MAX && (c == ' ' || c == '\t'))
        f->detail++;
    else
        return 0;
    return 1;
}

static void add_word(automaton *a, frame f, int64_t low, int64_t high, unsigned char c) {
    step_narrow(step_node(a, &f)->words, &low, &high, (size_t)f.step, c);
    if (low == high) return;
    f.phase = WORD;
    f.at = low << 32 | high;
    f.step++;
    step_add(a, f);
}

static void begin_value(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    range r;
    switch (n->kind) {
    case GRAMMAR_OBJECT:
        f.phase = OBJECT_FIRST;
        if (c == '{') step_add(a, f);
        return;
    case GRAMMAR_ARRAY:
        if (c != '[') return;
        f.phase = ARRAY_FIRST;
        if (n->least == 0) step_add(a, f);
        add_place(a, f);
        return;
    case GRAMMAR_STRING:
        f.phase = TEXT;
        if (c == '"') step_add(a, f);
        return;
    case GRAMMAR_PATTERN:
        f.phase = PATTERN;
        if (c == '"') step_add(a, f);
        return;
    case GRAMMAR_NUMBER:
        if (digit(c)) {
            add_digit(a, f, c);
        } else if (c == '-' && (!n->bounded || magnitudes(n, 1, &r))) {
            f.phase = SIGN;
            f.detail = 1;
            step_add(a, f);
        }
        return;
    case GRAMMAR_WORDS: add_word(a, f, 0, (int64_t)n->n_words, c); return;
    case GRAMMAR_UNION: return; /* it stands for its members */
    }
}

void step_advance(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    if (f.phase >= VALUE && f.phase <= ARRAY_AFTER) {
        if (white(&f, c)) {
            step_add(a, f);
            return;
        }
        f.detail = 0;
    }
    switch ((phase)f.phase) {
    case END: return;
    case VALUE: begin_value(a, f, c); return;
    case OBJECT_FIRST:
    case OBJECT_NEXT:
    case OBJECT_AFTER: object_step(a, f, c); return;
    case ARRAY_FIRST:
    case ARRAY_AFTER: array_step(a, f, c); return;
    case KEY: {
        const grammar_property *p = &n->properties[f.at];
        if ((unsigned char)p->key.bytes[f.step] != c) return;
        if ((size_t)++f.step == p->key.n) {
            f.phase = COLON;
            f.at++;
            f.step = p->value;
        }
        step_add(a, f);
        return;
    }
    case COLON:
        if (c == ':') {
            int value = f.step;
            f.phase = OBJECT_AFTER;
            f.step = 0;
            add_value(a, &f, value);
        }
        return;
    case WORD: add_word(a, f, f.at >> 32, f.at & 0xFFFFFFFF, c); return;
    case TEXT:
    case TEXT_TAIL:
    case ESCAPE:
    case HEX:
    case PAIR: step_text(a, f, c); return;
    case PATTERN:
    case PATTERN_TAIL:
    case PATTERN_ESCAPE: step_pattern(a, f, c); return;
    default: number_step(a, f, c);
    }
}
