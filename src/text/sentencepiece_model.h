/* sentencepiece_model.h: a strict reader of SentencePiece .model files (a ModelProto message): the pieces and
 * the few settings that encoding and decoding depend on. It refuses whatever libsentencepiece would end the
 * process on, loop on or read out of bounds for, so it runs before that library sees a file. */
#ifndef IL_TEXT_SENTENCEPIECE_MODEL_H
#define IL_TEXT_SENTENCEPIECE_MODEL_H

#include "innerloop.h"

enum { IL_SP_VOCAB_MAX = 1 << 24 };

typedef enum il_sp_type {
    IL_SP_NORMAL = 1,
    IL_SP_UNKNOWN = 2,
    IL_SP_CONTROL = 3,
    IL_SP_USER_DEFINED = 4,
    IL_SP_UNUSED = 5,
    IL_SP_BYTE = 6
} il_sp_type;

typedef struct il_sp_piece {
    const char *text; /* [bytes], not terminated, inside the file's bytes */
    uint32_t bytes;
    unsigned char type;  /* il_sp_type */
    unsigned char value; /* of a byte piece */
} il_sp_piece;

typedef struct il_sp_model {
    il_sp_piece *pieces; /* [n] */
    int n;
    int byte_ids[256]; /* id of each byte piece; -1 without byte fallback */
    int byte_fallback;
    int space_id; /* id of the piece that is one space (U+2581), -1: none */
    int add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, treat_whitespace_as_suffix;
    int normalizes; /* has a table of character replacements */
    /* BPE with byte fallback whose pieces never go on after a space that follows something else: then the
     * words of a text (spaces and what follows them) are encoded one by one, and so are the ASCII characters
     * that are `apart`, which stand in no piece of several characters. */
    int by_words;
    unsigned char apart[128];
    const char *unk_surface; /* [unk_surface_bytes] what an unknown piece is decoded to */
    size_t unk_surface_bytes;
} il_sp_model;

/* data [bytes] must outlive model. path is for messages. Release with il_sp_model_free, on failure too. */
il_status il_sp_model_parse(const il_allocator *allocator, const char *path, const unsigned char *data, size_t bytes,
                            il_sp_model *model, il_error *error);
void il_sp_model_free(const il_allocator *allocator, il_sp_model *model);

#endif
