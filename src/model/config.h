/* config.h: helpers over il_config shared inside the library. */
#ifndef IL_MODEL_CONFIG_H
#define IL_MODEL_CONFIG_H

#include "engine/engine.h"

enum { IL_FAST_HEAD_MAX = 1024, IL_HEADS_MAX = 4096, IL_HEAD_WIDTH_MAX = 1024 };

/* Whether all fields of two checked configs are equal. */
int il_config_same(const il_config *a, const il_config *b);
/* Of attention in a checked config: heads of keys and values, the width of a head, how much of it RoPE turns. */
static inline int il_config_kv_heads(const il_config *c) { return c->kv_heads ? c->kv_heads : c->heads; }
static inline int il_config_head_width(const il_config *c) {
    return c->head_width ? c->head_width : c->width / c->heads;
}
static inline int il_config_rotary_width(const il_config *c) {
    return c->rotary_width ? c->rotary_width : il_config_head_width(c);
}
/* The mixer that must stand in il_config.mixer: of the first TTT layer; else the gated delta rule where a layer has it;
 * else that of all layers. And whether one that the layers ask for is what the rest of the config asks for, of that
 * model_type. */
il_mixer_kind il_config_leading_mixer(const il_config *config);
il_status il_config_check_leading(il_mixer_kind layers, il_mixer_kind rest, const char *type, il_error *error);
int il_config_farthest_tap(const il_config *config); /* 0: it has none */
/* How many layers of a checked config have that mixer; whether the mixers of its layers differ. */
int il_config_layers_of(const il_config *config, il_mixer_kind mixer);
int il_config_is_hybrid(const il_config *config);

#endif
