/* disjoint.h: whether two values of a grammar have no document in common, for `oneOf`. By the schemas that they were
 * made of, which may be satisfied by more documents than the grammar has. */
#ifndef SERVER_DISJOINT_H
#define SERVER_DISJOINT_H

#include "grammar/grammar.h"

/* 1: there is none. 0: there may be one. *work: steps that may still be taken; without any the answer is 0. */
int disjoint(const grammar *g, int a, int b, size_t *work);

#endif
