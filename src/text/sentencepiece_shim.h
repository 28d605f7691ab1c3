/* sentencepiece_shim.h: the few calls of libsentencepiece that we use, in C. Lets no C++ exception through
 * and keeps the library silent. Refuses nothing itself: models must have passed il_sp_model_parse, since the
 * library ends the process on some broken ones. Memory behind these calls is the C++ library's, not an
 * il_allocator's. */
#ifndef IL_TEXT_SENTENCEPIECE_SHIM_H
#define IL_TEXT_SENTENCEPIECE_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct il_sp il_sp;
typedef struct il_sp_trainer il_sp_trainer;
typedef enum il_sp_result { IL_SP_OK, IL_SP_NOMEM, IL_SP_STOPPED, IL_SP_FAILED } il_sp_result;

/* Receives a run of results; returning 0 stops the call with IL_SP_STOPPED. */
typedef int (*il_sp_ids)(void *context, const int *ids, size_t n);
typedef int (*il_sp_bytes)(void *context, const void *data, size_t bytes);

/* model: a serialized ModelProto. On failure *sp is NULL; message [capacity] says why when the result is
 * IL_SP_FAILED. */
il_sp_result il_sp_open(const void *model, size_t bytes, il_sp **sp, char *message, size_t capacity);
void il_sp_close(il_sp *sp); /* NULL allowed */
/* Ids of the special tokens, -1 where there is none. */
void il_sp_special(const il_sp *sp, int *unk, int *bos, int *eos);
/* Encodes text, with a space before it if prefix is 1. Thread-safe. */
il_sp_result il_sp_encode(const il_sp *sp, const char *text, size_t bytes, int prefix, il_sp_ids emit, void *context);

/* The same tokens, word by word, remembering the words of earlier calls: for models whose il_sp_model says
 * by_words. As many calls as are under way at once remember their words apart. */
il_sp_result il_sp_encode_words(const il_sp *sp, const char *text, size_t bytes, int prefix,
                                const unsigned char apart[128], il_sp_ids emit, void *context);

/* Training: add text as often as wanted, then run once. Text is counted as words (spaces and what follows
 * them), so the memory is that of the distinct words. Everything that cannot be part of a piece (control
 * characters, broken UTF-8, U+2581 and U+2585, which the trainer uses as marks) only separates words. */
il_sp_result il_sp_trainer_open(il_sp_trainer **trainer);
void il_sp_trainer_close(il_sp_trainer *trainer); /* NULL allowed */
il_sp_result il_sp_trainer_add(il_sp_trainer *trainer, const char *text, size_t bytes);
size_t il_sp_trainer_words(const il_sp_trainer *trainer); /* distinct words so far */
/* emit receives the serialized model, whole. *most: when the words give fewer pieces than vocab_size, which is
 * IL_SP_FAILED, how many they give; else 0. May be run again. */
il_sp_result il_sp_trainer_run(il_sp_trainer *trainer, int vocab_size, int threads, il_sp_bytes emit, void *context,
                               int *most, char *message, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif
