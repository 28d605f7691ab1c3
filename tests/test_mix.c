/* test_mix.c: the tree's odds are sums of the model's frequencies; every bit's probability is possible and the same
 * each time; what repeats itself becomes cheap, in one sequence and from one to another; a model that is right is
 * believed. */
#include "support_test.h"

#include <math.h>
#include <stdlib.h>

#include "base/frequency.h"
#include "engine/engine.h"
#include "mix/mix.h"
#include "support_alloc.h"
#include "support_engine.h"
#include "support_text.h"

static il_allocator memory;
static il_error error;

/* A distribution that favours one token. */
static void fill(float *p, int n, int favourite, float much) {
    for (int i = 0; i < n; i++) p[i] = (1 - much) / (float)n;
    p[favourite] += much;
}

static void odds_are_sums(void **state) {
    (void)state;
    static const int vocabs[] = {1, 2, 3, 258, 1000};
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++) {
        int n = vocabs[v];
        il_tree tree;
        int32_t *order = calloc((size_t)n, sizeof *order);
        float *p = calloc((size_t)n, sizeof *p);
        for (int i = 0; i < n; i++) order[i] = n - 1 - i;
        assert_ok(il_tree_open(&memory, n, v & 1 ? order : NULL, &tree, &error), error);
        assert_true(tree.depth >= 1 && 1 << tree.depth >= n && (n < 3 || 1 << tree.depth < 2 * n));
        uint32_t *sums = calloc((size_t)2 << tree.depth, sizeof *sums);
        il_odds *odds = calloc((size_t)tree.depth, sizeof *odds);
        fill(p, n, n / 2, 0.7F);
        il_tree_sums(&tree, p, sums);
        uint32_t all = 0;
        for (int i = 0; i < n; i++) all += il_frequency(p[i]);
        assert_int_equal(sums[1], all);
        for (int32_t token = 0; token < n; token++) {
            uint32_t node = 1, leaf = (uint32_t)tree.leaf[token];
            assert_int_equal(tree.token[leaf], token);
            il_tree_way(&tree, p, token, odds);
            for (int d = 0; d < tree.depth; d++) {
                assert_int_equal(odds[d].zeros, sums[2 * node]);
                assert_int_equal(odds[d].ones, sums[2 * node + 1]);
                assert_true(odds[d].zeros > 0);
                node = 2 * node + (leaf >> (tree.depth - 1 - d) & 1);
            }
            assert_int_equal(node, (1U << tree.depth) + leaf);
            assert_int_equal(sums[node], il_frequency(p[token]));
        }
        il_tree_close(&tree);
        free(order), free(p), free(sums), free(odds);
    }
}

/* What a token costs, in bits, and learns it. */
static double cost_of(il_mix *mix, const il_tree *tree, int sequence, const float *p, int32_t token) {
    il_odds odds[IL_TREE_DEPTH_MAX];
    double bits = 0;
    uint32_t leaf = (uint32_t)tree->leaf[token];
    il_tree_way(tree, p, token, odds);
    il_mix_begin(mix, sequence);
    for (int d = 0; d < tree->depth; d++) {
        int bit = (int)(leaf >> (tree->depth - 1 - d) & 1);
        uint32_t ones = il_mix_bit(mix, odds[d]);
        assert_true(ones < 1U << IL_MIX_BITS);
        assert_int_equal(!ones, !odds[d].ones);
        double one = (double)ones / (1 << IL_MIX_BITS);
        if (ones) bits -= log2(bit ? one : 1 - one);
        il_mix_go_on(mix, bit);
    }
    il_mix_end(mix, leaf);
    return bits;
}

enum { VOCAB = 300, TOKENS = 4000 };

/* TOKENS by sequences that go on side by side, from a model that knows nothing or all; what they cost each time. */
static void run(int sequences, const int32_t *tokens, float known, double *costs) {
    il_tree tree;
    il_mix *mix;
    float p[VOCAB];
    assert_ok(il_tree_open(&memory, VOCAB, NULL, &tree, &error), error);
    assert_ok(il_mix_open(&memory, tree.depth, sequences, TOKENS, &mix, &error), error);
    for (int i = 0; i < TOKENS; i++) {
        fill(p, VOCAB, tokens[i], known);
        costs[i] = cost_of(mix, &tree, i % sequences, p, tokens[i]);
    }
    il_mix_close(mix);
    il_tree_close(&tree);
}

static double mean(const double *costs, int from, int to, int step) {
    double sum = 0;
    int n = 0;
    for (int i = from; i < to; i += step, n++) sum += costs[i];
    return sum / n;
}

