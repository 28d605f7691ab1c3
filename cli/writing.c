/* writing.c: see writing.h. */
#include "writing.h"
#include "lines.h"
#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int cli_print_stdout(void *user, const char *text, size_t bytes) {
    (void)user;
    return fwrite(text, 1, bytes, stdout) < bytes || fflush(stdout) ? errno : 0;
}

void cli_writing_open(cli_writing *w, il_model *model, il_tokenizer *tokenizer, const il_generation *generation) {
    *w = (cli_writing){.model = model, .tokenizer = tokenizer, .generation = *generation, .silent = {-1, -1}};
    w->logits = cli_alloc((size_t)il_model_config(model)->vocab_size, sizeof *w->logits);
    w->decoded_room = il_tokenizer_piece_bytes_max(tokenizer);
    w->decoded = cli_alloc(w->decoded_room, 1);
}

void cli_writing_close(cli_writing *w) {
    free(w->text);
    free(w->tokens);
    free(w->ends);
    free(w->logits);
    free(w->decoded);
    *w = (cli_writing){.n = 0};
}

void cli_writing_begin(cli_writing *w, int started) {
    w->decoder = (il_decoder){.form = IL_DECODE_UTF8, .started = started};
    w->bytes = w->printed = w->n = 0;
}

void cli_writing_remember(cli_writing *w, const int32_t *tokens, size_t n) {
    for (size_t i = n > CLI_RECENT ? n - CLI_RECENT : 0; i < n; i++) {
        if (w->n_recent == CLI_RECENT)
            memmove(w->recent, w->recent + 1, (CLI_RECENT - 1) * sizeof *w->recent);
        else
            w->n_recent++;
        w->recent[w->n_recent - 1] = tokens[i];
    }
}

/* ---- the text on its way out ---- */

static void print_to(cli_writing *w, size_t end) {
    if (end <= w->printed) return;
    if (w->print && !w->failure) w->failure = w->print(w->user, w->text + w->printed, end - w->printed);
    w->printed = end;
}

/* Adds text; returns 1 when a stop string is complete: the text then ends before it. */
static int put(cli_writing *w, const char *text, size_t n) {
    w->text = cli_grown(w->text, &w->capacity, w->bytes + n, 1);
    if (n) memcpy(w->text + w->bytes, text, n);
    w->bytes += n;
    size_t stop_at = w->bytes, safe = w->bytes;
    for (size_t i = 0; i < w->n_stops; i++) {
        const char *stop = w->stops[i];
        size_t length = strlen(stop);
        for (size_t at = w->printed; at < stop_at; at++) {
            size_t rest = w->bytes - at, shared = rest < length ? rest : length;
            if (memcmp(w->text + at, stop, shared)) continue;
            if (shared == length)
                stop_at = at;
            else if (at < safe)
                safe = at;
            break;
        }
    }
    if (stop_at < w->bytes) {
        w->bytes = stop_at;
        print_to(w, stop_at);
        return 1;
    }
    print_to(w, safe);
    return 0;
}

int cli_writing_end(cli_writing *w) {
    size_t bytes;
    int stops = !il_tokenizer_decode(w->tokenizer, &w->decoder, -1, w->decoded, w->decoded_room, &bytes, NULL) &&
                put(w, w->decoded, bytes);
    print_to(w, w->bytes);
    return stops;
}

/* ---- tokens ---- */

static void trace(cli_writing *w, int32_t token, size_t end) {
    size_t room = w->n_room;
    w->tokens = cli_grown(w->tokens, &room, w->n + 1, sizeof *w->tokens);
    w->ends = cli_grown(w->ends, &w->n_room, w->n + 1, sizeof *w->ends);
    w->tokens[w->n] = token;
    w->ends[w->n++] = end;
}

il_status cli_writing_next(cli_writing *w, const il_session *session, int32_t *token, const char **finish,
                           il_error *error) {
    int vocab_size = il_model_config(w->model)->vocab_size;
    il_session *reading = (il_session *)(uintptr_t)session; /* logits do not change it */
    il_tokenizer_info info;
    size_t bytes;
    *finish = NULL;
    il_tokenizer_get_info(w->tokenizer, &info);
    if (info.vocab_size < vocab_size) vocab_size = info.vocab_size; /* what pads a vocabulary stands for no text */
    il_status status = il_session_logits(reading, w->logits, error);
    if (!status)
        status = il_sample(&w->generation.sampling, w->logits, vocab_size, il_session_position(session), w->recent,
                           w->n_recent, token, error);
    if (status) return status;
    if (il_generation_stops(&w->generation, *token)) {
        *finish = "eos";
        return IL_OK;
    }
    if (*token != w->silent[0] && *token != w->silent[1]) {
        status = il_tokenizer_decode(w->tokenizer, &w->decoder, *token, w->decoded, w->decoded_room, &bytes, error);
        if (!status && put(w, w->decoded, bytes)) *finish = "stop";
    }
    if (!*finish && w->keeps_trace) trace(w, *token, w->decoder.n_pending ? SIZE_MAX : w->bytes);
    return status;
}

il_status cli_writing_cut(cli_writing *w, il_session **session, il_session **before, uint64_t *evaluated,
                          il_error *error) {
    size_t whole = w->n;
    while (whole && w->ends[whole - 1] > w->bytes) whole--;
    size_t at = whole ? w->ends[whole - 1] : 0;
    *evaluated = 0;
    w->n = whole;
    if (at == w->bytes && il_session_position(*session) - il_session_position(*before) == whole) return IL_OK;
    il_session_stats stats;
    il_session_get_stats(*session, &stats);
    il_session_close(*session);
    *session = *before;
    *before = NULL;
    *evaluated = stats.tokens_fed;
    cli_encoder encoder;
    il_status status = IL_OK;
    cli_encoder_open(&encoder, w->tokenizer);
    if (at < w->bytes) status = cli_encoder_encode_alone(&encoder, w->text + at, w->bytes - at, 1, error);
    for (size_t i = encoder.skip; i < encoder.tokens.n; i++) trace(w, encoder.tokens.ids[i], w->bytes);
    cli_encoder_close(&encoder);
    return status ? status : il_session_feed(*session, w->tokens, w->n, NULL, NULL, error);
}
