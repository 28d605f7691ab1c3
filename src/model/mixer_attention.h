/* mixer_attention.h: causal self-attention over a KV cache, whose memory grows with the sequence. */
#ifndef IL_MODEL_MIXER_ATTENTION_H
#define IL_MODEL_MIXER_ATTENTION_H

#include "model/mixer.h"

extern const il_mixer il_mixer_attention;

#endif
