/* load.h: the model in a directory in the Hugging Face layout. */
#ifndef IL_MODEL_LOAD_H
#define IL_MODEL_LOAD_H

#include "model/origin.h"

/* Opens its files and lists their tensors: held as config.json says, as bf16 only where all linear layers are. */
il_status il_directory_origin_open(il_engine *engine, const char *dir, const il_load_options *options,
                                   il_origin *origin, il_error *error);

#endif
