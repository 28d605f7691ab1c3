/* train_from.h: a run that begins with weights of another model, where they fit. */
#ifndef CLI_VERBS_TRAIN_FROM_H
#define CLI_VERBS_TRAIN_FROM_H

#include "command.h"

/* Gives model what fits of the model in dir, and says on stderr what was taken, is fresh and was left. tokenizer: the
 * model's; NULL: none. */
il_status train_from(cli_command *command, const char *dir, il_model *model, const il_tokenizer *tokenizer);

#endif
