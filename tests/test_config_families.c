/* test_config_families.c: config.json of models that others publish: what absent keys mean, RoPE's two objects, layers,
 * models that see, what is refused by name; and under which type a model is written. */
#include "support_test.h"

#include <stdio.h>
#include <stdlib.h>

#include "model/config.h"
#include "model/config_read.h"
#include "model/config_write.h"

static il_status parse(const char *text, il_config *config, il_error *error) {
    return il_config_parse("dir/config.json", text, strlen(text), config, error);
}

static void refused(const char *text, const char *says) {
    il_config config = {.layers = -3};
    il_error error = {0};
    il_status status = parse(text, &config, &error);
    if (status != IL_ERR_UNSUPPORTED && status != IL_ERR_FORMAT)
        fail_msg("%s: %s %s", text, il_status_name(status), error.message);
    if (!strstr(error.message, says) || strstr(error.message, "dir/config.json: ") != error.message)
        fail_msg("%s: \"%s\" does not say \"%s\"", text, error.message, says);
    assert_int_equal(config.layers, -3);
}

static void read_ok(const char *text, il_config *config) {
    il_error error;
    assert_ok(parse(text, config, &error), error);
}

static char *text_of(const il_config *config) {
    il_allocator memory = il_allocator_default();
    il_error error;
    char *text;
    assert_ok(il_config_text(&memory, config, &text, &error), error);
    return text;
}

/* The text reads back as the same config, under that type. */
static void written_as(const il_config *config, const char *type) {
    char wanted[64], *text = text_of(config), *again;
    il_config read;
    snprintf(wanted, sizeof wanted, "\"model_type\": \"%s\",", type);
    if (!strstr(text, wanted)) fail_msg("%s: not %s", text, wanted);
    read_ok(text, &read);
    if (!il_config_same(config, &read)) fail_msg("reads back as another config: %s", text);
    again = text_of(&read);
    assert_string_equal(text, again);
    free(again);
    free(text);
}

/* ---- published files ---- */

static const char qwen35[] =
    "{\"architectures\":[\"Qwen3_5ForConditionalGeneration\"],\"image_token_id\":248056,\"model_type\":\"qwen3_5\","
    "\"text_config\":{\"attention_bias\":false,\"attention_dropout\":0.0,\"attn_output_gate\":true,\"dtype\":"
    "\"bfloat16\",\"eos_token_id\":248044,\"full_attention_interval\":4,\"head_dim\":256,\"hidden_act\":\"silu\","
    "\"hidden_size\":1024,\"initializer_range\":0.02,\"intermediate_size\":3584,\"linear_conv_kernel_dim\":4,"
    "\"linear_key_head_dim\":128,\"linear_num_key_heads\":16,\"linear_num_value_heads\":16,\"linear_value_head_dim\":"
    "128,\"max_position_embeddings\":262144,\"mlp_only_layers\":[],\"model_type\":\"qwen3_5_text\","
    "\"mtp_num_hidden_layers\":1,\"mtp_use_dedicated_embeddings\":false,\"num_attention_heads\":8,"
    "\"num_hidden_layers\":8,\"num_key_value_heads\":2,\"rms_norm_eps\":1e-06,\"tie_word_embeddings\":true,"
    "\"use_cache\":true,\"vocab_size\":248320,\"mamba_ssm_dtype\":\"float32\",\"output_gate_type\":\"swish\","
    "\"rope_parameters\":{\"mrope_interleaved\":true,\"mrope_section\":[11,11,10],\"rope_type\":\"default\","
    "\"rope_theta\":10000000,\"partial_rotary_factor\":0.25}},\"tie_word_embeddings\":true,\"transformers_version\":"
    "\"4.57.0.dev0\",\"video_token_id\":248057,\"vision_config\":{\"depth\":12},\"vision_end_token_id\":248054,"
    "\"vision_start_token_id\":248053}";

