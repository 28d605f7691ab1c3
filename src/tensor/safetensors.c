/* safetensors.c: the safetensors format: 8 bytes of header length, a JSON header, the bytes of all tensors
 * without gap or overlap. Owns the check of every field before use; refuses dtypes and fields it does not
 * know. */
#include "tensor/safetensors.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/kind.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and mapped as they are");

enum {
    HEADER_BYTES_MAX = 16 << 20 /* parsed it takes up to 50 times as much */,
    LENGTH_BYTES = 8,
    RANK_MAX = 8,
    DATA_ALIGN = 64
};
static const char METADATA[] = "__metadata__";

static const struct {
    const char *name;
    size_t bytes;
} dtypes[] = {
    [IL_F32] = {"F32", 4}, [IL_BF16] = {"BF16", 2}, [IL_F16] = {"F16", 2}, [IL_I32] = {"I32", 4},
    [IL_I8] = {"I8", 1},   [IL_U8] = {"U8", 1},     [IL_I64] = {"I64", 8}, [IL_F64] = {"F64", 8},
};
enum { DTYPES = sizeof dtypes / sizeof dtypes[0] };

size_t il_dtype_bytes(il_dtype dtype) { return (unsigned)dtype < DTYPES ? dtypes[dtype].bytes : 0; }

const char *il_dtype_name(il_dtype dtype) { return (unsigned)dtype < DTYPES ? dtypes[dtype].name : "?"; }

/* ---- reading ---- */

/* What a message needs to say where: names longer than that are cut. */
#define WHERE "%s: tensor %.150s: "

/* One dimension or offset: an integer, not negative, that fits size_t. */
static int is_integer(const json_t *value, size_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return 0;
    if ((uintmax_t)json_integer_value(value) > SIZE_MAX) return 0;
    *out = (size_t)json_integer_value(value);
    return 1;
}

static il_status read_dtype(const char *path, const char *name, const json_t *value, il_dtype *dtype, il_error *error) {
    const char *text = json_string_value(value);
    if (!text) return il_fail(error, IL_ERR_FORMAT, WHERE "dtype is missing or not a string", path, name);
    for (int i = 0; i < DTYPES; i++)
        if (strcmp(text, dtypes[i].name) == 0) {
            *dtype = (il_dtype)i;
            return IL_OK;
        }
    return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "dtype %.40s is not supported", path, name, text);
}

static il_status read_shape(const char *path, const json_t *value, il_st_tensor *tensor, il_error *error) {
    const char *name = tensor->name;
    if (!json_is_array(value)) return il_fail(error, IL_ERR_FORMAT, WHERE "shape is missing or not a list", path, name);
    if (json_array_size(value) > RANK_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "shape has %zu dimensions, more than %d", path, name,
                       json_array_size(value), RANK_MAX);
    tensor->rank = (int)json_array_size(value);
    tensor->count = 1;
    for (int i = 0; i < tensor->rank; i++) {
        if (!is_integer(json_array_get(value, (size_t)i), &tensor->shape[i]))
            return il_fail(error, IL_ERR_FORMAT, WHERE "shape[%d] is not an integer", path, name, i);
        if (__builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count))
            return il_fail(error, IL_ERR_FORMAT, WHERE "shape overflows", path, name);
    }
    if (__builtin_mul_overflow(tensor->count, il_dtype_bytes(tensor->dtype), &tensor->bytes))
        return il_fail(error, IL_ERR_FORMAT, WHERE "shape overflows", path, name);
    return IL_OK;
}

/* One tensor's entry of the header; data [data_bytes] is what follows the header. */
static il_status read_tensor(const char *path, const char *name, const json_t *entry, const unsigned char *data,
                             size_t data_bytes, il_st_tensor *tensor, il_error *error) {
    size_t begin, end;
    const char *key;
    json_t *value;
    tensor->name = name;
    if (!json_is_object(entry)) return il_fail(error, IL_ERR_FORMAT, WHERE "is not described by an object", path, name);
    json_object_foreach((json_t *)(uintptr_t)entry, key, value) {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 && strcmp(key, "data_offsets") != 0)
            return il_fail(error, IL_ERR_UNSUPPORTED, WHERE "has an unknown field %.40s", path, name, key);
    }
    IL_TRY(read_dtype(path, name, json_object_get(entry, "dtype"), &tensor->dtype, error));
    IL_TRY(read_shape(path, json_object_get(entry, "shape"), tensor, error));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || !is_integer(json_array_get(offsets, 0), &begin) ||
        !is_integer(json_array_get(offsets, 1), &end))
        return il_fail(error, IL_ERR_FORMAT, WHERE "data_offsets is not two integers", path, name);
    if (begin > end || end > data_bytes)
        return il_fail(error, IL_ERR_FORMAT, WHERE "data_offsets [%zu, %zu] is not within the %zu bytes of data", path,
                       name, begin, end, data_bytes);
    if (end - begin != tensor->bytes)
        return il_fail(error, IL_ERR_FORMAT, WHERE "data_offsets spans %zu bytes, shape and dtype need %zu", path, name,
                       end - begin, tensor->bytes);
    tensor->data = data + begin;
    return IL_OK;
}

