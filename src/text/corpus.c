/* corpus.c: see corpus.h; also il_data_tokenize.
 *
 * The cache keeps a text file's tokens as the shard NAME-HASH.bin, where HASH covers the tokenizer and every
 * byte of the file: a file or tokenizer that changed is another name. A cached shard that is damaged is made
 * again; a cache that cannot be written is a warning, since the tokens are there. */
#include "text/corpus.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "text/reader.h"
#include "text/shard.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

typedef struct tokenizing {
    const il_allocator *allocator;
    const il_tokenizer *tokenizer;
    int bos;
    il_tokens *tokens;
    uint64_t text_bytes;
} tokenizing;

static il_status take_document(void *context, const char *text, size_t bytes, il_error *error) {
    tokenizing *t = context;
    if (t->bos >= 0) {
        if (!il_tokens_reserve(t->allocator, t->tokens, 1))
            return il_fail(error, IL_ERR_NOMEM, "no memory for %zu tokens", t->tokens->n + 1);
        t->tokens->ids[t->tokens->n++] = t->bos;
    }
    t->text_bytes += bytes;
    return il_tokenizer_encode(t->tokenizer, text, bytes, t->tokens, error);
}

/* Appends the tokens of a text file; on failure tokens are as they were. */
static il_status tokenize(il_engine *engine, const char *path, const il_tokenizer *tokenizer, il_tokens *tokens,
                          uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    il_tokenizer_get_info(tokenizer, &info);
    size_t before = tokens->n;
    tokenizing t = {&engine->memory, tokenizer, info.bos, tokens, 0};
    il_status status = il_documents_read(&engine->memory, path, 0, take_document, &t, error);
    if (status != IL_OK)
        tokens->n = before;
    else
        il_log(engine, IL_LOG_INFO, "%s: %" PRIu64 " bytes of text, %zu tokens", path, t.text_bytes,
               tokens->n - before);
    *text_bytes = t.text_bytes;
    return status;
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* dir/NAME-HASH.bin in memory of the engine. */
static il_status cache_path(il_engine *engine, const char *path, const il_tokenizer *tokenizer, const char *dir,
                            char **cached, il_error *error) {
    char key[80] = "innerloop tokens 1 ", digest[IL_HEX128_BYTES], name[160];
    XXH128_hash_t hash;
    il_map map;
    *cached = NULL;
    IL_TRY(il_map_open(path, &map, error));
    hash = XXH3_128bits(map.data, map.bytes);
    il_map_close(&map);
    il_tokenizer_fingerprint(tokenizer, key + strlen(key));
    hash = XXH3_128bits_withSeed(key, strlen(key), hash.high64 ^ XXH3_64bits(&hash.low64, 8));
    il_hex128(hash.high64, hash.low64, digest);
    snprintf(name, sizeof name, "%.80s-%s.bin", base_name(path), digest);
    *cached = il_path_join(&engine->memory, dir, name);
    return *cached ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
}

/* tokenize, by way of the cache. */
static il_status tokenize_cached(il_engine *engine, const char *path, const il_tokenizer *tokenizer, const char *dir,
                                 il_tokens *tokens, uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    il_shard_info shard;
    il_error problem;
    char *cached;
    size_t before = tokens->n;
    il_tokenizer_get_info(tokenizer, &info);
    IL_TRY(cache_path(engine, path, tokenizer, dir, &cached, error));
    il_status status = IL_ERR_IO;
    if (il_path_exists(cached)) {
        status = il_shard_read(&engine->memory, cached, info.vocab_size, tokens, &shard, &problem);
        if (status == IL_OK && !shard.text_known) { /* not one that we wrote */
            tokens->n = before;
            status = il_fail(&problem, IL_ERR_FORMAT, "%s: not a cached shard", cached);
        }
        if (status == IL_OK) {
            *text_bytes = shard.text_bytes;
            il_log(engine, IL_LOG_INFO, "%s: %" PRIu64 " tokens from %s", path, shard.tokens, cached);
        } else if (status == IL_ERR_NOMEM) {
            if (error) *error = problem;
        } else {
            il_log(engine, IL_LOG_WARN, "made again: %s", problem.message);
        }
    }
    if (status != IL_OK && status != IL_ERR_NOMEM) {
        status = tokenize(engine, path, tokenizer, tokens, text_bytes, error);
        if (status == IL_OK) {
            il_status kept = il_dir_make(&engine->memory, dir, NULL, &problem);
            if (kept == IL_OK)
                kept = il_shard_write(&engine->memory, cached, tokens->ids + before, tokens->n - before,
                                      info.vocab_size, *text_bytes, &problem);
            if (kept != IL_OK) il_log(engine, IL_LOG_WARN, "tokens are not cached: %s", problem.message);
        }
    }
    il_free(&engine->memory, cached);
    return status;
}

static il_status load_file(il_engine *engine, const char *path, const il_tokenizer *tokenizer, int vocab_size,
                           const char *cache_dir, il_corpus *corpus, int *text_known, il_error *error) {
    uint64_t text_bytes = 0;
    if (il_shard_is(path)) {
        il_shard_info shard;
        IL_TRY(il_shard_read(&engine->memory, path, vocab_size, &corpus->tokens, &shard, error));
        if (shard.tokens == 0) return il_fail(error, IL_ERR_FORMAT, "%s: no tokens in it", path);
        if (!shard.text_known) *text_known = 0;
        text_bytes = shard.text_bytes;
    } else if (!il_documents_known(path)) {
        return il_fail(error, IL_ERR_UNSUPPORTED, "%s: data files are .bin, .npy, .txt, .jsonl or .jsonl.zst", path);
    } else if (!tokenizer) {
        return il_fail(error, IL_ERR_ARG, "%s: text needs a tokenizer", path);
    } else if (cache_dir) {
        IL_TRY(tokenize_cached(engine, path, tokenizer, cache_dir, &corpus->tokens, &text_bytes, error));
    } else {
        IL_TRY(tokenize(engine, path, tokenizer, &corpus->tokens, &text_bytes, error));
    }
    corpus->text_bytes += text_bytes;
    return IL_OK;
}

il_status il_corpus_load(il_engine *engine, const char *const *files, size_t n_files, const il_tokenizer *tokenizer,
                         int vocab_size, const char *cache_dir, il_corpus *corpus, il_error *error) {
    int text_known = 1;
    *corpus = (il_corpus){0};
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no data files");
    if (tokenizer) {
        il_tokenizer_info info;
        il_tokenizer_get_info(tokenizer, &info);
        if (info.vocab_size > vocab_size)
            return il_fail(error, IL_ERR_MISMATCH, "the %s tokenizer has %d tokens, the model's vocabulary %d",
                           info.kind, info.vocab_size, vocab_size);
    }
    corpus->starts = il_alloc(&engine->memory, n_files, sizeof *corpus->starts);
    if (!corpus->starts) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu files", n_files);
    for (size_t i = 0; i < n_files; i++) {
        corpus->starts[corpus->files++] = corpus->tokens.n;
        IL_TRY(load_file(engine, files[i], tokenizer, vocab_size, cache_dir, corpus, &text_known, error));
    }
    if (!text_known) corpus->text_bytes = 0;
    return IL_OK;
}

void il_corpus_free(const il_allocator *allocator, il_corpus *corpus) {
    il_tokens_free(&corpus->tokens);
    il_free(allocator, corpus->starts);
    *corpus = (il_corpus){0};
}

/* ---- il_data_tokenize ---- */

/* Length of a file's name without folder and without its ending. */
static size_t stem_bytes(const char *name) {
    static const char *const endings[] = {".jsonl.zst", ".jsonl", ".txt"};
    size_t n = strlen(name);
    for (int i = 0; i < 3; i++) {
        size_t m = strlen(endings[i]);
        if (n > m && strcmp(name + n - m, endings[i]) == 0) return n - m;
    }
    return n;
}

static il_status check_names(const char *const *files, size_t n_files, il_error *error) {
    for (size_t i = 0; i < n_files; i++) {
        if (!il_documents_known(files[i]))
            return il_fail(error, IL_ERR_UNSUPPORTED, "%s: text files are .txt, .jsonl or .jsonl.zst", files[i]);
        const char *a = base_name(files[i]);
        for (size_t k = 0; k < i; k++) {
            const char *b = base_name(files[k]);
            if (stem_bytes(a) == stem_bytes(b) && memcmp(a, b, stem_bytes(a)) == 0)
                return il_fail(error, IL_ERR_ARG, "%s and %s would both become %.*s.bin", files[k], files[i],
                               (int)stem_bytes(a), a);
        }
    }
    return IL_OK;
}

il_status il_data_tokenize(il_engine *engine, const char *const *files, size_t n_files, const il_tokenizer *tokenizer,
                           const char *dir, uint64_t *tokens, il_error *error) {
    il_tokens stream = {0};
    il_tokenizer_info info;
    uint64_t total = 0;
    if (tokens) *tokens = 0;
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no text files");
    il_tokenizer_get_info(tokenizer, &info);
    IL_TRY(check_names(files, n_files, error));
    size_t existed = 0;
    IL_TRY(il_dir_make(&engine->memory, dir, &existed, error));
    il_status status = IL_OK;
    for (size_t i = 0; i < n_files && status == IL_OK; i++) {
        uint64_t text_bytes;
        stream.n = 0;
        status = tokenize(engine, files[i], tokenizer, &stream, &text_bytes, error);
        if (status != IL_OK) break;
        const char *name = base_name(files[i]);
        size_t n = stem_bytes(name);
        char *file = il_alloc(&engine->memory, n + sizeof ".bin", 1);
        char *path = NULL;
        if (file) {
            memcpy(file, name, n);
            memcpy(file + n, ".bin", sizeof ".bin");
            path = il_path_join(&engine->memory, dir, file);
        }
        if (path)
            status = il_shard_write(&engine->memory, path, stream.ids, stream.n, info.vocab_size, text_bytes, error);
        else
            status = il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
        il_free(&engine->memory, path);
        il_free(&engine->memory, file);
        total += stream.n;
    }
    il_tokens_free(&stream);
    if (status != IL_OK && existed < strlen(dir)) il_dir_unmake(&engine->memory, dir, existed); /* if it is empty */
    if (status == IL_OK && tokens) *tokens = total;
    return status;
}
