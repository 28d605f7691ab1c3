/* json.h: a text as jansson's value, and what is said where it is none. */
#ifndef IL_BASE_JSON_H
#define IL_BASE_JSON_H

#include "innerloop.h"

#include <jansson.h>

/* flags: jansson's. IL_ERR_FORMAT names the line; path only names the text. *root is NULL after a failure. */
il_status il_json_load(const char *path, const void *text, size_t bytes, size_t flags, json_t **root, il_error *error);

#endif
