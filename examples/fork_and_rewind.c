/* fork_and_rewind.c: reads a text once, then goes on from there several times without reading it again.
 * The same tokens give the same bits, whichever way a session came to them; memcmp proves it.
 *
 *     cc fork_and_rewind.c -o fork_and_rewind $(pkg-config --cflags --libs innerloop)
 *     ./fork_and_rewind "$(pkg-config --variable=models innerloop)/reader"
 */
#include <innerloop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char beginning[] = "The ship lay at anchor, and the men had gone ashore to look for water. ";
static const char ending[] = "Nobody saw them again."; /* so short that it can be taken back: il_session_rewind */

static il_error error;

static void must(il_status status) {
    if (status) fprintf(stderr, "%s\n", error.message), exit(1);
}

/* Feeds tokens, `step` at a time, and gives the prediction of what follows, logits [vocab_size]. */
static void predict(il_session *session, const il_tokens *tokens, size_t step, float *logits) {
    for (size_t i = 0; i < tokens->n; i += step) {
        size_t n = tokens->n - i < step ? tokens->n - i : step;
        must(il_session_feed(session, tokens->ids + i, n, NULL, NULL, &error));
    }
    must(il_session_logits(session, logits, &error));
}

static int compare(const char *what, const float *a, const float *b, size_t bytes) {
    int same = memcmp(a, b, bytes) == 0;
    printf("%s: %s\n", what, same ? "the same bits" : "different bits");
    return same;
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : "models/reader";
    il_engine *engine;
    il_model *model;
    il_tokenizer *tokenizer;
    il_session *session, *fork;
    il_tokens begin = {0}, end = {0};
    must(il_engine_open(NULL, &engine, &error));
    must(il_model_load(engine, dir, &model, &error));
    must(il_tokenizer_load_for_model(engine, dir, il_model_config(model), &tokenizer, &error));
    must(il_tokenizer_encode(tokenizer, beginning, strlen(beginning), &begin, &error));
    must(il_tokenizer_encode(tokenizer, ending, strlen(ending), &end, &error));
    must(il_session_open(model, NULL, &session, &error));
    must(il_session_feed(session, begin.ids, begin.n, NULL, NULL, &error));

    size_t bytes = (size_t)il_model_config(model)->vocab_size * sizeof(float);
    float *a = malloc(bytes), *b = malloc(bytes);
    if (!a || !b) return 1;
    uint64_t position = il_session_position(session);
    must(il_session_fork(session, &fork, &error));
    predict(session, &end, end.n, a);
    predict(fork, &end, 1, b);
    int same = compare("a fork, fed token by token", a, b, bytes);
    must(il_session_rewind(session, position, &error));
    predict(session, &end, 3, b);
    same &= compare("rewound, and fed three tokens at a time", a, b, bytes);

    free(b);
    free(a);
    il_tokens_free(&end);
    il_tokens_free(&begin);
    il_session_close(fork);
    il_session_close(session);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
    return !same;
}
