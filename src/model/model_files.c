/* model_files.c: model directories in the Hugging Face layout, and the fingerprint of a model. Owns the match
 * between config.json and the tensors of the files: nothing is allocated for weights before every name, dtype
 * and shape fits. Refuses tensors that are missing, unknown, misshapen or not finite, by name. */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the hash state lives on the stack */
#include <xxhash.h>

#include "base/error.h"
#include "base/folder.h"
#include "base/hex.h"
#include "model/build.h"
#include "model/config_write.h"
#include "model/mixer_names.h"
#include "model/model_files.h"
#include "tensor/safetensors.h"

enum { INDEX_BYTES_MAX = 1 << 24, SHARDS_MAX = 1024, NAME_BYTES = 112 /* an entry's name and its scales' */ };

static const char CONFIG[] = "config.json", GENERATION[] = "generation_config.json", WEIGHTS[] = "model.safetensors",
                  INDEX[] = "model.safetensors.index.json", HEAD[] = "lm_head.weight", SCALES[] = "_scale";

#define WHERE "%s: tensor %.150s: "

/* ---- loading ---- */

typedef struct shard {
    char *path;
    il_st st;
} shard;

/* Where a tensor of the table comes from. */
typedef struct source {
    const il_st_tensor *tensor;
    const il_st_tensor *scales; /* of a quantized matrix */
    const char *path;
} source;

typedef struct loader {
    const il_allocator *memory;
    il_model *model;
    char *path; /* the one file, or the index */
    json_t *index;
    json_t *weight_map; /* in index; NULL: one file */
    shard *shards;
    size_t n_shards, capacity;
    source *sources;   /* [table.n] */
    source tied_head;  /* a tied file's copy of the embedding, if it has one */
    atomic_size_t bad; /* lowest tensor that is not finite; SIZE_MAX: none */
} loader;

/* Buffers that older transformers wrote and nobody needs: the RoPE frequencies. */
static int is_ignored(const char *name) {
    static const char tail[] = "rotary_emb.inv_freq";
    size_t n = strlen(name), m = sizeof tail - 1;
    return n >= m && strcmp(name + n - m, tail) == 0 && (n == m || name[n - m - 1] == '.');
}

static int is_tied_head(const loader *l, const char *name) {
    const il_config *c = &l->model->config;
    return c->tie_word_embeddings && c->weights == IL_WEIGHTS_F32 && strcmp(name, HEAD) == 0;
}

/* "[48, 1, 4]" */
static const char *shape_text(int rank, const size_t *shape, char text[100]) {
    int n = snprintf(text, 100, "[");
    for (int i = 0; i < rank && n < 80; i++) n += snprintf(text + n, 100 - (size_t)n, "%s%zu", i ? ", " : "", shape[i]);
    snprintf(text + (n < 98 ? n : 98), 2, "]");
    return text;
}

static int is_quantized(const il_table_entry *entry) {
    return entry->matrix && il_lp_row_scales(entry->type, entry->shape[1]);
}

/* The entry whose tensor is called so or, with *scales set, whose scales are. NULL: none. */
static const il_table_entry *find_entry(const il_table *table, const char *name, int *scales) {
    char matrix[sizeof table->entries->name];
    const il_table_entry *entry = il_table_find(table, name);
    size_t n = strlen(name), m = sizeof SCALES - 1;
    *scales = 0;
    if (entry || n <= m || n - m >= sizeof matrix || strcmp(name + n - m, SCALES) != 0) return entry;
    memcpy(matrix, name, n - m);
    matrix[n - m] = 0;
    entry = il_table_find(table, matrix);
    *scales = 1;
    return entry && is_quantized(entry) ? entry : NULL;
}

