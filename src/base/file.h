/* file.h: reading files whole by mapping them, and replacing files so that a crash leaves the old or the new one. */
#ifndef IL_BASE_FILE_H
#define IL_BASE_FILE_H

#include "innerloop.h"

/* A read-only view of a regular file. bytes may be 0 (data is then not NULL but must not be read). */
typedef struct il_map {
    const unsigned char *data;
    size_t bytes;
} il_map;

/* IL_ERR_IO, naming path, for what cannot be opened or is no regular file (folders, devices). */
il_status il_map_open(const char *path, il_map *map, il_error *error);
void il_map_close(il_map *map);

/* Atomic replacement: write to a temporary file beside path, then fsync and rename it (finish) or remove it (abandon).
 * After any failed call abandon must still be called; after finish nothing is owed. */
typedef struct il_writer {
    int fd;
    char *path, *temporary;
    const il_allocator *allocator;
    unsigned char *buffer;
    size_t buffered;
    uint64_t written; /* bytes so far */
} il_writer;

il_status il_writer_open(const il_allocator *allocator, const char *path, il_writer *writer, il_error *error);
il_status il_writer_write(il_writer *writer, const void *data, size_t bytes, il_error *error);
il_status il_writer_finish(il_writer *writer, il_error *error);
void il_writer_abandon(il_writer *writer);

/* open, write, finish (or abandon) in one. */
il_status il_file_replace(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                          il_error *error);
/* Makes dir and its missing parents. */
il_status il_dir_make(const il_allocator *allocator, const char *dir, il_error *error);
/* "dir/name" in memory of the allocator; NULL when short. */
char *il_path_join(const il_allocator *allocator, const char *dir, const char *name);
int il_path_exists(const char *path);

#endif
