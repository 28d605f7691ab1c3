/* fuzz_pickle.c: any bytes as a pickle. What is accepted is a dictionary whose names and keys lie inside the bytes. */
#include <stdlib.h>

#include "tensor/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_pickle pickle;
    il_error error = {IL_OK, ""};
    il_status status = il_pickle_parse(&allocator, "fuzz", data, bytes, &pickle, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !pickle.tensors && !pickle.n);
        return 0;
    }
    const char *end = (const char *)data + bytes;
    for (size_t i = 0; i < pickle.n; i++) {
        const il_pickle_tensor *t = &pickle.tensors[i];
        must(t->name >= (const char *)data && t->name_bytes <= (size_t)(end - t->name) && t->name_bytes > 0);
        must(t->storage >= (const char *)data && t->storage_bytes <= (size_t)(end - t->storage));
        must(t->rank >= 0 && t->rank <= IL_PICKLE_RANK_MAX && il_dtype_bytes(t->dtype) > 0);
    }
    il_pickle_close(&pickle);
    return 0;
}
