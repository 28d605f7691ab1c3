/* peak.c: see peak.h.
 *
 * 1. The model's prediction is mixed by halves with that of a memory of fields: what has often followed the same
 *    beginning of the n-th field is cheap, although the model may not recall it (an address that comes now and then).
 *
 * 2. A place is known in two ways: by the number of the field and how far into it, and by the kinds of the characters
 *    before it. Each has a running mean of the bits and a running fourth moment around it, in which what is rare but
 *    recurs weighs more than in a variance. The more lenient of the two counts; one that was hardly ever seen leans on
 *    the other, and that on all places together.
 *
 * 3. A window of w tokens scores (sum of bits - sum of means) / sqrt(sum of spreads + FLOOR²), where a spread is the
 *    root of the fourth moment. The line scores as its worst window of 1, 2, 4, 8 or 16 tokens. */
#include "peak.h"
#include "output.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    PLACES = 1 << 16,
    MEMORY = 1 << 18,    /* entries of the memory of fields */
    BUCKET = 4,          /* entries where something may be held */
    COUNT_MAX = 1 << 20, /* at which all counts are halved */
    WINDOW_MAX = 16,     /* tokens */
    HISTORY = 6,         /* symbols before a place that belong to it */
    RUN_MAX = 12,        /* characters of a run of digits or letters that are told apart */
    FIELD_MAX = 40,      /* fields that are told apart, and characters in them */
    OFFSET_MAX = 15,
    LATEST = 4096, /* tokens at a place that its mean is about */
    LATEST_ANYWHERE = 1 << 16,
    PRIOR = 2 /* tokens at a place that weigh as much as what is known of all places */
};
static const double FLOOR = 0.5;               /* bits: differences below it say nothing */
static const char SEPARATORS[] = " \t,;|\"&="; /* end a field */

/* Bits of tokens: how many, up to what it is about, mean, mean fourth power of the distance from the mean. */
typedef struct usual {
    float n, mean, fourth;
} usual;

typedef struct held {
    uint32_t tag, count; /* count 0: free */
} held;

typedef struct token {
    uint32_t place[2];      /* by field, by characters */
    uint64_t context, self; /* in the memory of fields: the field's number and the field so far; the token after it */
    size_t from, to;
    double bits, above, spread; /* bits: NaN or as the memory has it; above the mean */
} token;

struct cli_peak {
    usual places[2][PLACES], anywhere;
    held memory[MEMORY];
    token *tokens; /* [n], of the line under way */
    size_t n, capacity;
    /* where the line stands */
    uint64_t field_hash;
    uint32_t fields, offset, run, kind; /* kind of the last character, and how many of that kind there were */
    uint32_t history[HISTORY];          /* the latest symbol first: a kind for a run, else the character */
};

enum { KIND_OTHER, KIND_DIGIT, KIND_LETTER };

static uint64_t mixed(uint64_t h) {
    h ^= h >> 32;
    h *= 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}
static uint64_t with(uint64_t h, uint64_t x) { return mixed(h ^ (x + 0x632BE59BD9B4E019u)); }

static void begin_line(cli_peak *peak) {
    peak->n = 0;
    peak->field_hash = peak->fields = peak->offset = peak->run = peak->kind = 0;
    memset(peak->history, 0, sizeof peak->history);
}

cli_peak *cli_peak_open(void) {
    cli_peak *peak = cli_alloc(1, sizeof *peak);
    peak->anywhere = (usual){16, 4, 6 * 6 * 6 * 6}; /* before anything is known */
    begin_line(peak);
    return peak;
}

void cli_peak_close(cli_peak *peak) {
    if (peak) free(peak->tokens);
    free(peak);
}

/* ---- the memory of fields ---- */

static held *bucket_of(cli_peak *peak, uint64_t key) { return &peak->memory[(key >> 32) % (MEMORY / BUCKET) * BUCKET]; }

static uint32_t count_of(cli_peak *peak, uint64_t key) {
    const held *bucket = bucket_of(peak, key);
    for (int i = 0; i < BUCKET; i++)
        if (bucket[i].count && bucket[i].tag == (uint32_t)key) return bucket[i].count;
    return 0;
}

/* What was seen least makes room. */
static void count(cli_peak *peak, uint64_t key) {
    held *bucket = bucket_of(peak, key), *at = bucket;
    for (int i = 0; i < BUCKET; i++) {
        if (bucket[i].count && bucket[i].tag == (uint32_t)key) {
            at = &bucket[i];
            break;
        }
        if (bucket[i].count < at->count) at = &bucket[i];
    }
    if (!at->count || at->tag != (uint32_t)key) *at = (held){(uint32_t)key, 0};
    if (++at->count < COUNT_MAX) return;
    for (size_t i = 0; i < MEMORY; i++) peak->memory[i].count /= 2;
}

/* The model and the memory mixed by halves. */
static double remembered(cli_peak *peak, const token *t) {
    double seen = count_of(peak, t->self), all = count_of(peak, t->context);
    return 1 - log2(exp2(-t->bits) + fmin(1, seen / (all + 1)));
}

/* ---- places ---- */

