/* safetensors.h: what the command needs of the safetensors format: to write a model's gradient, and to list a
 * file. Tensors of models and states are read by the library. */
#ifndef CLI_SAFETENSORS_H
#define CLI_SAFETENSORS_H

#include "innerloop.h"

#include <jansson.h>

/* values [il_model_parameters], laid out as the tensors of model, as a file with their names. */
il_status cli_safetensors_write(const char *path, const il_model *model, const float *values, il_error *error);
/* What the library would refuse is refused. Adds "metadata" (if the file has any), "bytes" and "tensors" to object:
 * name, dtype and shape of each, in file order. */
il_status cli_safetensors_describe(il_engine *engine, const char *path, json_t *object, il_error *error);
/* Whether a regular file says of itself that it is a state; 0 also where it cannot be read. */
int cli_safetensors_is_state(const char *path);

#endif
