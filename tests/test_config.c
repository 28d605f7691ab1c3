/* test_config.c: presets and their sizes, config.json both ways, every key's bounds, and what is refused, by
 * name. */
#include "support_test.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "inner/rules.h"
#include "model/build.h"
#include "model/config.h"
#include "model/config_count.h"
#include "model/config_read.h"
#include "model/config_write.h"
#include "model/mixer_names.h"
#include "support_alloc.h"
#include "support_files.h"
#include "support_lively.h"

static il_engine *engine;

static int setup(void **state) {
    (void)state;
    engine = lively_engine(1, NULL);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    il_engine_close(engine);
    return 0;
}

/* ---- names ---- */

static void mixers_are_numbered_as_the_header_says(void **state) {
    static const struct {
        il_mixer_kind mixer;
        const char *name;
    } named[] = {{IL_MIXER_SELF_ATTENTION, "self_attention"},
                 {IL_MIXER_GATED_DELTA, "gated_delta"},
                 {IL_MIXER_TTT_LINEAR, "ttt_linear"},
                 {IL_MIXER_TTT_LINEAR_DECAY, "ttt_linear_decay"},
                 {IL_MIXER_TTT_MLP, "ttt_mlp"}};
    (void)state;
    assert_true(il_mixer_count() == IL_RULES_FROM + il_rule_count());
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++)
        assert_string_equal(il_mixer_name(named[i].mixer), named[i].name);
    assert_string_equal(il_mixer_name((il_mixer_kind)il_mixer_count()), "?");
    assert_string_equal(il_mixer_name((il_mixer_kind)-1), "?");
    for (int i = 0; i < il_mixer_count(); i++) {
        il_mixer_kind mixer = (il_mixer_kind)i;
        const il_rule *rule = il_rule_of(mixer);
        const char *name = il_mixer_name(mixer), *type = il_mixer_layer_type(mixer);
        assert_int_equal(il_mixer_find(il_mixer_name, name, strlen(name)), i);
        assert_int_equal(il_mixer_find(il_mixer_layer_type, type, strlen(type)), i);
        assert_true((rule != NULL) == (i >= IL_RULES_FROM));
        if (!rule) continue;
        assert_int_equal(strncmp(rule->name, "ttt_", 4), 0);
        assert_string_equal(il_mixer_ttt_layer_type(mixer), rule->name + 4);
        assert_true(strlen(rule->name) < 40); /* room for one a layer in il_config_text */
    }
}

static void what_is_known_is_listed(void **state) {
    char list[IL_MIXER_LIST_BYTES];
    il_config config;
    il_error error;
    (void)state;
    assert_string_equal(il_mixer_list(il_mixer_ttt_layer_type, list), "linear, linear_decay, mlp");
    assert_string_equal(il_mixer_list(il_mixer_layer_type, list),
                        "full_attention, linear_attention, sliding_attention, ttt_linear, ttt_linear_decay, ttt_mlp");
    assert_fails(
        il_config_preset("tiny", "rnn", NULL, &config, &error), IL_ERR_ARG, error,
        "\"rnn\" is unknown (self_attention, gated_delta, sliding_attention, ttt_linear, ttt_linear_decay, ttt_mlp)");
}

/* ---- presets ---- */

static const char *const preset_names[] = {"tiny", "small", "125m", "350m", "760m", "1b"};

static uint64_t count(const il_config *config) {
    il_model *model;
    il_error error;
    assert_ok(il_model_declare(engine, config, &model, &error), error); /* no memory for weights is taken */
    uint64_t n = il_model_parameters(model);
    il_model_unref(model);
    return n;
}

/* The sizes of the published models with the Mamba backbone. */
static void presets_have_the_published_sizes(void **state) {
    static const struct {
        const char *preset;
        uint64_t linear, mlp;
    } published[] = {
        {"125m", 110424144, 114589776},
        {"350m", 337684224, 348792576},
        {"760m", 733608192, 758528256},
        {"1b", 1285639296, 1307856000},
    };
    il_config config;
    il_error error;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_ok(il_config_preset(published[i].preset, "ttt_linear", "mamba", &config, &error), error);
        assert_int_equal(count(&config), published[i].linear);
        assert_true(config.ttt_base_lr == 1.0);
        assert_ok(il_config_preset(published[i].preset, "ttt_mlp", NULL, &config, &error), error);
        assert_int_equal(count(&config), published[i].mlp);
        assert_true(config.ttt_base_lr == 0.1);
        assert_true(config.share_qk && config.use_gate && config.pre_conv && config.tie_word_embeddings);
    }
}

static void other_mixers_are_as_large_as_ttt_linear(void **state) {
    il_config config;
    il_error error;
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        assert_ok(il_config_preset(preset_names[i], "ttt_linear", NULL, &config, &error), error);
        double goal = (double)count(&config);
        assert_int_equal(il_config_parameters(&config), count(&config));
        for (int mixer = IL_MIXER_SELF_ATTENTION; mixer < IL_RULES_FROM; mixer++) {
            const char *name = il_mixer_name((il_mixer_kind)mixer);
            assert_ok(il_config_preset(preset_names[i], name, NULL, &config, &error), error);
            assert_int_equal(il_config_parameters(&config), count(&config));
            assert_true(fabs((double)count(&config) / goal - 1) < 1e-3);
            assert_true(!config.share_qk && !config.use_gate && !config.pre_conv && config.tie_word_embeddings);
        }
    }
}

static void preset_arguments(void **state) {
    il_config config = {.layers = 5};
    il_error error;
    (void)state;
    assert_fails(il_config_preset("2b", "ttt_mlp", NULL, &config, &error), IL_ERR_ARG, error, "\"2b\"");
    assert_fails(il_config_preset(NULL, "ttt_mlp", NULL, &config, &error), IL_ERR_ARG, error, "preset");
    assert_fails(il_config_preset("tiny", "mamba", NULL, &config, &error), IL_ERR_ARG, error, "\"mamba\"");
    assert_fails(il_config_preset("tiny", NULL, NULL, &config, &error), IL_ERR_ARG, error, "mixer");
    assert_fails(il_config_preset("tiny", "ttt_mlp", "rwkv", &config, &error), IL_ERR_ARG, error, "\"rwkv\"");
    assert_fails(il_config_preset("tiny", "self_attention", "mamba", &config, &error), IL_ERR_UNSUPPORTED, error,
                 "self_attention");
    assert_int_equal(config.layers, 5); /* untouched by failures */
    assert_ok(il_config_preset("tiny", "self_attention", "transformer", &config, &error), error);
    assert_ok(il_config_preset("tiny", "ttt_linear", "transformer", &config, &error), error);
    assert_true(!config.share_qk && !config.use_gate && !config.pre_conv);
    assert_int_equal(il_config_preset("2b", "ttt_mlp", NULL, &config, NULL), IL_ERR_ARG);
}

/* Every entry of the table, with all the flags, against the closed form that bounds a configuration. */
static void sizes_of_all_variants(void **state) {
    il_config config;
    il_error error;
    (void)state;
    for (int variant = 0; variant < 32 * il_rule_count(); variant++) {
        const char *mixer = il_mixer_name((il_mixer_kind)(IL_RULES_FROM + variant / 32));
        assert_ok(il_config_preset("tiny", mixer, NULL, &config, &error), error);
        config.share_qk = variant & 1;
        config.use_gate = variant >> 1 & 1;
        config.pre_conv = variant >> 2 & 1;
        config.tie_word_embeddings = variant >> 3 & 1;
        config.conv_kernel = variant & 16 ? 3 : 4;
        config.vocab_size = 100;
        uint64_t with = count(&config), D = 128, taps = (uint64_t)config.conv_kernel, L = 4;
        il_config plain = config;
        plain.share_qk = plain.use_gate = plain.pre_conv = 0;
        plain.tie_word_embeddings = 1;
        uint64_t wanted = count(&plain);
        if (config.share_qk) wanted = wanted - L * D * D + L * 2 * D * (taps + 1);
        if (config.use_gate) wanted += L * D * D;
        if (config.pre_conv) wanted += L * D * (taps + 2);
        if (!config.tie_word_embeddings) wanted += 100 * D;
        assert_int_equal(with, wanted);
        assert_int_equal(il_config_parameters(&config), with);
    }
}

