/* codec.c: il_compress and il_decompress. The coder reads whole chunks of every stream at a time, the decoder
 * one token of every stream, in groups of streams that threads take through the model by themselves: that both see the
 * same distributions is the promise of one answer. The formats are container.h's (the header), range_coder.h's (the
 * code) and, of a stream's code: for each span (spans.h) a bit, raw or tokens; the number of its units; then the units:
 * tokens by the model, raw bytes each of 256 alike. With the mix (mix/mix.h) a token is coded bit by bit; all streams
 * share one mix, which both ways ask in the same order: token t of each stream, then token t + 1. From a state that has
 * read something the first token is predicted by that; else by the BOS; without one nothing predicts it, and all are
 * alike. */
#include "codec/container.h"
#include "codec/order.h"
#include "codec/range_coder.h"
#include "codec/spans.h"
#include "mix/mix.h"
#include "session/feed.h"
#include "session/session.h"

#include "base/error.h"
#include "base/rounds.h"
#include "text/tokenizer.h"

#include <string.h>
#include <xxhash.h>

enum {
    LENGTH_BITS = 6,
    STREAM_BYTES =
        96 * 1024 /* of text a stream, unless told: it begins with nothing learned, which costs about 0.8 % */
};
_Static_assert((int)IL_STREAMS_MAX <= (int)IL_FEED_CHUNK, "a token of every stream fits in a pass");

void il_codec_options_default(il_codec_options *options) { *options = (il_codec_options){.mix = 1}; }

void il_buffer_free(il_buffer *buffer) {
    if (buffer->data) il_free(&buffer->allocator, buffer->data);
    *buffer = (il_buffer){0};
}

/* What both ways share. */
typedef struct codec {
    il_model *model;
    const il_tokenizer *tokenizer;
    const il_allocator *memory;
    il_codec_options options;
    int vocab, bos; /* bos, fed before a stream's first token; -1: none */
    int begun;      /* options.start has read something */
    il_container header;
    il_feed *feeds; /* [header.n] */
    float *logits;  /* [vocab]: of the state that all streams start from */
    il_mix *mix;    /* NULL: the model alone predicts */
    il_tree tree;   /* of the mix */
} codec;

static void begin(codec *c, il_model *model, const il_tokenizer *tokenizer, const il_codec_options *options) {
    *c = (codec){.model = model, .tokenizer = tokenizer, .memory = &model->engine->memory};
    il_codec_options_default(&c->options);
    if (options) c->options = *options;
    c->vocab = model->config.vocab_size;
    c->bos = il_tokenizer_bos(tokenizer, &model->config);
    c->begun = c->options.start && il_session_position(c->options.start) > 0;
    if (c->begun) c->bos = -1;
}

/* The state every stream starts from, and its name; empty: fresh. */
static il_status name_state(const codec *c, char state[33], il_error *error) {
    state[0] = 0;
    if (!c->options.start) return IL_OK;
    if (c->options.start->model != c->model)
        return il_fail(error, IL_ERR_ARG, "the session to start from belongs to a different model");
    return il_session_fingerprint(c->options.start, state, error);
}

static il_status open_stream(const codec *c, il_session **session, il_error *error) {
    const il_session *start = c->options.start;
    il_session_options options = {.frozen = start && start->state.frozen}; /* a session's own mix is of no use here */
    IL_TRY(il_session_open(c->model, &options, session, error));
    return start ? il_state_copy(&(*session)->state, &start->state, error) : IL_OK;
}

/* The tokenizer must fit the model's vocabulary. The header keeps the first half of its fingerprint. */
static il_status check(const codec *c, char tokenizer[33], il_error *error) {
    il_tokenizer_info info;
    il_tokenizer_get_info(c->tokenizer, &info);
    if (info.vocab_size > c->vocab)
        return il_fail(error, IL_ERR_MISMATCH, "the %s tokenizer has %d tokens, the model's vocabulary %d", info.kind,
                       info.vocab_size, c->vocab);
    il_tokenizer_fingerprint(c->tokenizer, tokenizer);
    tokenizer[16] = 0;
    return IL_OK;
}

/* Neighbours in the tree are tokens that begin alike. */
static il_status open_mix(codec *c, il_error *error) {
    int32_t *order = il_alloc_raw(c->memory, (size_t)c->vocab, sizeof *order);
    if (!order) return il_fail(error, IL_ERR_NOMEM, "no memory for the order of %d tokens", c->vocab);
    il_status status = il_order_by_text(c->memory, c->tokenizer, c->vocab, order, error);
    if (!status) status = il_tree_open(c->memory, c->vocab, order, &c->tree, error);
    il_free(c->memory, order);
    return status ? status : il_mix_open(c->memory, c->tree.depth, c->header.n, c->header.bytes, &c->mix, error);
}

