/* grammar.c: see grammar.h. */
#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

enum { ENDLESS = GRAMMAR_DEPTH_MAX + 1 }; /* the height of what cannot be satisfied, or only by deeper documents */

int grammar_add(grammar *g, grammar_kind kind) {
    if (g->n == g->capacity) {
        size_t capacity = g->capacity ? 2 * g->capacity : 64;
        grammar_node *more = capacity > GRAMMAR_NODES_MAX ? NULL : realloc(g->nodes, capacity * sizeof *more);
        if (!more) {
            g->failed = 1;
            return -1;
        }
        g->nodes = more;
        g->capacity = capacity;
    }
    g->nodes[g->n] = (grammar_node){.kind = kind, .rest = -1, .most = -1};
    return (int)g->n++;
}

/* Room for one more of n things; they double where n is a power of two. */
static void *grow(grammar *g, void *things, size_t n, size_t size) {
    if (n & (n - 1)) return things;
    void *more = realloc(things, (n ? 2 * n : 1) * size);
    if (!more) g->failed = 1;
    return more;
}

int grammar_add_member(grammar *g, int node, int member) {
    grammar_node *n = &g->nodes[node];
    int *members = grow(g, n->members, n->n_members, sizeof *members);
    if (!members) return 0;
    n->members = members;
    members[n->n_members++] = member;
    return 1;
}

static int copy_word(grammar *g, grammar_word *word, const char *bytes, size_t n) {
    *word = (grammar_word){malloc(n ? n : 1), n};
    if (!word->bytes) {
        g->failed = 1;
        return 0;
    }
    if (n) memcpy(word->bytes, bytes, n);
    return 1;
}

int grammar_add_word(grammar *g, int node, const char *word, size_t bytes) {
    grammar_node *n = &g->nodes[node];
    grammar_word *words = grow(g, n->words, n->n_words, sizeof *words);
    if (!words) return 0;
    n->words = words;
    n->n_words += (size_t)copy_word(g, &words[n->n_words], word, bytes);
    return !g->failed;
}

int grammar_add_property(grammar *g, int object, const char *name, size_t name_bytes, const char *key, size_t key_bytes,
                         int value, int required) {
    grammar_node *n = &g->nodes[object];
    grammar_property *properties = grow(g, n->properties, n->n_properties, sizeof *properties);
    if (!properties) return 0;
    n->properties = properties;
    properties[n->n_properties] = (grammar_property){.value = value, .required = required};
    n->n_properties += (size_t)copy_word(g, &properties[n->n_properties].key, key, key_bytes);
    return !g->failed && grammar_add_word(g, object, name, name_bytes);
}

static int compare(const void *a, const void *b) {
    const grammar_word *x = a, *y = b;
    size_t shared = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->bytes, y->bytes, shared);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* In the order of their bytes, each once. */
static void sort(grammar_node *node) {
    size_t n = 0;
    if (!node->n_words) return;
    qsort(node->words, node->n_words, sizeof *node->words, compare);
    for (size_t i = 0; i < node->n_words; i++) {
        if (n && !compare(&node->words[n - 1], &node->words[i]))
            free(node->words[i].bytes);
        else
            node->words[n++] = node->words[i];
    }
    node->n_words = n;
}

int grammar_has_multiple(int64_t low, int64_t high, int64_t multiple) {
    if (low > high) return 0;
    int64_t rest = high % multiple; /* with the sign of high */
    return high - (rest < 0 ? rest + multiple : rest) >= low;
}

static int height_of(const grammar *g, const grammar_node *n) {
    int height = 0;
    switch (n->kind) {
    case GRAMMAR_UNION:
        height = ENDLESS;
        for (size_t i = 0; i < n->n_members; i++)
            if (g->nodes[n->members[i]].height < height) height = g->nodes[n->members[i]].height;
        return height;
    case GRAMMAR_OBJECT:
        for (size_t i = 0; i < n->n_properties; i++)
            if (n->properties[i].required && g->nodes[n->properties[i].value].height > height)
                height = g->nodes[n->properties[i].value].height;
        break;
    case GRAMMAR_ARRAY:
        for (size_t i = 0; i < n->n_members && (int64_t)i < n->least; i++)
            if (g->nodes[n->members[i]].height > height) height = g->nodes[n->members[i]].height;
        if (n->least > (int64_t)n->n_members) {
            int rest = n->rest < 0 ? ENDLESS : g->nodes[n->rest].height;
            if (rest > height) height = rest;
        }
        if (n->most >= 0 && n->least > n->most) height = ENDLESS;
        break;
    case GRAMMAR_STRING: return n->most >= 0 && n->least > n->most ? ENDLESS : 0;
    case GRAMMAR_PATTERN: return 0;
    case GRAMMAR_NUMBER:
        if (n->multiple && !grammar_has_multiple(n->least, n->most, n->multiple)) return ENDLESS;
        return n->least > n->most || (n->least == n->most && (n->least_open || n->most_open)) ? ENDLESS : 0;
    case GRAMMAR_WORDS: return n->n_words ? 0 : ENDLESS;
    }
    return height < ENDLESS ? height + 1 : ENDLESS;
}

int grammar_finish(grammar *g) {
    for (size_t i = 0; i < g->n; i++) {
        sort(&g->nodes[i]);
        g->nodes[i].height = ENDLESS;
    }
    for (int changed = 1; changed;) { /* heights only fall, so that this ends */
        changed = 0;
        for (size_t i = g->n; i-- > 0;) {
            int height = height_of(g, &g->nodes[i]);
            changed |= height != g->nodes[i].height;
            g->nodes[i].height = height;
        }
    }
    return g->nodes[g->root].height <= GRAMMAR_DEPTH_MAX;
}

void grammar_free(grammar *g) {
    for (size_t i = 0; i < g->n; i++) {
        grammar_node *n = &g->nodes[i];
        for (size_t k = 0; k < n->n_words; k++) free(n->words[k].bytes);
        for (size_t k = 0; k < n->n_properties; k++) free(n->properties[k].key.bytes);
        free(n->words);
        free(n->properties);
        free(n->members);
        pattern_free(n->pattern);
    }
    free(g->nodes);
    *g = (grammar){0};
}
