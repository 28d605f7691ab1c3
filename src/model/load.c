/* load.c: a model directory in the Hugging Face layout: which files hold its tensors, and which of those are the
 * model's. Refuses indexes that lead elsewhere, and files that do not fit their index. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "model/build.h"
#include "model/config_fields.h"
#include "model/load.h"
#include "model/mixer_names.h"
#include "tensor/torch.h"

enum { INDEX_BYTES_MAX = 1 << 24, SHARDS_MAX = 1024 };

static const char WEIGHTS[] = "model.safetensors", INDEX[] = "model.safetensors.index.json", ENDING[] = ".safetensors",
                  TORCH[] = "pytorch_model.bin", TORCH_INDEX[] = "pytorch_model.bin.index.json",
                  HEAD[] = "lm_head.weight";

#define WHERE "%s: tensor %.150s: "

/* A file of tensors, of either kind. */
typedef struct shard {
    char *path;
    int is_torch;
    il_st st;
    il_torch torch;
} shard;

/* Tensors that files have and a model has not. The first is inside every model that sees. */
enum { SKIPPED_HEAD, SKIPPED_VISION, SKIPPED_MTP, SKIPPED };
static const char *const skipped_names[SKIPPED] = {HEAD, "model.visual.", "mtp."};
/* Where such a model keeps those of its text, and where they are in one that does not. */
static const char TEXT_THERE[] = "model.language_model.", TEXT_HERE[] = "model.";

typedef struct loader {
    il_engine *engine;
    const il_allocator *memory;
    il_model *declared; /* in the types of the files */
    int sees;           /* the files may be those of a model that sees */
    char *path;         /* the one file, or the index */
    const char *index_name;
    json_t *index;
    json_t *weight_map; /* in index; NULL: one file */
    shard *shards;
    size_t n_shards, capacity;
    il_source *sources;
    size_t n_sources, sources_capacity;
    size_t skipped[SKIPPED];
} loader;

/* ---- names ---- */

/* Buffers that older transformers wrote and nobody needs: the RoPE frequencies. */
static int is_ignored(const char *name) {
    static const char tail[] = "rotary_emb.inv_freq";
    size_t n = strlen(name), m = sizeof tail - 1;
    return n >= m && strcmp(name + n - m, tail) == 0 && (n == m || name[n - m - 1] == '.');
}

static int begins(const char *name, const char *with) { return strncmp(name, with, strlen(with)) == 0; }

/* As torchtitan calls tensors: "tok_embeddings.weight", "layers.0.…", "norm.weight", "output.weight". */
static int is_titan(const char *name) {
    return begins(name, "tok_embeddings.") || begins(name, "layers.") || strcmp(name, "norm.weight") == 0 ||
           strcmp(name, "output.weight") == 0;
}

/* Of a tensor that no model of this config.json has: the names of other software are told apart from a mistake. */
static il_status unknown_tensor(const loader *l, const char *path, const char *name, il_error *error) {
    if (il_mixer_is_ttt(l->declared->config.mixer) && is_titan(name))
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       WHERE
                       "a name of torchtitan's, of which it is not known what a TTT model's tensors are called there",
                       path, name);
    return il_fail(error, IL_ERR_MISMATCH, WHERE "a model of this config.json has no such tensor", path, name);
}

/* Which of skipped_names the tensor is of; SKIPPED: none. A tied file may hold the head as well: the embedding wins. */
static int skipped_kind(const loader *l, const char *name) {
    if (strcmp(name, HEAD) == 0) return l->declared->config.tie_word_embeddings ? SKIPPED_HEAD : SKIPPED;
    for (int i = SKIPPED_VISION; l->sees && i < SKIPPED; i++)
        if (begins(name, skipped_names[i])) return i;
    return SKIPPED;
}

/* What the model calls a tensor of a file; "" where that is too long to be any. */
static void model_name(const loader *l, const char *name, char here[IL_SOURCE_NAME_BYTES]) {
    int inside = l->sees && begins(name, TEXT_THERE);
    int n =
        snprintf(here, IL_SOURCE_NAME_BYTES, "%s%s", inside ? TEXT_HERE : "", name + (inside ? strlen(TEXT_THERE) : 0));
    if (n >= IL_SOURCE_NAME_BYTES) here[0] = 0;
}

/* ---- files ---- */

static il_status read_strided(const il_source *source, size_t from, size_t n, float *out, il_error *error) {
    const il_torch *torch = source->user;
    size_t tensor = il_torch_find(torch, source->name_there);
    size_t width = torch->tensors[tensor].count / torch->tensors[tensor].shape[0];
    (void)error;
    il_torch_read(torch, tensor, from * width, n * width, out);
    return IL_OK;
}