/* After the header is known. */
static il_status open_pass(codec *c, il_error *error) {
    c->feeds = il_alloc(c->memory, (size_t)c->header.n, sizeof *c->feeds);
    c->logits = il_alloc_raw(c->memory, (size_t)c->vocab, sizeof *c->logits);
    if (!c->feeds || !c->logits) return il_fail(error, IL_ERR_NOMEM, "no memory for %d logits", c->vocab);
    return c->header.mixed ? open_mix(c, error) : IL_OK;
}

static void close_pass(codec *c) {
    if (c->feeds) il_free(c->memory, c->feeds);
    if (c->logits) il_free(c->memory, c->logits);
    il_mix_close(c->mix);
    il_tree_close(&c->tree);
}

static il_status tell(const codec *c, uint64_t done, il_error *error) {
    if (c->options.progress && c->options.progress(c->options.user, done, c->header.bytes))
        return il_fail(error, IL_ERR_CANCELLED, "stopped after %llu of %llu bytes", (unsigned long long)done,
                       (unsigned long long)c->header.bytes);
    return IL_OK;
}

static il_status bad_logits(int stream, il_error *error) {
    return il_fail(error, IL_ERR_NONFINITE, "stream %d: the model's logits are not finite, or beyond all bounds",
                   stream);
}

/* ---- compress ---- */

typedef struct source {
    il_session *session;
    const char *text; /* of the spans that have not begun */
    il_spans spans;
    size_t span, left; /* the span under way, and how many of its tokens are left */
    size_t fed;        /* tokens[fed] is fed next */
    size_t part;       /* of it, in this pass, */
    size_t row;        /* the first of them in slices or odds */
    il_encoder encoder;
} source;

typedef struct compressor {
    codec base;
    source *sources; /* [n_sources] */
    int n_sources;
    source **open;    /* [n]: those with tokens in this pass, in the order of its feeds */
    il_slice *slices; /* [IL_FEED_CHUNK] of the pass; total 0: not to be coded by */
    il_odds *odds;    /* with the mix, in their place: [IL_FEED_CHUNK, tree.depth]; zeros 0: not to be coded by */
} compressor;

/* Number of bits, then the bits. */
static int encode_count(il_encoder *encoder, uint64_t count) {
    int bits = 0;
    while (bits < 63 && count >> bits) bits++;
    return il_encode_bits(encoder, (uint64_t)bits, LENGTH_BITS) && il_encode_bits(encoder, count, bits);
}

/* Codes what opens each span, and raw ones whole, up to the next token. 0 when memory is short. */
static int encode_openings(source *s) {
    while (!s->left && s->span < s->spans.n) {
        const il_span *span = &s->spans.spans[s->span++];
        if (!il_encode_bits(&s->encoder, (uint64_t)span->raw, 1) ||
            !encode_count(&s->encoder, span->raw ? span->bytes : span->tokens))
            return 0;
        for (size_t i = 0; span->raw && i < span->bytes; i++)
            if (!il_encode_bits(&s->encoder, (unsigned char)s->text[i], 8)) return 0;
        s->text += span->bytes;
        s->left = span->tokens;
    }
    return 1;
}

static int encode_token(source *s, il_slice slice) {
    if (!il_encode(&s->encoder, slice)) return 0;
    s->left--;
    return encode_openings(s);
}

static il_status open_source(compressor *z, int i, const char *text, il_error *error) {
    codec *c = &z->base;
    source *s = &z->sources[i];
    size_t bytes = (size_t)c->header.streams[i].bytes;
    s->text = text;
    il_encoder_open(c->memory, &s->encoder);
    if (!bytes) return IL_OK;
    if (c->bos >= 0) {
        if (!il_tokens_reserve(c->memory, &s->spans.tokens, 1))
            return il_fail(error, IL_ERR_NOMEM, "no memory for tokens");
        s->spans.tokens.ids[s->spans.tokens.n++] = c->bos;
    }
    IL_TRY(il_spans_make(c->memory, c->tokenizer, text, bytes, &s->spans, error));
    IL_TRY(open_stream(c, &s->session, error));
    int coded = encode_openings(s);
    if (coded && c->bos < 0 && s->left) {
        il_slice first = {(uint32_t)s->spans.tokens.ids[0], 1, (uint32_t)c->vocab};
        if (c->begun) {
            IL_TRY(il_session_logits(s->session, c->logits, error));
            if (!il_slices_begin(c->model->engine->kernels, c->vocab, c->logits)) return bad_logits(i, error);
            first = il_slice_of(c->vocab, c->logits, s->spans.tokens.ids[0]);
        }
        coded = encode_token(s, first);
    }
    return coded ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for the code of stream %d", i);
}

