/* mixers.c: see mixers.h. */
#include "model/mixers.h"

#include "inner/rules.h"
#include "model/mixer_attention.h"
#include "model/mixer_ttt.h"

const il_mixer *il_mixer_of(il_mixer_kind kind) { return il_rule_of(kind) ? &il_mixer_ttt : &il_mixer_attention; }
