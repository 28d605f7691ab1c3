/* fuzz_flax.c: any bytes as a checkpoint of the official JAX code. What is accepted must hold together: every entry of
 * every tensor inside the bytes, and readable forwards and across. The shape that they make is one or is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/jax_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static void use_tensor(const il_allocator *allocator, const il_flax_tensor *t, const uint8_t *data, size_t bytes) {
    size_t sum = 0, count = 1, width = il_dtype_bytes(t->dtype);
    must(t->rank >= 0 && t->rank <= IL_FLAX_RANK_MAX && t->n_chunks > 0 && t->name[0]);
    for (int i = 0; i < t->rank; i++) count *= t->shape[i];
    for (size_t i = 0; i < t->n_chunks; i++) {
        const il_flax_chunk *c = &t->chunks[i];
        must(c->data >= data && c->count * width <= (size_t)(data + bytes - c->data));
        sum += c->count;
    }
    must(sum == t->count && count == t->count && t->bytes == sum * width && sum > 0 && t->bytes <= bytes);
    float *out = il_alloc_raw(allocator, t->count, sizeof *out);
    must(out != NULL);
    il_flax_read(t, 0, 1, t->count, out);
    for (size_t row = 0, rows = t->shape[t->rank ? t->rank - 1 : 0]; t->rank && row < rows; row += rows / 4 + 1)
        il_flax_read(t, row, rows, t->count / rows, out);
    il_free(allocator, out);
}

static void use_config(const il_flax *flax) {
    static const char *const set[] = {"num_attention_heads=2"};
    il_load_options options = {.set = set};
    il_config config;
    il_error error = {IL_OK, ""};
    for (options.n_set = 0; options.n_set < 2; options.n_set++)
        if (il_jax_config(flax, &options, &config, &error) != IL_OK) must(error.message[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_flax flax;
    il_error error = {IL_OK, ""};
    il_status status = il_flax_parse(&allocator, "fuzz", data, bytes, &flax, &error);
    if (status != IL_OK) {
        must(status == error.status && error.message[0] && !flax.tensors && !flax.n);
        return 0;
    }
    must(flax.n > 0);
    for (size_t i = 0; i < flax.n; i++) use_tensor(&allocator, &flax.tensors[i], data, bytes);
    use_config(&flax);
    il_flax_close(&flax);
    return 0;
}
