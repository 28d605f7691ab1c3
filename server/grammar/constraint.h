/* constraint.h: one answer on its way through a grammar: which tokens may come next. */
#ifndef SERVER_CONSTRAINT_H
#define SERVER_CONSTRAINT_H

#include "grammar/vocabulary.h"

typedef struct constraint constraint;

/* Both must outlive it. NULL: no memory. */
constraint *constraint_open(const grammar *g, const vocabulary *v);
void constraint_close(constraint *c); /* NULL allowed */
/* The tokens that may come next, as vocabulary_fill has them, until the next call; a complete answer may end besides.
 * NULL: no memory. */
const uint64_t *constraint_tokens(constraint *c);
/* A token has come. 0: it was not allowed. -1: no memory. */
int constraint_read(constraint *c, int32_t token);
/* Whether the answer is a document; and whether, besides, nothing can follow. */
int constraint_complete(const constraint *c);
int constraint_ended(constraint *c);

#endif
