/* latency.c: how long a token takes when so many tokens were read before it. Goes once through a text and
 * stops at contexts of 256, 512, … tokens; there it reads the next 256 tokens in one piece, then feeds tokens
 * one by one with a row of logits each, as generation does. Prints one JSON object. Needs the public
 * interface and the command's clock; measures nothing else.
 *
 * usage: demo_latency MODEL TOKENS.bin CONTEXT_MAX */
#include <innerloop.h>

#include <stdio.h>
#include <stdlib.h>

#include "output.h"

enum {
    FIRST = 256,                  /* the first context, and the piece read at each */
    GROUP = 16,                   /* tokens timed together: one mini-batch with its commit */
    GROUPS = 8,                   /* the median of so many groups counts */
    TAIL = FIRST + GROUP * GROUPS /* tokens needed beyond the last context */
};

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of the seconds a token takes, one at a time, from this session's position on. */
static il_status time_writing(il_session *session, const int32_t *tokens, float *logits, double *seconds,
                              il_error *error) {
    double groups[GROUPS];
    for (int g = 0; g < GROUPS; g++) {
        double started = cli_seconds();
        for (int i = 0; i < GROUP; i++) {
            il_status status = il_session_feed(session, tokens + g * GROUP + i, 1, NULL, NULL, error);
            if (!status) status = il_session_logits(session, logits, error);
            if (status) return status;
        }
        groups[g] = (cli_seconds() - started) / GROUP;
    }
    qsort(groups, GROUPS, sizeof *groups, ascending);
    *seconds = (groups[GROUPS / 2 - 1] + groups[GROUPS / 2]) / 2;
    return IL_OK;
}

/* One line of the result: from a fork, so that the session itself stays at the context. */
static il_status time_context(il_session *session, const int32_t *next, float *logits, const char *separator,
                              il_error *error) {
    double reading = 0, writing = 0;
    il_session_stats stats;
    il_session *fork = NULL;
    il_status status = il_session_fork(session, &fork, error);
    if (status) return status;
    double started = cli_seconds();
    status = il_session_feed(fork, next, FIRST, NULL, NULL, error);
    reading = (cli_seconds() - started) / FIRST;
    if (!status) status = time_writing(fork, next + FIRST, logits, &writing, error);
    il_session_get_stats(session, &stats);
    if (!status)
        printf("%s\n  {\"context\": %llu, \"read_us\": %.3f, \"write_us\": %.3f, \"state_bytes\": %zu}", separator,
               (unsigned long long)stats.position, 1e6 * reading, 1e6 * writing, stats.state_bytes);
    il_session_close(fork);
    return status;
}

static il_status measure(il_model *model, const int32_t *tokens, size_t n, size_t context_max, il_error *error) {
    il_session *session = NULL;
    float *logits = malloc((size_t)il_model_config(model)->vocab_size * sizeof *logits);
    il_status status = logits ? il_session_open(model, NULL, &session, error) : IL_ERR_NOMEM;
    if (!logits && error) snprintf(error->message, sizeof error->message, "no memory");
    size_t at = 0;
    printf("{\"rows\": [");
    for (size_t context = FIRST; !status && context <= context_max && context + TAIL <= n; context *= 2) {
        status = il_session_feed(session, tokens + at, context - at, NULL, NULL, error);
        at = context;
        if (!status) status = time_context(session, tokens + at, logits, context > FIRST ? "," : "", error);
    }
    printf("\n]}\n");
    il_session_close(session);
    free(logits);
    return status;
}

int main(int argc, char **argv) {
    char *end = NULL;
    unsigned long long context_max = argc == 4 ? strtoull(argv[3], &end, 10) : 0;
    if (argc != 4 || *end || context_max < FIRST) {
        fprintf(stderr, "usage: demo_latency MODEL TOKENS.bin CONTEXT_MAX (%d or more)\n", FIRST);
        return 2;
    }
    il_engine *engine = NULL;
    il_model *model = NULL;
    il_data *data = NULL;
    il_error error = {IL_OK, ""};
    il_data_options options;
    const char *files[] = {argv[2]};
    il_data_options_default(&options);
    options.length = 1;
    options.sequences = 1;
    options.shuffle = 0;
    options.loop = 0;
    il_status status = il_engine_open(NULL, &engine, &error);
    if (!status) status = il_model_load(engine, argv[1], &model, &error);
    if (!status)
        status = il_data_open(engine, files, 1, NULL, il_model_config(model)->vocab_size, &options, &data, &error);
    if (!status)
        status = measure(model, il_data_stream(data), (size_t)il_data_tokens(data), (size_t)context_max, &error);
    il_data_close(data);
    il_model_unref(model);
    il_engine_close(engine);
    if (status) fprintf(stderr, "demo_latency: %s\n", error.message[0] ? error.message : il_status_name(status));
    return status ? 1 : 0;
}
