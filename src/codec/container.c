/* container.c: see container.h. */
#include "codec/container.h"

#include "base/error.h"

#include <string.h>
#include <xxhash.h>

static const char magic[4] = {'I', 'L', 'C', 0x1A};

/* ---- write ---- */

static unsigned char nibble(char c) { return (unsigned char)(c <= '9' ? c - '0' : c - 'a' + 10); }

static unsigned char *put_hex(unsigned char *out, const char *hex) {
    for (; *hex; hex += 2) *out++ = (unsigned char)(nibble(hex[0]) << 4 | nibble(hex[1]));
    return out;
}

static unsigned char *put_fixed(unsigned char *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) *out++ = (unsigned char)(value >> 8 * i);
    return out;
}

static unsigned char *put_number(unsigned char *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *out++ = (unsigned char)(value | 0x80);
    *out++ = (unsigned char)value;
    return out;
}

size_t il_container_write(const il_container *container, unsigned char *out) {
    unsigned char *at = out;
    memcpy(at, magic, sizeof magic);
    at += sizeof magic;
    *at++ = container->picture ? IL_CONTAINER_PICTURE
                               : (unsigned char)((container->mixed ? IL_CONTAINER_MIXED_FRESH : IL_CONTAINER_FRESH) +
                                                 (container->state[0] ? IL_CONTAINER_STATE - IL_CONTAINER_FRESH : 0));
    at = put_hex(at, container->model);
    at = put_hex(at, container->tokenizer);
    at = put_hex(at, container->state);
    at = put_fixed(at, container->checksum, 8);
    at = put_number(at, (uint64_t)container->n);
    for (int i = 0; i < container->n; i++) {
        at = put_number(at, container->streams[i].bytes);
        at = put_number(at, container->streams[i].coded);
    }
    return (size_t)(at - out);
}

void il_container_seal(unsigned char *data, size_t bytes) {
    put_fixed(data + bytes, XXH3_64bits(data, bytes), IL_CONTAINER_SEAL);
}

/* ---- read ---- */

typedef struct reader {
    const unsigned char *data;
    size_t bytes, at;
    int failed; /* something was cut short or too long */
} reader;

static uint64_t get_fixed(reader *r, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++, r->at++) {
        if (r->at >= r->bytes)
            r->failed = 1;
        else
            value |= (uint64_t)r->data[r->at] << 8 * i;
    }
    return value;
}

static void get_hex(reader *r, int bytes, char *hex) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < bytes; i++) {
        uint64_t byte = get_fixed(r, 1);
        *hex++ = digits[byte >> 4];
        *hex++ = digits[byte & 15];
    }
    *hex = 0;
}

static uint64_t get_number(reader *r) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint64_t byte = get_fixed(r, 1);
        if (shift == 63 && byte > 1) break;
        value |= (byte & 0x7F) << shift;
        if (byte < 0x80) return value;
    }
    r->failed = 1;
    return 0;
}

static il_status get_streams(reader *r, il_container *c, uint64_t *coded, il_error *error) {
    uint64_t n = get_number(r);
    if (r->failed) return IL_OK; /* told by the caller */
    if (n < 1 || n > IL_STREAMS_MAX)
        return il_fail(error, IL_ERR_FORMAT, "the compressed data has %llu streams: 1 to %d are possible",
                       (unsigned long long)n, IL_STREAMS_MAX);
    c->n = (int)n;
    for (int i = 0; i < c->n && !r->failed; i++) {
        il_container_stream *s = &c->streams[i];
        s->bytes = get_number(r);
        s->coded = get_number(r);
        if (s->bytes > SIZE_MAX / 2 - c->bytes || s->coded > SIZE_MAX / 2 - *coded)
            return il_fail(error, IL_ERR_FORMAT, "stream %d of the compressed data has an impossible size", i);
        if (!s->bytes != !s->coded)
            return il_fail(error, IL_ERR_FORMAT, "stream %d: %llu coded bytes cannot stand for %llu bytes", i,
                           (unsigned long long)s->coded, (unsigned long long)s->bytes);
        c->bytes += s->bytes;
        *coded += s->coded;
    }
    return IL_OK;
}

