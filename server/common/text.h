/* text.h: bytes that grow, and JSON written into them. Memory that is missing is remembered (`failed`) and looked at
 * once, at the end. */
#ifndef SERVER_TEXT_H
#define SERVER_TEXT_H

#include <stddef.h>

typedef struct text {
    char *data; /* [bytes], released by text_free; no NUL at its end */
    size_t bytes, capacity;
    int failed; /* an addition found no memory: the bytes are not all there */
} text;

void text_free(text *t); /* also of a zeroed one */
void text_add(text *t, const void *data, size_t bytes);
void text_say(text *t, const char *words); /* up to the NUL */
void text_print(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string of these bytes, with its quotes; bytes that are not UTF-8 come out as U+FFFD. */
void text_quote(text *t, const char *data, size_t bytes);
/* The number by which a logarithm of a probability is written wherever one is: the same number is the same bytes. NaN
 * is null. */
void text_logprob(text *t, float logprob);
/* Drops so many bytes from the front. */
void text_drop(text *t, size_t bytes);
/* Bytes of the character that begins at data [bytes]; 0: it is not UTF-8, or cut. */
size_t text_character(const char *data, size_t bytes);

#endif
