/* contexts.c: see contexts.h. A context has two places, the one with fewer counts is given up. */
#include "mix/contexts.h"

#include <string.h>

enum { LEAF_BITS = 24, COUNT_MAX = 255 };

static uint32_t leaf_of(uint32_t follower) { return follower & ((1U << LEAF_BITS) - 1); }
static uint32_t count_of(uint32_t follower) { return follower >> LEAF_BITS; }

static uint32_t total(const il_context *context) {
    uint32_t n = 0;
    for (int i = 0; i < IL_FOLLOWERS; i++) n += count_of(context->followers[i]);
    return n;
}

static uint32_t place_of(const il_contexts *c, uint32_t hash) { return (hash * 0x2545F491U) >> (32 - c->bits); }

static il_context *find(il_contexts *c, uint32_t hash) {
    uint32_t at = place_of(c, hash), check = hash | 1;
    il_context *one = &c->table[at], *other = &c->table[at ^ 1];
    if (one->check == check) return one;
    if (other->check == check) return other;
    if (total(other) < total(one)) one = other;
    *one = (il_context){.check = check};
    return one;
}

void il_contexts_fetch(const il_contexts *c, const uint32_t *hash) {
    for (int k = 0; k < IL_CONTEXTS; k++) __builtin_prefetch(&c->table[place_of(c, hash[k])], 1);
}

uint32_t il_contexts_last(const il_contexts *c, int context) { return leaf_of(c->now[context]->followers[0]); }

/* Four followers, or their counts, or a mask of each. */
typedef uint32_t vector4 __attribute__((vector_size(16), may_alias));

static vector4 *lanes_of(const il_contexts *c, int context) { return (vector4 *)c->left[context]; }

static uint32_t sum(vector4 x) { return (x[0] + x[2]) + (x[1] + x[3]); }

/* All ones where the bit at `shift` is 1. */
static vector4 mask_of(vector4 followers, int shift) { return -(followers >> shift & 1); }

void il_contexts_begin(il_contexts *c, const uint32_t *hash) {
    for (int k = 0; k < IL_CONTEXTS; k++) {
        c->now[k] = find(c, hash[k]);
        memcpy(c->left[k], c->now[k]->followers, sizeof c->now[k]->followers);
        c->left[k][IL_FOLLOWERS] = 0;
        c->all[k] = total(c->now[k]);
    }
}

void il_contexts_counts(const il_contexts *c, int shift, il_counts *counts) {
    for (int k = 0; k < IL_CONTEXTS; k++) {
        counts[k] = (il_counts){.last = 2};
        if (!c->all[k]) continue;
        const vector4 *left = lanes_of(c, k);
        counts[k].ones =
            sum((left[0] >> LEAF_BITS & mask_of(left[0], shift)) + (left[1] >> LEAF_BITS & mask_of(left[1], shift)));
        counts[k].zeros = c->all[k] - counts[k].ones;
        if (!counts[k].zeros || !counts[k].ones) continue;
        int i = 0;
        while (!c->left[k][i]) i++;
        counts[k].last = (int)(c->left[k][i] >> shift & 1);
    }
}

void il_contexts_go_on(il_contexts *c, int shift, int bit) {
    uint32_t other = bit ? 0 : UINT32_MAX;
    for (int k = 0; k < IL_CONTEXTS; k++) {
        if (!c->all[k]) continue;
        vector4 *left = lanes_of(c, k);
        left[0] &= mask_of(left[0], shift) ^ other;
        left[1] &= mask_of(left[1], shift) ^ other;
        c->all[k] = sum((left[0] >> LEAF_BITS) + (left[1] >> LEAF_BITS));
    }
}

/* The leaf comes to the front, with one more; the others fade: what has not come for long should not outweigh it. */
static void follow(il_context *context, int order, uint32_t leaf) {
    uint32_t *f = context->followers, n = 0;
    int at = IL_FOLLOWERS - 1;
    for (int i = 0; i < IL_FOLLOWERS; i++)
        if (f[i] && leaf_of(f[i]) == leaf) {
            at = i;
            n = count_of(f[i]);
            break;
        }
    if (!n) /* in the place of the rarest; of equals the oldest; a free one counts 0 */
        for (int i = at - 1; i >= 0; i--)
            if (count_of(f[i]) < count_of(f[at])) at = i;
    memmove(f + 1, f, (size_t)at * sizeof *f);
    f[0] = (n < COUNT_MAX ? n + 1 : n) << LEAF_BITS | leaf;
    for (int i = 1; i < IL_FOLLOWERS && f[i]; i++) {
        uint32_t count = count_of(f[i]);
        if (count > 1) count -= (count + 1) / (order == 1 ? 8 : 3);
        f[i] = count << LEAF_BITS | leaf_of(f[i]);
    }
}

void il_contexts_end(il_contexts *c, uint32_t leaf) {
    for (int k = 0; k < IL_CONTEXTS; k++) follow(c->now[k], k + 1, leaf);
}