static void qwen35_as_published(void **state) {
    il_config c;
    (void)state;
    read_ok(qwen35, &c);
    assert_int_equal(c.mixer, IL_MIXER_GATED_DELTA);
    assert_true(c.width == 1024 && c.ffn_width == 3584 && c.heads == 8 && c.layers == 8 && c.vocab_size == 248320);
    for (int i = 0; i < 8; i++)
        assert_int_equal(il_config_mixer(&c, i), i % 4 == 3 ? IL_MIXER_SELF_ATTENTION : IL_MIXER_GATED_DELTA);
    assert_true(c.kv_heads == 2 && c.head_width == 256 && c.rotary_width == 64 && c.rope_theta == 1e7);
    assert_true(c.qk_norm && c.attention_gate && c.norm_offset && !c.attention_bias && !c.attention_output_bias);
    assert_true(c.delta_key_heads == 16 && c.delta_value_heads == 16 && c.delta_taps == 4 && !c.delta_learned_start);
    assert_true(c.tie_word_embeddings && c.bos_token == -1 && c.eos_token == 248044 && c.mini_batch == 16);
    assert_true(c.max_positions == 262144 && c.weights == IL_WEIGHTS_BF16 && c.rope_scaling == IL_ROPE_PLAIN);
    written_as(&c, "qwen3_5_text");
    char *text = text_of(&c);
    assert_non_null(strstr(text, "\"Qwen3_5ForCausalLM\""));
    assert_non_null(strstr(text, "\"partial_rotary_factor\": 0.25,"));
    assert_non_null(strstr(text, "\"max_position_embeddings\": 262144,"));
    assert_non_null(strstr(text, "\"head_dim\": 256,"));
    assert_non_null(strstr(text, "\"layer_types\": [\"linear_attention\", "));
    free(text);
}

static void qwen3_as_published(void **state) {
    il_config c;
    (void)state;
    read_ok("{\"architectures\":[\"Qwen3ForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,"
            "\"bos_token_id\":151643,\"eos_token_id\":151645,\"head_dim\":128,\"hidden_act\":\"silu\",\"hidden_size\":"
            "1024,\"initializer_range\":0.02,\"intermediate_size\":3072,\"max_position_embeddings\":40960,"
            "\"max_window_layers\":28,\"model_type\":\"qwen3\",\"num_attention_heads\":16,\"num_hidden_layers\":28,"
            "\"num_key_value_heads\":8,\"rms_norm_eps\":1e-06,\"rope_scaling\":null,\"rope_theta\":1000000,"
            "\"sliding_window\":null,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\","
            "\"transformers_version\":\"4.51.0\",\"use_cache\":true,\"use_sliding_window\":false,\"vocab_size\":"
            "151936}",
            &c);
    assert_int_equal(c.mixer, IL_MIXER_SELF_ATTENTION);
    assert_true(c.kv_heads == 8 && c.head_width == 128 && c.rotary_width == 0 && c.rope_theta == 1e6);
    assert_true(c.qk_norm && !c.attention_gate && !c.norm_offset && !c.attention_bias && !c.n_layer_types);
    assert_true(c.bos_token == 151643 && c.eos_token == 151645 && c.tie_word_embeddings);
    written_as(&c, "qwen3");
}

static void qwen2_as_published(void **state) {
    il_config c;
    (void)state;
    read_ok("{\"architectures\":[\"Qwen2ForCausalLM\"],\"attention_dropout\":0.0,\"bos_token_id\":151643,"
            "\"eos_token_id\":151645,\"hidden_act\":\"silu\",\"hidden_size\":896,\"initializer_range\":0.02,"
            "\"intermediate_size\":4864,\"max_position_embeddings\":32768,\"max_window_layers\":21,\"model_type\":"
            "\"qwen2\",\"num_attention_heads\":14,\"num_hidden_layers\":24,\"num_key_value_heads\":2,\"rms_norm_eps\":"
            "1e-06,\"rope_theta\":1000000.0,\"sliding_window\":32768,\"tie_word_embeddings\":true,\"torch_dtype\":"
            "\"bfloat16\",\"use_cache\":true,\"use_sliding_window\":false,\"vocab_size\":151936,"
            "\"attention_bias\":false,\"use_mrope\":false}",
            &c);
    assert_true(c.attention_bias && !c.attention_output_bias && !c.qk_norm && c.kv_heads == 2 && c.head_width == 0);
    written_as(&c, "qwen2");
}