static int kind_of(unsigned char c) {
    if (c >= '0' && c <= '9') return KIND_DIGIT;
    return (c | 32) >= 'a' && (c | 32) <= 'z' ? KIND_LETTER : c >= 128 ? KIND_LETTER : KIND_OTHER;
}

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* The token that begins here. */
static void stand(const cli_peak *peak, token *t) {
    uint64_t by_field = with(with(1, least(peak->fields, FIELD_MAX)), least(peak->offset, OFFSET_MAX)),
             by_kinds = with(with(2, least(peak->run, RUN_MAX)), peak->kind);
    for (int i = 0; i < HISTORY; i++) by_kinds = with(by_kinds, peak->history[i]);
    t->place[0] = (uint32_t)(by_field >> 32) % PLACES;
    t->place[1] = (uint32_t)(by_kinds >> 32) % PLACES;
    t->context = with(with(3, least(peak->fields, FIELD_MAX)), peak->field_hash);
}

static void step(cli_peak *peak, unsigned char c) {
    uint32_t kind = (uint32_t)kind_of(c);
    if (kind && kind == peak->kind) {
        peak->run++;
    } else {
        memmove(peak->history + 1, peak->history, sizeof peak->history - sizeof *peak->history);
        peak->history[0] = kind ? kind : 256u + c;
        peak->run = kind > 0;
    }
    peak->kind = kind;
    peak->offset++;
    if (c && strchr(SEPARATORS, c)) {
        peak->fields++;
        peak->offset = 0;
        peak->field_hash = 0;
    }
    peak->field_hash = with(peak->field_hash, c);
}

void cli_peak_token(cli_peak *peak, const char *text, size_t bytes, double bits, size_t from, size_t to) {
    peak->tokens = cli_grown(peak->tokens, &peak->capacity, peak->n + 1, sizeof *peak->tokens);
    token *t = &peak->tokens[peak->n++];
    *t = (token){.bits = bits, .from = from, .to = to};
    stand(peak, t);
    t->self = t->context;
    for (size_t i = 0; i < bytes; i++) {
        t->self = with(t->self, (unsigned char)text[i]);
        step(peak, (unsigned char)text[i]);
    }
}

/* ---- a line ---- */

static void learn(usual *u, double bits, double latest) {
    u->n += u->n < LATEST_ANYWHERE ? 1 : 0;
    double rate = fmax(1 / (double)u->n, 1 / latest), mean = (double)u->mean + rate * (bits - (double)u->mean);
    double square = (bits - mean) * (bits - mean);
    u->mean = (float)mean;
    u->fourth = (float)((double)u->fourth + rate * (square * square - (double)u->fourth));
}

/* Leans on `on` as if that had been seen PRIOR times. */
static usual leaning(const usual *u, const usual *on) {
    double n = (double)u->n, all = n + PRIOR;
    return (usual){(float)all, (float)((n * (double)u->mean + PRIOR * (double)on->mean) / all),
                   (float)((n * (double)u->fourth + PRIOR * (double)on->fourth) / all)};
}

/* By how much the token is above what is usual where it stands, and what that spreads by. */
static void compare(const cli_peak *peak, token *t) {
    double mean = 0, fourth = 0;
    for (int k = 0; k < 2; k++) {
        usual other = leaning(&peak->places[!k][t->place[!k]], &peak->anywhere);
        usual here = leaning(&peak->places[k][t->place[k]], &other);
        mean = fmax(mean, (double)here.mean);
        fourth = fmax(fourth, (double)here.fourth);
    }
    t->above = t->bits - mean;
    t->spread = sqrt(fourth);
}

static cli_peak_worst worst_window(const cli_peak *peak) {
    cli_peak_worst worst = {.score = peak->n ? 0 : NAN};
    for (size_t width = 1; width <= WINDOW_MAX; width *= 2) {
        double above = 0, spread = 0;
        for (size_t i = 0; i < peak->n; i++) {
            const token *t = &peak->tokens[i], *gone = i >= width ? t - width : NULL;
            above += t->above - (gone ? gone->above : 0);
            spread += t->spread - (gone ? gone->spread : 0);
            double score = above / sqrt(fmax(spread, 0) + FLOOR * FLOOR);
            if (score > worst.score) worst = (cli_peak_worst){score, gone ? gone[1].from : peak->tokens[0].from, t->to};
        }
    }
    return worst;
}

cli_peak_worst cli_peak_line(cli_peak *peak) {
    size_t known = 0; /* what nothing predicted is left out */
    for (size_t i = 0; i < peak->n; i++)
        if (!isnan(peak->tokens[i].bits)) peak->tokens[known++] = peak->tokens[i];
    peak->n = known;
    for (size_t i = 0; i < peak->n; i++) {
        token *t = &peak->tokens[i];
        t->bits = remembered(peak, t);
        compare(peak, t);
    }
    cli_peak_worst worst = worst_window(peak);
    for (size_t i = 0; i < peak->n; i++) {
        const token *t = &peak->tokens[i];
        for (int k = 0; k < 2; k++) learn(&peak->places[k][t->place[k]], t->bits, LATEST);
        learn(&peak->anywhere, t->bits, LATEST_ANYWHERE);
        count(peak, t->context);
        count(peak, t->self);
    }
    begin_line(peak);
    return worst;
}
