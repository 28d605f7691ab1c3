/* picture_codec.c: il_picture_compress and il_picture_decompress. A picture is cut into tiles of the layout's size,
 * each of which the model sees from a fresh state, with the header of no caption. At most TOGETHER of them go through
 * the model side by side; of those one pixel of each is coded, in order, then the next of each. The format is
 * container.h's, with one stream, which begins with the picture's width and height; symbols have the odds that
 * range_coder.h makes of the model's probabilities of pixels. */
#include "codec/container.h"
#include "codec/range_coder.h"
#include "session/feed.h"
#include "session/session.h"

#include "base/error.h"
#include "media/size.h"
#include "text/tokenizer.h"

#include <string.h>
#include <xxhash.h>

enum { TOGETHER = 64, SIDE_BITS = 14 };
_Static_assert((int)TOGETHER <= (int)IL_FEED_CHUNK && IL_PICTURE_SIDE_MAX <= 1 << SIDE_BITS, "as it is written");

/* What both ways share. */
typedef struct tiles {
    il_model *model;
    const il_tokenizer *tokenizer;
    const il_picture_layout *layout;
    const il_allocator *memory;
    il_codec_options options;
    il_container header;
    size_t width, height, across, n; /* of the picture; tiles in a row, and all */
    size_t pixels, before;           /* of a tile: its pixels, and the tokens before them */
    size_t channels;                 /* of a pixel that comes out */
    /* those under way */
    size_t first, m;
    il_session *sessions[TOGETHER];
    il_feed feeds[TOGETHER];
    int32_t *tokens;  /* [TOGETHER, before + pixels] */
    size_t fed, part; /* the pass under way: tokens of each before it, and in it */
    il_slice *slices; /* compressing: [IL_FEED_CHUNK] of the pass; total 0: not to be coded by */
    float *p;         /* decompressing: [TOGETHER, levels] of the last token of each; */
    unsigned char unfit[TOGETHER];
    unsigned char *levels; /* [n, pixels]: all tiles, as far as they are known */
    void *grown;           /* the same, decompressing */
    size_t room;
} tiles;

static size_t size_of(const tiles *t) { return t->width * t->height * t->channels; }
static int32_t *tokens_of(const tiles *t, size_t i) { return t->tokens + i * (t->before + t->pixels); }

static il_status begin(tiles *t, il_model *model, const il_tokenizer *tokenizer, const il_codec_options *options,
                       il_error *error) {
    il_tokenizer_info info;
    *t = (tiles){.model = model, .tokenizer = tokenizer, .memory = &model->engine->memory};
    il_codec_options_default(&t->options);
    if (options) t->options = *options;
    t->layout = il_tokenizer_pictures(tokenizer);
    il_tokenizer_get_info(tokenizer, &info);
    if (!t->layout) return il_fail(error, IL_ERR_ARG, "the tokenizer is of kind %s, not of pictures", info.kind);
    if (t->layout->films) return il_fail(error, IL_ERR_UNSUPPORTED, "a model of films codes no pictures");
    if (t->options.start) return il_fail(error, IL_ERR_ARG, "pictures are coded from a fresh state");
    if (info.vocab_size > model->config.vocab_size)
        return il_fail(error, IL_ERR_MISMATCH, "the pictures tokenizer has %d tokens, the model's vocabulary %d",
                       info.vocab_size, model->config.vocab_size);
    t->pixels = (size_t)t->layout->width * (size_t)t->layout->height;
    t->before = (size_t)t->layout->header_rows * (size_t)t->layout->width;
    t->channels = t->layout->palette ? 3 : 1;
    t->tokens = il_alloc_raw(t->memory, TOGETHER * (t->before + t->pixels), sizeof *t->tokens);
    return t->tokens ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for the tokens of pictures");
}

static il_status cut(tiles *t, size_t width, size_t height, il_status otherwise, il_error *error) {
    size_t w = (size_t)t->layout->width, h = (size_t)t->layout->height;
    if (!il_picture_size_fits(width, height) || width % w || height % h)
        return il_fail(error, otherwise,
                       "a picture of %zu by %zu pixels: this model codes those of %zu by %zu, and sheets of them",
                       width, height, w, h);
    t->width = width;
    t->height = height;
    t->across = width / w;
    t->n = t->across * (height / h);
    return IL_OK;
}

/* The next tiles, which have read nothing yet. */
static il_status open_tiles(tiles *t, il_error *error) {
    t->m = t->n - t->first < TOGETHER ? t->n - t->first : TOGETHER;
    for (size_t i = 0; i < t->m; i++) {
        IL_TRY(il_picture_header(t->layout, "", 0, tokens_of(t, i), error));
        IL_TRY(il_session_open(t->model, NULL, &t->sessions[i], error));
    }
    t->fed = 0;
    return IL_OK;
}

