/* test_model.c: a model in memory: its tensors, new weights, references, and what is derived from weights. */
#include "support_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support_engine.h"
#include "support_lively.h"
#include "support_model.h"

static il_engine *engine;

static int setup(void **state) {
    (void)state;
    engine = lively_engine(2, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

/* ---- tensors ---- */

typedef struct expected {
    const char *name;
    int rank;
    size_t shape[3];
} expected;

static void expect_tensors(const il_model *model, const expected *list, size_t n) {
    il_tensor tensor, again;
    il_error error;
    size_t offset = 0, entries = 0;
    assert_int_equal(il_model_tensor_count(model), n);
    for (size_t i = 0; i < n; i++) {
        assert_ok(il_model_tensor(model, list[i].name, &tensor, &error), error);
        assert_ok(il_model_tensor_at(model, i, &again, &error), error);
        assert_int_equal(tensor.rank, list[i].rank);
        size_t count = 1;
        for (int k = 0; k < tensor.rank; k++) {
            assert_int_equal(tensor.shape[k], list[i].shape[k]);
            count *= tensor.shape[k];
        }
        assert_int_equal(tensor.count, count);
        assert_true((uintptr_t)tensor.data % 64 == 0);
        assert_true((size_t)(again.data - model->weights) >= offset); /* in order, without overlap */
        offset = (size_t)(again.data - model->weights) + again.count;
        entries += count;
    }
    assert_true(offset <= model->table.floats);
    assert_int_equal(il_model_parameters(model), entries);
}

/* The names and shapes of the official classes. */
static void tensors_of_ttt(void **state) {
    static const expected mamba_mlp[] = {
        {"model.embed_tokens.weight", 2, {20, 16}},
        {"model.layers.0.conv.norm.weight", 1, {16}},
        {"model.layers.0.conv.conv.weight", 3, {16, 1, 4}},
        {"model.layers.0.conv.conv.bias", 1, {16}},
        {"model.layers.0.seq_norm.weight", 1, {16}},
        {"model.layers.0.seq_modeling_block.q_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.v_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.o_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.g_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.conv_q.weight", 3, {16, 1, 4}},
        {"model.layers.0.seq_modeling_block.conv_q.bias", 1, {16}},
        {"model.layers.0.seq_modeling_block.conv_k.weight", 3, {16, 1, 4}},
        {"model.layers.0.seq_modeling_block.conv_k.bias", 1, {16}},
        {"model.layers.0.seq_modeling_block.W1", 3, {2, 8, 32}},
        {"model.layers.0.seq_modeling_block.b1", 3, {2, 1, 32}},
        {"model.layers.0.seq_modeling_block.W2", 3, {2, 32, 8}},
        {"model.layers.0.seq_modeling_block.b2", 3, {2, 1, 8}},
        {"model.layers.0.seq_modeling_block.ttt_norm_weight", 2, {2, 8}},
        {"model.layers.0.seq_modeling_block.ttt_norm_bias", 2, {2, 8}},
        {"model.layers.0.seq_modeling_block.learnable_ttt_lr_weight", 3, {2, 1, 16}},
        {"model.layers.0.seq_modeling_block.learnable_ttt_lr_bias", 2, {2, 1}},
        {"model.layers.0.seq_modeling_block.learnable_token_idx", 1, {4}},
        {"model.layers.0.seq_modeling_block.post_norm.weight", 1, {16}},
        {"model.layers.0.seq_modeling_block.post_norm.bias", 1, {16}},
        {"model.layers.0.ffn_norm.weight", 1, {16}},
        {"model.layers.0.mlp.gate_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.up_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.down_proj.weight", 2, {16, 24}},
        {"model.norm.weight", 1, {16}},
    };
    static const expected transformer_linear[] = {
        {"model.embed_tokens.weight", 2, {20, 16}},
        {"model.layers.0.seq_norm.weight", 1, {16}},
        {"model.layers.0.seq_modeling_block.q_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.k_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.v_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.o_proj.weight", 2, {16, 16}},
        {"model.layers.0.seq_modeling_block.W1", 3, {2, 8, 8}},
        {"model.layers.0.seq_modeling_block.b1", 3, {2, 1, 8}},
        {"model.layers.0.seq_modeling_block.ttt_norm_weight", 2, {2, 8}},
        {"model.layers.0.seq_modeling_block.ttt_norm_bias", 2, {2, 8}},
        {"model.layers.0.seq_modeling_block.learnable_ttt_lr_weight", 3, {2, 1, 16}},
        {"model.layers.0.seq_modeling_block.learnable_ttt_lr_bias", 2, {2, 1}},
        {"model.layers.0.seq_modeling_block.learnable_token_idx", 1, {4}},
        {"model.layers.0.seq_modeling_block.post_norm.weight", 1, {16}},
        {"model.layers.0.seq_modeling_block.post_norm.bias", 1, {16}},
        {"model.layers.0.ffn_norm.weight", 1, {16}},
        {"model.layers.0.mlp.gate_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.up_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.down_proj.weight", 2, {16, 24}},
        {"model.norm.weight", 1, {16}},
        {"lm_head.weight", 2, {20, 16}},
    };
    (void)state;
    il_config config = support_config("ttt_mlp", "mamba");
    config.layers = 1;
    il_model *model = support_model(engine, &config, 1);
    expect_tensors(model, mamba_mlp, sizeof mamba_mlp / sizeof mamba_mlp[0]);
    assert_int_equal(model->head.at, model->embedding.at);
    il_model_unref(model);
    config = support_config("ttt_linear", "transformer");
    config.layers = 1;
    config.tie_word_embeddings = 0;
    model = support_model(engine, &config, 1);
    expect_tensors(model, transformer_linear, sizeof transformer_linear / sizeof transformer_linear[0]);
    assert_int_not_equal(model->head.at, model->embedding.at);
    il_model_unref(model);
}

static void tensors_of_self_attention(void **state) {
    static const expected llama[] = {
        {"model.embed_tokens.weight", 2, {20, 16}},
        {"model.layers.0.input_layernorm.weight", 1, {16}},
        {"model.layers.0.self_attn.q_proj.weight", 2, {16, 16}},
        {"model.layers.0.self_attn.k_proj.weight", 2, {16, 16}},
        {"model.layers.0.self_attn.v_proj.weight", 2, {16, 16}},
        {"model.layers.0.self_attn.o_proj.weight", 2, {16, 16}},
        {"model.layers.0.post_attention_layernorm.weight", 1, {16}},
        {"model.layers.0.mlp.gate_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.up_proj.weight", 2, {24, 16}},
        {"model.layers.0.mlp.down_proj.weight", 2, {16, 24}},
        {"model.norm.weight", 1, {16}},
    };
    il_tensor tensor;
    il_error error;
    (void)state;
    il_config config = support_config("self_attention", NULL);
    config.layers = 1;
    il_model *model = support_model(engine, &config, 1);
    expect_tensors(model, llama, sizeof llama / sizeof llama[0]);
    assert_null(model->layers[0].rule);
    assert_null(model->tok);
    assert_null(model->rope_cos);
    assert_int_equal(model->layers[0].wg.at, IL_NONE);
    assert_int_equal(model->layers[0].token_idx, IL_NONE);
    assert_null(il_weight(model, model->layers[0].pre_conv.w));
    assert_fails(il_model_tensor(model, "model.norm.bias", &tensor, &error), IL_ERR_ARG, error, "model.norm.bias");
    assert_null(tensor.name);
    assert_fails(il_model_tensor_at(model, 11, &tensor, &error), IL_ERR_ARG, error, "tensor 11: the model has 11");
    assert_null(tensor.data);
    il_model_unref(model);
}

static void a_bad_config_makes_no_model(void **state) {
    il_error error;
    il_model *model = (il_model *)(uintptr_t)16;
    (void)state;
    il_config config = support_config("ttt_linear", NULL);
    config.heads = 3;
    assert_fails(il_model_init(engine, &config, 1, &model, &error), IL_ERR_ARG, error, "num_attention_heads");
    assert_null(model);
}

static void references(void **state) {
    (void)state;
    il_config config = support_config("ttt_linear", NULL);
    il_model *model = support_model(engine, &config, 1);
    assert_ptr_equal(il_model_ref(model), model);
    il_model_unref(model);
    assert_int_equal(il_model_config(model)->width, 16); /* still there: a sanitizer would tell */
    il_model_unref(model);
    il_model_unref(NULL);
}

/* ---- new weights ---- */

/* The weights of seed 7, on every machine, for any number of threads. */
static void new_weights_never_change(void **state) {
    static const struct {
        const char *mixer, *fingerprint;
    } golden[] = {
        {"ttt_linear", "7de7db5f11a86fc61f7c765a41d93fd3"},
        {"ttt_mlp", "3faa9edfd1b7af5c6e9b4c204880a6ac"},
        {"self_attention", "8f51699a32e66d0cf2870097f87e7858"},
    };
    static const char *const kernels[] = {"portable", NULL};
    char hex[33];
    (void)state;
    for (int threads = 1; threads <= 5; threads += 2)
        for (int k = 0; k < 2; k++) {
            il_engine *other = lively_engine(threads, kernels[k]);
            for (size_t i = 0; i < 3; i++) {
                il_config config = support_config(golden[i].mixer, NULL);
                il_model *model = support_model(other, &config, 7);
                il_model_fingerprint(model, hex);
                assert_string_equal(hex, golden[i].fingerprint);
                il_model_unref(model);
            }
            il_engine_close(other);
        }
}

static void seeds_differ(void **state) {
    char hex[33], other[33];
    (void)state;
    il_config config = support_config("ttt_linear", NULL);
    il_model *a = support_model(engine, &config, 1), *b = support_model(engine, &config, 2);
    il_model_fingerprint(a, hex);
    il_model_fingerprint(b, other);
    assert_string_not_equal(hex, other);
    il_model_unref(a);
    il_model_unref(b);
}

static void spread(const il_model *model, const char *name, double *mean, double *deviation, double *largest) {
    il_tensor t;
    il_error error;
    double sum = 0, squares = 0;
    *largest = 0;
    assert_ok(il_model_tensor(model, name, &t, &error), error);
    for (size_t i = 0; i < t.count; i++) {
        double x = (double)t.data[i];
        sum += x;
        squares += x * x;
        if (fabs(x) > *largest) *largest = fabs(x);
    }
    *mean = sum / (double)t.count;
    *deviation = sqrt(squares / (double)t.count - *mean * *mean);
}

static void new_weights_follow_the_recipe(void **state) {
    static const char *const normals[] = {
        "model.embed_tokens.weight", "model.layers.1.seq_modeling_block.q_proj.weight",
        "model.layers.1.seq_modeling_block.W1", "model.layers.1.seq_modeling_block.learnable_ttt_lr_weight",
        "model.layers.1.mlp.down_proj.weight"};
    static const char *const ones[] = {"seq_norm.weight", "ffn_norm.weight", "conv.norm.weight",
                                       "seq_modeling_block.ttt_norm_weight", "seq_modeling_block.post_norm.weight"};
    static const char *const zeros[] = {"conv.conv.bias",
                                        "seq_modeling_block.conv_q.bias",
                                        "seq_modeling_block.b1",
                                        "seq_modeling_block.b2",
                                        "seq_modeling_block.ttt_norm_bias",
                                        "seq_modeling_block.learnable_ttt_lr_bias",
                                        "seq_modeling_block.learnable_token_idx",
                                        "seq_modeling_block.post_norm.bias"};
    static const char *const convs[] = {"conv.conv.weight", "seq_modeling_block.conv_q.weight",
                                        "seq_modeling_block.conv_k.weight"};
    double mean, deviation, largest;
    char name[100];
    (void)state;
    il_config config = support_config("ttt_mlp", NULL);
    config.width = 512;
    config.heads = 8;
    config.vocab_size = 300;
    il_model *model = support_model(engine, &config, 3);
    for (size_t i = 0; i < 5; i++) {
        spread(model, normals[i], &mean, &deviation, &largest);
        assert_true(fabs(mean) < 1.5e-3 && fabs(deviation / 0.02 - 1) < 0.05 && largest > 0.05 && largest < 0.14);
    }
    for (size_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "model.layers.1.%s", convs[i]);
        spread(model, name, &mean, &deviation, &largest);
        assert_true(fabs(mean) < 0.05 && fabs(deviation / 0.5 - 1) < 0.05 && largest > 1.05 && largest < 1.13703);
    }
    for (size_t i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s", ones[i]);
        spread(model, name, &mean, &deviation, &largest);
        assert_true(mean == 1 && largest == 1);
    }
    for (size_t i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "model.layers.0.%s", zeros[i]);
        spread(model, name, &mean, &deviation, &largest);
        assert_true(largest == 0);
    }
    il_model_unref(model);
}

