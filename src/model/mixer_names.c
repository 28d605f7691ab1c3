/* mixer_names.c: see mixer_names.h. */
#include "model/mixer_names.h"

#include "inner/rules.h"
#include <stdio.h>
#include <string.h>

/* Those without a rule: here, and in config.json as other software calls them. */
static const char *const without_rule[IL_RULES_FROM][2] = {
    [IL_MIXER_SELF_ATTENTION] = {"self_attention", "full_attention"},
    [IL_MIXER_GATED_DELTA] = {"gated_delta", "linear_attention"},
    [IL_MIXER_SLIDING_ATTENTION] = {"sliding_attention", "sliding_attention"},
};

int il_mixer_count(void) { return IL_RULES_FROM + il_rule_count(); }

const char *il_mixer_name(il_mixer_kind mixer) {
    const il_rule *rule = il_rule_of(mixer);
    if (rule) return rule->name;
    return (unsigned)mixer < IL_RULES_FROM ? without_rule[mixer][0] : "?";
}

const char *il_mixer_ttt_layer_type(il_mixer_kind mixer) {
    const il_rule *rule = il_rule_of(mixer);
    return rule ? rule->name + strlen("ttt_") : NULL;
}

const char *il_mixer_layer_type(il_mixer_kind mixer) {
    return (unsigned)mixer < IL_RULES_FROM ? without_rule[mixer][1] : il_mixer_name(mixer);
}

int il_mixer_find(il_mixer_namer *namer, const char *name, size_t bytes) {
    for (int i = 0; i < il_mixer_count(); i++) {
        const char *known = namer((il_mixer_kind)i);
        if (known && strlen(known) == bytes && memcmp(known, name, bytes) == 0) return i;
    }
    return -1;
}

const char *il_mixer_list(il_mixer_namer *namer, char text[IL_MIXER_LIST_BYTES]) {
    size_t n = 0;
    text[0] = 0;
    for (int i = 0; i < il_mixer_count() && n < IL_MIXER_LIST_BYTES; i++) {
        const char *known = namer((il_mixer_kind)i);
        if (known) n += (size_t)snprintf(text + n, IL_MIXER_LIST_BYTES - n, "%s%s", n ? ", " : "", known);
    }
    return text;
}