static void llama3_as_published(void **state) {
    il_config c;
    (void)state;
    read_ok("{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,"
            "\"bos_token_id\":128000,\"eos_token_id\":[128001,128008,128009],\"head_dim\":64,\"hidden_act\":\"silu\","
            "\"hidden_size\":2048,\"initializer_range\":0.02,\"intermediate_size\":8192,\"max_position_embeddings\":"
            "131072,\"mlp_bias\":false,\"model_type\":\"llama\",\"num_attention_heads\":32,\"num_hidden_layers\":16,"
            "\"num_key_value_heads\":8,\"pretraining_tp\":1,\"rms_norm_eps\":1e-05,\"rope_scaling\":{\"factor\":32.0,"
            "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,\"original_max_position_embeddings\":8192,\"rope_type\":"
            "\"llama3\"},\"rope_theta\":500000.0,\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\","
            "\"transformers_version\":\"4.45.0.dev0\",\"use_cache\":true,\"vocab_size\":128256}",
            &c);
    assert_true(c.kv_heads == 8 && c.head_width == 0 && c.eos_token == 128001 && c.rope_theta == 5e5);
    assert_true(c.rope_scaling == IL_ROPE_LLAMA3 && c.rope_factor == 32 && c.rope_low_frequency == 1);
    assert_true(c.rope_high_frequency == 4 && c.rope_positions == 8192 && c.rms_norm_eps == 1e-5);
    written_as(&c, "llama");
}

static void smollm2_as_published(void **state) {
    il_config c;
    (void)state;
    read_ok("{\"architectures\":[\"LlamaForCausalLM\"],\"attention_bias\":false,\"attention_dropout\":0.0,"
            "\"bos_token_id\":1,\"eos_token_id\":2,\"hidden_act\":\"silu\",\"hidden_size\":576,\"initializer_range\":"
            "0.041666666666666664,\"intermediate_size\":1536,\"is_llama_config\":true,\"max_position_embeddings\":8192,"
            "\"mlp_bias\":false,\"model_type\":\"llama\",\"num_attention_heads\":9,\"num_hidden_layers\":30,"
            "\"num_key_value_heads\":3,\"pad_token_id\":2,\"pretraining_tp\":1,\"rms_norm_eps\":1e-05,"
            "\"rope_interleaved\":false,\"rope_scaling\":null,\"rope_theta\":100000,\"tie_word_embeddings\":true,"
            "\"torch_dtype\":\"bfloat16\",\"transformers.js_config\":{\"kv_cache_dtype\":{}},\"transformers_version\":"
            "\"4.42.3\",\"use_cache\":true,\"vocab_size\":49152}",
            &c);
    assert_true(c.kv_heads == 3 && c.heads == 9 && c.width == 576 && c.rope_theta == 1e5 && c.max_positions == 8192);
    written_as(&c, "llama");
}

/* ---- what absence means ---- */

static void absent_keys_have_the_defaults_of_the_family(void **state) {
    static const struct {
        const char *type;
        int vocab, width, ffn, layers, heads, kv, head, rotary, bos, eos, positions;
    } cases[] = {
        {"qwen3_5_text", 248320, 4096, 12288, 32, 16, 4, 0, 64, -1, -1, 32768}, /* 256 is 4096 / 16 */
        {"qwen3", 151936, 4096, 22016, 32, 32, 0, 0, 0, -1, -1, 32768},
        {"qwen2", 151936, 4096, 22016, 32, 32, 0, 0, 0, -1, -1, 32768},
        {"llama", 32000, 4096, 11008, 32, 32, 0, 0, 0, 1, 2, 2048},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        il_config c, nulls;
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", cases[i].type);
        read_ok(text, &c);
        assert_true(c.vocab_size == cases[i].vocab && c.width == cases[i].width && c.ffn_width == cases[i].ffn);
        assert_true(c.layers == cases[i].layers && c.heads == cases[i].heads && c.kv_heads == cases[i].kv);
        assert_true(c.head_width == cases[i].head && c.rotary_width == cases[i].rotary);
        assert_true(c.bos_token == cases[i].bos && c.eos_token == cases[i].eos && !c.tie_word_embeddings);
        assert_true(c.rope_theta == 1e4 && c.rms_norm_eps == 1e-6 && c.max_positions == cases[i].positions);
        assert_true(c.qk_norm == (strncmp(cases[i].type, "qwen3", 5) == 0));
        assert_true(c.attention_bias == (strcmp(cases[i].type, "qwen2") == 0) && !c.attention_output_bias);
        snprintf(text, sizeof text,
                 "{\"model_type\":\"%s\",\"hidden_size\":null,\"num_key_value_heads\":null,\"head_dim\":null,"
                 "\"rope_scaling\":null,\"rope_parameters\":{},\"layer_types\":null,\"tie_word_embeddings\":null}",
                 cases[i].type);
        read_ok(text, &nulls);
        assert_true(il_config_same(&c, &nulls));
        written_as(&c, cases[i].type);
    }
}

