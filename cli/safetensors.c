/* safetensors.c: writing gradients, listing files. */
#include "safetensors.h"
#include "files.h"
#include "output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PREFIX = 8, HEADER_BYTES_MAX = 16 << 20 }; /* the library's limit */

il_status cli_safetensors_write(const char *path, const il_model *model, const float *values, il_error *error) {
    il_output *output = NULL;
    json_t *header = json_object();
    char *text = NULL;
    uint64_t at = 0;
    il_status status = IL_OK;
    for (size_t i = 0; i < il_model_tensor_count(model) && !status; i++) {
        il_tensor tensor;
        status = il_model_tensor_at(model, i, &tensor, error);
        if (status) break;
        json_t *shape = json_array();
        for (int k = 0; k < tensor.rank; k++) json_array_append_new(shape, json_integer((json_int_t)tensor.shape[k]));
        uint64_t end = at + 4 * (uint64_t)tensor.count;
        json_object_set_new(header, tensor.name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                      (json_int_t)at, (json_int_t)end));
        at = end;
    }
    if (!status) {
        text = json_dumps(header, JSON_COMPACT | JSON_PRESERVE_ORDER);
        if (!text) status = cli_fail(error, IL_ERR_NOMEM, "%s: no memory for the header", path);
    }
    if (!status) status = il_output_open(path, &output, error);
    if (!status) {
        static const char spaces[8] = "       ";
        uint64_t n = strlen(text), padding = (8 - n % 8) % 8, length = n + padding;
        unsigned char prefix[8];
        for (int i = 0; i < 8; i++) prefix[i] = (unsigned char)(length >> 8 * i);
        status = il_output_write(output, prefix, sizeof prefix, error);
        if (!status) status = il_output_write(output, text, n, error);
        if (!status) status = il_output_write(output, spaces, padding, error);
    }
    if (!status) status = il_output_write(output, values, at, error);
    if (!status)
        status = il_output_finish(output, error);
    else
        il_output_abandon(output);
    json_decref(header);
    free(text);
    return status;
}

/* One entry of the header, checked as far as a listing needs. NULL: malformed. */
static json_t *describe_tensor(const char *name, json_t *entry) {
    json_t *dtype = json_object_get(entry, "dtype"), *shape = json_object_get(entry, "shape"), *size;
    size_t i;
    if (!json_is_string(dtype) || !json_is_array(shape)) return NULL;
    json_array_foreach(shape, i, size) {
        if (!json_is_integer(size) || json_integer_value(size) < 0) return NULL;
    }
    return json_pack("{s:s, s:O, s:O}", "name", name, "dtype", dtype, "shape", shape);
}

/* The parsed header of an open file of `size` bytes. NULL with an error. */
static json_t *read_header(FILE *stream, const char *path, uint64_t size, il_error *error) {
    unsigned char prefix[PREFIX];
    uint64_t length = 0;
    json_error_t where = {0};
    if (fread(prefix, 1, PREFIX, stream) == PREFIX)
        for (int i = 0; i < PREFIX; i++) length |= (uint64_t)prefix[i] << 8 * i;
    if (length < 2 || length > HEADER_BYTES_MAX || length > size - PREFIX) {
        cli_fail(error, IL_ERR_FORMAT, "%s: not a safetensors file, or cut short", path);
        return NULL;
    }
    char *text = cli_alloc((size_t)length, 1);
    size_t got = fread(text, 1, (size_t)length, stream);
    json_t *header = json_loadb(text, got, JSON_REJECT_DUPLICATES, &where);
    free(text);
    if (json_is_object(header)) return header;
    json_decref(header);
    cli_fail(error, IL_ERR_FORMAT, "%s: bad header: %s", path, header ? "not an object" : where.text);
    return NULL;
}

int cli_safetensors_is_state(const char *path) {
    struct stat info;
    il_error unused;
    FILE *stream = fopen(path, "rb");
    json_t *header =
        stream && !fstat(fileno(stream), &info) ? read_header(stream, path, (uint64_t)info.st_size, &unused) : NULL;
    const char *format = json_string_value(json_object_get(json_object_get(header, "__metadata__"), "format"));
    int is_state = format && !strcmp(format, "innerloop-state");
    json_decref(header);
    if (stream) fclose(stream);
    return is_state;
}

il_status cli_safetensors_describe(il_engine *engine, const char *path, json_t *object, il_error *error) {
    il_status status = il_tensors_check(engine, path, error);
    if (status) return status;
    json_t *tensors = json_array(), *entry;
    const char *name;
    struct stat info;
    FILE *stream = fopen(path, "rb");
    if (!stream || fstat(fileno(stream), &info)) {
        status = cli_fail(error, IL_ERR_IO, "%s: %s", path, strerror(errno));
        if (stream) fclose(stream);
        json_decref(tensors);
        return status;
    }
    json_t *header = read_header(stream, path, (uint64_t)info.st_size, error);
    fclose(stream);
    if (!header) {
        json_decref(tensors);
        return error->status;
    }
    json_object_foreach(header, name, entry) {
        if (!strcmp(name, "__metadata__")) {
            json_object_set(object, "metadata", entry);
            continue;
        }
        json_t *tensor = describe_tensor(name, entry);
        if (!tensor && !status) status = cli_fail(error, IL_ERR_FORMAT, "%s: bad entry '%s'", path, name);
        if (tensor) json_array_append_new(tensors, tensor);
    }
    json_object_set_new(object, "bytes", json_integer((json_int_t)info.st_size));
    json_object_set_new(object, "tensors", tensors);
    json_decref(header);
    return status;
}
