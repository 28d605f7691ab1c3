/* pretokenize.h: the patterns by which tokenizers cut text into words before they merge anything. Each is a small
 * matcher written for one regular expression; one that is not known by its very text is refused by whoever asks. */
#ifndef IL_TEXT_PRETOKENIZE_H
#define IL_TEXT_PRETOKENIZE_H

#include "innerloop.h"

typedef enum il_pattern {
    IL_PATTERN_GPT2,
    IL_PATTERN_LLAMA3,
    IL_PATTERN_QWEN2,
    IL_PATTERN_QWEN35,
    IL_PATTERN_DIGIT,  /* each \p{N} for itself, and what lies between */
    IL_PATTERN_DIGITS, /* runs of \p{N}, and what lies between */
    IL_PATTERN_MARK,   /* U+2581 begins a word; in text that is not normalized yet a space does, too */
    IL_PATTERN_MARKS   /* a run of them does */
} il_pattern;

/* 0 when the regular expression [bytes] is none of those known. */
int il_pattern_find(const char *regex, size_t bytes, il_pattern *pattern);
/* The regular expression; NULL: it has none. */
const char *il_pattern_text(il_pattern pattern);
/* Where the word ends that begins at `at` < bytes. */
size_t il_pattern_end(il_pattern pattern, const char *text, size_t bytes, size_t at);
/* Whether the words of text are those of its first `at` bytes and those of the rest, 0 < at < bytes, also after NFC.
 * Says no when in doubt. */
int il_pattern_may_cut(il_pattern pattern, const char *text, size_t bytes, size_t at);

#endif