/* One thing is said in one way, so that configs that mean the same are the same. */
static void derived_numbers_are_normal(void **state) {
    il_config a, b;
    (void)state;
    read_ok("{\"model_type\":\"qwen3\",\"hidden_size\":1024,\"num_attention_heads\":8,\"num_key_value_heads\":8,"
            "\"partial_rotary_factor\":1.0,\"rope_parameters\":{\"rope_type\":\"default\",\"factor\":3.0}}",
            &a);
    assert_true(a.head_width == 0 && a.kv_heads == 0 && a.rotary_width == 0 && a.rope_factor == 0);
    b = a;
    b.head_width = 128;
    b.kv_heads = 8;
    b.rotary_width = 128;
    b.rope_positions = 7;
    assert_true(il_config_same(&a, &b));
    char *first = text_of(&a), *second = text_of(&b);
    assert_string_equal(first, second);
    free(first);
    free(second);
    b.kv_heads = 4;
    assert_false(il_config_same(&a, &b));
    b = a;
    b.rotary_width = 64;
    assert_false(il_config_same(&a, &b));
    b = a;
    b.rope_scaling = IL_ROPE_LINEAR;
    assert_false(il_config_same(&a, &b));
}

/* ---- rope ---- */

#define SMALL "\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,\"num_hidden_layers\":2,"
#define SMALL35                                                                                                        \
    "\"model_type\":\"qwen3_5_text\",\"hidden_size\":64,\"num_attention_heads\":4,\"head_dim\":40,"                    \
    "\"num_hidden_layers\":4,\"linear_num_value_heads\":16,"

static void rope_is_said_in_one_of_two_objects(void **state) {
    il_config c;
    (void)state;
    /* rope_scaling if it says anything, with what it lacks from beside it */
    read_ok("{" SMALL "\"rope_scaling\":{\"type\":\"linear\",\"factor\":4},\"rope_theta\":5000,"
            "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":7}}",
            &c);
    assert_true(c.rope_scaling == IL_ROPE_LINEAR && c.rope_factor == 4 && c.rope_theta == 5000 && !c.rope_positions);
    written_as(&c, "llama");
    read_ok("{" SMALL "\"rope_scaling\":{},\"rope_theta\":5000,\"rope_parameters\":{\"rope_theta\":70}}", &c);
    assert_true(c.rope_scaling == IL_ROPE_PLAIN && c.rope_theta == 70);
    /* for how long texts: as said, else as the whole is made for */
    read_ok("{" SMALL "\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
            "\"high_freq_factor\":4},\"max_position_embeddings\":4096}",
            &c);
    assert_true(c.rope_scaling == IL_ROPE_LLAMA3 && c.rope_positions == 4096);
    written_as(&c, "llama");
    read_ok("{" SMALL "\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
            "\"high_freq_factor\":4},\"original_max_position_embeddings\":512}",
            &c);
    assert_int_equal(c.rope_positions, 512);
    /* a part of 40 is turned: 10, unless it is said */
    read_ok("{" SMALL35 "\"rope_theta\":100}", &c);
    assert_true(c.rotary_width == 10 && c.rope_theta == 100);
    written_as(&c, "qwen3_5_text");
    read_ok("{" SMALL35 "\"rope_parameters\":{\"partial_rotary_factor\":0.5},\"partial_rotary_factor\":1}", &c);
    assert_int_equal(c.rotary_width, 20);
    read_ok("{" SMALL35 "\"partial_rotary_factor\":1}", &c);
    assert_int_equal(c.rotary_width, 0);
    written_as(&c, "qwen3_5_text");
}

