/* fuzz_npy.c: any bytes as a .npy file of tokens. What is accepted has as many tokens as it says, all in the
 * vocabulary. */
#include <stdlib.h>

#include "base/memory.h"
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
    il_status status = il_shard_parse(&allocator, "fuzz.npy", data, bytes, VOCAB, &tokens, &info, &error);
    if (status == IL_OK) {
        must(tokens.n == info.tokens && tokens.n * 2 < bytes && !info.text_known);
        for (size_t i = 0; i < tokens.n; i++) must(tokens.ids[i] >= 0 && tokens.ids[i] < VOCAB);
    } else {
        must(status == error.status && error.message[0] && tokens.n == 0);
    }
    il_tokens_free(&tokens);
    return 0;
}
