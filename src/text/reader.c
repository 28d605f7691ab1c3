/* reader.c: see reader.h. */
#include "text/reader.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"

#include <jansson.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

typedef struct reader {
    const il_allocator *allocator;
    const char *path;
    il_document_take take;
    void *context;
    size_t line, documents, line_bytes_max;
    char *held; /* [n_held] the beginning of a line whose end has not come yet */
    size_t n_held, capacity;
} reader;

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

int il_documents_known(const char *path) {
    return ends_with(path, ".txt") || ends_with(path, ".jsonl") || ends_with(path, ".jsonl.zst");
}

static il_status take_line(reader *r, const char *line, size_t bytes, il_error *error) {
    json_error_t problem;
    il_status status;
    r->line++;
    if (r->line == 1 && bytes >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) line += 3, bytes -= 3; /* a BOM */
    size_t blank = 0;
    while (blank < bytes && strchr(" \t\r", line[blank]) && line[blank]) blank++;
    if (blank == bytes) return IL_OK;
    json_t *object = json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &problem);
    if (!object) {
        if (json_error_code(&problem) == json_error_out_of_memory)
            return il_fail(error, IL_ERR_NOMEM, "%s, line %zu: no memory for %zu bytes of JSON", r->path, r->line,
                           bytes);
        return il_fail(error, IL_ERR_FORMAT, "%s, line %zu, byte %d: %s", r->path, r->line, problem.position,
                       problem.text);
    }
    json_t *text = json_object_get(object, "text"); /* NULL for what is no object */
    if (json_is_string(text)) {
        r->documents++;
        status = r->take(r->context, json_string_value(text), json_string_length(text), error);
    } else {
        status = il_fail(error, IL_ERR_FORMAT, "%s, line %zu: not an object with a string \"text\"", r->path, r->line);
    }
    json_decref(object);
    return status;
}

/* Takes the next bytes of the file apart into lines. */
static il_status take_bytes(reader *r, const char *data, size_t bytes, il_error *error) {
    while (bytes) {
        const char *end = memchr(data, '\n', bytes);
        size_t part = end ? (size_t)(end - data) : bytes;
        if (part > r->line_bytes_max - r->n_held)
            return il_fail(error, IL_ERR_FORMAT, "%s, line %zu: longer than %zu bytes", r->path, r->line + 1,
                           r->line_bytes_max);
        if (end && r->n_held == 0) {
            IL_TRY(take_line(r, data, part, error));
        } else {
            void *held = r->held;
            int grown = il_grow(r->allocator, &held, &r->capacity, r->n_held, r->n_held + part, 1);
            r->held = held;
            if (!grown) return il_fail(error, IL_ERR_NOMEM, "%s, line %zu: no memory for it", r->path, r->line + 1);
            memcpy(r->held + r->n_held, data, part);
            r->n_held += part;
            if (end) {
                size_t n = r->n_held;
                r->n_held = 0;
                IL_TRY(take_line(r, r->held, n, error));
            }
        }
        data += part + (end != NULL), bytes -= part + (end != NULL);
    }
    return IL_OK;
}

static il_status read_zst(reader *r, const il_map *file, il_error *error) {
    il_status status = IL_ERR_NOMEM;
    size_t capacity = ZSTD_DStreamOutSize(), left = 0;
    ZSTD_DStream *stream = ZSTD_createDStream();
    char *block = il_alloc_raw(r->allocator, capacity, 1);
    ZSTD_inBuffer in = {file->data, file->bytes, 0};
    ZSTD_outBuffer out = {block, capacity, 0};
    if (!stream || !block) {
        il_fail(error, status, "%s: no memory to decompress it", r->path);
        goto done;
    }
    /* A full block means that there may be more to come although all the input is in. */
    do {
        out.pos = 0;
        size_t before = in.pos;
        left = ZSTD_decompressStream(stream, &out, &in);
        if (ZSTD_isError(left)) {
            status = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? IL_ERR_NOMEM : IL_ERR_FORMAT;
            il_fail(error, status, "%s: near compressed byte %zu: %s", r->path, before, ZSTD_getErrorName(left));
            goto done;
        }
        if ((status = take_bytes(r, block, out.pos, error)) != IL_OK) goto done;
    } while (in.pos < in.size || out.pos == out.size);
    if (left != 0) status = il_fail(error, IL_ERR_FORMAT, "%s: cut short: it ends inside a compressed frame", r->path);
done:
    il_free(r->allocator, block);
    ZSTD_freeDStream(stream);
    return status;
}

il_status il_documents_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                             size_t line_bytes_max, il_document_take take, void *context, il_error *error) {
    reader r = {.allocator = allocator, .path = path, .take = take, .context = context};
    il_map file = {data, bytes};
    il_status status;
    r.line_bytes_max = line_bytes_max ? line_bytes_max : IL_LINE_BYTES_MAX;
    if (!il_documents_known(path))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: text files are .txt, .jsonl or .jsonl.zst", path);
    if (bytes == 0) return il_fail(error, IL_ERR_FORMAT, "%s: the file is empty", path);
    if (ends_with(path, ".txt")) return take(context, data, bytes, error);

    status = ends_with(path, ".zst") ? read_zst(&r, &file, error) : take_bytes(&r, data, bytes, error);
    if (status == IL_OK && r.n_held) status = take_line(&r, r.held, r.n_held, error); /* no newline at the end */
    if (status == IL_OK && r.documents == 0) status = il_fail(error, IL_ERR_FORMAT, "%s: no documents in it", path);
    il_free(allocator, r.held);
    return status;
}

il_status il_documents_read(const il_allocator *allocator, const char *path, size_t line_bytes_max,
                            il_document_take take, void *context, il_error *error) {
    il_map map;
    if (!il_documents_known(path)) return il_documents_parse(allocator, path, NULL, 0, 0, take, context, error);
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_documents_parse(allocator, path, map.data, map.bytes, line_bytes_max, take, context, error);
    il_map_close(&map);
    return status;
}
