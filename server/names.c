/* names.c: see names.h. */
#include "names.h"

#include <stdio.h>
#include <string.h>

/* The public interface does not give the names of control tokens. Those of a tokenizer.json are found among the usual
 * ones, by what they are encoded to; those of other kinds have no name in text, so that any will do. */
static void name_control(const names *n, const char *kind, int token, const char *usual, char name[32]) {
    static const char *const words[] = {
        "<|endoftext|>",   "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<|end_of_text|>", "<|begin_of_text|>",
        "<|startoftext|>", "</s>",       "<s>",          "<eos>",      "<bos>",           "<|end|>"};
    name[0] = 0;
    if (token < 0) return;
    if (strcmp(kind, "bpe")) {
        snprintf(name, 32, "%s", usual);
        return;
    }
    snprintf(name, 32, "token_id:%d", token);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        il_tokens ids = {0};
        int same = !il_tokenizer_encode_as(n->tokenizer, IL_ENCODE_SPECIAL, words[i], strlen(words[i]), &ids, NULL) &&
                   ids.n == 1 && ids.ids[0] == token;
        il_tokens_free(&ids);
        if (!same) continue;
        snprintf(name, 32, "%s", words[i]);
        return;
    }
}

void names_open(names *n, const il_tokenizer *tokenizer, const il_config *config, const il_generation *generation) {
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    *n = (names){.tokenizer = tokenizer,
                 .vocab_size = info.vocab_size,
                 .bos = il_tokenizer_bos(tokenizer, config),
                 .eos = info.eos >= 0 ? info.eos : config->eos_token,
                 .generation = *generation,
                 .piece_bytes_max = il_tokenizer_piece_bytes_max(tokenizer)};
    name_control(n, info.kind, n->bos, "<s>", n->bos_name);
    name_control(n, info.kind, n->eos, "</s>", n->eos_name);
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
    size_t whole = 0;
    const char *control = token < 0 ? "" : token == n->eos ? n->eos_name : token == n->bos ? n->bos_name : "";
    size_t bytes = control[0] ? 0 : names_bytes(n, token, scratch);
    while (whole < bytes) {
        size_t length = text_character(scratch + whole, bytes - whole);
        if (!length) break;
        whole += length;
    }
    if (control[0]) {
        text_say(t, control);
    } else if (!bytes) {
        text_print(t, "token_id:%d", token);
    } else if (whole == bytes) {
        text_add(t, scratch, bytes);
    } else {
        text_say(t, "bytes:");
        for (size_t i = 0; i < bytes; i++) text_print(t, "\\x%02x", (unsigned char)scratch[i]);
    }
}