static void sizes_of_layers_that_differ(void **state) {
    il_config config;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_mlp", "transformer", &config, &error), error);
    assert_ok(il_config_set(&config, "layer_types", "ttt_mlp,2*full_attention,ttt_linear", &error), error);
    uint64_t D = 128, d = 32, H = 4, ffn = 3 * D * 344 + 2 * D, ttt = 4 * D * D + 4 * D + H * (D + 1) + 16;
    assert_int_equal(il_config_parameters(&config), count(&config));
    assert_int_equal(count(&config),
                     32000 * D + D + 4 * ffn + 2 * 4 * D * D + 2 * ttt + H * (8 * d * d + 5 * d) + H * (d * d + d));
}

static void flops(void **state) {
    il_config config;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("125m", "ttt_linear", NULL, &config, &error), error);
    double prefill = il_config_flops_per_token(&config, 12345, 0);
    double matrices = 12.0 * (4 * 768 * 768 + 3 * 768 * 2048 + 12 * 768);
    assert_true(prefill == 2 * matrices + 12.0 * 12 * (6 * 64 * 64 + 6 * 16 * 64));
    assert_int_equal((int)lround(prefill / 1e6), 175);
    assert_true(il_config_flops_per_token(&config, 0, 1) - prefill == 2.0 * 32000 * 768);
    assert_ok(il_config_preset("125m", "ttt_mlp", NULL, &config, &error), error);
    assert_true(il_config_flops_per_token(&config, 0, 0) == 2 * matrices + 12.0 * 12 * (56 * 64 * 64 + 30 * 16 * 64));
    assert_ok(il_config_preset("125m", "self_attention", NULL, &config, &error), error);
    assert_true(il_config_flops_per_token(&config, 1000, 0) - il_config_flops_per_token(&config, 0, 0) ==
                12.0 * 4 * 768 * 1000);
    assert_ok(il_config_preset("125m", "gated_delta", NULL, &config, &error), error);
    config.delta_value_heads = 24; /* a projection to q, k, v, gate and two numbers for each value head, and one back */
    matrices = 12.0 * (768 * (2 * 768 + 3 * 1536 + 2 * 24) + 3 * 768 * config.ffn_width);
    assert_true(il_config_flops_per_token(&config, 0, 0) ==
                2 * matrices + 12.0 * (24 * (6 * 64 * 64 + 2 * 16 * 64) + 12 * 2 * 16 * 64));
    /* a fast head needs every token's logits: the head, 32 features of 768, F φ, and the update of F */
    assert_ok(il_config_preset("125m", "ttt_linear", NULL, &config, &error), error);
    config.fast_head_size = 32;
    double learning = 2.0 * 32000 * 768 + 2.0 * 32 * 768 + 2.0 * 32 * 32000 + 2.0 * 32 * 32000;
    for (int logits = 0; logits < 2; logits++)
        assert_true(il_config_flops_per_token(&config, 9, logits) == prefill + learning);
}

/* Carry, and half of the rows, of every head; keys and values of all tokens before. */
static void state_bytes(void **state) {
    static const struct {
        const char *mixer;
        double floats;
        uint64_t fast;
    } cases[] = {
        {"ttt_linear", 12.0 * 12 * (64 * 64 + 64 + 8.5 * (2 * 64 + 1)), 12 * 12 * (64 * 64 + 64)},
        {"ttt_linear_decay", 12.0 * 12 * (64 * 64 + 64 + 8.5 * (2 * 64 + 1)), 12 * 12 * (64 * 64 + 64)},
        {"ttt_mlp", 12.0 * 12 * (8 * 64 * 64 + 5 * 64 + 8.5 * (10 * 64 + 1)), 12 * 12 * (8 * 64 * 64 + 5 * 64)},
        {"self_attention", 12.0 * 2 * 768 * 1000, 0},
        {"gated_delta", 12.0 * 12 * (64 * 64 + 8.5 * (2 * 64 + 2)), 0},
    };
    il_config config;
    il_error error;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(il_config_preset("125m", cases[i].mixer, NULL, &config, &error), error);
        assert_true(il_config_state_bytes_per_token(&config, 1000) == 4 * cases[i].floats);
        assert_int_equal(il_config_fast_weights(&config), cases[i].fast);
    }
    assert_ok(il_config_set(&config, "layer_types", "6*ttt_mlp,6*full_attention", &error), error);
    assert_true(il_config_state_bytes_per_token(&config, 1000) == 2 * (cases[2].floats + cases[3].floats));
    assert_int_equal(il_config_fast_weights(&config), cases[2].fast / 2);
}

/* ---- text ---- */

static il_status parse(const char *text, il_config *config, il_error *error) {
    return il_config_parse("dir/config.json", text, strlen(text), config, error);
}

static void absent_keys_have_documented_defaults(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(parse("{\"model_type\": \"ttt\"}", &c, &error), error);
    assert_int_equal(c.mixer, IL_MIXER_TTT_LINEAR);
    assert_int_equal(c.vocab_size, 32000);
    assert_int_equal(c.width, 2048);
    assert_int_equal(c.ffn_width, 5504);
    assert_int_equal(c.layers, 24);
    assert_int_equal(c.heads, 32);
    assert_int_equal(c.mini_batch, 16);
    assert_int_equal(c.conv_kernel, 4);
    assert_true(!c.share_qk && !c.use_gate && !c.pre_conv && c.tie_word_embeddings);
    assert_int_equal(c.bos_token, 1);
    assert_int_equal(c.eos_token, 2);
    assert_true(c.rope_theta == 1e4 && c.rms_norm_eps == 1e-6 && c.ttt_base_lr == 1.0);
    assert_true(c.fast_head_size == 0 && c.fast_head_lr == 0.3 && c.fast_head_tokens == 0);
    assert_ok(parse("{\"model_type\": \"llama\"}", &c, &error), error);
    assert_true(c.fast_head_size == 0 && c.fast_head_lr == 0.3);
    assert_int_equal(c.mixer, IL_MIXER_SELF_ATTENTION);
    assert_int_equal(c.width, 4096);
    assert_int_equal(c.ffn_width, 11008);
    assert_int_equal(c.layers, 32);
    assert_int_equal(c.tie_word_embeddings, 0);
}

static void every_key_is_read(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(parse("{\"ttt_layer_type\":\"mlp\",\"model_type\":\"ttt\",\"vocab_size\":300,\"hidden_size\":96,"
                    "\"intermediate_size\":77,\"num_hidden_layers\":3,\"num_attention_heads\":4,\"mini_batch_size\":"
                    "8,"
                    "\"conv_kernel\":5,\"share_qk\":true,\"use_gate\":true,\"pre_conv\":true,"
                    "\"tie_word_embeddings\":false,\"bos_token_id\":null,\"eos_token_id\":299,\"rope_theta\":500000,"
                    "\"rms_norm_eps\":1e-5,\"ttt_base_lr\":0.25,\"fast_head_size\":48,\"fast_head_lr\":0.125,"
                    "\"fast_head_tokens\":250}",
                    &c, &error),
              error);
    assert_int_equal(c.mixer, IL_MIXER_TTT_MLP);
    assert_int_equal(c.vocab_size, 300);
    assert_int_equal(c.width, 96);
    assert_int_equal(c.ffn_width, 77);
    assert_int_equal(c.layers, 3);
    assert_int_equal(c.heads, 4);
    assert_int_equal(c.mini_batch, 8);
    assert_int_equal(c.conv_kernel, 5);
    assert_true(c.share_qk && c.use_gate && c.pre_conv && !c.tie_word_embeddings);
    assert_int_equal(c.bos_token, -1);
    assert_int_equal(c.eos_token, 299);
    assert_true(c.rope_theta == 500000 && c.rms_norm_eps == 1e-5 && c.ttt_base_lr == 0.25);
    assert_true(c.fast_head_size == 48 && c.fast_head_lr == 0.125 && c.fast_head_tokens == 250);
}

