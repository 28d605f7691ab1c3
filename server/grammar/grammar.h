/* grammar.h: which JSON documents an answer may be: a graph of values, which schema.h makes of a JSON Schema and
 * automaton.h follows byte by byte. Knows no JSON Schema, no tokens and no HTTP. */
#ifndef SERVER_GRAMMAR_H
#define SERVER_GRAMMAR_H

#include "grammar/pattern.h"

enum {
    GRAMMAR_NODES_MAX = 8192,
    GRAMMAR_DEPTH_MAX = 64, /* of arrays and objects within each other */
    GRAMMAR_PROPERTIES_MAX = 256,
    GRAMMAR_WORD_BYTES_MAX = 4096
};
/* The largest bounds of numbers, which are whole, and what stands for none. */
#define GRAMMAR_BOUND_MAX INT64_C(1000000000000000)
#define GRAMMAR_UNBOUNDED INT64_C(9999999999999999)

typedef enum grammar_kind {
    GRAMMAR_UNION, /* what one of members is */
    GRAMMAR_OBJECT,
    GRAMMAR_ARRAY,
    GRAMMAR_STRING,
    GRAMMAR_PATTERN, /* a string that a pattern leads to */
    GRAMMAR_NUMBER,
    GRAMMAR_WORDS /* one of words */
} grammar_kind;

typedef struct grammar_word {
    char *bytes; /* [n] */
    size_t n;
} grammar_word;

/* In an object properties come in their order. */
typedef struct grammar_property {
    grammar_word key; /* its name as JSON, with the quotes */
    int value, required;
} grammar_property;

typedef struct grammar_node {
    grammar_kind kind;
    int height;   /* arrays and objects within each other that it needs at least */
    int *members; /* [n_members] of a union; of an array its first places */
    size_t n_members;
    int rest;              /* the value of an array's further places, of an object's other names; -1: there are none */
    int64_t least, most;   /* of an array places, of a string characters (most -1: any), of a number its bounds */
    int bounded, fraction; /* of a number: whether it has bounds, and whether it may be no whole one */
    int least_open, most_open;    /* of such a one: the bound itself is not allowed */
    int64_t multiple;             /* of such a one without fraction: what it is a multiple of; 0: of anything */
    pattern *pattern;             /* released with the grammar */
    int closed;                   /* an object with other names than its properties does not satisfy the schema */
    grammar_property *properties; /* [n_properties] of an object */
    size_t n_properties;
    grammar_word *words; /* [n_words] in the order of their bytes: names of an object's properties, or the words */
    size_t n_words;
} grammar_node;

typedef struct grammar {
    grammar_node *nodes; /* [n] */
    size_t n, capacity;
    int root;
    int failed; /* memory was missing, or there are too many nodes */
} grammar;

/* A new node, the value of nothing yet; -1 and failed where there cannot be one more. */
int grammar_add(grammar *g, grammar_kind kind);
int grammar_add_member(grammar *g, int node, int member);
/* Each copies what it is given. */
int grammar_add_property(grammar *g, int object, const char *name, size_t name_bytes, const char *key, size_t key_bytes,
                         int value, int required);
int grammar_add_word(grammar *g, int node, const char *word, size_t bytes);
/* Whether a multiple lies between low and high. */
int grammar_has_multiple(int64_t low, int64_t high, int64_t multiple);
/* Puts words in order and finds the heights. 0: no document can satisfy it. */
int grammar_finish(grammar *g);
void grammar_free(grammar *g); /* also of a zeroed one */

#endif