il_status il_container_parse(const unsigned char *data, size_t bytes, il_container *container, size_t *header,
                             il_error *error) {
    reader r = {.data = data, .bytes = bytes, .at = sizeof magic};
    uint64_t coded = 0;
    *container = (il_container){0};
    *header = 0;
    if (bytes < sizeof magic || memcmp(data, magic, sizeof magic) != 0)
        return il_fail(error, IL_ERR_FORMAT, "not compressed by innerloop: its first bytes are different");
    uint64_t version = get_fixed(&r, 1);
    if (!r.failed && (version < IL_CONTAINER_FRESH || version > IL_CONTAINER_PICTURE))
        return il_fail(error, IL_ERR_UNSUPPORTED, "compressed data of version %llu; this build reads versions %d to %d",
                       (unsigned long long)version, IL_CONTAINER_FRESH, IL_CONTAINER_PICTURE);
    container->picture = version == IL_CONTAINER_PICTURE;
    container->mixed = version >= IL_CONTAINER_MIXED_FRESH && !container->picture;
    get_hex(&r, 16, container->model);
    get_hex(&r, 8, container->tokenizer);
    if (version == IL_CONTAINER_STATE || version == IL_CONTAINER_MIXED_STATE) get_hex(&r, 16, container->state);
    container->checksum = get_fixed(&r, 8);
    IL_TRY(get_streams(&r, container, &coded, error));
    if (r.failed)
        return il_fail(error, IL_ERR_FORMAT, "the compressed data ends inside its header, at byte %zu", bytes);
    uint64_t behind = bytes - r.at;
    if (coded + IL_CONTAINER_SEAL != behind)
        return il_fail(error, IL_ERR_FORMAT,
                       "the compressed data is %s: behind its header are %llu bytes, and %llu are due",
                       coded + IL_CONTAINER_SEAL > behind ? "cut short" : "followed by something else",
                       (unsigned long long)behind, (unsigned long long)coded + IL_CONTAINER_SEAL);
    size_t checked = bytes - IL_CONTAINER_SEAL, at = r.at;
    r.at = checked;
    if (get_fixed(&r, IL_CONTAINER_SEAL) != (XXH3_64bits(data, checked) & 0xFFFFFFFF))
        return il_fail(error, IL_ERR_FORMAT, "the compressed data is damaged: its checksum is wrong");
    *header = at;
    return IL_OK;
}

il_status il_compressed_get_info(const void *input, size_t bytes, il_compressed_info *info, il_error *error) {
    il_container c;
    size_t header;
    *info = (il_compressed_info){0};
    IL_TRY(il_container_parse(bytes ? input : (const void *)"", bytes, &c, &header, error));
    info->version = ((const unsigned char *)input)[sizeof magic];
    info->mixed = c.mixed;
    info->picture = c.picture;
    memcpy(info->model, c.model, sizeof c.model);
    memcpy(info->tokenizer, c.tokenizer, sizeof c.tokenizer);
    memcpy(info->state, c.state, sizeof c.state);
    info->bytes = c.bytes;
    info->streams = c.n;
    for (int i = 0; i < c.n; i++) {
        info->stream[i].bytes = c.streams[i].bytes;
        info->stream[i].coded = c.streams[i].coded;
    }
    return IL_OK;
}

il_status il_container_check(const il_container *container, const char *model, const char *tokenizer, il_error *error) {
    if (strcmp(model, container->model) != 0)
        return il_fail(error, IL_ERR_MISMATCH, "compressed with model %s; this model is %s", container->model, model);
    if (strcmp(tokenizer, container->tokenizer) != 0)
        return il_fail(error, IL_ERR_MISMATCH, "compressed with tokenizer %s; this tokenizer is %s",
                       container->tokenizer, tokenizer);
    return IL_OK;
}