/* ---- derived from weights ---- */

/* Every matrix, packed and not, gives the bits of the plain chain; a raised version makes packs stale. */
static void packed_and_plain_products_agree(void **state) {
    static const char *const mixers[] = {"ttt_linear", "self_attention"};
    float x[3 * 24], y[3 * 24], z[3 * 24];
    il_error error;
    (void)state;
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++) x[i] = (float)((int)(i * 37 % 64) - 32) / 32.0f;
    for (int k = 0; k < 2; k++) {
        il_config config = support_config(mixers[k], NULL);
        config.tie_word_embeddings = k;
        il_model *model = support_model(engine, &config, 5);
        assert_ok(il_model_refresh(model, 0, &error), error);
        assert_null(model->packed);
        for (int stale = 0; stale < 3; stale++) {
            const il_layer *l = &model->layers[1];
            const il_dense *const all[] = {&l->wq, &l->wk, &l->wv, &l->wo, &l->wg,
                                           &l->lr, &l->w1, &l->w2, &l->w3, &model->head};
            if (stale != 1) assert_ok(il_model_refresh(model, 1, &error), error);
            for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
                const il_dense *w = all[i];
                if (w->at == IL_NONE) continue;
                il_model_product(model, w, 3, x, 24, NULL, y, 24);
                for (int r = 0; r < 3; r++)
                    for (int o = 0; o < w->out; o++) {
                        float sum = 0;
                        for (int q = 0; q < w->in; q++)
                            sum = fmaf(x[r * 24 + q], model->weights[w->at + (size_t)(o * w->in + q)], sum);
                        z[r * 24 + o] = sum;
                    }
                for (int r = 0; r < 3; r++) assert_memory_equal(y + r * 24, z + r * 24, (size_t)w->out * sizeof *y);
            }
            const float *before = model->packed;
            assert_ok(il_model_refresh(model, 1, &error), error);
            assert_ptr_equal(model->packed, before == NULL ? model->packed : before); /* allocated once */
            for (size_t i = 0; i < model->table.floats; i++) model->weights[i] *= -1.5f;
            model->version++;
        }
        il_model_unref(model);
    }
}