/* Every part that can be turned is written so that it reads back. */
static void every_part_reads_back(void **state) {
    il_config c;
    (void)state;
    read_ok("{" SMALL35 "\"vocab_size\":300}", &c);
    for (int head = 2; head <= 258; head += 16)
        for (int rotary = 2; rotary <= head; rotary += 2) {
            il_config turned = c, again;
            turned.head_width = head;
            turned.rotary_width = rotary;
            char *text = text_of(&turned);
            read_ok(text, &again);
            assert_int_equal(il_config_rotary_width(&again), rotary);
            free(text);
        }
}

/* ---- layers ---- */

static void layers_follow_the_interval_or_the_list(void **state) {
    il_config c;
    (void)state;
    read_ok("{" SMALL35 "\"full_attention_interval\":2}", &c);
    assert_true(il_config_mixer(&c, 0) == IL_MIXER_GATED_DELTA && il_config_mixer(&c, 1) == IL_MIXER_SELF_ATTENTION);
    assert_true(il_config_mixer(&c, 2) == IL_MIXER_GATED_DELTA && il_config_mixer(&c, 3) == IL_MIXER_SELF_ATTENTION);
    read_ok("{" SMALL35 "\"full_attention_interval\":2,\"layer_types\":[\"full_attention\",\"linear_attention\","
            "\"linear_attention\",\"linear_attention\"]}",
            &c);
    assert_true(il_config_mixer(&c, 0) == IL_MIXER_SELF_ATTENTION && il_config_mixer(&c, 1) == IL_MIXER_GATED_DELTA);
    written_as(&c, "qwen3_5_text");
    /* all alike, of either kind */
    read_ok("{" SMALL35 "\"full_attention_interval\":1}", &c);
    assert_true(c.mixer == IL_MIXER_SELF_ATTENTION && !c.n_layer_types && c.norm_offset);
    written_as(&c, "qwen3_5_text");
    read_ok("{" SMALL35 "\"full_attention_interval\":9}", &c);
    assert_true(c.mixer == IL_MIXER_GATED_DELTA && !c.n_layer_types);
    written_as(&c, "qwen3_5_text");
    read_ok("{\"model_type\":\"qwen3\",\"num_hidden_layers\":2,\"layer_types\":[\"full_attention\","
            "\"full_attention\"]}",
            &c);
    assert_int_equal(c.n_layer_types, 0);
}

/* ---- models that see ---- */

