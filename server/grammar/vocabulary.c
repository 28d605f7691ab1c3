/* vocabulary.c: see vocabulary.h. */
#include "grammar/vocabulary.h"

#include <stdlib.h>
#include <string.h>

enum {
    TOKEN_BYTES_MAX = 255, /* longer ones are not taken */
    WORK_MAX = 1 << 20     /* of a set: after so much of it only tokens of one byte are looked at */
};

static void insert(uint64_t *set, int32_t token) { set[token / 64] |= UINT64_C(1) << token % 64; }

/* The characters of a token that means nothing but itself inside a string; 0: it does not, or has too many. */
static size_t plain_characters(const char *bytes, size_t n) {
    size_t count = 0;
    for (size_t at = 0; at < n; count++) {
        unsigned char c = (unsigned char)bytes[at];
        size_t length = c < 0x20 || c == '"' || c == '\\' ? 0 : text_character(bytes + at, n - at);
        if (!length) return 0;
        at += length;
    }
    return count <= VOCABULARY_PLAIN_MAX ? count : 0;
}

/* ---- opening ---- */

typedef struct sorted {
    const char *bytes;
    size_t n;
    int32_t token;
} sorted;

static int compare(const void *a, const void *b) {
    const sorted *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->n < y->n ? x->n : y->n);
    if (!order) order = (x->n > y->n) - (x->n < y->n);
    return order ? order : (x->token > y->token) - (x->token < y->token);
}

/* tokens [n] in their order. */
static int fill_list(vocabulary_list *list, const sorted *tokens, size_t n) {
    list->tokens = malloc((n + 1) * sizeof *list->tokens);
    list->shared = malloc((n + 1) * sizeof *list->shared);
    if (!list->tokens || !list->shared) return 0;
    list->n = n;
    for (size_t i = 0, c = 0; i <= n; i++) {
        size_t first = i < n ? (unsigned char)tokens[i].bytes[0] : 256, shared = 0;
        while (c <= first) list->part[c++] = i;
        if (i == n) break;
        list->tokens[i] = tokens[i].token;
        while (i && shared < tokens[i - 1].n && shared < tokens[i].n &&
               tokens[i - 1].bytes[shared] == tokens[i].bytes[shared])
            shared++;
        list->shared[i] = (uint16_t)shared;
    }
    return 1;
}

static int read_bytes(vocabulary *v, const names *words) {
    il_tokenizer_info info;
    text bytes = {0};
    char *scratch = malloc(words->piece_bytes_max);
    il_tokenizer_get_info(words->tokenizer, &info);
    v->begin = malloc((v->n + 1) * sizeof *v->begin);
    for (size_t i = 0; scratch && v->begin && i < v->n; i++) {
        v->begin[i] = bytes.bytes;
        size_t n = (int)i == info.unk ? 0 : names_bytes(words, (int32_t)i, scratch);
        if (n <= TOKEN_BYTES_MAX) text_add(&bytes, scratch, n);
    }
    free(scratch);
    if (!scratch || !v->begin || bytes.failed) {
        text_free(&bytes);
        return 0;
    }
    v->begin[v->n] = bytes.bytes;
    v->bytes = bytes.data;
    return 1;
}

int vocabulary_open(vocabulary *v, const names *words) {
    *v = (vocabulary){.n = (size_t)words->vocab_size, .words = ((size_t)words->vocab_size + 63) / 64};
    sorted *all = malloc(v->n * sizeof *all);
    int done = all && read_bytes(v, words);
    for (size_t i = 0; i <= VOCABULARY_PLAIN_MAX; i++)
        done = (v->plain[i] = calloc(v->words, sizeof **v->plain)) && done;
    size_t n = 0, n_odd = 0;
    for (size_t i = 0; done && i < v->n; i++) {
        size_t bytes = v->begin[i + 1] - v->begin[i], characters = plain_characters(v->bytes + v->begin[i], bytes);
        if (bytes) all[n++] = (sorted){v->bytes + v->begin[i], bytes, (int32_t)i};
        for (size_t k = characters; characters && k <= VOCABULARY_PLAIN_MAX; k++) insert(v->plain[k], (int32_t)i);
    }
    if (done) qsort(all, n, sizeof *all, compare);
    done = done && fill_list(&v->all, all, n);
    for (size_t i = 0; done && i < n; i++)
        if (!plain_characters(all[i].bytes, all[i].n)) all[n_odd++] = all[i];
    done = done && fill_list(&v->odd, all, n_odd);
    free(all);
    if (!done) vocabulary_close(v);
    return done;
}

