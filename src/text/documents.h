/* documents.h: il_documents inside the library: texts out of files of any kind. Owns lines, JSON and byte order marks;
 * knows nothing of tokens. */
#ifndef IL_TEXT_DOCUMENTS_H
#define IL_TEXT_DOCUMENTS_H

#include "innerloop.h"
#include "text/source.h"

enum { IL_DOCUMENT_BYTES_MAX = 256 << 20 };

/* il_documents_open, also of files that hold tokens (il_documents_format), whose bytes are the source's. */
il_status il_documents_open_any(il_engine *engine, const char *path, const il_documents_options *options,
                                il_documents **documents, il_error *error);
il_source *il_documents_source(il_documents *documents);
const il_documents_options *il_documents_options_of(const il_documents *documents);
/* Bad lines that were skipped so far, and the number of the first, from 1. */
uint64_t il_documents_skipped(const il_documents *documents, uint64_t *first);

#endif
