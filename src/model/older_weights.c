/* older_weights.c: see older_weights.h. Names out of an index lead nowhere but to files of weights beside it. */
#include "model/older_weights.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

enum { INDEX_BYTES_MAX = 1 << 24 };

typedef struct removing {
    il_engine *engine;
    const char *dir;
} removing;

static int ends_in(const char *name, const char *ending) {
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static int may_be_removed(const char *name, const char *ending) {
    return ends_in(name, ending) && name[0] != '.' && !strpbrk(name, "/\\") && strcmp(name, "model.safetensors") != 0;
}

static void remove_one(const removing *r, const char *name) {
    const il_allocator *memory = &r->engine->memory;
    char *path = il_path_join(memory, r->dir, name);
    if (path && (il_file_allowed("unlink", path) || unlink(path) != 0) && errno != ENOENT)
        il_log(r->engine, IL_LOG_WARN, "%s: of an older model, cannot be removed: %s", path, strerror(errno));
    il_free(memory, path);
}

/* What the index names, and then the index itself. */
static void remove_indexed(const removing *r, const char *name, const char *ending) {
    const il_allocator *memory = &r->engine->memory;
    char *path = il_path_join(memory, r->dir, name);
    il_map map;
    json_t *root = NULL, *value;
    const char *tensor;
    if (path && il_path_exists(path) && il_map_open(path, &map, NULL) == IL_OK) {
        if (map.bytes <= INDEX_BYTES_MAX) il_json_load(path, map.data, map.bytes, 0, &root, NULL);
        il_map_close(&map);
    }
    json_object_foreach(json_object_get(root, "weight_map"), tensor, value) {
        const char *file = json_string_value(value);
        if (file && may_be_removed(file, ending)) remove_one(r, file);
    }
    if (root) remove_one(r, name);
    json_decref(root);
    il_free(memory, path);
}

void il_older_weights_remove(il_engine *engine, const char *dir) {
    const removing r = {engine, dir};
    remove_indexed(&r, "model.safetensors.index.json", ".safetensors");
    remove_indexed(&r, "pytorch_model.bin.index.json", ".bin");
    remove_one(&r, "pytorch_model.bin");
}
