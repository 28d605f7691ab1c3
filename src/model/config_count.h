/* config_count.h: what follows from a config alone: how many parameters. Operations and bytes are in the public
 * header. */
#ifndef IL_MODEL_CONFIG_COUNT_H
#define IL_MODEL_CONFIG_COUNT_H

#include "innerloop.h"

/* Entries of all tensors; fields within their bounds keep it far below 2^64. */
uint64_t il_config_parameters(const il_config *config);

#endif
