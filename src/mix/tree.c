/* tree.c: see tree.h. */
#include "mix/tree.h"

#include "base/error.h"
#include "base/frequency.h"

int il_tree_depth(int vocab) {
    int depth = 1;
    while (depth < 31 && 1 << depth < vocab) depth++;
    return depth;
}

il_status il_tree_open(const il_allocator *memory, int vocab, const int32_t *order, il_tree *tree, il_error *error) {
    *tree = (il_tree){.vocab = vocab, .depth = il_tree_depth(vocab), .memory = memory};
    if (tree->depth > IL_TREE_DEPTH_MAX)
        return il_fail(error, IL_ERR_UNSUPPORTED, "predictions of %d tokens cannot be mixed: at most %d can", vocab,
                       1 << IL_TREE_DEPTH_MAX);
    int32_t *token = il_alloc_raw(memory, 2 * (size_t)vocab, sizeof *token), *leaf = token + vocab;
    if (!token) return il_fail(error, IL_ERR_NOMEM, "no memory for the order of %d tokens", vocab);
    for (int32_t i = 0; i < vocab; i++) token[i] = order ? order[i] : i;
    for (int32_t i = 0; i < vocab; i++) leaf[token[i]] = i;
    tree->token = token;
    tree->leaf = leaf;
    return IL_OK;
}

void il_tree_close(il_tree *tree) {
    if (tree->token) il_free(tree->memory, (void *)tree->token);
    *tree = (il_tree){0};
}

static uint32_t sum(const il_tree *tree, const float *p, int from, int to) {
    const int32_t *t = tree->token;
    uint32_t total = 0;
    if (to > tree->vocab) to = tree->vocab;
    for (; from + 4 <= to; from += 4)
        total += (il_frequency(p[t[from]]) + il_frequency(p[t[from + 1]])) +
                 (il_frequency(p[t[from + 2]]) + il_frequency(p[t[from + 3]]));
    for (; from < to; from++) total += il_frequency(p[t[from]]);
    return total;
}

/* From the leaf up: the sum of the other side, and of all below so far. The other side of the root is what is left of
 * all, which are added up as they lie in memory. */
void il_tree_way(const il_tree *tree, const float *p, int32_t token, il_odds *odds) {
    int leaf = tree->leaf[token];
    uint32_t here = il_frequency(p[token]), all = il_frequency_sum(tree->vocab, p);
    for (int level = 0; level < tree->depth; level++) {
        int other = (leaf >> level ^ 1) << level, root = level == tree->depth - 1;
        uint32_t beside = root ? all - here : sum(tree, p, other, other + (1 << level));
        odds[tree->depth - 1 - level] = leaf >> level & 1 ? (il_odds){beside, here} : (il_odds){here, beside};
        here += beside;
    }
}

void il_tree_sums(const il_tree *tree, const float *p, uint32_t *sums) {
    int leaves = 1 << tree->depth;
    for (int i = 0; i < tree->vocab; i++) sums[leaves + i] = il_frequency(p[tree->token[i]]);
    for (int i = tree->vocab; i < leaves; i++) sums[leaves + i] = 0;
    for (int i = leaves - 1; i > 0; i--) sums[i] = sums[2 * i] + sums[2 * i + 1];
}
