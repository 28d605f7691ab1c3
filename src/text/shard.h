/* shard.h: token shards on disk. Owns the two formats, .bin (llm.c's, with marks of ours in header words that
 * llm.c leaves zero: bytes of text and a checksum) and .npy, and plain integers (read only); refuses files that lie
 * about themselves and tokens outside the vocabulary. */
#ifndef IL_TEXT_SHARD_H
#define IL_TEXT_SHARD_H

#include "innerloop.h"
#include "text/source.h"

typedef struct il_shard_info {
    uint64_t tokens;
    int text_known;      /* the shard says how much text is behind it */
    uint64_t text_bytes; /* 0 when not known */
} il_shard_info;

/* Appends the tokens that a source holds in one of the formats of tokens, each checked to be in 0 .. vocab_size-1. On
 * failure tokens are as they were. info may be NULL. */
il_status il_shard_take(const il_allocator *allocator, il_source *source, il_format format, int vocab_size,
                        il_tokens *tokens, il_shard_info *info, il_error *error);
/* The same for a .bin shard by its name. */
il_status il_shard_read(const il_allocator *allocator, const char *path, int vocab_size, il_tokens *tokens,
                        il_shard_info *info, il_error *error);
/* Replaces path atomically by a .bin shard: uint16 for vocabularies up to 65,535, else uint32. n ≤ 2^31-1. */
il_status il_shard_write(const il_allocator *allocator, const char *path, const int32_t *tokens, size_t n,
                         int vocab_size, uint64_t text_bytes, il_error *error);

#endif
