/* model_files.h: the files of a model directory, for what makes directories that hold more. */
#ifndef IL_MODEL_MODEL_FILES_H
#define IL_MODEL_MODEL_FILES_H

#include "base/lock.h"
#include "engine/engine.h"

/* What a model directory of ours holds; the last is what makes it one. */
#define IL_MODEL_FILES "model.safetensors", "generation_config.json", "tokenizer.model", "tokenizer.json", "config.json"

/* Writes all files of a model directory into dir, which exists; config.json, without which it is none, last. tokenizer
 * may be NULL. */
il_status il_model_write(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error);
/* Says in the log, once, that the file system of dir has no locks, if so. */
void il_lock_report(const il_engine *engine, const il_lock *lock, const char *dir);

#endif
