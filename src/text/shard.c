/* shard.c: see shard.h. Everything on disk is little-endian and is read and written byte by byte. */
#include "text/shard.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "text/tokenizer.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

/* ---- .bin: 256 int32 of header, then the tokens ----
 * word 0 magic, 1 version, 2 count; ours, zero in files of others: 3 MARK, 4-5 bytes of text, 6-9 xxh3-128 of
 * the tokens. */
enum {
    HEADER_BYTES = 1024,
    MAGIC_16 = 20240520,
    VERSION_16 = 1,
    MAGIC_32 = 20240801,
    VERSION_32 = 7,
    MARK = 0x31306C69, /* "il01" */
    VOCAB_16_MAX = 65535,
    WRITE_TOKENS = 16 << 10 /* converted at a time */
};

static uint32_t load_u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_u32(unsigned char *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (8 * i));
}

static int ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

int il_shard_is(const char *path) { return ends_with(path, ".bin") || ends_with(path, ".npy"); }

/* Appends n tokens of width bytes at data. */
static il_status append(const il_allocator *allocator, const char *path, const unsigned char *data, size_t n,
                        size_t width, int vocab_size, il_tokens *tokens, il_error *error) {
    if (!il_tokens_reserve(allocator, tokens, n))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu tokens", path, n);
    if (n == 0) return IL_OK;
    int32_t *to = tokens->ids + tokens->n;
    for (size_t i = 0; i < n; i++) {
        const unsigned char *p = data + i * width;
        uint32_t token = width == 2 ? (uint32_t)p[0] | (uint32_t)p[1] << 8 : load_u32(p);
        if (token >= (uint32_t)vocab_size)
            return il_fail(error, IL_ERR_MISMATCH, "%s: token %zu is %ld, outside the vocabulary of %d", path, i,
                           width == 2 ? (long)token : (long)(int32_t)token, vocab_size);
        to[i] = (int32_t)token;
    }
    tokens->n += n;
    return IL_OK;
}

static il_status read_bin(const il_allocator *allocator, const char *path, const il_map *file, int vocab_size,
                          il_tokens *tokens, il_shard_info *info, il_error *error) {
    const unsigned char *h = file->data;
    if (file->bytes < HEADER_BYTES)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes, shorter than a shard's header", path, file->bytes);
    uint32_t magic = load_u32(h), version = load_u32(h + 4), count = load_u32(h + 8);
    size_t width = magic == MAGIC_16 ? 2 : 4, body = file->bytes - HEADER_BYTES;
    if (magic != MAGIC_16 && magic != MAGIC_32)
        return il_fail(error, IL_ERR_FORMAT, "%s: not a token shard: magic %u", path, magic);
    if (version != (magic == MAGIC_16 ? VERSION_16 : VERSION_32))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: shard version %u", path, version);
    if (count > INT32_MAX || body != (uint64_t)count * width)
        return il_fail(error, IL_ERR_FORMAT, "%s: %u tokens promised, %zu bytes of tokens there", path, count, body);
    if (load_u32(h + 12) == MARK) {
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits(h + HEADER_BYTES, body));
        if (memcmp(sum.digest, h + 24, 16) != 0)
            return il_fail(error, IL_ERR_FORMAT, "%s: damaged: the checksum of its tokens does not fit", path);
        info->text_known = 1;
        info->text_bytes = load_u32(h + 16) | (uint64_t)load_u32(h + 20) << 32;
    }
    info->tokens = count;
    return append(allocator, path, h + HEADER_BYTES, count, width, vocab_size, tokens, error);
}

il_status il_shard_write(const il_allocator *allocator, const char *path, const int32_t *tokens, size_t n,
                         int vocab_size, uint64_t text_bytes, il_error *error) {
    size_t width = vocab_size <= VOCAB_16_MAX ? 2 : 4;
    unsigned char header[HEADER_BYTES] = {0}, *block = NULL;
    XXH3_state_t *hash = NULL;
    il_writer writer;
    if (n > INT32_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: %zu tokens, a shard holds at most %d", path, n, INT32_MAX);
    il_status status = il_writer_open(allocator, path, &writer, error);
    if (status != IL_OK) goto done;
    status = IL_ERR_NOMEM;
    block = il_alloc_raw(allocator, WRITE_TOKENS, width);
    hash = il_alloc(allocator, 1, sizeof *hash);
    if (!block || !hash) {
        il_fail(error, status, "%s: no memory to write a shard", path);
        goto done;
    }
    /* Two passes, since the checksum stands first: hash, then write. */
    XXH3_128bits_reset(hash);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t at = 0; at < n;) {
            size_t m = n - at < WRITE_TOKENS ? n - at : WRITE_TOKENS;
            for (size_t i = 0; i < m; i++)
                for (size_t k = 0; k < width; k++)
                    block[i * width + k] = (unsigned char)((uint32_t)tokens[at + i] >> (8 * k));
            if (pass == 0)
                XXH3_128bits_update(hash, block, m * width);
            else if ((status = il_writer_write(&writer, block, m * width, error)) != IL_OK)
                goto done;
            at += m;
        }
        if (pass == 1) break;
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(hash));
        store_u32(header, width == 2 ? MAGIC_16 : MAGIC_32);
        store_u32(header + 4, width == 2 ? VERSION_16 : VERSION_32);
        store_u32(header + 8, (uint32_t)n);
        store_u32(header + 12, MARK);
        store_u32(header + 16, (uint32_t)text_bytes);
        store_u32(header + 20, (uint32_t)(text_bytes >> 32));
        memcpy(header + 24, sum.digest, 16);
        if ((status = il_writer_write(&writer, header, sizeof header, error)) != IL_OK) goto done;
    }
    status = il_writer_finish(&writer, error);
