/* places.c: see places.h. */
#include "run/places.h"

int places_take(atomic_int *taken, int answers, int most, problem *p) {
    if (answers > most)
        return problem_set(p, 400, "invalid_value", "n",
                           "the request asks for %d answers: a key has at most %d at once (--max-streams-per-key)",
                           answers, most);
    for (int before = atomic_load(taken); before <= most - answers;)
        if (atomic_compare_exchange_weak(taken, &before, before + answers)) return 1;
    return problem_set(p, 429, "rate_limit_exceeded", NULL,
                       "this API key has %d answers under way already: at most %d at once (--max-streams-per-key)",
                       atomic_load(taken), most);
}

void places_give_back(atomic_int *taken, int answers) { atomic_fetch_sub(taken, answers); }
