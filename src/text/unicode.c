/* unicode.c: see unicode.h. NFC goes over a text once: what lies between two characters that nothing can change is
 * taken as it is, the rest is decomposed, its marks are sorted, and it is composed again. */
#include "text/unicode.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "text/unicode_tables.h"

#include <string.h>

enum {
    HANGUL = 0xAC00, /* syllables are LEADS * VOWELS * TAILS, in this order; the first tail is none */
    LEAD = 0x1100,
    VOWEL = 0x1161,
    TAIL = 0x11A7,
    LEADS = 19,
    VOWELS = 21,
    TAILS = 28,
    HANGULS = LEADS * VOWELS * TAILS,
    FEW = 32 /* so many marks are sorted by insertion */
};

/* The low byte of the last entry, start << 8 | value, whose start is not above code. */
static unsigned run_value(const uint32_t *runs, int n, uint32_t code) {
    int low = 0;
    while (n > 1) {
        int half = n / 2;
        if (runs[low + half] >> 8 <= code) low += half;
        n -= half;
    }
    return runs[low] & 255;
}

unsigned il_unicode_class(uint32_t code) { return run_value(il_unicode_classes, IL_UNICODE_CLASSES, code); }

unsigned il_unicode_next(const char *text, size_t bytes, size_t *length) {
    static const unsigned char ascii[128] = {['\t'] = IL_SPACE,
                                             ['\n'] = IL_SPACE,
                                             ['\v'] = IL_SPACE,
                                             ['\f'] = IL_SPACE,
                                             ['\r'] = IL_SPACE,
                                             [' '] = IL_SPACE,
                                             ['0' ... '9'] = IL_NUMBER | IL_NUMERIC | IL_WORD,
                                             ['A' ... 'Z'] = IL_LETTER | IL_WORD,
                                             ['a' ... 'z'] = IL_LETTER | IL_WORD,
                                             ['_'] = IL_WORD};
    unsigned char c = (unsigned char)text[0];
    *length = 1;
    if (c < 128) return ascii[c];
    int n = il_utf8_length(text, bytes);
    if (n == 0) return 0;
    *length = (size_t)n;
    return il_unicode_class(il_utf8_decode(text, n));
}

unsigned il_unicode_last(const char *text, size_t bytes, size_t *length) {
    for (size_t n = 1; n <= 4 && n <= bytes; n++)
        if ((size_t)il_utf8_length(text + bytes - n, n) == n) return il_unicode_next(text + bytes - n, n, length);
    *length = 1;
    return 0;
}

int il_text_append(const il_allocator *memory, il_text_buffer *b, const char *text, size_t bytes) {
    void *block = b->text;
    int grown = il_grow(memory, &block, &b->capacity, b->bytes, b->bytes + bytes, 1);
    b->text = block;
    if (!grown) return 0;
    if (bytes) memcpy(b->text + b->bytes, text, bytes);
    b->bytes += bytes;
    return 1;
}

/* ---- NFC ---- */

/* A character and its combining class. */
typedef struct point {
    uint32_t code : 24, class : 8;
} point;

typedef struct points {
    const il_allocator *memory;
    point *at; /* [n] */
    size_t n, capacity;
} points;

static int push(points *p, uint32_t code) {
    void *block = p->at;
    int grown = il_grow(p->memory, &block, &p->capacity, p->n, p->n + 1, sizeof *p->at);
    p->at = block;
    if (!grown) return 0;
    unsigned class = run_value(il_unicode_combining, IL_UNICODE_COMBINING, code);
    p->at[p->n++] = (point){code & 0xFFFFFF, class & 255};
    return 1;
}

/* The entry of a table [n][width], ascending by its first column. */
static const uint32_t *find(const uint32_t *table, int n, int width, uint32_t code) {
    int low = 0;
    while (n > 1) {
        int half = n / 2;
        if (table[(low + half) * width] <= code) low += half;
        n -= half;
    }
    return table[low * width] == code ? table + low * width : NULL;
}

static int decompose(points *p, uint32_t code) {
    if (code >= HANGUL && code < HANGUL + HANGULS) {
        uint32_t s = code - HANGUL, tail = s % TAILS;
        return push(p, LEAD + s / (VOWELS * TAILS)) && push(p, VOWEL + s / TAILS % VOWELS) &&
               (tail == 0 || push(p, TAIL + tail));
    }
    const uint32_t *pair = find(il_unicode_pairs[0], IL_UNICODE_PAIRS, 3, code);
    if (pair) return decompose(p, pair[1]) && decompose(p, pair[2]);
    const uint32_t *other = find(il_unicode_singles[0], IL_UNICODE_SINGLES, 2, code);
    return other ? decompose(p, other[1]) : push(p, code);
}