static void ties_are_said_on_two_levels(void **state) {
    static const struct {
        const char *top, *inner;
        int tied; /* -1: refused */
    } cases[] = {{"true", "true", 1}, {"false", "false", 0}, {"true", NULL, 1},
                 {NULL, "true", 1},   {NULL, NULL, 0},       {"null", "true", 1},
                 {"true", "null", 1}, {"true", "false", -1}, {"false", "true", -1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[300], top[60] = "", inner[60] = "";
        il_config c;
        if (cases[i].top) snprintf(top, sizeof top, "\"tie_word_embeddings\":%s,", cases[i].top);
        if (cases[i].inner) snprintf(inner, sizeof inner, "\"tie_word_embeddings\":%s", cases[i].inner);
        snprintf(text, sizeof text, "{\"model_type\":\"qwen3_5\",%s\"text_config\":{%s}}", top, inner);
        if (cases[i].tied < 0) {
            refused(text, "tie_word_embeddings: is");
            continue;
        }
        read_ok(text, &c);
        assert_int_equal(c.tie_word_embeddings, cases[i].tied);
    }
}

static void what_is_beside_the_text_is_read_too(void **state) {
    il_config c;
    (void)state;
    read_ok("{\"model_type\":\"qwen3_5\",\"torch_dtype\":\"bfloat16\",\"text_config\":{}}", &c);
    assert_int_equal(c.weights, IL_WEIGHTS_BF16);
    refused("{\"model_type\":\"qwen3_5\"}", "text_config: is missing");
    refused("{\"model_type\":\"qwen3_5\",\"text_config\":[]}", "text_config: is missing or not an object");
    refused("{\"model_type\":\"qwen3_5\",\"text_config\":{\"model_type\":\"qwen3\"}}", "text_config: model_type");
    refused("{\"model_type\":\"qwen3_5\",\"text_config\":{\"model_type\":\"qwen3_5_moe_text\"}}",
            "\"qwen3_5_moe_text\" is not supported");
    refused("{\"model_type\":\"qwen3_5\",\"text_config\":{},\"quantization_config\":{\"quant_method\":\"fp8\"}}",
            "quantization_config");
    refused("{\"model_type\":\"qwen3\",\"text_config\":{}}", "text_config: is not a key");
}

/* ---- what is refused ---- */

static void what_is_not_done_is_named(void **state) {
    static const char *const unknown[] = {"qwen3_next", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_moe", "qwen4_exp"};
    static const struct {
        const char *type, *keys, *says;
    } cases[] = {
        {"llama", "\"num_experts\":8", "num_experts: must be 0, not 8"},
        {"qwen3", "\"num_local_experts\":8", "num_local_experts: must be 0"},
        {"qwen3_5_text", "\"attn_output_gate\":false", "attn_output_gate: must be true, not false"},
        {"qwen3", "\"attn_output_gate\":true", "attn_output_gate: must be false"},
        {"qwen3_5_text", "\"output_gate_type\":\"sigmoid\"", "output_gate_type: must be \"swish\" or \"silu\", not"},
        {"qwen3", "\"hidden_act\":\"gelu\"", "hidden_act: must be \"silu\", not \"gelu\""},
        {"qwen2", "\"use_sliding_window\":true", "use_sliding_window: must be false"},
        {"llama", "\"sliding_window\":4096", "sliding_window: must be null"},
        {"llama", "\"mlp_bias\":true", "mlp_bias: must be false"},
        {"qwen3", "\"mlp_only_layers\":[1]", "mlp_only_layers: must be []"},
        {"llama", "\"rope_interleaved\":true", "rope_interleaved"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", "rope_scaling: rope_type \"yarn\" is not"},
        {"llama", "\"rope_parameters\":{\"rope_type\":\"longrope\"}", "rope_parameters: rope_type \"longrope\""},
        {"llama", "\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "\"dynamic\" is not supported"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"proportional\"}", "\"proportional\""},
        {"llama", "\"rope_scaling\":{\"rope_type\":3}", "rope_scaling: rope_type must be a string"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"linear\"}", "factor: is missing"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":\"2\"}", "factor: must be a number"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2}", "low_freq_factor: is missing"},
        {"llama", "\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":2,\"beta_fast\":1}", "has beta_fast"},
        {"llama", "\"rope_scaling\":7", "rope_scaling: must be null or an object"},
        {"llama",
         "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":2,\"low_freq_factor\":1,\"high_freq_factor\":4,"
         "\"original_max_position_embeddings\":0}",
         "original_max_position_embeddings: must be an integer"},
        {"llama", "\"partial_rotary_factor\":0.5", "partial_rotary_factor: must be 1"},
        {"qwen3_5_text", "\"partial_rotary_factor\":0", "partial_rotary_factor: is 0"},
        {"qwen3_5_text", "\"partial_rotary_factor\":0.001", "partial_rotary_factor: is 0.001"},
        {"qwen3_5_text", "\"partial_rotary_factor\":1.5", "partial_rotary_factor: is 1.5"},
        {"qwen3", "\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4}", "quantization_config"},
        {"qwen3_5_text", "\"linear_num_value_heads\":20", "linear_num_value_heads 20 is not a multiple"},
        {"qwen3_5_text", "\"linear_conv_kernel_dim\":17", "linear_conv_kernel_dim is 17"},
        {"qwen3_5_text", "\"linear_learned_start\":1", "linear_learned_start"},
        {"qwen3_5_text", "\"full_attention_interval\":0", "full_attention_interval: must be an integer above 0"},
        {"qwen3_5_text", "\"num_hidden_layers\":2,\"layer_types\":[\"linear_attention\",\"mamba\"]",
         "\"mamba\" is not"},
        {"qwen3_5_text", "\"num_hidden_layers\":2,\"layer_types\":[\"linear_attention\",\"ttt_mlp\"]",
         "ttt_mlp is not supported in a model of type qwen3_5_text"},
        {"qwen3_5_text", "\"num_hidden_layers\":2,\"layer_types\":[\"linear_attention\"]", "layer_types has 1 entries"},
        {"qwen3", "\"num_hidden_layers\":1,\"layer_types\":[\"linear_attention\"]", "model_type is qwen3"},
        {"qwen3", "\"linear_num_key_heads\":16", "linear_num_key_heads: is not a key of a model of type qwen3"},
        {"qwen3", "\"qk_norm\":true", "qk_norm: is not a key"},
        {"qwen3", "\"full_attention_interval\":4", "full_attention_interval: is not a key"},
        {"llama", "\"logit_scale\":2", "logit_scale: is not a key of a model of type llama"},
        {"llama", "\"eos_token_id\":[[1]]", "eos_token_id"},
        {"llama", "\"eos_token_id\":[\"a\"]", "eos_token_id: must be an integer"},
        {"llama", "\"eos_token_id\":[99999999]", "eos_token_id is 99999999"},
        {"llama", "\"eos_token_id\":[]", "eos_token_id"},
        {"llama", "\"head_dim\":-1", "head_dim is -1"},
        {"llama", "\"num_key_value_heads\":100000", "num_key_value_heads"},
    };
    char text[400];
    (void)state;
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"%s\"}", unknown[i]);
        refused(text, "is not supported (ttt, gated_delta, attention, qwen3_5_text, qwen3, qwen2, llama, qwen3_5)");
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(text, sizeof text, "{\"model_type\":\"%s\",%s}", cases[i].type, cases[i].keys);
        refused(text, cases[i].says);
    }
}

