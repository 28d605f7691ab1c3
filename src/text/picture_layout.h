/* picture_layout.h: il_picture_layout as a file, pictures.json, and what is allowed in one. Knows no pixels. */
#ifndef IL_TEXT_PICTURE_LAYOUT_H
#define IL_TEXT_PICTURE_LAYOUT_H

#include "innerloop.h"

#define IL_PICTURE_LAYOUT_FILE "pictures.json"
enum { IL_PICTURE_LAYOUT_FILE_MAX = 1 << 16 };

/* Tokens that stand behind the levels, in this order. */
enum { IL_PICTURE_BOS, IL_PICTURE_EOS, IL_PICTURE_EOC, IL_PICTURE_FRAME, IL_PICTURE_ACTIONS };

/* The first of the 256 tokens of captions, and the vocabulary. */
int il_picture_layout_bytes(const il_picture_layout *layout);
int il_picture_layout_vocab(const il_picture_layout *layout);

/* IL_ERR_ARG names a field that is out of its range; `where` begins the message. Fills in the colours of greys. */
il_status il_picture_layout_finish(const char *where, il_picture_layout *layout, il_error *error);
/* Whether a file's text [bytes], JSON, says that it is such a layout. */
int il_picture_layout_is(const char *text, size_t bytes);
il_status il_picture_layout_parse(const char *path, const char *text, size_t bytes, il_picture_layout *layout,
                                  il_error *error);
/* The file of a layout that was finished, the same text for the same layout; released by il_free. */
il_status il_picture_layout_text(const il_allocator *memory, const il_picture_layout *layout, char **text,
                                 size_t *bytes, il_error *error);

#endif
