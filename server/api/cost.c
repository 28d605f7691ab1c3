/* cost.c: see cost.h. */
#include "api/cost.h"

enum { DOUBLINGS = 21 }; /* up to a million tokens */

static uint64_t position_of(int i) { return i ? (uint64_t)1 << (i - 1) : 0; }

static void print_series(const char *name, const il_config *config,
                         double (*value)(const il_config *config, uint64_t position), text *t) {
    text_print(t, "\"%s\":[", name);
    for (int i = 0; i <= DOUBLINGS; i++) text_print(t, i ? ",%.0f" : "%.0f", value(config, position_of(i)));
    text_say(t, "]");
}

static double flops(const il_config *config, uint64_t position) {
    return il_config_flops_per_token(config, position, 1);
}

static void print_costs(const char *name, const il_config *config, text *t) {
    text_print(t, ",\"%s\":{", name);
    print_series("flops", config, flops, t);
    text_say(t, ",");
    print_series("state_bytes", config, il_config_state_bytes_per_token, t);
    text_say(t, "}");
}

void cost_print(const il_config *config, text *t) {
    il_config attention = *config;
    attention.mixer = IL_MIXER_SELF_ATTENTION;
    attention.n_layer_types = attention.fast_head_size = attention.fast_head_tokens = 0;
    attention.share_qk = attention.use_gate = attention.pre_conv = 0;
    text_say(t, "{\"positions\":[");
    for (int i = 0; i <= DOUBLINGS; i++) text_print(t, i ? ",%llu" : "%llu", (unsigned long long)position_of(i));
    text_say(t, "]");
    print_costs("model", config, t);
    if (il_config_check(&attention, NULL) == IL_OK) print_costs("transformer", &attention, t);
    text_say(t, "}");
}