done:
    if (status != IL_OK) il_writer_abandon(&writer);
    il_free(allocator, hash);
    il_free(allocator, block);
    return status;
}

/* ---- .npy ---- */

typedef struct text {
    const char *at, *end;
} text;

static void skip_spaces(text *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) t->at++;
}

static int take(text *t, const char *word) {
    size_t n = strlen(word);
    skip_spaces(t);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return 0;
    t->at += n;
    return 1;
}

/* 'letters': a Python string without escapes. */
static int take_string(text *t, char *out, size_t capacity) {
    size_t n = 0;
    skip_spaces(t);
    if (t->at == t->end || (*t->at != '\'' && *t->at != '"')) return 0;
    char quote = *t->at++;
    for (; t->at < t->end && *t->at != quote; t->at++) {
        if (*t->at == '\\' || n + 1 >= capacity) return 0;
        out[n++] = *t->at;
    }
    out[n] = 0;
    return take(t, (char[2]){quote, 0});
}

static int take_number(text *t, uint64_t *value) {
    skip_spaces(t);
    const char *from = t->at;
    for (*value = 0; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++) {
        if (*value > (UINT64_MAX - 9) / 10) return 0;
        *value = *value * 10 + (uint64_t)(*t->at - '0');
    }
    return t->at > from;
}

/* {'descr': '<u2', 'fortran_order': False, 'shape': (123,), }; the keys in any order, each once. */
static const char *parse_npy(text t, char descr[16], uint64_t *count) {
    int seen[3] = {0};
    char key[16];
    if (!take(&t, "{")) return "its header is no dictionary";
    while (!take(&t, "}")) {
        if (!take_string(&t, key, sizeof key) || !take(&t, ":")) return "its header is broken";
        int which = !strcmp(key, "descr") ? 0 : !strcmp(key, "fortran_order") ? 1 : !strcmp(key, "shape") ? 2 : -1;
        if (which < 0 || seen[which]++) return "its header has an unknown or repeated key";
        if (which == 0 && !take_string(&t, descr, 16)) return "its type is not a plain one";
        if (which == 1 && !take(&t, "False")) return "it is not in C order";
        if (which == 2) {
            if (!take(&t, "(") || !take_number(&t, count) || !take(&t, ",") || !take(&t, ")"))
                return "it does not have one dimension";
        }
        if (!take(&t, ",")) {
            if (!take(&t, "}")) return "its header is broken";
            break;
        }
    }
    skip_spaces(&t);
    if (t.at != t.end) return "its header is broken";
    return seen[0] && seen[1] && seen[2] ? NULL : "its header lacks a key";
}

static il_status read_npy(const il_allocator *allocator, const char *path, const il_map *file, int vocab_size,
                          il_tokens *tokens, il_shard_info *info, il_error *error) {
    char descr[16] = "";
    uint64_t count = 0;
    const unsigned char *p = file->data;
    if (file->bytes < 12 || memcmp(p, "\x93NUMPY", 6) != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: not a .npy file", path);
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: .npy version %d.%d", path, p[6], p[7]);
    size_t start = p[6] == 1 ? 10 : 12;
    size_t header = p[6] == 1 ? (size_t)p[8] | (size_t)p[9] << 8 : load_u32(p + 8);
    if (header > file->bytes - start) return il_fail(error, IL_ERR_FORMAT, "%s: its header ends after the file", path);
    const char *from = (const char *)p + start;
    const char *why = parse_npy((text){from, from + header}, descr, &count);
    if (why) return il_fail(error, IL_ERR_FORMAT, "%s: %s", path, why);
    size_t width = !strcmp(descr, "<u2") ? 2 : !strcmp(descr, "<i4") ? 4 : 0;
    if (!width) return il_fail(error, IL_ERR_UNSUPPORTED, "%s: numbers of type %s; tokens are <u2 or <i4", path, descr);
    size_t body = file->bytes - start - header;
    if (count > body / width || body != count * width)
        return il_fail(error, IL_ERR_FORMAT, "%s: %llu tokens promised, %zu bytes of tokens there", path,
                       (unsigned long long)count, body);
    info->tokens = count;
    return append(allocator, path, p + start + header, (size_t)count, width, vocab_size, tokens, error);
}

il_status il_shard_parse(const il_allocator *allocator, const char *path, const unsigned char *data, size_t bytes,
                         int vocab_size, il_tokens *tokens, il_shard_info *info, il_error *error) {
    il_map file = {data, bytes};
    il_shard_info ignored;
    if (!info) info = &ignored;
    *info = (il_shard_info){0};
    if (ends_with(path, ".npy")) return read_npy(allocator, path, &file, vocab_size, tokens, info, error);
    return read_bin(allocator, path, &file, vocab_size, tokens, info, error);
}

il_status il_shard_read(const il_allocator *allocator, const char *path, int vocab_size, il_tokens *tokens,
                        il_shard_info *info, il_error *error) {
    il_map map;
    IL_TRY(il_map_open(path, &map, error));
    il_status status = il_shard_parse(allocator, path, map.data, map.bytes, vocab_size, tokens, info, error);
    il_map_close(&map);
    return status;
}
