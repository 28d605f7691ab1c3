/* format.h: what a file is, by its first bytes; its name only decides where they do not. Owns the list of formats that
 * are known and are not text, and what to do about each. */
#ifndef IL_TEXT_FORMAT_H
#define IL_TEXT_FORMAT_H

#include "innerloop.h"

/* The format of what begins with data [bytes], decompressed; whole: no more will be looked at. *format is
 * IL_FORMAT_AUTO when more bytes are needed to tell. field: the string that documents of JSON have.
 * IL_ERR_UNSUPPORTED, saying what it is, for what is neither text nor tokens. */
il_status il_format_look(const il_allocator *allocator, const char *name, const unsigned char *data, size_t bytes,
                         int whole, const char *field, il_format *format, il_error *error);
static inline int il_format_is_tokens(il_format format) { return format >= IL_FORMAT_U16; }

/* Bytes of a file's name without its folder (base: where it begins) and the endings of texts: "a" of "x/a.JSONL.gz". */
size_t il_format_stem(const char *path, const char **base);

#endif
