/* shard.c: see shard.h. Everything on disk is little-endian and is read and written byte by byte. */
#include "text/shard.h"

#include "base/error.h"
#include "base/memory.h"
#include "text/tokenizer.h"

#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

/* ---- .bin: 256 int32 of header, then the tokens ----
 * word 0 magic, 1 version, 2 count; ours, zero in files of others: 3 MARK, 4-5 bytes of text, 6-9 xxh3-128 of
 * the tokens, 10-11 lines that were skipped, 12-13 the first of them, 14-15 the count where word 2 is MANY: more than
 * llm.c counts. */
enum {
    HEADER_BYTES = 1024,
    MAGIC_16 = 20240520,
    VERSION_16 = 1,
    MAGIC_32 = 20240801,
    VERSION_32 = 7,
    MARK = 0x31306C69, /* "il01" */
    MANY = -1,
    VOCAB_16_MAX = 65535,
    NPY_HEADER_MAX = 100000,
    WRITE_TOKENS = 16 << 10 /* converted at a time */
};

static uint32_t load_u32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_u32(unsigned char *p, uint32_t value) {
    for (int i = 0; i < 4; i++) p[i] = (unsigned char)(value >> (8 * i));
}

static void store_u64(unsigned char *p, uint64_t value) {
    store_u32(p, (uint32_t)value);
    store_u32(p + 4, (uint32_t)(value >> 32));
}

static uint64_t load(const unsigned char *p, size_t width, int big_endian) {
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++) value |= (uint64_t)p[i] << (8 * (big_endian ? width - 1 - i : i));
    return value;
}

static il_status outside(const char *name, il_number form, uint64_t index, uint64_t token, int vocab_size,
                         il_error *error) {
    int unused = 64 - (int)(8 * form.width); /* shown with its sign */
    int64_t shown = form.is_signed ? (int64_t)(token << unused) >> unused : (int64_t)token;
    return il_fail(error, IL_ERR_MISMATCH, "%s: token %llu is %lld, outside the vocabulary of %d", name,
                   (unsigned long long)index, (long long)shown, vocab_size);
}

il_status il_shard_convert(const char *name, il_number form, const unsigned char *data, size_t n, uint64_t first,
                           int vocab_size, int32_t *ids, il_error *error) {
    for (size_t i = 0; i < n; i++) {
        uint64_t token = load(data + i * form.width, form.width, form.big_endian);
        if (token >= (uint64_t)vocab_size) return outside(name, form, first + i, token, vocab_size, error);
        ids[i] = (int32_t)token;
    }
    return IL_OK;
}

/* Appends n tokens at data; `first` is the index of the first of them in the file. */
static il_status convert(const il_allocator *allocator, const il_source *source, il_number form,
                         const unsigned char *data, size_t n, size_t first, int vocab_size, il_tokens *tokens,
                         il_error *error) {
    if (!il_tokens_reserve(allocator, tokens, n))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for %zu tokens", source->name, tokens->n + n);
    IL_TRY(il_shard_convert(source->name, form, data, n, first, vocab_size, tokens->ids + tokens->n, error));
    tokens->n += n;
    return IL_OK;
}

/* Appends the tokens that the rest of the source holds: count of them, or with UINT64_MAX as many as there are. hash
 * (NULL allowed) gets all their bytes, also behind one that is outside the vocabulary: damage explains it better. */
static il_status append(const il_allocator *allocator, il_source *source, il_number form, uint64_t count,
                        int vocab_size, il_tokens *tokens, XXH3_state_t *hash, il_error *error) {
    size_t before = tokens->n;
    uint64_t bytes = 0;
    il_status status = IL_OK;
    if (source->regular && !source->raw && count <= source->size / form.width && count <= SIZE_MAX / form.width &&
        !il_tokens_reserve(allocator, tokens, (size_t)count))
        return il_fail(error, IL_ERR_NOMEM, "%s: no memory for %llu tokens", source->name, (unsigned long long)count);
    for (;;) {
        IL_TRY(il_source_need(source, form.width, error));
        size_t here = il_source_bytes(source), n = here / form.width;
        bytes += n ? n * form.width : here; /* or part of a token */
        if (n == 0 || bytes / form.width > count) break;
        if (hash) XXH3_128bits_update(hash, il_source_data(source), n * form.width);
        if (status == IL_OK)
            status = convert(allocator, source, form, il_source_data(source), n, tokens->n - before, vocab_size, tokens,
                             error);
        if (status != IL_OK && !(hash && status == IL_ERR_MISMATCH)) return status;
        source->from += n * form.width;
    }
    if (count == UINT64_MAX && bytes % form.width)
        return il_fail(error, IL_ERR_FORMAT, "%s: its bytes are not a whole number of tokens of %zu bytes",
                       source->name, form.width);
    if (count == UINT64_MAX || bytes == count * form.width) return status;
    return il_fail(error, IL_ERR_FORMAT, "%s: %llu tokens promised, %s%llu bytes of tokens there", source->name,
                   (unsigned long long)count, bytes / form.width > count ? "at least " : "", (unsigned long long)bytes);
}