static void slice_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    compressor *z = context;
    const codec *c = &z->base;
    const source *s = z->open[feed];
    int32_t target = s->spans.tokens.ids[s->fed + token + 1];
    il_odds *odds = z->odds ? z->odds + (s->row + token) * (size_t)c->tree.depth : NULL;
    if (odds && il_slices_fit(lse))
        il_tree_way(&c->tree, p, target, odds);
    else if (odds)
        *odds = (il_odds){0, 0};
    else
        z->slices[s->row + token] = il_slices_fit(lse) ? il_slice_of(c->vocab, p, target) : (il_slice){0};
}

/* Row j of what a source has in this pass, coded by the model alone. */
static il_status encode_row(compressor *z, int i, size_t j, il_error *error) {
    source *s = &z->sources[i];
    il_slice slice = z->slices[s->row + j];
    if (!slice.total) return bad_logits(i, error);
    return encode_token(s, slice) ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for the code of stream %d", i);
}

/* The same by the mix. */
static il_status encode_row_mixed(compressor *z, int i, size_t j, il_error *error) {
    const il_tree *tree = &z->base.tree;
    il_mix *mix = z->base.mix;
    source *s = &z->sources[i];
    const il_odds *odds = z->odds + (s->row + j) * (size_t)tree->depth;
    uint32_t leaf = (uint32_t)tree->leaf[s->spans.tokens.ids[s->fed + j + 1]];
    int coded = 1;
    if (!odds->zeros && !odds->ones) return bad_logits(i, error);
    il_mix_begin(mix, i);
    for (int d = 0; d < tree->depth; d++) {
        int bit = (int)(leaf >> (tree->depth - 1 - d) & 1);
        uint32_t ones = il_mix_bit(mix, odds[d]);
        if (ones) coded = coded && il_encode_bit(&s->encoder, bit, ones, IL_MIX_BITS);
        il_mix_go_on(mix, bit);
    }
    il_mix_end(mix, leaf);
    s->left--;
    if (coded && encode_openings(s)) return IL_OK;
    return il_fail(error, IL_ERR_NOMEM, "no memory for the code of stream %d", i);
}

/* One pass: a part of every stream that is not done. *rows: how many tokens it coded; 0: all is done. */
static il_status compress_pass(compressor *z, size_t *rows, il_error *error) {
    codec *c = &z->base;
    size_t open = 0, n_feeds = 0;
    *rows = 0;
    for (int i = 0; i < c->header.n; i++) open += z->sources[i].fed + 1 < z->sources[i].spans.tokens.n;
    if (!open) return IL_OK;
    for (int i = 0; i < c->header.n; i++) {
        source *s = &z->sources[i];
        size_t left = s->spans.tokens.n ? s->spans.tokens.n - 1 - s->fed : 0;
        s->part = left < IL_FEED_CHUNK / open ? left : IL_FEED_CHUNK / open;
        if (!s->part) continue;
        s->row = *rows;
        *rows += s->part;
        c->feeds[n_feeds] = (il_feed){.session = s->session, .tokens = s->spans.tokens.ids + s->fed, .n = s->part};
        z->open[n_feeds++] = s;
    }
    IL_TRY(il_feed_read(c->feeds, n_feeds, &(il_row_sink){slice_row, z}, error));
    for (size_t j = 0; j < IL_FEED_CHUNK / open; j++)
        for (int i = 0; i < c->header.n; i++)
            if (j < z->sources[i].part) IL_TRY((c->mix ? encode_row_mixed : encode_row)(z, i, j, error));
    for (int i = 0; i < c->header.n; i++) z->sources[i].fed += z->sources[i].part;
    return IL_OK;
}

/* Unless told: by size alone, so that the same input gives the same bytes on every machine. */
static int streams_for(size_t bytes) {
    size_t n = bytes / STREAM_BYTES;
    return n < 1 ? 1 : n > IL_STREAMS_MAX ? IL_STREAMS_MAX : (int)n;
}

