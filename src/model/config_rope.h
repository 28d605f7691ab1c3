/* config_rope.h: what config.json says of RoPE, which stands in one of two objects, or beside them. */
#ifndef IL_MODEL_CONFIG_ROPE_H
#define IL_MODEL_CONFIG_ROPE_H

#include <jansson.h>

#include "model/config_fields.h"

/* Whether the key is read by il_config_rope_read. */
int il_config_rope_is_key(const char *key);
/* rope_theta, rotary_width and rope_scaling's five. config has all else; root is the object that has its keys. Keys
 * named by path, or of no file. */
il_status il_config_rope_read(const char *path, const il_family *family, const json_t *root, il_config *config,
                              il_error *error);
const char *il_config_rope_name(il_rope_scaling scaling); /* "llama3" */

#endif