/* rank and shape must be entry's; a quantized matrix has integers, and scales of its rows and groups. */
static il_status check_tensor(const char *path, const il_st_tensor *tensor, const il_table_entry *whole, int scales,
                              il_error *error) {
    char have[100], need[100];
    il_table_entry scale = *whole;
    const il_table_entry *entry = whole;
    if (scales) {
        scale.shape[1] = il_lp_row_scales(whole->type, whole->shape[1]);
        entry = &scale;
    } else if (whole->type == IL_WEIGHTS_INT4) {
        scale.shape[1] = il_lp_row_bytes(whole->type, whole->shape[1]); /* two in a byte */
        entry = &scale;
    }
    if (is_quantized(whole)) {
        il_dtype dtype = scales ? IL_F32 : whole->type == IL_WEIGHTS_INT4 ? IL_U8 : IL_I8;
        if (tensor->dtype != dtype)
            return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %s, where %s must be", path, tensor->name,
                           il_dtype_name(tensor->dtype), il_dtype_name(dtype));
    } else if (tensor->dtype != IL_F32 && tensor->dtype != IL_BF16 && tensor->dtype != IL_F16)
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %s, where F32, BF16 or F16 must be", path, tensor->name,
                       il_dtype_name(tensor->dtype));
    int same = tensor->rank == entry->rank;
    for (int i = 0; same && i < entry->rank; i++) same = tensor->shape[i] == entry->shape[i];
    if (same) return IL_OK;
    return il_fail(error, IL_ERR_MISMATCH, WHERE "shape %s, but %s makes it %s", path, tensor->name,
                   shape_text(tensor->rank, tensor->shape, have), CONFIG, shape_text(entry->rank, entry->shape, need));
}

static il_status unknown_tensor(const char *path, const char *name, il_error *error) {
    return il_fail(error, IL_ERR_MISMATCH, WHERE "a model of this %s has no such tensor", path, name, CONFIG);
}

/* Finds the place of every tensor of a shard. */
static il_status claim(loader *l, const shard *from, const char *shard_name, il_error *error) {
    const il_table *table = &l->model->table;
    for (size_t i = 0; i < from->st.n; i++) {
        const il_st_tensor *tensor = &from->st.tensors[i];
        if (is_ignored(tensor->name)) continue;
        int tied_head = is_tied_head(l, tensor->name), scales = 0;
        const il_table_entry *entry = tied_head ? &table->entries[0] : find_entry(table, tensor->name, &scales);
        if (!entry) return unknown_tensor(from->path, tensor->name, error);
        IL_TRY(check_tensor(from->path, tensor, entry, scales, error));
        if (l->weight_map) {
            const char *place = json_string_value(json_object_get(l->weight_map, tensor->name));
            if (!place || strcmp(place, shard_name) != 0)
                return il_fail(error, IL_ERR_FORMAT, WHERE "%s says it is in %.100s", from->path, tensor->name, INDEX,
                               place ? place : "no file");
        }
        source *to = tied_head ? &l->tied_head : &l->sources[entry - table->entries];
        if (scales)
            to->scales = tensor;
        else
            to->tensor = tensor;
        to->path = from->path;
    }
    return IL_OK;
}

static il_status check_complete(const loader *l, il_error *error) {
    for (size_t i = 0; i < l->model->table.n; i++) {
        const il_table_entry *entry = &l->model->table.entries[i];
        const source *from = &l->sources[i];
        if (!from->tensor) return il_fail(error, IL_ERR_MISMATCH, WHERE "is missing", l->path, entry->name);
        if (!from->scales && is_quantized(entry))
            return il_fail(error, IL_ERR_MISMATCH, "%s: tensor %.150s%s: is missing", l->path, entry->name, SCALES);
    }
    return IL_OK;
}

/* Where the config says bf16 and all matrices are they stay so; where only some are, all is widened. */
static il_status choose_type(loader *l, il_weight_type claimed, il_error *error) {
    il_config config = l->model->config;
    il_model *rounded;
    if (claimed != IL_WEIGHTS_BF16) return IL_OK;
    for (size_t i = 0; i < l->model->table.n; i++)
        if (l->model->table.entries[i].matrix && l->sources[i].tensor->dtype != IL_BF16) return IL_OK;
    config.weights = IL_WEIGHTS_BF16;
    IL_TRY(il_model_declare(l->model->engine, &config, &rounded, error));
    il_model_unref(l->model);
    l->model = rounded;
    return IL_OK;
}