static void close_tiles(tiles *t) {
    for (size_t i = 0; i < TOGETHER; i++) {
        il_session_close(t->sessions[i]);
        t->sessions[i] = NULL;
    }
}

static void close_all(tiles *t) {
    if (!t->memory) return;
    close_tiles(t);
    il_free(t->memory, t->tokens);
    il_free(t->memory, t->slices);
    il_free(t->memory, t->p);
    il_free(t->memory, t->grown);
}

/* The next `part` tokens of each tile through the model. */
static il_status feed(tiles *t, size_t part, const il_row_sink *sink, il_error *error) {
    t->part = part;
    for (size_t i = 0; i < t->m; i++)
        t->feeds[i] = (il_feed){.session = t->sessions[i], .tokens = tokens_of(t, i) + t->fed, .n = part};
    return il_feed_read(t->feeds, t->m, sink, error);
}

static il_status tell(const tiles *t, size_t done, il_error *error) {
    if (t->options.progress && t->options.progress(t->options.user, done * t->channels, t->header.bytes))
        return il_fail(error, IL_ERR_CANCELLED, "stopped after %zu of %zu pixels", done, t->n * t->pixels);
    return IL_OK;
}

static il_status bad_logits(const tiles *t, size_t i, il_error *error) {
    return il_fail(error, IL_ERR_NONFINITE, "tile %zu: the model's logits are not finite, or beyond all bounds",
                   t->first + i);
}

/* Row y of tile i, as pixels of the picture. */
static unsigned char *row_of(const tiles *t, unsigned char *picture, size_t channels, size_t i, size_t y) {
    size_t w = (size_t)t->layout->width, h = (size_t)t->layout->height;
    return picture + ((i / t->across * h + y) * t->width + i % t->across * w) * channels;
}

/* All tiles' levels as the picture's pixels [size_of]. */
static void show(const tiles *t, unsigned char *pixels) {
    size_t w = (size_t)t->layout->width, h = (size_t)t->layout->height;
    for (size_t i = 0; i < t->n; i++)
        for (size_t y = 0; y < h; y++) {
            unsigned char *to = row_of(t, pixels, t->channels, i, y);
            for (size_t x = 0; x < w; x++, to += t->channels)
                memcpy(to, t->layout->colours[t->levels[i * t->pixels + y * w + x]], t->channels);
        }
}

/* ---- compress ---- */

/* One tile's levels; exactly what the picture shows. */
static il_status take_tile(tiles *t, const il_picture *picture, size_t i, unsigned char *copy, il_error *error) {
    size_t w = (size_t)t->layout->width, h = (size_t)t->layout->height, row = w * (size_t)picture->channels;
    int exact;
    for (size_t y = 0; y < h; y++)
        memcpy(copy + y * row, row_of(t, (unsigned char *)(uintptr_t)picture->pixels, (size_t)picture->channels, i, y),
               row);
    il_picture tile = {(int)w, (int)h, picture->channels, copy, 0, 0, 0};
    IL_TRY(il_picture_tokens(t->layout, &tile, t->tokens, &exact, error));
    if (!exact)
        return il_fail(error, IL_ERR_UNSUPPORTED,
                       "the picture has a pixel that is none of the %d %s that this model knows", t->layout->levels,
                       t->layout->palette ? "colours" : "greys");
    for (size_t k = 0; k < t->pixels; k++) t->levels[i * t->pixels + k] = (unsigned char)t->tokens[k];
    return IL_OK;
}

static il_status take_picture(tiles *t, const il_picture *picture, il_error *error) {
    IL_TRY(cut(t, (size_t)picture->width, (size_t)picture->height, IL_ERR_MISMATCH, error));
    size_t bytes = size_of(t);
    unsigned char *copy = il_alloc_raw(t->memory, t->pixels, (size_t)picture->channels),
                  *pixels = il_alloc_raw(t->memory, bytes, 1);
    t->grown = t->levels = il_alloc_raw(t->memory, t->n, t->pixels);
    il_status status =
        copy && pixels && t->levels ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory for a picture's pixels");
    for (size_t i = 0; i < t->n && status == IL_OK; i++) status = take_tile(t, picture, i, copy, error);
    if (status == IL_OK) {
        show(t, pixels);
        t->header.checksum = XXH3_64bits(pixels, bytes);
    }
    il_free(t->memory, copy);
    il_free(t->memory, pixels);
    return status;
}

static void slice_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    tiles *t = context;
    size_t target = t->fed + token + 1;
    if (target < t->before) return;
    t->slices[feed * t->part + token] =
        il_slices_fit(lse) ? il_slice_of(t->layout->levels, p, tokens_of(t, feed)[target]) : (il_slice){0};
}

