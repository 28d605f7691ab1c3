/* safetensors.h: reading and writing the safetensors format. Every header is validated whole before any use: sizes,
 * overlaps, gaps, overflows, duplicate names, shapes against bytes. Knows nothing of models. */
#ifndef IL_TENSOR_SAFETENSORS_H
#define IL_TENSOR_SAFETENSORS_H

#include "base/file.h"
#include "base/memory.h"

typedef enum il_dtype { IL_F32, IL_BF16, IL_F16, IL_I32, IL_I8, IL_U8, IL_I64, IL_F64 } il_dtype;

size_t il_dtype_bytes(il_dtype dtype);
const char *il_dtype_name(il_dtype dtype); /* "F32" */

typedef struct il_st_tensor {
    const char *name;
    il_dtype dtype;
    int rank; /* 0 .. 8 */
    size_t shape[8];
    size_t count;
    const unsigned char *data; /* inside the map; may be unaligned */
    size_t bytes;
} il_st_tensor;

typedef struct il_st_pair {
    const char *key, *value;
} il_st_pair;

/* An open file. Members are read-only for callers. */
typedef struct il_st {
    il_map map;
    il_st_tensor *tensors; /* sorted by name */
    size_t n;
    il_st_pair *metadata; /* __metadata__ */
    size_t n_metadata;
    void *json; /* owns the strings */
    const il_allocator *allocator;
} il_st;

il_status il_st_open(const il_allocator *allocator, const char *path, il_st *st, il_error *error);
/* The same over bytes in memory, which must outlive st; `path` only names them in messages. */
il_status il_st_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_st *st,
                      il_error *error);
void il_st_close(il_st *st);
const il_st_tensor *il_st_find(const il_st *st, const char *name); /* NULL when there is none */
const char *il_st_meta(const il_st *st, const char *key);          /* NULL when there is none */
/* Converts all elements of an F32, BF16 or F16 tensor to out [count]. IL_ERR_UNSUPPORTED for other dtypes. */
il_status il_st_to_f32(const il_st_tensor *tensor, float *out, il_error *error);

/* What to write: tensors in the order given; data is copied to the file as it is (little-endian). */
typedef struct il_st_item {
    const char *name;
    il_dtype dtype;
    int rank;
    size_t shape[8];
    const void *data;
} il_st_item;
il_status il_st_write(const il_allocator *allocator, const char *path, const il_st_item *items, size_t n,
                      const il_st_pair *metadata, size_t n_metadata, il_error *error);
/* The beginning of such a file, up to where the data of the first tensor go, for callers that write the data
 * themselves: data pointers are not looked at. header [bytes] is released by il_free. */
il_status il_st_header(const il_allocator *allocator, const char *path, const il_st_item *items, size_t n,
                       const il_st_pair *metadata, size_t n_metadata, unsigned char **header, size_t *bytes,
                       il_error *error);

#endif
