/* shard.h: token shards on disk. Owns the two formats, .bin (llm.c's, with marks of ours in header words that
 * llm.c leaves zero: bytes of text and a checksum) and .npy, and plain integers (read only); refuses files that lie
 * about themselves and tokens outside the vocabulary. */
#ifndef IL_TEXT_SHARD_H
#define IL_TEXT_SHARD_H

#include "base/file.h"
#include "text/source.h"

typedef struct il_shard_info {
    uint64_t tokens;
    int text_known;                  /* the shard says how much text is behind it */
    uint64_t text_bytes;             /* 0 when not known */
    unsigned char digest[16];        /* if text_known: the checksum of the tokens as they stand there */
    uint64_t skipped, first_skipped; /* bad lines that were left out of it, and the number of the first; 0: none */
} il_shard_info;

/* How an integer stands in a file. */
typedef struct il_number {
    size_t width; /* 1, 2, 4 or 8 bytes */
    int is_signed, big_endian;
} il_number;

/* What a file of tokens says of itself before them. */
typedef struct il_shard_layout {
    il_number form;
    uint64_t offset; /* bytes before the first token */
    uint64_t tokens; /* UINT64_MAX: all that follow */
    int marked;      /* ours: what follows is known */
    unsigned char digest[16];
    uint64_t text_bytes, skipped, first_skipped; /* as in il_shard_info */
} il_shard_layout;

/* Takes what is before the tokens off a source that holds one of the formats of tokens. */
il_status il_shard_layout_of(il_source *source, il_format format, il_shard_layout *layout, il_error *error);
/* n tokens at data to ids, each checked to be in 0 .. vocab_size-1; `first`, the index of the first in its file, and
 * name are for messages. */
il_status il_shard_convert(const char *name, il_number form, const unsigned char *data, size_t n, uint64_t first,
                           int vocab_size, int32_t *ids, il_error *error);
il_shard_info il_shard_info_of(const il_shard_layout *layout, uint64_t tokens);
/* Appends the tokens that a source holds in one of the formats of tokens, each checked to be in 0 .. vocab_size-1. On
 * failure tokens are as they were. info may be NULL. */
il_status il_shard_take(const il_allocator *allocator, il_source *source, il_format format, int vocab_size,
                        il_tokens *tokens, il_shard_info *info, il_error *error);
/* The same for a .bin shard by its name. */
il_status il_shard_read(const il_allocator *allocator, const char *path, int vocab_size, il_tokens *tokens,
                        il_shard_info *info, il_error *error);
/* The checksum of a shard that il_shard_write would write. */
il_status il_shard_digest(const il_allocator *allocator, const int32_t *tokens, size_t n, int vocab_size,
                          unsigned char digest[16], il_error *error);
/* A .bin shard in the making, which replaces path atomically when it is finished: uint16 for vocabularies up to 65,535,
 * else uint32. After any failed call abandon must still be called; after finish nothing is
 * owed. */
typedef struct il_shard_writer {
    il_writer writer;
    void *hash;
    unsigned char *block;
    size_t width;
    uint64_t tokens;
} il_shard_writer;
il_status il_shard_writer_open(const il_allocator *allocator, const char *path, int vocab_size, il_shard_writer *shard,
                               il_error *error);
il_status il_shard_writer_add(il_shard_writer *shard, const int32_t *tokens, size_t n, il_error *error);
il_status il_shard_writer_finish(il_shard_writer *shard, uint64_t text_bytes, uint64_t skipped, uint64_t first_skipped,
                                 il_error *error);
void il_shard_writer_abandon(il_shard_writer *shard);
/* The same in one. */
il_status il_shard_write(const il_allocator *allocator, const char *path, const int32_t *tokens, size_t n,
                         int vocab_size, uint64_t text_bytes, il_error *error);

/* A seam for tests: what the count of a shard goes to that others can read; always 2^31-1 outside them. */
extern uint64_t il_shard_count_max;

#endif
