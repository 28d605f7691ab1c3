/* mix.c: see mix.h. Each source of a prediction turns what it knows of a bit into a probability by counting what came
 * of it (il_guess), and gives its logarithmic odds: the inputs of a logistic regression, of which three sets of weights
 * are kept, each picked by something else that is known; a fourth regression weighs their sums. The result is
 * corrected by what came of results like it, in two ways. */
#include "mix/mix.h"

#include "base/error.h"
#include "base/maths.h"
#include "mix/contexts.h"
#include "mix/copier.h"

#include <string.h>

enum {
    SETS = 3,
    DIRECT = 4,     /* counters of single nodes, after the last 0 to 3 tokens */
    INPUTS = 16,    /* the model; contexts; copies; direct counters; a constant; the rest of a multiple of 4 is 0 */
    STEEPS = 4096,  /* entries of the table of logarithmic odds */
    LEVELS = 10,    /* into which counts are put */
    DEPTHS = 6,     /* into which depths are put where a table is small */
    LENGTHS = 22,   /* of copies */
    SURENESSES = 5, /* of the copy that is trusted, 0: there is none */
    TOPS = IL_ORDERS + 1, /* the longest context that knows the way */
    NODES = 4096,
    CORRECTIONS = 33,
    COUNTS = IL_CONTEXTS * DEPTHS * LEVELS * LEVELS * 3,
    COPIES = IL_COPIES * LENGTHS * 8,
    SQUASHED_STEP = 64,
    SQUASHED = 2 * 18 * SQUASHED_STEP + 2
};
_Static_assert(1 + IL_CONTEXTS + IL_COPIES + DIRECT + 1 <= INPUTS, "every input has a place");

static const float STEEP_MAX = 15.0F, SUM_MAX = 18.0F, CONSTANT = 0.3F, CORRECTION_STEP = 0.75F;

/* Four floats, each by itself. */
typedef float vector4 __attribute__((vector_size(16), may_alias));

/* A probability that is counted: it moves by 1 / (n + 1.5) of its error, n up to GUESS_MAX. */
typedef struct il_guess {
    float p;
    uint32_t n;
} il_guess;
enum { GUESS_MAX = 255 };

/* The same in one word: p in the high 22 bits, n in the low 10. */
enum { DIRECT_N = 10, DIRECT_ONE = 1 << 22, LINE_LEVELS = 4 };

/* Where the next token of a sequence is to be looked up. */
typedef struct look {
    uint64_t at; /* the place of that token, 0: not known */
    uint32_t hash[IL_CONTEXTS], direct_hash[DIRECT], run[IL_COPIES];
} look;

/* A bit of the token under way, from its prediction until the token is known whole and what was predicted by is taught:
 * so a token's probability is the product of those of its bits, whichever way it goes. */
typedef struct step {
    int asked, bit;
    _Alignas(16) float inputs[INPUTS];
    float sums[SETS], guesses[SETS], sum, result;
    float *sets[SETS], *weigh;
    il_guess *count[IL_CONTEXTS], *copy[IL_COPIES];
    int foretold[IL_COPIES]; /* by the copies */
    uint32_t *directs[DIRECT];
    float *correction[2], part; /* the two entries from here on, and how much of the second */
} step;

