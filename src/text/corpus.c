/* corpus.c: see corpus.h. */
#include "text/corpus.h"

#include "base/error.h"
#include "base/hex.h"
#include "base/memory.h"
#include "engine/engine.h"
#include "text/cache.h"
#include "text/documents.h"
#include "text/format.h"
#include "text/tokenize.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t */
#include <xxhash.h>

enum { WINDOW = 1 << 16 /* tokens of il_corpus_view */, ENDS = 1 << 14 /* tokens of hash_file_of */ };

/* ---- loading ---- */

typedef struct loading {
    il_engine *engine;
    const il_documents_options *options;
    const il_tokenizer *tokenizer;
    int vocab_size;
    const char *cache_dir;
    il_corpus *corpus;
    int stays; /* what can stay on disk does */
    int text_known;
} loading;

static il_status load_tokens(loading *l, const char *path, il_documents *documents, il_corpus_file *file,
                             il_error *error) {
    il_shard_info shard;
    il_source *source = il_documents_source(documents);
    il_format format = il_documents_format(documents);
    const il_allocator *memory = &l->engine->memory;
    if (l->stays && il_on_disk_possible(source)) {
        IL_TRY(il_on_disk_open(memory, path, source, format, &file->disk, error));
        shard = il_shard_info_of(&file->disk.layout, file->disk.tokens);
    } else {
        IL_TRY(il_shard_take(memory, source, format, l->vocab_size, &l->corpus->tokens, &shard, error));
    }
    if (shard.tokens == 0) return il_fail(error, IL_ERR_FORMAT, "%s: no tokens in it", path);
    if (!shard.text_known) l->text_known = 0;
    file->marked = shard.text_known;
    memcpy(file->digest, shard.digest, sizeof file->digest);
    l->corpus->text_bytes += shard.text_bytes;
    return IL_OK;
}

static il_status load_text(loading *l, const char *path, il_documents *documents, il_corpus_file *file,
                           il_error *error) {
    uint64_t text_bytes = 0;
    il_tokens *tokens = &l->corpus->tokens;
    if (!l->tokenizer) return il_fail(error, IL_ERR_ARG, "%s: text needs a tokenizer", path);
    if (l->cache_dir && il_documents_source(documents)->regular)
        IL_TRY(il_cache_tokens(l->engine, path, documents, l->options, l->tokenizer, l->cache_dir, tokens,
                               l->stays ? &file->disk : NULL, &text_bytes, error));
    else
        IL_TRY(il_documents_tokenize(l->engine, path, documents, l->tokenizer, tokens, NULL, &text_bytes, error));
    l->corpus->text_bytes += text_bytes;
    file->is_text = 1;
    file->marked = file->disk.path != NULL;
    memcpy(file->digest, file->disk.layout.digest, sizeof file->digest);
    return IL_OK;
}

static il_status load_file(loading *l, const char *path, il_error *error) {
    il_documents *documents;
    il_corpus *c = l->corpus;
    il_corpus_file *file = &c->files[c->n_files++];
    *file = (il_corpus_file){.first = c->n, .at = c->tokens.n, .disk = {.fd = -1}};
    IL_TRY(il_documents_open_any(l->engine, path, l->options, &documents, error));
    il_status status = il_format_is_tokens(il_documents_format(documents))
                           ? load_tokens(l, path, documents, file, error)
                           : load_text(l, path, documents, file, error);
    il_documents_close(documents);
    file->tokens = file->disk.path ? file->disk.tokens : c->tokens.n - file->at;
    c->on_disk |= file->disk.path != NULL;
    c->n += file->tokens;
    return status;
}

/* Of the files that are there; of the others opening them will tell. */
static uint64_t bytes_of(const char *const *files, size_t n_files) {
    struct stat info;
    uint64_t total = 0;
    for (size_t i = 0; i < n_files; i++)
        if (stat(files[i], &info) == 0 && S_ISREG(info.st_mode)) total += (uint64_t)info.st_size;
    return total;
}

il_status il_corpus_load(il_engine *engine, const char *const *files, size_t n_files,
                         const il_documents_options *options, const il_tokenizer *tokenizer, int vocab_size,
                         const char *cache_dir, uint64_t memory_max, il_corpus *corpus, il_error *error) {
    loading l = {engine, options, tokenizer, vocab_size, cache_dir, corpus, 0, 1};
    *corpus = (il_corpus){.allocator = &engine->memory, .vocab_size = vocab_size};
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no data files");
    if (options->read) return il_fail(error, IL_ERR_ARG, "files are read by their names alone");
    if (tokenizer) {
        il_tokenizer_info info;
        il_tokenizer_get_info(tokenizer, &info);
        if (info.vocab_size > vocab_size)
            return il_fail(error, IL_ERR_MISMATCH, "the %s tokenizer has %d tokens, the model's vocabulary %d",
                           info.kind, info.vocab_size, vocab_size);
        corpus->text_vocab = info.vocab_size;
    }
    l.stays = memory_max && bytes_of(files, n_files) > memory_max;
    corpus->files = il_alloc(&engine->memory, n_files, sizeof *corpus->files);
    if (!corpus->files) return il_fail(error, IL_ERR_NOMEM, "no memory for %zu files", n_files);
    for (size_t i = 0; i < n_files; i++) IL_TRY(load_file(&l, files[i], error));
    if (!l.text_known) corpus->text_bytes = 0;
    if (corpus->on_disk)
        il_log(engine, IL_LOG_INFO, "%" PRIu64 " tokens stay on disk, %zu are in memory", corpus->n - corpus->tokens.n,
               corpus->tokens.n);
    return IL_OK;
}

