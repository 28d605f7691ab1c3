/* pattern.h: a regular expression, as JSON Schema's `pattern` has it, as places between which characters lead: those of
 * the expression's characters, and one before the first. From each place some text leads to the end. Without a ^ or $
 * anything may stand before or behind. A subset of ECMAScript's: no looking ahead or behind, no references back, no \b,
 * no \p{…}; ^ and $ only where an alternative of the whole expression begins or ends. Knows no JSON. */
#ifndef SERVER_PATTERN_H
#define SERVER_PATTERN_H

#include <stddef.h>
#include <stdint.h>

enum { PATTERN_PLACES_MAX = 512 };

typedef struct pattern_range {
    uint32_t low, high;
} pattern_range;

typedef struct pattern_place {
    size_t range, n_ranges; /* the characters that lead here, in ascending order: pattern.ranges [range, …) */
    size_t next, n_next;    /* where the next character may lead: pattern.nexts [next, …) */
    int ends;               /* the text may end here */
} pattern_place;

typedef struct pattern {
    pattern_place *places; /* [n], the first is before all characters */
    size_t n;
    pattern_range *ranges;
    uint16_t *nexts;
} pattern;

/* words [bytes], UTF-8. NULL, and what is wrong in *why, NULL: no memory. Characters that JSON can write only as \uXXXX
 * are in no text that it leads to. */
pattern *pattern_compile(const char *words, size_t bytes, const char **why);
void pattern_free(pattern *p); /* NULL allowed */
/* Whether a character from low to high leads to the place. */
int pattern_takes(const pattern *p, size_t place, uint32_t low, uint32_t high);

#endif
