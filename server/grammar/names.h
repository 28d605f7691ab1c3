/* names.h: tokens as strings of JSON: their text, and words for those that have none. */
#ifndef SERVER_NAMES_H
#define SERVER_NAMES_H

#include "common/text.h"
#include "innerloop.h"

typedef struct vocabulary vocabulary; /* vocabulary.h */

typedef struct names {
    const il_tokenizer *tokenizer;
    int vocab_size;           /* the tokenizer's */
    int bos, eos;             /* -1: none */
    il_generation generation; /* which tokens end a text */
    size_t piece_bytes_max;
    const vocabulary *vocabulary; /* of the server; for answers of a form */
} names;

void names_open(names *n, const il_tokenizer *tokenizer, const il_config *config, const il_generation *generation);
/* The bytes of a token's text into scratch [piece_bytes_max]; returns how many, 0 where it has none. */
size_t names_bytes(const names *n, int32_t token, char *scratch);
/* Adds the name of a token: its text, `bytes:\xe2\x80` where that is not UTF-8, of a control token its own name
 * (`<|im_end|>`), `token_id:7` where it has none. scratch [piece_bytes_max]. */
void names_token(const names *n, int32_t token, char *scratch, text *t);

#endif
