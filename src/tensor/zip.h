/* zip.h: reading a zip archive whose files are stored as they are, as torch writes them; zip64 too. All of it is
 * checked before any use: places of files against what is there and against each other, names that are there twice.
 * What is compressed or encrypted is refused, so that no file is larger than its archive. */
#ifndef IL_TENSOR_ZIP_H
#define IL_TENSOR_ZIP_H

#include "base/memory.h"

typedef struct il_zip_entry {
    const char *name; /* [name_bytes], without a NUL behind it; no NUL inside */
    size_t name_bytes;
    const unsigned char *data; /* [bytes] inside the archive; may be unaligned */
    size_t bytes;
} il_zip_entry;

typedef struct il_zip {
    il_zip_entry *entries; /* [n], sorted by name */
    size_t n;
    const il_allocator *allocator;
} il_zip;

/* Whether bytes begin as an archive does. */
int il_zip_begins(const void *data, size_t bytes);
/* data must outlive zip; `path` only names it in messages. */
il_status il_zip_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_zip *zip,
                       il_error *error);
void il_zip_close(il_zip *zip);
const il_zip_entry *il_zip_find(const il_zip *zip, const char *name); /* NULL when there is none */

#endif