static il_status encode_tiles(tiles *t, il_encoder *encoder, il_error *error) {
    size_t all = t->before + t->pixels;
    IL_TRY(open_tiles(t, error));
    for (size_t i = 0; i < t->m; i++)
        for (size_t k = 0; k < t->pixels; k++)
            tokens_of(t, i)[t->before + k] = t->levels[(t->first + i) * t->pixels + k];
    for (; t->fed + 1 < all; t->fed += t->part) {
        size_t most = IL_FEED_CHUNK / t->m, left = all - 1 - t->fed;
        IL_TRY(feed(t, left < most ? left : most, &(il_row_sink){slice_row, t}, error));
        for (size_t j = 0; j < t->part; j++)
            for (size_t i = 0; i < t->m && t->fed + j + 1 >= t->before; i++) {
                il_slice slice = t->slices[i * t->part + j];
                if (!slice.total) return bad_logits(t, i, error);
                if (!il_encode(encoder, slice)) return il_fail(error, IL_ERR_NOMEM, "no memory for the code");
            }
    }
    close_tiles(t);
    return IL_OK;
}

/* Header and code. */
static il_status assemble(tiles *t, const il_encoder *encoder, il_buffer *output, il_error *error) {
    unsigned char head[IL_CONTAINER_MAX];
    t->header.streams[0] = (il_container_stream){size_of(t), encoder->bytes};
    size_t n = il_container_write(&t->header, head), total = n + encoder->bytes;
    output->allocator = *t->memory;
    output->data = il_alloc_raw(t->memory, total + IL_CONTAINER_SEAL, 1);
    if (!output->data) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu compressed bytes", total);
    output->bytes = output->capacity = total + IL_CONTAINER_SEAL;
    memcpy(output->data, head, n);
    memcpy(output->data + n, encoder->data, encoder->bytes);
    il_container_seal(output->data, total);
    return IL_OK;
}

static il_status compress(tiles *t, const il_picture *picture, il_encoder *encoder, il_buffer *output,
                          il_error *error) {
    char tokenizer[33];
    IL_TRY(take_picture(t, picture, error));
    t->slices = il_alloc(t->memory, IL_FEED_CHUNK, sizeof *t->slices);
    if (!t->slices) return il_fail(error, IL_ERR_NOMEM, "no memory to code a picture");
    il_model_fingerprint(t->model, t->header.model);
    il_tokenizer_fingerprint(t->tokenizer, tokenizer);
    memcpy(t->header.tokenizer, tokenizer, sizeof t->header.tokenizer - 1);
    t->header.picture = 1;
    t->header.n = 1;
    t->header.bytes = size_of(t);
    if (!il_encode_bits(encoder, t->width - 1, SIDE_BITS) || !il_encode_bits(encoder, t->height - 1, SIDE_BITS))
        return il_fail(error, IL_ERR_NOMEM, "no memory for the code");
    for (; t->first < t->n; t->first += t->m) {
        IL_TRY(tell(t, t->first * t->pixels, error));
        IL_TRY(encode_tiles(t, encoder, error));
    }
    if (!il_encode_finish(encoder)) return il_fail(error, IL_ERR_NOMEM, "no memory for the code");
    IL_TRY(tell(t, t->n * t->pixels, error));
    return assemble(t, encoder, output, error);
}

il_status il_picture_compress(il_model *model, const il_tokenizer *tokenizer, const il_picture *picture,
                              const il_codec_options *options, il_buffer *output, il_error *error) {
    tiles t;
    il_encoder encoder;
    *output = (il_buffer){0};
    il_encoder_open(&model->engine->memory, &encoder);
    il_status status = begin(&t, model, tokenizer, options, error);
    if (status == IL_OK) status = compress(&t, picture, &encoder, output, error);
    il_encoder_close(&encoder);
    close_all(&t);
    if (status != IL_OK) il_buffer_free(output);
    return status;
}

/* ---- decompress ---- */

static il_status damaged(const il_decoding *d, il_error *error) {
    return il_fail(error, IL_ERR_FORMAT, "the compressed data is damaged: no picture has the code at byte %zu of %zu",
                   d->at < d->bytes ? d->at : d->bytes, d->bytes);
}

/* The header against what is at hand. */
static il_status check_header(const tiles *t, il_error *error) {
    char model[33], tokenizer[33];
    const il_container *h = &t->header;
    if (!h->picture) return il_fail(error, IL_ERR_MISMATCH, "the compressed data is of text, not of a picture");
    il_model_fingerprint(t->model, model);
    il_tokenizer_fingerprint(t->tokenizer, tokenizer);
    tokenizer[16] = 0;
    IL_TRY(il_container_check(h, model, tokenizer, error));
    if (t->options.bytes_max && h->bytes > t->options.bytes_max)
        return il_fail(error, IL_ERR_UNSUPPORTED, "the original has %llu bytes; at most %llu are allowed",
                       (unsigned long long)h->bytes, (unsigned long long)t->options.bytes_max);
    return IL_OK;
}

