/* json_text.h: reads one JSON text that lies in memory, from front to back, strictly (RFC 8259: UTF-8, no lone
 * surrogate, no comma too many), for files that are too large for a tree of objects. Every failure is an il_error that
 * names the file and the byte. */
#ifndef IL_TEXT_JSON_TEXT_H
#define IL_TEXT_JSON_TEXT_H

#include "innerloop.h"

typedef struct il_json_text {
    const char *path; /* for messages */
    const char *text; /* [bytes] */
    size_t bytes, at;
    const il_allocator *memory;
    char *unescaped; /* [capacity] the last string that had escapes */
    size_t capacity;
    il_error *error;
} il_json_text;

/* A stretch of bytes: of the file, or until the next string is read. */
typedef struct il_json_span {
    const char *text;
    size_t bytes;
} il_json_span;

/* The next byte that is not white space, which stays; -1: none. */
int il_json_peek(il_json_text *json);
/* Steps over an opening '{' or '['. */
il_status il_json_enter(il_json_text *json, char bracket);
/* In front of the entry number i of an object or array: *more is 1, and the comma before it is behind us; or *more is
 * 0, and the closing bracket is. */
il_status il_json_next(il_json_text *json, char bracket, size_t i, int *more);
il_status il_json_read_string(il_json_text *json, il_json_span *string);
/* A string and the ':' behind it. */
il_status il_json_read_key(il_json_text *json, il_json_span *key);
/* An integer of 0 .. most. */
il_status il_json_read_count(il_json_text *json, int64_t most, int64_t *count);
/* Any value; brackets and quotes must match, and what is between them is not looked at. */
il_status il_json_skip(il_json_text *json, il_json_span *value);
/* Fails at the present byte. */
il_status il_json_fail(const il_json_text *json, const char *why);
int il_json_equal(il_json_span a, const char *b);
void il_json_text_free(il_json_text *json);

#endif
