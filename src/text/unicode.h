/* unicode.h: what tokenizers ask of a character, and NFC. The tables are those of Hugging Face's tokenizers, which
 * every tokenizer.json was written for: classes of Unicode 16.0, and an older normalization (unicode_tables.h). */
#ifndef IL_TEXT_UNICODE_H
#define IL_TEXT_UNICODE_H

#include "innerloop.h"

enum {
    IL_LETTER = 1,   /* \p{L} */
    IL_MARK = 2,     /* \p{M} */
    IL_NUMBER = 4,   /* \p{N} */
    IL_SPACE = 8,    /* \s, White_Space */
    IL_WORD = 16,    /* \w */
    IL_NUMERIC = 64, /* \p{N} of Unicode 17.0, by which Digits goes */
    IL_UNSTABLE = 32 /* NFC may change it, move it, or join it to what stands before */
};

/* These bits of a character; 0 for what is none. */
unsigned il_unicode_class(uint32_t code);
/* The same of the first character of text [bytes > 0], *length its bytes; of a broken byte 0 and 1. */
unsigned il_unicode_next(const char *text, size_t bytes, size_t *length);
/* Of the last character. */
unsigned il_unicode_last(const char *text, size_t bytes, size_t *length);

/* Text that grows; zeroed at first, released with il_free(memory, text). */
typedef struct il_text_buffer {
    char *text; /* [bytes] */
    size_t bytes, capacity;
} il_text_buffer;

/* Appends more bytes; 0 when memory is short. */
int il_text_append(const il_allocator *memory, il_text_buffer *buffer, const char *text, size_t bytes);
/* Whether text is in NFC as it stands; broken bytes stand for themselves. */
int il_nfc_is(const char *text, size_t bytes);
/* Appends the NFC of text. 0 when memory is short. */
int il_nfc(const il_allocator *memory, const char *text, size_t bytes, il_text_buffer *out);

#endif
