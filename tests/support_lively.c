#include "support_test.h"

#include "base/philox.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "support_lively.h"

il_engine *lively_engine(int threads, const char *kernels) {
    il_engine_options options;
    il_engine_options_default(&options);
    options.threads = threads;
    options.kernels = kernels;
    il_engine *engine;
    il_error error;
    assert_ok(il_engine_open(&options, &engine, &error), error);
    return engine;
}

const lively_way *lively_ways(void) {
    static const char *const sets[] = {"portable", "avx2", "avx512", "avx512_vnni", "neon"};
    enum { SETS = sizeof sets / sizeof *sets };
    static const int threads[] = {1, 2, 3, 5};
    static lively_way ways[SETS + 5];
    size_t n = 0;
    for (size_t i = 0; i < SETS; i++) {
        if (!il_kernels_pick(sets[i])) continue;
        ways[n] = (lively_way){sets[i], n ? 2 + (int)(n % 2) : 1};
        n++;
    }
    const char *best = ways[n - 1].kernels;
    size_t first = n == 1; /* the plainest is the best, and runs on one thread already */
    n -= !first;
    for (size_t i = first; i < sizeof threads / sizeof *threads; i++) ways[n++] = (lively_way){best, threads[i]};
    ways[n] = (lively_way){NULL, 0};
    return ways;
}

il_config lively_config(il_mixer_kind mixer, int mini_batch) {
    int ttt = mixer != IL_MIXER_SELF_ATTENTION && mixer != IL_MIXER_GATED_DELTA && mixer != IL_MIXER_SLIDING_ATTENTION;
    return (il_config){.mixer = mixer,
                       .vocab_size = 61,
                       .width = 48,
                       .ffn_width = 40,
                       .layers = 2,
                       .heads = 3,
                       .mini_batch = mini_batch,
                       .conv_kernel = 4,
                       .share_qk = ttt,
                       .use_gate = ttt,
                       .pre_conv = ttt,
                       .delta_key_heads = 3,
                       .delta_value_heads = 6,
                       .delta_key_width = 10,
                       .delta_value_width = 14,
                       .delta_taps = 3,
                       .sliding_window = 20,
                       .tie_word_embeddings = 1,
                       .bos_token = -1,
                       .eos_token = -1,
                       .rope_theta = 1e4,
                       .rms_norm_eps = 1e-6,
                       .ttt_base_lr = mixer == IL_MIXER_TTT_MLP ? 0.3 : 1.0};
}

il_config lively_hybrid(int mini_batch) {
    il_config config = lively_config(IL_MIXER_TTT_MLP, mini_batch);
    config.layers = config.n_layer_types = 4;
    config.layer_types[0] = config.layer_types[3] = IL_MIXER_SELF_ATTENTION;
    config.layer_types[1] = IL_MIXER_TTT_MLP;
    config.layer_types[2] = IL_MIXER_TTT_LINEAR_DECAY;
    return config;
}

il_config lively_delta_hybrid(int mini_batch) {
    il_config config = lively_config(IL_MIXER_TTT_LINEAR, mini_batch);
    config.layers = config.n_layer_types = 4;
    config.layer_types[0] = IL_MIXER_SELF_ATTENTION;
    config.layer_types[1] = config.layer_types[3] = IL_MIXER_GATED_DELTA;
    config.layer_types[2] = IL_MIXER_TTT_LINEAR;
    config.delta_taps = 6;
    config.delta_learned_start = 1;
    return config;
}

il_config lively_sliding_hybrid(int mini_batch) {
    il_config config = lively_config(IL_MIXER_TTT_LINEAR_DECAY, mini_batch);
    config.layers = config.n_layer_types = 4;
    config.layer_types[0] = IL_MIXER_SELF_ATTENTION;
    config.layer_types[1] = config.layer_types[3] = IL_MIXER_SLIDING_ATTENTION;
    config.layer_types[2] = IL_MIXER_TTT_LINEAR_DECAY;
    return config;
}

void lively_grouped(il_config *config) {
    config->heads = 6;
    config->kv_heads = 2;
    config->head_width = 10;
    config->rotary_width = 6;
    config->qk_norm = config->attention_gate = config->norm_offset = 1;
    config->attention_bias = config->attention_output_bias = 1;
    config->rope_scaling = IL_ROPE_LLAMA3;
    config->rope_factor = 4;
    config->rope_low_frequency = 1, config->rope_high_frequency = 4, config->rope_positions = 100;
}

void lively_taps(il_config *config) {
    config->n_taps = 3;
    config->taps[0] = 5, config->taps[1] = 2, config->taps[2] = 40;
}

il_model *lively_model(il_engine *engine, const il_config *config, uint64_t seed) {
    il_model *model;
    il_error error;
    assert_ok(il_model_init(engine, config, seed, &model, &error), error);
    for (size_t i = 0; i < model->table.n; i++) {
        const il_table_entry *e = &model->table.entries[i];
        for (size_t j = 0; j < e->count; j++)
            model->weights[e->offset + j] += 0.12F * (float)il_normal(seed + 1, IL_PURPOSE_TEST, (uint32_t)i, j);
    }
    model->version++;
    return model;
}

il_session *lively_session(il_model *model, int frozen) {
    il_session_options options = {.frozen = frozen};
    il_session *session;
    il_error error;
    assert_ok(il_session_open(model, &options, &session, &error), error);
    return session;
}

uint32_t lively_random(uint64_t seed, uint64_t index, uint32_t below) {
    uint32_t out[4];
    il_philox(seed, IL_PURPOSE_TEST, 7, index, out);
    return out[0] % below;
}

void lively_tokens(int32_t *tokens, size_t n, int vocab, uint64_t seed) {
    for (size_t i = 0; i < n; i++) tokens[i] = (int32_t)lively_random(seed, i, (uint32_t)vocab);
}
