/* config_attention.h: which shapes of attention there are. */
#ifndef IL_MODEL_CONFIG_ATTENTION_H
#define IL_MODEL_CONFIG_ATTENTION_H

#include "innerloop.h"

/* The part of il_config_check that is about heads: their width, and the fields of attention. Sizes and layer_types are
 * within their bounds. */
il_status il_config_check_attention(const il_config *config, il_error *error);

#endif