/* whole: its entries lie one after the other. */
static il_status add_source(loader *l, const shard *from, const il_st_tensor *tensor, int whole, il_error *error) {
    void *block = l->sources;
    if (!il_grow(l->memory, &block, &l->sources_capacity, l->n_sources, l->n_sources + 1, sizeof *l->sources))
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for one more tensor", from->path);
    l->sources = block;
    il_source *source = &l->sources[l->n_sources++];
    *source = (il_source){.path = from->path, .name_there = tensor->name, .rank = tensor->rank};
    source->bf16 = tensor->dtype == IL_BF16;
    model_name(l, tensor->name, source->name);
    memcpy(source->shape, tensor->shape, sizeof source->shape);
    if (whole) {
        source->stored = tensor;
        return IL_OK;
    }
    source->read = read_strided;
    source->scattered = 1;
    if (tensor->dtype == IL_F32 || tensor->dtype == IL_BF16 || tensor->dtype == IL_F16) return IL_OK;
    return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %s, where F32, BF16 or F16 must be", from->path,
                   tensor->name, il_dtype_name(tensor->dtype));
}

/* Lists the tensors of a shard, and counts those that are left out. */
static il_status list_tensors(loader *l, const shard *from, const char *shard_name, il_error *error) {
    const il_st_tensor *tensors = from->is_torch ? from->torch.tensors : from->st.tensors;
    size_t n = from->is_torch ? from->torch.n : from->st.n;
    for (size_t i = 0; i < n; i++) {
        const il_st_tensor *tensor = &tensors[i];
        int kind = skipped_kind(l, tensor->name), whole = !from->is_torch || il_torch_is_whole(&from->torch, i);
        if (kind < SKIPPED) l->skipped[kind]++;
        if (kind < SKIPPED || is_ignored(tensor->name)) continue;
        const char *place = json_string_value(json_object_get(l->weight_map, tensor->name));
        if (l->weight_map && (!place || strcmp(place, shard_name) != 0))
            return il_fail(error, IL_ERR_FORMAT, WHERE "%s says it is in %.100s", from->path, tensor->name,
                           l->index_name, place ? place : "no file");
        if (is_titan(tensor->name)) return unknown_tensor(l, from->path, tensor->name, error);
        IL_TRY(add_source(l, from, tensor, whole, error));
    }
    return IL_OK;
}

static int ends(const char *name, const char *with) {
    size_t n = strlen(name), m = strlen(with);
    return n > m && strcmp(name + n - m, with) == 0;
}