/* Cuts the input into streams of about one size, between characters. */
static void cut(codec *c, const char *text, size_t bytes, int streams) {
    size_t from = 0, n = (size_t)streams;
    c->header.n = (int)n;
    c->header.bytes = bytes;
    for (size_t i = 0; i < n; i++) {
        size_t to = i + 1 < n ? bytes / n * (i + 1) + bytes % n * (i + 1) / n : bytes;
        for (int k = 0; k < 3 && to < bytes && ((unsigned char)text[to] & 0xC0) == 0x80; k++) to++;
        if (to < from) to = from;
        c->header.streams[i].bytes = to - from;
        from = to;
    }
}

/* The code of a stream as one raw span: what the model does not predict grows by a few bytes only. */
static int store(il_encoder *encoder, const il_allocator *memory, const char *text, size_t bytes) {
    il_encoder_close(encoder);
    il_encoder_open(memory, encoder);
    if (!il_encode_bits(encoder, 1, 1) || !encode_count(encoder, bytes)) return 0;
    for (size_t i = 0; i < bytes; i++)
        if (!il_encode_bits(encoder, (unsigned char)text[i], 8)) return 0;
    return il_encode_finish(encoder);
}

enum { STORED = 8, A_STREAM = 6 }; /* the most bytes that storing a stream, and one more stream, take */

/* Ends the codes of all streams. A stream whose code is longer than its text is stored raw, unless the others' codes
 * build on what the mix learned of it. If the whole input stored as a single stream is shorter than all streams with
 * their sizes in the header, it is stored so. *total: bytes of all codes. */
static int finish(compressor *z, const char *text, size_t *total) {
    codec *c = &z->base;
    size_t at = 0;
    *total = 0;
    for (int i = 0; i < c->header.n; i++) {
        il_container_stream *stream = &c->header.streams[i];
        il_encoder *encoder = &z->sources[i].encoder;
        if (stream->bytes && !il_encode_finish(encoder)) return 0;
        int longer = encoder->bytes > stream->bytes && !c->mix;
        if (longer && !store(encoder, c->memory, text + at, (size_t)stream->bytes)) return 0;
        at += (size_t)stream->bytes;
        stream->coded = encoder->bytes;
        *total += encoder->bytes;
    }
    if (*total + A_STREAM * (size_t)(c->header.n - 1) <= at + (at ? STORED : 0)) return 1;
    for (int i = 1; i < c->header.n; i++) il_encoder_close(&z->sources[i].encoder);
    if (at && !store(&z->sources[0].encoder, c->memory, text, at)) return 0;
    *total = z->sources[0].encoder.bytes;
    c->header.mixed = 0;
    c->header.n = 1;
    c->header.streams[0] = (il_container_stream){at, *total};
    return 1;
}

/* Header and streams, end to end. */
static il_status assemble(compressor *z, const char *text, il_buffer *output, il_error *error) {
    codec *c = &z->base;
    unsigned char bytes_of_header[IL_CONTAINER_MAX];
    size_t total;
    if (!finish(z, text, &total)) return il_fail(error, IL_ERR_NOMEM, "no memory for the code of a stream");
    size_t n = il_container_write(&c->header, bytes_of_header);
    output->allocator = *c->memory;
    total += n + IL_CONTAINER_SEAL;
    output->data = il_alloc_raw(c->memory, total, 1);
    if (!output->data) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu compressed bytes", total);
    output->bytes = output->capacity = total;
    memcpy(output->data, bytes_of_header, n);
    for (int i = 0; i < c->header.n; i++) {
        const il_encoder *e = &z->sources[i].encoder;
        if (e->bytes) memcpy(output->data + n, e->data, e->bytes);
        n += e->bytes;
    }
    il_container_seal(output->data, n);
    return IL_OK;
}

