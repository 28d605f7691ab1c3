/* support_text.h: random text, a writer of SentencePiece model files, and decoding, for tests of src/text. */
#ifndef IL_SUPPORT_TEXT_H
#define IL_SUPPORT_TEXT_H

#include "innerloop.h"

/* A pseudo-random number, the next each time; support_seed makes the series begin again. */
void support_seed(uint64_t seed);
uint32_t support_random(uint32_t bound); /* 0 .. bound-1 */
/* Random well-formed UTF-8 of at most `bytes`: all planes, controls, spaces in runs, U+2581. Returns its
 * size. */
size_t support_random_utf8(char *text, size_t bytes);
size_t support_random_bytes(char *text, size_t bytes);
/* Sentences of a small made-up language, `bytes` of them and a NUL. Released by free. */
char *support_prose(size_t bytes);

/* A ModelProto under construction. */
typedef struct support_spm {
    unsigned char data[1 << 16];
    size_t bytes;
    int pieces;
} support_spm;

enum { SUPPORT_NORMAL = 1, SUPPORT_UNKNOWN, SUPPORT_CONTROL, SUPPORT_USER_DEFINED, SUPPORT_UNUSED, SUPPORT_BYTE };
enum { SUPPORT_UNIGRAM = 1, SUPPORT_BPE };

void support_spm_piece(support_spm *model, const char *piece, float score, int type);
/* <unk> <s> </s> and, if wanted, the 256 byte pieces. */
void support_spm_begin(support_spm *model, int byte_pieces);
/* The trainer's and normalizer's settings. */
void support_spm_end(support_spm *model, int kind, int byte_fallback, int dummy_prefix, int remove_spaces);
/* A length-delimited field of the message. */
void support_spm_field(support_spm *model, int number, const void *data, size_t bytes);

/* Decodes all tokens and flushes; returns the text's size, text released by free. */
size_t support_decode(const il_tokenizer *tokenizer, const int32_t *ids, size_t n, il_decode_form form, char **text);

#endif
