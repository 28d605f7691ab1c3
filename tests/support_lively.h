/* support_lively.h: small random models whose every parameter is away from its initial value, for tests of behaviour.
 */
#ifndef IL_SUPPORT_LIVELY_H
#define IL_SUPPORT_LIVELY_H

#include "innerloop.h"

/* An engine of that many threads on those kernels (NULL: the default); fails the running test when it cannot. */
il_engine *lively_engine(int threads, const char *kernels);
/* Ways to run, which all must give one answer: the instruction sets that run here, the plainest first and once, since
 * it is slow, the best one last and with several numbers of threads. threads 0 ends them. */
typedef struct lively_way {
    const char *kernels;
    int threads;
} lively_way;
const lively_way *lively_ways(void);
/* layers 2, heads 3, width 48, ffn 40, vocabulary 61, mini-batch b, conv_kernel 4; Mamba backbone if TTT. The gated
 * delta rule has 3 key heads of width 10, 6 value heads of 14, and 3 taps. */
il_config lively_config(il_mixer_kind mixer, int mini_batch);
/* The same with four layers: self-attention, TTT-MLP, TTT-Linear that fades, self-attention. */
il_config lively_hybrid(int mini_batch);
/* Self-attention, gated delta, TTT-Linear, gated delta, the latter with more taps than TTT has and a learned start. */
il_config lively_delta_hybrid(int mini_batch);
/* Self-attention, sliding attention, TTT-Linear that fades, sliding attention, which sees 20 tokens. */
il_config lively_sliding_hybrid(int mini_batch);
/* Attention with all that real models have: 6 heads of width 10 over 2 of keys, norms, biases, gates, scaled RoPE of a
 * part; norms by 1 + weight. */
void lively_grouped(il_config *config);
/* Taps, one of which looks back over several mini-batches. */
void lively_taps(il_config *config);
il_model *lively_model(il_engine *engine, const il_config *config, uint64_t seed);
/* Fails the running test when it cannot be opened. */
il_session *lively_session(il_model *model, int frozen);
/* n tokens below vocab, the same for the same seed. */
void lively_tokens(int32_t *tokens, size_t n, int vocab, uint64_t seed);
/* 0 .. below-1 */
uint32_t lively_random(uint64_t seed, uint64_t index, uint32_t below);

#endif
