/* added_tokens.c: see added_tokens.h. The contents are sorted, and each byte of a text leaves fewer of them. */
#include "text/added_tokens.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

int il_added_add(const il_allocator *memory, il_added *a, const char *content, size_t bytes, il_added_token token) {
    void *block = a->tokens;
    int grown = il_grow(memory, &block, &a->capacity, a->n, a->n + 1, sizeof *a->tokens);
    a->tokens = block;
    token.at = (uint32_t)a->contents.bytes;
    token.bytes = (uint32_t)bytes;
    if (!grown || !il_text_append(memory, &a->contents, content, bytes)) return 0;
    a->tokens[a->n++] = token;
    a->first[(unsigned char)content[0]] = 1;
    if (bytes > a->longest) a->longest = bytes;
    return 1;
}

static int compare(const void *x, const void *y, void *contents) {
    const il_added_token *a = x, *b = y;
    const char *text = contents;
    int order = memcmp(text + a->at, text + b->at, a->bytes < b->bytes ? a->bytes : b->bytes);
    return order ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
}

int il_added_sort(il_added *a) {
    if (a->n) qsort_r(a->tokens, a->n, sizeof *a->tokens, compare, a->contents.text);
    for (size_t i = 1; i < a->n; i++)
        if (compare(&a->tokens[i - 1], &a->tokens[i], a->contents.text) == 0) return 0;
    return 1;
}

/* The first of tokens [from, to), which agree before byte i and are longer, whose byte i is at least c. */
static size_t first_of(const il_added *a, size_t from, size_t to, size_t i, int c) {
    while (from < to) {
        size_t half = from + (to - from) / 2;
        if ((unsigned char)a->contents.text[a->tokens[half].at + i] < c)
            from = half + 1;
        else
            to = half;
    }
    return from;
}

const il_added_token *il_added_match(const il_added *a, const char *text, size_t bytes) {
    const il_added_token *best = NULL;
    size_t from = 0, to = a->n;
    for (size_t i = 0; i < bytes && from < to; i++) {
        int c = (unsigned char)text[i];
        if (i == 0 && !a->first[c]) return NULL;
        from = first_of(a, from, to, i, c);
        to = first_of(a, from, to, i, c + 1);
        if (from < to && a->tokens[from].bytes == i + 1) best = &a->tokens[from++];
    }
    return best;
}

size_t il_added_spaces_before(const char *text, size_t bytes) {
    size_t left = bytes, length;
    while (left && il_unicode_last(text, left, &length) & IL_SPACE) left -= length;
    return bytes - left;
}

size_t il_added_spaces_behind(const char *text, size_t bytes) {
    size_t at = 0, length;
    while (at < bytes && il_unicode_next(text + at, bytes - at, &length) & IL_SPACE) at += length;
    return at;
}

void il_added_free(const il_allocator *memory, il_added *a) {
    il_free(memory, a->contents.text);
    il_free(memory, a->tokens);
    *a = (il_added){0};
}
