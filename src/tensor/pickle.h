/* pickle.h: what Python's pickle says of tensors, read without executing anything. A pickle is a program for a machine
 * with a stack; this machine knows only what builds dictionaries, lists, tuples, texts, numbers and the tensors of
 * torch. Any other opcode, and any name of a function or class that is not one of torch's few, is refused by name. */
#ifndef IL_TENSOR_PICKLE_H
#define IL_TENSOR_PICKLE_H

#include "base/memory.h"
#include "tensor/safetensors.h"

enum { IL_PICKLE_RANK_MAX = 8 };

/* A dictionary's entry: a tensor, as torch describes it. */
typedef struct il_pickle_tensor {
    const char *name; /* [name_bytes], UTF-8, inside the pickle */
    size_t name_bytes;
    const char *storage; /* [storage_bytes]: the key of what it lies in */
    size_t storage_bytes, storage_count;
    il_dtype dtype;
    size_t offset; /* of its first entry; these three in entries */
    int rank;
    size_t shape[IL_PICKLE_RANK_MAX], stride[IL_PICKLE_RANK_MAX];
} il_pickle_tensor;

typedef struct il_pickle {
    il_pickle_tensor *tensors; /* [n] in the order of the dictionary */
    size_t n, skipped;         /* entries that are no tensors */
    const il_allocator *allocator;
} il_pickle;

/* The pickle of a dictionary of tensors, which must outlive what is made of it; `path` only names it in messages.
 * Memory is bounded by its length, whatever it says. */
il_status il_pickle_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                          il_pickle *pickle, il_error *error);
void il_pickle_close(il_pickle *pickle);

#endif
