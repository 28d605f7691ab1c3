/* bpe.c: see bpe.h. A word's merges are done lowest rank first, leftmost of equals first. A short word is searched
 * through for the next merge; a long one has a heap of candidates. A candidate is stale when the pair that it was made
 * for is not there any more, which its rank tells, since no two pairs have the same. */
#include "text/bpe.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <string.h>
#include <xxhash.h>

enum { SHORT = 48, SLOTS_MIN = 1024 };
static const uint32_t NONE = UINT32_MAX;

void il_bpe_begin(const il_allocator *memory, il_bpe *b) {
    *b = (il_bpe){.memory = memory, .unk = -1};
    for (int i = 0; i < 256; i++) b->byte_ids[i] = -1;
}

void il_bpe_free(il_bpe *b) {
    if (!b->memory) return;
    il_free(b->memory, b->text);
    il_free(b->memory, b->tokens);
    il_free(b->memory, b->slots);
    il_free(b->memory, b->merges);
    *b = (il_bpe){0};
}

/* ---- tokens ---- */

static size_t token_slot(const il_bpe *b, const char *text, size_t bytes) {
    size_t slot = XXH3_64bits(text, bytes) & (b->slots_n - 1);
    for (; b->slots[slot]; slot = (slot + 1) & (b->slots_n - 1)) {
        const il_bpe_token *t = &b->tokens[b->slots[slot] - 1];
        if (t->bytes == bytes && memcmp(b->text + t->at, text, bytes) == 0) break;
    }
    return slot;
}

int il_bpe_find(const il_bpe *b, const char *text, size_t bytes) {
    return b->slots_n ? (int)b->slots[token_slot(b, text, bytes)] - 1 : -1;
}

/* Twice as many slots, where one more token would fill half of them. */
static int token_room(il_bpe *b) {
    if (2 * (b->named + 1) <= b->slots_n) return 1;
    size_t old_n = b->slots_n, n = old_n ? 2 * old_n : SLOTS_MIN;
    uint32_t *old = b->slots, *slots = il_alloc(b->memory, n, sizeof *slots);
    if (!slots) return 0;
    b->slots = slots;
    b->slots_n = n;
    for (size_t i = 0; i < old_n; i++) {
        if (!old[i]) continue;
        const il_bpe_token *t = &b->tokens[old[i] - 1];
        slots[token_slot(b, b->text + t->at, t->bytes)] = old[i];
    }
    il_free(b->memory, old);
    return 1;
}

static int text_room(il_bpe *b, size_t bytes) {
    void *block = b->text;
    int grown = b->text_bytes + bytes <= UINT32_MAX &&
                il_grow(b->memory, &block, &b->text_capacity, b->text_bytes, b->text_bytes + bytes, 1);
    b->text = block;
    return grown;
}

int il_bpe_add(il_bpe *b, uint32_t id, il_bpe_type type, const char *text, size_t bytes) {
    void *block = b->tokens;
    int grown = il_grow(b->memory, &block, &b->capacity, b->n, id + 1, sizeof *b->tokens);
    b->tokens = block;
    if (!grown || !text_room(b, bytes) || !token_room(b)) return 0;
    if (id >= b->n) memset(b->tokens + b->n, 0, (id + 1 - b->n) * sizeof *b->tokens);
    if (id >= b->n) b->n = id + 1;
    b->tokens[id] =
        (il_bpe_token){.at = (uint32_t)b->text_bytes, .bytes = (uint32_t)bytes, .type = (unsigned char)type};
    if (bytes) memcpy(b->text + b->text_bytes, text, bytes);
    b->text_bytes += bytes;
    if (type != IL_BPE_TEXT && type != IL_BPE_BYTE) return 1;
    b->slots[token_slot(b, text, bytes)] = id + 1;
    b->named++;
    return 1;
}

/* ---- merges ---- */

