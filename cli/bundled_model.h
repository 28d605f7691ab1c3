/* bundled_model.h: where a verb finds its model: what --model says, $INNERLOOP_MODEL, or the bundled models. Looks for
 * folders, loads nothing; which of several is taken is decided in model_choice.h. */
#ifndef CLI_BUNDLED_MODEL_H
#define CLI_BUNDLED_MODEL_H

#include "innerloop.h"

/* For the help of --model. */
#define CLI_MODEL_HELP "model directory, GGUF file, or the name of a bundled model"
#define CLI_BUNDLED_MODEL_HELP CLI_MODEL_HELP " (default: $INNERLOOP_MODEL, or the usual bundled one)"
#define CLI_CHOSEN_MODEL_HELP                                                                                          \
    CLI_MODEL_HELP                                                                                                     \
    " (default: $INNERLOOP_MODEL, or the bundled one that predicts the beginning better: reader, made for English "    \
    "prose, or any, for logs, code, tables and other languages)"
#define CLI_OWN_MODEL_HELP CLI_MODEL_HELP " (default: $INNERLOOP_MODEL, or the bundled one that the file names)"

enum { CLI_BUNDLED_MODELS = 2 };

/* The models that a verb may take, the usual one first; released by cli_bundled_models_free. */
typedef struct cli_bundled_models {
    size_t n;
    const char *names[CLI_BUNDLED_MODELS]; /* for messages; the caller's word, or of static storage */
    char *dirs[CLI_BUNDLED_MODELS];
} cli_bundled_models;

/* word is what --model says: a directory, or the name of a bundled model unless a model lies at that path; NULL where
 * it is not given. Then $INNERLOOP_MODEL, read in the same way, is the only one if it is set, and else there are all
 * the bundled ones for texts that exist. Each is looked for as models/NAME beside the folder of the binary, as in a
 * source tree, and as share/innerloop/models/NAME there, as installed. IL_ERR_IO, naming where it was looked for, when
 * there is none; a directory that was named is not looked into. */
il_status cli_bundled_models_find(const char *word, cli_bundled_models *models, il_error *error);
void cli_bundled_models_free(cli_bundled_models *models); /* also of zeroed ones */

#endif