static void keys_of_the_gated_delta_rule(void **state) {
    static const char sizes[] = "\"linear_num_key_heads\":3,\"linear_num_value_heads\":6,\"linear_key_head_dim\":20,"
                                "\"linear_value_head_dim\":31,\"linear_conv_kernel_dim\":5,\"num_hidden_layers\":2";
    static const struct {
        const char *more, *message;
    } refused[] = {
        {"\"model_type\":\"gated_delta\",\"linear_num_value_heads\":8", "duplicate"},
        {"\"model_type\":\"gated_delta\",\"share_qk\":true", "share_qk: is not a key of a model of type gated_delta"},
        {"\"model_type\":\"gated_delta\",\"ttt_base_lr\":1", "ttt_base_lr: is not a key"},
        {"\"model_type\":\"llama\"", "is not a key of a model of type llama"},
        {"\"model_type\":\"ttt\"", "is not a key of a model of type ttt"},
        {"\"model_type\":\"qwen3_next\"", "\"qwen3_next\" is not supported (ttt, gated_delta, attention, "},
        {"\"model_type\":\"gated_delta\",\"layer_types\":[\"full_attention\",\"full_attention\"]",
         "layer_types has no layer of linear_attention, but model_type is gated_delta"},
        {"\"model_type\":\"gated_delta\",\"layer_types\":[\"linear_attention\",\"ttt_mlp\"]",
         "layer_types has a TTT layer, but model_type is gated_delta"},
    };
    il_allocator memory = il_allocator_default();
    il_config c, other;
    il_error error;
    char text[1024], *written;
    (void)state;
    snprintf(text, sizeof text, "{\"model_type\":\"gated_delta\",\"mini_batch_size\":7,%s}", sizes);
    assert_ok(parse(text, &c, &error), error);
    assert_int_equal(c.mixer, IL_MIXER_GATED_DELTA);
    assert_true(c.mini_batch == 7 && c.delta_key_heads == 3 && c.delta_value_heads == 6 && c.delta_key_width == 20);
    assert_true(c.delta_value_width == 31 && c.delta_taps == 5 && !c.n_layer_types);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        snprintf(text, sizeof text, "{%s,%s}", sizes, refused[i].more);
        assert_true(parse(text, &other, &error) != IL_OK);
        if (!strstr(error.message, refused[i].message)) fail_msg("%s: %s", text, error.message);
    }
    assert_ok(parse("{\"model_type\":\"gated_delta\"}", &other, &error), error);
    assert_true(other.delta_key_heads == 16 && other.delta_value_heads == 32 && other.delta_key_width == 128);
    assert_true(other.delta_value_width == 128 && other.delta_taps == 4);

    snprintf(text, sizeof text,
             "{\"model_type\":\"llama\",\"num_hidden_layers\":2,\"layer_types\":"
             "[\"full_attention\",\"linear_attention\"]}");
    assert_fails(parse(text, &other, &error), IL_ERR_FORMAT, error,
                 "layer_types has a layer of linear_attention, but model_type is llama");
    const char *const bad[][2] = {{"linear_num_value_heads", "7"},
                                  {"linear_key_head_dim", "0"},
                                  {"linear_value_head_dim", "1025"},
                                  {"linear_conv_kernel_dim", "17"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        other = c;
        assert_ok(il_config_set(&other, bad[i][0], bad[i][1], &error), error);
        assert_fails(il_config_check(&other, &error), IL_ERR_ARG, error, bad[i][0]);
        assert_true(!il_config_same(&c, &other));
    }
    assert_ok(il_config_set(&c, "linear_learned_start", "true", &error), error);
    assert_int_equal(il_config_parameters(&c), count(&c));
    assert_int_equal(il_config_fast_weights(&c), 2 * 6 * 20 * 31);
    assert_ok(il_config_text(&memory, &c, &written, &error), error);
    assert_non_null(strstr(written, "\"linear_learned_start\": true"));
    assert_ok(parse(written, &other, &error), error);
    assert_true(other.delta_learned_start && il_config_same(&c, &other));
    il_free(&memory, written);
    other = c;
    other.pre_conv = 1;
    assert_fails(il_config_check(&other, &error), IL_ERR_UNSUPPORTED, error, "gated_delta has no mamba backbone");
    /* a model without such layers does not ask what their sizes are, and does not write them */
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &c, &error), error);
    other = c;
    other.delta_key_heads = other.delta_value_width = 0;
    assert_ok(il_config_check(&other, &error), error);
    assert_true(il_config_same(&c, &other));
    assert_ok(il_config_text(&memory, &c, &written, &error), error);
    assert_null(strstr(written, "linear_"));
    il_free(&memory, written);
}

/* Says how text is read, nothing of what is computed. */
static void bytes_tokenizer_is_kept(void **state) {
    il_error error;
    (void)state;
    il_allocator memory = il_allocator_default();
    il_config config, again;
    char *text;
    assert_ok(parse("{\"model_type\":\"ttt\",\"tokenizer\":\"bytes\"}", &config, &error), error);
    assert_int_equal(config.bytes_tokenizer, 1);
    assert_ok(il_config_text(&memory, &config, &text, &error), error);
    assert_non_null(strstr(text, "\"tokenizer\": \"bytes\""));
    assert_ok(parse(text, &again, &error), error);
    assert_int_equal(again.bytes_tokenizer, 1);
    il_free(&memory, text);
    again.bytes_tokenizer = 0;
    assert_true(il_config_same(&config, &again));
    assert_ok(il_config_text(&memory, &again, &text, &error), error);
    assert_null(strstr(text, "tokenizer"));
    il_free(&memory, text);
    assert_fails(parse("{\"model_type\":\"ttt\",\"tokenizer\":\"words\"}", &config, &error), IL_ERR_UNSUPPORTED, error,
                 "tokenizer: must be \"bytes\"");
}

/* What transformers writes beside a model's own keys. */
static void bookkeeping_is_ignored(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(parse("{\"_name_or_path\":\"x\",\"architectures\":[\"TTTForCausalLM\"],\"auto_map\":{},\"model_"
                    "type\":\"ttt\","
                    "\"torch_dtype\":\"bfloat16\",\"transformers_version\":\"4.45.2\",\"initializer_range\":0.02,"
                    "\"use_cache\":false,\"pad_token_id\":null,\"hidden_act\":\"silu\",\"max_position_embeddings\":"
                    "2048,"
                    "\"attention_dropout\":0.0,\"scan_checkpoint_group_size\":4,\"pretraining_tp\":1,"
                    "\"num_key_value_heads\":32,\"attention_bias\":false,\"mlp_bias\":false,\"rope_scaling\":null,"
                    "\"head_dim\":64}",
                    &c, &error),
              error);
    assert_ok(parse("{\"model_type\":\"llama\",\"num_key_value_heads\":null,\"head_dim\":128,\"quantization_"
                    "config\":null}",
                    &c, &error),
              error);
}

static void refused(const char *text, il_status status, const char *says) {
    il_config config = {.layers = -3};
    il_error error;
    assert_fails(parse(text, &config, &error), status, error, says);
    assert_true(strstr(error.message, "dir/config.json: ") == error.message); /* the file is named */
    assert_int_equal(config.layers, -3);                                      /* and nothing is set */
}

