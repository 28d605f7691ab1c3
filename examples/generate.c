/* generate.c: continues a text, 60 tokens long.
 *
 *     cc generate.c -o generate $(pkg-config --cflags --libs innerloop)
 *     ./generate "$(pkg-config --variable=models innerloop)/reader" "She looked out at the rain, and"
 */
#include <innerloop.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every call of the library returns 0 on success; otherwise error.message says what went wrong. */
static il_error error;

static int read_text(il_session *session, const il_tokenizer *tokenizer, const char *text) {
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    int32_t bos = info.bos; /* the token that begins a text; -1: the tokenizer has none */
    il_tokens tokens = {0};
    int failed = il_session_feed(session, &bos, bos >= 0, NULL, NULL, &error) ||
                 il_tokenizer_encode(tokenizer, text, strlen(text), &tokens, &error) ||
                 il_session_feed(session, tokens.ids, tokens.n, NULL, NULL, &error);
    il_tokens_free(&tokens);
    return failed;
}

/* logits [vocab_size], piece [capacity]. */
static int write_text(il_session *session, const il_tokenizer *tokenizer, int vocab_size, float *logits, char *piece,
                      size_t capacity) {
    il_decoder decoder = {.started = 1}; /* the text goes on from the prompt */
    il_sample_options sampling;
    il_sample_options_default(&sampling);
    sampling.temperature = 0.7F;
    for (int i = 0; i < 60; i++) {
        int32_t token;
        size_t bytes;
        if (il_session_logits(session, logits, &error) ||
            il_sample(&sampling, logits, vocab_size, il_session_position(session), NULL, 0, &token, &error) ||
            il_tokenizer_decode(tokenizer, &decoder, token, piece, capacity, &bytes, &error) ||
            il_session_feed(session, &token, 1, NULL, NULL, &error))
            return 1;
        fwrite(piece, 1, bytes, stdout);
    }
    printf("\n");
    return 0;
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : "models/reader";
    const char *prompt =
        argc > 2 ? argv[2] : "She looked out at the rain. Nobody had come that day, and she began to think";
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_tokenizer *tokenizer = NULL;
    il_session *session = NULL;
    int failed = il_engine_open(NULL, &engine, &error) || il_model_load(engine, dir, &model, &error) ||
                 il_tokenizer_load_for_model(engine, dir, il_model_config(model), &tokenizer, &error) ||
                 il_session_open(model, NULL, &session, &error) || read_text(session, tokenizer, prompt);
    if (!failed) {
        int vocab_size = il_model_config(model)->vocab_size;
        size_t capacity = il_tokenizer_piece_bytes_max(tokenizer);
        float *logits = malloc((size_t)vocab_size * sizeof *logits);
        char *piece = malloc(capacity);
        failed = !logits || !piece || write_text(session, tokenizer, vocab_size, logits, piece, capacity);
        free(piece);
        free(logits);
    }
    if (failed) fprintf(stderr, "%s\n", error.message[0] ? error.message : "no memory");
    il_session_close(session);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
    return failed;
}
