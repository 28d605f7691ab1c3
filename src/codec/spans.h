/* spans.h: any bytes as spans of two kinds: tokens, which the tokenizer turns back into the very
 * bytes, and raw bytes, for what it does not give back. Knows nothing of models or codes. */
#ifndef IL_CODEC_SPANS_H
#define IL_CODEC_SPANS_H

#include "base/memory.h"

typedef struct il_span {
    int raw;
    size_t bytes;
    size_t tokens; /* 0 when raw; else 1 .. bytes + 1 */
} il_span;

typedef struct il_spans {
    il_span *spans; /* [n]; they cover the text, in order */
    size_t n, capacity;
    il_tokens tokens; /* of all spans; what it held before stays in front */
} il_spans;

/* Zero-initialised before, il_spans_free after, also after a failure. A tokenizer that loses nothing
 * gives one span; every span is encoded as a text of its own. Time and memory are linear in bytes. */
il_status il_spans_make(const il_allocator *memory, const il_tokenizer *tokenizer, const char *text, size_t bytes,
                        il_spans *spans, il_error *error);
void il_spans_free(const il_allocator *memory, il_spans *spans);

#endif
