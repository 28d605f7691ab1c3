/* constraint.c: see constraint.h. */
#include "grammar/constraint.h"

#include <stdlib.h>

enum { KEPT = 4 }; /* sets of the last states, which come again in the text of a string */

struct constraint {
    const vocabulary *vocabulary;
    automaton *automaton;
    struct {
        int state; /* -1: none */
        uint64_t *set;
    } kept[KEPT];
    int turn;
};

static void forget(constraint *c) {
    for (int i = 0; i < KEPT; i++) c->kept[i].state = -1;
}

constraint *constraint_open(const grammar *g, const vocabulary *v) {
    constraint *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->vocabulary = v;
    c->automaton = automaton_open(g);
    forget(c);
    for (int i = 0; i < KEPT; i++)
        if (!(c->kept[i].set = malloc(v->words * sizeof *c->kept[i].set))) c->turn = -1;
    if (c->automaton && c->turn == 0) return c;
    constraint_close(c);
    return NULL;
}

void constraint_close(constraint *c) {
    if (!c) return;
    for (int i = 0; i < KEPT; i++) free(c->kept[i].set);
    automaton_close(c->automaton);
    free(c);
}

const uint64_t *constraint_tokens(constraint *c) {
    int state = automaton_current(c->automaton);
    unsigned cleared = automaton_cleared(c->automaton);
    for (int i = 0; i < KEPT; i++)
        if (c->kept[i].state == state) return c->kept[i].set;
    int at = c->turn;
    c->turn = (c->turn + 1) % KEPT;
    c->kept[at].state = -1;
    if (!vocabulary_fill(c->vocabulary, c->automaton, c->kept[at].set)) return NULL;
    if (automaton_cleared(c->automaton) != cleared) forget(c);
    c->kept[at].state = automaton_current(c->automaton);
    return c->kept[at].set;
}

int constraint_read(constraint *c, int32_t token) {
    const vocabulary *v = c->vocabulary;
    unsigned cleared = automaton_cleared(c->automaton);
    size_t n = v->begin[token + 1] - v->begin[token];
    int read = n ? automaton_read(c->automaton, v->bytes + v->begin[token], n) : 0;
    if (automaton_cleared(c->automaton) != cleared) forget(c);
    return read;
}

int constraint_complete(const constraint *c) {
    return automaton_complete(c->automaton, automaton_current(c->automaton));
}

int constraint_ended(constraint *c) {
    unsigned cleared = automaton_cleared(c->automaton);
    int ended = automaton_ended(c->automaton);
    if (automaton_cleared(c->automaton) != cleared) forget(c);
    return ended;
}