static il_status compress(compressor *z, const char *text, size_t bytes, il_buffer *output, il_error *error) {
    codec *c = &z->base;
    char tokenizer[33];
    IL_TRY(check(c, tokenizer, error));
    if (c->options.streams < 0 || c->options.streams > IL_STREAMS_MAX)
        return il_fail(error, IL_ERR_ARG, "streams is %d: 0 (chosen by size) to %d are possible", c->options.streams,
                       IL_STREAMS_MAX);
    IL_TRY(name_state(c, c->header.state, error));
    memcpy(c->header.tokenizer, tokenizer, sizeof c->header.tokenizer);
    il_model_fingerprint(c->model, c->header.model);
    c->header.checksum = XXH3_64bits(text, bytes);
    c->header.mixed = c->options.mix && bytes;
    cut(c, text, bytes, c->options.streams ? c->options.streams : streams_for(bytes));
    IL_TRY(open_pass(c, error));
    z->n_sources = c->header.n;
    z->sources = il_alloc(c->memory, (size_t)c->header.n, sizeof *z->sources);
    z->open = il_alloc(c->memory, (size_t)c->header.n, sizeof(source *));
    if (c->mix)
        z->odds = il_alloc_raw(c->memory, (size_t)IL_FEED_CHUNK * (size_t)c->tree.depth, sizeof *z->odds);
    else
        z->slices = il_alloc(c->memory, IL_FEED_CHUNK, sizeof *z->slices);
    if (!z->sources || !z->open || (!z->slices && !z->odds))
        return il_fail(error, IL_ERR_NOMEM, "no memory for %d streams", c->header.n);
    uint64_t all = 0, done = 0;
    size_t at = 0;
    for (int i = 0; i < c->header.n; i++) {
        IL_TRY(open_source(z, i, text + at, error));
        at += (size_t)c->header.streams[i].bytes;
        all += z->sources[i].spans.tokens.n;
    }
    for (size_t coded = 1; coded; done += coded) {
        IL_TRY(tell(c, all ? (uint64_t)((double)bytes * ((double)done / (double)all)) : 0, error));
        IL_TRY(compress_pass(z, &coded, error));
    }
    IL_TRY(assemble(z, text, output, error));
    return tell(c, bytes, error);
}

il_status il_compress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                      const il_codec_options *options, il_buffer *output, il_error *error) {
    compressor z = {0};
    *output = (il_buffer){0};
    begin(&z.base, model, tokenizer, options);
    il_status status = compress(&z, bytes ? input : "", bytes, output, error);
    for (int i = 0; z.sources && i < z.n_sources; i++) {
        il_session_close(z.sources[i].session);
        il_spans_free(z.base.memory, &z.sources[i].spans);
        il_encoder_close(&z.sources[i].encoder);
    }
    if (z.sources) il_free(z.base.memory, z.sources);
    if (z.slices) il_free(z.base.memory, z.slices);
    if (z.odds) il_free(z.base.memory, z.odds);
    if (z.open) il_free(z.base.memory, z.open);
    close_pass(&z.base);
    if (status != IL_OK) il_buffer_free(output);
    return status;
}

/* ---- decompress ---- */

typedef struct sink {
    il_session *session;
    il_decoding decoding;
    uint64_t bytes; /* what the header says */
    int raw;
    uint64_t left;  /* units of the span under way */
    int32_t token;  /* the last one, to be fed next; -1: none yet */
    int32_t fed;    /* the one before, under way */
    uint32_t *sums; /* with the mix [2 << tree.depth]: of the row under way */
    il_decoder decoder;
    char *piece; /* [piece_bytes_max] */
    void *text;  /* [done] */
    size_t done, capacity;
    il_status status;
    il_error error;
} sink;

/* Streams that go through the model together, and on the way through no other memory than their own. */
typedef struct group {
    struct decompressor *all;
    il_workspace *work, own; /* work: the model's, where there is a single group */
    sink *sinks, **open;     /* [n]; open [n_open]: those whose next token is wanted, in the order of the pass's rows */
    il_feed *feeds;          /* [n_open] */
    int n, n_open;
    int failed_round; /* since the threads were last together */
    il_status status;
    il_error error;
} group;

typedef struct decompressor {
    codec base;
    sink *sinks;                       /* [n] */
    sink **open;                       /* [n]: of all groups */
    group groups[IL_ROUND_GROUPS_MAX]; /* [n_groups] */
    int n_groups;
} decompressor;

static int damaged(sink *s) {
    s->status =
        il_fail(&s->error, IL_ERR_FORMAT, "the compressed data is damaged: no text has the code at byte %zu of %zu",
                s->decoding.at < s->decoding.bytes ? s->decoding.at : s->decoding.bytes, s->decoding.bytes);
    return 0;
}

static int put(const codec *c, sink *s, const char *text, size_t n) {
    if (n > s->bytes - s->done) return damaged(s);
    if (!il_grow(c->memory, &s->text, &s->capacity, s->done, s->done + n, 1)) {
        s->status = il_fail(&s->error, IL_ERR_NOMEM, "no memory for %zu bytes of text", s->done + n);
        return 0;
    }
    if (n) memcpy((char *)s->text + s->done, text, n);
    s->done += n;
    return 1;
}

