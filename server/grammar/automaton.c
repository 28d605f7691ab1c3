/* automaton.c: see automaton.h. */
#include "grammar/automaton.h"

#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MAX = 256, /* what a state may be the beginning of; more are left out, and what is left can be ended */
    STATES_MAX = 2048,
    FRAMES_MAX = 32768,
    INDENT_MAX = 32, /* blanks after the end of a line */
    DIGITS_MAX = 15, /* before the point, and behind it */
    TAIL_MAX = 2     /* of an exponent */
};

typedef enum phase {
    END, /* behind the document */
    /* From here to ARRAY_AFTER white space may stand. */
    VALUE,
    OBJECT_FIRST, /* behind { */
    OBJECT_NEXT,  /* behind a comma; at: the first property that may come */
    OBJECT_AFTER, /* behind a value; at: the same */
    ARRAY_FIRST,  /* behind [, where the array is to be empty */
    ARRAY_AFTER,  /* at: how many places are filled, no more than make a difference */
    KEY,          /* in the name of a property; at: which, step: bytes of it */
    COLON,        /* at: as OBJECT_AFTER, step: the value */
    TEXT, /* in a string; at: characters, no more than make a difference. In another name of an object: words that it
           * may still become, -1: none */
    TEXT_TAIL, /* in a character; step: which bytes come */
    ESCAPE,    /* behind \ */
    HEX,       /* behind \u; step: digits << 16 | number */
    PAIR,      /* behind half of a pair of UTF-16; step: bytes of the other */
    SIGN,
    WHOLE,    /* at: the number, of one without bounds whether it is not 0; step: digits */
    POINT,    /* behind . */
    FRACTION, /* step: digits */
    EXPONENT, /* behind e */
    EXPONENT_SIGN,
    EXPONENT_DIGITS, /* step: digits */
    WORD             /* at: words that it may still become, step: bytes */
} phase;

/* A place in a value, and what is open around it. */
typedef struct frame {
    int64_t at;
    int32_t node, parent, step;
    uint16_t depth; /* arrays and objects around the value */
    uint8_t phase;
    uint8_t detail; /* white space so far; of a number: 1 it is negative, 2 its fraction is not 0 */
} frame;

typedef struct state {
    int32_t first, n; /* its frames are members [first, first + n) */
    int32_t next[256];
} state;

enum { UNKNOWN = -3 };

struct automaton {
    const grammar *grammar;
    frame *frames;
    uint32_t *stamps;                 /* [frames]: the search that saw it last */
    int32_t *frame_table;             /* [2 * frames_capacity], -1: nothing */
    size_t n_frames, frames_capacity; /* a power of two */
    state *states;                    /* [n_states] */
    int32_t *state_table;             /* [2 * states_capacity] */
    size_t n_states, states_capacity; /* a power of two */
    int32_t *members;                 /* frames of states */
    size_t n_members, members_capacity;
    int32_t found[THREADS_MAX + 1]; /* of the search that goes on */
    size_t n_found;
    uint32_t stamp;
    int full, current;
    uint64_t work;
    unsigned cleared;
};

/* ---- tables ---- */

static uint64_t mix(uint64_t hash, uint64_t x) {
    hash = (hash ^ x) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static uint64_t hash_frame(const frame *f) {
    uint64_t hash = mix((uint64_t)f->at, (uint64_t)(uint32_t)f->node << 32 | (uint32_t)f->parent);
    return mix(hash,
               (uint64_t)(uint32_t)f->step << 32 | (uint64_t)f->depth << 16 | (uint64_t)f->phase << 8 | f->detail);
}

static int same_frame(const frame *a, const frame *b) {
    return a->at == b->at && a->node == b->node && a->parent == b->parent && a->step == b->step &&
           a->depth == b->depth && a->phase == b->phase && a->detail == b->detail;
}

static uint64_t hash_state(const int32_t *members, size_t n) {
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) hash = mix(hash, (uint32_t)members[i]);
    return hash;
}

/* A new table for twice as many. */
static int32_t *new_table(size_t capacity) {
    int32_t *table = malloc(2 * capacity * sizeof *table);
    for (size_t i = 0; table && i < 2 * capacity; i++) table[i] = -1;
    return table;
}

