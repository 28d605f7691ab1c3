/* corpus.h: files of any readable kind to one stream of tokens in memory, and the cache of tokenized text on
 * disk. */
#ifndef IL_TEXT_CORPUS_H
#define IL_TEXT_CORPUS_H

#include "innerloop.h"

typedef struct il_corpus {
    il_tokens tokens; /* all files, one after the other */
    size_t *starts;   /* [files] where each file's tokens begin */
    size_t files;
    uint64_t text_bytes; /* 0 when not known for every file */
} il_corpus;

/* tokenizer may be NULL when all files are shards; cache_dir NULL: no cache. Release with il_corpus_free, on
 * failure too. */
il_status il_corpus_load(il_engine *engine, const char *const *files, size_t n_files,
                         const il_documents_options *options, const il_tokenizer *tokenizer, int vocab_size,
                         const char *cache_dir, il_corpus *corpus, il_error *error);
void il_corpus_free(const il_allocator *allocator, il_corpus *corpus);

#endif
