/* reader.h: documents out of text files: .txt (one document), .jsonl (one a line, its "text") and .jsonl.zst.
 * Owns files, lines and decompression; knows nothing of tokens. */
#ifndef IL_TEXT_READER_H
#define IL_TEXT_READER_H

#include "innerloop.h"

enum { IL_LINE_BYTES_MAX = 256 << 20 };

/* Receives one document; what it returns other than IL_OK ends the reading and is returned. text is valid
 * during the call. */
typedef il_status (*il_document_take)(void *context, const char *text, size_t bytes, il_error *error);

/* 1 for names that end in .txt, .jsonl or .jsonl.zst. */
int il_documents_known(const char *path);
/* Gives out the documents of path in order. Lines longer than line_bytes_max (0: IL_LINE_BYTES_MAX), empty
 * files and files without documents are errors; empty lines are skipped. */
il_status il_documents_read(const il_allocator *allocator, const char *path, size_t line_bytes_max,
                            il_document_take take, void *context, il_error *error);
/* The same for a file's bytes in memory; path tells the format and stands in messages. */
il_status il_documents_parse(const il_allocator *allocator, const char *path, const void *data, size_t bytes,
                             size_t line_bytes_max, il_document_take take, void *context, il_error *error);

#endif
