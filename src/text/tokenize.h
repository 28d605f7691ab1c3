/* tokenize.h: documents to one stream of tokens, by all threads of an engine: the same for any number of them. */
#ifndef IL_TEXT_TOKENIZE_H
#define IL_TEXT_TOKENIZE_H

#include "text/documents.h"
#include "text/shard.h"
#include "text/tokenizer.h"

/* All documents of a file, each preceded by the tokenizer's BOS if it has one, appended to tokens, or to a shard, or to
 * both (NULL: not there); on failure tokens are as they were. path is for messages. Holds about 1 MiB for each thread,
 * or a document where it cannot be cut. */
il_status il_documents_tokenize(il_engine *engine, const char *path, il_documents *documents,
                                const il_tokenizer *tokenizer, il_tokens *tokens, il_shard_writer *shard,
                                uint64_t *text_bytes, il_error *error);
/* The same into the shard `out`, which is there whole or not at all; *tokens counts them also on failure. */
il_status il_documents_shard(il_engine *engine, const char *path, il_documents *documents,
                             const il_tokenizer *tokenizer, const char *out, uint64_t *tokens, uint64_t *text_bytes,
                             il_error *error);
/* Ends a shard of the tokens of documents that were read whole. */
il_status il_documents_finish_shard(const il_documents *documents, il_shard_writer *shard, uint64_t text_bytes,
                                    il_error *error);

#endif