static void unsupported_values_are_named(void **state) {
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"\"hidden_act\":\"gelu\"", "hidden_act"},  {"\"mlp_bias\":true", "mlp_bias"},
        {"\"pretraining_tp\":2", "pretraining_tp"}, {"\"quantization_config\":{\"bits\":4}", "quantization_config"},
        {"\"bos_token_id\":[1,2]", "bos_token_id"}, {"\"sliding_window\":4096", "sliding_window"},
        {"\"no_such_key\":1", "no_such_key"},
    };
    /* what attention may have, in a model that has none */
    static const struct {
        const char *text, *says;
    } of_attention[] = {
        {"\"num_key_value_heads\":8", "num_key_value_heads: is of attention"},
        {"\"head_dim\":32", "head_dim: is of attention"},
        {"\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", "rope_scaling: is of attention"},
        {"\"partial_rotary_factor\":0.5", "partial_rotary_factor: is of attention"},
        {"\"attention_bias\":true", "attention_bias: is of attention"},
        {"\"qk_norm\":true", "qk_norm: is of attention"},
    };
    char text[200];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"ttt\",%s}", cases[i].text);
        refused(text, IL_ERR_UNSUPPORTED, cases[i].says);
        snprintf(text, sizeof text, "{\"model_type\":\"llama\",%s}", cases[i].text);
        refused(text, IL_ERR_UNSUPPORTED, cases[i].says);
    }
    for (size_t i = 0; i < sizeof of_attention / sizeof of_attention[0]; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"ttt\",%s}", of_attention[i].text);
        refused(text, IL_ERR_UNSUPPORTED, of_attention[i].says);
    }
    refused("{\"model_type\":\"mistral\"}", IL_ERR_UNSUPPORTED, "model_type: \"mistral\"");
    refused("{\"model_type\":\"ttt\",\"ttt_layer_type\":\"conv\"}", IL_ERR_UNSUPPORTED, "ttt_layer_type: \"conv\"");
    refused("{\"model_type\":\"llama\",\"use_gate\":false}", IL_ERR_UNSUPPORTED, "use_gate");
    refused("{\"model_type\":\"llama\",\"ttt_layer_type\":\"mlp\"}", IL_ERR_UNSUPPORTED, "ttt_layer_type");
}

static void damaged_text_is_refused(void **state) {
    char *deep = malloc(5001);
    (void)state;
    refused("", IL_ERR_FORMAT, "line");
    refused("nonsense", IL_ERR_FORMAT, "line 1");
    refused("{\"model_type\":\"ttt\"", IL_ERR_FORMAT, "line 1");
    refused("{\"model_type\":\"ttt\"}x", IL_ERR_FORMAT, "line 1");
    refused("[]", IL_ERR_FORMAT, "object");
    refused("{}", IL_ERR_FORMAT, "model_type is missing");
    refused("{\"hidden_size\":64}", IL_ERR_FORMAT, "model_type is missing");
    refused("{\"model_type\":3}", IL_ERR_FORMAT, "model_type");
    refused("{\"model_type\":\"ttt\",\"model_type\":\"ttt\"}", IL_ERR_FORMAT, "uplicate");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":64,\"hidden_size\":64}", IL_ERR_FORMAT, "uplicate");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":\"64\"}", IL_ERR_FORMAT, "hidden_size");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":64.0}", IL_ERR_FORMAT, "hidden_size");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":null}", IL_ERR_FORMAT, "hidden_size");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":9999999999}", IL_ERR_FORMAT, "hidden_size");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":99999999999999999999}", IL_ERR_FORMAT, "line 1");
    refused("{\"model_type\":\"ttt\",\"use_gate\":1}", IL_ERR_FORMAT, "use_gate");
    refused("{\"model_type\":\"ttt\",\"rope_theta\":\"big\"}", IL_ERR_FORMAT, "rope_theta");
    refused("{\"model_type\":\"ttt\",\"rope_theta\":1e999}", IL_ERR_FORMAT, "line 1");
    refused("{\"model_type\":\"ttt\",\"bos_token_id\":1.5}", IL_ERR_FORMAT, "bos_token_id");
    refused("{\"model_type\":\"ttt\xff\"}", IL_ERR_FORMAT, "line 1");
    assert_non_null(deep);
    memset(deep, '[', 5000);
    deep[5000] = 0;
    refused(deep, IL_ERR_FORMAT, "line 1");
    free(deep);

    il_config config;
    il_error error;
    size_t bytes = (1 << 20) + 1;
    char *large = calloc(bytes, 1);
    assert_non_null(large);
    memset(large, ' ', bytes);
    assert_fails(il_config_parse("c", large, bytes, &config, &error), IL_ERR_UNSUPPORTED, error,
                 "more than 1 MiB are not read");
    free(large);
}

/* ---- bounds ---- */

static void every_number_is_bounded(void **state) {
    static const struct {
        const char *key, *low, *high, *below, *above;
    } cases[] = {
        {"vocab_size", "2", "16777216", "1", "16777217"},
        {"hidden_size", "8", "65536", "0", "65544"},
        {"intermediate_size", "1", "1048576", "0", "1048577"},
        {"num_hidden_layers", "1", "256", "0", "257"},
        {"num_attention_heads", "2", "64", "0", "-1"},
        {"mini_batch_size", "1", "1024", "0", "1025"},
        {"conv_kernel", "1", "16", "0", "17"},
        {"bos_token_id", "-1", "99", "-2", "100"},
        {"eos_token_id", "null", "99", "-2", "100"},
        {"rope_theta", "1", "1e12", "0.5", "1e13"},
        {"rms_norm_eps", "1e-12", "1.0", "0", "2"},
        {"ttt_base_lr", "0", "1e4", "-0.1", "1e5"},
        {"fast_head_size", "0", "1024", "-1", "1025"},
        {"fast_head_lr", "0", "100", "-0.1", "101"},
        {"fast_head_tokens", "0", "100", "-1", "101"},
    };
    il_config base, config;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &base, &error), error);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const values[] = {cases[i].low, cases[i].high, cases[i].below, cases[i].above};
        for (int v = 0; v < 4; v++) {
            config = base;
            config.vocab_size = 100;
            config.layers = 1;
            if (strcmp(cases[i].key, "hidden_size") == 0 && v % 2) config.heads = 64;
            if (strcmp(cases[i].key, "vocab_size") == 0) config.bos_token = config.eos_token = -1;
            config.fast_head_size = 8; /* without one its tokens say nothing */
            assert_ok(il_config_set(&config, cases[i].key, values[v], &error), error);
            if (v < 2)
                assert_ok(il_config_check(&config, &error), error);
            else
                assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, cases[i].key);
        }
    }
    config = base;
    config.rope_theta = NAN;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "rope_theta");
    config = base;
    config.rms_norm_eps = INFINITY;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "rms_norm_eps");
    config = base;
    config.fast_head_lr = NAN;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "fast_head_lr");
    config = base;
    config.use_gate = 2;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "use_gate");
    config = base;
    config.mixer = (il_mixer_kind)il_mixer_count();
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "mixer");
}

static void sizes_must_fit_together(void **state) {
    il_config config;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &config, &error), error);
    config.heads = 3;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "hidden_size 128 is not a multiple");
    config.width = 9;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "even number");
    config.width = 4096;
    config.heads = 2;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "even number");
    config.width = config.ffn_width = 65536;
    config.heads = 64;
    config.layers = 256;
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "parameters");
    assert_ok(il_config_preset("tiny", "self_attention", NULL, &config, &error), error);
    config.pre_conv = 1;
    assert_fails(il_config_check(&config, &error), IL_ERR_UNSUPPORTED, error, "pre_conv");
    refused("{\"model_type\":\"ttt\",\"hidden_size\":60,\"num_attention_heads\":7}", IL_ERR_FORMAT, "hidden_size 60");
    refused("{\"model_type\":\"ttt\",\"vocab_size\":0}", IL_ERR_FORMAT, "vocab_size is 0");
    refused("{\"model_type\":\"ttt\",\"num_hidden_layers\":100000}", IL_ERR_FORMAT, "num_hidden_layers is 100000");
}

