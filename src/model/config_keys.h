/* config_keys.h: keys of config.json that set nothing here: those that other software writes for itself, and those
 * whose value must be what is done here anyway. */
#ifndef IL_MODEL_CONFIG_KEYS_H
#define IL_MODEL_CONFIG_KEYS_H

#include <jansson.h>

#include "model/config_fields.h"

/* "path: key: …", or "key: …" when there is no file. */
#define IL_WHERE "%s%s%.100s: "
#define IL_WHERE_ARGS(path, key) (path) ? (path) : "", (path) ? ": " : "", (key)

/* *known: whether it is such a key. IL_ERR_UNSUPPORTED, naming key and value, where the value asks for what is not done
 * here. */
il_status il_config_key_check(const char *path, const il_family *family, const char *key, const json_t *value,
                              int *known, il_error *error);

#endif
