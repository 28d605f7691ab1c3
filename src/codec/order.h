/* order.h: the tokens of a vocabulary in the order of their texts. */
#ifndef IL_CODEC_ORDER_H
#define IL_CODEC_ORDER_H

#include "base/memory.h"

/* order [vocab]: all tokens, first those with text by its bytes, as unsigned numbers; of equal ones the lower id; then
 * those without, also those that the tokenizer does not know. */
il_status il_order_by_text(const il_allocator *memory, const il_tokenizer *tokenizer, int vocab, int32_t *order,
                           il_error *error);

#endif
