/* data_tokenize.c: il_data_tokenize: a token shard for each of several text files; il_data_write: one of any tokens.
 * Owns where the shards are; refuses to put one in the place of a text. */
#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/temporary.h"
#include "engine/engine.h"
#include "text/format.h"
#include "text/tokenize.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

typedef struct folder {
    const char *dir;
    size_t existed; /* of its name, before it was made */
    int made, watch;
} folder;

/* Not before there is something to put there. */
static il_status make_folder(il_engine *engine, folder *f, il_error *error) {
    static const char *const nothing[] = {NULL};
    if (f->made) return IL_OK;
    IL_TRY(il_dir_make(&engine->memory, f->dir, &f->existed, error));
    f->made = 1;
    if (f->existed < strlen(f->dir)) f->watch = il_temporary_watch(f->dir, nothing, f->existed);
    return IL_OK;
}

static il_status tokenize_file(il_engine *engine, const char *file, const il_documents_options *options,
                               const il_tokenizer *tokenizer, folder *f, uint64_t *tokens, il_error *error) {
    il_documents *documents;
    char *path = NULL;
    uint64_t made = 0, text_bytes;
    IL_TRY(il_documents_open(engine, file, options, &documents, error));
    il_status status = make_folder(engine, f, error);
    if (status == IL_OK) status = shard_path(engine, f->dir, file, &path, error);
    if (status == IL_OK)
        status = il_documents_shard(engine, file, documents, tokenizer, path, &made, &text_bytes, error);
    *tokens += made;
    il_free(&engine->memory, path);
    il_documents_close(documents);
    return status;
}

il_status il_data_tokenize(il_engine *engine, const char *const *files, size_t n_files,
                           const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                           uint64_t *tokens, il_error *error) {
    folder f = {.dir = dir, .existed = strlen(dir)};
    uint64_t total = 0;
    if (tokens) *tokens = 0;
    if (n_files == 0) return il_fail(error, IL_ERR_ARG, "no text files");
    IL_TRY(check_names(files, n_files, error));
    IL_TRY(check_shards(engine, files, n_files, dir, error));
    il_status status = IL_OK;
    for (size_t i = 0; i < n_files && status == IL_OK; i++)
        status = tokenize_file(engine, files[i], options, tokenizer, &f, &total, error);
    if (status != IL_OK && f.existed < strlen(dir)) il_dir_unmake(&engine->memory, dir, f.existed); /* if it is empty */
    il_temporary_unwatch(f.watch);
    if (status == IL_OK && tokens) *tokens = total;
    return status;
}

il_status il_data_write(il_engine *engine, const il_tokenizer *tokenizer, const char *dir, const char *name,
                        const int32_t *tokens, size_t n, il_error *error) {
    il_tokenizer_info info;
    size_t existed;
    char *path;
    il_tokenizer_get_info(tokenizer, &info);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= info.vocab_size)
            return il_fail(error, IL_ERR_ARG, "token %zu is %d, outside the vocabulary of %d", i, tokens[i],
                           info.vocab_size);
    IL_TRY(shard_path(engine, dir, name, &path, error));
    il_status status = il_dir_make(&engine->memory, dir, &existed, error);
    if (status == IL_OK) {
        status = il_shard_write(&engine->memory, path, tokens, n, info.vocab_size, 0, error);
        if (status == IL_OK) status = il_tokenizer_save(tokenizer, dir, error);
        if (status != IL_OK) il_dir_unmake(&engine->memory, dir, existed); /* if it is empty */
    }
    il_free(&engine->memory, path);
    return status;
}
