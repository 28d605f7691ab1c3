/* fuzz_codec.c: compressed data for a small model. The first byte picks what the others are: compressed data
 * as it is; one stream's code, whose size in the original is the second byte, in a head that is in order (the
 * fuzzer cannot guess its checksums); or a text, which must come back. + 3: from a state that has read something; + 6:
 * with the mix. */
#include <stdlib.h>
#include <string.h>

#include "codec/container.h"

enum { BYTES_MAX = 4096, TEXT_MAX = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

static il_engine *engine;
static il_model *model;
static il_tokenizer *tokenizer;
static il_session *states[2]; /* none, and one */

/* Once; lives as long as the process. */
static void begin(void) {
    il_engine_options options;
    il_config config;
    if (model) return;
    il_engine_options_default(&options);
    options.threads = 1;
    must(!il_engine_open(&options, &engine, NULL));
    must(!il_config_preset("tiny", "ttt_linear", NULL, &config, NULL));
    config.vocab_size = 258;
    config.width = 16;
    config.heads = 2;
    config.ffn_width = 16;
    config.layers = 1;
    config.mini_batch = 4;
    must(!il_model_init(engine, &config, 1, &model, NULL));
    must(!il_tokenizer_load(engine, "bytes", &tokenizer, NULL));
    static const int32_t read[] = {256, 't', 'h', 'e', ' '};
    must(!il_session_open(model, NULL, &states[1], NULL));
    must(!il_session_feed(states[1], read, 5, NULL, NULL, NULL));
}

static void decompress(const il_session *start, const uint8_t *data, size_t bytes) {
    il_codec_options options;
    il_buffer text;
    il_error error = {IL_OK, ""};
    il_codec_options_default(&options);
    options.bytes_max = BYTES_MAX;
    options.start = start;
    il_status status = il_decompress(model, tokenizer, data, bytes, &options, &text, &error);
    must(status == error.status && text.bytes <= BYTES_MAX);
    must(status == IL_OK ? text.data != NULL : text.data == NULL && text.bytes == 0 && error.message[0]);
    il_buffer_free(&text);
}

static void decode(const il_session *start, int mixed, uint64_t original, const uint8_t *code, size_t bytes) {
    il_codec_options options;
    il_buffer empty;
    il_container head;
    size_t at;
    unsigned char *file = malloc(IL_CONTAINER_MAX + bytes + IL_CONTAINER_SEAL);
    il_codec_options_default(&options);
    options.start = start;
    must(file && !il_compress(model, tokenizer, "", 0, &options, &empty, NULL));
    must(!il_container_parse(empty.data, empty.bytes, &head, &at, NULL)); /* for the fingerprints */
    il_buffer_free(&empty);
    head.mixed = mixed;
    head.streams[0] = (il_container_stream){original, bytes};
    at = il_container_write(&head, file);
    if (bytes) memcpy(file + at, code, bytes);
    il_container_seal(file, at + bytes);
    decompress(start, file, at + bytes + IL_CONTAINER_SEAL);
    free(file);
}

static void round_trip(const il_session *start, int mixed, const uint8_t *data, size_t bytes) {
    il_codec_options options;
    il_buffer small, text;
    il_codec_options_default(&options);
    options.streams = 1 + (int)(bytes % 3);
    options.start = start;
    options.mix = mixed;
    if (bytes > TEXT_MAX) bytes = TEXT_MAX;
    must(!il_compress(model, tokenizer, data, bytes, &options, &small, NULL));
    must(!il_decompress(model, tokenizer, small.data, small.bytes, &options, &text, NULL));
    must(text.bytes == bytes && (!bytes || memcmp(text.data, data, bytes) == 0));
    il_buffer_free(&small);
    il_buffer_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    begin();
    if (bytes < 2) return 0;
    const il_session *start = states[data[0] % 6 / 3];
    int mixed = data[0] / 6 & 1;
    switch (data[0] % 3) {
    case 0: decompress(start, data + 1, bytes - 1); break;
    case 1: decode(start, mixed, data[1], data + 2, bytes - 2); break;
    default: round_trip(start, mixed, data + 1, bytes - 1);
    }
    return 0;
}
