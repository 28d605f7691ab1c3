/* problem.h: what is wrong with a request, as every client of the field reads it. */
#ifndef SERVER_PROBLEM_H
#define SERVER_PROBLEM_H

#include "common/text.h"

typedef struct problem {
    int status;       /* of HTTP; 0: none */
    const char *code; /* "invalid_value", …, of static storage */
    char field[64];   /* "": of no field */
    char message[400];
} problem;

/* The first problem stays, later ones are not looked at. field NULL: of none. Returns 0, so that a check can end by
 * it. */
int problem_set(problem *p, int status, const char *code, const char *field, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* Lines of headers that say whether to ask again: after an error that passes, and not after a conflict. */
const char *problem_headers(const problem *p);
/* {"error":{…}} */
void problem_print(const problem *p, text *t);

#endif