static il_config attention_config(void) {
    il_config config;
    il_error error;
    assert_ok(il_config_preset("tiny", "self_attention", NULL, &config, &error), error);
    config.heads = 6;
    config.kv_heads = 2;
    config.head_width = 20; /* 128 is no multiple of 6 */
    config.rotary_width = 8;
    config.qk_norm = config.attention_bias = config.attention_output_bias = 1;
    config.attention_gate = config.norm_offset = 1;
    config.rope_scaling = IL_ROPE_LLAMA3;
    config.rope_factor = 8, config.rope_low_frequency = 1, config.rope_high_frequency = 4;
    config.rope_positions = 100;
    return config;
}

static void attention_must_fit_together(void **state) {
    il_config c = attention_config();
    il_error error;
    (void)state;
    assert_ok(il_config_check(&c, &error), error);
#define REFUSED(field, value, what)                                                                                    \
    do {                                                                                                               \
        c = attention_config();                                                                                        \
        c.field = value;                                                                                               \
        assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, what);                                            \
    } while (0)
    REFUSED(kv_heads, 4, "num_key_value_heads 4");
    REFUSED(kv_heads, 12, "num_key_value_heads");
    REFUSED(kv_heads, -1, "num_key_value_heads");
    REFUSED(head_width, 19, "head_dim");
    REFUSED(head_width, 1026, "head_dim");
    REFUSED(head_width, -2, "head_dim");
    REFUSED(head_width, 0, "hidden_size 128 is not a multiple");
    REFUSED(rotary_width, 22, "22 numbers of a head of 20");
    REFUSED(rotary_width, 7, "partial_rotary_factor");
    REFUSED(rotary_width, -2, "partial_rotary_factor");
    REFUSED(qk_norm, 2, "qk_norm");
    REFUSED(attention_bias, 2, "attention_bias");
    REFUSED(attention_output_bias, -1, "attention_output_bias");
    REFUSED(attention_gate, 2, "attn_output_gate");
    REFUSED(norm_offset, 2, "norm_offset");
    REFUSED(rope_scaling, (il_rope_scaling)3, "rope_scaling: type 3");
    REFUSED(rope_factor, 0, "rope_scaling: factor");
    REFUSED(rope_factor, NAN, "rope_scaling: factor");
    REFUSED(rope_low_frequency, 4, "low_freq_factor 4");
    REFUSED(rope_low_frequency, 0, "low_freq_factor");
    REFUSED(rope_high_frequency, INFINITY, "high_freq_factor");
    REFUSED(rope_positions, 0, "original_max_position_embeddings");
#undef REFUSED
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &c, &error), error);
    c.heads = 6, c.head_width = 20; /* that of attention; TTT's is still D / H */
    assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, "hidden_size 128 is not a multiple");
}

static void sliding_attention_has_a_window(void **state) {
    il_config c, read;
    il_error error;
    char *text;
    (void)state;
    assert_ok(il_config_preset("tiny", "sliding_attention", NULL, &c, &error), error);
    assert_ok(il_config_check(&c, &error), error);
    assert_int_equal(c.sliding_window, 512);
    assert_true(il_config_state_bytes_per_token(&c, 5000) == il_config_state_bytes_per_token(&c, 512));
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &c, &error), error);
    assert_ok(il_config_set(&c, "layer_types", "3*ttt_linear,sliding_attention", &error), error);
    assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, "sliding_window is 0");
    assert_ok(il_config_set(&c, "sliding_window", "70", &error), error);
    assert_ok(il_config_check(&c, &error), error);
    assert_ok(il_config_set(&c, "layer_types", "3*ttt_linear,sliding_attention:90", &error), error);
    assert_int_equal(c.sliding_window, 90);
    assert_int_equal(il_config_mixer(&c, 3), IL_MIXER_SLIDING_ATTENTION);
    assert_ok(il_config_set(&c, "layer_types", "2*sliding_attention:64,sliding_attention:64,ttt_mlp", &error), error);
    assert_int_equal(c.sliding_window, 64);
    static const char *const bad[] = {"sliding_attention:", "sliding_attention:x", "sliding_attention:0",
                                      "sliding_attention:6x", "sliding_attention:99999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(il_config_set(&c, "layer_types", bad[i], &error), IL_ERR_ARG, error, "behind the colon");
    assert_fails(il_config_set(&c, "layer_types", "sliding_attention:8,sliding_attention:9", &error),
                 IL_ERR_UNSUPPORTED, error, "windows of 8 and 9");
    assert_fails(il_config_set(&c, "layer_types", "ttt_mlp:8", &error), IL_ERR_UNSUPPORTED, error, "ttt_mlp:8");
    assert_int_equal(c.sliding_window, 64);
    /* alone, with full attention in any order, and in a file */
    static const char *const layers[] = {"sliding_attention:30", "sliding_attention:30,full_attention",
                                         "full_attention,sliding_attention:30"};
    for (int i = 0; i < 3; i++) {
        assert_ok(il_config_preset("tiny", "self_attention", NULL, &c, &error), error);
        assert_ok(il_config_set(&c, "layer_types", layers[i], &error), error);
        assert_int_equal(c.mixer, i ? IL_MIXER_SELF_ATTENTION : IL_MIXER_SLIDING_ATTENTION);
        assert_ok(il_config_check(&c, &error), error);
        assert_ok(il_config_text(&engine->memory, &c, &text, &error), error);
        assert_ok(il_config_parse("c", text, strlen(text), &read, &error), error);
        assert_true(il_config_same(&c, &read) && read.sliding_window == 30 && read.mixer == c.mixer);
        il_free(&engine->memory, text);
    }
}

/* Parameters and costs by hand. */
static void attention_is_counted(void **state) {
    il_config c = attention_config(), plain = c;
    (void)state;
    uint64_t vectors = 6 * 20 * 2 + 2 * 2 * 20 + 128 + 2 * 20, matrices = 128 * (6 * 20 * 2 + 2 * 2 * 20 + 6 * 20);
    plain.layers = 0;
    uint64_t layer = il_config_parameters(&c) - il_config_parameters(&plain);
    assert_int_equal(layer, (uint64_t)c.layers * (vectors + matrices + 2 * 128 + 3 * 128 * (uint64_t)c.ffn_width));
    assert_int_equal(il_config_parameters(&c), count(&c));
    assert_true(il_config_state_bytes_per_token(&c, 1000) == c.layers * 2.0 * 2 * 20 * 1000 * 4);
    double flops = il_config_flops_per_token(&c, 1000, 0) - il_config_flops_per_token(&c, 0, 0);
    assert_true(flops == c.layers * 4.0 * 6 * 20 * 1000);
}

/* ---- setting ---- */

