/* places.h: how many answers each API key has under way, so that none takes the places of all others. */
#ifndef SERVER_PLACES_H
#define SERVER_PLACES_H

#include "common/problem.h"

#include <stdatomic.h>

/* Takes places for so many answers out of `most` that a key has, of which *taken are taken; 0 and a problem when there
 * are not so many. Any thread. */
int places_take(atomic_int *taken, int answers, int most, problem *p);
void places_give_back(atomic_int *taken, int answers);

#endif
