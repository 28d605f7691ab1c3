/* fuzz_npy.c: any bytes as a .npy file of tokens. What is accepted has as many tokens as it says, all in the
 * vocabulary. */
#include <stdlib.h>

#include "base/memory.h"
#include "bytes.h"
#include "text/shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    enum { VOCAB = 40000 };
    il_allocator allocator = il_allocator_default();
    il_tokens tokens = {0};
    il_shard_info info;
    il_error error = {IL_OK, ""};
    fuzz_bytes input = {data, bytes, 0};
    il_source source;
    must(il_source_open(&allocator, "fuzz.npy", fuzz_bytes_read, &input, 0, &source, NULL) == IL_OK);
    source.begun = 1; /* as it stands: not decompressed */
    il_status status = il_shard_take(&allocator, &source, IL_FORMAT_NPY, VOCAB, &tokens, &info, &error);
    il_source_close(&source);
    if (status == IL_OK) {
        must(tokens.n == info.tokens && tokens.n < bytes && !info.text_known);
        for (size_t i = 0; i < tokens.n; i++) must(tokens.ids[i] >= 0 && tokens.ids[i] < VOCAB);
    } else {
        must(status == error.status && error.message[0] && tokens.n == 0);
    }
    il_tokens_free(&tokens);
    return 0;
}
