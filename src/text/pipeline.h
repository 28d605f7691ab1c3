/* pipeline.h: what a tokenizer.json describes, from a text to its tokens: added tokens are cut out, what is between
 * them is normalized and cut into words, and merges make tokens of each word. tokenizer_json.h reads it from a file. */
#ifndef IL_TEXT_PIPELINE_H
#define IL_TEXT_PIPELINE_H

#include "innerloop.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pretokenize.h"

enum { IL_PATTERNS_MAX = 4 };

/* When U+2581, or with bytes a space, is put before text that does not begin with one. */
typedef enum il_prefix { IL_PREFIX_NEVER, IL_PREFIX_FIRST, IL_PREFIX_ALWAYS } il_prefix;

typedef struct il_pipeline {
    const il_allocator *memory;
    il_bpe bpe;
    il_added raw, normalized; /* found in the text as it is, and in the normalized text */
    int nfc;
    int prepend;                          /* the normalizer puts U+2581 before every text */
    int marks_spaces;                     /* ... and spaces become U+2581 */
    int mark_later;                       /* it is the pre-tokenizer that does this */
    il_prefix prefix;                     /* of the pre-tokenizer */
    il_pattern patterns[IL_PATTERNS_MAX]; /* [n_patterns] words of words */
    int n_patterns;
    int cuttable;     /* il_pipeline_cut may find a place */
    int strips_space; /* decoding takes away one space at the beginning */
    int bos, eos;     /* what the template puts before and behind a text; -1: nothing */
} il_pipeline;

void il_pipeline_begin(const il_allocator *memory, il_pipeline *pipeline);
void il_pipeline_free(il_pipeline *pipeline);

/* Two calls for whoever fills a pipeline. The first adds a token to `normalized`, whose content the normalizer changes
 * too, so that one must be set; 0 when memory is short. The second comes last. */
int il_pipeline_add_normalized(il_pipeline *pipeline, const char *content, size_t bytes, il_added_token token);
void il_pipeline_finish(il_pipeline *pipeline);

/* Appends the tokens of text [bytes] to tokens; 0 when memory is short, some may then be there. special: 1 where
 * special tokens are those that are written out in text, 0 where they are text. begins: 0 where text goes on from a
 * place that il_pipeline_cut found. */
int il_pipeline_encode(const il_pipeline *pipeline, const char *text, size_t bytes, int special, int begins,
                       il_tokens *tokens);
/* The last place at which a text that begins with these bytes, and may go on, can be cut without changing a token; 0:
 * none. */
size_t il_pipeline_cut(const il_pipeline *pipeline, const char *text, size_t bytes);

#endif