struct il_mix {
    const il_allocator *memory;
    int depth, sequences;
    /* ---- learned: one run of learned_bytes from contexts.table on ---- */
    size_t learned_bytes;
    il_contexts contexts;
    il_copier copier;
    il_copy_state *readers; /* [sequences] */
    uint32_t *direct;       /* [1 << direct_bits] */
    int direct_bits;
    il_guess *counts;         /* [IL_CONTEXTS][DEPTHS][LEVELS][LEVELS][3]: that it is 1 */
    il_guess *copies;         /* [IL_COPIES][LENGTHS][8]: that it goes on */
    float *by_copy;           /* [SURENESSES][IL_TREE_DEPTH_MAX][INPUTS] */
    float *by_context;        /* [2][TOPS][IL_TREE_DEPTH_MAX][INPUTS] */
    float *by_node;           /* [NODES][INPUTS] */
    float *last;              /* [TOPS][SURENESSES][4] */
    float *place_corrections; /* [SURENESSES][TOPS][IL_TREE_DEPTH_MAX][CORRECTIONS] */
    float *node_corrections;  /* [NODES][CORRECTIONS] */
    uint64_t *bits_learned;
    look *looks; /* [sequences] */
    /* ---- never changed ---- */
    float *steep;    /* [STEEPS]: ln(p / (1 - p)) */
    float *squashed; /* [SQUASHED]: 1 / (1 + e^-x) for x from -SUM_MAX in steps of 1 / SQUASHED_STEP */
    /* ---- the token under way ---- */
    il_copy_state *reader;
    int32_t next[IL_COPIES]; /* -1: none */
    look *look;
    uint32_t lines[DIRECT]; /* where the counters of the nodes from here on are */
    int longest;            /* context that is known at all, 0: none */
    uint32_t node;
    int at;                        /* depth of the node */
    step steps[IL_TREE_DEPTH_MAX]; /* [depth]: its bits */
};

/* ---- memory ---- */

static void lay_out(il_mix *m, il_arena *arena) {
    size_t from = arena->used, ring = (size_t)1 << m->copier.ring_bits, places = (size_t)1 << m->copier.place_bits;
    m->contexts.table = il_arena_take(arena, (size_t)1 << m->contexts.bits, sizeof(il_context));
    m->copier.ring = il_arena_take(arena, ring, sizeof(int32_t));
    for (int i = 0; i < IL_COPIES; i++) m->copier.places[i] = il_arena_take(arena, places, sizeof(uint32_t));
    m->readers = il_arena_take(arena, (size_t)m->sequences, sizeof(il_copy_state));
    m->direct = il_arena_take(arena, (size_t)1 << m->direct_bits, sizeof(uint32_t));
    m->counts = il_arena_take(arena, COUNTS, sizeof(il_guess));
    m->copies = il_arena_take(arena, COPIES, sizeof(il_guess));
    m->by_copy = il_arena_take(arena, SURENESSES * IL_TREE_DEPTH_MAX * INPUTS, sizeof(float));
    m->by_context = il_arena_take(arena, 2 * TOPS * IL_TREE_DEPTH_MAX * INPUTS, sizeof(float));
    m->by_node = il_arena_take(arena, NODES * INPUTS, sizeof(float));
    m->last = il_arena_take(arena, TOPS * SURENESSES * 4, sizeof(float));
    m->place_corrections = il_arena_take(arena, SURENESSES * TOPS * IL_TREE_DEPTH_MAX * CORRECTIONS, sizeof(float));
    m->node_corrections = il_arena_take(arena, NODES * CORRECTIONS, sizeof(float));
    m->bits_learned = il_arena_take(arena, 1, sizeof *m->bits_learned);
    m->learned_bytes = arena->used - from;
    m->looks = il_arena_take(arena, (size_t)m->sequences, sizeof(look));
    m->steep = il_arena_take(arena, STEEPS, sizeof(float));
    m->squashed = il_arena_take(arena, SQUASHED, sizeof(float));
}

/* What is believed before anything was counted. */
static void begin_guesses(il_mix *m) {
    static const float typical[LEVELS] = {0, 1, 2, 3, 4.5F, 6.5F, 10, 14, 22, 50};
    for (int i = 0; i < COUNTS; i++) {
        float zeros = typical[i / 3 / LEVELS % LEVELS], ones = typical[i / 3 % LEVELS];
        m->counts[i].p = (ones + 0.3F) / (zeros + ones + 0.6F);
    }
    for (int i = 0; i < COPIES; i++) m->copies[i] = (il_guess){1 - 0.5F / (float)(i / 8 % LENGTHS + 2), 2};
    for (size_t i = 0; i < (size_t)1 << m->direct_bits; i++) m->direct[i] = (uint32_t)DIRECT_ONE / 2 << DIRECT_N;
}

