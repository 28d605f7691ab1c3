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

static const char beginning[] = "The ship lay at anchor in the bay, and the men had gone ashore to look for water. ";
static const char ending[] = "Nobody saw them again."; /* so short that it can be taken back: see il_session_rewind */

/* Every call of the library returns 0 on success; otherwise error.message says what went wrong. */
static il_error error;

/* Feeds tokens, `step` at a time, and gives the prediction of what follows, logits [vocab_size]. */
static int predict(il_session *session, const il_tokens *tokens, size_t step, float *logits) {
    for (size_t i = 0; i < tokens->n; i += step) {
        size_t n = tokens->n - i < step ? tokens->n - i : step;
        if (il_session_feed(session, tokens->ids + i, n, NULL, NULL, &error)) return 1;
    }
    return il_session_logits(session, logits, &error);
}

static int check(const char *what, const float *a, const float *b, size_t bytes) {
    int same = memcmp(a, b, bytes) == 0;
    printf("%s: %s\n", what, same ? "the same bits" : "different bits");
    if (!same) snprintf(error.message, sizeof error.message, "%s: the predictions differ", what);
    return !same;
}

/* session has read the beginning; a and b have room for logits, which take so many bytes. */
static int go_on(il_session *session, const il_tokens *end, float *a, float *b, size_t bytes) {
    uint64_t position = il_session_position(session);
    il_session *fork = NULL;
    int failed = il_session_fork(session, &fork, &error) || predict(session, end, end->n, a) ||
                 predict(fork, end, 1, b) || check("a fork, fed token by token", a, b, bytes) ||
                 il_session_rewind(session, position, &error) || predict(session, end, 3, b) ||
                 check("rewound, fed three tokens at a time", a, b, bytes);
    il_session_close(fork);
    return failed;
}

int main(int argc, char **argv) {
    const char *dir = argc > 1 ? argv[1] : "models/reader";
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_tokenizer *tokenizer = NULL;
    il_session *session = NULL;
    il_tokens begin = {0}, end = {0};
    int failed = il_engine_open(NULL, &engine, &error) || il_model_load(engine, dir, &model, &error) ||
                 il_tokenizer_load_for_model(engine, dir, il_model_config(model), &tokenizer, &error) ||
                 il_session_open(model, NULL, &session, &error) ||
                 il_tokenizer_encode(tokenizer, beginning, strlen(beginning), &begin, &error) ||
                 il_tokenizer_encode(tokenizer, ending, strlen(ending), &end, &error) ||
                 il_session_feed(session, begin.ids, begin.n, NULL, NULL, &error);
    if (!failed) {
        size_t bytes = (size_t)il_model_config(model)->vocab_size * sizeof(float);
        float *a = malloc(bytes), *b = malloc(bytes);
        failed = !a || !b || go_on(session, &end, a, b, bytes);
        free(b);
        free(a);
    }
    if (failed) fprintf(stderr, "%s\n", error.message[0] ? error.message : "no memory");
    il_tokens_free(&end);
    il_tokens_free(&begin);
    il_session_close(session);
    il_tokenizer_close(tokenizer);
    il_model_unref(model);
    il_engine_close(engine);
    return failed;
}