static void set_reads_values_as_json_or_plain(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &c, &error), error);
    assert_ok(il_config_set(&c, "num_hidden_layers", "7", &error), error);
    assert_int_equal(c.layers, 7);
    assert_ok(il_config_set(&c, "ttt_layer_type", "mlp", &error), error);
    assert_int_equal(c.mixer, IL_MIXER_TTT_MLP);
    assert_ok(il_config_set(&c, "ttt_layer_type", "\"linear\"", &error), error);
    assert_int_equal(c.mixer, IL_MIXER_TTT_LINEAR);
    assert_ok(il_config_set(&c, "use_gate", "false", &error), error);
    assert_int_equal(c.use_gate, 0);
    assert_ok(il_config_set(&c, "ttt_base_lr", "2.5e-1", &error), error);
    assert_true(c.ttt_base_lr == 0.25);
    assert_ok(il_config_set(&c, "bos_token_id", "null", &error), error);
    assert_int_equal(c.bos_token, -1);
    assert_fails(il_config_set(&c, "num_hidden_layers", "7x", &error), IL_ERR_ARG, error, "num_hidden_layers");
    assert_fails(il_config_set(&c, "num_hidden_layers", "", &error), IL_ERR_ARG, error, "num_hidden_layers");
    assert_fails(il_config_set(&c, "fast_head_size", "1.5", &error), IL_ERR_ARG, error, "fast_head_size");
    assert_fails(il_config_set(&c, "fast_head_lr", "nan", &error), IL_ERR_ARG, error, "fast_head_lr");
    assert_fails(il_config_set(&c, "use_gate", "yes", &error), IL_ERR_ARG, error, "use_gate");
    assert_fails(il_config_set(&c, "ttt_layer_type", "conv", &error), IL_ERR_UNSUPPORTED, error, "conv");
    assert_fails(il_config_set(&c, "layers", "7", &error), IL_ERR_ARG, error, "layers");
    assert_fails(il_config_set(&c, "hidden_act", "silu", &error), IL_ERR_ARG, error, "hidden_act");
    assert_fails(il_config_set(&c, "use_gate", "\xff", &error), IL_ERR_ARG, error, "use_gate");
    assert_fails(il_config_set(&c, NULL, "1", &error), IL_ERR_ARG, error, "key");
    assert_fails(il_config_set(&c, "use_gate", NULL, &error), IL_ERR_ARG, error, "value");
    assert_int_equal(il_config_set(&c, "use_gate", "yes", NULL), IL_ERR_ARG);
    assert_int_equal(c.layers, 7);
    assert_ok(il_config_set(&c, "model_type", "llama", &error), error);
    assert_int_equal(c.mixer, IL_MIXER_SELF_ATTENTION);
    assert_fails(il_config_set(&c, "mini_batch_size", "8", &error), IL_ERR_ARG, error, "mini_batch_size");
    assert_ok(il_config_check_key(&c, "num_key_value_heads", &error), error);
    assert_ok(il_config_check_key(&c, "rope_scaling", &error), error);
    assert_fails(il_config_check_key(&c, "mini_batch_size", &error), IL_ERR_ARG, error, "mini_batch_size");
    assert_fails(il_config_check_key(&c, "sliding_window", &error), IL_ERR_ARG, error, "no layer");
    assert_fails(il_config_check_key(&c, "fast_head_lr", &error), IL_ERR_ARG, error, "no fast head");
    c.fast_head_size = 4;
    assert_ok(il_config_check_key(&c, "mini_batch_size", &error), error);
    assert_ok(il_config_check_key(&c, "fast_head_tokens", &error), error);
    c.fast_head_size = 0;
    assert_ok(il_config_set(&c, "layer_types", "sliding_attention:8", &error), error);
    assert_ok(il_config_check_key(&c, "sliding_window", &error), error);
    assert_ok(il_config_set(&c, "layer_types", "null", &error), error);
    assert_ok(il_config_set(&c, "model_type", "ttt", &error), error);
    assert_fails(il_config_check_key(&c, "num_key_value_heads", &error), IL_ERR_ARG, error, "these layers");
    assert_fails(il_config_check_key(&c, "rope_scaling", &error), IL_ERR_ARG, error, "these layers");
    assert_int_equal(c.mixer, IL_MIXER_TTT_LINEAR);
}

/* ---- layers that differ ---- */

static void expect_layers(const il_config *config, const char *wanted) {
    char letters[IL_LAYERS_MAX + 1] = {0};
    for (int i = 0; i < config->layers; i++) {
        il_mixer_kind mixer = il_config_mixer(config, i);
        letters[i] = mixer == IL_MIXER_SELF_ATTENTION ? 'a' : mixer == IL_MIXER_TTT_MLP ? 'm' : 'l';
    }
    assert_string_equal(letters, wanted);
}

/* A model of so many layers with a key of its own. */
static const char *of_layers(int layers, const char *type, const char *keys) {
    static char text[16000];
    snprintf(text, sizeof text, "{\"model_type\":\"%s\",\"num_hidden_layers\":%d,%s}", type, layers, keys);
    return text;
}

static void layer_types_are_read_one_a_layer(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(parse(of_layers(3, "ttt", "\"layer_types\":[\"full_attention\",\"ttt_mlp\",\"ttt_linear\"]"), &c, &error),
              error);
    expect_layers(&c, "aml");
    assert_int_equal(c.n_layer_types, 3);
    assert_int_equal(c.mixer, IL_MIXER_TTT_MLP); /* ttt_layer_type: of the first TTT layer */
    assert_ok(parse(of_layers(2, "ttt",
                              "\"layer_types\":[\"self_attention\",\"ttt_linear\"],"
                              "\"ttt_layer_type\":\"linear\",\"share_qk\":true,\"use_gate\":true"),
                    &c, &error),
              error);
    expect_layers(&c, "al");
    assert_true(c.share_qk && c.use_gate);
}

static void layers_that_are_alike_need_no_list(void **state) {
    il_config c;
    il_error error;
    (void)state;
    assert_ok(parse(of_layers(2, "ttt", "\"layer_types\":[\"ttt_mlp\",\"ttt_mlp\"]"), &c, &error), error);
    assert_int_equal(c.mixer, IL_MIXER_TTT_MLP);
    assert_int_equal(c.n_layer_types, 0);
    assert_ok(parse(of_layers(2, "llama", "\"layer_types\":[\"full_attention\",\"self_attention\"]"), &c, &error),
              error);
    assert_int_equal(c.mixer, IL_MIXER_SELF_ATTENTION);
    assert_int_equal(c.n_layer_types, 0);
    assert_ok(parse(of_layers(2, "ttt", "\"layer_types\":null"), &c, &error), error);
    expect_layers(&c, "ll");

    il_config listed = c;
    listed.n_layer_types = 2;
    listed.layer_types[0] = listed.layer_types[1] = (unsigned char)c.mixer;
    assert_ok(il_config_check(&listed, &error), error);
    assert_true(il_config_same(&c, &listed));
}

static void layer_types_that_do_not_fit_are_refused(void **state) {
    static const struct {
        const char *type, *keys;
        il_status status;
        const char *says;
    } cases[] = {
        {"ttt", "\"layer_types\":[\"ttt_linear\"]", IL_ERR_FORMAT, "layer_types has 1 entries"},
        {"ttt", "\"layer_types\":[\"ttt_mlp\",\"ttt_mlp\",\"ttt_mlp\"]", IL_ERR_FORMAT, "layer_types has 3 entries"},
        {"ttt", "\"layer_types\":[]", IL_ERR_FORMAT, "layer_types: must be a list"},
        {"ttt", "\"layer_types\":\"2*ttt_linear\"", IL_ERR_FORMAT, "layer_types: must be a list"},
        {"ttt", "\"layer_types\":{\"0\":\"ttt_linear\"}", IL_ERR_FORMAT, "layer_types: must be a list"},
        {"ttt", "\"layer_types\":[\"ttt_linear\",1]", IL_ERR_FORMAT, "layer_types: entry 1 must be a string"},
        {"ttt", "\"layer_types\":[\"2*ttt_linear\"]", IL_ERR_UNSUPPORTED, "layer_types: \"2*ttt_linear\""},
        {"ttt", "\"layer_types\":[\"ttt_linear\",\"chunked_attention\"]", IL_ERR_UNSUPPORTED,
         "\"chunked_attention\" is not supported ("},
        {"llama", "\"layer_types\":[\"linear\",\"linear\"]", IL_ERR_UNSUPPORTED, "full_attention"},
        {"llama", "\"layer_types\":[\"full_attention\",\"ttt_linear\"]", IL_ERR_FORMAT, "model_type is llama"},
        {"llama", "\"layer_types\":[\"ttt_linear\",\"ttt_linear\"]", IL_ERR_FORMAT, "model_type is llama"},
        {"ttt", "\"layer_types\":[\"full_attention\",\"full_attention\"]", IL_ERR_FORMAT, "no TTT layer"},
        {"ttt", "\"ttt_layer_type\":\"mlp\",\"layer_types\":[\"full_attention\",\"ttt_linear\"]", IL_ERR_FORMAT,
         "ttt_layer_type is mlp"},
        {"ttt", "\"ttt_layer_type\":\"mlp\",\"layer_types\":[\"ttt_linear\",\"ttt_linear\"]", IL_ERR_FORMAT,
         "ttt_layer_type is mlp"},
    };
    char many[8192] = "\"layer_types\":[\"ttt_linear\"";
    il_config config;
    il_error error;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused(of_layers(2, cases[i].type, cases[i].keys), cases[i].status, cases[i].says);
    for (int i = 0; i < IL_LAYERS_MAX; i++) strcat(many, ",\"ttt_linear\"");
    refused(of_layers(2, "ttt", strcat(many, "]")), IL_ERR_FORMAT, "more than 256");

    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &config, &error), error);
    config.n_layer_types = config.layers;
    memset(config.layer_types, (int)IL_MIXER_TTT_LINEAR, sizeof config.layer_types);
    config.layer_types[1] = (unsigned char)il_mixer_count();
    assert_fails(il_config_check(&config, &error), IL_ERR_ARG, error, "layer_types: mixer");
}

