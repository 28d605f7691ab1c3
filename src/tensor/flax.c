/* flax.c: see flax.h. Refuses numbers of other types than models have, arrays whose bytes are not as many as their
 * shape says, and keys that are neither a parameter's nor the optimizer's. */
#include "tensor/flax.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/utf8.h"
#include "tensor/msgpack.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and mapped as they are");

enum { TENSORS_MAX = 1 << 16, PARTS_MAX = 16, ARRAY = 1 /* Flax's type of an array; 3 is a scalar's */ };

#define WHERE "%s: %.150s: "

/* An entry of the file while it is read. */
typedef struct entry {
    const char *path;
    il_flax_tensor tensor;
    il_error *error;
} entry;

/* ---- keys ---- */

static int is_text(const il_msgpack_value *value, const char *text) {
    return value->kind == IL_MSGPACK_TEXT && value->bytes == strlen(text) &&
           memcmp(value->data, text, value->bytes) == 0;
}

static int is_plain(const il_msgpack_value *part) {
    size_t length;
    for (size_t at = 0; at < part->bytes; at += length) {
        length = (size_t)il_utf8_length((const char *)part->data + at, part->bytes - at);
        if (!length || part->data[at] < 0x20) return 0;
    }
    return part->bytes > 0;
}

/* *skip: the optimizer's, or the number of steps. */
static il_status read_key(entry *e, il_msgpack *stream, int *skip) {
    il_msgpack_value list, parts[PARTS_MAX];
    size_t n, from = 0, at = 0;
    if (!il_msgpack_next(stream, &list) || list.kind != IL_MSGPACK_ARRAY || list.number < 1 || list.number > PARTS_MAX)
        return il_fail(e->error, IL_ERR_FORMAT, "%s: cut short, or damaged: a key is no list of names", e->path);
    n = (size_t)list.number;
    for (size_t i = 0; i < n; i++)
        if (!il_msgpack_next(stream, &parts[i]) || parts[i].kind != IL_MSGPACK_TEXT || !is_plain(&parts[i]))
            return il_fail(e->error, IL_ERR_FORMAT, "%s: cut short, or damaged: a key is no list of names", e->path);
    *skip = is_text(&parts[0], "opt_state") || is_text(&parts[0], "step");
    while (from + 1 < n && is_text(&parts[from], "params")) from++;
    for (size_t i = from; i < n; i++) {
        if (at + parts[i].bytes + 2 > sizeof e->tensor.name)
            return il_fail(e->error, IL_ERR_UNSUPPORTED, "%s: %.40s…: a name of more than %d bytes", e->path,
                           e->tensor.name, IL_FLAX_NAME_BYTES);
        if (i > from) e->tensor.name[at++] = '/';
        memcpy(e->tensor.name + at, parts[i].data, parts[i].bytes);
        at += parts[i].bytes;
        e->tensor.name[at] = 0;
    }
    return IL_OK;
}

/* ---- arrays ---- */

static il_status damaged(const entry *e, const char *what) {
    return il_fail(e->error, IL_ERR_FORMAT, WHERE "%s", e->path, e->tensor.name, what);
}

static int is_count(const il_msgpack_value *value) { return value->kind == IL_MSGPACK_INTEGER && !value->negative; }

