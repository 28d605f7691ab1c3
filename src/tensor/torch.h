/* torch.h: reading the tensors of a file that torch.save wrote of a model's dictionary (pytorch_model.bin): a zip
 * archive (zip.h) of a pickle (pickle.h), which is read without executing anything, and of the storages that it refers
 * to. Tensors stay where they are mapped. Knows nothing of models. */
#ifndef IL_TENSOR_TORCH_H
#define IL_TENSOR_TORCH_H

#include "tensor/safetensors.h"

/* An open file. Members are read-only for callers. */
typedef struct il_torch {
    il_map map;
    il_st_tensor
        *tensors; /* [n], sorted by name; data is where the first entry lies, bytes 0 unless all others follow */
    size_t (*strides)[8]; /* [n]: of each dimension, in entries */
    size_t n;
    size_t skipped; /* entries of the dictionary that are no tensors */
    char *names;    /* owns the names */
    const il_allocator *allocator;
} il_torch;

il_status il_torch_open(const il_allocator *allocator, const char *path, il_torch *torch, il_error *error);
/* The same over bytes in memory, which must outlive torch; `path` only names them in messages. */
il_status il_torch_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                         il_torch *torch, il_error *error);
void il_torch_close(il_torch *torch);
/* Whether the entries of a tensor lie one after the other, as shape has them. */
int il_torch_is_whole(const il_torch *torch, size_t tensor);
size_t il_torch_find(const il_torch *torch, const char *name); /* its number; n: there is none */
/* Entries from .. from+n-1, in the order of the shape, of an F32, BF16 or F16 tensor of whatever strides, as fp32. */
void il_torch_read(const il_torch *torch, size_t tensor, size_t from, size_t n, float *out);

#endif