/* One token's text, or what is pending for -1. */
static int put_token(const codec *c, sink *s, int32_t token) {
    size_t n;
    if (il_tokenizer_decode(c->tokenizer, &s->decoder, token, s->piece, il_tokenizer_piece_bytes_max(c->tokenizer), &n,
                            NULL))
        return damaged(s); /* an entry of a padded vocabulary */
    return put(c, s, s->piece, n);
}

static int decode_count(il_decoding *decoding, uint64_t *count) {
    uint64_t bits;
    return il_decode_bits(decoding, LENGTH_BITS, &bits) && il_decode_bits(decoding, (int)bits, count);
}

/* Decodes what opens each span, and raw ones whole, up to the next token or the end. 0: status says why
 * not. */
static int decode_openings(const codec *c, sink *s) {
    while (!s->left && s->done < s->bytes) {
        uint64_t raw, n;
        if (!il_decode_bits(&s->decoding, 1, &raw) || !decode_count(&s->decoding, &n)) return damaged(s);
        if (!n || n > s->bytes - s->done + !raw) return damaged(s);
        for (; raw && n; n--) {
            uint64_t byte;
            if (!il_decode_bits(&s->decoding, 8, &byte)) return damaged(s);
            char text = (char)(unsigned char)byte;
            if (!put(c, s, &text, 1)) return 0;
        }
        s->left = n;
        s->decoder = (il_decoder){.form = IL_DECODE_EXACT};
    }
    return s->left || il_decode_ended(&s->decoding) ? 1 : damaged(s);
}

static int take_token(const codec *c, sink *s, int64_t symbol) {
    if (symbol < 0) return damaged(s);
    s->token = (int32_t)symbol;
    if (!put_token(c, s, s->token)) return 0;
    if (--s->left) return 1;
    return put_token(c, s, -1) && decode_openings(c, s);
}

static il_status open_sink(decompressor *d, int i, const unsigned char *data, il_error *error) {
    codec *c = &d->base;
    sink *s = &d->sinks[i];
    s->bytes = c->header.streams[i].bytes;
    s->token = c->bos;
    if (!s->bytes) return IL_OK;
    s->piece = il_alloc(c->memory, il_tokenizer_piece_bytes_max(c->tokenizer), 1);
    if (!s->piece) return il_fail(error, IL_ERR_NOMEM, "no memory for a piece of text");
    if (c->mix && !(s->sums = il_alloc_raw(c->memory, (size_t)2 << c->tree.depth, sizeof *s->sums)))
        return il_fail(error, IL_ERR_NOMEM, "no memory for the odds of %d tokens", c->vocab);
    IL_TRY(open_stream(c, &s->session, error));
    il_decode_begin(data, (size_t)c->header.streams[i].coded, &s->decoding);
    if (!decode_openings(c, s)) return il_fail(error, s->status, "stream %d: %s", i, s->error.message);
    if (!s->left || s->token >= 0) return IL_OK;
    int64_t first;
    if (c->begun) {
        IL_TRY(il_session_logits(s->session, c->logits, error));
        if (!il_slices_begin(c->model->engine->kernels, c->vocab, c->logits)) return bad_logits(i, error);
        first = il_decode_symbol(&s->decoding, c->vocab, c->logits);
    } else {
        first = il_decode_uniform(&s->decoding, (uint32_t)c->vocab);
    }
    if (!take_token(c, s, first)) return il_fail(error, s->status, "stream %d: %s", i, s->error.message);
    return IL_OK;
}

static void decode_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    const group *g = context;
    const codec *c = &g->all->base;
    sink *s = g->open[feed];
    (void)token;
    if (!il_slices_fit(lse))
        s->status = bad_logits((int)(s - g->all->sinks), &s->error);
    else if (c->mix)
        il_tree_sums(&c->tree, p, s->sums);
    else
        take_token(c, s, il_decode_symbol(&s->decoding, c->vocab, p));
}

/* The next token of stream i by the mix, or -1. */
static int64_t decode_mixed(const codec *c, sink *s, int i) {
    size_t node = 1, leaves = (size_t)1 << c->tree.depth;
    il_mix_begin(c->mix, i);
    while (node < leaves) {
        uint32_t ones = il_mix_bit(c->mix, (il_odds){s->sums[2 * node], s->sums[2 * node + 1]});
        int bit = ones ? il_decode_bit(&s->decoding, ones, IL_MIX_BITS) : 0;
        if (bit < 0) return -1;
        il_mix_go_on(c->mix, bit);
        node = 2 * node + (size_t)bit;
    }
    il_mix_end(c->mix, (uint32_t)(node - leaves));
    return c->tree.token[node - leaves];
}

