/* tokenizer.h: what the rest of the library may know of a tokenizer beside the public calls. */
#ifndef IL_TEXT_TOKENIZER_H
#define IL_TEXT_TOKENIZER_H

#include "innerloop.h"

enum { IL_BYTES_BOS = 256, IL_BYTES_EOS = 257, IL_BYTES_VOCAB = 258 };

/* 32 hex digits and a NUL: equal for tokenizers that encode everything alike. */
void il_tokenizer_fingerprint(const il_tokenizer *tokenizer, char hex[33]);

/* Makes room for `more` further ids. 0 when memory is short. */
int il_tokens_reserve(const il_allocator *allocator, il_tokens *tokens, size_t more);

#endif
