/* generate.c: continues a text.
 *
 *     cc generate.c -o generate $(pkg-config --cflags --libs innerloop)
 *     ./generate "$(pkg-config --variable=models innerloop)/reader" "It was a dark"
 */
#include <innerloop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static il_error error;

static void must(il_status status) {
    if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : "models/reader";
    const char *text = argc > 2 ? argv[2] : "She looked out at the rain, and";
    il_engine *engine;
    il_model *model;
    il_tokenizer *tokenizer;
    il_tokenizer_info info;
    il_session *session;
    il_tokens prompt = {0};
    must(il_engine_open(NULL, &engine, &error));
    must(il_model_load(engine, dir, &model, &error));
    must(il_tokenizer_load_for_model(engine, dir, il_model_config(model), &tokenizer, &error));
    must(il_tokenizer_encode(tokenizer, text, strlen(text), &prompt, &error));
    il_tokenizer_get_info(tokenizer, &info);
    int32_t bos = info.bos; /* the token that begins a text, -1 where there is none */
    must(il_session_open(model, NULL, &session, &error));
    must(il_session_feed(session, &bos, bos >= 0, NULL, NULL, &error));
    must(il_session_feed(session, prompt.ids, prompt.n, NULL, NULL, &error));

    il_sample_options options;
    il_sample_options_default(&options);
    options.temperature = 0.7f;
    options.repeat_penalty = 1.15f;
    il_decoder decoder = {.started = 1}; /* in the middle of a text */
    int vocab_size = il_model_config(model)->vocab_size;
    float *logits = malloc((size_t)vocab_size * sizeof *logits);
    int32_t ids[100];
    char piece[256];
    for (size_t i = 0, bytes; logits && i < 100; i++) {
        uint64_t position = il_session_position(session);
        must(il_session_logits(session, logits, &error));
        must(il_sample(&options, logits, vocab_size, position, ids, i, &ids[i], &error));
        must(il_tokenizer_decode(tokenizer, &decoder, ids[i], piece, sizeof piece, &bytes, &error));
        fwrite(piece, 1, bytes, stdout);
        must(il_session_feed(session, &ids[i], 1, NULL, NULL, &error));
    }
    free(logits);
    il_tokens_free(&prompt);
    il_session_close(session);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
}