static il_status open_shard(loader *l, const char *dir, const char *name, il_error *error) {
    void *block = l->shards;
    if (!il_grow(l->memory, &block, &l->capacity, l->n_shards, l->n_shards + 1, sizeof *l->shards))
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    l->shards = block;
    shard *s = &l->shards[l->n_shards];
    *s = (shard){.path = il_path_join(l->memory, dir, name), .is_torch = ends(name, ".bin")};
    if (!s->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_status status = s->is_torch ? il_torch_open(l->memory, s->path, &s->torch, error)
                                   : il_st_open(l->memory, s->path, &s->st, error);
    if (status != IL_OK) {
        il_free(l->memory, s->path);
        return status;
    }
    l->n_shards++;
    return list_tensors(l, s, name, error);
}

/* A shard lies beside its index: its name leads nowhere else. */
static int is_plain_name(const char *name) {
    return *name && *name != '.' && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..") &&
           strlen(name) < 256;
}

/* Whether a file may have a tensor that the index has: *skip, and nothing reads it; else it is one of the model's. */
static il_status check_name(const loader *l, const char *name, int *skip, il_error *error) {
    char here[IL_SOURCE_NAME_BYTES];
    int scales;
    *skip = is_ignored(name) || skipped_kind(l, name) < SKIPPED;
    model_name(l, name, here);
    if (*skip || il_source_entry(&l->declared->table, here, &scales)) return IL_OK;
    return unknown_tensor(l, l->path, name, error);
}

static il_status open_index(loader *l, const char *dir, il_error *error) {
    il_map map;
    const char *name;
    json_t *value;
    IL_TRY(il_map_open(l->path, &map, error));
    il_status status =
        map.bytes > INDEX_BYTES_MAX
            ? il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu bytes: more than 16 MiB are not read", l->path, map.bytes)
            : il_json_load(l->path, map.data, map.bytes, JSON_REJECT_DUPLICATES, &l->index, error);
    il_map_close(&map);
    if (status != IL_OK) return status;
    l->weight_map = json_object_get(l->index, "weight_map");
    if (!json_is_object(l->weight_map)) {
        l->weight_map = NULL;
        return il_fail(error, IL_ERR_FORMAT, "%s: weight_map is missing or not an object", l->path);
    }
    json_object_foreach(l->weight_map, name, value) {
        const char *file = json_string_value(value);
        size_t seen = 0;
        int skip;
        IL_TRY(check_name(l, name, &skip, error));
        if (skip) continue; /* a file of nothing else is not opened */
        if (!file || !is_plain_name(file))
            return il_fail(error, IL_ERR_FORMAT, WHERE "its place is not a plain file name", l->path, name);
        size_t head = strlen(l->path) - strlen(l->index_name);
        while (seen < l->n_shards && strcmp(l->shards[seen].path + head, file) != 0) seen++;
        if (seen < l->n_shards) continue;
        if (l->n_shards == SHARDS_MAX)
            return il_fail(error, IL_ERR_UNSUPPORTED, "%s: more than %d files", l->path, SHARDS_MAX);
        IL_TRY(open_shard(l, dir, file, error));
    }
    return IL_OK;
}

/* The only file of that folder that ends so; IL_ERR_IO: there is none, or more than one. */
static il_status open_only(loader *l, const char *dir, il_error *error) {
    char name[256] = "", second[256] = "";
    const struct dirent *entry;
    DIR *folder = opendir(dir);
    if (!folder) return il_fail_errno(error, IL_ERR_IO, "%s: cannot open", dir);
    while ((entry = readdir(folder))) {
        size_t n = strlen(entry->d_name);
        if (n >= sizeof name || entry->d_name[0] == '.' || !ends(entry->d_name, ENDING)) continue;
        memcpy(*name ? second : name, entry->d_name, n + 1);
    }
    closedir(folder);
    if (!*name) return il_fail(error, IL_ERR_IO, "%s: holds neither %s nor %s", dir, WEIGHTS, INDEX);
    if (*second)
        return il_fail(error, IL_ERR_IO, "%s: holds %.100s and %.100s, but no %s that says what is where", dir, name,
                       second, INDEX);
    il_free(l->memory, l->path);
    l->path = il_path_join(l->memory, dir, name);
    return l->path ? open_shard(l, dir, name, error) : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
}

/* safetensors before torch's files, which some directories have beside them. */
static il_status open_files(loader *l, const char *dir, il_error *error) {
    static const struct {
        const char *name;
        int is_index;
    } files[] = {{WEIGHTS, 0}, {INDEX, 1}, {TORCH, 0}, {TORCH_INDEX, 1}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        il_free(l->memory, l->path);
        l->path = il_path_join(l->memory, dir, files[i].name);
        if (!l->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
        if (!il_path_exists(l->path)) continue;
        l->index_name = files[i].name;
        return files[i].is_index ? open_index(l, dir, error) : open_shard(l, dir, files[i].name, error);
    }
    return open_only(l, dir, error);
}

enum { TURNED_AT_ONCE = 512 /* numbers */ };

static il_status read_turned(const il_source *source, size_t from, size_t n, float *out, il_error *error) {
    const il_st_tensor *tensor = source->user;
    size_t width = tensor->shape[0], bytes = il_dtype_bytes(tensor->dtype);
    float numbers[TURNED_AT_ONCE];
    for (size_t at = 0; at < n; at += TURNED_AT_ONCE) {
        il_st_tensor some = *tensor;
        some.count = n - at < TURNED_AT_ONCE ? n - at : TURNED_AT_ONCE;
        some.bytes = some.count * bytes;
        for (size_t k = 0; k < width; k++) {
            some.data = tensor->data + (k * width + from + at) * bytes;
            IL_TRY(il_st_to_f32(&some, numbers, error));
            for (size_t i = 0; i < some.count; i++) out[(at + i) * width + k] = numbers[i];
        }
    }
    return IL_OK;
}

/* Reads the square matrices of linear layers as [in, out]. */
static il_status turn_squares(loader *l, il_error *error) {
    for (size_t i = 0; i < l->n_sources; i++) {
        il_source *source = &l->sources[i];
        int scales;
        const il_table_entry *entry = il_source_entry(&l->declared->table, source->name, &scales);
        if (!entry || scales || !entry->matrix || source->rank != 2 || source->shape[0] != source->shape[1]) continue;
        if (!source->stored ||
            (source->stored->dtype != IL_F32 && source->stored->dtype != IL_BF16 && source->stored->dtype != IL_F16))
            return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "cannot be read as a transposed one", source->path,
                           source->name_there);
        source->user = source->stored;
        source->data = source->stored->data;
        source->bytes = source->stored->bytes;
        source->stored = NULL;
        source->read = read_turned;
        source->scattered = 1;
    }
    return IL_OK;
}

/* The three keys that say which backbone a TTT model has are false where they are left out, and conversions have left
 * them out: what the tensors are is said by the key, not by the first of them that does not fit. */
static il_status check_backbone(const loader *l, il_error *error) {
    const il_config *c = &l->declared->config;
    const struct {
        const char *key, *part;
        int says;
    } keys[] = {{"share_qk", ".conv_q.", c->share_qk},
                {"use_gate", ".g_proj.", c->use_gate},
                {"pre_conv", ".conv.norm.", c->pre_conv}};
    for (size_t k = 0; il_mixer_is_ttt(c->mixer) && k < sizeof keys / sizeof keys[0]; k++) {
        int has = 0;
        for (size_t i = 0; i < l->n_sources && !has; i++)
            has = begins(l->sources[i].name, "model.layers.") && strstr(l->sources[i].name, keys[k].part) != NULL;
        if (has != keys[k].says && l->n_sources)
            return il_fail(error, IL_ERR_MISMATCH, "%s: %s is %s, but the tensors are of a model where it is %s",
                           l->path, keys[k].key, keys[k].says ? "true" : "false, or left out of config.json",
                           has ? "true" : "false");
    }
    return IL_OK;
}

static void close_files(il_origin *origin) {
    loader *l = origin->files;
    for (size_t i = 0; i < l->n_shards; i++) {
        if (l->shards[i].is_torch)
            il_torch_close(&l->shards[i].torch);
        else
            il_st_close(&l->shards[i].st);
        il_free(l->memory, l->shards[i].path);
    }
    il_free(l->memory, l->shards);
    il_free(l->memory, l->sources);
    il_free(l->memory, l->path);
    if (l->index) json_decref(l->index);
    il_free(l->memory, l);
}

static void log_skipped(const loader *l, const char *dir) {
    char text[200];
    size_t n = 0;
    for (int i = 0; i < SKIPPED; i++)
        if (l->skipped[i])
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%zu of %s%s", n ? ", " : "", l->skipped[i],
                                  skipped_names[i], i == SKIPPED_HEAD ? " (the embedding is the head)" : "");
    if (n) il_log(l->engine, IL_LOG_INFO, "%s: not read: %s", dir, text);
}

