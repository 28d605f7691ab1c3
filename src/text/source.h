/* source.h: the bytes of a file, one block at a time, decompressed when it begins as gzip or zstd does. Files, pipes
 * and standard input are read, never mapped: one that shrinks meanwhile is an error and not a SIGBUS. Knows nothing of
 * what the bytes mean. */
#ifndef IL_TEXT_SOURCE_H
#define IL_TEXT_SOURCE_H

#include "innerloop.h"

enum { IL_SOURCE_BLOCK = 1 << 17, IL_WINDOW_LOG = 27, IL_WINDOW_LOG_MAX = 31 };

typedef struct il_source {
    const il_allocator *allocator;
    const char *name; /* for messages; the caller's, or "standard input" */
    il_read read;     /* the caller's, or that of fd */
    void *user;
    int fd, keep_open, ended, regular;
    uint64_t size; /* of a regular file when it was opened */
    /* What is given out: block [from, to), to ≤ IL_SOURCE_BLOCK. */
    unsigned char *block;
    size_t from, to;
    /* Bytes of the file not decompressed yet: raw [raw_from, raw_to); NULL where nothing is compressed. */
    unsigned char *raw;
    size_t raw_from, raw_to;
    uint64_t raw_read;                        /* bytes of the file so far */
    int raw_ended, begun, window_log, inside; /* inside: a frame or member has begun and not ended */
    void *zstd, *gzip;
} il_source;

/* path "-" is standard input; with read, path only names what it gives. window_log: the largest zstd window, 2^n bytes;
 * 0: IL_WINDOW_LOG. To be closed even after a failure. */
il_status il_source_open(const il_allocator *allocator, const char *path, il_read read, void *user, int window_log,
                         il_source *source, il_error *error);
/* The bytes of a file as they stand there. */
il_status il_source_open_raw(const il_allocator *allocator, const char *path, il_source *source, il_error *error);
void il_source_close(il_source *source);
/* Waits for more bytes behind those of the block that are not taken yet, as many as come at once. Does nothing when the
 * block is full of those or `ended` says that no more will come. */
il_status il_source_fill(il_source *source, il_error *error);
/* Fills until n ≤ IL_SOURCE_BLOCK bytes are there, or all there are. */
il_status il_source_need(il_source *source, size_t n, il_error *error);

static inline size_t il_source_bytes(const il_source *source) { return source->to - source->from; }
static inline const unsigned char *il_source_data(const il_source *source) { return source->block + source->from; }

#endif
