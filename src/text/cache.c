/* cache.c: see cache.h. A text file's tokens are the shard NAME-HASH.bin, where HASH covers the tokenizer and every
 * byte of the file: a file or tokenizer that changed is another name. A cached shard that is damaged is made
 * again. A cache that cannot be written is a warning where the tokens are in memory all the same. */
#include "text/cache.h"

#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "text/format.h"
#include "text/tokenize.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

typedef struct entry {
    il_engine *engine;
    const char *path;
    char *shard; /* its place in the cache */
    il_documents *documents;
    const il_documents_options *options;
    const il_tokenizer *tokenizer;
    int vocab_size;
} entry;

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

/* ---- from the cache ---- */

/* The shard at path, which stays there. */
static il_status leave(const entry *c, il_on_disk *disk, il_shard_info *shard, il_error *error) {
    const il_allocator *memory = &c->engine->memory;
    il_source source;
    il_status status = il_source_open_raw(memory, c->shard, &source, error);
    if (status == IL_OK) status = il_on_disk_open(memory, c->shard, &source, IL_FORMAT_BIN, disk, error);
    if (status == IL_OK) *shard = il_shard_info_of(&disk->layout, disk->tokens);
    il_source_close(&source);
    return status;
}

/* Whether as many bad lines may be left out of a text as were left out of its shard. */
static int may_skip(const il_documents_options *options, uint64_t skipped) {
    return !skipped || (options->skip_bad_lines && (!options->bad_lines_max || skipped <= options->bad_lines_max));
}

/* IL_ERR_END: there is none, or none that can be used. */
static il_status take(const entry *c, il_tokens *tokens, il_on_disk *disk, uint64_t *text_bytes, il_error *error) {
    il_engine *engine = c->engine;
    il_shard_info shard;
    il_error problem;
    size_t before = tokens->n;
    if (!il_path_is_file(c->shard)) return IL_ERR_END; /* no pipe, which would be waited for */
    il_status status = disk ? leave(c, disk, &shard, &problem)
                            : il_shard_read(&engine->memory, c->shard, c->vocab_size, tokens, &shard, &problem);
    if (status == IL_OK && !shard.text_known) /* not one that we wrote */
        status = il_fail(&problem, IL_ERR_FORMAT, "%s: not a cached shard", c->shard);
    if (status == IL_OK && may_skip(c->options, shard.skipped)) {
        *text_bytes = shard.text_bytes;
        il_log(engine, IL_LOG_DEBUG, "%s: %" PRIu64 " tokens from %s", c->path, shard.tokens, c->shard);
        if (shard.skipped)
            il_log(engine, IL_LOG_WARN,
                   "%s: %" PRIu64 " bad lines were skipped when it was tokenized, the first is line %" PRIu64, c->path,
                   shard.skipped, shard.first_skipped);
        return IL_OK;
    }
    tokens->n = before;
    if (disk) il_on_disk_close(disk);
    if (status == IL_ERR_NOMEM) {
        if (error) *error = problem;
        return status;
    }
    if (status != IL_OK) il_log(engine, IL_LOG_WARN, "made again: %s", problem.message);
    return IL_ERR_END;
}

/* ---- into the cache ---- */

/* The tokens go where they are kept as they come, and are never in memory together. */
static il_status make_there(const entry *c, const char *dir, il_on_disk *disk, uint64_t *text_bytes, il_error *error) {
    il_shard_info info;
    uint64_t tokens;
    IL_TRY(il_dir_make(&c->engine->memory, dir, NULL, error));
    IL_TRY(il_documents_shard(c->engine, c->path, c->documents, c->tokenizer, c->shard, &tokens, text_bytes, error));
    return leave(c, disk, &info, error);
}

static il_status make(const entry *c, const char *dir, int keep, il_tokens *tokens, uint64_t *text_bytes,
                      il_error *error) {
    il_shard_writer shard = {.writer = {.fd = -1}};
    il_error problem;
    size_t before = tokens->n;
    IL_TRY(il_documents_tokenize(c->engine, c->path, c->documents, c->tokenizer, tokens, NULL, text_bytes, error));
    if (!keep) return IL_OK;
    il_status kept = il_dir_make(&c->engine->memory, dir, NULL, &problem);
    if (kept == IL_OK) kept = il_shard_writer_open(&c->engine->memory, c->shard, c->vocab_size, &shard, &problem);
    if (kept == IL_OK) kept = il_shard_writer_add(&shard, tokens->ids + before, tokens->n - before, &problem);
    if (kept == IL_OK) kept = il_documents_finish_shard(c->documents, &shard, *text_bytes, &problem);
    if (kept != IL_OK) {
        il_shard_writer_abandon(&shard);
        il_log(c->engine, IL_LOG_WARN, "tokens are not cached: %s", problem.message);
    }
    return IL_OK;
}

il_status il_cache_tokens(il_engine *engine, const char *path, il_documents *documents,
                          const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                          il_tokens *tokens, il_on_disk *disk, uint64_t *text_bytes, il_error *error) {
    il_tokenizer_info info;
    entry c = {.engine = engine, .path = path, .documents = documents, .options = options, .tokenizer = tokenizer};
    il_tokenizer_get_info(tokenizer, &info);
    c.vocab_size = info.vocab_size;
    IL_TRY(cache_path(engine, path, options, tokenizer, dir, &c.shard, error));
    il_status status = take(&c, tokens, disk, text_bytes, error);
    if (status == IL_ERR_END) {
        int is_free = il_path_is_file(c.shard) || !il_path_exists(c.shard);
        status = disk && is_free ? make_there(&c, dir, disk, text_bytes, error)
                                 : make(&c, dir, is_free, tokens, text_bytes, error);
    }
    il_free(&engine->memory, c.shard);
    return status;
}
