/* mixers.c: see mixers.h. */
#include "model/mixers.h"

#include "inner/rules.h"
#include "model/mixer_attention.h"
#include "model/mixer_gated_delta.h"
#include "model/mixer_ttt.h"

const il_mixer *il_mixer_of(il_mixer_kind kind) {
    if (kind == IL_MIXER_GATED_DELTA) return &il_mixer_gated_delta;
    if (kind == IL_MIXER_SLIDING_ATTENTION) return &il_mixer_sliding_attention;
    return il_rule_of(kind) ? &il_mixer_ttt : &il_mixer_attention;
}
