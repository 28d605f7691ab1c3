/* tokenizer.h: what the rest of the library may know of a tokenizer beside the public calls. */
#ifndef IL_TEXT_TOKENIZER_H
#define IL_TEXT_TOKENIZER_H

#include "innerloop.h"

enum { IL_BYTES_BOS = 256, IL_BYTES_EOS = 257, IL_BYTES_VOCAB = 258 };

const il_allocator *il_tokenizer_memory(const il_tokenizer *tokenizer);
/* *id: the one token that is written so, special or not; -1: none, and in all kinds but bpe. */
il_status il_tokenizer_special(const il_tokenizer *tokenizer, const char *content, size_t bytes, int *id,
                               il_error *error);
/* 32 hex digits and a NUL: equal for tokenizers that encode everything alike. */
void il_tokenizer_fingerprint(const il_tokenizer *tokenizer, char hex[33]);

/* A text that comes in parts, to the tokens il_tokenizer_encode makes of it whole. Zeroed but for the tokenizer at
 * first; it holds about 1 MiB of text, or all of it where a tokenizer rewrites text or finds no place to cut it. After
 * a failure only il_encoding_free may follow. */
typedef struct il_encoding {
    const il_tokenizer *tokenizer;
    char *held;                /* [n] not encoded yet */
    size_t n, capacity, least; /* least: so many may be held before they are looked at again */
    int begun;
} il_encoding;
il_status il_encoding_add(il_encoding *encoding, const char *text, size_t bytes, il_tokens *tokens, il_error *error);
/* The rest of the text; another one may follow. */
il_status il_encoding_end(il_encoding *encoding, il_tokens *tokens, il_error *error);
void il_encoding_free(il_encoding *encoding);

/* A long text in spans that can be encoded beside each other: how many bytes at the beginning of a text that may go
 * on are one; 0: more are needed to tell, or there is no place to cut. */
size_t il_tokenizer_cut(const il_tokenizer *tokenizer, const char *text, size_t bytes);
/* Appends the tokens of such a span, or of the rest of a text. begins: 1 for the first of a text. The tokens of all
 * spans are those of il_tokenizer_encode for the text. */
il_status il_tokenizer_encode_span(const il_tokenizer *tokenizer, const char *text, size_t bytes, int begins,
                                   il_tokens *tokens, il_error *error);

/* Makes room for `more` further ids. 0 when memory is short. */
int il_tokens_reserve(const il_allocator *allocator, il_tokens *tokens, size_t more);

#endif
