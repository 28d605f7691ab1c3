/* json.c: see json.h. */
#include "base/json.h"

#include "base/error.h"

il_status il_json_load(const char *path, const void *text, size_t bytes, size_t flags, json_t **root, il_error *error) {
    json_error_t trouble;
    *root = json_loadb(bytes ? text : "", bytes, flags, &trouble);
    if (*root) return IL_OK;
    if (json_error_code(&trouble) == json_error_out_of_memory)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    return il_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", path, trouble.line, trouble.text);
}
