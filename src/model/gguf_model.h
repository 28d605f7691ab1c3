/* gguf_model.h: the model in a GGUF file. */
#ifndef IL_MODEL_GGUF_MODEL_H
#define IL_MODEL_GGUF_MODEL_H

#include "model/origin.h"

/* Opens the file and lists its tensors: held as bf16 where all linear layers are, else as fp32, which holds the numbers
 * that quantized ones stand for. IL_ERR_UNSUPPORTED names a tensor that is not known, or whose type cannot be read. */
il_status il_gguf_origin_open(il_engine *engine, const char *path, const il_load_options *options, il_origin *origin,
                              il_error *error);

#endif
