/* fuzz_safetensors.c: any bytes as a safetensors file. What is accepted must hold together: every tensor
 * inside the bytes, together exactly the data, found by its name. */
#include <stdlib.h>
#include <string.h>

#include "tensor/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_st st;
    il_error error = {IL_OK, ""};
    il_status status = il_st_parse(&allocator, "fuzz", data, bytes, &st, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !st.n && !st.tensors && !st.json);
        return 0;
    }
    size_t sum = 0;
    for (size_t i = 0; i < st.n; i++) {
        const il_st_tensor *t = &st.tensors[i];
        must(t->data >= data + 8 && t->bytes <= (size_t)(data + bytes - t->data));
        must(t->bytes == t->count * il_dtype_bytes(t->dtype) && t->rank >= 0 && t->rank <= 8);
        must(il_st_find(&st, t->name) == t);
        must(i == 0 || strcmp(st.tensors[i - 1].name, t->name) < 0);
        sum += t->bytes;
        float *out = il_alloc_raw(&allocator, t->count, sizeof *out);
        must(out != NULL);
        status = il_st_to_f32(t, out, &error);
        must(status == (t->dtype <= IL_F16 ? IL_OK : IL_ERR_UNSUPPORTED));
        il_free(&allocator, out);
    }
    must(sum <= bytes - 8);
    for (size_t i = 0; i < st.n_metadata; i++) must(il_st_meta(&st, st.metadata[i].key) == st.metadata[i].value);
    il_st_close(&st);
    return 0;
}
