/* corpus.h: files of any readable kind to one stream of tokens, in memory or where the files are, and the cache of
 * tokenized text on disk. */
#ifndef IL_TEXT_CORPUS_H
#define IL_TEXT_CORPUS_H

#include "text/on_disk.h"

enum { IL_CORPUS_OPEN_MAX = 32 /* files on disk that are open at the same time */ };

typedef struct il_corpus_file {
    uint64_t first, tokens; /* of the stream */
    size_t at;              /* in memory: of corpus.tokens */
    il_on_disk disk;        /* path NULL: in memory */
    int is_text, marked;    /* marked: it is a shard of ours, whose checksum follows */
    unsigned char digest[16];
} il_corpus_file;

typedef struct il_corpus {
    const il_allocator *allocator;
    int vocab_size, text_vocab; /* of the model; of the tokenizer */
    uint64_t n;                 /* tokens of all files, one after the other */
    il_tokens tokens;           /* those in memory */
    il_corpus_file *files;      /* [n_files] */
    size_t n_files;
    int on_disk;                                              /* some are */
    uint64_t text_bytes;                                      /* 0 when not known for every file */
    int32_t *window;                                          /* of il_corpus_view */
    size_t opened[IL_CORPUS_OPEN_MAX], n_opened, next_opened; /* a ring: which files are open */
} il_corpus;

/* tokenizer may be NULL when all files are tokens; cache_dir NULL: no cache. memory_max: bytes of files; when there are
 * more of them, what can stay on disk does: files of tokens that are not compressed, and the cache of texts. 0: all is
 * loaded. Release with il_corpus_free, on failure too. */
il_status il_corpus_load(il_engine *engine, const char *const *files, size_t n_files,
                         const il_documents_options *options, const il_tokenizer *tokenizer, int vocab_size,
                         const char *cache_dir, uint64_t memory_max, il_corpus *corpus, il_error *error);
void il_corpus_free(const il_allocator *allocator, il_corpus *corpus);
/* Tokens at .. at+n-1 of the stream. */
il_status il_corpus_read(il_corpus *corpus, uint64_t at, size_t n, int32_t *ids, il_error *error);
/* Some of the tokens from `at` on, all of one file, without copying what is in memory: *ids [*n], until the next
 * call. */
il_status il_corpus_view(il_corpus *corpus, uint64_t at, const int32_t **ids, size_t *n, il_error *error);
/* 32 hex digits that tell one stream from another, wherever its files are and whether they are in memory. of_tokens 1:
 * of the tokens, which reads all of them; 0: of what the files say: how many tokens there are and their checksum or,
 * where a file has none, some at its beginning and end. */
il_status il_corpus_fingerprint(il_corpus *corpus, int of_tokens, char hex[33], il_error *error);

#endif
