/* fuzz_tokenizer_json.c: any bytes as a tokenizer.json. What is accepted encodes and cuts a text without leaving its
 * vocabulary, and gives the same tokens for two halves where it says that a text can be cut. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "text/pipeline.h"
#include "text/tokenizer_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static void encode(const il_pipeline *p, const char *text, size_t bytes, int special, int begins, il_tokens *ids) {
    must(il_pipeline_encode(p, text, bytes, special, begins, ids));
    for (size_t i = 0; i < ids->n; i++) must(ids->ids[i] >= 0 && (size_t)ids->ids[i] < p->bpe.n);
}

static void use(const il_pipeline *p) {
    static const char text[] =
        "hello world, it's \0 12345\r\n\n  x\xC3\xA9\xE2\x96\x81\xFF e\xCC\x81\xCC\xA3 \xEA\xB0\x80 <s><|x|> "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa abababababababab hello hello hello hello "
        "hello";
    il_tokens whole = {0}, halves = {0};
    encode(p, text, sizeof text, 1, 1, &whole);
    whole.n = 0;
    encode(p, text, sizeof text, 0, 1, &whole);
    size_t cut = il_pipeline_cut(p, text, sizeof text);
    must(cut < sizeof text);
    encode(p, text, cut, 0, 1, &halves);
    encode(p, text + cut, sizeof text - cut, 0, cut == 0, &halves);
    must(whole.n == halves.n && (whole.n == 0 || !memcmp(whole.ids, halves.ids, whole.n * sizeof *whole.ids)));
    il_tokens_free(&whole);
    il_tokens_free(&halves);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_pipeline p;
    il_error error = {IL_OK, ""};
    il_status status = il_tokenizer_json_read(&allocator, "fuzz.json", (const char *)data, bytes, &p, &error);
    if (status == IL_OK) {
        must(p.bpe.n > 0 && p.bpe.n <= IL_BPE_VOCAB_MAX && p.bos < (int)p.bpe.n && p.eos < (int)p.bpe.n);
        use(&p);
    } else {
        must(status == error.status && error.message[0]);
    }
    il_pipeline_free(&p);
    return 0;
}
