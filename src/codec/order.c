/* order.c: see order.h. */
#include "codec/order.h"

#include "base/error.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    const char *text; /* in the block of all texts; known once that has stopped growing */
    size_t bytes, from;
    int32_t token;
} entry;

static int compare(const void *first, const void *second) {
    const entry *a = first, *b = second;
    if (!a->bytes != !b->bytes) return a->bytes ? -1 : 1;
    int order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
    if (order) return order;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? -1 : 1;
    return a->token < b->token ? -1 : 1;
}

/* entries [vocab]; *texts: what they point into, owed to il_free also after a failure. */
static il_status list(const il_allocator *memory, const il_tokenizer *tokenizer, int vocab, entry *entries,
                      void **texts, il_error *error) {
    il_tokenizer_info info;
    size_t most = il_tokenizer_piece_bytes_max(tokenizer), used = 0, capacity = 0;
    il_tokenizer_get_info(tokenizer, &info);
    for (int i = 0; i < vocab; i++) {
        il_decoder decoder = {.form = IL_DECODE_EXACT, .started = 1};
        size_t bytes = 0;
        if (!il_grow(memory, texts, &capacity, used, used + most, 1))
            return il_fail(error, IL_ERR_NOMEM, "no memory for the texts of %d tokens", vocab);
        if (i < info.vocab_size) {
            il_status status =
                il_tokenizer_decode(tokenizer, &decoder, i, (char *)*texts + used, capacity - used, &bytes, error);
            if (status) return status;
        }
        entries[i] = (entry){.bytes = bytes, .from = used, .token = i};
        used += bytes;
    }
    for (int i = 0; i < vocab; i++) entries[i].text = (const char *)*texts + entries[i].from;
    return IL_OK;
}

il_status il_order_by_text(const il_allocator *memory, const il_tokenizer *tokenizer, int vocab, int32_t *order,
                           il_error *error) {
    void *texts = NULL;
    entry *entries = il_alloc(memory, (size_t)vocab, sizeof *entries);
    if (!entries) return il_fail(error, IL_ERR_NOMEM, "no memory for the texts of %d tokens", vocab);
    il_status status = list(memory, tokenizer, vocab, entries, &texts, error);
    if (!status) {
        qsort(entries, (size_t)vocab, sizeof *entries, compare);
        for (int i = 0; i < vocab; i++) order[i] = entries[i].token;
    }
    il_free(memory, texts);
    il_free(memory, entries);
    return status;
}
