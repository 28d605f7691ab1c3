/* steps.h: what the files of the automaton share: automaton.c, which remembers states, steps.c and text_steps.c, which
 * know where a byte leads. Nothing else includes it. */
#ifndef SERVER_STEPS_H
#define SERVER_STEPS_H

#include "grammar/automaton.h"

enum { THREADS_MAX = 256 /* what a state may be the beginning of; more are left out, and what is left can be ended */ };

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
    WORD,            /* at: words that it may still become, step: bytes */
    PATTERN,         /* at: the place in the pattern */
    PATTERN_TAIL,    /* in the character that leads to `at`; step: see begin_character */
    PATTERN_ESCAPE   /* behind a backslash, at the place */
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

static inline const grammar_node *step_node(const automaton *a, const frame *f) { return &a->grammar->nodes[f->node]; }
/* The number of the frame; -1: there is no room for it. */
int32_t step_frame(automaton *a, const frame *f);
/* What is found by the search: the frame, and what it is at the same time. */
void step_add(automaton *a, frame f);
/* The value that f is in is whole. */
static inline void step_pop(automaton *a, const frame *f) { step_add(a, a->frames[f->parent]); }
/* Whether a value can be ended where so many arrays and objects are open around it. */
static inline int step_fits(const automaton *a, int node, int depth) {
    return depth + a->grammar->nodes[node].height <= GRAMMAR_DEPTH_MAX;
}
/* Those of words [low, high), which share `step` bytes, that go on by c. */
void step_narrow(const grammar_word *words, int64_t *low, int64_t *high, size_t step, unsigned char c);
/* Whether the number f may end here. */
int step_number_complete(const grammar_node *n, const frame *f);
/* Finds where a byte leads from the frame: anywhere; inside a string, with a pattern or without. */
void step_advance(automaton *a, frame f, unsigned char c);
void step_text(automaton *a, frame f, unsigned char c);
void step_pattern(automaton *a, frame f, unsigned char c);

#endif