static size_t merge_slot(const il_bpe *b, uint32_t left, uint32_t right) {
    uint64_t key = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    size_t slot = (key >> 32 ^ key >> 15) & (b->merges_n - 1);
    while (b->merges[slot].rank != NONE && (b->merges[slot].left != left || b->merges[slot].right != right))
        slot = (slot + 1) & (b->merges_n - 1);
    return slot;
}

const il_bpe_merge *il_bpe_merge_find(const il_bpe *b, uint32_t left, uint32_t right) {
    if (!b->merges_n) return NULL;
    const il_bpe_merge *merge = &b->merges[merge_slot(b, left, right)];
    return merge->rank == NONE ? NULL : merge;
}

static int merge_room(il_bpe *b) {
    if (2 * (b->pairs + 1) <= b->merges_n) return 1;
    size_t old_n = b->merges_n, n = old_n ? 2 * old_n : SLOTS_MIN;
    il_bpe_merge *old = b->merges, *merges = il_alloc_raw(b->memory, n, sizeof *merges);
    if (!merges) return 0;
    memset(merges, 255, n * sizeof *merges); /* every rank is NONE */
    b->merges = merges;
    b->merges_n = n;
    for (size_t i = 0; i < old_n; i++)
        if (old[i].rank != NONE) merges[merge_slot(b, old[i].left, old[i].right)] = old[i];
    il_free(b->memory, old);
    return 1;
}

int il_bpe_merge_add(il_bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t id) {
    if (!merge_room(b)) return 0;
    il_bpe_merge *merge = &b->merges[merge_slot(b, left, right)];
    b->pairs += merge->rank == NONE;
    *merge = (il_bpe_merge){left, right, rank, id};
    return 1;
}

static uint32_t rank_of(const il_bpe *b, uint32_t left, uint32_t right) {
    const il_bpe_merge *merge = il_bpe_merge_find(b, left, right);
    return merge ? merge->rank : NONE;
}

/* ---- words ---- */

static void split_characters(const il_bpe *b, il_bpe_scratch *s, const char *word, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        int length = il_utf8_length(word + at, bytes - at);
        int id = length ? il_bpe_find(b, word + at, (size_t)length) : -1;
        if (id >= 0) {
            s->ids[s->n++] = (uint32_t)id;
            at += (size_t)length;
            continue;
        }
        do s->ids[s->n++] = (uint32_t)b->byte_ids[(unsigned char)word[at++]];
        while (--length > 0);
    }
}

/* The symbols that a word begins as. */
static int split(const il_bpe *b, il_bpe_scratch *s, const char *word, size_t bytes) {
    void *block = s->ids;
    int grown = il_grow(b->memory, &block, &s->ids_capacity, 0, bytes, sizeof *s->ids);
    s->ids = block;
    s->n = 0;
    if (!grown) return 0;
    if (b->by_characters) {
        split_characters(b, s, word, bytes);
        return 1;
    }
    int unknown = 0;
    for (size_t i = 0; i < bytes; i++) {
        int id = b->byte_ids[(unsigned char)word[i]];
        int again = unknown && b->fuse_unk;
        unknown = id < 0;
        if (unknown) id = again ? -1 : b->unk;
        if (id >= 0) s->ids[s->n++] = (uint32_t)id;
    }
    return 1;
}

static void merge_short(const il_bpe *b, il_bpe_scratch *s) {
    uint32_t ranks[SHORT], *ids = s->ids;
    size_t n = s->n;
    for (size_t i = 0; i + 1 < n; i++) ranks[i] = rank_of(b, ids[i], ids[i + 1]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == NONE) break;
        ids[best] = il_bpe_merge_find(b, ids[best], ids[best + 1])->id;
        n--;
        memmove(ids + best + 1, ids + best + 2, (n - best - 1) * sizeof *ids);
        memmove(ranks + best, ranks + best + 1, (n - best - 1) * sizeof *ranks);
        if (best + 1 < n) ranks[best] = rank_of(b, ids[best], ids[best + 1]);
        if (best > 0) ranks[best - 1] = rank_of(b, ids[best - 1], ids[best]);
    }
    s->n = n;
}

