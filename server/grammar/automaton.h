/* automaton.h: follows a grammar byte by byte. A state is all that the bytes so far may be the beginning of, each with
 * the values that are open around it; states and where bytes lead are remembered once they were asked for. No state
 * is a dead end: from each some bytes lead to a whole document. White space is bounded, and so are numbers. */
#ifndef SERVER_AUTOMATON_H
#define SERVER_AUTOMATON_H

#include "grammar/grammar.h"

typedef struct automaton automaton;

enum {
    AUTOMATON_DEAD = -1, /* no document goes on so */
    AUTOMATON_FULL = -2  /* no room for another state, or no memory: automaton_clear makes some */
};

/* g must outlive it. NULL: no memory. */
automaton *automaton_open(const grammar *g);
void automaton_close(automaton *a); /* NULL allowed */
int automaton_current(const automaton *a);
/* Where a byte leads from a state. */
int automaton_next(automaton *a, int state, unsigned char byte);
/* Goes on by bytes [n] from the current state. 0: no document goes on so. -1: no memory. */
int automaton_read(automaton *a, const char *bytes, size_t n);
/* Forgets every state but the current one, whose number may change. 0: no memory. */
int automaton_clear(automaton *a);
/* How often it did, also by itself. */
unsigned automaton_cleared(const automaton *a);
/* How much it has done since it was opened: places in values that it came to. */
uint64_t automaton_work(const automaton *a);
/* Whether the bytes so far are a whole document. */
int automaton_complete(const automaton *a, int state);
/* Whether the current state is such a one, and nothing can follow. */
int automaton_ended(automaton *a);
/* How many characters without a meaning of their own may follow inside a string, at least, and whether the state is
 * nothing but the inside of strings. */
size_t automaton_room(const automaton *a, int state, int *only);

#endif