/* The model is believed, the contexts a little. */
static void begin_weights(float *weights, size_t sets) {
    for (size_t i = 0; i < sets; i++, weights += INPUTS) {
        weights[0] = 1;
        for (int k = 1; k <= IL_ORDERS; k++) weights[k] = 0.1F;
    }
}

static float squash(float x) { return (float)(1.0 / (1.0 + il_exp_d(-(double)x))); }

static void begin_corrections(float *corrections, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (int j = 0; j < CORRECTIONS; j++) *corrections++ = squash((float)(j - CORRECTIONS / 2) * CORRECTION_STEP);
}

/* The least power of two that is n or more, between 2^least and 2^most. */
static int bits_for(uint64_t n, int least, int most) {
    int bits = least;
    while (bits < most && (uint64_t)1 << bits < n) bits++;
    return bits;
}

static il_mix shape_of(int depth, int sequences, uint64_t bytes) {
    il_mix shape = {.depth = depth, .sequences = sequences};
    uint64_t n = bytes < (uint64_t)1 << 32 ? bytes : (uint64_t)1 << 32;
    shape.contexts.bits = bits_for(n, 12, 21);
    shape.copier.ring_bits = bits_for(n, 13, 22);
    shape.copier.place_bits = bits_for(n, 12, 20);
    shape.copier.sequences = sequences;
    shape.direct_bits = bits_for(4 * n, 16, 22);
    return shape;
}

size_t il_mix_learned_bytes(int depth, int sequences, uint64_t bytes) {
    il_mix shape = shape_of(depth, sequences, bytes);
    il_arena arena = {0};
    lay_out(&shape, &arena);
    return shape.learned_bytes;
}

il_status il_mix_open(const il_allocator *memory, int depth, int sequences, uint64_t bytes, il_mix **mix,
                      il_error *error) {
    il_mix shape = shape_of(depth, sequences, bytes);
    il_arena arena = {0};
    shape.memory = memory;
    *mix = NULL;
    il_arena_take(&arena, 1, sizeof **mix);
    lay_out(&shape, &arena);
    char *block = il_alloc(memory, arena.used, 1);
    if (!block) return il_fail(error, IL_ERR_NOMEM, "no memory for a mix of %zu bytes", arena.used);
    arena = (il_arena){.base = block};
    il_mix *m = il_arena_take(&arena, 1, sizeof *m);
    *m = shape;
    lay_out(m, &arena);
    for (size_t i = 0; i < (size_t)1 << m->copier.ring_bits; i++) m->copier.ring[i] = -1;
    for (int i = 0; i < sequences; i++) m->readers[i].at = (uint64_t)(sequences + i);
    begin_guesses(m);
    begin_weights(m->by_copy, SURENESSES * IL_TREE_DEPTH_MAX);
    begin_weights(m->by_context, 2 * TOPS * IL_TREE_DEPTH_MAX);
    begin_weights(m->by_node, NODES);
    for (int i = 0; i < TOPS * SURENESSES * 4; i++) m->last[i] = i % 4 < SETS ? 1.0F / SETS : 0;
    begin_corrections(m->place_corrections, SURENESSES * TOPS * IL_TREE_DEPTH_MAX);
    begin_corrections(m->node_corrections, NODES);
    for (int i = 0; i < STEEPS; i++) {
        double p = ((double)i + 0.5) / STEEPS;
        m->steep[i] = (float)il_log_d(p / (1 - p));
    }
    for (int i = 0; i < SQUASHED; i++) m->squashed[i] = squash((float)i / SQUASHED_STEP - SUM_MAX);
    *mix = m;
    return IL_OK;
}

void *il_mix_learned(il_mix *m, size_t *bytes) {
    for (int i = 0; i < m->sequences; i++) m->looks[i].at = 0; /* another past may come at the same place */
    *bytes = m->learned_bytes;
    return m->contexts.table;
}