static void token_rates_follow_the_weights(void **state) {
    il_error error;
    (void)state;
    il_config config = support_config("ttt_linear", NULL);
    il_model *model = support_model(engine, &config, 5);
    assert_ok(il_model_refresh(model, 0, &error), error);
    for (int i = 0; i < 4; i++) assert_true(model->tok[4 + i] == 1.0f / (float)(i + 1));
    float *learned = model->weights + model->layers[1].token_idx;
    learned[0] = -2;
    learned[1] = 0.25f;
    assert_ok(il_model_refresh(model, 0, &error), error);
    assert_true(model->tok[4] == 1); /* nobody said that the weights changed */
    model->version++;
    assert_ok(il_model_refresh(model, 0, &error), error);
    assert_true(model->tok[0] == 1 && model->tok[4] == 0 && model->tok[5] == 0.75f);
    il_model_unref(model);
}

static void rope_angles(void **state) {
    float cosine[32], sine[32];
    (void)state;
    il_config config = support_config("ttt_linear", NULL);
    config.width = 128;
    float frequencies[32];
    il_rope_ttt_frequencies(&config, frequencies);
    for (uint64_t p = 0; p < 5000; p += 61) {
        il_rope_angles(32, frequencies, p, cosine, sine);
        for (int m = 0; m < 32; m++) {
            double angle = (double)p * (double)(float)pow(1e4, -2.0 * m / 64);
            assert_true(fabs((double)cosine[m] - cos(angle)) < 1e-7 + (double)p * 1e-9);
            assert_true(fabs((double)sine[m] - sin(angle)) < 1e-7 + (double)p * 1e-9);
        }
    }
    il_model *model = support_model(engine, &config, 1);
    il_rope_angles(32, frequencies, 3, cosine, sine);
    assert_memory_equal(model->rope_cos + 3 * 32, cosine, sizeof cosine);
    assert_memory_equal(model->rope_sin + 3 * 32, sine, sizeof sine);
    assert_true(model->rope_cos[0] == 1 && model->rope_sin[0] == 0);
    il_model_unref(model);
}

