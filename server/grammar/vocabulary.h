/* vocabulary.h: the bytes of all tokens, in an order in which those that begin alike stand together, so that which
 * tokens an automaton takes is found by following each beginning once. */
#ifndef SERVER_VOCABULARY_H
#define SERVER_VOCABULARY_H

#include "grammar/automaton.h"
#include "grammar/names.h"

enum { VOCABULARY_PLAIN_MAX = 16 };

/* Tokens by their bytes. */
typedef struct vocabulary_list {
    int32_t *tokens;     /* [n] in the order of their bytes */
    uint16_t *shared;    /* [n] bytes that each shares with the one before, in the same part */
    size_t n, part[257]; /* those that begin with byte c are [part[c], part[c + 1]) */
} vocabulary_list;

struct vocabulary {
    size_t n, words;                           /* tokens; words of a set */
    char *bytes;                               /* of all tokens */
    size_t *begin;                             /* [n + 1] */
    vocabulary_list all;                       /* with text */
    vocabulary_list odd;                       /* without those that are plain */
    uint64_t *plain[VOCABULARY_PLAIN_MAX + 1]; /* sets of the tokens of at most so many characters, each whole, that
                                                * mean nothing but themselves inside a string of JSON */
};

int vocabulary_open(vocabulary *v, const names *n); /* 0: no memory */
void vocabulary_close(vocabulary *v);               /* also of a zeroed one */
/* bytes [n] as tokens [n], the longest that fits each time; returns how many, 0: there are none for some of them. */
size_t vocabulary_spell(const vocabulary *v, const char *bytes, size_t n, int32_t *tokens);
/* The tokens that go on from the automaton's current state, as a set [v->words]: bit t % 64 of word t / 64. 0: no
 * memory. Where a grammar is so wide that this would take long, some tokens of several bytes are left out. */
int vocabulary_fill(const vocabulary *v, automaton *a, uint64_t *set);

#endif