static void layer_types_are_set_by_names(void **state) {
    il_config c, before;
    il_error error;
    (void)state;
    assert_ok(il_config_preset("tiny", "ttt_linear", NULL, &c, &error), error); /* 4 layers */
    assert_ok(il_config_set(&c, "layer_types", "ttt_linear,full_attention", &error), error);
    expect_layers(&c, "lala");
    assert_ok(il_config_set(&c, "layer_types", "3*ttt_mlp,self_attention", &error), error);
    expect_layers(&c, "mmma");
    assert_int_equal(c.mixer, IL_MIXER_TTT_MLP);
    assert_ok(il_config_set(&c, "layer_types", "[\"full_attention\",\"ttt_mlp\",\"ttt_mlp\",\"ttt_linear\"]", &error),
              error);
    expect_layers(&c, "amml");
    assert_ok(il_config_set(&c, "layer_types", "ttt_linear", &error), error);
    expect_layers(&c, "llll");
    assert_int_equal(c.n_layer_types, 0);
    assert_ok(il_config_set(&c, "layer_types", "2*full_attention", &error), error);
    expect_layers(&c, "aaaa");
    assert_ok(il_config_set(&c, "layer_types", "ttt_linear,3*full_attention", &error), error);
    assert_ok(il_config_set(&c, "layer_types", "null", &error), error);
    expect_layers(&c, "llll");

    before = c;
    assert_fails(il_config_set(&c, "layer_types", "", &error), IL_ERR_UNSUPPORTED, error, "layer_types: \"\"");
    assert_fails(il_config_set(&c, "layer_types", "ttt_linear,", &error), IL_ERR_UNSUPPORTED, error, "\"\"");
    assert_fails(il_config_set(&c, "layer_types", "0*ttt_linear", &error), IL_ERR_ARG, error, "at least once");
    assert_fails(il_config_set(&c, "layer_types", "257*ttt_linear", &error), IL_ERR_ARG, error, "more than 256");
    assert_fails(il_config_set(&c, "layer_types", "99999999999999999999999*ttt_mlp", &error), IL_ERR_ARG, error,
                 "more than 256");
    assert_fails(il_config_set(&c, "layer_types", "3*", &error), IL_ERR_UNSUPPORTED, error, "\"\"");
    assert_fails(il_config_set(&c, "layer_types", "-1*ttt_mlp", &error), IL_ERR_UNSUPPORTED, error, "\"-1*ttt_mlp\"");
    assert_fails(il_config_set(&c, "layer_types", "7", &error), IL_ERR_ARG, error, "must be a list");
    assert_true(il_config_same(&c, &before)); /* untouched by failures */

    assert_ok(il_config_set(&c, "layer_types", "2*ttt_linear,full_attention", &error), error); /* does not divide 4 */
    assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, "layer_types has 3 entries");
    assert_ok(il_config_set(&c, "num_hidden_layers", "3", &error), error);
    expect_layers(&c, "lla");
    assert_ok(il_config_set(&c, "ttt_layer_type", "mlp", &error), error);
    assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, "ttt_layer_type is mlp");
    assert_ok(il_config_set(&c, "model_type", "llama", &error), error);
    c.share_qk = c.use_gate = c.pre_conv = 0;
    assert_fails(il_config_check(&c, &error), IL_ERR_ARG, error, "model_type is llama");
}

static void what_layers_cost_is_summed(void **state) {
    static const char *const lists[] = {"ttt_linear", "ttt_mlp", "full_attention",
                                        "ttt_linear,2*ttt_mlp,full_attention"};
    double flops[4];
    il_config config;
    il_error error;
    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_ok(il_config_preset("tiny", "ttt_linear", "transformer", &config, &error), error);
        assert_ok(il_config_set(&config, "layer_types", lists[i], &error), error);
        flops[i] = il_config_flops_per_token(&config, 1000, 0);
    }
    assert_true(4 * flops[3] == flops[0] + 2 * flops[1] + flops[2]);
    /* an attention layer has no gate and a projection for Q and for K, whatever TTT layers have */
    config.share_qk = config.use_gate = config.pre_conv = 1;
    assert_true(il_config_flops_per_token(&config, 2000, 0) - il_config_flops_per_token(&config, 1000, 0) ==
                4.0 * 128 * 1000);
}

/* ---- writing ---- */

static void expect_same(const il_config *a, const il_config *b) {
    assert_true(il_config_same(a, b));
    assert_int_equal(a->mixer, b->mixer);
    assert_int_equal(a->n_layer_types, b->n_layer_types);
    for (int i = 0; i < a->layers; i++) assert_int_equal(il_config_mixer(a, i), il_config_mixer(b, i));
    assert_int_equal(a->vocab_size, b->vocab_size);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->ffn_width, b->ffn_width);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->mini_batch, b->mini_batch);
    assert_int_equal(a->conv_kernel, b->conv_kernel);
    assert_int_equal(a->share_qk, b->share_qk);
    assert_int_equal(a->use_gate, b->use_gate);
    assert_int_equal(a->pre_conv, b->pre_conv);
    assert_int_equal(a->tie_word_embeddings, b->tie_word_embeddings);
    assert_int_equal(a->bos_token, b->bos_token);
    assert_int_equal(a->eos_token, b->eos_token);
    assert_true(a->rope_theta == b->rope_theta && a->rms_norm_eps == b->rms_norm_eps &&
                a->ttt_base_lr == b->ttt_base_lr);
    assert_int_equal(a->fast_head_size, b->fast_head_size);
    assert_true(a->fast_head_lr == b->fast_head_lr);
    assert_int_equal(a->fast_head_tokens, b->fast_head_tokens);
}

static void there_and_back(const il_config *config) {
    il_allocator memory = il_allocator_default();
    il_config again;
    il_error error;
    char *text;
    assert_ok(il_config_text(&memory, config, &text, &error), error);
    assert_ok(parse(text, &again, &error), error);
    expect_same(config, &again);
    il_free(&memory, text);
}

