/* pattern.c: see pattern.h. Each character of the expression gets a place; of every part it is known which places can
 * be its first and its last, and whether it may be empty, and where parts are put together places get their followers
 * (Glushkov's construction). What is repeated is read from the expression as often as it may come. */
#include "grammar/pattern.h"

#include <stdlib.h>
#include <string.h>

enum {
    SET_WORDS = PATTERN_PLACES_MAX / 64,
    RANGES_MAX = 256, /* of a class */
    WORK_MAX = 4096,  /* parts that are read, those that are repeated counted again */
    DEPTH_MAX = 64,   /* of groups */
    CHARACTER_MAX = 0x10FFFF
};

static const char NOT_KNOWN[] =
    "has something that is not supported (looking around, references back, \\b, \\p, or ^ and "
    "$ within)";
static const char NOT_WHOLE[] = "is not a regular expression";
static const char TOO_LARGE[] = "is too large";
static const char NOTHING[] = "asks for a character that no answer has";

/* Characters that a string of JSON can have as they are, or behind one backslash. */
static const pattern_range possible[] = {{0x08, 0x0A}, {0x0C, 0x0D}, {0x20, 0xD7FF}, {0xE000, CHARACTER_MAX}};
static const pattern_range digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const pattern_range spaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680},
                                       {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                       {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const pattern_range ends_of_lines[] = {{0x0A, 0x0A}, {0x0D, 0x0D}, {0x2028, 0x2029}};

/* Characters: ranges in any order, until `settle` puts them in order. */
typedef struct class {
    pattern_range ranges[RANGES_MAX];
    size_t n;
} class;

typedef struct set {
    uint64_t bits[SET_WORDS];
} set;

/* A part of the expression. */
typedef struct part {
    set first, last;
    int empty; /* it may be */
} part;

typedef struct reader {
    const char *at, *end;
    const char *why; /* what is wrong; NULL: nothing */
    int no_memory, depth;
    size_t work;
    pattern *pattern;
    size_t n_ranges;
    set follow[PATTERN_PLACES_MAX];
} reader;

static int wrong(reader *r, const char *why) {
    if (!r->why) r->why = why;
    return 0;
}

/* ---- sets of places ---- */

static void insert(set *s, size_t place) { s->bits[place / 64] |= UINT64_C(1) << place % 64; }
static int has(const set *s, size_t place) { return (int)(s->bits[place / 64] >> place % 64 & 1); }
static void join(set *s, const set *more) {
    for (size_t i = 0; i < SET_WORDS; i++) s->bits[i] |= more->bits[i];
}

static void follow(reader *r, const set *from, const set *to) {
    for (size_t place = 0; place < r->pattern->n; place++)
        if (has(from, place)) join(&r->follow[place], to);
}

static part nothing(void) { return (part){.empty = 1}; }

/* a, then b. */
static part chain(reader *r, part a, const part *b) {
    follow(r, &a.last, &b->first);
    if (a.empty) join(&a.first, &b->first);
    if (b->empty)
        join(&a.last, &b->last);
    else
        a.last = b->last;
    a.empty &= b->empty;
    return a;
}

static part either(part a, const part *b) {
    join(&a.first, &b->first);
    join(&a.last, &b->last);
    a.empty |= b->empty;
    return a;
}

/* ---- classes ---- */

static int add_range(reader *r, class *c, uint32_t low, uint32_t high) {
    if (low > high) return wrong(r, NOT_WHOLE);
    if (c->n == RANGES_MAX) return wrong(r, TOO_LARGE);
    c->ranges[c->n++] = (pattern_range){low, high};
    return 1;
}

static int compare(const void *a, const void *b) {
    const pattern_range *x = a, *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

/* In ascending order, none touching another. */
static void settle(class *c) {
    size_t n = 0;
    qsort(c->ranges, c->n, sizeof *c->ranges, compare);
    for (size_t i = 0; i < c->n; i++) {
        pattern_range *last = n ? &c->ranges[n - 1] : NULL;
        if (last && c->ranges[i].low <= last->high + 1) {
            if (c->ranges[i].high > last->high) last->high = c->ranges[i].high;
        } else {
            c->ranges[n++] = c->ranges[i];
        }
    }
    c->n = n;
}

/* Adds all characters but those of ranges [n], which are in order. */
static int add_others(reader *r, class *c, const pattern_range *ranges, size_t n) {
    uint32_t low = 0;
    for (size_t i = 0; i < n; i++) {
        if (ranges[i].low > low && !add_range(r, c, low, ranges[i].low - 1)) return 0;
        low = ranges[i].high + 1;
    }
    return low > CHARACTER_MAX || add_range(r, c, low, CHARACTER_MAX);
}

static int add_all(reader *r, class *c, const pattern_range *ranges, size_t n, int others) {
    if (others) return add_others(r, c, ranges, n);
    for (size_t i = 0; i < n; i++)
        if (!add_range(r, c, ranges[i].low, ranges[i].high)) return 0;
    return 1;
}

/* A new place to which the class leads, as a part. */
static part place_of(reader *r, class *c) {
    part p = {0};
    pattern *q = r->pattern;
    settle(c);
    size_t first = r->n_ranges;
    if (q->n == PATTERN_PLACES_MAX) {
        wrong(r, TOO_LARGE);
        return p;
    }
    pattern_range *ranges = realloc(q->ranges, (first + c->n + sizeof possible / sizeof *possible) * sizeof *ranges);
    if (!ranges) {
        r->no_memory = 1;
        wrong(r, TOO_LARGE);
        return p;
    }
    q->ranges = ranges;
    for (size_t i = 0, k = 0; i < c->n && k < sizeof possible / sizeof *possible;) {
        uint32_t low = c->ranges[i].low > possible[k].low ? c->ranges[i].low : possible[k].low;
        uint32_t high = c->ranges[i].high < possible[k].high ? c->ranges[i].high : possible[k].high;
        if (low <= high) ranges[r->n_ranges++] = (pattern_range){low, high};
        if (c->ranges[i].high < possible[k].high)
            i++;
        else
            k++;
    }
    if (r->n_ranges == first) {
        wrong(r, NOTHING);
        return p;
    }
    q->places[q->n] = (pattern_place){.range = first, .n_ranges = r->n_ranges - first};
    insert(&p.first, q->n);
    insert(&p.last, q->n++);
    return p;
}

/* Any characters, as many as there may be. */
static part anything(reader *r) {
    class all = {.ranges = {{0, CHARACTER_MAX}}, .n = 1};
    part p = place_of(r, &all);
    follow(r, &p.last, &p.first);
    p.empty = 1;
    return p;
}

/* ---- characters ---- */

static int is_next(const reader *r, const char *word) {
    size_t n = strlen(word);
    return (size_t)(r->end - r->at) >= n && !memcmp(r->at, word, n);
}

static int skip(reader *r, const char *word) {
    if (!is_next(r, word)) return 0;
    r->at += strlen(word);
    return 1;
}

/* The next character of UTF-8, which is good. */
static uint32_t take(reader *r) {
    unsigned char c = (unsigned char)*r->at++;
    int more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    uint32_t value = more ? c & (0x3Fu >> more) : c;
    for (; more && r->at < r->end; more--) value = value << 6 | ((unsigned char)*r->at++ & 0x3F);
    return value;
}

static int hex_digits(reader *r, int n, uint32_t *value) {
    for (*value = 0; n; n--) {
        char c = r->at < r->end ? *r->at++ : 0;
        uint32_t x = c >= '0' && c <= '9' ? (uint32_t)(c - '0') : (uint32_t)((c | 0x20) - 'a' + 10);
        if (x > 15 || (x > 9 && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))) return wrong(r, NOT_WHOLE);
        *value = *value << 4 | x;
    }
    return 1;
}

/* What stands behind a backslash: a class, which is added (2), or a character (1). 0: it is wrong. */
static int escaped(reader *r, int in_class, class *c, uint32_t *character) {
    static const char names[] = "tnvfr", values[] = "\t\n\v\f\r";
    if (r->at == r->end) return wrong(r, NOT_WHOLE);
    char e = *r->at++;
    const char *name = strchr(names, e);
    int others = e == 'D' || e == 'W' || e == 'S';
    *character = (unsigned char)e;
    switch (e) {
    case 'd':
    case 'D': return add_all(r, c, digits, 1, others) ? 2 : 0;
    case 'w':
    case 'W': return add_all(r, c, words, sizeof words / sizeof *words, others) ? 2 : 0;
    case 's':
    case 'S': return add_all(r, c, spaces, sizeof spaces / sizeof *spaces, others) ? 2 : 0;
    case 'x': return hex_digits(r, 2, character);
    case 'u': return hex_digits(r, 4, character);
    case 'b': *character = '\b'; return in_class ? 1 : wrong(r, NOT_KNOWN);
    default: break;
    }
    if (name && e) {
        *character = (unsigned char)values[name - names];
        return 1;
    }
    if ((e >= '0' && e <= '9') || (e >= 'A' && e <= 'Z') || (e >= 'a' && e <= 'z')) return wrong(r, NOT_KNOWN);
    r->at--;
    *character = take(r);
    return 1;
}

/* One of a class in brackets: a character (1), or a class that is added (2). */
static int in_brackets(reader *r, class *c, uint32_t *character) {
    if (r->at == r->end) return wrong(r, NOT_WHOLE);
    if (skip(r, "\\")) return escaped(r, 1, c, character);
    *character = take(r);
    return 1;
}

/* Behind [ */
static int brackets(reader *r, class *c) {
    class some = {.n = 0};
    int others = skip(r, "^");
    while (!skip(r, "]")) {
        uint32_t low, high;
        int kind = in_brackets(r, &some, &low);
        if (!kind) return 0;
        high = low;
        if (r->end - r->at > 1 && r->at[0] == '-' && r->at[1] != ']') {
            r->at++;
            if (kind != 1 || in_brackets(r, &some, &high) != 1) return wrong(r, NOT_WHOLE);
        }
        if (kind == 1 && !add_range(r, &some, low, high)) return 0;
    }
    settle(&some);
    return add_all(r, c, some.ranges, some.n, others);
}

/* ---- parts ---- */

static part alternatives(reader *r);

/* A character, a class or a group. */
static part atom(reader *r) {
    class c = {.n = 0};
    uint32_t character;
    if (skip(r, "(")) {
        if (skip(r, "?") && !skip(r, ":")) {
            if (!is_next(r, "<") || is_next(r, "<=") || is_next(r, "<!")) wrong(r, NOT_KNOWN);
            while (r->at < r->end && *r->at++ != '>') continue; /* its name */
        }
        if (r->depth == DEPTH_MAX) wrong(r, TOO_LARGE);
        if (r->why) return nothing();
        r->depth++;
        part p = alternatives(r);
        r->depth--;
        if (!skip(r, ")")) wrong(r, NOT_WHOLE);
        return p;
    }
    if (skip(r, "[")) {
        brackets(r, &c);
    } else if (skip(r, ".")) {
        add_others(r, &c, ends_of_lines, sizeof ends_of_lines / sizeof *ends_of_lines);
    } else if (skip(r, "\\")) {
        if (escaped(r, 0, &c, &character) == 1) add_range(r, &c, character, character);
    } else if (strchr("*+?{^$", *r->at)) {
        wrong(r, *r->at == '^' || *r->at == '$' ? NOT_KNOWN : NOT_WHOLE);
    } else {
        character = take(r);
        add_range(r, &c, character, character);
    }
    return r->why ? nothing() : place_of(r, &c);
}

static int number(reader *r, size_t *value) {
    const char *begin = r->at;
    for (*value = 0; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++)
        if (*value < PATTERN_PLACES_MAX * 2) *value = *value * 10 + (size_t)(*r->at - '0');
    return r->at > begin;
}

/* How often what stands before may come; most 0: as often as it will. 1 where nothing is said. */
static void times(reader *r, size_t *least, size_t *most) {
    *least = *most = 1;
    if (skip(r, "*")) {
        *least = *most = 0;
    } else if (skip(r, "+")) {
        *most = 0;
    } else if (skip(r, "?")) {
        *least = 0;
    } else if (skip(r, "{")) {
        if (!number(r, least)) wrong(r, NOT_WHOLE);
        *most = *least;
        if (skip(r, ",") && !number(r, most))
            *most = 0;
        else if (!*most || *most < *least)
            wrong(r, NOT_WHOLE); /* {0}, too, which nobody needs */
        if (!skip(r, "}")) wrong(r, NOT_WHOLE);
    } else {
        return;
    }
    skip(r, "?"); /* which of the ways to read a text is taken makes no difference */
}

/* An atom, as often as it may come. */
static part repeated(reader *r) {
    const char *begin = r->at;
    size_t least, most;
    part whole = atom(r);
    const char *behind = r->at;
    times(r, &least, &most);
    const char *end = r->at;
    if (r->why) return whole;
    size_t copies = most ? most : least ? least : 1;
    if (!most && copies == 1) follow(r, &whole.last, &whole.first);
    if (!least) whole.empty = 1;
    for (size_t i = 1; i < copies && !r->why; i++) {
        if (++r->work > WORK_MAX) wrong(r, TOO_LARGE);
        r->at = begin;
        part more = atom(r);
        if (r->at != behind) wrong(r, NOT_WHOLE);
        if (!most && i + 1 == copies) follow(r, &more.last, &more.first);
        if (i >= least) more.empty = 1;
        whole = chain(r, whole, &more);
    }
    r->at = end;
    return whole;
}

static part sequence(reader *r) {
    int outermost = r->depth == 0;
    part whole = outermost && !skip(r, "^") ? anything(r) : nothing();
    while (r->at < r->end && !is_next(r, "|") && !is_next(r, ")") && !r->why) {
        if (outermost && is_next(r, "$") && (r->end - r->at == 1 || r->at[1] == '|')) {
            r->at++;
            return whole;
        }
        if (++r->work > WORK_MAX) wrong(r, TOO_LARGE);
        part more = repeated(r);
        whole = chain(r, whole, &more);
    }
    if (!outermost) return whole;
    part rest = anything(r);
    return chain(r, whole, &rest);
}

static part alternatives(reader *r) {
    part whole = sequence(r);
    while (!r->why && skip(r, "|")) {
        part more = sequence(r);
        whole = either(whole, &more);
    }
    return whole;
}

/* ---- */

/* The sets of followers as lists. */
static int list_nexts(reader *r) {
    pattern *p = r->pattern;
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = 0; k < p->n; k++) n += (size_t)has(&r->follow[i], k);
    p->nexts = malloc((n + 1) * sizeof *p->nexts);
    if (!p->nexts) return 0;
    n = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->places[i].next = n;
        for (size_t k = 0; k < p->n; k++)
            if (has(&r->follow[i], k)) p->nexts[n++] = (uint16_t)k;
        p->places[i].n_next = n - p->places[i].next;
    }
    return 1;
}