/* What follows the last token of each tile. */
static void keep_row(void *context, size_t feed, size_t token, const float *p, float lse) {
    tiles *t = context;
    size_t levels = (size_t)t->layout->levels;
    if (token + 1 < t->part) return;
    t->unfit[feed] = !il_slices_fit(lse);
    memcpy(t->p + feed * levels, p, levels * sizeof *p);
}

static il_status decode_tiles(tiles *t, il_decoding *decoding, il_error *error) {
    const il_row_sink sink = {keep_row, t};
    size_t levels = (size_t)t->layout->levels;
    IL_TRY(open_tiles(t, error));
    if (!il_grow(t->memory, &t->grown, &t->room, t->first * t->pixels, (t->first + t->m) * t->pixels, 1))
        return il_fail(error, IL_ERR_NOMEM, "no memory for %zu pixels", (t->first + t->m) * t->pixels);
    t->levels = t->grown;
    for (size_t k = 0; k < t->pixels; k++) {
        size_t part = k ? 1 : t->before;
        IL_TRY(feed(t, part, &sink, error));
        t->fed += part;
        for (size_t i = 0; i < t->m; i++) {
            if (t->unfit[i]) return bad_logits(t, i, error);
            int32_t level = il_decode_symbol(decoding, t->layout->levels, t->p + i * levels);
            if (level < 0) return damaged(decoding, error);
            tokens_of(t, i)[t->fed] = level;
            t->levels[(t->first + i) * t->pixels + k] = (unsigned char)level;
        }
    }
    close_tiles(t);
    return IL_OK;
}

static il_status give(tiles *t, il_picture *picture, il_buffer *pixels, il_error *error) {
    size_t bytes = size_of(t);
    pixels->allocator = *t->memory;
    pixels->data = il_alloc_raw(t->memory, bytes, 1);
    if (!pixels->data) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu bytes of pixels", bytes);
    pixels->bytes = pixels->capacity = bytes;
    show(t, pixels->data);
    if (XXH3_64bits(pixels->data, bytes) != t->header.checksum)
        return il_fail(error, IL_ERR_FORMAT, "the compressed data is damaged: the picture's checksum is wrong");
    *picture = (il_picture){(int)t->width, (int)t->height, (int)t->channels, pixels->data, 1, 0, 0};
    return IL_OK;
}

static il_status decompress(tiles *t, const unsigned char *data, size_t bytes, il_picture *picture, il_buffer *pixels,
                            il_error *error) {
    il_decoding decoding;
    uint64_t width, height;
    size_t at;
    IL_TRY(il_container_parse(data, bytes, &t->header, &at, error));
    IL_TRY(check_header(t, error));
    t->p = il_alloc_raw(t->memory, TOGETHER * (size_t)t->layout->levels, sizeof *t->p);
    if (!t->p) return il_fail(error, IL_ERR_NOMEM, "no memory to decode a picture");
    il_decode_begin(data + at, (size_t)t->header.streams[0].coded, &decoding);
    if (!il_decode_bits(&decoding, SIDE_BITS, &width) || !il_decode_bits(&decoding, SIDE_BITS, &height))
        return damaged(&decoding, error);
    IL_TRY(cut(t, (size_t)width + 1, (size_t)height + 1, IL_ERR_FORMAT, error));
    if (t->header.n != 1 || size_of(t) != t->header.bytes) return damaged(&decoding, error);
    for (; t->first < t->n; t->first += t->m) {
        IL_TRY(tell(t, t->first * t->pixels, error));
        IL_TRY(decode_tiles(t, &decoding, error));
    }
    if (!il_decode_ended(&decoding)) return damaged(&decoding, error);
    IL_TRY(tell(t, t->n * t->pixels, error));
    return give(t, picture, pixels, error);
}

il_status il_picture_decompress(il_model *model, const il_tokenizer *tokenizer, const void *input, size_t bytes,
                                const il_codec_options *options, il_picture *picture, il_buffer *pixels,
                                il_error *error) {
    tiles t;
    *picture = (il_picture){0};
    *pixels = (il_buffer){0};
    il_status status = begin(&t, model, tokenizer, options, error);
    if (status == IL_OK) status = decompress(&t, bytes ? input : (const void *)"", bytes, picture, pixels, error);
    close_all(&t);
    if (status != IL_OK) il_buffer_free(pixels);
    return status;
}
