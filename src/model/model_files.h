/* model_files.h: the files of a model directory, for what makes directories that hold more. */
#ifndef IL_MODEL_MODEL_FILES_H
#define IL_MODEL_MODEL_FILES_H

#include "base/lock.h"
#include "engine/engine.h"

/* What a model directory of ours holds; the last is what makes it one. */
#define IL_MODEL_FILES                                                                                                 \
    "model.safetensors", "generation_config.json", "tokenizer.model", "tokenizer.json", "pictures.json", "config.json"

/* Writes all files of a model directory into dir, which exists; config.json, without which it is none, last. tokenizer
 * may be NULL. */
il_status il_model_write(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error);
/* The same but for the weights, which are there. */
il_status il_model_write_rest(const il_allocator *memory, const il_config *config, const il_tokenizer *tokenizer,
                              const char *dir, il_error *error);
/* What model.safetensors begins with (il_st_header), of a model or of one that is only declared. */
il_status il_model_header(const il_model *model, const char *path, const char *fingerprint, unsigned char **header,
                          size_t *bytes, il_error *error);
/* Has a model directory's files made by fill(user, folder), and puts them in their place together, or not at all. */
typedef il_status il_folder_fill(void *user, const char *dir, il_error *error);
il_status il_model_folder_write(il_engine *engine, const char *dir, int with_tokenizer, il_folder_fill *fill,
                                void *user, il_error *error);
/* Says in the log, once, that the file system of dir has no locks, if so. */
void il_lock_report(const il_engine *engine, const il_lock *lock, const char *dir);

#endif
