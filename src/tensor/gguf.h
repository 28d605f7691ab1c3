/* gguf.h: reading the GGUF format (versions 2 and 3, little-endian), in which llama.cpp keeps a model with its
 * tokenizer: metadata by name, then tensors. All of it is checked before any use: counts and lengths against what is
 * left of the file, types, names that are there twice, places of tensors. Knows nothing of models. */
#ifndef IL_TENSOR_GGUF_H
#define IL_TENSOR_GGUF_H

#include "base/file.h"
#include "base/memory.h"

/* Types of metadata, by their numbers in files. */
typedef enum il_gguf_type {
    IL_GGUF_U8,
    IL_GGUF_I8,
    IL_GGUF_U16,
    IL_GGUF_I16,
    IL_GGUF_U32,
    IL_GGUF_I32,
    IL_GGUF_F32,
    IL_GGUF_BOOL,
    IL_GGUF_STRING,
    IL_GGUF_ARRAY,
    IL_GGUF_U64,
    IL_GGUF_I64,
    IL_GGUF_F64,
    IL_GGUF_TYPES
} il_gguf_type;

/* Types of tensors that can be read, by their numbers in files; any other that is known by name has its place checked,
 * and is refused when it is read. */
typedef enum il_ggml_type {
    IL_GGML_F32 = 0,
    IL_GGML_F16 = 1,
    IL_GGML_Q4_0 = 2,
    IL_GGML_Q4_1 = 3,
    IL_GGML_Q8_0 = 8,
    IL_GGML_BF16 = 30
} il_ggml_type;
const char *il_ggml_name(unsigned type); /* "Q4_1"; NULL: none is known */

/* Bytes of the file, without a NUL behind them. */
typedef struct il_gguf_text {
    const char *text;
    size_t bytes;
} il_gguf_text;

typedef struct il_gguf_value {
    il_gguf_text key; /* without NUL bytes */
    int is_array;
    il_gguf_type type; /* its elements' type in an array */
    size_t n;          /* elements; 1 where it is no array */
    const unsigned char *data, *end;
} il_gguf_value;

enum { IL_GGUF_NAME_BYTES = 64, IL_GGUF_RANK_MAX = 4 };

typedef struct il_gguf_tensor {
    char name[IL_GGUF_NAME_BYTES]; /* UTF-8 */
    unsigned type;                 /* one that is known by name */
    int rank;
    size_t shape[IL_GGUF_RANK_MAX]; /* as everywhere here, the last one's entries are next to each other */
    size_t count, bytes;
    const unsigned char *data; /* inside the map */
} il_gguf_tensor;

/* An open file. Members are read-only for callers. */
typedef struct il_gguf {
    il_map map;
    unsigned version;
    il_gguf_value *values; /* sorted by key */
    size_t n_values;
    il_gguf_tensor *tensors; /* sorted by name */
    size_t n_tensors;
    char *path; /* for messages */
    const il_allocator *allocator;
} il_gguf;

/* Whether bytes, or a file, begin as a GGUF file does; what cannot be read does not. */
int il_gguf_begins(const void *data, size_t bytes);
int il_gguf_is(const char *path);
il_status il_gguf_open(const il_allocator *allocator, const char *path, il_gguf *gguf, il_error *error);
/* The same over bytes in memory, which must outlive gguf; `path` only names them in messages. */
il_status il_gguf_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_gguf *gguf,
                        il_error *error);
void il_gguf_close(il_gguf *gguf);

/* NULL when there is none. */
const il_gguf_tensor *il_gguf_find_tensor(const il_gguf *gguf, const char *name);
const il_gguf_value *il_gguf_find(const il_gguf *gguf, const char *key);

/* Single values. Each fails, naming file and key, where a value is of another kind or out of range; where the key is
 * not there, *out stays as it is, and no error is given. */
il_status il_gguf_get_count(const il_gguf *gguf, const char *key, int64_t most, int64_t *out, il_error *error);
il_status il_gguf_get_real(const il_gguf *gguf, const char *key, double *out, il_error *error);
il_status il_gguf_get_flag(const il_gguf *gguf, const char *key, int *out, il_error *error);
il_status il_gguf_get_text(const il_gguf *gguf, const char *key, il_gguf_text *out, il_error *error);

/* The elements of a value in their order, of whatever type; it begins at data and moves on. */
il_gguf_text il_gguf_next_text(const unsigned char **at);
/* An integer or a truth value of 8 to 64 bits; those above INT64_MAX are that. */
int64_t il_gguf_next_integer(il_gguf_type type, const unsigned char **at);
double il_gguf_next_real(il_gguf_type type, const unsigned char **at); /* F32 or F64 */
int il_gguf_is_integer(il_gguf_type type);                             /* and no truth value */

/* IL_ERR_UNSUPPORTED, naming the type, where a tensor's entries cannot be read. */
il_status il_gguf_check_readable(const il_gguf *gguf, const il_gguf_tensor *tensor, il_error *error);
/* Entries from .. from+n-1 of a tensor as fp32; both begin and end blocks of its type, as rows do. */
il_status il_gguf_read(const il_gguf *gguf, const il_gguf_tensor *tensor, size_t from, size_t n, float *out,
                       il_error *error);

#endif