static int by_place(const void *left, const void *right) {
    const il_st_tensor *a = left, *b = right;
    if (a->data != b->data) return a->data < b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const il_st_tensor *)left)->name, ((const il_st_tensor *)right)->name);
}

/* Sorted by place, every tensor must begin where the one before it ends, and the last end the file. */
static il_status check_coverage(const char *path, il_st *st, const unsigned char *data, size_t data_bytes,
                                il_error *error) {
    const unsigned char *end = data;
    if (st->n) qsort(st->tensors, st->n, sizeof *st->tensors, by_place);
    for (size_t i = 0; i < st->n; i++) {
        const il_st_tensor *tensor = &st->tensors[i];
        if (tensor->data < end)
            return il_fail(error, IL_ERR_FORMAT, WHERE "data_offsets overlap tensor %.150s", path, tensor->name,
                           st->tensors[i - 1].name);
        if (tensor->data > end)
            return il_fail(error, IL_ERR_FORMAT, WHERE "data_offsets leave a gap of %zu bytes before it", path,
                           tensor->name, (size_t)(tensor->data - end));
        end = tensor->data + tensor->bytes;
    }
    if ((size_t)(end - data) != data_bytes)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes after the last tensor", path,
                       data_bytes - (size_t)(end - data));
    return IL_OK;
}

static il_status read_metadata(const char *path, json_t *metadata, il_st *st, il_error *error) {
    const char *key;
    json_t *value;
    if (!metadata) return IL_OK;
    if (!json_is_object(metadata)) return il_fail(error, IL_ERR_FORMAT, "%s: %s is not an object", path, METADATA);
    st->metadata = il_alloc(st->allocator, json_object_size(metadata), sizeof *st->metadata);
    if (!st->metadata) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the metadata", path);
    json_object_foreach(metadata, key, value) {
        if (!json_is_string(value))
            return il_fail(error, IL_ERR_FORMAT, "%s: %s: %.150s is not a string", path, METADATA, key);
        st->metadata[st->n_metadata++] = (il_st_pair){key, json_string_value(value)};
    }
    return IL_OK;
}

static il_status read_header(const char *path, const unsigned char *bytes, size_t n, il_st *st, il_error *error) {
    json_error_t trouble;
    if (n == 0 || bytes[0] != '{') return il_fail(error, IL_ERR_FORMAT, "%s: the header does not begin with {", path);
    json_t *root = json_loadb((const char *)bytes, n, JSON_REJECT_DUPLICATES, &trouble);
    st->json = root;
    if (!root) {
        if (json_error_code(&trouble) == json_error_out_of_memory)
            return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
        return il_fail(error, IL_ERR_FORMAT, "%s: header, byte %d: %s", path, trouble.position, trouble.text);
    }
    return IL_OK;
}

