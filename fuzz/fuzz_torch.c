/* fuzz_torch.c: any bytes as a file of torch's: an archive with a pickle and storages. What is accepted must hold
 * together: every entry of every tensor inside the bytes, found by its name, and readable in order. */
#include <stdlib.h>
#include <string.h>

#include "tensor/torch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static void use_tensor(const il_torch *torch, size_t i, const uint8_t *data, size_t bytes) {
    const il_st_tensor *t = &torch->tensors[i];
    float out[64];
    must(il_torch_find(torch, t->name) == i && t->data >= data && t->data <= data + bytes);
    must(t->bytes <= (size_t)(data + bytes - t->data));
    must(!il_torch_is_whole(torch, i) || t->bytes == t->count * il_dtype_bytes(t->dtype));
    if (t->dtype != IL_F32 && t->dtype != IL_BF16 && t->dtype != IL_F16) return;
    for (size_t from = 0; from < t->count && from < 1 << 16; from += 64)
        il_torch_read(torch, i, from, t->count - from < 64 ? t->count - from : 64, out);
    if (t->count) il_torch_read(torch, i, t->count - 1, 1, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_torch torch;
    il_error error = {IL_OK, ""};
    il_status status = il_torch_parse(&allocator, "fuzz", data, bytes, &torch, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !torch.tensors && !torch.n);
        return 0;
    }
    for (size_t i = 0; i < torch.n; i++) use_tensor(&torch, i, data, bytes);
    il_torch_close(&torch);
    return 0;
}