void vocabulary_close(vocabulary *v) {
    free(v->bytes);
    free(v->begin);
    free(v->all.tokens);
    free(v->all.shared);
    free(v->odd.tokens);
    free(v->odd.shared);
    for (size_t i = 0; i <= VOCABULARY_PLAIN_MAX; i++) free(v->plain[i]);
    *v = (vocabulary){0};
}

size_t vocabulary_spell(const vocabulary *v, const char *bytes, size_t n, int32_t *tokens) {
    const vocabulary_list *list = &v->all;
    size_t found = 0;
    for (size_t at = 0, most; at < n; at += most) {
        size_t first = (unsigned char)bytes[at];
        most = 0;
        for (size_t i = list->part[first]; i < list->part[first + 1]; i++) {
            size_t begin = v->begin[list->tokens[i]], length = v->begin[list->tokens[i] + 1] - begin;
            if (length <= most || length > n - at || memcmp(v->bytes + begin, bytes + at, length)) continue;
            most = length;
            tokens[found] = list->tokens[i];
        }
        if (!most) return 0;
        found++;
    }
    return found;
}

/* ---- which tokens go on ---- */

/* Tokens [from, to) of the list, which begin alike; those of one byte come first. until: work that may be done for the
 * others. 0: there was no room for another state. */
static int walk(const vocabulary *v, const vocabulary_list *list, size_t from, size_t to, automaton *a, uint64_t until,
                uint64_t *set) {
    int states[TOKEN_BYTES_MAX + 1];
    size_t reached = 0; /* bytes of the token before that were taken; states [reached + 1] */
    states[0] = automaton_current(a);
    for (size_t i = from; i < to; i++) {
        int32_t token = list->tokens[i];
        const char *bytes = v->bytes + v->begin[token];
        size_t n = v->begin[token + 1] - v->begin[token], shared = i > from ? list->shared[i] : 0;
        if (shared > reached) continue; /* it begins with what was not taken */
        if (n > 1 && automaton_work(a) > until) return 1;
        for (reached = shared; reached < n; reached++) {
            int next = automaton_next(a, states[reached], (unsigned char)bytes[reached]);
            if (next == AUTOMATON_FULL) return 0;
            if (next < 0) break;
            states[reached + 1] = next;
        }
        if (reached == n) insert(set, token);
    }
    return 1;
}

int vocabulary_fill(const vocabulary *v, automaton *a, uint64_t *set) {
    int only;
    const uint64_t until = automaton_work(a) + WORK_MAX;
    size_t room = automaton_room(a, automaton_current(a), &only);
    if (room > VOCABULARY_PLAIN_MAX) room = VOCABULARY_PLAIN_MAX;
    memcpy(set, v->plain[room], v->words * sizeof *set);
    const vocabulary_list *list = only ? &v->odd : &v->all;
    for (size_t c = 0; c < 256; c++) {
        size_t from = list->part[c], to = list->part[c + 1];
        if (from == to) continue;
        int next = automaton_next(a, automaton_current(a), (unsigned char)c);
        if (next == AUTOMATON_DEAD) continue;
        if (next >= 0 && walk(v, list, from, to, a, until, set)) continue;
        /* Once more with all the room there is. What does not find room then is not taken. */
        if (!automaton_clear(a)) return 0;
        walk(v, list, from, to, a, until, set);
    }
    return 1;
}
