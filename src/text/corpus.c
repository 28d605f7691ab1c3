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
#include "base/temporary.h"
#include "engine/engine.h"
#include "text/documents.h"
#include "text/format.h"
#include "text/shard.h"
#include "text/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

/* A document begins: the one before has ended. */
static il_status begin_document(il_engine *engine, il_encoding *encoding, int bos, il_tokens *tokens, il_error *error) {
    IL_TRY(il_encoding_end(encoding, tokens, error));
    if (bos < 0) return IL_OK;
    if (!il_tokens_reserve(&engine->memory, tokens, 1))
        return il_fail(error, IL_ERR_NOMEM, "no memory for %zu tokens", tokens->n + 1);
    tokens->ids[tokens->n++] = bos;
    return IL_OK;
}

/* Appends the tokens of a file's documents; on failure tokens are as they were. */
static il_status tokenize(il_engine *engine, const char *path, il_documents *documents, const il_tokenizer *tokenizer,
                          il_tokens *tokens, uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    il_document part;
    il_encoding encoding = {.tokenizer = tokenizer};
    il_tokenizer_get_info(tokenizer, &info);
    size_t before = tokens->n;
    int begun = 0;
    il_status status;
    *text_bytes = 0;
    while ((status = il_documents_part(documents, &part, error)) == IL_OK) {
        if (part.begins) status = begin_document(engine, &encoding, info.bos, tokens, error);
        if (status == IL_OK) status = il_encoding_add(&encoding, part.text, part.bytes, tokens, error);
        if (status != IL_OK) break;
        *text_bytes += part.bytes;
        begun = 1;
    }
    if (status == IL_ERR_END) status = il_encoding_end(&encoding, tokens, error);
    if (status == IL_OK && !begun) status = il_fail(error, IL_ERR_FORMAT, "%s: the file is empty", path);
    il_encoding_free(&encoding);
    if (status != IL_OK) {
        tokens->n = before;
        return status;
    }
    il_log(engine, IL_LOG_INFO, "%s: %" PRIu64 " bytes of text, %zu tokens", path, *text_bytes, tokens->n - before);
    return IL_OK;
}

/* xxh3-128 of the bytes of a file as they stand there, compressed or not. */
static il_status hash_file(il_engine *engine, const char *path, XXH128_hash_t *hash, il_error *error) {
    il_source source;
    XXH3_state_t *state = il_alloc(&engine->memory, 1, sizeof *state);
    if (!state) return il_fail(error, IL_ERR_NOMEM, "%s: no memory to read it", path);
    XXH3_128bits_reset(state);
    il_status status = il_source_open_raw(&engine->memory, path, &source, error);
    while (status == IL_OK && !source.ended) {
        status = il_source_fill(&source, error);
        if (status == IL_OK) XXH3_128bits_update(state, il_source_data(&source), il_source_bytes(&source));
        source.from = source.to;
    }
    *hash = XXH3_128bits_digest(state);
    il_source_close(&source);
    il_free(&engine->memory, state);
    return status;
}

/* dir/NAME-HASH.bin in memory of the engine. */
static il_status cache_path(il_engine *engine, const char *path, const il_documents_options *options,
                            const il_tokenizer *tokenizer, const char *dir, char **cached, il_error *error) {
    char key[80] = "innerloop tokens 2 ", digest[IL_HEX128_BYTES], name[160];
    const char *field = options->field ? options->field : "text", *base;
    XXH128_hash_t hash;
    *cached = NULL;
    IL_TRY(hash_file(engine, path, &hash, error));
    il_tokenizer_fingerprint(tokenizer, key + strlen(key));
    snprintf(key + strlen(key), sizeof key - strlen(key), " %s", il_format_name(options->format));
    hash = XXH3_128bits_withSeed(key, strlen(key), hash.high64 ^ XXH3_64bits(&hash.low64, 8));
    hash = XXH3_128bits_withSeed(field, strlen(field), hash.high64 ^ XXH3_64bits(&hash.low64, 8));
    il_hex128(hash.high64, hash.low64, digest);
    il_format_stem(path, &base);
    snprintf(name, sizeof name, "%.80s-%s.bin", base, digest);
    *cached = il_path_join(&engine->memory, dir, name);
    return *cached ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
}