static void put(int32_t *table, size_t capacity, uint64_t hash, int32_t id) {
    size_t at = hash & (2 * capacity - 1);
    while (table[at] >= 0) at = (at + 1) & (2 * capacity - 1);
    table[at] = id;
}

static int grow_frames(automaton *a) {
    size_t capacity = a->frames_capacity ? 2 * a->frames_capacity : 128;
    if (capacity > FRAMES_MAX) return 0;
    frame *frames = realloc(a->frames, capacity * sizeof *frames);
    if (frames) a->frames = frames;
    uint32_t *stamps = realloc(a->stamps, capacity * sizeof *stamps);
    if (stamps) a->stamps = stamps;
    int32_t *table = new_table(capacity);
    if (!frames || !stamps || !table) {
        free(table);
        return 0;
    }
    for (size_t i = 0; i < a->n_frames; i++) put(table, capacity, hash_frame(&frames[i]), (int32_t)i);
    free(a->frame_table);
    a->frame_table = table;
    a->frames_capacity = capacity;
    return 1;
}

/* The number of the frame; -1: there is no room for it. */
static int32_t frame_id(automaton *a, const frame *f) {
    a->work++;
    uint64_t hash = hash_frame(f);
    size_t mask = 2 * a->frames_capacity - 1;
    for (size_t at = hash & mask; a->frames_capacity && a->frame_table[at] >= 0; at = (at + 1) & mask)
        if (same_frame(&a->frames[a->frame_table[at]], f)) return a->frame_table[at];
    if (a->n_frames == a->frames_capacity && !grow_frames(a)) {
        a->full = 1;
        return -1;
    }
    a->frames[a->n_frames] = *f;
    a->stamps[a->n_frames] = 0;
    put(a->frame_table, a->frames_capacity, hash, (int32_t)a->n_frames);
    return (int32_t)a->n_frames++;
}

static int grow_states(automaton *a) {
    size_t capacity = a->states_capacity ? 2 * a->states_capacity : 16;
    if (capacity > STATES_MAX) return 0;
    state *states = realloc(a->states, capacity * sizeof *states);
    if (states) a->states = states;
    int32_t *table = new_table(capacity);
    if (!states || !table) {
        free(table);
        return 0;
    }
    for (size_t i = 0; i < a->n_states; i++)
        put(table, capacity, hash_state(a->members + states[i].first, (size_t)states[i].n), (int32_t)i);
    free(a->state_table);
    a->state_table = table;
    a->states_capacity = capacity;
    return 1;
}

static int grow_members(automaton *a, size_t more) {
    size_t capacity = a->members_capacity ? a->members_capacity : 256;
    while (capacity < a->n_members + more) capacity *= 2;
    if (capacity == a->members_capacity) return 1;
    int32_t *members = realloc(a->members, capacity * sizeof *members);
    if (!members) return 0;
    a->members = members;
    a->members_capacity = capacity;
    return 1;
}

/* The state of the frames that were found. */
static int found_state(automaton *a) {
    if (a->full) return AUTOMATON_FULL;
    if (!a->n_found) return AUTOMATON_DEAD;
    for (size_t i = 1; i < a->n_found; i++) { /* nearly in order already */
        int32_t x = a->found[i];
        size_t k = i;
        for (; k > 0 && a->found[k - 1] > x; k--) a->found[k] = a->found[k - 1];
        a->found[k] = x;
    }
    uint64_t hash = hash_state(a->found, a->n_found);
    size_t mask = 2 * a->states_capacity - 1, bytes = a->n_found * sizeof *a->found;
    for (size_t at = hash & mask; a->states_capacity && a->state_table[at] >= 0; at = (at + 1) & mask) {
        const state *s = &a->states[a->state_table[at]];
        if ((size_t)s->n == a->n_found && !memcmp(a->members + s->first, a->found, bytes)) return a->state_table[at];
    }
    if ((a->n_states == a->states_capacity && !grow_states(a)) || !grow_members(a, a->n_found)) return AUTOMATON_FULL;
    state *s = &a->states[a->n_states];
    s->first = (int32_t)a->n_members;
    s->n = (int32_t)a->n_found;
    for (int i = 0; i < 256; i++) s->next[i] = UNKNOWN;
    memcpy(a->members + a->n_members, a->found, bytes);
    a->n_members += a->n_found;
    put(a->state_table, a->states_capacity, hash, (int32_t)a->n_states);
    return (int)a->n_states++;
}

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
    return r->low < r->high || (r->low == r->high && !r->low_open && !r->high_open);
}