/* ---- types of our own ---- */

/* A model that no published type describes is not written as one. */
static void what_no_type_says_is_written_as_ours(void **state) {
    il_config base, c;
    (void)state;
    read_ok("{" SMALL "\"num_key_value_heads\":2}", &base);
    written_as(&base, "llama");
    c = base, c.attention_bias = c.attention_output_bias = 1, written_as(&c, "llama");
    c = base, c.attention_bias = 1, written_as(&c, "qwen2");
    c = base, c.qk_norm = 1, written_as(&c, "qwen3");
    c = base, c.attention_output_bias = 1, written_as(&c, "attention");
    c = base, c.attention_gate = 1, written_as(&c, "attention");
    c = base, c.norm_offset = 1, written_as(&c, "attention");
    c = base, c.rotary_width = 8, written_as(&c, "attention");
    c = base, c.qk_norm = c.attention_bias = 1, written_as(&c, "attention");
    c = base, c.qk_norm = c.attention_gate = c.norm_offset = 1, written_as(&c, "qwen3_5_text");
    read_ok("{" SMALL35 "\"vocab_size\":300}", &base);
    written_as(&base, "qwen3_5_text");
    c = base, c.delta_learned_start = 1, written_as(&c, "gated_delta");
    c = base, c.norm_offset = 0, written_as(&c, "gated_delta");
    c = base, c.qk_norm = 0, written_as(&c, "gated_delta");
    c = base, c.attention_bias = 1, written_as(&c, "gated_delta");
    c = base, c.mini_batch = 7, written_as(&c, "qwen3_5_text");
    c = base, c.layer_types[0] = IL_MIXER_TTT_LINEAR, c.mixer = IL_MIXER_TTT_LINEAR, c.heads = 4;
    written_as(&c, "ttt");
}

/* key "": other software knows such a model. */
static void portable(const il_config *config, const char *key) {
    il_error error = {0};
    il_status status = il_config_check_portable(config, &error);
    if (status != (*key ? IL_ERR_UNSUPPORTED : IL_OK) || (*key && !strstr(error.message, key)))
        fail_msg("%s: %s \"%s\"", key, il_status_name(status), error.message);
}

/* What others would pass over without a word is refused by its key; layers that they do not have, by name. */
static void what_others_cannot_compute_is_named(void **state) {
    static const char *const mixers[] = {"ttt_linear", "ttt_mlp", "self_attention"};
    il_config base, c;
    il_error error;
    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_ok(il_config_preset("tiny", mixers[i], NULL, &base, &error), error);
        portable(&base, "");
        c = base, c.weights = IL_WEIGHTS_BF16, portable(&c, "");
        c = base, c.weights = IL_WEIGHTS_INT4, portable(&c, "weights of type int4");
        c = base, c.fast_head_size = 4, portable(&c, "fast_head_size");
        c = base, c.n_taps = 1, c.taps[0] = 2, portable(&c, "taps");
        c = base, c.norm_offset = 1, portable(&c, i < 2 ? "norm_offset" : "layers of self_attention, as");
    }
    assert_ok(il_config_preset("tiny", "ttt_linear_decay", NULL, &c, &error), error);
    portable(&c, "layers of ttt_linear_decay, as");
    assert_ok(il_config_set(&c, "layer_types", "ttt_linear,full_attention", &error), error);
    c.mixer = IL_MIXER_TTT_LINEAR, portable(&c, "layers of ttt_linear and others");
    assert_ok(il_config_preset("tiny", "sliding_attention", NULL, &c, &error), error);
    portable(&c, "layers of sliding_attention");
    assert_ok(il_config_preset("tiny", "gated_delta", NULL, &c, &error), error);
    portable(&c, "layers of gated_delta");
    read_ok("{" SMALL35 "\"vocab_size\":300}", &base);
    portable(&base, "");
    c = base, c.delta_learned_start = 1, portable(&c, "linear_learned_start");
    c = base, c.qk_norm = 0, portable(&c, "layers of gated_delta and others");
    c = base, c.n_taps = 1, c.taps[0] = 9, portable(&c, "taps");
}

