/* stretches.h: any bytes as stretches of two kinds: tokens, which the tokenizer turns back into the very
 * bytes, and raw bytes, for what it does not give back. Knows nothing of models or codes. */
#ifndef IL_SESSION_STRETCHES_H
#define IL_SESSION_STRETCHES_H

#include "base/memory.h"

typedef struct il_span {
    int raw;
    size_t bytes;
    size_t tokens; /* 0 when raw; else 1 .. bytes + 1 */
} il_span;

typedef struct il_stretches {
    il_span *spans; /* [n]; they cover the text, in order */
    size_t n, capacity;
    il_tokens tokens; /* of all spans; what it held before stays in front */
} il_stretches;

/* Zero-initialised before, il_stretches_free after, also after a failure. A tokenizer that loses nothing
 * gives one span; every span is encoded as a text of its own. Time and memory are linear in bytes. */
il_status il_stretches_make(const il_allocator *memory, const il_tokenizer *tokenizer, const char *text, size_t bytes,
                            il_stretches *stretches, il_error *error);
void il_stretches_free(const il_allocator *memory, il_stretches *stretches);

#endif