static il_status layout_of_bin(il_source *source, il_shard_layout *layout, il_error *error) {
    const char *path = source->name;
    IL_TRY(il_source_need(source, HEADER_BYTES, error));
    const unsigned char *h = il_source_data(source);
    size_t there = il_source_bytes(source);
    if (there >= 4) {
        uint32_t magic = load_u32(h);
        if (magic != MAGIC_16 && magic != MAGIC_32)
            return il_fail(error, IL_ERR_FORMAT,
                           "%s: not a token shard: magic %u. Tokens without a header are read by --format u16 or u32",
                           path, magic);
    }
    if (there < HEADER_BYTES)
        return il_fail(error, IL_ERR_FORMAT, "%s: %zu bytes, shorter than a shard's header", path, there);
    uint32_t version = load_u32(h + 4), count = load_u32(h + 8);
    int wide = load_u32(h) == MAGIC_32, marked = load_u32(h + 12) == MARK;
    uint64_t tokens = marked && count == (uint32_t)MANY ? load(h + 56, 8, 0) : count;
    if (version != (wide ? VERSION_32 : VERSION_16))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: shard version %u", path, version);
    if (tokens > INT64_MAX / 8 || (tokens == count && count > INT32_MAX))
        return il_fail(error, IL_ERR_FORMAT, "%s: %llu tokens promised, more than a shard holds", path,
                       (unsigned long long)tokens);
    *layout =
        (il_shard_layout){.form = {wide ? 4 : 2, wide, 0}, .offset = HEADER_BYTES, .tokens = tokens, .marked = marked};
    if (layout->marked) {
        layout->text_bytes = load(h + 16, 8, 0);
        layout->skipped = load(h + 40, 8, 0);
        layout->first_skipped = load(h + 48, 8, 0);
        memcpy(layout->digest, h + 24, sizeof layout->digest);
    }
    source->from += HEADER_BYTES;
    return IL_OK;
}

/* ---- writing ---- */

uint64_t il_shard_count_max = INT32_MAX;

static size_t width_of(int vocab_size) { return vocab_size <= VOCAB_16_MAX ? 2 : 4; }

/* m ≤ WRITE_TOKENS tokens as they stand in a shard. */
static void store(const int32_t *tokens, size_t m, size_t width, unsigned char *block) {
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < width; k++) block[i * width + k] = (unsigned char)((uint32_t)tokens[i] >> (8 * k));
}

il_status il_shard_digest(const il_allocator *allocator, const int32_t *tokens, size_t n, int vocab_size,
                          unsigned char digest[16], il_error *error) {
    size_t width = width_of(vocab_size);
    unsigned char *block = il_alloc_raw(allocator, WRITE_TOKENS, width);
    XXH3_state_t *hash = il_alloc(allocator, 1, sizeof *hash);
    XXH128_canonical_t sum;
    il_status status = block && hash ? IL_OK : il_fail(error, IL_ERR_NOMEM, "no memory to hash tokens");
    if (status == IL_OK) {
        XXH3_128bits_reset(hash);
        for (size_t at = 0, m; at < n; at += m) {
            m = n - at < WRITE_TOKENS ? n - at : WRITE_TOKENS;
            store(tokens + at, m, width, block);
            XXH3_128bits_update(hash, block, m * width);
        }
        XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(hash));
        memcpy(digest, sum.digest, sizeof sum.digest);
    }
    il_free(allocator, hash);
    il_free(allocator, block);
    return status;
}

