/* mixer_attention.h: causal self-attention over a KV cache: over all that came before, in memory that grows with the
 * sequence, or over a window of it (sliding attention), in constant memory. */
#ifndef IL_MODEL_MIXER_ATTENTION_H
#define IL_MODEL_MIXER_ATTENTION_H

#include "model/mixer.h"

extern const il_mixer il_mixer_attention, il_mixer_sliding_attention;

#endif
