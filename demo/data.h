/* data.h: what a run of the demo left in its folder, read into plain numbers. Reads facts.txt (key=value
 * lines written by demo/run) and the JSON of the command's verbs; a missing or broken file is an error that
 * names it. */
#ifndef DEMO_DATA_H
#define DEMO_DATA_H

#include <stddef.h>

enum { CURVE_MAX = 128, FACTS_MAX = 64 };

typedef struct curve {
    double x[CURVE_MAX], y[CURVE_MAX];
    size_t n;
} curve;

typedef struct facts {
    char *text; /* owns the words below */
    const char *keys[FACTS_MAX], *values[FACTS_MAX];
    size_t n;
} facts;

typedef struct reading {
    double bits_per_byte;       /* windows of 256 tokens (fact "window"), each from a fresh state */
    double bits_per_byte_whole; /* the whole held-out text as one sequence; NAN where not measured */
    double bits_per_byte_late;  /* of the former, second half of each sequence only */
    curve positions;            /* loss by position: [bucket's geometric middle, bits per byte] */
} reading;

typedef struct contender {
    const char *name, *class;           /* "TTT-Linear", "ttt" */
    double parameters, seconds, tokens; /* of training */
    curve training;                     /* [million tokens, bits per byte] */
    curve write_ms, read_ms, state_mb;  /* by context */
    reading learning, frozen;           /* frozen: TTT only */
    char *continuation, *fingerprint;
} contender;

typedef struct demo {
    facts facts;
    contender ttt, transformer;
} demo;

/* Returns 0, or -1 with a line on stderr. demo_free afterwards in both cases. */
int demo_load(const char *dir, demo *d);
void demo_free(demo *d);
/* The value of a fact; "?" and 0 where it was not given. */
const char *fact_text(const demo *d, const char *key);
double fact_number(const demo *d, const char *key);
/* y at the last point whose x is at most `x`; NAN if there is none. */
double curve_at(const curve *c, double x);
double curve_last(const curve *c);

#endif