/* What predicts the next token of each of the group's streams that is not done. */
static void predict(void *context, int number, int round) {
    decompressor *d = context;
    group *g = &d->groups[number];
    g->n_open = 0;
    if (g->status != IL_OK) return;
    for (int i = 0; i < g->n; i++) {
        sink *s = &g->sinks[i];
        if (!s->left) continue;
        s->fed = s->token;
        g->feeds[g->n_open] = (il_feed){.session = s->session, .tokens = &s->fed, .n = 1};
        g->open[g->n_open++] = s;
    }
    il_error error = {0};
    il_status status = il_feed_aside(g->work, g->feeds, (size_t)g->n_open, &(il_row_sink){decode_row, g}, &error);
    if (status == IL_OK) return;
    int first = (int)(g->sinks - d->sinks);
    g->failed_round = round;
    g->status = il_fail(&g->error, status, "streams %d to %d: %s", first, first + g->n - 1, error.message);
}

/* Those tokens, by the mix that all groups share. */
static void decode(void *context, int number, int round) {
    decompressor *d = context;
    group *g = &d->groups[number];
    for (int i = 0; i < g->n_open && g->status == IL_OK; i++) {
        sink *s = g->open[i];
        int stream = (int)(s - d->sinks);
        if (d->base.mix && s->status == IL_OK) take_token(&d->base, s, decode_mixed(&d->base, s, stream));
        if (s->status == IL_OK) continue;
        g->failed_round = round;
        g->status = il_fail(&g->error, s->status, "stream %d: %s", stream, s->error.message);
    }
}

enum {
    ROUNDS = 64, /* of tokens, until all threads are together again and progress is told */
    /* Bytes of weights that each group may read for itself. Beyond, caches hold them no more: then a single group,
       whose products all threads share, reads them once for all streams. */
    WEIGHTS_MAX = 16 << 20
};

static size_t weight_bytes(const il_model *model) {
    size_t packed = model->packed_floats * sizeof(float);
    return packed > model->lp_bytes ? packed : model->lp_bytes;
}

/* A group for each thread where the weights are small: they need not wait for each other after every product, and one
 * group's model works while another has the mix. */
static il_status open_groups(decompressor *d, il_error *error) {
    codec *c = &d->base;
    il_model *model = c->model;
    int streams = c->header.n, n = il_pool_threads(model->engine->pool);
    if (n > IL_ROUND_GROUPS_MAX) n = IL_ROUND_GROUPS_MAX;
    if (n > streams) n = streams;
    if (n < 1 || weight_bytes(model) > WEIGHTS_MAX) n = 1;
    d->n_groups = n;
    for (int i = 0, from = 0; i < n; i++) {
        group *g = &d->groups[i];
        int to = streams / n * (i + 1) + streams % n * (i + 1) / n;
        *g = (group){.all = d, .sinks = d->sinks + from, .open = d->open + from, .feeds = c->feeds + from};
        g->n = to - from;
        g->work = n == 1 ? model->work : &g->own;
        if (n > 1) IL_TRY(il_workspace_open(model, g->n, &g->own, error));
        from = to;
    }
    return IL_OK;
}

/* The next tokens of all streams that are not done. *open: whether some are not. */
static il_status decompress_rounds(decompressor *d, int *open, il_error *error) {
    codec *c = &d->base;
    il_model *model = c->model;
    pthread_mutex_lock(&model->lock);
    il_status status = il_model_refresh(model, 1, error);
    if (status == IL_OK && d->n_groups > 1) {
        il_rounds_run(model->engine->pool, &(il_rounds){d->n_groups, ROUNDS, predict, decode, d});
    } else if (status == IL_OK) {
        predict(d, 0, 0);
        decode(d, 0, 0);
    }
    pthread_mutex_unlock(&model->lock);
    if (status != IL_OK) return status;
    const group *failed = NULL;
    *open = 0;
    for (int i = 0; i < d->n_groups; i++) {
        const group *g = &d->groups[i];
        *open |= g->n_open > 0;
        if (g->status != IL_OK && (!failed || g->failed_round < failed->failed_round)) failed = g;
    }
    return failed ? il_fail(error, failed->status, "%s", failed->error.message) : IL_OK;
}

