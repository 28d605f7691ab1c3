/* utf8.h: where well-formed UTF-8 characters begin and end (Unicode 15, table 3-7). */
#ifndef IL_BASE_UTF8_H
#define IL_BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the well-formed character at text (bytes left), 1 .. 4; 0 when there is none. */
int il_utf8_length(const char *text, size_t bytes);
/* 1 when text is a proper beginning of some well-formed character, which more bytes could complete. */
int il_utf8_unfinished(const char *text, size_t bytes);

/* The number of a well-formed character of so many bytes, and back: returns its bytes, 1 .. 4. */
uint32_t il_utf8_decode(const char *text, int length);
size_t il_utf8_encode(uint32_t code, char text[4]);

#define IL_UTF8_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD, stands for one broken byte */

#endif