il_status il_shard_writer_open(const il_allocator *allocator, const char *path, int vocab_size, il_shard_writer *s,
                               il_error *error) {
    static const unsigned char header[HEADER_BYTES];
    *s = (il_shard_writer){.writer = {.fd = -1}, .width = width_of(vocab_size)};
    IL_TRY(il_writer_open(allocator, path, &s->writer, error));
    if (!s->writer.temporary) /* what its head says is known last */
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: a shard is written to a file, not to a device or pipe", path);
    s->block = il_alloc_raw(allocator, WRITE_TOKENS, s->width);
    s->hash = il_alloc(allocator, 1, sizeof(XXH3_state_t));
    if (!s->block || !s->hash) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to write a shard", path);
    XXH3_128bits_reset(s->hash);
    return il_writer_write(&s->writer, header, sizeof header, error);
}

il_status il_shard_writer_add(il_shard_writer *s, const int32_t *tokens, size_t n, il_error *error) {
    s->tokens += n;
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < WRITE_TOKENS ? n - at : WRITE_TOKENS;
        store(tokens + at, m, s->width, s->block);
        XXH3_128bits_update(s->hash, s->block, m * s->width);
        IL_TRY(il_writer_write(&s->writer, s->block, m * s->width, error));
    }
    return IL_OK;
}

static void release(il_shard_writer *s) {
    il_free(s->writer.allocator, s->hash);
    il_free(s->writer.allocator, s->block);
    s->hash = s->block = NULL;
}

il_status il_shard_writer_finish(il_shard_writer *s, uint64_t text_bytes, uint64_t skipped, uint64_t first_skipped,
                                 il_error *error) {
    unsigned char head[16 * 4];
    int many = s->tokens > il_shard_count_max;
    XXH128_canonical_t sum;
    store_u32(head, s->width == 2 ? MAGIC_16 : MAGIC_32);
    store_u32(head + 4, s->width == 2 ? VERSION_16 : VERSION_32);
    store_u32(head + 8, many ? (uint32_t)MANY : (uint32_t)s->tokens);
    store_u32(head + 12, MARK);
    store_u64(head + 16, text_bytes);
    XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(s->hash));
    memcpy(head + 24, sum.digest, sizeof sum.digest);
    store_u64(head + 40, skipped);
    store_u64(head + 48, first_skipped);
    store_u64(head + 56, many ? s->tokens : 0);
    IL_TRY(il_writer_change(&s->writer, 0, head, sizeof head, error));
    IL_TRY(il_writer_finish(&s->writer, error));
    release(s);
    return IL_OK;
}

void il_shard_writer_abandon(il_shard_writer *s) {
    if (s->writer.allocator) release(s);
    il_writer_abandon(&s->writer);
}

il_status il_shard_write(const il_allocator *allocator, const char *path, const int32_t *tokens, size_t n,
                         int vocab_size, uint64_t text_bytes, il_error *error) {
    il_shard_writer s;
    il_status status = il_shard_writer_open(allocator, path, vocab_size, &s, error);
    if (status == IL_OK) status = il_shard_writer_add(&s, tokens, n, error);
    if (status == IL_OK) status = il_shard_writer_finish(&s, text_bytes, 0, 0, error);
    if (status != IL_OK) il_shard_writer_abandon(&s);
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
    if (!take(&t, "{")) return "its header is not a dictionary";
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

/* "<u2", ">i8", "|u1": an integer. */
static int parse_number(const char *descr, il_number *form) {
    if (!descr[0] || !strchr("<>|=", descr[0]) || !descr[1] || !strchr("iu", descr[1])) return 0;
    if (!descr[2] || !strchr("1248", descr[2]) || descr[3]) return 0;
    *form = (il_number){(size_t)(descr[2] - '0'), descr[1] == 'i', descr[0] == '>'};
    return form->width == 1 || descr[0] != '|';
}

static il_status layout_of_npy(il_source *source, il_shard_layout *layout, il_error *error) {
    char descr[16] = "";
    uint64_t count = 0;
    il_number form;
    const char *path = source->name;
    IL_TRY(il_source_need(source, 12, error));
    const unsigned char *p = il_source_data(source);
    if (il_source_bytes(source) < 12 || memcmp(p, "\x93NUMPY", 6) != 0)
        return il_fail(error, IL_ERR_FORMAT, "%s: not a .npy file", path);
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: .npy version %d.%d", path, p[6], p[7]);
    size_t start = p[6] == 1 ? 10 : 12;
    size_t header = p[6] == 1 ? (size_t)p[8] | (size_t)p[9] << 8 : load_u32(p + 8);
    if (header > NPY_HEADER_MAX)
        return il_fail(error, IL_ERR_FORMAT, "%s: a header of %zu bytes, longer than %d", path, header, NPY_HEADER_MAX);
    IL_TRY(il_source_need(source, start + header, error));
    if (il_source_bytes(source) < start + header)
        return il_fail(error, IL_ERR_FORMAT, "%s: its header ends after the file", path);
    const char *from = (const char *)il_source_data(source) + start;
    const char *why = parse_npy((text){from, from + header}, descr, &count);
    if (why) return il_fail(error, IL_ERR_FORMAT, "%s: %s", path, why);
    if (!parse_number(descr, &form))
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: numbers of type %s; tokens are integers of 1, 2, 4 or 8 bytes",
                       path, descr);
    if (count > INT64_MAX / 8)
        return il_fail(error, IL_ERR_FORMAT, "%s: %llu tokens promised", path, (unsigned long long)count);
    source->from += start + header;
    *layout = (il_shard_layout){.form = form, .offset = start + header, .tokens = count};
    return IL_OK;
}