/* Sorts the marks [n] by class, those of one class in their order. */
static int sort_marks(const il_allocator *memory, point *marks, size_t n) {
    if (n <= FEW) {
        for (size_t i = 1; i < n; i++) {
            point mark = marks[i];
            size_t to = i;
            for (; to > 0 && marks[to - 1].class > mark.class; to--) marks[to] = marks[to - 1];
            marks[to] = mark;
        }
        return 1;
    }
    size_t before[257] = {0};
    point *sorted = il_alloc_raw(memory, n, sizeof *sorted);
    if (!sorted) return 0;
    for (size_t i = 0; i < n; i++) before[marks[i].class + 1]++;
    for (int i = 1; i < 257; i++) before[i] += before[i - 1];
    for (size_t i = 0; i < n; i++) sorted[before[marks[i].class]++] = marks[i];
    memcpy(marks, sorted, n * sizeof *marks);
    il_free(memory, sorted);
    return 1;
}

static int sort_all(points *p) {
    for (size_t i = 0, end; i < p->n; i = end + 1) {
        for (end = i; end < p->n && p->at[end].class; end++) continue;
        if (!sort_marks(p->memory, p->at + i, end - i)) return 0;
    }
    return 1;
}

/* What two characters compose to, 0: nothing. */
static uint32_t composed(uint32_t a, uint32_t b) {
    if (a >= LEAD && a < LEAD + LEADS && b >= VOWEL && b < VOWEL + VOWELS)
        return HANGUL + ((a - LEAD) * VOWELS + b - VOWEL) * TAILS;
    if (a >= HANGUL && a < HANGUL + HANGULS && (a - HANGUL) % TAILS == 0 && b > TAIL && b < TAIL + TAILS)
        return a + b - TAIL;
    int low = 0, n = IL_UNICODE_COMPOSED;
    while (n > 1) { /* il_unicode_composed is ascending by the pair */
        int half = n / 2;
        const uint32_t *pair = il_unicode_pairs[il_unicode_composed[low + half]];
        if (pair[1] < a || (pair[1] == a && pair[2] <= b)) low += half;
        n -= half;
    }
    const uint32_t *pair = il_unicode_pairs[il_unicode_composed[low]];
    return pair[1] == a && pair[2] == b ? pair[0] : 0;
}

static void compose(points *p) {
    size_t n = 0, starter = SIZE_MAX;
    unsigned last = 0;
    for (size_t i = 0; i < p->n; i++) {
        point c = p->at[i];
        if (starter != SIZE_MAX && (n == starter + 1 || last < c.class)) {
            uint32_t both = composed(p->at[starter].code, c.code);
            if (both) {
                p->at[starter].code = both & 0xFFFFFF;
                continue;
            }
        }
        if (c.class == 0) starter = n;
        last = c.class;
        p->at[n++] = c;
    }
    p->n = n;
}

/* Text that has something unstable in it. */
static int normalize(points *p, const char *text, size_t bytes, il_text_buffer *out) {
    p->n = 0;
    for (size_t at = 0; at < bytes;) {
        int length = il_utf8_length(text + at, bytes - at);
        if (!decompose(p, il_utf8_decode(text + at, length))) return 0;
        at += (size_t)length;
    }
    if (!sort_all(p)) return 0;
    compose(p);
    for (size_t i = 0; i < p->n; i++) {
        char character[4];
        if (!il_text_append(p->memory, out, character, il_utf8_encode(p->at[i].code, character))) return 0;
    }
    return 1;
}

/* From `at` on the stretch that NFC may change, [*begins, *ends): unstable characters and the one before them. */
static int next_unstable(const char *text, size_t bytes, size_t at, size_t *begins, size_t *ends) {
    size_t before = at, length; /* where the last stable character begins; a broken byte is none */
    for (; at < bytes; at += length) {
        unsigned char c = (unsigned char)text[at];
        if (c < 0x80) {
            before = at;
            length = 1;
            continue;
        }
        if (il_unicode_next(text + at, bytes - at, &length) & IL_UNSTABLE) break;
        before = length == 1 ? at + 1 : at;
    }
    if (at == bytes) return 0;
    *begins = before;
    for (; at < bytes; at += length)
        if (!(il_unicode_next(text + at, bytes - at, &length) & IL_UNSTABLE)) break;
    *ends = at;
    return 1;
}

int il_nfc_is(const char *text, size_t bytes) {
    size_t begins, ends;
    return !next_unstable(text, bytes, 0, &begins, &ends);
}

int il_nfc(const il_allocator *memory, const char *text, size_t bytes, il_text_buffer *out) {
    points p = {.memory = memory};
    size_t at = 0, begins, ends;
    int done = 1;
    while (done && next_unstable(text, bytes, at, &begins, &ends)) {
        done = il_text_append(memory, out, text + at, begins - at) && normalize(&p, text + begins, ends - begins, out);
        at = ends;
    }
    if (done) done = il_text_append(memory, out, text + at, bytes - at);
    il_free(memory, p.at);
    return done;
}