/* ---- short memory ---- */

static il_status init_and_pack(const il_allocator *allocator, void *context, il_error *error) {
    il_engine *on = context;
    il_model *model;
    (void)allocator; /* the engine's own */
    il_config config = support_config("ttt_mlp", NULL);
    il_status status = il_model_init(on, &config, 1, &model, error);
    if (status != IL_OK) {
        assert_null(model);
        return status;
    }
    status = il_model_refresh(model, 1, error);
    il_model_unref(model);
    return status;
}

static void every_allocation_failed_in_turn(void **state) {
    support_alloc alloc;
    (void)state;
    il_engine *on = support_engine(2, &alloc);
    assert_true(support_alloc_fail_each(&alloc, init_and_pack, on) >= 7);
    support_engine_close(on, &alloc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_of_ttt),
        cmocka_unit_test(tensors_of_self_attention),
        cmocka_unit_test(a_bad_config_makes_no_model),
        cmocka_unit_test(references),
        cmocka_unit_test(new_weights_never_change),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(new_weights_follow_the_recipe),
        cmocka_unit_test(packed_and_plain_products_agree),
        cmocka_unit_test(token_rates_follow_the_weights),
        cmocka_unit_test(rope_angles),
        cmocka_unit_test(every_allocation_failed_in_turn),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
