/* jax_model.h: the model in a checkpoint of the official JAX code (tensor/flax.h). */
#ifndef IL_MODEL_JAX_MODEL_H
#define IL_MODEL_JAX_MODEL_H

#include "model/origin.h"
#include "tensor/flax.h"

/* What config.json would say, from names and shapes; of what they do not tell, what the official code takes. Then
 * `set` changes it. IL_ERR_UNSUPPORTED names what has to be said and was not. */
il_status il_jax_config(const il_flax *flax, const il_load_options *set, il_config *config, il_error *error);
il_status il_jax_config_load(const il_allocator *memory, const char *path, const il_load_options *set,
                             il_config *config, il_error *error);
/* Opens the file and lists its tensors as those of a model. */
il_status il_jax_origin_open(il_engine *engine, const char *path, const il_load_options *options, il_origin *origin,
                             il_error *error);

#endif
