/* tokens.c: see tokens.h. */
#include "request/tokens.h"

#include <stdlib.h>
#include <string.h>

/* The name of EOS or BOS alone is that token: so lm-eval finds the one that ends a text. */
static int control_token(const names *n, const char *words, size_t bytes) {
    const int tokens[] = {n->eos, n->bos};
    for (int i = 0; i < 2; i++) {
        const char *name;
        size_t length;
        il_tokenizer_token(n->tokenizer, tokens[i], &name, &length);
        if (name && length == bytes && !memcmp(words, name, bytes)) return tokens[i];
    }
    return -1;
}

static int encode(const char *data, size_t bytes, int special, const names *n, il_tokens *tokens, problem *p) {
    il_error error;
    int control = special ? control_token(n, data, bytes) : -1;
    if (control >= 0) {
        tokens->ids[0] = control; /* there is room for one */
        tokens->n = 1;
        return 1;
    }
    il_tokens found = {0};
    il_status status =
        il_tokenizer_encode_as(n->tokenizer, special ? IL_ENCODE_SPECIAL : 0, data, bytes, &found, &error);
    int32_t *ids = status ? NULL : realloc(tokens->ids, (found.n + 2) * sizeof *ids);
    if (ids) {
        tokens->ids = ids;
        if (found.n) memcpy(ids, found.ids, found.n * sizeof *ids);
        tokens->n = found.n;
    } else {
        problem_set(p, status && status != IL_ERR_NOMEM ? 400 : 503, "invalid_value", "prompt", "prompt: %s",
                    status ? error.message : "no memory for it now");
    }
    il_tokens_free(&found);
    return !p->status;
}

void tokens_tokenize(const json_t *body, const names *n, const completion_limits *limits, text *t, problem *p) {
    int llama = json_field(body, "content") != NULL; /* llama.cpp's words */
    const char *field = llama ? "content" : "prompt", *data = NULL;
    const char *unread;
    size_t bytes = 0, unread_bytes;
    int begins = !llama, special = 1, pieces = 0, other;
    json_text_field(body, field, &data, &bytes, p);
    json_flag_field(body, llama ? "add_special" : "add_special_tokens", &begins, p);
    json_flag_field(body, "parse_special", &special, p);
    json_flag_field(body, llama ? "with_pieces" : "return_token_strs", &pieces, p);
    /* What the other has changes nothing, and must be right all the same. */
    json_text_field(body, llama ? "prompt" : "content", &unread, &unread_bytes, p);
    json_flag_field(body, llama ? "add_special_tokens" : "add_special", &other, p);
    json_flag_field(body, llama ? "return_token_strs" : "with_pieces", &other, p);
    if (!p->status && !data) problem_set(p, 400, "invalid_value", "prompt", "prompt is missing: the text to tokenize");
    if (p->status) return;
    il_tokens tokens = {.ids = malloc(2 * sizeof *tokens.ids)};
    char *scratch = malloc(n->piece_bytes_max);
    text name = {0};
    begins = begins && n->bos >= 0;
    if (!tokens.ids || !scratch) problem_set(p, 503, "no_memory", NULL, "no memory for the text now");
    if (!p->status && encode(data, bytes, special, n, &tokens, p)) {
        if (begins) {
            memmove(tokens.ids + 1, tokens.ids, tokens.n * sizeof *tokens.ids);
            tokens.ids[0] = n->bos;
            tokens.n++;
        }
        text_say(t, "{\"tokens\":[");
        for (size_t i = 0; i < tokens.n; i++) {
            if (i) text_say(t, ",");
            if (!llama || !pieces) {
                text_print(t, "%d", tokens.ids[i]);
                continue;
            }
            name.bytes = 0;
            names_token(n, tokens.ids[i], scratch, &name);
            text_print(t, "{\"id\":%d,\"piece\":", tokens.ids[i]);
            text_quote(t, name.data, name.bytes);
            text_say(t, "}");
        }
        text_say(t, "]");
        if (!llama) {
            text_print(t, ",\"count\":%zu,\"max_model_len\":%zu,\"token_strs\":", tokens.n, limits->prompt_tokens_max);
            text_say(t, pieces ? "[" : "null");
            for (size_t i = 0; pieces && i < tokens.n; i++) {
                name.bytes = 0;
                names_token(n, tokens.ids[i], scratch, &name);
                if (i) text_say(t, ",");
                text_quote(t, name.data, name.bytes);
            }
            if (pieces) text_say(t, "]");
        }
        text_say(t, "}");
    }
    t->failed |= name.failed;
    free(tokens.ids);
    free(scratch);
    text_free(&name);
}

void tokens_detokenize(const json_t *body, const names *n, const completion_limits *limits, text *t, problem *p) {
    const json_t *field = json_field(body, "tokens");
    il_tokens tokens = {0};
    il_decoder decoder = {.form = IL_DECODE_UTF8};
    text whole = {0};
    char *piece = malloc(n->piece_bytes_max);
    size_t bytes;
    if (!piece)
        problem_set(p, 503, "no_memory", NULL, "no memory for the text now");
    else if (!json_is_array(field))
        problem_set(p, 400, "invalid_value", "tokens", "tokens must be an array of tokens");
    else if (json_array_size(field))
        completion_tokens(field, "tokens", limits->vocab_size, limits->prompt_tokens_max, &tokens, p);
    for (size_t i = 0; i <= tokens.n && !p->status; i++) {
        int32_t id = i < tokens.n ? tokens.ids[i] : -1;
        if (id < n->vocab_size &&
            !il_tokenizer_decode(n->tokenizer, &decoder, id, piece, n->piece_bytes_max, &bytes, NULL))
            text_add(&whole, piece, bytes);
    }
    if (!p->status) {
        text_say(t, "{\"prompt\":");
        text_quote(t, whole.data, whole.bytes);
        text_say(t, ",\"content\":");
        text_quote(t, whole.data, whole.bytes);
        text_say(t, "}");
    }
    t->failed |= whole.failed;
    free(tokens.ids);
    free(piece);
    text_free(&whole);
}

static void add_name(const char *field, const names *n, int token, text *t) {
    const char *name;
    size_t bytes;
    il_tokenizer_token(n->tokenizer, token, &name, &bytes);
    text_print(t, ",\"%s\":", field);
    if (name)
        text_quote(t, name, bytes);
    else
        text_say(t, "null");
}

void tokens_info(const names *n, text *t) {
    il_tokenizer_info info;
    il_tokenizer_get_info(n->tokenizer, &info);
    text_print(t, "{\"tokenizer_class\":\"%s\",\"vocab_size\":%d", info.kind, info.vocab_size);
    add_name("bos_token", n, n->bos, t);
    add_name("eos_token", n, n->eos, t);
    text_say(t, ",\"pad_token\":null,\"chat_template\":null}");
}