/* With a fast head any model has mini-batches. */
static void attention_with_a_fast_head(void **state) {
    il_config c;
    (void)state;
    read_ok("{" SMALL "\"fast_head_size\":4,\"mini_batch_size\":8}", &c);
    assert_int_equal(c.mini_batch, 8);
    written_as(&c, "llama");
    c.mini_batch = 16;
    char *text = text_of(&c);
    assert_null(strstr(text, "mini_batch_size"));
    free(text);
    refused("{" SMALL "\"mini_batch_size\":8}", "mini_batch_size: is not a key of a model of type llama");
}

static void keys_are_set_one_by_one(void **state) {
    il_config c;
    il_error error;
    (void)state;
    read_ok("{" SMALL "\"vocab_size\":300}", &c);
    assert_ok(il_config_set(&c, "num_key_value_heads", "2", &error), error);
    assert_ok(il_config_set(&c, "head_dim", "32", &error), error);
    assert_ok(il_config_set(&c, "partial_rotary_factor", "0.5", &error), error);
    assert_ok(il_config_set(&c, "qk_norm", "true", &error), error);
    assert_true(c.kv_heads == 2 && c.head_width == 32 && c.rotary_width == 16 && c.qk_norm);
    assert_ok(il_config_set(&c, "num_key_value_heads", "null", &error), error);
    assert_ok(il_config_set(&c, "rope_scaling", "{\"rope_type\":\"linear\",\"factor\":2}", &error), error);
    assert_true(c.kv_heads == 0 && c.rope_scaling == IL_ROPE_LINEAR && c.rope_factor == 2);
    assert_fails(il_config_set(&c, "rope_scaling", "{\"rope_type\":\"yarn\"}", &error), IL_ERR_UNSUPPORTED, error,
                 "yarn");
    assert_ok(il_config_set(&c, "model_type", "qwen3_5_text", &error), error);
    assert_true(c.mixer == IL_MIXER_GATED_DELTA && c.qk_norm && c.attention_gate && c.norm_offset);
    assert_ok(il_config_set(&c, "model_type", "llama", &error), error);
    assert_true(c.mixer == IL_MIXER_SELF_ATTENTION && !c.qk_norm && !c.attention_gate && !c.norm_offset);
    assert_ok(il_config_set(&c, "model_type", "qwen2", &error), error);
    assert_true(c.attention_bias && !c.attention_output_bias);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(qwen35_as_published),
        cmocka_unit_test(qwen3_as_published),
        cmocka_unit_test(qwen2_as_published),
        cmocka_unit_test(llama3_as_published),
        cmocka_unit_test(smollm2_as_published),
        cmocka_unit_test(absent_keys_have_the_defaults_of_the_family),
        cmocka_unit_test(derived_numbers_are_normal),
        cmocka_unit_test(rope_is_said_in_one_of_two_objects),
        cmocka_unit_test(every_part_reads_back),
        cmocka_unit_test(layers_follow_the_interval_or_the_list),
        cmocka_unit_test(ties_are_said_on_two_levels),
        cmocka_unit_test(what_is_beside_the_text_is_read_too),
        cmocka_unit_test(what_is_not_done_is_named),
        cmocka_unit_test(what_no_type_says_is_written_as_ours),
        cmocka_unit_test(what_others_cannot_compute_is_named),
        cmocka_unit_test(attention_with_a_fast_head),
        cmocka_unit_test(keys_are_set_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
