/* bundled_model.h: the bundled model: where a verb finds one when --model is not given. Looks for a folder, loads
 * nothing. */
#ifndef CLI_BUNDLED_MODEL_H
#define CLI_BUNDLED_MODEL_H

#include "innerloop.h"

#define CLI_BUNDLED_MODEL_NAME "reader"
/* For the help of --model. */
#define CLI_BUNDLED_MODEL_HELP "model directory (default: $INNERLOOP_MODEL, or the bundled model)"

/* The first that there is of: $INNERLOOP_MODEL, whose word is final; models/NAME beside the folder of the binary, as in
 * a source tree; share/innerloop/models/NAME there, as installed. *dir is released by free. IL_ERR_IO when there is
 * none, naming where it was looked for. */
il_status cli_bundled_model_find(char **dir, il_error *error);

#endif