static int all_within(const float *x, size_t n, float least, float most) {
    for (size_t i = 0; i < n; i++)
        if (!(x[i] >= least && x[i] <= most)) return 0;
    return 1;
}

int il_mix_sound(const il_mix *m) {
    const float weight = 1e6F;
    for (int i = 0; i < COUNTS; i++)
        if (!all_within(&m->counts[i].p, 1, 0, 1) || m->counts[i].n > GUESS_MAX) return 0;
    for (int i = 0; i < COPIES; i++)
        if (!all_within(&m->copies[i].p, 1, 0, 1) || m->copies[i].n > GUESS_MAX) return 0;
    for (size_t i = 0; i < (size_t)1 << m->direct_bits; i++)
        if ((m->direct[i] & ((1U << DIRECT_N) - 1)) > GUESS_MAX) return 0;
    return all_within(m->by_copy, SURENESSES * IL_TREE_DEPTH_MAX * INPUTS, -weight, weight) &&
           all_within(m->by_context, 2 * TOPS * IL_TREE_DEPTH_MAX * INPUTS, -weight, weight) &&
           all_within(m->by_node, NODES * INPUTS, -weight, weight) &&
           all_within(m->last, TOPS * SURENESSES * 4, -weight, weight) &&
           all_within(m->place_corrections, SURENESSES * TOPS * IL_TREE_DEPTH_MAX * CORRECTIONS, 0, 1) &&
           all_within(m->node_corrections, NODES * CORRECTIONS, 0, 1);
}

void il_mix_close(il_mix *mix) {
    if (mix) il_free(mix->memory, mix);
}

/* ---- a token ---- */

/* Where the counters of four levels of nodes lie, from this one on: in a line of the cache, which the numbers below
 * their first node fill. */
static uint32_t line_of(const il_mix *m, const look *l, int k, uint32_t node) {
    return il_mix_hash(l->direct_hash[k], node) >> (32 - m->direct_bits) >> LINE_LEVELS << LINE_LEVELS;
}

static void fetch_lines(const il_mix *m, const look *l, uint32_t node) {
    for (int k = 0; k < DIRECT; k++) __builtin_prefetch(&m->direct[line_of(m, l, k, node)], 1);
}

/* Also asks for what the next token of the sequence will need first. */
static void look_ahead(const il_mix *m, int sequence) {
    const il_copy_state *reader = &m->readers[sequence];
    look *l = &m->looks[sequence];
    if (l->at == reader->at) return;
    uint32_t hash = 0;
    l->at = reader->at;
    l->direct_hash[0] = 12345;
    for (int k = 0; k < IL_ORDERS; k++) {
        hash = il_mix_hash(hash, (uint32_t)il_copier_back(&m->copier, reader, k + 1));
        l->hash[k] = hash * 31U + (uint32_t)(k + 1) * 0x3C6EF372U;
        if (k + 1 < DIRECT) l->direct_hash[k + 1] = l->hash[k];
    }
    hash = il_mix_hash(77, (uint32_t)il_copier_back(&m->copier, reader, 2));
    l->hash[IL_ORDERS] = il_mix_hash(hash, (uint32_t)il_copier_back(&m->copier, reader, 3));
    il_contexts_fetch(&m->contexts, l->hash);
    il_copier_runs(&m->copier, reader, l->run);
    fetch_lines(m, l, 1);
}

/* Asks for what the bits on the way to a leaf need: that of the token that is expected. */
static void fetch_way(const il_mix *m, uint32_t leaf) {
    for (int at = LINE_LEVELS; at < m->depth; at += LINE_LEVELS)
        fetch_lines(m, m->look, 1U << at | leaf >> (m->depth - at));
}

