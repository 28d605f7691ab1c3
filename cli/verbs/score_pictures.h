/* score_pictures.h: bits a pixel of pictures and films under a model of them. */
#ifndef CLI_VERBS_SCORE_PICTURES_H
#define CLI_VERBS_SCORE_PICTURES_H

#include "command.h"
#include "picture_set.h"

/* Whether an option of the verb was given that is of pictures alone; its name, or NULL. */
const char *score_pictures_given(const arg_spec *spec);
/* Every picture and film from a fresh state; the caption and what begins frames are read and not counted. Options of
 * the verb that are of text alone are refused. */
il_status score_pictures(cli_command *command, il_model *model, const il_tokenizer *tokenizer, const char *path,
                         int frozen, const cli_picture_options *options);

#endif
