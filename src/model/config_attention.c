/* config_attention.c: see config_attention.h. Messages name the key of config.json. */
#include "model/config_attention.h"

#include "base/error.h"
#include "model/config.h"
#include "model/mixer_names.h"
#include <math.h>

static int has_ttt(const il_config *c) {
    for (int i = 0; i < c->layers; i++)
        if (il_mixer_is_ttt(il_config_mixer(c, i))) return 1;
    return 0;
}

/* D / H, where that is the width of a head. */
static il_status check_shared_width(const il_config *c, il_error *error) {
    int head = c->width / c->heads;
    if (c->head_width && !has_ttt(c)) return IL_OK;
    if (c->width % c->heads != 0)
        return il_fail(error, IL_ERR_ARG, "hidden_size %d is not a multiple of num_attention_heads %d", c->width,
                       c->heads);
    if (head % 2 != 0 || head > IL_HEAD_WIDTH_MAX)
        return il_fail(error, IL_ERR_ARG, "hidden_size / num_attention_heads is %d, must be an even number up to %d",
                       head, IL_HEAD_WIDTH_MAX);
    return IL_OK;
}

static il_status check_widths(const il_config *c, il_error *error) {
    if (c->kv_heads < 0 || c->kv_heads > c->heads || (c->kv_heads && c->heads % c->kv_heads != 0))
        return il_fail(error, IL_ERR_ARG, "num_key_value_heads %d does not divide num_attention_heads %d", c->kv_heads,
                       c->heads);
    if (c->head_width < 0 || c->head_width % 2 != 0 || c->head_width > IL_HEAD_WIDTH_MAX)
        return il_fail(error, IL_ERR_ARG, "head_dim is %d, must be an even number up to %d", c->head_width,
                       IL_HEAD_WIDTH_MAX);
    IL_TRY(check_shared_width(c, error));
    if (c->rotary_width < 0 || c->rotary_width % 2 != 0 || c->rotary_width > il_config_head_width(c))
        return il_fail(error, IL_ERR_ARG,
                       "partial_rotary_factor: %d numbers of a head of %d would turn; must be an even number of them",
                       c->rotary_width, il_config_head_width(c));
    return IL_OK;
}

static int is_positive(double x) { return x > 0 && x < (double)INFINITY; } /* a NaN is not */

static il_status check_rope_scaling(const il_config *c, il_error *error) {
    if ((unsigned)c->rope_scaling > IL_ROPE_LLAMA3)
        return il_fail(error, IL_ERR_ARG, "rope_scaling: type %d is unknown", (int)c->rope_scaling);
    if (c->rope_scaling == IL_ROPE_PLAIN) return IL_OK;
    if (!is_positive(c->rope_factor))
        return il_fail(error, IL_ERR_ARG, "rope_scaling: factor is %g, must be more than 0", c->rope_factor);
    if (c->rope_scaling == IL_ROPE_LINEAR) return IL_OK;
    if (!is_positive(c->rope_low_frequency) || !is_positive(c->rope_high_frequency) ||
        c->rope_low_frequency >= c->rope_high_frequency)
        return il_fail(error, IL_ERR_ARG,
                       "rope_scaling: low_freq_factor %g and high_freq_factor %g must be more than 0, the second the "
                       "larger",
                       c->rope_low_frequency, c->rope_high_frequency);
    if (c->rope_positions < 1)
        return il_fail(error, IL_ERR_ARG, "rope_scaling: original_max_position_embeddings is %d, must be at least 1",
                       c->rope_positions);
    return IL_OK;
}

il_status il_config_check_attention(const il_config *config, il_error *error) {
    IL_TRY(check_widths(config, error));
    if (il_config_layers_of(config, IL_MIXER_SLIDING_ATTENTION) && config->sliding_window < 1)
        return il_fail(error, IL_ERR_ARG, "sliding_window is %d: sliding_attention must see at least 1 token",
                       config->sliding_window);
    return check_rope_scaling(config, error);
}
