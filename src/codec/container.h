/* container.h: the header of a compressed file: what it was made with, and where its streams lie. Knows nothing
 * of how they are coded.
 *
 *   "ILC\x1a", version (1 byte), model fingerprint (16), tokenizer fingerprint (8), in versions 2 and 4 the fingerprint
 *   of the state that every stream starts from (16), xxh3-64 of the original (8, little endian), then as LEB128
 * numbers: streams, and for each stream its bytes in the original and its coded bytes; then the coded streams, end to
 * end; last the low 4 bytes of the xxh3-64 of all that (little endian). */
#ifndef IL_CODEC_CONTAINER_H
#define IL_CODEC_CONTAINER_H

#include "innerloop.h"

enum {
    IL_CONTAINER_FRESH = 1,       /* versions: from a fresh state, */
    IL_CONTAINER_STATE = 2,       /* from a state that the header names; */
    IL_CONTAINER_MIXED_FRESH = 3, /* the same, the model's predictions mixed with others (mix/mix.h) */
    IL_CONTAINER_MIXED_STATE = 4,
    IL_CONTAINER_PICTURE = 5,                                             /* pixels of a picture (picture_codec.c) */
    IL_CONTAINER_MAX = 4 + 1 + 16 + 8 + 16 + 8 + 2 + IL_STREAMS_MAX * 20, /* bytes of the longest header */
    IL_CONTAINER_SEAL = 4                                                 /* bytes behind the streams */
};

typedef struct il_container_stream {
    uint64_t bytes, coded;
} il_container_stream;

typedef struct il_container {
    char model[33], tokenizer[17]; /* hex */
    char state[33];                /* the same; empty: a fresh one */
    int mixed, picture;
    uint64_t checksum;
    int n; /* 1 .. IL_STREAMS_MAX */
    il_container_stream streams[IL_STREAMS_MAX];
    uint64_t bytes; /* of all streams */
} il_container;

/* Writes the header into out [IL_CONTAINER_MAX]; returns its size. bytes is not written: it is a sum. */
size_t il_container_write(const il_container *container, unsigned char *out);
/* Writes the seal behind data [bytes], header and streams. */
void il_container_seal(unsigned char *data, size_t bytes);
/* Reads the header of data, which must hold exactly the coded streams and the right seal behind it; *header: its
 * size. */
il_status il_container_parse(const unsigned char *data, size_t bytes, il_container *container, size_t *header,
                             il_error *error);
/* IL_ERR_MISMATCH unless it was made with the model and the tokenizer of these fingerprints. */
il_status il_container_check(const il_container *container, const char *model, const char *tokenizer, il_error *error);

#endif