static void text_reads_back_the_same(void **state) {
    static const double awkward[] = {1e-6,           0.1,   1.0 / 3.0,          9.9999999999999995e-07,
                                     1234567.890123, 1e-12, 0.30000000000000004};
    il_config config;
    il_error error;
    (void)state;
    for (size_t p = 0; p < 6; p++)
        for (int m = 0; m < il_mixer_count(); m++)
            for (int mamba = 0; mamba < 1 + il_mixer_is_ttt((il_mixer_kind)m); mamba++) {
                const char *mixer = il_mixer_name((il_mixer_kind)m);
                assert_ok(il_config_preset(preset_names[p], mixer, mamba ? "mamba" : "transformer", &config, &error),
                          error);
                there_and_back(&config);
            }
    assert_ok(il_config_preset("tiny", "ttt_mlp", NULL, &config, &error), error);
    for (size_t i = 0; i < sizeof awkward / sizeof awkward[0]; i++) {
        config.ttt_base_lr = awkward[i] < 1e4 ? awkward[i] : 1;
        config.rms_norm_eps = awkward[i] < 1 ? awkward[i] : 1;
        config.rope_theta = awkward[i] + 1;
        config.bos_token = -1;
        config.eos_token = 31999;
        config.tie_word_embeddings = 0;
        config.conv_kernel = 3;
        config.fast_head_size = 1 + (int)i;
        config.fast_head_lr = awkward[i] < 100 ? awkward[i] : 100;
        config.fast_head_tokens = (int)i * 77;
        there_and_back(&config);
    }
}

static void layers_are_written_where_they_differ(void **state) {
    static const struct {
        const char *layers, *written;
    } cases[] = {
        {"ttt_linear", NULL},
        {"self_attention", NULL},
        {"ttt_mlp,3*self_attention",
         "\"layer_types\": [\"ttt_mlp\", \"full_attention\", \"full_attention\", \"full_attention\"]"},
        {"self_attention,ttt_linear_decay,self_attention,ttt_mlp",
         "\"layer_types\": [\"full_attention\", \"ttt_linear_decay\", \"full_attention\", \"ttt_mlp\"]"},
        {"gated_delta", NULL},
        {"ttt_mlp,3*gated_delta",
         "\"layer_types\": [\"ttt_mlp\", \"linear_attention\", \"linear_attention\", \"linear_attention\"]"},
        {"3*linear_attention,full_attention", "\"linear_attention\", \"full_attention\"]"},
    };
    il_allocator memory = il_allocator_default();
    il_config config;
    il_error error;
    char *text;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_ok(il_config_preset("tiny", "ttt_linear", "transformer", &config, &error), error);
        assert_ok(il_config_set(&config, "layer_types", cases[i].layers, &error), error);
        assert_ok(il_config_text(&memory, &config, &text, &error), error);
        if (cases[i].written)
            assert_non_null(strstr(text, cases[i].written));
        else
            assert_null(strstr(text, "layer_types"));
        il_free(&memory, text);
        there_and_back(&config);
    }
    assert_ok(il_config_set(&config, "num_hidden_layers", "256", &error), error); /* the longest text */
    assert_ok(il_config_set(&config, "layer_types", "255*ttt_linear_decay,full_attention", &error), error);
    there_and_back(&config);
}

/* Other software need not know of it: its keys are written only where there is one. */
static void a_fast_head_is_written_where_there_is_one(void **state) {
    static const char *const kinds[] = {"ttt_linear", "self_attention"};
    il_allocator memory = il_allocator_default();
    (void)state;
    for (int i = 0; i < 4; i++) {
        il_config config;
        il_error error;
        char *text;
        assert_ok(il_config_preset("tiny", kinds[i / 2], NULL, &config, &error), error);
        if (i % 2) assert_ok(il_config_set(&config, "fast_head_size", "32", &error), error);
        assert_ok(il_config_set(&config, "fast_head_lr", "0.5", &error), error);
        if (i == 3) assert_ok(il_config_set(&config, "fast_head_tokens", "77", &error), error);
        assert_ok(il_config_text(&memory, &config, &text, &error), error);
        assert_true((strstr(text, "\"fast_head_size\": 32") != NULL) == i % 2);
        assert_true((strstr(text, "\"fast_head_lr\": 0.5") != NULL) == i % 2);
        assert_true((strstr(text, "\"fast_head_tokens\": 77") != NULL) == (i == 3));
        if (i % 2) there_and_back(&config);
        il_free(&memory, text);
    }
}

/* A decimal comma in the program's locale must not reach a file. */
static void text_ignores_the_locale(void **state) {
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"};
    il_config config;
    il_error error;
    size_t i = 0;
    (void)state;
    while (i < 4 && !setlocale(LC_NUMERIC, locales[i])) i++;
    if (i == 4) skip(); /* none is installed */
    assert_ok(il_config_preset("tiny", "ttt_mlp", NULL, &config, &error), error);
    config.rope_theta = 1234.5;
    there_and_back(&config);
    assert_ok(il_config_set(&config, "ttt_base_lr", "0.5", &error), error);
    assert_true(config.ttt_base_lr == 0.5);
    setlocale(LC_NUMERIC, "C");
}

static il_status make_text(const il_allocator *allocator, void *context, il_error *error) {
    char *text;
    il_status status = il_config_text(allocator, context, &text, error);
    if (status == IL_OK) il_free(allocator, text);
    return status;
}

static il_status load(const il_allocator *allocator, void *context, il_error *error) {
    il_engine fake = {.memory = *allocator}; /* all that loading a config uses of an engine */
    il_config config;
    return il_config_load(&fake, context, &config, error);
}

static void loading_from_a_folder(void **state) {
    il_config config;
    il_error error;
    support_alloc alloc;
    char *folder = support_folder_make();
    (void)state;
    assert_fails(il_config_load(engine, folder, &config, &error), IL_ERR_IO, error, "config.json");
    support_write(support_path(folder, "config.json"), "{\"model_type\":\"ttt\",\"hidden_size\":-4}", 37);
    assert_fails(il_config_load(engine, folder, &config, &error), IL_ERR_FORMAT, error,
                 "config.json: hidden_size is -4");
    support_write(support_path(folder, "config.json"), "", 0);
    assert_fails(il_config_load(engine, folder, &config, &error), IL_ERR_FORMAT, error, "config.json: line");
    support_write(support_path(folder, "config.json"), "{\"model_type\":\"ttt\"}", 20);
    assert_ok(il_config_load(engine, folder, &config, &error), error);
    assert_int_equal(config.width, 2048);

    support_alloc_begin(&alloc);
    assert_int_equal(support_alloc_fail_each(&alloc, load, folder), 1);
    assert_int_equal(support_alloc_fail_each(&alloc, make_text, &config), 1);
    support_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixers_are_numbered_as_the_header_says),
        cmocka_unit_test(what_is_known_is_listed),
        cmocka_unit_test(presets_have_the_published_sizes),
        cmocka_unit_test(other_mixers_are_as_large_as_ttt_linear),
        cmocka_unit_test(preset_arguments),
        cmocka_unit_test(sizes_of_all_variants),
        cmocka_unit_test(sizes_of_layers_that_differ),
        cmocka_unit_test(flops),
        cmocka_unit_test(state_bytes),
        cmocka_unit_test(absent_keys_have_documented_defaults),
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(keys_of_the_gated_delta_rule),
        cmocka_unit_test(bytes_tokenizer_is_kept),
        cmocka_unit_test(bookkeeping_is_ignored),
        cmocka_unit_test(unsupported_values_are_named),
        cmocka_unit_test(damaged_text_is_refused),
        cmocka_unit_test(every_number_is_bounded),
        cmocka_unit_test(sizes_must_fit_together),
        cmocka_unit_test(attention_must_fit_together),
        cmocka_unit_test(attention_is_counted),
        cmocka_unit_test(sliding_attention_has_a_window),
        cmocka_unit_test(set_reads_values_as_json_or_plain),
        cmocka_unit_test(layer_types_are_read_one_a_layer),
        cmocka_unit_test(layers_that_are_alike_need_no_list),
        cmocka_unit_test(layer_types_that_do_not_fit_are_refused),
        cmocka_unit_test(layer_types_are_set_by_names),
        cmocka_unit_test(what_layers_cost_is_summed),
        cmocka_unit_test(text_reads_back_the_same),
        cmocka_unit_test(layers_are_written_where_they_differ),
        cmocka_unit_test(a_fast_head_is_written_where_there_is_one),
        cmocka_unit_test(text_ignores_the_locale),
        cmocka_unit_test(loading_from_a_folder),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
