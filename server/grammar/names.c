/* names.c: see names.h. */
#include "grammar/names.h"

void names_open(names *n, const il_tokenizer *tokenizer, const il_config *config, const il_generation *generation) {
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    *n = (names){.tokenizer = tokenizer,
                 .vocab_size = info.vocab_size,
                 .bos = il_tokenizer_bos(tokenizer, config),
                 .eos = info.eos >= 0 ? info.eos : config->eos_token,
                 .generation = *generation,
                 .piece_bytes_max = il_tokenizer_piece_bytes_max(tokenizer)};
}

size_t names_bytes(const names *n, int32_t token, char *scratch) {
    il_decoder decoder = {.started = 1, .form = IL_DECODE_EXACT};
    size_t bytes;
    if (token < 0 || token >= n->vocab_size ||
        il_tokenizer_decode(n->tokenizer, &decoder, token, scratch, n->piece_bytes_max, &bytes, NULL))
        return 0;
    return bytes;
}

void names_token(const names *n, int32_t token, char *scratch, text *t) {
    const char *control;
    size_t whole = 0, length;
    il_tokenizer_token(n->tokenizer, token, &control, &length);
    size_t bytes = control ? 0 : names_bytes(n, token, scratch);
    while (whole < bytes) {
        size_t character = text_character(scratch + whole, bytes - whole);
        if (!character) break;
        whole += character;
    }
    if (control) {
        text_add(t, control, length);
    } else if (!bytes) {
        text_print(t, "token_id:%d", token);
    } else if (whole == bytes) {
        text_add(t, scratch, bytes);
    } else {
        text_say(t, "bytes:");
        for (size_t i = 0; i < bytes; i++) text_print(t, "\\x%02x", (unsigned char)scratch[i]);
    }
}
