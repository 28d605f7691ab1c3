/* attention_keys.h: where the keys and values of attention lie, in key blocks of a head, K^T [d][64] then V [64][d], at
 * absolute positions. Full attention: in pages that grow with the sequence. Sliding attention: in a ring of blocks in
 * the state, which reaches back far enough to rewind; on a tape in blocks of its own besides, because a segment of
 * training may be longer than the ring, and backward needs all of it. */
#ifndef IL_MODEL_ATTENTION_KEYS_H
#define IL_MODEL_ATTENTION_KEYS_H

#include "model/attention.h"
#include "model/mixer.h"

/* Tokens of a sequence that sliding attention takes at once without a tape. */
enum { IL_SLIDING_TOKENS = 512 };

/* The key block of a position, from the first that the segment sees to its last; start: the segment's first. */
float *il_attention_keys(const il_pass *pass, int layer, int segment, uint64_t start, uint64_t position, int kv_head);
/* Stores acts->k and v of a head: of the tokens from position `start` on in rows first .. first+n-1. */
void il_attention_keys_store(const il_pass *pass, int layer, int segment, int first, int n, uint64_t start,
                             int kv_head);
/* Takes the blocks of a tape. */
void il_attention_keys_take(il_arena *arena, const il_model *model, int layer, const il_acts_size *size, il_acts *acts);

/* Functions of the mixers (mixer.h). */
void il_attention_keep_ring(il_arena *arena, const il_state *state, int layer, il_kept *kept);
size_t il_attention_page_floats(const il_model *model, int layer);
int il_attention_tensors(const il_model *model, int layer, const il_extent *extent, il_kept_tensor *list);
il_status il_attention_visit(const il_state *state, int layer, const il_kept_tensor *tensor, il_visitor *visitor);
size_t il_attention_room(const il_model *model, int layer);

#endif
