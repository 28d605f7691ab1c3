/* spans.c: see spans.h. The whole text is tried first. Where the tokenizer fails, the window shrinks
 * to what came back, or by half; behind the one character that nothing helps it starts small and doubles
 * again. */
#include "codec/spans.h"

#include "base/error.h"
#include "base/utf8.h"

#include <string.h>

enum { WINDOW_LEAST = 64 };

typedef struct maker {
    const il_allocator *memory;
    const il_tokenizer *tokenizer;
    il_spans *to;
    char *piece; /* [capacity] */
    size_t capacity;
} maker;

static il_status add(maker *m, int raw, size_t bytes, size_t tokens, il_error *error) {
    il_spans *to = m->to;
    if (raw && to->n && to->spans[to->n - 1].raw) {
        to->spans[to->n - 1].bytes += bytes;
        return IL_OK;
    }
    void *spans = to->spans;
    if (!il_grow(m->memory, &spans, &to->capacity, to->n, to->n + 1, sizeof *to->spans))
        return il_fail(error, IL_ERR_NOMEM, "no memory for %zu spans of text", to->n + 1);
    to->spans = spans;
    to->spans[to->n++] = (il_span){.raw = raw, .bytes = bytes, .tokens = tokens};
    return IL_OK;
}

/* How many bytes at the front of text come back from these tokens; more than bytes when there is something
 * behind them. */
static size_t agreement(const maker *m, const int32_t *ids, size_t n, const char *text, size_t bytes) {
    il_decoder decoder = {.form = IL_DECODE_EXACT};
    size_t done = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t got, same = 0;
        if (il_tokenizer_decode(m->tokenizer, &decoder, i < n ? ids[i] : -1, m->piece, m->capacity, &got, NULL))
            return done;
        while (same < got && done + same < bytes && m->piece[same] == text[done + same]) same++;
        done += same;
        if (same < got) return done < bytes ? done : bytes + 1;
    }
    return done;
}

/* At most n bytes, ending between characters if there is a place. */
static size_t whole_characters(const char *text, size_t n, size_t bytes) {
    for (size_t back = 0; back < 4 && back < n && n < bytes; back++)
        if (((unsigned char)text[n - back] & 0xC0) != 0x80) return n - back;
    return n;
}

static il_status make(maker *m, const char *text, size_t bytes, il_error *error) {
    il_tokens *tokens = &m->to->tokens;
    int failed_here = 0;
    for (size_t at = 0, window = bytes; at < bytes;) {
        size_t left = bytes - at, before = tokens->n;
        size_t n = whole_characters(text + at, window < left ? window : left, left);
        il_error why;
        il_status status = il_tokenizer_encode(m->tokenizer, text + at, n, tokens, &why);
        if (status != IL_OK && status != IL_ERR_FORMAT) return il_fail(error, status, "%s", why.message);
        size_t made = tokens->n - before;
        size_t agreed = status ? 0 : agreement(m, tokens->ids + before, made, text + at, n);
        if (agreed == n && made <= n + 1 && made) {
            IL_TRY(add(m, 0, n, made, error));
            at += n;
            window = window <= bytes / 2 ? 2 * window : bytes;
            failed_here = 0;
            continue;
        }
        tokens->n = before;
        if (agreed < n) agreed = whole_characters(text + at, agreed, n);
        if (agreed && n > 1) {
            window = agreed < n && !failed_here ? agreed : (agreed < n / 2 ? agreed : n / 2);
            failed_here = 1;
            continue;
        }
        int length = il_utf8_length(text + at, left);
        IL_TRY(add(m, 1, length ? (size_t)length : 1, 0, error));
        at += length ? (size_t)length : 1;
        window = WINDOW_LEAST;
        failed_here = 0;
    }
    return IL_OK;
}

il_status il_spans_make(const il_allocator *memory, const il_tokenizer *tokenizer, const char *text, size_t bytes,
                        il_spans *spans, il_error *error) {
    maker m = {.memory = memory, .tokenizer = tokenizer, .to = spans};
    m.capacity = il_tokenizer_piece_bytes_max(tokenizer);
    m.piece = il_alloc_raw(memory, m.capacity, 1);
    if (!m.piece) return il_fail(error, IL_ERR_NOMEM, "no memory for a piece of text");
    il_status status = make(&m, text, bytes, error);
    il_free(memory, m.piece);
    return status;
}

void il_spans_free(const il_allocator *memory, il_spans *spans) {
    if (spans->spans) il_free(memory, spans->spans);
    il_tokens_free(&spans->tokens);
    *spans = (il_spans){0};
}
