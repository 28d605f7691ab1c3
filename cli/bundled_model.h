/* bundled_model.h: where a verb finds the bundled model, used when --model is not given. Looks for a folder, loads
 * nothing. */
#ifndef CLI_BUNDLED_MODEL_H
#define CLI_BUNDLED_MODEL_H

#include "innerloop.h"

#define CLI_BUNDLED_MODEL_NAME "reader"
/* For the help of --model. */
#define CLI_BUNDLED_MODEL_HELP "model directory (default: $INNERLOOP_MODEL, or the bundled model)"

/* *dir, released by free, is the first of these that exists: $INNERLOOP_MODEL, which is final if it is set; models/NAME
 * beside the folder of the binary, as in a source tree; share/innerloop/models/NAME there, as installed. IL_ERR_IO,
 * naming where it was looked for, when none does. */
il_status cli_bundled_model_find(char **dir, il_error *error);

#endif