/* tokenize, by way of the cache. */
static il_status tokenize_cached(il_engine *engine, const char *path, il_documents *documents,
                                 const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                                 il_tokens *tokens, uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    il_shard_info shard;
    il_error problem;
    char *cached;
    size_t before = tokens->n;
    il_tokenizer_get_info(tokenizer, &info);
    IL_TRY(cache_path(engine, path, options, tokenizer, dir, &cached, error));
    il_status status = IL_ERR_IO;
    if (il_path_is_file(cached)) { /* no pipe, which would be waited for */
        status = il_shard_read(&engine->memory, cached, info.vocab_size, tokens, &shard, &problem);
        if (status == IL_OK && !shard.text_known) { /* not one that we wrote */
            tokens->n = before;
            status = il_fail(&problem, IL_ERR_FORMAT, "%s: not a cached shard", cached);
        }
        if (status == IL_OK) {
            *text_bytes = shard.text_bytes;
            il_log(engine, IL_LOG_DEBUG, "%s: %" PRIu64 " tokens from %s", path, shard.tokens, cached);
        } else if (status == IL_ERR_NOMEM) {
            if (error) *error = problem;
        } else {
            il_log(engine, IL_LOG_WARN, "made again: %s", problem.message);
        }
    }
    if (status != IL_OK && status != IL_ERR_NOMEM) {
        status = tokenize(engine, path, documents, tokenizer, tokens, text_bytes, error);
        int free_place = il_path_is_file(cached) || !il_path_exists(cached);
        if (status == IL_OK && free_place &&
            !il_documents_skipped(documents)) { /* what was skipped is told each time */
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

typedef struct loading {
    il_engine *engine;
    const il_documents_options *options;
    const il_tokenizer *tokenizer;
    int vocab_size;
    const char *cache_dir;
    il_corpus *corpus;
    int text_known;
} loading;

static il_status load_tokens(loading *l, const char *path, il_documents *documents, il_error *error) {
    il_shard_info shard;
    IL_TRY(il_shard_take(&l->engine->memory, il_documents_source(documents), il_documents_format(documents),
                         l->vocab_size, &l->corpus->tokens, &shard, error));
    if (shard.tokens == 0) return il_fail(error, IL_ERR_FORMAT, "%s: no tokens in it", path);
    if (!shard.text_known) l->text_known = 0;
    l->corpus->text_bytes += shard.text_bytes;
    return IL_OK;
}

static il_status load_text(loading *l, const char *path, il_documents *documents, il_error *error) {
    uint64_t text_bytes = 0;
    il_tokens *tokens = &l->corpus->tokens;
    if (!l->tokenizer) return il_fail(error, IL_ERR_ARG, "%s: text needs a tokenizer", path);
    if (l->cache_dir && il_documents_source(documents)->regular)
        IL_TRY(tokenize_cached(l->engine, path, documents, l->options, l->tokenizer, l->cache_dir, tokens, &text_bytes,
                               error));
    else
        IL_TRY(tokenize(l->engine, path, documents, l->tokenizer, tokens, &text_bytes, error));
    l->corpus->text_bytes += text_bytes;
    return IL_OK;
}

static il_status load_file(loading *l, const char *path, il_error *error) {
    il_documents *documents;
    IL_TRY(il_documents_open_any(l->engine, path, l->options, &documents, error));
    il_status status = il_format_is_tokens(il_documents_format(documents)) ? load_tokens(l, path, documents, error)
                                                                           : load_text(l, path, documents, error);
    il_documents_close(documents);
    return status;
}

il_status il_corpus_load(il_engine *engine, const char *const *files, size_t n_files,
                         const il_documents_options *options, const il_tokenizer *tokenizer, int vocab_size,
                         const char *cache_dir, il_corpus *corpus, il_error *error) {
    loading l = {engine, options, tokenizer, vocab_size, cache_dir, corpus, 1};
    *corpus = (il_corpus){0};
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no data files");
    if (options->read) return il_fail(error, IL_ERR_ARG, "files are read by their names alone");
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
        IL_TRY(load_file(&l, files[i], error));
    }
    if (!l.text_known) corpus->text_bytes = 0;
    return IL_OK;
}

void il_corpus_free(const il_allocator *allocator, il_corpus *corpus) {
    il_tokens_free(&corpus->tokens);
    il_free(allocator, corpus->starts);
    *corpus = (il_corpus){0};
}

/* ---- il_data_tokenize ---- */

static il_status check_names(const char *const *files, size_t n_files, il_error *error) {
    for (size_t i = 0; i < n_files; i++) {
        const char *a, *b;
        size_t n = il_format_stem(files[i], &a);
        for (size_t k = 0; k < i; k++)
            if (il_format_stem(files[k], &b) == n && memcmp(a, b, n) == 0)
                return il_fail(error, IL_ERR_ARG, "%s and %s would both become %.*s.bin", files[k], files[i], (int)n,
                               a);
    }
    return IL_OK;
}

/* dir/NAME.bin, the shard of a file; released by the engine's allocator. */
static il_status shard_path(il_engine *engine, const char *dir, const char *file, char **path, il_error *error) {
    const char *name;
    size_t n = il_format_stem(file, &name);
    char *base = il_alloc(&engine->memory, n + sizeof ".bin", 1);
    *path = NULL;
    if (base) {
        memcpy(base, name, n);
        memcpy(base + n, ".bin", sizeof ".bin");
        *path = il_path_join(&engine->memory, dir, base);
    }
    il_free(&engine->memory, base);
    return *path ? IL_OK : il_fail(error, IL_ERR_NOMEM, "%s: no memory for a path", dir);
}

/* No shard may take the place of a text, and each must be one that can be written; where there is no folder yet there
 * is nothing in the way. */
static il_status check_shards(il_engine *engine, const char *const *files, size_t n_files, const char *dir,
                              il_error *error) {
    struct stat text, shard;
    il_status status = IL_OK;
    for (size_t i = 0; i < n_files && status == IL_OK && il_path_exists(dir); i++) {
        char *path;
        IL_TRY(shard_path(engine, dir, files[i], &path, error));
        for (size_t k = 0; k < n_files && status == IL_OK && stat(path, &shard) == 0; k++)
            if ((strcmp(files[k], "-") ? stat(files[k], &text) : fstat(STDIN_FILENO, &text)) == 0 &&
                S_ISREG(text.st_mode) && text.st_dev == shard.st_dev && text.st_ino == shard.st_ino)
                status = il_fail(error, IL_ERR_ARG,
                                 "%s and %s are the same file: writing it would destroy what is read", path, files[k]);
        if (status == IL_OK) status = il_writer_check(path, error);
        il_free(&engine->memory, path);
    }
    return status;
}

static il_status tokenize_file(il_engine *engine, const char *path, const il_documents_options *options,
                               const il_tokenizer *tokenizer, il_tokens *stream, uint64_t *text_bytes,
                               il_error *error) {
    il_documents *documents;
    IL_TRY(il_documents_open(engine, path, options, &documents, error));
    il_status status = tokenize(engine, path, documents, tokenizer, stream, text_bytes, error);
    il_documents_close(documents);
    return status;
}

il_status il_data_tokenize(il_engine *engine, const char *const *files, size_t n_files,
                           const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                           uint64_t *tokens, il_error *error) {
    static const char *const nothing[] = {NULL};
    il_tokens stream = {0};
    il_tokenizer_info info;
    uint64_t total = 0, text_bytes;
    if (tokens) *tokens = 0;
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no text files");
    il_tokenizer_get_info(tokenizer, &info);
    IL_TRY(check_names(files, n_files, error));
    IL_TRY(check_shards(engine, files, n_files, dir, error));
    size_t existed = strlen(dir);
    int watch = 0;
    il_status status = IL_OK;
    for (size_t i = 0; i < n_files && status == IL_OK; i++) {
        char *path = NULL;
        stream.n = 0;
        status = tokenize_file(engine, files[i], options, tokenizer, &stream, &text_bytes, error);
        if (status == IL_OK && i == 0) { /* not before there is something to put there */
            status = il_dir_make(&engine->memory, dir, &existed, error);
            if (status == IL_OK && existed < strlen(dir)) watch = il_temporary_watch(dir, nothing, existed);
        }
        if (status == IL_OK) status = shard_path(engine, dir, files[i], &path, error);
        if (status == IL_OK)
            status = il_shard_write(&engine->memory, path, stream.ids, stream.n, info.vocab_size, text_bytes, error);
        il_free(&engine->memory, path);
        total += stream.n;
    }
    il_tokens_free(&stream);
    if (status != IL_OK && existed < strlen(dir)) il_dir_unmake(&engine->memory, dir, existed); /* if it is empty */
    il_temporary_unwatch(watch);
    if (status == IL_OK && tokens) *tokens = total;
    return status;
}
