/* rules.c: see rules.h. */
#include "inner/rules.h"

/* A new rule goes to the end, so that the others keep their numbers. */
#define RULES(RULE)                                                                                                    \
    RULE(il_rule_linear)                                                                                               \
    RULE(il_rule_linear_decay)                                                                                         \
    RULE(il_rule_mlp)

#define DECLARE(rule) extern const il_rule rule;
RULES(DECLARE)

#define ENTRY(rule) &rule,
static const il_rule *const rules[] = {RULES(ENTRY)};
enum { N_RULES = sizeof rules / sizeof *rules };
_Static_assert(IL_RULES_FROM + N_RULES > IL_MIXER_TTT_MLP, "every TTT mixer of the public header has its rule");

int il_rule_count(void) { return N_RULES; }

const il_rule *il_rule_of(il_mixer_kind mixer) {
    int i = (int)mixer - IL_RULES_FROM;
    return i >= 0 && i < N_RULES ? rules[i] : NULL;
}
