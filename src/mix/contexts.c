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

void il_contexts_begin(il_contexts *c, const uint32_t *hash) {
    for (int k = 0; k < IL_CONTEXTS; k++) __builtin_prefetch(&c->table[place_of(c, hash[k])], 1);
    for (int k = 0; k < IL_CONTEXTS; k++) {
        c->now[k] = find(c, hash[k]);
        c->n_left[k] = 0;
        for (int i = 0; i < IL_FOLLOWERS && c->now[k]->followers[i]; i++)
            c->left[k][c->n_left[k]++] = c->now[k]->followers[i];
    }
}

il_counts il_contexts_counts(const il_contexts *c, int context, int shift) {
    il_counts counts = {.last = 2};
    for (int i = 0; i < c->n_left[context]; i++) {
        uint32_t follower = c->left[context][i];
        if (leaf_of(follower) >> shift & 1)
            counts.ones += count_of(follower);
        else
            counts.zeros += count_of(follower);
    }
    if (counts.zeros && counts.ones) counts.last = (int)(leaf_of(c->left[context][0]) >> shift & 1);
    return counts;
}

void il_contexts_go_on(il_contexts *c, int shift, int bit) {
    for (int k = 0; k < IL_CONTEXTS; k++) {
        int n = 0;
        for (int i = 0; i < c->n_left[k]; i++)
            if ((int)(leaf_of(c->left[k][i]) >> shift & 1) == bit) c->left[k][n++] = c->left[k][i];
        c->n_left[k] = n;
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
