/* rules.h: the table of inner rules. A new one is its file and a line in rules.c. */
#ifndef IL_INNER_RULES_H
#define IL_INNER_RULES_H

#include "inner/rule.h"

/* Mixers are numbered: those without a rule of this table first, then one for each rule in the order of the table. */
enum { IL_RULES_FROM = IL_MIXER_TTT_LINEAR };

int il_rule_count(void);
/* NULL for mixers that are no TTT, and for numbers that are no mixer's. */
const il_rule *il_rule_of(il_mixer_kind mixer);

#endif
