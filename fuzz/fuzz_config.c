/* fuzz_config.c: any bytes as a config.json. What is accepted must be within bounds, and its text must read
 * back as the same configuration. */
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "model/config_read.h"
#include "model/config_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void must(int truth) {
    if (!truth) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    il_allocator allocator = il_allocator_default();
    il_config config = {.layers = -7}, again;
    il_error error = {IL_OK, ""};
    char *text, *text_again;
    il_status status = il_config_parse("fuzz", (const char *)data, bytes, &config, &error);
    if (status != IL_OK) {
        must(status == error.status && strstr(error.message, "fuzz: ") == error.message && config.layers == -7);
        return 0;
    }
    must(il_config_check(&config, &error) == IL_OK);
    must(il_config_flops_per_token(&config, 1000, 1) > 0);
    must(il_config_text(&allocator, &config, &text, &error) == IL_OK);
    must(il_config_parse("text", text, strlen(text), &again, &error) == IL_OK);
    must(il_config_text(&allocator, &again, &text_again, &error) == IL_OK);
    if (!config.fast_head_size) { /* not written: they say nothing then */
        again.fast_head_lr = config.fast_head_lr;
        again.fast_head_tokens = config.fast_head_tokens;
    }
    must(strcmp(text, text_again) == 0 && il_config_same(&config, &again));
    must(again.mixer == config.mixer && again.n_layer_types == config.n_layer_types && again.width == config.width);
    must(again.rope_theta == config.rope_theta && again.rms_norm_eps == config.rms_norm_eps);
    must(config.mixer == IL_MIXER_SELF_ATTENTION || again.ttt_base_lr == config.ttt_base_lr);
    il_free(&allocator, text_again);
    il_free(&allocator, text);
    return 0;
}
