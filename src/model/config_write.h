/* config_write.h: the text of config.json. */
#ifndef IL_MODEL_CONFIG_WRITE_H
#define IL_MODEL_CONFIG_WRITE_H

#include "innerloop.h"

/* config.json as NUL-terminated text from the allocator. */
il_status il_config_text(const il_allocator *allocator, const il_config *config, char **text, il_error *error);

#endif