void il_mix_begin(il_mix *m, int sequence) {
    m->reader = &m->readers[sequence];
    m->look = &m->looks[sequence];
    look_ahead(m, sequence);
    il_contexts_begin(&m->contexts, m->look->hash);
    m->longest = 0;
    for (int k = 0; k < IL_ORDERS; k++)
        if (m->contexts.all[k]) m->longest = k + 1;
    il_copier_begin(&m->copier, m->reader, m->look->run, m->next);
    m->node = 1;
    m->at = 0;
    if (m->next[0] >= 0 || m->next[1] >= 0)
        fetch_way(m, (uint32_t)m->next[m->next[0] < 0]);
    else if (m->longest)
        fetch_way(m, il_contexts_last(&m->contexts, m->longest - 1));
    if (m->sequences > 1) look_ahead(m, (sequence + 1) % m->sequences);
}

/* ---- a bit ---- */

static float clamp(float x, float most) { return x > most ? most : x < -most ? -most : x; }

static float steep_of(const il_mix *m, float p) {
    int i = (int)(p * STEEPS);
    return m->steep[i < STEEPS ? i : STEEPS - 1];
}

/* Within 1e-5, which is enough to learn by. x in -SUM_MAX .. SUM_MAX. */
static float squash_fast(const il_mix *m, float x) {
    float at = (x + SUM_MAX) * SQUASHED_STEP;
    int i = (int)at;
    float part = at - (float)i;
    return m->squashed[i] * (1 - part) + m->squashed[i + 1] * part;
}

static int level_of(uint32_t count) {
    static const unsigned char level[33] = {0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7, 8,
                                            8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 9};
    return level[count < 32 ? count : 32];
}

static int length_level(uint32_t length) {
    if (length < 16) return (int)length;
    return length < 24 ? 16 : length < 32 ? 17 : length < 64 ? 18 : length < 128 ? 19 : length < 256 ? 20 : 21;
}

/* Returns the longest context that knows the way here. */
static int ask_contexts(il_mix *m, step *t, float *inputs, int shift) {
    int depth = m->at < 4 ? m->at : m->at < 7 ? 4 : 5, top = 0;
    il_counts counts[IL_CONTEXTS];
    il_contexts_counts(&m->contexts, shift, counts);
    for (int k = 0; k < IL_CONTEXTS; k++) {
        il_counts n = counts[k];
        int row = ((k * DEPTHS + depth) * LEVELS + level_of(n.zeros)) * LEVELS + level_of(n.ones);
        t->count[k] = n.zeros || n.ones ? &m->counts[3 * row + n.last] : NULL;
    }
    for (int k = 0; k < IL_CONTEXTS; k++) {
        if (!t->count[k]) continue;
        inputs[k] = steep_of(m, t->count[k]->p);
        if (k < IL_ORDERS) top = k + 1;
    }
    return top;
}

/* Returns how far the copy that is trusted can be. */
static int ask_copies(il_mix *m, step *t, float *inputs, int shift) {
    int depth = m->at > 3 ? 3 : m->at, sureness = 0;
    for (int i = 0; i < IL_COPIES; i++) {
        t->copy[i] = NULL;
        if (m->next[i] < 0) continue;
        const il_copy *copy = &m->reader->copies[i];
        t->copy[i] = &m->copies[(i * LENGTHS + length_level(copy->length)) * 8 + (copy->misses ? 4 : 0) + depth];
        float steep = steep_of(m, t->copy[i]->p);
        t->foretold[i] = m->next[i] >> shift & 1;
        inputs[i] = t->foretold[i] ? steep : -steep;
        if (!sureness) sureness = 1 + (copy->length > 15) + (copy->length > 31) + (copy->length > 100);
    }
    return sureness;
}

static void find_lines(il_mix *m) {
    for (int k = 0; k < DIRECT; k++) m->lines[k] = line_of(m, m->look, k, m->node);
}