/* The header against what is at hand. */
static il_status check_header(const codec *c, il_error *error) {
    char model[33], tokenizer[33], state[33];
    IL_TRY(check(c, tokenizer, error));
    IL_TRY(name_state(c, state, error));
    il_model_fingerprint(c->model, model);
    if (c->header.picture) return il_fail(error, IL_ERR_MISMATCH, "the compressed data is of a picture, not of text");
    IL_TRY(il_container_check(&c->header, model, tokenizer, error));
    if (strcmp(state, c->header.state) != 0)
        return il_fail(error, IL_ERR_MISMATCH, "compressed from %s%s; %s%s",
                       c->header.state[0] ? "the state " : "a fresh state", c->header.state,
                       state[0] ? "this state is " : "no state is given", state);
    if (c->options.bytes_max && c->header.bytes > c->options.bytes_max)
        return il_fail(error, IL_ERR_UNSUPPORTED, "the original has %llu bytes; at most %llu are allowed",
                       (unsigned long long)c->header.bytes, (unsigned long long)c->options.bytes_max);
    return IL_OK;
}

/* All streams in one block: the first one's, which has proved its size by now. */
static il_status join(decompressor *d, il_buffer *output, il_error *error) {
    codec *c = &d->base;
    sink *first = &d->sinks[0];
    size_t n = first->done;
    if (!il_grow(c->memory, &first->text, &first->capacity, n, (size_t)c->header.bytes + !c->header.bytes, 1))
        return il_fail(error, IL_ERR_NOMEM, "no memory for %llu bytes of text", (unsigned long long)c->header.bytes);
    for (int i = 1; i < c->header.n; i++) {
        if (d->sinks[i].done) memcpy((char *)first->text + n, d->sinks[i].text, d->sinks[i].done);
        n += d->sinks[i].done;
    }
    if (XXH3_64bits(first->text, n) != c->header.checksum)
        return il_fail(error, IL_ERR_FORMAT, "the compressed data is damaged: the text's checksum is wrong");
    *output = (il_buffer){first->text, n, first->capacity, *c->memory};
    first->text = NULL;
    return IL_OK;
}

static il_status decompress(decompressor *d, const unsigned char *data, size_t bytes, il_buffer *output,
                            il_error *error) {
    codec *c = &d->base;
    size_t at;
    IL_TRY(il_container_parse(data, bytes, &c->header, &at, error));
    IL_TRY(check_header(c, error));
    IL_TRY(open_pass(c, error));
    d->sinks = il_alloc(c->memory, (size_t)c->header.n, sizeof *d->sinks);
    d->open = il_alloc(c->memory, (size_t)c->header.n, sizeof *d->open);
    if (!d->sinks || !d->open) return il_fail(error, IL_ERR_NOMEM, "no memory for %d streams", c->header.n);
    for (int i = 0; i < c->header.n; i++) {
        IL_TRY(open_sink(d, i, data + at, error));
        at += (size_t)c->header.streams[i].coded;
    }
    IL_TRY(open_groups(d, error));
    for (int open = 1; open;) {
        uint64_t done = 0;
        for (int i = 0; i < c->header.n; i++) done += d->sinks[i].done;
        IL_TRY(tell(c, done, error));
        IL_TRY(decompress_rounds(d, &open, error));
    }
    IL_TRY(tell(c, c->header.bytes, error));
    return join(d, output, error);
}

il_status il_decompress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                        const il_codec_options *options, il_buffer *output, il_error *error) {
    decompressor d = {0};
    *output = (il_buffer){0};
    begin(&d.base, model, tokenizer, options);
    il_status status = decompress(&d, bytes ? input : (const void *)"", bytes, output, error);
    for (int i = 0; d.sinks && i < d.base.header.n; i++) {
        il_session_close(d.sinks[i].session);
        if (d.sinks[i].piece) il_free(d.base.memory, d.sinks[i].piece);
        if (d.sinks[i].sums) il_free(d.base.memory, d.sinks[i].sums);
        if (d.sinks[i].text) il_free(d.base.memory, d.sinks[i].text);
    }
    for (int i = 0; i < d.n_groups; i++) il_workspace_close(&d.groups[i].own);
    if (d.sinks) il_free(d.base.memory, d.sinks);
    if (d.open) il_free(d.base.memory, d.open);
    close_pass(&d.base);
    return status;
}