void il_corpus_free(const il_allocator *allocator, il_corpus *corpus) {
    for (size_t i = 0; i < corpus->n_files; i++) il_on_disk_close(&corpus->files[i].disk);
    il_tokens_free(&corpus->tokens);
    il_free(allocator, corpus->files);
    il_free(allocator, corpus->window);
    *corpus = (il_corpus){0};
}

/* ---- reading ---- */

/* The file that holds the token at `at` < corpus.n. */
static size_t file_of(const il_corpus *c, uint64_t at) {
    size_t low = 0, high = c->n_files; /* files[low].first <= at < files[high].first; none is empty on the way there */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (c->files[middle].first <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Notes that a file is open now; of too many the oldest is closed. */
static void keep_open(il_corpus *c, size_t file) {
    if (c->n_opened == IL_CORPUS_OPEN_MAX) il_on_disk_rest(&c->files[c->opened[c->next_opened]].disk);
    if (c->n_opened < IL_CORPUS_OPEN_MAX) c->n_opened++;
    c->opened[c->next_opened] = file;
    c->next_opened = (c->next_opened + 1) % IL_CORPUS_OPEN_MAX;
}

static il_status read_file(il_corpus *c, size_t file, uint64_t at, size_t n, int32_t *ids, il_error *error) {
    il_corpus_file *f = &c->files[file];
    int opened = 0;
    if (!f->disk.path) {
        memcpy(ids, c->tokens.ids + f->at + (size_t)at, n * sizeof *ids);
        return IL_OK;
    }
    il_status status = il_on_disk_read(&f->disk, at, n, c->vocab_size, ids, &opened, error);
    if (opened && f->disk.fd >= 0) keep_open(c, file);
    return status;
}

il_status il_corpus_read(il_corpus *c, uint64_t at, size_t n, int32_t *ids, il_error *error) {
    for (size_t file = file_of(c, at); n; file++) {
        const il_corpus_file *f = &c->files[file];
        uint64_t from = at - f->first, left = f->tokens - from;
        size_t m = left < n ? (size_t)left : n;
        if (m) IL_TRY(read_file(c, file, from, m, ids, error));
        at += m, ids += m, n -= m;
    }
    return IL_OK;
}

il_status il_corpus_view(il_corpus *c, uint64_t at, const int32_t **ids, size_t *n, il_error *error) {
    size_t file = file_of(c, at);
    const il_corpus_file *f = &c->files[file];
    uint64_t from = at - f->first, left = f->tokens - from;
    *n = f->disk.path && left > WINDOW ? WINDOW : (size_t)left;
    if (!f->disk.path) {
        *ids = c->tokens.ids + f->at + (size_t)from;
        return IL_OK;
    }
    if (!c->window) c->window = il_alloc_raw(c->allocator, WINDOW, sizeof *c->window);
    if (!c->window) return il_fail(error, IL_ERR_NOMEM, "no memory to read tokens");
    *ids = c->window;
    return read_file(c, file, from, *n, c->window, error);
}

static il_status hash_tokens(il_corpus *c, uint64_t from, uint64_t to, XXH3_state_t *state, il_error *error) {
    for (uint64_t at = from; at < to;) {
        const int32_t *ids;
        size_t n;
        IL_TRY(il_corpus_view(c, at, &ids, &n, error));
        if (n > to - at) n = (size_t)(to - at);
        XXH3_128bits_update(state, ids, n * sizeof *ids);
        at += n;
    }
    return IL_OK;
}

static il_status hash_file_of(il_corpus *c, const il_corpus_file *f, XXH3_state_t *state, il_error *error) {
    unsigned char digest[sizeof f->digest];
    uint64_t first = f->first, last = first + f->tokens, ends = f->tokens < ENDS ? f->tokens : ENDS;
    memcpy(digest, f->digest, sizeof digest);
    XXH3_128bits_update(state, &f->tokens, sizeof f->tokens);
    if (!f->is_text && !f->marked) {
        IL_TRY(hash_tokens(c, first, first + ends, state, error));
        return hash_tokens(c, last - ends, last, state, error);
    }
    if (!f->marked)
        IL_TRY(il_shard_digest(c->allocator, c->tokens.ids + f->at, (size_t)f->tokens, c->text_vocab, digest, error));
    XXH3_128bits_update(state, digest, sizeof digest);
    return IL_OK;
}

il_status il_corpus_fingerprint(il_corpus *c, int of_tokens, char hex[33], il_error *error) {
    XXH3_state_t *state = il_alloc(c->allocator, 1, sizeof *state);
    il_status status = IL_OK;
    if (!state) return il_fail(error, IL_ERR_NOMEM, "no memory to hash tokens");
    XXH3_128bits_reset(state);
    if (of_tokens) status = hash_tokens(c, 0, c->n, state, error);
    for (size_t i = 0; i < c->n_files && !of_tokens && status == IL_OK; i++)
        status = hash_file_of(c, &c->files[i], state, error);
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    if (status == IL_OK) il_hex128(hash.high64, hash.low64, hex);
    il_free(c->allocator, state);
    return status;
}
