/* flax.h: reading the files in which the official JAX code keeps a model: streaming_params and streaming_train_state, a
 * msgpack stream of pairs [key, bytes], where the bytes are Flax's msgpack of an array. Everything is checked before
 * any use, nothing is executed, and arrays stay where they are mapped. Knows nothing of models. */
#ifndef IL_TENSOR_FLAX_H
#define IL_TENSOR_FLAX_H

#include "tensor/safetensors.h"

enum { IL_FLAX_NAME_BYTES = 112, IL_FLAX_RANK_MAX = 4, IL_FLAX_CHUNKS_MAX = 256 };

/* Entries of an array that lie next to each other in the file. */
typedef struct il_flax_chunk {
    const unsigned char *data;
    size_t count;
} il_flax_chunk;

typedef struct il_flax_tensor {
    char name[IL_FLAX_NAME_BYTES]; /* parts of its key, joined by slashes, without the "params" before them: UTF-8 */
    il_dtype dtype;                /* F32, BF16 or F16 */
    int rank;
    size_t shape[IL_FLAX_RANK_MAX]; /* as everywhere here, the last one's entries are next to each other */
    size_t count, bytes;
    il_flax_chunk *chunks; /* [n_chunks] in order: one, unless Flax has cut the array, as it does above 1 GiB */
    size_t n_chunks;
} il_flax_tensor;

/* An open file. Members are read-only for callers. */
typedef struct il_flax {
    il_map map;
    il_flax_tensor *tensors; /* [n] in the order of the file: parameters */
    size_t n, capacity;
    size_t skipped; /* step, and what the optimizer keeps */
    char *path;     /* for messages */
    const il_allocator *allocator;
} il_flax;

/* Whether a file begins as such a stream does; what cannot be read does not. */
int il_flax_is(const char *path);
il_status il_flax_open(const il_allocator *allocator, const char *path, il_flax *flax, il_error *error);
/* The same over bytes in memory, which must outlive flax; `path` only names them in messages. */
il_status il_flax_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes, il_flax *flax,
                        il_error *error);
void il_flax_close(il_flax *flax);

const il_flax_tensor *il_flax_find(const il_flax *flax, const char *name); /* NULL when there is none */
/* n entries as fp32, every step-th from `from` on; all of them are inside the tensor. */
void il_flax_read(const il_flax_tensor *tensor, size_t from, size_t step, size_t n, float *out);

#endif