static il_status read_dtype(const entry *e, const il_msgpack_value *name, il_dtype *dtype) {
    static const struct {
        const char *name;
        il_dtype dtype;
    } known[] = {{"float32", IL_F32}, {"bfloat16", IL_BF16}, {"float16", IL_F16}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (is_text(name, known[i].name)) {
            *dtype = known[i].dtype;
            return IL_OK;
        }
    if (name->kind != IL_MSGPACK_TEXT || !is_plain(name)) return damaged(e, "the type of its numbers has no name");
    return il_fail(e->error, IL_ERR_UNSUPPORTED,
                   WHERE "numbers of type %.*s, where float32, bfloat16 or float16 must be", e->path, e->tensor.name,
                   name->bytes < 40 ? (int)name->bytes : 40, (const char *)name->data);
}

/* [shape, type, bytes] as an array of Flax's; whose shape it is, is the caller's. */
static il_status read_array(const entry *e, const il_msgpack_value *ext, il_dtype *dtype, int *rank, size_t *shape,
                            il_flax_chunk *chunk) {
    il_msgpack_value list, value;
    size_t bytes;
    if (ext->kind != IL_MSGPACK_EXT || ext->number != ARRAY) return damaged(e, "is no array");
    il_msgpack inside = {ext->data, ext->data + ext->bytes};
    if (!il_msgpack_next(&inside, &list) || list.kind != IL_MSGPACK_ARRAY || list.number != 3)
        return damaged(e, "is no array of three parts: shape, type and bytes");
    if (!il_msgpack_next(&inside, &list) || list.kind != IL_MSGPACK_ARRAY) return damaged(e, "has no shape");
    if (list.number > IL_FLAX_RANK_MAX)
        return il_fail(e->error, IL_ERR_UNSUPPORTED, WHERE "more than %d dimensions", e->path, e->tensor.name,
                       IL_FLAX_RANK_MAX);
    *rank = (int)list.number;
    chunk->count = 1;
    for (int i = 0; i < *rank; i++) {
        if (!il_msgpack_next(&inside, &value) || !is_count(&value) || value.number > SIZE_MAX ||
            __builtin_mul_overflow(chunk->count, (size_t)value.number, &chunk->count))
            return damaged(e, "its shape cannot be");
        shape[i] = (size_t)value.number;
    }
    if (!il_msgpack_next(&inside, &value)) return damaged(e, "the type of its numbers has no name");
    IL_TRY(read_dtype(e, &value, dtype));
    if (!il_msgpack_next(&inside, &value) || value.kind != IL_MSGPACK_BYTES || inside.at != inside.end)
        return damaged(e, "its numbers are missing, or more follows them");
    if (__builtin_mul_overflow(chunk->count, il_dtype_bytes(*dtype), &bytes) || bytes != value.bytes)
        return il_fail(e->error, IL_ERR_FORMAT, WHERE "%zu bytes, but its shape and type need another number", e->path,
                       e->tensor.name, value.bytes);
    chunk->data = value.data;
    return IL_OK;
}

static il_status add_chunk(il_flax *flax, entry *e, il_flax_chunk chunk) {
    il_flax_tensor *t = &e->tensor;
    size_t capacity = t->n_chunks;
    void *block = t->chunks;
    if (!il_grow(flax->allocator, &block, &capacity, t->n_chunks, t->n_chunks + 1, sizeof *t->chunks))
        return il_fail(e->error, IL_ERR_NOMEM, "%s: out of memory", e->path);
    t->chunks = block;
    t->chunks[t->n_chunks++] = chunk;
    return IL_OK;
}

/* {"0": …, "1": …}: how many; their keys are numbers in order. */
static int next_numbered(il_msgpack *stream, size_t number) {
    il_msgpack_value key;
    char text[24];
    snprintf(text, sizeof text, "%zu", number);
    return il_msgpack_next(stream, &key) && is_text(&key, text);
}

/* An array that Flax has cut: {"__msgpack_chunked_array__": true, "shape": {"0": n, …}, "chunks": {"0": array, …}}. */
static il_status read_chunks(il_flax *flax, entry *e, il_msgpack *stream, uint64_t pairs) {
    il_flax_tensor *t = &e->tensor;
    il_msgpack_value key, map, value;
    size_t have = 0;
    int marked = 0, shaped = 0;
    while (pairs--) {
        if (!il_msgpack_next(stream, &key) || !il_msgpack_next(stream, &map)) return damaged(e, "is no array");
        if (is_text(&key, "__msgpack_chunked_array__") && map.kind == IL_MSGPACK_BOOL && map.number && !marked) {
            marked = 1;
        } else if (is_text(&key, "shape") && map.kind == IL_MSGPACK_MAP && map.number <= IL_FLAX_RANK_MAX && !shaped) {
            t->rank = (int)map.number;
            shaped = 1;
            t->count = 1;
            for (int i = 0; i < t->rank; i++) {
                if (!next_numbered(stream, (size_t)i) || !il_msgpack_next(stream, &value) || !is_count(&value) ||
                    value.number > SIZE_MAX || __builtin_mul_overflow(t->count, (size_t)value.number, &t->count))
                    return damaged(e, "its shape cannot be");
                t->shape[i] = (size_t)value.number;
            }
        } else if (is_text(&key, "chunks") && map.kind == IL_MSGPACK_MAP && map.number <= IL_FLAX_CHUNKS_MAX &&
                   !t->n_chunks) {
            for (size_t i = 0; i < map.number; i++) {
                il_dtype dtype;
                il_flax_chunk chunk;
                size_t shape[IL_FLAX_RANK_MAX];
                int rank;
                if (!next_numbered(stream, i) || !il_msgpack_next(stream, &value))
                    return damaged(e, "a chunk is missing");
                IL_TRY(read_array(e, &value, &dtype, &rank, shape, &chunk));
                if (rank != 1 || (i && dtype != t->dtype) || __builtin_add_overflow(have, chunk.count, &have))
                    return damaged(e, "its chunks do not fit together");
                t->dtype = dtype;
                IL_TRY(add_chunk(flax, e, chunk));
            }
        } else {
            return damaged(e, "is no array");
        }
    }
    if (!marked || !shaped || !t->n_chunks) return damaged(e, "is no array");
    if (have != t->count) return damaged(e, "its chunks have another number of entries than its shape says");
    return IL_OK;
}

static il_status read_tensor(il_flax *flax, entry *e, const il_msgpack_value *bytes) {
    il_flax_tensor *t = &e->tensor;
    il_msgpack inside = {bytes->data, bytes->data + bytes->bytes};
    il_msgpack_value value;
    il_flax_chunk chunk;
    if (!il_msgpack_next(&inside, &value)) return damaged(e, "is no array");
    if (value.kind == IL_MSGPACK_MAP) {
        IL_TRY(read_chunks(flax, e, &inside, value.number));
    } else {
        IL_TRY(read_array(e, &value, &t->dtype, &t->rank, t->shape, &chunk));
        t->count = chunk.count;
        IL_TRY(add_chunk(flax, e, chunk));
    }
    if (inside.at != inside.end) return damaged(e, "more follows its array");
    if (!t->count) return damaged(e, "has no entries");
    t->bytes = t->count * il_dtype_bytes(t->dtype);
    return IL_OK;
}

/* ---- the stream ---- */

static il_status read_entry(il_flax *flax, il_msgpack *stream, il_error *error) {
    entry e = {.path = flax->path, .error = error};
    il_msgpack_value pair, bytes;
    int skip = 0;
    if (!il_msgpack_next(stream, &pair) || pair.kind != IL_MSGPACK_ARRAY || pair.number != 2)
        return il_fail(error, IL_ERR_FORMAT, "%s: cut short, or damaged: byte %zu: no pair of key and array",
                       flax->path, (size_t)(stream->at - flax->map.data));
    IL_TRY(read_key(&e, stream, &skip));
    if (!il_msgpack_next(stream, &bytes) || bytes.kind != IL_MSGPACK_BYTES)
        return il_fail(error, IL_ERR_FORMAT, WHERE "cut short, or damaged: its bytes are not all there", flax->path,
                       e.tensor.name);
    if (skip) {
        flax->skipped++;
        return IL_OK;
    }
    if (flax->n == TENSORS_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: more than %d tensors", flax->path, TENSORS_MAX);
    void *block = flax->tensors;
    if (!il_grow(flax->allocator, &block, &flax->capacity, flax->n, flax->n + 1, sizeof *flax->tensors))
        return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", flax->path);
    flax->tensors = block;
    il_status status = read_tensor(flax, &e, &bytes);
    if (status == IL_OK)
        flax->tensors[flax->n++] = e.tensor;
    else
        il_free(flax->allocator, e.tensor.chunks);
    return status;
}

il_status il_flax_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_flax *flax,
                        il_error *error) {
    *flax = (il_flax){.allocator = allocator, .path = il_strdup(allocator, path)};
    if (!flax->path) return il_fail(error, IL_ERR_NOMEM, "%s: out of memory", path);
    flax->map.data = data;
    il_msgpack stream = {data, (const unsigned char *)data + bytes};
    il_status status = IL_OK;
    while (status == IL_OK && stream.at < stream.end) status = read_entry(flax, &stream, error);
    if (status == IL_OK && !flax->n) status = il_fail(error, IL_ERR_FORMAT, "%s: holds no parameters", path);
    flax->map.data = NULL; /* bytes 0: not ours to unmap */
    if (status != IL_OK) il_flax_close(flax);
    return status;
}

il_status il_flax_open(const il_allocator *allocator, const char *path, il_flax *flax, il_error *error) {
    il_map map;
    *flax = (il_flax){0};
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_flax_parse(allocator, path, map.data, map.bytes, flax, error);
    if (status == IL_OK)
        flax->map = map;
    else
        il_map_close(&map);
    return status;
}

void il_flax_close(il_flax *flax) {
    if (flax->map.data) il_map_close(&flax->map);
    for (size_t i = 0; i < flax->n; i++) il_free(flax->allocator, flax->tensors[i].chunks);
    if (flax->allocator) il_free(flax->allocator, flax->tensors);
    if (flax->allocator) il_free(flax->allocator, flax->path);
    *flax = (il_flax){0};
}

/* A pair whose first part is a short list that begins with a name. */
int il_flax_is(const char *path) {
    unsigned char begins[3];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return 0;
    ssize_t n = read(fd, begins, sizeof begins);
    close(fd);
    return n == (ssize_t)sizeof begins && begins[0] == 0x92 && begins[1] > 0x90 && begins[1] <= 0x9f &&
           ((begins[2] > 0xa0 && begins[2] < 0xc0) || begins[2] == 0xd9);
}

const il_flax_tensor *il_flax_find(const il_flax *flax, const char *name) {
    for (size_t i = 0; i < flax->n; i++)
        if (strcmp(flax->tensors[i].name, name) == 0) return &flax->tensors[i];
    return NULL;
}

void il_flax_read(const il_flax_tensor *tensor, size_t from, size_t step, size_t n, float *out) {
    size_t bytes = il_dtype_bytes(tensor->dtype), before = 0, chunk = 0;
    for (size_t i = 0, at = from; i < n; i++, at += step) {
        while (at - before >= tensor->chunks[chunk].count) before += tensor->chunks[chunk++].count;
        const unsigned char *data = tensor->chunks[chunk].data + (at - before) * bytes;
        uint16_t half;
        if (tensor->dtype == IL_F32) {
            memcpy(out + i, data, bytes);
            continue;
        }
        memcpy(&half, data, sizeof half);
        out[i] = tensor->dtype == IL_BF16 ? il_float_of_bf16(half) : il_float_of_f16(half);
    }
}