il_status il_directory_origin_open(il_engine *engine, const char *dir, const il_load_options *options,
                                   il_origin *origin, il_error *error) {
    il_config config;
    IL_TRY(il_config_load(engine, dir, &config, error));
    IL_TRY(il_origin_configure(options, &config, error));
    il_weight_type claimed = config.weights;
    if (claimed == IL_WEIGHTS_BF16) config.weights = IL_WEIGHTS_F32; /* of any float type, in the files */
    loader *l = il_alloc(&engine->memory, 1, sizeof *l);
    if (!l) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    *l = (loader){.engine = engine, .memory = &engine->memory};
    origin->files = l;
    origin->close = close_files;
    l->sees = il_family_of(&config) == il_family_find("qwen3_5_text");
    IL_TRY(il_model_declare(engine, &config, &l->declared, error));
    origin->declared = l->declared;
    IL_TRY(open_files(l, dir, error));
    IL_TRY(check_backbone(l, error));
    for (size_t i = 0, k = 0; i < l->n_shards; i++)
        for (; k < l->n_sources && l->sources[k].path == l->shards[i].path; k++) {
            l->sources[k].map = l->shards[i].is_torch ? &l->shards[i].torch.map : &l->shards[i].st.map;
            l->sources[k].user = &l->shards[i].torch;
        }
    if (options->transposed) IL_TRY(turn_squares(l, error));
    origin->path = l->path;
    origin->sources = l->sources;
    origin->n = l->n_sources;
    origin->usual = claimed;
    if (claimed == IL_WEIGHTS_BF16) /* or only some of them are */
        origin->usual = il_sources_type(l->declared, l->sources, l->n_sources);
    log_skipped(l, dir);
    return IL_OK;
}

il_status il_tensors_check(il_engine *engine, const char *path, il_error *error) {
    il_st st;
    IL_TRY(il_st_open(&engine->memory, path, &st, error));
    il_st_close(&st);
    return IL_OK;
}
