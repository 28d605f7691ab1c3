/* unicode_tables.h: made by tools/unicode_tables from what Hugging Face's tokenizers 0.23.3 does: classes of Unicode
 * 16.0, normalization of about Unicode 11. */
#ifndef IL_TEXT_UNICODE_TABLES_H
#define IL_TEXT_UNICODE_TABLES_H

#include <stdint.h>

enum {
    IL_UNICODE_CLASSES = 2221,
    IL_UNICODE_COMBINING = 496,
    IL_UNICODE_PAIRS = 1025,
    IL_UNICODE_SINGLES = 1035,
    IL_UNICODE_COMPOSED = 940
};

/* start << 8 | value: of all code points from start up to the next start. The values are bits of unicode.h, and
 * canonical combining classes. */
extern const uint32_t il_unicode_classes[IL_UNICODE_CLASSES];
extern const uint32_t il_unicode_combining[IL_UNICODE_COMBINING];
/* Canonical decompositions, ascending: into two, and into one. */
extern const uint32_t il_unicode_pairs[IL_UNICODE_PAIRS][3];
extern const uint32_t il_unicode_singles[IL_UNICODE_SINGLES][2];
/* The pairs that compose, ascending by the two that they are composed of. */
extern const uint16_t il_unicode_composed[IL_UNICODE_COMPOSED];

#endif
