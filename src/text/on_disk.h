/* on_disk.h: the tokens of a file that stay there and are read where they are needed. They are read, not mapped: what
 * cannot be read, or is no longer the file it was, is an error and not a signal. Owns the open files. */
#ifndef IL_TEXT_ON_DISK_H
#define IL_TEXT_ON_DISK_H

#include "text/shard.h"

typedef struct il_on_disk {
    const il_allocator *allocator;
    char *path; /* NULL: not on disk */
    il_shard_layout layout;
    uint64_t tokens, size;
    int64_t changed[2]; /* when: seconds and nanoseconds */
    int fd;             /* -1: closed for now */
} il_on_disk;

/* Whether a file's tokens can stay there: a regular file that is not compressed. */
static inline int il_on_disk_possible(const il_source *source) { return source->regular && !source->raw; }
/* source: the file at path, of which nothing was taken, in one of the formats of tokens. It says how many tokens are in
 * it and has exactly these. To be closed even after a failure. */
il_status il_on_disk_open(const il_allocator *allocator, const char *path, il_source *source, il_format format,
                          il_on_disk *file, il_error *error);
void il_on_disk_close(il_on_disk *file);
/* Tokens at .. at+n-1, each checked to be in 0 .. vocab_size-1. *opened 1: the file had to be opened for it, and stays
 * open until il_on_disk_rest. */
il_status il_on_disk_read(il_on_disk *file, uint64_t at, size_t n, int vocab_size, int32_t *ids, int *opened,
                          il_error *error);
void il_on_disk_rest(il_on_disk *file);

#endif
