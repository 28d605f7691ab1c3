/* torch.c: see torch.h. Refuses tensors that reach outside their storage, storages that are not as large as the pickle
 * says, numbers whose most significant byte comes first, and what torch wrote before it used archives. */
#include "tensor/torch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "tensor/pickle.h"
#include "tensor/zip.h"

enum { PREFIX_BYTES_MAX = 512, KEY_BYTES_MAX = 64, NAME_BYTES_MAX = 512 };

typedef struct reading {
    const il_allocator *allocator;
    const char *path;
    il_zip zip;
    il_pickle pickle;
    char prefix[PREFIX_BYTES_MAX]; /* of the names of all files in it, with its slash */
    il_error *error;
} reading;

#define WHERE "%s: tensor %.150s: "

/* ---- the archive ---- */

static const il_zip_entry *find(const reading *r, const char *name, size_t bytes) {
    char whole[PREFIX_BYTES_MAX + 32 + KEY_BYTES_MAX];
    int n = snprintf(whole, sizeof whole, "%s%.*s", r->prefix, (int)bytes, name);
    return n > 0 && (size_t)n < sizeof whole ? il_zip_find(&r->zip, whole) : NULL;
}

static const il_zip_entry *find_named(const reading *r, const char *name) { return find(r, name, strlen(name)); }

/* All files are in a folder that is called as the archive once was: the one with data.pkl. */
static il_status find_prefix(reading *r) {
    static const char pickle[] = "/data.pkl";
    size_t m = sizeof pickle - 1;
    for (size_t i = 0; i < r->zip.n; i++) {
        const il_zip_entry *e = &r->zip.entries[i];
        if (e->name_bytes <= m || e->name_bytes - m + 2 > sizeof r->prefix ||
            memcmp(e->name + e->name_bytes - m, pickle, m) != 0 || memchr(e->name, '/', e->name_bytes - m))
            continue;
        memcpy(r->prefix, e->name, e->name_bytes - m + 1);
        r->prefix[e->name_bytes - m + 1] = 0;
        return IL_OK;
    }
    return il_fail(r->error, IL_ERR_FORMAT, "%s: an archive, but not one of torch's: it has no data.pkl", r->path);
}

static il_status open_archive(reading *r, const void *data, size_t bytes) {
    static const unsigned char before[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46}; /* a pickle of torch's number */
    if (bytes >= sizeof before && memcmp(data, before, sizeof before) == 0)
        return il_fail(
            r->error, IL_ERR_UNSUPPORTED,
            "%s: written by a torch before 1.6, in a form that is not read; torch.load and torch.save make it "
            "one that is",
            r->path);
    if (!il_zip_begins(data, bytes))
        return il_fail(r->error, IL_ERR_FORMAT, "%s: not a file of torch's, which are zip archives", r->path);
    IL_TRY(il_zip_parse(r->allocator, r->path, data, bytes, &r->zip, r->error));
    IL_TRY(find_prefix(r));
    const il_zip_entry *order = find_named(r, "byteorder");
    if (order && (order->bytes != 6 || memcmp(order->data, "little", 6) != 0))
        return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: its byteorder is not little", r->path);
    if (find_named(r, "constants.pkl"))
        return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: a TorchScript program, not a dictionary of tensors", r->path);
    const il_zip_entry *pickle = find_named(r, "data.pkl");
    return il_pickle_parse(r->allocator, r->path, pickle->data, pickle->bytes, &r->pickle, r->error);
}

/* ---- tensors ---- */

/* The storage of a tensor. */
static il_status find_storage(const reading *r, const il_pickle_tensor *from, const char *name,
                              const unsigned char **data, il_error *error) {
    char key[16 + KEY_BYTES_MAX];
    size_t bytes;
    int n = from->storage_bytes <= KEY_BYTES_MAX
                ? snprintf(key, sizeof key, "data/%.*s", (int)from->storage_bytes, from->storage)
                : 0;
    const il_zip_entry *storage = n ? find(r, key, (size_t)n) : NULL;
    if (!storage) return il_fail(error, IL_ERR_FORMAT, WHERE "its storage is not in the archive", r->path, name);
    if (__builtin_mul_overflow(from->storage_count, il_dtype_bytes(from->dtype), &bytes) || bytes != storage->bytes)
        return il_fail(error, IL_ERR_FORMAT, WHERE "its storage has %zu bytes, and another number of entries was said",
                       r->path, name, storage->bytes);
    *data = storage->data;
    return IL_OK;
}

/* That all entries are inside the storage; where there are none, nothing is read. */
static il_status check_inside(const reading *r, const il_pickle_tensor *from, const char *name, size_t *count) {
    size_t last = from->offset, reach, step;
    *count = 1;
    for (int i = 0; i < from->rank; i++)
        if (__builtin_mul_overflow(*count, from->shape[i], count))
            return il_fail(r->error, IL_ERR_FORMAT, WHERE "its shape cannot be", r->path, name);
    for (int i = 0; i < from->rank && *count; i++) {
        step = from->shape[i] - 1;
        if (__builtin_mul_overflow(step, from->stride[i], &reach) || __builtin_add_overflow(last, reach, &last))
            return il_fail(r->error, IL_ERR_FORMAT, WHERE "its strides cannot be", r->path, name);
    }
    if (*count == 0 || last < from->storage_count) return IL_OK;
    return il_fail(r->error, IL_ERR_FORMAT, WHERE "reaches to entry %zu of a storage of %zu", r->path, name, last,
                   from->storage_count);
}

