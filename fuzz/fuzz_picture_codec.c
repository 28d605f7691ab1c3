/* fuzz_picture_codec.c: compressed data for a small model of pictures. The first byte picks what the others are:
 * compressed data as it is; a code, in a header that is in order (the fuzzer cannot guess its checksums); or pixels,
 * which must come back. */
#include "pictures.h"

#include "codec/container.h"
#include "text/tokenizer.h"

enum { WIDTH = 4, HEIGHT = 2, LEVELS = 3, TILES = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static il_model *model;
static il_tokenizer *tokenizer;

/* Once; lives as long as the process. */
static void begin(void) {
    const il_picture_layout layout = {.width = WIDTH, .height = HEIGHT, .levels = LEVELS, .header_rows = 1};
    il_config config;
    if (model) return;
    fuzz_must(!il_tokenizer_open_pictures(fuzz_engine(), &layout, &tokenizer, NULL));
    fuzz_must(!il_config_preset("tiny", "ttt_linear", NULL, &config, NULL));
    config.vocab_size = LEVELS + 4;
    config.width = 16;
    config.heads = 2;
    config.ffn_width = 16;
    config.layers = 1;
    config.mini_batch = WIDTH;
    fuzz_must(!il_model_init(fuzz_engine(), &config, 1, &model, NULL));
}

static void decompress(const void *data, size_t bytes) {
    enum { BYTES_MAX = 64 };
    il_codec_options options;
    il_picture picture;
    il_buffer pixels;
    il_error error = {IL_OK, ""};
    il_codec_options_default(&options);
    options.bytes_max = BYTES_MAX;
    il_status status = il_picture_decompress(model, tokenizer, data, bytes, &options, &picture, &pixels, &error);
    fuzz_must(status == error.status && pixels.bytes <= BYTES_MAX);
    fuzz_must(status == IL_OK ? picture.pixels == pixels.data && pixels.data : !pixels.data && error.message[0]);
    if (status == IL_OK) fuzz_picture(&picture);
    il_buffer_free(&pixels);
}

static void decode(const uint8_t *code, size_t bytes) {
    static unsigned char data[IL_CONTAINER_MAX + 256 + IL_CONTAINER_SEAL];
    il_container header = {.picture = 1, .n = 1};
    if (bytes < 2 || bytes > 256) return;
    il_model_fingerprint(model, header.model);
    il_tokenizer_fingerprint(tokenizer, (char *)data); /* longer than what the header has */
    memcpy(header.tokenizer, data, 16);
    header.streams[0] = (il_container_stream){(size_t)(1 + code[0] % 4) * WIDTH * HEIGHT, bytes - 1};
    size_t n = il_container_write(&header, data);
    memcpy(data + n, code + 1, bytes - 1);
    il_container_seal(data, n + bytes - 1);
    decompress(data, n + bytes - 1 + IL_CONTAINER_SEAL);
}

static void compress(const uint8_t *data, size_t bytes) {
    unsigned char shown[TILES * WIDTH * HEIGHT];
    il_buffer code, pixels;
    il_picture picture = {TILES * WIDTH, HEIGHT, 1, shown, 0, 0, 0}, back;
    for (size_t i = 0; i < sizeof shown; i++)
        shown[i] = bytes ? il_tokenizer_pictures(tokenizer)->colours[data[i % bytes] % LEVELS][0] : 0;
    fuzz_must(il_picture_compress(model, tokenizer, &picture, NULL, &code, NULL) == IL_OK);
    fuzz_must(il_picture_decompress(model, tokenizer, code.data, code.bytes, NULL, &back, &pixels, NULL) == IL_OK);
    fuzz_must(back.width == picture.width && pixels.bytes == sizeof shown && !memcmp(pixels.data, shown, sizeof shown));
    il_buffer_free(&code);
    il_buffer_free(&pixels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (!bytes) return 0;
    begin();
    if (data[0] % 3 == 0) decompress(data + 1, bytes - 1);
    if (data[0] % 3 == 1) decode(data + 1, bytes - 1);
    if (data[0] % 3 == 2) compress(data + 1, bytes - 1);
    return 0;
}