static il_status open_shard(loader *l, const char *dir, const char *name, il_error *error) {
    void *block = l->shards;
    if (!il_grow(l->memory, &block, &l->capacity, l->n_shards, l->n_shards + 1, sizeof *l->shards))
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    l->shards = block;
    shard *s = &l->shards[l->n_shards];
    *s = (shard){.path = il_path_join(l->memory, dir, name)};
    if (!s->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_status status = il_st_open(l->memory, s->path, &s->st, error);
    if (status != IL_OK) {
        il_free(l->memory, s->path);
        return status;
    }
    l->n_shards++;
    return claim(l, s, name, error);
}

/* A shard lies beside its index: its name leads nowhere else. */
static int is_plain_name(const char *name) {
    return *name && *name != '.' && !strchr(name, '/') && !strchr(name, '\\') && !strstr(name, "..") &&
           strlen(name) < 256;
}

static il_status open_index(loader *l, const char *dir, il_error *error) {
    il_map map;
    json_error_t trouble;
    const char *name;
    json_t *value;
    IL_TRY(il_map_open(l->path, &map, error));
    if (map.bytes > INDEX_BYTES_MAX) {
        size_t bytes = map.bytes;
        il_map_close(&map);
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu bytes: more than 16 MiB are not read", l->path, bytes);
    }
    l->index = json_loadb(map.bytes ? (const char *)map.data : "", map.bytes, JSON_REJECT_DUPLICATES, &trouble);
    il_map_close(&map);
    if (!l->index && json_error_code(&trouble) == json_error_out_of_memory)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", l->path);
    if (!l->index) return il_fail(error, IL_ERR_FORMAT, "%s: line %d: %s", l->path, trouble.line, trouble.text);
    l->weight_map = json_object_get(l->index, "weight_map");
    if (!json_is_object(l->weight_map)) {
        l->weight_map = NULL;
        return il_fail(error, IL_ERR_FORMAT, "%s: weight_map is missing or not an object", l->path);
    }
    json_object_foreach(l->weight_map, name, value) {
        const char *file = json_string_value(value);
        size_t seen = 0;
        if (is_ignored(name)) continue;
        int scales;
        if (!is_tied_head(l, name) && !find_entry(&l->model->table, name, &scales))
            return unknown_tensor(l->path, name, error);
        if (!file || !is_plain_name(file))
            return il_fail(error, IL_ERR_FORMAT, WHERE "its place is not a plain file name", l->path, name);
        size_t head = strlen(l->path) - (sizeof INDEX - 1);
        while (seen < l->n_shards && strcmp(l->shards[seen].path + head, file) != 0) seen++;
        if (seen < l->n_shards) continue;
        if (l->n_shards == SHARDS_MAX)
            return il_fail(error, IL_ERR_UNSUPPORTED, "%s: more than %d files", l->path, SHARDS_MAX);
        IL_TRY(open_shard(l, dir, file, error));
    }
    return IL_OK;
}

static il_status open_files(loader *l, const char *dir, il_error *error) {
    l->path = il_path_join(l->memory, dir, WEIGHTS);
    if (!l->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    if (il_path_exists(l->path)) return open_shard(l, dir, WEIGHTS, error);
    il_free(l->memory, l->path);
    l->path = il_path_join(l->memory, dir, INDEX);
    if (!l->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    if (il_path_exists(l->path)) return open_index(l, dir, error);
    return il_fail(error, IL_ERR_IO, "%s: holds neither %s nor %s", dir, WEIGHTS, INDEX);
}

/* A scale times the largest integer must be a number. Only int4 has an integer to gain by a negative one. */
static int is_scale(il_weight_type type, float x) {
    return fabsf(x) <= FLT_MAX / 128 && (x >= 0 || type == IL_WEIGHTS_INT4);
}

/* A tensor into a low-precision matrix. Whether all of it are numbers: in bf16 an exponent of all ones is none. */
static int read_lp(const il_lp_matrix *matrix, const source *from) {
    size_t in = (size_t)matrix->in, row_bytes = il_lp_row_bytes(matrix->type, in);
    size_t scale_bytes = il_lp_row_scales(matrix->type, in) * sizeof(float);
    uint16_t half;
    float scale;
    for (size_t row = 0; row < (size_t)matrix->out; row++)
        il_lp_put_bytes(matrix, row, from->tensor->data + row * row_bytes,
                        from->scales ? from->scales->data + row * scale_bytes : NULL);
    for (size_t i = 0; from->scales && i < from->scales->count; i++) {
        memcpy(&scale, from->scales->data + i * sizeof scale, sizeof scale);
        if (!is_scale(matrix->type, scale)) return 0;
    }
    for (size_t i = 0; !from->scales && i < from->tensor->count; i++) {
        memcpy(&half, from->tensor->data + i * sizeof half, sizeof half);
        if ((half & 0x7f80) == 0x7f80) return 0;
    }
    return 1;
}

/* The dtype was checked: converting cannot fail. */
static int read_plain(loader *l, const il_table_entry *entry, const il_st_tensor *tensor) {
    float *to = l->model->weights + entry->offset;
    return il_st_to_f32(tensor, to, NULL) == IL_OK && l->model->engine->kernels->all_finite(entry->count, to);
}

static void read_one(void *context, int item, int worker) {
    loader *l = context;
    const il_table_entry *entry = &l->model->table.entries[item];
    const il_st_tensor *tensor = l->sources[item].tensor;
    (void)worker;
    size_t lowest = atomic_load(&l->bad);
    il_lp_matrix matrix = il_model_lp(l->model, entry);
    if (entry->type == IL_WEIGHTS_F32 ? read_plain(l, entry, tensor) : read_lp(&matrix, &l->sources[item])) return;
    while ((size_t)item < lowest && !atomic_compare_exchange_weak(&l->bad, &lowest, (size_t)item)) {}
}

static il_status read_all(loader *l, il_error *error) {
    il_model *model = l->model;
    IL_TRY(il_model_allocate(model, error));
    atomic_init(&l->bad, SIZE_MAX);
    il_pool_run(model->engine->pool, (int)model->table.n, read_one, l);
    size_t bad = atomic_load(&l->bad), at = 0;
    if (bad == SIZE_MAX) return IL_OK;
    const source *from = &l->sources[bad];
    il_weight_type type = model->table.entries[bad].type;
    il_st_tensor element = from->scales ? *from->scales : *from->tensor;
    float x = 0;
    size_t size = il_dtype_bytes(element.dtype), count = element.count;
    element.count = 1;
    element.bytes = size;
    for (; at < count; at++, element.data += size)
        if (il_st_to_f32(&element, &x, NULL) != IL_OK || !(from->scales ? is_scale(type, x) : isfinite(x))) break;
    return il_fail(error, IL_ERR_NONFINITE, WHERE "element %zu is %g", from->path, element.name, at, (double)x);
}

/* A tied file may hold the head as well, if it is the embedding. */
static il_status check_tied_head(const loader *l, il_error *error) {
    const il_st_tensor *head = l->tied_head.tensor, *embedding = l->sources[0].tensor;
    float numbers[2][512];
    if (!head) return IL_OK;
    size_t step = sizeof numbers[0] / sizeof numbers[0][0];
    for (size_t i = 0; i < head->count; i += step) {
        size_t n = head->count - i < step ? head->count - i : step;
        for (int k = 0; k < 2; k++) {
            il_st_tensor some = k ? *embedding : *head;
            size_t size = il_dtype_bytes(some.dtype);
            some.count = n;
            some.bytes = n * size;
            some.data += i * size;
            IL_TRY(il_st_to_f32(&some, numbers[k], error));
        }
        if (memcmp(numbers[0], numbers[1], n * sizeof numbers[0][0]) != 0)
            return il_fail(error, IL_ERR_MISMATCH, WHERE "differs from the embedding, but %s ties them",
                           l->tied_head.path, HEAD, CONFIG);
    }
    return IL_OK;
}

static void close_files(loader *l) {
    for (size_t i = 0; i < l->n_shards; i++) {
        il_st_close(&l->shards[i].st);
        il_free(l->memory, l->shards[i].path);
    }
    il_free(l->memory, l->shards);
    il_free(l->memory, l->sources);
    il_free(l->memory, l->path);
    if (l->index) json_decref(l->index);
}

il_status il_model_load(il_engine *engine, const char *dir, il_model **model, il_error *error) {
    il_config config;
    loader l = {.memory = &engine->memory};
    *model = NULL;
    IL_TRY(il_config_load(engine, dir, &config, error));
    il_weight_type claimed = config.weights;
    if (claimed == IL_WEIGHTS_BF16) config.weights = IL_WEIGHTS_F32; /* until the files are seen */
    il_status status = il_model_declare(engine, &config, &l.model, error);
    if (status != IL_OK) return status;
    l.sources = il_alloc(l.memory, l.model->table.n, sizeof *l.sources);
    status = l.sources ? open_files(&l, dir, error) : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    if (status == IL_OK) status = check_complete(&l, error);
    if (status == IL_OK) status = choose_type(&l, claimed, error);
    if (status == IL_OK) status = read_all(&l, error);
    if (status == IL_OK) status = check_tied_head(&l, error);
    close_files(&l);
    if (status != IL_OK) {
        il_model_unref(l.model);
        return status;
    }
    *model = l.model;
    return IL_OK;
}

il_status il_tensors_check(il_engine *engine, const char *path, il_error *error) {
    il_st st;
    IL_TRY(il_st_open(&engine->memory, path, &st, error));
    il_st_close(&st);
    return IL_OK;
}

/* ---- saving ---- */

static il_status save_text(const il_allocator *memory, const char *dir, const char *name, const char *text,
                           il_error *error) {
    char *path = il_path_join(memory, dir, name);
    if (!path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_status status = il_file_replace(memory, path, text, strlen(text), error);
    il_free(memory, path);
    return status;
}

static il_status write_lp(const il_allocator *memory, il_writer *writer, const il_lp_matrix *matrix, il_error *error) {
    size_t bytes[2] = {il_lp_row_bytes(matrix->type, (size_t)matrix->in),
                       il_lp_row_scales(matrix->type, (size_t)matrix->in) * sizeof(float)};
    unsigned char *row = il_alloc_raw(memory, bytes[0] + bytes[1], 1);
    if (!row) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", writer->path);
    il_status status = IL_OK;
    for (int scales = 0; scales < 2 && bytes[scales]; scales++)
        for (int i = 0; i < matrix->out && status == IL_OK; i++) {
            il_lp_get_bytes(matrix, (size_t)i, row, row + bytes[0]);
            status = il_writer_write(writer, row + (scales ? bytes[0] : 0), bytes[scales], error);
        }
    il_free(memory, row);
    return status;
}

/* What a file calls an entry's tensor and, for quantized matrices, its scales. */
static size_t describe(const il_table_entry *entry, il_st_item items[2], char scale_name[NAME_BYTES]) {
    items[0] = (il_st_item){.name = entry->name, .rank = entry->rank};
    items[0].dtype = entry->type == IL_WEIGHTS_BF16 ? IL_BF16 : IL_F32;
    memcpy(items[0].shape, entry->shape, sizeof entry->shape);
    if (!is_quantized(entry)) return 1;
    items[0].dtype = entry->type == IL_WEIGHTS_INT4 ? IL_U8 : IL_I8;
    items[0].shape[1] = il_lp_row_bytes(entry->type, entry->shape[1]);
    items[1] = items[0];
    items[1].dtype = IL_F32;
    items[1].shape[1] = il_lp_row_scales(entry->type, entry->shape[1]);
    snprintf(scale_name, NAME_BYTES, "%s%s", entry->name, SCALES);
    items[1].name = scale_name;
    return 2;
}

/* What could not be loaded again is not written: training that went wrong must not take the place of what went well.
 * Low-precision weights were checked when they were made. */
static il_status check_finite(const il_model *model, const char *path, il_error *error) {
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        if (entry->type != IL_WEIGHTS_F32) continue;
        if (!model->engine->kernels->all_finite(entry->count, model->weights + entry->offset))
            return il_fail(error, IL_ERR_NONFINITE, WHERE "holds a number that is not finite", path, entry->name);
    }
    return IL_OK;
}

/* Header, then the tensors in the table's order. */
static il_status write_weights(const il_model *model, const char *path, il_st_item *items, char (*names)[NAME_BYTES],
                               il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    const il_table *table = &model->table;
    il_writer writer = {.fd = -1, .allocator = memory};
    unsigned char *header;
    size_t bytes, n = 0;
    char fingerprint[33];
    IL_TRY(check_finite(model, path, error));
    for (size_t i = 0; i < table->n; i++) n += describe(&table->entries[i], items + n, names[i]);
    il_model_fingerprint(model, fingerprint);
    il_st_pair metadata[] = {{"format", "pt"}, {"fingerprint", fingerprint}}; /* transformers wants the first */
    IL_TRY(il_st_header(memory, path, items, n, metadata, 2, &header, &bytes, error));
    il_status status = il_writer_open(memory, path, &writer, error);
    if (status == IL_OK) status = il_writer_write(&writer, header, bytes, error);
    for (size_t i = 0; i < table->n && status == IL_OK; i++) {
        const il_table_entry *entry = &table->entries[i];
        il_lp_matrix matrix = il_model_lp(model, entry);
        if (entry->type == IL_WEIGHTS_F32)
            status = il_writer_write(&writer, model->weights + entry->offset, entry->count * sizeof(float), error);
        else
            status = write_lp(memory, &writer, &matrix, error);
    }
    if (status == IL_OK) status = il_writer_finish(&writer, error);
    if (status != IL_OK) il_writer_abandon(&writer);
    il_free(memory, header);
    return status;
}

static il_status save_weights(const il_model *model, const char *dir, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    char *path = il_path_join(memory, dir, WEIGHTS);
    il_st_item *items = il_alloc(memory, 2 * model->table.n, sizeof *items);
    char(*names)[NAME_BYTES] = il_alloc(memory, model->table.n, sizeof *names);
    il_status status = path && items && names ? write_weights(model, path, items, names, error)
                                              : il_fail(error, IL_ERR_NOMEM, "%s: out of memory", dir);
    il_free(memory, names);
    il_free(memory, items);
    il_free(memory, path);
    return status;
}

static void token_line(const char *key, int token, char text[64]) {
    text[0] = 0;
    if (token >= 0) snprintf(text, 64, ",\n  \"%s\": %d", key, token);
}

/* The weights come first: they are what a full disk refuses. */
il_status il_model_write(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    const il_allocator *memory = &model->engine->memory;
    char bos[64], eos[64], generation[256], *config;
    IL_TRY(il_config_text(memory, &model->config, &config, error));
    token_line("bos_token_id", model->config.bos_token, bos);
    token_line("eos_token_id", model->config.eos_token, eos);
    snprintf(generation, sizeof generation, "{\n  \"_from_model_config\": true%s%s\n}\n", bos, eos);
    il_status status = save_weights(model, dir, error);
    if (status == IL_OK) status = save_text(memory, dir, GENERATION, generation, error);
    if (status == IL_OK && tokenizer) status = il_tokenizer_save(tokenizer, dir, error);
    if (status == IL_OK) status = save_text(memory, dir, CONFIG, config, error);
    il_free(memory, config);
    return status;
}

void il_lock_report(const il_engine *engine, const il_lock *lock, const char *dir) {
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    char why[128];
    if (!lock->unsupported || atomic_flag_test_and_set(&reported)) return;
    il_log(engine, IL_LOG_WARN, "%s: its file system has no locks (%s): nothing keeps two processes from writing there",
           dir, strerror_r(lock->unsupported, why, sizeof why));
}

il_status il_model_save_with(const il_model *model, const il_tokenizer *tokenizer, const char *dir, il_error *error) {
    static const char *const with[] = {IL_MODEL_FILES, NULL};
    static const char *const without[] = {WEIGHTS, GENERATION, CONFIG, NULL};
    il_folder folder;
    il_status status = il_folder_open(&model->engine->memory, dir, tokenizer ? with : without, 1, &folder, error);
    il_lock_report(model->engine, &folder.lock, dir);
    if (status == IL_OK) status = il_model_write(model, tokenizer, folder.temporary, error);
    if (status == IL_OK) status = il_folder_finish(&folder, error);
    if (status != IL_OK) il_folder_abandon(&folder);
    return status;
}

il_status il_model_save(const il_model *model, const char *dir, il_error *error) {
    return il_model_save_with(model, NULL, dir, error);
}

/* ---- fingerprint ---- */

static void hash_number(XXH3_state_t *state, uint64_t x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_real(XXH3_state_t *state, double x) { XXH3_128bits_update(state, &x, sizeof x); }

static void hash_text(XXH3_state_t *state, const char *text) { XXH3_128bits_update(state, text, strlen(text) + 1); }

/* A matrix of bf16 counts as the numbers it stands for: it computes what they compute. Quantized it is another model
 * than its numbers in fp32, because its inputs are quantized too: scales tell which. */
static void hash_lp(XXH3_state_t *state, const il_lp_matrix *matrix) {
    float x[IL_LP_GROUP];
    if (matrix->type != IL_WEIGHTS_BF16) hash_text(state, il_weight_type_name(matrix->type));
    for (size_t row = 0; row < (size_t)matrix->out; row++)
        for (int from = 0; from < matrix->in; from += IL_LP_GROUP) {
            int n = matrix->in - from < IL_LP_GROUP ? matrix->in - from : IL_LP_GROUP;
            il_lp_get_group(matrix, row, from, n, x);
            XXH3_128bits_update(state, x, (size_t)n * sizeof *x);
            if (matrix->type == IL_WEIGHTS_BF16) continue;
            float scale = il_lp_scale(matrix, row, from);
            XXH3_128bits_update(state, &scale, sizeof scale);
        }
}

/* What the model computes, nothing else: token ids that only steer losses and sampling are left out.
 * Little-endian. The order is part of every state file: append, never change. */
static void hash_model(XXH3_state_t *state, const il_model *model) {
    const il_config *c = &model->config;
    hash_text(state, il_mixer_name(c->mixer));
    const int sizes[] = {c->vocab_size, c->width, c->ffn_width, c->layers, c->heads, !!c->tie_word_embeddings};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) hash_number(state, (uint64_t)sizes[i]);
    hash_real(state, c->rope_theta);
    hash_real(state, c->rms_norm_eps);
    if (il_mixer_is_ttt(c->mixer)) {
        const int inner[] = {c->mini_batch, c->conv_kernel, !!c->share_qk, !!c->use_gate, !!c->pre_conv};
        for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++) hash_number(state, (uint64_t)inner[i]);
        hash_real(state, c->ttt_base_lr);
    }
    if (il_config_layers_of(c, IL_MIXER_GATED_DELTA)) {
        const int delta[] = {c->mini_batch,      c->delta_key_heads,   c->delta_value_heads,
                             c->delta_key_width, c->delta_value_width, c->delta_taps};
        for (size_t i = 0; i < sizeof delta / sizeof delta[0]; i++) hash_number(state, (uint64_t)delta[i]);
    }
    if (c->fast_head_size) { /* appended, so that models without one keep their fingerprints */
        hash_text(state, "fast_head");
        hash_number(state, (uint64_t)c->fast_head_size);
        hash_real(state, c->fast_head_lr);
        if (!il_model_is_recurrent(model)) hash_number(state, (uint64_t)c->mini_batch);
        if (c->fast_head_tokens) hash_number(state, (uint64_t)c->fast_head_tokens);
    }
    for (int i = 0; il_config_is_hybrid(c) && i < c->layers; i++) /* appended, too */
        hash_text(state, il_mixer_name(il_config_mixer(c, i)));
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *entry = &model->table.entries[i];
        hash_text(state, entry->name);
        hash_number(state, (uint64_t)entry->rank);
        for (int k = 0; k < entry->rank; k++) hash_number(state, entry->shape[k]);
        il_lp_matrix matrix = il_model_lp(model, entry);
        if (entry->type == IL_WEIGHTS_F32)
            XXH3_128bits_update(state, model->weights + entry->offset, entry->count * sizeof(float));
        else
            hash_lp(state, &matrix);
    }
}

void il_model_fingerprint(const il_model *model, char hex[33]) {
    il_model *cache = (il_model *)(uintptr_t)model; /* only the cached text changes */
    pthread_mutex_lock(&cache->fingerprint_lock);
    if (cache->fingerprint_version != model->version) {
        XXH3_state_t state;
        XXH3_INITSTATE(&state);
        XXH3_128bits_reset(&state);
        hash_model(&state, model);
        XXH128_hash_t hash = XXH3_128bits_digest(&state);
        il_hex128(hash.high64, hash.low64, cache->fingerprint);
        cache->fingerprint_version = model->version;
    }
    memcpy(hex, cache->fingerprint, sizeof cache->fingerprint);
    pthread_mutex_unlock(&cache->fingerprint_lock);
}