static int below(const range *r, int64_t v) { return v < r->high || (v == r->high && !r->high_open); }

/* Whether digits that begin with v can reach the range. */
static int reaches(const range *r, int64_t v) {
    for (int64_t low = v, high = v; low <= r->high; low *= 10, high = high * 10 + 9) {
        if (high >= r->low && below(r, low)) return 1;
        if (v == 0) break;
    }
    return 0;
}

static int digit(unsigned char c) { return c >= '0' && c <= '9'; }

/* Whether the number may end here. */
static int number_complete(const grammar_node *n, const frame *f) {
    range r;
    if (f->phase != WHOLE && f->phase != FRACTION) return f->phase == EXPONENT_DIGITS;
    if (!n->bounded) return 1;
    magnitudes(n, f->detail & 1, &r);
    int above = f->at > r.low || (f->at == r.low && (!r.low_open || (f->phase == FRACTION && f->detail & 2)));
    return above && below(&r, f->at);
}

/* ---- frames ---- */

static const grammar_node *node_of(const automaton *a, const frame *f) { return &a->grammar->nodes[f->node]; }

/* Whether a value can be ended where so many arrays and objects are open around it. */
static int fits(const automaton *a, int node, int depth) {
    return depth + a->grammar->nodes[node].height <= GRAMMAR_DEPTH_MAX;
}

/* What is found by the search: the frame, and what it is at the same time. */
static void add(automaton *a, frame f) {
    for (;;) {
        int32_t id = frame_id(a, &f);
        const grammar_node *n = node_of(a, &f);
        if (id < 0 || a->stamps[id] == a->stamp) return;
        a->stamps[id] = a->stamp;
        if (f.phase == VALUE && n->kind == GRAMMAR_UNION) {
            for (size_t i = 0; i < n->n_members; i++) {
                frame member = f;
                member.node = n->members[i];
                if (fits(a, member.node, f.depth)) add(a, member);
            }
            return;
        }
        if (a->n_found == THREADS_MAX) return;
        a->found[a->n_found++] = id;
        int complete = 0;
        if (f.phase == WORD)
            complete = n->words[f.at >> 32].n == (size_t)f.step;
        else if (f.phase >= WHOLE && f.phase < WORD)
            complete = number_complete(n, &f);
        if (!complete) return;
        f = a->frames[f.parent];
    }
}

static void pop(automaton *a, const frame *f) { add(a, a->frames[f->parent]); }

/* A value in the array or object f, which then goes on as f is. */
static void add_value(automaton *a, const frame *f, int node) {
    int32_t parent = frame_id(a, f);
    if (parent >= 0) add(a, (frame){.node = node, .parent = parent, .phase = VALUE, .depth = (uint16_t)(f->depth + 1)});
}

