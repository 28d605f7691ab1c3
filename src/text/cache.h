/* cache.h: tokens of text files that are kept on disk. */
#ifndef IL_TEXT_CACHE_H
#define IL_TEXT_CACHE_H

#include "text/documents.h"
#include "text/on_disk.h"

/* The tokens of a file's documents, from the cache in dir or into it: appended to tokens, or with disk left there,
 * which opens *disk, if the place in the cache is free for it. */
il_status il_cache_tokens(il_engine *engine, const char *path, il_documents *documents,
                          const il_documents_options *options, const il_tokenizer *tokenizer, const char *dir,
                          il_tokens *tokens, il_on_disk *disk, uint64_t *text_bytes, il_error *error);

#endif
