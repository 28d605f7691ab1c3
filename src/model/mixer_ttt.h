/* mixer_ttt.h: the TTT mixer: projections, convolutions, RoPE, the inner rule of every head, post norm, gate, wo. What
 * the network in the network computes is the rule's business (inner/rule.h). */
#ifndef IL_MODEL_MIXER_TTT_H
#define IL_MODEL_MIXER_TTT_H

#include "model/mixer.h"

extern const il_mixer il_mixer_ttt;

#endif