static int read_whole(reader *r) {
    pattern *p = r->pattern;
    p->places = calloc(PATTERN_PLACES_MAX, sizeof *p->places);
    if (!p->places) {
        r->no_memory = 1;
        return 0;
    }
    p->n = 1; /* the place before the first character */
    part whole = alternatives(r);
    if (r->at < r->end) wrong(r, NOT_WHOLE);
    if (r->why) return 0;
    r->follow[0] = whole.first;
    p->places[0].ends = whole.empty;
    for (size_t i = 1; i < p->n; i++) p->places[i].ends = has(&whole.last, i);
    r->no_memory = !list_nexts(r);
    return !r->no_memory;
}

pattern *pattern_compile(const char *text, size_t bytes, const char **why) {
    reader *r = calloc(1, sizeof *r);
    pattern *p = calloc(1, sizeof *p);
    *why = NULL;
    if (r && p) {
        *r = (reader){.at = text, .end = text + bytes, .pattern = p};
        if (read_whole(r)) {
            free(r);
            return p;
        }
        if (!r->no_memory) *why = r->why;
    }
    free(r);
    pattern_free(p);
    return NULL;
}

void pattern_free(pattern *p) {
    if (!p) return;
    free(p->places);
    free(p->ranges);
    free(p->nexts);
    free(p);
}

int pattern_takes(const pattern *p, size_t place, uint32_t low, uint32_t high) {
    const pattern_range *ranges = p->ranges + p->places[place].range;
    for (size_t i = 0; i < p->places[place].n_ranges && ranges[i].low <= high; i++)
        if (ranges[i].high >= low) return 1;
    return 0;
}
