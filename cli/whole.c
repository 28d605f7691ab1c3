/* whole.c: see whole.h. */
#include "whole.h"
#include "output.h"

#include <math.h>
#include <stdlib.h>

enum { FEED_TOKENS = 2048 };

il_status cli_whole_read(il_model *model, const il_data *data, int frozen, cli_whole *whole, il_error *error) {
    static const double LN2 = 0.69314718055994530942;
    const int32_t *tokens = il_data_stream(data);
    size_t n = (size_t)il_data_tokens(data), counted = 0;
    uint64_t bytes = il_data_text_bytes(data);
    int bos = il_model_config(model)->bos_token;
    double total = 0;
    il_session *session;
    il_session_options options;
    il_session_options_default(&options);
    options.frozen = frozen;
    il_status status = il_session_open(model, &options, &session, error);
    if (status) return status;
    float *nll = cli_alloc(FEED_TOKENS, sizeof *nll);
    for (size_t at = 0; at < n && !status; at += FEED_TOKENS) {
        size_t some = n - at < FEED_TOKENS ? n - at : FEED_TOKENS;
        status = il_session_feed(session, tokens + at, some, nll, NULL, error);
        for (size_t i = 0; i < some && !status; i++) {
            if (!(at + i) || tokens[at + i] == bos) continue; /* nothing predicts the first */
            total += (double)nll[i];
            counted++;
        }
    }
    free(nll);
    il_session_close(session);
    whole->loss = counted ? total / (double)counted : NAN;
    whole->bits_per_byte = bytes && counted ? total / LN2 / (double)bytes : NAN;
    return status;
}
