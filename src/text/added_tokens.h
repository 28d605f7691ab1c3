/* added_tokens.h: tokens that are found in a text by their very content, before anything else is done to it. */
#ifndef IL_TEXT_ADDED_TOKENS_H
#define IL_TEXT_ADDED_TOKENS_H

#include "innerloop.h"
#include "text/unicode.h"

enum { IL_ADDED_BYTES_MAX = 1024 }; /* of a token's content: what one place in a text may cost */

typedef struct il_added_token {
    uint32_t at, bytes; /* its content in il_added.contents */
    int id;
    unsigned char special, lstrip, rstrip, single_word;
} il_added_token;

typedef struct il_added {
    il_text_buffer contents;
    il_added_token *tokens; /* [n], sorted by content */
    size_t n, capacity, longest;
    unsigned char first[256]; /* 1: a content begins so */
} il_added;

/* Adds a token of 1 .. IL_ADDED_BYTES_MAX bytes; 0 when memory is short. */
int il_added_add(const il_allocator *memory, il_added *added, const char *content, size_t bytes, il_added_token token);
/* To be called behind the last one; 0 when two have the same content. */
int il_added_sort(il_added *added);
/* The longest that stands at text [bytes]; NULL: none. */
const il_added_token *il_added_match(const il_added *added, const char *text, size_t bytes);
/* How many bytes of white space end or begin a text. */
size_t il_added_spaces_before(const char *text, size_t bytes);
size_t il_added_spaces_behind(const char *text, size_t bytes);
void il_added_free(const il_allocator *memory, il_added *added);

#endif
