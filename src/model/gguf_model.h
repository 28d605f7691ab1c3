/* gguf_model.h: the model in a GGUF file. */
#ifndef IL_MODEL_GGUF_MODEL_H
#define IL_MODEL_GGUF_MODEL_H

#include "innerloop.h"

/* weights: an il_weight_type, or IL_WEIGHTS_AS_STORED: bf16 where all linear layers are, else fp32, which holds the
 * numbers that quantized ones stand for. IL_ERR_UNSUPPORTED names a tensor that is not known, or whose type cannot be
 * read. */
il_status il_gguf_model_load(il_engine *engine, const char *path, int weights, il_model **model, il_error *error);

#endif