/* Those of words [low, high), which share `step` bytes, that go on by c. */
static void narrow(const grammar_word *words, int64_t *low, int64_t *high, size_t step, unsigned char c) {
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

/* ---- objects and arrays ---- */

/* Names that may come from property f->at on, up to the first that must; added only where `really`. Whether there is
 * one. */
static int names(automaton *a, frame f, int really) {
    const grammar_node *n = node_of(a, &f);
    int any = 0;
    for (size_t i = (size_t)f.at; i < n->n_properties; i++) {
        if (fits(a, n->properties[i].value, f.depth + 1)) {
            frame key = f;
            key.phase = KEY;
            key.at = (int64_t)i;
            key.step = 1;
            any = 1;
            if (really) add(a, key);
        }
        if (n->properties[i].required) return any;
    }
    if (n->rest < 0 || !fits(a, n->rest, f.depth + 1)) return any;
    f.phase = TEXT;
    f.at = n->n_words ? (int64_t)n->n_words << 16 : -1; /* from << 32 | to << 16 | bytes */
    if (really) add(a, f);
    return 1;
}

static int closes(const grammar_node *n, int64_t at) {
    for (size_t i = (size_t)at; i < n->n_properties; i++)
        if (n->properties[i].required) return 0;
    return 1;
}

static void object_step(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
    if (c == '"' && f.phase != OBJECT_AFTER) {
        names(a, f, 1);
    } else if (c == ',' && f.phase == OBJECT_AFTER) {
        f.phase = OBJECT_NEXT;
        if (names(a, f, 0)) add(a, f);
    } else if (c == '}' && f.phase != OBJECT_NEXT && closes(n, f.at)) {
        pop(a, &f);
    }
}

/* The next place of the array f, of which f->at are filled. */
static void add_place(automaton *a, frame f) {
    const grammar_node *n = node_of(a, &f);
    int64_t at = f.at, enough = n->least > (int64_t)n->n_members ? n->least : (int64_t)n->n_members;
    int value = at < (int64_t)n->n_members ? n->members[at] : n->rest;
    if (value < 0 || !fits(a, value, f.depth + 1) || (n->most >= 0 && at >= n->most)) return;
    f.phase = ARRAY_AFTER;
    f.at = n->most < 0 && at >= enough ? at : at + 1;
    add_value(a, &f, value);
}

static void array_step(automaton *a, frame f, unsigned char c) {
    if (c == ',' && f.phase == ARRAY_AFTER)
        add_place(a, f);
    else if (c == ']' && f.at >= node_of(a, &f)->least)
        pop(a, &f);
}

/* ---- strings ---- */

/* Which bytes come after the first of a character: so many of any, or first one of a narrower range. */
enum { ANY_1 = 1, ANY_2, ANY_3, AFTER_E0, AFTER_ED, AFTER_F0, AFTER_F4 };
static const struct {
    unsigned char low, high, then;
} tails[] = {[ANY_1] = {0x80, 0xBF, 0},        [ANY_2] = {0x80, 0xBF, ANY_1},    [ANY_3] = {0x80, 0xBF, ANY_2},
             [AFTER_E0] = {0xA0, 0xBF, ANY_1}, [AFTER_ED] = {0x80, 0x9F, ANY_1}, [AFTER_F0] = {0x90, 0xBF, ANY_2},
             [AFTER_F4] = {0x80, 0x8F, ANY_2}};

static int tail_of(unsigned char c) {
    if (c < 0xC2 || c > 0xF4) return 0;
    if (c < 0xE0) return ANY_1;
    if (c < 0xF0) return c == 0xE0 ? AFTER_E0 : c == 0xED ? AFTER_ED : ANY_2;
    return c == 0xF0 ? AFTER_F0 : c == 0xF4 ? AFTER_F4 : ANY_3;
}

static int hex(unsigned char c) {
    if (digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A byte of another name: whether it may still become one that has a place of its own. */
static void follow(const grammar_node *n, frame *f, unsigned char c) {
    if (n->kind != GRAMMAR_OBJECT || f->at < 0) return;
    int64_t low = f->at >> 32, high = f->at >> 16 & 0xFFFF, bytes = f->at & 0xFFFF;
    narrow(n->words, &low, &high, (size_t)bytes, c);
    f->at = low < high ? low << 32 | high << 16 | (bytes + 1) : -1;
}

/* A character is whole. */
static void add_character(automaton *a, frame f) {
    const grammar_node *n = node_of(a, &f);
    f.phase = TEXT;
    f.step = 0;
    if (n->kind == GRAMMAR_STRING && (n->most >= 0 || f.at < n->least)) f.at++;
    add(a, f);
}

static void end_text(automaton *a, frame f) {
    const grammar_node *n = node_of(a, &f);
    if (n->kind == GRAMMAR_STRING) {
        if (f.at >= n->least) pop(a, &f);
    } else if (f.at < 0 || n->words[f.at >> 32].n != (size_t)(f.at & 0xFFFF)) {
        f.phase = COLON;
        f.at = (int64_t)n->n_properties;
        f.step = n->rest;
        add(a, f);
    }
}

static void in_text(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
    if (c == '"') {
        end_text(a, f);
        return;
    }
    if (n->kind == GRAMMAR_STRING && n->most >= 0 && f.at >= n->most) return;
    if (c == '\\') {
        if (n->kind == GRAMMAR_OBJECT && f.at >= 0) return; /* by escapes it might become a name with a place */
        f.phase = ESCAPE;
        add(a, f);
    } else if (c >= 0x20 && c < 0x80) {
        follow(n, &f, c);
        add_character(a, f);
    } else if ((f.step = tail_of(c))) {
        follow(n, &f, c);
        f.phase = TEXT_TAIL;
        add(a, f);
    }
}

static void in_hex(automaton *a, frame f, unsigned char c) {
    int digits = (f.step >> 16) + 1, x = hex(c), number = (f.step & 0xFFFF) << 4 | x;
    if (x < 0 || (digits == 2 && number >= 0xDC && number <= 0xDF) || (digits == 4 && !number)) return;
    f.step = digits << 16 | number;
    if (digits < 4) {
        add(a, f);
    } else if (number >= 0xD800 && number <= 0xDBFF) {
        f.phase = PAIR;
        f.step = 0;
        add(a, f);
    } else {
        add_character(a, f);
    }
}

static void text_step(automaton *a, frame f, unsigned char c) {
    switch ((phase)f.phase) {
    case TEXT_TAIL:
        if (c < tails[f.step].low || c > tails[f.step].high) return;
        follow(node_of(a, &f), &f, c);
        f.step = tails[f.step].then;
        if (f.step)
            add(a, f);
        else
            add_character(a, f);
        return;
    case ESCAPE:
        if (c == 'u') {
            f.phase = HEX;
            f.step = 0;
            add(a, f);
        } else if (c && strchr("\"\\/bfnrt", c)) {
            add_character(a, f);
        }
        return;
    case HEX: in_hex(a, f, c); return;
    case PAIR: { /* \uDC00 to \uDFFF */
        int x = hex(c);
        int good = f.step == 0   ? c == '\\'
                   : f.step == 1 ? c == 'u'
                   : f.step == 2 ? x == 13
                   : f.step == 3 ? x >= 12
                                 : x >= 0;
        if (!good) return;
        if (f.step++ < 5)
            add(a, f);
        else
            add_character(a, f);
        return;
    }
    default: in_text(a, f, c);
    }
}

/* ---- numbers ---- */

static void add_digit(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
    int x = c - '0';
    range r;
    if (f.step && !f.at) return; /* no digit follows a 0 */
    if (n->bounded) {
        f.at = f.at * 10 + x;
        if (!magnitudes(n, f.detail & 1, &r) || !reaches(&r, f.at)) return;
    } else {
        if (f.step == DIGITS_MAX || (!f.step && !x && f.detail && !n->fraction)) return;
        if (!f.step) f.at = x > 0;
    }
    f.phase = WHOLE;
    f.step++;
    add(a, f);
}

static void add_fraction(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
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
    add(a, f);
}

static void number_step(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
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
            add(a, f);
        }
    } else if (c == '.' && now == WHOLE && n->fraction) {
        if (n->bounded && (!magnitudes(n, f.detail & 1, &r) || f.at < r.low || !below(&r, f.at))) return;
        f.phase = POINT;
        add(a, f);
    } else if ((c == 'e' || c == 'E') && (now == WHOLE || now == FRACTION) && n->fraction && !n->bounded) {
        f.phase = EXPONENT;
        add(a, f);
    } else if ((c == '+' || c == '-') && now == EXPONENT) {
        f.phase = EXPONENT_SIGN;
        add(a, f);
    }
}

/* ---- values ---- */

static void add_word(automaton *a, frame f, int64_t low, int64_t high, unsigned char c) {
    narrow(node_of(a, &f)->words, &low, &high, (size_t)f.step, c);
    if (low == high) return;
    f.phase = WORD;
    f.at = low << 32 | high;
    f.step++;
    add(a, f);
}

static void begin_value(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
    range r;
    switch (n->kind) {
    case GRAMMAR_OBJECT:
        f.phase = OBJECT_FIRST;
        if (c == '{') add(a, f);
        return;
    case GRAMMAR_ARRAY:
        if (c != '[') return;
        f.phase = ARRAY_FIRST;
        if (n->least == 0) add(a, f);
        add_place(a, f);
        return;
    case GRAMMAR_STRING:
        f.phase = TEXT;
        if (c == '"') add(a, f);
        return;
    case GRAMMAR_NUMBER:
        if (digit(c)) {
            add_digit(a, f, c);
        } else if (c == '-' && (!n->bounded || magnitudes(n, 1, &r))) {
            f.phase = SIGN;
            f.detail = 1;
            add(a, f);
        }
        return;
    case GRAMMAR_WORDS: add_word(a, f, 0, (int64_t)n->n_words, c); return;
    case GRAMMAR_UNION: return; /* it stands for its members */
    }
}

static void advance(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = node_of(a, &f);
    if (f.phase >= VALUE && f.phase <= ARRAY_AFTER) {
        if (white(&f, c)) {
            add(a, f);
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
        add(a, f);
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
    case PAIR: text_step(a, f, c); return;
    default: number_step(a, f, c);
    }
}

/* ---- states ---- */

static void begin_search(automaton *a) {
    a->n_found = 0;
    a->full = 0;
    a->stamp++;
}

int automaton_next(automaton *a, int from, unsigned char byte) {
    int next = a->states[from].next[byte];
    if (next != UNKNOWN) return next;
    begin_search(a);
    for (int32_t i = 0; i < a->states[from].n; i++) advance(a, a->frames[a->members[a->states[from].first + i]], byte);
    next = found_state(a);
    if (next != AUTOMATON_FULL) a->states[from].next[byte] = next;
    return next;
}

automaton *automaton_open(const grammar *g) {
    automaton *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->grammar = g;
    begin_search(a);
    int32_t end = frame_id(a, &(frame){.parent = -1, .phase = END});
    if (end >= 0) add(a, (frame){.node = g->root, .parent = end, .phase = VALUE});
    a->current = found_state(a);
    if (a->current >= 0) return a;
    automaton_close(a);
    return NULL;
}

void automaton_close(automaton *a) {
    if (!a) return;
    free(a->frames);
    free(a->stamps);
    free(a->frame_table);
    free(a->states);
    free(a->state_table);
    free(a->members);
    free(a);
}

int automaton_current(const automaton *a) { return a->current; }

static int32_t carry(const automaton *from, automaton *to, int32_t id) {
    if (id < 0) return id;
    frame f = from->frames[id];
    f.parent = carry(from, to, f.parent);
    return frame_id(to, &f);
}

int automaton_clear(automaton *a) {
    automaton *old = malloc(sizeof *old);
    if (!old) return 0;
    *old = *a;
    *a = (automaton){.grammar = old->grammar, .cleared = old->cleared + 1, .work = old->work};
    begin_search(a);
    const state *s = &old->states[old->current];
    for (int32_t i = 0; i < s->n; i++) a->found[a->n_found++] = carry(old, a, old->members[s->first + i]);
    a->current = found_state(a);
    automaton_close(old);
    return a->current >= 0;
}

unsigned automaton_cleared(const automaton *a) { return a->cleared; }

uint64_t automaton_work(const automaton *a) { return a->work; }

int automaton_read(automaton *a, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int next = automaton_next(a, a->current, (unsigned char)bytes[i]);
        if (next == AUTOMATON_FULL) {
            if (!automaton_clear(a)) return -1;
            next = automaton_next(a, a->current, (unsigned char)bytes[i]);
        }
        if (next < 0) return next == AUTOMATON_DEAD ? 0 : -1;
        a->current = next;
    }
    return 1;
}

int automaton_complete(const automaton *a, int at) {
    const state *s = &a->states[at];
    for (int32_t i = 0; i < s->n; i++)
        if (a->frames[a->members[s->first + i]].phase == END) return 1;
    return 0;
}

int automaton_ended(automaton *a) {
    if (!automaton_complete(a, a->current)) return 0;
    for (int c = 0; c < 256 && a->states[a->current].n > 1; c++) {
        int next = automaton_next(a, a->current, (unsigned char)c);
        if (next == AUTOMATON_FULL && automaton_clear(a)) next = automaton_next(a, a->current, (unsigned char)c);
        if (next != AUTOMATON_DEAD) return 0;
    }
    return 1;
}

size_t automaton_room(const automaton *a, int at, int *only) {
    const state *s = &a->states[at];
    size_t room = 0;
    *only = 1;
    for (int32_t i = 0; i < s->n; i++) {
        const frame *f = &a->frames[a->members[s->first + i]];
        const grammar_node *n = node_of(a, f);
        if (f->phase != TEXT || (n->kind == GRAMMAR_OBJECT && f->at >= 0)) {
            *only = 0;
            continue;
        }
        size_t here = n->kind == GRAMMAR_STRING && n->most >= 0 ? (size_t)(n->most - f->at) : SIZE_MAX;
        if (here > room) room = here;
    }
    return room;
}