/* ---- all of them ---- */

il_status il_shard_layout_of(il_source *source, il_format format, il_shard_layout *layout, il_error *error) {
    if (format == IL_FORMAT_NPY) return layout_of_npy(source, layout, error);
    if (format == IL_FORMAT_BIN) return layout_of_bin(source, layout, error);
    *layout = (il_shard_layout){.form = {format == IL_FORMAT_U16 ? 2 : 4, 0, 0}, .tokens = UINT64_MAX};
    return IL_OK;
}

il_shard_info il_shard_info_of(const il_shard_layout *layout, uint64_t tokens) {
    il_shard_info info = {.tokens = tokens,
                          .text_known = layout->marked,
                          .text_bytes = layout->text_bytes,
                          .skipped = layout->skipped,
                          .first_skipped = layout->first_skipped};
    memcpy(info.digest, layout->digest, sizeof info.digest);
    return info;
}

/* append, and the checksum of a shard of ours. */
static il_status append_checked(const il_allocator *allocator, il_source *source, const il_shard_layout *layout,
                                int vocab_size, il_tokens *tokens, il_error *error) {
    XXH3_state_t *hash = layout->marked ? il_alloc(allocator, 1, sizeof *hash) : NULL;
    if (layout->marked && !hash) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to check it", source->name);
    if (hash) XXH3_128bits_reset(hash);
    il_status status = append(allocator, source, layout->form, layout->tokens, vocab_size, tokens, hash, error);
    if (hash && (status == IL_OK || status == IL_ERR_MISMATCH)) {
        XXH128_canonical_t sum;
        XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(hash));
        if (memcmp(sum.digest, layout->digest, sizeof layout->digest) != 0)
            status =
                il_fail(error, IL_ERR_FORMAT, "%s: damaged: the checksum of its tokens does not fit", source->name);
    }
    il_free(allocator, hash);
    return status;
}

il_status il_shard_take(const il_allocator *allocator, il_source *source, il_format format, int vocab_size,
                        il_tokens *tokens, il_shard_info *info, il_error *error) {
    size_t before = tokens->n;
    il_shard_info ignored;
    il_shard_layout layout;
    if (!info) info = &ignored;
    *info = (il_shard_info){0};
    IL_TRY(il_shard_layout_of(source, format, &layout, error));
    il_status status = append_checked(allocator, source, &layout, vocab_size, tokens, error);
    if (status != IL_OK) tokens->n = before;
    *info = il_shard_info_of(&layout, tokens->n - before);
    return status;
}

il_status il_shard_read(const il_allocator *allocator, const char *path, int vocab_size, il_tokens *tokens,
                        il_shard_info *info, il_error *error) {
    il_source source;
    il_status status = il_source_open(allocator, path, NULL, NULL, 0, &source, error);
    if (status == IL_OK) status = il_shard_take(allocator, &source, IL_FORMAT_BIN, vocab_size, tokens, info, error);
    il_source_close(&source);
    return status;
}
