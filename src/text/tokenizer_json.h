/* tokenizer_json.h: reads a tokenizer.json. */
#ifndef IL_TEXT_TOKENIZER_JSON_H
#define IL_TEXT_TOKENIZER_JSON_H

#include "innerloop.h"
#include "text/pipeline.h"

enum { IL_TOKENIZER_JSON_MAX = 1 << 28 };

/* text [bytes] need not outlive the pipeline. path is for messages. Release with il_pipeline_free, on failure too. */
il_status il_tokenizer_json_read(const il_allocator *memory, const char *path, const char *text, size_t bytes,
                                 il_pipeline *pipeline, il_error *error);

#endif
