/* kind.h: what a file holds by its first bytes, in words, for whoever was given the wrong one. */
#ifndef IL_BASE_KIND_H
#define IL_BASE_KIND_H

#include <stddef.h>

#define IL_KIND_TENSORS "a file of tensors" /* a safetensors file, a state file */

/* "text", "data compressed by gzip", "a token shard", …; NULL: nothing is known. */
const char *il_kind_of(const void *data, size_t bytes);

#endif
