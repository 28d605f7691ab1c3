/* disjoint.c: see disjoint.h. */
#include "grammar/disjoint.h"

#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16 };

static int differ(const grammar *g, int a, int b, int depth, size_t *work);

/* Of what kind a word is, by its first byte: numbers alike, arrays and objects. */
static char sort_of(const grammar_word *w) {
    char c = w->n ? w->bytes[0] : 0;
    return c == '-' || (c >= '0' && c <= '9') ? '0' : c;
}

static char sort_of_kind(grammar_kind kind) {
    return kind == GRAMMAR_OBJECT ? '{' : kind == GRAMMAR_ARRAY ? '[' : kind == GRAMMAR_NUMBER ? '0' : '"';
}

/* Numbers of different bytes may be the same number, and so may what holds them. */
static int words_differ(const grammar_word *a, const grammar_word *b) {
    char sort = sort_of(a);
    if (sort != sort_of(b)) return 1;
    if (sort == '0') { /* they end with a byte that is no part of them, if any */
        char x[40], y[40];
        if (a->n >= sizeof x || b->n >= sizeof y) return 0;
        memcpy(x, a->bytes, a->n);
        memcpy(y, b->bytes, b->n);
        x[a->n] = y[b->n] = 0;
        double one = strtod(x, NULL), other = strtod(y, NULL);
        return one < other || one > other;
    }
    return sort != '{' && sort != '[' && (a->n != b->n || memcmp(a->bytes, b->bytes, a->n) != 0);
}

static int any_word_of(const grammar_node *words, char sort) {
    for (size_t i = 0; i < words->n_words; i++)
        if (sort_of(&words->words[i]) == sort) return 1;
    return 0;
}

static int all_words_differ(const grammar_node *a, const grammar_node *b, size_t *work) {
    for (size_t i = 0; i < a->n_words; i++)
        for (size_t k = 0; k < b->n_words; k++) {
            if (!*work || !words_differ(&a->words[i], &b->words[k])) return 0;
            --*work;
        }
    return 1;
}

static const grammar_property *property_of(const grammar_node *n, const grammar_word *key) {
    for (size_t i = 0; i < n->n_properties; i++)
        if (n->properties[i].key.n == key->n && !memcmp(n->properties[i].key.bytes, key->bytes, key->n))
            return &n->properties[i];
    return NULL;
}

/* Whether a property that all of a's documents have is not in b's, or has other values there. */
static int told_by_property(const grammar *g, const grammar_node *a, const grammar_node *b, int depth, size_t *work) {
    for (size_t i = 0; i < a->n_properties; i++) {
        const grammar_property *one = &a->properties[i], *other;
        if (!one->required) continue;
        other = property_of(b, &one->key);
        if (other ? differ(g, one->value, other->value, depth, work) : b->closed) return 1;
    }
    return 0;
}

static int objects_differ(const grammar *g, const grammar_node *a, const grammar_node *b, int depth, size_t *work) {
    return told_by_property(g, a, b, depth, work) || told_by_property(g, b, a, depth, work);
}

static int ranges_differ(const grammar_node *a, const grammar_node *b) { return a->most >= 0 && a->most < b->least; }

static int arrays_differ(const grammar *g, const grammar_node *a, const grammar_node *b, int depth, size_t *work) {
    if (ranges_differ(a, b) || ranges_differ(b, a)) return 1;
    for (size_t i = 0; i < a->n_members && i < b->n_members && ((int64_t)i < a->least || (int64_t)i < b->least); i++)
        if (differ(g, a->members[i], b->members[i], depth, work)) return 1;
    return 0;
}

static int below(const grammar_node *a, const grammar_node *b) {
    return a->most < b->least || (a->most == b->least && (a->most_open || b->least_open));
}

static int kinds_differ(const grammar *g, const grammar_node *a, const grammar_node *b, int depth, size_t *work) {
    if (a->kind == GRAMMAR_WORDS && b->kind == GRAMMAR_WORDS) return all_words_differ(a, b, work);
    if (a->kind == GRAMMAR_WORDS) return !any_word_of(a, sort_of_kind(b->kind));
    if (b->kind == GRAMMAR_WORDS) return !any_word_of(b, sort_of_kind(a->kind));
    if (sort_of_kind(a->kind) != sort_of_kind(b->kind)) return 1;
    switch (a->kind) {
    case GRAMMAR_OBJECT: return objects_differ(g, a, b, depth, work);
    case GRAMMAR_ARRAY: return arrays_differ(g, a, b, depth, work);
    case GRAMMAR_NUMBER: return a->bounded && b->bounded && (below(a, b) || below(b, a));
    case GRAMMAR_STRING: return b->kind == GRAMMAR_STRING && (ranges_differ(a, b) || ranges_differ(b, a));
    default: return 0;
    }
}

static int differ(const grammar *g, int a, int b, int depth, size_t *work) {
    const grammar_node *x = &g->nodes[a], *y = &g->nodes[b];
    if (!*work || depth == DEPTH_MAX) return 0;
    --*work;
    if (x->kind == GRAMMAR_UNION) {
        for (size_t i = 0; i < x->n_members; i++)
            if (!differ(g, x->members[i], b, depth + 1, work)) return 0;
        return 1;
    }
    if (y->kind == GRAMMAR_UNION) return differ(g, b, a, depth, work);
    return kinds_differ(g, x, y, depth + 1, work);
}

int disjoint(const grammar *g, int a, int b, size_t *work) { return differ(g, a, b, 0, work); }