il_status il_st_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_st *st,
                      il_error *error) {
    const unsigned char *file = data, *body;
    uint64_t header_bytes = 0;
    const char *name;
    json_t *entry;
    il_status status;
    *st = (il_st){.allocator = allocator};
    const char *kind = il_kind_of(data, bytes);
    if (kind && strcmp(kind, IL_KIND_TENSORS) != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: not a safetensors file but %s", path, kind);
    if (bytes < LENGTH_BYTES)
        return il_fail(error, IL_ERR_FORMAT, "%s: not a safetensors file: it has %zu bytes, at least %d are needed",
                       path, bytes, LENGTH_BYTES);
    memcpy(&header_bytes, file, LENGTH_BYTES);
    if (header_bytes > bytes - LENGTH_BYTES)
        return il_fail(error, IL_ERR_FORMAT,
                       "%s: not a safetensors file, or cut short: header length %llu, but only %zu bytes follow", path,
                       (unsigned long long)header_bytes, bytes - LENGTH_BYTES);
    if (header_bytes > HEADER_BYTES_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: header of %.0f MB: more than 16 MiB are not read", path,
                       1e-6 * (double)header_bytes);
    body = file + LENGTH_BYTES + header_bytes;
    size_t body_bytes = bytes - LENGTH_BYTES - (size_t)header_bytes;

    status = read_header(path, file + LENGTH_BYTES, (size_t)header_bytes, st, error);
    if (status != IL_OK) goto fail;
    json_t *root = st->json;
    status = read_metadata(path, json_object_get(root, METADATA), st, error);
    if (status != IL_OK) goto fail;
    st->tensors = il_alloc(allocator, json_object_size(root), sizeof *st->tensors);
    if (!st->tensors) {
        status = il_fail(error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", path, json_object_size(root));
        goto fail;
    }
    json_object_foreach(root, name, entry) {
        if (strcmp(name, METADATA) == 0) continue;
        status = read_tensor(path, name, entry, body, body_bytes, &st->tensors[st->n++], error);
        if (status != IL_OK) goto fail;
    }
    status = check_coverage(path, st, body, body_bytes, error);
    if (status != IL_OK) goto fail;
    if (st->n) qsort(st->tensors, st->n, sizeof *st->tensors, by_name);
    return IL_OK;
fail:
    il_st_close(st);
    return status;
}

il_status il_st_open(const il_allocator *allocator, const char *path, il_st *st, il_error *error) {
    il_map map;
    *st = (il_st){.allocator = allocator};
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_st_parse(allocator, path, map.data, map.bytes, st, error);
    if (status == IL_OK)
        st->map = map;
    else
        il_map_close(&map);
    return status;
}

void il_st_close(il_st *st) {
    if (st->json) json_decref(st->json);
    if (st->tensors) il_free(st->allocator, st->tensors);
    if (st->metadata) il_free(st->allocator, st->metadata);
    il_map_close(&st->map);
    *st = (il_st){.allocator = st->allocator};
}

const il_st_tensor *il_st_find(const il_st *st, const char *name) {
    il_st_tensor key = {.name = name};
    return st->n ? bsearch(&key, st->tensors, st->n, sizeof *st->tensors, by_name) : NULL;
}

const char *il_st_meta(const il_st *st, const char *key) {
    for (size_t i = 0; i < st->n_metadata; i++)
        if (strcmp(st->metadata[i].key, key) == 0) return st->metadata[i].value;
    return NULL;
}

/* ---- conversion ---- */

il_status il_st_to_f32(const il_st_tensor *tensor, float *out, il_error *error) {
    uint16_t half;
    switch (tensor->dtype) {
    case IL_F32:
        if (tensor->bytes) memcpy(out, tensor->data, tensor->bytes);
        return IL_OK;
    case IL_BF16:
        for (size_t i = 0; i < tensor->count; i++) {
            memcpy(&half, tensor->data + 2 * i, sizeof half);
            out[i] = il_float_of_bf16(half);
        }
        return IL_OK;
    case IL_F16:
        for (size_t i = 0; i < tensor->count; i++) {
            memcpy(&half, tensor->data + 2 * i, sizeof half);
            out[i] = il_float_of_f16(half);
        }
        return IL_OK;
    default:
        return il_fail(error, IL_ERR_UNSUPPORTED, "tensor %.150s: dtype %s is not F32, BF16 or F16", tensor->name,
                       il_dtype_name(tensor->dtype));
    }
}

/* ---- writing ---- */

static il_status item_bytes(const char *path, const il_st_item *item, size_t *bytes, il_error *error) {
    *bytes = il_dtype_bytes(item->dtype);
    if (!*bytes || item->rank < 0 || item->rank > RANK_MAX)
        return il_fail(error, IL_ERR_ARG, WHERE "dtype %d, rank %d", path, item->name, (int)item->dtype, item->rank);
    for (int i = 0; i < item->rank; i++)
        if (__builtin_mul_overflow(*bytes, item->shape[i], bytes))
            return il_fail(error, IL_ERR_ARG, WHERE "shape overflows", path, item->name);
    return IL_OK;
}

/* NULL when memory is short. */
static json_t *describe(const il_st_item *item, size_t begin, size_t end) {
    json_t *shape = json_array();
    for (int i = 0; shape && i < item->rank; i++)
        if (json_array_append_new(shape, json_integer((json_int_t)item->shape[i])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", il_dtype_name(item->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)end);
}

static il_status make_header(const char *path, const il_st_item *items, size_t n, const il_st_pair *metadata,
                             size_t n_metadata, json_t *root, il_error *error) {
    size_t begin = 0, end, bytes;
    if (n_metadata) {
        json_t *object = json_object();
        if (json_object_set_new(root, METADATA, object) != 0)
            return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
        for (size_t i = 0; i < n_metadata; i++) {
            if (json_object_get(object, metadata[i].key))
                return il_fail(error, IL_ERR_ARG, "%s: %s: %.150s is there twice", path, METADATA, metadata[i].key);
            if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0)
                return il_fail(error, IL_ERR_ARG, "%s: %s: %.150s is not UTF-8", path, METADATA, metadata[i].key);
        }
    }
    for (size_t i = 0; i < n; i++, begin = end) {
        IL_TRY(item_bytes(path, &items[i], &bytes, error));
        if (__builtin_add_overflow(begin, bytes, &end) || end > INT64_MAX)
            return il_fail(error, IL_ERR_ARG, WHERE "shape overflows", path, items[i].name);
        if (strcmp(items[i].name, METADATA) == 0 || json_object_get(root, items[i].name))
            return il_fail(error, IL_ERR_ARG, WHERE "its name is taken", path, items[i].name);
        json_t *entry = describe(&items[i], begin, end);
        if (!entry) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
        if (json_object_set_new(root, items[i].name, entry) != 0)
            return il_fail(error, IL_ERR_ARG, WHERE "its name is not UTF-8", path, items[i].name);
    }
    return IL_OK;
}

static int count_bytes(const char *text, size_t bytes, void *total) {
    (void)text;
    *(size_t *)total += bytes;
    return 0;
}

static int append_bytes(const char *text, size_t bytes, void *end) {
    char **at = end;
    memcpy(*at, text, bytes);
    *at += bytes;
    return 0;
}

/* Length, JSON, and spaces up to a multiple of DATA_ALIGN, where the data begin. */
static il_status dump_header(const il_allocator *allocator, const char *path, const json_t *root,
                             unsigned char **header, size_t *bytes, il_error *error) {
    size_t length = 0;
    if (json_dump_callback(root, count_bytes, &length, JSON_COMPACT) != 0)
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
    size_t padding = (DATA_ALIGN - (LENGTH_BYTES + length) % DATA_ALIGN) % DATA_ALIGN;
    uint64_t header_bytes = length + padding;
    if (header_bytes > HEADER_BYTES_MAX)
        return il_fail(error, IL_ERR_ARG, "%s: header of %.0f MB: more than 16 MiB are not written", path,
                       1e-6 * (double)header_bytes);
    unsigned char *block = il_alloc_raw(allocator, LENGTH_BYTES + (size_t)header_bytes, 1);
    if (!block) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
    char *end = (char *)block + LENGTH_BYTES;
    memcpy(block, &header_bytes, LENGTH_BYTES);
    if (json_dump_callback(root, append_bytes, &end, JSON_COMPACT) != 0) {
        il_free(allocator, block);
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
    }
    memset(end, ' ', padding);
    *header = block;
    *bytes = LENGTH_BYTES + (size_t)header_bytes;
    return IL_OK;
}

il_status il_st_header(const il_allocator *allocator, const char *path, const il_st_item *items, size_t n,
                       const il_st_pair *metadata, size_t n_metadata, unsigned char **header, size_t *bytes,
                       il_error *error) {
    *header = NULL;
    json_t *root = json_object();
    if (!root) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory for the header", path);
    il_status status = make_header(path, items, n, metadata, n_metadata, root, error);
    if (status == IL_OK) status = dump_header(allocator, path, root, header, bytes, error);
    json_decref(root);
    return status;
}

il_status il_st_write(const il_allocator *allocator, const char *path, const il_st_item *items, size_t n,
                      const il_st_pair *metadata, size_t n_metadata, il_error *error) {
    il_writer writer = {.fd = -1, .allocator = allocator};
    unsigned char *header;
    size_t bytes;
    IL_TRY(il_st_header(allocator, path, items, n, metadata, n_metadata, &header, &bytes, error));
    il_status status = il_writer_open(allocator, path, &writer, error);
    if (status == IL_OK) status = il_writer_write(&writer, header, bytes, error);
    for (size_t i = 0; status == IL_OK && i < n; i++) {
        status = item_bytes(path, &items[i], &bytes, error);
        if (status == IL_OK) status = il_writer_write(&writer, items[i].data, bytes, error);
    }
    if (status == IL_OK) status = il_writer_finish(&writer, error);
    if (status != IL_OK) il_writer_abandon(&writer);
    il_free(allocator, header);
    return status;
}