/* ---- long words ---- */

typedef struct link { /* a symbol's neighbours; next NONE: the last; a symbol that was merged away has itself as
                         previous */
    uint32_t previous, next;
} link;

/* Candidates: rank << 32 | place of the left symbol, the least on top. */
static void heap_push(uint64_t *heap, size_t n, uint64_t candidate) {
    while (n > 0 && heap[(n - 1) / 2] > candidate) {
        heap[n] = heap[(n - 1) / 2];
        n = (n - 1) / 2;
    }
    heap[n] = candidate;
}

/* Takes the top away and leaves n - 1. */
static void heap_pop(uint64_t *heap, size_t n) {
    uint64_t last = heap[--n];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[at] = heap[child];
    }
    heap[at] = last;
}

static int offer(const il_bpe *b, il_bpe_scratch *s, size_t *n, uint32_t at, uint32_t next) {
    uint32_t rank = rank_of(b, s->ids[at], s->ids[next]);
    if (rank == NONE) return 1;
    void *block = s->heap;
    int grown = il_grow(b->memory, &block, &s->heap_capacity, *n, *n + 1, sizeof(uint64_t));
    s->heap = block;
    if (!grown) return 0;
    heap_push(s->heap, (*n)++, (uint64_t)rank << 32 | at);
    return 1;
}

static int merge_long(const il_bpe *b, il_bpe_scratch *s) {
    if (s->n >= NONE) return 0;
    uint32_t n = (uint32_t)s->n, kept = 0;
    size_t candidates = 0;
    void *block = s->links;
    int grown = il_grow(b->memory, &block, &s->links_capacity, 0, n, sizeof(link));
    s->links = block;
    if (!grown) return 0;
    link *links = s->links;
    for (uint32_t i = 0; i < n; i++) links[i] = (link){i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
    for (uint32_t i = 0; i + 1 < n; i++)
        if (!offer(b, s, &candidates, i, i + 1)) return 0;
    while (candidates) {
        uint64_t top = ((uint64_t *)s->heap)[0];
        uint32_t at = (uint32_t)top, next = links[at].next, behind;
        heap_pop(s->heap, candidates--);
        if (links[at].previous == at || next == NONE) continue;
        const il_bpe_merge *merge = il_bpe_merge_find(b, s->ids[at], s->ids[next]);
        if (!merge || merge->rank != top >> 32) continue;
        s->ids[at] = merge->id;
        behind = links[at].next = links[next].next;
        links[next].previous = next;
        if (behind != NONE) links[behind].previous = at;
        if (behind != NONE && !offer(b, s, &candidates, at, behind)) return 0;
        if (links[at].previous != NONE && !offer(b, s, &candidates, links[at].previous, at)) return 0;
    }
    for (uint32_t i = 0; i != NONE; i = links[i].next) s->ids[kept++] = s->ids[i];
    s->n = kept;
    return 1;
}

int il_bpe_word(const il_bpe *b, il_bpe_scratch *s, const char *word, size_t bytes) {
    if (b->ignore_merges) {
        int id = il_bpe_find(b, word, bytes);
        if (id >= 0) {
            void *block = s->ids;
            int grown = il_grow(b->memory, &block, &s->ids_capacity, 0, 1, sizeof *s->ids);
            s->ids = block;
            if (!grown) return 0;
            s->ids[0] = (uint32_t)id;
            s->n = 1;
            return 1;
        }
    }
    if (!split(b, s, word, bytes)) return 0;
    if (s->n > SHORT) return merge_long(b, s);
    merge_short(b, s);
    return 1;
}

void il_bpe_scratch_free(const il_allocator *memory, il_bpe_scratch *s) {
    il_free(memory, s->ids);
    il_free(memory, s->links);
    il_free(memory, s->heap);
    *s = (il_bpe_scratch){0};
}