static void repetition_is_cheap(void **state) {
    (void)state;
    int32_t tokens[TOKENS];
    double costs[TOKENS], again[TOKENS];
    support_seed(5);
    for (int i = 0; i < TOKENS; i++) tokens[i] = i < 500 ? (int32_t)support_random(VOCAB) : tokens[i - 500];
    run(1, tokens, 0, costs);
    assert_true(mean(costs, 0, 500, 1) < 1.1 * log2(VOCAB)); /* nothing to be known */
    assert_true(mean(costs, 600, 1000, 1) < 0.6);            /* the second time */
    assert_true(mean(costs, 3500, TOKENS, 1) < 0.1);         /* the eighth */
    run(1, tokens, 0, again);
    assert_memory_equal(costs, again, sizeof costs);
    /* The second of two sequences reads what the first read 50 tokens before. */
    for (int i = 0; i < TOKENS; i += 2) tokens[i] = (int32_t)support_random(VOCAB);
    for (int i = 1; i < TOKENS; i += 2) tokens[i] = i > 100 ? tokens[i - 101] : 0;
    run(2, tokens, 0, costs);
    assert_true(mean(costs, 2001, TOKENS, 2) < 0.5);
    assert_true(mean(costs, 2000, TOKENS, 2) < 1.1 * log2(VOCAB));
}

/* Whether the model is right, or says nothing where tokens are of a few kinds, the better one is believed. */
static void the_better_is_believed(void **state) {
    (void)state;
    int32_t tokens[TOKENS];
    double costs[TOKENS];
    support_seed(6);
    for (int i = 0; i < TOKENS; i++) tokens[i] = (int32_t)support_random(VOCAB);
    run(1, tokens, 0.99F, costs);
    assert_true(mean(costs, 0, TOKENS, 1) < 0.03);
    for (int i = 0; i < TOKENS; i++) tokens[i] = (int32_t)support_random(4) * 70 + 3;
    run(1, tokens, 0, costs);
    assert_true(mean(costs, 1000, TOKENS, 1) < 2.2);
    /* sure, and wrong: its word is soon worth nothing */
    il_tree tree;
    il_mix *mix;
    float p[VOCAB];
    assert_ok(il_tree_open(&memory, VOCAB, NULL, &tree, &error), error);
    assert_ok(il_mix_open(&memory, tree.depth, 1, TOKENS, &mix, &error), error);
    for (int i = 0; i < TOKENS; i++) {
        fill(p, VOCAB, (int)support_random(VOCAB), 0.999F);
        costs[i] = cost_of(mix, &tree, 0, p, tokens[i]);
    }
    assert_true(mean(costs, 1000, TOKENS, 1) < 2.5);
    il_mix_close(mix);
    il_tree_close(&tree);
}

/* What one mix has learned is all that another needs to go on alike, also where it has looked ahead from another past.
 */
static void learned_is_all(void **state) {
    (void)state;
    enum { LEARNED = 300 };
    il_tree tree;
    il_mix *mixes[2];
    float p[VOCAB], log_p[2][VOCAB];
    size_t bytes;
    assert_ok(il_tree_open(&memory, VOCAB, NULL, &tree, &error), error);
    uint32_t *sums = calloc((size_t)2 << tree.depth, sizeof *sums);
    assert_non_null(sums);
    fill(p, VOCAB, 0, 0);
    il_tree_sums(&tree, p, sums);
    for (int m = 0; m < 2; m++) {
        assert_ok(il_mix_open(&memory, tree.depth, 1, LEARNED, &mixes[m], &error), error);
        for (int i = 0; i < LEARNED; i++) cost_of(mixes[m], &tree, 0, p, (i * (m + 3)) % 7 * 40);
        il_mix_all(mixes[m], 0, sums, log_p[m]); /* looks */
    }
    assert_memory_not_equal(log_p[0], log_p[1], sizeof log_p[0]);
    const void *learned = il_mix_learned(mixes[0], &bytes);
    memcpy(il_mix_learned(mixes[1], &bytes), learned, bytes);
    il_mix_all(mixes[1], 0, sums, log_p[1]);
    assert_memory_equal(log_p[0], log_p[1], sizeof log_p[0]);
    for (int m = 0; m < 2; m++) il_mix_close(mixes[m]);
    free(sums);
    il_tree_close(&tree);
}

/* Memory stays below what the header says, and a failed allocation is an error. */
static void memory_is_bounded(void **state) {
    (void)state;
    static const uint64_t sizes[] = {0, 1, 100000, (uint64_t)1 << 40};
    support_alloc alloc;
    il_engine *counted = support_engine(1, &alloc);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        il_mix *mix;
        size_t before = atomic_load(&alloc.live_bytes), most = (size_t)2 << 20;
        most += sizes[i] < 1 << 20 ? 120 * (size_t)sizes[i] : (size_t)104 << 20;
        assert_ok(il_mix_open(&counted->memory, 12, 64, sizes[i], &mix, &error), error);
        assert_true(atomic_load(&alloc.live_bytes) - before <= most);
        il_mix_close(mix);
    }
    il_mix_close(NULL);
    support_engine_close(counted, &alloc);
}

static int setup(void **state) {
    (void)state;
    memory = il_allocator_default();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(odds_are_sums), cmocka_unit_test(repetition_is_cheap),
                                       cmocka_unit_test(the_better_is_believed), cmocka_unit_test(learned_is_all),
                                       cmocka_unit_test(memory_is_bounded)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
