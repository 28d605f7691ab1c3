/* config_read.h: the text of config.json into an il_config. */
#ifndef IL_MODEL_CONFIG_READ_H
#define IL_MODEL_CONFIG_READ_H

#include "innerloop.h"

/* Parses config.json text [bytes]; path only names it in messages. */
il_status il_config_parse(const char *path, const char *text, size_t bytes, il_config *config, il_error *error);

#endif