/* In memory that begins at `names`, which moves on. */
static il_status read_tensor(const reading *r, const il_pickle_tensor *from, char **names, il_st_tensor *tensor) {
    const unsigned char *storage = NULL;
    char *name = *names;
    memcpy(name, from->name, from->name_bytes);
    name[from->name_bytes] = 0;
    *names += from->name_bytes + 1;
    *tensor = (il_st_tensor){.name = name, .dtype = from->dtype, .rank = from->rank};
    memcpy(tensor->shape, from->shape, sizeof tensor->shape);
    IL_TRY(find_storage(r, from, name, &storage, r->error));
    IL_TRY(check_inside(r, from, name, &tensor->count));
    tensor->data = storage + (tensor->count ? from->offset : 0) * il_dtype_bytes(from->dtype);
    return IL_OK;
}

int il_torch_is_whole(const il_torch *torch, size_t tensor) {
    const il_st_tensor *t = &torch->tensors[tensor];
    size_t next = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && torch->strides[tensor][i] != next) return 0;
        next *= t->shape[i];
    }
    return 1;
}

static int by_name(const void *left, const void *right) {
    const il_pickle_tensor *a = left, *b = right;
    int order = memcmp(a->name, b->name, a->name_bytes < b->name_bytes ? a->name_bytes : b->name_bytes);
    return order ? order : (a->name_bytes > b->name_bytes) - (a->name_bytes < b->name_bytes);
}

static il_status read_tensors(const reading *r, il_torch *torch) {
    size_t n = r->pickle.n, bytes = 0;
    for (size_t i = 0; i < n; i++) {
        if (r->pickle.tensors[i].name_bytes > NAME_BYTES_MAX)
            return il_fail(r->error, IL_ERR_UNSUPPORTED, "%s: a name of more than %d bytes", r->path, NAME_BYTES_MAX);
        bytes += r->pickle.tensors[i].name_bytes + 1;
    }
    torch->tensors = il_alloc(r->allocator, n, sizeof *torch->tensors);
    torch->strides = il_alloc(r->allocator, n, sizeof *torch->strides);
    torch->names = il_alloc_raw(r->allocator, bytes, 1);
    if (!torch->tensors || !torch->strides || !torch->names)
        return il_fail(r->error, IL_ERR_NOMEM, "%s: out of memory for %zu tensors", r->path, n);
    char *names = torch->names;
    if (n) qsort(r->pickle.tensors, n, sizeof *r->pickle.tensors, by_name);
    for (torch->n = 0; torch->n < n; torch->n++) {
        const il_pickle_tensor *from = &r->pickle.tensors[torch->n];
        il_st_tensor *tensor = &torch->tensors[torch->n];
        IL_TRY(read_tensor(r, from, &names, tensor));
        memcpy(torch->strides[torch->n], from->stride, sizeof from->stride);
        if (il_torch_is_whole(torch, torch->n)) tensor->bytes = tensor->count * il_dtype_bytes(tensor->dtype);
        if (torch->n && strcmp(tensor->name, tensor[-1].name) == 0)
            return il_fail(r->error, IL_ERR_FORMAT, WHERE "is there twice", r->path, tensor->name);
    }
    torch->skipped = r->pickle.skipped;
    return IL_OK;
}

il_status il_torch_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                         il_torch *torch, il_error *error) {
    reading r = {.allocator = allocator, .path = path, .error = error};
    *torch = (il_torch){.allocator = allocator};
    il_status status = open_archive(&r, data, bytes);
    if (status == IL_OK) status = read_tensors(&r, torch);
    il_pickle_close(&r.pickle);
    il_zip_close(&r.zip);
    if (status != IL_OK) il_torch_close(torch);
    return status;
}

il_status il_torch_open(const il_allocator *allocator, const char *path, il_torch *torch, il_error *error) {
    il_map map;
    *torch = (il_torch){0};
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_torch_parse(allocator, path, map.data, map.bytes, torch, error);
    if (status == IL_OK)
        torch->map = map;
    else
        il_map_close(&map);
    return status;
}

void il_torch_close(il_torch *torch) {
    if (torch->map.data) il_map_close(&torch->map);
    if (torch->allocator) il_free(torch->allocator, torch->names);
    if (torch->allocator) il_free(torch->allocator, torch->strides);
    if (torch->allocator) il_free(torch->allocator, torch->tensors);
    *torch = (il_torch){0};
}

size_t il_torch_find(const il_torch *torch, const char *name) {
    size_t low = 0, high = torch->n;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(torch->tensors[middle].name, name);
        if (order == 0) return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return torch->n;
}

/* ---- numbers ---- */

static float number_at(il_dtype dtype, const unsigned char *at) {
    uint16_t half;
    float x;
    if (dtype == IL_F32) {
        memcpy(&x, at, sizeof x);
        return x;
    }
    memcpy(&half, at, sizeof half);
    return dtype == IL_BF16 ? il_float_of_bf16(half) : il_float_of_f16(half);
}

void il_torch_read(const il_torch *torch, size_t tensor, size_t from, size_t n, float *out) {
    const il_st_tensor *t = &torch->tensors[tensor];
    const size_t *stride = torch->strides[tensor];
    size_t index[8] = {0}, place = 0, bytes = il_dtype_bytes(t->dtype);
    for (int i = t->rank - 1; i >= 0; i--) {
        index[i] = from % t->shape[i];
        from /= t->shape[i];
        place += index[i] * stride[i];
    }
    for (size_t k = 0; k < n; k++) {
        out[k] = number_at(t->dtype, t->data + place * bytes);
        for (int i = t->rank - 1; i >= 0; i--) { /* the next entry: the last index counts fastest */
            place += stride[i];
            if (++index[i] < t->shape[i]) break;
            place -= t->shape[i] * stride[i];
            index[i] = 0;
        }
    }
}
