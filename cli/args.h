/* args.h: the command line of one verb, from a table of its options: parsing, checking, and --help. It knows
 * the text of options, not what they do. Every wrong use is one line on stderr that names the option, and
 * exit status 2. The man page (manual.h) and completion (completion.h) are made of the same tables. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stddef.h>
#include <stdint.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define ARG_SEED_MAX 18446744073709551615.0
#define ARG_UNBOUNDED 1e15 /* an upper limit from here on is not worth naming */

typedef enum arg_kind {
    ARG_FLAG,   /* int: 1 when given */
    ARG_TEXT,   /* const char * */
    ARG_CHOICE, /* const char *, one of the words in metavar, "{blocks,none}" */
    ARG_COUNT,  /* uint64_t in low .. high */
    ARG_COUNTS, /* arg_counts: such numbers with commas between them */
    ARG_REAL,   /* double in low .. high */
    ARG_REPEAT, /* arg_list: one value each time the option is given */
    ARG_LIST    /* arg_list: every word up to the next option */
} arg_kind;

typedef struct arg_list {
    const char **items; /* [n], words of argv */
    size_t n;
} arg_list;

typedef struct arg_counts {
    uint64_t *items; /* [n], as given */
    size_t n;
} arg_counts;

/* What becomes of the file or folder that a value names (places.h). */
typedef enum arg_place {
    ARG_ANY,    /* nothing */
    ARG_READS,  /* a file, or a folder and its model */
    ARG_WRITES, /* a file */
    ARG_MAKES   /* a folder */
} arg_place;

typedef struct arg_option {
    const char *name;  /* "--lr" */
    const char *alias; /* a second name, for what was called so once; NULL: none */
    arg_kind kind;
    void *value;         /* what kind says; left alone when the option is not given */
    const char *metavar; /* "F"; NULL for flags. DIR and FILE, also in "FILE.npy" or "{FILE,bytes}", are completed */
    const char *help;    /* one line, with the default */
    double low, high;    /* both 0: no limits */
    arg_place place;
    const char *replaces; /* of what is written: the option whose file it may be, since that is read before */
    int required;
    int given; /* out */
} arg_option;

/* A row of a verb's table; what is defined below, .required = 1 and .alias may follow. Every option that names a file
 * or folder says which it does. */
#define ARG(option, what, where, shown, text, ...)                                                                     \
    { .name = option, .kind = what, .value = where, .metavar = shown, .help = text, __VA_ARGS__ }
#define RANGE(least, most) .low = least, .high = most
#define READS .place = ARG_READS
#define WRITES .place = ARG_WRITES
#define MAKES .place = ARG_MAKES
#define REPLACES(option) .place = ARG_WRITES, .replaces = option

typedef struct arg_spec {
    const char *verb, *summary, *example; /* example: lines without indentation */
    const char *json_help;                /* what --json prints where that is not one object; NULL: it is */
    arg_option *options;
    size_t n_options;
    const char *operand; /* "FILE"; NULL: takes none */
    const char *operand_help;
    size_t operands_min, operands_max;
    int writes_last;   /* the last operand is written; all others are read */
    arg_list operands; /* out */
    int json;          /* out: the options every verb has */
    uint64_t threads;  /* out: 0 when not given */
} arg_spec;

/* The options of every verb: --json, --threads and --help. Their values are arg_parse's. */
enum { ARG_COMMON = 3 };
extern const arg_option arg_common[ARG_COMMON];
/* --json as the verb has it. */
arg_option arg_json(const arg_spec *spec);

/* Returns 1 to go on, or 0 with *code the exit status: 0 after --help, 2 after a complaint. */
int arg_parse(arg_spec *spec, int argc, char **argv, int *code);
/* While take is not NULL, arg_parse parses nothing: it hands the verb's table to take and returns 0 with *code 0. So
 * the tables can be listed without running a verb (verbs.h). */
void arg_divert(void (*take)(void *user, const arg_spec *spec), void *user);
void arg_release(arg_spec *spec);
/* Whether an option of the table was given. name must be in it. */
int arg_given(const arg_spec *spec, const char *name);
/* The first option of the table that was given and is not one of names [n]; NULL: there is none. */
const char *arg_given_beside(const arg_spec *spec, const char *const *names, size_t n);
/* The word of table [n] (row size stride, a char pointer first) nearest to word, or NULL when none is near. */
const char *arg_nearest(const char *word, const void *table, size_t n, size_t stride);

#endif