static void ask_directs(il_mix *m, step *t, float *inputs) {
    int below = m->at % LINE_LEVELS;
    uint32_t within = 1U << below | (m->node & ((1U << below) - 1));
    for (int k = 0; k < DIRECT; k++) {
        t->directs[k] = &m->direct[m->lines[k] + within];
        uint32_t word = *t->directs[k], n = word & ((1U << DIRECT_N) - 1);
        float steep = m->steep[word >> 20];
        inputs[k] = n < 4 ? 0.25F * (float)n * steep : steep;
    }
}

static float dot(const float *a, const float *b) {
    const vector4 *x = (const vector4 *)a, *y = (const vector4 *)b;
    vector4 sum = x[0] * y[0];
    for (int i = 1; i < INPUTS / 4; i++) sum += x[i] * y[i];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* p, a quarter each of it replaced by what came where p was the same. */
static float correct(step *t, float *place, float *node) {
    float at = t->sum / CORRECTION_STEP + (float)(CORRECTIONS / 2), last = (float)(CORRECTIONS - 1) - 0.001F;
    at = at < 0 ? 0 : at > last ? last : at;
    int i = (int)at;
    t->part = at - (float)i;
    t->correction[0] = place + i;
    t->correction[1] = node + i;
    if (!(t->sum > -12 && t->sum < 12)) return t->result; /* beyond the table */
    float corrected = 0.5F * t->result;
    for (int k = 0; k < 2; k++)
        corrected += 0.25F * (t->correction[k][0] * (1 - t->part) + t->correction[k][1] * t->part);
    return corrected;
}

uint32_t il_mix_bit(il_mix *m, il_odds model) {
    step *t = &m->steps[m->at];
    int shift = m->depth - 1 - m->at;
    if (m->at % LINE_LEVELS == 0) find_lines(m);
    t->asked = model.ones != 0;
    if (!t->asked) return 0;
    float *in = t->inputs;
    for (int i = 0; i < INPUTS; i++) in[i] = 0;
    in[0] = clamp((float)il_log_d((double)model.ones / (double)model.zeros), STEEP_MAX);
    int top = ask_contexts(m, t, in + 1, shift), sureness = ask_copies(m, t, in + 1 + IL_CONTEXTS, shift);
    ask_directs(m, t, in + 1 + IL_CONTEXTS + IL_COPIES);
    in[1 + IL_CONTEXTS + IL_COPIES + DIRECT] = CONSTANT;

    size_t node = (m->node ^ m->node >> 12) % NODES, deep = (size_t)m->at;
    t->sets[0] = m->by_copy + ((size_t)sureness * IL_TREE_DEPTH_MAX + deep) * INPUTS;
    t->sets[1] =
        m->by_context + (((size_t)(m->longest == top) * TOPS + (size_t)top) * IL_TREE_DEPTH_MAX + deep) * INPUTS;
    t->sets[2] = m->by_node + node * INPUTS;
    t->weigh = m->last + ((size_t)top * SURENESSES + (size_t)sureness) * 4;
    t->sum = 0;
    for (int i = 0; i < SETS; i++) {
        t->sums[i] = clamp(dot(t->sets[i], in), SUM_MAX);
        t->guesses[i] = squash_fast(m, t->sums[i]);
        t->sum += t->weigh[i] * t->sums[i];
    }
    t->sum = clamp(t->sum, SUM_MAX);
    t->result = squash(t->sum);
    size_t place = ((size_t)sureness * TOPS + (size_t)top) * IL_TREE_DEPTH_MAX + deep;
    float p = correct(t, m->place_corrections + place * CORRECTIONS, m->node_corrections + node * CORRECTIONS);
    uint32_t one = 1U << IL_MIX_BITS, result = (uint32_t)(p * (float)one);
    return result < 1 ? 1 : result > one - 1 ? one - 1 : result;
}

static void count(il_guess *guess, int happened) {
    guess->p += ((float)happened - guess->p) / ((float)guess->n + 1.5F);
    if (guess->n < GUESS_MAX) guess->n++;
}

static void count_direct(uint32_t *word, int bit) {
    int32_t n = (int32_t)(*word & ((1U << DIRECT_N) - 1)), p = (int32_t)(*word >> DIRECT_N);
    p += 2 * ((bit ? DIRECT_ONE - 1 : 0) - p) / (2 * n + 3);
    *word = (uint32_t)p << DIRECT_N | (uint32_t)(n < GUESS_MAX ? n + 1 : n);
}

/* The regressions go down the gradient of what the bit cost. */
static void learn_weights(il_mix *m, step *t) {
    float bit = (float)t->bit;
    float rate = 0.004F + 0.02F / (1 + (float)*m->bits_learned / 3000.0F);
    float error = 0.002F * (bit - t->result);
    for (int i = 0; i < SETS; i++) t->weigh[i] += error * t->sums[i];
    for (int i = 0; i < SETS; i++) {
        float by = rate * (bit - t->guesses[i]);
        vector4 *weights = (vector4 *)t->sets[i];
        const vector4 *inputs = (const vector4 *)t->inputs;
        for (int j = 0; j < INPUTS / 4; j++) weights[j] += by * inputs[j];
    }
}

static void learn(il_mix *m, step *t) {
    float bit = (float)t->bit;
    learn_weights(m, t);
    for (int k = 0; k < 2; k++) {
        float *c = t->correction[k];
        c[0] += 0.02F * (bit - c[0]) * (1 - t->part);
        c[1] += 0.02F * (bit - c[1]) * t->part;
    }
    for (int k = 0; k < IL_CONTEXTS; k++)
        if (t->count[k]) count(t->count[k], t->bit);
    for (int i = 0; i < IL_COPIES; i++)
        if (t->copy[i]) count(t->copy[i], t->foretold[i] == t->bit);
    for (int k = 0; k < DIRECT; k++) count_direct(t->directs[k], t->bit);
    ++*m->bits_learned;
}

void il_mix_go_on(il_mix *m, int bit) {
    int shift = m->depth - 1 - m->at;
    m->steps[m->at].bit = bit;
    il_contexts_go_on(&m->contexts, shift, bit);
    for (int i = 0; i < IL_COPIES; i++)
        if (m->next[i] >= 0 && (m->next[i] >> shift & 1) != bit) m->next[i] = -1;
    m->node = 2 * m->node + (uint32_t)bit;
    m->at++;
}

void il_mix_end(il_mix *m, uint32_t leaf) {
    for (int d = 0; d < m->depth; d++)
        if (m->steps[d].asked) learn(m, &m->steps[d]);
    il_contexts_end(&m->contexts, leaf);
    il_copier_end(&m->copier, m->reader, (int32_t)leaf);
}

/* ---- all tokens ---- */

/* The leaves below the node, of which there is at least one; so_far: ln p of the node. */
static void visit(il_mix *m, const uint32_t *sums, double so_far, float *log_p) {
    if (m->at == m->depth) {
        log_p[m->node - (1U << m->depth)] = (float)so_far;
        return;
    }
    uint32_t ones = il_mix_bit(m, (il_odds){sums[2 * (size_t)m->node], sums[2 * (size_t)m->node + 1]});
    double one = 1U << IL_MIX_BITS;
    il_contexts contexts = m->contexts;
    int32_t next[IL_COPIES];
    uint32_t lines[DIRECT], node = m->node;
    int at = m->at;
    memcpy(next, m->next, sizeof next);
    memcpy(lines, m->lines, sizeof lines);
    for (int bit = 0; bit <= (ones > 0); bit++) {
        il_mix_go_on(m, bit);
        visit(m, sums, ones ? so_far + il_log_d((bit ? ones : one - ones) / one) : so_far, log_p);
        m->contexts = contexts;
        m->node = node;
        m->at = at;
        memcpy(m->next, next, sizeof next);
        memcpy(m->lines, lines, sizeof lines);
    }
}

void il_mix_all(il_mix *m, int sequence, const uint32_t *sums, float *log_p) {
    il_mix_begin(m, sequence);
    visit(m, sums, 0, log_p);
}
