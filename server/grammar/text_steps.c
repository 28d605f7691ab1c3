/* text_steps.c: see steps.h. Strings, and names of an object that have no place of their own. */
#include "grammar/steps.h"

#include <string.h>

static int digit(unsigned char c) { return c >= '0' && c <= '9'; }

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
    step_narrow(n->words, &low, &high, (size_t)bytes, c);
    f->at = low < high ? low << 32 | high << 16 | (bytes + 1) : -1;
}

/* A character is whole. */
static void add_character(automaton *a, frame f) {
    const grammar_node *n = step_node(a, &f);
    f.phase = TEXT;
    f.step = 0;
    if (n->kind == GRAMMAR_STRING && (n->most >= 0 || f.at < n->least)) f.at++;
    step_add(a, f);
}

static void end_text(automaton *a, frame f) {
    const grammar_node *n = step_node(a, &f);
    if (n->kind == GRAMMAR_STRING) {
        if (f.at >= n->least) step_pop(a, &f);
    } else if (f.at < 0 || n->words[f.at >> 32].n != (size_t)(f.at & 0xFFFF)) {
        f.phase = COLON;
        f.at = (int64_t)n->n_properties;
        f.step = n->rest;
        step_add(a, f);
    }
}

static void in_text(automaton *a, frame f, unsigned char c) {
    const grammar_node *n = step_node(a, &f);
    if (c == '"') {
        end_text(a, f);
        return;
    }
    if (n->kind == GRAMMAR_STRING && n->most >= 0 && f.at >= n->most) return;
    if (c == '\\') {
        if (n->kind == GRAMMAR_OBJECT && f.at >= 0) return; /* by escapes it might become a name with a place */
        f.phase = ESCAPE;
        step_add(a, f);
    } else if (c >= 0x20 && c < 0x80) {
        follow(n, &f, c);
        add_character(a, f);
    } else if ((f.step = tail_of(c))) {
        follow(n, &f, c);
        f.phase = TEXT_TAIL;
        step_add(a, f);
    }
}

static void in_hex(automaton *a, frame f, unsigned char c) {
    int digits = (f.step >> 16) + 1, x = hex(c), number = (f.step & 0xFFFF) << 4 | x;
    if (x < 0 || (digits == 2 && number >= 0xDC && number <= 0xDF) || (digits == 4 && !number)) return;
    f.step = digits << 16 | number;
    if (digits < 4) {
        step_add(a, f);
    } else if (number >= 0xD800 && number <= 0xDBFF) {
        f.phase = PAIR;
        f.step = 0;
        step_add(a, f);
    } else {
        add_character(a, f);
    }
}

void step_text(automaton *a, frame f, unsigned char c) {
    switch ((phase)f.phase) {
    case TEXT_TAIL:
        if (c < tails[f.step].low || c > tails[f.step].high) return;
        follow(step_node(a, &f), &f, c);
        f.step = tails[f.step].then;
        if (f.step)
            step_add(a, f);
        else
            add_character(a, f);
        return;
    case ESCAPE:
        if (c == 'u') {
            f.phase = HEX;
            f.step = 0;
            step_add(a, f);
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
            step_add(a, f);
        else
            add_character(a, f);
        return;
    }
    default: in_text(a, f, c);
    }
}

/* ---- strings by a pattern ---- */

/* Goes to the places that a character from low to high may lead to from where f is. */
static void lead(automaton *a, frame f, uint32_t low, uint32_t high, phase then) {
    const pattern *p = step_node(a, &f)->pattern;
    const pattern_place *from = &p->places[f.at];
    f.phase = (uint8_t)then;
    for (size_t i = 0; i < from->n_next; i++) {
        f.at = p->nexts[from->next + i];
        if (pattern_takes(p, (size_t)f.at, low, high)) step_add(a, f);
    }
}

/* The least character of so many bytes, so that none is written longer than it is. */
static const uint32_t least_of[] = {0, 0, 0x80, 0x800, 0x10000};

/* step of a character under way: its bytes << 28 | those that are to come << 24 | the bits that are there. */
static void begin_character(automaton *a, frame f, unsigned char c) {
    int32_t bytes = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2, bits = c & (0x7F >> bytes);
    uint32_t low = (uint32_t)bits << 6 * (bytes - 1), high = low | ((UINT32_C(1) << 6 * (bytes - 1)) - 1);
    if (c < 0xC2 || c > 0xF4) return;
    f.step = bytes << 28 | (bytes - 1) << 24 | bits;
    lead(a, f, low > least_of[bytes] ? low : least_of[bytes], high, PATTERN_TAIL);
}

static void in_character(automaton *a, frame f, unsigned char c) {
    int32_t bytes = f.step >> 28, left = (f.step >> 24 & 0xF) - 1, bits = (f.step & 0xFFFFFF) << 6 | (c & 0x3F);
    uint32_t low = (uint32_t)bits << 6 * left, high = low | ((UINT32_C(1) << 6 * left) - 1);
    if (low < least_of[bytes]) low = least_of[bytes];
    if ((c & 0xC0) != 0x80 || low > high || !pattern_takes(step_node(a, &f)->pattern, (size_t)f.at, low, high)) return;
    f.step = left ? bytes << 28 | left << 24 | bits : 0;
    f.phase = left ? PATTERN_TAIL : PATTERN;
    step_add(a, f);
}

/* Characters are written in one way: by a backslash and a letter only where they must be. */
void step_pattern(automaton *a, frame f, unsigned char c) {
    static const char letters[] = "\"\\bfnrt", characters[] = "\"\\\b\f\n\r\t";
    if (f.phase == PATTERN_TAIL) {
        in_character(a, f, c);
    } else if (f.phase == PATTERN_ESCAPE) {
        const char *letter = c ? strchr(letters, c) : NULL;
        uint32_t meant = letter ? (unsigned char)characters[letter - letters] : 0;
        if (letter) lead(a, f, meant, meant, PATTERN);
    } else if (c == '"') {
        if (step_node(a, &f)->pattern->places[f.at].ends) step_pop(a, &f);
    } else if (c == '\\') {
        const pattern *p = step_node(a, &f)->pattern;
        const pattern_place *from = &p->places[f.at];
        int any = 0;
        for (size_t i = 0; i < from->n_next && !any; i++)
            for (const char *one = characters; *one && !any; one++)
                any = pattern_takes(p, p->nexts[from->next + i], (unsigned char)*one, (unsigned char)*one);
        f.phase = PATTERN_ESCAPE;
        if (any) step_add(a, f);
    } else if (c >= 0x20 && c < 0x80) {
        lead(a, f, c, c, PATTERN);
    } else {
        begin_character(a, f, c);
    }
}
